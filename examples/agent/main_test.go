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
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/otelmcp/otelmcp-go/examples/internal/otlpview"
)

// program is the path of the built demo.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "agent-example")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "agent.exe") // the suffix is for Windows
	code := 1
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// process is the demo with what it writes. Its children write to the same
// standard error, so that Wait returns nil only when they have ended, too.
type process struct {
	*exec.Cmd
	stdout, stderr bytes.Buffer
}

// newProcess makes one in an environment that has of OTEL_* variables only
// those in env.
func newProcess(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.CommandContext(t.Context(), program, args...)}
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	p.WaitDelay = 20 * time.Second
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "OTEL_") && !strings.HasPrefix(pair, "COLUMNS=") {
			p.Env = append(p.Env, pair)
		}
	}
	p.Env = append(append(p.Env, "COLUMNS=120"), env...)
	return p
}

func TestDemo(t *testing.T) {
	p := newProcess(t, nil)
	begin := time.Now()
	if err := p.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, &p.stdout, &p.stderr)
	}
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("the demo took %s", took)
	}
	out := p.stdout.String()
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
	if p.stderr.Len() > 0 {
		t.Errorf("something was written to stderr:\n%s", &p.stderr)
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
	p := newProcess(t, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + rec.URL, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"})
	if err := p.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, &p.stdout, &p.stderr)
	}
	got := rec.Snapshot()
	if len(got.Spans) == 0 {
		t.Fatal("no spans")
	}
	out := p.stdout.String()
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
		t.Run(test.name, func(t *testing.T) {
			p := newProcess(t, []string{test.env})
			if err := p.Run(); p.ProcessState == nil || p.ProcessState.ExitCode() != 1 {
				t.Errorf("ended with %v instead of exit code 1", err)
			}
			for _, want := range test.says {
				if !strings.Contains(p.stderr.String(), want) {
					t.Errorf("stderr lacks %q:\n%s", want, &p.stderr)
				}
			}
		})
	}
}

// TestNothingIsLeft ends the demo amid its turn, and waits for its children.
func TestNothingIsLeft(t *testing.T) {
	for name, end := range map[string]os.Signal{"interrupted": os.Interrupt, "killed": os.Kill} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" && end == os.Interrupt {
				t.Skip("Windows has no such signal")
			}
			p := newProcess(t, nil)
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
			if end == os.Interrupt && err != nil && !strings.Contains(p.stderr.String(), "agent: interrupted") {
				t.Errorf("%v, and it does not say why:\n%s", err, &p.stderr)
			}
		})
	}
}

// TestStdioServersAreSilent: what is no message must not be on stdout.
func TestStdioServersAreSilent(t *testing.T) {
	for _, server := range []string{calendarServer, weatherServer} {
		p := newProcess(t, []string{"OTEL_TRACES_EXPORTER=console", "OTEL_METRICS_EXPORTER=none", "OTEL_LOGS_EXPORTER=none"}, server)
		p.Stdin = strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",` +
			`"capabilities":{},"clientInfo":{"name":"test","version":"1"}}}` + "\n")
		if err := p.Run(); err != nil {
			t.Errorf("%s: %v\n%s", server, err, &p.stderr)
		}
		n := 0
		for line := range bytes.Lines(p.stdout.Bytes()) {
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

func TestCommandLine(t *testing.T) {
	for _, test := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{[]string{"--help"}, 0, "Usage:", ""},
		{[]string{"--nonsense"}, 2, "", "nonsense"},
		{[]string{"nonsense"}, 2, "", `unknown argument "nonsense"`},
	} {
		p := newProcess(t, nil, test.args...)
		_ = p.Run()
		if code := p.ProcessState.ExitCode(); code != test.code {
			t.Errorf("%q: exit code %d instead of %d", test.args, code, test.code)
		}
		if !strings.Contains(p.stdout.String(), test.stdout) || !strings.Contains(p.stderr.String(), test.stderr) {
			t.Errorf("%q: stdout %q, stderr %q", test.args, &p.stdout, &p.stderr)
		}
	}
}
