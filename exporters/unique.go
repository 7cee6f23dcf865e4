// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package exporters

// Unique attribute names on log records, at the price of one look at each. The SDK
// sees to them as well, but looks at all earlier attributes for each one that it
// adds: a record's cost then grows with the square of their number, and an event
// about an MCP message has about twenty. A pipeline from a configuration file is
// otelconf's, and has the SDK's way.

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	sdklog "go.opentelemetry.io/otel/sdk/log"
)

// unique is a processor that goes before those that keep or send records. The
// last of several attributes, or map entries, with one name is kept, as in the
// SDK. Only where a record has more attributes than the SDK's limit do those
// count that go.
type unique struct{}

func (unique) OnEmit(_ context.Context, r *sdklog.Record) error {
	if n := r.AttributesLen(); n > 0 {
		var buf [64]attribute.KeyValue
		attrs := buf[:0]
		r.WalkAttributes(func(kv attribute.KeyValue) bool {
			attrs = append(attrs, kv)
			return true
		})
		if kept, changed := uniqueKeys(attrs); changed {
			r.SetAttributes(kept...)
		}
	}
	if body, changed := uniqueValue(r.Body()); changed {
		r.SetBody(body)
	}
	return nil
}

// Enabled leaves it to those that keep or send records whether there will be one.
func (unique) Enabled(context.Context, sdklog.EnabledParameters) bool { return false }
func (unique) Shutdown(context.Context) error                         { return nil }
func (unique) ForceFlush(context.Context) error                       { return nil }

// few is how many names are compared one by one: it is faster than a map.
const few = 32

// uniqueKeys returns kvs with unique keys. It may use their memory.
func uniqueKeys(kvs []attribute.KeyValue) (kept []attribute.KeyValue, changed bool) {
	find := func(k attribute.Key) int {
		for i := range kept {
			if kept[i].Key == k {
				return i
			}
		}
		return -1
	}
	if len(kvs) > few {
		index := make(map[attribute.Key]int, len(kvs))
		find = func(k attribute.Key) int {
			if i, ok := index[k]; ok {
				return i
			}
			index[k] = len(kept)
			return -1
		}
	}
	kept = kvs[:0]
	for _, kv := range kvs {
		var nested bool
		if kv.Value, nested = uniqueValue(kv.Value); nested {
			changed = true
		}
		if i := find(kv.Key); i >= 0 {
			kept[i] = kv
			changed = true
		} else {
			kept = append(kept, kv)
		}
	}
	return kept, changed
}

func uniqueValue(v attribute.Value) (out attribute.Value, changed bool) {
	switch v.Type() {
	case attribute.MAP:
		if kvs, changed := uniqueKeys(v.AsMap()); changed {
			return attribute.MapValue(kvs...), true
		}
	case attribute.SLICE:
		items := v.AsSlice()
		for i := range items {
			var nested bool
			items[i], nested = uniqueValue(items[i])
			changed = changed || nested
		}
		if changed {
			return attribute.SliceValue(items...), true
		}
	}
	return v, false
}
