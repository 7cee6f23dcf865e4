// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Whose child the span of a message is: what its _meta, the span around it and
// the HTTP headers say, in this order; and what else of the caller's context
// reaches the handler.

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	lognoop "go.opentelemetry.io/otel/log/noop"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
)

const (
	headerSpan        = "aaaaaaaaaaaaaaa1"
	headerTraceparent = "00-11111111111111111111111111111111-" + headerSpan + "-01"
)

var parents = []struct {
	about   string
	meta    string // params._meta
	ambient bool   // there is a span around the request
	header  string // traceparent
	opts    []otelmcp.Option

	parent string   // "", "meta", "ambient" or "header"
	links  []string // of the same
}{
	{about: "nothing"},
	{about: "meta", meta: `{"traceparent":"` + traceparent + `"}`, parent: "meta"},
	{about: "ambient", ambient: true, parent: "ambient"},
	{about: "header", header: headerTraceparent, parent: "header"},
	{about: "meta over ambient", meta: `{"traceparent":"` + traceparent + `"}`, ambient: true, parent: "meta", links: []string{"ambient"}},
	{about: "meta over header", meta: `{"traceparent":"` + traceparent + `"}`, header: headerTraceparent, parent: "meta"},
	{about: "ambient over header", ambient: true, header: headerTraceparent, parent: "ambient"},
	{
		about: "all", meta: `{"traceparent":"` + traceparent + `"}`, ambient: true, header: headerTraceparent,
		parent: "meta", links: []string{"ambient"},
	},
	{about: "meta without trace context", meta: `{"progressToken":1,"other":"x"}`, ambient: true, parent: "ambient"},

	{about: "malformed", meta: `{"traceparent":"00-xyz"}`},
	{about: "malformed, ambient", meta: `{"traceparent":"00-xyz"}`, ambient: true, parent: "ambient"},
	{about: "malformed, header", meta: `{"traceparent":"00-xyz"}`, header: headerTraceparent, parent: "header"},
	{about: "all zeros", meta: `{"traceparent":"00-00000000000000000000000000000000-0000000000000000-01"}`, header: headerTraceparent, parent: "header"},
	{about: "no text", meta: `{"traceparent":42}`, header: headerTraceparent, parent: "header"},
	{about: "malformed header", header: "nonsense"},

	{about: "public: nothing", opts: public},
	{about: "public: meta", opts: public, meta: `{"traceparent":"` + traceparent + `"}`, links: []string{"meta"}},
	{about: "public: ambient", opts: public, ambient: true, links: []string{"ambient"}},
	{about: "public: header", opts: public, header: headerTraceparent, links: []string{"header"}},
	{
		about: "public: meta and ambient", opts: public, meta: `{"traceparent":"` + traceparent + `"}`, ambient: true,
		links: []string{"meta", "ambient"},
	},

	{about: "no propagators: meta", opts: deaf, meta: `{"traceparent":"` + traceparent + `"}`},
	{about: "no propagators: header", opts: deaf, header: headerTraceparent},
	{about: "no propagators: ambient", opts: deaf, ambient: true, parent: "ambient"},
}

var (
	public = []otelmcp.Option{otelmcp.WithPublicEndpoint()}
	deaf   = []otelmcp.Option{otelmcp.WithPropagators(propagation.NewCompositeTextMapPropagator())}
)

// surrounded serves srv over HTTP within a span and with headers.
func surrounded(t *testing.T, s *everything, in func(ctx context.Context, h http.Header) (context.Context, func())) *peer {
	t.Helper()
	h := streamableServer(s.MCPServer)
	p := overHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, done := in(r.Context(), r.Header)
		defer done()
		h.ServeHTTP(w, r.WithContext(ctx))
	}), modern)
	p.plain = true
	return p
}

func TestParent(t *testing.T) { testParent(t) }

// A program's own propagators that read the same make no difference.
func TestParentWithAdapter(t *testing.T) {
	testParent(t, server.WithPropagator(adapter{}), server.WithMetaPropagator(adapter{}))
}

