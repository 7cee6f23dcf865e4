// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file tests what is refused of a configuration file, and where.

package exporters

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
)

// setupFile calls Setup with text as the configuration file.
func setupFile(t *testing.T, text string) (p *Pipeline, said string, err error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "otel.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(envConfigFile, file)
	var buf bytes.Buffer
	p, err = Setup(t.Context(), WithStderr(&buf))
	return p, buf.String(), err
}

const (
	fileFormat = "file_format: \"1.0\"\n"
	fileOTLP   = "otlp_http: {endpoint: 'http://localhost:4318'}"
)

func batchOf(settings string) string {
	return "{processors: [{batch: {" + settings + " exporter: {" + fileOTLP + "}}}]}"
}

func TestAFileThatIsWrong(t *testing.T) {
	both := "{console: {}, " + fileOTLP + "}"
	for text, want := range map[string]string{
		"":           "file_format: want one",
		"\n# \n":     "file_format: want one",
		"---\n...\n": "file_format: want one",
		"{}":         "file_format",
		fileFormat + "tracer_provider: {processors: [{batch: {exporter: " + both + "}}]}":                                                             "tracer_provider.processors[0].batch.exporter: want one exporter, and there are console and otlp_http",
		fileFormat + "tracer_provider: {processors: [{simple: {exporter: " + both + "}}]}":                                                            "tracer_provider.processors[0].simple.exporter: want one exporter",
		fileFormat + "logger_provider: {processors: [{batch: {exporter: " + both + "}}]}":                                                             "logger_provider.processors[0].batch.exporter: want one exporter",
		fileFormat + "logger_provider: {processors: [{simple: {exporter: " + both + "}}]}":                                                            "logger_provider.processors[0].simple.exporter: want one exporter",
		fileFormat + "meter_provider: {readers: [{periodic: {exporter: " + both + "}}]}":                                                              "meter_provider.readers[0].periodic.exporter: want one exporter",
		fileFormat + "meter_provider: {readers: [{periodic: {exporter: {otlp_grpc: {endpoint: 'http://localhost:4317'}, " + fileOTLP + "}}}]}":        "want one exporter, and there are otlp_grpc and otlp_http",
		fileFormat + "tracer_provider: " + batchOf("max_queue_size: 9000000000000000000,"):                                                            "tracer_provider.processors[0].batch.max_queue_size: 9000000000000000000: want a whole number from 1 to 4194304",
		fileFormat + "tracer_provider: " + batchOf("max_queue_size: 100000000000,"):                                                                   "max_queue_size: 100000000000: want",
		fileFormat + "tracer_provider: " + batchOf("max_export_batch_size: 100000000000,"):                                                            "max_export_batch_size: 100000000000: want",
		fileFormat + "tracer_provider: " + batchOf("schedule_delay: 0,"):                                                                              "schedule_delay: 0: want a whole number from 1 to 2147483647",
		fileFormat + "tracer_provider: " + batchOf("export_timeout: 9000000000000000000,"):                                                            "export_timeout: 9000000000000000000: want",
		fileFormat + "logger_provider: " + batchOf("max_queue_size: 9000000000000000000,"):                                                            "logger_provider.processors[0].batch.max_queue_size: 9000000000000000000: want",
		fileFormat + "logger_provider: " + batchOf("max_export_batch_size: 100000000000,"):                                                            "max_export_batch_size: 100000000000: want",
		fileFormat + "meter_provider: {readers: [{periodic: {interval: 9000000000000000000, exporter: {" + fileOTLP + "}}}]}":                         "meter_provider.readers[0].periodic.interval: 9000000000000000000: want",
		fileFormat + "meter_provider: {views: [{selector: {}, stream: {aggregation: {base2_exponential_bucket_histogram: {max_size: 2000000000}}}}]}": "max_size: 2000000000: want a whole number from 0 to 16384",
		fileFormat + "tracer_provider: {processors: [], limits: {attribute_count_limit: 9000000000000000000}}":                                        "tracer_provider.limits.attribute_count_limit: 9000000000000000000: want",
		fileFormat + "propagator: {composite_list: 'tracecontex'}":                                                                                    "tracecontex",
	} {
		t.Run(want, func(t *testing.T) {
			before := otel.GetTracerProvider()
			p, said, err := setupFile(t, text)
			if err == nil {
				_ = p.Shutdown(t.Context())
			}
			if p != nil || err == nil || !strings.Contains(err.Error(), "OTEL_CONFIG_FILE=") || !strings.Contains(err.Error(), want) {
				t.Errorf("error is %v, want %s", err, want)
			}
			if said != "" || otel.GetTracerProvider() != before {
				t.Errorf("a half set-up was left behind, or this said: %s", said)
			}
		})
	}
}

// One exporter each beside the other is what the refused files should have had.
func TestConsoleBesideOTLP(t *testing.T) {
	r, endpoint := startHTTP(t)
	text := fileFormat
	for provider, signal := range map[string]string{"tracer_provider": "traces", "logger_provider": "logs"} {
		text += provider + ": {processors: [{batch: {schedule_delay: 10, export_timeout: 0, max_queue_size: 5, max_export_batch_size: 5, exporter: {console: {}}}}, " +
			"{batch: {exporter: {otlp_http: {endpoint: '" + endpoint + "/v1/" + signal + "'}}}}]}\n"
	}
	text += "meter_provider: {readers: [{periodic: {interval: 100000, timeout: 1000, exporter: {console: {}}}}, " +
		"{periodic: {exporter: {otlp_http: {endpoint: '" + endpoint + "/v1/metrics'}}}}]}\n"
	file := filepath.Join(t.TempDir(), "otel.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	res := run(t, "20s", "OTEL_CONFIG_FILE="+file)
	res.ok(t)
	assertConsole(t, res)
	if !r.has(r.spans, "test.span") || !r.has(r.logs, "test.event") || !r.has(r.metrics, "test.counter") {
		t.Errorf("missing: %v %v %v", r.spans, r.logs, r.metrics)
	}
}
