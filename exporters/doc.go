// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file is the package documentation.

// Package exporters builds a program's whole OpenTelemetry pipeline with one
// call: tracer, meter and logger providers as the OTEL_* variables or a
// configuration file ask for them, registered as the global ones.
//
//	pipeline, err := exporters.Setup(ctx)
//	if err != nil {
//		log.Print(err) // names the variable, its value and what is accepted
//	}
//	defer pipeline.Shutdown(context.Background()) // does nothing if there is no pipeline
//
// It is a module of its own, so that a program which brings its own pipeline
// carries neither the SDK nor the OTLP exporters. It stands on contrib's
// autoexport and otelconf: exporters that a program registers with autoexport
// are found by their names, and those of package otlpfile are registered already.
//
// # What it guarantees
//
// Nothing is written to standard output, which belongs to the protocol of an
// MCP server on stdio: a console exporter is moved to standard error, with one
// line that says so. Diagnostics go to standard error too, without repeating
// themselves, at a limited rate and freed of credentials. That telemetry is not
// delivered, or that the queue of spans or of log records is full, is said once when
// it begins and once when it is over, and that a destination rejects some of it, once;
// how much was lost is counted in the SDK's otel.sdk.* metrics, which are turned on.
// What Shutdown gives up is counted too, and arrives if metrics go to a destination of
// their own that answers.
//
// Setup connects to nothing, and Shutdown is bounded by its context (5 seconds if
// it has no deadline), so that a collector that is missing, slow or hanging
// changes neither the start nor the end of the program. Where nothing listens at
// all, Shutdown finds out at once instead of waiting. One exporter does use the
// network in Setup: OTEL_METRICS_EXPORTER=prometheus listens, on localhost:9464
// or where OTEL_EXPORTER_PROMETHEUS_HOST and _PORT say, before Setup returns,
// and an address that is taken is an error.
//
// A wrong setting is an error, and then nothing was registered and the environment
// is as it was: there is no half set-up. So is a second Setup before the Shutdown
// of the first.
//
// The OpenTelemetry specification has an SDK warn of a wrong value and go on with its
// default. Setup does not: a default in place of what was asked for sends telemetry
// elsewhere, unencrypted, or less of it, and nobody notices before it is missed. An
// error is noticed by whoever made the change. Whether the program starts all the same
// is the program's decision. The example above starts, without telemetry: a mistyped
// variable is no reason for a server to stay down. A program that must not run
// unrecorded returns the error.
//
// # Variables
//
// All variables that the SDK and its OTLP exporters define hold. The ones most
// often needed:
//
//	Variable                       Default                Accepted
//	OTEL_SDK_DISABLED              false                  true, false; true wins over a configuration file
//	OTEL_CONFIG_FILE                                      path of a declarative configuration (YAML); replaces
//	                                                      all variables below but those the file refers to
//	OTEL_SERVICE_NAME              the program's name     any text
//	OTEL_RESOURCE_ATTRIBUTES                              key=value,key=value
//	OTEL_TRACES_EXPORTER           otlp                   otlp, otlp_file, console, none, a registered name
//	OTEL_METRICS_EXPORTER          otlp                   the same, and prometheus
//	OTEL_LOGS_EXPORTER             otlp                   as for traces
//	OTEL_EXPORTER_OTLP_PROTOCOL    http/protobuf          http/protobuf, grpc; exactly so
//	OTEL_EXPORTER_OTLP_ENDPOINT    http://localhost:4318  a URL with its scheme: http, https or unix
//	                               (grpc: 4317)
//	OTEL_EXPORTER_OTLP_HEADERS                            key=value,key=value
//	OTEL_EXPORTER_OTLP_TIMEOUT     10000                  milliseconds
//	OTEL_PROPAGATORS               tracecontext,baggage   tracecontext, baggage, b3, b3multi, jaeger, xray, ottrace,
//	                                                      names registered with autoprop; or none
//	OTEL_TRACES_SAMPLER            parentbased_always_on  always_on, always_off, traceidratio and parentbased_*
//	OTEL_TRACES_SAMPLER_ARG        1                      the ratio, from 0 to 1, of traceidratio
//	OTEL_METRIC_EXPORT_INTERVAL    60000                  milliseconds
//	OTEL_BSP_MAX_QUEUE_SIZE        2048                   1 to 4194304 spans, 16 bytes each from the start
//	OTEL_BLRP_MAX_QUEUE_SIZE       2048                   1 to 262144 log records, 640 bytes each from the start
//	OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
//	OTEL_BLRP_MAX_EXPORT_BATCH_SIZE  512                  1 to the size of the queue
//	OTEL_BSP_SCHEDULE_DELAY        5000                   milliseconds
//	OTEL_BLRP_SCHEDULE_DELAY       1000                   milliseconds
//	OTEL_BSP_EXPORT_TIMEOUT,
//	OTEL_BLRP_EXPORT_TIMEOUT       30000                  milliseconds
//	OTEL_GO_X_OBSERVABILITY        true                   false turns the otel.sdk.* metrics off
//
// Milliseconds are whole numbers from 1 to 2147483647. The variables that limit
// attributes, events and links take -1 for no limit. An empty variable is an unset one.
// White space around a value is an error where one of the variable's readers would not
// take it away. A configuration file is held to the same ranges; each of its exporter
// entries has one exporter.
//
// The default endpoint is the OpenTelemetry specification's, a plain collector on
// this machine. The SDK's own is https://, and it stays https:// as soon as one
// of the INSECURE, CERTIFICATE, CLIENT_CERTIFICATE and CLIENT_KEY variables that
// hold for the signal is set, unless INSECURE is true. To get there, Setup sets
// the signal's INSECURE variable while it builds the exporter, and takes it back.
//
// Each OTEL_EXPORTER_OTLP_* variable exists per signal too, as
// OTEL_EXPORTER_OTLP_TRACES_*, _METRICS_* and _LOGS_*. OTEL_PROPAGATORS holds with
// OTEL_SDK_DISABLED=true, and with a configuration file that names no propagators.
// Package otlpfile documents OTELMCP_FILE_*.
//
// # Limits
//
// With a configuration file the exporters are made inside otelconf: an exporter
// without an endpoint goes to the SDK's default, which is https://; a failing
// export is reported in the exporter's own words, its recovery is not, that the queue of
// log records is no longer full is said at Shutdown only, and an export that hangs when
// Shutdown's context ends runs into its own timeout. The
// OTLP/HTTP exporters share a transport that keeps idle connections for up to
// 90 seconds; an idle connection to a live collector is not closed by Shutdown.
package exporters
