// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// The stdio edge against a corpus of byte streams, good and bad: the
// instrumented server writes what the bare one writes, and each line leaves
// exactly one record.

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

type stdioCase struct {
	name string
	in   string
	// answers is how many lines come back before the input ends.
	answers int
	// want are the records, as shown by show.
	want string
}

const hello = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":` + initializeParams + "}\n"

var rawLines = []stdioCase{
	{name: "initialize", in: hello, answers: 1, want: "ok handler initialize - -"},
	{name: "ping", in: rpc("1", "ping", "{}") + "\n", answers: 1, want: "ok handler ping - -"},
	{name: "tools/call", in: rpc("1", "tools/call", callEcho) + "\n", answers: 1, want: "ok handler tools/call - -"},
	{name: "modern", in: modernRPC("1", "tools/call", callEcho) + "\n", answers: 1, want: "ok handler tools/call - -"},
	{name: "CRLF", in: rpc("1", "ping", "{}") + "\r\n", answers: 1, want: "ok handler ping - -"},
	{name: "a notification", in: `{"jsonrpc":"2.0","method":"notifications/initialized"}` + "\n", want: "ok dispatch notifications/initialized - -"},
	{name: "progress", in: `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"a","progress":1}}` + "\n", want: "ok dispatch notifications/progress - -"},
	{name: "cancelled, of nothing", in: `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}` + "\n", want: "ok dispatch notifications/cancelled - -"},
	{
		name: "pipelined", in: rpc("1", "ping", "{}") + "\n" + rpc("2", "tools/list", "{}") + "\n" + `{"jsonrpc":"2.0","method":"notifications/initialized"}` + "\n" + rpc(`"3"`, "tools/call", callEcho) + "\n", answers: 3,
		want: "ok handler ping - -; ok handler tools/list - -; ok dispatch notifications/initialized - -; ok handler tools/call - -",
	},
	{name: "the same id three times", in: strings.Repeat(rpc("1", "ping", "{}")+"\n", 3), answers: 3, want: "ok handler ping - -; ok handler ping - -; ok handler ping - -"},
	{
		name: "the same id for several methods", in: rpc("1", "ping", "{}") + "\n" + rpc("1", "tools/call", `{"name":"fails"}`) + "\n" + rpc("1", "evil", "{}") + "\n", answers: 3,
		want: "ok handler ping - -; tool_error handler tools/call - -; rejected dispatch evil - -32601",
	},
	{
		name: "ids of other types", in: rpc("true", "ping", "{}") + "\n" + rpc(`{"a":1}`, "ping", "{}") + "\n" + rpc("1.5", "ping", "{}") + "\n" + rpc("1e30", "ping", "{}") + "\n", answers: 4,
		want: "ok handler ping - -; ok handler ping - -; ok handler ping - -; ok handler ping - -",
	},
	{name: "a tool that fails", in: rpc("1", "tools/call", `{"name":"fails"}`) + "\n", answers: 1, want: "tool_error handler tools/call - -"},
	{name: "a tool that panics", in: rpc("1", "tools/call", `{"name":"panics"}`) + "\n", answers: 1, want: "panic handler tools/call - -"},
	{name: "a prompt that panics", in: rpc("1", "prompts/get", `{"name":"panics"}`) + "\n", answers: 1, want: "panic handler prompts/get - -"},
	{name: "an unknown tool", in: rpc("1", "tools/call", `{"name":"nope"}`) + "\n", answers: 1, want: "rejected dispatch tools/call - -32602"},
	{name: "a hidden tool", in: rpc("1", "tools/call", `{"name":"hidden"}`) + "\n", answers: 1, want: "denied dispatch tools/call - -32602 hidden"},
	{name: "an unknown method", in: rpc("1", "evil", "{}") + "\n", answers: 1, want: "rejected dispatch evil - -32601"},
	{
		name: "unknown methods", in: rpc("1", "evil", "{}") + "\n" + rpc(`"1"`, "evil", "{}") + "\n" + rpc("2", "bad", "{}") + "\n", answers: 3,
		want: "rejected dispatch evil - -32601; rejected dispatch evil - -32601; rejected dispatch bad - -32601",
	},
	{name: "bad params", in: rpc("1", "tools/call", "[]") + "\n", answers: 1, want: "rejected dispatch tools/call - -32600"},
	{name: "an empty line", in: "\n", answers: 1, want: "rejected transport - - -32700"},
	{name: "empty lines", in: "\n\n\r\n \n", answers: 4, want: "rejected transport - - -32700; rejected transport - - -32700; rejected transport - - -32700; rejected transport - - -32700"},
	{name: "a word", in: "hello\n", answers: 1, want: "rejected transport - - -32700"},
	{name: "half an object", in: `{"jsonrpc":"2.0","id":1,"meth` + "\n", answers: 1, want: "rejected transport - - -32700"},
	{name: "two objects in a line", in: rpc("1", "ping", "{}") + rpc("2", "ping", "{}") + "\n", answers: 1, want: "rejected transport - - -32700"},
	{name: "a batch", in: "[" + rpc("1", "ping", "{}") + "]\n", answers: 1, want: "rejected transport - - -32700"},
	{name: "null", in: "null\n", answers: 1, want: "rejected transport - - -32600"},
	{name: "a number", in: "7\n", answers: 1, want: "rejected transport - - -32700"},
	{name: "an empty object", in: "{}\n", answers: 1, want: "rejected transport - - -32600"},
	{name: "deep nesting", in: rpc("1", "ping", deep) + "\n", answers: 1, want: "rejected transport - - -32700"},
	{name: "bytes that are no UTF-8", in: "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{\"a\":\"\xff\"}}\n", answers: 1, want: "ok handler ping - -"},
	{name: "binary", in: "\x00\x01\x02\xff\n", answers: 1, want: "rejected transport - - -32700"},
	{name: "a forged line in a name", in: rpc("1", "tools/call", `{"name":"echo\nlevel=INFO msg=ok"}`) + "\n", answers: 1, want: "rejected dispatch tools/call - -32602"},
	{name: "another version", in: `{"jsonrpc":"1.0","id":1,"method":"ping"}` + "\n", answers: 1, want: "rejected transport ping - -32600"},
	{name: "another version of a notification", in: `{"jsonrpc":"1.0","method":"notifications/initialized"}` + "\n", answers: 1, want: "rejected transport notifications/initialized - -32600"},
	{
		name: "another version beside a good one with its id", in: `{"jsonrpc":"1.0","id":1,"method":"ping"}` + "\n" + rpc("1", "tools/call", callEcho) + "\n", answers: 2,
		want: "rejected transport ping - -32600; ok handler tools/call - -",
	},
	{name: "a version that is a number", in: `{"jsonrpc":2,"id":1,"method":"ping"}` + "\n", answers: 1, want: "rejected transport ping - -32700"},
	{name: "a method that is a number", in: `{"jsonrpc":"2.0","id":1,"method":7}` + "\n", answers: 1, want: "rejected transport - - -32700"},
	{name: "a notification with params that are a list", in: `{"jsonrpc":"2.0","method":"notifications/initialized","params":[]}` + "\n", answers: 1, want: "rejected transport notifications/initialized - -32700"},
	{name: "no id and no method", in: `{"jsonrpc":"2.0"}` + "\n", want: "ok dispatch - - -"},
	{name: "duplicate keys", in: `{"jsonrpc":"2.0","id":1,"id":2,"method":"ping","method":"tools/list"}` + "\n", answers: 1, want: "ok handler tools/list - -"},
	{name: "keys in capitals", in: `{"JSONRPC":"2.0","ID":1,"METHOD":"ping"}` + "\n", answers: 1, want: "ok handler ping - -"},
	{name: "an answer that nobody asked for", in: `{"jsonrpc":"2.0","id":1,"result":{"a":1}}` + "\n", want: "rejected transport - - -"},
	{name: "a null answer that nobody asked for", in: `{"jsonrpc":"2.0","id":1,"result":null}` + "\n", answers: 1, want: "rejected dispatch - - -32601"},
	{name: "an error that nobody asked for", in: `{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}` + "\n", answers: 1, want: "rejected dispatch - - -32601"},
	{name: "a request with a result", in: `{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}` + "\n", want: "rejected transport ping - -"},
	{name: "a modern ping", in: modernRPC("1", "ping", "{}") + "\n", answers: 1, want: "rejected dispatch ping - -32601"},
	{name: "a version to come", in: strings.Replace(modernRPC("1", "tools/list", "{}"), "2026-07-28", "2099-01-01", 1) + "\n", answers: 1, want: "rejected transport tools/list - -32022"},
	{name: "no capabilities", in: `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"` + mcp.MetaKeyProtocolVersion + `":"2026-07-28"}}}` + "\n", answers: 1, want: "rejected transport tools/list - -32602"},
	{name: "a line that does not end", in: rpc("1", "ping", "{}") + "\n" + rpc("2", "ping", "{}"), answers: 1, want: "ok handler ping - -; cancelled transport ping - - disconnect"},
	{name: "nothing", in: "", want: ""},
	{name: "garbage and then a call", in: "garbage\n" + rpc("1", "tools/call", callEcho) + "\n", answers: 2, want: "rejected transport - - -32700; ok handler tools/call - -"},
	{name: "more than is looked at", in: rpc("1", "tools/call", `{"name":"echo","arguments":{"text":"`+large+`"}}`) + "\n", answers: 1, want: "ok handler tools/call - -"},
	{name: "more than is looked at, and the id at the end", in: `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"echo","arguments":{"text":"` + large + `"}},"id":7}` + "\n", answers: 1, want: "ok handler tools/call - -"},
	{name: "more garbage than is looked at", in: large + "\n", answers: 1, want: "rejected transport - - -32700"},
	{name: "a line of 64 MB", in: rpc("1", "tools/call", `{"name":"fails","arguments":{"text":"`+strings.Repeat("y", largestLine())+`"}}`) + "\n", answers: 1, want: "tool_error handler tools/call - -"},
}

