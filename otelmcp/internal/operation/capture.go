// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation

// Content that the operator asked to see. It passes the gate when it is captured: the program may change it later.

import (
	"maps"
	"slices"
	"strconv"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/content"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/scrub"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// captured is the content of one message. A span has it as it is structured, and an event, whose attributes are flat, as
// texts.
type captured struct {
	span, event capturedOn
	bytes       int // that are kept, at the most

	room [2]attribute.KeyValue // for the span of a tool call: arguments and result
}

// capturedOn is what one of the two records has.
type capturedOn struct {
	attrs []attribute.KeyValue
	cut   int // bytes that the caps took
}

// append adds what was captured to the attributes of the record, with how much is missing.
func (c *capturedOn) append(attrs []attribute.KeyValue) []attribute.KeyValue {
	attrs = append(attrs, c.attrs...)
	if c.cut > 0 {
		attrs = append(attrs, semconv.OTelMCPContentTruncatedKey.Int(c.cut))
	}
	return attrs
}

func (o *Operation) capturing() *captured {
	if o.content == nil {
		o.content = &captured{}
		o.content.span.attrs = o.content.room[:0]
	}
	return o.content
}

// Capture puts v on the operation's span, under key: structured, scrubbed and capped.
func (o *Operation) Capture(key attribute.Key, v any) {
	safe := o.structured(key, v)
	span := &o.content.span
	span.attrs = append(span.attrs, attribute.KeyValue{Key: key, Value: safe})
}

// CaptureVariables puts the variables of a prompt on the operation's span, each under a key of its own: the first
// [MaxListed] of them in the order of their names. The rest count as cut. The operator's scrubber is given what these
// keys begin with, since a peer can choose the rest.
func (o *Operation) CaptureVariables(variables map[string]any) {
	span := &o.capturing().span
	few := make(map[string]any, min(len(variables), MaxListed))
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		if len(few) < MaxListed {
			few[name] = variables[name]
			continue
		}
		span.cut += len(name) + content.Size(variables[name])
	}
	for _, kv := range o.structured(semconv.GenAIPromptVariableKey, few).AsMap() {
		span.attrs = append(span.attrs, attribute.String(string(semconv.GenAIPromptVariableKey+kv.Key), kv.Value.AsString()))
	}
}

// structured is v as it may stand on the span.
func (o *Operation) structured(key attribute.Key, v any) attribute.Value {
	c := o.capturing()
	safe, cut := content.Value(v, o.asked(key))
	c.span.cut += cut
	c.bytes += content.DefaultTotal
	return safe
}

// CaptureText puts v on the operation's event, under key: one text, scrubbed and capped.
func (o *Operation) CaptureText(key attribute.Key, v any) {
	text, cut := content.Text(v, o.asked(key))
	o.capturing().event.cut += cut
	o.addText(key, text)
}

// Members are names of arguments that the operator wants on events, each under a key of its own.
type Members struct {
	names []string
	keys  []attribute.Key
}

// NewMembers returns those with the names, under keys that begin with prefix. Names that read the same, once they are fit
// for a key, are told apart by a number.
func NewMembers(prefix attribute.Key, names []string) *Members {
	m := &Members{names: names}
	taken := map[string]bool{}
	for _, name := range names {
		clean := scrub.Name(name, MaxName)
		key := clean
		for n := 2; taken[key]; n++ {
			key = clean + "#" + strconv.Itoa(n)
		}
		taken[key] = true
		m.keys = append(m.keys, prefix+attribute.Key(key))
	}
	return m
}

// CaptureMembers puts those members of v that m has, and of which wanted approves, on the operation's event: at most
// [content.MaxMembers] of them, each a text under the key that m has for it. What v has besides is not looked at.
func (o *Operation) CaptureMembers(v map[string]any, m *Members, wanted func(name string) bool) {
	few := make([]string, 0, len(m.names))
	keys := make([]attribute.Key, 0, len(m.names))
	for k, name := range m.names {
		if wanted(name) {
			few, keys = append(few, name), append(keys, m.keys[k])
		}
	}
	var ask func(k int, s string) string
	if o.rec.scrub != nil {
		ask = func(k int, s string) string { return o.rec.ask(keys[k], s) }
	}
	cut := content.Members(v, few, ask, func(k int, text string) { o.addText(keys[k], text) })
	if cut > 0 {
		o.capturing().event.cut += cut
	}
}

func (o *Operation) addText(key attribute.Key, text string) {
	c := o.capturing()
	c.event.attrs = append(c.event.attrs, key.String(text))
	c.bytes += len(text)
}

// asked is the operator's scrubber for what stands under key; nil without one.
func (o *Operation) asked(key attribute.Key) func(string) string {
	if o.rec.scrub == nil {
		return nil
	}
	return func(s string) string { return o.rec.ask(key, s) }
}

// ContentBytes is how many bytes of captured content the operation keeps, at the most.
func (o *Operation) ContentBytes() int {
	if o.content == nil {
		return 0
	}
	return o.content.bytes
}
