// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Command oauth shows the decision log of an MCP server that is protected with
// OAuth: an authorization server, an instrumented MCP server, and a client that
// does what it should, and ten things that it should not. Each decision is
// received over OTLP, and drawn in the terminal.
//
// Copy server.go; the rest makes the demo.
package main

import (
	"context"
	"io"
	"os"

	"github.com/otelmcp/otelmcp-go/examples/internal/otlpview"
)

const usage = `oauth shows the decision log of an MCP server that is protected with OAuth.

It starts an authorization server and an instrumented MCP server, both on
loopback, and uses them as a client would: it signs in and calls a tool, and then
comes without a token, with tokens that are expired, revoked, forged, meant for
another server or for too little, calls a tool that is hidden from it, and takes
over the session of somebody else. It receives the telemetry over OTLP in this
same process, and draws what was decided about each request.

Usage:

  go run . [--serve]

Flags:

  --serve   keep both servers up until Ctrl-C, for clients of yours
  --help    show this text

Environment:

  OTEL_EXPORTER_OTLP_ENDPOINT   send the telemetry there, and draw nothing here;
                                all other OTEL_* variables work, too
  COLUMNS                       width of the output; the terminal's if not set
  NO_COLOR                      if set, no colors

It exits with 1 if an answer was not the one that it should have been, or if a
decision was not recorded, or not exactly once.
`

func main() { os.Exit(program.Main()) }

var program = otlpview.Program{
	Name:   "oauth",
	Usage:  usage,
	Serves: true,
	Run: func(ctx context.Context, r otlpview.Renderer, _ io.Writer, serve bool) error {
		return demo{Renderer: r, serve: serve}.run(ctx)
	},
}
