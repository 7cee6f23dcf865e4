// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// Draws what arrived on a terminal: each trace as a waterfall, the metrics and
// the events. Everything here is text in, text out; what it prints was cleaned
// by the store.

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
)

// renderer writes lines of at most width columns.
type renderer struct {
	w     io.Writer
	width int
	color bool
}

type style string

const (
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	blue   style = "34"
	cyan   style = "36"
)

func (r renderer) paint(s style, text string) string {
	if !r.color || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

func (r renderer) line(parts ...string) {
	fmt.Fprintln(r.w, strings.TrimRight(strings.Join(parts, ""), " "))
}

func (r renderer) heading(title, note string) {
	r.line()
	rule := strings.Repeat("━", max(0, r.width-textWidth(title)-textWidth(note)-4))
	r.line(r.paint(bold, title), "  ", r.paint(dim, note+"  "+rule))
}

// report draws everything.
func (r renderer) report(t telemetry) {
	r.heading("TRACES", "what the agent asked, and what the servers did")
	for _, trace := range traces(t.spans) {
		r.line()
		r.waterfall(trace)
	}
	r.metrics(t.points)
	r.heading("EVENTS", "log records, each with the ids of its span")
	r.line()
	for _, e := range t.events {
		r.event(e)
	}
	if t.dropped > 0 {
		r.line(r.paint(yellow, fmt.Sprintf("%d items more arrived than the demo keeps", t.dropped)))
	}
}

// traces groups spans by trace, in the order in which the traces began.
func traces(spans []*span) [][]*span {
	var order []string
	byID := map[string][]*span{}
	for _, s := range spans {
		if _, known := byID[s.traceID]; !known {
			order = append(order, s.traceID)
		}
		byID[s.traceID] = append(byID[s.traceID], s)
	}
	var all [][]*span
	for _, id := range order {
		all = append(all, byID[id])
	}
	return all
}

// node is a span and its depth in the tree.
type node struct {
	*span
	branch string // the lines of the tree in front of the name
	stem   string // those in front of what stands below the name
}

// tree puts a span under its parent, and a span whose parent has not arrived
// at the top.
func tree(spans []*span) []node {
	known := map[string]bool{}
	for _, s := range spans {
		known[s.id] = true
	}
	children := map[string][]*span{}
	for _, s := range spans {
		parent := s.parentID
		if !known[parent] || parent == s.id {
			parent = ""
		}
		children[parent] = append(children[parent], s)
	}
	var nodes []node
	seen := map[string]bool{} // ids come from outside: they may repeat, or form a ring
	var walk func(parent, indent string)
	walk = func(parent, indent string) {
		for i, s := range children[parent] {
			if seen[s.id] {
				continue
			}
			seen[s.id] = true
			branch, below := "├─ ", "│  "
			if i == len(children[parent])-1 {
				branch, below = "└─ ", "   "
			}
			if parent == "" {
				branch, below = "", ""
			}
			stem := indent + below
			if len(children[s.id]) > 0 {
				stem += "│"
			}
			nodes = append(nodes, node{span: s, branch: indent + branch, stem: stem})
			walk(s.id, indent+below)
		}
	}
	walk("", "")
	for _, s := range spans {
		if !seen[s.id] { // a ring has no top: begin anywhere
			seen[s.id] = true
			nodes = append(nodes, node{span: s})
			walk(s.id, "")
		}
	}
	return nodes
}

// waterfall draws the spans of one trace: a tree, and bars on a common scale.
func (r renderer) waterfall(spans []*span) {
	if len(spans) == 0 {
		return
	}
	begin, end := spans[0].start, spans[0].end
	services, broken := map[string]bool{}, 0
	serviceWidth := 7
	for _, s := range spans {
		if s.start.Before(begin) {
			begin = s.start
		}
		if s.end.After(end) {
			end = s.end
		}
		services[s.service] = true
		serviceWidth = min(16, r.width/6, max(serviceWidth, textWidth(s.service)))
		if s.failed {
			broken++
		}
	}
	total := end.Sub(begin)

	summary := fmt.Sprintf("%s, %s, %s", duration(total), plural(len(spans), "span"), plural(len(services), "service"))
	failures := ""
	if broken > 0 {
		failures = fmt.Sprintf(", %d failed", broken)
	}
	room := max(0, r.width-textWidth("trace "+spans[0].traceID+"  "+failures))
	r.line(r.paint(dim, "trace "), r.paint(cyan, spans[0].traceID), "  ", r.paint(dim, cut(summary, room)), r.paint(red, failures))

	const kindWidth, timeWidth = 8, 8
	nameWidth := r.width * 42 / 100
	barWidth := max(1, r.width-nameWidth-kindWidth-serviceWidth-timeWidth-4)
	for _, n := range tree(spans) {
		branch := cut(n.branch, nameWidth/2)
		nameColor, barColor := bold, kindColor(n.kind)
		if n.failed {
			nameColor, barColor = red, red
		}
		room := nameWidth - textWidth(branch)
		r.line(
			r.paint(dim, branch), r.paint(nameColor, fill(cut(n.name, room-1), room)),
			r.paint(kindColor(n.kind), fill(cut(n.kind, kindWidth), kindWidth)), " ",
			fill(cut(n.service, serviceWidth), serviceWidth), " ",
			padLeft(duration(n.end.Sub(n.start)), timeWidth), "  ",
			r.paint(barColor, bar(n.start.Sub(begin), n.end.Sub(begin), total, barWidth)),
		)
		r.notes(n)
	}
}

// notes says below a span why it failed and what it is linked to.
func (r renderer) notes(n node) {
	note := func(color style, text string) {
		stem := cut(fill(n.stem, textWidth(n.branch)+2), r.width/2)
		r.line(r.paint(dim, stem), r.paint(color, cut(text, r.width-textWidth(stem))))
	}
	if n.failed {
		text := "✗ " + cmp.Or(n.attrs["error.type"], "error")
		if n.message != "" && n.message != n.attrs["error.type"] {
			text += ": " + n.message
		}
		note(red, text)
	} else if code := n.attrs["rpc.response.status_code"]; code != "" {
		note(yellow, "! answered with "+code)
	}
	for _, link := range n.links {
		note(dim, "↗ linked to trace "+link)
	}
}

func kindColor(kind string) style {
	switch kind {
	case "server":
		return green
	case "client":
		return blue
	default:
		return dim
	}
}

// bar draws the time from start to end on a line that stands for total. It
// begins with the cell of its start and ends on the eighth of a cell, so that
// the bar of a child does not reach out of that of its parent.
func bar(start, end, total time.Duration, width int) string {
	if total <= 0 {
		return "▏"
	}
	eighths := func(d time.Duration) int {
		d = min(max(d, 0), total)
		return int(math.Round(float64(d) / float64(total) * float64(width*8)))
	}
	from := min(eighths(start), width*8-1)
	to := max(eighths(end), from+1)

	first, full, rest := from/8, to/8-from/8, to%8
	if full == 0 {
		rest = to - from
	}
	partial := []string{"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"}
	return strings.Repeat(" ", first) + strings.Repeat("█", full) + partial[rest]
}

// Metrics of these families are shown series by series, the others counted.
var shownFamilies = []string{"mcp.", "otelmcp."}

func (r renderer) metrics(points []point) {
	r.heading("METRICS", "histograms as count × average")
	var shown []point
	others := map[string]bool{}
	for _, p := range points {
		if slices.ContainsFunc(shownFamilies, func(prefix string) bool { return strings.HasPrefix(p.metric, prefix) }) {
			shown = append(shown, p)
		} else {
			others[p.metric] = true
		}
	}
	slices.SortStableFunc(shown, func(a, b point) int {
		return cmp.Or(
			strings.Compare(a.metric, b.metric),
			strings.Compare(a.service, b.service),
			strings.Compare(abbreviate(a.attrs, metricNames), abbreviate(b.attrs, metricNames)),
		)
	})
	for len(shown) > 0 {
		series := shown[:1]
		for len(series) < len(shown) && shown[len(series)].metric == series[0].metric {
			series = shown[:len(series)+1]
		}
		shown = shown[len(series):]
		r.line()
		r.line(r.paint(bold, cut(series[0].metric, r.width-20)), "  ", r.paint(dim, cut(unitName(series[0].unit), 16)))
		r.series(series)
	}
	if len(others) > 0 {
		r.line()
		r.line(r.paint(dim, cut(fmt.Sprintf("and %s of the runtime, the host and the SDK: %s",
			plural(len(others), "metric"), strings.Join(slices.Sorted(maps.Keys(others)), ", ")), r.width)))
	}
}

// series draws the points of one metric.
func (r renderer) series(points []point) {
	if !slices.ContainsFunc(points, func(p point) bool { return p.histogram || p.value != 0 }) {
		r.line("  ", r.paint(dim, fmt.Sprintf("back at 0 in %d series", len(points))))
		return
	}
	for _, p := range points {
		value := number(p.value, p.unit)
		if p.histogram {
			value = fmt.Sprintf("%d ×%9s", p.count, average(p))
		}
		label := fill(p.service, 14) + " " + abbreviate(p.attrs, metricNames)
		room := r.width - textWidth(value) - 3
		r.line("  ", r.paint(dim, fill(cut(label, room-1), room)), " ", value)
	}
}

func average(p point) string {
	if p.count == 0 {
		return "–"
	}
	return number(p.value/float64(p.count), p.unit)
}

// The attributes that tell one series, or one event, from another, and the
// short names that they have here; what is not listed is left out.
type shortName struct{ key, short string }

var metricNames = []shortName{
	{"mcp.method.name", ""},
	{"gen_ai.tool.name", ""},
	{"gen_ai.prompt.name", ""},
	{"otelmcp.stage", ""},
	{"otelmcp.outcome", ""},
	{"error.type", "error="},
	{"rpc.response.status_code", "code="},
	{"otelmcp.transport", ""},
	{"network.transport", ""},
	{"mcp.protocol.version", ""},
}

var eventNames = []shortName{
	{"mcp.method.name", ""},
	{"gen_ai.tool.name", ""},
	{"gen_ai.prompt.name", ""},
	{"otelmcp.outcome", ""},
	{"error.type", "error="},
	{"otelmcp.session.end_reason", "end="},
	{"otelmcp.transport", ""},
	{"mcp.session.id", "session="},
}

func abbreviate(attrs attributes, names []shortName) string {
	var parts []string
	for _, name := range names {
		value := attrs[name.key]
		if value == "" || slices.Contains(parts, value) { // outcome and error.type often agree
			continue
		}
		parts = append(parts, name.short+cut(value, 24))
	}
	return strings.Join(parts, " · ")
}

// event draws a log record: its body, and what it is about below.
func (r renderer) event(e *event) {
	color := dim
	switch {
	case strings.HasPrefix(e.severity, "ERROR"), strings.HasPrefix(e.severity, "FATAL"):
		color = red
	case strings.HasPrefix(e.severity, "WARN"):
		color = yellow
	}
	name := fill(cut(e.name, 26), 21)
	indent := strings.Repeat(" ", 12+1+5+2) // below the name
	body := wrap(e.body, r.width-textWidth(indent)-textWidth(name)-1)
	r.line(
		r.paint(dim, e.at.Format("15:04:05.000")), " ", r.paint(color, fill(cut(e.severity, 5), 5)), "  ",
		r.paint(bold, name), " ", body[0],
	)
	for _, more := range body[1:] {
		r.line(indent, strings.Repeat(" ", textWidth(name)), " ", more)
	}
	about := e.service
	if attrs := abbreviate(e.attrs, eventNames); attrs != "" {
		about += " · " + attrs
	}
	r.line(indent, r.paint(dim, cut(about, r.width-textWidth(indent))))
}

// wrap breaks text between words into lines of at most width columns.
func wrap(text string, width int) []string {
	lines := []string{""}
	for word := range strings.FieldsSeq(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = cut(word, width)
		case textWidth(*last)+1+textWidth(word) <= width:
			*last += " " + word
		default:
			lines = append(lines, cut(word, width))
		}
	}
	return lines
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// duration writes d with three digits.
func duration(d time.Duration) string {
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "µs"}} {
		if value := float64(d) / float64(unit.size); value >= 1 {
			digits := max(0, 2-int(math.Log10(value)))
			return fmt.Sprintf("%.*f %s", digits, value, unit.name)
		}
	}
	return fmt.Sprintf("%d ns", max(0, d))
}

