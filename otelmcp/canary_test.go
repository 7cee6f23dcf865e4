// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Canaries: secrets, and text that forges or hides, in every place that a peer
// or a program can put text. None of it reaches a signal.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"
	otellog "go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// secret is a credential and the part of it that must not be seen.
type secret struct{ text, mark string }

var secrets = []secret{
	{"password=hunter2", "hunter2"},
	{"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U", "dozjgNryP4J3jVmNHl0w5N"},
	{"AKIAIMNOPQRSTUVWXYZ2", "AKIAIMNOPQRSTUVWXYZ2"},
	{"Authorization: Bearer 5ecretOpaqueBearerValue", "5ecretOpaqueBearer"},
	{"https://alice:userinf0@example.com/p?api_key=quer1es#fr4gment", "userinf0|quer1es|fr4gment"},
	{"-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\\n-----END PRIVATE KEY-----", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"},
	{"ghp_abcdefghijklmnopqrstuvwxyz0123456789", "ghp_abcdefghijklmnopqrstuvwxyz"},
}

// forgeries are texts that must not reach a terminal or a log as they are, in
// JSON's notation.
var forgeries = []string{
	`line\nERROR forged`, `cr\rover`, `ansi\u001b[31mred\u001b[0m`, `bidi\u202Eevil\u2066x\u2069`, `nul\u0000nul`, `zero\u200bwidth\ufeff`, `c1\u0085\u009b31m`,
	`sep\u2028sep\u2029`, `osc\u001b]0;title\u0007`, `tag\udb40\udc41`, `bad\ud800`, `del\u007f`,
}

// canaryServer is a server whose tools, prompts and resources return, or fail
// with, what they were sent.
func canaryServer() *server.MCPServer {
	srv := server.NewMCPServer("canary", "1", server.WithToolCapabilities(true), server.WithPromptCapabilities(true),
		server.WithResourceCapabilities(true, true), server.WithCompletions(), server.WithLogging(), server.WithRecovery(), server.WithResourceRecovery(),
		server.WithTaskCapabilities(true, true, true))
	said := func(r mcp.CallToolRequest) string { return r.GetString("text", "") }
	tool := func(name string, h server.ToolHandlerFunc) {
		srv.AddTool(mcp.NewTool(name, mcp.WithString("text"), mcp.WithString("password")), h)
	}
	tool("echo", func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultStructured(map[string]any{"text": said(r), said(r): []any{said(r), map[string]any{said(r): 1}}}, said(r)), nil
	})
	tool("fail", func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultError("it failed: " + said(r)), nil
	})
	tool("error", func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return nil, fmt.Errorf("it failed: %w", errors.New(said(r)))
	})
	tool("panic", func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) { panic(said(r)) })
	srv.AddTaskTool(mcp.NewTool("task", mcp.WithTaskSupport(mcp.TaskSupportRequired), mcp.WithString("text")),
		func(_ context.Context, r mcp.CallToolRequest) (*mcp.CreateTaskResult, error) {
			return nil, errors.New(said(r))
		})
	srv.AddPrompt(mcp.NewPrompt("prompt", mcp.WithArgument("text")), func(_ context.Context, r mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		if r.Params.Arguments["fail"] != "" {
			return nil, errors.New(r.Params.Arguments["text"])
		}
		return mcp.NewGetPromptResult(r.Params.Arguments["text"], nil), nil
	})
	srv.AddResourceTemplate(mcp.NewResourceTemplate("{+any}", "any"), func(_ context.Context, r mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
		return nil, errors.New("no " + r.Params.URI)
	})
	return srv
}

