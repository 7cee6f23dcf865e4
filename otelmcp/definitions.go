// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// What the server offers, compared with what it offered before. mcp-go tells
// nobody when a definition changes, so it is looked at when a client lists
// definitions or calls a tool.

import (
	"context"
	"reflect"
	"sync"
	"unsafe"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/definition"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// tool is a tool's definition and what calls need of it. Its JSON is the definition's, whose
// MarshalJSON it inherits.
type tool struct {
	mcp.Tool
	arguments *arguments // set when the table takes the tool
}

func newToolTable(report definition.Report) *definition.Table[tool] {
	return &definition.Table[tool]{
		Kind:    semconv.OTelMCPDefinitionKindTool,
		Report:  report,
		Prepare: func(t *tool) { t.arguments = argumentsOf(&t.Tool) },
		Same:    func(a, b *tool) bool { return sameTool(&a.Tool, &b.Tool) },
		Members: []string{"name", "description", "inputSchema", "outputSchema", "annotations"},
	}
}

func newPromptTable() *definition.Table[mcp.Prompt] {
	return &definition.Table[mcp.Prompt]{Kind: semconv.OTelMCPDefinitionKindPrompt, Same: samePrompt}
}

func newResourceTable() *definition.Table[mcp.Resource] {
	return &definition.Table[mcp.Resource]{Kind: semconv.OTelMCPDefinitionKindResource, Same: sameResource}
}

// sameTool reports that two definitions are built from the same parts, as do samePrompt
// and sameResource. False costs a digest; true must not hide a change. A program
// that changes a schema in place, which mcp-go reads without a lock, is not
// seen.
func sameTool(a, b *mcp.Tool) bool {
	return a.Name == b.Name && a.Title == b.Title && a.Description == b.Description &&
		sameSchema((*mcp.ToolArgumentsSchema)(&a.InputSchema), (*mcp.ToolArgumentsSchema)(&b.InputSchema)) &&
		sameSchema((*mcp.ToolArgumentsSchema)(&a.OutputSchema), (*mcp.ToolArgumentsSchema)(&b.OutputSchema)) &&
		sameSlice(a.RawInputSchema, b.RawInputSchema) && sameSlice(a.RawOutputSchema, b.RawOutputSchema) &&
		a.Annotations == b.Annotations
}

func samePrompt(a, b *mcp.Prompt) bool {
	return a.Name == b.Name && a.Title == b.Title && a.Description == b.Description && a.Meta == b.Meta &&
		sameSlice(a.Arguments, b.Arguments) && sameSlice(a.Icons, b.Icons)
}

func sameResource(a, b *mcp.Resource) bool {
	return a.URI == b.URI && a.Name == b.Name && a.Title == b.Title && a.Description == b.Description &&
		a.MIMEType == b.MIMEType && a.Size == b.Size && a.Meta == b.Meta && a.Annotations == b.Annotations &&
		sameSlice(a.Icons, b.Icons)
}

func sameSchema(a, b *mcp.ToolArgumentsSchema) bool {
	return a.Type == b.Type && sameMap(a.Defs, b.Defs) && sameMap(a.Properties, b.Properties) &&
		sameSlice(a.Required, b.Required) && sameAny(a.AdditionalProperties, b.AdditionalProperties)
}

func sameSlice[T any](a, b []T) bool {
	return len(a) == len(b) && unsafe.SliceData(a) == unsafe.SliceData(b)
}

func sameMap[K comparable, V any](a, b map[K]V) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

// sameAny is for what says whether a schema allows further properties: a bool, or a
// schema in one of many forms. It compares the two words of an interface, its type
// and where its value is: values that are equal and not the same cost a digest.
func sameAny(a, b any) bool {
	return *(*[2]unsafe.Pointer)(unsafe.Pointer(&a)) == *(*[2]unsafe.Pointer)(unsafe.Pointer(&b))
}

// watchDefinitions remembers what the server offers as it starts to serve.
func (i *Instrumentation) watchDefinitions(ctx context.Context, srv *server.MCPServer) {
	i.replaceTools(ctx, srv)
	i.watchPrompts(ctx)
	i.watchResources(ctx)
}

func (i *Instrumentation) replaceTools(ctx context.Context, srv *server.MCPServer) {
	i.tools.Replace(ctx, listed(srv.ListTools, func(t *server.ServerTool) tool { return tool{Tool: t.Tool} }))
}

// listed returns what lists the definitions in what mcp-go lists.
func listed[S, T any](list func() map[string]S, of func(S) T) func() map[string]T {
	return func() map[string]T {
		all := list()
		definitions := make(map[string]T, len(all))
		for name, s := range all {
			definitions[name] = of(s)
		}
		return definitions
	}
}

// watchTools compares the tools that a client was just given with those that
// are remembered. Copying the server's registry is only worth it where the two
// differ.
func (i *Instrumentation) watchTools(ctx context.Context, listed []mcp.Tool) {
	srv := server.ServerFromContext(ctx)
	if srv == nil {
		return
	}
	same := true
	for k := range listed {
		t := &listed[k]
		known := i.tools.Get(t.Name)
		if known == nil {
			known = i.taskTools.Get(t.Name)
		}
		if known == nil || !sameTool(&known.Value.Tool, t) {
			same = false
			break
		}
	}
	if same && (len(listed) == i.tools.Len()+i.taskTools.Len() || i.listedTools.expected(len(listed), i.tools.Generation())) {
		return
	}
	i.replaceTools(ctx, srv)
	own := sessionTools(ctx)
	for k := range listed {
		// Listed, not the server's, not the session's: a task tool, which mcp-go
		// shows nowhere else.
		t := &listed[k]
		if _, ok := own[t.Name]; !ok && i.tools.Get(t.Name) == nil {
			i.taskTools.See(ctx, t.Name, &tool{Tool: *t})
		}
	}
	if same {
		i.listedTools.expect(len(listed), i.tools.Generation())
	}
}

// listLengths remembers how many definitions lists showed that were shorter
// than what the server offers, and found no change: a filter hides some, or a
// page ends. It holds as long as the definitions stay the same.
type listLengths struct {
	m sync.Map // length → the table's generation
}

func (l *listLengths) expected(length int, generation uint64) bool {
	was, ok := l.m.Load(length)
	return ok && was == generation
}

// expect bounds itself: no list is longer than the table.
func (l *listLengths) expect(length int, generation uint64) { l.m.Store(length, generation) }

func sessionTools(ctx context.Context) map[string]server.ServerTool {
	if s, ok := server.ClientSessionFromContext(ctx).(server.SessionWithTools); ok {
		return s.GetSessionTools()
	}
	return nil
}

// lookupTool returns the definition of the tool that a call by name would
// reach, and notices when it changed. It returns nil for a name that is no
// tool's, or whose definition is not to be had.
func (i *Instrumentation) lookupTool(ctx context.Context, name string) *definition.Definition[tool] {
	if own, ok := sessionTools(ctx)[name]; ok {
		i.coverage.sawSessionTool(i)
		return i.sessionTools.See(ctx, name, &tool{Tool: own.Tool})
	}
	srv := server.ServerFromContext(ctx)
	if srv == nil {
		return nil
	}
	t := srv.GetTool(name)
	if t == nil {
		return i.taskTools.Get(name)
	}
	if known := i.tools.Get(name); known != nil && sameTool(&known.Value.Tool, &t.Tool) {
		return known
	}
	return i.tools.See(ctx, name, &tool{Tool: t.Tool})
}

// sawTaskTool remembers the name of a task tool that was called. Its
// definition is not to be had from mcp-go until a client lists it.
func (i *Instrumentation) sawTaskTool(ctx context.Context, name string) {
	srv := server.ServerFromContext(ctx)
	if srv == nil || srv.GetTool(name) != nil || i.taskTools.Get(name) != nil {
		return
	}
	if _, own := sessionTools(ctx)[name]; !own {
		i.taskNames.admit(i.rec, name)
	}
}

func (i *Instrumentation) watchPrompts(ctx context.Context) {
	srv := server.ServerFromContext(ctx)
	if srv == nil {
		return
	}
	i.prompts.Replace(ctx, listed(srv.ListPrompts, func(p *server.ServerPrompt) mcp.Prompt { return p.Prompt }))
}

func (i *Instrumentation) watchResources(ctx context.Context) {
	srv := server.ServerFromContext(ctx)
	if srv == nil {
		return
	}
	i.resources.Replace(ctx, listed(srv.ListResources, func(r *server.ServerResource) mcp.Resource { return r.Resource }))
}
