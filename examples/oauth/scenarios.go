// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// What happens in the demo, one scenario after the other: what the client does,
// what it must hear from the server, and which decisions must be recorded. Each
// scenario is a trace.

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"

	"github.com/otelmcp/otelmcp-go/examples/oauth/internal/authserver"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// world is what the scenarios take place in.
type world struct {
	authority  *authserver.Server
	resource   string // the MCP server's URL
	alice, bob *user
	genuine    string // a token of alice's that is as it should be
}

// decision is what a record must say. An empty field may say anything; by is the side
// that recorded it, the server's when it is empty.
type decision struct{ by, what, who, kind, decision, reason, mechanism, policy string }

type scenario struct {
	name, story string
	do          func(ctx context.Context, w *world) error
	// refusals are the decisions against the client, and allowed are some of
	// those for it. There must be exactly one record of each, and no other
	// against it.
	refusals, allowed []decision
}

var scenarios = []scenario{
	{
		name:  "allow",
		story: "alice signs in, and searches",
		do: func(ctx context.Context, w *world) (err error) {
			if err := w.alice.signIn(ctx, scopeRead); err != nil {
				return err
			}
			if w.genuine, err = w.alice.token(ctx); err != nil {
				return err
			}
			tools, err := w.alice.connect(ctx)
			if err != nil {
				return err
			}
			if slices.Contains(tools, toolPurge) || !slices.Contains(tools, toolSearch) {
				return fmt.Errorf("alice sees the tools %q", tools)
			}
			_, err = search(ctx, w.alice)
			return errors.Join(err, w.alice.heardOnly(http.StatusOK))
		},
		allowed: []decision{
			{
				what: "tools/call " + toolSearch, who: "alice", kind: semconv.OTelMCPAuthKindAuthentication,
				mechanism: semconv.OTelMCPAuthMechanismBearerJWT,
			},
			{
				what: "tools/call " + toolSearch, who: "alice", kind: semconv.OTelMCPAuthKindAuthorization,
				mechanism: semconv.OTelMCPAuthMechanismBearerJWT, policy: policyRoles,
			},
			{by: semconv.OTelMCPRoleClient, mechanism: semconv.OTelMCPAuthMechanismOAuthRegistration},
			{by: semconv.OTelMCPRoleClient, mechanism: semconv.OTelMCPAuthMechanismOAuthCode},
		},
	},
	{
		name:  "missing token",
		story: "somebody comes without a token, and is told where to get one",
		do: func(ctx context.Context, w *world) error {
			stranger := newUser("", w.resource)
			c, err := stranger.newClient()
			if err != nil {
				return err
			}
			err = hello(ctx, c)
			if client.GetResourceMetadataURL(err) == "" {
				return fmt.Errorf("the challenge names no metadata: %w", err)
			}
			return errors.Join(stranger.heardOnly(http.StatusUnauthorized, `scope="`+scopeRead+`"`), c.Close())
		},
		refusals: []decision{{
			what: "initialize", decision: semconv.OTelMCPAuthDecisionChallenge,
			reason: semconv.OTelMCPAuthReasonMissingCredentials, mechanism: semconv.OTelMCPAuthMechanismNone,
		}},
	},
	{
		name:  "expired token",
		story: "alice comes with a token of yesterday",
		do: func(ctx context.Context, w *world) error {
			token, err := w.authority.Issue(authserver.Special{
				ClientID: w.alice.clientID, User: "alice", Scopes: []string{scopeRead}, Resource: w.resource,
				Lifetime: -24 * time.Hour,
			})
			if err != nil {
				return err
			}
			return w.refused(ctx, token)
		},
		refusals: []decision{deny(semconv.OTelMCPAuthReasonExpired)},
	},
	{
		name:  "wrong audience",
		story: "alice passes on a token that is meant for another server",
		do: func(ctx context.Context, w *world) error {
			token, err := w.authority.Issue(authserver.Special{
				ClientID: w.alice.clientID, User: "alice", Scopes: []string{scopeRead},
				Resource: "https://payments.example/mcp", Lifetime: time.Minute,
			})
			if err != nil {
				return err
			}
			return w.refused(ctx, token)
		},
		refusals: []decision{deny(semconv.OTelMCPAuthReasonAudienceMismatch)},
	},
	{
		name:  "insufficient scope",
		story: "alice's token grants too little; she steps up to what the challenge says",
		do: func(ctx context.Context, w *world) error {
			if err := w.alice.signIn(ctx, scopeOther); err != nil {
				return err
			}
			if _, err := search(ctx, w.alice); err == nil {
				return errLetIn
			}
			if err := w.alice.heardOnly(http.StatusForbidden, `error="insufficient_scope"`); err != nil {
				return err
			}
			_, challenge := w.alice.heard.last()
			if err := w.alice.signIn(ctx, strings.Fields(parameter(challenge, "scope"))...); err != nil {
				return err
			}
			_, err := search(ctx, w.alice)
			return errors.Join(err, w.alice.heardOnly(http.StatusOK))
		},
		refusals: []decision{{
			what: "tools/call " + toolSearch, who: "alice", kind: semconv.OTelMCPAuthKindAuthorization,
			decision: semconv.OTelMCPAuthDecisionDeny, reason: semconv.OTelMCPAuthReasonInsufficientScope,
			mechanism: semconv.OTelMCPAuthMechanismBearerJWT,
		}},
		allowed: []decision{{what: "tools/call " + toolSearch, who: "alice", kind: semconv.OTelMCPAuthKindAuthentication}},
	},
	{
		name:  "insufficient scope, one tool",
		story: "a tool needs more than the others; with a token for it, it works",
		do: func(ctx context.Context, w *world) error {
			note := map[string]any{"text": "buy milk"}
			// The tool refuses, not the transport: the status says nothing.
			if _, err := call(ctx, w.alice.mcp, toolAdd, note); err == nil || !strings.Contains(err.Error(), scopeWrite) {
				return fmt.Errorf("the tool did not say which scope it needs: %w", err)
			}
			if err := w.alice.signIn(ctx, scopeRead, scopeWrite); err != nil {
				return err
			}
			_, err := call(ctx, w.alice.mcp, toolAdd, note)
			return errors.Join(err, w.alice.heardOnly(http.StatusOK))
		},
		refusals: []decision{{
			what: "tools/call " + toolAdd, who: "alice", kind: semconv.OTelMCPAuthKindAuthorization,
			decision: semconv.OTelMCPAuthDecisionDeny, reason: semconv.OTelMCPAuthReasonInsufficientScope, policy: policyScopes,
		}},
		allowed: []decision{{
			what: "tools/call " + toolAdd, who: "alice", mechanism: semconv.OTelMCPAuthMechanismBearerOpaque, policy: policyScopes,
		}},
	},
	{
		name:  "revoked token",
		story: "alice's client gives its token back; somebody else still has it",
		do: func(ctx context.Context, w *world) error {
			token, err := w.alice.token(ctx)
			if err != nil {
				return err
			}
			if err := w.alice.revoke(ctx, w.authority.Issuer+"/revoke", token); err != nil {
				return err
			}
			return w.refused(ctx, token)
		},
		refusals: []decision{{
			what: "tools/call " + toolSearch, who: "alice", kind: semconv.OTelMCPAuthKindAuthentication,
			decision: semconv.OTelMCPAuthDecisionDeny, reason: semconv.OTelMCPAuthReasonRevoked,
			mechanism: semconv.OTelMCPAuthMechanismBearerOpaque,
		}},
	},
	{
		name:  "hidden tool",
		story: "alice calls a tool that is there for admins only",
		do: func(ctx context.Context, w *world) error {
			if _, err := call(ctx, w.alice.mcp, toolPurge, nil); err == nil || !strings.Contains(err.Error(), "not found") {
				return fmt.Errorf("the tool is not hidden: %w", err)
			}
			return w.alice.heardOnly(http.StatusOK)
		},
		refusals: []decision{{
			what: "tools/call " + toolPurge, who: "alice", kind: semconv.OTelMCPAuthKindAuthorization,
			decision: semconv.OTelMCPAuthDecisionDeny, reason: semconv.OTelMCPAuthReasonHidden, policy: policyRoles,
		}},
	},
	{
		name:  "hijacked session",
		story: "bob, with a token of his own, uses the session of alice",
		do: func(ctx context.Context, w *world) error {
			if err := w.bob.signIn(ctx, scopeRead); err != nil {
				return err
			}
			c, err := w.bob.newClient(
				transport.WithHTTPOAuth(w.bob.oauth(nil)), transport.WithSession(w.alice.mcp.GetSessionId()))
			if err != nil {
				return err
			}
			// It is not closed: that would end the session, which is not bob's.
			w.bob.mcp = c
			if err := c.Start(ctx); err != nil {
				return err
			}
			if _, err := search(ctx, w.bob); err == nil {
				return errLetIn
			}
			return w.bob.heardOnly(http.StatusForbidden)
		},
		refusals: []decision{{
			what: "tools/call " + toolSearch, who: "bob", kind: semconv.OTelMCPAuthKindAuthorization,
			decision: semconv.OTelMCPAuthDecisionDeny, reason: semconv.OTelMCPAuthReasonSessionPrincipalMismatch,
			mechanism: semconv.OTelMCPAuthMechanismBearerJWT,
		}},
	},
	{
		name:  "tampered token",
		story: "somebody writes another scope into alice's token",
		do: func(ctx context.Context, w *world) error {
			return w.refused(ctx, tamper(w.genuine))
		},
		refusals: []decision{deny(semconv.OTelMCPAuthReasonBadSignature)},
	},
	{
		name:  "unsigned token",
		story: `somebody makes a token with the algorithm "none"`,
		do: func(ctx context.Context, w *world) error {
			return w.refused(ctx, unsign(w.genuine))
		},
		refusals: []decision{deny(semconv.OTelMCPAuthReasonBadSignature)},
	},
}