func testParent(t *testing.T, own ...server.ServerOption) {
	for _, c := range parents {
		if len(own) > 0 && strings.HasPrefix(c.about, "no propagators") {
			continue // then the program's decide
		}
		t.Run(c.about, func(t *testing.T) {
			capture := telemetrytest.New(t)
			checkLeaks(t)
			s := newEverything(own...)
			otelmcp.Instrument(s.MCPServer, into(capture, c.opts...)...)
			names := map[string]string{callerSpan: "meta", headerSpan: "header"}
			ambient := capture.TracerProvider().Tracer("the program's own")
			p := surrounded(t, s, func(ctx context.Context, h http.Header) (context.Context, func()) {
				if c.header != "" {
					h.Set("Traceparent", c.header)
				}
				if !c.ambient {
					return ctx, func() {}
				}
				ctx, span := ambient.Start(ctx, "ambient")
				names[span.SpanContext().SpanID().String()] = "ambient"
				return ctx, func() { span.End() }
			})
			params := `{"name":"custom"}`
			if c.meta != "" {
				params = `{"name":"custom","_meta":` + c.meta + `}`
			}
			var inside trace.SpanContext
			s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				inside = trace.SpanContextFromContext(ctx)
				return mcp.NewToolResultText(""), nil
			})
			if r := p.call(t.Context(), "tools/call", params); r.code() != 0 || r.lost != nil {
				t.Fatalf("%+v", r)
			}
			p.close()

			span := capture.SpanNamed("tools/call custom")
			parent := ""
			if span.Parent().IsValid() {
				parent = names[span.Parent().SpanID().String()]
				if span.SpanContext().TraceID() != span.Parent().TraceID() {
					t.Error("the span is in another trace than its parent")
				}
			}
			if parent != c.parent {
				t.Errorf("the parent is %q, want %q", parent, c.parent)
			}
			var links []string
			for _, l := range span.Links() {
				links = append(links, names[l.SpanContext.SpanID().String()])
				if c.parent == "" && l.SpanContext.TraceID() == span.SpanContext().TraceID() {
					t.Error("the root is in the trace that it links to")
				}
			}
			if !slices.Equal(links, c.links) {
				t.Errorf("the links are %q, want %q", links, c.links)
			}
			if !inside.Equal(span.SpanContext()) {
				t.Error("the handler does not run in the span")
			}
		})
	}
}

// TestParentIsAmbient: a client in the same process injects the very span that
// is around the request; that is not linked again.
func TestParentIsAmbient(t *testing.T) {
	s, capture := instrumented(t)
	ctx, ambient := capture.TracerProvider().Tracer("the program's own").Start(t.Context(), "ambient")
	carrier := propagation.MapCarrier{}
	w3c.Inject(ctx, carrier)
	p := connect(t, s.MCPServer, direct, legacy)
	p.call(ctx, "ping", `{"_meta":{"traceparent":"`+carrier["traceparent"]+`"}}`)
	ambient.End()
	span := capture.SpanNamed("ping")
	if span.Parent().SpanID() != ambient.SpanContext().SpanID() || len(span.Links()) > 0 {
		t.Errorf("the parent is %v, the links are %v", span.Parent(), span.Links())
	}
}

func TestTraceStateAndBaggage(t *testing.T) {
	for _, c := range []struct {
		about, meta    string
		headers        map[string]string
		tenant, vendor string
	}{
		{about: "meta", meta: `{"traceparent":"` + traceparent + `","tracestate":"vendor=1","baggage":"tenant=acme"}`, tenant: "acme", vendor: "1"},
		{about: "meta, baggage alone", meta: `{"baggage":"tenant=acme"}`, tenant: "acme"},
		{
			about: "headers", headers: map[string]string{"Traceparent": headerTraceparent, "Tracestate": "vendor=2", "Baggage": "tenant=umbrella"},
			tenant: "umbrella", vendor: "2",
		},
		{
			about: "meta over headers", meta: `{"traceparent":"` + traceparent + `","baggage":"tenant=acme"}`,
			headers: map[string]string{"Traceparent": headerTraceparent, "Baggage": "tenant=umbrella"}, tenant: "acme",
		},
		{
			about: "meta's baggage, headers' trace", meta: `{"baggage":"tenant=acme"}`,
			headers: map[string]string{"Traceparent": headerTraceparent, "Tracestate": "vendor=2"}, tenant: "acme", vendor: "2",
		},
		{about: "malformed", meta: `{"traceparent":"` + traceparent + `","tracestate":"===","baggage":"=,="}`},
	} {
		t.Run(c.about, func(t *testing.T) {
			s, capture := instrumented(t)
			p := surrounded(t, s, func(ctx context.Context, h http.Header) (context.Context, func()) {
				for k, v := range c.headers {
					h.Set(k, v)
				}
				return ctx, func() {}
			})
			var tenant string
			s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				tenant = baggage.FromContext(ctx).Member("tenant").Value()
				return mcp.NewToolResultText(""), nil
			})
			params := `{"name":"custom"}`
			if c.meta != "" {
				params = `{"name":"custom","_meta":` + c.meta + `}`
			}
			p.call(t.Context(), "tools/call", params)
			p.close()
			if tenant != c.tenant {
				t.Errorf("the handler's baggage says tenant=%q, want %q", tenant, c.tenant)
			}
			if v := capture.SpanNamed("tools/call custom").SpanContext().TraceState().Get("vendor"); v != c.vendor {
				t.Errorf("the trace state says vendor=%q, want %q", v, c.vendor)
			}
		})
	}
}

