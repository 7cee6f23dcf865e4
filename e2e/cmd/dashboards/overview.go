// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// How the servers do: how much, how well, how fast, for whom.

const (
	// Of every server, and of every program that is only a client.
	everyService = `{__name__=~"otelmcp_(server|client)_messages_total"}`

	ofService = `service_name=~"$service"`
	// What durations are told apart by; they do not know the MCP transport.
	ofOperation = ofService + `, mcp_method_name=~"$method", gen_ai_tool_name=~"$tool"`
	// What counts and sizes are told apart by; they do not know the tool.
	ofTransport = ofService + `, otelmcp_transport=~"$transport"`

	eventsOf     = `{service_name=~"$service"} | event_name=`
	operations   = eventsOf + `"otelmcp.operation"`
	failed       = `otelmcp_outcome=~"error|panic|timeout|tool_error"`
	failures     = operations + ` | ` + failed
	eventsInLink = `{service_name=~"${service:pipe}"} | event_name=` // in a link templates have braces

	duration = `mcp_server_operation_duration_seconds`
	messages = `otelmcp_server_messages_total`
)

// atLeastOne stands for all values. It is not .+ since that is a space in a URL.
const atLeastOne = "..*"

var serviceVariable = variable{
	name: "service", label: "Service", selector: everyService, of: "service_name", all: atLeastOne,
}

// quantile is that of a histogram, by the labels in by, if any.
func quantile(q, histogram, labels, by string) string {
	le := "le"
	if by != "" {
		le += ", " + by
	}
	buckets := histogram + `_bucket{` + labels + `}[$__rate_interval]`
	return `histogram_quantile(` + q + `, sum by (` + le + `) (rate(` + buckets + `)))`
}

// quantiles are the three that a latency panel shows. What belongs to no span, as a
// session does, has no exemplars.
func quantiles(histogram, labels string, exemplars bool) []query {
	return []query{
		{expr: quantile("0.50", histogram, labels, ""), legend: "p50", exemplars: exemplars},
		{expr: quantile("0.95", histogram, labels, ""), legend: "p95", exemplars: exemplars},
		{expr: quantile("0.99", histogram, labels, ""), legend: "p99", exemplars: exemplars},
	}
}

// rate is that of a counter, by the labels in by.
func rate(counter, labels, by string) string {
	return `sum by (` + by + `) (rate(` + counter + `{` + labels + `}[$__rate_interval]))`
}

// share is the part of a counter's rate that has what in addition.
func share(counter, labels, what string) string {
	return `sum(rate(` + counter + `{` + labels + `, ` + what + `}[$__rate_interval])) / sum(rate(` + counter + `{` + labels +
		`}[$__rate_interval]))`
}

// sizes are those of requests or of responses.
func sizes(of string) []query {
	histogram := `otelmcp_server_` + of + `_size_bytes`
	return []query{
		{expr: quantile("0.95", histogram, ofTransport, "otelmcp_transport"), legend: "p95 {{otelmcp_transport}}"},
		{expr: `sum(rate(` + histogram + `_sum{` + ofTransport + `}[$__rate_interval]))`, legend: "each second"},
	}
}

// summary is a table of what each tool, or method, did in the time that is looked at.
func summary(title, what, by, labels string) panel {
	count := func(more string) string {
		return `sum by (` + by + `) (increase(` + duration + `_count{` + labels + more + `}[$__range]))`
	}
	queries := []query{{expr: count("")}, {expr: count(`, error_type!=""`) + ` / ` + count("")}}
	for _, q := range []string{"0.50", "0.95", "0.99"} {
		queries = append(queries, query{expr: `histogram_quantile(` + q + `, sum by (le, ` + by + `) (increase(` + duration +
			`_bucket{` + labels + `}[$__range])))`})
	}
	return panel{
		kind: "table", title: title, unit: "short", width: 12, description: "Each " + what + " in the time that is looked at.",
		queries: queries,
		columns: map[string]column{
			by: {name: what}, "Value #A": {"calls", "short"}, "Value #B": {"failed", "percentunit"},
			"Value #C": {"p50", "s"}, "Value #D": {"p95", "s"}, "Value #E": {"p99", "s"},
		},
		sort: "calls",
	}
}

