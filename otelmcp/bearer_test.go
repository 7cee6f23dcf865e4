// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// RequireBearer: what it answers, as the RFCs have it, and what it records.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// Tokens that the tests' verifier knows. Their shapes are those of a JWT and of an
// opaque token.
const (
	jwtHead   = "eyJhbGciOiJSUzI1NiIsInR5cCI6ImF0K2p3dCJ9."
	jwtClaims = "eyJzdWIiOiJhbGljZSIsInByaXZhdGUiOiJjbGFpbXMtYXJlLXNlY3JldC10b28ifQ"
	jwtTail   = ".c2lnbmF0dXJlLW9mLXRoZS10b2tlbi1pcy1oZXJl"

	jwtToken    = jwtHead + jwtClaims + jwtTail
	opaqueToken = "Zx8Kp2mVq9-opaque~access.token_4Rt7"

	resource = "https://mcp.example/mcp"
	metadata = "https://mcp.example/.well-known/oauth-protected-resource/mcp"
)

func alice(mechanism string) *otelmcp.TokenInfo {
	return &otelmcp.TokenInfo{
		UserID: "alice", Scopes: []string{"mcp:use", "mcp:list"}, Expiration: time.Now().Add(time.Hour),
		Issuer: "https://login.example", Audience: []string{resource}, ClientID: "agent-7", Roles: []string{"reader"},
		Mechanism: mechanism,
	}
}

// bearerCase is a request's credentials, and what is to become of it.
type bearerCase struct {
	name    string
	headers []string // with {token}
	verify  func(info *otelmcp.TokenInfo) (*otelmcp.TokenInfo, error)

	status    int
	decision  string
	kind      string // authentication, when it is empty
	reason    string
	mechanism string // that of the token, when it is empty
	code      string // RFC 6750's error
	user      string
	severity  string // WARN, when it is empty
}

var withToken = []string{"Authorization: Bearer {token}"}

func refusedAs(reason string, info bool) func(*otelmcp.TokenInfo) (*otelmcp.TokenInfo, error) {
	return func(i *otelmcp.TokenInfo) (*otelmcp.TokenInfo, error) {
		err := &otelmcp.TokenError{Reason: reason, Message: "no"}
		if info {
			err.Info = i
		}
		return nil, fmt.Errorf("verify: %w", err)
	}
}

func bearerCases() []bearerCase {
	cases := []bearerCase{
		{name: "valid", headers: withToken, status: 200, decision: "allow", reason: "ok", user: "alice", severity: "INFO"},
		{name: "valid, the scheme in small letters", headers: []string{"authorization: bearer {token}"}, status: 200, decision: "allow", reason: "ok", user: "alice", severity: "INFO"},
		{name: "none", status: 401, decision: "challenge", reason: "missing_credentials", mechanism: "none"},
		{name: "basic", headers: []string{"Authorization: Basic YWxpY2U6c2VzYW1lLW9wZW4="}, status: 401, decision: "challenge", reason: "missing_credentials", mechanism: "basic"},
		{name: "an API key", headers: []string{"X-API-Key: sesame-open-key"}, status: 401, decision: "challenge", reason: "missing_credentials", mechanism: "api_key"},
		{name: "two tokens", headers: []string{withToken[0], withToken[0]}, status: 400, decision: "deny", reason: "malformed_credentials", code: "invalid_request"},
		{name: "a token and something else", headers: []string{withToken[0], "Authorization: Basic YWxpY2U6c2VzYW1lLW9wZW4="}, status: 400, decision: "deny", reason: "malformed_credentials", code: "invalid_request"},
		{name: "an empty one", headers: []string{"Authorization: Bearer "}, status: 400, decision: "deny", reason: "malformed_credentials", mechanism: "bearer_opaque", code: "invalid_request"},
		{name: "no token's letters", headers: []string{"Authorization: Bearer {token},{token}"}, status: 400, decision: "deny", reason: "malformed_credentials", mechanism: "any", code: "invalid_request"},
		{
			name: "expired, as the program sees", headers: withToken, status: 401, decision: "deny", reason: "expired", code: "invalid_token", user: "alice",
			verify: func(i *otelmcp.TokenInfo) (*otelmcp.TokenInfo, error) {
				i.Expiration = time.Now().Add(-time.Nanosecond)
				return i, nil
			},
		},
		{
			name: "no expiry", headers: withToken, status: 200, decision: "allow", reason: "ok", user: "alice", severity: "INFO",
			verify: func(i *otelmcp.TokenInfo) (*otelmcp.TokenInfo, error) {
				i.Expiration = time.Time{}
				return i, nil
			},
		},
		{
			name: "for another resource", headers: withToken, status: 401, decision: "deny", reason: "audience_mismatch", code: "invalid_token", user: "alice",
			verify: func(i *otelmcp.TokenInfo) (*otelmcp.TokenInfo, error) {
				i.Audience = []string{"https://other.example/mcp"}
				return i, nil
			},
		},
		{
			name: "for nobody", headers: withToken, status: 401, decision: "deny", reason: "audience_mismatch", code: "invalid_token", user: "alice",
			verify: func(i *otelmcp.TokenInfo) (*otelmcp.TokenInfo, error) {
				i.Audience = nil
				return i, nil
			},
		},
		{
			name: "too little", headers: withToken, status: 403, decision: "deny", kind: "authorization", reason: "insufficient_scope", code: "insufficient_scope", user: "alice",
			verify: func(i *otelmcp.TokenInfo) (*otelmcp.TokenInfo, error) {
				i.Scopes = []string{"mcp:list"}
				return i, nil
			},
		},
		{
			name: "invalid, and not why", headers: withToken, status: 401, decision: "deny", reason: "invalid_credentials", code: "invalid_token",
			verify: func(*otelmcp.TokenInfo) (*otelmcp.TokenInfo, error) {
				return nil, fmt.Errorf("%w: %s", otelmcp.ErrInvalidToken, jwtToken+opaqueToken)
			},
		},
		{
			name: "a reason of the verifier's own", headers: withToken, status: 401, decision: "deny", reason: "_OTHER", code: "invalid_token",
			verify: refusedAs("phase_of_the_moon", false),
		},
		{
			name: "the verifier is down", headers: withToken, status: 503, decision: "error", reason: "verifier_unavailable", severity: "ERROR",
			verify: func(*otelmcp.TokenInfo) (*otelmcp.TokenInfo, error) {
				return nil, errors.New("dial: " + jwtToken + opaqueToken)
			},
		},
		{
			name: "the verifier is down, and says so", headers: withToken, status: 503, decision: "error", reason: "verifier_unavailable", severity: "ERROR",
			verify: refusedAs(semconv.OTelMCPAuthReasonVerifierUnavailable, false),
		},
		{
			name: "the verifier says nothing", headers: withToken, status: 503, decision: "error", reason: "verifier_unavailable", severity: "ERROR",
			verify: func(*otelmcp.TokenInfo) (*otelmcp.TokenInfo, error) { return nil, nil }, //nolint:nilnil // What it is for.
		},
		{
			name: "the verifier panics", headers: withToken, status: 500, decision: "error", reason: "verifier_unavailable", severity: "ERROR",
			verify: func(*otelmcp.TokenInfo) (*otelmcp.TokenInfo, error) { panic(jwtToken + opaqueToken) },
		},
	}
	for _, reason := range []string{
		"expired", "not_yet_valid", "bad_signature", "unknown_issuer", "audience_mismatch", "revoked", "unproven_possession", "malformed_credentials",
		"issuer_mismatch",
	} {
		for _, known := range []bool{true, false} {
			c := bearerCase{
				name: fmt.Sprintf("%s, known %v", reason, known), headers: withToken, verify: refusedAs(reason, known),
				status: 401, decision: "deny", reason: reason, code: "invalid_token",
			}
			if known {
				c.user = "alice"
			}
			cases = append(cases, c)
		}
	}
	return cases
}

