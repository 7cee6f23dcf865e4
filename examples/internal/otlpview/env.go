// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otlpview

// The environment, which is how SDKs learn where telemetry goes: whether the
// user has said so, and if not, how it gets to the receiver.

import (
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
)

// ReceiverEnv points the SDKs of this process and of its children at a receiver.
// With quick, what is recorded arrives soon, and not only at the end.
func ReceiverEnv(endpoint string, quick bool) map[string]string {
	env := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
	for _, signal := range []string{"", "TRACES_", "METRICS_", "LOGS_"} {
		env["OTEL_EXPORTER_OTLP_"+signal+"PROTOCOL"] = "http/protobuf"
	}
	if quick { // milliseconds
		env["OTEL_BSP_SCHEDULE_DELAY"] = "200"
		env["OTEL_BLRP_SCHEDULE_DELAY"] = "200"
		env["OTEL_METRIC_EXPORT_INTERVAL"] = "500"
	}
	return env
}

// SetEnv sets variables of this process, and returns what sets them back.
func SetEnv(env map[string]string) (restore func()) {
	before := map[string]*string{}
	for key, value := range env {
		if old, ok := os.LookupEnv(key); ok {
			before[key] = &old
		} else {
			before[key] = nil
		}
		_ = os.Setenv(key, value) // fails only for a malformed name
	}
	return func() {
		for key, old := range before {
			if old != nil {
				_ = os.Setenv(key, *old)
			} else {
				_ = os.Unsetenv(key)
			}
		}
	}
}

// Destination lists the variables with which the user sends telemetry
// elsewhere. Of an endpoint it shows the host only: URLs can hold secrets.
func Destination() (variables []string) {
	for _, key := range []string{
		"OTEL_CONFIG_FILE",
		"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
		"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
		"OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER",
	} {
		value := os.Getenv(key)
		if value == "" {
			continue
		}
		if u, err := url.Parse(value); err == nil && u.Host != "" {
			key += " (" + clean(u.Host) + ")"
		}
		variables = append(variables, key)
	}
	return variables
}

// OTelVariables lists the names of all OTEL_* variables of the user.
func OTelVariables() []string {
	own := ReceiverEnv("", true)
	own["OTEL_GO_X_OBSERVABILITY"] = "" // exporters.Setup sets it
	names := map[string]bool{}
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if _, ours := own[name]; !ours && strings.HasPrefix(name, "OTEL_") {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
