// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package hostile_test

// What must be recorded: of each message one event that says of it what its maker
// knows, one count, and one span where there is a method; and nothing else.

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// record is what an event says, or must say.
type record struct {
	method, target, id, outcome, stage, code, size, answer, trace string
	// who is what only one exchange over HTTP says, and status how it was answered.
	who, status string
	optional    bool
}

func (r *record) fields() []string {
	return []string{r.method, r.target, r.id, r.outcome, r.stage, r.code, r.size, r.trace, r.who, r.status}
}

func (r *record) String() string {
	names := []string{"method", "target", "id", "outcome", "stage", "code", "size", "trace", "who", "status"}
	var b strings.Builder
	for k, v := range r.fields() {
		if v != "" && v != anything {
			fmt.Fprintf(&b, "%s=%s ", names[k], clip(v))
		}
	}
	return strings.TrimSpace(b.String())
}

func clip(s string) string {
	if len(s) > 200 {
		return fmt.Sprintf("%s…(%d bytes)…%s", s[:120], len(s), s[len(s)-40:])
	}
	return s
}

// fits reports whether an event that says got is one that must say r.
func (r *record) fits(got *record) bool {
	is := got.fields()
	for k, v := range r.fields() {
		if v != anything && v != is[k] {
			return false
		}
	}
	return true
}

// match pairs what was recorded with what had to be, and says what is left over.
func match(want, got []*record) (wrong []string) {
	bySize := map[string][]int{}
	var all []int
	for k, g := range got {
		key := g.who + " " + g.size
		bySize[key] = append(bySize[key], k)
		all = append(all, k)
	}
	// What leaves more open may take only what others leave, so that each want that has
	// one gives it up where it can have another: Kuhn's way to a largest matching.
	takenBy := make([]int, len(got)) // the want, or -1
	for k := range takenBy {
		takenBy[k] = -1
	}
	var take func(w int, tried []bool) bool
	take = func(w int, tried []bool) bool {
		within := bySize[want[w].who+" "+want[w].size]
		if want[w].size == anything || want[w].who == anything {
			within = all
		}
		for _, k := range within {
			if tried[k] || !want[w].fits(got[k]) {
				continue
			}
			tried[k] = true
			if takenBy[k] < 0 || take(takenBy[k], tried) {
				takenBy[k] = w
				return true
			}
		}
		return false
	}
	slices.SortStableFunc(want, func(a, b *record) int { return a.freedom() - b.freedom() })
	for k, w := range want {
		if !take(k, make([]bool, len(got))) && !w.optional {
			wrong = append(wrong, "not recorded:  "+w.String())
		}
	}
	for k, g := range got {
		if takenBy[k] < 0 {
			wrong = append(wrong, "recorded, but: "+g.String())
		}
	}
	slices.Sort(wrong)
	return wrong
}

// sameAnswers compares how large the answers were. Which of two calls that have the
// same id, and end in the same way at the same time, had which of two answers, is not
// known from outside of mcp-go.
func sameAnswers(want, got []*record) []string {
	sizes := func(all []*record) (texts []string) {
		for _, r := range all {
			if r.answer != anything && r.answer != "" {
				texts = append(texts, "one of "+r.answer+" bytes")
			}
		}
		return texts
	}
	return sameTally("answers recorded", sizes(want), sizes(got))
}

// freedom is how much r leaves open.
func (r *record) freedom() (n int) {
	if r.optional {
		n = 100
	}
	for _, v := range r.fields() {
		if v == anything {
			n++
		}
	}
	return n
}

// rehearsal is a bare server that says how a message is answered. It takes one message
// at a time: a cancellation must not meet another call that has the same id.
type rehearsal struct {
	mu   sync.Mutex
	srv  *server.MCPServer
	over context.Context // that has ended
	on   context.Context
}

func rehearse(recovered bool) *rehearsal {
	p := newPlay()
	p.rehearsal = true
	r := &rehearsal{srv: newServer(p, recovered)}
	r.on = r.srv.WithContext(context.Background(), server.NewInProcessSession("rehearsal", nil))
	over, cancel := context.WithCancel(r.on)
	cancel()
	r.over = over
	return r
}

