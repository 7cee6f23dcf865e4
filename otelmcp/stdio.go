// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// The stdio edge: mcp-go's stdio server between a reader and a writer that see
// every line.

import (
	"bytes"
	"context"
	"encoding/json"
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
// once; of a line only the first MiB is looked at, and of the rest what stands on its
// top level. What waits for an answer keeps at most a few dozen MiB, whatever its
// client sends; what has to make room is recorded then, and counted as refused.
//
// mcp-go has one stdio session for the whole process: a server can listen once at
// a time, and two servers that listen at once mix up their sessions' state.
func (i *Instrumentation) Listen(ctx context.Context, in io.Reader, out io.Writer, opts ...server.StdioOption) error {
	s := server.NewStdioServer(i.srv)
	for _, o := range opts {
		o(s)
	}
	i.coverage.sawEdge(i, edgeStdio)
	if !i.rec.Observable() {
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
	// due is a large line that mcp-go is through with when it reads on, unless it
	// handles it as a request.
	due atomic.Pointer[line]

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

// handling is told by mcp-go's first hook, in the context that mcp-go handles the
// message in, of a request that it begins to handle.
func (l *lines) handling(ctx context.Context, id, raw any) {
	b, ok := raw.(json.RawMessage)
	if !ok || !derivable() || l.i.ownCall(ctx) {
		return
	}
	if s := server.ClientSessionFromContext(ctx); s == nil || s.SessionID() != stdioKey {
		return // a program's own dispatch, in the context of the connection
	}
	l.adopted.Store(true)
	text, key := jsonrpc.ID(id)
	b = bytes.Trim(b, space)
	sig := signatureOf(b[:min(len(b), maxLook)], len(b))
	l.refuse(l.begins(ctx, keptName(text), pending.Key(key), &sig))
}

// The connection's lock is held in small methods, which give it back also where
// something panics.

func (l *lines) begins(ctx context.Context, id, key string, sig *signature) (refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pairs.handling(ctx, id, key, sig)
}

// refuse counts lines that made room.
func (l *lines) refuse(n int) {
	for range n {
		l.i.rec.Refuse(semconv.OTelMCPRefusedReasonPendingTable)
	}
}

// adopt leaves the message to dispatch, until it ends.
func (l *lines) adopt(ctx context.Context) *message {
	l.adopted.Store(true)
	m := &message{edge: l, onLedger: true}
	m.init(l.i, ctx)
	var answers []sentAnswer
	m.line, answers = l.dispatched(ctx)
	l.matched(answers)
	return m
}

func (l *lines) dispatched(ctx context.Context) (w *line, answers []sentAnswer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w = l.pairs.dispatched(ctx); w != nil {
		answers = l.pairs.match(w.key, false)
	}
	return w, answers
}

// ended keeps m until its answer is written.
func (l *lines) ended(m *message) {
	defer l.i.rec.Guard()
	m.slim()
	over, stray, closed := l.finished(m)
	if m.mute && m.line != nil && len(over) > 0 {
		l.unanswered(over[0]) // it is the message's own
	} else {
		l.makeRoom(over, len(over))
	}
	if stray {
		l.offLedger(m)
	}
	if closed {
		l.drain()
	}
}

func (l *lines) finished(m *message) (over []*line, stray, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	over, stray = l.pairs.finished(m)
	return over, stray, l.closed
}

// result is told of structured content that m is answered with. Whether it can be
// written matters only where its answer could be taken for another's.
func (l *lines) result(m *message, content any) {
	m.mute = l.shared(m.line) && unencodable(content)
}

func (l *lines) shared(w *line) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return w != nil && l.pairs.shared(w)
}

// makeRoom ends the lines that are over because they had to make room; refused is how
// many had to. Whether their answers will be written is not known: they ended as
// dispatch, or their rejection, says.
func (l *lines) makeRoom(over []*line, refused int) {
	l.refuse(refused)
	for _, w := range over {
		if w.m == nil {
			l.record(w, &jsonrpc.Envelope{Code: w.rejection()}, 0, false)
		} else {
			l.finish(w, nil, 0, false)
		}
	}
}

// matched ends the lines that held answers are for.
func (l *lines) matched(answers []sentAnswer) {
	for k := range answers {
		if a := &answers[k]; a.w != nil {
			l.finish(a.w, &jsonrpc.Envelope{Code: a.code, ID: a.id, Key: a.key}, a.size, a.failed)
		}
	}
}

// offLedger records a message that came on no line.
func (*lines) offLedger(m *message) {
	m.onLedger = false
	m.finish()
}

// read is told of a line that came in.
func (l *lines) read(r *rawLine) {
	defer l.i.rec.Guard()
	l.i.edges.ledger.arrive()
	l.session() // which may be over when the line is
	w := &line{size: r.size, since: time.Now(), unread: r.length - len(r.text)}
	w.e = r.envelope()
	w.key = pending.Key(w.e.Key)
	w.signature = signatureOf(r.text, r.length)
	if w.unread == 0 {
		l.sort(w)
		return
	}
	if w.e.Key == "" && !w.e.NullAnswer && w.e.Kind != jsonrpc.Notification {
		w.key = unread
	}
	due := w.e.Answers != "" || w.e.Silent // if it is JSON, which is not known
	l.wait(w)
	if due {
		l.due.Store(w)
	}
}

// through is told that mcp-go reads on. What it does not hand to another goroutine
// it is through with.
func (l *lines) through() {
	w := l.due.Swap(nil)
	if w == nil {
		return
	}
	defer l.i.rec.Guard()
	if l.takeBack(w) {
		l.sort(w)
	}
}

func (l *lines) takeBack(w *line) (waited bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, waited = l.pairs.arrived.TakeFunc(w.key, func(x *line) bool { return x == w })
	return waited
}

// sort settles a line that is not answered, and lets any other wait.
func (l *lines) sort(w *line) {
	switch {
	case w.e.Answers != "" && answered(l.asked, w.e.Answers, &w.e, w.size):
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
	w.slim()
	over, refused, forgotten, late := l.place(w)
	l.makeRoom(over, refused)
	for range forgotten {
		l.forget()
	}
	if late {
		l.finish(w, nil, 0, true)
	}
}

// place puts a line where it waits. late says that it cannot wait any more.
func (l *lines) place(w *line) (over []*line, refused, forgotten int, late bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case w.spent && (l.closed || w.e.Silent): // there will be no answer
		forgotten = 1
	case l.closed:
		late = true
	case w.spent:
		forgotten = len(l.pairs.spent.AddSized(w.key, w, w.bytes()))
	default:
		over, refused = l.pairs.add(w)
	}
	return over, refused, forgotten, late
}

// forget settles a line that is recorded elsewhere.
func (l *lines) forget() {
	l.i.edges.ledger.record()
	l.i.settle()
}

// decided is told of a decision about a request that dispatch does not have yet.
func (l *lines) decided(ctx context.Context, d *operation.Decision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pairs.decided(ctx, d)
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
	w    *line
	hold bool // it is not known yet which line that is
}

// writing is told of a line before it is written: the other side can act on it
// before the write returns.
func (l *lines) writing(raw []byte, size int) (s sending) {
	s.outgoing = readOutgoing(raw, size)
	s.e.Key = pending.Key(s.e.Key)
	if s.isAnswer() {
		s.w, s.hold = l.answers(&s.e)
		return s
	}
	s.on = &message{i: l.i}
	s.on.Transport, s.on.Network = semconv.OTelMCPTransportStdio, semconv.NetworkTransportPipe
	l.describeSession(s.on)
	l.i.watchOutgoing(l.Context, &s.outgoing, l.asked, s.e.Key)
	return s
}

func (l *lines) answers(e *jsonrpc.Envelope) (w *line, hold bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pairs.answered(e)
}

// wrote is told of a line that went out, or that could not.
func (l *lines) wrote(s *sending, failed bool) {
	defer l.i.rec.Guard()
	answers, closed := l.written(s, failed)
	l.matched(answers)
	l.i.wasSent(l.Context, &s.outgoing, failed)
	if s.w != nil {
		l.finish(s.w, &s.e, s.size, failed)
	}
	if closed { // a goroutine that outlives the connection
		l.drain()
	}
}

func (l *lines) written(s *sending, failed bool) (answers []sentAnswer, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.hold {
		l.pairs.hold(&sentAnswer{code: s.e.Code, size: s.size, id: keptName(s.e.ID), key: s.e.Key, failed: failed})
	}
	return l.pairs.match(s.e.Key, false), l.closed
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
	if m.RequestID == "" {
		m.RequestID = w.e.ID
	}
	if m.RequestID == "" && answer != nil {
		m.RequestID = answer.ID
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
	asked := w.cancelled || w.target != (pending.Digest{}) && w.target == pending.DigestOf([]byte(m.RequestID))
	m.settleCancel(l.cancelSource(unsent), asked)
}

// elsewhere reports whether a line that no message took was dispatched, and so
// recorded, in a context that is not ours. That it was dispatched in ours would
// show, and a context function is called once for all of them.
func (l *lines) elsewhere(w *line, code int) bool {
	if w.spent || w.taken || w.e.Kind != jsonrpc.Request && w.e.Kind != jsonrpc.Response || w.e.Version != jsonrpc.Version ||
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
	if known := l.session(); known != nil && known.Awaits() && w.e.Method != semconv.MCPMethodNameInitialize {
		known.Introduce(m, i.rec, m.client())
	}
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
	l.through()
	l.drain()
}

// drain ends what waits.
func (l *lines) drain() {
	over, spent, stray, answers := l.emptied()
	l.matched(answers)
	for _, w := range over {
		l.unanswered(w)
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

func (l *lines) emptied() (over, spent []*line, stray []*message, answers []sentAnswer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pairs.drain()
}

// unanswered ends a line that no answer was written for.
func (l *lines) unanswered(w *line) {
	if w.m != nil && w.m.Outcome == "" && w.m.Code == 0 {
		w.m.Outcome, w.m.Message = semconv.OTelMCPOutcomeError, "the answer was not written"
	}
	l.finish(w, nil, 0, w.m == nil)
}
