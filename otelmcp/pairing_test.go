// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Which line a record is of, and that each has exactly one: with ids that are used
// again, answers that come late, hooks that are lost, and tables that are full.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// lineClient is a client on stdio that a test writes the lines of.
type lineClient struct {
	t     testing.TB
	in    *io.PipeWriter
	lines chan string
	done  chan error
}

func listen(t testing.TB, ctx context.Context, i *otelmcp.Instrumentation, opts ...server.StdioOption) *lineClient {
	return dialLines(t, func(in io.Reader, out io.Writer) error {
		return i.Listen(ctx, in, out, append([]server.StdioOption{quietStdio}, opts...)...)
	})
}

// dialLines connects a client to what serve serves.
func dialLines(t testing.TB, serve func(io.Reader, io.Writer) error) *lineClient {
	in, write := io.Pipe()
	read, out := io.Pipe()
	c := &lineClient{t: t, in: write, lines: make(chan string, 1<<14), done: make(chan error, 1)}
	go func() {
		err := serve(in, out)
		_ = out.Close()
		c.done <- err
	}()
	go func() {
		defer close(c.lines)
		sc := bufio.NewScanner(read)
		sc.Buffer(nil, 64<<20)
		for sc.Scan() {
			c.lines <- sc.Text()
		}
	}()
	return c
}

func (c *lineClient) send(line string) { _, _ = io.WriteString(c.in, line+"\n") }

// until reads up to a line that contains part.
func (c *lineClient) until(part string) string {
	c.t.Helper()
	for {
		if l := recv(c.t, c.lines); strings.Contains(l, part) || l == "" {
			return l
		}
	}
}

func (c *lineClient) call(line, part string) {
	c.t.Helper()
	c.send(line)
	c.until(part)
}

func (c *lineClient) hangUp() error {
	c.t.Helper()
	_ = c.in.Close()
	return recv(c.t, c.done)
}

// asked is the id of what the server elicits.
func (c *lineClient) asked() string {
	c.t.Helper()
	return regexp.MustCompile(`"id":(\d+)`).FindStringSubmatch(c.until("elicitation/create"))[1]
}

const handshake = `{"jsonrpc":"2.0","id":"hello","method":"initialize","params":` + initializeParams + "}"

func accept(id string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"result":{"action":"accept","content":{"yes":true}}}`
}

func refuse(id string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"error":{"code":-32000,"message":"no"}}`
}

// elicit makes the tool "custom" ask its client, for as long as within says.
func (s *everything) elicit(within func(context.Context) (context.Context, context.CancelFunc)) {
	s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		limited, cancel := within(ctx)
		defer cancel()
		a, err := server.ServerFromContext(ctx).RequestElicitation(limited, mcp.ElicitationRequest{Params: question()})
		return mcp.NewToolResultText(fmt.Sprint(a, err)), nil
	})
}

// givenUp is for a request that is given up at once.
func givenUp(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx, cancel
}

// tally counts what was recorded.
func tally(c *telemetrytest.Capture) map[string]int {
	n := map[string]int{}
	for _, r := range records(c) {
		n[r]++
	}
	return n
}

// operations are the events of operations whose role is the server's.
func operations(c *telemetrytest.Capture) (all []said, traces []string) {
	events := c.EventsNamed(semconv.OTelMCPOperationEventName)
	for n := range events {
		if e := event(events[n]); e["otelmcp.role"] == "server" {
			all, traces = append(all, e), append(traces, events[n].TraceID().String())
		}
	}
	return all, traces
}

