// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// The OAuth flow of mcp-go's client, as it shows in the HTTP exchanges that it is made
// of. Of a form only what is no secret is looked at, and a body is looked at when
// mcp-go has read it: it gets what the server sent, when the server sent it.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mark3labs/mcp-go/client/transport"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
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
// program does: it asks for authorization outside of any message. Tokens, codes,
// verifiers and secrets are not kept and in no signal, and of an error that the
// authorization server answers with only its code is, if it is a registered one.
//
// A state that does not match makes no request. [ProcessAuthorizationResponse] records
// that.
//
// Requests, answers and errors are those of cfg as it was, with the exception that
// [InstrumentHTTPClient] names; cfg.TokenStore is left as it is. The HTTP client that
// mcp-go makes where cfg has none is made here. A cfg that is instrumented already is
// returned as it is.
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
	through := withTripper(c, &tripper{base: newBase(newConfig(opts), true), next: next, oauth: &oauthFlow{
		direct:   cfg.AuthServerMetadataURL != "",
		named:    cfg.ProtectedResourceMetadataURL != "",
		trusting: cfg.SkipIssuerMetadataValidation,
	}})
	if through != c {
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
	o.decide(o, d)
}

// oauthFlow is what is known of a flow from one exchange to the next. mcp-go makes them
// one after the other.
type oauthFlow struct {
	direct   bool // the authorization server's metadata is at a given URL, and not checked
	named    bool // the resource's metadata is at a given URL, and not where the resource has it
	trusting bool // any issuer will do

	// asked counts the requests for metadata of authorization servers, and found is the
	// last that mcp-go took.
	asked atomic.Int64
	found atomic.Pointer[transport.AuthServerMetadata]
}

// watcher reads the answer to a request of the flow. It returns what was decided, or
// nil. It is called when mcp-go is through with the answer.
type watcher func(a *answer) *operation.Decision

// answer is what mcp-go got.
type answer struct {
	*trip
	body []byte // what it has read
	cut  bool   // and more than that
}

func (a *answer) ok() bool { return a.res.StatusCode == http.StatusOK }

// maxOAuthAnswer caps how much of an answer is looked at, in bytes: what mcp-go reads of
// metadata.
const maxOAuthAnswer = 1 << 20

// watcher tells what a request is by how mcp-go makes it. It returns nil for one that is
// none of the flow. A redirected request is what the first one was.
func (f *oauthFlow) watcher(req *http.Request) watcher {
	for req.Response != nil && req.Response.Request != nil {
		req = req.Response.Request
	}
	if req.Header.Get("Accept") != "application/json" {
		return nil
	}
	switch req.Method {
	case http.MethodGet:
		switch {
		case f.direct:
			return f.givenServer
		case strings.Contains(req.URL.Path, "/.well-known/oauth-authorization-server"), strings.Contains(req.URL.Path, "/.well-known/openid-configuration"):
			f.asked.Add(1)
			return f.server
		}
		return f.resource(f.asked.Load(), f.found.Load())
	case http.MethodPost:
		switch req.Header.Get("Content-Type") {
		case "application/json":
			return f.registration
		case "application/x-www-form-urlencoded":
			return f.token(req)
		}
	}
	return nil
}

// watch lets w have the answer as soon as it is known.
func (t *tripper) watch(x *trip, w watcher) {
	if x.err == nil && x.res == nil {
		return // which no RoundTripper may do
	}
	if x.err == nil && x.res.StatusCode >= 300 && x.res.StatusCode < 400 && x.res.Header.Get("Location") != "" {
		return // http.Client follows it
	}
	o := t.about(x.req.Context())
	settle := func(a *answer, end time.Time) {
		defer t.rec.Guard()
		if d := w(a); d != nil {
			x.decided(o, d, end)
		}
	}
	if x.err != nil || x.res.Body == nil {
		settle(&answer{trip: x}, time.Now())
		return
	}
	x.res.Body = &oauthBody{ReadCloser: x.res.Body, settle: settle, trip: *x, last: time.Now()}
}

// oauthBody is the body of an answer. What is read of it goes through unchanged.
type oauthBody struct {
	io.ReadCloser
	settle func(*answer, time.Time)
	trip   trip

	mu   sync.Mutex
	head []byte
	cut  bool
	last time.Time // of reading
	over bool
}

func (b *oauthBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.keep(p, n, err)
	return n, err
}

func (b *oauthBody) keep(p []byte, n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over || n < 0 || n > len(p) {
		return
	}
	more := p[:min(n, maxOAuthAnswer-len(b.head))]
	b.head, b.cut = append(b.head, more...), b.cut || len(more) < n
	b.last = time.Now()
	if err != nil && !errors.Is(err, io.EOF) {
		b.trip.err = err
	}
}