func number(value float64, unit string) string {
	switch unit {
	case "s":
		return duration(time.Duration(value * float64(time.Second)))
	case "By":
		return fmt.Sprintf("%.0f B", value)
	}
	if value == math.Trunc(value) {
		return fmt.Sprintf("%.0f", value)
	}
	return fmt.Sprintf("%.3g", value)
}

// unitName writes a UCUM unit as words: {message} is an annotation.
func unitName(unit string) string {
	switch unit {
	case "s":
		return "seconds"
	case "By":
		return "bytes"
	}
	return strings.Trim(unit, "{}")
}

// Widths are counted in columns of a terminal.

func textWidth(s string) (width int) {
	for _, r := range s {
		width += runeWidth(r)
	}
	return width
}

// wide lists the blocks of characters that take two columns.
var wide = [][2]rune{
	{0x1100, 0x115F},
	{0x2E80, 0xA4CF},
	{0xAC00, 0xD7A3},
	{0xF900, 0xFAFF},
	{0xFE30, 0xFE6F},
	{0xFF00, 0xFF60},
	{0xFFE0, 0xFFE6},
	{0x1F300, 0x1FAFF},
	{0x20000, 0x3FFFD},
}

func runeWidth(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	for _, block := range wide {
		if block[0] <= r && r <= block[1] {
			return 2
		}
	}
	return 1
}

// cut shortens s to width columns, and says so with an ellipsis.
func cut(s string, width int) string {
	if textWidth(s) <= width {
		return s
	}
	used, end := 0, 0
	for i, r := range s {
		if used+runeWidth(r) > width-1 {
			break
		}
		used += runeWidth(r)
		end = i + len(string(r))
	}
	return strings.TrimRight(s[:end], " ") + "…"
}

func fill(s string, width int) string { return s + strings.Repeat(" ", max(0, width-textWidth(s))) }

func padLeft(s string, width int) string {
	return strings.Repeat(" ", max(0, width-textWidth(s))) + s
}
