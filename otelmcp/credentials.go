// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// What shows of credentials from the outside: which kind a request came with, by the
// names of headers, by the scheme and by whether the token has the shape of a JWT; and
// what the challenge of a response says. No token, key or password is kept.

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// keyHeaders are what API keys are usually sent in.
var keyHeaders = [...]string{"X-Api-Key", "Api-Key", "Apikey", "X-Auth-Token", "X-Access-Token"}

func isKeyHeader(name string) bool {
	return slices.ContainsFunc(keyHeaders[:], func(key string) bool { return strings.EqualFold(name, key) })
}

// presented is the otelmcp.auth.mechanism of what a request came with.
func presented(r *http.Request) string {
	if values := r.Header.Values("Authorization"); len(values) > 0 {
		return schemeOf(values[0])
	}
	for _, name := range keyHeaders {
		if len(r.Header.Values(name)) > 0 {
			return semconv.OTelMCPAuthMechanismAPIKey
		}
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return semconv.OTelMCPAuthMechanismMTLS
	}
	return semconv.OTelMCPAuthMechanismNone
}

// schemeOf is the otelmcp.auth.mechanism of an Authorization header.
func schemeOf(value string) string {
	scheme, rest, _ := strings.Cut(value, " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		return shapeOf(strings.Trim(rest, " "))
	case strings.EqualFold(scheme, "Basic"):
		return semconv.OTelMCPAuthMechanismBasic
	case strings.EqualFold(scheme, "ApiKey"):
		return semconv.OTelMCPAuthMechanismAPIKey
	}
	return semconv.OTelMCPAuthMechanismCustom
}

// shapeOf tells a token that may be a JWT by its three parts.
func shapeOf(token string) string {
	if strings.HasPrefix(token, "ey") && strings.Count(token, ".") == 2 {
		return semconv.OTelMCPAuthMechanismBearerJWT
	}
	return semconv.OTelMCPAuthMechanismBearerOpaque
}

// challenge is what a WWW-Authenticate header says.
type challenge struct {
	code    string // RFC 6750's error
	expired bool
	scopes  []string
}

// parseChallenge reads the parameters of the first challenge that has an error,
// or else of the first one.
func parseChallenge(values []string) (c challenge) {
	for _, v := range values {
		params := challengeParams(v)
		if c.code != "" || params["error"] == "" && len(c.scopes) > 0 {
			continue
		}
		c.code = params["error"]
		c.expired = strings.Contains(strings.ToLower(params["error_description"]), "expired")
		c.scopes = strings.Fields(params["scope"])
	}
	return c
}

// refusal is what a response of 401 or 403 to credentials of that mechanism decides.
func refusal(status int, mechanism string, challenges []string) *operation.Decision {
	d := &operation.Decision{
		Kind:      semconv.OTelMCPAuthKindAuthentication,
		Decision:  semconv.OTelMCPAuthDecisionDeny,
		Mechanism: mechanism,
		Status:    status,
	}
	c := parseChallenge(challenges)
	switch {
	case c.code == "insufficient_scope":
		d.Kind = semconv.OTelMCPAuthKindAuthorization
		d.Reason, d.Required = semconv.OTelMCPAuthReasonInsufficientScope, c.scopes
	case c.expired:
		d.Reason = semconv.OTelMCPAuthReasonExpired
	case c.code == "invalid_request":
		d.Reason = semconv.OTelMCPAuthReasonMalformedCredentials
	case status == http.StatusUnauthorized && mechanism == semconv.OTelMCPAuthMechanismNone:
		d.Decision, d.Reason = semconv.OTelMCPAuthDecisionChallenge, semconv.OTelMCPAuthReasonMissingCredentials
		d.Required = c.scopes
	case status == http.StatusUnauthorized || c.code == "invalid_token":
		d.Reason = semconv.OTelMCPAuthReasonInvalidCredentials
	default:
		d.Kind, d.Reason = semconv.OTelMCPAuthKindAuthorization, semconv.OTelMCPAuthReasonPolicy
	}
	return d
}

// maxChallenge caps how much of a header is looked at, in bytes.
const maxChallenge = 4 << 10

// challengeParams reads name=value and name="value" pairs (RFC 9110 section 11).
// What else is in s, the scheme among it, is passed over.
func challengeParams(s string) map[string]string {
	s = s[:min(len(s), maxChallenge)]
	params := map[string]string{}
	for s != "" {
		eq := strings.IndexByte(s, '=')
		if eq < 0 {
			break
		}
		name := s[strings.LastIndexAny(s[:eq], " ,\t")+1 : eq]
		s = s[eq+1:]
		var value strings.Builder
		if rest, quoted := strings.CutPrefix(s, `"`); quoted {
			k := 0
			for ; k < len(rest) && rest[k] != '"'; k++ {
				if rest[k] == '\\' && k+1 < len(rest) {
					k++
				}
				value.WriteByte(rest[k])
			}
			s = rest[min(k+1, len(rest)):]
		} else {
			end := strings.IndexAny(s, " ,\t")
			if end < 0 {
				end = len(s)
			}
			value.WriteString(s[:end])
			s = s[end:]
		}
		if _, twice := params[strings.ToLower(name)]; !twice {
			params[strings.ToLower(name)] = value.String()
		}
	}
	return params
}

// errorType is error.type of an error that is not ours.
func errorType(err error) string { return fmt.Sprintf("%T", err) }
