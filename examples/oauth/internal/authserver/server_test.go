// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package authserver

// The server as a client, a resource server and an attacker meet it: over HTTP,
// with a clock of the test's own.

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	notes    = "https://notes.example/mcp"
	callback = "http://127.0.0.1:7000/callback?keep=1"
	verifier = "a-code-verifier-of-at-least-forty-three-characters"
)

// fixture is a running server.
type fixture struct {
	t *testing.T
	*Server
	offset atomic.Int64 // of the clock
}

func start(t *testing.T, change func(*Config)) *fixture {
	t.Helper()
	f := &fixture{t: t}
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.ServeHTTP(w, r) }))
	c := Config{
		Issuer: "http://" + web.Listener.Addr().String(),
		Users:  []User{{Name: "alice", Roles: []string{"admin"}}, {Name: "bob"}},
		Scopes: []string{"read", "write"}, Resources: []string{notes, "https://other.example/mcp"},
		Introspectors: map[string]string{"notes server": "p:ss%"},
		Algorithm:     "ES256",
		Now:           func() time.Time { return time.Now().Add(time.Duration(f.offset.Load())) },
	}
	if change != nil {
		change(&c)
	}
	var err error
	if f.Server, err = New(c); err != nil {
		t.Fatal(err)
	}
	web.Start()
	t.Cleanup(web.Close)
	return f
}

func (f *fixture) pass(d time.Duration) { f.offset.Add(int64(d)) }

// reply is an answer, read.
type reply struct {
	*http.Response
	document map[string]any
}

func (r reply) text(name string) string { s, _ := r.document[name].(string); return s }

func (f *fixture) do(method, path, contentType, body string, change func(*http.Request)) reply {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.Issuer+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	if change != nil {
		change(req)
	}
	res, err := http.DefaultTransport.RoundTrip(req) // follows no redirection
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	r := reply{Response: res}
	_ = json.Unmarshal(data, &r.document)
	return r
}

func (f *fixture) post(path string, form url.Values, change func(*http.Request)) reply {
	f.t.Helper()
	return f.do("POST", path, "application/x-www-form-urlencoded", form.Encode(), change)
}

func basic(id, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(password)) }
}

// asClient registers a client with a method, and returns its id and secret.
func (f *fixture) asClient(method string, grants ...string) (id, password string) {
	f.t.Helper()
	if len(grants) == 0 {
		grants = grantTypes
	}
	body, _ := json.Marshal(map[string]any{
		"redirect_uris": []string{callback}, "token_endpoint_auth_method": method, "grant_types": grants,
	})
	r := f.do("POST", "/register", "application/json", string(body), nil)
	if r.StatusCode != http.StatusCreated {
		f.t.Fatalf("%s %v", r.Status, r.document)
	}
	return r.text("client_id"), r.text("client_secret")
}

func challenge() string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func authorization(client string) url.Values {
	return url.Values{
		"response_type": {"code"}, "client_id": {client}, "redirect_uri": {callback}, "state": {"s&t"}, "scope": {"read write"},
		"code_challenge": {challenge()}, "code_challenge_method": {"S256"}, "resource": {notes},
	}
}

// authorize returns what the user is sent back with; nil, if they are not.
func (f *fixture) ask(query url.Values) url.Values {
	f.t.Helper()
	r := f.do("GET", "/authorize?"+query.Encode(), "", "", nil)
	if r.StatusCode != http.StatusFound {
		return nil
	}
	to, err := r.Location()
	if err != nil || !strings.HasPrefix(to.String(), "http://127.0.0.1:7000/callback?") || to.Query().Get("keep") != "1" {
		f.t.Fatalf("sent to %q: %v", r.Header.Get("Location"), err)
	}
	return to.Query()
}

func (f *fixture) code(client string) string {
	f.t.Helper()
	code := f.ask(authorization(client)).Get("code")
	if code == "" {
		f.t.Fatal("no code")
	}
	return code
}

