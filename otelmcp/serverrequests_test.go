// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Requests that a server sends to its client while it handles one of the
// client's: the server is the client of those, and they are children of what
// it was doing.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// human answers what a server asks.
type human struct {
	err     error         // what it answers with, if not nil
	silent  chan struct{} // it does not answer before this is closed
	elicits chan *mcp.Meta
	roots   chan *mcp.Meta
}

func newHuman() *human {
	return &human{elicits: make(chan *mcp.Meta, 8), roots: make(chan *mcp.Meta, 8)}
}

func (h *human) options(more ...client.ClientOption) []client.ClientOption {
	return append([]client.ClientOption{
		client.WithSamplingHandler(h), client.WithElicitationHandler(h), client.WithRootsHandler(h),
	}, more...)
}

func (h *human) think() {
	if h.silent != nil {
		<-h.silent
	}
}

func (h *human) CreateMessage(context.Context, mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
	h.think()
	return &mcp.CreateMessageResult{
		SamplingMessage: mcp.SamplingMessage{Role: mcp.RoleAssistant, Content: mcp.NewTextContent("hm")}, Model: "m",
	}, h.err
}

func (h *human) Elicit(_ context.Context, r mcp.ElicitationRequest) (*mcp.ElicitationResult, error) {
	h.elicits <- r.Params.Meta
	h.think()
	return &mcp.ElicitationResult{ElicitationResponse: mcp.ElicitationResponse{Action: mcp.ElicitationResponseActionAccept}}, h.err
}

func (h *human) ListRoots(_ context.Context, r mcp.ListRootsRequest) (*mcp.ListRootsResult, error) {
	h.roots <- r.Params.Meta
	h.think()
	return &mcp.ListRootsResult{Roots: []mcp.Root{{URI: "file:///r"}}}, h.err
}

// asking is how a tool asks its client.
type asking struct {
	method string
	ask    func(ctx context.Context, s *server.MCPServer, meta *mcp.Meta) error
}

var askings = []asking{
	{"sampling/createMessage", func(ctx context.Context, s *server.MCPServer, _ *mcp.Meta) error {
		//nolint:staticcheck // Deprecated is not gone.
		_, err := s.RequestSampling(ctx, mcp.CreateMessageRequest{CreateMessageParams: mcp.CreateMessageParams{
			MaxTokens: 1, Messages: []mcp.SamplingMessage{{Role: mcp.RoleUser, Content: mcp.NewTextContent("?")}},
		}})
		return err
	}},
	{"elicitation/create", func(ctx context.Context, s *server.MCPServer, meta *mcp.Meta) error {
		q := question()
		q.Meta = meta
		_, err := s.RequestElicitation(ctx, mcp.ElicitationRequest{Params: q})
		return err
	}},
	{"roots/list", func(ctx context.Context, s *server.MCPServer, meta *mcp.Meta) error {
		var r mcp.ListRootsRequest
		r.Params.Meta = meta
		_, err := s.RequestRoots(ctx, r)
		return err
	}},
}

// askers are the connections over which a server can ask. SSE cannot: mcp-go's
// session there has no such methods.
var askers = []struct {
	over string
	era  era
}{{stdio, legacy}, {streamable, legacy}, {inProcess, legacy}, {inProcess, modern}}

// pair returns the span of the tool and the one of the request that it sent.
func pair(t *testing.T, capture *telemetrytest.Capture, tool, method string) (outer, inner sdktrace.ReadOnlySpan) {
	t.Helper()
	outer, inner = capture.SpanNamed("tools/call "+tool), capture.SpanNamed(method)
	if outer.SpanKind() != trace.SpanKindServer || inner.SpanKind() != trace.SpanKindClient {
		t.Errorf("the kinds are %v and %v", outer.SpanKind(), inner.SpanKind())
	}
	if inner.Parent().SpanID() != outer.SpanContext().SpanID() || inner.SpanContext().TraceID() != outer.SpanContext().TraceID() {
		t.Error("the request is no child of the tool's span")
	}
	return outer, inner
}

func ask(t *testing.T, over string, e era, h *human, use func(ctx context.Context, s *everything) error,
	opts ...otelmcp.Option,
) (*telemetrytest.Capture, *mcp.CallToolResult) {
	t.Helper()
	s, capture := instrumented(t, opts...)
	var more []client.ClientOption
	if e == legacy {
		more = append(more, client.WithLegacyProtocolOnly()) //nolint:staticcheck // What is tested.
	}
	c := newClient(t, s.MCPServer, over, h.options(more...)...)
	capture.Reset()
	s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if err := use(ctx, s); err != nil {
			return mcp.NewToolResultError(err.Error()), nil
		}
		return mcp.NewToolResultText("done"), nil
	})
	result, err := callTool(t.Context(), c, "custom", nil)
	if h.silent != nil {
		close(h.silent)
	}
	if err != nil {
		t.Fatal(err)
	}
	return capture, result
}

