// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation

// What is known of a method before any message carries it: whether it is one
// of MCP's, and the options that starting an operation with it needs, built
// once so that the hot path builds none.

import (
	"context"
	"errors"
	"reflect"
	"runtime"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/semconv"
)

// Other stands on metrics and in span names for a name that a peer chose and
// nobody registered.
const Other = "_OTHER"

type method struct {
	name  string // bounded: an MCP method, or Other
	start [roles][]trace.SpanStartOption

	// How many of it are in flight, which is read when metrics are collected: the
	// message pays for no measurement.
	active  atomic.Int64
	begun   atomic.Bool // there has been one
	observe []metric.ObserveOption
}

func newMethods(r *Recorder) map[string]*method {
	m := make(map[string]*method, len(semconv.MCPMethodNames)+1)
	for _, name := range &semconv.MCPMethodNames {
		m[name] = newMethod(r, name)
	}
	m[Other] = newMethod(r, Other)
	return m
}

func newMethod(r *Recorder, name string) *method {
	return &method{
		name: name,
		start: [roles][]trace.SpanStartOption{
			RoleServer: startOptions(trace.SpanKindServer, name),
			RoleClient: startOptions(trace.SpanKindClient, name),
		},
		observe: []metric.ObserveOption{r.metricSet(semconv.MCPMethodNameKey.String(name))},
	}
}

// enter counts one in, and leave counts it out.
func (m *method) enter() {
	m.active.Add(1)
	if !m.begun.Load() {
		m.begun.Store(true)
	}
}

func (m *method) leave() { m.active.Add(-1) }

// observeActive has meter ask how many operations are in flight, until r is gone.
// Servers that share a provider add up.
func (r *Recorder) observeActive(meter metric.Meter) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("otelmcp: the meter provider panics where callbacks are registered")
		}
	}()
	gauge, err := semconv.NewOTelMCPServerOperationsActive(meter)
	if gauge == nil { // one of several readers may refuse it, and the others not
		return err
	}
	methods := r.methods // and not r, which could not go then
	reg, refused := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for _, m := range methods {
			if m.begun.Load() {
				m.report(o, gauge)
			}
		}
		return nil
	}, gauge)
	if reg != nil && !forwarded(reg) {
		// In a goroutine: it waits for a collection that runs, and other cleanups do not.
		runtime.AddCleanup(r, func(reg metric.Registration) { go unregister(reg) }, reg)
	}
	return errors.Join(err, refused)
}

// forwarded reports whether reg is the global provider's, from before there was one to
// forward to. To end one takes the locks of SetMeterProvider in another order than that
// does, so it stays: such servers are made as a program starts.
func forwarded(reg metric.Registration) bool {
	t := reflect.TypeOf(reg)
	return t.Kind() == reflect.Pointer && t.Elem().PkgPath() == "go.opentelemetry.io/otel/internal/global"
}

func unregister(reg metric.Registration) {
	defer func() { _ = recover() }()
	if err := reg.Unregister(); err != nil {
		otel.Handle(err)
	}
}

// method finds what is known of name; an unknown one shares the entry of
// Other.
func (r *Recorder) method(name string) *method {
	if m, ok := r.methods[name]; ok {
		return m
	}
	return r.methods[Other]
}
