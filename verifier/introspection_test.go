// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file tests opaque tokens, and JWTs that are asked about.

package verifier

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/otelmcp/otelmcp-go/semconv"
)

const opaque = "opaque-2f7d9c1b4e8a-token~value+with/all._kinds="

func TestOpaque(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, withIntrospection(s))
	s.setToken(opaque, s.claims(k, map[string]any{"iss": nil}))
	for range 3 {
		info := accepted(t, v, opaque)
		if info.UserID != "user-alice-0001" || info.Issuer != s.URL || len(info.Scopes) != 2 || info.Mechanism != semconv.OTelMCPAuthMechanismBearerOpaque {
			t.Errorf("info = %+v", info)
		}
	}
	if n := s.count("/introspect"); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	k.advance(defaultCacheTime)
	accepted(t, v, opaque)
	if n := s.count("/introspect"); n != 2 {
		t.Errorf("asked %d times, want twice", n)
	}

	const unknown = "opaque-that-nobody-issued"
	for range 3 {
		refused(t, v, unknown, semconv.OTelMCPAuthReasonInvalidCredentials)
	}
	if n := s.count("/introspect"); n != 3 {
		t.Errorf("asked %d times, want 3", n)
	}
	s.setToken(unknown, s.claims(k, nil))
	k.advance(refusedTime)
	accepted(t, v, unknown)
	if n := s.count("/jwks"); n != 0 {
		t.Errorf("keys fetched %d times", n)
	}
}

func TestOpaqueClaims(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, withIntrospection(s))
	for name, tt := range map[string]struct {
		changes map[string]any
		reason  string
	}{
		"no expiry":        {map[string]any{"exp": nil}, ""},
		"expired":          {map[string]any{"exp": k.now().Add(-time.Minute).Unix()}, semconv.OTelMCPAuthReasonExpired},
		"not yet":          {map[string]any{"nbf": k.now().Add(time.Minute).Unix()}, semconv.OTelMCPAuthReasonNotYetValid},
		"another issuer":   {map[string]any{"iss": "https://other.example"}, semconv.OTelMCPAuthReasonUnknownIssuer},
		"empty issuer":     {map[string]any{"iss": ""}, semconv.OTelMCPAuthReasonUnknownIssuer},
		"another audience": {map[string]any{"aud": "https://other.example"}, semconv.OTelMCPAuthReasonAudienceMismatch},
		"no audience":      {map[string]any{"aud": nil}, semconv.OTelMCPAuthReasonAudienceMismatch},
		"sub is a number":  {map[string]any{"sub": 1}, semconv.OTelMCPAuthReasonMalformedCredentials},
	} {
		t.Run(name, func(t *testing.T) {
			token := "0paque-" + base64.RawURLEncoding.EncodeToString([]byte(name))
			s.setToken(token, s.claims(k, tt.changes))
			if tt.reason == "" {
				accepted(t, v, token)
				return
			}
			refused(t, v, token, tt.reason)
		})
	}
}

// A token that was active and is no more was revoked, if its time is not over.
func TestRevoked(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, withIntrospection(s))
	s.setToken(opaque, s.claims(k, nil))
	accepted(t, v, opaque)
	s.setToken(opaque, nil)
	accepted(t, v, opaque) // for as long as CacheTime says
	k.advance(defaultCacheTime)
	for range 2 {
		if e := refusal(t.Context(), t, v, opaque, semconv.OTelMCPAuthReasonRevoked); e.Info == nil || e.Info.UserID != "user-alice-0001" {
			t.Errorf("info = %+v", e.Info)
		}
		k.advance(refusedTime)
	}
	k.advance(2 * time.Hour)
	refused(t, v, opaque, semconv.OTelMCPAuthReasonExpired)
}

