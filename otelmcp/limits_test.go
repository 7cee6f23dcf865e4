// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// The limits of all that is kept: each map, ring and pool of the package and of its
// internal ones, with its bounds in entries and in bytes, and a flood of it. A test in
// internal/repocheck holds the names against the source.

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/definition"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/pending"
	flow "github.com/otelmcp/otelmcp-go/otelmcp/internal/secrets"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/session"
	events "github.com/otelmcp/otelmcp-go/otelmcp/internal/sse"
	"github.com/otelmcp/otelmcp-go/semconv"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	// hugeText is the size of what a peer can choose, just below what net/http takes.
	hugeText = 900 * kib
	// hugeOnes is how many of those are sent: more than fit into any bound in bytes.
	hugeOnes = 40
)

// hugeTextOf returns a text of its own that is as large as a peer can make it.
func hugeTextOf(n int) string { return fmt.Sprintf("%d-", n) + strings.Repeat("x", hugeText) }

// flood is a server that is instrumented, and what it emits to.
type flood struct {
	*testing.T
	*boundedPipeline
	srv  *server.MCPServer
	inst *otelmcp.Instrumentation
	rec  *operation.Recorder // for what is flooded on its own
}

func newFlood(t *testing.T) *flood {
	t.Helper()
	f := &flood{T: t, boundedPipeline: newBoundedPipeline(t)}
	f.srv = echoServer()
	f.inst = otelmcp.Instrument(f.srv, f.options()...)
	f.rec = operation.New(operation.Config{
		ScopeName: otelmcp.ScopeName, TracerProvider: f.trace, MeterProvider: f.metric, LoggerProvider: f.log,
	})
	return f
}

