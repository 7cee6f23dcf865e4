// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// An OAuth flow against a server that answers as a script says, run twice: by mcp-go
// alone and with InstrumentOAuth. What mcp-go alone makes of the answers is what has to
// be recorded of them.

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/mark3labs/mcp-go/client/transport"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// The secrets of a scripted flow. No part of one is in another, or in anything else.
const (
	scriptCode     = "qk7Zp2Rw9XcT4vLm8NbY3hJf6GsD1aUe"
	scriptState    = "T3sVnW8eKx1QzJp5CrM9yLbHg2UoFd6a"
	scriptVerifier = "Vd9YcN2uGt7RmZ4kXq1WpHs8BjLa5EfC6oTi3"
	scriptSecret   = "Jw5/Lr0+tB7nKe2Qm9VxYs4Pz8HcUg6Da1"
	scriptIssued   = "pX6mQc3JtF9zYk2WvRn8BhLs5GdEa7Uo4T"
	scriptManage   = "Hb4uZn7ErKx2CwTj9QvPf6MsYg1LdA8o5V"
	scriptAccess   = "eyJhbGciOiJub25lIn0.Nq8WbX3cRz6KtVy1FmPj5HsLg9Dk2uEa7Co4Ti.Zm"
	scriptRefresh  = "Gy2TrKc7VnXe9QwLp4BzJh6MfUs1DaEo8R"
	scriptID       = "Cs1LxNz8FpVt3YkWb6QhRj9GmDe5UaTo2K"
)

var scriptSecrets = []string{
	scriptCode, scriptState, scriptVerifier, scriptSecret, scriptIssued, scriptManage, scriptAccess, scriptRefresh, scriptID,
}

// scriptReply is what a scripted server answers.
type scriptReply struct {
	status   int // 0 for no answer at all
	location string
	body     string
	padding  string // bytes of it in front of body
	padded   int
	piece    int  // bytes that a read gets; 0 for as many as it wants
	broken   bool // the connection is lost at the end
	bodiless bool
}

// script is what a flow is, and what a server answers to each of its requests in turn.
// Where there is no reply, the server answers as it should.
type script struct {
	calls   string // r(egister), a(uthorize), p(rocess the code), s (with another state), f (refresh)
	replies []*scriptReply

	registered, basic, named, direct, trusting bool
	redirects                                  error // of CheckRedirect, where that is set
	checks                                     bool
}

// scriptBase is the MCP server, and scriptServer is its authorization server.
const (
	scriptBase   = "http://mcp.example/srv/mcp"
	scriptServer = "http://as.example"
)

// What a server answers that does as it should.
const (
	goodResource     = `{"resource":"http://mcp.example/srv","authorization_servers":["http://as.example"]}`
	goodServer       = `{"issuer":"http://as.example","authorization_endpoint":"http://as.example/authorize","token_endpoint":"http://as.example/token","registration_endpoint":"http://as.example/register"}`
	goodRegistration = `{"client_id":"client-1","client_secret":"` + scriptIssued + `","registration_access_token":"` + scriptManage + `","scope":"a b"}`
	goodToken        = `{"access_token":"` + scriptAccess + `","refresh_token":"` + scriptRefresh + `","id_token":"` + scriptID + `","token_type":"bearer","expires_in":3600,"scope":"a b"}`
)

// scriptedServer is the server of one run.
type scriptedServer struct {
	*script
	requests []string
	posted   string          // the kind of the last request that is no redirect, and no discovery
	heard    map[string]bool // the secrets that it was told, or has told
}

func (s *scriptedServer) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
		_ = req.Body.Close()
	}
	n := len(s.requests)
	s.requests = append(s.requests, fmt.Sprintf("%s %s %v %s", req.Method, req.URL, req.Header, body))
	form, _ := url.ParseQuery(string(body))
	said := fmt.Sprint(form)
	if _, password, ok := req.BasicAuth(); ok {
		said += must(url.QueryUnescape(password))
	}
	for _, secret := range scriptSecrets {
		s.heard[secret] = s.heard[secret] || strings.Contains(said, secret)
	}
	kind := "discovery"
	switch {
	case form.Has("grant_type"):
		kind = "token"
	case req.Method == http.MethodPost:
		kind = "registration"
	}
	if req.Response == nil && kind != "discovery" {
		s.posted = kind
	}
	if u := req.URL; u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("unsupported protocol scheme")
	}
	r := s.usual(kind, req)
	if n < len(s.replies) && s.replies[n] != nil {
		r = s.replies[n]
	}
	if r.status == 0 {
		return nil, errors.New("connection refused")
	}
	res := &http.Response{
		StatusCode: r.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, ContentLength: -1, Request: req,
	}
	if r.location != "" {
		res.Header.Set("Location", s.echoed(r.location))
	}
	if !r.bodiless {
		res.Body = io.NopCloser(r.reader(s.echoed(r.body)))
	}
	return res, nil
}

