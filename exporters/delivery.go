// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file watches exports: it says when telemetry stops and resumes being
// delivered, and lets Shutdown cut off an export that hangs.

package exporters

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"syscall"
	"time"

	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// last is what an export has after its destination was given up: for the exporter
// to count what it does not deliver. It cannot be nothing, because the one for logs
// over gRPC counts only after it has looked whether its context has ended.
const last = 20 * time.Millisecond

var (
	errDeadline = errors.New("no answer before the end of Shutdown")
	errRefused  = errors.New("nothing listens there")
)

// deliveryError marks an export error that deliveries has already dealt with.
type deliveryError struct{ err error }

func (e *deliveryError) Error() string { return e.err.Error() }
func (e *deliveryError) Unwrap() error { return e.err }

// deliveries follows all exporters of a pipeline.
type deliveries struct {
	out *diagnostics

	mu      sync.Mutex
	dests   map[string]*destination
	closing bool
	lost    error // the first loss since close
	silent  bool  // the pipeline never came up

	probes sync.WaitGroup
}

// destination is where one or more signals go.
type destination struct {
	name    string
	url     *url.URL // nil unless it names a host and a port
	records bool     // spans or log records go there, not metrics alone
	failing map[string]bool
	alive   bool // a signal was delivered since the first began to fail

	ctx context.Context // ends when its exports are to be given up
	cut context.CancelCauseFunc
}

func newDeliveries(out *diagnostics) *deliveries {
	return &deliveries{out: out, dests: map[string]*destination{}}
}

// to returns the destination of a signal, which signals share if the name is the same.
func (d *deliveries) to(signal, name string, u *url.URL) *destination {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dests[name] == nil {
		ctx, cut := context.WithCancelCause(context.Background())
		d.dests[name] = &destination{name: name, url: u, failing: map[string]bool{}, ctx: ctx, cut: cut}
	}
	d.dests[name].records = d.dests[name].records || signal != metrics
	return d.dests[name]
}

// metrics is the signal whose exports say all that there is to say: what one of
// them did not deliver, the next does.
const metrics = "metrics"

// watch runs one export of signal to dest.
func (d *deliveries) watch(reader context.Context, signal string, dest *destination, export func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(reader)
	defer cancel(nil)
	err := dest.ctx.Err()
	if err != nil {
		if d.mute() || signal == metrics {
			return d.failed(signal, dest, err)
		}
		// Exporters count what they do not deliver, and so are asked all the same.
		timer := time.AfterFunc(last, func() { cancel(context.Cause(dest.ctx)) })
		defer timer.Stop()
	} else {
		stop := context.AfterFunc(dest.ctx, func() { cancel(context.Cause(dest.ctx)) })
		defer stop()
	}
	err = export(ctx)
	// A reader breaks off an export when it shuts down, and then collects once more.
	if err != nil && signal == metrics && errors.Is(reader.Err(), context.Canceled) && dest.ctx.Err() == nil {
		return &deliveryError{err}
	}
	if err == nil {
		d.report(signal, dest, nil)
		return nil
	}
	answer := partialSuccess.FindStringSubmatch(err.Error())
	if answer == nil {
		return d.failed(signal, dest, err)
	}
	d.report(signal, dest, nil) // the destination is there
	if answer[1] == "0" {
		d.out.once(fmt.Sprintf("%s warns: %s: %v", dest.name, signal, err))
		return nil
	}
	d.lose(signal, dest, err)
	d.out.once(fmt.Sprintf("telemetry is being rejected by %s: %s: %v", dest.name, signal, err))
	return &deliveryError{err}
}

// partialSuccess is what the exporters' errors say when a destination took what it
// got but for a number of records, which may be none. Their types are internal. It
// is all that they say: a refusal's text is the destination's, and may be anything.
var partialSuccess = regexp.MustCompile(`(?s)^(?:traces export: |failed to upload metrics: )?OTLP partial success: .*\((-?\d+) [a-z ]+ rejected\)$`)

