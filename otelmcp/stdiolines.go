// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// The lines of a stdio connection: how they are seen as they pass, and what is kept
// of one while it waits. A peer chooses their sizes, so that both have bounds.

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/jsonrpc"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/pending"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/scrub"
)

const (
	// maxLineText is how long a text may be and wait as it is; a longer one is cut to
	// what is recorded of it. It is above all that is.
	maxLineText = 1 << 10
	// maxVersion is how much of a version waits. No version is as long as that.
	maxVersion = 64
	// maxKeptMeta is how much of _meta waits: trace context, of which baggage may
	// have 8 KiB.
	maxKeptMeta = 16 << 10
	// lineBytes and messageBytes are about what a line and a message take up, without
	// their text.
	lineBytes, messageBytes = 512, 1536
)

// line is a line that came in and waits for its end.
type line struct {
	e   jsonrpc.Envelope
	key string // what it waits under
	signature
	size   int
	unread int
	since  time.Time
	// ctx is the one that it is handled in, until it is dispatched, which taken
	// remembers.
	ctx   context.Context
	taken bool
	m     *message // that it was, as dispatch left it
	spent bool
	// gone says that it made room while it was handled, and settled that it is
	// recorded.
	gone, settled bool
	// decisions are those of hooks, before dispatch.
	decisions operation.Decisions
	// cancelled says that the client asked for its end; target is a digest of the last
	// id that it asked for, of a line whose own is not known.
	cancelled bool
	target    pending.Digest
}

// unread is the key of lines that are larger than what is looked at, and whose
// id is not known.
const unread = "?"

// signature tells lines apart. Two that have the same also have the same bytes, as
// far as they are looked at, and the same length.
type signature struct {
	digest pending.Digest
	length int
}

func signatureOf(text []byte, length int) signature {
	return signature{pending.DigestOf(text), length}
}

// slim cuts what w keeps to what may be needed of it.
func (w *line) slim() {
	e := &w.e
	e.KeepMeta(maxKeptMeta)
	e.Key = pending.Key(e.Key)
	e.ID, e.Method, e.Name = keptName(e.ID), keptName(e.Method), keptName(e.Name)
	e.ClientName, e.ClientVersion = keptName(e.ClientName), keptName(e.ClientVersion)
	e.URI = keptURI(e.URI)
	e.Version, e.MetaVersion = clipped(e.Version, maxVersion), clipped(e.MetaVersion, maxVersion)
	e.ProtocolVersion = clipped(e.ProtocolVersion, maxVersion)
	if e.Target != "" {
		e.Target, e.TargetKey = keptName(e.Target), pending.Key(e.TargetKey)
	}
	e.Answers = pending.Key(e.Answers)
}

// bytes is about how much w keeps alive, without its message.
func (w *line) bytes() int {
	e := &w.e
	return lineBytes + e.MetaSize() + len(e.ID) + len(e.Key) + len(e.Method) + len(e.Name) + len(e.URI) + len(e.Target) +
		len(e.ClientName) + len(e.ClientVersion)
}

// slim cuts what m keeps to what may be needed of it when dispatch is through. What is
// published of m stays as it is: a goroutine of the program's may still decide about it.
func (m *message) slim() {
	if m.line != nil {
		m.key = m.line.key
	} else {
		m.key = pending.Key(m.answerKey())
	}
	m.id = nil
	if len(m.Message) > maxLineText {
		m.Message = scrub.Text(m.Message, operation.MaxMessage)
	}
}

// bytes is about how much m keeps alive, without its context.
func (m *message) bytes() int {
	return messageBytes + len(m.RequestID) + len(m.ResourceURI) + len(m.Method.Text) + len(m.Tool.Text) + len(m.Prompt.Text) +
		len(m.Message) + m.ContentBytes()
}

// clientBytes is about how much memory what mcp-go read of a request's client takes up.
func clientBytes(info *server.RequestProtocolInfo) (n int) {
	if info == nil {
		return 0
	}
	n = len(info.ProtocolVersion) + len(info.LogLevel)
	if c := info.ClientInfo; c != nil {
		n += valueBytes + len(c.Name) + len(c.Version) + len(c.Title) + len(c.Description) + len(c.WebsiteURL)
		for k := range c.Icons {
			icon := &c.Icons[k]
			n += 2*valueBytes + len(icon.Src) + len(icon.MIMEType)
			for _, size := range icon.Sizes {
				n += valueBytes + len(size)
			}
		}
	}
	if c := info.ClientCapabilities; c != nil {
		for _, all := range []map[string]any{c.Extensions, c.Experimental} {
			for key, v := range all {
				n += valueBytes + len(key) + decodedBytes(v)
			}
		}
	}
	return n
}

// valueBytes is about how much a JSON value takes up in a map or a list, without text.
const valueBytes = 64

// decodedBytes is about how much a decoded JSON value takes up. encoding/json bounds
// how deep it is nested.
func decodedBytes(v any) (n int) {
	switch v := v.(type) {
	case string:
		return len(v)
	case []any:
		for _, item := range v {
			n += valueBytes + decodedBytes(item)
		}
	case map[string]any:
		for key, item := range v {
			n += valueBytes + len(key) + decodedBytes(item)
		}
	}
	return n
}

