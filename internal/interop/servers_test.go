// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package interop_test

// Servers of others, instrumented by changing a few lines of their source: they answer as
// before, and what they do arrives. They are mcp-go's
// example "everything" and, where there are minutes to build it, mcp-grafana.

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// maxChanged is how many lines of a server's source may be new or different.
const maxChanged = 12

// A foreign server is one that somebody else wrote.
type foreign struct {
	path     string                        // of its package main
	module   string                        // the folder of the module that pins it
	changes  [][2]string                   // lines of its main.go, and what stands in their place
	requests []string                      // what both are asked, one after the other
	tool     string                        // one that can be called without arguments
	env      []string                      // that both are started with
	http     func(address string) []string // arguments that have it serve HTTP
}

// It listens on shownAddress, for which the test puts another.
var everything = foreign{
	path: "github.com/mark3labs/mcp-go/examples/everything", module: ".", tool: "getTinyImage",
	http:     func(string) []string { return []string{"-t", "http"} },
	requests: append(anybody, toEverything...),
	changes: [][2]string{
		{
			`	"github.com/mark3labs/mcp-go/server"
`, `	"github.com/mark3labs/mcp-go/server"
	"github.com/otelmcp/otelmcp-go/exporters"
	"github.com/otelmcp/otelmcp-go/otelmcp"
`,
		},
		{
			`	mcpServer := NewMCPServer()
`, `	mcpServer := NewMCPServer()
	pipeline, err := exporters.Setup(context.Background())
	if err != nil {
		log.Print(err)
	}
	defer pipeline.Shutdown(context.Background())
`,
		},
		{
			`		httpServer := server.NewStreamableHTTPServer(mcpServer)
`, ``,
		},
		{
			`		if err := httpServer.Start(":8080"); err != nil {
			log.Fatalf("Server error: %v", err)
`, `		if err := otelmcp.Instrument(mcpServer).ListenAndServe(context.Background(), ":8080"); err != nil {
			log.Printf("Server error: %v", err)
`,
		},
		{
			`		if err := server.ServeStdio(mcpServer); err != nil {
			log.Fatalf("Server error: %v", err)
`, `		if err := otelmcp.Instrument(mcpServer).ServeStdio(context.Background()); err != nil {
			log.Printf("Server error: %v", err)
`,
		},
	},
}

// Its tools ask a Grafana that is not there.
var mcpGrafana = foreign{
	path: "github.com/grafana/mcp-grafana/cmd/mcp-grafana", module: filepath.Join(root, "e2e", "backends", "mcp-grafana"), tool: "list_datasources",
	env:      []string{"GRAFANA_URL=http://127.0.0.1:1", "GRAFANA_SERVICE_ACCOUNT_TOKEN=made-up", "GRAFANA_USAGE_STATS=disabled"},
	http:     func(address string) []string { return []string{"-t", "streamable-http", "-address", address} },
	requests: append(anybody, toGrafana...),
	changes: [][2]string{
		{
			`	"github.com/grafana/mcp-grafana/usagestats"
`, `	"github.com/grafana/mcp-grafana/usagestats"
	"github.com/otelmcp/otelmcp-go/exporters"
	"github.com/otelmcp/otelmcp-go/otelmcp"
`,
		},
		{
			`	s := newServer(obs.ServerName, dt, o, usage, instructionsAppend)
`, `	s := newServer(obs.ServerName, dt, o, usage, instructionsAppend)
	pipeline, err := exporters.Setup(context.Background())
	if err != nil {
		slog.Error("No telemetry", "error", err)
	}
	defer pipeline.Shutdown(context.Background())
	inst := otelmcp.Instrument(s)
`,
		},
		{
			`		srv := server.NewStdioServer(s)
`, ``,
		},
		{
			`		srv.SetContextFunc(cf)
`, ``,
		},
		{
			`		err := srv.Listen(ctx, os.Stdin, os.Stdout)
`, `		err := inst.Listen(ctx, os.Stdin, os.Stdout, server.WithStdioContextFunc(cf))
`,
		},
		{
			`			mcpgrafana.GrafanaURLOverrideMiddleware(gc.AllowGrafanaURLOverride, gc.AllowedGrafanaURLs, srv),
			mcpEndpoint,
`, `			mcpgrafana.GrafanaURLOverrideMiddleware(gc.AllowGrafanaURLOverride, gc.AllowedGrafanaURLs, inst.Handler(srv)),
			mcpEndpoint,
`,
		},
	},
}

