// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// The HTTP edge: a handler around mcp-go's, or around any mux in front of it.

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
	"weak"

	"github.com/felixge/httpsnoop"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/jsonrpc"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/peer"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/scrub"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// httpEdge is what an Instrumentation keeps for its HTTP handlers.
type httpEdge struct {
	// streams are the open streams of the HTTP+SSE transport, by session: the
	// answers to what is posted go out on them.
	streams sync.Map // string → *answers
	// servers are the HTTP servers that tell us when they shut down.
	servers sync.Map // weak.Pointer[http.Server] → *atomic.Bool
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
	if !i.rec.Observed() {
		return h
	}
	return &httpHandler{i: i, next: h, transport: transportOfHandler(h)}
}

type httpHandler struct {
	i    *Instrumentation
	next http.Handler
	// transport is what next speaks, when its type tells.
	transport string
}

func transportOfHandler(h http.Handler) string {
	switch h.(type) {
	case *server.StreamableHTTPServer:
		return semconv.OTelMCPTransportStreamableHTTP
	case *server.SSEServer:
		return semconv.OTelMCPTransportSSE
	}
	return ""
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
	hint            string       // the transport, when the handler's type tells
	odd             string       // what is odd about the session id, without a message
	down            *atomic.Bool // the HTTP server is shutting down
	body            body
	m               message // the message's, dispatched or not
	// begun is what begin has filled of m, once it has.
	begun atomic.Pointer[connection]

	// Of what was posted to HTTP+SSE, set before it is dispatched.
	posted  bool
	awaits  string   // what its answer is found by
	session *answers // where it is looked for

	mu       sync.Mutex
	dispatch dispatchState
	adopted  bool        // dispatch has, or had, m
	watch    func() bool // stops watching the message's context
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
	status   int
	written  int64
	flushed  bool
	duplex   bool
	hijacked bool
	failed   bool // a write came back with an error
	encoded  bool // the response is compressed
	head     []byte
	kind     responseKind
	stream   *stream
	lastByte byte
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
	if k, ok := key.(edgeKey); ok && k.i == x.i {
		return edge(x)
	}
	return x.Context.Value(key)
}

// arrive fills what the request says before anybody handles it.
func (x *exchange) arrive(h *httpHandler) {
	defer x.i.rec.Guard()
	x.hint = h.transport
	x.from = x.i.cfg.peers.Resolve(x.r)
	if srv, ok := x.Context.Value(http.ServerContextKey).(*http.Server); ok {
		x.down = x.i.edges.http.shutdownOf(srv)
	}
	m := &x.m
	m.Since(x.start)
	m.HTTPVersion = httpVersion(x.r)
	m.Peer = x.i.peerFacts(x)
	if id := x.r.Header.Get(server.HeaderKeySessionID); id != "" && x.r.Method != http.MethodPost {
		// What the exchange is about to start or to end is not odd yet.
		x.odd = x.integrity(x.sessionID(), x.i.user(x))
	}
}

