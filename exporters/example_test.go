// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file holds the examples of the package documentation.

package exporters_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"go.opentelemetry.io/otel"

	"github.com/otelmcp/otelmcp-go/exporters"
)

func ExampleSetup() {
	// Set outside the program as a rule; none keeps the example quiet.
	signals := []string{"OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"}
	for _, name := range signals {
		_ = os.Setenv(name, "none")
	}
	defer func() {
		for _, name := range signals {
			_ = os.Unsetenv(name)
		}
	}()

	ctx := context.Background()
	pipeline, err := exporters.Setup(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_ = pipeline.Shutdown(ctx) // what was lost has been said on stderr
	}()

	// From here on the global providers lead to the pipeline.
	_, span := otel.Tracer("example").Start(ctx, "work")
	defer span.End()
	fmt.Println("serving")
	// Output: serving
}

func ExampleSetup_wrongSetting() {
	_ = os.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http")
	defer os.Unsetenv("OTEL_EXPORTER_OTLP_PROTOCOL")

	_, err := exporters.Setup(context.Background())
	fmt.Println(err)
	// Output: OTEL_EXPORTER_OTLP_PROTOCOL="http": want exactly grpc or http/protobuf
}
