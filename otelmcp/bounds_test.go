// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Bounds: nothing that a client sends grows a metric, the set of span names or
// the memory of the process.

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// spanNames is a span processor that keeps nothing but the names.
type spanNames struct {
	mu    sync.Mutex
	names map[string]int
}

func (*spanNames) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (s *spanNames) OnEnd(span sdktrace.ReadOnlySpan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[span.Name()]++
}
func (*spanNames) Shutdown(context.Context) error   { return nil }
func (*spanNames) ForceFlush(context.Context) error { return nil }

// boundedPipeline is an SDK pipeline that exports nothing and limits nothing:
// the SDK's own limit of series would hide that ours is missing.
type boundedPipeline struct {
	pipeline
	names  *spanNames
	reader *sdkmetric.ManualReader
}

func newBoundedPipeline(t *testing.T) *boundedPipeline {
	t.Helper()
	b := &boundedPipeline{names: &spanNames{names: map[string]int{}}, reader: sdkmetric.NewManualReader()}
	tp := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(b.names), sdktrace.WithBatcher(discardSpans{}))
	mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(b.reader), sdkmetric.WithCardinalityLimit(-1))
	lp := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(discardLogs{})))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_ = tp.Shutdown(ctx)
		_ = mp.Shutdown(ctx)
		_ = lp.Shutdown(ctx)
	})
	b.pipeline = pipeline{tp, mp, lp}
	return b
}

// points collects the metrics: how many series each has, and how much the
// counters add up to, by their name and the reason if they have one.
func (b *boundedPipeline) points(t *testing.T) (series map[string]int, sums map[string]int64) {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := b.reader.Collect(t.Context(), &rm); err != nil {
		t.Fatal(err)
	}
	series, sums = map[string]int{}, map[string]int64{}
	for _, sm := range rm.ScopeMetrics {
		for _, m := range sm.Metrics {
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				series[m.Name] = len(d.DataPoints)
				for _, p := range d.DataPoints {
					reason, _ := p.Attributes.Value(semconv.OTelMCPRefusedReasonKey)
					sums[m.Name+reason.AsString()] += p.Value
				}
			case metricdata.Histogram[float64]:
				series[m.Name] = len(d.DataPoints)
			}
		}
	}
	return series, sums
}

func heapInUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// many is how many different values of each kind are sent.
func many(t *testing.T, n int) int {
	t.Helper()
	if raceEnabled || testing.Short() {
		n /= 20
		t.Logf("%d of each kind only: the race detector, or short mode", n)
	}
	return n
}

