// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package interop_test

// Hostile text in every place where a peer or the program can put some, on every transport and on both sides, exported
// to an OTLP receiver. Every batch is accepted, nothing is missing, every text is legible, within its cap and without
// a credential, and the operator's scrubber has seen each that somebody else chose.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// canary is in every credential.
const canary = "CANARY"

// kinds are those of hostile text.
var kinds = map[string]string{
	"not UTF-8":  "a\xff\xc0\x80b\xed\xa0\x80\xf4\x90\x80\x80c",
	"large":      strings.Repeat("large ", 1<<20/6),
	"bidi":       "a\u202eb\u2066c\u2069\u200bd\ufeff\x1b[31mred\x1b[0m\x07\x00\n\r\t\u0085\u009b31m\u2028\u2029e",
	"credential": "sk-ant-api03-CANARYCANARYCANARYCANARYCANARYCANARYCANARY password=CANARY https://u:CANARY@h/?k=CANARY#CANARY",
}

// source is where hostile text comes from.
type source struct {
	mu    sync.Mutex
	rnd   *rand.Rand
	fixed string
}

// text returns a hostile text: always the same, or a mixture.
func (s *source) text() string {
	if s.fixed != "" {
		return s.fixed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for range 1 + s.rnd.IntN(4) {
		switch part := kinds[slices.Sorted(maps.Keys(kinds))[s.rnd.IntN(len(kinds))]]; s.rnd.IntN(4) {
		case 0:
			b.WriteString(part[:s.rnd.IntN(min(len(part), 600))])
			b.WriteByte(' ')
		case 1:
			b.WriteString(part[:min(len(part), 8000)] + "\xff")
		default:
			b.WriteString(part[:min(len(part), 100)] + "\u202e" + " ")
		}
	}
	return b.String()
}

// short is a text that fits into a header, with others beside it.
func (s *source) short() string {
	text := s.text()
	return text[:min(len(text), 16<<10)]
}

// header is a text that may stand in a header.
func (s *source) header() string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return '_'
		}
		return r
	}, strings.ReplaceAll(s.short(), "\xff", "\u00ff"))
}

