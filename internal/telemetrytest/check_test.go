// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package telemetrytest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/semconv"
)

// operation is the telemetry of one message. Each case of a test spoils it in
// one place.
type operation struct {
	scope    string
	name     string
	kind     trace.SpanKind
	span     []attribute.KeyValue
	duration []attribute.KeyValue
	messages []attribute.KeyValue
	event    log.Record
	attrs    []attribute.KeyValue // of the event

	noSpan, noEnd, noDuration, noMessage, noEvent bool
}

func toolCall() *operation {
	common := []attribute.KeyValue{
		semconv.MCPMethodNameKey.String(semconv.MCPMethodNameToolsCall),
		semconv.GenAIToolNameKey.String("get_weather"),
		semconv.GenAIOperationNameKey.String(semconv.GenAIOperationNameExecuteTool),
		semconv.NetworkTransportKey.String(semconv.NetworkTransportPipe),
	}
	ours := []attribute.KeyValue{
		semconv.OTelMCPTransportKey.String(semconv.OTelMCPTransportStdio),
		semconv.OTelMCPStageKey.String(semconv.OTelMCPStageHandler),
		semconv.OTelMCPOutcomeKey.String(semconv.OTelMCPOutcomeOK),
	}
	op := &operation{
		scope:    DefaultScope,
		name:     "tools/call get_weather",
		kind:     trace.SpanKindServer,
		duration: slices.Clone(common),
		messages: append(slices.Clone(ours), semconv.OTelMCPRoleKey.String(semconv.OTelMCPRoleServer)),
	}
	op.span = slices.Concat(common, ours, []attribute.KeyValue{
		semconv.JSONRPCRequestIDKey.String("7"),
		semconv.UserRolesKey.StringSlice([]string{"admin"}),
		semconv.OTelMCPRequestSizeKey.Int(412),
		semconv.GenAIToolCallArgumentsKey.Map(attribute.String("city", "Paris")),
		attribute.String(string(semconv.GenAIPromptVariableKey)+"user", "Alice"),
	})
	op.attrs = slices.Concat(common, ours, []attribute.KeyValue{
		semconv.EventNameKey.String(semconv.OTelMCPOperationEventName),
		semconv.OTelMCPRoleKey.String(semconv.OTelMCPRoleServer),
		semconv.OTelMCPOperationDurationKey.Float64(0.25),
		semconv.OTelMCPToolArgumentsNamesKey.StringSlice([]string{"city"}),
	})
	op.event.SetEventName(semconv.OTelMCPOperationEventName)
	op.event.SetTimestamp(time.Now())
	op.event.SetObservedTimestamp(time.Now())
	op.event.SetSeverity(log.SeverityInfo)
	op.event.SetBody(attribute.StringValue("tools/call get_weather: ok"))
	return op
}

func (op *operation) emit(t *testing.T, c *Capture) {
	t.Helper()
	ctx := t.Context()
	if tracer := c.TracerProvider().Tracer(op.scope); !op.noSpan {
		_, span := tracer.Start(ctx, op.name, trace.WithSpanKind(op.kind), trace.WithAttributes(op.span...))
		if !op.noEnd {
			span.End()
		}
	}
	meter := func() metric.Meter { return c.MeterProvider().Meter(op.scope) }
	if !op.noDuration {
		newDuration := semconv.NewMCPServerOperationDuration
		if op.kind == trace.SpanKindClient {
			newDuration = semconv.NewMCPClientOperationDuration
		}
		h, err := newDuration(meter())
		must(t, err)
		h.Record(ctx, 0.25, metric.WithAttributes(op.duration...))
	}
	if !op.noMessage {
		n, err := semconv.NewOTelMCPServerMessages(meter())
		must(t, err)
		n.Add(ctx, 1, metric.WithAttributes(op.messages...))
	}
	if !op.noEvent {
		op.event.AddAttributes(op.attrs...)
		c.LoggerProvider().Logger(op.scope).Emit(ctx, op.event)
	}
}

// set replaces the attribute, or adds it.
func set(attrs *[]attribute.KeyValue, kv attribute.KeyValue) {
	*attrs = append(without(*attrs, kv.Key), kv)
}