// TestBearer: each reason, with both kinds of token, on each transport.
func TestBearer(t *testing.T) {
	requests := map[string]struct {
		sse  bool
		send func(headers ...string) string
		ok   int
	}{
		"POST":         {send: func(h ...string) string { return rawPost(rpc("1", "initialize", initializeParams), h...) }, ok: 200},
		"GET":          {send: func(h ...string) string { return plain("GET", "/", h...) }, ok: 200},
		"DELETE":       {send: func(h ...string) string { return plain("DELETE", "/", h...) }, ok: 200},
		"SSE, a POST":  {sse: true, send: func(h ...string) string { return rawPostTo("/message?sessionId="+forged, rpc("1", "ping", "{}"), h...) }, ok: 400},
		"SSE, its GET": {sse: true, send: func(h ...string) string { return plain("GET", "/sse", h...) }, ok: 200},
	}
	for shape, token := range map[string]string{"bearer_jwt": jwtToken, "bearer_opaque": opaqueToken} {
		for how, request := range requests {
			for _, tc := range bearerCases() {
				t.Run(shape+"/"+how+"/"+tc.name, func(t *testing.T) {
					verify := func(_ context.Context, got string, _ *http.Request) (*otelmcp.TokenInfo, error) {
						if got != token {
							t.Errorf("the verifier was given %q", got)
						}
						if tc.verify == nil {
							return alice(""), nil
						}
						return tc.verify(alice(""))
					}
					_, i, c, capture := edged(t, func(s *server.MCPServer) http.Handler {
						h := quietHTTP(s)
						if request.sse {
							h = server.NewSSEServer(s)
						}
						return otelmcp.RequireBearer(verify, otelmcp.WithScopes("mcp:use"), otelmcp.WithResource(resource))(h)
					})
					headers := make([]string, len(tc.headers))
					for k, h := range tc.headers {
						headers[k] = strings.ReplaceAll(h, "{token}", token)
					}
					s := step{send: request.send(headers...)}
					allowed := tc.decision == "allow"
					if allowed && request.ok == 200 && strings.Contains(how, "GET") {
						s.until = "\r\n\r\n" // the stream stays open
					}
					answer := c.do(s)
					c.web.Close()

					status := tc.status
					if allowed {
						status = request.ok
					}
					if !strings.HasPrefix(answer, fmt.Sprintf("HTTP/1.1 %d ", status)) {
						t.Fatalf("the answer is %q, want %d", answer, status)
					}
					tc.checkAnswer(t, answer)
					tc.checkDecision(t, capture, shape)
					leaksNothing(t, capture, jwtToken, opaqueToken, "YWxpY2U6c2VzYW1lLW9wZW4=", "sesame-open-key", "claims-are-secret-too")
					if !allowed {
						settled(t, i, capture)
					}
				})
			}
		}
	}
}

