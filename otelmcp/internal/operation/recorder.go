// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation

// The Recorder: the instruments of one instrumentation and the rules for
// handing values to them. One exists per instrumented server or client, and
// everything that one emits goes through it.

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	lognoop "go.opentelemetry.io/otel/log/noop"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/otelmcp/otelmcp-go/semconv"
)

// Config says where a Recorder emits. Every field but Attributes and Scrub
// must be set.
type Config struct {
	ScopeName      string
	ScopeVersion   string
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
	LoggerProvider log.LoggerProvider

	// Client says that it is a client that is instrumented, and not a server:
	// messages of both directions are then the client's.
	Client bool
	// Attributes stand on everything that is emitted.
	Attributes []attribute.KeyValue
	// HashKey, when it is set, is what principals are hashed with (HMAC-SHA-256)
	// before they are recorded, and HashKeyID what that key is called.
	HashKey   []byte
	HashKeyID string
	// Scrub is the operator's own scrubber. It sees, after ours, every text
	// that is not one of ours, with the key of its attribute. It may panic.
	Scrub func(key, value string) string
}

// Recorder emits what operations, sessions and definitions have to say. It is
// safe for concurrent use.
type Recorder struct {
	tracer trace.Tracer
	logger log.Logger
	extra  []attribute.KeyValue // the operator's, safe
	scrub  func(key, value string) string

	hashKey   []byte
	hashKeyID string

	serverDuration  metric.Float64Histogram
	clientDuration  metric.Float64Histogram
	sessionDuration metric.Float64Histogram
	messages        metric.Int64Counter
	sessionsActive  metric.Int64UpDownCounter
	refused         metric.Int64Counter
	requestSize     metric.Int64Histogram
	responseSize    metric.Int64Histogram
	decisions       metric.Int64Counter
	authDuration    metric.Float64Histogram

	methods  *methods
	refusals map[string][]metric.AddOption // by reason: a full table may refuse something of every message
	series   seriesCache
	codes    codeTable // of the program's own
	client   bool
	heard    heard
}

// New returns a Recorder. An instrument that cannot be created is reported to
// OpenTelemetry's error handler and replaced by its no-op, as the API has it; a
// provider that panics is replaced by the no-op one.
func New(c Config) *Recorder {
	tracer, meter, logger := c.tracer(), c.meter(), c.logger()
	r := &Recorder{
		tracer: tracer,
		logger: logger,
		scrub:  c.Scrub,
		client: c.Client,

		hashKey: c.HashKey, hashKeyID: c.HashKeyID,
	}
	newSessionDuration, newMessages := semconv.NewMCPServerSessionDuration, semconv.NewOTelMCPServerMessages
	if c.Client {
		newSessionDuration, newMessages = semconv.NewMCPClientSessionDuration, semconv.NewOTelMCPClientMessages
	}
	var errs []error
	r.serverDuration = create(meter, semconv.NewMCPServerOperationDuration, metric.Float64Histogram(metricnoop.Float64Histogram{}), &errs)
	r.clientDuration = create(meter, semconv.NewMCPClientOperationDuration, metric.Float64Histogram(metricnoop.Float64Histogram{}), &errs)
	r.sessionDuration = create(meter, newSessionDuration, metric.Float64Histogram(metricnoop.Float64Histogram{}), &errs)
	r.messages = create(meter, newMessages, metric.Int64Counter(metricnoop.Int64Counter{}), &errs)
	r.sessionsActive = create(meter, semconv.NewOTelMCPServerSessionsActive, metric.Int64UpDownCounter(metricnoop.Int64UpDownCounter{}), &errs)
	r.refused = create(meter, semconv.NewOTelMCPTelemetryRefused, metric.Int64Counter(metricnoop.Int64Counter{}), &errs)
	r.requestSize = create(meter, semconv.NewOTelMCPServerRequestSize, metric.Int64Histogram(metricnoop.Int64Histogram{}), &errs)
	r.responseSize = create(meter, semconv.NewOTelMCPServerResponseSize, metric.Int64Histogram(metricnoop.Int64Histogram{}), &errs)
	r.decisions = create(meter, semconv.NewOTelMCPAuthDecisions, metric.Int64Counter(metricnoop.Int64Counter{}), &errs)
	r.authDuration = create(meter, semconv.NewOTelMCPAuthDuration, metric.Float64Histogram(metricnoop.Float64Histogram{}), &errs)
	r.extra = r.gated(c.Attributes)
	if c.Client {
		r.methods = &methods{newMethods(r)}
	} else {
		var err error
		r.methods, err = countedBy(meter, r)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		otel.Handle(err)
	}
	r.refusals = make(map[string][]metric.AddOption)
	for _, reason := range []string{
		semconv.OTelMCPRefusedReasonSessionTable, semconv.OTelMCPRefusedReasonNameTable, semconv.OTelMCPRefusedReasonTaskTable,
		semconv.OTelMCPRefusedReasonDefinitionTable, semconv.OTelMCPRefusedReasonPendingTable, semconv.OTelMCPRefusedReasonCallbackPanic,
	} {
		r.refusals[reason] = []metric.AddOption{r.metricSet(semconv.OTelMCPRefusedReasonKey.String(reason))}
	}
	h := &r.heard
	h.tracers, h.meters, h.loggers = c.TracerProvider, c.MeterProvider, c.LoggerProvider
	h.again = func(signal Signals) any {
		switch signal {
		case Traces:
			return c.tracer()
		case Metrics:
			return c.meter()
		}
		return c.logger()
	}
	h.hear(tracer, meter, logger)
	return r
}

