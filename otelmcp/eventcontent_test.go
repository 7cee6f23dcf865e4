// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Content on events, and the text of tool errors: what an operator asked for is there on either side, over every
// transport and without a sampled span, and nothing else is.

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// aboutTarget is what the one event about the tool, the prompt or the method says. A server can record a message when its answer is
// out already.
func aboutTarget(t *testing.T, c *telemetrytest.Capture, target string) said {
	t.Helper()
	var found []said
	eventually(t, func() bool {
		found = nil
		events := c.EventsNamed(semconv.OTelMCPOperationEventName)
		for k := range events {
			if e := event(events[k]); e["gen_ai.tool.name"] == target || e["gen_ai.prompt.name"] == target || e["mcp.method.name"] == target {
				found = append(found, e)
			}
		}
		return len(found) > 0
	})
	return only(t, found)
}

// contentOf is the content that it has.
func contentOf(t *testing.T, c *telemetrytest.Capture, target string) map[string]string {
	t.Helper()
	has := map[string]string{}
	for key, v := range aboutTarget(t, c, target) {
		for _, prefix := range []string{"gen_ai.tool.call.", "gen_ai.prompt.variable", "otelmcp.tool.argument.", "otelmcp.prompt.", "otelmcp.content."} {
			if strings.HasPrefix(string(key), prefix) {
				has[string(key)] = v
			}
		}
	}
	return has
}

// errorOf is the error that the one event about the tool has.
func errorOf(t *testing.T, c *telemetrytest.Capture, tool string) string {
	t.Helper()
	return aboutTarget(t, c, tool)["otelmcp.operation.error.message"]
}

func TestContentOnEvents(t *testing.T) {
	const all = otelmcp.Arguments | otelmcp.Results | otelmcp.PromptVariables
	const call, prompt = `{"name":"echo","arguments":{"text":"tell nobody, password=hunter2","lang":"en","n":[1,{"a":null}]}}`,
		`{"name":"greet","arguments":{"who":"nobody","api_key":"hunter2"}}`
	const arguments = `{"lang":"en","n":[1,{"a":null}],"text":"tell nobody, password=[REDACTED]"}`
	type content = map[string]string
	for name, c := range map[string]struct {
		options      []otelmcp.Option
		call, prompt content
	}{
		"nothing":           {},
		"content on spans":  {options: []otelmcp.Option{otelmcp.WithContentCapture(all)}},
		"no kind":           {options: []otelmcp.Option{otelmcp.WithContentOnEvents(0)}},
		"arguments":         {options: []otelmcp.Option{otelmcp.WithContentOnEvents(otelmcp.Arguments)}, call: content{"gen_ai.tool.call.arguments": arguments}},
		"results":           {options: []otelmcp.Option{otelmcp.WithContentOnEvents(otelmcp.Results)}, call: content{"gen_ai.tool.call.result": `[{"text":"tell nobody, password=[REDACTED]","type":"text"}]`}},
		"prompt variables":  {options: []otelmcp.Option{otelmcp.WithContentOnEvents(otelmcp.PromptVariables)}, prompt: content{"otelmcp.prompt.variables": `{"api_key":"[REDACTED]","who":"nobody"}`}},
		"another tool":      {options: []otelmcp.Option{otelmcp.WithContentOnEvents(all, otelmcp.ForTools("strict"))}},
		"no tool":           {options: []otelmcp.Option{otelmcp.WithContentOnEvents(all, otelmcp.ForTools())}},
		"no argument":       {options: []otelmcp.Option{otelmcp.WithContentOnEvents(otelmcp.Arguments|otelmcp.PromptVariables, otelmcp.OnlyArguments())}},
		"one argument":      {options: []otelmcp.Option{otelmcp.WithContentOnEvents(all&^otelmcp.Results, otelmcp.OnlyArguments("lang", "absent"))}, call: content{"otelmcp.tool.argument.lang": "en"}},
		"a variable":        {options: []otelmcp.Option{otelmcp.WithContentOnEvents(all&^otelmcp.Results, otelmcp.OnlyArguments("who"))}, prompt: content{"gen_ai.prompt.variable.who": "nobody"}},
		"a secret variable": {options: []otelmcp.Option{otelmcp.WithContentOnEvents(otelmcp.PromptVariables, otelmcp.OnlyArguments("api_key"))}, prompt: content{"gen_ai.prompt.variable.api_key": "[REDACTED]"}},
		"arguments of a tool, and no variables": {
			options: []otelmcp.Option{otelmcp.WithContentOnEvents(otelmcp.Arguments|otelmcp.PromptVariables, otelmcp.ForTools("strict", "echo"), otelmcp.OnlyArguments("text", "n", "who"))},
			call:    content{"otelmcp.tool.argument.text": "tell nobody, password=[REDACTED]", "otelmcp.tool.argument.n": `[1,{"a":null}]`},
		},
		"several scopes, which add up": {
			options: []otelmcp.Option{
				otelmcp.WithContentOnEvents(otelmcp.Arguments, otelmcp.ForTools("strict"), otelmcp.OnlyArguments("text")),
				otelmcp.WithContentOnEvents(otelmcp.Arguments, otelmcp.ForTools("echo"), otelmcp.OnlyArguments("lang"), otelmcp.OnlyArguments("n")),
				otelmcp.WithContentOnEvents(otelmcp.Arguments, otelmcp.ForTools("echo"), otelmcp.ForTools("fails")),
				otelmcp.WithContentOnEvents(otelmcp.PromptVariables, otelmcp.OnlyArguments("who", "lang")),
			},
			call:   content{"gen_ai.tool.call.arguments": arguments, "otelmcp.tool.argument.lang": "en", "otelmcp.tool.argument.n": `[1,{"a":null}]`},
			prompt: content{"gen_ai.prompt.variable.who": "nobody"},
		},
		"spans and events": {
			options: []otelmcp.Option{otelmcp.WithContentCapture(all), otelmcp.WithContentOnEvents(otelmcp.Arguments, otelmcp.OnlyArguments("lang"))},
			call:    content{"otelmcp.tool.argument.lang": "en"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, capture := instrumented(t, c.options...)
			p := connect(t, s.MCPServer, direct, modern)
			p.call(t.Context(), "tools/call", call)
			p.call(t.Context(), "prompts/get", prompt)
			for target, want := range map[string]content{"echo": c.call, "greet": c.prompt} {
				if got := contentOf(t, capture, target); !maps.Equal(got, want) {
					t.Errorf("%s has\n%v, want\n%v", target, got, want)
				}
			}
			for _, span := range capture.Spans() {
				if _, has := attr(span, "otelmcp.tool.argument.lang"); has {
					t.Error("a span has what is for events")
				}
			}
			leaksNothing(t, capture, "hunter2")
		})
	}
}

