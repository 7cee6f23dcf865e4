// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file tests tokens that are bound to a key, over real TLS with real client
// certificates.

package verifier

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// clientCertificate returns a certificate that nobody vouches for, and its thumbprint.
func clientCertificate(t *testing.T) (cert *tls.Certificate, thumbprint string) {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := must(x509.CreateCertificate(rand.Reader, template(), template(), key.Public(), key))
	sum := sha256.Sum256(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, base64.RawURLEncoding.EncodeToString(sum[:])
}

// protected serves with v over TLS and asks clients for a certificate. It returns a
// function that sends a token, with a certificate or without.
func protected(t *testing.T, v *Verifier) (send func(token string, cert *tls.Certificate) (status int, challenge string)) {
	t.Helper()
	h := otelmcp.RequireBearer(v.Verify, otelmcp.WithResource(resource))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, otelmcp.TokenInfoFromContext(r.Context()).UserID)
	}))
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return func(token string, cert *tls.Certificate) (int, string) {
		t.Helper()
		transport := srv.Client().Transport.(*http.Transport).Clone() //nolint:forcetypeassert // It is one.
		defer transport.CloseIdleConnections()
		if cert != nil {
			transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
		}
		req := must(http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, http.NoBody))
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := (&http.Client{Transport: transport}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body := string(must(io.ReadAll(res.Body)))
		if res.StatusCode == http.StatusOK && body != "user-alice-0001" {
			t.Errorf("let through as %q", body)
		}
		return res.StatusCode, res.Header.Get("WWW-Authenticate")
	}
}

// bound is one way for a token to be bound, and what proves it.
type bound struct {
	name        string
	cnf         any
	certificate bool // whether the client's certificate proves it
}

func bindings(thumbprint string) []bound {
	return []bound{
		{"a certificate", map[string]any{"x5t#S256": thumbprint}, true},
		{"another certificate", map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(make([]byte, sha256.Size))}, false},
		{"a certificate, padded", map[string]any{"x5t#S256": thumbprint + "="}, false},
		{"a certificate in another case", map[string]any{"x5t#S256": strings.ToUpper(thumbprint)}, false},
		{"an empty thumbprint", map[string]any{"x5t#S256": ""}, false},
		{"a thumbprint that is a list", map[string]any{"x5t#S256": []any{thumbprint}}, false},
		{"a SHA-1 thumbprint", map[string]any{"x5t": thumbprint}, false},
		{"a DPoP key", map[string]any{"jkt": thumbprint}, false},
		{"a DPoP key and a certificate", map[string]any{"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", "x5t#S256": thumbprint}, false},
		{"a key", map[string]any{"jwk": map[string]any{"kty": "EC", "crv": "P-256"}}, false},
		{"a key by its name", map[string]any{"kid": "dfd1aa97"}, false},
		{"something unknown", map[string]any{"new#S512": thumbprint}, false},
	}
}

