// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// The codes of answers whose ids are so long that an edge does not see both at once.

import (
	"io"
	"strings"
	"testing"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
)

// The code of an answer is read wherever its id ends: on each way that an answer goes.
func TestCodesBehindIDs(t *testing.T) {
	var ids []string
	for n := 900; n <= 1100; n++ {
		ids = append(ids, strings.Repeat("i", n))
	}
	ids = append(ids, strings.Repeat("i", 60_000))
	body := func(id string) string { return `{"jsonrpc":"2.00","id":"` + id + `","method":"ping"}` }
	only := func(t *testing.T, capture *telemetrytest.Capture, want string) {
		t.Helper()
		eventually(t, func() bool { return len(records(capture)) >= len(ids) })
		for k, is := range records(capture) {
			if is != want {
				t.Errorf("the message %d is recorded as %q, want %q", k, is, want)
			}
		}
	}
	t.Run("HTTP", func(t *testing.T) {
		_, _, c, capture := edged(t, rawHandlers["stateless"])
		for _, id := range ids {
			c.do(step{send: rawPost(body(id))})
		}
		only(t, capture, "rejected transport ping 200 -32600")
	})
	t.Run("HTTP+SSE", func(t *testing.T) {
		_, _, c, capture := edged(t, rawHandlers["sse"])
		stream := c.stream()
		go func() { _, _ = io.Copy(io.Discard, stream) }()
		for _, id := range ids {
			c.do(step{send: rawPostTo(toMessages, body(id))})
		}
		only(t, capture, "rejected transport ping 202 -32600")
		_ = stream.Close()
	})
	t.Run("stdio", func(t *testing.T) {
		s, capture := instrumented(t)
		i := otelmcp.Instrument(s.MCPServer)
		var in strings.Builder
		for _, id := range ids {
			in.WriteString(body(id) + "\n")
		}
		_ = i.Listen(t.Context(), strings.NewReader(in.String()), io.Discard)
		only(t, capture, "rejected transport ping - -32600")
	})
}
