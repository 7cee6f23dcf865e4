// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// The HTTP edge beyond single requests: clients that go away, what the server
// sends on its own, who a session belongs to, addresses behind proxies, and what
// must not change for the handler inside.

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"runtime"
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

// Cancellations that are turned away take no room from those of clients.
func TestRefusedCancellations(t *testing.T) {
	_, _, c, capture := edged(t, rawHandlers[""])
	for id := range 1100 { // more than are remembered
		c.do(step{send: rawPost(fmt.Sprintf(
			`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}`, id), "Mcp-Session-Id: made-up")})
	}
	if n := capture.CounterValue("otelmcp.telemetry.refused"); n != 0 {
		t.Errorf("%d were refused a place", n)
	}
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
			if e["http.request.method"] == "DELETE" && (e["otelmcp.client.name"] == "" || e["mcp.protocol.version"] == "") {
				t.Error("the end of a session does not say whose it was")
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
	c.do(step{send: rawPost(rpc("0", "initialize", initializeParams), append(from("alice", "203.0.113.1"), "User-Agent: probe/1")...)})
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
	if start["user_agent.original"] != "probe/1" || start["network.peer.address"] != "127.0.0.1" {
		t.Errorf("the session was started with %q through %q", start["user_agent.original"], start["network.peer.address"])
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
		for m := range reflect.TypeOf(w).Methods() {
			if m.Name != "Unwrap" { // which leads a ResponseController to the one outside
				has = append(has, m.Name)
			}
		}
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
		if !slices.Equal(inside, outside) {
			t.Errorf("HTTP/2 %v: inside %v, outside %v", h2, inside, outside)
		}
	}
	var inside []string
	i.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { inside = look(w) })).
		ServeHTTP(struct{ http.ResponseWriter }{httptest.NewRecorder()}, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	if want := []string{"Header", "Write", "WriteHeader"}; !slices.Equal(inside, want) {
		t.Errorf("a writer that can do nothing more has %v", inside)
	}
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

// What a client sends as its id does not hide that it was turned away, and
// neither does an encoding.
func TestRejectionShows(t *testing.T) {
	evil := strings.Replace(initializeParams, clientName, "evil", 1)
	gzipped := func(s *server.MCPServer) http.Handler {
		next := rawHandlers["picky"](s)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			defer z.Close()
			next.ServeHTTP(zipped{w, z}, r)
		})
	}
	for _, c := range []struct {
		h    func(*server.MCPServer) http.Handler
		size int
		code string
	}{
		{rawHandlers["picky"], 3, "-32600"}, {rawHandlers["picky"], 2000, "-32600"}, {rawHandlers["picky"], 100_000, "-"}, {gzipped, 3, "-"},
	} {
		_, i, talk, capture := edged(t, c.h)
		id := `"` + strings.Repeat("i", c.size) + `"`
		talk.do(step{send: rawPost(rpc(id, "initialize", evil))})
		talk.web.Close()
		wantRecords(t, capture, "rejected transport initialize 200 "+c.code)
		if gaps := i.Coverage().Gaps; len(gaps) > 0 {
			t.Error(gaps)
		}
	}
}

type zipped struct {
	http.ResponseWriter
	z *gzip.Writer
}

func (z zipped) Write(p []byte) (int, error) { return z.z.Write(p) }

