// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package authserver is a small OAuth 2.1 authorization server for the demo: what
// the MCP authorization specification asks of one, with real keys, and nothing
// that a demo could do without.
//
// It conforms to RFC 8414 (metadata), RFC 7591 (dynamic registration), RFC 7636
// (PKCE, mandatory, S256 only), RFC 8707 (a token is for one resource, and says
// so in aud), RFC 9207 (iss in the authorization response), RFC 9068 (JWT access
// tokens of type at+jwt), RFC 7009 (revocation) and RFC 7662 (introspection).
// Codes are good for one use, refresh tokens rotate, and a second use of either
// revokes the grant. Redirect URIs match exactly.
//
// It is written for the demo because what can be embedded does less or weighs
// more: ory/fosite brings some fifty modules and leaves metadata, registration
// and resource indicators to its user; go-oauth2 is light, and has none of
// resources, at+jwt, revocation and introspection; mockoidc issues whatever a test
// wants, which is the opposite of what is to be shown. Here the one dependency is
// go-jose, for signatures.
//
// It is no authorization server for production: it keeps everything in memory,
// and there is no login. Whoever asks is the user that login_hint names, or else
// the first one, and has consented. Let it listen on loopback only.
package authserver

// This file: what it is made of, its metadata, and what all endpoints share.

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds on what strangers can make it keep.
const (
	maxBody    = 64 << 10
	maxClients = 1_000
	maxRecords = 10_000 // codes and tokens
)

const (
	codeLifetime    = time.Minute
	refreshLifetime = 24 * time.Hour
)

// User is somebody who can log in, which here is to be named.
type User struct {
	Name  string
	Roles []string
}

// Config says who is who, and what there is to be granted.
type Config struct {
	// Issuer is the URL that the server is reached by, without a path.
	Issuer string
	// Users can log in. The first one is who asks without a login_hint.
	Users []User
	// Scopes can be granted. The first one is granted to who asks for none.
	Scopes []string
	// Resources are those that tokens are issued for (RFC 8707).
	Resources []string
	// Introspectors may ask what a token is worth: resource servers, by their
	// ids, with their secrets.
	Introspectors map[string]string
	// Opaque says whether access tokens with these scopes are opaque, which only
	// introspection can read. Without it all are JWTs.
	Opaque func(scopes []string) bool
	// Algorithm signs JWTs: RS256, which is the default, or ES256.
	Algorithm string
	// Lifetime of access tokens; five minutes, if it is zero.
	Lifetime time.Duration
	// Now is the clock; time.Now, if it is nil.
	Now func() time.Time
}

// Server is the authorization server. It is safe for concurrent use.
type Server struct {
	Config
	mux *http.ServeMux

	mu      sync.Mutex
	keys    []*signingKey // the first one signs
	clients map[string]*registration
	codes   map[digest]*code
	tokens  map[digest]*token
}

// New makes a server, and its first key.
func New(c Config) (*Server, error) {
	if c.Issuer == "" || len(c.Users) == 0 || len(c.Scopes) == 0 || len(c.Resources) == 0 {
		return nil, errors.New("authserver: the issuer, a user, a scope and a resource are required")
	}
	if c.Algorithm == "" {
		c.Algorithm = "RS256"
	}
	if c.Lifetime == 0 {
		c.Lifetime = 5 * time.Minute
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Server{
		Config: c, mux: http.NewServeMux(),
		clients: map[string]*registration{}, codes: map[digest]*code{}, tokens: map[digest]*token{},
	}
	if err := s.RotateKey(); err != nil {
		return nil, err
	}
	s.mux.HandleFunc("GET /.well-known/oauth-authorization-server", s.metadata)
	s.mux.HandleFunc("GET /jwks", s.jwks)
	s.mux.HandleFunc("GET /authorize", s.authorize)
	s.mux.HandleFunc("POST /authorize", s.authorize)
	s.mux.HandleFunc("POST /register", s.register)
	s.mux.HandleFunc("POST /token", s.token)
	s.mux.HandleFunc("POST /revoke", s.revoke)
	s.mux.HandleFunc("POST /introspect", s.introspect)
	return s, nil
}

// ServeHTTP serves all endpoints. Nothing that they answer may be cached but the
// two public documents.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if r.URL.Path != "/jwks" && !strings.HasPrefix(r.URL.Path, "/.well-known/") {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Pragma", "no-cache")
	}
	s.mux.ServeHTTP(w, r)
}

