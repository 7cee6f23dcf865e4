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
// once; of a line only the first MiB is looked at. Where the id stands behind that,
// two such lines that are in flight at once can be taken for each other, as far as
// their sizes go.
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
	l := &lines{Context: ctx, i: i, asked: newAskedTable(), pairs: newPairs()}
	r := &lineReader{in: in, l: l}
	defer l.close(r)
	return s.Listen(l, r, &lineWriter{out: out, l: l})
}

// stdioKey is the id that mcp-go gives every stdio session.
const stdioKey = "stdio"

// lines is one stdio connection. It is the context that all of its messages are
// handled in.
type lines struct {
	context.Context
	i     *Instrumentation
	asked *askedTable
	// adopted says that a message was dispatched in our context.
	adopted atomic.Bool

	mu     sync.Mutex
	pairs  pairs
	eof    bool
	lost   bool             // messages are dispatched in a context that is not ours
	known  *session.Session // remembered beyond its end, which comes before ours
	closed bool             // mcp-go is through; what is still read goes nowhere
}

// Value makes the edge findable from the contexts that derive from it.
func (l *lines) Value(key any) any {
	if k, ok := key.(edgeKey); ok && (k.i == l.i || k.i == nil) {
		return edge(l)
	}
	return l.Context.Value(key)
}

// adopt leaves the message to dispatch: nothing tells which line it was until it
// ends.
func (l *lines) adopt(ctx context.Context) *message {
	l.adopted.Store(true)
	m := &message{edge: l, onLedger: true}
	m.init(l.i, ctx)
	return m
}

// ended keeps m until its answer is written.
func (l *lines) ended(m *message) {
	defer l.i.rec.Guard()
	if m.Method.Text == "" { // what stands in the place of an answer is recorded with its own answer
		return
	}
	l.mu.Lock()
	over, stray := l.pairs.ended(m)
	closed := l.closed
	l.mu.Unlock()
	if over != nil {
		l.i.rec.Refuse(semconv.OTelMCPRefusedReasonPendingTable)
		l.finish(over, nil, 0, false)
	}
	if stray != nil {
		l.offLedger(stray)
	}
	if closed {
		l.drain()
	}
}

// offLedger records a message that came on no line.
func (*lines) offLedger(m *message) {
	m.onLedger = false
	m.finish()
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
	w.key = w.e.Key
	switch {
	case !whole && w.key == "":
		w.key = unread
	case w.e.Answers != "" && answered(l.asked, w.e.Answers, &w.e, size):
		w.spent = true // the end of a request of the server's, and recorded there
	case w.e.NullAnswer:
		w.key = ""
	case w.e.Silent:
		if w.e.Kind == jsonrpc.Notification && w.e.Method == string(mcp.MethodNotificationCancelled) {
			l.cancelled(w.e.Target)
		}
		l.record(w, nil, 0, false)
		return
	}
	l.wait(w)
}

// wait lets a line wait for its answer.
func (l *lines) wait(w *line) {
	l.mu.Lock()
	closed, full, known := l.closed, false, w.spent
	switch {
	case closed || w.spent && w.e.Silent: // there will be none
	case w.spent:
		_, known = l.pairs.spent.Add(w.key, w)
	default:
		full = l.pairs.add(w)
	}
	l.mu.Unlock()
	switch {
	case known:
		l.forget()
	case closed:
		l.finish(w, nil, 0, true)
	case full:
		l.i.rec.Refuse(semconv.OTelMCPRefusedReasonPendingTable)
	}
}

// forget settles a line that is recorded elsewhere.
func (l *lines) forget() {
	l.i.edges.ledger.record()
	l.i.settle()
}

// decided is told of a decision about a request that dispatch does not have yet.
func (l *lines) decided(e *jsonrpc.Envelope, d *operation.Decision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pairs.decided(e, d)
}

func (l *lines) cancelled(target string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pairs.cancelled(target)
}

// cutOff is told of the beginning of a line that never ended.
func (l *lines) cutOff(raw []byte, size int) {
	defer l.i.rec.Guard()
	l.i.edges.ledger.arrive()
	w := &line{size: size, since: time.Now(), unread: size - len(raw)}
	w.e, _ = jsonrpc.Head(raw)
	l.record(w, nil, 0, true)
}

// sending is a line that is about to go out, and the one that it answers, if any.
type sending struct {
	outgoing
	w *line
}

// writing is told of a line before it is written: the other side can act on it
// before the write returns.
func (l *lines) writing(raw []byte) (s sending) {
	s.outgoing = readOutgoing(raw, len(raw))
	if s.isAnswer() {
		l.mu.Lock()
		defer l.mu.Unlock()
		s.w = l.pairs.answered(&s.e)
		return s
	}
	s.on = &message{i: l.i}
	s.on.Transport, s.on.Network = semconv.OTelMCPTransportStdio, semconv.NetworkTransportPipe
	l.describeSession(s.on)
	l.i.watchOutgoing(l.Context, &s.outgoing, l.asked, s.e.Key)
	return s
}