func (tc *bearerCase) checkAnswer(t *testing.T, answer string) {
	t.Helper()
	if tc.decision == "allow" {
		return
	}
	for _, secret := range []string{jwtToken, opaqueToken} {
		if strings.Contains(answer, secret) {
			t.Errorf("the answer tells the token: %q", answer)
		}
	}
	if !strings.Contains(answer, "\r\nCache-Control: no-store\r\n") {
		t.Errorf("a refusal may be stored: %q", answer)
	}
	if tc.status >= 500 {
		if strings.Contains(answer, "Www-Authenticate") || !strings.Contains(answer, "\r\nRetry-After: ") {
			t.Errorf("who cannot say whether a token is valid does not challenge, and says when to come back: %q", answer)
		}
		return
	}
	_, challenge, ok := strings.Cut(answer, "Www-Authenticate: Bearer ")
	challenge, _, _ = strings.Cut(challenge, "\r\n")
	if !ok {
		t.Fatalf("no challenge in %q", answer)
	}
	for name, want := range map[string]string{"error": tc.code, "resource_metadata": metadata, "scope": "mcp:use"} {
		got := ""
		if _, v, ok := strings.Cut(" "+challenge, " "+name+`="`); ok {
			got, _, _ = strings.Cut(v, `"`)
		}
		if got != want {
			t.Errorf("%s is %q, want %q, in %q", name, got, want, challenge)
		}
	}
}

func (tc *bearerCase) checkDecision(t *testing.T, capture *telemetrytest.Capture, shape string) {
	t.Helper()
	want := said{
		"otelmcp.auth.kind": "authentication", "otelmcp.auth.decision": tc.decision, "otelmcp.auth.reason": tc.reason,
		"otelmcp.auth.mechanism": shape, "severity": "WARN", "user.id": tc.user, "client.address": "127.0.0.1", "otelmcp.role": "server",
		"otelmcp.auth.scopes.required": `["mcp:use"]`,
	}
	if tc.kind != "" {
		want["otelmcp.auth.kind"] = tc.kind
	}
	if tc.mechanism != "" {
		want["otelmcp.auth.mechanism"] = tc.mechanism
	}
	if tc.severity != "" {
		want["severity"] = tc.severity
	}
	if tc.user != "" {
		want["otelmcp.auth.client_id"], want["otelmcp.auth.issuer"] = "agent-7", "https://login.example"
		want["user.roles"] = `["reader"]`
	}
	if tc.decision != "allow" {
		want["http.response.status_code"] = fmt.Sprint(tc.status)
	}
	decisions := capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)
	if len(decisions) == 2 && tc.decision == "allow" { // the session that it asks for is refused
		decisions = decisions[:1]
	}
	e := event(only(t, decisions))
	for key, v := range want {
		if e[key] != v && v != "any" {
			t.Errorf("the decision's %s is %q, want %q", key, e[key], v)
		}
	}
	if (e["error.type"] != "") != (tc.decision == "error") {
		t.Errorf("error.type is %q", e["error.type"])
	}
	n := capture.CounterValue("otelmcp.auth.decisions",
		semconv.OTelMCPAuthKindKey.String(e["otelmcp.auth.kind"]), semconv.OTelMCPAuthDecisionKey.String(tc.decision),
		semconv.OTelMCPAuthReasonKey.String(tc.reason), semconv.OTelMCPAuthMechanismKey.String(e["otelmcp.auth.mechanism"]))
	if n != 1 {
		t.Errorf("%d such decisions are counted", n)
	}
	if tc.decision == "allow" {
		return
	}
	o := event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName)))
	for key, v := range (said{
		"otelmcp.outcome": "denied", "otelmcp.stage": "transport", "otelmcp.auth.decision": tc.decision, "otelmcp.auth.reason": tc.reason,
		"user.id": "", "severity": "WARN",
	}) {
		if key == "user.id" && tc.kind == "authorization" {
			v = tc.user // who it is is not in doubt
		}
		switch tc.reason {
		case "expired", "revoked", "not_yet_valid", "audience_mismatch", "unproven_possession":
			if key == "user.id" {
				v = tc.user // whose token it was, as far as the verifier knew
			}
		}
		if tc.status >= 500 && (key == "otelmcp.outcome" || key == "severity") {
			v = map[bool]string{true: "error", false: "ERROR"}[key == "otelmcp.outcome"]
		}
		if o[key] != v {
			t.Errorf("the operation's %s is %q, want %q", key, o[key], v)
		}
	}
}

// leaksNothing looks for the secrets, for parts of them and for their encoded
// forms in everything that was emitted.
func leaksNothing(t *testing.T, capture *telemetrytest.Capture, secrets ...string) {
	t.Helper()
	const part = 12
	var needles []string
	for _, s := range secrets {
		for _, form := range []string{s, base64.StdEncoding.EncodeToString([]byte(s)), base64.RawURLEncoding.EncodeToString([]byte(s)), url.QueryEscape(s)} {
			for k := 0; k+part <= len(form); k += part / 2 {
				needles = append(needles, form[k:k+part])
			}
		}
	}
	eachString(t, capture, func(where, text string) {
		for _, n := range needles {
			if strings.Contains(text, n) {
				t.Errorf("%s holds %q: %q", where, n, text)
				return
			}
		}
	})
}

// What was verified reaches the handlers, the operations, the session and what the
// server sends.
func TestBearerIdentity(t *testing.T) {
	s, i, c, capture := edged(t, func(s *server.MCPServer) http.Handler {
		return otelmcp.RequireBearer(func(context.Context, string, *http.Request) (*otelmcp.TokenInfo, error) {
			return alice("bearer_jwt"), nil
		})(quietHTTP(s))
	})
	s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		info := otelmcp.TokenInfoFromContext(ctx)
		if info == nil || info.UserID != "alice" {
			t.Errorf("the handler finds %v", info)
		}
		_ = server.ServerFromContext(ctx).SendNotificationToClient(ctx, "notifications/progress", map[string]any{"progressToken": 1})
		return mcp.NewToolResultText("done"), nil
	})
	auth := "Authorization: Bearer " + opaqueToken
	c.do(step{send: rawPost(rpc("0", "initialize", initializeParams), auth)})
	c.do(step{send: inSession(rpc("1", "tools/call", `{"name":"custom"}`), auth)})
	c.do(step{send: inSession(`{"jsonrpc":"2.0","method":"notifications/initialized"}`, auth)})
	c.do(step{send: plain("DELETE", "/", "Mcp-Session-Id: {session}", auth)})
	c.web.Close()
	for _, r := range capture.Logs() {
		e := event(r)
		if e["user.id"] != "alice" && r.EventName() != semconv.OTelMCPCoverageEventName && r.EventName() != semconv.OTelMCPDefinitionChangedEventName {
			t.Errorf("%s does not say who: %v", r.EventName(), e)
		}
	}
	for _, s := range capture.Spans() {
		if !hasAttribute(s, "user.id", "alice") {
			t.Errorf("the span %s does not say who", s.Name())
		}
	}
	if n := capture.HistogramCount("otelmcp.auth.duration"); n != 4 {
		t.Errorf("%d checks were timed, want 4", n)
	}
	settled(t, i, capture)
}