var errLetIn = errors.New("the server should have refused, and did not")

// deny is the refusal of a JWT that came with a search.
func deny(reason string) decision {
	return decision{
		what: "tools/call " + toolSearch, kind: semconv.OTelMCPAuthKindAuthentication,
		decision: semconv.OTelMCPAuthDecisionDeny, reason: reason, mechanism: semconv.OTelMCPAuthMechanismBearerJWT,
	}
}

// play runs a scenario as a trace, and returns its id.
func (s *scenario) play(ctx context.Context, w *world) (traceID string, err error) {
	ctx, span := otel.Tracer("examples/oauth").Start(ctx, s.name)
	defer span.End()
	if err = s.do(ctx, w); err != nil {
		span.SetStatus(codes.Error, "not as it should be")
	}
	return span.SpanContext().TraceID().String(), err
}

// refused sends a token that must be refused as invalid with a call of alice's.
// Afterwards she has the one that is as it should be.
func (w *world) refused(ctx context.Context, token string) error {
	if err := w.alice.use(ctx, token); err != nil {
		return err
	}
	_, err := search(ctx, w.alice)
	if err == nil {
		return errLetIn
	}
	if !client.IsOAuthAuthorizationRequiredError(err) {
		return fmt.Errorf("the client does not know that it has to sign in: %w", err)
	}
	return errors.Join(
		w.alice.heardOnly(http.StatusUnauthorized, `error="invalid_token"`, "resource_metadata="),
		w.alice.use(ctx, w.genuine),
	)
}

