// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package jsonrpc

// The outline of a message that is too large to be kept: its top level, wherever its
// members stand.

const (
	// maxOutline is how many bytes of a message stand in its outline.
	maxOutline = 64 << 10
	// maxString is how many bytes of a string do.
	maxString = 8 << 10
	// escaped says that the last byte was a backslash.
	escaped = -1
)

// Outline reads a message of any size piece by piece, in bounded room. The zero
// value is ready. What the message's values hold, it passes over; so it does not
// notice when they are no JSON, and knows nothing of params.
type Outline struct {
	b      []byte // the message, with little in its values
	depth  int    // of objects and arrays
	quoted bool   // within a string
	kept   int    // bytes of that string that are in b
	skip   bool   // the rest of that string
	escape int    // escaped, or how many digits of an escape sequence are to come
	inner  bool   // there is something in the value below the top level
	cut    bool   // a string was cut
	over   bool   // b has no room
}

// Write takes the next piece of the message.
func (o *Outline) Write(p []byte) {
	for _, c := range p {
		if o.quoted {
			o.text(c)
			continue
		}
		switch c {
		case '"':
			o.quoted, o.kept = true, 0
			o.put(c)
		case '{', '[':
			o.put(c)
			o.depth++
			if o.depth == 2 {
				o.inner = false
			}
		case '}', ']':
			o.depth--
			if o.depth == 1 && o.inner {
				o.fill(c)
			}
			o.put(c)
		case ' ', '\t', '\r', '\n':
		default:
			o.put(c)
		}
	}
}

// text takes a byte of a string.
func (o *Outline) text(c byte) {
	switch {
	case o.escape == escaped && c == 'u':
		o.escape = 4
	case o.escape > 0: // of its digits
		o.escape--
	case o.escape == escaped:
		o.escape = 0
	case c == '"':
		o.quoted = false
		o.put(c)
		return
	default: // a character begins, unless it is not ASCII
		o.skip = o.kept >= maxString
		o.cut = o.cut || o.skip && o.depth < 2
		if c == '\\' {
			o.escape = escaped
		}
	}
	if !o.skip {
		o.kept++
		o.put(c)
	}
}

// put adds a byte to the outline, unless it is below the top level.
func (o *Outline) put(c byte) {
	switch {
	case o.depth >= 2:
		o.inner = true
	case len(o.b) < maxOutline:
		o.b = append(o.b, c)
	default:
		o.over = true
	}
}

// fill lets a value that ends with c not look empty.
func (o *Outline) fill(c byte) {
	if c == '}' {
		o.put('"')
		o.put('"')
		o.put(':')
	}
	o.put('0')
}

// Envelope returns what the message says, which was all written. ok is false when
// that is more than there is room for. ID and Key are empty where the id is too long
// or no plain value.
func (o *Outline) Envelope() (e Envelope, ok bool) {
	if o.over {
		return e, false
	}
	e = Parse(o.b)
	if o.cut || e.Key != "" && e.Key[0] == 'j' {
		e.ID, e.Key, e.Answers = "", "", ""
	}
	return e, true
}
