// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package members reads chosen members of a JSON object of any size in bounded memory,
// and tells what encoding/json makes of the whole document.
//
// The document is checked byte by byte as it comes, and is not kept. Each member that a
// target has a field for is decoded by encoding/json into that field as soon as its
// value is complete. So repeated members, names in other letter case, null and values of
// the wrong type have the effect that they have on json.Unmarshal of the whole document.
package members

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"
)

const (
	// maxText caps what is kept of a string, in bytes of its JSON notation. A longer one
	// is cut, so it still is a string.
	maxText = 1 << 20
	// maxName caps a member's name in bytes of its JSON notation. A longer one is none
	// that a target has a field for.
	maxName = 1 << 10
	// maxNumber is more digits than any number has that fits into an int64.
	maxNumber = 64
	// maxDepth is how deep encoding/json lets values nest.
	maxDepth = 10000
)

// errSyntax says that a document is no JSON.
var errSyntax = errors.New("members: invalid JSON")

// errType says that a document is no object.
var errType = errors.New("members: not an object")

// Extent says how much of the input is the document.
type Extent bool

const (
	// Whole is for a document that json.Unmarshal gets: nothing may follow it.
	Whole Extent = false
	// First is for one that a json.Decoder reads: what follows it is not looked at.
	First Extent = true
)

// Reader reads one document. It is not safe for concurrent use.
type Reader struct {
	extent  Extent
	targets []target

	state   state
	scalar  bool   // the document is a scalar
	trailed bool   // something followed a scalar
	objects []byte // a bit for each container that is open: whether it is an object
	depth   int

	name    []byte // the notation of the last name on the top level
	named   bool   // the string that is read is a name
	kept    []byte // the notation of the value that is kept, reduced to what decides
	keeping bool   // the scalar that is read is kept
	wanted  []wish // the fields that the value on the top level is for
	items   int    // of the list that is kept
	foreign bool   // an item that is no string and not null has been kept

	escape  [6]byte // the escape sequence that is read
	escaped int     // its bytes so far
	word    string  // the rest of true, false or null
	digits  int     // bytes of the number that is read
	number  numeral
}

type target struct {
	fields []field
	err    error
}

// field is one of a struct, and the name of its member.
type field struct {
	name []byte
	into any
}

// wish is a field that a value is for.
type wish struct {
	of   *target
	into any
}

type state uint8

const (
	atValue  state = iota // a value must follow
	atItem                // the first item, or the end of the list
	atMember              // the first name, or the end of the object
	atName                // a name must follow
	atColon
	afterValue
	inText
	inWord
	inNumber
	done
	broken
)

// NewReader returns a Reader that decodes into each of targets, which are pointers to
// structs whose fields are strings, integers, lists of strings, or decode themselves
// from a string.
func NewReader(extent Extent, targets ...any) *Reader {
	r := &Reader{extent: extent}
	for _, into := range targets {
		var t target
		of := reflect.ValueOf(into).Elem()
		for k := range of.NumField() {
			is := of.Type().Field(k)
			name, _, _ := strings.Cut(is.Tag.Get("json"), ",")
			if !is.IsExported() || name == "-" {
				continue
			}
			if name == "" {
				name = is.Name
			}
			t.fields = append(t.fields, field{[]byte(name), of.Field(k).Addr().Interface()})
		}
		r.targets = append(r.targets, t)
	}
	return r
}

// End reports what is wrong with the document when no more of it comes, because of
// failure or, where that is nil, because the input has ended.
func (r *Reader) End(failure error) error {
	if r.state == inNumber && r.depth == 0 && r.number.complete() {
		r.valueEnds()
	}
	switch {
	case r.state == broken:
		return errSyntax
	case r.state != done, r.extent == First && r.scalar && !r.trailed && failure != nil:
		if failure == nil {
			failure = io.ErrUnexpectedEOF
		}
		return failure
	}
	return nil
}

// Err reports why the document was not decoded into the k-th target, as far as its types
// are concerned. It holds where End returned nil.
func (r *Reader) Err(k int) error { return r.targets[k].err }

// Write reads on. It never fails.
func (r *Reader) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && r.state != broken; {
		switch {
		case r.state == done && r.extent == First:
			r.trailed = true
			return len(p), nil
		case r.state == inText:
			rest = rest[r.text(rest):]
		case r.state != inWord && r.state != inNumber && isSpace(rest[0]):
			rest = rest[1:]
		case r.step(rest[0]):
			rest = rest[1:]
		}
	}
	return len(p), nil
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// step reads c, which is no space between values, unless it returns false: then c is not part of what has just ended.
func (r *Reader) step(c byte) bool {
	switch r.state {
	case inWord:
		r.inWord(c)
		return true
	case inNumber:
		return r.inNumber(c)
	}
	switch r.state {
	case atValue:
		r.begin(c)
	case atItem:
		if c == ']' {
			r.close(']')
			return true
		}
		r.begin(c)
	case atMember, atName:
		switch {
		case c == '"':
			r.beginName()
		case c == '}' && r.state == atMember:
			r.close('}')
		default:
			r.state = broken
		}
	case atColon:
		r.expect(c, ':', atValue)
	case afterValue:
		switch {
		case c == ',' && r.inObject():
			r.state = atName
		case c == ',':
			r.state = atValue
		default:
			r.close(c)
		}
	default: // more after the document
		r.state = broken
	}
	return true
}

