// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// What is posted to the HTTP+SSE transport, and which answer is for which of it. A
// peer may use an id as often as it likes, and of an answer only its id and its code
// tell what it is for. What becomes of a message in dispatch is known of each: its
// context derives from its exchange. So an answer is for
//
//  1. a message that dispatch is through with, and that ended with this code
//  2. one that is known to be answered so without dispatch: of another version, say,
//     or refused by a hook
//  3. the only one with the id that mcp-go has begun to handle and not dispatched;
//     where there are several, the answer is held until mcp-go is through with one
//     without dispatch, which the end of its context says
//  4. one of which nothing is known that speaks against it

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/jsonrpc"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/pending"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// posted is what an exchange keeps of a message that was posted to HTTP+SSE. Of its
// fields the exchange's mu guards watch and, once the message is accepted, awaits.
type posted struct {
	e *jsonrpc.Envelope
	// whole says that e is all of the message.
	whole   bool
	awaits  string      // what its answer is found by
	weight  int64       // bytes that it keeps until then
	session *answers    // where it is looked for; nil if nowhere
	watch   func() bool // stops watching the message's context, once mcp-go has told of it
}

// What an exchange awaits is the key of its answer, or one of these.
const (
	awaitsNull    = ""     // an answer with a null id
	awaitsUnknown = unread // its key is not known; no key begins like this
	awaitsNothing = "!"    // its answer is not looked for; nor like this
)

// answers are what was posted in a session of the HTTP+SSE transport and is open.
type answers struct {
	// seen says that the session's stream is behind the edge, so that answers show.
	seen bool
	// all is how many bytes what is open in all sessions keeps.
	all *atomic.Int64

	mu     sync.Mutex
	closed bool
	open   []*exchange // oldest first
	bytes  int64       // that open keeps
	// held are answers of which it is not known yet what they are for. There are never
	// more of them than open exchanges.
	held []*streamAnswer
}

// streamAnswer is one that was written on the session's stream, or that could not be.
type streamAnswer struct {
	e      *jsonrpc.Envelope
	size   int
	failed bool
	x      *exchange // that it is for
}

// maxPosted bounds, in bytes, what all that was posted and is open keeps, and
// maxPostedInSession what that of one session does.
const (
	maxPosted          = 64 << 20
	maxPostedInSession = 8 << 20
)

// weigh returns how many bytes x, with its message e, keeps as long as it is open.
func (x *exchange) weigh(e *jsonrpc.Envelope) int64 {
	const exchanges, line = 4 << 10, 64 // an exchange with its request, and what a header takes beside its text
	n := exchanges + e.Size() + len(x.r.RequestURI) + len(x.r.Host)
	for name, values := range x.r.Header {
		n += len(name) + line
		for _, value := range values {
			n += len(value)
		}
	}
	return int64(n)
}

// add adds x, if the session has not ended. When there is no room the oldest
// exchanges of the session make some, x itself if there is none otherwise, and are
// returned.
func (a *answers) add(x *exchange) (evicted []*exchange, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, false
	}
	a.open = append(a.open, x)
	a.weigh(x.posted.weight)
	for len(a.open) > maxPending || a.bytes > maxPostedInSession || a.bytes > 0 && a.all.Load() > maxPosted {
		evicted = append(evicted, a.takeAt(0))
	}
	return evicted, true
}

func (a *answers) weigh(n int64) {
	a.bytes += n
	a.all.Add(n)
}

func (a *answers) takeAt(at int) *exchange {
	x := a.open[at]
	a.open = slices.Delete(a.open, at, at+1)
	a.weigh(-x.posted.weight)
	return x
}

// remove forgets x.
func (a *answers) remove(x *exchange) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at := slices.Index(a.open, x); at >= 0 {
		a.takeAt(at)
	}
}

// answered is told of an answer.
func (a *answers) answered(got *streamAnswer) {
	got.e.ID, got.e.Key = "", pending.Key(got.e.Key) // it may be held
	a.mu.Lock()
	hold := false
	if got.x, hold = a.take(got.e); hold {
		a.held = append(a.held, got)
	}
	a.mu.Unlock()
	if got.x != nil {
		got.x.end(got)
	}
	if hold {
		a.match(false)
	}
}

// take takes the exchange that e is for. It is nil if there is none, or if the answer
// has to be held. mu is locked.
func (a *answers) take(e *jsonrpc.Envelope) (x *exchange, hold bool) {
	at, rank, open := a.best(e)
	held := a.holding(e.Key)
	if rank > expected && e.Code != 0 && open > 0 && open+held > 1 && len(a.held) < len(a.open) {
		return nil, true
	}
	if at < 0 {
		return nil, false
	}
	return a.takeAt(at), false
}

