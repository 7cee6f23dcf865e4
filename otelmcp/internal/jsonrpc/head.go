// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package jsonrpc

// Reading the beginning of a message, for messages of which no more is at hand.

import (
	"bytes"
	"encoding/json"
)

// Head reads as much as the first bytes of a message tell: what stands on its
// top level, and the code of an error. complete reports whether the message
// ended within prefix. Names are compared exactly; of equal members the last one
// that is at hand counts.
func Head(prefix []byte) (e Envelope, complete bool) {
	s := scan{b: prefix}
	s.space()
	if s.next() == '[' {
		e.Kind = Batch
		return e, false
	}
	hasID := false
	complete = s.object(func(name string) bool {
		start := s.i
		if !s.skip() {
			return false
		}
		raw := prefix[start:s.i]
		switch name {
		case "jsonrpc":
			_ = json.Unmarshal(raw, &e.Version)
		case "method":
			_ = json.Unmarshal(raw, &e.Method)
		case "id":
			var v any
			if json.Unmarshal(raw, &v) == nil {
				e.ID, e.Key = ID(v)
				hasID = v != nil
			}
		case "result":
			e.HasResult = present(raw)
		case "error":
			e.HasError = present(raw)
			e.setError(raw)
		}
		return true
	})
	switch {
	case e.Method == "" && hasID:
		e.Kind = Response
	case hasID:
		e.Kind = Request
	case e.Method != "":
		e.Kind = Notification
	}
	return e, complete
}

// scan is a position in JSON that may end anywhere.
type scan struct {
	b []byte
	i int
}

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

// object calls member with each name, at the value, for as long as it returns
// true, and reports whether the object's end was reached.
func (s *scan) object(member func(name string) bool) bool {
	if s.next() != '{' {
		return false
	}
	s.i++
	for {
		s.space()
		switch s.next() {
		case '}':
			s.i++
			return true
		case ',':
			s.i++
			continue
		case '"':
		default:
			return false
		}
		start := s.i
		if !s.text() {
			return false
		}
		var name string
		if json.Unmarshal(s.b[start:s.i], &name) != nil {
			return false
		}
		s.space()
		if s.next() != ':' {
			return false
		}
		s.i++
		s.space()
		if !member(name) {
			return false
		}
	}
}

// text passes over a string, and reports whether its end was reached.
func (s *scan) text() bool {
	s.i++
	for {
		at := bytes.IndexAny(s.b[s.i:], `"\`)
		if at < 0 {
			s.i = len(s.b)
			return false
		}
		s.i += at + 1
		if s.b[s.i-1] == '"' {
			return true
		}
		s.i++ // what is escaped
		if s.i > len(s.b) {
			s.i = len(s.b)
			return false
		}
	}
}

// skip passes over a value, and reports whether its end was reached.
func (s *scan) skip() bool {
	depth := 0
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case '"':
			if !s.text() {
				return false
			}
		case '{', '[':
			depth++
			s.i++
			continue
		case '}', ']':
			depth--
			s.i++
		case ',', ':', ' ', '\t', '\r', '\n':
			s.i++
			continue
		default:
			if !s.literal() {
				return false
			}
		}
		if depth <= 0 {
			return depth == 0
		}
	}
	return false
}

// literal passes over a number, true, false or null. It is over only when
// something follows.
func (s *scan) literal() bool {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ',', '}', ']', ' ', '\t', '\r', '\n', ':', '"', '{', '[':
			return true
		}
		s.i++
	}
	return false
}
