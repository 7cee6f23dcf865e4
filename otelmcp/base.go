// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// What the instrumentation of a server and that of a client share: where they
// emit, and the calls of code that a program plugs in. Each of those comes back
// with something usable, whatever that code does.

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/mark3labs/mcp-go/mcp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

type base struct {
	cfg *config
	rec *operation.Recorder
}

// newBase makes that of a client, or of a server.
func newBase(cfg *config, client bool) base {
	return base{cfg, operation.New(operation.Config{
		ScopeName:      ScopeName,
		ScopeVersion:   Version(),
		TracerProvider: cfg.tracerProvider,
		MeterProvider:  cfg.meterProvider,
		LoggerProvider: cfg.loggerProvider,
		Client:         client,
		Attributes:     cfg.attributes,
		Scrub:          cfg.scrub,
		HashKey:        cfg.hashKey,
		HashKeyID:      cfg.hashKeyID,
	})}
}

func (b base) spanContext(ctx context.Context) (sc trace.SpanContext) {
	defer b.rec.Guard()
	return trace.SpanContextFromContext(ctx)
}

// inRequest returns ctx with the trace context that an HTTP request came with, where
// ctx has none and callers choose the trace.
func (b base) inRequest(ctx context.Context, r *http.Request) context.Context {
	if b.cfg.publicEndpoint || b.spanContext(ctx).IsValid() {
		return ctx
	}
	return b.extract(ctx, propagation.HeaderCarrier(r.Header))
}

// extract returns ctx with the remote span context that c carries, if any.
func (b base) extract(ctx context.Context, c propagation.TextMapCarrier) context.Context {
	if extracted := b.tryExtract(ctx, c); extracted != nil {
		return extracted
	}
	return ctx
}

func sameSpan(a, b trace.SpanContext) bool {
	return a.TraceID() == b.TraceID() && a.SpanID() == b.SpanID()
}

// beginReceived begins what somebody else sent. What they sent is the parent, unless
// they do not choose the trace; then it is linked.
func (b base) beginReceived(o *operation.Operation, links []trace.SpanContext) {
	if o.NewRoot = b.cfg.publicEndpoint; o.NewRoot {
		if sent := b.spanContext(o.Context); sent.IsValid() {
			// Its ids only: tracestate is free text.
			links = slices.Insert(links, 0, sent.WithTraceState(trace.TraceState{}))
		}
	}
	o.Begin(links...)
}

func (b base) tryExtract(ctx context.Context, c propagation.TextMapCarrier) (out context.Context) {
	defer b.rec.Guard()
	return b.cfg.propagators.Extract(ctx, c)
}

// inject returns what the propagators tell of ctx; it is empty when that is
// nothing.
func (b base) inject(ctx context.Context) (carrier propagation.MapCarrier) {
	carrier = propagation.MapCarrier{}
	defer b.rec.Guard()
	b.cfg.propagators.Inject(b.rec.SafeTrace(ctx), carrier)
	return carrier
}

// propagated are the names that the propagators may use.
func (b base) propagated() (names []string) {
	defer b.rec.Guard()
	return b.cfg.propagators.Fields()
}

// withContext returns meta with what carrier has, or meta itself when there is
// nothing to add. The caller's value is not touched.
func withContext(meta *mcp.Meta, carrier propagation.MapCarrier) *mcp.Meta {
	if len(carrier) == 0 {
		return meta
	}
	out := &mcp.Meta{AdditionalFields: make(map[string]any, len(carrier))}
	if meta != nil {
		out.ProgressToken = meta.ProgressToken
		maps.Copy(out.AdditionalFields, meta.AdditionalFields)
	}
	for k, v := range carrier {
		out.AdditionalFields[k] = v
	}
	return out
}

// metaCarrier lets propagators read _meta. Only strings are trace context.
type metaCarrier map[string]any

func (c metaCarrier) Get(key string) string {
	s, _ := c[key].(string)
	return s
}

func (c metaCarrier) Set(key, value string) { c[key] = value }

func (c metaCarrier) Keys() []string {
	keys := make([]string, 0, len(c))
	for k := range c {
		keys = append(keys, k)
	}
	return keys
}

// identify asks on whose behalf o is handled.
func (b base) identify(o *operation.Operation) {
	id := b.identityOf(o.Context)
	o.UserID = id.UserID
	o.UserRoles = kept(id.Roles)
}

// identityOf is on whose behalf something is handled in ctx: whom the program
// names, or else who was authenticated.
func (b base) identityOf(ctx context.Context) (id Identity) {
	if b.cfg.identity != nil {
		id = b.askIdentity(ctx)
	}
	if id.UserID != "" {
		return id
	}
	if about, ok := ctx.Value(subjectKey{}).(subject); ok {
		if who := about.decisions().Who(); who != nil {
			return Identity{UserID: who.UserID, Roles: who.UserRoles}
		}
	}
	return id
}

func (b base) askIdentity(ctx context.Context) (id Identity) {
	defer b.rec.Guard()
	return b.cfg.identity(ctx)
}

// silent asks the operator's filter; one that panics silences nothing.
func (b base) silent(ctx context.Context, method string) (silent bool) {
	if b.cfg.filter == nil {
		return false
	}
	defer b.rec.Guard()
	return !b.cfg.filter(ctx, method)
}

// sessionID is a session's id as it may be recorded: over HTTP a client can
// choose it.
func (b base) sessionID(id string) operation.Safe { return b.rec.Safe(semconv.MCPSessionIDKey, id) }
