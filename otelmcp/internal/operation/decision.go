// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation

// Decisions: that somebody was let in or kept out, as an event, a count, and
// facts on the operation that was decided.

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"

	"github.com/otelmcp/otelmcp-go/semconv"
)

// Decision is an authentication or authorization decision, in semconv's
// otelmcp.auth.* values.
type Decision struct {
	Kind, Decision, Reason, Mechanism string

	UserID            string // the verified principal
	UserRoles         []string
	Issuer, ClientID  string
	Audience          []string
	Required, Granted []string // scopes
	Policy            string
	Message           string // what the check said
	ErrorType         string // of a check that failed

	// Authenticated says that the principal is known for sure, whatever else was
	// decided.
	Authenticated bool

	// Of an HTTP exchange, as far as the decision's maker knows.
	SessionID     Safe
	Transport     string
	Status        int
	HTTPVersion   string // of a client's request
	ServerAddress string // of who answered a client
	ServerPort    int
	// Facts are further attributes of the event.
	Facts []attribute.KeyValue

	// Elapsed is how long the check took; zero when nobody measured it.
	Elapsed time.Duration

	at time.Time // when it was first added to the decisions about something
}

// Refused reports whether the decision let nobody through.
func (d *Decision) Refused() bool { return d.Decision != semconv.OTelMCPAuthDecisionAllow }

// identifies reports whether the decision says who it is.
func (d *Decision) identifies() bool {
	return d.UserID != "" && (d.Authenticated || !d.Refused() && d.Kind == semconv.OTelMCPAuthKindAuthentication)
}

// owner is whose credentials a decision refused, where they were genuine and only no
// longer, not yet, or not here of use. That is not who the message is handled for: whoever
// sent them need not be their owner.
func (d *Decision) owner() string {
	switch d.Reason {
	case semconv.OTelMCPAuthReasonExpired, semconv.OTelMCPAuthReasonRevoked, semconv.OTelMCPAuthReasonNotYetValid,
		semconv.OTelMCPAuthReasonAudienceMismatch, semconv.OTelMCPAuthReasonUnprovenPossession:
		if d.Refused() {
			return d.UserID
		}
	}
	return ""
}

// Decisions are those about one message, or about one HTTP exchange. The zero
// value is ready, and it is safe for concurrent use.
type Decisions struct {
	made atomic.Bool // spares those that nothing was decided about the lock
	mu   sync.Mutex
	last *Decision // the one that counts; see Last
	who  *Decision // the last one that says who it is
	// authenticated says that one of them was an authentication.
	authenticated bool
}