func without(attrs []attribute.KeyValue, key attribute.Key) []attribute.KeyValue {
	return slices.DeleteFunc(slices.Clone(attrs), func(kv attribute.KeyValue) bool { return kv.Key == key })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What is right passes, on both sides and with every signal, and the check at
// the end of the test agrees.
func TestAllGood(t *testing.T) {
	c := New(t, WithExtraAttributes("deployment.ring"))
	toolCall().emit(t, c)

	client := toolCall()
	client.kind = trace.SpanKindClient
	set(&client.span, semconv.ServerAddressKey.String("example.com"))
	set(&client.duration, semconv.ServerAddressKey.String("example.com"))
	for _, attrs := range []*[]attribute.KeyValue{&client.attrs, &client.messages} {
		set(attrs, semconv.OTelMCPRoleKey.String(semconv.OTelMCPRoleClient))
	}
	client.emit(t, c)

	// A method and a tool that nobody knows: themselves on the span and on the
	// event, other on the metric and in the span's name.
	unknown := toolCall()
	unknown.name = "_OTHER _OTHER"
	for _, attrs := range []*[]attribute.KeyValue{&unknown.span, &unknown.attrs} {
		set(attrs, semconv.MCPMethodNameKey.String("tools/hack"))
		set(attrs, semconv.GenAIToolNameKey.String("rm -rf"))
	}
	set(&unknown.duration, semconv.MCPMethodNameKey.String("_OTHER"))
	set(&unknown.duration, semconv.GenAIToolNameKey.String("_OTHER"))
	unknown.emit(t, c)

	// A constant attribute that a user adds everywhere.
	extra := toolCall()
	for _, attrs := range []*[]attribute.KeyValue{&extra.span, &extra.duration, &extra.messages, &extra.attrs} {
		set(attrs, attribute.Int("deployment.ring", 2))
	}
	extra.emit(t, c)

	// What is not ours is not our business.
	foreign := toolCall()
	foreign.scope = "example.com/app"
	foreign.name = "anything"
	set(&foreign.span, attribute.Bool("undeclared", true))
	foreign.noEnd = true
	foreign.emit(t, c)

	ctx, meter := t.Context(), c.MeterProvider().Meter(DefaultScope)
	size, err := semconv.NewOTelMCPServerRequestSize(meter)
	must(t, err)
	size.Record(ctx, 412, metric.WithAttributes(semconv.OTelMCPTransportKey.String(semconv.OTelMCPTransportSSE)))
	active, err := semconv.NewOTelMCPServerSessionsActive(meter)
	must(t, err)
	active.Add(ctx, 1, metric.WithAttributes(semconv.OTelMCPTransportKey.String(semconv.OTelMCPTransportSSE)))

	for _, err := range c.Check() {
		t.Error(err)
	}
}

// Every rule can fail: one thing wrong gives one violation.
func TestCheckFails(t *testing.T) {
	for _, tc := range []struct {
		name  string
		opts  []Option
		spoil func(*operation)
		emit  func(*testing.T, *Capture) // besides the operation
		want  string
	}{
		{
			name:  "undeclared attribute on a span",
			spoil: func(op *operation) { set(&op.span, attribute.String("mcp.tool.name", "x")) },
			want:  `span "tools/call get_weather": undeclared attribute mcp.tool.name`,
		},
		{
			name:  "undeclared attribute on a metric",
			spoil: func(op *operation) { set(&op.messages, attribute.String("tenant", "x")) },
			want:  "metric otelmcp.server.messages: undeclared attribute tenant",
		},
		{
			name:  "undeclared attribute on an event",
			spoil: func(op *operation) { set(&op.attrs, attribute.String("otelmcp.subject", "x")) },
			want:  "event otelmcp.operation: undeclared attribute otelmcp.subject",
		},
		{
			name: "undeclared metric",
			emit: func(t *testing.T, c *Capture) {
				n, err := c.MeterProvider().Meter(DefaultScope).Int64Counter("otelmcp.invented")
				must(t, err)
				n.Add(t.Context(), 1)
			},
			want: "metric otelmcp.invented is undeclared",
		},
		{
			name: "undeclared event",
			emit: func(t *testing.T, c *Capture) {
				op := toolCall()
				op.event.SetEventName("otelmcp.invented")
				op.noSpan, op.noDuration, op.noMessage = true, true, true
				op.emit(t, c)
			},
			want: "event otelmcp.invented is undeclared",
		},
		{
			name:  "undeclared kind of span",
			spoil: func(op *operation) { op.kind, op.noDuration = trace.SpanKindInternal, true },
			want:  "no span of kind internal is declared",
		},
		{
			name:  "span name",
			spoil: func(op *operation) { op.name = "get_weather" },
			want:  `span "get_weather": should be named "tools/call get_weather"`,
		},
		{
			name: "span name without a target",
			spoil: func(op *operation) {
				op.span, op.duration = without(op.span, semconv.GenAIToolNameKey), without(op.duration, semconv.GenAIToolNameKey)
			},
			want: `span "tools/call get_weather": should be named "tools/call"`,
		},
		{
			name: "method of an attacker in a span name",
			spoil: func(op *operation) {
				set(&op.span, semconv.MCPMethodNameKey.String("evil"))
				set(&op.duration, semconv.MCPMethodNameKey.String("_OTHER"))
				op.name = "evil get_weather"
			},
			want: `span "evil get_weather": should be named "_OTHER get_weather"`,
		},
		{
			name:  "span that never ends",
			opts:  []Option{WithUnsampled()},
			spoil: func(op *operation) { op.noEnd = true },
			want:  `span "tools/call get_weather" never ended`,
		},
		{
			name:  "wrong type on a span",
			spoil: func(op *operation) { set(&op.span, semconv.JSONRPCRequestIDKey.Int(7)) },
			want:  "attribute jsonrpc.request.id is INT64, not STRING",
		},
		{
			name:  "wrong type on an event",
			spoil: func(op *operation) { set(&op.attrs, semconv.OTelMCPToolArgumentsNamesKey.String("city")) },
			want:  "attribute otelmcp.tool.arguments.names is STRING, not STRINGSLICE",
		},
		{
			name:  "wrong type of a template",
			spoil: func(op *operation) { set(&op.span, attribute.Int(string(semconv.GenAIPromptVariableKey)+"n", 1)) },
			want:  "attribute gen_ai.prompt.variable.n is INT64, not STRING",
		},
		{
			name:  "value that a closed enum lacks",
			spoil: func(op *operation) { set(&op.attrs, semconv.OTelMCPCancelSourceKey.String("proxy")) },
			want:  `event otelmcp.operation: attribute otelmcp.cancel.source has the value "proxy"`,
		},
		{
			name: "method of an attacker on a metric",
			emit: func(t *testing.T, c *Capture) {
				meter := c.MeterProvider().Meter(DefaultScope)
				n, err := semconv.NewOTelMCPServerOperationsActive(meter)
				must(t, err)
				_, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
					o.ObserveInt64(n, 1, metric.WithAttributes(semconv.MCPMethodNameKey.String("evil")))
					return nil
				}, n)
				must(t, err)
			},
			want: `metric otelmcp.server.operations.active: attribute mcp.method.name has the value "evil"`,
		},
		{
			name: "class of error that is not one of the registry's, on a metric",
			opts: []Option{WithUnsampled()},
			spoil: func(op *operation) {
				set(&op.span, semconv.ErrorTypeKey.String("unheard_of"))
				set(&op.duration, semconv.ErrorTypeKey.String("unheard_of"))
			},
			want: `metric mcp.server.operation.duration: attribute error.type has the value "unheard_of"`,
		},
		{
			name: "required attribute missing on a span",
			spoil: func(op *operation) {
				op.name, op.span = "_OTHER", nil
				// A point without it would be a second violation.
				op.noDuration, op.noMessage = true, true
			},
			want: `span "_OTHER": required attribute mcp.method.name is missing`,
		},
		{
			name: "required attribute missing on a metric",
			emit: func(t *testing.T, c *Capture) {
				n, err := semconv.NewOTelMCPTelemetryRefused(c.MeterProvider().Meter(DefaultScope))
				must(t, err)
				n.Add(t.Context(), 1)
			},
			want: "metric otelmcp.telemetry.refused: required attribute otelmcp.refused.reason is missing",
		},
		{
			name:  "required attribute missing on an event",
			spoil: func(op *operation) { op.attrs = without(op.attrs, semconv.OTelMCPRoleKey) },
			want:  "event otelmcp.operation: required attribute otelmcp.role is missing",
		},
		{
			name: "wrong instrument",
			emit: func(t *testing.T, c *Capture) {
				n, err := c.MeterProvider().Meter(DefaultScope).Int64Counter(
					semconv.OTelMCPServerSessionsActiveName, metric.WithUnit("{session}"))
				must(t, err)
				n.Add(t.Context(), 1)
			},
			want: "metric otelmcp.server.sessions.active: instrument int counter, want int updowncounter",
		},
		{
			name: "wrong number",
			emit: func(t *testing.T, c *Capture) {
				n, err := c.MeterProvider().Meter(DefaultScope).Float64Counter(
					semconv.OTelMCPAuthDecisionsName, metric.WithUnit("{decision}"))
				must(t, err)
				n.Add(t.Context(), 1)
			},
			want: "metric otelmcp.auth.decisions: instrument double counter, want int counter",
		},
		{
			name: "wrong unit",
			emit: func(t *testing.T, c *Capture) {
				n, err := c.MeterProvider().Meter(DefaultScope).Int64UpDownCounter(semconv.OTelMCPServerSessionsActiveName)
				must(t, err)
				n.Add(t.Context(), 1, metric.WithAttributes(semconv.OTelMCPTransportKey.String(semconv.OTelMCPTransportSSE)))
			},
			want: `metric otelmcp.server.sessions.active: unit "", want "{session}"`,
		},
		{
			name: "wrong boundaries",
			emit: func(t *testing.T, c *Capture) {
				h, err := c.MeterProvider().Meter(DefaultScope).Int64Histogram(semconv.OTelMCPServerRequestSizeName, metric.WithUnit("By"))
				must(t, err)
				h.Record(t.Context(), 1, metric.WithAttributes(semconv.OTelMCPTransportKey.String(semconv.OTelMCPTransportSSE)))
			},
			want: "metric otelmcp.server.request.size: boundaries [0 5 10",
		},
		{
			name: "attribute that a metric may not have",
			spoil: func(op *operation) {
				set(&op.messages, semconv.OTelMCPCancelSourceKey.String(semconv.OTelMCPCancelSourceServer))
			},
			want: "metric otelmcp.server.messages: attribute otelmcp.cancel.source is not allowed there",
		},
		{
			name:  "attribute that a span may not have",
			spoil: func(op *operation) { set(&op.span, semconv.ServerPortKey.Int(443)) },
			want:  `span "tools/call get_weather": attribute server.port is not allowed there`,
		},
		{
			name:  "attribute that an event may not have",
			spoil: func(op *operation) { set(&op.attrs, semconv.OTelMCPSessionDurationKey.Float64(1)) },
			want:  "event otelmcp.operation: attribute otelmcp.session.duration is not allowed there",
		},
		{
			name:  "high-cardinality attribute on a metric",
			spoil: func(op *operation) { set(&op.messages, semconv.MCPSessionIDKey.String("191c")) },
			want:  "metric otelmcp.server.messages: high-cardinality attribute mcp.session.id on a metric",
		},
		{
			name:  "identifying attribute on a metric",
			spoil: func(op *operation) { set(&op.messages, semconv.UserIDKey.String("me")) },
			want:  "metric otelmcp.server.messages: high-cardinality attribute user.id on a metric",
		},
		{
			name:  "content on a metric",
			spoil: func(op *operation) { set(&op.messages, semconv.GenAIToolCallResultKey.String("42")) },
			want:  "metric otelmcp.server.messages: high-cardinality attribute gen_ai.tool.call.result on a metric",
		},
		{
			name: "log record without an EventName",
			emit: func(t *testing.T, c *Capture) {
				op := toolCall()
				op.event.SetEventName("")
				op.noSpan, op.noDuration, op.noMessage = true, true, true
				op.emit(t, c)
			},
			want: `log record "tools/call get_weather: ok": no EventName`,
		},
		{
			name:  "event without event.name",
			spoil: func(op *operation) { op.attrs = without(op.attrs, semconv.EventNameKey) },
			want:  "event otelmcp.operation: required attribute event.name is missing",
		},
		{
			name:  "event.name of another event",
			spoil: func(op *operation) { set(&op.attrs, semconv.EventNameKey.String("otelmcp.coverage")) },
			want:  `event otelmcp.operation: event.name is "otelmcp.coverage"`,
		},
		{
			name:  "event without a Timestamp",
			spoil: func(op *operation) { op.event.SetTimestamp(time.Time{}) },
			want:  "event otelmcp.operation: no Timestamp",
		},
		{
			name: "event without an ObservedTimestamp",
			// The SDK fills it in, so it is taken away from what was captured.
			emit: func(_ *testing.T, c *Capture) { c.logs.records[0].SetObservedTimestamp(time.Time{}) },
			want: "event otelmcp.operation: no ObservedTimestamp",
		},
		{
			name:  "event without a body",
			spoil: func(op *operation) { op.event.SetBody(attribute.Value{}) },
			want:  "event otelmcp.operation: the body is not a text, or empty",
		},
		{
			name:  "event with an empty body",
			spoil: func(op *operation) { op.event.SetBody(attribute.StringValue(" ")) },
			want:  "event otelmcp.operation: the body is not a text, or empty",
		},
		{
			name:  "event with a structured body",
			spoil: func(op *operation) { op.event.SetBody(attribute.MapValue(attribute.String("a", "b"))) },
			want:  "event otelmcp.operation: the body is not a text, or empty",
		},
		{
			name:  "event without a severity",
			spoil: func(op *operation) { op.event.SetSeverity(log.SeverityUndefined) },
			want:  "event otelmcp.operation: no severity",
		},
		{
			name:  "severity that the event never has",
			spoil: func(op *operation) { op.event.SetSeverity(log.SeverityFatal4) },
			want:  "event otelmcp.operation: severity FATAL4, want one of [INFO WARN ERROR]",
		},
		{
			name: "structure on an event",
			spoil: func(op *operation) {
				set(&op.attrs, semconv.GenAIToolCallArgumentsKey.Map(attribute.String("city", "Paris")))
			},
			want: "event otelmcp.operation: attribute gen_ai.tool.call.arguments is not flat",
		},
		{
			name:  "span without a point",
			spoil: func(op *operation) { op.noDuration = true },
			want:  "metric mcp.server.operation.duration: 1 spans without a point",
		},
		{
			name:  "span without a point, sampled by some",
			opts:  []Option{WithUnsampled()},
			spoil: func(op *operation) { op.noDuration = true },
			want:  "metric mcp.server.operation.duration: 1 spans without a point",
		},
		{
			name:  "point without a span",
			spoil: func(op *operation) { op.noSpan = true },
			want:  "metric mcp.server.operation.duration: 1 points without a span",
		},
		{
			name: "span whose point says something else",
			opts: []Option{WithUnsampled()},
			spoil: func(op *operation) {
				set(&op.duration, semconv.ErrorTypeKey.String(semconv.ErrorTypeToolError))
			},
			want: "metric mcp.server.operation.duration: 1 spans without a point that has their attributes " +
				"{gen_ai.operation.name=execute_tool gen_ai.tool.name=get_weather mcp.method.name=tools/call network.transport=pipe}",
		},
		{
			name: "unregistered tool on a metric",
			opts: []Option{WithUnsampled()},
			spoil: func(op *operation) {
				op.name = "tools/call _OTHER"
			},
			want: "gen_ai.tool.name=_OTHER",
		},
		{
			name:  "event that is not counted",
			emit:  func(t *testing.T, c *Capture) { op := toolCall(); op.noMessage = true; op.emit(t, c) },
			want:  "metrics otelmcp.server.messages and otelmcp.client.messages: 1 for {otelmcp.outcome=ok otelmcp.role=server otelmcp.stage=handler otelmcp.transport=stdio}, and there are 2 events",
			spoil: func(*operation) {},
		},
		{
			name: "count without an event",
			emit: func(t *testing.T, c *Capture) {
				op := toolCall()
				set(&op.messages, semconv.OTelMCPOutcomeKey.String(semconv.OTelMCPOutcomeDenied))
				op.noEvent = true
				op.emit(t, c)
			},
			want: "metrics otelmcp.server.messages and otelmcp.client.messages: count 1 operations more than there are events",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := New(t, append(tc.opts, WithoutCheck())...)
			op := toolCall()
			if tc.spoil != nil {
				tc.spoil(op)
			}
			op.emit(t, c)
			if tc.emit != nil {
				tc.emit(t, c)
			}
			errs := c.Check()
			if len(errs) != 1 || !strings.Contains(errs[0].Error(), tc.want) {
				t.Errorf("violations %q, want one with %q", errs, tc.want)
			}
		})
	}
}

