// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otlpview

// The renderer against text that a person has looked at.

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

var epoch = time.Date(2026, 7, 28, 12, 0, 0, 0, time.UTC)

func at(ms float64) time.Time { return epoch.Add(time.Duration(ms * float64(time.Millisecond))) }

func fixedTrace() []*Span {
	return []*Span{
		{TraceID: "0af7651916cd43dd8448eb211c80319c", ID: "1", ParentID: "", Name: "agent turn", Kind: "internal", Service: "agent", Start: at(0), End: at(100)},
		{TraceID: "0af7651916cd43dd8448eb211c80319c", ID: "2", ParentID: "1", Name: "tools/call a", Kind: "client", Service: "agent", Start: at(10), End: at(60)},
		{TraceID: "0af7651916cd43dd8448eb211c80319c", ID: "3", ParentID: "2", Name: "tools/call a", Kind: "server", Service: "weather", Start: at(15), End: at(55), Links: []string{"4bf92f3577b34da6a3ce929d0e0e4736"}},
		{TraceID: "0af7651916cd43dd8448eb211c80319c", ID: "4", ParentID: "3", Name: "sampling/createMessage", Kind: "client", Service: "weather", Start: at(20), End: at(50)},
		{TraceID: "0af7651916cd43dd8448eb211c80319c", ID: "5", ParentID: "1", Name: "tools/call b", Kind: "client", Service: "agent", Start: at(70), End: at(72)},
		{TraceID: "0af7651916cd43dd8448eb211c80319c", ID: "6", ParentID: "5", Name: "tools/call b", Kind: "server", Service: "weather", Start: at(71), End: at(71.5), Failed: true, Message: "index out of range", Attrs: Attributes{"error.type": "panic"}},
		{TraceID: "0af7651916cd43dd8448eb211c80319c", ID: "7", ParentID: "99", Name: "a very long name that does not fit in the column it has", Kind: "server", Service: "weather", Start: at(90), End: at(100), Attrs: Attributes{"rpc.response.status_code": "-32602"}},
	}
}

func TestWaterfall(t *testing.T) {
	var out bytes.Buffer
	Renderer{W: &out, Width: 80}.Waterfall(fixedTrace())
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
	Renderer{W: &out, Width: 80}.Report(Telemetry{
		Points: []Point{
			{
				Metric: "mcp.server.operation.duration", Unit: "s", Service: "weather", Histogram: true, Count: 4, Value: 0.010,
				Attrs: Attributes{"mcp.method.name": "tools/call", "gen_ai.tool.name": "a", "error.type": "panic", "other": "x"},
			},
			{Metric: "otelmcp.server.messages", Unit: "{message}", Service: "weather", Value: 3, Attrs: Attributes{"otelmcp.outcome": "ok"}},
			{Metric: "otelmcp.server.request.size", Unit: "By", Service: "weather", Histogram: true, Count: 2, Value: 300},
			{Metric: "go.memory.used", Unit: "By", Service: "weather", Value: 1},
		},
		Events: []*Event{{
			At: epoch, Severity: "ERROR", Name: "otelmcp.operation", Body: "tools/call a panicked, and the body of this event is too long for one line", Service: "weather",
			Attrs: Attributes{"mcp.method.name": "tools/call", "otelmcp.outcome": "panic", "mcp.session.id": "s1"},
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
		spans = append(spans, &Span{
			TraceID: spans[0].TraceID, ID: "d" + string(rune('A'+i)), ParentID: "d" + string(rune('A'+i-1)),
			Name: strings.Repeat("天気", 30), Kind: "server", Service: strings.Repeat("気", 20),
			Start: at(float64(i)), End: at(float64(i + 1)), Failed: true, Message: strings.Repeat("天", 90),
			Links: []string{spans[0].TraceID},
		})
	}
	for _, width := range []int{minWidth, 80, 100, 133, maxWidth} {
		var out bytes.Buffer
		Renderer{W: &out, Width: width}.Report(Telemetry{
			Spans:  spans,
			Points: []Point{{Metric: "mcp." + strings.Repeat("m", 300), Service: strings.Repeat("s", 300), Unit: "s", Histogram: true}},
			Events: []*Event{{Name: strings.Repeat("n", 300), Body: strings.Repeat("b", 300), Service: strings.Repeat("s", 300)}},
		})
		for line := range strings.Lines(out.String()) {
			if n := TextWidth(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("width %d: a line of %d columns: %s", width, n, line)
			}
		}
	}
}

// TestTreeOfNonsense: ids come from outside, so spans can be parents of
// themselves or of each other.
func TestTreeOfNonsense(t *testing.T) {
	nodes := Tree([]*Span{
		{ID: "a", ParentID: "b", Name: "ring"},
		{ID: "b", ParentID: "a", Name: "ring"},
		{ID: "c", ParentID: "c", Name: "own parent"},
		{ID: "d", Name: "twice"},
		{ID: "d", Name: "twice"},
	})
	if len(nodes) != 4 {
		t.Errorf("%d nodes: %+v", len(nodes), nodes)
	}
}

func TestColor(t *testing.T) {
	var out bytes.Buffer
	Renderer{W: &out, Width: 80, Color: true}.Waterfall(fixedTrace())
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
