// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Pairing on stdio: which line a message of dispatch came on, and which line an
// answer is for. mcp-go handles lines at the same time, and a peer may use an id as
// often as it likes.
//
// A line is in one of three places, by its id:
//
//	arrived  mcp-go has it, and has not begun to handle it as a request
//	handled  mcp-go's first hook has shown its bytes, and so said which line it is
//	ended    dispatch is through with it, and its answer is about to be written
//
// The context that the hook was called in is an ancestor of the one that dispatch
// is called in. So dispatch finds the very line that it is about; nothing is guessed.
//
// The answer alone is paired by what it says, its id and its code. It is for
//
//  1. a line that ended with this code, the newest: an answer is written as soon as
//     its message ended, so that what ended long ago will have none
//  2. a line that mcp-go is known to answer so without dispatch: of another version,
//     say, or refused by a hook
//  3. the only line that was handled and is not dispatched; where there are several
//     with the id, the answer is held until as many are left as there are answers,
//     because all others were dispatched
//
// Every line is settled exactly once, also when it has to make room. One that ended
// is recorded then, and so is one whose rejection is certain; one that is dispatched
// is recorded when it ends. Of any other it is not known yet what becomes of it: it
// is owed a record, which the next message or answer without a line gets, or at the
// end nobody.
//
// Where the hook does not tell (the program replaced the hooks), a message waits as a
// loose one for the answer to a line that fits it.

