// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// The stdio edge: mcp-go's stdio server between a reader and a writer that see
// every line.

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/jsonrpc"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/pending"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/session"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// ServeStdio serves the server on standard input and output, as
// server.ServeStdio does, with every line recorded. It returns when standard
// input ends (nil), when ctx is done, or on SIGTERM or an interrupt (ctx.Err in
// both cases), or when standard input cannot be read (that error). Nothing but
// the server's own messages is written to standard output.
func (i *Instrumentation) ServeStdio(ctx context.Context, opts ...server.StdioOption) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	return i.Listen(ctx, os.Stdin, os.Stdout, opts...)
}

// Listen serves the server on in and out as server.StdioServer's Listen does,
// with every line in both directions recorded. Every byte passes unchanged and at
// once; of a line only the first MiB is looked at.
//
// mcp-go has one stdio session for the whole process: a server can listen once at
// a time, and two servers that listen at once mix up their sessions' state.
func (i *Instrumentation) Listen(ctx context.Context, in io.Reader, out io.Writer, opts ...server.StdioOption) error {
	s := server.NewStdioServer(i.srv)
	for _, o := range opts {
		o(s)
	}
	i.coverage.sawEdge(i, edgeStdio)
	if !i.rec.Observed() {
		return s.Listen(ctx, in, out)
	}
	l := &lines{Context: ctx, i: i, waiting: pending.NewTable[*line](maxPending), loose: pending.NewTable[*message](maxPending), asked: newAskedTable()}
	defer l.close()
	return s.Listen(l, &lineReader{in: in, l: l}, &lineWriter{out: out, l: l})
}

// stdioKey is the id that mcp-go gives every stdio session.
const stdioKey = "stdio"

// lines is one stdio connection. It is the context that all of its messages are
// handled in.
type lines struct {
	context.Context
	i       *Instrumentation
	waiting *pending.Table[*line] // requests, until they are answered
	// loose are messages that dispatch is through with and whose id it does not
	// know, because mcp-go does not know the method. The answer tells the id.
	loose *pending.Table[*message]
	asked *askedTable

	mu     sync.Mutex
	eof    bool
	known  *session.Session // remembered beyond its end, which comes before ours
	closed bool             // mcp-go is through; what is still read goes nowhere
}

// Value makes the edge findable from the contexts that derive from it.
func (l *lines) Value(key any) any {
	if k, ok := key.(edgeKey); ok && k.i == l.i {
		return edge(l)
	}
	return l.Context.Value(key)
}

// line is a line that came in and waits for its end: until dispatch is through
// with it, if it is dispatched, and until its answer went out.
type line struct {
	e      jsonrpc.Envelope
	size   int
	unread int
	since  time.Time
	// m is the message as dispatch left it; nil before that.
	m atomic.Pointer[message]
}

// unread is the key of lines that are larger than what is looked at, and whose
// id did not stand in the beginning.
const unread = "?"

// adopt leaves the message to dispatch: nothing but its id says which line it
// was, and that is known only later.
func (l *lines) adopt(ctx context.Context) *message {
	m := &message{edge: l, onLedger: true}
	m.init(l.i, ctx)
	return m
}

// ended keeps m until its answer is written.
func (l *lines) ended(m *message) {
	defer l.i.rec.Guard()
	key := m.answerKey()
	if key == "" {
		if old, full := l.loose.Add(m.Method.Text, m); full {
			old.finish()
		}
		return
	}
	claim := func(w *line) bool {
		return (w.e.Method == m.Method.Text && w.e.Version == jsonrpc.Version || w.unread > 0) && w.m.CompareAndSwap(nil, m)
	}
	_, ok := l.waiting.Find(key, claim)
	if !ok {
		_, ok = l.waiting.Find(unread, claim)
	}
	if !ok { // its place was needed, and its line was settled then
		m.finish()
	}
}

