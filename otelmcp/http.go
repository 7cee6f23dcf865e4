// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// The HTTP edge: a handler around mcp-go's, or around any mux in front of it.

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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
	// servers are the *http.Server that told us to say when they shut down.
	servers sync.Map // *http.Server → *atomic.Bool
}

// Handler returns h with every HTTP exchange recorded that goes through it: not
// only the messages that mcp-go dispatches, but also those that it, or anything
// else inside of h, turns away, with the HTTP facts, the sizes and the peer's
// address of all of them. h is mcp-go's streamable HTTP or SSE server, or any
// handler that leads to one: put the authentication inside of h and its refusals
// are recorded too. Health checks and other pages belong outside, since each
// exchange is a record.
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
	x := &exchange{Context: r.Context(), i: h.i, r: r, start: time.Now()}
	x.body.x = x
	h.i.edges.ledger.arrive()
	x.arrive(h)
	returned := false
	defer func() { x.handled(!returned) }()
	r2 := r.WithContext(x)
	if r.Body != nil && r.Body != http.NoBody {
		x.body.ReadCloser = r.Body
		r2.Body = &x.body
	}
	h.next.ServeHTTP(x.wrap(w), r2)
	returned = true
}

// exchange is one HTTP request and its response. It is the context that the
// request is handled in.
//
// It is over when the handler has returned, dispatch is through with its
// message if it was dispatched, and its answer went out if that goes out on
// another exchange's stream. Whoever comes last records it, exactly once.
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
	// begun says that dispatch has begun m: what begin fills can be read.
	begun atomic.Bool

	mu       sync.Mutex
	adopted  bool // dispatched; m belongs to dispatch until through
	through  bool // dispatch is
	awaiting bool // its answer goes out on a stream
	returned bool // the handler is through
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
	head     []byte
	kind     responseKind
	stream   *stream
	lastByte byte
}

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
		x.odd = x.i.sessions.Integrity(x.sessionID(), x.i.user(x), x.from.Client)
	}
}

