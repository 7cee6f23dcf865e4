// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Sessions: that they start and end once each, why they end, how long they
// were, whose they are, and that none is made up.

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"
	sdklog "go.opentelemetry.io/otel/sdk/log"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// announcements tells when the session hooks have run: those of the program
// that are added after Instrument run after ours.
type announcements struct{ registered, unregistered chan string }

func announce(srv *server.MCPServer) *announcements {
	a := &announcements{make(chan string, 16), make(chan string, 16)}
	h := srv.GetHooks()
	h.AddOnRegisterSession(func(_ context.Context, s server.ClientSession) { a.registered <- s.SessionID() })
	h.AddOnUnregisterSession(func(_ context.Context, s server.ClientSession) { a.unregistered <- s.SessionID() })
	return a
}

// ending opens a session and returns what ends it.
type ending struct {
	about     string
	transport string
	network   string
	reason    string // "" when it cannot be known
	greeted   bool   // the client has said who it is before the end
	open      func(t *testing.T, s *everything) (end func())
}

func streamableServer(srv *server.MCPServer, opts ...server.StreamableHTTPOption) *server.StreamableHTTPServer {
	return server.NewStreamableHTTPServer(srv, append(opts, server.WithStreamableHTTPLogger(slog.New(slog.DiscardHandler)))...)
}

// overHTTP is a raw client of a streamable HTTP server of the test's own.
func overHTTP(t *testing.T, h http.Handler, e era) *peer {
	t.Helper()
	p := &peer{t: t, transport: streamable, era: e}
	p.dialStreamable(h)
	t.Cleanup(p.close)
	return p
}

var endings = []ending{
	{
		about: "end of input", transport: stdio, network: "pipe", reason: "disconnect", greeted: true,
		open: func(t *testing.T, s *everything) func() { return connect(t, s.MCPServer, stdio, legacy).close },
	},
	{
		about: "end of Listen's context", transport: stdio, network: "pipe", reason: "shutdown",
		open: func(t *testing.T, s *everything) func() {
			ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
			toServer, out, in, toClient := pipes(t)
			listening := make(chan error, 1)
			go func() {
				l := server.NewStdioServer(s.MCPServer)
				l.SetErrorLogger(log.New(io.Discard, "", 0))
				listening <- l.Listen(ctx, toServer, toClient)
			}()
			return func() {
				cancel()
				if err := recv(t, listening); !errors.Is(err, context.Canceled) {
					t.Errorf("Listen: %v", err)
				}
				for _, f := range []*os.File{out, toServer, in, toClient} {
					_ = f.Close()
				}
			}
		},
	},
	{
		about: "dropped stream", transport: sse, network: "tcp", reason: "disconnect", greeted: true,
		open: func(t *testing.T, s *everything) func() { return connect(t, s.MCPServer, sse, legacy).close },
	},
	{
		about: "Close", transport: inProcess, reason: "client_request", greeted: true,
		open: func(t *testing.T, s *everything) func() { return connect(t, s.MCPServer, inProcess, legacy).close },
	},
	{
		about: "Close without a handshake", transport: inProcess, reason: "client_request",
		open: func(t *testing.T, s *everything) func() { return dial(t, s.MCPServer, inProcess, modern).close },
	},
	{
		about: "DELETE", transport: streamable, network: "tcp", reason: "client_request", greeted: true,
		open: func(t *testing.T, s *everything) func() {
			p := connect(t, s.MCPServer, streamable, legacy)
			return func() { p.request(t.Context(), http.MethodDelete) }
		},
	},
	{
		about: "dropped GET of a session that no handshake made", transport: streamable, network: "tcp", reason: "disconnect",
		open: func(t *testing.T, s *everything) func() {
			p := dial(t, s.MCPServer, streamable, legacy)
			ctx, cancel := context.WithCancel(t.Context())
			p.request(ctx, http.MethodGet)
			return cancel
		},
	},
	{
		about: "CloseSessions", transport: streamable, network: "tcp", reason: "shutdown", greeted: true,
		open: func(t *testing.T, s *everything) func() {
			h := streamableServer(s.MCPServer)
			overHTTP(t, h, legacy).initialize()
			return func() { h.CloseSessions(t.Context()) }
		},
	},
	{
		about: "idle for too long", transport: streamable, network: "tcp", reason: "idle_timeout", greeted: true,
		open: func(t *testing.T, s *everything) func() {
			h := streamableServer(s.MCPServer, server.WithSessionIdleTTL(time.Millisecond)) // swept every second
			p := overHTTP(t, h, legacy)
			t.Cleanup(func() { _ = h.Shutdown(context.WithoutCancel(t.Context())) })
			p.initialize()
			return func() {}
		},
	},
}

// request sends a GET or a DELETE, and does not wait for the end of a stream.
func (p *peer) request(ctx context.Context, method string) {
	p.t.Helper()
	req := must(http.NewRequestWithContext(ctx, method, p.url, http.NoBody))
	req.Header.Set("Accept", "text/event-stream")
	if p.session != "" {
		req.Header.Set("Mcp-Session-Id", p.session)
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		p.t.Fatalf("%s: %s", method, res.Status)
	}
	if method == http.MethodGet {
		p.t.Cleanup(func() { _ = res.Body.Close() })
		return
	}
	_ = res.Body.Close()
}

