// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation

import (
	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/semconv"
)

// Ruled reports whether the gate has a rule for a key, and the cap of its texts in bytes.
func Ruled(key attribute.Key) (limit int, ok bool) {
	is, ok := rules[key]
	if key == semconv.OTelMCPDefinitionNameKey { // a name, or a URI
		return MaxURI, ok
	}
	return is.limit, ok
}

// Gate makes attrs safe.
func (r *Recorder) Gate(attrs []attribute.KeyValue) { r.gate(attrs) }
