// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// tracestate is text that a caller chose: what looks like a credential is neither recorded nor sent on.

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
)

// tainted is a tracestate with credentials, and untainted what is left of it.
const (
	tainted   = "rojo=00f067aa0ba902b7,a=ghp_abcdefghijklmnopqrstuvwxyz0123456789,b=password:hunter2,dd=s:1;t.dm:-4"
	untainted = "rojo=00f067aa0ba902b7,dd=s:1;t.dm:-4"
)

// states are the tracestates of a span and of what it is linked to.
func states(s sdktrace.ReadOnlySpan) []string {
	out := []string{s.SpanContext().TraceState().String(), s.Parent().TraceState().String()}
	for _, l := range s.Links() {
		out = append(out, l.SpanContext.TraceState().String())
	}
	return out
}

func TestTraceStateOfACaller(t *testing.T) {
	const body = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ask"%s}}`
	inMeta := fmt.Sprintf(`,"_meta":{"traceparent":%q,"tracestate":%q}`, traceparent, tainted)
	around := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceState: state(t, tainted)})
	for name, c := range map[string]struct {
		params  string
		headers map[string]string
		around  trace.SpanContext
		links   int
		silent  bool
	}{
		"_meta":                  {params: inMeta},
		"headers":                {headers: map[string]string{"Traceparent": traceparent, "Tracestate": tainted}},
		"_meta in a span around": {params: inMeta, around: around, links: 1},
		"silent":                 {params: inMeta, silent: true},
	} {
		t.Run(name, func(t *testing.T) {
			var handled trace.SpanContext
			srv := server.NewMCPServer("s", "1")
			srv.AddTool(mcp.NewTool("ask"), func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				handled = trace.SpanContextFromContext(ctx)
				return mcp.NewToolResultText(""), nil
			})
			capture := telemetrytest.New(t, telemetrytest.WithUnsampled())
			h := otelmcp.Instrument(srv, into(capture, otelmcp.WithFilter(func(context.Context, string) bool { return !c.silent }))...).
				Handler(server.NewStreamableHTTPServer(srv, server.WithStateLess(true)))
			r := httptest.NewRequestWithContext(trace.ContextWithSpanContext(t.Context(), c.around), http.MethodPost, "http://localhost/mcp",
				strings.NewReader(fmt.Sprintf(body, c.params)))
			r.Header.Set("Content-Type", "application/json")
			for k, v := range c.headers {
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != http.StatusOK {
				t.Fatalf("the answer is %d %s", w.Code, w.Body)
			}
			if handled.TraceID().String() != callerTrace || handled.TraceState().String() != untainted {
				t.Errorf("the handler's context is %v with %q", handled.TraceID(), handled.TraceState())
			}
			if c.silent {
				return
			}
			span := capture.SpanNamed("tools/call ask")
			if span.Parent().SpanID().String() != callerSpan || len(span.Links()) != c.links {
				t.Errorf("the parent is %v, and %d links", span.Parent().SpanID(), len(span.Links()))
			}
			for n, s := range states(span) {
				if s != untainted {
					t.Errorf("tracestate %d is %q", n, s)
				}
			}
		})
	}
}

// What a client sends on of the context that it is called in, in _meta and in headers.
func TestTraceStateThatAClientSends(t *testing.T) {
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprint(silent), func(t *testing.T) {
			var sent []string
			srv := server.NewMCPServer("s", "1")
			srv.AddTool(mcp.NewTool("ask"), func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				inMeta, _ := r.Params.Meta.AdditionalFields["tracestate"].(string)
				sent = append(sent, inMeta, r.Header.Get("Tracestate"))
				return mcp.NewToolResultText(""), nil
			})
			web := httptest.NewServer(server.NewStreamableHTTPServer(srv))
			defer web.Close()
			conn, err := transport.NewStreamableHTTP(web.URL)
			if err != nil {
				t.Fatal(err)
			}
			capture := telemetrytest.New(t, telemetrytest.WithUnsampled())
			c := client.NewClient(otelmcp.WrapTransport(conn, into(capture, otelmcp.WithFilter(func(context.Context, string) bool { return !silent }))...))
			defer c.Close()
			ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
				TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled, TraceState: state(t, tainted),
			}))
			if err := c.Start(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Initialize(ctx, mcp.InitializeRequest{}); err != nil {
				t.Fatal(err)
			}
			var r mcp.CallToolRequest
			r.Params.Name = "ask"
			if _, err := c.CallTool(ctx, r); err != nil {
				t.Fatal(err)
			}
			if len(sent) != 2 || sent[0] != untainted || sent[1] != untainted {
				t.Errorf("sent %q", sent)
			}
			for _, span := range capture.Spans() {
				for n, s := range states(span) {
					if s != untainted {
						t.Errorf("%s: tracestate %d is %q", span.Name(), n, s)
					}
				}
			}
		})
	}
}

func state(t *testing.T, s string) trace.TraceState {
	t.Helper()
	state, err := trace.ParseTraceState(s)
	if err != nil {
		t.Fatal(err)
	}
	return state
}
