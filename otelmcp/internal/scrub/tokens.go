// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file holds the credentials that can be told by how they begin.

// prefix is how a kind of token begins, up to and with the byte at which the scanner looks for it (_ - or .).
type prefix struct {
	s        string
	min      int  // bytes of the token after the prefix, at least
	dots     bool // the token has dots in it
	bound    bool // what is before the prefix must not be a letter or digit
	mixed    bool // the token must have a digit or capital, or a long run without _ and -: the prefix is a usual word
	toTheEnd bool // everything after it is secret
}

var prefixes = [...]prefix{
	// forges and registries
	{s: "ghp_", min: 16},
	{s: "gho_", min: 16},
	{s: "ghu_", min: 16},
	{s: "ghs_", min: 16, dots: true},
	{s: "ghr_", min: 16},
	{s: "github_pat_", min: 16},
	{s: "glpat-", min: 12, dots: true},
	{s: "gldt-", min: 16},
	{s: "glrt-", min: 16, dots: true},
	{s: "glptt-", min: 16},
	{s: "glcbt-", min: 16},
	{s: "glimt-", min: 16},
	{s: "glsoat-", min: 16},
	{s: "gloas-", min: 16},
	{s: "glft-", min: 16},
	{s: "glagent-", min: 16},
	{s: "npm_", min: 20, mixed: true},
	{s: "pypi-", min: 16, mixed: true},
	{s: "rubygems_", min: 16, mixed: true},
	{s: "dckr_pat_", min: 16},
	{s: "dckr_oat_", min: 16},
	// chat
	{s: "xoxa-", min: 8},
	{s: "xoxb-", min: 8},
	{s: "xoxp-", min: 8},
	{s: "xoxr-", min: 8},
	{s: "xoxs-", min: 8},
	{s: "xoxe-", min: 8},
	{s: "xoxe.", min: 8, dots: true},
	{s: "xoxc-", min: 8},
	{s: "xoxd-", min: 8},
	{s: "xapp-", min: 10},
	// model providers
	{s: "sk-ant-", min: 8},
	{s: "sk-proj-", min: 8},
	{s: "sk-or-", min: 16, mixed: true},
	{s: "sk-svcacct-", min: 8},
	{s: "sk-admin-", min: 16, mixed: true},
	{s: "sk-", min: 16, bound: true, mixed: true},
	{s: "hf_", min: 20, mixed: true},
	{s: "r8_", min: 20, mixed: true},
	{s: "gsk_", min: 20, mixed: true},
	{s: "xai-", min: 20, mixed: true},
	{s: "pplx-", min: 20, mixed: true},
	{s: "nvapi-", min: 20, mixed: true},
	{s: "tvly-", min: 16, mixed: true},
	// clouds and platforms
	{s: "ya29.", min: 12, dots: true},
	{s: "GOCSPX-", min: 12},
	{s: "dop_v1_", min: 16},
	{s: "doo_v1_", min: 16},
	{s: "dor_v1_", min: 16},
	{s: "hvs.", min: 16, mixed: true},
	{s: "hvb.", min: 16, mixed: true},
	{s: "hvr.", min: 16, mixed: true},
	{s: "dp.pt.", min: 16},
	{s: "dp.st.", min: 16, dots: true},
	{s: "glsa_", min: 16},
	{s: "glc_", min: 20, mixed: true},
	{s: "sntrys_", min: 16, mixed: true},
	{s: "sntryu_", min: 16, mixed: true},
	{s: "NRAK-", min: 16},
	{s: "PMAK-", min: 16},
	{s: "lin_api_", min: 16},
	{s: "figd_", min: 16, mixed: true},
	{s: "ntn_", min: 20, mixed: true},
	{s: "shpat_", min: 16},
	{s: "shpss_", min: 16},
	{s: "shpca_", min: 16},
	{s: "shppa_", min: 16},
	{s: "pscale_tkn_", min: 16},
	{s: "pscale_pw_", min: 16},
	{s: "AGE-SECRET-KEY-", min: 16},
	{s: "PuTTY-User-Key-File-", toTheEnd: true},
	// mail and payment
	{s: "SG.", min: 24, dots: true, mixed: true},
	{s: "key-", min: 32, bound: true, mixed: true},
	{s: "xkeysib-", min: 16},
	{s: "sk_live_", min: 8},
	{s: "rk_live_", min: 8},
	{s: "pk_live_", min: 8},
	{s: "sk_test_", min: 8, mixed: true},
	{s: "rk_test_", min: 8, mixed: true},
	{s: "whsec_", min: 16},
	{s: "sq0csp-", min: 16},
	{s: "sq0atp-", min: 16},
}

