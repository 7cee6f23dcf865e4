// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Signals that go nowhere: that is said, and who listens later misses nothing of what
// comes then.

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/client/transport"
	"go.opentelemetry.io/otel"
	lognoop "go.opentelemetry.io/otel/log/noop"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

const (
	noTraces  = "no tracer provider: spans go nowhere"
	noMetrics = "no meter provider: metrics go nowhere"
	noLogs    = "no logger provider: events go nowhere"
)

// missing are those of the gaps that are about signals.
func missing(gaps []string) (about []string) {
	for _, g := range gaps {
		if strings.HasPrefix(g, "no ") && strings.Contains(g, " provider: ") {
			about = append(about, g[:strings.Index(g, " nowhere")+len(" nowhere")])
		}
	}
	return about
}

// nilTracerProvider gives nothing.
type nilTracerProvider struct{ tracenoop.TracerProvider }

func (nilTracerProvider) Tracer(string, ...trace.TracerOption) trace.Tracer { return nil }

// A provider that the program gave and that does nothing is a gap of coverage, of its own
// signal and of no other.
func TestSilentSignals(t *testing.T) {
	for name, c := range map[string]struct {
		opts []otelmcp.Option
		want []string
	}{
		"none":    {nil, nil},
		"traces":  {[]otelmcp.Option{otelmcp.WithTracerProvider(tracenoop.NewTracerProvider())}, []string{noTraces}},
		"metrics": {[]otelmcp.Option{otelmcp.WithMeterProvider(metricnoop.NewMeterProvider())}, []string{noMetrics}},
		"logs":    {[]otelmcp.Option{otelmcp.WithLoggerProvider(lognoop.NewLoggerProvider())}, []string{noLogs}},
		"nothing": {[]otelmcp.Option{otelmcp.WithTracerProvider(nilTracerProvider{})}, []string{noTraces}},
		"panics":  {[]otelmcp.Option{otelmcp.WithTracerProvider(panickingTracerProvider{})}, []string{noTraces}},
		"all": {[]otelmcp.Option{
			otelmcp.WithTracerProvider(tracenoop.NewTracerProvider()),
			otelmcp.WithMeterProvider(metricnoop.NewMeterProvider()),
			otelmcp.WithLoggerProvider(lognoop.NewLoggerProvider()),
		}, []string{noTraces, noMetrics, noLogs}},
	} {
		t.Run(name, func(t *testing.T) {
			capture := telemetrytest.New(t, telemetrytest.WithoutCheck())
			s := newEverything()
			i := otelmcp.Instrument(s.MCPServer, into(capture, c.opts...)...)
			for range 2 {
				if got := missing(i.Coverage().Gaps); !slices.Equal(got, c.want) {
					t.Errorf("%q is missing, want %q", got, c.want)
				}
				connect(t, s.MCPServer, direct, legacy).tool(t.Context(), "echo", "")
			}
			if name == "logs" || name == "all" {
				return
			}
			events := capture.EventsNamed(semconv.OTelMCPCoverageEventName)
			if last := event(events[len(events)-1]); len(events) != 1 || !slices.Equal(missing(i.Coverage().Gaps), c.want) ||
				len(c.want) > 0 && !strings.Contains(last["body"], c.want[0]) {
				t.Errorf("%d events, the last one says %q", len(events), last["body"])
			}
			// A client says the same of itself.
			capture.Reset()
			otelmcp.WrapTransport(transport.NewInProcessTransport(s.MCPServer), into(capture, c.opts...)...)
			said := event(only(t, capture.EventsNamed(semconv.OTelMCPCoverageEventName)))["body"]
			for _, about := range []string{noTraces, noMetrics, noLogs} {
				if strings.Contains(said, about) != slices.Contains(c.want, about) {
					t.Errorf("the client says %q, want %q", said, c.want)
				}
			}
		})
	}
}

