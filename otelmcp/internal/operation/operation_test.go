// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation_test

// The rules of an operation's end, row by row: what is known of the message in,
// span, histogram point, counter and event out.

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

const scope = "github.com/otelmcp/otelmcp-go/otelmcp"

func newRecorder(c *telemetrytest.Capture, change ...func(*operation.Config)) *operation.Recorder {
	cfg := operation.Config{
		ScopeName:      scope,
		TracerProvider: c.TracerProvider(),
		MeterProvider:  c.MeterProvider(),
		LoggerProvider: c.LoggerProvider(),
	}
	for _, f := range change {
		f(&cfg)
	}
	return operation.New(cfg)
}

func begin(ctx context.Context, r *operation.Recorder, role operation.Role, method string) *operation.Operation {
	o := &operation.Operation{}
	r.Init(o, ctx, role)
	o.Method.Text = method
	o.Transport = semconv.OTelMCPTransportOther
	o.Stage = semconv.OTelMCPStageHandler
	o.Begin()
	return o
}

func TestOutcomes(t *testing.T) {
	const (
		server = operation.RoleServer
		client = operation.RoleClient
	)
	for _, c := range []struct {
		name    string
		role    operation.Role
		code    int
		outcome string // as the adapter set it

		wantOutcome, wantErrorType string
		wantSeverity               log.Severity
	}{
		{"ok", server, 0, "", "ok", "", log.SeverityInfo},
		{"ok as client", client, 0, "", "ok", "", log.SeverityInfo},
		{"parse error is the caller's", server, -32700, "", "rejected", "", log.SeverityWarn},
		{"invalid request is the caller's", server, -32600, "", "rejected", "", log.SeverityWarn},
		{"method not found is the caller's", server, -32601, "", "rejected", "", log.SeverityWarn},
		{"invalid params is the caller's", server, -32602, "", "rejected", "", log.SeverityWarn},
		{"resource not found is the caller's", server, -32002, "", "rejected", "", log.SeverityWarn},
		{"internal error is ours", server, -32603, "", "error", "-32603", log.SeverityError},
		{"a code of the program's", server, -32042, "", "error", "-32042", log.SeverityError},
		{"for a client every code is an error", client, -32602, "", "error", "-32602", log.SeverityError},
		{"an error without a code", client, 0, "error", "error", "_OTHER", log.SeverityError},
		{"tool error", server, 0, "tool_error", "tool_error", "tool_error", log.SeverityWarn},
		{"panic", server, 0, "panic", "panic", "panic", log.SeverityError},
		{"recovered panic", server, -32603, "panic", "panic", "panic", log.SeverityError},
		{"timeout", server, -32603, "timeout", "timeout", "timeout", log.SeverityError},
		{"cancelled", server, -32603, "cancelled", "cancelled", "-32603", log.SeverityInfo},
		{"cancelled as client", client, 0, "cancelled", "cancelled", "cancelled", log.SeverityInfo},
		{"denied", server, -32602, "denied", "denied", "", log.SeverityWarn},
		{"input required", server, 0, "input_required", "input_required", "", log.SeverityInfo},
	} {
		t.Run(c.name, func(t *testing.T) {
			capture := telemetrytest.New(t)
			o := begin(t.Context(), newRecorder(capture), c.role, "tools/call")
			o.Tool = operation.Name{Text: "add", Known: true}
			o.Code, o.Outcome = c.code, c.outcome
			o.Message = "because"
			o.Finish()
			o.Finish() // only the first call counts

			span := capture.SpanNamed("tools/call add")
			attrs := telemetrytest.SpanAttributes(span)
			expect(t, attrs, semconv.OTelMCPOutcomeKey, c.wantOutcome)
			expect(t, attrs, semconv.ErrorTypeKey, c.wantErrorType)
			code := ""
			if c.code != 0 {
				code = strconv.Itoa(c.code)
			}
			expect(t, attrs, semconv.RPCResponseStatusCodeKey, code)
			if failed := span.Status().Code == codes.Error; failed != (c.wantErrorType != "") {
				t.Errorf("span status is %v with error.type %q", span.Status(), c.wantErrorType)
			}
			if span.Status().Code == codes.Error && span.Status().Description != "because" {
				t.Errorf("the status says %q", span.Status().Description)
			}
			events := capture.EventsNamed(semconv.OTelMCPOperationEventName)
			if len(events) != 1 {
				t.Fatalf("%d events", len(events))
			}
			if got := events[0].Severity(); got != c.wantSeverity {
				t.Errorf("severity is %v, want %v", got, c.wantSeverity)
			}
			if n := capture.CounterValue(semconv.OTelMCPServerMessagesName, semconv.OTelMCPOutcomeKey.String(c.wantOutcome)); n != 1 {
				t.Errorf("counted %d messages", n)
			}
			name := semconv.MCPServerOperationDurationName
			if c.role == client {
				name = semconv.MCPClientOperationDurationName
			}
			if n := capture.HistogramCount(name); n != 1 {
				t.Errorf("%d points in %s", n, name)
			}
		})
	}
}

