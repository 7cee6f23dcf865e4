// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package bench

// Who is measured. Each builds the same server and adds its instrumentation as its documentation says.

import (
	"context"
	"encoding/json"
	"io"
	stdlog "log"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	mcpotel "github.com/mark3labs/mcp-go/otel"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/otelmcp"
)

// Contender is one way to instrument.
type Contender struct {
	Name     string
	Sampling Sampling
	Defaults bool // its log provider is the SDK's without any option

	// Server builds the server with build and instruments it. Nil where it has nothing for servers.
	Server func(p Pipeline, build func(...server.ServerOption) *server.MCPServer) Target
	// Client wraps a transport. Nil where it has nothing for clients.
	Client func(p Pipeline, t transport.Interface) *client.Client

	// HTTPOnly is set by one that works on HTTP alone.
	HTTPOnly bool
	// EdgesOnly is set by one that differs from another only on HTTP and stdio.
	EdgesOnly bool
}

// Target is an instrumented server. What is nil is as mcp-go has it.
type Target struct {
	Server *server.MCPServer
	Handle func(context.Context, json.RawMessage) mcp.JSONRPCMessage
	HTTP   func(http.Handler) http.Handler
	Listen func(ctx context.Context, in io.Reader, out io.Writer) error
	// Points reads the metrics of one that has a meter provider of its own.
	Points func() ([]Point, error)
}

// The names that the report and the budgets look for.
const (
	nameBare         = "bare mcp-go"
	nameNoop         = "otelmcp, no-op"
	nameUnset        = "otelmcp, no providers"
	nameUnsampled    = "otelmcp, not sampled"
	nameSampled      = "otelmcp, sampled"
	nameContent      = "otelmcp, sampled, content"
	nameNoEdge       = "otelmcp, sampled, no edge"
	nameDefaults     = "otelmcp, sampled, default log provider"
	nameFloor        = "floor, sampled"
	nameFloorOff     = "floor, not sampled"
	nameFloorSame    = "floor, sampled, as many attributes"
	nameFloorSameOff = "floor, not sampled, as many attributes"
	nameFloorDef     = "floor, sampled, default log provider"
	nameAdapter      = "mcp-go/otel, traces"
	nameAdapterLog   = "mcp-go/otel, traces and logs"
	nameLogger       = "mcp-go WithLogger, logs"
	nameHooks        = "hand-written hooks, traces and metrics"
)

// Contenders returns all that need no heavy dependencies.
func Contenders() []Contender {
	return []Contender{
		{Name: nameBare, Sampling: Noop, Server: bareServer, Client: bareClient},
		ours(nameNoop, Noop), ours(nameUnset, Unset), ours(nameUnsampled, Unsampled), ours(nameSampled, Sampled),
		ours(nameContent, Sampled, otelmcp.WithContentCapture(otelmcp.Arguments|otelmcp.Results)),
		{Name: nameNoEdge, EdgesOnly: true, Server: func(p Pipeline, build func(...server.ServerOption) *server.MCPServer) Target {
			srv := build()
			otelmcp.Instrument(srv, oursInto(p)...)
			return Target{Server: srv}
		}},
		ours(nameDefaults, Sampled).withDefaults(),
		plain.contender(nameFloor, Sampled), plain.contender(nameFloorOff, Unsampled),
		alike.contender(nameFloorSame, Sampled), alike.contender(nameFloorSameOff, Unsampled),
		plain.contender(nameFloorDef, Sampled).withDefaults(),
		{Name: nameAdapter, Server: adapter(false), Client: adapterClient},
		{Name: nameAdapterLog, Server: adapter(true)},
		{Name: nameLogger, Server: loggerServer},
		{Name: nameHooks, Server: hooksServer},
	}
}

func bareServer(_ Pipeline, build func(...server.ServerOption) *server.MCPServer) Target {
	return Target{Server: build()}
}

func bareClient(_ Pipeline, t transport.Interface) *client.Client {
	return client.NewClient(t, client.WithProtocolVersion(legacy))
}

func oursInto(p Pipeline, more ...otelmcp.Option) []otelmcp.Option {
	return append([]otelmcp.Option{
		otelmcp.WithTracerProvider(p.Tracer), otelmcp.WithMeterProvider(p.Meter), otelmcp.WithLoggerProvider(p.Logger),
		otelmcp.WithPropagators(propagation.TraceContext{}),
	}, more...)
}

