// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Every way in which a dispatched request can go and end, on every transport
// and in both eras where it exists: what it leaves in each of the signals,
// exactly once each.

import (
	"context"
	"errors"
	"io"
	"maps"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// Where rows apply. Notifications, parse errors, batches, a wrong JSON-RPC
// version, responses and what HTTP or a modern header check rejects have no
// rows: mcp-go does not dispatch them, and Coverage says so.
var (
	everywhere   = []string{stdio, streamable, sse, inProcess, direct}
	withSession  = []string{stdio, streamable, sse, inProcess}
	recovering   = []string{stdio, sse} // transports that answer for a handler that panicked
	callersStack = []string{inProcess, direct}
)

// row is one kind of request and what becomes of it.
type row struct {
	about  string
	method string
	params string

	eras []era    // both, when empty
	on   []string // everywhere, when empty
	why  string   // why not both, or not everywhere

	bare   bool                  // the server offers nothing
	server []server.ServerOption // more of it
	fresh  bool                  // sent before the handshake
	// send replaces the plain call.
	send func(t *testing.T, s *everything, p *peer) reply
	// saw checks what the client got; by default an answer with want.code.
	saw func(t *testing.T, r reply)

	want want
}

// want is what one operation leaves behind.
type want struct {
	span      string // the span's name
	outcome   string // ok, when empty
	stage     string // handler, when empty
	code      int    // rpc.response.status_code
	errorType string
	message   string // scrubbed; with a * at its end, only its beginning

	tool, prompt, uri string // as on the span
	raw               bool   // the target is not registered, and so not in the span's name
	method            string // on the span, where it differs from the row's
	digest            bool   // the tool's digest is known
	names             []string
	undeclared, size  int

	links []trace.SpanContext

	noID      bool // dispatch is not told the request's id
	root      bool // there is no _meta to take the parent from
	noVersion bool // the handshake has not settled a version
	noClient  bool // the handshake has not named the client
}

var rows = []row{
	// Each method, successful.
	{
		about: "initialize", method: "initialize", params: initializeParams, fresh: true, on: withSession, eras: []era{legacy},
		why:  "the modern era has no handshake, and without a session there is nothing to shake hands for",
		want: want{span: "initialize"},
	},
	{
		about: "initialize without a session", method: "initialize", params: initializeParams, on: []string{direct}, eras: []era{legacy},
		want: want{span: "initialize"},
	},
	{about: "ping", method: "ping", eras: []era{legacy}, why: "gone from the modern era", want: want{span: "ping"}},
	{about: "discover", method: "server/discover", eras: []era{modern}, why: "new in the modern era", want: want{span: "server/discover"}},
	{about: "tools/list", method: "tools/list", want: want{span: "tools/list"}},
	{
		about: "tools/call", method: "tools/call", params: `{"name":"echo","arguments":{"text":"hi"}}`,
		want: want{span: "tools/call echo", tool: "echo", digest: true, names: []string{"text"}, size: len(`{"text":"hi"}`)},
	},
	{
		about: "tools/call without arguments", method: "tools/call", params: `{"name":"echo"}`,
		want: want{span: "tools/call echo", tool: "echo", digest: true},
	},
	{
		about: "tools/call with undeclared arguments", method: "tools/call",
		params: `{"name":"echo","arguments":{"text":"hi","lang":"en","api_key":1,"b":2}}`,
		want: want{
			span: "tools/call echo", tool: "echo", digest: true, names: []string{"lang", "text"}, undeclared: 2,
			size: len(`{"text":"hi","lang":"en","api_key":1,"b":2}`),
		},
	},
	{about: "prompts/list", method: "prompts/list", want: want{span: "prompts/list"}},
	{
		about: "prompts/get", method: "prompts/get", params: `{"name":"greet","arguments":{"who":"you"}}`,
		want: want{span: "prompts/get greet", prompt: "greet"},
	},
	{about: "resources/list", method: "resources/list", want: want{span: "resources/list"}},
	{about: "resources/templates/list", method: "resources/templates/list", want: want{span: "resources/templates/list"}},
	{
		about: "resources/read", method: "resources/read", params: `{"uri":"note://one"}`,
		want: want{span: "resources/read", uri: "note://one"},
	},
	{
		about: "resources/read of a template", method: "resources/read", params: `{"uri":"page://7"}`,
		want: want{span: "resources/read", uri: "page://7"},
	},
	{
		about: "resources/subscribe", method: "resources/subscribe", params: `{"uri":"note://one"}`, eras: []era{legacy},
		why: "gone from the modern era", want: want{span: "resources/subscribe", uri: "note://one"},
	},
	{
		about: "resources/unsubscribe", method: "resources/unsubscribe", params: `{"uri":"note://one"}`, eras: []era{legacy},
		why: "gone from the modern era", want: want{span: "resources/unsubscribe", uri: "note://one"},
	},
	{
		about: "subscriptions/listen", method: "subscriptions/listen", params: `{"notifications":{}}`, eras: []era{modern},
		on: []string{stdio, streamable, inProcess}, why: "new in the modern era, which has no SSE; needs a session",
		want: want{span: "subscriptions/listen"},
	},
	{
		about: "completion of a prompt's argument", method: "completion/complete",
		params: `{"ref":{"type":"ref/prompt","name":"greet"},"argument":{"name":"who","value":"y"}}`,
		want:   want{span: "completion/complete greet", prompt: "greet"},
	},
	{
		about: "completion for an unknown prompt", method: "completion/complete",
		params: `{"ref":{"type":"ref/prompt","name":"made_up"},"argument":{"name":"who","value":"y"}}`,
		want:   want{span: "completion/complete _OTHER", prompt: "made_up", raw: true},
	},
	{
		about: "completion of a resource's argument", method: "completion/complete",
		params: `{"ref":{"type":"ref/resource","uri":"page://{id}"},"argument":{"name":"id","value":"7"}}`,
		want:   want{span: "completion/complete", uri: "page://{id}"},
	},
	{
		about: "logging/setLevel", method: "logging/setLevel", params: `{"level":"info"}`, eras: []era{legacy},
		on: []string{stdio, streamable, sse, inProcess}, why: "gone from the modern era; the level is the session's",
		want: want{span: "logging/setLevel"},
	},

	// The tool says that it failed.
	{
		about: "tool error", method: "tools/call", params: `{"name":"fails"}`,
		want: want{span: "tools/call fails", tool: "fails", digest: true, outcome: "tool_error", errorType: "tool_error"},
	},
	{
		about: "arguments that the schema refuses", method: "tools/call", params: `{"name":"strict","arguments":{"text":7}}`,
		server: []server.ServerOption{server.WithInputSchemaValidation()},
		want: want{
			span: "tools/call strict", tool: "strict", digest: true, names: []string{"text"}, size: len(`{"text":7}`),
			outcome: "tool_error", errorType: "tool_error", stage: "dispatch",
		},
	},
	{
		about: "a result that the schema refuses", method: "tools/call", params: `{"name":"ill_formed"}`,
		server: []server.ServerOption{server.WithOutputSchemaValidation()},
		want:   want{span: "tools/call ill_formed", tool: "ill_formed", digest: true, outcome: "tool_error", errorType: "tool_error"},
	},

	// JSON-RPC errors that are the caller's fault: no error of the server's.
	{
		about: "params of the wrong type", method: "tools/call", params: `"text"`, eras: []era{legacy},
		why: "without _meta a request is not modern",
		want: want{
			span: "tools/call", code: mcp.INVALID_REQUEST, outcome: "rejected", stage: "dispatch", root: true,
			message: "unparsable tools/call request: json: cannot unmarshal *",
		},
	},
	{
		about: "unknown method", method: "admin/drop_tables",
		want: want{
			span: "_OTHER", method: "admin/drop_tables", code: mcp.METHOD_NOT_FOUND, outcome: "rejected", stage: "dispatch", noID: true,
			message: "Method admin/drop_tables not found",
		},
	},
	{
		about: "a method that the server does not offer", method: "prompts/get", params: `{"name":"greet"}`, bare: true,
		want: want{
			span: "prompts/get", code: mcp.METHOD_NOT_FOUND, outcome: "rejected", stage: "dispatch", message: "prompts not supported",
		},
	},
	{
		about: "a method that the era has dropped", method: "ping", eras: []era{modern},
		want: want{
			span: "ping", code: mcp.METHOD_NOT_FOUND, outcome: "rejected", stage: "dispatch",
			message: `"ping" was removed in protocol version 2026-07-28`,
		},
	},
	{
		about: "a method that the era does not have yet", method: "server/discover", eras: []era{legacy},
		want: want{
			span: "server/discover", code: mcp.METHOD_NOT_FOUND, outcome: "rejected", stage: "dispatch",
			message: `"server/discover" requires protocol version 2026-07-28 or later`,
		},
	},
	{
		about: "a level that does not exist", method: "logging/setLevel", params: `{"level":"shout"}`, eras: []era{legacy},
		on: withSession, why: "as for logging/setLevel",
		want: want{
			span: "logging/setLevel", code: mcp.INVALID_PARAMS, outcome: "rejected", message: "invalid logging level 'shout'",
		},
	},
	{
		about: "a subscription to nothing", method: "resources/subscribe", params: `{"uri":""}`, eras: []era{legacy},
		want: want{span: "resources/subscribe", code: mcp.INVALID_PARAMS, outcome: "rejected", message: "uri is required"},
	},
	{
		about: "unknown tool", method: "tools/call", params: `{"name":"made_up","arguments":{"a":1}}`,
		want: want{
			span: "tools/call _OTHER", tool: "made_up", raw: true, undeclared: 1, size: len(`{"a":1}`),
			code: mcp.INVALID_PARAMS, outcome: "rejected", stage: "dispatch", message: "tool 'made_up' not found: tool not found",
		},
	},
	{
		about: "unknown prompt", method: "prompts/get", params: `{"name":"made_up"}`,
		want: want{
			span: "prompts/get _OTHER", prompt: "made_up", raw: true,
			code: mcp.INVALID_PARAMS, outcome: "rejected", stage: "dispatch", message: "prompt 'made_up' not found: prompt not found",
		},
	},
	{
		about: "unknown resource", method: "resources/read", params: `{"uri":"note://none?token=abc"}`, eras: []era{legacy},
		why: "the modern era has another code",
		want: want{
			span: "resources/read", uri: "note://none?[REDACTED]", code: -32002, outcome: "rejected", stage: "dispatch",
			message: "handler not found for resource URI 'note://none?[REDACTED]': resource not found",
		},
	},
	{
		about: "unknown resource, modern", method: "resources/read", params: `{"uri":"note://none"}`, eras: []era{modern},
		want: want{
			span: "resources/read", uri: "note://none", code: mcp.INVALID_PARAMS, outcome: "rejected", stage: "dispatch",
			message: "handler not found for resource URI 'note://none': resource not found",
		},
	},

	// The same answer to the client, and no mistake of its: it may not see them.
	{
		about: "hidden tool", method: "tools/call", params: `{"name":"hidden"}`,
		want: want{
			span: "tools/call hidden", tool: "hidden", digest: true, code: mcp.INVALID_PARAMS, outcome: "denied", stage: "dispatch",
			message: "tool 'hidden' not found: tool not found",
		},
	},
	{
		about: "hidden prompt", method: "prompts/get", params: `{"name":"hidden"}`,
		want: want{
			span: "prompts/get hidden", prompt: "hidden", code: mcp.INVALID_PARAMS, outcome: "denied", stage: "dispatch",
			message: "prompt 'hidden' not found: prompt not found",
		},
	},

	// Errors of the server's.
	{
		about: "tool returns an error", method: "tools/call", params: `{"name":"errors"}`,
		want: want{
			span: "tools/call errors", tool: "errors", digest: true, code: mcp.INTERNAL_ERROR, outcome: "error", errorType: "-32603",
			message: "backend said no, password=[REDACTED]",
		},
	},
	{
		about: "prompt returns an error", method: "prompts/get", params: `{"name":"errors"}`,
		want: want{
			span: "prompts/get errors", prompt: "errors", code: mcp.INTERNAL_ERROR, outcome: "error", errorType: "-32603",
			message: "backend said no, password=[REDACTED]",
		},
	},
	{
		about: "resource returns an error", method: "resources/read", params: `{"uri":"note://errors"}`,
		want: want{
			span: "resources/read", uri: "note://errors", code: mcp.INTERNAL_ERROR, outcome: "error", errorType: "-32603",
			message: "backend said no, password=[REDACTED]",
		},
	},
	{
		about: "tool returns nothing", method: "tools/call", params: `{"name":"nothing"}`,
		want: want{
			span: "tools/call nothing", tool: "nothing", digest: true, code: mcp.INTERNAL_ERROR, outcome: "error", errorType: "-32603",
			message: "tool 'nothing' handler returned no result",
		},
	},
	{
		about: "a level without a session", method: "logging/setLevel", params: `{"level":"info"}`, eras: []era{legacy},
		on: []string{direct}, why: "the others have a session",
		want: want{
			span: "logging/setLevel", code: mcp.INTERNAL_ERROR, outcome: "error", errorType: "-32603",
			message: "session not properly initialized",
		},
	},
	{
		about: "a code of its own", method: "tools/call", params: `{"name":"consent"}`, eras: []era{legacy},
		why: "the modern era reserves the code",
		want: want{
			span: "tools/call consent", tool: "consent", digest: true, code: -32042, outcome: "error", errorType: "-32042",
			message: "URL elicitation required: 1 elicitation(s) needed",
		},
	},

	// Panics.
	{
		about: "tool panics, recovered", method: "tools/call", params: `{"name":"panics"}`,
		server: []server.ServerOption{server.WithRecovery()},
		want: want{
			span: "tools/call panics", tool: "panics", digest: true, code: mcp.INTERNAL_ERROR, outcome: "panic", errorType: "panic",
			message: "panic recovered in panics tool handler: backend said no, password=[REDACTED]",
		},
	},
	{
		about: "tool panics, recovered as an error result", method: "tools/call", params: `{"name":"panics"}`,
		server: []server.ServerOption{server.WithToolHandlerMiddleware(recoverWith(mcp.NewToolResultError("sorry")))},
		want:   want{span: "tools/call panics", tool: "panics", digest: true, outcome: "panic", errorType: "panic"},
	},
	{
		about: "tool panics, recovered as a plain result", method: "tools/call", params: `{"name":"panics"}`,
		server: []server.ServerOption{server.WithToolHandlerMiddleware(recoverWith(mcp.NewToolResultText("sorry")))},
		want:   want{span: "tools/call panics", tool: "panics", digest: true, outcome: "panic", errorType: "panic"},
	},
	{
		about: "resource panics, recovered", method: "resources/read", params: `{"uri":"note://panics"}`,
		server: []server.ServerOption{server.WithResourceRecovery()},
		want: want{
			span: "resources/read", uri: "note://panics", code: mcp.INTERNAL_ERROR, outcome: "panic", errorType: "panic",
			message: "panic recovered in note://panics resource handler: backend said no, password=[REDACTED]",
		},
	},
	{
		about: "prompt panics, recovered", method: "prompts/get", params: `{"name":"panics"}`,
		server: []server.ServerOption{server.WithPromptHandlerMiddleware(recoverPrompt)},
		want: want{
			span: "prompts/get panics", prompt: "panics", code: mcp.INTERNAL_ERROR, outcome: "panic", errorType: "panic",
			message: "prompt failed",
		},
	},
	{
		about: "tool panics", method: "tools/call", params: `{"name":"panics"}`, on: recovering,
		why: "these answer; the others are below", saw: sawInternalPanic,
		want: want{span: "tools/call panics", tool: "panics", digest: true, outcome: "panic", errorType: "panic"},
	},
	{
		about: "prompt panics", method: "prompts/get", params: `{"name":"panics"}`, on: recovering,
		why: "these answer; the others are below", saw: sawInternalPanic,
		want: want{span: "prompts/get panics", prompt: "panics", outcome: "panic", errorType: "panic"},
	},
	{
		about: "tool panics over HTTP", method: "tools/call", params: `{"name":"panics"}`, on: []string{streamable},
		why: "net/http ends the connection", saw: sawEOF,
		want: want{span: "tools/call panics", tool: "panics", digest: true, outcome: "panic", errorType: "panic"},
	},
	{
		about: "resource panics over HTTP", method: "resources/read", params: `{"uri":"note://panics"}`, on: []string{streamable},
		why: "net/http ends the connection", saw: sawEOF,
		want: want{span: "resources/read", uri: "note://panics", outcome: "panic", errorType: "panic"},
	},
	{
		about: "tool panics through its caller", method: "tools/call", params: `{"name":"panics"}`, on: callersStack,
		why: "the handler runs on the caller's stack", saw: sawOwnPanic,
		want: want{span: "tools/call panics", tool: "panics", digest: true, outcome: "panic", errorType: "panic"},
	},
	{
		about: "prompt panics through its caller", method: "prompts/get", params: `{"name":"panics"}`, on: callersStack,
		why: "the handler runs on the caller's stack", saw: sawOwnPanic,
		want: want{span: "prompts/get panics", prompt: "panics", outcome: "panic", errorType: "panic"},
	},
	{
		about: "tool ends its goroutine", method: "tools/call", params: `{"name":"custom"}`, on: []string{direct},
		why: "elsewhere it would take the transport's goroutine with it",
		send: func(t *testing.T, s *everything, p *peer) reply {
			s.do(func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				runtime.Goexit()
				return nil, errBackend
			})
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				p.tool(t.Context(), "custom", "")
			}()
			recv(t, gone)
			return reply{}
		},
		want: want{span: "tools/call custom", tool: "custom", digest: true, size: 2, outcome: "panic", errorType: "panic"},
	},

	// Cancellation and time.
	{
		about: "cancelled by notification", method: "tools/call", on: []string{stdio, streamable, sse},
		why: "mcp-go's in-process transport loses the session of a notification", send: cancelByNotification,
		want: want{
			span: "tools/call waits", tool: "waits", digest: true, size: 2, code: mcp.INTERNAL_ERROR, outcome: "cancelled",
			errorType: "-32603", message: "context canceled",
		},
	},
	{
		about: "cancelled by hanging up", method: "tools/call", on: []string{stdio, streamable, inProcess, direct},
		why: "mcp-go runs handlers of SSE detached from the client", send: cancelByHangingUp("waits"), saw: sawNothing,
		want: want{
			span: "tools/call waits", tool: "waits", digest: true, size: 2, code: mcp.INTERNAL_ERROR, outcome: "cancelled",
			errorType: "-32603", message: "context canceled",
		},
	},
	{
		about: "cancelled, and the handler hides it", method: "tools/call", on: []string{stdio, streamable, inProcess, direct},
		why: "as above", send: cancelByHangingUp("gives_up"), saw: sawNothing,
		want: want{
			span: "tools/call gives_up", tool: "gives_up", digest: true, size: 2, code: mcp.INTERNAL_ERROR, outcome: "cancelled",
			errorType: "-32603", message: "gave up",
		},
	},
	{
		about: "a deadline of the handler's own", method: "tools/call", params: `{"name":"too_slow"}`,
		want: want{
			span: "tools/call too_slow", tool: "too_slow", digest: true, code: mcp.INTERNAL_ERROR, outcome: "timeout",
			errorType: "timeout", message: "query: context deadline exceeded",
		},
	},
	{
		about: "the caller's deadline", method: "tools/call", on: callersStack, why: "a deadline does not cross a wire",
		send: callTooLate("waits"),
		want: want{
			span: "tools/call waits", tool: "waits", digest: true, size: 2, code: mcp.INTERNAL_ERROR, outcome: "timeout",
			errorType: "timeout", message: "context deadline exceeded",
		},
	},
	{
		about: "the caller's deadline, and the handler hides it", method: "tools/call", on: callersStack,
		why: "a deadline does not cross a wire", send: callTooLate("gives_up"),
		want: want{
			span: "tools/call gives_up", tool: "gives_up", digest: true, size: 2, code: mcp.INTERNAL_ERROR, outcome: "timeout",
			errorType: "timeout", message: "gave up",
		},
	},

	// Multi round-trip requests.
	{
		about: "tool asks for input", method: "tools/call", params: `{"name":"asks"}`, eras: []era{modern},
		why:  "a legacy client is asked by a request of the server's own",
		want: want{span: "tools/call asks", tool: "asks", digest: true, outcome: "input_required"},
	},
	{
		about: "tool gets its input", method: "tools/call", eras: []era{modern},
		params: `{"name":"asks","requestState":"state","inputResponses":{"go":{"action":"accept","content":{"yes":true}}}}`,
		why:    "as above",
		want:   want{span: "tools/call asks", tool: "asks", digest: true},
	},
	{
		about: "prompt asks for input", method: "prompts/get", params: `{"name":"asks"}`, eras: []era{modern}, why: "as above",
		want: want{span: "prompts/get asks", prompt: "asks", outcome: "input_required"},
	},

	// Tasks: what follows their creation is in tasks_test.go.
	{
		about: "tool becomes a task", method: "tools/call", params: `{"name":"later","task":{}}`,
		want: want{span: "tools/call later", tool: "later"},
	},
	{
		about: "tool that can become a task does", method: "tools/call", params: `{"name":"hybrid","task":{}}`,
		want: want{span: "tools/call hybrid", tool: "hybrid", digest: true},
	},
	{
		about: "tool that must become a task does not", method: "tools/call", params: `{"name":"later"}`,
		want: want{
			// mcp-go has no way to ask for a task tool that was not listed yet.
			span: "tools/call _OTHER", tool: "later", raw: true, code: mcp.METHOD_NOT_FOUND, outcome: "rejected", stage: "dispatch",
			message: "tool 'later' requires task augmentation",
		},
	},
	{
		about: "result of a task, gone", method: "tasks/result", params: `{"taskId":"none"}`, eras: []era{modern},
		why: "the legacy era has it: see tasks_test.go",
		want: want{
			span: "tasks/result", code: mcp.METHOD_NOT_FOUND, outcome: "rejected", stage: "dispatch",
			message: `"tasks/result" was removed in protocol version 2026-07-28`,
		},
	},
	{
		about: "task that does not exist", method: "tasks/get", params: `{"taskId":"none"}`,
		want: want{span: "tasks/get", code: mcp.INVALID_PARAMS, outcome: "rejected", message: "task not found"},
	},
}