// quoted is a text in JSON, whose bytes are otherwise as they are.
func quoted(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(text) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < 0x20:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// fill puts a hostile text in the place of each § of a message. Only the first is as large as they come.
func (s *source) fill(message string) string {
	var b strings.Builder
	for text := s.text(); ; text = s.short() {
		before, after, found := strings.Cut(message, "§")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteString(quoted(text))
		message = after
	}
}

// Of the messages that a client sends, each § is a place.
const meta = `"_meta":{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",` +
	`"tracestate":"a=sk-ant-api03-CANARYCANARYCANARYCANARYCANARYCANARYCANARY,b=password:CANARY,c=1","baggage":§,"progressToken":§,§:§}`

var messages = []string{
	`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":§,"version":§}}}`,
	`{"jsonrpc":"2.0","id":§,"method":"tools/call","params":{"name":"echo","arguments":{"text":§,§:[§,{§:§}],"password":§},` + meta + `}}`,
	`{"jsonrpc":"2.0","id":§,"method":"tools/call","params":{"name":"fail","arguments":{"text":§}}}`,
	`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"error","arguments":{"text":§}}}`,
	`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"panic","arguments":{"text":§}}}`,
	`{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"task","arguments":{"text":§},"task":{}}}`,
	`{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"decide","arguments":{"text":§}}}`,
	`{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":§,"arguments":{"text":§}}}`,
	`{"jsonrpc":"2.0","id":6,"method":§,"params":{§:§}}`,
	`{"jsonrpc":§,"id":7,"method":"ping"}`,
	`{"jsonrpc":"2.0","id":8,"method":"prompts/get","params":{"name":"prompt","arguments":{"text":§,§:§}}}`,
	`{"jsonrpc":"2.0","id":8,"method":"prompts/get","params":{"name":§}}`,
	`{"jsonrpc":"2.0","id":9,"method":"resources/read","params":{"uri":§}}`,
	`{"jsonrpc":"2.0","id":9,"method":"resources/subscribe","params":{"uri":§}}`,
	`{"jsonrpc":"2.0","id":10,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":§},"argument":{"name":§,"value":§}}}`,
	`{"jsonrpc":"2.0","id":10,"method":"completion/complete","params":{"ref":{"type":"ref/resource","uri":§},"argument":{"name":§,"value":§}}}`,
	`{"jsonrpc":"2.0","id":11,"method":"tasks/get","params":{"taskId":§}}`,
	`{"jsonrpc":"2.0","id":12,"method":"tasks/cancel","params":{"taskId":§}}`,
	`{"jsonrpc":"2.0","id":13,"method":"logging/setLevel","params":{"level":§}}`,
	`{"jsonrpc":"2.0","id":14,"method":"tools/list","params":{"cursor":§}}`,
	`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":§,"reason":§}}`,
	`{"jsonrpc":"2.0","method":§,"params":{§:§}}`,
	`{"jsonrpc":"2.0","id":§,"error":{"code":1,"message":§}}`,
	`{"jsonrpc":"2.0","id":15,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
		`"io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":§,"version":§}}}}`,
	`[{"jsonrpc":"2.0","id":16,"method":§}]`,
	`no message §`,
}

// hostileServer offers things under hostile names, and says hostile things.
func hostileServer(s *source) *server.MCPServer {
	srv := server.NewMCPServer(s.text(), s.text(), server.WithToolCapabilities(true), server.WithPromptCapabilities(true),
		server.WithResourceCapabilities(true, true), server.WithCompletions(), server.WithLogging(), server.WithRecovery(), server.WithResourceRecovery(),
		server.WithTaskCapabilities(true, true, true))
	tool := func(name string, h server.ToolHandlerFunc) {
		srv.AddTool(mcp.NewTool(name, mcp.WithString("text"), mcp.WithString(s.short()), mcp.WithString("password")), h)
	}
	tool("echo", func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		text := s.text()
		_ = srv.SendNotificationToClient(ctx, s.short(), map[string]any{text: text})
		return mcp.NewToolResultStructured(map[string]any{text: []any{text, map[string]any{text: text}}, "said": r.GetString("text", "")}, text), nil
	})
	tool("fail", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultError(s.text()), nil
	})
	tool("error", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return nil, errors.New(s.text())
	})
	tool("panic", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) { panic(s.text()) })
	tool("decide", func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		otelmcp.RecordAuthDecision(ctx, otelmcp.AuthDecision{
			Kind: s.short(), Decision: s.short(), Reason: s.short(), Mechanism: s.short(), UserID: s.text(), Roles: []string{s.text(), s.text()},
			Issuer: s.text(), ClientID: s.text(), Audience: []string{s.text()}, ScopesGranted: []string{s.text()}, ScopesRequired: []string{s.text()},
			Policy: s.text(), Err: errors.New(s.text()),
		})
		return mcp.NewToolResultText(""), nil
	})
	tool(s.short(), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText(s.text()), nil
	})
	srv.AddTaskTool(mcp.NewTool("task", mcp.WithTaskSupport(mcp.TaskSupportRequired), mcp.WithString("text")),
		func(context.Context, mcp.CallToolRequest) (*mcp.CreateTaskResult, error) {
			return nil, errors.New(s.text())
		})
	srv.AddPrompt(mcp.NewPrompt("prompt", mcp.WithArgument("text")), func(context.Context, mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		return nil, errors.New(s.text())
	})
	srv.AddPrompt(mcp.NewPrompt(s.short()), func(context.Context, mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		return mcp.NewGetPromptResult(s.text(), nil), nil
	})
	srv.AddResource(mcp.NewResource(s.short(), s.short()), func(context.Context, mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
		return nil, errors.New(s.text())
	})
	srv.AddResourceTemplate(mcp.NewResourceTemplate("{+any}", "any"), func(context.Context, mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
		return nil, errors.New(s.text())
	})
	return srv
}

func (s *source) overStdio(t *testing.T, srv *server.MCPServer) {
	t.Helper()
	var in bytes.Buffer
	for _, m := range messages {
		in.WriteString(strings.ReplaceAll(s.fill(m), "\n", " ") + "\n")
	}
	std := server.NewStdioServer(srv)
	std.SetErrorLogger(log.New(io.Discard, "", 0))
	// The input stays open until the answers are out: what is answered after its end may be recorded as cancelled.
	if err := std.Listen(t.Context(), &in, io.Discard); err != nil && !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func (s *source) headers(h http.Header) {
	h.Set("Content-Type", "application/json")
	h.Set("Accept", "application/json, text/event-stream")
	h.Set("User-Agent", s.header())
	h.Set("Authorization", "Bearer "+s.header())
	h.Set("X-Forwarded-For", s.header())
	h.Set("Forwarded", "for="+s.header())
	h.Set("Origin", s.header())
	h.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	h.Set("Tracestate", "x=ghp_CANARYCANARYCANARYCANARYCANARYCANARY1234,y=2")
	h.Set("Baggage", s.header())
	h.Set("Last-Event-Id", s.header())
}

func (s *source) overHTTP(t *testing.T, h http.Handler) {
	t.Helper()
	for n, m := range messages {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/mcp", strings.NewReader(s.fill(m)))
		r.URL.Path = "/mcp/" + s.short()
		s.headers(r.Header)
		if n%2 == 1 {
			r.Header.Set(server.HeaderKeySessionID, s.header())
		}
		if n%3 == 1 {
			r.Header.Set("Mcp-Protocol-Version", s.header())
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	for _, method := range []string{http.MethodDelete, "§"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodDelete, "http://localhost/mcp", http.NoBody)
		r.Method = strings.ReplaceAll(method, "§", s.short())
		s.headers(r.Header)
		r.Header.Set(server.HeaderKeySessionID, s.header())
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
}

// verify is a verifier whose tokens claim hostile things.
func (s *source) verify(_ context.Context, token string, _ *http.Request) (*otelmcp.TokenInfo, error) {
	if len(token)%2 == 0 {
		return nil, &otelmcp.TokenError{
			Reason: semconv.OTelMCPAuthReasonExpired, Message: s.text(),
			Info: &otelmcp.TokenInfo{UserID: s.text(), Issuer: s.text(), ClientID: s.text()},
		}
	}
	return &otelmcp.TokenInfo{
		UserID: s.text(), Issuer: s.text(), ClientID: s.text(), Audience: []string{s.text()}, Scopes: []string{s.text(), s.text()},
		Roles: []string{s.text()}, Mechanism: s.short(), Expiration: time.Now().Add(time.Hour),
	}, nil
}

// hostileRemote answers a client, whatever it asks and whichever host it thinks that it asks.
type hostileRemote struct{ s *source }

func (h hostileRemote) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.serve(w, r)
	res := w.Result()
	res.Request = r
	return res, nil
}

func (h hostileRemote) serve(w http.ResponseWriter, r *http.Request) {
	s := h.s
	w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", scope="`+strings.ReplaceAll(s.header(), `"`, "")+`", error_description="`+strings.ReplaceAll(s.header(), `"`, "")+`"`)
	if strings.Contains(r.URL.Path, "well-known") || r.URL.Path == "/token" || r.URL.Path == "/register" {
		w.Header().Set("Content-Type", "application/json")
		host := "http://a%FF%E2%80%AEsk-ant-api03-CANARYCANARYCANARYCANARYCANARYCANARYCANARY" + strings.Repeat("h", 200<<10) + ".example"
		switch {
		case strings.Contains(r.URL.Path, "oauth-protected-resource"):
			_, _ = fmt.Fprintf(w, `{"resource":"http://mcp.example","authorization_servers":[%q]}`, host)
		case strings.Contains(r.URL.Path, "well-known"):
			_, _ = fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":"http://x/a","token_endpoint":"http://x/token","registration_endpoint":"http://x/register"}`, host)
		case r.URL.Path == "/register":
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, s.fill(`{"client_id":§,"client_secret":§,"scope":§}`))
		default:
			_, _ = io.WriteString(w, s.fill(`{"access_token":§,"token_type":"Bearer","scope":§}`))
		}
		return
	}
	if strings.HasPrefix(r.URL.Path, "/refuse") {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set(server.HeaderKeySessionID, s.header())
	w.Header().Set("Content-Type", "application/json")
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	if r.Body != nil {
		body, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(body, &m)
	}
	if m.ID == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	result := `"error":{"code":-32050,"message":§,"data":§}`
	switch m.Method {
	case "initialize":
		result = `"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"prompts":{},"resources":{}},"serverInfo":{"name":§,"version":§}}`
	case "tools/list":
		result = `"result":{"tools":[{"name":§,"inputSchema":{"type":"object","properties":{"text":{},§:{}}}},{"name":"known","inputSchema":{"type":"object","properties":{"text":{},§:{}}}}]}`
	case "tools/call":
		result = `"result":{"isError":true,"content":[{"type":"text","text":§}],"structuredContent":{§:§}}`
	}
	_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":`+string(m.ID)+","+s.fill(result)+"}")
}

