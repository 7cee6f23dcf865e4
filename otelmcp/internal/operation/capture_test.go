// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation_test

// This file tests that content which is left out is counted.

import (
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// Variables beyond the bound are not kept, and the operation says how many bytes that were.
func TestVariablesThatAreLeftOutAreCounted(t *testing.T) {
	for _, n := range []int{operation.MaxListed, operation.MaxListed + 1, 1000} {
		capture := telemetrytest.New(t)
		o := begin(t.Context(), newRecorder(capture), operation.RoleServer, "prompts/get")
		variables := map[string]any{}
		for i := range n {
			variables[fmt.Sprintf("v%04d", i)] = "value" // 5 and 5 bytes
		}
		o.CaptureVariables(variables)
		o.Finish()
		kept, cut := 0, attribute.Value{}
		for _, kv := range capture.Spans()[0].Attributes() {
			switch {
			case strings.HasPrefix(string(kv.Key), string(semconv.GenAIPromptVariableKey)):
				kept++
			case kv.Key == semconv.OTelMCPContentTruncatedKey:
				cut = kv.Value
			}
		}
		missing := n - operation.MaxListed
		if kept != operation.MaxListed {
			t.Errorf("%d of %d variables are kept", kept, n)
		}
		if missing == 0 && cut.Type() != attribute.EMPTY || cut.AsInt64() < int64(10*missing) || cut.AsInt64() > int64(20*missing) {
			t.Errorf("%d variables: %v bytes are said to be cut, %d are", n, cut.AsInterface(), 10*missing)
		}
	}
}
