// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file shows the verifier where it is meant to be.

package verifier_test

import (
	"context"
	"log"
	"net/http"

	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/verifier"
)

func Example() {
	const resource = "https://mcp.example.com/mcp"
	v, err := verifier.New(context.Background(), verifier.Config{
		Issuer:     "https://login.example.com/realms/main",
		Audience:   []string{resource},
		RolesClaim: "realm_access.roles",
	})
	if err != nil {
		log.Fatal(err)
	}

	srv := server.NewMCPServer("weather", "1.0.0")
	inst := otelmcp.Instrument(srv)
	auth := otelmcp.RequireBearer(v.Verify, otelmcp.WithResource(resource), otelmcp.WithScopes("mcp:tools"))
	http.Handle("/mcp", inst.Handler(auth(server.NewStreamableHTTPServer(srv))))
	// Now http.ListenAndServe. No request but those with a good token gets to srv.
}
