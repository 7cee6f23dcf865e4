// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file recognizes secrets whose name is itself a value: {"name": "password", "value": "x"}, in either order and
// in YAML, XML and logfmt too, ["X-Api-Key", "x"], and names such as code that only sometimes are those of secrets.

import "strings"

const (
	memberName  = 1 + iota // its value names what another member holds
	memberValue            // its value may be named by another member
	memberCode             // it is a secret if it looks like one
)

// memberOf returns what a name in normal form means, 0 if nothing.
func memberOf(norm []byte) int {
	switch string(norm) {
	case "name", "key", "header", "field", "variable", "param", "parameter", "property", "option", "setting", "id":
		return memberName
	case "value", "values", "val", "content", "data":
		return memberValue
	case "code", "sig", "signature":
		return memberCode
	}
	return 0
}

// lookahead bounds how far the members of an object are read, which keeps the scan linear.
const lookahead = 512

// memberName notes whether the value at v is the name of a secret, and how far the object goes that it is in.
func (s *scanner) memberName(key string, v int) {
	name, end := s.word(v)
	if name == "" || !SensitiveKey(name) {
		if key == s.namedBy {
			s.named = 0
		}
		return
	}
	s.namedBy = key
	t, depth := s.t, 0
	s.named = min(len(t), end+lookahead)
	for j := end; j < s.named; j++ {
		switch t[j] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
			if depth < 0 {
				s.named = j
			}
		case '>':
			if t[j-1] != '=' && t[j-1] != '-' {
				s.named = j + 1 // the end of an XML tag
			}
		}
	}
}

// namedAfter reports whether one of the next members of the object names the value at v, and it is a secret.
func (s *scanner) namedAfter(v int) bool {
	t := s.t
	for range 4 {
		j := s.skipValue(v)
		for j < len(t) && (isSpace(t[j]) || t[j] == ',' || t[j] == ';') {
			j++
		}
		name, end := s.word(j)
		end = s.spaces(end)
		if name == "" || end >= len(t) || t[end] != ':' && t[end] != '=' {
			return false
		}
		end++
		if end < len(t) && t[end] == '>' {
			end++
		}
		var buf [maxKey]byte
		if memberOf(buf[:normalize(&buf, 0, name)]) == memberName {
			name, _ = s.word(end)
			return name != "" && SensitiveKey(name)
		}
		v = end
	}
	return false
}

// skipValue returns the end of the value of a member, if it is near.
func (s *scanner) skipValue(v int) int {
	t := s.t
	v = s.spaces(v)
	limit := min(len(t), v+lookahead)
	if v < limit && isQuote(t[v]) {
		if n := strings.IndexByte(t[v+1:limit], t[v]); n >= 0 {
			return v + n + 2
		}
		return limit
	}
	for v < limit && !isSpace(t[v]) && strings.IndexByte(",;}>", t[v]) < 0 {
		v++
	}
	return v
}

// word returns the name at v, which may be in quotes, and where it ends; "" if there is something else.
func (s *scanner) word(v int) (name string, end int) {
	t := s.t
	v = s.spaces(v)
	quote := v < len(t) && isQuote(t[v])
	if quote {
		v++
	}
	end = v
	for end < len(t) && end-v < maxKey && isKeyChar(t[end]) {
		end++
	}
	if !quote {
		return t[v:end], end
	}
	if end == len(t) || t[end] != t[v-1] {
		return "", end
	}
	return t[v:end], end + 1
}

// list looks at the [ before a name and its value, as headers are listed: ["X-Api-Key", "x"]. A value that could be a
// name too is none, for this may be a list of names.
func (s *scanner) list(i int) (next int) {
	t := s.t
	name, j := s.word(i + 1)
	if name == "" || !isQuote(t[j-1]) || !SensitiveKey(name) {
		return i + 1
	}
	if j = s.spaces(j); j >= len(t) || t[j] != ',' {
		return i + 1
	}
	if j = s.spaces(j + 1); j >= len(t) || !isQuote(t[j]) {
		return i + 1
	}
	if other, end := s.word(j); other != "" && !hasDigit(other) && (end >= len(t) || t[end] != ']' || !hasUpper(other)) {
		return i + 1
	}
	return s.quotedValue(j, 0)
}

// code redacts the value at v of a name that starts at start, if it looks like a secret: an authorization code, the
// signature of a shared link. Most of what is called a code is the number or the name of an error.
func (s *scanner) code(start, v int, sep byte) (next int) {
	t, after := s.t, v
	if v = s.spaces(v); v < len(t) && isQuote(t[v]) {
		v++
	}
	end := v
	for end < len(t) && end-v < 2*decideWithin && (inAlphabets[t[end]]&base64s != 0 || strings.IndexByte(".~%", t[end]) >= 0) {
		end++
	}
	if end+1 < len(t) && t[end] == ':' && !isSpace(t[end+1]) {
		return after
	}
	value := strings.TrimRight(t[v:end], ".")
	inForm := sep == '=' && (start > 0 && t[start-1] == '&' || end < len(t) && t[end] == '&')
	if isOpaque(value) || inForm && len(value) >= 16 && hasUpper(value[1:]) && strings.IndexFunc(value, isLower) >= 0 {
		return s.add(v, v+len(value))
	}
	return after
}

func isLower(r rune) bool { return r >= 'a' && r <= 'z' }
