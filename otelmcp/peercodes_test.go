// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// The codes that a peer chooses make no series of metrics: each event has its own.

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// wantPeersCodes checks that each of codes is on one event about method, and that all of
// them are one series.
func wantPeersCodes(t *testing.T, capture *telemetrytest.Capture, method string, codes []string) {
	t.Helper()
	seen := map[string]int{}
	events := eventsAbout(capture, method)
	for k := range events {
		if code := event(events[k])["rpc.response.status_code"]; code != "" {
			seen[code]++
		}
	}
	for _, code := range codes {
		if seen[code] != 1 {
			t.Errorf("%d events about %s have the code %s, want 1", seen[code], method, code)
		}
	}
	var series []string
	for _, p := range capture.HistogramPoints(semconv.MCPClientOperationDurationName, semconv.MCPMethodNameKey.String(method)) {
		if v, ok := p.Attributes.Value(semconv.RPCResponseStatusCodeKey); ok {
			series = append(series, fmt.Sprintf("%s %d", v.AsString(), p.Count))
		}
	}
	if want := []string{"_OTHER " + strconv.Itoa(len(codes))}; !slices.Equal(series, want) {
		t.Errorf("the codes on the metric are %.300q, want %q", series, want)
	}
}

// A client that answers each ping of the server's with a code of its own: mcp-go refuses
// such an answer over HTTP, with one code.
func TestCodesOfPongs(t *testing.T) {
	const pings = 50
	for over, serve := range map[string]func(*server.MCPServer) http.Handler{
		"streamable HTTP": func(s *server.MCPServer) http.Handler {
			return server.NewStreamableHTTPServer(s, server.WithHeartbeatInterval(time.Millisecond),
				server.WithStreamableHTTPLogger(slog.New(slog.DiscardHandler)))
		},
		"HTTP+SSE": func(s *server.MCPServer) http.Handler {
			return server.NewSSEServer(s, server.WithKeepAliveInterval(time.Millisecond))
		},
	} {
		t.Run(over, func(t *testing.T) {
			_, _, c, capture := edged(t, serve)
			var conn net.Conn
			post := inSession
			if over == "HTTP+SSE" {
				conn, post = c.stream(), func(body string, _ ...string) string { return rawPostTo(toMessages, body) }
			} else {
				c.do(step{send: rawPost(rpc("0", "initialize", initializeParams))})
				conn = c.open(plain("GET", "/", "Mcp-Session-Id: {session}"))
			}
			asked := regexp.MustCompile(`"id":(\d+)`)
			n := 0
			for n < pings {
				for _, id := range asked.FindAllStringSubmatch(c.read(conn, "\n\n"), -1) {
					n++
					c.do(step{send: post(`{"jsonrpc":"2.0","id":` + id[1] + `,"error":{"code":` + codeText(-50_000-n) + `,"message":"no"}}`)})
				}
			}
			eventually(t, func() bool { // over HTTP+SSE an answer is handled after its 202
				refused := 0
				for _, r := range records(capture) {
					if strings.HasPrefix(r, "rejected ") {
						refused++
					}
				}
				return refused == n
			})
			_ = conn.Close()
			c.web.Close()
			for _, name := range []string{semconv.MCPClientOperationDurationName, semconv.MCPServerOperationDurationName} {
				for _, p := range capture.HistogramPoints(name) {
					for _, kv := range p.Attributes.ToSlice() {
						if strings.HasPrefix(kv.Value.String(), "-5") {
							t.Fatalf("%s has a series with %s=%s", name, kv.Key, kv.Value.String())
						}
					}
				}
			}
		})
	}
}

// A server that answers each call of an instrumented client with a code of its own.
func TestCodesOfAServer(t *testing.T) {
	const calls = 200
	var codes []string
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			ID     any    `json:"id"`
			Method string `json:"method"`
		}
		_ = json.NewDecoder(r.Body).Decode(&asked)
		answer := map[string]any{"jsonrpc": "2.0", "id": asked.ID}
		switch {
		case asked.ID == nil:
			w.WriteHeader(http.StatusAccepted)
			return
		case asked.Method == "initialize":
			answer["result"] = map[string]any{
				"protocolVersion": string(legacy), "capabilities": map[string]any{}, "serverInfo": map[string]any{"name": "s", "version": "1"},
			}
		default:
			code := -60_000 - len(codes)
			codes = append(codes, codeText(code))
			answer["error"] = map[string]any{"code": code, "message": "no"}
		}
		answerJSON(w, http.StatusOK, answer)
	}))
	defer web.Close()
	capture := telemetrytest.New(t)
	c := client.NewClient(otelmcp.WrapTransport(must(transport.NewStreamableHTTP(web.URL)), into(capture)...))
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Initialize(t.Context(), greeting()); err != nil {
		t.Fatal(err)
	}
	for range calls {
		if _, err := callTool(t.Context(), c, "echo", nil); err == nil {
			t.Fatal("a refused call succeeds")
		}
	}
	if _, err := c.ListTools(t.Context(), mcp.ListToolsRequest{}); err == nil {
		t.Fatal("a refused request succeeds")
	}
	_ = c.Close()
	if len(codes) < calls+1 {
		t.Fatalf("%d requests came", len(codes))
	}
	codes = codes[len(codes)-calls-1:] // what a client asks before its first call is its own matter
	wantPeersCodes(t, capture, "tools/call", codes[:calls])
	wantPeersCodes(t, capture, "tools/list", codes[calls:])
}
