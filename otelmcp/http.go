// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// The HTTP edge: a handler around mcp-go's, or around any mux in front of it.

import (
	"bufio"
	"context"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/felixge/httpsnoop"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/jsonrpc"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/peer"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// httpEdge is what an Instrumentation keeps for its HTTP handlers.
type httpEdge struct {
	// streams are the open streams of the HTTP+SSE transport, by session: the
	// answers to what is posted go out on them.
	streams sync.Map     // string → *answers
	posted  atomic.Int64 // how many bytes what is open in them keeps
	// adopted says that a message was dispatched in the context of its exchange.
	adopted atomic.Bool
	// servers are the HTTP servers that tell us when they shut down.
	servers sync.Map // weak.Pointer[http.Server] → *atomic.Bool
	// last is the one of them that served last, which is most often the only one.
	last atomic.Pointer[servedBy]
}

// Handler returns h with every HTTP exchange recorded that goes through it: not
// only the messages that mcp-go dispatches, but also those that it, or anything
// else inside of h, turns away, with the HTTP facts, the sizes and the peer's
// address of all of them. h is mcp-go's streamable HTTP or SSE server, or any
// handler that leads to one: put the authentication inside of h and its refusals
// are recorded too. Health checks and other pages belong outside, since each
// exchange is a record, and so do other MCP servers: where several share a mux,
// wrap the handler of each of them, and not the mux.
//
// The response that h writes, its flushes and every optional interface of the
// ResponseWriter pass unchanged. The request's body is not read ahead of h, and
// only its first MiB is looked at.
//
// Serve the result with an http.Server of the program's own; the Start methods of
// mcp-go's servers build their own handler and go past it.
func (i *Instrumentation) Handler(h http.Handler) http.Handler {
	i.coverage.sawEdge(i, edgeHTTP)
	if !i.rec.Observable() {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			about := &unheard{standalone{base: i.base, made: new(operation.Decisions)}, i}
			r2 := r.WithContext(context.WithValue(r.Context(), subjectKey{}, subject(about)))
			h.ServeHTTP(w, r2)
			handBack(r, r2)
		})
	}
	transport, routed := transportBehind(h, nil)
	return &httpHandler{i, h, transport, routed}
}

type httpHandler struct {
	i    *Instrumentation
	next http.Handler
	// transport is what next speaks, when its type tells, and routed says that it depends
	// on the request.
	transport string
	routed    bool
}

func (h *httpHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, again := h.i.edgeOf(r.Context()).(*exchange); again && h.i.messageOf(r.Context()) == nil {
		h.next.ServeHTTP(w, r) // an edge of ours is around this one
		return
	}
	x := &exchange{Context: r.Context(), i: h.i, r: r, start: time.Now()}
	x.body.x = x
	h.i.edges.ledger.arrive()
	x.arrive(h)
	returned := false
	defer func() { x.handled(w, !returned) }()
	r2 := r.WithContext(x)
	if r.Body != nil && r.Body != http.NoBody {
		x.body.ReadCloser, x.body.inner = r.Body, r2
		r2.Body = &x.body
	}
	h.next.ServeHTTP(x.wrap(w), r2)
	returned = true
	handBack(r, r2)
}

// handBack puts on r what a handler has put on r2, which stood in for it.
func handBack(r, r2 *http.Request) {
	if r.MultipartForm == nil { // net/http removes the files of the request that it made
		r.MultipartForm = r2.MultipartForm
	}
	if r.Pattern == "" {
		r.Pattern = r2.Pattern
	}
}

