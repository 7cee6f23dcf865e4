// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Sessions as mcp-go's hooks tell of them: which transport they are on, when
// they start, and why they end as far as dispatch can know.

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"runtime"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/session"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// transportOf tells the transport and the network.transport of a session by
// its type: mcp-go has no other way to ask.
func (i *Instrumentation) transportOf(s server.ClientSession) (transport, network string) {
	switch w := i.wrapperFor(s); w {
	case wrapInProcess:
		return semconv.OTelMCPTransportInProcess, ""
	case wrapStdio:
		return semconv.OTelMCPTransportStdio, semconv.NetworkTransportPipe
	case wrapStreamableHTTP:
		return semconv.OTelMCPTransportStreamableHTTP, semconv.NetworkTransportTCP
	case wrapSSE:
		return semconv.OTelMCPTransportSSE, semconv.NetworkTransportTCP
	}
	return semconv.OTelMCPTransportOther, ""
}

// knownSession is one that the table of sessions has, or had.
type knownSession = session.Session

func (i *Instrumentation) onRegisterSession(ctx context.Context, s server.ClientSession) {
	defer i.rec.Guard()
	key := s.SessionID()
	entry := i.newSession(s)
	i.bind(ctx, entry)
	if entry.Transport == semconv.OTelMCPTransportSSE {
		_, seen := i.edgeOf(ctx).(*exchange)
		i.openSession(key, seen)
	}
	i.sessions.Start(ctx, key, entry)
	known := i.sessions.Get(key)
	if known != nil {
		i.coverage.sawTransport(i, known.Transport, i.edgeOf(ctx) != nil)
	}
}

// bind fills who starts a session over HTTP: what its id is worth later is
// measured by that.
func (i *Instrumentation) bind(ctx context.Context, entry *session.Session) {
	if entry.Transport != semconv.OTelMCPTransportStreamableHTTP && entry.Transport != semconv.OTelMCPTransportSSE {
		return
	}
	entry.UserID, entry.Address = i.user(ctx), i.clientOf(ctx)
	if x, ok := i.edgeOf(ctx).(*exchange); ok {
		for _, fact := range x.m.Peer {
			switch fact.Key {
			case semconv.ClientPortKey, semconv.NetworkPeerAddressKey, semconv.UserAgentOriginalKey:
				entry.Arrived = append(entry.Arrived, fact)
			}
		}
	}
	if info := TokenInfoFromContext(ctx); info != nil {
		entry.Owner, entry.Issuer = info.UserID, info.Issuer
	}
}

func (i *Instrumentation) newSession(s server.ClientSession) *session.Session {
	entry := &session.Session{ID: i.sessionID(s.SessionID()), Self: i.self}
	entry.Transport, entry.Network = i.transportOf(s)
	switch entry.Transport {
	case semconv.OTelMCPTransportStdio:
		// mcp-go calls every stdio session "stdio", and keeps one object for all
		// of them, with what the last client said of itself.
		entry.ID = operation.NewSessionID()
		entry.Await() // it is registered before anything is read
	case semconv.OTelMCPTransportStreamableHTTP:
		// Registered after initialize, so that the client is known already.
		entry.SetPeer(i.peerOf(s))
	}
	return entry
}

func (i *Instrumentation) peerOf(s server.ClientSession) *session.Peer {
	var name, version, protocol string
	if c, ok := s.(server.SessionWithClientInfo); ok {
		info := c.GetClientInfo()
		name, version = info.Name, info.Version
	}
	if v, ok := s.(server.SessionWithProtocolVersion); ok && mcp.IsValidProtocolVersion(v.ProtocolVersion()) {
		protocol = v.ProtocolVersion()
	}
	return session.NewPeer(i.rec, name, version, protocol)
}

// owns reports whether s is a session of this server: hooks can be shared by
// several, and session hooks do not say which one calls. The call cannot send
// anything: no session listens at an empty level.
func (i *Instrumentation) owns(s server.ClientSession) bool {
	err := i.srv.SendLogMessageToSpecificClient(s.SessionID(), mcp.LoggingMessageNotification{})
	return !errors.Is(err, server.ErrSessionNotFound)
}

