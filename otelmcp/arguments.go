// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// The arguments of a tool call: which of those that its schema declares are
// present, and how large they are. Their values only where the operator asked.

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"
	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/scrub"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// maxArgumentNames caps how many argument names one message may carry. The
// rest of a larger schema counts as present and is not named.
const maxArgumentNames = 64

// arguments are the argument names that a tool's schema declares, and the
// attributes for those combinations of them that calls have had so far.
type arguments struct {
	names  []string // as in the schema, sorted
	mu     sync.RWMutex
	byMask map[uint64]attribute.KeyValue
}

// newArguments reads the argument names of t's schema.
func newArguments(t *mcp.Tool) *arguments {
	properties := t.InputSchema.Properties
	if t.RawInputSchema != nil {
		var schema struct {
			Properties map[string]any `json:"properties"`
		}
		if json.Unmarshal(t.RawInputSchema, &schema) == nil {
			properties = schema.Properties
		}
	}
	return &arguments{names: slices.Sorted(maps.Keys(properties))}
}

// present returns the names that args has as an attribute, without a key when
// there are none, and their number.
func (a *arguments) present(args map[string]any) (attribute.KeyValue, int) {
	var mask uint64
	n := 0
	for k, name := range a.names {
		if _, ok := args[name]; ok {
			n++
			if k < maxArgumentNames {
				mask |= 1 << k
			}
		}
	}
	if mask == 0 {
		return attribute.KeyValue{}, n
	}
	a.mu.RLock()
	kv, ok := a.byMask[mask]
	a.mu.RUnlock()
	if ok {
		return kv, n
	}
	var names []string
	for k, name := range a.names[:min(len(a.names), maxArgumentNames)] {
		if mask&(1<<k) != 0 {
			names = append(names, scrub.Name(name, operation.MaxName))
		}
	}
	kv = semconv.OTelMCPToolArgumentsNamesKey.StringSlice(names)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byMask == nil {
		a.byMask = make(map[uint64]attribute.KeyValue)
	}
	if len(a.byMask) < maxCombinations {
		a.byMask[mask] = kv
	}
	return kv, n
}

// maxCombinations bounds the cache of one tool.
const maxCombinations = 256

func (i *Instrumentation) describeArguments(ctx context.Context, m *message, r *mcp.CallToolRequest) {
	m.ArgumentsSize = len(r.Params.RawArguments)
	tool := i.lookupTool(ctx, r.Params.Name)
	if tool != nil {
		m.ToolDigest = tool.Digest()
	}
	args := r.GetArguments()
	if len(args) == 0 {
		return
	}
	switch {
	case tool != nil:
		var present int
		m.ArgumentNames, present = tool.Value.arguments.present(args)
		m.Undeclared = len(args) - present
	case !i.registeredTool(ctx, r.Params.Name): // a task tool's schema is not known before it is listed
		m.Undeclared = len(args)
	}
	if i.cfg.content&Arguments != 0 && m.Recording() {
		v, cut := i.capture(args)
		m.Content = append(m.Content, attribute.KeyValue{Key: semconv.GenAIToolCallArgumentsKey, Value: v})
		m.ContentTrimmed += cut
	}
}