// byTail finds the prefixes by their last byte but one.
var byTail = func() (m [256][]uint8) {
	for k, p := range prefixes {
		c := p.s[len(p.s)-2]
		m[c] = append(m[c], uint8(k))
	}
	return m
}()

// decideWithin bounds how far a token is read to decide whether it is one, which keeps the scan linear.
const decideWithin = 256

// token looks for a prefix that ends at i.
func (s *scanner) token(i int) (next int) {
	if i == 0 {
		return i + 1
	}
	t := s.t
	for _, k := range byTail[t[i-1]] {
		p := &prefixes[k]
		if p.s[len(p.s)-1] != t[i] {
			continue
		}
		start := i + 1 - len(p.s)
		if start < 0 || t[start:i+1] != p.s || p.bound && start > 0 && isAlnum(t[start-1]) {
			continue
		}
		if p.toTheEnd {
			return s.add(start, len(t))
		}
		n, run, longest, mixed := 0, 0, 0, false
		for j := i + 1; j < len(t) && n < decideWithin; j++ {
			c := t[j]
			if !isWord(c) && (c != '.' || !p.dots) {
				break
			}
			n++
			if isAlnum(c) {
				run++
				longest = max(longest, run)
				mixed = mixed || isDigit(c) || c <= 'Z'
			} else {
				run = 0
			}
		}
		if n < p.min || p.mixed && !mixed && longest < 20 {
			continue
		}
		end := i + 1 + n
		for end < len(t) && (isWord(t[end]) || t[end] == '.' && p.dots) {
			end++
		}
		return s.add(start, end)
	}
	return i + 1
}

// fixed recognizes the keys that have no punctuation: AWS, Google, Atlassian, Meta, Twilio.
func (s *scanner) fixed(i int) (next int) {
	t := s.t
	if len(t)-i < 16 {
		return i + 1
	}
	run := func(from, most int, ok func(byte) bool) int {
		j := from
		for j < len(t) && j-from < most && ok(t[j]) {
			j++
		}
		return j - from
	}
	rest := func(from int) int {
		for from < len(t) && isWord(t[from]) {
			from++
		}
		return from
	}
	upper := func(c byte) bool { return c >= 'A' && c <= 'Z' || isDigit(c) }
	hex := func(c byte) bool { return c >= 'a' && c <= 'f' || isDigit(c) }
	switch t[i : i+4] {
	case "AKIA", "ASIA", "ABIA", "ACCA":
		if run(i+4, 12, upper) == 12 {
			return s.add(i, rest(i+4))
		}
	case "AIza":
		if run(i+4, 20, isWord) == 20 {
			return s.add(i, rest(i+4))
		}
	case "ATAT", "ATCT", "ATBB":
		if run(i+4, 24, isWord) == 24 {
			end := rest(i + 4)
			if end < len(t) && t[end] == '=' {
				end = rest(end + 1)
			}
			return s.add(i, end)
		}
	}
	switch {
	case t[i:i+3] == "EAA" && run(i+3, 40, isAlnum) == 40:
		return s.add(i, rest(i+3))
	case t[i:i+2] == "SK" && run(i+2, 32, hex) == 32:
		return s.add(i, rest(i+2))
	}
	return i + 1
}

// jwt looks at a J that may be the third letter of a JSON Web Token, signed or encrypted.
func (s *scanner) jwt(i int) (next int) {
	t := s.t
	if i < 2 || t[i-2] != 'e' || t[i-1] != 'y' || i < s.notJWT {
		return i + 1
	}
	j := i + 1
	for j < len(t) && isWord(t[j]) {
		j++
	}
	if j == len(t) && s.cut {
		return s.add(i-2, j)
	}
	if j-i < 8 || j+1 >= len(t) || t[j] != '.' || !isWord(t[j+1]) {
		s.notJWT = j
		return i + 1
	}
	for j < len(t) && (isWord(t[j]) || t[j] == '.' || t[j] == '=') {
		j++
	}
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