// best returns where the exchange is that e is most likely for, or -1; how likely that
// is; and of how many it is not decided yet whether they are dispatched. mu is locked.
func (a *answers) best(e *jsonrpc.Envelope) (at, least, open int) {
	at, least = -1, impossible
	for k, x := range a.open {
		rank, undecided := x.rank(e)
		if undecided {
			open++
		}
		if rank < least {
			at, least = k, rank
		}
	}
	return at, least, open
}

// holding returns how many answers with the key are held.
func (a *answers) holding(key string) (n int) {
	for _, held := range a.held {
		if held.e.Key == key {
			n++
		}
	}
	return n
}

// match ends the exchanges that held answers are for, as far as it is known by now
// which these are; at the end of the session, as far as can be told. a may be nil.
func (a *answers) match(end bool) {
	if a == nil {
		return
	}
	var matched []*streamAnswer
	a.mu.Lock()
	for k := range a.held {
		key := a.held[k].e.Key
		if slices.ContainsFunc(a.held[:k], func(h *streamAnswer) bool { return h.e.Key == key }) {
			continue // looked at already
		}
		matched = append(matched, a.matching(key, end)...)
	}
	a.held = slices.DeleteFunc(a.held, func(h *streamAnswer) bool { return slices.Contains(matched, h) })
	a.mu.Unlock()
	for _, got := range matched {
		if got.x != nil {
			got.x.end(got)
		}
	}
}

// matching returns the answers with the key that were held, each with its exchange, if
// mcp-go is through with as many without dispatch, or no more are left. mu is locked.
func (a *answers) matching(key string, end bool) []*streamAnswer {
	var held []*streamAnswer
	for _, h := range a.held {
		if h.e.Key == key {
			held = append(held, h)
		}
	}
	var open, through []*exchange
	for _, x := range a.open {
		if _, undecided := x.rank(held[0].e); undecided {
			open = append(open, x)
			if x.isThrough() {
				through = append(through, x)
			}
		}
	}
	switch {
	case end || len(open) <= len(held):
		through = open
	case len(through) < len(held):
		return nil
	}
	for rank := certain; rank < impossible; rank++ {
		for _, h := range held {
			n := slices.IndexFunc(through, func(x *exchange) bool {
				is, _ := x.rank(h.e)
				return is == rank
			})
			if h.x == nil && n >= 0 {
				h.x = a.takeAt(slices.Index(a.open, through[n]))
				through = slices.Delete(through, n, n+1)
			}
		}
	}
	for _, h := range held {
		if h.x == nil {
			if at, _, _ := a.best(h.e); at >= 0 {
				h.x = a.takeAt(at)
			}
		}
	}
	return held
}

// rank says how likely e is the answer to what was posted. undecided says that it can be
// only if mcp-go, which has told of the message, does not dispatch it.
func (x *exchange) rank(e *jsonrpc.Envelope) (rank int, undecided bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := x.posted
	mine := p.awaits == e.Key
	switch {
	case x.over || x.dispatch == dispatchRuns:
		return impossible, false
	case x.adopted:
		return x.m.rank(e, mine), false
	case !mine && p.awaits == awaitsUnknown: // or what was no JSON to us, and is to who decodes it
		return unseen, false
	case !mine:
		return impossible, false
	case p.watch == nil && x.dispatch != dispatchIdle: // mcp-go has not told of it, but may not need to
		return unseen, false
	}
	rank = rankOf(p.e, !p.whole, x.m.Decisions.Refused(), e.Code)
	return min(rank, unseen), p.watch != nil
}

// rank is that of a message that dispatch is through with; mine says that e has its id.
func (m *message) rank(e *jsonrpc.Envelope, mine bool) int {
	// mcp-go's word for a result that cannot be encoded: an error without a code.
	broken := e.Key == awaitsNull && e.HasError && e.Code == 0
	switch {
	case broken && m.mute:
		return paired
	case broken && m.answersWith(0) == certainly:
		return possible
	case mine && !m.mute:
		switch m.answersWith(e.Code) {
		case certainly:
			return paired
		case perhaps:
			return certain
		}
		return unseen
	case e.Key == awaitsNull: // it was not what its beginning looked like
		return unseen
	}
	return impossible
}

// isThrough reports whether mcp-go is through with a message that it has told of.
func (x *exchange) isThrough() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.dispatch == dispatchIdle
}

// end ends what was posted with its answer.
func (x *exchange) end(got *streamAnswer) {
	x.advance(func() {
		x.answer, x.answered, x.unsent, x.awaiting = got.e, got.size, got.failed, false
		x.noDispatch()
	})
}

// end ends the session, and returns what is open in it.
func (a *answers) end() []*exchange {
	a.match(true)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	open := a.open
	a.open = nil
	a.weigh(-a.bytes)
	return open
}

// noDispatch says that dispatch will not come any more, if it did not. mu is
// locked.
func (x *exchange) noDispatch() {
	if x.dispatch != dispatchRuns {
		x.dispatch = dispatchIdle
	}
}