func (r *Reader) expect(c, want byte, then state) {
	if c != want {
		then = broken
	}
	r.state = then
}

// begin reads the first byte of a value.
func (r *Reader) begin(c byte) {
	switch {
	case r.depth == 0:
		r.scalar = c != '{' && c != '['
		if c != '{' && c != 'n' {
			r.mismatch()
		}
	case r.depth == 1 && r.inObject():
		r.kept, r.items, r.foreign = r.kept[:0], 0, false
		r.fit()
	}
	r.keeping = len(r.wanted) > 0 && r.depth == 1
	if len(r.wanted) > 0 && r.depth == 2 && len(r.kept) > 0 && r.kept[0] == '[' {
		r.keepItem(c)
	}
	switch c {
	case '{', '[':
		r.open(c)
	case '"':
		r.beginText(false)
	case 't':
		r.beginWord("true")
	case 'f':
		r.beginWord("false")
	case 'n':
		r.beginWord("null")
	default:
		r.beginNumber(c)
	}
}

// keepItem decides what is kept of an item of a list: the first one, and that one is of
// a type that is not a list's of strings.
func (r *Reader) keepItem(c byte) {
	r.items++
	first := r.items == 1
	switch {
	case c == '"' || c == 'n':
		r.keeping = first
	case !r.foreign:
		if !first {
			r.kept = append(r.kept, ',')
		}
		r.kept, r.foreign = append(r.kept, '0'), true
	}
}

// mismatch is for a document that is no object.
func (r *Reader) mismatch() {
	for k := range r.targets {
		r.targets[k].err = errType
	}
}

func (r *Reader) open(c byte) {
	if r.depth == maxDepth {
		r.state = broken
		return
	}
	if r.keeping { // of an object nothing else is kept
		r.kept = append(r.kept, c)
	}
	r.keeping = false
	if r.depth/8 == len(r.objects) {
		r.objects = append(r.objects, 0)
	}
	bit := byte(1) << (r.depth % 8)
	r.objects[r.depth/8] &^= bit
	r.state = atItem
	if c == '{' {
		r.objects[r.depth/8] |= bit
		r.state = atMember
	}
	r.depth++
}

func (r *Reader) inObject() bool {
	at := r.depth - 1
	return r.depth > 0 && r.objects[at/8]&(1<<(at%8)) != 0
}

func (r *Reader) close(c byte) {
	if c != '}' && c != ']' || r.depth == 0 || r.inObject() != (c == '}') {
		r.state = broken
		return
	}
	r.depth--
	if len(r.wanted) > 0 && r.depth == 1 {
		r.kept = append(r.kept, c)
	}
	r.valueEnds()
}

// valueEnds is at the end of every value.
func (r *Reader) valueEnds() {
	r.keeping = false
	switch r.depth {
	case 0:
		r.state = done
		return
	case 1:
		if len(r.wanted) > 0 {
			r.decode()
		}
		r.wanted = r.wanted[:0]
	}
	r.state = afterValue
}

// fit finds the fields that the last name is of.
func (r *Reader) fit() {
	r.wanted = r.wanted[:0]
	if len(r.name) > maxName {
		return
	}
	name := r.name[1 : len(r.name)-1]
	if bytes.ContainsFunc(name, func(c rune) bool { return c == '\\' || c >= utf8.RuneSelf }) {
		var decoded string
		if json.Unmarshal(r.name, &decoded) != nil {
			return
		}
		name = []byte(decoded)
	}
	for k := range r.targets {
		t := &r.targets[k]
		for _, f := range t.fields {
			if bytes.EqualFold(f.name, name) { // as encoding/json does
				r.wanted = append(r.wanted, wish{t, f.into})
				break
			}
		}
	}
}

// decode decodes the value that is kept. encoding/json does the same with a field when it
// decodes the whole document, save that it stops where a type refuses to decode itself.
func (r *Reader) decode() {
	for _, w := range r.wanted {
		if err := json.Unmarshal(r.kept, w.into); err != nil && w.of.err == nil {
			w.of.err = err
		}
	}
	if cap(r.kept) > maxName {
		r.kept = nil
	}
}