// canaryMessages puts text, which is in JSON's notation, in each place of a
// message.
func canaryMessages(text string) (out []string) {
	q := `"` + text + `"`
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, tool := range []string{"echo", "fail", "error", "panic"} {
		add(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":{"text":%s,"password":%s,%s:%s,"deep":{%s:[%s]}}}}`, tool, q, q, q, q, q, q)
		add(`{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":%q,"arguments":{"text":%s},"_meta":{"traceparent":%s,"tracestate":%s,"baggage":%s,"progressToken":%s,%s:%s}}}`,
			q, tool, q, q, q, q, q, q, q)
	}
	add(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%s,"arguments":{"text":%s}}}`, q, q)
	add(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"task","arguments":{"text":%s},"task":{}}}`, q)
	add(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":{"x":%s}}}`, q)
	add(`{"jsonrpc":"2.0","id":1,"method":%s,"params":{%s:%s}}`, q, q, q)
	add(`{"jsonrpc":"2.0","id":1,"method":"tools/%s"}`, text)
	for _, method := range []string{"prompts/get", "tools/list", "resources/list", "tasks/get", "tasks/result", "tasks/cancel", "logging/setLevel", "completion/complete"} {
		add(`{"jsonrpc":"2.0","id":%s,"method":%q,"params":{"name":%s,"cursor":%s,"taskId":%s,"level":%s,"ref":{"type":"ref/prompt","name":%s},"argument":{"name":%s,"value":%s}}}`,
			q, method, q, q, q, q, q, q, q)
	}
	add(`{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/resource","uri":%s},"argument":{"name":%s,"value":%s}}}`, q, q, q)
	add(`{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"prompt","arguments":{"text":%s,%s:%s}}}`, q, q, q)
	add(`{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"prompt","arguments":{"text":%s,"fail":"yes"}}}`, q)
	for _, method := range []string{"resources/read", "resources/subscribe", "resources/unsubscribe"} {
		add(`{"jsonrpc":"2.0","id":1,"method":%q,"params":{"uri":%s}}`, method, q)
		add(`{"jsonrpc":"2.0","id":1,"method":%q,"params":{"uri":"db://root:%s@host/%s?q=%s#%s"}}`, method, text, text, text, text)
	}
	add(`{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",`+
		`"io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":%s,"version":%s}}}}`, q, q)
	add(`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":%s}}}`, q)
	add(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":%s,"capabilities":{},"clientInfo":{"name":%s,"version":%s}}}`, q, q, q)
	add(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s,"reason":%s}}`, q, q)
	add(`{"jsonrpc":%s,"id":%s,"method":"ping"}`, q, q)
	add(`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":%s}}`, q)
	add(`not json %s`, text)
	return out
}

// eachString calls f with every text of every signal, and where it is.
func eachString(t *testing.T, c *telemetrytest.Capture, f func(where, text string)) {
	t.Helper()
	for _, text := range c.Texts() {
		f(text.Where, text.Value)
	}
}

// anyID is a session manager that takes whatever a client sends.
type anyID struct{ next string }

func (a *anyID) Generate() string            { return a.next }
func (*anyID) Validate(string) (bool, error) { return false, nil }
func (*anyID) Terminate(string) (bool, error) {
	return false, nil
}

// sendHTTP sends the messages over HTTP, with text in the headers as well.
func sendHTTP(t *testing.T, srv *server.MCPServer, text string, messages []string) {
	t.Helper()
	var plain string
	if err := json.Unmarshal([]byte(`"`+text+`"`), &plain); err != nil {
		t.Fatal(err)
	}
	header := strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return '_'
		}
		return r
	}, plain)
	ids := &anyID{next: header}
	ts := httptest.NewServer(server.NewStreamableHTTPServer(srv, server.WithStateful(true), server.WithSessionIdManager(ids),
		server.WithStreamableHTTPLogger(slog.New(slog.DiscardHandler))))
	defer ts.Close()
	for n, raw := range messages {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, ts.URL+"/mcp?"+
			strings.ReplaceAll(fmt.Sprintf("access_token=%x", plain), " ", ""), strings.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		h := req.Header
		h.Set("Content-Type", "application/json")
		h.Set("Authorization", "Bearer "+header)
		h.Set("Cookie", "session="+header)
		h.Set("User-Agent", header)
		h.Set("X-Api-Key", header)
		h.Set("X-Forwarded-For", header)
		h.Set("Origin", header)
		h.Set("Referer", header)
		h.Set("Baggage", "k="+header)
		h.Set("Traceparent", header)
		h.Set("Last-Event-Id", header)
		if n%2 == 0 {
			h.Set("Mcp-Session-Id", header)
		}
		if n%3 == 0 {
			h.Set("Mcp-Name", header)
			h.Set("Mcp-Method", header)
		}
		if strings.Contains(raw, "2026-07-28") {
			h.Set("Mcp-Protocol-Version", "2026-07-28")
			h.Set("Mcp-Method", "server/discover")
			h.Del("Last-Event-Id")
		}
		res, err := ts.Client().Do(req)
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
}

