// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// What can be said of a text without looking for credentials: one pass over its bytes.

// Plain reports whether s is plain ASCII without a byte at which a credential could be recognized. Text, URI and
// Name return such a text as it is, unless it is longer than the limit.
func Plain(s string) bool { return look(s) == 0 }

// Legible reports whether s is valid UTF-8 without control characters, line ends and characters that are
// invisible or reorder what is around them.
func Legible(s string) bool {
	flags := look(s)
	if flags&sawControl != 0 {
		return false
	}
	if flags&sawHigh == 0 {
		return true
	}
	return highIsClean(s)
}
