// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// What is recorded of an OAuth step is what mcp-go made of it, whatever the server
// answers.

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/client/transport"

	"github.com/otelmcp/otelmcp-go/otelmcp"
)

// registers and exchanges are flows up to a step: what the server answers to it follows.
func registers(last ...*scriptReply) *script {
	return &script{calls: "r", replies: append([]*scriptReply{nil, nil}, last...)}
}

func exchanges(last ...*scriptReply) *script {
	return &script{calls: "ap", registered: true, replies: append([]*scriptReply{nil, nil}, last...)}
}

func refreshes(last ...*scriptReply) *script {
	return &script{calls: "f", registered: true, replies: append([]*scriptReply{nil, nil}, last...)}
}

// discovers is one that begins with the metadata of the resource.
func discovers(first ...*scriptReply) *script {
	return &script{calls: "a", registered: true, replies: first}
}

func with(s *script, change func(*script)) *script {
	change(s)
	return s
}

// oauthCase is a script, and the decision that it ends with.
type oauthCase struct {
	name string
	s    *script
	want string
}

func oauthCases() []oauthCase {
	const padded = 1 << 20
	named := func(s *script) { s.named = true }
	stops := func(s *script) { s.checks, s.redirects = true, http.ErrUseLastResponse }
	fails := func(s *script) { s.checks, s.redirects = true, errors.New("no redirects here") }
	loop := func(status int, to string) (all []*scriptReply) {
		for range 12 {
			all = append(all, &scriptReply{status: status, location: to})
		}
		return all
	}
	noServers := &scriptReply{status: 200, body: `{"resource":"http://mcp.example/srv"}`}
	return []oauthCase{
		{
			"a refused refresh behind padding",
			refreshes(&scriptReply{status: 400, padding: " ", padded: padded, body: `{"error":"invalid_grant"}`}),
			"deny oauth_refresh refresh_failed 400 invalid_grant",
		},
		{
			"a refresh refused with 200 behind padding",
			refreshes(&scriptReply{status: 200, body: `{"pad":"` + strings.Repeat("x", padded) + `","error":"invalid_grant"}`}),
			"deny oauth_refresh refresh_failed 200 invalid_grant",
		},
		{
			"a code refused with 200 behind padding",
			exchanges(&scriptReply{status: 200, padding: "\n", padded: 3 * padded, piece: 1000, body: `{"error":"invalid_grant"}`}),
			"deny oauth_code invalid_credentials 200 invalid_grant",
		},
		{
			"an illegible token behind padding", exchanges(&scriptReply{status: 200, padding: " ", padded: padded, body: `{"access_token":5}`}),
			"error oauth_code verifier_unavailable 200 _OTHER",
		},
		{"a token behind padding", exchanges(&scriptReply{status: 200, padding: " ", padded: padded, body: goodToken}), "allow oauth_code ok 200"},
		{
			"a token in front of what is no part of it", exchanges(&scriptReply{status: 200, body: goodToken + "x"}),
			"error oauth_code verifier_unavailable 200 _OTHER",
		},
		{"a client in front of what is no part of it", registers(&scriptReply{status: 200, body: goodRegistration + "x"}), "allow oauth_registration ok 200"},
		{"a client, and then nothing more", registers(&scriptReply{status: 200, body: goodRegistration, broken: true}), "allow oauth_registration ok 200"},
		{
			"a client behind padding that is none", registers(&scriptReply{status: 201, padding: " ", padded: padded, body: `{"client_id":["x"]}`}),
			"error oauth_registration registration_failed 201 _OTHER",
		},
		{"registration is accepted, and not done", registers(&scriptReply{status: 202, body: goodRegistration}), "error oauth_registration registration_failed 202 202"},
		{
			"registration is accepted with an error", registers(&scriptReply{status: 202, body: `{"error":"invalid_client_metadata"}`}),
			"deny oauth_registration registration_failed 202 invalid_client_metadata",
		},
		{"client_id and error", registers(&scriptReply{status: 201, body: `{"client_id":"x","error":"invalid_redirect_uri"}`}), "allow oauth_registration ok 201"},
		{"no client_id", registers(&scriptReply{status: 201, body: `{}`}), "allow oauth_registration ok 201"},
		{"null for a client", registers(&scriptReply{status: 201, body: `null`}), "allow oauth_registration ok 201"},
		{"an empty token", exchanges(&scriptReply{status: 200, body: `{"access_token":""}`}), "allow oauth_code ok 200"},
		{"an empty refreshed token", refreshes(&scriptReply{status: 200, body: `{}`}), "allow oauth_refresh ok 200"},
		{"null for a token", refreshes(&scriptReply{status: 200, body: `null`}), "allow oauth_refresh ok 200"},
		{"an error that is none", exchanges(&scriptReply{status: 200, body: `{"access_token":"x","error":"invalid_grant","error_uri":5}`}), "allow oauth_code ok 200"},
		{"an error in other letters", exchanges(&scriptReply{status: 200, body: `{"access_token":"x","\u0045RROR":"invalid_grant"}`}), "deny oauth_code invalid_credentials 200 invalid_grant"},
		{"an error that is taken back", exchanges(&scriptReply{status: 200, body: `{"error":"invalid_grant","error":"","access_token":"x"}`}), "allow oauth_code ok 200"},
		{"no content", exchanges(&scriptReply{status: 204, bodiless: true}), "error oauth_code verifier_unavailable 204 _OTHER"},

		{"a loop", exchanges(loop(307, "/token")...), "error oauth_code verifier_unavailable 307 _OTHER"},
		{"a loop of a refresh", refreshes(loop(302, "/again")...), "error oauth_refresh refresh_failed 302 _OTHER"},
		{"a loop of a registration", registers(loop(308, "/register")...), "error oauth_registration registration_failed 308 _OTHER"},
		{"a loop of metadata", discovers(loop(301, "/again")...), "error oauth_discovery verifier_unavailable 301 _OTHER"},
		{"a place that is none", exchanges(&scriptReply{status: 302, location: "http://%zz/"}), "error oauth_code verifier_unavailable 302 _OTHER"},
		{"metadata at a place that is none", discovers(&scriptReply{status: 302, location: "http://%zz/"}), "error oauth_discovery verifier_unavailable 302 _OTHER"},
		{"a place of another kind", exchanges(&scriptReply{status: 302, location: "ftp://as.example/"}), "error oauth_code verifier_unavailable _OTHER"},
		{"no place", exchanges(&scriptReply{status: 302, body: "moved"}), "error oauth_code verifier_unavailable 302 302"},
		{"many choices", exchanges(&scriptReply{status: 300, location: "/other"}), "error oauth_code verifier_unavailable 300 300"},
		{"not modified", refreshes(&scriptReply{status: 304, location: "/other"}), "error oauth_refresh refresh_failed 304 304"},
		{"not modified metadata", with(discovers(&scriptReply{status: 304, location: "/other"}), named), "error oauth_discovery verifier_unavailable 304 304"},
		{"a redirect that the program stops at", with(exchanges(&scriptReply{status: 302, location: "/other", body: "moved"}), stops), "error oauth_code verifier_unavailable 302 302"},
		{
			"a refusal in a redirect that the program stops at",
			with(exchanges(&scriptReply{status: 307, location: "/other", body: `{"error":"access_denied"}`}), stops),
			"deny oauth_code policy 307 access_denied",
		},
		{
			"a redirect that the program stops at, of metadata that need not be",
			with(discovers(&scriptReply{status: 307, location: "/next"}), func(s *script) { s.calls = "ap"; stops(s) }),
			"allow oauth_code ok 200",
		},
		{"a redirect that the program forbids", with(refreshes(&scriptReply{status: 302, location: "/other"}), fails), "error oauth_refresh refresh_failed 302 _OTHER"},
		{"a redirect of metadata that the program forbids", with(discovers(&scriptReply{status: 302, location: "/other"}), fails), "error oauth_discovery verifier_unavailable 302 _OTHER"},
		{
			"a token behind redirects", exchanges(&scriptReply{status: 308, location: "/1"}, &scriptReply{status: 307, location: "http://other.example/2"}, &scriptReply{status: 201, body: goodToken}),
			"allow oauth_code ok 201",
		},
		{"metadata behind a redirect", with(discovers(&scriptReply{status: 302, location: "/1"}, &scriptReply{status: 200, body: goodResource}), func(s *script) { s.calls = "ap" }), "allow oauth_code ok 200"},

		{"metadata of another origin", discovers(&scriptReply{status: 200, body: `{"resource":"http://victim.example/srv","authorization_servers":["http://as.example"]}`}), "deny oauth_discovery audience_mismatch 200"},
		{"metadata of another origin without servers", discovers(&scriptReply{status: 200, body: `{"resource":"http://victim.example/srv"}`}), "deny oauth_discovery audience_mismatch 200"},
		{"metadata of another path without servers", discovers(&scriptReply{status: 200, body: `{"resource":"http://mcp.example/srv/mc"}`}), "deny oauth_discovery audience_mismatch 200"},
		{"metadata of another query without servers", discovers(&scriptReply{status: 200, body: `{"resource":"http://mcp.example/srv?x"}`}), "deny oauth_discovery audience_mismatch 200"},
		{"metadata of another origin that was named", with(discovers(&scriptReply{status: 200, body: `{"resource":"http://victim.example/srv/mcp"}`}), named), "deny oauth_discovery audience_mismatch 200"},
		{"metadata of a part that was named", with(discovers(noServers), named), "deny oauth_discovery audience_mismatch 200"},
		{"metadata of nothing that was named", with(discovers(&scriptReply{status: 200, body: `{}`}), named), "deny oauth_discovery audience_mismatch 200"},
		{"metadata of nothing with servers that was named", with(discovers(&scriptReply{status: 200, body: `{"authorization_servers":["http://as.example"]}`}), named), "deny oauth_discovery audience_mismatch 200"},
		{"metadata without servers", with(discovers(noServers), func(s *script) { s.calls = "ap" }), "allow oauth_code ok 200"},
		{"metadata of nothing", with(discovers(&scriptReply{status: 200, body: `null`}), func(s *script) { s.calls = "ap" }), "allow oauth_code ok 200"},
		{"metadata with an empty server", discovers(&scriptReply{status: 200, body: `{"authorization_servers":[""]}`}), "error oauth_discovery verifier_unavailable 200 _OTHER"},
		{"metadata with servers that are none", discovers(&scriptReply{status: 200, body: `{"authorization_servers":["http://as.example",5]}`}), "error oauth_discovery verifier_unavailable 200 _OTHER"},
		{
			"metadata of another origin behind padding",
			discovers(&scriptReply{status: 200, padding: " ", padded: 2 * padded, body: `{"resource":"http://victim.example/srv"}`}),
			"deny oauth_discovery audience_mismatch 200",
		},
		{"no metadata that was named", with(discovers(&scriptReply{status: 404}), named), "error oauth_discovery verifier_unavailable 404 404"},
		{"metadata that is cut off", discovers(&scriptReply{status: 200, body: goodResource[:20], broken: true}), "error oauth_discovery verifier_unavailable 200 connection_lost"},
		{
			"another issuer", discovers(nil, &scriptReply{status: 200, body: `{"issuer":"http://evil.example"}`}),
			"deny oauth_discovery issuer_mismatch 200",
		},
		{
			"another issuer at the second place", discovers(nil, &scriptReply{status: 404}, &scriptReply{status: 200, body: `{"issuer":"http://evil.example"}`}),
			"deny oauth_discovery issuer_mismatch 200",
		},
		{
			"another issuer after metadata that mcp-go does not take",
			discovers(nil, &scriptReply{status: 200, body: `{"issuer":"javascript:alert(1)"}`}, &scriptReply{status: 200, body: `{"issuer":"http://evil.example"}`}),
			"deny oauth_discovery issuer_mismatch 200",
		},
		{
			"a server's metadata that is too long",
			with(discovers(&scriptReply{status: 200, padding: " ", padded: padded, body: goodServer}), func(s *script) { s.direct = true }),
			"error oauth_discovery verifier_unavailable 200 _OTHER",
		},
		{
			"a server's metadata that leads nowhere",
			with(discovers(loop(302, "/again")...), func(s *script) { s.direct = true }),
			"error oauth_discovery verifier_unavailable 302 _OTHER",
		},
		{
			"a path that looks like that of a server's metadata",
			with(discovers(&scriptReply{status: 302, location: "/.well-known/oauth-authorization-server"}, &scriptReply{status: 404}), named),
			"error oauth_discovery verifier_unavailable 404 404",
		},
	}
}

