// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package bench

// What each contender recorded. It is found by running it against providers that keep what they get, never told.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/trace"
)

// verdict is what a contender saw on one of the ways that messages take.
type verdict struct {
	Spans, Measured, Records int    // of one call
	Parent                   string // where it takes the parent of its spans from
	Errors, Kinds            int    // how many kinds of errors left any trace, of how many
	// Together is how many of calls with equal ids that were in flight at once were recorded; -1 if not tried.
	Together int
}

// observed is all that was recorded of one run.
type observed struct {
	spans, measured, records, bad int
	parents                       map[string]bool // ids of the parents of SERVER spans
	clients                       []string        // trace and span ids of CLIENT spans
}

// minus takes away what was recorded of a run that lacked the messages in question.
func (o observed) minus(control observed) observed {
	o.spans -= control.spans
	o.measured -= control.measured
	o.records -= control.records
	o.bad -= control.bad
	return o
}

// script is a run: who sends what to a fresh server, after the handshake.
type script struct {
	messages [][]byte
	header   http.Header
	callers  int // that send the messages at once, each in a session of its own
}

// kindsOfErrors each fail in another way.
var kindsOfErrors = map[string][]byte{
	"a tool that answers with isError": call(legacy, 1, "refuses", 5),
	"a handler that returns an error":  call(legacy, 1, "fails", 5),
	"a tool that does not exist":       call(legacy, 1, "no-such-tool", 5),
	"a method that does not exist":     request(legacy, 1, "no/such/method", ""),
	"bytes that are no JSON":           []byte(`{"jsonrpc":"2.0","id":1,"method":`),
}