// read is told of a line that came in.
func (l *lines) read(raw []byte, size int) {
	defer l.i.rec.Guard()
	i := l.i
	i.edges.ledger.arrive()
	l.session() // which may be over when the line is
	w := &line{size: size, since: time.Now(), unread: size - len(raw)}
	whole := w.unread == 0
	if whole {
		w.e = jsonrpc.Parse(raw)
	} else {
		w.e, _ = jsonrpc.Head(raw)
	}
	key := w.e.Key
	switch {
	case !whole && key == "":
		key = unread
	case w.e.Answers != "" && answered(l.asked, w.e.Answers, &w.e, size):
		i.edges.ledger.record() // the end of a request of the server's, and recorded there
		i.settle()
		return
	case w.e.NullAnswer:
		key = ""
	case w.e.Silent:
		if w.e.Kind == jsonrpc.Notification && w.e.Method == string(mcp.MethodNotificationCancelled) {
			i.noticeCancel(stdioKey, &w.e, "")
		}
		l.record(w, nil, 0, false)
		return
	}
	if old, full := l.waiting.Add(key, w); full {
		i.rec.Refuse(semconv.OTelMCPRefusedReasonPendingTable)
		l.finish(old, nil, 0, false)
	}
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed {
		l.drain()
	}
}

// cutOff is told of the beginning of a line that never ended.
func (l *lines) cutOff(raw []byte, size int) {
	defer l.i.rec.Guard()
	l.i.edges.ledger.arrive()
	w := &line{size: size, since: time.Now(), unread: size - len(raw)}
	w.e, _ = jsonrpc.Head(raw)
	l.record(w, nil, 0, true)
}

// wrote is told of a line that went out, or that could not.
func (l *lines) wrote(raw []byte, failed bool) {
	defer l.i.rec.Guard()
	on := &message{i: l.i}
	on.Transport, on.Network = semconv.OTelMCPTransportStdio, semconv.NetworkTransportPipe
	l.describeSession(on)
	out := l.i.watchOutgoing(l.Context, on, raw, len(raw), l.asked)
	l.i.wasSent(l.Context, out, failed)
	if out.isAnswer() {
		if w, ok := l.takeAnswered(&out.e); ok {
			l.finish(w, &out.e, out.size, failed)
		}
	}
}

// takeAnswered takes the line that an answer is for. A peer may have used its id
// several times: what the answer says tells them apart as far as it can, and what
// dispatch is through with comes first.
func (l *lines) takeAnswered(e *jsonrpc.Envelope) (w *line, ok bool) {
	through := func(w *line) bool { return w.m.Load() != nil }
	first := through
	switch e.Code {
	case operation.CodeMethodNotFound:
		first = func(w *line) bool { return !through(w) && l.loose.Has(w.e.Method) }
	case operation.CodeInvalidRequest:
		first = func(w *line) bool { return !through(w) && w.e.Version != jsonrpc.Version }
	}
	for _, match := range []func(*line) bool{first, through, anyLine} {
		if w, ok = l.waiting.TakeFunc(e.Key, match); ok {
			return w, ok
		}
	}
	if w, ok = l.waiting.TakeFunc(unread, through); ok {
		return w, ok
	}
	return l.waiting.Take(unread)
}

func anyLine(*line) bool { return true }

// finish ends a line that was answered with answer, or without one.
func (l *lines) finish(w *line, answer *jsonrpc.Envelope, size int, unsent bool) {
	m := w.m.Load()
	if m == nil && (answer == nil || answer.Code == operation.CodeMethodNotFound) {
		m, _ = l.loose.Take(w.e.Method)
	}
	if m == nil {
		l.record(w, answer, size, unsent)
		return
	}
	if !m.parsed {
		m.RequestID, m.key = w.e.ID, w.e.Key
	}
	m.RequestSize, m.ResponseSize = w.size, size
	if w.unread > 0 {
		m.Facts = append(m.Facts, semconv.OTelMCPRequestUnreadKey.Int(w.unread))
	}
	if unsent {
		m.undelivered()
	}
	l.i.settleCancel(m, l.cancelSource(unsent), true)
	m.finish()
	l.i.settle()
}

// record records a line that mcp-go did not dispatch.
func (l *lines) record(w *line, answer *jsonrpc.Envelope, size int, unsent bool) {
	i := l.i
	m := &message{}
	m.Since(w.since)
	m.init(i, l.Context)
	m.Instant, m.onLedger = true, true
	m.Transport, m.Network = semconv.OTelMCPTransportStdio, semconv.NetworkTransportPipe
	m.describe(&w.e, nil)
	l.describeSession(m)
	i.identify(m)
	m.RequestSize, m.ResponseSize = w.size, size
	if w.unread > 0 {
		m.Facts = append(m.Facts, semconv.OTelMCPRequestUnreadKey.Int(w.unread))
	}
	switch {
	case answer != nil:
		m.Code = answer.Code
		m.Outcome = outcomeOfRejection(m.Code)
	case w.e.Kind == jsonrpc.Request && w.e.Silent: // with a result, it is not dispatched
		m.Outcome = semconv.OTelMCPOutcomeRejected
	case w.e.Kind == jsonrpc.Response:
		m.Outcome = semconv.OTelMCPOutcomeRejected // nobody had asked
	case w.e.Kind == jsonrpc.Notification:
		m.Stage = semconv.OTelMCPStageDispatch
	}
	if unsent && m.Code == 0 {
		m.Outcome = semconv.OTelMCPOutcomeCancelled
	}
	m.beginSpan()
	i.settleCancel(m, l.cancelSource(unsent), true)
	m.finish()
	i.settle()
}

