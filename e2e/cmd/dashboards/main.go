// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Command dashboards writes the Grafana dashboards of examples/stack: what is in
// them is said once, in overview.go, security.go and health.go, and ids, layout and
// data sources cannot go wrong by hand.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

//go:generate go run . ../../../examples/stack/grafana/dashboards

func main() {
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(1)
	}
}

func write(dir string) error {
	for _, d := range []dashboard{overview(), security(), health()} {
		var b bytes.Buffer
		out := json.NewEncoder(&b)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		if err := out.Encode(d.model()); err != nil {
			return err
		}
		file := filepath.Join(dir, d.uid+".json")
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil { //nolint:gosec // for all to read
			return err
		}
	}
	return nil
}

// ordered yields what is in m by its keys.
func ordered[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
