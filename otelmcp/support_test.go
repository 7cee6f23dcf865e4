// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// What the tests of this package share: a server that can do everything, a raw
// client for each of mcp-go's transports in both eras of the protocol, and the
// capture of what the instrumentation emits.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/propagation"
	"go.uber.org/goleak"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// The transports, by their otelmcp.transport value. direct is HandleMessage,
// called without a session.
const (
	stdio      = semconv.OTelMCPTransportStdio
	streamable = semconv.OTelMCPTransportStreamableHTTP
	sse        = semconv.OTelMCPTransportSSE
	inProcess  = semconv.OTelMCPTransportInProcess
	direct     = semconv.OTelMCPTransportOther
)

// era is a generation of the protocol: legacy has a handshake and sessions,
// modern says in every request's _meta what the handshake said.
type era string

const (
	legacy era = mcp.ProtocolVersion20251125
	modern era = mcp.ProtocolVersion20260728
)

func (e era) String() string {
	if e == modern {
		return "modern"
	}
	return "legacy"
}

// What the raw clients say of themselves, and the trace that they are part of.
const (
	clientName    = "tester"
	clientVersion = "1.2.3"
	callerTrace   = "0af7651916cd43dd8448eb211c80319c"
	callerSpan    = "b7ad6b7169203331"
	traceparent   = "00-" + callerTrace + "-" + callerSpan + "-01"
)

// w3c are the propagators of a program that is set up as usual.
var w3c = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

// checkLeaks fails the test when a goroutine outlives its cleanups.
func checkLeaks(t testing.TB) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		if !t.Failed() { // a test that gave up leaves its handlers waiting
			goleak.VerifyNone(t, before)
		}
	})
}

// into returns the options that send everything to c.
func into(c *telemetrytest.Capture, more ...otelmcp.Option) []otelmcp.Option {
	return append([]otelmcp.Option{
		otelmcp.WithTracerProvider(c.TracerProvider()), otelmcp.WithMeterProvider(c.MeterProvider()),
		otelmcp.WithLoggerProvider(c.LoggerProvider()), otelmcp.WithPropagators(w3c),
	}, more...)
}

// instrumented returns an everything-server that emits to a capture.
func instrumented(t testing.TB, opts ...otelmcp.Option) (*everything, *telemetrytest.Capture) {
	t.Helper()
	c := telemetrytest.New(t)
	checkLeaks(t)
	s := newEverything()
	otelmcp.Instrument(s.MCPServer, into(c, opts...)...)
	return s, c
}

// everything is a server that has something for each way in which a message
// can go and end.
type everything struct {
	*server.MCPServer
	// entered gets a value when a tool that waits has started.
	entered chan struct{}
	// left gets a value when a tool that waits returns.
	left chan struct{}
	// release lets a task go on that waits for it, and for nothing else.
	release chan struct{}
	// handler, when a test sets it, is what the tool "custom" does.
	handler atomic.Pointer[server.ToolHandlerFunc]
}

// do sets what the tool "custom" does.
func (s *everything) do(f server.ToolHandlerFunc) { s.handler.Store(&f) }

var errBackend = errors.New("backend said no, password=hunter2")

func newEverything(opts ...server.ServerOption) *everything {
	s := &everything{entered: make(chan struct{}, 64), left: make(chan struct{}, 64), release: make(chan struct{}, 64)}
	s.MCPServer = server.NewMCPServer("everything", "0.9.0", append([]server.ServerOption{
		server.WithToolCapabilities(true), server.WithPromptCapabilities(true), server.WithResourceCapabilities(true, true),
		server.WithLogging(), server.WithElicitation(), server.WithRoots(), server.WithCompletions(),
		server.WithTaskCapabilities(true, true, true),
		server.WithToolFilter(func(_ context.Context, tools []mcp.Tool) []mcp.Tool {
			return without(tools, func(t mcp.Tool) bool { return t.Name == "hidden" })
		}),
		server.WithPromptFilter(func(_ context.Context, prompts []mcp.Prompt) []mcp.Prompt {
			return without(prompts, func(p mcp.Prompt) bool { return p.Name == "hidden" })
		}),
	}, opts...)...)
	s.EnableSampling()
	s.addTools()
	s.addTasks()
	s.addPrompts()
	s.addResources()
	return s
}

