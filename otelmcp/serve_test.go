// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// ListenAndServe: the routes and answers of mcp-go's Start, and an end in order.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// freeAddr is an address that nobody listens at.
func freeAddr(t *testing.T) string {
	t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	return l.Addr().String()
}

// listening is an instrumented server that ListenAndServe serves.
type listening struct {
	*everything
	c    *telemetrytest.Capture
	url  string // of the server, without a path
	stop context.CancelFunc
	done chan error // what ListenAndServe returned
}

// serveHTTP serves an everything-server until it is stopped, or the test is over.
func serveHTTP(t *testing.T, opts ...server.StreamableHTTPOption) *listening {
	t.Helper()
	s, c := instrumented(t)
	ctx, stop := context.WithCancel(t.Context())
	l := &listening{everything: s, c: c, stop: stop, done: make(chan error, 1)}
	up := make(chan net.Addr, 1)
	web := &http.Server{BaseContext: func(l net.Listener) context.Context {
		up <- l.Addr()
		return t.Context()
	}}
	inst := otelmcp.Instrument(s.MCPServer)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.done <- inst.ListenAndServe(ctx, "127.0.0.1:0", append(opts, server.WithStreamableHTTPServer(web))...)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	l.url = "http://" + recv(t, up).String()
	return l
}

func (l *listening) get(t *testing.T, session string) *http.Response {
	t.Helper()
	req := must(http.NewRequestWithContext(t.Context(), http.MethodGet, l.url+"/mcp", http.NoBody))
	req.Header.Set("Mcp-Session-Id", session)
	return must(http.DefaultClient.Do(req))
}

// postMessage sends a message; method is only for the newest version of the protocol.
func postMessage(ctx context.Context, url, session, method, body string) (*http.Response, error) {
	req := must(http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body)))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if session != "" {
		req.Header.Set("Mcp-Session-Id", session)
	}
	if method != "" {
		req.Header.Set(mcp.HeaderProtocolVersion, string(modern))
		req.Header.Set(mcp.HeaderMethod, method)
	}
	return http.DefaultClient.Do(req)
}

const (
	greetingJSON = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`
	subscribe    = `{"jsonrpc":"2.0","id":2,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},"_meta":{` +
		`"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`
)

func callOf(tool string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":%q,"arguments":{}}}`, tool)
}

// open begins a session and returns its id.
func (l *listening) open(t *testing.T) string {
	t.Helper()
	res := must(postMessage(t.Context(), l.url+"/mcp", "", "", greetingJSON)) //nolint:bodyclose // In the next line.
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.Header.Get("Mcp-Session-Id")
}

// Every route answers as mcp-go's Start does.
func TestListenAndServeAnswersAsStart(t *testing.T) {
	checkLeaks(t)
	defer http.DefaultClient.CloseIdleConnections()
	metadata := server.WithProtectedResourceMetadata(server.ProtectedResourceMetadataConfig{
		Resource: "https://mcp.example.com/mcp", AuthorizationServers: []string{"https://login.example.com"},
	})
	requests := []httpAsked{
		{"POST", "/mcp", "", greetingJSON},
		{"POST", "/mcp/", "", greetingJSON},
		{"POST", "/other", "", greetingJSON},
		{"POST", "/", "", greetingJSON},
		{"POST", "/mcp", "", `{"jsonrpc":"2.0","id":1,"method":"ping"}`},
		{"POST", "/mcp", "", `not json`},
		{"POST", "/mcp", "evil.example", greetingJSON},
		{"PUT", "/mcp", "", greetingJSON},
		{"GET", "/favicon.ico", "", ""},
		{"HEAD", "/mcp", "", ""},
		{"GET", "/.well-known/oauth-protected-resource/mcp", "", ""},
		{"GET", "/.well-known/oauth-protected-resource/mcp", "evil.example", ""},
		{"POST", "/.well-known/oauth-protected-resource/mcp", "", greetingJSON},
	}
	for name, opts := range map[string][]server.StreamableHTTPOption{
		"default":  nil,
		"endpoint": {server.WithEndpointPath("other/")},
		"metadata": {metadata},
	} {
		t.Run(name, func(t *testing.T) {
			bare := server.NewStreamableHTTPServer(newEverything().MCPServer, opts...)
			bareAddr, ourAddr := freeAddr(t), freeAddr(t)
			go func() { _ = bare.Start(bareAddr) }()
			defer func() { _ = bare.Shutdown(context.WithoutCancel(t.Context())) }()

			c := telemetrytest.New(t)
			inst := otelmcp.Instrument(newEverything().MCPServer, into(c)...)
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- inst.ListenAndServe(ctx, ourAddr, opts...) }()
			for _, addr := range []string{bareAddr, ourAddr} {
				waitFor(t, addr)
			}
			for _, r := range requests {
				want, got := r.answer(t, bareAddr), r.answer(t, ourAddr)
				if got != want {
					t.Errorf("%s %s of %q:\n got %s\nwant %s", r.method, r.path, r.host, got, want)
				}
			}
			stop()
			if err := recv(t, done); err != nil {
				t.Error(err)
			}
		})
	}
}

