// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package hostile_test

// The attack on stdio: lines with a few ids for all of them, while others with the
// same id are held, canceled, refused or answered.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// settles is how long a record may take to be there.
const settles = time.Second

// move is one step of a client on stdio.
type move struct {
	do      action
	message *message // to send
	nonce   string   // of the call that the others are about
}

type action int

const (
	send    action = iota
	enter          // wait until the handler runs
	let            // release what the handler waits for
	end            // wait until the handler has returned
	drain          // wait until all that is not held is answered
	stall          // read no more
	unstall        // read on
)

// script is what one connection goes through.
type script struct {
	seed      uint64
	moves     []move
	recovered bool
	workers   int
	oneByOne  bool // each line waits for its answer, so that all has one order
	abrupt    bool // the client goes without waiting for its answers
	cutOff    int  // how much of a last line it then leaves
	refusable bool // it has ids of which only a few may wait
	chunks    int  // how it writes: lines as they come, or in pieces of about this size
}

// write writes a script for about n lines.
func write(seed uint64, n int) *script {
	m := newMaker(seed)
	s := &script{seed: seed, recovered: m.IntN(2) == 0, workers: 2 + m.IntN(20), chunks: []int{0, 0, 3, 50, 700, 5000}[m.IntN(6)]}
	switch m.IntN(6) {
	case 0:
		s.oneByOne = true
		m.without = without(holds, holdsAndFails, promptHolds)
	case 1:
		s.abrupt = true
		s.cutOff = m.IntN(40)
		// Which of two calls that are answered alike was dropped nobody can tell.
		m.without = without(unsupported, noCapabilities, turnedAway, badParams, oddMeta, asks, notifies)
		if m.sizes > 0 {
			m.sizes = 1
		}
	}
	cancels := m.IntN(2) == 0
	if cancels { // whether the answer to a request of a call that is canceled came in time nobody can tell
		m.without[asks] = true
	} else {
		m.without[canceled] = true
	}
	hello := m.message(ping)
	hello.class, hello.method, hello.target = list, "initialize", ""
	hello.raw = `{"jsonrpc":"2.0","id":` + m.id().raw + `,"method":"initialize","params":{"protocolVersion":"2025-11-25",` +
		`"capabilities":{"sampling":{},"elicitation":{},"roots":{}},"clientInfo":{"name":"tester","version":"1"}}}`
	hello.id, hello.trace = anything, ""
	s.moves = append(s.moves, move{do: send, message: hello}, move{do: drain})
	var held []*message
	for len(s.moves) < n {
		if len(held) > 0 && m.IntN(4) == 0 { // somebody is let go
			k := m.IntN(len(held))
			s.moves = append(s.moves, move{do: let, nonce: held[k].nonce})
			held = slices.Delete(held, k, k+1)
			continue
		}
		if len(held) > 0 && cancels && m.IntN(8) == 0 { // or asked to go, once it runs, twice perhaps
			other := held[m.IntN(len(held))]
			s.moves = append(s.moves, move{do: enter, nonce: other.nonce})
			for range 1 + m.IntN(2) {
				x := m.message(canceled)
				x.raw = `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + idOf(other) + `,"pad":"` + strings.Repeat("c", m.n%397) + `"}}`
				x.trace = ""
				s.moves = append(s.moves, move{do: send, message: x})
			}
			continue
		}
		if m.IntN(60) == 0 {
			s.moves = append(s.moves, move{do: drain})
			if m.IntN(8) == 0 && len(held) < s.workers-1 && !s.abrupt { // a flood of notifications that nobody reads
				x := m.message(notifies)
				x.raw = strings.Replace(x.raw, `"n":`, `"n":15`, 1)
				s.moves = append(s.moves, move{do: stall}, move{do: send, message: x}, move{do: end, nonce: x.nonce}, move{do: unstall})
			}
			continue
		}
		x := m.any()
		if x.held {
			if len(held) >= s.workers-1 {
				continue
			}
			held = append(held, x)
		}
		s.moves = append(s.moves, move{do: send, message: x})
	}
	return s
}

func without(cs ...class) map[class]bool {
	left := map[class]bool{}
	for _, c := range cs {
		left[c] = true
	}
	return left
}

// idOf is the id of a message in JSON's notation.
func idOf(m *message) string { return m.rawID }

// connection is a client that plays a script.
type connection struct {
	s   *script
	p   *play
	rng *rand.Rand // how it writes

	mu       sync.Mutex
	more     *sync.Cond
	toSend   []string
	closed   bool
	sent     []*message
	replies  [][]byte // of the server, as they came
	asked    [][]byte // its requests and notifications
	stalled  bool
	waiting  map[string]string // late answers, by the nonce of the call that gave up
	requests int               // of the server's
}

// outcome is what came of a script.
type outcome struct {
	sent    []*message
	replies [][]byte
	asked   [][]byte
	cut     string // the beginning of a line that never ended
	err     error  // of Listen
	stuck   string
}

type listener func(ctx context.Context, in io.Reader, out io.Writer, opts ...server.StdioOption) error

// perform plays the script to a server that listens.
func (s *script) perform(ctx context.Context, p *play, listen listener) *outcome {
	c := &connection{s: s, p: p, rng: rand.New(rand.NewPCG(s.seed, 1)), waiting: map[string]string{}}
	c.more = sync.NewCond(&c.mu)
	in, toServer := io.Pipe()
	fromServer, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := listen(ctx, in, out, server.WithWorkerPoolSize(s.workers), server.WithQueueSize(10000), quiet)
		_ = out.Close()
		_ = in.Close()
		done <- err
	}()
	var both sync.WaitGroup
	both.Go(func() { c.write(toServer) })
	both.Go(func() { c.read(fromServer) })
	o := &outcome{}
	for k := range s.moves {
		if o.stuck = c.move(&s.moves[k]); o.stuck != "" {
			break
		}
	}
	c.pause(false)
	if !s.abrupt && o.stuck == "" {
		p.letAll()
		o.stuck = c.drain(true)
	}
	o.cut = c.hangUp()
	if s.abrupt {
		defer p.letAll()
	} else {
		p.letAll()
	}
	select {
	case o.err = <-done:
		both.Wait()
	case <-time.After(patience):
		o.stuck += " Listen does not return"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	o.sent, o.replies, o.asked = c.sent, c.replies, c.asked
	return o
}

var quiet = server.WithErrorLogger(log.New(io.Discard, "", 0))

func (c *connection) move(m *move) (stuck string) {
	switch m.do {
	case send:
		c.send(m.message)
		if c.s.oneByOne && !c.isStalled() {
			return c.drain(false)
		}
	case enter, end:
		a := c.p.act(m.nonce)
		if m.do == enter && !c.wasSent(m.nonce) {
			return ""
		}
		return until(fmt.Sprintf("the handler of %s", m.nonce), func() bool {
			x := c.p.seen(m.nonce)
			select {
			case <-a.entered:
				return m.do == enter || x.ended
			default:
				return !c.wasSent(m.nonce)
			}
		})
	case let:
		c.p.let(m.nonce)
	case drain:
		return c.drain(false)
	case stall:
		c.pause(true)
	case unstall:
		c.pause(false)
		if c.s.oneByOne {
			return c.drain(false)
		}
	}
	return ""
}

func (c *connection) wasSent(nonce string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.sent, func(m *message) bool { return m.nonce == nonce })
}

func (c *connection) isStalled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stalled
}

func (c *connection) pause(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stalled = on
	c.more.Broadcast()
}

func (c *connection) send(m *message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, m)
	c.toSend = append(c.toSend, m.raw+"\n")
	c.more.Broadcast()
}

// until polls, since there is nothing of the handlers' to wait for that is not
// theirs.
func until(what string, is func() bool) (stuck string) {
	for deadline := time.Now().Add(patience); !is(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(deadline) {
			return "waited in vain for " + what
		}
	}
	return ""
}

// drain waits for the answers to all that is not held; all says that nothing is.
func (c *connection) drain(all bool) (stuck string) {
	is, due := 0, 0
	stuck = until("answers", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		is, due = len(c.replies), 0
		for _, m := range c.sent {
			if m.silent || m.silenced || m.held && !all {
				continue
			}
			due++
		}
		if all {
			return is >= due && len(c.toSend) == 0
		}
		for _, m := range c.sent { // those that were let go may have been answered
			if m.held && c.p.seen(m.nonce).ended {
				due++
			}
		}
		return is >= due && len(c.toSend) == 0
	})
	if stuck != "" {
		stuck = fmt.Sprintf("%s: %d of %d", stuck, is, due)
	}
	return stuck
}

// hangUp closes the connection, and returns what it leaves of a last line.
func (c *connection) hangUp() (cut string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.s.abrupt && c.s.cutOff > 0 {
		cut = `{"jsonrpc":"2.0","id":1,"method":"tools/call"`[:c.s.cutOff]
		c.toSend = append(c.toSend, cut)
	}
	c.closed = true
	c.stalled = false
	c.more.Broadcast()
	return cut
}

// write sends what there is to send, in chunks that know no lines.
func (c *connection) write(to *io.PipeWriter) {
	defer to.Close()
	var rest []byte
	for {
		c.mu.Lock()
		for len(c.toSend) == 0 && len(rest) == 0 && !c.closed {
			c.more.Wait()
		}
		if len(c.toSend) == 0 && len(rest) == 0 {
			c.mu.Unlock()
			return
		}
		for _, l := range c.toSend {
			rest = append(rest, l...)
			if c.s.chunks == 0 {
				break
			}
		}
		if c.s.chunks == 0 && len(c.toSend) > 0 {
			c.toSend = c.toSend[1:]
		} else {
			c.toSend = nil
		}
		c.mu.Unlock()
		for len(rest) > 0 {
			n := len(rest)
			if c.s.chunks > 0 {
				n = min(n, 1+c.rng.IntN(2*c.s.chunks+len(rest)/64))
			}
			if _, err := to.Write(rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
		rest = rest[:0]
	}
}

// read reads what the server says, and answers what it asks.
func (c *connection) read(from io.Reader) {
	lines := bufio.NewReaderSize(from, 64<<10)
	for {
		c.mu.Lock()
		for c.stalled {
			c.more.Wait()
		}
		c.mu.Unlock()
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		r := parse(line)
		c.mu.Lock()
		if r.Method == nil {
			c.replies = append(c.replies, line)
			for nonce, answer := range c.waiting { // the call that gave up is over
				if bytes.Contains(line, []byte(`"`+nonce+" ")) {
					c.answerLate(answer)
					delete(c.waiting, nonce)
				}
			}
		} else {
			c.asked = append(c.asked, line)
			if r.ID != nil {
				c.answer(*r.Method, string(r.ID), line)
			}
		}
		c.mu.Unlock()
	}
}