// audit is what a program asks for that wants to know which files were read, and why not.
var audit = []otelmcp.Option{
	otelmcp.WithContentOnEvents(otelmcp.Arguments, otelmcp.OnlyArguments("text")), otelmcp.WithErrorText(),
}

// On both sides, and no less so without a sampled span or where the messages are filtered out.
func TestContentOnEventsEverywhere(t *testing.T) {
	quiet := otelmcp.WithFilter(func(context.Context, string) bool { return false })
	for _, l := range links {
		t.Run(l.String(), func(t *testing.T) {
			checkLeaks(t)
			atServer, atClient := telemetrytest.New(t, telemetrytest.WithSampler(sdktrace.NeverSample())), telemetrytest.New(t, telemetrytest.WithSampler(sdktrace.NeverSample()))
			s := newEverything()
			i := otelmcp.Instrument(s.MCPServer, into(atServer, append(audit, quiet)...)...)
			if l.over != inProcess {
				l.through = i
			}
			l.wrap = observedBy(atClient, audit...)
			c := connectClient(t, s.MCPServer, l)
			if _, err := callTool(t.Context(), c, "echo", map[string]any{"text": "a.txt", "lang": "secret"}); err != nil {
				t.Error(err)
			}
			if r, err := callTool(t.Context(), c, "fails", map[string]any{"text": map[string]any{"b": 1}}); err != nil || !r.IsError {
				t.Errorf("%v, %v", r, err)
			}
			for side, capture := range map[string]*telemetrytest.Capture{"server": atServer, "client": atClient} {
				if got := contentOf(t, capture, "echo"); !maps.Equal(got, map[string]string{"otelmcp.tool.argument.text": "a.txt"}) {
					t.Errorf("the %s has %v", side, got)
				}
				if got := contentOf(t, capture, "fails"); !maps.Equal(got, map[string]string{"otelmcp.tool.argument.text": `{"b":1}`}) {
					t.Errorf("the %s has %v", side, got)
				}
				if got := errorOf(t, capture, "fails"); got != "no such file, password=[REDACTED]" {
					t.Errorf("the %s has the error %q", side, got)
				}
				leaksNothing(t, capture, "hunter2", `"secret"`)
			}
		})
	}
}

// Over the transports as they are spoken by others than mcp-go's client.
func TestContentOnEventsOfRawMessages(t *testing.T) {
	for _, over := range []string{stdio, streamable, sse, inProcess, direct} {
		for _, e := range []era{legacy, modern} {
			if over == sse && e == modern {
				continue // HTTP+SSE has no newest version
			}
			t.Run(over+"/"+e.String(), func(t *testing.T) {
				s, capture := instrumented(t, audit...)
				p := connect(t, s.MCPServer, over, e)
				p.tool(t.Context(), "echo", `{"text":"first","lang":"secret","text":"last"}`)
				p.tool(t.Context(), "hidden", `{"text":"of a hidden tool"}`)
				p.tool(t.Context(), "fails", `["no object"]`)
				p.close()
				for tool, want := range map[string]map[string]string{
					"echo": {"otelmcp.tool.argument.text": "last"}, "hidden": {"otelmcp.tool.argument.text": "of a hidden tool"}, "fails": {},
				} {
					if got := contentOf(t, capture, tool); !maps.Equal(got, want) {
						t.Errorf("%s has %v", tool, got)
					}
				}
			})
		}
	}
}

