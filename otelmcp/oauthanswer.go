// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// What mcp-go's client makes of each answer of an OAuth flow. These are its rules
// (client/transport/oauth.go), in the order in which it applies them, on its own types; a
// test and a fuzz test hold them against mcp-go itself.

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/mark3labs/mcp-go/client/transport"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/members"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// issued are the secrets that an authorization server gives out.
type issued struct {
	Access       string `json:"access_token"`
	Refresh      string `json:"refresh_token"`
	ID           string `json:"id_token"`
	Client       string `json:"client_secret"`
	Registration string `json:"registration_access_token"`
	Device       string `json:"device_code"`
	Code         string `json:"code"`
}

func (i *issued) secrets() []string {
	return []string{i.Access, i.Refresh, i.ID, i.Client, i.Registration, i.Device, i.Code}
}

// tokenStep is the exchange of a code, or the refresh of a token.
type tokenStep struct {
	mechanism, clientID, issuer, resource string

	refused transport.OAuthError
	token   transport.Token
	issued
}

func (s *tokenStep) document(int) *members.Reader {
	return members.NewReader(members.Whole, &s.refused, &s.token, &s.issued)
}

func (s *tokenStep) decide(a *answer) *operation.Decision {
	d := grant(s.mechanism)
	d.ClientID, d.Issuer, d.Audience = s.clientID, s.issuer, nonEmpty(s.resource)
	switch {
	case a.err != nil:
		return broken(d, exchangeError(a.err))
	case a.status < 200 || a.status >= 300:
		return a.refusal(d, &s.refused)
	case a.failure != nil:
		return broken(d, exchangeError(a.failure))
	case a.refuses(&s.refused):
		return refuse(d, s.refused.ErrorCode)
	case a.decoded(1) != nil:
		return broken(d, semconv.ErrorTypeOther)
	}
	d.Granted = strings.Fields(s.token.Scope)
	return d
}

// registrationStep is the registration of a client.
type registrationStep struct {
	issuer string

	refused transport.OAuthError
	client  struct { // with what mcp-go does not take if it is of another type
		ID         string `json:"client_id"`
		Secret     string `json:"client_secret"`
		AuthMethod string `json:"token_endpoint_auth_method"`
	}
	granted struct {
		Scope string `json:"scope"`
	}
	issued
}

func registered(status int) bool { return status == http.StatusCreated || status == http.StatusOK }

func (s *registrationStep) document(status int) *members.Reader {
	return members.NewReader(members.Extent(registered(status)), &s.refused, &s.client, &s.granted, &s.issued)
}

func (s *registrationStep) decide(a *answer) *operation.Decision {
	d := grant(semconv.OTelMCPAuthMechanismOAuthRegistration)
	d.Issuer = s.issuer
	switch {
	case a.err != nil:
		return broken(d, exchangeError(a.err))
	case !registered(a.status):
		return a.refusal(d, &s.refused)
	case a.decoded(1) != nil:
		return a.illegible(d)
	}
	d.ClientID, d.Granted = s.client.ID, strings.Fields(s.granted.Scope)
	return d
}

// decoded reports why mcp-go could not decode an answer into the k-th target.
func (a *answer) decoded(k int) error {
	if a.doc == nil {
		return errNoResponse
	}
	if err := a.doc.End(a.failure); err != nil {
		return err
	}
	return a.doc.Err(k)
}

// refuses reports whether a server answers with an error of OAuth's, which refused is.
func (a *answer) refuses(refused *transport.OAuthError) bool {
	return a.doc != nil && a.doc.End(nil) == nil && a.doc.Err(0) == nil && refused.ErrorCode != ""
}

// refusal makes d that of a status that is none of success. mcp-go reads what it can of
// the body.
func (a *answer) refusal(d *operation.Decision, refused *transport.OAuthError) *operation.Decision {
	switch {
	case a.refuses(refused):
		return refuse(d, refused.ErrorCode)
	case a.status == http.StatusBadRequest, a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		refuse(d, "")
		d.Message = ""
		return d
	}
	return broken(d, strconv.Itoa(a.status))
}

// illegible makes d that of a document that mcp-go cannot read.
func (a *answer) illegible(d *operation.Decision) *operation.Decision {
	if a.failure != nil {
		return broken(d, exchangeError(a.failure))
	}
	return broken(d, semconv.ErrorTypeOther)
}

// resourceStep is a request for the metadata of the protected resource (RFC 9728), and
// the discovery that begins with it. It lasts until mcp-go has found an authorization
// server, or given up.
type resourceStep struct {
	flow  *oauthFlow
	at    *url.URL
	about *clientOp // nil where no message is sent

	doc transport.OAuthProtectedResource // under the lock of its answer's body

	// Under the lock of the flow, as long as the discovery is open.
	status int    // 0 until it is known
	next   string // the authorization server that mcp-go goes on to, as far as is read
	progress
}

// progress is how far a discovery got.
type progress struct {
	asked bool        // mcp-go went on to an authorization server
	taken bool        // and took its metadata,
	other bool        // which names another issuer
	found foundServer // that metadata
}

