// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file tests that what makes room is counted, to the last record, and said: in
// one process, and in several that share a directory.

package otlpfile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

const childEnv = "OTELMCP_TEST_FILE_CHILD"

// observed is what a process says of its removals.
type observed struct {
	Removed map[string]int64 // the metric, by signal
	Said    []string
}

// observe collects what this process says until its end function is called.
func observe() (end func() observed) {
	var mu sync.Mutex
	o := observed{Removed: map[string]int64{}}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		mu.Lock()
		defer mu.Unlock()
		o.Said = append(o.Said, err.Error())
	}))
	reader := sdkmetric.NewManualReader()
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	otel.SetMeterProvider(meters)
	return func() observed {
		var rm metricdata.ResourceMetrics
		if err := reader.Collect(context.Background(), &rm); err != nil {
			panic(err)
		}
		for _, sm := range rm.ScopeMetrics {
			for _, m := range sm.Metrics {
				if m.Name != removedMetric {
					continue
				}
				for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints { //nolint:forcetypeassert // It is a counter.
					signal, _ := p.Attributes.Value(signalKey)
					o.Removed[signal.AsString()] += p.Value
				}
			}
		}
		_ = meters.Shutdown(context.Background())
		otel.SetMeterProvider(metricnoop.NewMeterProvider())
		mu.Lock()
		defer mu.Unlock()
		return o
	}
}