// failed reports an export that failed, and returns its error.
func (d *deliveries) failed(signal string, dest *destination, err error) error {
	if cause := context.Cause(dest.ctx); cause != nil {
		err = cause
	}
	err = &deliveryError{err}
	d.report(signal, dest, err)
	return err
}

// mute reports whether the pipeline never came up.
func (d *deliveries) mute() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.silent
}

// lose notes what is lost once the shutdown has begun.
func (d *deliveries) lose(signal string, dest *destination, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lostAtEnd(signal, dest, err)
}

// lostAtEnd is lose while d.mu is held.
func (d *deliveries) lostAtEnd(signal string, dest *destination, err error) {
	if d.closing && d.lost == nil {
		d.lost = fmt.Errorf("telemetry was lost at shutdown: %s to %s: %w", signal, dest.name, err)
	}
}

// report says what changed. Signals that fail like the rest of a dead
// destination are not worth a line each; one that fails where another gets
// through is.
func (d *deliveries) report(signal string, dest *destination, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.silent {
		return
	}
	if err == nil {
		dest.alive = true
		if dest.failing[signal] {
			delete(dest.failing, signal)
			if len(dest.failing) == 0 {
				d.out.say("telemetry is being delivered to %s again", dest.name)
			}
		}
		return
	}
	d.lostAtEnd(signal, dest, err)
	if dest.failing[signal] {
		return
	}
	if len(dest.failing) == 0 {
		dest.alive = false
	}
	if len(dest.failing) == 0 || dest.alive {
		d.out.say("telemetry is not being delivered to %s: %s: %v", dest.name, signal, err)
	}
	dest.failing[signal] = true
}

// close begins the shutdown: what fails from now on is lost. A destination
// where nothing listens is given up at once; an exporter would go on trying.
func (d *deliveries) close(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closing = true
	for _, dest := range d.dests {
		if dest.url != nil {
			d.probes.Go(func() {
				if refused(ctx, dest.url) {
					dest.cut(errRefused)
				}
			})
		}
	}
}

// cut gives up every export, running or to come.
func (d *deliveries) cut(cause error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, dest := range d.dests {
		dest.cut(cause)
	}
}

// cutRecords gives up those to where spans and log records go. Metrics that go
// elsewhere are left to say how many were lost by that.
func (d *deliveries) cutRecords(cause error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, dest := range d.dests {
		if dest.records {
			dest.cut(cause)
		}
	}
}

// abandon gives up every export of a pipeline that never came up, and says
// nothing of it.
func (d *deliveries) abandon(cause error) {
	d.mu.Lock()
	d.silent = true
	d.mu.Unlock()
	d.cut(cause)
}

// loss returns what was lost first since close.
func (d *deliveries) loss() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lost
}

// refused reports whether connections to u are turned away. Only a certain no
// counts: behind a proxy, or if dialing takes long, the answer is false.
func refused(ctx context.Context, u *url.URL) bool {
	if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: u}); proxy != nil || err != nil {
		return false
	}
	dialer := net.Dialer{Timeout: 250 * time.Millisecond}
	conn, err := dialer.DialContext(ctx, "tcp", u.Host)
	if err == nil {
		_ = conn.Close() // the answer was that there is one
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

type watchedSpans struct {
	sdktrace.SpanExporter
	d    *deliveries
	dest *destination
}

func (w *watchedSpans) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	return w.d.watch(ctx, "traces", w.dest, func(ctx context.Context) error { return w.SpanExporter.ExportSpans(ctx, spans) })
}

type watchedMetrics struct {
	sdkmetric.Exporter
	d    *deliveries
	dest *destination
}

func (w *watchedMetrics) Export(ctx context.Context, rm *metricdata.ResourceMetrics) error {
	return w.d.watch(ctx, metrics, w.dest, func(ctx context.Context) error { return w.Exporter.Export(ctx, rm) })
}

type watchedLogs struct {
	sdklog.Exporter
	d      *deliveries
	dest   *destination
	queues *queues
}

func (w *watchedLogs) Export(ctx context.Context, records []sdklog.Record) error {
	w.queues.recordsExported()
	return w.d.watch(ctx, "logs", w.dest, func(ctx context.Context) error { return w.Exporter.Export(ctx, records) })
}