func overview() dashboard {
	const (
		received = ofTransport + `, otelmcp_role="server"`
		ofTool   = ofOperation + `, gen_ai_tool_name!=""`
	)
	ofOneTool := events("Its calls in Loki",
		eventsInLink+`"otelmcp.operation" | gen_ai_tool_name="${__field.labels.gen_ai_tool_name}"`)
	allFailures := events("Failures in Loki", eventsInLink+`"otelmcp.operation" | `+failed)
	return dashboard{
		uid: "mcp-overview", title: "MCP overview",
		description: "MCP servers that are instrumented with otelmcp: how much they do, how well and how fast. " +
			"Methods and tools choose among durations, the transport among counts and sizes: no metric has all three.",
		variables: []variable{
			serviceVariable,
			{name: "method", label: "Method", selector: duration + `_count{` + ofService + `}`, of: "mcp_method_name", all: ".*"},
			{
				name: "tool", label: "Tool", selector: duration + `_count{` + ofService + `, gen_ai_tool_name!=""}`,
				of: "gen_ai_tool_name", all: ".*",
			},
			{
				name: "transport", label: "Transport", selector: messages + `{` + ofService + `}`,
				of: "otelmcp_transport", all: atLeastOne,
			},
		},
		rows: []row{
			{"At a glance", []panel{
				{
					kind: "stat", title: "Messages", unit: "mps",
					description: "Messages that the servers received, of every kind and outcome, also those that " +
						"they turned away.",
					queries: []query{{expr: `sum(rate(` + messages + `{` + received + `}[$__rate_interval]))`}},
				},
				{
					kind: "stat", title: "Failed", unit: "percentunit", none: "none",
					description: "The part of the messages that failed: errors, panics, timeouts, and tools that " +
						"said so. A refusal is no failure.",
					queries: []query{{expr: share(messages, received, failed)}},
					steps:   []step{{0.01, "yellow"}, {0.05, "red"}}, links: []object{allFailures},
				},
				{
					kind: "stat", title: "Refused", unit: "percentunit", none: "none",
					description: "The part of the messages that were denied or rejected. More of it is on the " +
						"dashboard about security.",
					queries: []query{{expr: share(messages, received, `otelmcp_outcome=~"denied|rejected"`)}},
					steps:   []step{{0.05, "yellow"}, {0.2, "red"}}, links: []object{to("mcp-security", "MCP security")},
				},
				{
					kind: "stat", title: "p95 of tools", unit: "s", none: "no calls",
					description: "19 of 20 tool calls take no longer.",
					queries:     []query{{expr: quantile("0.95", duration, ofTool, "")}},
					steps:       []step{{1, "yellow"}, {10, "red"}},
				},
				{
					kind: "stat", title: "Sessions", unit: "short",
					description: "Sessions that are open. Streamable HTTP has none from protocol version 2026-07-28 on.",
					queries:     []query{{expr: `sum(otelmcp_server_sessions_active{` + ofTransport + `})`}},
				},
				{
					kind: "stat", title: "In flight", unit: "short",
					description: "Operations that have begun and not ended.",
					queries:     []query{{expr: `sum(otelmcp_server_operations_active{` + ofService + `, mcp_method_name=~"$method"})`}},
				},
			}},
			{"Traffic", []panel{
				{
					kind: "timeseries", title: "Messages by outcome", unit: "mps", width: 12, stack: true,
					description: "What became of the messages that the servers received.",
					queries: []query{{
						expr:   rate(messages, received, "otelmcp_outcome"),
						legend: "{{otelmcp_outcome}}",
					}},
					links: []object{events("These in Loki",
						eventsInLink+`"otelmcp.operation" | otelmcp_outcome="${__field.labels.otelmcp_outcome}"`)},
				},
				{
					kind: "timeseries", title: "Messages by service", unit: "mps", width: 12, stack: true,
					description: "Which server received them.",
					queries:     []query{{expr: rate(messages, received, "service_name"), legend: "{{service_name}}"}},
				},
				{
					kind: "timeseries", title: "Requests by method", unit: "reqps", width: 12,
					description: "Requests and notifications by method. A method that is not MCP's is _OTHER.",
					queries: []query{{
						expr:   rate(duration+"_count", ofOperation, "mcp_method_name"),
						legend: "{{mcp_method_name}}",
					}},
				},
				{
					kind: "timeseries", title: "Calls by tool", unit: "reqps", width: 12,
					description: "Calls of the tools that the servers have. A tool that no server has is _OTHER.",
					queries: []query{{
						expr:   rate(duration+"_count", ofTool, "gen_ai_tool_name"),
						legend: "{{gen_ai_tool_name}}",
					}},
					links: []object{ofOneTool},
				},
			}},
			{"Errors", []panel{
				{
					kind: "timeseries", title: "Errors by class", unit: "reqps",
					description: "What operations failed with: the tool's own word (tool_error), a panic, a " +
						"timeout, a JSON-RPC code.",
					queries: []query{{
						expr:   rate(duration+"_count", ofOperation+`, error_type!=""`, "error_type"),
						legend: "{{error_type}}",
					}},
					links: []object{events("These in Loki",
						eventsInLink+`"otelmcp.operation" | error_type="${__field.labels.error_type}"`)},
				},
				{
					kind: "timeseries", title: "Errors by tool", unit: "reqps",
					description: "Which tools fail.",
					queries: []query{{
						expr:   rate(duration+"_count", ofTool+`, error_type!=""`, "gen_ai_tool_name"),
						legend: "{{gen_ai_tool_name}}",
					}},
					links: []object{ofOneTool},
				},
				{
					kind: "timeseries", title: "Error codes", unit: "reqps",
					description: "JSON-RPC error codes that the servers answered with, those of refusals too.",
					queries: []query{{
						expr:   rate(duration+"_count", ofOperation+`, rpc_response_status_code!=""`, "rpc_response_status_code"),
						legend: "{{rpc_response_status_code}}",
					}},
				},
				{
					kind: "logs", title: "Failures", unit: "short",
					description: "Every operation that failed. Open one for all of its attributes, and for its trace.",
					queries:     []query{{expr: failures, logs: true}},
				},
			}},
			{"Latency", []panel{
				{
					kind: "timeseries", title: "Latency", unit: "s",
					description: "Of all operations. The points are exemplars: each leads to a trace.",
					queries:     quantiles(duration, ofOperation, true),
				},
				{
					kind: "timeseries", title: "p95 by method", unit: "s",
					description: "19 of 20 requests take no longer.",
					queries: []query{{
						expr:   quantile("0.95", duration, ofOperation, "mcp_method_name"),
						legend: "{{mcp_method_name}}", exemplars: true,
					}},
				},
				{
					kind: "timeseries", title: "p95 by tool", unit: "s",
					description: "19 of 20 calls take no longer.",
					queries: []query{{
						expr:   quantile("0.95", duration, ofTool, "gen_ai_tool_name"),
						legend: "{{gen_ai_tool_name}}", exemplars: true,
					}},
					links: []object{ofOneTool},
				},
				summary("Tools", "tool", "gen_ai_tool_name", ofTool),
				summary("Methods", "method", "mcp_method_name", ofOperation),
				{
					kind: "timeseries", title: "In flight by method", unit: "short", width: 24,
					description: "Operations that have begun and not ended. One that only grows hangs.",
					queries: []query{{
						expr:   `sum by (mcp_method_name) (otelmcp_server_operations_active{` + ofService + `, mcp_method_name=~"$method"})`,
						legend: "{{mcp_method_name}}",
					}},
				},
			}},
			{"Sessions", []panel{
				{
					kind: "timeseries", title: "Open sessions", unit: "short", stack: true,
					description: "By transport. Streamable HTTP has none from protocol version 2026-07-28 on.",
					queries: []query{{
						expr:   `sum by (otelmcp_transport) (otelmcp_server_sessions_active{` + ofTransport + `})`,
						legend: "{{otelmcp_transport}}",
					}},
				},
				{
					kind: "timeseries", title: "Session duration", unit: "s",
					description: "Of the sessions that ended.",
					queries:     quantiles("mcp_server_session_duration_seconds", ofService, false),
				},
				{
					kind: "timeseries", title: "Why sessions end", unit: "short",
					description: "A client that says goodbye, a connection that breaks, a server that shuts down, " +
						"a session that idles.",
					queries: []query{{
						expr: `sum by (otelmcp_session_end_reason) (count_over_time(` + eventsOf +
							`"otelmcp.session.end" | otelmcp_session_end_reason!="" [$__auto]))`,
						legend: "{{otelmcp_session_end_reason}}", logs: true,
					}},
				},
			}},
			{"Transports and eras", []panel{
				{
					kind: "timeseries", title: "Messages by transport", unit: "mps", stack: true,
					description: "How clients reach the servers.",
					queries: []query{{
						expr:   rate(messages, received, "otelmcp_transport"),
						legend: "{{otelmcp_transport}}",
					}},
				},
				{
					kind: "timeseries", title: "Requests by protocol version", unit: "reqps", stack: true,
					description: "The eras of the protocol that clients speak; empty where a message does not say.",
					queries: []query{{
						expr:   rate(duration+"_count", ofOperation, "mcp_protocol_version"),
						legend: "{{mcp_protocol_version}}",
					}},
				},
				{
					kind: "table", title: "Clients", unit: "short",
					description: "What clients call themselves, which anybody can claim, and how many messages " +
						"came from them.",
					queries: []query{{
						expr: `sum by (otelmcp_client_name, otelmcp_client_version) (count_over_time(` + operations +
							` | otelmcp_client_name!="" [$__range]))`, logs: true,
					}},
					columns: map[string]column{
						"otelmcp_client_name": {name: "client"}, "otelmcp_client_version": {name: "version"}, "number": {name: "messages"},
					},
					sort: "messages",
				},
				{
					kind: "timeseries", title: "Size of requests", unit: "bytes", width: 12,
					description: "19 of 20 messages are no larger, by transport; and the bytes that come in each second.",
					queries:     sizes("request"),
				},
				{
					kind: "timeseries", title: "Size of answers", unit: "bytes", width: 12,
					description: "19 of 20 answers are no larger, by transport; and the bytes that go out each second.",
					queries:     sizes("response"),
				},
			}},
			{"The clients' side", []panel{
				{
					kind: "timeseries", title: "Messages by outcome, of clients", unit: "mps", width: 12, stack: true,
					description: "What became of the messages of instrumented clients.",
					queries: []query{{
						expr:   rate("otelmcp_client_messages_total", ofTransport, "otelmcp_outcome"),
						legend: "{{otelmcp_outcome}}",
					}},
				},
				{
					kind: "timeseries", title: "p95 as clients see it", unit: "s", width: 12,
					description: "What instrumented clients wait for, and servers for what they ask their clients. " +
						"What it exceeds the server's by is spent on the way.",
					queries: []query{{
						expr:   quantile("0.95", "mcp_client_operation_duration_seconds", ofOperation, "mcp_method_name"),
						legend: "{{mcp_method_name}}", exemplars: true,
					}},
				},
			}},
		},
	}
}
