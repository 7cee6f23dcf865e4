// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The part to copy: ordinary mcp-go clients, and the one call that makes each
// observable. otelmcp.WrapTransport records what a client sends and receives,
// and carries the context of each span to the server, in params._meta. Where
// telemetry goes is up to exporters.Setup, once in each process.

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os/exec"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"

	"github.com/otelmcp/otelmcp-go/otelmcp"
)

// connectHTTP connects to a server by streamable HTTP.
func connectHTTP(ctx context.Context, url string, opts ...client.ClientOption) (*client.Client, error) {
	t, err := transport.NewStreamableHTTP(url,
		// No idle connection outlives its client.
		transport.WithHTTPBasicClient(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}),
		// What fails is an error of the call.
		transport.WithHTTPLogger(slog.New(slog.DiscardHandler)),
	)
	if err != nil {
		return nil, err
	}
	return connect(ctx, client.NewClient(otelmcp.WrapTransport(t), opts...)) // the one call
}

// connectStdio starts a server as a child process and talks to its standard
// input and output. Closing the client ends the child.
func connectStdio(ctx context.Context, cmd *exec.Cmd, opts ...client.ClientOption) (*client.Client, error) {
	t := transport.NewStdioWithOptions(cmd.Path, nil, nil, transport.WithCommandFunc(
		func(context.Context, string, []string, []string) (*exec.Cmd, error) { return cmd, nil },
	))
	return connect(ctx, client.NewClient(otelmcp.WrapTransport(t), opts...)) // the one call
}

// connect starts the client, shakes hands with its server and asks for its tools.
func connect(ctx context.Context, c *client.Client) (*client.Client, error) {
	if err := c.Start(ctx); err != nil {
		return nil, err
	}
	hello := mcp.InitializeRequest{}
	hello.Params.ClientInfo = mcp.Implementation{Name: "agent-example", Version: "1.0.0"}
	if _, err := c.Initialize(ctx, hello); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	// Spans and metrics name the tools that the server has listed: a name that
	// it has not is _OTHER.
	if _, err := c.ListTools(ctx, mcp.ListToolsRequest{}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// serverCommand is this very program as one of its servers, in the same
// environment. It has no context: the server ends when its input does, and has
// then sent off its telemetry.
func serverCommand(self, subcommand string, stderr io.Writer) *exec.Cmd {
	cmd := exec.Command(self, subcommand)
	cmd.Stderr = stderr
	return cmd
}
