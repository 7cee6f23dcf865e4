// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package pending keeps what waits for an answer, by the key that the answer
// will carry. A peer may use a key again before its first use is answered:
// answers then take what waits under it first in, first out.
package pending

import (
	"container/list"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
)

// Table holds at most its maximum of entries. It is safe for concurrent use.
type Table[T any] struct {
	mu    sync.Mutex
	n     atomic.Int64
	max   int
	all   list.List // of *entry[T], oldest first
	byKey map[string][]*list.Element
}

type entry[T any] struct {
	key   string
	value T
}

// NewTable returns an empty table for at most size entries.
func NewTable[T any](size int) *Table[T] {
	return &Table[T]{max: size, byKey: make(map[string][]*list.Element)}
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
	if t.all.Len() >= t.max {
		evicted, full = t.remove(t.all.Front()), true
	}
	t.n.Add(1)
	t.byKey[key] = append(t.byKey[key], t.all.PushBack(&entry[T]{key, v}))
	return evicted, full
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
	for _, e := range t.byKey[key] {
		if match(e.Value.(*entry[T]).value) {
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
			for _, e := range t.byKey[key] {
				if !yield(e.Value.(*entry[T]).value) {
					return
				}
			}
		}
		if len(keys) > 0 {
			return
		}
		for e := t.all.Front(); e != nil; e = e.Next() {
			if !yield(e.Value.(*entry[T]).value) {
				return
			}
		}
	}
}

// Drain removes and returns all entries, oldest first.
func (t *Table[T]) Drain() []T {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]T, 0, t.all.Len())
	for t.all.Len() > 0 {
		all = append(all, t.remove(t.all.Front()))
	}
	return all
}

func (t *Table[T]) remove(e *list.Element) T {
	key := e.Value.(*entry[T]).key
	if same := t.byKey[key]; len(same) == 1 {
		delete(t.byKey, key)
	} else {
		at := slices.Index(same, e)
		t.byKey[key] = slices.Delete(same, at, at+1)
	}
	t.n.Add(-1)
	return t.all.Remove(e).(*entry[T]).value
}