// Where a program handles messages in a context of its own, the record of each is
// dispatch's, without what the edge knows, and that is said aloud.
func TestContextLost(t *testing.T) {
	lose := func(ctx context.Context, _ *http.Request) context.Context { return strayContext{t.Context(), ctx} }
	t.Run("streamable HTTP", func(t *testing.T) {
		_, i, c, capture := edged(t, func(s *server.MCPServer) http.Handler {
			return quietHTTP(s, server.WithStateLess(true), server.WithHTTPContextFunc(lose))
		})
		c.do(step{send: rawPost(rpc("1", "ping", "{}"))})
		c.web.Close()
		wantRecords(t, capture, "ok handler ping - -")
		saysContextLost(t, i)
	})
	t.Run("HTTP+SSE", func(t *testing.T) {
		_, i, c, capture := edged(t, func(s *server.MCPServer) http.Handler { return server.NewSSEServer(s, server.WithSSEContextFunc(lose)) })
		stream := c.stream()
		for range 3 {
			c.do(step{send: rawPostTo(toMessages, rpc("1", "ping", "{}"))})
			c.read(stream, `"id":1`)
		}
		_ = stream.Close()
		c.web.Close()
		wantRecords(t, capture, "ok handler ping - -", "ok handler ping - -", "ok handler ping - -", "ok transport - 200 - disconnect")
		saysContextLost(t, i)
	})
}

// strayContext has all values of from but those of instrumentation: mcp-go finds
// its session, and the edge is not found.
type strayContext struct {
	context.Context
	from context.Context
}

func (c strayContext) Value(key any) any {
	if strings.Contains(fmt.Sprintf("%T", key), "otelmcp") {
		return nil
	}
	return c.from.Value(key)
}

func saysContextLost(t *testing.T, i *otelmcp.Instrumentation) {
	t.Helper()
	gaps := i.Coverage().Gaps
	if !slices.ContainsFunc(gaps, func(g string) bool { return strings.Contains(g, "WithHTTPContextFunc") }) {
		t.Errorf("gaps: %q", gaps)
	}
	if slices.ContainsFunc(gaps, func(g string) bool { return strings.Contains(g, "defect") }) {
		t.Errorf("gaps: %q", gaps)
	}
}

// Who is authenticated inside of the edge is not known where a message is not
// dispatched, and nobody else for that.
func TestSessionIntegrityBeforeDispatch(t *testing.T) {
	guard := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, r.Header.Get("X-User"))))
		})
	}
	_, i, c, capture := edged(t, func(s *server.MCPServer) http.Handler { return guard(quietHTTP(s)) },
		otelmcp.WithIdentity(func(ctx context.Context) otelmcp.Identity {
			user, _ := ctx.Value(userKey{}).(string)
			return otelmcp.Identity{UserID: user}
		}))
	c.do(step{send: rawPost(rpc("0", "initialize", initializeParams), "X-User: alice")})
	c.do(step{send: inSession(`{"jsonrpc":"2.0","method":"notifications/initialized"}`, "X-User: alice")})
	c.do(step{send: plain("GET", "/", "Mcp-Session-Id: {session}", "X-User: alice"), until: "\r\n\r\n"})
	c.do(step{send: plain("DELETE", "/", "Mcp-Session-Id: {session}", "X-User: alice")})
	c.web.Close()
	wantRecords(t, capture, "ok handler initialize 200 -", "ok dispatch notifications/initialized 202 -",
		"ok transport - 200 - disconnect", "ok transport - 200 -")
	settled(t, i, capture)
}

// An edge within an edge of the same server has nothing to add. Edges of two
// servers each see their own messages.
func TestNestedEdges(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	c := converse(t, i.Handler(i.Handler(rawHandlers["stateless"](s.MCPServer))))
	c.do(step{send: rawPost(rpc("1", "ping", "{}"))})
	c.web.Close()
	wantRecords(t, capture, "ok handler ping 200 -")
	settled(t, i, capture)

	other, otherCapture := instrumented(t)
	j := otelmcp.Instrument(other.MCPServer)
	mux := http.NewServeMux()
	mux.Handle("/a", i.Handler(rawHandlers["stateless"](s.MCPServer)))
	mux.Handle("/b", j.Handler(rawHandlers["stateless"](other.MCPServer)))
	c = converse(t, mux)
	c.do(step{send: rawPostTo("/a", rpc("1", "ping", "{}"))})
	c.do(step{send: rawPostTo("/b", rpc("1", "ping", "{}"))})
	c.web.Close()
	wantRecords(t, capture, "ok handler ping 200 -", "ok handler ping 200 -")
	wantRecords(t, otherCapture, "ok handler ping 200 -")

	// One around the other: a server's own messages are adopted by its own edge.
	c = converse(t, i.Handler(j.Handler(rawHandlers["stateless"](s.MCPServer))))
	c.do(step{send: rawPost(rpc("1", "ping", "{}"))})
	c.web.Close()
	wantRecords(t, capture, "ok handler ping 200 -", "ok handler ping 200 -", "ok handler ping 200 -")
	settled(t, i, capture)
}