// Everything at once, with a few ids for all of it: each line has one record, which
// says what became of just this line.
func TestStdioStress(t *testing.T) {
	for _, ids := range []int{1, 5, 1 << 20} {
		t.Run(strconv.Itoa(ids)+" ids", func(t *testing.T) {
			s, capture := instrumented(t)
			i := otelmcp.Instrument(s.MCPServer)
			s.elicit(givenUp)
			s.AddPrompt(mcp.NewPrompt("holds"), func(ctx context.Context, _ mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
			c := listen(t, t.Context(), i, server.WithWorkerPoolSize(20), server.WithQueueSize(10000))
			c.call(handshake, "serverInfo")

			type sent struct{ line, method, id, want string }
			lines := map[int]sent{} // by what their trace id says
			want := map[string]int{"ok handler initialize - -": 1}
			late := make(chan string, 1<<12)
			read := make(chan int)
			go func() { // answers late what the server does not wait for any more
				n, open := 0, []string{}
				for l := range c.lines {
					switch {
					case strings.Contains(l, "elicitation/create"):
						open = append(open, regexp.MustCompile(`"id":(\d+)`).FindStringSubmatch(l)[1])
						continue
					case strings.Contains(l, "context canceled") && strings.Contains(l, "result"):
						late <- open[0]
						open = open[1:]
					}
					n++
					read <- n
				}
				close(read)
			}()
			uid, answers, holding := 0, 0, 0
			send := func(k, line, method, id, want string) {
				lines[uid] = sent{line, method, id, want}
				c.send(line)
				if k != "cancel" && k != "told" {
					answers++
				}
			}
			kinds := []string{"call", "fails", "evil", "evil2", "err", "panic", "ver", "bad", "list", "told", "prompt", "cancel", "garbage", "asks", "holds"}
			got := 0
			for round := range 60 {
				for _, k := range kinds {
					if k == "holds" && round%10 > 0 {
						continue
					}
					uid++
					id := strconv.Itoa(uid % ids)
					meta := fmt.Sprintf(`"_meta":{"traceparent":"00-%032x-b7ad6b7169203331-01"},"pad":%q`, uid, strings.Repeat("p", uid))
					params := func(more string) string { return `{` + more + meta + `}` }
					request := func(method, more, want string) { send(k, rpc(id, method, params(more)), method, id, want) }
					switch k {
					case "call":
						request("tools/call", `"name":"echo","arguments":{"text":"x"},`, "ok handler tools/call - -")
					case "fails":
						request("tools/call", `"name":"fails",`, "tool_error handler tools/call - -")
					case "evil", "evil2":
						request(k, "", "rejected dispatch "+k+" - -32601")
					case "panic":
						request("prompts/get", `"name":"panics",`, "panic handler prompts/get - -")
					case "list":
						request("tools/list", "", "ok handler tools/list - -")
					case "prompt":
						request("prompts/get", `"name":"nope",`, "rejected dispatch prompts/get - -32602")
					case "bad":
						request("tools/call", `"name":"echo","arguments":7,"task":7,`, "rejected dispatch tools/call - -32600")
					case "asks":
						request("tools/call", `"name":"custom",`, "ok handler tools/call - -")
					case "holds":
						request("prompts/get", `"name":"holds",`, "cancelled handler prompts/get - -32603")
						holding++
					case "ver":
						send(k, `{"jsonrpc":"1.0","id":`+id+`,"method":"ping","params":`+params("")+`}`, "ping", id, "rejected transport ping - -32600")
					case "told":
						send(k, `{"jsonrpc":"2.0","method":"notifications/initialized","params":`+params("")+`}`, "notifications/initialized", "", "ok dispatch notifications/initialized - -")
					case "cancel":
						send(k, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":`+params(`"requestId":"none",`)+`}`, "notifications/cancelled", "", "ok dispatch notifications/cancelled - -")
					case "err":
						c.send(refuse(strconv.Itoa(1_000_000 + uid%ids)))
						want["rejected dispatch - - -32601"]++
						answers++
					case "garbage":
						c.send("garbage")
						want["rejected transport - - -32700"]++
						answers++
					}
				}
				for got < answers-holding {
					select {
					case got = <-read:
					case id := <-late:
						c.send(refuse(id))
						want["rejected dispatch - - -32601"]++
						answers++
					case <-time.After(20 * time.Second):
						t.Fatalf("%d of %d answers", got, answers-holding)
					}
				}
			}
			for _, l := range lines {
				want[l.want]++
			}
			_ = c.in.Close()
			for range read {
			}
			if err := recv(t, c.done); err != nil {
				t.Error(err)
			}
			is := map[string]int{}
			events, traces := operations(capture)
			seen := map[int]bool{}
			for n, e := range events {
				is[strings.TrimSuffix(strings.TrimSuffix(show(e), " disconnect"), " server")]++
				uid, _ := strconv.ParseInt(traces[n], 16, 64)
				l, own := lines[int(uid)]
				if !own {
					continue // nothing that has no method has a trace
				}
				if e["mcp.method.name"] != l.method || e["jsonrpc.request.id"] != l.id || e["otelmcp.request.size"] != strconv.Itoa(len(l.line)) || seen[int(uid)] {
					t.Errorf("%s\nis recorded as %v", clip([]byte(l.line)), e)
				}
				seen[int(uid)] = true
			}
			if len(seen) != len(lines) {
				t.Errorf("%d of %d lines have a record with their trace", len(seen), len(lines))
			}
			if fmt.Sprint(is) != fmt.Sprint(want) {
				t.Errorf("recorded\n%v\nwant\n%v", is, want)
			}
			elicitations := tally(capture)
			total := len(events)
			for r, n := range elicitations {
				if strings.HasPrefix(r, ">") {
					total += n
				}
			}
			if n := capture.CounterValue("otelmcp.server.messages"); int(n) != total {
				t.Errorf("%d are counted, %d recorded", n, total)
			}
			settled(t, i, capture)
		})
	}
}

// Unknown methods at the same time, without a trace parent to tell them apart.
func TestStdioUnknownMethods(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	c := listen(t, t.Context(), i)
	const n = 1000
	for k := range n {
		c.send(rpc(strconv.Itoa(k), "evil", "{}"))
	}
	for range n {
		recv(t, c.lines)
	}
	if err := c.hangUp(); err != nil {
		t.Error(err)
	}
	ids := map[string]bool{}
	events, _ := operations(capture)
	for _, e := range events {
		ids[e["jsonrpc.request.id"]] = true
		if show(e) != "rejected dispatch evil - -32601" {
			t.Error(show(e))
		}
	}
	if len(events) != n || len(ids) != n {
		t.Errorf("%d records with %d ids", len(events), len(ids))
	}
	settled(t, i, capture)
}

// What the server asks is known before its client can answer.
func TestStdioEagerClient(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	s.elicit(context.WithCancel)
	in, write := io.Pipe()
	out := &eagerClient{in: write, answered: make(chan struct{}, 8)}
	done := make(chan error, 1)
	go func() { done <- i.Listen(t.Context(), in, out, quietStdio) }()
	_, _ = io.WriteString(write, handshake+"\n"+rpc("1000", "tools/call", `{"name":"custom"}`)+"\n")
	recv(t, out.answered)
	_ = write.Close()
	if err := recv(t, done); err != nil {
		t.Error(err)
	}
	wantRecords(t, capture, "ok handler initialize - -", "ok handler tools/call - -", "> ok handler elicitation/create - -",
		"ok dispatch notifications/initialized - -")
	settled(t, i, capture)
}

// eagerClient answers before the server's write returns.
type eagerClient struct {
	in       *io.PipeWriter
	answered chan struct{}
}

func (c *eagerClient) Write(p []byte) (int, error) {
	switch {
	case bytes.Contains(p, []byte("elicitation/create")):
		id := regexp.MustCompile(`"id":(\d+)`).FindSubmatch(p)[1]
		_, _ = io.WriteString(c.in, accept(string(id))+"\n")
		// The server takes the next line when it is through with the one before.
		_, _ = io.WriteString(c.in, `{"jsonrpc":"2.0","method":"notifications/initialized"}`+"\n")
	case bytes.Contains(p, []byte(`"id":1000`)):
		c.answered <- struct{}{}
	}
	return len(p), nil
}

// An answer that refuses is out of place when the server has given up asking, also
// beside a request of the client's with its id.
func TestStdioLateRefusal(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	c := listen(t, t.Context(), i)
	c.call(handshake, "serverInfo")
	s.elicit(givenUp)
	c.send(rpc("1000", "tools/call", `{"name":"custom"}`))
	id := c.asked()
	c.until(`"id":1000`)
	c.send(rpc(id, "tools/call", `{"name":"waits"}`))
	recv(t, s.entered)
	c.call(refuse(id), "-32601")
	// One in time is no message of its own.
	s.elicit(context.WithCancel)
	c.send(rpc("1001", "tools/call", `{"name":"custom"}`))
	c.call(refuse(c.asked()), `"id":1001`)
	if err := c.hangUp(); err != nil {
		t.Error(err)
	}
	wantRecords(t, capture, "ok handler initialize - -", "ok handler tools/call - -", "ok handler tools/call - -",
		"rejected dispatch - - -32601", "cancelled handler tools/call - -32603 disconnect",
		"> cancelled handler elicitation/create - -", "> error handler elicitation/create - -")
	settled(t, i, capture)
}

// mcp-go takes the id of an answer for a number also where it stands in a string.
func TestStdioAnswerWithStringID(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	s.elicit(context.WithCancel)
	c := listen(t, t.Context(), i)
	c.call(handshake, "serverInfo")
	c.send(rpc("1000", "tools/call", `{"name":"custom"}`))
	c.call(accept(`"`+c.asked()+`"`), `"id":1000`)
	if err := c.hangUp(); err != nil {
		t.Error(err)
	}
	wantRecords(t, capture, "ok handler initialize - -", "ok handler tools/call - -", "> ok handler elicitation/create - -")
	settled(t, i, capture)
}

// A connection does not answer for the one before.
func TestStdioTwoConnections(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	s.elicit(context.WithCancel)
	c := listen(t, t.Context(), i)
	c.call(handshake, "serverInfo")
	c.send(rpc("1000", "tools/call", `{"name":"custom"}`))
	id := c.asked()
	if err := c.hangUp(); err != nil {
		t.Error(err)
	}
	before := len(records(capture))
	c = listen(t, t.Context(), i)
	c.send(accept(id))
	c.call(rpc("1", "ping", "{}"), `"id":1`)
	if err := c.hangUp(); err != nil {
		t.Error(err)
	}
	if is := records(capture)[before:]; !slices.Equal(is, []string{"rejected transport - - -", "ok handler ping - -"}) {
		t.Errorf("the second connection records %q", is)
	}
	settled(t, i, capture)
}

// A hook of the program's that panics before ours is told.
func TestStdioHookPanics(t *testing.T) {
	h := &server.Hooks{}
	h.AddBeforeAny(func(context.Context, any, mcp.MCPMethod, any) { panic("no") })
	capture := telemetrytest.New(t)
	s := newEverything(server.WithHooks(h))
	i := otelmcp.Instrument(s.MCPServer, into(capture)...)
	c := listen(t, t.Context(), i)
	c.call(rpc("1", "tools/call", callEcho), `"id":1`)
	c.call(rpc("2", "tools/list", "{}"), `"id":2`)
	c.call(rpc("3", "evil", "{}"), `"id":3`)
	if err := c.hangUp(); err != nil {
		t.Error(err)
	}
	wantRecords(t, capture, "panic dispatch tools/call - -", "panic dispatch tools/list - -", "rejected dispatch evil - -32601")
	events, _ := operations(capture)
	for _, e := range events {
		if e["jsonrpc.request.id"] == "" || e["otelmcp.request.size"] == "" || e["otelmcp.response.size"] == "" {
			t.Error(e)
		}
	}
	settled(t, i, capture)
}

// Hooks that the program takes away cost what they tell, and no record.
func TestStdioHooksReplaced(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	server.WithHooks(&server.Hooks{})(s.MCPServer)
	c := listen(t, t.Context(), i)
	for k := range 100 {
		c.send(rpc(strconv.Itoa(4*k), "tools/call", callEcho))
		c.send(rpc(strconv.Itoa(4*k+1), "ping", "{}"))
		c.send(rpc(strconv.Itoa(4*k+2), "prompts/get", `{"name":"nope"}`))
		c.send(rpc(strconv.Itoa(4*k+3), "prompts/get", `{"name":"panics"}`))
	}
	for range 400 {
		recv(t, c.lines)
	}
	if err := c.hangUp(); err != nil {
		t.Error(err)
	}
	want := map[string]int{
		"ok dispatch tools/call - -": 100, "ok dispatch ping - -": 100, "error dispatch prompts/get - -": 100, "error dispatch prompts/get - -32603": 100,
	}
	if is := tally(capture); fmt.Sprint(is) != fmt.Sprint(want) {
		t.Errorf("recorded\n%v\nwant\n%v", is, want)
	}
	if n := capture.CounterValue("otelmcp.server.operations.active"); n != 0 {
		t.Errorf("%d are active", n)
	}
	if gaps := i.Coverage().Gaps; len(gaps) != 1 || !strings.Contains(gaps[0], "hooks were replaced") {
		t.Errorf("gaps: %q", gaps)
	}
}

// More requests than can wait are all recorded, and none as what it was not.
func TestStdioFull(t *testing.T) {
	const room, more = 4096, 5
	hold := func(s *everything) chan struct{} {
		holding := make(chan struct{})
		s.AddPrompt(mcp.NewPrompt("holds"), func(ctx context.Context, _ mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			select {
			case <-holding:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			return mcp.NewGetPromptResult("", nil), nil
		})
		return holding
	}
	fill := func(c *lineClient) {
		for k := range room + more {
			c.send(rpc(strconv.Itoa(k), "prompts/get", `{"name":"holds"}`))
		}
		c.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`) // the line before was read
	}
	t.Run("and answered", func(t *testing.T) {
		s, capture := instrumented(t)
		i := otelmcp.Instrument(s.MCPServer)
		holding := hold(s)
		c := listen(t, t.Context(), i)
		fill(c)
		close(holding)
		for range room + more {
			recv(t, c.lines)
		}
		if err := c.hangUp(); err != nil {
			t.Error(err)
		}
		want := map[string]int{"ok handler prompts/get - -": room + more, "ok dispatch notifications/initialized - -": 1}
		if is := tally(capture); fmt.Sprint(is) != fmt.Sprint(want) {
			t.Errorf("recorded\n%v\nwant\n%v", is, want)
		}
		settled(t, i, capture)
	})
	t.Run("and left", func(t *testing.T) {
		s, capture := instrumented(t)
		i := otelmcp.Instrument(s.MCPServer)
		hold(s)
		c := listen(t, t.Context(), i)
		fill(c)
		if err := c.hangUp(); err != nil {
			t.Error(err)
		}
		n := 0
		for r, k := range tally(capture) {
			n += k
			if strings.HasPrefix(r, "ok") && !strings.Contains(r, "notifications/") {
				t.Errorf("%d times %s", k, r)
			}
		}
		if n != room+more+1 {
			t.Errorf("%d records", n)
		}
		settled(t, i, capture)
	})
	t.Run("with unknown methods, and nobody reads", func(t *testing.T) {
		s, capture := instrumented(t)
		i := otelmcp.Instrument(s.MCPServer)
		in, write := io.Pipe()
		out := &blockedWriter{free: make(chan struct{})}
		done := make(chan error, 1)
		go func() { done <- i.Listen(t.Context(), in, out, quietStdio) }()
		for k := range 2*room + more {
			_, _ = io.WriteString(write, rpc(strconv.Itoa(k), "evil", "{}")+"\n")
		}
		close(out.free)
		_ = write.Close()
		if err := recv(t, done); err != nil {
			t.Error(err)
		}
		if n := len(records(capture)); n != 2*room+more {
			t.Errorf("%d records of %d lines", n, 2*room+more)
		}
		settled(t, i, capture)
	})
}

// blockedWriter writes when it is free.
type blockedWriter struct{ free chan struct{} }

func (w *blockedWriter) Write(p []byte) (int, error) {
	<-w.free
	return len(p), nil
}

// A wish to cancel costs no memory, and says nothing of a later request.
func TestStdioCancelNothing(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	cancel := func(id string) string {
		return `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + id + `}}`
	}
	c := listen(t, t.Context(), i)
	c.call(rpc("1", "ping", "{}"), `"id":1`)
	before := heap()
	long := strings.Repeat("x", 500_000)
	for k := range 30 {
		c.send(cancel(`"` + strconv.Itoa(k) + long + `"`))
	}
	c.send(cancel("7"))
	c.call(rpc("2", "ping", "{}"), `"id":2`)
	if grown := heap() - before; grown > 10<<20 {
		t.Errorf("%d bytes are held", grown)
	}
	c.send(rpc("7", "tools/call", `{"name":"waits"}`))
	recv(t, s.entered)
	if err := c.hangUp(); err != nil {
		t.Error(err)
	}
	if n := tally(capture)["cancelled handler tools/call - -32603 disconnect"]; n != 1 {
		t.Errorf("recorded %v", tally(capture))
	}
	settled(t, i, capture)
}

// A client that cancels and hangs up has cancelled: also with an id of the other
// type, also with the id at the end of a large line, and beside another request of
// the id.
func TestStdioCancelThenHangUp(t *testing.T) {
	for name, c := range map[string]struct{ id, requestID, pad string }{
		"plain":        {id: "1", requestID: "1"},
		"string":       {id: `"1"`, requestID: "1"},
		"large":        {id: "1", requestID: "1", pad: large},
		"used between": {id: "1", requestID: "1"},
	} {
		t.Run(name, func(t *testing.T) {
			s, capture := instrumented(t)
			i := otelmcp.Instrument(s.MCPServer)
			gone := make(chan struct{})
			s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				s.entered <- struct{}{}
				<-ctx.Done()
				<-gone
				return nil, ctx.Err()
			})
			l := listen(t, t.Context(), i)
			l.send(`{"jsonrpc":"2.0","method":"tools/call","params":{"name":"custom","arguments":{"pad":"` + c.pad + `"}},"id":` + c.id + `}`)
			recv(t, s.entered)
			l.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + c.requestID + `}}`)
			want := []string{"cancelled handler tools/call - -32603 client_request", "ok dispatch notifications/cancelled - -"}
			if name == "used between" {
				l.call(rpc(c.id, "ping", "{}"), `"result"`)
				want = append(want, "ok handler ping - -")
			}
			_ = l.in.Close()
			eventually(t, func() bool { return capture.CounterValue("otelmcp.server.messages") == int64(len(want)-1) })
			close(gone)
			if err := recv(t, l.done); err != nil {
				t.Error(err)
			}
			wantRecords(t, capture, want...)
			settled(t, i, capture)
		})
	}
}

// A context that does not derive from ours loses what the edge knows, which the
// coverage says, and makes no second record.
func TestStdioContextLost(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	c := listen(t, t.Context(), i, server.WithStdioContextFunc(func(context.Context) context.Context { return t.Context() }))
	c.call(rpc("1", "evil", "{}"), `"id":1`)
	c.call(rpc("2", "tools/call", callEcho), `"id":2`)
	c.call(rpc("3", "tools/call", `{"name":"nope"}`), `"id":3`)
	c.call(rpc("4", "prompts/get", `{"name":"panics"}`), `"id":4`)
	c.call("garbage", "-32700")
	if err := c.hangUp(); err != nil {
		t.Error(err)
	}
	wantRecords(t, capture, "rejected dispatch evil - -32601", "ok handler tools/call - -", "rejected dispatch tools/call - -32602",
		"panic handler prompts/get - -", "rejected transport - - -32700")
	gaps := strings.Join(i.Coverage().Gaps, "; ")
	if !strings.Contains(gaps, "WithStdioContextFunc") || strings.Contains(gaps, "message(s)") {
		t.Errorf("gaps: %s", gaps)
	}
}

// A context that adds to ours loses nothing.
func TestStdioContextKept(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	type key struct{}
	c := listen(t, t.Context(), i, server.WithStdioContextFunc(func(ctx context.Context) context.Context { return context.WithValue(ctx, key{}, 1) }))
	c.call(rpc("1", "tools/call", callEcho), `"id":1`)
	if err := c.hangUp(); err != nil {
		t.Error(err)
	}
	wantRecords(t, capture, "ok handler tools/call - -")
	settled(t, i, capture)
}

// Without its tracer a server dispatches nothing that we see: the edge records.
func TestStdioTracerReplaced(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	server.WithTracer(nil)(s.MCPServer)
	c := listen(t, t.Context(), i)
	c.call(rpc("1", "tools/call", callEcho), `"id":1`)
	c.call(rpc("2", "ping", "{}"), `"id":2`)
	if err := c.hangUp(); err != nil {
		t.Error(err)
	}
	wantRecords(t, capture, "ok transport tools/call - -", "ok transport ping - -")
}

// An answer that cannot be encoded is the server's failure, and not the client's.
func TestStdioUnencodable(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	s.do(func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		s.entered <- struct{}{}
		return mcp.NewToolResultStructured(map[string]any{"f": func() {}}, "x"), nil
	})
	c := listen(t, t.Context(), i)
	c.send(rpc("1", "tools/call", `{"name":"custom"}`))
	recv(t, s.entered)
	c.call(rpc("2", "ping", "{}"), `"id":2`)
	if err := c.hangUp(); err != nil {
		t.Error(err)
	}
	wantRecords(t, capture, "error handler tools/call - -", "ok handler ping - -")
	settled(t, i, capture)
}

