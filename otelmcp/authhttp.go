// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Decisions about HTTP exchanges that nobody tells us: what a status means, and
// whose certificate a connection came with. What somebody did tell is not told
// again.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"weak"

	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

func (x *exchange) decisions() *operation.Decisions { return &x.m.Decisions }

// decide records who was let in when it is known what for: with the message, once
// that is parsed and before it is handled, or at the end. All else is recorded now,
// after what was decided before. Of the transport HTTP+SSE it is not known whether
// dispatch will be in the exchange's context: there the 202 is the end.
func (x *exchange) decide(ctx context.Context, d *operation.Decision) {
	x.keep(d)
	if !d.Refused() && d.Kind == semconv.OTelMCPAuthKindAuthentication && x.later(ctx, d) {
		return
	}
	x.tell(ctx)
	x.m.Tell(x.i.inRequest(ctx, x.r), d)
}

// refuse is decide for RequireBearer, which answers the request right away: the
// decision is recorded with the answer, when it is known what was asked for.
func (x *exchange) refuse(ctx context.Context, d *operation.Decision) {
	x.keep(d)
	x.mu.Lock()
	late := x.returned // http.TimeoutHandler, say, has answered in the meantime
	x.mu.Unlock()
	if !late {
		x.readRefused()
	}
	x.mu.Lock()
	x.untold = append(x.untold, untold{d, ctx})
	over := x.over
	x.mu.Unlock()
	if over {
		x.tell(ctx)
	}
}

// later leaves d to be told, if a message may still come.
func (x *exchange) later(ctx context.Context, d *operation.Decision) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.r.Method != http.MethodPost || x.adopted || x.returned {
		return false
	}
	x.untold = append(x.untold, untold{d, ctx})
	return true
}

// told is the context of what is told with the message. Until that has a span of its
// own, its context can have the one that the caller named, which is not to be followed
// where callers do not choose the trace. It is for the message's owner.
func (x *exchange) told() context.Context {
	if x.i.cfg.publicEndpoint && !x.m.SpanContext().IsValid() {
		return x.Context
	}
	return &x.m
}

// tell records what was left to be told, in the trace of ctx, or else in that in
// which it was decided or that of the request.
func (x *exchange) tell(ctx context.Context) {
	x.mu.Lock()
	all := x.untold
	x.untold = nil
	x.mu.Unlock()
	for _, u := range all {
		in := ctx
		if !x.i.spanContext(in).IsValid() && x.i.spanContext(u.made).IsValid() {
			in = u.made
		}
		x.m.Tell(x.i.inRequest(in, x.r), u.d)
	}
}

// untold is a decision that is not recorded yet, and the context that it was made in.
type untold struct {
	d    *operation.Decision
	made context.Context
}

func (x *exchange) keep(d *operation.Decision) {
	complete(d, x.m.Decisions.Who()) // which has what was decided around
	if x.begun.Load() == nil {
		id := x.sessionID()
		d.Transport = x.knownTransport(id)
		if d.SessionID == "" {
			d.SessionID = x.i.sessionID(id)
		}
	}
	x.m.Decisions.Add(d)
	x.tellAround(d)
}

// tellAround lets the edges of other servers around this one know of d, which is
// about their exchange too: it is not decided, nor recorded, again.
func (x *exchange) tellAround(d *operation.Decision) {
	if around, ok := x.around().(*exchange); ok {
		around.m.Decisions.Add(d)
		around.tellAround(d)
	}
}

// around returns what else is decided about in the same request, or nil. A whole
// server may run in the context of a message, or of another server's request.
func (x *exchange) around() subject {
	switch s := x.Context.Value(subjectKey{}).(type) {
	case *exchange:
		if s.Context.Value(http.ServerContextKey) == x.Context.Value(http.ServerContextKey) {
			return s
		}
	case standalone:
		return s
	}
	return nil
}

// unheard is an exchange with a server whose telemetry goes nowhere. Who may use
// which session does not depend on that.
type unheard struct {
	standalone
	i *Instrumentation
}

// serverOf returns the server that a request is about to reach, or nil where that is
// not known.
func serverOf(about subject) *Instrumentation {
	switch s := about.(type) {
	case *exchange:
		return s.i
	case *unheard:
		return s.i
	}
	return nil
}

// sessionsNamed are the ids of the sessions that a request names, in a header as
// for streamable HTTP or in its query as for HTTP+SSE.
func sessionsNamed(r *http.Request) [2]string {
	return [2]string{r.Header.Get(server.HeaderKeySessionID), querySession(r)}
}

func querySession(r *http.Request) string {
	if r.URL == nil || r.URL.RawQuery == "" {
		return ""
	}
	return r.URL.Query().Get("sessionId")
}

// authenticated takes over what was decided about the exchange around the edge, and
// what TLS has.
func (x *exchange) authenticated() {
	if around := x.around(); around != nil {
		x.m.Decisions.Inherit(around.decisions())
	}
	state := x.r.TLS
	if state == nil || len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return
	}
	leaf := state.VerifiedChains[0][0]
	d := &operation.Decision{
		Kind:      semconv.OTelMCPAuthKindAuthentication,
		Decision:  semconv.OTelMCPAuthDecisionAllow,
		Reason:    semconv.OTelMCPAuthReasonOK,
		Mechanism: semconv.OTelMCPAuthMechanismMTLS,
		UserID:    subjectOfCertificate(leaf),
		Issuer:    leaf.Issuer.String(),
	}
	if firstOn(state) {
		x.decide(x, d)
	} else {
		x.m.Decisions.Add(d)
	}
}

