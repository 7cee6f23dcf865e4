// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package interop_test

// A client of ours and a server that the official Go SDK makes: it gets valid
// trace context with each message, and answers as it answers a bare client.

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"go.opentelemetry.io/otel/propagation"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
)

const childVar = "OTELMCP_INTEROP_CHILD"

// TestMain is also the child process that serves on stdio.
func TestMain(m *testing.M) {
	if os.Getenv(childVar) == "" {
		os.Exit(m.Run())
	}
	if err := sdkServer(nil).Run(context.Background(), &sdk.StdioTransport{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// sdkServer has a tool that tells the trace context that its call came with, and
// hands the _meta of every message to seen.
func sdkServer(seen func(method string, meta map[string]any)) *sdk.Server {
	s := sdk.NewServer(&sdk.Implementation{Name: "official", Version: "1"}, nil)
	type in struct {
		Text string `json:"text"`
	}
	sdk.AddTool(s, &sdk.Tool{Name: "echo", Description: "Says it again."}, func(_ context.Context, r *sdk.CallToolRequest, args in) (*sdk.CallToolResult, any, error) {
		tp, _ := r.Params.Meta["traceparent"].(string)
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: args.Text + "|" + tp}}}, nil, nil
	})
	if seen != nil {
		s.AddReceivingMiddleware(func(next sdk.MethodHandler) sdk.MethodHandler {
			return func(ctx context.Context, method string, r sdk.Request) (sdk.Result, error) {
				if p := r.GetParams(); p != nil {
					seen(method, p.GetMeta())
				}
				return next(ctx, method, r)
			}
		})
	}
	return s
}

var (
	traceparent  = regexp.MustCompile(`00-[0-9a-f]{32}-[0-9a-f]{16}-01`)
	officialEras = map[string]string{"legacy": mcp.ProtocolVersion20251125, "newest": ""}
)

func TestOfficialSDK(t *testing.T) {
	for name, version := range officialEras {
		for _, over := range []string{"stdio", "http"} {
			t.Run(over+"/"+name, func(t *testing.T) {
				metas := map[string]map[string]any{}
				dial := func(seen func(string, map[string]any)) transport.Interface {
					if over == "stdio" {
						self, err := os.Executable()
						if err != nil {
							t.Fatal(err)
						}
						return transport.NewStdioWithOptions(self, []string{childVar + "=1"}, nil, transport.WithCommandLogger(slog.New(slog.DiscardHandler)))
					}
					s := sdkServer(seen)
					web := httptest.NewServer(sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s }, &sdk.StreamableHTTPOptions{Stateless: version == ""}))
					t.Cleanup(web.Close)
					conn, err := transport.NewStreamableHTTP(web.URL, transport.WithHTTPLogger(slog.New(slog.DiscardHandler)))
					if err != nil {
						t.Fatal(err)
					}
					return conn
				}
				bare := talk(t, dial(nil), version)
				capture := telemetrytest.New(t)
				wrapped := otelmcp.WrapTransport(dial(func(method string, meta map[string]any) { metas[method] = meta }),
					otelmcp.WithTracerProvider(capture.TracerProvider()), otelmcp.WithMeterProvider(capture.MeterProvider()),
					otelmcp.WithLoggerProvider(capture.LoggerProvider()), otelmcp.WithPropagators(propagation.TraceContext{}))
				ours := talk(t, wrapped, version)
				call := capture.SpanNamed("tools/call echo").SpanContext()
				if want := "00-" + call.TraceID().String() + "-" + call.SpanID().String() + "-01"; !strings.Contains(ours, "hi|"+want) {
					t.Errorf("the tool got %q, want the trace context %s", ours, want)
				}
				if got := traceparent.ReplaceAllString(ours, ""); got != bare {
					t.Errorf("answered\n%s\nto a bare client\n%s", got, bare)
				}
				for method, meta := range metas {
					if tp, _ := meta["traceparent"].(string); !traceparent.MatchString(tp) {
						t.Errorf("%s came with the trace context %q", method, tp)
					}
				}
				if over == "http" && len(metas) < 3 {
					t.Errorf("only %d methods were seen", len(metas))
				}
			})
		}
	}
}

// talk uses a server and returns what it answered.
func talk(t *testing.T, conn transport.Interface, version string) string {
	t.Helper()
	var opts []client.ClientOption
	if version != "" {
		opts = append(opts, client.WithProtocolVersion(version))
	}
	c := client.NewClient(conn, opts...)
	defer c.Close()
	if err := c.Start(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	var hello mcp.InitializeRequest
	hello.Params.ClientInfo = mcp.Implementation{Name: "tester", Version: "1"}
	met, err := c.Initialize(t.Context(), hello)
	if err != nil {
		t.Fatal(err)
	}
	tools, err := c.ListTools(t.Context(), mcp.ListToolsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var r mcp.CallToolRequest
	r.Params.Name, r.Params.Arguments = "echo", map[string]any{"text": "hi"}
	result, err := c.CallTool(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	r.Params.Name = "nope"
	_, unknown := c.CallTool(t.Context(), r)
	raw, err := json.Marshal([]any{met, tools, result, fmt.Sprint(unknown)})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
