// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package hostile_test

// The attack, as a test of about a minute and as a run of hours:
//
//	go test ./internal/hostile -messages 1000000 -seed 1 -v
//
// What fails is shrunk, and printed with the seed that makes it again.

import (
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/propagation"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
)

var (
	messages = flag.Int("messages", usual(), "how many messages to send, over stdio and HTTP together")
	leftOut  = flag.String("without", "", "classes of messages to leave out, as lines_test.go names them, with commas; sse is HTTP+SSE")
	seed     = flag.Uint64("seed", 0, "where to begin; 0 is anywhere")
	progress = flag.Bool("progress", false, "say every ten seconds how far it is")
)

// usual is how many messages a plain run sends. Under the race detector each costs ten
// times as much: there are fewer, and make hostile sends them all without it.
func usual() int {
	if raceEnabled {
		return 10_000
	}
	return 100_000
}

// into returns the options that send everything to c.
func into(c *telemetrytest.Capture) []otelmcp.Option {
	return []otelmcp.Option{
		otelmcp.WithTracerProvider(c.TracerProvider()), otelmcp.WithMeterProvider(c.MeterProvider()),
		otelmcp.WithLoggerProvider(c.LoggerProvider()), otelmcp.WithPropagators(propagation.TraceContext{}),
	}
}

// tour counts the messages of a run, and watches the heap.
type tour struct {
	t           *testing.T
	first, next uint64
	sent, goal  int
	began, told time.Time
	half, end   uint64 // the heap after the first half, and at the end
}

func newTour(t *testing.T, goal int) *tour {
	v := &tour{t: t, first: *seed, goal: goal, began: time.Now(), told: time.Now()}
	if v.first == 0 {
		v.first = rand.Uint64N(1 << 40)
	}
	v.next = v.first
	t.Logf("seed %d", v.first)
	return v
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// more says whether there is more to send, and counts n.
func (v *tour) more(n int) bool {
	before := v.sent
	v.sent += n
	if before < v.goal/2 && v.sent >= v.goal/2 {
		v.half = heap()
	}
	over := v.sent >= v.goal
	if over {
		v.end = heap()
	}
	if *progress && (over || time.Since(v.told) > 10*time.Second) {
		v.told = time.Now()
		took := time.Since(v.began)
		fmt.Fprintf(os.Stderr, "  %s: %d of %d messages from seed %d, %d a second, %d MiB in use\n",
			v.t.Name(), v.sent, v.goal, v.first, int(float64(v.sent)/took.Seconds()), heap()>>20)
	}
	return !over
}

// flat checks that the second half of the run left no more behind than the first.
func (v *tour) flat() {
	const slack = 16 << 20 // the other test runs beside, and what it holds is in it
	if v.end > v.half+slack {
		v.t.Errorf("%d MiB are in use after half of the run, and %d at its end", v.half>>20, v.end>>20)
	}
	v.t.Logf("%d messages in %v; %d KiB in use after half of them, %d at the end", v.sent, time.Since(v.began).Round(time.Millisecond), v.half>>10, v.end>>10)
}

func TestStdio(t *testing.T) {
	t.Parallel() // beside TestHTTP, with which it shares nothing
	arenas := map[bool]*arena{false: newArena(t, false), true: newArena(t, true)}
	v := newTour(t, *messages*4/5)
	for n := 0; v.more(n); v.next++ {
		s := write(v.next, 300)
		sent, wrong := arenas[s.recovered].run(s)
		n = sent
		if len(wrong) > 0 {
			t.Errorf("seed %d makes %d faults, such as\n%s", s.seed, len(wrong), strings.Join(wrong[:min(len(wrong), 20)], "\n"))
			t.Fatalf("what is needed of it:\n%s", s.explain(func() *arena { return newArena(t, s.recovered) }, 20*time.Second))
		}
	}
	v.flat()
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	log.SetOutput(io.Discard) // mcp-go says there of each result that cannot be encoded that it cannot
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	var gatherings []*gathering
	for kind := range servings {
		if kind == overSSE && strings.Contains(*leftOut, "sse") {
			continue
		}
		gatherings = append(gatherings, gather(newArena(t, true), kind))
	}
	v := newTour(t, *messages/5)
	for n := 0; v.more(n); v.next++ {
		g := gatherings[v.next%uint64(len(gatherings))]
		c, wrong := g.run(v.next, 200, 1+int(v.next%6))
		n = len(c.exchanges)
		if len(wrong) > 0 {
			t.Errorf("seed %d makes %d faults at a server %s, such as\n%s", v.next, len(wrong), g.kind, strings.Join(wrong[:min(len(wrong), 40)], "\n"))
			t.Fatalf("a small crowd that fails:\n%s", g.explain(v.next, 20*time.Second))
		}
	}
	v.flat()
}