func (s *Server) metadata(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{
		"issuer":                                         s.Issuer,
		"authorization_endpoint":                         s.Issuer + "/authorize",
		"token_endpoint":                                 s.Issuer + "/token",
		"registration_endpoint":                          s.Issuer + "/register",
		"revocation_endpoint":                            s.Issuer + "/revoke",
		"introspection_endpoint":                         s.Issuer + "/introspect",
		"jwks_uri":                                       s.Issuer + "/jwks",
		"scopes_supported":                               s.Scopes,
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"grant_types_supported":                          grantTypes,
		"code_challenge_methods_supported":               []string{"S256"},
		"token_endpoint_auth_methods_supported":          authMethods,
		"revocation_endpoint_auth_methods_supported":     authMethods,
		"introspection_endpoint_auth_methods_supported":  []string{"client_secret_basic"},
		"authorization_response_iss_parameter_supported": true,
	})
}

// user finds who asks.
func (s *Server) user(hint string) (User, bool) {
	if hint == "" {
		return s.Users[0], true
	}
	k := slices.IndexFunc(s.Users, func(u User) bool { return u.Name == hint })
	if k < 0 {
		return User{}, false
	}
	return s.Users[k], true
}

// scopes reads a scope parameter (RFC 6749 section 3.3). Of what is allowed, the
// first is the default.
func scopes(text string, allowed []string) ([]string, error) {
	asked := strings.Fields(text)
	if len(asked) == 0 {
		return allowed[:1], nil
	}
	for _, scope := range asked {
		if !slices.Contains(allowed, scope) {
			return nil, &oauthError{http.StatusBadRequest, "invalid_scope", "a scope is not known, or not granted"}
		}
	}
	slices.Sort(asked)
	return slices.Compact(asked), nil
}

// oauthError is an error that the protocol has a code for.
type oauthError struct {
	status            int
	code, description string
}

func (e *oauthError) Error() string { return e.code + ": " + e.description }

func bad(code, description string) error {
	return &oauthError{http.StatusBadRequest, code, description}
}

var errBusy = &oauthError{http.StatusServiceUnavailable, "temporarily_unavailable", "too much is kept already"}

// refuse answers with err (RFC 6749 section 5.2).
func refuse(w http.ResponseWriter, err error) {
	var e *oauthError
	if !errors.As(err, &e) {
		e = &oauthError{http.StatusInternalServerError, "server_error", "something went wrong"}
	}
	if e.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="clients"`)
	}
	answer(w, e.status, map[string]string{"error": e.code, "error_description": e.description})
}

func answer(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(document) // who went away needs no answer
}

// form reads the body of a request. A parameter that is given twice is an error
// (RFC 6749 section 3.2), since what the other one means is not known.
func form(r *http.Request) (url.Values, error) {
	if err := r.ParseForm(); err != nil {
		return nil, bad("invalid_request", "the body is no form")
	}
	return r.PostForm, once(r.PostForm)
}

func once(parameters url.Values) error {
	for _, values := range parameters {
		if len(values) > 1 {
			return bad("invalid_request", "a parameter is given twice")
		}
	}
	return nil
}

// digest is what is kept of a secret: who reads the memory cannot use it, and a
// lookup by it tells nothing of the secret by the time it takes.
type digest [sha256.Size]byte

func digestOf(secret string) digest { return sha256.Sum256([]byte(secret)) }

func (d digest) matches(secret string) bool {
	other := digestOf(secret)
	return subtle.ConstantTimeCompare(d[:], other[:]) == 1
}

// secret returns a new one, of more than 128 bits.
func secret() string { return rand.Text() }
