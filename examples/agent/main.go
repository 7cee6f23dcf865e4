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
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

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
  COLUMNS                       width of the output, 100 if not set
  NO_COLOR                      if set, no colors

It exits with 1 if a call went wrong that should not, or if the trace is not
whole: one root, and under each client span the span of the server.
`

func main() {
	slog.SetLogLoggerLevel(slog.LevelWarn) // mcp-go is talkative
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// command is main with everything passed in that tests want to see. It returns
// the exit code.
func command(ctx context.Context, args []string, stdout *os.File, stderr io.Writer) int {
	if len(args) == 1 {
		if serve, ok := servers[args[0]]; ok { // how the demo starts its children
			return report(stderr, serve(ctx, streams{os.Stdin, stdout, stderr}))
		}
	}

	flags := flag.NewFlagSet("agent", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // said below, each on its proper stream
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "%v\n\n%s", err, usage)
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "unknown argument %q\n\n%s", flags.Arg(0), usage)
		return 2
	}

	self, err := os.Executable()
	if err != nil {
		return report(stderr, err)
	}
	err = demo{Renderer: otlpview.NewRenderer(stdout), stderr: stderr, self: self}.run(ctx)
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted") // which is all that the errors are about
	}
	return report(stderr, err)
}

func report(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "agent:", err)
	return 1
}