func hasAttribute(s sdktrace.ReadOnlySpan, key, value string) bool {
	for _, kv := range s.Attributes() {
		if string(kv.Key) == key && kv.Value.String() == value {
			return true
		}
	}
	return false
}

// A session stays with who started it.
func TestBearerHijackedSession(t *testing.T) {
	for name, opts := range map[string][]otelmcp.Option{
		"who is in the token": nil,
		"who the program says": {otelmcp.WithIdentity(func(ctx context.Context) otelmcp.Identity {
			if info := otelmcp.TokenInfoFromContext(ctx); info != nil {
				return otelmcp.Identity{UserID: "user of " + info.UserID}
			}
			return otelmcp.Identity{}
		})},
	} {
		t.Run(name, func(t *testing.T) {
			_, i, c, capture := edged(t, func(s *server.MCPServer) http.Handler {
				return otelmcp.RequireBearer(func(_ context.Context, token string, _ *http.Request) (*otelmcp.TokenInfo, error) {
					return &otelmcp.TokenInfo{UserID: token}, nil
				})(quietHTTP(s))
			}, opts...)
			c.do(step{send: rawPost(rpc("0", "initialize", initializeParams), "Authorization: Bearer alice")})
			capture.Reset()
			for _, send := range []string{
				inSession(rpc("1", "tools/call", callEcho), "Authorization: Bearer mallory"),
				plain("GET", "/", "Mcp-Session-Id: {session}", "Authorization: Bearer mallory"),
				plain("DELETE", "/", "Mcp-Session-Id: {session}", "Authorization: Bearer mallory"),
			} {
				if got := c.do(step{send: send}); !strings.HasPrefix(got, "HTTP/1.1 403 ") {
					t.Errorf("%q is answered with %q", send, got)
				}
			}
			decisions := capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)
			if len(decisions) != 3 {
				t.Fatalf("%d decisions", len(decisions))
			}
			for _, d := range decisions {
				e := event(d)
				for key, want := range (said{
					"otelmcp.auth.kind": "authorization", "otelmcp.auth.decision": "deny", "otelmcp.auth.reason": "session_principal_mismatch",
					"user.id": "mallory", "mcp.session.id": c.session, "http.response.status_code": "403",
				}) {
					if e[key] != want {
						t.Errorf("%s is %q, want %q", key, e[key], want)
					}
				}
			}
			if got := c.do(step{send: inSession(rpc("2", "tools/call", callEcho), "Authorization: Bearer alice")}); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
				t.Errorf("who started it gets %q", got)
			}
			c.do(step{send: plain("DELETE", "/", "Mcp-Session-Id: {session}", "Authorization: Bearer alice")})
			c.web.Close()
			settled(t, i, capture)
		})
	}
}

// Around the edge, and without one, the decisions go where the options say, and
// the identity reaches the operations.
func TestBearerAround(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	own := telemetrytest.New(t)
	verify := func(_ context.Context, token string, _ *http.Request) (*otelmcp.TokenInfo, error) {
		if token != "alice" {
			return nil, otelmcp.ErrInvalidToken
		}
		return &otelmcp.TokenInfo{UserID: token}, nil
	}
	opts := []otelmcp.BearerOption{otelmcp.WithLoggerProvider(own.LoggerProvider()), otelmcp.WithMeterProvider(own.MeterProvider()), nil}
	c := converse(t, otelmcp.RequireBearer(verify, opts...)(i.Handler(quietHTTP(s.MCPServer, server.WithStateLess(true)))))
	if got := c.do(step{send: rawPost(rpc("1", "ping", "{}"), "Authorization: Bearer eve")}); !strings.HasPrefix(got, "HTTP/1.1 401 ") {
		t.Errorf("%q", got)
	}
	c.do(step{send: rawPost(rpc("1", "ping", "{}"), "Authorization: Bearer alice")})
	c.web.Close()
	if n := own.CounterValue("otelmcp.auth.decisions"); n != 2 {
		t.Errorf("%d decisions", n)
	}
	if n := len(own.EventsNamed(semconv.OTelMCPAuthDecisionEventName)); n != 2 {
		t.Errorf("%d decision events", n)
	}
	if n := len(capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)); n != 0 {
		t.Errorf("%d decisions were recorded twice", n)
	}
	e := event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName)))
	if e["user.id"] != "alice" || e["otelmcp.auth.decision"] != "allow" {
		t.Errorf("the operation says %v", e)
	}
	settled(t, i, capture)
}