func recoverWith(result *mcp.CallToolResult) server.ToolHandlerMiddleware {
	return func(next server.ToolHandlerFunc) server.ToolHandlerFunc {
		return func(ctx context.Context, r mcp.CallToolRequest) (out *mcp.CallToolResult, err error) {
			defer func() {
				if recover() != nil {
					out, err = result, nil
				}
			}()
			return next(ctx, r)
		}
	}
}

func recoverPrompt(next server.PromptHandlerFunc) server.PromptHandlerFunc {
	return func(ctx context.Context, r mcp.GetPromptRequest) (out *mcp.GetPromptResult, err error) {
		defer func() {
			if recover() != nil {
				out, err = nil, errors.New("prompt failed")
			}
		}()
		return next(ctx, r)
	}
}

func sawInternalPanic(t *testing.T, r reply) {
	t.Helper()
	if r.code() != mcp.INTERNAL_ERROR || !strings.HasPrefix(r.Error.Message, "internal panic: ") {
		t.Errorf("the client got %+v", r)
	}
}

func sawEOF(t *testing.T, r reply) {
	t.Helper()
	if !errors.Is(r.lost, io.EOF) {
		t.Errorf("the client got %+v", r)
	}
}

func sawOwnPanic(t *testing.T, r reply) {
	t.Helper()
	if r.recovered != any(errBackend) {
		t.Errorf("the caller recovered %v, want the very value that the handler panicked with", r.recovered)
	}
}

