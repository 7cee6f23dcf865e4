// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// What a wrapped transport must not change: its interfaces, what is sent but for
// trace context, results, errors, and the caller's own values.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"go.opentelemetry.io/otel/attribute"
	lognoop "go.opentelemetry.io/otel/log/noop"
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

type (
	telemetryRecord = sdklog.Record
	telemetrySpan   = sdktrace.ReadOnlySpan
)

// fakeTransport keeps what it is given to send, as it would be sent.
type fakeTransport struct {
	mu       sync.Mutex
	sent     []string
	headers  []http.Header
	requests []transport.JSONRPCRequest
	answer   func(transport.JSONRPCRequest) (*transport.JSONRPCResponse, error)
	notify   func(mcp.JSONRPCNotification)
	request  transport.RequestHandler
}

func newFakeTransport() *fakeTransport { return &fakeTransport{} }

func (*fakeTransport) Start(context.Context) error { return nil }
func (*fakeTransport) Close() error                { return nil }
func (*fakeTransport) GetSessionId() string        { return "" }

func (f *fakeTransport) SetNotificationHandler(h func(mcp.JSONRPCNotification)) { f.notify = h }
func (f *fakeTransport) SetRequestHandler(h transport.RequestHandler)           { f.request = h }

func (f *fakeTransport) SendRequest(_ context.Context, r transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("failed to marshal request: %w", err)
	}
	if strings.Contains(string(raw), `"panic"`) {
		panic("boom")
	}
	f.mu.Lock()
	f.sent, f.headers, f.requests = append(f.sent, string(raw)), append(f.headers, r.Header), append(f.requests, r)
	f.mu.Unlock()
	if f.answer != nil {
		return f.answer(r)
	}
	return &transport.JSONRPCResponse{JSONRPC: "2.0", ID: r.ID, Result: json.RawMessage(`{}`)}, nil
}

func (f *fakeTransport) SendNotification(_ context.Context, n mcp.JSONRPCNotification) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, string(must(json.Marshal(n))))
	return nil
}

// httpFake is one over HTTP.
type httpFake struct {
	*fakeTransport
	version string
}

func (f *httpFake) SetProtocolVersion(v string)               { f.version = v }
func (*httpFake) GetOAuthHandler() *transport.OAuthHandler    { return nil }
func (*httpFake) IsOAuthEnabled() bool                        { return true }
func (*httpFake) RequiresLegacyProtocol() bool                { return true }
func (*httpFake) SetConnectionLostHandler(handle func(error)) { handle(io.EOF) }

// oneWay is a transport on which the server cannot ask.
type oneWay struct{ transport.Interface }

type oneWayWithStderr struct{ transport.Interface }

func (oneWayWithStderr) Stderr() io.Reader { return strings.NewReader("") }

