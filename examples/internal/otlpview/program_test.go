// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otlpview

// The command line that the examples share.

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCommandLine(t *testing.T) {
	ran, served := 0, false
	p := Program{
		Name: "example", Usage: "Usage: example", Serves: true,
		Run: func(_ context.Context, r Renderer, _ io.Writer, serve bool) error {
			ran, served = ran+1, serve
			r.Line("drawn")
			return nil
		},
		Parts: map[string]Part{
			"part": func(_ context.Context, std Streams) error {
				_, err := io.WriteString(std.Stdout, "a part\n")
				return err
			},
			"broken": func(context.Context, Streams) error { return errors.New("it broke") },
		},
	}
	for _, test := range []struct {
		args           []string
		code           int
		stdout, stderr string
		runs, serves   bool
	}{
		{args: nil, stdout: "drawn", runs: true},
		{args: []string{"--serve"}, stdout: "drawn", runs: true, serves: true},
		{args: []string{"--help"}, stdout: "Usage:"},
		{args: []string{"--nonsense"}, code: 2, stderr: "nonsense"},
		{args: []string{"nonsense"}, code: 2, stderr: `unknown argument "nonsense"`},
		{args: []string{"part"}, stdout: "a part"},
		{args: []string{"part", "too many"}, code: 2, stderr: `unknown argument "part"`},
		{args: []string{"broken"}, code: 1, stderr: "example: it broke"},
	} {
		ran, served = 0, false
		stdout, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
		if err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		if code := p.Command(t.Context(), test.args, stdout, &stderr); code != test.code {
			t.Errorf("%q: exit code %d instead of %d", test.args, code, test.code)
		}
		written, err := os.ReadFile(stdout.Name())
		if err != nil {
			t.Fatal(err)
		}
		_ = stdout.Close()
		if !strings.Contains(string(written), test.stdout) || !strings.Contains(stderr.String(), test.stderr) {
			t.Errorf("%q: stdout %q, stderr %q", test.args, written, &stderr)
		}
		if (test.stdout == "" && len(written) > 0) || (test.stderr == "" && stderr.Len() > 0) {
			t.Errorf("%q: stdout %q, stderr %q", test.args, written, &stderr)
		}
		if (ran == 1) != test.runs || served != test.serves {
			t.Errorf("%q: ran %d times, served %v", test.args, ran, served)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	p.Run = func(ctx context.Context, _ Renderer, _ io.Writer, _ bool) error {
		cancel()
		return ctx.Err()
	}
	var stderr bytes.Buffer
	if code := p.Command(ctx, nil, os.Stdout, &stderr); code != 1 || stderr.String() != "example: interrupted\n" {
		t.Errorf("exit code %d, %q", code, &stderr)
	}
}
