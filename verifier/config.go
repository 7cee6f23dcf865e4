// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file is the configuration and its validation. Nothing here uses the network.

package verifier

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	defaultSkew = 30 * time.Second
	maxSkew     = 5 * time.Minute

	defaultCacheTime = 30 * time.Second
	maxCacheTime     = 5 * time.Minute
)

// signatureAlgorithms are the asymmetric ones. A symmetric algorithm would make
// everybody who can verify a token able to issue one, and the public keys of the
// server its secrets.
var signatureAlgorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512,
	jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512,
	jose.EdDSA,
}

// Config says whose tokens are accepted, and for whom they must be meant.
//
// Every URL must be https, or http to a loopback host, where there is nobody on
// the way: whoever can change what it serves can issue tokens.
type Config struct {
	// Issuer is the issuer identifier of the authorization server, exactly as it
	// stands in its tokens (iss). Required.
	Issuer string
	// Audience are the names of this resource server, exactly as they stand in
	// tokens (aud). A token must name at least one of them. Required.
	Audience []string
	// Algorithms are the JWS algorithms that are accepted. Empty means all of
	// RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 and EdDSA. No
	// others can be asked for: "none" and HS* are errors.
	Algorithms []string
	// ClockSkew is by how much the clocks of issuer and verifier may differ. Zero
	// means 30 seconds: synchronized hosts are within one, and half a minute is
	// little against the life of a token. At most 5 minutes.
	ClockSkew time.Duration
	// HTTPClient makes all requests. Redirects are not followed, whatever it
	// says. Nil means one with a timeout of 10 seconds on http.DefaultTransport.
	HTTPClient *http.Client
	// JWKSURL is where the keys are. Empty means where the server's metadata says
	// (RFC 8414, OpenID Connect Discovery).
	JWKSURL string
	// Introspection, if set, asks the authorization server about tokens that are
	// no JWTs. Without it such tokens are refused.
	Introspection *Introspection
	// RolesClaim is the claim with the roles of the principal, or a dotted path to
	// it, such as realm_access.roles. Empty means roles (RFC 9068 section 2.2.3.1).
	RolesClaim string
	// Possession says whether the sender of r proved that it has the key that its token
	// is bound to (cnf, RFC 7800): by a DPoP proof (RFC 9449), say, or by a certificate
	// that a proxy in front of the server passes on. It answers for the whole of
	// confirmation, which is cnf as the token or the introspection response has it, and
	// nil where the latter says only that there is a key. True lets the token through and
	// false refuses it. An error says that it could not be found out: the answer is 503.
	// The error must hold no part of the token. Possession must be safe for concurrent use.
	//
	// It is asked last, about a token that is good otherwise, and at most once for each
	// call of Verify, with the request that Verify was given. It is not asked about a
	// token that is bound to the client certificate of r and to nothing else: that one is
	// let through (RFC 8705). Nil refuses all others that are bound to a key.
	Possession func(ctx context.Context, token string, confirmation map[string]any, r *http.Request) (bool, error)
}

// Introspection is how to ask about a token (RFC 7662). The answer must name the
// audience of the token (aud), which RFC 7662 leaves to the server: without it
// nobody knows whom the token was meant for, and it is refused. Without iss the
// token is taken to be of Config.Issuer.
type Introspection struct {
	// URL is the introspection endpoint. Required.
	URL string
	// ClientID and ClientSecret authenticate the caller, by HTTP Basic as RFC 6749
	// section 2.3.1 has it. Both are required.
	ClientID     string
	ClientSecret string
	// CacheTime is how long an active token is taken to be still active, and so how
	// late its revocation may be noticed. Zero means 30 seconds; at most 5 minutes.
	// A nanosecond has the server asked each time.
	CacheTime time.Duration
	// RequireForJWT has JWTs asked about too, after they were verified, so that
	// their revocation is noticed.
	RequireForJWT bool
}