func (s *source) asClient(t *testing.T, opts []otelmcp.Option) {
	t.Helper()
	quiet := transport.WithHTTPLogger(slog.New(slog.DiscardHandler))
	web := &http.Client{Transport: hostileRemote{s}}
	for _, path := range []string{"/mcp", "/refuse"} {
		conn, err := transport.NewStreamableHTTP("http://mcp.example"+path, quiet, transport.WithHTTPBasicClient(otelmcp.InstrumentHTTPClient(web, opts...)))
		if err != nil {
			t.Fatal(err)
		}
		c := client.NewClient(otelmcp.WrapTransport(conn, opts...))
		_ = c.Start(t.Context())
		var init mcp.InitializeRequest
		init.Params.ClientInfo = mcp.Implementation{Name: s.text(), Version: s.text()}
		_, _ = c.Initialize(t.Context(), init)
		_, _ = c.ListTools(t.Context(), mcp.ListToolsRequest{})
		for _, name := range []string{"known", s.text()} {
			var call mcp.CallToolRequest
			call.Params.Name, call.Params.Arguments = name, map[string]any{"text": s.text(), s.text(): []any{s.text()}}
			_, _ = c.CallTool(t.Context(), call)
			var get mcp.GetPromptRequest
			get.Params.Name, get.Params.Arguments = name, map[string]string{"text": s.text(), s.text(): s.text()}
			_, _ = c.GetPrompt(t.Context(), get)
			var read mcp.ReadResourceRequest
			read.Params.URI = s.text()
			_, _ = c.ReadResource(t.Context(), read)
		}
		_ = c.Close()
	}

	cfg := otelmcp.InstrumentOAuth(transport.OAuthConfig{
		HTTPClient: web, RedirectURI: "http://localhost/cb", TokenStore: transport.NewMemoryTokenStore(), PKCEEnabled: true,
	}, opts...)
	h := transport.NewOAuthHandler(cfg)
	h.SetBaseURL("http://mcp.example")
	_ = h.RegisterClient(t.Context(), s.short())
	_, _ = h.GetAuthorizationURL(t.Context(), "state", "challenge")
	_ = otelmcp.ProcessAuthorizationResponse(t.Context(), h, s.short(), "state", s.short(), opts...)
	_ = otelmcp.ProcessAuthorizationResponse(t.Context(), h, s.short(), s.short(), s.short(), opts...)
	_, _ = h.RefreshToken(t.Context(), s.short())

	direct := transport.NewOAuthHandler(otelmcp.InstrumentOAuth(transport.OAuthConfig{
		HTTPClient: web, ClientID: s.text(), RedirectURI: "http://localhost/cb", TokenStore: transport.NewMemoryTokenStore(),
		AuthServerMetadataURL: "http://b%FF.example/.well-known/oauth-authorization-server",
	}, opts...))
	direct.SetExpectedState("s")
	_ = otelmcp.ProcessAuthorizationResponse(t.Context(), direct, s.short(), "s", s.short(), opts...)
	_, _ = direct.RefreshToken(t.Context(), s.short())
}

