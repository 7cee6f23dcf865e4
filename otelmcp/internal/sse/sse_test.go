// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package sse

// The WHATWG event stream format, its examples among the cases, however the
// stream is cut; and what a stream may cost.

import (
	"bytes"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

var _ io.Writer = (*Scanner)(nil)

// event is an Event that may be kept.
type event struct {
	kind, data string
	size       int
}

func message(data string) event { return event{"message", data, len(data)} }

// scanIn returns the events of a stream that is written in chunks which end at
// the given places.
func scanIn(t *testing.T, head int, stream string, cuts ...int) (events []event) {
	t.Helper()
	s := NewScanner(head, func(e Event) { events = append(events, event{e.Type, string(e.Data), e.Size}) })
	start := 0
	for _, end := range append(cuts, len(stream)) {
		chunk := []byte(stream[start:end])
		if n, err := s.Write(chunk); n != len(chunk) || err != nil {
			t.Fatalf("writing %d bytes gives %d, %v", len(chunk), n, err)
		}
		clear(chunk) // it is the caller's again
		start = end
	}
	return events
}

// reference reads a stream line by line, as the specification says it.
func reference(head int, stream string) (events []event) {
	stream = strings.TrimPrefix(stream, "\ufeff")
	stream = strings.ReplaceAll(strings.ReplaceAll(stream, "\r\n", "\n"), "\r", "\n")
	lines := strings.Split(stream, "\n")
	data, kind := "", ""
	for _, line := range lines[:len(lines)-1] { // the last has no end
		if line == "" {
			if data != "" {
				data = strings.TrimSuffix(data, "\n")
				if kind == "" {
					kind = "message"
				}
				events = append(events, event{kind, data[:min(head, len(data))], len(data)})
			}
			data, kind = "", ""
			continue
		}
		field, value, _ := strings.Cut(line, ":") // a comment is a field without a name
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "data":
			data += value + "\n"
		case "event":
			kind = value[:min(maxField, len(value))]
		}
	}
	return events
}

var streams = []struct {
	name, stream string
	want         []event
}{
	{"nothing", "", nil},
	{"the specification's stock ticker", "data: YHOO\ndata: +2\ndata: 10\n\n", []event{message("YHOO\n+2\n10")}},
	{
		"the specification's comments and ids", ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event",
		[]event{message("first event"), message("second event")},
	},
	{"the specification's empty data", "data\n\ndata\ndata\n\ndata:", []event{message(""), message("\n")}},
	{"the specification's spaces", "data:test\n\ndata: test\n\n", []event{message("test"), message("test")}},
	{
		"types", "event: endpoint\ndata: /a\n\nevent: message\ndata: b\n\nevent: other\ndata: c\n\ndata: d\n\n",
		[]event{{"endpoint", "/a", 2}, message("b"), {"other", "c", 1}, message("d")},
	},
	{
		"the last type counts", "event: a\nevent: b\ndata: c\n\nevent: a\nevent\ndata: c\n\nevent: a\nevent: \ndata: c\n\n",
		[]event{{"b", "c", 1}, message("c"), message("c")},
	},
	{"a type without data is dropped", "event: a\n\ndata: b\n\n", []event{message("b")}},
	{"LF", "data: a\ndata: b\n\ndata: c\n\n", []event{message("a\nb"), message("c")}},
	{"CRLF", "data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", []event{message("a\nb"), message("c")}},
	{"CR", "data: a\rdata: b\r\rdata: c\r\r", []event{message("a\nb"), message("c")}},
	{"all of them", "data: a\r\n\ndata: b\n\r\ndata: c\r\r\ndata: d\n\r", []event{message("a"), message("b"), message("c"), message("d")}},
	{"a byte order mark", "\ufeffdata: a\n\n", []event{message("a")}},
	{"two of them", "\ufeff\ufeffdata: a\n\n", nil},
	{"a part of one", "\xef\xbbdata: a\ndata: b\n\n\xef\xbb\xbfdata: c\n\n", []event{message("b")}},
	{"a part of one alone", "\xef\xbb\ndata: a\n\n\xef", []event{message("a")}},
	{"one that is late", "data: a\n\ufeffdata: b\n\n", []event{message("a")}},
	{"only the first space goes", "data:  a \ndata:\tb\n\n", []event{message(" a \n\tb")}},
	{"colons", "data: a: b\ndata::c\n:data: d\n: \n:\n\n", []event{message("a: b\n:c")}},
	{"names that are not quite", "dat: a\ndatas: b\nData: c\n data: d\ndata : e\nevents: f\n\n", nil},
	{"a long name", strings.Repeat("d", 1000) + ": a\ndata: b\n\n", []event{message("b")}},
	{"a long type", "event: " + strings.Repeat("e", 1000) + "\ndata: b\n\n", []event{{strings.Repeat("e", 64), "b", 1}}},
	{"blank lines", "\n\n\r\n\r\rdata: a\n\n\n\n", []event{message("a")}},
	{"no end", "data: a\n\ndata: b\n", []event{message("a")}},
	{
		"long data", "data: " + strings.Repeat("a", 100) + "\ndata: b\n\ndata: c\n\n",
		[]event{{"message", strings.Repeat("a", 16), 102}, message("c")},
	},
	{
		"data that ends at the head", "data: 0123456789abcdef\n\ndata: 0123456789abcdef\ndata:\n\n",
		[]event{message("0123456789abcdef"), {"message", "0123456789abcdef", 17}},
	},
	{"not text", "data: \x00\xff\xfe\n\n", []event{message("\x00\xff\xfe")}},
}

const testHead = 16

