// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// The API as documentation: each example runs as a test.

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"strings"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

func weather() *server.MCPServer {
	srv := server.NewMCPServer("weather", "1.0.0")
	srv.AddTool(mcp.NewTool("forecast", mcp.WithString("city")), func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText("rain in " + r.GetString("city", "")), nil
	})
	return srv
}

func forecast(ctx context.Context, c *client.Client) {
	if err := c.Start(ctx); err != nil {
		log.Print(err)
		return
	}
	if _, err := c.Initialize(ctx, mcp.InitializeRequest{}); err != nil {
		log.Print(err)
		return
	}
	var r mcp.CallToolRequest
	r.Params.Name, r.Params.Arguments = "forecast", map[string]any{"city": "Oslo"}
	result, err := c.CallTool(ctx, r)
	if err != nil {
		log.Print(err)
		return
	}
	fmt.Println(mcp.GetTextFromContent(result.Content[0]))
}

func ExampleInstrument() {
	srv := weather()
	i := otelmcp.Instrument(srv, // without these options the providers are the global ones
		otelmcp.WithTracerProvider(sdktrace.NewTracerProvider()),
		otelmcp.WithMeterProvider(sdkmetric.NewMeterProvider()),
		otelmcp.WithLoggerProvider(sdklog.NewLoggerProvider()))
	for _, gap := range i.Coverage().Gaps {
		fmt.Println(gap)
	}
	// Output:
	// messages that mcp-go rejects before it dispatches them, and notifications, are not seen without an edge: serve with otelmcp.Instrument(srv).ServeStdio(ctx), or wrap the HTTP handler with otelmcp.Instrument(srv).Handler(h)
}

func ExampleInstrumentation_Handler() {
	srv := weather()
	mux := http.NewServeMux()
	mux.Handle("/mcp", otelmcp.Instrument(srv).Handler(server.NewStreamableHTTPServer(srv)))
	fmt.Println(otelmcp.Instrument(srv).Coverage().Edges)
	// Output:
	// [http]
}

func ExampleWrapTransport() {
	ctx := context.Background()
	t := transport.NewInProcessTransport(weather()) // or any other transport
	c := client.NewClient(otelmcp.WrapTransport(t))
	defer c.Close()
	forecast(ctx, c)
	// Output:
	// rain in Oslo
}

func ExampleInstrumentClient() {
	ctx := context.Background()
	c, err := client.NewInProcessClient(weather())
	if err != nil {
		log.Print(err)
		return
	}
	defer c.Close()
	forecast(ctx, otelmcp.InstrumentClient(c)) // before it is used
	// Output:
	// rain in Oslo
}

// An audit trail: which city was asked for stands on the event of each call, whether or
// not its trace is sampled.
func ExampleWithContentOnEvents() {
	srv := weather()
	events := sdklog.NewLoggerProvider(sdklog.WithProcessor(printer{}))
	otelmcp.Instrument(srv, otelmcp.WithLoggerProvider(events),
		otelmcp.WithContentOnEvents(otelmcp.Arguments, otelmcp.ForTools("forecast"), otelmcp.OnlyArguments("city")),
		otelmcp.WithErrorText())
	srv.HandleMessage(context.Background(), json.RawMessage(
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"forecast","arguments":{"city":"Oslo","note":"for my eyes only"}}}`))
	// Output:
	// tools/call forecast: ok
	// otelmcp.tool.argument.city = Oslo
}

// printer prints what operations say of arguments.
type printer struct{}

func (printer) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }
func (printer) ForceFlush(context.Context) error                       { return nil }
func (printer) Shutdown(context.Context) error                         { return nil }

func (printer) OnEmit(_ context.Context, r *sdklog.Record) error {
	if r.EventName() != semconv.OTelMCPOperationEventName {
		return nil
	}
	fmt.Println(r.Body().AsString())
	r.WalkAttributes(func(kv attribute.KeyValue) bool {
		if strings.HasPrefix(string(kv.Key), string(semconv.OTelMCPToolArgumentKey)) {
			fmt.Println(kv.Key, "=", kv.Value.AsString())
		}
		return true
	})
	return nil
}
