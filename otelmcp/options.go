// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Options and what they add up to. newConfig validates once; nothing after it
// meets a nil or a default.

import (
	"context"
	"net/netip"
	"slices"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/peer"
)

// Option configures [Instrument], [WrapTransport], [InstrumentClient],
// [InstrumentHTTPClient] and [InstrumentOAuth], and is a [BearerOption].
type Option interface {
	BearerOption
	apply(*config)
}

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

func (f optionFunc) applyBearer(b *bearer) { b.options = append(b.options, f) }

type config struct {
	tracerProvider trace.TracerProvider
	meterProvider  metric.MeterProvider
	loggerProvider log.LoggerProvider
	propagators    propagation.TextMapPropagator
	publicEndpoint bool
	content        Content // on spans
	onEvents       []eventContent
	members        memberKeys // of those
	errorText      bool
	scrub          func(key, value string) string
	identity       func(context.Context) Identity
	filter         func(ctx context.Context, method string) bool
	attributes     []attribute.KeyValue
	hashKey        []byte
	hashKeyID      string
	filterPolicy   string
	trusted        []netip.Prefix
	enrich         bool
	peers          *peer.Resolver
}

func newConfig(opts []Option) *config {
	c := &config{}
	for _, o := range opts {
		if o != nil {
			o.apply(c)
		}
	}
	if c.tracerProvider == nil {
		c.tracerProvider = otel.GetTracerProvider()
	}
	if c.meterProvider == nil {
		c.meterProvider = otel.GetMeterProvider()
	}
	if c.loggerProvider == nil {
		c.loggerProvider = otel.GetLoggerProvider()
	}
	if c.propagators == nil {
		c.propagators = otel.GetTextMapPropagator()
	}
	c.peers = peer.NewResolver(c.trusted)
	c.members = newMemberKeys(c.onEvents)
	return c
}

// WithTracerProvider sets where spans go. Nil, as the default, is the global
// provider.
func WithTracerProvider(p trace.TracerProvider) Option {
	return optionFunc(func(c *config) { c.tracerProvider = p })
}

// WithMeterProvider sets where metrics go. Nil, as the default, is the global
// provider.
func WithMeterProvider(p metric.MeterProvider) Option {
	return optionFunc(func(c *config) { c.meterProvider = p })
}

// WithLoggerProvider sets where events go. Nil, as the default, is the global
// provider.
func WithLoggerProvider(p log.LoggerProvider) Option {
	return optionFunc(func(c *config) { c.loggerProvider = p })
}

// WithPropagators sets how trace context is read from a message's _meta
// (SEP-414) and, failing that, from HTTP headers, and how a client writes it
// there. An entry of tracestate that looks like a credential is neither recorded nor
// sent on; all others are. Nil, as the default, is the global propagators. A client
// whose remote must not learn of the trace gets a composite propagator of none.
func WithPropagators(p propagation.TextMapPropagator) Option {
	return optionFunc(func(c *config) { c.propagators = p })
}

// WithPublicEndpoint says that callers are not trusted to choose a trace: each
// span starts a new one and links to the context that the caller sent.
func WithPublicEndpoint() Option {
	return optionFunc(func(c *config) { c.publicEndpoint = true })
}

// Content names kinds of message content for [WithContentCapture] and
// [WithContentOnEvents].
type Content uint8

// The kinds of content that can be recorded, with the attributes that spans have for
// them.
const (
	// Arguments of tools/call: gen_ai.tool.call.arguments.
	Arguments Content = 1 << iota
	// Results of tools/call: gen_ai.tool.call.result.
	Results
	// PromptVariables of prompts/get: gen_ai.prompt.variable.<name>.
	PromptVariables
)

// WithContentCapture records message content on spans: structured, scrubbed of
// credentials, and capped at 4 KiB for each value and 16 KiB for each message,
// with a marker where something was cut. Of Results the text of a tool's error stands
// in the status of the span and on the event, too, as with [WithErrorText]. Without
// it, and without [WithContentOnEvents], no content is recorded.
func WithContentCapture(kinds Content) Option {
	return optionFunc(func(c *config) { c.content |= kinds })
}

