// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// What a client must not do, whatever its server sends and whatever the program
// plugs in: leak, forge, fail, or leave something behind.

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// sayEverywhere puts text, in JSON's notation, wherever a program, a caller or a
// server can put text of its own.
func sayEverywhere(t *testing.T, text string, opts ...otelmcp.Option) *telemetrytest.Capture {
	t.Helper()
	capture := telemetrytest.New(t)
	fake := newFakeTransport()
	q := `"` + text + `"`
	var plain string
	if json.Unmarshal([]byte(q), &plain) != nil {
		plain = text
	}
	results := map[string]string{
		"initialize":   `{"protocolVersion":` + q + `,"serverInfo":{"name":` + q + `,"version":` + q + `}}`,
		"tools/call":   `{"isError":true,"content":[{"type":"text","text":` + q + `}],"structuredContent":{"a":` + q + `}}`,
		"prompts/get":  `{"resultType":"input_required","requestState":` + q + `,"inputRequests":{` + q + `:{"method":` + q + `,"params":{"_meta":{"traceparent":` + q + `}}}}}`,
		"prompts/list": `{"prompts":[{"name":` + q + `}]}`,
	}
	fake.answer = func(r transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
		answer := &transport.JSONRPCResponse{JSONRPC: "2.0", ID: r.ID}
		switch result, ok := results[r.Method]; {
		case ok:
			answer.Result = json.RawMessage(result)
		case r.Method == "resources/read":
			return nil, fmt.Errorf("failed to send request: Post \"http://u:%s@h/?q=%s\": %s", plain, plain, plain)
		default:
			answer.Error = &mcp.JSONRPCErrorDetails{Code: -32000, Message: plain, Data: plain}
		}
		return answer, nil
	}
	wrapped := otelmcp.WrapTransport(fake, append(into(capture), opts...)...)
	ctx := t.Context()
	for _, method := range []string{"initialize", "tools/call", "prompts/list", "prompts/get", "resources/read", "completion/complete", plain} {
		_, _ = wrapped.SendRequest(ctx, transport.JSONRPCRequest{
			JSONRPC: "2.0", ID: mcp.NewRequestId(plain), Method: method, Params: json.RawMessage(
				`{"name":` + q + `,"uri":` + q + `,"ref":{"name":` + q + `,"uri":` + q + `},"arguments":{` + q + `:` + q + `},"requestState":` + q +
					`,"_meta":{` + q + `:` + q + `,"traceparent":` + q + `,"io.modelcontextprotocol/protocolVersion":` + q + `}}`),
		})
	}
	n := mcp.JSONRPCNotification{JSONRPC: "2.0", Notification: mcp.Notification{Method: "notifications/cancelled", Params: mcp.NotificationParams{
		Meta: map[string]any{"traceparent": plain}, AdditionalFields: map[string]any{"requestId": plain, "reason": plain, "uri": plain},
	}}}
	_ = wrapped.SendNotification(ctx, n)
	wrapped.SetNotificationHandler(func(mcp.JSONRPCNotification) {})
	fake.notify(n)
	n.Method = plain
	fake.notify(n)
	wrapped.(transport.BidirectionalInterface).SetRequestHandler(func(context.Context, transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
		return nil, fmt.Errorf("no: %s", plain)
	})
	_, _ = fake.request(ctx, transport.JSONRPCRequest{ID: mcp.NewRequestId(plain), Method: plain, Params: map[string]any{"_meta": map[string]any{"traceparent": plain}}})
	_ = wrapped.Close()
	return capture
}

// A server that says the credential of its client wherever it can say anything of its own.
func TestEchoedByAServer(t *testing.T) {
	const secret = "Nq8WbX3cRz6KtVy1FmPj5HsLg9Dk2uEa7Co4Ti"
	for _, e := range []equipped{everyWay, bySeams, wrapOnly, seamsOnly} {
		for header, before := range map[string]string{"Authorization": "Bearer ", "X-Api-Key": ""} {
			t.Run(e.name+"/"+header, func(t *testing.T) {
				capture, opts := captureOptions(t)
				web := httptest.NewServer(echoingServer(header))
				base := &http.Transport{}
				t.Cleanup(func() {
					base.CloseIdleConnections()
					web.Close()
				})
				hc := &http.Client{Transport: base}
				if e.hc {
					hc = otelmcp.InstrumentHTTPClient(hc, opts...)
				}
				var conn transport.Interface = must(transport.NewStreamableHTTP(web.URL, transport.WithHTTPBasicClient(hc),
					transport.WithHTTPLogger(slog.New(slog.DiscardHandler)), transport.WithHTTPHeaders(map[string]string{header: before + secret})))
				if e.wrap {
					conn = otelmcp.WrapTransport(conn, opts...)
				}
				c := client.NewClient(conn, client.WithProtocolVersion(string(legacy)))
				if e.seams {
					otelmcp.InstrumentClient(c, opts...)
				}
				if err := c.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Initialize(t.Context(), greeting()); err != nil {
					t.Fatal(err)
				}
				_, _ = callTool(t.Context(), c, "echo", nil)
				_, _ = c.ListTools(t.Context(), mcp.ListToolsRequest{})
				_ = conn.SendNotification(t.Context(), mcp.JSONRPCNotification{JSONRPC: "2.0", Notification: mcp.Notification{Method: "notifications/roots/list_changed"}})
				_ = c.Close()
				if n := len(capture.EventsNamed(semconv.OTelMCPOperationEventName)); n < 3 {
					t.Errorf("only %d operations are recorded", n)
				}
				eachString(t, capture, func(where, text string) {
					if part := disclosed(text, secret); part != "" {
						t.Errorf("%s has %q in %q", where, part, text)
					}
				})
			})
		}
	}
}

