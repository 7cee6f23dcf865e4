// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// What a client gets from its server unasked, and how what it asks can end.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// A request that the server sends is a server operation of the client, under the
// span that sent it where its _meta says which that was.
func TestClientIsAsked(t *testing.T) {
	for _, l := range []link{{over: stdio, era: legacy}, {over: streamable, era: legacy, listening: true}} {
		for _, a := range askings {
			for _, refuses := range []bool{false, true} {
				t.Run(fmt.Sprint(l, " ", a.method, " refuses ", refuses), func(t *testing.T) {
					h := newHuman()
					if refuses {
						h.err = errors.New("no, token=ghp_0123456789012345678901234567890123456")
					}
					b := observe(t, l, h.options()...)
					b.srv.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
						if err := a.ask(ctx, b.srv.MCPServer, nil); (err != nil) != refuses {
							t.Errorf("asked: %v", err)
						}
						return mcp.NewToolResultText("done"), nil
					})
					b.atClient.Reset()
					if _, err := callTool(t.Context(), b.Client, "custom", nil); err != nil {
						t.Fatal(err)
					}
					eventually(t, func() bool { return len(b.atClient.EventsNamed(semconv.OTelMCPOperationEventName)) == 2 })
					asked := b.atClient.SpanNamed(a.method)
					if asked.SpanKind() != trace.SpanKindServer {
						t.Errorf("the span is a %v", asked.SpanKind())
					}
					sent := b.atServer.SpanNamed(a.method)
					if a.method == "elicitation/create" && asked.Parent().SpanID() != sent.SpanContext().SpanID() {
						t.Error("it is no child of the span that sent it") // mcp-go sends no _meta with the others
					}
					want, status := "ok", codes.Unset
					if refuses {
						want, status = "error", codes.Error
					}
					e := event(b.record(t, a.method))
					if e["otelmcp.outcome"] != want || e["otelmcp.role"] != "server" || e["otelmcp.stage"] != "handler" || e["jsonrpc.request.id"] == "" {
						t.Errorf("the event says %v", e)
					}
					if asked.Status().Code != status || strings.Contains(fmt.Sprint(asked.Status(), e), "ghp_") {
						t.Errorf("status %v, event %v", asked.Status(), e)
					}
					if n := b.atClient.HistogramCount(semconv.MCPServerOperationDurationName, semconv.MCPMethodNameKey.String(a.method)); n != 1 {
						t.Errorf("%d points of mcp.server.operation.duration", n)
					}
				})
			}
		}
	}
}

// record returns the only event of the client about a method.
func (b *bothSides) record(t *testing.T, method string) (found telemetryRecord) {
	t.Helper()
	return only(t, eventsAbout(b.atClient, method))
}

func eventsAbout(c *telemetrytest.Capture, method string) []telemetryRecord {
	return slices.DeleteFunc(c.EventsNamed(semconv.OTelMCPOperationEventName), func(r telemetryRecord) bool {
		return event(r)["mcp.method.name"] != method
	})
}

