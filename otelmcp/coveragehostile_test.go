// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Coverage says what the program has set up. Nothing that a peer sends changes it.

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// TestServerFields fails when a version of mcp-go has other fields: then a seam that
// the program replaces, and a filter, are not noticed any more.
func TestServerFields(t *testing.T) {
	for field, known := range otelmcp.ServerFields() {
		if !known {
			t.Errorf("server.MCPServer has no field %s of the type that is expected", field)
		}
	}
}

// hostileMethods are all that mcp-go knows, and some that nobody does.
func hostileMethods() []string {
	return append(slices.Clone(semconv.MCPMethodNames[:]), "", "what/ever", "notification", "tools/call\n", "\ufffd")
}

// hostileParams are params for which mcp-go passes over one of our seams, or may do so
// one day: _meta that is no object, params that are none, members of another type.
func hostileParams() []string {
	var all []string
	for _, meta := range []string{
		`5`, `[]`, `[{}]`, `"x"`, `null`, `true`, `{}`, `{"traceparent":5}`, `{"traceparent":"00-x"}`, `{"progressToken":{}}`, `{"tracestate":[]}`,
		`{"` + mcp.MetaKeyProtocolVersion + `":5}`, `{"` + mcp.MetaKeyProtocolVersion + `":"2999-01-01"}`,
		`{"` + mcp.MetaKeyProtocolVersion + `":"2026-07-28"}`, `{"` + mcp.MetaKeyClientInfo + `":[]}`,
	} {
		all = append(all,
			`{"_meta":`+meta+`}`,
			`{"_meta":`+meta+`,"name":"echo","uri":"note://one","ref":{"type":"ref/prompt","name":"greet"},"argument":{"name":"who","value":"x"},"level":"info",`+
				`"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"},"taskId":"none"}`)
	}
	return append(all, `5`, `"x"`, `[]`, `null`, `true`, `{"name":5}`, `{"name":{},"uri":[],"ref":1,"taskId":1}`, `{"arguments":5,"name":"echo"}`,
		`{"params":{"_meta":5}}`, `{"_meta":{},"_meta":5}`, `{"name":"echo","_META":5}`)
}

