// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// What is instrumented once is instrumented: a second call finds the first one's
// result.

import (
	"runtime"
	"sync"
	"sync/atomic"
	"weak"
)

// onceEach finds what was made for a K, and keeps neither alive: it is for a V
// that its K refers to once it is made.
type onceEach[K, V any] struct {
	m sync.Map // weak.Pointer[K] → *once[V]
}

type once[V any] struct {
	making sync.Mutex
	made   atomic.Pointer[weak.Pointer[V]]
}

// get returns what was made for k, or makes it, and says which. Different ones are made
// at the same time.
func (o *onceEach[K, V]) get(k *K, newV func() *V) (v *V, fresh bool) {
	e := o.entry(k)
	e.making.Lock()
	defer e.making.Unlock()
	if v := e.value(); v != nil {
		return v, false
	}
	v = newV()
	made := weak.Make(v)
	e.made.Store(&made)
	return v, true
}

// find returns what was made for k, or nil.
func (o *onceEach[K, V]) find(k *K) *V {
	if e, ok := o.m.Load(weak.Make(k)); ok {
		return e.(*once[V]).value()
	}
	return nil
}

func (o *onceEach[K, V]) entry(k *K) *once[V] {
	key := weak.Make(k)
	e, again := o.m.Load(key)
	if !again {
		e, again = o.m.LoadOrStore(key, &once[V]{})
	}
	if !again {
		runtime.AddCleanup(k, func(key weak.Pointer[K]) { o.m.Delete(key) }, key)
	}
	return e.(*once[V])
}

func (e *once[V]) value() *V {
	if made := e.made.Load(); made != nil {
		return made.Value()
	}
	return nil
}
