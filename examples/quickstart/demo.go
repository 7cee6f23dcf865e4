// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The course of the demo: receiver, server, agent; then everything is shut
// down in the order in which telemetry flows, checked and drawn.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/otelmcp/otelmcp-go/examples/internal/otlpview"
)

const (
	limit       = time.Minute      // for the agent's turns
	flushTime   = 5 * time.Second  // for the agent to send off what is left
	arrivalTime = 10 * time.Second // for telemetry to arrive while the server goes on
)

// demo is one run of the program.
type demo struct {
	otlpview.Renderer           // where the result is drawn
	stderr            io.Writer // for the diagnostics of the child process
	self              string    // this program, to be started again as the stdio server
	serve             bool      // stay up after the turns
}

func (d demo) run(ctx context.Context) (err error) {
	rec, stopReceiver, err := d.Receive(ctx, d.serve) // no receiver when telemetry goes elsewhere
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopReceiver()) }()

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	base := "http://" + ln.Addr().String()
	serverCtx, stopServer := context.WithCancel(ctx)
	defer stopServer()
	served := make(chan error, 1)
	go func() { served <- serveHTTP(serverCtx, ln) }()
	// Whatever happens below, the server has stopped when run returns.
	stop := func() error { stopServer(); return <-served }

	a, err := newAgent(ctx)
	if err != nil {
		return errors.Join(err, stop())
	}
	turns, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = awaitServer(turns, base+healthPath)
	if err == nil {
		err = a.run(turns, base+endpointPath, childCommand(d.self, d.stderr))
	}
	flush, cancelFlush := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancelFlush()
	err = errors.Join(err, a.shutdown(flush))
	if err != nil {
		return errors.Join(err, stop())
	}

	if !d.serve {
		if err := stop(); err != nil {
			return err
		}
		return d.result(a, rec)
	}
	if rec != nil {
		awaitArrival(ctx, a, rec)
	}
	if err := d.result(a, rec); err != nil {
		return errors.Join(err, stop())
	}
	d.invite(base + endpointPath)
	d.watch(ctx, rec)
	d.Line()
	d.Line("stopping")
	return stop()
}

// awaitServer waits until the server answers, so that the first request does
// not seem slow because the server was still starting.
func awaitServer(ctx context.Context, health string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, health, http.NoBody)
	if err != nil {
		return err
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// result draws what arrived, or says where to look for it.
func (d demo) result(a *agent, rec *otlpview.Receiver) error {
	if rec == nil {
		d.Line()
		d.Line("Look these traces up:")
		for _, turn := range a.turns {
			d.Line("  ", turn.traceID, "  agent turn: ", turn.name)
		}
		return nil
	}
	t := rec.Snapshot()
	d.Report(t)
	d.Line()
	if problems := missing(a.ledger, t); len(problems) > 0 {
		hint := ""
		if variables := otlpview.OTelVariables(); len(variables) > 0 {
			hint = "\n(set in the environment: " + strings.Join(variables, ", ") + ")"
		}
		return fmt.Errorf("telemetry is missing:\n  %s%s", strings.Join(problems, "\n  "), hint)
	}
	d.Line(d.Paint(otlpview.Green, "✓ complete"), fmt.Sprintf(
		": %d requests were sent to the servers and %d by them; each has its span, its event and its count.",
		len(a.ledger.sent), a.ledger.received))
	return nil
}

// invite says how to use the server that stays up.
func (d demo) invite(endpoint string) {
	d.Line()
	d.Line(d.Paint(otlpview.Bold, "The weather server stays up until Ctrl-C: "), d.Paint(otlpview.Cyan, endpoint))
	d.Line(`Add it to an MCP client as a streamable HTTP server ({"mcpServers": {"weather": {"url": "…"}}}), or try:`)
	d.Line()
	d.Line("  curl ", endpoint, ` -H 'Content-Type: application/json' \`)
	d.Line(`    -d '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",` +
		`"capabilities":{},"clientInfo":{"name":"curl","version":"1"}}}'`)
}

// watch draws each new trace, once nothing more of it has come for a while,
// until ctx ends.
func (d demo) watch(ctx context.Context, rec *otlpview.Receiver) {
	if rec == nil {
		<-ctx.Done()
		return
	}
	drawn := map[string]bool{}
	for _, s := range rec.Snapshot().Spans {
		drawn[s.TraceID] = true
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		t := rec.Snapshot()
		present := map[string]bool{}
		for _, trace := range otlpview.Traces(t.Spans) {
			id := trace[0].TraceID
			newest := slices.MaxFunc(trace, func(a, b *otlpview.Span) int { return a.End.Compare(b.End) })
			if drawn[id] {
				present[id] = true
				continue
			}
			if time.Since(newest.End) < 2*time.Second {
				continue
			}
			present[id] = true
			d.Line()
			d.Waterfall(trace)
			for _, e := range t.Events {
				if e.TraceID == id {
					d.Event(e)
				}
			}
		}
		drawn = present
	}
}

// awaitArrival waits until everything has arrived from a server that goes on,
// and so keeps to the intervals of its exporters.
func awaitArrival(ctx context.Context, a *agent, rec *otlpview.Receiver) {
	deadline := time.Now().Add(arrivalTime)
	for time.Now().Before(deadline) && ctx.Err() == nil {
		if len(missing(a.ledger, rec.Snapshot())) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}