func exchange(client, code string) url.Values {
	return url.Values{
		"grant_type": {"authorization_code"}, "client_id": {client}, "code": {code}, "redirect_uri": {callback},
		"code_verifier": {verifier}, "resource": {notes},
	}
}

func refreshment(client, token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "client_id": {client}, "refresh_token": {token}}
}

// signIn gets tokens for a public client.
func (f *fixture) signIn(client string) (access, refresh string) {
	f.t.Helper()
	r := f.post("/token", exchange(client, f.code(client)), nil)
	if r.StatusCode != http.StatusOK {
		f.t.Fatalf("%s %v", r.Status, r.document)
	}
	return r.text("access_token"), r.text("refresh_token")
}

func (f *fixture) active(token string) bool {
	f.t.Helper()
	r := f.post("/introspect", url.Values{"token": {token}}, basic("notes server", "p:ss%"))
	active, ok := r.document["active"].(bool)
	if r.StatusCode != http.StatusOK || !ok {
		f.t.Fatalf("%s %v", r.Status, r.document)
	}
	if !active && len(r.document) != 1 {
		f.t.Errorf("it tells of a token that is worth nothing: %v", r.document)
	}
	return active
}

// refused checks an error of the token endpoint and its kin.
func (f *fixture) refused(r reply, status int, code string) {
	f.t.Helper()
	if r.StatusCode != status || r.text("error") != code {
		f.t.Errorf("%s %v instead of %d %s", r.Status, r.document, status, code)
	}
	if r.Header.Get("Cache-Control") != "no-store" {
		f.t.Error("the answer may be cached")
	}
}

func TestMetadata(t *testing.T) {
	f := start(t, nil)
	r := f.do("GET", "/.well-known/oauth-authorization-server", "", "", nil)
	if r.StatusCode != http.StatusOK || r.text("issuer") != f.Issuer {
		t.Fatalf("%s %v", r.Status, r.document)
	}
	for _, endpoint := range []string{
		"authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint", "introspection_endpoint", "jwks_uri",
	} {
		path, ours := strings.CutPrefix(r.text(endpoint), f.Issuer)
		if got := f.do("PUT", path, "", "", nil); !ours || got.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: nothing is at %q: %s", endpoint, r.text(endpoint), got.Status)
		}
	}
	if methods, _ := r.document["code_challenge_methods_supported"].([]any); len(methods) != 1 || methods[0] != "S256" {
		t.Errorf("PKCE with %v", methods)
	}
	if announced, _ := r.document["authorization_response_iss_parameter_supported"].(bool); !announced {
		t.Error("RFC 9207 is not announced")
	}
}