var heavy = flag.Bool("heavy", false, "test servers that take minutes to build, too")

func TestEverythingIsInstrumentedInAFewLines(t *testing.T) { everything.test(t) }

func TestMCPGrafanaIsInstrumentedInAFewLines(t *testing.T) {
	if !*heavy {
		t.Skip("it takes minutes to build: make e2e runs this, with -heavy")
	}
	mcpGrafana.test(t)
}

func (f *foreign) test(t *testing.T) {
	t.Helper()
	dir, source := sourceOf(t, f.module, f.path)
	instrumented, changed := source, 0
	for _, c := range f.changes {
		if strings.Count(instrumented, c[0]) != 1 {
			t.Fatalf("the source of %s does not have this once:\n%s", f.path, c[0])
		}
		instrumented = strings.Replace(instrumented, c[0], c[1], 1)
		changed += changedLines(c[0], c[1])
	}
	if changed > maxChanged {
		t.Errorf("%d lines are changed, want at most %d", changed, maxChanged)
	}
	addresses := [2]string{freeAddress(t), freeAddress(t)}
	bare, ours := buildSource(t, f.module, dir, source, addresses[0]), buildSource(t, f.module, dir, instrumented, addresses[1])
	quiet := append([]string{"OTEL_SDK_DISABLED=true"}, f.env...)

	t.Run("stdio", func(t *testing.T) {
		t.Parallel()
		same(t, f.overStdio(t, start(t, bare, quiet)), f.overStdio(t, start(t, ours, quiet)))
		delivers(t, ours, "", f.tool, f.env)
	})
	t.Run("http", func(t *testing.T) {
		t.Parallel()
		want := f.overHTTP(t, start(t, bare, quiet, f.http(addresses[0])...), addresses[0])
		same(t, want, f.overHTTP(t, start(t, ours, quiet, f.http(addresses[1])...), addresses[1]))
		delivers(t, ours, addresses[1], f.tool, f.env, f.http(addresses[1])...)
	})
}

// changedLines counts the lines that are new or different, or gone.
func changedLines(from, to string) int {
	count := map[string]int{}
	for line := range strings.Lines(from) {
		count[line]--
	}
	for line := range strings.Lines(to) {
		count[line]++
	}
	added, gone := 0, 0
	for _, n := range count {
		added, gone = added+max(n, 0), gone+max(-n, 0)
	}
	return max(added, gone)
}

// sourceOf copies the source of a program, and returns the folder and the text of its
// main.go.
func sourceOf(t *testing.T, module, path string) (dir, text string) {
	t.Helper()
	from, err := exec.CommandContext(t.Context(), "go", "list", "-C", module, "-f", "{{.Dir}}", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(strings.TrimSpace(string(from)))); err != nil {
		t.Fatal(err)
	}
	main, err := os.ReadFile(filepath.Join(dir, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	return dir, string(main)
}

// buildSource builds the program in dir with this main.go, listening on address.
func buildSource(t *testing.T, module, dir, main, address string) string {
	t.Helper()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	main = strings.Replace(main, shownAddress, fmt.Sprintf("%q", address), 1)
	file := filepath.Join(copied, "main.go")
	if err := errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, []byte(main), 0o600)); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(copied, "*[^t].go"))
	if err != nil {
		t.Fatal(err)
	}
	return goBuild(t, module, files...)
}

