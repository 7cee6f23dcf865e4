// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package session tells of sessions: the events and metrics of a session's
// start and end, and a bounded table of those that an instrumented server
// holds, from session id to what is known of the peer.
package session

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash/maphash"
	"io"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// Max bounds a table. mcp-go keeps a session whose client vanished until the
// process ends, so without a bound an attacker grows it at will. A session
// beyond it still has its start, its end and its place in the gauge; only its
// duration and what the peer said of itself are not remembered.
const Max = 65536

// maxKey and maxPrincipal bound, in bytes, what is kept of a session that others
// chose: its id, who started it, and who owns it. Longer text is kept as a hash, which
// tells it from any other as well. With what is scrubbed and capped anyway a session
// takes no more than 2 KiB.
const (
	maxKey       = 64
	maxPrincipal = 256
)

// shards keeps callers of different sessions off one lock.
const shards = 32

// Peer is what the other side says of itself. It is never identity.
type Peer struct {
	Name, Version   operation.Safe
	ProtocolVersion string
}

// NewPeer is what a client said of itself.
func NewPeer(rec *operation.Recorder, name, version, protocolVersion string) *Peer {
	return newPeer(rec, peerKeys(operation.RoleServer), name, version, protocolVersion)
}

// NewRemote is NewPeer of a server, as its client sees it.
func NewRemote(rec *operation.Recorder, name, version, protocolVersion string) *Peer {
	return newPeer(rec, peerKeys(operation.RoleClient), name, version, protocolVersion)
}

func newPeer(rec *operation.Recorder, keys [2]attribute.Key, name, version, protocolVersion string) *Peer {
	return &Peer{
		Name:            rec.Safe(keys[0], name),
		Version:         rec.Safe(keys[1], version),
		ProtocolVersion: protocolVersion,
	}
}

// peerKeys are where the name and the version of the other side stand.
func peerKeys(role operation.Role) [2]attribute.Key {
	if role == operation.RoleClient {
		return [2]attribute.Key{semconv.OTelMCPServerNameKey, semconv.OTelMCPServerVersionKey}
	}
	return [2]attribute.Key{semconv.OTelMCPClientNameKey, semconv.OTelMCPClientVersionKey}
}

// Session is one open session. Its exported fields do not change once it has started.
type Session struct {
	ID        operation.Safe // on stdio our own
	Transport string
	Network   string
	// Who started it, as far as that is known: the verified principal, and the
	// address of the peer. StartedBy compares principals.
	UserID  string
	Address netip.Addr
	// Owner is the principal of the token that started it, and Issuer is who
	// vouched for it. No other principal may go on with it; see OwnedBy.
	Owner, Issuer string
	// Role is the side of the session that is instrumented. ServerAddress and
	// ServerPort are a client's remote.
	Role          operation.Role
	ServerAddress string
	ServerPort    int

	// Self is what a server says of itself, for its own records.
	Self *Peer

	// Arrived are facts of the request that began it, for the record of its start.
	Arrived []attribute.KeyValue

	user    *operation.SafeUser // who started it, where UserID is no more than a hash
	ended   atomic.Bool
	waits   atomic.Bool // its start is not recorded yet; see Await
	start   time.Time
	peer    atomic.Pointer[Peer]
	wrapper atomic.Value
}

// Wrapper returns what an adapter hands to handlers in the place of its SDK's
// session, or nil before Wrap.
func (s *Session) Wrapper() any { return s.wrapper.Load() }

// Wrap keeps w as the session's wrapper, unless another request of the session
// was faster, and returns the one that is kept. All callers must give the same
// type.
func (s *Session) Wrap(w any) any {
	s.wrapper.CompareAndSwap(nil, w)
	return s.wrapper.Load()
}

// Peer returns what the peer said of itself, or nil before it said anything.
func (s *Session) Peer() *Peer { return s.peer.Load() }