// exchange is one HTTP request and its response. It is the context that the
// request is handled in.
//
// Three things keep it open. Whoever takes the last of them away records it,
// exactly once:
//
//   - the handler, until it returns or panics (returned);
//   - dispatch, for as long as it has the message or is to get it (dispatch);
//   - the answer, where that goes out on the stream of a session, until it is
//     written or cannot be any more (awaiting).
//
// Streamable HTTP dispatches within the handler: dispatch is idle, runs from
// adopt to ended, and is idle again. HTTP+SSE answers 202 first, and what was
// posted is dispatched beside: at the 202 the message itself says whether
// dispatch is due and an answer to come. A dispatch that is due runs, or turns
// out to have been refused before: then mcp-go's end of the message's context
// says so, or an answer that is there already. The end of the session takes the
// answer away, and not the dispatch. A message whose end was not looked at is
// dispatched or not: it also ends with its session.
//
// What dispatch makes of a message when the exchange is over is not recorded a
// second time.
type exchange struct {
	context.Context // of the request, as it came
	i               *Instrumentation
	r               *http.Request
	start           time.Time
	from            peer.Address
	hint            string        // the transport, when the handler's type tells
	odd             string        // what is odd about the session id, without a message
	named           *knownSession // what a request without a message names, if it is open
	down            *atomic.Bool  // the HTTP server is shutting down
	body            body
	m               message // the message's, dispatched or not
	// begun points to what begin has filled of m, once it has.
	begun atomic.Pointer[connection]
	conn  connection
	facts [6]attribute.KeyValue // room for m.Peer

	posted *posted // what came to HTTP+SSE, set before it is dispatched

	mu       sync.Mutex
	untold   []untold // made, and to be recorded when it is known what was asked for
	dispatch dispatchState
	adopted  bool // dispatch has, or had, m
	awaiting bool
	returned bool
	over     bool
	panicked bool
	unsent   bool              // the stream ended before the answer went out
	answer   *jsonrpc.Envelope // that came on a stream, or in the response
	answered int               // its size

	// The response. out is locked in all of its hooks: a handler may write from
	// more than one goroutine.
	out      sync.Mutex
	w        http.ResponseWriter // that the exchange came with
	h1       http1Writer         // in front of it, if it fits
	status   int
	written  int64
	flushed  bool
	duplex   bool
	hijacked bool
	failed   bool // a write came back with an error
	encoded  bool // the response is compressed
	head     []byte
	// challenges are its WWW-Authenticate headers, if it refuses.
	challenges []string
	kind       responseKind
	stream     *stream
	lastByte   byte
}

// dispatchState is what dispatch still has to do with an exchange.
type dispatchState uint8

const (
	dispatchIdle  dispatchState = iota // nothing, as far as is known
	dispatchMaybe                      // the message is dispatched if its end says so
	dispatchDue                        // it will be dispatched
	dispatchRuns                       // m belongs to dispatch
)

type responseKind uint8

const (
	responseOther  responseKind = iota
	responseJSON                // one message
	responseStream              // server-sent events
)

// Value makes the exchange findable from the contexts that derive from it.
func (x *exchange) Value(key any) any {
	switch k := key.(type) {
	case edgeKey:
		if k.i == x.i || k.i == nil {
			return edge(x)
		}
	case subjectKey:
		return x
	}
	return x.Context.Value(key)
}

// arrive fills what the request says before anybody handles it.
func (x *exchange) arrive(h *httpHandler) {
	defer x.i.rec.Guard()
	if x.hint = h.transport; h.routed {
		x.hint, _ = transportBehind(h.next, x.r)
	}
	x.from = x.i.cfg.peers.Resolve(x.r)
	if srv, ok := x.Context.Value(http.ServerContextKey).(*http.Server); ok {
		x.down = x.i.edges.http.shutdownOf(srv)
	}
	m := &x.m
	m.Since(x.start)
	m.HTTPVersion = httpVersion(x.r)
	m.Peer = peerFacts(x.facts[:0], x.r, x.from)
	x.i.rec.Init(&m.Operation, x, operation.RoleServer)
	x.authenticated()
	if id := x.r.Header.Get(server.HeaderKeySessionID); id != "" && x.r.Method != http.MethodPost {
		// What the exchange is about to start or to end is not odd yet.
		x.named = x.i.sessions.Get(x.sessionID())
		x.odd = x.integrity(x.sessionID(), x.i.user(x), false)
	}
}

// shutdownOf returns what says whether srv is shutting down. A server that is
// only closed tells nobody: it is forgotten with its last use.
func (e *httpEdge) shutdownOf(srv *http.Server) *atomic.Bool {
	if last := e.last.Load(); last != nil && last.srv.Value() == srv {
		return last.down
	}
	key := weak.Make(srv) // which takes a lock of the runtime's
	known, again := e.servers.Load(key)
	if !again {
		known, again = e.servers.LoadOrStore(key, new(atomic.Bool))
	}
	down := known.(*atomic.Bool)
	e.last.Store(&servedBy{key, down})
	if !again {
		forget := func(key weak.Pointer[http.Server]) { e.servers.Delete(key) }
		srv.RegisterOnShutdown(func() {
			down.Store(true)
			forget(key)
		})
		runtime.AddCleanup(srv, forget, key)
	}
	return down
}

