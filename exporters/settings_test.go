// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file gives every variable values that nobody means, and asserts that each is
// either refused by name or used, and kills nobody.

package exporters

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// nasty are values that no variable takes, but for some small numbers.
var nasty = []string{
	"9000000000000000000", "99999999999999999999999", "-9000000000000000000", "100000000000", "2147483648",
	"-2", "-1", "0", "+1", "-", "1.5", "1e3", "0x10", "1_000", "10s", "ten", " 5", "5 ", "5\n", "\u0665", "NaN", "Inf",
	"true ", "grpc ", " ", "\t", ",", "=", ",=", "a=b\x01", "é=b", "http://localhost:99999", " http://localhost:4318",
}

// variables are all that the SDK, its exporters and this package read, but for those
// that name a file or take any text.
func variables() []string {
	names := []string{
		bsp + "MAX_EXPORT_BATCH_SIZE", blrp + "MAX_EXPORT_BATCH_SIZE",
		envTraces, envMetrics, envLogs, envProducers, envPropagators, "OTEL_RESOURCE_ATTRIBUTES",
	}
	for _, s := range settings {
		names = append(names, s.names...)
	}
	return names
}

// ignored collects what the SDK says of variables that it reads and does not use.
func ignored(t *testing.T) *[]string {
	t.Helper()
	var lines []string
	note := func(text string) {
		if strings.Contains(text, "nvalid") || strings.Contains(text, "error") {
			lines = append(lines, text)
		}
	}
	otel.SetLogger(funcr.New(func(prefix, args string) { note(prefix + " " + args) }, funcr.Options{Verbosity: 4}))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { lines = append(lines, err.Error()) }))
	return &lines
}

func TestEveryValueIsRefusedOrUsed(t *testing.T) {
	r, endpoint := startHTTP(t)
	for _, name := range variables() {
		for _, value := range nasty {
			t.Run(fmt.Sprintf("%s=%q", name, value), func(t *testing.T) {
				t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
				t.Setenv(name, value)
				lines := ignored(t)
				var said bytes.Buffer
				p, err := Setup(t.Context(), WithStderr(&said))
				if err != nil {
					if p != nil || !strings.Contains(err.Error(), fmt.Sprintf("%s=%q", name, value)) && !strings.Contains(err.Error(), name+`="[redacted]"`) {
						t.Errorf("the error does not name it: %v", err)
					}
					if len(*lines) > 0 {
						t.Errorf("besides the error, this was said: %q", *lines)
					}
					return
				}
				if disabled() {
					return
				}
				clear(r.spans)
				clear(r.logs)
				clear(r.metrics)
				emit(t.Context())
				if err := p.Shutdown(t.Context()); err != nil {
					t.Errorf("accepted, and then not delivered: %v", err)
				}
				if !r.has(r.spans, "test.span") || !r.has(r.logs, "test.event") || !r.has(r.metrics, "test.counter") {
					t.Errorf("accepted, and then not delivered: %v %v %v", r.spans, r.logs, r.metrics)
				}
				if said.Len() > 0 || len(*lines) > 0 {
					t.Errorf("accepted, and then not used: %s%q", said.String(), *lines)
				}
			})
		}
	}
}

