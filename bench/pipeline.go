// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package bench

// Providers as a program has them, and providers that keep what they get so that it can be looked at.

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	lognoop "go.opentelemetry.io/otel/log/noop"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// Pipeline is where a contender sends its signals.
type Pipeline struct {
	Tracer trace.TracerProvider
	Meter  metric.MeterProvider
	Logger log.LoggerProvider
}

// Sampling says what becomes of a contender's spans.
type Sampling int

// Noop is no SDK at all, for any signal, and Unset the global providers, which nobody has set.
const (
	Sampled Sampling = iota
	Unsampled
	Noop
	Unset
)

func (s Sampling) sampler() sdktrace.Sampler {
	if s == Unsampled {
		return sdktrace.NeverSample()
	}
	return sdktrace.AlwaysSample()
}

// newPipeline batches and discards, as the budgets are stated for. For each attribute of a log record the SDK
// looks through those before it, unless it is told that they may repeat, as exporters.Setup tells it: so it is
// here, but for a contender that shows what the search costs.
func (c Contender) newPipeline() Pipeline {
	if c.Sampling == Noop {
		return Pipeline{tracenoop.NewTracerProvider(), metricnoop.NewMeterProvider(), lognoop.NewLoggerProvider()}
	}
	if c.Sampling == Unset {
		return Pipeline{otel.GetTracerProvider(), otel.GetMeterProvider(), otel.GetLoggerProvider()}
	}
	logs := []sdklog.LoggerProviderOption{sdklog.WithProcessor(sdklog.NewBatchProcessor(discardLogs{}))}
	if !c.Defaults {
		logs = append(logs, sdklog.WithAllowKeyDuplication())
	}
	return Pipeline{
		sdktrace.NewTracerProvider(sdktrace.WithSampler(c.Sampling.sampler()), sdktrace.WithBatcher(discardSpans{})),
		sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())),
		sdklog.NewLoggerProvider(logs...),
	}
}

// shutdown stops what the providers of newPipeline run in the background.
func (p Pipeline) shutdown(ctx context.Context) {
	for _, provider := range []any{p.Tracer, p.Meter, p.Logger} {
		if s, ok := provider.(interface{ Shutdown(context.Context) error }); ok {
			_ = s.Shutdown(ctx) // the exporters cannot fail
		}
	}
}

// flush empties the queues of the processors.
func (p Pipeline) flush(ctx context.Context) {
	for _, provider := range []any{p.Tracer, p.Logger} {
		if f, ok := provider.(interface{ ForceFlush(context.Context) error }); ok {
			_ = f.ForceFlush(ctx)
		}
	}
}

type discardSpans struct{}

func (discardSpans) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (discardSpans) Shutdown(context.Context) error                             { return nil }

type discardLogs struct{}

func (discardLogs) Export(context.Context, []sdklog.Record) error { return nil }
func (discardLogs) Shutdown(context.Context) error                { return nil }
func (discardLogs) ForceFlush(context.Context) error              { return nil }

// capture keeps every span and log record, and reads every metric.
type capture struct {
	Pipeline
	reader  *sdkmetric.ManualReader
	mu      sync.Mutex
	spans   []sdktrace.ReadOnlySpan
	records []sdklog.Record
}

func newCapture(s Sampling) *capture {
	c := &capture{reader: sdkmetric.NewManualReader()}
	if s == Noop {
		c.Pipeline = Contender{Sampling: Noop}.newPipeline()
		return c
	}
	c.Pipeline = Pipeline{
		sdktrace.NewTracerProvider(sdktrace.WithSampler(s.sampler()), sdktrace.WithSyncer((*captureSpans)(c))),
		sdkmetric.NewMeterProvider(sdkmetric.WithReader(c.reader)),
		sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewSimpleProcessor((*captureLogs)(c)))),
	}
	return c
}

type captureSpans capture

func (c *captureSpans) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans = append(c.spans, spans...)
	return nil
}

func (*captureSpans) Shutdown(context.Context) error { return nil }

type captureLogs capture

func (c *captureLogs) Export(_ context.Context, records []sdklog.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range records {
		c.records = append(c.records, records[k].Clone())
	}
	return nil
}

func (*captureLogs) Shutdown(context.Context) error   { return nil }
func (*captureLogs) ForceFlush(context.Context) error { return nil }

// Point is one series of a counter or of a histogram, and how often it was measured.
type Point struct {
	Instrument string
	Attributes []attribute.KeyValue
	Count      float64
}

func (c *capture) points(ctx context.Context) (points []Point, err error) {
	if _, ok := c.Meter.(*sdkmetric.MeterProvider); !ok {
		return nil, nil
	}
	var rm metricdata.ResourceMetrics
	if err := c.reader.Collect(ctx, &rm); err != nil {
		return nil, err
	}
	for _, sm := range rm.ScopeMetrics {
		for _, m := range sm.Metrics {
			points = append(points, pointsOf(m)...)
		}
	}
	return points, nil
}

// pointsOf leaves gauges and up-down counters aside: what they say when all is over is nothing.
func pointsOf(m metricdata.Metrics) (points []Point) {
	add := func(set attribute.Set, count float64) {
		points = append(points, Point{m.Name, set.ToSlice(), count})
	}
	switch d := m.Data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range d.DataPoints {
			if d.IsMonotonic {
				add(p.Attributes, float64(p.Value))
			}
		}
	case metricdata.Sum[float64]:
		for _, p := range d.DataPoints {
			if d.IsMonotonic {
				add(p.Attributes, p.Value)
			}
		}
	case metricdata.Histogram[int64]:
		for _, p := range d.DataPoints {
			add(p.Attributes, float64(p.Count))
		}
	case metricdata.Histogram[float64]:
		for _, p := range d.DataPoints {
			add(p.Attributes, float64(p.Count))
		}
	}
	return points
}
