// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/otelmcp/otelmcp-go/otelmcp"
)

// A cancellation is for a request that was there when mcp-go acted on it, and is
// forgotten when there was none.
func TestNotices(t *testing.T) {
	alice, bob := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	const life = 10 * time.Minute
	for name, c := range map[string]func(t *testing.T, n *otelmcp.Notices){
		"asked while the request is handled": func(t *testing.T, n *otelmcp.Notices) {
			since := time.Now()
			time.Sleep(time.Minute)
			n.Ask("s", "1", alice)
			if from, ok := n.Take("s", "1", since); !ok || from != alice {
				t.Errorf("taken from %v: %v", from, ok)
			}
			if _, again := n.Take("s", "1", since); again {
				t.Error("taken twice")
			}
		},
		"asked as the request arrives": func(t *testing.T, n *otelmcp.Notices) {
			n.Ask("s", "1", alice)
			time.Sleep(time.Second / 2) // before mcp-go acts on it
			if _, ok := n.Take("s", "1", time.Now()); !ok {
				t.Error("not taken")
			}
		},
		"asked long before the request": func(t *testing.T, n *otelmcp.Notices) {
			n.Ask("s", "1", alice)
			time.Sleep(2 * time.Second)
			if _, ok := n.Take("s", "1", time.Now()); ok {
				t.Error("taken by a request that it was not for")
			}
			n.Ask("s", "1", bob) // who asks now is not hidden by who asked before
			if from, ok := n.Take("s", "1", time.Now()); !ok || from != bob {
				t.Errorf("taken from %v: %v", from, ok)
			}
		},
		"of another session, or for another request": func(t *testing.T, n *otelmcp.Notices) {
			since := time.Now()
			n.Ask("s", "1", alice)
			for _, other := range [][2]string{{"s", "2"}, {"t", "1"}, {"", "s1"}, {"s\x001", ""}, {"s1", ""}, {"", ""}} {
				if _, ok := n.Take(other[0], other[1], since); ok {
					t.Errorf("taken by %q", other)
				}
			}
		},
		"asked twice": func(t *testing.T, n *otelmcp.Notices) { // two requests may have one id
			since := time.Now()
			n.Ask("s", "1", alice)
			n.Ask("s", "1", bob)
			for _, want := range []netip.Addr{alice, bob} {
				if from, ok := n.Take("s", "1", since); !ok || from != want {
					t.Errorf("taken from %v: %v, want %v", from, ok, want)
				}
			}
		},
		"turned away": func(t *testing.T, n *otelmcp.Notices) {
			since := time.Now()
			n.Ask("s", "1", alice)
			n.Ask("s", "1", bob)
			n.Withdraw("s", "1", bob)
			if from, ok := n.Take("s", "1", since); !ok || from != alice {
				t.Errorf("taken from %v: %v", from, ok)
			}
			if n.Len() != 0 {
				t.Errorf("%d are left", n.Len())
			}
		},
		"for what there is not": func(t *testing.T, n *otelmcp.Notices) {
			for k := range 100 {
				n.Ask("s", strings.Repeat("x", k), alice)
			}
			time.Sleep(life / 2)
			n.Ask("s", "y", alice)
			time.Sleep(life/2 + time.Second)
			n.Take("s", "z", time.Now())
			if n.Len() != 1 {
				t.Errorf("%d are remembered, want the younger one", n.Len())
			}
			time.Sleep(life)
			n.Ask("s", "z", alice)
			if n.Len() != 1 {
				t.Errorf("%d are remembered, want the youngest one", n.Len())
			}
		},
		"more than there is room for": func(t *testing.T, n *otelmcp.Notices) {
			full := 0
			for k := range 1100 {
				if n.Ask("s", strings.Repeat("x", k), alice) {
					full++
				}
			}
			if n.Len() != 1024 || full != 1100-1024 {
				t.Errorf("%d are remembered, %d had to go", n.Len(), full)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c(t, otelmcp.NewNotices()) })
		})
	}
}
