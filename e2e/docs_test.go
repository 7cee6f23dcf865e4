// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

// What docs/getting-started.md tells a newcomer to do is done, and what it says
// that it prints is compared with what is printed.

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/otelmcp/otelmcp-go/e2e/stack"
)

// step is a command of a document, and what it says that the command prints: lines
// in which … stands for anything.
type step struct {
	line    int
	command string
	prints  []string
}

// steps are the sh blocks of a document, each with the text block right after it.
func steps(doc string) []step {
	var found []step
	var kind string
	after := false // nothing but blank lines since the end of an sh block
	for k, line := range strings.Split(doc, "\n") {
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && kind == "":
			kind = fence
			if kind == "" {
				kind = "code"
			}
			if kind == "sh" {
				found = append(found, step{line: k + 1})
			} else if kind == "text" && !after {
				kind = "code" // belongs to nothing
			}
		case isFence:
			after = kind == "sh"
			kind = ""
		case kind == "sh":
			found[len(found)-1].command += line + "\n"
		case kind == "text":
			found[len(found)-1].prints = append(found[len(found)-1].prints, line)
		case kind == "" && line != "":
			after = false
		}
	}
	return found
}

// misses returns what of a step's output is not in out.
func (s step) misses(out string) []string {
	var missing []string
	for _, line := range s.prints {
		parts := strings.Split(strings.Trim(line, "…"), "…")
		for k := range parts {
			parts[k] = regexp.QuoteMeta(parts[k])
		}
		if !regexp.MustCompile(strings.Join(parts, ".*")).MatchString(out) {
			missing = append(missing, line)
		}
	}
	return missing
}

func TestGettingStarted(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(stack.Root(), "docs", "getting-started.md"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("curl"); err != nil {
		lacking(t, err) // with which the document asks the backends
	}
	all := steps(string(doc))
	if len(all) < 10 {
		t.Fatalf("found %d commands in the document", len(all))
	}
	// As the document has it: relative to where make runs.
	dir, err := filepath.Rel(stack.Root(), filepath.Join(t.TempDir(), "telemetry"))
	if err != nil {
		t.Fatal(err)
	}
	local := strings.NewReplacer() // of what the document says of addresses and folders
	for _, s := range all {
		switch {
		case strings.HasPrefix(s.command, "docker compose"):
			t.Logf("line %d is not run, there is no container engine: %s", s.line, s.command)
			continue
		case strings.HasPrefix(s.command, "make stack"):
			at := makeStack(t, dir)
			local = strings.NewReplacer(
				"http://localhost:4318", at["OTLP"], "http://localhost:16686", at["Jaeger"],
				"http://localhost:9090", at["Prometheus"], "http://localhost:3100", at["Loki"],
				"telemetry/", dir+"/",
			)
			continue
		}
		eventually(t, func() error {
			cmd := exec.CommandContext(t.Context(), "sh", "-c", local.Replace(s.command))
			cmd.Dir = stack.Root()
			cmd.Env = append(os.Environ(), "MAKEFLAGS=", "NO_COLOR=1")
			out, err := cmd.CombinedOutput()
			if err != nil {
				return fmt.Errorf("line %d: %s: %w\n%s", s.line, s.command, err, out)
			}
			if missing := s.misses(string(out)); len(missing) > 0 {
				return fmt.Errorf("line %d: %s does not print\n  %s\nbut\n%.3000s", s.line, s.command, strings.Join(missing, "\n  "), out)
			}
			return nil
		})
	}
}

// makeStack runs `make stack`, and returns the addresses that it prints, by name.
// It is interrupted at the end of the test, as by Ctrl-C, and has to end well.
func makeStack(t *testing.T, dir string) map[string]string {
	t.Helper()
	cmd := exec.Command("make", "stack", "ARGS=--free-ports --dir "+dir) //nolint:noctx // stopped below
	cmd.Dir = stack.Root()
	cmd.Env = append(os.Environ(), "MAKEFLAGS=")
	cmd.SysProcAttr = stack.Tied()
	out, w := io.Pipe()
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = w, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // make says that it was interrupted
		_ = w.Close()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
		select {
		case <-ended:
			if strings.Contains(errs.String(), "stack:") { // its own errors
				t.Errorf("make stack: %s", errs.String())
			}
		case <-time.After(time.Minute):
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			t.Error("make stack does not end")
		}
	})
	at := map[string]string{}
	tooLong := time.AfterFunc(5*time.Minute, func() { _ = w.CloseWithError(errors.New("it takes too long")) })
	defer tooLong.Stop()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) > 1 && strings.HasPrefix(f[1], "http") {
			at[f[0]] = regexp.MustCompile(`^http://[^/]*`).FindString(f[1])
		}
		if strings.HasPrefix(lines.Text(), "Ctrl-C") {
			go io.Copy(io.Discard, out) //nolint:errcheck // so that it can go on writing
			return at
		}
	}
	t.Fatalf("make stack ended, or is not ready: %v: %s", lines.Err(), errs.String())
	return nil
}

// The picture of the README is drawn from what Jaeger answers; here of a trace
// that is there now.
func TestDrawTrace(t *testing.T) {
	s := sharedStack(t)
	out := runExample(t, "agent", s.Env("grpc")...)
	m := regexp.MustCompile(`Look the trace up: (\w+)`).FindStringSubmatch(out)
	if m == nil {
		t.Fatal(out)
	}
	var spans []stack.Span
	eventually(t, func() (err error) {
		spans, err = s.Trace(t.Context(), m[1])
		if err == nil && len(spans) < 27 {
			err = fmt.Errorf("%d of 27 spans are there", len(spans))
		}
		return err
	})
	var picture bytes.Buffer
	if err := stack.DrawTrace(&picture, spans); err != nil {
		t.Fatal(err)
	}
	text := ""
	for d := xml.NewDecoder(bytes.NewReader(picture.Bytes())); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the picture is not XML: %v", err)
		}
		if chars, ok := token.(xml.CharData); ok {
			text += string(chars)
		}
	}
	for _, span := range spans {
		if !strings.Contains(text, span.Service+" "+span.Name) {
			t.Errorf("%s %s is not in the picture", span.Service, span.Name)
		}
	}
	if failed := strings.Count(text, "✗"); failed != 2 {
		t.Errorf("%d spans are marked as failed, want the client's and the server's of one call", failed)
	}
	if err := stack.DrawTrace(io.Discard, nil); err == nil {
		t.Error("no error for a trace without spans")
	}
}
