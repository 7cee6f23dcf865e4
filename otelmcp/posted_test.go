// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// HTTP+SSE behind the edge: a message is posted in one exchange, dispatched after
// that was answered, and answered on the stream of another. Each leaves one
// record, in time, whichever of them ends first.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

const toMessages = "/message?sessionId={session}"

// started is a POST of which all but the body's end was sent.
func started(body string) (raw, end string) {
	const rest = 10
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		toMessages, len(body), body[:len(body)-rest]), body[len(body)-rest:]
}

// counted waits until n records are there, and says how often each is.
func counted(t *testing.T, capture *telemetrytest.Capture, n int) map[string]int {
	t.Helper()
	eventually(t, func() bool { return len(records(capture)) >= n })
	is := map[string]int{}
	for _, r := range records(capture) {
		is[r]++
	}
	if len(records(capture)) != n {
		t.Errorf("%d records, want %d: %v", len(records(capture)), n, is)
	}
	return is
}

// A message is over when dispatch is and its answer is written, or will not be: it
// does not wait for the stream to end.
func TestPostedEndsInTime(t *testing.T) {
	large := strings.Repeat("x", 1<<20)
	long := `"` + strings.Repeat("i", 2000) + `"`
	for name, c := range map[string]struct{ body, want string }{
		"a large notification":            {`{"jsonrpc":"2.0","method":"notifications/evil","params":{"x":"` + large + `"}}`, "ok dispatch notifications/evil 202 -"},
		"a large call with its id last":   {`{"jsonrpc":"2.0","method":"tools/call","params":{"name":"echo","arguments":{"text":"` + large + `"}},"id":5}`, "ok handler tools/call 202 -"},
		"a large call":                    {`{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"echo","arguments":{"text":"` + large + `"}}}`, "ok handler tools/call 202 -"},
		"a large string":                  {`"` + large + `"`, "rejected transport - 202 -32700"},
		"large, with a version that ends": {`{"id":5,"method":"tools/call","params":{"name":"` + large + `"},"jsonrpc":"1.0"}`, "rejected transport tools/call 202 -32600"},
		"more than one value":             {rpc("5", "tools/call", callEcho) + " x", "ok handler tools/call 202 -"},
		"a long id":                       {rpc(long, "tools/call", callEcho), "ok handler tools/call 202 -"},
		"a long id, and another version":  {`{"jsonrpc":"1.0","id":` + long + `,"method":"ping"}`, "rejected transport ping 202 -32600"},
		"an id that escapes make long":    {rpc(`"`+strings.Repeat("<", 300)+`"`, "tools/call", callEcho), "ok handler tools/call 202 -"},
		"a long id that is refused":       {rpc(long, "evil", "{}"), "rejected transport evil 202 -32600"},
		"refused":                         {rpc("5", "evil", "{}"), "rejected transport evil 202 -32600"},
		"a result that is no JSON":        {rpc("5", "tools/call", `{"name":"custom"}`), "error handler tools/call 202 -"},
	} {
		t.Run(name, func(t *testing.T) {
			s, i, talk, capture := edged(t, rawHandlers["sse"])
			s.GetHooks().AddOnRequestInitialization(refuseEvil)
			s.do(func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				return mcp.NewToolResultStructured(map[string]any{"n": math.NaN()}, "n"), nil
			})
			stream := talk.stream()
			talk.do(step{send: rawPostTo(toMessages, c.body)})
			eventually(t, func() bool { return slices.Contains(records(capture), c.want) })
			_ = stream.Close()
			talk.web.Close()
			wantRecords(t, capture, c.want, "ok transport - 200 - disconnect")
			settled(t, i, capture)
		})
	}
}

func refuseEvil(_ context.Context, _, message any) error {
	if strings.Contains(fmt.Sprintf("%s", message), `"method":"evil"`) {
		return errors.New("not that")
	}
	return nil
}

// Where the stream is not behind the edge nobody sees the answers.
func TestPostedWithoutItsStream(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	s.GetHooks().AddOnRequestInitialization(refuseEvil)
	h := server.NewSSEServer(s.MCPServer)
	mux := http.NewServeMux()
	mux.Handle("/sse", h.SSEHandler())
	mux.Handle("/message", i.Handler(h.MessageHandler()))
	c := converse(t, mux)
	t.Cleanup(c.web.Close)
	stream := c.stream()
	for k := range 20 {
		c.do(step{send: rawPostTo(toMessages, rpc(fmt.Sprint(k), "ping", "{}"))})
	}
	c.do(step{send: rawPostTo(toMessages, rpc("20", "evil", "{}"))})
	c.do(step{send: rawPostTo(toMessages, `{"jsonrpc":"1.0","id":21,"method":"ping"}`)})
	c.do(step{send: rawPostTo(toMessages, `[]`)})
	is := counted(t, capture, 23)
	if is["ok handler ping 202 -"] != 20 || is["rejected transport evil 202 -"] != 1 || is["rejected transport ping 202 -"] != 1 || is["rejected transport - 202 -"] != 1 {
		t.Errorf("recorded %v", is)
	}
	_ = stream.Close()
	c.web.Close()
	// That the stream is not seen is the only gap.
	if gaps := i.Coverage().Gaps; len(gaps) != 1 || !strings.HasPrefix(gaps[0], "sse: ") {
		t.Errorf("gaps: %v", gaps)
	}
}

