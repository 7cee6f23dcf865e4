// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package hostile_test

// The server under attack. What its handlers do is told by the arguments of the
// call, and a play knows how each call ended.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// secret stands in arguments, results and bodies: it leaves the process nowhere.
const secret = "canary-5ecret-of-the-arguments"

// refusal makes the program's own hook refuse a message that it stands in.
const refusal = "turn-me-away"

// play is what the handlers of one server and a test tell each other. A rehearsal
// waits for nobody: it says how the server answers a message.
type play struct {
	rehearsal bool

	mu      sync.Mutex
	acts    map[string]*act // by the nonce of the call
	curtain bool            // nothing is held any more
}

// act is what became of one call.
type act struct {
	entered  chan struct{} // closed when the handler runs
	release  chan struct{} // closed when it may go on
	ran      bool
	ended    bool
	canceled bool // it saw that it was
	late     bool // its context had ended before its failure was recorded
	// What it sent: requests to the client by how they ended, and notifications
	// that found no room.
	asked   []string
	blocked int
}

func newPlay() *play { return &play{acts: map[string]*act{}} }

// reset forgets all calls.
func (p *play) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acts, p.curtain = map[string]*act{}, false
}

func (p *play) act(nonce string) *act {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := p.acts[nonce]
	if !ok {
		a = &act{entered: make(chan struct{}), release: make(chan struct{})}
		if p.curtain {
			close(a.release)
		}
		p.acts[nonce] = a
	}
	return a
}

// let releases a call, once.
func (p *play) let(nonce string) {
	a := p.act(nonce)
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-a.release:
	default:
		close(a.release)
	}
}

// letAll releases what is held, and what will be.
func (p *play) letAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.curtain = true
	for _, a := range p.acts {
		select {
		case <-a.release:
		default:
			close(a.release)
		}
	}
}

// seen returns what is known of a call by now.
func (p *play) seen(nonce string) act {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a, ok := p.acts[nonce]; ok {
		return act{ran: a.ran, ended: a.ended, canceled: a.canceled, late: a.late, asked: a.asked, blocked: a.blocked}
	}
	return act{}
}

// begin and end are called by the handlers.
func (p *play) begin(nonce string) *act {
	a := p.act(nonce)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !a.ran {
		a.ran = true
		close(a.entered)
	}
	return a
}

func (p *play) tell(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// hold waits until the call is released, or canceled.
func (p *play) hold(ctx context.Context, a *act) error {
	if p.rehearsal {
		return ctx.Err()
	}
	select {
	case <-a.release:
		return nil
	case <-ctx.Done():
		p.tell(func() { a.canceled = true })
		return ctx.Err()
	}
}

// errOwn is a failure that has nothing to do with a cancellation.
var errOwn = errors.New("db down")

// newServer returns a server whose handlers play p. Recovered says that a tool that
// panics is recovered by mcp-go's own middleware.
func newServer(p *play, recovered bool) *server.MCPServer {
	opts := []server.ServerOption{
		server.WithToolCapabilities(true), server.WithPromptCapabilities(true), server.WithResourceCapabilities(true, true),
		server.WithLogging(), server.WithElicitation(), server.WithRoots(), server.WithCompletions(), server.WithHooks(p.hooks()),
	}
	if recovered {
		opts = append(opts, server.WithRecovery())
	}
	s := server.NewMCPServer("hostile", "1", opts...)
	s.EnableSampling()
	text := mcp.NewToolResultText
	p.tool(s, "echo", func(_ context.Context, _ *act, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return text(r.GetString("nonce", "")), nil
	})
	p.tool(s, "fails", func(_ context.Context, _ *act, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultError(r.GetString("nonce", "")), nil
	})
	p.tool(s, "errs", func(_ context.Context, _ *act, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return nil, fmt.Errorf("%w: %s", errOwn, r.GetString("nonce", ""))
	})
	p.tool(s, "panics", func(_ context.Context, _ *act, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		panic("oh " + r.GetString("nonce", ""))
	})
	p.tool(s, "holds", func(ctx context.Context, a *act, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if err := p.hold(ctx, a); err != nil {
			return nil, fmt.Errorf("%w: %s", err, r.GetString("nonce", ""))
		}
		return text(r.GetString("nonce", "")), nil
	})
	p.tool(s, "holds_and_fails", func(ctx context.Context, a *act, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if err := p.hold(ctx, a); err != nil {
			return nil, fmt.Errorf("%w: %s", err, r.GetString("nonce", ""))
		}
		return nil, fmt.Errorf("%w: %s", errOwn, r.GetString("nonce", ""))
	})
	p.tool(s, "notifies", func(ctx context.Context, a *act, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		blocked := 0
		for range r.GetInt("n", 1) {
			if p.rehearsal {
				break
			}
			if server.ServerFromContext(ctx).SendNotificationToClient(ctx, "notifications/progress",
				map[string]any{"progressToken": r.GetString("nonce", ""), "progress": 1}) != nil {
				blocked++
			}
		}
		p.tell(func() { a.blocked = blocked })
		return text(r.GetString("nonce", "")), nil
	})
	p.tool(s, "asks", p.ask)
	p.tool(s, "unspeakable", func(_ context.Context, _ *act, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultStructured(map[string]any{"n": math.NaN()}, r.GetString("nonce", "")), nil
	})
	p.prompts(s)
	s.AddResource(mcp.NewResource("note://one", "one"), p.read)
	s.AddResourceTemplate(mcp.NewResourceTemplate("page://{id}", "page"), p.read)
	return s
}

// hooks are the program's own.
func (p *play) hooks() *server.Hooks {
	h := &server.Hooks{}
	h.AddOnRequestInitialization(func(_ context.Context, _, message any) error {
		if raw, ok := message.(json.RawMessage); ok && bytes.Contains(raw, []byte(refusal)) {
			return errors.New("not you")
		}
		return nil
	})
	h.AddOnError(func(ctx context.Context, _ any, _ mcp.MCPMethod, message any, _ error) { // with one, a notification that finds no room tells
		nonce := ""
		switch r := message.(type) {
		case *mcp.CallToolRequest:
			nonce = r.GetString("nonce", "")
		case *mcp.GetPromptRequest:
			nonce = r.Params.Arguments["nonce"]
		}
		if nonce != "" && ctx.Err() != nil { // since the handler looked, or later than it could
			a := p.act(nonce)
			p.tell(func() { a.late = true })
		}
	})
	return h
}

// tool adds a tool that plays its part.
func (p *play) tool(s *server.MCPServer, name string, f func(context.Context, *act, mcp.CallToolRequest) (*mcp.CallToolResult, error)) {
	s.AddTool(mcp.NewTool(name, mcp.WithString("nonce")), func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		a := p.begin(r.GetString("nonce", ""))
		defer p.tell(func() { a.ended, a.late = true, ctx.Err() != nil })
		return f(ctx, a, r)
	})
}

