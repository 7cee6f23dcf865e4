// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Decisions that a program makes, and how a decision finds what it is about: the
// message or the HTTP exchange in whose context it falls.

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// AuthDecision is an authentication or authorization decision, for
// [RecordAuthDecision]. The zero value of a field means that it is not known, or what
// the field says. None of them may hold a credential or a part of one; all text is
// scrubbed and capped all the same.
type AuthDecision struct {
	// Kind is semconv.OTelMCPAuthKindAuthentication or …Authorization. Empty
	// means authorization.
	Kind string
	// Decision is semconv.OTelMCPAuthDecisionAllow, …Deny, …Challenge or …Error.
	// Empty means error when Err is set, and else allow or deny, after Reason.
	Decision string
	// Reason is one of the semconv.OTelMCPAuthReason values. Empty means ok for
	// an allow, verifier_unavailable for an error, missing_credentials for a
	// challenge and policy for a deny.
	Reason string
	// Mechanism is one of the semconv.OTelMCPAuthMechanism values. Empty means
	// that of the authentication before it, or else custom.
	Mechanism string

	// UserID is the verified principal, and Roles are its roles. An
	// authentication that allows makes them the identity of the message. Empty
	// means those of the authentication before it.
	UserID string
	Roles  []string
	// Issuer, ClientID, Audience and ScopesGranted are facts of the credentials.
	Issuer        string
	ClientID      string
	Audience      []string
	ScopesGranted []string
	// ScopesRequired are the scopes that were asked for.
	ScopesRequired []string
	// Policy is the name of the policy or rule that decided.
	Policy string
	// Duration is how long the check took.
	Duration time.Duration
	// Err is what the check failed with, or why it refused. Its message is
	// recorded.
	Err error
}

// RecordAuthDecision records a decision that the program made itself: as an
// otelmcp.auth.decision event, as a count in otelmcp.auth.decisions, and as facts
// on the message that is handled in ctx. Any context that derives from a
// message's, one that a client sends included, or from an HTTP request's behind
// [Instrumentation.Handler], will do; in any other the event and the count are made
// with the global providers, as those of a server, or of a client where the mechanism
// is a step of an OAuth flow (oauth_code and its like). It never blocks, and a canceled
// context loses nothing.
//
// An authentication that lets an HTTP request in is recorded when it is known what
// for: once the message is parsed, before it is handled. If there is another decision
// or the end of the request before that (or, over HTTP+SSE, the 202), it is recorded
// then. The event's time is that of the decision.
//
// What a field says that is not one of its values reads _OTHER. One call is one
// decision: a response of 401 or 403 that follows it makes none of its own.
func RecordAuthDecision(ctx context.Context, d AuthDecision) {
	subjectOf(ctx).decide(ctx, d.decision())
}

func (d *AuthDecision) decision() *operation.Decision {
	out := &operation.Decision{
		Kind:      known(d.Kind, authKinds),
		Decision:  known(d.Decision, authDecisions),
		Reason:    known(d.Reason, authReasons),
		Mechanism: known(d.Mechanism, authMechanisms),
		UserID:    d.UserID, UserRoles: kept(d.Roles),
		Issuer: d.Issuer, ClientID: d.ClientID, Audience: kept(d.Audience),
		Required: kept(d.ScopesRequired), Granted: kept(d.ScopesGranted),
		Policy: d.Policy, Elapsed: d.Duration,
	}
	if out.Kind == "" {
		out.Kind = semconv.OTelMCPAuthKindAuthorization
	}
	if out.Decision == "" {
		switch {
		case d.Err != nil:
			out.Decision = semconv.OTelMCPAuthDecisionError
		case out.Reason == "" || out.Reason == semconv.OTelMCPAuthReasonOK:
			out.Decision = semconv.OTelMCPAuthDecisionAllow
		default:
			out.Decision = semconv.OTelMCPAuthDecisionDeny
		}
	}
	if out.Reason == "" {
		out.Reason = reasonOf(out.Decision)
	}
	if d.Err != nil {
		out.Message = errorText(d.Err)
		if out.Decision == semconv.OTelMCPAuthDecisionError {
			out.ErrorType = errorType(d.Err)
		}
	}
	return out
}

// kept is a copy of what is still read when the program may have changed it.
func kept(list []string) []string {
	return slices.Clone(list[:min(len(list), operation.MaxListed)])
}

// reasonOf is the reason of a decision that gives none.
func reasonOf(decision string) string {
	switch decision {
	case semconv.OTelMCPAuthDecisionAllow:
		return semconv.OTelMCPAuthReasonOK
	case semconv.OTelMCPAuthDecisionError:
		return semconv.OTelMCPAuthReasonVerifierUnavailable
	case semconv.OTelMCPAuthDecisionChallenge:
		return semconv.OTelMCPAuthReasonMissingCredentials
	}
	return semconv.OTelMCPAuthReasonPolicy
}

// errorText is what err says; an Error method may panic.
func errorText(err error) (text string) {
	defer func() { _ = recover() }()
	return err.Error()
}