func TestSessionEnds(t *testing.T) {
	for _, c := range endings {
		t.Run(c.transport+"/"+c.about, func(t *testing.T) {
			s, capture := instrumented(t)
			hooks := announce(s.MCPServer)
			end := c.open(t, s)
			recv(t, hooks.registered)

			if c.transport != stdio { // there it waits for the client to say who it is
				_ = only(t, capture.EventsNamed(semconv.OTelMCPSessionStartEventName))
			}
			active := attribute.String("otelmcp.transport", c.transport)
			if c.about != "idle for too long" { // which may be over by now
				if n := capture.CounterValue("otelmcp.server.sessions.active", active); n != 1 {
					t.Errorf("%d sessions are active", n)
				}
				if events := capture.EventsNamed(semconv.OTelMCPSessionEndEventName); len(events) > 0 {
					t.Error("the session has ended before its end")
				}
			}
			end()
			recv(t, hooks.unregistered)

			is := event(only(t, capture.EventsNamed(semconv.OTelMCPSessionEndEventName)))
			was := event(only(t, capture.EventsNamed(semconv.OTelMCPSessionStartEventName)))
			if n := capture.CounterValue("otelmcp.server.sessions.active"); n != 0 {
				t.Errorf("%d sessions are active after the end", n)
			}
			for _, e := range []said{was, is} {
				if e["otelmcp.role"] != "server" || e["otelmcp.transport"] != c.transport || e["network.transport"] != c.network {
					t.Errorf("the event says %v", e)
				}
				if e["severity"] != "INFO" || !strings.Contains(e["body"], c.transport) {
					t.Errorf("the event is %v, %q", e["severity"], e["body"])
				}
			}
			if is["mcp.session.id"] == "" || was["mcp.session.id"] != is["mcp.session.id"] {
				t.Errorf("session %q ended as %q", was["mcp.session.id"], is["mcp.session.id"])
			}
			if is["otelmcp.session.end_reason"] != c.reason {
				t.Errorf("it ended with reason %q, want %q", is["otelmcp.session.end_reason"], c.reason)
			}
			if _, ok := is["otelmcp.session.duration"]; !ok {
				t.Error("it has no duration")
			}
			name, version, protocol := "", "", ""
			if c.greeted {
				name, version, protocol = clientName, clientVersion, string(legacy)
			}
			if is["otelmcp.client.name"] != name || is["otelmcp.client.version"] != version || is["mcp.protocol.version"] != protocol {
				t.Errorf("at its end its client was %v", is)
			}
			// mcp-go registers a session of streamable HTTP after the handshake, any
			// other one before it; the record of stdio's waits for that.
			if known := was["otelmcp.client.name"] != ""; known != (c.greeted && (c.transport == streamable || c.transport == stdio)) {
				t.Errorf("at its start its client was %q", was["otelmcp.client.name"])
			}

			points := capture.HistogramPoints("mcp.server.session.duration")
			if len(points) != 1 || points[0].Count != 1 || points[0].Sum <= 0 {
				t.Fatalf("durations: %+v", points)
			}
			expected := attribute.NewSet(sessionMetric(protocol, c.network)...)
			if got := points[0].Attributes; !got.Equals(&expected) {
				t.Errorf("the duration has %v, want %v", got.ToSlice(), expected.ToSlice())
			}
		})
	}
}

func sessionMetric(protocol, network string) (attrs []attribute.KeyValue) {
	if protocol != "" {
		attrs = append(attrs, attribute.String("mcp.protocol.version", protocol))
	}
	if network != "" {
		attrs = append(attrs, attribute.String("network.transport", network))
	}
	return attrs
}

func only[T any](t testing.TB, all []T) T {
	t.Helper()
	if len(all) != 1 {
		t.Fatalf("there are %d of them, want 1", len(all))
	}
	return all[0]
}

// said is what an event says, as text; its severity and its body too.
type said map[attribute.Key]string

func TestNoSessionIsMadeUp(t *testing.T) {
	t.Run("modern", func(t *testing.T) {
		s, capture := instrumented(t)
		p := connect(t, s.MCPServer, streamable, modern)
		p.tool(t.Context(), "echo", "")
		p.close()
		noSession(t, capture, 1)
	})
	t.Run("stateless", func(t *testing.T) {
		s, capture := instrumented(t)
		p := overHTTP(t, streamableServer(s.MCPServer, server.WithStateLess(true)), legacy)
		p.initialize()
		p.tool(t.Context(), "echo", "")
		p.close()
		noSession(t, capture, 2)
	})
	t.Run("direct", func(t *testing.T) {
		s, capture := instrumented(t)
		connect(t, s.MCPServer, direct, legacy).tool(t.Context(), "echo", "")
		noSession(t, capture, 1)
	})
}

