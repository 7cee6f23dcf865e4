// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package interop_test

// An OTLP receiver. As any of them it decodes what arrives with protobuf's own decoder, which refuses a batch for one
// text that is no UTF-8.

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	colmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/proto"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
)

type receiver struct {
	web     *httptest.Server
	mu      sync.Mutex
	spans   int
	records int
	points  int
	refused []string
	texts   []received
}

// received is a text that arrived. key is that of the attribute that it stands under.
type received struct{ where, key, value string }

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.web = httptest.NewServer(r)
	t.Cleanup(r.web.Close)
	return r
}

// pipeline exports to the receiver as a program's does, in batches. What an exporter cannot deliver it says when it is
// flushed.
func (r *receiver) pipeline(t *testing.T) telemetrytest.Pipeline {
	t.Helper()
	traces, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpointURL(r.web.URL+"/v1/traces"))
	if err != nil {
		t.Fatal(err)
	}
	logs, err := otlploghttp.New(t.Context(), otlploghttp.WithEndpointURL(r.web.URL+"/v1/logs"))
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := otlpmetrichttp.New(t.Context(), otlpmetrichttp.WithEndpointURL(r.web.URL+"/v1/metrics"))
	if err != nil {
		t.Fatal(err)
	}
	return telemetrytest.Pipeline{
		Spans:   sdktrace.NewBatchSpanProcessor(traces, sdktrace.WithBlocking()),
		Logs:    sdklog.NewBatchProcessor(logs, sdklog.WithMaxQueueSize(1<<16), sdklog.WithExportInterval(100*time.Millisecond)),
		Metrics: sdkmetric.NewPeriodicReader(metrics, sdkmetric.WithInterval(time.Hour)),
	}
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err == nil {
		err = r.take(req.URL.Path, body)
	}
	if err != nil {
		r.mu.Lock()
		r.refused = append(r.refused, req.URL.Path+": "+err.Error())
		r.mu.Unlock()
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
}

func (r *receiver) take(path string, body []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch path {
	case "/v1/traces":
		var m coltrace.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &m); err != nil {
			return err
		}
		for _, rs := range m.GetResourceSpans() {
			for _, ss := range rs.GetScopeSpans() {
				for _, s := range ss.GetSpans() {
					r.spans++
					r.text("span name", "", s.GetName())
					r.text("status", "", s.GetStatus().GetMessage())
					r.text("tracestate", "", s.GetTraceState())
					r.all("span", s.GetAttributes())
					for _, l := range s.GetLinks() {
						r.text("tracestate", "", l.GetTraceState())
						r.all("link", l.GetAttributes())
					}
					for _, e := range s.GetEvents() {
						r.text("span event", "", e.GetName())
						r.all("span event", e.GetAttributes())
					}
				}
			}
		}
	case "/v1/logs":
		var m collogs.ExportLogsServiceRequest
		if err := proto.Unmarshal(body, &m); err != nil {
			return err
		}
		for _, rl := range m.GetResourceLogs() {
			for _, sl := range rl.GetScopeLogs() {
				for _, l := range sl.GetLogRecords() {
					r.records++
					r.text("event name", "", l.GetEventName())
					r.value("body", "", l.GetBody())
					r.all("event", l.GetAttributes())
				}
			}
		}
	case "/v1/metrics":
		var m colmetrics.ExportMetricsServiceRequest
		if err := proto.Unmarshal(body, &m); err != nil {
			return err
		}
		for _, rm := range m.GetResourceMetrics() {
			for _, sm := range rm.GetScopeMetrics() {
				for _, metric := range sm.GetMetrics() {
					for _, p := range metric.GetSum().GetDataPoints() {
						r.points++
						r.all("metric", p.GetAttributes())
					}
					for _, p := range metric.GetHistogram().GetDataPoints() {
						r.points++
						r.all("metric", p.GetAttributes())
					}
				}
			}
		}
	}
	return nil
}

func (r *receiver) text(where, key, value string) {
	r.texts = append(r.texts, received{where, key, value})
}

func (r *receiver) all(where string, kvs []*commonpb.KeyValue) {
	for _, kv := range kvs {
		r.text(where+" key", "", kv.GetKey())
		r.value(where, kv.GetKey(), kv.GetValue())
	}
}

func (r *receiver) value(where, key string, v *commonpb.AnyValue) {
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		r.text(where, key, v.StringValue)
	case *commonpb.AnyValue_ArrayValue:
		for _, e := range v.ArrayValue.GetValues() {
			r.value(where, key, e)
		}
	case *commonpb.AnyValue_KvlistValue:
		for _, kv := range v.KvlistValue.GetValues() {
			r.text(where+" member", key, kv.GetKey())
			r.value(where, key, kv.GetValue())
		}
	}
}
