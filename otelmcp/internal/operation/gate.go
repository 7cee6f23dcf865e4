// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation

// The gate: whatever becomes a text of a signal passes it, so that it is valid UTF-8, legible, bounded and free of
// credentials, and nothing that a peer sends makes a receiver refuse the batch that it is in. emit.go is the only
// file that hands anything to OpenTelemetry, and hands over nothing else.
//
// A text passes once. What stands on one record passes when the record is made. What stands on many (what a session
// says of its peer, the attributes of a series) passes when it is learned, and is of the type Safe from then on.

import (
	"crypto/rand"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/content"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/scrub"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// Caps of texts, in bytes.
const (
	MaxName    = 128  // names, versions and ids
	MaxURI     = 512  // URIs and paths
	MaxMessage = 512  // what an error says
	maxFact    = 256  // an issuer, an audience, a scope, a policy, an address, a user agent
	maxOwn     = 1024 // what only our code chooses
	maxOther   = 4096 // an attribute of the operator's own
	maxBody    = 4096
)

// MaxListed caps how many elements of a list are recorded.
const MaxListed = 64

// rule says how the text of an attribute passes the gate.
type rule struct {
	clean func(s string, limit int) string // nil where only our code chooses the text
	limit int                              // bytes
}

// own is for a text that only our code chooses, from a closed set or as a number, a digest or an address. The
// operator's scrubber does not see it.
var own = rule{nil, maxOwn}

// rules are those of the attributes that the registry declares as text. The key of a captured variable is looked up
// by its prefix.
var rules = map[attribute.Key]rule{
	semconv.GenAIOperationNameKey:           own,
	semconv.MCPProtocolVersionKey:           own,
	semconv.JSONRPCProtocolVersionKey:       own,
	semconv.RPCResponseStatusCodeKey:        own,
	semconv.NetworkTransportKey:             own,
	semconv.NetworkProtocolNameKey:          own,
	semconv.NetworkProtocolVersionKey:       own,
	semconv.NetworkPeerAddressKey:           own,
	semconv.ClientAddressKey:                own,
	semconv.UserHashKey:                     own,
	semconv.HTTPRequestMethodKey:            own,
	semconv.ErrorTypeKey:                    own,
	semconv.EventNameKey:                    own,
	semconv.OTelMCPRoleKey:                  own,
	semconv.OTelMCPTransportKey:             own,
	semconv.OTelMCPStageKey:                 own,
	semconv.OTelMCPOutcomeKey:               own,
	semconv.OTelMCPSessionEndReasonKey:      own,
	semconv.OTelMCPSessionIntegrityKey:      own,
	semconv.OTelMCPCancelSourceKey:          own,
	semconv.OTelMCPCancelAddressKey:         own,
	semconv.OTelMCPStreamEndReasonKey:       own,
	semconv.OTelMCPToolDigestKey:            own,
	semconv.OTelMCPAuthKindKey:              own,
	semconv.OTelMCPAuthDecisionKey:          own,
	semconv.OTelMCPAuthReasonKey:            own,
	semconv.OTelMCPAuthMechanismKey:         own,
	semconv.OTelMCPDefinitionKindKey:        own,
	semconv.OTelMCPDefinitionChangeKey:      own,
	semconv.OTelMCPDefinitionDigestOldKey:   own,
	semconv.OTelMCPDefinitionDigestNewKey:   own,
	semconv.OTelMCPCoverageTransportsKey:    own,
	semconv.OTelMCPCoverageEdgesKey:         own,
	semconv.OTelMCPCoverageSeamsKey:         own,
	semconv.OTelMCPCoverageGapsKey:          own,
	semconv.OTelMCPRefusedReasonKey:         own,
	semconv.OTelMCPExporterSignalKey:        own,
	semconv.MCPMethodNameKey:                {scrub.Name, MaxName},
	semconv.MCPSessionIDKey:                 {scrub.Name, MaxName},
	semconv.JSONRPCRequestIDKey:             {scrub.Name, MaxName},
	semconv.GenAIToolNameKey:                {scrub.Name, MaxName},
	semconv.GenAIPromptNameKey:              {scrub.Name, MaxName},
	semconv.UserIDKey:                       {scrub.Name, MaxName},
	semconv.OTelMCPClientNameKey:            {scrub.Name, MaxName},
	semconv.OTelMCPClientVersionKey:         {scrub.Name, MaxName},
	semconv.OTelMCPServerNameKey:            {scrub.Name, MaxName},
	semconv.OTelMCPServerVersionKey:         {scrub.Name, MaxName},
	semconv.OTelMCPCancelRequestIDKey:       {scrub.Name, MaxName},
	semconv.OTelMCPToolArgumentsNamesKey:    {scrub.Name, MaxName},
	semconv.OTelMCPDefinitionNameKey:        {scrub.Name, MaxName},
	semconv.OTelMCPUserHashKeyIDKey:         {scrub.Name, MaxName},
	semconv.ServerAddressKey:                {scrub.Name, maxFact},
	semconv.UserRolesKey:                    {scrub.Name, maxFact},
	semconv.OTelMCPAuthClientIDKey:          {scrub.Name, maxFact},
	semconv.OTelMCPAuthAudienceKey:          {scrub.Name, maxFact},
	semconv.OTelMCPAuthScopesRequiredKey:    {scrub.Name, maxFact},
	semconv.OTelMCPAuthScopesGrantedKey:     {scrub.Name, maxFact},
	semconv.OTelMCPAuthPolicyKey:            {scrub.Name, maxFact},
	semconv.OTelMCPAuthIssuerKey:            {scrub.URI, maxFact},
	semconv.MCPResourceURIKey:               {scrub.URI, MaxURI},
	semconv.UserAgentOriginalKey:            {scrub.Text, maxFact},
	semconv.URLPathKey:                      {scrub.Text, MaxURI},
	semconv.OTelMCPOperationErrorMessageKey: {scrub.Text, MaxMessage},
	semconv.OTelMCPAuthErrorMessageKey:      {scrub.Text, MaxMessage},
	semconv.GenAIToolCallArgumentsKey:       {scrub.Text, content.DefaultPerValue},
	semconv.GenAIToolCallResultKey:          {scrub.Text, content.DefaultPerValue},
	semconv.GenAIPromptVariableKey:          {scrub.Text, content.DefaultPerValue},
	semconv.OTelMCPToolArgumentKey:          {scrub.Text, content.DefaultPerValue},
	semconv.OTelMCPPromptVariablesKey:       {scrub.Text, content.DefaultPerValue},
}

func ruleOf(key attribute.Key) rule {
	if is, ok := rules[key]; ok {
		return is
	}
	return rule{scrub.Text, maxOther}
}

// Safe is a text that has passed the gate. Nothing but the gate makes one of a text that somebody else chose.
type Safe string

// Safe returns s as it may stand under key.
func (r *Recorder) Safe(key attribute.Key, s string) Safe { return Safe(r.text(key, s)) }

// SafeURI is Safe for a text that is one URI under a key whose texts are not always.
func (r *Recorder) SafeURI(key attribute.Key, s string) Safe {
	return Safe(r.pass(key, s, rule{scrub.URI, MaxURI}))
}

// NewSessionID is an id for a session that its transport gives none.
func NewSessionID() Safe { return Safe("stdio-" + rand.Text()) }

// SafeList is a list of texts that have passed the gate, as an attribute.
type SafeList struct{ kv attribute.KeyValue }

// SafeList returns texts as they may stand under key, and at most [MaxListed] of them.
func (r *Recorder) SafeList(key attribute.Key, texts []string) *SafeList {
	kv := key.StringSlice(texts[:min(len(texts), MaxListed)])
	kv.Value = r.value(key, kv.Value, 0)
	return &SafeList{kv}
}

// SafeUser is who somebody is, as attributes that have passed the gate.
type SafeUser struct{ attrs []attribute.KeyValue }

// SafeUser is [Recorder.User] for who is remembered.
func (r *Recorder) SafeUser(id string) *SafeUser {
	u := &SafeUser{r.User(nil, id)}
	r.gate(u.attrs)
	return u
}

// gate makes attrs safe, in place. Their keys are the registry's.
func (r *Recorder) gate(attrs []attribute.KeyValue) {
	for i := range attrs {
		kv := &attrs[i]
		switch kv.Value.Type() {
		case attribute.BOOL, attribute.INT64, attribute.FLOAT64:
		case attribute.STRING:
			s := kv.Value.AsString()
			if out := r.text(kv.Key, s); out != s {
				kv.Value = attribute.StringValue(out)
			}
		default:
			kv.Value = r.value(kv.Key, kv.Value, 0)
		}
	}
}

// gated returns safe copies of attrs, whose keys the operator chose.
func (r *Recorder) gated(attrs []attribute.KeyValue) []attribute.KeyValue {
	out := make([]attribute.KeyValue, len(attrs))
	for i, kv := range attrs {
		out[i].Key = attribute.Key(scrub.Name(string(kv.Key), MaxName))
		out[i].Value = r.value(kv.Key, kv.Value, 0)
	}
	return out
}

// value returns v as it may stand under key, with what is in it.
func (r *Recorder) value(key attribute.Key, v attribute.Value, depth int) attribute.Value {
	if depth > content.MaxDepth {
		return attribute.StringValue(scrub.Redacted)
	}
	switch v.Type() {
	case attribute.STRING:
		return attribute.StringValue(r.text(key, v.AsString()))
	case attribute.STRINGSLICE:
		texts := v.AsStringSlice() // a copy
		changed := len(texts) > MaxListed
		texts = texts[:min(len(texts), MaxListed)]
		for i, s := range texts {
			if out := r.text(key, s); out != s {
				texts[i], changed = out, true
			}
		}
		if !changed {
			return v
		}
		return attribute.StringSliceValue(texts)
	case attribute.BYTESLICE:
		raw := v.AsByteSlice()
		return attribute.ByteSliceValue(raw[:min(len(raw), maxOther)])
	case attribute.SLICE:
		in := v.AsSlice()
		in = in[:min(len(in), content.MaxElements)]
		out := make([]attribute.Value, len(in))
		for i := range in {
			out[i] = r.value(key, in[i], depth+1)
		}
		return attribute.SliceValue(out...)
	case attribute.MAP:
		in := v.AsMap()
		in = in[:min(len(in), content.MaxElements)]
		out := make([]attribute.KeyValue, len(in))
		for i := range in {
			name := r.pass(key, string(in[i].Key), rule{scrub.Name, content.MaxKey})
			out[i] = attribute.KeyValue{Key: attribute.Key(name), Value: r.value(key, in[i].Value, depth+1)}
		}
		return attribute.MapValue(out...)
	}
	return v
}

// text returns s as it may stand under key. Ordinary text costs one pass over its bytes.
func (r *Recorder) text(key attribute.Key, s string) string {
	if r.scrub == nil && len(s) <= MaxName && scrub.Plain(s) {
		return s
	}
	is := ruleOf(key)
	switch {
	case s == Other:
		return s
	case is.clean == nil && len(s) <= is.limit && scrub.Legible(s):
		return s
	case is.clean == nil:
		is.clean = scrub.Text
	case key == semconv.MCPMethodNameKey && r.methods != nil && r.methods.byName[s] != nil:
		return s
	}
	return r.pass(key, s, is)
}

// pass takes s through our scrubber and then through the operator's. What that returns goes through ours again: a
// callback may return nonsense.
func (r *Recorder) pass(key attribute.Key, s string, is rule) string {
	s = is.clean(s, is.limit)
	if r.scrub == nil || s == "" {
		return s
	}
	if said := r.ask(key, s); said != s {
		return is.clean(said, is.limit)
	}
	return s
}

// ask asks the operator's scrubber. One that panics has the text redacted.
func (r *Recorder) ask(key attribute.Key, s string) (said string) {
	said = scrub.Redacted
	defer r.Guard()
	return r.scrub(string(key), s)
}

// line returns the body of an event, which is made of safe texts and of words of ours. It is not searched for
// credentials: a name before a colon is no notation of one here.
func line(body string) string {
	if len(body) <= maxBody && scrub.Legible(body) {
		return body
	}
	return scrub.Text(body, maxBody)
}
