// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The demo as a user runs it: the program is built and started, and these tests
// look at what it prints, at what it sends, and at how it ends.

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/otelmcp/otelmcp-go/examples/internal/otlpview"
	"github.com/otelmcp/otelmcp-go/examples/internal/otlpview/programtest"
)

func TestMain(m *testing.M) { os.Exit(programtest.Run(m, "oauth")) }

func TestDemo(t *testing.T) {
	p := programtest.New(t, nil)
	if err := p.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, &p.Out, &p.Err)
	}
	out := p.Out.String()
	for _, want := range []string{
		"missing_credentials", "expired", "audience_mismatch", "insufficient_scope", "revoked", "hidden",
		"session_principal_mismatch", "bad_signature", "tools-by-role", "scopes-by-tool", "✓ complete",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Error("colors, though the output is no terminal")
	}
	if strings.Contains(out, "eyJ") {
		t.Error("a token is printed")
	}
	if p.Err.Len() > 0 {
		t.Errorf("something was written to stderr:\n%s", &p.Err)
	}
}

// TestTelemetry sends to a receiver of the test, as a user with a collector would,
// and looks for what must not be there.
func TestTelemetry(t *testing.T) {
	rec := receiver(t)
	p := programtest.New(t, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + rec.URL, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"})
	if err := p.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, &p.Out, &p.Err)
	}
	out := p.Out.String()
	if !strings.Contains(out, strings.TrimPrefix(rec.URL, "http://")) || strings.Contains(out, "decision") {
		t.Errorf("with a collector, the demo should name it, and draw nothing:\n%s", out)
	}
	got := rec.Snapshot()
	records := recordsOf(got, tracesIn(out))
	for _, problem := range missing(records, tracesIn(out)) {
		t.Error(problem)
	}
	var all strings.Builder
	for _, e := range got.Events {
		all.WriteString(e.Body + e.Attrs.String() + "\n")
	}
	for _, s := range got.Spans {
		all.WriteString(s.Name + s.Message + s.Attrs.String() + "\n")
	}
	if strings.Contains(all.String(), "eyJ") || strings.Contains(all.String(), "Bearer") {
		t.Error("telemetry holds a token")
	}
}

// tracesIn finds the ids that the demo prints where it draws nothing.
func tracesIn(out string) (traces []string) {
	for _, match := range regexp.MustCompile(`(?m)^ +([0-9a-f]{32}) `).FindAllStringSubmatch(out, -1) {
		traces = append(traces, match[1])
	}
	return traces
}

func receiver(t *testing.T) *otlpview.Receiver {
	t.Helper()
	rec, err := otlpview.StartReceiver()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rec.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return rec
}

// Decisions say by themselves what they are about: no span is needed.
func TestDemoWithoutSpans(t *testing.T) {
	p := programtest.New(t, []string{"OTEL_TRACES_SAMPLER=always_off"})
	if err := p.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, &p.Out, &p.Err)
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
		{"disabled", "OTEL_SDK_DISABLED=true", []string{"OTEL_SDK_DISABLED"}},
		{"nobody listens", nobody, []string{"telemetry was lost"}},
	} {
		t.Run(test.name, func(t *testing.T) { programtest.Fails(t, test.env, test.says...) })
	}
}

// TestServe uses the servers that stay up, as a client of the user's would, and
// then ends them.
func TestServe(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such signal")
	}
	p := programtest.New(t, nil, "--serve")
	p.Stdout = nil
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	out, lines := "", bufio.NewReader(stdout)
	await := func(part string) string {
		for {
			line, err := lines.ReadString('\n')
			out += line
			if err != nil {
				t.Fatalf("%q was not printed: %v\n%s\n%s", part, err, out, &p.Err)
			}
			if strings.Contains(line, part) {
				return line
			}
		}
	}
	endpoint := regexp.MustCompile(`http://\S+`).FindString(await("stay up until"))

	carol := newUser("carol", endpoint)
	if err := carol.signIn(t.Context(), scopeRead); err != nil {
		t.Fatal(err)
	}
	tools, err := carol.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(tools) != 3 {
		t.Errorf("an admin sees %q", tools)
	}
	if _, err := call(t.Context(), carol.mcp, toolPurge, nil); err != nil {
		t.Errorf("an admin may not: %v", err)
	}
	if err := carol.mcp.Close(); err != nil {
		t.Error(err)
	}
	await("DELETE") // the last thing that is decided

	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	await("stopping")
	if err := p.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &p.Err)
	}
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("it took %s to stop", took)
	}
	if want := "carol  tools/call purge_all"; !strings.Contains(out, want) {
		t.Errorf("the output lacks %q:\n%s", want, out)
	}
}

