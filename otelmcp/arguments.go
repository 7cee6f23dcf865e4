// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// The arguments of a tool call: which of those that its schema declares are
// present, and how large they are. Their values only where the operator asked.

import (
	"context"
	"encoding/json"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// maxArgumentNames caps how many argument names one message may carry. The
// rest of a larger schema counts as present and is not named.
const maxArgumentNames = 64

// arguments are the argument names that a tool's schema declares, and the
// attributes for those combinations of them that calls have had so far.
type arguments struct {
	names  []string // as in the schema, sorted
	size   int      // bytes that names takes
	mu     sync.RWMutex
	byMask map[uint64]*operation.SafeList
	kept   *atomic.Int64 // bytes that byMask takes; nil before the first
}

// newArguments is for a tool whose schema has these properties.
func newArguments[T any](properties map[string]T) *arguments {
	a := &arguments{names: slices.Sorted(maps.Keys(properties))}
	for _, name := range a.names {
		a.size += len(name) + int(unsafe.Sizeof(name))
	}
	return a
}

// renewed is a, if the properties are those that it was made of.
func renewed[T any](a *arguments, properties map[string]T) *arguments {
	next := newArguments(properties)
	if a != nil && slices.Equal(a.names, next.names) {
		return a
	}
	return next
}

// argumentsOf reads the argument names of t's schema.
func argumentsOf(t *mcp.Tool) *arguments {
	properties := t.InputSchema.Properties
	if t.RawInputSchema != nil {
		var schema struct {
			Properties map[string]any `json:"properties"`
		}
		if json.Unmarshal(t.RawInputSchema, &schema) == nil {
			properties = schema.Properties
		}
	}
	return newArguments(properties)
}

// present returns the names that args has as an attribute, nil when there are
// none, and their number.
func (a *arguments) present(rec *operation.Recorder, args map[string]any) (*operation.SafeList, int) {
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
	return a.named(rec, mask), n
}

// find returns the place of a name among those that are declared. a may be nil.
func (a *arguments) find(name []byte) (k int, ok bool) {
	if a == nil {
		return 0, false
	}
	return slices.BinarySearchFunc(a.names, name, func(declared string, name []byte) int {
		return strings.Compare(declared, string(name))
	})
}

// named returns the names at the places in mask as an attribute, nil when there are
// none.
func (a *arguments) named(rec *operation.Recorder, mask uint64) *operation.SafeList {
	if mask == 0 {
		return nil
	}
	a.mu.RLock()
	known := a.byMask[mask]
	a.mu.RUnlock()
	if known != nil {
		return known
	}
	var names []string
	for k, name := range a.names[:min(len(a.names), maxArgumentNames)] {
		if mask&(1<<k) != 0 {
			names = append(names, name)
		}
	}
	known = rec.SafeList(semconv.OTelMCPToolArgumentsNamesKey, names)
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.byMask) < maxCombinations && a.grow(names) {
		a.byMask[mask] = known
	}
	return known
}

// The bounds of the caches: of one tool in combinations, which its callers choose, and
// of all tools of the process in bytes. Beyond them an attribute is made for each call:
// slower, never wrong.
const (
	maxCombinations     = 256
	maxCombinationBytes = 32 << 20
)

// combinationBytes is how many bytes the caches of all tools take.
var combinationBytes atomic.Int64

// grow reports whether there is room for one more combination. The lock is held.
func (a *arguments) grow(names []string) bool {
	const overhead = 256 // the attribute and its place in the map
	n := int64(overhead)
	for _, name := range names {
		n += int64(len(name)) + int64(unsafe.Sizeof(name))
	}
	if combinationBytes.Add(n) > maxCombinationBytes {
		combinationBytes.Add(-n)
		return false
	}
	if a.byMask == nil {
		a.byMask, a.kept = make(map[uint64]*operation.SafeList), new(atomic.Int64)
		runtime.AddCleanup(a, func(kept *atomic.Int64) { combinationBytes.Add(-kept.Load()) }, a.kept)
	}
	a.kept.Add(n)
	return true
}

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
		m.ArgumentNames, present = tool.Value.arguments.present(i.rec, args)
		m.Undeclared = len(args) - present
	case !i.registeredTool(ctx, r.Params.Name): // a task tool's schema is not known before it is listed
		m.Undeclared = len(args)
	}
	i.captureArguments(&m.Operation, args)
}
