// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// What a client cannot make the books of a stdio connection say: which lines there
// were, what became of each, and how much of them is kept.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
)

// toCome is a request of a protocol version to come, which mcp-go answers before
// it dispatches it.
func toCome(id, method, params string) string {
	return strings.Replace(modernRPC(id, method, params), "2026-07-28", "2999-01-01", 1)
}

// incapable is a request that does not say what its client can, which mcp-go answers
// before it dispatches it.
func incapable(id, method, params string) string {
	meta := `"_meta":{"` + mcp.MetaKeyProtocolVersion + `":"2026-07-28"}`
	if params == "{}" {
		return rpc(id, method, "{"+meta+"}")
	}
	return rpc(id, method, strings.TrimSuffix(params, "}")+","+meta+"}")
}

// holds makes the tool "custom" wait until the test lets it go.
func (s *everything) holds() (release chan struct{}) {
	release = make(chan struct{})
	s.do(func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		s.entered <- struct{}{}
		<-release
		return mcp.NewToolResultText("done"), nil
	})
	return release
}

// A request that is answered before dispatch does not take the record of the call
// that waits under its id, nor gets one of its own twice.
func TestStdioRejectedBesideACall(t *testing.T) {
	for name, c := range map[string]struct {
		line func(id, method, params string) string
		want string
	}{
		"a version to come": {toCome, "rejected transport tools/list - -32022"},
		"no capabilities":   {incapable, "rejected transport tools/list - -32602"},
	} {
		for _, rejected := range []int{1, 10} {
			t.Run(fmt.Sprint(name, " ", rejected), func(t *testing.T) {
				s, capture := instrumented(t)
				i := otelmcp.Instrument(s.MCPServer)
				release := s.holds()
				l := listen(t, t.Context(), i)
				l.send(rpc("1", "tools/call", `{"name":"custom"}`))
				recv(t, s.entered)
				want := []string{"ok handler tools/call - -"}
				for range rejected {
					l.call(c.line("1", "tools/list", "{}"), `"error"`)
					want = append(want, c.want)
				}
				close(release)
				l.until(`"result"`)
				if err := l.hangUp(); err != nil {
					t.Error(err)
				}
				wantRecords(t, capture, want...)
				settled(t, i, capture)
			})
		}
	}
}

// A call whose id stands behind what is looked at, and one whose _meta is no object.
func TestStdioLargeBesideBadMeta(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	release := s.holds()
	l := listen(t, t.Context(), i)
	l.send(`{"jsonrpc":"2.0","method":"tools/call","params":{"name":"custom","arguments":{"text":"` + large + `"}},"id":1}`)
	recv(t, s.entered)
	l.call(rpc("2", "tools/call", `{"name":"echo","arguments":{"text":"x"},"_meta":[]}`), `"id":2`)
	close(release)
	l.until(`"id":1`)
	if err := l.hangUp(); err != nil {
		t.Error(err)
	}
	wantRecords(t, capture, "ok handler tools/call - -", "rejected dispatch tools/call - -32600")
	settled(t, i, capture)
}

