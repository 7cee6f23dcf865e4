// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

// A minute without a collector: callers do not notice, and the counters of what was
// lost are right to the last record.

import (
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/otelmcp/otelmcp-go/e2e/internal/faulty"
	"github.com/otelmcp/otelmcp-go/e2e/stack"
)

// phase is what state the collector of the first server is in.
type phase int

const (
	uncut    phase = iota
	cut            // hanging, or not there
	changing       // stopping, starting or catching up: not looked at
)

// timed is a call of one of the servers.
type timed struct {
	server int // 0, whose collector is cut, or 1, the control
	begun  time.Time
	took   time.Duration
}

// paced calls a server so many times a second, until stop is closed or a call fails.
// A call that is late because the one before took too long began when it was due:
// who waits for an answer does not wait less because he has not been able to ask.
func paced(c *caller, server, perSecond int, stop <-chan struct{}) (calls []timed, traces []string, err error) {
	next := time.Now()
	for {
		next = next.Add(time.Second / time.Duration(perSecond))
		begun := next
		if wait := time.Until(next); wait > 0 {
			select {
			case <-stop:
				return calls, traces, nil
			case <-time.After(wait):
			}
			begun = time.Now()
		} else {
			select {
			case <-stop:
				return calls, traces, nil
			default:
			}
		}
		trace := random(c.t, 16)
		if err := c.call(trace); err != nil {
			return calls, traces, err
		}
		calls = append(calls, timed{server, begun, time.Since(begun)})
		traces = append(traces, trace)
	}
}

