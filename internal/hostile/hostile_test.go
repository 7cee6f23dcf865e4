// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package hostile_test

import (
	"flag"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/propagation"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp"
)

var (
	messages = flag.Int("messages", 100_000, "how many messages to send")
	seed     = flag.Uint64("seed", 0, "where to begin; 0 is anywhere")
)

// into returns the options that send everything to c.
func into(c *telemetrytest.Capture) []otelmcp.Option {
	return []otelmcp.Option{
		otelmcp.WithTracerProvider(c.TracerProvider()), otelmcp.WithMeterProvider(c.MeterProvider()),
		otelmcp.WithLoggerProvider(c.LoggerProvider()), otelmcp.WithPropagators(propagation.TraceContext{}),
	}
}

func TestStdio(t *testing.T) {
	arenas := map[bool]*arena{false: newArena(t, false), true: newArena(t, true)}
	first := *seed
	if first == 0 {
		first = rand.Uint64()
	}
	sent := 0
	for k := uint64(0); sent < *messages; k++ {
		s := write(first+k, 300)
		wrong := arenas[s.recovered].run(s)
		sent += len(s.moves)
		if len(wrong) > 0 {
			t.Errorf("script %d is recorded with %d faults, such as\n%s", s.seed, len(wrong), strings.Join(wrong[:min(len(wrong), 20)], "\n"))
			t.Fatalf("what is needed of it:\n%s", s.explain(func() *arena { return newArena(t, s.recovered) }, 10*time.Second))
		}
	}
}
