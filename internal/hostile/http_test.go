// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package hostile_test

// The attack over HTTP: several clients at once, in sessions that are theirs, forged,
// ended or of nobody. Each exchange tells which it was by its user agent.

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// serving is how a server over HTTP is set up.
type serving int

const (
	generating serving = iota // ids of sessions are made, and not remembered
	stateful                  // and remembered
	stateless                 // there are no sessions
	unstreamed                // and no streams
	overSSE                   // HTTP+SSE
	servings
)

func (s serving) handler(srv *server.MCPServer) http.Handler {
	quiet := server.WithStreamableHTTPLogger(slog.New(slog.DiscardHandler))
	switch s {
	case stateful:
		return server.NewStreamableHTTPServer(srv, quiet, server.WithStateful(true))
	case stateless:
		return server.NewStreamableHTTPServer(srv, quiet, server.WithStateLess(true))
	case unstreamed:
		return server.NewStreamableHTTPServer(srv, quiet, server.WithDisableStreaming(true))
	case overSSE:
		return server.NewSSEServer(srv)
	}
	return server.NewStreamableHTTPServer(srv, quiet)
}

// exchange is one request, and what came back.
type exchange struct {
	who     string
	method  string
	path    string
	headers [][2]string
	body    string
	m       *message // nil for an exchange that carries none
	cut     bool     // the client goes within the body
	gone    bool     // or while its call is held
	wanted  bool     // it answers what the server asks, and is recorded there
	named   bool     // it names a session

	status int
	answer []byte // the last message that came back
	events int    // notifications that came before it
	stream bool   // it is a stream that the client left
}

// crowd is some clients of one server at once.
type crowd struct {
	kind    serving
	seed    uint64
	p       *play
	h, bare http.Handler
	web     *httptest.Server
	hc      *http.Client
	known   *rehearsal

	mu        sync.Mutex
	exchanges []*exchange
	asked     int // notifications that came on streams
	vague     bool
	wrong     []string
}

func (c *crowd) wrongf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
}

// visitor is one client of them.
type visitor struct {
	*crowd
	*maker
	n       int
	session string // as our server calls it
	bares   string // as the bare one does
	ended   [2]string
	going   sync.WaitGroup
	sse     *sseStream
	sent    int
}

// who is the user agent of the next exchange.
func (v *visitor) who() string {
	v.sent++
	return fmt.Sprintf("agent/%d.%d", v.n, v.sent)
}

const forgedSession = "mcp-session-00000000-0000-4000-8000-000000000000"

// visit has the client do about n exchanges.
func (v *visitor) visit(n int) {
	defer v.leave()
	if v.kind == overSSE {
		v.sse = v.open()
		if v.sse == nil {
			return
		}
		defer v.sse.leave()
	} else if v.kind != stateless || v.IntN(2) == 0 {
		v.handshake()
	}
	holding := make(chan struct{}, 3)
	for range n {
		switch k := v.IntN(100); {
		case v.sse != nil:
			v.post(v.any(), holding)
		case k < 3:
			v.odd()
		case k < 5 && v.session != "":
			v.leave()
			v.handshake()
		case k < 6:
			v.listen()
		default:
			v.post(v.any(), holding)
		}
	}
}

func (v *visitor) handshake() {
	m := v.message(ping)
	m.class, m.method, m.id, m.trace = list, "initialize", anything, ""
	m.raw = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",` +
		`"capabilities":{"sampling":{},"elicitation":{},"roots":{}},"clientInfo":{"name":"tester","version":"1"}}}`
	x := &exchange{who: v.who(), method: http.MethodPost, body: m.raw, m: m}
	header, bare := v.do(context.Background(), x, "", "", false)
	v.session, v.bares = header.Get(server.HeaderKeySessionID), bare.Get(server.HeaderKeySessionID)
}

// leave deletes the session.
func (v *visitor) leave() {
	v.going.Wait() // for what is held in it
	if v.session != "" {
		v.do(context.Background(), &exchange{who: v.who(), method: http.MethodDelete}, v.session, v.bares, false)
	}
	v.ended = [2]string{v.session, v.bares}
}

