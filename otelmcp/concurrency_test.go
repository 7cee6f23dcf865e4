// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Concurrency: sessions that use the same request ids at the same time, each
// operation recorded once and with what is its own.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"
	sdklog "go.opentelemetry.io/otel/sdk/log"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// crowd is a server whose callers meet: the tool meet returns when all of them
// are in it, and turn returns to one caller after the other.
type crowd struct {
	srv   *server.MCPServer
	met   sync.WaitGroup
	turns []chan struct{}

	mu    sync.Mutex
	times map[string][2]time.Time // of the handler, by session and tool
}

func newCrowd(size int) *crowd {
	c := &crowd{turns: make([]chan struct{}, size+1), times: map[string][2]time.Time{}}
	for n := range c.turns {
		c.turns[n] = make(chan struct{})
	}
	close(c.turns[0])
	c.met.Add(size)
	c.srv = server.NewMCPServer("crowd", "1", server.WithToolCapabilities(true), server.WithRecovery())
	add := func(name string, h server.ToolHandlerFunc) {
		c.srv.AddTool(mcp.NewTool(name, mcp.WithNumber("n")), func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			start := time.Now()
			defer func() {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.times[fmt.Sprint(r.GetInt("n", 0), " ", name)] = [2]time.Time{start, time.Now()}
			}()
			return h(ctx, r)
		})
	}
	add("ok", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText("ok"), nil
	})
	add("fail", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultError("no"), nil
	})
	add("error", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) { return nil, errTwin })
	add("panic", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) { panic("no") })
	add("meet", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		c.met.Done()
		c.met.Wait()
		return mcp.NewToolResultText("met"), nil
	})
	add("turn", func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		n := r.GetInt("n", 0)
		<-c.turns[n]
		close(c.turns[n+1])
		return mcp.NewToolResultText("done"), nil
	})
	return c
}

// crowdCalls are the requests of each session; the position is the request id.
// Which tool has which id depends on the session.
var crowdCalls = []struct{ tool, outcome, errorType string }{
	{"ok", semconv.OTelMCPOutcomeOK, ""},
	{"fail", semconv.OTelMCPOutcomeToolError, "tool_error"},
	{"error", semconv.OTelMCPOutcomeError, "-32603"},
	{"panic", semconv.OTelMCPOutcomePanic, "panic"},
	{"meet", semconv.OTelMCPOutcomeOK, ""},
	{"turn", semconv.OTelMCPOutcomeOK, ""},
	{"nobody's", semconv.OTelMCPOutcomeRejected, ""},
}

