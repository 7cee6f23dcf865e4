// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// What has arrived over OTLP, as far as the demo shows it. All text is made
// safe for a terminal here, at the one place where it enters.

import (
	"cmp"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// Bounds: the receiver keeps no more than this, and counts what it drops.
const (
	maxItems = 10_000 // of each signal
	maxText  = 256    // runes of one text
)

type attributes map[string]string

type span struct {
	traceID, id, parentID string
	name, kind, service   string
	start, end            time.Time
	failed                bool
	message               string // of the status
	attrs                 attributes
	links                 []string // trace ids
}

// point is one series of a metric, in total.
type point struct {
	metric, unit, service string
	attrs                 attributes
	histogram             bool
	delta                 bool // what has been since the last export, not in total
	count                 uint64
	value                 float64 // the sum, if it is a histogram
}

type event struct {
	traceID, spanID string
	at              time.Time
	severity        string
	name, body      string
	service         string
	attrs           attributes
}

// telemetry is a snapshot: spans and events in the order of their time, points
// in that of their names.
type telemetry struct {
	spans   []*span
	points  []point
	events  []*event
	dropped int
}

type store struct {
	mu      sync.Mutex
	spans   []*span
	points  map[string]point
	events  []*event
	dropped int
}

func newStore() *store { return &store{points: map[string]point{}} }

func (s *store) snapshot() telemetry {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := telemetry{
		spans:   slices.Clone(s.spans),
		events:  slices.Clone(s.events),
		dropped: s.dropped,
	}
	for _, key := range slices.Sorted(maps.Keys(s.points)) {
		t.points = append(t.points, s.points[key])
	}
	slices.SortStableFunc(t.spans, func(a, b *span) int { return a.start.Compare(b.start) })
	slices.SortStableFunc(t.events, func(a, b *event) int { return a.at.Compare(b.at) })
	return t
}

func (s *store) addSpans(resources []*tracepb.ResourceSpans) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range resources {
		service := serviceOf(resource.GetResource())
		for _, scope := range resource.GetScopeSpans() {
			for _, from := range scope.GetSpans() {
				to := &span{
					traceID:  hex.EncodeToString(from.GetTraceId()),
					id:       hex.EncodeToString(from.GetSpanId()),
					parentID: hex.EncodeToString(from.GetParentSpanId()),
					name:     clean(from.GetName()),
					kind:     strings.ToLower(strings.TrimPrefix(from.GetKind().String(), "SPAN_KIND_")),
					service:  service,
					start:    unixNano(from.GetStartTimeUnixNano()),
					end:      unixNano(from.GetEndTimeUnixNano()),
					failed:   from.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR,
					message:  clean(from.GetStatus().GetMessage()),
					attrs:    textAttributes(from.GetAttributes()),
				}
				for _, link := range from.GetLinks() {
					to.links = append(to.links, hex.EncodeToString(link.GetTraceId()))
				}
				s.spans = keep(s.spans, to, &s.dropped)
			}
		}
	}
}

func (s *store) addMetrics(resources []*metricspb.ResourceMetrics) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range resources {
		service := serviceOf(resource.GetResource())
		sender := textAttributes(resource.GetResource().GetAttributes()).String()
		for _, scope := range resource.GetScopeMetrics() {
			for _, metric := range scope.GetMetrics() {
				for _, p := range seriesOf(metric) {
					p.metric, p.unit, p.service = clean(metric.GetName()), clean(metric.GetUnit()), service
					s.addPoint(sender, p)
				}
			}
		}
	}
}

// addPoint keeps the newest total of each series of each sender.
func (s *store) addPoint(sender string, p point) {
	key := strings.Join([]string{p.metric, p.service, p.attrs.String(), sender}, "\x00")
	before, known := s.points[key]
	if !known && len(s.points) >= maxItems {
		s.dropped++
		return
	}
	if p.delta {
		p.count += before.count
		p.value += before.value
	}
	s.points[key] = p
}

