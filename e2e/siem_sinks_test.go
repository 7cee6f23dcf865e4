// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

// What arrived at the other end of each recipe of docs/siem, compared with what was
// sent, and read as somebody reads it who has nothing else.

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/otelmcp/otelmcp-go/e2e/stack"
)

// event is a log record of otelmcp, as the programs sent it or as it was understood
// at the other end of a recipe.
type event struct {
	Time     string // RFC 3339, UTC, microseconds
	Name     string
	Severity int               // OpenTelemetry's
	Text     string            // the body
	Resource map[string]string // attributes
	Values   map[string]string // attributes
}

const timeFormat = "2006-01-02T15:04:05.000000Z"

// otlpEvents reads OTLP JSON Lines.
func otlpEvents(t *testing.T, file string) (events []event) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) == 0 && err != nil {
			return events
		}
		var batch struct {
			ResourceLogs []struct {
				Resource  struct{ Attributes otlpAttributes }
				ScopeLogs []struct {
					LogRecords []struct {
						TimeUnixNano, EventName, TraceID, SpanID string
						SeverityNumber                           int
						Body                                     otlpValue
						Attributes                               otlpAttributes
					}
				}
			}
		}
		if err := json.Unmarshal(line, &batch); err != nil {
			t.Fatal(err)
		}
		for _, r := range batch.ResourceLogs {
			for _, s := range r.ScopeLogs {
				for k := range s.LogRecords {
					l := &s.LogRecords[k]
					ns, err := strconv.ParseInt(l.TimeUnixNano, 10, 64)
					if err != nil {
						t.Fatal(err)
					}
					e := event{
						Time: time.Unix(0, ns).UTC().Format(timeFormat), Name: l.EventName, Severity: l.SeverityNumber,
						Text: l.Body.text(), Resource: r.Resource.Attributes.texts(), Values: l.Attributes.texts(),
					}
					if l.TraceID != "" {
						e.Values["trace_id"], e.Values["span_id"] = l.TraceID, l.SpanID
					}
					events = append(events, e)
				}
			}
		}
	}
}

type otlpAttributes []struct {
	Key   string
	Value otlpValue
}

func (a otlpAttributes) texts() map[string]string {
	m := make(map[string]string, len(a))
	for _, kv := range a {
		m[kv.Key] = kv.Value.text()
	}
	return m
}

type otlpValue struct {
	StringValue *string
	IntValue    *string
	DoubleValue *float64
	BoolValue   *bool
	ArrayValue  *struct{ Values []otlpValue }
}

func (v otlpValue) any() any {
	switch {
	case v.StringValue != nil:
		return *v.StringValue
	case v.IntValue != nil:
		return json.Number(*v.IntValue)
	case v.DoubleValue != nil:
		return *v.DoubleValue
	case v.BoolValue != nil:
		return *v.BoolValue
	case v.ArrayValue != nil:
		list := []any{}
		for _, e := range v.ArrayValue.Values {
			list = append(list, e.any())
		}
		return list
	}
	return nil
}

// text is the value as a sink shows it that knows strings only: JSON, where it is
// not a string.
func (v otlpValue) text() string {
	if v.StringValue != nil {
		return *v.StringValue
	}
	b, _ := json.Marshal(v.any()) // nothing in it that cannot be
	return string(b)
}

