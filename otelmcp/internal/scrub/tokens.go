// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file recognizes tokens by their form: by how they begin, and by their parts.

import (
	"strings"
	"unicode/utf8"
)

// decideWithin bounds how far a token is read to decide whether it is one, which keeps the scan linear.
const decideWithin = 256

// token looks for a prefix whose anchor is at i.
func (s *scanner) token(i int) (next int) {
	t := s.t
	if i == 0 || t[i-1] >= utf8.RuneSelf {
		return i + 1
	}
	found := &anchored[anchorNumber[t[i]]][t[i-1]]
	for k := found.from; k < found.to; k++ {
		p := &prefixes[k]
		start := i - p.at
		if start < 0 || len(t)-start < len(p.s) || t[start:start+len(p.s)] != p.s {
			continue
		}
		if next, ok := s.issued(p, start, start+len(p.s)); ok {
			return next
		}
	}
	return i + 1
}

// issued redacts the token that begins at start and whose prefix ends at from, if it is one.
func (s *scanner) issued(p *prefix, start, from int) (next int, ok bool) {
	t := s.t
	if p.must&rest != 0 {
		return s.add(start, len(t)), true
	}
	if p.must&bound != 0 && start > 0 && isAlnum(t[start-1]) {
		return 0, false
	}
	if p.left > 0 {
		k := start
		for k > 0 && start-k < decideWithin && isAlnum(t[k-1]) {
			k--
		}
		if start-k < p.left {
			return 0, false
		}
		start = k
	}
	j, n, run, longest, isMixed, isHex, has := from, 0, 0, 0, false, true, p.has == 0
	for n < decideWithin {
		if j < len(t) && t[j] == '\n' {
			j = s.wrapped(j, false)
		}
		if j == len(t) || inAlphabets[t[j]]&p.abc == 0 {
			break
		}
		c := t[j]
		j++
		n++
		has = has || c == p.has
		isHex = isHex && inAlphabets[c]&hex != 0
		if isAlnum(c) {
			run++
			longest = max(longest, run)
			isMixed = isMixed || c <= 'Z'
		} else {
			run = 0
		}
	}
	switch {
	case n < p.min, !has, p.must&mixed != 0 && !isMixed && longest < 20, p.must&opaque != 0 && !isOpaque(t[from:j]), p.must&unlikeHex != 0 && isHex,
		p.most > 0 && n > p.most, (p.most > 0 || p.min == 0) && j < len(t) && isAlnum(t[j]):
		return 0, false
	}
	for {
		for j < len(t) && (isWord(t[j]) || inAlphabets[t[j]]&p.abc != 0) {
			j++
		}
		k := s.wrapped(j, false)
		if k == j {
			return s.add(start, j), true
		}
		j = k
	}
}

// wrapped returns where a token goes on that is broken at j into two lines; j if it is not. What goes on is no word:
// it has letters and digits, or capitals inside, and nothing that belongs to it follows.
func (s *scanner) wrapped(j int, dotted bool) int {
	t := s.t
	if j >= len(t) || t[j] != '\n' {
		return j
	}
	from := j + 1
	for from < len(t) && t[from] == ' ' && from-j < 16 {
		from++
	}
	end, digits, letters, inner := from, false, false, false
	for end < len(t) && end-from < decideWithin && (isWord(t[end]) || dotted && t[end] == '.' && end+1 < len(t) && isWord(t[end+1])) {
		switch c := t[end]; {
		case isDigit(c):
			digits = true
		case isLetter(c):
			letters = true
			inner = inner || c <= 'Z' && end > from && t[end-1] >= 'a'
		}
		end++
	}
	if end-from < 5 || !letters || !digits && !inner {
		return j
	}
	if end == len(t) || isSpace(t[end]) || isQuote(t[end]) || strings.IndexByte(",;)}]<>&\\/+", t[end]) >= 0 || end-from == decideWithin {
		return from
	}
	if t[end] == '.' && (end+1 == len(t) || isSpace(t[end+1])) || t[end] == '=' && (end+1 == len(t) || !isAlnum(t[end+1])) {
		return from
	}
	return j
}