func noSession(t *testing.T, capture *telemetrytest.Capture, operations int) {
	t.Helper()
	if n := len(capture.EventsNamed(semconv.OTelMCPSessionStartEventName)) + len(capture.EventsNamed(semconv.OTelMCPSessionEndEventName)); n > 0 {
		t.Errorf("%d events of a session", n)
	}
	if n := capture.HistogramCount("mcp.server.session.duration"); n > 0 {
		t.Errorf("%d durations of a session", n)
	}
	if n := len(capture.Spans()); n != operations {
		t.Errorf("%d spans", n)
	}
	for _, span := range capture.Spans() {
		if set := telemetrytest.SpanAttributes(span); set.HasValue("mcp.session.id") {
			t.Errorf("%s has a session: %v", span.Name(), span.Attributes())
		}
	}
}

// TestStdioSessionsDiffer runs two sessions one after the other. mcp-go keeps
// one object, with one id, for all of them, and in it what the first client
// said.
func TestStdioSessionsDiffer(t *testing.T) {
	s, capture := instrumented(t)
	first := connect(t, s.MCPServer, stdio, legacy)
	first.call(t.Context(), "ping", "")
	first.close()
	capture.Reset()

	second := dial(t, s.MCPServer, stdio, legacy)
	second.call(t.Context(), "ping", "") // before its handshake
	started := event(only(t, capture.EventsNamed(semconv.OTelMCPSessionStartEventName)))
	ping := event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName)))
	if ping["mcp.session.id"] != started["mcp.session.id"] || !stdioID.MatchString(ping["mcp.session.id"]) {
		t.Errorf("the request is of session %q, the session is %q", ping["mcp.session.id"], started["mcp.session.id"])
	}
	for _, e := range []said{started, ping} {
		for _, k := range []attribute.Key{"otelmcp.client.name", "otelmcp.client.version", "mcp.protocol.version"} {
			if e[k] != "" {
				t.Errorf("before its handshake the second session has the first one's %s=%s (%s)", k, e[k], e["body"])
			}
		}
	}
	second.close()
	ended := event(only(t, capture.EventsNamed(semconv.OTelMCPSessionEndEventName)))
	if ended["mcp.session.id"] != started["mcp.session.id"] {
		t.Errorf("session %q ended as %q", started["mcp.session.id"], ended["mcp.session.id"])
	}
	if ended["otelmcp.client.name"] != "" || ended["mcp.protocol.version"] != "" {
		t.Errorf("the second session ended with the first one's client: %v", ended)
	}
}

func event(r sdklog.Record) said {
	body := r.Body()
	e := said{"severity": r.Severity().String(), "body": body.AsString()}
	set := telemetrytest.EventAttributes(r)
	for _, kv := range set.ToSlice() {
		e[kv.Key] = kv.Value.String()
	}
	return e
}

// TestSharedHooks tells two servers apart that a program gave the same hooks.
func TestSharedHooks(t *testing.T) {
	shared := &server.Hooks{}
	checkLeaks(t)
	a, b := newEverything(server.WithHooks(shared)), newEverything(server.WithHooks(shared))
	ca, cb := telemetrytest.New(t), telemetrytest.New(t)
	otelmcp.Instrument(a.MCPServer, into(ca)...)
	otelmcp.Instrument(b.MCPServer, into(cb)...)

	for _, over := range []string{inProcess, streamable, sse, stdio} {
		pa := connect(t, a.MCPServer, over, legacy)
		pa.tool(t.Context(), "echo", "")
		pa.close()
	}
	if n := len(ca.EventsNamed(semconv.OTelMCPOperationEventName)); n != 8 {
		t.Errorf("%d operations of the server that was used, want 8", n)
	}
	// Nobody deleted the one of streamable HTTP.
	if n, m := len(ca.EventsNamed(semconv.OTelMCPSessionStartEventName)), len(ca.EventsNamed(semconv.OTelMCPSessionEndEventName)); n != 4 || m != 3 {
		t.Errorf("%d sessions started and %d ended on the server that was used, want 4 and 3", n, m)
	}
	for _, r := range cb.Logs() {
		if r.EventName() != semconv.OTelMCPCoverageEventName {
			t.Errorf("the other server says: %v", event(r))
		}
	}
	if n := len(cb.Spans()); n > 0 {
		t.Errorf("the other server has %d spans", n)
	}
	if n := cb.CounterValue("otelmcp.server.sessions.active"); n != 0 {
		t.Errorf("the other server has %d sessions", n)
	}
}

// Sessions that their clients abandon are active until the server closes them.
func TestAbandonedSessionsAreActive(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	held := streamableServer(s.MCPServer)
	h := i.Handler(held)
	const sessions = 1000
	for range sessions {
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/mcp", strings.NewReader(rpc("0", "initialize", initializeParams)))
		r.Header.Set("Content-Type", "application/json")
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	if n := capture.CounterValue(semconv.OTelMCPServerSessionsActiveName); n != sessions {
		t.Errorf("%v sessions are active, want %d", n, sessions)
	}
	held.CloseSessions(t.Context())
	if n := capture.CounterValue(semconv.OTelMCPServerSessionsActiveName); n != 0 {
		t.Errorf("%v sessions are active after all were closed", n)
	}
	if gaps := i.Coverage().Gaps; len(gaps) > 0 {
		t.Error(gaps)
	}
}