// sendStdio sends the messages over stdio, and waits for the answer to a ping
// that follows each.
func sendStdio(t *testing.T, srv *server.MCPServer, messages []string) {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	s := server.NewStdioServer(srv)
	s.SetErrorLogger(log.New(io.Discard, "", 0))
	ended := make(chan error, 1)
	go func() {
		ended <- s.Listen(t.Context(), inR, outW)
		_ = outW.Close()
	}()
	answers := make(chan string, 1000)
	go func() {
		defer close(answers)
		dec := json.NewDecoder(outR)
		for {
			var raw json.RawMessage
			if dec.Decode(&raw) != nil {
				return
			}
			answers <- string(raw)
		}
	}()
	for _, raw := range messages {
		if _, err := io.WriteString(inW, raw+"\n"); err != nil {
			t.Fatal(err)
		}
		if hasAnswer(raw) {
			<-answers
		}
	}
	_ = inW.Close()
	for more := true; more; {
		_, more = <-answers
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// hasAnswer tells the messages of canaryMessages that are answered.
func hasAnswer(raw string) bool { return !strings.Contains(raw, `"method":"notifications/`) }

func canaryWays(t *testing.T, text string, opts ...otelmcp.Option) []*telemetrytest.Capture {
	t.Helper()
	messages := canaryMessages(text)
	c1, o1 := captureOptions(t, telemetrytest.WithoutCheck())
	srv := canaryServer()
	otelmcp.Instrument(srv, append(o1, opts...)...)
	sendHTTP(t, srv, text, messages)
	c2, o2 := captureOptions(t, telemetrytest.WithoutCheck())
	srv = canaryServer()
	otelmcp.Instrument(srv, append(o2, opts...)...)
	sendStdio(t, srv, messages)
	for n, c := range []*telemetrytest.Capture{c1, c2} {
		if got := len(c.EventsNamed(semconv.OTelMCPOperationEventName)); got < len(messages)/2 {
			t.Errorf("way %d: %d operations for %d messages: the canaries do not get there", n, got, len(messages))
		}
	}
	return []*telemetrytest.Capture{c1, c2}
}

var captureModes = []struct {
	name string
	opts []otelmcp.Option
}{
	{"default", nil},
	{"content captured", []otelmcp.Option{otelmcp.WithContentCapture(otelmcp.Arguments | otelmcp.Results | otelmcp.PromptVariables)}},
	{"content on events", []otelmcp.Option{
		otelmcp.WithContentOnEvents(otelmcp.Arguments | otelmcp.Results | otelmcp.PromptVariables), otelmcp.WithErrorText(),
		otelmcp.WithContentOnEvents(otelmcp.Arguments|otelmcp.PromptVariables, otelmcp.OnlyArguments("text", "who", "password", "value", "a", "b")),
	}},
	{"public endpoint", []otelmcp.Option{otelmcp.WithPublicEndpoint()}},
}

func TestCanarySecrets(t *testing.T) {
	for _, mode := range captureModes {
		for n, s := range secrets {
			t.Run(fmt.Sprintf("%s/%d", mode.name, n), func(t *testing.T) {
				mark := regexp.MustCompile(s.mark)
				for k, c := range canaryWays(t, s.text, mode.opts...) {
					leaks := map[string]string{}
					eachString(t, c, func(where, text string) {
						if mark.MatchString(text) {
							leaks[where] = text
						}
					})
					for where, text := range leaks {
						t.Errorf("%s: %s has %q", []string{"http", "stdio"}[k], where, text)
					}
				}
			})
		}
	}
}

// visible reports the first character of text that can forge or hide.
func visible(text string) (rune, bool) {
	for _, r := range text {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' || r >= 0xe0000 && r <= 0xe0fff {
			return r, false
		}
	}
	return 0, true
}

func TestCanaryForgeries(t *testing.T) {
	for _, mode := range captureModes {
		for n, text := range forgeries {
			t.Run(fmt.Sprintf("%s/%d", mode.name, n), func(t *testing.T) {
				for k, c := range canaryWays(t, text, mode.opts...) {
					leaks := map[string]string{}
					eachString(t, c, func(where, text string) {
						if r, ok := visible(text); !ok {
							leaks[where] = fmt.Sprintf("%q in %q", r, text)
						}
					})
					for where, what := range leaks {
						t.Errorf("%s: %s has %s", []string{"http", "stdio"}[k], where, what)
					}
				}
			})
		}
	}
}

// TestCanaryDefinitions: what a program names its tools is its own business,
// but a name that looks like a secret is none of the collector's.
func TestCanaryDefinitions(t *testing.T) {
	c, opts := captureOptions(t, telemetrytest.WithoutCheck())
	srv := server.NewMCPServer("definitions", "1", server.WithToolCapabilities(true), server.WithResourceCapabilities(true, true))
	otelmcp.Instrument(srv, opts...)
	list := json.RawMessage(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	resources := json.RawMessage(`{"jsonrpc":"2.0","id":1,"method":"resources/list"}`)
	srv.HandleMessage(t.Context(), list)
	srv.AddTool(mcp.NewTool("plugin\x1b[31m\u202eghp_abcdefghijklmnopqrstuvwxyz0123456789", mcp.WithDescription("password=hunter2")), nilTool)
	srv.AddResource(mcp.NewResource("db://root:userinf0@host/x?token=quer1es", "password=hunter2"), nil)
	srv.HandleMessage(t.Context(), list)
	srv.HandleMessage(t.Context(), resources)
	if n := len(c.EventsNamed(semconv.OTelMCPDefinitionChangedEventName)); n != 2 {
		t.Errorf("%d definitions changed, want 2", n)
	}
	eachString(t, c, func(where, text string) {
		if _, ok := visible(text); !ok || regexp.MustCompile("hunter2|ghp_abc|userinf0|quer1es").MatchString(text) {
			t.Errorf("%s has %q", where, text)
		}
	})
}

// TestCanaryOfTheProgram: secrets in what the program itself hands over by its
// callbacks, of which only the identity is meant to be recorded.
func TestCanaryOfTheProgram(t *testing.T) {
	c, opts := captureOptions(t)
	srv := canaryServer()
	otelmcp.Instrument(srv, append(opts,
		otelmcp.WithIdentity(func(context.Context) otelmcp.Identity {
			return otelmcp.Identity{UserID: "u\n\x1b[31m password=hunter2", Roles: []string{"admin", "r\x00\u202e token=ghp_abcdefghijklmnopqrstuvwxyz0123456789", strings.Repeat("r", 1<<14)}}
		}),
		otelmcp.WithScrubber(func(_, v string) string { return v + "\n\x1b[31m\u202e password=hunter2" }))...)
	for _, raw := range canaryMessages("plain") {
		srv.HandleMessage(t.Context(), json.RawMessage(raw))
	}
	leaks := map[string]string{}
	eachString(t, c, func(where, text string) {
		if len(text) > 2000 {
			leaks[where] = clip(text)
		} else if _, ok := visible(text); !ok || strings.Contains(text, "hunter2") || strings.Contains(text, "ghp_abc") {
			leaks[where] = text
		}
	})
	for where, text := range leaks {
		t.Errorf("%s has %q", where, text)
	}
}

// TestCanariesSing proves that the walk finds a secret wherever it is.
func TestCanariesSing(t *testing.T) {
	c := telemetrytest.New(t, telemetrytest.WithoutCheck())
	tracer, meter, logger := c.TracerProvider().Tracer("t"), c.MeterProvider().Meter("t"), c.LoggerProvider().Logger("t")
	ctx, span := tracer.Start(t.Context(), "1hunter2")
	span.SetAttributes(attribute.String("k", "2hunter2"), attribute.StringSlice("k2", []string{"3hunter2"}),
		attribute.KeyValue{Key: "k3", Value: attribute.MapValue(attribute.String("4hunter2", "x"), attribute.KeyValue{
			Key: "y", Value: attribute.SliceValue(attribute.StringValue("5hunter2")),
		})})
	span.AddEvent("6hunter2", trace.WithAttributes(attribute.String("k", "7hunter2")))
	span.AddLink(trace.Link{Attributes: []attribute.KeyValue{attribute.String("k", "8hunter2")}})
	span.SetStatus(1, "9hunter2")
	var r otellog.Record
	r.SetEventName("10hunter2")
	r.SetBody(attribute.StringValue("11hunter2"))
	r.AddAttributes(attribute.String("12hunter2", "13hunter2"))
	logger.Emit(ctx, r)
	n, err := meter.Int64Counter("n")
	if err != nil {
		t.Fatal(err)
	}
	n.Add(ctx, 1, metric.WithAttributes(attribute.String("k", "14hunter2")))
	span.End()
	found := map[string]bool{}
	eachString(t, c, func(_, text string) {
		if before, _, ok := strings.Cut(text, "hunter2"); ok {
			found[before] = true
		}
	})
	for k := 1; k <= 14; k++ {
		if !found[fmt.Sprint(k)] {
			t.Errorf("canary %d is not found", k)
		}
	}
}