// Whose an inactive token was, the authorization server may say. It alone may.
func TestOwnerOfInactive(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, withIntrospection(s))
	for name, tt := range map[string]struct {
		says           map[string]any
		reason, sub, c string
	}{
		"nothing":         {map[string]any{}, semconv.OTelMCPAuthReasonInvalidCredentials, "", ""},
		"whose":           {map[string]any{"sub": "bob"}, semconv.OTelMCPAuthReasonRevoked, "bob", ""},
		"more":            {map[string]any{"sub": "bob", "azp": "agent-7", "iss": s.URL, "scope": "mcp:use"}, semconv.OTelMCPAuthReasonRevoked, "bob", "agent-7"},
		"in time":         {map[string]any{"sub": "bob", "exp": k.now().Add(time.Hour).Unix()}, semconv.OTelMCPAuthReasonRevoked, "bob", ""},
		"out of time":     {map[string]any{"sub": "bob", "exp": k.now().Add(-time.Hour).Unix()}, semconv.OTelMCPAuthReasonExpired, "bob", ""},
		"of somebody":     {map[string]any{"sub": "bob", "iss": "https://other.example"}, semconv.OTelMCPAuthReasonInvalidCredentials, "", ""},
		"of nobody":       {map[string]any{"sub": "bob", "iss": ""}, semconv.OTelMCPAuthReasonInvalidCredentials, "", ""},
		"sub is a number": {map[string]any{"sub": 7}, semconv.OTelMCPAuthReasonInvalidCredentials, "", ""},
		"iss is a list":   {map[string]any{"sub": "bob", "iss": []string{s.URL}}, semconv.OTelMCPAuthReasonInvalidCredentials, "", ""},
		"exp is text":     {map[string]any{"sub": "bob", "exp": "soon"}, semconv.OTelMCPAuthReasonInvalidCredentials, "", ""},
		"long":            {map[string]any{"sub": strings.Repeat("b", 40<<10)}, semconv.OTelMCPAuthReasonRevoked, strings.Repeat("b", 40<<10), ""},
	} {
		t.Run(name, func(t *testing.T) {
			token := "0paque-" + base64.RawURLEncoding.EncodeToString([]byte(name))
			tt.says["active"] = false
			s.setToken(token, tt.says)
			for range 2 { // the second answer is a remembered one
				e := refusal(t.Context(), t, v, token, tt.reason)
				if e.Info == nil || e.Info.UserID != tt.sub || e.Info.ClientID != tt.c || len(e.Info.Scopes) > 0 || len(e.Info.Extra) > 0 {
					t.Errorf("info = %+v", e.Info)
				}
			}
		})
	}
}

func TestRevokedJWT(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, func(c *Config) {
		withIntrospection(s)(c)
		c.Introspection.RequireForJWT = true
		c.Introspection.CacheTime = 1
	})
	token := s.good(t, k, nil)
	s.setToken(token, map[string]any{"active": true})
	accepted(t, v, token)
	s.setToken(token, map[string]any{"active": false})
	k.advance(1)
	if e := refusal(t.Context(), t, v, token, semconv.OTelMCPAuthReasonRevoked); e.Info == nil || e.Info.UserID != "user-alice-0001" {
		t.Errorf("info = %+v", e.Info)
	}
	s.handle("/introspect", status(http.StatusInternalServerError))
	k.advance(refusedTime)
	refused(t, v, token, outage)
	// A forgery is not asked about.
	n := s.count("/introspect")
	refused(t, v, token[:len(token)-20]+strings.Repeat("A", 20), semconv.OTelMCPAuthReasonBadSignature)
	if s.count("/introspect") != n {
		t.Error("a forgery was asked about")
	}
}

// A JWT is verified here even where opaque tokens are asked about.
func TestJWTBesideIntrospection(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, withIntrospection(s))
	accepted(t, v, s.good(t, k, nil))
	forged := b64(`{"alg":"none"}`) + "." + b64(`{"sub":"root"}`) + "."
	s.setToken(forged, s.claims(k, nil))
	refused(t, v, forged, semconv.OTelMCPAuthReasonBadSignature)
	if n := s.count("/introspect"); n != 0 {
		t.Errorf("asked %d times", n)
	}
}

// What is too long is not handed on.
func TestLongOpaqueToken(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, withIntrospection(s))
	long := strings.Repeat("a", maxToken+1)
	s.setToken(long, s.claims(k, nil))
	refused(t, v, long, semconv.OTelMCPAuthReasonMalformedCredentials)
	s.setToken(long[1:], s.claims(k, nil))
	accepted(t, v, long[1:])
}

