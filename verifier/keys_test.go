// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file tests discovery and the keys: rotation, floods, outages, and answers
// that no server should give.

package verifier

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/otelmcp/otelmcp-go/semconv"
)

const outage = semconv.OTelMCPAuthReasonVerifierUnavailable

func TestDiscovery(t *testing.T) {
	const oauth, oidc = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"
	for _, tt := range []struct{ name, path, at string }{
		{"OAuth", "", oauth},
		{"OpenID Connect", "", oidc},
		{"OAuth, path inserted", "/tenants/one", oauth + "/tenants/one"},
		{"OpenID Connect, path inserted", "/tenants/one", oidc + "/tenants/one"},
		{"OpenID Connect, path appended", "/tenants/one", "/tenants/one" + oidc},
		{"a slash at the end", "/tenants/one/", "/tenants/one" + oidc},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newAuthServer(t)
			issuer := s.URL + tt.path
			s.handle(oidc, nil)
			s.handle(tt.at, func(w http.ResponseWriter, _ *http.Request) {
				answer(w, map[string]any{"issuer": issuer, "jwks_uri": s.URL + "/jwks"})
			})
			v, k := newVerifier(t, s, func(c *Config) { c.Issuer = issuer })
			token := s.good(t, k, map[string]any{"iss": issuer})
			accepted(t, v, token)
			// Fresh keys need no network; then they are fetched from where they were.
			k.advance(defaultFresh)
			accepted(t, v, token)
			if s.count(tt.at) != 1 || s.count("/jwks") != 2 {
				t.Errorf("asked: %v", s.asked)
			}
		})
	}
}

func TestJWKSURLNeedsNoDiscovery(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, func(c *Config) { c.JWKSURL = s.URL + "/jwks" })
	accepted(t, v, s.good(t, k, nil))
	if len(s.asked) != 1 {
		t.Errorf("asked: %v", s.asked)
	}
}

