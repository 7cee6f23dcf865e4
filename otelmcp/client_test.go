// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// The client's side, over real transports to an instrumented server: each
// message has a client span under the caller's and a server span under that, and
// the client answers as it would without us.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// observedBy returns what wraps a client's transport so that it emits to c.
func observedBy(c *telemetrytest.Capture, opts ...otelmcp.Option) func(transport.Interface) transport.Interface {
	return func(t transport.Interface) transport.Interface { return otelmcp.WrapTransport(t, into(c, opts...)...) }
}

// bothSides is a client and a server, each with a capture of its own.
type bothSides struct {
	*client.Client
	srv                *everything
	i                  *otelmcp.Instrumentation
	atServer, atClient *telemetrytest.Capture
}

// observe connects an instrumented client to an instrumented server.
func observe(t testing.TB, l link, opts ...client.ClientOption) *bothSides {
	t.Helper()
	b := &bothSides{atClient: telemetrytest.New(t)}
	b.srv, b.atServer = instrumented(t)
	b.i = otelmcp.Instrument(b.srv.MCPServer)
	if l.over != inProcess {
		l.through = b.i
	}
	if l.wrap == nil {
		l.wrap = observedBy(b.atClient)
	}
	b.Client = connectClient(t, b.srv.MCPServer, l, opts...)
	return b
}

// links are the transports and eras that a client of mcp-go speaks.
var links = []link{
	{over: stdio, era: legacy},
	{over: stdio, era: modern},
	{over: streamable, era: legacy},
	{over: streamable, era: modern},
	{over: sse, era: legacy},
	{over: inProcess, era: legacy},
	{over: inProcess, era: modern},
}

func (l link) String() string { return l.over + "/" + l.era.String() }

// requests are what a client can ask, by the name of the span that it makes.
var clientRequests = []struct {
	span string
	only era // "" for both
	do   func(context.Context, *client.Client) error
}{
	{"ping", legacy, func(ctx context.Context, c *client.Client) error { return c.Ping(ctx) }}, //nolint:staticcheck // It is still spoken.
	{"tools/list", "", func(ctx context.Context, c *client.Client) error {
		_, err := c.ListTools(ctx, mcp.ListToolsRequest{})
		return err
	}},
	{"tools/call echo", "", func(ctx context.Context, c *client.Client) error {
		_, err := callTool(ctx, c, "echo", map[string]any{"text": "hi", "other": 1})
		return err
	}},
	{"prompts/list", "", func(ctx context.Context, c *client.Client) error {
		_, err := c.ListPrompts(ctx, mcp.ListPromptsRequest{})
		return err
	}},
	{"prompts/get greet", "", func(ctx context.Context, c *client.Client) error {
		var r mcp.GetPromptRequest
		r.Params.Name, r.Params.Arguments = "greet", map[string]string{"who": "you"}
		_, err := c.GetPrompt(ctx, r)
		return err
	}},
	{"resources/list", "", func(ctx context.Context, c *client.Client) error {
		_, err := c.ListResources(ctx, mcp.ListResourcesRequest{})
		return err
	}},
	{"resources/templates/list", "", func(ctx context.Context, c *client.Client) error {
		_, err := c.ListResourceTemplates(ctx, mcp.ListResourceTemplatesRequest{})
		return err
	}},
	{"resources/read", "", func(ctx context.Context, c *client.Client) error {
		var r mcp.ReadResourceRequest
		r.Params.URI = "note://one"
		_, err := c.ReadResource(ctx, r)
		return err
	}},
	{"resources/subscribe", legacy, func(ctx context.Context, c *client.Client) error {
		return c.Subscribe(ctx, mcp.SubscribeRequest{Params: mcp.SubscribeParams{URI: "note://one"}}) //nolint:staticcheck // It is still spoken.
	}},
	{"resources/unsubscribe", legacy, func(ctx context.Context, c *client.Client) error {
		return c.Unsubscribe(ctx, mcp.UnsubscribeRequest{Params: mcp.UnsubscribeParams{URI: "note://one"}}) //nolint:staticcheck // It is still spoken.
	}},
	{"logging/setLevel", legacy, func(ctx context.Context, c *client.Client) error {
		return c.SetLevel(ctx, mcp.SetLevelRequest{Params: mcp.SetLevelParams{Level: mcp.LoggingLevelInfo}}) //nolint:staticcheck // It is still spoken.
	}},
	{"completion/complete greet", "", func(ctx context.Context, c *client.Client) error {
		_, err := c.Complete(ctx, completion())
		return err
	}},
	{"tasks/list", legacy, func(ctx context.Context, c *client.Client) error {
		_, err := c.ListTasks(ctx, mcp.ListTasksRequest{})
		return err
	}},
	{"notifications/roots/list_changed", "", func(ctx context.Context, c *client.Client) error { return c.RootListChanges(ctx) }},
}