func ours(name string, s Sampling, opts ...otelmcp.Option) Contender {
	return Contender{
		Name: name, Sampling: s,
		Server: func(p Pipeline, build func(...server.ServerOption) *server.MCPServer) Target {
			srv := build()
			i := otelmcp.Instrument(srv, oursInto(p, opts...)...)
			return Target{Server: srv, HTTP: i.Handler, Listen: func(ctx context.Context, in io.Reader, out io.Writer) error {
				return i.Listen(ctx, in, out, server.WithErrorLogger(quiet))
			}}
		},
		Client: func(p Pipeline, t transport.Interface) *client.Client {
			return bareClient(p, otelmcp.WrapTransport(t, oursInto(p, opts...)...))
		},
	}
}

func (c Contender) withDefaults() Contender {
	c.Defaults = true
	return c
}

// quiet drops what the servers log of messages that are meant to fail.
var quiet = stdlog.New(io.Discard, "", 0)

// attributes is how many of them a floor puts on each signal.
type attributes struct {
	span, event     int
	seconds, counts int
}

var (
	plain = attributes{span: 10, event: 10, seconds: 2, counts: 2} // the yardstick of the budgets
	alike = attributes{span: 11, event: 13, seconds: 3, counts: 4} // what otelmcp says of a call without a session
)

func (n attributes) contender(name string, s Sampling) Contender {
	return Contender{
		Name: name, Sampling: s,
		Server: func(p Pipeline, build func(...server.ServerOption) *server.MCPServer) Target {
			return floorServer(newFloor(p, n), build())
		},
		Client: func(p Pipeline, t transport.Interface) *client.Client {
			return bareClient(p, floorTransport{t, newFloor(p, n)})
		},
	}
}

// floor emits the three signals of one message as a careful programmer would by hand: nothing looked up, nothing
// scrubbed, attribute sets and options prepared.
type floor struct {
	tracer  trace.Tracer
	seconds metric.Float64Histogram
	count   metric.Int64Counter
	logger  log.Logger
	attrs   attributes
	record  []metric.RecordOption
	add     []metric.AddOption
}

func newFloor(p Pipeline, n attributes) *floor {
	m := p.Meter.Meter("floor")
	all := []attribute.KeyValue{
		attribute.String("a1", "tools/call"), attribute.String("a2", "echo"), attribute.String("a3", "execute_tool"), attribute.String("a4", "1"),
	}
	return &floor{
		tracer: p.Tracer.Tracer("floor"), logger: p.Logger.Logger("floor"), attrs: n,
		record:  []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(all[:n.seconds]...))},
		add:     []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(all[:n.counts]...))},
		seconds: must(m.Float64Histogram("seconds")),
		count:   must(m.Int64Counter("count")),
	}
}

// must is for what fails only when this package is wrong.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var floorCarrier = propagation.MapCarrier{"traceparent": traceparent}

func (f *floor) emit(ctx context.Context) {
	start := time.Now()
	ctx, span := f.tracer.Start(propagation.TraceContext{}.Extract(ctx, floorCarrier), "tools/call echo",
		trace.WithSpanKind(trace.SpanKindServer))
	attrs := [...]attribute.KeyValue{
		attribute.String("a1", "tools/call"), attribute.String("a2", "echo"), attribute.String("a3", "execute_tool"),
		attribute.String("a4", "1"), attribute.String("a5", "s"), attribute.String("a6", "pipe"),
		attribute.String("a7", legacy), attribute.String("a8", "ok"), attribute.String("a9", "handler"),
		attribute.Int("a10", 12), attribute.String("a11", "server"), attribute.String("a12", "sha256:0af7651916cd43dd"),
		attribute.Float64("a13", 0.1),
	}
	if span.IsRecording() {
		span.SetAttributes(attrs[:f.attrs.span]...)
	}
	if f.seconds.Enabled(ctx) {
		f.seconds.Record(ctx, time.Since(start).Seconds(), f.record...)
		f.count.Add(ctx, 1, f.add...)
	}
	if f.logger.Enabled(ctx, log.EnabledParameters{Severity: log.SeverityInfo}) {
		var r log.Record
		r.SetEventName("event")
		r.SetTimestamp(start)
		r.SetObservedTimestamp(start)
		r.SetBody(attribute.StringValue("tools/call echo: ok"))
		r.AddAttributes(attrs[:f.attrs.event]...)
		f.logger.Emit(ctx, r)
	}
	span.End()
}

