// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file tests the pipeline from the outside: a child process, which is what
// a server is, sets it up, emits one record of each signal and shuts it down.
// Only in a process of its own are stdout, the global providers and the
// goroutines those of one pipeline.

package exporters

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.uber.org/goleak"
)

const (
	childEnv = "OTELMCP_TEST_CHILD"

	// slack is what a busy machine may add to a bound. Exporters that are not
	// bounded take 10 seconds and more.
	slack = 2 * time.Second

	emitted = 3 // records of each signal, by the child
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	os.Exit(m.Run())
}

// child is the process under test. It writes nothing to stdout itself.
func child() int {
	ctx := context.Background()
	start := time.Now()
	p, err := Setup(ctx, WithResource(attribute.String("service.name", "from-code"), attribute.String("test.attr", "x")))
	if err != nil {
		fmt.Fprintln(os.Stderr, "setup:", err)
		return 2
	}
	if d := time.Since(start); d > 2*time.Second {
		fmt.Fprintln(os.Stderr, "setup took", d)
		return 3
	}
	for range emitted {
		emit(ctx)
	}
	start = time.Now()
	stop := ctx
	if d, err := time.ParseDuration(os.Getenv(childEnv)); err == nil {
		var cancel context.CancelFunc
		stop, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	_ = p.Shutdown(stop)
	fmt.Fprintf(os.Stderr, "shutdown %d\n", time.Since(start).Milliseconds())
	if err := p.Shutdown(ctx); err != nil && !strings.Contains(err.Error(), "lost at shutdown") && os.Getenv(envConfigFile) == "" {
		fmt.Fprintln(os.Stderr, "second shutdown:", err)
		return 4
	}
	// Connections to a live collector idle in the exporters' shared transport.
	if err := goleak.Find(
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
	); err != nil {
		fmt.Fprintln(os.Stderr, "leak:", err)
		return 5
	}
	return 0
}

// emit records one span, one measurement and one event.
func emit(ctx context.Context) {
	ctx, span := otel.Tracer("test").Start(ctx, "test.span")
	counter, err := otel.Meter("test").Int64Counter("test.counter")
	if err != nil {
		panic(err)
	}
	counter.Add(ctx, 1)
	var r log.Record
	r.SetEventName("test.event")
	r.SetBody(attribute.StringValue("body"))
	otel.Logger("test").Emit(ctx, r)
	span.End()
}

type result struct {
	code           int
	stdout, stderr string
	shutdown       time.Duration
}

// run starts the child with these variables and no other OTEL_* ones.
func run(t *testing.T, limit string, env ...string) result {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "OTEL_") && !strings.HasPrefix(kv, "OTELMCP_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(append(cmd.Env, env...), childEnv+"="+limit)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run()
	res := result{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
	if _, after, ok := strings.Cut(res.stderr, "shutdown "); ok {
		var ms int64
		if i := strings.LastIndex(res.stderr, "\nshutdown "); i >= 0 {
			after = res.stderr[i+len("\nshutdown "):]
		}
		_, _ = fmt.Sscan(after, &ms) // 0 if there is no number
		res.shutdown = time.Duration(ms) * time.Millisecond
	}
	if res.stdout != "" {
		t.Errorf("stdout belongs to the protocol, but has %q", res.stdout)
	}
	return res
}

func (r result) ok(t *testing.T) {
	t.Helper()
	if r.code != 0 {
		t.Fatalf("exit code %d:\n%s", r.code, r.stderr)
	}
}

func TestDelivery(t *testing.T) {
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			start := startHTTP
			if protocol == "grpc" {
				start = startGRPC
			}
			r, endpoint := start(t)
			res := run(t, "20s", "OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol,
				"OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test")
			res.ok(t)
			if strings.Contains(res.stderr, "otelmcp:") {
				t.Errorf("nothing was wrong, but stderr has:\n%s", res.stderr)
			}
			if !r.has(r.spans, "test.span") || !r.has(r.logs, "test.event") {
				t.Errorf("span or event is missing: %v %v", r.spans, r.logs)
			}
			for _, name := range []string{
				"test.counter", "go.memory.used", "process.cpu.time",
				"otel.sdk.exporter.span.exported", "otel.sdk.exporter.log.exported", "otel.sdk.processor.span.processed",
			} {
				if !r.has(r.metrics, name) {
					t.Errorf("metric %s is missing: %v", name, r.metrics)
				}
			}
			for k, want := range map[string]string{
				"service.name": "from-code", "test.attr": "x",
				"deployment.environment.name": "test", "telemetry.sdk.language": "go",
			} {
				if got := r.resource[k]; got != want {
					t.Errorf("resource %s = %q, want %q", k, got, want)
				}
			}
			for _, k := range []string{"host.name", "service.instance.id", "process.executable.name"} {
				if r.resource[k] == "" {
					t.Errorf("resource %s is missing: %v", k, r.resource)
				}
			}
			if v, ok := r.resource["process.command_args"]; ok {
				t.Errorf("the command line must stay here: %v", v)
			}
		})
	}
}