func (s *resourceStep) document(status int) *members.Reader {
	if status != http.StatusOK {
		return nil
	}
	return members.NewReader(members.First, &s.doc)
}

// server is the authorization server that mcp-go goes on to.
func (s *resourceStep) server() string {
	if len(s.doc.AuthorizationServers) == 0 {
		return ""
	}
	return s.doc.AuthorizationServers[0]
}

func (s *resourceStep) decide(a *answer) *operation.Decision {
	got := s.ends()
	d := grant(semconv.OTelMCPAuthMechanismOAuthDiscovery)
	switch {
	case a.err != nil:
		return broken(d, exchangeError(a.err))
	case a.status != http.StatusOK && !got.asked:
		return broken(d, strconv.Itoa(a.status)) // there must be some
	case a.status != http.StatusOK:
		s.flow.goesOn(got.found)
		return nil
	case a.decoded(0) != nil:
		return a.illegible(d)
	}
	d.Audience = nonEmpty(s.doc.Resource)
	switch {
	case got.asked && got.other && !s.flow.trusting:
		d.Issuer = got.found.issuer
		d.Decision, d.Reason = semconv.OTelMCPAuthDecisionDeny, semconv.OTelMCPAuthReasonIssuerMismatch
		return d
	case got.asked, len(s.doc.AuthorizationServers) == 0 && s.binds():
		s.flow.goesOn(got.found)
		return nil
	case len(s.doc.AuthorizationServers) > 0 && !isWeb(s.server()) && s.binds():
		return broken(d, semconv.ErrorTypeOther)
	}
	d.Decision, d.Reason = semconv.OTelMCPAuthDecisionDeny, semconv.OTelMCPAuthReasonAudienceMismatch
	return d
}

// binds reports whether mcp-go takes the metadata to be that of the resource that it
// addresses. That shows in what it does next wherever there is a next thing to do. Where
// there is none, the resource is told from where its metadata is.
func (s *resourceStep) binds() bool {
	base := url.URL{Scheme: s.at.Scheme, Host: s.at.Host}
	path, derived := strings.CutPrefix(s.at.EscapedPath(), "/.well-known/oauth-protected-resource")
	if s.doc.Resource == "" {
		return derived && !s.flow.named
	}
	resource, err := url.Parse(s.doc.Resource)
	if err != nil || !strings.EqualFold(resource.Scheme, base.Scheme) || !strings.EqualFold(resource.Host, base.Host) ||
		resource.RawQuery != "" || resource.Fragment != "" || resource.User != nil {
		return false
	}
	if !derived { // its origin is all that is known
		return true
	}
	is, want := strings.TrimSuffix(resource.EscapedPath(), "/"), strings.TrimSuffix(path, "/")
	return is == want || !s.flow.named && strings.HasPrefix(want, is+"/")
}

// serverStep is a request for the metadata of an authorization server (RFC 8414): at one
// of the places where a discovery looks for it, or at the place that the program has
// given.
type serverStep struct {
	flow *oauthFlow
	of   []*resourceStep // nil where the place is given
	doc  transport.AuthServerMetadata
}

func (s *serverStep) document(status int) *members.Reader {
	if status != http.StatusOK {
		return nil
	}
	return members.NewReader(members.First, &s.doc)
}

func (s *serverStep) decide(a *answer) *operation.Decision {
	taken := a.err == nil && a.status == http.StatusOK && a.decoded(0) == nil && acceptable(&s.doc)
	switch {
	case s.of != nil && taken:
		for _, of := range s.of {
			of.takes(&s.doc)
		}
		return nil
	case s.of != nil:
		return nil // mcp-go goes on to the next place
	case taken:
		s.flow.goesOn(rememberedOf(&s.doc))
		return nil
	}
	d := grant(semconv.OTelMCPAuthMechanismOAuthDiscovery)
	switch {
	case a.err != nil:
		return broken(d, exchangeError(a.err))
	case a.status != http.StatusOK:
		return broken(d, strconv.Itoa(a.status))
	}
	return a.illegible(d)
}

// takes is when mcp-go takes metadata. It asks no further then.
func (s *resourceStep) takes(m *transport.AuthServerMetadata) {
	s.flow.mu.Lock()
	defer s.flow.mu.Unlock()
	if s.taken {
		return
	}
	s.taken, s.found = true, rememberedOf(m)
	s.other = strings.TrimSuffix(m.Issuer, "/") != strings.TrimSuffix(s.next, "/")
}

// acceptable reports whether the URLs of metadata are those of web pages.
func acceptable(m *transport.AuthServerMetadata) bool {
	for _, at := range []string{
		m.Issuer, m.AuthorizationEndpoint, m.TokenEndpoint, m.JwksURI, m.RegistrationEndpoint, m.ServiceDocumentation,
		m.OpPolicyURI, m.OpTOSURI, m.RevocationEndpoint, m.IntrospectionEndpoint,
	} {
		if at == "" {
			continue
		}
		if u, err := url.Parse(at); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return false
		}
	}
	return true
}

func isWeb(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme != "" && u.Host != ""
}

func nonEmpty(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}
