// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Coverage: what is not seen is said, when it is known and when it changes.

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"github.com/mark3labs/mcp-go/tracing"
	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

var allSeams = []string{"tracer", "propagator", "hooks", "middleware"}

func hasGap(c otelmcp.Coverage, about string) bool {
	return slices.ContainsFunc(c.Gaps, func(g string) bool { return strings.Contains(g, about) })
}

// coverageEvents asserts that the n-th event is the last one and says what c
// says.
func coverageEvents(t *testing.T, capture *telemetrytest.Capture, n int, c otelmcp.Coverage) {
	t.Helper()
	events := capture.EventsNamed(semconv.OTelMCPCoverageEventName)
	if len(events) != n {
		t.Fatalf("%d events, want %d", len(events), n)
	}
	e := event(events[n-1])
	if e["severity"] != "WARN" {
		t.Errorf("the severity is %s, and there are gaps", e["severity"])
	}
	list := func(s []string) string { return attribute.StringSliceValue(s).String() }
	for k, v := range map[attribute.Key][]string{
		"otelmcp.coverage.seams": c.Seams, "otelmcp.coverage.transports": c.Transports,
		"otelmcp.coverage.edges": c.Edges, "otelmcp.coverage.gaps": c.Gaps,
	} {
		if len(v) > 0 && e[k] != list(v) {
			t.Errorf("%s is %s, want %s", k, e[k], list(v))
		}
	}
	for _, g := range c.Gaps {
		if !strings.Contains(e["body"], g) {
			t.Errorf("the body is %q, without %q", e["body"], g)
		}
	}
}

// That there is no edge is said of a server that does not get one, and not of
// every server at its start.
func TestCoverageBeforeTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		capture := telemetrytest.New(t)
		i := otelmcp.Instrument(newEverything().MCPServer, into(capture)...)
		c := i.Coverage()
		if len(c.Transports) != 0 || len(c.Edges) != 0 || !slices.Equal(c.Seams, allSeams) || len(c.Gaps) != 1 {
			t.Errorf("%+v", c)
		}
		if events := capture.EventsNamed(semconv.OTelMCPCoverageEventName); len(events) != 0 {
			t.Errorf("%d events before the server could have an edge", len(events))
		}
		time.Sleep(2 * time.Second) // in the bubble's time
		coverageEvents(t, capture, 1, c)
	})
	synctest.Test(t, func(t *testing.T) {
		capture := telemetrytest.New(t)
		otelmcp.Instrument(newEverything().MCPServer, into(capture)...).Handler(http.NotFoundHandler())
		time.Sleep(2 * time.Second)
		if e := event(only(t, capture.EventsNamed(semconv.OTelMCPCoverageEventName))); e["severity"] != "INFO" {
			t.Errorf("the coverage of a server with an edge is told as %s: %s", e["severity"], e["body"])
		}
	})
}

func TestCoverageByTransport(t *testing.T) {
	s := newEverything()
	checkLeaks(t)
	capture := telemetrytest.New(t)
	i := otelmcp.Instrument(s.MCPServer, into(capture)...)
	var seen []string
	for n, over := range []string{streamable, direct, stdio, inProcess, sse} {
		e := modern
		if over == sse {
			e = legacy
		}
		for range 2 { // the second time nothing is new
			p := connect(t, s.MCPServer, over, e)
			p.tool(t.Context(), "echo", "")
			p.close()
		}
		seen = append(seen, over)
		c := i.Coverage()
		if want := slices.Sorted(slices.Values(seen)); !slices.Equal(c.Transports, want) {
			t.Errorf("the transports are %q, want %q", c.Transports, want)
		}
		if len(c.Gaps) != len(seen) || !hasGap(c, over+": ") || !slices.Equal(c.Seams, allSeams) {
			t.Errorf("%+v", c)
		}
		coverageEvents(t, capture, n+1, c)
	}
}

// TestCoverageIsACopy: what it returns is the caller's.
func TestCoverageIsACopy(t *testing.T) {
	s := newEverything()
	i := otelmcp.Instrument(s.MCPServer, into(telemetrytest.New(t))...)
	connect(t, s.MCPServer, direct, legacy).tool(t.Context(), "echo", "")
	c := i.Coverage()
	c.Transports[0], c.Seams[0], c.Gaps[0] = "x", "x", "x"
	if again := i.Coverage(); again.Transports[0] == "x" || again.Seams[0] == "x" || again.Gaps[0] == "x" {
		t.Errorf("%+v", again)
	}
}