// ours are the attributes whose text only otelmcp chooses; the scrubber does not see it.
var ours = map[string]bool{}

func init() {
	for _, key := range []attribute.Key{
		semconv.EventNameKey, semconv.ErrorTypeKey, semconv.RPCResponseStatusCodeKey, semconv.MCPProtocolVersionKey, semconv.JSONRPCProtocolVersionKey,
		semconv.GenAIOperationNameKey, semconv.NetworkTransportKey, semconv.NetworkProtocolNameKey, semconv.NetworkProtocolVersionKey,
		semconv.NetworkPeerAddressKey, semconv.ClientAddressKey, semconv.HTTPRequestMethodKey, semconv.OTelMCPRoleKey, semconv.OTelMCPTransportKey,
		semconv.OTelMCPStageKey, semconv.OTelMCPOutcomeKey, semconv.OTelMCPSessionEndReasonKey, semconv.OTelMCPSessionIntegrityKey,
		semconv.OTelMCPCancelSourceKey, semconv.OTelMCPCancelAddressKey, semconv.OTelMCPStreamEndReasonKey, semconv.OTelMCPToolDigestKey,
		semconv.OTelMCPAuthKindKey, semconv.OTelMCPAuthDecisionKey, semconv.OTelMCPAuthReasonKey, semconv.OTelMCPAuthMechanismKey,
		semconv.OTelMCPDefinitionKindKey, semconv.OTelMCPDefinitionChangeKey, semconv.OTelMCPDefinitionDigestOldKey, semconv.OTelMCPDefinitionDigestNewKey,
		semconv.OTelMCPCoverageTransportsKey, semconv.OTelMCPCoverageEdgesKey, semconv.OTelMCPCoverageSeamsKey, semconv.OTelMCPCoverageGapsKey,
		semconv.OTelMCPRefusedReasonKey,
	} {
		ours[string(key)] = true
	}
}

