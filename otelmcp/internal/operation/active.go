// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation

// How many operations are in flight: a gauge that is read when metrics are
// collected. Servers that emit through one meter, with the same attributes, are one
// series there, so they count in one place, and the meter asks that one place: it
// makes no difference to it how many servers there are, or were.

import (
	"context"
	"errors"
	"reflect"
	"runtime"
	"sync"
	"weak"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/otelmcp/otelmcp-go/semconv"
)

// methods are the methods by their names, which Recorders share.
type methods struct{ byName map[string]*method }

// meterKey is what Recorders that share their methods have in common.
type meterKey struct {
	meter      metric.Meter
	attributes attribute.Distinct
}

// counting finds the methods that a meter asks for, for as long as a Recorder has them.
var counting = struct {
	mu sync.Mutex
	m  map[meterKey]weak.Pointer[methods]
	// kept are those that the meter does not let go of.
	kept map[meterKey]*methods
}{m: make(map[meterKey]weak.Pointer[methods]), kept: make(map[meterKey]*methods)}

// countedBy returns the methods that meter asks for how many operations are in flight.
// Recorders that are made at the same time, the first of a meter, can get different
// ones; the meter adds them up.
func countedBy(meter metric.Meter, r *Recorder) (*methods, error) {
	if !reflect.ValueOf(meter).Comparable() {
		m := &methods{newMethods(r)}
		_, err := m.observe(meter)
		return m, err
	}
	key := meterKey{meter, r.distinct()}
	counting.mu.Lock()
	m := counting.m[key].Value()
	counting.mu.Unlock()
	if m != nil {
		return m, nil
	}
	m = &methods{newMethods(r)}
	forever, err := m.observe(meter) // the program's code, and not to be called with a lock
	counting.mu.Lock()
	defer counting.mu.Unlock()
	made := weak.Make(m)
	counting.m[key] = made
	if forever {
		counting.kept[key] = m
		return m, err
	}
	runtime.AddCleanup(m, func(key meterKey) {
		counting.mu.Lock()
		defer counting.mu.Unlock()
		if counting.m[key] == made {
			delete(counting.m, key)
		}
	}, key)
	return m, err
}

// observe has meter ask how many operations are in flight, until m is gone, or forever.
func (m *methods) observe(meter metric.Meter) (forever bool, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("otelmcp: the meter provider panics where callbacks are registered")
		}
	}()
	gauge, err := semconv.NewOTelMCPServerOperationsActive(meter)
	if gauge == nil { // one of several readers may refuse it, and the others not
		return false, err
	}
	byName := m.byName // and not m, which could not go then
	reg, refused := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for _, m := range byName {
			if m.begun.Load() {
				m.report(o, gauge)
			}
		}
		return nil
	}, gauge)
	forever = reg != nil && forwarded(reg)
	if reg != nil && !forever {
		// In a goroutine: it waits for a collection that runs, and other cleanups do not.
		runtime.AddCleanup(m, func(reg metric.Registration) { go unregister(reg) }, reg)
	}
	return forever, errors.Join(err, refused)
}

// forwarded reports whether reg is the global provider's, from before there was one to
// forward to. To end one takes the locks of SetMeterProvider in another order than that
// does, so it stays.
func forwarded(reg metric.Registration) bool { return ofGlobal(reg) }

func unregister(reg metric.Registration) {
	defer func() { _ = recover() }()
	if err := reg.Unregister(); err != nil {
		otel.Handle(err)
	}
}
