// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Decisions: those that a program makes and those that nobody tells. Each is one
// event and one count, and stands on what it is about.

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

var (
	allReasons = []string{
		"ok", "missing_credentials", "malformed_credentials", "invalid_credentials", "expired", "not_yet_valid", "bad_signature",
		"unknown_issuer", "audience_mismatch", "insufficient_scope", "revoked", "unproven_possession", "policy", "hidden", "unknown_session",
		"session_principal_mismatch", "host_rejected", "origin_rejected", "state_mismatch", "refresh_failed",
		"registration_failed", "issuer_mismatch", "verifier_unavailable",
	}
	allMechanisms = []string{
		"bearer_jwt", "bearer_opaque", "mtls", "api_key", "basic", "oauth_code", "oauth_refresh", "oauth_registration", "oauth_discovery", "none", "custom",
	}
	decisionSeverities = map[string]string{"allow": "INFO", "deny": "WARN", "challenge": "WARN", "error": "ERROR"}
)

// The lists are the registry's: a value that is new there must be known here.
func TestAuthValues(t *testing.T) {
	raw, err := os.ReadFile("../semconv/attributes_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range map[string][]string{
		"Reason": allReasons, "Mechanism": allMechanisms,
		"Decision": {"allow", "deny", "challenge", "error"}, "Kind": {"authentication", "authorization"},
	} {
		in := regexp.MustCompile(`(?m)^\tOTelMCPAuth`+name+`[A-Za-z]+ = "(.*)"$`).FindAllStringSubmatch(string(raw), -1)
		if len(in) != len(values)+1 { // and _OTHER
			t.Errorf("%s has %d values in the registry, %d here", name, len(in), len(values)+1)
		}
	}
}

// decider is a server whose only tool makes a decision.
func decider(d *atomic.Pointer[otelmcp.AuthDecision]) *server.MCPServer {
	srv := server.NewMCPServer("decider", "1", server.WithToolCapabilities(true))
	srv.AddTool(mcp.NewTool("decide"), func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		otelmcp.RecordAuthDecision(ctx, *d.Load())
		return mcp.NewToolResultText("done"), nil
	})
	return srv
}

// TestRecordAuthDecision: each reason with each mechanism, and each decision with both,
// on each transport and in both eras.
func TestRecordAuthDecision(t *testing.T) {
	for _, over := range []string{stdio, streamable, sse, inProcess, direct} {
		for _, e := range []era{legacy, modern} {
			if over == sse && e == modern {
				continue // which has no such transport
			}
			t.Run(over+"/"+e.String(), func(t *testing.T) {
				capture := telemetrytest.New(t)
				checkLeaks(t)
				var d atomic.Pointer[otelmcp.AuthDecision]
				srv := decider(&d)
				otelmcp.Instrument(srv, into(capture)...)
				p := dial(t, srv, over, e)
				if e == legacy && over != direct {
					p.initialize()
				}
				for k, reason := range allReasons {
					for j, mechanism := range allMechanisms {
						decision := []string{"allow", "deny", "challenge", "error"}[(k+j)%4]
						if testing.Short() && k%4 != 0 {
							continue
						}
						d.Store(&otelmcp.AuthDecision{
							Decision: decision, Reason: reason, Mechanism: mechanism, UserID: "alice", Roles: []string{"admin"},
							Issuer: "https://login.example", ClientID: "agent", Audience: []string{resource},
							ScopesRequired: []string{"a"}, ScopesGranted: []string{"b"}, Policy: "p1", Duration: time.Millisecond,
						})
						capture.Reset()
						p.tool(t.Context(), "decide", "")
						checkRecorded(t, capture, said{
							"otelmcp.auth.kind": "authorization", "otelmcp.auth.decision": decision, "otelmcp.auth.reason": reason,
							"otelmcp.auth.mechanism": mechanism, "severity": decisionSeverities[decision], "user.id": "alice", "user.roles": `["admin"]`,
							"otelmcp.auth.issuer": "https://login.example", "otelmcp.auth.client_id": "agent", "otelmcp.auth.policy": "p1",
							"otelmcp.auth.audience": `["` + resource + `"]`, "otelmcp.auth.scopes.required": `["a"]`, "otelmcp.auth.scopes.granted": `["b"]`,
							"mcp.method.name": "tools/call", "gen_ai.tool.name": "decide", "otelmcp.transport": p.transport,
						})
					}
				}
				p.close()
			})
		}
	}
}

// checkRecorded wants one decision, and the operation to say the same of it.
func checkRecorded(t *testing.T, capture *telemetrytest.Capture, want said) {
	t.Helper()
	d := only(t, capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName))
	e, o := event(d), event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName)))
	for key, v := range want {
		if e[key] != v {
			t.Errorf("the decision's %s is %q, want %q", key, e[key], v)
		}
	}
	for _, key := range []attribute.Key{"otelmcp.auth.kind", "otelmcp.auth.decision", "otelmcp.auth.reason", "otelmcp.auth.mechanism", "otelmcp.auth.policy"} {
		if o[key] != e[key] {
			t.Errorf("the operation's %s is %q", key, o[key])
		}
	}
	for _, s := range capture.Spans() {
		if s.SpanContext().TraceID() != d.TraceID() || s.SpanContext().SpanID() != d.SpanID() {
			t.Error("the decision is not in the operation's span")
		}
	}
	if n := capture.CounterValue("otelmcp.auth.decisions"); n != 1 {
		t.Errorf("%d decisions are counted", n)
	}
	if n := capture.HistogramCount("otelmcp.auth.duration"); n != 1 {
		t.Errorf("%d durations", n)
	}
}

// What a program leaves out is filled by what is known, and what it makes up reads
// _OTHER.
func TestAuthDecisionDefaults(t *testing.T) {
	failed := errors.New("connect to policy service: password=hunter2")
	for name, c := range map[string]struct {
		d    otelmcp.AuthDecision
		want said
	}{
		"nothing":      {want: said{"otelmcp.auth.kind": "authorization", "otelmcp.auth.decision": "allow", "otelmcp.auth.reason": "ok", "otelmcp.auth.mechanism": "custom"}},
		"a reason":     {otelmcp.AuthDecision{Reason: "revoked"}, said{"otelmcp.auth.decision": "deny", "otelmcp.auth.reason": "revoked"}},
		"a deny":       {otelmcp.AuthDecision{Decision: "deny"}, said{"otelmcp.auth.reason": "policy"}},
		"a challenge":  {otelmcp.AuthDecision{Decision: "challenge"}, said{"otelmcp.auth.reason": "missing_credentials"}},
		"an error":     {otelmcp.AuthDecision{Err: failed}, said{"otelmcp.auth.decision": "error", "otelmcp.auth.reason": "verifier_unavailable", "error.type": "*errors.errorString", "otelmcp.auth.error.message": "connect to policy service: password=[REDACTED]"}},
		"why it fails": {otelmcp.AuthDecision{Decision: "deny", Err: failed}, said{"otelmcp.auth.decision": "deny", "error.type": "", "otelmcp.auth.error.message": "connect to policy service: password=[REDACTED]"}},
		"a broken Err": {otelmcp.AuthDecision{Err: brokenError{}}, said{"otelmcp.auth.decision": "error"}},
		"nonsense": {
			otelmcp.AuthDecision{Kind: "x", Decision: "y", Reason: "z", Mechanism: "w"},
			said{"otelmcp.auth.kind": "_OTHER", "otelmcp.auth.decision": "_OTHER", "otelmcp.auth.reason": "_OTHER", "otelmcp.auth.mechanism": "_OTHER", "severity": "WARN"},
		},
		"a credential where none belongs": {
			otelmcp.AuthDecision{Policy: jwtToken, UserID: jwtToken, ClientID: jwtToken, Issuer: "https://u:p@x.example/?token=" + jwtToken, Audience: []string{jwtToken}, Roles: []string{jwtToken}},
			said{"otelmcp.auth.decision": "allow"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			capture := telemetrytest.New(t)
			var d atomic.Pointer[otelmcp.AuthDecision]
			d.Store(&c.d)
			srv := decider(&d)
			otelmcp.Instrument(srv, into(capture)...)
			p := dial(t, srv, direct, modern)
			p.tool(t.Context(), "decide", "")
			e := event(only(t, capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)))
			for key, v := range c.want {
				if e[key] != v {
					t.Errorf("%s is %q, want %q", key, e[key], v)
				}
			}
			leaksNothing(t, capture, jwtToken, "hunter2-hunter2")
		})
	}
}

