// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// A client's side of its messages: what it sends, what came of it, and what the
// server sends on its own. transport.go puts it around mcp-go's transports.

import (
	"context"
	"encoding/json"
	"hash/maphash"
	"maps"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/jsonrpc"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/pending"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/session"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// remote is a client's connection to one server.
type remote struct {
	base
	t        transport.Interface
	endpoint endpoint
	// fields are the names that the propagators may use: what stands under one
	// of them in _meta is some other span's.
	fields []string

	httpVersion atomic.Pointer[string]
	// server is what it says of itself, as of the handshake.
	server atomic.Pointer[session.Peer]
	// met says that the server has answered a handshake or a discovery.
	met     atomic.Bool
	tools   listing
	prompts listing
	session clientSession
	known   credentials // that went out in the headers of messages
	// inputs are what the server asked for in a result, until it is answered.
	inputs *pending.Table[*input]
	seed   maphash.Seed
	// is what is seen, where all signals go somewhere, and unheard are those that did not
	// when that was last looked at.
	is      Coverage
	unheard atomic.Uint32
}

func newRemote(t transport.Interface, cfg *config) *remote {
	r := &remote{
		base: newBase(cfg, true), t: t, endpoint: endpointOf(t),
		inputs: pending.NewTable[*input](maxInputs), seed: maphash.MakeSeed(),
	}
	r.fields = r.propagated()
	return r
}

// reportCoverage says what is seen of the connection.
func (r *remote) reportCoverage() {
	unheard := r.rec.Unheard()
	r.unheard.Store(uint32(unheard))
	is := r.is
	is.Gaps = append(slices.Clip(is.Gaps), gapsOf(unheard)...)
	r.emitCoverage(semconv.OTelMCPRoleClient, is, nil)
}

// observed reports whether anybody listens to what is recorded of a message, and says so
// when that has changed.
func (r *remote) observed() bool {
	if r.hears(&r.unheard) {
		r.reportCoverage()
	}
	return r.rec.Observed()
}

// start fills what is known of every message on the connection.
func (r *remote) start(o *operation.Operation, ctx context.Context, role operation.Role, method string) {
	r.rec.Init(o, ctx, role)
	o.Method.Text = method
	o.Transport, o.Network = r.endpoint.transport, r.endpoint.network
	if v := r.httpVersion.Load(); v != nil {
		o.HTTPVersion = *v
	}
	if role == operation.RoleClient {
		o.ServerAddress, o.ServerPort = r.endpoint.address, r.endpoint.port
	}
	if s := r.server.Load(); s != nil {
		o.ServerName, o.ServerVersion, o.ProtocolVersion = s.Name, s.Version, s.ProtocolVersion
	}
	o.SessionID = r.session.id()
	o.Silent = r.silent(ctx, method)
	r.identify(o)
}

// call is one request on its way.
type call struct {
	clientOp
	request transport.JSONRPCRequest // as it is sent
	params  jsonrpc.Params
}

// SendRequest sends a request with the context of its span, and records it.
func (r *remote) SendRequest(ctx context.Context, request transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
	if !r.observed() && (!r.rec.Observable() || !teaches(request.Method)) { // the caller's context still goes on
		return r.t.SendRequest(ctx, r.carrying(ctx, request, nil))
	}
	r.session.open(r)
	c := &call{clientOp: clientOp{r: r}, request: request}
	r.begin(c, ctx)
	returned := false
	defer func() {
		if !returned {
			c.Outcome = semconv.OTelMCPOutcomePanic
			c.Finish()
		}
	}()
	response, err := r.t.SendRequest(r.traced(&c.clientOp), c.request)
	returned = true
	r.settle(c, response, err)
	c.Finish()
	return response, err
}

// teaches reports whether a client learns from the answer what it says of later messages.
// Who only listens by then is told of it, too.
func teaches(method string) bool {
	switch method {
	case semconv.MCPMethodNameInitialize, semconv.MCPMethodNameServerDiscover,
		semconv.MCPMethodNameToolsList, semconv.MCPMethodNamePromptsList:
		return true
	}
	return false
}

// begin describes the request, starts its span and puts the span's context into
// it. What fails on the way is left out: the request goes out all the same.
func (r *remote) begin(c *call, ctx context.Context) {
	defer r.rec.Guard()
	r.start(&c.Operation, ctx, operation.RoleClient, c.request.Method)
	c.Stage = semconv.OTelMCPStageTransport
	raw, readable := r.marshal(c.request.Params)
	if readable {
		c.params = jsonrpc.ReadParams(raw)
		r.describe(c)
		r.answerInputs(c)
	}
	c.Enrich = r.enriches(c)
	c.Begin()
	c.Publish(operation.Parsed)
	r.captureParams(c)
	if !readable {
		return
	}
	c.request = r.carrying(&c.clientOp, c.request, &c.params)
	if sent, ok := c.request.Params.(json.RawMessage); ok {
		raw = sent
	}
	c.RequestSize = requestSize(&c.request, raw)
}

// marshal renders params as the transport will. It reports whether that works.
func (r *remote) marshal(params any) (raw []byte, ok bool) {
	if params == nil {
		return nil, true
	}
	defer r.rec.Guard() // a program's own types may panic, and do so again in the transport
	raw, err := json.Marshal(params)
	return raw, err == nil
}

// describe fills what the params say.
func (r *remote) describe(c *call) {
	p := &c.params
	c.RequestID, _ = jsonrpc.ID(c.request.ID.Value())
	if mcp.IsValidProtocolVersion(p.ProtocolVersion) {
		c.ProtocolVersion = p.ProtocolVersion
	}
	switch c.request.Method {
	case semconv.MCPMethodNameToolsCall:
		c.Tool.Text = p.Name
		var args *arguments
		args, c.Tool.Known = r.tools.get(p.Name)
		c.ArgumentsSize = len(p.Arguments)
		if args != nil { // what a tool declares that was not listed is not known
			c.ArgumentNames, c.Undeclared = argumentNames(r.rec, args, p.Arguments)
		}
	case semconv.MCPMethodNamePromptsGet:
		c.Prompt.Text = p.Name
		_, c.Prompt.Known = r.prompts.get(p.Name)
	case semconv.MCPMethodNameCompletionComplete:
		c.Prompt.Text, c.ResourceURI = p.RefName, p.RefURI
		_, c.Prompt.Known = r.prompts.get(p.RefName)
	default:
		c.ResourceURI = p.URI
	}
}

// argumentNames tells which of the arguments in raw the tool declares, and how
// many others there are.
func argumentNames(rec *operation.Recorder, declared *arguments, raw []byte) (names *operation.SafeList, undeclared int) {
	if len(raw) == 0 || raw[0] != '{' {
		return nil, 0
	}
	var mask uint64
	jsonrpc.Members(raw, func(name, _ []byte) {
		k, ok := declared.find(name)
		switch {
		case !ok:
			undeclared++
		case k < maxArgumentNames:
			mask |= 1 << k
		}
	})
	return declared.named(rec, mask), undeclared
}

func (r *remote) captureParams(c *call) {
	tool := c.request.Method == semconv.MCPMethodNameToolsCall && r.captures(Arguments, &c.Operation)
	prompt := c.request.Method == semconv.MCPMethodNamePromptsGet && r.captures(PromptVariables, &c.Operation)
	if !tool && !prompt {
		return
	}
	var args map[string]any
	switch {
	case json.Unmarshal(c.params.Arguments, &args) != nil, len(args) == 0:
	case tool:
		r.captureArguments(&c.Operation, args)
	default:
		r.captureVariables(&c.Operation, args)
	}
}

// enriches reports whether the span around the call is that of this very tool's
// execution, made by other instrumentation, and is to be enriched.
func (r *remote) enriches(c *call) bool {
	if !r.cfg.enrich || c.request.Method != semconv.MCPMethodNameToolsCall || c.Silent {
		return false
	}
	defer r.rec.Guard()
	span, ok := trace.SpanFromContext(c.Context).(interface{ Attributes() []attribute.KeyValue })
	if !ok {
		return false
	}
	executes, same := false, true
	for _, kv := range span.Attributes() {
		switch kv.Key {
		case semconv.GenAIOperationNameKey:
			executes = kv.Value.AsString() == semconv.GenAIOperationNameExecuteTool
		case semconv.GenAIToolNameKey:
			same = kv.Value.AsString() == c.params.Name
		}
	}
	return executes && same
}

// carrying returns the request with what the propagators tell of ctx: in _meta,
// as SEP-414 has it, and in the headers where the transport has any. Neither the
// caller's params nor its headers are touched. params are those of the request if
// they have been read.
func (r *remote) carrying(ctx context.Context, request transport.JSONRPCRequest, params *jsonrpc.Params) transport.JSONRPCRequest {
	carrier := r.inject(ctx)
	if len(carrier) == 0 {
		return request
	}
	if r.endpoint.http {
		headers := request.Header.Clone()
		if headers == nil {
			headers = make(http.Header, len(carrier))
		}
		for k, v := range carrier {
			headers.Set(k, v)
		}
		request.Header = headers
	}
	if params == nil {
		raw, ok := r.marshal(request.Params)
		if !ok {
			return request
		}
		read := jsonrpc.ReadParams(raw)
		params = &read
	}
	if raw, ok := params.With(carrier, r.fields); ok {
		request.Params = json.RawMessage(raw)
	}
	return request
}

// traced returns the context that o's message is sent in. Over HTTP it sees, in the
// headers that go out, which version of HTTP carries the message, until that is
// known, and which kind of credentials the message is sent with.
func (r *remote) traced(o *clientOp) context.Context {
	if !r.endpoint.http {
		return o
	}
	saw := func(version string) { r.httpVersion.CompareAndSwap(nil, &version) }
	return httptrace.WithClientTrace(o, &httptrace.ClientTrace{
		// Which scheme an Authorization is of is looked at. Credentials become hashes.
		WroteHeaderField: func(name string, values []string) {
			o.sees(name, values)
			switch {
			case r.httpVersion.Load() != nil:
			case strings.HasPrefix(name, ":"):
				saw("2")
			case strings.EqualFold(name, "Host"):
				saw("1.1")
			}
		},
	})
}

// settle fills what came of the request.
func (r *remote) settle(c *call, response *transport.JSONRPCResponse, err error) {
	defer r.rec.Guard()
	if v := r.httpVersion.Load(); v != nil {
		c.HTTPVersion = *v
	}
	probe := c.request.Method == semconv.MCPMethodNameServerDiscover && !r.met.Load()
	switch {
	case err != nil:
		fail(&c.Operation, err)
		c.Expected = probe && (c.Outcome == semconv.OTelMCPOutcomeTimeout || refusesProbe(c.HTTPStatus)) || endsSubscription(&c.Operation)
		r.session.failed(r, err)
	case response == nil:
		c.Outcome = semconv.OTelMCPOutcomeError
	case response.Error != nil:
		c.Stage = semconv.OTelMCPStageDispatch
		c.Code, c.Message = response.Error.Code, response.Error.Message
		c.Expected = probe
		c.ResponseSize = responseSize(response)
		if !shakesHands(c.request.Method) {
			r.session.use(r)
		}
	default:
		c.Stage = semconv.OTelMCPStageHandler
		c.ResponseSize = responseSize(response)
		r.settleResult(c, response.Result)
		r.session.use(r)
	}
	if err != nil || response == nil || len(response.Result) == 0 {
		c.observe(err)
	}
	c.withhold()
	if c.SessionID == "" {
		c.SessionID = r.currentSession()
	}
}

// shakesHands reports whether the method is one that a client begins with, so that an
// error in its answer says that there is no session.
func shakesHands(method string) bool {
	return method == semconv.MCPMethodNameInitialize || method == semconv.MCPMethodNameServerDiscover
}

// endsSubscription reports whether o was cancelled as subscriptions are: that is
// how one ends.
func endsSubscription(o *operation.Operation) bool {
	return o.Method.Text == semconv.MCPMethodNameSubscriptionsListen && o.Outcome == semconv.OTelMCPOutcomeCancelled
}

// refusesProbe reports whether an older server may answer a method that it does
// not know with the HTTP status.
func refusesProbe(status int) bool {
	return status >= http.StatusBadRequest && status < http.StatusInternalServerError &&
		status != http.StatusUnauthorized && status != http.StatusForbidden
}

// settleResult reads the result of a request that succeeded.
func (r *remote) settleResult(c *call, raw []byte) {
	switch c.request.Method {
	case semconv.MCPMethodNameToolsCall, semconv.MCPMethodNamePromptsGet, semconv.MCPMethodNameResourcesRead:
		result := jsonrpc.ReadResult(raw)
		switch {
		case result.NeedsInput:
			c.Outcome = semconv.OTelMCPOutcomeInputRequired
			r.askInputs(c, &result)
		case result.IsError:
			c.Outcome = semconv.OTelMCPOutcomeToolError
		}
		if c.Tool.Text != "" {
			r.captureToolResult(c, &result)
		}
	case semconv.MCPMethodNameInitialize, semconv.MCPMethodNameServerDiscover:
		r.meet(c, raw)
	case semconv.MCPMethodNameToolsList:
		r.tools.learn(r.rec, jsonrpc.ReadResult(raw).Tools)
	case semconv.MCPMethodNamePromptsList:
		r.prompts.learn(r.rec, jsonrpc.ReadResult(raw).Prompts)
	}
}

func (r *remote) captureToolResult(c *call, result *jsonrpc.Result) {
	failed := c.Outcome == semconv.OTelMCPOutcomeToolError && r.tellsErrors()
	whole := r.captures(Results, &c.Operation)
	if !failed && !whole {
		return
	}
	var content []any
	_ = json.Unmarshal(result.Content, &content)
	if failed {
		for _, part := range content {
			if m, _ := part.(map[string]any); m["type"] == "text" {
				if text, _ := m["text"].(string); text != "" {
					c.Message = text
					break
				}
			}
		}
	}
	if whole {
		var structured any
		_ = json.Unmarshal(result.Structured, &structured)
		r.captureResult(&c.Operation, content, structured)
	}
}

// meet remembers what the server said of itself in its first answer.
func (r *remote) meet(c *call, raw []byte) {
	result := jsonrpc.ReadResult(raw)
	version := c.ProtocolVersion // that of a request of the newest version
	if c.request.Method == semconv.MCPMethodNameInitialize {
		version = ""
		if mcp.IsValidProtocolVersion(result.ProtocolVersion) {
			version = result.ProtocolVersion
		}
	}
	p := session.NewRemote(r.rec, withheld(result.ServerName, &r.known, maxKept), withheld(result.ServerVersion, &r.known, maxKept), version)
	r.server.Store(p)
	r.met.Store(true)
	c.ServerName, c.ServerVersion, c.ProtocolVersion = p.Name, p.Version, p.ProtocolVersion
	r.session.met(r, c)
}

// The messages as encoding/json renders them, without what it renders: counting
// is all that is asked for.

func requestSize(r *transport.JSONRPCRequest, params []byte) int {
	size := len(`{"jsonrpc":"","id":,"method":""}`) + len(r.JSONRPC) + idSize(r.ID) + len(r.Method)
	if len(params) > 0 {
		size += len(`,"params":`) + len(params)
	}
	return size
}

func responseSize(r *transport.JSONRPCResponse) int {
	size := len(`{"jsonrpc":"","id":}`) + len(r.JSONRPC) + idSize(r.ID)
	if len(r.Result) > 0 {
		size += len(`,"result":`) + len(r.Result)
	}
	if r.Error != nil {
		if raw, err := json.Marshal(r.Error); err == nil {
			size += len(`,"error":`) + len(raw)
		}
	}
	return size
}

func idSize(id mcp.RequestId) int {
	switch v := id.Value().(type) {
	case int64:
		return len(strconv.AppendInt(make([]byte, 0, 20), v, 10))
	case nil:
		return len("null")
	}
	raw, err := json.Marshal(id)
	if err != nil {
		return 0
	}
	return len(raw)
}

// SendNotification sends a notification with the context of its span, and
// records it.
func (r *remote) SendNotification(ctx context.Context, n mcp.JSONRPCNotification) error {
	if !r.observed() {
		return r.t.SendNotification(ctx, carryingNotification(n, r.inject(ctx), r.fields))
	}
	r.session.open(r)
	o := &clientOp{r: r}
	n = r.beginNotification(o, ctx, n)
	returned := false
	defer func() {
		if !returned {
			o.Outcome = semconv.OTelMCPOutcomePanic
			o.Finish()
		}
	}()
	err := r.t.SendNotification(r.traced(o), n)
	returned = true
	r.settleNotification(o, err)
	o.Finish()
	return err
}

func (r *remote) beginNotification(o *clientOp, ctx context.Context, n mcp.JSONRPCNotification) (sent mcp.JSONRPCNotification) {
	sent = n
	defer r.rec.Guard()
	r.start(&o.Operation, ctx, operation.RoleClient, n.Method)
	o.Stage = semconv.OTelMCPStageTransport
	r.describeNotification(&o.Operation, n)
	o.Begin()
	o.Publish(operation.Parsed)
	return carryingNotification(n, r.inject(o), r.fields)
}

func (r *remote) settleNotification(o *clientOp, err error) {
	defer r.rec.Guard()
	if v := r.httpVersion.Load(); v != nil {
		o.HTTPVersion = *v
	}
	if err != nil {
		fail(&o.Operation, err)
		o.observe(err)
		o.withhold()
		r.session.failed(r, err)
		return
	}
	o.Stage = semconv.OTelMCPStageDispatch // a notification has no answer to tell more
	r.session.use(r)
	if o.SessionID == "" {
		o.SessionID = r.session.id()
	}
}

// describeNotification fills what a notification says, in either direction.
func (r *remote) describeNotification(o *operation.Operation, n mcp.JSONRPCNotification) {
	defer r.rec.Guard()
	if n.Method != string(mcp.MethodNotificationCancelled) {
		if uri, ok := n.Params.AdditionalFields["uri"].(string); ok {
			o.ResourceURI = uri
		}
		return
	}
	id := n.Params.AdditionalFields["requestId"]
	if v, ok := id.(mcp.RequestId); ok {
		id = v.Value()
	}
	if text, _ := jsonrpc.ID(id); text != "" {
		o.Facts = append(o.Facts, semconv.OTelMCPCancelRequestIDKey.String(text))
	}
}

func carryingNotification(n mcp.JSONRPCNotification, carrier propagation.MapCarrier, fields []string) mcp.JSONRPCNotification {
	if len(carrier) == 0 {
		return n
	}
	meta := make(map[string]any, len(n.Params.Meta)+len(carrier))
	maps.Copy(meta, n.Params.Meta)
	for _, k := range fields {
		delete(meta, k)
	}
	for k, v := range carrier {
		meta[k] = v
	}
	n.Params.Meta = meta
	return n
}

// Start starts the transport. Where a connection is a session, it begins one.
func (r *remote) Start(ctx context.Context) error {
	if !r.rec.Observable() {
		return r.t.Start(ctx)
	}
	o := r.connecting(ctx)
	if r.endpoint.http {
		ctx = r.traced(o)
	}
	err := r.t.Start(ctx)
	if err == nil {
		r.session.open(r)
	} else {
		o.refusedStart(err)
	}
	return err
}

// Close closes the transport, and with it the session.
func (r *remote) Close() error {
	r.session.closing.Store(true)
	err := r.t.Close()
	r.session.end(r, semconv.OTelMCPSessionEndReasonClientRequest, "")
	r.forgetInputs()
	return err
}

// GetSessionId returns the transport's session id.
func (r *remote) GetSessionId() string { return r.t.GetSessionId() }
