// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otlpview

// What has arrived over OTLP, as far as it is shown. All text is made safe for a
// terminal here, at the one place where it enters.

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

// Attributes are shown as text, whatever their type.
type Attributes map[string]string

// Span is one span, its ids in hexadecimal.
type Span struct {
	TraceID, ID, ParentID string
	Name, Kind, Service   string
	Start, End            time.Time
	Failed                bool
	Message               string // of the status
	Attrs                 Attributes
	Links                 []string // trace ids
}

// Point is one series of a metric, in total.
type Point struct {
	Metric, Unit, Service string
	Attrs                 Attributes
	Histogram             bool
	Delta                 bool // what has been since the last export, not in total
	Count                 uint64
	Value                 float64 // the sum, if it is a histogram
}

// Event is a log record.
type Event struct {
	TraceID, SpanID string
	At              time.Time
	Severity        string
	Name, Body      string
	Service         string
	Attrs           Attributes
}

// Telemetry is a snapshot: spans and events in the order of their time, points
// in that of their names.
type Telemetry struct {
	Spans   []*Span
	Points  []Point
	Events  []*Event
	Dropped int
}

type store struct {
	mu      sync.Mutex
	spans   []*Span
	points  map[string]Point
	events  []*Event
	dropped int
}

func newStore() *store { return &store{points: map[string]Point{}} }

// Snapshot returns what has arrived so far.
func (s *store) Snapshot() Telemetry {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := Telemetry{
		Spans:   slices.Clone(s.spans),
		Events:  slices.Clone(s.events),
		Dropped: s.dropped,
	}
	for _, key := range slices.Sorted(maps.Keys(s.points)) {
		t.Points = append(t.Points, s.points[key])
	}
	slices.SortStableFunc(t.Spans, func(a, b *Span) int { return a.Start.Compare(b.Start) })
	slices.SortStableFunc(t.Events, func(a, b *Event) int { return a.At.Compare(b.At) })
	return t
}

func (s *store) addSpans(resources []*tracepb.ResourceSpans) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range resources {
		service := serviceOf(resource.GetResource())
		for _, scope := range resource.GetScopeSpans() {
			for _, from := range scope.GetSpans() {
				to := &Span{
					TraceID:  hex.EncodeToString(from.GetTraceId()),
					ID:       hex.EncodeToString(from.GetSpanId()),
					ParentID: hex.EncodeToString(from.GetParentSpanId()),
					Name:     clean(from.GetName()),
					Kind:     strings.ToLower(strings.TrimPrefix(from.GetKind().String(), "SPAN_KIND_")),
					Service:  service,
					Start:    unixNano(from.GetStartTimeUnixNano()),
					End:      unixNano(from.GetEndTimeUnixNano()),
					Failed:   from.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR,
					Message:  clean(from.GetStatus().GetMessage()),
					Attrs:    textAttributes(from.GetAttributes()),
				}
				for _, link := range from.GetLinks() {
					to.Links = append(to.Links, hex.EncodeToString(link.GetTraceId()))
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
					p.Metric, p.Unit, p.Service = clean(metric.GetName()), clean(metric.GetUnit()), service
					s.addPoint(sender, p)
				}
			}
		}
	}
}

// addPoint keeps the newest total of each series of each sender.
func (s *store) addPoint(sender string, p Point) {
	key := strings.Join([]string{p.Metric, p.Service, p.Attrs.String(), sender}, "\x00")
	before, known := s.points[key]
	if !known && len(s.points) >= maxItems {
		s.dropped++
		return
	}
	if p.Delta {
		p.Count += before.Count
		p.Value += before.Value
	}
	s.points[key] = p
}

func seriesOf(metric *metricspb.Metric) (points []Point) {
	numbers := func(from []*metricspb.NumberDataPoint, delta bool) {
		for _, number := range from {
			value := number.GetAsDouble()
			if _, isInt := number.GetValue().(*metricspb.NumberDataPoint_AsInt); isInt {
				value = float64(number.GetAsInt())
			}
			points = append(points, Point{Attrs: textAttributes(number.GetAttributes()), Value: value, Delta: delta})
		}
	}
	isDelta := func(t metricspb.AggregationTemporality) bool {
		return t == metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA
	}
	numbers(metric.GetGauge().GetDataPoints(), false)
	numbers(metric.GetSum().GetDataPoints(), isDelta(metric.GetSum().GetAggregationTemporality()))
	for _, from := range metric.GetHistogram().GetDataPoints() {
		points = append(points, Point{
			Attrs: textAttributes(from.GetAttributes()), Histogram: true, Count: from.GetCount(), Value: from.GetSum(),
			Delta: isDelta(metric.GetHistogram().GetAggregationTemporality()),
		})
	}
	for _, from := range metric.GetExponentialHistogram().GetDataPoints() {
		points = append(points, Point{
			Attrs: textAttributes(from.GetAttributes()), Histogram: true, Count: from.GetCount(), Value: from.GetSum(),
			Delta: isDelta(metric.GetExponentialHistogram().GetAggregationTemporality()),
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
				s.events = keep(s.events, &Event{
					TraceID:  hex.EncodeToString(from.GetTraceId()),
					SpanID:   hex.EncodeToString(from.GetSpanId()),
					At:       unixNano(cmp.Or(from.GetTimeUnixNano(), from.GetObservedTimeUnixNano())),
					Severity: severity(from),
					Name:     clean(from.GetEventName()),
					Body:     text(from.GetBody()),
					Service:  service,
					Attrs:    textAttributes(from.GetAttributes()),
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

func textAttributes(from []*commonpb.KeyValue) Attributes {
	to := make(Attributes, len(from))
	for _, kv := range from {
		to[clean(kv.GetKey())] = text(kv.GetValue())
	}
	return to
}

// String lists the attributes in the order of their names.
func (a Attributes) String() string {
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