// largestLine is the size of the largest line: with the race detector mcp-go takes
// minutes for 64 MB.
func largestLine() int {
	if raceEnabled {
		return 4 << 20
	}
	return 64 << 20
}

// talkLines plays the input, waits for the answers, ends the input, and returns
// what was written.
func talkLines(t *testing.T, in io.Reader, answers int, listen func(in io.Reader, out io.Writer) error) []string {
	t.Helper()
	toServer, write := io.Pipe()
	out := &lineSink{line: make(chan struct{}, 1024)}
	done := make(chan error, 1)
	go func() { done <- listen(toServer, out) }()
	if _, err := io.Copy(write, in); err != nil {
		t.Errorf("write: %v", err)
	}
	for range answers {
		recv(t, out.line)
	}
	_ = write.Close()
	if err := recv(t, done); err != nil {
		t.Errorf("Listen: %v", err)
	}
	lines := strings.SplitAfter(out.String(), "\n")
	slices.Sort(lines)
	return lines
}

// lineSink keeps what is written, and tells of each line.
type lineSink struct {
	mu   sync.Mutex
	b    bytes.Buffer
	line chan struct{}
}

func (s *lineSink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b.Write(p)
	for range bytes.Count(p, []byte("\n")) {
		s.line <- struct{}{}
	}
	return len(p), nil
}

