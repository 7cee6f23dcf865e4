// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// The HTTP edge against a corpus of raw requests, good and bad, on raw
// connections: the instrumented server answers as the bare one does, byte for
// byte, and each request leaves exactly one record.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// A step of a case sends something and reads what comes back.
type step struct {
	send string // raw; {session} and {host} are filled in
	// until is what to wait for before the connection is cut off. Without it the
	// server closes the connection.
	until string
	// cut closes the connection for writing after what was sent.
	cut bool
	// want is the record that it leaves, as shown by show. Several are separated
	// by a semicolon.
	want string
}

type httpCase struct {
	name  string
	serve string // one of rawHandlers
	// open makes a session first, which leaves a record for initialize.
	open  bool
	steps []step
	// ended makes a session of the HTTP+SSE transport first, and ends it.
	ended bool
	// answers is how many come on the stream of the HTTP+SSE transport.
	answers int
}

// rawHandlers are the servers that the cases run on.
var rawHandlers = map[string]func(*server.MCPServer) http.Handler{
	"": func(s *server.MCPServer) http.Handler { return quietHTTP(s) },
	"stateful": func(s *server.MCPServer) http.Handler {
		return quietHTTP(s, server.WithStateful(true))
	},
	"stateless": func(s *server.MCPServer) http.Handler {
		return quietHTTP(s, server.WithStateLess(true))
	},
	"quiet": func(s *server.MCPServer) http.Handler {
		return quietHTTP(s, server.WithDisableStreaming(true))
	},
	"cors": func(s *server.MCPServer) http.Handler {
		return quietHTTP(s, server.WithStreamableHTTPCORS(server.WithCORSAllowedOrigins("https://app.example")))
	},
	"sse": func(s *server.MCPServer) http.Handler { return server.NewSSEServer(s) },
	"mux": func(s *server.MCPServer) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("POST /mcp", quietHTTP(s))
		return mux
	},
	"guarded": func(s *server.MCPServer) http.Handler {
		next := quietHTTP(s)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer sesame" {
				w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
				http.Error(w, "who are you?", http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	},
	"small": func(s *server.MCPServer) http.Handler { return quietHTTP(s) }, // http.MaxBytesHandler around it
	"broken": func(*server.MCPServer) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	},
	"picky": func(s *server.MCPServer) http.Handler { // a program's own refusal of a handshake
		refuseEvilClients(s)
		return quietHTTP(s)
	},
	"picky sse": func(s *server.MCPServer) http.Handler {
		refuseEvilClients(s)
		return server.NewSSEServer(s)
	},
}

func refuseEvilClients(s *server.MCPServer) {
	s.GetHooks().AddOnRequestInitialization(func(_ context.Context, _, message any) error {
		if raw, ok := message.(json.RawMessage); ok && bytes.Contains(raw, []byte("evil")) {
			return errors.New("not you")
		}
		return nil
	})
}

func quietHTTP(s *server.MCPServer, opts ...server.StreamableHTTPOption) http.Handler {
	return server.NewStreamableHTTPServer(s, append(opts, server.WithStreamableHTTPLogger(slog.New(slog.DiscardHandler)))...)
}

// post renders a POST to the root with the headers and the body.
func rawPost(body string, headers ...string) string { return rawPostTo("/", body, headers...) }

