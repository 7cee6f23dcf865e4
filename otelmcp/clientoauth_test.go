// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// The client side of authorization, against an authorization server that really
// checks codes, verifiers and refresh tokens, and a resource that really checks access
// tokens: each decision is one event and one count, on the message that it is about.

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// authority is an authorization server. What a test sets answers in the place of an
// endpoint.
type authority struct {
	*httptest.Server
	mu      sync.Mutex
	n       int
	clients map[string]string     // client id → secret
	codes   map[string]url.Values // code → what was asked for
	tokens  map[string]string     // access token → scope
	refresh map[string]string     // refresh token → scope
	secrets []string
	instead sync.Map // path → http.HandlerFunc
	scope   string   // that is granted
	life    int      // of a token, in seconds
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{
		clients: map[string]string{}, codes: map[string]url.Values{}, tokens: map[string]string{}, refresh: map[string]string{},
		scope: "tools:list tools:call", life: 3600,
	}
	a.Server = httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(a.Close)
	return a
}

// secret makes a credential that is unlike any other text, and the same in each world.
func (a *authority) secret(kind string) string {
	a.n++
	sum := sha256.Sum256(fmt.Append(nil, kind, a.n))
	s := base64.RawURLEncoding.EncodeToString(sum[:])
	a.secrets = append(a.secrets, s)
	return s
}

func (a *authority) serve(w http.ResponseWriter, r *http.Request) {
	if h, ok := a.instead.Load(r.URL.Path); ok {
		h.(http.HandlerFunc)(w, r)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch r.URL.Path {
	case "/.well-known/oauth-authorization-server":
		answerJSON(w, http.StatusOK, a.metadata())
	case "/register":
		id := "client-" + strconv.Itoa(len(a.clients)+1)
		a.clients[id] = a.secret("client_secret")
		answerJSON(w, http.StatusCreated, map[string]any{
			"client_id": id, "client_secret": a.clients[id], "registration_access_token": a.secret("registration"), "scope": a.scope,
		})
	case "/token":
		a.grant(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (a *authority) metadata() map[string]any {
	return map[string]any{
		"issuer": a.URL, "authorization_endpoint": a.URL + "/authorize", "token_endpoint": a.URL + "/token",
		"registration_endpoint": a.URL + "/register", "response_types_supported": []string{"code"},
	}
}

func (a *authority) grant(w http.ResponseWriter, r *http.Request) {
	refuse := func(code string) {
		answerJSON(w, http.StatusBadRequest, map[string]string{"error": code, "error_description": "no: " + r.FormValue("code") + r.FormValue("refresh_token")})
	}
	id, secret := r.FormValue("client_id"), r.FormValue("client_secret")
	if id == "" {
		id, secret, _ = r.BasicAuth()
	}
	if want, known := a.clients[id]; !known || want != secret {
		refuse("invalid_client")
		return
	}
	switch r.FormValue("grant_type") {
	case "authorization_code":
		asked, ok := a.codes[r.FormValue("code")]
		delete(a.codes, r.FormValue("code"))
		challenge := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		if !ok || asked.Get("client_id") != id || asked.Get("redirect_uri") != r.FormValue("redirect_uri") ||
			asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(challenge[:]) || asked.Get("resource") != r.FormValue("resource") {
			refuse("invalid_grant")
			return
		}
	case "refresh_token":
		if _, ok := a.refresh[r.FormValue("refresh_token")]; !ok {
			refuse("invalid_grant")
			return
		}
		delete(a.refresh, r.FormValue("refresh_token")) // rotation
	default:
		refuse("unsupported_grant_type")
		return
	}
	access, refresh := a.secret("access_token"), a.secret("refresh_token")
	a.tokens[access], a.refresh[refresh] = a.scope, a.scope
	answerJSON(w, http.StatusOK, map[string]any{
		"access_token": access, "token_type": "bearer", "refresh_token": refresh, "expires_in": a.life, "scope": a.scope,
	})
}

// authorize is what the user's browser does: it consents, and brings back the code.
func (a *authority) authorize(t *testing.T, at string) (code, state string) {
	t.Helper()
	asked := must(url.Parse(at)).Query()
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.clients[asked.Get("client_id")]; !known || asked.Get("code_challenge_method") != "S256" {
		t.Fatalf("the authorization request is %v", asked)
	}
	code = a.secret("code")
	a.codes[code] = asked
	return code, asked.Get("state")
}

// put answers in the place of an endpoint.
func (a *authority) put(path string, h http.HandlerFunc) { a.instead.Store(path, h) }

func answerJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// world is an authority, and an MCP server over HTTP that lets in whom it has given a
// token.
type world struct {
	t        *testing.T
	over     string
	as       *authority
	web      *httptest.Server
	metadata atomic.Pointer[map[string]any]                 // of the resource; nil for the right one
	refuse   atomic.Pointer[func(http.ResponseWriter) bool] // in the place of what is right
	requests recorded
	store    transport.TokenStore
	base     *http.Transport
}

// recorded are requests as they came in.
type recorded struct {
	mu  sync.Mutex
	all []string
}

func (r *recorded) record(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		req.Body = io.NopCloser(bytes.NewReader(body))
		var lines []string
		for _, name := range slices.Sorted(maps.Keys(req.Header)) {
			lines = append(lines, name+": "+strings.Join(req.Header[name], ", "))
		}
		r.mu.Lock()
		r.all = append(r.all, fmt.Sprintf("%s %s\n%s\n%s", req.Method, req.URL, strings.Join(lines, "\n"), body))
		r.mu.Unlock()
		next.ServeHTTP(w, req)
	})
}

func newWorld(t *testing.T, over string) *world {
	t.Helper()
	checkLeaks(t)
	w := &world{t: t, over: over, as: newAuthority(t), store: transport.NewMemoryTokenStore(), base: &http.Transport{}}
	w.as.Config.Handler = w.requests.record(w.as.Config.Handler)
	srv := newEverything().MCPServer
	var h http.Handler
	if over == sse {
		h = server.NewSSEServer(srv)
	} else {
		h = server.NewStreamableHTTPServer(srv, server.WithStreamableHTTPLogger(slog.New(slog.DiscardHandler)))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/oauth-protected-resource"+w.path(), func(rw http.ResponseWriter, _ *http.Request) {
		doc := map[string]any{"resource": w.url(), "authorization_servers": []string{w.as.URL}}
		if other := w.metadata.Load(); other != nil {
			doc = *other
		}
		answerJSON(rw, http.StatusOK, doc)
	})
	mux.Handle("/", w.guard(h))
	w.web = httptest.NewUnstartedServer(w.requests.record(mux))
	w.web.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.web.Start()
	t.Cleanup(func() {
		w.base.CloseIdleConnections()
		w.web.Close()
	})
	return w
}

func (w *world) path() string { return map[string]string{sse: "/sse", streamable: "/mcp"}[w.over] }
func (w *world) url() string  { return w.web.URL + w.path() }

func (w *world) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if refuse := w.refuse.Load(); refuse != nil && (*refuse)(rw) {
			return
		}
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		w.as.mu.Lock()
		_, ok := w.as.tokens[token]
		w.as.mu.Unlock()
		switch {
		case token == "":
			challenged(rw, http.StatusUnauthorized, `Bearer resource_metadata="`+w.web.URL+`/.well-known/oauth-protected-resource`+w.path()+`", scope="tools:list tools:call"`)
		case !ok:
			challenged(rw, http.StatusUnauthorized, `Bearer error="invalid_token", error_description="unknown"`)
		default:
			next.ServeHTTP(rw, r)
		}
	})
}

