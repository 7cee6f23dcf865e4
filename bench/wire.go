// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package bench

// The workloads of real transports. Each server runs in a process of its own, as clients meet them: in one process
// the client would wait for the server's goroutines, and its allocations would be counted for the server's.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// What a child process is to serve, and as whom.
const (
	servesBy  = "OTELMCP_BENCH_SERVES"
	contestAs = "OTELMCP_BENCH_CONTENDER"
)

// serveChild serves until its standard input ends, when the process was started for that.
func serveChild(ctx context.Context, all []Contender) (served bool, err error) {
	by := os.Getenv(servesBy)
	if by == "" {
		return false, nil
	}
	c, err := find(all, os.Getenv(contestAs))
	if err != nil {
		return true, err
	}
	t := c.Server(c.newPipeline(), func(opts ...server.ServerOption) *server.MCPServer { return buildServer(0, opts...) })
	if by == byStdio {
		return true, t.listen(ctx, os.Stdin, os.Stdout)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return true, err
	}
	fmt.Println("http://" + l.Addr().String() + "/mcp")
	web := &http.Server{Handler: t.handler(), ErrorLog: quiet} //nolint:gosec // its only client is our own
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = web.Close()
	}()
	if err := web.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return true, err
	}
	return true, nil
}

func find(all []Contender, name string) (Contender, error) {
	for _, c := range all {
		if c.Name == name {
			return c, nil
		}
	}
	return Contender{}, fmt.Errorf("no contender %q", name)
}

func (t Target) handler() http.Handler {
	var h http.Handler = server.NewStreamableHTTPServer(t.Server)
	if t.HTTP != nil {
		h = t.HTTP(h)
	}
	return h
}

func (t Target) listen(ctx context.Context, in io.Reader, out io.Writer) error {
	if t.Listen != nil {
		return t.Listen(ctx, in, out)
	}
	return listenBare(ctx, t.Server, in, out)
}

// child is a server in a process of its own.
type child struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	once sync.Once
}

func startChild(ctx context.Context, by string, c Contender) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), servesBy+"="+by, contestAs+"="+c.Name)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &child{cmd: cmd, in: in, out: bufio.NewReaderSize(out, 1<<16)}, nil
}

func (c *child) close() {
	c.once.Do(func() {
		_ = c.in.Close()
		_ = c.cmd.Wait() // it was told to end
	})
}

// httpCaller calls tools over streamable HTTP, in a session of its own if the protocol version has sessions.
type httpCaller struct {
	hc      *http.Client
	url     string
	version string
	session string
	id      int
}

// newHTTPCaller opens the session.
func newHTTPCaller(ctx context.Context, hc *http.Client, url, version string) (*httpCaller, error) {
	c := &httpCaller{hc: hc, url: url, version: version}
	if version == modern {
		return c, nil
	}
	res, err := c.post(ctx, hello, "", nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	if c.session = res.Header.Get(server.HeaderKeySessionID); c.session == "" {
		return nil, fmt.Errorf("no session: %s", res.Status)
	}
	return c, nil
}

func (c *httpCaller) post(ctx context.Context, body []byte, tool string, more http.Header) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	switch {
	case c.version == modern:
		r.Header.Set(mcp.HeaderProtocolVersion, modern)
		r.Header.Set("Mcp-Method", string(mcp.MethodToolsCall))
		r.Header.Set("Mcp-Name", tool)
	case c.session != "":
		r.Header.Set(mcp.HeaderProtocolVersion, legacy)
		r.Header.Set(server.HeaderKeySessionID, c.session)
	}
	maps.Copy(r.Header, more)
	return c.hc.Do(r)
}