type brokenError struct{}

func (brokenError) Error() string { panic("no text") }

// A decision can be made from anywhere that a request's context reaches, by several
// at once and after its end.
func TestDecisionsFromBeside(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	var late context.Context
	var wg sync.WaitGroup
	s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		late = ctx
		for range 8 {
			wg.Go(func() {
				for range 50 {
					otelmcp.RecordAuthDecision(ctx, otelmcp.AuthDecision{Decision: "deny", Policy: "beside"})
				}
			})
		}
		return mcp.NewToolResultText("done"), nil
	})
	guard := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx := r.Context()
			wg.Go(func() {
				for range 50 {
					otelmcp.RecordAuthDecision(ctx, otelmcp.AuthDecision{Policy: "around"})
				}
			})
			next.ServeHTTP(w, r)
		})
	}
	c := converse(t, i.Handler(guard(quietHTTP(s.MCPServer, server.WithStateLess(true)))))
	c.do(step{send: rawPost(rpc("1", "tools/call", `{"name":"custom"}`))})
	wg.Wait()
	otelmcp.RecordAuthDecision(late, otelmcp.AuthDecision{Decision: "deny", Policy: "late"})
	c.web.Close()
	if n := capture.CounterValue("otelmcp.auth.decisions"); n != 8*50+50+1+1 { // and the filter's
		t.Errorf("%d decisions are counted", n)
	}
	if n := len(capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)); n != 8*50+50+1+1 {
		t.Errorf("%d decisions", n)
	}
	settled(t, i, capture)
}

// A program that is a server and a client counts who was kept out of the one apart from
// what the other was refused elsewhere.
func TestRefusalsOfBothSidesAreCountedApart(t *testing.T) {
	_, _, inner, capture := edged(t, func(*server.MCPServer) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	})
	tr, err := transport.NewStreamableHTTP("http://" + inner.addr() + "/")
	if err != nil {
		t.Fatal(err)
	}
	cl := client.NewClient(otelmcp.WrapTransport(tr, into(capture)...))
	defer cl.Close()
	if _, err := cl.Initialize(t.Context(), mcp.InitializeRequest{}); err == nil {
		t.Error("the client was let in")
	}
	inner.web.Close()
	sides := map[string]int64{}
	for _, role := range []string{"server", "client"} {
		sides[role] = capture.CounterValue("otelmcp.auth.decisions", semconv.OTelMCPRoleKey.String(role),
			semconv.OTelMCPAuthDecisionKey.String("challenge"))
	}
	if sides["server"] == 0 || sides["client"] == 0 {
		t.Errorf("challenges by side: %v", sides)
	}
	countedBySide(t, capture)
}

