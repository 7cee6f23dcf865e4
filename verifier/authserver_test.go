// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file holds what the tests verify against: an authorization server with real
// keys over real HTTP, a clock, and the check that an error gives nothing of a
// token away.

package verifier

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

const resource = "https://mcp.example.com/mcp"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Keys are made once; what they sign does not depend on the test.
var (
	rsaKey   = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	otherRSA = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKey    = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	ec384    = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) })
	ec521    = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)) })
	edKey    = sync.OnceValue(func() ed25519.PrivateKey {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return must(private, err)
	})
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// authServer is an authorization server.
type authServer struct {
	*httptest.Server

	mu       sync.Mutex
	keys     []any // jose.JSONWebKey, or whatever else is in the set
	handlers map[string]http.HandlerFunc
	asked    map[string]int // by path
	tokens   map[string]map[string]any
}

func newAuthServer(t testing.TB) *authServer {
	t.Helper()
	s := &authServer{
		keys:   []any{jose.JSONWebKey{Key: rsaKey().Public(), KeyID: "rsa", Use: "sig"}},
		asked:  map[string]int{},
		tokens: map[string]map[string]any{},
	}
	s.handlers = map[string]http.HandlerFunc{
		"/.well-known/openid-configuration": func(w http.ResponseWriter, _ *http.Request) {
			answer(w, map[string]any{"issuer": s.URL, "jwks_uri": s.URL + "/jwks"})
		},
		"/jwks": func(w http.ResponseWriter, _ *http.Request) {
			s.mu.Lock()
			defer s.mu.Unlock()
			answer(w, map[string]any{"keys": s.keys})
		},
		"/introspect": s.introspect,
	}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		h := s.handlers[r.URL.Path]
		s.asked[r.URL.Path]++
		s.mu.Unlock()
		if h == nil {
			http.NotFound(w, r)
			return
		}
		h(w, r)
	}))
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections() //nolint:forcetypeassert // It is one here.
		s.Close()
	})
	return s
}

func (s *authServer) introspect(w http.ResponseWriter, r *http.Request) {
	id, secret, _ := r.BasicAuth()
	if r.Method != http.MethodPost || id != "resource%3Aserver" || secret != "s%26cret" || r.FormValue("token_type_hint") != "access_token" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := maps.Clone(s.tokens[r.PostFormValue("token")])
	if c == nil {
		c = map[string]any{}
	}
	_, given := c["active"]
	if !given {
		c["active"] = len(c) > 0
	}
	answer(w, c)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (s *authServer) handle(path string, h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[path] = h
}

func (s *authServer) setKeys(keys ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = keys
}

func (s *authServer) setToken(token string, c map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[token] = c
}

func (s *authServer) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path]
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// clock stands still unless it is told to go on.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// newVerifier returns a verifier for s and its clock.
func newVerifier(t testing.TB, s *authServer, change func(*Config)) (*Verifier, *clock) {
	t.Helper()
	c := Config{Issuer: s.URL, Audience: []string{resource}}
	if change != nil {
		change(&c)
	}
	v, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	k := &clock{at: time.Now().Truncate(time.Second)}
	v.now = k.now
	return v, k
}

func withIntrospection(s *authServer) func(*Config) {
	return func(c *Config) {
		c.Introspection = &Introspection{URL: s.URL + "/introspect", ClientID: "resource:server", ClientSecret: "s&cret"}
	}
}

// The claims of a good token, with changes; a nil value leaves a claim out.
func (s *authServer) claims(k *clock, changes map[string]any) map[string]any {
	c := map[string]any{
		"iss": s.URL, "sub": "user-alice-0001", "aud": resource, "client_id": "client-desktop-app",
		"exp": k.now().Add(time.Hour).Unix(), "iat": k.now().Unix(), "jti": "jti-81f2c0d49a",
		"scope": "tools:read tools:call", "canary": "canary-6c1f0e5ab7d24e93-secret",
	}
	for name, v := range changes {
		if v == nil {
			delete(c, name)
		} else {
			c[name] = v
		}
	}
	return c
}

