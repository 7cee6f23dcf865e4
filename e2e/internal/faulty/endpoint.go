// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package faulty is an OTLP endpoint that fails as it is told to, and says what it
// accepted: what a collector that is in trouble answers cannot be had from a real
// one at will.
package faulty

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// Fault is how requests are answered.
type Fault int

// The faults. A request that is not answered with success is not accepted, with the
// exception of Partial, for which every second record is.
const (
	None        Fault = iota
	Hanging           // reads the request and answers nothing, until the sender gives up
	Unavailable       // 503, over gRPC UNAVAILABLE: come back later
	BadRequest        // 400, over gRPC INVALID_ARGUMENT: do not come back
	Partial           // partial success: every second record is rejected
	Warning           // partial success with a message and no record rejected: all are accepted
)

// Endpoint serves OTLP over HTTP and gRPC on one port of loopback.
type Endpoint struct {
	URL string

	fault      atomic.Int32
	retryAfter atomic.Pointer[string]
	requests   atomic.Int64
	rejected   atomic.Int64

	mu           sync.Mutex
	logs, traces Records
	server       *http.Server
	served       chan struct{}
}

// Start serves on an address that is free, with TLS if there is a configuration of
// it, until Close.
func Start(secure *tls.Config) (*Endpoint, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // returns at once
	if err != nil {
		return nil, err
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	e := &Endpoint{URL: "http://" + ln.Addr().String(), logs: Records{}, traces: Records{}, served: make(chan struct{})}
	e.server = &http.Server{ //nolint:gosec // it is there to be waited for
		Handler: e, Protocols: protocols, TLSConfig: secure,
	}
	serve := func() error { return e.server.Serve(ln) }
	if secure != nil {
		e.URL = "https://" + ln.Addr().String()
		serve = func() error { return e.server.ServeTLS(ln, "", "") }
		e.server.ErrorLog = discard() // it writes a line for each handshake that fails
	}
	go func() {
		defer close(e.served)
		_ = serve()
	}()
	return e, nil
}

// Close ends it.
func (e *Endpoint) Close() error {
	err := e.server.Close()
	<-e.served
	return err
}

// Set has the requests from now on answered with a fault, and, if it is Unavailable
// over HTTP, with a Retry-After unless that is empty.
func (e *Endpoint) Set(f Fault, retryAfter string) {
	e.retryAfter.Store(&retryAfter)
	e.fault.Store(int32(f)) //nolint:gosec // one of the few above
}

// Requests is how many requests came, answered or not.
func (e *Endpoint) Requests() int64 { return e.requests.Load() }

// Rejected is how many records were rejected with partial success.
func (e *Endpoint) Rejected() int64 { return e.rejected.Load() }

// Logs are the log records that were accepted.
func (e *Endpoint) Logs() Records { return e.copyOf(e.logs) }

// Spans are the spans that were accepted.
func (e *Endpoint) Spans() Records { return e.copyOf(e.traces) }

func (e *Endpoint) copyOf(r Records) Records {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := Records{}
	for id, record := range r {
		copied := *record
		c[id] = &copied
	}
	return c
}

const grpc = "application/grpc"

// ServeHTTP answers one export.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	e.requests.Add(1)
	overGRPC := strings.HasPrefix(req.Header.Get("Content-Type"), grpc)
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender has gone
	}
	if overGRPC {
		if len(body) < 5 || body[0] != 0 {
			respond(w, overGRPC, BadRequest, "", nil)
			return
		}
		body = body[5:] // whether it is compressed, and its length
	}
	fault, retryAfter := Fault(e.fault.Load()), ""
	if p := e.retryAfter.Load(); p != nil {
		retryAfter = *p
	}
	switch fault {
	case Hanging:
		<-req.Context().Done()
	case Unavailable, BadRequest:
		respond(w, overGRPC, fault, retryAfter, nil)
	default:
		answer, err := e.accept(signal(req.URL.Path), body, fault)
		if err != nil {
			fault = BadRequest
		}
		respond(w, overGRPC, fault, "", answer)
	}
}

// signal tells by a path of either protocol what is exported.
func signal(path string) string {
	switch {
	case strings.Contains(path, "trace"):
		return "traces"
	case strings.Contains(path, "logs"):
		return "logs"
	}
	return ""
}

// accept keeps the records of a request and returns the answer's message.
func (e *Endpoint) accept(signal string, body []byte, fault Fault) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	into := map[string]Records{"traces": e.traces, "logs": e.logs}[signal]
	if into == nil {
		return nil, nil // metrics are not looked at
	}
	var rejected uint64
	n := 0
	err := records(body, signal, func(id string, r Record) {
		n++
		if fault == Partial && n%2 == 0 {
			rejected++
			return
		}
		into.add(id, r)
	})
	if err != nil || fault == None {
		return nil, err
	}
	e.rejected.Add(int64(rejected))
	// ExportPartialSuccess{rejected = 1, error_message = 2}, in field 1 of each response.
	partial := append([]byte{1 << 3}, binary.AppendUvarint(nil, rejected)...)
	const message = "the test wants it so"
	partial = append(append(partial, 2<<3|2, byte(len(message))), message...)
	return append(append([]byte{1<<3 | 2}, binary.AppendUvarint(nil, uint64(len(partial)))...), partial...), nil
}

func respond(w http.ResponseWriter, overGRPC bool, fault Fault, retryAfter string, message []byte) {
	if overGRPC {
		w.Header().Set("Content-Type", grpc)
		code := map[Fault]string{Unavailable: "14", BadRequest: "3"}[fault]
		if code != "" {
			w.Header().Set("Grpc-Status", code)
			w.Header().Set("Grpc-Message", "the test wants it so")
			return
		}
		frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))) //nolint:gosec // a short message
		_, _ = w.Write(append(frame, message...))
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		return
	}
	if retryAfter != "" {
		w.Header().Set("Retry-After", retryAfter)
	}
	status := map[Fault]int{Unavailable: http.StatusServiceUnavailable, BadRequest: http.StatusBadRequest}[fault]
	if status != 0 {
		http.Error(w, "the test wants it so", status)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(message)
}
