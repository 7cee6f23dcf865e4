// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Resilience: a collector that is dead, slow or hangs costs a call nothing,
// providers may end at any time, nothing of ours runs on, and a canceled
// request is recorded like any other.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/goleak"

	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// collector is the other end of an exporter: deliver is called for each batch.
type collector struct {
	deliver func(context.Context) error
	calls   atomic.Int64
}

func (c *collector) send(ctx context.Context) error {
	c.calls.Add(1)
	return c.deliver(ctx)
}

type spanExporter struct{ *collector }

func (e spanExporter) ExportSpans(ctx context.Context, _ []sdktrace.ReadOnlySpan) error {
	return e.send(ctx)
}
func (spanExporter) Shutdown(context.Context) error { return nil }

type logExporter struct{ *collector }

func (e logExporter) Export(ctx context.Context, _ []sdklog.Record) error { return e.send(ctx) }
func (logExporter) Shutdown(context.Context) error                        { return nil }
func (logExporter) ForceFlush(context.Context) error                      { return nil }

type metricExporter struct{ *collector }

func (metricExporter) Temporality(sdkmetric.InstrumentKind) metricdata.Temporality {
	return metricdata.CumulativeTemporality
}

func (metricExporter) Aggregation(k sdkmetric.InstrumentKind) sdkmetric.Aggregation {
	return sdkmetric.DefaultAggregationSelector(k)
}

func (e metricExporter) Export(ctx context.Context, _ *metricdata.ResourceMetrics) error {
	return e.send(ctx)
}
func (metricExporter) ForceFlush(context.Context) error { return nil }
func (metricExporter) Shutdown(context.Context) error   { return nil }

// providers is a pipeline as programs have it, which exports to a collector.
type providers struct {
	pipeline
	*collector
	tp *sdktrace.TracerProvider
	mp *sdkmetric.MeterProvider
	lp *sdklog.LoggerProvider
}

func newProviders(deliver func(context.Context) error) *providers {
	c := &collector{deliver: deliver}
	p := &providers{
		collector: c,
		tp: sdktrace.NewTracerProvider(sdktrace.WithBatcher(spanExporter{c},
			sdktrace.WithMaxQueueSize(64), sdktrace.WithMaxExportBatchSize(32), sdktrace.WithBatchTimeout(5*time.Millisecond))),
		mp: sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metricExporter{c},
			sdkmetric.WithInterval(5*time.Millisecond)))),
		lp: sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(logExporter{c},
			sdklog.WithMaxQueueSize(64), sdklog.WithExportMaxBatchSize(32), sdklog.WithExportInterval(5*time.Millisecond)))),
	}
	p.pipeline = pipeline{p.tp, p.mp, p.lp}
	return p
}

func (p *providers) shutdown(ctx context.Context) {
	_ = p.tp.Shutdown(ctx)
	_ = p.mp.Shutdown(ctx)
	_ = p.lp.Shutdown(ctx)
}

// quietErrors keeps the SDK's complaints about exporters out of the output.
func quietErrors(t *testing.T) {
	t.Helper()
	before := otel.GetErrorHandler()
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
	t.Cleanup(func() { otel.SetErrorHandler(before) })
}

// TestLatencyWithoutCollector compares, in rounds that take turns, a call with
// a collector that is not well with one without telemetry and one whose
// collector is.
func TestLatencyWithoutCollector(t *testing.T) {
	quietErrors(t)
	release := make(chan struct{})
	slow := func(ctx context.Context) error {
		timer := time.NewTimer(50 * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-release:
		case <-ctx.Done():
		}
		return nil
	}
	cases := []struct {
		name string
		p    *providers
	}{
		{"well", newProviders(func(context.Context) error { return nil })},
		{"dead", newProviders(func(context.Context) error { return errors.New("connection refused") })},
		{"slow", newProviders(slow)},
		{"hanging", newProviders(func(context.Context) error { <-release; return nil })},
	}
	t.Cleanup(func() {
		close(release)
		for _, c := range cases {
			c.p.shutdown(context.WithoutCancel(t.Context()))
		}
	})
	servers := []*server.MCPServer{echoServer()}
	for _, c := range cases {
		srv := echoServer()
		otelmcp.Instrument(srv, c.p.options()...)
		for range 500 { // more than the queues hold
			handle(t, srv, echoCall)
		}
		eventually(t, func() bool { return c.p.calls.Load() > 0 })
		servers = append(servers, srv)
	}
	const rounds, calls = 31, 100
	times := make([][]float64, len(servers))
	for range rounds {
		for n, srv := range servers {
			start := time.Now()
			for range calls {
				handle(t, srv, echoCall)
			}
			times[n] = append(times[n], float64(time.Since(start)))
		}
	}
	bare, well := median(times[0]), median(times[1])
	for n, c := range cases {
		m := median(times[n+1])
		t.Logf("%s: %.2f of no telemetry, %.2f of a collector that is well", c.name, m/bare, m/well)
		// A call that waited for a collector would be a thousand times slower.
		if m > 4*well || m > 12*bare {
			t.Errorf("a %s collector makes calls %.1f times slower than none, %.1f times slower than one that is well", c.name, m/bare, m/well)
		}
	}
}

