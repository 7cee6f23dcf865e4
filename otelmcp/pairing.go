// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Pairing on stdio: which line a message of dispatch came on, and which line an
// answer is for.
//
// mcp-go hands nothing of ours from the line to dispatch to the answer, and a
// peer may use an id as often as it likes. What is known is this: a line waits
// from before mcp-go has it until its answer is about to be written; mcp-go
// answers after dispatch has ended; and what it answers without dispatch it
// answers with few codes.
//
// A message whose id dispatch knows takes its line when it ends: one with its id
// and method that no message has taken, rather one with its target and its trace
// parent than another. A message whose id is not known (of a method that mcp-go
// does not know, or where our hooks were not reached) stays loose until an answer
// tells the id.
//
// An answer is for the first of these, and of several for the oldest:
//
//  1. a line with its id that was taken by a message which ended with its code
//  2. a line with its id, and a loose message that fits the line and the code
//  3. a line with its id that mcp-go answers with just this code, and without
//     dispatch: another version, and what is in the place of an answer
//  4. a spent answer with its id, if that is how mcp-go answers those
//  5. a line with its id that nothing has taken
//  6. what had to make room
//  7. any line with its id
//
// A line whose id was not read, being larger than what is looked at, comes after
// those with the id: its id is not known before it is taken.
//
// Every line is settled exactly once. One that has to make room before it is
// answered is owed a record: the message, if it is dispatched, or else its answer,
// gets that without a line, and at the end of the connection what is owed still is
// recorded as unknown. One that has to make room after its message ended is
// recorded then, and an answer is left over. A message that has no line, while no
// line is owed a record, did not come on one (a program can dispatch a message
// itself, in our context) and does not count on the ledger.

