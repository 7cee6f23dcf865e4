// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Decisions about what a client sends: that its server refused it, or that there was
// nothing to send it with. An HTTP client of ours sees the answers themselves; what
// it did not see is read from the errors that mcp-go makes of them.

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// clientOp is the operation of a message on a client's connection. What is decided in
// its context is decided about it, even after its end: a token's refresh outlives
// whoever asked for it.
type clientOp struct {
	operation.Operation
	r *remote // nil where there is no connection

	// presented is the otelmcp.auth.mechanism of what a message was sent with, as far as
	// that shows; nil when it was sent with nothing, or not at all.
	presented atomic.Pointer[string]
	// answered is the status of 401 or 403 that the server answered with, where an HTTP
	// client of ours saw it.
	answered atomic.Int32
	// secrets are those that an exchange in its context is about, and that no request
	// says: code, state and verifier. A pointer, since every message has room for it.
	secrets *[3]string
}

// alone is what is decided about where nothing that a client sends is around.
func (b base) alone(ctx context.Context) *clientOp {
	o := &clientOp{}
	b.rec.Init(&o.Operation, ctx, operation.RoleClient)
	return o
}

// connecting is what is decided about while the connection is made. It is no message,
// and nothing is recorded of its end.
func (r *remote) connecting(ctx context.Context) *clientOp {
	o := r.alone(ctx)
	o.r = r
	o.Transport, o.Network = r.endpoint.transport, r.endpoint.network
	o.ServerAddress, o.ServerPort = r.endpoint.address, r.endpoint.port
	o.Publish(operation.Begun)
	return o
}

// Value makes the operation findable from the context that its message is sent, or
// handled, in.
func (o *clientOp) Value(key any) any {
	if _, ok := key.(subjectKey); ok {
		return o
	}
	return o.Context.Value(key)
}

// decisions are those around: what is decided about a client's own credentials says
// nothing of who asked the program to use them.
func (o *clientOp) decisions() *operation.Decisions {
	if around, ok := o.Context.Value(subjectKey{}).(subject); ok {
		return around.decisions()
	}
	return new(operation.Decisions)
}

func (o *clientOp) decide(ctx context.Context, d *operation.Decision) {
	complete(d, o.Decisions.Who())
	if d.SessionID == "" && o.r != nil {
		d.SessionID = o.r.currentSession()
	}
	o.Decide(ctx, d)
}

// withhold replaces a message that repeats what its connection was authorized with.
func (o *clientOp) withhold() { o.Message = withheld(o.Message, &o.r.known, maxKept) }

// sessionID is a session's id as it is recorded.
func (r *remote) sessionID(id string) operation.Safe {
	return r.base.sessionID(withheld(id, &r.known, maxKept))
}

// currentSession is the id of the session that the connection has now.
func (r *remote) currentSession() operation.Safe {
	if id := r.session.id(); id != "" || r.t == nil {
		return id
	}
	return r.sessionID(r.t.GetSessionId())
}

// sees looks at a header that is sent, by whoever sends one in the message's context:
// the last Authorization is the message's own.
func (o *clientOp) sees(name string, values []string) {
	defer o.Recorder().Guard()
	if o.r != nil {
		o.r.known.learn(name, values)
	}
	var mechanism string
	switch {
	case strings.EqualFold(name, "Authorization") && len(values) > 0:
		mechanism = schemeOf(values[0])
	case o.presented.Load() == nil && isKeyHeader(name):
		mechanism = semconv.OTelMCPAuthMechanismAPIKey
	default:
		return
	}
	o.presented.Store(&mechanism)
}

// observe records, at the end of a message that failed, the refusal that nobody has
// recorded, and corrects what the error does not tell of it. err is nil when there
// was an answer.
func (o *clientOp) observe(err error) {
	if o.Outcome == semconv.OTelMCPOutcomeTimeout || o.Outcome == semconv.OTelMCPOutcomeCancelled {
		return
	}
	if status := o.answered.Load(); status != 0 {
		o.HTTPStatus, o.Outcome, o.ErrorType, o.Expected = int(status), semconv.OTelMCPOutcomeDenied, "", false
		return
	}
	if err == nil {
		return
	}
	mechanism := semconv.OTelMCPAuthMechanismNone
	if p := o.presented.Load(); p != nil {
		mechanism = *p
	}
	var oauth *transport.OAuthAuthorizationRequiredError
	if errors.As(err, &oauth) {
		// With a token it was sent, and this is a 401. Without one it was not: what a
		// client says of itself to an authorization server is basic.
		if mechanism != semconv.OTelMCPAuthMechanismNone && mechanism != semconv.OTelMCPAuthMechanismBasic {
			o.HTTPStatus, o.ErrorType = http.StatusUnauthorized, ""
		} else {
			mechanism = semconv.OTelMCPAuthMechanismNone
		}
	}
	if o.Decisions.Refused() {
		return
	}
	switch {
	case o.HTTPStatus == http.StatusUnauthorized || o.HTTPStatus == http.StatusForbidden:
		o.decide(o, refusal(o.HTTPStatus, mechanism, nil))
	case oauth != nil:
		d := refusal(http.StatusUnauthorized, mechanism, nil)
		d.Status = 0 // nobody answered
		o.decide(o, d)
	}
}