// Two calls with one id, of which the later one is answered first.
func TestStdioSameIDOutOfOrder(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	c := listen(t, t.Context(), i)
	slow := rpc("1", "tools/call", `{"name":"waits","arguments":{"x":"`+strings.Repeat("y", 5000)+`"}}`)
	quick := rpc("1", "tools/call", callEcho)
	c.send(slow)
	recv(t, s.entered)
	c.call(quick, `"id":1`)
	if err := c.hangUp(); err != nil {
		t.Error(err)
	}
	events, _ := operations(capture)
	for _, e := range events {
		want := len(quick)
		if e["gen_ai.tool.name"] == "waits" {
			want = len(slow)
		}
		if e["otelmcp.request.size"] != strconv.Itoa(want) {
			t.Errorf("%s has %s bytes, want %d", e["gen_ai.tool.name"], e["otelmcp.request.size"], want)
		}
	}
	settled(t, i, capture)
}

// A notification handler that dispatches on its own is not a line of the client's.
func TestStdioOwnDispatch(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	s.AddNotificationHandler("notifications/x", func(ctx context.Context, _ mcp.JSONRPCNotification) {
		s.HandleMessage(ctx, json.RawMessage(rpc("1", "tools/call", callEcho)))
		s.HandleMessage(ctx, json.RawMessage(rpc("2", "evil", `{}`)))
	})
	c := listen(t, t.Context(), i)
	c.send(`{"jsonrpc":"2.0","method":"notifications/x"}`)
	c.call(rpc("3", "ping", "{}"), `"id":3`)
	if err := c.hangUp(); err != nil {
		t.Error(err)
	}
	wantRecords(t, capture, "ok dispatch notifications/x - -", "ok handler tools/call - -", "rejected dispatch evil - -32601", "ok handler ping - -")
	settled(t, i, capture)
}