// sign returns claims as a token with the header.
func sign(t testing.TB, alg jose.SignatureAlgorithm, signingKey any, header map[string]any, c any) string {
	t.Helper()
	payload, ok := c.([]byte)
	if !ok {
		payload = must(json.Marshal(c))
	}
	opts := &jose.SignerOptions{}
	for name, v := range header {
		opts.WithHeader(jose.HeaderKey(name), v)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: signingKey}, opts)
	if err != nil {
		t.Fatal(err)
	}
	return must(must(signer.Sign(payload)).CompactSerialize())
}

// good returns a token that is accepted, unless the changes make it a bad one.
func (s *authServer) good(t testing.TB, k *clock, changes map[string]any) string {
	t.Helper()
	return sign(t, jose.RS256, rsaKey(), map[string]any{"kid": "rsa", "typ": "at+jwt"}, s.claims(k, changes))
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func accepted(t testing.TB, v *Verifier, token string) *otelmcp.TokenInfo {
	t.Helper()
	info, err := v.Verify(t.Context(), token, nil)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	return info
}

// refused checks that the token is refused for the reason, by an error that gives
// nothing of it away.
func refused(t testing.TB, v *Verifier, token, reason string) {
	t.Helper()
	_ = refusal(t.Context(), t, v, token, reason)
}

// refusal is refused, and returns the error.
func refusal(ctx context.Context, t testing.TB, v *Verifier, token, reason string) *otelmcp.TokenError {
	t.Helper()
	info, err := v.Verify(ctx, token, nil)
	if err == nil || info != nil {
		t.Fatalf("accepted, or told who: %+v; want %s", info, reason)
	}
	e, ok := errors.AsType[*otelmcp.TokenError](err)
	if !ok {
		t.Fatalf("%T is no TokenError: %v", err, err)
	}
	if e.Reason != reason {
		t.Errorf("reason %s, want %s: %v", e.Reason, reason, err)
	}
	if outage := reason == semconv.OTelMCPAuthReasonVerifierUnavailable; errors.Is(err, otelmcp.ErrInvalidToken) == outage {
		t.Errorf("whose fault it is, is wrong: %v", err)
	}
	if e.Message == "" {
		t.Error("no message")
	}
	checkNothingShown(t, token, err)
	return e
}

// checkNothingShown looks for eight characters in a row of anything in the token, in
// all that err says, and all that it wraps.
func checkNothingShown(t testing.TB, token string, err error) {
	t.Helper()
	secrets := []string{token, url.QueryEscape(token)}
	for part := range strings.SplitSeq(token, ".") {
		raw, decodeErr := base64.RawURLEncoding.DecodeString(part)
		if decodeErr != nil {
			continue
		}
		var m map[string]any
		if json.Unmarshal(raw, &m) != nil {
			secrets = append(secrets, string(raw))
		}
		for name, v := range m {
			// The configuration has these, too, and an error about it may name them.
			if s, ok := v.(string); ok && name != "iss" && name != "aud" {
				secrets = append(secrets, s)
			}
		}
	}
	const window = 8
	for _, text := range texts(err) {
		for _, s := range secrets {
			for i := 0; i+window <= len(s); i++ {
				if strings.Contains(text, s[i:i+window]) {
					t.Fatalf("the error shows %q: %s", s[i:i+window], text)
				}
			}
		}
	}
}

func texts(err error) []string {
	if err == nil {
		return nil
	}
	out := []string{err.Error()}
	switch e := err.(type) { //nolint:errorlint // All of the chain is looked at.
	case interface{ Unwrap() error }:
		out = append(out, texts(e.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			out = append(out, texts(inner)...)
		}
	}
	if e, ok := err.(*otelmcp.TokenError); ok { //nolint:errorlint // As above.
		out = append(out, e.Message)
	}
	return out
}
