// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package semconv has the names of everything that otelmcp emits: the keys and
// values of attributes, the names of events, and constructors for instruments
// that set the unit, the description and the bucket boundaries.
//
// It is generated from the registry beside it. Folder upstream declares what
// OpenTelemetry's conventions for the Model Context Protocol name, folder model
// what otelmcp adds, all of it under otelmcp. Both are in the format of
// OpenTelemetry Weaver, definition/2.
//
// OpenTelemetry's conventions for MCP are in development. The names here change
// when they do, and with them [Version].
package semconv

//go:generate go run ./internal/gen
