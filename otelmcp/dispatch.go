// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Dispatch: the tracer seam of mcp-go. Its three parts run in this order for
// every request that mcp-go dispatches, each with the context that the one
// before returned: metaPropagator, headerPropagator, dispatchTracer. The first
// that runs makes the operation, Start begins it, and the span's End finishes
// it. The hooks in between fill it. The propagators are in propagators.go.

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"github.com/mark3labs/mcp-go/tracing"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/jsonrpc"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/session"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// message is one request in dispatch, and the context that it is handled in: the
// operation, what the parent policy has to choose from, and what the hooks have
// told. The seams take it from the very context that they are handed and not
// from one that it derives from, so that a server called from within a tool of
// another one does not take the other's message for its own.
type message struct {
	operation.Operation
	i        *Instrumentation
	links    []trace.SpanContext // what belongs to its span and is not the parent
	atEdge   bool                // it came through an edge
	onLedger bool                // an edge has counted it, and settles it
	edge     edge                // which ends it; nil when dispatch does
	session  string              // the id that mcp-go gave its session
	// integrity is what is odd about its session, if anything.
	integrity string
	line      *line  // that it came on, on stdio
	id        any    // as a hook told it
	key       string // what an answer's id is compared by, as an edge read it

	parsed  bool // a hook has shown the parsed request
	settled bool // it is known how the request ended
	mute    bool // mcp-go cannot write its answer, as far as that is looked at

	// Set from the goroutine that runs a tool's handler. When the call became
	// a task, that one outlives the operation.
	handlerRan, panicked atomic.Bool
	heeds                atomic.Bool  // somebody asked whether its context has ended, from the handler on
	heedsAround          atomic.Bool  // somebody had asked before the handler
	failure              atomic.Int32 // what is known of the handler's error
	filter               sync.Once    // what the filters decided is recorded
}

// answerKey is what the id of the message's answer is compared by; "" when it is
// not known.
func (m *message) answerKey() string {
	if m.key == "" && m.id != nil {
		_, m.key = jsonrpc.ID(m.id)
	}
	return m.key
}

type messageKey struct{}

// Value makes the message findable from the context that it is handled in.
func (m *message) Value(key any) any {
	switch key.(type) {
	case messageKey, subjectKey:
		return m
	}
	return m.Context.Value(key)
}

// messageOf returns the message that ctx is handled in. It returns nil where
// the innermost one is another server's: what is told there is not ours.
func (i *Instrumentation) messageOf(ctx context.Context) *message {
	m, _ := ctx.Value(messageKey{}).(*message)
	if m == nil || m.i != i {
		return nil
	}
	return m
}

// ownCall reports whether ctx is one that a handler or a hook of the program's was
// called in: what is dispatched in it is a request of the program's own.
func (i *Instrumentation) ownCall(ctx context.Context) bool {
	return i.messageOf(ctx) != nil || i.arrivingOf(ctx) != nil
}

// Done and Err are those of the context that the message is handled in. They tell
// that somebody heeds its end.

func (m *message) Done() <-chan struct{} {
	m.heed()
	return m.Context.Done()
}

func (m *message) Err() error {
	m.heed()
	return m.Context.Err()
}

func (m *message) heed() {
	if !m.heeds.Load() {
		m.heeds.Store(true)
	}
}

// unheard reports whether no operation is made of a request that is handled in ctx, since
// nobody listens. What came through an edge is one all the same: an edge's books are of
// every message, and somebody may listen when it ends.
func (i *Instrumentation) unheard(ctx context.Context) bool {
	return !i.rec.Observed() && (!i.rec.Observable() || i.edgeOf(ctx) == nil)
}

// newMessage makes the operation of a request that is handled in ctx, or takes
// over the one that an edge opened.
func (i *Instrumentation) newMessage(ctx context.Context) *message {
	e := i.edgeOf(ctx)
	if e == nil || i.ownCall(ctx) { // it is not what the edge saw
		m := &message{atEdge: e != nil}
		m.init(i, ctx)
		return m
	}
	m := e.adopt(ctx)
	m.atEdge = true
	return m
}

