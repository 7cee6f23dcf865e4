// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package bench

// Measuring: every contender in turn, round after round, so that what disturbs the machine disturbs all of them.

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"time"
)

// spread is a median with its quartiles.
type spread struct{ Low, Median, High float64 }

func spreadOf(v []float64) spread {
	v = slices.Sorted(slices.Values(v))
	at := func(q float64) float64 { return v[int(q*float64(len(v)-1)+0.5)] }
	return spread{at(0.25), at(0.5), at(0.75)}
}

// row is what one contender needed for one workload. What it added is in comparison with the bare one.
type row struct {
	Workload, By, Contender string
	Allocs, Bytes           float64 // added for each message; of the bare one, all
	OfBare                  *spread // added time, 0.1 being 10 %
	OfFloor                 *spread // added time, 1 being what the floor adds; nil where the floor is lost in noise
	PerCall                 time.Duration
	Verdict                 verdict
}

// samples is what the rounds of one contender gave, for each message.
type samples struct{ seconds, allocs, bytes []float64 }

// timing says how long is measured.
type timing struct {
	rounds int
	batch  time.Duration // of the bare contender
}

// compare lets the contenders do the workload.
func compare(ctx context.Context, w workload, all []Contender, t timing) ([]row, error) {
	var in []Contender
	for _, c := range all {
		if w.takesPart(c) {
			in = append(in, c)
		}
	}
	got, err := takeTurns(ctx, w, in, t)
	if err != nil {
		return nil, err
	}
	return evaluate(w, in, got), nil
}

// takeTurns lets each contender do a batch of the workload in each round, and returns what each needed.
func takeTurns(ctx context.Context, w workload, in []Contender, t timing) ([]samples, error) {
	var runners []runner
	defer func() {
		for _, r := range runners {
			r.close()
		}
	}()
	for _, c := range in {
		r, err := w.start(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", w.name, c.Name, err)
		}
		runners = append(runners, r)
	}
	n, err := calibrate(runners[0], t.batch)
	if err != nil {
		return nil, err
	}
	for k, r := range runners {
		if err := r.run(n); err != nil { // caches fill
			return nil, fmt.Errorf("%s, %s: %w", w.name, in[k].Name, err)
		}
	}
	got := make([]samples, len(in))
	order := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // nobody always follows the same one, and every run is alike
	for range t.rounds {
		for _, k := range order.Perm(len(in)) {
			if err := got[k].measure(runners[k], n); err != nil {
				return nil, fmt.Errorf("%s, %s: %w", w.name, in[k].Name, err)
			}
		}
	}
	return got, nil
}

// confident is the median with its 95 % confidence interval.
func confident(v []float64) *spread {
	v = slices.Sorted(slices.Values(v))
	// How many lie below the median is how many heads come up of so many coins.
	away := int(math.Ceil(1.96 * math.Sqrt(float64(len(v))) / 2))
	middle := len(v) / 2
	return &spread{v[max(0, middle-away)], v[middle], v[min(len(v)-1, middle+away)]}
}

// timed is a runner that times each message itself: it waits for part of the answer only.
type timed interface{ median() time.Duration }

// calibrate finds how many messages make a batch.
func calibrate(r runner, batch time.Duration) (int, error) {
	for n := 16; ; n *= 2 {
		start := time.Now()
		if err := r.run(n); err != nil {
			return 0, err
		}
		if took := time.Since(start); took >= batch/2 {
			return max(16, int(float64(n)*float64(batch)/float64(took))), nil
		}
	}
}

func (s *samples) measure(r runner, n int) error {
	runtime.GC() // the garbage of the one before is not paid for here
	before, err := r.usage()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := r.run(n); err != nil {
		return err
	}
	took := time.Since(start)
	if t, ok := r.(timed); ok {
		took = time.Duration(n) * t.median()
	}
	after, err := r.usage()
	if err != nil {
		return err
	}
	s.seconds = append(s.seconds, took.Seconds()/float64(n))
	s.allocs = append(s.allocs, float64(after.Mallocs-before.Mallocs)/float64(n))
	s.bytes = append(s.bytes, float64(after.Bytes-before.Bytes)/float64(n))
	return nil
}

// evaluate compares each contender with the bare one of the same round, and with its floor.
func evaluate(w workload, in []Contender, got []samples) (rows []row) {
	of := func(name string) *samples {
		for k, c := range in {
			if c.Name == name {
				return &got[k]
			}
		}
		return nil
	}
	bare := of(nameBare)
	added := func(s *samples) []float64 {
		v := make([]float64, len(s.seconds))
		for k := range v {
			v[k] = s.seconds[k] - bare.seconds[k]
		}
		return v
	}
	median := func(v []float64) float64 { return spreadOf(v).Median }
	for k, c := range in {
		s := &got[k]
		r := row{
			Workload: w.name, By: w.by, Contender: c.Name, Allocs: median(s.allocs), Bytes: median(s.bytes),
			PerCall: time.Duration(median(s.seconds) * float64(time.Second)),
		}
		if s != bare {
			r.Allocs -= median(bare.allocs)
			r.Bytes -= median(bare.bytes)
			r.OfBare = ratios(s.seconds, func(round int) float64 { return bare.seconds[round] }, -1)
			name := nameFloor
			if c.Sampling == Unsampled {
				name = nameFloorOff
			}
			if f := of(name); f != nil && c.Sampling != Noop {
				if least := spreadOf(added(f)); least.Low > 0 && least.High < 2*least.Low {
					r.OfFloor = ratios(added(s), func(int) float64 { return least.Median }, 0)
				}
			}
		}
		rows = append(rows, r)
	}
	return rows
}

func ratios(v []float64, of func(round int) float64, plus float64) *spread {
	r := make([]float64, len(v))
	for k := range r {
		r[k] = v[k]/of(k) + plus
	}
	s := spreadOf(r)
	return &s
}

// exact counts what one message allocates, for a budget. A collection empties pools and the goroutines of the
// processors allocate now and then: so there is none while it counts, there is one processor, and the median of
// many batches counts.
func exact(r runner) (usage, error) {
	const batches, atMost = 21, 4 << 20
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	if err := r.run(64); err != nil { // caches fill
		return usage{}, err
	}
	before, err := r.usage()
	if err != nil {
		return usage{}, err
	}
	if err := r.run(8); err != nil {
		return usage{}, err
	}
	after, err := r.usage()
	if err != nil {
		return usage{}, err
	}
	n := int(min(96, max(1, atMost*8/(after.Bytes-before.Bytes+1)))) // 96 is whole rounds of the malformed messages
	var s samples
	for range batches {
		if err := s.measure(r, n); err != nil {
			return usage{}, err
		}
	}
	round := func(v []float64) uint64 { return uint64(math.Round(spreadOf(v).Median)) }
	return usage{round(s.allocs), round(s.bytes)}, nil
}