// New returns a verifier for c, or says what is wrong with c. It does not use the
// network: a server starts whether or not the authorization server does. Requests
// carry the values of ctx, but do not end with it.
func New(ctx context.Context, c Config) (*Verifier, error) {
	if err := checkIssuer(c.Issuer); err != nil {
		return nil, err
	}
	if len(c.Audience) == 0 || slices.Contains(c.Audience, "") {
		return nil, errors.New("verifier: Audience must name this resource server, and hold no empty name: a token that is meant for somebody else must not be accepted")
	}
	algorithms, err := checkAlgorithms(c.Algorithms)
	if err != nil {
		return nil, err
	}
	skew, err := checkDuration("ClockSkew", c.ClockSkew, defaultSkew, maxSkew)
	if err != nil {
		return nil, err
	}
	if c.JWKSURL != "" {
		if err := checkURL("JWKSURL", c.JWKSURL); err != nil {
			return nil, err
		}
	}
	roles := c.RolesClaim
	if roles == "" {
		roles = "roles"
	}

	fetch := newFetcher(ctx, c.HTTPClient)
	v := &Verifier{
		issuer:     c.Issuer,
		audience:   slices.Clone(c.Audience),
		algorithms: algorithms,
		skew:       skew,
		roles:      roles,
		possession: c.Possession,
		now:        time.Now,
	}
	v.keys = &keySet{fetch: fetch, issuer: c.Issuer, configured: c.JWKSURL, now: v.clock}
	if c.Introspection != nil {
		v.introspector, err = newIntrospector(*c.Introspection, fetch, v.clock)
		if err != nil {
			return nil, err
		}
	}
	return v, nil
}

func newIntrospector(c Introspection, fetch *fetcher, now func() time.Time) (*introspector, error) {
	if err := checkURL("Introspection.URL", c.URL); err != nil {
		return nil, err
	}
	if c.ClientID == "" || c.ClientSecret == "" {
		return nil, errors.New("verifier: Introspection needs ClientID and ClientSecret: the endpoint must know who asks (RFC 7662 section 2.1)")
	}
	ttl, err := checkDuration("Introspection.CacheTime", c.CacheTime, defaultCacheTime, maxCacheTime)
	if err != nil {
		return nil, err
	}
	i := &introspector{
		fetch: fetch, now: now, url: c.URL, id: c.ClientID, secret: c.ClientSecret,
		ttl: ttl, forJWT: c.RequireForJWT,
		active: map[digest]standing{}, refused: map[digest]standing{}, running: map[digest]*call[standing]{},
	}
	_, _ = rand.Read(i.hashKey[:]) // never fails
	return i, nil
}

func checkIssuer(issuer string) error {
	if err := checkURL("Issuer", issuer); err != nil {
		return err
	}
	if strings.ContainsAny(issuer, "?#") {
		return errors.New("verifier: Issuer must have neither query nor fragment (RFC 8414 section 2)")
	}
	return nil
}

// checkURL names the setting and the rule, and never the value: it may hold a
// password.
func checkURL(setting, value string) error {
	u, err := url.Parse(value)
	switch {
	case value == "":
		return fmt.Errorf("verifier: %s is required", setting)
	case err != nil || u.Hostname() == "":
		return fmt.Errorf("verifier: %s is not an absolute URL", setting)
	case u.User != nil:
		return fmt.Errorf("verifier: %s must not hold credentials", setting)
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return fmt.Errorf("verifier: %s must be https (or http to a loopback host)", setting)
	}
	return nil
}

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

func checkAlgorithms(names []string) ([]jose.SignatureAlgorithm, error) {
	if len(names) == 0 {
		return signatureAlgorithms, nil
	}
	out := make([]jose.SignatureAlgorithm, 0, len(names))
	for _, name := range names {
		alg := jose.SignatureAlgorithm(name)
		switch {
		case slices.Contains(signatureAlgorithms, alg):
			out = append(out, alg)
		case strings.EqualFold(name, "none"):
			return nil, errors.New(`verifier: Algorithms must not hold "none": anybody could issue tokens`)
		case strings.HasPrefix(name, "HS"):
			return nil, fmt.Errorf("verifier: Algorithms must not hold %q: whoever can verify with a shared secret can issue tokens", name)
		default:
			return nil, fmt.Errorf("verifier: Algorithms holds %q, which is none of %v", name, signatureAlgorithms)
		}
	}
	return out, nil
}

func checkDuration(setting string, d, unset, most time.Duration) (time.Duration, error) {
	switch {
	case d == 0:
		return unset, nil
	case d < 0 || d > most:
		return 0, fmt.Errorf("verifier: %s must be between 0 and %v", setting, most)
	}
	return d, nil
}
