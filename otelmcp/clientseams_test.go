// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// A client that exists already, through mcp-go's own seams: less is seen of it,
// which is said aloud, and nothing twice. And that a client answers alike bare,
// wrapped and instrumented.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

func bareTransport(t transport.Interface) transport.Interface { return t }

func TestInstrumentClient(t *testing.T) {
	for _, l := range links {
		t.Run(l.String(), func(t *testing.T) {
			b := &bothSides{atClient: telemetrytest.New(t)}
			b.srv, b.atServer = instrumented(t)
			b.i = otelmcp.Instrument(b.srv.MCPServer)
			l.wrap = bareTransport
			b.Client = newLink(t, b.srv.MCPServer, l)
			for range 2 { // the second call changes nothing
				if otelmcp.InstrumentClient(b.Client, into(b.atClient)...) != b.Client {
					t.Error("another client is returned")
				}
			}
			if _, err := b.Initialize(t.Context(), greeting()); err != nil {
				t.Fatal(err)
			}
			b.atClient.Reset()
			ctx, caller := b.atClient.TracerProvider().Tracer("caller").Start(t.Context(), "caller")
			if _, err := callTool(ctx, b.Client, "echo", nil); err != nil {
				t.Fatal(err)
			}
			if _, err := callTool(ctx, b.Client, "nope", nil); !errors.Is(err, mcp.ErrInvalidParams) {
				t.Errorf("an unknown tool: %v", err)
			}
			caller.End()
			calls := eventsAbout(b.atClient, "tools/call")
			if len(calls) != 2 {
				t.Fatalf("%d records of two calls", len(calls))
			}
			if e := event(calls[0]); e["otelmcp.outcome"] != "ok" || e["mcp.protocol.version"] != string(l.era) || e["gen_ai.tool.name"] != "" {
				t.Errorf("the first event says %v", e)
			}
			if e := event(calls[1]); e["otelmcp.outcome"] != "error" || e["error.type"] != "-32602" || e["rpc.response.status_code"] != "-32602" {
				t.Errorf("the second event says %v", e)
			}
			var ours, served []trace.SpanContext
			for _, s := range b.atClient.Spans() {
				if s.Name() == "tools/call" {
					ours = append(ours, s.SpanContext())
					if s.Parent().SpanID() != caller.SpanContext().SpanID() {
						t.Error("the client's span is no child of the caller's")
					}
				}
			}
			eventually(t, func() bool { return len(b.atServer.Spans()) >= 2 })
			for _, s := range b.atServer.Spans() {
				if strings.HasPrefix(s.Name(), "tools/call") {
					served = append(served, s.Parent())
				}
			}
			for k := range ours {
				want := ours[k] // over HTTP the headers carry it
				if l.over == stdio || l.over == inProcess {
					want = caller.SpanContext() // mcp-go fills _meta before its span starts
				}
				if served[k].SpanID() != want.SpanID() {
					t.Errorf("the parent of the server's span %d is %s, want %s", k, served[k].SpanID(), want.SpanID())
				}
			}
			is := event(only(t, gapsOf(b.atClient)))
			if !strings.Contains(is["otelmcp.coverage.gaps"], "client.NewClient(otelmcp.WrapTransport(t))") || is["severity"] != "WARN" {
				t.Errorf("the coverage event says %v", is)
			}
		})
	}
}

// gapsOf returns the coverage events since the test began: Reset forgets them, so
// they are told again by another client on the same transport.
func gapsOf(c *telemetrytest.Capture) []telemetryRecord {
	if len(c.EventsNamed(semconv.OTelMCPCoverageEventName)) == 0 {
		otelmcp.InstrumentClient(client.NewClient(newFakeTransport()), into(c)...)
	}
	return c.EventsNamed(semconv.OTelMCPCoverageEventName)
}

func TestInstrumentedClientProbes(t *testing.T) {
	capture := telemetrytest.New(t)
	l := link{over: streamable, era: modern, wrap: bareTransport, handler: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Mcp-Method") == "server/discover" {
				http.NotFound(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}}
	c := otelmcp.InstrumentClient(newLink(t, newEverything().MCPServer, l), into(capture)...)
	if _, err := c.Initialize(t.Context(), greeting()); err != nil {
		t.Fatal(err)
	}
	if e := event(only(t, eventsAbout(capture, "server/discover"))); e["error.type"] != "" || e["otelmcp.outcome"] != "rejected" || e["severity"] != "INFO" {
		t.Errorf("the probe's event says %v", e)
	}
	if e := event(only(t, eventsAbout(capture, "initialize"))); e["otelmcp.outcome"] != "ok" {
		t.Errorf("the handshake's event says %v", e)
	}
}

func TestInstrumentedClientIsNotified(t *testing.T) {
	capture := telemetrytest.New(t)
	s := newEverything()
	c := otelmcp.InstrumentClient(newLink(t, s.MCPServer, link{over: stdio, era: legacy, wrap: bareTransport}), into(capture)...)
	if _, err := c.Initialize(t.Context(), greeting()); err != nil {
		t.Fatal(err)
	}
	s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText("done"), server.ServerFromContext(ctx).SendNotificationToClient(ctx, "notifications/progress", map[string]any{"progressToken": 1})
	})
	if _, err := callTool(t.Context(), c, "custom", nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return len(eventsAbout(capture, "notifications/progress")) == 1 })
}