// What used to be the server's requests comes in results in the newest version:
// it is recorded alike, from the result to the call that carries the answer.
func TestClientIsAskedInResults(t *testing.T) {
	for _, l := range []link{{over: stdio, era: modern}, {over: streamable, era: modern}, {over: inProcess, era: modern}} {
		t.Run(l.String(), func(t *testing.T) {
			b := observe(t, l, newHuman().options()...)
			b.atClient.Reset()
			r, err := callTool(t.Context(), b.Client, "asks", nil)
			if err != nil || len(r.Content) == 0 {
				t.Fatalf("called: %v, %v", r, err)
			}
			e := event(b.record(t, "elicitation/create"))
			if e["otelmcp.outcome"] != "ok" || e["otelmcp.role"] != "server" {
				t.Errorf("the event says %v", e)
			}
			var outcomes []string
			for _, r := range eventsAbout(b.atClient, "tools/call") {
				outcomes = append(outcomes, event(r)["otelmcp.outcome"])
			}
			if !slices.Equal(outcomes, []string{"input_required", "ok"}) {
				t.Errorf("the calls ended %q", outcomes)
			}
			asked := b.atClient.SpanNamed("elicitation/create")
			if asked.SpanKind() != trace.SpanKindServer {
				t.Errorf("the span is a %v", asked.SpanKind())
			}
			if !slices.ContainsFunc(b.atClient.Spans(), func(s telemetrySpan) bool {
				return s.Name() == "tools/call _OTHER" && s.SpanContext().SpanID() == asked.Parent().SpanID()
			}) {
				t.Error("it is no child of the call that was asked")
			}
		})
	}
	t.Run("a handler that fails", func(t *testing.T) {
		capture := telemetrytest.New(t)
		t.Run("talk", func(t *testing.T) {
			h := newHuman()
			h.err = errors.New("no")
			c := connectClient(t, newEverything().MCPServer, link{over: stdio, era: modern, wrap: observedBy(capture)}, h.options()...)
			if _, err := callTool(t.Context(), c, "asks", nil); err == nil {
				t.Error("the handler's error is lost")
			}
		})
		eventually(t, func() bool { return len(eventsAbout(capture, "elicitation/create")) > 0 }) // it ends with the test's context
		if e := event(only(t, eventsAbout(capture, "elicitation/create"))); e["otelmcp.outcome"] != "error" || e["error.type"] != "unanswered" {
			t.Errorf("the event says %v", e)
		}
	})
	t.Run("a caller that gives up", func(t *testing.T) {
		capture := telemetrytest.New(t)
		h := newHuman()
		h.silent = make(chan struct{})
		c := connectClient(t, newEverything().MCPServer, link{over: stdio, era: modern, wrap: observedBy(capture)}, h.options()...)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		done := make(chan error, 1)
		go func() {
			_, err := callTool(ctx, c, "asks", nil)
			done <- err
		}()
		recv(t, h.elicits)
		eventually(t, func() bool { return len(eventsAbout(capture, "elicitation/create")) == 1 })
		close(h.silent)
		_ = recv(t, done)
		if e := event(only(t, eventsAbout(capture, "elicitation/create"))); e["otelmcp.outcome"] != "timeout" {
			t.Errorf("the event says %v", e)
		}
	})
}

// A notification that the server sends is recorded where the client handles it.
func TestClientIsNotified(t *testing.T) {
	for _, l := range []link{{over: stdio, era: legacy}, {over: stdio, era: modern}, {over: streamable, era: legacy, listening: true}, {over: streamable, era: modern}, {over: sse, era: legacy}, {over: inProcess, era: legacy}} {
		t.Run(l.String(), func(t *testing.T) {
			b := observe(t, l)
			got := make(chan mcp.JSONRPCNotification, 1)
			b.OnNotification(func(n mcp.JSONRPCNotification) {
				if n.Method == "notifications/progress" {
					got <- n
				}
			})
			b.srv.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				err := server.ServerFromContext(ctx).SendNotificationToClient(ctx, "notifications/progress", map[string]any{"progressToken": 1, "progress": 0.5})
				<-b.srv.release // over HTTP mcp-go may drop what is told right before the answer
				return mcp.NewToolResultText("done"), err
			})
			done := make(chan error, 1)
			go func() {
				_, err := callTool(t.Context(), b.Client, "custom", nil)
				done <- err
			}()
			recv(t, got)
			b.srv.release <- struct{}{}
			if err := recv(t, done); err != nil {
				t.Error(err)
			}
			eventually(t, func() bool { return len(eventsAbout(b.atClient, "notifications/progress")) == 1 })
			e := event(b.record(t, "notifications/progress"))
			if e["otelmcp.outcome"] != "ok" || e["otelmcp.role"] != "server" || e["otelmcp.transport"] != l.over {
				t.Errorf("the event says %v", e)
			}
		})
	}
}