func expect(t *testing.T, attrs attribute.Set, key attribute.Key, want string) {
	t.Helper()
	v, _ := attrs.Value(key)
	if v.AsString() != want {
		t.Errorf("%s is %q, want %q", key, v.AsString(), want)
	}
}

// What a peer made up is told on the span and the event, and nowhere that is
// counted or grouped by.
func TestNamesThatNobodyRegistered(t *testing.T) {
	capture := telemetrytest.New(t)
	r := newRecorder(capture)
	o := begin(t.Context(), r, operation.RoleServer, "evil/\x1b[31mmethod")
	o.Finish()
	o = begin(t.Context(), r, operation.RoleServer, "tools/call")
	o.Tool.Text = "made up"
	o.Finish()

	for _, name := range []string{"_OTHER", "tools/call _OTHER"} {
		capture.SpanNamed(name)
	}
	expect(t, telemetrytest.SpanAttributes(capture.SpanNamed("tools/call _OTHER")), semconv.GenAIToolNameKey, "made up")
	if n := capture.HistogramCount(semconv.MCPServerOperationDurationName, semconv.MCPMethodNameKey.String("_OTHER")); n != 1 {
		t.Errorf("%d points for an unknown method", n)
	}
	if n := capture.HistogramCount(semconv.MCPServerOperationDurationName, semconv.GenAIToolNameKey.String("_OTHER")); n != 1 {
		t.Errorf("%d points for an unknown tool", n)
	}
}

// A thing that arrived in place of a message has an event and a count, and no
// span: there is no method to name it by.
func TestNoMethodNoSpan(t *testing.T) {
	capture := telemetrytest.New(t)
	o := begin(t.Context(), newRecorder(capture), operation.RoleServer, "")
	o.Code = operation.CodeParseError
	o.Finish()
	if n := len(capture.Spans()); n != 0 {
		t.Errorf("%d spans", n)
	}
	if n := len(capture.EventsNamed(semconv.OTelMCPOperationEventName)); n != 1 {
		t.Errorf("%d events", n)
	}
}

func TestSilentKeepsEventAndCount(t *testing.T) {
	capture := telemetrytest.New(t)
	r := newRecorder(capture)
	o := &operation.Operation{}
	r.Init(o, t.Context(), operation.RoleServer)
	o.Method.Text, o.Silent = "ping", true
	o.Transport, o.Stage = semconv.OTelMCPTransportOther, semconv.OTelMCPStageHandler
	o.Begin()
	o.Finish()
	if n := len(capture.Spans()); n != 0 {
		t.Errorf("%d spans", n)
	}
	if n := capture.HistogramCount(semconv.MCPServerOperationDurationName); n != 0 {
		t.Errorf("%d points", n)
	}
	if n := len(capture.EventsNamed(semconv.OTelMCPOperationEventName)); n != 1 {
		t.Errorf("%d events", n)
	}
	if n := capture.CounterValue(semconv.OTelMCPServerMessagesName); n != 1 {
		t.Errorf("counted %d", n)
	}
}

// A silent operation that may not be in its caller's trace is in that of the span
// around it, if there is one.
func TestSilentRootKeepsTheSpanAround(t *testing.T) {
	c := telemetrytest.New(t)
	_, around := c.TracerProvider().Tracer("test").Start(t.Context(), "around")
	defer around.End()
	sent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, Remote: true})
	for _, links := range [][]trace.SpanContext{{sent}, {sent, around.SpanContext()}} {
		o := &operation.Operation{}
		newRecorder(c).Init(o, trace.ContextWithRemoteSpanContext(t.Context(), sent), operation.RoleServer)
		o.Method.Text, o.Transport, o.Stage = "ping", semconv.OTelMCPTransportOther, semconv.OTelMCPStageHandler
		o.NewRoot, o.Silent = true, true
		o.Begin(links...)
		var want trace.TraceID
		if len(links) > 1 {
			want = links[1].TraceID()
		}
		if got := trace.SpanContextFromContext(o).TraceID(); got != want {
			t.Errorf("with %d links it is in the trace %v, want %v", len(links), got, want)
		}
		o.Finish()
	}
}

// An end is never lost because the request was canceled.
func TestCanceledContextLosesNothing(t *testing.T) {
	capture := telemetrytest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	o := begin(ctx, newRecorder(capture), operation.RoleServer, "ping")
	cancel()
	o.Finish()
	capture.SpanNamed("ping")
	if n := capture.HistogramCount(semconv.MCPServerOperationDurationName); n != 1 {
		t.Errorf("%d points", n)
	}
	if n := len(capture.EventsNamed(semconv.OTelMCPOperationEventName)); n != 1 {
		t.Errorf("%d events", n)
	}
}

