// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file tests what is written, and that nothing bends or breaks it.

package otlpfile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m)
}

// emitAll writes one span, the points of two instruments and one log record.
func emitAll(t *testing.T, cfg Config) {
	t.Helper()
	ctx := t.Context()
	spans, err1 := NewSpanExporter(ctx, cfg)
	metrics, err2 := NewMetricExporter(ctx, cfg)
	logs, err3 := NewLogExporter(ctx, cfg)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metrics, sdkmetric.WithInterval(time.Hour))))
	lp := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewSimpleProcessor(logs)))

	ctx, span := tp.Tracer("scope").Start(ctx, "span", trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.Int64("int", 1<<60), attribute.String("text", "a\nb\"<é>")))
	counter, _ := mp.Meter("scope").Int64Counter("counter")
	counter.Add(ctx, 1<<60)
	histogram, _ := mp.Meter("scope").Float64Histogram("histogram", metric.WithExplicitBucketBoundaries(1, 2))
	histogram.Record(ctx, 1.5)
	var r log.Record
	r.SetEventName("event")
	r.SetSeverity(log.SeverityInfo)
	r.SetTimestamp(time.Unix(1, 5))
	r.SetBody(attribute.StringValue("body"))
	lp.Logger("scope").Emit(ctx, r)
	span.End()
	if err := errors.Join(tp.Shutdown(ctx), mp.Shutdown(ctx), lp.Shutdown(ctx)); err != nil {
		t.Fatal(err)
	}
}

// record is emitAll, and returns the only line of each signal.
func record(t *testing.T, cfg Config) map[string][]byte {
	t.Helper()
	emitAll(t, cfg)
	lines := map[string][]byte{}
	for _, signal := range []string{"traces", "metrics", "logs"} {
		all := readLines(t, cfg.Directory, signal)
		if len(all) != 1 {
			t.Fatalf("%d lines of %s", len(all), signal)
		}
		lines[signal] = all[0]
	}
	return lines
}

// readLines returns the lines of all files of a signal, oldest first. Every one
// of them must be complete.
func readLines(t *testing.T, dir, signal string) [][]byte {
	t.Helper()
	var lines [][]byte
	for _, file := range files(t, dir, signal) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 0 && text[len(text)-1] != '\n' {
			t.Errorf("%s ends within a line", file)
		}
		for line := range bytes.Lines(text) {
			if !json.Valid(line) {
				t.Errorf("%s: not JSON: %.80s", file, line)
			}
			lines = append(lines, bytes.TrimSuffix(line, []byte("\n")))
		}
	}
	return lines
}

func files(t *testing.T, dir, signal string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, signal+"-*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func TestPdataReadsItBack(t *testing.T) {
	lines := record(t, Config{Directory: t.TempDir()})

	traces, err := new(ptrace.JSONUnmarshaler).UnmarshalTraces(lines["traces"])
	if err != nil || traces.SpanCount() != 1 {
		t.Fatalf("%d spans: %v", traces.SpanCount(), err)
	}
	span := traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
	if v, _ := span.Attributes().Get("int"); v.Int() != 1<<60 {
		t.Errorf("int = %v", v.AsString())
	}
	if v, _ := span.Attributes().Get("text"); v.Str() != "a\nb\"<é>" {
		t.Errorf("text = %q", v.Str())
	}

	metrics, err := new(pmetric.JSONUnmarshaler).UnmarshalMetrics(lines["metrics"])
	if err != nil || metrics.DataPointCount() != 2 {
		t.Fatalf("%d points: %v", metrics.DataPointCount(), err)
	}

	logs, err := new(plog.JSONUnmarshaler).UnmarshalLogs(lines["logs"])
	if err != nil || logs.LogRecordCount() != 1 {
		t.Fatalf("%d records: %v", logs.LogRecordCount(), err)
	}
	r := logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0)
	if r.EventName() != "event" || r.TraceID() != span.TraceID() || r.SpanID() != span.SpanID() {
		t.Errorf("record %q of %s/%s", r.EventName(), r.TraceID(), r.SpanID())
	}
}