func TestServerAsks(t *testing.T) {
	for _, on := range askers {
		for _, a := range askings {
			t.Run(on.over+"/"+on.era.String()+"/"+a.method, func(t *testing.T) {
				h := newHuman()
				meta := &mcp.Meta{ProgressToken: "p", AdditionalFields: map[string]any{"own": "kept"}}
				capture, result := ask(t, on.over, on.era, h, func(ctx context.Context, s *everything) error {
					return a.ask(ctx, s.MCPServer, meta)
				})
				if result.IsError {
					t.Fatalf("asking failed: %v", result.Content)
				}
				if len(capture.Spans()) != 2 {
					t.Errorf("%d spans, want that of the tool and that of the request", len(capture.Spans()))
				}
				outer, inner := pair(t, capture, "custom", a.method)
				checkAsked(t, capture, on.over, a.method, outer, inner, "ok", "")
				checkInjected(t, h, on.over, a.method, inner)
				// What the program handed over stays the program's.
				if meta.ProgressToken != "p" || !maps.Equal(meta.AdditionalFields, map[string]any{"own": "kept"}) {
					t.Errorf("the program's Meta is now %+v", meta)
				}
			})
		}
	}
}

func checkAsked(t *testing.T, capture *telemetrytest.Capture, over, method string, outer, inner sdktrace.ReadOnlySpan, outcome, errorType string) {
	t.Helper()
	of := func(s sdktrace.ReadOnlySpan) map[attribute.Key]string {
		m := map[attribute.Key]string{}
		for _, kv := range s.Attributes() {
			m[kv.Key] = kv.Value.String()
		}
		return m
	}
	is, around := of(inner), of(outer)
	expected := map[attribute.Key]string{
		"mcp.method.name": method, "otelmcp.role": "client", "otelmcp.transport": over,
		"otelmcp.stage": "handler", "otelmcp.outcome": outcome,
	}
	if errorType != "" {
		expected["error.type"] = errorType
	}
	// The connection is the tool's.
	for _, k := range []attribute.Key{
		"network.transport", "mcp.protocol.version", "mcp.session.id", "otelmcp.client.name", "otelmcp.client.version",
	} {
		if v, ok := around[k]; ok {
			expected[k] = v
		}
	}
	if !maps.Equal(is, expected) {
		t.Errorf("the request's span has %v, want %v", is, expected)
	}
	wantStatus := codes.Unset
	if errorType != "" {
		wantStatus = codes.Error
	}
	if inner.Status().Code != wantStatus {
		t.Errorf("its status is %v", inner.Status())
	}

	points := capture.HistogramPoints("mcp.client.operation.duration")
	if len(points) != 1 || points[0].Count != 1 {
		t.Fatalf("durations of requests: %+v", points)
	}
	if n := capture.HistogramCount("mcp.server.operation.duration"); n != 1 {
		t.Errorf("%d durations of the tool's call", n)
	}
	if n := capture.CounterValue("otelmcp.server.messages"); n != 2 {
		t.Errorf("%d messages counted, want 2", n)
	}
	var events []said
	all := capture.EventsNamed(semconv.OTelMCPOperationEventName)
	for n := range all {
		if e := event(all[n]); e["otelmcp.role"] == "client" {
			events = append(events, e)
			if all[n].SpanID() != inner.SpanContext().SpanID() {
				t.Error("the event is not of the request's span")
			}
		}
	}
	if e := only(t, events); e["mcp.method.name"] != method || e["otelmcp.outcome"] != outcome || e["error.type"] != errorType {
		t.Errorf("the event says %v", e)
	}
}

// checkInjected looks at what came over the wire: of elicitation all of its
// params; of roots nothing but in process; of sampling no _meta at all, as
// mcp-go has no field for it.
func checkInjected(t *testing.T, h *human, over, method string, span sdktrace.ReadOnlySpan) {
	t.Helper()
	var got *mcp.Meta
	switch {
	case method == "elicitation/create":
		got = recv(t, h.elicits)
	case method == "roots/list" && over == inProcess:
		got = recv(t, h.roots)
	default:
		return
	}
	sc := span.SpanContext()
	want := map[string]any{"own": "kept", "traceparent": fmt.Sprintf("00-%s-%s-%s", sc.TraceID(), sc.SpanID(), sc.TraceFlags())}
	if got == nil || !maps.Equal(got.AdditionalFields, want) || got.ProgressToken != "p" {
		t.Errorf("the client got _meta %+v, want %v", got, want)
	}
}

