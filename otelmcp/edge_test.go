// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// The HTTP edge beyond single requests: clients that go away, what the server
// sends on its own, who a session belongs to, addresses behind proxies, and what
// must not change for the handler inside.

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/log/embedded"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// edged serves an instrumented everything-server behind the edge.
func edged(t *testing.T, h func(*server.MCPServer) http.Handler, opts ...otelmcp.Option) (
	*everything, *otelmcp.Instrumentation, *conversation, *telemetrytest.Capture,
) {
	t.Helper()
	s, capture := instrumented(t, opts...)
	i := otelmcp.Instrument(s.MCPServer)
	c := converse(t, i.Handler(h(s.MCPServer)))
	t.Cleanup(c.web.Close)
	return s, i, c, capture
}

// open sends raw bytes on a connection of its own and leaves it open.
func (c *conversation) open(raw string) net.Conn {
	c.t.Helper()
	conn, err := net.Dial("tcp", c.addr())
	if err != nil {
		c.t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(conn, strings.NewReplacer("{host}", c.addr(), "{session}", c.session).Replace(raw))
	return conn
}

func TestHTTPKilled(t *testing.T) {
	const initialized = "ok handler initialize 200 -"
	t.Run("while a call runs", func(t *testing.T) {
		s, i, c, capture := edged(t, rawHandlers["stateless"])
		conn := c.open(rawPost(rpc("1", "tools/call", `{"name":"waits"}`)))
		recv(t, s.entered)
		_ = conn.Close()
		recv(t, s.left)
		c.web.Close()
		wantRecords(t, capture, "cancelled handler tools/call - -32603 disconnect")
		settled(t, i, capture)
	})
	t.Run("within the body", func(t *testing.T) {
		_, i, c, capture := edged(t, rawHandlers[""])
		conn := c.open("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"jsonrpc\":\"2.0\",")
		_ = conn.Close()
		eventually(t, func() bool { return len(records(capture)) == 1 })
		c.web.Close()
		wantRecords(t, capture, "cancelled transport - 400 -32700 disconnect")
		settled(t, i, capture)
	})
	t.Run("on a GET stream", func(t *testing.T) {
		_, i, c, capture := edged(t, rawHandlers[""])
		conn := c.open(plain("GET", "/"))
		c.read(conn, "\r\n\r\n")
		_ = conn.Close()
		c.web.Close()
		wantRecords(t, capture, "ok transport - 200 - disconnect")
		settled(t, i, capture)
	})
	t.Run("on the stream of a call", func(t *testing.T) {
		s, i, c, capture := edged(t, rawHandlers["stateless"])
		s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			_ = server.ServerFromContext(ctx).SendNotificationToClient(ctx, "notifications/message", map[string]any{"level": "info"})
			<-ctx.Done()
			return mcp.NewToolResultText("too late"), nil
		})
		conn := c.open(rawPost(rpc("1", "tools/call", `{"name":"custom"}`)))
		c.read(conn, "notifications/message")
		_ = conn.Close()
		c.web.Close()
		wantRecords(t, capture, "> ok handler notifications/message - -", "cancelled handler tools/call 200 - disconnect")
		settled(t, i, capture)
	})
	t.Run("on the stream of HTTP+SSE, with a call that runs", func(t *testing.T) {
		s, i, c, capture := edged(t, rawHandlers["sse"])
		stream := c.stream()
		c.do(step{send: rawPostTo("/message?sessionId={session}", rpc("1", "tools/call", `{"name":"custom"}`))})
		c.read(stream, `"id":1`)
		release := make(chan struct{})
		s.do(func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			s.entered <- struct{}{}
			<-release
			return mcp.NewToolResultText("too late"), nil
		})
		c.do(step{send: rawPostTo("/message?sessionId={session}", rpc("2", "tools/call", `{"name":"custom"}`))})
		recv(t, s.entered)
		_ = stream.Close()
		eventually(t, func() bool { return len(capture.EventsNamed(semconv.OTelMCPSessionEndEventName)) == 1 })
		close(release) // the handler runs on without its client
		eventually(t, func() bool { return len(records(capture)) == 3 })
		c.web.Close()
		wantRecords(t, capture, "ok handler tools/call 202 -", "cancelled handler tools/call 202 - disconnect", "ok transport - 200 - disconnect")
		settled(t, i, capture)
	})
	t.Run("by its own wish", func(t *testing.T) {
		s, i, c, capture := edged(t, rawHandlers[""])
		c.do(step{send: rawPost(rpc("0", "initialize", initializeParams))})
		conn := c.open(inSession(rpc("7", "tools/call", `{"name":"waits"}`)))
		recv(t, s.entered)
		c.do(step{send: inSession(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`)})
		c.read(conn, "-32603")
		_ = conn.Close()
		c.do(step{send: plain("DELETE", "/", "Mcp-Session-Id: {session}")})
		c.web.Close()
		wantRecords(t, capture, initialized, "ok dispatch notifications/cancelled 202 -",
			"cancelled handler tools/call 200 -32603 client_request", "ok transport - 200 -")
		for _, r := range capture.EventsNamed(semconv.OTelMCPOperationEventName) {
			e := event(r)
			if e["otelmcp.outcome"] == "cancelled" && e["otelmcp.cancel.address"] != "127.0.0.1" {
				t.Errorf("cancelled by %q", e["otelmcp.cancel.address"])
			}
			if e["mcp.method.name"] == "notifications/cancelled" && e["otelmcp.cancel.request_id"] != "7" {
				t.Errorf("to cancel: %q", e["otelmcp.cancel.request_id"])
			}
		}
		settled(t, i, capture)
	})
	t.Run("by the server's shutdown", func(t *testing.T) {
		_, i, c, capture := edged(t, rawHandlers["sse"])
		stream := c.stream()
		if n := otelmcp.HTTPServersUp(i); n != 1 {
			t.Errorf("%d HTTP servers are watched", n)
		}
		down := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { down <- c.web.Config.Shutdown(ctx) }()
		eventually(t, func() bool { return otelmcp.HTTPServersUp(i) == 0 }) // it is told beside
		_ = stream.Close()
		eventually(t, func() bool { return len(capture.EventsNamed(semconv.OTelMCPSessionEndEventName)) == 1 })
		cancel()
		_ = recv(t, down)
		eventually(t, func() bool { return len(records(capture)) == 1 })
		wantRecords(t, capture, "ok transport - 200 - shutdown")
		if e := event(only(t, capture.EventsNamed(semconv.OTelMCPSessionEndEventName))); e["otelmcp.session.end_reason"] != "shutdown" {
			t.Errorf("ended by %q", e["otelmcp.session.end_reason"])
		}
		settled(t, i, capture)
	})
}

// The record of an HTTP exchange says who sent what to whom, and how large it was.
func TestHTTPFacts(t *testing.T) {
	_, i, c, capture := edged(t, rawHandlers["stateless"])
	body := rpc("1", "tools/call", callEcho)
	got := c.do(step{send: strings.Replace(rawPost(body, "User-Agent: agent/1.0\tpassword=hunter2"), "POST / ", "POST /mcp?key=secret ", 1)})
	c.web.Close()
	_, answer, _ := strings.Cut(got, "\r\n\r\n")
	e := event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName)))
	for key, want := range (said{
		"client.address": "127.0.0.1", "http.request.method": "POST", "http.response.status_code": "200", "url.path": "/mcp",
		"network.transport": "tcp", "network.protocol.name": "http", "network.protocol.version": "1.1", "network.peer.address": "",
		"otelmcp.request.size": strconv.Itoa(len(body)), "otelmcp.response.size": strconv.Itoa(len(answer) - 1),
	}) {
		if e[key] != want {
			t.Errorf("%s is %q, want %q", key, e[key], want)
		}
	}
	if ua := e["user_agent.original"]; !strings.HasPrefix(ua, "agent/1.0") || strings.Contains(ua, "hunter2") {
		t.Errorf("user agent %q", ua)
	}
	if e["client.port"] == "" {
		t.Error("no client.port")
	}
	span := capture.SpanNamed("tools/call echo")
	if span == nil || !slices.ContainsFunc(span.Attributes(), func(kv attribute.KeyValue) bool { return kv.Key == "url.path" }) {
		t.Error("the span has no url.path")
	}
	settled(t, i, capture)
}

func TestTrustedProxies(t *testing.T) {
	for _, c := range []struct {
		trusted, header, want, peer string
	}{
		{"", "203.0.113.7", "127.0.0.1", ""},
		{"127.0.0.0/8", "203.0.113.7", "203.0.113.7", "127.0.0.1"},
		{"127.0.0.0/8", "6.6.6.6, 203.0.113.7", "203.0.113.7", "127.0.0.1"},
		{"10.0.0.0/8", "203.0.113.7", "127.0.0.1", ""},
	} {
		var opts []otelmcp.Option
		if c.trusted != "" {
			opts = append(opts, otelmcp.WithTrustedProxies(netip.MustParsePrefix(c.trusted)))
		}
		_, _, talk, capture := edged(t, rawHandlers["stateless"], opts...)
		talk.do(step{send: rawPost(rpc("1", "ping", "{}"), "X-Forwarded-For: "+c.header, "Forwarded: for=6.6.6.6")})
		talk.web.Close()
		e := event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName)))
		if e["client.address"] != c.want || e["network.peer.address"] != c.peer {
			t.Errorf("%+v: client %q, peer %q", c, e["client.address"], e["network.peer.address"])
		}
	}
}

type userKey struct{}

// A session that somebody else uses says so on each message.
func TestSessionIntegrity(t *testing.T) {
	guard := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, r.Header.Get("X-User"))))
		})
	}
	_, i, c, capture := edged(t, func(s *server.MCPServer) http.Handler { return guard(quietHTTP(s)) },
		otelmcp.WithTrustedProxies(netip.MustParsePrefix("127.0.0.0/8")),
		otelmcp.WithIdentity(func(ctx context.Context) otelmcp.Identity {
			user, _ := ctx.Value(userKey{}).(string)
			return otelmcp.Identity{UserID: user}
		}))
	from := func(user, address string) []string { return []string{"X-User: " + user, "X-Forwarded-For: " + address} }
	c.do(step{send: rawPost(rpc("0", "initialize", initializeParams), from("alice", "203.0.113.1")...)})
	for _, headers := range [][]string{
		from("alice", "203.0.113.1"), from("alice", "203.0.113.2"), from("mallory", "203.0.113.1"), from("", "203.0.113.1"),
	} {
		c.do(step{send: inSession(rpc("1", "ping", "{}"), headers...)})
	}
	c.web.Close()
	wantRecords(t, capture, "ok handler initialize 200 -", "ok handler ping 200 -", "ok handler ping 200 - address_mismatch",
		"ok handler ping 200 - principal_mismatch", "ok handler ping 200 - principal_mismatch")
	start := event(only(t, capture.EventsNamed(semconv.OTelMCPSessionStartEventName)))
	if start["user.id"] != "alice" || start["client.address"] != "203.0.113.1" {
		t.Errorf("the session was started by %q from %q", start["user.id"], start["client.address"])
	}
	if gaps := i.Coverage().Gaps; len(gaps) > 0 {
		t.Error(gaps)
	}
}

// A session that the server refuses is an authentication decision.
func TestRefusedSessionIsADecision(t *testing.T) {
	_, _, c, capture := edged(t, rawHandlers["stateful"])
	c.do(step{send: rawPost(rpc("5", "tools/call", callEcho), "Mcp-Session-Id: "+forged)})
	c.web.Close()
	e := event(only(t, capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)))
	for key, want := range (said{
		"otelmcp.auth.kind": "authentication", "otelmcp.auth.decision": "deny", "otelmcp.auth.reason": "unknown_session",
		"otelmcp.auth.mechanism": "none", "mcp.session.id": forged, "mcp.method.name": "tools/call", "client.address": "127.0.0.1",
		"http.response.status_code": "404", "severity": "WARN", "otelmcp.session.integrity": "unknown", "jsonrpc.request.id": "5",
	}) {
		if e[key] != want {
			t.Errorf("%s is %q, want %q", key, e[key], want)
		}
	}
	if n := capture.CounterValue("otelmcp.auth.decisions"); n != 1 {
		t.Errorf("%d decisions counted", n)
	}
}

// Pings that the server sends end with their answers, and an answer twice is out
// of place.
func TestPings(t *testing.T) {
	_, i, c, capture := edged(t, func(s *server.MCPServer) http.Handler {
		return server.NewStreamableHTTPServer(s, server.WithHeartbeatInterval(50*time.Millisecond))
	})
	c.do(step{send: rawPost(rpc("0", "initialize", initializeParams))})
	conn := c.open(plain("GET", "/", "Mcp-Session-Id: {session}"))
	got := ""
	for !strings.Contains(got, "\n\n") {
		got += c.read(conn, "\n\n")
	}
	id := regexp.MustCompile(`"id":(\d+)`).FindStringSubmatch(got)[1]
	pong := inSession(`{"jsonrpc":"2.0","id":` + id + `,"result":{}}`)
	c.do(step{send: pong})
	c.do(step{send: pong})
	_ = conn.Close()
	c.web.Close()
	is := records(capture)
	if n := len(slices.DeleteFunc(slices.Clone(is), func(r string) bool { return r != "> ok handler ping - -" })); n != 1 {
		t.Errorf("%d pings were answered: %q", n, is)
	}
	if !slices.Contains(is, "rejected transport - 202 -") {
		t.Errorf("the second answer is not out of place: %q", is)
	}
	for _, r := range is { // those that were not answered ended with the stream
		if strings.HasPrefix(r, ">") && r != "> ok handler ping - -" && r != "> cancelled handler ping - - disconnect" {
			t.Errorf("recorded %q", r)
		}
	}
	if gaps := i.Coverage().Gaps; len(gaps) > 0 {
		t.Error(gaps)
	}
}

// An event that the program's logger loses by a panic is missed, and said to be.
func TestReconciliation(t *testing.T) {
	c := telemetrytest.New(t, telemetrytest.WithoutCheck())
	s := newEverything()
	broken := &losingLogs{LoggerProvider: c.LoggerProvider()}
	i := otelmcp.Instrument(s.MCPServer, into(c, otelmcp.WithLoggerProvider(broken))...)
	talk := converse(t, i.Handler(rawHandlers["stateless"](s.MCPServer)))
	talk.do(step{send: rawPost(rpc("1", "ping", "{}"))})
	talk.web.Close()
	gaps := i.Coverage().Gaps
	if len(gaps) != 1 || !strings.Contains(gaps[0], "1 message(s) arrived of which there is no complete record") {
		t.Errorf("gaps: %q", gaps)
	}
}

// losingLogs panics with the events of operations.
type losingLogs struct {
	log.LoggerProvider
}

func (p *losingLogs) Logger(name string, opts ...log.LoggerOption) log.Logger {
	return losingLogger{inner: p.LoggerProvider.Logger(name, opts...)}
}

type losingLogger struct {
	embedded.Logger
	inner log.Logger
}

func (l losingLogger) Enabled(ctx context.Context, p log.EnabledParameters) bool {
	return l.inner.Enabled(ctx, p)
}

func (l losingLogger) Emit(ctx context.Context, r log.Record) {
	if r.EventName() == semconv.OTelMCPOperationEventName {
		panic("no space left")
	}
	l.inner.Emit(ctx, r)
}

// A handler inside of the edge finds every interface of the ResponseWriter that
// it would find outside, and no other.
func TestResponseWriterInterfaces(t *testing.T) {
	look := func(w http.ResponseWriter) (has []string) {
		for name, ok := range map[string]bool{
			"Flusher": implements[http.Flusher](w), "Hijacker": implements[http.Hijacker](w), "Pusher": implements[http.Pusher](w), "ReaderFrom": implements[io.ReaderFrom](w),
			"StringWriter": implements[io.StringWriter](w), "CloseNotifier": implements[http.CloseNotifier](w), //nolint:staticcheck // Programs may still ask.
			"FlushError": implements[interface{ FlushError() error }](w), "FullDuplex": implements[interface{ EnableFullDuplex() error }](w),
			"Deadlines": implements[interface{ SetWriteDeadline(time.Time) error }](w),
		} {
			if ok {
				has = append(has, name)
			}
		}
		slices.Sort(has)
		return has
	}
	s, _ := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	for _, h2 := range []bool{false, true} {
		var outside, inside []string
		h := i.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { inside = look(w) }))
		web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			outside = look(w)
			h.ServeHTTP(w, r)
		}))
		web.EnableHTTP2 = h2
		web.StartTLS()
		res := must(web.Client().Get(web.URL)) //nolint:bodyclose // In the next line.
		_ = res.Body.Close()
		web.Close()
		if !slices.Equal(inside, outside) || len(inside) == 0 {
			t.Errorf("HTTP/2 %v: inside %v, outside %v", h2, inside, outside)
		}
	}
	inside := []string{"unset"}
	i.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { inside = look(w) })).
		ServeHTTP(struct{ http.ResponseWriter }{httptest.NewRecorder()}, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	if len(inside) > 0 {
		t.Errorf("a writer that can do nothing more has %v", inside)
	}
}

func implements[T any](v any) bool {
	_, ok := v.(T)
	return ok
}

// An event reaches the client while the handler still runs.
func TestStreamsAreNotHeldBack(t *testing.T) {
	s, i, c, capture := edged(t, rawHandlers["stateless"])
	s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		_ = server.ServerFromContext(ctx).SendNotificationToClient(ctx, "notifications/progress", map[string]any{"progressToken": 1, "progress": 1})
		<-s.release
		return mcp.NewToolResultText("done"), nil
	})
	conn := c.open(rawPost(rpc("1", "tools/call", `{"name":"custom"}`)))
	r := bufio.NewReader(conn)
	for line := ""; !strings.Contains(line, "notifications/progress"); {
		line = must(r.ReadString('\n'))
	}
	s.release <- struct{}{}
	rest, _ := io.ReadAll(r)
	if !strings.Contains(string(rest), "done") {
		t.Errorf("answered %q", rest)
	}
	c.web.Close()
	wantRecords(t, capture, "> ok handler notifications/progress - -", "ok handler tools/call 200 -")
	call := capture.SpanNamed("tools/call custom")
	told := capture.SpanNamed("notifications/progress")
	if told.Parent().SpanID() != call.SpanContext().SpanID() {
		t.Error("the notification's span is not a child of the call's")
	}
	settled(t, i, capture)
}
