// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package bench

// What is measured: the workloads within this process. Those of real transports are in wire.go.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// The ways that a message takes, each of which sees other things.
const (
	byDispatch = "HandleMessage"
	byHTTP     = "HTTP"
	byStdio    = "stdio"
	byClient   = "client"
)

// workload is something that each contender does, many times over.
type workload struct {
	name  string
	by    string
	wired bool // a process and a connection of its own
	start func(context.Context, Contender) (runner, error)
}

// runner is one contender at one workload.
type runner interface {
	run(n int) error
	usage() (usage, error)
	close()
}

// takesPart reports whether the contender has anything to show there.
func (w workload) takesPart(c Contender) bool {
	switch w.by {
	case byClient:
		return c.Client != nil
	case byHTTP:
		return c.Server != nil
	case byStdio:
		return c.Server != nil && !c.HTTPOnly
	default:
		return c.Server != nil && !c.HTTPOnly && !c.EdgesOnly
	}
}

func workloads() []workload {
	all := inProcess()
	for _, callers := range []int{1, 16, 64} {
		all = append(all, overHTTP(legacy, "echo", callers))
	}
	return append(all, overHTTP(modern, "echo", 16), overHTTP(legacy, "works", 16), overHTTP(legacy, "streams", 16),
		untilFirstEvent(legacy), overStdio(1), overStdio(16))
}

// inProcess are the workloads whose allocations are the same in every run.
func inProcess() []workload {
	all := []workload{{name: "tools/call, no session", by: byDispatch, start: dispatch(load{
		messages: []json.RawMessage{call(legacy, 1, "echo", 5)},
	})}}
	for _, version := range []string{legacy, modern} {
		sessions := 1
		if version == modern {
			sessions = 0
		}
		for _, w := range []struct {
			name    string
			tools   int
			message json.RawMessage
		}{
			{"tools/call", 0, call(version, 1, "echo", 5)},
			{"tools/call of 1 KB", 0, call(version, 1, "echo", 1<<10)},
			{"tools/call of 100 KB", 0, call(version, 1, "echo", 100<<10)},
			{"tools/list of 200 tools", 200, request(version, 1, "tools/list", "")},
			{"resources/read of 1 MB", 0, request(version, 1, "resources/read", `"uri":"bench://page"`)},
		} {
			all = append(all, workload{name: w.name + ", " + version, by: byDispatch, start: dispatch(load{
				tools: w.tools, sessions: sessions, messages: []json.RawMessage{w.message},
			})})
		}
	}
	return append(all,
		workload{name: "tools/call, 10,000 sessions", by: byDispatch, start: dispatch(load{
			sessions: 10_000, messages: []json.RawMessage{call(legacy, 1, "echo", 5)},
		})},
		workload{name: "malformed messages", by: byDispatch, start: dispatch(load{messages: malformed, fails: true})},
		workload{name: "tools/call, HTTP handler alone", by: byHTTP, start: byHandler},
		workload{name: "tools/call, stdio server alone", by: byStdio, start: byPipes},
		workload{name: "tools/call by a client", by: byClient, start: byLoopback},
	)
}

// load says what a server of a workload has and is sent.
type load struct {
	tools    int
	sessions int // none is no session at all
	messages []json.RawMessage
	fails    bool // no message can be answered well
}

// dispatched hands messages to HandleMessage, in turns of messages and sessions.
type dispatched struct {
	load
	next     int
	contexts []context.Context //nolint:containedctx // one for each session
	handle   func(context.Context, json.RawMessage) mcp.JSONRPCMessage
	pipeline Pipeline
}

func dispatch(l load) func(context.Context, Contender) (runner, error) {
	return func(ctx context.Context, c Contender) (runner, error) {
		return newDispatched(ctx, c, c.newPipeline(), l)
	}
}

func newDispatched(ctx context.Context, c Contender, p Pipeline, l load) (*dispatched, error) {
	t := c.Server(p, func(opts ...server.ServerOption) *server.MCPServer { return buildServer(l.tools, opts...) })
	d := &dispatched{load: l, handle: t.Handle, pipeline: p, contexts: []context.Context{ctx}}
	if d.handle == nil {
		d.handle = t.Server.HandleMessage
	}
	if l.sessions > 0 {
		d.contexts = nil
	}
	for k := range l.sessions {
		s, err := openSession(ctx, t.Server, d.handle, "session-"+strconv.Itoa(k))
		if err != nil {
			return nil, err
		}
		d.contexts = append(d.contexts, s)
	}
	return d, nil
}

// session is the least that mcp-go takes for one. Its own in-process session has room for a hundred notifications:
// with ten thousand of them for each contender, the collector would be all that is measured.
type session struct {
	id          string
	initialized atomic.Bool
}

func (s *session) SessionID() string                                 { return s.id }
func (*session) NotificationChannel() chan<- mcp.JSONRPCNotification { return nil }
func (s *session) Initialize()                                       { s.initialized.Store(true) }
func (s *session) Initialized() bool                                 { return s.initialized.Load() }

