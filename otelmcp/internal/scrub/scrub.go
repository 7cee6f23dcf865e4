// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package scrub makes text fit to leave the process. Every text that another party chose, or that may have a
// credential in it, goes through Text, URI or Name before it reaches a span, a metric or a log record.
//
// Three things happen, in this order:
//
//  1. Characters that could forge or hide something are replaced: line ends, tabs and the other spaces of
//     Unicode by a space; every other control character, ANSI color sequence, bidirectional control, zero-width
//     or otherwise invisible character, noncharacter and byte that is not UTF-8 by U+FFFD, so that it shows.
//     That includes variation selectors and joiners, which some scripts and emoji use.
//  2. Credentials are replaced by Redacted: JSON Web Tokens, PEM blocks, the values of Bearer and Basic, tokens
//     of clouds, forges and other services that can be told by their prefix, the value after a name such as
//     password or api_key in any of the usual notations, the secrets in commands and statements, webhook
//     addresses, and the user, query and fragment of a URI; docs/scrubbing.md has them all. It is done again
//     with the replaced characters taken out and encoded ones decoded (those of URLs, JSON, HTML, and full-width
//     forms), so that they cannot hide a secret.
//  3. What is longer than the cap is cut at the end of a character, with a note of how many bytes are missing.
//
// The result is never longer than the cap, is valid UTF-8 and one line, and does not change when it is scrubbed
// again. A secret that has no known form and no name before it cannot be recognized; values that may be such
// (arguments, results) are content, which is off unless the operator asks for it.
package scrub

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Redacted stands where a credential was.
const Redacted = "[REDACTED]"

// The note about a cut is noteHead, the number of bytes, noteTail.
const (
	noteHead = "…[+"
	noteTail = "B]"
)

// Slack is how many bytes of a text are looked at beyond the cap.
const Slack = 4096

const (
	// margin is how much of the end of a text that goes on beyond that is never shown, because a credential
	// that begins there may not be recognizable yet.
	margin = 256
	// rounds is how often a text is looked at again after something in it was replaced.
	rounds = 4
)

// Text returns s fit to be recorded: without credentials and control characters, at most limit bytes.
func Text(s string, limit int) string {
	out, _ := process(s, job{limit: limit, mode: modeText, note: true})
	return out
}

// URI is Text for a text that is one URI: user, query and fragment are redacted wherever they may be, in
// opaque and relative URIs too. URI template expressions such as {?name} stay. What is no URI is no error.
func URI(s string, limit int) string {
	out, _ := process(s, job{limit: limit, mode: modeURI, note: true})
	return out
}

// Name is Text for an identifier that a peer chose: a method, a tool, a client's name, a request id. Unlike in
// Text a plain word after a colon, as in "token:refresh", is part of the name.
func Name(s string, limit int) string {
	out, _ := process(s, job{limit: limit, mode: modeName, note: true})
	return out
}

// Capped is Text for a text of which dropped bytes are gone already. It also returns how many bytes are now
// missing in all; what was redacted does not count.
func Capped(s string, limit, dropped int) (string, int) {
	return process(s, job{limit: limit, dropped: dropped, mode: modeText, note: true})
}

// Head is Capped without the note, for a text that is worked on further.
func Head(s string, limit int) (string, int) {
	return process(s, job{limit: limit, mode: modeText})
}

// job is how a text is to be scrubbed.
type job struct {
	limit   int // bytes of the result, at most
	dropped int // bytes that are gone already
	mode    mode
	note    bool // the result says what is missing
}

func process(s string, j job) (string, int) {
	if j.limit <= 0 {
		return "", j.dropped + len(s)
	}
	t, windowed := s, false
	if len(s) > j.limit && len(s)-j.limit > Slack {
		end := j.limit + Slack
		for end > j.limit && !utf8.RuneStart(s[end]) {
			end--
		}
		t, windowed = s[:end], true
		j.dropped += len(s) - end
	}

	flags := look(t)
	if flags == 0 && j.dropped == 0 && len(t) <= j.limit {
		return t, 0
	}
	dirty := flags&sawControl != 0 || flags&sawHigh != 0 && !highIsClean(t)
	if dirty {
		t = clean(t)
	}
	encoded := (dirty || flags&sawEncoded != 0) && isEncoded(t)

	shown := len(t)
	if windowed {
		shown = lastSafe(t)
		j.dropped += len(t) - shown
	}
	spans := detect(t, j.mode, windowed, encoded)
	if len(spans) > 0 || dirty || shown < len(t) {
		t = render(t, spans, shown)
		for i := 0; ; i++ {
			// What was put in may have made something else recognizable; it hardly ever does.
			if spans = detect(t, j.mode, false, encoded); len(spans) == 0 {
				break
			}
			if i == rounds {
				t = Redacted
				break
			}
			t = render(t, spans, len(t))
		}
	}
	if len(t) <= j.limit && (j.dropped == 0 || !j.note) {
		return t, j.dropped
	}
	return shorten(t, j, encoded)
}

// lastSafe returns where to end a text of which only the beginning was looked at: before the last word that
// begins before the margin.
func lastSafe(t string) int {
	end := max(len(t)-margin, 0)
	for j := end; j > 0 && end-j < Slack-2*margin; j-- {
		if isSpace(t[j-1]) {
			return j
		}
	}
	for end > 0 && !utf8.RuneStart(t[end]) {
		end--
	}
	return end
}

// render puts the marker in the place of every span that begins before limit, and ends there.
func render(t string, spans []span, limit int) string {
	var b strings.Builder
	b.Grow(limit + len(spans)*len(Redacted))
	line := func(v string) {
		for {
			i := strings.IndexByte(v, '\n')
			if i < 0 {
				b.WriteString(v)
				return
			}
			b.WriteString(v[:i])
			b.WriteByte(' ')
			v = v[i+1:]
		}
	}
	from := 0
	for _, sp := range spans {
		if sp.start >= limit {
			break
		}
		line(t[from:sp.start])
		b.WriteString(Redacted)
		from = sp.end
	}
	if from < limit {
		line(t[from:limit])
	}
	return b.String()
}

// shorten cuts t to the limit, its note included, so that what is left is as settled as t is.
func shorten(t string, j job, encoded bool) (string, int) {
	total := len(t) + j.dropped
	room := j.limit
	if j.note {
		room -= noteLen(total)
	}
	if room < 0 {
		j.note, room = false, j.limit // not even the note fits
	}
	cut := before(t, room)
	for range rounds {
		out := t[:cut]
		if j.note {
			out += noteHead + strconv.Itoa(total-cut) + noteTail
		}
		spans := detect(out, j.mode, false, encoded)
		if len(spans) == 0 {
			return out, total - cut
		}
		cut = before(t, min(spans[0].start, cut-1))
	}
	if j.note {
		return noteHead + strconv.Itoa(total) + noteTail, total
	}
	return "", total
}

func noteLen(n int) int {
	l := len(noteHead) + len(noteTail) + 1
	for n >= 10 {
		n /= 10
		l++
	}
	return l
}

// before returns the last place up to n at which t can be cut: not in a character, not in a marker.
func before(t string, n int) int {
	n = max(min(n, len(t)), 0)
	for n > 0 && n < len(t) && !utf8.RuneStart(t[n]) {
		n--
	}
	for k := 1; k < len(Redacted) && k <= n; k++ {
		if strings.HasPrefix(t[n-k:], Redacted) {
			return n - k
		}
	}
	return n
}