// session returns what is known of the session, if it has begun.
func (l *lines) session() *session.Session {
	known := l.i.sessions.Get(stdioKey)
	l.mu.Lock()
	defer l.mu.Unlock()
	if known != nil && !l.closed {
		l.known = known
	}
	return l.known
}

func (l *lines) describeSession(m *message) {
	m.session = stdioKey
	if known := l.session(); known != nil {
		m.describeKnown(known)
	}
}

func (l *lines) atEOF() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.eof
}

// cancelSource is who ends what is in flight, if not the client's own wish.
func (l *lines) cancelSource(unsent bool) string {
	switch {
	case l.atEOF():
		return semconv.OTelMCPCancelSourceDisconnect
	case l.Err() != nil:
		return semconv.OTelMCPCancelSourceShutdown
	case unsent:
		return semconv.OTelMCPCancelSourceDisconnect
	}
	return semconv.OTelMCPCancelSourceServer
}

// close ends what was never answered: mcp-go is through with all of it.
func (l *lines) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.drain()
}

func (l *lines) drain() {
	defer l.i.rec.Guard()
	for _, w := range l.waiting.Drain() {
		l.finish(w, nil, 0, true)
	}
	for _, m := range l.loose.Drain() {
		m.finish()
	}
}

// lineReader passes on what it reads, and shows each line to the edge before
// mcp-go has it.
type lineReader struct {
	in   io.Reader
	l    *lines
	part []byte // the beginning of a line whose end has not come
	size int    // of that line so far
}

func (r *lineReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	r.see(p[:max(n, 0)], err)
	return n, err
}

func (r *lineReader) see(p []byte, err error) {
	defer r.l.i.rec.Guard()
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			r.keep(p)
			break
		}
		if r.size == 0 { // the whole line is at hand
			r.l.read(p[:min(end, maxLook)], end)
		} else {
			r.keep(p[:end])
			r.l.read(r.part, r.size)
			r.reset()
		}
		p = p[end+1:]
	}
	if err == nil {
		return
	}
	r.l.mu.Lock()
	r.l.eof = true
	r.l.mu.Unlock()
	if r.size > 0 {
		r.l.cutOff(r.part, r.size)
		r.reset()
	}
}

func (r *lineReader) keep(p []byte) {
	if room := maxLook - len(r.part); room > 0 {
		r.part = append(r.part, p[:min(len(p), room)]...)
	}
	r.size += len(p)
}

func (r *lineReader) reset() {
	r.size = 0
	if cap(r.part) > maxPooled {
		r.part = nil
	}
	r.part = r.part[:0]
}

// lineWriter passes on what is written, and shows each line to the edge after
// that. mcp-go writes whole lines, requests of its own among them while an
// answer is being written.
type lineWriter struct {
	out io.Writer
	l   *lines

	mu   sync.Mutex
	part []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	n, err := w.out.Write(p)
	w.see(p, err != nil || n < len(p))
	return n, err
}

func (w *lineWriter) see(p []byte, failed bool) {
	defer w.l.i.rec.Guard()
	w.mu.Lock()
	if len(w.part) == 0 && len(p) > 0 && bytes.IndexByte(p, '\n') == len(p)-1 {
		w.mu.Unlock()
		w.l.wrote(p[:len(p)-1], failed)
		return
	}
	w.part = append(w.part, p...)
	var whole [][]byte
	for {
		end := bytes.IndexByte(w.part, '\n')
		if end < 0 {
			break
		}
		whole = append(whole, bytes.Clone(w.part[:end]))
		w.part = w.part[end+1:]
	}
	if len(w.part) == 0 {
		w.part = nil
	}
	w.mu.Unlock()
	for _, l := range whole {
		w.l.wrote(l, failed)
	}
}
