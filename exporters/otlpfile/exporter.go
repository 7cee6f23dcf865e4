// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file makes the three exporters. Each is OpenTelemetry's own OTLP/HTTP
// exporter with a transport that writes the request to a file instead of
// sending it: the translation of SDK data into OTLP is the one that every
// collector already receives, and there is only one mechanism for all signals.

package otlpfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Name is the value of OTEL_{TRACES,METRICS,LOGS}_EXPORTER that selects these exporters.
const Name = "otlp_file"

// endpoint is never dialed. It is https so that no TLS variable of the OTLP
// exporters can make them refuse it, and a name that cannot exist.
const endpoint = "https://otlp-file.invalid/"

func init() {
	autoexport.RegisterSpanExporter(Name, func(ctx context.Context) (sdktrace.SpanExporter, error) {
		return fromEnv(ctx, NewSpanExporter)
	})
	autoexport.RegisterMetricReader(Name, func(ctx context.Context) (sdkmetric.Reader, error) {
		exp, err := fromEnv(ctx, NewMetricExporter)
		if err != nil {
			return nil, err
		}
		return sdkmetric.NewPeriodicReader(exp), nil
	})
	autoexport.RegisterLogExporter(Name, func(ctx context.Context) (sdklog.Exporter, error) {
		return fromEnv(ctx, NewLogExporter)
	})
}

func fromEnv[T any](ctx context.Context, create func(context.Context, Config) (T, error)) (T, error) {
	cfg, err := ConfigFromEnv()
	if err != nil {
		var none T
		return none, err
	}
	return create(ctx, cfg)
}

// NewSpanExporter returns an exporter that writes spans to files.
func NewSpanExporter(ctx context.Context, cfg Config) (sdktrace.SpanExporter, error) {
	t, err := newTransport(cfg, "traces", func() request { return ptraceotlp.NewExportRequest() })
	if err != nil {
		return nil, err
	}
	exp, err := otlptracehttp.New(ctx,
		otlptracehttp.WithHTTPClient(&http.Client{Transport: t}),
		otlptracehttp.WithEndpointURL(endpoint),
		otlptracehttp.WithEncoding(otlptracehttp.EncodingProtobuf),
		otlptracehttp.WithCompression(otlptracehttp.NoCompression),
		otlptracehttp.WithHeaders(map[string]string{}),
		otlptracehttp.WithMaxRequestSize(0),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: false}),
	)
	if err != nil {
		return nil, errors.Join(err, t.w.shutdown())
	}
	return &spanExporter{SpanExporter: exp, w: t.w}, nil
}

// NewMetricExporter returns an exporter that writes metrics to files.
func NewMetricExporter(ctx context.Context, cfg Config) (sdkmetric.Exporter, error) {
	t, err := newTransport(cfg, "metrics", func() request { return pmetricotlp.NewExportRequest() })
	if err != nil {
		return nil, err
	}
	exp, err := otlpmetrichttp.New(ctx,
		otlpmetrichttp.WithHTTPClient(&http.Client{Transport: t}),
		otlpmetrichttp.WithEndpointURL(endpoint),
		otlpmetrichttp.WithCompression(otlpmetrichttp.NoCompression),
		otlpmetrichttp.WithHeaders(map[string]string{}),
		otlpmetrichttp.WithMaxRequestSize(0),
		otlpmetrichttp.WithRetry(otlpmetrichttp.RetryConfig{Enabled: false}),
	)
	if err != nil {
		return nil, errors.Join(err, t.w.shutdown())
	}
	return &metricExporter{Exporter: exp, w: t.w}, nil
}

// NewLogExporter returns an exporter that writes log records to files.
func NewLogExporter(ctx context.Context, cfg Config) (sdklog.Exporter, error) {
	t, err := newTransport(cfg, "logs", func() request { return plogotlp.NewExportRequest() })
	if err != nil {
		return nil, err
	}
	exp, err := otlploghttp.New(ctx,
		otlploghttp.WithHTTPClient(&http.Client{Transport: t}),
		otlploghttp.WithEndpointURL(endpoint),
		otlploghttp.WithCompression(otlploghttp.NoCompression),
		otlploghttp.WithHeaders(map[string]string{}),
		otlploghttp.WithMaxRequestSize(0),
		otlploghttp.WithRetry(otlploghttp.RetryConfig{Enabled: false}),
	)
	if err != nil {
		return nil, errors.Join(err, t.w.shutdown())
	}
	return &logExporter{Exporter: exp, w: t.w}, nil
}

// request is what pdata's export requests of the three signals have in common.
type request interface {
	UnmarshalProto([]byte) error
	MarshalJSON() ([]byte, error)
}

// transport is an http.RoundTripper that appends the request to a file.
type transport struct {
	w   *writer
	new func() request
}

func newTransport(cfg Config, signal string, create func() request) (*transport, error) {
	cfg, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	return &transport{w: openWriter(cfg, signal), new: create}, nil
}

// RoundTrip answers 200 with an empty body, which OTLP takes as full success,
// once the line is written.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	defer r.Body.Close()
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	data := t.new()
	if err := data.UnmarshalProto(body); err != nil {
		return nil, fmt.Errorf("otlp_file: %w", err)
	}
	line, err := data.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("otlp_file: %w", err)
	}
	if err := t.w.writeLine(append(line, '\n')); err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: http.StatusOK,
		Status:     "200 OK",
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     http.Header{},
		Body:       io.NopCloser(bytes.NewReader(nil)),
		Request:    r,
	}, nil
}

// plain takes the URL that was never dialed out of an error.
func plain(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("%s: %w", Name, u.Err)
	}
	return err
}

type spanExporter struct {
	sdktrace.SpanExporter
	w *writer
}

func (e *spanExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	return plain(e.SpanExporter.ExportSpans(ctx, spans))
}

func (e *spanExporter) Shutdown(ctx context.Context) error {
	return errors.Join(e.SpanExporter.Shutdown(ctx), e.w.shutdown())
}

type metricExporter struct {
	sdkmetric.Exporter
	w *writer
}

func (e *metricExporter) Export(ctx context.Context, rm *metricdata.ResourceMetrics) error {
	return plain(e.Exporter.Export(ctx, rm))
}

func (e *metricExporter) ForceFlush(ctx context.Context) error {
	return errors.Join(e.Exporter.ForceFlush(ctx), e.w.sync())
}

func (e *metricExporter) Shutdown(ctx context.Context) error {
	return errors.Join(e.Exporter.Shutdown(ctx), e.w.shutdown())
}

type logExporter struct {
	sdklog.Exporter
	w *writer
}

func (e *logExporter) Export(ctx context.Context, records []sdklog.Record) error {
	return plain(e.Exporter.Export(ctx, records))
}

func (e *logExporter) ForceFlush(ctx context.Context) error {
	return errors.Join(e.Exporter.ForceFlush(ctx), e.w.sync())
}

func (e *logExporter) Shutdown(ctx context.Context) error {
	return errors.Join(e.Exporter.Shutdown(ctx), e.w.shutdown())
}