func completion() (r mcp.CompleteRequest) {
	r.Params.Ref = mcp.PromptReference{Type: "ref/prompt", Name: "greet"}
	r.Params.Argument.Name, r.Params.Argument.Value = "who", "y"
	return r
}

func TestClientTraces(t *testing.T) {
	for _, l := range links {
		t.Run(l.String(), func(t *testing.T) {
			b := observe(t, l)
			for _, r := range clientRequests {
				if r.only != "" && r.only != l.era ||
					l.over == streamable && l.era == modern && strings.HasPrefix(r.span, "notifications/") { // mcp-go's server wants in _meta what its client leaves out
					continue
				}
				t.Run(r.span, func(t *testing.T) {
					b.atClient.Reset()
					ctx, caller := b.atClient.TracerProvider().Tracer("caller").Start(t.Context(), "caller")
					if err := r.do(ctx, b.Client); err != nil {
						t.Errorf("%s: %v", r.span, err)
					}
					caller.End()
					b.checkFamily(t, r.span, caller.SpanContext(), l)
				})
			}
		})
	}
}

// checkFamily checks that there is one client span, under the caller's, and one
// server span under that.
func (b *bothSides) checkFamily(t *testing.T, name string, caller trace.SpanContext, l link) {
	t.Helper()
	var sent []sdktrace.ReadOnlySpan
	for _, s := range b.atClient.Spans() {
		if s.SpanKind() == trace.SpanKindClient && s.Name() == name {
			sent = append(sent, s)
		}
	}
	if len(sent) != 1 {
		t.Fatalf("%d client spans %q", len(sent), name)
	}
	ours := sent[0]
	if ours.Parent().SpanID() != caller.SpanID() || ours.SpanContext().TraceID() != caller.TraceID() {
		t.Errorf("the parent of the client's span is %s, want the caller's %s", ours.Parent().SpanID(), caller.SpanID())
	}
	if l.over == inProcess && strings.HasPrefix(name, "notifications/") {
		return // the server's side of it cannot be seen in process
	}
	var served []sdktrace.ReadOnlySpan
	eventually(t, func() bool {
		served = nil
		for _, s := range b.atServer.Spans() {
			if s.SpanKind() == trace.SpanKindServer && s.Parent().SpanID() == ours.SpanContext().SpanID() {
				served = append(served, s)
			}
		}
		return len(served) > 0
	})
	if len(served) != 1 || served[0].Name() != name {
		t.Errorf("%d server spans under the client's %q", len(served), name)
	}
	if len(served) == 1 && served[0].SpanContext().TraceID() != caller.TraceID() {
		t.Error("the server's span is in another trace")
	}
}

