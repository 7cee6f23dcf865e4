// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// What the two edges share. An edge stands between a transport and mcp-go. It
// sees each message before mcp-go does and each answer after, and it ends the
// operations of what came through it, whether or not mcp-go dispatched them.

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/jsonrpc"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/pending"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/scrub"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/session"
	"github.com/otelmcp/otelmcp-go/semconv"
)

const (
	// maxLook is how many bytes of a message an edge looks at. Larger messages
	// pass all the same; of those that mcp-go does not dispatch, only what
	// stands in their beginning is recorded.
	maxLook = 1 << 20
	// maxHead is how many bytes of a message that the server sends are looked
	// at: its method, its id and its error code stand there.
	maxHead = 1 << 10
	// maxPending bounds what one connection may have waiting for an answer.
	maxPending = 4096
	// maxNotices bounds how many cancellations are remembered until the
	// request that they are about ends.
	maxNotices = 1024
)

// edge is what dispatch knows of the edge that a message came through.
type edge interface {
	// adopt returns the operation for a message that mcp-go dispatches in ctx.
	adopt(ctx context.Context) *message
	// ended is told that dispatch is through with m.
	ended(m *message)
	// owner tells whose edge it is.
	owner() *Instrumentation
}

type edgeKey struct{}

// edgeOf returns the edge that ctx came through, unless the innermost one is
// another server's.
func (i *Instrumentation) edgeOf(ctx context.Context) edge {
	e, _ := ctx.Value(edgeKey{}).(edge)
	if e == nil || e.owner() != i {
		return nil
	}
	return e
}

// edges is what an Instrumentation keeps for its edges.
type edges struct {
	ledger ledger
	// notices are cancellations that were asked for, by session and id.
	notices *pending.Table[notice]
	// asked are requests that the server sent, by session and id.
	asked *pending.Table[*asked]
	http  httpEdge
}

func newEdges() edges {
	return edges{notices: pending.NewTable[notice](maxNotices), asked: pending.NewTable[*asked](maxPending)}
}

// ledger counts what came in and what was recorded of it. The two sides are
// counted apart, so that a message that one of them misses shows.
type ledger struct {
	open, arrived, recorded atomic.Int64
}

func (l *ledger) arrive() {
	l.open.Add(1) // first: who sees the arrival must see that it is open
	l.arrived.Add(1)
}

// withdraw takes back an arrival of something that stays open for long: it
// arrives again when it ends.
func (l *ledger) withdraw() {
	l.arrived.Add(-1)
	l.open.Add(-1)
}

// settle says that something that arrived is over, and whether it was recorded.
func (i *Instrumentation) settle(recorded bool) {
	l := &i.edges.ledger
	if recorded {
		l.recorded.Add(1)
	}
	if l.open.Add(-1) == 0 {
		i.reconcile()
	}
}

// reconcile compares what arrived with what was recorded, in a moment in which
// nothing is open.
func (i *Instrumentation) reconcile() {
	l := &i.edges.ledger
	arrived := l.arrived.Load()
	recorded := l.recorded.Load()
	if l.open.Load() == 0 && l.arrived.Load() == arrived && arrived != recorded {
		i.coverage.sawMismatch(i, arrived-recorded)
	}
}

// finish ends a message that came through an edge.
func (i *Instrumentation) finish(m *message) { i.settle(m.Finish()) }

// notice says who asked for a cancellation.
type notice struct{ address string }

// asked is a request that the server sent and that waits for its answer.
type asked struct {
	// ping is the operation of a ping. Those of other requests end where the
	// program made them.
	ping *operation.Operation
}

func (i *Instrumentation) noticeCancel(sessionID string, e *jsonrpc.Envelope, address string) {
	if e.Target != "" { // mcp-go compares ids as text
		i.edges.notices.Add(sessionID+"\x00"+e.Target, notice{address})
	}
}

func (i *Instrumentation) takeNotice(m *message) (notice, bool) {
	if i.edges.notices.Empty() {
		return notice{}, false
	}
	return i.edges.notices.Take(m.session + "\x00" + m.RequestID)
}