// scrubber sees what it is given, and leaves it.
type scrubber struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (s *scrubber) scrub(key, value string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[key+"\x00"+value] = true
	return value
}

// saw reports whether a text that arrived is ours, or was seen under its key.
func (s *scrubber) saw(r received) bool {
	if strings.HasPrefix(r.key, string(semconv.GenAIPromptVariableKey)) {
		r.key = string(semconv.GenAIPromptVariableKey)
	}
	switch {
	case r.key == "" || ours[r.key] || r.value == "" || r.value == "_OTHER" || slices.Contains(semconv.MCPMethodNames[:], r.value):
		return true
	case r.key == string(semconv.MCPSessionIDKey) && strings.HasPrefix(r.value, "stdio-"):
		return true
	case strings.HasSuffix(r.where, "member") && strings.HasPrefix(r.value, "…"), strings.HasPrefix(r.value, "[+"), strings.HasPrefix(r.value, "…["), r.value == "[REDACTED]":
		return true // a note of ours
	case strings.Contains(r.value, "…[+"):
		return true // content is seen with more than fits, and cut then
	}
	return s.seen[r.key+"\x00"+r.value]
}

// wrong says what is wrong with a text that arrived.
func wrong(r received) string {
	limit := 512
	switch {
	case strings.HasPrefix(r.key, "gen_ai.tool.call."), strings.HasPrefix(r.key, string(semconv.GenAIPromptVariableKey)), r.key == "own", r.where == "body":
		limit = 4096
	case r.key == string(semconv.OTelMCPCoverageGapsKey):
		limit = 1024
	}
	switch {
	case !utf8.ValidString(r.value):
		return "is no UTF-8"
	case len(r.value) > limit:
		return fmt.Sprintf("has %d bytes", len(r.value))
	case strings.Contains(r.value, canary):
		return "has a credential"
	case strings.ContainsFunc(r.value, func(c rune) bool {
		return unicode.IsControl(c) || unicode.Is(unicode.Cf, c) || c == '\u2028' || c == '\u2029'
	}):
		return "has a control character"
	}
	return ""
}