// The values of the registry's enums, other than its own _OTHER.
var (
	authKinds = []string{
		semconv.OTelMCPAuthKindAuthentication,
		semconv.OTelMCPAuthKindAuthorization,
	}
	authDecisions = []string{
		semconv.OTelMCPAuthDecisionAllow,
		semconv.OTelMCPAuthDecisionDeny,
		semconv.OTelMCPAuthDecisionChallenge,
		semconv.OTelMCPAuthDecisionError,
	}
	authReasons = []string{
		semconv.OTelMCPAuthReasonOK,
		semconv.OTelMCPAuthReasonMissingCredentials,
		semconv.OTelMCPAuthReasonMalformedCredentials,
		semconv.OTelMCPAuthReasonInvalidCredentials,
		semconv.OTelMCPAuthReasonExpired,
		semconv.OTelMCPAuthReasonNotYetValid,
		semconv.OTelMCPAuthReasonBadSignature,
		semconv.OTelMCPAuthReasonUnknownIssuer,
		semconv.OTelMCPAuthReasonAudienceMismatch,
		semconv.OTelMCPAuthReasonInsufficientScope,
		semconv.OTelMCPAuthReasonRevoked,
		semconv.OTelMCPAuthReasonUnprovenPossession,
		semconv.OTelMCPAuthReasonPolicy,
		semconv.OTelMCPAuthReasonHidden,
		semconv.OTelMCPAuthReasonUnknownSession,
		semconv.OTelMCPAuthReasonSessionPrincipalMismatch,
		semconv.OTelMCPAuthReasonHostRejected,
		semconv.OTelMCPAuthReasonOriginRejected,
		semconv.OTelMCPAuthReasonStateMismatch,
		semconv.OTelMCPAuthReasonRefreshFailed,
		semconv.OTelMCPAuthReasonRegistrationFailed,
		semconv.OTelMCPAuthReasonIssuerMismatch,
		semconv.OTelMCPAuthReasonVerifierUnavailable,
	}
	authMechanisms = []string{
		semconv.OTelMCPAuthMechanismBearerJWT,
		semconv.OTelMCPAuthMechanismBearerOpaque,
		semconv.OTelMCPAuthMechanismMTLS,
		semconv.OTelMCPAuthMechanismAPIKey,
		semconv.OTelMCPAuthMechanismBasic,
		semconv.OTelMCPAuthMechanismOAuthCode,
		semconv.OTelMCPAuthMechanismOAuthRefresh,
		semconv.OTelMCPAuthMechanismOAuthRegistration,
		semconv.OTelMCPAuthMechanismOAuthDiscovery,
		semconv.OTelMCPAuthMechanismNone,
		semconv.OTelMCPAuthMechanismCustom,
	}
)

// known returns v if it is empty or one of values, and else Other.
func known(v string, values []string) string {
	if v == "" || slices.Contains(values, v) {
		return v
	}
	return operation.Other
}

// subject is what a decision is about.
type subject interface {
	// decide records d and keeps it.
	decide(ctx context.Context, d *operation.Decision)
	// decisions are what was decided about it so far.
	decisions() *operation.Decisions
}

// subjectKey finds the innermost subject that a context derives from.
type subjectKey struct{}

// subjectOf returns what is decided about in ctx.
func subjectOf(ctx context.Context) subject {
	if s, ok := ctx.Value(subjectKey{}).(subject); ok {
		return s
	}
	return standalone{base: globalBase(), made: new(operation.Decisions)}
}

// globalBase records what no instrumentation is there for.
var globalBase = sync.OnceValue(func() base { return newBase(newConfig(nil), false) })

// whoIn returns the authentication that is among made, or else the one around, which
// is ctx.
func whoIn(ctx context.Context, made *operation.Decisions) *operation.Decision {
	who := made.Who()
	if around, ok := ctx.Value(subjectKey{}).(subject); ok && who == nil {
		who = around.decisions().Who()
	}
	return who
}

// complete fills what d does not say from who, the authentication before it, if there
// was one. What is known of one principal says nothing about another.
func complete(d, who *operation.Decision) {
	if who != nil && d.Mechanism == "" {
		d.Mechanism = who.Mechanism
	}
	if who != nil && d.UserID == "" {
		d.UserID, d.UserRoles = who.UserID, who.UserRoles
	}
	if who != nil && d.UserID == who.UserID && d.ClientID == "" && d.Issuer == "" {
		d.ClientID, d.Issuer = who.ClientID, who.Issuer
	}
	if d.Mechanism == "" {
		d.Mechanism = semconv.OTelMCPAuthMechanismCustom
	}
}

// standalone is for decisions that fall where nothing of ours is around.
type standalone struct {
	base
	made      *operation.Decisions
	request   *http.Request // nil where there is none
	transport string        // of the request, where that is known
}

func (s standalone) decisions() *operation.Decisions { return s.made }

func (s standalone) decide(ctx context.Context, d *operation.Decision) {
	complete(d, whoIn(ctx, s.made))
	s.made.Add(d)
	var about []attribute.KeyValue
	role := operation.RoleServer
	if r := s.request; r != nil {
		ctx = s.inRequest(ctx, r)
		about = peerFacts(nil, r, s.cfg.peers.Resolve(r))
		if s.transport != "" {
			about = append(about, semconv.OTelMCPTransportKey.String(s.transport))
		}
	} else {
		role = sideOf(d.Mechanism)
	}
	s.rec.Decide(ctx, role, d, about)
}

// sideOf is who decides by a mechanism where nothing around tells: the steps of an
// OAuth flow are a client's.
func sideOf(mechanism string) operation.Role {
	switch mechanism {
	case semconv.OTelMCPAuthMechanismOAuthCode, semconv.OTelMCPAuthMechanismOAuthRefresh,
		semconv.OTelMCPAuthMechanismOAuthRegistration, semconv.OTelMCPAuthMechanismOAuthDiscovery:
		return operation.RoleClient
	}
	return operation.RoleServer
}

func (m *message) decisions() *operation.Decisions { return &m.Decisions }

func (m *message) decide(ctx context.Context, d *operation.Decision) {
	complete(d, whoIn(m.Context, &m.Decisions))
	x, ok := m.edge.(*exchange)
	ok = ok && m == &x.m
	if ok {
		x.tell(m)
	}
	m.Decide(ctx, d)
	if ok {
		x.tellAround(d)
	}
}