// odd is an exchange that carries no message.
func (v *visitor) odd() {
	x := &exchange{who: v.who(), method: []string{http.MethodPut, http.MethodHead, http.MethodOptions, "EVIL", http.MethodDelete, http.MethodGet}[v.IntN(6)]}
	if x.method == http.MethodGet || x.method == http.MethodDelete {
		x.headers = append(x.headers, [2]string{mcp.HeaderProtocolVersion, []string{mcp.ProtocolVersion20260728, "1999-01-01"}[v.IntN(2)]})
	}
	v.do(context.Background(), x, "", "", false)
}

// listen opens the stream of the session, and leaves it.
func (v *visitor) listen() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	x := &exchange{who: v.who(), method: http.MethodGet, path: "/", stream: true}
	req := x.request(ctx, v.web.URL)
	if v.session != "" {
		req.Header.Set(server.HeaderKeySessionID, v.session)
	}
	res, err := v.hc.Do(req)
	if err != nil {
		v.wrongf("a stream: %v", err)
		return
	}
	x.status = res.StatusCode
	x.stream = res.StatusCode == http.StatusOK
	v.mu.Lock()
	v.vague = v.vague || x.stream // what came on it nobody counts
	v.mu.Unlock()
	cancel()
	_ = res.Body.Close()
	v.note(x)
}

