// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Tasks: a tools/call that became one is answered before its tool has run, so
// the messages that ask for the task later link to the call that made it.

import (
	"strings"
	"sync"

	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// maxTasks bounds the table. mcp-go tells nobody when a task is forgotten, so
// the oldest one makes room. A task whose id or whose tool's name is longer than
// operation.MaxName is not remembered: mcp-go's own ids are short.
const maxTasks = 4096

type task struct {
	tool operation.Name
	call trace.SpanContext
}

type taskTable struct {
	mu   sync.Mutex
	m    map[string]task
	ring []string // ids in order of arrival, for making room
	next int
}

// add remembers that the call m became the task id.
func (t *taskTable) add(i *Instrumentation, id string, m *message) {
	if len(id) > operation.MaxName || len(m.Tool.Text) > operation.MaxName {
		i.rec.Refuse(semconv.OTelMCPRefusedReasonTaskTable)
		return
	}
	id = strings.Clone(id)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = make(map[string]task)
	}
	if len(t.ring) < maxTasks {
		t.ring = append(t.ring, id)
	} else {
		delete(t.m, t.ring[t.next])
		t.ring[t.next] = id
		t.next = (t.next + 1) % maxTasks
		i.rec.Refuse(semconv.OTelMCPRefusedReasonTaskTable)
	}
	t.m[id] = task{tool: m.Tool, call: m.SpanContext()}
}

// link names the tool of the task id on m, and links m to the call that made
// the task.
func (t *taskTable) link(m *message, id string) {
	t.mu.Lock()
	made, ok := t.m[id]
	t.mu.Unlock()
	if !ok {
		return
	}
	m.Tool = made.tool
	m.AddLink(made.call)
}
