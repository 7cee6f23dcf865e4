// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package authserver

// Tokens: issued for codes and refresh tokens, revoked (RFC 7009), and asked
// about (RFC 7662).

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// token is an access token or a refresh token. Its fields are guarded by
// Server.mu.
type token struct {
	*grant
	claims           // of an access token
	refresh, revoked bool
	expires          time.Time
}

// claims are those of an access token (RFC 9068), and what introspection says of
// it.
type claims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience []string `json:"aud"`
	ClientID string   `json:"client_id"`
	Scope    string   `json:"scope,omitempty"`
	Roles    []string `json:"roles,omitempty"`
	ID       string   `json:"jti"`
	Issued   int64    `json:"iat"`
	Expires  int64    `json:"exp"`
}

func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	asked, err := form(r)
	if err != nil {
		refuse(w, err)
		return
	}
	client, err := s.authenticate(r, asked)
	if err != nil {
		refuse(w, err)
		return
	}
	s.mu.Lock()
	var g *grant
	granted := []string(nil)
	switch kind := asked.Get("grant_type"); {
	case !slices.Contains(grantTypes, kind):
		err = bad("unsupported_grant_type", "the grant type is not supported")
	case !slices.Contains(client.GrantTypes, kind):
		err = bad("unauthorized_client", "the client did not register for this grant type")
	case kind == "authorization_code":
		g, granted, err = s.redeem(client, asked)
	default:
		g, granted, err = s.rotate(client, asked)
	}
	var document map[string]any
	if err == nil {
		document, err = s.respond(client, g, granted)
	}
	s.mu.Unlock()
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, http.StatusOK, document)
}

// redeem takes a code, which is thereby used, whatever comes of it. That it comes
// again says that somebody else has it: what it gave is revoked (RFC 6749 section
// 4.1.2). Its caller holds mu.
func (s *Server) redeem(client *registration, asked url.Values) (*grant, []string, error) {
	c := s.codes[digestOf(asked.Get("code"))]
	if c == nil || c.client != client.ClientID || !s.Now().Before(c.expires) {
		return nil, nil, bad("invalid_grant", "the code is not valid")
	}
	if c.used {
		c.revoked = true
		return nil, nil, bad("invalid_grant", "the code was used before")
	}
	c.used = true
	verifier := asked.Get("code_verifier")
	sum := sha256.Sum256([]byte(verifier))
	proof := base64.RawURLEncoding.EncodeToString(sum[:])
	if !isPKCE(verifier) || subtle.ConstantTimeCompare([]byte(proof), []byte(c.challenge)) != 1 {
		return nil, nil, bad("invalid_grant", "the code_verifier is not that of the code_challenge")
	}
	if asked.Get("redirect_uri") != c.redirect {
		return nil, nil, bad("invalid_grant", "the redirect URI is not the one that the code was sent to")
	}
	if err := c.targeted(asked); err != nil {
		return nil, nil, err
	}
	return c.grant, c.scopes, nil
}

// rotate takes a refresh token, which the next one replaces. That it comes again
// says that somebody else has it: the grant is revoked. Its caller holds mu.
func (s *Server) rotate(client *registration, asked url.Values) (*grant, []string, error) {
	t := s.tokens[digestOf(asked.Get("refresh_token"))]
	if t == nil || !t.refresh || t.client != client.ClientID || !s.Now().Before(t.expires) || t.grant.revoked {
		return nil, nil, bad("invalid_grant", "the refresh token is not valid")
	}
	if t.revoked {
		t.grant.revoked = true
		return nil, nil, bad("invalid_grant", "the refresh token was used before")
	}
	if err := t.targeted(asked); err != nil {
		return nil, nil, err
	}
	granted := t.scopes
	if asked.Has("scope") {
		var err error
		if granted, err = scopes(asked.Get("scope"), granted); err != nil {
			return nil, nil, err
		}
	}
	t.revoked = true
	return t.grant, granted, nil
}

// targeted checks that a token is asked for what was granted (RFC 8707 section
// 2.2).
func (g *grant) targeted(asked url.Values) error {
	if asked.Has("resource") && asked.Get("resource") != g.resource {
		return bad("invalid_target", "the grant is for another resource")
	}
	return nil
}

