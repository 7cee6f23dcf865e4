// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation

// The metric series an operation belongs to, cached: its attribute set, the
// options to record it with, its span name and its event's body are functions
// of a few bounded values, so they are built, and pass the gate, once per combination.

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/otelmcp/otelmcp-go/semconv"
)

// maxSeries bounds the cache. Beyond it a series is built per message: slower,
// never wrong.
const maxSeries = 1024

// seriesKey holds only bounded values: names are registered ones or Other, and so are
// codes (codes.go).
type seriesKey struct {
	method, tool, prompt      string
	errorType, code           string
	protocolVersion, network  string
	httpVersion               string
	jsonrpcVersion            string
	exchange                  string // the HTTP method of an exchange without a message
	serverAddress             string
	serverPort                int
	role                      Role
	transport, stage, outcome string
}

// room is how many series there may be for k to be cached as well. Names can fill
// the cache; then those that have none, or the one that stands for all others, are
// what most messages belong to, and find room still.
func (k *seriesKey) room() int {
	for _, name := range [...]string{k.tool, k.prompt} {
		if name != "" && name != Other {
			return maxSeries
		}
	}
	return 2 * maxSeries
}

type series struct {
	attrs     []attribute.KeyValue // what the span and the event carry of the key
	duration  []metric.RecordOption
	messages  []metric.AddOption
	sizes     []metric.RecordOption
	spanName  string
	errorType string
	body      string
}

// seriesCache is read without a lock: the map is replaced, never changed.
type seriesCache struct {
	m  atomic.Pointer[map[seriesKey]*series]
	mu sync.Mutex // serializes replacement
}

func (c *seriesCache) get(k *seriesKey, r *Recorder) *series {
	if m := c.m.Load(); m != nil {
		if s, ok := (*m)[*k]; ok {
			return s
		}
		if len(*m) >= k.room() {
			return newSeries(k, r)
		}
	}
	s := newSeries(k, r)
	c.mu.Lock()
	defer c.mu.Unlock()
	var next map[seriesKey]*series
	if m := c.m.Load(); m != nil {
		if len(*m) >= k.room() {
			return s
		}
		next = maps.Clone(*m)
	} else {
		next = make(map[seriesKey]*series, 1)
	}
	next[*k] = s
	c.m.Store(&next)
	return s
}

func newSeries(k *seriesKey, r *Recorder) *series {
	s := &series{}
	add := func(key attribute.Key, value string) (safe string) {
		if value != "" {
			safe = r.text(key, value)
			s.attrs = append(s.attrs, key.String(safe))
		}
		return safe
	}
	method := add(semconv.MCPMethodNameKey, k.method)
	tool := add(semconv.GenAIToolNameKey, k.tool)
	prompt := add(semconv.GenAIPromptNameKey, k.prompt)
	if k.method == semconv.MCPMethodNameToolsCall {
		add(semconv.GenAIOperationNameKey, semconv.GenAIOperationNameExecuteTool)
	}
	s.errorType = add(semconv.ErrorTypeKey, k.errorType)
	add(semconv.RPCResponseStatusCodeKey, k.code)
	add(semconv.MCPProtocolVersionKey, k.protocolVersion)
	add(semconv.JSONRPCProtocolVersionKey, k.jsonrpcVersion)
	add(semconv.NetworkTransportKey, k.network)
	if k.httpVersion != "" {
		add(semconv.NetworkProtocolNameKey, "http")
		add(semconv.NetworkProtocolVersionKey, k.httpVersion)
	}
	if k.serverAddress != "" && k.role == RoleClient {
		add(semconv.ServerAddressKey, k.serverAddress)
		if k.serverPort != 0 {
			s.attrs = append(s.attrs, semconv.ServerPortKey.Int(k.serverPort))
		}
	}

	s.duration = []metric.RecordOption{r.metricSet(s.attrs...)}
	what := []attribute.KeyValue{
		k.role.attribute(),
		semconv.OTelMCPStageKey.String(k.stage),
		semconv.OTelMCPOutcomeKey.String(k.outcome),
		semconv.OTelMCPTransportKey.String(k.transport),
	}
	r.gate(what)
	s.attrs = append(s.attrs, what...)
	s.messages = []metric.AddOption{r.metricSet(what...)}
	sizes := []attribute.KeyValue{what[3]}
	if method != "" {
		sizes = append(sizes, semconv.MCPMethodNameKey.String(method))
	}
	s.sizes = []metric.RecordOption{r.metricSet(sizes...)}

	var b strings.Builder
	b.WriteString(method)
	switch {
	case tool != "":
		b.WriteString(" " + tool)
	case prompt != "":
		b.WriteString(" " + prompt)
	}
	s.spanName = b.String()
	s.body = line(k.body(s.spanName))
	return s
}

// body is the body of the event of a message with that span name.
func (k *seriesKey) body(name string) string {
	switch {
	case k.exchange != "":
		name = k.exchange
	case k.method == "":
		name += "message"
	}
	name += ": " + k.outcome
	switch {
	case k.errorType != "" && k.errorType != k.outcome:
		name += " (" + k.errorType + ")"
	case k.code != "":
		name += " (" + k.code + ")"
	}
	return name
}
