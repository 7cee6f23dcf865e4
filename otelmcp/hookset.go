// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// The hooks that a program has may be those of many servers: one for each session,
// or for each request. What is ours among them is added once, with the first of these
// servers, and nothing of a Hooks is written after that: mcp-go reads it without a
// lock. Whose message it is that a hook is called for, it finds out when it is called.

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"weak"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/pending"
)

// hookSet is what is ours among a program's hooks. It is alive as long as they are, and
// keeps no server alive.
type hookSet struct {
	mu sync.Mutex
	// servers have these hooks, the latest last. It is appended to, or replaced: who has
	// read it keeps what it read.
	servers []weak.Pointer[Instrumentation]
	gone    int // how many of them are, at least
	// sessions are those that are open and remembered, by the id that mcp-go gave them, or
	// a hash of one that is long.
	sessions map[string][]weak.Pointer[Instrumentation]
}

var hookSets onceEach[server.Hooks, hookSet]

// hookSetOf returns what is ours among the hooks, and adds it if nothing is.
func hookSetOf(hooks *server.Hooks) *hookSet {
	h, _ := hookSets.get(hooks, func() *hookSet {
		h := &hookSet{sessions: make(map[string][]weak.Pointer[Instrumentation])}
		h.addTo(hooks)
		return h
	})
	return h
}

// addTo adds ours. A list may be another Hooks' as well, whose server serves, so none is
// written to.
func (h *hookSet) addTo(hooks *server.Hooks) {
	// The first of these that returns an error is the last one that is called.
	initialization := []server.OnRequestInitializationFunc{h.onRequestInitialization}
	for _, hook := range hooks.OnRequestInitialization {
		initialization = append(initialization, h.watchInitialization(hook))
	}
	hooks.OnRequestInitialization = initialization
	hooks.OnRegisterSession = append(slices.Clip(hooks.OnRegisterSession), h.onRegisterSession)
	hooks.OnUnregisterSession = append(slices.Clip(hooks.OnUnregisterSession), h.onUnregisterSession)
	hooks.OnBeforeAny = append(slices.Clip(hooks.OnBeforeAny), h.onBeforeAny)
	hooks.OnSuccess = append(slices.Clip(hooks.OnSuccess), h.onSuccess)
	hooks.OnError = append(slices.Clip(hooks.OnError), h.onError)
}

// of returns the instrumentation of the server that handles a request in ctx, or nil:
// it need not be instrumented. One whose hooks are a copy of these has a set of its own.
func (h *hookSet) of(ctx context.Context) *Instrumentation {
	if i := instrumentationOf(server.ServerFromContext(ctx)); i != nil && i.hookSet == h {
		return i
	}
	return nil
}

func (h *hookSet) onRequestInitialization(ctx context.Context, id, raw any) error {
	if i := h.of(ctx); i != nil {
		return i.onRequestInitialization(ctx, id, raw)
	}
	return nil
}

func (h *hookSet) watchInitialization(hook server.OnRequestInitializationFunc) server.OnRequestInitializationFunc {
	return func(ctx context.Context, id, raw any) error {
		if i := h.of(ctx); i != nil {
			return i.askInitialization(ctx, id, raw, hook)
		}
		return hook(ctx, id, raw)
	}
}

func (h *hookSet) onBeforeAny(ctx context.Context, id any, method mcp.MCPMethod, request any) {
	if i := h.of(ctx); i != nil {
		i.onBeforeAny(ctx, id, method, request)
	}
}

func (h *hookSet) onSuccess(ctx context.Context, id any, method mcp.MCPMethod, request, answer any) {
	if i := h.of(ctx); i != nil {
		i.onSuccess(ctx, id, method, request, answer)
	}
}

func (h *hookSet) onError(ctx context.Context, id any, method mcp.MCPMethod, request any, err error) {
	if id == nil { // every request has an id
		h.onUndelivered(ctx, request)
		return
	}
	if i := h.of(ctx); i != nil {
		i.onError(ctx, id, method, request, err)
	}
}

// Session hooks are not told which server they are called for. A session that starts
// is that of the server whose edge it comes through, if that has it: then nothing is
// searched for. Otherwise it is one's that has it, and that is looked for among the
// servers, the latest first, since it most often is the one that was just made: once for
// each session that starts without an edge, which costs the more the more servers share
// the hooks.