func TestRegistration(t *testing.T) {
	f := start(t, nil)
	for _, test := range []struct{ name, body, problem string }{
		{"loopback", `{"redirect_uris":["http://127.0.0.1:1/cb"],"token_endpoint_auth_method":"none"}`, ""},
		{"localhost", `{"redirect_uris":["http://localhost/cb"],"scope":"read","client_uri":"https://x.example"}`, ""},
		{"https", `{"redirect_uris":["https://app.example/cb"],"token_endpoint_auth_method":"client_secret_post"}`, ""},
		{"private scheme", `{"redirect_uris":["com.example.app:/cb"]}`, ""},
		{"no redirect", `{}`, "invalid_redirect_uri"},
		{"plain http", `{"redirect_uris":["http://app.example/cb"]}`, "invalid_redirect_uri"},
		{"fragment", `{"redirect_uris":["https://app.example/cb#"]}`, "invalid_redirect_uri"},
		{"javascript", `{"redirect_uris":["javascript:alert(1)"]}`, "invalid_redirect_uri"},
		{"userinfo", `{"redirect_uris":["http://127.0.0.1@evil.example/"]}`, "invalid_redirect_uri"},
		{"one of two", `{"redirect_uris":["https://app.example/cb","http://app.example/cb"]}`, "invalid_redirect_uri"},
		{"implicit", `{"redirect_uris":["https://app.example/cb"],"response_types":["token"]}`, "invalid_client_metadata"},
		{"password", `{"redirect_uris":["https://app.example/cb"],"grant_types":["authorization_code","password"]}`, "invalid_client_metadata"},
		{"no code grant", `{"redirect_uris":["https://app.example/cb"],"grant_types":["refresh_token"]}`, "invalid_client_metadata"},
		{"method", `{"redirect_uris":["https://app.example/cb"],"token_endpoint_auth_method":"private_key_jwt"}`, "invalid_client_metadata"},
		{"no JSON", `nonsense`, "invalid_client_metadata"},
		{"too long", `{"client_name":"` + strings.Repeat("x", maxBody) + `"}`, "invalid_client_metadata"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &fixture{t: t, Server: f.Server}
			r := f.do("POST", "/register", "application/json", test.body, nil)
			if test.problem != "" {
				f.refused(r, http.StatusBadRequest, test.problem)
				return
			}
			secret, isSecret := r.document["client_secret"]
			if r.StatusCode != http.StatusCreated || r.text("client_id") == "" || r.Header.Get("Cache-Control") != "no-store" ||
				isSecret == (r.text("token_endpoint_auth_method") == "none") || isSecret && r.document["client_secret_expires_at"] != 0.0 {
				t.Errorf("%s %v, secret %v", r.Status, slices.Sorted(maps.Keys(r.document)), secret != nil)
			}
		})
	}
	f.mu.Lock()
	for k := range maxClients {
		f.clients[strings.Repeat("x", k)] = &registration{}
	}
	f.mu.Unlock()
	f.refused(f.do("POST", "/register", "application/json", `{"redirect_uris":["https://app.example/cb"]}`, nil),
		http.StatusServiceUnavailable, "temporarily_unavailable")
}

func TestAuthorization(t *testing.T) {
	f := start(t, nil)
	client, _ := f.asClient("none")
	for _, test := range []struct {
		name    string
		change  func(url.Values)
		problem string // "-": the user must not be sent anywhere
	}{
		{"as it should be", func(url.Values) {}, ""},
		{"another user", func(q url.Values) { q.Set("login_hint", "bob") }, ""},
		{"no scope", func(q url.Values) { q.Del("scope") }, ""},
		{"unknown user", func(q url.Values) { q.Set("login_hint", "mallory") }, "access_denied"},
		{"unknown client", func(q url.Values) { q.Set("client_id", "x") }, "-"},
		{"no client", func(q url.Values) { q.Del("client_id") }, "-"},
		{"no redirect", func(q url.Values) { q.Del("redirect_uri") }, "-"},
		{"another redirect", func(q url.Values) { q.Set("redirect_uri", "https://evil.example/") }, "-"},
		{"a longer redirect", func(q url.Values) { q.Set("redirect_uri", callback+"&more=1") }, "-"},
		{"another port", func(q url.Values) { q.Set("redirect_uri", strings.Replace(callback, "7000", "7001", 1)) }, "-"},
		{"two redirects", func(q url.Values) { q.Add("redirect_uri", "https://evil.example/") }, "-"},
		{"token", func(q url.Values) { q.Set("response_type", "token") }, "unsupported_response_type"},
		{"no PKCE", func(q url.Values) { q.Del("code_challenge") }, "invalid_request"},
		{"plain PKCE", func(q url.Values) { q.Set("code_challenge_method", "plain") }, "invalid_request"},
		{"plain PKCE by default", func(q url.Values) { q.Del("code_challenge_method") }, "invalid_request"},
		{"short challenge", func(q url.Values) { q.Set("code_challenge", "x") }, "invalid_request"},
		{"twice", func(q url.Values) { q.Add("state", "y") }, "invalid_request"},
		{"unknown scope", func(q url.Values) { q.Set("scope", "read admin") }, "invalid_scope"},
		{"no resource", func(q url.Values) { q.Del("resource") }, "invalid_target"},
		{"unknown resource", func(q url.Values) { q.Set("resource", "https://evil.example/mcp") }, "invalid_target"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &fixture{t: t, Server: f.Server}
			query := authorization(client)
			test.change(query)
			back := f.ask(query)
			if test.problem == "-" {
				if back != nil {
					t.Errorf("sent back with %v", back)
				}
				return
			}
			if back.Get("state") != "s&t" || back.Get("iss") != f.Issuer || back.Get("error") != test.problem ||
				(back.Get("code") == "") == (test.problem == "") {
				t.Errorf("sent back with %v", back)
			}
		})
	}
}