// Refusals that nobody tells of: what a status means, with a challenge and without,
// and with each kind of credentials.
func TestObservedRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		status     int
		challenges []string
		headers    []string
		want       string // kind decision reason mechanism
	}{
		"401, nothing":                     {401, nil, nil, "authentication challenge missing_credentials none"},
		"401, a challenge":                 {401, []string{`Bearer resource_metadata="https://x.example"`}, nil, "authentication challenge missing_credentials none"},
		"401, basic":                       {401, []string{`Basic realm="x"`}, []string{"Authorization: Basic YWxpY2U6c2VzYW1lLW9wZW4="}, "authentication deny invalid_credentials basic"},
		"401, a JWT":                       {401, []string{`Bearer error="invalid_token"`}, []string{"Authorization: Bearer " + jwtToken}, "authentication deny invalid_credentials bearer_jwt"},
		"401, an opaque token":             {401, nil, []string{"Authorization: Bearer " + opaqueToken}, "authentication deny invalid_credentials bearer_opaque"},
		"401, expired":                     {401, []string{`Bearer error="invalid_token", error_description="The access token expired"`}, []string{"Authorization: Bearer " + jwtToken}, "authentication deny expired bearer_jwt"},
		"401, an API key":                  {401, nil, []string{"X-API-Key: sesame-open-key"}, "authentication deny invalid_credentials api_key"},
		"401, a scheme of its own":         {401, nil, []string{"Authorization: AWS4-HMAC-SHA256 Credential=x"}, "authentication deny invalid_credentials custom"},
		"401, malformed":                   {401, []string{`Bearer realm="a, error=b", error=invalid_request`}, []string{"Authorization: Bearer x"}, "authentication deny malformed_credentials bearer_opaque"},
		"403, nothing":                     {403, nil, nil, "authorization deny policy none"},
		"403, too little":                  {403, []string{`Bearer error="insufficient_scope", scope="a b"`}, []string{"Authorization: Bearer " + jwtToken}, "authorization deny insufficient_scope bearer_jwt"},
		"403, too little, in the second":   {403, []string{`Basic realm="x"`, `Bearer scope="a b", error="insufficient_scope"`}, []string{"Authorization: Bearer " + jwtToken}, "authorization deny insufficient_scope bearer_jwt"},
		"403, a policy":                    {403, nil, []string{"Authorization: Bearer " + jwtToken}, "authorization deny policy bearer_jwt"},
		"403, from another origin":         {403, nil, []string{"Origin: https://evil.example"}, "authorization deny origin_rejected none"},
		"403, from no origin":              {403, nil, []string{"Origin: null"}, "authorization deny origin_rejected none"},
		"403, from the server's origin":    {403, nil, []string{"Origin: http://{host}"}, "authorization deny policy none"},
		"403, a token, from a strange one": {403, nil, []string{"Origin: https://evil.example", "Authorization: Bearer " + jwtToken}, "authorization deny policy bearer_jwt"},
		"401, an unended challenge":        {401, []string{`Bearer error="insufficient_scope\`}, nil, "authentication challenge missing_credentials none"},
	} {
		for _, method := range []string{"POST", "GET", "DELETE", "PUT"} {
			t.Run(name+"/"+method, func(t *testing.T) {
				_, i, talk, capture := edged(t, func(*server.MCPServer) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						for _, v := range c.challenges {
							w.Header().Add("WWW-Authenticate", v)
						}
						http.Error(w, "no", c.status)
					})
				})
				headers := make([]string, len(c.headers))
				for k, h := range c.headers {
					headers[k] = strings.ReplaceAll(h, "{host}", talk.addr())
				}
				send := plain(method, "/", headers...)
				if method == "POST" {
					send = rawPost(rpc("1", "tools/call", callEcho), headers...)
				}
				talk.do(step{send: send})
				talk.web.Close()
				e := event(only(t, capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)))
				got := strings.Join([]string{e["otelmcp.auth.kind"], e["otelmcp.auth.decision"], e["otelmcp.auth.reason"], e["otelmcp.auth.mechanism"]}, " ")
				if got != c.want {
					t.Errorf("recorded %q, want %q", got, c.want)
				}
				if e["severity"] != "WARN" || e["client.address"] != "127.0.0.1" || e["http.response.status_code"] != fmt.Sprint(c.status) || e["url.path"] != "/" {
					t.Errorf("%v", e)
				}
				if strings.Contains(c.want, "insufficient_scope") && e["otelmcp.auth.scopes.required"] != `["a","b"]` {
					t.Errorf("required: %q", e["otelmcp.auth.scopes.required"])
				}
				if n := capture.CounterValue("otelmcp.auth.decisions"); n != 1 {
					t.Errorf("%d decisions are counted", n)
				}
				o := event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName)))
				if o["otelmcp.outcome"] != "denied" || o["otelmcp.auth.reason"] != e["otelmcp.auth.reason"] || o["error.type"] != "" {
					t.Errorf("the operation says %v", o)
				}
				leaksNothing(t, capture, jwtToken, opaqueToken, "sesame-open-key", "YWxpY2U6c2VzYW1lLW9wZW4=")
				settled(t, i, capture)
			})
		}
	}
}

// What a program tells of its own refusal is not told again.
func TestToldRefusalIsNotObserved(t *testing.T) {
	_, _, c, capture := edged(t, func(*server.MCPServer) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			otelmcp.RecordAuthDecision(r.Context(), otelmcp.AuthDecision{Decision: "deny", Reason: "policy", Policy: "office-hours"})
			http.Error(w, "come back tomorrow", http.StatusForbidden)
		})
	})
	c.do(step{send: rawPost(rpc("1", "ping", "{}"))})
	c.web.Close()
	e := event(only(t, capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)))
	o := event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName)))
	if e["otelmcp.auth.policy"] != "office-hours" || o["otelmcp.auth.policy"] != "office-hours" || o["otelmcp.outcome"] != "denied" {
		t.Errorf("%v\n%v", e, o)
	}
}

// Who comes with credentials and has a name in the program was let in by it.
func TestObservedIdentity(t *testing.T) {
	for header, want := range map[string]string{
		"Authorization: Basic YWxpY2U6c2VzYW1lLW9wZW4=": "basic",
		"X-API-Key: sesame-open-key":                    "api_key",
		"Authorization: Bearer " + opaqueToken:          "bearer_opaque",
		"X-Nothing: at all":                             "",
	} {
		t.Run(want, func(t *testing.T) {
			_, _, c, capture := edged(t, func(s *server.MCPServer) http.Handler { return quietHTTP(s, server.WithStateLess(true)) },
				otelmcp.WithIdentity(func(context.Context) otelmcp.Identity { return otelmcp.Identity{UserID: "alice"} }))
			c.do(step{send: rawPost(rpc("1", "ping", "{}"), header)})
			c.web.Close()
			events := capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)
			if want == "" {
				if len(events) != 0 {
					t.Errorf("%v", event(events[0]))
				}
				return
			}
			e := event(only(t, events))
			if e["otelmcp.auth.decision"] != "allow" || e["otelmcp.auth.mechanism"] != want || e["user.id"] != "alice" || e["severity"] != "INFO" {
				t.Errorf("%v", e)
			}
			leaksNothing(t, capture, opaqueToken, "sesame-open-key", "YWxpY2U6c2VzYW1lLW9wZW4=")
		})
	}
}

// Filters decide about each call, and the policy that they enforce has a name.
func TestFilterDecisions(t *testing.T) {
	for _, over := range []string{stdio, streamable, sse, inProcess, direct} {
		t.Run(over, func(t *testing.T) {
			s, capture := instrumented(t, otelmcp.WithFilterPolicy("need to know"))
			p := dial(t, s.MCPServer, over, legacy)
			if over != direct {
				p.initialize()
			}
			for _, c := range []struct{ method, params, decision, reason, target string }{
				{"tools/call", `{"name":"echo"}`, "allow", "ok", "echo"},
				{"tools/call", `{"name":"hidden"}`, "deny", "hidden", "hidden"},
				{"tools/call", `{"name":"panics"}`, "allow", "ok", "panics"},
				{"tools/call", `{"name":"missing"}`, "", "", ""},
				{"prompts/get", `{"name":"greet"}`, "allow", "ok", "greet"},
				{"prompts/get", `{"name":"hidden"}`, "deny", "hidden", "hidden"},
				{"resources/read", `{"uri":"note://one"}`, "", "", ""},
			} {
				capture.Reset()
				p.call(t.Context(), c.method, c.params)
				if strings.Contains(c.params, "panics") && (over == direct || over == streamable) {
					continue // takes the connection with it
				}
				events := capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)
				if c.decision == "" {
					if len(events) != 0 {
						t.Errorf("%s %s: %v", c.method, c.params, event(events[0]))
					}
					continue
				}
				e := event(only(t, events))
				for key, want := range (said{
					"otelmcp.auth.kind": "authorization", "otelmcp.auth.decision": c.decision, "otelmcp.auth.reason": c.reason,
					"otelmcp.auth.policy": "need to know", "mcp.method.name": c.method,
				}) {
					if e[key] != want {
						t.Errorf("%s %s: %s is %q, want %q", c.method, c.params, key, e[key], want)
					}
				}
				if e["gen_ai.tool.name"]+e["gen_ai.prompt.name"] != c.target {
					t.Errorf("%s %s is about %q", c.method, c.params, e["gen_ai.tool.name"]+e["gen_ai.prompt.name"])
				}
			}
		})
	}
}

// A program that refuses a request before it is parsed decides, too.
func TestInitializationDecisions(t *testing.T) {
	for _, over := range []string{stdio, streamable, sse, inProcess, direct} {
		t.Run(over, func(t *testing.T) {
			capture := telemetrytest.New(t)
			checkLeaks(t)
			hooks := &server.Hooks{}
			hooks.AddOnRequestInitialization(func(_ context.Context, _, message any) error {
				if raw, err := json.Marshal(message); err == nil && strings.Contains(string(raw), "evil") {
					return errors.New("not you, password=hunter2")
				}
				return nil
			})
			s := newEverything(server.WithHooks(hooks))
			otelmcp.Instrument(s.MCPServer, into(capture)...)
			p := dial(t, s.MCPServer, over, legacy)
			if over != direct {
				p.initialize()
			}
			capture.Reset()
			if got := p.call(t.Context(), "prompts/get", `{"name":"evil"}`); got.code() != mcp.INVALID_REQUEST {
				t.Errorf("answered with %v", got)
			}
			e := event(only(t, capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)))
			for key, want := range (said{
				"otelmcp.auth.kind": "authorization", "otelmcp.auth.decision": "deny", "otelmcp.auth.reason": "policy",
				"otelmcp.auth.policy": "OnRequestInitialization", "otelmcp.auth.error.message": "not you, password=[REDACTED]",
			}) {
				if e[key] != want {
					t.Errorf("%s is %q, want %q", key, e[key], want)
				}
			}
			capture.Reset()
			p.call(t.Context(), "ping", "{}")
			if n := len(capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)); n != 0 {
				t.Errorf("%d decisions about a ping", n)
			}
		})
	}
}

// certificates makes an authority, and a leaf that it signed.
func certificates(t *testing.T, leaf *x509.Certificate) (pool *x509.CertPool, cert tls.Certificate) {
	t.Helper()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	caKey, leafKey := key(), key()
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf.SerialNumber = big.NewInt(2)
	leaf.NotBefore, leaf.NotAfter = ca.NotBefore, ca.NotAfter
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &leafKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(caDER)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return pool, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: leafKey}
}

// A client certificate is verified once for each connection, and says who it is in
// all of its requests.
func TestMTLS(t *testing.T) {
	for name, c := range map[string]struct {
		leaf x509.Certificate
		user string
	}{
		"SPIFFE": {x509.Certificate{URIs: []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/agent"}}, DNSNames: []string{"x"}}, "spiffe://example.org/agent"},
		"mail":   {x509.Certificate{EmailAddresses: []string{"a@example.org"}, DNSNames: []string{"x"}}, "a@example.org"},
		"DNS":    {x509.Certificate{DNSNames: []string{"agent.example.org"}}, "agent.example.org"},
		"name":   {x509.Certificate{Subject: pkix.Name{CommonName: "agent", Organization: []string{"Example"}}}, "CN=agent,O=Example"},
	} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/h2=%v", name, h2), func(t *testing.T) {
				s, capture := instrumented(t)
				i := otelmcp.Instrument(s.MCPServer)
				pool, cert := certificates(t, &c.leaf)
				web := httptest.NewUnstartedServer(i.Handler(quietHTTP(s.MCPServer, server.WithStateLess(true))))
				web.EnableHTTP2 = h2
				web.TLS = &tls.Config{ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13}
				web.StartTLS()
				const connections, requests = 2, 5
				for range connections {
					hc := web.Client()
					tr := hc.Transport.(*http.Transport).Clone()
					tr.TLSClientConfig.Certificates = []tls.Certificate{cert}
					for range requests {
						res, err := (&http.Client{Transport: tr}).Post(web.URL, "application/json", strings.NewReader(rpc("1", "ping", "{}")))
						if err != nil {
							t.Fatal(err)
						}
						_, _ = io.Copy(io.Discard, res.Body)
						_ = res.Body.Close()
					}
					tr.CloseIdleConnections()
				}
				web.Close()
				decisions := capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)
				if len(decisions) != connections {
					t.Fatalf("%d decisions for %d connections", len(decisions), connections)
				}
				for _, d := range decisions {
					e := event(d)
					if e["otelmcp.auth.mechanism"] != "mtls" || e["otelmcp.auth.decision"] != "allow" || e["user.id"] != c.user || e["otelmcp.auth.issuer"] == "" {
						t.Errorf("%v", e)
					}
				}
				ops := capture.EventsNamed(semconv.OTelMCPOperationEventName)
				if len(ops) != connections*requests {
					t.Errorf("%d operations", len(ops))
				}
				for _, r := range ops {
					if o := event(r); o["user.id"] != c.user || o["otelmcp.auth.mechanism"] != "mtls" {
						t.Errorf("%v", o)
					}
				}
				settled(t, i, capture)
			})
		}
	}
}

// A principal's hash stands wherever the principal would, and says which key it
// was made with.
func TestIdentityHash(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	_, _, c, capture := edged(t, func(s *server.MCPServer) http.Handler {
		return otelmcp.RequireBearer(func(context.Context, string, *http.Request) (*otelmcp.TokenInfo, error) {
			return alice(""), nil
		})(quietHTTP(s))
	}, otelmcp.WithIdentityHash(key, "2026-11"))
	auth := "Authorization: Bearer " + opaqueToken
	c.do(step{send: rawPost(rpc("0", "initialize", initializeParams), auth)})
	c.do(step{send: inSession(rpc("1", "tools/call", callEcho), auth)})
	c.do(step{send: plain("DELETE", "/", "Mcp-Session-Id: {session}", auth)})
	c.web.Close()
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte("alice"))
	want := hex.EncodeToString(mac.Sum(nil))
	hashed := 0
	eachString(t, capture, func(where, text string) {
		if strings.Contains(text, "alice") {
			t.Errorf("%s names her: %q", where, text)
		}
		if text == want {
			hashed++
		}
	})
	if hashed < 3+3+2+2 { // spans, operations, decisions, the session
		t.Errorf("she is hashed %d times", hashed)
	}
	for _, r := range capture.EventsNamed(semconv.OTelMCPOperationEventName) {
		if e := event(r); e["otelmcp.user.hash.key_id"] != "2026-11" {
			t.Errorf("%v", e)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("an empty key hashes nothing")
		}
	}()
	otelmcp.WithIdentityHash(nil, "none")
}

// slowLogs exports when it is let.
type slowLogs struct {
	gate  chan struct{}
	count atomic.Int64
}

func (s *slowLogs) Export(_ context.Context, records []sdklog.Record) error {
	<-s.gate
	for k := range records {
		if records[k].EventName() == semconv.OTelMCPAuthDecisionEventName {
			s.count.Add(1)
		}
	}
	return nil
}
func (*slowLogs) Shutdown(context.Context) error   { return nil }
func (*slowLogs) ForceFlush(context.Context) error { return nil }

// A flood of denials, more than a thousand in a second, through the SDK's batch
// processor at its defaults: each is exported, or counted as dropped.
func TestDenialFlood(t *testing.T) {
	t.Setenv("OTEL_GO_X_OBSERVABILITY", "true")
	const denials = 5000
	for name, hangs := range map[string]bool{"with a backend": false, "with one that hangs": true} {
		t.Run(name, func(t *testing.T) {
			reader := sdkmetric.NewManualReader()
			meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
			before := otel.GetMeterProvider()
			otel.SetMeterProvider(meters) // where the SDK counts
			defer otel.SetMeterProvider(before)
			sink := &slowLogs{gate: make(chan struct{})}
			if !hangs {
				close(sink.gate)
			}
			loggers := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(sink)))
			srv := echoServer()
			i := otelmcp.Instrument(srv, otelmcp.WithLoggerProvider(loggers), otelmcp.WithMeterProvider(meters))
			h := i.Handler(otelmcp.RequireBearer(func(context.Context, string, *http.Request) (*otelmcp.TokenInfo, error) {
				return nil, otelmcp.ErrInvalidToken
			})(quietHTTP(srv)))
			start := time.Now()
			for range denials {
				r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(rpc("1", "ping", "{}")))
				r.Header.Set("Authorization", "Bearer "+opaqueToken)
				h.ServeHTTP(httptest.NewRecorder(), r)
			}
			t.Logf("%d denials in %s", denials, time.Since(start).Round(time.Millisecond))
			if hangs {
				close(sink.gate)
			}
			if err := loggers.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			var rm metricdata.ResourceMetrics
			if err := reader.Collect(t.Context(), &rm); err != nil {
				t.Fatal(err)
			}
			var counted, handled, dropped int64
			for _, sm := range rm.ScopeMetrics {
				for _, m := range sm.Metrics {
					sum, ok := m.Data.(metricdata.Sum[int64])
					if !ok {
						continue
					}
					for _, p := range sum.DataPoints {
						_, failed := p.Attributes.Value("error.type")
						switch {
						case m.Name == "otelmcp.auth.decisions":
							counted += p.Value
						case m.Name == "otel.sdk.processor.log.processed" && failed:
							dropped += p.Value
						case m.Name == "otel.sdk.processor.log.processed":
							handled += p.Value
						}
					}
				}
			}
			if counted != denials {
				t.Errorf("%d decisions are counted", counted)
			}
			// Each denial is two records, and the coverage is a few more.
			if all := handled + dropped; all < 2*denials || all > 2*denials+8 {
				t.Errorf("%d records were handed over and %d dropped, of %d", handled, dropped, 2*denials)
			}
			if lost := denials - sink.count.Load(); lost > dropped {
				t.Errorf("%d decisions are lost, and %d records are said to be", lost, dropped)
			}
			if hangs == (dropped == 0) {
				t.Errorf("%d records are dropped", dropped)
			}
		})
	}
}

// decisionsOf are the decisions that a capture has, each in a line, in any order.
func decisionsOf(capture *telemetrytest.Capture) (all []string) {
	events := capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)
	for k := range events {
		e := event(events[k])
		all = append(all, strings.Join([]string{
			e["otelmcp.auth.kind"], e["otelmcp.auth.decision"], e["otelmcp.auth.reason"], e["otelmcp.auth.mechanism"], e["user.id"],
		}, " "))
	}
	slices.Sort(all)
	return all
}

func wantDecisions(t *testing.T, capture *telemetrytest.Capture, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := decisionsOf(capture); !slices.Equal(got, want) {
		t.Errorf("the decisions are %q, want %q", got, want)
	}
	if n := capture.CounterValue("otelmcp.auth.decisions"); n != int64(len(want)) {
		t.Errorf("%d decisions are counted, want %d", n, len(want))
	}
	countedBySide(t, capture)
}

// countedBySide checks that the decisions of servers and those of clients are counted
// apart, as many as there are events of each.
func countedBySide(t *testing.T, capture *telemetrytest.Capture) {
	t.Helper()
	made := map[string]int64{}
	decisions := capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName)
	for k := range decisions {
		made[event(decisions[k])["otelmcp.role"]]++
	}
	for _, role := range []string{"server", "client"} {
		if n := capture.CounterValue("otelmcp.auth.decisions", semconv.OTelMCPRoleKey.String(role)); n != made[role] {
			t.Errorf("%d decisions are counted as those of a %s, of %d", n, role, made[role])
		}
	}
}

// What looks like a refusal is one only when it is, and every one is told once.
func TestWhatIsARefusal(t *testing.T) {
	const policy, challenge = "authorization deny policy none ", "authentication challenge missing_credentials none "
	refuse := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
	}
	for name, c := range map[string]struct {
		h    http.HandlerFunc // nil is the server
		send string           // a ping, when it is empty
		want string
	}{
		"an early hint before it": {h: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusUnauthorized)
		}, want: challenge},
		"a challenge that comes too late": {h: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope"`)
		}, want: challenge},
		"a status that comes too late": {h: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: {}\n\n")
			w.WriteHeader(http.StatusForbidden)
		}},
		"a panic after it": {h: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			panic(http.ErrAbortHandler)
		}, want: policy},
		"a panic after it was told": {h: func(_ http.ResponseWriter, r *http.Request) {
			otelmcp.RecordAuthDecision(r.Context(), otelmcp.AuthDecision{Decision: "deny"})
			panic(http.ErrAbortHandler)
		}, want: "authorization deny policy custom "},
		"told of a wrong one first": {h: func(w http.ResponseWriter, r *http.Request) {
			otelmcp.RecordAuthDecision(r.Context(), otelmcp.AuthDecision{Decision: "deny"})
			w.WriteHeader(http.StatusTeapot)
		}, want: "authorization deny policy custom "},
		"nothing said":               {h: func(http.ResponseWriter, *http.Request) {}},
		"HEAD":                       {h: refuse(401), send: plain("HEAD", "/"), want: challenge},
		"a preflight":                {h: refuse(403), send: plain("OPTIONS", "/", "Origin: https://evil.example", "Access-Control-Request-Method: POST"), want: "authorization deny origin_rejected none "},
		"another error":              {h: refuse(407)},
		"a method that is not there": {send: plain("PUT", "/")},
		"a body that is no JSON":     {send: rawPost("{")},
		"a batch":                    {send: rawPost("[" + rpc("1", "ping", "{}") + "]")},
		"another JSON-RPC":           {send: rawPost(`{"jsonrpc":"1.0","id":1,"method":"ping"}`)},
		"no such method":             {send: rawPost(rpc("1", "evil", "{}"))},
		"no such modern method":      {send: rawPost(modernRPC("1", "evil", "{}"), modernHeaders("evil", "")...)},
		"headers that do not fit":    {send: rawPost(modernRPC("1", "tools/list", "{}"), modernHeaders("ping", "")...)},
		"a version that is not":      {send: rawPost(rpc("1", "ping", "{}"), "Mcp-Protocol-Version: 1999-01-01")},
		"no JSON":                    {send: rawPost("x", "Content-Type: text/plain")},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, conv, capture := edged(t, func(s *server.MCPServer) http.Handler {
				if c.h != nil {
					return c.h
				}
				return quietHTTP(s, server.WithStateLess(true))
			})
			if c.send == "" {
				c.send = rawPost(rpc("1", "ping", "{}"))
			}
			conv.do(step{send: c.send})
			conv.web.Close()
			var want []string
			if c.want != "" {
				want = append(want, c.want)
			}
			wantDecisions(t, capture, want...)
			only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName))
		})
	}
}

