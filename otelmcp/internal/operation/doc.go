// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package operation records one message in flight.
//
// An [Operation] is opened where a message is first seen, carried in ctx,
// filled by whoever learns something about it, and finished once, where its
// outcome is known. Finishing is the only place that emits: it builds the
// attributes once and makes the span's attributes, the histogram point, the
// counter and the log event from them, so the three signals cannot disagree.
//
// The package knows MCP's conventions and no MCP SDK. An adapter (the package
// otelmcp, for mcp-go) translates what its SDK shows into the fields of an
// Operation.
package operation
