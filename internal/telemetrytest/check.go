// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package telemetrytest

// The rules that telemetry is held against.

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest/registry"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// other stands for text that a peer chose, where that must not go.
const other = "_OTHER"

// Check returns every violation of the registry in what has been captured of
// the checked scope, each once.
func (c *Capture) Check() []error {
	c.t.Helper()
	k := &checker{c: c, seen: map[string]bool{}}
	rm := c.Metrics()
	spans := k.spans()
	metrics := c.metrics(rm)
	for _, m := range metrics {
		k.metric(m)
	}
	events := k.events()
	if c.tracerTaken.Load() && c.meterTaken.Load() {
		k.durations(spans, metrics)
	}
	k.messages(events, rm)
	return k.errs
}

type checker struct {
	c    *Capture
	errs []error
	seen map[string]bool
}

func (k *checker) errorf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	if !k.seen[err.Error()] {
		k.seen[err.Error()] = true
		k.errs = append(k.errs, err)
	}
}

// find returns the element of s that has the name, or nil.
func find[T any](s []*T, name string, of func(*T) string) *T {
	if i := slices.IndexFunc(s, func(e *T) bool { return of(e) == name }); i >= 0 {
		return s[i]
	}
	return nil
}

// Signals differ in what an attribute may be there.
type signal int

const (
	onSpan signal = iota
	onMetric
	onEvent
)

// attributes checks a signal's attributes against the ones that it may have.
func (k *checker) attributes(where string, sig signal, attrs []attribute.KeyValue, allowed []registry.Ref) {
	present := map[string]bool{}
	for _, kv := range attrs {
		if k.c.extra[kv.Key] {
			continue
		}
		present[string(kv.Key)] = true
		a := declaration(k.c.reg.Attributes, kv.Key)
		if a == nil {
			k.errorf("%s: undeclared attribute %s", where, kv.Key)
			continue
		}
		if sig == onMetric && (a.HighCardinality || a.Identifying || a.Content) {
			k.errorf("%s: high-cardinality attribute %s on a metric", where, kv.Key)
		} else if !slices.ContainsFunc(allowed, func(r registry.Ref) bool { return r.Attribute == a }) {
			k.errorf("%s: attribute %s is not allowed there", where, kv.Key)
		}
		k.value(where, sig, kv, a)
	}
	for _, r := range allowed {
		if r.Level == registry.Required && !present[r.Key] {
			k.errorf("%s: required attribute %s is missing", where, r.Key)
		}
	}
}

func declaration(attrs []*registry.Attribute, key attribute.Key) *registry.Attribute {
	for _, a := range attrs {
		if a.Key == string(key) && !a.Template || a.Template && strings.HasPrefix(string(key), a.Key+".") {
			return a
		}
	}
	return nil
}

var types = map[string]attribute.Type{
	"string": attribute.STRING, "int": attribute.INT64, "double": attribute.FLOAT64, "boolean": attribute.BOOL,
	"string[]": attribute.STRINGSLICE, "int[]": attribute.INT64SLICE, "double[]": attribute.FLOAT64SLICE,
	"boolean[]": attribute.BOOLSLICE,
}

func (k *checker) value(where string, sig signal, kv attribute.KeyValue, a *registry.Attribute) {
	got := kv.Value.Type()
	if want := types[a.Type]; a.Type != "any" && got != want {
		k.errorf("%s: attribute %s is %s, not %s", where, kv.Key, got, want)
		return
	}
	if sig == onEvent && !flat(got) {
		k.errorf("%s: attribute %s is not flat", where, kv.Key)
	}
	if a.Closed || sig == onMetric && (a.MembersOnMetric || a.NumbersOnMetric) {
		if v := kv.Value.AsString(); !member(a, v) && (!a.NumbersOnMetric || !number(v)) {
			k.errorf("%s: attribute %s has the value %q, which is not one of its own", where, kv.Key, v)
		}
	}
}