func TestHostileTextIsAcceptedByAReceiver(t *testing.T) {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { t.Errorf("OpenTelemetry: %v", err) }))
	t.Cleanup(func() { otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { fmt.Fprintln(os.Stderr, err) })) })
	sources := map[string]*source{}
	for kind, text := range kinds {
		sources[kind] = &source{fixed: text}
	}
	for seed := range uint64(3) {
		sources[fmt.Sprintf("seed %d", seed)] = &source{rnd: rand.New(rand.NewPCG(seed, 0))}
	}
	for name, s := range sources {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t)
			capture := telemetrytest.New(t, telemetrytest.WithoutCheck(), telemetrytest.WithPipeline(r.pipeline(t)))
			seen := &scrubber{seen: map[string]bool{}}
			opts := []otelmcp.Option{
				otelmcp.WithTracerProvider(capture.TracerProvider()), otelmcp.WithMeterProvider(capture.MeterProvider()),
				otelmcp.WithLoggerProvider(capture.LoggerProvider()), otelmcp.WithPropagators(propagation.TraceContext{}),
				otelmcp.WithContentCapture(otelmcp.Arguments | otelmcp.Results | otelmcp.PromptVariables), otelmcp.WithScrubber(seen.scrub),
				otelmcp.WithAttributes(attribute.String("own", s.text())), otelmcp.WithFilterPolicy(s.text()),
				otelmcp.WithIdentity(func(context.Context) otelmcp.Identity {
					return otelmcp.Identity{UserID: s.text(), Roles: []string{s.text(), s.text()}}
				}),
			}
			srv := hostileServer(s)
			i := otelmcp.Instrument(srv, opts...)
			for range 2 {
				for _, m := range messages {
					srv.HandleMessage(t.Context(), json.RawMessage(s.fill(m)))
				}
				// What is registered under a hostile name, by that name.
				for name := range srv.ListTools() {
					call, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": map[string]any{"name": name}})
					srv.HandleMessage(t.Context(), call)
				}
				srv.AddTool(mcp.NewTool(s.short()+"2", mcp.WithDescription(s.short())), nil)
				srv.DeleteTools("fail")
			}
			s.overStdio(t, srv)
			quiet := server.WithStreamableHTTPLogger(slog.New(slog.DiscardHandler))
			s.overHTTP(t, i.Handler(server.NewStreamableHTTPServer(srv, quiet, server.WithStateful(true))))
			s.overHTTP(t, otelmcp.RequireBearer(s.verify, opts[0].(otelmcp.BearerOption))(i.Handler(server.NewStreamableHTTPServer(srv, quiet, server.WithStateLess(true)))))
			s.overHTTP(t, i.Handler(server.NewSSEServer(srv).MessageHandler()))
			s.asClient(t, opts)

			if err := errors.Join(flush(capture)...); err != nil {
				t.Errorf("the export failed: %v", err)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, refused := range r.refused {
				t.Errorf("a batch is refused: %.300s", refused)
			}
			spans, records := len(capture.Spans()), len(capture.Logs())
			if spans < 100 || records < 200 || r.points == 0 || r.spans != spans || r.records != records {
				t.Errorf("%d spans of %d arrived, %d events of %d, and %d points", r.spans, spans, r.records, records, r.points)
			}
			bad := map[string]string{}
			for _, text := range r.texts {
				at := text.where + " " + text.key
				if why := wrong(text); why != "" {
					bad[at] = fmt.Sprintf("%s: %.200q", why, text.value)
				} else if !seen.saw(text) {
					bad[at] = fmt.Sprintf("was not seen by the scrubber: %.200q", text.value)
				}
			}
			for at, why := range bad {
				t.Errorf("%s %s", at, why)
			}
		})
	}
}

func flush(c *telemetrytest.Capture) (errs []error) {
	for _, p := range []any{c.TracerProvider(), c.LoggerProvider(), c.MeterProvider()} {
		errs = append(errs, p.(interface{ ForceFlush(context.Context) error }).ForceFlush(context.Background()))
	}
	return errs
}