// SetPeer remembers what the peer said of itself.
func (s *Session) SetPeer(p *Peer) { s.peer.Store(p) }

// StartedBy reports whether user started the session.
func (s *Session) StartedBy(user string) bool { return s.UserID == principal(user) }

// OwnedBy reports whether the session's owner is user, whom issuer vouches for.
func (s *Session) OwnedBy(user, issuer string) bool {
	return s.Owner == principal(user) && s.Issuer == principal(issuer)
}

// principalKey is what no other process hashes principals with, so that nobody can have
// a name that is the hash of another one's.
var principalKey = []byte(rand.Text())

// principal is the text that stands for a principal, or for who vouches for it.
func principal(text string) string {
	if len(text) <= maxPrincipal {
		return text
	}
	mac := hmac.New(sha256.New, principalKey)
	_, _ = io.WriteString(mac, text)
	return string(mac.Sum(nil))
}

// Ended reports whether the session has ended.
func (s *Session) Ended() bool { return s.ended.Load() }

// bound lets go of text of any size, and of what short text is a part of.
func (s *Session) bound(rec *operation.Recorder) {
	if len(s.UserID) > maxPrincipal {
		s.user = rec.SafeUser(s.UserID)
	}
	for _, text := range []*string{&s.UserID, &s.Owner, &s.Issuer} {
		*text = strings.Clone(principal(*text))
	}
}

// Table holds the open sessions of one server, by the id that the SDK gives
// them. It is safe for concurrent use.
type Table struct {
	rec    *operation.Recorder
	seeds  [2]maphash.Seed
	size   atomic.Int64
	full   atomic.Bool
	shards [shards]shard
}

type shard struct {
	mu sync.RWMutex
	m  map[string]*Session
	// ended remembers, by their hashes, the ids of the sessions that ended
	// last; ring is their order. issued are ids on their way to a client,
	// whose session is not registered yet.
	ended  map[uint64]struct{}
	ring   []uint64
	next   int
	issued map[string]struct{}
}

// MaxEnded bounds how many ended sessions are told from ids that were never
// issued.
const MaxEnded = 32768

// maxIssued bounds the ids of a shard that were sent to a client before the
// session was registered. mcp-go registers it right after.
const maxIssued = 64

