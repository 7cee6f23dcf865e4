// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package interop_test

// The forms of serving that the pages show, each copied into an empty program, which runs
// and is told to stop: what it recorded has to arrive all the same.

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
)

// tools are what the blocks leave to the program.
const tools = `
var forecastTool = mcp.NewTool("forecast")

func forecast(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	return mcp.NewToolResultText("sunny"), nil
}
`

// shownAddress is where the servers of the pages listen.
const shownAddress = `":8080"`

func TestServingFormsDeliverOnSIGTERM(t *testing.T) {
	blocks := blocksOfPages(t)
	pick := func(page, what string) string {
		t.Helper()
		var found []string
		for _, b := range blocks {
			if b.page == page && strings.Contains(b.code, what) {
				found = append(found, b.code)
			}
		}
		if len(found) != 1 {
			t.Fatalf("%s has %d blocks with %q, want one", page, len(found), what)
		}
		return found[0]
	}
	stdio := pick("README.md", ".ServeStdio(ctx)")
	settings := pick("docs/your-server.md", ".ListenAndServe(ctx,")
	mux := pick("docs/your-server.md", "func serve(")

	for name, tt := range map[string]struct {
		program string
		http    bool
	}{
		"stdio":                      {stdio, false},
		"ListenAndServe":             {instead(t, stdio, pick("README.md", ".ListenAndServe(ctx,")), true},
		"settings of an http.Server": {instead(t, stdio, "{\n"+settings+"if err != nil { log.Print(err) }\n}\n"), true},
		"a mux":                      {instead(t, stdio, "if err := serve(ctx, srv); err != nil { log.Print(err) }\n") + mux, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := ""
			if tt.http {
				address = freeAddress(t)
				if strings.Count(tt.program, shownAddress) != 1 {
					t.Fatalf("the block does not listen on %s once", shownAddress)
				}
			}
			text := strings.Replace(tt.program+tools, shownAddress, fmt.Sprintf("%q", address), 1)
			bin := build(t, "package main\n"+imports(text)+text)
			delivers(t, bin, address, "forecast", nil)
		})
	}
}

// instead returns the program with other lines in place of the last statement of main.
func instead(t *testing.T, program, lines string) string {
	t.Helper()
	const head = "package main\n"
	file, err := parser.ParseFile(token.NewFileSet(), "", head+program, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "main" {
			last := f.Body.List[len(f.Body.List)-1]
			from, to := int(last.Pos()-file.FileStart)-len(head), int(last.End()-file.FileStart)-len(head)
			return program[:from] + lines + program[to:]
		}
	}
	t.Fatal("the program has no main")
	return ""
}

// build compiles a program with the modules that these tests have.
func build(t *testing.T, program string) string {
	t.Helper()
	source := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	return goBuild(t, ".", source)
}

func goBuild(t *testing.T, module string, files ...string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "program")
	if out, err := exec.CommandContext(t.Context(), "go", append([]string{"build", "-C", module, "-o", bin}, files...)...).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// delivers runs the program with a receiver, calls a tool of it, tells it to stop, and
// looks for the call in each signal. Without an address the program serves stdio.
func delivers(t *testing.T, bin, address, tool string, env []string, args ...string) {
	t.Helper()
	r := newReceiver(t)
	p := start(t, bin, append([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + r.web.URL, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"}, env...), args...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	var conn transport.Interface = transport.NewIO(p.out, p.in, io.NopCloser(strings.NewReader("")))
	if address != "" {
		await(ctx, t, address, p)
		var err error
		if conn, err = transport.NewStreamableHTTP("http://" + address + "/mcp"); err != nil {
			t.Fatal(err)
		}
	}
	c := client.NewClient(conn)
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Initialize(ctx, mcp.InitializeRequest{}); err != nil {
		t.Fatalf("initialize: %v\n%s", err, p.said())
	}
	var call mcp.CallToolRequest
	call.Params.Name = tool
	if _, err := c.CallTool(ctx, call); err != nil {
		t.Fatalf("tools/call: %v\n%s", err, p.said())
	}
	if err := p.stop(); err != nil {
		t.Errorf("the program ended with %v after SIGTERM\n%s", err, p.said())
	}
	_ = c.Close() // whose server is gone

	r.mu.Lock()
	defer r.mu.Unlock()
	found := map[received]bool{}
	for _, text := range r.texts {
		found[text] = true
	}
	for what, want := range map[string]received{
		"span":   {"span", "gen_ai.tool.name", tool},
		"event":  {"event", "gen_ai.tool.name", tool},
		"metric": {"metric", "gen_ai.tool.name", tool},
	} {
		if !found[want] {
			t.Errorf("no %s of the call arrived (%d spans, %d events, %d points)\n%s", what, r.spans, r.records, r.points, p.said())
		}
	}
}

// process is a program that runs.
type process struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  io.ReadCloser
	done func() error // waits for its end

	mu  sync.Mutex
	err strings.Builder
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err.Write(b)
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return "it said: " + p.err.String()
}

func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.done()
}

// start runs a program until the test ends, or it does.
func start(t *testing.T, bin string, env []string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	p := &process{cmd: exec.CommandContext(ctx, bin, args...)}
	p.cmd.Env = append([]string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}, env...)
	p.cmd.Stderr = p
	p.done = sync.OnceValue(p.cmd.Wait)
	var err1, err2 error
	p.in, err1 = p.cmd.StdinPipe()
	p.out, err2 = p.cmd.StdoutPipe()
	if err := errors.Join(err1, err2, p.cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = p.done() // killed, unless it has ended
	})
	return p
}

// await returns when somebody listens.
func await(ctx context.Context, t *testing.T, address string, p *process) {
	t.Helper()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("nobody listens on %s\n%s", address, p.said())
		case <-time.After(10 * time.Millisecond):
		}
	}
}
