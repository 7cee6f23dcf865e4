// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package definition tells when a tool, prompt or resource that a server
// offers appears, disappears or changes under the same name: the way a tool is
// poisoned after it was approved.
package definition

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/gowebpki/jcs"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/scrub"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// Max bounds a table; definitions beyond it are not watched, and counted as
// refused.
const Max = 10000

// Definition is one thing that a server offers, as it was last seen.
type Definition[T any] struct {
	Value  T
	digest func() string
}

// Digest is "sha256:" and the hex digest of the definition's canonical JSON,
// or "" when it has none. It is computed once, when first asked for.
func (d *Definition[T]) Digest() string { return d.digest() }

// Report says which changes a Table tells of.
type Report uint8

const (
	// All is for what can be seen at any time, all at once.
	All Report = iota
	// Changes is for what is seen one at a time, so that a first sight does not
	// mean that it is new.
	Changes
	// None is for what changes from one client to the next.
	None
)

// Table remembers the definitions of one kind and reports what became of them.
// Reading is lock-free. It is safe for concurrent use.
type Table[T any] struct {
	Kind   string // an otelmcp.definition.kind value
	Report Report
	// Same reports, cheaply, that a and b cannot differ in their digest.
	Same func(a, b *T) bool
	// Canonical returns the JSON whose RFC 8785 form is digested.
	Canonical func(*T) ([]byte, error)
	// Prepare, if set, completes a value that is about to be remembered.
	Prepare func(*T)

	rec *operation.Recorder
	m   atomic.Pointer[map[string]*Definition[T]]
	mu  sync.Mutex // serializes replacement of m

	generation atomic.Uint64
}

// change is a difference that was found, to be reported without the lock: the
// operator's processors may call back.
type change[T any] struct {
	name    string
	was, is *Definition[T]
}

// Attach sets where the table reports. It is called once, before use.
func (t *Table[T]) Attach(rec *operation.Recorder) *Table[T] {
	t.rec = rec
	return t
}

func (t *Table[T]) load() map[string]*Definition[T] {
	if m := t.m.Load(); m != nil {
		return *m
	}
	return nil
}

// Generation counts the changes of what the table holds.
func (t *Table[T]) Generation() uint64 { return t.generation.Load() }

// store replaces what the table holds; t.mu is held.
func (t *Table[T]) store(next map[string]*Definition[T]) {
	t.m.Store(&next)
	t.generation.Add(1)
}

// Get returns the definition that was last seen under name, or nil.
func (t *Table[T]) Get(name string) *Definition[T] { return t.load()[name] }

// Len is how many definitions the table holds.
func (t *Table[T]) Len() int { return len(t.load()) }

// Replace makes the table hold all, and reports each difference. The first call
// only remembers: what a server offers when it starts to serve is no change.
func (t *Table[T]) Replace(ctx context.Context, all map[string]T) {
	changes, refused := t.replace(all)
	for range refused {
		t.rec.Refuse(semconv.OTelMCPRefusedReasonDefinitionTable)
	}
	t.tell(ctx, changes)
}

func (t *Table[T]) replace(all map[string]T) (changes []change[T], refused int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := t.m.Load() == nil
	old := t.load()
	next := make(map[string]*Definition[T], min(len(all), Max))
	differ := first
	// Those that are known come first, so that a full table stays as it is.
	for name, was := range old {
		v, still := all[name]
		switch {
		case !still:
			changes = append(changes, change[T]{name, was, nil})
		case t.Same(&was.Value, &v):
			next[name] = was
			continue
		default:
			next[name] = t.define(v)
			changes = append(changes, change[T]{name, was, next[name]})
		}
		differ = true
	}
	for name, v := range all {
		if _, known := next[name]; known {
			continue
		}
		if len(next) >= Max {
			refused++
			continue
		}
		next[name] = t.define(v)
		differ = true
		if !first {
			changes = append(changes, change[T]{name, nil, next[name]})
		}
	}
	if differ {
		t.store(next)
	}
	return changes, refused
}