// answer answers a request of the server's, as the call that makes it says. mu is
// locked.
func (c *connection) answer(method, id string, line []byte) {
	yes, no := answerTo(method, id, false), answerTo(method, id, true)
	how, nonce := accepted, ""
	for _, m := range c.sent {
		if m.asks != "" && bytes.Contains(line, []byte(`"`+m.nonce+`"`)) {
			how, nonce = m.asks, m.nonce
		}
	}
	c.requests++
	switch {
	case method == "roots/list" && c.requests%2 == 0, how == refused:
		c.toSend = append(c.toSend, no+"\n")
	case how == givenUp:
		c.waiting[nonce] = []string{yes, no}[c.requests%2]
	default:
		c.toSend = append(c.toSend, yes+"\n")
	}
	c.more.Broadcast()
}

// answerLate answers what nobody waits for any more. mu is locked.
func (c *connection) answerLate(raw string) {
	m := &message{raw: raw, class: unwantedError, stage: anything, id: anything}
	if strings.Contains(raw, `"result"`) {
		m.class, m.silent, m.optional = unwantedResult, true, true
	}
	c.sent = append(c.sent, m)
	c.toSend = append(c.toSend, raw+"\n")
	c.more.Broadcast()
}

// judge says what is wrong with the answers and the books of a performance.
func (s *script) judge(o *outcome, p *play, r *rehearsal, b *books) (wrong []string) {
	if o.stuck != "" {
		wrong = append(wrong, "stuck: "+o.stuck)
	}
	if o.err != nil {
		wrong = append(wrong, fmt.Sprintf("Listen: %v", o.err))
	}
	left := map[string]int{}
	for _, raw := range o.replies {
		left[string(raw)]++
	}
	take := func(raw []byte) bool {
		if raw == nil || left[string(raw)] == 0 {
			return false
		}
		left[string(raw)]--
		return true
	}
	var want []*record
	var client []string
	blocked := 0
	for _, m := range o.sent {
		a := p.seen(m.nonce)
		answer := parseError
		if json.Valid([]byte(m.raw)) {
			answer = r.answer(m, a.canceled)
		}
		client = append(client, a.asked...)
		blocked += a.blocked
		gone := false
		if !take(answer) && answer != nil {
			if gone = s.abrupt && m.method == "tools/call"; !gone {
				wrong = append(wrong, fmt.Sprintf("not answered: %s %s\n    with %s", m.class, clip(m.raw), clip(string(answer))))
			}
			answer = nil
		}
		gone = gone || s.abrupt && m.silenced && !a.ran
		want = append(want, m.expect(answer, a, gone))
	}
	if o.cut != "" {
		want = append(want, &record{method: anything, target: anything, id: anything, outcome: "cancelled", stage: "transport", size: fmt.Sprint(len(o.cut)), trace: anything})
	}
	for raw, n := range left {
		if n > 0 {
			wrong = append(wrong, fmt.Sprintf("answered %d times too often: %s", n, clip(raw)))
		}
	}
	for _, raw := range o.asked {
		if rep := parse(raw); rep.ID == nil {
			client = append(client, *rep.Method+" ok")
		}
	}
	got := make([]string, 0, len(b.client))
	for _, e := range b.client {
		if method, how, _ := strings.Cut(e, " "); !strings.HasPrefix(method, "notifications/") {
			e = how
		} else if how == "cancelled" {
			continue // it was written when the other side had gone
		} else if how == "error" && blocked > 0 {
			blocked-- // it found no room
			continue
		}
		got = append(got, e)
	}
	wrong = append(wrong, sameTally("sent by the server", client, got)...)
	wrong = append(wrong, match(want, b.server)...)
	if !s.abrupt {
		wrong = append(wrong, sameAnswers(want, b.server)...)
	}
	return append(wrong, b.wrong...)
}

