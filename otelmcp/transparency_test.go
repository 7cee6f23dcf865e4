// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Transparency: an instrumented server answers byte for byte what the bare one
// answers, and the program's own code runs as often, in the same order and with
// the same arguments. Two servers built by the same constructor get the same
// thousands of messages, generated from fixed seeds and written by hand,
// through every way that a message can take into mcp-go.

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
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"
	otellog "go.opentelemetry.io/otel/log"
	lognoop "go.opentelemetry.io/otel/log/noop"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// twinConfig is what the two servers of a comparison have in common.
type twinConfig struct {
	name     string
	recovery bool // the program recovers panics of tools and resources
	validate bool // input and output schemas, strictly
	page     int
	hooks    bool // the program has hooks and middleware of its own
	legacy   bool // server-initiated requests stay allowed in the modern era
}

var twinConfigs = []twinConfig{
	{name: "plain"},
	{name: "recovery", recovery: true, hooks: true},
	{name: "validated", recovery: true, validate: true, page: 2, hooks: true},
	{name: "unrecovered", hooks: true, page: 3, legacy: true},
}

// twin is one of the servers that are compared, and a log of what the program's
// own code saw.
type twin struct {
	srv   *server.MCPServer
	inst  *otelmcp.Instrumentation
	hooks *server.Hooks

	mu         sync.Mutex
	calls      []string
	registered sync.Map // session id → the session, as the program's hook got it
}

func (w *twin) saw(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, s)
}

// drain returns what the program's code saw since the last time.
func (w *twin) drain() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = nil
	for n := range calls {
		calls[n] = ordered(calls[n])
	}
	return calls
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "unmarshalable: " + err.Error()
	}
	return string(b)
}

// errTwin is a value, to be told apart from others by identity.
var errTwin = errors.New("the backend is down")

// panicValue is what tools panic with; a recovered one must be the same.
type panicValue struct{ why string }

type codedError struct{}

func (codedError) Error() string { return "coded" }

// newTwin builds a server. Nothing in it depends on time or chance, other than
// what mcp-go itself makes up: the ids and times of tasks.
func newTwin(c twinConfig) *twin {
	w := &twin{}
	opts := []server.ServerOption{
		server.WithToolCapabilities(true), server.WithResourceCapabilities(true, true), server.WithPromptCapabilities(true),
		server.WithLogging(), server.WithElicitation(), server.WithRoots(), server.WithCompletions(),
		server.WithTaskCapabilities(true, true, true), server.WithInstructions("be careful"),
		server.WithPromptCompletionProvider(twinCompletion{w}), server.WithResourceCompletionProvider(twinCompletion{w}),
		server.WithToolFilter(func(_ context.Context, tools []mcp.Tool) []mcp.Tool {
			w.saw("tool filter %d", len(tools))
			return slices.DeleteFunc(slices.Clone(tools), func(t mcp.Tool) bool { return t.Name == "hidden" })
		}),
		server.WithPromptFilter(func(_ context.Context, prompts []mcp.Prompt) []mcp.Prompt {
			w.saw("prompt filter %d", len(prompts))
			return slices.DeleteFunc(slices.Clone(prompts), func(p mcp.Prompt) bool { return p.Name == "hidden" })
		}),
	}
	if c.recovery {
		opts = append(opts, server.WithRecovery(), server.WithResourceRecovery())
	}
	if c.validate {
		opts = append(opts, server.WithInputSchemaValidation(), server.WithOutputSchemaValidation(), server.WithStrictInputSchemaDefault())
	}
	if c.page > 0 {
		opts = append(opts, server.WithPaginationLimit(c.page))
	}
	if c.legacy {
		opts = append(opts, server.WithLegacyServerInitiatedRequests()) //nolint:staticcheck // Programs that use it are instrumented too.
	}
	if c.hooks {
		w.hooks = &server.Hooks{}
		w.addHooks(w.hooks)
		opts = append(opts, server.WithHooks(w.hooks),
			server.WithToolHandlerMiddleware(func(next server.ToolHandlerFunc) server.ToolHandlerFunc {
				w.saw("tool middleware wraps")
				return func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
					w.saw("tool middleware in %s %v", asJSON(r), r.Header)
					result, err := next(ctx, r)
					w.saw("tool middleware out %s %v", asJSON(result), err)
					return result, err
				}
			}),
			server.WithResourceHandlerMiddleware(func(next server.ResourceHandlerFunc) server.ResourceHandlerFunc {
				return func(ctx context.Context, r mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
					w.saw("resource middleware in %s", asJSON(r))
					result, err := next(ctx, r)
					w.saw("resource middleware out %s %v", asJSON(result), err)
					return result, err
				}
			}),
			server.WithPromptHandlerMiddleware(func(next server.PromptHandlerFunc) server.PromptHandlerFunc {
				return func(ctx context.Context, r mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
					w.saw("prompt middleware in %s", asJSON(r))
					result, err := next(ctx, r)
					w.saw("prompt middleware out %s %v", asJSON(result), err)
					return result, err
				}
			}))
	}
	w.srv = server.NewMCPServer("twin", "1.2.3", opts...)
	w.addTools()
	w.addPromptsAndResources()
	for _, method := range []string{"notifications/initialized", "notifications/progress", "notifications/x", "notifications/roots/list_changed"} {
		w.srv.AddNotificationHandler(method, func(_ context.Context, n mcp.JSONRPCNotification) {
			w.saw("notification %s", asJSON(n))
		})
	}
	return w
}

// addHooks logs every call of every general hook, and of two specific ones.
func (w *twin) addHooks(h *server.Hooks) {
	who := func(ctx context.Context) string {
		s := server.ClientSessionFromContext(ctx)
		if s == nil {
			return "no session"
		}
		return fmt.Sprintf("session %s %v", s.SessionID(), s.Initialized())
	}
	h.AddOnRegisterSession(func(_ context.Context, s server.ClientSession) {
		w.saw("hook register %s %T", s.SessionID(), s)
		w.registered.Store(s.SessionID(), s)
	})
	h.AddOnUnregisterSession(func(_ context.Context, s server.ClientSession) { w.saw("hook unregister %s %T", s.SessionID(), s) })
	h.AddOnRequestInitialization(func(ctx context.Context, id, raw any) error {
		w.saw("hook init %T %v %s %s", id, id, raw, who(ctx))
		if b, ok := raw.(json.RawMessage); ok && bytes.Contains(b, []byte("refuse me")) {
			return errors.New("refused by the program")
		}
		return nil
	})
	h.AddBeforeAny(func(ctx context.Context, id any, method mcp.MCPMethod, r any) {
		w.saw("hook before %T %v %s %T %s %s", id, id, method, r, asJSON(r), who(ctx))
	})
	h.AddOnSuccess(func(ctx context.Context, id any, method mcp.MCPMethod, r, result any) {
		w.saw("hook success %T %v %s %T %s %T %s %s", id, id, method, r, asJSON(r), result, asJSON(result), who(ctx))
	})
	h.AddOnError(func(ctx context.Context, id any, method mcp.MCPMethod, r any, err error) {
		w.saw("hook error %T %v %s %T %s %v %v %s", id, id, method, r, asJSON(r), err, errors.Is(err, errTwin), who(ctx))
	})
	h.AddBeforeCallTool(func(_ context.Context, id any, r *mcp.CallToolRequest) {
		w.saw("hook before tool %v %s", id, r.Params.Name)
		if r.Params.Name == "hookpanic" {
			panic(panicValue{"a hook of the program"})
		}
		if r.Params.Name == "rename" { // hooks may change the request
			r.Params.Name = "echo"
		}
	})
	h.AddAfterCallTool(func(_ context.Context, id any, r *mcp.CallToolRequest, result any) {
		w.saw("hook after tool %v %s %T", id, r.Params.Name, result)
		if res, ok := result.(*mcp.CallToolResult); ok && r.Params.Name == "amend" { // and the result
			res.Content = append(res.Content, mcp.NewTextContent("amended"))
		}
	})
	h.AddAfterListTools(func(_ context.Context, _ any, _ *mcp.ListToolsRequest, r *mcp.ListToolsResult) {
		w.saw("hook list %d", len(r.Tools))
	})
}