// usual is the answer of a server that does as it should.
func (*scriptedServer) usual(kind string, req *http.Request) *scriptReply {
	switch {
	case kind == "token":
		return &scriptReply{status: 200, body: goodToken}
	case kind == "registration":
		return &scriptReply{status: 201, body: goodRegistration}
	case strings.Contains(req.URL.Path, "oauth-protected-resource"):
		return &scriptReply{status: 200, body: goodResource}
	case strings.Contains(req.URL.Path, "oauth-authorization-server"):
		return &scriptReply{status: 200, body: goodServer}
	}
	return &scriptReply{status: 404, body: "not found"}
}

// echoed puts what the server was told into text: § as it is, and encoded where the
// letter after it says so.
func (s *scriptedServer) echoed(text string) string {
	if !strings.Contains(text, "§") {
		return text
	}
	var plain, percent, base64s, lower []string
	for _, secret := range scriptSecrets {
		if s.heard[secret] {
			percent = append(percent, strings.ReplaceAll(url.QueryEscape(secret), "e", "%65"))
			base64s = append(base64s, base64.StdEncoding.EncodeToString([]byte(secret)))
			plain = append(plain, secret)
			lower = append(lower, strings.ToLower(strings.NewReplacer("/", "", "+", "").Replace(secret)))
		}
	}
	return strings.NewReplacer(
		"§p", strings.Join(percent, " "), "§b", strings.Join(base64s, " "), "§h", strings.Join(lower, "."), "§", strings.Join(plain, " "),
	).Replace(text)
}

func (r *scriptReply) reader(body string) io.Reader {
	var parts []io.Reader
	if r.padded > 0 {
		parts = append(parts, strings.NewReader(strings.Repeat(r.padding, r.padded/len(r.padding))))
	}
	parts = append(parts, strings.NewReader(body))
	if r.broken {
		parts = append(parts, iotest.ErrReader(io.ErrUnexpectedEOF))
	}
	return &inPieces{Reader: io.MultiReader(parts...), size: r.piece}
}

// inPieces gives few bytes at a time.
type inPieces struct {
	io.Reader
	size int
}

func (r *inPieces) Read(p []byte) (int, error) {
	if r.size > 0 && len(p) > r.size {
		p = p[:r.size]
	}
	return r.Reader.Read(p)
}

// callResult is what came of one call.
type callResult struct {
	call     byte
	err      error
	requests []string
	posted   string
	token    string // that is stored afterwards
	decided  []string
}

// run does the calls of the script. capture is nil for mcp-go alone.
func (s *script) run(t *testing.T, capture *telemetrytest.Capture, opts []otelmcp.Option) (all []callResult) {
	t.Helper()
	srv := &scriptedServer{script: s, heard: map[string]bool{}}
	hc := &http.Client{Transport: srv}
	if s.basic {
		hc.Timeout = time.Minute // which has net/http wrap the answers once more
	}
	if s.checks {
		hc.CheckRedirect = func(*http.Request, []*http.Request) error { return s.redirects }
	}
	store := transport.NewMemoryTokenStore()
	cfg := transport.OAuthConfig{
		RedirectURI: "http://localhost/callback", Scopes: []string{"a", "b"}, PKCEEnabled: true, HTTPClient: hc, TokenStore: store,
		SkipIssuerMetadataValidation: s.trusting,
	}
	if s.registered {
		cfg.ClientID, cfg.ClientSecret = "known", scriptSecret
	}
	if s.basic {
		cfg.TokenEndpointAuthMethod = "client_secret_basic"
	}
	if s.named {
		cfg.ProtectedResourceMetadataURL = "http://mcp.example/.well-known/oauth-protected-resource/srv/mcp"
	}
	if s.direct {
		cfg.AuthServerMetadataURL = scriptServer + "/.well-known/oauth-authorization-server"
	}
	process := func(h *transport.OAuthHandler, state string) error {
		return h.ProcessAuthorizationResponse(t.Context(), scriptCode, state, scriptVerifier)
	}
	if capture != nil {
		cfg = otelmcp.InstrumentOAuth(cfg, opts...)
		process = func(h *transport.OAuthHandler, state string) error {
			return otelmcp.ProcessAuthorizationResponse(t.Context(), h, scriptCode, state, scriptVerifier, opts...)
		}
	}
	h := transport.NewOAuthHandler(cfg)
	h.SetBaseURL(scriptBase)
	before := 0
	for _, call := range []byte(s.calls) {
		c := callResult{call: call}
		from := len(srv.requests)
		srv.posted = ""
		switch call {
		case 'r':
			c.err = h.RegisterClient(t.Context(), "tester")
		case 'a':
			_, c.err = h.GetAuthorizationURL(t.Context(), scriptState, transport.GenerateCodeChallenge(scriptVerifier))
		case 'p':
			c.err = process(h, scriptState)
		case 's':
			c.err = process(h, "another")
		case 'f':
			_, c.err = h.RefreshToken(t.Context(), scriptRefresh)
		}
		c.requests, c.posted = srv.requests[from:], srv.posted
		if token, err := store.GetToken(t.Context()); err == nil {
			kept := *token
			kept.ExpiresAt = time.Time{}
			c.token = fmt.Sprintf("%+v", kept)
		}
		if c.err == nil && c.posted != "" { // what it has given out is known
			for _, secret := range scriptSecrets[4:] {
				srv.heard[secret] = srv.heard[secret] || strings.Contains(c.token+h.GetClientSecret(), secret)
			}
		}
		if capture != nil {
			c.decided = decided(t, capture)
			c.decided, before = c.decided[before:], len(c.decided)
		}
		all = append(all, c)
	}
	return all
}