func TestCodeIsExchanged(t *testing.T) {
	f := start(t, func(c *Config) { c.Algorithm = "" }) // RS256, as RFC 9068 has it
	client, _ := f.asClient("none")
	query := authorization(client)
	query.Set("login_hint", "alice")
	r := f.post("/token", exchange(client, f.ask(query).Get("code")), nil)
	if r.StatusCode != http.StatusOK || r.text("token_type") != "Bearer" || r.document["expires_in"] != 300.0 ||
		r.text("scope") != "read write" || r.text("refresh_token") == "" || r.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%s %v %v", r.Status, r.Header, r.document)
	}
	token, err := jwt.ParseSigned(r.text("access_token"), []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	if token.Headers[0].ExtraHeaders["typ"] != "at+jwt" {
		t.Errorf("type %v", token.Headers[0].ExtraHeaders["typ"])
	}
	var got claims
	if err := token.Claims(f.key(token.Headers[0].KeyID), &got); err != nil {
		t.Fatal(err)
	}
	if got.Issuer != f.Issuer || got.Subject != "alice" || !slices.Equal(got.Audience, []string{notes}) || got.ClientID != client ||
		got.Scope != "read write" || !slices.Equal(got.Roles, []string{"admin"}) || got.ID == "" || got.Expires-got.Issued != 300 {
		t.Errorf("claims %+v", got)
	}
}

// key gets a public key from the JWKS, and nil if it is not there.
func (f *fixture) key(id string) any {
	f.t.Helper()
	var set jose.JSONWebKeySet
	document, _ := json.Marshal(f.do("GET", "/jwks", "", "", nil).document)
	if err := json.Unmarshal(document, &set); err != nil {
		f.t.Fatal(err)
	}
	for k := range set.Keys {
		key := &set.Keys[k]
		if !key.IsPublic() {
			f.t.Fatal("a private key is published")
		}
		if key.KeyID == id {
			return key.Key
		}
	}
	return nil
}

func TestCodeIsRefused(t *testing.T) {
	f := start(t, nil)
	client, _ := f.asClient("none")
	other, _ := f.asClient("none")
	for _, test := range []struct {
		name    string
		change  func(url.Values)
		problem string
	}{
		{"no code", func(v url.Values) { v.Del("code") }, "invalid_grant"},
		{"unknown code", func(v url.Values) { v.Set("code", "x") }, "invalid_grant"},
		{"another client's", func(v url.Values) { v.Set("client_id", other) }, "invalid_grant"},
		{"no verifier", func(v url.Values) { v.Del("code_verifier") }, "invalid_grant"},
		{"another verifier", func(v url.Values) { v.Set("code_verifier", verifier+"x") }, "invalid_grant"},
		{"the challenge", func(v url.Values) { v.Set("code_verifier", challenge()) }, "invalid_grant"},
		{"another redirect", func(v url.Values) { v.Set("redirect_uri", "http://127.0.0.1:7000/callback") }, "invalid_grant"},
		{"no redirect", func(v url.Values) { v.Del("redirect_uri") }, "invalid_grant"},
		{"another resource", func(v url.Values) { v.Set("resource", "https://other.example/mcp") }, "invalid_target"},
		{"twice", func(v url.Values) { v.Add("code", "x") }, "invalid_request"},
		{"another grant", func(v url.Values) { v.Set("grant_type", "client_credentials") }, "unsupported_grant_type"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &fixture{t: t, Server: f.Server}
			form := exchange(client, f.code(client))
			test.change(form)
			f.refused(f.post("/token", form, nil), http.StatusBadRequest, test.problem)
		})
	}
	// Who did not prove it the first time gets no second try.
	form := exchange(client, f.code(client))
	form.Set("code_verifier", verifier+"x")
	f.post("/token", form, nil)
	form.Set("code_verifier", verifier)
	f.refused(f.post("/token", form, nil), http.StatusBadRequest, "invalid_grant")
	// A code does not wait.
	form = exchange(client, f.code(client))
	f.pass(codeLifetime)
	f.refused(f.post("/token", form, nil), http.StatusBadRequest, "invalid_grant")
}

