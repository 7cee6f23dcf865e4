// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// What a record of a stdio line must not claim: that an answer was not written which
// was, that a value cannot be, or that a program's own request was the client's.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
)

// A call that is larger than all that may wait is what it is, and waits for its answer.
func TestStdioLargeModernCall(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	l := listen(t, t.Context(), i)
	l.call(modernRPC("1", "tools/call", `{"name":"echo","arguments":{"text":"`+strings.Repeat("x", 9<<20)+`"}}`), `"id":1`)
	if err := l.hangUp(); err != nil {
		t.Error(err)
	}
	wantRecords(t, capture, "ok handler tools/call - -")
	events, _ := operations(capture)
	if events[0]["otelmcp.response.size"] == "" {
		t.Errorf("it did not wait for its answer: %v", events[0])
	}
	if n := capture.CounterValue("otelmcp.telemetry.refused"); n != 0 {
		t.Errorf("%d lines made room", n)
	}
	settled(t, i, capture)
}

// slowContent takes until it is let go to be encoded.
type slowContent struct{ s *everything }

func (c slowContent) MarshalJSON() ([]byte, error) {
	c.s.entered <- struct{}{}
	<-c.s.left
	return []byte(`{}`), nil
}

// A line that makes room while its answer is still to be written ended as it did.
func TestStdioMakesRoomBeforeItsAnswer(t *testing.T) {
	const calls = 12
	s, capture := instrumented(t)
	s.left = make(chan struct{})
	i := otelmcp.Instrument(s.MCPServer)
	s.do(func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultStructured(slowContent{s}, "x"), nil
	})
	l := listen(t, t.Context(), i, server.WithWorkerPoolSize(calls))
	pad := strings.Repeat("x", 900_000)
	for n := range calls {
		l.send(rpc(strconv.Itoa(n), "tools/call", `{"name":"custom","_meta":{"`+mcp.MetaKeyProtocolVersion+`":"2025`+pad+`"}}`))
	}
	for range calls {
		recv(t, s.entered)
	}
	close(s.left)
	for range calls {
		l.until(`"result"`)
	}
	if err := l.hangUp(); err != nil {
		t.Error(err)
	}
	if got := tally(capture); got["ok handler tools/call - -"] != calls || len(got) != 1 {
		t.Errorf("%d calls are recorded as %v", calls, got)
	}
	settled(t, i, capture)
}

// A value that is nested deeper than is looked at can be written for all that is known.
func TestStdioDeepContent(t *testing.T) {
	const deep = 600
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	release := make(chan struct{})
	s.do(func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if r.GetArguments() == nil {
			s.entered <- struct{}{}
			<-release
			return nil, errors.New("db down")
		}
		return mcp.NewToolResultStructured(r.GetArguments(), "x"), nil
	})
	l := listen(t, t.Context(), i)
	l.send(rpc("1", "tools/call", `{"name":"custom"}`))
	recv(t, s.entered)
	echo := rpc("1", "tools/call", `{"name":"custom","arguments":`+strings.Repeat(`{"a":`, deep)+"1"+strings.Repeat("}", deep)+"}")
	l.call(echo, `"structuredContent"`)
	close(release)
	l.until(`"error"`)
	if err := l.hangUp(); err != nil {
		t.Error(err)
	}
	wantRecords(t, capture, "ok handler tools/call - -", "error handler tools/call - -32603")
	events, _ := operations(capture)
	for _, e := range events {
		if ok := e["otelmcp.outcome"] == "ok"; ok != (e["otelmcp.request.size"] == strconv.Itoa(len(echo))) {
			t.Errorf("this is of the other call: %v", e)
		}
	}
	settled(t, i, capture)
}