// passThrough is a propagator of the program's own that does nothing.
type passThrough struct{}

func (passThrough) Extract(ctx context.Context, _ http.Header) context.Context   { return ctx }
func (passThrough) Inject(context.Context, http.Header)                          {}
func (passThrough) ExtractMeta(ctx context.Context, _ *mcp.Meta) context.Context { return ctx }
func (passThrough) InjectMeta(_ context.Context, m *mcp.Meta) *mcp.Meta          { return m }

type ownKey struct{}

// deriving is one that puts something into the context.
type deriving struct{ passThrough }

func (deriving) Extract(ctx context.Context, _ http.Header) context.Context {
	return context.WithValue(ctx, ownKey{}, 1)
}

// TestSeamReplaced: what the program puts in the place of a seam of ours, after
// Instrument, is noticed and said.
func TestSeamReplaced(t *testing.T) {
	for _, c := range []struct {
		about  string
		option server.ServerOption
		seam   string
		silent bool // nothing is recorded then
	}{
		{"tracer", server.WithTracer(tracing.NoopTracer()), "tracer", true},
		{"propagator", server.WithPropagator(passThrough{}), "propagator", false},
		{"deriving propagator", server.WithPropagator(deriving{}), "propagator", false},
		{"meta propagator", server.WithMetaPropagator(passThrough{}), "propagator", false},
		{"hooks", server.WithHooks(&server.Hooks{}), "hooks", false},
	} {
		t.Run(c.about, func(t *testing.T) {
			s := newEverything()
			checkLeaks(t)
			capture := telemetrytest.New(t)
			i := otelmcp.Instrument(s.MCPServer, into(capture)...)
			c.option(s.MCPServer)
			p := connect(t, s.MCPServer, streamable, modern)
			for range 3 {
				if r := p.tool(t.Context(), "echo", ""); r.code() != 0 || r.lost != nil {
					t.Fatalf("%+v", r)
				}
			}
			p.close()
			is := i.Coverage()
			if !hasGap(is, c.seam) || slices.Contains(is.Seams, c.seam) {
				t.Errorf("that the %s was replaced is not said: %+v", c.seam, is)
			}
			n := 0
			for _, r := range capture.EventsNamed(semconv.OTelMCPCoverageEventName) {
				if strings.Contains(event(r)["body"], "replaced after it was instrumented") {
					n++
				}
			}
			// Once, and again with each other change that follows: here the
			// transport's.
			if n == 0 || n > 2 {
				t.Errorf("it was said %d times", n)
			}
			if !c.silent && len(capture.EventsNamed(semconv.OTelMCPOperationEventName)) != 3 {
				t.Errorf("%d operations, want 3", len(capture.EventsNamed(semconv.OTelMCPOperationEventName)))
			}
		})
	}
}

// ownSampler is a session type of a program's own, which can ask its client.
type ownSampler struct{ server.ClientSession }

func (ownSampler) RequestSampling(context.Context, mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
	return &mcp.CreateMessageResult{}, nil
}

// TestCoverageOfOwnSession: what a session of another type sends is not seen.
func TestCoverageOfOwnSession(t *testing.T) {
	s := newEverything()
	capture := telemetrytest.New(t)
	i := otelmcp.Instrument(s.MCPServer, into(capture)...)
	session := ownSampler{server.NewInProcessSession("own", nil)}
	s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if got := server.ClientSessionFromContext(ctx); got != server.ClientSession(session) {
			t.Errorf("the handler's session is a %T", got)
		}
		return mcp.NewToolResultText(""), nil
	})
	p := connect(t, s.MCPServer, direct, legacy)
	for range 2 {
		p.tool(s.WithContext(t.Context(), session), "custom", "")
	}
	c := i.Coverage()
	if !hasGap(c, "session type of the program's own") || !slices.Equal(c.Transports, []string{"other"}) {
		t.Errorf("%+v", c)
	}
	coverageEvents(t, capture, len(capture.EventsNamed(semconv.OTelMCPCoverageEventName)), c)
	if n := len(capture.EventsNamed(semconv.OTelMCPCoverageEventName)); n > 3 {
		t.Errorf("%d events", n)
	}
}
