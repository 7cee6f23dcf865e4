// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Command tracesvg draws a trace as Jaeger's API answers it, for documents: the
// build of Jaeger that `make backends` makes has no pages to take a picture of.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/otelmcp/otelmcp-go/e2e/stack"
)

const usage = `tracesvg draws a trace as an SVG picture, from what Jaeger's API answers.

Usage:

  go run ./cmd/tracesvg JAEGER_URL TRACE_ID > trace.svg

`

func main() {
	if len(os.Args) != 3 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err := run(os.Stdout, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "tracesvg:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, jaegerURL, traceID string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	spans, err := (&stack.Stack{JaegerURL: jaegerURL}).Trace(ctx, traceID)
	if err != nil {
		return err
	}
	return stack.DrawTrace(w, spans)
}