// What must be told is told: without a span that is sampled, silenced by the
// program's filter, in a context that has ended, with callbacks that panic.
func TestDecisionsSurvive(t *testing.T) {
	capture := telemetrytest.New(t)
	checkLeaks(t)
	s := newEverything()
	i := otelmcp.Instrument(s.MCPServer, into(capture,
		otelmcp.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))),
		otelmcp.WithFilter(func(context.Context, string) bool { return false }),
		otelmcp.WithIdentity(func(context.Context) otelmcp.Identity { panic("who?") }),
		otelmcp.WithScrubber(func(string, string) string { panic("what?") }))...)
	verify := func(context.Context, string, *http.Request) (*otelmcp.TokenInfo, error) { panic("verify") }
	h := i.Handler(otelmcp.RequireBearer(verify)(quietHTTP(s.MCPServer)))
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(rpc("1", "ping", "{}")))
		r.Header.Set("Authorization", "Bearer "+opaqueToken)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusInternalServerError {
			t.Errorf("answered with %d", w.Code)
		}
	}
	events := capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)
	if len(events) != 3 || capture.CounterValue("otelmcp.auth.decisions") != 3 {
		t.Fatalf("%d events, and %d are counted", len(events), capture.CounterValue("otelmcp.auth.decisions"))
	}
	for _, e := range events {
		if e.Severity().String() != "ERROR" {
			t.Errorf("severity %s", e.Severity())
		}
	}
	leaksNothing(t, capture, opaqueToken)
}

// A decision belongs to the trace that the request belongs to.
func TestDecisionInTrace(t *testing.T) {
	_, _, c, capture := edged(t, func(s *server.MCPServer) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			otelmcp.RequireBearer(func(context.Context, string, *http.Request) (*otelmcp.TokenInfo, error) {
				return alice(""), nil
			})(quietHTTP(s)).ServeHTTP(w, r.WithContext(trace.ContextWithRemoteSpanContext(r.Context(), trace.NewSpanContext(
				trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled},
			))))
		})
	})
	c.do(step{send: rawPost(rpc("1", "ping", "{}"), "Authorization: Bearer "+jwtToken)})
	c.web.Close()
	d := only(t, capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName))
	if d.TraceID() != (trace.TraceID{1}) {
		t.Errorf("the decision is in trace %s", d.TraceID())
	}
}

// A refusal says what was asked for, and in which trace, though the message was
// never dispatched.
func TestRefusalInTrace(t *testing.T) {
	verify := func(context.Context, string, *http.Request) (*otelmcp.TokenInfo, error) {
		return nil, otelmcp.ErrInvalidToken
	}
	for name, c := range map[string]struct {
		opts          []otelmcp.Option
		around        bool
		method        string
		trace, target string
	}{
		"a call":                  {method: "POST", trace: callerTrace, target: "tools/call echo"},
		"a stream":                {method: "GET", trace: callerTrace, target: " "},
		"callers choose no trace": {method: "GET", trace: noTrace, target: " ", opts: []otelmcp.Option{otelmcp.WithPublicEndpoint()}},
		"a call, around the edge": {method: "POST", trace: callerTrace, target: " ", around: true},
	} {
		t.Run(name, func(t *testing.T) {
			capture := telemetrytest.New(t)
			checkLeaks(t)
			s := newEverything()
			i := otelmcp.Instrument(s.MCPServer, into(capture, c.opts...)...)
			bearer := []otelmcp.BearerOption{otelmcp.WithLoggerProvider(capture.LoggerProvider()), otelmcp.WithMeterProvider(capture.MeterProvider()), otelmcp.WithPropagators(w3c)}
			h := i.Handler(otelmcp.RequireBearer(verify)(quietHTTP(s.MCPServer)))
			if c.around {
				h = otelmcp.RequireBearer(verify, bearer...)(i.Handler(quietHTTP(s.MCPServer)))
			}
			web := httptest.NewServer(h)
			defer web.Close()
			r, err := http.NewRequestWithContext(t.Context(), c.method, web.URL, strings.NewReader(rpc("1", "tools/call", callEcho)))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+opaqueToken)
			r.Header.Set("Traceparent", traceparent)
			res, err := web.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			web.Close()
			d := only(t, capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName))
			e := event(d)
			if d.TraceID().String() != c.trace {
				t.Errorf("the decision is in trace %s", d.TraceID())
			}
			if got := e["mcp.method.name"] + " " + e["gen_ai.tool.name"]; got != c.target {
				t.Errorf("the decision is about %q", got)
			}
			if e["client.address"] != "127.0.0.1" || e["http.request.method"] != c.method || e["otelmcp.role"] != "server" {
				t.Errorf("%v", e)
			}
			if c.around {
				return
			}
			if o := only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName)); o.TraceID().String() != c.trace {
				t.Errorf("the operation is in trace %s", o.TraceID())
			}
		})
	}
}