// respond issues what a grant is worth. Its caller holds mu.
func (s *Server) respond(client *registration, g *grant, granted []string) (map[string]any, error) {
	if !s.room() {
		return nil, errBusy
	}
	access, err := s.issue(g, granted, s.Lifetime)
	if err != nil {
		return nil, err
	}
	document := map[string]any{
		"access_token": access, "token_type": "Bearer",
		"expires_in": int(s.Lifetime.Seconds()), "scope": strings.Join(granted, " "),
	}
	if slices.Contains(client.GrantTypes, "refresh_token") {
		refresh := secret()
		s.tokens[digestOf(refresh)] = &token{grant: g, refresh: true, expires: s.Now().Add(refreshLifetime)}
		document["refresh_token"] = refresh
	}
	return document, nil
}

// issue makes an access token. Its caller holds mu.
func (s *Server) issue(g *grant, granted []string, lifetime time.Duration) (text string, err error) {
	now := s.Now()
	t := &token{
		grant: g, expires: now.Add(lifetime),
		claims: claims{
			Issuer: s.Issuer, Subject: g.user.Name, Audience: []string{g.resource}, ClientID: g.client,
			Scope: strings.Join(granted, " "), Roles: g.user.Roles, ID: secret(),
			Issued: min(now.Unix(), now.Add(lifetime).Unix()), Expires: now.Add(lifetime).Unix(),
		},
	}
	if s.Opaque != nil && s.Opaque(granted) {
		text = secret()
	} else if text, err = s.sign(t.claims); err != nil {
		return "", err
	}
	s.tokens[digestOf(text)] = t
	return text, nil
}

// revoke ends a token of the client that asks. With a refresh token ends the
// whole grant. A token that is not known needs no revocation, and is no error.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	asked, err := form(r)
	if err != nil {
		refuse(w, err)
		return
	}
	client, err := s.authenticate(r, asked)
	if err == nil && !asked.Has("token") {
		err = bad("invalid_request", "the token is missing")
	}
	if err != nil {
		refuse(w, err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[digestOf(asked.Get("token"))]
	switch {
	case t == nil:
	case t.client != client.ClientID:
		refuse(w, bad("unauthorized_client", "the token is another client's"))
		return
	case t.refresh:
		t.grant.revoked = true
	default:
		t.revoked = true
	}
	w.WriteHeader(http.StatusOK)
}

// introspect tells a resource server what an access token is worth now. Of one
// that is worth nothing it tells nothing.
func (s *Server) introspect(w http.ResponseWriter, r *http.Request) {
	id, password := credentials(r)
	expected, known := s.Introspectors[id]
	if !known || !digestOf(expected).matches(password) {
		refuse(w, &oauthError{http.StatusUnauthorized, "invalid_client", "only resource servers may ask"})
		return
	}
	asked, err := form(r)
	if err == nil && !asked.Has("token") {
		err = bad("invalid_request", "the token is missing")
	}
	if err != nil {
		refuse(w, err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[digestOf(asked.Get("token"))]
	if t == nil || t.refresh || t.revoked || t.grant.revoked || !s.Now().Before(t.expires) {
		answer(w, http.StatusOK, map[string]bool{"active": false})
		return
	}
	answer(w, http.StatusOK, struct {
		Active    bool   `json:"active"`
		TokenType string `json:"token_type"`
		claims
	}{true, "Bearer", t.claims})
}

// Special is an access token that no endpoint would issue, for tests and demos.
type Special struct {
	ClientID, User string
	Scopes         []string
	Resource       string        // whatever; it need not be known
	Lifetime       time.Duration // negative: the token has expired
}

// Issue issues one.
func (s *Server) Issue(special Special) (string, error) {
	user, known := s.user(special.User)
	if !known {
		return "", bad("access_denied", "nobody of that name can log in")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g := &grant{client: special.ClientID, user: user, scopes: special.Scopes, resource: special.Resource}
	return s.issue(g, special.Scopes, special.Lifetime)
}