import (
	"slices"
	"time"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/jsonrpc"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/pending"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// pairs is what waits on one connection to be paired. The connection's lock is
// held for all that it does.
type pairs struct {
	waiting *pending.Table[*line]    // for a message or an answer, by id
	taken   *pending.Table[*line]    // by a message that ended, by id
	loose   *pending.Table[*message] // by method
	// spent are answers to requests of the server's that mcp-go dispatches in case
	// it has given up the request. Nothing tells before it answers them.
	spent *pending.Table[*line] // by id
	// owed is how many lines have made room and are not settled, and early how many
	// were settled before their answer.
	owed, early int
}

func newPairs() pairs {
	return pairs{
		waiting: pending.NewTable[*line](maxPending),
		taken:   pending.NewTable[*line](maxPending),
		loose:   pending.NewTable[*message](maxPending),
		spent:   pending.NewTable[*line](maxAsked),
	}
}

// line is a line that came in and waits for its end.
type line struct {
	e      jsonrpc.Envelope
	key    string // what it waits under
	size   int
	unread int
	since  time.Time
	m      *message // that took it, as dispatch left it
	spent  bool
	// decisions are those of hooks, before dispatch.
	decisions operation.Decisions
	// cancelled says that the client asked for its end; target is the last id that
	// it asked for, of a line whose own is not known.
	cancelled bool
	target    string
}

// unread is the key of lines that are larger than what is looked at, and whose
// id did not stand in the beginning.
const unread = "?"

// add lets w wait, and reports whether another one made room for it.
func (p *pairs) add(w *line) (full bool) {
	_, full = p.waiting.Add(w.key, w)
	if full {
		p.owed++
	}
	return full
}

// fit tells how well m fits a line: 0 is best, and below that it does not.
func (w *line) fit(m *message) int {
	if w.decisions.Refused() {
		return -1
	}
	huge := w.unread > 0 // what it does not tell can be anything
	if w.e.Method != m.Method.Text && (!huge || w.e.Method != "") ||
		w.e.Version != jsonrpc.Version && (!huge || w.e.Version != "") {
		return -1
	}
	if huge {
		return 1
	}
	fit := 0
	if m.id != nil && w.e.Method == semconv.MCPMethodNameToolsCall && m.Tool.Text != w.e.Name ||
		m.id != nil && w.e.Method == semconv.MCPMethodNamePromptsGet && m.Prompt.Text != w.e.Name {
		fit += 2
	}
	if !w.e.TracedBy(m.traceparent) {
		fit += 4
	}
	return fit
}

// ended says that dispatch is through with m. It returns the line that is over
// because there was no room, and the message that is on no line, if there are such.
func (p *pairs) ended(m *message) (over *line, stray *message) {
	key := m.answerKey()
	if key == "" {
		old, full := p.loose.Add(m.Method.Text, m)
		if !full {
			return nil, nil
		}
		if over = p.settleLoose(old); over == nil {
			return nil, old
		}
		p.early++
		return over, nil
	}
	w, _ := p.best(func(w *line) int { return w.fit(m) }, key, unread)
	if w != nil {
		p.remove(w)
	} else if w = p.takeOwed(); w == nil {
		return nil, m
	}
	w.m = m
	over, full := p.taken.Add(key, w)
	if !full {
		return nil, nil
	}
	p.early++
	return over, nil
}

// best returns the waiting line under the keys, or of all, with the lowest rank
// that is not below 0, and its rank. It is nil if there is none.
func (p *pairs) best(rank func(*line) int, keys ...string) (best *line, least int) {
	for w := range p.waiting.All(keys...) {
		if r := rank(w); r >= 0 && (best == nil || r < least) {
			if best, least = w, r; r == 0 {
				break
			}
		}
	}
	return best, least
}

// answered takes the line that an answer is for. It is nil if it is for none.
func (p *pairs) answered(e *jsonrpc.Envelope) *line {
	if w, ok := p.taken.TakeFunc(e.Key, func(w *line) bool { return w.m.answersWith(e.Code) != never }); ok {
		return w
	}
	if w, m := p.looseFor(e); m != nil {
		p.tighten(m)
		p.remove(w)
		w.m = m
		return w
	}
	w, rank := p.best(func(w *line) int { return w.rank(e.Code) }, e.Key, unread)
	if e.Code == operation.CodeMethodNotFound && (w == nil || rank > rankRejected) {
		if s, ok := p.spent.Take(e.Key); ok {
			return s
		}
	}
	if w == nil || rank == rankLast {
		switch {
		case p.early > 0:
			p.early--
			return nil
		case p.owed > 0:
			w = p.takeOwed()
			w.e = jsonrpc.Envelope{Kind: jsonrpc.Request, Version: jsonrpc.Version, ID: e.ID, Key: e.Key}
			w.m = p.takeLoose(e)
			return w
		}
		if t, ok := p.taken.Take(e.Key); ok {
			return t
		}
	}
	if w != nil {
		p.remove(w)
	}
	return w
}

func (p *pairs) remove(w *line) {
	p.waiting.TakeFunc(w.key, func(x *line) bool { return x == w })
}

// The ranks of lines that no message took, for an answer.
const (
	rankRejected = iota
	rankUntaken
	rankUnread
	rankLast
)

// rank says what an answer with the code is to w.
func (w *line) rank(code int) int {
	switch {
	case w.unread > 0:
		return rankUnread
	case w.e.NullAnswer:
		return rankRejected
	case w.decisions.Refused():
		if code == operation.CodeInvalidRequest {
			return rankRejected
		}
		return rankLast
	case w.e.Version != jsonrpc.Version:
		if code == operation.CodeInvalidRequest {
			return rankRejected
		}
		return rankLast
	case w.e.Kind == jsonrpc.Response:
		if code == operation.CodeMethodNotFound {
			return rankRejected
		}
		return rankLast
	}
	return rankUntaken
}

// looseFor returns a waiting line that an answer can be for, and the loose message
// that fits both best.
func (p *pairs) looseFor(e *jsonrpc.Envelope) (best *line, m *message) {
	if e.Key == "" || p.loose.Empty() {
		return nil, nil
	}
	least := -1
	for w := range p.waiting.All(e.Key, unread) {
		methods := []string{w.e.Method}
		if w.e.Method == "" { // it has not told
			methods = nil
		}
		for x := range p.loose.All(methods...) {
			fit, answers := w.fit(x), x.answersWith(e.Code)
			if rank := 2*fit + answers; fit >= 0 && answers != never && (least < 0 || rank < least) {
				best, m, least = w, x, rank
			}
		}
	}
	return best, m
}

// takeLoose takes the oldest loose message that an answer can be for, whatever its
// line; nil if there is none.
func (p *pairs) takeLoose(e *jsonrpc.Envelope) (m *message) {
	for x := range p.loose.All() {
		if e.Key != "" && x.answersWith(e.Code) != never {
			m = x
			break
		}
	}
	if m != nil {
		p.tighten(m)
	}
	return m
}

// tighten takes m from the loose messages.
func (p *pairs) tighten(m *message) {
	p.loose.TakeFunc(m.Method.Text, func(x *message) bool { return x == m })
}

// takeOwed returns a line in the place of one that has made room; nil if none has.
func (p *pairs) takeOwed() *line {
	if p.owed == 0 {
		return nil
	}
	p.owed--
	return &line{since: time.Now()}
}

// settleLoose pairs a loose message whose answer is not waited for any longer. It
// is nil if it came on no line.
func (p *pairs) settleLoose(m *message) *line {
	w, _ := p.best(func(w *line) int { return w.fit(m) })
	if w != nil {
		p.remove(w)
	} else if w = p.takeOwed(); w == nil {
		return nil
	}
	w.m = m
	return w
}

// decided keeps d on the line that the request e came on: the oldest that it can
// be, and that nothing was decided about which d does not follow.
func (p *pairs) decided(e *jsonrpc.Envelope, d *operation.Decision) {
	for w := range p.waiting.All(e.Key) {
		if w.e.Kind == jsonrpc.Request && w.e.Method == e.Method && w.e.Name == e.Name && !w.decisions.Refused() {
			w.decisions.Add(d)
			return
		}
	}
}

// cancelled marks the lines that a client asks to end.
func (p *pairs) cancelled(target string) {
	const long = 128
	if target == "" {
		return
	}
	for w := range p.waiting.All("s"+target, "n"+target) { // mcp-go compares ids as text
		w.cancelled = true
	}
	if len(target) > long {
		return
	}
	for w := range p.waiting.All(unread) {
		w.target = target
	}
}

// drain takes all that waits: lines, answers that are spent, and messages that
// came on no line.
func (p *pairs) drain() (over, spent []*line, stray []*message) {
	for _, m := range p.loose.Drain() {
		if w := p.settleLoose(m); w != nil {
			over = append(over, w)
		} else {
			stray = append(stray, m)
		}
	}
	over = slices.Concat(over, p.taken.Drain(), p.waiting.Drain())
	for p.owed > 0 {
		over = append(over, p.takeOwed())
	}
	return over, p.spent.Drain(), stray
}

// Whether mcp-go answers a message with a code.
const (
	certainly = iota
	perhaps
	never
)

// answersWith says whether mcp-go answers with the code, 0 being a result, for a
// message that ended as m did.
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

// onlyDispatch reports whether mcp-go answers the line with the code only after
// dispatch.
func (w *line) onlyDispatch(code int) bool {
	return slices.Contains([]int{0, operation.CodeMethodNotFound, operation.CodeInternalError, operation.CodeResourceNotFound}, code) ||
		code == operation.CodeInvalidParams && !w.e.VersionInMeta && w.unread == 0
}