func (c *Config) tracer() trace.Tracer {
	return orNoop[trace.Tracer](func() trace.Tracer {
		return c.TracerProvider.Tracer(c.ScopeName,
			trace.WithInstrumentationVersion(c.ScopeVersion), trace.WithSchemaURL(semconv.SchemaURL))
	}, tracenoop.Tracer{})
}

func (c *Config) meter() metric.Meter {
	return orNoop[metric.Meter](func() metric.Meter {
		return c.MeterProvider.Meter(c.ScopeName,
			metric.WithInstrumentationVersion(c.ScopeVersion), metric.WithSchemaURL(semconv.SchemaURL))
	}, metricnoop.Meter{})
}

func (c *Config) logger() log.Logger {
	return orNoop[log.Logger](func() log.Logger {
		return c.LoggerProvider.Logger(c.ScopeName,
			log.WithInstrumentationVersion(c.ScopeVersion), log.WithSchemaURL(semconv.SchemaURL))
	}, lognoop.Logger{})
}

// orNoop returns what get returns, or noop when it panics or returns nil.
func orNoop[T comparable](get func() T, noop T) (v T) {
	var none T
	defer func() {
		if recover() != nil || v == none {
			v = noop
		}
	}()
	return get()
}

func create[T comparable](m metric.Meter, f func(metric.Meter) (T, error), noop T, errs *[]error) T {
	return orNoop(func() T {
		v, err := f(m)
		if err != nil {
			*errs = append(*errs, err)
		}
		return v
	}, noop)
}

// Guard is deferred around code that is not ours: user callbacks, and SDK
// parts that a user plugged in. A panic there is counted and goes no further,
// because telemetry must never fail the message that it describes.
func (r *Recorder) Guard() {
	if recover() != nil {
		r.Refuse(semconv.OTelMCPRefusedReasonCallbackPanic)
	}
}

// detached is a context without its cancellation: an end is never lost because
// the request was canceled, and a reader that checks ctx must not drop it. It is
// what context.WithoutCancel makes, with room in what it ends.
type detached struct{ context.Context }

func (*detached) Deadline() (deadline time.Time, ok bool) { return deadline, false }
func (*detached) Done() <-chan struct{}                   { return nil }
func (*detached) Err() error                              { return nil }

// detach returns ctx without its cancellation.
func detach(ctx context.Context) context.Context {
	if ctx.Err() == nil {
		return ctx
	}
	return &detached{ctx}
}
