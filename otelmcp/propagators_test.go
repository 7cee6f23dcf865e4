// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Propagators that a program has set before: they run as they did bare, and what they
// do is seen where it was seen bare.

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

type (
	metaTenant   struct{}
	headerTenant struct{}
)

// tenants are both propagators of a program, and keep what happened.
type tenants struct {
	mu  sync.Mutex
	log []string
}

func (p *tenants) saw(where string, ctx context.Context, more ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = append(p.log, fmt.Sprint(where, " ", ctx.Value(metaTenant{}), " ", ctx.Value(headerTenant{}), " ", more))
}

func (p *tenants) all() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.log)
}

func (*tenants) Inject(_ context.Context, headers http.Header) {
	headers.Set("X-Tenant", "acme")
	headers.Set("Baggage", "program=own")
}

func (p *tenants) Extract(ctx context.Context, headers http.Header) context.Context {
	p.saw("Extract", ctx, server.ClientSessionFromContext(ctx) != nil, headers.Get("X-Tenant"))
	return context.WithValue(ctx, headerTenant{}, "header:"+headers.Get("X-Tenant"))
}

func (*tenants) InjectMeta(_ context.Context, meta *mcp.Meta) *mcp.Meta {
	out := &mcp.Meta{AdditionalFields: map[string]any{"tenant": "acme", "baggage": "program=own"}}
	if meta != nil {
		maps.Copy(out.AdditionalFields, meta.AdditionalFields)
	}
	return out
}

func (p *tenants) ExtractMeta(ctx context.Context, meta *mcp.Meta) context.Context {
	var tenant any
	if meta != nil {
		tenant = meta.AdditionalFields["tenant"]
	}
	p.saw("ExtractMeta", ctx, server.ClientSessionFromContext(ctx) != nil, tenant)
	return context.WithValue(ctx, metaTenant{}, fmt.Sprint("meta:", tenant))
}

func ofServer(h *tenants) []server.ServerOption {
	return []server.ServerOption{server.WithPropagator(h), server.WithMetaPropagator(h)}
}

func TestOwnPropagators(t *testing.T) {
	// talk serves a client that has propagators, too, and returns all that the server's saw.
	talk := func(t *testing.T, l link, instrument func(*server.MCPServer) *otelmcp.Instrumentation, edge bool) []string {
		p := &tenants{}
		hooks := &server.Hooks{}
		hooks.AddBeforeAny(func(ctx context.Context, _ any, method mcp.MCPMethod, _ any) { p.saw("hook "+string(method), ctx) })
		s := newEverything(append(ofServer(p), server.WithHooks(hooks),
			server.WithToolHandlerMiddleware(func(next server.ToolHandlerFunc) server.ToolHandlerFunc {
				return func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
					p.saw("middleware", ctx)
					return next(ctx, r)
				}
			}))...)
		s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			p.saw("handler", ctx)
			return mcp.NewToolResultText(""), nil
		})
		var i *otelmcp.Instrumentation
		if instrument != nil {
			i = instrument(s.MCPServer)
		}
		if edge {
			l.through = i
		}
		c := connectClient(t, s.MCPServer, l, client.WithPropagator(p), client.WithMetaPropagator(p))
		if _, err := callTool(t.Context(), c, "custom", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := c.ListTools(t.Context(), mcp.ListToolsRequest{}); err != nil {
			t.Fatal(err)
		}
		if i != nil && len(i.Coverage().Seams) != 4 {
			t.Errorf("the seams in place are %q", i.Coverage().Seams)
		}
		return p.all()
	}
	for _, l := range links {
		t.Run(l.String(), func(t *testing.T) {
			checkLeaks(t)
			want := talk(t, l, nil, false)
			if !slices.ContainsFunc(want, func(s string) bool { return strings.HasPrefix(s, "handler meta:acme header:") }) {
				t.Fatalf("bare, the handler is not told: %q", want)
			}
			for _, edge := range []bool{false, true} {
				if edge && l.over == inProcess {
					continue
				}
				for about, instrument := range map[string]func(*server.MCPServer) *otelmcp.Instrumentation{
					"observed": func(s *server.MCPServer) *otelmcp.Instrumentation {
						return otelmcp.Instrument(s, into(telemetrytest.New(t))...)
					},
					"unobserved": func(s *server.MCPServer) *otelmcp.Instrumentation {
						return otelmcp.Instrument(s, noopPipeline().options()...)
					},
				} {
					if got := talk(t, l, instrument, edge); !slices.Equal(got, want) {
						t.Errorf("%s, edge: %v: it saw\n%q, bare\n%q", about, edge, got, want)
					}
				}
			}
		})
	}
}

