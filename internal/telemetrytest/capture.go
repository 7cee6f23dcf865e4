// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package telemetrytest captures all three signals in memory and holds them
// against the semantic convention registry.
//
// Every test that emits goes through [New]: at its end, [Capture.Check] runs
// and fails the test for each violation. So a name that nobody declared, or a
// client's text on a metric, fails whichever test first emits it.
package telemetrytest

import (
	"context"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest/registry"
)

// DefaultScope is the instrumentation scope that is checked.
const DefaultScope = "github.com/otelmcp/otelmcp-go/otelmcp"

// settle is how long the check at the end of a test waits for telemetry to
// become whole. A client has its answer before the server has recorded the
// operation, so a test can end in between.
const settle = 2 * time.Second

// Capture is a set of providers whose telemetry stays in memory. It is safe
// for concurrent use.
type Capture struct {
	t         testing.TB
	reg       *registry.Registry
	scope     string
	extra     map[attribute.Key]bool
	unsampled bool
	noCheck   bool

	sampler sdktrace.Sampler
	also    Pipeline
	tracer  *sdktrace.TracerProvider
	meter   *sdkmetric.MeterProvider
	logger  *sdklog.LoggerProvider
	// A provider that the test never took emits nothing, and the signals that
	// it did take have nothing to agree with.
	tracerTaken, meterTaken atomic.Bool

	spans  *tracetest.SpanRecorder
	logs   *recorder
	reader *sdkmetric.ManualReader

	mu       sync.Mutex
	baseline metricdata.ResourceMetrics // what Reset took away; metrics are cumulative
}

// Option configures [New].
type Option func(*Capture)

// WithScope checks the instrumentation scope name in place of [DefaultScope].
func WithScope(name string) Option { return func(c *Capture) { c.scope = name } }

// WithExtraAttributes allows attributes that the registry does not declare, on
// every signal: a user can add constant ones.
func WithExtraAttributes(keys ...attribute.Key) Option {
	return func(c *Capture) {
		for _, k := range keys {
			c.extra[k] = true
		}
	}
}

// WithUnsampled allows points of a duration metric that have no span.
func WithUnsampled() Option { return func(c *Capture) { c.unsampled = true } }

// WithSampler samples spans by s, and allows what [WithUnsampled] does.
func WithSampler(s sdktrace.Sampler) Option {
	return func(c *Capture) { c.sampler, c.unsampled = s, true }
}

// Pipeline is where a copy of what is captured goes. What is nil is left out.
type Pipeline struct {
	Spans   sdktrace.SpanProcessor
	Logs    sdklog.Processor
	Metrics sdkmetric.Reader
}

// WithPipeline sends what is captured to p, too.
func WithPipeline(p Pipeline) Option { return func(c *Capture) { c.also = p } }

// WithoutCheck leaves out the check at the end of the test. It is for tests of
// the check itself.
func WithoutCheck() Option { return func(c *Capture) { c.noCheck = true } }

var loadRegistry = sync.OnceValues(func() (*registry.Registry, error) {
	dir, err := registry.Find()
	if err != nil {
		return nil, err
	}
	return registry.Load(os.DirFS(dir))
})

// New makes the providers, and checks what they got when t ends. Cleanups that
// t registers later run before that, so a server that stops in one is covered.
func New(t testing.TB, opts ...Option) *Capture {
	t.Helper()
	reg, err := loadRegistry()
	if err != nil {
		t.Fatalf("registry: %v", err)
	}
	c := &Capture{
		t:       t,
		reg:     reg,
		scope:   DefaultScope,
		extra:   map[attribute.Key]bool{},
		sampler: sdktrace.AlwaysSample(),
		spans:   tracetest.NewSpanRecorder(),
		logs:    &recorder{},
		reader:  sdkmetric.NewManualReader(),
	}
	for _, o := range opts {
		o(c)
	}
	// Not the limits of the environment: what is cut away cannot be checked.
	limits := sdktrace.SpanLimits{
		AttributeValueLengthLimit: -1, AttributeCountLimit: -1, EventCountLimit: -1, LinkCountLimit: -1,
		AttributePerEventCountLimit: -1, AttributePerLinkCountLimit: -1,
	}
	traces := []sdktrace.TracerProviderOption{
		sdktrace.WithSampler(c.sampler), sdktrace.WithSpanProcessor(c.spans), sdktrace.WithRawSpanLimits(limits),
	}
	metrics := []sdkmetric.Option{sdkmetric.WithReader(c.reader)}
	logs := []sdklog.LoggerProviderOption{
		sdklog.WithProcessor(c.logs), sdklog.WithAttributeCountLimit(-1), sdklog.WithAttributeValueLengthLimit(-1),
	}
	if c.also.Spans != nil {
		traces = append(traces, sdktrace.WithSpanProcessor(c.also.Spans))
	}
	if c.also.Metrics != nil {
		metrics = append(metrics, sdkmetric.WithReader(c.also.Metrics))
	}
	if c.also.Logs != nil {
		logs = append(logs, sdklog.WithProcessor(c.also.Logs))
	}
	c.tracer = sdktrace.NewTracerProvider(traces...)
	c.meter = sdkmetric.NewMeterProvider(metrics...)
	c.logger = sdklog.NewLoggerProvider(logs...)
	if !c.noCheck {
		t.Cleanup(c.checkAtEnd)
	}
	return c
}