// refusedStart records that a connection was refused.
func (o *clientOp) refusedStart(err error) {
	defer o.Recorder().Guard()
	fail(&o.Operation, err)
	o.observe(err)
}

// InstrumentHTTPClient returns a copy of c, or of the zero client where c is nil, that
// records the answers of 401 and 403 to a client's messages: with the scopes that the
// server asks for, what it says is wrong with the token, and on every request that
// mcp-go makes, those without a message among them. Give it to the transport:
//
//	t, err := transport.NewStreamableHTTP(url,
//		transport.WithHTTPBasicClient(otelmcp.InstrumentHTTPClient(nil)))
//	c := client.NewClient(otelmcp.WrapTransport(t))
//
// An answer is an otelmcp.auth.decision about the message that it answers, and about
// the connection where there is no message. [WrapTransport] and [InstrumentClient]
// record without it that a message was refused, but not why; nothing is recorded twice.
//
// Of a request that is refused, and of what goes to an authorization server, the
// Authorization, the Proxy-Authorization, cookies and the headers that API keys are sent
// in become keyed hashes, so that a server that repeats one is recognized: its decision
// reads [REDACTED] there. 16,384 hashes at most are kept for each client.
//
// The copy has the fields of c. Requests, answers and errors are those of c, and no
// body is read; only the text of the error when c.Timeout has passed may be another,
// as with any transport that is not net/http's own. A client that is instrumented
// already is returned as it is, and so is one that nobody would listen to.
func InstrumentHTTPClient(c *http.Client, opts ...Option) *http.Client {
	if c == nil {
		c = &http.Client{}
	}
	if _, done := c.Transport.(*tripper); done {
		return c
	}
	return withTripper(c, &tripper{base: newBase(newConfig(opts), true), next: c.Transport})
}

// withTripper returns a copy of c that goes through t, where anybody listens to it.
func withTripper(c *http.Client, t *tripper) *http.Client {
	if !t.rec.Observable() {
		return c
	}
	through := *c
	through.Transport = t
	return &through
}

// tripper records what the answers to a client's HTTP requests decide.
type tripper struct {
	base
	next  http.RoundTripper // nil is net/http's own
	oauth *oauthFlow        // nil where there is none to follow
	known credentials       // what no decision may repeat
}

func (t *tripper) inner() http.RoundTripper {
	if t.next == nil {
		return http.DefaultTransport // which a program may replace at any time
	}
	return t.next
}

// RoundTrip is the inner one's, and records the answer.
func (t *tripper) RoundTrip(req *http.Request) (*http.Response, error) {
	x := t.exchange(req)
	start := time.Now()
	res, err := t.inner().RoundTrip(req)
	if last := (trip{req: req, start: start, res: res, err: err}); x != nil {
		t.came(x, last)
	} else {
		t.answered(last)
	}
	return res, err
}

// CloseIdleConnections is for http.Client, which asks for it.
func (t *tripper) CloseIdleConnections() {
	if c, ok := t.inner().(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// trip is a request and its answer.
type trip struct {
	req   *http.Request
	start time.Time
	res   *http.Response // nil when err is not
	err   error
}

func (t *tripper) answered(x trip) {
	defer t.rec.Guard()
	if x.err != nil || x.res == nil || x.res.StatusCode != http.StatusUnauthorized && x.res.StatusCode != http.StatusForbidden {
		return
	}
	o := t.about(x.req.Context())
	o.answered.Store(int32(x.res.StatusCode))
	t.learn(x.req)
	d := refusal(x.res.StatusCode, presented(x.req), x.res.Header.Values("WWW-Authenticate"))
	if o.r == nil {
		d.SessionID = t.sessionID(withheld(x.req.Header.Get(server.HeaderKeySessionID), &t.known, maxKept))
	}
	x.decided(t, o, d, time.Now())
}

// about is what a request in ctx is about: a client's message, where it is the
// innermost thing that is decided about. A server's message that a client is used
// for is not.
func (t *tripper) about(ctx context.Context) *clientOp {
	if o, ok := ctx.Value(subjectKey{}).(*clientOp); ok && o.Role == operation.RoleClient {
		return o
	}
	return t.alone(ctx)
}

// decided records d, which x decided, about o.
func (x *trip) decided(t *tripper, o *clientOp, d *operation.Decision, end time.Time) {
	d.Elapsed = max(end.Sub(x.start), 1)
	d.ServerAddress, d.ServerPort = hostOf(x.req.URL)
	if x.res != nil {
		d.Status = x.res.StatusCode
		d.HTTPVersion = versionOf(x.res)
	}
	withhold(d, &t.known)
	o.decide(x.req.Context(), d)
}

func hostOf(u *url.URL) (address string, port int) {
	e := httpEndpoint("", u)
	return e.address, e.port
}

// versionOf is the network.protocol.version of a response.
func versionOf(res *http.Response) string {
	switch res.ProtoMajor {
	case 1:
		return "1." + strconv.Itoa(min(max(res.ProtoMinor, 0), 1))
	case 2, 3:
		return strconv.Itoa(res.ProtoMajor)
	}
	return ""
}
