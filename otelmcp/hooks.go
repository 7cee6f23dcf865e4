// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// The hooks: what mcp-go tells of a request between its parsing and its
// answer. They fill the operation that the tracer seam began, and never begin
// or finish one.

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/session"
	"github.com/otelmcp/otelmcp-go/semconv"
)

func (i *Instrumentation) onBeforeAny(ctx context.Context, id any, _ mcp.MCPMethod, request any) {
	defer i.rec.Guard()
	m := i.messageOf(ctx)
	if m == nil || !m.Begun() {
		i.withoutMessage(ctx)
		return
	}
	m.Stage = semconv.OTelMCPStageHandler
	i.parse(ctx, m, id, request)
}

// withoutMessage is for a request that dispatch goes on with and no operation was made of:
// because nobody listens yet, or since a seam of ours is gone.
func (i *Instrumentation) withoutMessage(ctx context.Context) {
	if !i.rec.Observable() {
		return
	}
	if i.unheard(ctx) {
		transport := semconv.OTelMCPTransportOther
		if s := server.ClientSessionFromContext(ctx); s != nil {
			transport, _ = i.transportOf(s)
		}
		i.coverage.sawTransport(i, transport, false)
	}
	i.checkSeams()
}

// parse fills what the parsed request says. request is a pointer to one of
// mcp-go's request types.
func (i *Instrumentation) parse(ctx context.Context, m *message, id, request any) {
	if m.parsed {
		return
	}
	m.parsed = true
	m.RequestID, m.id = requestID(id), id
	switch r := request.(type) {
	case *mcp.CallToolRequest:
		m.Tool.Text = r.Params.Name
		i.describeArguments(ctx, m, r)
	case *mcp.GetPromptRequest:
		m.Prompt.Text = r.Params.Name
		if i.captures(PromptVariables, &m.Operation) {
			args := make(map[string]any, len(r.Params.Arguments))
			for name, v := range r.Params.Arguments {
				args[name] = v
			}
			i.captureVariables(&m.Operation, args)
		}
	case *mcp.ReadResourceRequest:
		m.ResourceURI = r.Params.URI
	case *mcp.SubscribeRequest:
		m.ResourceURI = r.Params.URI
	case *mcp.UnsubscribeRequest:
		m.ResourceURI = r.Params.URI
	case *mcp.CompleteRequest:
		switch ref := r.Params.Ref.(type) {
		case mcp.PromptReference:
			m.Prompt.Text = ref.Name
		case mcp.ResourceReference:
			m.ResourceURI = ref.URI
		}
	case *mcp.TaskResultRequest:
		i.tasks.link(m, r.Params.TaskId)
	case *mcp.GetTaskRequest:
		i.tasks.link(m, r.Params.TaskId)
	case *mcp.CancelTaskRequest:
		i.tasks.link(m, r.Params.TaskId)
	}
	m.Publish(operation.Parsed)
	if x, ok := m.edge.(*exchange); ok && m == &x.m {
		x.tell(x.told())
	}
}

func requestID(id any) string {
	switch v := id.(type) {
	case string:
		return v
	case float64:
		if v == float64(int64(v)) {
			return strconv.FormatInt(int64(v), 10)
		}
		return strconv.FormatFloat(v, 'g', -1, 64)
	case int64:
		return strconv.FormatInt(v, 10)
	case int:
		return strconv.Itoa(v)
	}
	return ""
}

