// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Command agent shows one trace through four processes: an agent that uses two
// MCP servers, one of which uses a third. All are instrumented with otelmcp;
// what they emit is received over OTLP and drawn in the terminal.
//
// Copy client.go; the rest makes the demo.
package main

import (
	"context"
	"io"
	"os"

	"github.com/otelmcp/otelmcp-go/examples/internal/otlpview"
)

const usage = `agent shows one trace through four processes.

It plans a trip with two instrumented MCP servers, each a process of its own: a
calendar over stdio, in the older era of the protocol, and a travel agency over
streamable HTTP, in the newest, whose tool asks a third server about the weather.
It receives the telemetry of all over OTLP in this same process, and draws it.

Usage:

  go run .

Flags:

  --help    show this text

Environment:

  OTEL_EXPORTER_OTLP_ENDPOINT   send the telemetry there, and draw nothing here;
                                all other OTEL_* variables work, too
  COLUMNS                       width of the output; the terminal's if not set
  NO_COLOR                      if set, no colors

It exits with 1 if a call went wrong that should not, or if the trace is not
whole: one root, and under each client span the span of the server.
`

func main() { os.Exit(program.Main()) }

var program = otlpview.Program{
	Name:  "agent",
	Usage: usage,
	Run: func(ctx context.Context, r otlpview.Renderer, stderr io.Writer, _ bool) error {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		return demo{Renderer: r, stderr: stderr, self: self}.run(ctx)
	},
	Parts: servers,
}