// servedBy is an HTTP server, and whether it is shutting down.
type servedBy struct {
	srv  weak.Pointer[http.Server]
	down *atomic.Bool
}

func httpVersion(r *http.Request) string {
	switch {
	case r.ProtoMajor == 1 && r.ProtoMinor == 0:
		return "1.0"
	case r.ProtoMajor == 1:
		return "1.1"
	case r.ProtoMajor == 2:
		return "2"
	case r.ProtoMajor == 3:
		return "3"
	}
	return ""
}

// peerFacts appends the attributes of who sent the request, and of the request.
func peerFacts(facts []attribute.KeyValue, r *http.Request, from peer.Address) []attribute.KeyValue {
	if a := from.Client; a.IsValid() {
		facts = append(facts, semconv.ClientAddressKey.String(addressText(a, r.RemoteAddr)))
		if from.ClientPort != 0 {
			facts = append(facts, semconv.ClientPortKey.Int(int(from.ClientPort)))
		}
	}
	if a := from.Peer; a.IsValid() && a != from.Client {
		facts = append(facts, semconv.NetworkPeerAddressKey.String(a.String()))
	}
	if ua := r.UserAgent(); ua != "" {
		facts = append(facts, semconv.UserAgentOriginalKey.String(ua))
	}
	facts = append(facts, semconv.HTTPRequestMethodKey.String(httpMethod(r.Method)))
	if r.URL != nil {
		facts = append(facts, semconv.URLPathKey.String(r.URL.Path))
	}
	return facts
}

// addressText is a as text: as it stands in remote, where that is it, since IPv4 has
// one way to be written.
func addressText(a netip.Addr, remote string) string {
	if colon := strings.LastIndexByte(remote, ':'); colon > 0 && a.Is4() {
		if same, err := netip.ParseAddr(remote[:colon]); err == nil && same == a {
			return remote[:colon]
		}
	}
	return a.String()
}

// httpMethod is http.request.method: a method that nobody knows is text that
// the client chose.
func httpMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodConnect, http.MethodOptions, http.MethodTrace, "QUERY":
		return m
	case "":
		return http.MethodGet
	}
	return operation.Other
}

// network is the network.transport of the exchange.
func (x *exchange) network() string {
	if x.r.ProtoMajor == 3 {
		return semconv.NetworkTransportQUIC
	}
	return semconv.NetworkTransportTCP
}

// adopt is dispatch taking the exchange's message. What else is dispatched in the
// exchange's context, by the handler of a notification say, is an operation of
// its own.
func (x *exchange) adopt(ctx context.Context) *message {
	request := x.body.isRequest()
	x.mu.Lock()
	mine, late := request && !x.adopted, x.over
	if mine && !late {
		x.adopted, x.dispatch = true, dispatchRuns
	}
	x.mu.Unlock()
	if adopted := &x.i.edges.http.adopted; mine && !adopted.Load() {
		adopted.Store(true)
	}
	if mine {
		x.posted.dispatched()
	}
	if mine && !late {
		x.m.init(x.i, ctx)
		x.m.edge, x.m.onLedger = x, true
		return &x.m
	}
	m := &message{}
	m.init(x.i, ctx)
	m.HTTPVersion, m.Peer = x.m.HTTPVersion, x.m.Peer
	if mine { // recorded already: nobody finishes it
		m.edge = x
		m.Silent, m.Instant = true, true
	}
	return m
}

// awaitsDispatch reports whether the exchange's message is a request that dispatch
// has not had yet.
func (x *exchange) awaitsDispatch() bool {
	request := x.body.isRequest()
	x.mu.Lock()
	defer x.mu.Unlock()
	return request && !x.adopted && !x.over
}

// ended is told that dispatch is through with m.
func (x *exchange) ended(m *message) {
	if m != &x.m {
		return
	}
	x.posted.ended()
	x.advance(func() { x.dispatch = dispatchIdle })
}

