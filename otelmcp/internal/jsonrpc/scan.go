// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package jsonrpc

// The scanner below Parse and Head: it passes once over JSON that may end
// anywhere, and keeps nothing.

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"github.com/otelmcp/otelmcp-go/semconv"
)

// scan is a position in JSON. Its methods return false when they can go no
// further: because the input ends or, if bad is set, because it is not JSON.
// They look for the ends of values only, so what is not JSON can pass unnoticed
// within one.
type scan struct {
	b   []byte
	i   int
	bad bool
	// wide says that a number was passed that is out of a float64's range, on
	// which encoding/json fails where it decodes the number.
	wide bool
}

// maxDepth is how deep encoding/json lets values nest.
const maxDepth = 10000

// maxExact is how many digits a number can have and be within a float64's range
// whatever they are.
const maxExact = 308

// next is the byte at the position, or 0 at the end.
func (s *scan) next() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scan) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

// at moves to the next byte that is no space, and reports whether it is c.
func (s *scan) at(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] != c {
		s.bad = true
	}
	return s.i < len(s.b) && !s.bad
}

// object calls member with each name, at the value, which member must pass over.
// It ends when member returns false, and reports whether it got to the end of the
// object.
func (s *scan) object(member func(name []byte) bool) bool {
	if !s.at('{') {
		return false
	}
	s.i++
	s.space()
	if s.next() == '}' {
		s.i++
		return true
	}
	for {
		if !s.at('"') {
			return false
		}
		start := s.i
		if !s.quoted() {
			return false
		}
		name, ok := unquote(s.b[start:s.i])
		if !ok {
			s.bad = true
			return false
		}
		if !s.at(':') {
			return false
		}
		s.i++
		s.space()
		if !member(name) {
			return false
		}
		s.space()
		if s.next() == ',' {
			s.i++
			continue
		}
		if !s.at('}') {
			return false
		}
		s.i++
		return true
	}
}

// value passes over a value, and returns it if it got to its end. It is not empty
// then.
func (s *scan) value() ([]byte, bool) {
	start := s.i
	if !s.skip() {
		return nil, false
	}
	return s.b[start:s.i], true
}

// skip passes over a value.
func (s *scan) skip() bool {
	depth := 0
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case '"':
			if !s.quoted() {
				return false
			}
		case '{', '[':
			s.i++
			depth++
			if depth > maxDepth {
				s.bad = true
				return false
			}
			continue
		case '}', ']':
			if depth == 0 {
				s.bad = true
				return false
			}
			s.i++
			depth--
		case ',', ':':
			if depth == 0 {
				s.bad = true
				return false
			}
			s.i++
			continue
		case ' ', '\t', '\r', '\n':
			s.i++
			continue
		default:
			if !s.literal() {
				return false
			}
		}
		if depth == 0 {
			return true
		}
	}
	return false
}

// quoted passes over a string.
func (s *scan) quoted() bool {
	s.i++
	start := s.i
	for {
		n := bytes.IndexByte(s.b[s.i:], '"')
		if n < 0 {
			s.i = len(s.b)
			return false
		}
		end := s.i + n
		s.i = end + 1
		escapes := 0
		for end > start && s.b[end-1] == '\\' {
			end--
			escapes++
		}
		if escapes%2 == 0 {
			return true
		}
	}
}

// literal passes over a number, true, false or null. It is over only when
// something follows.
func (s *scan) literal() bool {
	start := s.i
	exponent := false
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ',', '}', ']', ' ', '\t', '\r', '\n', ':', '"', '{', '[':
			if first := s.b[start]; first == '-' || first >= '0' && first <= '9' {
				s.number(s.b[start:s.i], exponent)
			}
			return true
		case 'e', 'E':
			exponent = true
		}
		s.i++
	}
	return false
}

func (s *scan) number(raw []byte, exponent bool) {
	if !exponent && len(raw) <= maxExact {
		return
	}
	if _, err := strconv.ParseFloat(string(raw), 64); err != nil {
		s.wide = true
	}
}

// is reports whether a member called name is the one that encoding/json decodes
// as want.
func is(name []byte, want string) bool {
	return string(name) == want || bytes.EqualFold(name, []byte(want))
}

// str reads a string into text, unless it is none.
func str(raw []byte, text *string) bool {
	if raw[0] != '"' {
		return false
	}
	b, ok := unquote(raw)
	if !ok {
		return false
	}
	if *text, ok = common[string(b)]; !ok {
		*text = string(b)
	}
	return true
}

// common is what nearly every message says, so that it is not copied.
var common = func() map[string]string {
	m := map[string]string{Version: Version}
	for _, name := range &semconv.MCPMethodNames {
		m[name] = name
	}
	return m
}()

// unquote returns what a string says, which is within raw if it says it plainly.
func unquote(raw []byte) ([]byte, bool) {
	b := raw[1 : len(raw)-1]
	if plain(b) {
		return b, true
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return nil, false
	}
	return []byte(s), true
}

// plain reports whether b stands in a string as it is.
func plain(b []byte) bool {
	ascii := true
	for _, c := range b {
		if c < ' ' || c == '\\' {
			return false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	return ascii || utf8.Valid(b)
}