// TestBoundedByStrangers sends more messages than any table holds, each with a name that was
// never there before.
func TestBoundedByStrangers(t *testing.T) {
	p := newBoundedPipeline(t)
	w := newTwin(twinConfig{recovery: true})
	w.inst = otelmcp.Instrument(w.srv, p.options()...)
	s := server.NewInProcessSession("bounds", nil)
	ctx := w.srv.WithContext(t.Context(), s)

	modern := func(client string) string {
		return `{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},` +
			`"io.modelcontextprotocol/clientInfo":{"name":"` + client + `","version":"` + client + `"}}`
	}
	main, few := many(t, 100_000), many(t, 20_000)
	kinds := []struct {
		name  string
		n     int
		build func(int) string
	}{
		{"method", main, func(n int) string { return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"stranger/%d"}`, n) }},
		{"tool", main, func(n int) string {
			return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"stranger-%d"}}`, n)
		}},
		{"client", main, func(n int) string {
			if n%2 == 0 {
				return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"v%d","capabilities":{},"clientInfo":{"name":"c%d","version":"%d"}}}`, n, n, n)
			}
			return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":%s}}`, modern(fmt.Sprintf("c%d", n)))
		}},
		{"prompt", few, func(n int) string {
			return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"stranger-%d"}}`, n)
		}},
		{"completion", few, func(n int) string {
			return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"p%d"},"argument":{"name":"a%d","value":"v"}}}`, n, n)
		}},
		{"resource", few, func(n int) string {
			return fmt.Sprintf(`{"jsonrpc":"2.0","id":"r%d","method":"resources/read","params":{"uri":"item://%d"}}`, n, n)
		}},
		{"protocol version", few, func(n int) string {
			return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"%04d-01-01","io.modelcontextprotocol/clientCapabilities":{}}}}`, n%2000)
		}},
		{"argument", few, func(n int) string {
			return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"t","a%d":1}}}`, n)
		}},
		{"task", few, func(n int) string {
			return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"%d"}}`, n)
		}},
	}
	send := func(build func(int) string, from, to int) {
		var wg sync.WaitGroup
		for k := range 2 {
			wg.Go(func() {
				for n := from + k; n < to; n += 2 {
					w.srv.HandleMessage(ctx, json.RawMessage(build(n)))
				}
			})
		}
		wg.Wait()
		w.drain()
	}
	for _, k := range kinds { // what is made once is there before it is measured
		send(k.build, 0, 3000)
	}
	before, total := heapInUse(), 0
	for _, k := range kinds {
		send(func(n int) string {
			if n%1000 == 0 {
				w.drain() // the log of the program itself
			}
			return k.build(n)
		}, 3000, 3000+k.n)
		total += k.n
	}
	after := heapInUse()
	series, sums := p.points(t)
	t.Logf("%d messages: heap %d KiB before and %d KiB after, %d span names, series %v", total, before>>10, after>>10, len(p.names.names), series)
	if after > before+4<<20 {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
	if n := len(p.names.names); n > 30 {
		t.Errorf("%d span names: %v", n, p.names.names)
	}
	for name, n := range series {
		if n > 60 {
			t.Errorf("%s has %d series", name, n)
		}
	}
	if want := int64(total + 3000*len(kinds)); sums[semconv.OTelMCPServerMessagesName] != want {
		t.Errorf("%d messages are counted, of %d", sums[semconv.OTelMCPServerMessagesName], want)
	}
}

// toolSession is a session with one tool of its own, which changes its name.
type toolSession struct {
	ownSession
	tools map[string]server.ServerTool
}

func (s *toolSession) GetSessionTools() map[string]server.ServerTool      { return s.tools }
func (s *toolSession) SetSessionTools(tools map[string]server.ServerTool) { s.tools = tools }

// TestBoundedByRegisteredNames calls tools that are registered, each for a
// session: a program can have as many as it likes.
func TestBoundedByRegisteredNames(t *testing.T) {
	const table = 1024 // names that are told apart
	p := newBoundedPipeline(t)
	srv := server.NewMCPServer("s", "1", server.WithToolCapabilities(true))
	otelmcp.Instrument(srv, p.options()...)
	total := many(t, 60_000) // more than the table holds with the race detector, too
	call := func(n int) {
		name := fmt.Sprintf("own-%d", n)
		s := &toolSession{tools: map[string]server.ServerTool{name: {
			Tool: mcp.NewTool(name),
			Handler: func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				return mcp.NewToolResultText("ok"), nil
			},
		}}}
		handleIn(t, srv.WithContext(t.Context(), s), srv, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q}}`, name))
	}
	for n := range 2 * table {
		call(n)
	}
	before := heapInUse()
	for n := 2 * table; n < total; n++ {
		call(n)
	}
	after := heapInUse()
	series, sums := p.points(t)
	t.Logf("%d names: heap %d KiB before and %d KiB after, series %v, sums %v", total, before>>10, after>>10, series, sums)
	if after > before+4<<20 {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
	if n := series[semconv.MCPServerOperationDurationName]; n > table+2 {
		t.Errorf("%d series of durations", n)
	}
	if n := len(p.names.names); n > table+2 {
		t.Errorf("%d span names", n)
	}
	refused := func(reason string) int64 { return sums[semconv.OTelMCPTelemetryRefusedName+reason] }
	if got, want := refused(semconv.OTelMCPRefusedReasonNameTable), int64(total-table); got != want {
		t.Errorf("%d refused names are counted, want %d", got, want)
	}
	if got, want := refused(semconv.OTelMCPRefusedReasonDefinitionTable), int64(max(0, total-10_000)); got != want {
		t.Errorf("%d refused definitions are counted, want %d", got, want)
	}
	if n := p.names.names["tools/call _OTHER"]; n != total-table {
		t.Errorf("%d spans are named tools/call _OTHER, want %d", n, total-table)
	}
}

func handleIn(tb testing.TB, ctx context.Context, srv *server.MCPServer, raw string) {
	tb.Helper()
	if out, ok := srv.HandleMessage(ctx, json.RawMessage(raw)).(mcp.JSONRPCResponse); !ok {
		tb.Fatalf("the call failed: %v", out)
	}
}

// TestBoundedNames: no caller, by what it sends, makes a span name or a metric
// attribute longer than what was registered.
func TestBoundedText(t *testing.T) {
	c, opts := captureOptions(t)
	w := newTwin(twinConfig{recovery: true})
	otelmcp.Instrument(w.srv, opts...)
	for _, raw := range huge() {
		answer(t.Context(), w.srv, raw)
	}
	for _, s := range c.Spans() {
		if len(s.Name()) > 100 {
			t.Errorf("span name of %d bytes", len(s.Name()))
		}
		for _, kv := range s.Attributes() {
			if n := len(kv.Value.String()); n > 600 {
				t.Errorf("%s has %d bytes", kv.Key, n)
			}
		}
		if s.SpanKind() == trace.SpanKindServer && len(s.Status().Description) > 600 {
			t.Errorf("status of %d bytes", len(s.Status().Description))
		}
	}
}
