// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file says when the SDK's queues of spans and log records are full, and when
// that is over. The SDK tells only its logger how many it has dropped, and of log
// records as a warning each time, of spans in what is meant for debugging.

package exporters

import (
	"sync"
	"time"

	"github.com/go-logr/logr"
)

// What the SDK says just before it hands a batch to its exporter.
const (
	recordsDropped = "dropped log records" // "dropped": how many since it last said so
	exportingSpans = "exporting spans"     // "total_dropped": how many ever

	warning = 1 // the verbosity of the SDK's warnings
	debug   = 8 // and of what is meant for debugging
)

// quiet is for how long nothing must have been dropped for the queue to be said to be
// no longer full. A load that is just too much would say so over and over.
const quiet = time.Minute

// queues follows the queues of a pipeline. It is told of drops by the SDK's logger.
type queues struct {
	out *diagnostics

	mu      sync.Mutex
	total   uint64 // spans ever dropped
	spans   queue
	records queue
}

type queue struct {
	what, env string
	dropped   uint64    // since it was said to be full; 0 while it is not
	last      time.Time // when the newest were found out about
}

func newQueues(out *diagnostics) *queues {
	return &queues{
		out:     out,
		spans:   queue{what: "spans", env: bsp + "MAX_QUEUE_SIZE"},
		records: queue{what: "log records", env: blrp + "MAX_QUEUE_SIZE"},
	}
}

// drop notes that n more did not fit into x; q.mu is held.
func (q *queues) drop(x *queue, n uint64) {
	if n == 0 {
		return
	}
	if x.dropped == 0 {
		q.out.say("the queue of %s is full, and %[1]s are dropped (%s)", x.what, x.env)
	}
	x.dropped += n
	x.last = q.out.now()
}

// over says that x is no longer full, if it was and that is so for long enough;
// q.mu is held.
func (q *queues) over(x *queue, enough time.Duration) {
	if x.dropped > 0 && q.out.now().Sub(x.last) >= enough {
		q.out.say("the queue of %s is no longer full: %d %[1]s were dropped", x.what, x.dropped)
		x.dropped = 0
	}
}

// spansDropped is told how many spans have ever been dropped. Where a configuration
// file has several queues of spans, it is that with the most of them which counts.
func (q *queues) spansDropped(total uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if total > q.total {
		q.drop(&q.spans, total-q.total)
		q.total = total
	}
	q.over(&q.spans, quiet)
}

func (q *queues) recordsDropped(n uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.drop(&q.records, n)
}

// recordsExported is called with each batch of log records. The SDK has said before
// whether any were dropped.
func (q *queues) recordsExported() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.over(&q.records, quiet)
}

// close says what has not been said. It is called after the last export.
func (q *queues) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.over(&q.spans, 0)
	q.over(&q.records, 0)
}

// sdkLog takes what the SDK logs: drops to the queues, its other warnings and its
// errors to sink. Its chatter is left out.
type sdkLog struct {
	logr.LogSink
	queues *queues
}

func (sdkLog) Enabled(level int) bool { return level <= warning || level == debug }

func (l sdkLog) Info(level int, message string, keysAndValues ...any) {
	switch {
	case message == exportingSpans:
		l.queues.spansDropped(count(keysAndValues, "total_dropped"))
	case message == recordsDropped:
		l.queues.recordsDropped(count(keysAndValues, "dropped"))
	case level <= warning:
		l.LogSink.Info(level, message, keysAndValues...)
	}
}

// count returns the value of a key, or 0 when there is none.
func count(keysAndValues []any, key string) uint64 {
	for i := 1; i < len(keysAndValues); i += 2 {
		if keysAndValues[i-1] != any(key) {
			continue
		}
		switch n := keysAndValues[i].(type) {
		case uint32:
			return uint64(n)
		case uint64:
			return n
		}
	}
	return 0
}
