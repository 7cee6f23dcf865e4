// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation

// The calls of OpenTelemetry. All of them are in this file, and what they are given has passed the gate. Each is
// guarded by itself: what is broken in an SDK that a program plugs in must cost no more than its own part.

import (
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/semconv"
)

// metricSet is the attribute set of a series: ours, which are safe, and the operator's.
func (r *Recorder) metricSet(safe ...attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(append(slices.Clip(safe), r.extra...)...))
}

// distinct tells Recorders apart by the operator's attributes.
func (r *Recorder) distinct() attribute.Distinct {
	set := attribute.NewSet(r.extra...)
	return set.Equivalent()
}

// startOptions are those that every span of a method begins with. name is one of the protocol's methods, or Other.
func startOptions(kind trace.SpanKind, name string) []trace.SpanStartOption {
	return []trace.SpanStartOption{
		trace.WithSpanKind(kind),
		trace.WithAttributes(semconv.MCPMethodNameKey.String(name)),
	}
}

func (o *Operation) startSpan(opts []trace.SpanStartOption) {
	defer o.rec.Guard()
	ctx, span := o.rec.tracer.Start(o.Context, o.method.name, opts...)
	if ctx != nil {
		o.Context = ctx
	}
	if span != nil {
		o.span = span
		o.recording = span.IsRecording()
	}
}

// AddLink links the operation's span to sc.
func (o *Operation) AddLink(sc trace.SpanContext) {
	if !o.recording || !sc.IsValid() {
		return
	}
	defer o.rec.Guard()
	o.span.AddLink(o.rec.link(sc))
}

func (o *Operation) emitSpan(s *series, safe []attribute.KeyValue, errorType string, message Safe) {
	defer o.rec.Guard()
	if s.spanName != o.method.name && !o.Enrich {
		o.span.SetName(s.spanName)
	}
	o.span.SetAttributes(safe...)
	if errorType != "" && !o.Enrich {
		description := string(message)
		if description == "" {
			description = s.errorType
		}
		o.span.SetStatus(codes.Error, description)
	}
}

func (o *Operation) endSpan() {
	if o.Enrich {
		return
	}
	defer o.rec.Guard()
	o.span.End()
}

// enabled reports whether anybody wants an operation's event, and whether the logger could say so.
func (r *Recorder) enabled(ctx context.Context, sev log.Severity) (on, said bool) {
	defer r.Guard()
	return r.logger.Enabled(ctx, log.EnabledParameters{Severity: sev, EventName: semconv.OTelMCPOperationEventName}), true
}

func (o *Operation) emitEvent(ctx context.Context, s *series, safe []attribute.KeyValue,
	sev log.Severity, sevText string, end time.Time,
) (done bool) {
	defer o.rec.Guard()
	var rec log.Record
	rec.SetEventName(semconv.OTelMCPOperationEventName)
	rec.SetTimestamp(end)
	rec.SetObservedTimestamp(end)
	rec.SetSeverity(sev)
	rec.SetSeverityText(sevText)
	rec.SetBody(attribute.StringValue(s.body))
	rec.AddAttributes(safe...) // in one call: every further one may grow the record again
	o.rec.logger.Emit(ctx, rec)
	return true
}

// Event is an event that is no operation's end: a session, a definition, a
// coverage report.
type Event struct {
	Name     string
	Severity log.Severity
	Body     string // made of Safe texts and of words of ours; must not be empty: some sinks discard such records
	// Attributes pass the gate when the event is emitted, and are not to be used after that.
	Attributes []attribute.KeyValue
	At         time.Time // zero is now

	safe []attribute.KeyValue
}

// Add adds a text that is safe already.
func (e *Event) Add(key attribute.Key, s Safe) {
	if s != "" {
		e.safe = append(e.safe, key.String(string(s)))
	}
}

// AddUser adds who somebody is. u may be nil.
func (e *Event) AddUser(u *SafeUser) {
	if u != nil {
		e.safe = append(e.safe, u.attrs...)
	}
}

