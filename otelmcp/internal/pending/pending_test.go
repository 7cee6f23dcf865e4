// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package pending

// This file tests the order in which a table gives back what waits in it, that nothing leaves it twice or unseen, and
// that what has left it is not held any more.

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"weak"
)

// table is what a Table and the model of one have in common.
type table interface {
	Empty() bool
	Add(key string, v int) (evicted int, full bool)
	Take(key string) (v int, ok bool)
	TakeFunc(key string, match func(int) bool) (v int, ok bool)
	All(keys ...string) iter.Seq[int]
	Drain() []int
}

// perform does what a line says, such as "add k 1", and returns what came of it.
func perform(t table, line string) string {
	words := append(strings.Fields(line), "", "")
	key := words[1]
	n, _ := strconv.Atoi(words[2])
	odd := func(v int) bool { return v%2 == 1 }
	found := func(v int, ok bool) string {
		switch {
		case ok:
			return strconv.Itoa(v)
		case v != 0:
			return fmt.Sprintf("nothing, and yet %d", v)
		}
		return "nothing"
	}
	switch words[0] {
	case "add":
		old, full := t.Add(key, n)
		if full || old != 0 {
			return fmt.Sprintf("evicts %d, %t", old, full)
		}
		return ""
	case "take":
		return found(t.Take(key))
	case "take-odd":
		return found(t.TakeFunc(key, odd))
	case "all":
		return fmt.Sprint(slices.AppendSeq([]int{}, t.All(strings.Fields(line)[1:]...)))
	case "first-odd":
		for v := range t.All(strings.Fields(line)[1:]...) {
			if odd(v) {
				return found(v, true)
			}
		}
		return "nothing"
	case "empty":
		return strconv.FormatBool(t.Empty())
	case "drain":
		return fmt.Sprint(t.Drain())
	}
	panic(line)
}

// consistent fails if the parts of a table do not say the same.
func consistent(t *testing.T, table *Table[int]) {
	t.Helper()
	length := func(q *queue[int], in int) (n int) {
		var last *entry[int]
		for e := q.first; e != nil; last, e, n = e, e.links[in].next, n+1 {
			if e.links[in].prev != last {
				t.Error("two entries beside each other do not agree")
			}
		}
		if q.last != last {
			t.Error("the last entry is not the last one")
		}
		return n
	}
	n := 0
	for key, q := range table.byKey {
		same := length(q, inKey)
		n += same
		if same == 0 {
			t.Errorf("an empty list stays under %q", key)
		}
	}
	spares := 0
	for e := table.spares.entry; e != nil; e = e.links[inAll].next {
		spares++
		if e.key != "" || e.value != 0 {
			t.Errorf("%v is kept under %q, and was taken", e.value, e.key)
		}
	}
	if most := table.keeps(); spares != table.spares.entries || spares > most || len(table.spares.queues) > most {
		t.Errorf("%d entries and %d queues are kept, and may be %d", spares, len(table.spares.queues), most)
	}
	all := length(&table.all, inAll)
	if counted := int(table.n.Load()); n != all || counted != n || n > max(table.max, 0) {
		t.Errorf("%d entries have a key and %d a place, %d are counted, and %d may be", n, all, counted, table.max)
	}
}

