// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The demo end to end: the whole program in this process, its stdio server as
// a real child, and what it drew and returned.

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/otelmcp/otelmcp-go/examples/internal/otlpview"
)

// TestMain makes the test binary a stdio server, too: the demo starts the
// program that it runs in.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "stdio-server" {
		os.Exit(program.Command(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	slog.SetLogLoggerLevel(slog.LevelWarn) // as in main
	os.Exit(m.Run())
}

// newDemo makes a demo that draws into a buffer, in an environment without
// OTEL_* variables.
func newDemo(t *testing.T) (demo, *syncBuffer, *syncBuffer) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "OTEL_") {
			t.Setenv(name, "") // sets it back at the end
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out, stderr syncBuffer
	return demo{Renderer: otlpview.Renderer{W: &out, Width: 120}, stderr: &stderr, self: self}, &out, &stderr
}

func TestDemo(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	d, out, stderr := newDemo(t)
	begin := time.Now()
	if err := d.run(t.Context()); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, stderr)
	}
	if took := time.Since(begin); took > 45*time.Second {
		t.Errorf("the demo took %s", took)
	}
	goleak.VerifyNone(t, leaks)

	for _, want := range []string{
		"agent turn: plan a weekend", "agent turn: ask the model", "agent turn: bad weather",
		"weather-http", "weather-stdio",
		"✗ tool_error", "✗ panic",
		"sampling/createMessage",
		"mcp.server.operation.duration", "otelmcp.server.messages", "otelmcp.operation",
		"✓ complete",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	for line := range strings.Lines(out.String()) {
		if otlpview.TextWidth(strings.TrimRight(line, "\n")) > d.Width {
			t.Errorf("wider than %d columns: %s", d.Width, line)
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("colors, though the output is no terminal")
	}
	if stderr.String() != "" {
		t.Errorf("the child wrote to stderr:\n%s", stderr)
	}
	if got := os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"); got != "" {
		t.Errorf("the demo left OTEL_EXPORTER_OTLP_ENDPOINT=%s behind", got)
	}
}

// TestTelemetry runs the demo against a receiver of the test, as a user with a
// collector would, and looks at what arrived instead of at what was drawn.
func TestTelemetry(t *testing.T) {
	d, out, stderr := newDemo(t)
	rec, err := otlpview.StartReceiver()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := rec.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", rec.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	if err := d.run(t.Context()); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, stderr)
	}
	got := rec.Snapshot()

	if !strings.Contains(out.String(), strings.TrimPrefix(rec.URL, "http://")) || strings.Contains(out.String(), "TRACES") {
		t.Errorf("with a collector, the demo should name it and draw nothing:\n%s", out)
	}
	if all := otlpview.Traces(got.Spans); len(all) != 3 {
		t.Errorf("%d traces instead of one for each of the 3 turns", len(all))
	}
	for _, trace := range otlpview.Traces(got.Spans) {
		if !strings.Contains(out.String(), trace[0].TraceID) {
			t.Errorf("the output does not name trace %s", trace[0].TraceID)
		}
	}

	byID := map[string]*otlpview.Span{}
	for _, s := range got.Spans {
		byID[s.ID] = s
	}
	path := func(s *otlpview.Span) string { // from the root, with the services
		names := []string{}
		for ; s != nil; s = byID[s.ParentID] {
			names = append(names, fmt.Sprintf("%s[%s %s]", s.Name, s.Service, s.Kind))
		}
		slices.Reverse(names)
		return strings.Join(names, " > ")
	}
	paths := map[string]int{}
	errorTypes := map[string][]string{}
	for _, s := range got.Spans {
		paths[path(s)]++
		if s.Kind == "server" && s.Failed {
			errorTypes[s.Attrs["error.type"]] = append(errorTypes[s.Attrs["error.type"]], s.Name)
		}
	}
	for want, n := range map[string]int{
		// A modern client answers the question of a tool with a second call.
		"agent turn: plan a weekend[agent internal] > tools/call summarize[agent client] > " +
			"tools/call summarize[weather-http server]": 2,
		// A client of the older era is asked while its call goes on.
		"agent turn: ask the model[agent internal] > tools/call summarize[agent client] > " +
			"tools/call summarize[weather-http server] > sampling/createMessage[weather-http client]": 1,
		"agent turn: ask the model[agent internal] > initialize[agent client] > initialize[weather-http server]": 1,
		"agent turn: plan a weekend[agent internal] > prompts/get packing_list[agent client] > " +
			"prompts/get packing_list[weather-http server]": 1,
		"agent turn: plan a weekend[agent internal] > resources/read[agent client] > " +
			"resources/read[weather-http server]": 1,
		// Another process, with pipes between.
		"agent turn: bad weather[agent internal] > tools/call climate[agent client] > " +
			"tools/call climate[weather-stdio server]": 1,
		"agent turn: bad weather[agent internal] > tools/call radar[agent client] > " +
			"tools/call radar[weather-stdio server]": 1,
	} {
		if paths[want] != n {
			t.Errorf("%d spans instead of %d at %s", paths[want], n, want)
		}
	}
	if want := []string{"tools/call radar"}; !slices.Equal(errorTypes["panic"], want) {
		t.Errorf("error.type=panic on %q instead of %q", errorTypes["panic"], want)
	}
	if want := []string{"tools/call forecast"}; !slices.Equal(errorTypes["tool_error"], want) {
		t.Errorf("error.type=tool_error on %q instead of %q", errorTypes["tool_error"], want)
	}
	if len(errorTypes) != 2 {
		t.Errorf("unexpected errors: %v", errorTypes)
	}

	eventNames, outcomes := map[string]int{}, map[string]int{}
	for _, e := range got.Events {
		eventNames[e.Name]++
		if e.Name != "otelmcp.operation" {
			continue
		}
		outcomes[e.Attrs["otelmcp.outcome"]]++
		if e.Attrs["mcp.method.name"] == "" { // an HTTP exchange without a message has no span
			continue
		}
		if s := byID[e.SpanID]; s == nil || s.TraceID != e.TraceID || e.Body == "" {
			t.Errorf("an event without its span or without a body: %+v", *e)
		}
	}
	for _, outcome := range []string{"ok", "tool_error", "panic", "input_required"} {
		if outcomes[outcome] == 0 {
			t.Errorf("no otelmcp.operation event with the outcome %s: %v", outcome, outcomes)
		}
	}
	for _, name := range []string{"otelmcp.coverage", "otelmcp.session.start", "otelmcp.session.end"} {
		if eventNames[name] == 0 {
			t.Errorf("no event %s: %v", name, eventNames)
		}
	}
}

