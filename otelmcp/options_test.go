// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Options: what an operator can turn off, turn on, add and hide, and that code
// of the operator's that panics harms neither the answer nor the telemetry.

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// text renders a span's attributes, and its status, for a look at all of it.
func text(s sdktrace.ReadOnlySpan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v", s.Name(), s.Status())
	for _, kv := range s.Attributes() {
		fmt.Fprintf(&b, " %s=%s", kv.Key, kv.Value.String())
	}
	return b.String()
}

func attr(s sdktrace.ReadOnlySpan, k attribute.Key) (string, bool) {
	set := telemetrytest.SpanAttributes(s)
	v, ok := set.Value(k)
	return v.String(), ok
}

func TestInstrumentTwice(t *testing.T) {
	s := newEverything()
	first, second := telemetrytest.New(t), telemetrytest.New(t)
	i := otelmcp.Instrument(s.MCPServer, into(first)...)
	if otelmcp.Instrument(s.MCPServer, into(second)...) != i || otelmcp.Instrument(s.MCPServer) != i {
		t.Error("a second call returned another Instrumentation")
	}
	connect(t, s.MCPServer, direct, modern).tool(t.Context(), "echo", "")
	if n := len(first.Spans()); n != 1 {
		t.Errorf("%d spans, want 1", n)
	}
	if n := len(second.Spans()) + len(second.Logs()); n != 0 {
		t.Errorf("the second call's options took effect")
	}
	if otelmcp.Instrument(newEverything().MCPServer, into(telemetrytest.New(t))...) == i {
		t.Error("another server got the first one's Instrumentation")
	}
}

func TestFilter(t *testing.T) {
	s := newEverything()
	checkLeaks(t)
	capture := telemetrytest.New(t)
	var asked []string
	otelmcp.Instrument(s.MCPServer, into(capture, otelmcp.WithFilter(func(_ context.Context, method string) bool {
		asked = append(asked, method)
		return method == "tools/call"
	}))...)
	p := connect(t, s.MCPServer, inProcess, legacy)
	p.call(t.Context(), "ping", "")
	p.tool(t.Context(), "echo", "")
	p.call(t.Context(), "admin/drop_tables", "")
	p.close()

	if got := strings.Join(asked, " "); got != "initialize ping tools/call admin/drop_tables" {
		t.Errorf("the filter was asked for %s", got)
	}
	if spans := capture.Spans(); len(spans) != 1 || spans[0].Name() != "tools/call echo" {
		t.Errorf("spans: %v", spans)
	}
	if n := capture.HistogramCount("mcp.server.operation.duration"); n != 1 {
		t.Errorf("%d durations, want 1", n)
	}
	// What cannot be silenced.
	if n := len(capture.EventsNamed(semconv.OTelMCPOperationEventName)); n != 4 {
		t.Errorf("%d events, want 4", n)
	}
	if n := capture.CounterValue("otelmcp.server.messages"); n != 4 {
		t.Errorf("%d messages counted, want 4", n)
	}
	if n := capture.CounterValue("otelmcp.server.operations.active"); n != 0 {
		t.Errorf("%d operations are active", n)
	}
	if len(capture.EventsNamed(semconv.OTelMCPSessionStartEventName)) != 1 || len(capture.EventsNamed(semconv.OTelMCPSessionEndEventName)) != 1 {
		t.Error("the filter silenced the session")
	}
}

// TestFilterKeepsTheTrace: a silenced message has no span of its own, and what
// its handler does is still part of the caller's trace.
func TestFilterKeepsTheTrace(t *testing.T) {
	s, capture := instrumented(t, otelmcp.WithFilter(func(context.Context, string) bool { return false }))
	s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		_, span := capture.TracerProvider().Tracer("the program's own").Start(ctx, "query")
		span.End()
		return mcp.NewToolResultText(""), nil
	})
	connect(t, s.MCPServer, direct, modern).tool(t.Context(), "custom", "")
	if span := capture.SpanNamed("query"); span.Parent().SpanID().String() != callerSpan {
		t.Errorf("the handler's span has the parent %v", span.Parent())
	}
}

