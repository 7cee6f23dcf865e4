// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation

// The Operation: the facts of one message, from its first sight to its end.

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/semconv"
)

// Role is the side of a message that an operation describes.
type Role uint8

// A server receives a message and a client sends one. An MCP server that asks
// its client to sample is the client of that message.
const (
	RoleServer Role = iota
	RoleClient

	roles
)

// String returns the otelmcp.role value.
func (r Role) String() string {
	if r == RoleClient {
		return semconv.OTelMCPRoleClient
	}
	return semconv.OTelMCPRoleServer
}

func (r Role) attribute() attribute.KeyValue { return semconv.OTelMCPRoleKey.String(r.String()) }

// Name is a method, tool or prompt name. Only a Known one (an MCP method, a
// registered tool or prompt) stands on metrics and in span names; any other is
// text that a peer chose, and reads Other there.
type Name struct {
	Text  string
	Known bool
}

// bound reports whether n may stand on metrics as it is.
func (n Name) bound() bool { return n.Known || n.Text == "" }

func (n Name) bounded() string {
	if n.bound() {
		return n.Text
	}
	return Other
}

// Operation is one message in flight. It is also the context that the message
// is handled in, which saves every message an allocation.
//
// The goroutine that handles the message owns the exported fields until
// Finish.
type Operation struct {
	context.Context

	// Facts, set by whoever learns them. Zero means not known.
	Role            Role
	Method          Name
	Tool, Prompt    Name
	RequestID       string
	ResourceURI     string
	ProtocolVersion string // one of MCP's; anything else must not be set
	SessionID       Safe
	Transport       string // an otelmcp.transport value
	Stage           string // an otelmcp.stage value
	Network         string // a network.transport value
	ClientName      Safe
	ClientVersion   Safe
	ServerName      Safe
	ServerVersion   Safe
	ServerAddress   string // of a client's remote, as the program configured it
	ServerPort      int
	UserID          string
	UserRoles       []string
	JSONRPCVersion  string // when it is not 2.0; one of a few
	RequestSize     int    // bytes of the message
	ResponseSize    int    // bytes of its answer
	HTTPVersion     string // network.protocol.version, one of a few
	HTTPStatus      int    // of the HTTP response, when there was one

	// Peer is what a transport tells of the other side and of the exchange:
	// addresses, user agent, http.* and url.*. Facts is whatever else is to
	// stand on the span and the event.
	Peer, Facts []attribute.KeyValue

	// Of a tool call.
	ToolDigest    string
	ArgumentNames *SafeList // declared in the tool's schema, and present
	Undeclared    int       // how many others are present
	ArgumentsSize int       // bytes of JSON

	// The end. Outcome overrides what follows from Code.
	Outcome string
	Code    int // the JSON-RPC error code of the answer
	Message string
	// ErrorType names, in one of a few words, a failure that no code or status
	// names.
	ErrorType string
	// Expected failures are answers, and no error of anybody's: the probe of a
	// server that turns out to be older.
	Expected bool

	// Decisions are what was decided about it.
	Decisions Decisions

	// NewRoot operations start a trace of their own.
	NewRoot bool
	// Silent operations make no span and no duration, by the operator's
	// filter. Their event and their count cannot be silenced.
	Silent bool
	// Instant operations are made when all is known of them. They are never
	// counted as active.
	Instant bool
	// Enrich puts what is known on the span around the operation, which belongs
	// to other instrumentation, in the place of a span of the operation's own.
	Enrich bool

	content   *captured // nil where the operator asked for none
	rec       *Recorder
	method    *method
	span      trace.Span
	start     time.Time
	backdated bool
	recording bool
	active    bool
	detached  detached // room for what Finish ends it in
	finished  atomic.Bool
	progress  atomic.Uint32 // a Progress
}

// Init makes o an operation that has not begun, to be handled in ctx. It exists
// so that an adapter can embed an Operation in what it keeps for a message, at
// the price of one allocation for both.
func (r *Recorder) Init(o *Operation, ctx context.Context, role Role) {
	o.Context = ctx
	if o.rec == nil { // an edge's has been given out already, and others read these
		o.Role, o.rec = role, r
	}
	if !o.backdated {
		o.start = time.Now()
	}
}