// What is behind the first mebibyte of a line says all the same what the line is.
func TestStdioLargeLines(t *testing.T) {
	pad := `"params":{"pad":"` + large + `"}`
	for name, c := range map[string]struct{ line, answer, want string }{
		"a notification":                     {`{"jsonrpc":"2.0","method":"notifications/initialized",` + pad + `}`, "", "ok dispatch notifications/initialized - -"},
		"a notification, the method behind":  {`{"jsonrpc":"2.0",` + pad + `,"method":"notifications/initialized"}`, "", "ok dispatch notifications/initialized - -"},
		"a notification of another version":  {`{` + pad + `,"jsonrpc":"1.0","method":"notifications/initialized"}`, "-32600", "rejected transport notifications/initialized - -32600"},
		"a notification that is no JSON":     {`{"jsonrpc":"2.0","method":"notifications/initialized",` + pad + `]`, "-32700", "rejected transport - - -32700"},
		"a notification with bad params":     {`{"jsonrpc":"2.0","method":"notifications/initialized","params":["` + large + `"]}`, "-32700", "rejected transport notifications/initialized - -32700"},
		"a request, the method behind":       {`{"jsonrpc":"2.0","id":1,` + pad + `,"method":"ping"}`, `"id":1`, "ok handler ping - -"},
		"a request, the id long and behind":  {`{"jsonrpc":"2.0","method":"ping",` + pad + `,"id":"` + large + `"}`, `"id":"` + large[:9], "ok handler ping - -"},
		"a request of another version":       {`{` + pad + `,"id":1,"jsonrpc":"1.0","method":"ping"}`, "-32600", "rejected transport ping - -32600"},
		"a result that nobody asked for":     {`{"jsonrpc":"2.0","id":1,"result":{"a":"` + large + `"}}`, "", "rejected transport - - -"},
		"an error that nobody asked for":     {`{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"` + large + `"}}`, "-32601", "rejected dispatch - - -32601"},
		"a request that says an error":       {`{"jsonrpc":"2.0","id":1,"method":"ping","error":{"message":"` + large + `"}}`, `"id":1`, "ok handler ping - -"},
		"a version to come":                  {toCome("1", "tools/list", `{"pad":"`+large+`"}`), "-32022", "rejected transport tools/list - -32022"},
		"no capabilities":                    {incapable("1", "tools/list", `{"pad":"`+large+`"}`), "-32602", "rejected transport tools/list - -32602"},
		"a request behind a lot of nothing":  {strings.Repeat(" ", len(large)) + rpc("1", "ping", "{}"), `"id":1`, "ok handler ping - -"},
		"a request before a lot of nothing":  {rpc("1", "ping", "{}") + strings.Repeat(" \t", len(large)), `"id":1`, "ok handler ping - -"},
		"a request with nothing around it":   {strings.Repeat(" ", len(large)) + rpc("1", "ping", `{"a":"`+large+`"}`) + strings.Repeat(" \r", len(large)), `"id":1`, "ok handler ping - -"},
		"a tool that does not exist":         {rpc("1", "tools/call", `{"name":"nope","arguments":{"a":"`+large+`"}}`), "-32602", "rejected dispatch tools/call - -32602"},
		"an unknown method, the id behind":   {`{"jsonrpc":"2.0","method":"evil",` + pad + `,"id":1}`, "-32601", "rejected dispatch evil - -32601"},
		"an unknown method that is long":     {rpc("1", large, "{}"), "-32601", "rejected dispatch " + clippedMethod + " - -32601"},
		"two requests in a line, both large": {rpc("1", "ping", `{"a":"`+large+`"}`) + rpc("2", "ping", `{"a":"`+large+`"}`), "-32700", "rejected transport - - -32700"},
	} {
		t.Run(name, func(t *testing.T) {
			s, capture := instrumented(t)
			i := otelmcp.Instrument(s.MCPServer)
			l := listen(t, t.Context(), i)
			l.send(c.line)
			if c.answer != "" {
				l.until(c.answer)
			}
			l.call(rpc(`"end"`, "tools/list", "{}"), `"id":"end"`)
			if err := l.hangUp(); err != nil {
				t.Error(err)
			}
			wantRecords(t, capture, c.want, "ok handler tools/list - -")
			settled(t, i, capture)
		})
	}
}

// clippedMethod is what is recorded of a method that is called large.
var clippedMethod = func() string {
	const most = 128
	note := func(n int) string { return "…[+" + strconv.Itoa(len(large)-n) + "B]" }
	n := most
	for n+len(note(n)) > most {
		n--
	}
	return large[:n] + note(n)
}()

// The answer to a request of the server's is no message of its own, whatever its
// size and wherever its id stands.
func TestStdioLargeAnswerToTheServer(t *testing.T) {
	for name, answer := range map[string]string{
		"a result":               `{"jsonrpc":"2.0","id":%s,"result":{"action":"accept","content":{"yes":true,"a":"` + large + `"}}}`,
		"a result, the id last":  `{"jsonrpc":"2.0","result":{"action":"accept","content":{"yes":true,"a":"` + large + `"}},"id":%s}`,
		"a refusal":              `{"jsonrpc":"2.0","id":%s,"error":{"code":-32000,"message":"` + large + `"}}`,
		"a refusal, the id last": `{"jsonrpc":"2.0","error":{"code":-32000,"message":"` + large + `"},"id":%s}`,
	} {
		t.Run(name, func(t *testing.T) {
			s, capture := instrumented(t)
			i := otelmcp.Instrument(s.MCPServer)
			s.elicit(context.WithCancel)
			l := listen(t, t.Context(), i)
			l.call(handshake, "serverInfo")
			l.send(rpc("1000", "tools/call", `{"name":"custom"}`))
			l.call(fmt.Sprintf(answer, l.asked()), `"id":1000`)
			if err := l.hangUp(); err != nil {
				t.Error(err)
			}
			outcome := "ok"
			if strings.Contains(name, "refusal") {
				outcome = "error"
			}
			wantRecords(t, capture, "ok handler initialize - -", "ok handler tools/call - -", "> "+outcome+" handler elicitation/create - -")
			settled(t, i, capture)
		})
	}
}

// An error of the handler's own stays what it is when its client hangs up meanwhile.
func TestStdioOwnErrorAtTheEnd(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	ended := make(chan struct{})
	s.do(func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		s.entered <- struct{}{}
		<-ended
		return nil, errors.New("db down")
	})
	l := listen(t, t.Context(), i)
	l.send(rpc("1", "tools/call", `{"name":"custom"}`))
	recv(t, s.entered)
	l.send(rpc("2", "tools/call", `{"name":"waits"}`))
	recv(t, s.entered)
	_ = l.in.Close()
	recv(t, s.left) // its context has ended, and that of the other call with it
	close(ended)
	if err := recv(t, l.done); err != nil {
		t.Error(err)
	}
	wantRecords(t, capture, "error handler tools/call - -32603", "cancelled handler tools/call - -32603 disconnect")
	settled(t, i, capture)
}

