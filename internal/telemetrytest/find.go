// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package telemetrytest

// What tests ask of a capture.

import (
	"go.opentelemetry.io/otel/attribute"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// SpanNamed returns the one span of that name. None, or several, end the test.
func (c *Capture) SpanNamed(name string) sdktrace.ReadOnlySpan {
	c.t.Helper()
	var found []sdktrace.ReadOnlySpan
	var names []string
	for _, s := range c.Spans() {
		names = append(names, s.Name())
		if s.Name() == name {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		c.t.Fatalf("%d spans named %q, want 1; there are %q", len(found), name, names)
	}
	return found[0]
}

// EventsNamed returns the log records whose EventName is name.
func (c *Capture) EventsNamed(name string) []sdklog.Record {
	var found []sdklog.Record
	logs := c.Logs()
	for i := range logs {
		if logs[i].EventName() == name {
			found = append(found, logs[i])
		}
	}
	return found
}

// SpanAttributes returns the attributes of s.
func SpanAttributes(s sdktrace.ReadOnlySpan) attribute.Set {
	return attribute.NewSet(s.Attributes()...)
}

// EventAttributes returns the attributes of r.
func EventAttributes(r sdklog.Record) attribute.Set {
	kvs := make([]attribute.KeyValue, 0, r.AttributesLen())
	r.WalkAttributes(func(kv attribute.KeyValue) bool {
		kvs = append(kvs, kv)
		return true
	})
	return attribute.NewSet(kvs...)
}

// CounterValue returns the sum of the points of a counter, or up-down counter,
// that have all of attrs.
func (c *Capture) CounterValue(name string, attrs ...attribute.KeyValue) int64 {
	c.t.Helper()
	sum, _ := c.counter(c.Metrics(), name, attrs)
	return sum
}

func (c *Capture) counter(rm metricdata.ResourceMetrics, name string, attrs []attribute.KeyValue) (sum int64, exists bool) {
	for _, m := range c.metrics(rm) {
		data, ok := m.Data.(metricdata.Sum[int64])
		if m.Name != name || !ok {
			continue
		}
		exists = true
		for _, p := range data.DataPoints {
			if has(p.Attributes, attrs) {
				sum += p.Value
			}
		}
	}
	return sum, exists
}

// HistogramPoint is a point of a histogram of either kind of number.
type HistogramPoint struct {
	Attributes attribute.Set
	Count      uint64
	Sum        float64
	Bounds     []float64
	Buckets    []uint64
}

// HistogramPoints returns the points of a histogram that have all of attrs.
func (c *Capture) HistogramPoints(name string, attrs ...attribute.KeyValue) []HistogramPoint {
	c.t.Helper()
	var found []HistogramPoint
	for _, m := range c.metrics(c.Metrics()) {
		if m.Name != name {
			continue
		}
		for _, p := range points(m.Data) {
			if has(p.Attributes, attrs) {
				found = append(found, p)
			}
		}
	}
	return found
}

// HistogramCount returns how many values a histogram has, over the points that
// have all of attrs.
func (c *Capture) HistogramCount(name string, attrs ...attribute.KeyValue) uint64 {
	c.t.Helper()
	var n uint64
	for _, p := range c.HistogramPoints(name, attrs...) {
		n += p.Count
	}
	return n
}

// metrics returns the metrics of the checked scope.
func (c *Capture) metrics(rm metricdata.ResourceMetrics) []metricdata.Metrics {
	var out []metricdata.Metrics
	for _, sm := range rm.ScopeMetrics {
		if sm.Scope.Name == c.scope {
			out = append(out, sm.Metrics...)
		}
	}
	return out
}

func points(data metricdata.Aggregation) []HistogramPoint {
	switch h := data.(type) {
	case metricdata.Histogram[int64]:
		return pointsOf(h)
	case metricdata.Histogram[float64]:
		return pointsOf(h)
	}
	return nil
}

func pointsOf[N int64 | float64](h metricdata.Histogram[N]) []HistogramPoint {
	out := make([]HistogramPoint, len(h.DataPoints))
	for i, p := range h.DataPoints {
		out[i] = HistogramPoint{
			Attributes: p.Attributes, Count: p.Count, Sum: float64(p.Sum), Bounds: p.Bounds, Buckets: p.BucketCounts,
		}
	}
	return out
}

func has(set attribute.Set, attrs []attribute.KeyValue) bool {
	for _, kv := range attrs {
		if v, ok := set.Value(kv.Key); !ok || v.Type() != kv.Value.Type() || v.String() != kv.Value.String() {
			return false
		}
	}
	return true
}