// fakeTB stands in for a test, to see what a capture does to it at its end.
type fakeTB struct {
	testing.TB

	cleanups []func()
	errors   []string
}

func (*fakeTB) Helper()             {}
func (f *fakeTB) Cleanup(fn func()) { f.cleanups = append(f.cleanups, fn) }
func (f *fakeTB) Errorf(format string, a ...any) {
	f.errors = append(f.errors, fmt.Sprintf(format, a...))
}
func (f *fakeTB) Fatalf(format string, a ...any) { f.Errorf(format, a...) }
func (f *fakeTB) end()                           { slices.Reverse(f.cleanups); callAll(f.cleanups) }
func callAll(fns []func()) {
	for _, fn := range fns {
		fn()
	}
}

// The check runs by itself, and names every violation.
func TestCheckAtEnd(t *testing.T) {
	tb := &fakeTB{TB: t}
	c := New(tb)
	op := toolCall()
	set(&op.span, attribute.Bool("a", true))
	set(&op.attrs, attribute.Bool("b", true))
	op.emit(t, c)
	tb.end()
	if len(tb.errors) != 2 || !strings.Contains(tb.errors[0], "attribute a") || !strings.Contains(tb.errors[1], "attribute b") {
		t.Errorf("errors %q, want one for each of a and b", tb.errors)
	}

	tb = &fakeTB{TB: t}
	New(tb, WithoutCheck())
	if len(tb.cleanups) != 0 {
		t.Error("WithoutCheck checks")
	}
}

