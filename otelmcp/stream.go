// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Streams of server-sent events: what goes out on them, and for the HTTP+SSE
// transport the answers to what was posted elsewhere.

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/jsonrpc"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/pending"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/sse"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// stream is the response of an exchange that is a stream of events. Its fields
// are guarded by the exchange's out.
type stream struct {
	x        *exchange
	scanner  *sse.Scanner
	on       message // what its connection is, for what is sent on it
	sse      bool    // of the HTTP+SSE transport
	messages int
	pings    []*outgoing // that wait for an answer
}

// maxPings bounds the pings that wait on one stream.
const maxPings = 64

// answers are the exchanges whose answer goes out on a stream of the HTTP+SSE
// transport.
type answers struct {
	waiting *pending.Table[*exchange]
}

// take takes the exchange that an answer with key is for. Among several with
// that id one comes first that dispatch is through with.
func (a *answers) take(key string) (*exchange, bool) {
	if x, ok := a.waiting.TakeFunc(key, func(x *exchange) bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.through
	}); ok {
		return x, ok
	}
	return a.waiting.Take(key)
}

// openStream is called when the response turns out to be a stream.
func (x *exchange) openStream() {
	s := &stream{x: x}
	s.scanner = sse.NewScanner(maxHead, s.event)
	x.stream = s
	if x.r.Method == http.MethodGet {
		// It stays open for as long as the client likes, and counts at its end.
		x.i.edges.ledger.withdraw()
	}
}

func (s *stream) write(p []byte) { _, _ = s.scanner.Write(p) }

// connect fills what is known of the connection, which for a new session is
// more after its first event than before.
func (s *stream) connect() {
	x := s.x
	if s.on.i == nil {
		s.on.i = x.i
		s.on.HTTPVersion = x.m.HTTPVersion
		s.on.Network = x.network()
	}
	if m := &x.m; x.begun.Load() && s.on.Transport == "" {
		s.on.session, s.on.SessionID, s.on.Transport = m.session, m.SessionID, m.Transport
		s.on.UserID, s.on.UserRoles = m.UserID, m.UserRoles
		if m.SessionID == "" { // what a session's client said can still change
			s.on.ClientName, s.on.ClientVersion, s.on.ProtocolVersion = m.ClientName, m.ClientVersion, m.ProtocolVersion
			return
		}
		s.on.describeSession(m.session)
		return
	}
	if s.on.SessionID == "" && !x.begun.Load() || s.on.Transport == "" {
		id := s.on.session
		if id == "" {
			id = x.sessionID()
		}
		s.on.Transport = x.transport(id)
		if id != "" {
			s.on.describeSession(id)
		}
		if s.on.Transport == "" {
			s.on.Transport = x.transport("")
		}
	}
}

func (s *stream) event(e sse.Event) {
	x := s.x
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
	out := x.i.watchOutgoing(x.parent(), &s.on, e.Data, e.Size, x.i.askedIn(s.on.session, true))
	x.i.wasSent(x.parent(), out, x.failed)
	if out.isAnswer() {
		s.answered(&out.e, e.Size, x.failed)
	}
	if out.ping == nil {
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
	if a, ok := o.asked.TakeFunc(o.e.Key, func(a *asked) bool { return a.ping == o.ping }); ok {
		a.unanswered(outcome)
	}
}

// parent is the context of what is sent on the exchange's stream: that of the
// message whose answer it is, if it is one's.
func (x *exchange) parent() context.Context {
	if x.begun.Load() {
		return &x.m
	}
	return x.Context
}

// answered is told of an answer on the stream: to the message that was posted,
// or to one that was posted elsewhere in the session.
func (s *stream) answered(e *jsonrpc.Envelope, size int, failed bool) {
	x := s.x
	if !s.sse {
		x.answer, x.answered = e, size
		return
	}
	if a, ok := x.i.edges.http.streams.Load(s.on.session); ok {
		if posted, ok := a.(*answers).take(e.Key); ok {
			posted.advance(func() {
				posted.answer, posted.answered, posted.unsent, posted.awaiting = e, size, failed, false
			})
		}
	}
}

// accepted is called when a request is accepted with 202: on the HTTP+SSE
// transport its answer, if there is to be one, goes out on the session's stream.
// mcp-go dispatches it only after that, so the answer cannot be first.
func (x *exchange) accepted() {
	session := x.messageSession()
	if session == "" {
		return
	}
	a, ok := x.i.edges.http.streams.Load(session)
	if !ok {
		return
	}
	e := x.body.parse()
	if e.Silent {
		return
	}
	x.mu.Lock()
	x.awaiting = true
	x.mu.Unlock()
	// A decoder may leave the end of the body unread; it is not read any more.
	if old, full := a.(*answers).waiting.Add(e.Key, x); full {
		x.i.rec.Refuse(semconv.OTelMCPRefusedReasonPendingTable)
		old.advance(func() { old.awaiting = false })
	}
}

// openSession is called when a session of the HTTP+SSE transport starts on the
// stream that x will be, and closeSession when it ends.
func (x *exchange) openSession(id string) {
	x.i.edges.http.streams.Store(id, &answers{waiting: pending.NewTable[*exchange](maxPending)})
}

func (i *Instrumentation) closeSession(id string) {
	a, ok := i.edges.http.streams.LoadAndDelete(id)
	if !ok {
		return
	}
	for _, posted := range a.(*answers).waiting.Drain() {
		posted.advance(func() { posted.awaiting, posted.unsent = false, true })
	}
}

// endStream is called when the handler of a stream is through.
func (x *exchange) endStream(bool) {
	defer x.i.rec.Guard()
	x.out.Lock()
	defer x.out.Unlock()
	if x.stream == nil {
		return
	}
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
