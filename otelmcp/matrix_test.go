// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// docs/coverage.md, which says what is seen with and without an edge. It is
// written by the test that proves it: go test -run TestCoverageMatrix -update

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

//go:generate go test -count=1 -run ^TestCoverageMatrix$ . -update

var update = flag.Bool("update", false, "write docs/coverage.md anew")

// A matrixRow is a class of messages, with a case of each corpus that stands for
// it; "" where the transport does not have it.
type matrixRow struct{ what, http, sse, stdio string }

var matrix = []matrixRow{
	{"a request that succeeds", "tools/call", "SSE: a call", "tools/call"},
	{"a tool that fails, errs or panics", "a tool that panics", "SSE: a tool that panics", "a tool that panics"},
	{"an unknown method", "an unknown method", "SSE: an unknown method", "an unknown method"},
	{"an unknown or hidden tool", "a hidden tool", "SSE: a hidden tool", "a hidden tool"},
	{"a parse error", "half an object", "SSE: no JSON", "half an object"},
	{"a batch", "a batch", "SSE: a batch", "a batch"},
	{"a wrong JSON-RPC version", "another version", "SSE: another version", "another version"},
	{"a message that the newest protocol version rejects", "headers that do not match", "", "no capabilities"},
	{"a handshake that the program refuses", "a handshake that the program refuses", "SSE: a handshake that the program refuses", ""},
	{"a notification from the client", "initialized", "SSE: a notification", "a notification"},
	{"a cancellation that the client asks for", "cancelled, of nothing", "SSE: cancelled, of nothing", "cancelled, of nothing"},
	{"an answer that nobody asked for", "an answer that nobody asked for", "SSE: an answer that nobody asked for", "an answer that nobody asked for"},
	{"a forged session", "a forged session, where sessions are checked", "SSE: a forged session", ""},
	{"a session after its end", "a session after its end, where sessions are checked", "SSE: a session after its end", ""},
	{"a wrong HTTP method, path or content type", "PUT", "SSE: POST to the stream", ""},
	{"a foreign Host header", "another host", "SSE: another host", ""},
	{"a refusal by authentication inside of the handler", "no credentials", "", ""},
	{"a GET stream, from its start to its end", "a GET stream of its own", "", ""},
	{"DELETE of a session", "DELETE", "", ""},
	{"a line that does not end", "", "", "a line that does not end"},
	{"an empty line", "", "", "an empty line"},
}

const matrixHead = `# What is seen

<!-- Written by TestCoverageMatrix; do not edit. -->

` + "`otelmcp.Instrument(srv)`" + ` alone sees what mcp-go dispatches. An edge sees what reaches the process: ` + "`Handler`" + ` around
the HTTP handler, ` + "`ServeStdio` or `Listen`" + ` in the place of mcp-go's. Each row is a class of messages, played on a raw connection; ` + "`yes`" + `
says that each of them ended in exactly one ` + "`otelmcp.operation`" + ` event and one count.

| | streamable HTTP, alone | with Handler | HTTP+SSE, alone | with Handler | stdio, alone | with ServeStdio |
|---|---|---|---|---|---|---|
`

const matrixFoot = `
With an edge, each record also has the size of the message and of its answer, and over HTTP the client's address, the user agent, the
method, the path and the status. What the server sends on its own (notifications, pings) is recorded too. A session's end says why it ended.

No edge sees

- what Go's net/http turns away before any handler runs: requests that are not HTTP, headers that are too large, a TLS handshake that fails;
- the in-process transport, which has no bytes to look at: there, notifications and messages that mcp-go rejects before dispatch leave no record;
- how a task ended that no client asked for;
- what stands beyond the first MiB of a message that mcp-go does not dispatch. Such a message is recorded, with its size and how much of it was not
  looked at (` + "`otelmcp.request.unread`" + `).

Inside of Handler, http.MaxBytesReader cannot tell net/http to close the connection after a body that is too large, as inside of any other wrapper
of a ResponseWriter: put http.MaxBytesHandler around Handler, where it also works for what Handler sees.

` + "`Coverage()`" + ` and the event ` + "`otelmcp.coverage`" + ` say which of this holds for a running server: which transports carried messages, which
edges are in place, and what is not seen, with the line that changes it. Edges compare what arrived with what was recorded; a difference is a gap, too.

A signal that goes nowhere is a gap as well: its provider is a no-op, or is the global one and nobody has set it. The latter is also said once on
stderr, through OpenTelemetry's error handler, when the first message comes. A program may set its providers later: from then on messages are
recorded, and the gap is gone. While none of the three signals goes anywhere, no spans are made of messages without an edge, not even those that
eBPF auto-instrumentation of OpenTelemetry would take.
`

