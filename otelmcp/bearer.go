// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// RequireBearer: a resource server's side of the MCP authorization
// specification, which records each of its decisions.

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/scrub"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// TokenInfo is what a [TokenVerifier] found out about a token. Handlers find it
// with [TokenInfoFromContext]. It must not be changed once it was returned.
type TokenInfo struct {
	// UserID is the principal (the claim sub); it becomes user.id.
	UserID string
	// Scopes are those that the token grants.
	Scopes []string
	// Expiration is when the token stops being valid: from then on [RequireBearer]
	// refuses it, with no leeway of its own. The zero time says that the verifier has
	// seen to it.
	Expiration time.Time
	// Issuer (iss), Audience (aud) and ClientID (client_id, azp) are recorded.
	Issuer   string
	Audience []string
	ClientID string
	// Roles of the principal; they become user.roles.
	Roles []string
	// Mechanism is semconv.OTelMCPAuthMechanismBearerJWT or …BearerOpaque. Empty
	// means what the token looks like.
	Mechanism string
	// Extra is for the program. It is not recorded.
	Extra map[string]any
}

// TokenVerifier verifies a bearer token and says what it is worth. It must be safe
// for concurrent use, and should give up when ctx ends. An error that is
// [ErrInvalidToken] is about the token, and every other one about the verifier:
// the request is then answered with 503. A *[TokenError] says more. What comes with
// an error beside it is not used.
type TokenVerifier func(ctx context.Context, token string, r *http.Request) (*TokenInfo, error)

// ErrInvalidToken is what a [TokenVerifier] returns for a token that is not
// valid, or wraps.
var ErrInvalidToken = errors.New("invalid token")

// TokenError is why a token was not accepted. It is [ErrInvalidToken], unless its
// Reason is semconv.OTelMCPAuthReasonVerifierUnavailable.
type TokenError struct {
	// Reason is one of the semconv.OTelMCPAuthReason values.
	Reason string
	// Message is recorded, unlike what Err says. It must hold nothing of the token:
	// one that holds 8 bytes of it is not recorded.
	Message string
	// Info is what was verified of the token all the same, such as whose it was
	// before it expired: its UserID is the user.id of the decision, and of a message
	// that is denied for a token that was genuine (expired, revoked, not yet valid, for
	// another server, bound to a key). Nothing may be in it that only the token itself
	// says, unsigned. Nil when nothing was verified.
	Info *TokenInfo
	// Err is the cause, if any.
	Err error
}

// Error returns the reason and the message.
func (e *TokenError) Error() string {
	if e == nil {
		return "token refused"
	}
	if e.Message == "" {
		return "token refused: " + e.Reason
	}
	return "token refused: " + e.Reason + ": " + e.Message
}

// Unwrap returns Err.
func (e *TokenError) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// Is reports whether target is [ErrInvalidToken] and the token is at fault.
func (e *TokenError) Is(target error) bool {
	return target == ErrInvalidToken && e != nil && e.Reason != semconv.OTelMCPAuthReasonVerifierUnavailable
}

// BearerOption configures [RequireBearer]. An [Option] is one, too.
type BearerOption interface{ applyBearer(*bearer) }

type bearerOption func(*bearer)

func (f bearerOption) applyBearer(b *bearer) { f(b) }

// WithScopes adds scopes that every request needs, all of them (RFC 6750). A token that
// does not grant them is answered with 403 and insufficient_scope, and every challenge
// names them. What a single tool needs is checked by its handler:
// [TokenInfoFromContext], [RecordAuthDecision].
func WithScopes(scopes ...string) BearerOption {
	scopes = slices.Clone(scopes)
	return bearerOption(func(b *bearer) { b.scopes = append(b.scopes, scopes...) })
}

// WithResource sets the URI that this server is known by (RFC 8707). A token that
// does not name it in its audience was meant for somebody else and is refused, and
// challenges point to its metadata (RFC 9728), unless
// [WithResourceMetadataURL] says where else that is.
func WithResource(uri string) BearerOption {
	return bearerOption(func(b *bearer) { b.resource = uri })
}

// WithResourceMetadataURL sets what challenges name as resource_metadata. mcp-go
// serves such a document: server.NewProtectedResourceMetadataHandler.
func WithResourceMetadataURL(u string) BearerOption {
	return bearerOption(func(b *bearer) { b.metadata = u })
}