// What the handler of a notification has the server do is an operation of its own.
func TestNotificationThatCalls(t *testing.T) {
	s, i, c, capture := edged(t, rawHandlers[""])
	s.AddNotificationHandler("notifications/roots/list_changed", func(ctx context.Context, _ mcp.JSONRPCNotification) {
		s.HandleMessage(ctx, []byte(rpc("77", "tools/call", callEcho)))
	})
	c.do(step{send: rawPost(rpc("0", "initialize", initializeParams))})
	c.do(step{send: inSession(`{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`)})
	c.do(step{send: plain("DELETE", "/", "Mcp-Session-Id: {session}")})
	c.web.Close()
	wantRecords(t, capture, "ok handler initialize 200 -", "ok dispatch notifications/roots/list_changed 202 -",
		"ok handler tools/call - -", "ok transport - 200 -")
	settled(t, i, capture)
}

// A message that is dispatched after its exchange is over, since a handler in
// between gave up on it, has one record.
func TestDispatchedTooLate(t *testing.T) {
	release, done := make(chan struct{}), make(chan struct{})
	_, i, c, capture := edged(t, func(s *server.MCPServer) http.Handler {
		next := quietHTTP(s, server.WithStateLess(true))
		return http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(done)
			<-release
			next.ServeHTTP(w, r)
		}), time.Millisecond, "too slow")
	})
	c.do(step{send: rawPost(rpc("1", "ping", "{}"))})
	eventually(t, func() bool { return len(records(capture)) == 1 })
	close(release)
	recv(t, done)
	c.web.Close()
	for _, r := range records(capture) {
		if !strings.HasPrefix(r, "error transport ") || !strings.HasSuffix(r, " 503 -") {
			t.Errorf("recorded %q", r)
		}
	}
	if n := len(records(capture)); n != 1 {
		t.Errorf("%d records", n)
	}
	settled(t, i, capture)
}

// A stream that is asked for again repeats the answer that was lost with another.
func TestResumedStream(t *testing.T) {
	s, i, c, capture := edged(t, func(s *server.MCPServer) http.Handler {
		return quietHTTP(s, server.WithEventStore(server.NewInMemoryEventStore()))
	})
	c.do(step{send: rawPost(rpc("0", "initialize", initializeParams))})
	s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		_ = server.ServerFromContext(ctx).SendNotificationToClient(ctx, "notifications/message", map[string]any{"level": "info"})
		<-ctx.Done()
		return nil, errors.New("no")
	})
	conn := c.open(inSession(rpc("7", "tools/call", `{"name":"custom"}`)))
	id := regexp.MustCompile(`(?m)^id: *(\S+)`).FindStringSubmatch(c.read(conn, "notifications/message"))
	if id == nil {
		t.Fatal("the event has no id")
	}
	_ = conn.Close()
	const lost = "cancelled handler tools/call 200 -32603 disconnect"
	eventually(t, func() bool { return slices.Contains(records(capture), lost) })
	again := c.open(plain("GET", "/", "Mcp-Session-Id: {session}", "Last-Event-ID: "+id[1]))
	c.read(again, "-32603")
	_ = again.Close()
	c.do(step{send: plain("DELETE", "/", "Mcp-Session-Id: {session}")})
	c.web.Close()
	is := records(capture)
	for _, r := range is {
		if strings.Contains(r, " transport - ") && !strings.HasPrefix(r, "ok transport - 200 -") {
			t.Errorf("recorded %q", r)
		}
	}
	settled(t, i, capture)
}