func TestOAuthAnswers(t *testing.T) {
	for _, c := range oauthCases() {
		t.Run(c.name, func(t *testing.T) {
			is := c.s.check(t)
			if len(is) == 0 || is[len(is)-1] != c.want {
				t.Errorf("decided %q, want %q", is, c.want)
			}
		})
	}
}

// A server that says every secret that it was told, in every field, and in every place
// that it names.
func TestOAuthEchoes(t *testing.T) {
	resource := &scriptReply{status: 200, body: `{"resource":"http://§h.example/§p","authorization_servers":["http://§h.example/"]}`}
	for _, c := range []struct {
		name string
		s    *script
	}{
		{"registration", &script{calls: "rap", replies: []*scriptReply{nil, nil, {
			status: 201, body: strings.ReplaceAll(goodRegistration, "client-1", scriptManage+"-1"), piece: 7,
		}}}},
		{"the scope of a client", registers(&scriptReply{status: 201, body: strings.ReplaceAll(goodRegistration, "a b", scriptIssued+" a "+scriptManage)})},
		{"the scope of a token", exchanges(&scriptReply{status: 200, body: strings.ReplaceAll(goodToken, `"a b"`, `"`+scriptAccess+" "+scriptRefresh+` "`)})},
		{"what a token was asked with", exchanges(&scriptReply{status: 200, body: `{"access_token":"x","scope":"§ §p §b §h"}`})},
		{"a scope in parts", exchanges(&scriptReply{status: 200, body: `{"access_token":"x","scope":"` + scriptCode[:8] + " " + scriptCode[8:16] + " " + scriptCode[16:24] + `"}`})},
		{"an error", exchanges(&scriptReply{status: 400, body: `{"error":"§","error_description":"§","error_uri":"http://§h/"}`})},
		{"a place", exchanges(&scriptReply{status: 307, location: "http://§h.example/§"}, &scriptReply{status: 200, body: goodToken})},
		{"a place that is not there", refreshes(&scriptReply{status: 307, location: "http://x§h/"}, &scriptReply{})},
		{"a place that is none", refreshes(&scriptReply{status: 307, location: "http://§ §/%zz"})},
		{"basic credentials", with(exchanges(&scriptReply{status: 200, body: `{"access_token":"x","scope":"§ §b"}`}), func(s *script) { s.basic = true })},
		{"a secret of the program's", with(discovers(&scriptReply{status: 200, body: `{"resource":"http://` + scriptSecret + `/"}`}), func(s *script) { s.calls = "a" })},
		{"what a refresh was asked with", with(refreshes(nil, resource), func(s *script) { s.calls = "ff" })},
		{"metadata after a code that failed", &script{calls: "papa", registered: true, replies: []*scriptReply{
			nil, nil, {status: 200, body: goodServer}, nil, resource, {status: 200, body: `{"issuer":"http://§h.example"}`},
		}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if is := c.s.check(t); len(is) == 0 {
				t.Error("nothing was decided")
			}
		})
	}
}

