// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file knows the schemes of HTTP authentication, whose name stands before a credential.

import (
	"encoding/base64"
	"slices"
	"strings"
)

// schemeKind tells the HTTP authentication schemes: 1 has one value after it, 2 has a list.
func schemeKind(word string) int {
	switch {
	case len(word) < 4 || len(word) > 24:
		return 0
	case strings.EqualFold(word, "bearer"), strings.EqualFold(word, "basic"), strings.EqualFold(word, "token"),
		strings.EqualFold(word, "negotiate"), strings.EqualFold(word, "ntlm"), strings.EqualFold(word, "dpop"),
		strings.EqualFold(word, "apikey"), strings.EqualFold(word, "api-key"), strings.EqualFold(word, "gnap"),
		strings.EqualFold(word, "privatetoken"), strings.EqualFold(word, "splunk"), strings.EqualFold(word, "ssws"),
		strings.EqualFold(word, "geniekey"), strings.EqualFold(word, "sso-key"):
		return 1
	case strings.EqualFold(word, "digest"), strings.EqualFold(word, "oauth"), strings.EqualFold(word, "hawk"),
		strings.EqualFold(word, "signature"), strings.EqualFold(word, "mutual"), strings.EqualFold(word, "vapid"),
		len(word) > 5 && (strings.EqualFold(word[:5], "aws4-") || strings.EqualFold(word[:5], "scram")):
		return 2
	}
	return 0
}

// scheme looks at a letter that may begin "Bearer x", "Basic x" or, of Okta, "SSWS x".
func (s *scanner) scheme(i int) (next int) {
	t := s.t
	if i > 0 && isLetter(t[i-1]) || len(t)-i < 4 {
		return i + 1
	}
	basic := false
	v := i
	switch second := t[i+1] | 0x20; {
	case second != 'e' && second != 'a' && second != 'y' && second != 's':
		return i + 1
	case len(t)-i > 6 && strings.EqualFold(t[i:i+6], "bearer"):
		v += 6
	case len(t)-i > 5 && strings.EqualFold(t[i:i+5], "basic"):
		v += 5
		basic = true
	case strings.HasPrefix(t[i:], "SSWS "):
		v += 4
	default:
		return s.identifiedBy(i)
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
		if e := v + len(Redacted); e == len(t) || s.ends(e) {
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
