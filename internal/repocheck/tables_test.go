// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package repocheck

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest/registry"
)

// The tables of the pages are compared with the source, both ways: a table is known by the
// first cell of its head, and a name stands in a first cell or, of a signal, in a second,
// once on a page.

// TestOptionsAreListed is about tables of options. A name without a package is otelmcp's.
func TestOptionsAreListed(t *testing.T) {
	source := map[string]string{}
	for _, pkg := range []string{"otelmcp", "exporters", "exporters/otlpfile", "verifier"} {
		for path, file := range parseDir(t, pkg) {
			for _, d := range file.Decls {
				f, ok := d.(*ast.FuncDecl)
				if ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "With") {
					source[strings.TrimPrefix(file.Name.Name+".", "otelmcp.")+f.Name.Name] = path
				}
			}
		}
	}
	compare(t, source, listed(t, "option", 0, regexp.MustCompile(`^(?:[a-z]+\.)?With[A-Za-z]+`)))
}

// bySDK are the variables of the tables that only OpenTelemetry's own packages read.
var bySDK = []string{"OTEL_EXPORTER_PROMETHEUS_HOST", "OTEL_SERVICE_NAME"}

var (
	variable = regexp.MustCompile(`^OTEL(?:MCP)?_[A-Z_]+[A-Z]$`)
	mention  = regexp.MustCompile(`\bOTEL(?:MCP)?_[A-Z_]+[*…]?`)
	ending   = regexp.MustCompile(`^[A-Z_]+[A-Z]$`)
	signal   = regexp.MustCompile(`^OTEL_EXPORTER_OTLP_(TRACES|METRICS|LOGS)_`)
)

// TestVariablesAreListed is about tables of variables, and about every variable that is
// named on a page.
func TestVariablesAreListed(t *testing.T) {
	source := map[string]string{}
	endings := map[string]string{}
	for _, pkg := range []string{"otelmcp", "exporters", "exporters/otlpfile", "verifier"} {
		files := parseDir(t, pkg)
		prefixes := map[string]string{} // constants that variables begin with
		for _, file := range files {
			ast.Inspect(file, func(n ast.Node) bool {
				spec, ok := n.(*ast.ValueSpec)
				if ok && len(spec.Values) == len(spec.Names) {
					for k, name := range spec.Names {
						if v := text(spec.Values[k]); strings.HasPrefix(v, "OTEL") && strings.HasSuffix(v, "_") {
							prefixes[name.Name] = v
						}
					}
				}
				return true
			})
		}
		for path, file := range files {
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BasicLit:
					if v := text(n); variable.MatchString(v) {
						source[v] = path
					}
				case *ast.BinaryExpr:
					left, ok := n.X.(*ast.Ident)
					if v := text(n.Y); ok && ending.MatchString(v) {
						if prefix := prefixes[left.Name]; prefix != "" {
							source[prefix+v] = path
						} else {
							endings[v] = path
						}
					}
				case *ast.CallExpr:
					if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "otlpNames" {
						if v := text(n.Args[0]); v != "" {
							source["OTEL_EXPORTER_OTLP_"+v] = path
						}
					}
				}
				return true
			})
		}
	}
	table := listed(t, "variable", 0, variable)
	for _, name := range bySDK {
		if source[name] != "" {
			t.Errorf("%s reads %s, which is said to be the SDK's", source[name], name)
		}
		source[name] = "the SDK"
	}
	for end, path := range endings {
		found := false
		for name := range table {
			if strings.HasSuffix(name, "_"+end) {
				found, source[name] = true, path
			}
		}
		if !found {
			t.Errorf("%s reads a variable that ends in _%s, and no table lists one", path, end)
		}
	}
	compare(t, source, table)

	for page, lines := range pages(t) {
		for k, line := range lines {
			for _, name := range mention.FindAllString(line, -1) {
				all := signal.ReplaceAllString(name, "OTEL_EXPORTER_OTLP_") // where one signal's stands
				if variable.MatchString(name) && source[name] == "" && source[all] == "" {
					t.Errorf("%s:%d names %s, which nothing reads", page, k+1, name)
				}
			}
		}
	}
}