// baggages puts baggage of its own into the context, whatever the caller says.
type baggages struct{ tenants }

func (*baggages) with(ctx context.Context, text string) context.Context {
	b, err := baggage.Parse(text)
	if err != nil {
		panic(err)
	}
	return baggage.ContextWithBaggage(ctx, b)
}

type (
	metaBaggages   struct{ baggages }
	headerBaggages struct{ baggages }
)

func (b *metaBaggages) ExtractMeta(ctx context.Context, _ *mcp.Meta) context.Context {
	return b.with(ctx, "from=meta")
}

func (b *headerBaggages) Extract(ctx context.Context, _ http.Header) context.Context {
	return b.with(ctx, "from=headers")
}

// The baggage that a propagator of the program's reads is what the handler gets, with
// the trace context that ours read of the same message.
func TestOwnBaggage(t *testing.T) {
	for about, c := range map[string]struct {
		own  server.ServerOption
		want string
	}{
		"none":    {server.WithPropagator(&tenants{}), "from=caller"},
		"meta":    {server.WithMetaPropagator(&metaBaggages{}), "from=meta"},
		"headers": {server.WithPropagator(&headerBaggages{}), "from=headers"},
	} {
		for _, meta := range []string{
			`{"baggage":"from=caller"}`, `{"baggage":"from=caller","traceparent":"` + traceparent + `"}`,
		} {
			for observed, into := range map[string]func() []otelmcp.Option{
				"observed":   func() []otelmcp.Option { return into(telemetrytest.New(t)) },
				"unobserved": func() []otelmcp.Option { return noopPipeline().options() },
			} {
				t.Run(about+"/"+observed, func(t *testing.T) {
					s := newEverything(c.own)
					var got string
					s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
						got = baggage.FromContext(ctx).String()
						return mcp.NewToolResultText(""), nil
					})
					otelmcp.Instrument(s.MCPServer, append(into(), otelmcp.WithPropagators(w3c))...)
					p := surrounded(t, s, func(ctx context.Context, h http.Header) (context.Context, func()) {
						h.Set("Baggage", "from=caller")
						return ctx, func() {}
					})
					p.call(t.Context(), "tools/call", `{"name":"custom","_meta":`+meta+`}`)
					p.close()
					if got != c.want {
						t.Errorf("the handler has the baggage %q, want %q", got, c.want)
					}
				})
			}
		}
	}
}

