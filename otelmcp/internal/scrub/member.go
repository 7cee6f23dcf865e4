// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file recognizes secrets whose name is itself a value: {"name": "password", "value": "x"}, in either order and
// in YAML, XML and logfmt too, ["X-Api-Key", "x"], and names such as code that only sometimes are those of secrets.

import "strings"

// Role is what the name of a member says about values.
type Role uint8

// The roles of members.
const (
	NoRole      Role = iota
	NamesMember      // the value is the name of what another member holds: "name", "key"
	HoldsValue       // another member may name the value: "value", "data"
	HoldsCode        // [Code] tells what of the value is a secret: "code", "sig"
)

// RoleOf returns the role of a member with this name, in any case and with any of _ - . or nothing between the words.
func RoleOf(name string) Role {
	if len(name) > maxKey {
		return NoRole
	}
	var buf [maxKey]byte
	return roleOf(buf[:normalize(&buf, 0, name)])
}

// roleOf is RoleOf for a name in normal form.
func roleOf(norm []byte) Role {
	switch string(norm) {
	case "name", "key", "header", "field", "variable", "param", "parameter", "property", "option", "setting", "id":
		return NamesMember
	case "value", "values", "val", "content", "data":
		return HoldsValue
	case "code", "sig", "signature":
		return HoldsCode
	}
	return NoRole
}

// lookahead bounds how far the members of an object are read, which keeps the scan linear. between bounds how many
// members may stand between a value and the name of it that follows.
const (
	lookahead = 512
	between   = 3
)

// object is what the scan knows of the object that a member is in whose value is the name of a secret.
type object struct {
	by    string // the name of that member
	end   int    // the object does not go on after this; 0 if there is no such object
	at    int    // what is before here was read
	depth int    // of what is open at at
}

// includes reports whether i, which is not before an i that was asked for already, is in the object. It reads each
// byte once, and only when a value is met that may be the secret.
func (o *object) includes(t string, i int) bool {
	for ; o.at < i && o.at < o.end; o.at++ {
		switch t[o.at] {
		case '{', '[':
			o.depth++
		case '}', ']':
			o.depth--
			if o.depth < 0 {
				o.end = o.at
			}
		case '>':
			if t[o.at-1] != '=' && t[o.at-1] != '-' {
				o.end = o.at + 1 // the end of an XML tag
			}
		}
	}
	return i <= o.end
}

// follows is what the scan knows of the members after a value. Many values can end at the same place, since one that
// has no quotes may contain others.
type follows struct {
	from, end int  // a value without quotes that begins at one of these, or between them, ends at end
	after     int  // the members from here on were read
	named     bool // one of them names a secret
}

// memberName notes whether the value at v is the name of a secret.
func (s *scanner) memberName(key string, v int) {
	name, end := s.word(v)
	if name == "" || !SensitiveKey(name) {
		if key == s.object.by {
			s.object.end = 0
		}
		return
	}
	s.object = object{by: key, at: end, end: min(len(s.t), end+lookahead)}
}

// namedAfter reports whether one of the next members of the object names the value at v, and it is a secret.
func (s *scanner) namedAfter(v int) bool {
	v = s.spaces(v)
	j := s.valueEnd(v, min(len(s.t), v+lookahead))
	if j < 0 {
		return false
	}
	if s.next.after != j {
		s.next.after, s.next.named = j, s.namedFrom(j)
	}
	return s.next.named
}

// namedFrom is namedAfter for the end of a value.
func (s *scanner) namedFrom(j int) bool {
	t, limit := s.t, min(len(s.t), j+lookahead)
	for range between + 1 {
		for j < limit && (isSpace(t[j]) || t[j] == ',' || t[j] == ';') {
			j++
		}
		if j == limit {
			return false
		}
		name, end := s.word(j)
		end = s.spaces(end)
		if name == "" || end >= limit || t[end] != ':' && t[end] != '=' {
			return false
		}
		end++
		if end < len(t) && t[end] == '>' {
			end++
		}
		if RoleOf(name) == NamesMember {
			name, _ = s.word(end)
			return name != "" && SensitiveKey(name)
		}
		if j = s.valueEnd(s.spaces(end), limit); j < 0 {
			return false
		}
	}
	return false
}

// valueEnd returns the end of the value of a member at v, -1 if it goes on beyond limit.
func (s *scanner) valueEnd(v, limit int) int {
	t := s.t
	if v < limit && isQuote(t[v]) {
		if n := strings.IndexByte(t[v+1:limit], t[v]); n >= 0 {
			return v + n + 2
		}
		return -1
	}
	f, end := &s.next, v
	if f.from <= v && v <= f.end {
		end = f.end
	} else {
		f.from = v
	}
	for end < limit && !isSpace(t[end]) && strings.IndexByte(",;}>", t[end]) < 0 {
		end++
	}
	f.end = end
	if end >= limit && limit < len(t) {
		return -1
	}
	return end
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
	value, isName := codeIn(t[v:])
	if isName {
		return after
	}
	end := v + len(value)
	value = strings.TrimRight(value, ".")
	inForm := sep == '=' && (start > 0 && t[start-1] == '&' || end < len(t) && t[end] == '&')
	if isOpaque(value) || inForm && len(value) >= 16 && hasUpper(value[1:]) && strings.IndexFunc(value, isLower) >= 0 {
		return s.add(v, v+len(value))
	}
	return after
}

func isLower(r rune) bool { return r >= 'a' && r <= 'z' }

// codeIn returns what t begins with of the alphabets of codes, and whether that is a name with a value after it.
func codeIn(t string) (code string, isName bool) {
	end := 0
	for end < len(t) && end < 2*decideWithin && (inAlphabets[t[end]]&base64s != 0 || strings.IndexByte(".~%", t[end]) >= 0) {
		end++
	}
	return t[:end], end+1 < len(t) && t[end] == ':' && !isSpace(t[end+1])
}

// Code returns how many bytes of the value of a member that [HoldsCode] are a secret: those it begins with that look
// like what a machine made.
func Code(value string) int {
	code, isName := codeIn(value)
	if code = strings.TrimRight(code, "."); isName || !isOpaque(code) {
		return 0
	}
	return len(code)
}