// TestSignalsAreListed is about the tables of what is emitted, and about every name of
// ours that is in code quotes on a page.
func TestSignalsAreListed(t *testing.T) {
	dir, err := registry.Find()
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Load(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	source, known := map[string]string{}, map[string]bool{"otelmcp": true}
	for _, m := range reg.Metrics {
		source[m.Name], known[m.Name] = "the registry", true
	}
	for _, e := range reg.Events {
		source[e.Name], known[e.Name] = "the registry", true
	}
	for _, s := range reg.Spans {
		known[s.Type] = true
	}
	var templates []string
	for _, a := range reg.Attributes {
		if known[a.Key] = true; a.Template {
			templates = append(templates, a.Key+".")
		}
	}
	compare(t, source, listed(t, "signal", 1, regexp.MustCompile(`^(?:otel)?mcp\.[a-z_.]+$`)))

	named := regexp.MustCompile("`((?:otel)?mcp\\.[a-z_.]*[a-z])`")
	for page, lines := range pages(t) {
		for k, line := range lines {
			for _, m := range named.FindAllStringSubmatch(line, -1) {
				if !known[m[1]] && !slices.ContainsFunc(templates, func(prefix string) bool { return strings.HasPrefix(m[1], prefix) }) {
					t.Errorf("%s:%d names %s, which is not in the registry", page, k+1, m[1])
				}
			}
		}
	}
}

// compare finds what is in one of the two only. Both say where a name is.
func compare(t *testing.T, source, table map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(source)) {
		if table[name] == "" {
			t.Errorf("no table of the pages lists %s (%s)", name, source[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if source[name] == "" {
			t.Errorf("%s lists %s, which there is not", table[name], name)
		}
	}
	if len(table) == 0 {
		t.Error("there is no such table")
	}
}

var quoted = regexp.MustCompile("`[^`]+`")

// listed returns the names that match and are in code quotes in that cell of the rows of
// tables whose head begins so, and where they stand.
func listed(t *testing.T, head string, cell int, name *regexp.Regexp) map[string]string {
	t.Helper()
	names := map[string]string{}
	for page, lines := range pages(t) {
		in := false
		for k, line := range lines {
			cells := strings.Split(line, " | ")
			switch {
			case strings.HasPrefix(line, "| "+head+" | "):
				in = true
			case !strings.HasPrefix(line, "|"):
				in = false
			case in && len(cells) > cell:
				for _, q := range quoted.FindAllString(cells[cell], -1) {
					found := name.FindString(strings.Trim(q, "`"))
					at := page + ":" + strconv.Itoa(k+1)
					if found != "" && strings.HasPrefix(names[found], page+":") {
						t.Errorf("%s lists %s, which %s lists, too", at, found, names[found])
					}
					if found != "" {
						names[found] = at
					}
				}
			}
		}
	}
	return names
}

// pages returns the lines of each page that somebody writes. What is generated has tests
// of its own, and a changelog names what there was.
func pages(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules"):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err != nil || slices.Contains([]string{"CHANGELOG.md", "docs/semconv.md", "docs/performance.md"}, filepath.ToSlash(name)) {
			return err
		}
		page, err := os.ReadFile(path)
		found[filepath.ToSlash(name)] = strings.Split(string(page), "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// parseDir parses the files of a package, without its tests, by their paths.
func parseDir(t *testing.T, dir string) map[string]*ast.File {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(dir), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*ast.File{}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files[dir+"/"+filepath.Base(path)] = file
	}
	if len(files) == 0 {
		t.Fatalf("there is no package in %s", dir)
	}
	return files
}

// text returns the value of a string literal.
func text(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	v, _ := strconv.Unquote(lit.Value)
	return v
}
