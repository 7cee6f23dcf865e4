// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// What records say that are no message's: of sessions, of coverage, and of HTTP exchanges
// that carry none.

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// The start of a stdio session says who the client is, which mcp-go knows only later, and
// stands before what the client sent; it has the time at which the session began.
func TestStdioStartNamesTheClient(t *testing.T) {
	for _, edge := range []bool{true, false} {
		for name, talk := range map[string]func(*telemetrytest.Capture, func(string)){
			"legacy": func(c *telemetrytest.Capture, send func(string)) {
				if n := len(c.EventsNamed(semconv.OTelMCPSessionStartEventName)); n != 0 {
					t.Errorf("%d sessions started before the client said who it is", n)
				}
				send(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":` + initializeParams + `}`)
			},
			"modern": func(_ *telemetrytest.Capture, send func(string)) {
				send(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"` + string(modern) +
					`","io.modelcontextprotocol/clientInfo":{"name":"` + clientName + `","version":"` + clientVersion +
					`"},"io.modelcontextprotocol/clientCapabilities":{}}}}`)
			},
			"nobody":  func(_ *telemetrytest.Capture, send func(string)) { send(`{"jsonrpc":"2.0","id":1,"method":"ping"}`) },
			"garbage": func(_ *telemetrytest.Capture, send func(string)) { send(`{"jsonrpc":"2.0",`) },
			"refused": func(_ *telemetrytest.Capture, send func(string)) {
				send(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":7}`)
			},
			"silence": func(*telemetrytest.Capture, func(string)) {},
		} {
			t.Run(name+map[bool]string{true: ", edge"}[edge], func(t *testing.T) {
				began := time.Now()
				s, capture := instrumented(t)
				listen := listenBare(t.Context(), s.MCPServer)
				if edge {
					listen = listenEdge(t.Context(), otelmcp.Instrument(s.MCPServer))
				}
				toServer, out, in, toClient := pipes(t)
				done := make(chan error, 1)
				go func() { done <- listen(toServer, toClient) }()
				eventually(t, func() bool { return capture.CounterValue("otelmcp.server.sessions.active") == 1 })
				ready := time.Now()
				answer := make([]byte, 1<<16)
				talk(capture, func(line string) {
					_, _ = out.WriteString(line + "\n")
					_, _ = in.Read(answer)
				})
				_ = out.Close()
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				r := only(t, capture.EventsNamed(semconv.OTelMCPSessionStartEventName))
				e, want := event(r), map[bool]string{true: clientName}[name == "legacy" || name == "modern"]
				if e["otelmcp.client.name"] != want || (e["otelmcp.client.version"] != "") != (want != "") || e["otelmcp.transport"] != stdio {
					t.Errorf("%+v", e)
				}
				if e["otelmcp.server.name"] != "everything" || e["otelmcp.server.version"] != "0.9.0" {
					t.Errorf("the server does not say who it is: %+v", e)
				}
				if at := r.Timestamp(); at.Before(began) || at.After(ready) {
					t.Errorf("it started at %v, and not between %v and %v", at, began, ready)
				}
				end := event(only(t, capture.EventsNamed(semconv.OTelMCPSessionEndEventName)))
				if end["otelmcp.server.name"] != "everything" || end["mcp.session.id"] != e["mcp.session.id"] {
					t.Errorf("%+v", end)
				}
				var order []string
				for _, r := range capture.Logs() {
					if n := r.EventName(); n != semconv.OTelMCPCoverageEventName {
						order = append(order, n)
					}
				}
				if first := slices.Index(order, semconv.OTelMCPSessionStartEventName); name != "refused" && first > slices.Index(order, semconv.OTelMCPOperationEventName) && slices.Contains(order, semconv.OTelMCPOperationEventName) {
					t.Errorf("%q", order)
				}
			})
		}
	}
}

// An exchange without a message says what it was.
func TestExchangeBody(t *testing.T) {
	_, i, c, capture := edged(t, rawHandlers["stateless"])
	c.do(step{send: rawPost(rpc("1", "initialize", initializeParams))})
	c.do(step{send: plain("GET", "/"), until: "\r\n\r\n"}) // the stream stays open
	for _, method := range []string{"DELETE", "PUT", "HEAD", "BREW"} {
		c.do(step{send: plain(method, "/")})
	}
	c.do(step{send: rawPost("{")})
	c.web.Close()
	var bodies []string
	for _, r := range capture.EventsNamed(semconv.OTelMCPOperationEventName) {
		bodies = append(bodies, event(r)["body"])
	}
	for _, want := range []string{"initialize: ", "GET: ", "DELETE: ", "PUT: ", "HEAD: ", "_OTHER: ", "message: rejected"} {
		if !slices.ContainsFunc(bodies, func(b string) bool { return strings.HasPrefix(b, want) }) {
			t.Errorf("none says %q: %q", want, bodies)
		}
	}
	settled(t, i, capture)
}

// That coverage is complete is said once, however many edges and transports there are, and
// again only when it was not in between.
func TestCompleteIsSaidOnce(t *testing.T) {
	said := func(c *telemetrytest.Capture) (bodies []string) {
		for _, r := range c.EventsNamed(semconv.OTelMCPCoverageEventName) {
			e := event(r)
			if e["otelmcp.server.name"] != "everything" || e["otelmcp.server.version"] != "0.9.0" {
				t.Errorf("the server does not say who it is: %+v", e)
			}
			bodies = append(bodies, strings.SplitN(e["body"], ":", 2)[0])
		}
		return bodies
	}
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	post := func(h http.Handler) { decideOn(t, h, "/", http.MethodPost, "") }
	h := i.Handler(rawHandlers["stateless"](s.MCPServer))
	post(h)
	post(h)
	connectClient(t, s.MCPServer, link{over: stdio, era: legacy, through: i})
	connectClient(t, s.MCPServer, link{over: sse, era: legacy, through: i})
	if got := said(capture); !slices.Equal(got, []string{"coverage complete"}) {
		t.Errorf("%q", got)
	}
	if e := event(only(t, capture.EventsNamed(semconv.OTelMCPCoverageEventName))); e["otelmcp.coverage.transports"] != `["streamable_http"]` {
		t.Errorf("%+v", e)
	}
	connect(t, s.MCPServer, direct, legacy).tool(t.Context(), "echo", "")
	if got := said(capture); !slices.Equal(got, []string{"coverage complete", "coverage has 1 gap(s)"}) {
		t.Errorf("%q", got)
	}

	synctest.Test(t, func(t *testing.T) { // a server that gets its edge late, and its first message later
		capture := telemetrytest.New(t)
		s := newEverything()
		i := otelmcp.Instrument(s.MCPServer, into(capture)...)
		time.Sleep(2 * startTime)
		h := i.Handler(rawHandlers["stateless"](s.MCPServer))
		time.Sleep(2 * startTime)
		post(h)
		if got := said(capture); !slices.Equal(got, []string{"coverage has 1 gap(s)", "coverage complete"}) {
			t.Errorf("%q", got)
		}
	})
}

// startTime is how long a server has until its coverage is told.
const startTime = time.Second
