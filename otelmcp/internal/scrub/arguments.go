// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file finds the secrets of a command whose arguments are a list of strings, with the table that the scan has
// for commands in a text.

import "strings"

// Arguments follows a list of strings that may be a command and its arguments. The zero value is at the beginning.
type Arguments struct {
	commands uint16 // bit n says that commands[n] is among the strings so far
	secret   bool   // the next argument is a secret
	pair     bool   // it is one if it is a user's name, a colon and a password
}

// Next takes the next string of the list and returns where in it a secret begins: len(arg) if it has none.
func (a *Arguments) Next(arg string) int {
	secret := a.secret || a.pair && isPair(arg)
	a.secret, a.pair = false, false
	switch {
	case secret:
		return 0
	case arg == "|" || arg == ";":
		a.commands = 0
	case !strings.HasPrefix(arg, "-"):
		if len(arg) <= decideWithin {
			a.read(arg)
		}
	default:
		return a.option(arg)
	}
	return len(arg)
}

// Skip takes something that is no string, and reports whether it is a secret.
func (a *Arguments) Skip() bool {
	secret := a.secret
	a.secret, a.pair = false, false
	return secret
}

func (a *Arguments) read(arg string) {
	for p := range len(arg) {
		if n := commandAt(arg, p); n >= 0 {
			a.commands |= 1 << n
		}
	}
}

// option is Next for an argument that begins with a dash.
func (a *Arguments) option(arg string) int {
	dashes := 1
	if strings.HasPrefix(arg, "--") {
		dashes = 2
	}
	name, value, hasValue := strings.Cut(arg[dashes:], "=")
	if !hasValue && len(name) <= maxKey && SensitiveKey(name) {
		a.secret = true
		return len(arg)
	}
	for n := range commands {
		c := &commands[n]
		if a.commands&(1<<n) == 0 {
			continue
		}
		switch {
		case !c.takes(name, dashes):
			if c.attached == "" || dashes != 1 || len(arg) < 3 || arg[1] != c.attached[0] {
				continue
			}
			if !c.pair || isPair(arg[2:]) {
				return 2
			}
		case !hasValue:
			a.secret, a.pair = a.secret || !c.pair, a.pair || c.pair
		case value != "" && (!c.pair || isPair(value)):
			return len(arg) - len(value)
		}
	}
	return len(arg)
}

// takes reports whether the name, after so many dashes, is that of an option for a secret.
func (c *command) takes(name string, dashes int) bool {
	return hasWord(c.options, name) || c.bundles && dashes == 1 && isBundle(name)
}

// isPair reports whether v is a user's name, a colon and a password. A colon at the end has no password after it: it
// may be that of the next pair.
func isPair(v string) bool {
	return v != "" && strings.IndexByte(v[:len(v)-1], ':') >= 0 && !isDigits(v)
}

// longestBundle is the longest of options of one letter that are written as one.
const longestBundle = 8

// isBundle reports whether the name may be several options of one letter, of which the last is u.
func isBundle(name string) bool {
	for i := range len(name) {
		if !isLetter(name[i]) {
			return false
		}
	}
	return name != "" && len(name) <= longestBundle && name[len(name)-1] == 'u'
}

// commandAt returns the number of the command whose name is at p, in any case; -1 if none is.
func commandAt(t string, p int) int {
	switch t[p] {
	case 'c', 'h', 'm', 's', 'r', 'l', 'p', 'C', 'H', 'M', 'S', 'R', 'L', 'P':
		for n := range commands {
			name := commands[n].name
			if end := p + len(name); t[p]|0x20 == name[0] && end <= len(t) && strings.EqualFold(t[p:end], name) {
				return n
			}
		}
	}
	return -1
}