// RequireBearer returns middleware that lets only requests with a valid bearer
// token through, as the MCP authorization specification asks of a server: it
// answers others with the challenges of RFC 6750 and RFC 9728, takes a token from
// the Authorization header only, and checks its audience (RFC 8707), its expiry
// and its scopes. It puts what verify found out into the context for the handlers
// and for the telemetry, where it is the verified identity, and records each
// decision with its reason, its facts and its duration.
//
// Put it inside of [Instrumentation.Handler], and all that it decides also stands
// on the request that was decided:
//
//	inst.Handler(otelmcp.RequireBearer(verify, otelmcp.WithResource(uri))(h))
//
// There it also keeps a session to the principal whose token started it, also where
// nobody listens to the telemetry. Around the Handler, or without one, its decisions
// go to the providers in opts, or to the global ones.
//
// A request without a bearer token, or with one that is not valid, is answered with 401.
// Two Authorization headers, or one that is not well-formed, are 400 (RFC 6750 section
// 3.1). Too few scopes, and a session of somebody else, are 403. A verifier that fails
// lets nobody through (503), nor does one that panics (500). To say what was refused, up
// to 64 KiB of the request's body are read before the answer. The token, or a part of it,
// is in no signal.
func RequireBearer(verify TokenVerifier, opts ...BearerOption) func(http.Handler) http.Handler {
	b := &bearer{verify: verify}
	for _, o := range opts {
		if o != nil {
			o.applyBearer(b)
		}
	}
	if b.metadata == "" {
		b.metadata = metadataURL(b.resource)
	}
	if len(b.options) > 0 {
		own := newBase(newConfig(b.options), false)
		b.own = &own
	}
	return func(next http.Handler) http.Handler { return &bearerHandler{b, next} }
}

// bearerHandler is a type of its own so that what is behind it can be told.
type bearerHandler struct {
	b    *bearer
	next http.Handler
}

func (h *bearerHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.b.serve(w, r, h.next) }

type bearer struct {
	verify   TokenVerifier
	scopes   []string
	resource string
	metadata string
	options  []Option
	own      *base // who records where no Handler is around; nil is the global one
}

// metadataURL is where RFC 9728 has the metadata of a resource; "" when that does
// not follow from it.
func metadataURL(resource string) string {
	u, err := url.Parse(resource)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host + server.ProtectedResourceMetadataPath(resource)
}

type tokenInfoKey struct{}

// TokenInfoFromContext returns what [RequireBearer] verified of the token that
// ctx's request came with, or nil.
func TokenInfoFromContext(ctx context.Context) *TokenInfo {
	info, _ := ctx.Value(tokenInfoKey{}).(*TokenInfo)
	return info
}

// verdict is a decision and the answer to the request that it refuses.
type verdict struct {
	operation.Decision
	code        string // RFC 6750's error, if there is one
	description string
}

func (b *bearer) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	about, here := r.Context().Value(subjectKey{}).(subject)
	if !here {
		about = b.around(r, next)
	}
	v, info := b.judge(r)
	ctx := r.Context()
	if info != nil && !v.Refused() {
		ctx = context.WithValue(ctx, tokenInfoKey{}, info)
		b.bind(r, about, v)
	}
	if v.Refused() {
		if x, ok := about.(*exchange); ok {
			x.refuse(ctx, &v.Decision)
		} else {
			about.decide(ctx, &v.Decision)
		}
		b.answer(w, v)
		return
	}
	about.decide(ctx, &v.Decision)
	if !here {
		ctx = context.WithValue(ctx, subjectKey{}, about)
	}
	next.ServeHTTP(w, r.WithContext(ctx))
}

// around is what is decided about where no edge is around.
func (b *bearer) around(r *http.Request, next http.Handler) subject {
	s := standalone{made: new(operation.Decisions), request: r}
	s.transport, _ = transportBehind(next, r)
	if b.own != nil {
		s.base = *b.own
	} else {
		s.base = globalBase()
	}
	return s
}

