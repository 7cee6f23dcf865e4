// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package content turns arguments, results and other content that an operator asked to see into attribute
// values: structured, scrubbed first, and bounded whatever the content is.
//
// Every string, and every name of a member, goes through package scrub and then through the operator's own scrubber.
// A value whose name says that it is a secret is redacted whole; so are the value in {"name": "password", "value": "x"} and what follows
// an option such as "--password" in a list, or "-u" after "curl". What is cut is said where it was cut: strings end in "…[+123B]", a
// list in an element "…[+7 more]", an object in a member "…": "[+7 keys]", and one of them that is nested too
// deep is such a note itself. So is what stands after as much as may be scrubbed, however little of it was kept. The same content always becomes the same value.
package content

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/scrub"
)

// limits bound a value, in bytes. perValue bounds each string, total the whole: the bytes of keys and strings
// and a few for each element. Both are positive.
type limits struct{ perValue, total int }

// The bounds of a value.
const (
	DefaultPerValue = 4 << 10  // bytes of each string
	DefaultTotal    = 16 << 10 // bytes of keys and strings, and a few for each element

	MaxDepth    = 16  // levels of lists and objects
	MaxElements = 128 // of one list or object
	MaxKey      = 128 // bytes of a key
)

// What a part of the output counts for in Total. The names are those of JSON, whose punctuation it stands for.
const (
	costScalar    = 8  // a number, a bool, null
	costString    = 2  // and its bytes
	costKey       = 4  // and its bytes
	costContainer = 2  // and its elements
	reserve       = 48 // kept free in every open list or object for the note about what is missing
	smallest      = 24 // an element is begun only if this much is left: any note fits
)

const (
	moreKey = "…"
	// more is how far what was left out is measured; beyond that the count is a lower bound.
	more   = 1 << 14
	suffix = 4 // bytes of a number that tells keys apart
	// lead is how much more than fits the operator's scrubber sees of a string.
	lead = 1 << 10
	// readFactor is how many bytes are scrubbed for each byte of the total: what is redacted is short, however long it was.
	readFactor = 4
)

// Value makes an attribute value of v: decoded JSON (map[string]any, []any, string, float64, bool, nil,
// json.Number) as it is, anything else by way of its JSON. It also returns how many bytes of v are not in
// it, a lower bound when much more than fits is missing; what was redacted does not count. ask, which may be nil, is
// the operator's scrubber: it is given each string and each name when it is scrubbed, and must not panic.
func Value(v any, ask func(string) string) (attribute.Value, int) {
	return within(v, limits{DefaultPerValue, DefaultTotal}, ask)
}

// Size returns about how many bytes v has, a lower bound if they are many, for content that is left out.
func Size(v any) int {
	b := builder{budget: more}
	return b.size(v, 0)
}

// within is [Value] with other bounds.
func within(v any, l limits, ask func(string) string) (attribute.Value, int) {
	b := builder{perValue: l.perValue, left: l.total, ask: ask, budget: more, unread: readFactor*l.total + scrub.Slack}
	if l.total < smallest+costString {
		s, ok := v.(string)
		if !ok {
			return attribute.Value{}, b.size(v, 0)
		}
		s, cut := b.text(s, min(b.left-costString, b.perValue))
		if s == "" {
			return attribute.Value{}, cut
		}
		return attribute.StringValue(s), cut
	}
	out := b.value(v, 0)
	return out, b.cut
}

type builder struct {
	perValue int
	left     int // bytes that may still be used
	unread   int // bytes that may still be scrubbed
	cut      int
	ask      func(string) string
	budget   int // nodes that size may still visit
}

func (b *builder) value(v any, depth int) attribute.Value {
	switch v := v.(type) {
	case nil:
		b.left -= costScalar
		return attribute.Value{}
	case bool:
		b.left -= costScalar
		return attribute.BoolValue(v)
	case float64:
		return b.float(v)
	case string:
		return b.str(v)
	case json.Number:
		return b.number(v)
	case map[string]any:
		return b.object(v, depth)
	case []any:
		return b.list(v, depth)
	case int:
		b.left -= costScalar
		return attribute.IntValue(v)
	case int64:
		b.left -= costScalar
		return attribute.Int64Value(v)
	}
	decoded, ok := roundTrip(v)
	if !ok {
		// The error could repeat the value; the type cannot.
		return b.str(fmt.Sprintf("[no JSON: %T]", v))
	}
	return b.value(decoded, depth)
}

// roundTrip returns what a JSON decoder makes of v's JSON.
func roundTrip(v any) (out any, ok bool) {
	defer func() {
		if recover() != nil {
			out, ok = nil, false
		}
	}()
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, false
	}
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		return nil, false
	}
	return out, true
}

