// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package otlpview shows what the examples emit: an OTLP receiver that keeps
// what arrives in memory, and a renderer that draws it in the terminal.
package otlpview

// The receiver: what a collector does when it listens on port 4318, reduced
// to HTTP with protobuf bodies and to keeping what arrives in memory.

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"time"

	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	colmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

const maxBody = 8 << 20 // bytes of one export, decompressed

// Receiver listens on a free loopback port.
type Receiver struct {
	*store
	URL  string
	web  *http.Server
	done chan error
}

// StartReceiver starts one. What ends it is Stop.
func StartReceiver() (*Receiver, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("the OTLP receiver: %w", err)
	}
	r := &Receiver{store: newStore(), URL: "http://" + ln.Addr().String(), done: make(chan error, 1)}
	r.web = &http.Server{Handler: r.handler(), ReadHeaderTimeout: 5 * time.Second}
	go func() { r.done <- r.web.Serve(ln) }()
	return r, nil
}

// Stop lets the exports in flight finish.
func (r *Receiver) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	err := r.web.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, r.web.Close())
	}
	if served := <-r.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

func (r *Receiver) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /v1/traces", receive(func(req *coltrace.ExportTraceServiceRequest) proto.Message {
		r.addSpans(req.GetResourceSpans())
		return &coltrace.ExportTraceServiceResponse{}
	}))
	mux.Handle("POST /v1/metrics", receive(func(req *colmetrics.ExportMetricsServiceRequest) proto.Message {
		r.addMetrics(req.GetResourceMetrics())
		return &colmetrics.ExportMetricsServiceResponse{}
	}))
	mux.Handle("POST /v1/logs", receive(func(req *collogs.ExportLogsServiceRequest) proto.Message {
		r.addLogs(req.GetResourceLogs())
		return &collogs.ExportLogsServiceResponse{}
	}))
	return mux
}

// receive decodes one kind of export, hands it to keep, and answers.
func receive[T any, M interface {
	*T
	proto.Message
}](keep func(M) proto.Message) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/x-protobuf" {
			http.Error(w, "this receiver takes application/x-protobuf only", http.StatusUnsupportedMediaType)
			return
		}
		body, err := readBody(w, r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		req := M(new(T))
		if err := proto.Unmarshal(body, req); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer, err := proto.Marshal(keep(req))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
		_, _ = w.Write(answer) // the exporter that went away needs no answer
	}
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	var body io.Reader = http.MaxBytesReader(w, r.Body, maxBody)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(body)
		if err != nil {
			return nil, err
		}
		body = unzipped
	}
	// One byte more than allowed tells a body that is too large from one that
	// just fits.
	data, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxBody {
		return nil, errors.New("body too large")
	}
	return data, nil
}