// A decision that did not keep anybody out is recorded, and does not make the message
// one that was denied.
func TestDenyWithoutConsequence(t *testing.T) {
	_, _, c, capture := edged(t, func(s *server.MCPServer) http.Handler {
		next := quietHTTP(s, server.WithStateLess(true))
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			otelmcp.RecordAuthDecision(r.Context(), otelmcp.AuthDecision{Decision: "deny", Policy: "dry run"})
			next.ServeHTTP(w, r)
		})
	})
	c.do(step{send: rawPost(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)})
	c.web.Close()
	wantDecisions(t, capture, "authorization deny policy custom ")
	o := event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName)))
	if o["otelmcp.outcome"] != "ok" || o["otelmcp.auth.policy"] != "dry run" {
		t.Errorf("%v", o)
	}
}

// A hook that refuses is a decision, once, whether or not it tells itself, on each
// transport, and it stands on what was refused.
func TestInitializationDecisionsAreToldOnce(t *testing.T) {
	const told, seen = "authorization deny revoked basic ann", "authorization deny policy custom "
	for _, tells := range []bool{true, false} {
		for _, over := range []string{stdio, "stdio edge", streamable, "streamable edge", sse, "sse edge", inProcess, direct} {
			t.Run(fmt.Sprintf("%s/tells=%v", over, tells), func(t *testing.T) {
				capture := telemetrytest.New(t)
				checkLeaks(t)
				hooks := &server.Hooks{}
				hooks.AddOnRequestInitialization(func(ctx context.Context, _, message any) error {
					raw, _ := message.(json.RawMessage)
					if !strings.Contains(string(raw), "evil") {
						return nil
					}
					if tells {
						otelmcp.RecordAuthDecision(ctx, otelmcp.AuthDecision{Reason: "revoked", UserID: "ann", Mechanism: "basic"})
					}
					return errors.New("not you")
				})
				s := newEverything(server.WithHooks(hooks))
				i := otelmcp.Instrument(s.MCPServer, into(capture)...)
				const method, params = "prompts/get", `{"name":"evil"}`
				switch over {
				case "stdio edge":
					in := rpc("7", "prompts/get", `{"name":"greet"}`) + "\n" + rpc("7", method, params) + "\n" + rpc("7", "ping", "{}") + "\n"
					talkLines(t, strings.NewReader(in), 3, listenEdge(t.Context(), i))
				case "streamable edge":
					c := converse(t, i.Handler(quietHTTP(s.MCPServer, server.WithStateLess(true))))
					c.do(step{send: rawPost(rpc("7", method, params))})
					c.web.Close()
				case "sse edge":
					c := converse(t, i.Handler(server.NewSSEServer(s.MCPServer)))
					stream := c.stream()
					c.do(step{send: rawPostTo(toMessages, rpc("7", method, params))})
					c.read(stream, "not you")
					_ = stream.Close()
					c.web.Close()
				default:
					p := dial(t, s.MCPServer, over, modern)
					p.call(t.Context(), method, params)
					p.close()
				}
				var events []said
				for _, r := range capture.EventsNamed(semconv.OTelMCPAuthDecisionEventName) {
					if e := event(r); e["gen_ai.prompt.name"] != "greet" { // which a filter let through
						events = append(events, e)
					}
				}
				e := only(t, events)
				got := strings.Join([]string{e["otelmcp.auth.kind"], e["otelmcp.auth.decision"], e["otelmcp.auth.reason"], e["otelmcp.auth.mechanism"], e["user.id"]}, " ")
				if want := map[bool]string{true: told, false: seen}[tells]; got != want {
					t.Errorf("the decision is %q, want %q", got, want)
				}
				edge, on := strings.CutSuffix(over, " edge")
				if !on {
					if e["mcp.method.name"] != method || e["gen_ai.prompt.name"] != "evil" || e["otelmcp.transport"] != over {
						t.Errorf("the decision is about %v", e)
					}
					return
				}
				for _, r := range capture.EventsNamed(semconv.OTelMCPOperationEventName) {
					o := event(r)
					if o["http.request.method"] == "GET" {
						continue // the stream
					}
					refused := o["gen_ai.prompt.name"] == "evil"
					if refused != (o["otelmcp.auth.reason"] == e["otelmcp.auth.reason"]) || refused != (o["otelmcp.outcome"] == "denied") {
						t.Errorf("%s: an operation says %v", edge, o)
					}
				}
				settled(t, i, capture)
			})
		}
	}
}

