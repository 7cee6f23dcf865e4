// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// What the server sends to its client: requests (sampling, elicitation, roots), and
// the notifications that were lost on their way.
//
// The server is the client of its requests, and a wrapper around the session is
// the only place that sees them. A wrapper must offer exactly the
// interfaces of what it wraps, because mcp-go and programs ask for them; so
// there is one for each of mcp-go's session types, and a session of any other
// type stays as it is.

import (
	"context"
	"errors"
	"io"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/session"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// requester is what every session that can be wrapped does for the server.
type requester interface {
	server.SessionWithSampling
	server.SessionWithElicitation
	server.SessionWithRoots
}

// stdioMethods are the methods of mcp-go's stdio session.
type stdioMethods interface {
	requester
	server.SessionWithLogging
	server.SessionWithClientInfo
	server.SessionWithProtocolVersion
	SetProtocolVersion(version string)
	SetWriter(w io.Writer)
}

// streamableHTTPMethods are the methods of mcp-go's streamable HTTP session.
type streamableHTTPMethods interface {
	requester
	server.SessionWithLogging
	server.SessionWithClientInfo
	server.SessionWithProtocolVersion
	SetProtocolVersion(version string)
	server.SessionWithTools
	server.SessionWithResources
	server.SessionWithResourceTemplates
	server.SessionWithStreamableHTTPConfig
	server.SessionWithSubscriptionFilter
}

type stdioSession struct {
	stdioMethods
	i *Instrumentation
}

type streamableHTTPSession struct {
	streamableHTTPMethods
	i *Instrumentation
}

// inProcessSession embeds the concrete type: mcp-go asks it for a method that
// no other package can implement.
type inProcessSession struct {
	*server.InProcessSession
	i *Instrumentation
}

// wrapSession returns s wrapped, or nil when s stays as it is: it sends no
// requests, is wrapped already, or is not one of mcp-go's. A session that is
// remembered has one wrapper for its whole life, so that a program that tells
// sessions apart by their value still can.
func (i *Instrumentation) wrapSession(s server.ClientSession, known *session.Session) server.ClientSession {
	if known == nil {
		return i.newWrapper(s)
	}
	kept := known.Wrapper()
	if kept == nil {
		w := i.newWrapper(s)
		if w == nil {
			return nil
		}
		kept = known.Wrap(wrapped{s, w})
	}
	if w, ok := kept.(wrapped); ok && w.bare == s {
		return w.session
	}
	return i.newWrapper(s) // another object under the same id
}

// wrapped is a session and its wrapper.
type wrapped struct{ bare, session server.ClientSession }

func (i *Instrumentation) newWrapper(s server.ClientSession) server.ClientSession {
	if isWrapped(s) {
		return nil
	}
	switch i.wrapperFor(s) {
	case wrapInProcess:
		if p, ok := s.(*server.InProcessSession); ok {
			return &inProcessSession{p, i}
		}
	case wrapStdio:
		if p, ok := s.(stdioMethods); ok {
			return &stdioSession{p, i}
		}
	case wrapStreamableHTTP:
		if p, ok := s.(streamableHTTPMethods); ok {
			return &streamableHTTPSession{p, i}
		}
	case wrapNone:
		if _, ok := s.(server.SessionWithSampling); ok {
			i.coverage.sawCustomSession(i)
		}
	case wrapSSE: // sends no requests
	}
	return nil
}

func isWrapped(s server.ClientSession) bool {
	switch s.(type) {
	case *stdioSession, *streamableHTTPSession, *inProcessSession:
		return true
	}
	return false
}

// samplingHandler wraps the handler that an in-process program put into ctx:
// mcp-go prefers it to the session.
type samplingHandler struct {
	server.SamplingHandler
	i *Instrumentation
}

func isOurs(h server.SamplingHandler) bool {
	_, ours := h.(samplingHandler)
	return ours
}

func (h samplingHandler) CreateMessage(ctx context.Context, r mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
	return request(ctx, h.i, server.ClientSessionFromContext(ctx), semconv.MCPMethodNameSamplingCreateMessage, nil,
		func(ctx context.Context) (*mcp.CreateMessageResult, error) {
			return h.SamplingHandler.CreateMessage(ctx, r)
		})
}

func (s *stdioSession) RequestSampling(ctx context.Context, r mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
	return sample(ctx, s.i, s.stdioMethods, r)
}

func (s *stdioSession) RequestElicitation(ctx context.Context, r mcp.ElicitationRequest) (*mcp.ElicitationResult, error) {
	return elicit(ctx, s.i, s.stdioMethods, r)
}

func (s *stdioSession) ListRoots(ctx context.Context, r mcp.ListRootsRequest) (*mcp.ListRootsResult, error) {
	return listRoots(ctx, s.i, s.stdioMethods, r)
}

func (s *streamableHTTPSession) RequestSampling(ctx context.Context, r mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
	return sample(ctx, s.i, s.streamableHTTPMethods, r)
}

func (s *streamableHTTPSession) RequestElicitation(ctx context.Context, r mcp.ElicitationRequest) (*mcp.ElicitationResult, error) {
	return elicit(ctx, s.i, s.streamableHTTPMethods, r)
}

func (s *streamableHTTPSession) ListRoots(ctx context.Context, r mcp.ListRootsRequest) (*mcp.ListRootsResult, error) {
	return listRoots(ctx, s.i, s.streamableHTTPMethods, r)
}

func (s *inProcessSession) RequestSampling(ctx context.Context, r mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
	return sample(ctx, s.i, s.InProcessSession, r)
}

func (s *inProcessSession) RequestElicitation(ctx context.Context, r mcp.ElicitationRequest) (*mcp.ElicitationResult, error) {
	return elicit(ctx, s.i, s.InProcessSession, r)
}

func (s *inProcessSession) ListRoots(ctx context.Context, r mcp.ListRootsRequest) (*mcp.ListRootsResult, error) {
	return listRoots(ctx, s.i, s.InProcessSession, r)
}

// sample has no _meta to inject trace context into: mcp-go's request type has
// no field for it.
func sample(ctx context.Context, i *Instrumentation, s requester, r mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
	return request(ctx, i, s, semconv.MCPMethodNameSamplingCreateMessage, nil,
		func(ctx context.Context) (*mcp.CreateMessageResult, error) { return s.RequestSampling(ctx, r) })
}

func elicit(ctx context.Context, i *Instrumentation, s requester, r mcp.ElicitationRequest) (*mcp.ElicitationResult, error) {
	return request(ctx, i, s, semconv.MCPMethodNameElicitationCreate, &r.Params.Meta,
		func(ctx context.Context) (*mcp.ElicitationResult, error) { return s.RequestElicitation(ctx, r) })
}

func listRoots(ctx context.Context, i *Instrumentation, s requester, r mcp.ListRootsRequest) (*mcp.ListRootsResult, error) {
	return request(ctx, i, s, semconv.MCPMethodNameRootsList, &r.Params.Meta,
		func(ctx context.Context) (*mcp.ListRootsResult, error) { return s.ListRoots(ctx, r) })
}

// request records send as a client operation. meta, when there is one, gets
// the context of its span; the caller's value is not touched.
func request[T any](ctx context.Context, i *Instrumentation, s server.ClientSession, method string, meta **mcp.Meta,
	send func(context.Context) (T, error),
) (T, error) {
	o := i.startRequest(ctx, s, method)
	if meta != nil {
		*meta = withContext(*meta, i.inject(o))
	}
	returned := false
	defer func() {
		if !returned {
			o.Outcome = semconv.OTelMCPOutcomePanic
			o.Finish()
		}
	}()
	result, err := send(o)
	returned = true
	settleRequest(o, err)
	o.Finish()
	return result, err
}

func (i *Instrumentation) startRequest(ctx context.Context, s server.ClientSession, method string) *operation.Operation {
	o := &operation.Operation{}
	i.rec.Init(o, ctx, operation.RoleClient)
	defer i.rec.Guard()
	o.Method.Text = method
	o.Stage = semconv.OTelMCPStageHandler
	if m := i.messageOf(ctx); m != nil {
		o.SessionID, o.Transport, o.Network = m.SessionID, m.Transport, m.Network
		o.ClientName, o.ClientVersion, o.ProtocolVersion = m.ClientName, m.ClientVersion, m.ProtocolVersion
		o.UserID, o.UserRoles = m.UserID, m.UserRoles
	} else if s != nil {
		o.Transport, o.Network = i.transportOf(s)
	} else {
		o.Transport = semconv.OTelMCPTransportOther
	}
	o.Silent = i.silent(ctx, method)
	o.Begin()
	return o
}

func settleRequest(o *operation.Operation, err error) {
	defer o.Recorder().Guard()
	if err == nil {
		return
	}
	o.Message = err.Error()
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		o.Outcome = semconv.OTelMCPOutcomeTimeout
	case errors.Is(err, context.Canceled):
		o.Outcome = semconv.OTelMCPOutcomeCancelled
	default:
		o.Outcome = semconv.OTelMCPOutcomeError
	}
}

// onUndelivered is mcp-go's word that a session has no room for a notification, which
// is lost. It comes on a goroutine of its own, in the context of whatever message the
// notification was sent in, which goes on meanwhile: that message is not touched. told
// is what mcp-go says of the notification.
func (h *hookSet) onUndelivered(ctx context.Context, told any) {
	about, _ := told.(map[string]any)
	method, _ := about["method"].(string)
	id, _ := about["sessionID"].(string)
	i := h.of(ctx)
	if server.ServerFromContext(ctx) == nil { // sent outside of any message
		i = h.inSession(id)
	}
	if i == nil || !i.rec.Observed() {
		return
	}
	defer i.rec.Guard()
	on := &message{i: i}
	on.describeSession(id)
	if s := server.ClientSessionFromContext(ctx); on.Transport == "" && s != nil && s.SessionID() == id {
		on.Transport, on.Network = i.transportOf(s)
	}
	if on.Transport == "" {
		on.Transport = semconv.OTelMCPTransportOther
	}
	o := i.sent(ctx, on, method, 0, false)
	o.Outcome, o.Message = semconv.OTelMCPOutcomeError, server.ErrNotificationChannelBlocked.Error()
	o.Finish()
}