// Who is let in is recorded with what for, in the trace that the message names, before
// it is handled; or, without a message, right away.
func TestAllowSaysWhatFor(t *testing.T) {
	const meta = `{"name":"custom","_meta":{"traceparent":"` + traceparent + `"}}`
	for name, c := range map[string]struct {
		method, body  string
		trace, target string
		inside        int // how many are recorded when mcp-go has the request
		ran           int // and when the tool runs
	}{
		"a call":              {method: "POST", body: rpc("1", "tools/call", meta), trace: callerTrace, target: "tools/call custom 1", ran: 1},
		"another version":     {method: "POST", body: strings.Replace(rpc("1", "tools/call", meta), "2.0", "1.0", 1), trace: callerTrace, target: "tools/call custom 1"},
		"bytes":               {method: "POST", body: `{"jsonrpc":`, trace: noTrace, target: "  "},
		"nothing":             {method: "POST", trace: noTrace, target: "  "},
		"a request to stream": {method: "GET", trace: noTrace, target: "  ", inside: 1},
	} {
		t.Run(name, func(t *testing.T) {
			capture := telemetrytest.New(t)
			checkLeaks(t)
			s := newEverything()
			authentications := func() (all []sdklog.Record) {
				for _, d := range capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName) {
					if event(d)["otelmcp.auth.kind"] == "authentication" {
						all = append(all, d)
					}
				}
				return all
			}
			inside, ran := 0, 0
			s.do(func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				ran = len(authentications())
				return mcp.NewToolResultText("done"), nil
			})
			inner := quietHTTP(s.MCPServer, server.WithStateLess(true))
			look := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				inside = len(authentications())
				inner.ServeHTTP(w, r)
			})
			web := httptest.NewServer(otelmcp.Instrument(s.MCPServer, into(capture)...).Handler(otelmcp.RequireBearer(aToken)(look)))
			defer web.Close()
			r := must(http.NewRequestWithContext(t.Context(), c.method, web.URL, strings.NewReader(c.body)))
			r.Header.Set("Authorization", "Bearer alice")
			r.Header.Set("Content-Type", "application/json")
			res, err := web.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			web.Close()
			if inside != c.inside || ran != c.ran {
				t.Errorf("%d decisions were recorded when mcp-go had the request, and %d when the tool ran", inside, ran)
			}
			d := only(t, authentications())
			e := event(d)
			if got := e["mcp.method.name"] + " " + e["gen_ai.tool.name"] + " " + e["jsonrpc.request.id"]; got != c.target {
				t.Errorf("the decision is about %q", got)
			}
			o := only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName))
			if d.TraceID().String() != c.trace || c.ran > 0 && d.SpanID() != o.SpanID() {
				t.Errorf("the decision is in trace %s, span %s, and the operation in span %s", d.TraceID(), d.SpanID(), o.SpanID())
			}
			if e["otelmcp.auth.decision"] != "allow" || e["user.id"] != "alice" || d.Timestamp().After(o.Timestamp()) {
				t.Errorf("%v at %s, and the operation at %s", e, d.Timestamp(), o.Timestamp())
			}
		})
	}
}

const noTrace = "00000000000000000000000000000000"

// TestTokenError: what it is, and that its cause stays out of its text.
func TestTokenError(t *testing.T) {
	cause := errors.New("secret")
	err := error(&otelmcp.TokenError{Reason: "expired", Message: "by an hour", Err: cause})
	if !errors.Is(err, otelmcp.ErrInvalidToken) || !errors.Is(err, cause) {
		t.Error("an expired token is an invalid one")
	}
	if err.Error() != "token refused: expired: by an hour" {
		t.Error(err)
	}
	if errors.Is(&otelmcp.TokenError{Reason: semconv.OTelMCPAuthReasonVerifierUnavailable}, otelmcp.ErrInvalidToken) {
		t.Error("a verifier that is down is not the token's fault")
	}
}

// aToken verifies tokens that are their principal's name.
func aToken(_ context.Context, token string, _ *http.Request) (*otelmcp.TokenInfo, error) {
	return &otelmcp.TokenInfo{UserID: token, Issuer: "https://login.example"}, nil
}

// However a request names the session of another principal, and whether or not
// anybody listens, it does not get in.
func TestBearerSessionCannotBeTaken(t *testing.T) {
	const bob = "Authorization: Bearer bob"
	ping := rpc("1", "ping", "{}")
	streamableTries := map[string]string{
		"its header":                         inSession(ping, bob),
		"and another one in the query":       rawPostTo("/?sessionId="+forged, ping, "Mcp-Session-Id: {session}", bob),
		"and a version without sessions":     plain("DELETE", "/", "Mcp-Session-Id: {session}", "Mcp-Protocol-Version: 2026-07-28", bob),
		"a notification":                     inSession(`{"jsonrpc":"2.0","method":"notifications/initialized"}`, bob),
		"an answer":                          inSession(`{"jsonrpc":"2.0","id":1,"result":{"a":1}}`, bob),
		"its stream":                         plain("GET", "/", "Mcp-Session-Id: {session}", bob),
		"its stream, and one from the query": plain("GET", "/?sessionId="+forged, "Mcp-Session-Id: {session}", bob),
	}
	sseTries := map[string]string{
		"its query":                  rawPostTo("/message?sessionId={session}", ping, bob),
		"its query, in disguise":     rawPostTo("/message?%73essionId={session}", ping, bob),
		"and another header":         rawPostTo("/message?sessionId={session}", ping, "Mcp-Session-Id: "+forged, bob),
		"a version without sessions": rawPostTo("/message?sessionId={session}", ping, "Mcp-Protocol-Version: 2026-07-28", bob),
	}
	for heard, opts := range map[bool][]otelmcp.Option{true: nil, false: noopPipeline().options()} {
		for over, tries := range map[string]map[string]string{streamable: streamableTries, sse: sseTries} {
			for _, mux := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/heard=%v/mux=%v", over, heard, mux), func(t *testing.T) {
					_, _, c, capture := edged(t, func(s *server.MCPServer) http.Handler {
						h := http.Handler(server.NewSSEServer(s))
						if over == streamable {
							h = quietHTTP(s)
						}
						if mux {
							m := http.NewServeMux()
							m.Handle("/", h)
							h = m
						}
						return otelmcp.RequireBearer(aToken)(h)
					}, opts...)
					if over == streamable {
						c.do(step{send: rawPost(rpc("0", "initialize", initializeParams), "Authorization: Bearer alice")})
					} else {
						stream := c.open(plain("GET", "/sse", "Authorization: Bearer alice"))
						defer stream.Close()
						_, id, _ := strings.Cut(c.read(stream, "\r\n\r\n\r\n"), "sessionId=")
						c.session, _, _ = strings.Cut(id, "\r\n")
					}
					for name, send := range tries {
						capture.Reset()
						if got := c.do(step{send: send}); !strings.HasPrefix(got, "HTTP/1.1 403 ") {
							t.Errorf("%s: %q", name, got)
						}
						if !heard {
							continue
						}
						e := event(only(t, capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)))
						o := event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName)))
						for key, want := range (said{
							"otelmcp.auth.reason": "session_principal_mismatch", "mcp.session.id": c.session, "user.id": "bob", "otelmcp.session.integrity": "principal_mismatch",
						}) {
							if e[key] != want {
								t.Errorf("%s: %s is %q, want %q", name, key, e[key], want)
							}
						}
						if o["otelmcp.session.integrity"] != "principal_mismatch" || o["otelmcp.outcome"] != "denied" || o["user.id"] != "bob" {
							t.Errorf("%s: the operation says %v", name, o)
						}
					}
				})
			}
		}
	}
}

