// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package pending keeps what waits for an answer, by the key that the answer
// will carry. A peer may use a key again before its first use is answered:
// answers then take what waits under it first in, first out.
//
// A peer chooses keys, and much of what is kept. So a table is bounded in entries
// and, where their sizes differ, in bytes, and a long key is kept as its digest.
package pending

import (
	"iter"
	"sync"
	"sync/atomic"
)

// Table holds at most its maximum of entries, and of bytes. It is safe for
// concurrent use.
type Table[T any] struct {
	mu    sync.Mutex
	n     atomic.Int64
	max   int
	bytes int      // of the entries, as far as it was told
	most  int      // of bytes; 0 where they are not bounded
	all   queue[T] // oldest first
	byKey map[string]*queue[T]
	// A few entries and queues that are not in use.
	spares struct {
		entry   *entry[T] // the first one
		entries int
		queues  []*queue[T]
	}
}

// keeps is how many entries that are not in use a table keeps.
func (t *Table[T]) keeps() int { return t.max/64 + 1 }

// entry is in two queues: that of all entries, and that of its key.
type entry[T any] struct {
	key   string
	value T
	size  int
	links [2]link[T]
}

type link[T any] struct{ prev, next *entry[T] }

const (
	inAll = iota
	inKey
)

// queue is a list of entries.
type queue[T any] struct{ first, last *entry[T] }

func (q *queue[T]) push(e *entry[T], in int) {
	e.links[in] = link[T]{prev: q.last}
	if q.last == nil {
		q.first = e
	} else {
		q.last.links[in].next = e
	}
	q.last = e
}

func (q *queue[T]) remove(e *entry[T], in int) {
	l := e.links[in]
	if l.prev == nil {
		q.first = l.next
	} else {
		l.prev.links[in].next = l.next
	}
	if l.next == nil {
		q.last = l.prev
	} else {
		l.next.links[in].prev = l.prev
	}
}

// NewTable returns an empty table for at most size entries, which should be of
// about one size: what they keep alive is bounded by nothing else.
func NewTable[T any](size int) *Table[T] {
	return &Table[T]{max: size, byKey: make(map[string]*queue[T])}
}

// NewSizedTable returns an empty table for at most entries that together keep at
// most bytes alive, as [Table.AddSized] is told.
func NewSizedTable[T any](entries, bytes int) *Table[T] {
	t := NewTable[T](entries)
	t.most = bytes
	return t
}

// Empty reports whether nothing waits.
func (t *Table[T]) Empty() bool { return t.n.Load() == 0 }

// Add puts v under key. When the table is full the oldest entry makes room and
// is returned: nothing that waits is forgotten unseen.
func (t *Table[T]) Add(key string, v T) (evicted T, full bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.max <= 0 { // there is no room to make
		return v, true
	}
	if t.n.Load() >= int64(t.max) {
		evicted, full = t.remove(t.all.first), true
	}
	t.add(Key(key), v, 0)
	return evicted, full
}

// AddSized puts v, which keeps size bytes alive, under key. What has to make room
// for it is returned, the oldest first; that is v itself if it is larger than the
// table may be.
func (t *Table[T]) AddSized(key string, v T, size int) (evicted []T) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.max <= 0 || size > t.most {
		return []T{v}
	}
	for t.n.Load() >= int64(t.max) || t.bytes+size > t.most {
		evicted = append(evicted, t.remove(t.all.first))
	}
	t.add(Key(key), v, size)
	return evicted
}

func (t *Table[T]) add(key string, v T, size int) {
	t.n.Add(1)
	t.bytes += size
	e := t.spares.entry
	if e == nil {
		e = &entry[T]{}
	} else {
		t.spares.entry = e.links[inAll].next
		t.spares.entries--
	}
	e.key, e.value, e.size = key, v, size
	t.all.push(e, inAll)
	t.queueOf(key).push(e, inKey)
}

func (t *Table[T]) queueOf(key string) *queue[T] {
	q := t.byKey[key]
	if q != nil {
		return q
	}
	if n := len(t.spares.queues); n > 0 {
		q, t.spares.queues = t.spares.queues[n-1], t.spares.queues[:n-1]
	} else {
		q = &queue[T]{}
	}
	t.byKey[key] = q
	return q
}

// under returns what is under key, which may be nothing.
func (t *Table[T]) under(key string) (q queue[T]) {
	if q := t.byKey[Key(key)]; q != nil {
		return *q
	}
	return q
}

// Take removes and returns the oldest entry under key.
func (t *Table[T]) Take(key string) (v T, ok bool) {
	return t.TakeFunc(key, func(T) bool { return true })
}

// TakeFunc removes and returns the oldest entry under key for which match is
// true. match must not call the table.
func (t *Table[T]) TakeFunc(key string, match func(T) bool) (v T, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := t.under(key).first; e != nil; e = e.links[inKey].next {
		if match(e.value) {
			return t.remove(e), true
		}
	}
	return v, false
}

// TakeLast is TakeFunc of the newest entry.
func (t *Table[T]) TakeLast(key string, match func(T) bool) (v T, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := t.under(key).last; e != nil; e = e.links[inKey].prev {
		if match(e.value) {
			return t.remove(e), true
		}
	}
	return v, false
}

// All goes through the entries under the keys, of each key the oldest first, or
// without keys through all of them. The loop must not call the table.
func (t *Table[T]) All(keys ...string) iter.Seq[T] {
	return func(yield func(T) bool) {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, key := range keys {
			for e := t.under(key).first; e != nil; e = e.links[inKey].next {
				if !yield(e.value) {
					return
				}
			}
		}
		if len(keys) > 0 {
			return
		}
		for e := t.all.first; e != nil; e = e.links[inAll].next {
			if !yield(e.value) {
				return
			}
		}
	}
}

// Drain removes and returns all entries, oldest first.
func (t *Table[T]) Drain() []T {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]T, 0, t.n.Load())
	for t.all.first != nil {
		all = append(all, t.remove(t.all.first))
	}
	return all
}

func (t *Table[T]) remove(e *entry[T]) T {
	v := e.value
	t.n.Add(-1)
	t.bytes -= e.size
	t.all.remove(e, inAll)
	q := t.byKey[e.key]
	q.remove(e, inKey)
	if q.first == nil {
		delete(t.byKey, e.key)
		if len(t.spares.queues) < t.keeps() {
			t.spares.queues = append(t.spares.queues, q)
		}
	}
	*e = entry[T]{}
	if t.spares.entries < t.keeps() {
		e.links[inAll].next, t.spares.entry = t.spares.entry, e
		t.spares.entries++
	}
	return v
}
