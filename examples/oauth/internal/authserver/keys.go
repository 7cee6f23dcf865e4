// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package authserver

// The keys that sign access tokens, and how one follows another.

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const rsaBits = 2048

// signingKey is a key pair. A retired one stays in the JWKS until the last token
// that it signed has expired.
type signingKey struct {
	public jose.JSONWebKey
	signer jose.Signer
	gone   time.Time // when it leaves the JWKS; zero for the one that signs
}

// RotateKey lets a new key sign from now on. Tokens that the old one signed stay
// valid.
func (s *Server) RotateKey() error {
	key, err := newSigningKey(jose.SignatureAlgorithm(s.Algorithm))
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := []*signingKey{key}
	for _, old := range s.keys {
		if old.gone.IsZero() {
			old.gone = s.Now().Add(s.Lifetime)
		}
		if s.Now().Before(old.gone) {
			keys = append(keys, old)
		}
	}
	s.keys = keys
	return nil
}

func newSigningKey(algorithm jose.SignatureAlgorithm) (*signingKey, error) {
	var private crypto.Signer
	var err error
	switch algorithm {
	case jose.RS256:
		private, err = rsa.GenerateKey(rand.Reader, rsaBits)
	case jose.ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		err = fmt.Errorf("authserver: no keys for algorithm %q", algorithm)
	}
	if err != nil {
		return nil, err
	}
	key := &signingKey{}
	key.public = jose.JSONWebKey{Key: private.Public(), Algorithm: string(algorithm), Use: "sig"}
	thumbprint, err := key.public.Thumbprint(crypto.SHA256) // RFC 7638
	if err != nil {
		return nil, err
	}
	key.public.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	key.signer, err = jose.NewSigner(
		jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: private, KeyID: key.public.KeyID}},
		(&jose.SignerOptions{}).WithType("at+jwt"),
	)
	return key, err
}

func (s *Server) jwks(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	var set jose.JSONWebKeySet
	for _, key := range s.keys {
		if key.gone.IsZero() || s.Now().Before(key.gone) {
			set.Keys = append(set.Keys, key.public)
		}
	}
	s.mu.Unlock()
	answer(w, http.StatusOK, set)
}

// sign makes a JWT. Its caller holds mu.
func (s *Server) sign(claims any) (string, error) {
	return jwt.Signed(s.keys[0].signer).Claims(claims).Serialize()
}
