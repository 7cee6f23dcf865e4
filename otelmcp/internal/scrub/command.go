// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file recognizes the secrets in commands: options of a shell's, and statements of SQL and netrc.

import "strings"

// command is one with options for a secret that another command has for something else.
type command struct {
	name, options string
	attached      string // the option that its value follows without a space
	pair          bool   // the value is a secret only if it has a colon, since without one it is a user's name
	bundles       bool   // -u may be the last of several letters
}

var commands = [...]command{
	{name: "curl", options: "u user U proxy-user", attached: "u", pair: true, bundles: true},
	{name: "http", options: "a auth", pair: true},
	{name: "mysql", attached: "p"},
	{name: "mariadb", attached: "p"},
	{name: "sshpass", options: "p", attached: "p"},
	{name: "redis-cli", options: "a"},
	{name: "mongo", options: "p"},
	{name: "login", options: "p"},
	{name: "ldapsearch", options: "w"},
	{name: "sqlcmd", options: "P"},
	{name: "psexec", options: "p"},
	{name: "smbclient", options: "U"},
}

// option looks at the option whose name begins at j, after one dash or two.
func (s *scanner) option(i, j int) (next int) {
	t := s.t
	if j-i == 1 && i > 0 && !isSpace(t[i-1]) && !isQuote(t[i-1]) && t[i-1] != '[' && t[i-1] != '(' {
		return i
	}
	k := j
	for k < len(t) && k-j < maxKey && isKeyChar(t[k]) {
		k++
	}
	if k >= len(t) || k == j {
		return i
	}
	if SensitiveKey(t[j:k]) {
		return s.argument(j, k)
	}
	bundle := j-i == 1 && isBundle(t[j:k]) // curl -sSu
	if !bundle && !strings.HasPrefix(t[j:], "auth") && !strings.HasPrefix(t[j:], "user") && !strings.HasPrefix(t[j:], "proxy-user") &&
		strings.IndexByte("uUapPw", t[j]) < 0 {
		return i
	}
	s.commands.read(t, i)
	for n := range commands {
		c := &commands[n]
		if !s.commands.has(n, i) {
			continue
		}
		v := k
		if !c.takes(t[j:k], j-i) {
			if c.attached == "" || j-i != 1 || k == j+1 || t[j] != c.attached[0] {
				continue
			}
			v = j + 1
		}
		if v = s.toArgument(v, k); v < 0 {
			continue
		}
		if !c.pair {
			if isQuote(t[v-1]) {
				v--
			}
			return s.value(v, ' ', false, true, nil)
		}
		if end := s.argumentEnd(v); isPair(t[v:end]) {
			return s.add(v, end)
		}
	}
	return i
}

// toArgument returns where the argument begins of an option that ends at v, -1 if there is none.
func (s *scanner) toArgument(v, k int) int {
	t := s.t
	switch {
	case v < k: // attached
	case v+1 < len(t) && isQuote(t[v]) && t[v+1] != ',' && !isSpace(t[v+1]): // -u"x"
	case v < len(t) && isQuote(t[v]): // "-u", "x"
		if v = s.nextArgument(v); v == 0 {
			return -1
		}
	default:
		if v < len(t) && t[v] == '=' {
			v++
		}
		v = s.spaces(v)
	}
	if v < len(t) && isQuote(t[v]) {
		v++
	}
	if v >= len(t) || t[v] == '-' || strings.HasPrefix(t[v:], Redacted) {
		return -1
	}
	return v
}

// nextArgument returns where the next of quoted arguments begins, after the quote at v that ends one; 0 if none does.
func (s *scanner) nextArgument(v int) int {
	t := s.t
	for v++; v < len(t) && (t[v] == ',' || isSpace(t[v])); {
		v++
	}
	if v >= len(t) || !isQuote(t[v]) {
		return 0
	}
	return v
}

// argumentEnd returns where the argument at v ends: at its quote, or the next space.
func (s *scanner) argumentEnd(v int) int {
	t, end := s.t, v
	if isQuote(t[v-1]) {
		if n := strings.IndexByte(t[v:], t[v-1]); n >= 0 {
			return v + n
		}
		return len(t)
	}
	for end < len(t) && !isSpace(t[end]) && !isQuote(t[end]) {
		end++
	}
	if end > v && end < len(t) && t[end-1] == ':' && isQuote(t[end]) { // bob:"x"
		if n := strings.IndexByte(t[end+1:], t[end]); n >= 0 {
			return end + n + 2
		}
	}
	return end
}

// commandLine is what the scan knows of the commands before an option. It reads each byte once at the most.
type commandLine struct {
	seen  int                // what is before here was read
	start int                // the command line begins here
	last  [len(commands)]int // where the last of each command ends, 0 if there is none
}

// read goes on to i, with what may matter to an option there.
func (l *commandLine) read(t string, i int) {
	for p := max(l.seen, i-decideWithin); p < i; p++ {
		if t[p] == '|' || t[p] == ';' {
			l.start = p + 1
		} else if n := commandAt(t, p); n >= 0 {
			l.last[n] = p + len(commands[n].name)
		}
	}
	l.seen = max(l.seen, i)
}

// has reports whether the command is before i, and near.
func (l *commandLine) has(n, i int) bool {
	end := l.last[n]
	return end > 0 && end <= i && end-len(commands[n].name) >= max(l.start, i-decideWithin)
}

