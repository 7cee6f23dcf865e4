// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// The body of a request on the HTTP edge: what is kept of it, and when the edge
// reads what the handler left.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/jsonrpc"
)

// readRest reads what is left of the body of a request that was answered
// without it, because that says what was refused. It is what net/http itself
// does before it sends such an answer, under the same conditions, so the client
// cannot tell: a read that net/http would not do could wait for a client that
// waits for its answer, and one that is given up ends the context of all that
// comes later on the connection.
func (x *exchange) readRest(w http.ResponseWriter) {
	defer x.i.rec.Guard()
	if x.body.ReadCloser == nil || x.posted != nil || x.dispatched() || x.Err() != nil || !x.responds() {
		return
	}
	r := x.r
	if r.ProtoMajor != 1 || r.ProtoMinor < 1 || r.Close || r.Header.Get("Expect") != "" ||
		r.ContentLength <= 0 || r.ContentLength > maxDrain || w.Header().Get("Connection") != "" {
		return
	}
	if _, limited := x.Deadline(); limited {
		return // http.TimeoutHandler, say, counts on the handler having returned
	}
	if srv, ok := x.Context.Value(http.ServerContextKey).(*http.Server); !ok || x.shuttingDown() || !keepsAlive(srv) {
		return
	}
	if fmt.Sprintf("%T", r.Body) == "*http.maxBytesReader" {
		return // at its limit it has the connection closed
	}
	for buf := make([]byte, 4<<10); ; {
		if _, err := x.body.Read(buf); err != nil {
			return
		}
	}
}

// maxRefused is how much of the body of a request that is refused is read first.
const maxRefused = 64 << 10

// readRefused reads the body of a request that is about to be refused by our own
// middleware. Unlike readRest it does so on connections, too, that end with the
// answer, as those of mcp-go's clients do; but not from who waits to be asked for
// the body (RFC 9110 section 10.1.1).
func (x *exchange) readRefused() {
	defer x.i.rec.Guard()
	r := x.r
	if x.body.ReadCloser == nil || r.ContentLength <= 0 || r.ContentLength > maxRefused || r.Header.Get("Expect") != "" {
		return
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(&x.body, maxRefused))
}

// keepAlivesOff is the field of an http.Server that SetKeepAlivesEnabled sets, and
// that there is no other way to read.
var keepAlivesOff, keepAlivesKnown = func() (reflect.StructField, bool) {
	f, ok := reflect.TypeFor[http.Server]().FieldByName("disableKeepAlives")
	return f, ok && f.Type == reflect.TypeFor[atomic.Bool]()
}()

// keepsAlive reports whether srv is known to let connections live on after a
// response.
func keepsAlive(srv *http.Server) bool {
	if !keepAlivesKnown {
		return false
	}
	off := (*atomic.Bool)(unsafe.Add(unsafe.Pointer(srv), keepAlivesOff.Offset))
	return !off.Load()
}

const (
	// maxDrain is how much of a body net/http reads after the handler.
	maxDrain = 256 << 10
	// maxHeld is less than what net/http holds back of a response before it
	// sends the header.
	maxHeld = 2 << 10
	// maxAnswer is how much is kept of the response to a message that is not
	// dispatched: a client can choose an id that hides what follows it.
	maxAnswer = 64 << 10
)

// body is the request's body. It keeps the beginning of what passes.
type body struct {
	io.ReadCloser
	x     *exchange
	inner *http.Request // that h sees

	mu      sync.Mutex
	buf     *[]byte
	size    int
	looked  int // how much of size was looked at
	eof     bool
	err     error
	noticed bool // it was looked through for a cancellation
	closed  bool // recorded: what is read now is nobody's
	env     *jsonrpc.Envelope
	request bool // isRequest, once buf is gone
}

// bodies holds the buffers of bodies. Large ones are left to the collector.
var bodies = sync.Pool{New: func() any {
	b := make([]byte, 0, 4<<10)
	return &b
}}

const maxPooled = 64 << 10

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.mu.Lock()                 // readRefused may read beside readRest
		if b.inner.Trailer == nil { // net/http knows the request that it made
			b.inner.Trailer = b.x.r.Trailer
		}
		b.mu.Unlock()
	}
	b.see(p[:clamp(n, len(p))], err)
	return n, err
}

