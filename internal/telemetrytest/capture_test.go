// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package telemetrytest

import (
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/otelmcp/otelmcp-go/semconv"
)

func TestFinders(t *testing.T) {
	c := New(t)
	toolCall().emit(t, c)
	other := toolCall()
	other.name = "tools/call get_time"
	for _, attrs := range []*[]attribute.KeyValue{&other.span, &other.duration, &other.attrs} {
		set(attrs, semconv.GenAIToolNameKey.String("get_time"))
	}
	other.emit(t, c)

	time := semconv.GenAIToolNameKey.String("get_time")
	spanAttrs := SpanAttributes(c.SpanNamed("tools/call get_time"))
	if v, _ := spanAttrs.Value(semconv.GenAIToolNameKey); v != time.Value {
		t.Errorf("tool of the span is %q", v.AsString())
	}
	events := c.EventsNamed(semconv.OTelMCPOperationEventName)
	if len(events) != 2 {
		t.Fatalf("%d events, want 2", len(events))
	}
	eventAttrs := EventAttributes(events[1])
	if v, _ := eventAttrs.Value(semconv.GenAIToolNameKey); v != time.Value {
		t.Errorf("tool of the event is %q", v.AsString())
	}
	if n := len(c.EventsNamed(semconv.OTelMCPCoverageEventName)); n != 0 {
		t.Errorf("%d coverage events, want none", n)
	}
	if n := c.CounterValue(semconv.OTelMCPServerMessagesName); n != 2 {
		t.Errorf("%d messages, want 2", n)
	}
	ok := semconv.OTelMCPOutcomeKey.String(semconv.OTelMCPOutcomeOK)
	denied := semconv.OTelMCPOutcomeKey.String(semconv.OTelMCPOutcomeDenied)
	if n := c.CounterValue(semconv.OTelMCPServerMessagesName, ok); n != 2 {
		t.Errorf("%d messages that are ok, want 2", n)
	}
	if n := c.CounterValue(semconv.OTelMCPServerMessagesName, denied); n != 0 {
		t.Errorf("%d messages that are denied, want none", n)
	}
	if n := c.HistogramCount(semconv.MCPServerOperationDurationName); n != 2 {
		t.Errorf("%d durations, want 2", n)
	}
	points := c.HistogramPoints(semconv.MCPServerOperationDurationName, time)
	if len(points) != 1 || points[0].Count != 1 || points[0].Sum != 0.25 {
		t.Errorf("points %+v", points)
	}
}

func TestSpanNamedFails(t *testing.T) {
	tb := &fakeTB{TB: t}
	c := New(tb)
	toolCall().emit(t, c)
	toolCall().emit(t, c)
	c.SpanNamed("tools/call get_weather")
	if len(tb.errors) != 1 {
		t.Errorf("errors %q, want 1: there are two spans", tb.errors)
	}
}

// Reset starts anew, and what comes after it agrees across the signals. An
// up-down counter says what is, not what happened: it stays.
func TestReset(t *testing.T) {
	c := New(t)
	toolCall().emit(t, c)
	toolCall().emit(t, c)
	stdio := semconv.OTelMCPTransportKey.String(semconv.OTelMCPTransportStdio)
	meter := c.MeterProvider().Meter(DefaultScope)
	active, err := semconv.NewOTelMCPServerSessionsActive(meter)
	must(t, err)
	active.Add(t.Context(), 3, metric.WithAttributes(stdio))
	size, err := semconv.NewOTelMCPServerRequestSize(meter)
	must(t, err)
	size.Record(t.Context(), 100, metric.WithAttributes(stdio))

	c.Reset()
	if len(c.Spans()) != 0 || len(c.Logs()) != 0 ||
		c.CounterValue(semconv.OTelMCPServerMessagesName) != 0 ||
		c.HistogramCount(semconv.MCPServerOperationDurationName) != 0 ||
		c.HistogramCount(semconv.OTelMCPServerRequestSizeName) != 0 {
		t.Error("something is left")
	}
	if n := c.CounterValue(semconv.OTelMCPServerSessionsActiveName); n != 3 {
		t.Errorf("%d active sessions, want 3", n)
	}
	toolCall().emit(t, c)
	size.Record(t.Context(), 7, metric.WithAttributes(stdio))
	if n := c.CounterValue(semconv.OTelMCPServerMessagesName); n != 1 {
		t.Errorf("%d messages, want 1", n)
	}
	if p := c.HistogramPoints(semconv.OTelMCPServerRequestSizeName); len(p) != 1 || p[0].Sum != 7 || p[0].Buckets[0] != 1 {
		t.Errorf("points %+v", p)
	}
}

func TestConcurrent(t *testing.T) {
	c := New(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				toolCall().emit(t, c)
				c.Logs()
				c.Spans()
				c.CounterValue(semconv.OTelMCPServerMessagesName)
			}
		})
	}
	wg.Wait()
	if n := len(c.EventsNamed(semconv.OTelMCPOperationEventName)); n != 160 {
		t.Errorf("%d events, want 160", n)
	}
}
