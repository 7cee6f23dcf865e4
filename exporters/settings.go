// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file checks the OTEL_* variables. The SDK reports a wrong value to the
// error handler, or to nobody, and goes on with its default; some values it takes
// and dies of. An operator who mistyped a variable is better served by an error that
// says what is accepted.

package exporters

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

const (
	// maxNumber bounds all other numbers. As milliseconds it is 24 days, which no reader
	// takes for a negative time.
	maxNumber = math.MaxInt32

	// The bounds of the queues. The SDK allocates a queue when it is made: 16 bytes for
	// each span, which makes 64 MiB, and 640 for each log record, which makes 160 MiB.
	maxSpanQueue, maxLogQueue = 1 << 22, 1 << 18

	// defaultQueue is the SDK's, for spans and for log records.
	defaultQueue = 2048

	bsp  = "OTEL_BSP_"
	blrp = "OTEL_BLRP_"
)

// setting is a kind of variable: its names, and what it accepts.
type setting struct {
	names   []string
	accepts string
	valid   func(string) bool
	show    func(string) string // what may be shown of the value; nil is what redact leaves
	trimmed bool                // all readers take the white space around the value away
}

var settings = []setting{
	{names: otlpNames("PROTOCOL"), accepts: "exactly grpc or http/protobuf", valid: isProtocol},
	{names: otlpNames("ENDPOINT"), accepts: "a URL with its scheme, such as http://localhost:4318, https://host or unix:///path (grpc)", valid: isEndpoint, show: hostPart},
	{names: otlpNames("HEADERS"), accepts: "key=value,key=value with percent-encoded values", valid: isHeaders, show: nothing},
	{names: otlpNames("COMPRESSION"), accepts: "exactly gzip or none", valid: isCompression},
	{names: otlpNames("INSECURE"), accepts: "exactly true or false", valid: isBool},
	{names: otlpNames("CERTIFICATE"), accepts: "a readable PEM file of certificates", valid: isCertPool},
	numeric("a whole number of milliseconds from %d to %d", 1, maxNumber, append(otlpNames("TIMEOUT"),
		bsp+"SCHEDULE_DELAY", bsp+"EXPORT_TIMEOUT", blrp+"SCHEDULE_DELAY", blrp+"EXPORT_TIMEOUT",
		"OTEL_METRIC_EXPORT_INTERVAL", "OTEL_METRIC_EXPORT_TIMEOUT")...),
	numeric("a whole number from %d to %d", 1, maxSpanQueue, bsp+"MAX_QUEUE_SIZE"),
	numeric("a whole number from %d to %d", 1, maxLogQueue, blrp+"MAX_QUEUE_SIZE"),
	numeric("a whole number from %d, which is no limit, to %d", -1, maxNumber,
		"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
		"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_LINK_COUNT_LIMIT",
		"OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
	numeric("a whole number from %d, which is no limit, to %d", -1, maxNumber, "OTEL_GO_X_CARDINALITY_LIMIT"),
	numeric("a port from %d, which is any that is free, to %d", 0, math.MaxUint16, "OTEL_EXPORTER_PROMETHEUS_PORT"),
	{
		names:   []string{"OTEL_TRACES_SAMPLER"},
		accepts: "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off or parentbased_traceidratio",
		valid: oneOf("always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off",
			"parentbased_traceidratio"),
		trimmed: true,
	},
	{names: []string{"OTEL_METRICS_EXEMPLAR_FILTER"}, accepts: "always_on, always_off or trace_based", valid: oneOf("always_on", "always_off", "trace_based"), trimmed: true},
	{names: []string{"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"}, accepts: "cumulative, delta or lowmemory", valid: oneOf("cumulative", "delta", "lowmemory"), trimmed: true},
	{
		names:   []string{"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"},
		accepts: "explicit_bucket_histogram or base2_exponential_bucket_histogram",
		valid:   oneOf("explicit_bucket_histogram", "base2_exponential_bucket_histogram"),
		trimmed: true,
	},
	{names: []string{envObservability}, accepts: "exactly true or false", valid: isBool},
	{names: []string{"OTEL_SDK_DISABLED"}, accepts: "true or false", valid: isBool, trimmed: true},
}

// numeric is a setting whose values are whole numbers in digits.
func numeric(accepts string, from, to int64, names ...string) setting {
	return setting{names: names, accepts: fmt.Sprintf(accepts, from, to), valid: func(v string) bool { return isNumber(v, from, to) }}
}

// check returns every variable of s that is set to something that would not be used
// as it stands. An empty variable is an unset one.
func (s setting) check() (errs []error) {
	for _, name := range s.names {
		shown := os.Getenv(name)
		v := shown
		if s.trimmed {
			v = strings.TrimSpace(v)
		}
		if v == "" || s.valid(v) {
			continue
		}
		if s.show != nil {
			shown = s.show(shown)
		}
		errs = append(errs, invalid(name, shown, s.accepts))
	}
	return errs
}

// checkSettings checks all variables.
func checkSettings() error {
	var errs []error
	for _, s := range settings {
		errs = append(errs, s.check()...)
	}
	errs = append(errs, checkBatch(bsp, maxSpanQueue)...)
	errs = append(errs, checkBatch(blrp, maxLogQueue)...)
	// Only the ratio samplers read their argument.
	const arg = "OTEL_TRACES_SAMPLER_ARG"
	if v := os.Getenv(arg); v != "" && strings.HasSuffix(strings.ToLower(strings.TrimSpace(os.Getenv("OTEL_TRACES_SAMPLER"))), "traceidratio") {
		if f, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err != nil || !(f >= 0 && f <= 1) {
			errs = append(errs, invalid(arg, v, "a ratio from 0 to 1"))
		}
	}
	for _, prefix := range otlpNames("") {
		cert, key := prefix+"CLIENT_CERTIFICATE", prefix+"CLIENT_KEY"
		if c, k := os.Getenv(cert), os.Getenv(key); c != "" || k != "" {
			if _, err := tls.LoadX509KeyPair(c, k); err != nil {
				errs = append(errs, fmt.Errorf("%s=%q and %s=%q: want the PEM files of a certificate and its key: %s",
					cert, fileName(c), key, fileName(k), redact(withoutName(err).Error())))
			}
		}
	}
	return errors.Join(errs...)
}

// checkBatch checks the size of a batch. A batch is taken out of the queue, and cannot be
// larger.
func checkBatch(prefix string, maxQueue int64) []error {
	queue := int64(defaultQueue)
	if v := os.Getenv(prefix + "MAX_QUEUE_SIZE"); isNumber(v, 1, maxQueue) {
		queue, _ = strconv.ParseInt(v, 10, 64)
	}
	accepts := "a whole number from %d to " + prefix + "MAX_QUEUE_SIZE, which is %d"
	return numeric(accepts, 1, queue, prefix+"MAX_EXPORT_BATCH_SIZE").check()
}

func nothing(string) string { return redacted }

// fileName is the name of a file, unless what should be inside of it stands there.
func fileName(v string) string {
	if strings.Contains(v, "-----BEGIN") || strings.ContainsAny(v, "\r\n") {
		return redacted
	}
	return redact(v)
}

// withoutName is why a file could not be read, without what stands for its name.
func withoutName(err error) error {
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		return failed.Err
	}
	return err
}

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

