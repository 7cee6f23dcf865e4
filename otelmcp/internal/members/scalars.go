// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package members

// Strings, numbers and words, byte by byte, and what is kept of them.

import "strings"

type numeral uint8

const (
	afterMinus numeral = iota
	afterZero
	inInteger
	afterPoint
	inFraction
	afterE
	afterSign
	inExponent
)

func (r *Reader) beginName() {
	if r.depth == 1 {
		r.name = r.name[:0]
	}
	r.beginText(true)
}

func (r *Reader) beginText(named bool) {
	r.state, r.escaped, r.named = inText, 0, named
	r.put('"')
}

// put keeps bytes of a string that belong together.
func (r *Reader) put(text ...byte) {
	switch {
	case r.named:
		if r.depth == 1 && len(r.name) <= maxName {
			r.name = append(r.name, text...)
		}
	case r.keeping && len(r.kept)+len(text) <= maxText:
		r.kept = append(r.kept, text...)
	}
}

// text reads on in a string and returns how many bytes it has read.
func (r *Reader) text(p []byte) int {
	if r.escaped > 0 {
		r.inEscape(p[0])
		return 1
	}
	k := 0
	for k < len(p) && p[k] != '"' && p[k] != '\\' && p[k] >= ' ' {
		k++
	}
	if k > 0 {
		room := maxText - len(r.kept)
		if r.named {
			room = maxName + 1 - len(r.name)
		}
		r.put(p[:max(min(k, room), 0)]...)
		return k
	}
	switch p[0] {
	case '"':
		r.textEnds()
	case '\\':
		r.escape[0], r.escaped = '\\', 1
	default: // a control character
		r.state = broken
	}
	return 1
}

func (r *Reader) textEnds() {
	if r.named {
		r.put('"')
		r.state = atColon
		return
	}
	if r.keeping {
		r.kept = append(r.kept, '"')
	}
	r.valueEnds()
}

func (r *Reader) inEscape(c byte) {
	r.escape[r.escaped] = c
	r.escaped++
	switch {
	case r.escaped == 2 && c == 'u':
		return
	case r.escaped == 2 && strings.IndexByte(`"\/bfnrt`, c) >= 0, r.escaped == 6 && isHex(c):
		r.put(r.escape[:r.escaped]...)
		r.escaped = 0
	case r.escaped == 2 || !isHex(c):
		r.state = broken
	}
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func (r *Reader) beginWord(word string) {
	if r.keeping {
		r.kept = append(r.kept, word...)
	}
	r.state, r.word = inWord, word[1:]
}

func (r *Reader) inWord(c byte) {
	if c != r.word[0] {
		r.state = broken
		return
	}
	if r.word = r.word[1:]; r.word == "" {
		r.valueEnds()
	}
}

func (r *Reader) beginNumber(c byte) {
	r.digits = 0
	switch {
	case c == '-':
		r.number = afterMinus
	case c == '0':
		r.number = afterZero
	case c >= '1' && c <= '9':
		r.number = inInteger
	default:
		r.state = broken
		return
	}
	r.state = inNumber
	r.digit(c)
}

// digit keeps a byte of a number. One that is too long for any integer becomes one that
// is none.
func (r *Reader) digit(c byte) {
	if !r.keeping {
		return
	}
	r.digits++
	switch {
	case r.digits <= maxNumber:
		r.kept = append(r.kept, c)
	case r.digits == maxNumber+1:
		r.kept = append(r.kept[:len(r.kept)-maxNumber], "0.5"...)
	}
}

// inNumber reads on in a number, and returns false at its end.
func (r *Reader) inNumber(c byte) bool {
	next, ok := r.number.then(c)
	switch {
	case ok:
		r.number = next
		r.digit(c)
		return true
	case r.number.complete():
		r.valueEnds()
		return false
	}
	r.state = broken
	return true
}

func (n numeral) then(c byte) (numeral, bool) {
	digit := c >= '0' && c <= '9'
	switch {
	case digit && n == afterMinus && c == '0':
		return afterZero, true
	case digit && (n == afterMinus || n == inInteger):
		return inInteger, true
	case digit && (n == afterPoint || n == inFraction):
		return inFraction, true
	case digit && (n == afterE || n == afterSign || n == inExponent):
		return inExponent, true
	case c == '.' && (n == afterZero || n == inInteger):
		return afterPoint, true
	case (c == 'e' || c == 'E') && (n == afterZero || n == inInteger || n == inFraction):
		return afterE, true
	case (c == '+' || c == '-') && n == afterE:
		return afterSign, true
	}
	return n, false
}

func (n numeral) complete() bool {
	return n == afterZero || n == inInteger || n == inFraction || n == inExponent
}