func TestServerAsksInVain(t *testing.T) {
	for _, on := range askers {
		for _, a := range askings {
			name := on.over + "/" + on.era.String() + "/" + a.method
			t.Run(name+"/error", func(t *testing.T) {
				h := newHuman()
				h.err = errors.New("go away, password=hunter2")
				capture, result := ask(t, on.over, on.era, h, func(ctx context.Context, s *everything) error {
					return a.ask(ctx, s.MCPServer, nil)
				})
				if !result.IsError {
					t.Error("asking did not fail")
				}
				outer, inner := pair(t, capture, "custom", a.method)
				checkAsked(t, capture, on.over, a.method, outer, inner, "error", "_OTHER")
				if d := inner.Status().Description; strings.Contains(d, "hunter2") || !strings.Contains(d, "go away") {
					t.Errorf("the status says %q", d)
				}
			})
			t.Run(name+"/timeout", func(t *testing.T) {
				h := newHuman()
				if on.over == inProcess { // the handler is called, and heeds its context
					h.err = context.DeadlineExceeded
				} else {
					h.silent = make(chan struct{})
				}
				capture, _ := ask(t, on.over, on.era, h, func(ctx context.Context, s *everything) error {
					ctx, cancel := context.WithDeadline(ctx, time.Unix(0, 0))
					defer cancel()
					return a.ask(ctx, s.MCPServer, nil)
				})
				outer, inner := pair(t, capture, "custom", a.method)
				checkAsked(t, capture, on.over, a.method, outer, inner, "timeout", "timeout")
			})
		}
	}
}

// TestServerMayNotAsk: where the era forbids it mcp-go sends nothing, and
// nothing is recorded as sent.
func TestServerMayNotAsk(t *testing.T) {
	for _, over := range []string{stdio, streamable} {
		for _, a := range askings {
			t.Run(over+"/"+a.method, func(t *testing.T) {
				s, capture := instrumented(t)
				s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
					return nil, a.ask(ctx, s.MCPServer, nil)
				})
				r := connect(t, s.MCPServer, over, modern).tool(t.Context(), "custom", "")
				if r.code() != mcp.INTERNAL_ERROR {
					t.Errorf("asking gave %+v", r)
				}
				if n := len(capture.Spans()); n != 1 || capture.HistogramCount("mcp.client.operation.duration") != 0 {
					t.Errorf("%d spans, want that of the tool alone", n)
				}
			})
		}
	}
}

// TestBridgedInput: mcp-go answers a handler that asks for input itself, for a
// client that cannot, by a request of the old kind. The handler runs twice, and
// that is still one message.
func TestBridgedInput(t *testing.T) {
	for _, over := range []string{stdio, streamable, inProcess} {
		t.Run(over, func(t *testing.T) {
			s, capture := instrumented(t)
			h := newHuman()
			c := newClient(t, s.MCPServer, over, h.options(client.WithLegacyProtocolOnly())...) //nolint:staticcheck // What is tested.
			capture.Reset()
			result, err := callTool(t.Context(), c, "asks", nil)
			if err != nil || result.IsError {
				t.Fatalf("%+v, %v", result, err)
			}
			if len(capture.Spans()) != 2 {
				t.Errorf("%d spans, want 2", len(capture.Spans()))
			}
			outer, inner := pair(t, capture, "asks", "elicitation/create")
			checkAsked(t, capture, over, "elicitation/create", outer, inner, "ok", "")
			set := telemetrytest.SpanAttributes(outer)
			if v, _ := set.Value("otelmcp.outcome"); v.AsString() != "ok" {
				t.Errorf("the tool's outcome is %q", v.AsString())
			}
		})
	}
}

// sessionInterfaces are all the interfaces that mcp-go, or a program, may ask a
// session for.
var sessionInterfaces = []reflect.Type{
	reflect.TypeFor[server.SessionWithLogging](), reflect.TypeFor[server.SessionWithTools](),
	reflect.TypeFor[server.SessionWithResources](), reflect.TypeFor[server.SessionWithResourceTemplates](),
	reflect.TypeFor[server.SessionWithResourceSubscriptions](), reflect.TypeFor[server.SessionWithResourceSubscriptionsErr](),
	reflect.TypeFor[server.SessionWithClientInfo](), reflect.TypeFor[server.SessionWithProtocolVersion](),
	reflect.TypeFor[server.SessionWithSampling](), reflect.TypeFor[server.SessionWithElicitation](),
	reflect.TypeFor[server.SessionWithRoots](), reflect.TypeFor[server.SessionWithStreamableHTTPConfig](),
	reflect.TypeFor[server.SessionWithSubscriptionFilter](),
	reflect.TypeFor[interface{ SetProtocolVersion(string) }](),
	reflect.TypeFor[interface {
		ClientNotifications() <-chan mcp.JSONRPCNotification
	}](),
}