// What the server sends while a handshake of no session runs says what is known
// of it by then.
func TestStatelessHandshakeThatNotifies(t *testing.T) {
	s, i, c, capture := edged(t, rawHandlers["stateless"])
	s.GetHooks().AddBeforeInitialize(func(ctx context.Context, _ any, _ *mcp.InitializeRequest) {
		for range 5 {
			_ = s.SendNotificationToClient(ctx, "notifications/message", map[string]any{"level": "info"})
		}
	})
	const n = 20
	for range n {
		c.do(step{send: rawPost(rpc("0", "initialize", initializeParams))})
	}
	c.web.Close()
	handshakes := 0
	for _, r := range records(capture) {
		if strings.HasPrefix(r, "ok handler initialize 200") {
			handshakes++
		}
	}
	if handshakes != n {
		t.Errorf("%d handshakes of %d", handshakes, n)
	}
	settled(t, i, capture)
}

// The rest of a refused body is read where net/http reads it, and nowhere else:
// the client cannot tell.
func TestRestOfARefusedBody(t *testing.T) {
	refuse := func(headers ...string) func(*server.MCPServer) http.Handler {
		return func(*server.MCPServer) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					_, _ = fmt.Fprintf(w, "context: %v", r.Context().Err())
					return
				}
				for _, h := range headers {
					w.Header().Set(h, "close")
				}
				http.Error(w, "who are you?", http.StatusUnauthorized)
			})
		}
	}
	const half = "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
	soon := func(t *testing.T, c *conversation) {
		t.Helper()
		conn := c.open(half)
		defer conn.Close()
		begin := time.Now()
		if got := c.read(conn, "who are you?"); !strings.Contains(got, "401") {
			t.Errorf("answered %q", got)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	}
	t.Run("the handler closes", func(t *testing.T) {
		_, _, c, _ := edged(t, refuse("Connection"))
		soon(t, c)
	})
	t.Run("keep-alives are off", func(t *testing.T) {
		_, _, c, _ := edged(t, refuse())
		c.web.Config.SetKeepAlivesEnabled(false)
		soon(t, c)
	})
	t.Run("a time limit around", func(t *testing.T) {
		s, _ := instrumented(t)
		i := otelmcp.Instrument(s.MCPServer)
		c := converse(t, http.TimeoutHandler(i.Handler(refuse("Connection")(nil)), 10*time.Second, "too slow"))
		t.Cleanup(c.web.Close)
		soon(t, c)
	})
	t.Run("a limit around", func(t *testing.T) {
		body := "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n" + strings.Repeat("x", 100)
		var got [2]string
		for k, edge := range []bool{false, true} {
			s := newEverything()
			h := refuse()(nil)
			if edge {
				h = otelmcp.Instrument(s.MCPServer, into(telemetrytest.New(t))...).Handler(h)
			}
			c := converse(t, http.MaxBytesHandler(h, 50))
			conn := c.open(body)
			got[k] = varying.ReplaceAllString(c.read(conn, "who are you?"), "~")
			_ = conn.Close()
			c.web.Close()
		}
		if got[0] != got[1] {
			t.Errorf("answered\n%q\nwithout instrumentation\n%q", got[1], got[0])
		}
	})
	t.Run("in parts, and another request", func(t *testing.T) {
		_, i, c, capture := edged(t, refuse())
		body := rpc("1", "tools/call", callEcho)
		conn := c.open(strings.Replace(half, "100", strconv.Itoa(len(body)), 1))
		time.Sleep(50 * time.Millisecond) // for the handler to be through: a bounded read would have given up
		_, _ = io.WriteString(conn, body[1:])
		c.read(conn, "who are you?")
		_, _ = io.WriteString(conn, strings.ReplaceAll(plain("GET", "/"), "{host}", c.addr()))
		if got := c.read(conn, ""); !strings.Contains(got, "context: <nil>") {
			t.Errorf("answered %q", got)
		}
		c.web.Close()
		wantRecords(t, capture, "denied transport tools/call 401 - missing_credentials", "ok transport - 200 -")
		settled(t, i, capture)
	})
}

