// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Streams of server-sent events: what goes out on them, and for the HTTP+SSE
// transport the answers to what was posted elsewhere.

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

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

// answers are what was posted in a session of the HTTP+SSE transport and is open.
type answers struct {
	// seen says that the session's stream is behind the edge, so that answers show.
	seen bool
	// all is how many bytes what is open in all sessions keeps.
	all *atomic.Int64

	mu     sync.Mutex
	closed bool
	open   []*exchange // oldest first
	bytes  int64       // that open keeps
}

// maxPosted bounds, in bytes, what all that was posted and is open keeps, and
// maxPostedInSession what that of one session does.
const (
	maxPosted          = 64 << 20
	maxPostedInSession = 8 << 20
)

// weigh returns how many bytes x, with its message e, keeps as long as it is open.
func (x *exchange) weigh(e *jsonrpc.Envelope) int64 {
	const exchanges, line = 4 << 10, 64 // an exchange with its request, and what a header takes beside its text
	n := exchanges + e.Size() + len(x.r.RequestURI) + len(x.r.Host)
	for name, values := range x.r.Header {
		n += len(name) + line
		for _, value := range values {
			n += len(value)
		}
	}
	return int64(n)
}

// What an exchange awaits is the key of its answer, or one of these.
const (
	awaitsNull    = ""  // an answer with a null id
	awaitsUnknown = "?" // its key is not known; no key begins like this
)

// add adds x, if the session has not ended. When there is no room the oldest
// exchanges of the session make some, x itself if there is none otherwise, and are
// returned.
func (a *answers) add(x *exchange) (evicted []*exchange, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, false
	}
	a.open = append(a.open, x)
	a.weigh(x.weight)
	for len(a.open) > maxPending || a.bytes > maxPostedInSession || a.bytes > 0 && a.all.Load() > maxPosted {
		evicted = append(evicted, a.takeAt(0))
	}
	return evicted, true
}

func (a *answers) weigh(n int64) {
	a.bytes += n
	a.all.Add(n)
}

// take takes the exchange that an answer with key is for, or nil. Among several
// with that id one comes first that dispatch has nothing to do with any more.
func (a *answers) take(key string) *exchange {
	a.mu.Lock()
	defer a.mu.Unlock()
	awaits := func(x *exchange) bool { return x.awaits == key }
	for _, fits := range []func(*exchange) bool{
		func(x *exchange) bool { return awaits(x) && x.isThrough(false) },
		awaits,
		// A null id where nobody awaits one: a result could not be encoded, or a
		// message was not what its beginning looked like. Or a message that was not
		// JSON to us, and was to who decodes it.
		func(x *exchange) bool {
			return (key == awaitsNull || x.awaits == awaitsNull) && x.isThrough(true)
		},
		func(x *exchange) bool { return key == awaitsNull && x.awaits == awaitsUnknown },
	} {
		if at := slices.IndexFunc(a.open, fits); at >= 0 {
			return a.takeAt(at)
		}
	}
	return nil
}

func (a *answers) takeAt(at int) *exchange {
	x := a.open[at]
	a.open = slices.Delete(a.open, at, at+1)
	a.weigh(-x.weight)
	return x
}

// remove forgets x. a may be nil.
func (a *answers) remove(x *exchange) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if at := slices.Index(a.open, x); at >= 0 {
		a.takeAt(at)
	}
}

// end ends the session, and returns what is open in it.
func (a *answers) end() []*exchange {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	open := a.open
	a.open = nil
	a.weigh(-a.bytes)
	return open
}

// isThrough reports whether dispatch has nothing to do with the message any more;
// dispatched, that it was dispatched.
func (x *exchange) isThrough(dispatched bool) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.dispatch == dispatchIdle && (x.adopted || !dispatched)
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
	out := readOutgoing(e.Data, e.Size)
	out.on = &s.on
	if out.isRequest() {
		var key string
		key, out.in = x.i.askedKey(s.on.session, out.e.Key)
		x.i.watchOutgoing(x.parent(), &out, x.i.edges.asked, key)
	}
	s.found = append(s.found, &out)
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
	a, ok := x.i.edges.http.streams.Load(s.on.session)
	if !ok {
		return
	}
	if posted := a.(*answers).take(e.Key); posted != nil {
		posted.advance(func() {
			posted.answer, posted.answered, posted.unsent, posted.awaiting = e, size, failed, false
			posted.noDispatch()
		})
	}
}