// Add keeps d. What it is added to first must have no other user of d yet.
func (s *Decisions) Add(d *Decision) {
	if d.at.IsZero() {
		d.at = time.Now()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	authentication := d.Kind == semconv.OTelMCPAuthKindAuthentication
	if s.last == nil || d.Refused() || !s.last.Refused() && (!authentication || s.last.Kind == d.Kind) {
		s.last = d
	}
	if d.identifies() {
		s.who = d
	}
	s.authenticated = s.authenticated || authentication
	s.made.Store(true)
}

// Last returns the decision that counts, and nil when there was none: the last
// one that refused, or else the last authorization, or else the last one.
func (s *Decisions) Last() *Decision {
	last, _ := s.get()
	return last
}

// Refused reports whether any of them let nobody through.
func (s *Decisions) Refused() bool {
	last := s.Last()
	return last != nil && last.Refused()
}

// Who returns the authentication that says who it is, or nil.
func (s *Decisions) Who() *Decision {
	_, who := s.get()
	return who
}

// Authenticated reports whether any of them was an authentication, however it
// went.
func (s *Decisions) Authenticated() bool {
	if !s.made.Load() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.authenticated
}

// Inherit takes what was decided around.
func (s *Decisions) Inherit(from *Decisions) {
	last, who := from.get()
	for _, d := range []*Decision{who, last} {
		if d != nil {
			s.Add(d)
		}
	}
}

func (s *Decisions) get() (last, who *Decision) {
	if !s.made.Load() {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.who
}

// User appends who it is: user.id, or user.hash in its place where the program
// wants that. The hash is that of the principal itself, so that principals whose
// text reads the same once it is scrubbed still differ.
func (r *Recorder) User(attrs []attribute.KeyValue, id string) []attribute.KeyValue {
	switch {
	case id == "":
		return attrs
	case len(r.hashKey) == 0:
		return append(attrs, semconv.UserIDKey.String(id))
	}
	mac := hmac.New(sha256.New, r.hashKey)
	_, _ = mac.Write([]byte(id))
	return append(attrs,
		semconv.UserHashKey.String(hex.EncodeToString(mac.Sum(nil))),
		semconv.OTelMCPUserHashKeyIDKey.String(r.hashKeyID))
}

// facts appends what stands on the operation that was decided.
func (d *Decision) facts(attrs []attribute.KeyValue) []attribute.KeyValue {
	attrs = d.bounded(attrs)
	attrs = named(attrs, semconv.OTelMCPAuthPolicyKey, d.Policy)
	attrs = named(attrs, semconv.OTelMCPAuthClientIDKey, d.ClientID)
	return named(attrs, semconv.OTelMCPAuthIssuerKey, d.Issuer)
}

// bounded appends the facts that stand on metrics, too.
func (d *Decision) bounded(attrs []attribute.KeyValue) []attribute.KeyValue {
	return append(attrs,
		semconv.OTelMCPAuthKindKey.String(d.Kind),
		semconv.OTelMCPAuthDecisionKey.String(d.Decision),
		semconv.OTelMCPAuthReasonKey.String(d.Reason),
		semconv.OTelMCPAuthMechanismKey.String(d.Mechanism))
}

// checked appends those of them that a duration is told apart by.
func (d *Decision) checked(attrs []attribute.KeyValue) []attribute.KeyValue {
	return append(attrs,
		semconv.OTelMCPAuthKindKey.String(d.Kind),
		semconv.OTelMCPAuthMechanismKey.String(d.Mechanism))
}

func named(attrs []attribute.KeyValue, key attribute.Key, text string) []attribute.KeyValue {
	if text == "" {
		return attrs
	}
	return append(attrs, key.String(text))
}

func listed(attrs []attribute.KeyValue, key attribute.Key, texts []string) []attribute.KeyValue {
	if len(texts) == 0 {
		return attrs
	}
	return append(attrs, key.StringSlice(texts[:min(len(texts), MaxListed)]))
}

// Decide records a decision of that side, whatever became of ctx. about says what it
// is about: who asked for what, from where and over what.
func (r *Recorder) Decide(ctx context.Context, role Role, d *Decision, about []attribute.KeyValue) {
	r.decide(ctx, role, d, about, d.SessionID)
}

func (r *Recorder) decide(ctx context.Context, role Role, d *Decision, about []attribute.KeyValue, session Safe) {
	defer r.Guard()
	attrs := make([]attribute.KeyValue, 0, 17+len(about)+len(d.Facts))
	attrs = append(attrs, role.attribute())
	attrs = d.facts(attrs)
	attrs = r.User(attrs, d.UserID)
	attrs = listed(attrs, semconv.UserRolesKey, d.UserRoles)
	attrs = listed(attrs, semconv.OTelMCPAuthAudienceKey, d.Audience)
	attrs = listed(attrs, semconv.OTelMCPAuthScopesRequiredKey, d.Required)
	attrs = listed(attrs, semconv.OTelMCPAuthScopesGrantedKey, d.Granted)
	attrs = named(attrs, semconv.OTelMCPAuthErrorMessageKey, d.Message)
	attrs = named(attrs, semconv.ErrorTypeKey, d.ErrorType)
	if d.Status != 0 {
		attrs = append(attrs, semconv.HTTPResponseStatusCodeKey.Int(d.Status))
	}
	attrs = overHTTP(attrs, d.HTTPVersion)
	attrs = at(attrs, d.ServerAddress, d.ServerPort)
	attrs = append(attrs, about...)
	attrs = append(attrs, d.Facts...)
	e := Event{
		Name:       semconv.OTelMCPAuthDecisionEventName,
		Severity:   decisionSeverity(d.Decision),
		Body:       d.Kind + ": " + d.Decision + " (" + d.Reason + ")",
		Attributes: attrs,
		At:         d.at,
	}
	e.Add(semconv.MCPSessionIDKey, session)
	r.Emit(ctx, e)
	r.countDecision(detach(ctx), role, d)
}

func overHTTP(attrs []attribute.KeyValue, version string) []attribute.KeyValue {
	if version == "" {
		return attrs
	}
	return append(attrs, semconv.NetworkProtocolNameKey.String("http"), semconv.NetworkProtocolVersionKey.String(version))
}

func at(attrs []attribute.KeyValue, address string, port int) []attribute.KeyValue {
	if address == "" {
		return attrs
	}
	attrs = append(attrs, semconv.ServerAddressKey.String(address))
	if port != 0 {
		attrs = append(attrs, semconv.ServerPortKey.Int(port))
	}
	return attrs
}

// Decide records a decision about o and keeps it on o. Whoever does not own o
// may call it too: it reads what is published.
func (o *Operation) Decide(ctx context.Context, d *Decision) {
	o.Decisions.Add(d)
	o.Tell(ctx, d)
}

// Tell records a decision that o keeps already.
func (o *Operation) Tell(ctx context.Context, d *Decision) {
	session := d.SessionID
	if session == "" && o.Role != RoleClient && Progress(o.progress.Load()) >= Begun {
		session = o.SessionID
	}
	o.rec.decide(ctx, o.Role, d, o.about(d), session)
}

// Progress says which facts of an operation do not change any more, so that
// others than its owner may read them. Peer never does. The session and the version
// of HTTP are not among those of a message that a client sends: they can be known at
// its end only.
type Progress uint32

// How far an operation is.
const (
	// Begun: the method, the session, what it runs over and the user are known.
	Begun Progress = iota + 1
	// Parsed: the request id, the target and the resource are known as well.
	Parsed
)

// Publish says how far o is.
func (o *Operation) Publish(p Progress) { o.progress.Store(uint32(p)) }

// about is what a decision is about, without what d says itself.
func (o *Operation) about(d *Decision) []attribute.KeyValue {
	attrs := make([]attribute.KeyValue, 0, len(o.Peer)+9)
	attrs = append(attrs, o.Peer...)
	sent := o.Role == RoleClient
	if !sent {
		attrs = overHTTP(attrs, o.HTTPVersion)
	}
	p := Progress(o.progress.Load())
	if p < Begun {
		return named(attrs, semconv.OTelMCPTransportKey, d.Transport)
	}
	attrs = append(attrs, semconv.OTelMCPTransportKey.String(o.Transport))
	if o.Network != "" {
		attrs = append(attrs, semconv.NetworkTransportKey.String(o.Network))
	}
	if sent && d.ServerAddress == "" {
		attrs = at(attrs, o.ServerAddress, o.ServerPort)
	}
	attrs = named(attrs, semconv.MCPMethodNameKey, o.Method.Text)
	if d.UserID == "" {
		attrs = o.rec.User(attrs, o.UserID)
	}
	if p < Parsed {
		return attrs
	}
	attrs = named(attrs, semconv.JSONRPCRequestIDKey, o.RequestID)
	attrs = named(attrs, semconv.GenAIToolNameKey, o.Tool.Text)
	attrs = named(attrs, semconv.GenAIPromptNameKey, o.Prompt.Text)
	return named(attrs, semconv.MCPResourceURIKey, o.ResourceURI)
}

func decisionSeverity(decision string) log.Severity {
	switch decision {
	case semconv.OTelMCPAuthDecisionAllow:
		return log.SeverityInfo
	case semconv.OTelMCPAuthDecisionError:
		return log.SeverityError
	}
	return log.SeverityWarn
}