// TestShutdownBeforeAndDuringCalls: providers that end take nothing with them.
func TestShutdownBeforeAndDuringCalls(t *testing.T) {
	quietErrors(t)
	leaks := goleak.IgnoreCurrent()
	for _, when := range []string{"before Instrument", "before the calls", "during the calls"} {
		t.Run(when, func(t *testing.T) {
			p := newProviders(func(context.Context) error { return nil })
			w := newTwin(twinConfig{recovery: true})
			if when == "before Instrument" {
				p.shutdown(t.Context())
			}
			otelmcp.Instrument(w.srv, p.options()...)
			if when == "before the calls" {
				p.shutdown(t.Context())
			}
			bare := newTwin(twinConfig{recovery: true})
			corpus := messages(31, 200)
			wants := make([]string, len(corpus))
			for n, raw := range corpus {
				if !blocks(raw) {
					wants[n] = answer(t.Context(), bare.srv, raw)
				}
			}
			var wg sync.WaitGroup
			if when == "during the calls" {
				wg.Go(func() { p.shutdown(t.Context()) })
			}
			for n, raw := range corpus {
				if blocks(raw) {
					continue
				}
				if got := answer(t.Context(), w.srv, raw); got != wants[n] {
					t.Errorf("%s\n bare: %s\n have: %s", clip(raw), clip(wants[n]), clip(got))
				}
			}
			wg.Wait()
		})
	}
	goleak.VerifyNone(t, leaks)
}