// TestFilterAtPublicEndpoint: where callers do not choose the trace, they do not
// choose that of a message without a span either.
func TestFilterAtPublicEndpoint(t *testing.T) {
	s, capture := instrumented(t, otelmcp.WithPublicEndpoint(),
		otelmcp.WithFilter(func(context.Context, string) bool { return false }))
	s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		_, span := capture.TracerProvider().Tracer("the program's own").Start(ctx, "query")
		span.End()
		otelmcp.RecordAuthDecision(ctx, otelmcp.AuthDecision{})
		return mcp.NewToolResultText(""), nil
	})
	connect(t, s.MCPServer, direct, modern).tool(t.Context(), "custom", "")
	if span := capture.SpanNamed("query"); span.Parent().IsValid() {
		t.Errorf("the handler's span has the parent %v", span.Parent())
	}
	for _, name := range []string{semconv.OTelMCPOperationEventName, semconv.OTelMCPAuthDecisionEventName} {
		all := capture.EventsNamed(name)
		if len(all) == 0 {
			t.Errorf("no %s", name)
		}
		for _, e := range all {
			if e.TraceID().IsValid() {
				t.Errorf("%s is in the trace %v", name, e.TraceID())
			}
		}
	}
}

func TestFilterOfRequestsSent(t *testing.T) {
	capture, _ := ask(t, inProcess, legacy, newHuman(), func(ctx context.Context, s *everything) error {
		return askings[0].ask(ctx, s.MCPServer, nil)
	}, otelmcp.WithFilter(func(_ context.Context, method string) bool { return method != "sampling/createMessage" }))
	if spans := capture.Spans(); len(spans) != 1 || spans[0].Name() != "tools/call custom" {
		t.Errorf("spans: %v", spans)
	}
	if n := len(capture.EventsNamed(semconv.OTelMCPOperationEventName)); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
}

type principal struct{}

func TestIdentity(t *testing.T) {
	s, capture := instrumented(t, otelmcp.WithIdentity(func(ctx context.Context) otelmcp.Identity {
		who, _ := ctx.Value(principal{}).(string)
		return otelmcp.Identity{UserID: who, Roles: []string{"reader", "writer"}}
	}))
	p := connect(t, s.MCPServer, direct, modern)
	p.tool(context.WithValue(t.Context(), principal{}, "alice"), "echo", "")
	span := capture.SpanNamed("tools/call echo")
	if id, _ := attr(span, "user.id"); id != "alice" {
		t.Errorf("user.id is %q", id)
	}
	if roles, _ := attr(span, "user.roles"); roles != attribute.StringSliceValue([]string{"reader", "writer"}).String() {
		t.Errorf("user.roles is %s", roles)
	}
	if e := event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName))); e["user.id"] != "alice" {
		t.Errorf("the event says %v", e)
	}
	set := only(t, capture.HistogramPoints("mcp.server.operation.duration")).Attributes
	if set.HasValue("user.id") || set.HasValue("user.roles") {
		t.Error("a user is on a metric")
	}
}

// TestIdentityOfRequestsSent: what the server asks, it asks for the same user.
func TestIdentityOfRequestsSent(t *testing.T) {
	capture, _ := ask(t, inProcess, legacy, newHuman(), func(ctx context.Context, s *everything) error {
		return askings[0].ask(ctx, s.MCPServer, nil)
	}, otelmcp.WithIdentity(func(context.Context) otelmcp.Identity { return otelmcp.Identity{UserID: "alice"} }))
	if id, _ := attr(capture.SpanNamed("sampling/createMessage"), "user.id"); id != "alice" {
		t.Errorf("user.id is %q", id)
	}
}