// Emit sends e as a log record. A canceled ctx does not lose it.
func (r *Recorder) Emit(ctx context.Context, e Event) {
	defer r.Guard()
	ctx = detach(ctx)
	if !r.logger.Enabled(ctx, log.EnabledParameters{Severity: e.Severity, EventName: e.Name}) {
		return
	}
	now := time.Now()
	if e.At.IsZero() {
		e.At = now
	}
	r.gate(e.Attributes)
	var rec log.Record
	rec.SetEventName(e.Name)
	rec.SetTimestamp(e.At)
	rec.SetObservedTimestamp(now)
	rec.SetSeverity(e.Severity)
	rec.SetSeverityText(e.Severity.String())
	rec.SetBody(attribute.StringValue(line(e.Body)))
	rec.AddAttributes(semconv.EventNameKey.String(e.Name))
	rec.AddAttributes(e.Attributes...)
	rec.AddAttributes(e.safe...)
	rec.AddAttributes(r.extra...)
	r.logger.Emit(ctx, rec)
}

func (o *Operation) recordSizes(ctx context.Context, s *series) {
	defer o.rec.Guard()
	if o.RequestSize > 0 {
		o.rec.requestSize.Record(ctx, int64(o.RequestSize), s.sizes...)
	}
	if o.ResponseSize > 0 {
		o.rec.responseSize.Record(ctx, int64(o.ResponseSize), s.sizes...)
	}
}

func (o *Operation) countMessage(ctx context.Context, s *series) (done bool) {
	defer o.rec.Guard()
	o.rec.messages.Add(ctx, 1, s.messages...)
	return true
}

func (o *Operation) recordDuration(ctx context.Context, s *series, elapsed float64) {
	defer o.rec.Guard()
	h := o.rec.serverDuration
	if o.Role == RoleClient {
		h = o.rec.clientDuration
	}
	h.Record(ctx, elapsed, s.duration...)
}

// report survives what a program plugged into its provider: there is nobody else to
// do so where metrics are collected.
func (m *method) report(o metric.Observer, gauge metric.Int64Observable) {
	defer func() { _ = recover() }()
	o.ObserveInt64(gauge, m.active.Load(), m.observe...)
}

func (r *Recorder) countDecision(ctx context.Context, role Role, d *Decision) {
	defer r.Guard()
	bounded := d.bounded(append(make([]attribute.KeyValue, 0, 5), role.attribute()))
	r.gate(bounded)
	r.decisions.Add(ctx, 1, r.metricSet(bounded...))
	if d.Elapsed > 0 {
		checked := d.checked(append(make([]attribute.KeyValue, 0, 3), role.attribute()))
		r.gate(checked)
		r.authDuration.Record(ctx, d.Elapsed.Seconds(), r.metricSet(checked...))
	}
}

// SessionStarted moves the gauge of open sessions up. A client has none: it is
// how many sessions a server holds.
func (r *Recorder) SessionStarted(ctx context.Context, transport string) {
	r.addSession(ctx, transport, 1)
}

// SessionEnded moves the gauge down and records how long the session was open.
// attrs are not to be used after that.
func (r *Recorder) SessionEnded(ctx context.Context, transport string, d time.Duration, attrs []attribute.KeyValue) {
	r.addSession(ctx, transport, -1)
	defer r.Guard()
	r.gate(attrs)
	r.sessionDuration.Record(detach(ctx), d.Seconds(), r.metricSet(attrs...))
}

// SessionLost moves the gauge down for a session whose start is not
// remembered, so that its duration cannot be known.
func (r *Recorder) SessionLost(ctx context.Context, transport string) {
	r.addSession(ctx, transport, -1)
}

func (r *Recorder) addSession(ctx context.Context, transport string, n int64) {
	if r.client {
		return
	}
	defer r.Guard()
	on := []attribute.KeyValue{semconv.OTelMCPTransportKey.String(transport)}
	r.gate(on)
	r.sessionsActive.Add(detach(ctx), n, r.metricSet(on...))
}

// Refuse counts something that a bounded table did not take. reason is one of
// semconv's otelmcp.refused.reason values.
func (r *Recorder) Refuse(reason string) {
	defer func() { _ = recover() }() // the counter may be what panics
	r.refused.Add(context.Background(), 1, r.refusals[reason]...)
}
