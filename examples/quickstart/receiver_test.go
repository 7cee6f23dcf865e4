// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The receiver and its store: what hostile or broken senders can do, and how
// the check of the demo finds what is missing.

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"
	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// hostile would clear the screen, set the title, reverse the text, ring the
// bell and go back over the line, if a terminal obeyed it.
const hostile = "a\x1b[2J\x1b]0;owned\x07b\u202Ec\u009b31md\r\ne\u200bf\x00g"

func TestHostileTextIsSanitised(t *testing.T) {
	value := func(s string) *commonpb.AnyValue {
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s}}
	}
	nested := &commonpb.AnyValue{Value: &commonpb.AnyValue_KvlistValue{KvlistValue: &commonpb.KeyValueList{
		Values: []*commonpb.KeyValue{{Key: hostile, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{
			ArrayValue: &commonpb.ArrayValue{Values: []*commonpb.AnyValue{value(hostile)}},
		}}}},
	}}}
	attrs := []*commonpb.KeyValue{
		{Key: "service.name", Value: value(hostile)},
		{Key: "error.type", Value: value(hostile)},
		{Key: "rpc.response.status_code", Value: value(hostile)},
		{Key: "mcp.method.name", Value: value(hostile)},
		{Key: hostile, Value: nested},
		{Key: "mcp.session.id", Value: nested},
	}
	resource := &resourcepb.Resource{Attributes: attrs}
	s := newStore()
	s.addSpans([]*tracepb.ResourceSpans{{Resource: resource, ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{
		{
			Name: hostile, TraceId: []byte(hostile), SpanId: []byte{1}, Attributes: attrs, Kind: 77,
			StartTimeUnixNano: math.MaxUint64, Status: &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: hostile},
			Links: []*tracepb.Span_Link{{TraceId: []byte(hostile)}},
		},
		{Name: hostile, SpanId: []byte{2}, Attributes: attrs},
	}}}}})
	s.addMetrics([]*metricspb.ResourceMetrics{{Resource: resource, ScopeMetrics: []*metricspb.ScopeMetrics{{
		Metrics: []*metricspb.Metric{{
			Name: "mcp." + hostile, Unit: hostile,
			Data: &metricspb.Metric_Gauge{Gauge: &metricspb.Gauge{DataPoints: []*metricspb.NumberDataPoint{{Attributes: attrs}}}},
		}, {
			Name: hostile,
			Data: &metricspb.Metric_Gauge{Gauge: &metricspb.Gauge{DataPoints: []*metricspb.NumberDataPoint{{Attributes: attrs}}}},
		}},
	}}}})
	s.addLogs([]*logspb.ResourceLogs{{Resource: resource, ScopeLogs: []*logspb.ScopeLogs{{LogRecords: []*logspb.LogRecord{
		{EventName: hostile, SeverityText: hostile, Body: value(hostile), Attributes: attrs},
		{EventName: hostile, SeverityNumber: 99, Body: nested, Attributes: attrs},
	}}}}})

	var out bytes.Buffer
	renderer{w: &out, width: 240}.report(s.snapshot())
	if !strings.Contains(out.String(), "owned") {
		t.Fatalf("the text is not there at all:\n%s", &out)
	}
	for _, r := range out.String() {
		if r != '\n' && clean(string(r)) != string(r) {
			t.Fatalf("%U reached the terminal:\n%q", r, out.String())
		}
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain ünïcode 天気":           "plain ünïcode 天気",
		"tab\tand\nnewline":          "tab and newline",
		"\x1b[31m":                   "\uFFFD[31m",
		"\xff\xfe":                   "\uFFFD\uFFFD",
		"\u202e\u2066":               "\uFFFD\uFFFD",
		strings.Repeat("x", maxText): strings.Repeat("x", maxText),
		strings.Repeat("天", 999):     strings.Repeat("天", maxText) + "…",
	} {
		if got := clean(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestReceiver(t *testing.T) {
	export, err := proto.Marshal(&collogs.ExportLogsServiceRequest{ResourceLogs: []*logspb.ResourceLogs{{
		ScopeLogs: []*logspb.ScopeLogs{{LogRecords: []*logspb.LogRecord{{EventName: "e"}}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	zip := func(data []byte) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write(data)
		_ = w.Close()
		return b.Bytes()
	}
	const protobuf = "application/x-protobuf"
	for _, test := range []struct {
		name, method, path, contentType, encoding string
		body                                      []byte
		status, events                            int
	}{
		{"plain", "POST", "/v1/logs", protobuf, "", export, 200, 1},
		{"zipped", "POST", "/v1/logs", protobuf, "gzip", zip(export), 200, 1},
		{"empty", "POST", "/v1/logs", protobuf, "", nil, 200, 0},
		{"not protobuf", "POST", "/v1/logs", protobuf, "", []byte("nonsense"), 400, 0},
		{"not zipped", "POST", "/v1/logs", protobuf, "gzip", export, 400, 0},
		{"a bomb", "POST", "/v1/logs", protobuf, "gzip", zip(make([]byte, 4*maxBody)), 400, 0},
		{"too large", "POST", "/v1/logs", protobuf, "", make([]byte, maxBody+1), 400, 0},
		{"json", "POST", "/v1/logs", "application/json", "", []byte("{}"), 415, 0},
		{"other method", "GET", "/v1/logs", protobuf, "", nil, 405, 0},
		{"other path", "POST", "/v1/nonsense", protobuf, "", nil, 404, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &receiver{store: newStore()}
			req := httptest.NewRequestWithContext(t.Context(), test.method, test.path, bytes.NewReader(test.body))
			req.Header.Set("Content-Type", test.contentType)
			if test.encoding != "" {
				req.Header.Set("Content-Encoding", test.encoding)
			}
			res := httptest.NewRecorder()
			r.handler().ServeHTTP(res, req)
			if res.Code != test.status || len(r.snapshot().events) != test.events {
				t.Errorf("status %d and %d events instead of %d and %d",
					res.Code, len(r.snapshot().events), test.status, test.events)
			}
			if res.Code == http.StatusOK && res.Header().Get("Content-Type") != protobuf {
				t.Errorf("answered as %q", res.Header().Get("Content-Type"))
			}
		})
	}
}

func TestStoreIsBounded(t *testing.T) {
	s := newStore()
	for i := range 3 * maxItems {
		s.addSpans([]*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{{}}}}}})
		s.addPoint("", point{metric: fmt.Sprint(i)})
	}
	if got := s.snapshot(); len(got.spans) > maxItems || len(got.points) > maxItems || got.dropped == 0 {
		t.Errorf("%d spans, %d points, %d dropped", len(got.spans), len(got.points), got.dropped)
	}
}

func TestTotals(t *testing.T) {
	s := newStore()
	for range 2 { // the same export twice
		s.addPoint("a", point{metric: "total", count: 2})
		s.addPoint("a", point{metric: "delta", count: 2, delta: true})
	}
	s.addPoint("b", point{metric: "total", count: 2}) // another process of the same service
	counts := map[string]uint64{}
	for _, p := range s.snapshot().points {
		counts[p.metric] += p.count
	}
	if counts["total"] != 4 || counts["delta"] != 4 {
		t.Errorf("got %v", counts)
	}
}

func TestMissing(t *testing.T) {
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	traceID, parentID := sc.TraceID().String(), sc.SpanID().String()
	l := &ledger{sent: []sentRequest{{method: "tools/call", target: "a", span: sc}}, received: 1}
	whole := func() telemetry {
		return telemetry{
			spans: []*span{
				{traceID: traceID, id: "s", parentID: parentID, kind: "server", name: "tools/call a", service: "weather"},
				{traceID: traceID, id: "c", parentID: "s", kind: "client", name: "sampling/createMessage", service: "weather"},
			},
			events: []*event{{name: "otelmcp.operation", spanID: "s"}},
			points: []point{
				{metric: "mcp.server.operation.duration", count: 1, attrs: attributes{"mcp.method.name": "tools/call", "gen_ai.tool.name": "a"}},
				{metric: "mcp.client.operation.duration", count: 1, attrs: attributes{"mcp.method.name": "sampling/createMessage"}},
			},
		}
	}
	if got := missing(l, whole()); len(got) != 0 {
		t.Errorf("nothing is missing, but: %q", got)
	}
	for name, spoil := range map[string]func(*telemetry){
		"no server span":  func(t *telemetry) { t.spans = t.spans[1:] },
		"two spans":       func(t *telemetry) { t.spans = append(t.spans, t.spans[0]) },
		"other name":      func(t *telemetry) { t.spans[0].name = "tools/call b" },
		"other trace":     func(t *telemetry) { t.spans[0].traceID = "x" },
		"no client span":  func(t *telemetry) { t.spans = t.spans[:1] },
		"no event":        func(t *telemetry) { t.events = nil },
		"two events":      func(t *telemetry) { t.events = append(t.events, t.events[0]) },
		"no server count": func(t *telemetry) { t.points = t.points[1:] },
		"other count":     func(t *telemetry) { t.points[0].count = 2 },
		"no client count": func(t *telemetry) { t.points = t.points[:1] },
	} {
		got := whole()
		spoil(&got)
		if len(missing(l, got)) == 0 {
			t.Errorf("%s: not noticed", name)
		}
	}
}
