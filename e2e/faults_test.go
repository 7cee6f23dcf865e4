// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

// What becomes of a server and of its telemetry when the collector is missing,
// killed, hanging, unwilling or an impostor: no call is answered otherwise, and what
// does not arrive is counted, to the last record. docs/delivery.md tells users what
// is shown here.

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/otelmcp/otelmcp-go/e2e/internal/faulty"
	"github.com/otelmcp/otelmcp-go/e2e/stack"
)

// echo is the instrumented server under load.
type echo struct {
	*stack.Process
	service string // its name in all telemetry
	url     string
	log     string // what it writes to stderr
}

var buildEcho = sync.OnceValues(func() (string, error) {
	path := filepath.Join(work, "echo")
	cmd := exec.Command("go", "build", "-o", path, ".") //nolint:noctx // returns soon
	cmd.Dir = filepath.Join(stack.Root(), "e2e", "internal", "echo")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build echo: %w\n%s", err, out)
	}
	return path, nil
})

// startEcho starts a server whose metrics go to Prometheus, and whose traces and logs
// go where env says.
func startEcho(t *testing.T, prometheus *stack.Stack, env ...string) *echo {
	t.Helper()
	program, err := buildEcho()
	if err != nil {
		t.Fatal(err)
	}
	address, err := stack.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	service := "echo-" + random(t, 4)
	dir := filepath.Join(work, service)
	p, err := stack.Command{
		Name: "echo", Path: program, Args: []string{address}, Dir: dir,
		Env: append([]string{
			"OTEL_SERVICE_NAME=" + service,
			"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=" + prometheus.PrometheusURL + "/api/v1/otlp/v1/metrics",
			"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/protobuf",
			"OTEL_METRIC_EXPORT_INTERVAL=1000",
			"OTEL_BSP_SCHEDULE_DELAY=200",
			"OTEL_BLRP_SCHEDULE_DELAY=200",
		}, env...),
		Ready: stack.Listening(address),
	}.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{Process: p, service: service, url: "http://" + address + "/mcp", log: filepath.Join(dir, "echo.log")}
	t.Cleanup(func() {
		if !e.stopped() {
			e.Kill()
		}
		if t.Failed() {
			t.Logf("%s wrote:\n%s", service, e.Tail())
		}
	})
	return e
}

func (e *echo) stopped() bool {
	select {
	case <-e.Done():
		return true
	default:
		return false
	}
}

// said returns the lines on stderr that contain words.
func (e *echo) said(t *testing.T, words string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(e.log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, words) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func random(t *testing.T, n int) string {
	t.Helper()
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}

// caller is one MCP client, with a session.
type caller struct {
	t       *testing.T
	client  *http.Client
	url     string
	session string
	calls   int
}

func newCaller(t *testing.T, url string) *caller {
	t.Helper()
	c := &caller{t: t, url: url, client: &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}}
	t.Cleanup(c.client.CloseIdleConnections)
	const version = "2025-11-25"
	header, _, err := c.post(map[string]any{"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": map[string]any{
		"protocolVersion": version, "capabilities": map[string]any{},
		"clientInfo": map[string]any{"name": "faults", "version": "1"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	c.session = header.Get("Mcp-Session-Id")
	return c
}

func (c *caller) post(message map[string]any) (http.Header, []byte, error) {
	body, err := json.Marshal(message)
	if err != nil {
		return nil, nil, err
	}
	// Not t.Context: what is on its way when a test ends is still to be answered.
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if c.session != "" {
		req.Header.Set("Mcp-Session-Id", c.session)
	}
	res, err := c.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, answer)
	}
	return res.Header, answer, err
}

// call calls the tool in a trace of its own and checks the answer.
func (c *caller) call(trace string) error {
	c.calls++
	_, answer, err := c.post(map[string]any{"jsonrpc": "2.0", "id": c.calls, "method": "tools/call", "params": map[string]any{
		"name": "echo", "arguments": map[string]any{"text": trace},
		"_meta": map[string]any{"traceparent": "00-" + trace + "-" + trace[:16] + "-01"},
	}})
	if err != nil {
		return err
	}
	var got struct {
		ID     int
		Result struct{ Content []struct{ Text string } }
	}
	err = json.Unmarshal(answer, &got)
	if err != nil || got.ID != c.calls || len(got.Result.Content) != 1 || got.Result.Content[0].Text != trace {
		return fmt.Errorf("call %d of echo %q was answered with %s", c.calls, trace, answer)
	}
	return nil
}

// load is callers at work.
type load struct {
	t    *testing.T
	stop chan struct{}
	done sync.WaitGroup

	mu     sync.Mutex
	traces map[string]bool // of the calls that were answered
	failed []error
}

// startLoad has three callers call the tool, each ten times a second, until end.
func startLoad(t *testing.T, url string) *load {
	t.Helper()
	l := &load{t: t, stop: make(chan struct{}), traces: map[string]bool{}}
	for range 3 {
		c := newCaller(t, url)
		l.done.Go(func() {
			tick := time.NewTicker(time.Second / 10)
			defer tick.Stop()
			for {
				select {
				case <-l.stop:
					return
				case <-tick.C:
				}
				trace := random(t, 16)
				err := c.call(trace)
				l.mu.Lock()
				if err == nil {
					l.traces[trace] = true
				} else {
					l.failed = append(l.failed, err)
				}
				l.mu.Unlock()
			}
		})
	}
	return l
}

// answered returns the traces of the calls that were answered so far.
func (l *load) answered() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.traces)
}