// A test may end before the server has recorded the operation that it waited
// for.
func TestCheckAtEndWaits(t *testing.T) {
	tb := &fakeTB{TB: t}
	c := New(tb)
	op := toolCall()
	op.noDuration = true
	op.emit(t, c)
	h, err := semconv.NewMCPServerOperationDuration(c.MeterProvider().Meter(DefaultScope))
	must(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		time.Sleep(50 * time.Millisecond)
		h.Record(t.Context(), 1, metric.WithAttributes(op.duration...))
	})
	tb.end()
	wg.Wait()
	if len(tb.errors) != 0 {
		t.Errorf("errors %q", tb.errors)
	}
}

// Points without spans are right where spans are sampled away.
func TestSampler(t *testing.T) {
	c := New(t, WithSampler(sdktrace.NeverSample()))
	toolCall().emit(t, c)
	if n := len(c.Spans()); n != 0 {
		t.Errorf("%d spans", n)
	}
	if n := c.HistogramCount(semconv.MCPServerOperationDurationName); n != 1 {
		t.Errorf("%d points", n)
	}
}

// A signal whose provider nobody took has nothing to agree with.
func TestOneSignal(t *testing.T) {
	c := New(t)
	op := toolCall()
	_, span := c.TracerProvider().Tracer(DefaultScope).Start(t.Context(), op.name,
		trace.WithSpanKind(op.kind), trace.WithAttributes(op.span...))
	span.End()
}

func TestWithScope(t *testing.T) {
	c := New(t, WithScope("mine"), WithoutCheck())
	op := toolCall()
	op.scope = "mine"
	set(&op.span, attribute.Bool("undeclared", true))
	op.emit(t, c)
	if errs := c.Check(); len(errs) != 1 {
		t.Errorf("violations %q, want 1", errs)
	}
}
