// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The renderer against text that a person has looked at.

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

var epoch = time.Date(2026, 7, 28, 12, 0, 0, 0, time.UTC)

func at(ms float64) time.Time { return epoch.Add(time.Duration(ms * float64(time.Millisecond))) }

func fixedTrace() []*span {
	return []*span{
		{traceID: "0af7651916cd43dd8448eb211c80319c", id: "1", parentID: "", name: "agent turn", kind: "internal", service: "agent", start: at(0), end: at(100)},
		{traceID: "0af7651916cd43dd8448eb211c80319c", id: "2", parentID: "1", name: "tools/call a", kind: "client", service: "agent", start: at(10), end: at(60)},
		{traceID: "0af7651916cd43dd8448eb211c80319c", id: "3", parentID: "2", name: "tools/call a", kind: "server", service: "weather", start: at(15), end: at(55), links: []string{"4bf92f3577b34da6a3ce929d0e0e4736"}},
		{traceID: "0af7651916cd43dd8448eb211c80319c", id: "4", parentID: "3", name: "sampling/createMessage", kind: "client", service: "weather", start: at(20), end: at(50)},
		{traceID: "0af7651916cd43dd8448eb211c80319c", id: "5", parentID: "1", name: "tools/call b", kind: "client", service: "agent", start: at(70), end: at(72)},
		{traceID: "0af7651916cd43dd8448eb211c80319c", id: "6", parentID: "5", name: "tools/call b", kind: "server", service: "weather", start: at(71), end: at(71.5), failed: true, message: "index out of range", attrs: attributes{"error.type": "panic"}},
		{traceID: "0af7651916cd43dd8448eb211c80319c", id: "7", parentID: "99", name: "a very long name that does not fit in the column it has", kind: "server", service: "weather", start: at(90), end: at(100), attrs: attributes{"rpc.response.status_code": "-32602"}},
	}
}

func TestWaterfall(t *testing.T) {
	var out bytes.Buffer
	renderer{w: &out, width: 80}.waterfall(fixedTrace())
	golden(t, out.String(), `
trace 0af7651916cd43dd8448eb211c80319c  100 ms, 7 spans, 2 services, 1 failed
agent turn                       internal agent     100 ms  ████████████████████
├─ tools/call a                  client   agent    50.0 ms    ██████████
│  └─ tools/call a               server   weather  40.0 ms     ████████
│     │ ↗ linked to trace 4bf92f3577b34da6a3ce929d0e0e4736
│     └─ sampling/createMessage  client   weather  30.0 ms      ██████
└─ tools/call b                  client   agent    2.00 ms                ▍
   └─ tools/call b               server   weather   500 µs                ▏
        ✗ panic: index out of range
a very long name that does not…  server   weather  10.0 ms                    ██
  ! answered with -32602
`)
}

func TestMetricsAndEvents(t *testing.T) {
	var out bytes.Buffer
	renderer{w: &out, width: 80}.report(telemetry{
		points: []point{
			{
				metric: "mcp.server.operation.duration", unit: "s", service: "weather", histogram: true, count: 4, value: 0.010,
				attrs: attributes{"mcp.method.name": "tools/call", "gen_ai.tool.name": "a", "error.type": "panic", "other": "x"},
			},
			{metric: "otelmcp.server.messages", unit: "{message}", service: "weather", value: 3, attrs: attributes{"otelmcp.outcome": "ok"}},
			{metric: "otelmcp.server.request.size", unit: "By", service: "weather", histogram: true, count: 2, value: 300},
			{metric: "go.memory.used", unit: "By", service: "weather", value: 1},
		},
		events: []*event{{
			at: epoch, severity: "ERROR", name: "otelmcp.operation", body: "tools/call a panicked, and the body of this event is too long for one line", service: "weather",
			attrs: attributes{"mcp.method.name": "tools/call", "otelmcp.outcome": "panic", "mcp.session.id": "s1"},
		}},
	})
	golden(t, out.String(), `

TRACES  what the agent asked, and what the servers did  ━━━━━━━━━━━━━━━━━━━━━━━━

METRICS  histograms as count × average  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━

mcp.server.operation.duration  seconds
  weather        tools/call · a · error=panic                       4 ×  2.50 ms

otelmcp.server.messages  message
  weather        ok                                                            3

otelmcp.server.request.size  bytes
  weather                                                           2 ×    150 B

and 1 metric of the runtime, the host and the SDK: go.memory.used

EVENTS  log records, each with the ids of its span  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━

12:00:00.000 ERROR  otelmcp.operation     tools/call a panicked, and the body of
                                          this event is too long for one line
                    weather · tools/call · panic · session=s1
`)
}

func golden(t *testing.T, got, want string) {
	t.Helper()
	want = strings.TrimPrefix(want, "\n")
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestNothingIsWiderThanTheTerminal(t *testing.T) {
	spans := fixedTrace()
	for i := range 40 { // a deep tree, with wide characters
		spans = append(spans, &span{
			traceID: spans[0].traceID, id: "d" + string(rune('A'+i)), parentID: "d" + string(rune('A'+i-1)),
			name: strings.Repeat("天気", 30), kind: "server", service: strings.Repeat("気", 20),
			start: at(float64(i)), end: at(float64(i + 1)), failed: true, message: strings.Repeat("天", 90),
			links: []string{spans[0].traceID},
		})
	}
	for _, width := range []int{minWidth, 80, 100, 133, maxWidth} {
		var out bytes.Buffer
		renderer{w: &out, width: width}.report(telemetry{
			spans:  spans,
			points: []point{{metric: "mcp." + strings.Repeat("m", 300), service: strings.Repeat("s", 300), unit: "s", histogram: true}},
			events: []*event{{name: strings.Repeat("n", 300), body: strings.Repeat("b", 300), service: strings.Repeat("s", 300)}},
		})
		for line := range strings.Lines(out.String()) {
			if n := textWidth(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("width %d: a line of %d columns: %s", width, n, line)
			}
		}
	}
}

// TestTreeOfNonsense: ids come from outside, so spans can be parents of
// themselves or of each other.
func TestTreeOfNonsense(t *testing.T) {
	nodes := tree([]*span{
		{id: "a", parentID: "b", name: "ring"},
		{id: "b", parentID: "a", name: "ring"},
		{id: "c", parentID: "c", name: "own parent"},
		{id: "d", name: "twice"},
		{id: "d", name: "twice"},
	})
	if len(nodes) != 4 {
		t.Errorf("%d nodes: %+v", len(nodes), nodes)
	}
}

func TestColor(t *testing.T) {
	var out bytes.Buffer
	renderer{w: &out, width: 80, color: true}.waterfall(fixedTrace())
	if !strings.Contains(out.String(), "\x1b[31m") {
		t.Error("a failed span should be red on a terminal")
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 ns", 0: "0 ns", 999: "999 ns", 1500: "1.50 µs", 15 * time.Microsecond: "15.0 µs",
		150 * time.Millisecond: "150 ms", time.Minute: "60.0 s", time.Hour: "3600 s",
	} {
		if got := duration(d); got != want {
			t.Errorf("%d: got %q, want %q", d, got, want)
		}
	}
}