func TestBadMetadata(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, nil)
	token := s.good(t, k, nil)
	for name, tt := range map[string]struct {
		doc  any
		says string
	}{
		"another issuer":         {map[string]any{"issuer": "https://other.example", "jwks_uri": s.URL + "/jwks"}, `names "https://other.example" as its issuer`},
		"issuer with a slash":    {map[string]any{"issuer": s.URL + "/", "jwks_uri": s.URL + "/jwks"}, "as its issuer"},
		"no issuer":              {map[string]any{"jwks_uri": s.URL + "/jwks"}, "as its issuer"},
		"no keys":                {map[string]any{"issuer": s.URL}, "jwks_uri is required"},
		"keys over plain HTTP":   {map[string]any{"issuer": s.URL, "jwks_uri": "http://as.example/jwks"}, "jwks_uri must be https"},
		"keys in a file":         {map[string]any{"issuer": s.URL, "jwks_uri": "file:///etc/passwd"}, "jwks_uri"},
		"not an object":          {[]string{"issuer"}, "JSON"},
		"names twice its issuer": {nil, "JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			s.handle("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
				if tt.doc == nil {
					_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"issuer":%q}`, "https://other.example", s.URL+"/jwks", s.URL)
					return
				}
				answer(w, tt.doc)
			})
			k.advance(minInterval)
			if e := refusal(t.Context(), t, v, token, outage); !strings.Contains(e.Message, tt.says) {
				t.Errorf("message = %q, want %q in it", e.Message, tt.says)
			}
		})
	}
	if n := s.count("/jwks"); n != 0 {
		t.Errorf("keys fetched %d times", n)
	}
}

// A document from an https issuer must not lead to plain HTTP, not even on this host.
func TestMetadataDoesNotLeadDown(t *testing.T) {
	s := &keySet{issuer: "https://as.example"}
	if err := s.checkMetadata("https://as.example/x", s.issuer, "http://127.0.0.1/jwks"); err == nil {
		t.Error("accepted")
	}
	if err := s.checkMetadata("https://as.example/x", s.issuer, "https://keys.example/jwks"); err != nil {
		t.Error(err)
	}
}

// What the key endpoint may answer that is of no use, at the start and later.
func TestBadKeyEndpoint(t *testing.T) {
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	hosts := newAuthServer(t)
	for name, h := range map[string]http.HandlerFunc{
		"500":       status(http.StatusInternalServerError),
		"404":       status(http.StatusNotFound),
		"204":       status(http.StatusNoContent),
		"garbage":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>garbage")) },
		"nothing":   func(http.ResponseWriter, *http.Request) {},
		"no set":    func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]any{}) },
		"empty set": func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]any{"keys": []any{}}) },
		"oversized": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(must(json.Marshal(map[string]any{"keys": []any{jose.JSONWebKey{Key: rsaKey().Public(), KeyID: "rsa"}}})))
			_, _ = w.Write([]byte(strings.Repeat(" ", maxDocument)))
		},
		"too many": func(w http.ResponseWriter, _ *http.Request) {
			answer(w, map[string]any{"keys": slices.Repeat([]any{jose.JSONWebKey{Key: rsaKey().Public(), KeyID: "rsa"}}, maxKeys+1)})
		},
		"broken off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"keys":[`))
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, hosts.URL+"/jwks", http.StatusFound)
		},
		"of no use": func(w http.ResponseWriter, _ *http.Request) {
			answer(w, map[string]any{"keys": []any{
				jose.JSONWebKey{Key: rsaKey().Public(), KeyID: "rsa", Use: "enc"},
				jose.JSONWebKey{Key: rsaKey().Public(), KeyID: "rsa", Algorithm: "RSA-OAEP"},
				jose.JSONWebKey{Key: rsaKey().Public(), KeyID: "rsa", Algorithm: "HS256"},
				jose.JSONWebKey{Key: rsaKey(), KeyID: "rsa"},
				jose.JSONWebKey{Key: small.Public(), KeyID: "rsa"},
				jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "rsa"},
				map[string]any{"kty": "RSA", "kid": "rsa"},
				map[string]any{"kty": "unheard of"},
				map[string]any{},
				1, "x", nil,
			}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newAuthServer(t)
			v, k := newVerifier(t, s, nil)
			token := s.good(t, k, nil)
			works := s.handlers["/jwks"]
			s.handle("/jwks", h)
			refused(t, v, token, outage)
			n := s.count("/jwks")
			refused(t, v, token, outage)
			if s.count("/jwks") != n {
				t.Error("fetched again at once")
			}

			s.handle("/jwks", works)
			k.advance(minInterval)
			accepted(t, v, token)

			// Later the last good keys do, until they are too old.
			s.handle("/jwks", h)
			k.advance(defaultFresh)
			token = s.good(t, k, map[string]any{"exp": k.now().Add(24 * time.Hour).Unix()})
			accepted(t, v, token)
			accepted(t, v, token)
			refused(t, v, sign(t, jose.RS256, otherRSA(), map[string]any{"kid": "rsa"}, s.claims(k, nil)), semconv.OTelMCPAuthReasonBadSignature)
			// A key that is not known may be a new one: that cannot be found out.
			refused(t, v, sign(t, jose.RS256, otherRSA(), map[string]any{"kid": "new"}, s.claims(k, nil)), outage)
			k.advance(maxStale - defaultFresh - time.Second)
			accepted(t, v, token)
			k.advance(time.Second)
			refused(t, v, token, outage)

			s.handle("/jwks", works)
			k.advance(minInterval)
			accepted(t, v, token)
		})
	}
	if len(hosts.asked) != 0 {
		t.Errorf("a redirect was followed: %v", hosts.asked)
	}
}

// Keys that have moved are looked for again, after they were missed once.
func TestKeysMove(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, nil)
	token := s.good(t, k, nil)
	accepted(t, v, token)
	s.handle("/keys", s.handlers["/jwks"])
	s.handle("/jwks", nil)
	s.handle("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"issuer": s.URL, "jwks_uri": s.URL + "/keys"})
	})
	k.advance(defaultFresh)
	accepted(t, v, token) // with the last good ones
	k.advance(minInterval)
	refused(t, v, sign(t, jose.RS256, otherRSA(), map[string]any{"kid": "x"}, s.claims(k, nil)), semconv.OTelMCPAuthReasonBadSignature)
	if n := s.count("/keys"); n != 1 {
		t.Errorf("keys fetched %d times from where they are now, want once", n)
	}
}

