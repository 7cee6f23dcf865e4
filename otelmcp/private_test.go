// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

import (
	"net/http"
	"testing"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/server"
)

// What is read of mcp-go's private fields is what was put there through its options.
func TestPrivateFields(t *testing.T) {
	web := &http.Server{}
	s := server.NewStreamableHTTPServer(server.NewMCPServer("x", "1"),
		server.WithEndpointPath("/here"), server.WithStreamableHTTPServer(web),
		server.WithProtectedResourceMetadata(server.ProtectedResourceMetadataConfig{Resource: "https://a.example/here"}))
	if got, ok := fieldEndpoint.of(s); !ok || got != "/here" {
		t.Errorf("endpointPath: %q, %v", got, ok)
	}
	if got, ok := fieldHTTPServer.of(s); !ok || got != web {
		t.Errorf("httpServer: %v, %v", got, ok)
	}
	if got, ok := fieldMetadataPath.of(s); !ok || got != server.ProtectedResourceMetadataPath("https://a.example/here") {
		t.Errorf("protectedResourceMetadataPath: %q, %v", got, ok)
	}
	if got, ok := fieldMetadata.of(s); !ok || got == nil {
		t.Errorf("protectedResourceMetadataHandler: %v, %v", got, ok)
	}
	c := client.NewClient(nil)
	seam := &clientSeams{c: c}
	client.WithPropagator(seam)(c)
	client.WithMetaPropagator(seam)(c)
	if got, ok := fieldClientPropagator.of(c); !ok || got != seam {
		t.Errorf("propagator of a client: %v, %v", got, ok)
	}
	if got, ok := fieldClientMetaPropagator.of(c); !ok || got != seam {
		t.Errorf("metaPropagator of a client: %v, %v", got, ok)
	}
	if _, ok := privateFieldOf[server.StreamableHTTPServer, int]("endpointPath").of(s); ok {
		t.Error("a field of another type is taken for an int")
	}
	if _, ok := privateFieldOf[server.StreamableHTTPServer, string]("thereIsNone").of(s); ok {
		t.Error("a field that does not exist was read")
	}
}