func TestABoundTokenNeedsItsKey(t *testing.T) {
	s := newAuthServer(t)
	own, thumbprint := clientCertificate(t)
	other, _ := clientCertificate(t)
	for how, issue := range tokenKinds(s) {
		for _, b := range bindings(thumbprint) {
			t.Run(how+"/"+b.name, func(t *testing.T) {
				v, k := newVerifier(t, s, issue.config)
				token := issue.token(t, k, b.cnf)
				send := protected(t, v)
				for client, cert := range map[string]*tls.Certificate{"none": nil, "own": own, "other": other} {
					status, challenge := send(token, cert)
					if want := b.certificate && client == "own"; (status == http.StatusOK) != want {
						t.Errorf("certificate %s: %d %s", client, status, challenge)
					} else if !want && (status != http.StatusUnauthorized || !strings.Contains(challenge, `error="invalid_token"`) || !strings.Contains(challenge, "bound to a key")) {
						t.Errorf("certificate %s: %d %s", client, status, challenge)
					}
				}
				e := refusal(t.Context(), t, v, token, semconv.OTelMCPAuthReasonUnprovenPossession)
				if e.Info == nil || e.Info.UserID != "user-alice-0001" {
					t.Errorf("it does not say whose it is: %+v", e.Info)
				}
			})
		}
		t.Run(how+"/unbound", func(t *testing.T) {
			v, k := newVerifier(t, s, issue.config)
			send := protected(t, v)
			for _, cert := range []*tls.Certificate{nil, own} {
				if status, challenge := send(issue.token(t, k, nil), cert); status != http.StatusOK {
					t.Errorf("%d %s", status, challenge)
				}
			}
		})
		for name, cnf := range map[string]any{"text": "jkt", "null": (*int)(nil), "a list": []any{map[string]any{"jkt": "x"}}, "nothing": map[string]any{}, "false": false} {
			t.Run(how+"/cnf is "+name, func(t *testing.T) {
				v, k := newVerifier(t, s, issue.config)
				refused(t, v, issue.token(t, k, cnf), semconv.OTelMCPAuthReasonMalformedCredentials)
			})
		}
	}
}

// tokenKind is a way for a token to say what it is bound to.
type tokenKind struct {
	config func(*Config)
	token  func(t *testing.T, k *clock, cnf any) string
}

func tokenKinds(s *authServer) map[string]tokenKind {
	with := func(cnf any) map[string]any {
		if cnf == nil {
			return nil
		}
		return map[string]any{"cnf": cnf}
	}
	return map[string]tokenKind{
		"JWT": {nil, func(t *testing.T, k *clock, cnf any) string { return s.good(t, k, with(cnf)) }},
		"opaque": {withIntrospection(s), func(_ *testing.T, k *clock, cnf any) string {
			s.setToken(opaque, s.claims(k, with(cnf)))
			return opaque
		}},
		"JWT, bound by the introspection response": {
			func(c *Config) {
				withIntrospection(s)(c)
				c.Introspection.RequireForJWT = true
			},
			func(t *testing.T, k *clock, cnf any) string {
				token := s.good(t, k, nil)
				s.setToken(token, s.claims(k, with(cnf)))
				return token
			},
		},
	}
}