func (m *message) init(i *Instrumentation, ctx context.Context) {
	m.i, m.links = i, nil
	i.rec.Init(&m.Operation, ctx, operation.RoleServer)
}

// dispatchTracer begins the operation of each request.
type dispatchTracer struct{ i *Instrumentation }

// Start is also called by mcp-go's tool middleware, with an internal span that
// the conventions have no place for: one message is one span.
func (t dispatchTracer) Start(ctx context.Context, name string, kind tracing.SpanKind,
	_ ...tracing.Attribute,
) (context.Context, tracing.Span) {
	if kind != tracing.SpanKindServer {
		return ctx, toolSpan{}
	}
	m, ok := ctx.(*message)
	if !ok {
		if t.i.unheard(ctx) {
			return ctx, toolSpan{}
		}
		m = t.i.newMessage(ctx) // other propagators took the place of ours
	}
	return t.i.begin(m, strings.TrimPrefix(name, "mcp.")), (*dispatchSpan)(m)
}

// begin fills what is known of a request before it is parsed, and starts its
// span. It returns the context that the request is handled in.
func (i *Instrumentation) begin(m *message, method string) (ctx context.Context) {
	ctx = m
	defer i.rec.Guard()
	srv := server.ServerFromContext(m.Context)
	// Without a lock: a schema's code may call the server.
	if srv != nil && !i.baseline.Load() && i.baseline.CompareAndSwap(false, true) {
		i.watchDefinitions(m.Context, srv)
	}
	m.Method.Text = method
	m.Stage = semconv.OTelMCPStageDispatch
	m.Transport = semconv.OTelMCPTransportOther

	s := server.ClientSessionFromContext(m.Context)
	known := i.describePeer(m, s)
	i.identify(&m.Operation)
	if s != nil {
		m.session = s.SessionID()
		if method != semconv.MCPMethodNameInitialize { // its session is the one that it makes
			m.checkSession(m.session, i.clientOf(m))
		}
	}
	if _, ok := m.edge.(*lines); ok && m.Transport != semconv.OTelMCPTransportStdio {
		m.edge, m.onLedger = nil, false // a program's own dispatch, in the context of the connection
	}
	m.Publish(operation.Begun)
	m.beginSpan()
	if known != nil && known.Awaits() && method != semconv.MCPMethodNameInitialize { // it does not introduce itself
		known.Introduce(m, i.rec, m.client())
	}
	if x, ok := m.edge.(*exchange); ok && m == &x.m {
		x.conn = connection{
			m.session, m.SessionID, m.Transport, m.UserID, m.UserRoles, m.ClientName, m.ClientVersion, m.ProtocolVersion,
		}
		x.begun.Store(&x.conn)
	}
	i.coverage.sawTransport(i, m.Transport, m.atEdge)
	i.checkSeams()
	if s != nil && srv != nil {
		if wrapped := i.wrapSession(s, known); wrapped != nil {
			ctx = srv.WithContext(m, wrapped)
		}
	}
	if h := server.InProcessSamplingHandlerFromContext(m.Context); h != nil && !isOurs(h) {
		ctx = server.WithInProcessSamplingHandler(ctx, samplingHandler{h, i})
	}
	return ctx
}

// beginSpan starts the span of a message whose method, session and parent are
// known.
func (m *message) beginSpan() {
	m.Silent = m.Silent || m.i.silent(m.Context, m.Method.Text)
	m.i.beginReceived(&m.Operation, m.links)
}

// client is what the message says of who sent it, or nil.
func (m *message) client() *session.Peer {
	if m.ClientName == "" {
		return nil
	}
	return &session.Peer{Name: m.ClientName, Version: m.ClientVersion, ProtocolVersion: m.ProtocolVersion}
}