func keptName(text string) string {
	if len(text) <= maxLineText {
		return text
	}
	return scrub.Name(text, operation.MaxName)
}

func keptURI(text string) string {
	if len(text) <= maxLineText {
		return text
	}
	return scrub.URI(text, operation.MaxURI)
}

// rawLine is a line as it came in, without the space around it.
type rawLine struct {
	text   []byte // as much as is looked at
	length int
	size   int // with the space
	// outline is of one that is longer than what is looked at.
	outline *jsonrpc.Outline
}

func (r *rawLine) envelope() (e jsonrpc.Envelope) {
	if r.outline == nil {
		return jsonrpc.Parse(r.text)
	}
	e, ok := r.outline.Envelope()
	if !ok {
		e, _ = jsonrpc.Head(r.text)
		e.ID, e.Key, e.NullAnswer = "", "", false
		e.Kind = jsonrpc.Request // for all that is known
	}
	return e
}

// space is what may be around a line's JSON.
const space = " \t\r"

// lineReader passes on what it reads, and shows each line to the edge before
// mcp-go has it.
type lineReader struct {
	in io.Reader
	l  *lines

	mu      sync.Mutex
	part    []byte // the beginning of a line whose end has not come, without space before it
	length  int    // of that line so far, without space before it
	space   int    // how much of that, at its end, is space
	size    int    // of that line so far
	outline *jsonrpc.Outline
	skip    bool // that line was settled
}

func (r *lineReader) Read(p []byte) (int, error) {
	r.l.through()
	n, err := r.in.Read(p)
	r.see(p[:max(n, 0)], err)
	return n, err
}

func (r *lineReader) see(p []byte, err error) {
	defer r.l.i.rec.Guard()
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			r.keep(p)
			break
		}
		switch {
		case r.skip:
			r.skip = false
		case r.size == 0 && end <= maxLook: // the whole line is at hand
			text := bytes.Trim(p[:end], space)
			r.l.read(&rawLine{text: text, length: len(text), size: end})
		default:
			r.keep(p[:end])
			r.whole()
		}
		p = p[end+1:]
	}
	if err == nil {
		return
	}
	r.l.mu.Lock()
	r.l.eof = true
	r.l.mu.Unlock()
	r.cutOff()
}

// whole shows the line whose end has come.
func (r *lineReader) whole() {
	line := rawLine{text: r.part, length: r.length - r.space, size: r.size, outline: r.outline}
	if line.length <= len(r.part) {
		line.text, line.outline = r.part[:line.length], nil
	}
	r.l.read(&line)
	r.reset()
}

// close settles the line that mcp-go did not wait for the end of. It may still be
// read on in the background.
func (r *lineReader) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.skip = r.skip || r.size > 0
	r.cutOff()
}

func (r *lineReader) cutOff() {
	if r.size > 0 {
		r.l.cutOff(r.part, r.size)
		r.reset()
	}
}

// keep takes the next piece of a line.
func (r *lineReader) keep(p []byte) {
	if r.skip {
		return
	}
	r.size += len(p)
	if r.length == 0 {
		p = bytes.TrimLeft(p, space)
	}
	after := len(p) - len(bytes.TrimRight(p, space))
	if after == len(p) {
		after += r.space
	}
	r.space = after
	r.length += len(p)
	n := min(len(p), maxLook-len(r.part))
	r.part = append(r.part, p[:n]...)
	if n == len(p) {
		return
	}
	if r.outline == nil {
		r.outline = &jsonrpc.Outline{}
		r.outline.Write(r.part)
	}
	r.outline.Write(p[n:])
}

func (r *lineReader) reset() {
	r.size, r.length, r.space, r.outline = 0, 0, 0, nil
	if cap(r.part) > maxPooled {
		r.part = nil
	}
	r.part = r.part[:0]
}

// lineWriter passes on what is written, and shows each line to the edge before and
// after that. mcp-go writes whole lines, requests of its own among them while an
// answer is being written.
type lineWriter struct {
	out io.Writer
	l   *lines

	mu   sync.Mutex
	part []byte // the beginning of a line whose end has not come
	size int    // of that line so far
}

func (w *lineWriter) Write(p []byte) (int, error) {
	var room [1]sending // as many lines as mcp-go writes at once
	lines := w.see(room[:0], p)
	n, err := w.out.Write(p)
	for k := range lines {
		w.l.wrote(&lines[k], err != nil || n < len(p))
	}
	return n, err
}

// see looks at the lines that end in p, and appends them to found.
func (w *lineWriter) see(found []sending, p []byte) (lines []sending) {
	lines = found
	defer w.l.i.rec.Guard()
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			break
		}
		if w.size == 0 {
			lines = append(lines, w.l.writing(p[:end], end))
		} else {
			w.keep(p[:end])
			lines = append(lines, w.l.writing(w.part, w.size))
			w.part, w.size = nil, 0
		}
		p = p[end+1:]
	}
	w.keep(p)
	return lines
}

func (w *lineWriter) keep(p []byte) {
	w.size += len(p)
	w.part = append(w.part, p[:min(len(p), maxLook-len(w.part))]...)
}