// accepted is called when a request is accepted with 202: on the HTTP+SSE
// transport it is dispatched only after that, and its answer, if there is to be
// one, goes out on the session's stream.
func (x *exchange) accepted() {
	id := x.messageSession()
	if id == "" {
		return
	}
	a, _ := x.i.edges.http.streams.Load(id)
	session, _ := a.(*answers)
	if session == nil && x.i.sessions.Integrity(id, "", netip.Addr{}) != semconv.OTelMCPSessionIntegrityEnded {
		return // of another server
	}
	e, whole := x.body.accept()
	due, dispatch := expect(e, whole)
	if dispatch == dispatchDue && x.i.coverage.lostContext() {
		dispatch = dispatchMaybe
	}
	p := &posted{e: e, whole: whole, awaits: awaitsUnknown, weight: x.weigh(e), session: session}
	if whole || e.Key != "" {
		p.awaits = pending.Key(e.Key)
	}
	x.posted = p
	if !due && dispatch == dispatchIdle {
		return
	}
	x.mu.Lock()
	x.dispatch = dispatch
	x.awaiting = due && p.awaits != awaitsUnknown && session.shows(e.Key)
	x.mu.Unlock()
	if session == nil {
		x.lost(due)
		return
	}
	evicted, open := session.add(x)
	if !open {
		x.lost(due)
	}
	for _, old := range evicted {
		x.i.rec.Refuse(semconv.OTelMCPRefusedReasonPendingTable)
		old.advance(old.giveUp)
	}
}

// expect says what becomes of a message that is posted: whether it is answered,
// and whether it is dispatched. Of a message whose end was not looked at the id,
// the version or a result may still follow.
func expect(e *jsonrpc.Envelope, whole bool) (answered bool, dispatch dispatchState) {
	switch {
	case whole && e.Key != "" && e.Version == jsonrpc.Version && !e.HasResult:
		return true, dispatchDue
	case whole:
		return !e.Silent, dispatchIdle
	case e.HasResult, e.Key == "" && strings.HasPrefix(e.Method, "notifications/"):
		return false, dispatchIdle
	}
	return true, dispatchMaybe
}

// shows reports whether the edge sees an answer with the key, and that it has it.
func (a *answers) shows(key string) bool {
	const room = maxAnswer - 64 // for what else stands there
	switch {
	case a == nil || !a.seen:
		return false
	case len(key) < room/6: // as long as escapes get
		return true
	case key[0] != 's' || len(key) > room:
		return len(key) <= room
	}
	raw, err := json.Marshal(key[1:])
	return err == nil && len(raw) <= room
}

// lost says that the session has ended: the answer is lost, if one was due. What
// is to be dispatched is so all the same.
func (x *exchange) lost(due bool) {
	x.advance(func() {
		x.unsent = due
		x.giveUp()
	})
}

// giveUp waits no more for the answer, nor for a dispatch of which it is not known that
// it comes. mu is locked.
func (x *exchange) giveUp() {
	x.awaiting, x.posted.awaits = false, awaitsNothing
	if x.dispatch == dispatchMaybe {
		x.dispatch = dispatchIdle
	}
}

// handling is told by mcp-go's first hook, in the context of the message, of what was
// posted and is about to be dispatched, or refused before. That context ends when
// mcp-go is through with the message, whatever became of it.
func (x *exchange) handling(ctx context.Context, id any) {
	p := x.posted
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over || p.watch != nil || x.dispatch != dispatchDue && x.dispatch != dispatchMaybe {
		return
	}
	if _, key := jsonrpc.ID(id); p.awaits == awaitsUnknown {
		p.awaits = pending.Key(key)
		x.awaiting = p.session.shows(key)
	}
	p.watch = context.AfterFunc(ctx, func() {
		x.advance(x.noDispatch)
		p.session.match(false)
	})
}

// dispatched is told that dispatch has what was posted: no answer that is held is for it.
func (p *posted) dispatched() {
	if p != nil {
		p.session.match(false)
	}
}

// ended is told that dispatch is through with it.
func (p *posted) ended() {
	if p != nil && p.watch != nil {
		p.watch()
	}
}

// openSession is called when a session of the HTTP+SSE transport starts, and
// closeSession when it ends. seen says that its stream is behind the edge.
func (i *Instrumentation) openSession(id string, seen bool) {
	i.edges.http.streams.Store(id, &answers{seen: seen, all: &i.edges.http.posted})
}

func (i *Instrumentation) closeSession(id string) {
	a, ok := i.edges.http.streams.LoadAndDelete(id)
	if !ok {
		return
	}
	for _, x := range a.(*answers).end() {
		x.lost(true)
	}
}

// forget is told that it is recorded.
func (x *exchange) forget() {
	if x.posted != nil && x.posted.session != nil {
		x.posted.session.remove(x)
	}
}