// flat tells whether an attribute fits in one column: a scalar, or a list of
// scalars of one type.
func flat(t attribute.Type) bool {
	switch t {
	case attribute.BOOL, attribute.INT64, attribute.FLOAT64, attribute.STRING,
		attribute.BOOLSLICE, attribute.INT64SLICE, attribute.FLOAT64SLICE, attribute.STRINGSLICE:
		return true
	default:
		return false
	}
}

func member(a *registry.Attribute, v string) bool {
	return slices.ContainsFunc(a.Members, func(m registry.Member) bool { return m.Value == v })
}

func number(v string) bool {
	_, err := strconv.Atoi(v)
	return err == nil
}

// mcpSpan is a span of a declared type.
type mcpSpan struct {
	sdktrace.ReadOnlySpan

	typ *registry.Span
	// What the span's name says for the method and the target: the text itself,
	// or other. The metric must say the same.
	method, target string
}

func (k *checker) spans() []mcpSpan {
	var out []mcpSpan
	for _, s := range k.c.spans.Started() {
		if s.InstrumentationScope().Name == k.c.scope && s.EndTime().IsZero() {
			k.errorf("span %q never ended", s.Name())
		}
	}
	for _, s := range k.c.Spans() {
		if s.InstrumentationScope().Name != k.c.scope {
			continue
		}
		where := fmt.Sprintf("span %q", s.Name())
		kind := s.SpanKind().String()
		i := slices.IndexFunc(k.c.reg.Spans, func(d *registry.Span) bool { return d.Kind == kind })
		if i < 0 {
			k.errorf("%s: no span of kind %s is declared", where, kind)
			continue
		}
		typ := k.c.reg.Spans[i]
		k.attributes(where, onSpan, s.Attributes(), typ.Attributes)
		method, target := k.name(where, s)
		out = append(out, mcpSpan{ReadOnlySpan: s, typ: typ, method: method, target: target})
	}
	return out
}

// name checks that a span is called "{method} {target}", or "{method}", where
// nothing but a method of MCP stands for the method. Whether a target is a
// registered name, or must be other, only its test knows.
func (k *checker) name(where string, s sdktrace.ReadOnlySpan) (method, target string) {
	attrs := SpanAttributes(s)
	text := func(key attribute.Key) string {
		v, _ := attrs.Value(key)
		return v.AsString()
	}
	method = text(semconv.MCPMethodNameKey)
	if a := declaration(k.c.reg.Attributes, semconv.MCPMethodNameKey); !member(a, method) {
		method = other
	}
	target = cmp.Or(text(semconv.GenAIToolNameKey), text(semconv.GenAIPromptNameKey))
	if target == "" {
		if s.Name() != method {
			k.errorf("%s: should be named %q", where, method)
		}
		return method, ""
	}
	if s.Name() == method+" "+other {
		target = other
	} else if s.Name() != method+" "+target {
		k.errorf("%s: should be named %q, or %q when it is not registered", where, method+" "+target, method+" "+other)
	}
	return method, target
}

func (k *checker) metric(m metricdata.Metrics) {
	where := "metric " + m.Name
	def := find(k.c.reg.Metrics, m.Name, func(d *registry.Metric) string { return d.Name })
	if def == nil {
		k.errorf("%s is undeclared", where)
		return
	}
	if m.Unit != def.Unit {
		k.errorf("%s: unit %q, want %q", where, m.Unit, def.Unit)
	}
	instrument, sets := shape(m.Data)
	if want := def.ValueType + " " + def.Instrument; instrument != want {
		k.errorf("%s: instrument %s, want %s", where, instrument, want)
		return
	}
	for _, set := range sets {
		k.attributes(where, onMetric, set.ToSlice(), def.Attributes)
	}
	for _, p := range points(m.Data) {
		if !slices.Equal(p.Bounds, def.Boundaries) {
			k.errorf("%s: boundaries %v, want %v", where, p.Bounds, def.Boundaries)
		}
	}
}

