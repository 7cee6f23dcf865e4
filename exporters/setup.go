// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file holds the public API: a pipeline's beginning and its end.

package exporters

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/host"
	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const (
	// defaultShutdown bounds a Shutdown whose context has no deadline.
	defaultShutdown = 5 * time.Second

	// grace is how long Shutdown waits, after its context ended, for exports
	// that were cut off to come back: twice at most, once for those of spans and
	// log records and once for those of metrics.
	grace = 200 * time.Millisecond
)

// errActive is returned by Setup while another pipeline is up: both would
// claim the global providers, and the program would use one of them only.
var errActive = errors.New("exporters: Setup was called before, and its pipeline is not shut down")

// active is the one pipeline of the process, and serializes Setup.
var (
	activeMu sync.Mutex
	active   *Pipeline
)

// Option changes what Setup does.
type Option func(*config)

type config struct {
	attributes []attribute.KeyValue
	stderr     io.Writer
}

// WithResource adds attributes to the resource. They override what is detected,
// and are overridden by OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES or the
// configuration file: the operator has the last word.
func WithResource(attributes ...attribute.KeyValue) Option {
	return func(c *config) { c.attributes = append(c.attributes, attributes...) }
}

// WithStderr sends diagnostics and console exporters to w instead of os.Stderr.
// Writes to w are serialized. A nil w changes nothing.
func WithStderr(w io.Writer) Option {
	return func(c *config) {
		if w != nil {
			c.stderr = w
		}
	}
}

// Pipeline is what Setup built. Its methods are safe for concurrent use, and those of
// a nil Pipeline do nothing. The providers drop what is recorded after Shutdown.
type Pipeline struct {
	tracers    trace.TracerProvider
	meters     metric.MeterProvider
	loggers    log.LoggerProvider
	propagator propagation.TextMapPropagator

	out        *diagnostics
	deliveries *deliveries
	queues     *queues

	stop    sync.Once
	stopErr error
}

// provider is what the SDK's providers have beyond the API; the no-op ones of
// signals that are off do not have it.
type provider interface {
	ForceFlush(context.Context) error
	Shutdown(context.Context) error
}

// Setup builds tracer, meter and logger providers and propagators from OTEL_*
// variables (or OTEL_CONFIG_FILE), registers them as the global ones, and returns
// the pipeline to shut down. The package documentation lists the variables.
//
// Setup connects to nothing. It listens only if OTEL_METRICS_EXPORTER=prometheus
// asks for that, and does so before it returns. With OTEL_SDK_DISABLED=true it
// registers the propagators only.
//
// If Setup returns an error, the pipeline is nil, nothing was registered and the
// environment is as it was. The error names each setting that is wrong and what it
// accepts. A program that is to start whatever becomes of its telemetry logs the
// error and goes on: the methods of a nil pipeline do nothing.
func Setup(ctx context.Context, opts ...Option) (*Pipeline, error) {
	activeMu.Lock()
	defer activeMu.Unlock()
	if active != nil {
		return nil, errActive
	}
	cfg := config{stderr: os.Stderr}
	for _, o := range opts {
		if o != nil {
			o(&cfg)
		}
	}
	cfg.stderr = &lockedWriter{w: cfg.stderr}

	propagator, err := propagators()
	if disabled() {
		if err != nil {
			return nil, err
		}
		otel.SetTextMapPropagator(propagator)
		return &Pipeline{}, nil
	}
	if err := errors.Join(err, checkSettings()); err != nil {
		return nil, err
	}

	// The SDK reads this variable, and nothing else turns its own metrics on.
	ungate := func() {}
	if os.Getenv(envObservability) == "" {
		ungate = setenv(envObservability, "true")
	}

	out := newDiagnostics(cfg.stderr)
	p := &Pipeline{out: out, deliveries: newDeliveries(out), queues: newQueues(out), propagator: propagator}
	err = p.build(ctx, cfg)
	if err == nil {
		err = errors.Join(
			runtime.Start(runtime.WithMeterProvider(p.meters)),
			host.Start(host.WithMeterProvider(p.meters)),
		)
	}
	if err != nil {
		// What was built before the error is stopped, without a last export and
		// without a word: the error says it all.
		p.deliveries.abandon(err)
		defer ungate()
		brief, end := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer end()
		_ = p.each(func(x provider) error { return x.Shutdown(brief) })
		return nil, err
	}

	otel.SetErrorHandler(out)
	otel.SetLogger(out.logger(p.queues))
	otel.SetTextMapPropagator(p.propagator)
	otel.SetTracerProvider(p.tracers)
	otel.SetMeterProvider(p.meters)
	otel.SetLoggerProvider(p.loggers)
	active = p
	return p, nil
}

// ForceFlush exports what has been recorded so far, and returns when that is done
// or ctx ends.
func (p *Pipeline) ForceFlush(ctx context.Context) error {
	if p == nil {
		return nil
	}
	return p.each(func(x provider) error { return x.ForceFlush(ctx) })
}

// Shutdown exports what is left and stops the pipeline, within ctx, or within
// 5 seconds if ctx has no deadline. What could not be delivered by then is lost:
// that is said on standard error and returned. Further calls wait for the first one,
// whatever their context, and return the same.
func (p *Pipeline) Shutdown(ctx context.Context) error {
	if p == nil {
		return nil
	}
	p.stop.Do(func() { p.stopErr = p.shutdown(ctx) })
	return p.stopErr
}

func (p *Pipeline) shutdown(ctx context.Context) error {
	if p.out == nil {
		return nil // disabled
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultShutdown)
		defer cancel()
	}

	// The providers would return at the end of ctx and leave their goroutines to
	// exports that hang. They get a context that outlives it, so that the
	// exports can be cut off first and the providers come to a proper end.
	longer, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	p.deliveries.close(ctx)
	done := make(chan error, 1)
	go func() { done <- p.each(func(x provider) error { return x.Shutdown(longer) }) }()

	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		p.deliveries.cutRecords(errDeadline)
		select {
		case err = <-done:
		case <-time.After(grace):
			p.deliveries.cut(errDeadline)
			select {
			case err = <-done:
			case <-time.After(grace):
				// An exporter that is not ours to cut. It may stay behind, until its
				// own timeout; Shutdown may not.
				end()
				err = errDeadline
			}
		}
	}
	p.deliveries.cut(errDeadline)
	p.deliveries.probes.Wait()
	p.queues.close()

	var delivery *deliveryError
	if loss := p.deliveries.loss(); loss != nil {
		if err == nil || errors.As(err, &delivery) {
			err = loss
		} else {
			err = errors.Join(loss, err)
		}
	}
	if err != nil {
		p.out.say("%v", err)
	}

	activeMu.Lock()
	defer activeMu.Unlock()
	active = nil
	return err
}

// each applies f to the providers: traces and logs at the same time, then
// metrics, which count what became of the others.
func (p *Pipeline) each(f func(provider) error) error {
	var wg sync.WaitGroup
	var errs [3]error
	apply := func(i int, x any) {
		if x, ok := x.(provider); ok {
			errs[i] = f(x)
		}
	}
	wg.Go(func() { apply(0, p.tracers) })
	wg.Go(func() { apply(1, p.loggers) })
	wg.Wait()
	apply(2, p.meters)
	return errors.Join(errs[:]...)
}