// heardOnly checks the last answer of the MCP server.
func (u *user) heardOnly(status int, challenge ...string) error {
	got, said := u.heard.last()
	if got != status {
		return fmt.Errorf("status %d instead of %d", got, status)
	}
	for _, part := range challenge {
		if !strings.Contains(said, part) {
			return fmt.Errorf("the challenge %q lacks %q", said, part)
		}
	}
	return nil
}

func search(ctx context.Context, u *user) (string, error) {
	return call(ctx, u.mcp, toolSearch, map[string]any{"word": "plants"})
}

// revoke gives a token back (RFC 7009).
func (u *user) revoke(ctx context.Context, endpoint, token string) error {
	body := url.Values{"token": {token}, "client_id": {u.clientID}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := u.web.Do(req)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		err = fmt.Errorf("the token was not revoked: %s", res.Status)
	}
	return errors.Join(err, res.Body.Close())
}

// tamper changes what a JWT says, and leaves its signature.
func tamper(token string) string {
	parts := strings.Split(token, ".")
	said, _ := base64.RawURLEncoding.DecodeString(parts[1])
	said = []byte(strings.Replace(string(said), scopeRead, scopeRead+" "+scopeWrite, 1))
	parts[1] = base64.RawURLEncoding.EncodeToString(said)
	return strings.Join(parts, ".")
}

// unsign says what a JWT says, without a signature.
func unsign(token string) string {
	parts := strings.Split(token, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + parts[1] + "."
}
