// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The decision log: what arrived, as a table, and whether it is what should have.

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/otelmcp/otelmcp-go/examples/internal/otlpview"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// record is a decision as it arrived.
type record struct {
	*otlpview.Event
	decision
	scenario int // counted from 0; -1 when it belongs to none
	from     string
	status   string // of the HTTP response
}

// recordsOf finds the decisions, and to which scenario each belongs.
func recordsOf(got otlpview.Telemetry, traces []string) (records []*record) {
	spans := map[string]*otlpview.Span{}
	for _, s := range got.Spans {
		spans[s.TraceID+s.ID] = s
	}
	for _, e := range got.Events {
		if e.Name != semconv.OTelMCPAuthDecisionEventName {
			continue
		}
		a := e.Attrs
		// Who is let in is recorded before there is an answer; the span that the decision
		// stands on has its status.
		status := a[string(semconv.HTTPResponseStatusCodeKey)]
		if span := spans[e.TraceID+e.SpanID]; span != nil {
			status = cmp.Or(status, span.Attrs[string(semconv.HTTPResponseStatusCodeKey)])
		}
		records = append(records, &record{
			Event: e,
			decision: decision{
				by:        a[string(semconv.OTelMCPRoleKey)],
				what:      cmp.Or(whatOf(a), a[string(semconv.HTTPRequestMethodKey)]),
				who:       a[string(semconv.UserIDKey)],
				kind:      a[string(semconv.OTelMCPAuthKindKey)],
				decision:  a[string(semconv.OTelMCPAuthDecisionKey)],
				reason:    a[string(semconv.OTelMCPAuthReasonKey)],
				mechanism: a[string(semconv.OTelMCPAuthMechanismKey)],
				policy:    a[string(semconv.OTelMCPAuthPolicyKey)],
			},
			scenario: slices.Index(traces, e.TraceID),
			from:     a[string(semconv.ClientAddressKey)],
			status:   status,
		})
	}
	return records
}

// whatOf names the message that attributes are of, and its tool.
func whatOf(a otlpview.Attributes) string {
	method, tool := a[string(semconv.MCPMethodNameKey)], a[string(semconv.GenAIToolNameKey)]
	return strings.TrimSpace(method + " " + tool)
}

// missing returns what is not as it should be; nothing, when of each decision
// there is exactly one record.
func missing(records []*record, traces []string) (problems []string) {
	for k, s := range scenarios {
		problem := func(format string, args ...any) {
			problems = append(problems, fmt.Sprintf("scenario %d, %s: ", k+1, s.name)+fmt.Sprintf(format, args...))
		}
		refused := 0
		for _, r := range records {
			if r.scenario == k && r.by == semconv.OTelMCPRoleServer && r.decision.decision != semconv.OTelMCPAuthDecisionAllow {
				refused++
			}
		}
		if refused != len(s.refusals) {
			problem("%d refusals instead of %d", refused, len(s.refusals))
		}
		wanted := slices.Concat(s.refusals, s.allowed)
		for n := range wanted {
			want := &wanted[n]
			if n >= len(s.refusals) {
				want.decision, want.reason = semconv.OTelMCPAuthDecisionAllow, semconv.OTelMCPAuthReasonOK
			}
			if n := count(records, k, want); n != 1 {
				problem("%d records instead of 1 of %s", n, want)
			}
		}
	}
	for _, r := range records {
		if r.scenario < 0 && r.decision.decision != semconv.OTelMCPAuthDecisionAllow {
			problems = append(problems, fmt.Sprintf("in trace %q, which is of no scenario: %s", r.TraceID, &r.decision))
		}
	}
	if len(traces) != len(scenarios) {
		problems = append(problems, fmt.Sprintf("%d scenarios instead of %d", len(traces), len(scenarios)))
	}
	return problems
}

func count(records []*record, scenario int, want *decision) (n int) {
	for _, r := range records {
		if r.scenario == scenario && r.is(want) {
			n++
		}
	}
	return n
}

func (r *record) is(want *decision) bool {
	got, wanted := r.fields(), want.fields()
	wanted[0] = cmp.Or(wanted[0], semconv.OTelMCPRoleServer)
	for k := range wanted {
		if wanted[k] != "" && wanted[k] != got[k] {
			return false
		}
	}
	return true
}

func (d *decision) fields() []string {
	return []string{d.by, d.what, d.who, d.kind, d.decision, d.reason, d.mechanism, d.policy}
}

// String lists what is known.
func (d *decision) String() string {
	return strings.Join(slices.DeleteFunc(d.fields(), func(s string) bool { return s == "" }), ", ")
}

// shortID is how much of a trace id a table shows that is too wide for the whole.
const shortID = 8

// table draws the log.
func (d demo) table(records []*record) {
	rows := [][]string{{"#", "time", "by", "who", "what", "from", "mechanism", "decision", "reason", "http", "policy", "trace"}}
	for _, r := range records {
		number := ""
		if r.scenario >= 0 {
			number = strconv.Itoa(r.scenario + 1)
		}
		rows = append(rows, []string{
			number, r.At.Format("15:04:05.000"), r.by, r.who, cmp.Or(r.what, r.mechanism), r.from, r.mechanism, r.decision.decision, r.reason,
			r.status, r.policy, r.TraceID,
		})
	}
	widths := fit(rows, d.Width)
	for n, row := range rows {
		var cells strings.Builder
		for k, cell := range row {
			if widths[k] == 0 {
				continue
			}
			cell = otlpview.Cut(cell, widths[k])
			cells.WriteString(cell + strings.Repeat(" ", widths[k]-otlpview.TextWidth(cell)+2))
		}
		line := strings.TrimRight(cells.String(), " ")
		switch {
		case n == 0:
			line = d.Paint(otlpview.Bold, line)
		case records[n-1].decision.decision != semconv.OTelMCPAuthDecisionAllow:
			line = d.Paint(otlpview.Cyan, line)
		}
		d.Line(line)
	}
}

// dispensable are the columns that a table leaves out where it is too wide, in that order.
var dispensable = []string{"mechanism", "from", "time", "policy", "trace", "http"}

// fit returns how wide the columns are, so that all of them and two spaces between take no
// more than width: 0 for one that is left out. It puts – into empty cells.
func fit(rows [][]string, width int) []int {
	widths := make([]int, len(rows[0]))
	total := -2
	for k := range widths {
		for _, row := range rows {
			row[k] = cmp.Or(row[k], "–")
			widths[k] = max(widths[k], otlpview.TextWidth(row[k]))
		}
		total += widths[k] + 2
	}
	if trace := slices.Index(rows[0], "trace"); total > width && widths[trace] > shortID {
		for _, row := range rows {
			row[trace] = row[trace][:min(shortID, len(row[trace]))]
		}
		total -= widths[trace] - shortID
		widths[trace] = shortID
	}
	for _, name := range dispensable {
		if total > width {
			k := slices.Index(rows[0], name)
			total -= widths[k] + 2
			widths[k] = 0
		}
	}
	for ; total > width; total-- {
		widths[slices.Index(widths, slices.Max(widths))]--
	}
	return widths
}