// A key is used for what it says that it is for.
func TestKeyAlgorithm(t *testing.T) {
	s := newAuthServer(t)
	s.setKeys(
		jose.JSONWebKey{Key: rsaKey().Public(), KeyID: "rs256", Algorithm: "RS256"},
		map[string]any{"kty": "unheard of", "kid": "x"},
		otherKeyFor(t, "ops", "verify"),
		otherKeyFor(t, "wrap", "wrapKey"),
	)
	v, k := newVerifier(t, s, nil)
	accepted(t, v, sign(t, jose.RS256, rsaKey(), map[string]any{"kid": "rs256"}, s.claims(k, nil)))
	accepted(t, v, sign(t, jose.PS256, otherRSA(), map[string]any{"kid": "ops"}, s.claims(k, nil)))
	refused(t, v, sign(t, jose.PS256, rsaKey(), map[string]any{"kid": "rs256"}, s.claims(k, nil)), semconv.OTelMCPAuthReasonBadSignature)
	refused(t, v, sign(t, jose.RS384, rsaKey(), map[string]any{"kid": "rs256"}, s.claims(k, nil)), semconv.OTelMCPAuthReasonBadSignature)
	refused(t, v, sign(t, jose.RS256, otherRSA(), map[string]any{"kid": "wrap"}, s.claims(k, nil)), semconv.OTelMCPAuthReasonBadSignature)
}

// otherKeyFor is the other RSA key with key_ops.
func otherKeyFor(t *testing.T, kid, op string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(must(jose.JSONWebKey{Key: otherRSA().Public(), KeyID: kid}.MarshalJSON()), &m); err != nil {
		t.Fatal(err)
	}
	m["key_ops"] = []string{op}
	return m
}

func TestRotation(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, nil)
	before := s.good(t, k, nil)
	after := sign(t, jose.ES256, ecKey(), map[string]any{"kid": "next"}, s.claims(k, nil))
	accepted(t, v, before)
	s.setKeys(jose.JSONWebKey{Key: ecKey().Public(), KeyID: "next"})

	// The new key is found as soon as there may be another fetch, and not before.
	refused(t, v, after, semconv.OTelMCPAuthReasonBadSignature)
	k.advance(minInterval)
	accepted(t, v, after)
	// And the old one is gone with it.
	refused(t, v, before, semconv.OTelMCPAuthReasonBadSignature)

	// The same id with another key.
	s.setKeys(jose.JSONWebKey{Key: ec384().Public(), KeyID: "next"})
	k.advance(minInterval)
	accepted(t, v, sign(t, jose.ES384, ec384(), map[string]any{"kid": "next"}, s.claims(k, nil)))
	if n := s.count("/jwks"); n != 3 {
		t.Errorf("keys fetched %d times, want 3", n)
	}
}

// A key that was withdrawn is used no longer than the keys are fresh, even if nobody
// asks for another.
func TestWithdrawal(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, nil)
	token := s.good(t, k, nil)
	accepted(t, v, token)
	s.setKeys(jose.JSONWebKey{Key: ecKey().Public(), KeyID: "next"})
	k.advance(defaultFresh - time.Second)
	accepted(t, v, token)
	k.advance(time.Second)
	refused(t, v, token, semconv.OTelMCPAuthReasonBadSignature)
}

func TestFreshness(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": defaultFresh, "public": defaultFresh, "max-age=x": defaultFresh, "max-age=-1": defaultFresh,
		"max-age=600": 10 * time.Minute, "public, Max-Age=600, must-revalidate": 10 * time.Minute,
		"max-age=0": minFresh, "max-age=1": minFresh, "max-age=86400": maxFresh,
		"no-store": minFresh, "no-cache, max-age=600": minFresh, "max-age=99999999999999999999": defaultFresh,
	} {
		if got := freshness(http.Header{"Cache-Control": {header}}); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}