func (p *play) prompts(s *server.MCPServer) {
	prompt := func(name string, f func(context.Context, *act, string) error) {
		s.AddPrompt(mcp.NewPrompt(name, mcp.WithArgument("nonce")), func(ctx context.Context, r mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			nonce := r.Params.Arguments["nonce"]
			a := p.begin(nonce)
			defer p.tell(func() { a.ended, a.late = true, ctx.Err() != nil })
			if err := f(ctx, a, nonce); err != nil {
				return nil, err
			}
			return mcp.NewGetPromptResult(nonce, nil), nil
		})
	}
	prompt("greets", func(context.Context, *act, string) error { return nil })
	prompt("errs", func(_ context.Context, _ *act, nonce string) error { return fmt.Errorf("%w: %s", errOwn, nonce) })
	prompt("panics", func(_ context.Context, _ *act, nonce string) error { panic("oh " + nonce) })
	prompt("holds", func(ctx context.Context, a *act, nonce string) error {
		if err := p.hold(ctx, a); err != nil {
			return fmt.Errorf("%w: %s", err, nonce)
		}
		return nil
	})
}

func (*play) read(_ context.Context, r mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
	return []mcp.ResourceContents{mcp.TextResourceContents{URI: r.Params.URI, Text: secret}}, nil
}

// ask sends a request of the server's. What a call asks for, and how that goes, its
// arguments say; the answer says it again, and nothing that a client chose.
func (p *play) ask(ctx context.Context, a *act, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	nonce, what, how := r.GetString("nonce", ""), r.GetString("what", ""), r.GetString("how", "")
	said := func() (*mcp.CallToolResult, error) {
		if err := ctx.Err(); err != nil {
			p.tell(func() { a.canceled = true })
			return nil, fmt.Errorf("%w: %s", err, nonce)
		}
		return mcp.NewToolResultText(nonce + " " + what + " " + how), nil
	}
	if p.rehearsal {
		return said()
	}
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	if how == givenUp {
		cancel()
	}
	srv := server.ServerFromContext(ctx)
	var err error
	switch what {
	case "sampling":
		_, err = srv.RequestSampling(limited, //nolint:staticcheck // Deprecated, and spoken.
			mcp.CreateMessageRequest{CreateMessageParams: mcp.CreateMessageParams{
				Messages:  []mcp.SamplingMessage{{Role: mcp.RoleUser, Content: mcp.NewTextContent(nonce)}},
				MaxTokens: 1,
			}})
	case "elicitation":
		_, err = srv.RequestElicitation(limited, mcp.ElicitationRequest{Params: mcp.ElicitationParams{
			Message: nonce, RequestedSchema: map[string]any{"type": "object", "properties": map[string]any{}},
		}})
	default:
		_, err = srv.RequestRoots(limited, mcp.ListRootsRequest{})
	}
	outcome := "ok"
	switch {
	case errors.Is(err, context.Canceled):
		outcome = "cancelled"
	case err != nil:
		outcome = "error"
	}
	p.tell(func() { a.asked = append(a.asked, outcome) })
	return said()
}

// How a request of the server's ends.
const (
	accepted = "accepted"
	refused  = "refused"
	givenUp  = "given up" // before the client can answer, who does so late
)