func (c *httpCaller) call(ctx context.Context, tool string) ([]byte, error) {
	c.id++
	res, err := c.post(ctx, call(c.version, c.id, tool, 5), tool, nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && !bytes.Contains(b, []byte(`"result"`)) {
		err = fmt.Errorf("%s was answered with %s: %.200q", tool, res.Status, b)
	}
	return b, err
}

// httpRunner has that many callers at a server's door.
type httpRunner struct {
	*child
	ctx     context.Context //nolint:containedctx // of every call
	hc      *http.Client
	tool    string
	callers []*httpCaller
}

func overHTTP(version, tool string, callers int) workload {
	who := fmt.Sprintf("%d callers", callers)
	if callers == 1 {
		who = "1 caller"
	}
	return workload{
		name: fmt.Sprintf("tools/call over HTTP, %s, %s, %s", tool, who, version), by: byHTTP, wired: true,
		start: func(ctx context.Context, c Contender) (runner, error) {
			return newHTTPRunner(ctx, c, version, tool, callers)
		},
	}
}

func newHTTPRunner(ctx context.Context, c Contender, version, tool string, callers int) (*httpRunner, error) {
	ch, err := startChild(ctx, byHTTP, c)
	if err != nil {
		return nil, err
	}
	r := &httpRunner{child: ch, ctx: ctx, tool: tool, hc: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers}}}
	url, err := ch.out.ReadString('\n')
	for k := 0; k < callers && err == nil; k++ {
		var caller *httpCaller
		if caller, err = newHTTPCaller(ctx, r.hc, strings.TrimSpace(url), version); err == nil {
			r.callers = append(r.callers, caller)
		}
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *httpRunner) run(n int) error {
	var wg sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(n))
	errs := make([]error, len(r.callers))
	for k, caller := range r.callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 && errs[k] == nil {
				_, errs[k] = caller.call(r.ctx, r.tool)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// firstEvent times how long a stream's first byte takes, one call after the other.
type firstEvent struct {
	*httpRunner
	times []time.Duration
}

func untilFirstEvent(version string) workload {
	return workload{
		name: "first event of a stream over HTTP, " + version, by: byHTTP, wired: true,
		start: func(ctx context.Context, c Contender) (runner, error) {
			r, err := newHTTPRunner(ctx, c, version, "streams", 1)
			return &firstEvent{httpRunner: r}, err
		},
	}
}

func (r *firstEvent) run(n int) error {
	r.times = r.times[:0]
	c := r.callers[0]
	for range n {
		c.id++
		start := time.Now()
		res, err := c.post(r.ctx, call(c.version, c.id, r.tool, 5), r.tool, nil)
		if err != nil {
			return err
		}
		_, err = io.ReadFull(res.Body, make([]byte, 1))
		r.times = append(r.times, time.Since(start))
		rest, readErr := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err = errors.Join(err, readErr); err == nil && !bytes.Contains(rest, []byte(`"result"`)) {
			err = fmt.Errorf("%s was answered with %s: %.200q", r.tool, res.Status, rest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *firstEvent) median() time.Duration {
	slices.Sort(r.times)
	return r.times[len(r.times)/2]
}

// ask calls a tool that answers with JSON.
func (r *httpRunner) ask(tool string, answer any) error {
	b, err := r.callers[0].call(r.ctx, tool)
	if err != nil {
		return err
	}
	text, err := textOf(b)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), answer)
}

func (r *httpRunner) usage() (u usage, err error) {
	err = r.ask("usage", &u)
	return u, err
}

func (r *httpRunner) close() {
	r.hc.CloseIdleConnections()
	r.child.close()
}

// stdioRunner keeps that many calls in flight over one pair of pipes.
type stdioRunner struct {
	*child
	lines
}

// lines is a client of a stdio server.
type lines struct {
	in       io.Writer
	out      *bufio.Reader
	inFlight int
	id       int
}

func overStdio(inFlight int) workload {
	name := fmt.Sprintf("tools/call over stdio, %d in flight, %s", inFlight, legacy)
	return workload{name: name, by: byStdio, wired: true, start: func(ctx context.Context, c Contender) (runner, error) {
		ch, err := startChild(ctx, byStdio, c)
		if err != nil {
			return nil, err
		}
		r := &stdioRunner{child: ch, lines: lines{in: ch.in, out: ch.out, inFlight: inFlight}}
		if _, err := r.exchange(hello); err != nil {
			ch.close()
			return nil, err
		}
		return r, nil
	}}
}

func (r *lines) exchange(line []byte) ([]byte, error) {
	if _, err := r.in.Write(append(line, '\n')); err != nil {
		return nil, err
	}
	return r.out.ReadBytes('\n')
}

func (r *lines) run(n int) error {
	var batch []byte
	for done := 0; done < n; {
		batch = batch[:0]
		some := min(r.inFlight, n-done)
		for range some {
			r.id++
			batch = append(append(batch, call(legacy, r.id, "echo", 5)...), '\n')
		}
		if _, err := r.in.Write(batch); err != nil {
			return err
		}
		for range some {
			answer, err := r.out.ReadBytes('\n')
			if err != nil {
				return err
			}
			if !bytes.Contains(answer, []byte(`"result"`)) {
				return fmt.Errorf("echo was answered with %.200q", answer)
			}
		}
		done += some
	}
	return nil
}

// byHandler hands requests to the HTTP handler without a connection, so that allocations can be counted exactly.
func byHandler(ctx context.Context, c Contender) (runner, error) { return newTraffic(ctx, c) }

// byPipes serves one pair of pipes within this process, one call at a time, for the same reason.
func byPipes(ctx context.Context, c Contender) (runner, error) {
	p := c.newPipeline()
	t := c.Server(p, func(opts ...server.ServerOption) *server.MCPServer { return buildServer(0, opts...) })
	in, toServer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	fromServer, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	r := &piped{pipeline: p, stop: toServer, lines: lines{in: toServer, out: bufio.NewReader(fromServer), inFlight: 1}}
	r.served.Go(func() {
		_ = t.listen(ctx, in, out) // it ends with its input
		_ = in.Close()
		_ = out.Close()
	})
	_, err = r.exchange(hello)
	return r, err
}

type piped struct {
	lines
	pipeline Pipeline
	stop     io.Closer
	served   sync.WaitGroup
}

func (*piped) usage() (usage, error) { return currentUsage(), nil }

func (r *piped) close() {
	_ = r.stop.Close()
	r.served.Wait()
	r.pipeline.shutdown(context.Background())
}

func (r *stdioRunner) usage() (u usage, err error) {
	r.id++
	answer, err := r.exchange(call(legacy, r.id, "usage", 0))
	if err != nil {
		return u, err
	}
	text, err := textOf(answer)
	if err != nil {
		return u, err
	}
	err = json.Unmarshal([]byte(text), &u)
	return u, err
}
