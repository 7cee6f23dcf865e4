// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation

// Content that the operator asked to see. It passes the gate when it is captured: the program may change it later.

import (
	"maps"
	"slices"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/content"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// Capture puts v on the operation's span, under key: structured, scrubbed and capped.
func (o *Operation) Capture(key attribute.Key, v any) {
	o.content = append(o.content, attribute.KeyValue{Key: key, Value: o.captured(key, v)})
}

// CaptureVariables puts the variables of a prompt on the operation's span, each under a key of its own: the
// first [MaxListed] of them in the order of their names. The rest count as cut. The operator's scrubber is given what these keys begin with, since a peer can choose the rest.
func (o *Operation) CaptureVariables(variables map[string]any) {
	few := make(map[string]any, min(len(variables), MaxListed))
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		if len(few) < MaxListed {
			few[name] = variables[name]
			continue
		}
		o.trimmed += len(name) + content.Size(variables[name])
	}
	for _, kv := range o.captured(semconv.GenAIPromptVariableKey, few).AsMap() {
		o.content = append(o.content, attribute.String(string(semconv.GenAIPromptVariableKey+kv.Key), kv.Value.AsString()))
	}
}

func (o *Operation) captured(key attribute.Key, v any) attribute.Value {
	var ask func(string) string
	if o.rec.scrub != nil {
		ask = func(s string) string { return o.rec.ask(key, s) }
	}
	safe, cut := content.Value(v, ask)
	o.trimmed += cut
	return safe
}

// ContentBytes is how many bytes of captured content the operation keeps, at the most.
func (o *Operation) ContentBytes() int {
	if len(o.content) == 0 {
		return 0
	}
	return content.DefaultTotal
}
