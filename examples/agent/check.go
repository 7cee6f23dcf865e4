// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The demo does not ask to be believed: it looks whether the trace is whole.

import (
	"fmt"
	"slices"
	"strings"

	"github.com/otelmcp/otelmcp-go/examples/internal/otlpview"
)

// wanted are paths from the root that a whole trace has, as pathOf writes them.
var wanted = []string{
	// The longest: two servers deep.
	turnName + "[agent internal] > tools/call make_offer[agent client] > tools/call make_offer[travel server] > " +
		"tools/call forecast[travel client] > tools/call forecast[weather server]",
	// A server that asks its client.
	turnName + "[agent internal] > tools/call book_day[agent client] > tools/call book_day[calendar server] > " +
		"elicitation/create[calendar client] > elicitation/create[agent server]",
	// One that tells it something: that it was sent, and that it was received.
	turnName + "[agent internal] > tools/call make_offer[agent client] > tools/call make_offer[travel server] > " +
		"notifications/progress[travel client]",
	turnName + "[agent internal] > tools/call make_offer[agent client] > tools/call make_offer[travel server] > " +
		"notifications/progress[agent server]",
	// The two eras of the protocol.
	turnName + "[agent internal] > initialize[agent client] > initialize[calendar server]",
	turnName + "[agent internal] > server/discover[agent client] > server/discover[travel server]",
}

// incomplete returns what is not as it should be; nothing, when there is one
// trace with one root, each client span has exactly one server span of the same
// name under it, and what the demo is about is in it.
func incomplete(spans []*otlpview.Span) (problems []string) {
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }

	byID := map[string]*otlpview.Span{}
	received := map[string][]*otlpview.Span{} // server spans, by the parent's id
	traces, roots := map[string]bool{}, 0
	for _, s := range spans {
		if byID[s.ID] != nil {
			problem("%s: two spans with the id %s", nameOf(s), s.ID)
		}
		byID[s.ID] = s
		traces[s.TraceID] = true
		if s.Kind == "server" {
			received[s.ParentID] = append(received[s.ParentID], s)
		}
	}
	if len(traces) != 1 {
		problem("%d traces instead of 1", len(traces))
	}
	for _, s := range spans {
		parent := byID[s.ParentID]
		switch {
		case s.ParentID == "":
			roots++
			if s.Name != turnName {
				problem("%s: a root of its own", nameOf(s))
			}
		case parent == nil:
			problem("%s: its parent did not arrive", nameOf(s))
		case parent.TraceID != s.TraceID:
			problem("%s: its parent is in another trace", nameOf(s))
		}
		if s.Kind == "client" {
			problems = append(problems, unmatched(s, received)...)
		}
	}
	if roots != 1 {
		problem("%d roots instead of 1", roots)
	}

	paths, failed := map[string]bool{}, false
	for _, s := range spans {
		paths[pathOf(s, byID)] = true
		failed = failed || s.Kind == "server" && s.Attrs["error.type"] == "tool_error"
	}
	for _, path := range wanted {
		if !paths[path] {
			problem("nothing at %s", path)
		}
	}
	if !failed {
		problem("no tool has failed")
	}
	return problems
}

// unmatched returns what is wrong with the server spans for one client span.
func unmatched(sent *otlpview.Span, received map[string][]*otlpview.Span) []string {
	matches := received[sent.ID]
	// The instrumentation changes nothing that a server sends, so a notification
	// of a server's carries the context that its handler gave it: the span on
	// the other side stands beside that of the sender.
	if strings.HasPrefix(sent.Name, "notifications/") && sent.Service != "agent" {
		matches = slices.DeleteFunc(slices.Clone(received[sent.ParentID]),
			func(s *otlpview.Span) bool { return s.Name != sent.Name })
	}
	if len(matches) != 1 {
		return []string{fmt.Sprintf("%s: %d server spans instead of 1", nameOf(sent), len(matches))}
	}
	s := matches[0]
	if s.Name != sent.Name || s.TraceID != sent.TraceID || s.Service == sent.Service {
		return []string{fmt.Sprintf("%s: its server span is %s in trace %s", nameOf(sent), nameOf(s), s.TraceID)}
	}
	return nil
}

func nameOf(s *otlpview.Span) string { return fmt.Sprintf("%s[%s %s]", s.Name, s.Service, s.Kind) }

// pathOf names the spans from the root to s.
func pathOf(s *otlpview.Span, byID map[string]*otlpview.Span) string {
	var names []string
	for ; s != nil && len(names) < len(byID); s = byID[s.ParentID] { // ids may form a ring
		names = append(names, nameOf(s))
	}
	slices.Reverse(names)
	return strings.Join(names, " > ")
}