func crowdCall(session, id int) (tool, outcome, errorType, raw string) {
	call := crowdCalls[(session+id)%len(crowdCalls)]
	return call.tool, call.outcome, call.errorType,
		fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%q,"arguments":{"n":%d}}}`, id, call.tool, session)
}

// TestConcurrentSessions: 50 sessions over HTTP, and as many servers on stdio.
func TestConcurrentSessions(t *testing.T) {
	const size = 50
	t.Run("streamable HTTP", func(t *testing.T) {
		c, opts := captureOptions(t)
		crowd := newCrowd(size)
		otelmcp.Instrument(crowd.srv, opts...)
		ts := httptest.NewServer(server.NewStreamableHTTPServer(crowd.srv, server.WithStateful(true)))
		t.Cleanup(ts.Close)
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 400}}
		t.Cleanup(client.CloseIdleConnections)

		ids, took := make([]string, size), make([][]time.Duration, size)
		var wg sync.WaitGroup
		for n := range size {
			took[n] = make([]time.Duration, len(crowdCalls))
			wg.Go(func() {
				ids[n] = openSession(t, client, ts.URL, fmt.Sprintf("client-%d", n))
				var calls sync.WaitGroup
				for id := range crowdCalls {
					calls.Go(func() {
						_, _, _, raw := crowdCall(n, id)
						start := time.Now()
						post(t, client, ts.URL, ids[n], raw)
						took[n][id] = time.Since(start)
					})
				}
				calls.Wait()
			})
		}
		wg.Wait()
		events := operationEvents(t, c, size*(1+len(crowdCalls)))
		for n := range size {
			crowd.check(t, events, n, ids[n], took[n])
		}
	})
	t.Run("stdio", func(t *testing.T) {
		const size = 12 // a process has one stdin: mcp-go keeps one session object for all
		c, opts := captureOptions(t)
		crowd := newCrowd(size)
		took := make([][]time.Duration, size)
		var wg sync.WaitGroup
		for n := range size {
			// The same tools, on a server of its own.
			srv := server.NewMCPServer(fmt.Sprint(n), "1", server.WithToolCapabilities(true), server.WithRecovery())
			for _, tool := range crowd.srv.ListTools() {
				srv.AddTools(*tool)
			}
			otelmcp.Instrument(srv, opts...)
			took[n] = make([]time.Duration, len(crowdCalls))
			wg.Go(func() { talkStdio(t, srv, n, took[n]) })
		}
		wg.Wait()
		events := operationEvents(t, c, size*len(crowdCalls))
		bySession := map[string]int{}
		for key := range events {
			bySession[key.session]++
		}
		if len(bySession) != size {
			t.Errorf("%d session ids, want %d", len(bySession), size)
		}
		for id, n := range bySession {
			if n != len(crowdCalls) || !strings.HasPrefix(id, "stdio-") {
				t.Errorf("session %q has %d operations, want %d", id, n, len(crowdCalls))
			}
		}
		// The server makes up the id, so a session is known by which tool its
		// request 0 called; those that agree in it agree in all.
		for id := range bySession {
			candidates := 0
			for n := range size {
				tool, _, _, _ := crowdCall(n, 0)
				if attrString(events[opKey{id, "0"}][0], semconv.GenAIToolNameKey) == tool {
					candidates++
					crowd.checkOutcomes(t, events, n, id)
				}
			}
			if candidates == 0 {
				t.Errorf("session %q is nobody's", id)
			}
		}
	})
}

type opKey struct{ session, request string }

// operationEvents returns the operations by session and request id, when there
// are as many as expected: a client has its answer before its operation ends.
func operationEvents(t *testing.T, c *telemetrytest.Capture, total int) map[opKey][]sdklog.Record {
	t.Helper()
	eventually(t, func() bool { return len(c.EventsNamed(semconv.OTelMCPOperationEventName)) >= total })
	out := map[opKey][]sdklog.Record{}
	all := c.EventsNamed(semconv.OTelMCPOperationEventName)
	for n := range all {
		e := &all[n]
		if attrString(*e, semconv.MCPMethodNameKey) == "tools/call" {
			k := opKey{attrString(*e, semconv.MCPSessionIDKey), attrString(*e, semconv.JSONRPCRequestIDKey)}
			out[k] = append(out[k], *e)
		}
	}
	if len(all) != total {
		t.Errorf("%d operations are recorded, want %d", len(all), total)
	}
	return out
}

// eventually waits for what happens after a client has its answer.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("it does not come to that")
			return
		}
	}
}

func attrString(e sdklog.Record, key attribute.Key) string {
	attrs := telemetrytest.EventAttributes(e)
	v, _ := attrs.Value(key)
	return v.AsString()
}

func (*crowd) checkOutcomes(t *testing.T, events map[opKey][]sdklog.Record, n int, session string) {
	t.Helper()
	for id := range crowdCalls {
		tool, outcome, errorType, _ := crowdCall(n, id)
		es := events[opKey{session, fmt.Sprint(id)}]
		if len(es) != 1 {
			t.Errorf("session %d, request %d is recorded %d times", n, id, len(es))
			continue
		}
		if got := attrString(es[0], semconv.GenAIToolNameKey); got != tool {
			t.Errorf("session %d, request %d: tool %q, want %q", n, id, got, tool)
		}
		if got := attrString(es[0], semconv.OTelMCPOutcomeKey); got != outcome {
			t.Errorf("session %d, request %d of %s: outcome %q, want %q", n, id, tool, got, outcome)
		}
		if got := attrString(es[0], semconv.ErrorTypeKey); got != errorType {
			t.Errorf("session %d, request %d of %s: error.type %q, want %q", n, id, tool, got, errorType)
		}
	}
}

func (c *crowd) check(t *testing.T, events map[opKey][]sdklog.Record, n int, session string, took []time.Duration) {
	t.Helper()
	c.checkOutcomes(t, events, n, session)
	for id := range crowdCalls {
		es := events[opKey{session, fmt.Sprint(id)}]
		if len(es) == 0 {
			continue
		}
		if got, want := attrString(es[0], semconv.OTelMCPClientNameKey), fmt.Sprintf("client-%d", n); got != want {
			t.Errorf("session %d, request %d: client %q, want %q", n, id, got, want)
		}
		tool, _, _, _ := crowdCall(n, id)
		attrs := telemetrytest.EventAttributes(es[0])
		v, _ := attrs.Value(semconv.OTelMCPOperationDurationKey)
		// Its own time: no shorter than that of the handler, no longer than what
		// its client waited (and a clock's tick).
		least, most := time.Duration(0), took[id]+20*time.Millisecond
		c.mu.Lock()
		if at, ok := c.times[fmt.Sprint(n, " ", tool)]; ok {
			least = at[1].Sub(at[0])
		}
		c.mu.Unlock()
		if d := time.Duration(v.AsFloat64() * float64(time.Second)); d < least-time.Microsecond || d > most {
			t.Errorf("session %d, request %d of %s: took %v, but its handler took %v and its client waited %v", n, id, tool, d, least, took[id])
		}
	}
}

func openSession(t *testing.T, client *http.Client, url, name string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(
		`{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"`+name+`","version":"1"}}}`))
	if err != nil {
		t.Error(err)
		return ""
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.Header.Get("Mcp-Session-Id")
}

func post(t *testing.T, client *http.Client, url, session, raw string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(raw))
	if err != nil {
		t.Error(err)
		return
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Mcp-Session-Id", session)
	res, err := client.Do(req)
	if err != nil {
		t.Error(err)
		return
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Error(err)
	}
}

// talkStdio sends all calls of session n at once and waits for every answer.
func talkStdio(t *testing.T, srv *server.MCPServer, n int, took []time.Duration) {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	s := server.NewStdioServer(srv)
	server.WithWorkerPoolSize(len(crowdCalls))(s)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer outW.Close()
		if err := s.Listen(t.Context(), inR, outW); err != nil {
			t.Errorf("Listen: %v", err)
		}
	}()
	start := time.Now()
	go func() {
		for id := range crowdCalls {
			_, _, _, raw := crowdCall(n, id)
			if _, err := io.WriteString(inW, raw+"\n"); err != nil {
				t.Error(err)
			}
		}
	}()
	dec := json.NewDecoder(outR)
	for range crowdCalls {
		var answer struct{ ID int }
		if err := dec.Decode(&answer); err != nil {
			t.Errorf("session %d: %v", n, err)
			break
		}
		took[answer.ID] = time.Since(start)
	}
	_ = inW.Close()
	_, _ = io.Copy(io.Discard, outR)
	<-ended
}

// TestManySessions opens and closes 1,000 sessions: nothing of them stays.
func TestManySessions(t *testing.T) {
	total := 1000
	if testing.Short() {
		total = 100
	}
	c, opts := captureOptions(t)
	srv := server.NewMCPServer("s", "1", server.WithToolCapabilities(true))
	otelmcp.Instrument(srv, opts...)
	ts := httptest.NewServer(server.NewStreamableHTTPServer(srv, server.WithStateful(true)))
	t.Cleanup(ts.Close)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 50}}
	t.Cleanup(client.CloseIdleConnections)
	ids := make(chan string, total)
	each := func(f func()) {
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(f)
		}
		wg.Wait()
	}
	open := make(chan struct{}, total)
	for range total {
		open <- struct{}{}
	}
	close(open)
	each(func() {
		for range open {
			ids <- openSession(t, client, ts.URL, "c")
		}
	})
	close(ids)
	eventually(t, func() bool { return len(c.EventsNamed(semconv.OTelMCPSessionStartEventName)) == total })
	if n := c.CounterValue(semconv.OTelMCPServerSessionsActiveName); n != int64(total) {
		t.Errorf("%d sessions are open, want %d", n, total)
	}
	each(func() {
		for id := range ids {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, ts.URL, http.NoBody)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Mcp-Session-Id", id)
			res, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			_ = res.Body.Close()
		}
	})
	eventually(t, func() bool { return len(c.EventsNamed(semconv.OTelMCPSessionEndEventName)) == total })
	if n := c.CounterValue(semconv.OTelMCPServerSessionsActiveName); n != 0 {
		t.Errorf("%d sessions are open, want none", n)
	}
	if n := c.HistogramCount(semconv.MCPServerSessionDurationName); n != uint64(total) {
		t.Errorf("%d durations, want %d: a session that has one was in the table until then", n, total)
	}
	if n := c.CounterValue(semconv.OTelMCPTelemetryRefusedName); n != 0 {
		t.Errorf("%d refusals", n)
	}
	ends := map[string]int{}
	for _, e := range c.EventsNamed(semconv.OTelMCPSessionEndEventName) {
		ends[attrString(e, semconv.MCPSessionIDKey)]++
		if r := attrString(e, semconv.OTelMCPSessionEndReasonKey); r != semconv.OTelMCPSessionEndReasonClientRequest {
			t.Errorf("end reason %q", r)
		}
	}
	if len(ends) != total {
		t.Errorf("%d sessions ended, want %d", len(ends), total)
	}
	// The table is empty: a session that is used after its end is not known.
	post(t, client, ts.URL, "mcp-session-00000000-0000-4000-8000-000000000000", `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
}

