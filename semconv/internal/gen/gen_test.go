// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest/registry"
)

// What is in the tree is what the registry generates, every time.
func TestGeneratedIsCurrent(t *testing.T) {
	dir, err := registry.Find()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		files, err := generate(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(files) != 4 {
			t.Errorf("%d files generated, want 4", len(files))
		}
		for name, want := range files {
			got, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Error(err)
			} else if !bytes.Equal(got, want) {
				t.Errorf("%s is stale: run go generate ./semconv", name)
			}
		}
	}
}

func TestCamel(t *testing.T) {
	for name, want := range map[string]string{
		"mcp.method.name":            "MCPMethodName",
		"gen_ai.tool.call.arguments": "GenAIToolCallArguments",
		"jsonrpc.request.id":         "JSONRPCRequestID",
		"rpc.response.status_code":   "RPCResponseStatusCode",
		"mcp.resource.uri":           "MCPResourceURI",
		"url.path":                   "URLPath",
		"user.id":                    "UserID",
		"otelmcp.session.end_reason": "OTelMCPSessionEndReason",
		"otelmcp.auth.client_id":     "OTelMCPAuthClientID",
		"streamable_http":            "StreamableHTTP",
		"ok":                         "OK",
		"tls":                        "TLS",
		"oauth_code":                 "OAuthCode",
	} {
		if got := camel(name); got != want {
			t.Errorf("camel(%q) = %s, want %s", name, got, want)
		}
	}
}

// Two dotted names that are one name in Go stop the generator.
func TestNamesThatCollideInGo(t *testing.T) {
	_, err := goFiles(&registry.Registry{Attributes: []*registry.Attribute{
		{Key: "otelmcp.a_b", Type: "string"},
		{Key: "otelmcp.a.b", Type: "string"},
	}})
	if err == nil || !strings.Contains(err.Error(), "OTelMCPABKey") {
		t.Errorf("error %v, want one about OTelMCPABKey", err)
	}
}

// Every link of the page leads somewhere, and every anchor is there once.
func TestPageLinks(t *testing.T) {
	dir, err := registry.Find()
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Load(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	page := string(markdown(reg))
	anchors := map[string]int{}
	for _, m := range regexp.MustCompile(`<a id="([^"]+)">`).FindAllStringSubmatch(page, -1) {
		anchors[m[1]]++
	}
	for _, m := range regexp.MustCompile("(?m)^#+ (.+)$").FindAllStringSubmatch(page, -1) {
		heading := strings.NewReplacer("`", "", ".", "", " ", "-").Replace(strings.ToLower(m[1]))
		anchors[heading]++
	}
	for a, n := range anchors {
		if n > 1 {
			t.Errorf("anchor %s is there %d times", a, n)
		}
	}
	links := regexp.MustCompile(`\]\(#([^)]+)\)`).FindAllStringSubmatch(page, -1)
	if len(links) == 0 {
		t.Error("no links")
	}
	for _, m := range links {
		if anchors[m[1]] == 0 {
			t.Errorf("link to #%s leads nowhere", m[1])
		}
	}
}