func TestScanner(t *testing.T) {
	for _, c := range streams {
		t.Run(c.name, func(t *testing.T) {
			if got := reference(testHead, c.stream); !reflect.DeepEqual(got, c.want) {
				t.Fatalf("the reference gives %#v, want %#v", got, c.want)
			}
			check := func(cuts ...int) {
				t.Helper()
				if got := scanIn(t, testHead, c.stream, cuts...); !reflect.DeepEqual(got, c.want) {
					t.Errorf("cut at %v: got %#v, want %#v", cuts, got, c.want)
				}
			}
			check()
			for i := range len(c.stream) + 1 {
				check(i)
				check(i, i, min(i+1, len(c.stream)))
			}
			every := make([]int, len(c.stream))
			for i := range every {
				every[i] = i
			}
			check(every...)
		})
	}
}

func TestHeadSizes(t *testing.T) {
	for _, head := range []int{0, 1, 3, 4} {
		want := []event{{"message", "abc"[:min(head, 3)], 3}}
		if got := scanIn(t, head, "data: abc\n\n"); !reflect.DeepEqual(got, want) {
			t.Errorf("%d: got %#v, want %#v", head, got, want)
		}
	}
}

// untold is a judge to whom a head tells enough unless it begins with a question mark.
type untold struct{ asked int }

func (u *untold) Enough(head []byte) bool {
	u.asked++
	return head[0] != '?'
}

// More is kept of an event whose head does not tell enough, and of no other, however
// the stream is cut; the judge is asked once for each that is longer than the head.
func TestKeepMore(t *testing.T) {
	text := strings.Repeat("0123456789", 4)
	stream := "data: a" + text + "\n\ndata: ?" + text + "\n\ndata: ?" + text + "\ndata: b\n\ndata: ?\n\ndata: c" + text + "\n\n"
	want := []event{
		{"message", "a" + text[:15], 41},
		{"message", "?" + text[:31], 41},
		{"message", "?" + text[:31], 43},
		message("?"),
		{"message", "c" + text[:15], 41},
	}
	for step := 1; step <= len(stream); step++ {
		var events []event
		var u untold
		s := NewScanner(testHead, func(e Event) { events = append(events, event{e.Type, string(e.Data), e.Size}) })
		s.KeepMore(2*testHead, &u)
		for rest := stream; rest != ""; {
			n := min(step, len(rest))
			_, _ = s.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		if !reflect.DeepEqual(events, want) || u.asked != 4 {
			t.Fatalf("in steps of %d: %d times asked, got %#v", step, u.asked, events)
		}
		if n := cap(s.data); n > 2*testHead {
			t.Errorf("in steps of %d: it keeps %d bytes after a long event", step, n)
		}
	}
}

// An event is handed over when it ends, not when more comes.
func TestAtOnce(t *testing.T) {
	for _, end := range []string{"\n\n", "\r\r", "\r\n\r"} {
		if n := len(scanIn(t, testHead, "data: a"+end)); n != 1 {
			t.Errorf("%q ends %d events", end, n)
		}
	}
}

// What the other side writes does not make the scanner grow.
func TestMemory(t *testing.T) {
	endless := bytes.Repeat([]byte("x"), 1<<16)
	for _, begin := range []string{"data: ", "event: ", "", ":", "data", "data: a\r"} {
		s := NewScanner(testHead, func(Event) {})
		_, _ = s.Write([]byte(begin))
		for range 256 {
			_, _ = s.Write(endless)
		}
		for range 1 << 16 {
			_, _ = s.Write([]byte("\ndata: 0123456789abcdef0123456789\nevent: a"))
		}
		if n := cap(s.data) + cap(s.typ) + cap(s.field); n > 4*(testHead+maxField) {
			t.Errorf("after %q it keeps %d bytes", begin, n)
		}
	}
}

func TestAllocations(t *testing.T) {
	n := 0
	s := NewScanner(testHead, func(e Event) { n += e.Size })
	stream := []byte("event: endpoint\ndata: /a\n\nevent: message\r\ndata: " + strings.Repeat("b", 1000) + "\r\ndata: c\r\n\r\n: ping\n\ndata: d\n\n")
	if got := testing.AllocsPerRun(100, func() { _, _ = s.Write(stream) }); got > 0 {
		t.Errorf("%v allocations", got)
	}
	runtime.KeepAlive(n)
}

// Many ends of one sort must not cost a look for the other each: this takes
// minutes if they do.
func TestManyLines(t *testing.T) {
	for _, end := range []string{"\n", "\r", "\r\n"} {
		n := 0
		s := NewScanner(testHead, func(Event) { n++ })
		const events = 1 << 20
		_, _ = s.Write([]byte(strings.Repeat("data: a"+end+end, events)))
		if n != events {
			t.Errorf("%q: %d events, want %d", end, n, events)
		}
	}
}

func FuzzScanner(f *testing.F) {
	for _, c := range streams {
		f.Add([]byte(c.stream), []byte{1, 2, 3, 5, 8}, uint8(testHead))
	}
	f.Fuzz(func(t *testing.T, stream, sizes []byte, head uint8) {
		var cuts []int
		for at, i := 0, 0; len(sizes) > 0 && i < 1<<12; i++ {
			at += int(sizes[i%len(sizes)])
			if at > len(stream) {
				break
			}
			cuts = append(cuts, at)
		}
		want := reference(int(head), string(stream))
		if got := scanIn(t, int(head), string(stream), cuts...); !reflect.DeepEqual(got, want) {
			t.Errorf("%q cut at %v:\n got %#v\nwant %#v", stream, cuts, got, want)
		}
	})
}
