// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Notices: who asked, over HTTP, for the cancellation of a request. It is told in an
// exchange of its own, and remembered until the request ends. Anybody can ask, for
// any request, so that a notice is of one size and does not stay.

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/jsonrpc"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/pending"
	"github.com/otelmcp/otelmcp-go/semconv"
)

const (
	// maxNotices bounds how many cancellations are remembered.
	maxNotices = 1024
	// noticeLife is for how long one is remembered: longer than a handler takes to
	// return after the end of its context.
	noticeLife = 10 * time.Minute
	// noticeLead is how long before its request a cancellation can be read and still
	// be for it: mcp-go acts on it only after it was read.
	noticeLead = time.Second
)

// notice says who asked for a cancellation, and when.
type notice struct {
	key  string // where it is kept
	from netip.Addr
	at   time.Time
}

// notices are the cancellations that were asked for, by session and request id. It is
// safe for concurrent use.
type notices struct {
	table *pending.Table[notice]
	seeds [2]maphash.Seed
}

func newNotices() notices {
	return notices{
		table: pending.NewTable[notice](maxNotices),
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
	}
}

// noticeKey is the 128 bits that a session and a request id are remembered by. Both
// are text of any size that the client chose. It does not see the seeds, nor a hash,
// and so cannot make two that are the same.
type noticeKey [16]byte

func (n *notices) key(sessionID, id string) (key noticeKey) {
	for k, seed := range n.seeds {
		var h maphash.Hash
		h.SetSeed(seed)
		_, _ = h.WriteString(sessionID)
		_ = h.WriteByte(0)
		_, _ = h.WriteString(id)
		binary.LittleEndian.PutUint64(key[8*k:], h.Sum64())
	}
	return key
}

// add remembers a cancellation, and reports whether another one made room for it.
func (n *notices) add(key noticeKey, from netip.Addr) (full bool) {
	now := time.Now()
	n.expire(now)
	k := string(key[:])
	_, full = n.table.Add(k, notice{k, from, now})
	return full
}

// take takes the cancellation of a request that came in at since, if there is one.
func (n *notices) take(sessionID, id string, since time.Time) (notice, bool) {
	if n.table.Empty() {
		return notice{}, false
	}
	n.expire(time.Now())
	key := n.key(sessionID, id)
	since = since.Add(-noticeLead)
	return n.table.TakeFunc(string(key[:]), func(n notice) bool { return !n.at.Before(since) })
}

// withdraw forgets a cancellation that was asked for from there.
func (n *notices) withdraw(key noticeKey, from netip.Addr) {
	n.table.TakeFunc(string(key[:]), func(n notice) bool { return n.from == from })
}

// expire forgets what is older than noticeLife.
func (n *notices) expire(now time.Time) {
	for {
		old := ""
		for oldest := range n.table.All() {
			if now.Sub(oldest.at) > noticeLife {
				old = oldest.key
			}
			break
		}
		if old == "" {
			return
		}
		n.table.TakeFunc(old, func(n notice) bool { return now.Sub(n.at) > noticeLife })
	}
}

func (i *Instrumentation) noticeCancel(sessionID string, e *jsonrpc.Envelope, from netip.Addr) {
	if e.Target == "" {
		return
	}
	n := &i.edges.notices
	if n.add(n.key(sessionID, e.Target), from) {
		i.rec.Refuse(semconv.OTelMCPRefusedReasonPendingTable)
	}
}

// refusedCancel forgets a cancellation that was turned away: what strangers send
// must not push out the wishes of clients.
func (i *Instrumentation) refusedCancel(sessionID string, e *jsonrpc.Envelope, from netip.Addr) {
	if e != nil && e.Target != "" && e.Method == string(mcp.MethodNotificationCancelled) {
		n := &i.edges.notices
		n.withdraw(n.key(sessionID, e.Target), from)
	}
}

// settleCancel records who ended the exchange's message, if it was cancelled. without
// is who did when the client did not ask for it. That it noticed a wish of the client's
// only counts while the client is there.
func (x *exchange) settleCancel(without string) {
	m := &x.m
	n, noticed := x.i.edges.notices.take(m.session, m.RequestID, x.start)
	sure := noticed && without == semconv.OTelMCPCancelSourceServer
	m.settleCancel(without, sure)
	if sure && m.Outcome == semconv.OTelMCPOutcomeCancelled && n.from.IsValid() {
		m.Facts = append(m.Facts, semconv.OTelMCPCancelAddressKey.String(n.from.String()))
	}
}

// settleCancel records who ended a message, if it was cancelled. without is who did
// when the client did not ask for it; sure says that it did.
func (m *message) settleCancel(without string, sure bool) {
	if m.Outcome != semconv.OTelMCPOutcomeCancelled {
		return
	}
	if sure {
		without = semconv.OTelMCPCancelSourceClientRequest
	}
	m.Facts = append(m.Facts, semconv.OTelMCPCancelSourceKey.String(without))
}
