// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e shows, with the real backends and with clients that nobody here
// wrote, that what an instrumented server records is found where users look for it.
// `make e2e` builds what it needs, and runs it.
package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/otelmcp/otelmcp-go/e2e/stack"
)

// protocols are those that exporters send OTLP over.
var protocols = []string{"http/protobuf", "grpc"}

// work is the folder of this run: programs, data and logs of backends.
var work string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	var err error
	if work, err = os.MkdirTemp("", "otelmcp-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(work)
	defer func() {
		if shared.stack == nil {
			return
		}
		if err := shared.stack.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	return m.Run()
}

// shared is the stack that all tests look into; one that stops or breaks backends
// has its own.
var shared struct {
	once  sync.Once
	stack *stack.Stack
	err   error
}

func sharedStack(t *testing.T) *stack.Stack {
	t.Helper()
	shared.once.Do(func() {
		shared.stack, shared.err = stack.Start(context.Background(), //nolint:usetesting // outlives this test
			stack.Config{Dir: filepath.Join(work, "stack")})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.stack
}

// builds are the examples that were built, by name.
var builds sync.Map

// example builds a program in examples, once, and returns its path.
func example(t *testing.T, name string) string {
	t.Helper()
	type result struct {
		path string
		err  error
	}
	build, _ := builds.LoadOrStore(name, sync.OnceValue(func() result {
		path := filepath.Join(work, name)
		cmd := exec.Command("go", "build", "-o", path, ".") //nolint:noctx // built for all tests
		cmd.Dir = filepath.Join(stack.Root(), "examples", name)
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
		return result{path, err}
	}))
	r := build.(func() result)() //nolint:forcetypeassert // stored above
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.path
}

// runExample runs an example's demo to its end, with env in addition to this
// process's own, and returns what it wrote.
func runExample(t *testing.T, name string, env ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, example(t, name))
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// serveExample keeps an example's servers up until the end of the test, or until
// stop, which also waits until their telemetry has been sent. It returns once a
// line of the output matches ready, with the submatches.
func serveExample(t *testing.T, name string, ready *regexp.Regexp, env ...string) (match []string, stop func()) {
	t.Helper()
	cmd := exec.Command(example(t, name), "--serve") //nolint:noctx // stopped below
	cmd.Env = append(os.Environ(), env...)
	out, w := io.Pipe()
	var stderr strings.Builder
	cmd.Stdout, cmd.Stderr = w, &stderr
	cmd.SysProcAttr = stack.Tied()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		_ = w.Close()
		close(ended)
	}()
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended: // not well, if its telemetry could not be delivered
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill()
			t.Errorf("%s did not stop", name)
		}
	})
	t.Cleanup(stop)

	matches := make(chan []string, 1)
	go func() {
		defer close(matches)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if m := ready.FindStringSubmatch(lines.Text()); m != nil {
				matches <- m
				break
			}
		}
		_, _ = io.Copy(io.Discard, out) // so that the program can go on writing
	}()
	select {
	case m, ok := <-matches:
		if !ok {
			t.Fatalf("%s ended without saying %q: %s", name, ready, stderr.String())
		}
		return m, stop
	case <-time.After(2 * time.Minute):
		t.Fatalf("%s did not say %q", name, ready)
		return nil, nil
	}
}

// lacking ends a test that needs what this machine does not have. In CI it has to be
// there.
func lacking(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(err)
	}
	t.Skip("skipped: ", err)
}

// readYAML reads a file of examples/stack.
func readYAML(t *testing.T, name string, into any) {
	t.Helper()
	raw, err := os.ReadFile(stack.ConfigFile(name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(raw, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// What examples say that they have to say once they serve, and where.
var (
	quickstartReady = regexp.MustCompile(`stays up until Ctrl-C: \S*?(http://[^\s\x1b]+)`)
	oauthReady      = regexp.MustCompile(`stay up until Ctrl-C. The MCP server: (http://\S+)`)
)

// eventually waits until check has nothing to complain of: telemetry takes a while
// to get there.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	const limit = 90 * time.Second
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", limit, err)
		}
		time.Sleep(250 * time.Millisecond)
	}
}