// The text of a tool's error stands on span and event, and nothing else of results does.
func TestErrorText(t *testing.T) {
	for name, c := range map[string]struct {
		options []otelmcp.Option
		want    string
	}{
		"nothing":             {nil, ""},
		"arguments on events": {[]otelmcp.Option{otelmcp.WithContentOnEvents(otelmcp.Arguments)}, ""},
		"results on events":   {[]otelmcp.Option{otelmcp.WithContentOnEvents(otelmcp.Results)}, ""}, // they are there as results
		"results on spans":    {[]otelmcp.Option{otelmcp.WithContentCapture(otelmcp.Results)}, "no such file, password=[REDACTED]"},
		"the text of errors":  {[]otelmcp.Option{otelmcp.WithErrorText()}, "no such file, password=[REDACTED]"},
	} {
		t.Run(name, func(t *testing.T) {
			s, atServer := instrumented(t, c.options...)
			atClient := telemetrytest.New(t)
			cl := connectClient(t, s.MCPServer, link{over: inProcess, era: modern, wrap: observedBy(atClient, c.options...)})
			if _, err := cl.ListTools(t.Context(), mcp.ListToolsRequest{}); err != nil { // names on spans are those that were listed
				t.Error(err)
			}
			if _, err := callTool(t.Context(), cl, "fails", nil); err != nil {
				t.Error(err)
			}
			if _, err := callTool(t.Context(), cl, "echo", map[string]any{"text": "a result"}); err != nil {
				t.Error(err)
			}
			for side, capture := range map[string]*telemetrytest.Capture{"server": atServer, "client": atClient} {
				if got := errorOf(t, capture, "fails"); got != c.want {
					t.Errorf("the event of the %s says %q", side, got)
				}
				wantStatus := c.want
				if wantStatus == "" {
					wantStatus = "tool_error"
				}
				span := capture.SpanNamed("tools/call fails")
				if got := span.Status().Description; got != wantStatus {
					t.Errorf("the span of the %s says %q", side, got)
				}
				if name == "the text of errors" {
					leaksNothing(t, capture, "a result", "hunter2")
					if _, has := attr(span, semconv.GenAIToolCallResultKey); has {
						t.Errorf("the span of the %s has the result", side)
					}
				}
			}
		})
	}
}

// What a peer sends to harm does not get onto an event, nor makes it large, nor chooses a key.
func TestHostileContentOnEvents(t *testing.T) {
	deep := strings.Repeat(`{"text":[`, 4000) + strings.Repeat(`]}`, 4000) // encoding/json takes 10,000 levels
	var wide strings.Builder
	for i := range 20_000 {
		wide.WriteString(`"k` + strings.Repeat("x", i%90) + codeText(i) + `":"v",`)
	}
	secret := "sk-ant-api03-CANARYCANARYCANARYCANARYCANARYCANARY password=CANARY https://u:CANARY@h/?k=CANARY"
	for name, arguments := range map[string]string{
		"1 MB":             `{"text":"` + strings.Repeat("long ", 200_000) + `"}`,
		"not UTF-8":        "{\"text\":\"a\xff\xc0b\"}",
		"lone surrogates":  `{"text":"\ud800x\udfff"}`,
		"bidi, controls":   `{"text":"a\u202eb\u2066c\u0000\u001b[31m\n\r\u2028"}`,
		"credentials":      `{"text":"` + secret + `","password":"CANARY"}`,
		"in a structure":   `{"text":{"a":["` + secret + `",{"password":"CANARY","name":"api_key","value":"CANARY"}]}}`,
		"deep":             `{"text":` + deep + `}`,
		"many arguments":   `{` + wide.String() + `"text":"here"}`,
		"keys that lie":    `{"text.x":"1","otelmcp.role":"admin","user.id":"root","text":"here","":"y"}`,
		"numbers":          `{"text":[1e308,-0.0,12345678901234567890]}`,
		"names of secrets": `{"key":"password","value":"CANARY","text":"here"}`,
	} {
		t.Run(name, func(t *testing.T) {
			for _, options := range [][]otelmcp.Option{
				{otelmcp.WithContentOnEvents(otelmcp.Arguments|otelmcp.Results, otelmcp.OnlyArguments("text", "value", "password", "key")), otelmcp.WithErrorText()},
				{otelmcp.WithContentOnEvents(otelmcp.Arguments | otelmcp.Results)},
				{otelmcp.WithContentOnEvents(otelmcp.Arguments, otelmcp.OnlyArguments("text")), otelmcp.WithScrubber(func(string, string) string { panic("scrubber") })},
			} {
				s, capture := instrumented(t, options...)
				connect(t, s.MCPServer, streamable, legacy).tool(t.Context(), "custom", arguments)
				e, total := aboutTarget(t, capture, "tools/call"), 0 // a scrubber can replace the tool's name
				for key, v := range e {
					total += len(v)
					if _, ok := visible(v); !ok || len(v) > 4096 || strings.Contains(v, "CANARY") {
						t.Errorf("%s is %q", key, clip(v))
					}
					if argument, is := strings.CutPrefix(string(key), "otelmcp.tool.argument."); is && !slices.Contains([]string{"text", "value", "password", "key"}, argument) {
						t.Errorf("the key %s", key)
					}
				}
				if e["otelmcp.role"] != "server" || e["user.id"] != "" {
					t.Errorf("the event says %v", e)
				}
				if total > 24<<10 {
					t.Errorf("%d bytes", total)
				}
			}
		})
	}
}