// TestPanickingCallbacks: a callback that panics costs what it was asked for,
// and is counted.
func TestPanickingCallbacks(t *testing.T) {
	for about, c := range map[string]struct {
		option otelmcp.Option
		name   string
		check  func(t *testing.T, span sdktrace.ReadOnlySpan)
	}{
		"identity": {
			otelmcp.WithIdentity(func(context.Context) otelmcp.Identity { panic("identity") }), "tools/call errors",
			func(t *testing.T, span sdktrace.ReadOnlySpan) {
				t.Helper()
				if id, ok := attr(span, "user.id"); ok {
					t.Errorf("the user is %q", id)
				}
			},
		},
		"filter": {
			otelmcp.WithFilter(func(context.Context, string) bool { panic("filter") }), "tools/call errors",
			func(*testing.T, sdktrace.ReadOnlySpan) {},
		},
		"scrubber": {
			otelmcp.WithScrubber(func(string, string) string { panic("scrubber") }), "tools/call [REDACTED]",
			func(t *testing.T, span sdktrace.ReadOnlySpan) {
				t.Helper()
				if d := span.Status().Description; d != "[REDACTED]" {
					t.Errorf("the status says %q", d)
				}
			},
		},
	} {
		t.Run(about, func(t *testing.T) {
			s, capture := instrumented(t, c.option)
			r := connect(t, s.MCPServer, streamable, modern).tool(t.Context(), "errors", "")
			if r.code() != mcp.INTERNAL_ERROR || r.Error.Message != errBackend.Error() {
				t.Errorf("the client got %+v", r)
			}
			span := capture.SpanNamed(c.name)
			if o, _ := attr(span, "otelmcp.outcome"); o != "error" {
				t.Errorf("the outcome is %q", o)
			}
			c.check(t, span)
			if n := capture.CounterValue("otelmcp.telemetry.refused", attribute.String("otelmcp.refused.reason", "callback_panic")); n == 0 {
				t.Error("the panic is not counted")
			}
			if n := capture.CounterValue("otelmcp.server.messages"); n != 1 {
				t.Errorf("%d messages counted", n)
			}
		})
	}
}

func TestScrubber(t *testing.T) {
	var seen atomic.Int64
	s, capture := instrumented(t, otelmcp.WithScrubber(func(key, value string) string {
		seen.Add(1)
		if key == "mcp.resource.uri" {
			return "note://\x1b[31mrewritten"
		}
		return strings.ReplaceAll(value, "backend", "<host>")
	}))
	p := connect(t, s.MCPServer, direct, modern)
	p.tool(t.Context(), "errors", "")
	p.call(t.Context(), "resources/read", `{"uri":"note://one"}`)
	span := capture.SpanNamed("tools/call errors")
	if d := span.Status().Description; d != "<host> said no, password=[REDACTED]" {
		t.Errorf("the status says %q", d) // ours runs first
	}
	var message string
	for _, r := range capture.EventsNamed(semconv.OTelMCPOperationEventName) {
		if e := event(r); e["mcp.method.name"] == "tools/call" {
			message = e["otelmcp.operation.error.message"]
		}
	}
	if message != "<host> said no, password=[REDACTED]" {
		t.Errorf("the event says %q", message)
	}
	if uri, _ := attr(capture.SpanNamed("resources/read"), "mcp.resource.uri"); !strings.HasSuffix(uri, "rewritten") || strings.Contains(uri, "\x1b") {
		t.Errorf("the URI is %q", uri)
	}
	if seen.Load() == 0 {
		t.Error("the scrubber was not asked")
	}
}

func TestAttributes(t *testing.T) {
	const key = attribute.Key("deployment.environment.name")
	s := newEverything()
	checkLeaks(t)
	capture := telemetrytest.New(t, telemetrytest.WithExtraAttributes(key))
	attrs := []attribute.KeyValue{key.String("test")}
	otelmcp.Instrument(s.MCPServer, into(capture, otelmcp.WithAttributes(attrs...))...)
	attrs[0] = key.String("changed later")
	p := connect(t, s.MCPServer, inProcess, legacy)
	p.tool(t.Context(), "echo", "")
	p.close()

	for _, span := range capture.Spans() {
		if v, _ := attr(span, key); v != "test" {
			t.Errorf("span %s has %q", span.Name(), v)
		}
	}
	for _, r := range capture.Logs() {
		if e := event(r); e[key] != "test" {
			t.Errorf("event %s has %q", r.EventName(), e[key])
		}
	}
	test := key.String("test")
	for _, h := range []string{"mcp.server.operation.duration", "mcp.server.session.duration"} {
		if all, with := capture.HistogramCount(h), capture.HistogramCount(h, test); all == 0 || with != all {
			t.Errorf("%d of %d values of %s have it", with, all, h)
		}
	}
	if all, with := capture.CounterValue("otelmcp.server.messages"), capture.CounterValue("otelmcp.server.messages", test); with != all || all != 2 {
		t.Errorf("%d of %d messages have it", with, all)
	}
}

