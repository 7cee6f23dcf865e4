// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file is the way of a token through the verifier: what it is, its signature,
// its claims, and whether it was revoked.

package verifier

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// maxToken is the size of the largest token, in bytes. It bounds what is parsed
// before the signature is known to be good.
const maxToken = 16 << 10

// Verifier verifies access tokens. It is safe for concurrent use, and needs no
// closing.
type Verifier struct {
	issuer       string
	audience     []string
	algorithms   []jose.SignatureAlgorithm
	skew         time.Duration
	roles        string
	possession   func(context.Context, string, map[string]any, *http.Request) (bool, error) // nil when there is none
	keys         *keySet
	introspector *introspector // nil when there is none

	now func() time.Time
}

func (v *Verifier) clock() time.Time { return v.now() }

// Verify is an otelmcp.TokenVerifier. Its error is a *otelmcp.TokenError, which
// holds no part of the token. It gives up when ctx ends, with
// verifier_unavailable. Of the request, which may be nil, it looks at the client
// certificate only, and only for a token that is bound to one.
//
// The Expiration that it returns is exp and Config.ClockSkew: until then the token
// is accepted. Extra holds all claims, exp as it was among them.
func (v *Verifier) Verify(ctx context.Context, token string, r *http.Request) (*otelmcp.TokenInfo, error) {
	header := headerOf(token)
	switch {
	case len(token) > maxToken:
		return nil, refuse(semconv.OTelMCPAuthReasonMalformedCredentials, "the token is too long", nil)
	case token == "" || strings.ContainsFunc(token, notToken68):
		return nil, refuse(semconv.OTelMCPAuthReasonMalformedCredentials, "the token holds characters that no token has", nil)
	case header != nil:
		return v.verifyJWT(ctx, token, header, r)
	case v.introspector == nil:
		return nil, refuse(semconv.OTelMCPAuthReasonMalformedCredentials, "the token is not a signed JWT, and no introspection is configured", nil)
	}
	return v.verifyOpaque(ctx, token, r)
}

func (v *Verifier) verifyJWT(ctx context.Context, token string, header map[string]any, r *http.Request) (*otelmcp.TokenInfo, error) {
	jws, err := jose.ParseSignedCompact(token, v.algorithms)
	if err != nil {
		// What the library says quotes the token: it is not wrapped.
		if _, ok := errors.AsType[*jose.ErrUnexpectedSignatureAlgorithm](err); ok {
			return nil, refuse(semconv.OTelMCPAuthReasonBadSignature, "the token is not signed with an algorithm that is accepted", nil)
		}
		return nil, refuse(semconv.OTelMCPAuthReasonMalformedCredentials, "the token is not a well-formed JWT", nil)
	}
	if _, ok := header["crit"]; ok {
		return nil, refuse(semconv.OTelMCPAuthReasonMalformedCredentials, "the token asks for an extension that is not known (crit)", nil)
	}
	payload, err := v.verifySignature(ctx, jws)
	if err != nil {
		return nil, err
	}

	var c claims
	if json.Unmarshal(payload, &c) != nil || c == nil {
		return nil, refuse(semconv.OTelMCPAuthReasonMalformedCredentials, "the claims are not one JSON object, each name in it once", nil)
	}
	info, err := v.judge(c, &otelmcp.TokenInfo{Mechanism: semconv.OTelMCPAuthMechanismBearerJWT})
	if err != nil {
		return nil, err
	}
	if !isAccessToken(header["typ"], c) {
		return nil, refuse(semconv.OTelMCPAuthReasonInvalidCredentials, "the token is not an access token", info)
	}
	if info.Expiration.IsZero() {
		return nil, refuse(semconv.OTelMCPAuthReasonMalformedCredentials, "the token does not say when it expires", info)
	}
	if v.introspector == nil || !v.introspector.forJWT {
		return v.proven(ctx, token, c, info, r)
	}
	s, err := v.introspector.standing(ctx, token)
	if err != nil {
		return nil, err
	}
	if !s.active {
		// It was issued, and its time is not over.
		return nil, refuse(semconv.OTelMCPAuthReasonRevoked, "the authorization server says that the token is not active", info)
	}
	if _, bound, _ := c.confirmation(); !bound {
		c = s.claims // which may say more of it
	}
	return v.proven(ctx, token, c, info, r)
}

