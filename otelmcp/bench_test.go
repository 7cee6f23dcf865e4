// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// What the instrumentation costs, against the bare server and against the
// floor: the same three signals by hand-written calls of the SDK.

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	lognoop "go.opentelemetry.io/otel/log/noop"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/otelmcp/otelmcp-go/otelmcp"
)

// echoCall is the message that budgets are stated for.
var echoCall = json.RawMessage(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo",` +
	`"arguments":{"text":"hello"},"_meta":{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}}`)

func echoServer() *server.MCPServer {
	srv := server.NewMCPServer("bench", "1.0.0")
	srv.AddTool(mcp.NewTool("echo", mcp.WithString("text")),
		func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return mcp.NewToolResultText(r.GetString("text", "")), nil
		})
	return srv
}

// pipeline is a set of providers as a program has them: batching processors,
// and exporters that discard.
type pipeline struct {
	trace  trace.TracerProvider
	metric metric.MeterProvider
	log    log.LoggerProvider
}

func (p pipeline) options(extra ...otelmcp.Option) []otelmcp.Option {
	return append([]otelmcp.Option{
		otelmcp.WithTracerProvider(p.trace), otelmcp.WithMeterProvider(p.metric),
		otelmcp.WithLoggerProvider(p.log), otelmcp.WithPropagators(propagation.TraceContext{}),
	}, extra...)
}

func noopPipeline() pipeline {
	return pipeline{tracenoop.NewTracerProvider(), metricnoop.NewMeterProvider(), lognoop.NewLoggerProvider()}
}

type discardSpans struct{}

func (discardSpans) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (discardSpans) Shutdown(context.Context) error                             { return nil }

type discardLogs struct{}

func (discardLogs) Export(context.Context, []sdklog.Record) error { return nil }
func (discardLogs) Shutdown(context.Context) error                { return nil }
func (discardLogs) ForceFlush(context.Context) error              { return nil }

func sdkPipeline(tb testing.TB, sampler sdktrace.Sampler) pipeline {
	tb.Helper()
	tp := sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler), sdktrace.WithBatcher(discardSpans{}))
	mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	lp := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(discardLogs{})))
	tb.Cleanup(func() {
		ctx := context.Background() //nolint:usetesting // that of the test has ended by now
		_ = tp.Shutdown(ctx)
		_ = mp.Shutdown(ctx)
		_ = lp.Shutdown(ctx)
	})
	return pipeline{tp, mp, lp}
}

// floor emits the three signals of one message as a careful programmer would by
// hand: nothing looked up, nothing scrubbed, attribute sets and options prepared.
// It comes with ten attributes, the yardstick of the budgets, and with as many
// attributes and measurements as the instrumentation has, for what those cost.
type floor struct {
	tracer  trace.Tracer
	seconds metric.Float64Histogram
	count   metric.Int64Counter
	active  metric.Int64UpDownCounter // nil in the smaller one
	logger  log.Logger
	prop    propagation.TraceContext
	attrs   int
	record  []metric.RecordOption
	add     []metric.AddOption
}

func newFloor(tb testing.TB, p pipeline, same bool) *floor {
	tb.Helper()
	m := p.metric.Meter("floor")
	set := metric.WithAttributeSet(attribute.NewSet(attribute.String("a1", "tools/call"), attribute.String("a2", "echo")))
	f := &floor{
		tracer: p.trace.Tracer("floor"), logger: p.log.Logger("floor"), attrs: 10,
		record: []metric.RecordOption{set}, add: []metric.AddOption{set},
	}
	var errs [3]error
	f.seconds, errs[0] = m.Float64Histogram("seconds")
	f.count, errs[1] = m.Int64Counter("count")
	if same {
		f.attrs = 13
		f.active, errs[2] = m.Int64UpDownCounter("active")
	}
	if err := errors.Join(errs[:]...); err != nil {
		tb.Fatal(err)
	}
	return f
}

var floorCarrier = propagation.MapCarrier{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}

