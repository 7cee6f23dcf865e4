// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file builds the providers from a declarative configuration file.

package exporters

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/otelconf"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutlog"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

func (p *Pipeline) buildFromFile(ctx context.Context, cfg config, file string, res *resource.Resource) error {
	content, err := os.ReadFile(file) //nolint:gosec // the operator names the file
	if err != nil {
		return fmt.Errorf("%s=%q: want a readable file: %w", envConfigFile, file, err)
	}
	model, err := otelconf.ParseYAML(content)
	if err != nil {
		return fmt.Errorf("%s=%q: want an OpenTelemetry configuration: %s", envConfigFile, file, unquoted(err))
	}
	if err := checkModel(model); err != nil {
		return fmt.Errorf("%s=%q: %w", envConfigFile, file, err)
	}

	// What the file says of the resource comes last, and so wins.
	if model.Resource == nil {
		model.Resource = &otelconf.Resource{}
	}
	var attributes []otelconf.AttributeNameValue
	for _, kv := range res.Attributes() {
		attributes = append(attributes, otelconf.AttributeNameValue{Name: string(kv.Key), Value: kv.Value.AsInterface()})
	}
	model.Resource.Attributes = append(attributes, model.Resource.Attributes...)

	opts, err := p.takeConsoles(model, cfg)
	if err != nil {
		return err
	}

	// NewSDK prefers the file that the variable names to the model it is given,
	// in which nothing writes to stdout any more.
	if err := os.Unsetenv(envConfigFile); err != nil {
		return err
	}
	sdk, err := otelconf.NewSDK(append(opts, otelconf.WithContext(ctx), otelconf.WithOpenTelemetryConfiguration(*model))...)
	if rerr := os.Setenv(envConfigFile, file); err == nil {
		err = rerr
	}
	if err != nil {
		return fmt.Errorf("%s=%q: %s", envConfigFile, file, unquoted(err))
	}
	p.tracers, p.meters, p.loggers = sdk.TracerProvider(), sdk.MeterProvider(), sdk.LoggerProvider()
	if model.Propagator != nil {
		p.propagator = sdk.Propagator()
	}
	return nil
}

// quoted is a text that an error quotes: Go's way, and those of the YAML parser.
var quoted = regexp.MustCompile("\"(?:[^\"\\\\]|\\\\.)*\"|(?s:`.*?` into )|`[^`]*`|'[^']*'")

// unquoted is what err says without what it quotes: that is what stands in the file, and what stands there can be a
// secret, or be one after a slip of the pen, such as a password with a colon in a URL.
func unquoted(err error) string {
	return redact(quoted.ReplaceAllStringFunc(err.Error(), func(s string) string {
		if strings.HasSuffix(s, " into ") {
			return redacted + " into "
		}
		return redacted
	}))
}

// takeConsoles takes the console exporters out of the model, and returns
// options that put ones in their place which write to stderr.
func (p *Pipeline) takeConsoles(model *otelconf.OpenTelemetryConfiguration, cfg config) ([]otelconf.ConfigurationOption, error) {
	var opts []otelconf.ConfigurationOption
	if m := model.TracerProvider; m != nil {
		var kept []otelconf.SpanProcessor
		for _, sp := range m.Processors {
			batch := sp.Batch != nil && sp.Batch.Exporter.Console != nil
			if !batch && (sp.Simple == nil || sp.Simple.Exporter.Console == nil) {
				kept = append(kept, sp)
				continue
			}
			p.moved("console exporter of traces")
			exp, err := stdouttrace.New(stdouttrace.WithWriter(cfg.stderr))
			if err != nil {
				return nil, err
			}
			option := sdktrace.WithSyncer(exp)
			if batch {
				option = sdktrace.WithBatcher(exp, spanBatches(sp.Batch)...)
			}
			opts = append(opts, otelconf.WithTracerProviderOptions(option))
		}
		m.Processors = kept
	}
	if m := model.MeterProvider; m != nil {
		var kept []otelconf.MetricReader
		for _, r := range m.Readers {
			if r.Periodic == nil || r.Periodic.Exporter.Console == nil {
				kept = append(kept, r)
				continue
			}
			p.moved("console exporter of metrics")
			exp, err := stdoutmetric.New(stdoutmetric.WithWriter(cfg.stderr))
			if err != nil {
				return nil, err
			}
			reader := sdkmetric.NewPeriodicReader(exp,
				sdkmetric.WithInterval(milliseconds(r.Periodic.Interval)), sdkmetric.WithTimeout(milliseconds(r.Periodic.Timeout)))
			opts = append(opts, otelconf.WithMeterProviderOptions(sdkmetric.WithReader(reader)))
		}
		m.Readers = kept
	}
	if m := model.LoggerProvider; m != nil {
		var kept []otelconf.LogRecordProcessor
		for _, lp := range m.Processors {
			batch := lp.Batch != nil && lp.Batch.Exporter.Console != nil
			if !batch && (lp.Simple == nil || lp.Simple.Exporter.Console == nil) {
				kept = append(kept, lp)
				continue
			}
			p.moved("console exporter of logs")
			exp, err := stdoutlog.New(stdoutlog.WithWriter(cfg.stderr))
			if err != nil {
				return nil, err
			}
			var processor sdklog.Processor = sdklog.NewSimpleProcessor(exp)
			if batch {
				processor = sdklog.NewBatchProcessor(exp,
					sdklog.WithExportInterval(milliseconds(lp.Batch.ScheduleDelay)), sdklog.WithExportTimeout(milliseconds(lp.Batch.ExportTimeout)),
					sdklog.WithMaxQueueSize(number(lp.Batch.MaxQueueSize)), sdklog.WithExportMaxBatchSize(number(lp.Batch.MaxExportBatchSize)))
			}
			opts = append(opts, otelconf.WithLoggerProviderOptions(sdklog.WithProcessor(processor)))
		}
		m.Processors = kept
	}
	return opts, nil
}

// spanBatches are the settings of b. Unlike the other two, the SDK's processor takes
// zero as it stands and not as its default.
func spanBatches(b *otelconf.BatchSpanProcessor) (opts []sdktrace.BatchSpanProcessorOption) {
	if b.ScheduleDelay != nil {
		opts = append(opts, sdktrace.WithBatchTimeout(milliseconds(b.ScheduleDelay)))
	}
	if b.ExportTimeout != nil {
		opts = append(opts, sdktrace.WithExportTimeout(milliseconds(b.ExportTimeout)))
	}
	if b.MaxQueueSize != nil {
		opts = append(opts, sdktrace.WithMaxQueueSize(*b.MaxQueueSize))
	}
	if b.MaxExportBatchSize != nil {
		opts = append(opts, sdktrace.WithMaxExportBatchSize(*b.MaxExportBatchSize))
	}
	return opts
}

// number is 0, which the SDK takes for its default, where there is none.
func number(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}

func milliseconds(n *int) time.Duration { return time.Duration(number(n)) * time.Millisecond }
