// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// The propagators of a server, and those that a program had set before us. mcp-go has
// room for one of each kind, so ours call the program's: first, and with what mcp-go
// would have called it with.

import (
	"context"
	"net/http"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/tracing"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/semconv"
)

// ownPropagators are those that the program has set. Nil is one that does nothing.
type ownPropagators struct {
	header tracing.Propagator
	meta   tracing.MetaPropagator
}

// ownPropagatorsOf reads them of a server or a client, which is not in use yet. Where they
// are not known they count as absent.
func ownPropagatorsOf[S any](
	s *S, header privateField[S, tracing.Propagator], meta privateField[S, tracing.MetaPropagator],
) (own ownPropagators, known bool) {
	h, knownHeader := header.of(s)
	m, knownMeta := meta.of(s)
	if h != tracing.NoopPropagator() {
		own.header = h
	}
	if m != tracing.NoopMetaPropagator() {
		own.meta = m
	}
	return own, knownHeader && knownMeta
}

// keepBaggage returns ours, which our propagators made of theirs. The program's baggage
// stands: if theirs has another than before, ours has that of theirs. Headers come after
// _meta, so that all that is in theirs then goes before them.
func (own ownPropagators) keepBaggage(before, theirs, ours context.Context) context.Context {
	if own.header == nil && own.meta == nil {
		return ours
	}
	if b := baggage.FromContext(theirs); b.String() != baggage.FromContext(before).String() {
		return baggage.ContextWithBaggage(ours, b)
	}
	return ours
}

// metaPropagator reads the trace context of a request from params._meta.
type metaPropagator struct{ i *Instrumentation }

func (p metaPropagator) ExtractMeta(ctx context.Context, meta *mcp.Meta) context.Context {
	i, own := p.i, p.i.own.meta
	var fields map[string]any
	if meta != nil {
		fields = meta.AdditionalFields
	}
	if i.unheard(ctx) {
		// All that is left to do when nobody listens: the handler's own requests
		// must still carry the caller's trace context.
		out := ctx
		if own != nil {
			out = own.ExtractMeta(ctx, meta)
		}
		if out == nil || len(fields) == 0 {
			return out
		}
		theirs := out
		out = i.extract(theirs, metaCarrier(fields))
		return i.own.keepBaggage(ctx, theirs, out)
	}
	m := i.newMessage(ctx)
	if own != nil && !m.pass(func(ctx context.Context) context.Context { return own.ExtractMeta(ctx, meta) }) {
		return nil
	}
	if own != nil || len(fields) > 0 {
		theirs := m.Context
		m.Context, m.links = i.fromMeta(ctx, theirs, fields)
		m.Context = i.own.keepBaggage(ctx, theirs, m.Context)
	}
	return m
}

// InjectMeta is for clients. A server has no use for it.
func (p metaPropagator) InjectMeta(ctx context.Context, meta *mcp.Meta) *mcp.Meta {
	if own := p.i.own.meta; own != nil {
		return own.InjectMeta(ctx, meta)
	}
	return meta
}

// headerPropagator reads the trace context of a request from its HTTP headers,
// when neither _meta nor the ambient span says more.
type headerPropagator struct{ i *Instrumentation }

func (p headerPropagator) Extract(ctx context.Context, headers http.Header) context.Context {
	i, own := p.i, p.i.own.header
	m, ok := ctx.(*message)
	if ctx == nil || !ok && i.unheard(ctx) { // nil is what the program made of it
		out := ctx
		if own != nil {
			out = own.Extract(ctx, headers)
		}
		if ctx == nil || out == nil {
			return out
		}
		return i.own.keepBaggage(context.Background(), out, i.fromHeaders(ctx, out, headers))
	}
	if !ok {
		m = i.newMessage(ctx) // params was no object, so that there was no _meta to extract from
	}
	before := m.Context
	if own != nil && !m.pass(func(ctx context.Context) context.Context { return own.Extract(ctx, headers) }) {
		return nil
	}
	theirs := m.Context
	m.Context = i.own.keepBaggage(context.Background(), theirs, i.fromHeaders(before, theirs, headers))
	return m
}

// Inject is for clients. A server has no use for it.
func (p headerPropagator) Inject(ctx context.Context, headers http.Header) {
	if own := p.i.own.header; own != nil {
		own.Inject(ctx, headers)
	}
}

// pass hands the message to a propagator of the program's, and reports whether that
// returned a context: then the message goes on in it. Otherwise it ends here, since
// mcp-go panics without a context.
func (m *message) pass(own func(context.Context) context.Context) bool {
	var next context.Context
	defer func() {
		if next == nil {
			m.died()
		}
	}()
	if next = own(m.Context); next == nil {
		return false
	}
	m.Context = next
	return true
}

// died ends a message that panicked before mcp-go told its method. An edge knows the
// method; without one nobody does.
func (m *message) died() {
	defer m.i.rec.Guard()
	method := ""
	switch e := m.edge.(type) {
	case *exchange:
		method = e.body.parse().Method
	case *lines:
		if m.line != nil {
			method = m.line.e.Method
		}
	}
	m.i.begin(m, method)
	m.Outcome, m.settled = semconv.OTelMCPOutcomePanic, true
	(*dispatchSpan)(m).End()
}

// extractMeta takes the parent from _meta, when it names one.
func (m *message) extractMeta(fields map[string]any) {
	m.Context, m.links = m.i.fromMeta(m.Context, m.Context, fields)
}

// extractHeaders takes the parent from HTTP headers, when nothing that goes
// before them named one.
func (m *message) extractHeaders(headers http.Header) {
	m.Context = m.i.fromHeaders(m.Context, m.Context, headers)
}

// fromMeta returns ctx with the parent that _meta names, if it names one, and then a
// span around it, which is to be linked. The span is that of the context around: ctx
// may be what a propagator of the program's made of that.
func (b base) fromMeta(around, ctx context.Context, meta map[string]any) (out context.Context, links []trace.SpanContext) {
	ambient := b.spanContext(around)
	out = b.extract(ctx, metaCarrier(meta))
	if sc := b.spanContext(out); sc.IsValid() && ambient.IsValid() && !sameSpan(sc, ambient) {
		links = append(links, ambient)
	}
	return out, links
}

// fromHeaders returns ctx, which is what a propagator of the program's made of the
// context before, or that itself. It has the parent that goes before the headers, if
// there is one, and otherwise the one that they name.
func (b base) fromHeaders(before, ctx context.Context, headers http.Header) context.Context {
	if parent := b.spanContext(before); parent.IsValid() {
		if !b.spanContext(ctx).Equal(parent) {
			return trace.ContextWithSpan(ctx, trace.SpanFromContext(before))
		}
		return ctx
	}
	if len(headers) == 0 {
		return ctx
	}
	return b.extract(ctx, propagation.HeaderCarrier(headers))
}
