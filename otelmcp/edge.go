// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// What the two edges share. An edge stands between a transport and mcp-go. It
// sees each message before mcp-go does and each answer after, and it ends the
// operations of what came through it, whether or not mcp-go dispatched them.

import (
	"context"
	"hash/maphash"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/jsonrpc"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/pending"
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
}

// edgeKey finds the edge of one server: several can be in one context. Without an i it
// finds the innermost one.
type edgeKey struct{ i *Instrumentation }

// edgeOf returns the edge of ours that ctx came through.
func (i *Instrumentation) edgeOf(ctx context.Context) edge {
	e, _ := ctx.Value(edgeKey{i}).(edge)
	return e
}

// edges is what an Instrumentation keeps for its edges.
type edges struct {
	ledger ledger
	// notices are cancellations that were asked for, by session and id.
	notices *pending.Table[notice]
	// asked are the requests that the server sent in a session over HTTP.
	asked sync.Map // session id → *askedTable
	http  httpEdge
	seed  maphash.Seed
}

func newEdges() edges {
	return edges{notices: pending.NewTable[notice](maxNotices), seed: maphash.MakeSeed()}
}

// ledger is the self-check of the edges. What came in is counted where it comes
// in, and what was recorded where it is recorded, so that a message that either
// of them misses shows. Both stand in one word, to be read at once: how many are
// open in its upper half, and in its lower one how many more were settled than
// recorded.
type ledger struct{ word atomic.Int64 }

const oneOpen = 1 << 32

// arrive says that something came in, which will be settled.
func (l *ledger) arrive() { l.word.Add(oneOpen) }

// withdraw takes back an arrival of something that stays open for long: it
// arrives again when it ends.
func (l *ledger) withdraw() { l.word.Add(-oneOpen) }

// record says that something that came in was recorded.
func (l *ledger) record() { l.word.Add(-1) }

// settle says that something that came in is over.
func (l *ledger) settle() (word int64) { return l.word.Add(1 - oneOpen) }

// settle says that something that arrived is over.
func (i *Instrumentation) settle() {
	i.reconcile(i.edges.ledger.settle())
}

// reconcile looks at the ledger. More than was settled can be recorded for a
// moment only, while something is open.
func (i *Instrumentation) reconcile(word int64) {
	missing := int32(word) //nolint:gosec // The lower half.
	open := (word - int64(missing)) / oneOpen
	if missing > 0 || open == 0 {
		i.coverage.sawMismatch(i, int64(missing))
	}
}

// finish records a message. What came through an edge is on its ledger.
func (m *message) finish() {
	if m.Finish() && m.onLedger {
		m.i.edges.ledger.record()
	}
}

// notice says who asked for a cancellation.
type notice struct{ address string }

// asked is a request that the server sent and that waits for its answer.
type asked struct {
	// ping is the operation of a ping. Those of other requests end where the
	// program made them.
	ping *operation.Operation
}

// askedTable are the requests that the server sent on one connection, or in one
// session, by the key that the answer will have.
type askedTable = pending.Table[*asked]

// maxAsked bounds the requests of the server that wait in one session.
const maxAsked = 256

func newAskedTable() *askedTable { return pending.NewTable[*asked](maxAsked) }

// askedIn returns the table of a session over HTTP. A session that is not
// remembered has none: who could answer there is not known.
func (i *Instrumentation) askedIn(sessionID string, create bool) *askedTable {
	if t, ok := i.edges.asked.Load(sessionID); ok {
		return t.(*askedTable)
	}
	if !create || sessionID == "" || i.sessions.Get(sessionID) == nil {
		return nil
	}
	t, _ := i.edges.asked.LoadOrStore(sessionID, newAskedTable())
	return t.(*askedTable)
}

// noticeKey is where a cancellation of the request id is kept. mcp-go compares ids
// as text; a long one is kept as its hash.
func (i *Instrumentation) noticeKey(sessionID, id string) string {
	const long = 64
	if len(id) > long {
		id = strconv.FormatUint(maphash.String(i.edges.seed, id), 36)
	}
	return sessionID + "\x00" + id
}

func (i *Instrumentation) noticeCancel(sessionID string, e *jsonrpc.Envelope, address string) {
	if e.Target == "" {
		return
	}
	if _, full := i.edges.notices.Add(i.noticeKey(sessionID, e.Target), notice{address}); full {
		i.rec.Refuse(semconv.OTelMCPRefusedReasonPendingTable)
	}
}

