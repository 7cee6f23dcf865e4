// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Servers that share their hooks, as a program makes them that has one for each
// session or for each request: what each of them costs, that it leaves nothing behind,
// and that nothing of one is recorded as another's.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

var ping = json.RawMessage(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)

// heapNow is the size of the heap when everything that is gone is collected.
func heapNow() uint64 {
	least := heapAfter(math.MaxUint64)
	for range 5 {
		time.Sleep(10 * time.Millisecond) // for the cleanups
		least = min(least, heapAfter(math.MaxUint64))
	}
	return least
}

// heapAfter collects until the heap is no larger than most, or for a while, and returns
// its size.
func heapAfter(most uint64) uint64 {
	var m runtime.MemStats
	for deadline := time.Now().Add(20 * time.Second); ; {
		runtime.GC()
		runtime.ReadMemStats(&m)
		if m.HeapAlloc <= most || time.Now().After(deadline) {
			return m.HeapAlloc
		}
		time.Sleep(10 * time.Millisecond) // for the cleanups, which the collector runs beside
	}
}

// TestSharedHooksCost: a message, and a server, cost the same however many servers there
// are, and nothing is left of them.
func TestSharedHooksCost(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	set := otel.GetMeterProvider() // the global one, which nobody has set
	for name, opts := range map[string][]otelmcp.Option{
		"no-op": noopPipeline().options(), "sdk": sdkPipeline(t, sdktrace.NeverSample()).options(),
		"global": {otelmcp.WithMeterProvider(set)},
	} {
		t.Run(name, func(t *testing.T) {
			shared := &server.Hooks{}
			own := 0
			shared.AddBeforeAny(func(context.Context, any, mcp.MCPMethod, any) { own++ })
			made := func() *server.MCPServer {
				s := server.NewMCPServer("one of many", "1", server.WithHooks(shared))
				otelmcp.Instrument(s, opts...)
				handle(t, s, ping)
				return s
			}
			kept := []*server.MCPServer{made()}
			before := heapNow()
			type cost struct{ ping, server float64 }
			var costs []cost
			var times []float64
			for _, n := range []int{10, 1000, 10000} {
				for len(kept) < n {
					kept = append(kept, made())
				}
				first, last := kept[0], kept[n-1]
				c := cost{ping: testing.AllocsPerRun(200, func() {
					handle(t, first, ping)
					handle(t, last, ping)
				})}
				c.server = testing.AllocsPerRun(50, func() { made() })
				costs = append(costs, c)
				var took []float64
				for range 200 {
					start := time.Now()
					handle(t, last, ping)
					took = append(took, float64(time.Since(start)))
				}
				times = append(times, median(took))
			}
			for _, c := range costs[1:] {
				// A list that grows is sometimes copied.
				if c.ping != costs[0].ping || c.server > costs[0].server+2 {
					t.Errorf("allocations are %+v with 10, 1,000 and 10,000 servers", costs)
				}
			}
			if times[2] > 20*times[0] {
				t.Errorf("a ping takes %v with 10, 1,000 and 10,000 servers", times)
			}
			if len(shared.OnBeforeAny) != 2 || len(shared.OnError) != 1 || len(shared.OnRequestInitialization) != 1 {
				t.Errorf("%d, %d and %d hooks", len(shared.OnBeforeAny), len(shared.OnError), len(shared.OnRequestInitialization))
			}
			if own == 0 {
				t.Error("the program's own hook was not called")
			}
			goroutines := runtime.NumGoroutine()
			clear(kept)
			const left = 2 << 20 // of what all of them had
			if after := heapAfter(before + left); after > before+left {
				t.Errorf("%d KiB are left of 10,000 servers", (after-before)>>10)
			}
			eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines })
			runtime.KeepAlive(shared)
		})
	}
}