// NewTable returns an empty table that records through rec.
func NewTable(rec *operation.Recorder) *Table {
	return &Table{rec: rec, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
}

// Refused reports whether the table ever refused a session.
func (t *Table) Refused() bool { return t.full.Load() }

// Get returns the session that the SDK knows by id, or nil.
func (t *Table) Get(id string) *Session {
	sh, key, _ := t.place(id)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.m[key]
}

// place returns where the session id is: the shard, the key in it, and the id's hash.
// A client can choose the id, and so its size, but does not know the seeds.
func (t *Table) place(id string) (sh *shard, key string, hash uint64) {
	hash, key = maphash.String(t.seeds[0], id), id
	if len(id) > maxKey {
		var long [17]byte // begins with what no id in a header has
		binary.LittleEndian.PutUint64(long[1:], hash)
		binary.LittleEndian.PutUint64(long[9:], maphash.String(t.seeds[1], id))
		key = string(long[:])
	}
	return &t.shards[hash%shards], key, hash
}

// Issue says that the server is about to tell a client the id, so that its
// next request does not look like one with an id that was never issued.
func (t *Table) Issue(id string) {
	sh, key, _ := t.place(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if _, open := sh.m[key]; open || len(sh.issued) >= maxIssued {
		return
	}
	if sh.issued == nil {
		sh.issued = make(map[string]struct{})
	}
	sh.issued[strings.Clone(key)] = struct{}{}
}

// Integrity says what is odd about a request that carries the session id and comes
// from user and address: an otelmcp.session.integrity value, or "" when nothing
// is. What is not known (an empty user at the session's start, no address)
// does not differ. Who sends less than the session was started with does.
func (t *Table) Integrity(id, user string, address netip.Addr) string {
	sh, key, hash := t.place(id)
	sh.mu.RLock()
	s := sh.m[key]
	_, ended := sh.ended[hash]
	_, issued := sh.issued[key]
	sh.mu.RUnlock()
	switch {
	case s == nil && ended:
		return semconv.OTelMCPSessionIntegrityEnded
	case s == nil && !issued && !t.Refused():
		return semconv.OTelMCPSessionIntegrityUnknown
	case s == nil:
		return ""
	case s.UserID != "" && !s.StartedBy(user):
		return semconv.OTelMCPSessionIntegrityPrincipalMismatch
	case s.Address.IsValid() && address.IsValid() && s.Address != address:
		return semconv.OTelMCPSessionIntegrityAddressMismatch
	}
	return ""
}

// remember keeps that the session with this hash ended. The shard is locked.
func (sh *shard) remember(hash uint64) {
	if sh.ended == nil {
		sh.ended = make(map[uint64]struct{})
	}
	if _, again := sh.ended[hash]; again {
		return
	}
	if len(sh.ring) < MaxEnded/shards {
		sh.ring = append(sh.ring, hash)
	} else {
		delete(sh.ended, sh.ring[sh.next])
		sh.ring[sh.next] = hash
		sh.next = (sh.next + 1) % len(sh.ring)
	}
	sh.ended[hash] = struct{}{}
}

// Since says that the session, which is not recorded yet, began at t.
func (s *Session) Since(t time.Time) { s.start = t }

// Await has the start of a session that has not begun be recorded when its client has
// said who it is.
func (s *Session) Await() { s.waits.Store(true) }

// Awaits reports whether the start is still to be recorded.
func (s *Session) Awaits() bool { return s.waits.Load() }

// Begin records that a session began.
func (s *Session) Begin(ctx context.Context, rec *operation.Recorder) {
	if s.start.IsZero() {
		s.start = time.Now()
	}
	rec.SessionStarted(ctx, s.Transport)
	if !s.Awaits() {
		s.recordStart(ctx, rec, nil)
	}
}

// Introduce records a start that awaits its client: the peer that was set, or else p, which
// is what a message says of its sender. p may be nil.
func (s *Session) Introduce(ctx context.Context, rec *operation.Recorder, p *Peer) {
	if s.waits.CompareAndSwap(true, false) {
		s.recordStart(ctx, rec, p)
	}
}

func (s *Session) recordStart(ctx context.Context, rec *operation.Recorder, sender *Peer) {
	p := s.Peer()
	if p == nil {
		p = sender
	}
	s.emit(ctx, rec, p, operation.Event{
		Name:       semconv.OTelMCPSessionStartEventName,
		Severity:   log.SeverityInfo,
		Body:       "session started on " + s.Transport,
		Attributes: append(s.attributes(rec), s.Arrived...),
		At:         s.start,
	})
	s.Arrived = nil // not to be kept for as long as the session
}

// End records that the session ended, for a reason that is one of semconv's
// otelmcp.session.end_reason values or empty when it is not known, and with
// errorType if an error ended it. A session that did not begin has no duration.
func (s *Session) End(ctx context.Context, rec *operation.Recorder, reason, errorType string) {
	s.ended.Store(true)
	s.Introduce(ctx, rec, nil)
	attrs := s.attributes(rec)
	body := "session ended on " + s.Transport
	severity := log.SeverityInfo
	if reason != "" {
		attrs = append(attrs, semconv.OTelMCPSessionEndReasonKey.String(reason))
		body += ": " + reason
	}
	metrics := s.metricAttributes()
	if errorType != "" {
		failed := semconv.ErrorTypeKey.String(errorType)
		attrs, metrics = append(attrs, failed), append(metrics, failed)
		body += " (" + errorType + ")"
		severity = log.SeverityWarn
	}
	if s.start.IsZero() {
		rec.SessionLost(ctx, s.Transport)
	} else {
		d := time.Since(s.start)
		attrs = append(attrs, semconv.OTelMCPSessionDurationKey.Float64(d.Seconds()))
		rec.SessionEnded(ctx, s.Transport, d, metrics)
	}
	s.emit(ctx, rec, s.Peer(), operation.Event{
		Name:       semconv.OTelMCPSessionEndEventName,
		Severity:   severity,
		Body:       body,
		Attributes: attrs,
	})
}

// Start records that a session began and keeps it under the id that the SDK gave it.
func (t *Table) Start(ctx context.Context, id string, s *Session) {
	s.start = time.Now() // before others can see it
	s.bound(t.rec)
	if t.size.Add(1) <= Max {
		sh, key, _ := t.place(id)
		sh.mu.Lock()
		if sh.m == nil {
			sh.m = make(map[string]*Session)
		}
		delete(sh.issued, key)
		if _, again := sh.m[key]; again {
			t.size.Add(-1)
		}
		sh.m[strings.Clone(key)] = s
		sh.mu.Unlock()
	} else {
		t.size.Add(-1)
		t.full.Store(true)
		t.rec.Refuse(semconv.OTelMCPRefusedReasonSessionTable)
	}
	s.Begin(ctx, t.rec)
}

// End records that the session that the SDK knows by id ended. fallback stands
// in for a session that the table refused.
func (t *Table) End(ctx context.Context, id, reason string, fallback *Session) {
	sh, key, hash := t.place(id)
	sh.mu.Lock()
	s, known := sh.m[key]
	if known {
		delete(sh.m, key)
		t.size.Add(-1)
	}
	sh.remember(hash)
	sh.mu.Unlock()
	if !known {
		s = fallback
	}
	s.End(ctx, t.rec, reason, "")
}

func (s *Session) attributes(rec *operation.Recorder) []attribute.KeyValue {
	attrs := make([]attribute.KeyValue, 0, 12)
	attrs = append(attrs,
		semconv.OTelMCPRoleKey.String(s.Role.String()),
		semconv.OTelMCPTransportKey.String(s.Transport))
	if s.user == nil {
		attrs = rec.User(attrs, s.UserID)
	}
	if s.Address.IsValid() {
		attrs = append(attrs, semconv.ClientAddressKey.String(s.Address.String()))
	}
	return append(attrs, s.metricAttributes()...)
}

// emit emits e with what is known of the session, whose peer is p, beside its attributes.
func (s *Session) emit(ctx context.Context, rec *operation.Recorder, p *Peer, e operation.Event) {
	e.Add(semconv.MCPSessionIDKey, s.ID)
	e.AddUser(s.user)
	if p != nil {
		keys := peerKeys(s.Role)
		e.Add(keys[0], p.Name)
		e.Add(keys[1], p.Version)
	}
	s.Self.AddTo(&e)
	rec.Emit(ctx, e)
}

// AddTo adds to a record of a server's own what it says of itself. p may be nil.
func (p *Peer) AddTo(e *operation.Event) {
	if p != nil {
		e.Add(semconv.OTelMCPServerNameKey, p.Name)
		e.Add(semconv.OTelMCPServerVersionKey, p.Version)
	}
}

func (s *Session) metricAttributes() []attribute.KeyValue {
	attrs := make([]attribute.KeyValue, 0, 4)
	if p := s.Peer(); p != nil && p.ProtocolVersion != "" {
		attrs = append(attrs, semconv.MCPProtocolVersionKey.String(p.ProtocolVersion))
	}
	if s.Network != "" {
		attrs = append(attrs, semconv.NetworkTransportKey.String(s.Network))
	}
	if s.ServerAddress != "" {
		attrs = append(attrs, semconv.ServerAddressKey.String(s.ServerAddress))
		if s.ServerPort != 0 {
			attrs = append(attrs, semconv.ServerPortKey.Int(s.ServerPort))
		}
	}
	return attrs
}
