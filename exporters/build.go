// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file builds the providers from OTEL_* variables.

package exporters

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutlog"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	lognoop "go.opentelemetry.io/otel/log/noop"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/otelmcp/otelmcp-go/exporters/otlpfile"
)

const (
	envConfigFile = "OTEL_CONFIG_FILE"
	envTraces     = "OTEL_TRACES_EXPORTER"
	envMetrics    = "OTEL_METRICS_EXPORTER"
	envLogs       = "OTEL_LOGS_EXPORTER"
	envProducers  = "OTEL_METRICS_PRODUCERS"

	envObservability = "OTEL_GO_X_OBSERVABILITY"

	console = "console"
	otlp    = "otlp"
)

// build fills in the providers. After an error, those that are there are to
// be shut down.
func (p *Pipeline) build(ctx context.Context, cfg config) (err error) {
	res, err := p.resource(ctx, cfg)
	if err != nil {
		return err
	}
	if file := os.Getenv(envConfigFile); file != "" {
		return p.buildFromFile(ctx, cfg, file, res)
	}
	err = p.buildMeters(ctx, cfg, res)
	// The SDK picks the meter for its own metrics up from the global provider when
	// the other two are built. The one that is there at first follows what is
	// registered later; one that was registered before, as that of a pipeline that
	// was shut down, does not.
	before := otel.GetMeterProvider()
	switch before.(type) {
	case *sdkmetric.MeterProvider, metricnoop.MeterProvider:
		if err == nil {
			otel.SetMeterProvider(p.meters)
		}
		defer func() {
			if err != nil {
				otel.SetMeterProvider(before)
			}
		}()
	}
	return errors.Join(err, p.buildTracers(ctx, cfg, res), p.buildLoggers(ctx, cfg, res))
}

// resource describes the process. Command line and owner are left out: the one
// can hold secrets, the other is nobody's business.
func (p *Pipeline) resource(ctx context.Context, cfg config) (*resource.Resource, error) {
	name := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
	res, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithHost(),
		resource.WithOSType(),
		resource.WithProcessPID(),
		resource.WithProcessExecutableName(),
		resource.WithProcessRuntimeName(),
		resource.WithProcessRuntimeVersion(),
		resource.WithService(),
		resource.WithAttributes(semconv.ServiceName(name)),
		resource.WithAttributes(cfg.attributes...),
	)
	if err != nil {
		p.out.once(fmt.Sprintf("the resource is incomplete: %v", err)) // no reason to go without telemetry
	}
	env, err := resource.New(ctx, resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES=%q: want key=value,key=value with percent-encoded values: %s",
			redact(os.Getenv("OTEL_RESOURCE_ATTRIBUTES")), redact(err.Error()))
	}
	return resource.Merge(res, env)
}

func (p *Pipeline) buildTracers(ctx context.Context, cfg config, res *resource.Resource) error {
	var exp sdktrace.SpanExporter
	var err error
	name := selected(envTraces)
	if name == otlp {
		restore := plainByDefault("traces")
		defer restore()
	}
	if name == console {
		p.moved(envTraces + "=" + console)
		exp, err = stdouttrace.New(stdouttrace.WithWriter(cfg.stderr))
	} else {
		exp, err = autoexport.NewSpanExporter(ctx)
	}
	if err != nil {
		return unusable(envTraces, name, "", err)
	}
	if autoexport.IsNoneSpanExporter(exp) {
		p.tracers = tracenoop.NewTracerProvider()
		return nil
	}
	exp = &watchedSpans{SpanExporter: exp, d: p.deliveries, dest: p.destination("traces", name)}
	p.tracers = sdktrace.NewTracerProvider(sdktrace.WithBatcher(exp), sdktrace.WithResource(res))
	return nil
}

func (p *Pipeline) buildMeters(ctx context.Context, cfg config, res *resource.Resource) error {
	name := selected(envMetrics)
	if name == otlp {
		restore := plainByDefault("metrics")
		defer restore()
	}
	reader, err := p.metricReader(ctx, cfg, name)
	if err != nil {
		return unusable(envMetrics, name, ", prometheus", err)
	}
	if autoexport.IsNoneMetricReader(reader) {
		p.meters = metricnoop.NewMeterProvider()
		return nil
	}
	p.meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithResource(res))
	return nil
}