// judge runs the contender. The client side is judged by judgeClient.
func judge(ctx context.Context, c Contender, by string) (v verdict, err error) {
	if by == byClient {
		return judgeClient(ctx, c)
	}
	play := func(s script) (o observed) {
		if err == nil {
			s.callers = max(s.callers, 1)
			o, err = c.play(ctx, by, s)
		}
		return o
	}
	control := play(script{})
	one := play(script{messages: [][]byte{call(legacy, 1, "echo", 5)}})
	got := one.minus(control)
	v = verdict{Spans: got.spans, Measured: got.measured, Records: got.records, Kinds: len(kindsOfErrors), Together: -1}
	var from []string
	if one.parents[spanID] {
		from = append(from, "_meta")
	}
	if by == byHTTP {
		o := play(script{
			messages: [][]byte{[]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}`)},
			header:   http.Header{"Traceparent": {traceparent}},
		})
		if o.parents[spanID] {
			from = append(from, "header")
		}
	}
	switch v.Parent = strings.Join(from, ", "); {
	case v.Spans == 0:
		v.Parent = "–"
	case v.Parent == "":
		v.Parent = "none"
	}
	for _, message := range kindsOfErrors {
		if play(script{messages: [][]byte{message}}).minus(control).bad > 0 {
			v.Errors++
		}
	}
	if by != byStdio && v.Spans+v.Measured+v.Records > 0 { // mcp-go's stdio has fewer workers than calls here
		many := play(script{messages: [][]byte{call(legacy, 1, "together", 5)}, callers: together}).
			minus(play(script{callers: together}))
		v.Together = together
		for _, s := range [][2]int{{many.spans, v.Spans}, {many.measured, v.Measured}, {many.records, v.Records}} {
			if s[1] > 0 {
				v.Together = min(v.Together, s[0]/s[1])
			}
		}
	}
	return v, err
}

// play runs a script against a fresh server, and returns when all that it did is over.
func (c Contender) play(ctx context.Context, by string, s script) (observed, error) {
	kept := newCapture(c.Sampling)
	t := c.Server(kept.Pipeline, func(opts ...server.ServerOption) *server.MCPServer { return buildServer(0, opts...) })
	if t.Points == nil {
		t.Points = func() ([]Point, error) { return kept.points(ctx) }
	}
	before, err := t.Points()
	if err != nil {
		return observed{}, err
	}
	switch by {
	case byDispatch:
		err = t.playDispatch(ctx, s)
	case byHTTP:
		err = t.playHTTP(ctx, s)
	default:
		err = t.playStdio(ctx, s)
	}
	if err != nil {
		return observed{}, fmt.Errorf("%s by %s: %w", c.Name, by, err)
	}
	after, err := t.Points()
	return kept.observe(before, after), err
}

// atOnce runs f for each caller, together.
func (s script) atOnce(f func(caller int) error) error {
	errs := make([]error, s.callers)
	var wg sync.WaitGroup
	for k := range errs {
		wg.Go(func() { errs[k] = f(k) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (t Target) playDispatch(ctx context.Context, s script) error {
	if t.Handle == nil {
		t.Handle = t.Server.HandleMessage
	}
	return s.atOnce(func(caller int) error {
		in, err := openSession(ctx, t.Server, t.Handle, "session-"+strconv.Itoa(caller))
		if err != nil {
			return err
		}
		for _, m := range s.messages {
			t.Handle(in, json.RawMessage(m))
		}
		return nil
	})
}

func (t Target) playHTTP(ctx context.Context, s script) error {
	web := httptest.NewUnstartedServer(t.handler())
	web.Config.ErrorLog = quiet
	web.Start()
	hc := &http.Client{Transport: &http.Transport{}}
	err := s.atOnce(func(int) error {
		c, err := newHTTPCaller(ctx, hc, web.URL, legacy)
		if err != nil {
			return err
		}
		for _, m := range s.messages {
			res, err := c.post(ctx, m, "", s.header)
			if err != nil {
				return err
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
		return nil
	})
	hc.CloseIdleConnections()
	web.Close() // and with it every handler, which may record after it has answered
	return err
}

func (t Target) playStdio(ctx context.Context, s script) error {
	in, toServer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	go func() {
		defer toServer.Close()
		for _, m := range append([][]byte{hello}, s.messages...) {
			_, _ = toServer.Write(append(slices.Clip(m), '\n')) // the pipe is wide enough
		}
	}()
	if err := t.listen(ctx, in, io.Discard); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// observe sums up what was kept.
func (c *capture) observe(before, after []Point) observed {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := observed{spans: len(c.spans), records: len(c.records), parents: map[string]bool{}}
	for _, s := range c.spans {
		switch s.SpanKind() {
		case trace.SpanKindServer:
			o.parents[s.Parent().SpanID().String()] = true
		case trace.SpanKindClient:
			o.clients = append(o.clients, s.SpanContext().TraceID().String()+"-"+s.SpanContext().SpanID().String())
		}
		if s.Status().Code == codes.Error || anyBad(s.Attributes()) {
			o.bad++
		}
	}
	for k := range c.records {
		r := &c.records[k]
		bad := r.Severity() >= log.SeverityWarn
		r.WalkAttributes(func(kv attribute.KeyValue) bool {
			bad = bad || saysBad(kv)
			return true
		})
		if bad {
			o.bad++
		}
	}
	was := map[string]float64{}
	for _, p := range before {
		was[p.key()] = p.Count
	}
	for _, p := range after {
		n := int(p.Count - was[p.key()])
		o.measured += n
		if anyBad(p.Attributes) {
			o.bad += n
		}
	}
	return o
}

func (p Point) key() string {
	set := attribute.NewSet(p.Attributes...)
	return p.Instrument + " " + set.Encoded(attribute.DefaultEncoder())
}

func anyBad(attrs []attribute.KeyValue) bool { return slices.ContainsFunc(attrs, saysBad) }

// saysBad knows the attributes by which any of the contenders says that something failed.
func saysBad(kv attribute.KeyValue) bool {
	value := kv.Value.String()
	switch kv.Key {
	case "error", "error.type", "error_type", "rpc.response.status_code":
		return value != ""
	case "outcome", "otelmcp.outcome":
		return value != "ok"
	case "status":
		return value == "error"
	case "http.response.status_code", "http_response_status_code", "status_code":
		return value >= "400"
	}
	return false
}

// judgeClient looks at what a client recorded, and at what it sent along.
func judgeClient(ctx context.Context, c Contender) (verdict, error) {
	play := func(tool string) (o observed, sent string, err error) {
		kept := newCapture(c.Sampling)
		l := loopback{seen: func(h http.Header, raw []byte) {
			var m struct {
				Params struct {
					Meta struct{ Traceparent string } `json:"_meta"` //nolint:tagliatelle // so it is called
				}
			}
			if json.Unmarshal(raw, &m) == nil && m.Params.Meta.Traceparent != "" {
				sent = "_meta " + m.Params.Meta.Traceparent
			} else {
				sent = "header " + h.Get("Traceparent")
			}
		}}
		cl, err := loopbackClient(ctx, c, kept.Pipeline, l)
		if err != nil {
			return o, "", err
		}
		if tool != "" {
			_, _ = cl.CallTool(ctx, toolRequest(tool)) // some are meant to fail
		}
		after, err := kept.points(ctx)
		return kept.observe(nil, after), sent, err
	}
	v := verdict{Parent: "–", Kinds: 3, Together: -1}
	control, _, err := play("")
	if err != nil {
		return v, err
	}
	one, sent, err := play("echo")
	if err != nil {
		return v, err
	}
	got := one.minus(control)
	v.Spans, v.Measured, v.Records = got.spans, got.measured, got.records
	if v.Spans > 0 {
		v.Parent = "none"
		for _, id := range one.clients {
			if strings.Contains(sent, id) {
				v.Parent, _, _ = strings.Cut(sent, " ")
			}
		}
	}
	for _, tool := range []string{"refuses", "fails", "lost"} {
		o, _, err := play(tool)
		if err != nil {
			return v, err
		}
		if o.minus(control).bad > 0 {
			v.Errors++
		}
	}
	return v, nil
}
