// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// What the HTTP edge costs over real connections, as ratios to the bare server
// in one interleaved run: `make bench` prints them. And what thousands of sessions
// that their clients abandon leave behind.

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/otelmcp/otelmcp-go/otelmcp"
)

// paired runs both in turns and returns the median of the ratio of their times.
func paired(bare, ours func() time.Duration) float64 {
	const rounds = 41
	var ratios [rounds]float64
	for k := range ratios {
		first, second := bare, ours
		if k%2 == 1 { // neither profits from its place
			first, second = ours, bare
		}
		a, b := first(), second()
		if k%2 == 1 {
			a, b = b, a
		}
		ratios[k] = float64(b) / float64(a)
	}
	slices.Sort(ratios[:])
	return ratios[rounds/2]
}

// servesBenchmark names, for a child process, the server that it is to be.
const servesBenchmark = "OTELMCP_SERVE_BENCHMARK"

func TestMain(m *testing.M) {
	if kind := os.Getenv(servesBenchmark); kind != "" {
		serveBenchmark(kind)
		return
	}
	os.Exit(m.Run())
}

// workTime is what a tool takes that asks a database, or another service.
const workTime = 5 * time.Millisecond

// serveBenchmark serves until its standard input ends. Log records go through the
// SDK as package exporters sets it up.
func serveBenchmark(kind string) {
	srv := echoServer()
	srv.AddTool(mcp.NewTool("progress"), func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		_ = server.ServerFromContext(ctx).SendNotificationToClient(ctx, "notifications/progress", map[string]any{"progressToken": 1})
		return mcp.NewToolResultText("done"), nil
	})
	srv.AddTool(mcp.NewTool("works"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		time.Sleep(workTime)
		return mcp.NewToolResultText("done"), nil
	})
	h := quietHTTP(srv, server.WithStateLess(true))
	if kind != "bare" {
		i := otelmcp.Instrument(srv,
			otelmcp.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithBatcher(discardSpans{}))),
			otelmcp.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))),
			otelmcp.WithLoggerProvider(sdklog.NewLoggerProvider(
				sdklog.WithAllowKeyDuplication(), sdklog.WithProcessor(sdklog.NewBatchProcessor(discardLogs{})))))
		if kind == "edge" {
			h = i.Handler(h)
		}
	}
	web := httptest.NewServer(h)
	defer web.Close()
	fmt.Println(web.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// benchmarkServer starts a server in a process of its own, as clients meet them:
// in one process the client would wait for the server's goroutines.
func benchmarkServer(b *testing.B, kind string) (call func(body string) (firstByte time.Duration)) {
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), servesBenchmark+"="+kind)
	cmd.Stderr = os.Stderr
	stop, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stop.Close()
		_ = cmd.Wait()
	})
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	hc := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	b.Cleanup(hc.CloseIdleConnections)
	return func(body string) time.Duration {
		start := time.Now()
		res, err := hc.Post(strings.TrimSpace(url), "application/json", strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.ReadFull(res.Body, make([]byte, 1))
		took := time.Since(start)
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		return took
	}
}

// BenchmarkHTTPEdge prints the time of tools/call over HTTP with 16 callers, of a
// tool that only echoes, so that the processor is all that they wait for, and of
// one that takes a while; and the time of the first byte of an event. They are
// ratios: of a server behind the edge to one that is instrumented without it, which
// is what the edge costs, and to a bare one, with all three signals on and every
// span sampled.
func BenchmarkHTTPEdge(b *testing.B) {
	const callers, calls = 16, 50
	load := func(call func(string) time.Duration, params string) func() time.Duration {
		return func() time.Duration {
			start := time.Now()
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for range calls {
						call(rpc("1", "tools/call", params))
					}
				})
			}
			wg.Wait()
			return time.Since(start)
		}
	}
	firstByte := func(call func(string) time.Duration) func() time.Duration {
		return func() time.Duration {
			took := make([]time.Duration, 101)
			for k := range took {
				took[k] = call(rpc("1", "tools/call", `{"name":"progress"}`))
			}
			slices.Sort(took)
			return took[len(took)/2]
		}
	}
	bare, inner, edge := benchmarkServer(b, "bare"), benchmarkServer(b, "instrumented"), benchmarkServer(b, "edge")
	for b.Loop() {
		b.ReportMetric(paired(load(inner, callEcho), load(edge, callEcho)), "calls/no_edge")
		b.ReportMetric(paired(firstByte(inner), firstByte(edge)), "firstbyte/no_edge")
		b.ReportMetric(paired(load(bare, callEcho), load(edge, callEcho)), "calls/bare")
		b.ReportMetric(paired(load(bare, `{"name":"works"}`), load(edge, `{"name":"works"}`)), "calls_of_5ms/bare")
		b.ReportMetric(paired(firstByte(bare), firstByte(edge)), "firstbyte/bare")
		b.ReportMetric(0, "ns/op")
	}
}

// Sessions that are opened and abandoned cost no more than the budget, and the
// gauge says what the server holds.
func TestAbandonedSessionsBudget(t *testing.T) {
	if raceEnabled {
		t.Skip("skipped: the race detector changes what is allocated; make test runs it without")
	}
	const sessions, budget = 10000, 1 << 10
	body := []byte(rpc("0", "initialize", initializeParams))
	open := func(h http.Handler, n int) {
		for range n {
			r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/mcp", bytes.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			h.ServeHTTP(httptest.NewRecorder(), r)
		}
	}
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	growth := func(wrap func(*server.MCPServer, http.Handler) http.Handler) int64 {
		s := newEverything()
		h := wrap(s.MCPServer, server.NewStreamableHTTPServer(s.MCPServer))
		open(h, 100) // what is made once
		before := heap()
		open(h, sessions)
		after := heap()
		runtime.KeepAlive(h)
		return (after - before) / sessions
	}
	alone := func(_ *server.MCPServer, h http.Handler) http.Handler { return h }
	// What earlier tests have left can go away in between, and make one of them less.
	bare := max(growth(alone), growth(alone))
	ours := growth(func(s *server.MCPServer, h http.Handler) http.Handler {
		return otelmcp.Instrument(s, sdkPipeline(t, sdktrace.AlwaysSample()).options()...).Handler(h)
	})
	t.Logf("an abandoned session costs %d bytes more than the bare server's %d", ours-bare, bare)
	if ours-bare > budget {
		t.Errorf("an abandoned session costs %d bytes, more than %d", ours-bare, budget)
	}

	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	held := server.NewStreamableHTTPServer(s.MCPServer)
	open(i.Handler(held), 1000)
	if n := capture.CounterValue("otelmcp.server.sessions.active"); n != 1000 {
		t.Errorf("%d sessions are active, want 1000", n)
	}
	held.CloseSessions(t.Context())
	if n := capture.CounterValue("otelmcp.server.sessions.active"); n != 0 {
		t.Errorf("%d sessions are active after all were closed", n)
	}
	if gaps := i.Coverage().Gaps; len(gaps) > 0 {
		t.Error(gaps)
	}
}
