// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Instrument: what it installs on a server, and what it returns.

import (
	"runtime"
	"sync"
	"weak"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/definition"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/session"
)

// Instrumentation is the telemetry of one server. Its methods are safe for
// concurrent use. There is nothing to shut down: it starts no goroutine, and
// what it emitted is flushed by the providers that it emitted to.
type Instrumentation struct {
	srv *server.MCPServer
	cfg *config
	rec *operation.Recorder
	// hooks are the server's as they were when ours were appended.
	hooks *server.Hooks

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
	baseline     sync.Once
	coverage     coverage
	edges        edges
}

// instrumented finds a server's Instrumentation without keeping either alive.
var instrumented struct {
	mu sync.Mutex
	m  map[weak.Pointer[server.MCPServer]]weak.Pointer[Instrumentation]
}

// Instrument installs the instrumentation on srv. Call it after srv was built
// and before it serves: mcp-go reads what it installs without a lock. Tools,
// prompts, resources, middleware and hooks may be added before or after, but
// recovery belongs before: one that is added later keeps a tool's panic from us,
// which is then recorded as an error like any other.
//
// It takes the server's tracer and propagators (mcp-go has one of each, so a
// tracer set with server.WithTracer no longer runs) and appends to its hooks,
// after those of the program. Where the server can send requests to its client,
// handlers find a wrapper as their session (server.ClientSessionFromContext): it
// has the session's id and all of its methods, and is the same for the session's
// whole life, but is not the value that register hooks are given. A sampling
// handler put into the context with server.WithInProcessSamplingHandler is
// wrapped likewise.
//
// A second call for the same server returns the first one's result and ignores
// its options.
func Instrument(srv *server.MCPServer, opts ...Option) *Instrumentation {
	i, fresh := instrumentOnce(srv, opts)
	if fresh {
		i.reportCoverage() // without the lock: it calls the operator's processors
	}
	return i
}

func instrumentOnce(srv *server.MCPServer, opts []Option) (i *Instrumentation, fresh bool) {
	key := weak.Make(srv)
	instrumented.mu.Lock()
	defer instrumented.mu.Unlock()
	if i := instrumented.m[key].Value(); i != nil {
		return i, false
	}
	i = newInstrumentation(srv, newConfig(opts))
	i.install(srv)
	if instrumented.m == nil {
		instrumented.m = make(map[weak.Pointer[server.MCPServer]]weak.Pointer[Instrumentation])
	}
	instrumented.m[key] = weak.Make(i) // srv itself keeps i alive, through its tracer
	runtime.AddCleanup(srv, func(key weak.Pointer[server.MCPServer]) {
		instrumented.mu.Lock()
		defer instrumented.mu.Unlock()
		delete(instrumented.m, key)
	}, key)
	return i, true
}

func newInstrumentation(srv *server.MCPServer, cfg *config) *Instrumentation {
	rec := operation.New(operation.Config{
		ScopeName:      ScopeName,
		ScopeVersion:   Version(),
		TracerProvider: cfg.tracerProvider,
		MeterProvider:  cfg.meterProvider,
		LoggerProvider: cfg.loggerProvider,
		Attributes:     cfg.attributes,
		Scrub:          cfg.scrub,
	})
	i := &Instrumentation{
		srv:          srv,
		cfg:          cfg,
		rec:          rec,
		sessions:     session.NewTable(rec),
		tools:        newToolTable(definition.All).Attach(rec),
		taskTools:    newToolTable(definition.Changes).Attach(rec),
		sessionTools: newToolTable(definition.None).Attach(rec),
		prompts:      newPromptTable().Attach(rec),
		resources:    newResourceTable().Attach(rec),
		edges:        newEdges(),
	}
	return i
}

func (i *Instrumentation) install(srv *server.MCPServer) {
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
	i.addHooks(hooks)
	i.hooks = hooks
}