func TestWrappedTransportHasItsInterfaces(t *testing.T) {
	look := func(t transport.Interface) (has []string) {
		for name, ok := range map[string]bool{
			"BidirectionalInterface": implements[transport.BidirectionalInterface](t),
			"HTTPConnection":         implements[transport.HTTPConnection](t),
			"Stderr":                 implements[interface{ Stderr() io.Reader }](t),
			"OAuth": implements[interface {
				GetOAuthHandler() *transport.OAuthHandler
			}](t),
		} {
			if ok {
				has = append(has, name)
			}
		}
		slices.Sort(has)
		return has
	}
	fake := newFakeTransport()
	for _, bare := range []transport.Interface{
		must(transport.NewStreamableHTTP("http://127.0.0.1/mcp")),
		must(transport.NewStreamableHTTP("http://127.0.0.1/mcp", transport.WithContinuousListening())), //nolint:staticcheck // It makes a difference.
		must(transport.NewSSE("http://127.0.0.1/sse")),
		transport.NewStdio("true", nil),
		transport.NewInProcessTransport(newEverything().MCPServer),
		fake, &httpFake{fakeTransport: fake},
		oneWay{fake},
		oneWayWithStderr{fake},
	} {
		capture := telemetrytest.New(t)
		wrapped := otelmcp.WrapTransport(bare, into(capture)...)
		if is, want := look(wrapped), look(bare); !slices.Equal(is, want) {
			t.Errorf("%T has %v, wrapped %v", bare, want, is)
		}
		legacyOnly := func(t transport.Interface) bool {
			l, ok := t.(interface{ RequiresLegacyProtocol() bool })
			return ok && l.RequiresLegacyProtocol()
		}
		if legacyOnly(wrapped) != legacyOnly(bare) {
			t.Errorf("%T: legacy only %v, wrapped %v", bare, legacyOnly(bare), legacyOnly(wrapped))
		}
		if again := otelmcp.WrapTransport(wrapped, into(capture)...); again != wrapped {
			t.Errorf("%T is wrapped twice", bare)
		}
		if c := client.NewClient(wrapped); otelmcp.InstrumentClient(c, into(capture)...) != c {
			t.Error("InstrumentClient returns another client")
		}
		if e := event(only(t, capture.EventsNamed(semconv.OTelMCPCoverageEventName))); e["otelmcp.role"] != "client" {
			t.Errorf("the coverage event says %v", e)
		}
	}
	if otelmcp.WrapTransport(nil) != nil {
		t.Error("nothing is wrapped")
	}
	h := &httpFake{fakeTransport: fake}
	wrapped := otelmcp.WrapTransport(h, into(telemetrytest.New(t))...)
	wrapped.(transport.HTTPConnection).SetProtocolVersion("v")
	if h.version != "v" {
		t.Error("the protocol version does not arrive")
	}
	lost := false
	wrapped.(interface{ SetConnectionLostHandler(func(error)) }).SetConnectionLostHandler(func(error) { lost = true })
	if !lost {
		t.Error("the handler of a lost connection is not called")
	}
}

// paramsOfAllKinds are what a program can give as params.
var paramsOfAllKinds = map[string]any{
	"none":             nil,
	"a struct":         mcp.CallToolParams{Name: "echo", Arguments: map[string]any{"text": "<&>\u2028 é"}},
	"a struct's _meta": mcp.CallToolParams{Name: "echo", Meta: &mcp.Meta{ProgressToken: 7, AdditionalFields: map[string]any{"traceparent": "stale", "tracestate": "stale=1", "own": []any{1, "<"}}}},
	"an empty _meta":   mcp.CallToolParams{Name: "echo", Meta: &mcp.Meta{}},
	"raw members":      map[string]json.RawMessage{"name": json.RawMessage(`"echo"`), "_meta": json.RawMessage(`{"a":{"b":[1,2]},"traceparent":"stale"}`)},
	"a null _meta":     json.RawMessage(`{"_meta":null,"name":"echo"}`),
	"no object":        json.RawMessage(`[1,2]`),
	"_meta no object":  json.RawMessage(`{"_meta":5,"name":"echo"}`),
	"raw null":         json.RawMessage(`null`),
	"spaces":           json.RawMessage(` { "name" : "echo" , "_meta" : { "x" : 1 } } `),
}

func decode(t *testing.T, raw string) (m map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(raw), &m); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return m
}

