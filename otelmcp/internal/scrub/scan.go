// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file finds credentials. One scan goes over the text from left to right and stops at the few bytes at
// which a credential can be told; each rule looks at what is around it and marks the span to redact. Every
// rule either consumes what it read or reads a bounded number of bytes, so the scan is linear in the text.

import (
	"slices"
	"strings"
)

// triggers are the bytes at which scan stops.
const triggers = ":=?#@>[bP" + anchors

type mode uint8

const (
	modeText mode = iota
	modeName      // "token:refresh" is a name
	modeURI       // the whole text is one URI
)

// span is a part of the text to redact.
type span struct{ start, end int }

type scanner struct {
	t    string
	mode mode
	cut  bool // more text followed t

	encoded bool // t is scanned again as view shows it
	spans   []span
	last    int // end of the last span

	extEnd int // end of the URI that the scan is in
	extAt  int // its last @
	qAt    int // its ? or #, or the comma of a data URI: all from there to qEnd goes; -1 when it is done
	qEnd   int
	atDone int // no @ before here is the last of its word
	notJWT int // no token starts before here

	object   object
	next     follows
	commands commandLine
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

// detect returns the spans of t to redact, sorted and apart from each other. encoded says that view differs from t.
func detect(t string, m mode, cut, encoded bool) []span {
	s := scanner{t: t, mode: m, cut: cut, encoded: encoded, qAt: -1}
	s.scan()
	if !encoded {
		return unsettled(t, s.spans)
	}
	plain, marks := view(t)
	k := scanner{t: plain, mode: m, cut: cut, qAt: -1}
	k.scan()
	for i := range k.spans {
		sp := &k.spans[i]
		last := place(marks, sp.end-1)
		sp.start, sp.end = place(marks, sp.start), last+1
		if _, n := decode(t, last); n > 0 && byteFlags[t[last]]&sawEncoded != 0 {
			sp.end = last + n
		}
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
		case '[':
			i = s.list(i)
		case '~':
			i = s.either(i, s.azure(i))
		case 'J':
			i = s.either(i, s.jwt(i))
		case 'b', 'B', 'S':
			i = s.either(i, s.scheme(i))
		case 'p', 'P':
			i = s.either(i, s.password(i))
		default:
			i = s.token(i)
		}
	}
	return i
}

// either returns next, where a rule ended, or looks for a token if that rule found nothing at i.
func (s *scanner) either(i, next int) int {
	if next > i+1 {
		return next
	}
	return s.token(i)
}