// A session stays open to the principal whose token started it, whoever else the
// telemetry says it is; and principals are told apart by all of their name, and by
// who vouches for it.
func TestBearerSessionOwner(t *testing.T) {
	long := strings.Repeat("x", 200)
	for name, c := range map[string]struct {
		first, then otelmcp.TokenInfo
		status      int
	}{
		"the same":       {otelmcp.TokenInfo{UserID: "alice", Issuer: "a"}, otelmcp.TokenInfo{UserID: "alice", Issuer: "a"}, 200},
		"another":        {otelmcp.TokenInfo{UserID: "alice"}, otelmcp.TokenInfo{UserID: "bob"}, 403},
		"nobody":         {otelmcp.TokenInfo{UserID: "alice"}, otelmcp.TokenInfo{}, 403},
		"another issuer": {otelmcp.TokenInfo{UserID: "alice", Issuer: "a"}, otelmcp.TokenInfo{UserID: "alice", Issuer: "b"}, 403},
		"a long name":    {otelmcp.TokenInfo{UserID: long + "alice"}, otelmcp.TokenInfo{UserID: long + "carol"}, 403},
		"a redacted one": {otelmcp.TokenInfo{UserID: "https://id.example/?u=alice"}, otelmcp.TokenInfo{UserID: "https://id.example/?u=carol"}, 403},
		"not known":      {otelmcp.TokenInfo{}, otelmcp.TokenInfo{UserID: "alice"}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := instrumented(t, otelmcp.WithIdentity(func(ctx context.Context) otelmcp.Identity {
				user, _ := ctx.Value(userKey{}).(string)
				return otelmcp.Identity{UserID: user}
			}))
			verify := func(_ context.Context, token string, _ *http.Request) (*otelmcp.TokenInfo, error) {
				if token == "first" {
					return &c.first, nil
				}
				return &c.then, nil
			}
			next := quietHTTP(s.MCPServer)
			inside := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx := context.WithValue(r.Context(), userKey{}, "the program's name for them")
				otelmcp.RecordAuthDecision(ctx, otelmcp.AuthDecision{Kind: "authentication", UserID: "the account"})
				next.ServeHTTP(w, r.WithContext(ctx))
			})
			pool, cert := certificates(t, &x509.Certificate{DNSNames: []string{"gateway.example"}})
			web := httptest.NewUnstartedServer(otelmcp.Instrument(s.MCPServer).Handler(otelmcp.RequireBearer(verify)(inside)))
			web.TLS = &tls.Config{ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13}
			web.StartTLS()
			defer web.Close()
			web.Client().Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{cert}
			send := func(body, token, session string) (status int, id string) {
				r := httptest.NewRequest(http.MethodPost, web.URL, strings.NewReader(body))
				r.RequestURI = ""
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Authorization", "Bearer "+token)
				r.Header.Set("Mcp-Session-Id", session)
				res, err := web.Client().Do(r)
				if err != nil {
					t.Fatal(err)
				}
				_ = res.Body.Close()
				return res.StatusCode, res.Header.Get("Mcp-Session-Id")
			}
			_, session := send(rpc("0", "initialize", initializeParams), "first", "")
			if got, _ := send(rpc("1", "ping", "{}"), "then", session); got != c.status {
				t.Errorf("answered with %d, want %d", got, c.status)
			}
		})
	}
}

// panicsWhenAsked is an error whose methods panic.
type panicsWhenAsked struct{ error }

func (panicsWhenAsked) Is(error) bool { panic(opaqueToken) }

