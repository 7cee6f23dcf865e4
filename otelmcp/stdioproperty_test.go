// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Everything that can happen on stdio, in any order, with a few ids for all of it:
// each line has one record, and that says what became of just this line. A line is
// told from the others by its size, which no other has.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
)

// gates are what handlers wait at.
type gates struct {
	mu      sync.Mutex
	all     map[string]chan struct{}
	entered chan string
}

func (g *gates) of(name string) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all[name] == nil {
		g.all[name] = make(chan struct{})
	}
	return g.all[name]
}

func (g *gates) wait(ctx context.Context, name string) error {
	g.entered <- name
	select {
	case <-g.of(name):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// newJumble returns a server whose tool "custom" does what its arguments say, and
// whose hooks refuse, and wait, as the params say.
func newJumble(g *gates, instrument func(*server.MCPServer) *otelmcp.Instrumentation) (*server.MCPServer, *otelmcp.Instrumentation) {
	h := &server.Hooks{}
	says := func(raw any, word string) (gate string) {
		var m struct{ Params map[string]any }
		b, _ := raw.(json.RawMessage)
		_ = json.Unmarshal(b, &m)
		gate, _ = m.Params[word].(string)
		return gate
	}
	h.AddOnRequestInitialization(func(ctx context.Context, _, raw any) error {
		if gate := says(raw, "slow"); gate != "" {
			if err := g.wait(ctx, gate); err != nil {
				return err
			}
		}
		if says(raw, "refuse") != "" {
			return errors.New("not you")
		}
		return nil
	})
	s := newEverything(server.WithHooks(h))
	s.do(func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if gate := r.GetString("gate", ""); gate != "" {
			if err := g.wait(ctx, gate); err != nil {
				return nil, err
			}
		}
		switch r.GetString("then", "") {
		case "fail":
			return mcp.NewToolResultError("no"), nil
		case "err":
			return nil, errors.New("db down")
		case "panic":
			panic("no")
		case "mute":
			return mcp.NewToolResultStructured(map[string]any{"f": func() {}}, "x"), nil
		}
		return mcp.NewToolResultText("done"), nil
	})
	var i *otelmcp.Instrumentation
	if instrument != nil {
		i = instrument(s.MCPServer)
	}
	h.AddOnRequestInitialization(func(_ context.Context, _, raw any) error { // which is not watched
		if says(raw, "refuse late") != "" {
			return errors.New("nor you")
		}
		return nil
	})
	return s.MCPServer, i
}

// lineSent is a line, and what is to be recorded of it.
type lineSent struct {
	line, id, want string
	answers        int
	gate           string // that it waits at
}

// jumble makes lines.
type jumble struct {
	r    *rand.Rand
	ids  []string
	n    int
	size map[int]bool
}

// pad makes the line of a size of its own: build is given something to put in.
func (j *jumble) pad(build func(pad string) string) string {
	n := j.r.IntN(400)
	switch j.r.IntN(250) {
	case 0:
		n = 1<<20 - 400 + j.r.IntN(800)
	case 1, 2, 3, 4:
		n = 4000 + j.r.IntN(200) // what mcp-go reads at once
	}
	for ; ; n++ {
		if line := build(strings.Repeat("p", n)); !j.size[len(line)] {
			j.size[len(line)] = true
			return line
		}
	}
}

// call is a call of the tool "custom".
func (j *jumble) call(id, gate, then, want string, answers int) lineSent {
	build := []func(pad string) string{
		func(pad string) string {
			return rpc(id, "tools/call", fmt.Sprintf(`{"name":"custom","arguments":{"gate":%q,"then":%q,"pad":%q}}`, gate, then, pad))
		},
		func(pad string) string {
			return fmt.Sprintf(`{"method":"tools/call","params":{"arguments":{"pad":%q,"then":%q,"gate":%q},"name":"custom"},"id":%s,"jsonrpc":"2.0"}`, pad, then, gate, id)
		},
		func(pad string) string {
			return modernRPC(id, "tools/call", fmt.Sprintf(`{"name":"custom","arguments":{"gate":%q,"then":%q,"pad":%q}}`, gate, then, pad))
		},
	}[j.r.IntN(3)]
	return lineSent{j.pad(build), id, want, answers, gate}
}

func (j *jumble) next() lineSent {
	j.n++
	id := j.ids[j.r.IntN(len(j.ids))]
	gate := "g" + strconv.Itoa(j.n)
	one := func(want string, build func(pad string) string) lineSent {
		l := lineSent{line: j.pad(build), want: want, answers: 1}
		if strings.Contains(l.line, `"id":`+id) && !strings.HasSuffix(want, "-32700") {
			l.id = id
		}
		return l
	}
	request := func(method, params, want string) lineSent {
		return one(want, func(pad string) string {
			p := `"pad":"` + pad + `"`
			if params != "" {
				p = params + "," + p
			}
			if j.r.IntN(2) == 0 {
				return fmt.Sprintf(`{"jsonrpc":"2.0","method":%q,"params":{%s},"id":%s}`, method, p, id)
			}
			return rpc(id, method, "{"+p+"}")
		})
	}
	silent := func(want string, build func(pad string) string) lineSent {
		return lineSent{line: j.pad(build), want: want}
	}
	kinds := []func() lineSent{
		func() lineSent { return j.call(id, "", "", "ok handler tools/call - -", 1) },
		func() lineSent { return j.call(id, "", "fail", "tool_error handler tools/call - -", 1) },
		func() lineSent { return j.call(id, "", "err", "error handler tools/call - -32603", 1) },
		func() lineSent { return j.call(id, "", "panic", "panic handler tools/call - -", 1) },
		func() lineSent { return j.call(id, "", "mute", "error handler tools/call - -", 0) },
		func() lineSent { return j.call(id, gate, "", "ok handler tools/call - -", 1) },
		func() lineSent { return j.call(id, gate, "err", "error handler tools/call - -32603", 1) },
		func() lineSent {
			l := request("tools/list", fmt.Sprintf(`"slow":%q`, gate), "ok handler tools/list - -")
			l.gate = gate
			return l
		},
		func() lineSent {
			l := request("tools/list", fmt.Sprintf(`"slow":%q,"refuse":"y"`, gate), "denied transport tools/list - -32600 policy")
			l.gate = gate
			return l
		},
		func() lineSent { return request("ping", "", "ok handler ping - -") },
		func() lineSent { return request("tools/list", "", "ok handler tools/list - -") },
		func() lineSent { return request("evil", "", "rejected dispatch evil - -32601") },
		func() lineSent {
			return request("tools/call", `"name":"nope"`, "rejected dispatch tools/call - -32602")
		},
		func() lineSent {
			return request("tools/call", `"name":"hidden"`, "denied dispatch tools/call - -32602 hidden")
		},
		func() lineSent {
			return request("tools/call", `"name":"echo","_meta":[]`, "rejected dispatch tools/call - -32600")
		},
		func() lineSent { return request("prompts/get", `"name":"panics"`, "panic handler prompts/get - -") },
		func() lineSent {
			return request("prompts/get", `"refuse":"y"`, "denied transport prompts/get - -32600 policy")
		},
		func() lineSent {
			return request("resources/list", `"refuse late":"y"`, "rejected transport resources/list - -32600")
		},
		func() lineSent {
			return one("rejected transport ping - -32600", func(pad string) string {
				return `{"jsonrpc":"1.0","id":` + id + `,"method":"ping","params":{"pad":"` + pad + `"}}`
			})
		},
		func() lineSent {
			return one("rejected transport tools/list - -32022", func(pad string) string { return toCome(id, "tools/list", `{"pad":"`+pad+`"}`) })
		},
		func() lineSent {
			return one("rejected transport tools/call - -32022", func(pad string) string {
				return toCome(id, "tools/call", `{"name":"custom","arguments":{"pad":"`+pad+`"}}`)
			})
		},
		func() lineSent {
			return one("rejected transport prompts/list - -32602", func(pad string) string { return incapable(id, "prompts/list", `{"pad":"`+pad+`"}`) })
		},
		func() lineSent {
			return one("rejected transport - - -32700", func(pad string) string { return "garbage" + pad })
		},
		func() lineSent {
			return one("rejected transport ping - -32700", func(pad string) string {
				return `{"jsonrpc":2,"id":` + id + `,"method":"ping","params":{"pad":"` + pad + `"}}`
			})
		},
		func() lineSent {
			return one("rejected transport - - -32600", func(pad string) string { return `{"pad":"` + pad + `"}` })
		},
		func() lineSent {
			return one("rejected dispatch - - -32601", func(pad string) string {
				return `{"jsonrpc":"2.0","id":` + id + `,"error":{"code":-1,"message":"` + pad + `"}}`
			})
		},
		func() lineSent {
			return one("rejected transport notifications/x - -32700", func(pad string) string {
				return `{"jsonrpc":"2.0","method":"notifications/x","params":["` + pad + `"]}`
			})
		},
		func() lineSent {
			return silent("ok dispatch notifications/initialized - -", func(pad string) string {
				return `{"jsonrpc":"2.0","method":"notifications/initialized","params":{"pad":"` + pad + `"}}`
			})
		},
		func() lineSent {
			return silent("ok dispatch notifications/cancelled - -", func(pad string) string {
				return `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"none","pad":"` + pad + `"}}`
			})
		},
		func() lineSent {
			return silent("rejected transport - - -", func(pad string) string { return `{"jsonrpc":"2.0","id":` + id + `,"result":{"pad":"` + pad + `"}}` })
		},
		func() lineSent {
			return silent("rejected transport ping - -", func(pad string) string {
				return `{"jsonrpc":"2.0","id":` + id + `,"method":"ping","result":{"pad":"` + pad + `"}}`
			})
		},
	}
	return kinds[j.r.IntN(len(kinds))]()
}

// play has a client send lines, until it hangs up. It returns them, and what the
// server wrote.
func play(t *testing.T, seed uint64, lines int, g *gates, listen func() *lineClient) (sent []lineSent, written []string) {
	t.Helper()
	j := &jumble{r: rand.New(rand.NewPCG(seed, 7)), size: map[int]bool{}}
	j.ids = [][]string{
		{"1"},
		{"1", `"1"`, "2"},
		{"1", "1.5", `{"a":1}`, `"` + strings.Repeat("i", 63) + `"`, `"` + strings.Repeat("i", 70) + `"`, `"` + strings.Repeat("i", 3000) + `"`},
	}[seed%3]
	c := listen()
	answers := 0
	drain := func(most int) {
		for len(written) < most {
			select {
			case l := <-c.lines:
				written = append(written, l)
			case <-time.After(30 * time.Second):
				t.Fatalf("seed %d: %d answers of %d", seed, len(written), most)
			}
		}
	}
	var held []lineSent
	for len(sent) < lines {
		for range 1 + j.r.IntN(12) {
			l := j.next()
			sent = append(sent, l)
			c.send(l.line)
			if l.gate != "" {
				if name := recv(t, g.entered); name != l.gate {
					t.Fatalf("%s waits, and not %s", name, l.gate)
				}
				held = append(held, l)
				continue
			}
			answers += l.answers
		}
		for len(held) > 8 || len(held) > 0 && j.r.IntN(3) > 0 {
			k := j.r.IntN(len(held))
			close(g.of(held[k].gate))
			answers += held[k].answers
			held = slices.Delete(held, k, k+1)
		}
		drain(answers)
	}
	_ = c.in.Close()
	for l := range c.lines {
		written = append(written, l)
	}
	if err := recv(t, c.done); err != nil {
		t.Error(err)
	}
	for _, l := range held { // which the end of the connection ends
		n := slices.IndexFunc(sent, func(s lineSent) bool { return s.line == l.line })
		switch {
		case !strings.Contains(l.line, `"slow"`):
			sent[n].want = "cancelled handler tools/call - -32603 disconnect"
		default:
			sent[n].want = "denied transport tools/list - -32600 policy"
		}
	}
	slices.Sort(written)
	return sent, written
}

func TestStdioProperty(t *testing.T) {
	const lines = 1000
	for seed := range uint64(3) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			checkLeaks(t)
			newGates := func() *gates { return &gates{all: map[string]chan struct{}{}, entered: make(chan string, 64)} }
			pool := []server.StdioOption{server.WithWorkerPoolSize(40)}
			g := newGates()
			bare, _ := newJumble(g, nil)
			_, want := play(t, seed, lines, g, func() *lineClient {
				return dialLines(t, func(in io.Reader, out io.Writer) error {
					s := server.NewStdioServer(bare)
					for _, o := range append(pool, quietStdio) {
						o(s)
					}
					return s.Listen(t.Context(), in, out)
				})
			})

			capture := telemetrytest.New(t)
			g = newGates()
			_, i := newJumble(g, func(s *server.MCPServer) *otelmcp.Instrumentation { return otelmcp.Instrument(s, into(capture)...) })
			sent, got := play(t, seed, lines, g, func() *lineClient { return listen(t, t.Context(), i, pool...) })
			if !slices.Equal(got, want) {
				t.Errorf("the server writes %d lines, and without instrumentation %d", len(got), len(want))
				for n := range min(len(got), len(want)) {
					if got[n] != want[n] {
						t.Errorf("%s\nwithout %s", clip([]byte(got[n])), clip([]byte(want[n])))
						break
					}
				}
			}
			bySize := map[string]lineSent{}
			for _, l := range sent {
				bySize[strconv.Itoa(len(l.line))] = l
			}
			events, _ := operations(capture)
			for _, e := range events {
				l, ok := bySize[e["otelmcp.request.size"]]
				if !ok {
					t.Errorf("recorded twice, or of no line: %v", e)
					continue
				}
				delete(bySize, e["otelmcp.request.size"])
				if is := show(e); is != l.want {
					t.Errorf("%s\nis recorded as %s, want %s: %v", clip([]byte(l.line)), is, l.want, e)
				}
				if id := strings.Trim(l.id, `"`); regexp.MustCompile(`^[\w.]{1,100}$`).MatchString(id) && e["jsonrpc.request.id"] != id {
					t.Errorf("%s\nis recorded with the id %q", clip([]byte(l.line)), e["jsonrpc.request.id"])
				}
			}
			if len(bySize) > 0 {
				for _, l := range bySize {
					t.Errorf("not recorded: %s", clip([]byte(l.line)))
				}
			}
			if n := capture.CounterValue("otelmcp.server.messages"); int(n) != len(sent) {
				t.Errorf("%d lines count as %d", len(sent), n)
			}
			settled(t, i, capture)
		})
	}
}

