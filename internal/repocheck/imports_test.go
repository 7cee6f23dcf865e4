// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package repocheck

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	ours     = "github.com/otelmcp/otelmcp-go"
	toolsDir = "internal/tools" // pins programs; holds no package
	mcpGo    = "github.com/mark3labs/mcp-go"
	goSDK    = "github.com/modelcontextprotocol/go-sdk"
	otelSDK  = "go.opentelemetry.io/otel/sdk"
	goJOSE   = "github.com/go-jose/go-jose/v4"
)

var otelAPI = []string{
	"go.opentelemetry.io/otel",
	"go.opentelemetry.io/otel/log",
	"go.opentelemetry.io/otel/metric",
	"go.opentelemetry.io/otel/trace",
}

// A rule says what the packages of one pattern, and all that they pull in, may import.
type rule struct {
	module  string   // folder of the module, from the root of the repository
	pattern string   // packages, as the go command takes them
	flags   []string // for go list; -test binds the tests of these packages too
	own     []string // our packages that may be imported, with all below them
	modules []string // modules of others that our packages may import directly; nil is any
	never   []string // packages that nothing in the whole closure may import, with all below them
}

var rules = map[string]rule{
	"otelmcp needs the OpenTelemetry API and mcp-go, no more": {
		module: ".", pattern: "./otelmcp/...",
		own:     []string{ours + "/otelmcp", ours + "/semconv"},
		modules: append([]string{mcpGo, "github.com/felixge/httpsnoop", "github.com/gowebpki/jcs"}, otelAPI...),
		never:   []string{otelSDK, "go.opentelemetry.io/otel/exporters", ours + "/verifier", goJOSE},
	},
	"operation knows no MCP SDK": {
		module: ".", pattern: "./otelmcp/internal/operation/...",
		own:     []string{ours + "/otelmcp/internal/operation", ours + "/otelmcp/internal/content", ours + "/otelmcp/internal/scrub", ours + "/semconv"},
		modules: otelAPI,
		never:   []string{mcpGo, goSDK, otelSDK},
	},
	"semconv imports nothing of ours": {
		module: ".", pattern: "./semconv",
		own:     []string{ours + "/semconv"},
		modules: otelAPI,
		never:   []string{mcpGo, goSDK, otelSDK},
	},
	"the generator builds before anything is generated": {
		module: ".", pattern: "./semconv/internal/gen",
		own:   []string{ours + "/internal/telemetrytest/registry"},
		never: []string{mcpGo, goSDK, ours + "/semconv"},
	},
	"exporters never imports otelmcp": {
		module: "exporters", pattern: "./...", flags: []string{"-test"},
		own:   []string{ours + "/exporters", ours + "/semconv", ours + "/internal"},
		never: []string{ours + "/otelmcp", ours + "/verifier"},
	},
	"verifier needs otelmcp and go-jose, no more": {
		module: "verifier", pattern: "./...",
		own:     []string{ours + "/verifier", ours + "/otelmcp", ours + "/semconv"},
		modules: append([]string{goJOSE, mcpGo, "github.com/felixge/httpsnoop", "github.com/gowebpki/jcs"}, otelAPI...),
		never:   []string{otelSDK, "go.opentelemetry.io/otel/exporters", ours + "/exporters"},
	},
}

// A pkg is what the go command says of one package.
type pkg struct {
	ImportPath string
	Standard   bool
	Module     *struct{ Path string }
	Imports    []string
}

func TestImports(t *testing.T) {
	for name, r := range rules {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pkgs := list(t, r.module, append(r.flags, r.pattern)...)
			if !slices.ContainsFunc(pkgs, func(p pkg) bool { return under(p.ImportPath, ours) }) {
				t.Fatalf("no package of ours in %s matches %s: the rule guards nothing", r.module, r.pattern)
			}
			for _, broken := range r.check(pkgs) {
				t.Error(broken)
			}
		})
	}
}

func TestNothingImportsAnExample(t *testing.T) {
	for _, dir := range modules(t) {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			for _, broken := range checkExamples(list(t, dir, "-test", "./...")) {
				t.Error(broken)
			}
		})
	}
}