// What a handler leaves in its request for net/http, or for handlers around it,
// is found there.
func TestRequestOutside(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /upload", func(_ http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1); err != nil {
			t.Error(err)
		}
	})
	trailer := ""
	mux.HandleFunc("POST /trailer", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		trailer = r.Trailer.Get("X-T")
	})
	h := otelmcp.Instrument(newEverything().MCPServer, into(telemetrytest.New(t))...).Handler(mux)
	pattern := ""
	c := converse(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		pattern = r.Pattern
	}))
	body := "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n" + strings.Repeat("x", 11<<20) + "\r\n--b--\r\n"
	c.do(step{send: rawPostTo("/upload", body, "Content-Type: multipart/form-data; boundary=b")})
	if pattern != "POST /upload" {
		t.Errorf("the pattern is %q outside", pattern)
	}
	c.do(step{send: "POST /trailer HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-T: yes\r\n\r\n"})
	c.web.Close()
	if trailer != "yes" {
		t.Errorf("the trailer is %q inside", trailer)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("%d files are left (%v)", len(files), err)
	}
}

// liar claims to have written, and read, more than it was asked to.
type liar struct {
	http.ResponseWriter
	io.ReadCloser
}

func (l liar) Write(p []byte) (int, error) {
	n, err := l.ResponseWriter.Write(p)
	return n + 100_000, err
}

func (l liar) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	return n + 100_000, err
}

// Odd writers and odd writes change nothing, and are no failure of the client's.
func TestOddWrites(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	r := httptest.NewRequest(http.MethodPost, "/a", strings.NewReader("{}"))
	r.Body = liar{nil, r.Body}
	i.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = r.Body.Read(make([]byte, 10))
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("{}"))
	})).ServeHTTP(liar{httptest.NewRecorder(), nil}, r)
	wantRecords(t, capture, "ok transport - 200 -")

	c := converse(t, i.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/none": // such a response has no body
			w.WriteHeader(http.StatusNoContent)
			_, _ = io.WriteString(w, "x")
		case "/more": // than was announced
			w.Header().Set("Content-Length", "2")
			_, _ = io.WriteString(w, "xxx")
		case "/empty": // no header goes out with nothing
			_, _ = w.(io.ReaderFrom).ReadFrom(strings.NewReader(""))
			w.WriteHeader(http.StatusNotFound)
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = w.(io.ReaderFrom).ReadFrom(strings.NewReader("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n"))
		}
	})))
	for _, path := range []string{"/none", "/more", "/empty", "/events"} {
		c.do(step{send: plain("GET", path)})
	}
	c.web.Close()
	wantRecords(t, capture, "ok transport - 200 -", "ok transport - 204 -", "ok transport - 200 -", "rejected transport - 404 -",
		"> ok handler notifications/message - -", "ok transport - 200 - server")
	settled(t, i, capture)
}

// HTTP servers that come and go leave nothing behind.
func TestClosedServersAreForgotten(t *testing.T) {
	s, _ := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	h := i.Handler(rawHandlers["stateless"](s.MCPServer))
	for range 10 {
		c := converse(t, h)
		c.do(step{send: rawPost(rpc("1", "ping", "{}"))})
		c.web.Close()
	}
	eventually(t, func() bool {
		runtime.GC()
		return otelmcp.HTTPServersUp(i) == 0
	})
	runtime.KeepAlive(h)
}
