// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file tells random characters from words and numbers.

// isOpaque reports whether v looks like a secret that a machine made, and not like a word, a number, a constant or
// a version: it has letters and digits, and is not made of parts like invalid_utf8, ERR_HTTP2, 2026, v1 or 0x80070005.
func isOpaque(v string) bool {
	if len(v) < 10 || len(v) > 2 && v[0] == '0' && v[1]|0x20 == 'x' && len(v) <= 18 {
		return false
	}
	letters, digits, parts, words := false, false, 0, true
	for i := 0; i < len(v); {
		from := i
		for i < len(v) && isLetter(v[i]) {
			i++
		}
		middle := i
		for i < len(v) && isDigit(v[i]) {
			i++
		}
		letters, digits = letters || middle > from, digits || i > middle
		switch {
		case i < len(v) && isLetter(v[i]):
			words = false // a digit before a letter
		case middle == from && i-middle > 8, middle > from && i-middle > 4:
			words = false
		}
		if i > from {
			parts++
		}
		for i < len(v) && !isAlnum(v[i]) {
			i++
		}
	}
	return letters && digits && (!words || parts == 1 && len(v) > 12)
}