func sawNothing(*testing.T, reply) {}

// cancelByNotification cancels a tool that waits, once it waits.
func cancelByNotification(t *testing.T, s *everything, p *peer) reply {
	answer := make(chan reply, 1)
	go func() { answer <- p.callID(t.Context(), 4242, "tools/call", `{"name":"waits","arguments":{}}`) }()
	recv(t, s.entered)
	p.cancel(4242)
	recv(t, s.left)
	return recv(t, answer)
}

// cancelByHangingUp makes the client vanish while the tool waits.
func cancelByHangingUp(tool string) func(*testing.T, *everything, *peer) reply {
	return func(t *testing.T, s *everything, p *peer) reply {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		answer := make(chan reply, 1)
		go func() { answer <- p.tool(ctx, tool, "") }()
		recv(t, s.entered)
		if p.transport == stdio {
			p.close() // the end of input
		} else {
			cancel()
		}
		recv(t, s.left)
		r := recv(t, answer)
		p.close() // waits for the server
		return r
	}
}

// callTooLate calls with a deadline that has passed.
func callTooLate(tool string) func(*testing.T, *everything, *peer) reply {
	return func(t *testing.T, s *everything, p *peer) reply {
		ctx, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
		defer cancel()
		r := p.tool(ctx, tool, "")
		recv(t, s.entered)
		recv(t, s.left)
		return r
	}
}