func (h *hookSet) onRegisterSession(ctx context.Context, s server.ClientSession) {
	i := h.ownerOf(ctx, s)
	if i == nil { // not instrumented
		return
	}
	defer i.rec.Guard()
	i.onRegisterSession(ctx, s)
	key := pending.Key(s.SessionID())
	if i.sessions.Get(s.SessionID()) == nil { // there was no room for it
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions[key] = append(h.sessions[key], weak.Make(i))
}

func (h *hookSet) ownerOf(ctx context.Context, s server.ClientSession) (owner *Instrumentation) {
	if i := edgeOwner(ctx); i != nil && i.hookSet == h && i.has(s) {
		return i
	}
	h.mu.Lock()
	servers := h.servers
	h.mu.Unlock()
	for _, w := range slices.Backward(servers) {
		i := w.Value()
		if i == nil || !i.has(s) {
			continue
		}
		if i.sessions.Get(s.SessionID()) == nil {
			return i
		}
		owner = i // it has one with that id since before
	}
	return owner
}

// edgeOwner returns whose edge ctx came through last, or nil.
func edgeOwner(ctx context.Context) *Instrumentation {
	switch e := ctx.Value(edgeKey{}).(type) {
	case *exchange:
		return e.i
	case *lines:
		return e.i
	}
	return nil
}

// has is owns, of a session that may be of the program's own type.
func (i *Instrumentation) has(s server.ClientSession) (has bool) {
	defer i.rec.Guard()
	return i.owns(s)
}

func (h *hookSet) onUnregisterSession(ctx context.Context, s server.ClientSession) {
	if i := h.take(s); i != nil {
		i.onUnregisterSession(ctx, s)
	}
}

// take returns whose session it was that ended, and forgets it.
func (h *hookSet) take(s server.ClientSession) (owner *Instrumentation) {
	key := pending.Key(s.SessionID())
	h.mu.Lock()
	owners, servers := h.sessions[key], h.servers
	h.mu.Unlock()
	if len(owners) == 0 { // it was refused, if it is anyone's
		for _, w := range slices.Backward(servers) {
			if i := w.Value(); i != nil && i.sessions.Refused() {
				return i
			}
		}
		return nil
	}
	// mcp-go forgets it before it calls the hooks. Where several servers have one with
	// that id, it is that of the one that has none any more.
	var taken weak.Pointer[Instrumentation]
	for _, w := range owners {
		i := w.Value()
		if i == nil {
			continue
		}
		owner, taken = i, w
		if len(owners) == 1 || !i.has(s) {
			break
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	rest := slices.DeleteFunc(slices.Clone(h.sessions[key]), func(w weak.Pointer[Instrumentation]) bool { return w == taken })
	if len(rest) == 0 {
		delete(h.sessions, key)
	} else {
		h.sessions[key] = rest
	}
	return owner
}

// inSession returns the instrumentation of a server that has a session with the id, or
// nil.
func (h *hookSet) inSession(id string) *Instrumentation {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.sessions[pending.Key(id)] {
		if i := w.Value(); i != nil {
			return i
		}
	}
	return nil
}

// join says that i is the instrumentation of a server with these hooks.
func (h *hookSet) join(i *Instrumentation) {
	h.mu.Lock()
	h.servers = append(h.servers, weak.Make(i))
	h.mu.Unlock()
	runtime.AddCleanup(i, (*hookSet).left, h)
}

// left is told that one of the servers is gone. When as many are gone as are left, all
// that is theirs is forgotten: so it costs the same for each, however many there are.
func (h *hookSet) left() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone++
	if h.gone <= len(h.servers)/2 {
		return
	}
	gone := func(w weak.Pointer[Instrumentation]) bool { return w.Value() == nil }
	h.servers = slices.Clip(slices.DeleteFunc(slices.Clone(h.servers), gone))
	sessions := make(map[string][]weak.Pointer[Instrumentation])
	for key, owners := range h.sessions {
		if rest := slices.DeleteFunc(slices.Clone(owners), gone); len(rest) > 0 {
			sessions[key] = rest
		}
	}
	h.sessions, h.gone = sessions, 0
}
