// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otlpview

// Draws what arrived on a terminal: each trace as a waterfall, the metrics and
// the events. Everything here is text in, text out; what it prints was cleaned
// by the store.

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/term"
)

// Renderer writes lines of at most Width columns.
type Renderer struct {
	W     io.Writer
	Width int
	Color bool
}

// NewRenderer makes one for the terminal, or the file, that out is.
func NewRenderer(out *os.File) Renderer {
	return Renderer{W: out, Width: columns(out), Color: wantColor(out)}
}

const minWidth, maxWidth = 60, 240

// columns is the width that COLUMNS asks for, or else that of the terminal; 100 where
// there is neither.
func columns(out *os.File) int {
	width, err := strconv.Atoi(os.Getenv("COLUMNS"))
	if err != nil {
		width, _, err = term.GetSize(int(out.Fd()))
	}
	if err != nil {
		return 100
	}
	return min(max(width, minWidth), maxWidth)
}

func wantColor(out *os.File) bool {
	info, err := out.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 &&
		os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// A Style is how text looks on a terminal that has colors.
type Style string

// The styles that are used here.
const (
	Bold   Style = "1"
	dim    Style = "2"
	red    Style = "31"
	Green  Style = "32"
	yellow Style = "33"
	blue   Style = "34"
	Cyan   Style = "36"
)

func (r Renderer) Paint(s Style, text string) string {
	if !r.Color || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

func (r Renderer) Line(parts ...string) {
	fmt.Fprintln(r.W, strings.TrimRight(strings.Join(parts, ""), " "))
}

func (r Renderer) heading(title, note string) {
	r.Line()
	rule := strings.Repeat("━", max(0, r.Width-TextWidth(title)-TextWidth(note)-4))
	r.Line(r.Paint(Bold, title), "  ", r.Paint(dim, note+"  "+rule))
}

// Report draws everything.
func (r Renderer) Report(t Telemetry) {
	r.heading("TRACES", "what the agent asked, and what the servers did")
	for _, trace := range Traces(t.Spans) {
		r.Line()
		r.Waterfall(trace)
	}
	r.metrics(t.Points)
	r.heading("EVENTS", "log records, each with the ids of its span")
	r.Line()
	for _, e := range t.Events {
		r.Event(e)
	}
	if t.Dropped > 0 {
		r.Line(r.Paint(yellow, fmt.Sprintf("%d items more arrived than are kept here", t.Dropped)))
	}
}

// Traces groups spans by trace, in the order in which the traces began.
func Traces(spans []*Span) [][]*Span {
	var order []string
	byID := map[string][]*Span{}
	for _, s := range spans {
		if _, known := byID[s.TraceID]; !known {
			order = append(order, s.TraceID)
		}
		byID[s.TraceID] = append(byID[s.TraceID], s)
	}
	var all [][]*Span
	for _, id := range order {
		all = append(all, byID[id])
	}
	return all
}

// Node is a span and its depth in the tree.
type Node struct {
	*Span
	branch string // the lines of the tree in front of the name
	stem   string // those in front of what stands below the name
}

// Tree puts a span under its parent, and a span whose parent has not arrived
// at the top.
func Tree(spans []*Span) []Node {
	known := map[string]bool{}
	for _, s := range spans {
		known[s.ID] = true
	}
	children := map[string][]*Span{}
	for _, s := range spans {
		parent := s.ParentID
		if !known[parent] || parent == s.ID {
			parent = ""
		}
		children[parent] = append(children[parent], s)
	}
	var nodes []Node
	seen := map[string]bool{} // ids come from outside: they may repeat, or form a ring
	var walk func(parent, indent string)
	walk = func(parent, indent string) {
		for i, s := range children[parent] {
			if seen[s.ID] {
				continue
			}
			seen[s.ID] = true
			branch, below := "├─ ", "│  "
			if i == len(children[parent])-1 {
				branch, below = "└─ ", "   "
			}
			if parent == "" {
				branch, below = "", ""
			}
			stem := indent + below
			if len(children[s.ID]) > 0 {
				stem += "│"
			}
			nodes = append(nodes, Node{Span: s, branch: indent + branch, stem: stem})
			walk(s.ID, indent+below)
		}
	}
	walk("", "")
	for _, s := range spans {
		if !seen[s.ID] { // a ring has no top: begin anywhere
			seen[s.ID] = true
			nodes = append(nodes, Node{Span: s})
			walk(s.ID, "")
		}
	}
	return nodes
}

// Waterfall draws the spans of one trace: a tree, and bars on a common scale.
func (r Renderer) Waterfall(spans []*Span) {
	if len(spans) == 0 {
		return
	}
	begin, end := spans[0].Start, spans[0].End
	services, broken := map[string]bool{}, 0
	serviceWidth := 7
	for _, s := range spans {
		if s.Start.Before(begin) {
			begin = s.Start
		}
		if s.End.After(end) {
			end = s.End
		}
		services[s.Service] = true
		serviceWidth = min(16, r.Width/6, max(serviceWidth, TextWidth(s.Service)))
		if s.Failed {
			broken++
		}
	}
	total := end.Sub(begin)

	summary := fmt.Sprintf("%s, %s, %s", duration(total), plural(len(spans), "span"), plural(len(services), "service"))
	failures := ""
	if broken > 0 {
		failures = fmt.Sprintf(", %d failed", broken)
	}
	room := max(0, r.Width-TextWidth("trace "+spans[0].TraceID+"  "+failures))
	r.Line(r.Paint(dim, "trace "), r.Paint(Cyan, spans[0].TraceID), "  ", r.Paint(dim, Cut(summary, room)), r.Paint(red, failures))

	const kindWidth, timeWidth = 8, 8
	nameWidth := r.Width * 42 / 100
	barWidth := max(1, r.Width-nameWidth-kindWidth-serviceWidth-timeWidth-4)
	for _, n := range Tree(spans) {
		branch := Cut(n.branch, nameWidth/2)
		nameColor, barColor := Bold, kindColor(n.Kind)
		if n.Failed {
			nameColor, barColor = red, red
		}
		room := nameWidth - TextWidth(branch)
		r.Line(
			r.Paint(dim, branch), r.Paint(nameColor, fill(Cut(n.Name, room-1), room)),
			r.Paint(kindColor(n.Kind), fill(Cut(n.Kind, kindWidth), kindWidth)), " ",
			fill(Cut(n.Service, serviceWidth), serviceWidth), " ",
			padLeft(duration(n.End.Sub(n.Start)), timeWidth), "  ",
			r.Paint(barColor, bar(n.Start.Sub(begin), n.End.Sub(begin), total, barWidth)),
		)
		r.notes(n)
	}
}

// notes says below a span why it failed and what it is linked to.
func (r Renderer) notes(n Node) {
	note := func(color Style, text string) {
		stem := Cut(fill(n.stem, TextWidth(n.branch)+2), r.Width/2)
		r.Line(r.Paint(dim, stem), r.Paint(color, Cut(text, r.Width-TextWidth(stem))))
	}
	if n.Failed {
		text := "✗ " + cmp.Or(n.Attrs["error.type"], "error")
		if n.Message != "" && n.Message != n.Attrs["error.type"] {
			text += ": " + n.Message
		}
		note(red, text)
	} else if code := n.Attrs["rpc.response.status_code"]; code != "" {
		note(yellow, "! answered with "+code)
	}
	for _, link := range n.Links {
		note(dim, "↗ linked to trace "+link)
	}
}

func kindColor(kind string) Style {
	switch kind {
	case "server":
		return Green
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

func (r Renderer) metrics(points []Point) {
	r.heading("METRICS", "histograms as count × average")
	var shown []Point
	others := map[string]bool{}
	for _, p := range points {
		if slices.ContainsFunc(shownFamilies, func(prefix string) bool { return strings.HasPrefix(p.Metric, prefix) }) {
			shown = append(shown, p)
		} else {
			others[p.Metric] = true
		}
	}
	slices.SortStableFunc(shown, func(a, b Point) int {
		return cmp.Or(
			strings.Compare(a.Metric, b.Metric),
			strings.Compare(a.Service, b.Service),
			strings.Compare(abbreviate(a.Attrs, metricNames), abbreviate(b.Attrs, metricNames)),
		)
	})
	for len(shown) > 0 {
		series := shown[:1]
		for len(series) < len(shown) && shown[len(series)].Metric == series[0].Metric {
			series = shown[:len(series)+1]
		}
		shown = shown[len(series):]
		r.Line()
		r.Line(r.Paint(Bold, Cut(series[0].Metric, r.Width-20)), "  ", r.Paint(dim, Cut(unitName(series[0].Unit), 16)))
		r.series(series)
	}
	if len(others) > 0 {
		r.Line()
		r.Line(r.Paint(dim, Cut(fmt.Sprintf("and %s of the runtime, the host and the SDK: %s",
			plural(len(others), "metric"), strings.Join(slices.Sorted(maps.Keys(others)), ", ")), r.Width)))
	}
}

// series draws the points of one metric.
func (r Renderer) series(points []Point) {
	if !slices.ContainsFunc(points, func(p Point) bool { return p.Histogram || p.Value != 0 }) {
		r.Line("  ", r.Paint(dim, fmt.Sprintf("back at 0 in %d series", len(points))))
		return
	}
	for _, p := range points {
		value := number(p.Value, p.Unit)
		if p.Histogram {
			value = fmt.Sprintf("%d ×%9s", p.Count, average(p))
		}
		label := fill(p.Service, 14) + " " + abbreviate(p.Attrs, metricNames)
		room := r.Width - TextWidth(value) - 3
		r.Line("  ", r.Paint(dim, fill(Cut(label, room-1), room)), " ", value)
	}
}

func average(p Point) string {
	if p.Count == 0 {
		return "–"
	}
	return number(p.Value/float64(p.Count), p.Unit)
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

func abbreviate(attrs Attributes, names []shortName) string {
	var parts []string
	for _, name := range names {
		value := attrs[name.key]
		if value == "" || slices.Contains(parts, value) { // outcome and error.type often agree
			continue
		}
		parts = append(parts, name.short+Cut(value, 24))
	}
	return strings.Join(parts, " · ")
}

// Event draws a log record: its body, and what it is about below.
func (r Renderer) Event(e *Event) {
	color := dim
	switch {
	case strings.HasPrefix(e.Severity, "ERROR"), strings.HasPrefix(e.Severity, "FATAL"):
		color = red
	case strings.HasPrefix(e.Severity, "WARN"):
		color = yellow
	}
	name := fill(Cut(e.Name, 26), 21)
	indent := strings.Repeat(" ", 12+1+5+2) // below the name
	body := wrap(e.Body, r.Width-TextWidth(indent)-TextWidth(name)-1)
	r.Line(
		r.Paint(dim, e.At.Format("15:04:05.000")), " ", r.Paint(color, fill(Cut(e.Severity, 5), 5)), "  ",
		r.Paint(Bold, name), " ", body[0],
	)
	for _, more := range body[1:] {
		r.Line(indent, strings.Repeat(" ", TextWidth(name)), " ", more)
	}
	about := e.Service
	if attrs := abbreviate(e.Attrs, eventNames); attrs != "" {
		about += " · " + attrs
	}
	r.Line(indent, r.Paint(dim, Cut(about, r.Width-TextWidth(indent))))
}

// wrap breaks text between words into lines of at most width columns.
func wrap(text string, width int) []string {
	lines := []string{""}
	for word := range strings.FieldsSeq(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = Cut(word, width)
		case TextWidth(*last)+1+TextWidth(word) <= width:
			*last += " " + word
		default:
			lines = append(lines, Cut(word, width))
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

func TextWidth(s string) (width int) {
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

// Cut shortens s to width columns, and says so with an ellipsis.
func Cut(s string, width int) string {
	if TextWidth(s) <= width {
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

func fill(s string, width int) string { return s + strings.Repeat(" ", max(0, width-TextWidth(s))) }

func padLeft(s string, width int) string {
	return strings.Repeat(" ", max(0, width-TextWidth(s))) + s
}