// The endpoint does what it should not, with the token in it.
func TestIntrospectionOutage(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"500":       status(http.StatusInternalServerError),
		"401":       status(http.StatusUnauthorized),
		"garbage":   func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) },
		"nothing":   func(http.ResponseWriter, *http.Request) {},
		"null":      func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) },
		"no active": func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]any{"aud": resource}) },
		"active:string": func(w http.ResponseWriter, _ *http.Request) {
			answer(w, map[string]any{"active": "true", "aud": resource})
		},
		"Active": func(w http.ResponseWriter, _ *http.Request) {
			answer(w, map[string]any{"Active": true, "aud": resource})
		},
		"active twice": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"active":false,"active":true}`)) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere?token="+r.FormValue("token"), http.StatusTemporaryRedirect)
		},
		"oversized": func(w http.ResponseWriter, _ *http.Request) {
			answer(w, map[string]any{"active": true, "aud": resource})
			_, _ = w.Write([]byte(strings.Repeat(" ", maxStanding)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newAuthServer(t)
			v, k := newVerifier(t, s, withIntrospection(s))
			s.setToken(opaque, s.claims(k, nil))
			works := s.handlers["/introspect"]
			s.handle("/introspect", h)
			refused(t, v, opaque, outage)
			s.handle("/introspect", works)
			accepted(t, v, opaque)
			// What was active is not let through on the word of yesterday.
			s.handle("/introspect", h)
			k.advance(defaultCacheTime)
			refused(t, v, opaque, outage)
			if n := s.count("/elsewhere"); n != 0 {
				t.Error("the token was handed on")
			}
		})
	}
}

type echo struct{}

func (echo) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	return nil, errors.New(string(body) + r.Header.Get("Authorization"))
}

// The error of a client may hold all that it was given.
func TestClientErrorIsNotShown(t *testing.T) {
	s := newAuthServer(t)
	v, _ := newVerifier(t, s, func(c *Config) {
		withIntrospection(s)(c)
		c.HTTPClient = &http.Client{Transport: echo{}}
	})
	refused(t, v, opaque, outage)
}

// Many callers with one token ask once.
func TestOneRequestForAToken(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, withIntrospection(s))
	s.setToken(opaque, s.claims(k, nil))
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := v.Verify(t.Context(), opaque, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := s.count("/introspect"); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

// What is remembered is bounded, made-up tokens drive out no good ones, and no token
// is among it.
func TestCacheBound(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, withIntrospection(s))
	s.setToken(opaque, s.claims(k, nil))
	accepted(t, v, opaque)
	i := v.introspector
	for n := range 2 * maxCached {
		d := digest{byte(n), byte(n >> 8)}
		i.finish(d, standing{until: k.now().Add(time.Hour)}, nil)
	}
	if len(i.refused) != maxCached {
		t.Errorf("%d tokens are remembered, want %d", len(i.refused), maxCached)
	}
	n := s.count("/introspect")
	accepted(t, v, opaque)
	if s.count("/introspect") != n {
		t.Error("a good token was forgotten")
	}
	for n := range 2 * maxCached {
		d := digest{byte(n), byte(n >> 8)}
		i.finish(d, standing{active: true, until: k.now().Add(time.Hour)}, nil)
	}
	if len(i.active) != maxCached || len(i.running) != 0 {
		t.Errorf("%d tokens are remembered, want %d; %d run", len(i.active), maxCached, len(i.running))
	}
	if strings.Contains(fmt.Sprintf("%+v", i.active), "opaque-2f7d9c1b") {
		t.Error("a token is remembered")
	}
}

func TestTooManyRunning(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, withIntrospection(s))
	s.setToken(opaque, s.claims(k, nil))
	for n := range maxRunning {
		v.introspector.running[digest{byte(n), 1}] = &call[standing]{done: make(chan struct{})}
	}
	refused(t, v, opaque, outage)
	clear(v.introspector.running)
	accepted(t, v, opaque)
}
