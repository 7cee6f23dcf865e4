// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

// Clients that nobody here wrote use the example servers, over each transport and in
// both eras of the protocol. What they sent, as it was on the wire, is compared with
// what Jaeger and Loki have of it: nothing less, nothing more, nothing else.

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/otelmcp/otelmcp-go/e2e/clients"
	"github.com/otelmcp/otelmcp-go/e2e/stack"
)

// visit is one client that uses a server: it connects, makes the calls, and leaves.
type visit struct {
	clients.Client
	protocol      string
	trace, parent string // of the traceparent in _meta
	service       string // of the server
	transport     string // as otelmcp.transport
	refused       bool   // for its token
	sent          []clients.Sent
	began         time.Time
	all           []*visit // of the same server
}

// script is what the clients ask of a server.
type script struct {
	calls   []clients.Call
	answers []string // is in the answer to each
	failing string   // is the tool whose call fails
}

var (
	weather = script{
		calls: []clients.Call{
			{Method: "tools/list"},
			{Method: "tools/call", Params: map[string]any{"name": "convert", "arguments": map[string]any{"celsius": 20}}},
			{Method: "tools/call", Params: map[string]any{"name": "forecast", "arguments": map[string]any{"city": "Atlantis"}}},
			{Method: "prompts/get", Params: map[string]any{"name": "packing_list", "arguments": map[string]any{"city": "Oslo"}}},
			{Method: "resources/read", Params: map[string]any{"uri": "weather://stations"}},
		},
		answers: []string{`"convert"`, "68.0 °F", "no weather station", "weekend in Oslo", "Nairobi"},
		failing: "forecast",
	}
	// The token of the clients is for reading only.
	notes = script{
		calls: []clients.Call{
			{Method: "tools/list"},
			{Method: "tools/call", Params: map[string]any{"name": "search_notes", "arguments": map[string]any{"word": "plants"}}},
			{Method: "tools/call", Params: map[string]any{"name": "add_note", "arguments": map[string]any{"text": "buy milk"}}},
		},
		answers: []string{`"search_notes"`, "water the plants", "needs a token with the scope"},
		failing: "add_note",
	}
)

func TestClientsStdio(t *testing.T) {
	s := sharedStack(t)
	program := example(t, "quickstart")
	eachClient(t, func(t *testing.T, v *visit) {
		v.service, v.transport = "clients-stdio-"+v.Kind+"-"+v.protocol, "stdio"
		env := s.Env("http/protobuf")
		if v.protocol == clients.Modern {
			env = s.Env("grpc")
		}
		env = append(env, "OTEL_SERVICE_NAME="+v.service)
		wire, command, err := clients.NewStdioWire(t.TempDir(), env, program, "stdio-server")
		if err != nil {
			t.Fatal(err)
		}
		v.run(t, &weather, clients.Plan{Command: command})
		servers, err := wire.Sent()
		if err != nil {
			t.Fatal(err)
		}
		v.sent = slices.Concat(servers...)
		v.checkWire(t, &weather)

		eventually(t, func() error { return v.operations(t, s, &weather) })
		eventually(t, func() error { return v.spans(t, s, &weather) })
		// On stdio a connection is a session, in both eras. The client ends it by closing
		// the input, but does not wait for that where it only probes.
		eventually(t, func() error {
			want := map[string][]string{}
			for _, e := range v.events(t, s, "otelmcp.operation") {
				id, method := e.Labels["mcp_session_id"], e.Labels["mcp_method_name"]
				want[id] = []string{"disconnect"}
				if v.Probes && method == "server/discover" {
					want[id] = []string{"disconnect", "shutdown"}
				}
			}
			if len(want) != len(servers) || len(servers) == 0 {
				return fmt.Errorf("%d sessions with %d servers", len(want), len(servers))
			}
			return sessions(t, s, v.service, v.transport, want)
		})
	})
}

func TestClientsHTTP(t *testing.T) {
	s := sharedStack(t)
	const service = "clients-http"
	ready, stop := serveExample(t, "quickstart", quickstartReady,
		append(s.Env("http/protobuf"), "OTEL_SERVICE_NAME="+service)...)
	var visits []*visit
	eachClient(t, func(t *testing.T, v *visit) {
		v.service, v.transport = service, "streamable_http"
		v.runHTTP(t, &weather, ready[1], "")
		visits = append(visits, v)
	})
	stop() // which ends the sessions that their clients have left open
	for _, v := range visits {
		v.all = visits
		t.Run(v.Kind+"/"+v.protocol+"/recorded", func(t *testing.T) {
			eventually(t, func() error { return v.operations(t, s, &weather) })
			eventually(t, func() error { return v.spans(t, s, &weather) })
		})
	}
	httpSessions(t, s, service, visits)
}

