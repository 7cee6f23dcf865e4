// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file is the keys of the authorization server: where they are, which are of
// use, and when they are fetched again.

package verifier

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

const (
	maxDocument = 1 << 20 // bytes of a metadata document or a JWK set
	maxKeys     = 100     // a token without kid is tried with each that suits
	minRSABits  = 2048    // RFC 7518 section 3.3

	// How long keys are fresh: bounds of what Cache-Control says, and when it says
	// nothing. A key that the server has withdrawn is used no longer than this.
	minFresh     = time.Minute
	maxFresh     = time.Hour
	defaultFresh = 15 * time.Minute

	// maxStale is how old keys may get while the server is down. Tokens seldom live
	// for longer, and whoever cuts the server off must not keep a stolen key good.
	maxStale = 6 * time.Hour

	// minInterval is between the end of a fetch and the next. It is what RequireBearer
	// tells a client to wait for (Retry-After), so that its second try is a real one.
	minInterval = 5 * time.Second
)

// key is a public key that tokens may be signed with.
type key struct {
	id         string
	public     any
	algorithms []jose.SignatureAlgorithm
}

// fits reports whether the key may have signed a token with that header. A token
// without kid fits every key.
func (k key) fits(id, alg string) bool {
	return (id == "" || id == k.id) && slices.Contains(k.algorithms, jose.SignatureAlgorithm(alg))
}

// keySet is the keys, fetched when they are needed. At most one fetch runs.
type keySet struct {
	fetch      *fetcher
	issuer     string
	configured string // Config.JWKSURL
	now        func() time.Time

	// The running fetch alone uses these.
	found   string // jwks_uri of the metadata; "" to look again
	foundAt time.Time

	mu      sync.Mutex
	keys    []key // replaced, never changed; nil before the first
	fetched time.Time
	fresh   time.Duration
	tried   time.Time // end of the last fetch
	failed  error     // what it failed with
	running *call[fetchedKeys]
}

type fetchedKeys struct {
	keys  []key
	fresh time.Duration
}

// current returns the keys to verify with. It waits for a fetch when there are none
// that are fresh, unless the last fetch has failed: nobody waits twice for a server
// that is down while there are good keys left.
func (s *keySet) current(ctx context.Context) ([]key, error) {
	s.mu.Lock()
	age := s.now().Sub(s.fetched)
	usable := s.keys != nil && age < maxStale
	keys, failed := s.keys, s.failed
	if usable && age < s.fresh {
		s.mu.Unlock()
		return keys, nil
	}
	c := s.start()
	s.mu.Unlock()

	switch {
	case usable && (c == nil || failed != nil):
		return keys, nil
	case c == nil:
		return nil, failed
	}
	got, err := c.wait(ctx)
	if err != nil && usable && ctx.Err() == nil {
		return keys, nil
	}
	return got.keys, err
}

// newer returns the keys after a fetch, if there may be one now, and else those of
// the last one, or why it failed. Made-up key ids end up here: minInterval bounds
// what they cost.
func (s *keySet) newer(ctx context.Context) ([]key, error) {
	s.mu.Lock()
	c := s.start()
	keys, failed := s.keys, s.failed
	s.mu.Unlock()
	if c == nil {
		return keys, failed
	}
	got, err := c.wait(ctx)
	return got.keys, err
}

// start returns the running fetch, or a new one, or nil when it is too early for
// one. s.mu must be held.
func (s *keySet) start() *call[fetchedKeys] {
	if s.running == nil && (s.tried.IsZero() || s.now().Sub(s.tried) >= minInterval) {
		s.running = begin(s.fetch, s.ask, s.finish)
	}
	return s.running
}

func (s *keySet) finish(got fetchedKeys, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.tried, s.failed = nil, s.now(), err
	if err == nil {
		s.keys, s.fresh, s.fetched = got.keys, got.fresh, s.tried
	}
}

