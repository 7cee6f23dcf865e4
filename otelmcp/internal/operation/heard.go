// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation

// Which signals anybody can listen to. A signal goes nowhere where the API's no-op
// stands for it, and for as long as it goes to the global provider and nobody has set
// one. A program may do that at any time, so who waits for it is asked again.

import (
	"reflect"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/log"
	lognoop "go.opentelemetry.io/otel/log/noop"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// Signals is a set of OpenTelemetry's signals.
type Signals uint32

// The signals.
const (
	Traces Signals = 1 << iota
	Metrics
	Logs

	allSignals = Traces | Metrics | Logs
)

// heard is which signals go somewhere.
type heard struct {
	// waiting are the signals that wait for a global provider, and deaf those that go
	// nowhere, whatever comes. A signal only ever leaves waiting.
	waiting, deaf atomic.Uint32
	mu            sync.Mutex // serializes who asks again
	tracers       trace.TracerProvider
	meters        metric.MeterProvider
	loggers       log.LoggerProvider
	again         func(Signals) any // returns what the provider of one signal gives now
}

// hear begins with what the providers have given.
func (h *heard) hear(tracer trace.Tracer, meter metric.Meter, logger log.Logger) {
	for signal, p := range map[Signals]struct{ provider, gave any }{
		Traces: {h.tracers, tracer}, Metrics: {h.meters, meter}, Logs: {h.loggers, logger},
	} {
		switch {
		case ofGlobal(p.provider):
			h.waiting.Or(uint32(signal))
		case isNoop(p.gave):
			h.deaf.Or(uint32(signal))
		}
	}
	h.ask()
}

// isNoop reports whether v is the API's tracer, meter or logger that does nothing.
func isNoop(v any) bool {
	switch v.(type) {
	case tracenoop.Tracer, metricnoop.Meter, lognoop.Logger:
		return true
	}
	return false
}

// ofGlobal reports whether v is the provider that is the global one until another is set, or was given by it
// before that.
func ofGlobal(v any) bool {
	t := reflect.TypeOf(v)
	return t != nil && t.Kind() == reflect.Pointer && t.Elem().PkgPath() == "go.opentelemetry.io/otel/internal/global"
}

// Unheard returns the signals that go nowhere as of now.
func (r *Recorder) Unheard() Signals {
	h := &r.heard
	if w := Signals(h.waiting.Load()); w != 0 && h.anySet(w) {
		h.ask()
	}
	return Signals(h.waiting.Load() | h.deaf.Load())
}

// Unset returns those of them that wait for a global provider. Nobody chose that.
func (r *Recorder) Unset() Signals { return Signals(r.heard.waiting.Load()) }

// Observed reports whether anybody listens to what operations emit now. Without that an
// adapter need not make them. It can become true at any time, and then stays so: what a
// provider does with a record can depend on its severity and its context, which are not
// known before its end.
func (r *Recorder) Observed() bool { return r.Unheard() != allSignals }

// Observable reports whether anybody listens, or may yet. What an adapter installs once
// depends on that.
func (r *Recorder) Observable() bool { return Signals(r.heard.deaf.Load()) != allSignals }

// anySet reports whether there is a global provider now for one of the signals.
func (h *heard) anySet(waiting Signals) bool {
	return waiting&Traces != 0 && otel.GetTracerProvider() != h.tracers ||
		waiting&Metrics != 0 && otel.GetMeterProvider() != h.meters ||
		waiting&Logs != 0 && otel.GetLoggerProvider() != h.loggers
}

// ask asks the providers that are waited for once more. Those that have been set since
// give what the program's own gives.
func (h *heard) ask() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, signal := range [...]Signals{Traces, Metrics, Logs} {
		if Signals(h.waiting.Load())&signal == 0 {
			continue
		}
		gives := h.again(signal)
		if isNoop(gives) {
			h.deaf.Or(uint32(signal))
		}
		if !ofGlobal(gives) {
			h.waiting.And(^uint32(signal))
		}
	}
}
