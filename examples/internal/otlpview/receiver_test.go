// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otlpview

// The receiver and its store: what hostile or broken senders can do.

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
	Renderer{W: &out, Width: 240}.Report(s.Snapshot())
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
			r := &Receiver{store: newStore()}
			req := httptest.NewRequestWithContext(t.Context(), test.method, test.path, bytes.NewReader(test.body))
			req.Header.Set("Content-Type", test.contentType)
			if test.encoding != "" {
				req.Header.Set("Content-Encoding", test.encoding)
			}
			res := httptest.NewRecorder()
			r.handler().ServeHTTP(res, req)
			if res.Code != test.status || len(r.Snapshot().Events) != test.events {
				t.Errorf("status %d and %d events instead of %d and %d",
					res.Code, len(r.Snapshot().Events), test.status, test.events)
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
		s.addPoint("", Point{Metric: fmt.Sprint(i)})
	}
	if got := s.Snapshot(); len(got.Spans) > maxItems || len(got.Points) > maxItems || got.Dropped == 0 {
		t.Errorf("%d spans, %d points, %d dropped", len(got.Spans), len(got.Points), got.Dropped)
	}
}

func TestTotals(t *testing.T) {
	s := newStore()
	for range 2 { // the same export twice
		s.addPoint("a", Point{Metric: "total", Count: 2})
		s.addPoint("a", Point{Metric: "delta", Count: 2, Delta: true})
	}
	s.addPoint("b", Point{Metric: "total", Count: 2}) // another process of the same service
	counts := map[string]uint64{}
	for _, p := range s.Snapshot().Points {
		counts[p.Metric] += p.Count
	}
	if counts["total"] != 4 || counts["delta"] != 4 {
		t.Errorf("got %v", counts)
	}
}
