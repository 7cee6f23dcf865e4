// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The course of the demo: receiver, servers, one turn of the agent; then all
// is shut down in the order in which telemetry flows, checked and drawn.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/mark3labs/mcp-go/client"

	"github.com/otelmcp/otelmcp-go/examples/internal/otlpview"
)

const (
	turnTime  = 30 * time.Second // for the agent's turn
	flushTime = 5 * time.Second  // for one process to send off what is left
	stopTime  = 15 * time.Second // for a child to end by itself; longer than it waits for anything
)

// demo is one run of the program.
type demo struct {
	otlpview.Renderer           // where the result is drawn
	stderr            io.Writer // for the diagnostics of the children
	self              string    // this program, to be started again as the servers
}

func (d demo) run(ctx context.Context) (err error) {
	rec, stopReceiver, err := d.Receive(ctx, false) // no receiver when telemetry goes elsewhere
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopReceiver()) }()
	d.Line()

	traceID, err := d.plan(ctx)
	if err != nil {
		return err
	}
	d.Line()
	if rec == nil {
		d.Line("Look the trace up: ", traceID)
		return nil
	}
	return d.result(rec.Snapshot())
}

// plan lets the agent take its turn. All processes but this one have ended when
// it returns, and all telemetry is on its way or lost, which is an error.
func (d demo) plan(ctx context.Context) (traceID string, err error) {
	telemetry, err := setUp(ctx, "agent")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, shutdown(ctx, telemetry)) }()
	ctx, cancel := context.WithTimeout(ctx, turnTime)
	defer cancel()

	travel, err := startChild(ctx, serverCommand(d.self, travelServer, d.stderr))
	if err != nil {
		return "", fmt.Errorf("starting the travel agency: %w", err)
	}
	defer func() {
		if stopped := travel.stop(); stopped != nil {
			err = errors.Join(err, fmt.Errorf("the travel agency: %w", stopped))
		}
	}()

	return agent{
		travelURL: travel.url,
		calendar: func(ctx context.Context, opts ...client.ClientOption) (*client.Client, error) {
			return connectStdio(ctx, serverCommand(d.self, calendarServer, d.stderr), opts...)
		},
		say: func(format string, args ...any) { d.Line("  ", fmt.Sprintf(format, args...)) },
	}.turn(ctx)
}

// result draws the trace, and says whether it is whole.
func (d demo) result(t otlpview.Telemetry) error {
	for _, spans := range otlpview.Traces(t.Spans) {
		d.Waterfall(spans)
		d.Line()
	}
	if problems := incomplete(t.Spans); len(problems) > 0 {
		hint := ""
		if variables := otlpview.OTelVariables(); len(variables) > 0 {
			hint = "\n(set in the environment: " + strings.Join(variables, ", ") + ")"
		}
		return fmt.Errorf("the trace is not whole:\n  %s%s", strings.Join(problems, "\n  "), hint)
	}
	d.Line(d.Paint(otlpview.Green, "✓ whole"), fmt.Sprintf(
		": %d spans of 4 processes in one trace, and under each client span the server's.", len(t.Spans)))
	return nil
}

// child is a server over HTTP, in a process of its own. Its standard input is a
// pipe that nobody writes to: when it closes, the child ends.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
	url   string
}

// startChild starts cmd and waits until it says where it listens.
func startChild(ctx context.Context, cmd *exec.Cmd) (*child, error) {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, stdin: stdin}
	type line struct {
		text string
		err  error
	}
	first := make(chan line, 1)
	go func() {
		text, err := bufio.NewReader(stdout).ReadString('\n')
		first <- line{text, err}
	}()
	select {
	case got := <-first:
		if got.err != nil {
			return nil, errors.Join(fmt.Errorf("it did not say where it listens: %w", got.err), c.stop())
		}
		c.url = strings.TrimSpace(got.text)
		return c, nil
	case <-ctx.Done():
		err := errors.Join(ctx.Err(), c.stop()) // which ends the reader
		<-first
		return nil, err
	}
}

// stop ends the child, and waits until it has.
func (c *child) stop() error {
	err := c.stdin.Close()
	killed := time.AfterFunc(stopTime, func() { _ = c.cmd.Process.Kill() })
	defer killed.Stop()
	return errors.Join(err, c.cmd.Wait())
}
