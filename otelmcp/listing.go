// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Which names a client has from its server, and the arguments of the tools among
// them.

import (
	"encoding/json"
	"maps"
	"sync/atomic"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/scrub"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// learned is what was listed under a name. The arguments are nil where there was no
// room for them.
type learned = map[string]*arguments

// maxListed bounds, in bytes, the names of the arguments of all tools of a server.
const maxListed = 4 << 20

// listing holds the names that a server listed, of its tools or of its prompts.
// It is read without a lock: the map is replaced, never changed.
type listing struct {
	m atomic.Pointer[learned]
}

func (l *listing) get(name string) (*arguments, bool) {
	m := l.m.Load()
	if m == nil {
		return nil, false
	}
	a, ok := (*m)[name]
	return a, ok
}

// bytes is what the names in a take. a may be nil.
func (a *arguments) bytes() int {
	if a == nil {
		return 0
	}
	return a.size
}

// learn adds what a server listed. A server that lists more than maxNames is
// told apart no further, nor are the arguments of tools that have too many. The names
// are text of the server's choosing.
func (l *listing) learn(rec *operation.Recorder, raw []byte) {
	var listed []struct {
		Name        string `json:"name"`
		InputSchema struct {
			Properties map[string]json.RawMessage `json:"properties"`
		} `json:"inputSchema"`
	}
	if json.Unmarshal(raw, &listed) != nil {
		return
	}
	for {
		old := l.m.Load()
		next := make(learned, len(listed))
		if old != nil {
			maps.Copy(next, *old)
		}
		refused, bytes := false, 0
		for _, a := range next {
			bytes += a.bytes()
		}
		for _, t := range listed {
			if scrub.Name(t.Name, operation.MaxName) != t.Name {
				continue // a text that must not stand on a metric as it is
			}
			known, again := next[t.Name]
			if !again && len(next) >= maxNames {
				refused = true
				continue
			}
			is := renewed(known, t.InputSchema.Properties)
			if bytes += is.bytes() - known.bytes(); bytes > maxListed {
				bytes -= is.bytes()
				is, refused = nil, true
			}
			next[t.Name] = is
		}
		if l.m.CompareAndSwap(old, &next) {
			if refused {
				rec.Refuse(semconv.OTelMCPRefusedReasonNameTable)
			}
			return
		}
	}
}