func hasWord(words, word string) bool {
	for w := range strings.FieldsSeq(words) {
		if w == word {
			return true
		}
	}
	return false
}

// isDigits reports whether v is the numbers of a user and a group, or of ports.
func isDigits(v string) bool {
	for i := range len(v) {
		if !isDigit(v[i]) && v[i] != ':' {
			return false
		}
	}
	return true
}

// argument redacts what follows the option t[j:k], whose name says that it is a secret.
func (s *scanner) argument(j, k int) (next int) {
	t, v := s.t, k
	if isQuote(t[v]) { // "--password", "x"
		if v = s.nextArgument(v); v == 0 {
			return j
		}
	} else {
		v = s.spaces(v)
	}
	if v == k || v >= len(t) || t[v] == '-' || inSet(prose, leadingWord(t[v:])) {
		return j
	}
	if next = s.run(j, k); next > k {
		return next
	}
	return s.value(v, ' ', false, true, nil)
}

// password looks at a p that may begin the word password where no separator follows: PASSWORD 'x' in SQL, login bob
// password x in netrc, the password is 'x'.
func (s *scanner) password(i int) (next int) {
	t := s.t
	if len(t)-i < 10 || t[i+1]|0x20 != 'a' || t[i+4]|0x20 != 'w' || !strings.EqualFold(t[i:i+8], "password") || i > 0 && (isKeyChar(t[i-1]) || isQuote(t[i-1])) {
		return i + 1
	}
	v := s.spaces(i + 8)
	switch {
	case v > i+8:
		switch w := leadingWord(t[v:]); {
		case strings.EqualFold(w, "for"):
			if v = s.ofUser(v + len(w)); v == 0 {
				return i + 1
			}
		case w == "is", w == "was", w == "values":
			v = s.spaces(v + len(w))
		}
	case t[v] == '(' && isQuote(t[v+1]):
		v++
	default:
		return i + 1
	}
	if v >= len(t) {
		return i + 1
	}
	if isQuote(t[v]) {
		n := strings.IndexByte(t[v+1:min(len(t), v+1+lookahead)], t[v])
		if n < 1 || strings.IndexByte(t[v+1:v+1+n], ' ') >= 0 {
			return i + 1 // more than one word is a sentence
		}
		return s.add(v+1, v+1+n)
	}
	_, user := s.wordBefore(i)
	if login, _ := s.wordBefore(user); login != "login" || inSet(prose, leadingWord(t[v:])) {
		return i + 1
	}
	return s.value(v, ' ', false, true, nil)
}

// ofUser returns where the password begins in "for the user 'bob' is 'x'" or "FOR 'bob'@'host' = 'x'", whose "for"
// ends at v; 0 if it is not there.
func (s *scanner) ofUser(v int) int {
	t, end := s.t, min(len(s.t), v+2*maxKey)
	for v < end && !isQuote(t[v]) {
		v++
	}
	for v < end {
		if !isQuote(t[v]) {
			v++
			continue
		}
		n := strings.IndexByte(t[v+1:end], t[v])
		if n < 0 {
			return 0
		}
		v = s.spaces(v + n + 2)
		switch {
		case v < len(t) && t[v] == '=':
			v = s.spaces(v + 1)
		case strings.HasPrefix(t[v:], "is "):
			v = s.spaces(v + len("is "))
		case v < len(t) && t[v] == '@':
			continue
		default:
			return 0
		}
		if v < len(t) && isQuote(t[v]) {
			return v
		}
		return 0
	}
	return 0
}

// identifiedBy looks at a B that may be that of IDENTIFIED BY 'x', IDENTIFIED WITH plugin BY 'x' or, in lower case,
// of a statement about a user.
func (s *scanner) identifiedBy(i int) (next int) {
	t := s.t
	if len(t)-i < 4 || t[i+1]|0x20 != 'y' || !isSpace(t[i+2]) {
		return i + 1
	}
	verb, at := s.wordBefore(i)
	if with, k := s.wordBefore(at); strings.EqualFold(with, "with") || strings.EqualFold(with, "via") {
		verb, at = s.wordBefore(k)
	}
	if !strings.EqualFold(verb, "identified") {
		return i + 1
	}
	if verb != "IDENTIFIED" {
		before := t[max(0, at-decideWithin):at]
		if !strings.Contains(before, "user") && !strings.Contains(before, "role") && !strings.Contains(before, "grant") {
			return i + 1
		}
	}
	v := s.spaces(i + 3)
	if w := leadingWord(t[v:]); strings.EqualFold(w, "password") || strings.EqualFold(w, "values") {
		v = s.spaces(v + len(w))
	}
	if v >= len(t) || !isQuote(t[v]) && (verb != "IDENTIFIED" || inSet(prose, leadingWord(t[v:])) || strings.EqualFold(leadingWord(t[v:]), "random")) {
		return i + 1
	}
	return s.value(v, ' ', false, true, nil)
}

// spaces returns where the next character after v is that is no space.
func (s *scanner) spaces(v int) int {
	for v < len(s.t) && isSpace(s.t[v]) {
		v++
	}
	return v
}

// wordBefore returns the word before i, and where it begins.
func (s *scanner) wordBefore(i int) (word string, start int) {
	t, end := s.t, i
	for end > 0 && isSpace(t[end-1]) && i-end < maxKey {
		end--
	}
	start = end
	for start > 0 && !isSpace(t[start-1]) && end-start < maxKey {
		start--
	}
	return t[start:end], start
}
