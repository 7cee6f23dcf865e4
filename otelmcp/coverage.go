// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Coverage: what the instrumentation sees and, aloud, what it does not.

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/session"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// Coverage is what the instrumentation of a server sees. The same facts go out
// as an otelmcp.coverage event when the server gets its first message, at the
// latest a second after it was instrumented, and whenever they change; as long as
// there is no gap, once.
type Coverage struct {
	// Transports on which sessions or messages were seen so far.
	Transports []string
	// Edges in place: "http" for Handler, "stdio" for Listen and ServeStdio.
	Edges []string
	// Seams of mcp-go in place.
	Seams []string
	// Gaps says, a sentence each, what is not seen.
	Gaps []string
}

// The seams that Instrument installs.
var seams = []string{"tracer", "propagator", "hooks", "middleware"}

// The edges, by the names that Coverage gives them.
const (
	edgeHTTP  = "http"
	edgeStdio = "stdio"
)

const (
	gapHTTP = ": HTTP requests that do not reach dispatch (4xx and 5xx, parse errors, batches, a refused " +
		"initialization), notifications, client responses, streams, message sizes and the peer's address are not seen " +
		"where messages arrive without an edge: serve otelmcp.Instrument(srv).Handler(h) with an http.Server of your own, " +
		"and not h or its Start method"
	gapStdio = ": lines that do not reach dispatch (parse errors, batches, a wrong JSON-RPC version, a refused " +
		"initialization), notifications, client responses and message sizes are not seen: " +
		"call otelmcp.Instrument(srv).ServeStdio(ctx) in place of server.ServeStdio(srv)"
)

// gapByTransport is what is not seen of messages that come without an edge.
var gapByTransport = map[string]string{
	semconv.OTelMCPTransportStdio:          "stdio" + gapStdio,
	semconv.OTelMCPTransportStreamableHTTP: "streamable_http" + gapHTTP,
	semconv.OTelMCPTransportSSE:            "sse" + gapHTTP,
	semconv.OTelMCPTransportInProcess: "in_process: notifications and messages that mcp-go rejects before it " +
		"dispatches them are not seen; there is no edge for a transport without bytes",
	semconv.OTelMCPTransportOther: "other: messages that are handed to the server without a session of a known " +
		"transport are seen from dispatch on only",
}

const gapBeforeTraffic = "messages that mcp-go rejects before it dispatches them, and notifications, are not seen " +
	"without an edge: serve with otelmcp.Instrument(srv).ServeStdio(ctx), or wrap the HTTP handler with " +
	"otelmcp.Instrument(srv).Handler(h)"

// startTime is how long an instrumented server has until it gets an edge. To say
// at once that there is none would raise an alarm at every start.
const startTime = time.Second

type coverage struct {
	// reported says that there was a report, and complete that the last one had no gap.
	reported, complete atomic.Bool

	first *time.Timer // makes the first report, where nothing else does; nil where nobody listens
	// unheard are the signals that went nowhere when that was last looked at.
	unheard atomic.Uint32
	// seen, edged and lost are read on every message; they hold a bit each for
	// what was reported already: transports without an edge and facts, transports
	// with one, seams.
	seen, edged, lost atomic.Uint32
	hasEdge           atomic.Bool
	// mismatch is how many messages arrived at an edge and left no record, or, below
	// zero, how many records there are too many.
	mismatch atomic.Int64

	mu         sync.Mutex
	transports []string
	edges      []string
	lostSeams  []string
}

// transportBit gives each transport a bit of coverage.seen.
func transportBit(transport string) uint32 {
	switch transport {
	case semconv.OTelMCPTransportStdio:
		return 1
	case semconv.OTelMCPTransportStreamableHTTP:
		return 2
	case semconv.OTelMCPTransportSSE:
		return 4
	case semconv.OTelMCPTransportInProcess:
		return 8
	}
	return 16
}

// Facts that open a gap, each with a bit of coverage.seen above those of the
// transports.
const (
	customSession = 1 << (iota + 8)
	sessionTool
	taskMade
	contextLost
	propagatorsUnknown
)