func (v *Verifier) verifyOpaque(ctx context.Context, token string, r *http.Request) (*otelmcp.TokenInfo, error) {
	s, err := v.introspector.standing(ctx, token)
	if err != nil {
		return nil, err
	}
	info := &otelmcp.TokenInfo{Mechanism: semconv.OTelMCPAuthMechanismBearerOpaque}
	if s.claims == nil {
		return nil, refuse(v.judgeInactive(s.owner, info), "the authorization server says that the token is not active", info)
	}
	info, err = v.judge(s.claims, info)
	if err != nil {
		return nil, err
	}
	if !s.active {
		// It was active, and the time that it was issued for is not over.
		return nil, refuse(semconv.OTelMCPAuthReasonRevoked, "the token was active, and is no more", info)
	}
	return v.proven(ctx, token, s.claims, info, r)
}

// verifySignature returns the payload of jws if a key of the authorization server
// signed it.
func (v *Verifier) verifySignature(ctx context.Context, jws *jose.JSONWebSignature) ([]byte, error) {
	keys, err := v.keys.current(ctx)
	if err != nil {
		return nil, err
	}
	payload, fits := verifyWith(jws, keys)
	if iss := claimedIssuer(jws); payload == nil && iss != "" && iss != v.issuer {
		return nil, refuse(semconv.OTelMCPAuthReasonUnknownIssuer, "the token itself names another issuer", nil)
	}
	if payload == nil {
		// The key may be newer than the keys at hand, or have their id.
		if keys, err = v.keys.newer(ctx); err == nil {
			payload, fits = verifyWith(jws, keys)
		}
	}
	switch {
	case payload != nil:
		return payload, nil
	case fits:
		return nil, refuse(semconv.OTelMCPAuthReasonBadSignature, "the signature is wrong", nil)
	case err != nil:
		return nil, err
	}
	return nil, refuse(semconv.OTelMCPAuthReasonBadSignature, "the authorization server has no key that fits the token", nil)
}

// verifyWith returns the payload of jws if one of keys signed it, and whether there
// was one to try.
func verifyWith(jws *jose.JSONWebSignature, keys []key) (payload []byte, fits bool) {
	header := jws.Signatures[0].Protected
	for _, k := range keys {
		if !k.fits(header.KeyID, header.Algorithm) {
			continue
		}
		fits = true
		if payload, err := jws.Verify(k.public); err == nil && payload != nil {
			return payload, true
		}
	}
	return nil, fits
}

// notToken68 reports whether RFC 6750 section 2.1 has no such character in a token.
func notToken68(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._~+/=", c)
}

// headerOf returns the header of a token that has the form of a signed JWT: three
// parts, the first of them an object that names an algorithm, whichever. It returns
// nil for all others.
func headerOf(token string) map[string]any {
	if len(token) > maxToken || strings.Count(token, ".") != 2 {
		return nil
	}
	part, _, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return nil
	}
	var header map[string]any
	if json.Unmarshal(raw, &header) != nil {
		return nil
	}
	if _, ok := header["alg"]; !ok {
		return nil
	}
	return header
}

// claimedIssuer is what an unverified token says of its issuer. It serves to
// refuse a token, and never to accept one.
func claimedIssuer(jws *jose.JSONWebSignature) string {
	var c struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &c) != nil {
		return ""
	}
	return c.Issuer
}

// refuse is an error about the token. The message must be a constant: it is
// recorded, and no part of a token may be in it.
func refuse(reason, message string, info *otelmcp.TokenInfo) error {
	return &otelmcp.TokenError{Reason: reason, Message: message, Info: info}
}

// unavailable is an error about the verifier. Neither the message nor err may hold
// a part of a token.
func unavailable(message string, err error) error {
	return &otelmcp.TokenError{Reason: semconv.OTelMCPAuthReasonVerifierUnavailable, Message: message, Err: err}
}