// What a client's own propagators write goes out, and with it ours.
func TestOwnPropagatorsOfClient(t *testing.T) {
	for _, l := range links {
		t.Run(l.String(), func(t *testing.T) {
			checkLeaks(t)
			l.wrap = bareTransport
			sent := func(opts []otelmcp.Option) (meta map[string]any, headers http.Header) {
				s := newEverything()
				s.do(func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
					meta, headers = map[string]any{}, r.Header
					if r.Params.Meta != nil {
						meta = r.Params.Meta.AdditionalFields
					}
					return mcp.NewToolResultText(""), nil
				})
				p := &tenants{}
				c := newLink(t, s.MCPServer, l, client.WithPropagator(p), client.WithMetaPropagator(p))
				if opts != nil {
					otelmcp.InstrumentClient(c, opts...)
				}
				if _, err := c.Initialize(t.Context(), greeting()); err != nil {
					t.Fatal(err)
				}
				ctx, span := telemetrytest.New(t).TracerProvider().Tracer("caller").Start(t.Context(), "caller")
				defer span.End()
				ctx = w3c.Extract(ctx, propagation.MapCarrier{"baggage": "caller=other"})
				if _, err := callTool(ctx, c, "custom", nil); err != nil {
					t.Fatal(err)
				}
				return meta, headers
			}
			wantMeta, wantHeaders := sent(nil)
			for about, opts := range map[string][]otelmcp.Option{
				"observed":   into(telemetrytest.New(t)),
				"unobserved": noopPipeline().options(otelmcp.WithPropagators(w3c)),
			} {
				meta, headers := sent(opts)
				if wantMeta["tenant"] != "acme" || l.over == streamable && wantHeaders.Get("X-Tenant") != "acme" {
					t.Fatalf("bare, %v and %v arrive", wantMeta, wantHeaders)
				}
				for k, v := range wantMeta {
					if fmt.Sprint(meta[k]) != fmt.Sprint(v) {
						t.Errorf("%s: _meta has %s=%v, bare %v", about, k, meta[k], v)
					}
				}
				for _, k := range []string{"X-Tenant", "Baggage"} {
					if headers.Get(k) != wantHeaders.Get(k) {
						t.Errorf("%s: the headers have %s=%q, bare %q", about, k, headers.Get(k), wantHeaders.Get(k))
					}
				}
				if l.over != sse && headers.Get("Traceparent") == "" && meta["traceparent"] == nil {
					t.Errorf("%s: there is no trace context of ours: %v, %v", about, meta, headers)
				}
			}
		})
	}
}

// adapter reads W3C trace context, as mcp-go's adapter for OpenTelemetry does.
type adapter struct{ propagation.TraceContext }

func (a adapter) Inject(ctx context.Context, h http.Header) {
	a.TraceContext.Inject(ctx, propagation.HeaderCarrier(h))
}

func (a adapter) Extract(ctx context.Context, h http.Header) context.Context {
	return a.TraceContext.Extract(ctx, propagation.HeaderCarrier(h))
}

func (adapter) InjectMeta(_ context.Context, meta *mcp.Meta) *mcp.Meta { return meta }

func (a adapter) ExtractMeta(ctx context.Context, meta *mcp.Meta) context.Context {
	carrier := propagation.MapCarrier{}
	if meta != nil {
		if v, ok := meta.AdditionalFields["traceparent"].(string); ok {
			carrier["traceparent"] = v
		}
	}
	return a.TraceContext.Extract(ctx, carrier)
}

// broken is a propagator that does not return, or not a context.
type broken struct{ meta, none bool }

func (b broken) fail(ctx context.Context, here bool) context.Context {
	switch {
	case !here || ctx == nil:
		return ctx
	case b.none:
		return nil
	}
	panic(errBackend)
}

func (b broken) Extract(ctx context.Context, _ http.Header) context.Context {
	return b.fail(ctx, !b.meta)
}

func (b broken) ExtractMeta(ctx context.Context, _ *mcp.Meta) context.Context {
	return b.fail(ctx, b.meta)
}

func (broken) Inject(context.Context, http.Header)                    { panic(errBackend) }
func (broken) InjectMeta(_ context.Context, meta *mcp.Meta) *mcp.Meta { return meta }

