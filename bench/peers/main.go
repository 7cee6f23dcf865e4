// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Command peers is the benchmark with every contender. It is a module of its own because what mcp-grafana and
// ToolHive depend on takes minutes to build: `make bench` builds it, `make test` does not.
package main

import (
	"net/http"
	"os"
	"sync"

	"github.com/grafana/mcp-grafana/observability"
	"github.com/mark3labs/mcp-go/server"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	mcpparser "github.com/stacklok/toolhive/pkg/mcp"
	"github.com/stacklok/toolhive/pkg/telemetry"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"

	"github.com/otelmcp/otelmcp-go/bench"
)

func main() {
	os.Exit(bench.Main(
		bench.Contender{Name: "mcp-grafana, metrics; HTTP traces", Server: grafana},
		bench.Contender{Name: "ToolHive, traces and metrics", HTTPOnly: true, Server: toolhive},
	))
}

// grafanaSetup can be called once in a process: it registers with Prometheus's default registry.
var grafanaSetup = sync.OnceValues(func() (*observability.Observability, error) {
	return observability.Setup(observability.Config{
		MetricsEnabled: true, NetworkTransport: "tcp", ServerName: "bench", ServerVersion: "1.0.0",
	})
})

// grafana is set up as its own server does it: hooks for metrics, and otelhttp around the handler. That takes its
// tracer provider from the global one, which Setup leaves alone where no endpoint is configured; its meter provider
// is its own, with a Prometheus exporter.
func grafana(p bench.Pipeline, build func(...server.ServerOption) *server.MCPServer) bench.Target {
	o, err := grafanaSetup()
	if err != nil {
		panic(err) // nothing is configured that could fail
	}
	return bench.Target{
		Server: build(server.WithHooks(o.MCPHooks())),
		HTTP: func(h http.Handler) http.Handler {
			otel.SetTracerProvider(p.Tracer) // otelhttp asks for it here
			return observability.WrapHandler(h, "/mcp")
		},
		Points: func() ([]bench.Point, error) { return gather(prometheus.DefaultGatherer) },
	}
}

// gather reads counters and histograms of OpenTelemetry's exporter; the default registry has the runtime's as well.
func gather(from prometheus.Gatherer) (points []bench.Point, err error) {
	families, err := from.Gather()
	if err != nil {
		return nil, err
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			p := bench.Point{Instrument: f.GetName()}
			exported := false
			for _, l := range m.GetLabel() {
				exported = exported || l.GetName() == "otel_scope_name"
				p.Attributes = append(p.Attributes, attribute.String(l.GetName(), l.GetValue()))
			}
			switch f.GetType() {
			case dto.MetricType_HISTOGRAM:
				p.Count = float64(m.GetHistogram().GetSampleCount())
			case dto.MetricType_COUNTER:
				p.Count = m.GetCounter().GetValue()
			default:
				exported = false
			}
			if exported {
				points = append(points, p)
			}
		}
	}
	return points, nil
}

// toolhive is the middleware of its proxy, after the one that parses for it, as the proxy has them.
func toolhive(p bench.Pipeline, build func(...server.ServerOption) *server.MCPServer) bench.Target {
	otel.SetTextMapPropagator(propagation.TraceContext{}) // where it looks for one
	record := telemetry.NewHTTPMiddleware(telemetry.DefaultConfig(), p.Tracer, p.Meter, "bench", "streamable-http")
	return bench.Target{
		Server: build(),
		HTTP:   func(h http.Handler) http.Handler { return mcpparser.ParsingMiddleware(record(h)) },
	}
}
