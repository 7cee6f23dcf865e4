// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"runtime"
	"strings"
	"testing"
)

// token is a secret that is unlike any other.
func token(n int) string {
	sum := sha256.Sum256(fmt.Append(nil, n))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func TestSecretIsFound(t *testing.T) {
	secret := token(1)
	var s Set
	if s.In(secret) {
		t.Error("an empty set knows one")
	}
	s.Add(secret)
	everyByte := func(text string) string {
		var b strings.Builder
		for k := range len(text) {
			fmt.Fprintf(&b, "%%%02X", text[k])
		}
		return b.String()
	}
	for name, text := range map[string]string{
		"whole":           secret,
		"within":          "https://as.example/" + secret + "/issuer?x",
		"a host":          "http://" + strings.ToLower(secret) + ".example",
		"split":           secret[:10] + " " + secret[10:20] + "." + secret[20:],
		"the head":        "x" + secret[:15],
		"the tail":        secret[len(secret)-15:] + "x",
		"the middle":      secret[13:28],
		"percent":         everyByte(secret),
		"percent twice":   url.QueryEscape(everyByte(secret)),
		"percent, partly": "%" + secret[:8] + everyByte(secret[8:]),
		"base64":          base64.StdEncoding.EncodeToString([]byte(secret)),
		"base64 of a URL": base64.URLEncoding.EncodeToString([]byte("xy" + secret)),
		"base64, shifted": "ab" + base64.RawURLEncoding.EncodeToString([]byte(secret)),
		"base64, escaped": url.QueryEscape(base64.StdEncoding.EncodeToString([]byte("x" + secret))),
	} {
		if !s.In(text) {
			t.Errorf("%s is not found in %q", name, text)
		}
	}
	for _, text := range []string{"", "tools:call", "https://as.example/issuer", token(2), secret[:8], "client-1", strings.Repeat("x", 5000), "%", "%4", "%zz"} {
		if s.In(text) {
			t.Errorf("found in %q", text)
		}
	}
}

// A short secret is found where there is enough of it to tell.
func TestShortSecrets(t *testing.T) {
	var s Set
	for _, secret := range []string{"", "a-b", "hunter2", "S3cret", "0123456789ab", "--+--"} {
		s.Add(secret)
	}
	for _, text := range []string{"a-b", "hunter2", "x hunter2 y", "S3cret", "as3cretb", "0123456789ab", "x0123456789abx", "--+--", base64.StdEncoding.EncodeToString([]byte("hunter2"))} {
		if !s.In(text) {
			t.Errorf("not found in %q", text)
		}
	}
	for _, text := range []string{"", "ab", "xa-b", "hunter", "cret", "0123456789a", "-", "+"} {
		if s.In(text) {
			t.Errorf("found in %q", text)
		}
	}
}

// However many secrets there are, and however long, what is kept is bounded, and the
// newest are known.
func TestSetIsBounded(t *testing.T) {
	var s Set
	var before, after runtime.MemStats
	s.Add(strings.Repeat("a1b2", 1<<20))
	runtime.GC()
	runtime.ReadMemStats(&before)
	for n := range 5000 {
		s.Add(token(n))
		s.Add(token(-1)) // which is in use all the time
		if n%100 == 0 {
			s.Add(strings.Repeat(token(n), 1000))
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if s.total > maxPieces || len(s.pieces) > maxPieces || len(s.known) > maxPieces {
		t.Errorf("%d pieces of %d secrets, %d different ones", s.total, len(s.known), len(s.pieces))
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 2<<20 {
		t.Errorf("%d bytes are kept", grown)
	}
	for _, n := range []int{4999, 4990, -1} {
		if !s.In(token(n)) {
			t.Errorf("token %d is forgotten", n)
		}
	}
	if s.In(token(1)) {
		t.Error("the first is remembered")
	}
	runtime.KeepAlive(&s)
}

// A long secret takes a small part of a Set, and is known by its ends.
func TestLongSecretsLeaveRoom(t *testing.T) {
	var s Set
	s.Add(token(0))
	for n := range 10 {
		var long strings.Builder
		for k := range 400 {
			long.WriteString(token(1000*(n+1) + k))
		}
		s.Add(long.String())
		for _, end := range []string{long.String()[:15], long.String()[900:1000], long.String()[long.Len()-1000:], long.String()[long.Len()-15:]} {
			if !s.In("x" + end) {
				t.Errorf("%q is not found", end)
			}
		}
	}
	if !s.In(token(0)) {
		t.Error("long secrets have driven a short one out")
	}
}

// What is forgotten costs nothing any more.
func TestForgottenLengths(t *testing.T) {
	var s Set
	for n := shortest; n <= piece; n++ {
		s.Add(strings.Repeat("k", n))
	}
	for n := range 5000 {
		s.Add(token(n))
	}
	for n := shortest; n < piece; n++ {
		if s.lengths[n] != 0 {
			t.Errorf("%d secrets of %d letters are remembered", s.lengths[n], n)
		}
	}
}