func (i *Instrumentation) onSuccess(ctx context.Context, id any, _ mcp.MCPMethod, request, answer any) {
	defer i.rec.Guard()
	m := i.messageOf(ctx)
	if m == nil {
		if a, ok := answer.(*mcp.InitializeResult); ok && i.rec.Observable() { // who listens later is told of its session
			i.meet(ctx, request, a)
		}
		return
	}
	m.settled = true
	i.parse(ctx, m, id, request)
	switch a := answer.(type) {
	case *mcp.CallToolResult:
		m.Tool.Known = i.names.admit(i.rec, m.Tool.Text)
		i.settleToolCall(m, a)
	case *mcp.CreateTaskResult:
		m.Tool.Known = i.names.admit(i.rec, m.Tool.Text)
		i.sawTaskTool(ctx, m.Tool.Text)
		i.coverage.sawTask(i)
		if i.filters.tools {
			m.passed(ctx)
		}
		i.tasks.add(i, a.Task.TaskId, m)
	case *mcp.TaskResultResult:
		if a.IsError {
			m.Outcome = semconv.OTelMCPOutcomeToolError
			m.Message = i.toolErrorText(a.Content)
		}
	case *mcp.GetPromptResult:
		m.Prompt.Known = i.names.admit(i.rec, m.Prompt.Text)
		if a.NeedsInput() {
			m.Outcome = semconv.OTelMCPOutcomeInputRequired
		}
	case *mcp.ReadResourceResult:
		if a.NeedsInput() {
			m.Outcome = semconv.OTelMCPOutcomeInputRequired
		}
	case *mcp.CompleteResult:
		m.Prompt.Known = i.knownPrompt(ctx, m.Prompt.Text)
	case *mcp.InitializeResult:
		if p := i.meet(ctx, request, a); p != nil {
			m.ClientName, m.ClientVersion, m.ProtocolVersion = p.Name, p.Version, p.ProtocolVersion
		}
	case *mcp.ListToolsResult:
		i.watchTools(ctx, a.Tools)
	case *mcp.ListPromptsResult:
		i.watchPrompts(ctx)
	case *mcp.ListResourcesResult:
		i.watchResources(ctx)
	}
	if _, task := answer.(*mcp.CreateTaskResult); !task && m.panicked.Load() { // the program's recovery answered for it
		m.Outcome = semconv.OTelMCPOutcomePanic
	}
}

func (i *Instrumentation) settleToolCall(m *message, a *mcp.CallToolResult) {
	if a.StructuredContent != nil {
		switch e := m.edge.(type) {
		case *lines:
			e.result(m, a.StructuredContent)
		case *exchange:
			m.mute = e.posted != nil && unencodable(a.StructuredContent)
		}
	}
	if !m.handlerRan.Load() {
		m.Stage = semconv.OTelMCPStageDispatch // the arguments did not fit the schema
	}
	switch {
	case a.NeedsInput():
		m.Outcome = semconv.OTelMCPOutcomeInputRequired
	case a.IsError:
		m.Outcome = semconv.OTelMCPOutcomeToolError
		m.Message = i.toolErrorText(a.Content)
	}
	if i.captures(Results, &m.Operation) {
		i.captureResult(&m.Operation, a.Content, a.StructuredContent)
	}
}

// toolErrorText is what a failed tool said: the first text of its result. It
// is a result, so it is recorded only where the operator asked.
func (i *Instrumentation) toolErrorText(c []mcp.Content) string {
	if !i.tellsErrors() {
		return ""
	}
	for _, part := range c {
		if t, ok := mcp.AsTextContent(part); ok && t.Text != "" {
			return t.Text
		}
	}
	return ""
}

// meet remembers what the handshake settled, for the requests of the session that
// follow, and returns it.
func (i *Instrumentation) meet(ctx context.Context, request any, a *mcp.InitializeResult) *session.Peer {
	r, ok := request.(*mcp.InitializeRequest)
	if !ok {
		return nil
	}
	p := session.NewPeer(i.rec, r.Params.ClientInfo.Name, r.Params.ClientInfo.Version, a.ProtocolVersion)
	if s := server.ClientSessionFromContext(ctx); s != nil {
		if known := i.sessions.Get(s.SessionID()); known != nil {
			known.SetPeer(p)
			known.Introduce(ctx, i.rec, nil)
		}
	}
	return p
}