func challenged(w http.ResponseWriter, code int, challenge string) {
	w.Header().Set("WWW-Authenticate", challenge)
	w.WriteHeader(code)
}

// answers makes the resource refuse everything.
func (w *world) answers(code int, challenge string) {
	refuse := func(rw http.ResponseWriter) bool {
		challenged(rw, code, challenge)
		return true
	}
	w.refuse.Store(&refuse)
}

// equipped is how a client is instrumented.
type equipped struct {
	name                 string
	wrap, seams, hc, cfg bool
}

var (
	bareClient = equipped{name: "bare"}
	everyWay   = equipped{name: "wrapped", wrap: true, hc: true, cfg: true}
	bySeams    = equipped{name: "seams", seams: true, hc: true, cfg: true}
	wrapOnly   = equipped{name: "wrapped only", wrap: true}
	seamsOnly  = equipped{name: "seams only", seams: true}
	helpers    = equipped{name: "helpers only", hc: true, cfg: true}
)

// config is that of a client that has not registered.
func (w *world) config() transport.OAuthConfig {
	return transport.OAuthConfig{
		RedirectURI: "http://localhost/callback", Scopes: []string{"tools:list", "tools:call"}, PKCEEnabled: true, TokenStore: w.store,
		HTTPClient: &http.Client{Transport: w.base, Timeout: 20 * time.Second},
	}
}

// registered is that of one that has.
func (w *world) registered() transport.OAuthConfig {
	cfg := w.config()
	w.as.mu.Lock()
	defer w.as.mu.Unlock()
	cfg.ClientID, cfg.ClientSecret = "known", "its-own-Secret-4711-of-the-program"
	w.as.clients[cfg.ClientID] = cfg.ClientSecret
	w.as.secrets = append(w.as.secrets, cfg.ClientSecret)
	return cfg
}

// holds puts a token into the store: one that the authority has given out, or one
// that it does not know, good for a while or expired.
func (w *world) holds(known bool, life time.Duration) {
	w.as.mu.Lock()
	defer w.as.mu.Unlock()
	token := &transport.Token{
		AccessToken: w.as.secret("access"), RefreshToken: w.as.secret("refresh"), TokenType: "bearer", ExpiresAt: time.Now().Add(life),
	}
	if known {
		w.as.tokens[token.AccessToken], w.as.refresh[token.RefreshToken] = w.as.scope, w.as.scope
	}
	if err := w.store.SaveToken(w.t.Context(), token); err != nil {
		w.t.Fatal(err)
	}
}

