// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package bench

// The report, as Markdown: it is what is printed, and what docs/performance.md is.

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

type report struct {
	machine    machine
	begin, end time.Time
	quick      bool
	rows       []row
	times      *promised // nil where it was not measured
	locks      []locks
	memory     []memory
}

// machine is what a run is worth nothing without.
type machine struct {
	cpu, system, load string
	cpus              int
	modules           []string
}

// interesting are the modules whose versions change the numbers.
var interesting = []string{
	"github.com/mark3labs/mcp-go", "github.com/mark3labs/mcp-go/otel", "go.opentelemetry.io/otel", "go.opentelemetry.io/otel/sdk/log",
	"go.opentelemetry.io/contrib/bridges/otelslog", "github.com/grafana/mcp-grafana", "github.com/stacklok/toolhive",
}

func describeMachine() machine {
	m := machine{cpu: "unknown processor", system: runtime.GOOS + "/" + runtime.GOARCH, cpus: runtime.NumCPU(), load: "unknown"}
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if k, v, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(k) == "model name" {
				m.cpu = strings.TrimSpace(v)
				break
			}
		}
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.load, _, _ = strings.Cut(string(b), " ")
	}
	m.modules = []string{runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if slices.Contains(interesting, d.Path) {
				m.modules = append(m.modules, d.Path+" "+d.Version)
			}
		}
	}
	return m
}

func isOurs(pkg string) bool {
	const root = "github.com/otelmcp/otelmcp-go"
	return pkg == root || strings.HasPrefix(pkg, root+"/") && !strings.HasPrefix(pkg, root+"/bench")
}

const head = `<!-- Written by make bench. Do not edit. -->

# What it costs

What instrumenting an MCP server or client costs in Go, with this project and with others, measured in one run in which
all took turns. ` + "`make bench`" + ` measures it on your machine and writes this file; ` + "`make budgets`" + ` holds allocations and bytes, which
are the same on every machine, in CI.
`

const howToRead = `
- **Allocations, bytes**: what the contender adds to a message, in the server's process (the client's, on the client side). The line of
  bare mcp-go has what it needs itself.
- **Time**: what it adds, of the bare server's time in the same round, and in multiples of what the floor adds: the median and, in
  brackets, the quartiles over all rounds. "–" stands where the floor is too small to be told from noise.
- **The floor** is a span, a histogram point, a count and a log event with ten attributes by hand-written calls of the SDK, that
  look nothing up and scrub nothing. "As many attributes" is the same with as many as otelmcp has of a tools/call without a session, in
  process: eleven on the span, thirteen on the event, three and four on the metrics.
- **Recorded** is what one call left behind: spans, measurements, log records. **Parent** is where the parent of the span came from, of
  what the caller sent. **Errors** is how many kinds of errors left any trace: a refusing tool, a failing handler, an unknown tool,
  an unknown method, unreadable bytes; on the client a refusal, an error and a lost connection. **Together** is how many of 16 calls
  that were in flight at once were recorded, each client counting its ids from 1 as clients do. All of it is found by asking each
  contender's exporters, not from documentation: what is cheap because it sees little shows here.
- All providers batch and discard. Those of logs take attributes as they come, as the SDK does in ` + "`exporters.Setup`" + `, whose own
  quicker search for attributes that repeat is not in these numbers. "Default log provider" shows what it costs where the SDK looks for attributes that repeat. "No-op" is without any SDK.

`

func (r report) write(out io.Writer) error {
	w := bufio.NewWriter(out)
	fmt.Fprint(w, head)
	if r.quick {
		fmt.Fprint(w, "\n**This was a quick run: allocations are right, times are not.**\n")
	}
	m := r.machine
	fmt.Fprintf(w, "\nMeasured on %s within %.0f minutes, on %s (%d CPUs, %s), load average %s at the start.\nVersions: %s.\n",
		r.begin.UTC().Format(time.DateOnly), math.Ceil(r.end.Sub(r.begin).Minutes()), m.cpu, m.cpus, m.system, m.load, strings.Join(m.modules, ", "))
	fmt.Fprint(w, "\n## What was promised\n\n")
	table(w, r.promises())
	if len(r.rows) > 0 {
		fmt.Fprint(w, "\n## The table\n", howToRead)
		table(w, r.table())
	}
	if len(r.locks) > 0 {
		fmt.Fprint(w, "\n## Locks\n\nWhat 64 callers over HTTP waited for, by the mutex profile of the server.\n\n")
		table(w, r.lockTable())
	}
	if len(r.memory) > 0 {
		fmt.Fprint(w, "\n## Memory\n\nThe heap after messages of every kind: calls, lists, errors, unreadable bytes, names that never come again, "+
			"sessions\nthat come and go.\n\n")
		table(w, r.memoryTable())
	}
	return w.Flush()
}