// A server that is called from within a tool of another one keeps its decisions to
// itself, and its caller's identity is on its messages.
func TestGatewayDecisions(t *testing.T) {
	checkLeaks(t)
	outside, inside := telemetrytest.New(t), telemetrytest.New(t)
	hooks := &server.Hooks{}
	refuses := false
	hooks.AddOnRequestInitialization(func(context.Context, any, any) error {
		if refuses {
			return errors.New("not now")
		}
		return nil
	})
	back := newEverything(server.WithHooks(hooks))
	otelmcp.Instrument(back.MCPServer, into(inside)...)
	back.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		otelmcp.RecordAuthDecision(ctx, otelmcp.AuthDecision{Decision: "deny"})
		return mcp.NewToolResultError("no"), nil
	})
	front := server.NewMCPServer("gateway", "1")
	front.AddTool(mcp.NewTool("proxy"), func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		back.HandleMessage(ctx, json.RawMessage(rpc("1", "tools/call", `{"name":"custom"}`)))
		refuses = true
		back.HandleMessage(ctx, json.RawMessage(rpc("2", "ping", "{}")))
		return mcp.NewToolResultText("done"), nil
	})
	i := otelmcp.Instrument(front, into(outside)...)
	c := converse(t, i.Handler(otelmcp.RequireBearer(func(context.Context, string, *http.Request) (*otelmcp.TokenInfo, error) {
		return alice("bearer_opaque"), nil
	})(quietHTTP(front, server.WithStateLess(true)))))
	c.do(step{send: rawPost(rpc("1", "tools/call", `{"name":"proxy"}`), "Authorization: Bearer "+opaqueToken)})
	c.web.Close()
	wantDecisions(t, outside, "authentication allow ok bearer_opaque alice")
	wantDecisions(t, inside, "authorization allow ok bearer_opaque alice", "authorization deny policy bearer_opaque alice", "authorization deny policy bearer_opaque alice")
	o := event(only(t, outside.EventsNamed(semconv.OTelMCPOperationEventName)))
	if o["otelmcp.auth.decision"] != "allow" || o["otelmcp.outcome"] != "ok" {
		t.Errorf("the caller's message says %v", o)
	}
	o = event(only(t, inside.EventsNamed(semconv.OTelMCPOperationEventName)))
	if o["otelmcp.auth.decision"] != "deny" || o["user.id"] != "alice" {
		t.Errorf("the called one's says %v", o)
	}
	settled(t, i, outside)
}