// TestCodeIsForOneUse: the second use says that the code was stolen, and takes
// back what the first one gave.
func TestCodeIsForOneUse(t *testing.T) {
	f := start(t, nil)
	client, _ := f.asClient("none")
	form := exchange(client, f.code(client))
	first := f.post("/token", form, nil)
	if !f.active(first.text("access_token")) {
		t.Fatal("the first use gave nothing")
	}
	f.refused(f.post("/token", form, nil), http.StatusBadRequest, "invalid_grant")
	if f.active(first.text("access_token")) {
		t.Error("the token of the first use is still good")
	}
	f.refused(f.post("/token", refreshment(client, first.text("refresh_token")), nil), http.StatusBadRequest, "invalid_grant")
}

func TestRefreshRotates(t *testing.T) {
	f := start(t, nil)
	client, _ := f.asClient("none")
	access, first := f.signIn(client)
	form := refreshment(client, first)
	form.Set("scope", "read")
	r := f.post("/token", form, nil)
	second := r.text("refresh_token")
	if r.StatusCode != http.StatusOK || second == "" || second == first || r.text("scope") != "read" {
		t.Fatalf("%s %v", r.Status, r.document)
	}
	// The scope of one token is not that of the grant.
	r = f.post("/token", refreshment(client, second), nil)
	if r.StatusCode != http.StatusOK || r.text("scope") != "read write" {
		t.Fatalf("%s %v", r.Status, r.document)
	}
	third, latest := r.text("refresh_token"), r.text("access_token")
	// Whoever comes with the first one has stolen it, or was stolen from.
	f.refused(f.post("/token", refreshment(client, first), nil), http.StatusBadRequest, "invalid_grant")
	f.refused(f.post("/token", refreshment(client, third), nil), http.StatusBadRequest, "invalid_grant")
	if f.active(access) || f.active(latest) {
		t.Error("tokens outlive a stolen grant")
	}
}

func TestRefreshIsRefused(t *testing.T) {
	f := start(t, nil)
	client, _ := f.asClient("none")
	other, _ := f.asClient("none")
	access, refresh := f.signIn(client)
	for name, test := range map[string]struct {
		form    url.Values
		problem string
	}{
		"another client's": {refreshment(other, refresh), "invalid_grant"},
		"an access token":  {refreshment(client, access), "invalid_grant"},
		"none":             {refreshment(client, ""), "invalid_grant"},
		"more scope":       {url.Values{"scope": {"admin"}}, "invalid_scope"},
		"another resource": {url.Values{"resource": {"https://other.example/mcp"}}, "invalid_target"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fixture{t: t, Server: f.Server}
			form := refreshment(client, refresh)
			maps.Copy(form, test.form)
			f.refused(f.post("/token", form, nil), http.StatusBadRequest, test.problem)
		})
	}
	if r := f.post("/token", refreshment(client, refresh), nil); r.StatusCode != http.StatusOK {
		t.Errorf("what was refused used the token up: %s %v", r.Status, r.document)
	}
	_, refresh = f.signIn(client)
	f.pass(refreshLifetime)
	f.refused(f.post("/token", refreshment(client, refresh), nil), http.StatusBadRequest, "invalid_grant")

	short, _ := f.asClient("none", "authorization_code")
	if _, refresh := f.signIn(short); refresh != "" {
		t.Error("a refresh token for a client that did not ask for any")
	}
	f.refused(f.post("/token", refreshment(short, "x"), nil), http.StatusBadRequest, "unauthorized_client")
}

