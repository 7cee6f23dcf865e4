// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file checks the OTEL_* variables. The SDK reports a wrong value to the
// error handler and goes on with its default; an operator who mistyped a
// variable is better served by an error that says what is accepted.

package exporters

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// setting is a kind of variable: its names, and what it accepts.
type setting struct {
	names   []string
	accepts string
	valid   func(string) bool
	show    func(string) string // what may be shown of the value; nil is what redact leaves
	exact   bool                // the readers compare the value as it stands, without trimming it
}

var settings = []setting{
	{names: otlpNames("PROTOCOL"), accepts: "exactly grpc or http/protobuf", valid: isProtocol, exact: true},
	{names: otlpNames("ENDPOINT"), accepts: "a URL with its scheme, such as http://localhost:4318, https://host or unix:///path (grpc)", valid: isEndpoint, show: hostPart},
	{names: otlpNames("HEADERS"), accepts: "key=value,key=value with percent-encoded values", valid: isHeaders, show: nothing},
	{names: otlpNames("COMPRESSION"), accepts: "exactly gzip or none", valid: isCompression, exact: true},
	{names: otlpNames("INSECURE"), accepts: "true or false", valid: isBool},
	{names: otlpNames("CERTIFICATE"), accepts: "a readable PEM file of certificates", valid: isCertPool},
	{
		names: append(otlpNames("TIMEOUT"), "OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT", "OTEL_BLRP_SCHEDULE_DELAY",
			"OTEL_BLRP_EXPORT_TIMEOUT", "OTEL_METRIC_EXPORT_INTERVAL", "OTEL_METRIC_EXPORT_TIMEOUT"),
		accepts: "a positive number of milliseconds", valid: isPositive,
	},
	{
		names:   []string{"OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_BLRP_MAX_QUEUE_SIZE", "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE"},
		accepts: "a positive number", valid: isPositive,
	},
	{
		names: []string{
			"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
			"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_LINK_COUNT_LIMIT",
			"OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
		},
		accepts: "a number", valid: func(v string) bool { _, err := strconv.Atoi(v); return err == nil },
	},
	{
		names:   []string{"OTEL_TRACES_SAMPLER"},
		accepts: "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off or parentbased_traceidratio",
		valid: oneOf("always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off",
			"parentbased_traceidratio"),
	},
	{names: []string{"OTEL_METRICS_EXEMPLAR_FILTER"}, accepts: "always_on, always_off or trace_based", valid: oneOf("always_on", "always_off", "trace_based")},
	{names: []string{"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"}, accepts: "cumulative, delta or lowmemory", valid: oneOf("cumulative", "delta", "lowmemory")},
	{
		names:   []string{"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"},
		accepts: "explicit_bucket_histogram or base2_exponential_bucket_histogram",
		valid:   oneOf("explicit_bucket_histogram", "base2_exponential_bucket_histogram"),
	},
	{names: []string{"OTEL_SDK_DISABLED"}, accepts: "true or false", valid: isBool},
}

// checkSettings returns every variable that is set to something that would not
// be used as it stands. An empty variable is an unset one.
func checkSettings() error {
	var errs []error
	for _, s := range settings {
		for _, name := range s.names {
			v := os.Getenv(name)
			if !s.exact {
				v = strings.TrimSpace(v)
			}
			if v == "" || s.valid(v) {
				continue
			}
			if s.show != nil {
				v = s.show(v)
			}
			errs = append(errs, invalid(name, v, s.accepts))
		}
	}
	// Only the ratio samplers read their argument.
	const arg = "OTEL_TRACES_SAMPLER_ARG"
	if v := os.Getenv(arg); v != "" && strings.HasSuffix(os.Getenv("OTEL_TRACES_SAMPLER"), "traceidratio") {
		if f, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err != nil || !(f >= 0 && f <= 1) {
			errs = append(errs, invalid(arg, v, "a ratio from 0 to 1"))
		}
	}
	for _, prefix := range otlpNames("") {
		cert, key := prefix+"CLIENT_CERTIFICATE", prefix+"CLIENT_KEY"
		if c, k := os.Getenv(cert), os.Getenv(key); c != "" || k != "" {
			if _, err := tls.LoadX509KeyPair(c, k); err != nil {
				errs = append(errs, fmt.Errorf("%s=%q and %s=%q: want the PEM files of a certificate and its key: %w", cert, c, key, k, err))
			}
		}
	}
	return errors.Join(errs...)
}