// wrote is told of a line that went out, or that could not.
func (l *lines) wrote(s *sending, failed bool) {
	defer l.i.rec.Guard()
	l.i.wasSent(l.Context, &s.outgoing, failed)
	if s.w != nil {
		l.finish(s.w, &s.e, s.size, failed)
	}
	if l.isClosed() { // a goroutine that outlives the connection
		l.drain()
	}
}

// finish ends a line that was answered with answer, or without one.
func (l *lines) finish(w *line, answer *jsonrpc.Envelope, size int, unsent bool) {
	m := w.m
	switch {
	case m != nil:
	case answer != nil && l.elsewhere(w, answer.Code):
		l.i.coverage.sawContextLost(l.i)
		l.forget()
		return
	default:
		l.record(w, answer, size, unsent)
		return
	}
	if m.answerKey() == "" {
		m.RequestID, m.key = w.e.ID, w.e.Key
		if m.key == "" && answer != nil {
			m.RequestID, m.key = answer.ID, answer.Key
		}
	}
	m.RequestSize, m.ResponseSize = w.size, size
	m.Decisions.Inherit(&w.decisions)
	if w.unread > 0 {
		m.Facts = append(m.Facts, semconv.OTelMCPRequestUnreadKey.Int(w.unread))
	}
	if answer != nil && m.Outcome == "" && m.Code == 0 { // what goes out is the last word
		m.Code = answer.Code
	}
	if unsent {
		m.undelivered()
	}
	l.settleCancel(m, w, unsent)
	m.finish()
	l.i.settle()
}

func (l *lines) settleCancel(m *message, w *line, unsent bool) {
	l.i.settleCancel(m, l.cancelSource(unsent), w.cancelled || w.target != "" && w.target == m.RequestID)
}

// elsewhere reports whether a line that no message took was dispatched, and so
// recorded, in a context that is not ours. That it was dispatched in ours would
// show, and a context function is called once for all of them.
func (l *lines) elsewhere(w *line, code int) bool {
	if w.spent || w.e.Kind != jsonrpc.Request && w.e.Kind != jsonrpc.Response || w.e.Version != jsonrpc.Version ||
		l.adopted.Load() || !l.i.coverage.dispatches() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = l.lost || code == 0 || code == operation.CodeMethodNotFound // which only dispatch gives
	return l.lost && w.onlyDispatch(code)
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
	i.identify(&m.Operation)
	m.RequestSize, m.ResponseSize = w.size, size
	if w.unread > 0 {
		m.Facts = append(m.Facts, semconv.OTelMCPRequestUnreadKey.Int(w.unread))
	}
	switch {
	case answer != nil:
		m.Code = answer.Code
		m.Outcome = outcomeOfRejection(m.Code)
		if m.Code == operation.CodeMethodNotFound { // mcp-go has a method "", which nobody handles
			m.Stage = semconv.OTelMCPStageDispatch
		}
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
	m.Decisions.Inherit(&w.decisions)
	if m.Outcome == semconv.OTelMCPOutcomeRejected && m.Decisions.Refused() {
		m.Outcome = semconv.OTelMCPOutcomeDenied
	}
	m.beginSpan()
	l.settleCancel(m, w, unsent)
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
func (l *lines) close(r *lineReader) {
	defer l.i.rec.Guard()
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	r.close()
	l.drain()
}

// drain ends what waits.
func (l *lines) drain() {
	l.mu.Lock()
	over, spent, stray := l.pairs.drain()
	l.mu.Unlock()
	for _, w := range over {
		if w.m != nil && w.m.Outcome == "" && w.m.Code == 0 {
			w.m.Outcome, w.m.Message = semconv.OTelMCPOutcomeError, "the answer was not written"
		}
		l.finish(w, nil, 0, w.m == nil)
	}
	for range spent {
		l.forget()
	}
	for _, m := range stray {
		l.offLedger(m)
	}
	for _, a := range l.asked.Drain() { // the server's own requests
		a.unanswered(semconv.OTelMCPOutcomeCancelled)
	}
}

func (l *lines) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// lineReader passes on what it reads, and shows each line to the edge before
// mcp-go has it.
type lineReader struct {
	in io.Reader
	l  *lines

	mu   sync.Mutex
	part []byte // the beginning of a line whose end has not come
	size int    // of that line so far
	skip bool   // that line was settled
}

func (r *lineReader) Read(p []byte) (int, error) {
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
		case r.size == 0: // the whole line is at hand
			r.l.read(p[:min(end, maxLook)], end)
		default:
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
	r.cutOff()
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

func (r *lineReader) keep(p []byte) {
	if r.skip {
		return
	}
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

// lineWriter passes on what is written, and shows each line to the edge before and
// after that. mcp-go writes whole lines, requests of its own among them while an
// answer is being written.
type lineWriter struct {
	out io.Writer
	l   *lines

	mu   sync.Mutex
	part []byte
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
		raw := p[:end]
		if len(w.part) > 0 {
			raw, w.part = append(w.part, raw...), nil
		}
		lines = append(lines, w.l.writing(raw))
		p = p[end+1:]
	}
	w.part = append(w.part, p...)
	return lines
}
