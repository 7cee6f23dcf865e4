// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// InstrumentClient: what can be seen of a client that exists already, through
// the seams that mcp-go has for tracers.

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/tracing"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

var clientsInstrumented onceEach[client.Client, clientSeams]

// InstrumentClient installs instrumentation on a client that exists already, as
// mcp-go's convenience constructors make it. Call it before the client is used:
// mcp-go reads what it installs without a lock. It returns c.
//
// It records requests, each with its method, duration, error and session id, and
// the notifications that the client receives after its start. It does not see
// the names and sizes in requests, notifications that the client sends, requests
// that the server sends, sessions, or codes that mcp-go has no error for.
//
// Over HTTP a request carries the context of its span in its headers, so that the
// server's span is its child. On other transports mcp-go lets it carry the
// context of the caller's span only, in the _meta of tools/call, prompts/get and
// resources/read: the server's span is then the sibling of the client's, and that
// of another method is in a trace of its own.
//
// Where the program can choose the transport, [WrapTransport] sees everything. A
// client on a transport that is wrapped already is returned as it is, and so is
// one that is instrumented already: nothing is recorded twice.
//
// It takes the client's tracer, of which mcp-go has one. Propagators set with
// client.WithPropagator and client.WithMetaPropagator before run as they did, each
// before ours, and all that they write goes out: ours write nothing over it. Trace
// context that the program's own writes into _meta goes before that of the headers.
func InstrumentClient(c *client.Client, opts ...Option) *client.Client {
	if c == nil || remoteOf(c.GetTransport()) != nil {
		return c
	}
	s, fresh := clientsInstrumented.get(c, func() *clientSeams {
		r := newRemote(c.GetTransport(), newConfig(opts))
		s := &clientSeams{remote: r, c: c}
		s.own, s.ownKnown = ownPropagatorsOf(c, fieldClientPropagator, fieldClientMetaPropagator)
		client.WithTracer(s)(c)
		client.WithPropagator(s)(c)
		client.WithMetaPropagator(s)(c)
		if r.rec.Observable() {
			c.OnNotification(func(n mcp.JSONRPCNotification) { r.notified(n, func(mcp.JSONRPCNotification) {}) })
		}
		return s
	})
	if fresh {
		s.cover()
	}
	return c
}

// gapClient is what the seams of a client do not see.
const gapClient = ": the names and sizes in requests, notifications that the client sends, requests that the server sends, " +
	"and sessions are not seen: make the client with client.NewClient(otelmcp.WrapTransport(t))"

// clientSeams is the tracer and both propagators of a client.
type clientSeams struct {
	*remote
	c        *client.Client
	own      ownPropagators
	ownKnown bool
}

var (
	fieldClientPropagator     = privateFieldOf[client.Client, tracing.Propagator]("propagator")
	fieldClientMetaPropagator = privateFieldOf[client.Client, tracing.MetaPropagator]("metaPropagator")
)

func (s *clientSeams) cover() {
	s.is = Coverage{Transports: []string{s.endpoint.transport}, Seams: []string{"tracer", "propagator"}}
	s.is.Gaps = []string{s.endpoint.transport + gapClient}
	if !s.ownKnown {
		s.is.Gaps = append(s.is.Gaps, gapPropagators+"client.WithPropagator and client.WithMetaPropagator")
	}
	s.reportCoverage()
}

// seamCall is one request, and the span that mcp-go holds of it.
type seamCall struct {
	clientOp
	s   *clientSeams
	err error
}

// Start begins the operation of a request.
func (s *clientSeams) Start(ctx context.Context, name string, _ tracing.SpanKind, _ ...tracing.Attribute) (context.Context, tracing.Span) {
	if !s.observed() {
		return ctx, toolSpan{}
	}
	c := &seamCall{clientOp: clientOp{r: s.remote}, s: s}
	s.begin(c, ctx, strings.TrimPrefix(name, "mcp."))
	return s.traced(&c.clientOp), c
}

func (s *clientSeams) begin(c *seamCall, ctx context.Context, method string) {
	defer s.rec.Guard()
	s.start(&c.Operation, ctx, operation.RoleClient, method)
	c.Stage = semconv.OTelMCPStageTransport
	if v := s.c.ProtocolVersion(); mcp.IsValidProtocolVersion(v) {
		c.ProtocolVersion = v
	}
	c.Begin()
	c.Publish(operation.Parsed)
}

// Inject puts the context of the request's span into its headers.
func (s *clientSeams) Inject(ctx context.Context, headers http.Header) {
	if s.own.header == nil {
		for k, v := range s.inject(ctx) {
			headers.Set(k, v)
		}
		return
	}
	before := headers.Clone()
	s.ownInject(ctx, headers)
	for k, v := range s.inject(ctx) {
		if slices.Equal(before.Values(k), headers.Values(k)) {
			headers.Set(k, v)
		}
	}
}