// judge decides about a request.
func (b *bearer) judge(r *http.Request) (v *verdict, info *TokenInfo) {
	v = &verdict{Decision: operation.Decision{
		Kind:     semconv.OTelMCPAuthKindAuthentication,
		Decision: semconv.OTelMCPAuthDecisionAllow,
		Reason:   semconv.OTelMCPAuthReasonOK,
		Required: b.scopes,
	}}
	token, bad := bearerToken(r.Header)
	v.Mechanism = presented(r)
	switch {
	case bad != "":
		v.refuse(http.StatusBadRequest, semconv.OTelMCPAuthReasonMalformedCredentials, "invalid_request", bad)
		return v, nil
	case token == "":
		v.refuse(http.StatusUnauthorized, semconv.OTelMCPAuthReasonMissingCredentials, "", "")
		v.Decision.Decision = semconv.OTelMCPAuthDecisionChallenge
		return v, nil
	}
	start := time.Now()
	c := b.check(r, token)
	v.Elapsed = max(time.Since(start), 1)
	if c.err != nil {
		v.failed(&c, token)
		return v, nil
	}
	info = c.info
	v.know(info)
	now := time.Now()
	switch {
	case !info.Expiration.IsZero() && !now.Before(info.Expiration):
		v.invalid(semconv.OTelMCPAuthReasonExpired)
	case b.resource != "" && !slices.ContainsFunc(info.Audience, b.isResource):
		v.invalid(semconv.OTelMCPAuthReasonAudienceMismatch)
	case !containsAll(info.Scopes, b.scopes):
		v.insufficient()
		v.Authenticated = true
	}
	return v, info
}

// checked is what became of a check. One without an error has the info.
type checked struct {
	info     *TokenInfo
	err      error
	why      TokenError // as far as err says
	invalid  bool       // the token is at fault
	panicked bool
}

// check calls the verifier, and asks its error what it is. That they panic must
// let nobody through.
func (b *bearer) check(r *http.Request, token string) (c checked) {
	c.panicked = true
	defer func() {
		if c.panicked {
			_ = recover()
			c = checked{err: errors.New("the verifier panicked"), panicked: true}
		}
	}()
	c.info, c.err = b.verify(r.Context(), token, r)
	if c.err == nil && c.info == nil {
		c.err = errors.New("the verifier returned nothing")
	}
	if why, ok := errors.AsType[*TokenError](c.err); ok && why != nil {
		c.why = *why
	}
	c.invalid = c.why.Reason != semconv.OTelMCPAuthReasonVerifierUnavailable && errors.Is(c.err, ErrInvalidToken)
	c.panicked = false
	return c
}

func (v *verdict) failed(c *checked, token string) {
	v.know(c.why.Info)
	if text := scrub.Text(c.why.Message, operation.MaxMessage); !reveals(text, token) {
		v.Message = text
	}
	switch {
	case c.invalid && c.why.Reason == semconv.OTelMCPAuthReasonInsufficientScope:
		v.insufficient()
	case c.invalid && c.why.Reason != "":
		v.invalid(known(c.why.Reason, authReasons))
	case c.invalid:
		v.invalid(semconv.OTelMCPAuthReasonInvalidCredentials)
	default:
		v.Decision.Decision = semconv.OTelMCPAuthDecisionError
		v.Reason = semconv.OTelMCPAuthReasonVerifierUnavailable
		v.ErrorType = errorType(c.err)
		v.Status = http.StatusServiceUnavailable
		if c.panicked {
			v.ErrorType = semconv.ErrorTypePanic
			v.Status = http.StatusInternalServerError
		}
	}
}

// know takes what was verified of the token.
func (v *verdict) know(info *TokenInfo) {
	if info == nil {
		return
	}
	if info.Mechanism != "" {
		v.Mechanism = known(info.Mechanism, authMechanisms)
	}
	v.UserID, v.UserRoles, v.ClientID = info.UserID, kept(info.Roles), info.ClientID
	v.Issuer, v.Audience, v.Granted = info.Issuer, kept(info.Audience), kept(info.Scopes)
}

func (v *verdict) refuse(status int, reason, code, description string) {
	v.Decision.Decision = semconv.OTelMCPAuthDecisionDeny
	v.Reason, v.Status, v.code, v.description = reason, status, code, description
}

// invalid refuses a token. What the client is told does not depend on the token's
// text.
func (v *verdict) invalid(reason string) {
	description := "the token is not valid"
	switch reason {
	case semconv.OTelMCPAuthReasonExpired:
		description = "the token has expired"
	case semconv.OTelMCPAuthReasonNotYetValid:
		description = "the token is not valid yet"
	case semconv.OTelMCPAuthReasonAudienceMismatch:
		description = "the token is not meant for this server"
	case semconv.OTelMCPAuthReasonRevoked:
		description = "the token was revoked"
	case semconv.OTelMCPAuthReasonUnprovenPossession:
		description = "the token is bound to a key, and the request does not prove that its sender holds it"
	}
	v.refuse(http.StatusUnauthorized, reason, "invalid_token", description)
}