// hostileMessages are all combinations, and what is no message.
func hostileMessages() []string {
	var all []string
	id := 1000
	for _, method := range hostileMethods() {
		quoted, _ := json.Marshal(method)
		for _, params := range hostileParams() {
			id++
			all = append(all, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%s,"params":%s}`, id, quoted, params))
		}
		id++
		all = append(all,
			fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%s}`, id, quoted),
			fmt.Sprintf(`{"jsonrpc":"2.0","method":%s,"params":{"_meta":5}}`, quoted),
			fmt.Sprintf(`{"jsonrpc":"1.0","id":%d,"method":%s}`, id+100000, quoted))
	}
	return append(all,
		`{`, `[]`, `5`, `null`, `"x"`, `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, `{"jsonrpc":"2.0"}`,
		`{"jsonrpc":"2.0","id":900001,"result":{}}`, `{"jsonrpc":"2.0","id":900002,"error":{"code":1,"message":"x"}}`,
		`{"jsonrpc":"2.0","id":900003,"method":"ping","result":{}}`, `{"jsonrpc":"2.0","id":{},"method":"ping"}`,
		`{"jsonrpc":"2.0","id":true,"method":"ping","params":{"_meta":[]}}`)
}

// sameIDs are messages that are in flight at once, with one id: some are answered before
// mcp-go dispatches them.
func sameIDs() (all []string) {
	for range 50 {
		all = append(all, rpc("7", "tools/call", callEcho), rpc("7", "tools/list", `{"_meta":{"`+mcp.MetaKeyProtocolVersion+`":"2999-01-01"}}`),
			`{"jsonrpc":"1.0","id":7,"method":"tools/call"}`, `{"jsonrpc":"2.0","id":7,"result":{}}`, rpc("7", "ping", "{}"), rpc("7", "what/ever", `{"_meta":5}`))
	}
	return all
}

// A hostileWay is one to talk to a server: talk sends the messages one after the other, waits until
// each was dealt with, and hangs up.
type hostileWay struct {
	name string
	talk func(t *testing.T, s *server.MCPServer, i *otelmcp.Instrumentation, messages []string)
}

func hostileHTTP(h func(*server.MCPServer, *otelmcp.Instrumentation) http.Handler, path string, headers ...string) func(*testing.T, *server.MCPServer, *otelmcp.Instrumentation, []string) {
	return func(t *testing.T, s *server.MCPServer, i *otelmcp.Instrumentation, messages []string) {
		t.Helper()
		c := converse(t, h(s, i))
		hc := &http.Client{Transport: &http.Transport{}}
		defer c.web.Close()
		defer hc.CloseIdleConnections()
		for _, m := range messages {
			ctx, cancel := context.WithCancel(t.Context())
			r := must(http.NewRequestWithContext(ctx, http.MethodPost, c.web.URL+path, strings.NewReader(m)))
			r.Header.Set("Content-Type", "application/json")
			var of struct{ Method string }
			_ = json.Unmarshal([]byte(m), &of)
			for _, h := range headers {
				name, value, _ := strings.Cut(h, ": ")
				r.Header.Set(name, strings.ReplaceAll(value, "{method}", of.Method))
			}
			res, err := hc.Do(r)
			if err == nil {
				if of.Method != "subscriptions/listen" { // whose answer does not end
					_, _ = io.Copy(io.Discard, res.Body)
				}
				_ = res.Body.Close()
			}
			cancel()
		}
	}
}

func hostileWays() []hostileWay {
	bare := func(h func(*server.MCPServer) http.Handler) func(*server.MCPServer, *otelmcp.Instrumentation) http.Handler {
		return func(s *server.MCPServer, _ *otelmcp.Instrumentation) http.Handler { return h(s) }
	}
	edge := func(h func(*server.MCPServer) http.Handler) func(*server.MCPServer, *otelmcp.Instrumentation) http.Handler {
		return func(s *server.MCPServer, i *otelmcp.Instrumentation) http.Handler { return i.Handler(h(s)) }
	}
	// A type that does not tell its transport.
	veiled := func(h func(*server.MCPServer) http.Handler) func(*server.MCPServer, *otelmcp.Instrumentation) http.Handler {
		return func(s *server.MCPServer, i *otelmcp.Instrumentation) http.Handler {
			return i.Handler(http.HandlerFunc(h(s).ServeHTTP))
		}
	}
	stateless := rawHandlers["stateless"]
	over := func(listen func(context.Context, *server.MCPServer, *otelmcp.Instrumentation) func(io.Reader, io.Writer) error) func(*testing.T, *server.MCPServer, *otelmcp.Instrumentation, []string) {
		return func(t *testing.T, s *server.MCPServer, i *otelmcp.Instrumentation, messages []string) {
			t.Helper()
			talkOneByOne(t, messages, listen(t.Context(), s, i))
		}
	}
	sseTalk := func(edge bool) func(*testing.T, *server.MCPServer, *otelmcp.Instrumentation, []string) {
		return func(t *testing.T, s *server.MCPServer, i *otelmcp.Instrumentation, messages []string) {
			t.Helper()
			h := rawHandlers["sse"](s)
			if edge {
				h = i.Handler(h)
			}
			c := converse(t, h)
			stream := c.stream()
			read := make(chan struct{})
			go func() {
				defer close(read)
				c.read(stream, `"id":"last"`)
			}()
			for _, m := range append(messages, `{"jsonrpc":"2.0","id":"last","method":"ping"}`) {
				c.do(step{send: rawPostTo(toMessages, m)})
			}
			recv(t, read)
			_ = stream.Close()
			c.web.Close()
		}
	}
	return []hostileWay{
		{"direct", func(t *testing.T, s *server.MCPServer, _ *otelmcp.Instrumentation, messages []string) {
			for _, m := range messages {
				ctx, cancel := context.WithCancel(t.Context())
				if strings.Contains(m, `"subscriptions/listen"`) {
					cancel() // it goes on until then
				}
				handleDirectly(ctx, s, []byte(m))
				cancel()
			}
		}},
		{"stdio", over(func(ctx context.Context, s *server.MCPServer, _ *otelmcp.Instrumentation) func(io.Reader, io.Writer) error {
			return listenBare(ctx, s)
		})},
		{"stdio edge", over(func(ctx context.Context, _ *server.MCPServer, i *otelmcp.Instrumentation) func(io.Reader, io.Writer) error {
			return listenEdge(ctx, i)
		})},
		{"sse", sseTalk(false)},
		{"sse edge", sseTalk(true)},
		{"streamable", hostileHTTP(bare(stateless), "")},
		{"streamable edge", hostileHTTP(edge(stateless), "")},
		{"streamable edge, modern", hostileHTTP(edge(stateless), "", "Mcp-Protocol-Version: 2026-07-28", "Mcp-Method: {method}", "Mcp-Name: echo")},
		{"streamable edge, modern headers that lie", hostileHTTP(edge(stateless), "", "Mcp-Protocol-Version: 2026-07-28", "Mcp-Method: ping")},
		{"streamable edge, with an SSE session", hostileHTTP(veiled(stateless), "/?sessionId=made-up")},
		{"streamable edge, with a session", hostileHTTP(veiled(rawHandlers["stateful"]), "/?sessionId=made-up", "Mcp-Session-Id: "+forged)},
		{"sse edge, without a session", hostileHTTP(veiled(rawHandlers["sse"]), "/message")},
	}
}

// talkOneByOne waits for the answer of each message, where one is due, before it sends
// the next.
func talkOneByOne(t *testing.T, messages []string, listen func(io.Reader, io.Writer) error) {
	t.Helper()
	toServer, write := io.Pipe()
	out := &lineSink{line: make(chan struct{}, 1<<16)}
	done := make(chan error, 1)
	go func() { done <- listen(toServer, out) }()
	for _, m := range append(slices.Clone(messages), `{"jsonrpc":"2.0","id":"last","method":"ping"}`) {
		_, _ = io.WriteString(write, strings.ReplaceAll(m, "\n", " ")+"\n")
	}
	eventually(t, func() bool { return strings.Contains(out.String(), `"last"`) })
	_ = write.Close()
	if err := recv(t, done); err != nil {
		t.Error(err)
	}
}

// TestCoverageIsThePrograms: after everything hostile coverage is what it is after a
// handshake and two calls.
func TestCoverageIsThePrograms(t *testing.T) {
	good := []string{
		rpc("1", "initialize", initializeParams), rpc("2", "ping", "{}"), rpc("3", "tools/call", callEcho),
		modernRPC("4", "tools/list", "{}"),
	}
	for _, w := range hostileWays() {
		t.Run(w.name, func(t *testing.T) {
			after := func(messages []string) otelmcp.Coverage {
				// Not every count of a flood of nonsense is to be checked here.
				s, capture := newEverything(), telemetrytest.New(t, telemetrytest.WithoutCheck())
				i := otelmcp.Instrument(s.MCPServer, into(capture)...)
				w.talk(t, s.MCPServer, i, messages)
				return i.Coverage()
			}
			want := after(good)
			for _, message := range []string{ // one alone is enough to be wrong for good
				`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"_meta":5}}`,
				`{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"note://one","_meta":"x"}}`,
			} {
				if is := after([]string{good[0], message, good[1]}); !reflect.DeepEqual(is, want) {
					t.Errorf("after %s:\n%+v\nwant\n%+v", message, is, want)
				}
			}
			hostile := hostileMessages()
			if !strings.HasPrefix(w.name, "stdio") {
				hostile = append(hostile, sameIDs()...)
			}
			if is := after(append(slices.Clone(good), hostile...)); !reflect.DeepEqual(is, want) {
				t.Errorf("after everything:\n%+v\nwant\n%+v", is, want)
			}
		})
	}
}