// A server that is run in the context of a message does not take its own callers for
// the one who sent that.
func TestIdentityIsNotInheritedByAServer(t *testing.T) {
	s, capture := instrumented(t)
	front := telemetrytest.New(t)
	gateway := server.NewMCPServer("gateway", "1")
	started := make(chan *httptest.Server, 1)
	told := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		otelmcp.RecordAuthDecision(r.Context(), otelmcp.AuthDecision{})
		quietHTTP(s.MCPServer, server.WithStateLess(true)).ServeHTTP(w, r)
	})
	gateway.AddTool(mcp.NewTool("start"), func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		otelmcp.RecordAuthDecision(ctx, otelmcp.AuthDecision{Kind: "authentication", UserID: "alice"})
		web := httptest.NewUnstartedServer(otelmcp.Instrument(s.MCPServer).Handler(told))
		ctx = context.WithoutCancel(ctx)
		web.Config.BaseContext = func(net.Listener) context.Context { return ctx }
		web.Start()
		started <- web
		return mcp.NewToolResultText("done"), nil
	})
	otelmcp.Instrument(gateway, into(front)...)
	start := rpc("1", "tools/call", `{"name":"start"}`)
	for name, run := range map[string]func(){
		"a message": func() { handleIn(t, t.Context(), gateway, start) },
		"a request": func() {
			c := converse(t, otelmcp.Instrument(gateway).Handler(otelmcp.RequireBearer(aToken)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				web := httptest.NewUnstartedServer(otelmcp.Instrument(s.MCPServer).Handler(told))
				ctx := context.WithoutCancel(r.Context())
				web.Config.BaseContext = func(net.Listener) context.Context { return ctx }
				web.Start()
				started <- web
			}))))
			defer c.web.Close()
			c.do(step{send: rawPost(start, "Authorization: Bearer alice")})
		},
	} {
		capture.Reset()
		run()
		c := &conversation{t: t, web: recv(t, started)}
		c.do(step{send: rawPost(rpc("1", "ping", "{}"))})
		c.web.Close()
		o := event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName)))
		wantDecisions(t, capture, "authorization allow ok custom ")
		if o["user.id"] != "" || o["otelmcp.auth.mechanism"] != "custom" {
			t.Errorf("in the context of %s a stranger's message says %v", name, o)
		}
	}
}

