// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// One exchange of an OAuth flow: from the request, over redirects, to where mcp-go is
// through with the answer. The answer goes through unchanged, when the server sends it;
// of what is read of it only what decides is kept.

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/members"
)

// errNoResponse stands for those errors that http.Client makes of what a RoundTripper
// may not return.
var errNoResponse = errors.New("otelmcp: no response")

// moved is an exchange whose last answer leads elsewhere.
type moved struct {
	x        *oauthExchange
	body     *oauthBody
	res      *http.Response
	followed bool // http.Client goes on to where it leads
}

// follows returns the exchange that goes on after res.
func (f *oauthFlow) follows(res *http.Response) *oauthExchange {
	if m := f.leaves(res); m != nil && m.followed {
		return m.x
	}
	return nil
}

// leaves returns what res leads elsewhere of, and forgets it.
func (f *oauthFlow) leaves(res *http.Response) *moved {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := slices.IndexFunc(f.moved, func(m *moved) bool { return m.res == res })
	if k < 0 {
		return nil
	}
	m := f.moved[k]
	f.moved = slices.Delete(f.moved, k, k+1)
	return m
}

func (f *oauthFlow) moves(m *moved) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.moved = append(latest(f.moved), m)
}

// checkRedirect is check, or what http.Client does where that is nil, and learns what
// becomes of an answer that leads elsewhere.
func (t *tripper) checkRedirect(check func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	if check == nil {
		check = func(_ *http.Request, via []*http.Request) error {
			if len(via) >= 10 {
				return errors.New("stopped after 10 redirects")
			}
			return nil
		}
	}
	return func(req *http.Request, via []*http.Request) error {
		res := req.Response
		err := check(req, via)
		t.redirected(res, err)
		return err
	}
}

// redirected is when http.Client goes on from res, or fails with err.
func (t *tripper) redirected(res *http.Response, err error) {
	defer t.rec.Guard()
	m := t.oauth.leaves(res)
	switch {
	case m == nil, err == http.ErrUseLastResponse: //nolint:errorlint // http.Client compares it so
	case err == nil:
		m.followed = true
		m.body.end()
		t.oauth.moves(m)
	default:
		if a, _ := m.body.end(); a != nil {
			t.settle(m.x, m.body.trip, &answer{err: err}, time.Now())
		}
	}
}

// came is when the answer to a request of x is known, or that there is none.
func (t *tripper) came(x *oauthExchange, last trip) {
	defer t.rec.Guard()
	last.start = x.start
	res := last.res
	switch {
	case last.err != nil:
		last.res = nil
	case res == nil, res.Body == nil && res.ContentLength > 0:
		last.err = errNoResponse
	case res.Body == nil:
		res.Body = http.NoBody // as http.Client has it
	}
	away, err := leadsAway(last)
	if last.err == nil {
		last.err = err
	}
	if last.err != nil {
		t.settle(x, last, &answer{err: last.err}, time.Now())
		return
	}
	if s, ok := x.step.(*resourceStep); ok {
		s.arrives(res.StatusCode)
	}
	body := &oauthBody{ReadCloser: res.Body, t: t, x: x, trip: last, doc: x.step.document(res.StatusCode), last: time.Now()}
	res.Body = body
	if away {
		t.oauth.moves(&moved{x: x, body: body, res: res})
	}
}

// leadsAway reports whether http.Client looks whether to go on from an answer, or why it
// cannot.
func leadsAway(last trip) (bool, error) {
	if last.err != nil {
		return false, nil
	}
	to := last.res.Header.Get("Location")
	switch last.res.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		// mcp-go's requests can all be sent again.
	default:
		return false, nil
	}
	if to == "" {
		return false, nil
	}
	_, err := last.req.URL.Parse(to)
	return err == nil, err
}

// settle records what was decided.
func (t *tripper) settle(x *oauthExchange, last trip, a *answer, end time.Time) {
	defer t.rec.Guard()
	d := x.step.decide(a)
	if s, ok := x.step.(interface{ secrets() []string }); ok {
		for _, secret := range s.secrets() {
			t.known.issued.Add(secret)
		}
	}
	if d != nil {
		last.decided(t, t.about(last.req.Context()), d, end)
	}
}

// oauthBody is the body of an answer. What is read of it goes through unchanged.
type oauthBody struct {
	io.ReadCloser
	t    *tripper
	x    *oauthExchange
	trip trip

	mu      sync.Mutex // not that of the flow, which all handlers of a config wait for
	doc     *members.Reader
	failure error
	last    time.Time // of reading
	over    bool
}

func (b *oauthBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.keep(p, n, err)
	return n, err
}

func (b *oauthBody) keep(p []byte, n int, err error) {
	defer b.t.rec.Guard()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over || n < 0 || n > len(p) {
		return
	}
	b.last = time.Now()
	if b.doc != nil {
		_, _ = b.doc.Write(p[:n])
		if s, ok := b.x.step.(*resourceStep); ok {
			s.reads()
		}
	}
	if err != nil && err != io.EOF { //nolint:errorlint // as the readers of mcp-go compare it
		b.failure = err
	}
}

// Close is where mcp-go is through with the answer.
func (b *oauthBody) Close() error {
	err := b.ReadCloser.Close()
	b.closed()
	return err
}

func (b *oauthBody) closed() {
	defer b.t.rec.Guard()
	a, last := b.end()
	if a == nil {
		return
	}
	b.t.oauth.leaves(b.trip.res)
	b.t.settle(b.x, b.trip, a, last)
}

// end returns what was read, once.
func (b *oauthBody) end() (*answer, time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return nil, time.Time{}
	}
	b.over = true
	return &answer{status: b.trip.res.StatusCode, doc: b.doc, failure: b.failure}, b.last
}