// handled is told that the handler has returned, or panicked.
func (x *exchange) handled(w http.ResponseWriter, panicked bool) {
	x.endStream()
	if !panicked {
		x.readRest(w)
	}
	x.advance(func() { x.returned, x.panicked = true, panicked })
}

// advance makes a step towards the end, and records the exchange when it was
// the last one.
func (x *exchange) advance(step func()) {
	x.mu.Lock()
	if x.over {
		x.mu.Unlock()
		return
	}
	step()
	x.over = x.returned && !x.awaiting && x.dispatch == dispatchIdle
	over := x.over
	x.mu.Unlock()
	if over {
		x.record()
	}
}

// record ends the exchange. What mu guards does not change any more.
func (x *exchange) record() {
	defer x.i.settle()
	x.forget()
	x.tryRecord()
}

func (x *exchange) tryRecord() {
	defer x.i.rec.Guard()
	defer x.body.release(!x.adopted)
	defer func() { x.tell(x.told()) }() // what is recorded as nobody's message, or as another one's
	res := x.result()
	m := &x.m
	var unread int
	m.RequestSize, unread = x.body.sizes()
	if unread > 0 {
		m.Facts = append(m.Facts, semconv.OTelMCPRequestUnreadKey.Int(unread))
	}
	if !x.adopted {
		x.recordUndispatched(&res)
		return
	}
	x.observe()
	if !m.parsed { // of a method that mcp-go does not know its hooks tell nothing
		e := x.body.parse()
		m.RequestID, m.key = e.ID, e.Key
	}
	if res.gone {
		m.undelivered()
	}
	if x.posted != nil && res.answer != nil && res.answer.HasError && m.Code == 0 && m.Outcome == "" {
		m.Outcome = semconv.OTelMCPOutcomeError // its result could not be encoded
	}
	x.settleCancel(res.cancelSource)
	m.finish()
}

// result is what became of an exchange's response.
type result struct {
	answer       *jsonrpc.Envelope // if it can be read
	gone         bool              // the client did not get it
	cancelSource string            // who ended the exchange, if not the client's own wish
	stream, sse  bool              // it is a stream, of HTTP+SSE
}

// result fills what is known of the response into m. A handler that has returned
// may have left a goroutine that writes.
func (x *exchange) result() result {
	x.out.Lock()
	defer x.out.Unlock()
	m := &x.m
	m.HTTPStatus = x.status
	if x.status == 0 && !x.panicked && !x.hijacked && x.Err() == nil {
		m.HTTPStatus = http.StatusOK // net/http's, for a handler that said nothing
	}
	if x.kind == responseJSON {
		m.ResponseSize = int(x.written)
		if x.lastByte == '\n' {
			m.ResponseSize--
		}
	}
	if x.answered > 0 {
		m.ResponseSize = x.answered
	}
	res := result{answer: x.answer, stream: x.stream != nil}
	if res.answer == nil && x.kind == responseJSON && !x.encoded && len(x.head) > 0 {
		res.answer = readAnswer(x.head)
	}
	res.sse = res.stream && x.stream.sse
	sent := x.written > 0
	if x.kind == responseStream {
		sent = x.answer != nil
	}
	// The request of what was posted ends long before its answer.
	left := x.Err() != nil && x.posted == nil
	res.gone = x.unsent || x.failed || left && !sent && x.status != http.StatusAccepted
	switch {
	case !left && !x.unsent && !x.failed:
		res.cancelSource = semconv.OTelMCPCancelSourceServer
	case x.shuttingDown():
		res.cancelSource = semconv.OTelMCPCancelSourceShutdown
	default:
		res.cancelSource = semconv.OTelMCPCancelSourceDisconnect
	}
	return res
}

// readAnswer reads the beginning of a response; nil is for what is no answer, or
// does not show to be one.
func readAnswer(head []byte) *jsonrpc.Envelope {
	e, _ := jsonrpc.Head(head[:min(len(head), maxHead)])
	if e.Kind == jsonrpc.Malformed { // a long id stands before the rest
		e, _ = jsonrpc.Head(head)
	}
	if !isAnswer(&e) {
		return nil
	}
	return &e
}

// shuttingDown reports whether the HTTP server is. x may be nil.
func (x *exchange) shuttingDown() bool { return x != nil && x.down != nil && x.down.Load() }