// testOTLP looks at what arrived at the other collector: the rest compares with it.
func (f *feed) testOTLP(t *testing.T) {
	services, names := map[string]int{}, map[string]int{}
	var bad int
	for _, e := range f.sent {
		services[e.Resource["service.name"]]++
		names[e.Name]++
		if e.Name != e.Values["event.name"] && e.Resource["service.name"] != "hostile" {
			t.Errorf("event %q is named %q for sinks that see attributes only", e.Name, e.Values["event.name"])
		}
		if strings.Contains(e.Values["otelmcp.client.name"], `"] [otelmcp@32473 `) {
			bad++
		}
	}
	for _, service := range []string{"weather-http", "weather-stdio", "oauth-example", "hostile"} {
		if services[service] == 0 {
			t.Errorf("no event of %s", service)
		}
	}
	for _, name := range []string{
		"otelmcp.operation", "otelmcp.auth.decision", "otelmcp.session.start", "otelmcp.session.end", "otelmcp.coverage",
		"otelmcp.definition.changed",
	} {
		if names[name] == 0 {
			t.Errorf("no %s", name)
		}
	}
	if names["program.started"] > 0 || names[""] > 0 {
		t.Error("a record that is not otelmcp's went to the SIEM")
	}
	if bad == 0 {
		t.Error("no event has the hostile client's name")
	}
	if !t.Failed() {
		check(t, f.sent, func(e event, attribute string) string {
			if v := e.Resource[attribute]; v != "" {
				return v
			}
			return e.Values[attribute]
		})
	}
}

var (
	control      = regexp.MustCompile(`[\x00-\x1f\x7f]`)
	notPrintable = regexp.MustCompile(`[^\x21-\x7e]`)
)

// ofResource are the attributes of the resource that syslog and CEF have in every
// message.
var ofResource = []string{"service.namespace", "service.version", "service.instance.id", "deployment.environment.name"}

func (f *feed) testSyslog(t *testing.T) {
	if f.skip != "" {
		t.Skip(f.skip)
	}
	var want []event
	for _, e := range f.sent {
		values := map[string]string{}
		for name, v := range e.Values {
			values[paramName(name)] = control.ReplaceAllString(v, " ")
		}
		delete(values, "event.name") // it is the MSGID
		for _, name := range ofResource {
			if v, ok := e.Resource[name]; ok {
				values[paramName(name)] = v
			}
		}
		for header, name := range map[string]string{
			"HOSTNAME": "host.name", "APP-NAME": "service.name", "PROCID": "process.pid",
		} {
			if values[header] = notPrintable.ReplaceAllString(e.Resource[name], "_"); values[header] == "" {
				values[header] = "-"
			}
		}
		values["FACILITY"] = "13"
		e.Text, e.Resource, e.Values = control.ReplaceAllString(e.Text, " "), nil, values
		want = append(want, e)
	}
	same(t, want, f.syslog)
	check(t, f.syslog, func(e event, attribute string) string {
		switch attribute {
		case "host.name":
			return e.Values["HOSTNAME"]
		case "service.name":
			return e.Values["APP-NAME"]
		}
		return e.Values[paramName(attribute)]
	})
}

// severities of syslog, as rsyslog names them, and what they were.
var severities = map[string]int{"info": 9, "warning": 13, "err": 17}

// syslogEvents reads what rsyslog-siem.conf writes of RFC 5424.
func syslogEvents(t *testing.T, file string) (events []event) {
	t.Helper()
	for _, line := range lines(file) {
		var m struct {
			SD                                                                   map[string]map[string]string `json:"rfc5424-sd"`
			Severity, Facility, Timestamp, Hostname, Appname, Procid, Msgid, Msg string
		}
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		values := m.SD["otelmcp@32473"]
		if len(m.SD) != 1 || values == nil {
			t.Fatalf("structured data of %s", line)
		}
		values["HOSTNAME"], values["APP-NAME"], values["PROCID"] = m.Hostname, m.Appname, m.Procid
		values["FACILITY"] = m.Facility
		at, err := time.Parse(time.RFC3339, m.Timestamp) // which rsyslog writes without zeros at the end
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, event{
			Time: at.UTC().Format(timeFormat), Name: m.Msgid, Severity: severities[m.Severity], Text: m.Msg, Values: values,
		})
	}
	return events
}

// cefKeys are the keys of cef.md that are not an attribute's name with underscores,
// and the labels, by attribute.
func cefKeys(t *testing.T) (keys, labels map[string]string) {
	t.Helper()
	keys, labels = map[string]string{}, map[string]string{}
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| `([^`]+)` \\|(?: `([^`]+)`)? *\\|$")
	for _, row := range rows.FindAllStringSubmatch(readFile(t, siemFile("cef.md")), -1) {
		keys[row[1]] = row[2]
		if row[3] != "" {
			labels[row[1]] = row[3]
		}
	}
	if len(keys) == 0 {
		t.Fatal("no table in cef.md")
	}
	return keys, labels
}

