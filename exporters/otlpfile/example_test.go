// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file holds the example of the package documentation.

package otlpfile_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/otelmcp/otelmcp-go/exporters/otlpfile"
)

func Example() {
	dir, err := os.MkdirTemp("", "telemetry")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	ctx := context.Background()
	exporter, err := otlpfile.NewSpanExporter(ctx, otlpfile.Config{Directory: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
	_, span := provider.Tracer("example").Start(ctx, "work")
	span.End()
	if err := provider.Shutdown(ctx); err != nil {
		fmt.Println(err)
		return
	}

	files, _ := filepath.Glob(filepath.Join(dir, "traces-*.jsonl"))
	text, _ := os.ReadFile(files[0])
	fmt.Println(len(files), bytes.HasPrefix(text, []byte(`{"resourceSpans":[`)), bytes.Count(text, []byte("\n")))
	// Output: 1 true 1
}
