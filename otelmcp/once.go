// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// What is instrumented once is instrumented: a second call finds the first one's
// result.

import (
	"runtime"
	"sync"
	"weak"
)

// onceEach finds what was made for a K, and keeps neither alive: it is for a V
// that its K refers to once it is made.
type onceEach[K, V any] struct {
	mu sync.Mutex
	m  map[weak.Pointer[K]]weak.Pointer[V]
}

// get returns what was made for k, or makes it, and says which. What makes it must
// not call code of the program, since it holds the lock.
func (o *onceEach[K, V]) get(k *K, newV func() *V) (v *V, fresh bool) {
	key := weak.Make(k)
	o.mu.Lock()
	defer o.mu.Unlock()
	if v := o.m[key].Value(); v != nil {
		return v, false
	}
	v = newV()
	if o.m == nil {
		o.m = make(map[weak.Pointer[K]]weak.Pointer[V])
	}
	o.m[key] = weak.Make(v)
	runtime.AddCleanup(k, func(key weak.Pointer[K]) {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.m, key)
	}, key)
	return v, true
}