// shape names the instrument that made the data, as the registry does, and
// returns the attributes of its points.
func shape(data metricdata.Aggregation) (instrument string, sets []attribute.Set) {
	sum := func(value string, monotonic bool) string {
		if monotonic {
			return value + " counter"
		}
		return value + " updowncounter"
	}
	switch d := data.(type) {
	case metricdata.Sum[int64]:
		instrument = sum("int", d.IsMonotonic)
		for _, p := range d.DataPoints {
			sets = append(sets, p.Attributes)
		}
	case metricdata.Sum[float64]:
		instrument = sum("double", d.IsMonotonic)
		for _, p := range d.DataPoints {
			sets = append(sets, p.Attributes)
		}
	case metricdata.Histogram[int64]:
		instrument = "int histogram"
	case metricdata.Histogram[float64]:
		instrument = "double histogram"
	default:
		instrument = fmt.Sprintf("%T", data)
	}
	for _, p := range points(data) {
		sets = append(sets, p.Attributes)
	}
	return instrument, sets
}

func (k *checker) events() []sdklog.Record {
	var out []sdklog.Record
	logs := k.c.Logs()
	for i := range logs {
		r := &logs[i]
		if r.InstrumentationScope().Name != k.c.scope {
			continue
		}
		out = append(out, *r)
		if r.EventName() == "" {
			k.errorf("log record %q: no EventName", r.Body().String())
			continue
		}
		where := "event " + r.EventName()
		k.envelope(where, r)
		def := find(k.c.reg.Events, r.EventName(), func(d *registry.Event) string { return d.Name })
		if def == nil {
			k.errorf("%s is undeclared", where)
			continue
		}
		if s := r.Severity(); s != log.SeverityUndefined && !slices.Contains(def.Severities, severityClass(s)) {
			k.errorf("%s: severity %v, want one of %v", where, s, def.Severities)
		}
		attrs := EventAttributes(*r)
		k.attributes(where, onEvent, attrs.ToSlice(), def.Attributes)
		if v, ok := attrs.Value(semconv.EventNameKey); ok && v.AsString() != r.EventName() {
			k.errorf("%s: event.name is %q", where, v.AsString())
		}
	}
	return out
}

// envelope checks what a backend needs to keep a record: some discard one with
// an empty body or without a time.
func (k *checker) envelope(where string, r *sdklog.Record) {
	if r.Timestamp().IsZero() {
		k.errorf("%s: no Timestamp", where)
	}
	if r.ObservedTimestamp().IsZero() {
		k.errorf("%s: no ObservedTimestamp", where)
	}
	if r.Severity() == log.SeverityUndefined {
		k.errorf("%s: no severity", where)
	}
	if b := r.Body(); b.Type() != attribute.STRING || strings.TrimSpace(b.AsString()) == "" {
		k.errorf("%s: the body is not a text, or empty", where)
	}
}

// severityClass names the four numbers that a severity is one of.
func severityClass(s log.Severity) string {
	return []string{"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"}[(min(max(int(s), 1), 24)-1)/4]
}

// withoutCode is set with other in the place of an error code: a code that a peer
// chose stands on the span, and not on a metric.
func withoutCode(set attribute.Set) attribute.Set {
	code, _ := set.Value("rpc.response.status_code")
	kvs := set.ToSlice()
	for i := range kvs {
		if at := &kvs[i]; at.Key == "rpc.response.status_code" || at.Key == "error.type" && at.Value == code {
			at.Value = attribute.StringValue(other)
		}
	}
	return attribute.NewSet(kvs...)
}

