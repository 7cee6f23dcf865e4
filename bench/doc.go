// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package bench measures what it costs to instrument an MCP server or client, side by side: bare mcp-go, this
// project, the same signals by hand-written calls of the SDK (the floor), and what others publish for Go.
// Every contender does the same work in the same run, in turns, and is asked what it recorded, so that one which
// is cheap because it sees little shows as that.
//
// The heavy dependencies of some contenders are in module bench/peers; its program is what `make bench` runs.
// `go run ./cmd/bench` here does without them. What may be held exactly, allocations and bytes, is held by the
// tests of this package against budgets.json.
package bench