// TestNothingRunsOn: after the providers' Shutdown there is no goroutine that
// was not there before, whatever was called, and however the collector is.
func TestNothingRunsOn(t *testing.T) {
	quietErrors(t)
	for _, broken := range []bool{false, true} {
		t.Run(fmt.Sprintf("collector broken %v", broken), func(t *testing.T) {
			leaks := goleak.IgnoreCurrent()
			gone := make(chan struct{}) // its connections break in the end
			p := newProviders(func(ctx context.Context) error {
				if broken {
					select {
					case <-ctx.Done():
					case <-gone:
					}
				}
				return ctx.Err()
			})
			w := newTwin(twinConfig{recovery: true, hooks: true})
			otelmcp.Instrument(w.srv, p.options(otelmcp.WithContentCapture(otelmcp.Arguments|otelmcp.Results))...)
			s := server.NewInProcessSessionWithHandlers("s", handlers{}, handlers{}, handlers{})
			if err := w.srv.RegisterSession(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			ctx := w.srv.WithContext(t.Context(), s)
			for _, raw := range messages(8, volume(500)) {
				if !blocks(raw) {
					answer(ctx, w.srv, raw)
				}
			}
			w.srv.UnregisterSession(t.Context(), "s")
			end, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			p.shutdown(end)
			close(gone)
			// A task's time to live is a goroutine of mcp-go, and the SDK's log
			// processor does not end when its Shutdown ran out of time.
			goleak.VerifyNone(t, leaks, goleak.IgnoreAnyFunction("github.com/mark3labs/mcp-go/server.(*MCPServer).scheduleTaskCleanup"),
				goleak.IgnoreAnyFunction("go.opentelemetry.io/otel/sdk/log.(*BatchProcessor).process.func1"))
		})
	}
}

// TestCanceledAtEveryStage: each request is recorded once and on every signal,
// wherever it was canceled.
func TestCanceledAtEveryStage(t *testing.T) {
	stages := []string{"before dispatch", "initialization hook", "before hook", "filter", "middleware", "handler", "handler, and an error", "success hook", "error hook", "deadline"}
	for _, stage := range stages {
		t.Run(stage, func(t *testing.T) {
			c, opts := captureOptions(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			at := func(s string) {
				if s == stage {
					cancel()
				}
			}
			hooks := &server.Hooks{}
			hooks.AddOnRequestInitialization(func(context.Context, any, any) error { at("initialization hook"); return nil })
			hooks.AddBeforeAny(func(context.Context, any, mcp.MCPMethod, any) { at("before hook") })
			hooks.AddOnSuccess(func(context.Context, any, mcp.MCPMethod, any, any) { at("success hook") })
			hooks.AddOnError(func(context.Context, any, mcp.MCPMethod, any, error) { at("error hook") })
			srv := server.NewMCPServer("s", "1", server.WithToolCapabilities(true), server.WithHooks(hooks),
				server.WithToolFilter(func(_ context.Context, tools []mcp.Tool) []mcp.Tool { at("filter"); return tools }),
				server.WithToolHandlerMiddleware(func(next server.ToolHandlerFunc) server.ToolHandlerFunc {
					return func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
						at("middleware")
						return next(ctx, r)
					}
				}))
			srv.AddTool(mcp.NewTool("t"), func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				at("handler")
				switch stage {
				case "handler, and an error":
					cancel()
					return nil, ctx.Err()
				case "error hook":
					return nil, errTwin
				case "deadline":
					ctx, cancel := context.WithDeadline(ctx, time.Unix(0, 0))
					defer cancel()
					return nil, ctx.Err()
				}
				return mcp.NewToolResultText("t"), nil
			})
			otelmcp.Instrument(srv, opts...)
			if stage == "before dispatch" {
				cancel()
			}
			srv.HandleMessage(ctx, json.RawMessage(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}`))
			events := c.EventsNamed(semconv.OTelMCPOperationEventName)
			if len(events) != 1 || len(c.Spans()) != 1 || c.CounterValue(semconv.OTelMCPServerMessagesName) != 1 ||
				c.HistogramCount(semconv.MCPServerOperationDurationName) != 1 || c.CounterValue(semconv.OTelMCPServerOperationsActiveName) != 0 {
				t.Errorf("%d events, %d spans, %d messages, %d durations, %d active", len(events), len(c.Spans()), c.CounterValue(semconv.OTelMCPServerMessagesName),
					c.HistogramCount(semconv.MCPServerOperationDurationName), c.CounterValue(semconv.OTelMCPServerOperationsActiveName))
			}
			want := map[string]string{
				"handler, and an error": semconv.OTelMCPOutcomeCancelled, "error hook": semconv.OTelMCPOutcomeError,
				"deadline": semconv.OTelMCPOutcomeTimeout,
			}[stage]
			if want == "" {
				want = semconv.OTelMCPOutcomeOK // it was answered all the same
			}
			// In the program's error hook the request fails before it is canceled,
			// and ours runs after it: the order cannot be told.
			if got := attrString(events[0], semconv.OTelMCPOutcomeKey); got != want && (stage != "error hook" || got != semconv.OTelMCPOutcomeCancelled) {
				t.Errorf("outcome %q, want %q", got, want)
			}
		})
	}
}

// TestCanceledSession: a session whose end comes with a canceled context, as
// most do, is recorded.
func TestCanceledSession(t *testing.T) {
	c, opts := captureOptions(t)
	srv := server.NewMCPServer("s", "1")
	otelmcp.Instrument(srv, opts...)
	ctx, cancel := context.WithCancel(t.Context())
	s := server.NewInProcessSession("s", nil)
	cancel()
	if err := srv.RegisterSession(ctx, s); err != nil {
		t.Fatal(err)
	}
	srv.UnregisterSession(ctx, "s")
	starts, ends := len(c.EventsNamed(semconv.OTelMCPSessionStartEventName)), len(c.EventsNamed(semconv.OTelMCPSessionEndEventName))
	if starts != 1 || ends != 1 || c.CounterValue(semconv.OTelMCPServerSessionsActiveName) != 0 || c.HistogramCount(semconv.MCPServerSessionDurationName) != 1 {
		t.Errorf("%d starts, %d ends, %d active, %d durations", starts, ends, c.CounterValue(semconv.OTelMCPServerSessionsActiveName),
			c.HistogramCount(semconv.MCPServerSessionDurationName))
	}
}
