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

// onRequestInitialization is mcp-go's first word of a request that it is about to
// dispatch, or refuses before.
func (i *Instrumentation) onRequestInitialization(ctx context.Context, id, raw any) error {
	defer i.rec.Guard()
	switch e := i.edgeOf(ctx).(type) {
	case *lines:
		e.handling(ctx, id, raw)
	case *exchange:
		if e.posted != nil && !i.ownCall(ctx) {
			e.handling(ctx, id)
		}
	}
	return nil
}

// edges is what an Instrumentation keeps for its edges.
type edges struct {
	ledger  ledger
	notices notices
	// asked are the requests that the server sent over HTTP, of all sessions.
	asked *askedTable
	http  httpEdge
}

func newEdges() edges {
	return edges{notices: newNotices(), asked: pending.NewTable[*asked](maxAskedOverHTTP)}
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

// asked is a request that the server sent and that waits for its answer.
type asked struct {
	// ping is the operation of a ping. Those of other requests end where the
	// program made them.
	ping *operation.Operation
	// in is the session, of one over HTTP.
	in *session.Session
}

// askedTable are the requests that the server sent, by the key that the answer will
// have.
type askedTable = pending.Table[*asked]

const (
	// maxAsked bounds the requests of the server that wait on one connection.
	maxAsked = 256
	// maxAskedOverHTTP bounds those of all sessions over HTTP.
	maxAskedOverHTTP = 32768
)

func newAskedTable() *askedTable { return pending.NewTable[*asked](maxAsked) }

// askedKey is the key over HTTP of the request of a session whose answer will have
// that key; "" when it is not remembered: who could answer in a session that is not
// known is not known either. It is of one size.
func (i *Instrumentation) askedKey(sessionID, key string) (hashed string, in *session.Session) {
	if sessionID == "" {
		return "", nil
	}
	if in = i.sessions.Get(sessionID); in == nil {
		return "", nil
	}
	k := i.edges.notices.key(sessionID, key)
	return string(k[:]), in
}

// answeredOverHTTP is answered in a session over HTTP.
func (i *Instrumentation) answeredOverHTTP(sessionID string, e *jsonrpc.Envelope, size int) bool {
	key, _ := i.askedKey(sessionID, e.Key)
	return answered(i.edges.asked, key, e, size)
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
	on   *message // what its connection is
	e    jsonrpc.Envelope
	size int
	ping *operation.Operation
	// asked is where it waits for its answer, if it is a request, and key what under.
	asked *askedTable
	key   string
	in    *session.Session // of one over HTTP
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
// is remembered under key, since the answer can be there before the write returns. It
// is not with an empty key. on must be set.
func (i *Instrumentation) watchOutgoing(ctx context.Context, out *outgoing, table *askedTable, key string) {
	if !out.isRequest() || key == "" {
		return
	}
	a := &asked{in: out.in}
	if out.e.Method == semconv.MCPMethodNamePing {
		a.ping = i.sent(ctx, out.on, out.e.Method, out.size, false)
		a.ping.RequestID = out.e.ID
		out.ping = a.ping
	}
	out.asked, out.key = table, key
	if old, full := table.Add(key, a); full {
		if old.in == nil || !old.in.Ended() { // else nobody waits for it
			i.rec.Refuse(semconv.OTelMCPRefusedReasonPendingTable)
		}
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
		if a, ok := o.asked.Take(o.key); ok {
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
// whether there was one. It waits under key.
func answered(table *askedTable, key string, e *jsonrpc.Envelope, size int) bool {
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