// float keeps a number, and writes out what JSON has no number for.
func (b *builder) float(f float64) attribute.Value {
	b.left -= costScalar
	switch {
	case math.IsNaN(f):
		return attribute.StringValue("NaN")
	case math.IsInf(f, 1):
		return attribute.StringValue("+Inf")
	case math.IsInf(f, -1):
		return attribute.StringValue("-Inf")
	}
	return attribute.Float64Value(f)
}

// number keeps an integer that fits exactly and a fraction, and the digits of an integer that is too large.
func (b *builder) number(n json.Number) attribute.Value {
	if i, err := strconv.ParseInt(string(n), 10, 64); err == nil {
		b.left -= costScalar
		return attribute.Int64Value(i)
	}
	if strings.ContainsAny(string(n), ".eE") && len(n) < 64 {
		if f, err := strconv.ParseFloat(string(n), 64); err == nil {
			return b.float(f)
		}
	}
	return b.str(string(n))
}

func (b *builder) str(s string) attribute.Value {
	out, cut := b.text(s, min(b.left-costString, b.perValue))
	b.left -= len(out) + costString
	b.cut += cut
	return attribute.StringValue(out)
}

// text returns s scrubbed, by the operator too, in at most limit bytes.
func (b *builder) text(s string, limit int) (string, int) {
	if b.ask == nil {
		b.reads(s, limit)
		return scrub.Capped(s, limit, 0)
	}
	b.reads(s, limit+lead)
	head, cut := scrub.Head(s, limit+lead)
	head = b.ask(head)
	b.reads(head, limit)
	return scrub.Capped(head, limit, cut)
}

// reads counts what is scrubbed of s to have limit bytes.
func (b *builder) reads(s string, limit int) { b.unread -= min(len(s), limit+scrub.Slack) }

// full reports whether no more elements fit.
func (b *builder) full() bool { return b.left < smallest || b.unread <= 0 }

// name returns the name of a member scrubbed, by the operator too.
func (b *builder) name(k string) string {
	b.reads(k, MaxKey)
	name := scrub.Name(k, MaxKey)
	if b.ask == nil {
		return name
	}
	name = b.ask(name)
	b.reads(name, MaxKey)
	return scrub.Name(name, MaxKey)
}

func (b *builder) redacted() attribute.Value {
	b.left -= costString + len(scrub.Redacted)
	return attribute.StringValue(scrub.Redacted)
}

// open takes the room of a list or object; if there is none it returns what stands in its place.
func (b *builder) open(v any, depth int) (attribute.Value, bool) {
	if depth < MaxDepth && b.left >= costContainer+reserve {
		b.left -= costContainer + reserve
		return attribute.Value{}, true
	}
	b.cut += b.size(v, 0)
	var note string
	switch v := v.(type) {
	case []any:
		note = moreElements(len(v))
	case map[string]any:
		note = moreKey + moreKeys(len(v))
	}
	b.left -= len(note) + costString
	return attribute.StringValue(note), false
}

func (b *builder) list(v []any, depth int) attribute.Value {
	if len(v) == 0 && b.left >= costContainer {
		b.left -= costContainer
		return attribute.SliceValue()
	}
	if note, ok := b.open(v, depth); !ok {
		return note
	}
	out := make([]attribute.Value, 0, min(len(v), MaxElements)+1)
	var args scrub.Arguments
	named := len(v) == 2 && isName(v[0])
	for i, e := range v {
		if i == MaxElements || b.full() {
			break
		}
		s, isString := e.(string)
		secret, from := false, len(s)
		if isString {
			from = args.Next(s)
			secret = from == 0
		} else {
			secret = args.Skip()
		}
		switch {
		case (secret || named && i == 1) && holds(e):
			out = append(out, b.redacted())
		case from < len(s):
			out = append(out, b.str(s[:from]+scrub.Redacted))
		default:
			out = append(out, b.value(e, depth+1))
		}
	}
	if rest := v[len(out):]; len(rest) > 0 {
		for i := range rest {
			b.cut += b.size(rest[i], 0)
			if b.budget <= 0 {
				break
			}
		}
		note := moreElements(len(rest))
		b.left -= len(note) + costString
		out = append(out, attribute.StringValue(note))
	}
	b.left += reserve
	return attribute.SliceValue(out...)
}