// A message that goes out is the one that goes out without us, with trace context
// in _meta, and without it where there is none.
func TestSentIsWhatIsSentWithoutUs(t *testing.T) {
	for name, params := range paramsOfAllKinds {
		t.Run(name, func(t *testing.T) {
			before := fmt.Sprintf("%#v", params)
			request := transport.JSONRPCRequest{JSONRPC: "2.0", ID: mcp.NewRequestId(int64(1)), Method: "tools/call", Params: params, Header: http.Header{"X": {"y"}}}
			bare := newFakeTransport()
			_, _ = bare.SendRequest(t.Context(), request)
			for _, none := range []bool{false, true} {
				propagators := w3c
				if none {
					propagators = propagation.NewCompositeTextMapPropagator()
				}
				capture := telemetrytest.New(t)
				ours := &httpFake{fakeTransport: newFakeTransport()}
				wrapped := otelmcp.WrapTransport(ours, append(into(capture), otelmcp.WithPropagators(propagators))...)
				if _, err := wrapped.SendRequest(t.Context(), request); err != nil {
					t.Fatal(err)
				}
				if after := fmt.Sprintf("%#v", params); after != before {
					t.Errorf("the caller's params are now %s", after)
				}
				if len(request.Header) != 1 {
					t.Errorf("the caller's headers are now %v", request.Header)
				}
				if none {
					if ours.sent[0] != bare.sent[0] || len(ours.headers[0]) != 1 {
						t.Errorf("sent\n%s\nwithout us\n%s", ours.sent[0], bare.sent[0])
					}
					continue
				}
				span := only(t, capture.Spans())
				want := "00-" + span.SpanContext().TraceID().String() + "-" + span.SpanContext().SpanID().String() + "-01"
				if ours.headers[0].Get("Traceparent") != want || ours.headers[0].Get("X") != "y" {
					t.Errorf("headers %v, want traceparent %s", ours.headers[0], want)
				}
				is, without := decode(t, ours.sent[0]), decode(t, bare.sent[0])
				if name == "no object" || name == "_meta no object" {
					if ours.sent[0] != bare.sent[0] {
						t.Errorf("sent\n%s\nwithout us\n%s", ours.sent[0], bare.sent[0])
					}
					continue
				}
				p, _ := is["params"].(map[string]any)
				meta, _ := p["_meta"].(map[string]any)
				if meta["traceparent"] != want || meta["tracestate"] != nil {
					t.Errorf("_meta is %v, want traceparent %s", meta, want)
				}
				if strings.Count(ours.sent[0], `"traceparent"`) != 1 {
					t.Errorf("sent %s", ours.sent[0])
				}
				delete(meta, "traceparent")
				bareParams, _ := without["params"].(map[string]any)
				bareMeta, _ := bareParams["_meta"].(map[string]any)
				delete(bareMeta, "traceparent")
				delete(bareMeta, "tracestate")
				if !maps.EqualFunc(meta, bareMeta, reflect.DeepEqual) {
					t.Errorf("_meta is %v, without us %v", meta, bareMeta)
				}
				delete(p, "_meta")
				delete(bareParams, "_meta")
				if !maps.EqualFunc(p, bareParams, reflect.DeepEqual) {
					t.Errorf("params are %v, without us %v", p, bareParams)
				}
			}
		})
	}
}

type unencodable struct{}

func (unencodable) MarshalJSON() ([]byte, error) { return nil, errors.New("cannot be written") }

// Params that cannot be encoded fail as they fail without us.
func TestUnencodableParams(t *testing.T) {
	request := transport.JSONRPCRequest{JSONRPC: "2.0", ID: mcp.NewRequestId(int64(1)), Method: "tools/call", Params: unencodable{}}
	_, want := newFakeTransport().SendRequest(t.Context(), request)
	capture := telemetrytest.New(t)
	_, err := otelmcp.WrapTransport(newFakeTransport(), into(capture)...).SendRequest(t.Context(), request)
	if err == nil || err.Error() != want.Error() {
		t.Errorf("%v, without us %v", err, want)
	}
	if e := event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName))); e["otelmcp.outcome"] != "error" || e["otelmcp.stage"] != "transport" {
		t.Errorf("the event says %v", e)
	}
}

