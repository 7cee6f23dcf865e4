// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// One id for all that is posted to HTTP+SSE at once: each record tells of its own
// exchange, in whatever order mcp-go is through with them.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// posts are messages with the id 1, of which each ends in its own way. %d is its number.
var posts = []struct {
	body, want string
	unasked    bool // mcp-go answers it without a word to a hook
}{
	{`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"n":%d}}`, "ok handler ping 202 -", false},
	{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","n":%d}}`, "ok handler tools/call 202 -", false},
	{`{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"nope","n":%d}}`, "rejected dispatch prompts/get 202 -32602", false},
	{`{"jsonrpc":"2.0","id":1,"method":"nobodys","params":{"n":%d}}`, "rejected dispatch nobodys 202 -32601", false},
	{`{"jsonrpc":"2.0","id":1,"method":"evil","params":{"n":%d}}`, "rejected transport evil 202 -32600", false},
	{`{"jsonrpc":"2.0","id":1,"method":"odd","params":{"n":%d}}`, "error transport odd 202 -32603", false},
	{`{"jsonrpc":"2.00","id":1,"method":"resources/list","params":{"n":%d}}`, "rejected transport resources/list 202 -32600", true},
	{
		`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"n":%d,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`,
		"rejected transport tools/list 202 -32602", false,
	},
	{
		`{"jsonrpc":"2.0","id":1,"method":"prompts/list","params":{"n":%d,"_meta":{"io.modelcontextprotocol/protocolVersion":"2099-01-01",` +
			`"io.modelcontextprotocol/clientCapabilities":{}}}}`,
		"rejected transport prompts/list 202 -32022", false,
	},
	{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"custom","n":%d}}`, "error handler tools/call 202 -", false},
	{`{"jsonrpc":"2.0","method":"notifications/message","params":[%d]}`, "rejected transport notifications/message 202 -32700", true},
	{`{"jsonrpc":"2.00","id":null,"method":"completion/complete","params":{"n":%d}}`, "rejected transport completion/complete 202 -32600", true},
}

// gated holds messages back until its gate is open.
type gated struct {
	http.ResponseWriter
	gate chan struct{}
}

func (g gated) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("event: message")) {
		<-g.gate
	}
	return g.ResponseWriter.Write(p)
}

func (g gated) Flush() { g.ResponseWriter.(http.Flusher).Flush() }

// uses posts the messages of these kinds to one session. mcp-go is through with them
// in the given order; gate says that no answer goes out before it is with all of them.
func uses(t *testing.T, kinds, order []int, hold bool) {
	t.Helper()
	log.SetOutput(io.Discard) // mcp-go says there what it could not encode, and what panicked
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	gate := make(chan struct{})
	if !hold {
		close(gate)
	}
	s, i, c, capture := edged(t, func(srv *server.MCPServer) http.Handler {
		h := rawHandlers["sse"](srv)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				w = gated{w, gate}
			}
			h.ServeHTTP(w, r)
		})
	})
	s.do(func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultStructured(map[string]any{"n": math.NaN()}, "n"), nil
	})
	number := regexp.MustCompile(`"n":(\d+)`)
	asked, goes := make([]chan context.Context, len(kinds)), make([]chan struct{}, len(kinds))
	for k := range kinds {
		asked[k], goes[k] = make(chan context.Context, 1), make(chan struct{})
	}
	s.GetHooks().AddOnRequestInitialization(func(ctx context.Context, _, raw any) error {
		text := fmt.Sprintf("%s", raw)
		n, _ := strconv.Atoi(number.FindStringSubmatch(text)[1])
		asked[n] <- ctx
		<-goes[n]
		switch {
		case strings.Contains(text, `"evil"`):
			return errors.New("not that")
		case strings.Contains(text, `"odd"`):
			panic("oh")
		}
		return nil
	})
	stream := c.stream()
	var want []string
	handled := make([]context.Context, len(kinds))
	for k, kind := range kinds {
		c.do(step{send: rawPostTo(toMessages, fmt.Sprintf(posts[kind].body, k))})
		want = append(want, posts[kind].want)
		if !posts[kind].unasked {
			handled[k] = recv(t, asked[k])
		}
	}
	for _, k := range order {
		close(goes[k])
		if handled[k] != nil {
			<-handled[k].Done() // its answer stands in the queue
		}
	}
	if hold {
		close(gate)
	}
	eventually(t, func() bool { return len(records(capture)) == len(kinds) })
	_ = stream.Close()
	c.web.Close()
	wantRecords(t, capture, append(want, "ok transport - 200 - disconnect")...)
	settled(t, i, capture)
}

func TestOneIDForAll(t *testing.T) {
	for name, kinds := range map[string][]int{
		"refused while another one is handled": {0, 4},
		"panicked while another is handled":    {1, 5},
		"ok, and another version":              {1, 6},
		"ok, and no capabilities":              {0, 7},
		"refused in several ways":              {7, 8, 2, 3},
		"results that cannot be encoded":       {9, 1, 9, 0},
		"null ids":                             {10, 9, 11, 0},
	} {
		t.Run(name, func(t *testing.T) {
			backward := make([]int, len(kinds))
			for k := range kinds {
				backward[k] = len(kinds) - 1 - k
			}
			uses(t, kinds, backward, false)
			uses(t, kinds, backward, true)
		})
	}
}

// Whatever is posted, and in whatever order it ends.
func TestOneIDForAnything(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 7))
		kinds := make([]int, 2+r.IntN(10))
		for k := range kinds {
			// Of a hook that was added after Instrument, and that refuses or panics beside
			// other rejections, nothing tells which answer is whose.
			for kinds[k] = r.IntN(len(posts)); kinds[k] == 4 || kinds[k] == 5; {
				kinds[k] = r.IntN(len(posts))
			}
		}
		order := r.Perm(len(kinds))
		uses(t, kinds, order, r.IntN(2) == 0)
		if t.Failed() {
			t.Fatalf("seed %d: of the kinds %v in the order %v", seed, kinds, order)
		}
	}
}