func (c *Capture) checkAtEnd() {
	c.t.Helper()
	errs := c.Check()
	for deadline := time.Now().Add(settle); len(errs) > 0 && time.Now().Before(deadline); errs = c.Check() {
		time.Sleep(10 * time.Millisecond)
	}
	for _, err := range errs {
		c.t.Errorf("telemetry: %v", err)
	}
}

// TracerProvider returns the provider whose spans are captured.
func (c *Capture) TracerProvider() trace.TracerProvider {
	c.tracerTaken.Store(true)
	return c.tracer
}

// MeterProvider returns the provider whose metrics are captured.
func (c *Capture) MeterProvider() metric.MeterProvider {
	c.meterTaken.Store(true)
	return c.meter
}

// LoggerProvider returns the provider whose log records are captured.
func (c *Capture) LoggerProvider() log.LoggerProvider { return c.logger }

// Spans returns the spans that have ended, in the order of their ends.
func (c *Capture) Spans() []sdktrace.ReadOnlySpan { return c.spans.Ended() }

// Logs returns the log records, in the order of their emission.
func (c *Capture) Logs() []sdklog.Record {
	c.logs.mu.Lock()
	defer c.logs.mu.Unlock()
	return slices.Clone(c.logs.records)
}

// Metrics returns what the metrics say since the last Reset.
func (c *Capture) Metrics() metricdata.ResourceMetrics {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.collect()
	subtract(&now, c.baseline)
	return now
}

func (c *Capture) collect() metricdata.ResourceMetrics {
	c.t.Helper()
	var rm metricdata.ResourceMetrics
	if err := c.reader.Collect(context.Background(), &rm); err != nil {
		c.t.Errorf("collect metrics: %v", err)
	}
	return rm
}

// Reset forgets what has been captured. Open spans and up-down counters stay
// as they are. Nothing must be emitting meanwhile, or the signals disagree.
func (c *Capture) Reset() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.baseline = c.collect()
	c.spans.Reset()
	c.logs.mu.Lock()
	defer c.logs.mu.Unlock()
	c.logs.records = nil
}

// recorder is a log processor that keeps every record.
type recorder struct {
	mu      sync.Mutex
	records []sdklog.Record
}

func (*recorder) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }

func (r *recorder) OnEmit(_ context.Context, rec *sdklog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, rec.Clone())
	return nil
}

func (*recorder) Shutdown(context.Context) error   { return nil }
func (*recorder) ForceFlush(context.Context) error { return nil }

// subtract takes the counts of base out of rm. The extremes of histograms
// remain those of all time.
func subtract(rm *metricdata.ResourceMetrics, base metricdata.ResourceMetrics) {
	old := map[string]metricdata.Aggregation{}
	for _, sm := range base.ScopeMetrics {
		for _, m := range sm.Metrics {
			old[sm.Scope.Name+" "+m.Name] = m.Data
		}
	}
	for _, sm := range rm.ScopeMetrics {
		for i, m := range sm.Metrics {
			switch before := old[sm.Scope.Name+" "+m.Name].(type) {
			case metricdata.Sum[int64]:
				sm.Metrics[i].Data = subtractSum(m.Data, before)
			case metricdata.Sum[float64]:
				sm.Metrics[i].Data = subtractSum(m.Data, before)
			case metricdata.Histogram[int64]:
				sm.Metrics[i].Data = subtractHistogram(m.Data, before)
			case metricdata.Histogram[float64]:
				sm.Metrics[i].Data = subtractHistogram(m.Data, before)
			}
		}
	}
}

func subtractSum[N int64 | float64](data metricdata.Aggregation, before metricdata.Sum[N]) metricdata.Aggregation {
	now, ok := data.(metricdata.Sum[N])
	if !ok || !now.IsMonotonic {
		return data
	}
	var points []metricdata.DataPoint[N]
	for _, p := range now.DataPoints {
		for _, b := range before.DataPoints {
			if b.Attributes.Equals(&p.Attributes) {
				p.Value -= b.Value
			}
		}
		if p.Value != 0 {
			points = append(points, p)
		}
	}
	now.DataPoints = points
	return now
}

func subtractHistogram[N int64 | float64](data metricdata.Aggregation, before metricdata.Histogram[N]) metricdata.Aggregation {
	now, ok := data.(metricdata.Histogram[N])
	if !ok {
		return data
	}
	var points []metricdata.HistogramDataPoint[N]
	for _, p := range now.DataPoints {
		for _, b := range before.DataPoints {
			if !b.Attributes.Equals(&p.Attributes) {
				continue
			}
			p.Count -= b.Count
			p.Sum -= b.Sum
			for i := range p.BucketCounts {
				p.BucketCounts[i] -= b.BucketCounts[i]
			}
		}
		if p.Count != 0 {
			points = append(points, p)
		}
	}
	now.DataPoints = points
	return now
}
