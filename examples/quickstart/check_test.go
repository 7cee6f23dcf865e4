// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// How the check of the demo finds what is missing.

import (
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/examples/internal/otlpview"
)

func TestMissing(t *testing.T) {
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	traceID, parentID := sc.TraceID().String(), sc.SpanID().String()
	l := &ledger{sent: []sentRequest{{method: "tools/call", target: "a", span: sc}}, received: 1}
	whole := func() otlpview.Telemetry {
		return otlpview.Telemetry{
			Spans: []*otlpview.Span{
				{TraceID: traceID, ID: "s", ParentID: parentID, Kind: "server", Name: "tools/call a", Service: "weather"},
				{TraceID: traceID, ID: "c", ParentID: "s", Kind: "client", Name: "sampling/createMessage", Service: "weather"},
			},
			Events: []*otlpview.Event{{Name: "otelmcp.operation", SpanID: "s"}},
			Points: []otlpview.Point{
				{Metric: "mcp.server.operation.duration", Count: 1, Attrs: otlpview.Attributes{"mcp.method.name": "tools/call", "gen_ai.tool.name": "a"}},
				{Metric: "mcp.client.operation.duration", Count: 1, Attrs: otlpview.Attributes{"mcp.method.name": "sampling/createMessage"}},
			},
		}
	}
	if got := missing(l, whole()); len(got) != 0 {
		t.Errorf("nothing is missing, but: %q", got)
	}
	for name, spoil := range map[string]func(*otlpview.Telemetry){
		"no server span":  func(t *otlpview.Telemetry) { t.Spans = t.Spans[1:] },
		"two spans":       func(t *otlpview.Telemetry) { t.Spans = append(t.Spans, t.Spans[0]) },
		"other name":      func(t *otlpview.Telemetry) { t.Spans[0].Name = "tools/call b" },
		"other trace":     func(t *otlpview.Telemetry) { t.Spans[0].TraceID = "x" },
		"no client span":  func(t *otlpview.Telemetry) { t.Spans = t.Spans[:1] },
		"no event":        func(t *otlpview.Telemetry) { t.Events = nil },
		"two events":      func(t *otlpview.Telemetry) { t.Events = append(t.Events, t.Events[0]) },
		"no server count": func(t *otlpview.Telemetry) { t.Points = t.Points[1:] },
		"other count":     func(t *otlpview.Telemetry) { t.Points[0].Count = 2 },
		"no client count": func(t *otlpview.Telemetry) { t.Points = t.Points[:1] },
	} {
		got := whole()
		spoil(&got)
		if len(missing(l, got)) == 0 {
			t.Errorf("%s: not noticed", name)
		}
	}
}