// calls is how many calls were answered so far.
func (l *load) calls() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.traces)
}

// more waits until so many more calls were answered: a fault is to last for a while.
func (l *load) more(n int) {
	l.t.Helper()
	want := l.calls() + n
	eventually(l.t, func() error {
		if got := l.calls(); got < want {
			return fmt.Errorf("%d calls were answered, waiting for %d", got, want)
		}
		return nil
	})
}

// end stops the callers, and returns the traces of their calls.
func (l *load) end() map[string]bool {
	l.t.Helper()
	close(l.stop)
	l.done.Wait()
	if len(l.failed) > 0 {
		l.t.Errorf("%d of %d calls failed, the first with: %v", len(l.failed), len(l.failed)+len(l.traces), l.failed[0])
	}
	return l.traces
}

// tally is what the metrics of a server say of one of its signals.
type tally struct {
	created   int // records made
	exported  int // delivered, as far as the server knows
	failed    int // given up by the exporter
	queueFull int // dropped before
}

func (t tally) lost() int { return t.failed + t.queueFull }

// count reads a tally from Prometheus. signal is log or span.
func count(t *testing.T, prometheus *stack.Stack, service, signal string) tally {
	t.Helper()
	sum := func(metric, labels string) int {
		expr := fmt.Sprintf("sum(%s{job=%q%s}) or vector(0)", metric, service, labels)
		samples, err := prometheus.PromQL(t.Context(), expr)
		if err != nil {
			t.Fatal(err)
		}
		return int(samples[0].Value)
	}
	created := "otel_sdk_log_created_total"
	if signal == "span" {
		created = "otel_sdk_span_started_total"
	}
	exported := "otel_sdk_exporter_" + signal + "_exported_total"
	return tally{
		created:   sum(created, ""),
		exported:  sum(exported, `,error_type=""`),
		failed:    sum(exported, `,error_type!=""`),
		queueFull: sum("otel_sdk_processor_"+signal+"_processed_total", `,error_type="queue_full"`),
	}
}

// balance checks that each record was received or is counted as lost, that none is
// both, and that the calls are among them.
func balance(t *testing.T, signal string, got tally, calls map[string]bool, received faulty.Records) {
	t.Helper()
	balanceBut(t, signal, got, calls, received, 0)
}

// balanceBut allows for some records that were received and are counted as lost too.
func balanceBut(t *testing.T, signal string, got tally, calls map[string]bool, received faulty.Records, both int) {
	t.Helper()
	t.Logf("%ss: %+v; %d calls, %d received, %d of them more than once", signal, got, len(calls), len(received), received.Repeated())
	if got.created < len(calls) {
		t.Errorf("%d %ss were made, for %d calls", got.created, signal, len(calls))
	}
	if over := len(received) + got.lost() - got.created; over < 0 || over > both {
		t.Errorf("%d %ss were made, %d received and %d counted as lost: that is %+d",
			got.created, signal, len(received), got.lost(), over)
	}
	arrived, missing := received.Traces(), 0
	for trace := range calls {
		if !arrived[trace] {
			missing++
		}
	}
	if missing > got.lost() {
		t.Errorf("there is no %s of %d calls, and %d are counted as lost", signal, missing, got.lost())
	}
}