// TestDefaultEndpoint: with no variable at all, telemetry gets to a plain
// collector on the default port.
func TestDefaultEndpoint(t *testing.T) {
	for protocol, addr := range map[string]string{"http/protobuf": "127.0.0.1:4318", "grpc": "127.0.0.1:4317"} {
		t.Run(protocol, func(t *testing.T) {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				t.Skip("the default port is taken:", err)
			}
			var env []string
			start := serveHTTPOn
			if protocol == "grpc" {
				start = serveGRPCOn
				env = append(env, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc")
			}
			r := start(t, l)
			res := run(t, "20s", env...)
			res.ok(t)
			if strings.Contains(res.stderr, "otelmcp:") {
				t.Errorf("nothing was wrong, but stderr has:\n%s", res.stderr)
			}
			if !r.has(r.spans, "test.span") || !r.has(r.logs, "test.event") || !r.has(r.metrics, "test.counter") {
				t.Errorf("missing: %v %v %v", r.spans, r.logs, r.metrics)
			}
		})
	}
}

// TestDefaultScheme is http://, unless the operator spoke of TLS.
func TestDefaultScheme(t *testing.T) {
	for _, tt := range []struct{ env, want string }{
		{"", "http://localhost:4318"},
		{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=grpc", "http://localhost:4317"},
		{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=https://elsewhere:1", "http://localhost:4318"}, // another signal's
		{"OTEL_EXPORTER_OTLP_TRACES_INSECURE=true", "http://localhost:4318"},
		{"OTEL_EXPORTER_OTLP_INSECURE=false", "https://localhost:4318"},
		{"OTEL_EXPORTER_OTLP_TRACES_INSECURE=false", "https://localhost:4318"},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE=ca.pem", "https://localhost:4318"},
		{"OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE=c.pem", "https://localhost:4318"},
		{"OTEL_EXPORTER_OTLP_CLIENT_KEY=k.pem", "https://localhost:4318"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=https://elsewhere:1", "https://elsewhere:1"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://elsewhere:1", "https://elsewhere:1"},
	} {
		t.Run(tt.env, func(t *testing.T) {
			if name, value, ok := strings.Cut(tt.env, "="); ok {
				t.Setenv(name, value)
			}
			before := os.Environ()
			p := &Pipeline{deliveries: newDeliveries(newDiagnostics(new(bytes.Buffer)))}
			restore := plainByDefault("traces")
			got := p.destination("traces", otlp).name
			restore()
			if got != tt.want {
				t.Errorf("destination is %s, want %s", got, tt.want)
			}
			if after := os.Environ(); !slices.Equal(before, after) {
				t.Errorf("the environment was %v and is %v", before, after)
			}
		})
	}
}

// TestSetenvRestores what was there, an empty value included.
func TestSetenvRestores(t *testing.T) {
	const name = "OTELMCP_TEST_SETENV"
	for _, before := range []string{"", "x"} {
		t.Setenv(name, before)
		restore := setenv(name, "y")
		if got := os.Getenv(name); got != "y" {
			t.Errorf("is %q", got)
		}
		restore()
		if got, found := os.LookupEnv(name); !found || got != before {
			t.Errorf("was %q and is %q, %t", before, got, found)
		}
	}
}

// unsetenv unsets a variable for the rest of the test.
func unsetenv(t *testing.T, name string) {
	t.Helper()
	t.Setenv(name, "") // which restores it
	if err := os.Unsetenv(name); err != nil {
		t.Fatal(err)
	}
}

// TestTheOperatorNamesTheService: the environment wins over the code.
func TestTheOperatorNamesTheService(t *testing.T) {
	r, endpoint := startHTTP(t)
	run(t, "20s", "OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint, "OTEL_SERVICE_NAME=from-env").ok(t)
	if got := r.resource["service.name"]; got != "from-env" {
		t.Errorf("service.name = %q", got)
	}
}

func TestBrokenCollectors(t *testing.T) {
	const bound = 2 * time.Second
	for name, start := range map[string]func(*testing.T) string{"closed": closedPort, "hanging": hanging, "unavailable": unavailable} {
		for _, protocol := range []string{"http/protobuf", "grpc"} {
			t.Run(name+"/"+protocol, func(t *testing.T) {
				t.Parallel() // they wait, each in a process of its own
				res := run(t, bound.String(), "OTEL_EXPORTER_OTLP_ENDPOINT="+start(t)+"/?key=hunter2",
					"OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20hunter2", "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol)
				res.ok(t)
				limit := bound + slack
				if name == "closed" {
					limit = bound / 2 // found out, not waited for
				}
				if res.shutdown > limit {
					t.Errorf("Shutdown took %s", res.shutdown)
				}
				for _, line := range []string{"telemetry is not being delivered", "telemetry was lost at shutdown"} {
					if n := strings.Count(res.stderr, line); n != 1 {
						t.Errorf("%q was said %d times:\n%s", line, n, res.stderr)
					}
				}
				if strings.Contains(res.stderr, "hunter2") {
					t.Errorf("a secret was said:\n%s", res.stderr)
				}
			})
		}
	}
}

// TestShutdownWithoutDeadline is bounded all the same.
func TestShutdownWithoutDeadline(t *testing.T) {
	t.Parallel()
	res := run(t, "none", "OTEL_EXPORTER_OTLP_ENDPOINT="+hanging(t))
	res.ok(t)
	if res.shutdown > defaultShutdown+slack {
		t.Errorf("Shutdown took %s", res.shutdown)
	}
}

func TestConsoleIsMovedToStderr(t *testing.T) {
	res := run(t, "20s", "OTEL_TRACES_EXPORTER=console", "OTEL_METRICS_EXPORTER=console", "OTEL_LOGS_EXPORTER=console")
	res.ok(t)
	assertConsole(t, res)
}

func assertConsole(t *testing.T, res result) {
	t.Helper()
	if n := strings.Count(res.stderr, "stdout belongs to the protocol"); n != 3 {
		t.Errorf("said %d times:\n%s", n, res.stderr)
	}
	for _, want := range []string{"test.span", "test.counter", "test.event"} {
		if !strings.Contains(res.stderr, want) {
			t.Errorf("%s is missing in:\n%s", want, res.stderr)
		}
	}
}

func TestConfigFile(t *testing.T) {
	const processors = `
file_format: "1.0"
resource:
  attributes:
    - name: service.name
      value: from-file
tracer_provider:
  processors:
    - batch: {exporter: EXPORTER}
meter_provider:
  readers:
    - periodic: {exporter: EXPORTER}
logger_provider:
  processors:
    - batch: {exporter: EXPORTER}
`
	write := func(t *testing.T, exporter func(signal string) string) string {
		text := processors
		for _, signal := range []string{"traces", "metrics", "logs"} {
			text = strings.Replace(text, "EXPORTER", exporter(signal), 1)
		}
		file := filepath.Join(t.TempDir(), "otel.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	otlpHTTP := func(endpoint string) func(string) string {
		return func(signal string) string {
			return fmt.Sprintf("{otlp_http: {endpoint: %q}}", endpoint+"/v1/"+signal)
		}
	}

	t.Run("delivers", func(t *testing.T) {
		r, endpoint := startHTTP(t)
		res := run(t, "20s", "OTEL_CONFIG_FILE="+write(t, otlpHTTP(endpoint)))
		res.ok(t)
		if !r.has(r.spans, "test.span") || !r.has(r.logs, "test.event") || !r.has(r.metrics, "test.counter") {
			t.Errorf("missing: %v %v %v\n%s", r.spans, r.logs, r.metrics, res.stderr)
		}
		if r.resource["service.name"] != "from-file" || r.resource["test.attr"] != "x" {
			t.Errorf("resource is %v", r.resource)
		}
	})
	t.Run("console", func(t *testing.T) {
		for _, exporter := range []string{"{console: }", "{console: {}}"} {
			res := run(t, "20s", "OTEL_CONFIG_FILE="+write(t, func(string) string { return exporter }))
			res.ok(t)
			assertConsole(t, res)
		}
	})
	t.Run("closed", func(t *testing.T) {
		res := run(t, "1s", "OTEL_CONFIG_FILE="+write(t, otlpHTTP(closedPort(t))))
		res.ok(t)
		if !strings.Contains(res.stderr, "connection refused") {
			t.Errorf("nothing was said:\n%s", res.stderr)
		}
	})
	t.Run("missing", func(t *testing.T) {
		res := run(t, "1s", "OTEL_CONFIG_FILE=/does/not/exist.yaml")
		if res.code != 2 || !strings.Contains(res.stderr, `OTEL_CONFIG_FILE="/does/not/exist.yaml"`) {
			t.Errorf("%d:\n%s", res.code, res.stderr)
		}
	})
	t.Run("wrong", func(t *testing.T) {
		res := run(t, "1s", "OTEL_CONFIG_FILE="+write(t, func(string) string { return "{nonsense: {}}" }))
		if res.code != 2 || !strings.Contains(res.stderr, "OTEL_CONFIG_FILE=") {
			t.Errorf("%d:\n%s", res.code, res.stderr)
		}
	})
}

func TestDisabled(t *testing.T) {
	res := run(t, "1s", "OTEL_SDK_DISABLED=true", "OTEL_EXPORTER_OTLP_ENDPOINT="+closedPort(t))
	res.ok(t)
	if strings.Contains(res.stderr, "otelmcp:") {
		t.Errorf("stderr has:\n%s", res.stderr)
	}
}

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "telemetry")
	run(t, "20s", "OTEL_TRACES_EXPORTER=otlp_file", "OTEL_METRICS_EXPORTER=otlp_file", "OTEL_LOGS_EXPORTER=otlp_file",
		"OTELMCP_FILE_DIRECTORY="+dir).ok(t)
	for signal, want := range map[string]string{"traces": "test.span", "metrics": "test.counter", "logs": "test.event"} {
		files, err := filepath.Glob(filepath.Join(dir, signal+"-*.jsonl"))
		if err != nil || len(files) != 1 {
			t.Fatalf("%s: %v %v", signal, files, err)
		}
		if text, err := os.ReadFile(files[0]); err != nil || !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s is missing in %s: %v", want, text, err)
		}
	}
}

// TestADirectoryThatIsFull: what is removed to make room is said and counted, by a
// whole pipeline, once.
func TestADirectoryThatIsFull(t *testing.T) {
	dir := t.TempDir()
	for i := range 4 {
		name := filepath.Join(dir, fmt.Sprintf("logs-20200101T000000.000000000Z-1-%d.jsonl", i))
		if err := os.WriteFile(name, []byte(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}`+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	res := run(t, "20s", "OTEL_TRACES_EXPORTER=otlp_file", "OTEL_METRICS_EXPORTER=otlp_file", "OTEL_LOGS_EXPORTER=otlp_file",
		"OTELMCP_FILE_DIRECTORY="+dir, "OTELMCP_FILE_MAX_SIZE=65536", "OTELMCP_FILE_MAX_TOTAL_SIZE=262144")
	res.ok(t)
	for _, line := range []string{"otelmcp: otlp_file: " + dir + " is full (OTELMCP_FILE_MAX_TOTAL_SIZE=262144)", "3 files were removed, with 0 spans, 0 metric points and 3 log records"} {
		if n := strings.Count(res.stderr, line); n != 1 {
			t.Errorf("%q was said %d times:\n%s", line, n, res.stderr)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "metrics-*.jsonl"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v %v", files, err)
	}
	if text, err := os.ReadFile(files[0]); err != nil || !bytes.Contains(text, []byte("otelmcp.exporter.file.removed")) {
		t.Errorf("not counted in %s: %v", text, err)
	}
}

func TestInvalidSettings(t *testing.T) {
	for _, tt := range []struct{ env, want string }{
		{"OTEL_TRACES_EXPORTER=otpl", `OTEL_TRACES_EXPORTER="otpl": want one of otlp, otlp_file, console, none`},
		{"OTEL_METRICS_EXPORTER=otpl", `OTEL_METRICS_EXPORTER="otpl": want one of otlp, otlp_file, console, none, prometheus`},
		{"OTEL_LOGS_EXPORTER=otpl", `OTEL_LOGS_EXPORTER="otpl"`},
		{"OTEL_EXPORTER_OTLP_PROTOCOL=http", `OTEL_EXPORTER_OTLP_PROTOCOL="http": want exactly grpc or http/protobuf`},
		{"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=GRPC", `OTEL_EXPORTER_OTLP_METRICS_PROTOCOL="GRPC": want exactly grpc or http/protobuf`},
		{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=grpc ", `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="grpc ": want exactly grpc or http/protobuf`},
		{"OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=http", `OTEL_EXPORTER_OTLP_LOGS_PROTOCOL="http"`},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4318", `OTEL_EXPORTER_OTLP_ENDPOINT="localhost:4318": want a URL`},
		{"OTEL_EXPORTER_OTLP_HEADERS=hunter2", `OTEL_EXPORTER_OTLP_HEADERS="[redacted]": want key=value`},
		{"OTEL_EXPORTER_OTLP_TIMEOUT=10s", `OTEL_EXPORTER_OTLP_TIMEOUT="10s": want a whole number of milliseconds`},
		{"OTEL_EXPORTER_OTLP_COMPRESSION=zip", `want exactly gzip or none`},
		{"OTEL_EXPORTER_OTLP_COMPRESSION=GZIP", `want exactly gzip or none`},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE=/does/not/exist", `OTEL_EXPORTER_OTLP_CERTIFICATE="/does/not/exist": want`},
		{"OTEL_EXPORTER_OTLP_CLIENT_KEY=/does/not/exist", `OTEL_EXPORTER_OTLP_CLIENT_KEY="/does/not/exist": want`},
		{"OTEL_TRACES_SAMPLER=sometimes", `OTEL_TRACES_SAMPLER="sometimes": want always_on`},
		{"OTEL_METRIC_EXPORT_INTERVAL=1m", `OTEL_METRIC_EXPORT_INTERVAL="1m"`},
		{"OTEL_SDK_DISABLED=yes", `OTEL_SDK_DISABLED="yes": want true or false`},
		{"OTEL_RESOURCE_ATTRIBUTES=nonsense", `OTEL_RESOURCE_ATTRIBUTES="nonsense": want key=value`},
	} {
		t.Run(tt.env, func(t *testing.T) {
			name, value, _ := strings.Cut(tt.env, "=")
			t.Setenv(name, value)
			before, meters := otel.GetTracerProvider(), otel.GetMeterProvider()
			unsetenv(t, envObservability)
			var said bytes.Buffer
			_, err := Setup(t.Context(), WithStderr(&said))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %s", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a secret is in %v", err)
			}
			if otel.GetTracerProvider() != before || otel.GetMeterProvider() != meters || active != nil {
				t.Error("a half set-up was left behind")
			}
			if said.Len() > 0 {
				t.Errorf("besides the error, this was said:\n%s", said.String())
			}
			if v, found := os.LookupEnv(envObservability); found {
				t.Errorf("%s=%s was left behind", envObservability, v)
			}
			goleak.VerifyNone(t)
		})
	}
	t.Run("sampler argument", func(t *testing.T) {
		t.Setenv("OTEL_TRACES_SAMPLER", "traceidratio")
		t.Setenv("OTEL_TRACES_SAMPLER_ARG", "10%")
		if _, err := Setup(t.Context()); err == nil || !strings.Contains(err.Error(), `OTEL_TRACES_SAMPLER_ARG="10%": want a ratio from 0 to 1`) {
			t.Errorf("error is %v", err)
		}
	})
}

func TestSetupTwice(t *testing.T) {
	t.Setenv(envTraces, "none")
	t.Setenv(envMetrics, "none")
	t.Setenv(envLogs, "none")
	for range 2 {
		p, err := Setup(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Setup(t.Context()); !errors.Is(err, errActive) {
			t.Errorf("second Setup: %v", err)
		}
		if err := p.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
	goleak.VerifyNone(t)
}

// TestASecondPipelineCountsItsOwn: the SDK's metrics of a pipeline go where its
// other metrics go, not to the pipeline before.
func TestASecondPipelineCountsItsOwn(t *testing.T) {
	for range 2 {
		r, endpoint := startHTTP(t)
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
		p, err := Setup(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		emit(t.Context())
		if err := p.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		for _, metric := range []string{"otel.sdk.exporter.span.exported", "otel.sdk.exporter.log.exported"} {
			if got := r.sum(metric, "otel.component.name"); got != 1 {
				t.Errorf("%s is %d, want 1", metric, got)
			}
		}
	}
}

// TestARightNameIsNotBlamed when something else keeps its exporter from being made.
func TestARightNameIsNotBlamed(t *testing.T) {
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	content := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")
	t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", file)
	_, err := Setup(t.Context())
	if err == nil || strings.Contains(err.Error(), "want one of") || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("Setup: %v", err)
	}
}

// TestForceFlush delivers without an end.
func TestForceFlush(t *testing.T) {
	r, endpoint := startHTTP(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
	p, err := Setup(t.Context(), WithStderr(new(bytes.Buffer)))
	if err != nil {
		t.Fatal(err)
	}
	emit(t.Context())
	if err := p.ForceFlush(t.Context()); err != nil {
		t.Error(err)
	}
	if !r.has(r.spans, "test.span") || !r.has(r.logs, "test.event") || !r.has(r.metrics, "test.counter") {
		t.Errorf("missing: %v %v %v", r.spans, r.logs, r.metrics)
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
