// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// The wrappers around mcp-go's client transports. Clients and programs ask a
// transport for interfaces, and go by whether it has them; so a wrapper has those
// of what it wraps, and no other that makes a difference.

import (
	"io"
	"net/url"
	"reflect"
	"strconv"

	"github.com/mark3labs/mcp-go/client/transport"

	"github.com/otelmcp/otelmcp-go/semconv"
)

// WrapTransport returns t with everything recorded that a client sends and
// receives through it. Hand the result to client.NewClient:
//
//	t, err := transport.NewStreamableHTTP(url)
//	c := client.NewClient(otelmcp.WrapTransport(t))
//
// Each request and notification, in both directions, makes a span, a duration, a
// count and an event: requests with their names, sizes and numeric error codes,
// the requests that the server sends (sampling, elicitation, roots, ping) as
// server operations, in whichever form the protocol's version has them, and the
// session from its start to its end. The context of each span goes out in
// params._meta (SEP-414) and, over HTTP, in the headers, by the propagators of
// [WithPropagators]; the caller's own values are not touched. A server that must
// not learn of the trace gets none with
// WithPropagators(propagation.NewCompositeTextMapPropagator()).
//
// Over HTTP, keyed hashes of the credentials that net/http writes into the headers of
// messages are kept, at most 16,384. A session id, a server's name or version, or the text
// of an error that repeats one reads [REDACTED].
//
// It does not see what the transport itself keeps from its client: messages that
// it cannot read, answers that nobody waits for, HTTP exchanges without a
// message, and, in process, what the server asks of the client.
//
// The result has the optional interfaces and the other methods of t, but is not
// of t's type: keep t for what asks for that, as client.GetEndpoint does. Results
// and errors are those of t. A t that is wrapped already is returned as it is.
func WrapTransport(t transport.Interface, opts ...Option) transport.Interface {
	if t == nil || remoteOf(t) != nil {
		return t
	}
	r := newRemote(t, newConfig(opts))
	r.is = Coverage{Transports: []string{r.endpoint.transport}, Seams: []string{"transport"}}
	if r.endpoint.transport == semconv.OTelMCPTransportInProcess {
		r.is.Gaps = []string{gapInProcessClient}
	}
	r.reportCoverage()
	switch t := t.(type) {
	case *transport.StreamableHTTP:
		return &streamableHTTPTransport{r, requests{r, t}, streamableHTTPRest{t}}
	case *transport.SSE:
		return &sseTransport{r, losses{r}, sseRest{t}}
	case *transport.Stdio:
		return &stdioTransport{r, requests{r, t}, stdioRest{t}}
	case *transport.InProcessTransport:
		return r
	}
	return wrapCustom(r)
}

const gapInProcessClient = "in_process: what the server asks of its client is answered inside of the transport, and is seen on " +
	"the side of the server only: call otelmcp.Instrument there"

// A wrapper's own methods stand above those of the transport, which come from one
// level further down.
type (
	streamableHTTPTransport struct {
		*remote
		requests
		streamableHTTPRest
	}
	streamableHTTPRest struct{ *transport.StreamableHTTP }

	sseTransport struct {
		*remote
		losses
		sseRest
	}
	sseRest struct{ *transport.SSE }

	stdioTransport struct {
		*remote
		requests
		stdioRest
	}
	stdioRest struct{ *transport.Stdio }
)

// requests is for transports on which the server can send requests.
type requests struct {
	r *remote
	t transport.BidirectionalInterface
}

func (q requests) SetRequestHandler(handle transport.RequestHandler) {
	q.t.SetRequestHandler(q.r.requestHandler(handle))
}

// losses is for transports that tell when they lose their connection.
type losses struct{ r *remote }

func (l losses) SetConnectionLostHandler(handle func(error)) {
	t, ok := l.r.t.(interface{ SetConnectionLostHandler(func(error)) })
	if !ok {
		return
	}
	if handle == nil {
		t.SetConnectionLostHandler(nil)
		return
	}
	t.SetConnectionLostHandler(func(err error) {
		l.r.session.end(l.r, semconv.OTelMCPSessionEndReasonDisconnect, transportError(err))
		handle(err)
	})
}

// custom is a transport of the program's own. These methods make no difference
// where the transport does not have them.
type custom struct {
	*remote
	losses
}

