// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The demo does not ask to be believed: it compares what the agent sent, as
// counted on the wire, with the telemetry that arrived.

import (
	"fmt"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/otelmcp/otelmcp-go/examples/internal/otlpview"
)

// missing returns what is not as it should be; nothing, when every request has
// exactly one server span under the span of its sender, one event with the ids
// of that span and one count in the metrics, and every request that a server
// sent has its client span.
func missing(l *ledger, t otlpview.Telemetry) (problems []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }

	serverSpans := map[string][]*otlpview.Span{} // by the parent's id
	askedSpans := 0
	for _, s := range t.Spans {
		switch {
		case s.Kind == "server":
			serverSpans[s.ParentID] = append(serverSpans[s.ParentID], s)
		case s.Kind == "client" && s.Service != agentService:
			askedSpans++
		}
	}
	events := map[string]int{} // by the span's id
	for _, e := range t.Events {
		if e.Name == "otelmcp.operation" {
			events[e.SpanID]++
		}
	}

	sent := map[string]uint64{}
	for _, req := range l.sent {
		name := strings.TrimSpace(req.method + " " + req.target)
		sent[name]++
		spans := serverSpans[req.span.SpanID().String()]
		if len(spans) != 1 {
			problem("%s: %d server spans instead of 1", name, len(spans))
			continue
		}
		if s := spans[0]; s.Name != name || s.TraceID != req.span.TraceID().String() {
			problem("%s: its server span is %q in trace %s", name, s.Name, s.TraceID)
		}
		if n := events[spans[0].ID]; n != 1 {
			problem("%s: %d events instead of 1", name, n)
		}
	}
	if askedSpans != l.received {
		problem("%d client spans of servers instead of %d", askedSpans, l.received)
	}

	counted, asked := map[string]uint64{}, uint64(0)
	for _, p := range t.Points {
		switch p.Metric {
		case "mcp.server.operation.duration":
			target := p.Attrs["gen_ai.tool.name"] + p.Attrs["gen_ai.prompt.name"]
			counted[strings.TrimSpace(p.Attrs["mcp.method.name"]+" "+target)] += p.Count
		case "mcp.client.operation.duration":
			if p.Attrs["mcp.method.name"] == string(mcp.MethodSamplingCreateMessage) {
				asked += p.Count
			}
		}
	}
	for name, n := range sent {
		if counted[name] != n {
			problem("%s: the metrics count %d instead of %d", name, counted[name], n)
		}
	}
	if asked != uint64(l.received) { //nolint:gosec // a count
		problem("the metrics count %d requests of servers instead of %d", asked, l.received)
	}
	return problems
}