// Lines on stderr.
const (
	notDelivered = "telemetry is not being delivered to "
	again        = "again"
)

// checkSaid checks how often the begin and the end of a failure were said.
func checkSaid(t *testing.T, e *echo, begins, ends int) {
	t.Helper()
	if got := e.said(t, notDelivered); len(got) != begins {
		t.Errorf("that telemetry is not delivered was said %d times, want %d: %q", len(got), begins, got)
	}
	if got := e.said(t, again); len(got) != ends {
		t.Errorf("that it is delivered again was said %d times, want %d: %q", len(got), ends, got)
	}
}

// collecting starts a Prometheus for the metrics. It is never part of a fault: what
// happened to the other signals is read there.
func collecting(t *testing.T) *stack.Stack {
	t.Helper()
	s, err := stack.New(stack.Config{Dir: filepath.Join(work, strings.ReplaceAll(t.Name(), "/", "-"))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Prometheus.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// toFiles has a stack's collector write spans to a file as it does events, and send
// neither any further, for tests that have no other backend.
func toFiles(t *testing.T, s *stack.Stack) (spans string) {
	t.Helper()
	if err := os.MkdirAll(s.Collector.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	spans = filepath.Join(s.Collector.Dir, "spans.jsonl")
	config := filepath.Join(s.Collector.Dir, "files.yaml")
	// Rotation has the exporter write without a buffer, like that of events.
	err := os.WriteFile(config, []byte(`
exporters: {file/spans: {path: "`+spans+`", rotation: {max_megabytes: 100}}}
service:
  pipelines:
    traces: {exporters: [file/spans]}
    logs: {exporters: [file/events]}
  telemetry: {metrics: {level: none}}
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s.Collector.Args = append(s.Collector.Args, "--config", config)
	return spans
}

// files reads what a collector wrote of a service.
func files(t *testing.T, s *stack.Stack, spansFile, service string) (logs, spans faulty.Records) {
	t.Helper()
	logs, err := faulty.ReadFile(s.EventsFile)
	if err != nil {
		t.Fatal(err)
	}
	spans, err = faulty.ReadFile(spansFile)
	if err != nil {
		t.Fatal(err)
	}
	return logs.Of(service), spans.Of(service)
}

// endpoints are the variables that send traces and logs to a URL.
func endpoints(protocol, url string) []string {
	return []string{
		"OTEL_EXPORTER_OTLP_PROTOCOL=" + protocol,
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + url,
	}
}

// newTrace waits until a log and a span of a call arrive that began after newTrace
// was called.
func newTrace(t *testing.T, l *load, received func() (logs, spans faulty.Records)) {
	t.Helper()
	before := l.answered()
	eventually(t, func() error {
		logs, spans := received()
		inLogs, inSpans := logs.Traces(), spans.Traces()
		for trace := range l.answered() {
			if !before[trace] && inLogs[trace] && inSpans[trace] {
				return nil
			}
		}
		return errors.New("nothing new arrives")
	})
}

// What a fault is expected to cost.
const (
	nothing  = iota
	some     // batches that the exporter gives up
	overflow // records for which the queue has no place, but no batch
	atTheEnd // both, because the server stops while the fault lasts
)

// TestFaults: what a collector answers that does not do its work, over both
// protocols, a server for each.
func TestFaults(t *testing.T) {
	prometheus := collecting(t)
	smallQueue := []string{"OTEL_BSP_MAX_QUEUE_SIZE=20", "OTEL_BLRP_MAX_QUEUE_SIZE=20"}
	// Over gRPC the timeout is that of all attempts together, and the third may come after 18 seconds.
	const patient = "OTEL_EXPORTER_OTLP_TIMEOUT=30000"
	t.Run("with", func(t *testing.T) { // ends when the parallel ones have
		for _, test := range []struct {
			name       string
			fault      faulty.Fault
			retryAfter string
			cost       int
			env        []string
		}{
			{name: "hanging", fault: faulty.Hanging, cost: some, env: []string{
				"OTEL_EXPORTER_OTLP_TIMEOUT=500", "OTEL_BSP_EXPORT_TIMEOUT=1000", "OTEL_BLRP_EXPORT_TIMEOUT=1000",
			}},
			{name: "hanging until the end", fault: faulty.Hanging, cost: atTheEnd, env: append(smallQueue[:2:2], "OTEL_EXPORTER_OTLP_TIMEOUT=1000")},
			{name: "503", fault: faulty.Unavailable, cost: nothing, env: []string{patient}},
			{name: "503 and a full queue", fault: faulty.Unavailable, cost: overflow, env: append(smallQueue[:2:2], patient)},
			{name: "503 with Retry-After", fault: faulty.Unavailable, retryAfter: "1", cost: nothing},
			{name: "503 with a long Retry-After", fault: faulty.Unavailable, retryAfter: "3600", cost: some},
			{name: "400", fault: faulty.BadRequest, cost: some},
		} {
			for _, protocol := range protocols {
				if test.retryAfter != "" && protocol == "grpc" {
					continue // it is a header of HTTP
				}
				t.Run(test.name+" over "+protocol, func(t *testing.T) {
					t.Parallel()
					endpoint := serveFaulty(t, nil)
					e := startEcho(t, prometheus, append(endpoints(protocol, endpoint.URL), test.env...)...)
					l := startLoad(t, e.url)
					received := func() (logs, spans faulty.Records) { return endpoint.Logs(), endpoint.Spans() }
					newTrace(t, l, received)
					endpoint.Set(test.fault, test.retryAfter)
					l.more(90)
					if test.cost != atTheEnd {
						endpoint.Set(faulty.None, "")
						newTrace(t, l, received)
					}
					calls := l.end()
					if err := e.Stop(); err != nil {
						t.Error(err)
					}

					logs, spans := received()
					for signal, received := range map[string]faulty.Records{"log": logs, "span": spans} {
						got := count(t, prometheus, e.service, signal)
						balance(t, signal, got, calls, received)
						wantFailed := test.cost == some || test.cost == atTheEnd
						wantFull := test.cost == overflow || test.cost == atTheEnd
						if got.failed > 0 != wantFailed || got.queueFull > 0 != wantFull {
							t.Errorf("%d %ss failed and %d did not fit into the queue", got.failed, signal, got.queueFull)
						}
					}
					switch test.cost {
					case some:
						checkSaid(t, e, 1, 1)
					case atTheEnd:
						if n := len(e.said(t, "telemetry was lost at shutdown")); n != 1 {
							t.Errorf("that telemetry was lost at shutdown was said %d times", n)
						}
					default:
						checkSaid(t, e, 0, 0)
					}
				})
			}
		}
	})
}

// TestPartialSuccess: a collector that takes some records and rejects others.
func TestPartialSuccess(t *testing.T) {
	prometheus := collecting(t)
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			endpoint := serveFaulty(t, nil)
			e := startEcho(t, prometheus, endpoints(protocol, endpoint.URL)...)
			l := startLoad(t, e.url)
			received := func() (logs, spans faulty.Records) { return endpoint.Logs(), endpoint.Spans() }
			newTrace(t, l, received)
			endpoint.Set(faulty.Warning, "")
			newTrace(t, l, received)
			if n := endpoint.Rejected(); n > 0 {
				t.Fatalf("%d records were rejected", n)
			}
			endpoint.Set(faulty.Partial, "")
			l.more(60)
			endpoint.Set(faulty.None, "")
			newTrace(t, l, received)
			calls := l.end()
			if err := e.Stop(); err != nil {
				t.Error(err)
			}
			logs, spans := received()
			lost := 0
			for signal, received := range map[string]faulty.Records{"log": logs, "span": spans} {
				got := count(t, prometheus, e.service, signal)
				balance(t, signal, got, calls, received)
				if got.failed == 0 {
					t.Errorf("no %s was rejected", signal)
				}
				lost += got.lost()
			}
			if int64(lost) != endpoint.Rejected() {
				t.Errorf("%d records were rejected and %d are counted as lost", endpoint.Rejected(), lost)
			}
			checkSaid(t, e, 0, 0) // it is there, and takes what it gets
			for _, words := range []string{"telemetry is being rejected by ", " warns: "} {
				for _, signal := range []string{"traces", "logs"} {
					if n := len(e.said(t, words+endpoint.URL+": "+signal)) + len(e.said(t, endpoint.URL+words+signal)); n != 1 {
						t.Errorf("%q of %s was said %d times", words, signal, n)
					}
				}
			}
		})
	}
}

// TestImpostor: an endpoint whose certificate is of another authority gets nothing.
func TestImpostor(t *testing.T) {
	prometheus := collecting(t)
	certificate, _ := selfSigned(t)
	_, trusted := selfSigned(t)
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			endpoint := serveFaulty(t, &tls.Config{Certificates: []tls.Certificate{certificate}})
			e := startEcho(t, prometheus, append(endpoints(protocol, endpoint.URL),
				"OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE="+trusted, "OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE="+trusted,
				"OTEL_EXPORTER_OTLP_TIMEOUT=1000")...)
			l := startLoad(t, e.url)
			eventually(t, func() error {
				if len(e.said(t, notDelivered)) == 0 {
					return errors.New("nothing is said")
				}
				return nil
			})
			l.more(60)
			calls := l.end()
			if err := e.Stop(); err != nil {
				t.Error(err)
			}
			if endpoint.Requests() > 0 {
				t.Errorf("it got %d requests", endpoint.Requests())
			}
			for _, signal := range []string{"log", "span"} {
				balance(t, signal, count(t, prometheus, e.service, signal), calls, nil)
			}
			checkSaid(t, e, 1, 0)
			if len(e.said(t, "certificate")) == 0 {
				t.Error("what is wrong is not said")
			}
		})
	}
}

// selfSigned makes a certificate for loopback, and a file that has programs trust it.
func selfSigned(t *testing.T) (certificate tls.Certificate, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

func serveFaulty(t *testing.T, secure *tls.Config) *faulty.Endpoint {
	t.Helper()
	endpoint, err := faulty.Start(secure)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = endpoint.Close() })
	return endpoint
}

// TestCollectorStartsLater: the server is up, and used, before its collector is.
func TestCollectorStartsLater(t *testing.T) {
	s := collecting(t)
	spansFile := toFiles(t, s)
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			e := startEcho(t, s, toCollector(s, protocol)...)
			l := startLoad(t, e.url)
			// Over gRPC the first batch is tried again for 10 seconds.
			eventually(t, func() error {
				if len(e.said(t, notDelivered)) == 0 {
					return errors.New("nothing is said")
				}
				return nil
			})
			if err := s.Collector.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			received := func() (logs, spans faulty.Records) { return files(t, s, spansFile, e.service) }
			newTrace(t, l, received)
			calls := l.end()
			if err := e.Stop(); err != nil {
				t.Error(err)
			}
			if err := s.Collector.Stop(); err != nil {
				t.Error(err)
			}
			logs, spans := received()
			for signal, received := range map[string]faulty.Records{"log": logs, "span": spans} {
				got := count(t, s, e.service, signal)
				balance(t, signal, got, calls, received)
				if got.failed == 0 {
					t.Errorf("no %s was given up", signal)
				}
			}
			checkSaid(t, e, 1, 1)
		})
	}
}

// TestCollectorIsKilled in the middle, and is back after a while.
func TestCollectorIsKilled(t *testing.T) {
	s := collecting(t)
	spansFile := toFiles(t, s)
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			if err := s.Collector.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			// gRPC waits for up to 11 seconds between attempts, and gives up at the timeout.
			e := startEcho(t, s, append(toCollector(s, protocol), "OTEL_EXPORTER_OTLP_TIMEOUT=30000")...)
			l := startLoad(t, e.url)
			received := func() (logs, spans faulty.Records) { return files(t, s, spansFile, e.service) }
			newTrace(t, l, received)
			s.Collector.Crash()
			l.more(60)
			if err := s.Collector.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			newTrace(t, l, received)
			calls := l.end()
			if err := e.Stop(); err != nil {
				t.Error(err)
			}
			if err := s.Collector.Stop(); err != nil {
				t.Error(err)
			}
			logs, spans := received()
			for signal, received := range map[string]faulty.Records{"log": logs, "span": spans} {
				got := count(t, s, e.service, signal)
				// A batch that the collector had taken when it was killed, but not yet
				// answered, is received and counted as lost.
				balanceBut(t, signal, got, calls, received, 30)
				if protocol == "grpc" && got.lost() > 0 {
					t.Errorf("%d %ss were lost, though gRPC has them tried again", got.lost(), signal)
				}
				if protocol != "grpc" && got.failed == 0 {
					t.Errorf("no %s was given up, though HTTP does not try a refused connection again", signal)
				}
			}
			said := 1
			if protocol == "grpc" {
				said = 0
			}
			checkSaid(t, e, said, said)
		})
	}
}

// TestCollectorHangs: it does not run for a while, and its connections stay open.
// That is over before an export is given up, and so nothing is lost, but some of it
// may come twice: what was sent to it before it hung, and again.
func TestCollectorHangs(t *testing.T) {
	s := collecting(t)
	spansFile := toFiles(t, s)
	if err := s.Collector.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			timeout := "1000" // of one attempt; over gRPC of all of them
			if protocol == "grpc" {
				timeout = "30000"
			}
			e := startEcho(t, s, append(toCollector(s, protocol), "OTEL_EXPORTER_OTLP_TIMEOUT="+timeout)...)
			l := startLoad(t, e.url)
			received := func() (logs, spans faulty.Records) { return files(t, s, spansFile, e.service) }
			newTrace(t, l, received)
			if err := s.Collector.Pause(); err != nil {
				t.Fatal(err)
			}
			l.more(90)
			if err := s.Collector.Resume(); err != nil {
				t.Fatal(err)
			}
			newTrace(t, l, received)
			calls := l.end()
			if err := e.Stop(); err != nil {
				t.Error(err)
			}
			logs, spans := received()
			for signal, received := range map[string]faulty.Records{"log": logs, "span": spans} {
				got := count(t, s, e.service, signal)
				balance(t, signal, got, calls, received)
				if got.lost() > 0 {
					t.Errorf("%d %ss were lost", got.lost(), signal)
				}
			}
			checkSaid(t, e, 0, 0)
		})
	}
}

func toCollector(s *stack.Stack, protocol string) []string {
	url := s.OTLPHTTP
	if protocol == "grpc" {
		url = "http://" + s.OTLPGRPC
	}
	return endpoints(protocol, url)
}

// TestQueueSurvives: what the collector accepted is kept by its queue on disk while
// Jaeger and Loki are away, though the collector itself is killed.
func TestQueueSurvives(t *testing.T) {
	s := collecting(t)
	if err := s.Collector.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := startEcho(t, s, toCollector(s, "http/protobuf")...)
	l := startLoad(t, e.url)
	l.more(100)
	calls := l.end()
	if err := e.Stop(); err != nil {
		t.Error(err)
	}
	logs, spans := count(t, s, e.service, "log"), count(t, s, e.service, "span")
	if logs.exported != logs.created || spans.exported != spans.created {
		t.Fatalf("the collector did not take everything: logs %+v, spans %+v", logs, spans)
	}
	s.Collector.Crash()
	for _, b := range []*stack.Backend{s.Loki, s.Jaeger, s.Collector} {
		if err := b.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}

	// Log records by all that tells them apart, so that one which came twice counts once.
	eventually(t, func() error {
		entries, err := s.LogQL(t.Context(), fmt.Sprintf("{service_name=%q}", e.service))
		if err != nil {
			return err
		}
		distinct, traces := map[string]bool{}, map[string]bool{}
		for _, entry := range entries {
			distinct[fmt.Sprint(entry.Time.UnixNano(), entry.Line, entry.Labels)] = true
			traces[entry.Labels["trace_id"]] = true
		}
		for trace := range calls {
			if !traces[trace] {
				return fmt.Errorf("no event of trace %s in Loki", trace)
			}
		}
		if len(distinct) != logs.created {
			return fmt.Errorf("%d of %d log records in Loki", len(distinct), logs.created)
		}
		return nil
	})
	eventually(t, func() error {
		found, err := s.Spans(t.Context(), e.service)
		if err != nil {
			return err
		}
		distinct, traces := map[string]bool{}, map[string]bool{}
		for _, span := range found {
			distinct[span.SpanID] = true
			traces[span.TraceID] = true
		}
		for trace := range calls {
			if !traces[trace] {
				return fmt.Errorf("no trace %s in Jaeger", trace)
			}
		}
		if len(distinct) != spans.created {
			return fmt.Errorf("%d of %d spans in Jaeger", len(distinct), spans.created)
		}
		return nil
	})
}
