// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// The decisions of the OAuth flow: what is said of a step that went well, of one that
// was refused, and of one that failed.

import (
	"context"
	"errors"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// grant is the decision of an exchange that went well.
func grant(mechanism string) *operation.Decision {
	return &operation.Decision{
		Kind:      semconv.OTelMCPAuthKindAuthentication,
		Decision:  semconv.OTelMCPAuthDecisionAllow,
		Reason:    semconv.OTelMCPAuthReasonOK,
		Mechanism: mechanism,
	}
}

// broken makes d that of an exchange that failed, so that nothing was decided.
func broken(d *operation.Decision, errorType string) *operation.Decision {
	d.Decision, d.Reason = semconv.OTelMCPAuthDecisionError, reasonIn(d.Mechanism, semconv.OTelMCPAuthReasonVerifierUnavailable)
	d.ErrorType = errorType
	return d
}

// refuse makes d that of an authorization server that answered with an error.
func refuse(d *operation.Decision, code string) *operation.Decision {
	reason, registered := oauthErrors[code]
	if !registered {
		code, reason = operation.Other, semconv.OTelMCPAuthReasonInvalidCredentials
	}
	d.Message = code
	if reason == semconv.OTelMCPAuthReasonVerifierUnavailable {
		return broken(d, code)
	}
	d.Decision, d.Reason = semconv.OTelMCPAuthDecisionDeny, reasonIn(d.Mechanism, reason)
	return d
}

// reasonIn is the reason of a decision that did not allow: of a registration and of a
// refresh, that it failed.
func reasonIn(mechanism, reason string) string {
	switch mechanism {
	case semconv.OTelMCPAuthMechanismOAuthRegistration:
		return semconv.OTelMCPAuthReasonRegistrationFailed
	case semconv.OTelMCPAuthMechanismOAuthRefresh:
		return semconv.OTelMCPAuthReasonRefreshFailed
	}
	return reason
}

// oauthErrors are the registered error codes of RFC 6749, 7591 and 8707, and what they
// mean. What else a server says may be any text, a token among it.
var oauthErrors = map[string]string{
	"invalid_request":               semconv.OTelMCPAuthReasonMalformedCredentials,
	"invalid_client":                semconv.OTelMCPAuthReasonInvalidCredentials,
	"invalid_grant":                 semconv.OTelMCPAuthReasonInvalidCredentials,
	"unauthorized_client":           semconv.OTelMCPAuthReasonPolicy,
	"access_denied":                 semconv.OTelMCPAuthReasonPolicy,
	"unsupported_grant_type":        semconv.OTelMCPAuthReasonPolicy,
	"unsupported_response_type":     semconv.OTelMCPAuthReasonPolicy,
	"invalid_scope":                 semconv.OTelMCPAuthReasonInsufficientScope,
	"invalid_target":                semconv.OTelMCPAuthReasonAudienceMismatch,
	"invalid_redirect_uri":          semconv.OTelMCPAuthReasonPolicy,
	"invalid_client_metadata":       semconv.OTelMCPAuthReasonPolicy,
	"invalid_software_statement":    semconv.OTelMCPAuthReasonPolicy,
	"unapproved_software_statement": semconv.OTelMCPAuthReasonPolicy,
	"server_error":                  semconv.OTelMCPAuthReasonVerifierUnavailable,
	"temporarily_unavailable":       semconv.OTelMCPAuthReasonVerifierUnavailable,
}

// exchangeError is the error.type of an exchange that failed.
func exchangeError(err error) string {
	switch {
	case timedOut(err):
		return semconv.ErrorTypeTimeout
	case errors.Is(err, context.Canceled):
		return semconv.ErrorTypeCancelled
	}
	return transportError(err)
}