// Each request is judged by its own certificate, whatever is remembered of the token.
func TestARememberedTokenIsStillBound(t *testing.T) {
	s := newAuthServer(t)
	own, thumbprint := clientCertificate(t)
	v, k := newVerifier(t, s, withIntrospection(s))
	s.setToken(opaque, s.claims(k, map[string]any{"cnf": map[string]any{"x5t#S256": thumbprint}}))
	send := protected(t, v)
	for range 2 {
		if status, _ := send(opaque, own); status != http.StatusOK {
			t.Errorf("with its certificate: %d", status)
		}
		if status, _ := send(opaque, nil); status != http.StatusUnauthorized {
			t.Errorf("without: %d", status)
		}
	}
	if n := s.count("/introspect"); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// An introspection response may say that a token is bound, and not to what.
func TestATokenTypeThatIsBound(t *testing.T) {
	s := newAuthServer(t)
	for kind, bound := range map[string]bool{"DPoP": true, "dpop": true, "Bearer": false, "N_A": false} {
		v, k := newVerifier(t, s, withIntrospection(s))
		s.setToken(opaque, s.claims(k, map[string]any{"token_type": kind}))
		if bound {
			refused(t, v, opaque, semconv.OTelMCPAuthReasonUnprovenPossession)
		} else {
			accepted(t, v, opaque)
		}
	}
}

// A program that verifies DPoP proofs says so.
func TestAProgramProvesPossession(t *testing.T) {
	s := newAuthServer(t)
	_, thumbprint := clientCertificate(t)
	cnf := map[string]any{"jkt": thumbprint}
	for name, tt := range map[string]struct {
		proven bool
		err    error
		reason string
	}{
		"proven":          {true, nil, ""},
		"not proven":      {false, nil, semconv.OTelMCPAuthReasonUnprovenPossession},
		"not found out":   {false, errors.New("the replay cache is down"), semconv.OTelMCPAuthReasonVerifierUnavailable},
		"true, and error": {true, errors.New("the replay cache is down"), semconv.OTelMCPAuthReasonVerifierUnavailable},
	} {
		for how, issue := range tokenKinds(s) {
			t.Run(name+"/"+how, func(t *testing.T) {
				asked := 0
				var token string
				req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, resource, http.NoBody)
				v, k := newVerifier(t, s, func(c *Config) {
					if issue.config != nil {
						issue.config(c)
					}
					c.Possession = func(_ context.Context, got string, confirmation map[string]any, r *http.Request) (bool, error) {
						asked++
						if got != token || confirmation["jkt"] != thumbprint || r != req {
							t.Errorf("asked about %q, %v, %v", got, confirmation, r)
						}
						return tt.proven, tt.err
					}
				})
				token = issue.token(t, k, cnf)
				info, err := v.Verify(t.Context(), token, req)
				if (err == nil) != (tt.reason == "") || (info == nil) != (err != nil) {
					t.Fatalf("%+v, %v", info, err)
				}
				if e, _ := errors.AsType[*otelmcp.TokenError](err); err != nil && (e.Reason != tt.reason || tt.err != nil && !errors.Is(err, tt.err)) {
					t.Errorf("%v", err)
				}
				checkNothingShown(t, token, err)
				if asked != 1 {
					t.Errorf("asked %d times", asked)
				}
				// What is bad otherwise is not asked about.
				bad := s.good(t, k, map[string]any{"cnf": cnf, "aud": "https://elsewhere.example"})
				s.setToken(bad, s.claims(k, nil))
				_, err = v.Verify(t.Context(), bad, req)
				if e, _ := errors.AsType[*otelmcp.TokenError](err); e == nil || e.Reason != semconv.OTelMCPAuthReasonAudienceMismatch || asked != 1 {
					t.Errorf("%v, asked %d times", err, asked)
				}
			})
		}
	}
}

// A connection whose handshake is not over proves nothing.
func TestAnUnfinishedHandshakeProvesNothing(t *testing.T) {
	s := newAuthServer(t)
	cert, thumbprint := clientCertificate(t)
	leaf := must(x509.ParseCertificate(cert.Certificate[0]))
	v, k := newVerifier(t, s, nil)
	token := s.good(t, k, map[string]any{"cnf": map[string]any{"x5t#S256": thumbprint}})
	for complete, state := range map[bool]*tls.ConnectionState{
		true:  {HandshakeComplete: true, PeerCertificates: []*x509.Certificate{leaf}},
		false: {PeerCertificates: []*x509.Certificate{leaf}},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, resource, http.NoBody)
		r.TLS = state
		if _, err := v.Verify(t.Context(), token, r); (err == nil) != complete {
			t.Errorf("complete %v: %v", complete, err)
		}
	}
}

// FuzzConfirmation: whatever a token is bound to, it is no plain bearer token.
func FuzzConfirmation(f *testing.F) {
	s := newAuthServer(f)
	v, k := newVerifier(f, s, nil)
	for _, seed := range []string{`{"jkt":"x"}`, `{}`, `null`, `""`, `[]`, `{"x5t#S256":null}`, `{"x5t#S256":""}`, `0`, `{"a":{"b":[1]}}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, cnf string) {
		payload := fmt.Appendf(nil, `{"iss":%q,"sub":"u","aud":%q,"exp":%d,"cnf":%s}`, s.URL, resource, k.now().Unix()+60, cnf)
		token := sign(t, jose.RS256, rsaKey(), map[string]any{"kid": "rsa"}, payload)
		if len(token) > maxToken {
			return
		}
		if info, err := v.Verify(t.Context(), token, nil); err == nil || info != nil {
			t.Fatalf("accepted: %s", payload)
		}
	})
}
