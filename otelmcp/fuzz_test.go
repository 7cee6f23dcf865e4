// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// Arbitrary bytes in place of a message: the instrumented server answers as the
// bare one does, records at most one operation, and whole telemetry.

import (
	"bytes"
	"testing"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

func FuzzHandleMessage(f *testing.F) {
	for _, raw := range handWritten()[:22] {
		f.Add(raw)
	}
	g := newSayings(4711)
	for range 60 {
		f.Add(g.message())
	}
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","_meta":{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 1<<16 {
			t.Skip("too long to learn from")
		}
		for _, c := range []twinConfig{{recovery: true, hooks: true}, {validate: true, page: 1}} {
			capture, opts := captureOptions(t, telemetrytest.WithoutCheck())
			bare, w := newTwin(c), newTwin(c)
			w.inst = otelmcp.Instrument(w.srv, opts...)
			same := []way{{"", ways[1].session}}[0]
			compareDirect(t, same, bare, w, [][]byte{raw})
			for _, err := range capture.Check() {
				t.Errorf("%s: %v", clip(raw), err)
			}
			n := 0
			events := capture.EventsNamed(semconv.OTelMCPOperationEventName)
			for k := range events {
				if attrString(events[k], semconv.OTelMCPRoleKey) == semconv.OTelMCPRoleServer {
					n++
				}
			}
			if n > 1 && !bytes.Contains(raw, []byte("nested")) { // that tool calls another one
				t.Errorf("%s is recorded %d times", clip(raw), n)
			}
		}
	})
}
