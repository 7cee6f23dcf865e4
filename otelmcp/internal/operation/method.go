// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation

// What is known of a method before any message carries it: whether it is one
// of MCP's, and the options that starting an operation with it needs, built
// once so that the hot path builds none.

import (
	"sync/atomic"

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

// method finds what is known of name; an unknown one shares the entry of
// Other.
func (r *Recorder) method(name string) *method {
	if m, ok := r.methods.byName[name]; ok {
		return m
	}
	return r.methods.byName[Other]
}
