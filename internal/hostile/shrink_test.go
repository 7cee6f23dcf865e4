// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package hostile_test

// A script that fails is long; what of it is needed says more.

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// shrink leaves out of steps what is not needed to fail. A step may be needed now and
// then only: each attempt is made several times.
func shrink[T any](steps []T, within time.Duration, fails func([]T) bool) []T {
	const attempts = 3
	deadline := time.Now().Add(within)
	failsStill := func(steps []T) bool {
		for range attempts {
			if time.Now().After(deadline) {
				return false
			}
			if fails(steps) {
				return true
			}
		}
		return false
	}
	for size := (len(steps) + 1) / 2; size > 0; {
		smaller := false
		for at := 0; at < len(steps); {
			without := slices.Delete(slices.Clone(steps), at, min(at+size, len(steps)))
			if failsStill(without) {
				steps, smaller = without, true
			} else {
				at += size
			}
		}
		if !smaller || size > 1 {
			size /= 2
		}
	}
	return steps
}

// tell renders what a script does.
func (s *script) tell() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  recovered=%t workers=%d oneByOne=%t abrupt=%t cutOff=%d chunks=%d\n", s.recovered, s.workers, s.oneByOne, s.abrupt, s.cutOff, s.chunks)
	names := []string{"send", "wait until it runs:", "let go:", "wait until it has ended:", "wait for answers", "read no more", "read on"}
	for k := range s.moves {
		m := &s.moves[k]
		text := m.nonce
		if m.message != nil {
			text = m.message.class.String() + " " + clip(m.message.raw)
		}
		fmt.Fprintf(&b, "  %s %s\n", names[m.do], text)
	}
	return b.String()
}

// explain shrinks a script that fails, and renders it with what is wrong.
func (s *script) explain(a func() *arena, within time.Duration) string {
	small := *s
	var wrong []string
	small.moves = shrink(s.moves, within, func(moves []move) bool {
		try := *s
		try.moves = moves
		_, w := a().run(&try)
		if len(w) > 0 {
			wrong = w
		}
		return len(w) > 0
	})
	if len(wrong) == 0 {
		return "it does not fail again on a new server"
	}
	return small.tell() + "  --\n  " + strings.Join(wrong[:min(len(wrong), 30)], "\n  ")
}
