// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation

// Which error codes stand on metrics. A peer chooses the codes of its answers, so
// that each of those could be a series of its own.

import (
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/semconv"
)

// protocolCodes stand on metrics, whoever sent them.
var protocolCodes = [...]int{
	// JSON-RPC 2.0, section 5.1.
	CodeParseError, CodeInvalidRequest, CodeMethodNotFound, CodeInvalidParams, CodeInternalError,
	// MCP: resources (2024-11-05) and URL mode elicitation (2025-11-25).
	CodeResourceNotFound, codeURLElicitationRequired,
	// MCP 2026-07-28: what a request of that version is refused for.
	codeHeaderMismatch, codeMissingCapability, codeUnsupportedVersion,
}

const (
	codeURLElicitationRequired = -32042
	codeHeaderMismatch         = -32020
	codeMissingCapability      = -32021
	codeUnsupportedVersion     = -32022
)

// maxCodes bounds how many codes of a program's own are told apart on metrics. A
// program has few, unless it passes on those of somebody else.
const maxCodes = 32

// codeTable holds the first codes that a program answered with. It is read and
// written without a lock; 0, which is no code, is a free place.
type codeTable [maxCodes]atomic.Int64

// admit reports whether code has a place.
func (t *codeTable) admit(code int) bool {
	for k := range t {
		place := &t[k]
		if place.Load() == int64(code) || place.CompareAndSwap(0, int64(code)) || place.Load() == int64(code) {
			return true
		}
	}
	return false
}

// boundedCode is the code, whose text is given, as it stands on metrics. Who
// receives a message answers it itself, with codes of the program's own; to who
// sends one, the code is the peer's.
func (r *Recorder) boundedCode(role Role, code int, text string) string {
	switch {
	case code == 0 || slices.Contains(protocolCodes[:], code):
		return text
	case role != RoleServer:
		return Other
	case !r.codes.admit(code):
		r.Refuse(semconv.OTelMCPRefusedReasonNameTable)
		return Other
	}
	return text
}

// statusText is error.type for an HTTP status: one that nobody registered (RFC 9110
// section 16.2) is a number that the peer chose.
func statusText(status int) string {
	if http.StatusText(status) == "" {
		return Other
	}
	return strconv.Itoa(status)
}

// with is s, whose key is k, for a message with another code than metrics may carry:
// its span and its event tell the real one.
func (s *series) with(k seriesKey, is result) *series {
	told := *s
	told.attrs = slices.Clone(s.attrs)
	for i := range told.attrs {
		switch kv := &told.attrs[i]; kv.Key {
		case semconv.RPCResponseStatusCodeKey:
			kv.Value = attribute.StringValue(is.code)
		case semconv.ErrorTypeKey:
			kv.Value = attribute.StringValue(is.errorType)
		}
	}
	k.code, k.errorType = is.code, is.errorType
	told.errorType, told.body = is.errorType, line(k.body(s.spanName))
	return &told
}
