// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package clients drives MCP clients that nobody here wrote: the Inspector, the
// TypeScript SDKs and the official Go SDK. Each is given the same plan.
package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Versions of the protocol: the last one with sessions, and the first one without.
const (
	Legacy = "2025-11-25"
	Modern = "2026-07-28"
)

// Plan is what a client is to do: to connect, to make the calls, and to leave.
type Plan struct {
	URL      string `json:"url,omitempty"`     // of the server, or:
	Command  string `json:"command,omitempty"` // a program that serves on stdio
	Token    string `json:"token,omitempty"`   // sent as a bearer token
	Protocol string `json:"protocol"`
	// Traceparent is put into the _meta of every request after the handshake.
	Traceparent string `json:"traceparent"`
	Calls       []Call `json:"calls"`

	Name    string `json:"name"` // filled by Run
	Version string `json:"version"`
}

// Call is a request.
type Call struct {
	Method string         `json:"method"` // tools/list, tools/call, prompts/get or resources/read
	Params map[string]any `json:"params"`
}

// Answer is what the client makes of a response.
type Answer struct {
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
	// ToolError says that the result has isError set.
	ToolError bool `json:"-"`
}

// Client is a client that can be driven.
type Client struct {
	Kind string // what it is
	// Name and Version are what it says of itself.
	Name, Version string
	Protocols     []string
	// Probes says that it starts a server on stdio once more, to find out whether it
	// speaks Modern, and kills that one.
	Probes bool

	run func(context.Context, Plan) ([]Answer, error)
	npm bool
}

// All returns the clients.
func All() []Client {
	return []Client{
		{
			Kind: "inspector", Name: "inspector-cli", Version: "2.12.0",
			Protocols: []string{Legacy, Modern}, run: inspector, npm: true,
		},
		{
			Kind: "typescript-v1", Name: "e2e-typescript-v1", Version: "1.2.3",
			Protocols: []string{Legacy}, run: driver("sdk-v1.mjs"), npm: true,
		},
		{
			Kind: "typescript-v2", Name: "e2e-typescript-v2", Version: "2.3.4",
			Protocols: []string{Legacy, Modern}, Probes: true, run: driver("client-v2.mjs"), npm: true,
		},
		{
			Kind: "go", Name: "e2e-go", Version: "3.4.5",
			Protocols: []string{Legacy, Modern}, run: official,
		},
	}
}

// ErrMissing says that a client is not installed.
var ErrMissing = errors.New("not installed, which needs Node.js and npm: run make clients")

// Missing tells why the client cannot run here; nil if it can.
func (c *Client) Missing() error {
	if !c.npm {
		return nil
	}
	for _, path := range []string{node(), launcher()} {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return ErrMissing
		} else if err != nil {
			return err
		}
	}
	return nil
}

// Run returns an answer for each call. The error is about the connection, or the
// client itself.
func (c *Client) Run(ctx context.Context, p Plan) ([]Answer, error) {
	p.Name, p.Version = c.Name, c.Version
	answers, err := c.run(ctx, p)
	if err != nil {
		return nil, err
	}
	if len(answers) != len(p.Calls) {
		return nil, fmt.Errorf("%d answers to %d calls", len(answers), len(p.Calls))
	}
	for k := range answers {
		if answers[k].Error != "" || answers[k].ToolError {
			continue
		}
		var result struct{ IsError bool }
		if err := json.Unmarshal(answers[k].Result, &result); err != nil {
			return nil, fmt.Errorf("answer %d: %w", k, err)
		}
		answers[k].ToolError = result.IsError
	}
	return answers, nil
}

// folder is where the npm packages are.
func folder() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(file)
}

// node is the one that the packages need, whichever else there is.
func node() string { return filepath.Join(folder(), "node_modules", "node", "bin", "node") }

// launcher is the Inspector's program.
func launcher() string {
	return filepath.Join(folder(), "node_modules", "@modelcontextprotocol", "inspector",
		"clients", "launcher", "build", "index.js")
}

// driver runs one of the scripts here.
func driver(script string) func(context.Context, Plan) ([]Answer, error) {
	return func(ctx context.Context, p Plan) ([]Answer, error) {
		plan, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		out, err := output(ctx, filepath.Join(folder(), script), string(plan))
		if err != nil {
			return nil, err
		}
		var said struct {
			Error   string
			Answers []Answer
		}
		if err := json.Unmarshal(out, &said); err != nil {
			return nil, fmt.Errorf("%s said %q: %w", script, out, err)
		}
		if said.Error != "" {
			return nil, errors.New(said.Error)
		}
		return said.Answers, nil
	}
}

// inspector makes each call with a process of its own, which is how its command
// line works. Whatever it sends after the handshake has the metadata.
func inspector(ctx context.Context, p Plan) (answers []Answer, err error) {
	era := "legacy"
	if p.Protocol == Modern {
		era = "modern"
	}
	server := []string{p.Command}
	if p.URL != "" {
		server = []string{p.URL, "--transport", "http"}
	}
	if p.Token != "" {
		server = append(server, "--header", "Authorization: Bearer "+p.Token)
	}
	for _, call := range p.Calls {
		args := append([]string{launcher(), "--cli"}, server...)
		args = append(args, "--protocol-era", era, "--stored-auth-only", "--format", "json", "--quiet",
			"--method", call.Method)
		flags := map[string]string{"tools/call": "--tool-name", "prompts/get": "--prompt-name"}
		if name, _ := call.Params["name"].(string); name != "" {
			args = append(args, flags[call.Method], name)
		}
		if uri, _ := call.Params["uri"].(string); uri != "" {
			args = append(args, "--uri", uri)
		}
		flags = map[string]string{"tools/call": "--tool-arg", "prompts/get": "--prompt-args"}
		if arguments, _ := call.Params["arguments"].(map[string]any); len(arguments) > 0 {
			args = append(args, flags[call.Method])
			for name, value := range arguments {
				args = append(args, fmt.Sprintf("%s=%v", name, value))
			}
		}
		args = append(args, "--metadata", "traceparent="+p.Traceparent)
		answer, err := inspect(ctx, args)
		if err != nil {
			return nil, err
		}
		answers = append(answers, answer)
	}
	return answers, nil
}

// inspect runs the Inspector once. The text of a tool's error it prints as any
// result, and then the error on stderr.
func inspect(ctx context.Context, args []string) (a Answer, err error) {
	out, err := output(ctx, args...)
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		return a, err
	}
	if err != nil {
		var said struct {
			Error struct{ Code, Message string }
		}
		if json.Unmarshal(bytes.TrimSpace(failed.Stderr), &said) != nil || said.Error.Code != "tool_is_error" {
			return a, err
		}
		a.ToolError = true
	}
	if err := json.Unmarshal(out, &a); err != nil {
		return a, fmt.Errorf("the Inspector said %q: %w", out, err)
	}
	return a, nil
}

// output runs a script and returns what it printed. An error has what it wrote to
// stderr.
func output(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, node(), args...) //nolint:gosec // our scripts, and the pinned Inspector
	cmd.Env = os.Environ()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		failed.Stderr = stderr.Bytes()
	}
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", filepath.Base(args[0]), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, err
}