// failingHTTP is a server that answers everything with a status.
func failingHTTP(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	web := httptest.NewServer(h)
	t.Cleanup(web.Close)
	return web.URL
}

// How a client's request can end without an answer.
func TestClientFailures(t *testing.T) {
	status := func(status int, body string) func(*testing.T) string {
		return func(t *testing.T) string {
			return failingHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			})
		}
	}
	for _, c := range []struct {
		name    string
		url     func(*testing.T) string
		timeout time.Duration
		want    string // outcome, error.type, HTTP status, severity
	}{
		{"unauthorized", status(401, ""), 0, "denied 401 401 WARN"},
		{"forbidden", status(403, "no, password=hunter2"), 0, "denied 403 403 WARN"},
		{"unavailable", status(503, "busy, password=hunter2"), 0, "error 503 503 ERROR"},
		{"not found", status(404, ""), 0, "rejected 404 404 WARN"},
		{"not an answer", status(200, "hello"), 0, "error _OTHER  ERROR"},
		{"a JSON-RPC error with a status", status(400, `{"jsonrpc":"2.0","id":1,"error":{"code":-32020,"message":"no"}}`), 0, "error -32020  ERROR"},
		{"nobody listens", func(*testing.T) string { return "http://" + freeAddress(t) }, 0, "error connection_refused  ERROR"},
		{"cut off", func(t *testing.T) string {
			return failingHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
				conn, _, _ := w.(http.Hijacker).Hijack()
				_ = conn.Close()
			})
		}, 0, "error connection_lost  ERROR"},
		{"no such name", func(*testing.T) string { return "http://nowhere.invalid" }, 0, "error name_resolution  ERROR"},
		{"a certificate that nobody trusts", func(t *testing.T) string {
			web := httptest.NewUnstartedServer(http.NotFoundHandler())
			web.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
			web.StartTLS()
			t.Cleanup(web.Close)
			return web.URL
		}, 0, "error tls  ERROR"},
		{"too slow", func(t *testing.T) string {
			return failingHTTP(t, func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
			})
		}, 50 * time.Millisecond, "timeout timeout  ERROR"},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := c.url(t)
			send := func(wrap func(transport.Interface) transport.Interface) (*transport.JSONRPCResponse, error) {
				hc := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
				conn := wrap(must(transport.NewStreamableHTTP(url+"/mcp?key=secret", transport.WithHTTPBasicClient(hc), transport.WithHTTPLogger(slog.New(slog.DiscardHandler)))))
				defer conn.Close()
				ctx := t.Context()
				if c.timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.timeout)
					defer cancel()
				}
				return conn.SendRequest(ctx, transport.JSONRPCRequest{JSONRPC: "2.0", ID: mcp.NewRequestId(int64(1)), Method: "tools/list"})
			}
			capture := telemetrytest.New(t)
			bareAnswer, bareErr := send(func(t transport.Interface) transport.Interface { return t })
			answer, err := send(observedBy(capture))
			if fmt.Sprint(err) != fmt.Sprint(bareErr) && c.name != "nobody listens" && c.name != "cut off" { // where a port stands in the text
				t.Errorf("error %q, without us %q", err, bareErr)
			}
			if fmt.Sprintf("%T", err) != fmt.Sprintf("%T", bareErr) || fmt.Sprint(answer) != fmt.Sprint(bareAnswer) && answer == nil != (bareAnswer == nil) {
				t.Errorf("%T and %v, without us %T and %v", err, answer, bareErr, bareAnswer)
			}
			e := event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName)))
			is := fmt.Sprint(e["otelmcp.outcome"], " ", e["error.type"], " ", e["http.response.status_code"], " ", e["severity"])
			if is != c.want {
				t.Errorf("recorded %q, want %q: %v", is, c.want, e)
			}
			if text := fmt.Sprint(e); strings.Contains(text, "hunter2") || strings.Contains(text, "secret") {
				t.Errorf("the event leaks: %s", text)
			}
			if span := capture.SpanNamed("tools/list"); span.Status().Code != codes.Error {
				t.Errorf("status %v", span.Status())
			}
		})
	}
}

