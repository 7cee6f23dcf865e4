// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Signals that go nowhere: what coverage says of them, and what is said to whoever runs
// a program that perhaps never meant it so.

import (
	"errors"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
)

const gapProviders = "call exporters.Setup, which sets all three providers, or give one to "

// gapBySignal is what is missing where a signal goes nowhere, in the order in which it is
// said.
var gapBySignal = []struct {
	signal operation.Signals
	gap    string
}{
	{operation.Traces, "no tracer provider: spans go nowhere: " + gapProviders + "otel.SetTracerProvider or otelmcp.WithTracerProvider"},
	{operation.Metrics, "no meter provider: metrics go nowhere: " + gapProviders + "otel.SetMeterProvider or otelmcp.WithMeterProvider"},
	{operation.Logs, "no logger provider: events go nowhere: " + gapProviders + "otel.SetLoggerProvider or otelmcp.WithLoggerProvider"},
}

func gapsOf(unheard operation.Signals) (gaps []string) {
	for _, g := range gapBySignal {
		if unheard&g.signal != 0 {
			gaps = append(gaps, g.gap)
		}
	}
	return gaps
}

// hears looks, when there is something to record, whether all signals go somewhere, and
// reports whether that has changed since before, which are those that did not.
func (b base) hears(before *atomic.Uint32) (changed bool) {
	unheard := uint32(b.rec.Unheard())
	if unheard != 0 {
		b.complain()
	}
	return before.Load() != unheard && before.Swap(unheard) != unheard
}

// complained are the signals that the process was told of.
var complained atomic.Uint32

// complain says, when there is something to record, which signals go nowhere because
// nobody has set a provider: once in a process for each of them, to OpenTelemetry's error
// handler, which writes to stderr unless the program has set another. A no-op that the
// program gave itself was its own wish, and is not complained of.
func (b base) complain() {
	unset := b.rec.Unset()
	if unset == 0 || operation.Signals(complained.Load())&unset == unset {
		return
	}
	news := unset &^ operation.Signals(complained.Or(uint32(unset)))
	if news == 0 {
		return
	}
	defer b.rec.Guard()
	otel.Handle(errors.New("otelmcp: " + strings.Join(gapsOf(news), "; ")))
}