const confidential = `{"text":"tell nobody, password=hunter2","lang":"en"}`

// TestContentByDefault: none, in no signal.
func TestContentByDefault(t *testing.T) {
	s, capture := instrumented(t)
	p := connect(t, s.MCPServer, direct, modern)
	p.tool(t.Context(), "echo", confidential)
	p.tool(t.Context(), "fails", confidential)
	p.call(t.Context(), "prompts/get", `{"name":"greet","arguments":{"who":"tell nobody"}}`)
	for _, span := range capture.Spans() {
		if all := text(span); strings.Contains(all, "nobody") || strings.Contains(all, "no such file") || strings.Contains(all, "hunter2") {
			t.Errorf("the span has content: %s", all)
		}
		for _, kv := range span.Attributes() {
			if k := string(kv.Key); strings.HasPrefix(k, "gen_ai.tool.call.") || strings.HasPrefix(k, "gen_ai.prompt.variable.") {
				t.Errorf("the span has %s", k)
			}
		}
	}
	for _, r := range capture.Logs() {
		if all := fmt.Sprint(event(r)); strings.Contains(all, "nobody") || strings.Contains(all, "no such file") {
			t.Errorf("the event has content: %s", all)
		}
	}
}

func TestContentCapture(t *testing.T) {
	all := otelmcp.Arguments | otelmcp.Results | otelmcp.PromptVariables
	for _, c := range []struct {
		about        string
		kinds        otelmcp.Content
		method, args string
		span         string
		has          map[attribute.Key][]string // parts of the value
		hasNot       []attribute.Key
		status       string
	}{
		{
			about: "arguments", kinds: otelmcp.Arguments, method: "tools/call", args: `{"name":"echo","arguments":` + confidential + `}`,
			span: "tools/call echo", has: map[attribute.Key][]string{"gen_ai.tool.call.arguments": {"tell nobody", "lang"}},
			hasNot: []attribute.Key{"gen_ai.tool.call.result"},
		},
		{
			about: "results", kinds: otelmcp.Results, method: "tools/call", args: `{"name":"echo","arguments":` + confidential + `}`,
			span: "tools/call echo", has: map[attribute.Key][]string{"gen_ai.tool.call.result": {"tell nobody"}},
			hasNot: []attribute.Key{"gen_ai.tool.call.arguments"},
		},
		{
			about: "the result of a tool that failed", kinds: otelmcp.Results, method: "tools/call", args: `{"name":"fails"}`,
			span: "tools/call fails", has: map[attribute.Key][]string{"gen_ai.tool.call.result": {"no such file"}},
			status: "no such file, password=[REDACTED]",
		},
		{
			about: "both", kinds: all, method: "tools/call", args: `{"name":"echo","arguments":` + confidential + `}`,
			span: "tools/call echo", has: map[attribute.Key][]string{
				"gen_ai.tool.call.arguments": {"tell nobody"}, "gen_ai.tool.call.result": {"tell nobody"},
			},
		},
		{
			about: "prompt variables", kinds: otelmcp.PromptVariables, method: "prompts/get",
			args: `{"name":"greet","arguments":{"who":"tell nobody","api_key":"hunter2"}}`, span: "prompts/get greet",
			has: map[attribute.Key][]string{"gen_ai.prompt.variable.who": {"tell nobody"}, "gen_ai.prompt.variable.api_key": {"[REDACTED]"}},
		},
		{
			about: "prompt variables are no arguments", kinds: otelmcp.Arguments | otelmcp.Results, method: "prompts/get",
			args: `{"name":"greet","arguments":{"who":"tell nobody"}}`, span: "prompts/get greet",
			hasNot: []attribute.Key{"gen_ai.prompt.variable.who", "gen_ai.tool.call.arguments", "gen_ai.tool.call.result"},
		},
		{
			about: "arguments that do not fit the schema", kinds: all, method: "tools/call",
			args: `{"name":"strict","arguments":{"text":{"deep":["tell nobody"]}}}`, span: "tools/call strict",
			has: map[attribute.Key][]string{"gen_ai.tool.call.arguments": {"tell nobody"}},
		},
	} {
		t.Run(c.about, func(t *testing.T) {
			capture := telemetrytest.New(t)
			s := newEverything(server.WithInputSchemaValidation())
			otelmcp.Instrument(s.MCPServer, into(capture, otelmcp.WithContentCapture(c.kinds))...)
			connect(t, s.MCPServer, direct, modern).call(t.Context(), c.method, c.args)
			span := capture.SpanNamed(c.span)
			for k, parts := range c.has {
				v, ok := attr(span, k)
				if !ok {
					t.Errorf("the span has no %s", k)
				}
				for _, part := range parts {
					if !strings.Contains(v, part) {
						t.Errorf("%s is %s, without %q", k, v, part)
					}
				}
			}
			for _, k := range c.hasNot {
				if v, ok := attr(span, k); ok {
					t.Errorf("the span has %s=%s", k, v)
				}
			}
			if c.status != "" && span.Status().Description != c.status {
				t.Errorf("the status says %q", span.Status().Description)
			}
			if whole := text(span); strings.Contains(whole, "hunter2") {
				t.Errorf("the span has a password: %s", whole)
			}
			for _, r := range capture.EventsNamed(semconv.OTelMCPOperationEventName) {
				set := telemetrytest.EventAttributes(r)
				for _, kv := range set.ToSlice() {
					if strings.HasPrefix(string(kv.Key), "gen_ai.tool.call.") || strings.HasPrefix(string(kv.Key), "gen_ai.prompt.variable.") {
						t.Errorf("the event has %s: content is for spans only", kv.Key)
					}
				}
			}
		})
	}
}