// client makes a client. cfg is nil for one without OAuth.
func (w *world) client(e equipped, cfg *transport.OAuthConfig, opts ...otelmcp.Option) *client.Client {
	w.t.Helper()
	hc := &http.Client{Transport: w.base}
	if e.hc {
		hc = otelmcp.InstrumentHTTPClient(hc, opts...)
	}
	if e.cfg && cfg != nil {
		through := otelmcp.InstrumentOAuth(*cfg, opts...)
		cfg = &through
	}
	var conn transport.Interface
	quiet := slog.New(slog.DiscardHandler)
	if w.over == sse {
		more := []transport.ClientOption{transport.WithHTTPClient(hc), transport.WithSSELogger(quiet)}
		if cfg != nil {
			more = append(more, transport.WithOAuth(*cfg))
		}
		conn = must(transport.NewSSE(w.url(), more...))
	} else {
		more := []transport.StreamableHTTPCOption{transport.WithHTTPBasicClient(hc), transport.WithHTTPLogger(quiet)}
		if cfg != nil {
			more = append(more, transport.WithHTTPOAuth(*cfg))
		}
		conn = must(transport.NewStreamableHTTP(w.url(), more...))
	}
	if e.wrap {
		conn = otelmcp.WrapTransport(conn, opts...)
	}
	c := client.NewClient(conn, client.WithProtocolVersion(string(legacy)))
	if e.seams {
		otelmcp.InstrumentClient(c, opts...)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

// open starts a client and shakes hands.
func (w *world) open(c *client.Client) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	w.t.Cleanup(cancel)
	if err := c.Start(ctx); err != nil {
		return err
	}
	_, err := c.Initialize(w.t.Context(), greeting())
	return err
}

// verifier and state are the program's.
const (
	flowVerifier = "verifier-0123456789-abcdefghijklmnopqrstuvwxyz-XYZ"
	flowState    = "state-opaque-1234567890"
)

// login does what a program does when it is told that authorization is required.
func (w *world) login(h *transport.OAuthHandler, opts ...otelmcp.Option) error {
	ctx := w.t.Context()
	if h.GetClientID() == "" {
		if err := h.RegisterClient(ctx, "tester"); err != nil {
			return err
		}
	}
	at, err := h.GetAuthorizationURL(ctx, flowState, transport.GenerateCodeChallenge(flowVerifier))
	if err != nil {
		return err
	}
	code, state := w.as.authorize(w.t, at)
	if opts == nil {
		return h.ProcessAuthorizationResponse(ctx, code, state, flowVerifier)
	}
	return otelmcp.ProcessAuthorizationResponse(ctx, h, code, state, flowVerifier, opts...)
}

// handler is one as a transport makes it.
func (w *world) handler(cfg transport.OAuthConfig) *transport.OAuthHandler {
	h := transport.NewOAuthHandler(cfg)
	h.SetBaseURL(w.url())
	return h
}

// decided are the decisions that were recorded, each in one line, and checks what all
// of them have in common.
func decided(t *testing.T, c *telemetrytest.Capture) (all []string) {
	t.Helper()
	events := c.EventsNamed(semconv.OTelMCPAuthDecisionEventName)
	for k := range events {
		e := event(events[k])
		line := []string{e["otelmcp.auth.decision"], e["otelmcp.auth.mechanism"], e["otelmcp.auth.reason"]}
		for _, key := range []string{"http.response.status_code", "otelmcp.auth.error.message", "error.type"} {
			if v := e[attribute.Key(key)]; v != "" {
				line = append(line, v)
			}
		}
		if about := e["mcp.method.name"]; about != "" {
			line = append(line, "on "+about)
		}
		all = append(all, strings.Join(line, " "))
		if e["otelmcp.role"] != "client" || e["severity"] != decisionSeverities[e["otelmcp.auth.decision"]] {
			t.Errorf("the decision says %v", e)
		}
	}
	if n := c.CounterValue(semconv.OTelMCPAuthDecisionsName); int(n) != len(events) {
		t.Errorf("%d decisions are counted, and %d events recorded", n, len(events))
	}
	return all
}

func wantDecided(t *testing.T, c *telemetrytest.Capture, want ...string) {
	t.Helper()
	if is := decided(t, c); !slices.Equal(is, want) {
		t.Errorf("decided\n\t%s\nwant\n\t%s", strings.Join(is, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// lastDecision is what the last event says.
func lastDecision(t *testing.T, c *telemetrytest.Capture) said {
	t.Helper()
	all := c.EventsNamed(semconv.OTelMCPAuthDecisionEventName)
	if len(all) == 0 {
		t.Fatal("there is none")
	}
	return event(all[len(all)-1])
}

func wantSays(t *testing.T, e said, want map[string]string) {
	t.Helper()
	for key, v := range want {
		if e[attribute.Key(key)] != v {
			t.Errorf("%s is %q, want %q", key, e[attribute.Key(key)], v)
		}
	}
}

// From nothing to a refreshed token.
func TestOAuthFlow(t *testing.T) {
	for _, over := range []string{streamable, sse} {
		for _, e := range []equipped{everyWay, bySeams, helpers} {
			t.Run(over+"/"+e.name, func(t *testing.T) {
				capture := telemetrytest.New(t)
				w := newWorld(t, over)
				cfg := w.config()
				c := w.client(e, &cfg, into(capture)...)
				err := w.open(c)
				h := client.GetOAuthHandler(err)
				if h == nil {
					t.Fatalf("opened: %v", err)
				}
				// Without a token nothing is sent; a connection that does not start is seen
				// by the wrapper only.
				switch {
				case e.wrap && over == sse:
					wantDecided(t, capture, "challenge none missing_credentials")
				case over == streamable && (e.wrap || e.seams):
					wantDecided(t, capture, "challenge none missing_credentials on initialize")
					wantSays(t, event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName))), map[string]string{
						"otelmcp.outcome": "denied", "error.type": "authorization_required", "otelmcp.auth.reason": "missing_credentials", "severity": "WARN",
					})
				default:
					wantDecided(t, capture)
				}
				capture.Reset()

				if err := w.login(h, into(capture)...); err != nil {
					t.Fatal(err)
				}
				wantDecided(t, capture, "allow oauth_registration ok 201", "allow oauth_code ok 200")
				as := must(url.Parse(w.as.URL))
				for _, r := range capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName) {
					wantSays(t, event(r), map[string]string{
						"otelmcp.auth.kind": "authentication", "otelmcp.auth.issuer": w.as.URL, "otelmcp.auth.client_id": "client-1",
						"otelmcp.auth.scopes.granted": `["tools:list","tools:call"]`, "server.address": as.Hostname(), "server.port": as.Port(),
						"network.protocol.version": "1.1",
					})
				}
				if aud := lastDecision(t, capture)["otelmcp.auth.audience"]; aud != `["`+w.url()+`"]` {
					t.Errorf("the audience is %s", aud)
				}
				if n := capture.HistogramCount(semconv.OTelMCPAuthDurationName); n != 2 {
					t.Errorf("%d durations", n)
				}
				capture.Reset()

				if err := w.open(c); err != nil {
					t.Fatal(err)
				}
				wantDecided(t, capture)
				capture.Reset()
				token := *must(w.store.GetToken(t.Context()))
				token.ExpiresAt = time.Now().Add(-time.Minute)
				if err := w.store.SaveToken(t.Context(), &token); err != nil {
					t.Fatal(err)
				}
				if _, err := callTool(t.Context(), c, "echo", map[string]any{"text": "hi"}); err != nil {
					t.Fatal(err)
				}
				if !e.wrap && !e.seams {
					wantDecided(t, capture, "allow oauth_refresh ok 200")
					return
				}
				wantDecided(t, capture, "allow oauth_refresh ok 200 on tools/call")
				wantSays(t, lastDecision(t, capture), map[string]string{
					"otelmcp.auth.issuer": w.as.URL, "otelmcp.auth.client_id": "client-1", "server.port": as.Port(), "otelmcp.transport": over,
				})
				op := event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName)))
				wantSays(t, op, map[string]string{"otelmcp.outcome": "ok", "otelmcp.auth.mechanism": "oauth_refresh", "otelmcp.auth.decision": "allow"})
				if op["mcp.session.id"] != lastDecision(t, capture)["mcp.session.id"] {
					t.Errorf("the decision is about session %q", lastDecision(t, capture)["mcp.session.id"])
				}
				if sc := only(t, capture.Spans()).SpanContext(); capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)[0].SpanID() != sc.SpanID() {
					t.Error("the decision is not in the span of the message")
				}
			})
		}
	}
}

// What an MCP server answers to a message, and to the connection's start.
func TestOAuthRefusedMessages(t *testing.T) {
	type wants struct{ seen, unseen string } // with an instrumented HTTP client, and without
	for _, c := range []struct {
		name      string
		oauth     bool
		code      int
		challenge string
		want      wants
		kind      string
		required  string
		errorType string
	}{
		{
			"without a token", false, 401, `Bearer resource_metadata="https://x.example/", scope="a b"`,
			wants{"challenge none missing_credentials 401", "challenge none missing_credentials 401"},
			"authentication", `["a","b"]`, "401",
		},
		{
			"with a token that is not known", true, 401, `Bearer error="invalid_token"`,
			wants{"deny bearer_opaque invalid_credentials 401", "deny bearer_opaque invalid_credentials 401"},
			"authentication", "", "401",
		},
		{
			"with an expired token", true, 401, `Bearer error="invalid_token", error_description="The access token expired"`,
			wants{"deny bearer_opaque expired 401", "deny bearer_opaque invalid_credentials 401"},
			"authentication", "", "401",
		},
		{
			"step-up", true, 403, `Bearer error="insufficient_scope", scope="tools:write", resource_metadata="https://x.example/"`,
			wants{"deny bearer_opaque insufficient_scope 403", "deny bearer_opaque policy 403"},
			"authorization", `["tools:write"]`, "403",
		},
		{"a policy", true, 403, "", wants{"deny bearer_opaque policy 403", "deny bearer_opaque policy 403"}, "authorization", "", "403"},
	} {
		for _, over := range []string{streamable, sse} {
			for _, e := range []equipped{everyWay, bySeams, wrapOnly, seamsOnly} {
				t.Run(c.name+"/"+over+"/"+e.name, func(t *testing.T) {
					capture := telemetrytest.New(t)
					w := newWorld(t, over)
					var cfg *transport.OAuthConfig
					if c.oauth {
						registered := w.registered()
						cfg = &registered
						w.holds(true, time.Hour)
					}
					want := c.want.unseen
					if e.hc {
						want = c.want.seen
					}
					check := func(method string) {
						t.Helper()
						switch {
						case method != "":
							wantDecided(t, capture, want+" on "+method)
						case e.hc || e.wrap:
							wantDecided(t, capture, want)
						default:
							wantDecided(t, capture) // nobody sees a connection start
							return
						}
						d := lastDecision(t, capture)
						wantSays(t, d, map[string]string{"server.port": must(url.Parse(w.web.URL)).Port()})
						if e.hc {
							wantSays(t, d, map[string]string{
								"otelmcp.auth.scopes.required": c.required, "otelmcp.auth.kind": c.kind, "network.protocol.version": "1.1",
							})
						}
						if method == "" {
							return
						}
						wantSays(t, event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName))), map[string]string{
							"otelmcp.outcome": "denied", "error.type": c.errorType, "http.response.status_code": c.errorType, "severity": "WARN",
							"otelmcp.auth.reason": d["otelmcp.auth.reason"],
						})
					}
					opened := w.client(e, cfg, into(capture)...)
					w.answers(c.code, c.challenge)
					err := w.open(opened)
					if err == nil {
						t.Fatal("it was let in")
					}
					switch {
					case over == sse:
						check("")
					case c.code == http.StatusForbidden && !e.hc:
						wantDecided(t, capture) // mcp-go takes it for an older server
					default:
						check("initialize")
					}
					if !c.oauth {
						return
					}
					// And once it is in.
					w.refuse.Store(nil)
					if err := w.open(opened); err != nil {
						t.Fatal(err)
					}
					capture.Reset()
					w.answers(c.code, c.challenge)
					if _, err := callTool(t.Context(), opened, "echo", nil); err == nil {
						t.Fatal("it was let in")
					}
					check("tools/call")
					if e.wrap {
						capture.Reset()
						if err := opened.RootListChanges(t.Context()); err == nil {
							t.Fatal("it was let in")
						}
						check("notifications/roots/list_changed")
					}
				})
			}
		}
	}
}

