// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Command gen writes the Go files of package semconv and docs/semconv.md from
// the registry. It stands in for Weaver's code generation, which not every
// machine that builds this project has. The same registry gives the same bytes.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest/registry"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run() error {
	dir, err := registry.Find()
	if err != nil {
		return err
	}
	files, err := generate(dir)
	if err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil { //nolint:gosec // source and documentation, which everybody may read
			return err
		}
	}
	return nil
}

// generate returns the generated files by their path relative to dir, the
// semconv folder.
func generate(dir string) (map[string][]byte, error) {
	reg, err := registry.Load(os.DirFS(dir))
	if err != nil {
		return nil, err
	}
	files, err := goFiles(reg)
	if err != nil {
		return nil, err
	}
	files[filepath.Join("..", "docs", "semconv.md")] = markdown(reg)
	return files, nil
}