// post sends a message, in a session or not.
func (v *visitor) post(m *message, holding chan struct{}) {
	x := &exchange{who: v.who(), method: http.MethodPost, body: m.raw, m: m}
	session, bare := v.session, v.bares
	modern := strings.Contains(m.raw, mcp.MetaKeyProtocolVersion)
	wire := v.IntN(5) == 0
	if v.sse == nil {
		switch v.IntN(12) {
		case 0:
			session, bare = "", ""
		case 1:
			session, bare = forgedSession, forgedSession
		case 2:
			session, bare = "abc", "abc"
		case 3:
			session, bare = v.ended[0], v.ended[1]
		case 4:
			x.headers = append(x.headers, [2]string{"Content-Type", []string{"text/plain", ";;;", ""}[v.IntN(3)]})
		case 5:
			x.headers = append(x.headers, [2]string{mcp.HeaderProtocolVersion, []string{"1999-01-01", mcp.ProtocolVersion20260728, "2999-01-01"}[v.IntN(3)]})
		}
		x.named = session != ""
		if modern && v.IntN(4) > 0 {
			x.headers = append(x.headers, [2]string{mcp.HeaderProtocolVersion, mcp.ProtocolVersion20260728})
			if v.IntN(5) > 0 && m.method != anything {
				x.headers = append(x.headers, [2]string{"Mcp-Method", m.method})
			}
			if m.target != "" && m.target != anything && v.IntN(8) > 0 {
				x.headers = append(x.headers, [2]string{"Mcp-Name", m.target})
			}
		}
	}
	if len(m.raw) > 20 && v.sse == nil && v.IntN(60) == 0 {
		x.cut = true
		v.do(context.Background(), x, session, bare, false)
		return
	}
	if m.asks != "" {
		if v.sse != nil || session != v.session || session == "" || v.kind == unstreamed || modern || len(x.headers) > 0 {
			m.class = list // it has nobody to ask
			v.p.act(m.nonce).asked = nil
			x.m = v.message(ping)
			x.body = x.m.raw
		}
		wire = true
		for _, what := range []string{"sampling", "roots"} { // go out on another stream
			x.body = strings.Replace(x.body, `"what":"`+what+`"`, `"what":"elicitation"`, 1)
		}
		x.m.raw = x.body
	}
	if !x.m.held {
		if v.sse != nil {
			v.sse.post(x)
			return
		}
		v.do(context.Background(), x, session, bare, wire)
		return
	}
	holding <- struct{}{}
	ctx, cancel := context.WithCancel(context.Background())
	how := v.IntN(4)
	v.going.Go(func() { // a call that is held, and then let go, canceled or left
		defer func() { <-holding }()
		defer cancel()
		done := make(chan struct{})
		go func() {
			defer close(done)
			if v.sse != nil {
				v.sse.post(x)
				return
			}
			v.do(ctx, x, session, bare, wire)
		}()
		var posted chan struct{}
		if posted = done; v.sse != nil {
			posted = nil
		}
		select {
		case <-v.p.act(m.nonce).entered:
		case <-posted: // it was refused
			return
		case <-time.After(patience):
			if v.sse == nil || v.sse.refused(x) {
				v.wrongf("held, and never called: %s", clip(m.raw))
			}
			return
		}
		switch {
		case how == 0 && v.sse == nil:
			v.mu.Lock()
			x.gone, v.vague = true, true
			v.mu.Unlock()
			cancel()
			v.p.let(m.nonce + " gone")
		case how == 1:
			c := &message{class: canceled, method: "notifications/cancelled", silent: true, stage: anything}
			c.raw = `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + m.rawID + `}}`
			y := &exchange{who: x.who + "c", method: http.MethodPost, body: c.raw, m: c, named: x.named}
			if v.sse != nil {
				v.sse.post(y)
			} else {
				v.do(context.Background(), y, session, bare, wire)
			}
			v.p.let(m.nonce)
		default:
			v.p.let(m.nonce)
		}
		<-done
	})
}

func (x *exchange) request(ctx context.Context, base string) *http.Request {
	var body io.Reader = http.NoBody
	if x.body != "" || x.method == http.MethodPost {
		body = strings.NewReader(x.body)
	}
	if x.cut {
		body = io.MultiReader(strings.NewReader(x.body[:len(x.body)/2]), torn{})
	}
	r, err := http.NewRequestWithContext(ctx, x.method, base+x.path, body)
	if err != nil {
		panic(err)
	}
	r.Header.Set("User-Agent", x.who)
	if x.method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Accept", "application/json, text/event-stream")
	for _, h := range x.headers {
		r.Header.Set(h[0], h[1])
	}
	return r
}

// torn is where a client goes away within a body.
type torn struct{}

func (torn) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// do makes an exchange with our server and, if it can tell something, with the bare
// one, and compares what comes back. It returns both headers.
func (v *visitor) do(ctx context.Context, x *exchange, session, bare string, wire bool) (ours, theirs http.Header) {
	x.path = "/"
	serve := func(h http.Handler, ctx context.Context, session string) *httptest.ResponseRecorder {
		r := x.request(ctx, "http://192.0.2.9")
		r.RemoteAddr = "192.0.2.1:1234"
		if session != "" {
			r.Header.Set(server.HeaderKeySessionID, session)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	var body []byte
	if wire {
		r := x.request(ctx, v.web.URL)
		if session != "" {
			r.Header.Set(server.HeaderKeySessionID, session)
		}
		res, err := v.hc.Do(r)
		switch {
		case err == nil:
			x.status, ours = res.StatusCode, res.Header
			body = v.readStream(res.Body, x, session)
			_ = res.Body.Close()
		case !x.gone && !x.cut:
			v.wrongf("%s: %v", x.who, err)
		}
	} else {
		if x.cut {
			c, cancel := context.WithCancel(ctx)
			cancel()
			ctx = c
		}
		w := serve(v.h, ctx, session)
		x.status, ours = w.Code, w.Header()
		body = w.Body.Bytes()
	}
	x.answer, x.events = lastMessage(body)
	v.note(x)
	if x.gone || x.cut {
		return ours, http.Header{}
	}
	v.known.mu.Lock()
	w := serve(v.bare, context.Background(), bare)
	v.known.mu.Unlock()
	answer, _ := lastMessage(w.Body.Bytes())
	if x.m != nil && v.p.seen(x.m.nonce).canceled {
		answer = v.known.answer(x.m, true)
	}
	if !bytes.Equal(bytes.TrimSpace(answer), bytes.TrimSpace(x.answer)) || w.Code != x.status {
		v.wrongf("answered %d %s\n    by the bare server %d %s\n    to %s %s %q %s", x.status, clip(string(x.answer)), w.Code, clip(string(answer)),
			x.method, session, x.headers, clip(x.body))
	}
	return ours, w.Header()
}

// note keeps an exchange that is over.
func (c *crowd) note(x *exchange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exchanges = append(c.exchanges, x)
	c.asked += x.events
}

// lastMessage returns the answer in a body, and how many notifications stand before.
func lastMessage(body []byte) (answer []byte, notifications int) {
	if !bytes.HasPrefix(body, []byte("event:")) {
		return body, 0
	}
	for line := range bytes.Lines(body) {
		data, ok := bytes.CutPrefix(line, []byte("data: "))
		if !ok {
			continue
		}
		data = bytes.TrimSpace(data)
		switch r := parse(data); {
		case r.Method == nil:
			answer = data
		case r.ID == nil:
			notifications++
		}
	}
	return answer, notifications
}

// readStream reads a response, and answers what the server asks on it.
func (v *visitor) readStream(body io.Reader, x *exchange, session string) []byte {
	var all bytes.Buffer
	for lines := bufio.NewReader(body); ; {
		line, err := lines.ReadBytes('\n')
		all.Write(line)
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			if r := parse(data); r.Method != nil && r.ID != nil {
				v.answer(x, session, *r.Method, string(r.ID))
			}
		}
		if err != nil {
			return all.Bytes()
		}
	}
}

// answer answers a request of the server's, as the call that makes it says.
func (v *visitor) answer(x *exchange, session, method, id string) {
	raw := answerTo(method, id, x.m.asks == refused)
	y := &exchange{who: x.who + "a", method: http.MethodPost, path: "/", body: raw, wanted: true}
	r := y.request(context.Background(), v.web.URL)
	r.Header.Set(server.HeaderKeySessionID, session)
	res, err := v.hc.Do(r)
	if err != nil {
		v.wrongf("an answer: %v", err)
		return
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	y.status = res.StatusCode
	v.note(y)
}

// answerTo is a client's answer to a request of the server's.
func answerTo(method, id string, no bool) string {
	if no {
		return `{"jsonrpc":"2.0","id":` + id + `,"error":{"code":-32042,"message":"no"}}`
	}
	result := `{"roots":[]}`
	switch method {
	case "sampling/createMessage":
		result = `{"role":"assistant","content":{"type":"text","text":"` + secret + `"},"model":"m"}`
	case "elicitation/create":
		result = `{"action":"accept","content":{}}`
	}
	return `{"jsonrpc":"2.0","id":` + id + `,"result":` + result + `}`
}

// sseStream is the stream of a session of HTTP+SSE.
type sseStream struct {
	v      *visitor
	target string
	body   io.Closer
	read   chan struct{}

	mu      sync.Mutex
	due     map[string]int // answers that are to come
	expects []*exchange
	came    [][]byte
}

// open opens the stream of HTTP+SSE.
func (v *visitor) open() *sseStream {
	x := &exchange{who: v.who(), method: http.MethodGet, path: "/sse", stream: true, status: http.StatusOK}
	res, err := v.hc.Do(x.request(context.Background(), v.web.URL)) //nolint:bodyclose // leave closes it.
	if err != nil {
		v.wrongf("a stream: %v", err)
		return nil
	}
	s := &sseStream{v: v, body: res.Body, read: make(chan struct{}), due: map[string]int{}}
	lines := bufio.NewReaderSize(res.Body, 64<<10)
	for s.target == "" {
		line, err := lines.ReadString('\n')
		if err != nil {
			v.wrongf("a stream without an endpoint: %v", err)
			return nil
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			s.target = strings.TrimSpace(data)
		}
	}
	v.note(x)
	v.mu.Lock()
	v.vague = true // a notification can still be in mcp-go's queue when all answers came
	v.mu.Unlock()
	go func() {
		defer close(s.read)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return
			}
			if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
				data = bytes.TrimSpace(data)
				if r := parse(data); r.Method == nil {
					s.mu.Lock()
					s.came = append(s.came, data)
					s.mu.Unlock()
				} else if r.ID == nil {
					v.mu.Lock()
					v.asked++
					v.mu.Unlock()
				}
			}
		}
	}()
	return s
}

// post posts a message to the session.
func (s *sseStream) post(x *exchange) {
	x.path = s.target
	r := x.request(context.Background(), "http://192.0.2.9")
	r.RemoteAddr = "192.0.2.1:1234"
	w := httptest.NewRecorder()
	s.v.h.ServeHTTP(w, r)
	x.status, x.answer = w.Code, w.Body.Bytes()
	s.mu.Lock()
	s.expects = append(s.expects, x)
	s.mu.Unlock()
}

// refused reports whether x was posted in vain.
func (s *sseStream) refused(x *exchange) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.expects, x) && x.status != http.StatusAccepted
}

// expected is what must come on the stream for x; nil for nothing.
func (s *sseStream) expected(x *exchange) []byte {
	switch {
	case x.status != http.StatusAccepted:
		return nil
	case x.m.silenced:
		return []byte(`{"error": "internal error","jsonrpc": "2.0", "id": null}`)
	}
	return s.v.known.answer(x.m, s.v.p.seen(x.m.nonce).canceled)
}

// leave waits for the answers to what was posted, and closes the stream.
func (s *sseStream) leave() {
	s.v.going.Wait()
	due := 0
	for _, x := range s.expects {
		if s.expected(x) != nil {
			due++
		}
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Microsecond) {
		s.mu.Lock()
		n := len(s.came)
		s.mu.Unlock()
		if n >= due {
			break
		}
		if time.Now().After(deadline) {
			s.v.wrongf("stuck: %d of %d answers on a stream", n, due)
			break
		}
	}
	_ = s.body.Close()
	<-s.read
	var must, got []string
	for _, x := range s.expects { // now it is known which calls were canceled
		if answer := s.expected(x); answer != nil {
			x.answer = answer
			must = append(must, string(answer))
		}
		s.v.note(x)
	}
	for _, raw := range s.came {
		got = append(got, string(raw))
	}
	for _, w := range sameTally("answers on a stream", must, got) {
		s.v.wrongf("%s", w)
	}
}

// expect is the record of an exchange.
func (x *exchange) expect(a act) *record {
	w := &record{
		method: "", target: anything, id: "", outcome: anything, stage: "transport", code: "", size: anything, trace: anything,
		who: x.who, status: strconv.Itoa(x.status),
	}
	refusal := "rejected"
	if x.status == http.StatusForbidden || x.status == http.StatusUnauthorized || x.named && x.status == http.StatusNotFound {
		refusal = "denied"
	}
	if x.m == nil {
		w.outcome = "ok"
		if x.status >= http.StatusBadRequest {
			w.outcome = refusal
		}
		return w
	}
	if x.cut {
		w.method, w.id, w.code, w.status = anything, anything, anything, anything
		w.outcome, w.stage = "cancelled", anything
		return w
	}
	m := x.m
	if x.path == "/" && (m.class == unwantedResult || m.class == unwantedError) { // whatever was wrong with it
		w.id, w.code, w.outcome = anything, anything, refusal
		return w
	}
	answer := x.answer
	if parse(answer).Error == nil && parse(answer).Result == nil {
		answer = nil
	}
	if m.silenced && !a.ran {
		silent := *m
		silent.silenced = false
		m = &silent
	}
	w = m.expect(answer, a, false)
	w.who, w.status = x.who, strconv.Itoa(x.status)
	w.size = anything
	switch {
	case x.gone && a.canceled:
		w.status, w.code = anything, anything
	case x.gone:
		w = &record{method: anything, target: anything, id: anything, outcome: anything, stage: anything, code: anything, size: anything, trace: anything, who: x.who, status: anything}
	case m.silenced:
		w.code, w.outcome = anything, anything // what mcp-go makes of it differs
	case answer == nil && x.status >= http.StatusBadRequest:
		w.outcome, w.stage = refusal, "transport"
	case x.status >= http.StatusBadRequest && w.outcome == "rejected" && m.class != unknownMethod && m.class != unknownTool && m.class != unknownPrompt &&
		m.class != unknownResource && m.class != modernPing:
		w.stage = anything // the headers may have been wrong before
	}
	if x.status >= http.StatusBadRequest && len(x.headers) > 0 {
		w.stage = anything
		if code := parse(answer).Error; code != nil && (code.Code == mcp.HEADER_MISMATCH || code.Code == mcp.INVALID_PARAMS || code.Code == mcp.UNSUPPORTED_PROTOCOL_VERSION) {
			w.outcome = "rejected"
		}
	}
	if parse(answer).Error != nil && parse(answer).Error.Code == mcp.HEADER_MISMATCH {
		w.outcome, w.stage = "rejected", "transport"
	}
	if w.stage != "handler" {
		w.target = anything
		if m.wild { // of what is not dispatched, what stands behind the first MiB is not known
			w.method, w.id = anything, anything
		}
	}
	return w
}

// gathering is an instrumented server over HTTP that lives for many crowds.
type gathering struct {
	*arena
	kind    serving
	h, bare http.Handler
	web     *httptest.Server
	hc      *http.Client
}

func gather(a *arena, kind serving) *gathering {
	g := &gathering{arena: a, kind: kind}
	g.h = a.i.Handler(kind.handler(a.srv))
	g.bare = kind.handler(a.rehearsed.srv)
	g.web = httptest.NewUnstartedServer(g.h)
	g.web.Config.ErrorLog = log.New(io.Discard, "", 0)
	g.web.Start()
	g.hc = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DialContext: (&net.Dialer{}).DialContext}}
	a.t.Cleanup(func() {
		g.hc.CloseIdleConnections()
		g.web.Close()
	})
	return g
}

// run has clients do about n exchanges, and says what is wrong.
func (g *gathering) run(seed uint64, n, clients int) (c *crowd, wrong []string) {
	g.p.reset()
	g.capture.Reset()
	c = &crowd{kind: g.kind, seed: seed, p: g.p, h: g.h, bare: g.bare, web: g.web, hc: g.hc, known: g.rehearsed}
	var all sync.WaitGroup
	for k := range clients {
		v := &visitor{crowd: c, maker: newMaker(seed*31 + uint64(k)), n: k}
		v.maker.n = 100_000 * k
		v.without = without(promptPanics)
		if g.kind == overSSE {
			v.without = without(promptPanics, asks)
		}
		all.Go(func() { v.visit(n / clients) })
	}
	all.Wait()
	for deadline := time.Now().Add(settles); ; time.Sleep(10 * time.Millisecond) { // a client has its answer before that is recorded
		last := time.Now().After(deadline) // an audit can take longer than that where much else runs
		if wrong = c.judge(g.p, audit(g.capture, g.i, false)); len(wrong) == 0 || last {
			break
		}
	}
	return c, wrong
}

// judge says what is wrong with the answers and the books.
func (c *crowd) judge(p *play, b *books) (wrong []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wrong = slices.Clone(c.wrong)
	var want []*record
	var client []string
	blocked := 0
	for _, x := range c.exchanges {
		a := act{}
		if x.m != nil {
			a = p.seen(x.m.nonce)
			client = append(client, a.asked...)
			blocked += a.blocked
		}
		if x.wanted {
			if x.status >= http.StatusBadRequest { // it was given up before
				want = append(want, &record{id: anything, target: anything, outcome: "rejected", stage: "transport", code: anything, size: anything, trace: anything, who: x.who, status: anything, optional: true})
			}
			continue
		}
		want = append(want, x.expect(a))
	}
	got := map[bool][]string{}
	for _, e := range b.client {
		method, how, _ := strings.Cut(e, " ")
		told := strings.HasPrefix(method, "notifications/")
		if told && how == "error" && blocked > 0 {
			blocked-- // it found no room
			continue
		}
		got[told] = append(got[told], how)
	}
	wrong = append(wrong, sameTally("asked by the server", client, got[false])...)
	if n := len(got[true]); n != c.asked && (!c.vague || n < c.asked) {
		wrong = append(wrong, fmt.Sprintf("%d notifications came, and %d are recorded", c.asked, n))
	}
	wrong = append(wrong, match(want, b.server)...)
	return append(wrong, b.wrong...)
}

// explain looks for a smaller crowd that fails, of one client if that is enough, and
// renders it with what is wrong.
func (g *gathering) explain(seed uint64, within time.Duration) string {
	deadline := time.Now().Add(within)
	for n := 2; n <= 64; n *= 2 {
		for k := range uint64(20) {
			for _, clients := range []int{1, 2} {
				if time.Now().After(deadline) {
					return "no small crowd was found in time"
				}
				if c, wrong := gather(newArena(g.t, true), g.kind).run(seed+k, n, clients); len(wrong) > 0 {
					return c.tell() + "  --\n  " + strings.Join(wrong[:min(len(wrong), 30)], "\n  ")
				}
			}
		}
	}
	return "no small crowd fails"
}

func (c *crowd) tell() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  server %s\n", c.kind)
	for _, x := range c.exchanges {
		what := "-"
		if x.m != nil {
			what = x.m.class.String()
		}
		fmt.Fprintf(&b, "  %s %s %s %s %q %s\n    -> %d %s\n", x.who, what, x.method, x.path, x.headers, clip(x.body), x.status, clip(string(x.answer)))
	}
	return b.String()
}

func (s serving) String() string {
	return []string{"that generates sessions", "with sessions", "without sessions", "without streams", "of HTTP+SSE"}[s]
}