// recordUndispatched records an exchange whose message, if it has one, mcp-go
// did not dispatch.
func (x *exchange) recordUndispatched(res *result) {
	i, m := x.i, &x.m
	m.init(i, x)
	m.Instant, m.onLedger = true, true
	m.Stage = semconv.OTelMCPStageTransport
	m.Network = x.network()
	e := x.message()
	if e != nil && x.servedElsewhere(e, res) {
		if !i.edges.http.adopted.Load() { // else an answer may have come to the wrong request
			i.coverage.sawContextLost(i)
		}
		i.edges.ledger.record()
		return
	}
	session := x.sessionID()
	m.Transport = x.transport(session, res.sse)
	if e != nil {
		if x.r.Header.Get(mcp.HeaderProtocolVersion) != "" {
			m.setProtocolVersion(x.r.Header.Get(mcp.HeaderProtocolVersion))
		}
		m.describe(e, x.r.Header)
	} else {
		m.Context = i.inRequest(m.Context, x.r)
	}
	if session != "" {
		transport, network := m.Transport, m.Network
		m.describeSession(session)
		if m.Transport == "" {
			m.Transport, m.Network = transport, network
		}
		if x.named != nil { // it can be over by now
			m.describeKnown(x.named)
		}
	}
	i.identify(&m.Operation)
	switch sure, last := x.sureOfUser(), m.Decisions.Last(); {
	case last != nil && last.Reason == semconv.OTelMCPAuthReasonSessionPrincipalMismatch:
		m.setIntegrity(semconv.OTelMCPSessionIntegrityPrincipalMismatch)
	case x.odd != "":
		m.setIntegrity(x.odd)
	case x.r.Method == http.MethodPost:
		m.setIntegrity(x.integrity(session, m.UserID, sure))
	case x.named != nil && x.named.UserID != "" && !x.named.StartedBy(m.UserID) && (sure || m.UserID != ""):
		m.setIntegrity(semconv.OTelMCPSessionIntegrityPrincipalMismatch)
	}
	if res.answer != nil {
		m.Code = res.answer.Code
		m.Outcome = outcomeOfRejection(m.Code)
	}
	if m.HTTPStatus >= http.StatusBadRequest {
		i.refusedCancel(session, e, x.from.Client)
	}
	i.coverage.heard(i)
	if x.hint != "" || res.sse || i.sessions.Get(session) != nil { // else it is what the request says
		i.coverage.sawTransport(i, m.Transport, true)
	}
	switch {
	case x.panicked:
		m.Outcome = semconv.OTelMCPOutcomePanic
	case res.stream:
		x.describeStream()
	case x.body.cut():
		m.Outcome = semconv.OTelMCPOutcomeCancelled
	case e == nil: // no message: its status says it
	case (e.Kind == jsonrpc.Request || e.NullAnswer) && !res.gone && res.answer == nil && m.HTTPStatus < http.StatusBadRequest:
		m.Outcome = semconv.OTelMCPOutcomeRejected // whatever the client was told
	case e.Kind == jsonrpc.Notification && m.Code == 0 && m.HTTPStatus < http.StatusBadRequest:
		m.Stage = semconv.OTelMCPStageDispatch
	case e.Kind == jsonrpc.Response:
		if m.HTTPStatus < http.StatusBadRequest {
			if i.answeredOverHTTP(session, e, m.RequestSize) || m.Transport == semconv.OTelMCPTransportStreamableHTTP && !e.EmptyResult {
				i.edges.ledger.record() // the end of a request of the server's, and recorded there
				return
			}
			m.Outcome = semconv.OTelMCPOutcomeRejected // nobody had asked
		}
	}
	if res.gone && !res.stream {
		m.undelivered()
	}
	m.Publish(operation.Parsed)
	x.observe()
	m.beginSpan()
	x.settleCancel(res.cancelSource)
	m.finish()
}

// servedElsewhere reports whether the message was dispatched after all, in a
// context that is not the exchange's, and recorded there: only dispatch answers
// with a result. Answers find their request by an id that its peer chose, which proves
// nothing where every message is dispatched in the context of its exchange.
func (x *exchange) servedElsewhere(e *jsonrpc.Envelope, res *result) bool {
	if e.Kind != jsonrpc.Request || !x.i.coverage.dispatches() {
		return false
	}
	if res.answer == nil {
		return x.posted != nil && x.i.coverage.lostContext() && e.Version == jsonrpc.Version && !e.HasResult
	}
	return res.answer.HasResult
}

