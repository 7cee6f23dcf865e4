// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package bench

// What a message costs does not depend on how much there is or was of anything, and long traffic leaves nothing.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"
)

// few and many are what the cost of a message is compared between.
const few, many = 10, 10_000

// sampledOurs is the contender that does the most.
func sampledOurs() Contender { return must(find(Contenders(), nameSampled)) }

func TestCostDoesNotGrow(t *testing.T) {
	skipWithRace(t)
	echoes := []json.RawMessage{call(legacy, 1, "echo", 5)}
	start := func(l load) func(context.Context, int) (runner, error) {
		return func(ctx context.Context, n int) (runner, error) {
			l := l
			if l.sessions > 0 {
				l.sessions = n
			}
			if l.tools > 0 {
				l.tools = n
			}
			return dispatch(l)(ctx, sampledOurs())
		}
	}
	for _, tt := range []struct {
		of    string
		start func(context.Context, int) (runner, error)
	}{
		{"sessions", start(load{sessions: 1, messages: echoes})},
		{"tools", start(load{sessions: 1, tools: 1, messages: echoes})},
		{"calls of other tools before", before(echoes, func(k int) json.RawMessage {
			return call(legacy, k, fmt.Sprintf("tool-%d", k), 5)
		})},
		{"calls of tools that there are not", before(echoes, func(k int) json.RawMessage {
			return call(legacy, k, fmt.Sprintf("no-such-tool-%d", k), 5)
		})},
		{"methods that there are not", before(echoes, func(k int) json.RawMessage {
			return request(legacy, k, fmt.Sprintf("no/such/method/%d", k), "")
		})},
		{"messages of every kind, over HTTP", func(ctx context.Context, n int) (runner, error) {
			traffic, err := newTraffic(ctx, sampledOurs())
			if err != nil {
				return nil, err
			}
			err = traffic.send(n)
			return traffic, err
		}},
		{"sessions that stay open, over HTTP", func(ctx context.Context, n int) (runner, error) {
			traffic, err := newTraffic(ctx, sampledOurs())
			for k := 0; k < n && err == nil; k++ {
				_, err = traffic.open()
			}
			return traffic, err
		}},
	} {
		t.Run(tt.of, func(t *testing.T) {
			runners := make([]runner, 2)
			allocated := make([]usage, 2)
			for k, n := range []int{few, many} {
				r, err := tt.start(t.Context(), n)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(r.close)
				runners[k] = r
				if allocated[k], err = exact(r); err != nil {
					t.Fatal(err)
				}
			}
			ratio, err := ratioOfTimes(runners[0], runners[1])
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("with %d: %v; with %d: %v, %.2f of the time", few, allocated[0], many, allocated[1], ratio)
			if allocated[1].Mallocs > allocated[0].Mallocs {
				t.Errorf("a call needs %d allocations after or with %d, and %d with %d",
					allocated[0].Mallocs, few, allocated[1].Mallocs, many)
			}
			// Caches hold ten of anything, and not ten thousand. What grows with their number would be a hundred times slower.
			if ratio > 4 {
				t.Errorf("a call takes %.1f times as long with %d as with %d", ratio, many, few)
			}
		})
	}
}

// before starts a server that has had that many other messages, all different.
func before(messages []json.RawMessage, other func(int) json.RawMessage) func(context.Context, int) (runner, error) {
	return func(ctx context.Context, n int) (runner, error) {
		c := sampledOurs()
		d, err := newDispatched(ctx, c, c.newPipeline(), load{sessions: 1, tools: many, messages: messages})
		for k := 0; k < n && err == nil; k++ {
			d.handle(d.contexts[0], other(k))
		}
		return d, err
	}
}

// ratioOfTimes is the median over interleaved rounds.
func ratioOfTimes(a, b runner) (float64, error) {
	const rounds, messages = 31, 300
	ratios := make([]float64, 0, rounds)
	took := func(r runner) (time.Duration, error) {
		start := time.Now()
		err := r.run(messages)
		return time.Since(start), err
	}
	for range rounds {
		first, err := took(a)
		if err != nil {
			return 0, err
		}
		second, err := took(b)
		if err != nil {
			return 0, err
		}
		ratios = append(ratios, float64(second)/float64(first))
	}
	slices.Sort(ratios)
	return ratios[rounds/2], nil
}

// TestHeapStaysFlat sends long traffic of every kind.
func TestHeapStaysFlat(t *testing.T) {
	skipWithRace(t)
	const warm, messages = 20_000, 80_000
	traffic, err := newTraffic(t.Context(), sampledOurs())
	if err != nil {
		t.Fatal(err)
	}
	defer traffic.close()
	if err := errors.Join(traffic.fill(), traffic.send(warm)); err != nil {
		t.Fatal(err)
	}
	begin := traffic.heap()
	if err := traffic.send(messages - warm); err != nil {
		t.Fatal(err)
	}
	growth := int64(traffic.heap()) - int64(begin)
	t.Logf("from message %d to %d the heap grows by %d bytes", warm, messages, growth)
	if growth > 64<<10 { // a byte for each message: what pools and maps happen to hold
		t.Errorf("from message %d to %d the heap grows by %d bytes", warm, messages, growth)
	}
}

// TestSessionMemory weighs sessions that stay open, whose clients have named themselves and have sent a message:
// those of a program's own transport, and those of HTTP that their clients have abandoned.
func TestSessionMemory(t *testing.T) {
	skipWithRace(t)
	const most = 1 << 10 // bytes for each session
	for _, tt := range []struct {
		of    string
		start func(*traffic) (open func(k int) error)
	}{
		{"sessions of HTTP", func(traffic *traffic) func(int) error {
			return func(int) error {
				id, err := traffic.open()
				if err == nil {
					traffic.exchange(http.MethodPost, id, call(legacy, 1, "echo", 5))
				}
				return err
			}
		}},
		{"sessions of a transport of the program's own", func(traffic *traffic) func(int) error {
			return func(k int) error {
				ctx, err := openSession(t.Context(), traffic.server, traffic.direct.handle, fmt.Sprintf("session-%d-%s", k, traceID))
				if err == nil {
					traffic.direct.handle(ctx, call(legacy, 1, "echo", 5))
				}
				return err
			}
		}},
	} {
		t.Run(tt.of, func(t *testing.T) {
			weigh := func(name string) int64 {
				traffic, err := newTraffic(t.Context(), must(find(Contenders(), name)))
				if err != nil {
					t.Fatal(err)
				}
				defer traffic.close()
				open := tt.start(traffic)
				var begin uint64
				for k := range 100 + many {
					if k == 100 { // what is made once is there
						begin = traffic.heap()
					}
					if err := open(k); err != nil {
						t.Fatal(err)
					}
				}
				return (int64(traffic.heap()) - int64(begin)) / many
			}
			bare, ours := weigh(nameBare), weigh(nameSampled)
			t.Logf("an open session costs %d bytes; the bare server keeps %d", ours-bare, bare)
			if ours-bare > most {
				t.Errorf("an open session costs %d bytes, the budget is %d", ours-bare, most)
			}
		})
	}
}
