// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file undoes what can hide a credential from the rules: invisible characters, and the encodings of URLs, of
// JSON and other string literals, of HTML, and the full-width forms of Unicode.

import (
	"sort"
	"strings"
	"unicode/utf8"
)

// isEncoded reports whether a character of t is encoded, so that view would differ from t.
func isEncoded(t string) bool {
	for i := range len(t) {
		if byteFlags[t[i]]&sawEncoded != 0 {
			if _, n := decode(t, i); n > 0 {
				return true
			}
		}
	}
	return false
}

// mark says that from the byte plain of a view on it shows what begins at the byte text.
type mark struct{ plain, text int }

// place returns where in the text the byte k of a view begins. marks are those of the view.
func place(marks []mark, k int) int {
	n := sort.Search(len(marks), func(n int) bool { return marks[n].plain > k })
	if n == 0 {
		return k
	}
	return marks[n-1].text + k - marks[n-1].plain
}

// view returns t with every character decoded, and marks for what is not in its place there. The ends of what an
// encoded URI consists of are decoded only in one; in all other text %3F is part of a name.
func view(t string) (string, []mark) {
	var b strings.Builder
	b.Grow(len(t))
	var marks []mark
	moved := func(text int) {
		if n := len(marks); n > 0 && marks[n-1].plain == b.Len() {
			marks[n-1].text = text
			return
		}
		marks = append(marks, mark{b.Len(), text})
	}
	inURI, colon := false, -1
	for i := 0; i < len(t); {
		c, n := byte(0), 0
		if byteFlags[t[i]]&sawEncoded != 0 {
			c, n = decode(t, i)
		}
		switch {
		case n == 0:
			c, n = t[i], 1
			inURI = inURI && !isSpace(c)
		case c == '\r' && followedByLF(t, i+n):
			c = 0
		case c == '\r':
			c = '\n'
		case t[i] != '%':
		case c == '?' || c == '#' || c == '@':
			if !inURI {
				c, n = t[i], 1
			}
		case c == '/':
			inURI = inURI || colon >= 0 && colon == b.Len()-2 && strings.HasSuffix(b.String(), "/")
		case c == ':':
			colon = b.Len()
		}
		if c == 0 { // nothing is left of it
			i += n
			moved(i)
			continue
		}
		b.WriteByte(c)
		i += n
		if n > 1 {
			moved(i)
		}
	}
	return b.String(), marks
}

// followedByLF reports whether an encoded line feed is at i.
func followedByLF(t string, i int) bool {
	if i >= len(t) || byteFlags[t[i]]&sawEncoded == 0 {
		return false
	}
	c, _ := decode(t, i)
	return c == '\n'
}

// decode returns the character that is encoded at i in n bytes: an ASCII character, or 0 for one that is not there at
// all. n is 0 if none is encoded there.
func decode(t string, i int) (c byte, n int) {
	switch t[i] {
	case '%':
		j := i + 1
		for strings.HasPrefix(t[j:], "25") {
			j += 2
		}
		return hexByte(t, i, j, 2)
	case '\\':
		return decodeEscape(t, i)
	case '&':
		return decodeEntity(t, i)
	}
	r, n := utf8.DecodeRuneInString(t[i:])
	switch {
	case r == utf8.RuneError:
		return 0, n
	case r >= 0xff01 && r <= 0xff5e:
		return byte(r - 0xfee0), n
	}
	switch r {
	case 0x2236, 0xa789, 0xfe55, 0xfe13:
		return ':', n
	case 0xfe66:
		return '=', n
	case 0x2018, 0x2019:
		return '\'', n
	case 0x201c, 0x201d, 0x201e:
		return '"', n
	}
	return 0, 0
}

// hexByte reads the digits of a character at j, whose encoding began at i.
func hexByte(t string, i, j, digits int) (c byte, n int) {
	if len(t)-j < digits {
		return 0, 0
	}
	v := 0
	for _, d := range []byte(t[j : j+digits]) {
		h := hexDigit(d)
		if h < 0 {
			return 0, 0
		}
		v = v<<4 | h
	}
	return printable(v), j + digits - i
}

// hexDigit is the value of a hexadecimal digit, -1 of another character.
func hexDigit(d byte) int {
	switch {
	case isDigit(d):
		return int(d - '0')
	case d >= 'a' && d <= 'f':
		return int(d-'a') + 10
	case d >= 'A' && d <= 'F':
		return int(d-'A') + 10
	}
	return -1
}

// printable is the character of the code point v; a space in place of one that could not be in a credential.
func printable(v int) byte {
	switch {
	case v == '\n', v == '\r':
		return byte(v)
	case v < ' ', v >= 0x7f:
		return ' '
	}
	return byte(v)
}

// decodeEscape reads an escape of a string literal. Backslashes before it that escape its own are part of it.
func decodeEscape(t string, i int) (c byte, n int) {
	if i > 0 && t[i-1] == '\\' {
		return 0, 0 // the first backslash was looked at
	}
	j := i
	for j < len(t) && t[j] == '\\' {
		j++
	}
	if j == len(t) {
		return 0, 0
	}
	switch t[j] {
	case 'n':
		return '\n', j + 1 - i
	case 'r':
		return '\r', j + 1 - i
	case '"', '\'', '`':
		return t[j], j + 1 - i
	case 't':
		return ' ', j + 1 - i
	case '/':
		return '/', j + 1 - i
	case 'u':
		return hexByte(t, i, j+1, 4)
	case 'x':
		return hexByte(t, i, j+1, 2)
	}
	return 0, 0
}

var entities = [...]struct {
	name string
	c    byte
}{
	{"quot;", '"'}, {"apos;", '\''}, {"lt;", '<'}, {"gt;", '>'}, {"equals;", '='}, {"colon;", ':'}, {"nbsp;", ' '}, {"NewLine;", '\n'},
}

// decodeEntity reads a character reference of HTML.
func decodeEntity(t string, i int) (c byte, n int) {
	j := i + 1
	for strings.HasPrefix(t[j:], "amp;") {
		j += len("amp;")
	}
	if j+1 < len(t) && t[j] == '#' {
		k, base, v := j+1, 10, 0
		if t[k]|0x20 == 'x' {
			k, base = k+1, 16
		}
		for from := k; k < len(t) && k-from < 7; k++ {
			d := hexDigit(t[k])
			if d < 0 || d >= base {
				if t[k] == ';' && k > from {
					return printable(v), k + 1 - i
				}
				break
			}
			v = v*base + d
		}
	}
	for _, e := range entities {
		if strings.HasPrefix(t[j:], e.name) {
			return e.c, j + len(e.name) - i
		}
	}
	if j > i+1 {
		return '&', j - i
	}
	return 0, 0
}