func TestDispatch(t *testing.T) {
	for _, r := range rows {
		if len(r.eras) == 0 {
			r.eras = []era{legacy, modern}
		}
		if len(r.on) == 0 {
			r.on = everywhere
		}
		for _, over := range r.on {
			for _, e := range r.eras {
				if over == sse && e == modern {
					continue // the modern era has no SSE
				}
				t.Run(strings.ReplaceAll(r.about, " ", "_")+"/"+over+"/"+e.String(), func(t *testing.T) { r.run(t, over, e) })
			}
		}
	}
}

func (r *row) run(t *testing.T, over string, e era) {
	c := telemetrytest.New(t)
	checkLeaks(t)
	s := newEverything(r.server...)
	if r.bare {
		s.MCPServer = server.NewMCPServer("bare", "1")
	}
	otelmcp.Instrument(s.MCPServer, into(c)...)
	p := dial(t, s.MCPServer, over, e)
	if e == legacy && over != direct && !r.fresh {
		p.initialize()
	}
	c.Reset()

	var got reply
	if r.send != nil {
		got = r.send(t, s, p)
	} else {
		got = p.call(t.Context(), r.method, r.params)
	}
	if r.saw != nil {
		r.saw(t, got)
	} else if got.lost != nil || got.recovered != nil || got.code() != r.want.code {
		t.Errorf("the client got code %d (%s), want %d", got.code(), got.raw, r.want.code)
	}
	if id := got.header.Get("Mcp-Session-Id"); id != "" {
		p.session = id
	}
	w := r.want
	if w.method == "" {
		w.method = r.method
	}
	w.check(t, c, p)
}

