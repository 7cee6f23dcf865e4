// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The course of the demo: receiver, authorization server, MCP server, one
// scenario after the other; then all is shut down in the order in which telemetry
// flows, checked and drawn.

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/examples/internal/otlpview"
	"github.com/otelmcp/otelmcp-go/examples/oauth/internal/authserver"
	"github.com/otelmcp/otelmcp-go/exporters"
)

const (
	limit     = time.Minute     // for all scenarios
	stopTime  = 5 * time.Second // for a server to finish what is in flight
	flushTime = 5 * time.Second // to send off what is left

	// scopeOther is a scope that the MCP server has no use for.
	scopeOther = "profile"
)

// demo is one run of the program.
type demo struct {
	otlpview.Renderer      // where the result is drawn
	serve             bool // stay up after the scenarios
}

func (d demo) run(ctx context.Context) (err error) {
	rec, stopReceiver, err := d.Receive(ctx, d.serve) // no receiver when telemetry goes elsewhere
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopReceiver()) }()

	telemetry, err := exporters.Setup(ctx, exporters.WithResource(attribute.String("service.name", "oauth-example")))
	if err != nil {
		return err
	}
	open := true
	end := func() error { // sends off what is left, once
		if !open {
			return nil
		}
		open = false
		flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
		defer cancel()
		return telemetry.Shutdown(flush)
	}
	defer func() { err = errors.Join(err, end()) }()

	w, stop, err := start(ctx)
	if err != nil {
		return err
	}
	played, err := d.play(ctx, w)
	if err != nil {
		return errors.Join(err, stop())
	}
	if !d.serve {
		if err := errors.Join(stop(), end()); err != nil {
			return err
		}
		return d.result(played, rec)
	}
	flush, cancel := context.WithTimeout(ctx, flushTime)
	err = telemetry.ForceFlush(flush)
	cancel()
	if err = errors.Join(err, d.result(played, rec)); err == nil {
		d.invite(w)
		d.watch(ctx, rec)
		d.Line()
		d.Line("stopping")
	}
	return errors.Join(err, stop())
}

// start starts both servers. Whoever calls it has to call stop, once.
func start(ctx context.Context) (w *world, stop func() error, err error) {
	var listeners [2]net.Listener
	for k := range listeners {
		if listeners[k], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, nil, err // which ends the program
		}
	}
	w = &world{resource: "http://" + listeners[1].Addr().String() + endpointPath}
	password := rand.Text()
	w.authority, err = authserver.New(authserver.Config{
		Issuer: "http://" + listeners[0].Addr().String(),
		Users:  []authserver.User{{Name: "alice"}, {Name: "bob"}, {Name: "carol", Roles: []string{roleAdmin}}},
		Scopes: []string{scopeRead, scopeWrite, scopeOther},
		// What may write is asked about at every use, so that it can be revoked.
		Opaque:        func(scopes []string) bool { return slices.Contains(scopes, scopeWrite) },
		Resources:     []string{w.resource},
		Introspectors: map[string]string{"notes": password},
	})
	if err != nil {
		return nil, nil, errors.Join(err, listeners[0].Close(), listeners[1].Close())
	}
	tokens, err := newVerifier(ctx, w.resource, w.authority.Issuer, "notes", password)
	if err != nil {
		return nil, nil, errors.Join(err, listeners[0].Close(), listeners[1].Close())
	}
	stopAuthority := serve(ctx, w.authority, listeners[0], nil)

	srv := newServer()
	mcpHandler := server.NewStreamableHTTPServer(srv)
	stopNotes := serve(ctx, protect(srv, mcpHandler, w.resource, w.authority.Issuer, tokens.Verify), listeners[1], mcpHandler.Shutdown)

	w.alice, w.bob = newUser("alice", w.resource), newUser("bob", w.resource)
	return w, func() error { return errors.Join(w.close(), stopNotes(), stopAuthority()) }, nil
}

// serve serves until the function that it returns is called. first, if any, ends
// what an HTTP server would wait for.
func serve(ctx context.Context, h http.Handler, ln net.Listener, first func(context.Context) error) (stop func() error) {
	web := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- web.Serve(ln) }()
	return func() error {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		var err error
		if first != nil {
			err = first(grace)
		}
		err = errors.Join(err, web.Shutdown(grace))
		if end := <-served; !errors.Is(end, http.ErrServerClosed) {
			err = errors.Join(err, end)
		}
		return err
	}
}

// close ends the one session there is.
func (w *world) close() error {
	if w.alice.mcp == nil {
		return nil
	}
	return w.alice.mcp.Close()
}

// play runs the scenarios, and returns their traces.
func (d demo) play(ctx context.Context, w *world) (traces []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	d.Line("Authorization server ", w.authority.Issuer, ", MCP server ", w.resource)
	d.Line()
	for k := range scenarios {
		s := &scenarios[k]
		trace, err := s.play(ctx, w)
		if err != nil {
			return nil, fmt.Errorf("scenario %d, %s: %w", k+1, s.name, err)
		}
		traces = append(traces, trace)
		d.Line(fmt.Sprintf("%3d  %-29s ", k+1, s.name), s.story)
	}
	return traces, nil
}

// result draws what arrived, or says where to look for it.
func (d demo) result(traces []string, rec *otlpview.Receiver) error {
	d.Line()
	if rec == nil {
		d.Line("Look these traces up:")
		for k, id := range traces {
			d.Line("  ", id, "  ", scenarios[k].name)
		}
		return nil
	}
	got := rec.Snapshot()
	records := recordsOf(got, traces)
	d.table(records)
	d.Line()
	if problems := missing(records, traces); len(problems) > 0 {
		hint := ""
		if variables := otlpview.OTelVariables(); len(variables) > 0 {
			hint = "\n(set in the environment: " + strings.Join(variables, ", ") + ")"
		}
		return fmt.Errorf("the decision log is not as it should be:\n  %s%s", strings.Join(problems, "\n  "), hint)
	}
	refused := 0
	for _, s := range scenarios {
		refused += len(s.refusals)
	}
	d.Line(d.Paint(otlpview.Green, "✓ complete"), fmt.Sprintf(
		": %d scenarios, %d refusals, each with the answer and with the one record that it should have.", len(scenarios), refused))
	return nil
}

// invite says how to use the servers that stay up.
func (d demo) invite(w *world) {
	d.Line()
	d.Line(d.Paint(otlpview.Bold, "Both servers stay up until Ctrl-C. The MCP server: "), d.Paint(otlpview.Cyan, w.resource))
	d.Line("Add it to an MCP client that knows OAuth, as a streamable HTTP server. Who signs in is alice, without a password.")
	d.Line("The authorization server: ", w.authority.Issuer, "/.well-known/oauth-authorization-server")
}

// watch draws each new decision, until ctx ends.
func (d demo) watch(ctx context.Context, rec *otlpview.Receiver) {
	if rec == nil {
		<-ctx.Done()
		return
	}
	drawn := map[*otlpview.Event]bool{}
	for _, e := range rec.Snapshot().Events {
		drawn[e] = true
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		got := rec.Snapshot()
		present := map[*otlpview.Event]bool{}
		var fresh []*record
		for _, r := range recordsOf(got, nil) {
			present[r.Event] = true
			if !drawn[r.Event] {
				fresh = append(fresh, r)
			}
		}
		drawn = present
		if len(fresh) > 0 {
			d.Line()
			d.table(fresh)
		}
	}
}