// TestTheCheckChecks: a log that lacks a record, has one twice or one too many,
// or says something else is not accepted.
func TestTheCheckChecks(t *testing.T) {
	var traces []string
	var good []*record
	for k, s := range scenarios {
		traces = append(traces, fmt.Sprint(k))
		for _, d := range append(s.refusals, s.allowed...) {
			r := &record{Event: &otlpview.Event{}, decision: d, scenario: k}
			if r.decision.decision == "" {
				r.decision.decision, r.reason = "allow", "ok"
			}
			if r.by == "" {
				r.by = "server"
			}
			good = append(good, r)
		}
	}
	if problems := missing(good, traces); len(problems) > 0 {
		t.Fatalf("a good log is refused: %q", problems)
	}
	if len(missing(good, traces[1:])) == 0 {
		t.Error("a scenario that was not played goes unnoticed")
	}
	for k, r := range good {
		without := slices.Concat(good[:k], good[k+1:])
		without = slices.Clip(without) // what is appended is not shared
		elsewhere := *r
		elsewhere.scenario = -1
		otherwise := *r
		otherwise.reason = "policy"
		for name, log := range map[string][]*record{
			"missing": without, "twice": append(without, r, r), "said otherwise": append(without, &otherwise),
			"in another trace": append(without, &elsewhere),
		} {
			if len(missing(log, traces)) == 0 {
				t.Errorf("%s: %s goes unnoticed", &r.decision, name)
			}
		}
	}
}

// TestForgeries: what is forged has the form of a token, and is not the same one.
func TestTableFits(t *testing.T) {
	head := []string{"#", "time", "by", "who", "what", "from", "mechanism", "decision", "reason", "http", "policy", "trace"}
	for _, width := range []int{60, 80, 100, 130, 240} {
		rows := [][]string{slices.Clone(head), {
			"9", "22:19:38.367", "server", "alice", "notifications/initialized", "127.0.0.1", "oauth_registration", "challenge",
			"session_principal_mismatch", "403", "scopes-by-tool", "0af7651916cd43dd8448eb211c80319c",
		}}
		var out strings.Builder
		for k, w := range fit(rows, width) {
			if w > 0 {
				out.WriteString(otlpview.Cut(rows[1][k], w) + "  ")
			}
		}
		line := strings.TrimSpace(out.String())
		if got := otlpview.TextWidth(line); got > width {
			t.Errorf("a row takes %d columns of %d: %s", got, width, line)
		}
		for _, want := range []string{"server", "alice", "challenge"} {
			if !strings.Contains(line, want) {
				t.Errorf("a row of %d columns does not have %s: %s", width, want, line)
			}
		}
	}
}

func TestForgeries(t *testing.T) {
	const token = "eyJhbGciOiJFUzI1NiJ9.eyJzY29wZSI6Im5vdGVzOnJlYWQifQ.c2ln"
	if got := tamper(token); got == token || strings.Count(got, ".") != 2 || !strings.HasSuffix(got, ".c2ln") {
		t.Errorf("tampered: %q", got)
	}
	if got := unsign(token); strings.Count(got, ".") != 2 || !strings.HasSuffix(got, ".") {
		t.Errorf("unsigned: %q", got)
	}
}

// TestScenarios plays them in this process, where the race detector looks on, and
// then signs in as one should not: what the authorization server refuses, the
// client says.
func TestScenarios(t *testing.T) {
	w, stop, err := start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	var out bytes.Buffer
	if _, err := (demo{Renderer: otlpview.Renderer{W: &out}}).play(t.Context(), w); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
	mallory := newUser("mallory", w.resource)
	if err := mallory.signIn(t.Context(), scopeRead); err == nil || !strings.Contains(err.Error(), "access_denied") {
		t.Errorf("%v", err)
	}
	if err := w.bob.signIn(t.Context(), "nonsense"); err == nil || !strings.Contains(err.Error(), "invalid_scope") {
		t.Errorf("%v", err)
	}
}