// addTools adds a tool for each way that a call can go.
func (w *twin) addTools() {
	add := func(name string, h server.ToolHandlerFunc, opts ...mcp.ToolOption) {
		w.srv.AddTool(mcp.NewTool(name, opts...), func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			w.saw("tool %s %s meta %s", name, asJSON(r.Params.Arguments), asJSON(r.Params.Meta))
			return h(ctx, r)
		})
	}
	text := func(s string) (*mcp.CallToolResult, error) { return mcp.NewToolResultText(s), nil }
	echo := func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return text("echo " + asJSON(r.Params.Arguments))
	}
	add("echo", echo, mcp.WithString("text", mcp.Required(), mcp.MaxLength(200)), mcp.WithNumber("n"), mcp.WithDescription("echoes"))
	add("hidden", echo)
	add("rename", echo)
	add("amend", echo)
	add("hookpanic", echo)
	add("fail", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultError("it did not work"), nil
	})
	add("error", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) { return nil, errTwin })
	add("wrapped", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return nil, fmt.Errorf("wrapped: %w", context.DeadlineExceeded)
	})
	add("coded", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return nil, errors.Join(codedError{}, server.ErrToolNotFound)
	})
	add("panic", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) { panic(panicValue{"a tool"}) })
	add("panicnil", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		var m map[string]int
		m["x"] = 1 //nolint:staticcheck // It is meant to panic.
		return text("")
	})
	add("goexit", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		runtime.Goexit()
		return text("")
	})
	add("nil", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) { return nil, nil })
	add("empty", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{}, nil
	})
	add("structured", func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultStructured(map[string]any{"sum": r.GetArguments()["n"]}, "structured"), nil
	}, mcp.WithNumber("n"), mcp.WithRawOutputSchema(json.RawMessage(
		`{"type":"object","properties":{"sum":{"type":"number"}},"required":["sum"]}`)))
	add("unmarshalable", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{mcp.NewTextContent("x")}, StructuredContent: map[string]any{"f": func() {}}}, nil
	})
	add("many", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{
			mcp.NewTextContent(strings.Repeat("é", 5000)), mcp.NewImageContent("aGk=", "image/png"), mcp.NewAudioContent("aGk=", "audio/wav"),
			mcp.NewEmbeddedResource(mcp.TextResourceContents{URI: "file:///a", Text: "t"}),
		}, IsError: true}, nil
	})
	add("ask", func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if a := server.ElicitationResponse(r.Params.InputResponses, "sure"); a != nil {
			return text("answered " + string(a.Action))
		}
		return server.NewInputRequestBuilder("state-1").Elicit("sure", mcp.ElicitationParams{
			Message: "sure?", RequestedSchema: map[string]any{"type": "object"},
		}).ToolResult(), nil
	})
	add("sample", func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		var r mcp.CreateMessageRequest
		r.Messages = []mcp.SamplingMessage{{Role: mcp.RoleUser, Content: mcp.NewTextContent("say it")}}
		res, err := w.srv.RequestSampling(ctx, r) //nolint:staticcheck // Programs that use it are instrumented too.
		return text(fmt.Sprintf("%s %v", asJSON(res), err))
	})
	add("elicit", func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		var r mcp.ElicitationRequest
		r.Params.Message, r.Params.RequestedSchema = "who?", map[string]any{"type": "object"}
		res, err := w.srv.RequestElicitation(ctx, r)
		return text(fmt.Sprintf("%s %v", asJSON(res), err))
	})
	add("roots", func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		res, err := w.srv.RequestRoots(ctx, mcp.ListRootsRequest{})
		return text(fmt.Sprintf("%s %v", asJSON(res), err))
	})
	add("nested", func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		inner := w.srv.HandleMessage(ctx, json.RawMessage(`{"jsonrpc":"2.0","id":"inner","method":"tools/call","params":{"name":"echo","arguments":{"text":"in"}}}`))
		return text(asJSON(inner))
	})
	add("notify", func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		err := w.srv.SendNotificationToClient(ctx, "notifications/progress", map[string]any{"progressToken": "p", "progress": 1})
		return text(fmt.Sprintf("notified %v", err))
	})
	add("session", func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return text(describeSession(ctx))
	})
	add("sessiontool", func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		s := server.ClientSessionFromContext(ctx)
		if s == nil {
			return text("none")
		}
		err := w.srv.AddSessionTool(s.SessionID(), mcp.NewTool("own", mcp.WithString("text")), echo)
		return text(fmt.Sprintf("added %v", err))
	})
	add("churn", func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if r.GetArguments()["text"] == "drop" {
			w.srv.DeleteTools("fresh")
			return text("dropped")
		}
		w.srv.AddTool(mcp.NewTool("fresh", mcp.WithDescription(asJSON(r.GetArguments()["text"]))), echo)
		return text("added")
	}, mcp.WithString("text"))
	add("context", func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		_, deadline := ctx.Deadline()
		return text(fmt.Sprintf("%v %v %v %v %s %v", ctx.Value(twinKey{}), ctx.Err(), deadline,
			server.ServerFromContext(ctx) == w.srv, asJSON(server.RequestProtocolInfoFromContext(ctx)), r.Header))
	})
	w.srv.AddTool(mcp.NewToolWithRawSchema("raw", "raw", json.RawMessage(`{"type":"object","properties":{"text":{"type":"string"}},"additionalProperties":false}`)), echo)
	w.srv.AddTool(mcp.NewTool("maybetask", mcp.WithTaskSupport(mcp.TaskSupportOptional)), echo)
	w.srv.AddTaskTool(mcp.NewTool("task", mcp.WithTaskSupport(mcp.TaskSupportRequired), mcp.WithString("text")),
		func(_ context.Context, r mcp.CallToolRequest) (*mcp.CreateTaskResult, error) {
			switch r.GetArguments()["text"] {
			case "error":
				return nil, errTwin
			case "fail":
				return &mcp.CreateTaskResult{IsError: true, Content: []mcp.Content{mcp.NewTextContent("task failed")}}, nil
			}
			return &mcp.CreateTaskResult{Content: []mcp.Content{mcp.NewTextContent("task done")}}, nil
		})
}

type twinKey struct{}

// describeSession says what a handler can find out about its session.
func describeSession(ctx context.Context) string {
	s := server.ClientSessionFromContext(ctx)
	if s == nil {
		return "no session"
	}
	is := func(ok bool) string {
		if ok {
			return "1"
		}
		return "0"
	}
	_, a := s.(server.SessionWithTools)
	_, b := s.(server.SessionWithLogging)
	_, c := s.(server.SessionWithClientInfo)
	_, d := s.(server.SessionWithSampling)
	_, e := s.(server.SessionWithElicitation)
	_, f := s.(server.SessionWithRoots)
	_, g := s.(server.SessionWithResources)
	_, h := s.(server.SessionWithResourceTemplates)
	_, i := s.(server.SessionWithResourceSubscriptions)
	_, j := s.(server.SessionWithStreamableHTTPConfig)
	_, k := s.(server.SessionWithProtocolVersion)
	_, l := s.(server.SessionWithSubscriptionFilter)
	_, m := s.(server.SessionWithResourceSubscriptionsErr)
	out := s.SessionID() + " " + is(s.Initialized()) + " "
	for _, ok := range []bool{a, b, c, d, e, f, g, h, i, j, k, l, m} {
		out += is(ok)
	}
	if c, ok := s.(server.SessionWithClientInfo); ok {
		out += " " + asJSON(c.GetClientInfo()) + asJSON(c.GetClientCapabilities())
	}
	if v, ok := s.(server.SessionWithProtocolVersion); ok {
		out += " " + v.ProtocolVersion()
	}
	return out
}

func (w *twin) addPromptsAndResources() {
	for _, name := range []string{"greet", "hidden", "error", "panic", "nil", "ask"} {
		w.srv.AddPrompt(mcp.NewPrompt(name, mcp.WithArgument("who", mcp.RequiredArgument())),
			func(_ context.Context, r mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
				w.saw("prompt %s %v", name, r.Params.Arguments)
				switch name {
				case "error":
					return nil, errTwin
				case "panic":
					panic(panicValue{"a prompt"})
				case "nil":
					return nil, nil
				case "ask":
					return server.NewInputRequestBuilder("p").Roots("r").PromptResult(), nil
				}
				return mcp.NewGetPromptResult("d", []mcp.PromptMessage{
					mcp.NewPromptMessage(mcp.RoleUser, mcp.NewTextContent("hello "+r.Params.Arguments["who"])),
				}), nil
			})
	}
	for _, name := range []string{"ok", "error", "panic", "nil"} {
		w.srv.AddResource(mcp.NewResource("twin://"+name, name), func(_ context.Context, r mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
			w.saw("resource %s", r.Params.URI)
			switch name {
			case "error":
				return nil, errTwin
			case "panic":
				panic(panicValue{"a resource"})
			case "nil":
				return nil, nil
			}
			return []mcp.ResourceContents{mcp.TextResourceContents{URI: r.Params.URI, Text: "content"}}, nil
		})
	}
	w.srv.AddResourceTemplate(mcp.NewResourceTemplate("item://{id}{?q}", "item"),
		func(_ context.Context, r mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
			w.saw("template %s %s", r.Params.URI, asJSON(r.Params.Arguments))
			return []mcp.ResourceContents{mcp.BlobResourceContents{URI: r.Params.URI, Blob: "aGk="}}, nil
		})
}

type twinCompletion struct{ w *twin }

func (c twinCompletion) complete(name string, a mcp.CompleteArgument) (*mcp.Completion, error) {
	c.w.saw("complete %s %s", name, asJSON(a))
	if a.Value == "error" {
		return nil, errTwin
	}
	return &mcp.Completion{Values: []string{a.Value + "1", a.Value + "2"}, Total: 2}, nil
}

func (c twinCompletion) CompletePromptArgument(_ context.Context, name string, a mcp.CompleteArgument, _ mcp.CompleteContext) (*mcp.Completion, error) {
	return c.complete(name, a)
}

func (c twinCompletion) CompleteResourceArgument(_ context.Context, uri string, a mcp.CompleteArgument, _ mcp.CompleteContext) (*mcp.Completion, error) {
	return c.complete(uri, a)
}

// handlers answers what a server asks of an in-process client.
type handlers struct{}

func (handlers) CreateMessage(context.Context, mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
	return &mcp.CreateMessageResult{
		SamplingMessage: mcp.SamplingMessage{Role: mcp.RoleAssistant, Content: mcp.NewTextContent("said")}, Model: "m",
	}, nil
}

func (handlers) Elicit(context.Context, mcp.ElicitationRequest) (*mcp.ElicitationResult, error) {
	return &mcp.ElicitationResult{ElicitationResponse: mcp.ElicitationResponse{Action: mcp.ElicitationResponseActionAccept}}, nil
}

func (handlers) ListRoots(context.Context, mcp.ListRootsRequest) (*mcp.ListRootsResult, error) {
	return nil, errTwin
}

// ownSession is a session type of the program's own, with few abilities.
type ownSession struct {
	notifications chan mcp.JSONRPCNotification
	initialized   atomic.Bool
	level         atomic.Value
}

func (s *ownSession) Initialize()       { s.initialized.Store(true) }
func (s *ownSession) Initialized() bool { return s.initialized.Load() }
func (*ownSession) SessionID() string   { return "own" }
func (s *ownSession) NotificationChannel() chan<- mcp.JSONRPCNotification {
	return s.notifications
}
func (s *ownSession) SetLogLevel(l mcp.LoggingLevel) { s.level.Store(l) }
func (s *ownSession) GetLogLevel() mcp.LoggingLevel {
	l, _ := s.level.Load().(mcp.LoggingLevel)
	return l
}