// TestJSONMapping checks the JSON itself: readers are lenient, the
// specification is not.
func TestJSONMapping(t *testing.T) {
	hex := func(digits int) func(any) bool {
		re := regexp.MustCompile(fmt.Sprintf("^[0-9a-f]{%d}$", digits))
		return func(v any) bool { s, ok := v.(string); return ok && (s == "" || re.MatchString(s)) }
	}
	decimal := func(v any) bool {
		if list, ok := v.([]any); ok {
			for _, v := range list {
				if s, ok := v.(string); !ok || !isDecimal(s) {
					return false
				}
			}
			return true
		}
		s, ok := v.(string)
		return ok && isDecimal(s)
	}
	integer := func(v any) bool { n, ok := v.(json.Number); return ok && isDecimal(n.String()) }
	rules := map[string]func(any) bool{
		"traceId": hex(32), "spanId": hex(16), "parentSpanId": hex(16),
		"timeUnixNano": decimal, "startTimeUnixNano": decimal, "endTimeUnixNano": decimal, "observedTimeUnixNano": decimal,
		"intValue": decimal, "asInt": decimal, "count": decimal, "bucketCounts": decimal,
		"kind": integer, "severityNumber": integer, "aggregationTemporality": integer, "flags": integer,
	}
	top := map[string]string{"traces": "resourceSpans", "metrics": "resourceMetrics", "logs": "resourceLogs"}
	camel := regexp.MustCompile(`^[a-z][a-zA-Z0-9]*$`)
	seen := map[string]bool{}

	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, v := range v {
				if !camel.MatchString(k) {
					t.Errorf("%s.%s is not in lowerCamelCase", path, k)
				}
				if rule := rules[k]; rule != nil {
					seen[k] = true
					if !rule(v) {
						t.Errorf("%s.%s = %v (%T)", path, k, v, v)
					}
				}
				walk(path+"."+k, v)
			}
		case []any:
			for _, v := range v {
				walk(path, v)
			}
		}
	}
	for signal, line := range record(t, Config{Directory: t.TempDir()}) {
		d := json.NewDecoder(bytes.NewReader(line))
		d.UseNumber()
		var v map[string]any
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		if _, ok := v[top[signal]]; !ok || len(v) != 1 {
			t.Errorf("%s: want %s and nothing else in %s", signal, top[signal], line)
		}
		walk(signal, v)
	}
	for name := range rules {
		if name != "parentSpanId" && !seen[name] {
			t.Errorf("nothing written has %s", name)
		}
	}
}

func isDecimal(s string) bool { _, err := strconv.ParseInt(s, 10, 64); return err == nil }

// TestNoVariableBendsIt: those of the exporters that it is made from.
func TestNoVariableBendsIt(t *testing.T) {
	for _, signal := range []string{"", "TRACES_", "METRICS_", "LOGS_"} {
		for name, value := range map[string]string{
			"ENDPOINT": "http://127.0.0.1:1/x", "HEADERS": "content-type=text/plain,content-encoding=br", "COMPRESSION": "gzip",
			"TIMEOUT": "1", "PROTOCOL": "http/json", "INSECURE": "true", "CERTIFICATE": "/does/not/exist",
		} {
			t.Setenv("OTEL_EXPORTER_OTLP_"+signal+name, value)
		}
	}
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	record(t, Config{Directory: t.TempDir()})
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	record(t, Config{Directory: dir})
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v %v", info.Mode(), err)
	}
	for _, f := range files(t, dir, "*") {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, info.Mode(), err)
		}
	}
}

func newWriter(t *testing.T, signal string, cfg Config) *writer {
	t.Helper()
	cfg, err := cfg.resolve()
	if err != nil {
		t.Fatal(err)
	}
	w := openWriter(cfg, signal)
	t.Cleanup(func() { _ = w.shutdown() })
	return w
}

// line is a valid line of n bytes.
func line(n int) []byte { return []byte(`"` + strings.Repeat("x", n-3) + "\"\n") }