// Both sides say the same of a message, as far as both can know it.
func TestClientAgreesWithServer(t *testing.T) {
	for _, l := range links {
		t.Run(l.String(), func(t *testing.T) {
			b := observe(t, l)
			if _, err := b.ListTools(t.Context(), mcp.ListToolsRequest{}); err != nil {
				t.Fatal(err)
			}
			calls := func(c *telemetrytest.Capture, tool string) (found []said) {
				for _, r := range c.EventsNamed(semconv.OTelMCPOperationEventName) {
					if e := event(r); e["mcp.method.name"] == "tools/call" && e["gen_ai.tool.name"] == tool {
						found = append(found, e)
					}
				}
				return found
			}
			for _, c := range []struct {
				name string
				args map[string]any
				want string
			}{
				{"echo", map[string]any{"text": "hi", "other": true}, "ok"},
				{"fails", nil, "tool_error"},
				{"errors", nil, "error"},
				{"nope", nil, "error"},
			} {
				_, err := callTool(t.Context(), b.Client, c.name, c.args)
				if (err != nil) != (c.want == "error") {
					t.Errorf("%s: %v", c.name, err)
				}
				// The server records a message when its answer is out: the client can be faster.
				eventually(t, func() bool { return len(calls(b.atServer, c.name)) > 0 })
				sent, srv := only(t, calls(b.atClient, c.name)), only(t, calls(b.atServer, c.name))
				if sent["otelmcp.outcome"] != c.want {
					t.Errorf("%s: outcome %q, want %q", c.name, sent["otelmcp.outcome"], c.want)
				}
				for _, key := range []string{
					"mcp.method.name", "gen_ai.tool.name", "gen_ai.operation.name", "jsonrpc.request.id", "rpc.response.status_code",
					"mcp.protocol.version", "network.transport", "otelmcp.transport", "network.protocol.name", "network.protocol.version",
					"otelmcp.request.size", "otelmcp.response.size", "otelmcp.tool.arguments.names", "otelmcp.tool.arguments.size",
					"otelmcp.tool.arguments.undeclared",
				} {
					has := sent[attribute.Key(key)]
					want := srv[attribute.Key(key)]
					switch {
					case l.over == inProcess && strings.HasSuffix(key, ".size") && strings.HasPrefix(key, "otelmcp.re"):
						want = has // no edge counts them there
					case c.name == "nope" && key == "otelmcp.tool.arguments.size":
						want = has
					}
					if has != want {
						t.Errorf("%s: %s is %q at the client and %q at the server", c.name, key, has, want)
					}
				}
				if sent["otelmcp.server.name"] != "everything" || sent["otelmcp.server.version"] != "0.9.0" {
					t.Errorf("%s: the server is called %q %q", c.name, sent["otelmcp.server.name"], sent["otelmcp.server.version"])
				}
				if overHTTP := l.over == streamable || l.over == sse; overHTTP != (sent["server.address"] == "127.0.0.1") ||
					overHTTP != (sent["server.port"] != "") {
					t.Errorf("%s: the server is at %q port %q", c.name, sent["server.address"], sent["server.port"])
				}
			}
			// Only what the server listed stands on metrics.
			for name, n := range map[string]uint64{"nope": 0, "_OTHER": 1, "echo": 1} {
				if got := b.atClient.HistogramCount(semconv.MCPClientOperationDurationName, semconv.GenAIToolNameKey.String(name)); got != n {
					t.Errorf("%d points of the tool %q, want %d", got, name, n)
				}
			}
		})
	}
}