// What goes wrong before there is a token, in the order of the flow.
func TestOAuthFailures(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  func(*world, *transport.OAuthConfig) // nil for one that has registered
		set  func(*world)
		want []string
		says map[string]string
	}{
		{
			"registration is refused", (*world).unregistered,
			func(w *world) {
				w.as.put("/register", status(400, `{"error":"invalid_client_metadata","error_description":"token=abc"}`))
			},
			[]string{"deny oauth_registration registration_failed 400 invalid_client_metadata"},
			nil,
		},
		{
			"registration is refused in words of the server's own", (*world).unregistered,
			func(w *world) { w.as.put("/register", status(400, `{"error":"no-S3cretValue"}`)) },
			[]string{"deny oauth_registration registration_failed 400 _OTHER"},
			nil,
		},
		{
			"registration is not for everybody", (*world).unregistered, func(w *world) { w.as.put("/register", status(403, "no")) },
			[]string{"deny oauth_registration registration_failed 403"},
			nil,
		},
		{
			"registration fails", (*world).unregistered, func(w *world) { w.as.put("/register", status(503, "busy")) },
			[]string{"error oauth_registration registration_failed 503 503"},
			nil,
		},
		{
			"registration is illegible", (*world).unregistered, func(w *world) { w.as.put("/register", status(201, "<html>")) },
			[]string{"error oauth_registration registration_failed 201 _OTHER"},
			nil,
		},
		{
			"the code is refused", nil, func(w *world) { w.as.put("/token", status(400, `{"error":"invalid_grant"}`)) },
			[]string{"deny oauth_code invalid_credentials 400 invalid_grant"},
			map[string]string{"otelmcp.auth.client_id": "known"},
		},
		{
			"the code is refused with 200", nil, func(w *world) { w.as.put("/token", status(200, `{"error":"access_denied"}`)) },
			[]string{"deny oauth_code policy 200 access_denied"},
			nil,
		},
		{
			"the scope is refused", nil, func(w *world) { w.as.put("/token", status(400, `{"error":"invalid_scope"}`)) },
			[]string{"deny oauth_code insufficient_scope 400 invalid_scope"},
			nil,
		},
		{
			"the client is not known", func(w *world, cfg *transport.OAuthConfig) {
				*cfg = w.registered()
				cfg.TokenEndpointAuthMethod = "client_secret_basic"
			},
			func(w *world) { w.as.put("/token", status(401, `{"error":"invalid_client"}`)) },
			[]string{"deny oauth_code invalid_credentials 401 invalid_client"},
			map[string]string{"otelmcp.auth.client_id": "known"},
		},
		{
			"the exchange of the code fails", nil, func(w *world) { w.as.put("/token", status(502, "")) },
			[]string{"error oauth_code verifier_unavailable 502 502"},
			nil,
		},
		{
			"the server says that it fails", nil, func(w *world) { w.as.put("/token", status(500, `{"error":"server_error"}`)) },
			[]string{"error oauth_code verifier_unavailable 500 server_error server_error"},
			nil,
		},
		{
			"the exchange of the code is cut off", nil, func(w *world) {
				w.as.put("/token", func(rw http.ResponseWriter, _ *http.Request) {
					rw.Header().Set("Content-Length", "1000")
					_, _ = io.WriteString(rw, `{"access_token":"S3cret`)
				})
			},
			[]string{"error oauth_code verifier_unavailable 200 connection_lost"},
			nil,
		},
		{
			"the token is redirected", nil, func(w *world) {
				w.as.put("/token", func(rw http.ResponseWriter, r *http.Request) {
					http.Redirect(rw, r, "/token2", http.StatusTemporaryRedirect)
				})
				w.as.put("/token2", status(400, `{"error":"invalid_grant"}`))
			},
			[]string{"deny oauth_code invalid_credentials 400 invalid_grant"},
			nil,
		},
		{
			"the token endpoint leads to a page", nil, func(w *world) {
				w.as.put("/token", func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "/login", http.StatusFound) })
				w.as.put("/login", status(200, "<html>"))
			},
			[]string{"error oauth_code verifier_unavailable 200 _OTHER"},
			nil,
		},
		{
			"another issuer", nil, func(w *world) {
				m := w.as.metadata()
				m["issuer"] = "https://evil.example/issuer"
				w.as.put("/.well-known/oauth-authorization-server", func(rw http.ResponseWriter, _ *http.Request) { answerJSON(rw, 200, m) })
			},
			[]string{"deny oauth_discovery issuer_mismatch 200"},
			map[string]string{"otelmcp.auth.issuer": "https://evil.example/issuer"},
		},
		{
			"another issuer that is trusted", func(w *world, cfg *transport.OAuthConfig) {
				*cfg = w.registered()
				cfg.SkipIssuerMetadataValidation = true
			},
			func(w *world) {
				m := w.as.metadata()
				m["issuer"] = "https://other.example"
				w.as.put("/.well-known/oauth-authorization-server", func(rw http.ResponseWriter, _ *http.Request) { answerJSON(rw, 200, m) })
			},
			[]string{"allow oauth_code ok 200"},
			map[string]string{"otelmcp.auth.issuer": "https://other.example"},
		},
		{
			"an issuer in other words", nil, func(w *world) {
				m := w.as.metadata()
				m["issuer"] = w.as.URL + "/"
				w.as.put("/.well-known/oauth-authorization-server", func(rw http.ResponseWriter, _ *http.Request) { answerJSON(rw, 200, m) })
			},
			[]string{"allow oauth_code ok 200"},
			nil,
		},
		{
			"metadata of another resource", nil, func(w *world) {
				w.metadata.Store(&map[string]any{"resource": "https://victim.example/mcp", "authorization_servers": []string{w.as.URL}})
			},
			[]string{"deny oauth_discovery audience_mismatch 200"},
			map[string]string{"otelmcp.auth.audience": `["https://victim.example/mcp"]`},
		},
		{
			"metadata of another resource of the same server", nil, func(w *world) {
				w.metadata.Store(&map[string]any{"resource": w.web.URL + "/other", "authorization_servers": []string{w.as.URL}})
			},
			[]string{"deny oauth_discovery audience_mismatch 200"},
			nil,
		},
		{
			"metadata of another resource without a server", nil, func(w *world) {
				w.metadata.Store(&map[string]any{"resource": "https://victim.example/mcp"})
			},
			[]string{"deny oauth_discovery audience_mismatch 200"},
			nil,
		},
		{
			"metadata of the whole server", nil, func(w *world) {
				w.metadata.Store(&map[string]any{"resource": w.web.URL, "authorization_servers": []string{w.as.URL}})
			},
			[]string{"allow oauth_code ok 200"},
			nil,
		},
		{
			"metadata with a server that is none", nil, func(w *world) {
				w.metadata.Store(&map[string]any{"resource": w.url(), "authorization_servers": []string{"nowhere"}})
			},
			[]string{"error oauth_discovery verifier_unavailable 200 _OTHER"},
			nil,
		},
		{
			"metadata that is illegible", nil, func(w *world) {
				w.metadata.Store(&map[string]any{"resource": 1})
			},
			[]string{"error oauth_discovery verifier_unavailable 200 _OTHER"},
			nil,
		},
		{
			"metadata at a place that has none", func(w *world, cfg *transport.OAuthConfig) {
				*cfg = w.registered()
				cfg.ProtectedResourceMetadataURL = w.as.URL + "/nothing"
			},
			nil,
			[]string{"error oauth_discovery verifier_unavailable 404 404"},
			nil,
		},
		{
			"a server's metadata at a place that has none", func(w *world, cfg *transport.OAuthConfig) {
				*cfg = w.registered()
				cfg.AuthServerMetadataURL = w.as.URL + "/nothing"
			},
			nil,
			[]string{"error oauth_discovery verifier_unavailable 404 404"},
			nil,
		},
		{
			"a server's metadata that mcp-go does not take", func(w *world, cfg *transport.OAuthConfig) {
				*cfg = w.registered()
				cfg.AuthServerMetadataURL = w.as.URL + "/meta"
			},
			func(w *world) {
				w.as.put("/meta", status(200, `{"issuer":"https://x.example","token_endpoint":"javascript:alert(1)"}`))
			},
			[]string{"error oauth_discovery verifier_unavailable 200 _OTHER"},
			nil,
		},
		{
			"a server's metadata at a given place", func(w *world, cfg *transport.OAuthConfig) {
				*cfg = w.registered()
				cfg.AuthServerMetadataURL = w.as.URL + "/.well-known/oauth-authorization-server"
			},
			nil,
			[]string{"allow oauth_code ok 200"},
			nil,
		},
		{
			"a resource that nobody serves", nil, func(w *world) { w.web.Close() },
			[]string{"error oauth_discovery verifier_unavailable connection_refused"},
			nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			capture := telemetrytest.New(t)
			w := newWorld(t, streamable)
			cfg := w.registered()
			if c.cfg != nil {
				c.cfg(w, &cfg)
			}
			if c.set != nil {
				c.set(w)
			}
			bare := w.login(w.handler(cfg))
			opts := into(capture)
			err := w.login(w.handler(otelmcp.InstrumentOAuth(cfg, opts...)), opts...)
			if told(nil, err) != told(nil, bare) {
				t.Errorf("error %v\nwithout us %v", told(nil, err), told(nil, bare))
			}
			wantDecided(t, capture, c.want...)
			wantSays(t, lastDecision(t, capture), c.says)
			if strings.Contains(fmt.Sprint(lastDecision(t, capture)), "S3cret") {
				t.Errorf("it says %v", lastDecision(t, capture))
			}
		})
	}
}

