// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// The OAuth flow of mcp-go's client, as a program sees it: what observes it, and what
// observes the one step of it that makes no request.

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/mark3labs/mcp-go/client/transport"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/scrub"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// InstrumentOAuth returns cfg with its HTTP client observed, so that each decision of
// the OAuth flow is recorded: a client registration, the exchange of a code, each
// refresh of a token, with the reason that mcp-go does not tell, and metadata that
// could not be had, names another resource or is another issuer's. Give it to the
// transport, or to a constructor of mcp-go's:
//
//	t, err := transport.NewStreamableHTTP(url,
//		transport.WithHTTPOAuth(otelmcp.InstrumentOAuth(cfg)),
//		transport.WithHTTPBasicClient(otelmcp.InstrumentHTTPClient(nil)))
//	c := client.NewClient(otelmcp.WrapTransport(t))
//
// A refresh is about the message that needed it. Everything else is about what the
// program does: it asks for authorization outside of any message. A decision says what
// mcp-go made of an answer. A token store that fails later changes nothing in it.
//
// Tokens, codes, verifiers and secrets are in no decision, and of an error that the
// authorization server answers with only its code is, if it is a registered one. Of what
// the flow sends and gets as a secret, keyed hashes are kept, at most 16,384 of them for
// each config, the newest of each kind: what a server says that has 15 letters or digits
// of such a secret in a row in it, or a whole one of 6 or more, reads [REDACTED],
// percent-encoded or in base64 as well. A secret of more than 2 KiB is known by its first
// and its last KiB.
//
// A state that does not match makes no request. [ProcessAuthorizationResponse] records
// that.
//
// Requests, answers and errors are those of cfg as it was, with the exception that
// [InstrumentHTTPClient] names; cfg.TokenStore is left as it is. The HTTP client that
// mcp-go makes where cfg has none is made here. Its CheckRedirect asks the one that it
// had, or does as net/http does; it must not be replaced. A cfg that is instrumented
// already is returned as it is.
func InstrumentOAuth(cfg transport.OAuthConfig, opts ...Option) transport.OAuthConfig {
	c := cfg.HTTPClient
	if c == nil {
		c = &http.Client{Timeout: 30 * time.Second} // as mcp-go has it
	}
	next := c.Transport
	if done, ok := next.(*tripper); ok {
		if done.oauth != nil {
			return cfg
		}
		next = done.next
	}
	t := &tripper{base: newBase(newConfig(opts), true), next: next, oauth: &oauthFlow{
		direct:   cfg.AuthServerMetadataURL != "",
		named:    cfg.ProtectedResourceMetadataURL != "",
		trusting: cfg.SkipIssuerMetadataValidation,
	}}
	t.known.sent.Add(cfg.ClientSecret)
	through := withTripper(c, t)
	if through != c {
		through.CheckRedirect = t.checkRedirect(c.CheckRedirect)
		cfg.HTTPClient = through
	}
	return cfg
}

// ProcessAuthorizationResponse is h.ProcessAuthorizationResponse, and records what it
// decides: that the state is not the one that was expected, which makes no request that
// [InstrumentOAuth] could see. Where h was made of a config of InstrumentOAuth's the
// exchange of the code is recorded there, and not again.
func ProcessAuthorizationResponse(ctx context.Context, h *transport.OAuthHandler, code, state, codeVerifier string, opts ...Option) error {
	o := newBase(newConfig(opts), true).alone(ctx)
	o.secrets = &[3]string{code, state, codeVerifier}
	expected := h.GetExpectedState()
	start := time.Now()
	err := h.ProcessAuthorizationResponse(o, code, state, codeVerifier)
	o.processed(h, err, expected == "", time.Since(start))
	return err
}

// processed records what came of a code if nobody saw it.
func (o *clientOp) processed(h *transport.OAuthHandler, err error, unexpected bool, elapsed time.Duration) {
	defer o.Recorder().Guard()
	if o.Decisions.Last() != nil {
		return
	}
	d := grant(semconv.OTelMCPAuthMechanismOAuthCode)
	d.ClientID, d.Elapsed = h.GetClientID(), max(elapsed, 1)
	refused, answered := errors.AsType[transport.OAuthError](err)
	switch {
	case err == nil:
	case unexpected || errors.Is(err, transport.ErrInvalidState):
		d.Decision, d.Reason = semconv.OTelMCPAuthDecisionDeny, semconv.OTelMCPAuthReasonStateMismatch
	case answered:
		refuse(d, refused.ErrorCode)
	default:
		broken(d, exchangeError(err))
	}
	if notClients.In(d.ClientID) {
		d.ClientID = scrub.Redacted
	}
	var known credentials
	for _, secret := range append(o.secrets[:], h.GetClientSecret()) {
		known.sent.Add(secret)
	}
	withhold(d, &known)
	o.decide(o, d)
}