// A client that hangs up anywhere has each of its lines recorded once.
func TestStdioPropertyAtTheEnd(t *testing.T) {
	for seed := range uint64(60) {
		capture := telemetrytest.New(t)
		g := &gates{all: map[string]chan struct{}{}, entered: make(chan string, 1024)}
		_, i := newJumble(g, func(s *server.MCPServer) *otelmcp.Instrumentation { return otelmcp.Instrument(s, into(capture)...) })
		j := &jumble{r: rand.New(rand.NewPCG(seed, 9)), size: map[int]bool{}, ids: []string{"1", `"1"`}}
		var text strings.Builder
		lines := 1 + j.r.IntN(40)
		for range lines {
			text.WriteString(j.next().line + "\n")
		}
		in := text.String()
		if j.r.IntN(2) == 0 { // within the last line, which is not at all when nothing is left of it
			in = strings.TrimSuffix(in, "\n")
		}
		if err := i.Listen(t.Context(), strings.NewReader(in), io.Discard, quietStdio); err != nil {
			t.Error(err)
		}
		events, _ := operations(capture)
		sizes := map[string]bool{}
		for _, e := range events {
			sizes[e["otelmcp.request.size"]] = true
		}
		if n := capture.CounterValue("otelmcp.server.messages"); len(events) != lines || len(sizes) != lines || int(n) != lines {
			t.Errorf("seed %d: %d lines have %d records of %d, and count as %d", seed, lines, len(events), len(sizes), n)
		}
		settled(t, i, capture)
	}
}