// answer is what the bare server answers to a message on its own; nil for nothing.
// canceled says that its handler sees that it is canceled.
func (r *rehearsal) answer(m *message, canceled bool) (raw []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ctx := r.on
	if canceled {
		ctx = r.over
	}
	defer func() {
		if v := recover(); v != nil { // as mcp-go's stdio server answers
			var base struct {
				ID any `json:"id"`
			}
			_ = json.Unmarshal([]byte(m.raw), &base)
			raw, _ = json.Marshal(mcp.JSONRPCError{
				JSONRPC: mcp.JSONRPC_VERSION, ID: mcp.NewRequestId(base.ID),
				Error: mcp.NewJSONRPCErrorDetails(mcp.INTERNAL_ERROR, fmt.Sprintf("internal panic: %v", v), nil),
			})
		}
	}()
	answer := r.srv.HandleMessage(ctx, []byte(m.raw))
	if answer == nil {
		return nil
	}
	raw, err := json.Marshal(answer)
	if err != nil {
		return nil
	}
	return raw
}

// parseError is what stdio answers to what is not JSON.
var parseError = []byte(`{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}`)

// reply is what an answer says.
type reply struct {
	Method *string         `json:"method"`
	ID     json.RawMessage `json:"id"`
	Error  *struct {
		Code int `json:"code"`
	} `json:"error"`
	Result *struct {
		IsError bool `json:"isError"`
	} `json:"result"`
}

func parse(raw []byte) (r reply) {
	_ = json.Unmarshal(raw, &r)
	return r
}

// expect is the record of a message that was answered with answer, or not at all.
// a is what became of its handler, and gone says that the client was before it could
// be answered.
func (m *message) expect(answer []byte, a act, gone bool) *record {
	w := &record{
		method: m.method, target: m.target, id: m.id, stage: m.stage, trace: m.trace, size: strconv.Itoa(len(m.raw)), answer: "",
		optional: m.optional,
	}
	if w.size == "0" {
		w.size = "" // as everywhere
	}
	if w.trace == "" {
		w.trace = anything
	}
	said := parse(answer)
	code := 0
	if said.Error != nil {
		code = said.Error.Code
		w.code = strconv.Itoa(code)
	}
	if answer != nil {
		w.answer = strconv.Itoa(len(answer))
	}
	transport := slices.Contains([]class{wrongVersion, unsupported, noCapabilities, turnedAway, batch, garbage, empty, toldBadly, oddMethod}, m.class)
	switch {
	case gone:
		w.outcome = "cancelled"
		w.stage, w.id, w.answer = anything, anything, anything
	case a.canceled:
		w.outcome, w.stage = "cancelled", "handler"
	case m.silenced:
		w.outcome, w.stage = "error", "handler"
	case answer == nil && (m.class == unwantedResult || m.class == chimera):
		w.outcome, w.stage = "rejected", "transport"
	case answer == nil:
		w.outcome, w.stage = "ok", "dispatch"
	case said.Error == nil && said.Result != nil && said.Result.IsError:
		w.outcome, w.stage = "tool_error", "handler"
	case said.Error == nil:
		w.outcome = "ok"
		w.stage = anything
		if m.handled {
			w.stage = "handler"
		}
	case m.class == promptPanics || m.class == panics:
		w.outcome, w.stage = "panic", "handler"
		w.code = anything // dispatch has none where nobody recovers, the answer has one
	case m.class == turnedAway: // a decision of the program's
		w.outcome, w.stage = "denied", "transport"
	case transport:
		w.outcome, w.stage = "rejected", "transport"
	case code == mcp.INTERNAL_ERROR:
		w.outcome = "error"
		if a.late { // the failure may be what the end of the context made of it
			w.outcome = anything
		}
		if m.handled {
			w.stage = "handler"
		}
	default:
		w.outcome = "rejected"
		if m.class != badParams && m.class != oddMeta {
			w.stage = "dispatch"
		}
	}
	if m.wild { // what stands behind the first MiB is known of what dispatch has, or not at all
		w.trace = anything
		if transport || w.outcome == "cancelled" || m.silent {
			w.method, w.target, w.id = anything, anything, anything
		}
		if m.class == unknownMethod || m.class == turnedAway || m.class == oddMeta {
			w.target = anything
		}
	}
	return w
}