func (i *Instrumentation) onError(ctx context.Context, id any, _ mcp.MCPMethod, request any, err error) {
	defer i.rec.Guard()
	m := i.messageOf(ctx)
	if m == nil {
		return
	}
	heeded := m.heeded()
	m.settled = true
	m.Code = operation.CodeInternalError // until err says better
	if _, ok := errors.AsType[*server.UnparsableMessageError](err); ok && !m.parsed {
		m.RequestID, m.id = requestID(id), id // request is at most half filled
	} else {
		i.parse(ctx, m, id, request)
	}
	m.Message = err.Error()
	var coded interface{ ToJSONRPCError() mcp.JSONRPCError }
	if errors.As(err, &coded) {
		answer := coded.ToJSONRPCError()
		m.Code, m.Message = answer.Error.Code, answer.Error.Message
	}
	i.settleTarget(ctx, m, request, err)
	switch {
	case m.Outcome != "": // the target was hidden
	case m.panicked.Load():
		m.Outcome = semconv.OTelMCPOutcomePanic
	case errors.Is(err, context.DeadlineExceeded):
		m.Outcome = semconv.OTelMCPOutcomeTimeout
	case operation.CallersFault(m.Code):
	case !m.failedByEnd(ctx, err, heeded):
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		m.Outcome = semconv.OTelMCPOutcomeTimeout
	default:
		m.Outcome = semconv.OTelMCPOutcomeCancelled
	}
}

// What is known of a handler's error, when it returned one.
const (
	failedFirst   int32 = 1 + iota // the request's context had not ended
	failedHeeding                  // it had, and somebody had heeded it, from the handler on
	failedUnaware                  // it had, and nobody had heeded it
)

// heeded reports whether a request that failed can have failed by the end of its
// context: somebody must have heeded it. Where the error is a handler's, that is what
// was so when it returned: what a middleware does after that has no part in it.
func (m *message) heeded() bool {
	switch m.failure.Load() {
	case 0: // there is no handler's, or none that has returned
		return m.heeds.Load() || m.heedsAround.Load()
	case failedHeeding:
		return true
	}
	return false
}

// failedByEnd reports whether err is an effect of the end of the request's context
// ctx. An error that came before that end is none. One that is the context's own, or
// quotes it, is one. Of any other, handlers often hide the cause, so it is taken for
// one if somebody had heeded the context. A handler that let nobody look at it cannot
// have failed by its end. One that derived a context from it may have: nobody tells us
// whether the derived one was looked at, so that it counts as heeded.
func (m *message) failedByEnd(ctx context.Context, err error, heeded bool) bool {
	end := ctx.Err()
	if end == nil || m.failure.Load() == failedFirst {
		return false
	}
	return heeded || errors.Is(err, end) || errors.Is(err, context.Cause(ctx)) || strings.Contains(err.Error(), end.Error())
}

// settleTarget decides, for a request that failed, whether the name that it
// asked for is one of the server's. mcp-go answers for a hidden tool or prompt
// as for one that does not exist; only the registry tells them apart.
func (i *Instrumentation) settleTarget(ctx context.Context, m *message, request any, err error) {
	switch {
	case m.handlerRan.Load(): // whatever the handler's error wraps, the name was found
		m.settleRan()
	case errors.Is(err, server.ErrToolNotFound):
		m.Stage = semconv.OTelMCPStageDispatch
		if i.registeredTool(ctx, m.Tool.Text) {
			m.Tool.Known = i.names.admit(i.rec, m.Tool.Text)
			m.hidden(ctx)
		} else {
			i.tools.Gone(ctx, m.Tool.Text)
		}
	case errors.Is(err, server.ErrPromptNotFound):
		m.Stage = semconv.OTelMCPStageDispatch
		if i.registeredPrompt(ctx, m.Prompt.Text) {
			m.Prompt.Known = i.names.admit(i.rec, m.Prompt.Text)
			m.hidden(ctx)
		}
	case errors.Is(err, server.ErrResourceNotFound):
		m.Stage = semconv.OTelMCPStageDispatch
	default:
		// The request failed before its target was looked for, or by the answer's
		// shape; only a name that is registered may count as known.
		if _, call := request.(*mcp.CallToolRequest); call {
			m.Tool.Known = i.registeredTool(ctx, m.Tool.Text) && i.names.admit(i.rec, m.Tool.Text)
			m.Stage = semconv.OTelMCPStageDispatch
		}
		if m.Prompt.Text != "" {
			m.Prompt.Known = i.knownPrompt(ctx, m.Prompt.Text)
		}
	}
}

