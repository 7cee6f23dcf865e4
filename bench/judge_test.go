// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package bench

// The columns that say what a contender saw: otelmcp sees all, and others show that a column can say otherwise.

import "testing"

func TestVerdicts(t *testing.T) {
	for _, tt := range []struct {
		contender, by string
		want          verdict
	}{
		{nameSampled, byHTTP, verdict{Spans: 1, Measured: 4, Records: 1, Parent: "_meta, header", Errors: 5, Kinds: 5, Together: together}},
		{nameSampled, byStdio, verdict{Spans: 1, Measured: 4, Records: 1, Parent: "_meta", Errors: 5, Kinds: 5, Together: -1}},
		// Unreadable bytes are the edge's to see.
		{nameSampled, byDispatch, verdict{Spans: 1, Measured: 2, Records: 1, Parent: "_meta", Errors: 4, Kinds: 5, Together: together}},
		{nameUnsampled, byHTTP, verdict{Measured: 4, Records: 1, Parent: "–", Errors: 5, Kinds: 5, Together: together}},
		{nameSampled, byClient, verdict{Spans: 1, Measured: 2, Records: 1, Parent: "_meta", Errors: 3, Kinds: 3, Together: -1}},
		{nameBare, byHTTP, verdict{Parent: "–", Kinds: 5, Together: -1}},
		{nameAdapter, byDispatch, verdict{Spans: 2, Parent: "none", Errors: 4, Kinds: 5, Together: together}},
	} {
		t.Run(tt.contender+" by "+tt.by, func(t *testing.T) {
			got, err := judge(t.Context(), must(find(Contenders(), tt.contender)), tt.by)
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// Hooks that remember a request by its id alone mix up the requests of clients that count alike.
func TestLostCallsShow(t *testing.T) {
	got, err := judge(t.Context(), must(find(Contenders(), nameHooks)), byHTTP)
	if err != nil {
		t.Fatal(err)
	}
	if got.Together < 0 || got.Together >= together {
		t.Errorf("%d of %d calls with equal ids were recorded, want some but not all", got.Together, together)
	}
}
