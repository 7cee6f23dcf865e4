// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Whoever is refused over HTTP has no session, on either side, until it is let in.

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

func TestRefusedHasNoSession(t *testing.T) {
	started := func(c *telemetrytest.Capture) (n int) {
		return len(c.EventsNamed(semconv.OTelMCPSessionStartEventName))
	}
	ended := func(c *telemetrytest.Capture) (n int) { return len(c.EventsNamed(semconv.OTelMCPSessionEndEventName)) }
	dials := map[string]func(url string) (transport.Interface, error){
		streamable: func(url string) (transport.Interface, error) {
			return transport.NewStreamableHTTP(url, transport.WithHTTPLogger(slog.New(slog.DiscardHandler)))
		},
		// It takes up a session again, which the server no longer lets it into.
		streamable + " resumed": func(url string) (transport.Interface, error) {
			return transport.NewStreamableHTTP(url, transport.WithSession("mcp-session-0"), transport.WithHTTPLogger(slog.New(slog.DiscardHandler)))
		},
		sse: func(url string) (transport.Interface, error) {
			return transport.NewSSE(url+"/sse", transport.WithSSELogger(slog.New(slog.DiscardHandler)))
		},
	}
	for over, dial := range dials {
		for _, status := range []int{401, 403, 429, 500, 503} {
			for _, e := range []era{legacy, modern} {
				t.Run(over+"/"+strconv.Itoa(status)+"/"+e.String(), func(t *testing.T) {
					atServer, atClient := telemetrytest.New(t), telemetrytest.New(t)
					s := newEverything()
					i := otelmcp.Instrument(s.MCPServer, into(atServer)...)
					h := quietHTTP(s.MCPServer)
					if over == sse {
						h = server.NewSSEServer(s.MCPServer)
					}
					var refuses atomic.Bool
					refuses.Store(true)
					web := httptest.NewServer(i.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if refuses.Load() && r.Method == http.MethodPost {
							_, _ = io.Copy(io.Discard, r.Body)
							http.Error(w, "not you", status)
							return
						}
						h.ServeHTTP(w, r)
					})))
					t.Cleanup(web.Close)
					var opts []client.ClientOption
					if e == legacy {
						opts = append(opts, client.WithProtocolVersion(string(legacy)))
					}
					c := client.NewClient(otelmcp.WrapTransport(must(dial(web.URL)), into(atClient)...), opts...)
					if err := c.Start(context.WithoutCancel(t.Context())); err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = c.Close() })
					for range 2 {
						if _, err := c.Initialize(t.Context(), greeting()); err == nil {
							t.Fatal("it was not refused")
						}
					}
					if b, en := started(atClient), ended(atClient); b != 0 || en != 0 {
						t.Errorf("%d sessions of the client began and %d ended, and it was refused", b, en)
					}
					if over != sse && started(atServer) != 0 { // there a GET makes one, which was let in
						t.Errorf("%d sessions of the server began, and it refused all requests", started(atServer))
					}
					refuses.Store(false)
					if over == streamable+" resumed" || e != legacy {
						return
					}
					if _, err := c.Initialize(t.Context(), greeting()); err != nil {
						t.Fatal(err)
					}
					if is := event(only(t, atClient.EventsNamed(semconv.OTelMCPSessionStartEventName))); is["otelmcp.server.name"] != "everything" || is["mcp.session.id"] == "" {
						t.Errorf("%+v", is)
					}
					_ = c.Close()
					_ = only(t, atClient.EventsNamed(semconv.OTelMCPSessionEndEventName))
				})
			}
		}
	}
}