// insufficient refuses a token that is valid, and does not grant enough.
func (v *verdict) insufficient() {
	v.Kind = semconv.OTelMCPAuthKindAuthorization
	v.refuse(http.StatusForbidden, semconv.OTelMCPAuthReasonInsufficientScope, "insufficient_scope",
		"the token does not grant all of the scopes that are required")
}

// bind keeps a session to the principal whose token started it. What names a
// session depends on the transport, which is not known here: whatever r could name
// must be the caller's.
func (*bearer) bind(r *http.Request, about subject, v *verdict) {
	i := serverOf(about)
	if i == nil {
		return
	}
	for _, id := range sessionsNamed(r) {
		known := i.sessions.Get(id)
		if known == nil || known.Owner == "" || known.OwnedBy(v.UserID, v.Issuer) {
			continue
		}
		v.Kind, v.Authenticated = semconv.OTelMCPAuthKindAuthorization, true
		v.refuse(http.StatusForbidden, semconv.OTelMCPAuthReasonSessionPrincipalMismatch, "", "the session belongs to somebody else")
		v.SessionID = i.sessionID(id)
		v.Facts = []attribute.KeyValue{semconv.OTelMCPSessionIntegrityKey.String(semconv.OTelMCPSessionIntegrityPrincipalMismatch)}
		return
	}
}

// answer answers with a challenge (RFC 6750 section 3, RFC 9728 section 5.1). The
// body is plain text: JSON would be taken for a message by clients of MCP.
func (b *bearer) answer(w http.ResponseWriter, v *verdict) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	text := v.description
	switch {
	case v.Status >= http.StatusInternalServerError:
		h.Set("Retry-After", "5")
		text = "the token could not be verified; try again later"
	case v.Status == http.StatusUnauthorized || v.code != "":
		h.Add("WWW-Authenticate", b.challenge(v))
		if text == "" {
			text = "a bearer token is required"
		}
	}
	http.Error(w, text, v.Status)
}

func (b *bearer) challenge(v *verdict) string {
	var params []string
	add := func(name, value string) {
		if value != "" {
			params = append(params, name+`="`+quotable.Replace(value)+`"`)
		}
	}
	add("error", v.code)
	if v.code != "" {
		add("error_description", v.description)
	}
	add("scope", strings.Join(b.scopes, " "))
	add("resource_metadata", b.metadata)
	if len(params) == 0 {
		return "Bearer"
	}
	return "Bearer " + strings.Join(params, ", ")
}

// quotable makes a text fit for a quoted-string (RFC 9110 section 5.6.4).
var quotable = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\r", "", "\n", "")

func (b *bearer) isResource(audience string) bool {
	return strings.TrimSuffix(audience, "/") == strings.TrimSuffix(b.resource, "/")
}

func containsAll(have, want []string) bool {
	for _, w := range want {
		if !slices.Contains(have, w) {
			return false
		}
	}
	return true
}

// bearerToken returns the token in h, "" when there is none, or what is wrong with
// it. Two Authorization headers are wrong: what the next one in line would make of
// them is not known.
func bearerToken(h http.Header) (token, bad string) {
	values := h.Values("Authorization")
	switch len(values) {
	case 0:
		return "", ""
	case 1:
	default:
		return "", "more than one Authorization header"
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", ""
	}
	token = strings.Trim(token, " ")
	if !isToken68(token) {
		return "", "the Authorization header is not well-formed"
	}
	return token, ""
}

// isToken68 reports whether s is what RFC 6750 section 2.1 calls b64token.
func isToken68(s string) bool {
	body := strings.TrimRight(s, "=")
	if body == "" {
		return false
	}
	return !strings.ContainsFunc(body, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._~+/", c)
	})
}

// reveals reports whether text may hold a part of the token, as it is or encoded.
func reveals(text, token string) bool {
	const part, most = 8, 64 << 10
	if len(token) > most {
		return true // which is no token that anybody issues, and too long to look for
	}
	if len(token) < part {
		return strings.Contains(text, token)
	}
	raw := []byte(token)
	for _, form := range []string{
		token, base64.StdEncoding.EncodeToString(raw), base64.URLEncoding.EncodeToString(raw), hex.EncodeToString(raw),
	} {
		for k := 0; k+part <= len(text); k++ {
			if strings.Contains(form, text[k:k+part]) {
				return true
			}
		}
	}
	return false
}
