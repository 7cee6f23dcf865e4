// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package programtest runs an example as a user does: the program is built and
// started, in an environment that has no OTEL_* variables of its own.
package programtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// program is the path of the built example.
var program string

// Run is for a TestMain: it builds the program in the current folder, runs the tests,
// and returns the exit code.
func Run(m *testing.M, name string) int {
	dir, err := os.MkdirTemp("", name+"-example")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program = filepath.Join(dir, name+".exe") // the suffix is for Windows
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// Process is the program with what it writes. Children that it starts write to the
// same standard error, so that Wait returns nil only when they have ended, too.
type Process struct {
	*exec.Cmd
	Out, Err bytes.Buffer
}

// New makes one in an environment that has of OTEL_* variables only those in env. It
// is killed at the end of the test.
func New(t *testing.T, env []string, args ...string) *Process {
	t.Helper()
	p := &Process{Cmd: exec.CommandContext(t.Context(), program, args...)}
	p.Stdout, p.Stderr = &p.Out, &p.Err
	p.WaitDelay = 20 * time.Second
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "OTEL_") && !strings.HasPrefix(pair, "COLUMNS=") {
			p.Env = append(p.Env, pair)
		}
	}
	p.Env = append(append(p.Env, "COLUMNS=200"), env...)
	return p
}

// Fails wants the program to exit with 1 in an environment with that variable, and to say each of
// says on standard error.
func Fails(t *testing.T, variable string, says ...string) {
	t.Helper()
	p := New(t, []string{variable})
	if err := p.Run(); p.ProcessState == nil || p.ProcessState.ExitCode() != 1 {
		t.Errorf("ended with %v instead of exit code 1", err)
	}
	for _, want := range says {
		if !strings.Contains(p.Err.String(), want) {
			t.Errorf("stderr lacks %q:\n%s", want, &p.Err)
		}
	}
}
