// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

// What the verifier keeps, with its bounds. A test in the root module's
// internal/repocheck holds the names against the source.

import (
	"context"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4/json"
)

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// digestOf is a digest of its own for each n.
func digestOf(n int) (d digest) {
	binary.LittleEndian.PutUint64(d[:], uint64(n))
	return d
}

// limits are the maps and other containers of the package that outlive a call.
var limits = []struct {
	names   string
	entries int
	bytes   uint64
	flood   func(t *testing.T) (entries int, keep any)
}{
	{
		"verifier.introspector.active", maxCached, 2 * maxHeld,
		func(t *testing.T) (int, any) { return floodStandings(t, true) },
	},
	{
		"verifier.introspector.refused", maxCached, 2 * maxHeld,
		func(t *testing.T) (int, any) { return floodStandings(t, false) },
	},
	{
		"verifier.introspector.running", maxRunning, maxRunning * 64 << 10,
		func(t *testing.T) (int, any) {
			s := newAuthServer(t)
			v, _ := newVerifier(t, s, withIntrospection(s))
			i := v.introspector
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			i.mu.Lock() // so that no call ends
			for n := range maxRunning {
				i.running[digestOf(n)] = &call[standing]{done: make(chan struct{})}
			}
			i.mu.Unlock()
			for range 100 {
				if _, err := i.standing(ctx, strings.Repeat("t", 900<<10)); err == nil {
					t.Error("one more token was asked about")
				}
			}
			return len(i.running), i
		},
	},
	{
		"verifier.keySet.keys", maxKeys, 4 * maxDocument,
		func(t *testing.T) (int, any) {
			key := `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"`
			raw := make([]json.RawMessage, 0, maxKeys)
			for range maxKeys {
				raw = append(raw, json.RawMessage(key+strings.Repeat("k", maxDocument/maxKeys-200)+`"}`))
			}
			keys, err := usableKeys(raw)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := usableKeys(append(raw, raw[0])); err == nil {
				t.Error("a set of more keys was taken")
			}
			return len(keys), keys
		},
	},
}

// others are containers that nobody else can fill, by the reason why.
var others = map[string]string{
	"What the program configures, of one size from then on.": `verifier.Config.Algorithms verifier.Config.Audience
		verifier.Verifier.algorithms verifier.Verifier.audience`,
	"Constants of the package.": `verifier.signatureAlgorithms verifier.key.algorithms`,
	"A look at the server while it lasts, within maxRunning; nothing is sent on the channel.": `verifier.call.done`,
	"A part of what a look brings, or of what is kept of it within maxHeld and maxDocument.":  `verifier.claims verifier.fetchedKeys.keys`,
}

// floodStandings has the server say as much as it may of more tokens than are
// remembered, in the form that takes the most memory.
func floodStandings(t *testing.T, active bool) (int, any) {
	t.Helper()
	s := newAuthServer(t)
	v, k := newVerifier(t, s, withIntrospection(s))
	i := v.introspector
	said := func(raw string) standing {
		var c claims
		if err := json.Unmarshal([]byte(raw), &c); err != nil {
			t.Fatal(err)
		}
		return standing{active: active, claims: c, size: sizeOf(map[string]any(c)), until: k.now().Add(time.Hour)}
	}
	for n := range 40 {
		i.finish(digestOf(n), said(`{"x":[`+strings.Repeat(`{},`, maxStanding/3-10)+`0]}`), nil)
	}
	for n := range 300 {
		i.finish(digestOf(n), said(`{"x":"`+strings.Repeat("x", maxStanding-10)+`"}`), nil)
	}
	for n := range 2 * maxCached {
		i.finish(digestOf(n), said(`{}`), nil)
	}
	if active {
		return len(i.active), i
	}
	return len(i.refused), i
}

func TestLimits(t *testing.T) {
	if len(others) == 0 {
		t.Error("nothing is left out")
	}
	for _, l := range limits {
		t.Run(l.names, func(t *testing.T) {
			before := heap()
			entries, keep := l.flood(t)
			after := heap()
			if entries > l.entries {
				t.Errorf("it has %d entries, of at most %d", entries, l.entries)
			}
			if after > before+l.bytes+2<<20 {
				t.Errorf("the heap grew by %d KiB, and may by %d", (after-before)>>10, l.bytes>>10)
			}
			runtime.KeepAlive(keep)
		})
	}
}

// What is said of tokens is bounded in bytes: what is new makes room for itself.
func TestStandingsBoundInBytes(t *testing.T) {
	m := map[digest]standing{}
	now := time.Now()
	for n := range maxCached {
		put(m, digestOf(n), standing{size: maxHeld / 16, until: now.Add(time.Hour)}, now)
		held := 0
		for _, s := range m {
			held += s.size
		}
		if _, ok := m[digestOf(n)]; !ok || held > maxHeld {
			t.Fatalf("after %d tokens %d bytes are held, the last one: %v", n+1, held, ok)
		}
	}
	if len(m) != 16 {
		t.Errorf("%d tokens are remembered, and there is room for 16", len(m))
	}
}