// arena is an instrumented server that lives for many scripts.
type arena struct {
	t         testing.TB
	capture   *telemetrytest.Capture
	p         *play
	i         *otelmcp.Instrumentation
	srv       *server.MCPServer
	rehearsed *rehearsal
}

func newArena(t testing.TB, recovered bool) *arena {
	a := &arena{t: t, capture: telemetrytest.New(t, telemetrytest.WithoutCheck()), p: newPlay(), rehearsed: rehearse(recovered)}
	a.srv = newServer(a.p, recovered)
	a.i = otelmcp.Instrument(a.srv, into(a.capture)...)
	return a
}

// run plays a script, and says what is wrong.
func (a *arena) run(s *script) (sent int, wrong []string) {
	a.p.reset()
	a.capture.Reset()
	o := s.perform(context.Background(), a.p, a.i.Listen)
	for deadline := time.Now().Add(settles); ; time.Sleep(5 * time.Millisecond) { // what outlives the connection records a little later
		last := time.Now().After(deadline) // an audit can take longer than that where much else runs
		wrong = s.judge(o, a.p, a.rehearsed, audit(a.capture, a.i, s.refusable))
		if len(wrong) == 0 || o.stuck != "" || last {
			break
		}
	}
	if s.oneByOne {
		bare := newPlay()
		b := s.perform(context.Background(), bare, listenBare(newServer(bare, s.recovered)))
		if b.stuck != "" {
			wrong = append(wrong, "the bare server is stuck: "+b.stuck)
		}
		for k := range max(len(o.replies), len(b.replies)) {
			var is, want string
			if k < len(o.replies) {
				is = string(o.replies[k])
			}
			if k < len(b.replies) {
				want = string(b.replies[k])
			}
			if is != want && (!strings.Contains(is, "-32601") || !strings.Contains(want, "-32601")) { // with the id of a request of the server's
				wrong = append(wrong, fmt.Sprintf("answer %d is\n    %s, of the bare server\n    %s", k, clip(is), clip(want)))
				break
			}
		}
	}
	return len(o.sent), wrong
}

func listenBare(srv *server.MCPServer) listener {
	return func(ctx context.Context, in io.Reader, out io.Writer, opts ...server.StdioOption) error {
		s := server.NewStdioServer(srv)
		for _, o := range opts {
			o(s)
		}
		return s.Listen(ctx, in, out)
	}
}