func TestTable(t *testing.T) {
	for _, c := range []struct {
		name  string
		size  int
		lines []string // what is done, and after a colon what comes of it
	}{
		{"nothing waits", 3, []string{"empty: true", "all k: []", "all: []", "take k: nothing", "take-odd k: nothing", "first-odd k: nothing", "drain: []"}},
		{"one", 3, []string{"add k 1:", "empty: false", "all k: [1]", "all l: []", "take l: nothing", "take k: 1", "take k: nothing", "all k: []", "empty: true"}},
		{"first in, first out", 3, []string{"add k 1:", "add k 2:", "add k 3:", "take k: 1", "take k: 2", "take k: 3", "take k: nothing"}},
		{"each key has its order", 9, []string{"add k 1:", "add l 2:", "add k 3:", "add l 4:", "take l: 2", "take k: 1", "take k: 3", "take l: 4"}},
		{"a key is used again", 3, []string{"add k 1:", "take k: 1", "add k 2:", "all k: [2]", "take k: 2", "empty: true"}},
		{"no key is a key", 3, []string{"add: ", "all: [0]", "all k: []", "take: 0", "empty: true"}},
		{"the same value twice", 3, []string{"add k 1:", "add k 1:", "take k: 1", "all k: [1]", "take k: 1", "all k: []"}},

		{"the oldest goes, whatever its key", 2, []string{"add k 1:", "add l 2:", "add m 3: evicts 1, true", "all k: []", "take l: 2", "take m: 3"}},
		{"the oldest of a key", 2, []string{"add k 1:", "add k 2:", "add k 3: evicts 1, true", "add k 4: evicts 2, true", "take k: 3", "take k: 4", "take k: nothing"}},
		{"what was taken makes room", 2, []string{"add k 1:", "add l 2:", "take k: 1", "add m 3:", "add n 4: evicts 2, true", "drain: [3 4]"}},
		{"room for one", 1, []string{"add k 1:", "add k 2: evicts 1, true", "add l 3: evicts 2, true", "all k: []", "take l: 3", "add k 4:"}},
		{"room for none", 0, []string{"add k 1: evicts 1, true", "add k 2: evicts 2, true", "all k: []", "empty: true", "drain: []"}},
		{"less than none", -1, []string{"add k 1: evicts 1, true", "empty: true"}},

		{"the oldest that matches", 9, []string{"add k 2:", "add k 1:", "add k 4:", "add k 3:", "take-odd k: 1", "take-odd k: 3", "take-odd k: nothing", "drain: [2 4]"}},
		{"one that matches elsewhere", 9, []string{"add k 2:", "add l 1:", "take-odd k: nothing", "first-odd k: nothing", "first-odd l: 1", "drain: [2 1]"}},
		{"taking from the middle keeps the order", 9, []string{"add k 2:", "add k 1:", "add k 4:", "take-odd k: 1", "take k: 2", "take k: 4"}},
		{"and who goes next", 3, []string{"add k 2:", "add k 1:", "add k 4:", "take-odd k: 1", "add k 6:", "add k 8: evicts 2, true", "drain: [4 6 8]"}},
		{"looking leaves it", 3, []string{"add k 2:", "add k 1:", "first-odd k: 1", "first-odd k: 1", "take k: 2", "take k: 1"}},
		{"and its turn to go", 2, []string{"add k 1:", "add k 2:", "first-odd k: 1", "add k 3: evicts 1, true"}},

		{"one key after the other", 9, []string{"add k 1:", "add l 2:", "add k 3:", "add m 4:", "all l k: [2 1 3]", "all k x l: [1 3 2]", "first-odd m l k: 1"}},
		{"all of them in their order", 9, []string{"add k 1:", "add l 2:", "add k 3:", "take l: 2", "add l 4:", "all: [1 3 4]"}},

		{"draining has the order of all", 9, []string{"add k 1:", "add l 2:", "add k 3:", "add m 4:", "take l: 2", "drain: [1 3 4]", "empty: true", "all k: []", "drain: []"}},
		{"a drained table goes on", 2, []string{"add k 1:", "add k 2:", "drain: [1 2]", "add k 3:", "add k 4:", "add k 5: evicts 3, true", "take k: 4"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := NewTable[int](c.size)
			for n, line := range c.lines {
				do, want, _ := strings.Cut(line, ":")
				if got := perform(table, do); got != strings.TrimSpace(want) {
					t.Errorf("%d: %s: got %q", n, line, got)
				}
				consistent(t, table)
			}
		})
	}
}

// model is a table as one would write it without a care for what it costs.
type model struct {
	size int
	all  []struct {
		key string
		v   int
	}
}

func (m *model) find(key string, match func(int) bool) int {
	for i, e := range m.all {
		if e.key == key && match(e.v) {
			return i
		}
	}
	return -1
}

func (m *model) remove(i int) int {
	v := m.all[i].v
	m.all = append(m.all[:i:i], m.all[i+1:]...)
	return v
}

func (m *model) Empty() bool { return len(m.all) == 0 }

func (m *model) Add(key string, v int) (evicted int, full bool) {
	m.all = append(m.all, struct {
		key string
		v   int
	}{key, v})
	if len(m.all) > m.size {
		return m.remove(0), true
	}
	return 0, false
}

func (m *model) Take(key string) (int, bool) {
	return m.TakeFunc(key, func(int) bool { return true })
}

func (m *model) TakeFunc(key string, match func(int) bool) (int, bool) {
	if i := m.find(key, match); i >= 0 {
		return m.remove(i), true
	}
	return 0, false
}