// verified are the connections whose client certificate has been recorded, by
// whichever server it reached first.
var verified sync.Map // weak.Pointer[tls.ConnectionState] → struct{}

// firstOn reports whether this is the first exchange on the connection: a
// certificate is verified once for each.
func firstOn(state *tls.ConnectionState) bool {
	key := weak.Make(state)
	if _, again := verified.LoadOrStore(key, struct{}{}); again {
		return false
	}
	runtime.AddCleanup(state, func(key weak.Pointer[tls.ConnectionState]) { verified.Delete(key) }, key)
	return true
}

// subjectOfCertificate is whom a certificate names: by its URI (SPIFFE), its mail
// address, its DNS name or, failing those, its subject (RFC 5280).
func subjectOfCertificate(c *x509.Certificate) string {
	switch {
	case len(c.URIs) > 0:
		return c.URIs[0].String()
	case len(c.EmailAddresses) > 0:
		return c.EmailAddresses[0]
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	}
	return c.Subject.String()
}

// observe records what the end of an exchange says of decisions that nobody has
// recorded. It runs when all is known of the response.
func (x *exchange) observe() {
	m := &x.m
	x.tell(x.told())
	switch {
	case m.Decisions.Refused() && m.HTTPStatus >= http.StatusBadRequest:
	case x.sessionRefused():
		d := &operation.Decision{
			Kind:      semconv.OTelMCPAuthKindAuthentication,
			Decision:  semconv.OTelMCPAuthDecisionDeny,
			Reason:    semconv.OTelMCPAuthReasonUnknownSession,
			Mechanism: semconv.OTelMCPAuthMechanismNone,
		}
		if m.integrity == semconv.OTelMCPSessionIntegrityPrincipalMismatch {
			d.Kind, d.Reason = semconv.OTelMCPAuthKindAuthorization, semconv.OTelMCPAuthReasonSessionPrincipalMismatch
			d.Mechanism = ""
		}
		d.Facts = []attribute.KeyValue{semconv.OTelMCPSessionIntegrityKey.String(m.integrity)}
		d.Status = m.HTTPStatus
		x.decide(x, d)
	case m.HTTPStatus == http.StatusUnauthorized || m.HTTPStatus == http.StatusForbidden:
		x.decide(x, x.refusal())
	default:
		x.observeIdentity()
	}
	last := m.Decisions.Last()
	if last != nil && last.Refused() && last.Decision != semconv.OTelMCPAuthDecisionError &&
		!x.adopted && (m.Outcome == "" && m.HTTPStatus >= http.StatusBadRequest || m.Outcome == semconv.OTelMCPOutcomeRejected) {
		m.Outcome = semconv.OTelMCPOutcomeDenied
	}
}

// sessionRefused reports whether the session that the request named was why it
// was turned away.
func (x *exchange) sessionRefused() bool {
	m := &x.m
	switch m.integrity {
	case semconv.OTelMCPSessionIntegrityUnknown, semconv.OTelMCPSessionIntegrityEnded:
		return m.HTTPStatus == http.StatusNotFound && m.Code == 0 && (x.message() != nil || x.r.Method != http.MethodPost) ||
			m.Transport == semconv.OTelMCPTransportSSE && m.HTTPStatus == http.StatusBadRequest && m.Code == operation.CodeInvalidParams
	case semconv.OTelMCPSessionIntegrityPrincipalMismatch:
		return m.HTTPStatus == http.StatusForbidden || m.HTTPStatus == http.StatusNotFound
	}
	return false
}

// refusal reads a response of 401 or 403.
func (x *exchange) refusal() *operation.Decision {
	d := refusal(x.m.HTTPStatus, presented(x.r), x.challenges)
	if d.Reason == semconv.OTelMCPAuthReasonPolicy {
		switch {
		case rebound(x.r):
			d.Reason = semconv.OTelMCPAuthReasonHostRejected
		case d.Mechanism == semconv.OTelMCPAuthMechanismNone && crossOrigin(x.r):
			d.Reason = semconv.OTelMCPAuthReasonOriginRejected
		}
	}
	return d
}

// observeIdentity records that the program let somebody in: it knows who that is,
// and that they came with credentials.
func (x *exchange) observeIdentity() {
	if x.i.cfg.identity == nil || x.m.Decisions.Authenticated() {
		return
	}
	mechanism := presented(x.r)
	if mechanism == semconv.OTelMCPAuthMechanismNone || mechanism == semconv.OTelMCPAuthMechanismMTLS {
		return
	}
	user, roles := x.m.UserID, x.m.UserRoles
	if user == "" {
		return
	}
	x.decide(x, &operation.Decision{
		Kind:      semconv.OTelMCPAuthKindAuthentication,
		Decision:  semconv.OTelMCPAuthDecisionAllow,
		Reason:    semconv.OTelMCPAuthReasonOK,
		Mechanism: mechanism,
		UserID:    user, UserRoles: roles,
		Status: x.m.HTTPStatus,
	})
}

// rebound reports whether a request reached a local server under the name of a
// host elsewhere, which mcp-go's protection from DNS rebinding refuses.
func rebound(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && local != nil && isLoopback(local.String()) && !isLoopback(r.Host)
}

func isLoopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// crossOrigin reports whether a page of another site made the request.
func crossOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || !strings.EqualFold(u.Host, r.Host)
}