// What is accepted is told in full, and the ends of the ranges are accepted.
func TestRanges(t *testing.T) {
	const spans, logs = "want a whole number from 1 to 4194304", "want a whole number from 1 to 262144"
	batch := "want a whole number from 1 to OTEL_BSP_MAX_QUEUE_SIZE, which is "
	milliseconds := "want a whole number of milliseconds from 1 to 2147483647"
	for _, tt := range []struct {
		env  []string
		want string // "" for none
	}{
		{[]string{"OTEL_BSP_MAX_QUEUE_SIZE=9000000000000000000"}, `OTEL_BSP_MAX_QUEUE_SIZE="9000000000000000000": ` + spans},
		{[]string{"OTEL_BLRP_MAX_QUEUE_SIZE=100000000000"}, `OTEL_BLRP_MAX_QUEUE_SIZE="100000000000": ` + logs},
		{[]string{"OTEL_BSP_MAX_QUEUE_SIZE=4194305"}, spans},
		{[]string{"OTEL_BLRP_MAX_QUEUE_SIZE=262145"}, logs},
		{[]string{"OTEL_BSP_MAX_QUEUE_SIZE=4194304"}, ""},
		{[]string{"OTEL_GO_X_CARDINALITY_LIMIT=-1"}, ""},
		{[]string{"OTEL_BSP_MAX_QUEUE_SIZE=262144", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=262144"}, ""},
		{[]string{"OTEL_BLRP_MAX_QUEUE_SIZE=1", "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE=1"}, ""},
		{[]string{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE=2049"}, batch + "2048"},
		{[]string{"OTEL_BSP_MAX_QUEUE_SIZE=10", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=11"}, batch + "10"},
		{[]string{"OTEL_BSP_MAX_QUEUE_SIZE=10"}, ""},
		{[]string{"OTEL_BSP_SCHEDULE_DELAY=2147483648"}, milliseconds},
		{[]string{"OTEL_EXPORTER_OTLP_LOGS_TIMEOUT=0"}, milliseconds},
		{[]string{"OTEL_METRIC_EXPORT_INTERVAL=2147483647"}, ""},
		{[]string{"OTEL_SPAN_EVENT_COUNT_LIMIT=-1"}, ""},
		{[]string{"OTEL_SPAN_EVENT_COUNT_LIMIT=-2"}, "want a whole number from -1, which is no limit, to 2147483647"},
		{[]string{"OTEL_EXPORTER_PROMETHEUS_PORT=65536"}, "want a port from 0, which is any that is free, to 65535"},
		{[]string{"OTEL_EXPORTER_OTLP_HEADERS=a=b\n"}, ""},
	} {
		t.Run(strings.Join(tt.env, " "), func(t *testing.T) {
			for _, kv := range tt.env {
				name, value, _ := strings.Cut(kv, "=")
				t.Setenv(name, value)
			}
			err := checkSettings()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %s", err, tt.want)
			}
		})
	}
}

// A pipeline that is off does not mind what it would have been made of.
func TestDisabledMindsNoOtherVariable(t *testing.T) {
	t.Setenv("OTEL_SDK_DISABLED", "true")
	t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "many")
	p, err := Setup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// A program that goes on without its telemetry need not look whether it has any.
func TestANilPipelineDoesNothing(t *testing.T) {
	t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "many")
	p, err := Setup(t.Context(), nil, WithStderr(nil))
	if err == nil || p != nil {
		t.Fatalf("%v, %v", p, err)
	}
	if err := p.ForceFlush(t.Context()); err != nil {
		t.Error(err)
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// fields are those that the global propagator writes.
func fields() []string {
	return slices.Sorted(slices.Values(otel.GetTextMapPropagator().Fields()))
}

func TestPropagators(t *testing.T) {
	w3c := []string{"baggage", "traceparent", "tracestate"}
	for value, want := range map[string][]string{
		"":                               w3c,
		"tracecontext,baggage":           w3c,
		"TraceContext , baggage,baggage": w3c,
		"tracecontext":                   {"traceparent", "tracestate"},
		"baggage":                        {"baggage"},
		"none":                           nil,
		"tracecontext,none":              nil,
		"b3":                             {"b3"},
		"b3multi":                        {"x-b3-flags", "x-b3-sampled", "x-b3-spanid", "x-b3-traceid"},
		"jaeger":                         {"uber-trace-id"},
		"xray":                           {"X-Amzn-Trace-Id"},
		"ottrace":                        {"ot-tracer-sampled", "ot-tracer-spanid", "ot-tracer-traceid"},
		"tracecontext,b3,baggage":        {"b3", "baggage", "traceparent", "tracestate"},
	} {
		for _, disabled := range []string{"false", "true"} {
			t.Run(value+", disabled "+disabled, func(t *testing.T) {
				for name, v := range map[string]string{envPropagators: value, "OTEL_SDK_DISABLED": disabled, envTraces: "none", envMetrics: "none", envLogs: "none"} {
					t.Setenv(name, v)
				}
				p, err := Setup(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if got := fields(); !slices.Equal(got, want) {
					t.Errorf("fields are %v, want %v", got, want)
				}
				if err := p.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// What one process sends by a propagator other than the default, another reads.
func TestB3GoesAcross(t *testing.T) {
	t.Setenv(envPropagators, "b3")
	p, err := propagators()
	if err != nil {
		t.Fatal(err)
	}
	want := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, Remote: true})
	carrier := propagation.MapCarrier{}
	p.Inject(trace.ContextWithSpanContext(t.Context(), want), carrier)
	if got := trace.SpanContextFromContext(p.Extract(t.Context(), carrier)); !got.Equal(want) {
		t.Errorf("%v in %v", got, carrier)
	}
}

func TestAnUnknownPropagatorIsNamed(t *testing.T) {
	for _, value := range []string{"tracecontex,baggage", "tracecontext,", ",", "w3c", "none,nonsense"} {
		t.Setenv(envPropagators, value)
		for _, disabled := range []string{"false", "true"} {
			t.Setenv("OTEL_SDK_DISABLED", disabled)
			before := fields()
			_, err := Setup(t.Context())
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("OTEL_PROPAGATORS=%q: want a list of tracecontext, baggage, b3", value)) {
				t.Errorf("%q: %v", value, err)
			}
			if !slices.Equal(fields(), before) {
				t.Error("a half set-up was left behind")
			}
		}
	}
}