func (m *model) All(keys ...string) iter.Seq[int] {
	var all []int
	for _, key := range keys {
		for _, e := range m.all {
			if e.key == key {
				all = append(all, e.v)
			}
		}
	}
	if len(keys) == 0 {
		for _, e := range m.all {
			all = append(all, e.v)
		}
	}
	return slices.Values(all)
}

func (m *model) Drain() []int {
	all := []int{}
	for !m.Empty() {
		all = append(all, m.remove(0))
	}
	return all
}

func TestModel(t *testing.T) {
	// A table is full most of the time, or has an entry now and then.
	mixes := [][]string{
		{"add", "add", "add", "add", "take", "take-odd", "first-odd", "all", "empty"},
		{"add", "take", "take", "take-odd", "first-odd", "all", "empty"},
	}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		size, keys, mix := r.IntN(12), 1+r.IntN(6), mixes[r.IntN(len(mixes))]
		table, naive := NewTable[int](size), &model{size: size}
		var lines []string
		for n := range 300 {
			line := fmt.Sprintf("%s %c %d", mix[r.IntN(len(mix))], 'a'+r.IntN(keys), n+1)
			if r.IntN(100) == 0 {
				line = "drain"
			}
			lines = append(lines, line)
			if got, want := perform(table, line), perform(naive, line); got != want {
				t.Fatalf("seed %d, size %d: after %q: got %q, want %q", seed, size, lines, got, want)
			}
			consistent(t, table)
		}
	}
}

// ways asks the entries under a key one after the other, until match says yes.
var ways = map[string]func(*Table[int], string, func(int) bool) (int, bool){
	"All": func(t *Table[int], key string, match func(int) bool) (int, bool) {
		for v := range t.All(key) {
			if match(v) {
				return v, true
			}
		}
		return 0, false
	},
	"TakeFunc": (*Table[int]).TakeFunc,
}

// The oldest is asked first, and nobody after the one that matches: a match may change what it matches.
func TestMatchIsAskedInOrder(t *testing.T) {
	for name, method := range ways {
		table := NewTable[int](9)
		for n := range 5 {
			table.Add("k", n)
			table.Add("l", 10+n)
		}
		var asked []int
		v, ok := method(table, "k", func(v int) bool {
			asked = append(asked, v)
			return v == 3
		})
		if v != 3 || !ok || !slices.Equal(asked, []int{1, 2, 3}) { // 0 made room for the last
			t.Errorf("%s returns %d, %t and asks %v", name, v, ok, asked)
		}
	}
}

// A match that panics leaves the table as it was, and usable.
func TestMatchPanics(t *testing.T) {
	for name, method := range ways {
		table := NewTable[int](9)
		table.Add("k", 1)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s swallows the panic", name)
				}
			}()
			_, _ = method(table, "k", func(int) bool { panic("no") })
		}()
		consistent(t, table)
		if v, ok := table.Take("k"); v != 1 || !ok {
			t.Errorf("got %d, %t", v, ok)
		}
	}
}

// What has left the table is not held by it, nor is a key.
func TestHoldsNothing(t *testing.T) {
	type big struct{ _ [1 << 10]byte }
	table := NewTable[*big](4)
	var gone []weak.Pointer[big]
	add := func(key string) {
		v := new(big)
		gone = append(gone, weak.Make(v))
		table.Add(key, v)
	}
	for n := range 100 { // most are evicted
		add("k")
		add(strconv.Itoa(n))
	}
	for range 2 { // of the rest the two under k are taken
		if _, ok := table.Take("k"); !ok {
			t.Error("k is not there")
		}
	}
	kept := new(big)
	table.Add("k", kept)
	add("k")
	table.TakeFunc("k", func(v *big) bool { return v != kept })
	table.Take("98")
	table.Take("99")
	runtime.GC()
	for n, p := range gone {
		if p.Value() != nil {
			t.Errorf("%d is held", n)
		}
	}
	if v, ok := table.Take("k"); v != kept || !ok || len(table.byKey) != 0 || !table.Empty() {
		t.Errorf("what is left is not what was kept: %v", table.byKey)
	}
	runtime.KeepAlive(table)
}