func TestClientAuthentication(t *testing.T) {
	f := start(t, nil)
	public, _ := f.asClient("none")
	id, password := f.asClient("client_secret_basic")
	poster, posted := f.asClient("client_secret_post")
	with := func(name, secret string) url.Values {
		return url.Values{"client_id": {name}, "client_secret": {secret}}
	}
	for name, test := range map[string]struct {
		form   url.Values
		change func(*http.Request)
		status int
		code   string
	}{
		// The grant is what is wrong with those that get so far.
		"public":              {url.Values{"client_id": {public}}, nil, 400, "invalid_grant"},
		"basic":               {nil, basic(id, password), 400, "invalid_grant"},
		"post":                {with(poster, posted), nil, 400, "invalid_grant"},
		"nobody":              {nil, nil, 401, "invalid_client"},
		"unknown":             {url.Values{"client_id": {"x"}}, nil, 401, "invalid_client"},
		"no secret":           {url.Values{"client_id": {id}}, nil, 401, "invalid_client"},
		"wrong secret":        {nil, basic(id, password+"x"), 401, "invalid_client"},
		"empty secret":        {nil, basic(id, ""), 401, "invalid_client"},
		"another method":      {with(id, password), nil, 401, "invalid_client"},
		"secret of a public":  {with(public, ""), nil, 401, "invalid_client"},
		"both":                {with(id, password), basic(id, password), 400, "invalid_request"},
		"two names":           {url.Values{"client_id": {public}}, basic(id, password), 401, "invalid_client"},
		"escape that is none": {nil, func(r *http.Request) { r.SetBasicAuth("%", "x") }, 401, "invalid_client"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fixture{t: t, Server: f.Server}
			form := url.Values{"grant_type": {"authorization_code"}, "code": {"x"}}
			maps.Copy(form, test.form)
			r := f.post("/token", form, test.change)
			f.refused(r, test.status, test.code)
			if test.status == http.StatusUnauthorized && r.Header.Get("WWW-Authenticate") == "" {
				t.Error("401 without a challenge")
			}
		})
	}
}

func TestRevocation(t *testing.T) {
	f := start(t, nil)
	client, _ := f.asClient("none")
	other, _ := f.asClient("none")
	access, refresh := f.signIn(client)
	again, _ := f.signIn(client)
	give := func(client, token string) reply {
		return f.post("/revoke", url.Values{"client_id": {client}, "token": {token}}, nil)
	}
	f.refused(give(other, access), http.StatusBadRequest, "unauthorized_client")
	f.refused(give("x", access), http.StatusUnauthorized, "invalid_client")
	f.refused(f.post("/revoke", url.Values{"client_id": {client}}, nil), http.StatusBadRequest, "invalid_request")
	if !f.active(access) {
		t.Fatal("revoked by somebody else")
	}
	if r := give(client, "unknown"); r.StatusCode != http.StatusOK {
		t.Errorf("an unknown token: %s", r.Status)
	}
	if r := give(client, access); r.StatusCode != http.StatusOK || f.active(access) {
		t.Errorf("%s, and active is %t", r.Status, f.active(access))
	}
	r := f.post("/token", refreshment(client, refresh), nil)
	latest := r.text("access_token")
	if !f.active(latest) || !f.active(again) {
		t.Error("an access token that was revoked took more with it than itself")
	}
	give(client, r.text("refresh_token"))
	if f.active(latest) || !f.active(again) {
		t.Error("a refresh token that was revoked should end its grant, and no other")
	}
	f.refused(f.post("/token", refreshment(client, r.text("refresh_token")), nil), http.StatusBadRequest, "invalid_grant")
}