// floorServer emits after each message: the server's own work has passed through the processor's caches by then,
// as it has in a server that is instrumented by hand.
func floorServer(f *floor, srv *server.MCPServer) Target {
	return Target{
		Server: srv,
		Handle: func(ctx context.Context, raw json.RawMessage) mcp.JSONRPCMessage {
			answer := srv.HandleMessage(ctx, raw)
			f.emit(ctx)
			return answer
		},
		HTTP: func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h.ServeHTTP(w, r)
				f.emit(r.Context())
			})
		},
		Listen: func(ctx context.Context, in io.Reader, out io.Writer) error {
			return listenBare(ctx, srv, in, emitOnWrite{out, f})
		},
	}
}

// emitOnWrite relies on mcp-go writing each answer at once.
type emitOnWrite struct {
	io.Writer
	*floor
}

func (w emitOnWrite) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	w.emit(context.Background())
	return n, err
}

func listenBare(ctx context.Context, srv *server.MCPServer, in io.Reader, out io.Writer) error {
	s := server.NewStdioServer(srv)
	s.SetErrorLogger(quiet)
	return s.Listen(ctx, in, out)
}

type floorTransport struct {
	transport.Interface
	*floor
}

func (t floorTransport) SendRequest(ctx context.Context, r transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
	answer, err := t.Interface.SendRequest(ctx, r)
	t.emit(ctx)
	return answer, err
}

// adapter is mcp-go's own one. Its logs are mcp-go's WithLogger through OpenTelemetry's bridge, as the
// documentation of WithLogger has it.
func adapter(logs bool) func(Pipeline, func(...server.ServerOption) *server.MCPServer) Target {
	return func(p Pipeline, build func(...server.ServerOption) *server.MCPServer) Target {
		opts := []server.ServerOption{mcpotel.WithServerTracing(p.Tracer.Tracer("mcp"))}
		if logs {
			opts = append(opts, withLogger(p))
		}
		return Target{Server: build(opts...)}
	}
}

func withLogger(p Pipeline) server.ServerOption {
	return server.WithLogger(slog.New(otelslog.NewHandler("mcp", otelslog.WithLoggerProvider(p.Logger))))
}

func adapterClient(p Pipeline, t transport.Interface) *client.Client {
	return client.NewClient(t, client.WithProtocolVersion(legacy), mcpotel.WithClientTracing(p.Tracer.Tracer("mcp")))
}

func loggerServer(p Pipeline, build func(...server.ServerOption) *server.MCPServer) Target {
	return Target{Server: build(withLogger(p))}
}

// hooksServer is what one finds in programs and READMEs: a span that the first hook starts, that is remembered by
// the request's id, and that the last hook ends.
func hooksServer(p Pipeline, build func(...server.ServerOption) *server.MCPServer) Target {
	type pending struct {
		span  trace.Span
		start time.Time
	}
	var open sync.Map
	tracer := p.Tracer.Tracer("hooks")
	seconds := must(p.Meter.Meter("hooks").Float64Histogram("mcp.server.operation.duration"))
	end := func(ctx context.Context, id any, method mcp.MCPMethod, err error) {
		v, ok := open.LoadAndDelete(id)
		if !ok {
			return
		}
		o, _ := v.(pending)
		attrs := []attribute.KeyValue{attribute.String("mcp.method.name", string(method))}
		if err != nil {
			o.span.RecordError(err)
			o.span.SetStatus(codes.Error, err.Error())
			attrs = append(attrs, attribute.String("error.type", "_OTHER"))
		}
		seconds.Record(ctx, time.Since(o.start).Seconds(), metric.WithAttributes(attrs...))
		o.span.End()
	}
	h := &server.Hooks{}
	h.AddBeforeAny(func(ctx context.Context, id any, method mcp.MCPMethod, message any) {
		attrs := []attribute.KeyValue{attribute.String("mcp.method.name", string(method))}
		if r, ok := message.(*mcp.CallToolRequest); ok {
			attrs = append(attrs, attribute.String("gen_ai.tool.name", r.Params.Name))
		}
		_, span := tracer.Start(ctx, string(method), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attrs...))
		open.Store(id, pending{span, time.Now()})
	})
	h.AddOnSuccess(func(ctx context.Context, id any, method mcp.MCPMethod, _, _ any) { end(ctx, id, method, nil) })
	h.AddOnError(func(ctx context.Context, id any, method mcp.MCPMethod, _ any, err error) { end(ctx, id, method, err) })
	return Target{Server: build(server.WithHooks(h))}
}
