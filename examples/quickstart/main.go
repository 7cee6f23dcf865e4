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
  COLUMNS                       width of the output, 100 if not set
  NO_COLOR                      if set, no colors

It exits with 1 if a tool call went wrong that should not, or if telemetry that
should have arrived did not.
`

func main() {
	slog.SetLogLoggerLevel(slog.LevelWarn) // mcp-go is talkative
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// command is main with everything passed in. It returns the exit code.
func command(ctx context.Context, args []string, stdout *os.File, stderr io.Writer) int {
	if len(args) == 1 && args[0] == "stdio-server" { // how the demo starts its child
		return report(stderr, serveStdio(ctx))
	}

	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // said below, each on its proper stream
	serve := flags.Bool("serve", false, "")
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
	d := demo{
		Renderer: otlpview.NewRenderer(stdout),
		stderr:   stderr,
		self:     self,
		serve:    *serve,
	}
	err = d.run(ctx)
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted") // which is all that the errors are about
	}
	return report(stderr, err)
}

func report(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "quickstart:", err)
	return 1
}