// offers is what a handler can do with its session.
func offers(ctx context.Context) (interfaces, methods []string) {
	s := server.ClientSessionFromContext(ctx)
	if s == nil {
		return []string{"no session"}, nil
	}
	is := reflect.TypeOf(s)
	for _, i := range sessionInterfaces {
		if is.Implements(i) {
			interfaces = append(interfaces, i.String())
		}
	}
	for m := range is.Methods() {
		methods = append(methods, m.Name)
	}
	return interfaces, methods
}

func TestSessionOffersTheSame(t *testing.T) {
	for _, over := range everywhere {
		for _, e := range []era{legacy, modern} {
			if over == sse && e == modern {
				continue // the modern era has no SSE
			}
			t.Run(over+"/"+e.String(), func(t *testing.T) {
				capture := telemetrytest.New(t)
				checkLeaks(t)
				var interfaces, methods [2][]string
				for n := range 2 {
					s := newEverything()
					if n == 1 {
						otelmcp.Instrument(s.MCPServer, into(capture)...)
					}
					s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
						interfaces[n], methods[n] = offers(ctx)
						return mcp.NewToolResultText(""), nil
					})
					p := connect(t, s.MCPServer, over, e)
					if r := p.tool(t.Context(), "custom", ""); r.code() != 0 || r.lost != nil {
						t.Fatalf("%+v", r)
					}
					p.close()
				}
				if len(interfaces[0]) == 0 || !slices.Equal(interfaces[0], interfaces[1]) {
					t.Errorf("a session offers\n%q, and instrumented\n%q", interfaces[0], interfaces[1])
				}
				if !slices.Equal(methods[0], methods[1]) {
					t.Errorf("a session has the methods\n%q, and instrumented\n%q", methods[0], methods[1])
				}
			})
		}
	}
}

// TestNotificationWithoutRoom: what the session has no room for is lost, and recorded as
// that. The call that sent it went well.
func TestNotificationWithoutRoom(t *testing.T) {
	const room = 100 // in a session of mcp-go's
	for name, send := range map[string]func(ctx context.Context, s *server.MCPServer) error{
		"to its client": func(ctx context.Context, s *server.MCPServer) error {
			return s.SendNotificationToClient(ctx, "notifications/message", map[string]any{"level": "info", "data": "x"})
		},
		"to one client": func(_ context.Context, s *server.MCPServer) error {
			return s.SendNotificationToSpecificClient("own", "notifications/message", map[string]any{"level": "info", "data": "x"})
		},
		"to all clients": func(_ context.Context, s *server.MCPServer) error {
			s.SendNotificationToAllClients("notifications/message", map[string]any{"level": "info", "data": "x"})
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			shared := &server.Hooks{}
			capture, other := telemetrytest.New(t), telemetrytest.New(t)
			checkLeaks(t)
			s := newEverything(server.WithHooks(shared))
			otelmcp.Instrument(newEverything(server.WithHooks(shared)).MCPServer, into(other)...)
			otelmcp.Instrument(s.MCPServer, into(capture)...)
			told := make(chan struct{}, 8)
			shared.AddOnError(func(context.Context, any, mcp.MCPMethod, any, error) { told <- struct{}{} }) // after ours
			session := server.NewInProcessSession("own", nil)
			if err := s.RegisterSession(t.Context(), session); err != nil {
				t.Fatal(err)
			}
			session.Initialize()
			s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				for range room + 2 {
					_ = send(ctx, s.MCPServer)
				}
				recv(t, told)
				recv(t, told)
				return mcp.NewToolResultText("done"), nil
			})
			if r := connect(t, s.MCPServer, direct, legacy).tool(s.WithContext(t.Context(), session), "custom", ""); r.code() != 0 {
				t.Fatalf("%+v", r)
			}
			s.UnregisterSession(t.Context(), "own")
			var lost int
			for _, r := range capture.EventsNamed(semconv.OTelMCPOperationEventName) {
				e := event(r)
				switch e["mcp.method.name"] {
				case "tools/call":
					if e["otelmcp.outcome"] != "ok" || e["rpc.response.status_code"] != "" {
						t.Errorf("the call that sent it is recorded as %v", e)
					}
				case "notifications/message":
					lost++
					if e["otelmcp.outcome"] != "error" || e["otelmcp.role"] != "client" || e["mcp.session.id"] != "own" ||
						e["otelmcp.transport"] != inProcess || !strings.Contains(e["otelmcp.operation.error.message"], "queue is full") {
						t.Errorf("the lost notification is recorded as %v", e)
					}
				}
			}
			if lost != 2 {
				t.Errorf("%d lost notifications are recorded, want 2", lost)
			}
			if n := len(other.EventsNamed(semconv.OTelMCPOperationEventName)); n != 0 {
				t.Errorf("%d of them are recorded of a server that shares the hooks", n)
			}
		})
	}
}