// echoingServer is an MCP server that repeats what a header says.
func echoingServer(header string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said := strings.TrimPrefix(r.Header.Get(header), "Bearer ")
		var asked struct {
			ID     any    `json:"id"`
			Method string `json:"method"`
		}
		_ = json.NewDecoder(r.Body).Decode(&asked)
		answer := map[string]any{"jsonrpc": "2.0", "id": asked.ID}
		w.Header().Set("Mcp-Session-Id", said)
		switch {
		case asked.Method == "tools/list":
			http.Error(w, "not you, "+said, http.StatusForbidden)
		case asked.Method == "notifications/roots/list_changed":
			http.Error(w, "nor you, "+said, http.StatusBadRequest)
		case asked.ID == nil:
			w.WriteHeader(http.StatusAccepted)
		case asked.Method == "initialize":
			answer["result"] = map[string]any{
				"protocolVersion": string(legacy), "capabilities": map[string]any{"tools": map[string]any{}},
				"serverInfo": map[string]any{"name": "of " + said, "version": said},
			}
			answerJSON(w, http.StatusOK, answer)
		default:
			answer["error"] = map[string]any{"code": -32000, "message": "no: " + said}
			answerJSON(w, http.StatusOK, answer)
		}
	})
}

func TestClientCanaries(t *testing.T) {
	for _, mode := range captureModes {
		for n, s := range secrets {
			t.Run(fmt.Sprintf("%s/secret %d", mode.name, n), func(t *testing.T) {
				mark := regexp.MustCompile(s.mark)
				c := sayEverywhere(t, s.text, mode.opts...)
				eachString(t, c, func(where, text string) {
					if mark.MatchString(text) {
						t.Errorf("%s has %q", where, text)
					}
				})
			})
		}
		for n, text := range forgeries {
			t.Run(fmt.Sprintf("%s/forgery %d", mode.name, n), func(t *testing.T) {
				eachString(t, sayEverywhere(t, text, mode.opts...), func(where, text string) {
					if r, ok := visible(text); !ok {
						t.Errorf("%s has %U in %q", where, r, text)
					}
				})
			})
		}
	}
}

// Callbacks of the program's that panic, and providers that do, cost a client no
// more than their part.
func TestClientSurvivesCallbacks(t *testing.T) {
	for _, set := range equipments() {
		t.Run(set.name, func(t *testing.T) {
			wrap := func(conn transport.Interface) transport.Interface { return otelmcp.WrapTransport(conn, set.opts(t)...) }
			for _, l := range []link{{over: stdio, era: legacy}, {over: stdio, era: modern}} {
				l.wrap = wrap
				h := newHuman()
				c := connectClient(t, newEverything().MCPServer, l, h.options()...)
				r, err := callTool(t.Context(), c, "echo", map[string]any{"text": "hi"})
				if err != nil || mcp.GetTextFromContent(r.Content[0]) != "hi" {
					t.Errorf("called: %v, %v", r, err)
				}
				if _, err := callTool(t.Context(), c, "asks", nil); err != nil {
					t.Errorf("called: %v", err)
				}
				if err := c.RootListChanges(t.Context()); err != nil {
					t.Errorf("notified: %v", err)
				}
			}
		})
	}
}

// A filter silences spans and durations, and no event and no count.
func TestClientFilter(t *testing.T) {
	capture := telemetrytest.New(t)
	c := connectClient(t, newEverything().MCPServer, link{over: stdio, era: legacy, wrap: observedBy(capture, otelmcp.WithFilter(
		func(_ context.Context, method string) bool { return method != "tools/call" }))})
	if _, err := callTool(t.Context(), c, "echo", nil); err != nil {
		t.Fatal(err)
	}
	for _, s := range capture.Spans() {
		if s.Name() == "tools/call _OTHER" {
			t.Error("the call has a span")
		}
	}
	if n := len(eventsAbout(capture, "tools/call")); n != 1 {
		t.Errorf("%d events of the call", n)
	}
	if n := capture.CounterValue(semconv.OTelMCPClientMessagesName); n != int64(len(capture.EventsNamed(semconv.OTelMCPOperationEventName))) {
		t.Errorf("%d messages are counted", n)
	}
	if n := capture.CounterValue(semconv.OTelMCPServerMessagesName); n != 0 {
		t.Errorf("%d messages are counted as a server's", n)
	}
}

// Many clients at once, in both eras, leave exactly what they did.
func TestManyClients(t *testing.T) {
	clients := 60
	if testing.Short() {
		clients = 10
	}
	const calls = 20
	capture := telemetrytest.New(t)
	t.Run("talk", func(t *testing.T) {
		s := newEverything()
		var all []*client.Client
		for k := range clients {
			l := []link{{over: streamable, era: legacy}, {over: streamable, era: modern}, {over: sse, era: legacy}, {over: inProcess, era: modern}}[k%4]
			l.wrap = observedBy(capture)
			all = append(all, connectClient(t, s.MCPServer, l))
		}
		var wg sync.WaitGroup
		for _, c := range all {
			for range 2 {
				wg.Go(func() {
					for range calls / 2 {
						if _, err := callTool(t.Context(), c, "echo", nil); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
		wg.Wait()
	})
	if n := len(eventsAbout(capture, "tools/call")); n != clients*calls {
		t.Errorf("%d records of %d calls", n, clients*calls)
	}
	started, ended := capture.EventsNamed(semconv.OTelMCPSessionStartEventName), capture.EventsNamed(semconv.OTelMCPSessionEndEventName)
	if len(started) != clients*3/4 || len(ended) != len(started) { // the newest version has no sessions over HTTP
		t.Errorf("%d sessions started and %d ended, want %d", len(started), len(ended), clients*3/4)
	}
}