// shutdownOf returns what says whether srv is shutting down. A server that is
// only closed tells nobody: it is forgotten with its last use.
func (e *httpEdge) shutdownOf(srv *http.Server) *atomic.Bool {
	key := weak.Make(srv)
	if known, ok := e.servers.Load(key); ok {
		return known.(*atomic.Bool)
	}
	down, again := e.servers.LoadOrStore(key, new(atomic.Bool))
	flag := down.(*atomic.Bool)
	if !again {
		forget := func(key weak.Pointer[http.Server]) { e.servers.Delete(key) }
		srv.RegisterOnShutdown(func() {
			flag.Store(true)
			forget(key)
		})
		runtime.AddCleanup(srv, forget, key)
	}
	return flag
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

// maxUserAgent caps user_agent.original, in bytes.
const maxUserAgent = 256

// peerFacts are the attributes of who sent the request, and of the request.
func (i *Instrumentation) peerFacts(x *exchange) []attribute.KeyValue {
	facts := make([]attribute.KeyValue, 0, 8)
	if a := x.from.Client; a.IsValid() {
		facts = append(facts, semconv.ClientAddressKey.String(a.String()))
		if x.from.ClientPort != 0 {
			facts = append(facts, semconv.ClientPortKey.Int(int(x.from.ClientPort)))
		}
	}
	if a := x.from.Peer; a.IsValid() && a != x.from.Client {
		facts = append(facts, semconv.NetworkPeerAddressKey.String(a.String()))
	}
	if ua := x.r.UserAgent(); ua != "" {
		facts = append(facts, semconv.UserAgentOriginalKey.String(
			i.rec.Clean(semconv.UserAgentOriginalKey, scrub.Text(ua, maxUserAgent))))
	}
	facts = append(facts, semconv.HTTPRequestMethodKey.String(httpMethod(x.r.Method)))
	if x.r.URL != nil {
		facts = append(facts, semconv.URLPathKey.String(
			i.rec.Clean(semconv.URLPathKey, scrub.Text(x.r.URL.Path, operation.MaxURI))))
	}
	return facts
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

// ended is told that dispatch is through with m.
func (x *exchange) ended(m *message) {
	if m != &x.m {
		return
	}
	if x.watch != nil {
		x.watch()
	}
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
	x.session.remove(x)
	x.tryRecord()
}

func (x *exchange) tryRecord() {
	defer x.i.rec.Guard()
	defer x.body.release(!x.adopted)
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
	if !m.parsed { // of a method that mcp-go does not know its hooks tell nothing
		e := x.body.parse()
		m.RequestID, m.key = e.ID, e.Key
	}
	if res.gone {
		m.undelivered()
	}
	if x.posted && res.answer != nil && res.answer.HasError && m.Code == 0 && m.Outcome == "" {
		m.Outcome = semconv.OTelMCPOutcomeError // its result could not be encoded
	}
	x.i.settleCancel(m, res.cancelSource, false)
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
	if res.answer == nil && x.kind == responseJSON && !x.encoded {
		res.answer = readAnswer(x.head)
	}
	res.sse = res.stream && x.stream.sse
	sent := x.written > 0
	if x.kind == responseStream {
		sent = x.answer != nil
	}
	// The request of what was posted ends long before its answer.
	left := x.Err() != nil && !x.posted
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
		i.coverage.sawContextLost(i)
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
	}
	if session != "" {
		transport, network := m.Transport, m.Network
		m.describeSession(session)
		if m.Transport == "" {
			m.Transport, m.Network = transport, network
		}
	}
	i.identify(m)
	if x.r.Method == http.MethodPost {
		m.setIntegrity(x.integrity(session, m.UserID))
	} else {
		m.setIntegrity(x.odd)
	}
	if res.answer != nil {
		m.Code = res.answer.Code
		m.Outcome = outcomeOfRejection(m.Code)
	}
	i.coverage.sawTransport(i, m.Transport, true)
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
			if answered(i.askedIn(session, false), e.Key, e, m.RequestSize) || m.Transport == semconv.OTelMCPTransportStreamableHTTP && !e.EmptyResult {
				i.edges.ledger.record() // the end of a request of the server's, and recorded there
				return
			}
			m.Outcome = semconv.OTelMCPOutcomeRejected // nobody had asked
		}
	}
	if res.gone && !res.stream {
		m.undelivered()
	}
	x.decideSession(e)
	m.beginSpan()
	i.settleCancel(m, res.cancelSource, false)
	m.finish()
}

// servedElsewhere reports whether the message was dispatched after all, in a
// context that is not the exchange's, and recorded there: only dispatch answers
// with a result.
func (x *exchange) servedElsewhere(e *jsonrpc.Envelope, res *result) bool {
	if e.Kind != jsonrpc.Request {
		return false
	}
	if res.answer == nil {
		return x.posted && x.i.coverage.lostContext() && e.Version == jsonrpc.Version && !e.HasResult
	}
	return res.answer.HasResult
}

// integrity says what is odd about the session that the request names. Before
// dispatch the user is not known where h itself finds out who it is.
func (x *exchange) integrity(session, user string) string {
	if session == "" {
		return ""
	}
	if known := x.i.sessions.Get(session); user == "" && known != nil {
		user = known.UserID
	}
	return x.i.sessions.Integrity(session, user, x.from.Client)
}

// decideSession records that the server refused a session.
func (x *exchange) decideSession(e *jsonrpc.Envelope) {
	m := &x.m
	if m.integrity != semconv.OTelMCPSessionIntegrityUnknown && m.integrity != semconv.OTelMCPSessionIntegrityEnded {
		return
	}
	refused := m.HTTPStatus == http.StatusNotFound && m.Code == 0 && (e != nil || x.r.Method != http.MethodPost) ||
		m.Transport == semconv.OTelMCPTransportSSE && m.HTTPStatus == http.StatusBadRequest && m.Code == operation.CodeInvalidParams
	if !refused {
		return
	}
	m.Outcome = semconv.OTelMCPOutcomeDenied
	m.Decide(operation.Decision{
		Kind:      semconv.OTelMCPAuthKindAuthentication,
		Decision:  semconv.OTelMCPAuthDecisionDeny,
		Reason:    semconv.OTelMCPAuthReasonUnknownSession,
		Mechanism: semconv.OTelMCPAuthMechanismNone,
		Facts:     []attribute.KeyValue{semconv.OTelMCPSessionIntegrityKey.String(m.integrity)},
	})
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
	if x.r.URL == nil || x.r.Method != http.MethodPost || !strings.Contains(x.r.URL.RawQuery, "sessionId=") {
		return ""
	}
	return x.r.URL.Query().Get("sessionId")
}

