// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file finds credentials. One scan goes over the text from left to right and stops at the few bytes at
// which a credential can be told; each rule looks at what is around it and marks the span to redact. Every
// rule either consumes what it read or reads a bounded number of bytes, so the scan is linear in the text.

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
)

// triggers are the bytes at which scan stops.
const triggers = ":=%_-.?#@>~ASEJbB"

type mode uint8

const (
	modeText mode = iota
	modeName      // "token:refresh" is a name
	modeURI       // the whole text is one URI
)

// span is a part of the text to redact.
type span struct{ start, end int }

type scanner struct {
	t     string
	mode  mode
	cut   bool // more text followed t
	spans []span
	last  int // end of the last span

	extEnd int // end of the URI that the scan is in
	extAt  int // its last @
	qAt    int // its ? or #, or the comma of a data URI: all from there to qEnd goes; -1 when it is done
	qEnd   int
	atDone int // no @ before here is the last of its word
	notJWT int // no token starts before here
}

// add marks a span and returns where to go on.
func (s *scanner) add(start, end int) (next int) {
	if end > len(s.t) {
		end = len(s.t)
	}
	if s.qAt >= 0 && start <= s.qAt && end > s.qAt {
		end = max(end, s.qEnd)
		s.qAt = -1
	}
	// A span of another rule, a URI's for one, ends at the first space of a PEM block that it runs into.
	if k := strings.LastIndex(s.t[min(start, end):end], "----BEGIN"); k >= 0 {
		end = max(end, pemEnd(s.t, min(start, end)+k+len("----")))
	}
	next = end
	start = max(start, s.last)
	if start >= end || settled(s.t[start:end]) {
		return next
	}
	if start == s.last && len(s.spans) > 0 {
		s.spans[len(s.spans)-1].end = end
	} else {
		s.spans = append(s.spans, span{start, end})
	}
	s.last = end
	return next
}

// settled reports whether there is nothing left to redact in v: it is the marker, or the note about a cut.
func settled(v string) bool {
	if rest, ok := strings.CutPrefix(v, Redacted); ok {
		for i := range len(rest) {
			switch rest[i] {
			case '.', ',', ';', ':', '!', ')', '\'', '}', ']', '"':
			default:
				return isNote(rest[i:])
			}
		}
		return true
	}
	return isNote(v)
}

// isNote reports whether v is "…[+123B]".
func isNote(v string) bool {
	v, ok := strings.CutPrefix(v, noteHead)
	if !ok {
		return false
	}
	v, ok = strings.CutSuffix(v, noteTail)
	if !ok || v == "" {
		return false
	}
	for i := range len(v) {
		if !isDigit(v[i]) {
			return false
		}
	}
	return true
}

// detect returns the spans of t to redact, sorted and apart from each other. replaced says that t has a U+FFFD.
func detect(t string, m mode, cut, replaced bool) []span {
	s := scanner{t: t, mode: m, cut: cut, qAt: -1}
	s.scan()
	if !replaced {
		return unsettled(t, s.spans)
	}
	sk, at := skeleton(t)
	k := scanner{t: sk, mode: m, cut: cut, qAt: -1}
	k.scan()
	for i := range k.spans {
		sp := &k.spans[i]
		sp.start, sp.end = at[sp.start], at[sp.end-1]+1
	}
	return unsettled(t, merge(s.spans, k.spans))
}

// unsettled drops the spans in which there is nothing to redact.
func unsettled(t string, spans []span) []span {
	return slices.DeleteFunc(spans, func(sp span) bool { return settled(t[sp.start:sp.end]) })
}

// merge joins two sorted lists.
func merge(a, b []span) []span {
	out := make([]span, 0, len(a)+len(b))
	for len(a) > 0 || len(b) > 0 {
		var sp span
		if len(b) == 0 || len(a) > 0 && a[0].start <= b[0].start {
			sp, a = a[0], a[1:]
		} else {
			sp, b = b[0], b[1:]
		}
		if n := len(out); n > 0 && sp.start <= out[n-1].end {
			out[n-1].end = max(out[n-1].end, sp.end)
			continue
		}
		out = append(out, sp)
	}
	return out
}

func (s *scanner) scan() {
	t, i := s.t, 0
	if s.mode == modeURI {
		i = s.wholeURI()
	}
	s.run(i, len(t))
	if s.qAt >= 0 {
		s.add(s.qAt+1, s.qEnd)
	}
}