// WithScrubber adds a scrubber of the operator's own. It is called after the
// built-in one, for every text that is recorded and not one of otelmcp's own words
// (numbers of codes, addresses, digests and what stands in a closed set): what a
// peer, an error, the program or captured content chose, user.id and the values of
// [WithAttributes] among it. key is the attribute's, and never one that a peer can
// choose: names and values of members of captured content come with the key of the
// attribute that they are in, variables of prompts with gen_ai.prompt.variable. (with
// the dot) unless [OnlyArguments] names them, entries of a tracestate, as key=value, with tracestate. The names of
// spans and the bodies of events are made of such texts.
//
// It returns what may be recorded, which is cleaned and capped as any text is; a
// tracestate entry that it changes is left out. When it panics the text is redacted.
// A text passes once for each record, or once when it is learned if it stands on
// many records, as the name of a tool does. user.hash is that of the principal
// itself. f must be safe for concurrent use.
func WithScrubber(f func(key, value string) string) Option {
	return optionFunc(func(c *config) { c.scrub = f })
}

// Identity says on whose behalf a message is handled.
type Identity struct {
	// UserID is the verified principal: user.id.
	UserID string
	// Roles of the principal: user.roles.
	Roles []string
}

// WithIdentity sets how the verified principal of a message is found in the
// context that it is handled in. What a client says of itself is not identity.
// f must be safe for concurrent use; when it panics the message has none.
func WithIdentity(f func(context.Context) Identity) Option {
	return optionFunc(func(c *config) { c.identity = f })
}

// WithIdentityHash records an HMAC-SHA-256 of the principal, as user.hash with the
// key's id beside it, in place of user.id: the same principal can be told from
// others, and found by who has the key, but not read. key should be 32 random
// bytes; an empty one panics, since nothing would be hashed.
func WithIdentityHash(key []byte, keyID string) Option {
	if len(key) == 0 {
		panic("otelmcp: WithIdentityHash: empty key")
	}
	key = slices.Clone(key)
	return optionFunc(func(c *config) { c.hashKey, c.hashKeyID = key, keyID })
}

// WithFilterPolicy names the policy that the server's tool and prompt filters
// enforce (server.WithToolFilter, server.WithPromptFilter). It stands as
// otelmcp.auth.policy on what they allowed and denied.
func WithFilterPolicy(name string) Option {
	return optionFunc(func(c *config) { c.filterPolicy = name })
}

// WithFilter silences messages for which keep returns false: they make no span
// and no duration metric. Their otelmcp.operation event and their count in
// otelmcp.server.messages stay, as do events of sessions, decisions and definitions.
// keep must be safe for concurrent use; when it panics the message is kept.
func WithFilter(keep func(ctx context.Context, method string) bool) Option {
	return optionFunc(func(c *config) { c.filter = keep })
}

// WithAttributes puts constant attributes on every span, metric and event. On
// metrics each value is a dimension: choose few. A text among them is scrubbed, and
// capped at 4 KiB.
func WithAttributes(attrs ...attribute.KeyValue) Option {
	attrs = slices.Clone(attrs)
	return optionFunc(func(c *config) { c.attributes = append(c.attributes, attrs...) })
}

// WithTrustedProxies names the proxies in front of the program. A request that
// comes from one of them is recorded with the client address that the header
// X-Forwarded-For names: the rightmost one that is not a trusted proxy, since
// what stands to its left the client can have written itself. At most 64
// elements are looked at. Without this option, and from anywhere else, the
// address is that of the peer. The header Forwarded (RFC 7239) is not read.
func WithTrustedProxies(proxies ...netip.Prefix) Option {
	proxies = slices.Clone(proxies)
	return optionFunc(func(c *config) { c.trusted = append(c.trusted, proxies...) })
}

// WithToolSpanEnrichment is for clients whose agent framework makes the span of a
// tool's execution itself. A tools/call that is made within such a span, which
// has gen_ai.operation.name execute_tool and, if any, the same gen_ai.tool.name,
// makes no span of its own: what is known of the call goes onto that span, and
// that span's context to the server, as the conventions have it. Its name, its
// status and its end stay with who made it. Durations, counts and events are made
// as ever. A [github.com/mark3labs/mcp-go/server.MCPServer] has no use for it.
func WithToolSpanEnrichment() Option {
	return optionFunc(func(c *config) { c.enrich = true })
}