// refusedCancel forgets a cancellation that was turned away: what strangers send
// must not push out the wishes of clients.
func (i *Instrumentation) refusedCancel(sessionID string, e *jsonrpc.Envelope, address string) {
	if e != nil && e.Target != "" && e.Method == string(mcp.MethodNotificationCancelled) {
		i.edges.notices.TakeFunc(i.noticeKey(sessionID, e.Target), func(n notice) bool { return n.address == address })
	}
}

func (i *Instrumentation) takeNotice(m *message) (notice, bool) {
	if i.edges.notices.Empty() {
		return notice{}, false
	}
	return i.edges.notices.Take(i.noticeKey(m.session, m.RequestID))
}

// settleCancel records who ended a message that was cancelled. without is who
// did when the client did not ask for it; sure says that it did. That it noticed
// a wish of the client's only counts while the client is there.
func (i *Instrumentation) settleCancel(m *message, without string, sure bool) {
	n, noticed := i.takeNotice(m)
	if m.Outcome != semconv.OTelMCPOutcomeCancelled {
		return
	}
	source := without
	if sure || noticed && without == semconv.OTelMCPCancelSourceServer {
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
			m.Facts = append(m.Facts, semconv.OTelMCPCancelRequestIDKey.String(e.Target))
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
	if meta := e.Meta(); len(meta) > 0 {
		m.extractMeta(meta)
	}
	m.extractHeaders(headers)
}

// toolKnown and promptKnown are for messages that mcp-go did not dispatch: only
// what the server itself has registered counts.
func (i *Instrumentation) toolKnown(name string) bool {
	return name != "" && i.srv.GetTool(name) != nil && i.names.admit(i.rec, name)
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
	return i.names.admit(i.rec, name)
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
	o.Silent = i.silent(ctx, method)
	o.Begin()
	return o
}

// An outgoing message is one that the server is about to send on a connection.
type outgoing struct {
	on    *message // what its connection is
	e     jsonrpc.Envelope
	size  int
	ping  *operation.Operation
	asked *askedTable // where it waits for its answer, if it is a request
}

// readOutgoing reads a message of the given size that begins with data.
func readOutgoing(data []byte, size int) (out outgoing) {
	out.size = size
	out.e, _ = jsonrpc.Head(data[:min(len(data), maxHead)])
	if out.e.Kind == jsonrpc.Malformed && len(data) > maxHead { // its method or its id stands further on
		out.e, _ = jsonrpc.Head(data)
	}
	return out
}

// watchOutgoing is told of a message before it is written: what the server asks for
// is remembered, since the answer can be there before the write returns. on must
// be set.
func (i *Instrumentation) watchOutgoing(ctx context.Context, out *outgoing, table *askedTable) {
	if !out.isRequest() || table == nil {
		return
	}
	a := &asked{}
	if out.e.Method == semconv.MCPMethodNamePing {
		a.ping = i.sent(ctx, out.on, out.e.Method, out.size, false)
		a.ping.RequestID = out.e.ID
		out.ping = a.ping
	}
	out.asked = table
	if old, full := table.Add(out.e.Key, a); full {
		i.rec.Refuse(semconv.OTelMCPRefusedReasonPendingTable)
		old.unanswered(semconv.OTelMCPOutcomeTimeout)
	}
}

// A message whose method is not at hand is recorded by who made it.
func (o *outgoing) isRequest() bool { return o.e.Method != "" && o.e.Key != "" }
func (o *outgoing) isAnswer() bool  { return isAnswer(&o.e) }

func isAnswer(e *jsonrpc.Envelope) bool {
	return e.Kind != jsonrpc.Malformed && e.Kind != jsonrpc.Batch && e.Method == ""
}

// wasSent is told of the message after the write: a notification is recorded, and
// a request that did not go out waits for no answer.
func (i *Instrumentation) wasSent(ctx context.Context, o *outgoing, failed bool) {
	switch {
	case o.e.Kind == jsonrpc.Malformed || o.isAnswer():
	case !o.isRequest():
		i.sent(ctx, o.on, o.e.Method, o.size, failed).Finish()
	case failed && o.asked != nil:
		if a, ok := o.asked.Take(o.e.Key); ok {
			a.unanswered(semconv.OTelMCPOutcomeCancelled)
		}
	}
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

// answered ends the request that a client's response e is for, and reports
// whether there was one. table may be nil.
func answered(table *askedTable, key string, e *jsonrpc.Envelope, size int) bool {
	if table == nil {
		return false
	}
	a, ok := table.Take(key)
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