func without[T any](all []T, drop func(T) bool) []T {
	var kept []T
	for _, e := range all {
		if !drop(e) {
			kept = append(kept, e)
		}
	}
	return kept
}

func (s *everything) addTools() {
	add := func(name string, h server.ToolHandlerFunc, opts ...mcp.ToolOption) {
		s.AddTool(mcp.NewTool(name, append([]mcp.ToolOption{mcp.WithDescription("The tool " + name + ".")}, opts...)...), h)
	}
	echo := func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText(r.GetString("text", "")), nil
	}
	add("echo", echo, mcp.WithString("text"), mcp.WithString("lang"))
	add("hidden", echo)
	add("strict", echo, mcp.WithString("text", mcp.Required()))
	add("fails", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultError("no such file, password=hunter2"), nil
	})
	add("errors", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) { return nil, errBackend })
	add("nothing", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) { return nil, nil }) //nolint:nilnil // What it is for.
	add("consent", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return nil, mcp.URLElicitationRequiredError{Elicitations: []mcp.ElicitationParams{{
			Mode: mcp.ElicitationModeURL, ElicitationID: "e1", URL: "https://example.com/consent", Message: "agree",
		}}}
	})
	add("panics", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) { panic(errBackend) })
	add("waits", func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		defer func() { s.left <- struct{}{} }()
		s.entered <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	add("gives_up", func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		defer func() { s.left <- struct{}{} }()
		s.entered <- struct{}{}
		<-ctx.Done()
		return nil, errors.New("gave up") // and not why
	})
	add("too_slow", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return nil, fmt.Errorf("query: %w", context.DeadlineExceeded)
	})
	add("asks", func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if a := server.ElicitationResponse(r.Params.InputResponses, "go"); a != nil {
			return mcp.NewToolResultText(string(a.Action)), nil
		}
		return server.NewInputRequestBuilder("state").Elicit("go", question()).ToolResult(), nil
	})
	add("ill_formed", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultStructured(map[string]any{"n": "not a number"}, "n"), nil
	}, mcp.WithRawOutputSchema(json.RawMessage(`{"type":"object","properties":{"n":{"type":"number"}},"required":["n"]}`)))
	add("custom", func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if f := s.handler.Load(); f != nil {
			return (*f)(ctx, r)
		}
		return mcp.NewToolResultText("done"), nil
	})
}

func question() mcp.ElicitationParams {
	return mcp.ElicitationParams{Message: "go on?", RequestedSchema: map[string]any{
		"type": "object", "properties": map[string]any{"yes": map[string]any{"type": "boolean"}},
	}}
}

func (s *everything) addTasks() {
	later := func(name string, h server.TaskToolHandlerFunc) {
		s.AddTaskTool(mcp.NewTool(name, mcp.WithTaskSupport(mcp.TaskSupportRequired)), h)
	}
	later("later", func(context.Context, mcp.CallToolRequest) (*mcp.CreateTaskResult, error) {
		return &mcp.CreateTaskResult{}, nil
	})
	later("later_fails", func(context.Context, mcp.CallToolRequest) (*mcp.CreateTaskResult, error) { return nil, errBackend })
	later("later_waits", func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CreateTaskResult, error) {
		defer func() { s.left <- struct{}{} }()
		s.entered <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	later("later_holds", func(context.Context, mcp.CallToolRequest) (*mcp.CreateTaskResult, error) {
		defer func() { s.left <- struct{}{} }()
		s.entered <- struct{}{}
		<-s.release
		return &mcp.CreateTaskResult{}, nil
	})
	s.AddTool(mcp.NewTool("hybrid", mcp.WithTaskSupport(mcp.TaskSupportOptional)),
		func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return mcp.NewToolResultError("hybrid failed"), nil
		})
}