func TestCoverageMatrix(t *testing.T) {
	var b strings.Builder
	b.WriteString(matrixHead)
	for _, row := range matrix {
		fmt.Fprintf(&b, "| %s |", row.what)
		for _, name := range []string{row.http, row.sse} {
			for _, edge := range []bool{false, true} {
				b.WriteString(" " + seenOverHTTP(t, name, edge) + " |")
			}
		}
		for _, edge := range []bool{false, true} {
			b.WriteString(" " + seenOnStdio(t, row.stdio, edge) + " |")
		}
		b.WriteString("\n")
	}
	b.WriteString(matrixFoot)
	const path = "../docs/coverage.md"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if is, err := os.ReadFile(path); err != nil || string(is) != b.String() {
		t.Errorf("%s is not what was seen (%v); run make generate. Seen:\n%s", path, err, b.String())
	}
}

// seen says whether the records are those that the case asks for.
func seen(c *telemetrytest.Capture, expected int) string {
	if n := len(c.EventsNamed(semconv.OTelMCPOperationEventName)); n == expected {
		return "yes"
	}
	return "no"
}

func seenOverHTTP(t *testing.T, name string, edge bool) string {
	t.Helper()
	if name == "" {
		return ""
	}
	for k := range rawCorpus {
		c := &rawCorpus[k]
		if c.name != name {
			continue
		}
		capture := telemetrytest.New(t)
		c.run(t, func(s *server.MCPServer, h http.Handler) http.Handler {
			i := otelmcp.Instrument(s, into(capture)...)
			if edge {
				return i.Handler(h)
			}
			return h
		})
		expected := 0
		for _, s := range c.steps {
			expected += strings.Count(s.want, "; ") + 1
		}
		if c.open { // the handshake, or the last ping and, with an edge, the stream
			expected++
		}
		if (c.onStream() || c.ended) && edge {
			expected++
		}
		return seen(capture, expected)
	}
	t.Fatalf("no case %q", name)
	return ""
}

func seenOnStdio(t *testing.T, name string, edge bool) string {
	t.Helper()
	if name == "" {
		return ""
	}
	for _, c := range rawLines {
		if c.name != name {
			continue
		}
		capture := telemetrytest.New(t)
		s := newEverything()
		i := otelmcp.Instrument(s.MCPServer, into(capture)...)
		listen := listenBare(t.Context(), s.MCPServer)
		if edge {
			listen = listenEdge(t.Context(), i)
		}
		talkLines(t, strings.NewReader(c.in), c.answers, listen)
		return seen(capture, strings.Count(c.want, "; ")+1)
	}
	t.Fatalf("no case %q", name)
	return ""
}

// A server without an edge is told which line to add, once it is known which
// one; with the edge, nothing is left to say.
func TestCoverageNamesTheLine(t *testing.T) {
	for _, c := range []struct{ serve, transport, line string }{
		{"", streamable, "Handler(h)"}, {"sse", sse, "Handler(h)"}, {"stdio", stdio, "ServeStdio(ctx)"},
	} {
		for _, edge := range []bool{false, true} {
			s, _ := instrumented(t)
			i := otelmcp.Instrument(s.MCPServer)
			if c.serve == "stdio" {
				listen := listenBare(t.Context(), s.MCPServer)
				if edge {
					listen = listenEdge(t.Context(), i)
				}
				talkLines(t, strings.NewReader(rpc("1", "ping", "{}")+"\n"), 1, listen)
			} else {
				h := rawHandlers[c.serve](s.MCPServer)
				if edge {
					h = i.Handler(h)
				}
				talk := converse(t, h)
				if c.serve == "sse" {
					stream := talk.stream()
					talk.do(step{send: rawPostTo("/message?sessionId={session}", rpc("1", "ping", "{}"))})
					talk.read(stream, `"id":1`)
					_ = stream.Close()
				} else {
					talk.do(step{send: rawPost(rpc("0", "initialize", initializeParams))})
				}
				talk.web.Close()
			}
			is := i.Coverage()
			if len(is.Transports) != 1 || is.Transports[0] != c.transport {
				t.Errorf("%+v: transports %v", c, is.Transports)
			}
			if edge && (len(is.Gaps) > 0 || len(is.Edges) != 1) {
				t.Errorf("%+v: edges %v, gaps %v", c, is.Edges, is.Gaps)
			}
			if !edge && (len(is.Gaps) != 1 || !strings.HasPrefix(is.Gaps[0], c.transport+":") || !strings.Contains(is.Gaps[0], c.line) || len(is.Edges) > 0) {
				t.Errorf("%+v: edges %v, gaps %v", c, is.Edges, is.Gaps)
			}
		}
	}
}

