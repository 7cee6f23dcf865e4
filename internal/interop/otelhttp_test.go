// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package interop_test

// HTTP instrumentation on both sides: its spans lie between the client's and the
// server's, and nothing is a root of its own.

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
)

func TestOtelHTTP(t *testing.T) {
	for name, version := range officialEras {
		t.Run(name, func(t *testing.T) {
			capture := telemetrytest.New(t)
			opts := []otelmcp.Option{
				otelmcp.WithTracerProvider(capture.TracerProvider()), otelmcp.WithMeterProvider(capture.MeterProvider()),
				otelmcp.WithLoggerProvider(capture.LoggerProvider()), otelmcp.WithPropagators(propagation.TraceContext{}),
			}
			viaHTTP := []otelhttp.Option{otelhttp.WithTracerProvider(capture.TracerProvider()), otelhttp.WithPropagators(propagation.TraceContext{})}
			srv := server.NewMCPServer("s", "1")
			srv.AddTool(mcp.NewTool("echo"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				return mcp.NewToolResultText("hi"), nil
			})
			h := otelmcp.Instrument(srv, opts...).Handler(server.NewStreamableHTTPServer(srv, server.WithStreamableHTTPLogger(slog.New(slog.DiscardHandler))))
			web := httptest.NewServer(otelhttp.NewHandler(h, "http.server", viaHTTP...))
			conn, err := transport.NewStreamableHTTP(web.URL, transport.WithHTTPBasicClient(&http.Client{
				Transport: otelhttp.NewTransport(http.DefaultTransport, viaHTTP...),
			}), transport.WithHTTPLogger(slog.New(slog.DiscardHandler)))
			if err != nil {
				t.Fatal(err)
			}
			ctx, caller := capture.TracerProvider().Tracer("caller").Start(t.Context(), "caller")
			var copts []client.ClientOption
			if version != "" {
				copts = append(copts, client.WithProtocolVersion(version))
			}
			c := client.NewClient(otelmcp.WrapTransport(conn, opts...), copts...)
			if err := c.Start(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Initialize(ctx, mcp.InitializeRequest{}); err != nil {
				t.Fatal(err)
			}
			var r mcp.CallToolRequest
			r.Params.Name = "echo"
			if _, err := c.CallTool(ctx, r); err != nil {
				t.Fatal(err)
			}
			caller.End()
			if version == "" {
				_ = c.Close() // sends nothing in the newest version
			}
			web.CloseClientConnections()
			web.Close()

			spans := capture.Spans()
			find := func(parent trace.SpanID, kind trace.SpanKind, scope string) sdktrace.ReadOnlySpan {
				t.Helper()
				at := slices.IndexFunc(spans, func(s sdktrace.ReadOnlySpan) bool {
					return s.Parent().SpanID() == parent && s.SpanKind() == kind && s.InstrumentationScope().Name == scope
				})
				if at < 0 {
					t.Fatalf("no %v span of %s under %s", kind, scope, parent)
				}
				return spans[at]
			}
			at := slices.IndexFunc(spans, func(s sdktrace.ReadOnlySpan) bool {
				return s.SpanKind() == trace.SpanKindClient && s.InstrumentationScope().Name == otelmcp.ScopeName && s.Name() == "tools/call _OTHER"
			})
			if at < 0 {
				t.Fatal("no client span")
			}
			call := spans[at]
			sent := find(call.SpanContext().SpanID(), trace.SpanKindClient, otelhttp.ScopeName)
			received := find(sent.SpanContext().SpanID(), trace.SpanKindServer, otelhttp.ScopeName)
			served := find(call.SpanContext().SpanID(), trace.SpanKindServer, otelmcp.ScopeName)
			if !slices.ContainsFunc(served.Links(), func(l sdktrace.Link) bool { return l.SpanContext.SpanID() == received.SpanContext().SpanID() }) {
				t.Error("the server's span is not linked to the HTTP server's")
			}
			for _, s := range spans {
				if s.SpanContext().TraceID() != caller.SpanContext().TraceID() {
					t.Errorf("the span %q of %s is in a trace of its own", s.Name(), s.InstrumentationScope().Name)
				}
			}
		})
	}
}

// The span of otelhttp is the parent of a message's where the message names none, and
// linked where it names one, on either side of Handler.
func TestOtelHTTPOnEitherSide(t *testing.T) {
	const named = "0af7651916cd43dd8448eb211c80319c"
	for name, around := range map[string]bool{"around Handler": true, "inside of Handler": false} {
		t.Run(name, func(t *testing.T) {
			capture := telemetrytest.New(t)
			srv := server.NewMCPServer("s", "1")
			inst := otelmcp.Instrument(srv, otelmcp.WithTracerProvider(capture.TracerProvider()), otelmcp.WithMeterProvider(capture.MeterProvider()),
				otelmcp.WithLoggerProvider(capture.LoggerProvider()), otelmcp.WithPropagators(propagation.TraceContext{}))
			var h http.Handler = server.NewStreamableHTTPServer(srv, server.WithStateLess(true), server.WithStreamableHTTPLogger(slog.New(slog.DiscardHandler)))
			viaHTTP := func(h http.Handler) http.Handler {
				return otelhttp.NewHandler(h, "http.server", otelhttp.WithTracerProvider(capture.TracerProvider()), otelhttp.WithPropagators(propagation.TraceContext{}))
			}
			if around {
				h = viaHTTP(inst.Handler(h))
			} else {
				h = inst.Handler(viaHTTP(h))
			}
			web := httptest.NewServer(h)
			defer web.Close()
			for _, body := range []string{
				`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`,
				`{"jsonrpc":"2.0","id":2,"method":"ping","params":{"_meta":{"traceparent":"00-` + named + `-b7ad6b7169203331-01"}}}`,
			} {
				resp, err := http.Post(web.URL, "application/json", strings.NewReader(body)) //nolint:noctx // The server ends with the test.
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
			}
			web.Close()

			var viaOtelHTTP []trace.SpanID
			for _, s := range capture.Spans() {
				if s.InstrumentationScope().Name == otelhttp.ScopeName {
					viaOtelHTTP = append(viaOtelHTTP, s.SpanContext().SpanID())
				}
			}
			if got := len(capture.Spans()); got != 4 || len(viaOtelHTTP) != 2 {
				t.Fatalf("there are %d spans, %d of otelhttp; want 4 and 2", got, len(viaOtelHTTP))
			}
			for _, s := range capture.Spans() {
				linked := slices.ContainsFunc(s.Links(), func(l sdktrace.Link) bool { return slices.Contains(viaOtelHTTP, l.SpanContext.SpanID()) })
				switch s.Name() {
				case "tools/list":
					if !slices.Contains(viaOtelHTTP, s.Parent().SpanID()) {
						t.Error("the HTTP span is not the parent of a message that names none")
					}
				case "ping":
					if s.Parent().TraceID().String() != named || !linked {
						t.Errorf("the parent of a message that names one is in trace %s, linked to the HTTP span: %v", s.Parent().TraceID(), linked)
					}
				}
			}
		})
	}
}
