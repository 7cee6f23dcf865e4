// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// The session of a client. Over streamable HTTP it is what the server gave an id
// to: the protocol's newest version has none there. On every other transport the
// connection is the session. Over HTTP one begins when the server has taken a message in
// it: whoever was refused has none, whatever id it came with.

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mark3labs/mcp-go/client/transport"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/session"
	"github.com/otelmcp/otelmcp-go/semconv"
)

type clientSession struct {
	closing atomic.Bool               // by the program
	opened  atomic.Pointer[time.Time] // when an HTTP connection was first used
	current atomic.Pointer[openSession]
	mu      sync.Mutex // serializes beginning and ending
	over    bool       // a connection that was a session; it does not come back
}

// openSession is a session and the id that the transport knows it by.
type openSession struct {
	session.Session
	key string
}

// id is the id of the open session, "" without one.
func (s *clientSession) id() operation.Safe {
	if open := s.current.Load(); open != nil {
		return open.ID
	}
	return ""
}

// open is called where the connection is about to be used.
func (s *clientSession) open(r *remote) {
	switch {
	case !r.endpoint.http:
		s.use(r)
	case s.opened.Load() == nil:
		now := time.Now()
		s.opened.CompareAndSwap(nil, &now)
	}
}

// use is called where the server has taken a message, and begins the connection's
// session if it has one that has not begun.
func (s *clientSession) use(r *remote) {
	open := s.current.Load()
	if r.endpoint.transport != semconv.OTelMCPTransportStreamableHTTP {
		if open == nil && !s.closing.Load() {
			s.begin(r, "")
		}
		return
	}
	if key := r.t.GetSessionId(); key != "" && (open == nil || open.key != key) {
		s.begin(r, key)
	}
}

// met is called when the handshake is done, which is when a server that gives out
// ids has done so.
func (s *clientSession) met(r *remote, c *call) {
	s.use(r)
	if open := s.current.Load(); open != nil {
		open.SetPeer(r.server.Load())
		c.SessionID = open.ID
	}
}

func (s *clientSession) begin(r *remote, key string) {
	defer r.rec.Guard()
	s.mu.Lock()
	open := s.current.Load()
	if s.over || open != nil && open.key == key {
		s.mu.Unlock()
		return
	}
	next := &openSession{key: key}
	next.Role = operation.RoleClient
	next.Transport, next.Network = r.endpoint.transport, r.endpoint.network
	next.ServerAddress, next.ServerPort = r.endpoint.address, r.endpoint.port
	next.ID = sessionName(r, key)
	if p := r.server.Load(); p != nil {
		next.SetPeer(p)
	}
	if opened := s.opened.Load(); opened != nil && key == "" {
		next.Since(*opened)
	}
	s.current.Store(next)
	s.mu.Unlock()
	if open != nil { // the server made another one
		open.End(context.Background(), r.rec, semconv.OTelMCPSessionEndReasonDisconnect, "")
	}
	next.Begin(context.Background(), r.rec)
}

// sessionName is the session's id as it is recorded.
func sessionName(r *remote, key string) operation.Safe {
	if e, ok := r.t.(interface{ GetEndpoint() *url.URL }); ok && key == "" { // HTTP+SSE
		if at := e.GetEndpoint(); at != nil {
			key = at.Query().Get("sessionId")
		}
	}
	if key == "" && r.endpoint.transport == semconv.OTelMCPTransportStdio {
		return operation.NewSessionID() // as a server's
	}
	return r.sessionID(key)
}

// failed is told of an error, which may be the end of the session.
func (s *clientSession) failed(r *remote, err error) {
	switch {
	case errors.Is(err, transport.ErrSessionTerminated):
		s.end(r, semconv.OTelMCPSessionEndReasonDisconnect, "404")
	case errors.Is(err, transport.ErrTransportClosed) && !s.closing.Load():
		s.end(r, semconv.OTelMCPSessionEndReasonDisconnect, semconv.ErrorTypeConnectionLost)
	}
}

func (s *clientSession) end(r *remote, reason, errorType string) {
	defer r.rec.Guard()
	s.mu.Lock()
	open := s.current.Swap(nil)
	s.over = s.over || r.endpoint.transport != semconv.OTelMCPTransportStreamableHTTP
	s.mu.Unlock()
	if open != nil {
		open.End(context.Background(), r.rec, reason, errorType)
	}
}