// sayings generates messages: mostly well-formed ones of every method, with
// every part of them broken now and then.
type sayings struct {
	r *rand.Rand
}

func newSayings(seed uint64) *sayings { return &sayings{r: rand.New(rand.NewPCG(seed, 20260728))} }

func (g *sayings) pick(of ...string) string { return of[g.r.IntN(len(of))] }
func (g *sayings) chance(p float64) bool    { return g.r.Float64() < p }

var sayableMethods = append(slices.Clone(semconv.MCPMethodNames[:]),
	"", "tools/CALL", "nonsense", "tools/call ", "rpc.discover", "notifications/x", "$/cancelRequest",
	"tasks/get", "tasks/list", "tasks/result", "tasks/cancel", "\\u0000", "é\\n")

func (g *sayings) message() []byte {
	if g.chance(0.04) {
		return []byte(g.garbage())
	}
	method := g.pick(sayableMethods...)
	if g.chance(0.5) {
		method = g.pick("tools/call", "tools/call", "tools/call", "prompts/get", "resources/read", "completion/complete", "tools/list")
	}
	var parts []string
	add := func(key, value string) {
		parts = append(parts, `"`+key+`":`+value)
		if g.chance(0.01) { // duplicate keys: the last one wins, or not
			parts = append(parts, `"`+key+`":`+g.value(1))
		}
	}
	if g.chance(0.98) {
		add("jsonrpc", g.mostly(`"2.0"`, `"1.0"`, `2.0`, `null`, `"2.0 "`))
	}
	if g.chance(0.93) {
		add("id", g.id())
	}
	if g.chance(0.98) {
		add("method", g.mostly(`"`+method+`"`, `7`, `null`, `["tools/call"]`))
	}
	if g.chance(0.95) {
		if g.chance(0.04) {
			add("params", g.value(2))
		} else {
			add("params", g.params(method))
		}
	}
	if g.chance(0.02) {
		add("result", g.value(1))
	}
	if g.chance(0.02) {
		add("error", g.pick(`{"code":-32000,"message":"x"}`, g.value(1)))
	}
	if g.chance(0.03) {
		add("extra", g.value(3))
	}
	if g.chance(0.1) {
		g.r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	}
	s := "{" + strings.Join(parts, g.mostly(",", " , ", ",\t")) + "}"
	if g.chance(0.01) && len(s) > 2 {
		s = s[:g.r.IntN(len(s))]
	}
	return []byte(s)
}

// mostly returns the first, and one of the others now and then.
func (g *sayings) mostly(normal string, odd ...string) string {
	if g.chance(0.97) {
		return normal
	}
	return g.pick(odd...)
}

func (g *sayings) garbage() string {
	return g.pick("[]", "{}", "null", "true", "7", `""`, `"x"`, "", " ", "{", "[", `{"jsonrpc"`, "\xff\xfe", "\x00",
		`[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"}]`,
		strings.Repeat("[", 200)+strings.Repeat("]", 200), strings.Repeat(`{"a":`, 300)+"1"+strings.Repeat("}", 300),
		`{"jsonrpc":"2.0","id":1,"method":"ping"} trailing`, `{"jsonrpc":"2.0","id":1,"result":{}}`,
		`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}`, `{"id":1}`, `{"method":"ping","id":3}`)
}

func (g *sayings) id() string {
	if g.chance(0.6) {
		return fmt.Sprint(g.r.IntN(1000))
	}
	return g.pick(`"abc"`, `"é\u202e\n"`, `1.5`, `-1`, `0`, `""`, `1e300`, `9223372036854775807`, `9223372036854775808`, `123456789012345678901234567890`,
		`null`, `true`, `[1]`, `{"a":1}`, `-0`, `1e2`, `"`+strings.Repeat("i", 300)+`"`, `"password=hunter2"`)
}

// value is any JSON, nested up to depth.
func (g *sayings) value(depth int) string {
	if depth == 0 || g.chance(0.6) {
		return g.pick(`null`, `true`, `0`, `-1.5`, `1e400`, `""`, `"text"`, `"\ud800"`, `"\u0000\u001b[31m\u202e"`, `"日本語 🎉"`, `{}`, `[]`,
			`"`+strings.Repeat("long ", 400)+`"`, `"token=ghp_abcdefghijklmnopqrstuvwxyz0123456789"`)
	}
	var b strings.Builder
	n := g.r.IntN(4)
	if g.chance(0.5) {
		b.WriteByte('[')
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(g.value(depth - 1))
		}
		b.WriteByte(']')
		return b.String()
	}
	b.WriteByte('{')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(g.pick(`"a"`, `"b"`, `"text"`, `"é"`, `""`, `"a.b"`) + ":" + g.value(depth-1))
	}
	b.WriteByte('}')
	return b.String()
}

var toolNames = []string{
	"echo", "echo", "echo", "hidden", "rename", "amend", "hookpanic", "fail", "error", "wrapped", "coded", "panic", "panicnil", "goexit", "nil",
	"empty", "structured", "unmarshalable", "many", "ask", "sample", "elicit", "roots", "nested", "notify", "session", "sessiontool", "own",
	"churn", "fresh", "context", "raw", "maybetask", "task", "no such tool", "", "ECHO", "tool\\n\\u202e",
}

// params makes what method takes, and breaks a part of it now and then.
func (g *sayings) params(method string) string {
	var parts []string
	add := func(key, value string) {
		if g.chance(0.03) {
			return
		}
		if g.chance(0.04) {
			value = g.value(2)
		}
		parts = append(parts, `"`+key+`":`+value)
	}
	str := func(s string) string { return `"` + s + `"` }
	switch method {
	case "initialize":
		add("protocolVersion", str(g.pick("2025-11-25", "2025-06-18", "2024-11-05", "1999-01-01", "2026-07-28", "")))
		add("capabilities", g.pick(`{}`, `{"sampling":{},"roots":{"listChanged":true},"elicitation":{}}`))
		add("clientInfo", `{"name":`+g.pick(`"c"`, `"é\u202e"`, `""`, `7`)+`,"version":"1"}`)
	case "tools/call":
		add("name", str(g.pick(toolNames...)))
		if g.chance(0.9) {
			add("arguments", g.pick(`{"text":"hello"}`, `{"text":"drop"}`, `{"text":"a","n":3}`, `{"n":"NaN"}`, `{}`, `{"text":7,"odd":true}`, g.value(3),
				`{"text":"`+strings.Repeat("x", 300)+`"}`))
		}
		if g.chance(0.05) && len(parts) > 0 && !strings.Contains(parts[0], "task") { // tasks that run have their own test
			add("task", g.pick(`{}`, `{"ttl":60000}`, `{"ttl":-1}`, `{"ttl":"x"}`, `null`, `7`))
		}
		if g.chance(0.05) {
			add("inputResponses", g.pick(`{"sure":{"action":"accept"}}`, `{}`, `7`, `{"sure":7}`))
			add("requestState", `"state-1"`)
		}
	case "prompts/get":
		add("name", str(g.pick("greet", "greet", "hidden", "error", "panic", "nil", "ask", "none", "")))
		add("arguments", g.pick(`{"who":"you"}`, `{}`, `{"who":7}`, `{"who":"é\u0000"}`, `null`))
	case "resources/read", "resources/subscribe", "resources/unsubscribe":
		add("uri", str(g.pick("twin://ok", "twin://error", "twin://panic", "twin://nil", "item://7?q=1", "item://user:pw@host/%zz", "none://x", "", ":")))
	case "completion/complete":
		add("ref", g.pick(`{"type":"ref/prompt","name":"greet"}`, `{"type":"ref/prompt","name":"none"}`, `{"type":"ref/resource","uri":"item://{id}"}`,
			`{"type":"ref/odd"}`, `{}`, `null`))
		add("argument", g.pick(`{"name":"who","value":"a"}`, `{"name":"who","value":"error"}`, `{}`, `7`))
	case "logging/setLevel":
		add("level", str(g.pick("debug", "error", "loud", "")))
	case "tasks/get", "tasks/result", "tasks/cancel":
		add("taskId", str(g.pick("none", "", "00000000-0000-0000-0000-000000000000")))
	case "tools/list", "prompts/list", "resources/list", "resources/templates/list", "tasks/list":
		if g.chance(0.3) {
			add("cursor", g.pick(`"ZWNobw=="`, `""`, `"!"`, `"bm9uZQ=="`, `7`))
		}
	case "notifications/cancelled":
		add("requestId", g.id())
		add("reason", str("changed my mind"))
	case "subscriptions/listen":
		add("notifications", g.pick(`{"toolsListChanged":true}`, `{}`, `7`))
	default:
		if g.chance(0.5) {
			add("a", g.value(2))
		}
	}
	if g.chance(0.5) {
		parts = append(parts, `"_meta":`+g.meta())
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func (g *sayings) meta() string {
	if g.chance(0.06) {
		return g.value(2)
	}
	var parts []string
	if g.chance(0.5) { // the modern era
		parts = append(parts, `"io.modelcontextprotocol/protocolVersion":`+g.mostly(`"2026-07-28"`, `"2027-01-01"`, `7`, `""`, `"2025-11-25"`, `"zz"`))
		if g.chance(0.95) {
			parts = append(parts, `"io.modelcontextprotocol/clientCapabilities":`+g.mostly(g.pick(`{}`, `{"sampling":{},"elicitation":{},"roots":{}}`), `7`, `null`, `[]`))
		}
		parts = append(parts, `"io.modelcontextprotocol/clientInfo":`+g.mostly(`{"name":"modern","version":"2"}`, `7`, `{}`, `{"name":7}`, `null`))
	}
	if g.chance(0.5) {
		parts = append(parts, `"traceparent":`+g.pick(`"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"`, `"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"`,
			`"00-00000000000000000000000000000000-0000000000000000-01"`, `"garbage"`, `7`, `null`, `["00"]`, `"`+strings.Repeat("0", 5000)+`"`, `"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x"`))
	}
	if g.chance(0.3) {
		parts = append(parts, `"tracestate":`+g.pick(`"a=b"`, `"`+strings.Repeat("k=v,", 500)+`"`, `"=,=,"`, `{}`, `"\u0000"`))
	}
	if g.chance(0.3) {
		parts = append(parts, `"baggage":`+g.pick(`"user=eve"`, `"k=%zz"`, `"password=hunter2"`, `"`+strings.Repeat("a=b,", 3000)+`"`, `7`, `";;;="`))
	}
	if g.chance(0.3) {
		parts = append(parts, `"progressToken":`+g.pick(`1`, `"p"`, `null`, `{}`, `1.5`))
	}
	if g.chance(0.1) {
		parts = append(parts, `"custom/key":`+g.value(3))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// blocks tells a message that is not answered before its connection ends.
func blocks(raw []byte) bool {
	var m struct{ Method string }
	_ = json.Unmarshal(raw, &m)
	return m.Method == "subscriptions/listen" || bytes.Contains(raw, []byte("subscriptions/listen"))
}

// handWritten are messages that a generator is unlikely to come up with.
func handWritten() [][]byte {
	var out [][]byte
	for _, s := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`,
		`{"jsonrpc":"2.0","method":"notifications/initialized"}`,
		`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"note":"refuse me"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","method":"ping","params":{"name":"echo"}}`,
		`{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}`,
		`{"jsonrpc":"2.0","ID":5,"METHOD":"ping"}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","name":"fail","arguments":{"text":"a","text":"b"}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"NAME":"echo","Arguments":{"text":"case"}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","_meta":{"traceparent":"x"},"_meta":null}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[{"name":"echo"}]}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":"echo"}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":[1,2]}}`,
		`{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"stray"}}`,
		`{"jsonrpc":"2.0","id":1,"result":null}`,
		`{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}`,
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`,
		`{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"mcp.ping"}`,
		`{"jsonrpc":"2.0","id":1,"method":"mcp.mcp.tools/call"}`,
		`{"jsonrpc":"2.0","id":1,"method":"_OTHER"}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"_OTHER"}}`,
	} {
		out = append(out, []byte(s))
	}
	for _, name := range toolNames {
		for _, args := range []string{`{"text":"x"}`, `{}`, `null`} {
			for _, meta := range []string{`{}`, modernMeta, `{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","baggage":"a=b"}`} {
				out = append(out, []byte(`{"jsonrpc":"2.0","id":"h","method":"tools/call","params":{"name":"`+name+`","arguments":`+args+`,"_meta":`+meta+`}}`))
			}
		}
	}
	return out
}