func (r report) table() [][]string {
	t := [][]string{{
		"workload", "contender", "allocations", "bytes", "time, of bare", "time, of the floor", "recorded", "parent", "errors", "together",
	}}
	last := ""
	for k := range r.rows {
		x := &r.rows[k]
		name := x.Workload
		if name == last {
			name = ""
		}
		last = x.Workload
		v := x.Verdict
		line := []string{
			name, x.Contender, "+" + count(x.Allocs), "+" + count(x.Bytes), percent(x.OfBare), times(x.OfFloor),
			fmt.Sprintf("%d / %d / %d", v.Spans, v.Measured, v.Records), v.Parent, fmt.Sprintf("%d of %d", v.Errors, v.Kinds), "–",
		}
		if x.Contender == nameBare {
			line[2], line[3], line[4] = count(x.Allocs), count(x.Bytes), micros(x.PerCall)
			line[6], line[7], line[8] = "–", "–", "–"
		}
		if v.Together >= 0 {
			line[9] = fmt.Sprintf("%d of %d", v.Together, together)
		}
		t = append(t, line)
	}
	return t
}

func micros(d time.Duration) string {
	return fmt.Sprintf("%.1f µs", float64(d.Nanoseconds())/1e3)
}

// count renders what was added; less than nothing is noise.
func count(v float64) string { return fmt.Sprintf("%.0f", max(0, math.Round(v))) }

func percent(s *spread) string {
	if s == nil {
		return "–"
	}
	return fmt.Sprintf("%+.0f %% [%+.0f, %+.0f]", 100*s.Median, 100*s.Low, 100*s.High)
}

func times(s *spread) string {
	if s == nil {
		return "–"
	}
	return fmt.Sprintf("%.2f [%.2f, %.2f]", s.Median, s.Low, s.High)
}

// promises says of each line that a number can decide whether it held in this run.
func (r report) promises() [][]string {
	t := [][]string{{"promise", "measured", "holds"}}
	add := func(promise, measured string, holds bool) {
		answer := "no"
		if holds {
			answer = "yes"
		}
		t = append(t, []string{promise, measured, answer})
	}
	const first = "tools/call, no session"
	if x := r.find(first, nameNoop); x != nil {
		add("no-op: at most 6 allocations", count(x.Allocs), x.Allocs <= 6.5)
	}
	for _, p := range []struct {
		name, what string
		most       float64
	}{{nameUnsampled, "not sampled", 20}, {nameSampled, "sampled", 28}} {
		if x := r.find(first, p.name); x != nil {
			add(fmt.Sprintf("three signals, %s: at most %.0f allocations", p.what, p.most), count(x.Allocs), x.Allocs <= p.most+0.5)
		}
	}
	if p := r.times; p != nil {
		add("no-op: at most 8 % of the bare call", sure(percent(p.noop)), p.noop.Median <= 0.08)
		add("three signals, not sampled: at most 1.3 × the floor", sure(times(p.unsampled))+alikeToo(p.unsampledAlike), p.unsampled.Median <= 1.3)
		add("three signals, sampled: at most 1.3 × the floor", sure(times(p.sampled))+alikeToo(p.sampledAlike), p.sampled.Median <= 1.3)
		taken := func(longer float64) float64 { return longer / (1 + longer) }
		lost := &spread{taken(p.crowd.Low), taken(p.crowd.Median), taken(p.crowd.High)}
		add("64 callers over HTTP: the edge takes at most 10 % of the throughput", sure(percent(lost)), lost.Median <= 0.1)
		add("the first event of a stream: at most 5 % later through the edge", sure(percent(p.event)), p.event.Median <= 0.05)
	}
	for _, peer := range r.peers() {
		of, fewer, faster := r.against(peer)
		add("three signals, sampled, add less than "+peer,
			fmt.Sprintf("fewer allocations in %d of %d workloads, less time in %d", fewer, of, faster), fewer == of && faster == of)
	}
	for _, l := range r.locks {
		if l.contender == nameSampled {
			add("64 callers over HTTP: no lock of otelmcp above 1 % of what is waited for", share(l.ours, l.all), l.ours <= l.all/100)
		}
	}
	if len(r.memory) == 2 {
		bare, mine := r.memory[0].growth(), r.memory[1].growth()
		add(fmt.Sprintf("memory of %d messages is flat: otelmcp keeps no more than bare mcp-go does, but 1 MB", r.memory[1].steps[len(r.memory[1].steps)-1]),
			fmt.Sprintf("%+d KB, bare %+d KB, since the first tenth", mine>>10, bare>>10), mine-bare < 1<<20)
	}
	return t
}