// sureOfUser reports whether a request that is over, and was let in, is nobody's
// when no decision says whose it is. The program's own function may need to be asked
// in a context that the exchange does not know.
func (x *exchange) sureOfUser() bool {
	return x.i.cfg.identity == nil && x.m.HTTPStatus < http.StatusBadRequest && !x.m.Decisions.Refused()
}

// integrity says what is odd about the session that the request names. Unless one is
// sure of it, an empty user is one that is not known.
func (x *exchange) integrity(session, user string, sure bool) string {
	if session == "" {
		return ""
	}
	if known := x.i.sessions.Get(session); user == "" && !sure && known != nil {
		user = known.UserID
	}
	return x.i.sessions.Integrity(session, user, x.from.Client)
}

// message returns the message that the request's body is, or nil when there is
// none.
func (x *exchange) message() *jsonrpc.Envelope {
	if size, _ := x.body.sizes(); size == 0 || x.r.Method != http.MethodPost {
		return nil
	}
	e := x.body.parse()
	return &e
}

// sessionID is the session that the request names. The protocol's newest version
// has none, and ignores the header.
func (x *exchange) sessionID() string {
	if id := x.messageSession(); id != "" {
		return id
	}
	if mcp.IsModernProtocol(x.r.Header.Get(mcp.HeaderProtocolVersion)) {
		return ""
	}
	return x.r.Header.Get(server.HeaderKeySessionID)
}

// messageSession is the session that a request of the HTTP+SSE transport names.
func (x *exchange) messageSession() string {
	if x.r.Method != http.MethodPost || x.hint == semconv.OTelMCPTransportStreamableHTTP ||
		x.hint == "" && x.r.Header.Get(server.HeaderKeySessionID) != "" {
		return ""
	}
	return querySession(x.r)
}

// transport tells which of the HTTP transports the exchange belongs to. sse says
// that its stream shows it.
func (x *exchange) transport(session string, sse bool) string {
	switch known := x.knownTransport(session); {
	case known != "":
		return known
	case sse:
		return semconv.OTelMCPTransportSSE
	}
	return semconv.OTelMCPTransportStreamableHTTP
}

// knownTransport is the transport that the request itself shows; "" when that does not.
func (x *exchange) knownTransport(session string) string {
	if session != "" {
		if known := x.i.sessions.Get(session); known != nil {
			return known.Transport
		}
	}
	if x.hint == "" && x.messageSession() != "" {
		return semconv.OTelMCPTransportSSE
	}
	return x.hint
}

// wrap returns w with our hooks in it, and with the optional interfaces of w and
// no others. net/http's for HTTP/1 is what nearly all requests come with: what
// stands in front of that one needs no allocation.
func (x *exchange) wrap(w http.ResponseWriter) http.ResponseWriter {
	x.w = w
	if h1, ok := w.(http1Interfaces); ok {
		if _, more := w.(http.Pusher); !more {
			x.h1 = http1Writer{h1, x}
			return &x.h1
		}
	}
	return httpsnoop.Wrap(w, httpsnoop.Hooks{
		WriteHeader: func(next httpsnoop.WriteHeaderFunc) httpsnoop.WriteHeaderFunc {
			return func(status int) {
				x.header(status)
				next(status)
			}
		},
		Write: func(next httpsnoop.WriteFunc) httpsnoop.WriteFunc {
			return func(p []byte) (int, error) { return x.write(p, next) }
		},
		WriteString: func(next httpsnoop.WriteStringFunc) httpsnoop.WriteStringFunc {
			return func(s string) (int, error) { return x.writeString(s, next) }
		},
		ReadFrom: func(next httpsnoop.ReadFromFunc) httpsnoop.ReadFromFunc {
			return func(src io.Reader) (int64, error) { return x.readFrom(src, next) }
		},
		Flush: func(next httpsnoop.FlushFunc) httpsnoop.FlushFunc {
			return func() { x.flush(next) }
		},
		FlushError: func(next httpsnoop.FlushErrorFunc) httpsnoop.FlushErrorFunc {
			return func() error { return x.flushError(next) }
		},
		EnableFullDuplex: func(next httpsnoop.EnableFullDuplexFunc) httpsnoop.EnableFullDuplexFunc {
			return func() error { return x.enableFullDuplex(next) }
		},
		Hijack: func(next httpsnoop.HijackFunc) httpsnoop.HijackFunc {
			return func() (net.Conn, *bufio.ReadWriter, error) { return x.hijack(next) }
		},
	})
}

