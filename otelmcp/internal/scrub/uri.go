// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file finds what is secret in a URI: user, query and fragment.

import "strings"

// uri looks at the :// at i.
func (s *scanner) uri(i int) (next int) {
	t, a := s.t, i+3
	if a > s.extEnd {
		s.extent(a)
	}
	ext := max(s.extEnd, a)
	end := a
	for end < ext && t[end] != '/' && t[end] != '?' && t[end] != '#' {
		end++
	}
	if s.qAt >= a && end > s.qAt {
		end = s.qAt
	}
	authority := t[a:end]
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		return s.add(a, a+at) + 1
	}
	if oddPort(authority) {
		// A password with a / ? or # that should have been escaped, or one that was cut off.
		if s.extAt > a {
			return s.add(a, s.extAt)
		}
		return s.add(a, end)
	}
	if s.cut && end == len(t) {
		return s.add(a, end)
	}
	return a
}

// extent finds where the URI with its authority at a ends, and its query.
func (s *scanner) extent(a int) {
	t, end := s.t, a
	if s.mode == modeURI {
		end = len(t)
	}
	for end < len(t) {
		c := t[end]
		if isSpace(c) || c == '"' || c == '<' || c == '>' || c == '`' || c == '\\' && end+1 < len(t) && isQuote(t[end+1]) {
			break
		}
		end++
	}
	if s.mode != modeURI {
		for end > a && strings.IndexByte(".,;:!)'}]", t[end-1]) >= 0 && !strings.HasSuffix(t[a:end], Redacted) &&
			!strings.HasSuffix(t[a:end], noteTail) {
			end--
		}
	}
	s.extEnd = end
	s.extAt = a + strings.LastIndexByte(t[a:end], '@')
	s.qAt, s.qEnd = -1, end
	for j := a; j < end; j++ {
		if t[j] != '?' && t[j] != '#' {
			continue
		}
		if e := expression(t, j); e > 0 {
			j = e
			continue
		}
		s.qAt = j
		return
	}
}

// expression returns the end of the URI template expression, {?a,b*}, whose operator is at j; 0 if there is none.
func expression(t string, j int) int {
	if j == 0 || t[j-1] != '{' {
		return 0
	}
	for k := j + 1; k < len(t) && k-j < 128; k++ {
		switch c := t[k]; {
		case c == '}' && k > j+1:
			return k
		case !isAlnum(c) && c != '_' && c != ',' && c != '*' && c != '.' && c != ':':
			return 0
		}
	}
	return 0
}

// oddPort reports whether what follows the host's colon is no port.
func oddPort(authority string) bool {
	if strings.HasPrefix(authority, "[") {
		if j := strings.IndexByte(authority, ']'); j >= 0 {
			authority = authority[j:]
		}
	}
	j := strings.LastIndexByte(authority, ':')
	if j < 0 || j+1 == len(authority) {
		return false
	}
	switch port := authority[j+1:]; port[0] {
	case '{', '$', '%', '<', '[', '*', '(':
		return false
	default:
		for k := range len(port) {
			if !isDigit(port[k]) {
				return k == 0 || isWord(port[k])
			}
		}
	}
	return false
}

// query looks at a ? or #: that of the URI the scan is in, or one before name=value in a path alone.
func (s *scanner) query(i int) (next int) {
	t := s.t
	if i == s.qAt {
		s.qAt = -1
		return s.add(i+1, s.qEnd)
	}
	j := i + 1
	for j < len(t) && j-i < maxKey && (isKeyChar(t[j]) || t[j] == '[' || t[j] == ']' || t[j] == '%') {
		j++
	}
	if j == i+1 || j >= len(t) || t[j] != '=' || i == 0 || isSpace(t[i-1]) {
		return i + 1
	}
	for j < len(t) && !isSpace(t[j]) && t[j] != '"' && t[j] != '<' && t[j] != '>' && t[j] != '`' {
		j++
	}
	for strings.IndexByte(".,;:!)'}]\\", t[j-1]) >= 0 {
		j--
	}
	return s.add(i+1, j)
}

