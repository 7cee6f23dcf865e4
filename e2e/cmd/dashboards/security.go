// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// Who was kept out of what, and why; what breaks the protocol; what changed under
// its name; and what nobody sees. Counts are Prometheus's; who and from where is in
// events only, in Loki.

func security() dashboard {
	const (
		refusing = `otelmcp_auth_decision=~"deny|challenge|error"`
		// Of the server: what a program is refused as a client of others says nothing of its callers.
		ofServer  = `otelmcp_role="server"`
		ofMech    = ofService + `, ` + ofServer + `, otelmcp_auth_mechanism=~"$mechanism"`
		decisions = `otelmcp_auth_decisions_total`
		decision  = `"otelmcp.auth.decision" | ` + ofServer + ` | `
		decided   = eventsOf + decision + refusing
		rejected  = operations + ` | otelmcp_outcome="rejected"`
		odd       = operations + ` | otelmcp_session_integrity!=""`
		changed   = eventsOf + `"otelmcp.definition.changed"`
		// A server that is being built has gaps until its edge is there; that is over when it sees messages.
		gaps = eventsOf + `"otelmcp.coverage" | severity_text="WARN" | otelmcp_coverage_transports!="[]"`
	)
	inRange := func(expr, by string) string { return `sum by (` + by + `) (count_over_time(` + expr + ` [$__range]))` }
	total := func(expr string) []query {
		return []query{{expr: `sum(count_over_time(` + expr + ` [$__range]))`, logs: true, instant: true}}
	}
	over := func(expr, by string) []query {
		count := `sum by (` + by + `) (count_over_time(` + expr + ` [$__auto]))`
		return []query{{expr: count, legend: "{{" + by + "}}", logs: true}}
	}
	most := func(expr string) []query { return []query{{expr: `topk(20, ` + expr + `)`, logs: true}} }
	refusals := events("Refusals in Loki", eventsInLink+decision+refusing)
	oneReason := events("These in Loki",
		eventsInLink+decision+refusing+` | otelmcp_auth_reason="${__field.labels.otelmcp_auth_reason}"`)
	return dashboard{
		uid: "mcp-security", title: "MCP security",
		description: "What MCP servers that are instrumented with otelmcp decided about their callers, what broke the " +
			"protocol, and what cannot be seen. The mechanism chooses among decisions.",
		variables: []variable{
			serviceVariable,
			{
				name: "mechanism", label: "Mechanism", selector: decisions + `{` + ofService + `, ` + ofServer + `}`,
				of: "otelmcp_auth_mechanism", all: atLeastOne,
			},
		},
		rows: []row{
			{"At a glance", []panel{
				{
					kind: "stat", title: "Refusals", unit: "short", none: "none",
					description: "Decisions against the caller: denied, challenged, or not decided because the " +
						"check failed.",
					queries: []query{{
						expr: `sum(increase(` + decisions + `{` + ofMech + `, ` + refusing + `}[$__range]))`, instant: true,
					}},
					steps: []step{{1, "yellow"}, {100, "red"}}, links: []object{refusals},
				},
				{
					kind: "stat", title: "Hidden tools called", unit: "short", none: "none",
					description: "Calls of tools, prompts or resources that the caller cannot see. An honest " +
						"client has no way to know them.",
					queries: []query{{
						expr: `sum(increase(` + decisions + `{` + ofMech + `, otelmcp_auth_reason="hidden"}[$__range]))`, instant: true,
					}},
					steps: []step{{1, "red"}},
					links: []object{events("These in Loki", eventsInLink+decision+`otelmcp_auth_reason="hidden"`)},
				},
				{
					kind: "stat", title: "Odd session ids", unit: "short", none: "none",
					description: "Messages with a session id that the server never issued, that is over, or that " +
						"was given to somebody else.",
					queries: total(odd), steps: []step{{1, "yellow"}, {10, "red"}},
					links: []object{events("These in Loki", eventsInLink+`"otelmcp.operation" | otelmcp_session_integrity!=""`)},
				},
				{
					kind: "stat", title: "Rejected messages", unit: "short", none: "none",
					description: "Messages that break the protocol: malformed, unknown, or out of place.",
					queries: []query{{
						expr:    `sum(increase(` + messages + `{` + ofService + `, otelmcp_outcome="rejected"}[$__range]))`,
						instant: true,
					}},
					steps: []step{{10, "yellow"}, {100, "red"}},
					links: []object{events("These in Loki", eventsInLink+`"otelmcp.operation" | otelmcp_outcome="rejected"`)},
				},
				{
					kind: "stat", title: "Definition changes", unit: "short", none: "none",
					description: "Tools, prompts and resources that appeared, disappeared, or changed under the " +
						"same name.",
					queries: total(changed), steps: []step{{1, "yellow"}},
					links: []object{events("These in Loki", eventsInLink+`"otelmcp.definition.changed"`)},
				},
				{
					kind: "stat", title: "Services with gaps", unit: "short", none: "none",
					description: "Services that had traffic, and whose instrumentation says that it does not see " +
						"everything.",
					queries: []query{{
						expr: `count(sum by (service_name) (count_over_time(` + gaps + ` [$__range])))`, logs: true, instant: true,
					}},
					steps: []step{{1, "yellow"}}, links: []object{to("mcp-telemetry-health", "MCP telemetry health")},
				},
			}},
			{"Decisions", []panel{
				{
					kind: "timeseries", title: "Refusals by reason", unit: "cps", width: 12, stack: true,
					description: "Why callers were kept out.",
					queries: []query{{
						expr:   rate(decisions, ofMech+`, `+refusing, "otelmcp_auth_reason"),
						legend: "{{otelmcp_auth_reason}}",
					}},
					links: []object{oneReason},
				},
				{
					kind: "timeseries", title: "Decisions", unit: "cps", width: 12, stack: true,
					description: "All decisions, both ways.",
					queries: []query{{
						expr:   rate(decisions, ofMech, "otelmcp_auth_decision"),
						legend: "{{otelmcp_auth_decision}}",
					}},
				},
				{
					kind: "table", title: "Reasons", unit: "short", width: 12,
					description: "Decisions of the time that is looked at.",
					queries: []query{{
						expr: `sum by (otelmcp_auth_kind, otelmcp_auth_mechanism, otelmcp_auth_decision, otelmcp_auth_reason) (increase(` +
							decisions + `{` + ofMech + `}[$__range])) > 0`,
					}},
					columns: map[string]column{
						"otelmcp_auth_kind": {name: "kind"}, "otelmcp_auth_mechanism": {name: "mechanism"},
						"otelmcp_auth_decision": {name: "decision"}, "otelmcp_auth_reason": {name: "reason"}, "number": {name: "decisions"},
					},
					sort: "decisions",
				},
				{
					kind: "timeseries", title: "Refusals by mechanism", unit: "cps", width: 6, stack: true,
					description: "How those who were kept out tried to authenticate.",
					queries: []query{{
						expr:   rate(decisions, ofMech+`, `+refusing, "otelmcp_auth_mechanism"),
						legend: "{{otelmcp_auth_mechanism}}",
					}},
				},
				{
					kind: "timeseries", title: "How long checks take", unit: "s", width: 6,
					description: "19 of 20 checks take no longer, by mechanism.",
					queries: []query{{
						expr:   quantile("0.95", "otelmcp_auth_duration_seconds", ofMech, "otelmcp_auth_mechanism"),
						legend: "{{otelmcp_auth_mechanism}}", exemplars: true,
					}},
				},
			}},
			{"Who, and from where", []panel{
				{
					kind: "table", title: "Who was refused", unit: "short",
					description: "Authenticated users that were refused something, or hashes of them where WithIdentityHash is on.",
					queries:     most(inRange(decided+` | user_id!="" or user_hash!=""`, "user_id, user_hash, otelmcp_auth_reason")),
					columns: map[string]column{
						"user_id": {name: "user"}, "user_hash": {name: "hash of the user"}, "otelmcp_auth_reason": {name: "reason"},
						"number": {name: "refusals"},
					},
					sort: "refusals",
				},
				{
					kind: "table", title: "From where", unit: "short",
					description: "Addresses that refused callers came from; behind a proxy the proxy's, unless it " +
						"is a trusted one.",
					queries: most(inRange(decided+` | client_address!=""`, "client_address, user_agent_original")),
					columns: map[string]column{
						"client_address": {name: "address"}, "user_agent_original": {name: "user agent"}, "number": {name: "refusals"},
					},
					sort: "refusals",
				},
				{
					kind: "table", title: "Hidden tools called", unit: "short",
					description: "Who called which tool without being able to see it.",
					queries: most(inRange(decided+` | otelmcp_auth_reason="hidden"`,
						"gen_ai_tool_name, user_id, otelmcp_auth_policy")),
					columns: map[string]column{
						"gen_ai_tool_name": {name: "tool"}, "user_id": {name: "user"}, "otelmcp_auth_policy": {name: "policy"},
						"number": {name: "calls"},
					},
					sort: "calls",
				},
				{
					kind: "logs", title: "Refusals", unit: "short",
					description: "Every decision against a caller. Open one for all of its attributes, and for its " +
						"trace.",
					queries: []query{{expr: decided, logs: true}},
				},
			}},
			{"Protocol", []panel{
				{
					kind: "timeseries", title: "Rejected messages by stage", unit: "mps", stack: true,
					description: "How far messages came that break the protocol: transport is before dispatch.",
					queries: []query{{
						expr:   rate(messages, ofService+`, otelmcp_outcome="rejected"`, "otelmcp_stage"),
						legend: "{{otelmcp_stage}}",
					}},
				},
				{
					kind: "table", title: "Rejected, from where", unit: "short",
					description: "Addresses that messages came from which break the protocol.",
					queries:     most(inRange(rejected+` | client_address!=""`, "client_address, user_agent_original")),
					columns: map[string]column{
						"client_address": {name: "address"}, "user_agent_original": {name: "user agent"}, "number": {name: "messages"},
					},
					sort: "messages",
				},
				{
					kind: "table", title: "Undeclared arguments", unit: "short",
					description: "Calls with arguments that the schema of the tool does not declare.",
					queries: most(inRange(operations+` | otelmcp_role="server" | otelmcp_tool_arguments_undeclared>0`,
						"service_name, gen_ai_tool_name, client_address")),
					columns: map[string]column{
						"service_name": {name: "service"}, "gen_ai_tool_name": {name: "tool"}, "client_address": {name: "address"},
						"number": {name: "calls"},
					},
					sort: "calls",
				},
				{
					kind: "logs", title: "Rejected messages", unit: "short",
					description: "What was wrong with each.",
					queries:     []query{{expr: rejected, logs: true}},
				},
			}},
			{"Sessions", []panel{
				{
					kind: "timeseries", title: "Odd session ids", unit: "short", width: 12,
					description: "Unknown: never issued. Ended: over. Mismatch: another principal or address " +
						"started the session. Facts, no verdicts.",
					queries: over(odd, "otelmcp_session_integrity"),
				},
				{
					kind: "table", title: "Whose session ids are odd", unit: "short", width: 12,
					description: "Who sent them, and from where.",
					queries:     most(inRange(odd, "otelmcp_session_integrity, client_address, user_id")),
					columns: map[string]column{
						"otelmcp_session_integrity": {name: "fact"}, "client_address": {name: "address"}, "user_id": {name: "user"},
						"number": {name: "messages"},
					},
					sort: "messages",
				},
			}},
			{"Definitions and coverage", []panel{
				{
					kind: "table", title: "What changed", unit: "short", width: 12,
					description: "A tool that changes under the same name was approved as something else.",
					queries: most(inRange(changed,
						"service_name, otelmcp_definition_kind, otelmcp_definition_name, otelmcp_definition_change")),
					columns: map[string]column{
						"service_name": {name: "service"}, "otelmcp_definition_kind": {name: "kind"},
						"otelmcp_definition_name": {name: "name"}, "otelmcp_definition_change": {name: "change"}, "number": {name: "times"},
					},
					sort: "times",
				},
				{
					kind: "table", title: "What is not seen", unit: "short", width: 12,
					description: "What services that had traffic say that their instrumentation does not see. " +
						"docs/coverage.md says which line changes that.",
					queries: most(inRange(gaps, "service_name, otelmcp_coverage_gaps")),
					columns: map[string]column{
						"service_name": {name: "service"}, "otelmcp_coverage_gaps": {name: "gaps"}, "number": {name: "times said"},
					},
					sort: "times said",
				},
				{
					kind: "logs", title: "Changes and gaps", unit: "short",
					description: "Both kinds of events as they came.",
					queries: []query{{
						expr: `{service_name=~"$service"} | event_name=~"otelmcp.definition.changed|otelmcp.coverage"`, logs: true,
					}},
				},
			}},
		},
	}
}