// openSession registers a session that has shaken hands, and returns the context of its messages.
func openSession(ctx context.Context, srv *server.MCPServer,
	handle func(context.Context, json.RawMessage) mcp.JSONRPCMessage, id string,
) (context.Context, error) {
	s := &session{id: id}
	if err := srv.RegisterSession(ctx, s); err != nil {
		return nil, err
	}
	ctx = srv.WithContext(ctx, s)
	if answer, ok := handle(ctx, hello).(mcp.JSONRPCResponse); !ok {
		return nil, fmt.Errorf("initialize: %v", answer)
	}
	return ctx, nil
}

func (d *dispatched) run(n int) error {
	for range n {
		answer := d.handle(d.contexts[d.next%len(d.contexts)], d.messages[d.next%len(d.messages)])
		d.next++
		if _, well := answer.(mcp.JSONRPCResponse); well == d.fails {
			return fmt.Errorf("%.100q was answered with %T", d.messages[(d.next-1)%len(d.messages)], answer)
		}
	}
	return nil
}

func (*dispatched) usage() (usage, error) { return currentUsage(), nil }
func (d *dispatched) close()              { d.pipeline.shutdown(context.Background()) }

// loopback renders what a client sends, and answers at once.
type loopback struct {
	transport.Interface
	seen func(header http.Header, raw []byte) // may be nil
}

var (
	errLost        = errors.New("the connection was lost")
	loopbackTools  = json.RawMessage(`{"tools":[{"name":"echo","inputSchema":{"type":"object","properties":{"text":{"type":"string"}}}}]}`)
	loopbackHello  = json.RawMessage(`{"protocolVersion":"` + legacy + `","capabilities":{},"serverInfo":{"name":"bench","version":"1"}}`)
	loopbackResult = json.RawMessage(`{"content":[{"type":"text","text":"hello"}]}`)
	loopbackRefuse = json.RawMessage(`{"content":[{"type":"text","text":"it refused"}],"isError":true}`)
)

func (loopback) Start(context.Context) error                                     { return nil }
func (loopback) Close() error                                                    { return nil }
func (loopback) GetSessionId() string                                            { return "" }
func (loopback) SetNotificationHandler(func(mcp.JSONRPCNotification))            {}
func (loopback) SendNotification(context.Context, mcp.JSONRPCNotification) error { return nil }

func (l loopback) SendRequest(_ context.Context, r transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if l.seen != nil {
		l.seen(r.Header, raw)
	}
	answer := &transport.JSONRPCResponse{JSONRPC: "2.0", ID: r.ID, Result: loopbackResult}
	switch r.Method {
	case string(mcp.MethodInitialize):
		answer.Result = loopbackHello
	case string(mcp.MethodToolsList):
		answer.Result = loopbackTools
	}
	switch {
	case bytes.Contains(raw, []byte(`"name":"refuses"`)):
		answer.Result = loopbackRefuse
	case bytes.Contains(raw, []byte(`"name":"fails"`)):
		answer.Result, answer.Error = nil, &mcp.JSONRPCErrorDetails{Code: mcp.INTERNAL_ERROR, Message: "it failed"}
	case bytes.Contains(raw, []byte(`"name":"lost"`)):
		return nil, errLost
	}
	return answer, nil
}

// loopbackClient has shaken hands and knows the tools.
func loopbackClient(ctx context.Context, c Contender, p Pipeline, l loopback) (*client.Client, error) {
	cl := c.Client(p, l)
	if err := cl.Start(ctx); err != nil {
		return nil, err
	}
	var r mcp.InitializeRequest
	r.Params.ProtocolVersion = legacy
	r.Params.ClientInfo = mcp.Implementation{Name: "bench", Version: "1.0.0"}
	if _, err := cl.Initialize(ctx, r); err != nil {
		return nil, err
	}
	_, err := cl.ListTools(ctx, mcp.ListToolsRequest{})
	return cl, err
}

type looped struct {
	ctx      context.Context //nolint:containedctx // of every call
	client   *client.Client
	request  mcp.CallToolRequest
	pipeline Pipeline
}

func byLoopback(ctx context.Context, c Contender) (runner, error) {
	p := c.newPipeline()
	cl, err := loopbackClient(ctx, c, p, loopback{})
	if err != nil {
		return nil, err
	}
	return &looped{ctx, cl, toolRequest("echo"), p}, nil
}

func toolRequest(name string) (r mcp.CallToolRequest) {
	r.Params.Name = name
	r.Params.Arguments = map[string]any{"text": "hello"}
	return r
}

func (l *looped) run(n int) error {
	for range n {
		if _, err := l.client.CallTool(l.ctx, l.request); err != nil {
			return err
		}
	}
	return nil
}

func (*looped) usage() (usage, error) { return currentUsage(), nil }
func (l *looped) close()              { l.pipeline.shutdown(context.Background()) }