// TestConcurrentMixture sends the generated messages from many goroutines, on
// one server that changes meanwhile: for the race detector, and for the check
// that the signals agree.
func TestConcurrentMixture(t *testing.T) {
	c, opts := captureOptions(t)
	w := newTwin(twinConfig{recovery: true, validate: true, hooks: true})
	otelmcp.Instrument(w.srv, append(opts, otelmcp.WithContentCapture(otelmcp.Arguments|otelmcp.Results))...)
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() {
			s := server.NewInProcessSessionWithHandlers(fmt.Sprintf("mix-%d", n), handlers{}, handlers{}, handlers{})
			if err := w.srv.RegisterSession(t.Context(), s); err != nil {
				t.Error(err)
				return
			}
			defer w.srv.UnregisterSession(t.Context(), s.SessionID())
			ctx := w.srv.WithContext(t.Context(), s)
			g := newSayings(uint64(n))
			for k := range volume(400) {
				if raw := g.message(); !blocks(raw) && !bytes.Contains(raw, []byte(`"task"`)) {
					answer(ctx, w.srv, raw)
				}
				if k%50 == 0 {
					w.srv.AddTool(mcp.NewTool("fresh", mcp.WithDescription(fmt.Sprint(n, k))), nilTool)
					_ = c.Spans()
					drainNotifications(s.ClientNotifications())
				}
			}
		})
	}
	wg.Wait()
	if n := c.CounterValue(semconv.OTelMCPServerSessionsActiveName); n != 0 {
		t.Errorf("%d sessions are open, want none", n)
	}
	if n := c.CounterValue(semconv.OTelMCPServerOperationsActiveName); n != 0 {
		t.Errorf("%d operations are in flight, want none", n)
	}
}