func (i *Instrumentation) onUnregisterSession(ctx context.Context, s server.ClientSession) {
	defer i.rec.Guard()
	key := s.SessionID()
	known := i.sessions.Get(key)
	if known == nil {
		known = i.newSession(s)
	}
	i.sessions.End(ctx, key, i.endReason(ctx, known.Transport), known)
	i.closeSession(key)
}

// endReason tells why a session ended; "" when that does not show.
func (i *Instrumentation) endReason(ctx context.Context, transport string) string {
	canceled := ctx.Err() != nil
	x, _ := i.edgeOf(ctx).(*exchange)
	switch transport {
	case semconv.OTelMCPTransportInProcess:
		return semconv.OTelMCPSessionEndReasonClientRequest // Close
	case semconv.OTelMCPTransportStdio:
		if l, ok := i.edgeOf(ctx).(*lines); ok {
			canceled = canceled && !l.atEOF()
		}
		if canceled {
			return semconv.OTelMCPSessionEndReasonShutdown
		}
		return semconv.OTelMCPSessionEndReasonDisconnect // end of input
	case semconv.OTelMCPTransportSSE:
		if !canceled || x.shuttingDown() { // mcp-go closed the stream
			return semconv.OTelMCPSessionEndReasonShutdown
		}
		return semconv.OTelMCPSessionEndReasonDisconnect
	case semconv.OTelMCPTransportStreamableHTTP:
		switch {
		case x == nil && ctx.Value(http.ServerContextKey) == nil:
			return backgroundEnd()
		case x != nil && x.r.Method == http.MethodDelete, x == nil && !canceled:
			return semconv.OTelMCPSessionEndReasonClientRequest
		case !canceled || x.shuttingDown():
			return semconv.OTelMCPSessionEndReasonShutdown // mcp-go closed the stream
		}
		return semconv.OTelMCPSessionEndReasonDisconnect // of the GET stream
	}
	return ""
}

// backgroundEnd tells the idle sweep of mcp-go from its shutdown. Both end a
// session in a context that says nothing; only who calls tells them apart.
func backgroundEnd() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		switch {
		case strings.HasSuffix(f.Function, ".sweepExpiredSessions"), strings.Contains(f.Function, ".sweepExpiredSessions."):
			return semconv.OTelMCPSessionEndReasonIdleTimeout
		case strings.HasSuffix(f.Function, "(*StreamableHTTPServer).CloseSessions"):
			return semconv.OTelMCPSessionEndReasonShutdown
		}
		if !more {
			return ""
		}
	}
}

// wrapper says which of mcp-go's sessions a session is, and so how it can be
// wrapped without hiding an interface that it implements.
type wrapper uint8

const (
	wrapNone wrapper = iota // not one of mcp-go's: its type is the program's business
	wrapInProcess
	wrapStdio
	wrapStreamableHTTP
	wrapSSE
)

var serverPackage = reflect.TypeFor[server.MCPServer]().PkgPath()

// wrapperFor is wrapperOf, cached by type.
func (i *Instrumentation) wrapperFor(s server.ClientSession) wrapper {
	t := reflect.TypeOf(s)
	if w, ok := i.wraps.Load(t); ok {
		return w.(wrapper)
	}
	w := wrapperOf(s, t)
	i.wraps.Store(t, w)
	return w
}

func wrapperOf(s server.ClientSession, t reflect.Type) wrapper {
	switch s.(type) {
	case *server.InProcessSession, *inProcessSession:
		return wrapInProcess
	case *stdioSession:
		return wrapStdio
	case *streamableHTTPSession:
		return wrapStreamableHTTP
	}
	if t.Kind() != reflect.Pointer || t.Elem().PkgPath() != serverPackage {
		return wrapNone
	}
	if _, ok := s.(server.SessionWithStreamableHTTPConfig); ok {
		return wrapStreamableHTTP
	}
	switch t.Elem().Name() {
	case "stdioSession":
		return wrapStdio
	case "sseSession":
		return wrapSSE
	}
	return wrapNone
}