// Whether an error is an effect of the end of the request's context.
func TestErrorAfterTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		fail func(ctx context.Context, end func()) error
		want string
	}{
		"it did not know":     {func(_ context.Context, end func()) error { end(); return errors.New("db down") }, "error"},
		"it was first":        {func(ctx context.Context, _ func()) error { _ = ctx.Err(); return errors.New("db down") }, "error"},
		"the context's":       {func(_ context.Context, end func()) error { end(); return fmt.Errorf("query: %w", context.Canceled) }, "cancelled"},
		"the context's cause": {func(_ context.Context, end func()) error { end(); return errEnd }, "cancelled"},
		"told as text":        {func(_ context.Context, end func()) error { end(); return errors.New("rpc: context canceled") }, "cancelled"},
		"it waited for it":    {func(ctx context.Context, end func()) error { end(); <-ctx.Done(); return errors.New("gave up") }, "cancelled"},
		"it asked for it":     {func(ctx context.Context, end func()) error { end(); _ = ctx.Err(); return errors.New("gave up") }, "cancelled"},
		"what it called asked": {func(ctx context.Context, end func()) error {
			inner, cancel := context.WithCancel(ctx)
			defer cancel()
			end()
			<-inner.Done()
			return errors.New("gave up")
		}, "cancelled"},
	} {
		t.Run(name, func(t *testing.T) {
			s, capture := instrumented(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			ended := false
			s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				return nil, c.fail(ctx, func() { ended = true; cancel(errEnd) })
			})
			s.AddPrompt(mcp.NewPrompt("fails"), func(ctx context.Context, _ mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
				return nil, c.fail(ctx, func() { ended = true; cancel(errEnd) })
			})
			s.HandleMessage(ctx, json.RawMessage(rpc("1", "tools/call", `{"name":"custom"}`)))
			if !ended { // after the handler, and before it is recorded
				cancel(errEnd)
			}
			ctx, cancel = context.WithCancelCause(t.Context())
			s.HandleMessage(ctx, json.RawMessage(rpc("2", "prompts/get", `{"name":"fails"}`)))
			for _, r := range records(capture) {
				if !strings.HasPrefix(r, c.want+" ") {
					t.Errorf("recorded %s, want %s", r, c.want)
				}
			}
			cancel(errEnd)
		})
	}
}

var errEnd = errors.New("the pod is drained")

// heapIn is how many bytes are in use.
func heapIn() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Requests that are never answered keep little, whatever a client puts into them.
func TestStdioUnansweredIsBounded(t *testing.T) {
	measuresMemory(t)
	const lines, size, most = 20, 900_000, 12 << 20
	pad := strings.Repeat("x", size)
	for name, line := range map[string]func(n int) string{
		"the id":      func(n int) string { return rpc(fmt.Sprintf("\"%d%s\"", n, pad), "tools/call", `{"name":"custom"}`) },
		"the same id": func(int) string { return rpc(`"`+pad+`"`, "tools/call", `{"name":"custom"}`) },
		"_meta": func(n int) string {
			return rpc(strconv.Itoa(n), "tools/call", `{"name":"custom","_meta":{"a":"`+pad+`"}}`)
		},
		"the client": func(n int) string {
			return strings.Replace(modernRPC(strconv.Itoa(n), "tools/call", `{"name":"custom"}`), `"tester"`, `"`+pad+`"`, 1)
		},
		"a capability": func(n int) string {
			return strings.Replace(modernRPC(strconv.Itoa(n), "tools/call", `{"name":"custom"}`), mcp.MetaKeyClientCapabilities+`":{`, mcp.MetaKeyClientCapabilities+`":{"experimental":{"a":"`+pad+`"}`, 1)
		},
		"an old version": func(n int) string {
			return rpc(strconv.Itoa(n), "tools/call", `{"name":"custom","_meta":{"`+mcp.MetaKeyProtocolVersion+`":"2025`+pad+`"}}`)
		},
		"arguments": func(n int) string {
			return rpc(strconv.Itoa(n), "tools/call", `{"name":"custom","arguments":{"a":"`+pad+`"}}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newEverything()
			capture := telemetrytest.New(t)
			i := otelmcp.Instrument(s.MCPServer, into(capture)...)
			s.do(func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				s.entered <- struct{}{}
				return mcp.NewToolResultStructured(map[string]any{"f": func() {}}, "x"), nil
			})
			l := listen(t, t.Context(), i)
			l.call(rpc(`"begin"`, "ping", "{}"), `"id":"begin"`)
			before := heapIn()
			for n := range lines {
				l.send(line(n))
				recv(t, s.entered)
			}
			l.call(rpc(`"end"`, "ping", "{}"), `"id":"end"`)
			if grown := heapIn() - before; grown > most {
				t.Errorf("%d bytes are held of %d that came in", grown, lines*size)
			}
			if err := l.hangUp(); err != nil {
				t.Error(err)
			}
			if n, counted := len(records(capture)), capture.CounterValue("otelmcp.server.messages"); n != lines+2 || counted != lines+2 {
				t.Errorf("%d lines have %d records and count as %d", lines+2, n, counted)
			}
			settled(t, i, capture)
		})
	}
}