// check runs the script both ways, and returns what was decided.
func (s *script) check(t *testing.T) (decisions []string) {
	t.Helper()
	capture, opts := captureOptions(t, telemetrytest.WithoutCheck())
	bare, ours := s.run(t, nil, nil), s.run(t, capture, opts)
	for k := range bare {
		compare(t, &bare[k], &ours[k])
		decisions = append(decisions, ours[k].decided...)
	}
	for _, err := range capture.Check() {
		t.Errorf("%+v: %v", s, err)
	}
	eachString(t, capture, func(where, text string) {
		for _, secret := range scriptSecrets {
			if part := disclosed(text, secret); part != "" {
				t.Errorf("%s has %q of %q in %.300q", where, part, secret, text)
			}
		}
	})
	return decisions
}

// disclosed returns the first part of secret that is in text, plain, in another letter
// case, percent-encoded or in base64.
func disclosed(text, secret string) string {
	plain := strings.ToLower(text)
	if decoded, err := url.QueryUnescape(text); err == nil {
		plain += " " + strings.ToLower(decoded)
	}
	for at := 0; at+12 <= len(secret); at += 3 {
		if part := secret[at : at+12]; strings.Contains(plain, strings.ToLower(part)) {
			return part
		}
	}
	if encoded := base64.StdEncoding.EncodeToString([]byte(secret)); strings.Contains(text, encoded[:16]) {
		return encoded[:16]
	}
	return ""
}

// compare fails the test where mcp-go did anything else with us, or where it is not told
// what it did.
func compare(t *testing.T, bare, ours *callResult) {
	t.Helper()
	if fmt.Sprint(bare.err) != fmt.Sprint(ours.err) || !slices.Equal(bare.requests, ours.requests) || bare.token != ours.token {
		t.Errorf("%c: error %.300q, token %q, requests %.2000q\nwithout us %.300q, %q, %.2000q", bare.call, fmt.Sprint(ours.err), ours.token, ours.requests,
			fmt.Sprint(bare.err), bare.token, bare.requests)
	}
	var want string // what the only decision begins with; "" for none
	var mechanism string
	switch {
	case bare.posted == "registration":
		mechanism = "oauth_registration"
	case bare.posted == "token" && bare.call == 'p':
		mechanism = "oauth_code"
	case bare.posted == "token":
		mechanism = "oauth_refresh"
	case bare.err == nil, len(bare.requests) == 0 && bare.call == 'r':
		// nothing but metadata that is fine, or a server with no place to register
	case len(bare.requests) == 0:
		mechanism = "oauth_code" // nobody waits for the code
	case strings.Contains(bare.err.Error(), "does not support dynamic client registration"):
	default:
		mechanism = "oauth_discovery"
	}
	refused, answered := errors.AsType[transport.OAuthError](bare.err)
	failing := answered && (refused.ErrorCode == "server_error" || refused.ErrorCode == "temporarily_unavailable")
	switch {
	case mechanism == "":
	case bare.err == nil:
		want = "allow " + mechanism + " ok"
	case answered && !failing:
		want = "deny " + mechanism
	case answered:
		want = "error " + mechanism
	default:
		want = mechanism
	}
	if want == "" && len(ours.decided) == 0 {
		return
	}
	if len(ours.decided) != 1 || want == "" {
		t.Errorf("%c: decided %q, want %q alone; error %.300v\n%.2000q", bare.call, ours.decided, want, bare.err, bare.requests)
		return
	}
	if is := ours.decided[0]; !strings.Contains(is, want) || bare.err != nil && strings.HasPrefix(is, semconv.OTelMCPAuthDecisionAllow) {
		t.Errorf("%c: decided %q, want %q; error %.300v\n%.2000q", bare.call, is, want, bare.err, bare.requests)
	}
}

// describe is the script in a form to read.
func (s *script) describe() string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s registered %v basic %v named %v direct %v trusting %v checks %v %v", s.calls, s.registered, s.basic, s.named, s.direct, s.trusting, s.checks, s.redirects)
	for _, r := range s.replies {
		if r == nil {
			b.WriteString("\n\tas usual")
			continue
		}
		fmt.Fprintf(&b, "\n\t%d %q %d+%.200q piece %d broken %v bodiless %v", r.status, r.location, r.padded, r.body, r.piece, r.broken, r.bodiless)
	}
	return b.String()
}