// http1Interfaces are the interfaces of net/http's ResponseWriter for HTTP/1.
type http1Interfaces interface {
	http.ResponseWriter
	http.Flusher
	http.Hijacker
	http.CloseNotifier //nolint:staticcheck // deprecated, and asked for all the same
	io.ReaderFrom
	io.StringWriter
	FlushError() error
	SetReadDeadline(deadline time.Time) error
	SetWriteDeadline(deadline time.Time) error
	EnableFullDuplex() error
}

// http1Writer stands in front of a ResponseWriter that has these interfaces.
type http1Writer struct {
	http1Interfaces
	x *exchange
}

func (w *http1Writer) Unwrap() http.ResponseWriter { return w.http1Interfaces }

func (w *http1Writer) WriteHeader(status int) {
	w.x.header(status)
	w.http1Interfaces.WriteHeader(status)
}

func (w *http1Writer) Write(p []byte) (int, error) { return w.x.write(p, w.http1Interfaces.Write) }

func (w *http1Writer) WriteString(s string) (int, error) {
	return w.x.writeString(s, w.http1Interfaces.WriteString)
}

func (w *http1Writer) ReadFrom(src io.Reader) (int64, error) {
	return w.x.readFrom(src, w.http1Interfaces.ReadFrom)
}

func (w *http1Writer) Flush()            { w.x.flush(w.http1Interfaces.Flush) }
func (w *http1Writer) FlushError() error { return w.x.flushError(w.http1Interfaces.FlushError) }

func (w *http1Writer) EnableFullDuplex() error {
	return w.x.enableFullDuplex(w.http1Interfaces.EnableFullDuplex)
}

func (w *http1Writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.x.hijack(w.http1Interfaces.Hijack)
}

// What follows are the hooks: each is one method of a ResponseWriter, and next is
// that method of the one that the exchange came with.

func (x *exchange) write(p []byte, next func([]byte) (int, error)) (int, error) {
	sent := x.writes(p)
	n, err := next(p)
	x.wrote(p[:clamp(n, len(p))], sent, err)
	return n, err
}

func (x *exchange) writeString(s string, next func(string) (int, error)) (int, error) {
	p := []byte(s)
	sent := x.writes(p)
	n, err := next(s)
	x.wrote(p[:clamp(n, len(p))], sent, err)
	return n, err
}

func (x *exchange) readFrom(src io.Reader, next func(io.Reader) (int64, error)) (int64, error) {
	if x.watches() { // else net/http may hand a file to the kernel
		t := &tee{Reader: src, x: x}
		n, err := next(t)
		t.settle(err)
		return n, err
	}
	n, err := next(src)
	if n > 0 { // net/http sends no header for nothing
		x.header(http.StatusOK)
	}
	x.out.Lock()
	defer x.out.Unlock()
	x.written += n
	return n, err
}

func (x *exchange) flush(next func()) {
	x.flushes()
	next()
	x.wasFlushed(nil)
}

func (x *exchange) flushError(next func() error) error {
	x.flushes()
	err := next()
	x.wasFlushed(err)
	return err
}

func (x *exchange) enableFullDuplex(next func() error) error {
	x.out.Lock()
	x.duplex = true
	x.out.Unlock()
	return next()
}

func (x *exchange) hijack(next func() (net.Conn, *bufio.ReadWriter, error)) (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := next()
	x.out.Lock()
	x.hijacked = err == nil
	x.out.Unlock()
	return c, rw, err
}

// clamp is for writers and readers that claim to have done more than they were
// asked for, or less than nothing.
func clamp(n, most int) int { return max(min(n, most), 0) }

// tee shows the exchange what net/http reads on its own, and writes until it
// reads again.
type tee struct {
	io.Reader
	x    *exchange
	last []byte
	sent []*outgoing
}

func (t *tee) Read(p []byte) (int, error) {
	t.settle(nil)
	n, err := t.Reader.Read(p)
	if t.last = p[:clamp(n, len(p))]; len(t.last) > 0 {
		t.sent = t.x.writes(t.last)
	}
	return n, err
}

