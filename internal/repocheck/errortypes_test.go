// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package repocheck

// The classes of error that the registry lists are those that the code sets. The other way round, that the code sets
// no others, is part of the registry check of all telemetry: error.type on a metric is a member or a number.

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

func TestErrorTypesAreSet(t *testing.T) {
	const prefix = "ErrorType"
	declared := map[string]bool{}
	parsed, err := parser.ParseFile(token.NewFileSet(), "../../semconv/attributes_gen.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(v.Names[0].Name, prefix) && v.Names[0].Name != prefix+"Key" {
			declared[v.Names[0].Name] = false
		}
		return true
	})
	if len(declared) < 12 {
		t.Fatalf("%d values of error.type are declared", len(declared))
	}
	err = filepath.WalkDir("../../otelmcp", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if _, is := declared[s.Sel.Name]; is {
					declared[s.Sel.Name] = true
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, set := range declared {
		if !set {
			t.Errorf("nothing sets semconv.%s", name)
		}
	}
}