func (s *lineSink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

var quietStdio = server.WithErrorLogger(log.New(io.Discard, "", 0))

func listenBare(ctx context.Context, s *server.MCPServer) func(io.Reader, io.Writer) error {
	return func(in io.Reader, out io.Writer) error {
		b := server.NewStdioServer(s)
		quietStdio(b)
		return b.Listen(ctx, in, out)
	}
}

func listenEdge(ctx context.Context, i *otelmcp.Instrumentation) func(io.Reader, io.Writer) error {
	return func(in io.Reader, out io.Writer) error { return i.Listen(ctx, in, out, quietStdio) }
}

func TestStdioCorpus(t *testing.T) {
	chunks := map[string]func(io.Reader) io.Reader{
		"at once": func(r io.Reader) io.Reader { return r },
		"halves":  iotest.HalfReader,
		"bytes":   iotest.OneByteReader,
	}
	for _, c := range rawLines {
		for how, chunk := range chunks {
			if how != "at once" && len(c.in) > 8<<20 || how == "bytes" && len(c.in) > 10000 {
				continue // slow, and shows nothing new
			}
			t.Run(c.name+"/"+how, func(t *testing.T) {
				checkLeaks(t)
				want := talkLines(t, chunk(strings.NewReader(c.in)), c.answers, listenBare(t.Context(), newEverything().MCPServer))
				capture := telemetrytest.New(t)
				s := newEverything()
				i := otelmcp.Instrument(s.MCPServer, into(capture)...)
				got := talkLines(t, chunk(strings.NewReader(c.in)), c.answers, listenEdge(t.Context(), i))
				if !slices.Equal(got, want) {
					t.Errorf("written\n%q\nwithout instrumentation\n%q", got, want)
				}
				var expected []string
				if c.want != "" {
					expected = strings.Split(c.want, "; ")
				}
				is := records(capture)
				slices.Sort(is)
				slices.Sort(expected)
				if !slices.Equal(is, expected) {
					t.Errorf("recorded\n  %s\nwant\n  %s", strings.Join(is, "\n  "), strings.Join(expected, "\n  "))
				}
				for _, r := range capture.EventsNamed(semconv.OTelMCPOperationEventName) {
					e := event(r)
					if !regexp.MustCompile(`^stdio-[A-Z2-7]{26}$`).MatchString(e["mcp.session.id"]) || e["network.transport"] != "pipe" ||
						e["otelmcp.transport"] != "stdio" || e["network.protocol.name"] != "" {
						t.Errorf("the event says %v", e)
					}
				}
				if gaps := i.Coverage().Gaps; len(gaps) > 0 {
					t.Errorf("gaps: %v", gaps)
				}
			})
		}
	}
}

// A line that is too large says so, and its sizes are right all the same.
func TestStdioSizes(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	small := rpc("1", "tools/call", callEcho)
	big := rpc("2", "tools/call", `{"name":"echo","arguments":{"text":"`+large+`"}}`)
	written := talkLines(t, strings.NewReader(small+"\n"+big+"\n"), 2, listenEdge(t.Context(), i))
	for id, sent := range map[attribute.Key]string{"1": small, "2": big} {
		var e said
		for _, r := range capture.EventsNamed(semconv.OTelMCPOperationEventName) {
			if is := event(r); is["jsonrpc.request.id"] == string(id) {
				e = is
			}
		}
		if e["otelmcp.request.size"] != strconv.Itoa(len(sent)) {
			t.Errorf("request %s: %s bytes, want %d", id, e["otelmcp.request.size"], len(sent))
		}
		answer := written[slices.IndexFunc(written, func(l string) bool { return strings.Contains(l, `"id":`+string(id)) })]
		if e["otelmcp.response.size"] != strconv.Itoa(len(answer)-1) {
			t.Errorf("response %s: %s bytes, want %d", id, e["otelmcp.response.size"], len(answer)-1)
		}
		unread := ""
		if len(sent) > 1<<20 {
			unread = strconv.Itoa(len(sent) - 1<<20)
		}
		if e["otelmcp.request.unread"] != unread {
			t.Errorf("request %s: %q unread, want %q", id, e["otelmcp.request.unread"], unread)
		}
	}
	if n := capture.HistogramCount("otelmcp.server.request.size"); n != 2 {
		t.Errorf("%d request sizes", n)
	}
	if n := capture.HistogramCount("otelmcp.server.response.size"); n != 2 {
		t.Errorf("%d response sizes", n)
	}
}

// A client that is gone before its answer is written, or while its call runs,
// leaves one record that says so.
func TestStdioKilled(t *testing.T) {
	t.Run("while a call runs", func(t *testing.T) {
		s, capture := instrumented(t)
		i := otelmcp.Instrument(s.MCPServer)
		in, write := io.Pipe()
		done := make(chan error, 1)
		go func() { done <- listenEdge(t.Context(), i)(in, io.Discard) }()
		_, _ = io.WriteString(write, rpc("1", "tools/call", `{"name":"waits"}`)+"\n")
		recv(t, s.entered)
		_ = write.Close()
		if err := recv(t, done); err != nil {
			t.Error(err)
		}
		wantRecords(t, capture, "cancelled handler tools/call - -32603 disconnect")
		settled(t, i, capture)
	})
	t.Run("before its answer", func(t *testing.T) {
		s, capture := instrumented(t)
		i := otelmcp.Instrument(s.MCPServer)
		in, write := io.Pipe()
		done := make(chan error, 1)
		tried := make(chan struct{}, 8)
		go func() { done <- listenEdge(t.Context(), i)(in, brokenWriter{tried}) }()
		_, _ = io.WriteString(write, rpc("1", "tools/call", callEcho)+"\n")
		recv(t, tried)
		_ = write.Close()
		_ = recv(t, done)
		wantRecords(t, capture, "cancelled handler tools/call - - disconnect")
		settled(t, i, capture)
	})
	t.Run("by the server's shutdown", func(t *testing.T) {
		s, capture := instrumented(t)
		i := otelmcp.Instrument(s.MCPServer)
		in, write := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		reads := make(chan struct{}, 64)
		go func() { done <- listenEdge(ctx, i)(readerThatTells{in, reads}, io.Discard) }()
		recv(t, reads)
		_, _ = io.WriteString(write, rpc("1", "tools/call", `{"name":"waits"}`)+"\n")
		recv(t, s.entered)
		recv(t, reads) // mcp-go waits for the next line, and will leave that reader behind
		cancel()
		if err := recv(t, done); !errors.Is(err, context.Canceled) {
			t.Errorf("Listen: %v", err)
		}
		// The reader that mcp-go left behind still takes a line, which goes nowhere.
		_, _ = io.WriteString(write, rpc("2", "ping", "{}")+"\n")
		_ = write.Close()
		eventually(t, func() bool { return len(records(capture)) == 2 })
		wantRecords(t, capture, "cancelled handler tools/call - -32603 shutdown", "cancelled transport ping - - shutdown")
		settled(t, i, capture)
	})
	t.Run("at its own wish", func(t *testing.T) {
		s, capture := instrumented(t)
		i := otelmcp.Instrument(s.MCPServer)
		in, write := io.Pipe()
		out := &lineSink{line: make(chan struct{}, 8)}
		done := make(chan error, 1)
		go func() { done <- listenEdge(t.Context(), i)(in, out) }()
		_, _ = io.WriteString(write, rpc("1", "tools/call", `{"name":"waits"}`)+"\n")
		recv(t, s.entered)
		_, _ = io.WriteString(write, `{"jsonrpc":"2.0","method":"notifications/\u0063ancelled","params":{"requestId":1}}`+"\n")
		recv(t, out.line)
		_ = write.Close()
		_ = recv(t, done)
		wantRecords(t, capture, "cancelled handler tools/call - -32603 client_request", "ok dispatch notifications/cancelled - -")
		settled(t, i, capture)
	})
}

// readerThatTells tells of each read before it reads.
type readerThatTells struct {
	io.Reader
	reads chan<- struct{}
}

func (r readerThatTells) Read(p []byte) (int, error) {
	r.reads <- struct{}{}
	return r.Reader.Read(p)
}

type brokenWriter struct{ tried chan struct{} }

func (w brokenWriter) Write([]byte) (int, error) {
	w.tried <- struct{}{}
	return 0, errors.New("broken pipe")
}

// wantRecords checks what was recorded, in any order.
func wantRecords(t *testing.T, c *telemetrytest.Capture, want ...string) {
	t.Helper()
	is := records(c)
	slices.Sort(is)
	slices.Sort(want)
	if !slices.Equal(is, want) {
		t.Errorf("recorded\n  %s\nwant\n  %s", strings.Join(is, "\n  "), strings.Join(want, "\n  "))
	}
}

// settled checks that nothing is left behind: no operation, no session, no gap.
func settled(t *testing.T, i *otelmcp.Instrumentation, c *telemetrytest.Capture) {
	t.Helper()
	for _, gauge := range []string{"otelmcp.server.operations.active", "otelmcp.server.sessions.active"} {
		if n := c.CounterValue(gauge); n != 0 {
			t.Errorf("%s is %d", gauge, n)
		}
	}
	if gaps := i.Coverage().Gaps; len(gaps) > 0 {
		t.Errorf("gaps: %v", gaps)
	}
}

// What the server sends on its own is recorded: notifications, and requests by
// the one who made them.
func TestStdioOutgoing(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		srv := server.ServerFromContext(ctx)
		if err := srv.SendNotificationToClient(ctx, "notifications/progress", map[string]any{"progressToken": 1, "progress": 0.5}); err != nil {
			return nil, err
		}
		a, err := srv.RequestElicitation(ctx, mcp.ElicitationRequest{Params: question()})
		if err != nil {
			return nil, err
		}
		return mcp.NewToolResultText(string(a.Action)), nil
	})
	in, write := io.Pipe()
	read, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := listenEdge(t.Context(), i)(in, out)
		_ = out.Close()
		done <- err
	}()
	lines := make(chan string, 16)
	go func() {
		defer close(lines)
		for sc := bufio.NewScanner(read); sc.Scan(); {
			lines <- sc.Text()
		}
	}()
	_, _ = io.WriteString(write, hello)
	recv(t, lines)
	_, _ = io.WriteString(write, rpc("5", "tools/call", `{"name":"custom"}`)+"\n")
	asked, told := "", false
	for asked == "" || !told {
		l := recv(t, lines)
		told = told || strings.Contains(l, "notifications/progress")
		if strings.Contains(l, "elicitation/create") {
			asked = regexp.MustCompile(`"id":(\d+)`).FindStringSubmatch(l)[1]
		}
	}
	answer := `{"jsonrpc":"2.0","id":` + asked + `,"result":{"action":"accept","content":{"yes":true}}}` + "\n"
	_, _ = io.WriteString(write, answer)
	if l := recv(t, lines); !strings.Contains(l, "accept") {
		t.Errorf("answered %s", l)
	}
	_, _ = io.WriteString(write, answer) // once more: nobody asks any more
	_ = write.Close()
	_ = recv(t, done)
	wantRecords(t, capture,
		"ok handler initialize - -", "ok handler tools/call - -",
		"> ok handler notifications/progress - -", "> ok handler elicitation/create - -",
		"rejected transport - - -")
	settled(t, i, capture)
}

// ServeStdio serves the process's own standard input and output.
func TestServeStdio(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	toServer, write, read, toClient := pipes(t)
	stdin, stdout := os.Stdin, os.Stdout
	os.Stdin, os.Stdout = toServer, toClient
	defer func() { os.Stdin, os.Stdout = stdin, stdout }()
	done := make(chan error, 1)
	go func() { done <- i.ServeStdio(t.Context(), quietStdio) }()
	_, _ = write.WriteString(rpc("1", "ping", "{}") + "\n")
	got, err := bufio.NewReader(read).ReadString('\n')
	if want := `{"jsonrpc":"2.0","id":1,"result":{}}` + "\n"; err != nil || got != want {
		t.Errorf("stdout: %q, %v, want %q", got, err, want)
	}
	_ = write.Close()
	if err := recv(t, done); err != nil {
		t.Error(err)
	}
	_ = toClient.Close()
	if rest, _ := io.ReadAll(read); len(rest) > 0 {
		t.Errorf("stdout: %q after the end", rest)
	}
	_, _ = toServer.Close(), read.Close()
	wantRecords(t, capture, "ok handler ping - -")
}
