// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package authserver

// The authorization endpoint. There is no page and no consent: the user is named
// by login_hint and agrees.

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// code is an authorization code: what it will be exchanged for, and what its
// bearer has to prove.
type code struct {
	*grant
	redirect  string
	challenge string // PKCE, S256
	expires   time.Time
	used      bool
}

// grant is what a user has given to a client. All tokens that came of it end with
// it. Its fields are guarded by Server.mu.
type grant struct {
	client   string
	user     User
	scopes   []string
	resource string
	revoked  bool
}

func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		refuse(w, bad("invalid_request", "the parameters cannot be read"))
		return
	}
	asked := r.Form
	s.mu.Lock()
	client := s.clients[asked.Get("client_id")]
	s.mu.Unlock()
	// To a URI that is not the client's nothing is ever sent, an error neither.
	redirect := asked.Get("redirect_uri")
	if client == nil || !slices.Contains(client.Redirects, redirect) ||
		len(asked["client_id"]) != 1 || len(asked["redirect_uri"]) != 1 {
		refuse(w, bad("invalid_request", "the client is not known, or the redirect URI is not one of its own"))
		return
	}
	answered := url.Values{"iss": {s.Issuer}} // RFC 9207: on errors, too
	if state := asked.Get("state"); state != "" {
		answered.Set("state", state)
	}
	issued, err := s.consent(client, redirect, asked)
	var e *oauthError
	switch {
	case err == nil:
		answered.Set("code", issued)
	case errors.As(err, &e):
		answered.Set("error", e.code)
		answered.Set("error_description", e.description)
	default:
		answered.Set("error", "server_error")
	}
	to, err := url.Parse(redirect)
	if err != nil {
		refuse(w, err)
		return
	}
	query := to.Query()
	for name := range answered {
		query.Set(name, answered.Get(name))
	}
	to.RawQuery = query.Encode()
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, to.String(), http.StatusFound) //nolint:gosec // to is one of the URIs that the client registered
}

// consent issues a code for what is asked.
func (s *Server) consent(client *registration, redirect string, asked url.Values) (string, error) {
	if err := once(asked); err != nil {
		return "", err
	}
	if asked.Get("response_type") != "code" {
		return "", bad("unsupported_response_type", "the response type is code")
	}
	challenge := asked.Get("code_challenge")
	if asked.Get("code_challenge_method") != "S256" || !isPKCE(challenge) || len(challenge) != 43 {
		return "", bad("invalid_request", "PKCE with S256 is required")
	}
	resource := asked.Get("resource")
	if !slices.Contains(s.Resources, resource) {
		return "", bad("invalid_target", "the resource is not given, or not known")
	}
	granted, err := scopes(asked.Get("scope"), s.Scopes)
	if err != nil {
		return "", err
	}
	user, known := s.user(asked.Get("login_hint"))
	if !known {
		return "", bad("access_denied", "nobody of that name can log in")
	}
	text := secret()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.room() {
		return "", errBusy
	}
	s.codes[digestOf(text)] = &code{
		grant:    &grant{client: client.ClientID, user: user, scopes: granted, resource: resource},
		redirect: redirect, challenge: challenge, expires: s.Now().Add(codeLifetime),
	}
	return text, nil
}

// isPKCE reports whether s may be a code_verifier (RFC 7636 section 4.1).
func isPKCE(s string) bool {
	return len(s) >= 43 && len(s) <= 128 && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._~", c)
	})
}

// room makes room for a code or a token: what has expired goes. Its caller holds
// mu.
func (s *Server) room() bool {
	now := s.Now()
	for d, c := range s.codes {
		if !now.Before(c.expires) {
			delete(s.codes, d)
		}
	}
	for d, t := range s.tokens {
		if !now.Before(t.expires) {
			delete(s.tokens, d)
		}
	}
	return len(s.codes)+len(s.tokens) < maxRecords
}