// freeAddress is one that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	return l.Addr().String()
}

// A call that its caller cancels is cancelled, and so is what it sends to say so
// recorded.
func TestClientCancels(t *testing.T) {
	for _, l := range []link{{over: stdio, era: legacy}, {over: stdio, era: modern}, {over: streamable, era: legacy}, {over: streamable, era: modern}} {
		t.Run(l.String(), func(t *testing.T) {
			b := observe(t, l)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := callTool(ctx, b.Client, "waits", nil)
				done <- err
			}()
			recv(t, b.srv.entered)
			cancel()
			if err := recv(t, done); !errors.Is(err, context.Canceled) {
				t.Errorf("called: %v", err)
			}
			recv(t, b.srv.left)
			eventually(t, func() bool { return len(eventsAbout(b.atClient, "tools/call")) == 1 })
			e := event(b.record(t, "tools/call"))
			if e["otelmcp.outcome"] != "cancelled" || e["error.type"] != "cancelled" || e["otelmcp.cancel.source"] != "client_request" {
				t.Errorf("the event says %v", e)
			}
			if l.over == stdio {
				eventually(t, func() bool { return len(eventsAbout(b.atClient, "notifications/cancelled")) == 1 })
				if e := event(b.record(t, "notifications/cancelled")); e["otelmcp.cancel.request_id"] == "" || e["otelmcp.role"] != "client" {
					t.Errorf("the notification's event says %v", e)
				}
			}
		})
	}
}

// A subscription ends when its client cancels it: that is no error.
func TestClientListens(t *testing.T) {
	for _, over := range []string{stdio, streamable} {
		t.Run(over, func(t *testing.T) {
			b := observe(t, link{over: over, era: modern})
			heard := make(chan struct{}, 8)
			b.OnNotification(func(mcp.JSONRPCNotification) { heard <- struct{}{} })
			stop, err := b.ListenAsync(t.Context(), mcp.SubscriptionFilter{ToolsListChanged: true}, func(err error) { t.Error(err) })
			if err != nil {
				t.Fatal(err)
			}
			recv(t, heard) // that it was acknowledged
			b.srv.AddTool(mcp.NewTool("new"), nil)
			recv(t, heard)
			stop()
			eventually(t, func() bool { return len(eventsAbout(b.atClient, "subscriptions/listen")) == 1 })
			e := event(b.record(t, "subscriptions/listen"))
			if e["otelmcp.outcome"] != "cancelled" || e["error.type"] != "" || e["severity"] != "INFO" {
				t.Errorf("the event says %v", e)
			}
			for _, method := range []string{"notifications/subscriptions/acknowledged", "notifications/tools/list_changed"} {
				eventually(t, func() bool { return len(eventsAbout(b.atClient, method)) > 0 })
			}
		})
	}
}