// sure marks an interval that is no spread of the rounds.
func sure(interval string) string { return interval + " with 95 % confidence" }

func alikeToo(of *spread) string {
	return fmt.Sprintf("; %s of the floor with as many attributes", times(of))
}

// growth is that since the first step, by when everything that is made once is there.
func (m memory) growth() int64 { return int64(m.heap[len(m.heap)-1]) - int64(m.heap[0]) } //nolint:gosec // far from overflow

func share(part, whole float64) string {
	if whole == 0 {
		return "nothing was waited for"
	}
	return fmt.Sprintf("%.2f %%", 100*part/whole)
}

func (r report) find(workload, contender string) *row {
	for k := range r.rows {
		if r.rows[k].Workload == workload && r.rows[k].Contender == contender {
			return &r.rows[k]
		}
	}
	return nil
}

// peers are those who make spans, and are neither of us nor the floor.
func (r report) peers() (names []string) {
	for k := range r.rows {
		x := &r.rows[k]
		if x.Verdict.Spans > 0 && !strings.HasPrefix(x.Contender, "otelmcp") && !strings.HasPrefix(x.Contender, "floor") &&
			!slices.Contains(names, x.Contender) {
			names = append(names, x.Contender)
		}
	}
	return names
}

// against counts in how many workloads a peer makes spans, and in how many of them otelmcp adds less.
func (r report) against(peer string) (of, fewer, faster int) {
	for k := range r.rows {
		x := &r.rows[k]
		if mine := r.find(x.Workload, nameSampled); mine != nil && x.Contender == peer && x.Verdict.Spans > 0 {
			of++
			if math.Round(mine.Allocs) < math.Round(x.Allocs) {
				fewer++
			}
			if mine.OfBare.Median < x.OfBare.Median {
				faster++
			}
		}
	}
	return of, fewer, faster
}

func (r report) lockTable() [][]string {
	t := [][]string{{"contender", "package that held the lock", "share of all waiting", "waited for each call"}}
	for _, l := range r.locks {
		names := make([]string, 0, len(l.byPackage))
		for p := range l.byPackage {
			names = append(names, p)
		}
		slices.SortFunc(names, func(a, b string) int { return cmp.Compare(l.byPackage[b], l.byPackage[a]) })
		name := l.contender
		for k, p := range names {
			if k < 5 || isOurs(p) {
				t = append(t, []string{name, "`" + p + "`", share(l.byPackage[p], l.all), fmt.Sprintf("%.2f µs", 1e6*l.byPackage[p]/float64(l.calls))})
				name = ""
			}
		}
	}
	return t
}

func (r report) memoryTable() [][]string {
	t := [][]string{{"messages"}}
	for k, m := range r.memory {
		t[0] = append(t[0], m.contender)
		for n, sent := range m.steps {
			if k == 0 {
				t = append(t, []string{strconv.Itoa(sent)})
			}
			t[n+1] = append(t[n+1], fmt.Sprintf("%d KB", m.heap[n]>>10))
		}
	}
	return t
}

// table aligns the columns, so that it can be read in a terminal as well.
func table(w io.Writer, rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, r := range rows {
		for k, cell := range r {
			width[k] = max(width[k], utf8.RuneCountInString(cell))
		}
	}
	line := func(cells []string, pad string) {
		for k, cell := range cells {
			fmt.Fprint(w, "| ", cell, strings.Repeat(pad, width[k]-utf8.RuneCountInString(cell)), " ")
		}
		fmt.Fprintln(w, "|")
	}
	line(rows[0], " ")
	line(make([]string, len(width)), "-")
	for _, r := range rows[1:] {
		line(r, " ")
	}
}
