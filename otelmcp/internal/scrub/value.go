// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file says where a secret value begins and ends, once its name is known.

import (
	"bytes"
	"strings"
)

// value redacts the value that begins at v after a sensitive name.
func (s *scanner) value(v int, sep byte, weak, quotedName bool, norm []byte) (next int) {
	t, after := s.t, v
	if v = s.spaces(v); v >= len(t) {
		return after
	}
	if strings.HasPrefix(t[v:], Redacted) {
		if e := v + len(Redacted); e == len(t) || t[e] == '\\' || s.ends(e) {
			return e
		}
	}
	if v > after && s.secretAhead(v) {
		return v
	}
	if s.encoded && byteFlags[t[v]]&sawEncoded != 0 {
		if c, n := decode(t, v); n > 0 && (isSpace(c) || c == '>' || isQuote(c) && c != t[v+n-1]) {
			return v // the value begins after that, which view shows
		}
	}
	q := v
	for q < len(t) && t[q] == '\\' {
		q++
	}
	if q < len(t) && isQuote(t[q]) {
		return s.quotedValue(q, q-v)
	}
	if sep == ':' && !weak && v > after {
		if w := s.properties(v); w > v {
			return s.tagged(after, v, w, quotedName, norm)
		}
	}
	start, end := s.block(after, v)
	if end > v {
		return s.add(v, end)
	}
	if v = start; strings.HasPrefix(t[v:], Redacted) {
		return v + len(Redacted)
	}
	if t[v] == '[' || t[v] == '{' {
		end := balanced(t, v)
		if end < len(t) && !s.ends(end) {
			end = s.bare(end)
		}
		return s.add(v, end)
	}
	if isNote(t[v:]) {
		return len(t)
	}
	isAuth := bytes.HasSuffix(norm, wordAuthorization)
	if word := leadingWord(t[v:]); word != "" {
		if inSet(nothing, word) {
			return v
		}
		if !quotedName && sep == ':' && inSet(prose, word) && (!isAuth || schemeKind(word) == 0) {
			return v
		}
		if !quotedName && weak && plainWord(word) {
			return v
		}
	} else if weak && !hasDigit(t[v:s.bare(v)]) {
		return v
	}
	if sep == ':' && (bytes.HasSuffix(norm, wordCookie) || bytes.HasSuffix(norm, wordCookies)) {
		return s.add(v, s.unquotedLine(v))
	}
	first := s.bare(v)
	word := t[v:first]
	switch kind := schemeKind(word); {
	case kind == 0 && isAuth && sep == ':' && first < len(t) && t[first] == ' ':
		return s.add(v, s.unquotedLine(v))
	case kind == 0:
		return s.add(v, first)
	case kind == 2 && isAuth:
		if w := first + 1; sep == ':' && w < len(t) && inSet(prose, leadingWord(t[w:])) {
			return v
		}
		return s.add(v, s.line(v))
	case kind == 2:
		return s.add(v, first)
	}
	// A scheme, or several, and one value.
	w := first
	for w < len(t) && isSpace(t[w]) {
		for w < len(t) && isSpace(t[w]) {
			w++
		}
		if e := s.bare(w); schemeKind(t[w:e]) == 1 {
			w = e
		}
	}
	if w >= len(t) || w == first || inSet(prose, leadingWord(t[w:])) {
		if isAuth || quotedName || w < len(t) && sep == ':' {
			return v
		}
		return s.add(v, first)
	}
	if isQuote(t[w]) {
		s.add(v, w)
		return s.quotedValue(w, 0)
	}
	if end := s.bare(w); end > w && !authParam(t[w:end]) {
		return s.add(v, end)
	}
	if isAuth {
		return s.add(v, s.line(v))
	}
	return v
}

// properties returns where the value of YAML begins whose tags and anchors begin at v.
func (s *scanner) properties(v int) int {
	t := s.t
	for v < len(t) && (t[v] == '!' || t[v] == '&') {
		w := v + 1
		for w < len(t) && !isSpace(t[w]) && !isQuote(t[w]) {
			w++
		}
		for w < len(t) && t[w] == ' ' {
			w++
		}
		if w >= len(t) || t[w] == '\n' || t[w-1] != ' ' {
			return v
		}
		v = w
	}
	return v
}

// tagged redacts the value at w and its tags, which begin at v: they could be the beginning of a password.
func (s *scanner) tagged(after, v, w int, quotedName bool, norm []byte) (next int) {
	if _, end := s.block(after, w); end > w {
		return s.add(v, end)
	}
	if isQuote(s.t[w]) {
		s.add(v, w+1)
		return s.quotedValue(w, 0)
	}
	s.add(v, w)
	return s.value(w, ':', false, quotedName, norm)
}