func (b *body) see(p []byte, err error) {
	defer b.x.i.rec.Guard()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.eof {
		return
	}
	b.size += len(p)
	if b.env == nil && len(p) > 0 {
		if b.buf == nil {
			b.buf = bodies.Get().(*[]byte)
			*b.buf = (*b.buf)[:0]
		}
		if room := maxLook - len(*b.buf); room > 0 {
			*b.buf = append(*b.buf, p[:min(len(p), room)]...)
		}
		b.looked = len(*b.buf)
	}
	switch {
	case errors.Is(err, io.EOF):
		b.eof = true
	case err != nil:
		b.err = err
	}
	if b.eof || int64(b.size) == b.x.r.ContentLength {
		b.eof = true
		b.noticeCancel()
	}
}

// maxCancel is the size above which a message is not looked through for a
// cancellation: one has an id and perhaps a reason.
const maxCancel = 16 << 10

// noticeCancel remembers who asks for a cancellation before mcp-go acts on it:
// the request that is cancelled may end first. The method may be spelt with
// escapes.
func (b *body) noticeCancel() {
	if b.noticed {
		return
	}
	b.noticed = true
	if b.buf == nil || len(*b.buf) > maxCancel ||
		!bytes.Contains(*b.buf, []byte("cancelled")) && !bytes.Contains(*b.buf, []byte(`\u`)) {
		return
	}
	e := b.parseLocked()
	if e.Kind == jsonrpc.Notification && e.Method == string(mcp.MethodNotificationCancelled) {
		b.x.i.noticeCancel(b.x.sessionID(), &e, b.x.from.Client)
	}
}

// sizes returns how large the body was as far as it was read, and how much of
// that was not looked at.
func (b *body) sizes() (size, unread int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.size, b.size - b.looked
}

// cut reports whether the client went away within the body.
func (b *body) cut() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err != nil && (errors.Is(b.err, io.ErrUnexpectedEOF) || b.x.Err() != nil)
}

func (b *body) parse() jsonrpc.Envelope {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.parseLocked()
}

func (b *body) parseLocked() jsonrpc.Envelope {
	if b.env == nil {
		var e jsonrpc.Envelope
		switch {
		case b.buf == nil:
		case b.size > b.looked:
			e, _ = jsonrpc.Head(*b.buf)
		default:
			e = jsonrpc.Parse(*b.buf)
		}
		b.env = &e
	}
	return *b.env
}

// accept parses what was posted to HTTP+SSE, of which mcp-go reads the first value
// and no more, and lets the bytes go: the message may wait for long. whole says
// that the value's end was at hand. What is returned must not be written to.
func (b *body) accept() (*jsonrpc.Envelope, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf == nil { // it came from elsewhere
		return &jsonrpc.Envelope{Silent: true}, true
	}
	e := jsonrpc.ParseFirst(*b.buf)
	whole := e.Kind != jsonrpc.Malformed || b.size == b.looked
	if !whole {
		e, _ = jsonrpc.Head(*b.buf)
	}
	b.env = &e
	b.noticeCancel()
	b.drop(true)
	return b.env, whole
}

// isRequest reports whether the body is a request, as far as can be told: what is
// no JSON to us may be so to who decodes it.
func (b *body) isRequest() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.isRequestLocked()
}

func (b *body) isRequestLocked() bool {
	if b.buf == nil {
		return b.request
	}
	first := bytes.TrimLeft(*b.buf, " \t\r\n")
	if len(first) == 0 || first[0] != '{' {
		return b.size > 0
	}
	return jsonrpc.IsRequest(first, b.eof && b.size == b.looked)
}

// release gives the buffer back. A handler that still reads reads on unseen.
func (b *body) release(ask bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.drop(ask)
}

// drop gives the buffer back; ask says that somebody may still ask what it was.
func (b *body) drop(ask bool) {
	if b.buf == nil {
		return
	}
	b.request = ask && b.isRequestLocked()
	if cap(*b.buf) <= maxPooled {
		bodies.Put(b.buf)
	}
	b.buf = nil
}