func TestIntrospection(t *testing.T) {
	f := start(t, func(c *Config) {
		c.Opaque = func(scopes []string) bool { return slices.Contains(scopes, "write") }
	})
	client, password := f.asClient("client_secret_basic")
	access, err := f.Issue(Special{ClientID: client, User: "alice", Scopes: []string{"write"}, Resource: notes, Lifetime: time.Minute})
	if err != nil || strings.Contains(access, ".") {
		t.Fatalf("no opaque token: %v", err)
	}
	r := f.post("/introspect", url.Values{"token": {access}}, basic("notes server", "p:ss%"))
	if active, _ := r.document["active"].(bool); !active || r.text("iss") != f.Issuer || r.text("sub") != "alice" || r.text("client_id") != client || r.text("scope") != "write" ||
		r.text("token_type") != "Bearer" || len(r.document) != 11 {
		t.Errorf("%s %v", r.Status, r.document)
	}
	for name, change := range map[string]func(*http.Request){
		"nobody": nil, "wrong": basic("notes server", "x"), "unknown": basic("", ""), "a client": basic(client, password),
	} {
		if r := f.post("/introspect", url.Values{"token": {access}}, change); r.StatusCode != http.StatusUnauthorized || r.document["active"] != nil {
			t.Errorf("%s: %s %v", name, r.Status, r.document)
		}
	}
	public, _ := f.asClient("none")
	_, refresh := f.signIn(public)
	for name, token := range map[string]string{"a refresh token": refresh, "unknown": "x", "empty": ""} {
		if f.active(token) {
			t.Errorf("%s is active", name)
		}
	}
	f.pass(time.Minute)
	if f.active(access) {
		t.Error("an expired token is active")
	}
}

func TestSpecialTokens(t *testing.T) {
	f := start(t, nil)
	text, err := f.Issue(Special{ClientID: "c", User: "bob", Scopes: []string{"read"}, Resource: "https://elsewhere.example", Lifetime: -time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var got claims
	if err := token.Claims(f.key(token.Headers[0].KeyID), &got); err != nil {
		t.Fatal(err)
	}
	if got.Expires >= f.Now().Unix() || got.Issued > got.Expires || got.Audience[0] != "https://elsewhere.example" || got.Subject != "bob" {
		t.Errorf("claims %+v", got)
	}
	if f.active(text) {
		t.Error("an expired token is active")
	}
	if _, err := f.Issue(Special{User: "mallory"}); err == nil {
		t.Error("a token for nobody")
	}
}

func TestKeysRotate(t *testing.T) {
	f := start(t, nil)
	client, _ := f.asClient("none")
	kid := func() string {
		access, _ := f.signIn(client)
		token, err := jwt.ParseSigned(access, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		if err := token.Claims(f.key(token.Headers[0].KeyID), &claims{}); err != nil {
			t.Fatal(err)
		}
		return token.Headers[0].KeyID
	}
	first := kid()
	if err := f.RotateKey(); err != nil {
		t.Fatal(err)
	}
	second := kid()
	if first == second || f.key(first) == nil {
		t.Error("the new key should sign, and the old one still verify")
	}
	f.pass(f.Lifetime)
	if f.key(first) != nil || f.key(second) == nil {
		t.Error("the old key should go when its last token has expired")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	f := start(t, nil)
	client, _ := f.asClient("none")
	f.mu.Lock()
	for k := range maxRecords {
		f.codes[digestOf(strings.Repeat("x", k%200)+string(rune(k)))] = &code{expires: f.Now().Add(codeLifetime)}
	}
	f.mu.Unlock()
	if back := f.ask(authorization(client)); back.Get("error") != "temporarily_unavailable" {
		t.Errorf("sent back with %v", back)
	}
	f.pass(codeLifetime)
	f.code(client)
	if len(f.codes) != 1 {
		t.Errorf("%d codes are kept", len(f.codes))
	}
}

func TestConfiguration(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an empty configuration")
	}
	c := start(t, nil).Config
	c.Algorithm = "HS256"
	if _, err := New(c); err == nil {
		t.Error("a symmetric algorithm")
	}
}
