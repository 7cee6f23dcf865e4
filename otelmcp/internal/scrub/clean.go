// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file decides which characters may appear in telemetry, and replaces the others.

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// What one look at the bytes of a text found out.
const (
	sawTrigger byte = 1 << iota // a byte at which a credential could be recognized
	sawControl                  // an ASCII control character
	sawHigh                     // a byte outside ASCII
	sawEncoded                  // a byte with which the encoding of a character may begin
)

// byteFlags says for every byte what it means for the first pass.
var byteFlags = func() (t [256]byte) {
	for i := range t {
		switch {
		case i < 0x20 || i == 0x7f:
			t[i] = sawControl
		case i >= utf8.RuneSelf:
			t[i] = sawHigh
		}
	}
	for _, c := range []byte(triggers) {
		t[c] |= sawTrigger
	}
	for _, c := range []byte("%\\&\xe2\xea\xef") { // the last three begin the full-width forms, ∶ and ꞉, and U+FFFD
		t[c] |= sawEncoded
	}
	return t
}()

// look makes the one pass over a text that ordinary text needs.
func look(s string) (flags byte) {
	for i := range len(s) {
		flags |= byteFlags[s[i]]
	}
	return flags
}

// runeIsHidden reports runes that draw nothing, reorder what is around them or are no characters at all:
// what Unicode calls format controls, default ignorable code points and noncharacters.
func runeIsHidden(r rune) bool {
	switch {
	case r < 0xa0:
		return r < 0x20 || r >= 0x7f
	case r < 0x300:
		return r == 0xad
	case r > 0x3164 && r < 0xd800, r > 0x3000 && r < 0x3164:
		return false
	}
	switch {
	case r == 0x034f, r == 0x115f, r == 0x1160, r == 0x17b4, r == 0x17b5, r == 0x2800, r == 0x3164, r == 0xffa0,
		r >= 0x180b && r <= 0x180f,
		r >= 0x2060 && r <= 0x206f,
		r >= 0xfe00 && r <= 0xfe0f,
		r >= 0xfff0 && r <= 0xfffb,
		r >= 0xfdd0 && r <= 0xfdef,
		r >= 0xe0000 && r <= 0xe0fff,
		r&0xfffe == 0xfffe:
		return true
	}
	return unicode.Is(unicode.Cf, r)
}

// runeSpace reports the runes outside ASCII that separate words or lines.
func runeSpace(r rune) (asciiSpace byte) {
	switch {
	case r == 0x85, r == 0x2028, r == 0x2029:
		return '\n'
	case r == 0xa0, r == 0x1680, r >= 0x2000 && r <= 0x200a, r == 0x202f, r == 0x205f, r == 0x3000:
		return ' '
	}
	return 0
}

// highIsClean reports whether every rune outside ASCII may pass.
func highIsClean(s string) bool {
	for i := 0; i < len(s); {
		if s[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || runeSpace(r) != 0 || runeIsHidden(r) {
			return false
		}
		i += n
	}
	return true
}

// clean replaces what may not pass. Line ends of every kind become '\n', which the credential rules still
// need and render turns into a space; other white space becomes a space; everything else that may not pass
// becomes U+FFFD, one for each character, one for each byte that is not UTF-8 and one for each ANSI color,
// erase or mode sequence (other escape sequences lose only their escape character, so that none can hide text).
func clean(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			switch {
			case c >= 0x20 && c != 0x7f:
				b.WriteByte(c)
			case c == '\t' || c == '\v' || c == '\f':
				b.WriteByte(' ')
			case c == '\r':
				if i+1 >= len(s) || s[i+1] != '\n' {
					b.WriteByte('\n')
				}
			case c == '\n':
				b.WriteByte('\n')
			default:
				if c == 0x1b {
					i += ansi(s[i:])
				}
				b.WriteRune(utf8.RuneError)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if sp := runeSpace(r); sp != 0 {
			b.WriteByte(sp)
		} else {
			if runeIsHidden(r) {
				r = utf8.RuneError
			}
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// ansi returns how many bytes after the escape character at s[0] belong to a sequence that is known to be
// harmless to swallow; 0 if it is not one of those.
func ansi(s string) int {
	if len(s) < 3 || s[1] != '[' {
		return 0
	}
	private, digits := s[2] == '?', false
	for i := 2; i < len(s) && i < 32; i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			digits = true
		case c == ';' || c == ':' || c == '?' && i == 2:
		case c == 'm' || c == 'K' || c == 'J' || c == 'H':
			return i
		case (c == 'h' || c == 'l') && private && digits:
			return i
		default:
			return 0
		}
	}
	return 0
}
