// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package sse follows a stream of server-sent events while it is written,
// without holding it: of each event no more than a beginning is kept.
package sse

import "bytes"

// Event is one event, as the WHATWG specification has it. Data is valid during
// the call that it is handed to only.
type Event struct {
	Type string // "message" unless the event says otherwise
	Data []byte // the beginning of the data
	Size int    // bytes of all of the data
}

// maxField bounds the name of a field, and the type of an event.
const maxField = 64

// Scanner follows one stream. It is not safe for concurrent use.
type Scanner struct {
	head  int
	f     func(Event)
	more  int // that is kept of an event whose head is not enough for judge
	judge Judge

	state state
	field []byte // the name of the field, at most maxField bytes
	typ   []byte
	data  []byte
	size  int
	room  int // for data, in this event
	lines int // of data, in this event
	// judged says that judge was asked about this event.
	judged bool
	cr     bool // the last byte was a CR, so that an LF now ends no line
	begun  bool
	bom    int // bytes of a byte order mark that were seen
}

type state uint8

const (
	atStart state = iota // of a line
	inField              // in the name of a field
	atValue              // after the colon, where one space is not part of the value
	inValue
	inComment
)

// NewScanner returns a Scanner that calls f with each event, and keeps head bytes
// of its data.
func NewScanner(head int, f func(Event)) *Scanner {
	return &Scanner{head: head, f: f, room: head}
}

// Judge says of the head of an event whose data is longer whether it tells enough. It
// must not keep head.
type Judge interface{ Enough(head []byte) bool }

// KeepMore has the Scanner keep up to more bytes of an event whose head does not
// tell enough for judge. It must be called before the first Write.
func (s *Scanner) KeepMore(more int, judge Judge) { s.more, s.judge = more, judge }

var bom = []byte{0xEF, 0xBB, 0xBF}

// Write follows what is written. It never fails.
func (s *Scanner) Write(p []byte) (int, error) {
	n := len(p)
	// Where the next LF and CR are in all of p. Each is looked for only when the
	// last one is passed, so that many of one do not mean many looks for the other.
	lf, cr := -1, -1
	for len(p) > 0 {
		if !s.begun {
			if p[0] == bom[s.bom] {
				s.bom++
				p = p[1:]
				s.begun = s.bom == len(bom)
				continue
			}
			s.begun = true
			if s.bom > 0 { // it was none: what looked like one begins a field that nobody knows
				s.state = inField
				s.field = append(s.field, bom[:s.bom]...)
			}
		}
		if s.cr {
			s.cr = false
			if p[0] == '\n' {
				p = p[1:]
				continue
			}
		}
		if lf < n-len(p) {
			lf = index(p, '\n', n)
		}
		if cr < n-len(p) {
			cr = index(p, '\r', n)
		}
		end := min(lf, cr) - (n - len(p))
		s.part(p[:end])
		if end == len(p) {
			break
		}
		s.line()
		s.cr = p[end] == '\r'
		p = p[end+1:]
	}
	return n, nil
}

// index returns where c first stands in p, which is the end of n bytes, and n if
// it does not.
func index(p []byte, c byte, n int) int {
	if i := bytes.IndexByte(p, c); i >= 0 {
		return n - len(p) + i
	}
	return n
}

// part takes a part of a line.
func (s *Scanner) part(p []byte) {
	for len(p) > 0 {
		switch s.state {
		case atStart:
			s.state = inField
			if p[0] == ':' {
				s.state = inComment
			}
		case inField:
			colon := bytes.IndexByte(p, ':')
			name := p
			if colon >= 0 {
				name, p = p[:colon], p[colon+1:]
				s.state = atValue
			} else {
				p = nil
			}
			s.field = append(s.field, name[:min(len(name), max(maxField-len(s.field), 0))]...)
			if s.state == atValue {
				s.value()
			}
		case atValue:
			s.state = inValue
			if p[0] == ' ' {
				p = p[1:]
			}
		case inValue:
			switch string(s.field) {
			case "data":
				s.keep(p)
			case "event":
				s.typ = append(s.typ, p[:min(len(p), max(maxField-len(s.typ), 0))]...)
			}
			return
		case inComment:
			return
		}
	}
}

// value is called where a value begins, which may be empty.
func (s *Scanner) value() {
	switch string(s.field) {
	case "data":
		s.lines++
		if s.lines > 1 {
			s.keep([]byte{'\n'})
		}
	case "event":
		s.typ = s.typ[:0]
	}
}

func (s *Scanner) keep(p []byte) {
	s.size += len(p)
	fits := min(len(p), s.room-len(s.data))
	s.data = append(s.data, p[:fits]...)
	if fits < len(p) && s.room == s.head && s.more > s.head && !s.judged {
		s.judged = true
		if !s.judge.Enough(s.data) {
			s.room = s.more
			s.data = append(s.data, p[fits:min(len(p), fits+s.room-len(s.data))]...)
		}
	}
}

// line is called at the end of a line.
func (s *Scanner) line() {
	switch s.state {
	case atStart:
		s.dispatch()
	case inField: // a field without a colon has an empty value
		s.value()
	case atValue, inValue, inComment:
	}
	s.state = atStart
	s.field = s.field[:0]
}

func (s *Scanner) dispatch() {
	if s.lines > 0 { // one line of data is an event even if it is empty; none is not
		s.f(Event{Type: typeName(s.typ), Data: s.data, Size: s.size})
	}
	s.typ, s.data = s.typ[:0], s.data[:0]
	if s.room > s.head { // one event that was larger does not keep the stream large
		s.data = nil
	}
	s.size, s.room, s.lines, s.judged = 0, s.head, 0, false
}

// typeName spares the usual types an allocation.
func typeName(b []byte) string {
	switch string(b) {
	case "", "message":
		return "message"
	case "endpoint":
		return "endpoint"
	}
	return string(b)
}
