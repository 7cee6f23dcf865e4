// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Which content the operator asked to see, and where: on spans, on events, and there of which tools and which arguments
// by name.

import (
	"slices"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// WithContentOnEvents records message content on the otelmcp.operation events of
// calls, for an audit trail. Sampling does not affect it, and it does not need
// [WithContentCapture], which is for spans. Scopes narrow it; without any it is for
// every tool and prompt, and for each argument.
//
// An event has content as text, since its attributes are columns: a string as it is,
// anything else as JSON, scrubbed of credentials as on spans. Arguments are the one
// attribute gen_ai.tool.call.arguments, results gen_ai.tool.call.result, the variables
// of a prompt otelmcp.prompt.variables. Arguments that [OnlyArguments] names are an
// attribute each: otelmcp.tool.argument.<name>, or gen_ai.prompt.variable.<name>, so
// that no peer chooses a key. An attribute has at most 4 KiB, and those of named
// arguments have 16 KiB together; what is cut is said where it was cut, and counted in
// otelmcp.content.truncated.
//
// It may be given more than once, with other scopes: what any of them asks for is
// recorded.
//
//	otelmcp.WithContentOnEvents(otelmcp.Arguments, otelmcp.ForTools("read_file"), otelmcp.OnlyArguments("path"))
func WithContentOnEvents(kinds Content, scopes ...ContentScope) Option {
	e := eventContent{kinds: kinds}
	for _, narrow := range scopes {
		if narrow != nil {
			narrow(&e)
		}
	}
	return optionFunc(func(c *config) { c.onEvents = append(c.onEvents, e) })
}

// ContentScope narrows what [WithContentOnEvents] records.
type ContentScope func(*eventContent)

// ForTools narrows content to calls of the tools with these names, so that none of
// prompts is recorded. Given twice, it means the names of both; without a name it means
// no tool.
func ForTools(names ...string) ContentScope {
	names = slices.Clone(names)
	return func(e *eventContent) { e.tools = e.tools.with(names) }
}

// OnlyArguments narrows arguments of tools, and variables of prompts, to those with
// these names, each as an attribute of its own. At most 64 of those that a message has
// are recorded, in the order in which they are named. Given twice, it means the names of
// both; without a name it means no argument. Results are not affected.
func OnlyArguments(names ...string) ContentScope {
	names = slices.Clone(names)
	return func(e *eventContent) { e.arguments = e.arguments.with(names) }
}

// WithErrorText records the text of a tool's error, which is the first text of a
// result that has isError set, without other results: as the status of the span and as
// otelmcp.operation.error.message of the event, scrubbed of credentials and capped at
// 512 bytes.
func WithErrorText() Option {
	return optionFunc(func(c *config) { c.errorText = true })
}

// eventContent is what one WithContentOnEvents asks for.
type eventContent struct {
	kinds     Content
	tools     *nameSet // nil is all, and prompts
	arguments *nameSet // nil is all, as one text
}

// nameSet is names in the order in which they were given.
type nameSet struct{ names []string }

func (s *nameSet) with(names []string) *nameSet {
	out := &nameSet{}
	if s != nil {
		out.names = slices.Clone(s.names)
	}
	for _, name := range names {
		if !slices.Contains(out.names, name) {
			out.names = append(out.names, name)
		}
	}
	return out
}

// asks reports whether e is about content of that kind in o.
func (e *eventContent) asks(kind Content, o *operation.Operation) bool {
	return e.kinds&kind != 0 &&
		(e.tools == nil || kind != PromptVariables && slices.Contains(e.tools.names, o.Tool.Text))
}

// memberKeys are the keys of the arguments that the operator named.
type memberKeys struct{ tool, prompt *operation.Members }

// newMemberKeys makes them for all that was asked for together, so that each name has one key.
func newMemberKeys(asked []eventContent) (k memberKeys) {
	var all *nameSet
	for _, e := range asked {
		if e.arguments != nil {
			all = all.with(e.arguments.names)
		}
	}
	if all != nil {
		k.tool = operation.NewMembers(semconv.OTelMCPToolArgumentKey, all.names)
		k.prompt = operation.NewMembers(semconv.GenAIPromptVariableKey, all.names)
	}
	return k
}

// onSpan and onEvent report where content of that kind in o is to be recorded.
func (b base) onSpan(kind Content, o *operation.Operation) bool {
	return b.cfg.content&kind != 0 && o.Recording()
}

func (b base) onEvent(kind Content, o *operation.Operation) bool {
	for i := range b.cfg.onEvents {
		if b.cfg.onEvents[i].asks(kind, o) {
			return true
		}
	}
	return false
}

func (b base) captures(kind Content, o *operation.Operation) bool {
	return b.onSpan(kind, o) || b.onEvent(kind, o)
}

// tellsErrors reports whether the text of a tool's error is to be recorded.
func (b base) tellsErrors() bool { return b.cfg.errorText || b.cfg.content&Results != 0 }

// captureArguments records the arguments of a tool call.
func (b base) captureArguments(o *operation.Operation, args map[string]any) {
	if b.onSpan(Arguments, o) {
		o.Capture(semconv.GenAIToolCallArgumentsKey, args)
	}
	b.captureOnEvent(Arguments, o, args, semconv.GenAIToolCallArgumentsKey, b.cfg.members.tool)
}

// captureVariables records the arguments of a prompt.
func (b base) captureVariables(o *operation.Operation, args map[string]any) {
	if b.onSpan(PromptVariables, o) {
		o.CaptureVariables(args)
	}
	b.captureOnEvent(PromptVariables, o, args, semconv.OTelMCPPromptVariablesKey, b.cfg.members.prompt)
}

// captureOnEvent records arguments on the event: all of them under key, those that are named, or both.
func (b base) captureOnEvent(kind Content, o *operation.Operation, args map[string]any, key attribute.Key, members *operation.Members) {
	whole, named := false, false
	for i := range b.cfg.onEvents {
		if e := &b.cfg.onEvents[i]; e.asks(kind, o) {
			whole, named = whole || e.arguments == nil, named || e.arguments != nil
		}
	}
	if whole {
		o.CaptureText(key, args)
	}
	if named {
		o.CaptureMembers(args, members, func(name string) bool {
			return slices.ContainsFunc(b.cfg.onEvents, func(e eventContent) bool {
				return e.arguments != nil && e.asks(kind, o) && slices.Contains(e.arguments.names, name)
			})
		})
	}
}

// captureResult records what a tool returned.
func (b base) captureResult(o *operation.Operation, content, structured any) {
	whole := content
	if structured != nil {
		whole = map[string]any{"content": content, "structuredContent": structured}
	}
	if b.onSpan(Results, o) {
		o.Capture(semconv.GenAIToolCallResultKey, whole)
	}
	if b.onEvent(Results, o) {
		o.CaptureText(semconv.GenAIToolCallResultKey, whole)
	}
}