// run applies the rules from i to limit, and returns where the last of them ended.
func (s *scanner) run(i, limit int) (next int) {
	t := s.t
	for i < limit {
		c := t[i]
		if byteFlags[c]&sawTrigger == 0 {
			i++
			continue
		}
		if s.qAt >= 0 && i > s.qAt {
			i = max(i, s.add(s.qAt+1, s.qEnd))
			s.qAt = -1
			continue
		}
		switch c {
		case ':':
			i = s.colon(i)
		case '=':
			i = s.equals(i)
		case '%':
			i = s.percent(i)
		case '_':
			i = s.token(i)
		case '-':
			i = s.dash(i)
		case '.':
			i = s.dot(i)
		case '?', '#':
			i = s.query(i)
		case '@':
			i = s.at(i)
		case '>':
			i = s.element(i)
		case '~':
			i = s.azure(i)
		case 'J':
			i = s.jwt(i)
		case 'b', 'B':
			i = s.scheme(i)
		default:
			i = s.fixed(i)
		}
	}
	return i
}

// --- name and value -------------------------------------------------------------------------------------

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

// percent looks at separators that a URL encoding hid, at any depth of encoding.
func (s *scanner) percent(i int) (next int) {
	t := s.t
	j := i + 1
	for strings.HasPrefix(t[j:], "25") {
		j += 2
	}
	if j+2 > len(t) || t[j] != '3' {
		return j
	}
	switch c := t[j+1] | 0x20; {
	case c == 'a' && (len(t)-j >= 8 && strings.EqualFold(t[j+2:j+8], "%2F%2F") || strings.HasPrefix(t[j+2:], "%252F%")):
		end := j + 2
		for end < len(t) && !isSpace(t[end]) && !isQuote(t[end]) && t[end] != '&' && t[end] != '[' {
			end++
		}
		return s.add(j+2, end)
	case c == 'a' || c == 'd':
		if next = s.pair(i, j+2, '%', false); next == j+2 {
			return i + 1 // the A or D may begin something else
		}
		return next
	}
	return j
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
		case c == ';' && (strings.HasSuffix(t[:j], "&quot;") || strings.HasSuffix(t[:j], "&#34;") || strings.HasSuffix(t[:j], "&#39;")):
			quoted = true
			j = strings.LastIndexByte(t[:j], '&')
		case j >= 3 && (t[j-3] == '%' || j >= 5 && t[j-5:j-2] == "%25") && (strings.EqualFold(t[j-2:j], "22") || strings.EqualFold(t[j-2:j], "27") || strings.EqualFold(t[j-2:j], "5D")):
			quoted = true
			j -= 2
			for j > 0 && t[j-1] != '%' {
				j--
			}
			j--
		default:
			break closers
		}
	}
	k := j
	for k > 0 && j-k < maxKey && isKeyChar(t[k-1]) {
		k--
	}
	start = k
	if k > 0 && t[k-1] == '%' && j-k > 2 {
		if strings.HasPrefix(t[k:], "25") && j-k > 4 {
			k += 2
		}
		k += 2
	}
	return t[k:j], quoted, start
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
		// "API key: x", "API key provided: x"
		if quoted || n < 2 || sep == '%' || start == 0 || t[start-1] != ' ' || n > 12 {
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

// value redacts the value that begins at v after a sensitive name.
func (s *scanner) value(v int, sep byte, weak, quotedName bool, norm []byte) (next int) {
	t, after := s.t, v
	for v < len(t) && (isSpace(t[v]) || sep == '%' && t[v] == '+') {
		v++
	}
	if sep == '%' {
		for strings.HasPrefix(t[v:], "%20") {
			v += 3
		}
	}
	if v >= len(t) {
		return after
	}
	if strings.HasPrefix(t[v:], Redacted) {
		if e := v + len(Redacted); e == len(t) || s.ends(e, sep) {
			return e
		}
	}
	q := v
	for q < len(t) && t[q] == '\\' {
		q++
	}
	if q < len(t) && isQuote(t[q]) {
		return s.quotedValue(q, q-v)
	}
	if sep == '%' && (strings.HasPrefix(t[v:], "%22") || strings.HasPrefix(t[v:], "%27")) {
		end := strings.Index(t[v+3:], t[v:v+3])
		if end < 0 {
			end = len(t) - v - 3
		}
		return s.add(v+3, v+3+end)
	}
	if t[v] == '[' || t[v] == '{' {
		end := balanced(t, v)
		if end < len(t) && !s.ends(end, sep) {
			end = s.bare(end, sep)
		}
		return s.add(v, end)
	}
	if isNote(t[v:]) {
		return len(t)
	}
	isAuth := sep != '%' && bytes.HasSuffix(norm, wordAuthorization)
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
	} else if weak && !hasDigit(t[v:s.bare(v, sep)]) {
		return v
	}
	if sep == ':' && (bytes.HasSuffix(norm, wordCookie) || bytes.HasSuffix(norm, wordCookies)) {
		return s.add(v, s.unquotedLine(v))
	}
	first := s.bare(v, sep)
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
		if e := s.bare(w, sep); schemeKind(t[w:e]) == 1 {
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
	if end := s.bare(w, sep); end > w && !authParam(t[w:end]) {
		return s.add(v, end)
	}
	if isAuth {
		return s.add(v, s.line(v))
	}
	return v
}

// schemeKind tells the HTTP authentication schemes: 1 has one value after it, 2 has a list.
func schemeKind(word string) int {
	switch {
	case len(word) < 4 || len(word) > 24:
		return 0
	case strings.EqualFold(word, "bearer"), strings.EqualFold(word, "basic"), strings.EqualFold(word, "token"),
		strings.EqualFold(word, "negotiate"), strings.EqualFold(word, "ntlm"), strings.EqualFold(word, "dpop"),
		strings.EqualFold(word, "apikey"), strings.EqualFold(word, "api-key"), strings.EqualFold(word, "gnap"),
		strings.EqualFold(word, "privatetoken"), strings.EqualFold(word, "splunk"):
		return 1
	case strings.EqualFold(word, "digest"), strings.EqualFold(word, "oauth"), strings.EqualFold(word, "hawk"),
		strings.EqualFold(word, "signature"), strings.EqualFold(word, "mutual"), strings.EqualFold(word, "vapid"),
		len(word) > 5 && (strings.EqualFold(word[:5], "aws4-") || strings.EqualFold(word[:5], "scram")):
		return 2
	}
	return 0
}

// quotedValue redacts what is in the quotes that open at q, after n backslashes that escape them.
func (s *scanner) quotedValue(q, n int) (next int) {
	t, c := s.t, s.t[q]
	slashes := 0
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
func (s *scanner) bare(v int, sep byte) int {
	t := s.t
	for j := v; j < len(t); j++ {
		if !s.ends(j, sep) {
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
func (s *scanner) ends(j int, sep byte) bool {
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
	case '%':
		return sep == '%' && (strings.HasPrefix(t[j:], "%26") || strings.HasPrefix(t[j:], "%22"))
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

// element looks at the end of an opening XML tag.
func (s *scanner) element(i int) (next int) {
	name, _, start := s.name(i)
	if name == "" || start == 0 || s.t[start-1] != '<' && s.t[start-1] != ':' || !SensitiveKey(name) {
		return i + 1
	}
	end := strings.IndexByte(s.t[i+1:], '<')
	if end < 0 {
		return s.add(i+1, len(s.t))
	}
	return s.add(i+1, i+1+end)
}

// --- words and dashes -----------------------------------------------------------------------------------

// scheme looks at a b that may begin "Bearer x" or "Basic x".
func (s *scanner) scheme(i int) (next int) {
	t := s.t
	if i > 0 && isLetter(t[i-1]) {
		return i + 1
	}
	basic := false
	v := i
	switch {
	case len(t)-i > 6 && strings.EqualFold(t[i:i+6], "bearer"):
		v += 6
	case len(t)-i > 5 && strings.EqualFold(t[i:i+5], "basic"):
		v += 5
		basic = true
	default:
		return i + 1
	}
	after := v
	for v < len(t) {
		n := 0
		switch {
		case isSpace(t[v]) || t[v] == '+':
			n = 1
		case strings.HasPrefix(t[v:], "%20"):
			n = 3
		}
		if n == 0 {
			break
		}
		v += n
	}
	if v == after || v >= len(t) {
		return after
	}
	if isQuote(t[v]) {
		v++
	}
	end := v
	for end < len(t) && !isSpace(t[end]) && !isQuote(t[end]) && strings.IndexByte("\\,;<>)", t[end]) < 0 {
		end++
	}
	value := t[v:end]
	if strings.HasPrefix(value, Redacted) {
		if e := v + len(Redacted); e == len(t) || s.ends(e, ' ') {
			return e
		}
	}
	if settled(value) {
		return end
	}
	value = strings.TrimRight(value, ".:!?]}")
	if value == "" || strings.EqualFold(value, "bearer") || strings.EqualFold(value, "basic") {
		return after
	}
	if basic {
		if !basicValue(value) {
			return after
		}
		return s.add(v, end)
	}
	if inSet(prose, value) {
		// "bearer token 0a1b2c…"
		w := end
		for w < len(t) && isSpace(t[w]) {
			w++
		}
		e := w
		for e < len(t) && (isWord(t[e]) || t[e] == '.') {
			e++
		}
		if e-w >= 16 && hasDigit(t[w:e]) {
			return s.add(w, e)
		}
		return after
	}
	if authParam(value) {
		return after
	}
	return s.add(v, v+len(value))
}

// authParam reports whether v is a challenge's parameter, as in: Bearer realm="x".
func authParam(v string) bool {
	k, rest, ok := strings.Cut(v, "=")
	if !ok {
		return false
	}
	for i := range len(k) {
		if !isLetter(k[i]) && k[i] != '_' && k[i] != '-' {
			return false
		}
	}
	switch k {
	case "realm", "scope", "error", "error_description", "error_uri", "resource_metadata", "charset", "algs", "title":
		return true
	}
	return rest != "" && rest[0] != '=' && len(k) < 32
}

// basicValue reports whether the word after Basic is a user and password, or could be.
func basicValue(v string) bool {
	b := strings.TrimRight(v, "=")
	if len(b) < 4 {
		return false
	}
	if strings.HasSuffix(v, "=") {
		return true
	}
	head := b[:min(len(b)&^3, 256)]
	raw, err := base64.StdEncoding.DecodeString(head)
	if err != nil {
		if raw, err = base64.URLEncoding.DecodeString(head); err != nil {
			return false
		}
	}
	if slices.Contains(raw, ':') {
		return true
	}
	return len(b) >= 8 && hasDigit(b) && hasUpper(b)
}

// dash looks at PEM blocks, at options of a command line, and at token prefixes.
func (s *scanner) dash(i int) (next int) {
	t, j := s.t, i
	for j < len(t) && t[j] == '-' {
		j++
	}
	switch n := j - i; {
	case n == 1:
		return s.token(i)
	case n == 2:
		k := j
		for k < len(t) && k-j < maxKey && isKeyChar(t[k]) {
			k++
		}
		if k >= len(t) || k == j || !SensitiveKey(t[j:k]) {
			return j
		}
		v := k
		if isQuote(t[v]) { // "--password", "x"
			v++
			for v < len(t) && (t[v] == ',' || isSpace(t[v])) {
				v++
			}
			if v >= len(t) || !isQuote(t[v]) {
				return j
			}
		} else {
			for v < len(t) && isSpace(t[v]) {
				v++
			}
		}
		if v == k || v >= len(t) || t[v] == '-' || inSet(prose, leadingWord(t[v:])) {
			return j
		}
		if next = s.run(j, k); next > k {
			return next
		}
		return s.value(v, ' ', false, true, nil)
	case n >= 4:
		begin := j
		for begin < len(t) && t[begin] == ' ' {
			begin++
		}
		if end := pemEnd(t, begin); end > 0 {
			return s.add(i, end)
		}
		return j
	}
	return j
}

// pemEnd returns the end of the PEM block whose BEGIN would be at begin, 0 if there is none. A block without an
// END goes on to the end of the text.
func pemEnd(t string, begin int) int {
	if !strings.HasPrefix(t[begin:], "BEGIN ") {
		return 0
	}
	k := strings.Index(t[begin:], "---END ")
	if k < 0 {
		k = strings.Index(t[begin:], "--- END ")
	}
	if k < 0 {
		return len(t)
	}
	k += begin + len("---END ")
	for k < len(t) && t[k] != '-' && t[k] != '\n' {
		k++
	}
	for k < len(t) && t[k] == '-' {
		k++
	}
	return k
}

// --- URIs -----------------------------------------------------------------------------------------------

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