// Each rule must be able to fail: a graph that breaks it, and what it says then.
func TestRulesCanFail(t *testing.T) {
	module := func(path string) *struct{ Path string } { return &struct{ Path string }{path} }
	std := pkg{ImportPath: "context", Standard: true}
	sdk := pkg{ImportPath: otelSDK + "/trace", Module: module(otelSDK)}
	mcp := pkg{ImportPath: mcpGo + "/mcp", Module: module(mcpGo)}
	stray := pkg{ImportPath: "example.com/stray", Module: module("example.com/stray")}
	otelmcp := pkg{ImportPath: ours + "/otelmcp", Module: module(ours)}
	internal := pkg{ImportPath: ours + "/internal/x", Module: module(ours)}
	jose := pkg{ImportPath: goJOSE, Module: module(goJOSE)}
	verifier := pkg{ImportPath: ours + "/verifier", Module: module(ours + "/verifier")}
	indirect := pkg{ImportPath: mcpGo + "/server", Module: module(mcpGo), Imports: []string{sdk.ImportPath}}

	for _, tt := range []struct {
		rule, from string
		to         pkg
		broken     bool
	}{
		{"otelmcp needs the OpenTelemetry API and mcp-go, no more", "/otelmcp", std, false},
		{"otelmcp needs the OpenTelemetry API and mcp-go, no more", "/otelmcp", mcp, false},
		{"otelmcp needs the OpenTelemetry API and mcp-go, no more", "/otelmcp", stray, true},
		{"otelmcp needs the OpenTelemetry API and mcp-go, no more", "/otelmcp", sdk, true},
		{"otelmcp needs the OpenTelemetry API and mcp-go, no more", "/otelmcp", internal, true},
		{"otelmcp needs the OpenTelemetry API and mcp-go, no more", "/otelmcp", indirect, true},
		{"operation knows no MCP SDK", "/otelmcp/internal/operation", std, false},
		{"operation knows no MCP SDK", "/otelmcp/internal/operation", mcp, true},
		{"operation knows no MCP SDK", "/otelmcp/internal/operation", otelmcp, true},
		{"semconv imports nothing of ours", "/semconv", std, false},
		{"semconv imports nothing of ours", "/semconv", internal, true},
		{"the generator builds before anything is generated", "/semconv/internal/gen", stray, false},
		{"the generator builds before anything is generated", "/semconv/internal/gen", otelmcp, true},
		{"exporters never imports otelmcp", "/exporters", sdk, false},
		{"exporters never imports otelmcp", "/exporters", otelmcp, true},
		{"otelmcp needs the OpenTelemetry API and mcp-go, no more", "/otelmcp", verifier, true},
		{"exporters never imports otelmcp", "/exporters", verifier, true},
		{"verifier needs otelmcp and go-jose, no more", "/verifier", jose, false},
		{"verifier needs otelmcp and go-jose, no more", "/verifier", otelmcp, false},
		{"verifier needs otelmcp and go-jose, no more", "/verifier", internal, true},
		{"verifier needs otelmcp and go-jose, no more", "/verifier", stray, true},
		{"verifier needs otelmcp and go-jose, no more", "/verifier", sdk, true},
	} {
		t.Run(tt.from+" to "+tt.to.ImportPath, func(t *testing.T) {
			r, ok := rules[tt.rule]
			if !ok {
				t.Fatalf("no rule %q", tt.rule)
			}
			from := pkg{ImportPath: ours + tt.from, Module: module(ours), Imports: []string{tt.to.ImportPath}}
			broken := r.check([]pkg{std, sdk, tt.to, from})
			if (len(broken) > 0) != tt.broken {
				t.Errorf("broken = %q, want broken: %v", broken, tt.broken)
			}
		})
	}

	demo := ours + "/examples/demo"
	within := pkg{ImportPath: demo, Imports: []string{demo + "/internal"}}
	across := pkg{ImportPath: ours + "/otelmcp", Imports: []string{demo}}
	if broken := checkExamples([]pkg{within, across}); len(broken) != 1 {
		t.Errorf("example rule: broken = %q, want one", broken)
	}
}

// check returns every import in pkgs that breaks the rule.
func (r rule) check(pkgs []pkg) []string {
	index := make(map[string]pkg, len(pkgs))
	for _, p := range pkgs {
		index[p.ImportPath] = p
	}
	var broken []string
	for _, p := range pkgs {
		mine := under(p.ImportPath, ours)
		for _, path := range p.Imports {
			imp, name := index[path], plain(path)
			switch {
			case underAny(name, r.never):
				broken = append(broken, fmt.Sprintf("%s imports %s, which must not be reached at all", p.ImportPath, name))
			case !mine || imp.Standard || name == "C":
			case under(name, ours):
				if !underAny(name, r.own) {
					broken = append(broken, fmt.Sprintf("%s imports %s; of ours only %v may be", p.ImportPath, name, r.own))
				}
			case r.modules != nil && (imp.Module == nil || !slices.Contains(r.modules, imp.Module.Path)):
				broken = append(broken, fmt.Sprintf("%s imports %s; only packages of %v may be", p.ImportPath, name, r.modules))
			}
		}
	}
	return broken
}

// checkExamples returns every import of an example from outside examples.
func checkExamples(pkgs []pkg) []string {
	var broken []string
	for _, p := range pkgs {
		for _, path := range p.Imports {
			if under(plain(path), ours+"/examples") && !under(p.ImportPath, ours+"/examples") {
				broken = append(broken, fmt.Sprintf("%s imports %s: nothing imports an example", p.ImportPath, path))
			}
		}
	}
	return broken
}

// list returns what go list finds with args in dir, and everything that those packages depend on.
func list(t *testing.T, dir string, args ...string) []pkg {
	t.Helper()
	args = append([]string{"list", "-deps", "-json=ImportPath,Standard,Module,Imports"}, args...)
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = filepath.Join("..", "..", dir)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list in %s: %v\n%s", dir, err, stderr.Bytes())
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// modules returns the folder of every module in the repository that holds packages.
func modules(t *testing.T) []string {
	t.Helper()
	var dirs []string
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return fs.SkipDir
		case d.Name() != "go.mod":
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err == nil && filepath.ToSlash(dir) != toolsDir {
			dirs = append(dirs, dir)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// plain drops the marks of a package compiled for a test: "a/b [a/c.test]" and "a/b_test [a/b.test]" are "a/b".
func plain(path string) string {
	path, _, test := strings.Cut(path, " ")
	if test {
		path = strings.TrimSuffix(path, "_test")
	}
	return path
}

func under(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

func underAny(path string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return under(path, p) })
}