func TestRotationAndTotal(t *testing.T) {
	cfg := Config{Directory: t.TempDir(), MaxSize: minFileCost, MaxTotalSize: 8 * minFileCost}
	foreign := filepath.Join(cfg.Directory, "traces.jsonl")
	if err := os.WriteFile(foreign, []byte("not ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	signals := []string{"traces", "metrics", "logs"}
	var wg sync.WaitGroup
	for _, signal := range signals {
		w := newWriter(t, signal, cfg)
		for range 2 {
			wg.Go(func() {
				for range 200 {
					if err := w.writeLine(line(10_000)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	var total int64
	for _, signal := range signals {
		readLines(t, cfg.Directory, signal)
		for _, f := range files(t, cfg.Directory, signal) {
			info, err := os.Stat(f)
			if err != nil {
				t.Fatal(err)
			}
			if info.Size() > cfg.MaxSize {
				t.Errorf("%s has %d bytes", f, info.Size())
			}
			total += info.Size()
		}
	}
	if total > cfg.MaxTotalSize || total < cfg.MaxTotalSize/2 {
		t.Errorf("%d bytes in all", total)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Error("a foreign file was removed")
	}
}

// TestManyShortProcesses: tiny files are bounded too.
func TestManyShortProcesses(t *testing.T) {
	cfg := Config{Directory: t.TempDir(), MaxSize: minFileCost, MaxTotalSize: 4 * minFileCost}
	for range 20 {
		w := newWriter(t, "logs", cfg)
		if err := errors.Join(w.writeLine(line(100)), w.shutdown()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(files(t, cfg.Directory, "logs")); n == 0 || n > 4 {
		t.Errorf("%d files", n)
	}
}

func TestALargeLine(t *testing.T) {
	w := newWriter(t, "logs", Config{Directory: t.TempDir(), MaxSize: minFileCost, MaxTotalSize: 4 * minFileCost})
	for _, n := range []int{100, 2 * minFileCost, 100} {
		if err := w.writeLine(line(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.writeLine(line(5 * minFileCost)); err == nil || !strings.Contains(err.Error(), envMaxTotalSize) {
		t.Errorf("a line larger than everything: %v", err)
	}
	if n := len(readLines(t, w.cfg.Directory, "logs")); n != 3 {
		t.Errorf("%d lines", n)
	}
}

// TestACrashWithinALine leaves half a line in a file that nobody touches again.
func TestACrashWithinALine(t *testing.T) {
	cfg := Config{Directory: t.TempDir()}
	torn := filepath.Join(cfg.Directory, "logs-20200101T000000.000000000Z-1-1.jsonl")
	const half = "{\"resourceLogs\":[]}\n{\"resourceL"
	if err := os.WriteFile(torn, []byte(half), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWriter(t, "logs", cfg)
	if err := w.writeLine(line(50)); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(torn); err != nil || string(text) != half {
		t.Errorf("the torn file has %q: %v", text, err)
	}
	if n := len(files(t, cfg.Directory, "logs")); n != 2 {
		t.Errorf("%d files", n)
	}
}

// TestAFailingWrite: the error comes back, and the next line is whole.
func TestAFailingWrite(t *testing.T) {
	w := newWriter(t, "logs", Config{Directory: t.TempDir()})
	if err := w.writeLine(line(50)); err != nil {
		t.Fatal(err)
	}
	readOnly, err := os.Open(w.file.Name()) // neither writes nor truncates
	if err != nil {
		t.Fatal(err)
	}
	if err := w.file.Close(); err != nil {
		t.Fatal(err)
	}
	w.file = readOnly
	if err := w.writeLine(line(50)); err == nil {
		t.Error("nothing was written, and no error came back")
	}
	if err := w.writeLine(line(50)); err != nil {
		t.Error(err)
	}
	if n := len(readLines(t, w.cfg.Directory, "logs")); n != 2 {
		t.Errorf("%d lines", n)
	}
}

func TestADirectoryThatGoesAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "telemetry")
	w := newWriter(t, "logs", Config{Directory: dir})
	write := func() error { return w.writeLine(line(50)) }
	if err := write(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := write(); err != nil {
		t.Errorf("a directory that can be made again: %v", err)
	}
	if n := len(readLines(t, dir, "logs")); n != 1 {
		t.Errorf("%d lines", n)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file is in its place
		t.Fatal(err)
	}
	if err := write(); err == nil {
		t.Error("nothing was written, and no error came back")
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := write(); err != nil {
		t.Errorf("after it is well again: %v", err)
	}
}

// TestAnExportError names the file, not the URL that is never dialed.
func TestAnExportError(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "telemetry")
	exp, err := NewLogExporter(t.Context(), Config{Directory: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err = exp.Export(t.Context(), make([]sdklog.Record, 1))
	if err == nil || !strings.HasPrefix(err.Error(), Name+": ") || strings.Contains(err.Error(), "invalid/") || !strings.Contains(err.Error(), dir) {
		t.Errorf("error is %v", err)
	}
	if err := exp.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCancelled(t *testing.T) {
	exp, err := NewLogExporter(t.Context(), Config{Directory: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := exp.Export(ctx, make([]sdklog.Record, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	if err := exp.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, value, want string }{
		{envMaxSize, "10MB", `OTELMCP_FILE_MAX_SIZE="10MB": want a positive number of bytes`},
		{envMaxTotalSize, "-1", `OTELMCP_FILE_MAX_TOTAL_SIZE="-1": want a positive number of bytes`},
		{envMaxSize, "10", `OTELMCP_FILE_MAX_SIZE=10`},
		{envMaxTotalSize, "65536", `at least 4 times`},
		{envDirectory, filepath.Join(file, "x"), `want a directory that can be written to`},
	} {
		t.Run(tt.name+"="+tt.value, func(t *testing.T) {
			t.Setenv(envDirectory, t.TempDir())
			t.Setenv(tt.name, tt.value)
			t.Setenv("OTEL_LOGS_EXPORTER", Name)
			if _, err := autoexport.NewLogExporter(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %s", err, tt.want)
			}
		})
	}
}

func TestDefaultDirectory(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	cfg, err := Config{}.resolve()
	if err != nil || cfg.Directory != filepath.Join(cache, "otelmcp") || cfg.MaxSize != defaultMaxSize || cfg.MaxTotalSize != defaultMaxTotalSize {
		t.Errorf("%+v, %v", cfg, err)
	}
}