func nothing(string) string { return redacted }

// hostPart is an endpoint without userinfo, query and fragment, whether or not it is a URL.
func hostPart(v string) string {
	if at := strings.LastIndexByte(v, '@'); at >= 0 {
		v = redacted + v[at:]
	}
	if i := strings.IndexAny(v, "?#"); i >= 0 {
		v = v[:i]
	}
	return v
}

func invalid(name, value, accepts string) error {
	return fmt.Errorf("%s=%q: want %s", name, redact(value), accepts)
}

func disabled() bool {
	return strings.EqualFold(strings.TrimSpace(os.Getenv("OTEL_SDK_DISABLED")), "true")
}

// otlpNames returns the variable for all signals and those for one each.
func otlpNames(suffix string) []string {
	const p = "OTEL_EXPORTER_OTLP_"
	return []string{p + suffix, p + "TRACES_" + suffix, p + "METRICS_" + suffix, p + "LOGS_" + suffix}
}

// otlpSetting returns the value that holds for one signal.
func otlpSetting(signal, name string) string {
	if v := os.Getenv("OTEL_EXPORTER_OTLP_" + strings.ToUpper(signal) + "_" + name); v != "" {
		return v
	}
	return os.Getenv("OTEL_EXPORTER_OTLP_" + name)
}

// plainByDefault makes http:// the scheme of a signal's default endpoint, as the
// OpenTelemetry specification has it; the SDK's is https://. It does so with the
// INSECURE variable, for as long as the signal's exporter is being built: the
// caller restores what was there. Where the operator said anything of where to
// send or of TLS, that holds, and nothing is changed.
func plainByDefault(signal string) (restore func()) {
	for _, name := range []string{"ENDPOINT", "INSECURE", "CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"} {
		if otlpSetting(signal, name) != "" {
			return func() {}
		}
	}
	return setenv("OTEL_EXPORTER_OTLP_"+strings.ToUpper(signal)+"_INSECURE", "true")
}

// setenv sets a variable until restore is called. Only a wrong name can fail.
func setenv(name, value string) (restore func()) {
	before, found := os.LookupEnv(name)
	_ = os.Setenv(name, value)
	return func() {
		if found {
			_ = os.Setenv(name, before)
		} else {
			_ = os.Unsetenv(name)
		}
	}
}

func oneOf(values ...string) func(string) bool {
	return func(v string) bool { return slices.Contains(values, strings.ToLower(v)) }
}

func isCompression(v string) bool { return v == "gzip" || v == "none" }

func isProtocol(v string) bool { return v == "grpc" || v == "http/protobuf" }

func isBool(v string) bool { return strings.EqualFold(v, "true") || strings.EqualFold(v, "false") }

func isPositive(v string) bool {
	n, err := strconv.Atoi(v)
	return err == nil && n > 0
}

func isEndpoint(v string) bool {
	u, err := url.Parse(v)
	if err != nil {
		return false
	}
	switch strings.ToLower(u.Scheme) {
	case "http", "https":
		return u.Hostname() != ""
	case "unix":
		return u.Path != "" || u.Opaque != ""
	}
	return false
}

func isHeaders(v string) bool {
	for pair := range strings.SplitSeq(v, ",") {
		key, value, found := strings.Cut(pair, "=")
		if !found || strings.TrimSpace(key) == "" || strings.ContainsAny(strings.TrimSpace(key), " \t\"(),/:;<>?@[\\]{}") {
			return false
		}
		if _, err := url.PathUnescape(value); err != nil {
			return false
		}
	}
	return true
}

func isCertPool(v string) bool {
	pem, err := os.ReadFile(v) //nolint:gosec // the operator names the file
	return err == nil && x509.NewCertPool().AppendCertsFromPEM(pem)
}
