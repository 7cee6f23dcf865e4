// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package bench

// The budgets: what otelmcp adds to a message, in budgets.json, which only ever goes down.

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
)

var lower = flag.Bool("lower", false, "write budgets.json anew where less is needed now, and add what is not in it")

const budgetFile = "budgets.json"

// slack is by how many bytes two runs may differ. A batch of messages meets the growth of a buffer or a map that
// another one does not, and that comes to some bytes for each message. Allocations have no slack.
func slack(n uint64) uint64 { return 16 + n/100 }

// budget is what is added to one message.
type budget struct {
	Allocations uint64 `json:"allocations"`
	Bytes       uint64 `json:"bytes"`
}

// budgets are by workload and contender.
type budgets map[string]map[string]budget

func readBudgets(b []byte) (all budgets, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	err = d.Decode(&all)
	return all, err
}

// budgeted are the contenders that have budgets.
func budgeted(c Contender) bool {
	switch c.Name {
	case nameNoop, nameUnset, nameUnsampled, nameSampled, nameContent:
		return true
	}
	return false
}

// measureExact starts a contender at a workload and counts what a message allocates.
func measureExact(t *testing.T, w workload, c Contender) usage {
	t.Helper()
	r, err := w.start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	u, err := exact(r)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func skipWithRace(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("skipped: the race detector changes what is allocated; make budgets runs it without")
	}
}

func TestBudget(t *testing.T) {
	skipWithRace(t)
	file, err := os.ReadFile(budgetFile)
	if err != nil && (!*lower || !errors.Is(err, fs.ErrNotExist)) {
		t.Fatal(err)
	}
	allowed := budgets{}
	if err == nil {
		if allowed, err = readBudgets(file); err != nil {
			t.Fatal(err)
		}
	}
	found := budgets{}
	less := 0
	for _, w := range inProcess() {
		bare := measureExact(t, w, must(find(Contenders(), nameBare)))
		found[w.name] = map[string]budget{}
		for _, c := range Contenders() {
			if !budgeted(c) || !w.takesPart(c) {
				continue
			}
			found[w.name][c.Name] = allowed[w.name][c.Name] // for those that -run leaves out
			t.Run(w.name+"/"+c.Name, func(t *testing.T) {
				got := measureExact(t, w, c)
				added := budget{sub(got.Mallocs, bare.Mallocs), sub(got.Bytes, bare.Bytes)}
				most, known := allowed[w.name][c.Name]
				if !known && !*lower {
					t.Fatalf("no budget; it adds %d allocations, %d bytes. Add it with: make budgets-lower", added.Allocations, added.Bytes)
				}
				t.Logf("adds %d allocations, %d bytes; the budget is %d, %d", added.Allocations, added.Bytes, most.Allocations, most.Bytes)
				if known && (added.Allocations > most.Allocations || added.Bytes > most.Bytes+slack(most.Bytes)) {
					t.Errorf("adds %d allocations, %d bytes; the budget is %d, %d. A budget only goes down: make it cheaper",
						added.Allocations, added.Bytes, most.Allocations, most.Bytes)
				}
				if known && (added.Allocations < most.Allocations || added.Bytes+slack(most.Bytes) < most.Bytes) {
					less++
				} else if known {
					added = most // a few bytes less is no news
				}
				found[w.name][c.Name] = budget{min(added.Allocations, most.Allocations), min(added.Bytes, most.Bytes)}
				if !known {
					found[w.name][c.Name] = added
				}
			})
		}
	}
	for name, of := range allowed {
		for contender := range of {
			if _, ok := found[name][contender]; !ok {
				t.Errorf("%s has a budget for %q of %q, and there is no such thing", budgetFile, contender, name)
			}
		}
	}
	if !*lower {
		if less > 0 {
			t.Logf("%d budgets are higher than they need to be. Lower them with: make budgets-lower", less)
		}
		return
	}
	b, err := json.MarshalIndent(found, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(budgetFile, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sub is what is added; less than nothing is nothing.
func sub(a, b uint64) uint64 { return max(a, b) - b }

// TestBudgetsOnlyGoDown compares with every version of the file that the history has.
func TestBudgetsOnlyGoDown(t *testing.T) {
	now, err := readBudgets(must(os.ReadFile(budgetFile)))
	if err != nil {
		t.Fatal(err)
	}
	git := func(args ...string) ([]byte, error) {
		return exec.CommandContext(t.Context(), "git", args...).Output()
	}
	commits, err := git("log", "--format=%H", "--", budgetFile)
	if err != nil {
		t.Skip("skipped: there is no history to compare with here:", err)
	}
	for commit := range strings.FieldsSeq(string(commits)) {
		old, err := git("show", commit+":./"+budgetFile)
		if err != nil {
			continue // it was deleted there, or is beyond a shallow history
		}
		was, err := readBudgets(old)
		if err != nil {
			t.Fatalf("%s of %s: %v", budgetFile, commit, err)
		}
		for _, r := range raised(was, now) {
			t.Errorf("since %.10s: %s", commit, r)
		}
	}
}

// raised returns every budget that is higher than it was.
func raised(was, now budgets) (all []string) {
	for name, of := range was {
		for contender, b := range of {
			if n, ok := now[name][contender]; ok && (n.Allocations > b.Allocations || n.Bytes > b.Bytes) {
				all = append(all, fmt.Sprintf("the budget of %q for %q was raised from %v to %v", contender, name, b, n))
			}
		}
	}
	return all
}

func TestRaisedIsSeen(t *testing.T) {
	was := budgets{"w": {"c": {5, 128}, "gone": {1, 1}}}
	for _, tt := range []struct {
		now  budget
		want int
	}{{budget{5, 128}, 0}, {budget{4, 64}, 0}, {budget{6, 128}, 1}, {budget{5, 129}, 1}, {budget{4, 129}, 1}} {
		if got := raised(was, budgets{"w": {"c": tt.now, "new": {9, 9}}}); len(got) != tt.want {
			t.Errorf("from %v to %v: %q, want %d", was["w"]["c"], tt.now, got, tt.want)
		}
	}
}

// TestDesignBudgets holds what the documentation promises, whatever budgets.json says, and that all three signals of
// otelmcp allocate less than the traces of mcp-go's own adapter where both see a call.
func TestDesignBudgets(t *testing.T) {
	skipWithRace(t)
	w := inProcess()[0]
	bare := measureExact(t, w, must(find(Contenders(), nameBare)))
	added := func(name string) uint64 {
		return sub(measureExact(t, w, must(find(Contenders(), name))).Mallocs, bare.Mallocs)
	}
	for name, most := range map[string]uint64{nameNoop: 6, nameUnset: 6, nameUnsampled: 20, nameSampled: 28} {
		if n := added(name); n > most {
			t.Errorf("%s: %s adds %d allocations, the promise is %d", w.name, name, n, most)
		}
	}
	mine, traces, both := added(nameSampled), added(nameAdapter), added(nameAdapterLog)
	t.Logf("three signals add %d allocations, traces of mcp-go/otel %d, its traces and logs %d", mine, traces, both)
	if mine >= traces || mine >= both {
		t.Errorf("three signals add %d allocations, traces of mcp-go/otel %d, its traces and logs %d", mine, traces, both)
	}
}