func TestParentAndLinks(t *testing.T) {
	capture := telemetrytest.New(t)
	r := newRecorder(capture)
	remote := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, Remote: true,
	})
	other := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{3}, SpanID: trace.SpanID{4}})
	ctx := trace.ContextWithRemoteSpanContext(t.Context(), remote)

	run := func(newRoot bool, links ...trace.SpanContext) {
		o := &operation.Operation{}
		r.Init(o, ctx, operation.RoleServer)
		o.Method.Text, o.Transport, o.Stage = "ping", semconv.OTelMCPTransportOther, semconv.OTelMCPStageHandler
		o.NewRoot = newRoot
		o.Begin(links...)
		o.Finish()
	}
	run(false)
	run(false, other)
	run(true, remote, other)

	spans := capture.Spans()
	for k, want := range []struct {
		parent trace.SpanID
		links  []trace.TraceID
	}{
		{remote.SpanID(), nil},
		{remote.SpanID(), []trace.TraceID{other.TraceID()}},
		{trace.SpanID{}, []trace.TraceID{remote.TraceID(), other.TraceID()}},
	} {
		if got := spans[k].Parent().SpanID(); got != want.parent {
			t.Errorf("span %d has parent %s, want %s", k, got, want.parent)
		}
		var links []trace.TraceID
		for _, l := range spans[k].Links() {
			links = append(links, l.SpanContext.TraceID())
		}
		if !slices.Equal(links, want.links) {
			t.Errorf("span %d links to %v, want %v", k, links, want.links)
		}
	}
	// The options that methods share must not have grown.
	run(false)
	if n := len(capture.Spans()[3].Links()); n != 0 {
		t.Errorf("a later span has %d links of an earlier one", n)
	}
}

// Everything that a peer chose passes the operator's scrubber, and what that
// returns is cleaned again.
func TestOperatorsScrubber(t *testing.T) {
	capture := telemetrytest.New(t)
	r := newRecorder(capture, func(c *operation.Config) {
		c.Scrub = func(key, _ string) string {
			if key == string(semconv.MCPResourceURIKey) {
				panic("the operator's bug")
			}
			return "scrubbed\n"
		}
	})
	o := begin(t.Context(), r, operation.RoleServer, "resources/read")
	o.ResourceURI, o.Message, o.Code = "file:///secret", "secret", -32603
	o.Finish()
	attrs := telemetrytest.SpanAttributes(capture.SpanNamed("resources/read"))
	expect(t, attrs, semconv.MCPResourceURIKey, "[REDACTED]")
	if d := capture.SpanNamed("resources/read").Status().Description; d == "secret" || slices.Contains([]byte(d), '\n') {
		t.Errorf("the status says %q", d)
	}
	if n := capture.CounterValue(semconv.OTelMCPTelemetryRefusedName,
		semconv.OTelMCPRefusedReasonKey.String(semconv.OTelMCPRefusedReasonCallbackPanic)); n != 1 {
		t.Errorf("counted %d panics", n)
	}
}

// A panic that unwinds through Finish is not ours to stop.
func TestFinishDoesNotRecover(t *testing.T) {
	capture := telemetrytest.New(t)
	o := begin(t.Context(), newRecorder(capture), operation.RoleServer, "ping")
	defer func() {
		if v := recover(); v != "the program's" {
			t.Errorf("recovered %v", v)
		}
		if n := len(capture.EventsNamed(semconv.OTelMCPOperationEventName)); n != 1 {
			t.Errorf("%d events", n)
		}
	}()
	defer o.Finish()
	panic("the program's")
}

// The cache of series is bounded, and an operation beyond it is recorded like
// any other.
func TestSeriesBeyondTheCache(t *testing.T) {
	capture := telemetrytest.New(t)
	r := newRecorder(capture)
	const n = 1500
	for k := range n {
		o := begin(t.Context(), r, operation.RoleServer, "tools/call")
		o.Tool = operation.Name{Text: "tool-" + strconv.Itoa(k), Known: true}
		o.Finish()
	}
	if got := capture.HistogramCount(semconv.MCPServerOperationDurationName); got != n {
		t.Errorf("%d points, want %d", got, n)
	}
}

func TestEventTimesAreSet(t *testing.T) {
	capture := telemetrytest.New(t)
	before := time.Now()
	begin(t.Context(), newRecorder(capture), operation.RoleServer, "ping").Finish()
	for _, e := range capture.Logs() {
		if e.Timestamp().Before(before) || e.ObservedTimestamp().Before(before) {
			t.Errorf("event of %v, observed %v, began after %v", e.Timestamp(), e.ObservedTimestamp(), before)
		}
	}
}
