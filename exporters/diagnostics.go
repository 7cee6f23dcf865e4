// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file says what goes wrong with telemetry: to one writer, without
// credentials, without repeating itself and at a limited rate.

package exporters

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
)

const (
	// maxLines bounds the lines of one window, maxSeen how many are remembered as said
	// in it, and maxLine the bytes of one: some of them quote what a peer sent. What is
	// longer than maxText is not looked at further.
	maxLines = 20
	maxSeen  = 64
	maxLine  = 2 << 10
	maxText  = 16 << 10
	window   = 10 * time.Minute

	redacted = "[redacted]"
)

// diagnostics writes lines for the operator. Its methods may be called from
// any goroutine, and never fail.
type diagnostics struct {
	mu      sync.Mutex
	w       io.Writer
	now     func() time.Time
	begun   time.Time
	lines   int
	skipped int
	seen    map[string]struct{}
}

func newDiagnostics(w io.Writer) *diagnostics {
	return &diagnostics{w: w, now: time.Now, seen: map[string]struct{}{}}
}

// lockedWriter lets diagnostics and console exporters share a writer without
// tearing each other's lines.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// say writes one line, unless the window is full.
func (d *diagnostics) say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.write(d.line(fmt.Sprintf(format, args...)))
}

// once writes one line, unless one that differs in digits at most was already
// written in this window.
func (d *diagnostics) once(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	text = d.line(text)
	key := digits.ReplaceAllString(text, "0")
	if _, said := d.seen[key]; said {
		return
	}
	if len(d.seen) < maxSeen {
		d.seen[key] = struct{}{}
	}
	d.write(text)
}

// line makes one line without credentials of text, and begins a new window if
// it is time; d.mu is held.
func (d *diagnostics) line(text string) string {
	text = shortened(redact(strings.Join(strings.Fields(shortened(text, maxText)), " ")), maxLine)
	if now := d.now(); now.Sub(d.begun) >= window {
		if d.skipped > 0 {
			fmt.Fprintf(d.w, "otelmcp: %d more lines were not shown\n", d.skipped)
		}
		d.begun, d.lines, d.skipped = now, 0, 0
		clear(d.seen)
	}
	return text
}

// shortened is text, if it has no more bytes than limit, or a beginning of it.
func shortened(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + " …"
}

// write writes a line, unless the window is full; d.mu is held.
func (d *diagnostics) write(line string) {
	if d.lines == maxLines {
		d.skipped++
		return
	}
	d.lines++
	fmt.Fprintf(d.w, "otelmcp: %s\n", line)
}

// Handle is the OpenTelemetry error handler. A failed delivery was already
// spoken of where it happened.
func (d *diagnostics) Handle(err error) {
	var delivery *deliveryError
	if err == nil || errors.As(err, &delivery) {
		return
	}
	d.once(err.Error())
}

// logger takes the SDK's own warnings and errors; its chatter is below that.
func (d *diagnostics) logger(q *queues) logr.Logger {
	text := funcr.New(func(prefix, args string) { d.once(strings.TrimSpace(prefix + " " + args)) }, funcr.Options{Verbosity: warning})
	return logr.New(sdkLog{LogSink: text.GetSink(), queues: q})
}

var (
	digits = regexp.MustCompile(`\d+`)
	urls   = regexp.MustCompile(`"[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^"\\]|\\.)*"|[a-zA-Z][a-zA-Z0-9+.-]*://[^\s"'<>]+`)
	// userinfo catches what is left of URLs that do not parse.
	userinfo = regexp.MustCompile(`(://)[^/\s"'@]*@`)
	// baggage is what a peer sent: the propagator quotes what it cannot parse.
	baggage     = regexp.MustCompile(`(?s)(invalid (?:baggage list-member|key|value)[^"]*)".*`)
	credentials = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[^\s"',]+`)
	pairs       = regexp.MustCompile(`(?i)\b([\w-]*(?:authorization|api[-_]?key|token|secret|password|passwd|signature))("?\s*[=:]\s*"?)(?:(?:bearer|basic)\s+)?[^\s"',&]+`)
)

// redactURL takes userinfo, query and fragment out of a URL, and out of what was meant to be one.
func redactURL(s string) string {
	if u, err := url.Parse(s); err == nil {
		u.User, u.RawQuery, u.Fragment = nil, "", ""
		return u.String()
	}
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		s = scheme + "://" + rest[strings.LastIndexByte(rest, '@')+1:]
	}
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		s = s[:i]
	}
	return s
}

// redact takes credentials out of text: userinfo, query and fragment of URLs,
// bearer and basic values, key=value pairs that name a secret, and the values of
// the header variables wherever they show up.
func redact(text string) string {
	for _, name := range otlpNames("HEADERS") {
		for pair := range strings.SplitSeq(os.Getenv(name), ",") {
			_, value, _ := strings.Cut(pair, "=")
			// A short value would tear unrelated words apart.
			if value = strings.TrimSpace(value); len(value) >= 4 {
				text = strings.ReplaceAll(text, value, redacted)
				if plain, err := url.PathUnescape(value); err == nil {
					text = strings.ReplaceAll(text, plain, redacted)
				}
			}
		}
	}
	text = baggage.ReplaceAllString(text, "$1"+redacted)
	text = urls.ReplaceAllStringFunc(text, func(s string) string {
		if bare := strings.Trim(s, `"`); bare != s {
			return `"` + redactURL(bare) + `"`
		}
		return redactURL(s)
	})
	text = userinfo.ReplaceAllString(text, "$1")
	text = pairs.ReplaceAllString(text, "$1$2"+redacted)
	return credentials.ReplaceAllString(text, "$1 "+redacted)
}