// serve has h, behind the edge, answer a request.
func (f *flood) serve(h http.Handler, method, url, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(f.Context(), method, url, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for k := 0; k < len(header); k += 2 {
		r.Header.Set(header[k], header[k+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// ask has the server ask for n things in a new session, and some of them of no size
// that is usual.
func (f *flood) ask(id string, n int) {
	if err := f.srv.RegisterSession(f.Context(), server.NewInProcessSession(id, nil)); err != nil {
		f.Fatal(err)
	}
	asks := f.inst.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for k := range n {
			method := "roots/list"
			if k%100 == 0 {
				method = "ping"
			}
			fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":\"%s%d\",\"method\":%q}\n\n", strings.Repeat("i", 900), k, method)
		}
		w.(http.Flusher).Flush()
	}))
	f.serve(asks, http.MethodGet, "/mcp", "", server.HeaderKeySessionID, id)
}

// TestAskedInSessionsThatEnded: what nobody waits for any more makes room, and is not
// refused.
func TestAskedInSessionsThatEnded(t *testing.T) {
	const n = 20_000
	f := newFlood(t)
	for k := range 4 { // more than there is room for
		id := fmt.Sprintf("asked-%d", k)
		f.ask(id, n)
		f.srv.UnregisterSession(t.Context(), id)
	}
	_, sums := f.points(t)
	if n := sums[semconv.OTelMCPTelemetryRefusedName+semconv.OTelMCPRefusedReasonPendingTable]; n != 0 {
		t.Errorf("%d are refused", n)
	}
}

// mixed are n short texts, and huge ones among them.
func mixed(n int) iter.Seq[string] {
	return func(yield func(string) bool) {
		for k := range n + hugeOnes {
			text := fmt.Sprintf("n-%d", k)
			if k%(1+n/hugeOnes) == 0 {
				text = hugeTextOf(k)
			}
			if !yield(text) {
				return
			}
		}
	}
}

// limits are what a peer can fill. A flood returns how many entries there are in the
// end, and whatever keeps them.
var limits = []struct {
	names   string
	entries int
	bytes   uint64
	refused string // the reason that what finds no room is counted with, if it is
	flood   func(f *flood) (entries int, keep any)
}{
	{
		"otelmcp.notices.table", 1024, 512 * kib, semconv.OTelMCPRefusedReasonPendingTable,
		func(f *flood) (int, any) { // anybody can ask to cancel anything
			h := f.inst.Handler(server.NewStreamableHTTPServer(f.srv, server.WithStateLess(true)))
			for id := range mixed(2000) {
				target := `"a"`
				if len(id) < 100 {
					target = `"` + id + `"`
				}
				w := f.serve(h, http.MethodPost, "/mcp",
					`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`+target+`}}`, server.HeaderKeySessionID, id)
				if w.Code >= http.StatusBadRequest {
					f.Fatalf("answered %d", w.Code)
				}
			}
			return otelmcp.NoticesHeld(f.inst), f.inst
		},
	},
	{
		"otelmcp.askedTable otelmcp.stream.pings otelmcp.stream.found otelmcp.stream.unsettled", 32768, 40 * mib,
		semconv.OTelMCPRefusedReasonPendingTable,
		func(f *flood) (int, any) { // a server that asks, and is not answered
			f.ask("asked", 34_000)
			return otelmcp.Kept(f.inst)["asked"], f.inst
		},
	},
	{
		"otelmcp.httpEdge.streams otelmcp.answers.open otelmcp.answers.held", 4096, 3 * 8 * mib, semconv.OTelMCPRefusedReasonPendingTable,
		func(f *flood) (int, any) { // messages whose answers never come
			ctx, cancel := context.WithCancel(f.Context())
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/sse", nil)
			pr, pw := io.Pipe()
			done := make(chan struct{})
			go func() {
				defer close(done)
				f.inst.Handler(server.NewSSEServer(f.srv).SSEHandler()).ServeHTTP(pipedResponse{httptest.NewRecorder(), pw}, r)
			}()
			f.Cleanup(func() {
				cancel()
				_ = pr.Close()
				<-done
			})
			var to string
			found := make(chan struct{})
			go readEvents(pr, func(event, data string) {
				if event == "endpoint" {
					to = data
					close(found)
				}
			})
			<-found
			accepts := f.inst.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(http.StatusAccepted)
			}))
			for k := range hugeOnes {
				f.serve(accepts, http.MethodPost, to, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, "X-Text", hugeTextOf(k))
				f.serve(accepts, http.MethodPost, to, `{"jsonrpc":"2.0","id":"`+hugeTextOf(k)+`","method":"ping"}`)
			}
			if n := otelmcp.Kept(f.inst)["posted"]; n == 0 || n > 8*mib/hugeText {
				f.Errorf("%d huge messages are open", n)
			}
			for range 5000 {
				f.serve(accepts, http.MethodPost, to, `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
			}
			return otelmcp.Kept(f.inst)["posted"], f.inst
		},
	},
	{
		"otelmcp.nameTable.m", 1024, 512 * kib, semconv.OTelMCPRefusedReasonNameTable,
		func(f *flood) (int, any) {
			otelmcp.AdmitNames(f.inst, mixed(2000))
			return otelmcp.Kept(f.inst)["names"], f.inst
		},
	},
	{
		"otelmcp.taskTable.m otelmcp.taskTable.ring", 4096, 4096 * kib, semconv.OTelMCPRefusedReasonTaskTable,
		func(f *flood) (int, any) {
			otelmcp.AddTasks(f.inst, "tool", mixed(6000))
			otelmcp.AddTasks(f.inst, hugeTextOf(0), mixed(10))
			return otelmcp.Kept(f.inst)["tasks"], f.inst
		},
	},
	{
		"otelmcp.learned", 1024, 8 * mib, "", // counted by the client
		func(f *flood) (int, any) { // a hostile server lists
			c := &scripted{}
			t := otelmcp.WrapTransport(c, f.options()...)
			list := func(tools ...string) {
				c.answer = `{"tools":[` + strings.Join(tools, ",") + `]}`
				c.send(f, t, "tools/list")
			}
			for k := range 2000 / 50 {
				var page []string
				for n := range 50 {
					page = append(page, fmt.Sprintf(`{"name":"t%d","inputSchema":{"properties":{%q:{}}}}`, 50*k+n, strings.Repeat("p", 4*kib)))
				}
				list(page...)
			}
			for k := range hugeOnes / 4 {
				list(`{"name":"`+hugeTextOf(k)+`"}`, fmt.Sprintf(`{"name":"t%d","inputSchema":{"properties":{%q:{}}}}`, k, hugeTextOf(k)))
			}
			n, bytes := otelmcp.ListedTools(t)
			if bytes > 4*mib {
				f.Errorf("the names of arguments take %d bytes", bytes)
			}
			return n, t
		},
	},
	{
		"otelmcp.remote.inputs", 256, 8 * mib, "",
		func(f *flood) (int, any) { // a hostile server asks in its results
			c := &scripted{}
			t := otelmcp.WrapTransport(c, f.options()...)
			for k := range 100 {
				var asked []string
				for n := range 64 {
					asked = append(asked, fmt.Sprintf(`"%d":{"method":"roots/list"}`, n))
				}
				c.answer = fmt.Sprintf(`{"resultType":"input_required","requestState":"s%d","inputRequests":{%s}}`, k, strings.Join(asked, ","))
				c.send(f, t, "tools/call")
			}
			for k := range hugeOnes {
				c.answer = fmt.Sprintf(`{"resultType":"input_required","requestState":"%d","inputRequests":{"a":{"method":%q}}}`, k, hugeTextOf(k))
				c.send(f, t, "tools/call")
			}
			n := otelmcp.InputsHeld(t)
			f.Cleanup(func() { _ = t.Close() })
			return n, t
		},
	},
	{
		"otelmcp.arguments.byMask", 256, 40 * mib, "", // a cache: nothing is refused
		func(f *flood) (int, any) { // callers choose which arguments to send
			var names []string
			for k := range 64 {
				names = append(names, fmt.Sprintf("%02d%s", k, strings.Repeat("n", 100)))
			}
			var all []any
			for range 400 {
				all = append(all, otelmcp.CombineArguments(f.inst, names, 1<<8+1<<7))
			}
			return 0, all
		},
	},
	{
		"secrets.Set.known secrets.Set.pieces secrets.secret.pieces", 8 << 10, 2 * mib, "", // the oldest are forgotten
		func(*flood) (int, any) { // what a server sends as tokens
			s := &flow.Set{}
			for k := range 3000 {
				s.Add(fmt.Sprintf("%d%s", k, strings.Repeat("aB3", 40)))
			}
			for k := range 40 {
				s.Add(fmt.Sprintf("%d%s", k, strings.Repeat("x", 900<<10)))
			}
			return 0, s
		},
	},
	{
		"session.shard.m session.shard.issued operation.SafeUser.attrs", session.Max, session.Max * 2 * kib, semconv.OTelMCPRefusedReasonSessionTable,
		func(f *flood) (int, any) { // a GET with any id registers a session
			sessions := session.NewTable(f.rec)
			for k := range hugeOnes {
				sessions.Issue(hugeTextOf(k))
				sessions.Start(f.Context(), hugeTextOf(k), &session.Session{
					UserID: hugeTextOf(k), Owner: hugeTextOf(k), Issuer: hugeTextOf(k),
				})
			}
			n := 0
			for k := range session.Max + 100 {
				id := fmt.Sprintf("session-%d", k)
				sessions.Start(f.Context(), id, &session.Session{Transport: semconv.OTelMCPTransportOther})
				if sessions.Get(id) != nil {
					n++
				}
			}
			return n + hugeOnes, sessions
		},
	},
	{
		"session.shard.ended session.shard.ring", session.MaxEnded, session.MaxEnded * 64, "", // the oldest is forgotten
		func(f *flood) (int, any) {
			sessions := session.NewTable(f.rec)
			none := &session.Session{Transport: semconv.OTelMCPTransportOther}
			for text := range mixed(session.MaxEnded) {
				sessions.End(f.Context(), text, "", none)
			}
			return 0, sessions
		},
	},
	{
		"definition.Table.m", definition.Max, 2*definition.MaxBytes + definition.Max*2*kib, semconv.OTelMCPRefusedReasonDefinitionTable,
		func(f *flood) (int, any) { // a program passes on the tools of somebody else
			table := (&definition.Table[mcp.Tool]{
				Kind: semconv.OTelMCPDefinitionKindTool, Report: definition.None, Same: func(_, _ *mcp.Tool) bool { return false },
			}).Attach(f.rec)
			large := strings.Repeat("x", definition.MaxSize-8*kib)
			all := map[string]mcp.Tool{}
			for k := range 12_000 {
				name := fmt.Sprintf("tool-%d", k)
				all[name] = mcp.Tool{Name: name}
			}
			table.Replace(f.Context(), func() map[string]mcp.Tool { return all })
			if n := table.Len(); n != definition.Max {
				f.Errorf("it has %d small definitions, of %d", n, definition.Max)
			}
			clear(all)
			for k := range definition.MaxBytes/definition.MaxSize + 20 {
				all[fmt.Sprintf("large-%d", k)] = mcp.Tool{Description: strings.Clone(large)}
			}
			for k := range 10 {
				all[hugeTextOf(k)] = mcp.Tool{Description: hugeTextOf(k)}
			}
			table.Replace(f.Context(), func() map[string]mcp.Tool { return all })
			clear(all)
			for k := range 10 {
				table.See(f.Context(), fmt.Sprintf("seen-%d", k), &mcp.Tool{Description: hugeTextOf(k)})
				table.See(f.Context(), fmt.Sprintf("large-%d", 1000+k), &mcp.Tool{Description: strings.Clone(large)})
			}
			if n := table.Len(); n < definition.MaxBytes/definition.MaxSize {
				f.Errorf("it has %d large definitions, and there is room for more", n)
			}
			return table.Len(), table
		},
	},
	{
		"operation.seriesCache.m operation.series.attrs operation.series.duration operation.series.messages operation.series.sizes",
		2048, 24 * mib, "", // a cache: nothing is refused
		func(f *flood) (int, any) {
			for k := range 4000 {
				o := &operation.Operation{}
				f.rec.Init(o, f.Context(), operation.RoleClient)
				o.Method.Text = semconv.MCPMethodNameToolsCall
				o.Tool = operation.Name{Text: fmt.Sprintf("%s%d", strings.Repeat("t", 120), k), Known: true}
				o.Code = k
				o.Finish()
			}
			return 0, f.rec
		},
	},
	{
		"pending.Table.byKey pending.Table.spares.queues", 1000, 512 * kib, "", // counted by who has the table
		func(f *flood) (int, any) {
			table := pending.NewTable[int](1000)
			for k := range 5000 {
				if _, full := table.Add(fmt.Sprintf("key-%d", k), k); full != (k >= 1000) {
					f.Fatalf("at the entry %d the table is full: %v", k, full)
				}
			}
			n := 0
			for range table.All() {
				n++
			}
			return n, table
		},
	},
	{
		"sse.Scanner.data sse.Scanner.field sse.Scanner.typ", 1, 8 * kib, "", // only the beginning is kept
		func(*flood) (int, any) {
			n := 0
			s := events.NewScanner(kib, func(events.Event) { n++ })
			for _, field := range []string{"", "event: ", "data: "} {
				_, _ = io.WriteString(s, field)
				for k := range hugeOnes / 4 {
					_, _ = io.WriteString(s, hugeTextOf(k))
				}
				_, _ = io.WriteString(s, "\n")
			}
			return n, s
		},
	},
	{
		"otelmcp.bodies otelmcp.body.buf otelmcp.exchange.head", 0, mib, "", // a pool of buffers of at most 64 KiB
		func(f *flood) (int, any) {
			h := f.inst.Handler(server.NewStreamableHTTPServer(f.srv, server.WithStateLess(true)))
			for k := range 4 {
				f.serve(h, http.MethodPost, "/mcp", `{"jsonrpc":"2.0","id":"`+hugeTextOf(k)+`","method":"evil"}`)
			}
			return 0, h
		},
	},
}

// others are containers that no peer can fill, by the reason why.
var others = map[string]string{
	"Constants of the package.": `jsonrpc.common otelmcp.authDecisions otelmcp.authKinds otelmcp.authMechanisms otelmcp.authReasons
		otelmcp.gapByFact otelmcp.gapBySeam otelmcp.gapBySignal otelmcp.gapByTransport otelmcp.oauthErrors otelmcp.seams
		operation.rules scrub.alphabetNames scrub.needle.word scrub.prefixes sse.bom`,

	"What the program configures, of one size from then on.": `definition.Table.Members
		operation.Config.Attributes operation.Config.HashKey operation.Members.keys operation.Members.names operation.Recorder.extra operation.Recorder.hashKey
		operation.methods.byName operation.Recorder.refusals operation.method.observe operation.method.start
		otelmcp.bearer.options otelmcp.bearer.scopes otelmcp.config.attributes otelmcp.config.hashKey otelmcp.config.onEvents
		otelmcp.config.trusted otelmcp.nameSet.names
		otelmcp.remote.fields peer.Resolver.trusted`,

	"A message, an HTTP exchange or a decision while it lasts, of which a transport lets in no more than net/http and mcp-go do; an edge looks at 1 MiB.": `
		jsonrpc.Envelope.meta jsonrpc.Input.Meta jsonrpc.Params.Arguments jsonrpc.Params.Responses
		jsonrpc.Params.meta jsonrpc.Params.raw jsonrpc.Result.Content jsonrpc.Result.Prompts jsonrpc.Result.Requests
		jsonrpc.Result.Structured jsonrpc.Result.Tools jsonrpc.params.exactMeta jsonrpc.params.meta jsonrpc.reader.idRaw jsonrpc.scan.b
		operation.Decision.Audience operation.Decision.Facts operation.Decision.Granted operation.Decision.Required operation.Decision.UserRoles
		operation.Event.Attributes operation.Event.safe operation.capturedOn.attrs operation.Operation.Facts operation.Operation.Peer operation.Operation.UserRoles
		otelmcp.AuthDecision.Audience otelmcp.AuthDecision.Roles otelmcp.AuthDecision.ScopesGranted otelmcp.AuthDecision.ScopesRequired
		otelmcp.Identity.Roles otelmcp.TokenInfo.Audience otelmcp.TokenInfo.Extra otelmcp.TokenInfo.Roles otelmcp.TokenInfo.Scopes
		otelmcp.challenge.scopes otelmcp.connection.roles otelmcp.exchange.challenges otelmcp.exchange.untold
		otelmcp.message.links otelmcp.metaCarrier otelmcp.rawLine.text otelmcp.serverStep.of otelmcp.tee.last otelmcp.tee.sent
		scrub.scanner.spans session.Session.Arrived sse.Event.Data`,

	"Pools, which the collector empties: what goes back holds 256 attributes, or 8 options, at most, and is cleared.": `operation.attrPool operation.optsPool`,

	"The transports, seams and edges that there are.": `otelmcp.Coverage.Edges otelmcp.Coverage.Gaps otelmcp.Coverage.Seams
		otelmcp.Coverage.Transports otelmcp.coverage.edges otelmcp.coverage.lostSeams otelmcp.coverage.transports`,

	"The types of sessions in the program.": `otelmcp.Instrumentation.wraps`,

	"One entry of one size for each server, HTTP server or TLS connection of the program, for as long as that lives.": `
		otelmcp.onceEach.m otelmcp.httpEdge.servers otelmcp.verified`,

	"A number for each length of a list of known definitions, of which there are twice definition.Max at most.": `otelmcp.listLengths.m`,

	"A part of a definition, within definition.MaxBytes, or of what is listed, within the bound of learned.": `otelmcp.arguments.names`,

	"Lines of one stdio connection: 4096 in each place, and 8 MiB of their text; of one that has not ended 1 MiB and an outline of 64 KiB. TestStdioUnansweredIsBounded floods them.": `
		otelmcp.pairs.arrived otelmcp.pairs.handled otelmcp.pairs.ended otelmcp.pairs.inside otelmcp.pairs.held otelmcp.pairs.open otelmcp.pairs.loose
		otelmcp.pairs.spent otelmcp.lineReader.part otelmcp.lineWriter.part jsonrpc.Outline.b`,

	"The servers that share hooks, and their sessions that are remembered, each by a key of 64 bytes at most.": `
		otelmcp.hookSet.servers otelmcp.hookSet.sessions`,

	"Streams that are open, which net/http lets in.": `otelmcp.openStreams.open`,

	"Steps of an OAuth flow that are under way: 32 of each, with texts of 4 KiB. TestOAuthAnswersAreBounded floods what is read of an answer.": `
		otelmcp.oauthFlow.open otelmcp.oauthFlow.moved members.Reader.kept members.Reader.name members.Reader.objects
		members.Reader.targets members.Reader.wanted members.target.fields members.field.name`,
}

// pipedResponse is a response that is read while it is written.
type pipedResponse struct {
	http.ResponseWriter
	w io.Writer
}

func (p pipedResponse) Write(b []byte) (int, error) { return p.w.Write(b) }
func (pipedResponse) Flush()                        {}

// scripted is a transport whose server answers what it is told to.
type scripted struct {
	transport.Interface
	answer string
}

func (*scripted) GetSessionId() string { return "" }
func (*scripted) Close() error         { return nil }
func (s *scripted) SendRequest(_ context.Context, r transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
	return &transport.JSONRPCResponse{JSONRPC: "2.0", ID: r.ID, Result: json.RawMessage(s.answer)}, nil
}

func (*scripted) send(f *flood, t transport.Interface, method string) {
	if _, err := t.SendRequest(f.Context(), transport.JSONRPCRequest{JSONRPC: "2.0", ID: mcp.NewRequestId(int64(1)), Method: method}); err != nil {
		f.Error(err)
	}
}

// measuresMemory is for a test that floods memory and measures it, for which the race
// detector has its own rules and takes many times as long.
func measuresMemory(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("it measures memory: make bounded runs it, without the race detector")
	}
}

// TestLimits floods each container with more than it takes, in number and in size.
func TestLimits(t *testing.T) {
	measuresMemory(t)
	if len(others) == 0 {
		t.Error("nothing is left out")
	}
	// All servers are there before anything is measured, and until the end: what becomes
	// garbage in the meantime would hide what grows.
	floods := make([]*flood, len(limits))
	for k := range floods {
		floods[k] = newFlood(t)
	}
	for k, l := range limits {
		t.Run(strings.Fields(l.names)[0], func(t *testing.T) {
			f := floods[k]
			f.T = t
			before := heapInUse()
			start := time.Now()
			entries, keep := l.flood(f)
			took := time.Since(start)
			after := heapInUse()
			_, sums := f.points(t)
			refused := sums[semconv.OTelMCPTelemetryRefusedName+l.refused]
			t.Logf("%d entries, %d KiB of %d, %d refused, in %v", entries, (int64(after)-int64(before))>>10, l.bytes>>10, refused, took)
			if entries > l.entries {
				t.Errorf("it has %d entries, of at most %d", entries, l.entries)
			}
			const noise = 3 * mib // what the pipeline keeps of its own
			if after > before+l.bytes+noise {
				t.Errorf("the heap grew by %d KiB, of at most %d", (after-before)>>10, l.bytes>>10)
			}
			if l.refused != "" && refused == 0 {
				t.Errorf("nothing is counted as refused for %s", l.refused)
			}
			runtime.KeepAlive(keep)
		})
	}
	runtime.KeepAlive(floods)
}
