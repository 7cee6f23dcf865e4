// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The part to copy: an MCP server that only lets in who has a token for it, and
// records each of its decisions. There are four places where it decides.
//
//   - otelmcp.RequireBearer, inside of Handler: whether the token is valid, is meant
//     for this server, and grants the scope that every request needs.
//   - The same, for the session: whether it belongs to who uses it.
//   - server.WithToolFilter: which tools there are for somebody with these roles.
//   - requireScope, around the handler of a tool: what that one tool needs.
//
// The first three need no line of telemetry; the last needs one.

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
	"github.com/otelmcp/otelmcp-go/verifier"
)

const (
	endpointPath = "/mcp"

	toolSearch = "search_notes"
	toolAdd    = "add_note"  // needs scopeWrite
	toolPurge  = "purge_all" // is there for roleAdmin only

	scopeRead  = "notes:read" // every request needs it
	scopeWrite = "notes:write"
	roleAdmin  = "admin"

	// Policies have names, so that a decision says which one made it.
	policyRoles  = "tools-by-role"
	policyScopes = "scopes-by-tool"
)

// protect is the whole of the HTTP side: the MCP endpoint, which wants a token,
// and the metadata that says where to get one (RFC 9728), which does not.
func protect(srv *server.MCPServer, mcpHandler http.Handler, resource, issuer string, verify otelmcp.TokenVerifier) http.Handler {
	inst := otelmcp.Instrument(srv, otelmcp.WithFilterPolicy(policyRoles))
	guard := otelmcp.RequireBearer(verify,
		otelmcp.WithResource(resource), // no token that is meant for somebody else
		otelmcp.WithScopes(scopeRead),
	)
	mux := http.NewServeMux()
	mux.Handle(endpointPath, inst.Handler(guard(mcpHandler)))
	mux.Handle(server.ProtectedResourceMetadataPath(resource), server.NewProtectedResourceMetadataHandler(
		server.ProtectedResourceMetadataConfig{
			Resource:               resource,
			ResourceName:           "Notes",
			AuthorizationServers:   []string{issuer},
			ScopesSupported:        []string{scopeRead, scopeWrite},
			BearerMethodsSupported: []string{"header"},
		}))
	return mux
}

// newVerifier knows what a token is worth: a JWT by the keys of the authorization
// server, any other by asking it. It does not use the network before there is a
// token.
func newVerifier(ctx context.Context, resource, issuer, id, password string) (*verifier.Verifier, error) {
	return verifier.New(ctx, verifier.Config{
		Issuer:   issuer,
		Audience: []string{resource},
		Introspection: &verifier.Introspection{
			URL: issuer + "/introspect", ClientID: id, ClientSecret: password,
			CacheTime: time.Nanosecond, // ask each time: a revocation counts at once
		},
	})
}

// newServer builds the MCP server, with a tool of each kind.
func newServer() *server.MCPServer {
	srv := server.NewMCPServer("notes", "1.0.0",
		server.WithRecovery(),
		server.WithToolCapabilities(false),
		server.WithToolFilter(toolsByRole), // what it hides cannot be called, either
	)
	n := &notes{texts: []string{"water the plants", "call the plumber"}}
	srv.AddTool(mcp.NewTool(toolSearch,
		mcp.WithDescription("finds notes that contain a word"),
		mcp.WithString("word", mcp.Required()),
	), n.search)
	srv.AddTool(mcp.NewTool(toolAdd,
		mcp.WithDescription("adds a note"),
		mcp.WithString("text", mcp.Required()),
	), requireScope(scopeWrite, n.add))
	srv.AddTool(mcp.NewTool(toolPurge, mcp.WithDescription("removes all notes of all users")), n.purge)
	return srv
}

// toolsByRole leaves out what is not there for who asks.
func toolsByRole(ctx context.Context, tools []mcp.Tool) []mcp.Tool {
	info := otelmcp.TokenInfoFromContext(ctx)
	if info != nil && slices.Contains(info.Roles, roleAdmin) {
		return tools
	}
	visible := make([]mcp.Tool, 0, len(tools)) // not tools[:0]: the slice is the server's
	for k := range tools {
		if tools[k].Name != toolPurge {
			visible = append(visible, tools[k])
		}
	}
	return visible
}

// requireScope is for a tool that needs more than every request does. The token
// was verified before; what is decided here is recorded on the same request.
func requireScope(scope string, next server.ToolHandlerFunc) server.ToolHandlerFunc {
	return func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		decision := otelmcp.AuthDecision{
			Reason:         semconv.OTelMCPAuthReasonInsufficientScope,
			ScopesRequired: []string{scope},
			Policy:         policyScopes,
		}
		if info := otelmcp.TokenInfoFromContext(ctx); info != nil {
			decision.ScopesGranted = info.Scopes
			if slices.Contains(info.Scopes, scope) {
				decision.Reason = semconv.OTelMCPAuthReasonOK
			}
		}
		otelmcp.RecordAuthDecision(ctx, decision)
		if decision.Reason != semconv.OTelMCPAuthReasonOK {
			return mcp.NewToolResultErrorf("this tool needs a token with the scope %s", scope), nil
		}
		return next(ctx, req)
	}
}

// notes are what the tools work on. They know nothing of who may what.
type notes struct {
	mu    sync.Mutex
	texts []string
}

func (n *notes) search(_ context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var found []string
	for _, text := range n.texts {
		if strings.Contains(text, req.GetString("word", "")) {
			found = append(found, text)
		}
	}
	return mcp.NewToolResultText(strings.Join(found, "\n")), nil
}

func (n *notes) add(_ context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	const most = 100
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.texts) >= most {
		return mcp.NewToolResultError("there is no room for another note"), nil
	}
	n.texts = append(n.texts, req.GetString("text", ""))
	return mcp.NewToolResultText("noted"), nil
}

func (n *notes) purge(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.texts = nil
	return mcp.NewToolResultText("all notes are gone"), nil
}
