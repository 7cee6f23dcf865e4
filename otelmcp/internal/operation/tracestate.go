// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation

// tracestate (W3C Trace Context) is text that a caller chose, and an SDK puts it on every span of the trace as it
// came. An entry that looks like a credential is taken out, where a span begins and where a trace context is sent on.
// The ids, the flags and all other entries stay, so the trace goes on.

import (
	"context"

	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/scrub"
)

// traceStateKey is the key under which the operator's scrubber sees the entries of a tracestate.
const traceStateKey = "tracestate"

// maxEntry is longer than an entry can be: a key and a value of 256 bytes each.
const maxEntry = 1024

// SafeTrace returns ctx with the trace context that it has, made safe. That is ctx itself where there is nothing to
// take out.
func (r *Recorder) SafeTrace(ctx context.Context) (safe context.Context) {
	safe = ctx
	defer r.Guard()
	sc := trace.SpanContextFromContext(ctx)
	if state := r.safeState(sc.TraceState()); state.Len() != sc.TraceState().Len() {
		safe = trace.ContextWithSpanContext(ctx, sc.WithTraceState(state))
	}
	return safe
}

// safeRemote is SafeTrace for an operation that has no span of its own: a span around it stays the one in ctx.
func (r *Recorder) safeRemote(ctx context.Context) context.Context {
	if trace.SpanContextFromContext(ctx).IsRemote() {
		return r.SafeTrace(ctx)
	}
	return ctx
}

// link is a link to sc.
func (r *Recorder) link(sc trace.SpanContext) trace.Link {
	return trace.Link{SpanContext: sc.WithTraceState(r.safeState(sc.TraceState()))}
}

func (r *Recorder) safeState(state trace.TraceState) trace.TraceState {
	if state.Len() == 0 {
		return state
	}
	safe := state
	state.Walk(func(key, value string) bool {
		if r.tells(key + "=" + value) {
			safe = safe.Delete(key)
		}
		return true
	})
	return safe
}

// tells reports whether an entry has a credential in it.
func (r *Recorder) tells(entry string) bool {
	return scrub.Text(entry, maxEntry) != entry || r.scrub != nil && r.ask(traceStateKey, entry) != entry
}
