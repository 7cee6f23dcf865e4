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
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	limit       = time.Minute      // for the agent's turns
	flushTime   = 5 * time.Second  // for the agent to send off what is left
	arrivalTime = 10 * time.Second // for telemetry to arrive while the server goes on
)

// demo is one run of the program.
type demo struct {
	renderer           // where the result is drawn
	stderr   io.Writer // for the diagnostics of the child process
	self     string    // this program, to be started again as the stdio server
	serve    bool      // stay up after the turns
}

func (d demo) run(ctx context.Context) (err error) {
	var rec *receiver // nil when telemetry goes elsewhere
	if variables := destination(); len(variables) > 0 {
		d.line("Telemetry goes where your environment says: ", strings.Join(variables, ", "))
	} else {
		if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
			return errors.New("OTEL_SDK_DISABLED is set: there would be nothing to show")
		}
		if rec, err = startReceiver(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rec.stop(ctx)) }()
		restore := setEnv(d.receiverEnv(rec.url))
		defer restore()
		d.line("Telemetry goes to the OTLP receiver of this program, ", rec.url)
	}

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
	d.line()
	d.line("stopping")
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
func (d demo) result(a *agent, rec *receiver) error {
	if rec == nil {
		d.line()
		d.line("Look these traces up:")
		for _, turn := range a.turns {
			d.line("  ", turn.traceID, "  agent turn: ", turn.name)
		}
		return nil
	}
	t := rec.snapshot()
	d.report(t)
	d.line()
	if problems := missing(a.ledger, t); len(problems) > 0 {
		hint := ""
		if variables := otelVariables(); len(variables) > 0 {
			hint = "\n(set in the environment: " + strings.Join(variables, ", ") + ")"
		}
		return fmt.Errorf("telemetry is missing:\n  %s%s", strings.Join(problems, "\n  "), hint)
	}
	d.line(d.paint(green, "✓ complete"), fmt.Sprintf(
		": %d requests were sent to the servers and %d by them; each has its span, its event and its count.",
		len(a.ledger.sent), a.ledger.received))
	return nil
}

// invite says how to use the server that stays up.
func (d demo) invite(endpoint string) {
	d.line()
	d.line(d.paint(bold, "The weather server stays up until Ctrl-C: "), d.paint(cyan, endpoint))
	d.line(`Add it to an MCP client as a streamable HTTP server ({"mcpServers": {"weather": {"url": "…"}}}), or try:`)
	d.line()
	d.line("  curl ", endpoint, ` -H 'Content-Type: application/json' \`)
	d.line(`    -d '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",` +
		`"capabilities":{},"clientInfo":{"name":"curl","version":"1"}}}'`)
}

// watch draws each new trace, once nothing more of it has come for a while,
// until ctx ends.
func (d demo) watch(ctx context.Context, rec *receiver) {
	if rec == nil {
		<-ctx.Done()
		return
	}
	drawn := map[string]bool{}
	for _, s := range rec.snapshot().spans {
		drawn[s.traceID] = true
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		t := rec.snapshot()
		present := map[string]bool{}
		for _, trace := range traces(t.spans) {
			id := trace[0].traceID
			newest := slices.MaxFunc(trace, func(a, b *span) int { return a.end.Compare(b.end) })
			if drawn[id] {
				present[id] = true
				continue
			}
			if time.Since(newest.end) < 2*time.Second {
				continue
			}
			present[id] = true
			d.line()
			d.waterfall(trace)
			for _, e := range t.events {
				if e.traceID == id {
					d.event(e)
				}
			}
		}
		drawn = present
	}
}

// awaitArrival waits until everything has arrived from a server that goes on,
// and so keeps to the intervals of its exporters.
func awaitArrival(ctx context.Context, a *agent, rec *receiver) {
	deadline := time.Now().Add(arrivalTime)
	for time.Now().Before(deadline) && ctx.Err() == nil {
		if len(missing(a.ledger, rec.snapshot())) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// receiverEnv points the SDKs of this process and of its child at a receiver.
func (d demo) receiverEnv(endpoint string) map[string]string {
	env := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
	for _, signal := range []string{"", "TRACES_", "METRICS_", "LOGS_"} {
		env["OTEL_EXPORTER_OTLP_"+signal+"PROTOCOL"] = "http/protobuf"
	}
	if d.serve { // milliseconds
		env["OTEL_BSP_SCHEDULE_DELAY"] = "200"
		env["OTEL_BLRP_SCHEDULE_DELAY"] = "200"
		env["OTEL_METRIC_EXPORT_INTERVAL"] = "500"
	}
	return env
}

// setEnv sets variables of this process, and returns what sets them back.
func setEnv(env map[string]string) (restore func()) {
	before := map[string]*string{}
	for key, value := range env {
		if old, ok := os.LookupEnv(key); ok {
			before[key] = &old
		} else {
			before[key] = nil
		}
		_ = os.Setenv(key, value) // fails only for a malformed name
	}
	return func() {
		for key, old := range before {
			if old != nil {
				_ = os.Setenv(key, *old)
			} else {
				_ = os.Unsetenv(key)
			}
		}
	}
}

// destination lists the variables with which the user sends telemetry
// elsewhere. Of an endpoint it shows the host only: URLs can hold secrets.
func destination() (variables []string) {
	for _, key := range []string{
		"OTEL_CONFIG_FILE",
		"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
		"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
		"OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER",
	} {
		value := os.Getenv(key)
		if value == "" {
			continue
		}
		if u, err := url.Parse(value); err == nil && u.Host != "" {
			key += " (" + clean(u.Host) + ")"
		}
		variables = append(variables, key)
	}
	return variables
}

// otelVariables lists the names of all OTEL_* variables of the user.
func otelVariables() []string {
	own := demo{serve: true}.receiverEnv("")
	names := map[string]bool{}
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if _, ours := own[name]; !ours && strings.HasPrefix(name, "OTEL_") {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
