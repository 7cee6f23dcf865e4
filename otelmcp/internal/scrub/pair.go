// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file finds a name, a separator and a value that is secret by that name, in the notations in which such a
// pair is written.

import "strings"

// colon looks at a colon: that of a URI, of a token of Telegram, or one between a name and a value.
func (s *scanner) colon(i int) (next int) {
	t := s.t
	if strings.HasPrefix(t[i:], "://") {
		return s.uri(i)
	}
	if i+1 >= len(t) {
		return i + 1
	}
	if next, ok := s.telegram(i); ok {
		return next
	}
	switch t[i+1] {
	case '=':
		return i + 1 // := is seen at the =
	case ':':
		if i+2 < len(t) && t[i+2] == ':' {
			return i + 1
		}
		return s.pair(i, i+2, ':', true)
	}
	if i >= 4 && strings.EqualFold(t[i-4:i], "data") && (i == 4 || !isAlnum(t[i-5])) {
		if next, ok := s.dataURI(i); ok {
			return next
		}
	}
	return s.pair(i, i+1, ':', s.mode == modeName && !isSpace(t[i+1]))
}

// equals looks at a = with what belongs to it, as in := or =>.
func (s *scanner) equals(i int) (next int) {
	t, end, v := s.t, i, i+1
	for n := 0; n < 3 && end > 0 && strings.IndexByte(":!<>=~+?", t[end-1]) >= 0; n++ {
		end--
	}
	for v < len(t) && (t[v] == '=' || t[v] == '>' || t[v] == '~') {
		v++
	}
	return s.pair(end, v, '=', false)
}

// name returns the name that ends before end, whether it was in quotes, and where it starts.
func (s *scanner) name(end int) (name string, quoted bool, start int) {
	t, j := s.t, end
	for j > 0 && isSpace(t[j-1]) {
		j--
	}
closers:
	for range 4 {
		if j == 0 {
			break
		}
		switch c := t[j-1]; {
		case isQuote(c):
			quoted = true
			j--
			for j > 0 && t[j-1] == '\\' {
				j--
			}
		case c == ']' || c == ')':
			j--
		default:
			break closers
		}
	}
	k := j
	for k > 0 && j-k < maxKey && isKeyChar(t[k-1]) {
		k--
	}
	return t[k:j], quoted, k
}

// pair looks at a separator that ends at v, after a name that ends at end. weak says that the separator is
// one that also joins the parts of a name, so that a plain word after it is not a value.
func (s *scanner) pair(end, v int, sep byte, weak bool) (next int) {
	t := s.t
	if v > len(t) {
		return len(t)
	}
	name, quoted, start := s.name(end)
	if name == "" {
		return v
	}
	var buf [maxKey]byte
	n := normalize(&buf, 0, name)
	norm := buf[:n]
	if !sensitive(norm, name) {
		switch roleOf(norm) {
		case NamesMember:
			s.memberName(name, v)
		case HoldsValue:
			if s.object.includes(t, end) || s.namedAfter(v) {
				return s.value(v, sep, false, true, nil)
			}
		case HoldsCode:
			return s.code(start, v, sep)
		}
		// "API key: x", "API key provided: x"
		if quoted || n < 2 || start == 0 || t[start-1] != ' ' || n > 12 {
			return v
		}
		last := name
		if inSet(filler, name) {
			last, _, start = s.name(start)
			if SensitiveKey(last) {
				return s.value(v, sep, weak, false, nil)
			}
			if start == 0 || t[start-1] != ' ' {
				return v
			}
		}
		if !inSet(second, last) {
			return v
		}
		before, _, _ := s.name(start)
		if before == "" || len(before)+len(last) > maxKey {
			return v
		}
		n = normalize(&buf, normalize(&buf, 0, before), last)
		if !sensitive(buf[:n], "") {
			return v
		}
		return s.value(v, sep, weak, false, nil)
	}
	if sep == ':' && !quoted && start > 0 && t[start-1] == ' ' {
		if before, _, _ := s.name(start); inSet(parser, before) {
			return v
		}
	}
	return s.value(v, sep, weak, quoted, norm)
}

// element looks at the end of an opening XML tag.
func (s *scanner) element(i int) (next int) {
	t := s.t
	name, quoted, start := s.name(i)
	switch {
	case start > 0 && (t[start-1] == '<' || t[start-1] == ':') && SensitiveKey(name): // <password>, <x:password>
		if end := strings.IndexByte(t[i+1:], '<'); end != 0 || !strings.HasPrefix(t[i+1:], cdata) {
			return s.text(i+1, end)
		}
	case quoted && s.object.includes(t, i) && SensitiveKey(name): // <entry key="password">
	case s.sensitiveTag(i): // <password encrypted="false">
	default:
		return i + 1
	}
	v := s.spaces(i + 1)
	if strings.HasPrefix(t[v:], cdata) {
		v += len(cdata)
		return s.text(v, strings.Index(t[v:], "]]>"))
	}
	near := t[i+1 : min(len(t), i+1+8*lookahead)]
	if end := strings.IndexByte(near, '<'); end >= 0 && strings.HasPrefix(t[i+1+end:], "</") {
		return s.add(i+1, i+1+end)
	}
	return i + 1
}

const cdata = "<![CDATA["

// text redacts the n bytes at v, all that follow if n is negative.
func (s *scanner) text(v, n int) (next int) {
	if n < 0 {
		return s.add(v, len(s.t))
	}
	return s.add(v, v+n)
}

// sensitiveTag reports whether the tag that ends at i opens an element with attributes and the name of a secret.
func (s *scanner) sensitiveTag(i int) bool {
	t, j, attributes := s.t, i-1, false
	if j >= 0 && t[j] == '/' {
		return false
	}
	for ; j >= 0 && t[j] != '<' && t[j] != '>'; j-- {
		if i-j > lookahead {
			return false
		}
		attributes = attributes || t[j] == '='
	}
	if j < 0 || t[j] != '<' || !attributes {
		return false
	}
	name, end := s.word(j + 1)
	if end < i && t[end] == ':' {
		name, end = s.word(end + 1)
	}
	return isSpace(t[end]) && SensitiveKey(name)
}
