// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// How the check of the demo finds what is not whole: a trace that is, and what
// can be wrong with it.

import (
	"slices"
	"strconv"
	"testing"

	"github.com/otelmcp/otelmcp-go/examples/internal/otlpview"
)

// wholeTrace makes the least that the check is content with. The ids are in the
// order of the spans, from 1.
func wholeTrace() []*otlpview.Span {
	var spans []*otlpview.Span
	add := func(parent int, name, kind, service string) int {
		id := len(spans) + 1
		s := &otlpview.Span{TraceID: "t", ID: strconv.Itoa(id), Name: name, Kind: kind, Service: service, Attrs: otlpview.Attributes{}}
		if parent > 0 {
			s.ParentID = strconv.Itoa(parent)
		}
		spans = append(spans, s)
		return id
	}
	hop := func(parent int, name, from, to string) int {
		return add(add(parent, name, "client", from), name, "server", to)
	}
	turn := add(0, turnName, "internal", "agent")
	hop(turn, "initialize", "agent", "calendar")
	hop(turn, "server/discover", "agent", "travel")
	offer := hop(turn, "tools/call make_offer", "agent", "travel")
	add(offer, "notifications/progress", "client", "travel")
	add(offer, "notifications/progress", "server", "agent")
	hop(offer, "tools/call forecast", "travel", "weather")
	book := hop(turn, "tools/call book_day", "agent", "calendar")
	spans[book-1].Attrs["error.type"] = "tool_error"
	hop(book, "elicitation/create", "calendar", "agent")
	return spans
}

func TestIncomplete(t *testing.T) {
	if got := incomplete(wholeTrace()); len(got) != 0 {
		t.Errorf("the trace is whole, but: %q", got)
	}
	if got := incomplete(nil); len(got) == 0 {
		t.Error("nothing is no trace")
	}
	for i, s := range wholeTrace() {
		if got := incomplete(slices.Delete(wholeTrace(), i, i+1)); len(got) == 0 {
			t.Errorf("without %s: not noticed", nameOf(s))
		}
		for name, spoil := range map[string]func(*otlpview.Span){
			"another name":   func(s *otlpview.Span) { s.Name = "x" },
			"another trace":  func(s *otlpview.Span) { s.TraceID = "x" },
			"an odd parent":  func(s *otlpview.Span) { s.ParentID = "x" },
			"its own parent": func(s *otlpview.Span) { s.ParentID = s.ID },
		} {
			spans := wholeTrace()
			spoil(spans[i])
			if got := incomplete(spans); len(got) == 0 {
				t.Errorf("%s has %s: not noticed", nameOf(s), name)
			}
		}
		if i > 0 {
			spans := wholeTrace()
			spans[i].ParentID = ""
			if got := incomplete(spans); len(got) == 0 {
				t.Errorf("%s is a root: not noticed", nameOf(s))
			}
		}
		if s.Kind == "server" { // the same message received twice
			again := *wholeTrace()[i]
			again.ID = "again"
			if got := incomplete(append(wholeTrace(), &again)); len(got) == 0 {
				t.Errorf("%s twice: not noticed", nameOf(s))
			}
		}
	}
	spans := wholeTrace()
	for _, s := range spans {
		clear(s.Attrs)
	}
	if got := incomplete(spans); len(got) == 0 {
		t.Error("no tool failed: not noticed")
	}
}
