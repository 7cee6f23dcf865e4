// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation_test

// The count of what is in flight, which the meter provider asks for.

import (
	"context"
	"runtime"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
)

func active(c *telemetrytest.Capture) int64 {
	return c.CounterValue("otelmcp.server.operations.active")
}

func TestActiveOfTwoServersAddsUp(t *testing.T) {
	c := telemetrytest.New(t)
	one, two := newRecorder(c), newRecorder(c)
	a := begin(t.Context(), one, operation.RoleServer, "tools/list")
	b := begin(t.Context(), two, operation.RoleServer, "tools/list")
	d := begin(t.Context(), two, operation.RoleServer, "what/ever")
	if n := active(c); n != 3 {
		t.Errorf("%d are active, want 3", n)
	}
	b.Finish()
	if n := active(c); n != 2 {
		t.Errorf("%d are active, want 2", n)
	}
	a.Finish()
	d.Finish()
	if n := active(c); n != 0 {
		t.Errorf("%d are active, want 0", n)
	}
}

func TestActiveIsOfServers(t *testing.T) {
	c := telemetrytest.New(t)
	o := begin(t.Context(), newRecorder(c, func(cfg *operation.Config) { cfg.Client = true }), operation.RoleServer, "ping")
	defer o.Finish()
	if n := active(c); n != 0 {
		t.Errorf("a client reports %d active operations of servers", n)
	}
}

// registrations stands in front of a meter provider and sees what registers.
type registrations struct {
	metric.MeterProvider
	gone     chan struct{} // closed when a callback is unregistered
	register func()        // if set, runs where a callback is registered
	observe  func()        // if set, runs where a callback observes
}

func (p registrations) Meter(name string, opts ...metric.MeterOption) metric.Meter {
	return registering{p.MeterProvider.Meter(name, opts...), p}
}

type registering struct {
	metric.Meter
	of registrations
}

func (m registering) RegisterCallback(f metric.Callback, of ...metric.Observable) (metric.Registration, error) {
	if m.of.register != nil {
		m.of.register()
	}
	reg, err := m.Meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		return f(ctx, observing{o, m.of})
	}, of...)
	return registration{reg, m.of.gone}, err
}

type observing struct {
	metric.Observer
	of registrations
}

func (o observing) ObserveInt64(of metric.Int64Observable, v int64, opts ...metric.ObserveOption) {
	if o.of.observe != nil {
		o.of.observe()
	}
	o.Observer.ObserveInt64(of, v, opts...)
}

type registration struct {
	metric.Registration
	gone chan struct{}
}

func (r registration) Unregister() error {
	defer close(r.gone)
	return r.Registration.Unregister()
}

// A program that makes a server for each of its users, on one meter provider,
// leaves nothing behind in it.
func TestActiveGoesWithItsServer(t *testing.T) {
	c := telemetrytest.New(t)
	gone := make(chan struct{})
	serve := func() {
		r := newRecorder(c, func(cfg *operation.Config) {
			cfg.MeterProvider = registrations{MeterProvider: cfg.MeterProvider, gone: gone}
		})
		o := begin(t.Context(), r, operation.RoleServer, "tools/list")
		runtime.GC()
		if n := active(c); n != 1 {
			t.Errorf("%d are active, want 1", n)
		}
		o.Finish()
	}
	serve()
	deadline := time.After(time.Minute)
	for {
		runtime.GC()
		select {
		case <-gone:
			return
		case <-deadline:
			t.Fatal("the server is gone, and its callback is not")
		case <-time.After(time.Millisecond):
		}
	}
}

func TestActiveWhereRegisteringPanics(t *testing.T) {
	c := telemetrytest.New(t)
	r := newRecorder(c, func(cfg *operation.Config) {
		cfg.MeterProvider = registrations{MeterProvider: cfg.MeterProvider, register: func() { panic("broken provider") }}
	})
	begin(t.Context(), r, operation.RoleServer, "tools/list").Finish()
	if n := c.CounterValue("otelmcp.server.messages"); n != 1 {
		t.Errorf("%d messages counted, want 1", n)
	}
}

func TestActiveWhereObservingPanics(t *testing.T) {
	c := telemetrytest.New(t)
	broken := true
	r := newRecorder(c, func(cfg *operation.Config) {
		cfg.MeterProvider = registrations{MeterProvider: cfg.MeterProvider, gone: make(chan struct{}), observe: func() {
			if broken {
				broken = false
				panic("broken view")
			}
		}}
	})
	one, two := begin(t.Context(), r, operation.RoleServer, "tools/list"), begin(t.Context(), r, operation.RoleServer, "ping")
	if n := active(c); n != 1 {
		t.Errorf("%d of 2 are reported where one cannot be, want 1", n)
	}
	if n := active(c); n != 2 {
		t.Errorf("%d are active, want 2", n)
	}
	one.Finish()
	two.Finish()
}

// collecting is a provider whose meters are made while garbage is collected.
type collecting struct{ metric.MeterProvider }

func (p collecting) Meter(name string, opts ...metric.MeterOption) metric.Meter {
	for range 5 {
		runtime.GC()
		time.Sleep(10 * time.Millisecond) // for cleanups to run into what holds the lock now
	}
	return p.MeterProvider.Meter(name, opts...)
}

// A server that was made and dropped before the program set its global provider does
// not get into the way of that.
func TestActiveOfGlobalProvider(t *testing.T) {
	c := telemetrytest.New(t)
	newRecorder(c, func(cfg *operation.Config) { cfg.MeterProvider = otel.GetMeterProvider() })
	set := make(chan struct{})
	go func() {
		defer close(set)
		otel.SetMeterProvider(collecting{c.MeterProvider()})
	}()
	select {
	case <-set:
	case <-time.After(30 * time.Second):
		t.Fatal("the global provider cannot be set")
	}
}