// However much a server issues, what it was told it cannot say.
func TestOAuthFloodOfSecrets(t *testing.T) {
	long := func(n int) string {
		var b strings.Builder
		for k := 0; b.Len() < 16<<10; k++ {
			sum := sha256.Sum256(fmt.Append(nil, n, k))
			b.WriteString(base64.RawURLEncoding.EncodeToString(sum[:]))
		}
		return b.String()
	}
	var issued strings.Builder
	for n, name := range []string{"access_token", "refresh_token", "id_token", "client_secret", "registration_access_token", "device_code", "code"} {
		fmt.Fprintf(&issued, "%q:%q,", name, long(n))
	}
	for _, s := range []*script{
		exchanges(&scriptReply{status: 200, body: `{` + issued.String() + `"scope":"§ §p §b §h"}`}),
		refreshes(&scriptReply{status: 200, body: `{` + issued.String() + `"scope":"§ §p §b §h"}`}),
		with(exchanges(&scriptReply{status: 200, body: `{` + issued.String() + `"scope":"§"}`}), func(s *script) { s.basic = true }),
	} {
		if is := s.check(t); len(is) != 1 || !strings.HasPrefix(is[0], "allow") {
			t.Errorf("decided %q", is)
		}
	}
}

// Credentials are known whether or not their header says of which scheme they are.
func TestEchoedCredentials(t *testing.T) {
	const secret = "Vq8mTzLr3XcPw7NkHd5YbJf2GsEa9UoK"
	for name, value := range map[string]string{
		"Authorization":       secret,
		"Proxy-Authorization": "Bearer " + secret,
		"Cookie":              "theme=dark; session=" + secret,
		"X-Api-Key":           secret,
	} {
		t.Run(name, func(t *testing.T) {
			capture, opts := captureOptions(t)
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				challenged(w, http.StatusForbidden, `Bearer error="insufficient_scope", scope="a `+secret+`"`)
			}))
			t.Cleanup(web.Close)
			req := must(http.NewRequestWithContext(t.Context(), http.MethodPost, web.URL, http.NoBody))
			req.Header.Set(name, value)
			req.Header.Set("Mcp-Session-Id", "of-"+secret)
			res, err := otelmcp.InstrumentHTTPClient(nil, opts...).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if len(decided(t, capture)) != 1 {
				t.Errorf("decided %q", decided(t, capture))
			}
			eachString(t, capture, func(where, text string) {
				if part := disclosed(text, secret); part != "" {
					t.Errorf("%s has %q in %q", where, part, text)
				}
			})
		})
	}
}

