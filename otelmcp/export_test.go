// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

import (
	"context"
	"iter"
	"net/netip"
	"time"

	"github.com/mark3labs/mcp-go/client/transport"
)

// What the tests, which are outside of the package, have to see of its inside.

// HTTPServersUp returns how many HTTP servers are watched for their shutdown,
// and have not begun it.
func HTTPServersUp(i *Instrumentation) int {
	n := 0
	i.edges.http.servers.Range(func(any, any) bool {
		n++
		return true
	})
	return n
}

// ConnectionsVerified returns how many connections are remembered for their client
// certificates.
func ConnectionsVerified() int {
	n := 0
	verified.Range(func(any, any) bool {
		n++
		return true
	})
	return n
}

// ServerFields says which of the private fields that are read a server has.
func ServerFields() map[string]bool {
	return map[string]bool{
		"tracer": fieldTracer.known, "propagator": fieldPropagator.known, "metaPropagator": fieldMetaPropagator.known,
		"toolFilters": fieldToolFilters.known, "promptFilters": fieldPromptFilters.known,
		"name": fieldName.known, "version": fieldVersion.known,
	}
}

// Kept are how many entries the tables of an instrumentation have.
func Kept(i *Instrumentation) map[string]int {
	n := map[string]int{}
	for range i.edges.notices.table.All() {
		n["notices"]++
	}
	for range i.edges.asked.All() {
		n["asked"]++
	}
	i.edges.http.streams.Range(func(_, v any) bool {
		a := v.(*answers)
		a.mu.Lock()
		defer a.mu.Unlock()
		n["posted"] += len(a.open)
		return true
	})
	if m := i.names.m.Load(); m != nil {
		n["names"] = len(*m)
	}
	n["tasks"] = len(i.tasks.m)
	return n
}

// NoticesHeld returns how many cancellations are remembered.
func NoticesHeld(i *Instrumentation) int { return Kept(i)["notices"] }

// AdmitNames has the names of registered tools told apart.
func AdmitNames(i *Instrumentation, names iter.Seq[string]) {
	for name := range names {
		i.names.admit(i.rec, name)
	}
}

// AddTasks remembers tasks with these ids, of calls of one tool.
func AddTasks(i *Instrumentation, tool string, ids iter.Seq[string]) {
	m := &message{}
	m.init(i, context.Background())
	m.Tool.Text = tool
	for id := range ids {
		i.tasks.add(i, id, m)
	}
}

// CombineArguments makes the attributes for n combinations of most of the arguments of a
// tool that has these, and returns what keeps them.
func CombineArguments(i *Instrumentation, names []string, n uint64) any {
	properties := map[string]struct{}{}
	for _, name := range names {
		properties[name] = struct{}{}
	}
	a := newArguments(properties)
	for mask := uint64(1); mask <= n; mask++ {
		a.named(i.rec, ^mask)
	}
	return a
}

// ListedTools returns what is known of the tools that the server of a wrapped
// transport has listed, and the bytes that the names of their arguments take.
func ListedTools(t transport.Interface) (n, bytes int) {
	m := remoteOf(t).tools.m.Load()
	for _, a := range *m {
		bytes += a.bytes()
	}
	return len(*m), bytes
}

// InputsHeld returns how many inputs a wrapped transport's server waits for.
func InputsHeld(t transport.Interface) (n int) {
	for range remoteOf(t).inputs.All() {
		n++
	}
	return n
}

// Notices are the cancellations that were asked for.
type Notices struct{ n notices }

// NewNotices returns none.
func NewNotices() *Notices { return &Notices{newNotices()} }

// Ask asks for the cancellation of a request.
func (n *Notices) Ask(session, id string, from netip.Addr) (full bool) {
	return n.n.add(n.n.key(session, id), from)
}

// Withdraw takes back what was asked for from there.
func (n *Notices) Withdraw(session, id string, from netip.Addr) {
	n.n.withdraw(n.n.key(session, id), from)
}

// Take takes who asked for the cancellation of a request that came in at since.
func (n *Notices) Take(session, id string, since time.Time) (from netip.Addr, ok bool) {
	taken, ok := n.n.take(session, id, since)
	return taken.from, ok
}

// Len is how many there are.
func (n *Notices) Len() (k int) {
	for range n.n.table.All() {
		k++
	}
	return k
}

// SetGrace sets how long ListenAndServe waits for what is in flight, and returns
// what sets it back.
func SetGrace(d time.Duration) (reset func()) {
	before := graceTime
	graceTime = d
	return func() { graceTime = before }
}

// HidePropagators has the propagators of servers and clients not be known, as where a
// version of mcp-go keeps them elsewhere, until the function that it returns is called.
func HidePropagators() (restore func()) {
	header, client := fieldPropagator, fieldClientPropagator
	fieldPropagator.known, fieldClientPropagator.known = false, false
	return func() { fieldPropagator, fieldClientPropagator = header, client }
}