// globalChild names the case that a test binary is to play: global providers can be set
// once in a process.
const globalChild = "OTELMCP_TEST_GLOBAL_PROVIDERS"

// TestGlobalProviders plays each case in a process of its own, whose stderr is what whoever
// runs a program sees. Nothing is ever written to stdout.
func TestGlobalProviders(t *testing.T) {
	for name, c := range map[string]struct {
		play func(*testing.T)
		said []string // each once; nothing else
	}{
		"nobody sets them":         {unsetForGood, []string{noTraces, noMetrics, noLogs}},
		"set after Instrument":     {setLater, nil},
		"set while it serves":      {setWhileServing, []string{noTraces, noMetrics, noLogs}},
		"set while stdio serves":   {setWhileStdioServes, []string{noTraces, noMetrics, noLogs}},
		"a private LoggerProvider": {privateLogger, []string{noLogs}},
		"no-ops are set":           {globalNoops, nil},
		"no-ops are given":         {givenNoops, nil},
		"of a client":              {unsetClient, []string{noTraces, noMetrics, noLogs}},
		"the program hears it":     {ownErrorHandler, nil},
		"a decision alone":         {decisionAlone, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if os.Getenv(globalChild) == name {
				c.play(t)
				return
			}
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			child := exec.CommandContext(ctx, must(os.Executable()), "-test.run=^TestGlobalProviders$/^"+strings.ReplaceAll(name, " ", "_")+"$")
			child.Env = append(os.Environ(), globalChild+"="+name)
			var stdout, stderr bytes.Buffer
			child.Stdout, child.Stderr = &stdout, &stderr
			if err := child.Run(); err != nil {
				t.Fatalf("%v\n%s%s", err, stdout.Bytes(), stderr.Bytes())
			}
			if out := stdout.String(); strings.Contains(out, "otelmcp: ") || !strings.HasPrefix(out, "PASS") {
				t.Errorf("it wrote to stdout:\n%s", stdout.Bytes())
			}
			for _, about := range []string{noTraces, noMetrics, noLogs} {
				n := 0
				if slices.Contains(c.said, about) {
					n = 1
				}
				if got := strings.Count(stderr.String(), about); got != n {
					t.Errorf("%q was said %d times, want %d:\n%s", about, got, n, stderr.Bytes())
				}
			}
			if n := strings.Count(stderr.String(), "otelmcp: "); n != min(1, len(c.said)) {
				t.Errorf("there are %d messages on stderr:\n%s", n, stderr.Bytes())
			}
		})
	}
}

func unsetForGood(t *testing.T) {
	for range 3 { // as servers are made for each session
		s := newEverything()
		i := otelmcp.Instrument(s.MCPServer)
		for _, over := range []string{direct, stdio, streamable} {
			p := connect(t, s.MCPServer, over, legacy)
			for range 3 {
				if r := p.tool(t.Context(), "echo", ""); r.Result == nil {
					t.Fatalf("%+v", r)
				}
			}
			p.close()
		}
		c := i.Coverage()
		if got := missing(c.Gaps); !slices.Equal(got, []string{noTraces, noMetrics, noLogs}) {
			t.Errorf("%q is missing", got)
		}
		// What carried messages is seen all the same.
		if want := []string{direct, stdio, streamable}; !slices.Equal(c.Transports, slices.Sorted(slices.Values(want))) || hasGap(c, "before it dispatches them, and notifications, are not seen without an edge: serve with") {
			t.Errorf("%+v", c)
		}
	}
}

func setGlobals(c *telemetrytest.Capture) {
	otel.SetTracerProvider(c.TracerProvider())
	otel.SetMeterProvider(c.MeterProvider())
	otel.SetLoggerProvider(c.LoggerProvider())
}