// With no provider to emit to, the caller's trace context still goes on.
func TestClientWithoutProviders(t *testing.T) {
	fake := newFakeTransport()
	wrapped := otelmcp.WrapTransport(fake, otelmcp.WithTracerProvider(tracenoop.NewTracerProvider()),
		otelmcp.WithMeterProvider(metricnoop.NewMeterProvider()), otelmcp.WithLoggerProvider(lognoop.NewLoggerProvider()),
		otelmcp.WithPropagators(w3c))
	ctx := w3c.Extract(t.Context(), propagation.MapCarrier{"traceparent": traceparent})
	_, _ = wrapped.SendRequest(ctx, transport.JSONRPCRequest{JSONRPC: "2.0", ID: mcp.NewRequestId(int64(1)), Method: "ping"})
	_ = wrapped.SendNotification(ctx, mcp.JSONRPCNotification{JSONRPC: "2.0", Notification: mcp.Notification{Method: "notifications/initialized"}})
	_, _ = wrapped.SendRequest(t.Context(), transport.JSONRPCRequest{JSONRPC: "2.0", ID: mcp.NewRequestId(int64(2)), Method: "ping"})
	for k, want := range []bool{true, true, false} {
		if strings.Contains(fake.sent[k], traceparent) != want || strings.Contains(fake.sent[k], "_meta") != want {
			t.Errorf("message %d: %s", k, fake.sent[k])
		}
	}
}

// A hundred calls that share one Meta carry a hundred contexts, and leave it as it
// was.
func TestSharedMeta(t *testing.T) {
	b := observe(t, link{over: stdio, era: legacy})
	meta := &mcp.Meta{ProgressToken: "p", AdditionalFields: map[string]any{"own": 1, "traceparent": traceparent}}
	eventually(t, func() bool { return len(b.atServer.Spans()) >= 2 }) // initialize and its notification, and nothing is left of them
	b.atClient.Reset()
	b.atServer.Reset()
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			var r mcp.CallToolRequest
			r.Params.Name, r.Params.Meta = "echo", meta
			if _, err := b.CallTool(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if want := (&mcp.Meta{ProgressToken: "p", AdditionalFields: map[string]any{"own": 1, "traceparent": traceparent}}); !reflect.DeepEqual(meta, want) {
		t.Errorf("the caller's Meta is now %+v", meta)
	}
	eventually(t, func() bool { return len(b.atServer.Spans()) >= 100 })
	parents := map[trace.SpanID]int{}
	for _, s := range b.atServer.Spans() {
		parents[s.Parent().SpanID()]++
	}
	for _, s := range b.atClient.Spans() {
		if parents[s.SpanContext().SpanID()] != 1 {
			t.Fatalf("a client span has %d server spans", parents[s.SpanContext().SpanID()])
		}
	}
}

// Baggage goes out only where it is configured.
func TestClientBaggage(t *testing.T) {
	for name, p := range map[string]propagation.TextMapPropagator{"with": w3c, "without": propagation.TraceContext{}} {
		fake := newFakeTransport()
		wrapped := otelmcp.WrapTransport(fake, append(into(telemetrytest.New(t)), otelmcp.WithPropagators(p))...)
		ctx := propagation.Baggage{}.Extract(t.Context(), propagation.MapCarrier{"baggage": "tenant=acme"})
		_, _ = wrapped.SendRequest(ctx, transport.JSONRPCRequest{JSONRPC: "2.0", ID: mcp.NewRequestId(int64(1)), Method: "ping"})
		if strings.Contains(fake.sent[0], "tenant=acme") != (name == "with") {
			t.Errorf("%s: sent %s", name, fake.sent[0])
		}
	}
}

// The span of a tool's execution that other instrumentation has made is enriched,
// where that is asked for and it is this tool's.
func TestToolSpanEnrichment(t *testing.T) {
	for _, c := range []struct {
		name   string
		attrs  []attribute.KeyValue
		opts   []otelmcp.Option
		enrich bool
	}{
		{"the tool's", []attribute.KeyValue{semconv.GenAIOperationNameKey.String("execute_tool"), semconv.GenAIToolNameKey.String("echo")}, []otelmcp.Option{otelmcp.WithToolSpanEnrichment()}, true},
		{"without a name", []attribute.KeyValue{semconv.GenAIOperationNameKey.String("execute_tool")}, []otelmcp.Option{otelmcp.WithToolSpanEnrichment()}, true},
		{"another tool's", []attribute.KeyValue{semconv.GenAIOperationNameKey.String("execute_tool"), semconv.GenAIToolNameKey.String("other")}, []otelmcp.Option{otelmcp.WithToolSpanEnrichment()}, false},
		{"none", nil, []otelmcp.Option{otelmcp.WithToolSpanEnrichment()}, false},
		{"not asked for", []attribute.KeyValue{semconv.GenAIOperationNameKey.String("execute_tool")}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			capture := telemetrytest.New(t, telemetrytest.WithUnsampled())
			fake := newFakeTransport()
			wrapped := otelmcp.WrapTransport(fake, append(into(capture), c.opts...)...)
			ctx, outer := capture.TracerProvider().Tracer("agent").Start(t.Context(), "execute_tool echo", trace.WithAttributes(c.attrs...))
			_, err := wrapped.SendRequest(ctx, transport.JSONRPCRequest{JSONRPC: "2.0", ID: mcp.NewRequestId(int64(1)), Method: "tools/call", Params: mcp.CallToolParams{Name: "echo"}})
			if err != nil || !outer.IsRecording() {
				t.Errorf("%v, and the span records: %v", err, outer.IsRecording())
			}
			outer.End()
			spans := len(capture.Spans())
			carried := strings.Contains(fake.sent[0], outer.SpanContext().SpanID().String())
			attrs := telemetrytest.SpanAttributes(capture.SpanNamed("execute_tool echo"))
			_, enriched := attrs.Value(semconv.OTelMCPOutcomeKey)
			if enriched != c.enrich || carried != c.enrich || (spans == 1) != c.enrich {
				t.Errorf("enriched %v, its context carried %v, %d spans; want %v", enriched, carried, spans, c.enrich)
			}
			if n := capture.HistogramCount(semconv.MCPClientOperationDurationName); n != 1 {
				t.Errorf("%d durations", n)
			}
		})
	}
}