func (b *builder) object(v map[string]any, depth int) attribute.Value {
	if len(v) == 0 && b.left >= costContainer {
		b.left -= costContainer
		return attribute.MapValue()
	}
	if note, ok := b.open(v, depth); !ok {
		return note
	}
	keys := firstKeys(v)
	out := make([]attribute.KeyValue, 0, len(keys)+1)
	named := namesSecret(v, keys)
	changed := false
	for _, k := range keys {
		if b.unread <= 0 {
			break
		}
		name := b.name(k)
		if b.left < len(name)+suffix+costKey+smallest {
			break
		}
		e := v[k]
		if name != k || name == moreKey {
			changed = true
			b.left -= suffix
		}
		b.cut += max(len(k)-len(name), 0)
		b.left -= len(name) + costKey
		var val attribute.Value
		if open, ok := disclosed(k, e, named); ok {
			val = b.value(open, depth+1)
		} else {
			val = b.redacted()
		}
		out = append(out, attribute.KeyValue{Key: attribute.Key(name), Value: val})
	}
	if n := len(v) - len(out); n > 0 {
		// Only what is in keys can be measured in an order; the rest is counted.
		for _, k := range keys[len(out):] {
			b.cut += len(k) + b.size(v[k], 0)
		}
		if n -= len(keys) - len(out); n > 0 {
			b.cut += b.sizeBut(v, keys)
		}
		note := moreKeys(len(v) - len(out))
		b.left -= len(moreKey) + costKey + len(note) + costString
		out = append(out, attribute.String(moreKey, note))
	}
	if changed {
		unique(out)
	}
	b.left += reserve
	return attribute.MapValue(out...)
}

func moreElements(n int) string { return moreKey + "[+" + strconv.Itoa(n) + " more]" }

func moreKeys(n int) string { return "[+" + strconv.Itoa(n) + " keys]" }

// firstKeys returns the first MaxElements keys of v in order, in time linear in v.
func firstKeys(v map[string]any) []string {
	keys := make([]string, 0, min(len(v), MaxElements)+1)
	for k := range v {
		if len(keys) == MaxElements && k >= keys[MaxElements-1] {
			continue
		}
		i, _ := slices.BinarySearch(keys, k)
		keys = slices.Insert(keys, i, k)
		if len(keys) > MaxElements {
			keys = keys[:MaxElements]
		}
	}
	return keys
}

// unique gives keys that became the same when they were cleaned a number. That takes suffix bytes at most.
func unique(kvs []attribute.KeyValue) {
	seen := make(map[attribute.Key]struct{}, len(kvs))
	for i := range kvs {
		k := kvs[i].Key
		for n := 2; ; n++ {
			if _, twice := seen[kvs[i].Key]; !twice {
				break
			}
			kvs[i].Key = k + attribute.Key("#"+strconv.Itoa(n))
		}
		seen[kvs[i].Key] = struct{}{}
	}
}

// disclosed returns what a member with that key may tell of its value, and false if that is a secret. named says that
// another member names one.
func disclosed(key string, v any, named bool) (open any, ok bool) {
	switch role := scrub.RoleOf(key); {
	case v != nil && v != "" && (secretKey(key, v) || named && role == scrub.HoldsValue):
		return nil, false
	case role == scrub.HoldsCode:
		return withoutCode(v), true
	}
	return v, true
}

// secretKey reports whether a member is a secret by its key.
func secretKey(key string, v any) bool {
	if scrub.SensitiveKey(key) {
		_, isBool := v.(bool)
		return !isBool
	}
	if strings.EqualFold(key, "tokens") { // a count, or secrets
		switch v.(type) {
		case string, []any, map[string]any, []string:
			return true
		}
	}
	return false
}

// namesSecret reports whether v is a pair like {"name": "password", "value": "x"}. keys are the first ones of v.
func namesSecret(v map[string]any, keys []string) bool {
	for _, k := range keys {
		if scrub.RoleOf(k) == scrub.NamesMember && isName(v[k]) {
			return true
		}
	}
	return false
}

// isName reports whether v is the name of a secret.
func isName(v any) bool {
	s, ok := v.(string)
	return ok && len(s) <= MaxKey && !strings.Contains(s, "=") && scrub.SensitiveKey(s)
}

// holds reports whether v may be a secret at all.
func holds(v any) bool {
	_, isBool := v.(bool)
	return v != nil && v != "" && !isBool
}

// withoutCode redacts the code that a string begins with.
func withoutCode(v any) any {
	s, ok := v.(string)
	if !ok {
		return v
	}
	if n := scrub.Code(s); n > 0 {
		return scrub.Redacted + s[n:]
	}
	return v
}

// size returns about how many bytes of JSON v is, as far as the budget goes.
func (b *builder) size(v any, depth int) (n int) {
	b.budget--
	if b.budget < 0 || depth > 4*MaxDepth {
		return 0
	}
	switch v := v.(type) {
	case string:
		return len(v) + costString
	case json.Number:
		return len(v)
	case []any:
		n = costContainer
		for _, e := range v {
			if b.budget <= 0 {
				break
			}
			n += b.size(e, depth+1)
		}
		return n
	case map[string]any:
		n = costContainer
		for k, e := range v {
			if b.budget <= 0 {
				break
			}
			n += len(k) + costKey + b.size(e, depth+1)
		}
		return n
	}
	return costScalar
}

// sizeBut is size for the members of v whose keys come after those in keys.
func (b *builder) sizeBut(v map[string]any, keys []string) (n int) {
	last := keys[len(keys)-1]
	for k, e := range v {
		if b.budget <= 0 {
			break
		}
		if k > last {
			n += len(k) + costKey + b.size(e, 0)
		}
	}
	return n
}
