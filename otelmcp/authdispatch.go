// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Decisions that fall within mcp-go: its tool and prompt filters, and the hooks
// of the program that may refuse a request.

import (
	"context"
	"encoding/json"

	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/jsonrpc"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// filtered records what a filter decided about m, once: middleware may run a
// handler again, and that of a task runs beside.
func (m *message) filtered(ctx context.Context, decision, reason string) {
	m.filter.Do(func() {
		m.decide(ctx, &operation.Decision{
			Kind:     semconv.OTelMCPAuthKindAuthorization,
			Decision: decision,
			Reason:   reason,
			Policy:   m.i.cfg.filterPolicy,
		})
	})
}

// hidden is for a tool or a prompt that is there, but not for who asked.
func (m *message) hidden(ctx context.Context) {
	m.Outcome = semconv.OTelMCPOutcomeDenied
	m.filtered(ctx, semconv.OTelMCPAuthDecisionDeny, semconv.OTelMCPAuthReasonHidden)
}

// passed is for one that the filters let through.
func (m *message) passed(ctx context.Context) {
	m.filtered(ctx, semconv.OTelMCPAuthDecisionAllow, semconv.OTelMCPAuthReasonOK)
}

// askInitialization calls a hook of the program's, and records that it refused a
// request, unless the hook has told that itself.
func (i *Instrumentation) askInitialization(ctx context.Context, id, raw any, hook server.OnRequestInitializationFunc) error {
	a := &arriving{Context: ctx, i: i, raw: raw}
	a.about = a
	if x, ok := ctx.Value(subjectKey{}).(*exchange); ok && x.i == i && !i.ownCall(ctx) && x.awaitsDispatch() {
		a.about = x
	}
	before := a.about.decisions().Last()
	err := hook(a, id, raw)
	if err != nil {
		i.refusedInitialization(a, a.about, before, err)
	}
	return err
}

func (i *Instrumentation) refusedInitialization(ctx context.Context, about subject, before *operation.Decision, err error) {
	defer i.rec.Guard()
	if last := about.decisions().Last(); last != before && last.Refused() {
		return
	}
	about.decide(ctx, &operation.Decision{
		Kind:     semconv.OTelMCPAuthKindAuthorization,
		Decision: semconv.OTelMCPAuthDecisionDeny,
		Reason:   semconv.OTelMCPAuthReasonPolicy,
		Policy:   "OnRequestInitialization",
		Message:  errorText(err),
	})
}

// arriving is a request that dispatch does not have yet. It is the context that the
// program's hook is called in.
type arriving struct {
	context.Context
	i   *Instrumentation
	raw any
	// about is what decisions are about: the HTTP exchange that the request came in,
	// or itself.
	about subject
	made  operation.Decisions
}

// arrivingKey finds the request of one server: the hook of one can call another.
type arrivingKey struct{ i *Instrumentation }

// arrivingOf returns the request of ours that a hook of the program's, called in ctx,
// was told of.
func (i *Instrumentation) arrivingOf(ctx context.Context) *arriving {
	a, _ := ctx.Value(arrivingKey{i}).(*arriving)
	return a
}

// Value makes it findable from the contexts that derive from it.
func (a *arriving) Value(key any) any {
	switch k := key.(type) {
	case subjectKey:
		return a.about
	case arrivingKey:
		if k.i == a.i {
			return a
		}
	}
	return a.Context.Value(key)
}

func (a *arriving) decisions() *operation.Decisions { return &a.made }

func (a *arriving) decide(ctx context.Context, d *operation.Decision) {
	complete(d, whoIn(a.Context, &a.made))
	a.made.Add(d)
	m := &message{}
	m.init(a.i, a.Context)
	a.describe(m, d)
	m.Decide(ctx, d)
}

// describe fills what m, which is not recorded, tells of the request, and lets the
// line that it came on know of d.
func (a *arriving) describe(m *message, d *operation.Decision) {
	defer a.i.rec.Guard()
	l, _ := a.i.edgeOf(a.Context).(*lines)
	if a.i.ownCall(a.Context) {
		l = nil
	}
	raw, _ := a.raw.(json.RawMessage)
	var e jsonrpc.Envelope
	if len(raw) <= maxLook {
		e = jsonrpc.Parse(raw)
	} else {
		e, _ = jsonrpc.Head(raw[:maxLook])
	}
	m.describe(&e, nil)
	m.Transport = semconv.OTelMCPTransportOther
	a.i.describePeer(m, server.ClientSessionFromContext(a.Context))
	a.i.identify(&m.Operation)
	m.Publish(operation.Parsed)
	if l != nil {
		l.decided(a.Context, d)
	}
}