func cefKey(keys map[string]string, attribute string) string {
	if key := keys[attribute]; key != "" {
		return key
	}
	return underscored(attribute)
}

// underscored is an attribute's name in Loki, and in CEF without a key of its own.
func underscored(attribute string) string {
	return regexp.MustCompile(`[^A-Za-z0-9_]`).ReplaceAllString(attribute, "_")
}

func (f *feed) testCEF(t *testing.T) {
	if f.skip != "" {
		t.Skip(f.skip)
	}
	keys, labels := cefKeys(t)
	var want []event
	for _, e := range f.sent {
		values := map[string]string{}
		set := func(attribute, v string) {
			v = regexp.MustCompile(`\r?\n|\r`).ReplaceAllString(v, "\n")
			v = regexp.MustCompile(`[\x00-\x09\x0b-\x1f\x7f]`).ReplaceAllString(v, " ")
			values[cefKey(keys, attribute)] = v
			if label := labels[attribute]; label != "" {
				values[keys[attribute]+"Label"] = label
			}
		}
		for name, v := range e.Values {
			set(name, v)
		}
		delete(values, "event_name") // it is in the header
		for _, name := range append(ofResource, "service.name", "host.name", "process.pid") {
			if v, ok := e.Resource[name]; ok {
				set(name, v)
			}
		}
		set("msg", e.Text)
		at, err := time.Parse(timeFormat, e.Time)
		if err != nil {
			t.Fatal(err)
		}
		values["rt"] = strconv.FormatInt(at.UnixMilli(), 10)
		values["HOSTNAME"] = e.Resource["host.name"]
		if !regexp.MustCompile(`^[A-Za-z0-9._-]*[A-Za-z0-9]$`).MatchString(values["HOSTNAME"]) {
			values["HOSTNAME"] = "unknown"
		}
		values["VENDOR"], values["PRODUCT"] = "otelmcp", "otelmcp-go"
		want = append(want, event{Name: e.Name, Severity: e.Severity, Values: values})
	}
	same(t, want, f.cef)
	check(t, f.cef, func(e event, attribute string) string { return e.Values[cefKey(keys, attribute)] })
}

// cefEvents reads what rsyslog-siem.conf writes of CEF.
func cefEvents(t *testing.T, file string) (events []event) {
	t.Helper()
	for _, line := range lines(file) {
		var m struct {
			CEF struct {
				DeviceVendor, DeviceProduct, DeviceVersion, SignatureID, Name, Severity string
				Extensions                                                              map[string]string
			}
			Severity, Facility, Hostname string
		}
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		values := m.CEF.Extensions
		if values == nil || m.Facility != "13" || m.CEF.Name == "" || m.CEF.DeviceVersion == "" {
			t.Fatalf("not understood: %s", line)
		}
		// The parser skips the first character of the extension, whether it is a space or not.
		for _, first := range []string{"act", "c6a2", "cs1", "cs2", "cs3", "cs4", "dvchost"} {
			if v, ok := values[first[1:]]; ok {
				delete(values, first[1:])
				values[first] = v
			}
		}
		values["HOSTNAME"] = m.Hostname
		values["VENDOR"], values["PRODUCT"] = m.CEF.DeviceVendor, m.CEF.DeviceProduct
		if severity := map[string]string{"info": "3", "warning": "6", "err": "8"}[m.Severity]; severity != m.CEF.Severity {
			t.Errorf("severity %s is %s to CEF", m.Severity, m.CEF.Severity)
		}
		events = append(events, event{Name: m.CEF.SignatureID, Severity: severities[m.Severity], Values: values})
	}
	return events
}