// ask fetches the keys and, when it is not known where they are, the metadata.
func (s *keySet) ask(ctx context.Context) (fetchedKeys, error) {
	at := s.configured
	if at == "" {
		if s.found == "" || s.now().Sub(s.foundAt) >= maxFresh {
			found, err := s.discover(ctx)
			if err != nil {
				return fetchedKeys{}, unavailable("the metadata of the authorization server cannot be had: "+strings.ReplaceAll(err.Error(), "\n", "; "), err)
			}
			s.found, s.foundAt = found, s.now()
		}
		at = s.found
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	header, err := s.get(ctx, at, &set)
	var keys []key
	if err == nil {
		keys, err = usableKeys(set.Keys)
	}
	if err != nil {
		s.found = "" // They may have moved.
		return fetchedKeys{}, unavailable("the keys of the authorization server cannot be had: "+err.Error(), err)
	}
	return fetchedKeys{keys, freshness(header)}, nil
}

// discover returns the jwks_uri of the issuer's metadata.
func (s *keySet) discover(ctx context.Context) (string, error) {
	var problems []error
	for _, u := range metadataURLs(s.issuer) {
		var doc struct {
			Issuer  string `json:"issuer"`
			JWKSURI string `json:"jwks_uri"`
		}
		_, err := s.get(ctx, u, &doc)
		if err == nil {
			err = s.checkMetadata(u, doc.Issuer, doc.JWKSURI)
		}
		if err == nil {
			return doc.JWKSURI, nil
		}
		problems = append(problems, err)
	}
	return "", errors.Join(problems...)
}

// checkMetadata holds a document to RFC 8414 section 3.3: one that names another
// issuer must not be used. Nor may it lead from https to http.
func (s *keySet) checkMetadata(u, issuer, jwks string) error {
	if issuer != s.issuer {
		return fmt.Errorf("%s names %.200q as its issuer, not %q", u, issuer, s.issuer)
	}
	if err := checkURL("jwks_uri", jwks); err != nil {
		return fmt.Errorf("%s: %w", u, err)
	}
	if strings.HasPrefix(s.issuer, "https:") && !strings.HasPrefix(jwks, "https:") {
		return errors.New(u + ": jwks_uri must be https")
	}
	return nil
}

// metadataURLs are where the metadata of an issuer may be, in the order of the MCP
// authorization specification: RFC 8414 section 3.1 inserts the well-known part
// before the path of the issuer, and OpenID Connect Discovery section 4 appends it.
func metadataURLs(issuer string) []string {
	u, _ := url.Parse(issuer) // New has parsed it.
	origin, path := u.Scheme+"://"+u.Host, strings.TrimSuffix(u.EscapedPath(), "/")
	const oauth, oidc = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"
	if path == "" {
		return []string{origin + oauth, origin + oidc}
	}
	return []string{origin + oauth + path, origin + oidc + path, origin + path + oidc}
}

// get reads a JSON document into out.
func (s *keySet) get(ctx context.Context, u string, out any) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, http.NoBody)
	if err != nil {
		return nil, errors.New("the URL cannot be requested")
	}
	body, header, err := s.fetch.do(req, maxDocument)
	if err != nil {
		return nil, err
	}
	if json.Unmarshal(body, out) != nil {
		return nil, failed(req.URL, "did not answer with the JSON that it should", nil)
	}
	return header, nil
}

// usableKeys returns the keys that tokens may be signed with. Others are left out, as
// RFC 7517 section 5 asks for: kinds that are not known, and broken ones.
func usableKeys(raw []json.RawMessage) ([]key, error) {
	if len(raw) > maxKeys {
		return nil, fmt.Errorf("the JWK set holds more than %d keys", maxKeys)
	}
	var keys []key
	for _, r := range raw {
		var jwk jose.JSONWebKey
		var more struct {
			Ops []string `json:"key_ops"`
		}
		if json.Unmarshal(r, &jwk) != nil || json.Unmarshal(r, &more) != nil {
			continue
		}
		algorithms := algorithmsOf(jwk.Key)
		if jwk.Algorithm != "" {
			algorithms = slices.DeleteFunc(algorithms, func(a jose.SignatureAlgorithm) bool { return string(a) != jwk.Algorithm })
		}
		switch {
		case len(algorithms) == 0:
		case jwk.Use != "" && jwk.Use != "sig":
		case more.Ops != nil && !slices.Contains(more.Ops, "verify"):
		default:
			keys = append(keys, key{id: jwk.KeyID, public: jwk.Key, algorithms: algorithms})
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the JWK set holds no key that tokens may be signed with")
	}
	return keys, nil
}

// algorithmsOf are those that a public key is for. Private and symmetric keys have
// none: the server should not have published them.
func algorithmsOf(public any) []jose.SignatureAlgorithm {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() >= minRSABits {
			return []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}
		}
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			return []jose.SignatureAlgorithm{jose.ES256}
		case 384:
			return []jose.SignatureAlgorithm{jose.ES384}
		case 521:
			return []jose.SignatureAlgorithm{jose.ES512}
		}
	case ed25519.PublicKey:
		return []jose.SignatureAlgorithm{jose.EdDSA}
	}
	return nil
}

// freshness is how long an answer with that header is fresh.
func freshness(header http.Header) time.Duration {
	for directive := range strings.SplitSeq(strings.ToLower(header.Get("Cache-Control")), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch name {
		case "no-store", "no-cache":
			return minFresh
		case "max-age":
			if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
				return min(max(time.Duration(seconds)*time.Second, minFresh), maxFresh)
			}
		}
	}
	return defaultFresh
}