// TestContentIsStructured: an argument is no text with JSON in it.
func TestContentIsStructured(t *testing.T) {
	s, capture := instrumented(t, otelmcp.WithContentCapture(otelmcp.Arguments))
	connect(t, s.MCPServer, direct, modern).tool(t.Context(), "echo", `{"text":"hi","n":[1,true,null,{"a":"b"}]}`)
	set := telemetrytest.SpanAttributes(capture.SpanNamed("tools/call echo"))
	if v, _ := set.Value("gen_ai.tool.call.arguments"); v.Type() != attribute.MAP {
		t.Errorf("the arguments are a %v: %s", v.Type(), v.String())
	}
}

// TestContentIsCapped, and says so.
func TestContentIsCapped(t *testing.T) {
	s, capture := instrumented(t, otelmcp.WithContentCapture(otelmcp.Arguments|otelmcp.Results))
	connect(t, s.MCPServer, direct, modern).tool(t.Context(), "echo", `{"text":"`+strings.Repeat("long ", 100_000)+`"}`)
	span := capture.SpanNamed("tools/call echo")
	if n := len(text(span)); n > 40<<10 {
		t.Errorf("the span has %d bytes", n)
	}
	if cut, ok := attr(span, "otelmcp.content.truncated"); !ok || cut == "0" {
		t.Errorf("%q bytes were cut, it says", cut)
	}
}

// TestNilOptions: a program that configures conditionally passes nil.
func TestNilOptions(t *testing.T) {
	s := newEverything()
	otelmcp.Instrument(s.MCPServer, nil, otelmcp.WithTracerProvider(nil), otelmcp.WithMeterProvider(nil),
		otelmcp.WithLoggerProvider(nil), otelmcp.WithPropagators(nil), otelmcp.WithIdentity(nil), otelmcp.WithFilter(nil),
		otelmcp.WithScrubber(nil), otelmcp.WithAttributes(), otelmcp.WithContentOnEvents(otelmcp.Arguments, nil))
	if r := connect(t, s.MCPServer, direct, modern).tool(t.Context(), "echo", ""); r.code() != 0 || r.recovered != nil {
		t.Errorf("%+v", r)
	}
}
