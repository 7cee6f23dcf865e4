// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package repocheck

// The queries that are shipped say whose decisions they count. A program can be a server and a client, and what it is
// refused elsewhere says nothing of its callers.

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	countsDecisions = regexp.MustCompile(`otelmcp_auth_decisions_total(\{[^}]*\})?`)
	readsDecisions  = regexp.MustCompile(`event_name=\\?"otelmcp\.auth\.decision\\?".*`)
)

func TestQueriesOfDecisionsNameTheSide(t *testing.T) {
	seen := map[*regexp.Regexp]int{}
	for _, dir := range []string{"README.md", "docs", "examples"} {
		err := filepath.WalkDir(filepath.Join("..", "..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, query := range []*regexp.Regexp{countsDecisions, readsDecisions} {
				for _, found := range query.FindAllString(string(text), -1) {
					seen[query]++
					if !strings.Contains(found, "otelmcp_role=") {
						t.Errorf("%s: %s counts the decisions of servers and of clients alike", path, found)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, query := range []*regexp.Regexp{countsDecisions, readsDecisions} {
		if seen[query] == 0 {
			t.Errorf("no query looks like %s any more", query)
		}
	}
}