func rawPostTo(path, body string, headers ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n", path)
	typed := false
	for _, h := range headers {
		typed = typed || strings.HasPrefix(h, "Content-Type:")
		if h != "Content-Type:" {
			b.WriteString(h + "\r\n")
		}
	}
	if !typed {
		b.WriteString("Content-Type: application/json\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return b.String()
}

// inSession is post in the session that the case opened.
func inSession(body string, headers ...string) string {
	return rawPost(body, append([]string{"Mcp-Session-Id: {session}"}, headers...)...)
}

// bare is a request without a body.
func plain(method, path string, headers ...string) string {
	h := ""
	if len(headers) > 0 {
		h = strings.Join(headers, "\r\n") + "\r\n"
	}
	return method + " " + path + " HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n" + h + "\r\n"
}

// rpc renders a request with the params, and modernRPC one of the newest
// version of the protocol.
func rpc(id, method, params string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":` + params + `}`
}

func modernRPC(id, method, params string) string {
	meta := `"_meta":{"` + mcp.MetaKeyProtocolVersion + `":"2026-07-28","` + mcp.MetaKeyClientInfo +
		`":{"name":"tester","version":"1.2.3"},"` + mcp.MetaKeyClientCapabilities + `":{}}`
	if params != "{}" {
		meta += "," + params[1:len(params)-1]
	}
	return rpc(id, method, "{"+meta+"}")
}

func modernHeaders(method, name string) []string {
	h := []string{"Mcp-Protocol-Version: 2026-07-28", "Mcp-Method: " + method}
	if name != "" {
		h = append(h, "Mcp-Name: "+name)
	}
	return h
}

const forged = "mcp-session-00000000-0000-4000-8000-000000000000"

// conversation is a server that a case talks to.
type conversation struct {
	t       *testing.T
	web     *httptest.Server
	session string
}

func converse(t *testing.T, h http.Handler) *conversation {
	t.Helper()
	web := httptest.NewUnstartedServer(h)
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	web.Start()
	return &conversation{t: t, web: web}
}

func (c *conversation) addr() string { return c.web.Listener.Addr().String() }

// do sends and reads what a step says, and returns what was read.
func (c *conversation) do(s step) string {
	c.t.Helper()
	conn, err := net.Dial("tcp", c.addr())
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	raw := strings.NewReplacer("{host}", c.addr(), "{session}", c.session).Replace(s.send)
	go func() { _, _ = conn.Write([]byte(raw)) }() // a server may answer before it has read all
	if s.cut {
		c.read(conn, s.until)
		return ""
	}
	got := c.read(conn, s.until)
	if id := regexp.MustCompile(`(?m)^Mcp-Session-Id: (\S+)`).FindStringSubmatch(got); id != nil {
		c.session = id[1]
	}
	if id := regexp.MustCompile(`sessionId=(\S+)`).FindStringSubmatch(got); id != nil {
		c.session = id[1]
	}
	return got
}

func (c *conversation) read(conn net.Conn, until string) string {
	var b bytes.Buffer
	buf := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buf)
		b.Write(buf[:n])
		if until != "" && bytes.Contains(b.Bytes(), []byte(until)) {
			break
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
				c.t.Errorf("read: %v after %q", err, b.String())
			}
			break
		}
	}
	return b.String()
}

// varying is what differs from run to run: the date, ids and ports.
var varying = regexp.MustCompile(`(?m)^Date: .*|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|127\.0\.0\.1:[0-9]+`)

// onStream says that the case has a stream of HTTP+SSE.
func (c *httpCase) onStream() bool { return c.open && strings.HasSuffix(c.serve, "sse") }

// run plays a case and returns what the client read.
func (c *httpCase) run(t *testing.T, wrap func(*server.MCPServer, http.Handler) http.Handler) []string {
	t.Helper()
	s := newEverything()
	if s.GetHooks() == nil {
		server.WithHooks(&server.Hooks{})(s.MCPServer)
	}
	h := rawHandlers[c.serve](s.MCPServer)
	h = wrap(s.MCPServer, h)
	if c.serve == "small" {
		h = http.MaxBytesHandler(h, 200)
	}
	over := make(chan struct{}, 1)
	if c.ended {
		next := h
		h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			if r.Method == http.MethodGet {
				over <- struct{}{} // mcp-go forgets the session last
			}
		})
	}
	talk := converse(t, h)
	var stream net.Conn
	if c.ended {
		_ = talk.stream().Close()
		recv(t, over)
	}
	if c.onStream() {
		stream = talk.stream()
	} else if c.open {
		talk.do(step{send: rawPost(rpc("0", "initialize", initializeParams))})
		if talk.session == "" {
			t.Fatal("the handshake made no session")
		}
	}
	var read []string
	for _, s := range c.steps {
		read = append(read, varying.ReplaceAllString(talk.do(s), "~"))
	}
	if stream != nil {
		// The answer to a last message of our own says that the ones before were
		// read. Answers come in any order.
		talk.do(step{send: rawPostTo("/message?sessionId={session}", rpc("999", "ping", "{}"))})
		var all string
		for strings.Count(all, "event: message") <= c.answers {
			all += talk.read(stream, "\n\n")
		}
		events := regexp.MustCompile(`(?m)^data: .*`).FindAllString(all, -1)
		slices.Sort(events)
		read = append(read, varying.ReplaceAllString(strings.Join(events, "\n"), "~"))
		_ = stream.Close()
	}
	talk.web.Close()
	return read
}