// jwt looks at a J that may be the third letter of a JSON Web Token, signed or encrypted.
func (s *scanner) jwt(i int) (next int) {
	t := s.t
	if i < 2 || t[i-2] != 'e' || t[i-1] != 'y' || i < s.notJWT {
		return i + 1
	}
	words := func(j int, dotted bool) int {
		for {
			for j < len(t) && (isWord(t[j]) || dotted && (t[j] == '.' || t[j] == '=')) {
				j++
			}
			k := s.wrapped(j, true)
			if k == j {
				return j
			}
			j = k
		}
	}
	j := words(i+1, false)
	if j == len(t) && s.cut {
		return s.add(i-2, j)
	}
	if j-i < 8 || j+1 >= len(t) || t[j] != '.' || !isWord(t[j+1]) {
		s.notJWT = j
		return i + 1
	}
	j = words(j, true)
	for t[j-1] == '.' {
		j--
	}
	return s.add(i-2, j)
}

// dot looks at a dot: tokens in three parts, webhook addresses that are their own credential, and prefixes.
func (s *scanner) dot(i int) (next int) {
	t := s.t
	rest := t[i:]
	for _, w := range webhooks {
		if len(rest) > len(w) && rest[:len(w)] == w {
			end := i + len(w)
			for end < len(t) && !isSpace(t[end]) && !isQuote(t[end]) && t[end] != '<' && t[end] != '>' && t[end] != '\\' {
				end++
			}
			return s.add(i+len(w), end)
		}
	}
	// Discord: 24 to 28 characters, 6 or 7, and at least 27.
	if n := wordRun(rest[1:], 8); (n == 6 || n == 7) && len(rest) > n+1 && rest[n+1] == '.' && wordRun(rest[n+2:], 27) == 27 {
		start := i
		for start > 0 && i-start < 28 && isWord(t[start-1]) {
			start--
		}
		if i-start >= 23 {
			end := i + n + 2
			for end < len(t) && isWord(t[end]) {
				end++
			}
			return s.add(start, end)
		}
	}
	// Airtable: pat and 14 characters, and 64 hexadecimal digits.
	if start := i - 17; start >= 0 && t[start:start+3] == "pat" && (start == 0 || !isAlnum(t[start-1])) {
		n := 0
		for n+1 < len(rest) && n < 64 && inAlphabets[rest[n+1]]&hex != 0 {
			n++
		}
		if n == 64 && wordRun(t[start:], 17) == 17 {
			return s.add(start, i+1+n)
		}
	}
	return s.token(i)
}

var webhooks = [...]string{
	".slack.com/services/", ".slack.com/workflows/", ".slack.com/triggers/", ".com/api/webhooks/",
	".office.com/webhookb2/", ".office.com/webhook/", ".telegram.org/bot", ".telegram.org/file/bot",
}

func wordRun(t string, most int) int {
	n := 0
	for n < len(t) && n < most && isWord(t[n]) {
		n++
	}
	return n
}

// azure looks at the ~ of an Azure client secret: three characters, a digit, Q~ and 31 more.
func (s *scanner) azure(i int) (next int) {
	t := s.t
	ok := func(c byte) bool { return isWord(c) || c == '~' || c == '.' }
	if i < 5 || t[i-1] != 'Q' || !isDigit(t[i-2]) || !ok(t[i-3]) || !ok(t[i-4]) || !ok(t[i-5]) {
		return i + 1
	}
	j := i + 1
	for j < len(t) && j-i <= 24 && ok(t[j]) {
		j++
	}
	if j-i <= 24 {
		return i + 1
	}
	for j < len(t) && ok(t[j]) {
		j++
	}
	return s.add(i-5, j)
}

// telegram recognizes a bot token, digits and then :AA, around the colon at i.
func (s *scanner) telegram(i int) (next int, ok bool) {
	t := s.t
	if i < 6 || len(t)-i < 34 || t[i+1] != 'A' || t[i+2] != 'A' || wordRun(t[i+1:], 30) < 30 {
		return 0, false
	}
	start := i
	for start > 0 && i-start < 12 && isDigit(t[start-1]) {
		start--
	}
	if i-start < 6 {
		return 0, false
	}
	end := i + 1
	for end < len(t) && isWord(t[end]) {
		end++
	}
	return s.add(start, end), true
}