// transport tells which of the HTTP transports the exchange belongs to. sse says
// that its stream shows it.
func (x *exchange) transport(session string, sse bool) string {
	if session != "" {
		if known := x.i.sessions.Get(session); known != nil {
			return known.Transport
		}
	}
	switch {
	case x.hint != "":
		return x.hint
	case x.messageSession() != "", sse:
		return semconv.OTelMCPTransportSSE
	}
	return semconv.OTelMCPTransportStreamableHTTP
}

// wrap returns w with our hooks in it.
func (x *exchange) wrap(w http.ResponseWriter) http.ResponseWriter {
	return httpsnoop.Wrap(w, httpsnoop.Hooks{
		WriteHeader: func(next httpsnoop.WriteHeaderFunc) httpsnoop.WriteHeaderFunc {
			return func(status int) {
				x.header(w, status)
				next(status)
			}
		},
		Write: func(next httpsnoop.WriteFunc) httpsnoop.WriteFunc {
			return func(p []byte) (int, error) {
				x.header(w, http.StatusOK)
				sent := x.writes(p)
				n, err := next(p)
				x.wrote(p[:clamp(n, len(p))], sent, err)
				return n, err
			}
		},
		WriteString: func(next httpsnoop.WriteStringFunc) httpsnoop.WriteStringFunc {
			return func(s string) (int, error) {
				x.header(w, http.StatusOK)
				p := []byte(s)
				sent := x.writes(p)
				n, err := next(s)
				x.wrote(p[:clamp(n, len(p))], sent, err)
				return n, err
			}
		},
		ReadFrom: func(next httpsnoop.ReadFromFunc) httpsnoop.ReadFromFunc {
			return func(src io.Reader) (int64, error) {
				if x.watches(w) { // else net/http may hand a file to the kernel
					t := &tee{Reader: src, x: x, w: w}
					n, err := next(t)
					t.settle(err)
					return n, err
				}
				n, err := next(src)
				if n > 0 { // net/http sends no header for nothing
					x.header(w, http.StatusOK)
				}
				x.out.Lock()
				defer x.out.Unlock()
				x.written += n
				return n, err
			}
		},
		Flush: func(next httpsnoop.FlushFunc) httpsnoop.FlushFunc {
			return func() {
				x.flush(w)
				next()
			}
		},
		FlushError: func(next httpsnoop.FlushErrorFunc) httpsnoop.FlushErrorFunc {
			return func() error {
				x.flush(w)
				return next()
			}
		},
		EnableFullDuplex: func(next httpsnoop.EnableFullDuplexFunc) httpsnoop.EnableFullDuplexFunc {
			return func() error {
				x.out.Lock()
				x.duplex = true
				x.out.Unlock()
				return next()
			}
		},
		Hijack: func(next httpsnoop.HijackFunc) httpsnoop.HijackFunc {
			return func() (c net.Conn, rw *bufio.ReadWriter, err error) {
				c, rw, err = next()
				x.out.Lock()
				x.hijacked = err == nil
				x.out.Unlock()
				return c, rw, err
			}
		},
	})
}

// clamp is for writers and readers that claim to have done more than they were
// asked for, or less than nothing.
func clamp(n, most int) int { return max(min(n, most), 0) }

// tee shows the exchange what net/http reads on its own, and writes until it
// reads again.
type tee struct {
	io.Reader
	x    *exchange
	w    http.ResponseWriter
	last []byte
	sent []*outgoing
}