// Where one server's handler is around another's, what is decided in the inner one is
// not decided again.
func TestNestedHandlers(t *testing.T) {
	for name, send := range map[string]string{"nobody": rawPost(rpc("1", "ping", "{}")), "eve": rawPost(rpc("1", "ping", "{}"), "Authorization: Bearer eve")} {
		t.Run(name, func(t *testing.T) {
			s, inside := instrumented(t)
			around, outside := instrumented(t)
			h := otelmcp.RequireBearer(func(context.Context, string, *http.Request) (*otelmcp.TokenInfo, error) {
				return nil, otelmcp.ErrInvalidToken
			})(quietHTTP(s.MCPServer))
			if name == "nobody" {
				h = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
			}
			c := converse(t, otelmcp.Instrument(around.MCPServer).Handler(otelmcp.Instrument(s.MCPServer).Handler(h)))
			c.do(step{send: send})
			c.web.Close()
			if n, m := len(decisionsOf(inside)), len(decisionsOf(outside)); n != 1 || m != 0 {
				t.Errorf("%d decisions inside, and %d around", n, m)
			}
			for _, capture := range []*telemetrytest.Capture{inside, outside} {
				o := event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName)))
				if o["otelmcp.auth.reason"] == "" || o["otelmcp.outcome"] != "denied" {
					t.Errorf("%v", o)
				}
			}
		})
	}
}

// Who has a name in the program is let in by it, whatever filters decide then.
func TestObservedIdentityAndFilters(t *testing.T) {
	_, _, c, capture := edged(t, func(s *server.MCPServer) http.Handler { return quietHTTP(s, server.WithStateLess(true)) },
		otelmcp.WithIdentity(func(context.Context) otelmcp.Identity { return otelmcp.Identity{UserID: "alice"} }))
	for _, tool := range []string{"echo", "hidden"} {
		c.do(step{send: rawPost(rpc("1", "tools/call", `{"name":"`+tool+`"}`), "X-API-Key: sesame-open-key")})
	}
	c.web.Close()
	wantDecisions(t, capture,
		"authentication allow ok api_key alice", "authorization allow ok custom alice",
		"authentication allow ok api_key alice", "authorization deny hidden custom alice")
	for _, r := range capture.EventsNamed(semconv.OTelMCPOperationEventName) {
		if o := event(r); o["otelmcp.auth.kind"] != "authorization" {
			t.Errorf("%v", o)
		}
	}
}

// Hooks that share their list are not each other's.
func TestHooksThatShareAList(t *testing.T) {
	list := make([]server.OnRequestInitializationFunc, 0, 8)
	refused := errors.New("not you")
	list = append(list, func(context.Context, any, any) error { return nil }, func(context.Context, any, any) error { return refused })
	a, b := &server.Hooks{OnRequestInitialization: list}, &server.Hooks{OnRequestInitialization: list}
	ca, cb := telemetrytest.New(t), telemetrytest.New(t)
	sa, sb := newEverything(server.WithHooks(a)), newEverything(server.WithHooks(b))
	otelmcp.Instrument(sa.MCPServer, into(ca)...)
	otelmcp.Instrument(sa.MCPServer, into(ca)...)
	if err := b.OnRequestInitialization[1](t.Context(), nil, nil); !errors.Is(err, refused) {
		t.Errorf("the other server's hooks are changed: %v", err)
	}
	otelmcp.Instrument(sb.MCPServer, into(cb)...)
	for srv, capture := range map[*server.MCPServer]*telemetrytest.Capture{sa.MCPServer: ca, sb.MCPServer: cb} {
		if r := handleDirectly(t.Context(), srv, []byte(rpc("1", "ping", "{}"))); r.code() != mcp.INVALID_REQUEST {
			t.Errorf("answered with %v", r)
		}
		wantDecisions(t, capture, "authorization deny policy custom ")
	}
}

// What is known of one principal is not said of another, and a decision keeps what it
// was told.
func TestDecisionFactsDoNotMix(t *testing.T) {
	_, _, c, capture := edged(t, func(s *server.MCPServer) http.Handler {
		return otelmcp.RequireBearer(func(context.Context, string, *http.Request) (*otelmcp.TokenInfo, error) {
			return alice("bearer_jwt"), nil
		})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			roles := []string{"auditor"}
			otelmcp.RecordAuthDecision(r.Context(), otelmcp.AuthDecision{Kind: "authentication", Mechanism: "basic", UserID: "bob", Roles: roles})
			roles[0] = "nonsense"
			quietHTTP(s, server.WithStateLess(true)).ServeHTTP(w, r)
		}))
	})
	c.do(step{send: rawPost(rpc("1", "ping", "{}"), "Authorization: Bearer "+jwtToken)})
	c.web.Close()
	wantDecisions(t, capture, "authentication allow ok basic bob", "authentication allow ok bearer_jwt alice")
	for _, r := range capture.Logs() {
		if e := event(r); e["user.id"] == "bob" && (e["otelmcp.auth.client_id"] != "" || e["otelmcp.auth.issuer"] != "" || e["user.roles"] != `["auditor"]`) {
			t.Errorf("%v", e)
		}
	}
	o := event(only(t, capture.EventsNamed(semconv.OTelMCPOperationEventName)))
	if o["user.id"] != "bob" {
		t.Errorf("%v", o)
	}
}