// httpAsked is a request of a client.
type httpAsked struct{ method, path, host, body string }

// answer is all that a client sees of the answer of the server at addr, but for the
// date and the id of a session.
func (r httpAsked) answer(t *testing.T, addr string) string {
	t.Helper()
	req := must(http.NewRequestWithContext(t.Context(), r.method, "http://"+addr+r.path, strings.NewReader(r.body)))
	req.Host = r.host
	req.Header.Set("Content-Type", "application/json")
	res := must(http.DefaultClient.Do(req)) //nolint:bodyclose // In the next line.
	defer res.Body.Close()
	body := must(io.ReadAll(res.Body))
	res.Header.Del("Date")
	if res.Header.Get("Mcp-Session-Id") != "" {
		res.Header.Set("Mcp-Session-Id", "one")
	}
	return fmt.Sprintf("%s %v %s", res.Status, res.Header, body)
}

// waitFor returns as soon as somebody accepts connections at addr.
func waitFor(t *testing.T, addr string) {
	t.Helper()
	for t.Context().Err() == nil {
		if conn, err := net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			return
		}
		runtime.Gosched()
	}
}

// When it is told to stop, streams end, calls in flight are answered, and all of it is
// recorded when it returns.
func TestListenAndServeEndsInOrder(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	l := serveHTTP(t)
	session := l.open(t)
	stream := l.get(t, session)
	defer stream.Body.Close()
	alone := l.get(t, "") // of a session that it begins itself
	defer alone.Body.Close()
	listening := must(postMessage(t.Context(), l.url+"/mcp", "", string(mcp.MethodSubscriptionsListen), subscribe)) //nolint:bodyclose // In the next line.
	defer listening.Body.Close()
	if _, err := bufio.NewReader(listening.Body).ReadString('\n'); err != nil { // it has begun
		t.Fatal(err)
	}

	inside, goOn := make(chan struct{}), make(chan struct{})
	l.do(func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		close(inside)
		<-goOn
		return mcp.NewToolResultText("late"), nil
	})
	answer := make(chan string, 1)
	go func() {
		res, err := postMessage(context.WithoutCancel(t.Context()), l.url+"/mcp", session, "", callOf("custom"))
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		answer <- string(body)
	}()
	recv(t, inside)
	l.stop()
	for _, s := range []*http.Response{stream, alone, listening} {
		_, _ = io.Copy(io.Discard, s.Body) // which ends
	}
	select {
	case err := <-l.done:
		t.Fatalf("it returned before the call was answered: %v", err)
	default:
	}
	close(goOn)
	if a := recv(t, answer); !strings.Contains(a, "late") {
		t.Errorf("the call in flight was answered %q", a)
	}
	if err := recv(t, l.done); err != nil {
		t.Error(err)
	}
	if n := l.c.CounterValue(semconv.OTelMCPServerMessagesName, semconv.OTelMCPOutcomeKey.String(semconv.OTelMCPOutcomeOK)); n == 0 {
		t.Error("the messages are not counted when it has returned")
	}
	starts, ends := l.c.EventsNamed(semconv.OTelMCPSessionStartEventName), l.c.EventsNamed(semconv.OTelMCPSessionEndEventName)
	if len(starts) == 0 || len(starts) != len(ends) {
		t.Errorf("%d sessions began and %d ended", len(starts), len(ends))
	}
	for _, e := range l.c.EventsNamed(semconv.OTelMCPOperationEventName) {
		attrs := telemetrytest.EventAttributes(e)
		if source, ok := attrs.Value(semconv.OTelMCPCancelSourceKey); ok && source.AsString() != semconv.OTelMCPCancelSourceShutdown {
			t.Errorf("%s was ended by %s", e.Body().AsString(), source.AsString())
		}
	}
	if gaps := otelmcp.Instrument(l.MCPServer).Coverage().Gaps; len(gaps) > 0 {
		t.Errorf("gaps: %q", gaps)
	}
}

