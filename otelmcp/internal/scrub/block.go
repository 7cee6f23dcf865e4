// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file finds the end of values that take several lines: the block scalars of YAML and the here documents of HCL
// and shells.

import "strings"

// block returns where the value at v, after a separator that ends at after, really begins, since a block whose lines
// were joined goes on after its mark, and where it ends; end is 0 if it is no block of several lines.
func (s *scanner) block(after, v int) (start, end int) {
	t := s.t
	switch {
	case strings.HasPrefix(t[v:], "<<"):
		return v, s.hereDocument(v + 2)
	case t[v] != '|' && t[v] != '>' || t[after-1] != ':':
		return v, 0
	}
	j := v + 1
	for j < len(t) && (t[j] == '-' || t[j] == '+' || isDigit(t[j])) && j-v < 3 {
		j++
	}
	if j >= len(t) || !isSpace(t[j]) {
		return v, 0
	}
	for j < len(t) && t[j] == ' ' {
		j++
	}
	if j < len(t) && t[j] != '\n' {
		return j, 0 // the lines were joined
	}
	key, indent := after, 0
	for key > 0 && t[key-1] != '\n' && after-key < decideWithin {
		key--
	}
	for key+indent < after && t[key+indent] == ' ' {
		indent++
	}
	for j < len(t) {
		from := j + 1
		for j = from; j < len(t) && t[j] == ' '; {
			j++
		}
		column := j - from
		if j < len(t) && t[j] == '\n' {
			continue
		}
		if column <= indent || j >= len(t) {
			break
		}
		for j < len(t) && t[j] != '\n' {
			if t[j] == '"' && (j+1 == len(t) || strings.IndexByte(",}]", t[j+1]) >= 0) {
				return v, j // the end of the string that the block is in
			}
			j++
		}
		end = j
	}
	return v, end
}

// hereDocument returns the end of what begins with its own last line, as in <<EOT; 0 if there is none.
func (s *scanner) hereDocument(v int) int {
	t := s.t
	for v < len(t) && (t[v] == '-' || t[v] == '~' || isQuote(t[v])) {
		v++
	}
	end := v
	for end < len(t) && isWord(t[end]) && end-v < maxKey {
		end++
	}
	j := end
	for j < len(t) && isQuote(t[j]) {
		j++
	}
	if end == v || j >= len(t) || t[j] != '\n' {
		return 0
	}
	for j < len(t) {
		line := j + 1
		for line < len(t) && t[line] == ' ' {
			line++
		}
		if line < len(t) && strings.HasPrefix(t[line:], t[v:end]) {
			return line + end - v
		}
		n := strings.IndexByte(t[min(line, len(t)):], '\n')
		if n < 0 {
			return len(t)
		}
		j = line + n
	}
	return len(t)
}
