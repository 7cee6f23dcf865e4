// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file fills the SDK's own queues, and reads what is said of that.

package exporters

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/log"
)

// gate is a collector that answers while it is open.
type gate struct {
	mu     sync.Mutex
	closed chan struct{} // nil while it is open
	held   chan struct{} // gets a value for each request that waits
}

func (g *gate) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed != nil {
		g.held <- struct{}{}
		<-closed
	}
	w.WriteHeader(http.StatusOK)
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.closed)
	g.closed = nil
}

// TestAFullQueueIsSaid once, and once when that is over, of spans and of log records
// alike, with how many were lost.
func TestAFullQueueIsSaid(t *testing.T) {
	const queue, more = 10, 7
	for what, tt := range map[string]struct {
		prefix, other string
		emit          func(*testing.T)
	}{
		"spans": {bsp, envLogs, func(t *testing.T) {
			t.Helper()
			_, span := otel.Tracer("test").Start(t.Context(), "test.span")
			span.End()
		}},
		"log records": {blrp, envTraces, func(t *testing.T) {
			t.Helper()
			var r log.Record
			r.SetEventName("test.event")
			otel.Logger("test").Emit(t.Context(), r)
		}},
	} {
		t.Run(what, func(t *testing.T) {
			g := &gate{held: make(chan struct{}, 100)}
			srv := httptest.NewServer(g)
			defer srv.Close()
			for name, v := range map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT": srv.URL, envMetrics: "none", tt.other: "none",
				tt.prefix + "MAX_QUEUE_SIZE": fmt.Sprint(queue), tt.prefix + "MAX_EXPORT_BATCH_SIZE": "1", tt.prefix + "SCHEDULE_DELAY": "3600000",
			} {
				t.Setenv(name, v)
			}
			said := &bytes.Buffer{}
			p, err := Setup(t.Context(), WithStderr(said))
			if err != nil {
				t.Fatal(err)
			}
			var skip time.Duration
			p.out.now = func() time.Time { return time.Now().Add(skip) }
			step := func(want string) {
				t.Helper()
				if err := p.ForceFlush(t.Context()); err != nil {
					t.Error(err)
				}
				p.out.mu.Lock()
				defer p.out.mu.Unlock()
				if got := said.String(); got != want {
					t.Errorf("said %q, want %q", got, want)
				}
				said.Reset()
			}
			overflow := func() {
				t.Helper()
				g.close()
				tt.emit(t) // the one that is being exported
				<-g.held
				for range queue + more {
					tt.emit(t)
				}
				g.open()
			}
			full := fmt.Sprintf("otelmcp: the queue of %s is full, and %s are dropped (%sMAX_QUEUE_SIZE)\n", what, what, tt.prefix)
			over := "otelmcp: the queue of " + what + " is no longer full: %d " + what + " were dropped\n"

			tt.emit(t)
			step("")
			overflow()
			step(full)
			overflow()
			step("") // it still is
			skip += quiet
			tt.emit(t)
			step(fmt.Sprintf(over, 2*more))
			tt.emit(t)
			step("")
			overflow()
			step(full)
			if err := p.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			if got, want := said.String(), fmt.Sprintf(over, more); got != want {
				t.Errorf("at the end this was said: %q, want %q", got, want)
			}
		})
	}
}

// A load that is just too much does not fill standard error.
func TestAFlappingQueueIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		q := newQueues(newDiagnostics(&said))
		for i := range 1000 {
			q.recordsDropped(uint64(i % 2))
			q.spansDropped(uint64(i / 2))
			q.recordsExported()
			time.Sleep(quiet / 3)
		}
		if n := strings.Count(said.String(), "\n"); n != 2 {
			t.Errorf("said %d lines:\n%s", n, said.String())
		}
		q.close()
		q.close()
		if got := said.String(); !strings.HasSuffix(got, "499 spans were dropped\n"+
			"otelmcp: the queue of log records is no longer full: 500 log records were dropped\n") {
			t.Errorf("said:\n%s", got)
		}
	})
}

// What the SDK logs besides is said as before, or not at all.
func TestTheQueuesLeaveOtherMessagesAlone(t *testing.T) {
	var said bytes.Buffer
	d := newDiagnostics(&said)
	l := d.logger(newQueues(d))
	for _, args := range [][]any{nil, {"total_dropped"}, {"total_dropped", "many"}, {1, uint32(5)}, {"total_dropped", uint32(0)}, {"dropped", -1}} {
		l.V(debug).Info(exportingSpans, args...)
		l.V(warning).Info(recordsDropped, args...)
	}
	l.V(debug).Info("PeriodicReader collection", "Data", struct{}{})
	if said.Len() > 0 {
		t.Errorf("said %q", said.String())
	}
}