// stream opens the stream of the HTTP+SSE transport.
func (c *conversation) stream() net.Conn {
	c.t.Helper()
	conn, err := net.Dial("tcp", c.addr())
	if err != nil {
		c.t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(conn, "GET /sse HTTP/1.1\r\nHost: "+c.addr()+"\r\n\r\n")
	got := c.read(conn, "\r\n\r\n\r\n")
	id := regexp.MustCompile(`sessionId=(\S+)`).FindStringSubmatch(got)
	if id == nil {
		c.t.Fatalf("no session in %q", got)
	}
	c.session = id[1]
	return conn
}

// show renders what was recorded, in a form that a table can say.
func show(e said) string {
	who := ""
	if e["otelmcp.role"] == "client" {
		who = "> "
	}
	or := func(key attribute.Key) string {
		if e[key] == "" {
			return "-"
		}
		return e[key]
	}
	text := who + e["otelmcp.outcome"] + " " + e["otelmcp.stage"] + " " + or("mcp.method.name") + " " +
		or("http.response.status_code") + " " + or("rpc.response.status_code")
	for _, key := range []attribute.Key{
		"otelmcp.session.integrity", "otelmcp.auth.reason", "otelmcp.cancel.source", "otelmcp.stream.end_reason",
	} {
		if e[key] != "" && (key != "otelmcp.auth.reason" || e["otelmcp.auth.decision"] != "allow") {
			text += " " + e[key]
		}
	}
	return text
}

func records(c *telemetrytest.Capture) []string {
	var all []string
	events := c.EventsNamed(semconv.OTelMCPOperationEventName)
	for k := range events {
		all = append(all, show(event(events[k])))
	}
	return all
}

func TestHTTPCorpus(t *testing.T) {
	names := map[string]bool{}
	for k := range rawCorpus {
		c := &rawCorpus[k]
		if names[c.name] {
			t.Errorf("two cases %q", c.name)
		}
		names[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			checkLeaks(t)
			want := c.run(t, func(_ *server.MCPServer, h http.Handler) http.Handler { return h })
			capture := telemetrytest.New(t)
			var i *otelmcp.Instrumentation
			got := c.run(t, func(s *server.MCPServer, h http.Handler) http.Handler {
				i = otelmcp.Instrument(s, into(capture)...)
				return i.Handler(h)
			})
			for k := range want {
				if got[k] != want[k] {
					t.Errorf("step %d: answered\n%q\nwithout instrumentation\n%q", k, got[k], want[k])
				}
			}
			var expected []string
			if c.ended {
				expected = append(expected, "ok transport - 200 - disconnect")
			}
			if c.open && !c.onStream() {
				expected = append(expected, "ok handler initialize 200 -")
			} else if c.open {
				expected = append(expected, "ok transport - 200 - disconnect", "ok handler ping 202 -")
			}
			for _, s := range c.steps {
				if s.want != "" { // net/http itself turns some requests away
					expected = append(expected, strings.Split(s.want, "; ")...)
				}
			}
			is := records(capture)
			slices.Sort(is)
			slices.Sort(expected)
			if !slices.Equal(is, expected) {
				t.Errorf("recorded\n  %s\nwant\n  %s", strings.Join(is, "\n  "), strings.Join(expected, "\n  "))
			}
			if gaps := i.Coverage().Gaps; len(gaps) > 0 {
				t.Errorf("gaps: %v", gaps)
			}
		})
	}
}
