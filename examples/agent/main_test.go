// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The demo as a user runs it: the program is built and started, and these tests
// look at what it prints, at what it sends, and at what it leaves behind.

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/otelmcp/otelmcp-go/examples/internal/otlpview"
	"github.com/otelmcp/otelmcp-go/examples/internal/otlpview/programtest"
)

func TestMain(m *testing.M) { os.Exit(programtest.Run(m, "agent")) }

func TestDemo(t *testing.T) {
	p := programtest.New(t, nil)
	begin := time.Now()
	if err := p.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, &p.Out, &p.Err)
	}
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("the demo took %s", took)
	}
	out := p.Out.String()
	for _, want := range []string{
		"travel    offers: two nights in Oslo, 12 °C", "calendar  refuses:", "The user agrees.", "Sunday is booked",
		turnName, "4 services", "✗ tool_error", "✓ whole",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if n := strings.Count(out, "trace "); n < 1 || strings.Count(out, "\ntrace ") != 1 {
		t.Errorf("one trace should be drawn:\n%s", out)
	}
	if strings.Contains(out, "\x1b") {
		t.Error("colors, though the output is no terminal")
	}
	if p.Err.Len() > 0 {
		t.Errorf("something was written to stderr:\n%s", &p.Err)
	}
}

// TestTelemetry sends to a receiver of the test, as a user with a collector
// would, and looks at each span that arrived.
func TestTelemetry(t *testing.T) {
	rec, err := otlpview.StartReceiver()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := rec.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	p := programtest.New(t, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + rec.URL, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"})
	if err := p.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, &p.Out, &p.Err)
	}
	got := rec.Snapshot()
	if len(got.Spans) == 0 {
		t.Fatal("no spans")
	}
	out := p.Out.String()
	if !strings.Contains(out, strings.TrimPrefix(rec.URL, "http://")) || !strings.Contains(out, got.Spans[0].TraceID) ||
		strings.Contains(out, "├─") {
		t.Errorf("with a collector, the demo should name it and the trace, and draw nothing:\n%s", out)
	}
	for _, problem := range incomplete(got.Spans) {
		t.Error(problem)
	}

	byID := map[string]*otlpview.Span{}
	for _, s := range got.Spans {
		byID[s.ID] = s
	}
	paths := map[string]int{}
	for _, s := range got.Spans {
		paths[pathOf(s, byID)]++
	}
	const turn = turnName + "[agent internal]"
	want := map[string]int{turn: 1}
	// hop adds a client span and the server's, and returns the latter.
	hop := func(parent, name, from, to string, n int) string {
		sent := fmt.Sprintf("%s > %s[%s client]", parent, name, from)
		got := fmt.Sprintf("%s > %s[%s server]", sent, name, to)
		want[sent], want[got] = n, n
		return got
	}
	hop(turn, "initialize", "agent", "calendar", 1)
	hop(turn, "notifications/initialized", "agent", "calendar", 1)
	hop(turn, "tools/list", "agent", "calendar", 1)
	hop(turn, "server/discover", "agent", "travel", 1)
	hop(turn, "tools/list", "agent", "travel", 1)
	want[turn+" > tools/list[agent client]"] = 2
	offer := hop(turn, "tools/call make_offer", "agent", "travel", 1)
	want[offer+" > notifications/progress[travel client]"] = 1
	want[offer+" > notifications/progress[agent server]"] = 1
	hop(offer, "server/discover", "travel", "weather", 1)
	hop(offer, "tools/list", "travel", "weather", 1)
	hop(offer, "tools/call forecast", "travel", "weather", 1)
	book := hop(turn, "tools/call book_day", "agent", "calendar", 2)
	hop(book, "elicitation/create", "calendar", "agent", 1)
	if !maps.Equal(paths, want) {
		for path, n := range want {
			if paths[path] != n {
				t.Errorf("%d spans instead of %d at %s", paths[path], n, path)
			}
		}
		for path, n := range paths {
			if want[path] == 0 {
				t.Errorf("%d spans too many at %s", n, path)
			}
		}
	}

	versions := map[string]string{}
	for _, s := range got.Spans {
		switch {
		case s.Kind == "internal":
		case s.Name == "tools/call book_day":
			versions["calendar"] = s.Attrs["mcp.protocol.version"]
		default:
			if s.Service == "travel" && s.Kind == "server" {
				versions["travel"] = s.Attrs["mcp.protocol.version"]
			}
		}
	}
	if !strings.HasPrefix(versions["calendar"], "2025-") || versions["travel"] != "2026-07-28" {
		t.Errorf("both eras of the protocol should be in use: %v", versions)
	}
}

func TestDemoFailsWithoutTelemetry(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "OTEL_EXPORTER_OTLP_ENDPOINT=http://" + ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, env string
		says      []string
	}{
		{"sampled away", "OTEL_TRACES_SAMPLER=always_off", []string{"the trace is not whole", "0 traces instead of 1", "OTEL_TRACES_SAMPLER)"}},
		{"disabled", "OTEL_SDK_DISABLED=true", []string{"OTEL_SDK_DISABLED"}},
		{"nobody listens", nobody, []string{"telemetry was lost"}},
	} {
		t.Run(test.name, func(t *testing.T) { programtest.Fails(t, test.env, test.says...) })
	}
}

// TestNothingIsLeft ends the demo amid its turn, and waits for its children.
func TestNothingIsLeft(t *testing.T) {
	for name, end := range map[string]os.Signal{"interrupted": os.Interrupt, "killed": os.Kill} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" && end == os.Interrupt {
				t.Skip("Windows has no such signal")
			}
			p := programtest.New(t, nil)
			p.Stdout = nil
			stdout, err := p.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(stdout)
			for lines.Scan() && !strings.Contains(lines.Text(), "is busy") { // all four processes are there, or soon
				continue
			}
			if err := p.Process.Signal(end); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			whole := false // it was faster than the signal
			for lines.Scan() {
				whole = whole || strings.Contains(lines.Text(), "✓ whole")
			}
			err = p.Wait()
			if errors.Is(err, exec.ErrWaitDelay) {
				t.Errorf("children are still there after %s", p.WaitDelay)
			}
			if err == nil && !whole {
				t.Error("an interrupted demo must not claim success")
			}
			if end == os.Interrupt && err != nil && !strings.Contains(p.Err.String(), "agent: interrupted") {
				t.Errorf("%v, and it does not say why:\n%s", err, &p.Err)
			}
		})
	}
}

// TestStdioServersAreSilent: what is no message must not be on stdout.
func TestStdioServersAreSilent(t *testing.T) {
	for _, server := range []string{calendarServer, weatherServer} {
		p := programtest.New(t, []string{"OTEL_TRACES_EXPORTER=console", "OTEL_METRICS_EXPORTER=none", "OTEL_LOGS_EXPORTER=none"}, server)
		p.Stdin = strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",` +
			`"capabilities":{},"clientInfo":{"name":"test","version":"1"}}}` + "\n")
		if err := p.Run(); err != nil {
			t.Errorf("%s: %v\n%s", server, err, &p.Err)
		}
		n := 0
		for line := range bytes.Lines(p.Out.Bytes()) {
			n++
			var message struct{ JSONRPC string }
			if err := json.Unmarshal(line, &message); err != nil || message.JSONRPC != "2.0" {
				t.Errorf("%s: no message: %q", server, line)
			}
		}
		if n != 1 {
			t.Errorf("%s: %d messages instead of 1", server, n)
		}
	}
}
