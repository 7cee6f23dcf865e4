// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package telemetrytest

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace"
)

// A Text is one that stands in a signal.
type Text struct {
	Where string        // "span name", "event otelmcp.outcome", "metric mcp.method.name key"
	Key   attribute.Key // that it stands under, at whatever depth; empty where it is no attribute's
	Value string
}

// Texts returns every text of every signal, of all scopes: names, bodies, descriptions, tracestates, and the keys and
// values of attributes at any depth. A value that is no text is there as it is written.
func (c *Capture) Texts() []Text {
	c.t.Helper()
	w := &walk{}
	for _, s := range c.Spans() {
		w.add("span name", "", s.Name())
		w.add("span status", "", s.Status().Description)
		w.all("span", s.Attributes())
		w.all("span resource", s.Resource().Attributes())
		w.state("span", s.SpanContext())
		w.state("span parent", s.Parent())
		w.add("scope", "", s.InstrumentationScope().Name+s.InstrumentationScope().Version)
		for _, e := range s.Events() {
			w.add("span event", "", e.Name)
			w.all("span event", e.Attributes)
		}
		for _, l := range s.Links() {
			w.state("link", l.SpanContext)
			w.all("link", l.Attributes)
		}
	}
	logs := c.Logs()
	for n := range logs {
		r := &logs[n]
		w.add("event name", "", r.EventName())
		w.add("event severity", "", r.SeverityText())
		w.value("event body", "", r.Body())
		r.WalkAttributes(func(kv attribute.KeyValue) bool {
			w.all("event", []attribute.KeyValue{kv})
			return true
		})
		w.all("event resource", r.Resource().Attributes())
	}
	rm := c.Metrics()
	w.all("metric resource", rm.Resource.Attributes())
	for _, sm := range rm.ScopeMetrics {
		for _, m := range sm.Metrics {
			w.add("metric", "", m.Name+m.Description+m.Unit)
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range d.DataPoints {
					w.point(p.Attributes)
					exemplars(w, p.Exemplars)
				}
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					w.point(p.Attributes)
					exemplars(w, p.Exemplars)
				}
			case metricdata.Histogram[int64]:
				for _, p := range d.DataPoints {
					w.point(p.Attributes)
					exemplars(w, p.Exemplars)
				}
			default:
				c.t.Errorf("metric %s is a %T, whose points are not looked at", m.Name, d)
			}
		}
	}
	return w.texts
}

type walk struct{ texts []Text }

func (w *walk) add(where string, key attribute.Key, value string) {
	w.texts = append(w.texts, Text{where, key, value})
}

func (w *walk) state(where string, sc trace.SpanContext) {
	w.add(where+" tracestate", "", sc.TraceState().String())
}

func (w *walk) point(set attribute.Set) { w.all("metric", set.ToSlice()) }

func exemplars[N int64 | float64](w *walk, all []metricdata.Exemplar[N]) {
	for _, e := range all {
		w.all("exemplar", e.FilteredAttributes)
	}
}

func (w *walk) all(where string, kvs []attribute.KeyValue) {
	for _, kv := range kvs {
		at := where + " " + string(kv.Key)
		w.add(at+" key", "", string(kv.Key))
		w.value(at, kv.Key, kv.Value)
	}
}

func (w *walk) value(where string, key attribute.Key, v attribute.Value) {
	switch v.Type() {
	case attribute.STRING:
		w.add(where, key, v.AsString())
	case attribute.STRINGSLICE:
		for _, s := range v.AsStringSlice() {
			w.add(where, key, s)
		}
	case attribute.MAP:
		for _, kv := range v.AsMap() {
			w.add(where+" member", key, string(kv.Key))
			w.value(where, key, kv.Value)
		}
	case attribute.SLICE:
		for _, e := range v.AsSlice() {
			w.value(where, key, e)
		}
	default:
		w.add(where, key, v.String())
	}
}
