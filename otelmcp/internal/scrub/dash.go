// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file looks at dashes, which begin a PEM block, an option of a command, or belong to a token.

import "strings"

// dash looks at PEM blocks, at options of a command line, and at token prefixes.
func (s *scanner) dash(i int) (next int) {
	t, j := s.t, i
	for j < len(t) && t[j] == '-' {
		j++
	}
	switch n := j - i; {
	case n <= 2:
		if next := s.option(i, j); next > j {
			return next
		}
		if next := s.token(i); n == 1 || next > j {
			return next
		}
	case n >= 4:
		begin := j
		for begin < len(t) && t[begin] == ' ' {
			begin++
		}
		if end := pemEnd(t, begin); end > 0 {
			return s.add(i, end)
		}
		return j
	}
	return j
}

// pemEnd returns the end of the PEM block whose BEGIN would be at begin, 0 if there is none. A block without an
// END goes on to the end of the text.
func pemEnd(t string, begin int) int {
	if !strings.HasPrefix(t[begin:], "BEGIN ") && !strings.HasPrefix(t[begin:], "BEGIN+") {
		return 0
	}
	k := strings.Index(t[begin:], "---END ")
	if k < 0 {
		k = strings.Index(t[begin:], "---END+")
	}
	if k < 0 {
		k = strings.Index(t[begin:], "--- END ")
	}
	if k < 0 {
		return len(t)
	}
	k += begin + len("---END ")
	for k < len(t) && t[k] != '-' && t[k] != '\n' {
		k++
	}
	for k < len(t) && t[k] == '-' {
		k++
	}
	return k
}
