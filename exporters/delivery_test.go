// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file tests what is said of deliveries and other diagnostics, and what is
// taken out of it.

package exporters

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	"google.golang.org/protobuf/proto"
)

func TestDeliveriesAreSaidOnce(t *testing.T) {
	var said bytes.Buffer
	d := newDeliveries(newDiagnostics(&said))
	dead := d.to("traces", "http://dead:4318", nil)
	jaeger := d.to("traces", "http://jaeger:4318", nil)
	fail, ok := errors.New("refused"), error(nil)
	for _, step := range []struct {
		signal string
		dest   *destination
		err    error
		want   string
	}{
		{"traces", dead, fail, "otelmcp: telemetry is not being delivered to http://dead:4318: traces: refused\n"},
		{"traces", dead, fail, ""},
		{"logs", dead, fail, ""}, // all of it is dead, and that was said
		{"traces", dead, ok, ""}, // not all is well yet
		{"logs", dead, ok, "otelmcp: telemetry is being delivered to http://dead:4318 again\n"},
		{"logs", dead, ok, ""},

		{"metrics", jaeger, fail, "otelmcp: telemetry is not being delivered to http://jaeger:4318: metrics: refused\n"},
		{"traces", jaeger, ok, ""},
		{"logs", jaeger, fail, "otelmcp: telemetry is not being delivered to http://jaeger:4318: logs: refused\n"}, // others get through
		{"metrics", jaeger, fail, ""},
	} {
		said.Reset()
		d.report(step.signal, step.dest, step.err)
		if got := said.String(); got != step.want {
			t.Errorf("%s to %s: %v said %q, want %q", step.signal, step.dest.name, step.err, got, step.want)
		}
	}
}

// TestRecovery: a collector that refuses and then accepts, through the SDK.
func TestRecovery(t *testing.T) {
	r := newReceiver()
	var broken atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if broken.Load() {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		r.serveHTTP(w, req)
	}))
	defer srv.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", srv.URL)
	var said bytes.Buffer
	p, err := Setup(t.Context(), WithStderr(&said))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []bool{true, true, false, false} {
		broken.Store(b)
		emit(t.Context())
		if err := p.ForceFlush(t.Context()); (err != nil) != b {
			t.Errorf("ForceFlush: %v", err)
		}
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "is not being delivered to "+srv.URL) || !strings.HasSuffix(lines[1], "is being delivered to "+srv.URL+" again") {
		t.Errorf("said:\n%s", said.String())
	}
}