// huge are messages that cost too much to send often.
func huge() (out [][]byte) {
	for _, s := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":"` + strings.Repeat("x", 1<<20) + `"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"` + strings.Repeat("m", 1<<16) + `"}`,
		`{"jsonrpc":"2.0","id":"` + strings.Repeat("i", 1<<16) + `","method":"ping"}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + strings.Repeat("t", 1<<16) + `"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"` + strings.Repeat("u", 1<<16) + `"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":` + strings.Repeat(`{"a":`, 5000) + `1` + strings.Repeat(`}`, 5000) + `}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":` + strings.Repeat(`[`, 20000) + strings.Repeat(`]`, 20000) + `}}`,
	} {
		out = append(out, []byte(s))
	}
	return out
}

const modernMeta = `{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
	`"io.modelcontextprotocol/clientCapabilities":{"sampling":{},"elicitation":{},"roots":{}},` +
	`"io.modelcontextprotocol/clientInfo":{"name":"modern","version":"2"}}`

// messages is the corpus of a comparison: n generated ones and the hand-written.
func messages(seed uint64, n int) [][]byte {
	out := handWritten()
	g := newSayings(seed)
	for range n {
		out = append(out, g.message())
	}
	return out
}

// answer is what became of a message that was handed to a server.
func answer(ctx context.Context, srv *server.MCPServer, raw []byte) string {
	out := "goexit"
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if v := recover(); v != nil {
				out = fmt.Sprintf("panic %T %v", v, v)
			}
		}()
		resp := srv.HandleMessage(ctx, slices.Clone(raw))
		if resp == nil {
			out = "nothing"
			return
		}
		b, err := json.Marshal(resp)
		out = fmt.Sprintf("%T %s %v", resp, b, err)
	}()
	timer := time.NewTimer(time.Minute)
	defer timer.Stop()
	select {
	case <-done:
		return out
	case <-timer.C:
		return "no answer in a minute"
	}
}

// madeUp is what mcp-go makes up for a task, the one thing that two bare servers
// differ in. See TestTwinsAreAlike.
var madeUp = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}|` +
	`"(?:createdAt|lastUpdatedAt)":"[^"]*"`)

// way is a way to hand a message to a server directly.
type way struct {
	name    string
	session func(*testing.T, *twin) (context.Context, func() string)
}

// drainNotifications returns what the session's client would have got.
func drainNotifications(ch <-chan mcp.JSONRPCNotification) string {
	var b strings.Builder
	for {
		select {
		case n := <-ch:
			b.WriteString(asJSON(n) + "\n")
		default:
			return b.String()
		}
	}
}

var ways = []way{
	{"no session", func(t *testing.T, _ *twin) (context.Context, func() string) {
		return t.Context(), func() string { return "" }
	}},
	{"in process", func(t *testing.T, w *twin) (context.Context, func() string) {
		s := server.NewInProcessSessionWithHandlers("in-process", handlers{}, handlers{}, handlers{})
		register(t, w, s)
		return w.srv.WithContext(t.Context(), s), func() string { return drainNotifications(s.ClientNotifications()) }
	}},
	{"own session type", func(t *testing.T, w *twin) (context.Context, func() string) {
		s := &ownSession{notifications: make(chan mcp.JSONRPCNotification, 100)}
		register(t, w, s)
		ctx := context.WithValue(t.Context(), twinKey{}, "the program's")
		ctx = server.WithInProcessSamplingHandler(ctx, handlers{})
		return w.srv.WithContext(ctx, s), func() string { return drainNotifications(s.notifications) }
	}},
}

func register(t *testing.T, w *twin, s server.ClientSession) {
	t.Helper()
	if err := w.srv.RegisterSession(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.srv.UnregisterSession(context.WithoutCancel(t.Context()), s.SessionID()) })
}

// unordered is what mcp-go says in the order of a map.
var unordered = regexp.MustCompile(`Properties:\[[^\]]*\]`)

func ordered(s string) string {
	return unordered.ReplaceAllStringFunc(s, func(m string) string {
		names := strings.Fields(m[len("Properties:[") : len(m)-1])
		slices.Sort(names)
		return "Properties:" + fmt.Sprint(names)
	})
}

// compareDirect hands every message to both, and stops at the first message
// that they treat differently.
func compareDirect(t *testing.T, via way, bare, instrumented *twin, corpus [][]byte) {
	t.Helper()
	bareCtx, bareGot := via.session(t, bare)
	ctx, got := via.session(t, instrumented)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	different := 0
	for n, raw := range corpus {
		a, b := bareCtx, ctx
		if blocks(raw) {
			a = bare.srv.WithContext(canceled, server.ClientSessionFromContext(bareCtx))
			b = instrumented.srv.WithContext(canceled, server.ClientSessionFromContext(ctx))
		}
		want, have := ordered(answer(a, bare.srv, raw)), ordered(answer(b, instrumented.srv, raw))
		if want != have {
			t.Errorf("message %d %s\n bare: %s\n have: %s", n, clip(raw), clip(want), clip(have))
			different++
		}
		if want, have := bareGot(), got(); want != have {
			t.Errorf("message %d %s: the client was told\n bare: %s\n have: %s", n, clip(raw), clip(want), clip(have))
			different++
		}
		if want, have := bare.drain(), instrumented.drain(); !slices.Equal(want, have) {
			t.Errorf("message %d %s: the program's own code saw\n bare: %s\n have: %s", n, clip(raw),
				clip(strings.Join(want, "\n       ")), clip(strings.Join(have, "\n       ")))
			different++
		}
		if different > 5 {
			t.Fatal("too many differences")
		}
	}
}

func clip[T string | []byte](s T) string {
	if len(s) > 1500 {
		return fmt.Sprintf("%.1500s… (%d bytes)", string(s), len(s))
	}
	return string(s)
}

// equipment is a set of options: of telemetry, working or not.
type equipment struct {
	name string
	opts func(*testing.T) []otelmcp.Option
	// late adds the program's hooks after Instrument.
	late bool
}

func captureOptions(t testing.TB, opts ...telemetrytest.Option) (*telemetrytest.Capture, []otelmcp.Option) {
	t.Helper()
	c := telemetrytest.New(t, opts...)
	return c, []otelmcp.Option{
		otelmcp.WithTracerProvider(c.TracerProvider()), otelmcp.WithMeterProvider(c.MeterProvider()), otelmcp.WithLoggerProvider(c.LoggerProvider()),
		otelmcp.WithPropagators(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})),
	}
}