// What a hook of the program's asks of its own server is no message of the client's,
// and takes nothing from the one that the hook is called for.
func TestStdioHookAsksItsServer(t *testing.T) {
	hooks := &server.Hooks{}
	s := newEverything(server.WithHooks(hooks))
	capture := telemetrytest.New(t)
	hooks.AddOnRequestInitialization(func(ctx context.Context, id, _ any) error {
		if fmt.Sprint(id) == "7" {
			s.HandleMessage(ctx, json.RawMessage(rpc("99", "ping", "{}")))
		}
		return nil
	})
	i := otelmcp.Instrument(s.MCPServer, into(capture)...)
	call := rpc("7", "tools/call", `{"name":"nope"}`)
	l := listen(t, t.Context(), i)
	l.call(call, `"id":7`)
	if err := l.hangUp(); err != nil {
		t.Error(err)
	}
	wantRecords(t, capture, "rejected dispatch tools/call - -32602", "ok handler ping - -")
	events, _ := operations(capture)
	for _, e := range events {
		if id, size := e["jsonrpc.request.id"], e["otelmcp.request.size"]; id == "7" && size != strconv.Itoa(len(call)) || id == "99" && size != "" {
			t.Errorf("message %s of %s bytes is recorded as %v", id, size, e)
		}
	}
	settled(t, i, capture)
}

// underTimeout is a tool middleware as many programs have it.
func underTimeout(next server.ToolHandlerFunc) server.ToolHandlerFunc {
	return func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		return next(ctx, r)
	}
}

// asideUntilTheEnd is a tool middleware that does not wait for a handler beyond the
// end of its context, and says so in words of its own.
func asideUntilTheEnd(next server.ToolHandlerFunc) server.ToolHandlerFunc {
	return func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		go func() { _, _ = next(context.WithoutCancel(ctx), r) }()
		<-ctx.Done()
		return nil, errors.New("gave up")
	}
}

// A middleware's context tells no less of what the handler heeded, and no more.
func TestErrorAfterTheEndUnderMiddleware(t *testing.T) {
	for name, c := range map[string]struct {
		around server.ToolHandlerMiddleware
		fail   func(ctx context.Context, end func()) error
		want   string
	}{
		"it did not know": {underTimeout, func(_ context.Context, end func()) error { end(); return errors.New("db down") }, "error"},
		"it was first":    {underTimeout, func(ctx context.Context, _ func()) error { _ = ctx.Err(); return errors.New("db down") }, "error"},
		"it waited for it": {underTimeout, func(ctx context.Context, end func()) error {
			end()
			<-ctx.Done()
			return errors.New("gave up")
		}, "cancelled"},
		"it asked for it": {underTimeout, func(ctx context.Context, end func()) error { end(); _ = ctx.Err(); return errors.New("gave up") }, "cancelled"},
		"the context's":   {underTimeout, func(_ context.Context, end func()) error { end(); return context.Canceled }, "cancelled"},
		// That it derived a context counts as heeding: whether what it called looked at
		// that one is not known.
		"it derived one, and did not know": {underTimeout, func(ctx context.Context, end func()) error {
			_, cancel := context.WithCancel(ctx)
			defer cancel()
			end()
			return errors.New("db down")
		}, "cancelled"},
		"the middleware waited": {asideUntilTheEnd, func(_ context.Context, end func()) error { end(); return errors.New("db down") }, "cancelled"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newEverything(server.WithToolHandlerMiddleware(c.around))
			capture := telemetrytest.New(t)
			otelmcp.Instrument(s.MCPServer, into(capture)...)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			left := make(chan struct{})
			s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				if name == "the middleware waited" {
					cancel()
					<-left
				}
				return nil, c.fail(ctx, cancel)
			})
			s.HandleMessage(ctx, json.RawMessage(rpc("1", "tools/call", `{"name":"custom"}`)))
			close(left)
			if n := len(records(capture)); n != 1 {
				t.Errorf("%d records", n)
			}
			for _, r := range records(capture) {
				if !strings.HasPrefix(r, c.want+" ") {
					t.Errorf("recorded %s, want %s", r, c.want)
				}
			}
		})
	}
}