// testOCSF checks what OCSF requires of each class, and who, what and why.
func (f *feed) testOCSF(t *testing.T) {
	if len(f.ocsf) != len(f.sent) {
		t.Errorf("%d events were sent and %d arrived", len(f.sent), len(f.ocsf))
	}
	type object = map[string]any
	at := func(o any, path string) any {
		for name := range strings.SplitSeq(path, ".") {
			m, _ := o.(object) // nil has nothing in it
			o = m[name]
		}
		return o
	}
	classes := map[string]int{}
	denied, changed := false, false
	failures := map[string]bool{}
	for _, e := range f.ocsf {
		var o object
		if err := json.Unmarshal([]byte(e.Text), &o); err != nil {
			t.Fatalf("%v in %s", err, e.Text)
		}
		class, activity := o["class_uid"].(float64), o["activity_id"].(float64) //nolint:forcetypeassert // or it fails
		if o["type_uid"] != class*100+activity || o["category_uid"] != float64(int(class)/1000) {
			t.Errorf("class, category and type do not fit: %s", e.Text)
		}
		required := []string{"time", "severity_id", "status_id", "metadata.version", "metadata.product.vendor_name"}
		switch class {
		case 3002:
			required = append(required, "user", "service.name")
		case 3004:
			required = append(required, "entity.type", "entity.name")
			changed = changed || activity == 3 && at(o, "entity.name") == "trusted"
		case 6002:
			required = append(required, "app.name")
		case 6003:
			required = append(required, "actor.user", "api.operation", "src_endpoint")
		}
		for _, path := range required {
			if at(o, path) == nil {
				t.Errorf("no %s in %s", path, e.Text)
			}
		}
		if at(o, "metadata.event_code") != e.Name && e.Resource["service.name"] != "hostile" {
			t.Errorf("not named %s: %s", e.Name, e.Text)
		}
		classes[fmt.Sprintf("%s %v", e.Name, class)]++
		if class == 6003 && at(o, "actor.user.uid") == "bob" {
			denied = denied || o["status_id"] == 2.0 && o["status_detail"] == "session_principal_mismatch" &&
				at(o, "api.operation") == "tools/call" && at(o, "src_endpoint.ip") == "127.0.0.1" &&
				at(o, "metadata.correlation_uid") == e.Values["trace_id"]
		}
		if outcome := e.Values["otelmcp.outcome"]; at(o, "actor.user.uid") == "carol" && outcome != "" {
			failures[outcome] = true
			status := 2.0
			if outcome == "cancelled" {
				status = 0
			}
			if o["status_id"] != status || o["status_detail"] != outcome {
				t.Errorf("status %v, %v of a call that was let in: %s", o["status_id"], o["status_detail"], e.Text)
			}
		}
	}
	if !denied {
		t.Error("bob was not turned away")
	}
	if !changed {
		t.Error("the tool that is trusted has not changed")
	}
	for outcome := range failed {
		if !failures[outcome] {
			t.Errorf("no call that was let in ends as %s", outcome)
		}
	}
	for _, want := range []string{
		"otelmcp.operation 6003", "otelmcp.auth.decision 3002", "otelmcp.auth.decision 6003",
		"otelmcp.session.start 3002", "otelmcp.session.end 3002", "otelmcp.coverage 6002",
		"otelmcp.definition.changed 3004",
	} {
		if classes[want] == 0 {
			t.Errorf("no %s among %v", want, classes)
		}
	}
}

// same compares two lists in any order.
func same(t *testing.T, want, got []event) {
	t.Helper()
	text := func(events []event) (all []string) {
		for _, e := range events {
			b, _ := json.Marshal(e) // nothing in it that cannot be
			all = append(all, string(b))
		}
		slices.Sort(all)
		return all
	}
	w, g := text(want), text(got)
	if len(w) != len(g) {
		t.Errorf("%d events were sent and %d arrived", len(w), len(g))
	}
	for k := range min(len(w), len(g)) {
		if w[k] != g[k] {
			t.Fatalf("sent:\n%s\narrived:\n%s", w[k], g[k])
		}
	}
}

