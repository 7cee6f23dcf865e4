// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package otelmcp instruments MCP servers and clients built on
// github.com/mark3labs/mcp-go with OpenTelemetry: a span, metrics and a log
// event for every message, and events and metrics for sessions and for decisions
// of authentication and authorization.
//
// One call, after the server was built, is all:
//
//	srv := server.NewMCPServer("weather", "1.0.0")
//	err := otelmcp.Instrument(srv).ServeStdio(ctx)
//
// or, over HTTP,
//
//	err := otelmcp.Instrument(srv).ListenAndServe(ctx, ":8080")
//
// A program that serves HTTP in its own way wraps the handler of the MCP server with
// [Instrumentation.Handler].
//
// [Instrument] alone records what mcp-go dispatches. The edges,
// [Instrumentation.ServeStdio], [Instrumentation.Listen],
// [Instrumentation.ListenAndServe] and [Instrumentation.Handler], also record what never gets there: messages that
// cannot be read, HTTP requests that are turned away, notifications, streams.
// [Instrumentation.Coverage] says what is not seen.
//
// [WrapTransport] does the same for a client, and carries the context of each of
// its spans to the server:
//
//	c := client.NewClient(otelmcp.WrapTransport(t))
//
// [InstrumentClient] is for a client that exists already, of which less is seen.
//
// [RequireBearer] protects a server over HTTP, as the MCP authorization
// specification has it, and records each of its decisions. [RecordAuthDecision]
// records those that a program makes itself; others are seen without its help.
//
// It uses the global providers and propagators unless options say otherwise.
// The package emits through OpenTelemetry's API only; the SDK, exporters and
// OTLP come from the program, for example from
// github.com/otelmcp/otelmcp-go/exporters.
//
// Names are those of OpenTelemetry's MCP conventions and, where they are
// silent, of the registry in github.com/otelmcp/otelmcp-go/semconv.
//
// An instrumented server answers as the bare one does: telemetry changes no
// answer, and no failure of it reaches a client. Arguments and results are not
// recorded unless [WithContentCapture] or [WithContentOnEvents] asks for them, nor is
// the text of a tool's error unless [WithErrorText] does, and text that may carry
// credentials is scrubbed before it reaches any signal.
package otelmcp
