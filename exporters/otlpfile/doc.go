// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file is the package documentation.

// Package otlpfile exports traces, metrics and logs to files as OTLP JSON
// Lines: every line is one TracesData, MetricsData or LogsData object in the
// JSON mapping of the OTLP specification (hexadecimal ids, 64-bit integers as
// decimal strings, enums as integers). The otlpjsonfile receiver of the
// OpenTelemetry Collector reads it back, and so does jq.
//
// Importing the package is enough to reach it from the environment: it
// registers the name otlp_file with contrib's autoexport.
//
//	OTEL_TRACES_EXPORTER=otlp_file OTEL_METRICS_EXPORTER=otlp_file OTEL_LOGS_EXPORTER=otlp_file
//
//	Variable                     Default                     Meaning
//	OTELMCP_FILE_DIRECTORY       otelmcp in the user's       where the files go; made with mode 0700
//	                             cache directory             if it is not there
//	OTELMCP_FILE_MAX_SIZE        16777216 (16 MiB)           bytes after which a new file is begun;
//	                                                         at least 65536
//	OTELMCP_FILE_MAX_TOTAL_SIZE  268435456 (256 MiB), or     bytes that all files in the directory may
//	                             four times the size of one  take; at least four times the size of one
//
// No other variable bends what is written, with two exceptions that the
// metrics SDK defines for every OTLP exporter and that hold here too:
// OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE and
// OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION.
//
// # Files
//
// Each signal of each process has a file of its own, never one for all signals
// or for all processes,
//
//	traces-20060102T150405.000000000Z-4711-1.jsonl
//
// named after the moment it was begun (UTC), the process and a counter. A file
// is only ever written by the process that created it and is never opened
// again, so that several processes share a directory without a lock, and a
// line that a crash cut short is the last of its file: no valid line ever
// follows it. A line that a failing disk cut short is taken back, and if that
// fails too, a new file is begun. Files have mode 0600.
//
// That signals do not share a file either is a decision, and there is no setting
// for it: every line of a file is of one type, which its name tells, and one
// signal can be followed, kept or deleted without the others.
//
// # Bounds
//
// A file is closed before the line that would take it over its maximum; only a
// single line larger than that makes a larger file. Before each line, files of the
// directory are removed until the line fits into the total, whatever process left
// them and whether or not anybody has read them: first those that nobody has written
// to for longest, and last those that this process is writing. A file counts for at least 64 KiB, so that many short-lived
// processes cannot fill a directory with tiny files. Processes that write at the same
// moment can exceed the total by one line each. A writer whose file was removed by
// another process, or by hand, begins a new one.
//
// What is removed is counted in the metric otelmcp.exporter.file.removed, in records,
// by the process that removes it. The counter goes to the global MeterProvider. The
// OpenTelemetry error handler is told when files begin to be removed, and, once none
// was removed for 10 minutes or the last exporter has shut down, how many they were
// and what was in them. The total is not a queue: it must hold what is written in the
// time that a reader may be away, and a reader that removes what it has read keeps the
// directory from filling up. While a file is being removed it has a name with a dot in
// front, and does not match *.jsonl.
//
// # Durability
//
// A line is written with one write call when it is exported, so it survives a
// crash of the process. It is synced to the disk when the file is closed
// (rotation, Shutdown) and by ForceFlush of the logs and metrics exporters, not
// at each line: after a power failure the last lines may be missing.
//
// A failure to write is returned as the error of the export. It is not retried,
// and the next export tries afresh.
package otlpfile