import (
	"context"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/jsonrpc"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/pending"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// pairs is what waits on one connection to be paired. The connection's lock is
// held for all that it does.
type pairs struct {
	arrived, handled, ended *pending.Table[*line] // by id
	// inside are the lines that were handled and not dispatched, by context, and open
	// is how many of them wait, by id.
	inside map[context.Context]*line
	open   map[string]int
	// spent are answers to requests of the server's. mcp-go handles them as requests
	// if it has given up the request.
	spent *pending.Table[*line] // by id
	loose *pending.Table[*message]
	// held are answers, by id, of which it is not known yet which line they are for,
	// as many as holding.
	held    map[string][]sentAnswer
	holding int
	// told says that the hook tells of lines, and traced that messages end.
	told, traced bool
	// owed is how many lines have made room and are not settled, and early how many
	// were settled before their answer.
	owed, early int
}

// maxPendingBytes bounds what the lines in one place keep alive.
const maxPendingBytes = 8 << 20

func newPairs() pairs {
	return pairs{
		arrived: pending.NewSizedTable[*line](maxPending, maxPendingBytes),
		handled: pending.NewSizedTable[*line](maxPending, maxPendingBytes),
		ended:   pending.NewSizedTable[*line](maxPending, maxPendingBytes),
		inside:  make(map[context.Context]*line),
		open:    make(map[string]int),
		held:    make(map[string][]sentAnswer),
		spent:   pending.NewSizedTable[*line](maxAsked, maxPendingBytes),
		loose:   pending.NewSizedTable[*message](maxPending, maxPendingBytes),
	}
}

// add lets w wait. over are the lines that made room for it and are settled, and
// refused is how many made room.
func (p *pairs) add(w *line) (over []*line, refused int) {
	evicted := p.arrived.AddSized(w.key, w, w.bytes())
	for _, x := range evicted {
		if x.certain() {
			p.early++
			over = append(over, x)
		} else {
			p.owed++
		}
	}
	return over, len(evicted)
}

// handling says that mcp-go handles, in ctx, the line with these bytes.
func (p *pairs) handling(ctx context.Context, id, key string, b *signature) (refused int) {
	p.told = true
	same := func(w *line) bool { return w.signature == *b }
	w, ok := p.arrived.TakeFunc(key, same)
	if !ok {
		w, ok = p.arrived.TakeFunc(unread, same)
	}
	if !ok {
		w, ok = p.spent.TakeFunc(key, same)
	}
	if !ok {
		w = p.takeOwed()
	}
	if w == nil { // the program dispatches itself, in our context
		return 0
	}
	w.e.ID, w.e.Key, w.key = id, key, key
	w.ctx, w.spent = ctx, false
	p.inside[ctx] = w
	p.open[key]++
	evicted := p.handled.AddSized(key, w, w.bytes())
	for _, x := range evicted {
		x.gone = true
		if !x.taken {
			p.leave(x)
			p.owed++
		}
	}
	return len(evicted)
}

// leave says that w, which is inside, is so no more.
func (p *pairs) leave(w *line) {
	delete(p.inside, w.ctx)
	w.ctx = nil
	p.open[w.key]--
	if p.open[w.key] == 0 {
		delete(p.open, w.key)
	}
}

// within returns the line that is handled in a context that ctx derives from, if it
// is not dispatched yet.
func (p *pairs) within(ctx context.Context) *line {
	if len(p.inside) == 0 {
		return nil
	}
	for range maxDerived {
		if ctx == nil || reflect.TypeOf(ctx).Kind() != reflect.Pointer {
			return nil
		}
		if w := p.inside[ctx]; w != nil {
			return w
		}
		ctx = parentOf(ctx)
	}
	return nil
}

// dispatched returns the line that a message came on which is dispatched in ctx.
func (p *pairs) dispatched(ctx context.Context) *line {
	w := p.within(ctx)
	if w == nil {
		return nil
	}
	p.leave(w)
	w.taken = true
	if p.traced { // else there may be no other record of it than the line's
		w.e.KeepMeta(0)
	}
	return w
}

// finished says that dispatch is through with m. It returns the lines that are over
// because there was no room, and whether m came on no line.
func (p *pairs) finished(m *message) (over []*line, stray bool) {
	p.traced = true
	w := m.line
	switch nameless := m.Method.Text == ""; {
	case w != nil && w.settled, w == nil && nameless:
		return nil, false
	case w == nil && p.told:
		if w = p.takeOwed(); w == nil {
			return nil, true
		}
	case w == nil:
		for _, old := range p.loose.AddSized(m.Method.Text, m, m.bytes()) {
			if w := p.settleLoose(old); w != nil {
				p.early++
				over = append(over, w)
			}
		}
		return over, false
	case w.gone:
	default:
		p.handled.TakeFunc(w.key, func(x *line) bool { return x == w })
	}
	size := w.bytes()
	if m.Method.Text != "" { // else what stands in the place of an answer is recorded with its own
		w.m = m
		size += m.bytes()
		size += clientBytes(server.RequestProtocolInfoFromContext(m)) // which its context keeps
	}
	switch {
	case m.mute:
		return []*line{w}, false
	case w.gone:
		p.early++
		return []*line{w}, false
	}
	over = p.ended.AddSized(w.key, w, size)
	p.early += len(over)
	return over, false
}

// sentAnswer is an answer that was written, or could not be, and the line that it is
// for.
type sentAnswer struct {
	code, size int
	id, key    string
	failed     bool
	w          *line
}

// shared reports whether another line than w waits under its id.
func (p *pairs) shared(w *line) bool {
	for _, t := range []*pending.Table[*line]{p.handled, p.ended, p.arrived} {
		for x := range t.All(w.key) {
			if x != w {
				return true
			}
		}
	}
	return false
}

// answered takes the line that an answer is for. It is nil if it is for none, or if
// the answer has to be held.
func (p *pairs) answered(e *jsonrpc.Envelope) (w *line, hold bool) {
	for _, how := range []int{certainly, perhaps} {
		if w, ok := p.ended.TakeLast(e.Key, func(w *line) bool { return w.answersWith(e.Code) == how }); ok {
			return w, false
		}
	}
	w, hold = p.rejected(e)
	switch {
	case w != nil || hold:
		return w, hold
	case p.early > 0:
		p.early--
		return nil, false
	}
	if w = p.takeOwed(); w != nil {
		w.e.Kind, w.e.Version, w.e.ID, w.e.Key = jsonrpc.Request, jsonrpc.Version, e.ID, e.Key
		return w, false
	}
	w, _ = p.ended.Take(e.Key)
	return w, false
}

// rejected takes the line that no message ended of, and that an answer is for.
func (p *pairs) rejected(e *jsonrpc.Envelope) (best *line, hold bool) {
	var m *message
	least := impossible
	several := e.Code != 0 && p.holding < maxPending && (p.open[e.Key] > 1 || p.open[e.Key] == 1 && len(p.held[e.Key]) > 0)
	consider := func(w *line, exact bool) {
		rank, x := w.rank(e.Code), (*message)(nil)
		if !exact { // dispatch may have had it, and have told us nothing, or not which it was
			rank = min(rank, unseen)
			if x = p.fitting(w, e); x != nil {
				rank = paired
			}
		}
		if rank < least {
			best, m, least = w, x, rank
		}
	}
	for w := range p.handled.All(e.Key) {
		if several && p.traced && e.Code != operation.CodeInvalidRequest {
			break // with any other code none of them is the only one that it can be for
		}
		if !w.taken || !p.traced {
			consider(w, p.traced)
		}
	}
	for w := range p.arrived.All(e.Key, unread) {
		if w.unheard() || !p.told {
			consider(w, p.told)
		}
	}
	if least > certain && several {
		return nil, true
	}
	if best == nil && e.Key == "" { // a line that was taken for JSON by its outline
		for w := range p.arrived.All() {
			if w.unread > 0 {
				best = w // mcp-go has answered all that came before
			}
		}
	}
	if best == nil {
		return nil, false
	}
	p.settle(best)
	if m != nil {
		p.loose.TakeFunc(m.Method.Text, func(x *message) bool { return x == m })
		best.m = m
	}
	return best, false
}

// settle takes w, which is not dispatched, from where it waits.
func (p *pairs) settle(w *line) {
	same := func(x *line) bool { return x == w }
	if _, ok := p.handled.TakeFunc(w.key, same); !ok {
		p.arrived.TakeFunc(w.key, same)
	}
	if w.ctx != nil {
		p.leave(w)
	}
	w.settled = true
}

// hold keeps an answer until it is known which line it is for.
func (p *pairs) hold(a *sentAnswer) {
	p.held[a.key] = append(p.held[a.key], *a)
	p.holding++
}

// match returns the answers under key that were held, each with its line, if as many
// lines are left for them; at the end, whatever is left.
func (p *pairs) match(key string, end bool) []sentAnswer {
	answers := p.held[key]
	if len(answers) == 0 {
		return nil
	}
	if p.open[key] > len(answers) && !end {
		return nil
	}
	open := make([]*line, 0, p.open[key])
	for w := range p.handled.All(key) {
		if !w.taken {
			open = append(open, w)
		}
	}
	delete(p.held, key)
	p.holding -= len(answers)
	for rank := certain; rank < impossible; rank++ {
		seen := make(map[int]int) // by code, how many of open are of no use for it at this rank
		for k := range answers {
			a := &answers[k]
			for n := seen[a.code]; a.w == nil && n < len(open); n++ {
				if w := open[n]; !w.settled && w.rank(a.code) == rank {
					a.w = w
					p.settle(w)
				}
				seen[a.code] = n + 1
			}
		}
	}
	for k := range answers { // of lines that had to make room
		if a := &answers[k]; a.w == nil {
			if a.w = p.takeOwed(); a.w == nil && p.early > 0 {
				p.early--
			}
		}
	}
	return answers
}

// fitting returns the loose message that w may have come on, if mcp-go answers it
// as e does: rather one that it certainly does than another.
func (p *pairs) fitting(w *line, e *jsonrpc.Envelope) *message {
	if p.loose.Empty() {
		return nil
	}
	var methods []string
	if w.e.Method != "" {
		methods = []string{w.e.Method}
	}
	for _, how := range []int{certainly, perhaps} {
		for m := range p.loose.All(methods...) {
			if key := m.answerKey(); m.answersWith(e.Code) == how && (key == "" || key == e.Key) {
				return m
			}
		}
	}
	return nil
}

// settleLoose pairs a loose message whose answer is not waited for any longer. It
// is nil if it came on no line.
func (p *pairs) settleLoose(m *message) *line {
	var w *line
	for x := range p.arrived.All() {
		if x.e.Method == m.Method.Text && x.e.Version == jsonrpc.Version {
			w = x
			break
		}
	}
	if w != nil {
		p.arrived.TakeFunc(w.key, func(x *line) bool { return x == w })
		w.m = m
		return w
	}
	if w = p.takeOwed(); w != nil {
		w.m = m
	}
	return w
}

// takeOwed returns a line in the place of one that has made room; nil if none has.
func (p *pairs) takeOwed() *line {
	if p.owed == 0 {
		return nil
	}
	p.owed--
	return &line{since: time.Now()}
}

// decided keeps d on the line that is handled in ctx.
func (p *pairs) decided(ctx context.Context, d *operation.Decision) {
	if w := p.within(ctx); w != nil {
		w.decisions.Add(d)
	}
}

// cancelled marks the lines that a client asks to end. mcp-go compares ids as text.
func (p *pairs) cancelled(target string) {
	if target == "" {
		return
	}
	for _, t := range []*pending.Table[*line]{p.arrived, p.handled} {
		for w := range t.All("s"+target, "n"+target) {
			w.cancelled = true
		}
	}
	digest := pending.DigestOf([]byte(target))
	for w := range p.arrived.All(unread) {
		w.target = digest
	}
}

// drain takes all that waits: lines, answers that are spent, and messages that
// came on no line.
func (p *pairs) drain() (over, spent []*line, stray []*message, answers []sentAnswer) {
	for key := range p.held {
		answers = append(answers, p.match(key, true)...)
	}
	for _, m := range p.loose.Drain() {
		if w := p.settleLoose(m); w != nil {
			over = append(over, w)
		} else {
			stray = append(stray, m)
		}
	}
	over = slices.Concat(over, p.ended.Drain(), p.handled.Drain(), p.arrived.Drain())
	for _, w := range over {
		w.settled = true
	}
	for p.owed > 0 {
		over = append(over, p.takeOwed())
	}
	clear(p.inside)
	clear(p.open)
	return over, p.spent.Drain(), stray, answers
}

// Whether mcp-go answers a message with a code.
const (
	certainly = iota
	perhaps
	never
)

// answersWith says whether mcp-go answers with the code, 0 being a result, for a
// line that ended.
func (w *line) answersWith(code int) int {
	if w.m != nil {
		return w.m.answersWith(code)
	}
	if code == operation.CodeMethodNotFound { // of the method "", which nobody handles
		return certainly
	}
	return never
}

func (m *message) answersWith(code int) int {
	is := func(yes bool) int {
		if yes {
			return certainly
		}
		return never
	}
	switch {
	case m.settled && m.Code != 0:
		return is(code == m.Code)
	case m.settled && m.Outcome == semconv.OTelMCPOutcomeError: // no hook told which
		if code == operation.CodeInternalError { // rather that of a panic
			return perhaps
		}
		return is(code != 0)
	case m.settled:
		return is(code == 0)
	case m.Outcome == semconv.OTelMCPOutcomePanic:
		return is(code == operation.CodeInternalError)
	}
	return is(code == 0 || code == operation.CodeInternalError) // no hook told
}

// The ranks of lines that no message ended of, for an answer.
const (
	paired = iota // with a message
	certain
	expected
	possible
	unlikely
	unseen
	impossible
)

// rank says how likely a code answers w, when dispatch does not.
func (w *line) rank(code int) int {
	if w.taken && code != 0 {
		return unseen
	}
	return rankOf(&w.e, w.unread > 0, w.decisions.Refused(), code)
}

// rankOf says how likely mcp-go answers e with a code, when it does not dispatch it.
// unread says that e is not all of it, and refused that a hook refused it.
func rankOf(e *jsonrpc.Envelope, unread, refused bool, code int) int {
	switch foretold := rejection(e); {
	case code == 0:
		return impossible
	case refused:
		if code == operation.CodeInvalidRequest {
			return certain
		}
	case foretold == code && !unread && unasked(e):
		return certain
	case foretold == code:
		return expected
	case foretold == 0 && unread, // it does not tell
		foretold == 0 && (code == operation.CodeInvalidRequest || code == operation.CodeInternalError): // a hook refuses, or panics
		return possible
	case code == mcp.UNSUPPORTED_PROTOCOL_VERSION && !unread: // only the version is answered so
		return impossible
	}
	return unlikely
}

func (w *line) rejection() int { return rejection(&w.e) }

// rejection is the code that mcp-go rejects e with before it dispatches it, as far as
// e tells; 0 if it does not.
func rejection(e *jsonrpc.Envelope) int {
	switch {
	case e.Kind == jsonrpc.Malformed || e.Kind == jsonrpc.Batch:
		return operation.CodeParseError
	case e.Version != jsonrpc.Version:
		return operation.CodeInvalidRequest
	case e.NullAnswer:
		return operation.CodeParseError
	case !mcp.IsModernProtocol(e.MetaVersion):
		return 0
	case !e.Capable:
		return operation.CodeInvalidParams
	case !mcp.IsValidProtocolVersion(e.MetaVersion):
		return mcp.UNSUPPORTED_PROTOCOL_VERSION
	}
	return 0
}

// unasked reports whether mcp-go rejects e before it asks a hook.
func unasked(e *jsonrpc.Envelope) bool { return e.NullAnswer || e.Version != jsonrpc.Version }

// unheard reports whether mcp-go may answer w without a word to the hook.
func (w *line) unheard() bool {
	return unasked(&w.e) || w.e.Silent || w.key == unread
}

// certain reports whether that, and with what, is beyond doubt.
func (w *line) certain() bool {
	return w.unread == 0 && unasked(&w.e)
}

// onlyDispatch reports whether mcp-go answers the line with the code only after
// dispatch.
func (w *line) onlyDispatch(code int) bool {
	return slices.Contains([]int{0, operation.CodeMethodNotFound, operation.CodeInternalError, operation.CodeResourceNotFound}, code) ||
		code == operation.CodeInvalidParams && w.unread == 0 && !mcp.IsModernProtocol(w.e.MetaVersion)
}

// maxDerived is how many contexts mcp-go may have derived, one from another, between
// its first hook and dispatch. It is two.
const maxDerived = 8

// parentOf returns the context that a pointer of package context derives from, which
// that has no function for, or nil.
func parentOf(ctx context.Context) context.Context {
	v := reflect.ValueOf(ctx).Elem()
	if v.Kind() != reflect.Struct || v.NumField() == 0 {
		return nil
	}
	f := v.Field(0)
	if f.Kind() != reflect.Interface || !f.CanInterface() {
		return nil
	}
	parent, _ := reflect.TypeAssert[context.Context](f)
	return parent
}

// derivable reports whether parentOf knows package context.
var derivable = sync.OnceValue(func() bool {
	type key struct{}
	first := context.WithValue(context.Background(), key{}, 1)
	second, cancel := context.WithCancel(first)
	defer cancel()
	return parentOf(second) == first && parentOf(first) == context.Background()
})
