// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation

// Decisions: that somebody was let in or kept out, as an event, a count, and
// facts on the operation that was decided.

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/scrub"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// Decision is an authentication or authorization decision, in semconv's
// otelmcp.auth.* values.
type Decision struct {
	Kind, Decision, Reason, Mechanism string
	// Facts are further attributes of the event.
	Facts []attribute.KeyValue
}

// Decide records a decision about o, and puts it on o.
func (o *Operation) Decide(d Decision) {
	r := o.rec
	defer r.Guard()
	decided := []attribute.KeyValue{
		semconv.OTelMCPAuthKindKey.String(d.Kind),
		semconv.OTelMCPAuthDecisionKey.String(d.Decision),
		semconv.OTelMCPAuthReasonKey.String(d.Reason),
		semconv.OTelMCPAuthMechanismKey.String(d.Mechanism),
	}
	o.Facts = append(o.Facts, decided...)
	attrs := make([]attribute.KeyValue, 0, len(decided)+len(o.Peer)+len(d.Facts)+8)
	attrs = append(attrs, decided...)
	attrs = append(attrs,
		semconv.OTelMCPRoleKey.String(o.Role.String()),
		semconv.OTelMCPTransportKey.String(o.Transport))
	if o.Method.Text != "" {
		attrs = append(attrs, semconv.MCPMethodNameKey.String(o.clean(semconv.MCPMethodNameKey, scrub.Name(o.Method.Text, MaxName))))
	}
	if o.RequestID != "" {
		attrs = append(attrs, semconv.JSONRPCRequestIDKey.String(o.clean(semconv.JSONRPCRequestIDKey, scrub.Name(o.RequestID, MaxName))))
	}
	if o.SessionID != "" {
		attrs = append(attrs, semconv.MCPSessionIDKey.String(o.SessionID))
	}
	if o.UserID != "" {
		attrs = append(attrs, semconv.UserIDKey.String(o.UserID))
	}
	if o.HTTPStatus != 0 {
		attrs = append(attrs, semconv.HTTPResponseStatusCodeKey.Int(o.HTTPStatus))
	}
	attrs = append(attrs, o.Peer...)
	attrs = append(attrs, d.Facts...)
	r.Emit(o.Context, Event{
		Name:       semconv.OTelMCPAuthDecisionEventName,
		Severity:   decisionSeverity(d.Decision),
		Body:       d.Kind + ": " + d.Decision + " (" + d.Reason + ")",
		Attributes: attrs,
	})
	r.decisions.Add(detach(o.Context), 1, metric.WithAttributes(append(decided, r.extra...)...))
}

func decisionSeverity(decision string) log.Severity {
	switch decision {
	case semconv.OTelMCPAuthDecisionAllow:
		return log.SeverityInfo
	case semconv.OTelMCPAuthDecisionError:
		return log.SeverityError
	}
	return log.SeverityWarn
}
