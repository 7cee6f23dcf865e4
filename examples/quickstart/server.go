// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The part to copy: an ordinary mcp-go server, and the two calls that make it
// observable. exporters.Setup builds the telemetry pipeline from the OTEL_*
// variables, otelmcp.Instrument installs the instrumentation, whose ServeStdio
// and Handler see what mcp-go turns away too. The tools are in tools.go, and know
// nothing of telemetry.

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/exporters"
	"github.com/otelmcp/otelmcp-go/otelmcp"
)

const (
	endpointPath = "/mcp"
	healthPath   = "/healthz"
)

// newServer builds the MCP server. It is the same for every transport.
func newServer() *server.MCPServer {
	srv := server.NewMCPServer("weather", "1.0.0",
		server.WithRecovery(),
		server.WithToolCapabilities(false),
		server.WithPromptCapabilities(false),
		server.WithResourceCapabilities(false, false),
	)
	srv.EnableSampling()
	addTools(srv)
	return srv
}

// serveStdio serves one client on standard input and output, until it leaves.
func serveStdio(ctx context.Context) (err error) {
	telemetry, err := exporters.Setup(ctx, serviceName("weather-stdio"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shutdown(ctx, telemetry)) }()

	return otelmcp.Instrument(newServer()).ServeStdio(ctx) // the one call
}

// serveHTTP serves streamable HTTP on ln until ctx ends. Then it lets the
// requests in flight finish, and sends off the telemetry that is left.
func serveHTTP(ctx context.Context, ln net.Listener) (err error) {
	telemetry, err := exporters.Setup(ctx, serviceName("weather-http"))
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	defer func() { err = errors.Join(err, shutdown(ctx, telemetry)) }()

	srv := newServer()
	handler := server.NewStreamableHTTPServer(srv)
	mux := http.NewServeMux()
	mux.Handle(endpointPath, otelmcp.Instrument(srv).Handler(handler)) // the one call
	mux.HandleFunc("GET "+healthPath, func(http.ResponseWriter, *http.Request) {})
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}

	stopped := make(chan error, 1)
	go func() { stopped <- web.Serve(ln) }()

	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	// The MCP server first: it ends the open event streams, which an HTTP
	// server would wait for.
	err = errors.Join(handler.Shutdown(grace), web.Shutdown(grace))
	if served := <-stopped; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// serviceName names the service, unless OTEL_SERVICE_NAME does.
func serviceName(name string) exporters.Option {
	return exporters.WithResource(attribute.String("service.name", name))
}

// shutdown flushes the telemetry. It has a deadline of its own, because ctx
// has usually ended by then.
func shutdown(ctx context.Context, telemetry *exporters.Pipeline) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return telemetry.Shutdown(ctx)
}