func (s *everything) addPrompts() {
	greet := func(_ context.Context, r mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		return mcp.NewGetPromptResult("greeting", []mcp.PromptMessage{
			mcp.NewPromptMessage(mcp.RoleUser, mcp.NewTextContent("hello "+r.Params.Arguments["who"])),
		}), nil
	}
	s.AddPrompt(mcp.NewPrompt("greet", mcp.WithArgument("who")), greet)
	s.AddPrompt(mcp.NewPrompt("hidden"), greet)
	s.AddPrompt(mcp.NewPrompt("errors"), func(context.Context, mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		return nil, errBackend
	})
	s.AddPrompt(mcp.NewPrompt("panics"), func(context.Context, mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		panic(errBackend)
	})
	s.AddPrompt(mcp.NewPrompt("asks"), func(_ context.Context, r mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		if a := server.ElicitationResponse(r.Params.InputResponses, "go"); a != nil {
			return mcp.NewGetPromptResult("", nil), nil
		}
		return server.NewInputRequestBuilder("state").Elicit("go", question()).PromptResult(), nil
	})
}

func (s *everything) addResources() {
	read := func(_ context.Context, r mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
		return []mcp.ResourceContents{mcp.TextResourceContents{URI: r.Params.URI, Text: "text"}}, nil
	}
	s.AddResource(mcp.NewResource("note://one", "one"), read)
	s.AddResource(mcp.NewResource("note://errors", "errors"),
		func(context.Context, mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) { return nil, errBackend })
	s.AddResource(mcp.NewResource("note://panics", "panics"),
		func(context.Context, mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) { panic(errBackend) })
	s.AddResourceTemplate(mcp.NewResourceTemplate("page://{id}", "page"), read)
}