// The middlewares run inside of those that the program installed before, next to
// the handlers. They alone see that a handler was reached, and a panic that
// recovery further out turns into an answer.

func (i *Instrumentation) toolMiddleware(next server.ToolHandlerFunc) server.ToolHandlerFunc {
	return watched(i, i.filters.tools, next)
}

func (i *Instrumentation) promptMiddleware(next server.PromptHandlerFunc) server.PromptHandlerFunc {
	return watched(i, i.filters.prompts, next)
}

func (i *Instrumentation) resourceMiddleware(next server.ResourceHandlerFunc) server.ResourceHandlerFunc {
	return watched(i, false, next)
}

func watched[F ~func(context.Context, Request) (Result, error), Request, Result any](i *Instrumentation, filtered bool, next F) F {
	if !i.rec.Observed() && (!i.rec.Observable() || !i.coverage.hasEdge.Load()) { // there is no operation; see unheard
		return next
	}
	return func(ctx context.Context, request Request) (Result, error) {
		m := i.messageOf(ctx)
		if m == nil {
			return next(ctx, request)
		}
		if filtered {
			m.passed(ctx)
		}
		returned := false
		defer m.watchHandler(&returned)
		result, err := next(m.beginHeeding(ctx), request)
		returned = true
		m.failed(err)
		return result, err
	}
}

// beginHeeding returns the context to call a handler in: only who heeds it from here
// on can make the handler fail. It is ctx where that asks m itself. A middleware can
// have derived it in a way that does not; then it is watched.
func (m *message) beginHeeding(ctx context.Context) (heeding context.Context) {
	defer m.i.rec.Guard()
	heeding = ctx
	m.failure.Store(0)
	if m.heeds.Swap(false) {
		m.heedsAround.Store(true)
	}
	_ = ctx.Err()
	if !m.heeds.Swap(false) {
		heeding = &derived{ctx, m}
	}
	return heeding
}

// failed is told what a handler returned.
func (m *message) failed(err error) {
	switch {
	case err == nil:
	case m.Context.Err() == nil:
		m.failure.Store(failedFirst)
	case m.heeds.Load():
		m.failure.Store(failedHeeding)
	default:
		m.failure.Store(failedUnaware)
	}
}

// derived is a context that a middleware derived from that of a message. It tells the
// message that somebody heeds its end.
type derived struct {
	context.Context
	m *message
}

func (d *derived) Done() <-chan struct{} {
	d.m.heed()
	return d.Context.Done()
}

func (d *derived) Err() error {
	d.m.heed()
	return d.Context.Err()
}

// watchHandler is deferred around a handler. It does not recover: a panic goes
// on, with its stack.
func (m *message) watchHandler(returned *bool) {
	m.handlerRan.Store(true)
	if !*returned {
		m.panicked.Store(true)
	}
}

// settleRan is for a message that ends without an answer: a handler that ran
// proves that the name it was asked by is registered.
func (m *message) settleRan() {
	defer m.i.rec.Guard()
	if !m.handlerRan.Load() {
		return
	}
	m.Tool.Known = m.Tool.Text != "" && m.i.names.admit(m.i.rec, m.Tool.Text)
	m.Prompt.Known = m.Prompt.Text != "" && m.i.names.admit(m.i.rec, m.Prompt.Text)
}