func (f *floor) emit(ctx context.Context) {
	start := time.Now()
	ctx, span := f.tracer.Start(f.prop.Extract(ctx, floorCarrier), "tools/call echo", trace.WithSpanKind(trace.SpanKindServer))
	measured := f.seconds.Enabled(ctx)
	if f.active != nil && measured {
		f.active.Add(ctx, 1, f.add...)
	}
	attrs := [...]attribute.KeyValue{
		attribute.String("a1", "tools/call"), attribute.String("a2", "echo"), attribute.String("a3", "execute_tool"),
		attribute.String("a4", "1"), attribute.String("a5", "s"), attribute.String("a6", "pipe"),
		attribute.String("a7", "2025-11-25"), attribute.String("a8", "ok"), attribute.String("a9", "handler"),
		attribute.Int("a10", 12), attribute.String("a11", "server"), attribute.String("a12", "sha256:0af7651916cd43dd"),
		attribute.Float64("a13", 0.1),
	}
	if span.IsRecording() {
		span.SetAttributes(attrs[:f.attrs]...)
	}
	if measured {
		f.seconds.Record(ctx, time.Since(start).Seconds(), f.record...)
		f.count.Add(ctx, 1, f.add...)
		if f.active != nil {
			f.active.Add(ctx, -1, f.add...)
		}
	}
	if f.logger.Enabled(ctx, log.EnabledParameters{Severity: log.SeverityInfo}) {
		var r log.Record
		r.SetEventName("event")
		r.SetTimestamp(start)
		r.SetObservedTimestamp(start)
		r.SetBody(attribute.StringValue("tools/call echo: ok"))
		r.AddAttributes(attrs[:f.attrs]...)
		f.logger.Emit(ctx, r)
	}
	span.End()
}

func handle(tb testing.TB, srv *server.MCPServer, raw json.RawMessage) {
	ctx := context.Background() //nolint:usetesting // what a parent that can be canceled costs is not ours
	if _, ok := srv.HandleMessage(ctx, raw).(mcp.JSONRPCResponse); !ok {
		tb.Fatal("the call failed")
	}
}

var pipelines = []struct {
	name   string
	new    func(testing.TB) pipeline
	budget float64 // allocations that the instrumentation may add
}{
	{"noop", func(testing.TB) pipeline { return noopPipeline() }, 6},
	{"unsampled", func(tb testing.TB) pipeline { return sdkPipeline(tb, sdktrace.NeverSample()) }, 20},
	{"sampled", func(tb testing.TB) pipeline { return sdkPipeline(tb, sdktrace.AlwaysSample()) }, 28},
}

// TestAllocationBudget holds the budgets. Allocations are counted exactly, so
// that one more fails.
func TestAllocationBudget(t *testing.T) {
	if raceEnabled {
		t.Skip("skipped: the race detector changes what is allocated; make test runs it without")
	}
	bareServer := echoServer()
	bare := testing.AllocsPerRun(500, func() { handle(t, bareServer, echoCall) })
	for _, c := range pipelines {
		t.Run(c.name, func(t *testing.T) {
			srv := echoServer()
			otelmcp.Instrument(srv, c.new(t).options()...)
			handle(t, srv, echoCall) // caches fill
			added := testing.AllocsPerRun(500, func() { handle(t, srv, echoCall) }) - bare
			f := newFloor(t, c.new(t), false)
			ctx := context.Background() //nolint:usetesting // as in handle
			f.emit(ctx)
			least := testing.AllocsPerRun(500, func() { f.emit(ctx) })
			t.Logf("added %.0f allocations to %.0f; the floor adds %.0f", added, bare, least)
			if added > c.budget {
				t.Errorf("the instrumentation adds %.0f allocations, the budget is %.0f", added, c.budget)
			}
		})
	}
}