// shutdownOf returns what says whether srv is shutting down.
func (e *httpEdge) shutdownOf(srv *http.Server) *atomic.Bool {
	if known, ok := e.servers.Load(srv); ok {
		return known.(*atomic.Bool)
	}
	down, again := e.servers.LoadOrStore(srv, new(atomic.Bool))
	flag := down.(*atomic.Bool)
	if !again {
		srv.RegisterOnShutdown(func() {
			flag.Store(true)
			e.servers.Delete(srv)
		})
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

// adopt is dispatch taking the exchange's message. The second message that a
// handler makes of one request is an operation of its own.
func (x *exchange) adopt(ctx context.Context) *message {
	x.mu.Lock()
	taken := x.adopted || x.over
	x.adopted = true
	x.mu.Unlock()
	if taken {
		m := &message{}
		m.init(x.i, ctx)
		m.HTTPVersion, m.Peer = x.m.HTTPVersion, x.m.Peer
		return m
	}
	x.m.init(x.i, ctx)
	x.m.edge, x.m.onLedger = x, true
	return &x.m
}

func (x *exchange) ended(*message) { x.advance(func() { x.through = true }) }

// handled is told that the handler has returned, or panicked.
func (x *exchange) handled(panicked bool) {
	x.endStream(panicked)
	if !panicked {
		x.readRest()
	}
	x.advance(func() { x.returned, x.panicked = true, panicked })
}

// advance makes a step towards the end, and records the exchange when it was
// the last one.
func (x *exchange) advance(step func()) {
	x.mu.Lock()
	step()
	over := x.returned && !x.awaiting && (x.through || !x.adopted) && !x.over
	x.over = x.over || over
	x.mu.Unlock()
	if over {
		x.record()
	}
}

// record ends the exchange. Nobody else writes to it any more.
func (x *exchange) record() {
	defer x.i.settle()
	x.tryRecord()
}

func (x *exchange) tryRecord() {
	defer x.i.rec.Guard()
	x.out.Lock()
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
	if x.answer == nil && x.kind == responseJSON && len(x.head) > 0 {
		if e, _ := jsonrpc.Head(x.head); e.Method == "" {
			x.answer = &e
		}
	}
	if x.answered > 0 {
		m.ResponseSize = x.answered
	}
	sent := x.written > 0
	if x.kind == responseStream {
		sent = x.answer != nil
	}
	gone := x.unsent || x.failed || x.Err() != nil && !sent && !x.awaitsElsewhere()
	x.out.Unlock()

	size, unread := x.body.sizes()
	m.RequestSize = size
	if unread > 0 {
		m.Facts = append(m.Facts, semconv.OTelMCPRequestUnreadKey.Int(unread))
	}
	defer x.body.release()
	if !x.adopted {
		x.recordUndispatched(gone)
		return
	}
	if !m.parsed { // of a method that mcp-go does not know its hooks tell nothing
		e := x.body.parse()
		m.RequestID, m.key = e.ID, e.Key
	}
	if gone {
		m.undelivered()
	}
	x.i.settleCancel(m, x.cancelSource(), false)
	m.finish()
}

// awaitsElsewhere reports whether the answer goes out on another exchange.
func (x *exchange) awaitsElsewhere() bool { return x.answered > 0 || x.status == http.StatusAccepted }

// cancelSource is who ended the exchange, if not the client's own wish.
func (x *exchange) cancelSource() string {
	switch {
	case x.Err() == nil && !x.unsent && !x.failed:
		return semconv.OTelMCPCancelSourceServer
	case x.shuttingDown():
		return semconv.OTelMCPCancelSourceShutdown
	}
	return semconv.OTelMCPCancelSourceDisconnect
}

// shuttingDown reports whether the HTTP server is. x may be nil.
func (x *exchange) shuttingDown() bool { return x != nil && x.down != nil && x.down.Load() }

// recordUndispatched records an exchange whose message, if it has one, mcp-go
// did not dispatch.
func (x *exchange) recordUndispatched(gone bool) {
	i, m := x.i, &x.m
	m.init(i, x)
	m.Instant, m.onLedger = true, true
	m.Stage = semconv.OTelMCPStageTransport
	m.Network = x.network()
	e := x.message()
	session := x.sessionID()
	m.Transport = x.transport(session)
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
		m.checkSession(session, x.from.Client)
	} else {
		m.setIntegrity(x.odd)
	}
	if x.answer != nil {
		m.Code = x.answer.Code
		m.Outcome = outcomeOfRejection(m.Code)
	}
	i.coverage.sawTransport(i, m.Transport, true)
	switch {
	case x.panicked:
		m.Outcome = semconv.OTelMCPOutcomePanic
	case x.stream != nil:
		x.describeStream()
	case x.body.cut():
		m.Outcome = semconv.OTelMCPOutcomeCancelled
	case e == nil: // no message: its status says it
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
	case e.Kind == jsonrpc.Request && e.Silent:
		m.Outcome = semconv.OTelMCPOutcomeRejected // with a result, it is not dispatched
	}
	if gone && x.stream == nil {
		m.undelivered()
	}
	x.decideSession(e)
	m.beginSpan()
	i.settleCancel(m, x.cancelSource(), false)
	m.finish()
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

// transport tells which of the HTTP transports the exchange belongs to.
func (x *exchange) transport(session string) string {
	if session != "" {
		if known := x.i.sessions.Get(session); known != nil {
			return known.Transport
		}
	}
	switch {
	case x.hint != "":
		return x.hint
	case x.messageSession() != "", x.stream != nil && x.stream.sse:
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
				n, err := next(p)
				x.wrote(p[:max(n, 0)], err)
				return n, err
			}
		},
		WriteString: func(next httpsnoop.WriteStringFunc) httpsnoop.WriteStringFunc {
			return func(s string) (int, error) {
				x.header(w, http.StatusOK)
				n, err := next(s)
				x.wrote([]byte(s[:max(n, 0)]), err)
				return n, err
			}
		},
		ReadFrom: func(next httpsnoop.ReadFromFunc) httpsnoop.ReadFromFunc {
			return func(src io.Reader) (int64, error) {
				x.header(w, http.StatusOK)
				if x.watches() { // else net/http may hand a file to the kernel
					return next(io.TeeReader(src, teeWriter{x}))
				}
				n, err := next(src)
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
				x.duplex = true
				return next()
			}
		},
		Hijack: func(next httpsnoop.HijackFunc) httpsnoop.HijackFunc {
			return func() (c net.Conn, rw *bufio.ReadWriter, err error) {
				c, rw, err = next()
				x.hijacked = err == nil
				return c, rw, err
			}
		},
	})
}