func (w *world) unregistered(cfg *transport.OAuthConfig) { *cfg = w.config() }

// A state that does not match, a response that nobody waits for, and a code that was
// used before, with and without a config of ours under the handler.
func TestOAuthStateMismatch(t *testing.T) {
	for _, instrumented := range []bool{true, false} {
		t.Run(strconv.FormatBool(instrumented), func(t *testing.T) {
			capture := telemetrytest.New(t)
			w := newWorld(t, streamable)
			opts := into(capture)
			cfg := w.registered()
			if instrumented {
				cfg = otelmcp.InstrumentOAuth(cfg, opts...)
			}
			h := w.handler(cfg)
			ctx := t.Context()
			if err := otelmcp.ProcessAuthorizationResponse(ctx, h, "c0de-of-an-attacker", "st4te-of-an-attacker", flowVerifier, opts...); err == nil {
				t.Error("a response that nobody waits for was taken")
			}
			at := must(h.GetAuthorizationURL(ctx, flowState, transport.GenerateCodeChallenge(flowVerifier)))
			code, _ := w.as.authorize(t, at)
			err := otelmcp.ProcessAuthorizationResponse(ctx, h, code, "st4te-of-an-attacker", flowVerifier, opts...)
			if !errors.Is(err, transport.ErrInvalidState) {
				t.Errorf("another state: %v", err)
			}
			if err := otelmcp.ProcessAuthorizationResponse(ctx, h, code, flowState, flowVerifier, opts...); err != nil {
				t.Error(err)
			}
			h.SetExpectedState("again")
			if err := otelmcp.ProcessAuthorizationResponse(ctx, h, code, "again", flowVerifier, opts...); err == nil {
				t.Error("a code was taken twice")
			}
			status := map[bool]string{true: " 200"}[instrumented]
			refused := map[bool]string{true: " 400"}[instrumented]
			wantDecided(t, capture, "deny oauth_code state_mismatch", "deny oauth_code state_mismatch",
				"allow oauth_code ok"+status, "deny oauth_code invalid_credentials"+refused+" invalid_grant")
			wantSays(t, lastDecision(t, capture), map[string]string{"otelmcp.auth.client_id": "known"})
			if text := fmt.Sprint(capture.Logs()); strings.Contains(text, "attacker") || strings.Contains(text, flowState) {
				t.Error("a state or a code is recorded")
			}
		})
	}
}