// gapByFact is what is not seen where such a thing is in use.
var gapByFact = map[uint32]string{
	customSession: "requests that the server sends through a session type of the program's own are not seen",
	sessionTool:   "changes of the tools of a single session are not seen",
	taskMade: "how a task ends is seen only when a client asks for its result: " +
		"what its tool did after the call was answered is not",
	contextLost: "the program handles messages in a context that does not derive from the one that they arrive in, so that what " +
		"the edge knows of them (sizes, addresses, the answer) is missing: have the function given to server.WithStdioContextFunc, " +
		"server.WithHTTPContextFunc or server.WithSSEContextFunc return a context that derives from its argument",
	propagatorsUnknown: gapPropagators + "server.WithPropagator and server.WithMetaPropagator",
}

// gapPropagators goes before the names of the options that no longer do anything.
const gapPropagators = "this version of mcp-go keeps its propagators where otelmcp does not find them, so that the program's own no longer run: " +
	"use the version that otelmcp requires, or do without "

// gapBySeam is what is not seen after the program replaced a seam.
var gapBySeam = map[string]string{
	"tracer": "the server's tracer was replaced after it was instrumented, so that no message is recorded, or, where there " +
		"is an edge, neither its target nor its outcome: remove server.WithTracer, or call otelmcp.Instrument after it",
	"propagator": "a propagator of the server was replaced after it was instrumented, so that parents of spans are lost: " +
		"remove server.WithPropagator and server.WithMetaPropagator, or call otelmcp.Instrument after them",
	"hooks": "the server's hooks were replaced after it was instrumented, so that targets, codes and outcomes are lost: " +
		"call otelmcp.Instrument after server.WithHooks, or add hooks to srv.GetHooks()",
}

// sawTransport is told of a message or a session on transport, and whether it
// came through an edge.
func (c *coverage) sawTransport(i *Instrumentation, transport string, edge bool) {
	bit, bits := transportBit(transport), &c.seen
	if edge {
		bits = &c.edged
	}
	if bits.Load()&bit != 0 || bits.Or(bit)&bit != 0 {
		c.heard(i)
		return
	}
	c.mu.Lock()
	c.transports = insert(c.transports, transport)
	c.mu.Unlock()
	i.hears(&c.unheard)
	i.reportCoverage()
}

// heard looks, when there is something to record, whether all signals go somewhere.
func (c *coverage) heard(i *Instrumentation) {
	if i.hears(&c.unheard) {
		i.reportCoverage()
	}
}

// dispatches reports whether a message was dispatched that came through no edge.
func (c *coverage) dispatches() bool { return c.seen.Load()&(customSession-1) != 0 }

// sawEdge is told that an edge is in place.
func (c *coverage) sawEdge(i *Instrumentation, edge string) {
	c.hasEdge.Store(true)
	c.mu.Lock()
	known := slices.Contains(c.edges, edge)
	c.edges = insert(c.edges, edge)
	c.mu.Unlock()
	if !known && c.reported.Load() { // else the first report, which has a transport if one is seen soon, says it
		i.reportCoverage()
	}
}

// sawMismatch is told how many messages have arrived that left no record.
func (c *coverage) sawMismatch(i *Instrumentation, n int64) {
	if c.mismatch.Load() != n && c.mismatch.Swap(n) != n {
		i.reportCoverage()
	}
}

// insert adds v to a sorted set.
func insert(set []string, v string) []string {
	at, ok := slices.BinarySearch(set, v)
	if ok {
		return set
	}
	return slices.Insert(set, at, v)
}

// seamLost says that mcp-go no longer calls a seam of ours: the program
// replaced it after Instrument.
func (c *coverage) seamLost(i *Instrumentation, seam string) {
	bit := uint32(1) << slices.Index(seams, seam)
	if c.lost.Load()&bit != 0 || c.lost.Or(bit)&bit != 0 {
		return
	}
	c.mu.Lock()
	c.lostSeams = insert(c.lostSeams, seam)
	c.mu.Unlock()
	i.reportCoverage()
}

func (c *coverage) sawCustomSession(i *Instrumentation) { c.sawFact(i, customSession) }
func (c *coverage) sawSessionTool(i *Instrumentation)   { c.sawFact(i, sessionTool) }
func (c *coverage) sawTask(i *Instrumentation)          { c.sawFact(i, taskMade) }
func (c *coverage) sawContextLost(i *Instrumentation)   { c.sawFact(i, contextLost) }

func (c *coverage) lostContext() bool { return c.seen.Load()&contextLost != 0 }

