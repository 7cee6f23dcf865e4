// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation_test

import (
	"strconv"
	"testing"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// protocolCodes are those of JSON-RPC 2.0 and of MCP.
var protocolCodes = []int{-32700, -32600, -32601, -32602, -32603, -32002, -32042, -32020, -32021, -32022}

// answer records a message that was answered with the code.
func answer(t *testing.T, r *operation.Recorder, role operation.Role, code int) {
	t.Helper()
	o := begin(t.Context(), r, role, "ping")
	o.Code = code
	o.Finish()
}

// codesOn are the codes on the metric, each with the number of its series.
func codesOn(capture *telemetrytest.Capture, metric string) map[string]int {
	codes := map[string]int{}
	for _, p := range capture.HistogramPoints(metric) {
		code, _ := p.Attributes.Value(semconv.RPCResponseStatusCodeKey)
		codes[code.AsString()]++
	}
	return codes
}

// What a peer answers with is as many codes as it likes, and one series.
func TestCodesOfAPeer(t *testing.T) {
	capture := telemetrytest.New(t)
	r := newRecorder(capture)
	const n = 3000
	for k := range n {
		answer(t, r, operation.RoleClient, k-n/2)
	}
	for _, code := range protocolCodes {
		answer(t, r, operation.RoleClient, code)
	}
	on := codesOn(capture, semconv.MCPClientOperationDurationName)
	if len(on) != len(protocolCodes)+2 || on["_OTHER"] != 1 || on[""] != 1 { // 0 is no code
		t.Errorf("the metric has the codes %v", on)
	}
	for _, code := range protocolCodes {
		if on[strconv.Itoa(code)] != 1 {
			t.Errorf("%d is not among the codes %v", code, on)
		}
	}

	// The span and the event tell the real one.
	capture.Reset()
	answer(t, r, operation.RoleClient, 4711)
	event := capture.EventsNamed(semconv.OTelMCPOperationEventName)[0]
	for where, attrs := range map[string]attribute.Set{
		"span":  telemetrytest.SpanAttributes(capture.SpanNamed("ping")),
		"event": telemetrytest.EventAttributes(event),
	} {
		for _, key := range []attribute.Key{semconv.RPCResponseStatusCodeKey, semconv.ErrorTypeKey} {
			if v, _ := attrs.Value(key); v.AsString() != "4711" {
				t.Errorf("%s of the %s is %q", key, where, v.AsString())
			}
		}
	}
	if got, want := event.Body().AsString(), "ping: error (4711)"; got != want {
		t.Errorf("the event says %q, want %q", got, want)
	}
	if got := capture.SpanNamed("ping").Status().Description; got != "4711" {
		t.Errorf("the status says %q", got)
	}
}

// A program's own codes stand as they are, as long as they are few: one that passes
// on those of somebody else can have any number.
func TestCodesOfTheProgram(t *testing.T) {
	const places, n = 32, 3000
	capture := telemetrytest.New(t)
	r := newRecorder(capture)
	for range 2 {
		for k := range n {
			answer(t, r, operation.RoleServer, k+1)
		}
	}
	on := codesOn(capture, semconv.MCPServerOperationDurationName)
	if len(on) != places+1 || on["_OTHER"] != 1 || on["1"] != 1 {
		t.Errorf("the metric has %d codes: %v", len(on), on)
	}
	if got := capture.CounterValue(semconv.OTelMCPTelemetryRefusedName,
		semconv.OTelMCPRefusedReasonKey.String(semconv.OTelMCPRefusedReasonNameTable)); got != 2*(n-places) {
		t.Errorf("%d refused codes are counted, want %d", got, 2*(n-places))
	}
}

// A status that nobody registered is a number that the peer chose.
func TestStatusesOfAPeer(t *testing.T) {
	capture := telemetrytest.New(t)
	r := newRecorder(capture)
	for status := 400; status < 1000; status++ {
		o := begin(t.Context(), r, operation.RoleClient, "ping")
		o.HTTPStatus = status
		o.Finish()
	}
	types := map[string]bool{}
	for _, p := range capture.HistogramPoints(semconv.MCPClientOperationDurationName) {
		v, _ := p.Attributes.Value(semconv.ErrorTypeKey)
		types[v.AsString()] = true
	}
	if len(types) > 60 || !types["_OTHER"] || !types["404"] {
		t.Errorf("%d values of error.type: %v", len(types), types)
	}
}