// Close is where mcp-go is through with the answer.
func (b *oauthBody) Close() error {
	err := b.ReadCloser.Close()
	if a, last := b.end(); a != nil {
		b.settle(a, last)
	}
	return err
}

func (b *oauthBody) end() (*answer, time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return nil, b.last
	}
	a := &answer{trip: &b.trip, body: b.head, cut: b.cut}
	b.over, b.head = true, nil // which may hold a token
	return a, b.last
}

// discovery is a decision about metadata.
func discovery() *operation.Decision { return grant(semconv.OTelMCPAuthMechanismOAuthDiscovery) }

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
func refuse(d *operation.Decision, code string) {
	reason, registered := oauthErrors[code]
	if !registered {
		code, reason = operation.Other, semconv.OTelMCPAuthReasonInvalidCredentials
	}
	d.Message = code
	if reason == semconv.OTelMCPAuthReasonVerifierUnavailable {
		broken(d, code)
		return
	}
	d.Decision, d.Reason = semconv.OTelMCPAuthDecisionDeny, reasonIn(d.Mechanism, reason)
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

// token is for a request to the token endpoint. What it is, and for whom, stands in the
// form.
func (f *oauthFlow) token(req *http.Request) watcher {
	form := formOf(req)
	mechanism := map[string]string{
		"authorization_code": semconv.OTelMCPAuthMechanismOAuthCode,
		"refresh_token":      semconv.OTelMCPAuthMechanismOAuthRefresh,
	}[form["grant_type"]]
	if mechanism == "" {
		return nil
	}
	clientID := form["client_id"]
	if clientID == "" {
		clientID = basicClient(req)
	}
	issuer := f.issuerAt(req.URL)
	return func(a *answer) *operation.Decision {
		d := grant(mechanism)
		d.ClientID, d.Issuer = clientID, issuer
		if resource := form["resource"]; resource != "" {
			d.Audience = []string{resource}
		}
		var token transport.Token
		err := json.Unmarshal(a.body, &token)
		if a.granted(d, err, token.AccessToken) {
			d.Granted = strings.Fields(token.Scope)
		}
		return d
	}
}

// registration is for a request to register a client.
func (f *oauthFlow) registration(a *answer) *operation.Decision {
	d := grant(semconv.OTelMCPAuthMechanismOAuthRegistration)
	d.Issuer = f.issuerAt(a.req.URL)
	var client struct { // with what mcp-go cannot do without
		ClientID   string `json:"client_id"`
		Secret     string `json:"client_secret"`
		AuthMethod string `json:"token_endpoint_auth_method"`
		Scope      any    `json:"scope"`
	}
	err := decodeFirst(a.body, &client)
	if a.granted(d, err, client.ClientID) {
		d.ClientID = client.ClientID
		scope, _ := client.Scope.(string)
		d.Granted = strings.Fields(scope)
	}
	return d
}

// granted reports whether an authorization server gave what it was asked for, and fills
// d where it did not: unread is why that cannot be read, and got is what there is if it
// was given.
func (a *answer) granted(d *operation.Decision, unread error, got string) bool {
	var refused transport.OAuthError
	var status int
	if a.res != nil {
		status = a.res.StatusCode
	}
	switch {
	case status == 0:
		broken(d, exchangeError(a.err))
	case json.Unmarshal(a.body, &refused) == nil && refused.ErrorCode != "":
		refuse(d, refused.ErrorCode)
	case status == http.StatusBadRequest, status == http.StatusUnauthorized, status == http.StatusForbidden:
		refuse(d, "")
		d.Message = ""
	case status < 200 || status >= 300:
		broken(d, strconv.Itoa(status))
	case a.err != nil:
		broken(d, exchangeError(a.err))
	case a.cut: // mcp-go reads on, and takes it if it is legible
	case unread != nil || got == "":
		broken(d, semconv.ErrorTypeOther)
	default:
		return true
	}
	return false
}

// issuerAt is whose endpoint u is, as far as that is known.
func (f *oauthFlow) issuerAt(u *url.URL) string {
	m := f.found.Load()
	if m == nil {
		return ""
	}
	if at := u.String(); at == m.TokenEndpoint || at == m.RegistrationEndpoint {
		return m.Issuer
	}
	return ""
}

// maxForm caps how much of a form is looked at, in bytes.
const maxForm = 64 << 10

// formOf returns those values of a form that are no secrets.
func formOf(req *http.Request) map[string]string {
	if req.GetBody == nil {
		return nil
	}
	body, err := req.GetBody() // a copy: the request's own is not touched
	if err != nil {
		return nil
	}
	defer body.Close()
	raw, _ := io.ReadAll(io.LimitReader(body, maxForm))
	form := map[string]string{}
	for pair := range bytes.SplitSeq(raw, []byte("&")) {
		name, value, _ := bytes.Cut(pair, []byte("="))
		switch string(name) {
		case "grant_type", "client_id", "resource":
			if text, err := url.QueryUnescape(string(value)); err == nil {
				form[string(name)] = text
			}
		}
	}
	return form
}

// basicClient is the client that a request names in the place of a user.
func basicClient(req *http.Request) string {
	user, _, _ := req.BasicAuth()
	id, err := url.QueryUnescape(user)
	if err != nil {
		return ""
	}
	return id
}

// resource is for the metadata of the protected resource (RFC 9728). mcp-go decides what
// to make of it before it is through with it: it goes on to an authorization server, or
// it does not.
func (f *oauthFlow) resource(asked int64, before *transport.AuthServerMetadata) watcher {
	return func(a *answer) *operation.Decision {
		d := discovery()
		wentOn := f.asked.Load() != asked
		if a.res == nil {
			return broken(d, exchangeError(a.err))
		}
		if !a.ok() {
			if wentOn {
				return nil // there is none: the server is asked for its own
			}
			return broken(d, strconv.Itoa(a.res.StatusCode))
		}
		var doc transport.OAuthProtectedResource
		if err := decodeFirst(a.body, &doc); err != nil {
			if wentOn || a.cut {
				return nil
			}
			if a.err != nil {
				return broken(d, exchangeError(a.err))
			}
			return broken(d, semconv.ErrorTypeOther)
		}
		d.Audience = nonEmpty(doc.Resource)
		switch found := f.found.Load(); {
		case wentOn && len(doc.AuthorizationServers) > 0:
			issuer := doc.AuthorizationServers[0]
			if f.trusting || found == before || found == nil || strings.TrimSuffix(found.Issuer, "/") == strings.TrimSuffix(issuer, "/") {
				return nil
			}
			d.Issuer = found.Issuer
			d.Decision, d.Reason = semconv.OTelMCPAuthDecisionDeny, semconv.OTelMCPAuthReasonIssuerMismatch
			return d
		case len(doc.AuthorizationServers) > 0 && !isWeb(doc.AuthorizationServers[0]):
			return broken(d, semconv.ErrorTypeOther)
		case len(doc.AuthorizationServers) == 0 && (f.named || doc.Resource == "" || sameOrigin(doc.Resource, a.req.URL)):
			return nil // with no server to go on to, this is as much as shows
		}
		d.Decision, d.Reason = semconv.OTelMCPAuthDecisionDeny, semconv.OTelMCPAuthReasonAudienceMismatch
		return d
	}
}

// server is for the metadata of an authorization server (RFC 8414) at one of the places
// where it may be.
func (f *oauthFlow) server(a *answer) *operation.Decision {
	f.take(a)
	return nil
}

// givenServer is for the metadata of an authorization server at the place where it must
// be.
func (f *oauthFlow) givenServer(a *answer) *operation.Decision {
	d := discovery()
	switch {
	case a.res == nil:
		return broken(d, exchangeError(a.err))
	case !a.ok():
		return broken(d, strconv.Itoa(a.res.StatusCode))
	case f.take(a):
		return nil
	case a.err != nil:
		return broken(d, exchangeError(a.err))
	}
	return broken(d, semconv.ErrorTypeOther)
}

// take keeps metadata that mcp-go takes.
func (f *oauthFlow) take(a *answer) bool {
	if a.res == nil || !a.ok() {
		return false
	}
	var m transport.AuthServerMetadata
	if decodeFirst(a.body, &m) != nil {
		return false
	}
	for _, at := range []string{
		m.Issuer, m.AuthorizationEndpoint, m.TokenEndpoint, m.JwksURI, m.RegistrationEndpoint, m.ServiceDocumentation,
		m.OpPolicyURI, m.OpTOSURI, m.RevocationEndpoint, m.IntrospectionEndpoint,
	} {
		if at == "" {
			continue
		}
		if u, err := url.Parse(at); err != nil || u.Host == "" || !slices.Contains([]string{"http", "https"}, strings.ToLower(u.Scheme)) {
			return false
		}
	}
	f.found.Store(&m)
	return true
}

// decodeFirst reads the JSON value that raw begins with.
func decodeFirst(raw []byte, into any) error {
	return json.NewDecoder(bytes.NewReader(raw)).Decode(into)
}

func isWeb(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme != "" && u.Host != ""
}

func sameOrigin(text string, u *url.URL) bool {
	other, err := url.Parse(text)
	return err == nil && strings.EqualFold(other.Scheme, u.Scheme) && strings.EqualFold(other.Host, u.Host)
}

func nonEmpty(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}