// A line that mcp-go did not wait for the end of is recorded when it gives up, and
// not again when the rest comes.
func TestStdioCutOff(t *testing.T) {
	t.Run("by a shutdown", func(t *testing.T) {
		s, capture := instrumented(t)
		i := otelmcp.Instrument(s.MCPServer)
		ctx, cancel := context.WithCancel(t.Context())
		c := listen(t, ctx, i)
		c.call(rpc("1", "ping", "{}"), `"id":1`)
		_, _ = io.WriteString(c.in, `{"jsonrpc":"2.0","id":2,"method":"tools/ca`)
		// The reader asks for more when it has seen that.
		_, _ = io.WriteString(c.in, `l`)
		cancel()
		_ = recv(t, c.done)
		wantRecords(t, capture, "ok handler ping - -", "cancelled transport - - - shutdown")
		settled(t, i, capture)
		_, _ = io.WriteString(c.in, `l"}`+"\n"+rpc("3", "ping", "{}")+"\n")
		_ = c.in.Close()
		eventually(t, func() bool { return len(records(capture)) >= 3 })
		wantRecords(t, capture, "ok handler ping - -", "cancelled transport - - - shutdown", "cancelled transport ping - - shutdown")
		settled(t, i, capture)
	})
	t.Run("by a reader that is stuck", func(t *testing.T) {
		s, capture := instrumented(t)
		i := otelmcp.Instrument(s.MCPServer)
		if err := i.Listen(t.Context(), &stuckReader{rpc("1", "ping", "{}")}, io.Discard, quietStdio); err == nil {
			t.Error("Listen ends well")
		}
		wantRecords(t, capture, "cancelled transport ping - - disconnect")
		settled(t, i, capture)
	})
}

// stuckReader reads what it has, and then nothing for ever.
type stuckReader struct{ b string }

func (r *stuckReader) Read(p []byte) (int, error) {
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}

// What a call costs does not depend on how many others wait.
func BenchmarkStdioPending(b *testing.B) {
	for _, waiting := range []int{0, 4000} {
		b.Run(strconv.Itoa(waiting), func(b *testing.B) {
			s, _ := instrumented(b)
			i := otelmcp.Instrument(s.MCPServer)
			s.AddPrompt(mcp.NewPrompt("holds"), func(ctx context.Context, _ mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
			c := listen(b, b.Context(), i)
			for k := range waiting {
				c.send(rpc(strconv.Itoa(10+k), "prompts/get", `{"name":"holds"}`))
			}
			for b.Loop() {
				c.send(rpc("1", "tools/call", callEcho))
				<-c.lines
			}
			b.StopTimer()
			_ = c.hangUp()
		})
	}
}
