// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Coverage: what the instrumentation sees and, aloud, what it does not.

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// Coverage is what the instrumentation of a server sees. The same facts go out
// as an otelmcp.coverage event when the server is instrumented and whenever
// they change.
type Coverage struct {
	// Transports on which sessions or messages were seen so far.
	Transports []string
	// Edges in place: none, in this version.
	Edges []string
	// Seams of mcp-go in place.
	Seams []string
	// Gaps says, a sentence each, what is not seen.
	Gaps []string
}

// The seams that Instrument installs.
var seams = []string{"tracer", "propagator", "hooks", "middleware"}

// gapByTransport is what dispatch cannot see on each transport.
var gapByTransport = map[string]string{
	semconv.OTelMCPTransportStdio: "stdio: lines that mcp-go rejects before it dispatches them " +
		"(parse errors, batches, a wrong JSON-RPC version, a refused initialization), notifications, " +
		"client responses and message sizes are not seen",
	semconv.OTelMCPTransportStreamableHTTP: "streamable_http: requests that mcp-go rejects before it dispatches them " +
		"(HTTP 4xx and 5xx, parse errors, batches, a refused initialization), notifications, client responses, " +
		"streams, message sizes and the peer's address are not seen",
	semconv.OTelMCPTransportSSE: "sse: requests that mcp-go rejects before it dispatches them " +
		"(HTTP 4xx and 5xx, parse errors, batches, a refused initialization), notifications, client responses, " +
		"streams, message sizes and the peer's address are not seen",
	semconv.OTelMCPTransportInProcess: "in_process: notifications and messages that mcp-go rejects before it " +
		"dispatches them are not seen",
	semconv.OTelMCPTransportOther: "other: messages that are handed to the server without a session of a known " +
		"transport are seen from dispatch on only",
}

const gapBeforeTraffic = "messages that mcp-go rejects before it dispatches them, and notifications, are not seen"

type coverage struct {
	// seen and lost are read on every message; they hold a bit each for what
	// was reported already.
	seen, lost atomic.Uint32

	mu         sync.Mutex
	transports []string
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
)

// gapByFact is what is not seen where such a thing is in use.
var gapByFact = map[uint32]string{
	customSession: "requests that the server sends through a session type of the program's own are not seen",
	sessionTool:   "changes of the tools of a single session are not seen",
	taskMade: "how a task ends is seen only when a client asks for its result: " +
		"what its tool did after the call was answered is not",
}

// gapBySeam is what is not seen after the program replaced a seam.
var gapBySeam = map[string]string{
	"tracer": "the server's tracer was replaced after it was instrumented, so that no message is recorded: " +
		"remove server.WithTracer, or call otelmcp.Instrument after it",
	"propagator": "a propagator of the server was replaced after it was instrumented, so that parents of spans are lost: " +
		"remove server.WithPropagator and server.WithMetaPropagator, or call otelmcp.Instrument after them",
	"hooks": "the server's hooks were replaced after it was instrumented, so that targets, codes and outcomes are lost: " +
		"call otelmcp.Instrument after server.WithHooks, or add hooks to srv.GetHooks()",
}

func (c *coverage) sawTransport(i *Instrumentation, transport string) {
	bit := transportBit(transport)
	if c.seen.Load()&bit != 0 || c.seen.Or(bit)&bit != 0 {
		return
	}
	c.mu.Lock()
	c.transports = append(c.transports, transport)
	slices.Sort(c.transports)
	c.mu.Unlock()
	i.reportCoverage()
}

// seamLost says that mcp-go no longer calls a seam of ours: the program
// replaced it after Instrument.
func (c *coverage) seamLost(i *Instrumentation, seam string) {
	bit := uint32(1) << slices.Index(seams, seam)
	if c.lost.Load()&bit != 0 || c.lost.Or(bit)&bit != 0 {
		return
	}
	c.mu.Lock()
	c.lostSeams = append(c.lostSeams, seam)
	slices.Sort(c.lostSeams)
	c.mu.Unlock()
	i.reportCoverage()
}

func (c *coverage) sawCustomSession(i *Instrumentation) { c.sawFact(i, customSession) }
func (c *coverage) sawSessionTool(i *Instrumentation)   { c.sawFact(i, sessionTool) }
func (c *coverage) sawTask(i *Instrumentation)          { c.sawFact(i, taskMade) }

func (c *coverage) sawFact(i *Instrumentation, bit uint32) {
	if c.seen.Load()&bit == 0 && c.seen.Or(bit)&bit == 0 {
		i.reportCoverage()
	}
}

// Coverage says what is seen and what is not, as of now.
func (i *Instrumentation) Coverage() Coverage {
	c := &i.coverage
	c.mu.Lock()
	defer c.mu.Unlock()
	out := Coverage{Transports: slices.Clone(c.transports)}
	for _, s := range seams {
		if !slices.Contains(c.lostSeams, s) {
			out.Seams = append(out.Seams, s)
		}
	}
	for _, s := range c.lostSeams {
		out.Gaps = append(out.Gaps, gapBySeam[s])
	}
	if len(c.transports) == 0 {
		out.Gaps = append(out.Gaps, gapBeforeTraffic)
	}
	for _, t := range c.transports {
		out.Gaps = append(out.Gaps, gapByTransport[t])
	}
	seen := c.seen.Load()
	for _, fact := range []uint32{customSession, sessionTool, taskMade} {
		if seen&fact != 0 {
			out.Gaps = append(out.Gaps, gapByFact[fact])
		}
	}
	return out
}

func (i *Instrumentation) reportCoverage() {
	is := i.Coverage()
	e := operation.Event{
		Name:     semconv.OTelMCPCoverageEventName,
		Severity: log.SeverityInfo,
		Body:     "coverage complete",
		Attributes: []attribute.KeyValue{
			semconv.OTelMCPRoleKey.String(semconv.OTelMCPRoleServer),
			semconv.OTelMCPCoverageSeamsKey.StringSlice(is.Seams),
			semconv.OTelMCPCoverageTransportsKey.StringSlice(is.Transports),
			semconv.OTelMCPCoverageEdgesKey.StringSlice(is.Edges),
			semconv.OTelMCPCoverageGapsKey.StringSlice(is.Gaps),
		},
	}
	if n := len(is.Gaps); n > 0 {
		e.Severity = log.SeverityWarn
		e.Body = "coverage has " + strconv.Itoa(n) + " gap(s): " + strings.Join(is.Gaps, "; ")
	}
	i.rec.Emit(context.Background(), e)
}
