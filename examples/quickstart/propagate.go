// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// How the agent makes its calls traceable: a wrapper of mcp-go's transports
// that starts a client span around every request and puts its traceparent into
// params._meta, where the server finds it on every transport. It also keeps
// the ledger of what really went over the wire, against which the demo checks
// the telemetry that arrived.

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"sync"

	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// tracedHTTP and tracedStdio embed the whole transport, so that whatever else
// it can do stays visible to the client, and override what sends and receives.
type (
	tracedHTTP struct {
		*transport.StreamableHTTP
		agent *agent
	}
	tracedStdio struct {
		*transport.Stdio
		agent *agent
	}
)

func (t tracedHTTP) SendRequest(ctx context.Context, req transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
	return t.agent.send(ctx, req, t.StreamableHTTP.SendRequest)
}

func (t tracedHTTP) SendNotification(ctx context.Context, n mcp.JSONRPCNotification) error {
	return t.StreamableHTTP.SendNotification(ctx, traceNotification(ctx, n))
}

func (t tracedHTTP) SetRequestHandler(handler transport.RequestHandler) {
	t.StreamableHTTP.SetRequestHandler(t.agent.countReceived(handler))
}

func (t tracedStdio) SendRequest(ctx context.Context, req transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
	return t.agent.send(ctx, req, t.Stdio.SendRequest)
}

func (t tracedStdio) SendNotification(ctx context.Context, n mcp.JSONRPCNotification) error {
	return t.Stdio.SendNotification(ctx, traceNotification(ctx, n))
}

func (t tracedStdio) SetRequestHandler(handler transport.RequestHandler) {
	t.Stdio.SetRequestHandler(t.agent.countReceived(handler))
}

type sendFunc func(context.Context, transport.JSONRPCRequest) (*transport.JSONRPCResponse, error)

// send sends one request under a client span.
func (a *agent) send(ctx context.Context, req transport.JSONRPCRequest, next sendFunc) (*transport.JSONRPCResponse, error) {
	params, err := paramsObject(req.Params)
	if err != nil {
		return nil, err
	}

	name := req.Method
	attrs := []attribute.KeyValue{attribute.String("mcp.method.name", req.Method)}
	target := nameIn(params)
	switch mcp.MCPMethod(req.Method) {
	case mcp.MethodToolsCall:
		attrs = append(attrs, attribute.String("gen_ai.tool.name", target))
	case mcp.MethodPromptsGet:
		attrs = append(attrs, attribute.String("gen_ai.prompt.name", target))
	default:
		target = ""
	}
	if target != "" {
		name += " " + target
	}
	ctx, span := a.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...))
	defer span.End()

	if req.Params, err = withTraceContext(ctx, params); err != nil {
		return nil, err
	}
	a.ledger.addSent(sentRequest{method: req.Method, target: target, span: span.SpanContext()})

	res, err := next(ctx, req)
	if errorType, message := failure(res, err); errorType != "" {
		span.SetStatus(codes.Error, message)
		span.SetAttributes(attribute.String("error.type", errorType))
	}
	return res, err
}

// failure tells the error type of an answer, as the conventions name it.
func failure(res *transport.JSONRPCResponse, err error) (errorType, message string) {
	switch {
	case err != nil:
		return "_OTHER", err.Error()
	case res.Error != nil:
		return strconv.Itoa(res.Error.Code), res.Error.Message
	}
	var result struct {
		IsError bool `json:"isError"`
	}
	if json.Unmarshal(res.Result, &result) == nil && result.IsError {
		return "tool_error", "the tool reported an error"
	}
	return "", ""
}

// paramsObject takes the params of a request apart, without a copy of what
// is in them. The caller's own value stays as it is.
func paramsObject(params any) (map[string]json.RawMessage, error) {
	object := map[string]json.RawMessage{}
	if params == nil {
		return object, nil
	}
	encoded, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(encoded, &object); err != nil {
		return nil, fmt.Errorf("params are not an object: %w", err)
	}
	return object, nil
}

func nameIn(params map[string]json.RawMessage) (name string) {
	_ = json.Unmarshal(params["name"], &name) // no name, no target
	return name
}

// withTraceContext adds the span of ctx to params._meta (SEP-414).
func withTraceContext(ctx context.Context, params map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	meta := map[string]any{}
	if raw, ok := params["_meta"]; ok {
		if err := json.Unmarshal(raw, &meta); err != nil {
			return nil, fmt.Errorf("_meta is not an object: %w", err)
		}
	}
	for key, value := range traceContext(ctx) {
		meta[key] = value
	}
	if len(meta) == 0 {
		return params, nil
	}
	encoded, err := json.Marshal(meta)
	if err != nil {
		return nil, err
	}
	params["_meta"] = encoded
	return params, nil
}

// traceNotification does the same for a notification, which gets no span of
// its own here.
func traceNotification(ctx context.Context, n mcp.JSONRPCNotification) mcp.JSONRPCNotification {
	meta := map[string]any{}
	maps.Copy(meta, n.Params.Meta)
	for key, value := range traceContext(ctx) {
		meta[key] = value
	}
	n.Params.Meta = meta
	return n
}

func traceContext(ctx context.Context) propagation.MapCarrier {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier
}

// ledger is what the agent knows to have happened, from the wire alone.
type ledger struct {
	mu       sync.Mutex
	sent     []sentRequest
	received int // requests that the server sent to the client
}

type sentRequest struct {
	method, target string
	span           trace.SpanContext
}

func (l *ledger) addSent(req sentRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = append(l.sent, req)
}

// countReceived counts the requests that come from the server.
func (a *agent) countReceived(handler transport.RequestHandler) transport.RequestHandler {
	return func(ctx context.Context, req transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
		a.ledger.mu.Lock()
		a.ledger.received++
		a.ledger.mu.Unlock()
		return handler(ctx, req)
	}
}
