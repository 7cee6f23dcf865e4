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
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gowebpki/jcs"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// Max bounds a table in definitions, MaxBytes in bytes of their JSON, and MaxSize the
// bytes of one, so that a few leave room for others. Those beyond it are not watched,
// and counted as refused.
const (
	Max      = 10000
	MaxBytes = 32 << 20
	MaxSize  = 256 << 10
)

// overhead is what a definition counts for beside its name and its JSON.
const overhead = 1 << 10

// maxEncoding bounds how many definitions of a table are written at a time. There are
// never as many, but where writing one leads to writing it again.
const maxEncoding = 256

// Definition is one thing that a server offers, as it was last seen.
type Definition[T any] struct {
	Value  T
	size   int // bytes that it counts for
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
	// Same reports, cheaply, that a and b cannot differ in their digest. What a and b
	// refer to it must not read: a may have been replaced, and then its parts
	// are the program's again, to change as it likes.
	Same func(a, b *T) bool
	// Members are those of the definition's JSON that are digested, in the form of
	// RFC 8785; all when there are none.
	Members []string
	// Prepare, if set, completes a value that is about to be remembered.
	Prepare func(*T)

	rec *operation.Recorder
	m   atomic.Pointer[map[string]*Definition[T]]

	mu     sync.Mutex // serializes replacement of m
	served bool       // it has held all that there is

	generation atomic.Uint64
	encoding   atomic.Int32
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

// Replace makes the table hold all that offered returns, and reports each difference.
// The first call only remembers: what a server offers when it starts to serve is no
// change. It asks again when somebody else changed the table: what it was told before
// may be older than what they saw.
func (t *Table[T]) Replace(ctx context.Context, offered func() map[string]T) {
	var made map[string]*Definition[T]
	var changes []change[T]
	var refused int
	for done := false; !done; {
		seen := t.Generation()
		all := offered()
		made = t.defineNew(made, all)
		changes, refused, done = t.replace(seen, made, all)
	}
	for range refused {
		t.rec.Refuse(semconv.OTelMCPRefusedReasonDefinitionTable)
	}
	t.tell(ctx, changes)
}

// defineNew adds to made what of all the table does not hold as it is, as far as there is
// room for it. Those that are known come first, so that a full table stays as it is.
func (t *Table[T]) defineNew(made map[string]*Definition[T], all map[string]T) map[string]*Definition[T] {
	old := t.load()
	room, bytes := Max, 0
	for name := range old {
		if _, still := all[name]; still {
			room--
		}
	}
	for name, v := range all {
		was := old[name]
		switch {
		case was != nil && t.Same(&was.Value, &v), was == nil && room == 0, bytes > MaxBytes:
			continue
		case was == nil:
			room--
		}
		if d := made[name]; d != nil && t.Same(&d.Value, &v) {
			bytes += d.size
			continue
		}
		if made == nil {
			made = make(map[string]*Definition[T])
		}
		d := t.define(name, v)
		if was == nil && d.size > MaxSize {
			continue
		}
		made[name] = d
		bytes += d.size
	}
	return made
}

// replace does nothing if the table is of another generation than made.
func (t *Table[T]) replace(seen uint64, made map[string]*Definition[T], all map[string]T,
) (changes []change[T], refused int, done bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.Generation() != seen {
		return nil, 0, false
	}
	first := !t.served
	t.served = true
	old := t.load()
	next := make(map[string]*Definition[T], min(len(all), Max))
	bytes := 0
	keep := func(name string, is *Definition[T]) (kept bool) {
		if kept = is.size <= MaxSize && bytes+is.size <= MaxBytes; kept {
			next[name] = is
			bytes += is.size
		}
		return kept
	}
	differ := first
	for name, was := range old {
		v, still := all[name]
		switch {
		case !still:
			changes = append(changes, change[T]{name, was, nil})
		case t.Same(&was.Value, &v):
			keep(name, was) // there was room for all of them
			continue
		case made[name] == nil: // there was no room for it, and there is none now
		default:
			changes = append(changes, change[T]{name, was, made[name]})
		}
		differ = true
	}
	for name := range all {
		if _, known := next[name]; known {
			continue
		}
		if made[name] == nil || len(next) >= Max || !keep(name, made[name]) {
			refused++
			continue
		}
		differ = true
		if !first && old[name] == nil { // else it has changed
			changes = append(changes, change[T]{name, nil, next[name]})
		}
	}
	if differ {
		t.store(next)
	}
	return changes, refused, true
}

// See makes the table hold v under name, reports a change, and returns the
// definition. It returns nil when the table is full. Before the first Replace a
// first sight is no change.
func (t *Table[T]) See(ctx context.Context, name string, v *T) *Definition[T] {
	if was := t.Get(name); was != nil && t.Same(&was.Value, v) {
		return was
	}
	var is *Definition[T]
	var changes []change[T]
	if t.room(name) {
		is, changes = t.see(name, t.define(name, *v))
	}
	if is == nil {
		t.rec.Refuse(semconv.OTelMCPRefusedReasonDefinitionTable)
	}
	t.tell(ctx, changes)
	return is
}

// room reports whether there is any for name.
func (t *Table[T]) room(name string) bool { return t.Get(name) != nil || t.Len() < Max }

func (t *Table[T]) see(name string, is *Definition[T]) (*Definition[T], []change[T]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.Get(name)
	if was != nil && t.Same(&was.Value, &is.Value) {
		return was, nil // somebody else was faster
	}
	if !t.room(name) {
		return nil, nil
	}
	next, bytes := maps.Clone(t.load()), is.size
	if next == nil {
		next = make(map[string]*Definition[T], 1)
	}
	for other, d := range next {
		if other != name {
			bytes += d.size
		}
	}
	kept := is
	if is.size <= MaxSize && bytes <= MaxBytes {
		next[name] = is
	} else { // what was known under the name is out of date
		delete(next, name)
		kept = nil
	}
	t.store(next)
	if was == nil && (t.Report != All || !t.served || kept == nil) {
		return kept, nil
	}
	return kept, []change[T]{{name, was, is}}
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

// define takes down what v says now: its digest is computed when somebody asks for
// it, and by then the program may have replaced v, and change what it was made
// of. It runs code of the program's, so that no lock may be held.
func (t *Table[T]) define(name string, v T) *Definition[T] {
	d := &Definition[T]{Value: v}
	if t.Prepare != nil {
		t.Prepare(&d.Value)
	}
	raw := t.encode(&v)
	d.size = overhead + len(name) + len(raw)
	d.digest = sync.OnceValue(func() string {
		defer func() { raw = nil }()
		return t.digest(raw)
	})
	return d
}

// encode returns the definition's JSON, nil when it has none. It survives a panic in
// a schema's MarshalJSON, and one that asks the server for what it is part of, over and
// over.
func (t *Table[T]) encode(v *T) (raw []byte) {
	defer t.rec.Guard()
	defer t.encoding.Add(-1)
	if t.encoding.Add(1) > maxEncoding {
		return nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return raw
}

func (t *Table[T]) digest(raw []byte) (s string) {
	defer t.rec.Guard()
	if len(t.Members) > 0 {
		raw = pick(raw, t.Members)
	}
	canonical, err := jcs.Transform(raw)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(canonical)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (t *Table[T]) report(ctx context.Context, name string, was, is *Definition[T]) {
	attrs := []attribute.KeyValue{semconv.OTelMCPDefinitionKindKey.String(t.Kind)}
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
	safe := t.rec.Safe
	if t.Kind == semconv.OTelMCPDefinitionKindResource {
		safe = t.rec.SafeURI
	}
	called := safe(semconv.OTelMCPDefinitionNameKey, name)
	e := operation.Event{
		Name:       semconv.OTelMCPDefinitionChangedEventName,
		Severity:   log.SeverityWarn,
		Body:       t.Kind + " " + string(called) + " " + change,
		Attributes: attrs,
	}
	e.Add(semconv.OTelMCPDefinitionNameKey, called)
	t.rec.Emit(ctx, e)
}

// pick returns the JSON object raw with only the named members, nil when it is none.
func pick(raw []byte, members []string) []byte {
	var all map[string]json.RawMessage
	if json.Unmarshal(raw, &all) != nil {
		return nil
	}
	maps.DeleteFunc(all, func(name string, _ json.RawMessage) bool { return !slices.Contains(members, name) })
	picked, err := json.Marshal(all)
	if err != nil {
		return nil
	}
	return picked
}
