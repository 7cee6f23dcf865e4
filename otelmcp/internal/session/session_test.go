// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package session_test

import (
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/session"
	"github.com/otelmcp/otelmcp-go/semconv"
)

func newTable(t *testing.T) (*session.Table, *telemetrytest.Capture) {
	t.Helper()
	c := telemetrytest.New(t)
	return session.NewTable(operation.New(operation.Config{
		ScopeName:      telemetrytest.DefaultScope,
		TracerProvider: c.TracerProvider(), MeterProvider: c.MeterProvider(), LoggerProvider: c.LoggerProvider(),
	})), c
}

// started is a session that user started, as long as issuer vouches for it.
func started(user, issuer string) *session.Session {
	return &session.Session{Transport: semconv.OTelMCPTransportStreamableHTTP, UserID: user, Owner: user, Issuer: issuer}
}

// Ids and principals of any length are told apart, as they are and where they are kept
// as hashes.
func TestTextOfAnyLength(t *testing.T) {
	for _, n := range []int{1, 64, 65, 256, 257, 100_000} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			table, capture := newTable(t)
			long := strings.Repeat("x", n-1)
			id, user, issuer := long+"1", long+"2", long+"3"
			table.Issue(id)
			if odd := table.Integrity(id, "", netip.Addr{}); odd != "" {
				t.Errorf("an id that was issued is %s", odd)
			}
			if odd := table.Integrity(long+"4", "", netip.Addr{}); odd != semconv.OTelMCPSessionIntegrityUnknown {
				t.Errorf("another id is %q", odd)
			}
			table.Start(t.Context(), id, started(user, issuer))
			s := table.Get(id)
			if s == nil || table.Get(long+"4") != nil {
				t.Fatal("the session is not found, or under another id")
			}
			if !s.StartedBy(user) || !s.OwnedBy(user, issuer) {
				t.Error("it does not know its owner")
			}
			if s.StartedBy(long+"4") || s.OwnedBy(long+"4", issuer) || s.OwnedBy(user, long+"4") || s.StartedBy("") {
				t.Error("it takes somebody else for its owner")
			}
			// Who asks may have the principal from the session.
			for by, want := range map[string]string{user: "", s.UserID: "", long + "4": semconv.OTelMCPSessionIntegrityPrincipalMismatch} {
				if odd := table.Integrity(id, by, netip.Addr{}); odd != want {
					t.Errorf("a request of %.20q is %q, want %q", by, odd, want)
				}
			}
			table.End(t.Context(), id, "", nil)
			if odd := table.Integrity(id, user, netip.Addr{}); odd != semconv.OTelMCPSessionIntegrityEnded || table.Get(id) != nil {
				t.Errorf("after its end the session is %q", odd)
			}
			// Start and end tell of the same user, who is not a hash.
			var users []string
			for _, e := range capture.Logs() {
				attrs := telemetrytest.EventAttributes(e)
				u, _ := attrs.Value(semconv.UserIDKey)
				users = append(users, u.AsString())
			}
			if len(users) != 2 || users[0] != users[1] || users[0][0] != user[0] {
				t.Errorf("users %q", users)
			}
		})
	}
}

// What a session takes does not depend on how long the text is that others chose.
func TestSessionsAreSmall(t *testing.T) {
	const n, size = 40, 900 << 10
	table, _ := newTable(t)
	text := func(k int) string { return strconv.Itoa(k) + strings.Repeat("x", size) }
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for k := range n {
		table.Issue(text(-k - 1))
		s := started(text(k), text(k))
		s.SetPeer(session.NewPeer(newRecorder(t), text(k), text(k), ""))
		table.Start(t.Context(), text(k), s)
	}
	if after := heap(); after > before+2<<20 {
		t.Errorf("%d sessions take %d KiB", n, (after-before)>>10)
	}
	runtime.KeepAlive(table)
}

func newRecorder(t *testing.T) *operation.Recorder {
	t.Helper()
	c := telemetrytest.New(t)
	return operation.New(operation.Config{
		ScopeName:      telemetrytest.DefaultScope,
		TracerProvider: c.TracerProvider(), MeterProvider: c.MeterProvider(), LoggerProvider: c.LoggerProvider(),
	})
}