// A refresh that fails is told with its reason, which mcp-go keeps to itself.
func TestOAuthRefreshFails(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*world)
		want string
	}{
		{"refused", func(*world) {}, "deny oauth_refresh refresh_failed 400 invalid_grant"},
		{"unavailable", func(w *world) { w.as.put("/token", status(503, "")) }, "error oauth_refresh refresh_failed 503 503"},
		{"nobody there", func(w *world) { w.as.Close() }, "error oauth_refresh refresh_failed connection_refused"},
		{"no resource metadata", func(w *world) { w.metadata.Store(&map[string]any{"resource": 1}) }, "error oauth_discovery verifier_unavailable 200 _OTHER"},
	} {
		for _, over := range []string{streamable, sse} {
			for _, e := range []equipped{everyWay, bySeams} {
				t.Run(c.name+"/"+over+"/"+e.name, func(t *testing.T) {
					capture := telemetrytest.New(t)
					w := newWorld(t, over)
					cfg := w.registered()
					w.holds(true, time.Hour)
					opened := w.client(e, &cfg, into(capture)...)
					if err := w.open(opened); err != nil {
						t.Fatal(err)
					}
					capture.Reset()
					w.holds(false, -time.Minute)
					c.set(w)
					_, err := callTool(t.Context(), opened, "echo", nil)
					if !client.IsOAuthAuthorizationRequiredError(err) {
						t.Errorf("called: %v", err)
					}
					wantDecided(t, capture, c.want+" on tools/call")
					op := event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName)))
					wantSays(t, op, map[string]string{
						"otelmcp.outcome": "denied", "error.type": "authorization_required", "http.response.status_code": "",
						"otelmcp.auth.reason": lastDecision(t, capture)["otelmcp.auth.reason"],
					})
				})
			}
		}
	}
}

// Without our HTTP clients a refresh that failed shows as a message that was not sent,
// whatever the client told the authorization server of itself.
func TestOAuthRefreshFailsUnseen(t *testing.T) {
	for _, e := range []equipped{wrapOnly, seamsOnly} {
		for _, method := range []string{"client_secret_basic", "client_secret_post"} {
			t.Run(e.name+"/"+method, func(t *testing.T) {
				capture := telemetrytest.New(t)
				w := newWorld(t, streamable)
				cfg := w.registered()
				cfg.TokenEndpointAuthMethod = method
				w.holds(true, time.Hour)
				c := w.client(e, &cfg, into(capture)...)
				if err := w.open(c); err != nil {
					t.Fatal(err)
				}
				w.holds(false, -time.Minute)
				if _, err := callTool(t.Context(), c, "echo", nil); err == nil {
					t.Error("it was let in")
				}
				wantDecided(t, capture, "challenge none missing_credentials on tools/call")
			})
		}
	}
}

// Callers that find the same token expired share one refresh, and one decision: some
// of them give up while it is under way, and the one that it is about may be over.
func TestOAuthSharedRefresh(t *testing.T) {
	for _, e := range []equipped{everyWay, bySeams} {
		for _, givesUp := range []bool{false, true} {
			t.Run(fmt.Sprint(e.name, givesUp), func(t *testing.T) {
				capture := telemetrytest.New(t)
				w := newWorld(t, streamable)
				cfg := w.registered()
				w.holds(true, time.Hour)
				c := w.client(e, &cfg, into(capture)...)
				if err := w.open(c); err != nil {
					t.Fatal(err)
				}
				capture.Reset()
				w.holds(true, -time.Minute)
				const callers = 16
				asked, answer := make(chan struct{}), make(chan struct{})
				w.as.put("/token", func(rw http.ResponseWriter, r *http.Request) {
					close(asked) // twice panics
					<-answer
					w.as.mu.Lock()
					defer w.as.mu.Unlock()
					w.as.grant(rw, r)
				})
				first, cancel := context.WithCancel(t.Context())
				defer cancel()
				var wg sync.WaitGroup
				var failed atomic.Int64
				call := func(ctx context.Context) {
					if _, err := callTool(ctx, c, "echo", nil); err != nil {
						failed.Add(1)
					}
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					call(first)
				}()
				recv(t, asked)
				for range callers - 1 {
					wg.Go(func() { call(t.Context()) })
				}
				if givesUp {
					cancel()
					recv(t, done) // it is over, and its refresh goes on
				}
				close(answer)
				wg.Wait()
				recv(t, done)
				eventually(t, func() bool { return len(capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)) > 0 })
				wantDecided(t, capture, "allow oauth_refresh ok 200 on tools/call")
				if n := failed.Load(); n != map[bool]int64{true: 1}[givesUp] {
					t.Errorf("%d callers failed", n)
				}
				if n := len(capture.EventsNamed(semconv.OTelMCPOperationEventName)); n != callers {
					t.Errorf("%d operations", n)
				}
			})
		}
	}
}

// What a program decides while a message is sent stands on that message, and what is
// decided while a client's handler answers its server does not stand on the client's
// own.
func TestClientDecisionsOfTheProgram(t *testing.T) {
	capture := telemetrytest.New(t)
	web := httptest.NewServer(status(401, ""))
	t.Cleanup(web.Close)
	conn := otelmcp.WrapTransport(must(transport.NewStreamableHTTP(web.URL, transport.WithHTTPHeaderFunc(func(ctx context.Context) map[string]string {
		otelmcp.RecordAuthDecision(ctx, otelmcp.AuthDecision{Reason: "revoked", Mechanism: "api_key", Policy: "vault"})
		return map[string]string{"X-Api-Key": "0123"}
	}))), into(capture)...)
	defer conn.Close()
	_, err := conn.SendRequest(t.Context(), transport.JSONRPCRequest{JSONRPC: "2.0", ID: mcp.NewRequestId(int64(1)), Method: "tools/list"})
	if err == nil {
		t.Error("it was let in")
	}
	wantDecided(t, capture, "deny api_key revoked on tools/list")
	wantSays(t, event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName))), map[string]string{
		"otelmcp.auth.policy": "vault", "otelmcp.auth.reason": "revoked", "otelmcp.outcome": "denied", "http.response.status_code": "401",
	})
}

// What a program does while it answers its server is about that, and not about what
// the client sends.
func TestClientDecisionsWhileServing(t *testing.T) {
	capture := telemetrytest.New(t)
	opts := into(capture)
	web := httptest.NewServer(status(401, ""))
	t.Cleanup(web.Close)
	hc := otelmcp.InstrumentHTTPClient(nil, opts...)
	fake := newFakeTransport()
	wrapped := otelmcp.WrapTransport(fake, opts...)
	wrapped.(transport.BidirectionalInterface).SetRequestHandler(func(ctx context.Context, _ transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
		otelmcp.RecordAuthDecision(ctx, otelmcp.AuthDecision{Mechanism: "none", Policy: "ask"})
		req := must(http.NewRequestWithContext(ctx, http.MethodGet, web.URL, http.NoBody))
		res, err := hc.Do(req)
		if err == nil {
			_ = res.Body.Close()
		}
		return &transport.JSONRPCResponse{}, err
	})
	_, err := fake.request(t.Context(), transport.JSONRPCRequest{ID: mcp.NewRequestId(int64(1)), Method: "sampling/createMessage"})
	if err != nil {
		t.Error(err)
	}
	var is []string
	for _, r := range capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName) {
		e := event(r)
		is = append(is, e["otelmcp.role"]+" "+e["otelmcp.auth.decision"]+" "+e["mcp.method.name"])
	}
	if want := []string{"server allow sampling/createMessage", "client challenge "}; !slices.Equal(is, want) {
		t.Errorf("decided %q, want %q", is, want)
	}
	wantSays(t, event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName))), map[string]string{
		"otelmcp.role": "server", "otelmcp.outcome": "ok", "otelmcp.auth.policy": "ask", "otelmcp.auth.decision": "allow",
	})
}

