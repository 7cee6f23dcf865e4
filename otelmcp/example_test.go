// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// The API as documentation: each example runs as a test.

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/otelmcp/otelmcp-go/otelmcp"
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
