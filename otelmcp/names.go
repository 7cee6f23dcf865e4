// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Which names may stand on metrics and in span names. A program can register
// as many tools as it likes, for each session others, and with names that are not its
// own; the table bounds what becomes of that.

import (
	"context"
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// maxNames bounds how many registered names are told apart. None of them is longer
// than operation.MaxName, which is as long as MCP wants a tool's name to be at most:
// a longer one would stand on the span shortened.
const maxNames = 1024

// nameTable holds the registered names that were used. It is read without a
// lock: the map is replaced, never changed.
type nameTable struct {
	m  atomic.Pointer[map[string]struct{}]
	mu sync.Mutex // serializes replacement
}

func (t *nameTable) has(name string) bool {
	m := t.m.Load()
	if m == nil {
		return false
	}
	_, ok := (*m)[name]
	return ok
}

// admit reports whether name, which is registered on the server, may be told
// apart from others.
func (t *nameTable) admit(rec *operation.Recorder, name string) bool {
	if t.has(name) {
		return true
	}
	if len(name) > operation.MaxName || t.full() || !t.add(name) { // a full one stays full: no message waits for the lock to learn it
		rec.Refuse(semconv.OTelMCPRefusedReasonNameTable)
		return false
	}
	return true
}

func (t *nameTable) full() bool {
	m := t.m.Load()
	return m != nil && len(*m) >= maxNames
}

// add reports whether name is in the table now.
func (t *nameTable) add(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.has(name) {
		return true
	}
	if t.full() {
		return false
	}
	next := map[string]struct{}{strings.Clone(name): {}}
	if m := t.m.Load(); m != nil {
		maps.Copy(next, *m)
	}
	t.m.Store(&next)
	return true
}

// registeredTool reports whether name is a tool of the server or of the
// session in ctx, hidden from it or not. mcp-go has no way to ask for task
// tools; one that was listed or called before is remembered.
func (i *Instrumentation) registeredTool(ctx context.Context, name string) bool {
	if srv := server.ServerFromContext(ctx); srv != nil && srv.GetTool(name) != nil {
		return true
	}
	if _, own := sessionTools(ctx)[name]; own {
		return true
	}
	return i.taskTools.Get(name) != nil || i.taskNames.has(name)
}

func (i *Instrumentation) registeredPrompt(ctx context.Context, name string) bool {
	if i.prompts.Get(name) != nil {
		return true
	}
	srv := server.ServerFromContext(ctx)
	if srv == nil {
		return false
	}
	_, ok := srv.ListPrompts()[name]
	return ok
}

// knownPrompt is for requests that name a prompt without being its call.
func (i *Instrumentation) knownPrompt(ctx context.Context, name string) bool {
	return name != "" && i.registeredPrompt(ctx, name) && i.names.admit(i.rec, name)
}