// isNumber reports whether v is a whole number in digits, as every reader takes it.
func isNumber(v string, from, to int64) bool {
	n, err := strconv.ParseInt(v, 10, 64)
	return err == nil && v[0] != '+' && n >= from && n <= to
}

func isEndpoint(v string) bool {
	u, err := url.Parse(v)
	if err != nil {
		return false
	}
	switch strings.ToLower(u.Scheme) {
	case "http", "https":
		return u.Hostname() != "" && (u.Port() == "" || isNumber(u.Port(), 1, math.MaxUint16))
	case "unix":
		return u.Path != "" || u.Opaque != ""
	}
	return false
}

func isHeaders(v string) bool {
	for pair := range strings.SplitSeq(v, ",") {
		key, value, found := strings.Cut(pair, "=")
		if !found || !headerName.MatchString(strings.TrimSpace(key)) {
			return false
		}
		value, err := url.PathUnescape(value)
		if err != nil || strings.ContainsFunc(strings.TrimSpace(value), unicode.IsControl) {
			return false
		}
	}
	return true
}

// headerName is a token of RFC 9110 section 5.6.2.
var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

func isCertPool(v string) bool {
	pem, err := os.ReadFile(v) //nolint:gosec // the operator names the file
	return err == nil && x509.NewCertPool().AppendCertsFromPEM(pem)
}