// reply is what came back for a message.
type reply struct {
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`

	raw       string      // the answer, as it came
	header    http.Header // of an HTTP answer
	lost      error       // the connection ended before an answer came
	recovered any         // what HandleMessage panicked with, where the caller can see that
}

func (r reply) code() int {
	if r.Error == nil {
		return 0
	}
	return r.Error.Code
}

func parseReply(raw []byte) reply {
	r := reply{raw: strings.TrimSpace(string(raw))}
	if err := json.Unmarshal(raw, &r); err != nil {
		r.lost = fmt.Errorf("%w: %s", err, raw)
	}
	return r
}

// peer is a raw client: it sends what it is told to, right or wrong.
type peer struct {
	t         testing.TB
	transport string
	era       era
	session   string // the id that mcp-go gave the session, where there is one
	url       string // of streamable HTTP

	exchange func(ctx context.Context, id int64, method, name string, raw []byte) reply
	notify   func(raw []byte)
	hangUp   func() // ends the connection, and returns when the server has noticed

	ids    atomic.Int64
	closed sync.Once
	// plain leaves the trace context out of _meta.
	plain bool
}

// dial connects to srv, and does not shake hands.
func dial(t testing.TB, srv *server.MCPServer, over string, e era) *peer {
	t.Helper()
	p := &peer{t: t, transport: over, era: e}
	switch over {
	case stdio:
		p.dialStdio(srv)
	case streamable:
		p.dialStreamable(server.NewStreamableHTTPServer(srv, server.WithStreamableHTTPLogger(slog.New(slog.DiscardHandler))))
	case sse:
		p.dialSSE(srv)
	case inProcess:
		p.dialInProcess(srv)
	case direct:
		p.exchange = func(ctx context.Context, _ int64, _, _ string, raw []byte) reply {
			return handleDirectly(ctx, srv, raw)
		}
		p.notify = func(raw []byte) { srv.HandleMessage(t.Context(), raw) }
		p.hangUp = func() {}
	default:
		t.Fatalf("no transport %q", over)
	}
	t.Cleanup(p.close)
	return p
}

// connect dials, and shakes hands where the era has a handshake.
func connect(t testing.TB, srv *server.MCPServer, over string, e era) *peer {
	t.Helper()
	p := dial(t, srv, over, e)
	if e == legacy && over != direct {
		p.initialize()
	}
	return p
}

// initializeParams are those of the raw clients.
const initializeParams = `{"protocolVersion":"` + string(legacy) + `","capabilities":{"sampling":{},"elicitation":{},"roots":{}},` +
	`"clientInfo":{"name":"` + clientName + `","version":"` + clientVersion + `"}}`

func (p *peer) initialize() {
	p.t.Helper()
	r := p.call(p.t.Context(), "initialize", initializeParams)
	if r.Result == nil {
		p.t.Fatalf("initialize: %+v", r)
	}
	if id := r.header.Get("Mcp-Session-Id"); id != "" {
		p.session = id
	}
}

func (p *peer) close() { p.closed.Do(p.hangUp) }

// message renders a request. Params that are an object get the _meta that the
// era asks for and, unless the peer is plain, trace context.
func (p *peer) message(id int64, method, params string) []byte {
	p.t.Helper()
	if params == "" {
		params = "{}"
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal([]byte(params), &fields) == nil && fields != nil {
		meta := map[string]any{}
		if own := fields["_meta"]; own != nil {
			if err := json.Unmarshal(own, &meta); err != nil {
				p.t.Fatal(err)
			}
		} else if !p.plain {
			meta["traceparent"] = traceparent
		}
		if p.era == modern {
			meta[mcp.MetaKeyProtocolVersion] = string(modern)
			meta[mcp.MetaKeyClientInfo] = map[string]string{"name": clientName, "version": clientVersion}
			meta[mcp.MetaKeyClientCapabilities] = map[string]any{"elicitation": map[string]any{}}
		}
		if len(meta) > 0 {
			fields["_meta"] = must(json.Marshal(meta))
		}
		params = string(must(json.Marshal(fields)))
	}
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, id, method, params)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// call sends a request and returns the answer.
func (p *peer) call(ctx context.Context, method, params string) reply {
	p.t.Helper()
	return p.callID(ctx, p.ids.Add(1), method, params)
}

// callID is call with an id of the test's choosing.
func (p *peer) callID(ctx context.Context, id int64, method, params string) reply {
	p.t.Helper()
	var target struct{ Name, URI, TaskID string }
	_ = json.Unmarshal([]byte(params), &target)
	name := target.Name
	if name == "" {
		name = target.URI
	}
	if name == "" {
		name = target.TaskID
	}
	return p.exchange(ctx, id, method, name, p.message(id, method, params))
}

// tool calls a tool; arguments is JSON, or empty.
func (p *peer) tool(ctx context.Context, name, arguments string) reply {
	p.t.Helper()
	if arguments == "" {
		arguments = "{}"
	}
	return p.call(ctx, "tools/call", fmt.Sprintf(`{"name":%q,"arguments":%s}`, name, arguments))
}

// cancel tells the server that the request id is no longer wanted.
func (p *peer) cancel(id int64) {
	p.t.Helper()
	raw := fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}`, id)
	if p.era == modern {
		raw = fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d,"_meta":{%q:%q,%q:{}}}}`,
			id, mcp.MetaKeyProtocolVersion, string(modern), mcp.MetaKeyClientCapabilities)
	}
	p.notify([]byte(raw))
}

// handleDirectly is HandleMessage, with a panic as part of the reply.
func handleDirectly(ctx context.Context, srv *server.MCPServer, raw []byte) (r reply) {
	defer func() {
		if v := recover(); v != nil {
			r = reply{recovered: v}
		}
	}()
	answer := srv.HandleMessage(ctx, raw)
	return parseReply(must(json.Marshal(answer)))
}

// mailbox hands answers that arrive on a stream to those who wait for them.
type mailbox struct {
	mu      sync.Mutex
	waiting map[int64]chan reply
	gone    error
}

func (m *mailbox) expect(id int64) <-chan reply {
	m.mu.Lock()
	defer m.mu.Unlock()
	ch := make(chan reply, 1)
	if m.gone != nil {
		ch <- reply{lost: m.gone}
		return ch
	}
	if m.waiting == nil {
		m.waiting = map[int64]chan reply{}
	}
	m.waiting[id] = ch
	return ch
}

// deliver takes a message; requests and notifications of the server are none
// of the raw clients' business.
func (m *mailbox) deliver(raw []byte) {
	var head struct {
		ID     *int64  `json:"id"`
		Method *string `json:"method"`
	}
	if json.Unmarshal(raw, &head) != nil || head.ID == nil || head.Method != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if ch, ok := m.waiting[*head.ID]; ok {
		delete(m.waiting, *head.ID)
		ch <- parseReply(raw)
	}
}

func (m *mailbox) shut(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone = err
	for _, ch := range m.waiting {
		ch <- reply{lost: err}
	}
	m.waiting = nil
}

func await(ctx context.Context, ch <-chan reply) reply {
	select {
	case r := <-ch:
		return r
	case <-ctx.Done():
		return reply{lost: ctx.Err()}
	}
}

// dialStdio runs the server on two pipes of the operating system.
func (p *peer) dialStdio(srv *server.MCPServer) {
	toServer, out, in, toClient := pipes(p.t)
	listening := make(chan error, 1)
	go func() {
		s := server.NewStdioServer(srv)
		s.SetErrorLogger(log.New(io.Discard, "", 0))
		listening <- s.Listen(context.Background(), toServer, toClient)
		_ = toClient.Close()
	}()
	var box mailbox
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewReader(in)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				box.shut(err)
				return
			}
			box.deliver(line)
		}
	}()
	var writing sync.Mutex
	write := func(raw []byte) {
		writing.Lock()
		defer writing.Unlock()
		_, _ = out.Write(append(raw, '\n'))
	}
	p.exchange = func(ctx context.Context, id int64, _, _ string, raw []byte) reply {
		ch := box.expect(id)
		write(raw)
		return await(ctx, ch)
	}
	p.notify = write
	p.hangUp = func() {
		_ = out.Close()
		if err := <-listening; err != nil {
			p.t.Errorf("Listen: %v", err)
		}
		<-read
		_, _ = in.Close(), toServer.Close()
	}
}

// pipes returns the ends of two pipes: the server reads from the first and
// writes to the last.
func pipes(t testing.TB) (toServer, out, in, toClient *os.File) {
	t.Helper()
	var err1, err2 error
	toServer, out, err1 = os.Pipe()
	in, toClient, err2 = os.Pipe()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return toServer, out, in, toClient
}

// dialStreamable serves h on a listener and posts to it.
func (p *peer) dialStreamable(h http.Handler) {
	web := httptest.NewServer(h)
	web.Config.ErrorLog = log.New(io.Discard, "", 0) // of handlers that panic
	p.url = web.URL
	hc := &http.Client{Transport: &http.Transport{}}
	post := func(ctx context.Context, method, name string, raw []byte) (*http.Response, error) {
		req := must(http.NewRequestWithContext(ctx, http.MethodPost, web.URL, bytes.NewReader(raw)))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		if p.era == modern {
			req.Header.Set(mcp.HeaderProtocolVersion, string(modern))
			req.Header.Set("Mcp-Method", method)
			req.Header.Set("Mcp-Name", name)
			if name == "" {
				req.Header.Del("Mcp-Name")
			}
		} else if p.session != "" {
			req.Header.Set(mcp.HeaderProtocolVersion, string(legacy))
			req.Header.Set("Mcp-Session-Id", p.session)
		}
		return hc.Do(req)
	}
	p.exchange = func(ctx context.Context, id int64, method, name string, raw []byte) reply {
		res, err := post(ctx, method, name, raw)
		if err != nil {
			return reply{lost: err}
		}
		defer res.Body.Close()
		var r reply
		if strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
			var box mailbox
			ch := box.expect(id)
			readEvents(res.Body, func(_, data string) { box.deliver([]byte(data)) })
			box.shut(io.EOF)
			r = <-ch
		} else {
			body, err := io.ReadAll(res.Body)
			if err != nil {
				return reply{lost: err}
			}
			r = parseReply(body)
		}
		r.header = res.Header
		return r
	}
	p.notify = func(raw []byte) {
		res, err := post(context.Background(), "notifications/cancelled", "", raw)
		if err != nil {
			p.t.Errorf("notify: %v", err)
			return
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusAccepted {
			p.t.Errorf("notify: %s", res.Status)
		}
	}
	p.hangUp = func() {
		hc.CloseIdleConnections()
		web.Close() // waits for what is in flight
	}
}

// readEvents calls f for each server-sent event, until the stream ends.
func readEvents(r io.Reader, f func(event, data string)) {
	var event, data string
	for lines := bufio.NewScanner(r); lines.Scan(); {
		line := strings.TrimRight(lines.Text(), "\r")
		switch {
		case line == "":
			if data != "" {
				f(event, data)
			}
			event, data = "", ""
		case strings.HasPrefix(line, "event:"):
			event = strings.TrimSpace(line[len("event:"):])
		case strings.HasPrefix(line, "data:"):
			data += strings.TrimSpace(line[len("data:"):])
		}
	}
}

// dialSSE serves srv on a listener, opens the stream and posts to it.
func (p *peer) dialSSE(srv *server.MCPServer) {
	web := httptest.NewServer(server.NewSSEServer(srv))
	hc := &http.Client{Transport: &http.Transport{}}
	ctx, cancel := context.WithCancel(context.Background())
	req := must(http.NewRequestWithContext(ctx, http.MethodGet, web.URL+"/sse", http.NoBody))
	stream, err := hc.Do(req) //nolint:bodyclose // hangUp closes it.
	if err != nil {
		cancel()
		p.t.Fatal(err)
	}
	var box mailbox
	endpoint, read := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(read)
		readEvents(stream.Body, func(event, data string) {
			if event == "endpoint" {
				endpoint <- data
				return
			}
			box.deliver([]byte(data))
		})
		box.shut(io.EOF)
	}()
	target := web.URL + <-endpoint
	_, p.session, _ = strings.Cut(target, "sessionId=")
	post := func(raw []byte) {
		res, err := hc.Post(target, "application/json", bytes.NewReader(raw))
		if err != nil {
			p.t.Errorf("post: %v", err)
			return
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	p.exchange = func(ctx context.Context, id int64, _, _ string, raw []byte) reply {
		ch := box.expect(id)
		post(raw)
		return await(ctx, ch)
	}
	p.notify = post
	p.hangUp = func() {
		cancel()
		_ = stream.Body.Close()
		<-read
		hc.CloseIdleConnections()
		web.Close()
	}
}

// dialInProcess uses mcp-go's own in-process transport.
func (p *peer) dialInProcess(srv *server.MCPServer) {
	conn := transport.NewInProcessTransport(srv)
	if err := conn.Start(context.Background()); err != nil {
		p.t.Fatal(err)
	}
	p.exchange = func(ctx context.Context, id int64, method, _ string, raw []byte) (r reply) {
		defer func() {
			if v := recover(); v != nil {
				r = reply{recovered: v}
			}
		}()
		var m struct{ Params json.RawMessage }
		if err := json.Unmarshal(raw, &m); err != nil {
			return reply{lost: err}
		}
		answer, err := conn.SendRequest(ctx, transport.JSONRPCRequest{
			JSONRPC: "2.0", ID: mcp.NewRequestId(id), Method: method, Params: m.Params,
		})
		if err != nil {
			return reply{lost: err}
		}
		return parseReply(must(json.Marshal(answer)))
	}
	p.notify = func([]byte) { p.t.Error("mcp-go's in-process transport loses the session of a notification") }
	p.hangUp = func() { _ = conn.Close() }
}

// A link is a connection of mcp-go's client to its server.
type link struct {
	over string
	era  era
	// through is the server's instrumentation, whose edges it then goes through;
	// nil for a bare one.
	through *otelmcp.Instrumentation
	// wrap is what the client's transport is wrapped in; nil for nothing.
	wrap func(transport.Interface) transport.Interface
	// Over HTTP: what is around the server's handler, and around the client's
	// round trips.
	handler func(http.Handler) http.Handler
	trip    func(http.RoundTripper) http.RoundTripper
	// listening is for the legacy era over streamable HTTP, where the client
	// otherwise does not hear what the server sends on its own.
	listening bool
	// lines answers what comes on stdio in the place of the server.
	lines func(line []byte, answer func(any))
}

// newClient connects a client of mcp-go, which answers what the server asks of
// it, to srv over a transport. It speaks modern on stdio and in process unless
// an option says otherwise, and legacy on the others, where it listens to what
// the server asks.
func newClient(t testing.TB, srv *server.MCPServer, over string, opts ...client.ClientOption) *client.Client {
	t.Helper()
	return connectClient(t, srv, link{over: over, era: modern, listening: true}, opts...)
}

// connectClient connects a client of mcp-go, and shakes hands.
func connectClient(t testing.TB, srv *server.MCPServer, l link, opts ...client.ClientOption) *client.Client {
	t.Helper()
	c := newLink(t, srv, l, opts...)
	if _, err := c.Initialize(t.Context(), greeting()); err != nil {
		t.Fatalf("initialize: %v", err)
	}
	return c
}

func greeting() (r mcp.InitializeRequest) {
	r.Params.ClientInfo = mcp.Implementation{Name: clientName, Version: clientVersion}
	return r
}

// newLink starts a client that has not shaken hands.
func newLink(t testing.TB, srv *server.MCPServer, l link, opts ...client.ClientOption) *client.Client {
	t.Helper()
	if l.era == legacy {
		opts = append(opts, client.WithProtocolVersion(string(legacy)))
	}
	wrap := l.wrap
	if wrap == nil {
		wrap = func(t transport.Interface) transport.Interface { return t }
	}
	var conn transport.Interface
	var stop func()
	serve := func(h http.Handler) (*httptest.Server, *http.Client) {
		if l.through != nil {
			h = l.through.Handler(h)
		}
		if l.handler != nil {
			h = l.handler(h)
		}
		web := httptest.NewUnstartedServer(h)
		web.Config.ErrorLog = log.New(io.Discard, "", 0)
		web.Start()
		base := &http.Transport{}
		hc := &http.Client{Transport: base}
		if l.trip != nil {
			hc.Transport = l.trip(base)
		}
		stop = func() {
			base.CloseIdleConnections()
			web.Close()
		}
		return web, hc
	}
	switch l.over {
	case stdio:
		toServer, out, in, toClient := pipes(t)
		listening := make(chan error, 1)
		listen := listenBare(context.WithoutCancel(t.Context()), srv)
		if l.through != nil {
			listen = listenEdge(context.WithoutCancel(t.Context()), l.through)
		}
		if l.lines != nil {
			listen = func(in io.Reader, out io.Writer) error {
				sc := bufio.NewScanner(in)
				for sc.Scan() {
					l.lines(sc.Bytes(), func(answer any) { _, _ = out.Write(append(must(json.Marshal(answer)), '\n')) })
				}
				return sc.Err()
			}
		}
		go func() {
			listening <- listen(toServer, toClient)
			_ = toClient.Close()
		}()
		conn = transport.NewIO(in, out, io.NopCloser(strings.NewReader("")))
		stop = func() {
			if err := <-listening; err != nil {
				t.Errorf("Listen: %v", err)
			}
			_ = toServer.Close()
		}
	case streamable:
		h := server.NewStreamableHTTPServer(srv, server.WithStreamableHTTPLogger(slog.New(slog.DiscardHandler)))
		web, hc := serve(h)
		more := []transport.StreamableHTTPCOption{
			transport.WithHTTPBasicClient(hc), transport.WithHTTPLogger(slog.New(slog.DiscardHandler)),
		}
		if l.listening {
			more = append(more, transport.WithContinuousListening()) //nolint:staticcheck // The legacy era needs it.
		}
		conn = must(transport.NewStreamableHTTP(web.URL, more...))
		closeWeb := stop
		stop = func() {
			h.CloseSessions(context.WithoutCancel(t.Context()))
			closeWeb()
		}
	case sse:
		web, hc := serve(server.NewSSEServer(srv))
		conn = must(transport.NewSSE(web.URL+"/sse", transport.WithHTTPClient(hc), transport.WithSSELogger(slog.New(slog.DiscardHandler))))
	case inProcess:
		if l.wrap == nil {
			c := must(client.NewInProcessClientWithOptions(srv, opts...))
			return startLink(t, c, func() {})
		}
		conn = transport.NewInProcessTransport(srv)
		stop = func() {}
	default:
		t.Fatalf("no transport %q", l.over)
	}
	return startLink(t, client.NewClient(wrap(conn), opts...), stop)
}

func startLink(t testing.TB, c *client.Client, stop func()) *client.Client {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // for what Close sends
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		cancel()
		stop()
	})
	return c
}

// callTool calls a tool through a client of mcp-go.
func callTool(ctx context.Context, c *client.Client, name string, arguments map[string]any) (*mcp.CallToolResult, error) {
	var r mcp.CallToolRequest
	r.Params.Name, r.Params.Arguments = name, arguments
	return c.CallTool(ctx, r)
}

// recv waits for what must come.
func recv[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}

func codeText(code int) string { return strconv.Itoa(code) }