func (t *tee) settle(err error) {
	if len(t.last) > 0 {
		t.x.wrote(t.last, t.sent, err)
	}
	t.last, t.sent = nil, nil
}

// watches reports whether what is written is looked at.
func (x *exchange) watches() bool {
	x.out.Lock()
	defer x.out.Unlock()
	if x.status == 0 {
		return kindOf(x.w.Header()) != responseOther
	}
	return x.kind != responseOther
}

func kindOf(h http.Header) responseKind {
	ct := h.Get("Content-Type")
	kind := kindOfMedia(ct)
	if kind == responseOther && ct != "" {
		media, _, _ := mime.ParseMediaType(ct)
		kind = kindOfMedia(media)
	}
	return kind
}

func kindOfMedia(media string) responseKind {
	switch media {
	case "application/json":
		return responseJSON
	case "text/event-stream":
		return responseStream
	}
	return responseOther
}

// flushes is told that what was written is about to be sent, and the header with it.
func (x *exchange) flushes() {
	defer x.i.rec.Guard()
	x.out.Lock()
	defer x.out.Unlock()
	x.headerLocked(http.StatusOK)
	x.flushed = true
}

// wasFlushed is told that what was written is on its way, or that it is not. What
// there is to record of it has waited for that, so as not to hold it up.
func (x *exchange) wasFlushed(err error) {
	defer x.i.rec.Guard()
	x.out.Lock()
	defer x.out.Unlock()
	x.failed = x.failed || err != nil && !errors.Is(err, http.ErrNotSupported)
	if x.stream != nil {
		x.stream.settle()
	}
}

// header is told that the response's header goes out with this status; only
// the first final one counts.
func (x *exchange) header(status int) {
	defer x.i.rec.Guard()
	x.out.Lock()
	defer x.out.Unlock()
	x.headerLocked(status)
}

func (x *exchange) headerLocked(status int) {
	if x.status != 0 || status < http.StatusOK && status != http.StatusSwitchingProtocols {
		return
	}
	x.status = status
	h := x.w.Header()
	x.encoded = h.Get("Content-Encoding") != ""
	if x.kind = kindOf(h); x.kind == responseStream {
		x.openStream()
	}
	if id := h.Get(server.HeaderKeySessionID); id != "" && status == http.StatusOK {
		x.i.sessions.Issue(id)
	}
	switch status {
	case http.StatusAccepted:
		x.accepted()
		if x.messageSession() != "" {
			x.tell(x)
		}
	case http.StatusUnauthorized, http.StatusForbidden:
		x.challenges = h.Values("WWW-Authenticate")
	}
}

// writes is told what is about to go out, and the header before it if that is not
// out yet, and returns the messages that end in it. What they ask for can be
// answered before the write returns.
func (x *exchange) writes(p []byte) []*outgoing {
	defer x.i.rec.Guard()
	x.out.Lock()
	defer x.out.Unlock()
	x.headerLocked(http.StatusOK)
	if x.kind != responseStream {
		return nil
	}
	return x.stream.write(p)
}

// wrote is told what went out, and how the write ended.
func (x *exchange) wrote(p []byte, sent []*outgoing, err error) {
	defer x.i.rec.Guard()
	x.out.Lock()
	defer x.out.Unlock()
	x.written += int64(len(p))
	// Two errors are net/http's word that a response cannot have this body: what it
	// can have goes out.
	x.failed = x.failed || err != nil && !errors.Is(err, http.ErrBodyNotAllowed) && !errors.Is(err, http.ErrContentLength)
	if len(sent) > 0 {
		x.stream.unsettled = append(x.stream.unsettled, sent...)
	}
	if len(p) == 0 || x.kind != responseJSON {
		return
	}
	x.lastByte = p[len(p)-1]
	if room := maxAnswer - len(x.head); room > 0 && !x.dispatched() {
		x.head = append(x.head, p[:min(len(p), room)]...)
	}
}

func (x *exchange) dispatched() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.adopted
}

// responds reports whether net/http still holds the response back.
func (x *exchange) responds() bool {
	x.out.Lock()
	defer x.out.Unlock()
	return !x.hijacked && !x.duplex && !x.flushed && x.written <= maxHeld
}