// settleCancel records who ended a message that was cancelled. without is who
// did when the client did not ask for it.
func (i *Instrumentation) settleCancel(m *message, without string) {
	n, askedFor := i.takeNotice(m)
	if m.Outcome != semconv.OTelMCPOutcomeCancelled {
		return
	}
	source := without
	if askedFor && (without == semconv.OTelMCPCancelSourceServer || without == "") {
		source = semconv.OTelMCPCancelSourceClientRequest
		if n.address != "" {
			m.Facts = append(m.Facts, semconv.OTelMCPCancelAddressKey.String(n.address))
		}
	}
	m.Facts = append(m.Facts, semconv.OTelMCPCancelSourceKey.String(source))
}

// undelivered is for a message whose answer its peer did not get: that it went
// well would be half of the truth.
func (m *message) undelivered() {
	if m.Outcome == "" && m.Code == 0 {
		m.Outcome = semconv.OTelMCPOutcomeCancelled
	}
}

// describe fills what a raw message says that mcp-go did not dispatch. It must
// have been inited in the context that it arrived in.
func (m *message) describe(e *jsonrpc.Envelope, headers http.Header) {
	m.Stage = semconv.OTelMCPStageTransport
	m.Method.Text = e.Method
	if e.Kind == jsonrpc.Batch || e.Kind == jsonrpc.Response {
		m.Method.Text = ""
	}
	m.RequestID, m.key = e.ID, e.Key
	switch e.Version {
	case jsonrpc.Version, "":
	case "1.0", "1.1", "2.1", "3.0":
		m.JSONRPCVersion = e.Version
	default: // text that the peer chose
		m.JSONRPCVersion = operation.Other
	}
	switch m.Method.Text {
	case semconv.MCPMethodNameToolsCall:
		m.Tool = operation.Name{Text: e.Name, Known: m.i.toolKnown(e.Name)}
	case semconv.MCPMethodNamePromptsGet:
		m.Prompt = operation.Name{Text: e.Name, Known: m.i.promptKnown(e.Name)}
	case string(mcp.MethodNotificationCancelled):
		if e.Target != "" {
			m.Facts = append(m.Facts, semconv.OTelMCPCancelRequestIDKey.String(
				m.i.rec.Clean(semconv.OTelMCPCancelRequestIDKey, scrub.Name(e.Target, operation.MaxName))))
		}
	}
	m.ResourceURI = e.URI
	if m.ProtocolVersion == "" {
		m.setProtocolVersion(e.ProtocolVersion)
	}
	if e.ClientName != "" || e.ClientVersion != "" {
		p := session.NewPeer(m.i.rec, e.ClientName, e.ClientVersion, "")
		m.ClientName, m.ClientVersion = p.Name, p.Version
	}
	if len(e.Meta) > 0 {
		m.extractMeta(e.Meta)
	}
	m.extractHeaders(headers)
}

// toolKnown and promptKnown are for messages that mcp-go did not dispatch: only
// what the server itself has registered counts.
func (i *Instrumentation) toolKnown(name string) bool {
	return name != "" && i.srv.GetTool(name) != nil && i.names.admit(i, name)
}

func (i *Instrumentation) promptKnown(name string) bool {
	if name == "" {
		return false
	}
	if i.prompts.Get(name) == nil {
		if _, ok := i.srv.ListPrompts()[name]; !ok {
			return false
		}
	}
	return i.names.admit(i, name)
}

// describeSession fills what is remembered of the session that mcp-go knows by
// id.
func (m *message) describeSession(id string) {
	m.session = id
	known := m.i.sessions.Get(id)
	if known == nil {
		m.SessionID = m.i.sessionID(id)
		return
	}
	m.describeKnown(known)
}

func (m *message) describeKnown(known *session.Session) {
	m.SessionID, m.Transport, m.Network = known.ID, known.Transport, known.Network
	if p := known.Peer(); p != nil {
		if m.ClientName == "" {
			m.ClientName, m.ClientVersion = p.Name, p.Version
		}
		if m.ProtocolVersion == "" {
			m.ProtocolVersion = p.ProtocolVersion
		}
	}
}