// quotedValue redacts what is in the quotes that open at q, after n backslashes that escape them.
func (s *scanner) quotedValue(q, n int) (next int) {
	t, c := s.t, s.t[q]
	slashes := 0
	if open := t[q-n : q+1]; strings.HasPrefix(t[q+1:], open) && strings.HasPrefix(t[q+1+len(open):], open) {
		from := q + 1 + 2*len(open) // a long string of TOML or Python
		if end := strings.Index(t[from:], t[q-n:q+1]+open+open); end >= 0 {
			return s.add(from, from+end)
		}
		return s.add(from, len(t))
	}
	for j := q + 1; j < len(t); j++ {
		switch t[j] {
		case '\\':
			slashes++
			continue
		case c:
			// Inside, an escaped quote has 2n+1 backslashes or an odd multiple; fewer than n end the outer string.
			if slashes < n || slashes%(2*(n+1)) == n {
				if j+1 < len(t) && t[j+1] == c && n == 0 {
					j++ // a doubled quote, as in SQL
					break
				}
				return s.add(q+1, j-min(slashes, n))
			}
		}
		slashes = 0
	}
	return s.add(q+1, len(t))
}

// balanced returns the end of the list or object that opens at v.
func balanced(t string, v int) int {
	depth := 0
	for j := v; j < len(t); j++ {
		switch t[j] {
		case '[', '{':
			depth++
		case ']', '}':
			depth--
			if depth == 0 {
				return j + 1
			}
		case '"':
			for j++; j < len(t) && t[j] != '"'; j++ {
				if t[j] == '\\' {
					j++
				}
			}
		}
	}
	return len(t)
}

// bare returns the end of a value that has no quotes.
func (s *scanner) bare(v int) int {
	t := s.t
	for j := v; j < len(t); j++ {
		if !s.ends(j) {
			continue
		}
		// "password=x,Bearer y": the rule for Bearer cannot see it any more.
		if w := j + 1; isSpace(t[j]) && w < len(t) && !isSpace(t[w]) && j-v > 6 && schemeKind(t[v:j]) == 0 &&
			(strings.EqualFold(t[j-6:j], "bearer") || strings.EqualFold(t[j-5:j], "basic")) {
			continue
		}
		return j
	}
	return len(t)
}

// ends reports whether a bare value ends before j. A separator or a closing bracket inside a password does not
// end it; one before a space, another closing or the next name does.
func (s *scanner) ends(j int) bool {
	t := s.t
	switch c := t[j]; c {
	case ' ', '\n', '<', '>', '|':
		return true
	case '&':
		return j+1 >= len(t) || isSpace(t[j+1]) || s.nameAhead(j+1)
	case ',', ';':
		return j+1 >= len(t) || isSpace(t[j+1]) || isQuote(t[j+1]) || t[j+1] == '}' || t[j+1] == ']' || s.nameAhead(j+1)
	case ')', ']', '}', '"', '\'', '`':
		return j+1 >= len(t) || strings.IndexByte(" \n,;:.)]}>\"'`\\", t[j+1]) >= 0
	case '.', ':', '!', '?':
		return j+1 >= len(t) || isSpace(t[j+1])
	case '\\':
		return j+1 < len(t) && isQuote(t[j+1])
	}
	return false
}

// nameAhead reports whether a name and its separator follow at j.
func (s *scanner) nameAhead(j int) bool {
	t, k := s.t, j
	for k < len(t) && k-j < 40 && isKeyChar(t[k]) {
		k++
	}
	if k == j {
		return false
	}
	if k < len(t) && isQuote(t[k]) {
		k++
	}
	return k < len(t) && (t[k] == '=' || t[k] == ':')
}

// secretAhead reports whether the name of another secret and its separator follow at v, so that the name before has no
// value of its own, or one that is made of pairs.
func (s *scanner) secretAhead(v int) bool {
	name, end := s.word(v)
	return end+1 < len(s.t) && s.t[end] == ':' && isSpace(s.t[end+1]) && SensitiveKey(name)
}

// line returns the end of a header line.
func (s *scanner) line(v int) int {
	if n := strings.IndexByte(s.t[v:], '\n'); n >= 0 {
		return v + n
	}
	return len(s.t)
}

// unquotedLine returns the end of a header line, or of the quotes around it.
func (s *scanner) unquotedLine(v int) int {
	t := s.t
	for j := v; j < len(t); j++ {
		if t[j] == '\n' {
			return j
		}
		if isQuote(t[j]) && (j+1 >= len(t) || strings.IndexByte(" \n,)}]", t[j+1]) >= 0) {
			return j
		}
	}
	return len(t)
}

// leadingWord returns the word that t begins with if a space, the end or punctuation follows it.
func leadingWord(t string) string {
	n := 0
	for n < len(t) && n <= 24 && (isLetter(t[n]) || t[n] == '\'' && n > 0 && n+1 < len(t) && t[n+1] == 't') {
		n++
	}
	if n == 0 || n > 24 {
		return ""
	}
	rest := t[n:]
	switch {
	case rest == "" || isSpace(rest[0]):
		return t[:n]
	case strings.IndexByte(".,;:!?)]}\"'\\", rest[0]) >= 0 && (len(rest) == 1 || !isAlnum(rest[1])):
		return t[:n]
	}
	return ""
}

func plainWord(w string) bool { return len(w) <= 16 && !hasUpper(w[1:]) }

func hasDigit(v string) bool {
	for i := range len(v) {
		if isDigit(v[i]) {
			return true
		}
	}
	return false
}

func hasUpper(v string) bool {
	for i := range len(v) {
		if v[i] >= 'A' && v[i] <= 'Z' {
			return true
		}
	}
	return false
}

func isQuote(c byte) bool { return c == '"' || c == '\'' || c == '`' }
