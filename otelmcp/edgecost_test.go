// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// What the HTTP edge costs over real connections, as ratios to the bare server
// in one interleaved run: `make bench` prints them. And what thousands of sessions
// that their clients abandon leave behind.

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/otelmcp/otelmcp-go/otelmcp"
)

// paired runs both in turns and returns the median of the ratio of their times.
func paired(bare, ours func() time.Duration) float64 {
	const rounds = 21
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

// BenchmarkHTTPEdge prints the time of tools/call over HTTP with 16 callers, and
// of the first byte of an event, as ratios: of a server behind the edge to one that
// is instrumented without it, which is what the edge costs, and to a bare one, with
// all three signals on and every span sampled.
func BenchmarkHTTPEdge(b *testing.B) {
	serve := func(instrument, edge bool) (*httptest.Server, *http.Client) {
		s := newEverything()
		s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			_ = server.ServerFromContext(ctx).SendNotificationToClient(ctx, "notifications/progress", map[string]any{"progressToken": 1})
			return mcp.NewToolResultText("done"), nil
		})
		h := quietHTTP(s.MCPServer, server.WithStateLess(true))
		if instrument {
			i := otelmcp.Instrument(s.MCPServer, sdkPipeline(b, sdktrace.AlwaysSample()).options()...)
			if edge {
				h = i.Handler(h)
			}
		}
		web := httptest.NewServer(h)
		b.Cleanup(web.Close)
		hc := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
		b.Cleanup(hc.CloseIdleConnections)
		return web, hc
	}
	call := func(web *httptest.Server, hc *http.Client, body string) time.Duration {
		start := time.Now()
		res, err := hc.Post(web.URL, "application/json", strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		first := make([]byte, 1)
		_, _ = io.ReadFull(res.Body, first)
		took := time.Since(start)
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		return took
	}
	const callers, calls = 16, 50
	load := func(web *httptest.Server, hc *http.Client) func() time.Duration {
		return func() time.Duration {
			start := time.Now()
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for range calls {
						call(web, hc, rpc("1", "tools/call", callEcho))
					}
				})
			}
			wg.Wait()
			return time.Since(start)
		}
	}
	firstByte := func(web *httptest.Server, hc *http.Client) func() time.Duration {
		return func() time.Duration {
			took := make([]time.Duration, 50)
			for k := range took {
				took[k] = call(web, hc, rpc("1", "tools/call", `{"name":"custom"}`))
			}
			slices.Sort(took)
			return took[len(took)/2]
		}
	}
	bareWeb, bareClient := serve(false, false)
	innerWeb, innerClient := serve(true, false)
	web, hc := serve(true, true)
	for b.Loop() {
		b.ReportMetric(paired(load(innerWeb, innerClient), load(web, hc)), "calls/no_edge")
		b.ReportMetric(paired(firstByte(innerWeb, innerClient), firstByte(web, hc)), "firstbyte/no_edge")
		b.ReportMetric(paired(load(bareWeb, bareClient), load(web, hc)), "calls/bare")
		b.ReportMetric(paired(firstByte(bareWeb, bareClient), firstByte(web, hc)), "firstbyte/bare")
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
	bare := growth(func(_ *server.MCPServer, h http.Handler) http.Handler { return h })
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