// metricReader differs from the other signals in that autoexport returns a
// reader, in which the exporter is out of reach. The exporters that push are
// therefore made here, as autoexport makes them, to be watched. Where
// OTEL_METRICS_PRODUCERS asks for what only autoexport has, it has its way.
func (p *Pipeline) metricReader(ctx context.Context, cfg config, name string) (sdkmetric.Reader, error) {
	var exp sdkmetric.Exporter
	var err error
	switch {
	case name == console:
		p.moved(envMetrics + "=" + console)
		exp, err = stdoutmetric.New(stdoutmetric.WithWriter(cfg.stderr))
	case name == otlpfile.Name:
		var file otlpfile.Config
		if file, err = otlpfile.ConfigFromEnv(); err == nil {
			exp, err = otlpfile.NewMetricExporter(ctx, file)
		}
	case name != otlp || os.Getenv(envProducers) != "":
		reader, err := autoexport.NewMetricReader(ctx)
		if producers := os.Getenv(envProducers); err != nil && producers != "" {
			err = fmt.Errorf("%s=%q: %w", envProducers, producers, err)
		}
		return reader, err
	case otlpSetting("metrics", "PROTOCOL") == "grpc":
		exp, err = otlpmetricgrpc.New(ctx)
	default:
		exp, err = otlpmetrichttp.New(ctx)
	}
	if err != nil {
		return nil, err
	}
	return sdkmetric.NewPeriodicReader(&watchedMetrics{Exporter: exp, d: p.deliveries, dest: p.destination("metrics", name)}), nil
}

func (p *Pipeline) buildLoggers(ctx context.Context, cfg config, res *resource.Resource) error {
	var exp sdklog.Exporter
	var err error
	name := selected(envLogs)
	if name == otlp {
		restore := plainByDefault("logs")
		defer restore()
	}
	if name == console {
		p.moved(envLogs + "=" + console)
		exp, err = stdoutlog.New(stdoutlog.WithWriter(cfg.stderr))
	} else {
		exp, err = autoexport.NewLogExporter(ctx)
	}
	if err != nil {
		return unusable(envLogs, name, "", err)
	}
	if autoexport.IsNoneLogExporter(exp) {
		p.loggers = lognoop.NewLoggerProvider()
		return nil
	}
	exp = &watchedLogs{Exporter: exp, d: p.deliveries, queues: p.queues, dest: p.destination("logs", name)}
	p.loggers = sdklog.NewLoggerProvider(sdklog.WithResource(res), sdklog.WithAllowKeyDuplication(), // unique sees to it
		sdklog.WithProcessor(unique{}), sdklog.WithProcessor(sdklog.NewBatchProcessor(exp)))
	return nil
}

// selected returns the exporter that a variable names.
func selected(env string) string {
	if v := os.Getenv(env); v != "" {
		return v
	}
	return otlp
}

// unusable names the variable behind an exporter that could not be made.
func unusable(env, name, more string, err error) error {
	names := "otlp, otlp_file, console, none" + more
	name = redact(name)
	if slices.Contains(strings.Split(names, ", "), name) {
		return fmt.Errorf("%s=%q: %w", env, name, err) // the name is right, something else is not
	}
	return fmt.Errorf("%s=%q: want one of %s, or a name registered with autoexport: %w", env, name, names, err)
}

// moved says that what was to be written to standard output is not.
func (p *Pipeline) moved(what string) {
	p.out.say("%s: written to stderr, because stdout belongs to the protocol", what)
}

// destination tells where a signal goes. It is called while plainByDefault
// holds, and so sees what the exporter sees.
func (p *Pipeline) destination(signal, exporter string) *destination {
	if exporter != otlp {
		return p.deliveries.to(signal, exporter, nil)
	}
	// The SDK's defaults.
	endpoint := otlpSetting(signal, "ENDPOINT")
	if endpoint == "" {
		scheme, port := "https", "4318"
		if strings.EqualFold(otlpSetting(signal, "INSECURE"), "true") {
			scheme = "http"
		}
		if otlpSetting(signal, "PROTOCOL") == "grpc" {
			port = "4317"
		}
		endpoint = scheme + "://localhost:" + port
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return p.deliveries.to(signal, redact(endpoint), nil)
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	if u.Port() == "" {
		return p.deliveries.to(signal, u.String(), nil)
	}
	return p.deliveries.to(signal, u.String(), u)
}