// at looks at an @ that no :// came before: user:password@tcp(host), //user:password@host.
func (s *scanner) at(i int) (next int) {
	t := s.t
	if i < s.extEnd || i < s.atDone {
		return i + 1
	}
	start := i
	for start > 0 && !isSpace(t[start-1]) && !isQuote(t[start-1]) && i-start < decideWithin {
		start--
	}
	end, last := i, i
	for end < len(t) && !isSpace(t[end]) && !isQuote(t[end]) {
		if t[end] == '@' {
			last = end
		}
		end++
	}
	s.atDone = last + 1
	user := t[start:i]
	if k := strings.IndexByte(user, ':'); strings.HasPrefix(user, "//") || k > 0 && isHost(t[last+1:end]) {
		if strings.HasPrefix(user, "//") {
			start += 2
		}
		for start < i && strings.IndexByte("([{<=,", t[start]) >= 0 && !strings.HasPrefix(t[start:], Redacted) {
			start++
		}
		return s.add(start, last) + 1
	}
	return i + 1
}

// isHost reports whether h can only be the address of a machine.
func isHost(h string) bool {
	if h == "" {
		return false
	}
	if isDigit(h[0]) || h[0] == '[' || h[0] == '(' || strings.HasPrefix(h, "tcp(") || strings.HasPrefix(h, "unix(") ||
		strings.HasPrefix(h, "localhost") {
		return true
	}
	for i := range len(h) {
		switch c := h[i]; {
		case isWord(c) || c == '.':
		case c == ':':
			return i > 0 && i+1 < len(h) && isDigit(h[i+1])
		case c == '/':
			return i > 0 && i+1 < len(h)
		default:
			return false
		}
	}
	return false
}

// dataURI redacts the data of a data: URI whose colon is at i.
func (s *scanner) dataURI(i int) (next int, ok bool) {
	t := s.t
	for j := i + 1; j < len(t) && j-i < 128; j++ {
		c := t[j]
		if c == ',' {
			if j == i+1 && (j+1 >= len(t) || isSpace(t[j+1])) {
				return 0, false
			}
			end := j + 1
			for end < len(t) && !isSpace(t[end]) && !isQuote(t[end]) && t[end] != '>' {
				end++
			}
			s.qAt, s.qEnd = j, max(end, s.qEnd) // what is before the comma is still to be looked at
			return i + 1, true
		}
		if !isKeyChar(c) && c != '/' && c != ';' && c != '+' && c != '=' {
			return 0, false
		}
	}
	return 0, false
}

// wholeURI marks what has to go when all of t is one URI, and returns where the scan starts.
func (s *scanner) wholeURI() int {
	t := s.t
	s.extent(0)
	limit := len(t)
	if s.qAt >= 0 {
		limit = s.qAt
	}
	if strings.HasPrefix(t, "//") {
		end := 2
		for end < limit && t[end] != '/' {
			end++
		}
		if at := strings.LastIndexByte(t[:end], '@'); at > 0 {
			return s.add(2, at)
		}
		return 2
	}
	if strings.Contains(t[:limit], "://") {
		return 0
	}
	c := strings.IndexByte(t[:limit], ':')
	at := strings.LastIndexByte(t, '@')
	if s.qAt >= 0 && at > s.qAt {
		at = strings.LastIndexByte(t[:limit], '@')
	}
	if c < 1 || at < c || c == 1 && (t[2] == '\\' || t[2] == '/') || strings.IndexByte("/.", t[0]) >= 0 || strings.IndexByte(t[:c], '/') >= 0 {
		return 0
	}
	switch strings.ToLower(t[:c]) {
	case "urn", "tag", "pkg", "file", "data", "npm", "cid", "mid":
		return 0
	case "mailto", "acct", "sip", "sips", "xmpp", "im":
		if strings.IndexByte(t[c+1:at], ':') < 0 {
			return 0
		}
	}
	if c > 12 {
		return s.add(0, at) // no scheme, but perhaps a token
	}
	return s.add(c+1, at)
}
