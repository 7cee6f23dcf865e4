// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package interop_test

// The Go code that the pages show. A block is a fragment of a program, and the compiler
// must accept it with what its page says is around it.

import (
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	_ "github.com/otelmcp/otelmcp-go/exporters" // only the programs of the pages import it
	_ "github.com/otelmcp/otelmcp-go/verifier"  // likewise
)

// root is the folder of the repository.
var root = filepath.Join("..", "..")

// packages are those that a block may use without importing them, by their names.
var packages = map[string]string{
	"client":      "github.com/mark3labs/mcp-go/client",
	"context":     "context",
	"errors":      "errors",
	"exporters":   "github.com/otelmcp/otelmcp-go/exporters",
	"http":        "net/http",
	"log":         "log",
	"mcp":         "github.com/mark3labs/mcp-go/mcp",
	"os":          "os",
	"otelmcp":     "github.com/otelmcp/otelmcp-go/otelmcp",
	"propagation": "go.opentelemetry.io/otel/propagation",
	"semconv":     "github.com/otelmcp/otelmcp-go/semconv",
	"server":      "github.com/mark3labs/mcp-go/server",
	"signal":      "os/signal",
	"slices":      "slices",
	"syscall":     "syscall",
	"time":        "time",
	"transport":   "github.com/mark3labs/mcp-go/client/transport",
	"verifier":    "github.com/otelmcp/otelmcp-go/verifier",
}

// common declares what the blocks of every page leave to the program around them.
const common = `
var (
	ctx context.Context
	srv *server.MCPServer
)
`

// surroundings declare what those of one page leave to it besides.
var surroundings = map[string]string{
	"README.md": `
		var (
			forecast     server.ToolHandlerFunc
			forecastTool mcp.Tool
			t            transport.Interface
		)`,
	"docs/auth.md": `
		var (
			accounts struct { // a package
				ByToken          func(context.Context, string) (struct{ Name string; Scopes []string; Until time.Time }, error)
				ErrNone, ErrRevoked error
			}
		)`,
	"docs/clients.md": `
		var (
			code, codeVerifier, redirect, state, url string
			handler                              *transport.OAuthHandler
			scopes                               []string
			store                                transport.TokenStore
			t                                    transport.Interface
		)`,
}

// A block is Go code on a page.
type block struct {
	page string // its path from the root
	line int    // of its first line
	code string
}

func TestBlocksOfPagesCompile(t *testing.T) {
	blocks := blocksOfPages(t)
	compile := newCompiler(t)
	used := map[string]map[string]bool{}
	for _, b := range blocks {
		uses, errs := compile(b)
		for _, err := range errs {
			t.Error(err)
		}
		if used[b.page] == nil {
			used[b.page] = map[string]bool{}
		}
		maps.Copy(used[b.page], uses)
	}
	for page, text := range surroundings {
		file, err := parser.ParseFile(token.NewFileSet(), "", "package page\n"+text, 0)
		if err != nil {
			t.Fatalf("the surroundings of %s: %v", page, err)
		}
		for name := range file.Scope.Objects {
			if !used[page][name] {
				t.Errorf("the surroundings of %s declare %s, which no block of that page uses", page, name)
			}
		}
	}
	if len(blocks) == 0 {
		t.Error("there is no block of Go code on any page")
	}
}

// What a change of the API breaks must be found where it stands.
func TestBrokenBlocksAreFound(t *testing.T) {
	compile := newCompiler(t)
	for name, tt := range map[string]struct{ code, want string }{
		"it is right":             {"err := otelmcp.Instrument(srv).ServeStdio(ctx)", ""},
		"declarations":            {"func f() *otelmcp.Instrumentation { return otelmcp.Instrument(srv) }", ""},
		"what is left out":        {"func f() error {\n\t…\n}", ""},
		"a file":                  {"package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println() }", ""},
		"an unknown option":       {"\notelmcp.Instrument(srv, otelmcp.WithNothing())", "docs/your-server.md:8: undefined: otelmcp.WithNothing"},
		"an argument too many":    {"otelmcp.Instrument(srv).Coverage(1)", "docs/your-server.md:7: too many arguments"},
		"a result too few":        {"a, b := otelmcp.Instrument(srv)", "docs/your-server.md:7: assignment mismatch"},
		"the wrong type":          {"otelmcp.Instrument(ctx)", "docs/your-server.md:7: cannot use ctx"},
		"an unknown name":         {"otelmcp.Instrument(mine)", "docs/your-server.md:7: undefined: mine"},
		"a package not at hand":   {"json.Valid(nil)", "docs/your-server.md:7: undefined: json"},
		"no Go":                   {"otelmcp.Instrument(srv", "docs/your-server.md:7: missing ',' before newline"},
		"a file without a result": {"package main\n\nfunc f() error {}", "docs/your-server.md:9: missing return"},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs := compile(block{page: "docs/your-server.md", line: 7, code: tt.code + "\n"})
			text := fmt.Sprint(errors.Join(errs...))
			switch {
			case tt.want == "" && len(errs) > 0:
				t.Error(text)
			case tt.want != "" && !strings.Contains(text, tt.want):
				t.Errorf("found %s, want %q", text, tt.want)
			}
		})
	}
}