func equipments() []equipment {
	return []equipment{
		{name: "captured", opts: func(t *testing.T) []otelmcp.Option {
			_, o := captureOptions(t)
			return o
		}},
		{name: "hooks after", late: true, opts: func(t *testing.T) []otelmcp.Option {
			_, o := captureOptions(t)
			return o
		}},
		{name: "every option", opts: func(t *testing.T) []otelmcp.Option {
			_, o := captureOptions(t, telemetrytest.WithUnsampled(), telemetrytest.WithExtraAttributes("deployment.environment.name"))
			var n atomic.Int64
			return append(o, otelmcp.WithPublicEndpoint(), otelmcp.WithContentCapture(otelmcp.Arguments|otelmcp.Results|otelmcp.PromptVariables),
				otelmcp.WithContentOnEvents(otelmcp.Arguments|otelmcp.Results|otelmcp.PromptVariables), otelmcp.WithErrorText(),
				otelmcp.WithContentOnEvents(otelmcp.Arguments, otelmcp.ForTools("echo"), otelmcp.OnlyArguments("text")),
				otelmcp.WithScrubber(func(_, v string) string { return strings.ToUpper(v) }),
				otelmcp.WithIdentity(func(context.Context) otelmcp.Identity { return otelmcp.Identity{UserID: "u", Roles: []string{"r"}} }),
				otelmcp.WithFilter(func(context.Context, string) bool { return n.Add(1)%2 == 0 }),
				otelmcp.WithAttributes(attribute.String("deployment.environment.name", "test")))
		}},
		{name: "no-op", opts: func(*testing.T) []otelmcp.Option { return noopPipeline().options() }},
		{name: "callbacks panic", opts: func(t *testing.T) []otelmcp.Option {
			_, o := captureOptions(t)
			return append(o, otelmcp.WithContentCapture(otelmcp.Arguments|otelmcp.Results|otelmcp.PromptVariables),
				otelmcp.WithContentOnEvents(otelmcp.Arguments|otelmcp.Results|otelmcp.PromptVariables), otelmcp.WithErrorText(),
				otelmcp.WithContentOnEvents(otelmcp.Arguments, otelmcp.ForTools("echo"), otelmcp.OnlyArguments("text")),
				otelmcp.WithScrubber(func(_, _ string) string { panic("scrubber") }),
				otelmcp.WithIdentity(func(context.Context) otelmcp.Identity { panic("identity") }),
				otelmcp.WithFilter(func(context.Context, string) bool { panic("filter") }))
		}},
		{name: "callbacks talk nonsense", opts: func(t *testing.T) []otelmcp.Option {
			_, o := captureOptions(t)
			nonsense := "\x00\x1b[31m\xff\u202e\n" + strings.Repeat("n", 100_000)
			return append(o, otelmcp.WithContentCapture(otelmcp.Arguments|otelmcp.Results|otelmcp.PromptVariables),
				otelmcp.WithContentOnEvents(otelmcp.Arguments|otelmcp.Results|otelmcp.PromptVariables), otelmcp.WithErrorText(),
				otelmcp.WithContentOnEvents(otelmcp.Arguments, otelmcp.ForTools("echo"), otelmcp.OnlyArguments("text")),
				otelmcp.WithScrubber(func(_, _ string) string { return nonsense }),
				otelmcp.WithIdentity(func(context.Context) otelmcp.Identity {
					return otelmcp.Identity{UserID: nonsense, Roles: []string{nonsense, ""}}
				}), nil)
		}},
		{name: "callbacks block for a moment", opts: func(t *testing.T) []otelmcp.Option {
			_, o := captureOptions(t)
			wait := func() {
				ch := make(chan struct{})
				go close(ch)
				<-ch
			}
			return append(o, otelmcp.WithScrubber(func(_, v string) string { wait(); return v }),
				otelmcp.WithIdentity(func(context.Context) otelmcp.Identity { wait(); return otelmcp.Identity{} }),
				otelmcp.WithFilter(func(context.Context, string) bool { wait(); return true }))
		}},
		{name: "processors panic", opts: func(t *testing.T) []otelmcp.Option {
			tp := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(panickingSpans{}))
			lp := sdklog.NewLoggerProvider(sdklog.WithProcessor(panickingLogs{}))
			return append(sdkPipeline(t, sdktrace.AlwaysSample()).options(), otelmcp.WithTracerProvider(tp), otelmcp.WithLoggerProvider(lp))
		}},
		{name: "sampler panics", opts: func(t *testing.T) []otelmcp.Option {
			return sdkPipeline(t, panickingSampler{}).options()
		}},
		{name: "instruments panic", opts: func(*testing.T) []otelmcp.Option {
			return brokenPipeline{}.options(panics{start: true, record: true, enabled: true, emit: true})
		}},
		{name: "spans panic", opts: func(*testing.T) []otelmcp.Option { return brokenPipeline{}.options(panics{span: true}) }},
		{name: "tracer returns nil", opts: func(*testing.T) []otelmcp.Option { return brokenPipeline{}.options(panics{startNil: true}) }},
		{name: "propagators panic", opts: func(t *testing.T) []otelmcp.Option {
			_, o := captureOptions(t)
			return append(o, otelmcp.WithPropagators(panickingPropagator{}))
		}},
		{name: "propagators return nil", opts: func(t *testing.T) []otelmcp.Option {
			_, o := captureOptions(t)
			return append(o, otelmcp.WithPropagators(nilPropagator{}))
		}},
	}
}

type panickingSpans struct{}

func (panickingSpans) OnStart(context.Context, sdktrace.ReadWriteSpan) { panic("OnStart") }
func (panickingSpans) OnEnd(sdktrace.ReadOnlySpan)                     { panic("OnEnd") }
func (panickingSpans) Shutdown(context.Context) error                  { return nil }
func (panickingSpans) ForceFlush(context.Context) error                { return nil }

type panickingLogs struct{}

func (panickingLogs) Enabled(context.Context, sdklog.EnabledParameters) bool { panic("Enabled") }
func (panickingLogs) OnEmit(context.Context, *sdklog.Record) error           { panic("OnEmit") }
func (panickingLogs) Shutdown(context.Context) error                         { return nil }
func (panickingLogs) ForceFlush(context.Context) error                       { return nil }

type panickingSampler struct{}

func (panickingSampler) ShouldSample(sdktrace.SamplingParameters) sdktrace.SamplingResult {
	panic("ShouldSample")
}
func (panickingSampler) Description() string { return "panics" }

type panickingPropagator struct{}

func (panickingPropagator) Inject(context.Context, propagation.TextMapCarrier) { panic("Inject") }
func (panickingPropagator) Extract(context.Context, propagation.TextMapCarrier) context.Context {
	panic("Extract")
}
func (panickingPropagator) Fields() []string { panic("Fields") }

type nilPropagator struct{ propagation.TraceContext }

func (nilPropagator) Extract(context.Context, propagation.TextMapCarrier) context.Context { return nil }

// panics says which calls of an API's implementation panic.
type panics struct{ start, startNil, span, record, enabled, emit bool }

// brokenPipeline is an implementation of OpenTelemetry's API that misbehaves.
type brokenPipeline struct{}

func (brokenPipeline) options(p panics) []otelmcp.Option {
	return []otelmcp.Option{
		otelmcp.WithTracerProvider(brokenTracerProvider{p: p}), otelmcp.WithMeterProvider(brokenMeterProvider{p: p}),
		otelmcp.WithLoggerProvider(brokenLoggerProvider{p: p}), otelmcp.WithPropagators(propagation.TraceContext{}),
	}
}

type brokenTracerProvider struct {
	tracenoop.TracerProvider
	p panics
}

func (b brokenTracerProvider) Tracer(string, ...trace.TracerOption) trace.Tracer {
	return brokenTracer{p: b.p}
}

type brokenTracer struct {
	tracenoop.Tracer
	p panics
}

func (b brokenTracer) Start(ctx context.Context, _ string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	switch {
	case b.p.start:
		panic("Start")
	case b.p.startNil:
		return nil, nil
	case b.p.span:
		s := brokenSpan{}
		return trace.ContextWithSpan(ctx, s), s
	}
	return trace.ContextWithSpan(ctx, tracenoop.Span{}), tracenoop.Span{}
}

type brokenSpan struct{ tracenoop.Span }

func (brokenSpan) IsRecording() bool                     { panic("IsRecording") }
func (brokenSpan) SetAttributes(...attribute.KeyValue)   { panic("SetAttributes") }
func (brokenSpan) SetName(string)                        { panic("SetName") }
func (brokenSpan) AddLink(trace.Link)                    { panic("AddLink") }
func (brokenSpan) End(...trace.SpanEndOption)            { panic("End") }
func (brokenSpan) AddEvent(string, ...trace.EventOption) { panic("AddEvent") }

type brokenMeterProvider struct {
	metricnoop.MeterProvider
	p panics
}

func (b brokenMeterProvider) Meter(string, ...metric.MeterOption) metric.Meter {
	return brokenMeter{p: b.p}
}

type brokenMeter struct {
	metricnoop.Meter
	p panics
}

func (b brokenMeter) Int64Counter(string, ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	return brokenCounter{p: b.p}, nil
}

func (b brokenMeter) Int64UpDownCounter(string, ...metric.Int64UpDownCounterOption) (metric.Int64UpDownCounter, error) {
	return brokenUpDown{p: b.p}, nil
}

func (b brokenMeter) Float64Histogram(string, ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	return brokenHistogram{p: b.p}, nil
}

type brokenCounter struct {
	metricnoop.Int64Counter
	p panics
}

func (b brokenCounter) Add(context.Context, int64, ...metric.AddOption) {
	if b.p.record {
		panic("Add")
	}
}

func (b brokenCounter) Enabled(context.Context) bool {
	if b.p.enabled {
		panic("Enabled")
	}
	return true
}

type brokenUpDown struct {
	metricnoop.Int64UpDownCounter
	p panics
}

func (b brokenUpDown) Add(context.Context, int64, ...metric.AddOption) {
	if b.p.record {
		panic("Add")
	}
}

type brokenHistogram struct {
	metricnoop.Float64Histogram
	p panics
}

func (b brokenHistogram) Record(context.Context, float64, ...metric.RecordOption) {
	if b.p.record {
		panic("Record")
	}
}

type brokenLoggerProvider struct {
	lognoop.LoggerProvider
	p panics
}

func (b brokenLoggerProvider) Logger(string, ...otellog.LoggerOption) otellog.Logger {
	return brokenLogger{p: b.p}
}

type brokenLogger struct {
	lognoop.Logger
	p panics
}