func TestClientsOAuth(t *testing.T) {
	s := sharedStack(t)
	const service = "clients-oauth"
	ready, stop := serveExample(t, "oauth", oauthReady,
		append(s.Env("grpc"), "OTEL_SERVICE_NAME="+service)...)
	token, err := clients.SignIn(t.Context(), ready[1], "alice", "notes:read")
	if err != nil {
		t.Fatal(err)
	}
	claims, _, _ := strings.Cut(token[strings.Index(token, ".")+1:], ".")
	forged := strings.Split(token, ".")[0] + "." + claims + "." + strings.Repeat("A", 86)
	var visits []*visit
	eachClient(t, func(t *testing.T, v *visit) {
		v.service, v.transport = service, "streamable_http"
		stranger := *v
		stranger.refused = true
		v.runHTTP(t, &notes, ready[1], token)
		stranger.runHTTP(t, &notes, ready[1], forged)
		visits = append(visits, v, &stranger)
	})
	stop()
	for _, v := range visits {
		v.all = visits
		name := "/recorded"
		if v.refused {
			name = "/refused"
		}
		t.Run(v.Kind+"/"+v.protocol+name, func(t *testing.T) {
			eventually(t, func() error { return v.operations(t, s, &notes) })
			eventually(t, func() error { return v.decisions(t, s) })
			if !v.refused {
				eventually(t, func() error { return v.spans(t, s, &notes) })
			}
		})
	}
	httpSessions(t, s, service, visits)
}

// eachClient runs f for each client and each version of the protocol that it speaks.
func eachClient(t *testing.T, f func(t *testing.T, v *visit)) {
	t.Helper()
	for _, c := range clients.All() {
		for _, protocol := range c.Protocols {
			t.Run(c.Kind+"/"+protocol, func(t *testing.T) {
				if err := c.Missing(); err != nil {
					lacking(t, err)
				}
				f(t, &visit{Client: c, protocol: protocol})
			})
		}
	}
}