// Since says that the message was first seen at t, before Init. Call it before
// Begin.
func (o *Operation) Since(t time.Time) { o.start, o.backdated = t, true }

// Recorder returns the recorder that the operation belongs to.
func (o *Operation) Recorder() *Recorder { return o.rec }

// Begin starts the operation's span in the operation's context. Links are the
// contexts that belong to it and are not its parent. An operation without a
// method, or a silent one, has no span.
func (o *Operation) Begin(links ...trace.SpanContext) {
	r := o.rec
	o.method = r.method(o.Method.Text)
	o.Method.Known = o.method.name != Other
	if o.Silent || o.Method.Text == "" {
		o.Context = r.safeRemote(o.Context)
		if o.NewRoot {
			o.leaveTrace(links)
		}
		return
	}
	opts := o.method.start[o.Role]
	if o.NewRoot || o.backdated || len(links) > 0 {
		buf := optsPool.Get().(*[]trace.SpanStartOption)
		defer func() {
			clear(opts)
			*buf = opts[:0]
			optsPool.Put(buf)
		}()
		opts = append((*buf)[:0], opts...) // those of the method are shared
		if o.backdated {
			opts = append(opts, trace.WithTimestamp(o.start))
		}
		if o.NewRoot {
			opts = append(opts, trace.WithNewRoot())
		}
		if len(links) > 0 {
			l := make([]trace.Link, len(links))
			for i, sc := range links {
				l[i] = r.link(sc)
			}
			opts = append(opts, trace.WithLinks(l...))
		}
	}
	if o.Enrich {
		o.enrichSpan()
	} else {
		o.Context = r.SafeTrace(o.Context)
		o.startSpan(opts)
	}
	if o.Role == RoleServer && !o.Instant && !o.rec.client {
		o.active = true
		o.method.enter()
	}
}

// leaveTrace keeps an operation that has no span of its own out of the trace that
// its caller sent, and in that of a span around it, which is among the links.
func (o *Operation) leaveTrace(links []trace.SpanContext) {
	defer o.rec.Guard()
	if !trace.SpanContextFromContext(o.Context).IsRemote() {
		return
	}
	var around trace.SpanContext
	for _, sc := range links {
		if !sc.IsRemote() {
			around = sc
		}
	}
	o.Context = trace.ContextWithSpanContext(o.Context, around)
}

func (o *Operation) enrichSpan() {
	defer o.rec.Guard()
	o.span = trace.SpanFromContext(o.Context)
	o.recording = o.span.IsRecording()
}

// Recording reports whether the operation has a span that records.
func (o *Operation) Recording() bool { return o.recording }

// SpanContext returns the context of the operation's span; an invalid one
// without a span.
func (o *Operation) SpanContext() (sc trace.SpanContext) {
	if o.span == nil {
		return sc
	}
	defer o.rec.Guard()
	return o.span.SpanContext()
}

// Begun reports whether Begin was called.
func (o *Operation) Begun() bool { return o.method != nil }

