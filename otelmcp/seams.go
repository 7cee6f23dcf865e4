// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// What a server of mcp-go has installed and has no getter for. A field that is gone, or of
// another type, is not known: then a seam counts as in place, and a filter as absent.
//
// mcp-go reads these fields without a lock while it serves. So may who is called by it,
// and nobody else: the program sets them in its own time.

import (
	"github.com/mark3labs/mcp-go/server"
	"github.com/mark3labs/mcp-go/tracing"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/session"
)

func fieldOf[T any](name string) privateField[server.MCPServer, T] {
	return privateFieldOf[server.MCPServer, T](name)
}

var (
	fieldTracer         = fieldOf[tracing.Tracer]("tracer")
	fieldPropagator     = fieldOf[tracing.Propagator]("propagator")
	fieldMetaPropagator = fieldOf[tracing.MetaPropagator]("metaPropagator")
	fieldToolFilters    = fieldOf[[]server.ToolFilterFunc]("toolFilters")
	fieldPromptFilters  = fieldOf[[]server.PromptFilterFunc]("promptFilters")
	fieldName           = fieldOf[string]("name")
	fieldVersion        = fieldOf[string]("version")
)

// selfOf returns what a server says of itself in a handshake.
func selfOf(srv *server.MCPServer, rec *operation.Recorder) *session.Peer {
	name, _ := fieldName.of(srv)
	version, _ := fieldVersion.of(srv)
	return session.NewRemote(rec, name, version, "")
}

// filters say whether the server hides tools, and prompts, from some.
type filters struct{ tools, prompts bool }

// filtersOf is for a server that does not serve yet.
func filtersOf(srv *server.MCPServer) filters {
	tools, _ := fieldToolFilters.of(srv)
	prompts, _ := fieldPromptFilters.of(srv)
	return filters{tools: len(tools) > 0, prompts: len(prompts) > 0}
}

// checkSeams looks whether the seams of ours are still the server's. It is asked of the
// server, and not concluded from what a message did or did not pass through: what a
// message passes through is up to its peer. mcp-go must be handling a message of the
// server's.
func (i *Instrumentation) checkSeams() {
	if t, known := fieldTracer.of(i.srv); known && t != tracing.Tracer(dispatchTracer{i}) {
		i.coverage.seamLost(i, "tracer")
	}
	h, knownHeader := fieldPropagator.of(i.srv)
	m, knownMeta := fieldMetaPropagator.of(i.srv)
	if knownHeader && h != tracing.Propagator(headerPropagator{i}) || knownMeta && m != tracing.MetaPropagator(metaPropagator{i}) {
		i.coverage.seamLost(i, "propagator")
	}
	i.hooked()
}

// hooked reports whether the hooks that ours are among are still the server's. A
// program can replace them all with server.WithHooks.
func (i *Instrumentation) hooked() bool {
	if i.srv.GetHooks() == i.hooks {
		return true
	}
	i.coverage.seamLost(i, "hooks")
	return false
}

// instrumentationOf returns what srv was instrumented with, or nil. It finds it by the
// seams, which need no lock; only where the program has replaced all three, or they
// are not known, does it look srv up. srv may be nil.
func instrumentationOf(srv *server.MCPServer) *Instrumentation {
	if srv == nil {
		return nil
	}
	if t, ok := fieldMetaPropagator.of(srv); ok {
		if p, ok := t.(metaPropagator); ok {
			return p.i
		}
	}
	if t, ok := fieldTracer.of(srv); ok {
		if t, ok := t.(dispatchTracer); ok {
			return t.i
		}
	}
	return instrumented.find(srv)
}
