// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Tasks: a call that becomes a task is answered at once; what asks for the task
// later is a message of its own, linked to the call.

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/semconv"
)

// begin calls a tool as a task and returns the task's id.
func begin(t *testing.T, p *peer, tool string) string {
	t.Helper()
	r := p.call(t.Context(), "tools/call", fmt.Sprintf(`{"name":%q,"task":{}}`, tool))
	var made struct{ Task struct{ TaskID string } }
	if err := json.Unmarshal(r.Result, &made); err != nil || made.Task.TaskID == "" {
		t.Fatalf("no task: %+v", r)
	}
	return made.Task.TaskID
}

func TestTasks(t *testing.T) {
	for _, c := range []struct {
		about, tool, method string
		first               string // what is asked before that
		eras                []era  // both, when empty; tasks/result is gone from the modern one
		want                want
	}{
		{about: "get", tool: "later", method: "tasks/get", want: want{span: "tasks/get later"}},
		{about: "result", tool: "later", eras: []era{legacy}, method: "tasks/result", want: want{span: "tasks/result later"}},
		{
			about: "result of a task that failed", tool: "later_fails", eras: []era{legacy}, method: "tasks/result",
			want: want{
				span: "tasks/result later_fails", code: mcp.INTERNAL_ERROR, outcome: "error", errorType: "-32603",
				message: "backend said no, password=[REDACTED]",
			},
		},
		{
			about: "result of a tool that failed", tool: "hybrid", eras: []era{legacy}, method: "tasks/result",
			want: want{span: "tasks/result hybrid", outcome: "tool_error", errorType: "tool_error"},
		},
		{
			about: "cancel, too late", tool: "later", eras: []era{legacy}, first: "tasks/result", method: "tasks/cancel",
			want: want{
				span: "tasks/cancel later", code: mcp.INVALID_PARAMS, outcome: "rejected",
				message: "cannot cancel task in terminal status: completed",
			},
		},
		{about: "cancel", tool: "later_holds", method: "tasks/cancel", want: want{span: "tasks/cancel later_holds"}},
	} {
		if c.eras == nil {
			c.eras = []era{legacy, modern}
		}
		for _, over := range everywhere {
			for _, e := range c.eras {
				if over == sse && e == modern {
					continue // the modern era has no SSE
				}
				t.Run(c.about+"/"+over+"/"+e.String(), func(t *testing.T) {
					s, capture := instrumented(t)
					p := connect(t, s.MCPServer, over, e)
					capture.Reset()
					id := begin(t, p, c.tool)
					call := capture.SpanNamed("tools/call " + c.tool)
					if o, _ := attr(call, "otelmcp.outcome"); o != "ok" {
						t.Errorf("the call's outcome is %q", o)
					}
					holds := c.tool == "later_holds"
					if holds {
						recv(t, s.entered)
					}
					params := fmt.Sprintf(`{"taskId":%q}`, id)
					if c.first != "" {
						p.call(t.Context(), c.first, params)
					}
					capture.Reset()
					if r := p.call(t.Context(), c.method, params); r.code() != c.want.code || r.lost != nil {
						t.Errorf("%+v", r)
					}
					if holds {
						s.release <- struct{}{}
						recv(t, s.left)
					}
					w := c.want
					w.method, w.tool = c.method, c.tool
					w.links = []trace.SpanContext{call.SpanContext()}
					w.check(t, capture, p)
				})
			}
		}
	}
}

func TestTaskList(t *testing.T) {
	s, capture := instrumented(t)
	p := connect(t, s.MCPServer, inProcess, legacy) // gone from the modern era
	begin(t, p, "later")
	capture.Reset()
	p.call(t.Context(), "tasks/list", "")
	want{span: "tasks/list", method: "tasks/list"}.check(t, capture, p)
}

// TestTaskOutlivesCall: the tool of a task runs on after its call was recorded,
// and changes nothing of the record.
func TestTaskOutlivesCall(t *testing.T) {
	s, capture := instrumented(t)
	p := connect(t, s.MCPServer, streamable, legacy)
	id := begin(t, p, "later_waits")
	recv(t, s.entered)
	recv(t, s.left) // mcp-go ends the task's context with the request that made it
	p.call(t.Context(), "tasks/result", fmt.Sprintf(`{"taskId":%q}`, id))
	p.close()
	if o, _ := attr(capture.SpanNamed("tools/call later_waits"), "otelmcp.outcome"); o != "ok" {
		t.Errorf("the call's outcome is %q", o)
	}
	if n := len(capture.EventsNamed(semconv.OTelMCPOperationEventName)); n != 3 {
		t.Errorf("%d events, want those of initialize, tools/call and tasks/result", n)
	}
}

// TestTaskToolIsKnown: mcp-go has no way to ask for a task tool, so that its
// name is known once it was listed or called.
func TestTaskToolIsKnown(t *testing.T) {
	for about, first := range map[string]func(*testing.T, *peer){
		"listed": func(t *testing.T, p *peer) { t.Helper(); p.call(t.Context(), "tools/list", "") },
		"called": func(t *testing.T, p *peer) { t.Helper(); begin(t, p, "later") },
	} {
		t.Run(about, func(t *testing.T) {
			s, capture := instrumented(t)
			p := connect(t, s.MCPServer, inProcess, modern)
			first(t, p)
			capture.Reset()
			r := p.tool(t.Context(), "later", "") // which must be a task
			if r.code() != mcp.METHOD_NOT_FOUND {
				t.Errorf("%+v", r)
			}
			want{
				span: "tools/call later", method: "tools/call", tool: "later", size: 2, digest: about == "listed",
				code: mcp.METHOD_NOT_FOUND, outcome: "rejected", stage: "dispatch",
				message: "tool 'later' requires task augmentation",
			}.check(t, capture, p)
		})
	}
}
