// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// A decision that waits until it is known what it was about: it is never lost, says
// what was decided and nothing that came later, and stands before what follows it.

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// asAlice posts body to h over a connection, and returns when the handler is through.
func asAlice(t *testing.T, h http.Handler, body string) {
	t.Helper()
	web := httptest.NewServer(h)
	defer web.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, web.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer alice")
	res, err := web.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
}

// Over HTTP+SSE a message may be dispatched in a context that is not the exchange's.
func TestAllowedWhereContextIsReplaced(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	h := server.NewSSEServer(s.MCPServer, server.WithSSEContextFunc(
		func(context.Context, *http.Request) context.Context { return t.Context() }))
	mux := http.NewServeMux()
	mux.Handle("/sse", h.SSEHandler())
	mux.Handle("/message", i.Handler(otelmcp.RequireBearer(aToken)(h.MessageHandler())))
	c := converse(t, mux)
	t.Cleanup(c.web.Close)
	stream := c.stream()
	for _, id := range []string{"1", "2", "3"} {
		c.do(step{send: rawPostTo(toMessages, rpc(id, "ping", "{}"), "Authorization: Bearer alice")})
	}
	if n := len(capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)); n != 3 {
		t.Errorf("%d decisions are recorded while the session lasts, want 3", n)
	}
	_ = stream.Close()
}

// What the program does with its slices after it has told, is not what it told.
func TestDecisionKeepsWhatItSaid(t *testing.T) {
	capture := telemetrytest.New(t)
	s := newEverything()
	inner := quietHTTP(s.MCPServer, server.WithStateLess(true))
	asAlice(t, otelmcp.Instrument(s.MCPServer, into(capture)...).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		list := []string{"read"}
		otelmcp.RecordAuthDecision(r.Context(), otelmcp.AuthDecision{
			Kind: semconv.OTelMCPAuthKindAuthentication, UserID: "alice", ScopesGranted: list, ScopesRequired: list, Audience: list,
		})
		list[0] = "admin"
		inner.ServeHTTP(w, r)
	})), rpc("1", "ping", "{}"))
	e := event(only(t, capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)))
	for _, key := range []attribute.Key{"otelmcp.auth.scopes.granted", "otelmcp.auth.scopes.required", "otelmcp.auth.audience"} {
		if e[key] != `["read"]` {
			t.Errorf("%s is %s", key, e[key])
		}
	}
}

func TestAllowedStandsBeforeWhatFollows(t *testing.T) {
	for name, replaced := range map[string]bool{"a hook before ours": false, "our hooks are gone": true} {
		t.Run(name, func(t *testing.T) {
			capture := telemetrytest.New(t)
			deny := func(ctx context.Context) { otelmcp.RecordAuthDecision(ctx, otelmcp.AuthDecision{Reason: "policy"}) }
			hooks := &server.Hooks{}
			if !replaced {
				hooks.AddBeforeAny(func(ctx context.Context, _ any, _ mcp.MCPMethod, _ any) { deny(ctx) })
			}
			s := newEverything(server.WithHooks(hooks))
			h := otelmcp.Instrument(s.MCPServer, into(capture)...).Handler(
				otelmcp.RequireBearer(aToken)(quietHTTP(s.MCPServer, server.WithStateLess(true))))
			if replaced {
				server.WithHooks(&server.Hooks{})(s.MCPServer)
			}
			s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				deny(ctx)
				return mcp.NewToolResultText("done"), nil
			})
			asAlice(t, h, rpc("1", "tools/call", `{"name":"custom"}`))
			all := capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)
			if len(all) < 2 || event(all[0])["otelmcp.auth.kind"] != "authentication" {
				t.Errorf("of %d decisions the first is %v", len(all), event(all[0]))
			}
		})
	}
}

// Where callers do not choose the trace, no decision is in theirs.
func TestDecisionAtPublicEndpoint(t *testing.T) {
	meta := `{"name":"echo","_meta":{"traceparent":"` + traceparent + `"}}`
	call := rpc("1", "tools/call", meta)
	refuse := func(context.Context, string, *http.Request) (*otelmcp.TokenInfo, error) {
		return nil, otelmcp.ErrInvalidToken
	}
	for name, c := range map[string]struct {
		body   string
		verify otelmcp.TokenVerifier
	}{
		"a call":          {call, aToken},
		"another version": {strings.Replace(call, "2.0", "1.0", 1), aToken},
		"a notification":  {`{"jsonrpc":"2.0","method":"notifications/initialized","params":` + meta + `}`, aToken},
		"a refusal":       {call, refuse},
	} {
		t.Run(name, func(t *testing.T) {
			capture := telemetrytest.New(t)
			s := newEverything()
			i := otelmcp.Instrument(s.MCPServer, into(capture, otelmcp.WithPublicEndpoint())...)
			asAlice(t, i.Handler(otelmcp.RequireBearer(c.verify)(quietHTTP(s.MCPServer, server.WithStateLess(true)))), c.body)
			all := capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)
			if len(all) == 0 {
				t.Error("no decision")
			}
			for _, d := range all {
				if d.TraceID().String() == callerTrace {
					t.Errorf("in the caller's trace: %v", event(d))
				}
			}
		})
	}
}

// A verifier can be slower than who waits for the answer.
func TestRefusedAfterTheAnswer(t *testing.T) {
	capture := telemetrytest.New(t)
	s := newEverything()
	answered, done := make(chan struct{}), make(chan struct{})
	verify := func(context.Context, string, *http.Request) (*otelmcp.TokenInfo, error) {
		<-answered
		return nil, otelmcp.ErrInvalidToken
	}
	bearer := otelmcp.RequireBearer(verify)(quietHTTP(s.MCPServer))
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		bearer.ServeHTTP(w, r)
	})
	asAlice(t, otelmcp.Instrument(s.MCPServer, into(capture)...).Handler(http.TimeoutHandler(slow, time.Millisecond, "late")), rpc("1", "ping", "{}"))
	close(answered)
	<-done
	d := event(only(t, capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)))
	if d["otelmcp.auth.decision"] != "deny" {
		t.Error(d)
	}
}