// TestSharedHooksSessions: sessions that are never ended go with their servers, too.
func TestSharedHooksSessions(t *testing.T) {
	opts := noopPipeline().options()
	shared := &server.Hooks{}
	many := func(n int) {
		for range n {
			s := server.NewMCPServer("one of many", "1", server.WithHooks(shared))
			otelmcp.Instrument(s, opts...)
			for k := range 4 {
				if err := s.RegisterSession(t.Context(), server.NewInProcessSession(fmt.Sprintf("%p-%d", s, k), nil)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	many(100)
	before := heapNow()
	many(2000)
	if after, most := heapAfter(before+1<<20), before+1<<20; after > most {
		t.Errorf("%d KiB are left of 2,000 servers with 4 sessions each", (after-before)>>10)
	}
	runtime.KeepAlive(shared)
}

// A tenant is one of the servers that share their hooks.
type tenant struct {
	s       *everything
	i       *otelmcp.Instrumentation
	capture *telemetrytest.Capture
}

func (n *tenant) counts() map[string]int {
	got := map[string]int{}
	logs := n.capture.Logs()
	for k := range logs {
		r := &logs[k]
		e := event(*r)
		what := r.EventName()
		if method := e["mcp.method.name"]; method != "" {
			what += " " + method + " " + e["otelmcp.outcome"]
		}
		if what != semconv.OTelMCPCoverageEventName {
			got[what]++
		}
	}
	return got
}

// TestSharedHooksRecords: servers come, serve at the same time on every transport, with
// an edge and without, and go. Each has its own messages, sessions and decisions
// recorded, by its own providers, and no other.
func TestSharedHooksRecords(t *testing.T) {
	checkLeaks(t)
	shared := &server.Hooks{}
	shared.AddOnRequestInitialization(func(_ context.Context, _, message any) error {
		if raw, _ := message.(json.RawMessage); strings.Contains(string(raw), "evil") {
			return errors.New("not you")
		}
		return nil
	})
	bare := newEverything(server.WithHooks(shared)) // shares them, and is nobody's business
	var all []*tenant
	var mu sync.Mutex
	var serving sync.WaitGroup
	otelmcp.Instrument(newEverything(server.WithHooks(shared)).MCPServer, noopPipeline().options()...) // nobody serves before the first
	for k := range 8 {
		serving.Go(func() {
			n := &tenant{s: newEverything(server.WithHooks(shared)), capture: telemetrytest.New(t)}
			n.i = otelmcp.Instrument(n.s.MCPServer, into(n.capture)...)
			mu.Lock()
			all = append(all, n)
			mu.Unlock()
			for _, over := range []string{inProcess, streamable, sse} {
				for _, s := range []*server.MCPServer{n.s.MCPServer, bare.MCPServer} {
					p := connect(t, s, over, legacy)
					for range k + 1 {
						p.tool(t.Context(), "echo", "")
					}
					p.call(t.Context(), "prompts/get", `{"name":"evil"}`)
					p.close()
				}
			}
			c := converse(t, n.i.Handler(quietHTTP(n.s.MCPServer, server.WithStateful(true))))
			c.do(step{send: rawPost(rpc("0", "initialize", initializeParams))})
			for range k + 1 {
				c.do(step{send: inSession(rpc("1", "tools/call", callEcho))})
			}
			c.do(step{send: plain("DELETE", "/", "Mcp-Session-Id: {session}")})
			c.web.Close()
		})
	}
	serving.Wait()
	for _, n := range all {
		calls := n.counts()["otelmcp.operation tools/call ok"]
		k := calls/4 - 1
		want := map[string]int{
			"otelmcp.operation initialize ok": 4, "otelmcp.operation tools/call ok": 4 * (k + 1), "otelmcp.operation": 1, // the DELETE
			// Nobody ended that of streamable HTTP without an edge.
			"otelmcp.session.start": 4, "otelmcp.session.end": 3,
			"otelmcp.auth.decision prompts/get ": 3, "otelmcp.auth.decision tools/call ": 4 * (k + 1), // which filters let through
		}
		got := n.counts()
		maps.DeleteFunc(got, func(what string, _ int) bool { return strings.HasPrefix(what, "otelmcp.definition") })
		if k < 0 || k > 7 || !maps.Equal(got, want) {
			t.Errorf("recorded are\n%v, want\n%v", got, want)
		}
		if n := n.capture.CounterValue(semconv.OTelMCPServerSessionsActiveName); n != 1 {
			t.Errorf("%d sessions are active, want 1", n)
		}
	}
}

// called counts how often each of the program's own hooks is called.
type called struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *called) hook(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[name]++
}

// add adds every kind of hook that ours stand among.
func (c *called) add(h *server.Hooks, when string) {
	h.AddOnRequestInitialization(func(context.Context, any, any) error { c.hook(when + " initialization"); return nil })
	h.AddOnRegisterSession(func(context.Context, server.ClientSession) { c.hook(when + " register") })
	h.AddOnUnregisterSession(func(context.Context, server.ClientSession) { c.hook(when + " unregister") })
	h.AddBeforeAny(func(context.Context, any, mcp.MCPMethod, any) { c.hook(when + " before") })
	h.AddOnSuccess(func(context.Context, any, mcp.MCPMethod, any, any) { c.hook(when + " success") })
	h.AddOnError(func(context.Context, any, mcp.MCPMethod, any, error) { c.hook(when + " error") })
	h.AddAfterCallTool(func(context.Context, any, *mcp.CallToolRequest, any) { c.hook(when + " after call") })
}

// TestSharedHooksOwn: the program's own hooks, added before, between and after, are called
// as often as on bare servers.
func TestSharedHooksOwn(t *testing.T) {
	run := func(instrument bool) map[string]int {
		c := &called{n: map[string]int{}}
		shared := &server.Hooks{}
		var servers []*everything
		for n := range 3 {
			c.add(shared, fmt.Sprintf("%d", n))
			s := newEverything(server.WithHooks(shared))
			servers = append(servers, s)
			if instrument {
				otelmcp.Instrument(s.MCPServer, into(telemetrytest.New(t))...)
			}
		}
		c.add(shared, "after")
		for _, s := range servers {
			for _, over := range []string{inProcess, streamable, sse, stdio, direct} {
				p := connect(t, s.MCPServer, over, legacy)
				p.tool(t.Context(), "echo", "")
				p.tool(t.Context(), "nobody's", "")
				p.close()
			}
		}
		return c.n
	}
	if bare, is := run(false), run(true); !reflect.DeepEqual(bare, is) {
		t.Errorf("called were\n%v, and on bare servers\n%v", is, bare)
	}
}

// TestCopiedHooks: a copy of hooks that ours are among is hooks of its own. Nothing is
// recorded twice, and neither spoils the other.
func TestCopiedHooks(t *testing.T) {
	first := &server.Hooks{}
	first.OnError = make([]server.OnErrorHookFunc, 0, 8) // with room that both would append to
	first.OnBeforeAny = make([]server.BeforeAnyHookFunc, 0, 8)
	first.OnSuccess = make([]server.OnSuccessHookFunc, 0, 8)
	early := *first
	var all []*tenant
	instrument := func(h *server.Hooks) {
		n := &tenant{s: newEverything(server.WithHooks(h)), capture: telemetrytest.New(t)}
		n.i = otelmcp.Instrument(n.s.MCPServer, into(n.capture)...)
		all = append(all, n)
	}
	instrument(first)
	late := *first
	instrument(&early)
	instrument(&late)
	for _, n := range all {
		p := connect(t, n.s.MCPServer, inProcess, legacy)
		p.tool(t.Context(), "echo", "")
		p.tool(t.Context(), "errors", "")
		p.close()
	}
	for k, n := range all {
		got := n.counts()
		for what, want := range map[string]int{
			"otelmcp.operation tools/call ok": 1, "otelmcp.operation tools/call error": 1, "otelmcp.session.start": 1, "otelmcp.session.end": 1,
		} {
			if got[what] != want {
				t.Errorf("server %d: %v, want %d of %s", k, got, want, what)
			}
		}
		if c := n.i.Coverage(); len(c.Gaps) != 1 || !slices.Equal(c.Seams, allSeams) {
			t.Errorf("server %d: %+v", k, c)
		}
	}
}

// TestSharedHooksReplaced: where the program gives a server other hooks afterwards, those
// of another instrumented server included, it is said, and only of that server.
func TestSharedHooksReplaced(t *testing.T) {
	shared, others := &server.Hooks{}, &server.Hooks{}
	var all []*tenant
	for _, h := range []*server.Hooks{shared, shared, others} {
		n := &tenant{s: newEverything(server.WithHooks(h)), capture: telemetrytest.New(t)}
		n.i = otelmcp.Instrument(n.s.MCPServer, into(n.capture)...)
		all = append(all, n)
	}
	server.WithHooks(others)(all[0].s.MCPServer)
	for k, n := range all {
		p := connect(t, n.s.MCPServer, direct, legacy)
		p.tool(t.Context(), "echo", "")
		if c := n.i.Coverage(); hasGap(c, "hooks were replaced") != (k == 0) || slices.Contains(c.Seams, "hooks") == (k == 0) {
			t.Errorf("server %d: %+v", k, c)
		}
		if got := n.counts()["otelmcp.operation tools/call ok"]; got != 1 {
			t.Errorf("server %d: %d calls are recorded", k, got)
		}
	}
}

// TestNestedSharedHooks: a tool that calls another server, which shares the hooks and is
// instrumented or not, does not have its answer for its own.
func TestNestedSharedHooks(t *testing.T) {
	for _, instrument := range []bool{true, false} {
		shared := &server.Hooks{}
		around, inside := &tenant{s: newEverything(server.WithHooks(shared)), capture: telemetrytest.New(t)},
			&tenant{s: newEverything(server.WithHooks(shared)), capture: telemetrytest.New(t)}
		otelmcp.Instrument(around.s.MCPServer, into(around.capture)...)
		if instrument {
			otelmcp.Instrument(inside.s.MCPServer, into(inside.capture)...)
		}
		around.s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			handleDirectly(ctx, inside.s.MCPServer, []byte(rpc("5", "tools/call", `{"name":"errors"}`)))
			return mcp.NewToolResultText("done"), nil
		})
		connect(t, around.s.MCPServer, direct, legacy).tool(t.Context(), "custom", "")
		if got := around.counts(); got["otelmcp.operation tools/call ok"] != 1 || got["otelmcp.operation tools/call error"] != 0 {
			t.Errorf("around: %v", got)
		}
		if got := inside.counts()["otelmcp.operation tools/call error"] == 1; got != instrument {
			t.Errorf("inside, instrumented %v: %v", instrument, inside.counts())
		}
	}
}