// Finish ends the operation and emits it. Only the first call does. It reports
// whether this was the first one and both records that cannot be silenced, the
// event and the count, were handed over.
func (o *Operation) Finish() (recorded bool) {
	if !o.finished.CompareAndSwap(false, true) {
		return false
	}
	if o.method == nil {
		o.method = o.rec.method(o.Method.Text)
	}
	end := time.Now()
	elapsed := end.Sub(o.start).Seconds()
	ctx := o.Context
	if ctx.Err() != nil {
		o.detached.Context = ctx
		ctx = &o.detached
	}
	if o.active {
		o.method.leave()
	}
	res := o.resolve()
	code, errorType := o.rec.boundedCode(o.Role, o.Code, res.code), res.errorType
	if errorType == res.code {
		errorType = code
	}
	key := seriesKey{
		method:          o.Method.bounded(),
		tool:            o.Tool.bounded(),
		prompt:          o.Prompt.bounded(),
		errorType:       errorType,
		code:            code,
		protocolVersion: o.ProtocolVersion,
		network:         o.Network,
		httpVersion:     o.HTTPVersion,
		jsonrpcVersion:  o.JSONRPCVersion,
		serverAddress:   o.ServerAddress,
		serverPort:      o.ServerPort,
		role:            o.Role,
		transport:       o.Transport,
		stage:           o.Stage,
		outcome:         res.outcome,
	}
	if o.Method.Text == "" {
		key.exchange = o.exchange()
	}
	s := o.rec.series.get(&key, o.rec)
	if code != res.code {
		s = s.with(key, res)
	}

	sev, sevText := severity(res.outcome)
	if o.Expected {
		sev, sevText = severity(semconv.OTelMCPOutcomeOK)
	}
	logging, recorded := o.rec.enabled(ctx, sev)
	if logging || o.recording {
		buf := attrPool.Get().(*[]attribute.KeyValue)
		message := o.rec.Safe(semconv.OTelMCPOperationErrorMessageKey, o.Message)
		attrs := o.ofEvent((*buf)[:0], elapsed, message)
		shared := len(attrs)
		attrs = o.attributes(attrs, s)
		if logging {
			recorded = o.emitEvent(ctx, s, attrs, sev, sevText, end)
		}
		if o.recording {
			attrs = o.ofSpan(attrs)
			o.emitSpan(s, attrs[shared:], res.errorType, message)
		}
		clear(attrs) // all that was written: a slice in the pool must keep nothing alive
		if cap(attrs) <= maxPooled {
			*buf = attrs[:0]
			attrPool.Put(buf)
		}
	}
	recorded = o.emitMetrics(ctx, s, elapsed) && recorded
	if o.span != nil {
		o.endSpan()
	}
	return recorded
}

// exchange is the HTTP method of an exchange that carries no message; "" of one that is
// there for a message, whatever that is.
func (o *Operation) exchange() string {
	for i := range o.Peer {
		if kv := &o.Peer[i]; kv.Key == semconv.HTTPRequestMethodKey {
			if method := kv.Value.AsString(); method != http.MethodPost {
				return method
			}
		}
	}
	return ""
}

// maxPooled bounds, in attributes, a slice that is kept for the next operation.
const maxPooled = 256

// attrPool holds attribute slices between operations: the SDK copies what it
// is given.
var attrPool = sync.Pool{New: func() any {
	s := make([]attribute.KeyValue, 0, 48)
	return &s
}}

// optsPool holds slices of options between operations: the SDK reads them and
// keeps none.
var optsPool = sync.Pool{New: func() any { return new([]trace.SpanStartOption) }}

// ofEvent appends what only the event carries.
func (o *Operation) ofEvent(attrs []attribute.KeyValue, elapsed float64, message Safe) []attribute.KeyValue {
	attrs = append(attrs,
		semconv.EventNameKey.String(semconv.OTelMCPOperationEventName),
		semconv.OTelMCPOperationDurationKey.Float64(elapsed))
	if message != "" {
		attrs = append(attrs, semconv.OTelMCPOperationErrorMessageKey.String(string(message)))
	}
	if o.content != nil {
		attrs = o.content.event.append(attrs)
	}
	return attrs
}

// ofSpan appends what only the span carries.
func (o *Operation) ofSpan(attrs []attribute.KeyValue) []attribute.KeyValue {
	if o.content == nil {
		return attrs
	}
	return o.content.span.append(attrs)
}

