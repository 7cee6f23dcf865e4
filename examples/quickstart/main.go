// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Command quickstart shows what otelmcp makes visible: an MCP server that is
// instrumented with one call, an agent that uses it, and the traces, metrics
// and events that come out of it, received over OTLP and drawn in the terminal.
//
// Copy server.go; the rest makes the demo.
package main

import (
	"context"
	"io"
	"os"

	"github.com/otelmcp/otelmcp-go/examples/internal/otlpview"
)

const usage = `quickstart shows what otelmcp makes visible.

It starts an instrumented MCP server, uses it as an agent would (over streamable
HTTP and over stdio, in both eras of the protocol), receives the telemetry over
OTLP in this same process, and draws the traces, metrics and events.

Usage:

  go run . [--serve]

Flags:

  --serve   keep the server and the receiver up until Ctrl-C
  --help    show this text

Environment:

  OTEL_EXPORTER_OTLP_ENDPOINT   send the telemetry there, and draw nothing here;
                                all other OTEL_* variables work, too
  COLUMNS                       width of the output; the terminal's if not set
  NO_COLOR                      if set, no colors

It exits with 1 if a tool call went wrong that should not, or if telemetry that
should have arrived did not.
`

func main() { os.Exit(program.Main()) }

var program = otlpview.Program{
	Name:   "quickstart",
	Usage:  usage,
	Serves: true,
	Run: func(ctx context.Context, r otlpview.Renderer, stderr io.Writer, serve bool) error {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		return demo{Renderer: r, stderr: stderr, self: self, serve: serve}.run(ctx)
	},
	Parts: map[string]otlpview.Part{
		"stdio-server": func(ctx context.Context, _ otlpview.Streams) error { return serveStdio(ctx) },
	},
}
