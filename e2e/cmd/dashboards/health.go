// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// Whether what the other dashboards show is all there is: what was recorded, sent,
// dropped and refused on the way from a server to its backends.

import "strings"

func health() dashboard {
	const (
		found = `sum by (service_name) (count_over_time(` + operations + ` [$__range]))`
		ok    = ofService + `, error_type=""`
		notOK = ofService + `, error_type!=""`
	)
	// To the last message where an instance lives within the range: increase() would
	// extrapolate. A program that is both, as a gateway is, has two counters with the same labels.
	count := func(side string) string {
		m := `otelmcp_` + side + `_messages_total{` + ofService + `}[$__range]`
		return `label_replace(max_over_time(` + m + `) - min_over_time(` + m + `), "side", "` + side + `", "", "")`
	}
	countedNow := `sum by (service_name) (` + count("server") + ` or ` + count("client") + `)`
	// each is a query for every signal
	each := func(expr func(signal string) string, legend string, signals ...string) []query {
		all := make([]query, 0, len(signals))
		for _, s := range signals {
			all = append(all, query{expr: expr(s), legend: s + legend})
		}
		return all
	}
	sdk := func(prefix, suffix, labels, by string) func(string) string {
		return func(signal string) string { return rate(prefix+signal+suffix, labels, by) }
	}
	pipeline := func(prefix string) func(string) string {
		return func(items string) string { return rate(prefix+items+"_total", "", "service_instance_id") }
	}
	items := []string{"spans", "log_records", "metric_points"}
	// Which of the counters there are depends on what has happened, so the signals are one query.
	lost := func(how string) string {
		all := make([]string, 0, len(items))
		for _, i := range items {
			counter := `otelcol_exporter_` + how + `_` + i + `_total`
			all = append(all, `label_replace(rate(`+counter+`[$__rate_interval]), "items", "`+i+`", "", "")`)
		}
		return `sum by (items, exporter) (` + strings.Join(all, " or ") + `)`
	}
	return dashboard{
		uid: "mcp-telemetry-health", title: "MCP telemetry health",
		description: "Whether telemetry gets from the servers to the backends, and what was lost where. " +
			"The service chooses among what servers say; the collector is the one they all send to.",
		variables: []variable{serviceVariable},
		rows: []row{
			{"Is it all there?", []panel{
				{
					kind: "table", title: "Counted and found", unit: "short", width: 12,
					description: "Messages that the servers counted, and their events in Loki. A difference was lost on the way, not in " +
						"the program. Exact for what started within the time that is looked at, after the last export.",
					queries: []query{{expr: countedNow}, {expr: found, logs: true}},
					columns: map[string]column{
						"service_name": {name: "service"}, "/^Value( #A)?$/": {name: "counted"}, "Value #B": {name: "events in Loki"},
					},
					sort: "counted",
				},
				{
					kind: "table", title: "Last heard of", unit: "s", width: 6,
					description: "How long ago each service last sent metrics, of those of the last hour.",
					queries: []query{{
						expr: `time() - max by (service_name) (max_over_time(timestamp(` + messages + `{` + ofService + `})[1h:1m]))`,
					}},
					columns: map[string]column{"service_name": {name: "service"}, "number": {name: "ago"}},
					sort:    "ago", steps: []step{{180, "yellow"}, {600, "red"}},
				},
				{
					kind: "timeseries", title: "Refused by the instrumentation", unit: "cps", width: 6,
					description: "What bounded tables had no room for, and callbacks that panicked. Messages are " +
						"recorded none the less, with less in them.",
					queries: []query{{
						expr:   rate("otelmcp_telemetry_refused_total", ofService, "otelmcp_refused_reason"),
						legend: "{{otelmcp_refused_reason}}",
					}},
					links: []object{to("mcp-security", "MCP security")},
				},
			}},
			{"In the servers: the OpenTelemetry SDK", []panel{
				{
					kind: "timeseries", title: "Made", unit: "cps",
					description: "Spans that were started and log records that were made.",
					queries: []query{
						{expr: rate("otel_sdk_span_started_total", ofService, "service_name"), legend: "spans {{service_name}}"},
						{expr: rate("otel_sdk_log_created_total", ofService, "service_name"), legend: "log records {{service_name}}"},
					},
				},
				{
					kind: "timeseries", title: "Exported", unit: "cps",
					description: "What the collector took.",
					queries: each(sdk("otel_sdk_exporter_", "_exported_total", ok, "service_name"), " {{service_name}}",
						"span", "log", "metric_data_point"),
				},
				{
					kind: "timeseries", title: "Failed exports", unit: "cps",
					description: "What the collector did not take. It is lost; metrics alone come again with the " +
						"next export.",
					queries: each(sdk("otel_sdk_exporter_", "_exported_total", notOK, "service_name, error_type"),
						" {{service_name}} {{error_type}}", "span", "log"),
					steps: []step{{0.001, "red"}},
				},
				{
					kind: "timeseries", title: "Dropped", unit: "cps",
					description: "What found the SDK's queue full, and is lost: OTEL_BSP_MAX_QUEUE_SIZE and " +
						"OTEL_BLRP_MAX_QUEUE_SIZE make it longer.",
					queries: each(sdk("otel_sdk_processor_", "_processed_total", notOK, "service_name, error_type"),
						" {{service_name}} {{error_type}}", "span", "log"),
					steps: []step{{0.001, "red"}},
				},
				{
					kind: "timeseries", title: "Queues", unit: "percentunit",
					description: "How full the SDK's queues are.",
					queries: each(func(s string) string {
						q := `otel_sdk_processor_` + s + `_queue_`
						return `max by (service_name) (` + q + `size{` + ofService + `} / ` + q + `capacity{` + ofService + `})`
					}, " {{service_name}}", "span", "log"),
					steps: []step{{0.8, "red"}},
				},
				{
					kind: "timeseries", title: "How long exports take", unit: "s",
					description: "19 of 20 exports take no longer. Near OTEL_EXPORTER_OTLP_TIMEOUT they begin to fail.",
					queries: []query{{
						expr:   quantile("0.95", "otel_sdk_exporter_operation_duration_seconds", ofService, "otel_component_type"),
						legend: "{{otel_component_type}}",
					}},
				},
			}},
			{"In the collector", []panel{
				{
					kind: "timeseries", title: "Received", unit: "cps",
					description: "What the collector took from senders.",
					queries:     each(pipeline("otelcol_receiver_accepted_"), "", items...),
				},
				{
					kind: "timeseries", title: "Not received", unit: "cps",
					description: "Refused: turned away, for want of memory or of room in a queue. Failed: not " +
						"understood, or lost within. Senders try again for a while.",
					queries: append(each(pipeline("otelcol_receiver_refused_"), " refused", items...),
						each(pipeline("otelcol_receiver_failed_"), " failed", items...)...),
					steps: []step{{0.001, "red"}},
				},
				{
					kind: "timeseries", title: "Sent", unit: "cps",
					description: "What backends took.",
					queries: each(func(i string) string { return rate("otelcol_exporter_sent_"+i+"_total", "", "exporter") },
						" {{exporter}}", items...),
				},
				{
					kind: "timeseries", title: "Queues", unit: "percentunit",
					description: "How full the collector's queues are. One that fills has a backend that is down " +
						"or too slow.",
					queries: []query{{
						expr:   `max by (exporter, data_type) (otelcol_exporter_queue_size / otelcol_exporter_queue_capacity)`,
						legend: "{{exporter}} {{data_type}}",
					}},
					steps: []step{{0.8, "red"}},
				},
				{
					kind: "timeseries", title: "Lost", unit: "cps",
					description: "Not sent: a backend said no for good. No room: the queue of an exporter was full.",
					queries: []query{
						{expr: lost("send_failed"), legend: "not sent: {{items}} {{exporter}}"},
						{expr: lost("enqueue_failed"), legend: "no room: {{items}} {{exporter}}"},
					},
					steps: []step{{0.001, "red"}},
				},
				{
					kind: "timeseries", title: "Memory", unit: "bytes",
					description: "The collector's. From 384 MiB of heap on it turns senders away, as " +
						"collector.yaml has it.",
					queries: []query{
						{expr: `max by (service_instance_id) (otelcol_process_memory_rss_bytes)`, legend: "resident"},
						{expr: `max by (service_instance_id) (otelcol_process_runtime_heap_alloc_bytes)`, legend: "heap"},
					},
				},
			}},
		},
	}
}
