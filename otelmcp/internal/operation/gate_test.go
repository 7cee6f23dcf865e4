// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation_test

// The gate: every text is valid, legible, bounded and free of credentials, the operator's scrubber sees each that is
// not one of our own words, once, and nothing goes round it.

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/internal/telemetrytest/registry"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// Whatever the registry declares as text has a rule of its own: what has none is held to be the operator's.
func TestEveryTextHasARule(t *testing.T) {
	dir, err := registry.Find()
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Load(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, a := range reg.Attributes {
		if a.Type != "string" && a.Type != "string[]" && a.Type != "any" {
			continue
		}
		n++
		key := attribute.Key(a.Key)
		if a.Template {
			key += "."
		}
		if limit, ok := operation.Ruled(key); !ok || limit <= 0 {
			t.Errorf("%s has no rule", key)
		}
	}
	if n < 40 {
		t.Errorf("the registry declares %d texts", n)
	}
}

// hostile are texts of the kinds that a peer can send, and what they must not leave.
var hostile = map[string]string{
	"not UTF-8":  "a\xff\xc0\x80b\xed\xa0\x80",
	"large":      strings.Repeat("x", 1<<20),
	"bidi":       "a\u202eb\u2066c\u200bd\ufeff\x1b[31m\x00\n\r\t\u0085\u2028",
	"credential": "sk-ant-api03-CANARYCANARYCANARYCANARYCANARYCANARY password=CANARY https://u:CANARY@h/?k=CANARY",
	"all":        "\xff\u202e password=CANARY" + strings.Repeat("\xff\u202e password=CANARY", 1<<12),
}

// unfit says what is wrong with a text that stands in a signal.
func unfit(s string, limit int) string {
	switch {
	case !utf8.ValidString(s):
		return "not UTF-8"
	case len(s) > limit:
		return "too long"
	case strings.Contains(s, "CANARY"):
		return "a credential"
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' }):
		return "a control character"
	}
	return ""
}

func TestGate(t *testing.T) {
	scrubbers := map[string]func(key, value string) string{
		"none":   nil,
		"same":   func(_, v string) string { return v },
		"panics": func(string, string) string { panic("scrubber") },
		"nonsense": func(_, v string) string {
			return v + hostile["all"]
		},
	}
	for name, scrubber := range scrubbers {
		for kind, text := range hostile {
			t.Run(name+"/"+kind, func(t *testing.T) {
				capture := telemetrytest.New(t, telemetrytest.WithoutCheck())
				mapped := attribute.MapValue(attribute.String(text, text), attribute.KeyValue{
					Key: "m", Value: attribute.SliceValue(attribute.StringValue(text), attribute.MapValue(attribute.StringSlice(text, []string{text}))),
				})
				r := newRecorder(capture, func(c *operation.Config) {
					c.Scrub = scrubber
					c.Attributes = []attribute.KeyValue{
						attribute.String("own."+text, text), {Key: "own.map", Value: mapped}, attribute.StringSlice("own.list", []string{text, text}),
					}
				})
				everywhere(t.Context(), r, text)
				bad := map[string]string{}
				eachText(t, capture, func(where, s string, limit int) {
					if why := unfit(s, limit); why != "" {
						bad[where] = why + ": " + strings.ToValidUTF8(s[:min(len(s), 100)], "?")
					}
				})
				for where, why := range bad {
					t.Errorf("%s: %s", where, why)
				}
				if n := len(capture.Logs()); n != 4 {
					t.Errorf("%d events", n)
				}
			})
		}
	}
}

// everywhere puts text in every place that a recorder takes one.
func everywhere(ctx context.Context, r *operation.Recorder, text string) {
	word := text // where our code has one of its own words
	if !strings.Contains(text, "\xff") {
		word = strings.ReplaceAll(text, "CANARY", "canary")
	}
	o := &operation.Operation{}
	r.Init(o, ctx, operation.RoleClient)
	o.Method.Text = text
	o.Tool = operation.Name{Text: text, Known: true}
	o.Begin()
	o.Prompt.Text = text
	o.RequestID, o.ResourceURI, o.ProtocolVersion, o.Transport, o.Stage, o.Network = text, text, word, word, word, word
	o.SessionID = r.Safe(semconv.MCPSessionIDKey, text)
	o.ClientName, o.ClientVersion = r.Safe(semconv.OTelMCPClientNameKey, text), r.Safe(semconv.OTelMCPClientVersionKey, text)
	o.ServerName, o.ServerVersion = r.Safe(semconv.OTelMCPServerNameKey, text), r.Safe(semconv.OTelMCPServerVersionKey, text)
	o.ServerAddress, o.UserID, o.UserRoles, o.JSONRPCVersion, o.HTTPVersion = text, text, []string{text, text}, word, word
	o.Peer = []attribute.KeyValue{semconv.UserAgentOriginalKey.String(text), semconv.ClientAddressKey.String(word)}
	o.Facts = []attribute.KeyValue{semconv.OTelMCPCancelRequestIDKey.String(text), semconv.OTelMCPStreamEndReasonKey.String(word)}
	o.ToolDigest = "sha256:00"
	o.ArgumentNames = r.SafeList(semconv.OTelMCPToolArgumentsNamesKey, slices.Repeat([]string{text}, 100))
	o.Capture(semconv.GenAIToolCallArgumentsKey, map[string]any{text: text, "a": []any{text, map[string]any{text: text}}})
	o.CaptureVariables(map[string]any{text: text, "password": text})
	o.CaptureText(semconv.OTelMCPPromptVariablesKey, map[string]any{text: text, "a": []any{text, map[string]any{text: text}}})
	o.CaptureMembers(map[string]any{"a": text, "b": []any{text}, text: text}, operation.NewMembers(semconv.OTelMCPToolArgumentKey, []string{"a", "b", text}),
		func(string) bool { return true })
	o.Message, o.ErrorType, o.Outcome = text, word, semconv.OTelMCPOutcomeError
	o.Publish(operation.Parsed)
	o.Decide(ctx, &operation.Decision{
		Kind: word, Decision: word, Reason: word, Mechanism: word, UserID: text, UserRoles: []string{text}, Issuer: text, ClientID: text,
		Audience: []string{text}, Required: slices.Repeat([]string{text}, 100), Granted: []string{text}, Policy: text, Message: text, ErrorType: word,
		HTTPVersion: word, ServerAddress: text, Elapsed: 1, SessionID: r.Safe(semconv.MCPSessionIDKey, text),
		Facts: []attribute.KeyValue{semconv.OTelMCPSessionIntegrityKey.String(word)},
	})
	o.Finish()
	silent := &operation.Operation{Silent: true}
	r.Init(silent, ctx, operation.RoleServer)
	silent.Method.Text = text
	silent.Begin()
	silent.Finish()
	e := operation.Event{
		Name: semconv.OTelMCPCoverageEventName, Severity: log.SeverityInfo, Body: word,
		Attributes: []attribute.KeyValue{semconv.OTelMCPCoverageGapsKey.StringSlice([]string{word})},
	}
	e.Add(semconv.OTelMCPDefinitionNameKey, r.SafeURI(semconv.OTelMCPDefinitionNameKey, text))
	r.Emit(ctx, e)
	r.SessionStarted(ctx, word)
	r.SessionEnded(ctx, word, 1, []attribute.KeyValue{semconv.ServerAddressKey.String(text)})
}

// eachText calls f with every text of every signal, and its cap.
func eachText(t *testing.T, c *telemetrytest.Capture, f func(where, s string, limit int)) {
	t.Helper()
	for _, text := range c.Texts() {
		limit, ok := operation.Ruled(text.Key)
		if !ok {
			limit = 4096
		}
		f(text.Where, text.Value, limit)
	}
}

// The operator's scrubber sees each text with the key of its attribute, once for each record, or once when it is learned,
// and none of the words that only we choose.
func TestScrubberSeesEachTextOnce(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	capture := telemetrytest.New(t, telemetrytest.WithoutCheck())
	r := newRecorder(capture, func(c *operation.Config) {
		c.Attributes = []attribute.KeyValue{attribute.String("deployment", "d0")}
		c.Scrub = func(key, value string) string {
			mu.Lock()
			defer mu.Unlock()
			seen[key+"="+value]++
			return "seen " + value
		}
	})
	o := begin(t.Context(), r, operation.RoleServer, "tools/call")
	o.Tool = operation.Name{Text: "t0", Known: true}
	o.RequestID, o.ResourceURI, o.UserID, o.UserRoles, o.Message, o.Code = "i0", "file:///u0", "alice", []string{"r0"}, "m0", -32603
	o.SessionID = r.Safe(semconv.MCPSessionIDKey, "s0")
	o.Peer = []attribute.KeyValue{semconv.UserAgentOriginalKey.String("ua0"), semconv.ClientAddressKey.String("192.0.2.1")}
	o.ToolDigest = "sha256:00"
	o.Capture(semconv.GenAIToolCallArgumentsKey, map[string]any{"n0": "v0"})
	o.CaptureVariables(map[string]any{"n1": "v1"})
	o.CaptureText(semconv.GenAIToolCallResultKey, []any{"v2"})
	o.CaptureMembers(map[string]any{"n3": "v3", "n4": "v4", "n5": "v5"}, operation.NewMembers(semconv.OTelMCPToolArgumentKey, []string{"n3", "n4"}),
		func(name string) bool { return name != "n4" })
	o.Finish()
	want := map[string]int{
		"deployment=d0": 1, "gen_ai.tool.name=t0": 1, "jsonrpc.request.id=i0": 1, "mcp.resource.uri=file:///u0": 1, "user.id=alice": 1,
		"user.roles=r0": 1, "otelmcp.operation.error.message=m0": 1, "mcp.session.id=s0": 1, "user_agent.original=ua0": 1,
		"gen_ai.tool.call.arguments=n0": 1, "gen_ai.tool.call.arguments=v0": 1, "gen_ai.prompt.variable.=n1": 1, "gen_ai.prompt.variable.=v1": 1,
		"gen_ai.tool.call.result=v2": 1, "otelmcp.tool.argument.n3=v3": 1,
	}
	if !maps.Equal(seen, want) {
		t.Errorf("the scrubber saw %v\nwant %v", seen, want)
	}
	span := capture.SpanNamed("tools/call seen t0")
	attrs := telemetrytest.SpanAttributes(span)
	expect(t, attrs, semconv.UserIDKey, "seen alice")
	expect(t, attrs, semconv.ClientAddressKey, "192.0.2.1")
	expect(t, attrs, semconv.ErrorTypeKey, "-32603")
	if span.Status().Description != "seen m0" {
		t.Errorf("the status says %q", span.Status().Description)
	}
}

// The hash is that of the principal itself, and the scrubber does not see it.
func TestHashIsOfThePrincipal(t *testing.T) {
	hash := func(id string, scrubber func(key, value string) string) string {
		capture := telemetrytest.New(t)
		r := newRecorder(capture, func(c *operation.Config) {
			c.HashKey, c.HashKeyID, c.Scrub = []byte("key"), "k1", scrubber
		})
		o := begin(t.Context(), r, operation.RoleServer, "ping")
		o.UserID = id
		o.Finish()
		attrs := telemetrytest.SpanAttributes(capture.SpanNamed("ping"))
		v, _ := attrs.Value(semconv.UserHashKey)
		return v.AsString()
	}
	same := func(string, string) string { return "same" }
	if a, b := hash("a password=x", same), hash("a password=y", same); a == b || a != hash("a password=x", nil) {
		t.Errorf("%s and %s", a, b)
	}
}

// What is clean costs no allocation.
func TestGateAllocates(t *testing.T) {
	r := newRecorder(telemetrytest.New(t))
	attrs := []attribute.KeyValue{
		semconv.JSONRPCRequestIDKey.String("42"), semconv.UserIDKey.String("alice@example.com"), semconv.ClientAddressKey.String("192.0.2.1"),
		semconv.UserAgentOriginalKey.String("node-fetch/1.0 (+https://github.com/x/y)"), semconv.URLPathKey.String("/mcp"), semconv.ClientPortKey.Int(1),
		semconv.MCPResourceURIKey.String("file:///a/b/c.txt"),
	}
	if n := testing.AllocsPerRun(100, func() { r.Gate(attrs) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkGate(b *testing.B) {
	r := newRecorder(telemetrytest.New(b, telemetrytest.WithoutCheck()))
	attrs := []attribute.KeyValue{
		semconv.JSONRPCRequestIDKey.String("42"), semconv.UserIDKey.String("alice"), semconv.ClientAddressKey.String("192.0.2.1"),
		semconv.UserAgentOriginalKey.String("node"), semconv.URLPathKey.String("/mcp"), semconv.ClientPortKey.Int(1), semconv.HTTPRequestMethodKey.String("POST"),
	}
	b.ReportAllocs()
	for b.Loop() {
		r.Gate(attrs)
	}
}

// Nothing goes round the gate: OpenTelemetry is called in emit.go alone, where the Recorder is made apart, and nobody
// but the gate says that a text is safe.
func TestNothingGoesRoundTheGate(t *testing.T) {
	recorded := set("tracer", "logger", "serverDuration", "clientDuration", "sessionDuration", "messages", "sessionsActive", "refused",
		"requestSize", "responseSize", "decisions", "authDuration")
	changes := set("SetAttributes", "AddEvent", "SetName", "SetStatus", "RecordError", "AddAttributes", "SetBody", "SetEventName",
		"WithAttributeSet", "WithAttributes", "NewSet", "ObserveInt64", "ObserveFloat64")
	providers := set("Tracer", "Meter", "Logger")
	found := map[string]int{}
	err := filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		base := filepath.Base(path)
		mine := file.Name.Name == "operation"
		ast.Inspect(file, func(n ast.Node) bool {
			var what, where string
			switch n := n.(type) {
			case *ast.SelectorExpr:
				name := n.Sel.Name
				x, _ := n.X.(*ast.Ident)
				switch {
				case mine && recorded[name] && x != nil && x.Name == "r" || mine && recorded[name] && isField(n.X, "rec"):
					what, where = name, "emit.go"
					if base == "recorder.go" {
						where = base // where it is made
					}
				case changes[name]:
					what, where = name, "emit.go"
				case (name == "AddLink" || name == "End") && isField(n.X, "span"):
					what, where = name, "emit.go"
				}
			case *ast.CallExpr:
				if id, ok := n.Fun.(*ast.Ident); ok && mine && id.Name == "Safe" {
					what, where = "Safe", "gate.go"
				}
				sel, ok := n.Fun.(*ast.SelectorExpr)
				switch {
				case ok && providers[sel.Sel.Name] && !isPackage(sel.X, "tracing"): // a type of mcp-go's
					what, where = sel.Sel.Name, "recorder.go"
				case ok && sel.Sel.Name == "Safe":
					if x, ok := sel.X.(*ast.Ident); ok && x.Name == "operation" {
						what, where = "operation.Safe", "gate.go"
					}
				}
			}
			if what != "" {
				found[what]++
				if base != where {
					t.Errorf("%s: %s belongs in %s", files.Position(n.Pos()), what, where)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"tracer", "logger", "messages", "decisions", "SetAttributes", "SetStatus", "AddLink", "NewSet", "Tracer", "Safe"} {
		if found[what] == 0 {
			t.Errorf("there is no %s: the test sees nothing", what)
		}
	}
}

func isPackage(x ast.Expr, name string) bool {
	id, ok := x.(*ast.Ident)
	return ok && id.Name == name
}

func isField(x ast.Expr, name string) bool {
	sel, ok := x.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == name
}

func set(names ...string) map[string]bool {
	m := map[string]bool{}
	for _, name := range names {
		m[name] = true
	}
	return m
}

// An entry of tracestate that looks like a credential goes, wherever the trace context stands. The ids, the flags and
// all other entries stay.
func TestTraceState(t *testing.T) {
	const other = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE,dd=s:1;o:rum;t.dm:-4;p:00f067aa0ba902b7,fw529a3039@dt=FfIl9Qo3Bmk;3;a," +
		"33@nr=0-0-33-2827902-7d3efb1b173fecfa-e8b91a159289ff74-1-1.23456-1518469636035,es=s:1.0,ot=th:c;rv:d29d6a7215ced0,az=x"
	for _, entry := range []string{
		"vendor=sk-ant-api03-CANARYCANARYCANARYCANARYCANARYCANARY", "vendor=password:CANARY", "password=CANARY", "x=a;token=CANARY",
		"vendor=Bearer CANARYCANARYCANARY", "ghp_abcdefghijklmnopqrstuvwxyz0123456789=CANARY",
		"v=eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.CANARYNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
	} {
		key, value, found := strings.Cut(entry, "=")
		state, err := trace.ParseTraceState(other)
		if err != nil {
			t.Fatal(err)
		}
		dirty, err := state.Insert(key, value)
		if err != nil && found && strings.Contains(value, "=") { // no tracestate can say that
			dirty, err = state.Insert(key, strings.ReplaceAll(value, "=", ":"))
		}
		if err != nil {
			t.Fatalf("%s: %v", entry, err)
		}
		for _, remote := range []bool{true, false} {
			sc := trace.NewSpanContext(trace.SpanContextConfig{
				TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled | trace.FlagsRandom, TraceState: dirty, Remote: remote,
			})
			capture := telemetrytest.New(t)
			r := newRecorder(capture)
			o := &operation.Operation{}
			r.Init(o, trace.ContextWithSpanContext(t.Context(), sc), operation.RoleServer)
			o.Method.Text, o.Transport, o.Stage = "ping", semconv.OTelMCPTransportOther, semconv.OTelMCPStageHandler
			o.Begin(sc)
			o.AddLink(sc)
			inner := trace.SpanContextFromContext(o.Context)
			o.Finish()
			span := capture.SpanNamed("ping")
			if span.Parent().SpanID() != sc.SpanID() || span.SpanContext().TraceID() != sc.TraceID() || span.Parent().IsRemote() != remote ||
				!span.SpanContext().IsSampled() {
				t.Errorf("%s: the trace does not go on: %v", entry, span.Parent())
			}
			states := []trace.TraceState{span.Parent().TraceState(), span.SpanContext().TraceState(), inner.TraceState()}
			for _, l := range span.Links() {
				states = append(states, l.SpanContext.TraceState())
			}
			if len(states) != 5 {
				t.Errorf("%d links", len(states)-3)
			}
			for n, s := range states {
				if s.String() != state.String() {
					t.Errorf("%s: tracestate %d is %q", entry, n, s)
				}
			}

			// Without a span of our own what is remote is what handlers send on, and a span around stays theirs.
			silent := &operation.Operation{Silent: true}
			r.Init(silent, trace.ContextWithSpanContext(t.Context(), sc), operation.RoleServer)
			silent.Method.Text = "ping"
			silent.Begin()
			if got := trace.SpanContextFromContext(silent.Context).TraceState().String(); remote != (got == state.String()) {
				t.Errorf("%s: remote %v: a handler has %q", entry, remote, got)
			}
		}
	}
}

// Where there is no tracestate, or none that is to be changed, the context is what it was.
func TestTraceStateCostsNothing(t *testing.T) {
	r := newRecorder(telemetrytest.New(t))
	plain := trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}}))
	for _, ctx := range []context.Context{t.Context(), plain} {
		if n := testing.AllocsPerRun(100, func() {
			if r.SafeTrace(ctx) != ctx {
				t.Error("another context")
			}
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

// The operator's scrubber sees the entries of a tracestate, and one that it would change goes.
func TestScrubberSeesTraceState(t *testing.T) {
	r := newRecorder(telemetrytest.New(t), func(c *operation.Config) {
		c.Scrub = func(key, value string) string {
			if key == "tracestate" && strings.Contains(value, "acme") {
				return "no"
			}
			return value
		}
	})
	state, err := trace.ParseTraceState("a=acme-1,b=2")
	if err != nil {
		t.Fatal(err)
	}
	ctx := trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceState: state,
	}))
	if got := trace.SpanContextFromContext(r.SafeTrace(ctx)).TraceState().String(); got != "b=2" {
		t.Errorf("tracestate is %q", got)
	}
}