// told is what a program gets of a call: its result, or its error and what that is.
func told(result any, err error) string {
	if err == nil {
		return string(must(json.Marshal(result)))
	}
	var chain []string
	for e := err; e != nil; e = errors.Unwrap(e) {
		chain = append(chain, fmt.Sprintf("%T", e))
	}
	for _, sentinel := range []error{
		mcp.ErrParseError, mcp.ErrInvalidRequest, mcp.ErrMethodNotFound, mcp.ErrInvalidParams, mcp.ErrInternalError, mcp.ErrResourceNotFound,
		transport.ErrTransportClosed, transport.ErrSessionTerminated, transport.ErrAuthorizationRequired, context.Canceled, context.DeadlineExceeded,
		client.ErrMaxInputRoundTripsExceeded,
	} {
		if errors.Is(err, sentinel) {
			chain = append(chain, sentinel.Error())
		}
	}
	return fmt.Sprint(err, chain)
}

// A client tells its program the same whether or not it is instrumented.
func TestClientTransparency(t *testing.T) {
	calls := map[string]func(context.Context, *client.Client) string{}
	for _, r := range clientRequests {
		calls[r.span] = func(ctx context.Context, c *client.Client) string { return told(nil, r.do(ctx, c)) }
	}
	for _, tool := range []string{"echo", "hidden", "strict", "fails", "errors", "nothing", "consent", "too_slow", "asks", "ill_formed", "nope", "later", ""} {
		calls["call "+tool] = func(ctx context.Context, c *client.Client) string {
			r, err := callTool(ctx, c, tool, map[string]any{"text": "<é\u2028>"})
			return told(r, err)
		}
	}
	calls["list all"] = func(ctx context.Context, c *client.Client) string {
		tools, err := c.ListTools(ctx, mcp.ListToolsRequest{})
		prompts, err2 := c.ListPrompts(ctx, mcp.ListPromptsRequest{})
		resources, err3 := c.ListResources(ctx, mcp.ListResourcesRequest{})
		return told([]any{tools, prompts, resources}, errors.Join(err, err2, err3))
	}
	for _, name := range []string{"greet", "hidden", "errors", "asks", "nope"} {
		calls["prompt "+name] = func(ctx context.Context, c *client.Client) string {
			var r mcp.GetPromptRequest
			r.Params.Name = name
			got, err := c.GetPrompt(ctx, r)
			return told(got, err)
		}
	}
	for _, uri := range []string{"note://one", "note://errors", "page://7", "none://"} {
		calls["read "+uri] = func(ctx context.Context, c *client.Client) string {
			var r mcp.ReadResourceRequest
			r.Params.URI = uri
			got, err := c.ReadResource(ctx, r)
			return told(got, err)
		}
	}
	calls["canceled before"] = func(ctx context.Context, c *client.Client) string {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		r, err := callTool(ctx, c, "echo", nil)
		return told(r, err)
	}
	calls["too late"] = func(ctx context.Context, c *client.Client) string {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		r, err := callTool(ctx, c, "waits", nil)
		return told(r, err)
	}
	for _, l := range links {
		t.Run(l.String(), func(t *testing.T) {
			bare := connectClient(t, newEverything().MCPServer, withWrap(l, bareTransport), newHuman().options()...)
			capture := telemetrytest.New(t)
			wrapped := connectClient(t, newEverything().MCPServer, withWrap(l, observedBy(capture, otelmcp.WithContentCapture(otelmcp.Arguments|otelmcp.Results|otelmcp.PromptVariables))), newHuman().options()...)
			seamed := newLink(t, newEverything().MCPServer, withWrap(l, bareTransport), newHuman().options()...)
			otelmcp.InstrumentClient(seamed, into(telemetrytest.New(t))...)
			if _, err := seamed.Initialize(t.Context(), greeting()); err != nil {
				t.Fatal(err)
			}
			for name, call := range calls {
				if name == "too late" && l.over == sse {
					continue // mcp-go's words for it are not the same twice
				}
				want := call(t.Context(), bare)
				if got := call(t.Context(), wrapped); varying.ReplaceAllString(got, "~") != varying.ReplaceAllString(want, "~") {
					t.Errorf("%s: wrapped\n%s\nbare\n%s", name, got, want)
				}
				if got := call(t.Context(), seamed); varying.ReplaceAllString(got, "~") != varying.ReplaceAllString(want, "~") {
					t.Errorf("%s: instrumented\n%s\nbare\n%s", name, got, want)
				}
			}
			for _, c := range []*client.Client{bare, wrapped, seamed} {
				if c.ProtocolVersion() != bare.ProtocolVersion() || (c.GetSessionId() == "") != (bare.GetSessionId() == "") {
					t.Errorf("version %q, session %q", c.ProtocolVersion(), c.GetSessionId())
				}
			}
		})
	}
}

func withWrap(l link, wrap func(transport.Interface) transport.Interface) link {
	l.wrap = wrap
	return l
}
