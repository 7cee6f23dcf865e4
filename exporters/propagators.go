// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file reads OTEL_PROPAGATORS.

package exporters

import (
	"os"
	"slices"
	"strings"

	"go.opentelemetry.io/contrib/propagators/autoprop"
	"go.opentelemetry.io/otel/propagation"
)

const envPropagators = "OTEL_PROPAGATORS"

// propagators returns those that OTEL_PROPAGATORS names, each once, or else the
// default of the OpenTelemetry specification: W3C trace context and baggage. One
// name of none makes it none at all.
func propagators() (propagation.TextMapPropagator, error) {
	value := os.Getenv(envPropagators)
	if value == "" {
		value = "tracecontext,baggage"
	}
	var names []string
	for name := range strings.SplitSeq(value, ",") {
		name = strings.TrimSpace(name)
		_, err := autoprop.TextMapPropagator(name)
		if err != nil { // unless it is registered in capitals
			name = strings.ToLower(name)
			_, err = autoprop.TextMapPropagator(name)
		}
		if err != nil {
			return nil, invalid(envPropagators, value,
				"a list of tracecontext, baggage, b3, b3multi, jaeger, xray and ottrace, or of names registered with autoprop; or none")
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return autoprop.TextMapPropagator(names...)
}