// noDispatch says that dispatch will not come any more, if it did not. mu is
// locked.
func (x *exchange) noDispatch() {
	if x.dispatch != dispatchRuns {
		x.dispatch = dispatchIdle
	}
}

// accepted is called when a request is accepted with 202: on the HTTP+SSE
// transport it is dispatched only after that, and its answer, if there is to be
// one, goes out on the session's stream.
func (x *exchange) accepted() {
	id := x.messageSession()
	if id == "" {
		return
	}
	a, _ := x.i.edges.http.streams.Load(id)
	session, _ := a.(*answers)
	if session == nil && x.i.sessions.Integrity(id, "", netip.Addr{}) != semconv.OTelMCPSessionIntegrityEnded {
		return // of another server
	}
	e, whole := x.body.accept()
	due, dispatch := expect(&e, whole)
	if dispatch == dispatchDue && x.i.coverage.lostContext() {
		dispatch = dispatchMaybe
	}
	x.posted, x.session, x.awaits, x.weight = true, session, awaitsUnknown, x.weigh(&e)
	if whole || e.Key != "" {
		x.awaits = e.Key
	}
	if !due && dispatch == dispatchIdle {
		return
	}
	x.mu.Lock()
	x.dispatch = dispatch
	x.awaiting = due && x.awaits != awaitsUnknown && shows(e.Key) && session != nil && session.seen
	x.mu.Unlock()
	if session == nil {
		x.lost(due)
		return
	}
	evicted, open := session.add(x)
	if !open {
		x.lost(due)
	}
	for _, old := range evicted {
		x.i.rec.Refuse(semconv.OTelMCPRefusedReasonPendingTable)
		old.advance(func() {
			old.awaiting = false
			old.giveUp()
		})
	}
}

// expect says what becomes of a message that is posted: whether it is answered,
// and whether it is dispatched. Of a message whose end was not looked at the id,
// the version or a result may still follow.
func expect(e *jsonrpc.Envelope, whole bool) (answered bool, dispatch dispatchState) {
	switch {
	case whole && e.Key != "" && e.Version == jsonrpc.Version && !e.HasResult:
		return true, dispatchDue
	case whole:
		return !e.Silent, dispatchIdle
	case e.HasResult, e.Key == "" && strings.HasPrefix(e.Method, "notifications/"):
		return false, dispatchIdle
	}
	return true, dispatchMaybe
}

// shows reports whether an answer with the key shows it in its first bytes.
func shows(key string) bool {
	const room = maxHead - 64 // for what else stands there
	if len(key) < room/6 {    // as long as escapes get
		return true
	}
	if key[0] != 's' || len(key) > room {
		return len(key) <= room
	}
	raw, err := json.Marshal(key[1:])
	return err == nil && len(raw) <= room
}

// lost says that the session has ended: the answer is lost, if one was due. What
// is to be dispatched is so all the same.
func (x *exchange) lost(due bool) {
	x.advance(func() {
		x.awaiting = false
		x.unsent = due
		x.giveUp()
	})
}

// giveUp waits no more for a dispatch of which it is not known that it comes. mu
// is locked.
func (x *exchange) giveUp() {
	if x.dispatch == dispatchMaybe {
		x.dispatch = dispatchIdle
	}
}

// onRequestInitialization is mcp-go's first word of a request that it is about to
// dispatch, or refuses before. On HTTP+SSE the message has a context of its own,
// which ends when mcp-go is through with it, whatever became of it.
func (i *Instrumentation) onRequestInitialization(ctx context.Context, id, raw any) error {
	defer i.rec.Guard()
	if l, ok := i.edgeOf(ctx).(*lines); ok {
		l.handling(ctx, id, raw)
		return nil
	}
	x, ok := i.edgeOf(ctx).(*exchange)
	if !ok || !x.posted || i.ownCall(ctx) {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.watch == nil && (x.dispatch == dispatchDue || x.dispatch == dispatchMaybe) {
		x.watch = context.AfterFunc(ctx, func() { x.advance(x.noDispatch) })
	}
	return nil
}

// openSession is called when a session of the HTTP+SSE transport starts, and
// closeSession when it ends. seen says that its stream is behind the edge.
func (i *Instrumentation) openSession(id string, seen bool) {
	i.edges.http.streams.Store(id, &answers{seen: seen, all: &i.edges.http.posted})
}

func (i *Instrumentation) closeSession(id string) {
	a, ok := i.edges.http.streams.LoadAndDelete(id)
	if !ok {
		return
	}
	for _, x := range a.(*answers).end() {
		x.lost(true)
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