// sent records a notification, or a ping, that the server sent to its client on
// a connection that m describes. The span of a ping ends with its answer.
func (i *Instrumentation) sent(ctx context.Context, on *message, method string, size int, failed bool) *operation.Operation {
	o := &operation.Operation{}
	i.rec.Init(o, ctx, operation.RoleClient)
	defer i.rec.Guard()
	o.Method.Text = method
	o.Stage = semconv.OTelMCPStageHandler
	o.SessionID, o.Transport, o.Network, o.HTTPVersion = on.SessionID, on.Transport, on.Network, on.HTTPVersion
	o.ClientName, o.ClientVersion, o.ProtocolVersion = on.ClientName, on.ClientVersion, on.ProtocolVersion
	o.UserID, o.UserRoles = on.UserID, on.UserRoles
	o.RequestSize = size
	if failed {
		o.Outcome = semconv.OTelMCPOutcomeCancelled
		o.Facts = append(o.Facts, semconv.OTelMCPCancelSourceKey.String(semconv.OTelMCPCancelSourceDisconnect))
	}
	if i.cfg.filter != nil {
		o.Silent = !i.keep(ctx, method)
	}
	o.Begin()
	return o
}

// watchOutgoing looks at a message that the server sends on a connection: the
// answer to a request is handed to answered, a notification is recorded, and a
// request is remembered until its answer comes. It returns the key of a ping.
func (i *Instrumentation) watchOutgoing(ctx context.Context, on *message, data []byte, size int, failed bool,
	answered func(e *jsonrpc.Envelope, size int, failed bool),
) (ping string) {
	e, _ := jsonrpc.Head(data[:min(len(data), maxHead)])
	if e.Kind == jsonrpc.Malformed && len(data) > maxHead { // its method or its id stands further on
		e, _ = jsonrpc.Head(data)
	}
	switch {
	case e.Kind == jsonrpc.Malformed: // a request whose method is not at hand; who made it records it
	case e.Method == "":
		if answered != nil {
			answered(&e, size, failed)
		}
	case e.Key == "":
		i.sent(ctx, on, e.Method, size, failed).Finish()
	default:
		a := &asked{}
		key := on.session + "\x00" + e.Key
		if e.Method == semconv.MCPMethodNamePing {
			a.ping = i.sent(ctx, on, e.Method, size, failed)
			a.ping.RequestID = e.ID
			ping = key
		}
		if old, full := i.edges.asked.Add(key, a); full {
			i.rec.Refuse(semconv.OTelMCPRefusedReasonPendingTable)
			old.unanswered(semconv.OTelMCPOutcomeTimeout)
		}
	}
	return ping
}

// unanswered ends a request that the server sent and that nobody will answer.
func (a *asked) unanswered(outcome string) {
	if a.ping != nil {
		a.ping.Outcome = outcome
		if outcome == semconv.OTelMCPOutcomeCancelled {
			a.ping.Facts = append(a.ping.Facts, semconv.OTelMCPCancelSourceKey.String(semconv.OTelMCPCancelSourceDisconnect))
		}
		a.ping.Finish()
	}
}

// answer ends the request that a client's response e is for, and reports
// whether there was one.
func (i *Instrumentation) answer(sessionID string, e *jsonrpc.Envelope, size int) bool {
	a, ok := i.edges.asked.Take(sessionID + "\x00" + e.Key)
	if !ok {
		return false
	}
	if a.ping != nil {
		a.ping.Code = e.Code
		a.ping.ResponseSize = size
		a.ping.Finish()
	}
	return true
}

// outcomeOfRejection is the outcome of a message that mcp-go answered with the
// code without dispatching it.
func outcomeOfRejection(code int) string {
	if code == 0 || code == operation.CodeInternalError {
		return ""
	}
	return semconv.OTelMCPOutcomeRejected
}