// Whatever a verifier returns, only a token that it vouches for gets in, and there is
// a decision.
func TestBearerVerifierNonsense(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
		want   said
	}{
		"a nil *TokenError":         {(*otelmcp.TokenError)(nil), 503, said{"otelmcp.auth.decision": "error", "otelmcp.auth.reason": "verifier_unavailable"}},
		"a nil *TokenError, within": {fmt.Errorf("verify: %w", (*otelmcp.TokenError)(nil)), 503, said{"otelmcp.auth.decision": "error", "otelmcp.auth.reason": "verifier_unavailable"}},
		"an error that panics":      {panicsWhenAsked{}, 500, said{"otelmcp.auth.decision": "error", "error.type": "panic"}},
		"unavailable, and invalid": {
			&otelmcp.TokenError{Reason: "verifier_unavailable", Err: otelmcp.ErrInvalidToken}, 503,
			said{"otelmcp.auth.decision": "error", "otelmcp.auth.reason": "verifier_unavailable"},
		},
		"too little": {
			&otelmcp.TokenError{Reason: "insufficient_scope", Info: alice("")}, 403,
			said{"otelmcp.auth.kind": "authorization", "otelmcp.auth.decision": "deny", "otelmcp.auth.reason": "insufficient_scope", "user.id": "alice"},
		},
		"a part of the token":  {&otelmcp.TokenError{Reason: "expired", Message: "saw " + opaqueToken[9:20]}, 401, said{"otelmcp.auth.error.message": ""}},
		"the token, in base64": {&otelmcp.TokenError{Reason: "expired", Message: base64.StdEncoding.EncodeToString([]byte(opaqueToken))}, 401, said{"otelmcp.auth.error.message": ""}},
		"the token, far down":  {&otelmcp.TokenError{Reason: "expired", Message: strings.Repeat("-x", 1000) + opaqueToken}, 401, said{"otelmcp.auth.decision": "deny"}},
		"nothing of the token": {&otelmcp.TokenError{Reason: "expired", Message: "an hour ago"}, 401, said{"otelmcp.auth.error.message": "an hour ago"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, conv, capture := edged(t, func(*server.MCPServer) http.Handler {
				return otelmcp.RequireBearer(func(context.Context, string, *http.Request) (*otelmcp.TokenInfo, error) {
					return alice(""), c.err
				})(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("got in") }))
			})
			got := conv.do(step{send: rawPost(rpc("1", "ping", "{}"), "Authorization: Bearer "+opaqueToken)})
			if !strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", c.status)) {
				t.Errorf("answered with %q", got)
			}
			conv.web.Close()
			e := event(only(t, capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)))
			for key, want := range c.want {
				if e[key] != want {
					t.Errorf("%s is %q, want %q", key, e[key], want)
				}
			}
			leaksNothing(t, capture, opaqueToken)
		})
	}
}

// Credentials that are not well-formed never reach the verifier, and how long they
// are costs little.
func TestBearerMalformed(t *testing.T) {
	for name, c := range map[string]struct {
		header string
		status int
	}{
		"no space":         {"Bearer", 400},
		"a tab":            {"Bearer\tabc", 401},
		"a tab within":     {"Bearer a\tb", 400},
		"a tab before":     {"Bearer \tabc", 400},
		"two words":        {"Bearer a b", 400},
		"parameters":       {`Bearer token="abc"`, 400},
		"no ASCII":         {"Bearer tök", 400},
		"no UTF-8":         {"Bearer \xff\xfe", 400},
		"only padding":     {"Bearer ===", 400},
		"padding within":   {"Bearer a=b", 400},
		"a list":           {"Bearer a, Basic b", 400},
		"another, a list":  {"Basic a, Bearer b", 401},
		"empty":            {"", 401},
		"a scheme like it": {"Bearers abc", 401},
		"a MiB of nothing": {"Bearer " + strings.Repeat(" ", 1<<20), 400},
		"a MiB":            {"Bearer " + strings.Repeat("a", 1<<20), 401},
	} {
		t.Run(name, func(t *testing.T) {
			s, capture := instrumented(t)
			h := otelmcp.Instrument(s.MCPServer).Handler(otelmcp.RequireBearer(
				func(_ context.Context, token string, _ *http.Request) (*otelmcp.TokenInfo, error) {
					if len(token) < 1<<20 {
						t.Errorf("the verifier was asked about %q", token)
					}
					return nil, &otelmcp.TokenError{Message: strings.Repeat("no ", 1<<18)}
				})(http.NotFoundHandler()))
			r := httptest.NewRequest(http.MethodPost, "/?access_token="+opaqueToken, strings.NewReader(rpc("1", "ping", "{}")))
			r.Header["Authorization"] = []string{c.header}
			r.Header.Set("Cookie", "token="+opaqueToken)
			r.Header.Set("Mcp-Session-Id", jwtToken)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != c.status {
				t.Errorf("answered with %d", w.Code)
			}
			if challenge := w.Header().Get("WWW-Authenticate"); !strings.HasPrefix(challenge, "Bearer") {
				t.Errorf("the challenge is %q", challenge)
			}
			only(t, capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName))
			leaksNothing(t, capture, opaqueToken, jwtToken)
		})
	}
}

// What the program configures cannot break out of the challenge.
func TestBearerChallengeIsQuoted(t *testing.T) {
	h := otelmcp.RequireBearer(aToken, otelmcp.WithScopes("a\", error=\"x", "b\\"), otelmcp.WithResourceMetadataURL("https://x.example/\r\nSet-Cookie: a=b"))(http.NotFoundHandler())
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	const want = `Bearer scope="a\", error=\"x b\\", resource_metadata="https://x.example/Set-Cookie: a=b"`
	if got := w.Header().Get("WWW-Authenticate"); got != want {
		t.Errorf("the challenge is %q, want %q", got, want)
	}
}

// Audiences that look like the resource.
func TestBearerAudience(t *testing.T) {
	for audience, status := range map[string]int{
		resource: 200, resource + "/": 200, "https://mcp.example/mcp2": 401, "https://mcp.example": 401, "https://mcp.example/mcp/x": 401,
		"https://mcp.example/mcp?x": 401, "https://mcp.example/mcp#x": 401, "https://mcp.example/mcp//": 401, "https://mcp.example/MCP": 401,
		"https://mcp.example.evil/mcp": 401, "https://evil@mcp.example/mcp": 401, "": 401, "/": 401, "*": 401, " " + resource: 401, "https://mcp.example/%6dcp": 401,
	} {
		h := otelmcp.RequireBearer(func(context.Context, string, *http.Request) (*otelmcp.TokenInfo, error) {
			return &otelmcp.TokenInfo{Audience: []string{audience}}, nil
		}, otelmcp.WithResource(resource))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.Header.Set("Authorization", "Bearer x")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != status {
			t.Errorf("%q is answered with %d, want %d", audience, w.Code, status)
		}
	}
}
