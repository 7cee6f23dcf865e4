// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package bench

// What stays in memory of long traffic of every kind.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// traffic is one server with everything that long traffic has: sessions that come and go, names and ids that never
// come again, errors of each kind, both protocol versions, with and without an edge.
type traffic struct {
	ctx      context.Context //nolint:containedctx // of every message
	server   *server.MCPServer
	handler  http.Handler
	direct   *dispatched
	session  string
	sent     int
	pipeline Pipeline
}

func newTraffic(ctx context.Context, c Contender) (*traffic, error) {
	t := &traffic{ctx: ctx, pipeline: c.newPipeline()}
	target := c.Server(t.pipeline, func(opts ...server.ServerOption) *server.MCPServer { return buildServer(10, opts...) })
	t.server, t.handler = target.Server, target.handler()
	t.direct = &dispatched{handle: target.Handle}
	if t.direct.handle == nil {
		t.direct.handle = target.Server.HandleMessage
	}
	in, err := openSession(ctx, target.Server, t.direct.handle, "stays")
	if err != nil {
		return nil, err
	}
	t.direct.contexts = []context.Context{in}
	t.session, err = t.open()
	return t, err
}

func (t *traffic) exchange(method, session string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(t.ctx, method, "http://127.0.0.1/mcp", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	if session != "" {
		r.Header.Set(mcp.HeaderProtocolVersion, legacy)
		r.Header.Set(server.HeaderKeySessionID, session)
	}
	w := httptest.NewRecorder()
	t.handler.ServeHTTP(&http1Recorder{w}, r)
	return w
}

// http1Recorder has the interfaces of net/http's ResponseWriter for HTTP/1: a wrapper that looks for them must find
// here what it finds in a server.
type http1Recorder struct{ *httptest.ResponseRecorder }

func (*http1Recorder) CloseNotify() <-chan bool              { return nil }
func (*http1Recorder) EnableFullDuplex() error               { return nil }
func (*http1Recorder) SetReadDeadline(time.Time) error       { return nil }
func (*http1Recorder) SetWriteDeadline(time.Time) error      { return nil }
func (w *http1Recorder) ReadFrom(r io.Reader) (int64, error) { return w.Body.ReadFrom(r) }

func (w *http1Recorder) FlushError() error {
	w.Flush()
	return nil
}

func (*http1Recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, http.ErrNotSupported
}

func (t *traffic) open() (string, error) {
	w := t.exchange(http.MethodPost, "", hello)
	id := w.Header().Get(server.HeaderKeySessionID)
	if id == "" {
		return "", fmt.Errorf("no session: %d %.200s", w.Code, w.Body)
	}
	return id, nil
}

// fill makes every table full that traffic can fill. The largest of otelmcp remembers the last 32,768 sessions that
// ended; until it is full it grows.
func (t *traffic) fill() error {
	for range 34_000 {
		id, err := t.open()
		if err != nil {
			return err
		}
		t.exchange(http.MethodDelete, id, nil)
	}
	return nil
}

// send sends n more messages.
func (t *traffic) send(n int) error {
	for range n {
		if err := t.one(); err != nil {
			return err
		}
	}
	return nil
}

func (t *traffic) one() error {
	k := t.sent
	t.sent++
	unique := strconv.Itoa(k)
	expect := func(body []byte, ok bool) error {
		w := t.exchange(http.MethodPost, t.session, body)
		if bytes.Contains(w.Body.Bytes(), []byte(`"result"`)) != ok {
			return fmt.Errorf("message %d, %.100q, was answered with %d %.200s", k, body, w.Code, w.Body)
		}
		return nil
	}
	switch k % 16 {
	case 8:
		return expect(request(legacy, k, "tools/list", ""), true)
	case 9:
		return expect(call(legacy, k, "no-such-tool-"+unique, 5), false)
	case 10:
		return expect(request(legacy, k, "no/such/method/"+unique, ""), false)
	case 11:
		return expect([]byte(`{"jsonrpc":"2.0","id":`+unique+`,"method":`), false)
	case 12:
		return expect(call(legacy, k, "fails", 5), false)
	case 13:
		return expect(request(legacy, k, "resources/read", `"uri":"bench://none/`+unique+`"`), false)
	case 14: // mcp-go itself keeps a session that is abandoned, so this one is ended
		id, err := t.open()
		if err == nil {
			t.exchange(http.MethodDelete, id, nil)
		}
		return err
	case 15: // a session id that was never given out
		t.exchange(http.MethodPost, "mcp-session-"+unique, call(legacy, k, "echo", 5))
		return nil
	case 6, 7:
		t.direct.messages = []json.RawMessage{call(legacy, k, "echo", 5)}
		return t.direct.run(1)
	case 5:
		t.direct.messages = []json.RawMessage{call(modern, k, "echo", 5)}
		return t.direct.run(1)
	default:
		return expect(call(legacy, k, "echo", 5), true)
	}
}

// run calls echo in the session that stays.
func (t *traffic) run(n int) error {
	for range n {
		t.sent++
		if w := t.exchange(http.MethodPost, t.session, call(legacy, t.sent, "echo", 5)); w.Code != http.StatusOK {
			return fmt.Errorf("echo was answered with %d %.200s", w.Code, w.Body)
		}
	}
	return nil
}

func (*traffic) usage() (usage, error) { return currentUsage(), nil }
func (t *traffic) close()              { t.pipeline.shutdown(context.Background()) }

// heap is what is in use after a collection, beside what still waits for its export.
func (t *traffic) heap() uint64 {
	t.pipeline.flush(t.ctx)
	runtime.GC()
	runtime.GC() // what finalizers and pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	runtime.KeepAlive(t)
	return m.HeapAlloc
}