// What the servers are asked. Nothing makes one send a notification: mcp-go itself sends it
// before the answer or after it, or loses it.
var anybody = []string{
	`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`,
	`{"jsonrpc":"2.0","id":2,"method":"ping"}`,
	`{"jsonrpc":"2.0","id":3,"method":"tools/list"}`,
	`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"none of them"}}`,
	`{"jsonrpc":"2.0","id":8,"method":"tools/call","params":["not","an","object"]}`,
	`{"jsonrpc":"2.0","id":14,"method":"no/such/method"}`,
	`{"jsonrpc":"1.0","id":15,"method":"ping"}`,
	`[{"jsonrpc":"2.0","id":16,"method":"ping"}]`,
	`{"jsonrpc":"2.0","id":17,`,
}

var toGrafana = []string{
	`{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"list_datasources","arguments":{},"_meta":{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}}`,
	`{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"search_dashboards","arguments":{"query":["not","a","string"]}}}`,
	`{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{"name":"get_query_examples","arguments":{"datasource_type":"prometheus"}}}`,
	`{"jsonrpc":"2.0","id":9,"method":"resources/list"}`,
	`{"jsonrpc":"2.0","id":10,"method":"prompts/list"}`,
}

var toEverything = []string{
	`{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"add","arguments":{"a":1,"b":2.5},"_meta":{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}}`,
	`{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"echo","arguments":{}}}`,
	`{"jsonrpc":"2.0","id":"6","method":"tools/call","params":{"name":"longRunningOperation","arguments":{"duration":0.1,"steps":2},"_meta":{}}}`,
	`{"jsonrpc":"2.0","id":9,"method":"resources/read","params":{"uri":"test://static/resource/42"}}`,
	`{"jsonrpc":"2.0","id":10,"method":"resources/read","params":{"uri":"test://dynamic/resource/7"}}`,
	`{"jsonrpc":"2.0","id":11,"method":"resources/read","params":{"uri":"file:///etc/passwd"}}`,
	`{"jsonrpc":"2.0","id":12,"method":"prompts/get","params":{"name":"complex_prompt","arguments":{"temperature":"1","style":"formal"}}}`,
	`{"jsonrpc":"2.0","id":13,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"complex_prompt"},"argument":{"name":"style","value":"f"}}}`,
}

// overStdio returns the line that answers each request.
func (f *foreign) overStdio(t *testing.T, p *process) (answers []string) {
	t.Helper()
	lines := bufio.NewReader(p.out)
	for _, request := range f.requests {
		if _, err := fmt.Fprintf(p.in, "%s\n", request); err != nil {
			t.Fatal(err)
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("%v\n%s", err, p.said())
		}
		answers = append(answers, request+"\n"+line)
	}
	_ = p.stop() // which is an error of the bare server
	return answers
}

// overHTTP returns the statuses, the headers and the bodies that answer the requests.
func (f *foreign) overHTTP(t *testing.T, p *process, address string) (answers []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	await(ctx, t, address, p)
	session := ""
	for _, request := range append(slices.Clip(f.requests), "") {
		method := http.MethodPost
		if request == "" {
			method = http.MethodDelete
		}
		r, err := http.NewRequestWithContext(ctx, method, "http://"+address+"/mcp", strings.NewReader(request))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json, text/event-stream")
		if session != "" {
			r.Header.Set("Mcp-Session-Id", session)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatalf("%v\n%s", err, p.said())
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if session == "" {
			session = resp.Header.Get("Mcp-Session-Id")
		}
		if got := resp.Header.Get("Mcp-Session-Id"); got != "" && got == session {
			resp.Header.Set("Mcp-Session-Id", "its session")
		}
		resp.Header.Del("Date")
		var answer bytes.Buffer
		fmt.Fprintf(&answer, "%s\n%s\n", request, resp.Status)
		for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
			fmt.Fprintf(&answer, "%s: %q\n", name, resp.Header[name])
		}
		answer.Write(body)
		answers = append(answers, answer.String())
	}
	_ = p.stop() // which kills the bare server
	return answers
}

func same(t *testing.T, bare, ours []string) {
	t.Helper()
	if len(bare) != len(ours) {
		t.Errorf("bare gave %d answers, instrumented %d", len(bare), len(ours))
	}
	for k := range min(len(bare), len(ours)) {
		if bare[k] != ours[k] {
			t.Errorf("bare\n%s\ninstrumented\n%s", bare[k], ours[k])
		}
	}
}