// FuzzHTTPEdge and FuzzStdioEdge send anything to a bare and an instrumented
// server: both answer alike, and nothing that arrived is without a record.

func FuzzHTTPEdge(f *testing.F) {
	for k := range rawCorpus {
		for _, s := range rawCorpus[k].steps {
			head, body, _ := strings.Cut(s.send, "\r\n\r\n")
			if len(body) > 10000 {
				continue
			}
			line, _, _ := strings.Cut(head, "\r\n")
			method, _, _ := strings.Cut(line, " ")
			f.Add(method, "application/json", forged, string(modern), body)
			f.Add(method, "application/json", "", "", body)
		}
	}
	build := func(edge bool, c *telemetrytest.Capture) (http.Handler, *otelmcp.Instrumentation) {
		s := newEverything()
		h := quietHTTP(s.MCPServer, server.WithStateLess(true), server.WithDisableStreaming(true))
		if !edge {
			return h, nil
		}
		i := otelmcp.Instrument(s.MCPServer, into(c)...)
		h = i.Handler(h)
		return h, i
	}
	bare, _ := build(false, nil)
	f.Fuzz(func(t *testing.T, method, contentType, session, version, body string) {
		if strings.Contains(body, "waits") || strings.Contains(body, "gives_up") || strings.Contains(body, "subscriptions") ||
			strings.Contains(body, "panics") || strings.Contains(body, "custom") || strings.Contains(body, "later") || strings.Contains(body, `\u`) {
			t.Skip("waits for somebody, panics, or is not the same twice")
		}
		c := telemetrytest.New(t, telemetrytest.WithoutCheck())
		ours, i := build(true, c)
		want, ok := serveOnce(t, bare, method, contentType, session, version, body)
		if !ok {
			t.Skip("not a request")
		}
		got, _ := serveOnce(t, ours, method, contentType, session, version, body)
		if got != want {
			t.Errorf("answered\n%s\nwithout instrumentation\n%s", got, want)
		}
		if n := len(c.EventsNamed(semconv.OTelMCPOperationEventName)); n != 1 {
			t.Errorf("%d records", n)
		}
		if gaps := i.Coverage().Gaps; len(gaps) > 0 {
			t.Errorf("gaps: %v", gaps)
		}
	})
}

func FuzzStdioEdge(f *testing.F) {
	for _, c := range rawLines {
		if len(c.in) < 10000 {
			f.Add([]byte(c.in))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		text := string(in)
		if strings.Contains(text, "waits") || strings.Contains(text, "gives_up") || strings.Contains(text, "subscriptions") ||
			strings.Contains(text, "asks") || strings.Contains(text, "custom") || strings.Contains(text, "later") || strings.Contains(text, `\u`) {
			t.Skip("waits for somebody, or is not the same twice")
		}
		c := telemetrytest.New(t, telemetrytest.WithoutCheck())
		s := newEverything()
		i := otelmcp.Instrument(s.MCPServer, into(c)...)
		if err := listenEdge(t.Context(), i)(strings.NewReader(text), io.Discard); err != nil {
			t.Error(err)
		}
		lines := strings.Count(text, "\n")
		if text != "" && !strings.HasSuffix(text, "\n") {
			lines++
		}
		// mcp-go has one session for the process: what it still had to tell the one
		// before may go out on this one.
		received := slices.DeleteFunc(records(c), func(r string) bool { return strings.HasPrefix(r, ">") })
		if n := len(received); n != lines {
			t.Errorf("%d records of %d lines: %q", n, lines, received)
		}
		settled(t, i, c)
	})
}

// serveOnce has h answer one request, and returns the answer as text. ok is
// false for what is no request.
func serveOnce(t *testing.T, h http.Handler, method, contentType, session, version, body string) (text string, ok bool) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1/mcp", strings.NewReader(body))
	if err != nil {
		return "", false
	}
	r.RemoteAddr = "192.0.2.1:1234"
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Mcp-Session-Id", session)
	r.Header.Set(mcp.HeaderProtocolVersion, version)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return fmt.Sprintf("%d %v %s", w.Code, w.Header(), w.Body), true
}