// TestMemoryBudget opens sessions that stay open, each with a client that has
// named itself and has sent a message, and weighs what the instrumentation
// keeps for them.
func TestMemoryBudget(t *testing.T) {
	const sessions, budget = 10_000, 1 << 10 // bytes for each session
	open := func(srv *server.MCPServer) int64 {
		kept := make([]*server.InProcessSession, sessions)
		for k := range kept {
			kept[k] = server.NewInProcessSession("session-"+strconv.Itoa(k)+"-0af7651916cd43dd8448eb211c80319c", nil)
		}
		hello := json.RawMessage(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",` +
			`"capabilities":{},"clientInfo":{"name":"a client with a name of usual length","version":"1.2.3"}}}`)
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, s := range kept {
			if err := srv.RegisterSession(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			srv.HandleMessage(srv.WithContext(t.Context(), s), hello)
		}
		runtime.GC()
		runtime.GC() // what finalizers and pools held
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(kept)
		runtime.KeepAlive(srv)
		return int64(after.HeapAlloc) - int64(before.HeapAlloc)
	}
	bare := open(echoServer())
	srv := echoServer()
	reader := sdkmetric.NewManualReader()
	p := pipeline{
		tracenoop.NewTracerProvider(), sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), lognoop.NewLoggerProvider(),
	}
	otelmcp.Instrument(srv, p.options()...)
	added := (open(srv) - bare) / sessions
	t.Logf("an open session costs %d bytes; the bare server keeps %d", added, bare/sessions)
	if added > budget {
		t.Errorf("an open session costs %d bytes, the budget is %d", added, budget)
	}
}

// BenchmarkRatios compares medians of interleaved runs within this process:
// ratios hold where times do not. The floor's calls follow the bare server's as
// a hand-instrumented server's would, because alone, in a loop, they would find
// everything in the processor's caches.
func BenchmarkRatios(b *testing.B) {
	const rounds, calls = 25, 2000
	ctx := context.Background() //nolint:usetesting // as in handle
	for _, c := range pipelines {
		b.Run(c.name, func(b *testing.B) {
			bareServer, srv := echoServer(), echoServer()
			ten, same := newFloor(b, c.new(b), false), newFloor(b, c.new(b), true)
			otelmcp.Instrument(srv, c.new(b).options()...)
			var bare, ours, floor10, floorSame []float64
			run := func(into *[]float64, call func()) {
				start := time.Now()
				for range calls {
					call()
				}
				*into = append(*into, float64(time.Since(start)))
			}
			for b.Loop() {
				bare, ours, floor10, floorSame = nil, nil, nil, nil
				for range rounds {
					run(&bare, func() { handle(b, bareServer, echoCall) })
					run(&ours, func() { handle(b, srv, echoCall) })
					run(&floor10, func() { handle(b, bareServer, echoCall); ten.emit(ctx) })
					run(&floorSame, func() { handle(b, bareServer, echoCall); same.emit(ctx) })
				}
			}
			added := median(ours) - median(bare)
			b.ReportMetric(100*added/median(bare), "%_of_bare")
			b.ReportMetric(added/(median(floor10)-median(bare)), "of_floor")
			b.ReportMetric(added/(median(floorSame)-median(bare)), "of_floor_like_ours")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

func BenchmarkHandleMessage(b *testing.B) {
	run := func(name string, srv *server.MCPServer) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					handle(b, srv, echoCall)
				}
			})
		})
	}
	run("bare", echoServer())
	for _, c := range pipelines {
		srv := echoServer()
		otelmcp.Instrument(srv, c.new(b).options()...)
		run(c.name, srv)
	}
	srv := echoServer()
	otelmcp.Instrument(srv, sdkPipeline(b, sdktrace.AlwaysSample()).options(
		otelmcp.WithContentCapture(otelmcp.Arguments|otelmcp.Results))...)
	run("sampled_content", srv)
	for _, c := range pipelines {
		f := newFloor(b, c.new(b), false)
		b.Run("floor_"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			ctx := context.Background() //nolint:usetesting // as in handle
			for b.Loop() {
				f.emit(ctx)
			}
		})
	}
}
