// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package authserver

// Clients: how they register (RFC 7591), and how they prove who they are (RFC
// 6749 section 2.3).

import (
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

var (
	authMethods = []string{"none", "client_secret_basic", "client_secret_post"}
	grantTypes  = []string{"authorization_code", "refresh_token"}
)

// registration is a client. It does not change.
type registration struct {
	ClientID      string   `json:"client_id"`
	IssuedAt      int64    `json:"client_id_issued_at"`
	Name          string   `json:"client_name,omitempty"`
	Redirects     []string `json:"redirect_uris"`
	AuthMethod    string   `json:"token_endpoint_auth_method"`
	GrantTypes    []string `json:"grant_types"`
	ResponseTypes []string `json:"response_types"`

	secret digest
}

// register takes what a client says of itself. What it does not know, such as
// scope, it leaves out of its answer, which is how the client learns.
func (s *Server) register(w http.ResponseWriter, r *http.Request) {
	var asked registration
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		refuse(w, bad("invalid_client_metadata", "the body is no JSON object"))
		return
	}
	c := &registration{
		ClientID: secret(), IssuedAt: s.Now().Unix(), Name: asked.Name, Redirects: asked.Redirects,
		AuthMethod: asked.AuthMethod, GrantTypes: asked.GrantTypes, ResponseTypes: asked.ResponseTypes,
	}
	if c.AuthMethod == "" {
		c.AuthMethod = "client_secret_basic"
	}
	if len(c.GrantTypes) == 0 {
		c.GrantTypes = grantTypes[:1]
	}
	if len(c.ResponseTypes) == 0 {
		c.ResponseTypes = []string{"code"}
	}
	err := c.valid()
	s.mu.Lock()
	switch {
	case err != nil:
	case len(s.clients) >= maxClients:
		err = errBusy
	default:
		s.clients[c.ClientID] = c
	}
	var password string
	if err == nil && c.AuthMethod != "none" {
		password = secret()
		c.secret = digestOf(password)
	}
	s.mu.Unlock()
	if err != nil {
		refuse(w, err)
		return
	}
	document := struct {
		*registration
		Secret        string `json:"client_secret,omitempty"`
		SecretExpires *int   `json:"client_secret_expires_at,omitempty"`
	}{registration: c, Secret: password}
	if password != "" {
		document.SecretExpires = new(int) // never
	}
	answer(w, http.StatusCreated, document)
}

func (c *registration) valid() error {
	if len(c.Redirects) == 0 {
		return bad("invalid_redirect_uri", "a redirect URI is required")
	}
	for _, text := range c.Redirects {
		if !redirectable(text) {
			return bad("invalid_redirect_uri", "a redirect URI is https, http on loopback, or of a private scheme, and has no fragment")
		}
	}
	if !slices.Contains(authMethods, c.AuthMethod) {
		return bad("invalid_client_metadata", "the token_endpoint_auth_method is not supported")
	}
	if !slices.Contains(c.GrantTypes, grantTypes[0]) || !slices.Equal(c.ResponseTypes, []string{"code"}) {
		return bad("invalid_client_metadata", "there is the authorization code grant only")
	}
	for _, grant := range c.GrantTypes {
		if !slices.Contains(grantTypes, grant) {
			return bad("invalid_client_metadata", "a grant type is not supported")
		}
	}
	return nil
}

// redirectable reports whether a code may be sent to a URI: nobody but the client
// may read it on its way (RFC 8252 section 7). A private scheme is a domain name
// in reverse, so has a dot; javascript and data have none.
func redirectable(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Fragment != "" || strings.Contains(text, "#") || u.User != nil {
		return false
	}
	switch u.Scheme {
	case "https":
		return u.Hostname() != ""
	case "http":
		ip := net.ParseIP(u.Hostname())
		return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	}
	return strings.Contains(u.Scheme, ".")
}

// authenticate finds out which client makes a request. A client uses the method
// that it registered, and one only.
func (s *Server) authenticate(r *http.Request, parameters url.Values) (*registration, error) {
	denied := &oauthError{http.StatusUnauthorized, "invalid_client", "the client is not known, or did not prove who it is"}
	method, id, password := "none", parameters.Get("client_id"), ""
	if parameters.Has("client_secret") {
		method, password = "client_secret_post", parameters.Get("client_secret")
	}
	if _, _, basic := r.BasicAuth(); basic {
		if method != "none" {
			return nil, bad("invalid_request", "the client authenticates twice")
		}
		user, pass := credentials(r)
		if id != "" && id != user {
			return nil, denied
		}
		method, id, password = "client_secret_basic", user, pass
	}
	s.mu.Lock()
	c := s.clients[id]
	s.mu.Unlock()
	if c == nil || c.AuthMethod != method || method != "none" && !c.secret.matches(password) {
		return nil, denied
	}
	return c, nil
}

// credentials reads those of HTTP Basic, which are form-encoded first (RFC 6749
// section 2.3.1). What cannot be read is nobody.
func credentials(r *http.Request) (id, password string) {
	id, password, _ = r.BasicAuth()
	id, err := url.QueryUnescape(id)
	if err != nil {
		return "", ""
	}
	if password, err = url.QueryUnescape(password); err != nil {
		return "", ""
	}
	return id, password
}
