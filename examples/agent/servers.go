// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The three servers, each a process of its own: a calendar and a weather
// service on stdio, and a travel agency on HTTP, whose tool is itself a client
// of the weather service. Each is an ordinary mcp-go server, instrumented with
// one call.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"

	"github.com/otelmcp/otelmcp-go/examples/internal/otlpview"
	"github.com/otelmcp/otelmcp-go/exporters"
	"github.com/otelmcp/otelmcp-go/otelmcp"
)

// The servers, by their subcommands, and their tools.
const (
	calendarServer = "calendar-server"
	travelServer   = "travel-server"
	weatherServer  = "weather-server"

	toolBook     = "book_day"
	toolOffer    = "make_offer"
	toolForecast = "forecast"

	endpointPath = "/mcp"
)

// servers are the subcommands that the demo starts its children with.
var servers = map[string]otlpview.Part{
	calendarServer: func(ctx context.Context, _ otlpview.Streams) error { return serveStdio(ctx, newCalendar(), "calendar") },
	weatherServer:  func(ctx context.Context, _ otlpview.Streams) error { return serveStdio(ctx, newWeather(), "weather") },
	travelServer:   serveTravel,
}

// serveStdio serves one client on standard input and output, until it leaves.
func serveStdio(ctx context.Context, srv *server.MCPServer, service string) (err error) {
	telemetry, err := setUp(ctx, service)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shutdown(ctx, telemetry)) }()

	return otelmcp.Instrument(srv).ServeStdio(ctx)
}

// serveTravel serves streamable HTTP on a free loopback port, which it prints,
// until ctx or its standard input ends. The input ends with the parent, however
// the parent ends: so the server cannot outlive it.
func serveTravel(ctx context.Context, std otlpview.Streams) (err error) {
	telemetry, err := setUp(ctx, "travel")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shutdown(ctx, telemetry)) }()

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := newTravel(std.Stderr)
	handler := server.NewStreamableHTTPServer(srv)
	mux := http.NewServeMux()
	mux.Handle(endpointPath, otelmcp.Instrument(srv).Handler(handler))
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stopped := make(chan error, 1)
	go func() { stopped <- web.Serve(ln) }()
	fmt.Fprintf(std.Stdout, "http://%s%s\n", ln.Addr(), endpointPath)

	orphaned := make(chan struct{})
	go func() {
		defer close(orphaned)
		_, _ = io.Copy(io.Discard, std.Stdin) // an error is an end, too
	}()
	select {
	case err := <-stopped:
		return err
	case <-orphaned:
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	err = errors.Join(handler.Shutdown(grace), web.Shutdown(grace))
	if served := <-stopped; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// setUp builds the pipeline of one process, under the name of its service.
func setUp(ctx context.Context, service string) (*exporters.Pipeline, error) {
	return exporters.Setup(ctx, exporters.WithResource(attribute.String("service.name", service)))
}

// shutdown sends off what is left. It has a deadline of its own, because ctx
// has usually ended by then.
func shutdown(ctx context.Context, telemetry *exporters.Pipeline) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	return telemetry.Shutdown(ctx)
}

// newTravel builds the travel agency. Its tool asks the weather service, which
// it starts for the one question: so all that it does belongs to the call.
func newTravel(stderr io.Writer) *server.MCPServer {
	srv := server.NewMCPServer("travel", "1.0.0", server.WithToolCapabilities(false))
	srv.AddTool(mcp.NewTool(toolOffer,
		mcp.WithDescription("makes an offer for a trip, with the weather to expect"),
		mcp.WithString("city", mcp.Required()),
	), func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		reportProgress(ctx, req, "asking for the weather")

		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		weather, err := connectStdio(ctx, serverCommand(self, weatherServer, stderr))
		if err != nil {
			return nil, err
		}
		defer func() { _ = weather.Close() }() // its answer stands, however it ends

		city := req.GetString("city", "")
		forecast, err := call(ctx, weather, toolForecast, map[string]any{"city": city})
		if err != nil {
			return nil, err
		}
		return mcp.NewToolResultText("two nights in " + city + ", " + forecast), nil
	})
	return srv
}

// reportProgress tells a client that wants to know. What makes the notification
// part of the trace is the context in its _meta; mcp-go's SendNotificationToClient
// has no room for that, so this one goes to the session directly.
func reportProgress(ctx context.Context, req mcp.CallToolRequest, message string) {
	session := server.ClientSessionFromContext(ctx)
	if session == nil || req.Params.Meta == nil || req.Params.Meta.ProgressToken == nil {
		return
	}
	carrier := propagation.MapCarrier{}
	otel.GetTextMapPropagator().Inject(ctx, carrier)
	meta := map[string]any{}
	for key, value := range carrier {
		meta[key] = value
	}
	progress := mcp.JSONRPCNotification{JSONRPC: mcp.JSONRPC_VERSION}
	progress.Method = string(mcp.MethodNotificationProgress)
	progress.Params.Meta = meta
	progress.Params.AdditionalFields = map[string]any{
		"progressToken": req.Params.Meta.ProgressToken, "progress": 1, "message": message,
	}
	if stream, ok := session.(server.SessionWithStreamableHTTPConfig); ok {
		stream.UpgradeToSSEWhenReceiveNotification() // the answer becomes a stream, with this in front
	}
	select {
	case session.NotificationChannel() <- progress:
	case <-ctx.Done(): // a client that is gone needs no progress
	}
}

func newWeather() *server.MCPServer {
	srv := server.NewMCPServer("weather", "1.0.0", server.WithToolCapabilities(false))
	srv.AddTool(mcp.NewTool(toolForecast,
		mcp.WithDescription("forecasts the weather"),
		mcp.WithString("city", mcp.Required()),
	), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText("12 °C and a light breeze"), nil
	})
	return srv
}

// newCalendar builds a calendar in which Saturday is taken, and which has the
// user confirm what it books.
func newCalendar() *server.MCPServer {
	srv := server.NewMCPServer("calendar", "1.0.0", server.WithToolCapabilities(false), server.WithElicitation())
	srv.AddTool(mcp.NewTool(toolBook,
		mcp.WithDescription("books a day"),
		mcp.WithString("day", mcp.Required()),
		mcp.WithString("what", mcp.Required()),
	), func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		day := req.GetString("day", "")
		if day == "Saturday" {
			return mcp.NewToolResultErrorf("%s is taken", day), nil
		}
		answer, err := server.ServerFromContext(ctx).RequestElicitation(ctx, mcp.ElicitationRequest{
			Params: mcp.ElicitationParams{
				Message: fmt.Sprintf("Book %s for %s?", day, req.GetString("what", "")),
				RequestedSchema: map[string]any{
					"type": "object", "properties": map[string]any{"sure": map[string]any{"type": "boolean"}},
				},
			},
		})
		switch {
		case err != nil:
			return nil, err
		case answer.Action != mcp.ElicitationResponseActionAccept:
			return mcp.NewToolResultErrorf("the user does not want %s", day), nil
		}
		return mcp.NewToolResultText(day + " is booked"), nil
	})
	return srv
}