func nilTool(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	return mcp.NewToolResultText(""), nil
}

// TestConcurrentSessionIdentity: the first requests of a session, made at once,
// find one session value.
func TestConcurrentSessionIdentity(t *testing.T) {
	srv := server.NewMCPServer("s", "1", server.WithToolCapabilities(true))
	otelmcp.Instrument(srv, noopPipelineThatListens(t)...)
	var mu sync.Mutex
	found := map[string]map[server.ClientSession]bool{}
	srv.AddTool(mcp.NewTool("probe"), func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		s := server.ClientSessionFromContext(ctx)
		mu.Lock()
		defer mu.Unlock()
		if found[s.SessionID()] == nil {
			found[s.SessionID()] = map[server.ClientSession]bool{}
		}
		found[s.SessionID()][s] = true
		return mcp.NewToolResultText(""), nil
	})
	for n := range 300 {
		s := server.NewInProcessSession(fmt.Sprint(n), nil)
		if err := srv.RegisterSession(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		begin := make(chan struct{})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				<-begin
				handleIn(t, srv.WithContext(t.Context(), s), srv, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"probe"}}`)
			})
		}
		close(begin)
		wg.Wait()
		srv.UnregisterSession(t.Context(), s.SessionID())
	}
	twice := 0
	for _, values := range found {
		if len(values) != 1 {
			twice++
		}
	}
	if twice > 0 {
		t.Errorf("%d of 300 sessions have more than one value", twice)
	}
}

// noopPipelineThatListens is a pipeline whose telemetry nobody looks at.
func noopPipelineThatListens(t *testing.T) []otelmcp.Option {
	t.Helper()
	return newBoundedPipeline(t).options()
}