func (c *coverage) sawFact(i *Instrumentation, bit uint32) {
	if c.seen.Load()&bit == 0 && c.seen.Or(bit)&bit == 0 {
		i.reportCoverage()
	}
}

// Coverage says what is seen and what is not, as of now. What went through edges
// is compared with what was recorded of it.
func (i *Instrumentation) Coverage() Coverage {
	i.reconcile(i.edges.ledger.word.Load())
	return i.covered()
}

func (i *Instrumentation) covered() Coverage {
	c := &i.coverage
	c.mu.Lock()
	defer c.mu.Unlock()
	out := Coverage{Transports: slices.Clone(c.transports), Edges: slices.Clone(c.edges)}
	for _, s := range seams {
		if !slices.Contains(c.lostSeams, s) {
			out.Seams = append(out.Seams, s)
		}
	}
	for _, s := range c.lostSeams {
		out.Gaps = append(out.Gaps, gapBySeam[s])
	}
	out.Gaps = append(out.Gaps, gapsOf(i.rec.Unheard())...)
	seen := c.seen.Load()
	if len(c.transports) == 0 && len(c.edges) == 0 {
		out.Gaps = append(out.Gaps, gapBeforeTraffic)
	}
	for _, t := range c.transports {
		if seen&transportBit(t) != 0 {
			out.Gaps = append(out.Gaps, gapByTransport[t])
		}
	}
	switch n := c.mismatch.Load(); {
	case n > 0:
		out.Gaps = append(out.Gaps, fmt.Sprintf("%d message(s) arrived of which there is no complete record: "+
			"a logger or meter provider panicked, or this is a defect of otelmcp", n))
	case n < 0:
		out.Gaps = append(out.Gaps, fmt.Sprintf("%d message(s) were recorded more often than once: "+
			"this is a defect of otelmcp", -n))
	}
	for _, fact := range []uint32{customSession, sessionTool, taskMade, contextLost, propagatorsUnknown} {
		if seen&fact != 0 {
			out.Gaps = append(out.Gaps, gapByFact[fact])
		}
	}
	return out
}

// reportCoverage says what is covered. That nothing is amiss it says once, until
// something is.
func (i *Instrumentation) reportCoverage() {
	if i.coverage.first != nil {
		i.coverage.first.Stop()
	}
	i.report()
}

func (i *Instrumentation) report() {
	c := &i.coverage
	c.reported.Store(true)
	is := i.covered()
	if complete := len(is.Gaps) == 0; !c.complete.Swap(complete) || !complete {
		i.emitCoverage(semconv.OTelMCPRoleServer, is, i.self)
	}
}

// expect has the first report made when there is no reason to before, unless the
// server is gone by then: waiting does not keep it.
func (c *coverage) expect(i *Instrumentation) {
	c.unheard.Store(uint32(i.rec.Unheard()))
	if !i.rec.Observable() {
		return
	}
	w := weak.Make(i)
	c.first = time.AfterFunc(startTime, func() {
		if i := w.Value(); i != nil && !i.coverage.reported.Load() {
			i.report()
		}
	})
}

// emitCoverage emits what the instrumentation of a server, which is self, or of a client
// sees.
func (b base) emitCoverage(role string, is Coverage, self *session.Peer) {
	e := operation.Event{
		Name:       semconv.OTelMCPCoverageEventName,
		Severity:   log.SeverityInfo,
		Body:       "coverage complete",
		Attributes: []attribute.KeyValue{semconv.OTelMCPRoleKey.String(role)},
	}
	add := func(key attribute.Key, values []string) {
		if len(values) > 0 || role == semconv.OTelMCPRoleServer {
			e.Attributes = append(e.Attributes, key.StringSlice(values))
		}
	}
	add(semconv.OTelMCPCoverageSeamsKey, is.Seams)
	add(semconv.OTelMCPCoverageTransportsKey, is.Transports)
	add(semconv.OTelMCPCoverageEdgesKey, is.Edges)
	add(semconv.OTelMCPCoverageGapsKey, is.Gaps)
	if n := len(is.Gaps); n > 0 {
		e.Severity = log.SeverityWarn
		e.Body = "coverage has " + strconv.Itoa(n) + " gap(s): " + strings.Join(is.Gaps, "; ")
	}
	self.AddTo(&e)
	b.rec.Emit(context.Background(), e)
}