// Who goes on without a token in a session that was started with one is somebody
// else, and a client's own word for itself is no identity.
func TestSessionWithoutItsToken(t *testing.T) {
	_, i, c, capture := edged(t, func(s *server.MCPServer) http.Handler {
		next := quietHTTP(s)
		bearer := otelmcp.RequireBearer(aToken)(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "" {
				next.ServeHTTP(w, r)
				return
			}
			bearer.ServeHTTP(w, r)
		})
	})
	const auth = "Authorization: Bearer tester"
	c.do(step{send: rawPost(rpc("0", "initialize", initializeParams), auth)})
	initialized := `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	for _, headers := range [][]string{{auth}, nil} {
		capture.Reset()
		c.do(step{send: inSession(rpc("1", "ping", "{}"), headers...)})
		c.do(step{send: inSession(initialized, headers...)})
		_ = c.open(plain("GET", "/", append(headers, "Mcp-Session-Id: {session}")...)).Close()
		eventually(t, func() bool { return len(capture.EventsNamed(semconv.OTelMCPOperationEventName)) == 3 })
		for _, r := range capture.EventsNamed(semconv.OTelMCPOperationEventName) {
			o := event(r)
			if (o["otelmcp.session.integrity"] == "principal_mismatch") == (headers != nil) || (o["user.id"] != "") != (headers != nil) {
				t.Errorf("with %q: %v", headers, o)
			}
		}
	}
	c.do(step{send: plain("DELETE", "/", "Mcp-Session-Id: {session}", auth)})
	c.web.Close()
	settled(t, i, capture)
}

// Certificates that nobody verified say nothing, and those that somebody did say it
// once for each connection, whichever servers it reaches, resumed or not.
func TestMTLSConnections(t *testing.T) {
	for name, c := range map[string]struct {
		auth tls.ClientAuthType
		cert bool
		want int // decisions, on two connections
	}{
		"required":                {tls.RequireAndVerifyClientCert, true, 2},
		"verified if given":       {tls.VerifyClientCertIfGiven, true, 2},
		"verified, and not given": {tls.VerifyClientCertIfGiven, false, 0},
		"only asked for":          {tls.RequestClientCert, true, 0},
		"of any kind":             {tls.RequireAnyClientCert, true, 0},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+"/"+tls.VersionName(version), func(t *testing.T) {
				s, capture := instrumented(t)
				inner, other := instrumented(t)
				pool, cert := certificates(t, &x509.Certificate{DNSNames: []string{"agent.example"}})
				h := otelmcp.Instrument(inner.MCPServer).Handler(quietHTTP(inner.MCPServer, server.WithStateLess(true)))
				web := httptest.NewUnstartedServer(otelmcp.Instrument(s.MCPServer).Handler(h))
				web.TLS = &tls.Config{ClientCAs: pool, ClientAuth: c.auth, MinVersion: version, MaxVersion: version}
				web.StartTLS()
				defer web.Close()
				tr := web.Client().Transport.(*http.Transport)
				tr.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(8)
				if c.cert {
					tr.TLSClientConfig.Certificates = []tls.Certificate{cert}
				}
				resumed := false
				for range 2 {
					for range 3 {
						res, err := web.Client().Post(web.URL, "application/json", strings.NewReader(rpc("1", "ping", "{}")))
						if err != nil {
							t.Fatal(err)
						}
						_, _ = io.Copy(io.Discard, res.Body)
						_ = res.Body.Close()
						resumed = resumed || res.TLS.DidResume
					}
					tr.CloseIdleConnections()
				}
				if !resumed {
					t.Error("nothing was resumed")
				}
				if n, m := len(decisionsOf(capture)), len(decisionsOf(other)); n != c.want || m != 0 {
					t.Errorf("%d decisions, and %d of the inner server, want %d", n, m, c.want)
				}
				for _, r := range other.EventsNamed(semconv.OTelMCPOperationEventName) {
					if e := event(r); (e["user.id"] == "agent.example") != (c.want > 0) {
						t.Errorf("%v", e)
					}
				}
			})
		}
	}
	eventually(t, func() bool { // nothing is remembered of connections that are gone
		runtime.GC()
		return otelmcp.ConnectionsVerified() == 0
	})
}

// The hash is that of the whole principal, however much of its text may be shown.
func TestIdentityHashOfAnyPrincipal(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	for _, user := range []string{strings.Repeat("x", 300), "https://id.example/?u=alice", "a\nb"} {
		capture := telemetrytest.New(t)
		var d atomic.Pointer[otelmcp.AuthDecision]
		d.Store(&otelmcp.AuthDecision{Kind: "authentication", UserID: user})
		srv := decider(&d)
		otelmcp.Instrument(srv, into(capture, otelmcp.WithIdentityHash(key, "k"))...)
		dial(t, srv, direct, modern).tool(t.Context(), "decide", "")
		mac := hmac.New(sha256.New, key)
		_, _ = mac.Write([]byte(user))
		want := hex.EncodeToString(mac.Sum(nil))
		for _, name := range []string{semconv.OTelMCPAuthDecisionEventName, semconv.OTelMCPOperationEventName} {
			if e := event(only(t, capture.EventsNamed(name))); e["user.hash"] != want || e["user.id"] != "" {
				t.Errorf("%s of %q: %v", name, user, e)
			}
		}
	}
}

// Decisions can be made at any time of a message's, by anybody who has its context,
// also in a handler that the edge does not wait for. None is lost.
func TestDecisionsAtAnyTime(t *testing.T) {
	for _, over := range []string{streamable, sse, stdio} {
		t.Run(over, func(t *testing.T) {
			var made atomic.Int64
			var wg sync.WaitGroup
			stop := make(chan struct{})
			beside := func(ctx context.Context) {
				running := make(chan struct{})
				wg.Go(func() {
					for k := 0; ; k++ {
						select {
						case <-stop:
							if k > 50 { // also when it is all over
								return
							}
						default:
						}
						otelmcp.RecordAuthDecision(ctx, otelmcp.AuthDecision{Decision: "deny", Roles: []string{"x"}})
						made.Add(1)
						if k == 0 {
							close(running)
						}
						runtime.Gosched()
					}
				})
				<-running
			}
			hooks := &server.Hooks{}
			hooks.AddOnRequestInitialization(func(ctx context.Context, _, _ any) error {
				beside(ctx)
				return nil
			})
			capture := telemetrytest.New(t)
			s := newEverything(server.WithHooks(hooks))
			i := otelmcp.Instrument(s.MCPServer, into(capture)...)
			s.do(func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				beside(ctx)
				return nil, fmt.Errorf("upstream: %w", &server.UnparsableMessageError{})
			})
			call := rpc("1", "tools/call", `{"name":"custom"}`)
			guard := func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					beside(r.Context())
					next.ServeHTTP(w, r)
				})
			}
			switch over {
			case streamable:
				c := converse(t, i.Handler(http.TimeoutHandler(guard(quietHTTP(s.MCPServer, server.WithStateLess(true))), time.Minute, "")))
				c.do(step{send: rawPost(call)})
				c.do(step{send: rawPost(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)})
				c.web.Close()
			case sse:
				c := converse(t, i.Handler(guard(server.NewSSEServer(s.MCPServer))))
				stream := c.stream()
				c.do(step{send: rawPostTo(toMessages, call)})
				c.read(stream, `"error"`)
				_ = stream.Close()
				c.web.Close()
			case stdio:
				talkLines(t, strings.NewReader(call+"\n"), 1, listenEdge(t.Context(), i))
			}
			close(stop)
			wg.Wait()
			const filtered = 1
			if n := capture.CounterValue("otelmcp.auth.decisions"); n != made.Load()+filtered {
				t.Errorf("%d decisions are counted, of %d", n, made.Load()+filtered)
			}
			if n := len(decisionsOf(capture)); int64(n) != made.Load()+filtered {
				t.Errorf("%d decisions, of %d", n, made.Load()+filtered)
			}
			settled(t, i, capture)
		})
	}
}

// Middleware between two edges of one server is seen, and nothing is recorded twice.
func TestMiddlewareBetweenEdges(t *testing.T) {
	s, capture := instrumented(t)
	i := otelmcp.Instrument(s.MCPServer)
	inner := i.Handler(quietHTTP(s.MCPServer, server.WithStateLess(true)))
	c := converse(t, i.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Api-Key") == "" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	})))
	c.do(step{send: rawPost(rpc("1", "ping", "{}"))})
	c.do(step{send: rawPost(rpc("2", "ping", "{}"), "X-Api-Key: sesame")})
	c.web.Close()
	wantDecisions(t, capture, "authentication challenge missing_credentials none ")
	wantRecords(t, capture, "denied transport - 401 - missing_credentials", "ok handler ping 200 -")
	settled(t, i, capture)
}