// TestACutExportComesBack, and so do those after it.
func TestACutExportComesBack(t *testing.T) {
	d := newDeliveries(newDiagnostics(new(bytes.Buffer)))
	dest := d.to("traces", "somewhere", nil)
	started := make(chan struct{})
	done := make(chan error)
	go func() {
		done <- d.watch(t.Context(), "traces", dest, func(ctx context.Context) error {
			close(started)
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	<-started
	d.cut(errDeadline)
	if err := <-done; !errors.Is(err, errDeadline) {
		t.Error(err)
	}
	// Asked all the same, because exporters count what they do not deliver.
	asked := false
	err := d.watch(t.Context(), "traces", dest, func(ctx context.Context) error {
		asked = true
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, errDeadline) || !asked {
		t.Errorf("%v, asked: %v", err, asked)
	}
	err = d.watch(t.Context(), metrics, dest, func(context.Context) error { t.Error("exported"); return nil })
	if !errors.Is(err, errDeadline) {
		t.Error(err)
	}
}

// TestLossAtTheEndIsCounted: what Shutdown gives up is in metrics that go where
// they can be delivered.
func TestLossAtTheEndIsCounted(t *testing.T) {
	for name, start := range map[string]func(*testing.T) string{"closed": closedPort, "hanging": hanging} {
		for _, protocol := range []string{"http/protobuf", "grpc"} {
			t.Run(name+"/"+protocol, func(t *testing.T) {
				r, url := startHTTP(t)
				res := run(t, "300ms", "OTEL_EXPORTER_OTLP_ENDPOINT="+start(t), "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol,
					"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT="+url+"/v1/metrics", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/protobuf",
					// Several batches: the first is under way when the time is up, the others are not.
					"OTEL_BSP_MAX_EXPORT_BATCH_SIZE=1", "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE=1")
				res.ok(t)
				for _, metric := range []string{"otel.sdk.exporter.span.exported", "otel.sdk.exporter.log.exported"} {
					if got := r.sum(metric, "error.type"); got != emitted {
						t.Errorf("%s with error.type is %d, want %d", metric, got, emitted)
					}
				}
				if strings.Contains(res.stderr, url) {
					t.Errorf("the metrics are said to be lost:\n%s", res.stderr)
				}
			})
		}
	}
}

// TestPartialSuccess: a collector that is there but does not take everything.
func TestPartialSuccess(t *testing.T) {
	var rejected atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-protobuf")
		answer := &collogs.ExportLogsServiceResponse{PartialSuccess: &collogs.ExportLogsPartialSuccess{
			RejectedLogRecords: rejected.Load(), ErrorMessage: "too old",
		}}
		body, err := proto.Marshal(answer)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(body)
	}))
	defer srv.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", srv.URL)
	t.Setenv(envTraces, "none")
	t.Setenv(envMetrics, "none")
	var said bytes.Buffer
	p, err := Setup(t.Context(), WithStderr(&said))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int64{0, 0, 1, 1} {
		rejected.Store(n)
		emit(t.Context())
		if err := p.ForceFlush(t.Context()); (err != nil) != (n > 0) {
			t.Errorf("%d rejected: ForceFlush: %v", n, err)
		}
	}
	emit(t.Context())
	if err := p.Shutdown(t.Context()); err == nil {
		t.Error("Shutdown does not tell that a record was lost")
	}
	want := "otelmcp: " + srv.URL + " warns: logs: OTLP partial success: too old (0 logs rejected)\n" +
		"otelmcp: telemetry is being rejected by " + srv.URL + ": logs: OTLP partial success: too old (1 logs rejected)\n" +
		"otelmcp: telemetry was lost at shutdown: logs to " + srv.URL + ": OTLP partial success: too old (1 logs rejected)\n"
	if got := said.String(); got != want {
		t.Errorf("said\n%s\nwant\n%s", got, want)
	}
}

// TestARefusalIsNoPartialSuccess, though it says that it is one.
func TestARefusalIsNoPartialSuccess(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "OTLP partial success: fine (0 logs rejected)", http.StatusBadRequest)
	}))
	defer srv.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", srv.URL)
	var said bytes.Buffer
	p, err := Setup(t.Context(), WithStderr(&said))
	if err != nil {
		t.Fatal(err)
	}
	emit(t.Context())
	if err := p.Shutdown(t.Context()); err == nil {
		t.Error("Shutdown does not tell that telemetry was lost")
	}
	if n := strings.Count(said.String(), "is not being delivered"); n != 1 {
		t.Errorf("said %q", said.String())
	}
}

// TestAnAbandonedPipelineIsSilent: what ends with a failed Setup is not worth a
// word besides its error.
func TestAnAbandonedPipelineIsSilent(t *testing.T) {
	var said bytes.Buffer
	d := newDeliveries(newDiagnostics(&said))
	dest := d.to("traces", "somewhere", nil)
	cause := errors.New("no setup")
	d.abandon(cause)
	err := d.watch(t.Context(), "traces", dest, func(context.Context) error { t.Error("exported"); return nil })
	if !errors.Is(err, cause) {
		t.Error(err)
	}
	if said.Len() > 0 {
		t.Errorf("said %q", said.String())
	}
}

