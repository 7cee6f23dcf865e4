// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file is what verified claims mean: who, for whom, when, and what for. They
// come from a JWT whose signature is good, or from the introspection endpoint.

package verifier

import (
	"slices"
	"strings"
	"time"

	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// claims are the members of a claims set, or of an introspection response.
type claims map[string]any

// maxTime is the last second of the year 9999; beyond it time.Time does not marshal.
const maxTime = 253402300799

// text returns a claim that must be a string; "" when there is none.
func (c claims) text(name string) (value string, ok bool) {
	v, present := c[name]
	if !present {
		return "", true
	}
	value, ok = v.(string)
	return value, ok
}

// time returns a NumericDate (RFC 7519 section 2); the zero time when there is none.
func (c claims) time(name string) (at time.Time, ok bool) {
	v, present := c[name]
	if !present {
		return time.Time{}, true
	}
	seconds, ok := v.(float64)
	if !ok || seconds < 0 || seconds > maxTime {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0), true
}

// list returns a claim that is a string or an array of strings.
func list(v any) (values []string, ok bool) {
	switch v := v.(type) {
	case nil:
		return nil, true
	case string:
		return []string{v}, true
	case []any:
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, false
			}
			values = append(values, s)
		}
		return values, true
	}
	return nil, false
}

// at returns the value of the claim named path or, if there is none, at the path of
// names with dots between them. Names may hold dots themselves: a namespaced claim
// is a URL.
func (c claims) at(path string) any {
	if v, ok := c[path]; ok {
		return v
	}
	var v any = map[string]any(c)
	for name := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

// scopes are those of scope (RFC 8693 section 4.2), or else of scp, as others have it.
func (c claims) scopes() []string {
	for _, name := range []string{"scope", "scp"} {
		values, ok := list(c[name])
		if !ok {
			continue
		}
		var scopes []string
		for _, v := range values {
			scopes = append(scopes, strings.Fields(v)...)
		}
		if len(scopes) > 0 {
			return scopes
		}
	}
	return nil
}

// judge fills info with the facts in c, and refuses what is not from the issuer, not
// for this audience, or not within its time. Without iss, c is of whom was asked.
func (v *Verifier) judge(c claims, info *otelmcp.TokenInfo) (*otelmcp.TokenInfo, error) {
	issuer, ok1 := c.text("iss")
	subject, ok2 := c.text("sub")
	audience, ok3 := list(c["aud"])
	expires, ok4 := c.time("exp")
	notBefore, ok5 := c.time("nbf")
	issued, ok6 := c.time("iat")
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 {
		return nil, refuse(semconv.OTelMCPAuthReasonMalformedCredentials, "a registered claim is not of the type that it must have", nil)
	}
	if _, present := c["iss"]; !present && info.Mechanism == semconv.OTelMCPAuthMechanismBearerOpaque {
		issuer = v.issuer
	}
	if issuer != v.issuer {
		// Another issuer's names mean nothing here.
		info.Issuer = issuer
		return nil, refuse(semconv.OTelMCPAuthReasonUnknownIssuer, "the token was issued by somebody else", info)
	}

	info.UserID, info.Issuer, info.Audience, info.Scopes, info.Extra = subject, issuer, audience, c.scopes(), c
	info.Roles, _ = list(c.at(v.roles))
	info.ClientID, _ = c.text("client_id")
	if info.ClientID == "" {
		info.ClientID, _ = c.text("azp")
	}
	if _, present := c["exp"]; present {
		info.Expiration = expires.Add(v.skew)
	}

	now := v.now()
	switch {
	case !slices.ContainsFunc(audience, func(a string) bool { return slices.Contains(v.audience, a) }):
		return nil, refuse(semconv.OTelMCPAuthReasonAudienceMismatch, "the token is not meant for this server", info)
	case !info.Expiration.IsZero() && !now.Before(info.Expiration):
		return nil, refuse(semconv.OTelMCPAuthReasonExpired, "the token has expired", info)
	case now.Add(v.skew).Before(notBefore):
		return nil, refuse(semconv.OTelMCPAuthReasonNotYetValid, "the token is not valid yet", info)
	case now.Add(v.skew).Before(issued):
		return nil, refuse(semconv.OTelMCPAuthReasonNotYetValid, "the token was issued in the future", info)
	}
	return info, nil
}

// judgeInactive says why an opaque token is refused that the authorization server calls
// inactive, and fills info with whose it was if the server named that. RFC 7662 section 2.2
// does not tell what is expired or revoked from what was made up; what has an owner was not.
func (v *Verifier) judgeInactive(c claims, info *otelmcp.TokenInfo) (reason string) {
	subject, ok1 := c.text("sub")
	issuer, ok2 := c.text("iss")
	expires, ok3 := c.time("exp")
	if _, present := c["iss"]; !present {
		issuer = v.issuer
	}
	if subject == "" || issuer != v.issuer || !ok1 || !ok2 || !ok3 {
		return semconv.OTelMCPAuthReasonInvalidCredentials
	}
	info.UserID, info.Issuer = subject, issuer
	info.ClientID, _ = c.text("client_id")
	if info.ClientID == "" {
		info.ClientID, _ = c.text("azp")
	}
	if _, present := c["exp"]; present && !v.now().Before(expires.Add(v.skew)) {
		return semconv.OTelMCPAuthReasonExpired
	}
	return semconv.OTelMCPAuthReasonRevoked
}

// isAccessToken reports whether a JWT can be an access token. One whose header says
// so is (RFC 9068 section 2.1). Others say JWT or nothing, as ID tokens and more do,
// and are told by what only those have.
func isAccessToken(typ any, c claims) bool {
	name, ok := typ.(string)
	if typ != nil && !ok {
		return false
	}
	switch strings.ToLower(name) {
	case "at+jwt", "application/at+jwt":
		return true
	case "", "jwt", "application/jwt":
	default:
		return false
	}
	// Hashes of what came with an ID token (OpenID Connect Core section 3.3.2.11),
	// the events of a logout or security event token (RFC 8417).
	for _, mark := range []string{"at_hash", "c_hash", "s_hash", "events"} {
		if _, ok := c[mark]; ok {
			return false
		}
	}
	// What Keycloak and Cognito name the kind of their tokens.
	if kind, _ := c.text("typ"); slices.Contains([]string{"ID", "Refresh", "Offline", "Logout"}, kind) {
		return false
	}
	if kind, _ := c.text("token_use"); kind == "id" {
		return false
	}
	// An ID token has the nonce of the login, and grants nothing. Some access tokens
	// have the nonce as well.
	_, nonce := c["nonce"]
	_, client := c["client_id"]
	return !nonce || client || len(c.scopes()) > 0
}