// teeWriter shows the exchange what net/http reads on its own.
type teeWriter struct{ x *exchange }

func (t teeWriter) Write(p []byte) (int, error) {
	t.x.wrote(p, nil)
	return len(p), nil
}

func (x *exchange) watches() bool {
	x.out.Lock()
	defer x.out.Unlock()
	return x.kind != responseOther
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
	if ct := h.Get("Content-Type"); ct != "" {
		switch media, _, _ := mime.ParseMediaType(ct); media {
		case "application/json":
			x.kind = responseJSON
		case "text/event-stream":
			x.kind = responseStream
			x.openStream()
		}
	}
	if id := h.Get(server.HeaderKeySessionID); id != "" && status == http.StatusOK {
		x.i.sessions.Issue(id)
	}
	if status == http.StatusAccepted {
		x.accepted()
	}
}

// wrote is told what went out.
func (x *exchange) wrote(p []byte, err error) {
	defer x.i.rec.Guard()
	x.out.Lock()
	defer x.out.Unlock()
	x.written += int64(len(p))
	if err != nil {
		x.failed = true
	}
	if len(p) == 0 {
		return
	}
	switch x.kind {
	case responseJSON:
		x.lastByte = p[len(p)-1]
		if room := maxHead - len(x.head); room > 0 && !x.dispatched() {
			x.head = append(x.head, p[:min(len(p), room)]...)
		}
	case responseStream:
		x.stream.write(p)
	case responseOther:
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
// cannot tell.
func (x *exchange) readRest() {
	defer x.i.rec.Guard()
	if x.body.ReadCloser == nil || x.hijacked || x.duplex || x.flushed || x.dispatched() || x.Err() != nil {
		return
	}
	r := x.r
	if r.ProtoMajor != 1 || r.ProtoMinor < 1 || r.Close || r.Header.Get("Expect") != "" ||
		r.ContentLength <= 0 || r.ContentLength > maxDrain || x.written > maxHeld {
		return
	}
	for buf := make([]byte, 4<<10); ; {
		if _, err := x.body.Read(buf); err != nil {
			return
		}
	}
}

const (
	// maxDrain is how much of a body net/http reads after the handler.
	maxDrain = 256 << 10
	// maxHeld is less than what net/http holds back of a response before it
	// sends the header.
	maxHeld = 2 << 10
)

// body is the request's body. It keeps the beginning of what passes.
type body struct {
	io.ReadCloser
	x *exchange

	mu     sync.Mutex
	buf    *[]byte
	size   int
	eof    bool
	err    error
	closed bool // recorded: what is read now is nobody's
	env    *jsonrpc.Envelope
}

// bodies holds the buffers of bodies. Large ones are left to the collector.
var bodies = sync.Pool{New: func() any {
	b := make([]byte, 0, 4<<10)
	return &b
}}

const maxPooled = 64 << 10

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.see(p[:max(n, 0)], err)
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
	if b.buf == nil && len(p) > 0 {
		b.buf = bodies.Get().(*[]byte)
		*b.buf = (*b.buf)[:0]
	}
	if b.buf != nil {
		if room := maxLook - len(*b.buf); room > 0 {
			*b.buf = append(*b.buf, p[:min(len(p), room)]...)
		}
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
	if b.buf != nil {
		unread = b.size - len(*b.buf)
	}
	return b.size, unread
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
		case b.size > len(*b.buf):
			e, _ = jsonrpc.Head(*b.buf)
		default:
			e = jsonrpc.Parse(*b.buf)
		}
		b.env = &e
	}
	return *b.env
}

// release gives the buffer back. A handler that still reads reads on unseen.
func (b *body) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.buf != nil && cap(*b.buf) <= maxPooled {
		bodies.Put(b.buf)
	}
	b.buf = nil
}