func TestDemoFailsWithoutTelemetry(t *testing.T) {
	t.Run("sampled away", func(t *testing.T) {
		d, _, _ := newDemo(t)
		t.Setenv("OTEL_TRACES_SAMPLER", "always_off")
		err := d.run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "telemetry is missing") ||
			!strings.Contains(err.Error(), "OTEL_TRACES_SAMPLER") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		d, _, _ := newDemo(t)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+ln.Addr().String())
		t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		if err := d.run(t.Context()); err == nil || !strings.Contains(err.Error(), "telemetry was not delivered") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("disabled", func(t *testing.T) {
		d, _, _ := newDemo(t)
		t.Setenv("OTEL_SDK_DISABLED", "true")
		if err := d.run(t.Context()); err == nil || !strings.Contains(err.Error(), "OTEL_SDK_DISABLED") {
			t.Errorf("got %v", err)
		}
	})
}

// TestServe uses the server after the demo's own turns, and then interrupts it.
func TestServe(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	d, out, stderr := newDemo(t)
	d.serve = true
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	done := make(chan error, 1)
	go func() { done <- d.run(ctx) }()

	endpoint := waitFor(t, out, `(http://\S+/mcp)`)
	const traceID = "0af7651916cd43dd8448eb211c80319c"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},`+
			`"clientInfo":{"name":"test","version":"1"},"_meta":{"traceparent":"00-`+traceID+`-b7ad6b7169203331-01"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("initialize: %s", res.Status)
	}
	waitFor(t, out, `trace (`+traceID+`)`) // drawn while the server is up

	interrupt()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("%v\n%s", err, stderr)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("still up 20 s after the interrupt")
	}
	goleak.VerifyNone(t, leaks)
}

func TestInterrupt(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	d, _, _ := newDemo(t)
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond) // amid the turns
	defer cancel()
	begin := time.Now()
	if err := d.run(ctx); err == nil {
		t.Error("an interrupted demo must not claim success")
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("took %s to stop", took)
	}
	goleak.VerifyNone(t, leaks)
}

// waitFor waits until pattern is in the output, and returns its first group.
func waitFor(t *testing.T, out *syncBuffer, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(45 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if match := re.FindStringSubmatch(out.String()); match != nil {
			return match[1]
		}
	}
	t.Fatalf("%s did not appear in:\n%s", pattern, out)
	return ""
}

// syncBuffer is a buffer that one goroutine writes while another reads.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