// A server's tool that uses a client: what is decided about the client's credentials is
// not about the message that the server handles.
func TestOAuthInsideOfAServer(t *testing.T) {
	for _, e := range []equipped{everyWay, helpers} {
		t.Run(e.name, func(t *testing.T) {
			srv, atServer := instrumented(t)
			capture := telemetrytest.New(t)
			w := newWorld(t, streamable)
			cfg := w.registered()
			w.holds(true, time.Hour)
			c := w.client(e, &cfg, into(capture)...)
			if err := w.open(c); err != nil {
				t.Fatal(err)
			}
			capture.Reset()
			srv.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				w.holds(false, -time.Minute)
				_, err := callTool(ctx, c, "echo", nil)
				return mcp.NewToolResultText(fmt.Sprint(err)), nil
			})
			p := connect(t, srv.MCPServer, inProcess, legacy)
			if r := p.tool(t.Context(), "custom", ""); r.Result == nil {
				t.Fatalf("%+v", r)
			}
			about := map[bool]string{true: " on tools/call"}[e.wrap]
			wantDecided(t, capture, "deny oauth_refresh refresh_failed 400 invalid_grant"+about)
			for _, r := range atServer.Logs() { // the server's own filters decide, too
				if e := event(r); e["otelmcp.auth.decision"] == "deny" || strings.HasPrefix(e["otelmcp.auth.mechanism"], "oauth") {
					t.Errorf("the server says %v", e)
				}
			}
		})
	}
}

// canaryParts are what must not be seen of a secret.
func canaryParts(secret string) (parts []string) {
	for k := 0; k+8 <= len(secret); k += 4 {
		parts = append(parts, secret[k:k+8])
	}
	return append(parts, secret[:8], base64.StdEncoding.EncodeToString([]byte(secret))[:12], base64.RawURLEncoding.EncodeToString([]byte(secret))[:12], url.QueryEscape(secret))
}

// No credential of the flow is in any signal, in an error that was not the program's
// already, or on standard error.
func TestOAuthCanaries(t *testing.T) {
	for _, mode := range captureModes {
		for _, over := range []string{streamable, sse} {
			for _, e := range []equipped{everyWay, bySeams, wrapOnly} {
				t.Run(mode.name+"/"+over+"/"+e.name, func(t *testing.T) {
					capture := telemetrytest.New(t)
					stderr := watchStderr(t)
					w := newWorld(t, over)
					opts := into(capture, mode.opts...)
					cfg := w.config()
					c := w.client(e, &cfg, opts...)
					h := client.GetOAuthHandler(w.open(c))
					if err := w.login(h, opts...); err != nil {
						t.Fatal(err)
					}
					_ = w.login(h, opts...)
					if err := w.open(c); err != nil {
						t.Fatal(err)
					}
					_, _ = callTool(t.Context(), c, "echo", map[string]any{"text": "hi"})
					expire := func() {
						token := *must(w.store.GetToken(t.Context()))
						token.ExpiresAt = time.Now().Add(-time.Minute)
						_ = w.store.SaveToken(t.Context(), &token)
					}
					expire()
					_, _ = callTool(t.Context(), c, "echo", nil)
					w.answers(403, `Bearer error="insufficient_scope", scope="a"`)
					_, _ = callTool(t.Context(), c, "echo", nil)
					w.answers(403, `Bearer error="insufficient_scope", scope="a `+must(w.store.GetToken(t.Context())).AccessToken+` b"`)
					_, _ = callTool(t.Context(), c, "echo", nil)
					w.answers(401, `Bearer error="invalid_token", error_description="`+must(w.store.GetToken(t.Context())).AccessToken+`"`)
					_, _ = callTool(t.Context(), c, "echo", nil)
					expire()
					spent := must(w.store.GetToken(t.Context())).RefreshToken
					w.as.put("/token", status(400, `{"error":"`+spent+`","error_description":"`+spent+`"}`))
					_, _ = callTool(t.Context(), c, "echo", nil)
					_ = h.RegisterClient(t.Context(), "again")
					secrets := append(slices.Clone(w.as.secrets), flowVerifier, flowState)
					if len(secrets) < 9 {
						t.Errorf("there are only %d secrets", len(secrets))
					}
					said := []string{stderr()}
					eachString(t, capture, func(_, text string) { said = append(said, text) })
					for _, s := range secrets {
						for _, part := range canaryParts(s) {
							for _, text := range said {
								if strings.Contains(text, part) {
									t.Errorf("%q is in %q", part, text)
								}
							}
						}
					}
					if e.cfg && len(decided(t, capture)) < 8 {
						t.Errorf("only %q was decided", decided(t, capture))
					}
				})
			}
		}
	}
}

// watchStderr returns what has been written to standard error and to the default
// loggers since.
func watchStderr(t *testing.T) func() string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	old, oldLog := os.Stderr, slog.Default()
	os.Stderr = w
	slog.SetDefault(slog.New(slog.NewTextHandler(w, nil)))
	log.SetOutput(w)
	restore := sync.OnceValue(func() string {
		os.Stderr = old
		slog.SetDefault(oldLog)
		log.SetOutput(old)
		_ = w.Close()
		all, _ := io.ReadAll(r)
		_ = r.Close()
		return string(all)
	})
	t.Cleanup(func() { restore() })
	return restore
}

// varyingInFlow is what differs from one run to the next.
var varyingInFlow = regexp.MustCompile(`127\.0\.0\.1(:|%3A)\d+|(?i:mcp-session-id: \S+|sessionid=\S+)`)