// The operator's scrubber is told of which argument a text is, and never of a key that a peer chose.
func TestScrubberOfContentOnEvents(t *testing.T) {
	seen := map[string]bool{}
	s, capture := instrumented(t,
		otelmcp.WithContentOnEvents(otelmcp.Arguments|otelmcp.PromptVariables, otelmcp.OnlyArguments("text", "who")),
		otelmcp.WithContentOnEvents(otelmcp.Results), otelmcp.WithErrorText(),
		otelmcp.WithScrubber(func(key, value string) string {
			seen[key] = true
			return strings.ReplaceAll(value, "Oslo", "<city>")
		}))
	p := connect(t, s.MCPServer, direct, modern)
	p.tool(t.Context(), "echo", `{"text":"rain in Oslo","evil":"x"}`)
	p.call(t.Context(), "prompts/get", `{"name":"greet","arguments":{"who":"Oslo","evil":"x"}}`)
	for key := range seen {
		if strings.Contains(key, "evil") {
			t.Errorf("the scrubber was given the key %q", key)
		}
	}
	for _, key := range []string{"otelmcp.tool.argument.text", "gen_ai.prompt.variable.who", "gen_ai.tool.call.result"} {
		if !seen[key] {
			t.Errorf("the scrubber was not asked for %s", key)
		}
	}
	if got := contentOf(t, capture, "echo"); got["otelmcp.tool.argument.text"] != "rain in <city>" || strings.Contains(got["gen_ai.tool.call.result"], "Oslo") {
		t.Errorf("%v", got)
	}
	if got := contentOf(t, capture, "greet"); got["gen_ai.prompt.variable.who"] != "<city>" {
		t.Errorf("%v", got)
	}
}

// What is recorded of an argument is what came, whatever the handler makes of it.
func TestContentOnEventsIsWhatCame(t *testing.T) {
	s, capture := instrumented(t, otelmcp.WithContentOnEvents(otelmcp.Arguments), otelmcp.WithContentOnEvents(otelmcp.Arguments, otelmcp.OnlyArguments("list")))
	s.do(func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		args := r.GetArguments()
		args["list"].([]any)[0] = "changed"
		delete(args, "list")
		return mcp.NewToolResultText(""), nil
	})
	connect(t, s.MCPServer, direct, modern).tool(t.Context(), "custom", `{"list":["sent"]}`)
	got := contentOf(t, capture, "custom")
	if got["otelmcp.tool.argument.list"] != `["sent"]` || !json.Valid([]byte(got["gen_ai.tool.call.arguments"])) || strings.Contains(got["gen_ai.tool.call.arguments"], "changed") {
		t.Errorf("%v", got)
	}
}

// What is not asked for costs nothing: the budgets hold that for servers and clients without the options. With them for
// one tool, a call of another pays no allocation.
func TestContentOnEventsOfOthersIsFree(t *testing.T) {
	measure := func(options ...otelmcp.Option) float64 {
		s := echoServer()
		otelmcp.Instrument(s, sdkPipeline(t, sdktrace.NeverSample()).options(options...)...)
		for range 100 {
			handle(t, s, echoCall)
		}
		return testing.AllocsPerRun(500, func() { handle(t, s, echoCall) })
	}
	bare := measure()
	with := measure(otelmcp.WithContentOnEvents(otelmcp.Arguments|otelmcp.Results, otelmcp.ForTools("another"), otelmcp.OnlyArguments("text")), otelmcp.WithErrorText())
	if with > bare+0.5 {
		t.Errorf("%v allocations, and %v without", with, bare)
	}
}
