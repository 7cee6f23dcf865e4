// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Decisions say over which transport the request was to go, wherever on its way they fall
// and whatever it is.

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

func TestDecisionTransport(t *testing.T) {
	type (
		middleware = func(http.Handler) http.Handler
		layout     func(auth, edge middleware, h http.Handler) http.Handler
	)
	at := func(pattern string, h http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle(pattern, h)
		return mux
	}
	layouts := map[string]layout{
		"auth, edge": func(auth, edge middleware, h http.Handler) http.Handler { return auth(edge(h)) },
		"auth, mux, edge": func(auth, edge middleware, h http.Handler) http.Handler {
			return auth(at("/", edge(h)))
		},
		"auth, mux, mux, edge": func(auth, edge middleware, h http.Handler) http.Handler {
			return auth(at("/", at("/mcp", edge(h))))
		},
		"auth, mux, edge, mux": func(auth, edge middleware, h http.Handler) http.Handler {
			return auth(at("/mcp", edge(at("/", h))))
		},
		"edge, auth":      func(auth, edge middleware, h http.Handler) http.Handler { return edge(auth(h)) },
		"mux, edge, auth": func(auth, edge middleware, h http.Handler) http.Handler { return at("/", edge(auth(h))) },
		"edge, mux, auth": func(auth, edge middleware, h http.Handler) http.Handler { return edge(at("/mcp", auth(h))) },
		"edge, auth, mux": func(auth, edge middleware, h http.Handler) http.Handler { return edge(auth(at("/mcp", h))) },
	}
	servers := map[string]func(*server.MCPServer) http.Handler{
		streamable: func(s *server.MCPServer) http.Handler { return quietHTTP(s) },
		sse:        func(s *server.MCPServer) http.Handler { return server.NewSSEServer(s, server.WithSSEEndpoint("/mcp")) },
	}
	verify := func(_ context.Context, token string, _ *http.Request) (*otelmcp.TokenInfo, error) {
		if token != "alice" {
			return nil, otelmcp.ErrInvalidToken
		}
		return &otelmcp.TokenInfo{UserID: token}, nil
	}
	for name, build := range layouts {
		for over, serve := range servers {
			for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
				for _, token := range []string{"alice", "eve", ""} {
					t.Run(name+"/"+over+"/"+method+"/"+token, func(t *testing.T) {
						s, capture := instrumented(t)
						i := otelmcp.Instrument(s.MCPServer)
						auth := otelmcp.RequireBearer(verify, otelmcp.WithLoggerProvider(capture.LoggerProvider()), otelmcp.WithMeterProvider(capture.MeterProvider()))
						decideOn(t, build(auth, i.Handler, serve(s.MCPServer)), "/mcp", method, token)
						if e := event(only(t, capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName))); e["otelmcp.transport"] != over {
							t.Errorf("the decision was about %q, want %q: %+v", e["otelmcp.transport"], over, e)
						}
					})
				}
			}
		}
	}
}

// decideOn sends a request, and hangs up.
func decideOn(t *testing.T, h http.Handler, path, method, token string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // a stream would stay open
	r := httptest.NewRequestWithContext(ctx, method, path, nil)
	if method == http.MethodPost {
		r = httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(rpc("1", "ping", "{}")))
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	h.ServeHTTP(httptest.NewRecorder(), r)
}

// What does not show is not said.
func TestDecisionTransportUnknown(t *testing.T) {
	var none *http.ServeMux
	deep := http.NotFoundHandler()
	for range 100 {
		mux := http.NewServeMux()
		mux.Handle("/", deep)
		deep = mux
	}
	itself := http.NewServeMux()
	itself.Handle("/mcp", itself)
	for name, next := range map[string]http.Handler{
		"another page": http.NotFoundHandler(), "no such page": http.NewServeMux(), "no mux": none, "nothing": nil,
		"many": deep, "a circle": itself,
		"what no type tells": http.StripPrefix("/x", http.NotFoundHandler()),
	} {
		t.Run(name, func(t *testing.T) {
			capture := telemetrytest.New(t)
			auth := otelmcp.RequireBearer(nil, otelmcp.WithLoggerProvider(capture.LoggerProvider()), otelmcp.WithMeterProvider(capture.MeterProvider()))
			decideOn(t, auth(next), "/mcp", http.MethodPost, "")
			if e := event(only(t, capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName))); e["otelmcp.transport"] != "" {
				t.Errorf("%+v", e)
			}
		})
	}
}