func (b brokenLogger) Enabled(context.Context, otellog.EnabledParameters) bool {
	if b.p.enabled {
		panic("Enabled")
	}
	return true
}

func (b brokenLogger) Emit(context.Context, otellog.Record) {
	if b.p.emit {
		panic("Emit")
	}
}

// volume is how many messages are generated for a comparison.
func volume(n int) int {
	switch {
	case testing.Short():
		return n / 10
	case raceEnabled:
		return n / 4
	}
	return n
}

// newInstrumented builds the instrumented twin of newTwin(c).
func newInstrumented(t *testing.T, c twinConfig, e equipment) *twin {
	t.Helper()
	opts := e.opts(t)
	late := c.hooks && e.late
	if late {
		c.hooks = false
	}
	w := newTwin(c)
	w.inst = otelmcp.Instrument(w.srv, opts...)
	if late {
		w.addHooks(w.srv.GetHooks())
	}
	return w
}

// TestTransparentDirect compares what HandleMessage answers, for every server
// and every set of options.
func TestTransparentDirect(t *testing.T) {
	seed := uint64(1)
	for _, c := range twinConfigs {
		for _, e := range equipments() {
			if c.hooks && e.late {
				continue // the order against the program's middleware is another one then
			}
			for _, via := range ways {
				seed++
				corpus := messages(seed, volume(400))
				if e.name != "captured" && e.name != "every option" {
					corpus = slices.Concat(corpus[:22], corpus[len(corpus)-volume(120):])
				}
				t.Run(c.name+"/"+e.name+"/"+via.name, func(t *testing.T) {
					compareDirect(t, via, newTwin(c), newInstrumented(t, c, e), corpus)
				})
			}
		}
	}
}

// TestTransparentHuge compares messages of a megabyte, or thousands of levels.
func TestTransparentHuge(t *testing.T) {
	for _, c := range twinConfigs {
		for _, e := range equipments()[:3] {
			if c.hooks && e.late || raceEnabled && e.name != "every option" {
				continue
			}
			t.Run(c.name+"/"+e.name, func(t *testing.T) {
				compareDirect(t, ways[1], newTwin(c), newInstrumented(t, c, e), huge())
			})
		}
	}
}

// TestTransparentHooksAdded compares a program that adds its hooks to a server
// that is instrumented already.
func TestTransparentHooksAdded(t *testing.T) {
	c := twinConfig{recovery: true}
	for n, via := range ways {
		t.Run(via.name, func(t *testing.T) {
			_, opts := captureOptions(t)
			bare, instrumented := newTwin(c), newTwin(c)
			instrumented.inst = otelmcp.Instrument(instrumented.srv, opts...)
			h := &server.Hooks{}
			server.WithHooks(h)(bare.srv)
			bare.addHooks(h)
			instrumented.addHooks(instrumented.srv.GetHooks())
			compareDirect(t, via, bare, instrumented, messages(uint64(5000+n), volume(1000)))
		})
	}
}

// TestTwinsAreAlike proves that the comparison compares: two bare servers do
// not differ in anything but what madeUp names, and do differ in that.
func TestTwinsAreAlike(t *testing.T) {
	for n, c := range twinConfigs {
		for _, via := range ways {
			t.Run(c.name+"/"+via.name, func(t *testing.T) {
				compareDirect(t, via, newTwin(c), newTwin(c), messages(uint64(100+n), volume(250)))
			})
		}
	}
	a, b := newTwin(twinConfigs[0]), newTwin(twinConfigs[0])
	create := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"task","arguments":{},"task":{}}}`)
	x, y := answer(t.Context(), a.srv, create), answer(t.Context(), b.srv, create)
	if x == y {
		t.Errorf("two tasks are alike, so there is nothing to normalise: %s", x)
	}
	if n := len(madeUp.FindAllString(x, -1)); n != 3 {
		t.Errorf("%d parts of %s are normalised, want the id and two times", n, x)
	}
	if madeUp.ReplaceAllString(x, "-") != madeUp.ReplaceAllString(y, "-") {
		t.Errorf("two bare servers differ in more than is normalised:\n%s\n%s", x, y)
	}
	fresh := newTwin(twinConfigs[0])
	for _, raw := range messages(77, volume(2000)) {
		if out := answer(t.Context(), fresh.srv, raw); madeUp.MatchString(out) && !bytes.Contains(raw, []byte("-0000-0000-")) && !madeUp.Match(raw) {
			t.Errorf("%s has something made up: %s", clip(raw), clip(out))
		}
	}
}

// TestTransparentTasks follows tasks from their call to their result.
func TestTransparentTasks(t *testing.T) {
	run := func(w *twin) (out []string) {
		for n, call := range []string{
			`{"name":"task","arguments":{"text":"a"},"task":{}}`,
			`{"name":"task","arguments":{"text":"fail"},"task":{"ttl":60000}}`,
			`{"name":"task","arguments":{"text":"error"},"task":{"ttl":60000}}`,
			`{"name":"maybetask","arguments":{"text":"a"},"task":{},"_meta":` + modernMeta + `}`,
			`{"name":"maybetask","arguments":{"text":"a"}}`,
			`{"name":"task","arguments":{"text":"a"}}`,
			`{"name":"echo","arguments":{"text":"a"},"task":{}}`,
		} {
			say := func(method, params string) string {
				got := answer(t.Context(), w.srv, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, n, method, params))
				out = append(out, madeUp.ReplaceAllString(got, "-"))
				return got
			}
			created := say("tools/call", call)
			id := regexp.MustCompile(`"taskId":"([^"]*)"`).FindStringSubmatch(created)
			if id == nil {
				continue
			}
			params := `{"taskId":"` + id[1] + `"}`
			say("tasks/result", params) // blocks until the task is done
			say("tasks/get", params)
			say("tasks/cancel", params)
			if n == 0 {
				say("tasks/list", `{}`)
			}
		}
		return out
	}
	for _, c := range twinConfigs {
		for _, e := range equipments() {
			t.Run(c.name+"/"+e.name, func(t *testing.T) {
				want, have := run(newTwin(c)), run(newInstrumented(t, c, e))
				if !slices.Equal(want, have) {
					t.Errorf("bare:\n%s\nhave:\n%s", strings.Join(want, "\n"), strings.Join(have, "\n"))
				}
			})
		}
	}
}

// lockstep is the client side of a server that reads lines and writes lines,
// one message at a time.
type lockstep struct {
	in  *io.PipeWriter
	out *bufio.Reader
	all bytes.Buffer
}

func (l *lockstep) write(t *testing.T, line []byte) {
	t.Helper()
	if _, err := l.in.Write(append(bytes.ReplaceAll(line, []byte("\n"), []byte(" ")), '\n')); err != nil {
		t.Fatal(err)
	}
}

func (l *lockstep) read(t *testing.T) string {
	t.Helper()
	line, err := l.out.ReadString('\n')
	if err != nil {
		t.Fatalf("read: %v after %s", err, clip(l.all.Bytes()))
	}
	l.all.WriteString(line)
	return line
}

// stdioStream feeds a corpus to a stdio server and returns everything that it wrote.
// Lines are sent one after the other, because mcp-go answers side by side; how
// many lines answer each is what the bare server writes.
func stdioStream(t *testing.T, w *twin, corpus [][]byte, answers []int) string {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	s := server.NewStdioServer(w.srv)
	s.SetErrorLogger(log.New(io.Discard, "", 0))
	ended := make(chan error, 1)
	go func() {
		ended <- s.Listen(context.WithValue(t.Context(), twinKey{}, "stdio"), inR, outW)
		_ = outW.Close()
	}()
	l := &lockstep{in: inW, out: bufio.NewReaderSize(outR, 1<<20)}
	for n, raw := range corpus {
		l.write(t, raw)
		want := answers[n]
		for range want {
			l.read(t)
		}
	}
	_ = inW.Close()
	rest, err := io.ReadAll(l.out)
	if err != nil {
		t.Fatal(err)
	}
	l.all.Write(rest)
	if err := <-ended; err != nil {
		t.Errorf("Listen: %v", err)
	}
	return ordered(l.all.String())
}

// stdioCorpus leaves out what has no answer of its own on stdio, and says how
// many lines answer each of the others.
func stdioCorpus(t *testing.T, c twinConfig, corpus [][]byte) (lines [][]byte, answers []int) {
	t.Helper()
	oracle := newTwin(c)
	ctx, got := ways[1].session(t, oracle)
	for _, raw := range corpus {
		switch {
		case blocks(raw), len(bytes.TrimSpace(raw)) == 0:
			continue // answered at the end, or no message
		case bytes.Contains(raw, []byte("goexit")):
			continue // ends a worker of mcp-go
		case bytes.Contains(raw, []byte(`"elicit"`)), bytes.Contains(raw, []byte(`"sample"`)), bytes.Contains(raw, []byte(`"roots"`)), bytes.Contains(raw, []byte(`"ask"`)):
			continue // asks the client: TestTransparentStdioRequests
		case bytes.Contains(raw, []byte(`"notify"`)):
			continue // the notification and the answer race
		case bytes.Contains(raw, []byte(`"error"`)) && !bytes.Contains(raw, []byte(`"method"`)):
			continue // an answer to nothing
		case bytes.Contains(raw, []byte(`"sessiontool"`)), bytes.Contains(raw, []byte(`"churn"`)):
			continue // tells the client that the list changed, some time
		}
		was := answer(ctx, oracle.srv, raw)
		got()
		n := 1
		if was == "nothing" || strings.HasPrefix(was, "panic") && !bytes.Contains(raw, []byte(`"id"`)) {
			n = 0
		}
		if strings.Contains(was, "unsupported type") {
			continue // mcp-go cannot write it, so it says nothing
		}
		lines = append(lines, raw)
		answers = append(answers, n)
	}
	return lines, answers
}