// testLoki finds every event in Loki, once and with all of its attributes. Of the
// hostile ones, more than one answer of Loki's has room for, it looks at the first.
func (f *feed) testLoki(t *testing.T) {
	var sent []event
	hostiles := 0
	for _, e := range f.sent {
		if e.Resource["service.name"] == "hostile" {
			hostiles++
		}
		if e.Resource["service.name"] != "hostile" || e.Values["jsonrpc.request.id"] == "0" {
			sent = append(sent, e)
		}
	}
	var entries []stack.Entry
	eventually(t, func() error {
		samples, err := f.stack.LogQLMetric(t.Context(), `sum(count_over_time({service_name="hostile"}[1h]))`)
		if err != nil {
			return err
		}
		if len(samples) != 1 || samples[0].Value != float64(hostiles) {
			return fmt.Errorf("%v of %d hostile events in Loki", samples, hostiles)
		}
		entries = nil
		for _, query := range []string{
			`{service_name=~".+", service_name!="hostile"}`, `{service_name="hostile"} | jsonrpc_request_id="0"`,
		} {
			found, err := f.stack.LogQL(t.Context(), query)
			if err != nil {
				return err
			}
			entries = append(entries, found...)
		}
		if len(entries) < len(sent) {
			return fmt.Errorf("%d of %d events in Loki", len(entries), len(sent))
		}
		return nil
	})
	if len(entries) != len(sent) {
		t.Errorf("%d events were sent and %d are in Loki", len(sent), len(entries))
	}
	var got []event
	for _, e := range entries {
		got = append(got, event{
			Time: e.Time.UTC().Format(timeFormat), Name: e.Labels["event_name"], Text: e.Line, Values: e.Labels,
		})
	}
	left := slices.Clone(got)
	for _, e := range sent {
		k := slices.IndexFunc(left, func(g event) bool {
			if g.Time != e.Time || g.Text != e.Text || g.Values["severity_number"] != strconv.Itoa(e.Severity) {
				return false
			}
			for _, attributes := range []map[string]string{e.Values, e.Resource} {
				for name, v := range attributes {
					if g.Values[underscored(name)] != v {
						return false
					}
				}
			}
			return true
		})
		if k < 0 {
			t.Fatalf("not in Loki as it was sent: %+v", e)
		}
		left = slices.Delete(left, k, k+1)
	}
	check(t, got, func(e event, attribute string) string { return e.Values[underscored(attribute)] })
}

// testLogQL runs the queries of loki.md.
func (f *feed) testLogQL(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```logql\n(.*?)```").FindAllStringSubmatch(readFile(t, siemFile("loki.md")), -1)
	if len(blocks) == 0 {
		t.Fatal("no queries in loki.md")
	}
	for _, block := range blocks {
		query := strings.TrimSpace(block[1])
		t.Run("", func(t *testing.T) {
			n := 0
			if strings.HasPrefix(query, "{") {
				entries, err := f.stack.LogQL(t.Context(), query)
				if err != nil {
					t.Fatal(err)
				}
				n = len(entries)
			} else {
				samples, err := f.stack.LogQLMetric(t.Context(), query)
				if err != nil {
					t.Fatal(err)
				}
				n = len(samples)
			}
			if n == 0 {
				t.Errorf("finds nothing:\n%s", query)
			}
		})
	}
}