// A call that outlasts the wait is cut off, and said to be.
func TestListenAndServeCutsOff(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	t.Cleanup(otelmcp.SetGrace(10 * time.Millisecond))
	l := serveHTTP(t)
	inside, gone := make(chan struct{}), make(chan struct{})
	l.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		close(inside)
		<-ctx.Done()
		close(gone)
		return nil, ctx.Err()
	})
	session := l.open(t)
	lost := make(chan error, 1)
	go func() {
		res, err := postMessage(context.WithoutCancel(t.Context()), l.url+"/mcp", session, "", callOf("custom"))
		if err == nil {
			_ = res.Body.Close()
		}
		lost <- err
	}()
	recv(t, inside)
	l.stop()
	if err := recv(t, l.done); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("it returned %v", err)
	}
	if err := recv(t, lost); err == nil {
		t.Error("the call was answered")
	}
	recv(t, gone)
}

func TestListenAndServeEndsOnSignals(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot send itself a signal on Windows")
	}
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		l := serveHTTP(t)
		if err := must(os.FindProcess(os.Getpid())).Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := recv(t, l.done); err != nil {
			t.Errorf("%v: %v", sig, err)
		}
	}
}

// The program shuts its own http.Server down: ListenAndServe returns, whatever is open.
func TestListenAndServeReturnsWhenItCannotServe(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	s, _ := instrumented(t)
	up := make(chan net.Addr, 1)
	web := &http.Server{BaseContext: func(l net.Listener) context.Context {
		up <- l.Addr()
		return t.Context()
	}}
	done := make(chan error, 1)
	go func() {
		done <- otelmcp.Instrument(s.MCPServer).ListenAndServe(t.Context(), "127.0.0.1:0",
			server.WithStreamableHTTPServer(web), server.WithSessionIdleTTL(time.Hour))
	}()
	url := "http://" + recv(t, up).String() + "/mcp"
	stream := must(postMessage(t.Context(), url, "", string(mcp.MethodSubscriptionsListen), subscribe)) //nolint:bodyclose // In the next line.
	defer stream.Body.Close()
	shut := make(chan error, 1)
	go func() { shut <- web.Shutdown(t.Context()) }()
	if err := recv(t, done); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("it returned %v", err)
	}
	_, _ = io.Copy(io.Discard, stream.Body) // which ends
	if err := recv(t, shut); err != nil {
		t.Error(err)
	}
}

// What could not be served leaves nothing behind, and can be tried again.
func TestListenAndServeAgain(t *testing.T) {
	taken := must(net.Listen("tcp", "127.0.0.1:0"))
	s, _ := instrumented(t)
	i, web := otelmcp.Instrument(s.MCPServer), &http.Server{}
	for range 2 {
		err := i.ListenAndServe(t.Context(), taken.Addr().String(), server.WithStreamableHTTPServer(web), server.WithSessionIdleTTL(time.Hour))
		if err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("it returned %v", err)
		}
	}
	_ = taken.Close()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- i.ListenAndServe(ctx, taken.Addr().String(), server.WithStreamableHTTPServer(web)) }()
	waitFor(t, taken.Addr().String())
	stop()
	if err := recv(t, done); err != nil {
		t.Error(err)
	}
}

func TestListenAndServeErrors(t *testing.T) {
	taken := must(net.Listen("tcp", "127.0.0.1:0"))
	defer taken.Close()
	for name, test := range map[string]struct {
		addr string
		opt  server.StreamableHTTPOption
		says string
	}{
		"an address that is taken": {taken.Addr().String(), server.WithEndpointPath("/mcp"), "address already in use"},
		"two addresses":            {"127.0.0.1:1", server.WithStreamableHTTPServer(&http.Server{Addr: "127.0.0.1:2"}), "conflicting"},
		"half a certificate":       {"127.0.0.1:0", server.WithTLSCert("cert.pem", ""), "both TLS cert and key"},
		"a handler of its own": {
			"127.0.0.1:0", server.WithStreamableHTTPServer(&http.Server{Handler: http.NotFoundHandler()}),
			"Instrumentation.Handler",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := instrumented(t)
			err := otelmcp.Instrument(s.MCPServer).ListenAndServe(t.Context(), test.addr, test.opt)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("it returned %v, not %q", err, test.says)
			}
		})
	}
}