// TestTransparentStdio compares whole streams.
func TestTransparentStdio(t *testing.T) {
	es := equipments()
	for n, c := range twinConfigs {
		lines, answers := stdioCorpus(t, c, messages(uint64(900+n), volume(400)))
		want := stdioStream(t, newTwin(c), lines, answers)
		again := stdioStream(t, newTwin(c), lines, answers)
		if want != again {
			t.Fatalf("%s: two bare servers differ: %s", c.name, firstDifference(want, again))
		}
		for _, e := range []equipment{es[0], es[2], es[3], es[10]} {
			t.Run(c.name+"/"+e.name, func(t *testing.T) {
				if have := stdioStream(t, newInstrumented(t, c, e), lines, answers); want != have {
					t.Error(firstDifference(want, have))
				}
			})
		}
	}
}

func firstDifference(want, have string) string {
	a, b := strings.Split(want, "\n"), strings.Split(have, "\n")
	for n := range min(len(a), len(b)) {
		if a[n] != b[n] {
			return fmt.Sprintf("line %d\n bare: %s\n have: %s", n, clip(a[n]), clip(b[n]))
		}
	}
	return fmt.Sprintf("%d lines from the bare one, %d from the other", len(a), len(b))
}

// sequentialIDs is a session manager whose ids are the same in every run.
type sequentialIDs struct {
	n atomic.Int64
	m sync.Map
}

func (s *sequentialIDs) Generate() string {
	id := fmt.Sprintf("session-%d", s.n.Add(1))
	s.m.Store(id, false)
	return id
}

func (s *sequentialIDs) Validate(id string) (bool, error) {
	v, ok := s.m.Load(id)
	if !ok {
		return false, errors.New("unknown")
	}
	return v.(bool), nil
}

func (s *sequentialIDs) Terminate(id string) (bool, error) {
	s.m.Store(id, true)
	return false, nil
}

// exchange is one HTTP request.
type exchange struct {
	method string
	header http.Header
	body   []byte
}