// said renders an event of an operation.
func said(attrs attribute.Set, of trace.TraceID) *record {
	text := func(keys ...attribute.Key) string {
		for _, k := range keys {
			if v, ok := attrs.Value(k); ok {
				return v.String()
			}
		}
		return ""
	}
	return &record{
		method:  text(semconv.MCPMethodNameKey),
		target:  text(semconv.GenAIToolNameKey, semconv.GenAIPromptNameKey, semconv.MCPResourceURIKey),
		id:      text(semconv.JSONRPCRequestIDKey),
		outcome: text(semconv.OTelMCPOutcomeKey),
		stage:   text(semconv.OTelMCPStageKey),
		code:    text("rpc.response.status_code"),
		size:    text(semconv.OTelMCPRequestSizeKey),
		answer:  text(semconv.OTelMCPResponseSizeKey),
		trace:   of.String(),
		status:  text(semconv.HTTPResponseStatusCodeKey),
		who:     text(semconv.UserAgentOriginalKey),
	}
}

// books are what was recorded since they were opened.
type books struct {
	server []*record // what clients sent
	client []string  // what the server sent: method and outcome
	wrong  []string  // what does not agree
}

// audit takes the books. refusable says that a limit may have been hit.
func audit(c *telemetrytest.Capture, i *otelmcp.Instrumentation, refusable bool) *books {
	b := &books{}
	wrongf := func(format string, args ...any) { b.wrong = append(b.wrong, fmt.Sprintf(format, args...)) }
	spans := map[trace.SpanID]string{}
	logs := c.Logs()
	for _, s := range c.Spans() {
		attrs := telemetrytest.SpanAttributes(s)
		if v, ok := attrs.Value(semconv.MCPMethodNameKey); ok {
			spans[s.SpanContext().SpanID()] = v.AsString()
		}
		for _, kv := range s.Attributes() {
			if strings.Contains(kv.Value.String(), secret) {
				wrongf("leaked: %s of span %q is %s", kv.Key, s.Name(), clip(kv.Value.String()))
			}
		}
		if text := s.Name() + s.Status().Description + s.SpanContext().TraceState().String(); strings.Contains(text, secret) {
			wrongf("leaked: span %q", text)
		}
	}
	spanned := len(spans)
	events := 0
	for k := range logs {
		r := &logs[k]
		attrs := telemetrytest.EventAttributes(*r)
		for _, kv := range attrs.ToSlice() {
			if strings.Contains(kv.Value.String(), secret) {
				wrongf("leaked: %s of %s is %s", kv.Key, r.EventName(), clip(kv.Value.String()))
			}
		}
		if r.EventName() == semconv.OTelMCPCoverageEventName {
			if v, _ := attrs.Value(semconv.OTelMCPCoverageGapsKey); len(v.AsStringSlice()) > 0 {
				wrongf("coverage tells of gaps: %v", v.AsStringSlice())
			}
		}
		if r.EventName() != semconv.OTelMCPOperationEventName {
			continue
		}
		events++
		e := said(attrs, r.TraceID())
		if e.method != "" {
			if name, ok := spans[r.SpanID()]; !ok || name != e.method {
				wrongf("no span of its own: %s", e)
			}
			delete(spans, r.SpanID())
		}
		if role, _ := attrs.Value(semconv.OTelMCPRoleKey); role.AsString() == semconv.OTelMCPRoleServer {
			b.server = append(b.server, e)
		} else {
			b.client = append(b.client, e.method+" "+e.outcome)
		}
	}
	if len(spans) > 0 {
		wrongf("%d of %d spans have no event", len(spans), spanned)
	}
	if n := c.CounterValue(semconv.OTelMCPServerMessagesName); n != int64(events) {
		wrongf("%d messages are counted, and %d events", n, events)
	}
	if n := c.CounterValue(semconv.OTelMCPTelemetryRefusedName); n != 0 && !refusable {
		wrongf("%d are refused a place", n)
	}
	for _, gauge := range []string{semconv.OTelMCPServerOperationsActiveName} {
		if n := c.CounterValue(gauge); n != 0 {
			wrongf("%s is %d", gauge, n)
		}
	}
	if gaps := i.Coverage().Gaps; len(gaps) > 0 {
		wrongf("gaps: %q", gaps)
	}
	for _, err := range c.Check() {
		wrongf("registry: %v", err)
	}
	return b
}

// check compares two lists in which order does not count.
func sameTally(what string, want, got []string) (wrong []string) {
	n := map[string]int{}
	for _, w := range want {
		n[w]++
	}
	for _, g := range got {
		n[g]--
	}
	for k, d := range n {
		switch {
		case d > 0:
			wrong = append(wrong, fmt.Sprintf("%s: %d times missing: %s", what, d, clip(k)))
		case d < 0:
			wrong = append(wrong, fmt.Sprintf("%s: %d times too many: %s", what, -d, clip(k)))
		}
	}
	slices.Sort(wrong)
	return wrong
}
