// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package stack

// A picture of a trace.

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
)

// What the picture looks like, in pixels.
const (
	picWidth   = 1180
	picHead    = 88  // title and time axis
	picRow     = 26  // one span
	picNames   = 390 // column of services and names
	picMargin  = 16
	picIndent  = 14
	picBar     = 14
	picLegible = 90 // room that a duration beside its bar needs
)

// serviceColors are taken in the order in which services appear.
var serviceColors = []string{"#2a78b8", "#c2681c", "#3d8b4f", "#8457a8", "#a8323e", "#5b6770"}

// DrawTrace writes an SVG picture of the spans of one trace: who called whom, when
// and for how long, with spans in error marked.
func DrawTrace(w io.Writer, spans []Span) error {
	rows := tree(spans)
	if len(rows) == 0 {
		return errors.New("there are no spans to draw")
	}
	begin, end := rows[0].Start, rows[0].Start
	colors := map[string]string{}
	for k := range rows {
		r := &rows[k]
		if r.Start.Before(begin) {
			begin = r.Start
		}
		if e := r.Start.Add(r.Duration); e.After(end) {
			end = e
		}
		if _, known := colors[r.Service]; !known {
			colors[r.Service] = serviceColors[len(colors)%len(serviceColors)]
		}
	}
	total := max(end.Sub(begin), time.Microsecond)
	const timeline = picWidth - picNames - picMargin
	x := func(t time.Time) float64 {
		return picNames + timeline*float64(t.Sub(begin))/float64(total)
	}

	var b bytes.Buffer
	height := picHead + picRow*len(rows) + picMargin
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" `+
		`font-family="system-ui, sans-serif" font-size="13" fill="#24292f">`+"\n", picWidth, height, picWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", picWidth, height)
	fmt.Fprintf(&b, `<text x="%d" y="28" font-size="16" font-weight="600">%s</text>`+"\n", picMargin,
		text(rows[0].Service+": "+rows[0].Name))
	fmt.Fprintf(&b, `<text x="%d" y="50" fill="#57606a">trace %s · %d spans · %d services · %s</text>`+"\n", picMargin,
		text(rows[0].TraceID), len(rows), len(colors), short(total))
	for tick := range 5 {
		at := begin.Add(total * time.Duration(tick) / 4)
		anchor := "middle"
		if tick == 4 {
			anchor = "end"
		}
		fmt.Fprintf(&b, `<path d="M%.1f %d V%d" stroke="#d8dee4"/>`+"\n", x(at), picHead-8, height-picMargin)
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" font-size="11" fill="#57606a" text-anchor="%s">%s</text>`+"\n",
			x(at), picHead-14, anchor, short(at.Sub(begin)))
	}
	for k := range rows {
		r := &rows[k]
		top := picHead + k*picRow
		middle := top + picRow/2
		if k%2 == 1 {
			fmt.Fprintf(&b, `<rect x="0" y="%d" width="%d" height="%d" fill="#57606a" fill-opacity="0.05"/>`+"\n", top, picWidth, picRow)
		}
		left := picMargin + r.depth*picIndent
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="4" height="%d" fill="%s"/>`+"\n", left, top+5, picRow-10, colors[r.Service])
		mark := ""
		if r.Failed() {
			mark = `<tspan fill="#cf222e" font-weight="600" dx="6">✗</tspan>`
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d"><tspan font-weight="600">%s</tspan> %s%s</text>`+"\n",
			left+11, middle+5, text(r.Service), text(r.Name), mark)
		from := x(r.Start)
		width := max(x(r.Start.Add(r.Duration))-from, 2)
		fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" rx="2" fill="%s"/>`+"\n",
			from, middle-picBar/2, width, picBar, colors[r.Service])
		labelX, anchor, fill := from+width+6, "start", "#24292f"
		if labelX+picLegible > picWidth {
			if labelX, anchor = from-6, "end"; labelX-picLegible < picNames { // no room on either side
				labelX, fill = from+width-6, "#ffffff"
			}
		}
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" font-size="11" fill="%s" text-anchor="%s">%s</text>`+"\n",
			labelX, middle+4, fill, anchor, short(r.Duration))
	}
	b.WriteString("</svg>\n")
	_, err := b.WriteTo(w)
	return err
}

// Failed reports whether the span's status is an error.
func (s *Span) Failed() bool { return s.Tags["otel.status_code"] == "ERROR" }

type row struct {
	*Span
	depth int
}

// tree orders spans by parent and time. A span whose parent is not there is a root.
func tree(spans []Span) []row {
	present := map[string]bool{}
	for k := range spans {
		present[spans[k].SpanID] = true
	}
	children := map[string][]*Span{}
	for k := range spans {
		parent := spans[k].Parent
		if !present[parent] {
			parent = ""
		}
		children[parent] = append(children[parent], &spans[k])
	}
	var rows []row
	var add func(parent string, depth int)
	add = func(parent string, depth int) {
		below := children[parent]
		slices.SortFunc(below, func(a, b *Span) int { return a.Start.Compare(b.Start) })
		for _, s := range below {
			rows = append(rows, row{s, depth})
			add(s.SpanID, depth+1)
		}
	}
	add("", 0)
	return rows
}

// text is s for a place between tags.
func text(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a buffer takes everything
	return b.String()
}

// short is a duration with three digits.
func short(d time.Duration) string {
	digits := func(n float64, unit string) string { return strconv.FormatFloat(n, 'g', 3, 64) + " " + unit }
	switch {
	case d == 0:
		return "0"
	case d < time.Millisecond:
		return digits(float64(d)/1e3, "µs")
	case d < time.Second:
		return digits(float64(d)/1e6, "ms")
	default:
		return digits(d.Seconds(), "s")
	}
}
