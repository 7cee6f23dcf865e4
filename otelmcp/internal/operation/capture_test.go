// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation_test

// Content that is captured: what of it stands on which record, and that what is left out is counted.

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// Variables beyond the bound are not kept, and the operation says how many bytes that were.
func TestVariablesThatAreLeftOutAreCounted(t *testing.T) {
	for _, n := range []int{operation.MaxListed, operation.MaxListed + 1, 1000} {
		capture := telemetrytest.New(t)
		o := begin(t.Context(), newRecorder(capture), operation.RoleServer, "prompts/get")
		variables := map[string]any{}
		for i := range n {
			variables[fmt.Sprintf("v%04d", i)] = "value" // 5 and 5 bytes
		}
		o.CaptureVariables(variables)
		o.Finish()
		kept, cut := 0, attribute.Value{}
		for _, kv := range capture.Spans()[0].Attributes() {
			switch {
			case strings.HasPrefix(string(kv.Key), string(semconv.GenAIPromptVariableKey)):
				kept++
			case kv.Key == semconv.OTelMCPContentTruncatedKey:
				cut = kv.Value
			}
		}
		missing := n - operation.MaxListed
		if kept != operation.MaxListed {
			t.Errorf("%d of %d variables are kept", kept, n)
		}
		if missing == 0 && cut.Type() != attribute.EMPTY || cut.AsInt64() < int64(10*missing) || cut.AsInt64() > int64(20*missing) {
			t.Errorf("%d variables: %v bytes are said to be cut, %d are", n, cut.AsInterface(), 10*missing)
		}
	}
}

// A span has content as it is structured, an event as text, and each its own.
func TestContentOfBothRecords(t *testing.T) {
	capture := telemetrytest.New(t)
	o := begin(t.Context(), newRecorder(capture), operation.RoleServer, "tools/call")
	o.Capture(semconv.GenAIToolCallArgumentsKey, map[string]any{"n": 1, "long": strings.Repeat("x", 1<<20)})
	o.CaptureText(semconv.GenAIToolCallResultKey, map[string]any{"n": 2})
	o.Finish()
	span, event := telemetrytest.SpanAttributes(capture.Spans()[0]), telemetrytest.EventAttributes(capture.Logs()[0])
	if v, _ := span.Value(semconv.GenAIToolCallArgumentsKey); v.Type() != attribute.MAP {
		t.Errorf("the span has %v", v)
	}
	if v, _ := event.Value(semconv.GenAIToolCallResultKey); v.AsString() != `{"n":2}` {
		t.Errorf("the event has %v", v)
	}
	for _, key := range []attribute.Key{semconv.GenAIToolCallArgumentsKey, semconv.OTelMCPContentTruncatedKey} {
		if event.HasValue(key) || !span.HasValue(key) {
			t.Errorf("%s is on the event, or not on the span", key)
		}
	}
	if span.HasValue(semconv.GenAIToolCallResultKey) {
		t.Error("the span has what is the event's")
	}
	if n := o.ContentBytes(); n < 1<<12 || n > 1<<16 {
		t.Errorf("%d bytes are kept", n)
	}
}

// Names of arguments that read the same in a key do not take each other's.
func TestNamesThatCollide(t *testing.T) {
	capture := telemetrytest.New(t)
	o := begin(t.Context(), newRecorder(capture), operation.RoleServer, "tools/call")
	long := strings.Repeat("n", 1000)
	names := []string{"a b", "a\nb", "a\tb", "a b#2", long + "1", long + "2", "\xff", "", "A b"}
	args := map[string]any{}
	for k, name := range names {
		args[name] = float64(k)
	}
	o.CaptureMembers(args, operation.NewMembers(semconv.OTelMCPToolArgumentKey, names), func(string) bool { return true })
	o.Finish()
	found := map[string]attribute.Key{}
	event := telemetrytest.EventAttributes(capture.Logs()[0])
	for _, kv := range event.ToSlice() {
		if name, is := strings.CutPrefix(string(kv.Key), string(semconv.OTelMCPToolArgumentKey)); is {
			found[kv.Value.AsString()] = kv.Key
			if len(name) > operation.MaxName+4 || strings.ContainsAny(name, "\n\t") || !utf8.ValidString(name) {
				t.Errorf("the key %q", kv.Key)
			}
		}
	}
	if len(found) != len(names) || found["0"] != "otelmcp.tool.argument.a b" || found["3"] != "otelmcp.tool.argument.a b#2#2" {
		t.Errorf("%d arguments have %d keys: %v", len(names), len(found), found)
	}
}
