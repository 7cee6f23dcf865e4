// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Streams of server-sent events: what goes out on them.

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/jsonrpc"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/sse"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// stream is the response of an exchange that is a stream of events. Its fields
// are guarded by the exchange's out.
type stream struct {
	x       *exchange
	scanner *sse.Scanner
	on      message     // what its connection is, for what is sent on it
	found   []*outgoing // by the scanner, in what is being written
	// unsettled are messages that were written and are not recorded yet.
	unsettled []*outgoing
	sse       bool // of the HTTP+SSE transport
	messages  int
	pings     []*outgoing // that wait for an answer
	// begun is a message that is large, as far as it is written.
	begun *outgoing
}

// maxPings bounds the pings that wait on one stream.
const maxPings = 64

// connection is what dispatch knew of a message's connection when it began.
type connection struct {
	session         string
	id              operation.Safe
	transport, user string
	roles           []string
	client, version operation.Safe
	protocol        string
}

// openStream is called when the response turns out to be a stream.
func (x *exchange) openStream() {
	s := &stream{x: x}
	s.scanner = sse.NewScanner(maxHead, s.event)
	s.scanner.KeepMore(maxAnswer, s)
	x.stream = s
	if x.r.Method == http.MethodGet {
		// It stays open for as long as the client likes, and counts at its end.
		x.i.edges.ledger.withdraw()
	}
}

// write is told what is about to be written, and returns the messages that end in
// it.
func (s *stream) write(p []byte) []*outgoing {
	s.settle()
	s.found = nil
	_, _ = s.scanner.Write(p)
	return s.found
}

// connect fills what is known of the connection, which for a new session is
// more after its first event than before.
func (s *stream) connect() {
	x := s.x
	if s.on.i == nil {
		s.on.i = x.i
		s.on.HTTPVersion = x.m.HTTPVersion
		s.on.Network = x.network()
	}
	begun := x.begun.Load()
	if begun != nil && s.on.Transport == "" {
		s.on.session, s.on.SessionID, s.on.Transport = begun.session, begun.id, begun.transport
		s.on.UserID, s.on.UserRoles = begun.user, begun.roles
		if begun.id == "" { // what a session's client said can still change
			s.on.ClientName, s.on.ClientVersion, s.on.ProtocolVersion = begun.client, begun.version, begun.protocol
			return
		}
		s.on.describeSession(begun.session)
		return
	}
	if s.on.SessionID == "" && begun == nil || s.on.Transport == "" {
		id := s.on.session
		if id == "" {
			id = x.sessionID()
		}
		s.on.Transport = x.transport(id, s.sse)
		if id != "" {
			s.on.describeSession(id)
		}
		if s.on.Transport == "" {
			s.on.Transport = x.transport("", s.sse)
		}
	}
}

// Enough reads the head of a message that is longer.
func (s *stream) Enough(head []byte) bool {
	out := readOutgoing(head, 0)
	if out.e.Kind == jsonrpc.Malformed {
		return false
	}
	s.begun = &out
	return true
}

func (s *stream) event(e sse.Event) {
	x := s.x
	out := s.begun
	s.begun = nil
	if e.Type == "endpoint" { // the first event of the HTTP+SSE transport names the session
		s.sse = true
		if _, query, ok := strings.Cut(string(e.Data), "?"); ok {
			if q, err := url.ParseQuery(query); err == nil {
				s.on.session = q.Get("sessionId")
			}
		}
		s.connect()
		return
	}
	if e.Size == 0 {
		return
	}
	s.messages++
	s.connect()
	if out == nil {
		read := readOutgoing(e.Data, e.Size)
		out = &read
	}
	out.on, out.size = &s.on, e.Size
	if out.isRequest() {
		var key string
		key, out.in = x.i.askedKey(s.on.session, out.e.Key)
		x.i.watchOutgoing(x.parent(), out, x.i.edges.asked, key)
	}
	s.found = append(s.found, out)
}

// settle records what was written before.
func (s *stream) settle() {
	for _, out := range s.unsettled {
		s.sent(out, s.x.failed)
	}
	s.unsettled = s.unsettled[:0]
}

// sent is told that a message was written, or that it was not.
func (s *stream) sent(out *outgoing, failed bool) {
	s.x.i.wasSent(s.x.parent(), out, failed)
	if out.isAnswer() {
		s.answered(&out.e, out.size, failed)
	}
	if out.ping == nil || failed {
		return
	}
	if len(s.pings) >= maxPings {
		s.pings[0].end(semconv.OTelMCPOutcomeTimeout)
		s.pings = s.pings[1:]
	}
	s.pings = append(s.pings, out)
}

// end ends the request, if it is not answered.
func (o *outgoing) end(outcome string) {
	if a, ok := o.asked.TakeFunc(o.key, func(a *asked) bool { return a.ping == o.ping }); ok {
		a.unanswered(outcome)
	}
}

// parent is the context of what is sent on the exchange's stream: that of the
// message whose answer it is, if it is one's.
func (x *exchange) parent() context.Context {
	if x.begun.Load() != nil {
		return &x.m
	}
	return x.Context
}

// answered is told of an answer on the stream: to the message that was posted,
// or to one that was posted elsewhere in the session. A stream that was asked for
// without a message has answers only when it repeats what another one lost.
func (s *stream) answered(e *jsonrpc.Envelope, size int, failed bool) {
	x := s.x
	if !s.sse {
		if x.r.Method == http.MethodPost {
			x.answer, x.answered = e, size
		}
		return
	}
	if a, ok := x.i.edges.http.streams.Load(s.on.session); ok {
		a.(*answers).answered(&streamAnswer{e: e, size: size, failed: failed})
	}
}

// endStream is called when the handler of a stream is through.
func (x *exchange) endStream() {
	defer x.i.rec.Guard()
	x.out.Lock()
	defer x.out.Unlock()
	if x.stream == nil {
		return
	}
	x.stream.settle()
	for _, ping := range x.stream.pings {
		ping.end(semconv.OTelMCPOutcomeCancelled)
	}
	if x.r.Method == http.MethodGet {
		x.i.edges.ledger.arrive()
	}
}

// describeStream fills what there is to say of a stream that carried no message
// in.
func (x *exchange) describeStream() {
	x.out.Lock()
	defer x.out.Unlock()
	m := &x.m
	reason := semconv.OTelMCPStreamEndReasonServer
	switch {
	case x.shuttingDown():
		reason = semconv.OTelMCPStreamEndReasonShutdown
	case x.Err() != nil || x.failed:
		reason = semconv.OTelMCPStreamEndReasonDisconnect
	}
	m.Facts = append(m.Facts,
		semconv.OTelMCPStreamEndReasonKey.String(reason),
		semconv.OTelMCPStreamMessagesKey.Int(x.stream.messages))
	if x.stream.on.session != "" && m.SessionID == "" {
		m.describeSession(x.stream.on.session)
		if m.Transport == "" {
			m.Transport = x.stream.on.Transport
		}
	}
}
