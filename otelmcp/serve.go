// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Serving over HTTP in one call, as ServeStdio does over stdio.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// graceTime is how long ListenAndServe waits for what is in flight when it is told
// to stop.
var graceTime = 10 * time.Second

// ListenAndServe serves the server over streamable HTTP on the TCP address addr
// (":8080"), with every exchange recorded as [Instrumentation.Handler] does. Routes
// and answers are those of the Start method of mcp-go's StreamableHTTPServer with
// the same options: the endpoint, by default /mcp, and the metadata of the protected
// resource if there are options for it; any other path is 404 and no record. An
// http.Server that is given with server.WithStreamableHTTPServer keeps its settings
// and must have no Handler.
//
// It returns when ctx is done, or on SIGTERM or an interrupt. Then it accepts no more
// connections, ends open streams, and waits up to 10 seconds for the requests that
// are in flight: nil says that all of them were answered, and an error that wraps
// [context.DeadlineExceeded] that some were cut off. A second signal ends the process
// as if nobody had asked for signals. An error of any other kind says why it could
// not serve. Flush the telemetry after it has returned:
//
//	pipeline, err := exporters.Setup(ctx)
//	...
//	defer pipeline.Shutdown(ctx)
//	err = otelmcp.Instrument(srv).ListenAndServe(ctx, ":8080")
func (i *Instrumentation) ListenAndServe(ctx context.Context, addr string, opts ...server.StreamableHTTPOption) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := server.NewStreamableHTTPServer(i.srv, opts...)
	web, streams, err := i.routes(s, addr)
	if err != nil {
		abandon(s)
		return err
	}
	server.WithStreamableHTTPServer(web)(s)
	served := make(chan error, 1)
	go func() { served <- s.Start(addr) }()
	select {
	case err = <-served: // it could not serve, or the program has shut its http.Server down
		streams.end()
		abandon(s)
		if failed, ok := errors.AsType[*net.OpError](err); ok && failed.Op == "listen" {
			web.Handler = nil // nobody reads it, and the program may try again
		}
		return err
	case <-ctx.Done():
	}
	stop()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceTime)
	defer cancel()
	i.edges.http.shutdownOf(web).Store(true) // which says why the streams end
	streams.end()
	if err = s.Shutdown(grace); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("otelmcp: what was in flight %v after the server was told to stop was cut off: %w", graceTime, err)
		}
		_ = web.Close()
	}
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(e, err)
	}
	return err
}

// abandon ends what mcp-go runs beside a server that does not serve: its sessions, and
// the goroutine that sweeps them. It leaves the program's http.Server alone.
func abandon(s *server.StreamableHTTPServer) {
	server.WithStreamableHTTPServer(nil)(s)
	_ = s.Shutdown(context.Background()) // which has nothing to wait for
}

// What mcp-go's server keeps of its options.
var (
	fieldEndpoint     = privateFieldOf[server.StreamableHTTPServer, string]("endpointPath")
	fieldHTTPServer   = privateFieldOf[server.StreamableHTTPServer, *http.Server]("httpServer")
	fieldMetadata     = privateFieldOf[server.StreamableHTTPServer, http.Handler]("protectedResourceMetadataHandler")
	fieldMetadataPath = privateFieldOf[server.StreamableHTTPServer, string]("protectedResourceMetadataPath")
)

// routes returns the HTTP server that s is to start: what s would start by itself,
// with its endpoint recorded.
func (i *Instrumentation) routes(s *server.StreamableHTTPServer, addr string) (*http.Server, *openStreams, error) {
	endpoint, ok1 := fieldEndpoint.of(s)
	web, ok2 := fieldHTTPServer.of(s)
	metadata, ok3 := fieldMetadata.of(s)
	metadataPath, ok4 := fieldMetadataPath.of(s)
	switch {
	case !ok1 || !ok2 || !ok3 || !ok4:
		return nil, nil, errors.New("otelmcp: this version of mcp-go does not show its routes: " +
			"serve Handler(server.NewStreamableHTTPServer(srv)) with an http.Server of your own")
	case web == nil:
		web = &http.Server{} //nolint:gosec // Streams live for hours, so that there are no time-outs; mcp-go has none either.
	case web.Handler != nil:
		return nil, nil, errors.New("otelmcp: the http.Server that was given with server.WithStreamableHTTPServer has a Handler, " +
			"and ListenAndServe makes its own: leave it nil, or wrap the server in that Handler with Instrumentation.Handler and start the http.Server yourself")
	case web.Addr != "" && web.Addr != addr: // mcp-go's Start finds that, too, and never unlocks the server again
		return nil, nil, fmt.Errorf("otelmcp: conflicting listen addresses: %q of server.WithStreamableHTTPServer and %q of ListenAndServe", web.Addr, addr)
	}
	streams := &openStreams{next: i.Handler(s)}
	mux := http.NewServeMux()
	mux.Handle(endpoint, streams)
	if metadata != nil && metadataPath != endpoint {
		mux.Handle(metadataPath, metadata)
	}
	web.Handler = mux
	return web, streams, nil
}

// openStreams is around an endpoint and knows its streams. They end with their client
// only, or with the server: it would wait for them for nothing.
type openStreams struct {
	next http.Handler

	mu    sync.Mutex
	ended bool
	open  map[*http.Request]context.CancelFunc
}

func (s *openStreams) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The newest version of the protocol has no GET, and names the method in a header.
	if r.Method == http.MethodGet || r.Header.Get(mcp.HeaderMethod) == string(mcp.MethodSubscriptionsListen) {
		ctx, cancel := context.WithCancel(r.Context())
		r = r.WithContext(ctx)
		defer s.forget(r)
		s.add(r, cancel)
	}
	s.next.ServeHTTP(w, r)
}

func (s *openStreams) add(r *http.Request, cancel context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		cancel()
	}
	if s.open == nil {
		s.open = map[*http.Request]context.CancelFunc{}
	}
	s.open[r] = cancel
}

func (s *openStreams) forget(r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[r]()
	delete(s.open, r)
}

// end ends the streams that are open, and those that are still to come.
func (s *openStreams) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, cancel := range s.open {
		cancel()
	}
}