// A server that goes away takes its session with it.
func TestClientLosesItsServer(t *testing.T) {
	t.Run("stdio", func(t *testing.T) {
		capture := telemetrytest.New(t)
		checkLeaks(t)
		toServer, out, in, toClient := pipes(t)
		conn := otelmcp.WrapTransport(transport.NewIO(in, out, io.NopCloser(strings.NewReader(""))), into(capture)...)
		c := client.NewClient(conn)
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		_ = toClient.Close()
		if _, err := c.Initialize(t.Context(), greeting()); !errors.Is(err, transport.ErrTransportClosed) {
			t.Errorf("initialize: %v", err)
		}
		e := event(only(t, capture.EventsNamed(semconv.OTelMCPSessionEndEventName)))
		if e["otelmcp.session.end_reason"] != "disconnect" || e["error.type"] != "connection_lost" || e["severity"] != "WARN" {
			t.Errorf("the session's end says %v", e)
		}
		_ = c.Close()
		_ = toServer.Close()
		_ = only(t, capture.EventsNamed(semconv.OTelMCPSessionEndEventName))
		_ = only(t, capture.EventsNamed(semconv.OTelMCPSessionStartEventName))
	})
	t.Run("streamable HTTP", func(t *testing.T) {
		capture := telemetrytest.New(t)
		gone := false
		var c *client.Client
		t.Run("talk", func(t *testing.T) {
			c = connectClient(t, newEverything().MCPServer, link{
				over: streamable, era: legacy, wrap: observedBy(capture), handler: func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if gone && r.Header.Get("Mcp-Session-Id") != "" {
							http.NotFound(w, r)
							return
						}
						next.ServeHTTP(w, r)
					})
				},
			})
			gone = true
			if err := c.Ping(t.Context()); !errors.Is(err, transport.ErrSessionTerminated) { //nolint:staticcheck // It is still spoken.
				t.Errorf("ping: %v", err)
			}
			e := event(only(t, capture.EventsNamed(semconv.OTelMCPSessionEndEventName)))
			if e["otelmcp.session.end_reason"] != "disconnect" || e["error.type"] != "404" {
				t.Errorf("the session's end says %v", e)
			}
			gone = false
			if _, err := c.Initialize(t.Context(), greeting()); err != nil {
				t.Fatal(err)
			}
		})
		if n := len(capture.EventsNamed(semconv.OTelMCPSessionStartEventName)); n != 2 {
			t.Errorf("%d sessions started, want 2", n)
		}
		if n := len(capture.EventsNamed(semconv.OTelMCPSessionEndEventName)); n != 2 {
			t.Errorf("%d sessions ended, want 2", n)
		}
	})
}

// Handlers that panic take down what they take down without us, and leave a record.
func TestClientHandlersThatPanic(t *testing.T) {
	capture := telemetrytest.New(t)
	conn := newFakeTransport()
	wrapped := otelmcp.WrapTransport(conn, into(capture)...)
	wrapped.SetNotificationHandler(func(mcp.JSONRPCNotification) { panic("boom") })
	wrapped.(transport.BidirectionalInterface).SetRequestHandler(func(context.Context, transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
		panic("boom")
	})
	for name, f := range map[string]func(){
		"notifications/message": func() {
			conn.notify(mcp.JSONRPCNotification{Notification: mcp.Notification{Method: "notifications/message"}})
		},
		"ping": func() {
			_, _ = conn.request(t.Context(), transport.JSONRPCRequest{ID: mcp.NewRequestId("a"), Method: "ping"})
		},
		"tools/list": func() {
			_, _ = wrapped.SendRequest(t.Context(), transport.JSONRPCRequest{ID: mcp.NewRequestId(int64(1)), Method: "tools/list", Params: json.RawMessage(`{"panic":1}`)})
		},
	} {
		func() {
			defer func() {
				if recover() != "boom" {
					t.Errorf("%s: the panic is lost", name)
				}
			}()
			f()
		}()
		if e := event(only(t, eventsAbout(capture, name))); e["otelmcp.outcome"] != "panic" || e["error.type"] != "panic" {
			t.Errorf("%s: the event says %v", name, e)
		}
	}
}

// A notification that names the span that sent it is handled under that span.
func TestClientIsNotifiedInATrace(t *testing.T) {
	capture := telemetrytest.New(t)
	conn := newFakeTransport()
	otelmcp.WrapTransport(conn, into(capture)...).SetNotificationHandler(func(mcp.JSONRPCNotification) {})
	conn.notify(mcp.JSONRPCNotification{Notification: mcp.Notification{
		Method: "notifications/progress", Params: mcp.NotificationParams{Meta: map[string]any{"traceparent": traceparent}},
	}})
	if parent := only(t, capture.Spans()).Parent(); parent.SpanID().String() != callerSpan || parent.TraceID().String() != callerTrace {
		t.Errorf("its parent is %v", parent)
	}
}
