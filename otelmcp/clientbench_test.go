// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// What a wrapped transport costs a client, next to what the instrumentation costs
// a server.

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"

	"github.com/otelmcp/otelmcp-go/otelmcp"
)

// loopback renders what it is given and answers at once.
type loopback struct{ transport.Interface }

var (
	loopbackTools  = json.RawMessage(`{"tools":[{"name":"echo","inputSchema":{"type":"object","properties":{"text":{"type":"string"}}}}]}`)
	loopbackHello  = json.RawMessage(`{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"bench","version":"1"}}`)
	loopbackResult = json.RawMessage(`{"content":[{"type":"text","text":"hello"}]}`)
)

func (loopback) Start(context.Context) error                                     { return nil }
func (loopback) Close() error                                                    { return nil }
func (loopback) GetSessionId() string                                            { return "" }
func (loopback) SetNotificationHandler(func(mcp.JSONRPCNotification))            {}
func (loopback) SendNotification(context.Context, mcp.JSONRPCNotification) error { return nil }

func (loopback) SendRequest(_ context.Context, r transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
	if _, err := json.Marshal(r); err != nil {
		return nil, err
	}
	answer := &transport.JSONRPCResponse{JSONRPC: "2.0", ID: r.ID, Result: loopbackResult}
	switch r.Method {
	case "initialize":
		answer.Result = loopbackHello
	case "tools/list":
		answer.Result = loopbackTools
	}
	return answer, nil
}

// loopbackClient has shaken hands and knows the tools.
func loopbackClient(tb testing.TB, wrap func(transport.Interface) transport.Interface) *client.Client {
	tb.Helper()
	c := client.NewClient(wrap(loopback{}), client.WithProtocolVersion(string(legacy)))
	if err := c.Start(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	if _, err := c.Initialize(tb.Context(), greeting()); err != nil {
		tb.Fatal(err)
	}
	if _, err := c.ListTools(tb.Context(), mcp.ListToolsRequest{}); err != nil {
		tb.Fatal(err)
	}
	return c
}

func wrapWith(p pipeline) func(transport.Interface) transport.Interface {
	return func(t transport.Interface) transport.Interface { return otelmcp.WrapTransport(t, p.options()...) }
}

func call(tb testing.TB, c *client.Client) {
	ctx := context.Background() //nolint:usetesting // as in handle
	if _, err := callTool(ctx, c, "echo", map[string]any{"text": "hello"}); err != nil {
		tb.Fatal(err)
	}
}

// clientBudgets are the allocations that a wrapped transport may add to a
// tools/call, by pipeline.
var clientBudgets = map[string]float64{"noop": 1, "unsampled": 22, "sampled": 28}

func TestClientAllocationBudget(t *testing.T) {
	if raceEnabled {
		t.Skip("skipped: the race detector changes what is allocated; make test runs it without")
	}
	bareClient := loopbackClient(t, bareTransport)
	bare := testing.AllocsPerRun(500, func() { call(t, bareClient) })
	for _, p := range pipelines {
		t.Run(p.name, func(t *testing.T) {
			c := loopbackClient(t, wrapWith(p.new(t)))
			call(t, c) // caches fill
			added := testing.AllocsPerRun(500, func() { call(t, c) }) - bare
			t.Logf("added %.0f allocations to %.0f", added, bare)
			if added > clientBudgets[p.name] {
				t.Errorf("a wrapped transport adds %.0f allocations, the budget is %.0f", added, clientBudgets[p.name])
			}
		})
	}
}

// BenchmarkClientRatios is BenchmarkRatios of a client.
func BenchmarkClientRatios(b *testing.B) {
	const rounds, calls = 25, 2000
	ctx := context.Background() //nolint:usetesting // as in handle
	for _, p := range pipelines {
		b.Run(p.name, func(b *testing.B) {
			bareClient, c := loopbackClient(b, bareTransport), loopbackClient(b, wrapWith(p.new(b)))
			same := newFloor(b, p.new(b), true)
			var bare, ours, floor []float64
			run := func(into *[]float64, f func()) {
				start := time.Now()
				for range calls {
					f()
				}
				*into = append(*into, float64(time.Since(start)))
			}
			for b.Loop() {
				bare, ours, floor = nil, nil, nil
				for range rounds {
					run(&bare, func() { call(b, bareClient) })
					run(&ours, func() { call(b, c) })
					run(&floor, func() { call(b, bareClient); same.emit(ctx) })
				}
			}
			added := median(ours) - median(bare)
			b.ReportMetric(100*added/median(bare), "%_of_bare")
			b.ReportMetric(added/(median(floor)-median(bare)), "of_floor_like_ours")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func BenchmarkClient(b *testing.B) {
	run := func(name string, c *client.Client) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				call(b, c)
			}
		})
	}
	run("bare", loopbackClient(b, bareTransport))
	for _, p := range pipelines {
		run(p.name, loopbackClient(b, wrapWith(p.new(b))))
	}
}