// durations checks that every span has one point in the duration metric of its
// kind with the same attributes, and that no point is without a span.
func (k *checker) durations(spans []mcpSpan, metrics []metricdata.Metrics) {
	for _, typ := range k.c.reg.Spans {
		name := typ.Type + ".operation.duration"
		def := find(k.c.reg.Metrics, name, func(d *registry.Metric) string { return d.Name })
		if def == nil {
			continue
		}
		balance := map[attribute.Distinct]int64{}
		sets := map[attribute.Distinct]attribute.Set{}
		add := func(set attribute.Set, n int64) {
			balance[set.Equivalent()] += n
			sets[set.Equivalent()] = set
		}
		for _, m := range metrics {
			if m.Name != name {
				continue
			}
			for _, p := range points(m.Data) {
				set, _ := p.Attributes.Filter(func(kv attribute.KeyValue) bool { return !k.c.extra[kv.Key] })
				add(set, -int64(p.Count)) //nolint:gosec // A test does not record 2^63 values.
			}
		}
		for _, s := range spans {
			if s.typ != typ {
				continue
			}
			set := s.series(def)
			if bounded := withoutCode(set); balance[set.Equivalent()] >= 0 && balance[bounded.Equivalent()] < 0 {
				set = bounded
			}
			add(set, 1)
		}
		keys := slices.SortedFunc(maps.Keys(sets), func(a, b attribute.Distinct) int {
			return cmp.Compare(describe(sets[a]), describe(sets[b]))
		})
		for _, d := range keys {
			switch n := balance[d]; {
			case n > 0:
				k.errorf("metric %s: %d spans without a point that has their attributes %s", name, n, describe(sets[d]))
			case n < 0 && !k.c.unsampled:
				k.errorf("metric %s: %d points without a span that has their attributes %s", name, -n, describe(sets[d]))
			}
		}
	}
}

// series returns the attributes that the span's point should have.
func (s mcpSpan) series(def *registry.Metric) attribute.Set {
	var kvs []attribute.KeyValue
	for _, kv := range s.Attributes() {
		if !slices.ContainsFunc(def.Attributes, func(r registry.Ref) bool { return r.Key == string(kv.Key) }) {
			continue
		}
		switch kv.Key {
		case semconv.MCPMethodNameKey:
			kv.Value = attribute.StringValue(s.method)
		case semconv.GenAIToolNameKey, semconv.GenAIPromptNameKey:
			kv.Value = attribute.StringValue(s.target)
		}
		kvs = append(kvs, kv)
	}
	return attribute.NewSet(kvs...)
}

// messages checks that every operation event is counted, and every count has
// its event. Servers and clients count apart, and may share a capture.
func (k *checker) messages(events []sdklog.Record, rm metricdata.ResourceMetrics) {
	counters := []string{semconv.OTelMCPServerMessagesName, semconv.OTelMCPClientMessagesName}
	count := func(attrs []attribute.KeyValue) (n int64, exists bool) {
		for _, name := range counters {
			of, ok := k.c.counter(rm, name, attrs)
			n, exists = n+of, exists || ok
		}
		return n, exists
	}
	where := "metrics " + strings.Join(counters, " and ")
	total, exists := count(nil)
	if !exists {
		return
	}
	keys := []attribute.Key{semconv.OTelMCPRoleKey, semconv.OTelMCPStageKey, semconv.OTelMCPOutcomeKey, semconv.OTelMCPTransportKey}
	counted := map[attribute.Distinct]int64{}
	sets := map[attribute.Distinct]attribute.Set{}
	for i := range events {
		r := &events[i]
		if r.EventName() != semconv.OTelMCPOperationEventName {
			continue
		}
		attrs := EventAttributes(*r)
		set, _ := attrs.Filter(func(kv attribute.KeyValue) bool { return slices.Contains(keys, kv.Key) })
		counted[set.Equivalent()]++
		sets[set.Equivalent()] = set
		total--
	}
	for _, d := range slices.SortedFunc(maps.Keys(sets), func(a, b attribute.Distinct) int {
		return cmp.Compare(describe(sets[a]), describe(sets[b]))
	}) {
		set := sets[d]
		if n, _ := count(set.ToSlice()); n != counted[d] {
			k.errorf("%s: %d for %s, and there are %d events", where, n, describe(set), counted[d])
		}
	}
	if total > 0 {
		k.errorf("%s: count %d operations more than there are events", where, total)
	}
}

func describe(set attribute.Set) string {
	var b strings.Builder
	for _, kv := range set.ToSlice() {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s=%s", kv.Key, kv.Value.String())
	}
	return "{" + b.String() + "}"
}
