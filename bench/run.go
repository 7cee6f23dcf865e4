// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package bench

// The program: `make bench`.

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"time"
)

// Main runs the program with the contenders of this package and these, and returns its exit code.
func Main(more ...Contender) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	all := append(Contenders(), more...)
	served, err := serveChild(ctx, all)
	if !served {
		err = program(ctx, all, os.Args[1:])
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

func program(ctx context.Context, all []Contender, args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	quick := flags.Bool("quick", false, "few and short rounds: a look, not a measurement")
	only := flags.String("only", "", "workloads whose names match this regular expression, and the parts promises, locks and memory if it does; writes no document")
	messages := flags.Int("messages", 500_000, "how many messages the memory of long traffic is looked at for")
	doc := flags.String("doc", "", "the file to write the report to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	pick, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	rep := report{machine: describeMachine(), begin: time.Now(), quick: *quick}
	short, wire := timing{21, 10 * time.Millisecond}, timing{15, 50 * time.Millisecond}
	if *quick {
		short, wire = timing{5, 4 * time.Millisecond}, timing{5, 20 * time.Millisecond}
		*messages = min(*messages, 100_000)
	}
	progress := func(format string, a ...any) { fmt.Fprintf(os.Stderr, format, a...) }

	verdicts := map[[2]string]verdict{}
	ws := workloads()
	for n, w := range ws {
		if !pick.MatchString(w.name) {
			continue
		}
		start := time.Now()
		progress("%2d of %d: %s ", n+1, len(ws), w.name)
		for _, c := range all {
			key := [2]string{c.Name, w.by}
			if _, done := verdicts[key]; !done && w.takesPart(c) {
				if verdicts[key], err = judge(ctx, c, w.by); err != nil {
					return err
				}
			}
		}
		t := short
		if w.wired {
			t = wire
		}
		rows, err := compare(ctx, w, all, t)
		if err != nil {
			return err
		}
		for k := range rows {
			rows[k].Verdict = verdicts[[2]string{rows[k].Contender, rows[k].By}]
		}
		rep.rows = append(rep.rows, rows...)
		progress("(%.0f s)\n", time.Since(start).Seconds())
	}
	if pick.MatchString("promises") {
		progress("promises of time\n")
		if rep.times, err = measurePromises(ctx, all, *quick); err != nil {
			return err
		}
	}
	if pick.MatchString("locks") {
		progress("locks that 64 callers wait for\n")
		if rep.locks, err = measureLocks(ctx, all, *quick); err != nil {
			return err
		}
	}
	if pick.MatchString("memory") {
		progress("memory of %d messages\n", *messages)
		if rep.memory, err = measureMemory(ctx, all, *messages, progress); err != nil {
			return err
		}
	}
	rep.end = time.Now()
	if err := rep.write(os.Stdout); err != nil {
		return err
	}
	if *doc == "" || *only != "" {
		return nil
	}
	return writeFile(*doc, rep.write)
}

// writeFile leaves the old file in place until the new one is whole.
func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".bench-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // once renamed, it is not there
	if err := errors.Join(write(f), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// promised is what there are promises about: differences that are smaller than what the machine does to anybody from
// one moment to the next. So only those take turns that the promise is about, many times.
type promised struct {
	noop, unsampled, sampled     *spread // added time, of the bare call and of the floors
	unsampledAlike, sampledAlike *spread // of the floors with as many attributes
	crowd, event                 *spread // added by the edge, of the time without it
}

func measurePromises(ctx context.Context, all []Contender, quick bool) (*promised, error) {
	var err error
	turns := func(w workload, t timing, names ...string) (seconds map[string][]float64) {
		if quick {
			t.rounds /= 20
		}
		var in []Contender
		for _, name := range names {
			c, missing := find(all, name)
			err = errors.Join(err, missing)
			in = append(in, c)
		}
		if err != nil {
			return nil
		}
		var got []samples
		got, err = takeTurns(ctx, w, in, t)
		seconds = map[string][]float64{}
		for k := range got {
			seconds[names[k]] = got[k].seconds
		}
		return seconds
	}
	calls := turns(inProcess()[0], timing{301, 10 * time.Millisecond},
		nameBare, nameNoop, nameFloorOff, nameFloorSameOff, nameUnsampled, nameFloor, nameFloorSame, nameSampled)
	crowd := turns(overHTTP(legacy, "echo", 64), timing{801, 50 * time.Millisecond}, nameNoEdge, nameSampled)
	events := turns(untilFirstEvent(legacy), timing{401, 50 * time.Millisecond}, nameNoEdge, nameSampled)
	if err != nil {
		return nil, err
	}
	added := func(name string) []float64 {
		return combine(calls[name], calls[nameBare], func(a, b float64) float64 { return a - b })
	}
	ofFloor := func(name, floor string) *spread {
		s, of := confident(added(name)), confident(added(floor)).Median
		return &spread{s.Low / of, s.Median / of, s.High / of}
	}
	longer := func(a, b float64) float64 { return a/b - 1 }
	return &promised{
		noop:           confident(combine(calls[nameNoop], calls[nameBare], longer)),
		unsampled:      ofFloor(nameUnsampled, nameFloorOff),
		sampled:        ofFloor(nameSampled, nameFloor),
		unsampledAlike: ofFloor(nameUnsampled, nameFloorSameOff),
		sampledAlike:   ofFloor(nameSampled, nameFloorSame),
		crowd:          confident(combine(crowd[nameSampled], crowd[nameNoEdge], longer)),
		event:          confident(combine(events[nameSampled], events[nameNoEdge], longer)),
	}, nil
}

// combine is of each round.
func combine(a, b []float64, f func(a, b float64) float64) []float64 {
	v := make([]float64, len(a))
	for k := range v {
		v[k] = f(a[k], b[k])
	}
	return v
}

// locks is how long the callers of one contender waited for locks.
type locks struct {
	contender string
	calls     int
	ours, all float64 // seconds
	byPackage map[string]float64
}

// measureLocks looks at the mutex profile of servers that 64 clients call over HTTP.
func measureLocks(ctx context.Context, all []Contender, quick bool) (found []locks, err error) {
	calls := 64 * 500
	if quick {
		calls = 64 * 50
	}
	for _, c := range all {
		switch c.Name {
		case nameBare, nameFloor, nameSampled:
			l, err := locksOf(ctx, c, calls)
			if err != nil {
				return nil, err
			}
			found = append(found, l)
		}
	}
	return found, nil
}

func locksOf(ctx context.Context, c Contender, calls int) (locks, error) {
	l := locks{contender: c.Name, calls: calls}
	r, err := newHTTPRunner(ctx, c, legacy, "echo", 64)
	if err != nil {
		return l, err
	}
	defer r.close()
	if err := r.run(64 * 10); err != nil { // connections are opened
		return l, err
	}
	if _, err := r.callers[0].call(ctx, "watch-locks"); err != nil {
		return l, err
	}
	if err := r.run(calls); err != nil {
		return l, err
	}
	if err := r.ask("locks", &l.byPackage); err != nil {
		return l, err
	}
	for p, seconds := range l.byPackage {
		l.all += seconds
		if isOurs(p) {
			l.ours += seconds
		}
	}
	return l, nil
}

// memory is the heap after so many messages.
type memory struct {
	contender string
	steps     []int
	heap      []uint64
}

func measureMemory(ctx context.Context, all []Contender, messages int, progress func(string, ...any)) (found []memory, err error) {
	const steps = 10
	for _, c := range all {
		if c.Name != nameBare && c.Name != nameSampled {
			continue
		}
		t, err := newTraffic(ctx, c)
		if err != nil {
			return nil, err
		}
		if err := t.fill(); err != nil {
			return nil, err
		}
		m := memory{contender: c.Name}
		for k := range steps {
			if err := t.send(messages / steps); err != nil {
				return nil, err
			}
			m.steps, m.heap = append(m.steps, t.sent), append(m.heap, t.heap())
			progress("  %s: %d of %d messages, %d KB\n", c.Name, t.sent, messages, m.heap[k]>>10)
		}
		t.pipeline.shutdown(ctx)
		found = append(found, m)
	}
	return found, nil
}