// See makes the table hold v under name, reports a change, and returns the
// definition. It returns nil when the table is full.
func (t *Table[T]) See(ctx context.Context, name string, v *T) *Definition[T] {
	if was := t.Get(name); was != nil && t.Same(&was.Value, v) {
		return was
	}
	is, changes := t.see(name, v)
	if is == nil {
		t.rec.Refuse(semconv.OTelMCPRefusedReasonDefinitionTable)
	}
	t.tell(ctx, changes)
	return is
}

func (t *Table[T]) see(name string, v *T) (*Definition[T], []change[T]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.Get(name)
	if was != nil && t.Same(&was.Value, v) {
		return was, nil // somebody else was faster
	}
	if was == nil && t.Len() >= Max {
		return nil, nil
	}
	is := t.define(*v)
	next := maps.Clone(t.load())
	if next == nil {
		next = make(map[string]*Definition[T], 1)
	}
	next[name] = is
	t.store(next)
	if was == nil && t.Report != All {
		return is, nil
	}
	return is, []change[T]{{name, was, is}}
}

// Gone makes the table forget name and reports that it disappeared.
func (t *Table[T]) Gone(ctx context.Context, name string) {
	if was := t.forget(name); was != nil {
		t.tell(ctx, []change[T]{{name, was, nil}})
	}
}

func (t *Table[T]) forget(name string) *Definition[T] {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.Get(name)
	if was != nil {
		next := maps.Clone(t.load())
		delete(next, name)
		t.store(next)
	}
	return was
}

func (t *Table[T]) tell(ctx context.Context, changes []change[T]) {
	if t.Report == None {
		return
	}
	for _, c := range changes {
		t.report(ctx, c.name, c.was, c.is)
	}
}

func (t *Table[T]) define(v T) *Definition[T] {
	d := &Definition[T]{Value: v}
	if t.Prepare != nil {
		t.Prepare(&d.Value)
	}
	d.digest = sync.OnceValue(func() string { return t.digest(&d.Value) })
	return d
}

// digest may run code of the program's (a schema's MarshalJSON), so it must
// survive a panic.
func (t *Table[T]) digest(v *T) (s string) {
	defer t.rec.Guard()
	raw, err := t.Canonical(v)
	if err != nil {
		return ""
	}
	canonical, err := jcs.Transform(raw)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(canonical)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (t *Table[T]) report(ctx context.Context, name string, was, is *Definition[T]) {
	if t.Kind == semconv.OTelMCPDefinitionKindResource {
		name = scrub.URI(name, operation.MaxURI)
	} else {
		name = scrub.Name(name, operation.MaxName)
	}
	name = t.rec.Clean(semconv.OTelMCPDefinitionNameKey, name)
	attrs := []attribute.KeyValue{
		semconv.OTelMCPDefinitionKindKey.String(t.Kind),
		semconv.OTelMCPDefinitionNameKey.String(name),
	}
	var change, before, after string
	if was != nil {
		before = was.Digest()
	}
	if is != nil {
		after = is.Digest()
	}
	switch {
	case was == nil:
		change = semconv.OTelMCPDefinitionChangeAdded
	case is == nil:
		change = semconv.OTelMCPDefinitionChangeRemoved
	case before == after:
		return // another value, the same definition
	default:
		change = semconv.OTelMCPDefinitionChangeChanged
	}
	attrs = append(attrs, semconv.OTelMCPDefinitionChangeKey.String(change))
	if before != "" {
		attrs = append(attrs, semconv.OTelMCPDefinitionDigestOldKey.String(before))
	}
	if after != "" {
		attrs = append(attrs, semconv.OTelMCPDefinitionDigestNewKey.String(after))
	}
	t.rec.Emit(ctx, operation.Event{
		Name:       semconv.OTelMCPDefinitionChangedEventName,
		Severity:   log.SeverityWarn,
		Body:       t.Kind + " " + name + " " + change,
		Attributes: attrs,
	})
}

// Pick returns the JSON object raw with only the named members.
func Pick(raw []byte, members ...string) ([]byte, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, err
	}
	picked := make(map[string]json.RawMessage, len(members))
	for _, m := range members {
		if v, ok := all[m]; ok {
			picked[m] = v
		}
	}
	return json.Marshal(picked)
}