// What is posted while the session ends is dispatched all the same; its answer is
// lost.
func TestPostOutlivesItsStream(t *testing.T) {
	_, i, c, capture := edged(t, rawHandlers["sse"])
	stream := c.stream()
	raw, end := started(rpc("5", "tools/call", callEcho))
	// mcp-go has looked for the session before it reads the body to its end, which
	// the 100 that it then sends shows.
	head, body, _ := strings.Cut(raw, "\r\n\r\n")
	conn := c.open(head + "\r\nExpect: 100-continue\r\n\r\n")
	c.read(conn, "100 Continue")
	_ = stream.Close()
	eventually(t, func() bool { return len(capture.EventsNamed(semconv.OTelMCPSessionEndEventName)) == 1 })
	_, _ = io.WriteString(conn, body+end)
	c.read(conn, "202")
	_ = conn.Close()
	counted(t, capture, 2)
	c.web.Close()
	wantRecords(t, capture, "cancelled handler tools/call 202 - ended disconnect", "ok transport - 200 - disconnect")
	settled(t, i, capture)
}

// Whatever comes first, the end of the session, the 202 or dispatch: each message
// has one record.
func TestPostsWhileStreamsEnd(t *testing.T) {
	_, i, c, capture := edged(t, rawHandlers["sse"])
	bodies := []string{
		rpc("5", "tools/call", callEcho), `{"jsonrpc":"2.0","id":5,"method":"ping","params":{"x":[` + strings.Repeat("1,", 50000) + `1]}}`,
		`{"jsonrpc":"1.0","id":5,"method":"ping"}`, `{"jsonrpc":"2.0","method":"notifications/initialized"}`,
	}
	const n = 60
	for k := range n {
		stream := c.stream()
		raw, end := started(bodies[k%len(bodies)])
		head, body, _ := strings.Cut(raw, "\r\n\r\n")
		conn := c.open(head + "\r\nExpect: 100-continue\r\n\r\n")
		c.read(conn, "100 Continue")
		var both sync.WaitGroup
		both.Go(func() { _, _ = io.WriteString(conn, body+end) })
		both.Go(func() { _ = stream.Close() })
		both.Wait()
		c.read(conn, "202")
		_ = conn.Close()
	}
	counted(t, capture, 2*n)
	c.web.Close()
	settled(t, i, capture)
}

// Clients that post, and go before they are answered.
func TestPostsOfACrowd(t *testing.T) {
	_, i, c, capture := edged(t, rawHandlers["sse"])
	const clients, posts = 15, 6
	for range clients {
		stream := c.stream()
		for k := range posts {
			c.do(step{send: rawPostTo(toMessages, rpc(fmt.Sprint(k%3), "tools/call", callEcho))})
		}
		_ = stream.Close()
	}
	counted(t, capture, clients*(posts+1))
	c.web.Close()
	settled(t, i, capture)
}

// A cancellation is the client's wish, though the request that posted the message
// is over by then; it is noticed though its body has not ended.
func TestPostedCancellation(t *testing.T) {
	const note = `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`
	for name, send := range map[string]string{
		"plain": rawPostTo(toMessages, note),
		"in chunks, without the last": "POST " + toMessages + " HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n" +
			fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(note), note),
	} {
		t.Run(name, func(t *testing.T) {
			s, i, c, capture := edged(t, rawHandlers["sse"])
			stream := c.stream()
			c.do(step{send: rawPostTo(toMessages, rpc("7", "tools/call", `{"name":"waits"}`))})
			recv(t, s.entered)
			conn := c.open(send)
			recv(t, s.left)
			_, _ = io.WriteString(conn, "0\r\n\r\n")
			c.read(conn, "202")
			_ = conn.Close()
			c.read(stream, `"id":7`)
			_ = stream.Close()
			c.web.Close()
			wantRecords(t, capture, "cancelled handler tools/call 202 -32603 client_request",
				"ok dispatch notifications/cancelled 202 -", "ok transport - 200 - disconnect")
			settled(t, i, capture)
		})
	}
}

// What waits for its answer does not hold its bytes.
func TestPostedHoldsNoBytes(t *testing.T) {
	_, i, c, capture := edged(t, rawHandlers["sse"])
	stream := c.stream()
	heap := func() int {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc >> 20)
	}
	before := heap()
	const n = 20
	for range n { // whether it is a request its end says, which is not looked at
		c.do(step{send: rawPostTo(toMessages, `{"jsonrpc":"2.0","method":"evil","params":{"x":"`+strings.Repeat("x", 1<<20)+`"}}`)})
	}
	if after := heap(); after > before+10 {
		t.Errorf("%d messages hold %d MiB", n, after-before)
	}
	_ = stream.Close()
	counted(t, capture, n+1)
	c.web.Close()
	settled(t, i, capture)
}

// A handler of a notification that has the server do something has not been
// dispatched itself.
func TestPostedNotificationThatCalls(t *testing.T) {
	s, i, c, capture := edged(t, rawHandlers["sse"])
	s.AddNotificationHandler("notifications/roots/list_changed", func(ctx context.Context, _ mcp.JSONRPCNotification) {
		s.HandleMessage(ctx, []byte(rpc("77", "tools/call", callEcho)))
	})
	stream := c.stream()
	const n = 10
	for range n {
		c.do(step{send: rawPostTo(toMessages, `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`)})
	}
	is := counted(t, capture, 2*n)
	if is["ok handler tools/call - -"] != n || is["ok dispatch notifications/roots/list_changed 202 -"] != n {
		t.Errorf("recorded %v", is)
	}
	_ = stream.Close()
	c.web.Close()
	settled(t, i, capture)
}