// checkSession records what is odd about the session id that an HTTP request
// came with.
func (m *message) checkSession(id string, from netip.Addr) {
	if id == "" || m.Transport != semconv.OTelMCPTransportStreamableHTTP && m.Transport != semconv.OTelMCPTransportSSE {
		return
	}
	m.setIntegrity(m.i.sessions.Integrity(id, m.UserID, from))
}

func (m *message) setIntegrity(odd string) {
	if odd != "" {
		m.integrity = odd
		m.Facts = append(m.Facts, semconv.OTelMCPSessionIntegrityKey.String(odd))
	}
}

// clientOf returns the address that the message came from, as far as the HTTP
// edge knows.
func (i *Instrumentation) clientOf(ctx context.Context) (from netip.Addr) {
	if x, ok := i.edgeOf(ctx).(*exchange); ok {
		return x.from.Client
	}
	return from
}

// describePeer fills what the transport and the session say, and returns what
// is remembered of the session, if anything.
func (i *Instrumentation) describePeer(m *message, s server.ClientSession) (known *session.Session) {
	if info := server.RequestProtocolInfoFromContext(m.Context); info != nil {
		m.setProtocolVersion(info.ProtocolVersion)
		if info.Modern && info.ClientInfo != nil {
			p := session.NewPeer(i.rec, info.ClientInfo.Name, info.ClientInfo.Version, "")
			m.ClientName, m.ClientVersion = p.Name, p.Version
		}
	}
	if s == nil {
		return nil
	}
	id := s.SessionID()
	known = i.sessions.Get(id)
	if known == nil {
		m.Transport, m.Network = i.transportOf(s)
		m.SessionID = i.sessionID(id)
		if v, ok := s.(server.SessionWithProtocolVersion); ok && m.ProtocolVersion == "" {
			m.setProtocolVersion(v.ProtocolVersion())
		}
		return nil
	}
	// What the session object says of its client is not asked: mcp-go has one
	// object for all stdio sessions, with what the last client said.
	m.describeKnown(known)
	return known
}

// setProtocolVersion takes v if it is one of MCP's: a client can claim any.
func (m *message) setProtocolVersion(v string) {
	if mcp.IsValidProtocolVersion(v) {
		m.ProtocolVersion = v
	}
}

// user is the principal of what is handled in ctx, or "".
func (i *Instrumentation) user(ctx context.Context) string {
	return i.identityOf(ctx).UserID
}

// dispatchSpan is what mcp-go holds of a message.
type dispatchSpan message

func (*dispatchSpan) SetAttributes(...tracing.Attribute) {}
func (*dispatchSpan) RecordError(error)                  {}

// SetStatus is mcp-go's word that it answers with an error. The OnError hook
// has told more by then, but for a method that nobody handles.
func (s *dispatchSpan) SetStatus(code tracing.StatusCode, description string) {
	if code != tracing.StatusError || s.settled {
		return
	}
	s.settled = true
	s.Message = description
	if s.i.hooked() {
		s.Code = operation.CodeMethodNotFound
	} else {
		s.Outcome = semconv.OTelMCPOutcomeError
	}
}

// End finishes the operation. When neither a hook nor a status said how it
// ended, the request's goroutine is unwinding: a panic, or runtime.Goexit.
func (s *dispatchSpan) End() {
	if !s.settled && s.i.hooked() {
		s.Outcome = semconv.OTelMCPOutcomePanic
		(*message)(s).settleRan()
	}
	if s.edge != nil {
		s.edge.ended((*message)(s))
		return
	}
	(*message)(s).finish()
}

// toolSpan answers mcp-go's tool middleware, and stands for a message that
// nobody listens to.
type toolSpan struct{}

func (toolSpan) SetAttributes(...tracing.Attribute)   {}
func (toolSpan) RecordError(error)                    {}
func (toolSpan) SetStatus(tracing.StatusCode, string) {}
func (toolSpan) End()                                 {}