// child writes log records, one line each, to the directory that childEnv names.
func child() int {
	end := observe()
	exp, err := NewLogExporter(context.Background(), Config{Directory: os.Getenv(childEnv), MaxSize: minFileCost, MaxTotalSize: 4 * minFileCost})
	if err != nil {
		panic(err)
	}
	provider := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewSimpleProcessor(exp)))
	for i := range recordsPerChild {
		var r log.Record
		r.SetEventName("test.event")
		r.SetBody(attribute.StringValue(fmt.Sprintf("%d/%d %s", os.Getpid(), i, strings.Repeat("x", 700))))
		provider.Logger("test").Emit(context.Background(), r)
	}
	if err := provider.Shutdown(context.Background()); err != nil {
		panic(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(end()); err != nil {
		panic(err)
	}
	return 0
}

const (
	children        = 2
	recordsPerChild = 1500
)

// TestProcessesThatShareADirectory: what is no longer there is counted by one of them.
func TestProcessesThatShareADirectory(t *testing.T) {
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	outputs := make([]bytes.Buffer, children)
	var wg sync.WaitGroup
	for i := range children {
		cmd := exec.CommandContext(t.Context(), exe)
		cmd.Env = append(os.Environ(), childEnv+"="+dir)
		cmd.Stdout, cmd.Stderr = &outputs[i], os.Stderr
		wg.Go(func() {
			if err := cmd.Run(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()

	kept := map[string]bool{} // by body: none is there twice
	for _, line := range readLines(t, dir, "logs") {
		data, err := new(plog.JSONUnmarshaler).UnmarshalLogs(line)
		if err != nil {
			t.Fatal(err)
		}
		for _, rl := range data.ResourceLogs().All() {
			for _, sl := range rl.ScopeLogs().All() {
				for _, r := range sl.LogRecords().All() {
					if body := r.Body().Str(); kept[body] {
						t.Errorf("written twice: %.20s", body)
					} else {
						kept[body] = true
					}
				}
			}
		}
	}
	var counted, told int64
	for i := range outputs {
		var o observed
		if err := json.Unmarshal(outputs[i].Bytes(), &o); err != nil {
			t.Fatalf("%v: %s", err, outputs[i].String())
		}
		counted += o.Removed["logs"]
		if o.Removed["logs"] == 0 {
			continue
		}
		if len(o.Said) != 2 || !strings.Contains(o.Said[0], "is full (OTELMCP_FILE_MAX_TOTAL_SIZE=262144): files are removed") {
			t.Fatalf("said %q", o.Said)
		}
		var n int64
		if _, after, ok := strings.Cut(o.Said[1], "metric points and "); ok {
			_, _ = fmt.Sscan(after, &n)
		}
		told += n
	}
	lost := int64(children*recordsPerChild - len(kept))
	// A line that is written while its file is removed is counted, and written again.
	if counted < lost || counted > lost+10 || told != counted {
		t.Errorf("%d are there, %d are counted as removed, %d are said to be; want %d", len(kept), counted, told, lost)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestWhatMakesRoomIsCounted, of each signal, and in what a former process left.
func TestWhatMakesRoomIsCounted(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Directory: dir}
	for range 3 {
		emitAll(t, cfg)
	}
	end := observe()
	cfg.MaxSize, cfg.MaxTotalSize = minFileCost, 4*minFileCost
	emitAll(t, cfg)
	o := end()
	// Each round leaves a file of each signal: a span, two points, a record. The last
	// one has its three files, and room for one more.
	if o.Removed["traces"]+o.Removed["metrics"]/2+o.Removed["logs"] != 8 {
		t.Errorf("counted %v", o.Removed)
	}
	want := fmt.Sprintf("8 files were removed, with %d spans, %d metric points and %d log records", o.Removed["traces"], o.Removed["metrics"], o.Removed["logs"])
	if len(o.Said) != 2 || !strings.Contains(o.Said[1], want) {
		t.Errorf("said %q, want %q", o.Said, want)
	}
}

// TestAFileThatIsWrittenToStays while there are others, however early it was begun.
func TestAFileThatIsWrittenToStays(t *testing.T) {
	cfg := Config{Directory: t.TempDir(), MaxSize: minFileCost, MaxTotalSize: 4 * minFileCost}
	slow, busy := newWriter(t, "traces", cfg), newWriter(t, "logs", cfg)
	end := observe()
	for range 20 {
		if err := errors.Join(slow.writeLine(line(100)), busy.writeLine(line(minFileCost-10))); err != nil {
			t.Fatal(err)
		}
		// The clock of a file system can be slower than this loop.
		past := time.Now().Add(-time.Hour)
		for _, f := range files(t, cfg.Directory, "logs") {
			if f == busy.file.Name() {
				continue
			}
			if err := os.Chtimes(f, past, past); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := len(readLines(t, cfg.Directory, "traces")); n != 20 {
		t.Errorf("%d lines of 20 are there", n)
	}
	if o := end(); len(o.Said) != 1 {
		t.Errorf("said %q", o.Said)
	}
}

// TestAQuietSignalStays: a process that is alone never removes what it is writing.
func TestAQuietSignalStays(t *testing.T) {
	cfg := Config{Directory: t.TempDir(), MaxSize: minFileCost, MaxTotalSize: 4 * minFileCost}
	quiet, busy := newWriter(t, "metrics", cfg), newWriter(t, "logs", cfg)
	if err := quiet.writeLine(line(100)); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(quiet.file.Name(), past, past); err != nil {
		t.Fatal(err)
	}
	end := observe()
	for range 10 {
		if err := busy.writeLine(line(minFileCost - 10)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(readLines(t, cfg.Directory, "metrics")); n != 1 {
		t.Error("the quiet signal's file was removed")
	}
	if n := len(files(t, cfg.Directory, "logs")); n != 3 {
		t.Errorf("%d files of the busy one", n)
	}
	end()
}

// TestARemoverThatDied leaves a file that counts and goes like others, and one that is
// at work does not.
func TestARemoverThatDied(t *testing.T) {
	cfg := Config{Directory: t.TempDir(), MaxSize: minFileCost, MaxTotalSize: 4 * minFileCost}
	const name = "logs-20200101T000000.000000000Z-1-1.jsonl"
	dead := ".removed-20200101T000000.000000000Z-" + name
	alive := ".removed-" + time.Now().UTC().Format(moment) + "-" + name
	for _, f := range []string{dead, alive} {
		if err := os.WriteFile(filepath.Join(cfg.Directory, f), []byte("{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{},{}]}]}]}\n{\"resourceL"), 0o600); err != nil {
			t.Fatal(err)
		}
		past := time.Now().Add(-time.Hour)
		if err := os.Chtimes(filepath.Join(cfg.Directory, f), past, past); err != nil {
			t.Fatal(err)
		}
	}
	end := observe()
	w := newWriter(t, "logs", cfg)
	for range 4 {
		if err := w.writeLine(line(minFileCost - 10)); err != nil {
			t.Fatal(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(cfg.Directory, ".*"))
	if err != nil || !slices.Equal(left, []string{filepath.Join(cfg.Directory, alive)}) {
		t.Errorf("left are %v, %v", left, err)
	}
	if o := end(); o.Removed["logs"] != 2 {
		t.Errorf("counted %v", o.Removed)
	}
}

// TestAFileThatIsRemovedWhileItIsWrittenTo, between two looks at it, costs no line.
func TestAFileThatIsRemovedWhileItIsWrittenTo(t *testing.T) {
	cfg := Config{Directory: t.TempDir()}
	w := newWriter(t, "logs", cfg)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				// What another process does to make room.
				for _, f := range files(t, cfg.Directory, "logs") {
					if err := os.Rename(f, filepath.Join(cfg.Directory, "taken-"+filepath.Base(f))); err != nil && !errors.Is(err, os.ErrNotExist) {
						t.Error(err)
					}
				}
			}
		}
	})
	accepted := 0
	for i := range 500 {
		if err := w.writeLine(fmt.Appendf(nil, "%d\n", i)); err == nil {
			accepted++
		}
	}
	close(stop)
	wg.Wait()
	if err := w.shutdown(); err != nil {
		t.Error(err)
	}
	seen := map[string]bool{}
	for _, prefix := range []string{"logs", "taken-logs"} {
		for _, l := range readLines(t, cfg.Directory, prefix) {
			seen[string(l)] = true
		}
	}
	if len(seen) < accepted || accepted == 0 {
		t.Errorf("%d lines are there, of %d that were accepted", len(seen), accepted)
	}
}

// TestNothingIsKeptOfADirectory: nothing is kept of a directory that nobody writes to.
func TestNothingIsKeptOfADirectory(t *testing.T) {
	exp, err := NewSpanExporter(t.Context(), Config{Directory: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exp))
	_, span := provider.Tracer("test").Start(t.Context(), "span")
	span.End()
	for range 2 {
		if err := errors.Join(provider.Shutdown(t.Context()), exp.Shutdown(t.Context())); err != nil {
			t.Error(err)
		}
	}
	directories.Lock()
	defer directories.Unlock()
	if n := len(directories.byPath); n != 0 {
		t.Errorf("%d directories are kept", n)
	}
}

// TestTheRegistryHasTheMetric, which this module names without importing it.
func TestTheRegistryHasTheMetric(t *testing.T) {
	for file, name := range map[string]string{"metrics.yaml": "name: " + removedMetric, "attributes.yaml": "key: " + string(signalKey)} {
		text, err := os.ReadFile(filepath.Join("..", "..", "semconv", "model", file))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(strings.FieldsFunc(string(text), func(c rune) bool { return c == '\n' }), "  - "+name) {
			t.Errorf("%s has no %s", file, name)
		}
	}
}