// whole asserts that there were n calls of the tool, each with everything.
func whole(t *testing.T, c *telemetrytest.Capture, n int) {
	t.Helper()
	ended := func() (spans int) { // which is after the event
		for _, s := range c.Spans() {
			if s.Name() == "tools/call echo" {
				spans++
			}
		}
		return spans
	}
	eventually(t, func() bool { return ended() >= n })
	var calls int
	operations := c.EventsNamed(semconv.OTelMCPOperationEventName)
	for k := range operations {
		if e := event(operations[k]); e["mcp.method.name"] == "tools/call" && e["otelmcp.outcome"] == "ok" && e["otelmcp.stage"] == "handler" {
			calls++
		}
	}
	if calls != n || ended() != n {
		t.Errorf("%d events and %d spans of %d calls", calls, ended(), n)
	}
}

// A program may set the providers after it has instrumented its server, as before.
func setLater(t *testing.T) {
	s := newEverything()
	i := otelmcp.Instrument(s.MCPServer)
	h := i.Handler(rawHandlers["stateless"](s.MCPServer))
	capture := telemetrytest.New(t)
	setGlobals(capture)
	if got := missing(i.Coverage().Gaps); len(got) > 0 {
		t.Errorf("%q is missing", got)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/mcp", strings.NewReader(
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}`))
	r.Header.Set("Content-Type", "application/json")
	h.ServeHTTP(httptest.NewRecorder(), r)
	whole(t, capture, 1)
	if e := event(only(t, capture.EventsNamed(semconv.OTelMCPCoverageEventName))); e["body"] != "coverage complete" {
		t.Errorf("%q", e["body"])
	}
}

// One that sets them while its server serves misses what came before, and nothing after.
func setWhileServing(t *testing.T) {
	s := newEverything()
	i := otelmcp.Instrument(s.MCPServer)
	p := connect(t, s.MCPServer, streamable, legacy)
	p.tool(t.Context(), "echo", "")
	d := connect(t, s.MCPServer, direct, legacy)
	d.tool(t.Context(), "echo", "")
	capture := telemetrytest.New(t)
	otel.SetLoggerProvider(capture.LoggerProvider())
	if got := missing(i.Coverage().Gaps); !slices.Equal(got, []string{noTraces, noMetrics}) {
		t.Errorf("%q is missing", got)
	}
	otel.SetTracerProvider(capture.TracerProvider())
	otel.SetMeterProvider(capture.MeterProvider())
	if got := missing(i.Coverage().Gaps); len(got) > 0 {
		t.Errorf("%q is missing", got)
	}
	for n := range 3 {
		p.tool(t.Context(), "echo", "")
		whole(t, capture, n+1)
	}
	operations := capture.EventsNamed(semconv.OTelMCPOperationEventName)
	for k := range operations {
		// Its session began when nobody listened.
		if e := event(operations[k]); e["otelmcp.session.integrity"] != "" || e["otelmcp.client.name"] != clientName {
			t.Errorf("%+v", e)
		}
	}
	e := event(only(t, capture.EventsNamed(semconv.OTelMCPCoverageEventName)))
	if len(missing([]string{e["body"]})) > 0 || strings.Contains(e["body"], "replaced") {
		t.Errorf("%q", e["body"])
	}
	p.close()
}

// An edge has every message on its books, also those that came before anybody listened.
func setWhileStdioServes(t *testing.T) {
	s := newEverything()
	i := otelmcp.Instrument(s.MCPServer)
	c := connectClient(t, s.MCPServer, link{over: stdio, era: legacy, through: i})
	call := func() {
		if _, err := callTool(t.Context(), c, "echo", nil); err != nil {
			t.Fatal(err)
		}
	}
	call()
	capture := telemetrytest.New(t)
	setGlobals(capture)
	call()
	_ = c.Close()
	whole(t, capture, 1)
	if c := i.Coverage(); len(c.Gaps) > 0 {
		t.Errorf("%+v", c)
	}
}

func privateLogger(t *testing.T) {
	capture := telemetrytest.New(t, telemetrytest.WithoutCheck())
	otel.SetTracerProvider(capture.TracerProvider())
	otel.SetMeterProvider(capture.MeterProvider())
	s := newEverything()
	i := otelmcp.Instrument(s.MCPServer)
	p := connect(t, s.MCPServer, direct, legacy)
	p.tool(t.Context(), "echo", "")
	p.tool(t.Context(), "echo", "")
	if got := missing(i.Coverage().Gaps); !slices.Equal(got, []string{noLogs}) {
		t.Errorf("%q is missing", got)
	}
}

// The first provider that is set is the one that earlier users of the global one get.
func globalNoops(t *testing.T) {
	s := newEverything()
	i := otelmcp.Instrument(s.MCPServer)
	otel.SetTracerProvider(tracenoop.NewTracerProvider())
	otel.SetMeterProvider(metricnoop.NewMeterProvider())
	otel.SetLoggerProvider(lognoop.NewLoggerProvider())
	for range 2 {
		connect(t, s.MCPServer, direct, legacy).tool(t.Context(), "echo", "")
		if got := missing(i.Coverage().Gaps); !slices.Equal(got, []string{noTraces, noMetrics, noLogs}) {
			t.Errorf("%q is missing", got)
		}
		setGlobals(telemetrytest.New(t, telemetrytest.WithoutCheck())) // which is too late
	}
}

func givenNoops(t *testing.T) {
	s := newEverything()
	otelmcp.Instrument(s.MCPServer, noopPipeline().options()...)
	connect(t, s.MCPServer, direct, legacy).tool(t.Context(), "echo", "")
}

func unsetClient(t *testing.T) {
	capture := telemetrytest.New(t)
	wrap := func(c transport.Interface) transport.Interface { return otelmcp.WrapTransport(c) }
	c := connectClient(t, newEverything().MCPServer, link{over: streamable, era: legacy, wrap: wrap})
	call := func() {
		if _, err := callTool(t.Context(), c, "echo", nil); err != nil {
			t.Fatal(err)
		}
	}
	call()
	setGlobals(capture)
	call()
	if e := event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName))); e["otelmcp.server.name"] != "everything" || e["mcp.session.id"] == "" {
		t.Errorf("of a server that was met when nobody listened: %+v", e)
	}
	if e := event(only(t, capture.EventsNamed(semconv.OTelMCPCoverageEventName))); e["body"] != "coverage complete" {
		t.Errorf("%q", e["body"])
	}
}

// A program that has set an error handler of OpenTelemetry's hears of it there.
func ownErrorHandler(t *testing.T) {
	var said []error
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		said = append(said, err)
		panic(errors.New("and panics"))
	}))
	s := newEverything()
	otelmcp.Instrument(s.MCPServer)
	p := connect(t, s.MCPServer, direct, legacy)
	for range 2 {
		if r := p.tool(t.Context(), "echo", ""); r.Result == nil {
			t.Errorf("%+v", r)
		}
	}
	if len(said) != 1 || !strings.Contains(said[0].Error(), noTraces) {
		t.Errorf("%v", said)
	}
}

// decisionAlone: without an instrumented server around, decisions go to the global providers.
func decisionAlone(t *testing.T) {
	capture := telemetrytest.New(t)
	setGlobals(capture)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	otelmcp.RecordAuthDecision(ctx, otelmcp.AuthDecision{Decision: "deny", Reason: "revoked", UserID: "alice"})
	e := event(only(t, capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)))
	if e["otelmcp.auth.reason"] != "revoked" || e["user.id"] != "alice" || e["severity"] != "WARN" || e["otelmcp.role"] != "server" {
		t.Errorf("%v", e)
	}
	// A step of an OAuth flow is no login at a server.
	otelmcp.RecordAuthDecision(ctx, otelmcp.AuthDecision{Decision: "deny", Reason: "refresh_failed", Mechanism: "oauth_refresh"})
	if e := event(capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)[1]); e["otelmcp.role"] != "client" {
		t.Errorf("%v", e)
	}
	countedBySide(t, capture)
}