// p99 is that of the calls of one server in some seconds.
func p99(server int, seconds [][]timed) time.Duration {
	var took []time.Duration
	for _, second := range seconds {
		for _, x := range second {
			if x.server == server {
				took = append(took, x.took)
			}
		}
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// slowdown is how much longer the p99 of the first server is in a cut than it is
// else, by how much that of the control is at the same times: 1 is no longer.
func slowdown(seconds [changing][][]timed) float64 {
	ratio := func(server int) float64 {
		return float64(p99(server, seconds[cut])) / float64(p99(server, seconds[uncut]))
	}
	return ratio(0) / ratio(1)
}

// quieter returns the seconds in which the machine disturbed the control less than it
// did in the other half of them. What the cut does to the first server has no say.
func quieter(seconds [changing][][]timed) (quiet [changing][][]timed) {
	var all []time.Duration
	for _, of := range seconds {
		for _, second := range of {
			all = append(all, p99(1, [][]timed{second}))
		}
	}
	slices.Sort(all)
	for p, of := range seconds {
		for _, second := range of {
			if p99(1, [][]timed{second}) <= all[len(all)/2] {
				quiet[p] = append(quiet[p], second)
			}
		}
	}
	return quiet
}

// TestCut: the collector of one of two servers is cut off: it hangs for a quarter of a
// minute, with its connections open, and is stopped for a whole one, in which connections
// are refused. Both servers are called alike, at the same time, before, during and after.
//
// The p99 of the calls in the cuts may be no more than a tenth above that of the
// others. On a machine where other things run, the p99 of two halves of the same
// minute differ by more than that without any cut. Therefore
//   - cuts and the time between them alternate, and p99 is taken over all calls of each;
//   - the other server, whose collector is fine, tells how much of a difference is
//     that of the machine, which is taken out, and which half of the seconds the
//     machine disturbed more: those are left out;
//   - how sure the result is comes from the run itself: it is computed again for
//     seconds that are drawn at random from those of the run (a bootstrap, by whole
//     seconds because a disturbance hits neighbors alike). The test fails if it is
//     more than a tenth with 99 % confidence, which it is not by chance, and is if a
//     call ever waits for an export.
//
// The accounts are exact, as a request that is stopped with its collector is tried
// again, and the collector is back before it is given up.
func TestCut(t *testing.T) {
	s := collecting(t)
	spansFile := toFiles(t, s)
	control, err := stack.New(stack.Config{Dir: filepath.Join(work, t.Name()+"-control")})
	if err != nil {
		t.Fatal(err)
	}
	toFiles(t, control)
	for _, b := range []*stack.Backend{s.Collector, control.Collector} {
		if err := b.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := b.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	servers := [2]*echo{
		startEcho(t, s, toCollector(s, "http/protobuf")...),
		startEcho(t, s, toCollector(control, "http/protobuf")...),
	}

	var mu sync.Mutex
	var all []timed
	calls := map[string]bool{} // traces of the first server's
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for range 4 {
		for k, server := range servers {
			c := newCaller(t, server.url)
			callers.Go(func() {
				timed, traces, err := paced(c, k, 100, stop)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				all = append(all, timed...)
				if k == 0 {
					for _, trace := range traces {
						calls[trace] = true
					}
				}
			})
		}
	}
	endLoad := sync.OnceFunc(func() {
		close(stop)
		callers.Wait()
	})
	defer endLoad()
	type change struct {
		at time.Time
		to phase
	}
	var changes []change
	become := func(p phase, during time.Duration) {
		changes = append(changes, change{time.Now(), p})
		time.Sleep(during) // the load goes on
	}
	const open, settle = 15 * time.Second, 2 * time.Second
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	become(changing, settle)
	become(uncut, open)
	must(s.Collector.Pause())
	become(cut, 15*time.Second) // less than a timeout, or a batch could be both received and counted as lost
	must(s.Collector.Resume())
	become(changing, settle)

	become(uncut, open)
	become(changing, 0)
	must(s.Collector.Stop())
	become(cut, time.Minute)
	must(s.Collector.Start(t.Context()))
	become(changing, settle)
	become(uncut, open)
	endLoad()
	must(servers[0].Stop())
	must(servers[1].Stop())
	must(s.Collector.Stop()) // what it has is in its files then

	var seconds [changing][][]timed
	bySecond := [changing]map[int64][]timed{{}, {}}
	for _, x := range all {
		p := changing
		for _, c := range changes {
			if !x.begun.Before(c.at) {
				p = c.to
			}
		}
		if p != changing {
			bySecond[p][x.begun.Unix()] = append(bySecond[p][x.begun.Unix()], x)
		}
	}
	for p := range seconds {
		seconds[p] = slices.Collect(maps.Values(bySecond[p]))
	}
	for p, of := range [changing]string{"the rest", "the cuts"} {
		t.Logf("p99 in %s: %v, and %v of the control", of, p99(0, seconds[p]), p99(1, seconds[p]))
	}
	seconds = quieter(seconds)
	if len(seconds[cut]) < 10 || len(seconds[uncut]) < 10 {
		t.Fatalf("there were %d quiet seconds in the cuts and %d in the rest", len(seconds[cut]), len(seconds[uncut]))
	}
	drawn := make([]float64, 500)
	for i := range drawn {
		var draw [changing][][]timed
		for p, of := range seconds {
			for range of {
				draw[p] = append(draw[p], of[rand.IntN(len(of))])
			}
		}
		drawn[i] = slowdown(draw)
	}
	slices.Sort(drawn)
	atLeast, atMost := drawn[len(drawn)/100], drawn[len(drawn)*99/100]
	t.Logf("in %d quiet seconds of %d calls, p99 in the cuts is %.2f times that of the rest (99 %% confidence: %.2f to %.2f)",
		len(seconds[cut])+len(seconds[uncut]), len(all), slowdown(seconds), atLeast, atMost)
	if atLeast > 1.1 {
		t.Errorf("a cut makes the p99 of calls at least %.2f times what it is else", atLeast)
	}

	logs, spans := files(t, s, spansFile, servers[0].service)
	for signal, received := range map[string]faulty.Records{"log": logs, "span": spans} {
		got := count(t, s, servers[0].service, signal)
		balance(t, signal, got, calls, received)
		if got.failed == 0 || got.queueFull == 0 {
			t.Errorf("%d %ss failed and %d did not fit into the queue, want some of both", got.failed, signal, got.queueFull)
		}
	}
}