// attributes is the one place where facts become attributes, for the span and the
// event. What is bounded of them is in s; most of that stands on metrics, too. All of
// them have passed the gate.
func (o *Operation) attributes(attrs []attribute.KeyValue, s *series) []attribute.KeyValue {
	names := len(attrs)
	attrs = append(attrs, s.attrs...)
	if !o.Method.bound() || !o.Tool.bound() || !o.Prompt.bound() {
		o.restore(attrs[names:])
	}
	open := len(attrs)
	if o.RequestID != "" {
		attrs = append(attrs, semconv.JSONRPCRequestIDKey.String(o.RequestID))
	}
	if o.ResourceURI != "" {
		attrs = append(attrs, semconv.MCPResourceURIKey.String(o.ResourceURI))
	}
	user, roles := o.UserID, o.UserRoles
	last, who := o.Decisions.get()
	switch {
	case user != "":
	case who != nil:
		user, roles = who.UserID, who.UserRoles
	case last != nil:
		user = last.owner()
	}
	attrs = o.rec.User(attrs, user)
	attrs = listed(attrs, semconv.UserRolesKey, roles)
	if last != nil {
		attrs = last.facts(attrs)
	}
	attrs = append(attrs, o.Peer...)
	attrs = append(attrs, o.Facts...)
	o.rec.gate(attrs[open:])

	attrs = o.known(attrs)
	if o.ToolDigest != "" {
		attrs = append(attrs, semconv.OTelMCPToolDigestKey.String(o.ToolDigest))
	}
	if o.ArgumentNames != nil {
		attrs = append(attrs, o.ArgumentNames.kv)
	}
	if o.Undeclared > 0 {
		attrs = append(attrs, semconv.OTelMCPToolArgumentsUndeclaredKey.Int(o.Undeclared))
	}
	if o.ArgumentsSize > 0 {
		attrs = append(attrs, semconv.OTelMCPToolArgumentsSizeKey.Int(o.ArgumentsSize))
	}
	if o.RequestSize > 0 {
		attrs = append(attrs, semconv.OTelMCPRequestSizeKey.Int(o.RequestSize))
	}
	if o.ResponseSize > 0 {
		attrs = append(attrs, semconv.OTelMCPResponseSizeKey.Int(o.ResponseSize))
	}
	if o.HTTPStatus != 0 {
		attrs = append(attrs, semconv.HTTPResponseStatusCodeKey.Int(o.HTTPStatus))
	}
	return append(attrs, o.rec.extra...)
}

// known appends what was learned before the message, and passed the gate then.
func (o *Operation) known(attrs []attribute.KeyValue) []attribute.KeyValue {
	if o.SessionID != "" {
		attrs = append(attrs, semconv.MCPSessionIDKey.String(string(o.SessionID)))
	}
	if o.ClientName != "" {
		attrs = append(attrs, semconv.OTelMCPClientNameKey.String(string(o.ClientName)))
	}
	if o.ClientVersion != "" {
		attrs = append(attrs, semconv.OTelMCPClientVersionKey.String(string(o.ClientVersion)))
	}
	if o.ServerName != "" {
		attrs = append(attrs, semconv.OTelMCPServerNameKey.String(string(o.ServerName)))
	}
	if o.ServerVersion != "" {
		attrs = append(attrs, semconv.OTelMCPServerVersionKey.String(string(o.ServerVersion)))
	}
	return attrs
}

// restore puts what the peer sent in the place of its bounded stand-in.
func (o *Operation) restore(attrs []attribute.KeyValue) {
	for i := range attrs {
		kv, n := &attrs[i], Name{}
		switch kv.Key {
		case semconv.MCPMethodNameKey:
			n = o.Method
		case semconv.GenAIToolNameKey:
			n = o.Tool
		case semconv.GenAIPromptNameKey:
			n = o.Prompt
		}
		if !n.bound() {
			*kv = kv.Key.String(o.rec.text(kv.Key, n.Text))
		}
	}
}

func (o *Operation) emitMetrics(ctx context.Context, s *series, elapsed float64) (counted bool) {
	counted = o.countMessage(ctx, s)
	if !o.Silent && o.Method.Text != "" {
		o.recordDuration(ctx, s, elapsed)
	}
	if o.Role == RoleServer && !o.rec.client && (o.RequestSize > 0 || o.ResponseSize > 0) {
		o.recordSizes(ctx, s)
	}
	return counted
}
