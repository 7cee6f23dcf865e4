// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package content

// Content as flat text, for records whose attributes are columns: a string as it is, anything else as JSON.

import (
	"strconv"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/scrub"
)

// MaxMembers is how many members of an object [Members] tells.
const MaxMembers = 64

// Text makes one text of v, of at most [DefaultPerValue] bytes. It scrubs and cuts as [Value] does, so that JSON stays
// JSON, unless what it escapes does not fit: then the text itself is cut. It also returns how many bytes of v are
// missing, as Value does.
func Text(v any, ask func(string) string) (text string, cut int) {
	b := builder{left: DefaultPerValue, ask: ask, budget: more, unread: readFactor*DefaultPerValue + scrub.Slack}
	text = b.flat(v)
	return text, b.cut
}

// Members tells f of those members of v that names has: which of the names it is, and its value as a text. A text has at
// most [DefaultPerValue] bytes, and all of them have [DefaultTotal], without the notes that stand where nothing fits any
// more. A value whose name says that it is a secret is redacted. f is told of the first [MaxMembers] of them, in the
// order of names. ask, which may be nil, is the operator's scrubber for the k-th name. It returns how many bytes are
// missing, as [Value] does.
func Members(v map[string]any, names []string, ask func(k int, s string) string, f func(k int, text string)) (cut int) {
	b := builder{left: DefaultTotal, budget: more, unread: readFactor*DefaultTotal + scrub.Slack}
	told, named, looked := 0, false, false
	for k, name := range names {
		e, present := v[name]
		switch {
		case !present:
			continue
		case told == MaxMembers:
			b.cut += b.size(e, 0)
			continue
		}
		told++
		if !looked && scrub.RoleOf(name) == scrub.HoldsValue {
			named, looked = anyNamesSecret(v), true
		}
		e, open := disclosed(name, e, named)
		if !open {
			b.left -= len(scrub.Redacted)
			f(k, scrub.Redacted)
			continue
		}
		if ask != nil {
			b.ask = func(s string) string { return ask(k, s) }
		}
		left := b.left
		b.left = min(left, DefaultPerValue)
		text := b.flat(e)
		b.left = left - len(text)
		f(k, text)
	}
	return b.cut
}

// flat returns v as a text of at most b.left bytes, or as a note if no room is left.
func (b *builder) flat(v any) string {
	if b.full() {
		n := b.size(v, 0)
		b.cut += n
		return moreKey + "[+" + strconv.Itoa(n) + "B]"
	}
	limit := b.left
	b.perValue = limit
	value := b.value(v, 0)
	if value.Type() == attribute.EMPTY {
		return "null"
	}
	text := value.String() // as the specification of OpenTelemetry writes values where there are only texts
	if len(text) <= limit {
		return text
	}
	text, cut := scrub.Capped(text, limit, 0)
	b.cut += cut
	return text
}

// anyNamesSecret is namesSecret for an object of which any member may be told.
func anyNamesSecret(v map[string]any) bool {
	for k := range v {
		if scrub.RoleOf(k) == scrub.NamesMember && isName(v[k]) {
			return true
		}
	}
	return false
}
