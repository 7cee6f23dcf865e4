// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package repocheck

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestContainersAreListed holds the tables of the tests of limits against the source:
// whatever can hold a number of things, and outlives a call, is listed there, with its
// bounds and a flood of it, or with the reason why nobody else can make it grow.
func TestContainersAreListed(t *testing.T) {
	for list, dirs := range map[string][]string{
		"otelmcp/limits_test.go":   {"otelmcp"},
		"verifier/limits_test.go":  {"verifier"},
		"exporters/limits_test.go": {"exporters"},
	} {
		t.Run(list, func(t *testing.T) {
			found := map[string]token.Position{}
			for _, dir := range dirs {
				findContainers(t, filepath.Join("..", "..", dir), found)
			}
			listed := namesIn(t, filepath.Join("..", "..", list))
			for _, name := range slices.Sorted(maps.Keys(found)) {
				if !listed[name] {
					t.Errorf("%s: %s is not listed", found[name], name)
				}
				delete(listed, name)
			}
			for _, name := range slices.Sorted(maps.Keys(listed)) {
				t.Errorf("%s is listed, and is not in the source", name)
			}
		})
	}
}

// findContainers adds the containers in the source below dir: package.Type.field of a
// struct, package.name of a variable, and package.Type of a type that is one.
func findContainers(t *testing.T, dir string, found map[string]token.Position) {
	t.Helper()
	fset := token.NewFileSet()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		add := func(at ast.Node, name string) { found[file.Name.Name+"."+name] = fset.Position(at.Pos()) }
		for _, decl := range file.Decls {
			g, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					if s, ok := spec.Type.(*ast.StructType); ok {
						containersOf(spec.Name.Name, s, add)
					} else if holds(spec.Type) {
						add(spec, spec.Name.Name)
					}
				case *ast.ValueSpec:
					for k, name := range spec.Names {
						if spec.Type != nil && holds(spec.Type) || len(spec.Values) > k && makes(spec.Values[k]) {
							add(name, name.Name)
						}
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func containersOf(typ string, s *ast.StructType, add func(ast.Node, string)) {
	for _, f := range s.Fields.List {
		for _, name := range f.Names {
			if inner, ok := f.Type.(*ast.StructType); ok {
				containersOf(typ+"."+name.Name, inner, add)
			} else if holds(f.Type) {
				add(name, typ+"."+name.Name)
			}
		}
	}
}

// holds reports whether a value of the type can hold any number of things.
func holds(typ ast.Expr) bool {
	switch typ := typ.(type) {
	case *ast.MapType, *ast.ChanType:
		return true
	case *ast.ArrayType:
		return typ.Len == nil || holds(typ.Elt)
	case *ast.StarExpr:
		return holds(typ.X)
	case *ast.ParenExpr:
		return holds(typ.X)
	case *ast.IndexExpr: // of a generic type: atomic.Pointer[map[string]T]
		return isPending(typ.X) || holds(typ.Index)
	case *ast.SelectorExpr:
		pkg, ok := typ.X.(*ast.Ident)
		return ok && pkg.Name == "sync" && (typ.Sel.Name == "Map" || typ.Sel.Name == "Pool")
	}
	return false
}

// isPending is for the tables of the package pending, which the package that makes one
// gives its size.
func isPending(typ ast.Expr) bool {
	s, ok := typ.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := s.X.(*ast.Ident)
	return ok && pkg.Name == "pending" && s.Sel.Name == "Table"
}

// makes reports whether the expression that a variable begins with is a container.
func makes(value ast.Expr) bool {
	switch value := value.(type) {
	case *ast.CompositeLit:
		return value.Type != nil && holds(value.Type)
	case *ast.UnaryExpr:
		return makes(value.X)
	case *ast.CallExpr:
		if lit, ok := value.Fun.(*ast.FuncLit); ok && lit.Type.Results != nil {
			return slices.ContainsFunc(lit.Type.Results.List, func(f *ast.Field) bool { return holds(f.Type) })
		}
		if name, ok := value.Fun.(*ast.Ident); ok && name.Name == "make" {
			return holds(value.Args[0])
		}
	}
	return false
}

// namesIn reads the names that a list has: of each row of the variable limits the
// words of its first string, and of the variable others those of its values.
func namesIn(t *testing.T, path string) map[string]bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	take := func(e ast.Expr) {
		lit, ok := e.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			t.Fatalf("%s: a row does not begin with its names", path)
		}
		text, _ := strconv.Unquote(lit.Value)
		for name := range strings.FieldsSeq(text) {
			if names[name] {
				t.Errorf("%s lists %s twice", path, name)
			}
			names[name] = true
		}
	}
	for _, decl := range file.Decls {
		g, ok := decl.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec) //nolint:forcetypeassert // What a var declares.
			if len(v.Values) != 1 {
				continue
			}
			lit, ok := v.Values[0].(*ast.CompositeLit)
			if !ok {
				continue
			}
			for _, row := range lit.Elts {
				switch v.Names[0].Name {
				case "limits":
					take(row.(*ast.CompositeLit).Elts[0]) //nolint:forcetypeassert // A row.
				case "others":
					take(row.(*ast.KeyValueExpr).Value) //nolint:forcetypeassert // A map's element.
				}
			}
		}
	}
	return names
}
