// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file holds the collectors that the tests export to: a real one over
// gRPC and HTTP, and ones that fail in the ways that collectors fail.

package exporters

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	colmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// receiver collects the names of what arrives.
type receiver struct {
	mu       sync.Mutex
	spans    map[string]bool
	metrics  map[string]bool
	logs     map[string]bool
	resource map[string]string
	sums     []*metricspb.Metric // of all exports, the newest last
}

func newReceiver() *receiver {
	return &receiver{spans: map[string]bool{}, metrics: map[string]bool{}, logs: map[string]bool{}, resource: map[string]string{}}
}

func (r *receiver) has(set map[string]bool, name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return set[name]
}

// sum adds up the newest export of a metric, of the points that have an attribute.
func (r *receiver) sum(metric, attribute string) (total int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.sums {
		if m.GetName() != metric {
			continue
		}
		total = 0
		for _, p := range m.GetSum().GetDataPoints() {
			if slices.ContainsFunc(p.GetAttributes(), func(kv *commonpb.KeyValue) bool { return kv.GetKey() == attribute }) {
				total += p.GetAsInt()
			}
		}
	}
	return total
}

func (r *receiver) described(res *resourcepb.Resource) {
	for _, kv := range res.GetAttributes() {
		r.resource[kv.GetKey()] = kv.GetValue().GetStringValue()
	}
}

type traceService struct {
	coltrace.UnimplementedTraceServiceServer
	r *receiver
}

func (s traceService) Export(_ context.Context, req *coltrace.ExportTraceServiceRequest) (*coltrace.ExportTraceServiceResponse, error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	for _, rs := range req.GetResourceSpans() {
		s.r.described(rs.GetResource())
		for _, ss := range rs.GetScopeSpans() {
			for _, span := range ss.GetSpans() {
				s.r.spans[span.GetName()] = true
			}
		}
	}
	return &coltrace.ExportTraceServiceResponse{}, nil
}

type metricService struct {
	colmetrics.UnimplementedMetricsServiceServer
	r *receiver
}

func (s metricService) Export(_ context.Context, req *colmetrics.ExportMetricsServiceRequest) (*colmetrics.ExportMetricsServiceResponse, error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	for _, rm := range req.GetResourceMetrics() {
		for _, sm := range rm.GetScopeMetrics() {
			for _, m := range sm.GetMetrics() {
				s.r.metrics[m.GetName()] = true
				s.r.sums = append(s.r.sums, m)
			}
		}
	}
	return &colmetrics.ExportMetricsServiceResponse{}, nil
}

type logService struct {
	collogs.UnimplementedLogsServiceServer
	r *receiver
}

func (s logService) Export(_ context.Context, req *collogs.ExportLogsServiceRequest) (*collogs.ExportLogsServiceResponse, error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	for _, rl := range req.GetResourceLogs() {
		for _, sl := range rl.GetScopeLogs() {
			for _, l := range sl.GetLogRecords() {
				s.r.logs[l.GetEventName()] = true
			}
		}
	}
	return &collogs.ExportLogsServiceResponse{}, nil
}

// serveHTTP answers OTLP over HTTP.
func (r *receiver) serveHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch req.URL.Path {
	case "/v1/traces":
		var m coltrace.ExportTraceServiceRequest
		if err = proto.Unmarshal(body, &m); err == nil {
			_, err = traceService{r: r}.Export(req.Context(), &m)
		}
	case "/v1/metrics":
		var m colmetrics.ExportMetricsServiceRequest
		if err = proto.Unmarshal(body, &m); err == nil {
			_, err = metricService{r: r}.Export(req.Context(), &m)
		}
	case "/v1/logs":
		var m collogs.ExportLogsServiceRequest
		if err = proto.Unmarshal(body, &m); err == nil {
			_, err = logService{r: r}.Export(req.Context(), &m)
		}
	default:
		http.NotFound(w, req)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
}

func startHTTP(t *testing.T) (*receiver, string) {
	t.Helper()
	l := listen(t)
	return serveHTTPOn(t, l), "http://" + l.Addr().String()
}

func serveHTTPOn(t *testing.T, l net.Listener) *receiver {
	t.Helper()
	r := newReceiver()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(r.serveHTTP))
	_ = srv.Listener.Close() // the one it picked itself
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.Close)
	return r
}

func startGRPC(t *testing.T) (*receiver, string) {
	t.Helper()
	l := listen(t)
	return serveGRPCOn(t, l), "http://" + l.Addr().String()
}

func serveGRPCOn(t *testing.T, l net.Listener) *receiver {
	t.Helper()
	r := newReceiver()
	srv := grpc.NewServer()
	coltrace.RegisterTraceServiceServer(srv, traceService{r: r})
	colmetrics.RegisterMetricsServiceServer(srv, metricService{r: r})
	collogs.RegisterLogsServiceServer(srv, logService{r: r})
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Stop(); <-served })
	return r
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// closedPort is an address where nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l := listen(t)
	defer l.Close()
	return "http://" + l.Addr().String()
}

// hanging accepts connections and never answers.
func hanging(t *testing.T) string {
	t.Helper()
	l := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var conns []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			conns = append(conns, c)
		}
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String()
}

// unavailable answers 503, for which exporters wait and try again.
func unavailable(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "try later", http.StatusServiceUnavailable)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}