// What a server lists is told apart up to a bound, and what it did not list never.
func TestListedNamesAreBounded(t *testing.T) {
	capture := telemetrytest.New(t)
	fake := newFakeTransport()
	fake.answer = func(r transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
		var tools []map[string]any
		if r.Method == "tools/list" {
			for k := range 3000 {
				tools = append(tools, map[string]any{"name": fmt.Sprint("tool-", k), "inputSchema": map[string]any{"properties": map[string]any{"a": 1}}})
			}
		}
		return &transport.JSONRPCResponse{JSONRPC: "2.0", ID: r.ID, Result: must(json.Marshal(map[string]any{"tools": tools}))}, nil
	}
	wrapped := otelmcp.WrapTransport(fake, into(capture)...)
	send := func(method, name string) {
		_, _ = wrapped.SendRequest(t.Context(), transport.JSONRPCRequest{
			JSONRPC: "2.0", ID: mcp.NewRequestId(int64(1)), Method: method, Params: mcp.CallToolParams{Name: name, Arguments: map[string]any{"a": 1, "b": 2}},
		})
	}
	send("tools/list", "")
	for k := range 3000 {
		send("tools/call", fmt.Sprint("tool-", k))
	}
	names := map[string]bool{}
	for _, p := range capture.HistogramPoints(semconv.MCPClientOperationDurationName) {
		if v, ok := p.Attributes.Value(semconv.GenAIToolNameKey); ok {
			names[v.AsString()] = true
		}
	}
	if len(names) != 1025 || !names["_OTHER"] {
		t.Errorf("%d names on the metric, want 1024 and _OTHER", len(names))
	}
	if n := capture.CounterValue("otelmcp.telemetry.refused"); n != 1 {
		t.Errorf("%d refusals counted, want 1", n)
	}
	calls := eventsAbout(capture, "tools/call")
	e := event(calls[0])
	if e["otelmcp.tool.arguments.names"] != `["a"]` || e["otelmcp.tool.arguments.undeclared"] != "1" {
		t.Errorf("the event says %v", e)
	}
	if e := event(calls[len(calls)-1]); e["otelmcp.tool.arguments.size"] == "" || e["otelmcp.tool.arguments.undeclared"] != "" {
		t.Errorf("nobody knows what the tool declares, and the event says %v", e)
	}
}

func implements[T any](v any) bool {
	_, ok := v.(T)
	return ok
}