// check asserts that exactly one operation was recorded since the last Reset,
// and that each signal says of it what w says.
func (w want) check(t *testing.T, c *telemetrytest.Capture, p *peer) {
	t.Helper()
	if w.outcome == "" {
		w.outcome = semconv.OTelMCPOutcomeOK
	}
	if w.stage == "" {
		w.stage = semconv.OTelMCPStageHandler
	}
	spans, events := c.Spans(), c.EventsNamed(semconv.OTelMCPOperationEventName)
	if len(spans) != 1 || len(events) != 1 {
		t.Fatalf("%d spans and %d events, want one of each", len(spans), len(events))
	}
	w.checkSpan(t, spans[0], p)
	w.checkEvent(t, events[0], spans[0])
	w.checkMetrics(t, c, p)
}

var (
	stdioID  = regexp.MustCompile(`^stdio-[A-Z2-7]{26}$`)
	digestRE = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// filtered is what the server's filters decide about it.
func (w want) filtered() (decision, reason string) {
	switch {
	case w.outcome == "denied":
		return "deny", "hidden"
	case w.stage == "handler" && (w.method == "tools/call" || w.method == "prompts/get"):
		return "allow", "ok"
	}
	return "", ""
}

// attributes are the attributes that the span must have, no more and no fewer.
// A value of nil is checked by checkSpan.
func (w want) attributes(p *peer) map[attribute.Key]any {
	attrs := map[attribute.Key]any{
		"mcp.method.name":   w.method,
		"otelmcp.role":      "server",
		"otelmcp.transport": p.transport,
		"otelmcp.stage":     w.stage,
		"otelmcp.outcome":   w.outcome,
	}
	set := func(k attribute.Key, v string) {
		if v != "" {
			attrs[k] = v
		}
	}
	if w.method == "tools/call" {
		attrs["gen_ai.operation.name"] = "execute_tool"
	}
	if decision, reason := w.filtered(); decision != "" {
		attrs["otelmcp.auth.kind"], attrs["otelmcp.auth.mechanism"] = "authorization", "custom"
		attrs["otelmcp.auth.decision"], attrs["otelmcp.auth.reason"] = decision, reason
	}
	set("gen_ai.tool.name", w.tool)
	set("gen_ai.prompt.name", w.prompt)
	set("mcp.resource.uri", w.uri)
	set("error.type", w.errorType)
	if w.code != 0 {
		attrs["rpc.response.status_code"] = codeText(w.code)
	}
	if !w.noID {
		attrs["jsonrpc.request.id"] = nil
	}
	switch p.transport {
	case stdio:
		attrs["network.transport"] = "pipe"
		attrs["mcp.session.id"] = nil
	case streamable:
		attrs["network.transport"] = "tcp"
		if p.era == legacy { // the modern era has no session, and none is invented
			attrs["mcp.session.id"] = p.session
		}
	case sse:
		attrs["network.transport"] = "tcp"
		attrs["mcp.session.id"] = p.session
	case inProcess:
		attrs["mcp.session.id"] = nil
	}
	// Without a session nothing remembers a legacy handshake.
	if p.era == modern || p.transport != direct || w.method == "initialize" {
		if !w.noVersion {
			attrs["mcp.protocol.version"] = string(p.era)
		}
		if !w.noClient {
			attrs["otelmcp.client.name"] = clientName
			attrs["otelmcp.client.version"] = clientVersion
		}
	}
	if w.digest {
		attrs["otelmcp.tool.digest"] = nil
	}
	if w.names != nil {
		attrs["otelmcp.tool.arguments.names"] = w.names
	}
	if w.undeclared > 0 {
		attrs["otelmcp.tool.arguments.undeclared"] = int64(w.undeclared)
	}
	if w.size > 0 {
		attrs["otelmcp.tool.arguments.size"] = int64(w.size)
	}
	return attrs
}

func (w want) checkSpan(t *testing.T, s sdktrace.ReadOnlySpan, p *peer) {
	t.Helper()
	if s.Name() != w.span {
		t.Errorf("the span is named %q, want %q", s.Name(), w.span)
	}
	if s.SpanKind() != trace.SpanKindServer {
		t.Errorf("the span's kind is %v", s.SpanKind())
	}
	switch parent := s.Parent(); {
	case w.root && parent.IsValid():
		t.Errorf("the span has a parent %v", parent)
	case !w.root && (parent.SpanID().String() != callerSpan || s.SpanContext().TraceID().String() != callerTrace || !parent.IsRemote()):
		t.Errorf("the span's parent is %v, want the caller's", parent)
	}
	if !slices.EqualFunc(s.Links(), w.links, func(l sdktrace.Link, want trace.SpanContext) bool {
		return l.SpanContext.SpanID() == want.SpanID() && l.SpanContext.TraceID() == want.TraceID()
	}) {
		t.Errorf("the span's links are %v, want %v", s.Links(), w.links)
	}
	status := sdktrace.Status{}
	if w.errorType != "" {
		status = sdktrace.Status{Code: codes.Error, Description: w.message}
		if w.message == "" {
			status.Description = w.errorType
		}
	}
	if got := s.Status(); got.Code != status.Code || !sameText(status.Description, got.Description) {
		t.Errorf("the span's status is %+v, want %+v", s.Status(), status)
	}

	set := telemetrytest.SpanAttributes(s)
	if set.Len() != len(s.Attributes()) {
		t.Errorf("an attribute is on the span twice: %v", s.Attributes())
	}
	expected := w.attributes(p)
	for _, kv := range set.ToSlice() {
		v, ok := expected[kv.Key]
		delete(expected, kv.Key)
		switch {
		case !ok:
			t.Errorf("the span has %s=%s", kv.Key, kv.Value.String())
		case v != nil && attributeText(v) != kv.Value.String():
			t.Errorf("%s is %s, want %s", kv.Key, kv.Value.String(), attributeText(v))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(expected)) {
		t.Errorf("the span has no %s", k)
	}
	text := func(k attribute.Key) string {
		v, _ := set.Value(k)
		return v.AsString()
	}
	if id := text("mcp.session.id"); p.transport == stdio && !stdioID.MatchString(id) {
		t.Errorf("the session's id is %q, which could be another one's", id)
	} else if p.transport == inProcess && !strings.HasPrefix(id, "inprocess-") {
		t.Errorf("the session's id is %q", id)
	}
	if w.digest && !digestRE.MatchString(text("otelmcp.tool.digest")) {
		t.Errorf("the digest is %q", text("otelmcp.tool.digest"))
	}
	if !w.noID && !regexp.MustCompile(`^\d+$`).MatchString(text("jsonrpc.request.id")) {
		t.Errorf("the request's id is %q", text("jsonrpc.request.id"))
	}
}

// attributeText renders v as an attribute value renders itself.
func attributeText(v any) string {
	switch v := v.(type) {
	case string:
		return attribute.StringValue(v).String()
	case int64:
		return attribute.Int64Value(v).String()
	case []string:
		return attribute.StringSliceValue(v).String()
	}
	panic("a test wants an attribute of another type")
}

// sameText compares; of a text that Go's libraries chose, want has the beginning
// and a *.
func sameText(want, got string) bool {
	if start, ok := strings.CutSuffix(want, "*"); ok {
		return strings.HasPrefix(got, start)
	}
	return got == want
}

// severities by outcome; every other one is INFO.
var severities = map[string]log.Severity{
	"rejected": log.SeverityWarn, "denied": log.SeverityWarn, "tool_error": log.SeverityWarn,
	"error": log.SeverityError, "timeout": log.SeverityError, "panic": log.SeverityError,
}

func (w want) checkEvent(t *testing.T, e sdklog.Record, s sdktrace.ReadOnlySpan) {
	t.Helper()
	severity, ok := severities[w.outcome]
	if !ok {
		severity = log.SeverityInfo
	}
	if e.Severity() != severity || e.SeverityText() != severity.String() {
		t.Errorf("the event's severity is %v (%q), want %v", e.Severity(), e.SeverityText(), severity)
	}
	body := w.span + ": " + w.outcome
	switch {
	case w.errorType != "" && w.errorType != w.outcome:
		body += " (" + w.errorType + ")"
	case w.code != 0:
		body += " (" + codeText(w.code) + ")"
	}
	if got := e.Body(); got.AsString() != body {
		t.Errorf("the event says %q, want %q", got.AsString(), body)
	}
	if e.TraceID() != s.SpanContext().TraceID() || e.SpanID() != s.SpanContext().SpanID() {
		t.Error("the event does not belong to the span")
	}
	// The event says what the span says, and a little more.
	expected := map[attribute.Key]string{"event.name": semconv.OTelMCPOperationEventName}
	for _, kv := range s.Attributes() {
		expected[kv.Key] = kv.Value.String()
	}
	if w.message != "" {
		expected["otelmcp.operation.error.message"] = w.message
	}
	set := telemetrytest.EventAttributes(e)
	if set.Len() != e.AttributesLen() {
		t.Error("an attribute is on the event twice")
	}
	for _, kv := range set.ToSlice() {
		v, ok := expected[kv.Key]
		delete(expected, kv.Key)
		switch {
		case kv.Key == "otelmcp.operation.duration":
			if kv.Value.AsFloat64() <= 0 {
				t.Errorf("the duration is %v", kv.Value.AsFloat64())
			}
		case !ok:
			t.Errorf("the event has %s=%s", kv.Key, kv.Value.String())
		case !sameText(v, kv.Value.String()):
			t.Errorf("the event has %s=%s, want %s", kv.Key, kv.Value.String(), v)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(expected)) {
		t.Errorf("the event has no %s", k)
	}
}

func (w want) checkMetrics(t *testing.T, c *telemetrytest.Capture, p *peer) {
	t.Helper()
	if n := c.CounterValue("otelmcp.server.messages"); n != 1 {
		t.Errorf("%d messages counted", n)
	}
	if c.CounterValue("otelmcp.server.messages", attribute.String("otelmcp.stage", w.stage),
		attribute.String("otelmcp.outcome", w.outcome), attribute.String("otelmcp.transport", p.transport)) != 1 {
		t.Error("the message is not counted under its stage, outcome and transport")
	}
	if n := c.CounterValue("otelmcp.server.operations.active"); n != 0 {
		t.Errorf("%d operations are still active", n)
	}
	points := c.HistogramPoints("mcp.server.operation.duration")
	if len(points) != 1 || points[0].Count != 1 {
		t.Fatalf("durations: %+v", points)
	}
	if n := c.HistogramCount("mcp.client.operation.duration"); n != 0 {
		t.Errorf("%d operations of a client", n)
	}
	// Of the span's attributes those that the metric may have, with names that
	// nobody registered replaced.
	expected := map[attribute.Key]string{}
	for k, v := range w.attributes(p) {
		switch k {
		case "mcp.method.name", "gen_ai.tool.name", "gen_ai.prompt.name", "gen_ai.operation.name", "error.type",
			"rpc.response.status_code", "mcp.protocol.version", "network.transport":
			expected[k] = v.(string)
		}
	}
	if method, _, _ := strings.Cut(w.span, " "); method == "_OTHER" {
		expected["mcp.method.name"] = "_OTHER"
	}
	for _, k := range []attribute.Key{"gen_ai.tool.name", "gen_ai.prompt.name"} {
		if _, ok := expected[k]; ok && w.raw {
			expected[k] = "_OTHER"
		}
	}
	got := map[attribute.Key]string{}
	for _, kv := range points[0].Attributes.ToSlice() {
		got[kv.Key] = kv.Value.AsString()
	}
	if !maps.Equal(got, expected) {
		t.Errorf("the duration's attributes are %v, want %v", got, expected)
	}
}
