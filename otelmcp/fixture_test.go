// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// A server, a message and providers for tests that care for none of them.

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.opentelemetry.io/otel/log"
	lognoop "go.opentelemetry.io/otel/log/noop"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/otelmcp/otelmcp-go/otelmcp"
)

// echoCall is a tools/call with a parent.
var echoCall = json.RawMessage(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo",` +
	`"arguments":{"text":"hello"},"_meta":{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}}`)

func echoServer() *server.MCPServer {
	srv := server.NewMCPServer("bench", "1.0.0")
	srv.AddTool(mcp.NewTool("echo", mcp.WithString("text")),
		func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return mcp.NewToolResultText(r.GetString("text", "")), nil
		})
	return srv
}

// pipeline is a set of providers as a program has them: batching processors,
// and exporters that discard.
type pipeline struct {
	trace  trace.TracerProvider
	metric metric.MeterProvider
	log    log.LoggerProvider
}

func (p pipeline) options(extra ...otelmcp.Option) []otelmcp.Option {
	return append([]otelmcp.Option{
		otelmcp.WithTracerProvider(p.trace), otelmcp.WithMeterProvider(p.metric),
		otelmcp.WithLoggerProvider(p.log), otelmcp.WithPropagators(propagation.TraceContext{}),
	}, extra...)
}

func noopPipeline() pipeline {
	return pipeline{tracenoop.NewTracerProvider(), metricnoop.NewMeterProvider(), lognoop.NewLoggerProvider()}
}

type discardSpans struct{}

func (discardSpans) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (discardSpans) Shutdown(context.Context) error                             { return nil }

type discardLogs struct{}

func (discardLogs) Export(context.Context, []sdklog.Record) error { return nil }
func (discardLogs) Shutdown(context.Context) error                { return nil }
func (discardLogs) ForceFlush(context.Context) error              { return nil }

func sdkPipeline(tb testing.TB, sampler sdktrace.Sampler) pipeline {
	tb.Helper()
	tp := sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler), sdktrace.WithBatcher(discardSpans{}))
	mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	lp := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(discardLogs{})))
	tb.Cleanup(func() {
		ctx := context.Background() //nolint:usetesting // that of the test has ended by now
		_ = tp.Shutdown(ctx)
		_ = mp.Shutdown(ctx)
		_ = lp.Shutdown(ctx)
	})
	return pipeline{tp, mp, lp}
}

func handle(tb testing.TB, srv *server.MCPServer, raw json.RawMessage) {
	ctx := context.Background() //nolint:usetesting // what a parent that can be canceled costs is not ours
	if _, ok := srv.HandleMessage(ctx, raw).(mcp.JSONRPCResponse); !ok {
		tb.Fatal("the call failed")
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
