// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package grafana pins mcp-grafana, a server that somebody else wrote, and what
// instruments it. A test of internal/interop builds it as it is and instrumented.
package grafana

import (
	_ "github.com/otelmcp/otelmcp-go/exporters" // the instrumented server imports it
	_ "github.com/otelmcp/otelmcp-go/otelmcp"   // likewise
)