func seriesOf(metric *metricspb.Metric) (points []point) {
	numbers := func(from []*metricspb.NumberDataPoint, delta bool) {
		for _, number := range from {
			value := number.GetAsDouble()
			if _, isInt := number.GetValue().(*metricspb.NumberDataPoint_AsInt); isInt {
				value = float64(number.GetAsInt())
			}
			points = append(points, point{attrs: textAttributes(number.GetAttributes()), value: value, delta: delta})
		}
	}
	isDelta := func(t metricspb.AggregationTemporality) bool {
		return t == metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA
	}
	numbers(metric.GetGauge().GetDataPoints(), false)
	numbers(metric.GetSum().GetDataPoints(), isDelta(metric.GetSum().GetAggregationTemporality()))
	for _, from := range metric.GetHistogram().GetDataPoints() {
		points = append(points, point{
			attrs: textAttributes(from.GetAttributes()), histogram: true, count: from.GetCount(), value: from.GetSum(),
			delta: isDelta(metric.GetHistogram().GetAggregationTemporality()),
		})
	}
	for _, from := range metric.GetExponentialHistogram().GetDataPoints() {
		points = append(points, point{
			attrs: textAttributes(from.GetAttributes()), histogram: true, count: from.GetCount(), value: from.GetSum(),
			delta: isDelta(metric.GetExponentialHistogram().GetAggregationTemporality()),
		})
	}
	return points
}

func (s *store) addLogs(resources []*logspb.ResourceLogs) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range resources {
		service := serviceOf(resource.GetResource())
		for _, scope := range resource.GetScopeLogs() {
			for _, from := range scope.GetLogRecords() {
				s.events = keep(s.events, &event{
					traceID:  hex.EncodeToString(from.GetTraceId()),
					spanID:   hex.EncodeToString(from.GetSpanId()),
					at:       unixNano(cmp.Or(from.GetTimeUnixNano(), from.GetObservedTimeUnixNano())),
					severity: severity(from),
					name:     clean(from.GetEventName()),
					body:     text(from.GetBody()),
					service:  service,
					attrs:    textAttributes(from.GetAttributes()),
				}, &s.dropped)
			}
		}
	}
}

// keep appends item. At the bound, the oldest tenth goes.
func keep[T any](items []T, item T, dropped *int) []T {
	if len(items) >= maxItems {
		items = slices.Delete(items, 0, maxItems/10)
		*dropped += maxItems / 10
	}
	return append(items, item)
}

func severity(from *logspb.LogRecord) string {
	if text := from.GetSeverityText(); text != "" {
		return strings.ToUpper(clean(text))
	}
	return strings.TrimPrefix(from.GetSeverityNumber().String(), "SEVERITY_NUMBER_")
}

func serviceOf(resource *resourcepb.Resource) string {
	return cmp.Or(textAttributes(resource.GetAttributes())["service.name"], "unknown")
}

func unixNano(n uint64) time.Time {
	return time.Unix(0, int64(min(n, 1<<63-1)))
}

func textAttributes(from []*commonpb.KeyValue) attributes {
	to := make(attributes, len(from))
	for _, kv := range from {
		to[clean(kv.GetKey())] = text(kv.GetValue())
	}
	return to
}

// String lists the attributes in the order of their names.
func (a attributes) String() string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(a)) {
		pairs = append(pairs, key+"="+a[key])
	}
	return strings.Join(pairs, " ")
}

func text(value *commonpb.AnyValue) string {
	switch v := value.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return clean(v.StringValue)
	case *commonpb.AnyValue_BoolValue:
		return strconv.FormatBool(v.BoolValue)
	case *commonpb.AnyValue_IntValue:
		return strconv.FormatInt(v.IntValue, 10)
	case *commonpb.AnyValue_DoubleValue:
		return strconv.FormatFloat(v.DoubleValue, 'g', -1, 64)
	case *commonpb.AnyValue_ArrayValue:
		var items []string
		for _, item := range v.ArrayValue.GetValues() {
			items = append(items, text(item))
		}
		return clean("[" + strings.Join(items, ",") + "]")
	case *commonpb.AnyValue_KvlistValue:
		return clean("{" + textAttributes(v.KvlistValue.GetValues()).String() + "}")
	case *commonpb.AnyValue_BytesValue:
		return clean("0x" + hex.EncodeToString(v.BytesValue))
	default:
		return ""
	}
}

// clean makes text safe to print: a terminal must not obey what somebody else
// wrote. Control, formatting (bidi, zero width) and private characters and
// invalid bytes become U+FFFD, white space a space, and long text is cut.
func clean(s string) string {
	var b []rune
	for _, r := range s {
		if len(b) == maxText {
			b = append(b, '…')
			break
		}
		switch {
		case unicode.IsSpace(r):
			r = ' '
		case !unicode.IsGraphic(r):
			r = unicode.ReplacementChar
		}
		b = append(b, r)
	}
	return string(b)
}