// httpCorpus dresses messages up as HTTP requests, good and bad.
func httpCorpus(seed uint64, corpus [][]byte) (out []exchange) {
	g := newSayings(seed)
	out = append(out, exchange{"POST", http.Header{"Content-Type": {"application/json"}}, handWritten()[0]})
	for _, raw := range corpus {
		if blocks(raw) || bytes.Contains(raw, []byte("refuse")) && g.chance(0.5) {
			continue
		}
		if bytes.Contains(raw, []byte(`"elicit"`)) || bytes.Contains(raw, []byte(`"sample"`)) || bytes.Contains(raw, []byte(`"roots"`)) || bytes.Contains(raw, []byte(`"ask"`)) {
			continue // asks the client, and waits
		}
		if bytes.Contains(raw, []byte(`"notify"`)) || bytes.Contains(raw, []byte(`"sessiontool"`)) || bytes.Contains(raw, []byte(`"churn"`)) {
			continue // whether the answer becomes a stream is a race of mcp-go's own: TestTransparentStreams
		}
		x := exchange{method: g.mostly("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"), header: http.Header{}, body: raw}
		x.header.Set("Content-Type", g.mostly("application/json", "text/plain", "", "application/json; charset=utf-8", ";"))
		x.header.Set("Accept", g.mostly("application/json, text/event-stream", "", "text/html"))
		if g.chance(0.9) {
			x.header.Set("Mcp-Session-Id", g.mostly("session-1", "session-999", "", "x\x01"))
		}
		if g.chance(0.3) {
			x.header.Set("Traceparent", g.pick("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "bad", "00-00-00-00"))
			x.header.Set("Baggage", "a=b,=;")
		}
		var m struct {
			Method string
			Params struct {
				Name, URI string
				Meta      map[string]any `json:"_meta"`
			}
		}
		_ = json.Unmarshal(raw, &m)
		if v, ok := m.Params.Meta["io.modelcontextprotocol/protocolVersion"].(string); ok && g.chance(0.95) {
			x.header.Set("Mcp-Protocol-Version", v)
			if g.chance(0.95) {
				x.header.Set("Mcp-Method", m.Method)
				x.header.Set("Mcp-Name", m.Params.Name+m.Params.URI)
			}
		} else if g.chance(0.2) {
			x.header.Set("Mcp-Protocol-Version", g.pick("2025-11-25", "2026-07-28", "1", "2025-06-18"))
		}
		x.header.Set("Authorization", "Bearer abc")
		if bytes.Contains(raw, []byte(`"initialize"`)) || x.method == "DELETE" {
			x.header.Set("Mcp-Session-Id", "session-none") // keep session-1 as it is
		}
		for k, v := range x.header {
			if strings.ContainsAny(v[0], "\x00\x01\n\r") || !httpSafe(v[0]) {
				x.header.Del(k)
			}
		}
		out = append(out, x)
	}
	return out
}

func httpSafe(v string) bool {
	for i := range len(v) {
		if v[i] < 0x20 || v[i] == 0x7f {
			return false
		}
	}
	return true
}

// web sends exchanges one after the other, and says what came back: status,
// headers but for the date, body.
func web(t *testing.T, h http.Handler, xs []exchange) (out []string) {
	t.Helper()
	ts := httptest.NewUnstartedServer(h)
	ts.Config.ErrorLog = log.New(io.Discard, "", 0)
	ts.Start()
	defer ts.Close()
	client := ts.Client()
	for _, x := range xs {
		req, err := http.NewRequestWithContext(t.Context(), x.method, ts.URL+"/mcp", bytes.NewReader(x.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = x.header.Clone()
		res, err := client.Do(req)
		if err != nil { // the server gave up: an unrecovered panic
			out = append(out, "error "+strings.ReplaceAll(err.Error(), ts.URL, ""))
			continue
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		res.Header.Del("Date")
		var b strings.Builder
		_ = res.Header.Write(&b)
		out = append(out, ordered(fmt.Sprintf("%d %s %s %v", res.StatusCode, b.String(), body, err)))
	}
	return out
}

// httpModes are the ways to serve streamable HTTP.
var httpModes = []struct {
	name string
	opts func() []server.StreamableHTTPOption
}{
	{"stateful", func() []server.StreamableHTTPOption {
		return []server.StreamableHTTPOption{server.WithStateful(true), server.WithSessionIdManager(&sequentialIDs{})}
	}},
	{"stateless", func() []server.StreamableHTTPOption {
		return []server.StreamableHTTPOption{server.WithStateLess(true), server.WithDisableStreaming(true)}
	}},
	{"context func", func() []server.StreamableHTTPOption {
		return []server.StreamableHTTPOption{
			server.WithSessionIdManager(&sequentialIDs{}),
			server.WithHTTPContextFunc(func(ctx context.Context, r *http.Request) context.Context {
				return context.WithValue(ctx, twinKey{}, "http "+r.Method)
			}),
		}
	}},
}

// TestTransparentHTTP compares streamable HTTP over real connections.
func TestTransparentHTTP(t *testing.T) {
	es := equipments()
	for n, c := range twinConfigs {
		for k, mode := range httpModes {
			seed := uint64(2000 + 10*n + k)
			xs := httpCorpus(seed, messages(seed, volume(200)))
			want := web(t, server.NewStreamableHTTPServer(newTwin(c).srv, mode.opts()...), xs)
			for _, e := range []equipment{es[0], es[2], es[10]} {
				t.Run(c.name+"/"+mode.name+"/"+e.name, func(t *testing.T) {
					w := newInstrumented(t, c, e)
					compareExchanges(t, xs, want, web(t, server.NewStreamableHTTPServer(w.srv, mode.opts()...), xs))
				})
			}
			t.Run(c.name+"/"+mode.name+"/bare", func(t *testing.T) {
				compareExchanges(t, xs, want, web(t, server.NewStreamableHTTPServer(newTwin(c).srv, mode.opts()...), xs))
			})
		}
	}
}

func compareExchanges(t *testing.T, xs []exchange, want, have []string) {
	t.Helper()
	different := 0
	for n := range xs {
		if want[n] == have[n] {
			continue
		}
		t.Errorf("exchange %d: %s %s %s\n bare: %s\n have: %s", n, xs[n].method, xs[n].header, clip(xs[n].body), clip(want[n]), clip(have[n]))
		different++
		if different > 3 {
			t.Fatal("too many differences")
		}
	}
}

// stream is an open stream of events.
type stream struct {
	res *http.Response
	r   *bufio.Reader
}

// event reads the next event, as it is on the wire.
func (s *stream) event(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for {
		line, err := s.r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return b.String() + "! " + err.Error()
		}
		if strings.TrimRight(line, "\r\n") == "" {
			return b.String()
		}
	}
}

func open(t *testing.T, client *http.Client, method, url string, header http.Header, body string) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // not for ever
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	res, err := client.Do(req)
	if err != nil {
		t.Error(err)
		return &stream{&http.Response{Header: http.Header{}, Body: http.NoBody}, bufio.NewReader(strings.NewReader(""))}
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return &stream{res, bufio.NewReader(res.Body)}
}

// injected is the trace context that a request of the server's own carries, as
// SEP-414 has it. It is no answer, and the one thing that an instrumented server
// says and the bare one does not.
var injected = regexp.MustCompile(`"_meta":\{"traceparent":"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]"\},`)

// TestTransparentStreams compares what comes over streams of events: a GET
// stream, a subscription, an answer that asks the client first.
func TestTransparentStreams(t *testing.T) {
	run := func(t *testing.T, w *twin) (out []string) {
		t.Helper()
		ts := httptest.NewServer(server.NewStreamableHTTPServer(w.srv, server.WithStateful(true), server.WithSessionIdManager(&sequentialIDs{}),
			server.WithStreamableHTTPLogger(slog.New(slog.DiscardHandler))))
		t.Cleanup(ts.Close)
		url, client := ts.URL+"/mcp", ts.Client()
		say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
		head := func(s *stream) {
			s.res.Header.Del("Date")
			say("%d %v", s.res.StatusCode, s.res.Header)
		}
		header := func(extra ...string) http.Header {
			h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
			for n := 0; n < len(extra); n += 2 {
				h.Set(extra[n], extra[n+1])
			}
			return h
		}
		all := func(s *stream) {
			head(s)
			b, err := io.ReadAll(s.r)
			say("%s %v", b, err)
		}
		all(open(t, client, "POST", url, header(), `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",`+
			`"capabilities":{"sampling":{},"elicitation":{},"roots":{}},"clientInfo":{"name":"c","version":"1"}}}`))
		if strings.HasPrefix(out[0], "0 ") {
			return out
		}
		legacy := func() http.Header { return header("Mcp-Session-Id", "session-1") }
		all(open(t, client, "POST", url, legacy(), `{"jsonrpc":"2.0","method":"notifications/initialized"}`))

		get := open(t, client, "GET", url, legacy(), "")
		head(get)
		w.srv.SendNotificationToAllClients("notifications/message", map[string]any{"n": 1})
		say("%s", get.event(t))
		err := w.srv.SendNotificationToSpecificClient("session-1", "notifications/x", map[string]any{"n": 2})
		say("%s %v", get.event(t), err)

		// Each tool asks the client something, on the stream of its call or on the
		// one of the GET.
		for _, tool := range []string{"sample", "elicit", "roots", "ask"} {
			asked := make(chan string, 2)
			answered := make(chan struct{})
			go func() { asked <- "get " + get.event(t) }()
			go func() {
				defer close(answered)
				call := open(t, client, "POST", url, legacy(), `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"`+tool+`","arguments":{}}}`)
				head(call)
				for {
					e := call.event(t)
					if e == "" || strings.Contains(e, "! EOF") || strings.Contains(e, `"result"`) {
						say("answer %s", e)
						return
					}
					asked <- "call " + e
				}
			}()
			var q string
			select {
			case q = <-asked:
			case <-answered:
				t.Errorf("%s was answered before it asked", tool)
				return out
			}
			id := regexp.MustCompile(`"id":("[^"]*"|\d+)`).FindStringSubmatch(q)
			if id == nil {
				t.Errorf("%s asks nothing: %s", tool, q)
				return out
			}
			reply := open(t, client, "POST", url, legacy(), `{"jsonrpc":"2.0","id":`+id[1]+
				`,"result":{"role":"assistant","content":{"type":"text","text":"hi"},"model":"m","action":"accept","roots":[]}}`)
			body, err := io.ReadAll(reply.r)
			<-answered
			say("asked %s", q)
			say("replied %d %s %v", reply.res.StatusCode, body, err)
			if strings.HasPrefix(q, "call ") { // release the reader of the GET
				w.srv.SendNotificationToAllClients("notifications/message", map[string]any{"n": 3})
				say("%s", <-asked)
			}
		}
		sub := open(t, client, "POST", url, header("Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "subscriptions/listen"),
			`{"jsonrpc":"2.0","id":"s","method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},"_meta":`+modernMeta+`}}`)
		head(sub)
		say("%s", sub.event(t))
		w.srv.DeleteTools("fail")
		say("%s", sub.event(t))
		say("%s", get.event(t))
		all(open(t, client, "DELETE", url, legacy(), ""))
		return out
	}
	for _, c := range twinConfigs {
		want := run(t, newTwin(c))
		for _, e := range equipments() {
			t.Run(c.name+"/"+e.name, func(t *testing.T) {
				have := run(t, newInstrumented(t, c, e))
				for n := range have {
					have[n] = injected.ReplaceAllString(have[n], "")
				}
				if !slices.Equal(want, have) {
					t.Error(firstDifference(strings.Join(want, "\n"), strings.Join(have, "\n")))
				}
			})
		}
	}
}

// TestTransparentSSE compares the older transport: posts on one side, one
// stream of events on the other.
func TestTransparentSSE(t *testing.T) {
	run := func(t *testing.T, w *twin, corpus [][]byte, answers []int) (out []string) {
		t.Helper()
		var n atomic.Int64
		sse := server.NewSSEServer(w.srv, server.WithUseFullURLForMessageEndpoint(false),
			server.WithSessionIDGenerator(func(context.Context, *http.Request) (string, error) {
				return fmt.Sprintf("sse-%d", n.Add(1)), nil
			}),
			server.WithSSEContextFunc(func(ctx context.Context, _ *http.Request) context.Context {
				return context.WithValue(ctx, twinKey{}, "sse")
			}))
		ts := httptest.NewServer(sse)
		t.Cleanup(ts.Close)
		client := ts.Client()
		events := open(t, client, "GET", ts.URL+"/sse", http.Header{}, "")
		endpoint := events.event(t)
		out = append(out, endpoint)
		for k, raw := range corpus {
			post := open(t, client, "POST", ts.URL+"/message?sessionId=sse-1", http.Header{"Content-Type": {"application/json"}}, string(raw))
			body, err := io.ReadAll(post.r)
			_ = post.res.Body.Close()
			post.res.Header.Del("Date")
			out = append(out, fmt.Sprintf("%d %v %s %v", post.res.StatusCode, post.res.Header, body, err))
			if post.res.StatusCode == http.StatusAccepted {
				for range answers[k] {
					out = append(out, ordered(events.event(t)))
				}
			}
		}
		return out
	}
	es := equipments()
	quiet := log.Writer()
	log.SetOutput(io.Discard) // mcp-go logs recovered panics
	t.Cleanup(func() { log.SetOutput(quiet) })
	for n, c := range twinConfigs {
		lines, answers := stdioCorpus(t, c, messages(uint64(3000+n), volume(200)))
		want := run(t, newTwin(c), lines, answers)
		for _, e := range []equipment{es[0], es[2], es[7], es[10]} {
			t.Run(c.name+"/"+e.name, func(t *testing.T) {
				if have := run(t, newInstrumented(t, c, e), lines, answers); !slices.Equal(want, have) {
					t.Error(firstDifference(strings.Join(want, "\n"), strings.Join(have, "\n")))
				}
			})
		}
	}
}

// TestTransparentPanic: an unrecovered panic reaches whoever called, with its
// value and with the stack of the handler that panicked.
func TestTransparentPanic(t *testing.T) {
	for _, e := range equipments() {
		t.Run(e.name, func(t *testing.T) {
			w := newInstrumented(t, twinConfig{}, e)
			var value any
			var stack string
			func() {
				defer func() { value, stack = recover(), string(debug.Stack()) }()
				w.srv.HandleMessage(t.Context(), json.RawMessage(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"panic","arguments":{"text":"x"}}}`))
			}()
			if value != any(panicValue{"a tool"}) {
				t.Errorf("recovered %#v, want the value that the tool panicked with", value)
			}
			if !strings.Contains(stack, "addTools.func") || strings.Contains(stack, "[recovered") {
				t.Errorf("the stack does not show the handler, or shows a recovery: %s", stack)
			}
		})
	}
}

// TestInstrumentSurvivesProviders: a provider that panics while instruments are
// made leaves a server that answers.
func TestInstrumentSurvivesProviders(t *testing.T) {
	for name, opt := range map[string]otelmcp.Option{
		"tracer": otelmcp.WithTracerProvider(panickingTracerProvider{}),
		"meter":  otelmcp.WithMeterProvider(panickingMeterProvider{}),
		"logger": otelmcp.WithLoggerProvider(panickingLoggerProvider{}),
	} {
		t.Run(name, func(t *testing.T) {
			w := newTwin(twinConfig{})
			defer func() {
				if v := recover(); v != nil {
					t.Errorf("Instrument, or the server, panics: %v", v)
				}
			}()
			otelmcp.Instrument(w.srv, append(noopPipeline().options(), opt)...)
			handle(t, w.srv, json.RawMessage(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
		})
	}
}

type panickingTracerProvider struct{ tracenoop.TracerProvider }

func (panickingTracerProvider) Tracer(string, ...trace.TracerOption) trace.Tracer { panic("Tracer") }

type panickingMeterProvider struct{ metricnoop.MeterProvider }

func (panickingMeterProvider) Meter(string, ...metric.MeterOption) metric.Meter { panic("Meter") }

type panickingLoggerProvider struct{ lognoop.LoggerProvider }

func (panickingLoggerProvider) Logger(string, ...otellog.LoggerOption) otellog.Logger {
	panic("Logger")
}

// TestTransparentSession: what a handler finds as its session is a wrapper, the
// one place where a program can tell that the server is instrumented. It has
// the id and every method of the session, and it is the same one for the
// session's whole life, so that a program may keep things by it.
func TestTransparentSession(t *testing.T) {
	srv := newTwin(twinConfig{}).srv
	otelmcp.Instrument(srv, noopOrCapture(t)...)
	var found []server.ClientSession
	srv.AddTool(mcp.NewTool("probe"), func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		found = append(found, server.ClientSessionFromContext(ctx))
		return mcp.NewToolResultText(""), nil
	})
	s := server.NewInProcessSessionWithHandlers("identity", handlers{}, handlers{}, handlers{})
	if err := srv.RegisterSession(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	defer srv.UnregisterSession(t.Context(), "identity")
	for range 2 {
		answer(srv.WithContext(t.Context(), s), srv, []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"probe"}}`))
	}
	if len(found) != 2 || found[0] != found[1] {
		t.Errorf("two requests of one session found %v", found)
	}
	if got := found[0].SessionID(); got != s.SessionID() {
		t.Errorf("a handler's session is %q, want %q", got, s.SessionID())
	}
	for m := range reflect.TypeOf(s).Methods() {
		name := m.Name
		if _, ok := reflect.TypeOf(found[0]).MethodByName(name); !ok {
			t.Errorf("the session lost its method %s", name)
		}
	}
}

func noopOrCapture(t *testing.T) []otelmcp.Option {
	t.Helper()
	_, o := captureOptions(t)
	return o
}
