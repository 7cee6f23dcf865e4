// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package jsonrpc

// Reading the beginning of a message, for messages of which no more is at hand.

// Head reads as much as the first bytes of a message tell: what stands on its
// top level, and the code of an error. Nothing is read of params, and nothing is
// said of how mcp-go answers. complete reports whether the message ended within
// prefix.
//
// What it says of a message whose end is not at hand is true of the whole
// message, unless that repeats a member, with one exception: since clients may
// write the id last, a Notification can turn out to be a Request, and so can a
// Response of which a method follows. An id alone tells no kind: it takes a
// result or the code of an error to make a Response.
func Head(prefix []byte) (e Envelope, complete bool) {
	r := reader{scan: scan{b: prefix}}
	r.space()
	if r.next() == '[' {
		return Envelope{Kind: Batch}, false
	}
	complete = r.object(r.member)
	if complete {
		r.space()
		r.bad = r.i < len(r.b)
	}
	r.finish(complete)
	return r.e, complete
}

// IsRequest reports whether a message has an id that is not null, as far as its
// first bytes tell: whole says that they are all. What may still turn out to be a
// request counts as one.
func IsRequest(prefix []byte, whole bool) bool {
	s := scan{b: prefix}
	found := false
	complete := s.object(func(name []byte) bool {
		if is(name, "id") {
			s.space()
			found = s.next() != 'n' && s.next() != 0
			return !found && s.skip()
		}
		return s.skip()
	})
	return found || !complete && !whole
}