func (c custom) RequiresLegacyProtocol() bool {
	t, ok := c.t.(interface{ RequiresLegacyProtocol() bool })
	return ok && t.RequiresLegacyProtocol()
}

// The methods that make a difference by being there.

type overHTTP struct{ t transport.HTTPConnection }

func (h overHTTP) SetProtocolVersion(version string) { h.t.SetProtocolVersion(version) }

type withStderr interface{ Stderr() io.Reader }

type withOAuth interface {
	GetOAuthHandler() *transport.OAuthHandler
	IsOAuthEnabled() bool
}

func wrapCustom(r *remote) transport.Interface {
	base := custom{r, losses{r}}
	b, both := r.t.(transport.BidirectionalInterface)
	h, http := r.t.(transport.HTTPConnection)
	e, stderr := r.t.(withStderr)
	o, oauth := r.t.(withOAuth)
	if !both { // nothing will set a handler
		switch {
		case http && oauth:
			return struct {
				custom
				overHTTP
				withOAuth
			}{base, overHTTP{h}, o}
		case http:
			return struct {
				custom
				overHTTP
			}{base, overHTTP{h}}
		case stderr:
			return struct {
				custom
				withStderr
			}{base, e}
		}
		return base
	}
	q := requests{r, b}
	switch {
	case http && oauth:
		return struct {
			custom
			requests
			overHTTP
			withOAuth
		}{base, q, overHTTP{h}, o}
	case http:
		return struct {
			custom
			requests
			overHTTP
		}{base, q, overHTTP{h}}
	case stderr:
		return struct {
			custom
			requests
			withStderr
		}{base, q, e}
	}
	return struct {
		custom
		requests
	}{base, q}
}

// remoteOf returns what a transport of ours records through, or nil.
func remoteOf(t transport.Interface) *remote {
	if w, ok := t.(interface{ instrumented() *remote }); ok {
		return w.instrumented()
	}
	return nil
}

func (r *remote) instrumented() *remote { return r }

// endpoint is where a transport leads.
type endpoint struct {
	transport, network string
	address            string
	port               int
	http               bool
}

// endpointOf tells by the type of t, or by methods that only one of mcp-go's
// transports has: those of a type that embeds it.
func endpointOf(t transport.Interface) endpoint {
	switch t := t.(type) {
	case *transport.StreamableHTTP:
		return httpEndpoint(semconv.OTelMCPTransportStreamableHTTP, streamableURL(t))
	case *transport.InProcessTransport:
		return endpoint{transport: semconv.OTelMCPTransportInProcess}
	case interface{ GetBaseURL() *url.URL }:
		return httpEndpoint(semconv.OTelMCPTransportSSE, t.GetBaseURL())
	case withStderr:
		return endpoint{transport: semconv.OTelMCPTransportStdio, network: semconv.NetworkTransportPipe}
	case interface {
		transport.HTTPConnection
		RequiresLegacyProtocol() bool
	}:
		return httpEndpoint(semconv.OTelMCPTransportStreamableHTTP, nil)
	case transport.HTTPConnection:
		return httpEndpoint(semconv.OTelMCPTransportOther, nil)
	}
	return endpoint{transport: semconv.OTelMCPTransportOther}
}

func httpEndpoint(name string, u *url.URL) endpoint {
	e := endpoint{transport: name, network: semconv.NetworkTransportTCP, http: true}
	if u == nil {
		return e
	}
	e.address = u.Hostname()
	switch port, err := strconv.Atoi(u.Port()); {
	case err == nil:
		e.port = port
	case u.Scheme == "https":
		e.port = 443
	case u.Scheme == "http":
		e.port = 80
	}
	return e
}

// streamableURL reads where a streamable HTTP transport leads. mcp-go has no
// method that tells.
func streamableURL(t *transport.StreamableHTTP) *url.URL {
	field := reflect.ValueOf(t).Elem().FieldByName("serverURL")
	if !field.IsValid() || field.Type() != reflect.TypeFor[*url.URL]() || field.IsNil() {
		return nil
	}
	u := field.Elem()
	return &url.URL{Scheme: u.FieldByName("Scheme").String(), Host: u.FieldByName("Host").String()}
}
