// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Command stack runs the Collector, Jaeger, Prometheus and Loki on loopback, until
// Ctrl-C: `make stack`, for a machine without a container engine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/otelmcp/otelmcp-go/e2e/stack"
)

const usage = `stack runs the backends of examples/stack on loopback, until Ctrl-C.

Usage:

  make stack [ARGS="--free-ports"]

Flags:

  --free-ports   listen on ports that are free, instead of the usual ones
  --dir DIR      keep the data in DIR, instead of a folder that is removed at the end
  --help         show this text
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "stack: %v\n\n%s", err, usage)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "stack:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("wrong arguments")

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("stack", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	freePorts := flags.Bool("free-ports", false, "")
	dir := flags.String("dir", "", "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(out, usage)
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", errUsage, err)
	case flags.NArg() > 0:
		return fmt.Errorf("%w: %q", errUsage, flags.Arg(0))
	}
	if *dir == "" {
		if *dir, err = os.MkdirTemp("", "otelmcp-stack-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(*dir)) }()
	}
	fmt.Fprintln(out, "starting; Loki takes about 20 seconds")
	s, err := stack.Start(ctx, stack.Config{Dir: *dir, Usual: !*freePorts, Progress: func(name string) {
		fmt.Fprintln(out, "  ready:", name)
	}})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, `
OTLP        %s (http/protobuf), %s (grpc)
Jaeger      %s/api/services (its API; this build has no pages)
Prometheus  %s/api/v1/query?query=otelmcp_server_messages_total
Loki        %s/loki/api/v1/query_range?query={service_name=~".%%2B"}
Events      %s

Send something from another terminal:

  OTEL_EXPORTER_OTLP_ENDPOINT=%s make demo

Ctrl-C ends the stack.
`, s.OTLPHTTP, s.OTLPGRPC, s.JaegerURL, s.PrometheusURL, s.LokiURL, s.EventsFile, s.OTLPHTTP)
	select {
	case <-ctx.Done():
	case err = <-s.Ended():
	}
	fmt.Fprintln(out, "stopping")
	return errors.Join(err, s.Stop())
}
