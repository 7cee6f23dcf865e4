// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file is how the authorization server is asked: bounded in time and size,
// without redirects, by one for all who wait, and with errors that hold nothing of
// what was sent.

package verifier

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// fetchTimeout is for all that one look at the authorization server needs.
const fetchTimeout = 10 * time.Second

// fetcher makes requests.
type fetcher struct {
	base    context.Context // the values of New's: a fetch outlives the caller that began it
	client  http.Client
	timeout time.Duration
}

func newFetcher(ctx context.Context, client *http.Client) *fetcher {
	f := &fetcher{base: context.WithoutCancel(ctx), timeout: fetchTimeout}
	if client != nil {
		f.client = *client
	} else {
		f.client.Timeout = fetchTimeout
	}
	// All that is asked for must be answered with 200 (RFC 8414 section 3.2, RFC
	// 7662 section 2.2). To follow a redirect would be to trust whoever can make
	// one, and to hand tokens on.
	f.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return f
}

// do returns the body of a 200 of at most limit bytes.
func (f *fetcher) do(req *http.Request, limit int64) (body []byte, header http.Header, err error) {
	req.Header.Set("Accept", "application/json")
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, nil, failed(req.URL, "cannot be reached", cause(err))
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, failed(req.URL, fmt.Sprintf("answered with status %d", resp.StatusCode), nil)
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, nil, failed(req.URL, "broke its answer off", cause(err))
	case int64(len(body)) > limit:
		return nil, nil, failed(req.URL, fmt.Sprintf("answered with more than %d bytes", limit), nil)
	}
	return body, resp.Header, nil
}

// failed says what is wrong with what is at u, whose query may be a secret.
func failed(u *url.URL, what string, err error) error {
	where := u.Scheme + "://" + u.Host + u.Path
	if err != nil {
		return fmt.Errorf("%s %s: %w", where, what, err)
	}
	return errors.New(where + " " + what)
}

// cause is what of err is known to hold nothing that was sent. The error of a
// transport may hold anything.
func cause(err error) error {
	var timeout net.Error
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns
	}
	if cert, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return cert
	}
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return context.DeadlineExceeded
	}
	return nil
}

// call is one look at the authorization server, and those who wait for it.
type call[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// begin runs ask in a goroutine and a context of its own, and then finish, before
// those who wait go on. A client that panics is one that fails.
func begin[T any](f *fetcher, ask func(context.Context) (T, error), finish func(T, error)) *call[T] {
	c := &call[T]{done: make(chan struct{})}
	go func() {
		ctx, cancel := context.WithTimeout(f.base, f.timeout)
		defer cancel()
		c.value, c.err = guarded(ctx, ask)
		finish(c.value, c.err)
		close(c.done)
	}()
	return c
}

func guarded[T any](ctx context.Context, ask func(context.Context) (T, error)) (value T, err error) {
	defer func() {
		if recover() != nil {
			err = unavailable("the HTTP client panicked", nil)
		}
	}()
	return ask(ctx)
}

// wait waits for the end of the call or of ctx.
func (c *call[T]) wait(ctx context.Context) (value T, err error) {
	select {
	case <-c.done:
		return c.value, c.err
	case <-ctx.Done():
		return value, unavailable("the caller gave up before the authorization server answered", ctx.Err())
	}
}
