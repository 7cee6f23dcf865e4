// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// What transport a handler speaks, told by the types of the handlers that a request passes.

import (
	"net/http"

	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/semconv"
)

// maxHandlers bounds how many handlers one is looked for behind.
const maxHandlers = 16

// transportBehind tells what h speaks to a request, as far as the types of the handlers on
// its way tell; "" when they do not. A mux says which handler it has for the request;
// without one, routed says that there is a mux to ask.
func transportBehind(h http.Handler, r *http.Request) (transport string, routed bool) {
	defer func() { _ = recover() }() // a mux can be nil, and a request odd
	for range maxHandlers {
		switch is := h.(type) {
		case *server.StreamableHTTPServer:
			return semconv.OTelMCPTransportStreamableHTTP, false
		case *server.SSEServer:
			return semconv.OTelMCPTransportSSE, false
		case *httpHandler:
			h = is.next
		case *bearerHandler:
			h = is.next
		case *http.ServeMux:
			if r == nil {
				return "", true
			}
			h, _ = is.Handler(r)
		default:
			return "", false
		}
	}
	return "", false
}