// run makes the visit, in a trace of its own, and looks at what the client is
// answered.
func (v *visit) run(t *testing.T, s *script, p clients.Plan) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	v.trace, v.parent = randomHex(16), randomHex(8)
	p.Protocol, p.Traceparent, p.Calls = v.protocol, "00-"+v.trace+"-"+v.parent+"-01", s.calls
	answers, err := v.Run(ctx, p)
	if v.refused {
		if err == nil || !regexp.MustCompile(`\b401\b|Unauthorized|auth_required`).MatchString(err.Error()) {
			t.Errorf("the client was not told that it is not authorized: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for k, a := range answers {
		name, _ := s.calls[k].Params["name"].(string)
		if a.Error != "" || a.ToolError != (name == s.failing) || !strings.Contains(string(a.Result), s.answers[k]) {
			t.Errorf("%s %s was answered with %s%s", s.calls[k].Method, name, a.Error, a.Result)
		}
	}
}

// runHTTP is run, with the wire looked at.
func (v *visit) runHTTP(t *testing.T, s *script, server, token string) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	wire, err := clients.NewHTTPWire(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = wire.Addr()
	v.began = time.Now()
	v.run(t, s, clients.Plan{URL: u.String(), Token: token})
	if err := wire.Close(); err != nil {
		t.Fatal(err)
	}
	sent, statuses, err := wire.Sent(u.Path)
	if err != nil {
		t.Fatal(err)
	}
	v.sent = sent
	if v.refused {
		if len(statuses) == 0 || slices.ContainsFunc(statuses, func(s int) bool { return s != http.StatusUnauthorized }) {
			t.Errorf("the statuses of the answers were %v", statuses)
		}
		return
	}
	v.checkWire(t, s)
}

// checkWire checks that the client did what it was told: else there would be nothing
// to compare with.
func (v *visit) checkWire(t *testing.T, s *script) {
	t.Helper()
	for _, call := range s.calls {
		name, _ := call.Params["name"].(string)
		if !slices.ContainsFunc(v.sent, func(s clients.Sent) bool {
			return s.Method == call.Method && s.Target == name && strings.Contains(s.Traceparent, v.trace+"-"+v.parent)
		}) {
			t.Errorf("the client did not send %s %s with the trace context", call.Method, name)
		}
	}
}

func randomHex(n int) string {
	b := make([]byte, n)
	for k := range b {
		b[k] = byte(1 + rand.IntN(255))
	}
	return hex.EncodeToString(b)
}

// events returns what Loki has, by the event's name, of the server's side of the
// visit. One that does not say which connection it came over may be of any visit.
func (v *visit) events(t *testing.T, s *stack.Stack, name string) []stack.Entry {
	t.Helper()
	return slices.DeleteFunc(serverEvents(t, s, v.service, v.transport, name), func(e stack.Entry) bool {
		from := address(e.Labels)
		return from != "" && (!v.used(from, e.Time) || slices.ContainsFunc(v.all, func(w *visit) bool {
			return w.began.After(v.began) && w.used(from, e.Time)
		}))
	})
}

// used reports whether the visit had the address, and had begun. The example's own
// client, and other visits, can have had it before.
func (v *visit) used(from string, at time.Time) bool {
	return !at.Before(v.began) && slices.ContainsFunc(v.sent, func(s clients.Sent) bool { return s.From.String() == from })
}

// serverEvents leaves out what is not of the transport: the quickstart has a server on
// stdio, too.
func serverEvents(t *testing.T, s *stack.Stack, service, transport, name string) []stack.Entry {
	t.Helper()
	is := "="
	if transport != "stdio" {
		is = "!=" // a decision may not know its own
	}
	entries, err := s.LogQL(t.Context(), fmt.Sprintf(
		`{service_name=%q} | event_name=%q | otelmcp_transport%s"stdio" | otelmcp_role="server"`, service, name, is))
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// address is where the client sent from; empty if that is not known.
func address(labels map[string]string) string {
	if labels["client_address"] == "" {
		return ""
	}
	return labels["client_address"] + ":" + labels["client_port"]
}

// operations compares the messages and HTTP exchanges that were sent with the events
// about them.
func (v *visit) operations(t *testing.T, s *stack.Stack, asked *script) error {
	t.Helper()
	var want, got []string
	for k := range v.sent {
		sent := &v.sent[k]
		from := ""
		if sent.HTTPMethod != "" {
			from = sent.From.String()
		}
		line := fmt.Sprintf("method %q id %q target %q outcome %s, HTTP %q from %q agent %q",
			sent.Method, sent.ID, sent.Target, v.outcome(sent, asked), sent.HTTPMethod, from, sent.UserAgent)
		if sent.Session != "" {
			line += " session " + sent.Session
		}
		if sent.Method != "" {
			line += fmt.Sprintf(" by %s %s", v.Name, v.Version)
			if !v.refused {
				line += " in " + v.protocol
			}
		}
		want = append(want, line)
	}
	for _, e := range v.events(t, s, "otelmcp.operation") {
		l := e.Labels
		line := fmt.Sprintf("method %q id %q target %q outcome %s, HTTP %q from %q agent %q",
			l["mcp_method_name"], l["jsonrpc_request_id"], l["gen_ai_tool_name"]+l["gen_ai_prompt_name"], l["otelmcp_outcome"],
			l["http_request_method"], address(l), l["user_agent_original"])
		// The header that the first message of a session gets its id with is the answer's,
		// and on stdio there is none.
		if l["http_request_method"] != "" && l["mcp_method_name"] != "initialize" && l["mcp_session_id"] != "" {
			line += " session " + l["mcp_session_id"]
		}
		if l["mcp_method_name"] != "" {
			line += fmt.Sprintf(" by %s %s", l["otelmcp_client_name"], l["otelmcp_client_version"])
			if !v.refused {
				line += " in " + l["mcp_protocol_version"]
			}
		}
		got = append(got, line)
	}
	return compare("events", want, got)
}

func (v *visit) outcome(sent *clients.Sent, asked *script) string {
	switch {
	case v.refused:
		return "denied"
	case sent.Method == "tools/call" && sent.Target == asked.failing:
		return "tool_error"
	}
	return "ok"
}

// spans compares the messages that were sent with a trace context with the spans
// that are in this trace, and those with the events.
func (v *visit) spans(t *testing.T, s *stack.Stack, asked *script) error {
	t.Helper()
	var want, got []string
	for k := range v.sent {
		sent := &v.sent[k]
		if sent.Traceparent == "" {
			continue
		}
		name, tool := strings.TrimSpace(sent.Method+" "+sent.Target), "<nil>"
		if sent.Method == "tools/call" {
			tool = sent.Target
		}
		over, status := "pipe", "<nil> <nil>"
		if sent.HTTPMethod != "" {
			over = "tcp"
		}
		if v.outcome(sent, asked) == "tool_error" {
			status = "ERROR tool_error"
		}
		want = append(want, fmt.Sprintf("%s by a server below %s: %s %s in %s over %s, id %s, status %s",
			name, v.parent, sent.Method, tool, v.protocol, over, sent.ID, status))
	}
	spans, err := s.Trace(t.Context(), v.trace)
	if err != nil {
		return err
	}
	events := map[string]map[string]string{}
	for _, e := range v.events(t, s, "otelmcp.operation") {
		events[e.Labels["trace_id"]+e.Labels["span_id"]] = e.Labels
	}
	for k := range spans {
		span := &spans[k]
		tags := span.Tags
		got = append(got, fmt.Sprintf("%s by a %v below %s: %v %v in %v over %v, id %v, status %v %v",
			span.Name, tags["span.kind"], span.Parent, tags["mcp.method.name"], tags["gen_ai.tool.name"],
			tags["mcp.protocol.version"], tags["network.transport"], tags["jsonrpc.request.id"],
			tags["otel.status_code"], tags["error.type"]))
		event := events[span.TraceID+span.SpanID]
		for tag, label := range map[string]string{
			"mcp.method.name": "mcp_method_name", "jsonrpc.request.id": "jsonrpc_request_id",
			"mcp.session.id": "mcp_session_id", "client.port": "client_port",
		} {
			text := ""
			if tags[tag] != nil {
				text = fmt.Sprint(tags[tag])
			}
			if text != event[label] {
				return fmt.Errorf("the span %s has %s %q, and its event %q", span.Name, tag, text, event[label])
			}
		}
		// Over HTTP the newer era has no sessions.
		inSession := v.protocol == clients.Legacy || v.transport == "stdio"
		if inSession != (tags["mcp.session.id"] != nil) {
			return fmt.Errorf("the span %s has the session %v", span.Name, tags["mcp.session.id"])
		}
	}
	return compare("spans", want, got)
}

// decisions compares the HTTP exchanges that were sent with what was decided about
// who sent them, and the calls of tools with what was decided about those.
func (v *visit) decisions(t *testing.T, s *stack.Stack) error {
	t.Helper()
	const (
		authentication = "authentication of %q: %s for %q by bearer_jwt, HTTP %s from %s agent %s session %q"
		authorization  = "authorization of %q by %s in trace %s: %s for %q by bearer_jwt, HTTP %s from %s agent %s session %q"
	)
	var want, got []string
	for k := range v.sent {
		sent := &v.sent[k]
		who, decided := "alice", "allow ok"
		if v.refused {
			who, decided = "", "deny bad_signature"
		}
		what := strings.TrimSpace(sent.Method + " " + sent.ID)
		if sent.Method == "tools/call" {
			what += " " + sent.Target
		}
		session := sent.Session
		if sent.Method == "initialize" && !v.refused { // what it starts, which the next one names
			if next := slices.IndexFunc(v.sent[k:], func(later clients.Sent) bool { return later.Session != "" }); next >= 0 {
				session = v.sent[k+next].Session
			}
		}
		from := sent.From.String()
		want = append(want, fmt.Sprintf(authentication, who, decided, what,
			sent.HTTPMethod, from, sent.UserAgent, session))
		if v.refused || sent.Method != "tools/call" {
			continue
		}
		want = append(want, fmt.Sprintf(authorization, who, "tools-by-role", v.trace, "allow ok", what,
			sent.HTTPMethod, from, sent.UserAgent, sent.Session))
		if sent.Target == notes.failing {
			want = append(want, fmt.Sprintf(authorization, who, "scopes-by-tool", v.trace, "deny insufficient_scope", what,
				sent.HTTPMethod, from, sent.UserAgent, sent.Session))
		}
	}
	for _, e := range v.events(t, s, "otelmcp.auth.decision") {
		l := e.Labels
		who, decided := l["user_id"], l["otelmcp_auth_decision"]+" "+l["otelmcp_auth_reason"]
		what := strings.TrimSpace(l["mcp_method_name"] + " " + l["jsonrpc_request_id"] + " " + l["gen_ai_tool_name"])
		line := fmt.Sprintf(authentication, who, decided, what,
			l["http_request_method"], address(l), l["user_agent_original"], l["mcp_session_id"])
		if l["otelmcp_auth_kind"] != "authentication" {
			line = fmt.Sprintf(authorization, who, l["otelmcp_auth_policy"], l["trace_id"], decided, what,
				l["http_request_method"], address(l), l["user_agent_original"], l["mcp_session_id"])
		}
		got = append(got, strings.Replace(line, "bearer_jwt", l["otelmcp_auth_mechanism"], 1))
	}
	return compare("decisions", want, got)
}

// httpSessions checks the sessions of a server that has been stopped: those that the
// clients had, and none that they had not.
func httpSessions(t *testing.T, s *stack.Stack, service string, visits []*visit) {
	t.Helper()
	t.Run("sessions", func(t *testing.T) {
		want := map[string][]string{}
		for _, v := range visits {
			for k := range v.sent {
				sent := &v.sent[k]
				switch {
				case sent.Session == "":
				case v.protocol != clients.Legacy:
					t.Errorf("%s had a session in %s", v.Kind, v.protocol)
				case sent.HTTPMethod == http.MethodDelete:
					want[sent.Session] = []string{"client_request"}
				case want[sent.Session] == nil:
					want[sent.Session] = []string{"shutdown"} // unless the client still ends it
				}
			}
		}
		if len(want) == 0 && len(visits) > 0 {
			t.Fatal("no client had a session")
		}
		eventually(t, func() error { return sessions(t, s, service, "streamable_http", want) })
	})
}

// sessions checks that each session started and ended once, for one of the reasons,
// and that our clients had no others.
func sessions(t *testing.T, s *stack.Stack, service, transport string, want map[string][]string) error {
	t.Helper()
	var ours []string
	for _, c := range clients.All() {
		ours = append(ours, c.Name)
	}
	started, ended := map[string]int{}, map[string]int{}
	for _, e := range serverEvents(t, s, service, transport, "otelmcp.session.start") {
		// On stdio nobody has said yet who they are, and over HTTP there is the example's
		// own client.
		if transport == "stdio" || slices.Contains(ours, e.Labels["otelmcp_client_name"]) {
			started[e.Labels["mcp_session_id"]]++
		}
	}
	for _, e := range serverEvents(t, s, service, transport, "otelmcp.session.end") {
		id, reason := e.Labels["mcp_session_id"], e.Labels["otelmcp_session_end_reason"]
		if started[id] == 0 {
			continue
		}
		ended[id]++
		if !slices.Contains(want[id], reason) {
			return fmt.Errorf("session %s ended because of %s, want %v", id, reason, want[id])
		}
	}
	for id := range want {
		if started[id] != 1 || ended[id] != 1 {
			return fmt.Errorf("session %s started %d times and ended %d times", id, started[id], ended[id])
		}
	}
	if len(started) != len(want) {
		return fmt.Errorf("the sessions %q started, want %q",
			slices.Sorted(maps.Keys(started)), slices.Sorted(maps.Keys(want)))
	}
	return nil
}

// compare complains of what is only in one of the lists.
func compare(what string, want, got []string) error {
	left := map[string]int{}
	for _, line := range want {
		left[line]++
	}
	for _, line := range got {
		left[line]--
	}
	var problems []string
	for _, line := range slices.Sorted(maps.Keys(left)) {
		switch n := left[line]; {
		case n > 0:
			problems = append(problems, fmt.Sprintf("%d missing: %s", n, line))
		case n < 0:
			problems = append(problems, fmt.Sprintf("%d too many: %s", -n, line))
		}
	}
	if len(problems) == 0 && len(want) == 0 {
		problems = append(problems, "nothing to compare")
	}
	if len(problems) > 0 {
		return fmt.Errorf("%s, %d instead of %d:\n  %s", what, len(got), len(want), strings.Join(problems, "\n  "))
	}
	return nil
}