// A client id that is a secret is none where nobody but the handler knows it.
func TestOAuthClientIDOfAnotherState(t *testing.T) {
	s := &script{calls: "rs", replies: []*scriptReply{nil, nil, {status: 201, body: strings.ReplaceAll(goodRegistration, "client-1", "x"+scriptManage)}}}
	want := []string{"allow oauth_registration ok 201", "deny oauth_code state_mismatch"}
	if is := s.check(t); !slices.Equal(is, want) {
		t.Errorf("decided %q, want %q", is, want)
	}
}

// Handlers that share a config, at a time: each decision is that of its own exchange.
func TestOAuthSharedConfig(t *testing.T) {
	capture, opts := captureOptions(t)
	srv := &manyScripted{}
	cfg := otelmcp.InstrumentOAuth(transport.OAuthConfig{
		RedirectURI: "http://localhost/callback", ClientID: "known", HTTPClient: &http.Client{Transport: srv, Timeout: time.Minute},
	}, opts...)
	const handlers, rounds = 16, 20
	var wg sync.WaitGroup
	for range handlers {
		wg.Go(func() {
			for range rounds {
				own := cfg
				own.TokenStore = transport.NewMemoryTokenStore()
				h := transport.NewOAuthHandler(own)
				h.SetBaseURL(scriptBase)
				h.SetExpectedState(scriptState)
				if err := h.ProcessAuthorizationResponse(t.Context(), scriptCode, scriptState, scriptVerifier); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	is := decided(t, capture)
	if n := len(is); n != handlers*rounds {
		t.Errorf("%d decisions of %d exchanges", n, handlers*rounds)
	}
	for _, d := range is {
		if d != "allow oauth_code ok 200" {
			t.Errorf("decided %q", d)
		}
	}
}

// manyScripted answers many clients as it should.
type manyScripted struct{}

func (*manyScripted) RoundTrip(req *http.Request) (*http.Response, error) {
	one := &scriptedServer{script: &script{}, heard: map[string]bool{}}
	return one.RoundTrip(req)
}

// However much a server sends, what we keep of it is bounded.
func TestOAuthAnswersAreBounded(t *testing.T) {
	measuresMemory(t)
	const size = 16 << 20
	run := func(s *script, observed bool) uint64 {
		capture, opts := captureOptions(t)
		if !observed {
			capture, opts = nil, nil
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		all := s.run(t, capture, opts)
		runtime.ReadMemStats(&after)
		if observed && !slices.Equal(all[0].decided, []string{"deny oauth_refresh refresh_failed 400 invalid_grant"}) {
			t.Errorf("decided %q", all[0].decided)
		}
		return after.TotalAlloc - before.TotalAlloc
	}
	for name, body := range map[string]string{
		"spaces":  strings.Repeat(" ", size) + `{"error":"invalid_grant"}`,
		"text":    `{"error_description":"` + strings.Repeat("x", size) + `","error":"invalid_grant"}`,
		"members": `{` + strings.Repeat(`"a":[{}],`, size/9) + `"error":"invalid_grant"}`,
	} {
		t.Run(name, func(t *testing.T) {
			bare, ours := run(refreshes(&scriptReply{status: 400, body: body}), false), run(refreshes(&scriptReply{status: 400, body: body}), true)
			if ours > bare+8<<20 {
				t.Errorf("%d bytes were allocated, %d without us", ours, bare)
			}
		})
	}
}

// FuzzOAuthServer is an OAuth server that answers at random.
func FuzzOAuthServer(f *testing.F) {
	for _, c := range oauthCases() {
		if seed := c.s.encode(); seed != nil {
			f.Add(seed)
		}
	}
	for n := range 24 {
		var seed []byte
		for k := range 60 {
			seed = append(seed, byte(n*37+k*k*11+k))
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := decodeScript(data)
		s.check(t)
		if t.Failed() {
			t.Log(s.describe())
		}
	})
}

// What a script is made of, when its bytes are read.
var (
	scriptCalls    = []string{"rapf", "apf", "rapfapf", "fapf", "ap", "r", "f", "papa", "rrapff"}
	scriptStatuses = []int{200, 201, 202, 204, 206, 299, 300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 418, 500, 503, 101, 0}
	scriptPlaces   = []string{
		"", "/next", "/token", "http://other.example/§", "http://§h.example/", "http://%zz/", "ftp://as.example/", "?", "//", "/.well-known/oauth-authorization-server",
		"http://as.example/.well-known/openid-configuration", "http://mcp.example/.well-known/oauth-protected-resource/srv/mcp",
	}
	scriptBodies = []string{
		goodResource, goodServer, goodRegistration, goodToken, `{"resource":"http://mcp.example/srv/mcp"}`, `{"resource":"http://mcp.example/srv/mcp","authorization_servers":["http://as.example/","x"]}`,
		`{"resource":"http://mcp.example/srv"}`, `{"resource":"http://mcp.example"}`, `{"resource":"http://MCP.example/srv/"}`, `{"resource":"http://victim.example","authorization_servers":["http://as.example"]}`,
		`{"resource":"http://mcp.example/srv/mc"}`, `{"resource":"http://u:§@mcp.example/srv","authorization_servers":["http://§h.example"]}`, `{"authorization_servers":["http://mcp.example"]}`,
		`{"authorization_servers":["nowhere"]}`, `{"authorization_servers":[null]}`, `{"authorization_servers":[5]}`, `{"authorization_servers":["http://as.example:/a/b"]}`, `{"authorization_servers":["ftp://as.example"]}`,
		`{"resource":5}`, `{"resource":"%zz"}`, `{"resource":"http://§h/§p"}`, `{"issuer":"http://evil.example"}`, `{"issuer":"http://as.example/"}`, `{"issuer":"http://§h.example","token_endpoint":"http://§h.example/t"}`,
		`{"issuer":"http://as.example","token_endpoint":"http://§h.example/t","registration_endpoint":"http://§h.example/r"}`, `{"issuer":"javascript:x"}`, `{"token_endpoint":"http://"}`, `{"issuer":"http://as.example"}`,
		`{"issuer":"http://as.example","registration_endpoint":"HTTP://as.example/%2f","token_endpoint":"http://as.example/t?x=§"}`,
		`{"client_id":"§","scope":"§p"}`, `{"client_id":"x","error":"invalid_request"}`, `{"client_id":5}`, `{"client_id":"x","scope":["a"]}`, `{"client_id":"x","client_secret":"` + scriptIssued + `","scope":"` + scriptIssued + `"}`,
		`{"error":"invalid_grant"}`, `{"error":"§"}`, `{"error":"server_error","access_token":"x"}`, `{"error":"","access_token":"x"}`, `{"error":5,"access_token":"x"}`, `{"ERROR":"access_denied"}`, `{"error":"x","error_uri":5}`,
		`{"access_token":""}`, `{"access_token":"x","expires_in":"5"}`, `{"access_token":"x","expires_in":1e3}`, `{"access_token":"x","expires_at":"2026-01-02T03:04:05Z"}`, `{"access_token":"x","expires_at":"§"}`,
		`{"access_token":"x","scope":"§ §b §h"}`, `{"access_token":"x","scope":"§ §p","refresh_token":"y"}`, goodToken + "x", goodToken + " ", `null`, `[]`, `"x"`, `5`, `{}`, ``, `{`, `nullx`,
	}
	scriptPads = []struct {
		text string
		size int
	}{{"", 0}, {" ", 100}, {"\n", 70_000}, {" ", 1 << 20}, {"x", 10}, {`[`, 12_000}, {"\x00", 1}}
	scriptErrors = []error{nil, http.ErrUseLastResponse, errors.New("no redirects here")}
)

// decodeScript makes a script of bytes: eight for what the flow is, and then seven or
// more for each answer.
func decodeScript(data []byte) *script {
	next := func() byte {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return b
	}
	flags := next()
	s := &script{
		calls: scriptCalls[int(next())%len(scriptCalls)], registered: flags&1 != 0, basic: flags&2 != 0, named: flags&4 != 0, direct: flags&8 != 0, trusting: flags&16 != 0,
		checks: flags&32 != 0, redirects: scriptErrors[int(next())%len(scriptErrors)],
	}
	for len(data) > 0 && len(s.replies) < 40 {
		kind := next()
		if kind == 0 {
			s.replies = append(s.replies, nil)
			continue
		}
		r := &scriptReply{
			status: scriptStatuses[int(next())%len(scriptStatuses)], location: scriptPlaces[int(next())%len(scriptPlaces)],
			piece: int(next()), broken: kind&2 != 0, bodiless: kind&4 != 0,
		}
		pad := scriptPads[int(next())%len(scriptPads)]
		r.padding, r.padded = pad.text, pad.size
		if r.padded > 1000 {
			r.piece = 0
		}
		if body := int(next()); body < len(scriptBodies) {
			r.body = scriptBodies[body]
		} else { // as it comes
			n := min(int(next()), len(data))
			r.body, data = string(data[:n]), data[n:]
		}
		if kind&8 != 0 {
			r.body = r.body[:int(next())%(len(r.body)+1)]
		}
		s.replies = append(s.replies, r)
	}
	return s
}

// encode is the opposite of decodeScript, where there is one.
func (s *script) encode() []byte {
	var flags byte
	for k, set := range []bool{s.registered, s.basic, s.named, s.direct, s.trusting, s.checks} {
		if set {
			flags |= 1 << k
		}
	}
	calls := max(slices.Index(scriptCalls, s.calls), 0)
	data := []byte{flags, byte(calls), byte(max(slices.IndexFunc(scriptErrors, func(err error) bool { return fmt.Sprint(err) == fmt.Sprint(s.redirects) }), 0))}
	for _, r := range s.replies {
		if r == nil {
			data = append(data, 0)
			continue
		}
		kind := byte(1)
		if r.broken {
			kind |= 2
		}
		if r.bodiless {
			kind |= 4
		}
		pad := 0
		for k, p := range scriptPads {
			if p.size <= r.padded && p.text == r.padding {
				pad = k
			}
		}
		data = append(data, kind, byte(max(slices.Index(scriptStatuses, r.status), 0)), byte(max(slices.Index(scriptPlaces, r.location), 0)), byte(r.piece), byte(pad))
		if body := slices.Index(scriptBodies, r.body); body >= 0 {
			data = append(data, byte(body))
			continue
		}
		if len(r.body) > 255 {
			return nil
		}
		data = append(append(data, 255, byte(len(r.body))), r.body...)
	}
	return data
}