// check reads the events of a sink as somebody does who has nothing else, through get.
func check(t *testing.T, events []event, get func(event, string) string) {
	t.Helper()
	calls, decisions := 0, 0
	for _, e := range events {
		ask := func(attributes ...string) string {
			for _, a := range attributes {
				if v := get(e, a); v != "" && v != "-" {
					return v
				}
			}
			return ""
		}
		if ask("service.name") == "hostile" {
			continue
		}
		var problems []string
		need := func(question string, attributes ...string) {
			if ask(attributes...) == "" {
				problems = append(problems, question)
			}
		}
		client := ask("otelmcp.role") == "client"
		message := ask("mcp.method.name") != ""
		switch {
		case e.Name == "otelmcp.operation" && ask("mcp.method.name") == "tools/call":
			calls++
			need("what", "gen_ai.tool.name")
			need("outcome", "otelmcp.outcome")
			if outcome := ask("otelmcp.outcome"); outcome == "denied" {
				need("denied by what", "otelmcp.auth.decision")
				need("why", "otelmcp.auth.reason")
			} else if slices.Contains([]string{"error", "tool_error", "panic", "timeout", "cancelled"}, outcome) {
				need("what went wrong", "error.type")
			}
			if ask("otelmcp.auth.decision") != "" {
				need("why", "otelmcp.auth.reason")
			}
		case e.Name == "otelmcp.auth.decision":
			decisions++
			need("allowed or denied", "otelmcp.auth.decision")
			need("why", "otelmcp.auth.reason")
			need("what was decided", "otelmcp.auth.kind")
			need("how", "otelmcp.auth.mechanism")
			if client {
				need("what", "mcp.method.name", "otelmcp.auth.issuer")
			} else {
				need("what", "mcp.method.name", "url.path")
			}
		default:
			continue
		}
		switch {
		case client:
			need("who", "service.name")
			need("from where", "host.name")
		case ask("otelmcp.transport") == "stdio":
			need("who", "user.id", "otelmcp.client.name")
			need("from where", "host.name")
		default:
			need("who", "user.id", "otelmcp.auth.client_id", "otelmcp.client.name", "user_agent.original")
			need("from where", "client.address")
		}
		// What is told without a message has a trace id only if the HTTP headers had one.
		if !message && !client {
			need("which message", "client.port")
		} else if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(ask("trace_id")) {
			problems = append(problems, "trace id")
		}
		if len(problems) > 0 {
			t.Errorf("does not answer %s: %+v", strings.Join(problems, ", "), e)
		}
	}
	if calls == 0 || decisions == 0 {
		t.Errorf("%d calls, %d decisions", calls, decisions)
	}
	for _, want := range stories {
		if !slices.ContainsFunc(events, func(e event) bool {
			for attribute, v := range want {
				if attribute != "event.name" && get(e, attribute) != v {
					return false
				}
			}
			return e.Name == want["event.name"]
		}) {
			t.Errorf("no event says %v", want)
		}
	}
}

// stories are what happened in the examples, as their descriptions tell it.
var stories = func() (all []map[string]string) {
	decision := func(user, tool, decision, reason string) {
		all = append(all, map[string]string{
			"event.name": "otelmcp.auth.decision", "service.name": "oauth-example", "client.address": "127.0.0.1",
			"user.id": user, "gen_ai.tool.name": tool, "otelmcp.auth.decision": decision, "otelmcp.auth.reason": reason,
		})
	}
	decision("alice", "search_notes", "allow", "ok")
	decision("alice", "search_notes", "deny", "expired")
	decision("alice", "search_notes", "deny", "audience_mismatch")
	decision("alice", "search_notes", "deny", "insufficient_scope")
	decision("alice", "add_note", "deny", "insufficient_scope")
	decision("alice", "search_notes", "deny", "revoked")
	decision("alice", "purge_all", "deny", "hidden")
	decision("bob", "search_notes", "deny", "session_principal_mismatch")
	decision("", "search_notes", "deny", "bad_signature")
	decision("", "", "challenge", "missing_credentials")
	call := func(service, user, tool, outcome, reason string) {
		all = append(all, map[string]string{
			"event.name": "otelmcp.operation", "service.name": service, "mcp.method.name": "tools/call",
			"user.id": user, "gen_ai.tool.name": tool, "otelmcp.outcome": outcome, "otelmcp.auth.reason": reason,
		})
	}
	call("oauth-example", "alice", "search_notes", "ok", "ok")
	call("oauth-example", "alice", "purge_all", "denied", "hidden")
	call("oauth-example", "bob", "search_notes", "denied", "session_principal_mismatch")
	call("weather-http", "", "forecast", "ok", "")
	call("weather-stdio", "", "forecast", "tool_error", "")
	call("weather-stdio", "", "radar", "panic", "")
	all = append(all, map[string]string{
		"event.name": "otelmcp.definition.changed", "otelmcp.definition.kind": "tool",
		"otelmcp.definition.name": "trusted", "otelmcp.definition.change": "changed",
	})
	return all
}()