func TestDiagnosticsDoNotRepeatThemselves(t *testing.T) {
	var said bytes.Buffer
	d := newDiagnostics(&said)
	now := time.Unix(0, 0)
	d.now = func() time.Time { return now }

	for i := range 100 {
		d.Handle(fmt.Errorf("queue full, %d dropped", i))
	}
	if got, want := said.String(), "otelmcp: queue full, 0 dropped\n"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
	d.Handle(&deliveryError{errors.New("said elsewhere")})
	d.Handle(fmt.Errorf("wrapped: %w", &deliveryError{errors.New("said elsewhere")}))
	for i := range 1000 {
		d.Handle(errors.New("another " + strings.Repeat("x", i)))
	}
	if n := strings.Count(said.String(), "\n"); n != maxLines {
		t.Errorf("%d lines in one window", n)
	}
	if len(d.seen) > maxSeen {
		t.Errorf("%d texts are remembered", len(d.seen))
	}
	if strings.Contains(said.String(), "elsewhere") {
		t.Error("a delivery was said twice")
	}
	said.Reset()
	now = now.Add(window)
	d.Handle(errors.New("queue full, 5 dropped"))
	if got := said.String(); !strings.Contains(got, "more lines were not shown\n") || !strings.Contains(got, "queue full, 5 dropped\n") {
		t.Errorf("the next window says %q", got)
	}
}

func TestDiagnosticsAreOneLineEach(t *testing.T) {
	var said bytes.Buffer
	d := newDiagnostics(&lockedWriter{w: &said})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { d.say("a\nb\r\n\tc") })
	}
	wg.Wait()
	if got := said.String(); got != strings.Repeat("otelmcp: a b c\n", 8) {
		t.Errorf("said %q", got)
	}
}

func TestLogger(t *testing.T) {
	var said bytes.Buffer
	d := newDiagnostics(&said)
	l := d.logger(newQueues(d))
	l.V(4).Info("chatter")
	l.V(1).Info("a warning", "dropped", 3)
	l.Error(errors.New("broken"), "an error")
	got := said.String()
	if strings.Contains(got, "chatter") || !strings.Contains(got, "a warning") || !strings.Contains(got, "broken") {
		t.Errorf("said %q", got)
	}
}

func TestRedact(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=s3cr3t,dd=hunter2%20really")
	for in, want := range map[string]string{
		`Post "https://user:pass@host:4318/v1/traces?key=abc#x": refused`: `Post "https://host:4318/v1/traces": refused`,
		`parse "http://user:pa%zzss@host/": bad`:                          `parse "http://host/": bad`,
		"body: bad tenant s3cr3t":                                         "body: bad tenant [redacted]",
		`invalid baggage list-member: "eyJhbGciOiJIUzI1NiJ9.e30.c2ln"`:    `invalid baggage list-member: [redacted]`,
		"body: hunter2 really":                                            "body: [redacted]",
		"Authorization: Bearer abc.def":                                   "Authorization: [redacted]",
		"got Basic dXNlcjpwYXNz here":                                     "got Basic [redacted] here",
		"api-key=abcdef, password: x":                                     "api-key=[redacted], password: [redacted]",
		"dial tcp 127.0.0.1:4318: connect: connection refused":            "dial tcp 127.0.0.1:4318: connect: connection refused",
	} {
		if got := redact(in); got != want {
			t.Errorf("redact(%q)\n got %q\nwant %q", in, got, want)
		}
	}
}

// TestTheErrorHandlerIsOurs, so that the SDK's errors take this way too.
func TestTheErrorHandlerIsOurs(t *testing.T) {
	t.Setenv(envTraces, "none")
	t.Setenv(envMetrics, "none")
	t.Setenv(envLogs, "none")
	var said bytes.Buffer
	p, err := Setup(t.Context(), WithStderr(&said))
	if err != nil {
		t.Fatal(err)
	}
	otel.Handle(errors.New("some trouble"))
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if got := said.String(); got != "otelmcp: some trouble\n" {
		t.Errorf("said %q", got)
	}
}