// The handshake: what is sent and recorded before anything else, of which the
// probe of an older server is no error.
func TestClientHandshake(t *testing.T) {
	type want struct{ records, sessions []string }
	for _, c := range []struct {
		link
		legacyServer bool
		want
	}{
		{link{over: stdio, era: modern}, false, want{[]string{"> ok handler server/discover"}, []string{"start", "end client_request"}}},
		{link{over: stdio, era: legacy}, false, want{[]string{"> ok handler initialize", "> ok dispatch notifications/initialized"}, []string{"start", "end client_request"}}},
		{link{over: streamable, era: modern}, false, want{[]string{"> ok handler server/discover"}, nil}},
		{link{over: streamable, era: legacy}, false, want{[]string{"> ok handler initialize", "> ok dispatch notifications/initialized"}, []string{"start", "end client_request"}}},
		{link{over: sse, era: legacy}, false, want{[]string{"> ok handler initialize", "> ok dispatch notifications/initialized"}, []string{"start", "end client_request"}}},
		{link{over: inProcess, era: modern}, false, want{[]string{"> ok handler server/discover"}, []string{"start", "end client_request"}}},
		{link{over: streamable, era: modern}, true, want{
			[]string{"> rejected transport server/discover 404", "> ok handler initialize", "> ok dispatch notifications/initialized"},
			[]string{"start", "end client_request"},
		}},
		{link{over: stdio, era: modern}, true, want{
			[]string{"> rejected dispatch server/discover -32601", "> ok handler initialize", "> ok dispatch notifications/initialized"},
			[]string{"start", "end client_request"},
		}},
	} {
		t.Run(fmt.Sprint(c.link, " legacy server ", c.legacyServer), func(t *testing.T) {
			checkLeaks(t)
			capture := telemetrytest.New(t)
			t.Run("talk", func(t *testing.T) { // its cleanup closes the client
				l := c.link
				l.wrap = observedBy(capture)
				srv := newEverything()
				var opened *client.Client
				if c.legacyServer {
					opened = connectOlder(t, srv, l)
				} else {
					opened = connectClient(t, srv.MCPServer, l)
				}
				if !opened.IsInitialized() {
					t.Error("the client has not shaken hands")
				}
			})
			var is []string
			for _, r := range capture.EventsNamed(semconv.OTelMCPOperationEventName) {
				e := event(r)
				is = append(is, strings.TrimRight(strings.Join([]string{
					map[string]string{"client": ">"}[e["otelmcp.role"]], e["otelmcp.outcome"], e["otelmcp.stage"], e["mcp.method.name"],
					e["rpc.response.status_code"] + e["http.response.status_code"],
				}, " "), " "))
				if e["otelmcp.outcome"] == "rejected" && (e["error.type"] != "" || e["severity"] != "INFO") {
					t.Errorf("the probe is an error %q of severity %s", e["error.type"], e["severity"])
				}
			}
			if !slices.Equal(is, c.records) {
				t.Errorf("recorded %q, want %q", is, c.records)
			}
			var sessions []string
			for _, r := range capture.Logs() {
				switch e := event(r); r.EventName() {
				case semconv.OTelMCPSessionStartEventName:
					sessions = append(sessions, "start")
				case semconv.OTelMCPSessionEndEventName:
					sessions = append(sessions, "end "+e["otelmcp.session.end_reason"])
					if e["otelmcp.server.name"] != "everything" || e["otelmcp.role"] != "client" {
						t.Errorf("the session's end says %v", e)
					}
				}
			}
			if !slices.Equal(sessions, c.sessions) {
				t.Errorf("sessions %q, want %q", sessions, c.sessions)
			}
			if n := capture.HistogramCount(semconv.MCPClientSessionDurationName); n != uint64(len(c.sessions)/2) {
				t.Errorf("%d session durations", n)
			}
			for _, s := range capture.Spans() {
				if s.Name() == "server/discover" && c.legacyServer && s.Status().Code != 0 {
					t.Errorf("the probe's span says %v", s.Status())
				}
			}
		})
	}
}

// connectOlder connects a client to a server that does not know server/discover.
func connectOlder(t *testing.T, srv *everything, l link) *client.Client {
	t.Helper()
	if l.over == stdio {
		l.lines = func(line []byte, answer func(any)) {
			if bytes.Contains(line, []byte("server/discover")) {
				answer(json.RawMessage(`{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}`))
			} else if a := srv.HandleMessage(t.Context(), line); a != nil {
				answer(a)
			}
		}
		return connectClient(t, srv.MCPServer, l)
	}
	l.handler = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Mcp-Method") == "server/discover" {
				http.NotFound(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	return connectClient(t, srv.MCPServer, l)
}
