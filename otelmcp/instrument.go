// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Instrument: what it installs on a server, and what it returns.

import (
	"sync"
	"sync/atomic"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/definition"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/session"
)

// Instrumentation is the telemetry of one server. Its methods are safe for
// concurrent use. There is nothing to shut down: no goroutine of it outlives a
// message, and what it emitted is flushed by the providers that it emitted to.
type Instrumentation struct {
	base
	srv *server.MCPServer
	own ownPropagators
	// hooks are the server's as they were when it was instrumented, and hookSet is
	// what is ours among them.
	hooks   *server.Hooks
	hookSet *hookSet

	self         *session.Peer // what the server says of itself
	sessions     *session.Table
	tasks        taskTable
	names        nameTable // of everything that was used and is registered
	taskNames    nameTable // of task tools that were called
	wraps        sync.Map  // reflect.Type of a session → wrapper
	tools        *definition.Table[tool]
	taskTools    *definition.Table[tool]
	sessionTools *definition.Table[tool]
	listedTools  listLengths
	prompts      *definition.Table[mcp.Prompt]
	resources    *definition.Table[mcp.Resource]
	filters      filters
	baseline     atomic.Bool // what the server offers as it starts to serve was looked at
	coverage     coverage
	edges        edges
}

var instrumented onceEach[server.MCPServer, Instrumentation]

// Instrument installs the instrumentation on srv. Call it after srv was built
// and before it serves: mcp-go reads what it installs without a lock. Tools,
// prompts, resources, middleware and hooks may be added before or after, but
// recovery belongs before: one that is added later keeps a tool's panic from us,
// which is then recorded as an error like any other.
//
// It takes the server's tracer: mcp-go has one, so a tracer set with
// server.WithTracer no longer runs. Propagators set with server.WithPropagator and
// server.WithMetaPropagator before run as they did, each before ours, and what they
// put into the context reaches handlers, hooks and middleware; which span is the
// parent is decided as without them. It appends to the server's hooks, after those of
// the program. Where the server can send requests to its client,
// handlers find a wrapper as their session (server.ClientSessionFromContext): it
// has the session's id and all of its methods, and is the same for the session's
// whole life, but is not the value that register hooks are given. A sampling
// handler put into the context with server.WithInProcessSamplingHandler is
// wrapped likewise.
//
// Each decision that falls within mcp-go is recorded: by its tool and prompt
// filters, which must be there before (a filter is an option of the server), and
// by the OnRequestInitialization hooks that are there before.
//
// Servers may share their hooks, as a program gives them that makes one for each
// session or request. What is ours among the hooks is added with the first of the
// servers, which must not serve yet while that happens; later ones may be
// instrumented while others serve. "Before", for an OnRequestInitialization hook that
// is shared, is before the first.
//
// A second call for the same server returns the first one's result and ignores
// its options.
func Instrument(srv *server.MCPServer, opts ...Option) *Instrumentation {
	i, _ := instrumented.get(srv, func() *Instrumentation {
		i := newInstrumentation(srv, newConfig(opts))
		i.coverage.expect(i)
		i.install(srv)
		return i
	})
	return i
}

func newInstrumentation(srv *server.MCPServer, cfg *config) *Instrumentation {
	b := newBase(cfg, false)
	rec := b.rec
	i := &Instrumentation{
		base:         b,
		srv:          srv,
		self:         selfOf(srv, rec),
		sessions:     session.NewTable(rec),
		tools:        newToolTable(definition.All).Attach(rec),
		taskTools:    newToolTable(definition.Changes).Attach(rec),
		sessionTools: newToolTable(definition.None).Attach(rec),
		prompts:      newPromptTable().Attach(rec),
		resources:    newResourceTable().Attach(rec),
		filters:      filtersOf(srv),
		edges:        newEdges(),
	}
	return i
}

func (i *Instrumentation) install(srv *server.MCPServer) {
	var known bool
	if i.own, known = ownPropagatorsOf(srv, fieldPropagator, fieldMetaPropagator); !known {
		i.coverage.seen.Or(propagatorsUnknown)
	}
	server.WithTracer(dispatchTracer{i})(srv)
	server.WithPropagator(headerPropagator{i})(srv)
	server.WithMetaPropagator(metaPropagator{i})(srv)
	srv.Use(i.toolMiddleware)
	server.WithPromptHandlerMiddleware(i.promptMiddleware)(srv)
	server.WithResourceHandlerMiddleware(i.resourceMiddleware)(srv)
	hooks := srv.GetHooks()
	if hooks == nil {
		hooks = &server.Hooks{}
		server.WithHooks(hooks)(srv)
	}
	i.hooks, i.hookSet = hooks, hookSetOf(hooks)
	i.hookSet.join(i)
}