// ownInject lets the program's own propagator write its headers. Where that panics,
// mcp-go does not end the request's span.
func (s *clientSeams) ownInject(ctx context.Context, headers http.Header) {
	returned := false
	defer func() {
		if o, ok := ctx.Value(subjectKey{}).(*clientOp); !returned && s.rec.Observed() && ok && o.r == s.remote {
			o.Outcome = semconv.OTelMCPOutcomePanic
			o.Finish()
		}
	}()
	s.own.header.Inject(ctx, headers)
	returned = true
}

// Extract is for servers. A client has no use for it.
func (s *clientSeams) Extract(ctx context.Context, headers http.Header) context.Context {
	if s.own.header != nil {
		return s.own.header.Extract(ctx, headers)
	}
	return ctx
}

// InjectMeta is called before the request's span starts. Where there are headers
// to carry the right parent, _meta, which goes before them, stays without one.
func (s *clientSeams) InjectMeta(ctx context.Context, meta *mcp.Meta) *mcp.Meta {
	var before map[string]any
	if s.own.meta != nil {
		if meta != nil {
			before = maps.Clone(meta.AdditionalFields)
		}
		meta = s.own.meta.InjectMeta(ctx, meta)
	}
	if s.endpoint.http {
		return meta
	}
	carrier := s.inject(ctx)
	if s.own.meta != nil && meta != nil {
		maps.DeleteFunc(carrier, func(k, _ string) bool {
			return !reflect.DeepEqual(before[k], meta.AdditionalFields[k])
		})
	}
	return withContext(meta, carrier)
}

// ExtractMeta is for servers. A client has no use for it.
func (s *clientSeams) ExtractMeta(ctx context.Context, meta *mcp.Meta) context.Context {
	if s.own.meta != nil {
		return s.own.meta.ExtractMeta(ctx, meta)
	}
	return ctx
}

// SetAttributes is mcp-go's, which knows no more than we do.
func (*seamCall) SetAttributes(...tracing.Attribute) {}

// SetStatus says no more than RecordError.
func (*seamCall) SetStatus(tracing.StatusCode, string) {}

// RecordError is told the error of the request, before its end.
func (c *seamCall) RecordError(err error) { c.err = err }

// End finishes the operation.
func (c *seamCall) End() {
	c.settle()
	c.Finish()
}

func (c *seamCall) settle() {
	s := c.s
	defer s.rec.Guard()
	defer c.withhold()
	if s.t != nil {
		c.SessionID = s.sessionID(s.t.GetSessionId())
	}
	probe := c.Method.Text == semconv.MCPMethodNameServerDiscover && !s.met.Load()
	if c.err == nil {
		c.Stage = semconv.OTelMCPStageHandler
		if shakesHands(c.Method.Text) {
			s.met.Store(true)
		}
		return
	}
	if _, failed := errors.AsType[*transport.Error](c.err); failed {
		fail(&c.Operation, c.err)
		c.Expected = probe && (c.Outcome == semconv.OTelMCPOutcomeTimeout || refusesProbe(c.HTTPStatus)) || endsSubscription(&c.Operation)
		c.observe(c.err)
		return
	}
	c.Stage = semconv.OTelMCPStageDispatch
	c.Message, c.Code = c.err.Error(), codeOf(c.err)
	if c.Code == 0 {
		c.Outcome = semconv.OTelMCPOutcomeError
	}
	c.Expected = probe
	c.observe(c.err)
}

// codeOf is the JSON-RPC code that mcp-go made err of, or 0 when that is lost.
func codeOf(err error) int {
	for sentinel, code := range map[error]int{
		mcp.ErrParseError:         mcp.PARSE_ERROR,
		mcp.ErrInvalidRequest:     mcp.INVALID_REQUEST,
		mcp.ErrMethodNotFound:     mcp.METHOD_NOT_FOUND,
		mcp.ErrInvalidParams:      mcp.INVALID_PARAMS,
		mcp.ErrInternalError:      mcp.INTERNAL_ERROR,
		mcp.ErrRequestInterrupted: mcp.REQUEST_INTERRUPTED,
		mcp.ErrResourceNotFound:   mcp.RESOURCE_NOT_FOUND,
	} {
		if errors.Is(err, sentinel) {
			return code
		}
	}
	if coded, ok := errors.AsType[interface {
		error
		ToJSONRPCError() mcp.JSONRPCError
	}](err); ok {
		answer := coded.ToJSONRPCError()
		return answer.Error.Code
	}
	switch {
	case isType[mcp.HeaderMismatchError](err):
		return mcp.HEADER_MISMATCH
	case isType[mcp.MissingRequiredClientCapabilityError](err):
		return mcp.MISSING_REQUIRED_CLIENT_CAPABILITY
	case isType[mcp.UnsupportedProtocolVersionError](err):
		return mcp.UNSUPPORTED_PROTOCOL_VERSION
	case isType[mcp.URLElicitationRequiredError](err):
		return mcp.URL_ELICITATION_REQUIRED
	}
	return 0
}

func isType[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
