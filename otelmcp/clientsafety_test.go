// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// What a client must not do, whatever its server sends and whatever the program
// plugs in: leak, forge, fail, or leave something behind.

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
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