// The same requests, byte for byte, and the same errors, with and without us.
func TestOAuthTransparency(t *testing.T) {
	run := func(t *testing.T, over string, e equipped, opts ...otelmcp.Option) (all []string) {
		t.Helper()
		w := newWorld(t, over)
		cfg := w.config()
		c := w.client(e, &cfg, opts...)
		note := func(err error) { all = append(all, told(nil, err)) }
		err := w.open(c)
		note(err)
		h := client.GetOAuthHandler(err)
		if h == nil {
			t.Fatalf("opened: %v", err)
		}
		if e == bareClient {
			opts = nil
		}
		note(w.login(h, opts...))
		note(w.open(c))
		call := func() {
			_, err := callTool(t.Context(), c, "echo", map[string]any{"text": "hi"})
			note(err)
		}
		call()
		expire := func() {
			token := *must(w.store.GetToken(t.Context()))
			token.ExpiresAt = time.Now().Add(-time.Minute)
			_ = w.store.SaveToken(t.Context(), &token)
		}
		expire()
		call()
		w.answers(403, `Bearer error="insufficient_scope", scope="a"`)
		call()
		note(c.RootListChanges(t.Context()))
		w.answers(401, `Bearer resource_metadata="`+w.web.URL+`/.well-known/oauth-protected-resource`+w.path()+`"`)
		call()
		w.refuse.Store(nil)
		expire()
		w.as.put("/token", status(400, `{"error":"invalid_grant"}`))
		call()
		note(w.login(h, opts...))
		w.metadata.Store(&map[string]any{"resource": "https://victim.example"})
		h.SetProtectedResourceMetadataURL(w.web.URL + "/.well-known/oauth-protected-resource" + w.path())
		note(w.login(h, opts...))
		w.requests.mu.Lock()
		all = append(all, w.requests.all...)
		w.requests.mu.Unlock()
		for k := range all {
			all[k] = varyingInFlow.ReplaceAllString(all[k], "~")
		}
		return all
	}
	silentPropagators := otelmcp.WithPropagators(propagation.NewCompositeTextMapPropagator())
	for _, over := range []string{streamable, sse} {
		want := run(t, over, bareClient)
		if len(want) < 25 {
			t.Fatalf("only %q", want)
		}
		for _, set := range equipments() {
			for _, e := range []equipped{everyWay, bySeams} {
				t.Run(over+"/"+set.name+"/"+e.name, func(t *testing.T) {
					have := run(t, over, e, append(set.opts(t), silentPropagators)...)
					if !slices.Equal(have, want) {
						for k := range max(len(have), len(want)) {
							if k >= len(have) || k >= len(want) || have[k] != want[k] {
								t.Fatalf("%d of %d, %d without us:\n%s\nwithout us\n%s", k, len(have), len(want), have[min(k, len(have)-1)], want[min(k, len(want)-1)])
							}
						}
					}
				})
			}
		}
	}
}

// closable is a RoundTripper with what http.Client asks for.
type closable struct {
	http.RoundTripper
	closed atomic.Int64
}

func (c *closable) CloseIdleConnections() { c.closed.Add(1) }

// The client keeps its fields, and what is not asked for stays as it was.
func TestInstrumentedHTTPClient(t *testing.T) {
	opts := into(telemetrytest.New(t))
	inner := &closable{}
	jar := must(cookiejar.New(nil))
	c := &http.Client{
		Transport: inner, Jar: jar, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	cfg := otelmcp.InstrumentOAuth(transport.OAuthConfig{HTTPClient: c, ClientID: "x"}, opts...)
	for _, have := range []*http.Client{otelmcp.InstrumentHTTPClient(c, opts...), cfg.HTTPClient} {
		if have == c || c.Transport != inner {
			t.Error("the program's own client was changed")
		}
		if have.Jar != jar || have.Timeout != time.Minute || have.CheckRedirect == nil {
			t.Errorf("the copy is %+v", have)
		}
		before := inner.closed.Load()
		have.CloseIdleConnections()
		if inner.closed.Load() != before+1 {
			t.Error("idle connections are not closed")
		}
		if otelmcp.InstrumentHTTPClient(have, opts...) != have {
			t.Error("it was instrumented twice")
		}
	}
	if again := otelmcp.InstrumentOAuth(cfg, opts...); again.HTTPClient != cfg.HTTPClient {
		t.Error("a config was instrumented twice")
	}
	if cfg.TokenStore != nil || cfg.ClientID != "x" {
		t.Errorf("the config is %+v", cfg)
	}
	if d := otelmcp.InstrumentOAuth(transport.OAuthConfig{}, opts...); d.HTTPClient.Timeout != 30*time.Second {
		t.Errorf("the default timeout is %v", d.HTTPClient.Timeout)
	}
	if d := otelmcp.InstrumentHTTPClient(nil, opts...); d.Timeout != 0 {
		t.Errorf("the default timeout is %v", d.Timeout)
	}
	noop := noopPipeline().options()
	if otelmcp.InstrumentHTTPClient(c, noop...) != c || otelmcp.InstrumentOAuth(transport.OAuthConfig{}, noop...).HTTPClient != nil {
		t.Error("something was put in between with nobody to listen")
	}
}

// One client for both: each request is taken for what it is.
func TestSharedHTTPClient(t *testing.T) {
	capture := telemetrytest.New(t)
	opts := into(capture)
	w := newWorld(t, streamable)
	cfg := w.registered()
	cfg.HTTPClient = otelmcp.InstrumentHTTPClient(cfg.HTTPClient, opts...)
	cfg = otelmcp.InstrumentOAuth(cfg, opts...)
	w.holds(false, time.Hour)
	conn := must(transport.NewStreamableHTTP(w.url(), transport.WithHTTPBasicClient(cfg.HTTPClient), transport.WithHTTPOAuth(cfg)))
	c := client.NewClient(otelmcp.WrapTransport(conn, opts...), client.WithProtocolVersion(string(legacy)))
	defer c.Close()
	if err := w.open(c); err == nil {
		t.Fatal("it was let in")
	}
	if err := w.login(conn.GetOAuthHandler(), opts...); err != nil {
		t.Fatal(err)
	}
	if err := w.open(c); err != nil {
		t.Fatal(err)
	}
	wantDecided(t, capture, "deny bearer_opaque invalid_credentials 401 on initialize", "allow oauth_code ok 200")
}

// Bodies come through as they are sent: a stream as it flows, and what is large whole.
func TestOAuthBodies(t *testing.T) {
	checkLeaks(t)
	capture := telemetrytest.New(t)
	opts := into(capture)
	large := bytes.Repeat([]byte("0123456789abcdef"), 200_000) // 3.2 MB, more than is kept
	next := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large", "/.well-known/oauth-protected-resource/large":
			_, _ = w.Write(large)
		default:
			_, _ = io.WriteString(w, "first")
			w.(http.Flusher).Flush()
			<-next
			_, _ = io.WriteString(w, "second")
		}
	}))
	defer web.Close()
	base := &http.Transport{}
	defer base.CloseIdleConnections()
	hc := otelmcp.InstrumentOAuth(transport.OAuthConfig{HTTPClient: &http.Client{Transport: base}}, opts...).HTTPClient
	get := func(path string) *http.Response {
		req := must(http.NewRequestWithContext(t.Context(), http.MethodGet, web.URL+path, http.NoBody))
		req.Header.Set("Accept", "application/json") // as the flow's
		return must(hc.Do(req))
	}
	for _, path := range []string{"/large", "/.well-known/oauth-protected-resource/large"} {
		res := get(path)
		if got := must(io.ReadAll(res.Body)); !bytes.Equal(got, large) {
			t.Errorf("%s: %d bytes came", path, len(got))
		}
		_ = res.Body.Close()
	}
	res := get("/stream")
	first := make([]byte, 5)
	if _, err := io.ReadFull(res.Body, first); err != nil || string(first) != "first" {
		t.Errorf("%q, %v", first, err)
	}
	close(next)
	if rest := must(io.ReadAll(res.Body)); string(rest) != "second" {
		t.Errorf("%q", rest)
	}
	_ = res.Body.Close()
	if err := res.Body.Close(); err != nil {
		t.Error(err)
	}
	no := "error oauth_discovery verifier_unavailable 200 _OTHER" // once for each, of what is no metadata
	wantDecided(t, capture, no, no, no)
}