// blocksOfPages returns every block of Go code on the pages of the repository.
func blocksOfPages(t *testing.T) []block {
	t.Helper()
	var blocks []block
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		page, err := filepath.Rel(root, path)
		blocks = append(blocks, blocksIn(filepath.ToSlash(page), string(text))...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return blocks
}

func blocksIn(page, text string) (blocks []block) {
	var b *block
	fence := ""
	for k, line := range strings.SplitAfter(text, "\n") {
		bare := strings.TrimSpace(line)
		switch {
		case b != nil && bare == fence:
			blocks = append(blocks, *b)
			b, fence = nil, ""
		case b != nil:
			b.code += line
		case fence != "":
			if bare == fence {
				fence = ""
			}
		case strings.HasPrefix(bare, "```"):
			fence = "```"
			if lang := strings.Trim(bare, "`"); lang == "go" || lang == "golang" {
				b = &block{page: page, line: k + 2}
			}
		}
	}
	return blocks
}

var (
	declares = regexp.MustCompile(`(?m)^(func|type|import) `)
	leftOut  = regexp.MustCompile(`(?m)^(\s*)…$`)
)

// newCompiler returns a function that has the compiler's front end check a block. A block
// that begins with its package is a file; one with a function, a type or an import on a
// line of its own is the declarations of one; any other is statements of a function that
// returns an error. A line with nothing but … stands for what is left out. What a block
// declares and does not use is no error: its reader will. The names of the surroundings
// that the block used are returned.
func newCompiler(t *testing.T) func(block) (map[string]bool, []error) {
	t.Helper()
	paths := slices.Sorted(maps.Values(packages))
	exported := exportsOf(t, paths)
	fset := token.NewFileSet()
	imp := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		file, ok := exported[path]
		if !ok {
			return nil, fmt.Errorf("no block may import %s: it is not in the table of packages", path)
		}
		return os.Open(file)
	})
	return func(b block) (map[string]bool, []error) {
		code := leftOut.ReplaceAllString(b.code, `${1}panic("…")`)
		at := fmt.Sprintf("//line %s:%d\n", b.page, b.line)
		switch {
		case strings.HasPrefix(code, "package "):
		case declares.MatchString(code):
			at = "package page\n" + imports(code) + at
		default:
			at = "package page\n" + imports(code) + "func _() error {\n" + at
			code += "\npanic(0)\n}\n"
		}
		file, err := parser.ParseFile(fset, "", at+code, parser.SkipObjectResolution)
		if err != nil {
			return nil, []error{err}
		}
		files := []*ast.File{file}
		if !strings.HasPrefix(b.code, "package ") {
			around, err := parser.ParseFile(fset, "surroundings of "+b.page, "package page\n"+imports(common+surroundings[b.page])+common+surroundings[b.page], parser.SkipObjectResolution)
			if err != nil {
				return nil, []error{err}
			}
			files = append(files, around)
		}
		var errs []error
		conf := types.Config{Importer: imp, Error: func(err error) {
			if e, ok := errors.AsType[types.Error](err); ok && !e.Soft {
				at := e.Fset.Position(e.Pos)
				errs = append(errs, fmt.Errorf("%s:%d: %s", at.Filename, at.Line, e.Msg))
			}
		}}
		info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
		pkg, _ := conf.Check("page", fset, files, info) // Error has them all
		uses := map[string]bool{}
		for ident, obj := range info.Uses {
			if obj.Parent() == pkg.Scope() && ident.Pos() >= file.FileStart && ident.Pos() <= file.FileEnd {
				uses[ident.Name] = true
			}
		}
		return uses, errs
	}
}

var selects = regexp.MustCompile(`\b[a-z]+\.`)

// imports declares those packages of the table that the code may use.
func imports(code string) string {
	var s strings.Builder
	names := selects.FindAllString(code, -1)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		name = strings.TrimSuffix(name, ".")
		if path, ok := packages[name]; ok {
			fmt.Fprintf(&s, "import %s %q\n", name, path)
		}
	}
	return s.String()
}

// exportsOf has the go command compile packages with all that they import, and returns
// the files with what they export.
func exportsOf(t *testing.T, paths []string) map[string]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}"}, paths...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	files := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if path, file, _ := strings.Cut(strings.TrimSpace(line), "\t"); file != "" {
			files[path] = file
		}
	}
	return files
}