// Whatever many do at once, each value leaves the table exactly once, those of one key in the order they came in.
func TestConcurrent(t *testing.T) {
	for _, size := range []int{1, 7, 1 << 20} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			const keys, each = 4, 2000
			table := NewTable[int](size)
			var left [keys * each]atomic.Int32
			var adding, taking sync.WaitGroup
			var added atomic.Bool
			for k := range keys {
				key := strconv.Itoa(k)
				adding.Go(func() {
					for n := range each {
						if v, full := table.Add(key, k*each+n); full {
							left[v].Add(1)
						}
					}
				})
				taking.Go(func() {
					last := -1
					for n := 0; ; n++ {
						end := added.Load() // before the look that finds nothing
						v, ok := table.Take(key)
						if n%2 == 1 && !ok {
							v, ok = table.TakeFunc(key, func(v int) bool { return v/each == k })
						}
						switch {
						case ok && (v/each != k || v <= last):
							t.Errorf("%d comes out under %d after %d", v, k, last)
							return
						case ok:
							left[v].Add(1)
							last = v
						case end:
							return
						default:
							runtime.Gosched()
						}
					}
				})
				taking.Go(func() {
					for !added.Load() {
						for v := range table.All(key) {
							if v/each != k {
								t.Errorf("%d is found under %d", v, k)
							}
						}
						_ = table.Empty()
						runtime.Gosched()
					}
				})
			}
			drained := make(chan struct{})
			go func() {
				defer close(drained)
				for range 5 {
					for _, v := range table.Drain() {
						left[v].Add(1)
					}
					runtime.Gosched()
				}
			}()
			adding.Wait()
			<-drained
			added.Store(true)
			taking.Wait()
			for v := range left {
				if n := left[v].Load(); n != 1 {
					t.Errorf("%d left %d times", v, n)
				}
			}
			if !table.Empty() || len(table.Drain()) > 0 {
				t.Error("something is left")
			}
			consistent(t, table)
		})
	}
}

// A peer that uses one key for everything loses the oldest like any other, and answering it allocates nothing.
func TestOneKey(t *testing.T) {
	const size = 1 << 12
	table := NewTable[int](size)
	for n := range 3 * size {
		if v, full := table.Add("k", n); full != (n >= size) || full && v != n-size {
			t.Fatalf("%d evicts %d, %t", n, v, full)
		}
	}
	if got := testing.AllocsPerRun(100, func() {
		for range table.All("k") {
			break
		}
		table.Take("k")
	}); got > 0 {
		t.Errorf("%v allocations", got)
	}
	if n := len(table.Drain()); n != size-101 { // one run more, to warm up
		t.Errorf("%d are drained", n)
	}
}

// A table of bytes lets the oldest make room, as many as it takes, and keeps nothing that is larger than it.
func TestBytes(t *testing.T) {
	table := NewSizedTable[int](4, 100)
	for n, size := range []int{40, 40, 20} {
		if old := table.AddSized("k", n, size); len(old) > 0 {
			t.Errorf("%d evicts %v", n, old)
		}
	}
	if old := table.AddSized("l", 3, 60); !slices.Equal(old, []int{0, 1}) {
		t.Errorf("60 bytes evict %v", old)
	}
	if old := table.AddSized("l", 4, 101); !slices.Equal(old, []int{4}) {
		t.Errorf("what has no room at all evicts %v", old)
	}
	if v, ok := table.TakeLast("k", func(int) bool { return true }); v != 2 || !ok || table.bytes != 60 {
		t.Errorf("got %d, %t, and %d bytes are left", v, ok, table.bytes)
	}
	for n := range 3 {
		table.AddSized("m", 5+n, 0)
	}
	if old := table.AddSized("m", 8, 0); !slices.Equal(old, []int{3}) || table.bytes != 0 {
		t.Errorf("a fifth entry evicts %v, and %d bytes are left", old, table.bytes)
	}
	consistent(t, table)
}

// A long key is kept as something short, which stands for it alone.
func TestLongKeys(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	table := NewTable[int](4)
	table.Add(long, 1)
	table.Add(long+"y", 2)
	for key := range table.byKey {
		if len(key) > maxKey {
			t.Errorf("a key of %d bytes is kept", len(key))
		}
	}
	if v, _ := table.Take(long + "y"); v != 2 || Key(Key(long)) != Key(long) || Key("k") != "k" {
		t.Errorf("got %d", v)
	}
	if v, _ := table.Take(Key(long)); v != 1 {
		t.Errorf("got %d", v)
	}
}