func TestOwnPropagatorPanics(t *testing.T) {
	// Each returns what became of one call, as its client sees it. It ends its connection.
	ways := map[string]func(t *testing.T, s *server.MCPServer, i *otelmcp.Instrumentation) string{
		direct: func(t *testing.T, s *server.MCPServer, _ *otelmcp.Instrumentation) string {
			r := handleDirectly(t.Context(), s, echoCall)
			return fmt.Sprint(r.raw, r.recovered)
		},
		stdio: func(t *testing.T, s *server.MCPServer, i *otelmcp.Instrumentation) string {
			listen := listenBare(t.Context(), s)
			if i != nil {
				listen = listenEdge(t.Context(), i)
			}
			return strings.Join(talkLines(t, strings.NewReader(string(echoCall)+"\n"), 1, listen), "")
		},
		streamable: func(t *testing.T, s *server.MCPServer, i *otelmcp.Instrumentation) (got string) {
			var h http.Handler = streamableServer(s, server.WithStateLess(true))
			if i != nil {
				h = i.Handler(h)
			}
			w := httptest.NewRecorder()
			defer func() { got = fmt.Sprint(w.Code, w.Body, recover()) }()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/mcp", strings.NewReader(string(echoCall)))
			r.Header.Set("Content-Type", "application/json")
			h.ServeHTTP(w, r)
			return ""
		},
	}
	for way, call := range ways {
		for _, b := range []broken{{meta: true}, {}, {meta: true, none: true}, {none: true}} {
			t.Run(fmt.Sprintf("%s/meta=%v,none=%v", way, b.meta, b.none), func(t *testing.T) {
				checkLeaks(t)
				opts := []server.ServerOption{server.WithPropagator(b), server.WithMetaPropagator(b)}
				want := call(t, newEverything(opts...).MCPServer, nil)
				capture := telemetrytest.New(t)
				s := newEverything(opts...)
				i := otelmcp.Instrument(s.MCPServer, into(capture)...)
				if got := call(t, s.MCPServer, i); got != want {
					t.Errorf("it came to %s, bare to %s", got, want)
				}
				silent := newEverything(opts...)
				if got := call(t, silent.MCPServer, otelmcp.Instrument(silent.MCPServer, noopPipeline().options()...)); got != want {
					t.Errorf("unobserved, it came to %s, bare to %s", got, want)
				}
				events := capture.EventsNamed(semconv.OTelMCPOperationEventName)
				if len(events) != 1 || capture.CounterValue("otelmcp.server.messages") != 1 {
					t.Fatalf("%d events and %d counts of one message", len(events), capture.CounterValue("otelmcp.server.messages"))
				}
				if e := event(events[0]); e["otelmcp.outcome"] != "panic" || way != direct && e["mcp.method.name"] != "tools/call" {
					t.Errorf("the event says %v", e)
				}
				for _, gap := range i.Coverage().Gaps {
					if strings.Contains(gap, "defect") {
						t.Error(gap)
					}
				}
			})
		}
	}
}

func TestOwnPropagatorOfClientPanics(t *testing.T) {
	capture := telemetrytest.New(t)
	c := client.NewClient(transport.NewInProcessTransport(newEverything().MCPServer), client.WithPropagator(broken{}))
	otelmcp.InstrumentClient(c, into(capture)...)
	startLink(t, c, func() {})
	func() {
		defer func() {
			if v := recover(); fmt.Sprint(v) != errBackend.Error() {
				t.Errorf("it panicked with %v", v)
			}
		}()
		_, _ = c.Initialize(t.Context(), greeting())
	}()
	events := capture.EventsNamed(semconv.OTelMCPOperationEventName)
	if len(events) != 1 || event(events[0])["otelmcp.outcome"] != "panic" {
		t.Errorf("%d events: %v", len(events), events)
	}
}

// Where mcp-go keeps the propagators elsewhere, that is said.
func TestPropagatorsUnknown(t *testing.T) {
	capture := telemetrytest.New(t)
	s := newEverything()
	c := client.NewClient(transport.NewInProcessTransport(s.MCPServer))
	restore := otelmcp.HidePropagators()
	i := otelmcp.Instrument(s.MCPServer, into(capture)...)
	otelmcp.InstrumentClient(c, into(capture)...)
	restore()
	if gaps := strings.Join(i.Coverage().Gaps, "\n"); !strings.Contains(gaps, "server.WithMetaPropagator") {
		t.Errorf("the server's gaps are %s", gaps)
	}
	events := capture.EventsNamed(semconv.OTelMCPCoverageEventName)
	if !slices.ContainsFunc(events, func(r telemetryRecord) bool {
		return strings.Contains(event(r)["body"], "client.WithMetaPropagator")
	}) {
		t.Errorf("the client's coverage does not say so: %v", events)
	}
}