// TestUnobserved: with nobody listening the handler still gets the caller's
// trace context, for the requests that it makes itself.
func TestUnobserved(t *testing.T) {
	s := newEverything()
	checkLeaks(t)
	otelmcp.Instrument(s.MCPServer, otelmcp.WithTracerProvider(tracenoop.NewTracerProvider()),
		otelmcp.WithMeterProvider(metricnoop.NewMeterProvider()), otelmcp.WithLoggerProvider(lognoop.NewLoggerProvider()),
		otelmcp.WithPropagators(w3c))
	var seen []string
	s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		seen = append(seen, trace.SpanContextFromContext(ctx).SpanID().String())
		return mcp.NewToolResultText(""), nil
	})
	p := surrounded(t, s, func(ctx context.Context, h http.Header) (context.Context, func()) {
		h.Set("Traceparent", headerTraceparent)
		return ctx, func() {}
	})
	p.tool(t.Context(), "custom", "")
	p.call(t.Context(), "tools/call", `{"name":"custom","_meta":{"traceparent":"`+traceparent+`"}}`)
	if want := []string{headerSpan, callerSpan}; !slices.Equal(seen, want) {
		t.Errorf("the handlers saw %q, want %q", seen, want)
	}
}

// TestNested calls a server from within a tool of another one, or of itself,
// through the in-process transport.
func TestNested(t *testing.T) {
	for _, self := range []bool{false, true} {
		t.Run(map[bool]string{false: "another server", true: "itself"}[self], func(t *testing.T) {
			outer, capture := instrumented(t)
			inner := outer
			if !self {
				inner = newEverything()
				otelmcp.Instrument(inner.MCPServer, into(capture)...)
			}
			outer.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				// Not modern: mcp-go would check it against the headers around it.
				p := dial(t, inner.MCPServer, inProcess, legacy)
				p.plain = true
				defer p.close()
				if r := p.tool(ctx, "fails", ""); r.code() != 0 {
					t.Errorf("the inner call gave %+v", r)
				}
				if r := p.tool(ctx, "made_up", ""); r.code() != mcp.INVALID_PARAMS {
					t.Errorf("the inner call gave %+v", r)
				}
				return mcp.NewToolResultText(""), nil
			})
			p := connect(t, outer.MCPServer, streamable, legacy)
			capture.Reset()
			p.tool(t.Context(), "custom", "")
			p.close()

			out := capture.SpanNamed("tools/call custom")
			spans := map[string]sdktrace.ReadOnlySpan{"custom": out}
			for _, name := range []string{"tools/call fails", "tools/call _OTHER"} {
				in := capture.SpanNamed(name)
				if in.Parent().SpanID() != out.SpanContext().SpanID() {
					t.Errorf("%s is not the child of the tool that called it", name)
				}
				spans[name] = in
			}
			if n := len(capture.Spans()); n != 3 {
				t.Errorf("%d spans, want 3", n)
			}
			for name, want := range map[string][2]string{
				"custom":            {"ok", streamable},
				"tools/call fails":  {"tool_error", inProcess},
				"tools/call _OTHER": {"rejected", inProcess},
			} {
				checkOutcome(t, spans[name], want[0], want[1])
			}
			if n := capture.CounterValue("otelmcp.server.messages"); n != 3 {
				t.Errorf("%d messages counted, want 3", n)
			}
		})
	}
}

func checkOutcome(t *testing.T, span sdktrace.ReadOnlySpan, outcome, transport string) {
	t.Helper()
	set := telemetrytest.SpanAttributes(span)
	for k, v := range map[attribute.Key]string{"otelmcp.outcome": outcome, "otelmcp.transport": transport} {
		if got, _ := set.Value(k); got.AsString() != v {
			t.Errorf("%s: %s is %q, want %q", span.Name(), k, got.AsString(), v)
		}
	}
}
