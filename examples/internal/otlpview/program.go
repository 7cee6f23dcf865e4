// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otlpview

// What the examples are alike in: their command line, and where their telemetry
// goes.

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Program is the command line of an example.
type Program struct {
	Name  string // in front of an error
	Usage string
	// Serves says that there is a flag --serve.
	Serves bool
	// Run is the demo, with the result drawn by r. serve says that it is to stay up
	// afterwards.
	Run func(ctx context.Context, r Renderer, stderr io.Writer, serve bool) error
	// Parts are what the demo starts this program as, by its only argument.
	Parts map[string]Part
}

// Part is what a demo starts its own program as, such as a server.
type Part func(context.Context, Streams) error

// Streams are those of the process.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Main runs the program until it is over or interrupted, and returns its exit code.
func (p Program) Main() int {
	slog.SetLogLoggerLevel(slog.LevelWarn) // mcp-go is talkative
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return p.Command(ctx, os.Args[1:], os.Stdout, os.Stderr)
}

// Command is Main with everything passed in that tests want to see. It returns the
// exit code.
func (p Program) Command(ctx context.Context, args []string, stdout *os.File, stderr io.Writer) int {
	if len(args) == 1 && p.Parts[args[0]] != nil {
		return p.report(stderr, p.Parts[args[0]](ctx, Streams{os.Stdin, stdout, stderr}))
	}
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // said below, each on its proper stream
	serve := new(bool)
	if p.Serves {
		serve = flags.Bool("serve", false, "")
	}
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, p.Usage)
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "%v\n\n%s", err, p.Usage)
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "unknown argument %q\n\n%s", flags.Arg(0), p.Usage)
		return 2
	}
	err = p.Run(ctx, NewRenderer(stdout), stderr, *serve)
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted") // which is all that the errors are about
	}
	return p.report(stderr, err)
}

func (p Program) report(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, p.Name+":", err)
	return 1
}

// Receive starts a receiver and points the environment to it, unless the user has
// the telemetry sent elsewhere: then rec is nil. It draws which of both it is. quick
// is that of [ReceiverEnv]. stop ends it, and puts the environment back.
func (r Renderer) Receive(ctx context.Context, quick bool) (rec *Receiver, stop func() error, err error) {
	if variables := Destination(); len(variables) > 0 {
		r.Line("Telemetry goes where your environment says: ", strings.Join(variables, ", "))
		return nil, func() error { return nil }, nil
	}
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return nil, nil, errors.New("OTEL_SDK_DISABLED is set: there would be nothing to show")
	}
	if rec, err = StartReceiver(); err != nil {
		return nil, nil, err
	}
	restore := SetEnv(ReceiverEnv(rec.URL, quick))
	r.Line("Telemetry goes to the OTLP receiver of this program, ", rec.URL)
	return rec, func() error {
		restore()
		return rec.Stop(ctx)
	}, nil
}