func (t *tee) Read(p []byte) (int, error) {
	t.settle(nil)
	n, err := t.Reader.Read(p)
	if t.last = p[:clamp(n, len(p))]; len(t.last) > 0 {
		t.x.header(t.w, http.StatusOK)
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
func (x *exchange) watches(w http.ResponseWriter) bool {
	x.out.Lock()
	defer x.out.Unlock()
	if x.status == 0 {
		return kindOf(w.Header()) != responseOther
	}
	return x.kind != responseOther
}

func kindOf(h http.Header) responseKind {
	ct := h.Get("Content-Type")
	if ct == "" {
		return responseOther
	}
	switch media, _, _ := mime.ParseMediaType(ct); media {
	case "application/json":
		return responseJSON
	case "text/event-stream":
		return responseStream
	}
	return responseOther
}

func (x *exchange) flush(w http.ResponseWriter) {
	x.header(w, http.StatusOK)
	x.out.Lock()
	defer x.out.Unlock()
	x.flushed = true
}

// header is told that the response's header goes out with this status; only
// the first final one counts.
func (x *exchange) header(w http.ResponseWriter, status int) {
	defer x.i.rec.Guard()
	x.out.Lock()
	defer x.out.Unlock()
	if x.status != 0 || status < http.StatusOK && status != http.StatusSwitchingProtocols {
		return
	}
	x.status = status
	h := w.Header()
	x.encoded = h.Get("Content-Encoding") != ""
	if x.kind = kindOf(h); x.kind == responseStream {
		x.openStream()
	}
	if id := h.Get(server.HeaderKeySessionID); id != "" && status == http.StatusOK {
		x.i.sessions.Issue(id)
	}
	if status == http.StatusAccepted {
		x.accepted()
	}
}

// writes is told what is about to go out, and returns the messages that end in
// it. What they ask for can be answered before the write returns.
func (x *exchange) writes(p []byte) []*outgoing {
	defer x.i.rec.Guard()
	x.out.Lock()
	defer x.out.Unlock()
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
	for _, o := range sent {
		x.stream.sent(o, x.failed)
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

// readRest reads what is left of the body of a request that was answered
// without it, because that says what was refused. It is what net/http itself
// does before it sends such an answer, under the same conditions, so the client
// cannot tell: a read that net/http would not do could wait for a client that
// waits for its answer, and one that is given up ends the context of all that
// comes later on the connection.
func (x *exchange) readRest(w http.ResponseWriter) {
	defer x.i.rec.Guard()
	if x.body.ReadCloser == nil || x.posted || x.dispatched() || x.Err() != nil || !x.responds() {
		return
	}
	r := x.r
	if r.ProtoMajor != 1 || r.ProtoMinor < 1 || r.Close || r.Header.Get("Expect") != "" ||
		r.ContentLength <= 0 || r.ContentLength > maxDrain || w.Header().Get("Connection") != "" {
		return
	}
	if _, limited := x.Deadline(); limited {
		return // http.TimeoutHandler, say, counts on the handler having returned
	}
	if srv, ok := x.Context.Value(http.ServerContextKey).(*http.Server); !ok || x.shuttingDown() || !keepsAlive(srv) {
		return
	}
	if fmt.Sprintf("%T", r.Body) == "*http.maxBytesReader" {
		return // at its limit it has the connection closed
	}
	for buf := make([]byte, 4<<10); ; {
		if _, err := x.body.Read(buf); err != nil {
			return
		}
	}
}

// responds reports whether net/http still holds the response back.
func (x *exchange) responds() bool {
	x.out.Lock()
	defer x.out.Unlock()
	return !x.hijacked && !x.duplex && !x.flushed && x.written <= maxHeld
}

// keepAlivesOff is the field of an http.Server that SetKeepAlivesEnabled sets, and
// that there is no other way to read.
var keepAlivesOff, keepAlivesKnown = func() (reflect.StructField, bool) {
	f, ok := reflect.TypeFor[http.Server]().FieldByName("disableKeepAlives")
	return f, ok && f.Type == reflect.TypeFor[atomic.Bool]()
}()

// keepsAlive reports whether srv is known to let connections live on after a
// response.
func keepsAlive(srv *http.Server) bool {
	if !keepAlivesKnown {
		return false
	}
	off := (*atomic.Bool)(unsafe.Add(unsafe.Pointer(srv), keepAlivesOff.Offset))
	return !off.Load()
}

const (
	// maxDrain is how much of a body net/http reads after the handler.
	maxDrain = 256 << 10
	// maxHeld is less than what net/http holds back of a response before it
	// sends the header.
	maxHeld = 2 << 10
	// maxAnswer is how much is kept of the response to a message that is not
	// dispatched: a client can choose an id that hides what follows it.
	maxAnswer = 64 << 10
)

// body is the request's body. It keeps the beginning of what passes.
type body struct {
	io.ReadCloser
	x     *exchange
	inner *http.Request // that h sees

	mu      sync.Mutex
	buf     *[]byte
	size    int
	looked  int // how much of size was looked at
	eof     bool
	err     error
	noticed bool // it was looked through for a cancellation
	closed  bool // recorded: what is read now is nobody's
	env     *jsonrpc.Envelope
	request bool // isRequest, once buf is gone
}

// bodies holds the buffers of bodies. Large ones are left to the collector.
var bodies = sync.Pool{New: func() any {
	b := make([]byte, 0, 4<<10)
	return &b
}}

const maxPooled = 64 << 10

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && b.inner.Trailer == nil { // net/http knows the request that it made
		b.inner.Trailer = b.x.r.Trailer
	}
	b.see(p[:clamp(n, len(p))], err)
	return n, err
}

func (b *body) see(p []byte, err error) {
	defer b.x.i.rec.Guard()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.eof {
		return
	}
	b.size += len(p)
	if b.env == nil && len(p) > 0 {
		if b.buf == nil {
			b.buf = bodies.Get().(*[]byte)
			*b.buf = (*b.buf)[:0]
		}
		if room := maxLook - len(*b.buf); room > 0 {
			*b.buf = append(*b.buf, p[:min(len(p), room)]...)
		}
		b.looked = len(*b.buf)
	}
	switch {
	case errors.Is(err, io.EOF):
		b.eof = true
	case err != nil:
		b.err = err
	}
	if b.eof || int64(b.size) == b.x.r.ContentLength {
		b.eof = true
		b.noticeCancel()
	}
}

// maxCancel is the size above which a message is not looked through for a
// cancellation: one has an id and perhaps a reason.
const maxCancel = 16 << 10

// noticeCancel remembers who asks for a cancellation before mcp-go acts on it:
// the request that is cancelled may end first. The method may be spelt with
// escapes.
func (b *body) noticeCancel() {
	if b.noticed {
		return
	}
	b.noticed = true
	if b.buf == nil || len(*b.buf) > maxCancel ||
		!bytes.Contains(*b.buf, []byte("cancelled")) && !bytes.Contains(*b.buf, []byte(`\u`)) {
		return
	}
	e := b.parseLocked()
	if e.Kind == jsonrpc.Notification && e.Method == string(mcp.MethodNotificationCancelled) {
		var address string
		if b.x.from.Client.IsValid() {
			address = b.x.from.Client.String()
		}
		b.x.i.noticeCancel(b.x.sessionID(), &e, address)
	}
}

// sizes returns how large the body was as far as it was read, and how much of
// that was not looked at.
func (b *body) sizes() (size, unread int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.size, b.size - b.looked
}

// cut reports whether the client went away within the body.
func (b *body) cut() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err != nil && (errors.Is(b.err, io.ErrUnexpectedEOF) || b.x.Err() != nil)
}

func (b *body) parse() jsonrpc.Envelope {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.parseLocked()
}

func (b *body) parseLocked() jsonrpc.Envelope {
	if b.env == nil {
		var e jsonrpc.Envelope
		switch {
		case b.buf == nil:
		case b.size > b.looked:
			e, _ = jsonrpc.Head(*b.buf)
		default:
			e = jsonrpc.Parse(*b.buf)
		}
		b.env = &e
	}
	return *b.env
}

// accept parses what was posted to HTTP+SSE, of which mcp-go reads the first value
// and no more, and lets the bytes go: the message may wait for long. whole says
// that the value's end was at hand.
func (b *body) accept() (e jsonrpc.Envelope, whole bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf == nil { // it came from elsewhere
		return jsonrpc.Envelope{Silent: true}, true
	}
	e = jsonrpc.ParseFirst(*b.buf)
	whole = e.Kind != jsonrpc.Malformed || b.size == b.looked
	if !whole {
		e, _ = jsonrpc.Head(*b.buf)
	}
	b.env = &e
	b.noticeCancel()
	b.drop(true)
	return e, whole
}

// isRequest reports whether the body is a request, as far as can be told: what is
// no JSON to us may be so to who decodes it.
func (b *body) isRequest() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.isRequestLocked()
}

func (b *body) isRequestLocked() bool {
	if b.buf == nil {
		return b.request
	}
	first := bytes.TrimLeft(*b.buf, " \t\r\n")
	if len(first) == 0 || first[0] != '{' {
		return b.size > 0
	}
	return jsonrpc.IsRequest(first, b.eof && b.size == b.looked)
}

// release gives the buffer back. A handler that still reads reads on unseen.
func (b *body) release(ask bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.drop(ask)
}

// drop gives the buffer back; ask says that somebody may still ask what it was.
func (b *body) drop(ask bool) {
	if b.buf == nil {
		return
	}
	b.request = ask && b.isRequestLocked()
	if cap(*b.buf) <= maxPooled {
		bodies.Put(b.buf)
	}
	b.buf = nil
}
