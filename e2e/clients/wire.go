// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package clients

// What a client really sent, as it was on the wire: neither its own word for it nor
// the server's. The bytes pass unchanged.

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Sent is a message of a client or, where Method is empty, an HTTP exchange without
// one.
type Sent struct {
	Method      string // of MCP
	ID          string // of the request, as text; empty for a notification
	Target      string // the name of the tool or prompt
	Traceparent string // in _meta

	// Over HTTP:
	HTTPMethod string
	UserAgent  string
	Session    string         // in the header, so not on the message that starts the session
	From       netip.AddrPort // as the server sees it
}

// message reads a JSON-RPC message.
func (s *Sent) message(raw []byte) error {
	var m struct {
		ID     json.RawMessage
		Method string
		Params struct {
			Name string
			Meta struct{ Traceparent string } `json:"_meta"`
		}
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("the client sent %q: %w", raw, err)
	}
	if m.Method == "" {
		return fmt.Errorf("the client sent %q, which names no method", raw)
	}
	s.Method, s.ID, s.Traceparent = m.Method, strings.Trim(string(m.ID), `"`), m.Params.Meta.Traceparent
	if m.Method == "tools/call" || m.Method == "prompts/get" {
		s.Target = m.Params.Name
	}
	return nil
}

// HTTPWire stands between HTTP clients and a server.
type HTTPWire struct {
	server string // host:port
	ln     net.Listener
	open   sync.WaitGroup

	mu    sync.Mutex
	conns []*connection
	err   error
}

// connection is what went over one, in both directions.
type connection struct {
	from             netip.AddrPort
	request, respond bytes.Buffer
}

// NewHTTPWire listens on loopback for clients of the server at host:port.
func NewHTTPWire(server string) (*HTTPWire, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &HTTPWire{server: server, ln: ln}
	w.open.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return // closed
			}
			w.open.Go(func() { w.pass(conn.(*net.TCPConn)) })
		}
	})
	return w, nil
}

// Addr is host:port, where the clients have to go.
func (w *HTTPWire) Addr() string { return w.ln.Addr().String() }

func (w *HTTPWire) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = errors.Join(w.err, err)
}

func (w *HTTPWire) pass(client *net.TCPConn) {
	defer client.Close()
	dialed, err := net.Dial("tcp", w.server)
	if err != nil {
		w.fail(err)
		return
	}
	defer dialed.Close()
	server := dialed.(*net.TCPConn)
	from := server.LocalAddr().(*net.TCPAddr).AddrPort()
	c := &connection{from: from}
	w.mu.Lock()
	w.conns = append(w.conns, c)
	w.mu.Unlock()
	// Who ends a direction ends it for the other side too; who breaks one, breaks both.
	half := func(to, from *net.TCPConn, copied io.Writer) {
		if _, err := io.Copy(to, io.TeeReader(from, copied)); err != nil {
			_ = to.Close()
			_ = from.Close()
			return
		}
		_ = to.CloseWrite()
	}
	var answered sync.WaitGroup
	answered.Go(func() { half(client, server, &c.respond) })
	half(server, client, &c.request)
	answered.Wait()
}

// Close waits until the clients have gone.
func (w *HTTPWire) Close() error {
	err := w.ln.Close()
	gone := make(chan struct{})
	go func() { w.open.Wait(); close(gone) }()
	select {
	case <-gone:
		return err
	case <-time.After(30 * time.Second):
		return errors.Join(err, errors.New("a client holds its connection"))
	}
}

// Sent returns what was sent to path, and the statuses of the answers. It is for
// after Close.
func (w *HTTPWire) Sent(path string) (sent []Sent, statuses []int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return nil, nil, w.err
	}
	for _, c := range w.conns {
		requests, responses := bufio.NewReader(&c.request), bufio.NewReader(&c.respond)
		for {
			r, err := http.ReadRequest(requests)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, nil, err
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return nil, nil, err
			}
			res, err := http.ReadResponse(responses, r)
			if err != nil {
				return nil, nil, fmt.Errorf("the answer to %s %s: %w", r.Method, r.URL, err)
			}
			// A stream that the client has left is not complete.
			_, err = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
				return nil, nil, err
			}
			if r.URL.Path != path {
				continue
			}
			s := Sent{
				HTTPMethod: r.Method, UserAgent: r.UserAgent(), Session: r.Header.Get("Mcp-Session-Id"), From: c.from,
			}
			if len(body) > 0 {
				if err := s.message(body); err != nil {
					return nil, nil, err
				}
			}
			sent, statuses = append(sent, s), append(statuses, res.StatusCode)
		}
	}
	return sent, statuses, nil
}

// StdioWire stands between stdio clients and the servers that they start, which get
// the signals that their clients send.
type StdioWire struct{ dir string }

// NewStdioWire writes to dir, which must exist, the program that clients are to run
// in place of the server, and what they send. env is for the server: clients pass on
// little of their own.
func NewStdioWire(dir string, env []string, server ...string) (w *StdioWire, program string, err error) {
	var script strings.Builder
	script.WriteString("#!/bin/sh\nset -e\ncd " + quote(dir) + "\nmkfifo fifo.$$\n")
	script.WriteString("exec 3<&0\ntee sent.$$ <&3 >fifo.$$ &\nexec env")
	for _, word := range append(env, server...) {
		script.WriteString(" " + quote(word))
	}
	script.WriteString(" <fifo.$$ 3<&-\n")
	program = filepath.Join(dir, "server")
	err = os.WriteFile(program, []byte(script.String()), 0o700) //nolint:gosec // it is to be run
	return &StdioWire{dir}, program, err
}

func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// Sent returns what was sent to each server that was started. It is for after the
// clients have gone.
func (w *StdioWire) Sent() (servers [][]Sent, err error) {
	logs, err := filepath.Glob(filepath.Join(w.dir, "sent.*"))
	if err != nil {
		return nil, err
	}
	for _, log := range logs {
		raw, err := os.ReadFile(log)
		if err != nil {
			return nil, err
		}
		var sent []Sent
		for line := range bytes.Lines(raw) {
			var s Sent
			if err := s.message(line); err != nil {
				return nil, err
			}
			sent = append(sent, s)
		}
		servers = append(servers, sent)
	}
	return servers, nil
}