// A flood of key ids that are made up costs one fetch in an interval, and good tokens
// pass meanwhile.
func TestFlood(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, nil)
	good := s.good(t, k, nil)
	accepted(t, v, good)
	tokens := make([]string, 64)
	for i := range tokens {
		tokens[i] = sign(t, jose.ES256, ecKey(), map[string]any{"kid": fmt.Sprint("made-up-", i)}, s.claims(k, nil))
	}
	const rounds = 3
	for range rounds {
		k.advance(minInterval)
		var wg sync.WaitGroup
		for _, token := range tokens {
			wg.Go(func() {
				if _, err := v.Verify(t.Context(), token, nil); err == nil {
					t.Error("accepted")
				}
				if _, err := v.Verify(t.Context(), good, nil); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if n := s.count("/jwks"); n != 1+rounds {
		t.Errorf("keys fetched %d times, want %d", n, 1+rounds)
	}
	foreign := sign(t, jose.RS256, otherRSA(), map[string]any{"kid": "theirs"}, s.claims(k, map[string]any{"iss": "https://other.example"}))
	k.advance(minInterval)
	refused(t, v, foreign, semconv.OTelMCPAuthReasonUnknownIssuer)
	if n := s.count("/jwks"); n != 1+rounds {
		t.Error("a foreign token had the keys fetched")
	}
}

// A caller that gives up takes nobody with it: the fetch goes on, once, for all.
func TestCallerGivesUp(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, nil)
	token := s.good(t, k, nil)
	entered, release := make(chan struct{}), make(chan struct{})
	works := s.handlers["/jwks"]
	s.handle("/jwks", func(w http.ResponseWriter, r *http.Request) {
		close(entered) // panics when asked twice
		<-release
		works(w, r)
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(release)
		e := refusal(ctx, t, v, token, outage)
		if !errors.Is(e, context.Canceled) {
			t.Errorf("error = %v", e)
		}
	})
	<-entered
	wg.Go(func() { accepted(t, v, token) })
	cancel()
	wg.Wait()
	if n := s.count("/jwks"); n != 1 {
		t.Errorf("keys fetched %d times, want once", n)
	}
}

// The context of New may end: the verifier goes on.
func TestContextOfNewEnds(t *testing.T) {
	s := newAuthServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	v, err := New(ctx, Config{Issuer: s.URL, Audience: []string{resource}})
	cancel()
	if err != nil {
		t.Fatal(err)
	}
	accepted(t, v, s.good(t, &clock{at: time.Now()}, nil))
}

func TestSlowServer(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, nil)
	v.keys.fetch.timeout = 20 * time.Millisecond
	s.handle("/jwks", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write([]byte(`{"keys":[`))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	for range 2 {
		e := refusal(t.Context(), t, v, s.good(t, k, nil), outage)
		if !errors.Is(e, context.DeadlineExceeded) || strings.Contains(e.Message, "\n") {
			t.Errorf("error = %v", e)
		}
		// Next, not even the metadata comes.
		s.handle("/.well-known/openid-configuration", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		k.advance(minInterval)
	}
}

// A server that is down makes one caller wait while there are good keys, not all.
func TestDownServerMakesNobodyWaitTwice(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, nil)
	token := s.good(t, k, map[string]any{"exp": k.now().Add(time.Hour * 5).Unix()})
	accepted(t, v, token)
	k.advance(defaultFresh)
	s.handle("/jwks", status(http.StatusBadGateway))
	accepted(t, v, token)

	release := make(chan struct{})
	s.handle("/jwks", func(http.ResponseWriter, *http.Request) { <-release })
	k.advance(minInterval)
	accepted(t, v, token) // would hang if it waited
	v.keys.mu.Lock()
	c := v.keys.running
	v.keys.mu.Unlock()
	close(release)
	<-c.done
}

type panics struct{}

func (panics) RoundTrip(*http.Request) (*http.Response, error) { panic("client") }

func TestClientPanics(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, func(c *Config) { c.HTTPClient = &http.Client{Transport: panics{}} })
	refused(t, v, s.good(t, k, nil), outage)
}
