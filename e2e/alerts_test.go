// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

// The alert rules that are shipped: each fires when it should and only then, asks
// for nothing that nobody emits, and says what to do. Real attacks set some of them off.

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/otelmcp/otelmcp-go/e2e/stack"
)

const (
	metricAlerts = "alerts.yml"
	eventAlerts  = "loki-alerts.yml"
)

// rule is an alert, or a series that is recorded for alerts.
type rule struct {
	Alert, Record, Expr string
	Labels, Annotations map[string]string
}

func rulesIn(t *testing.T, file string) []rule {
	t.Helper()
	var parsed struct{ Groups []struct{ Rules []rule } }
	readYAML(t, file, &parsed)
	var rules []rule
	for _, group := range parsed.Groups {
		rules = append(rules, group.Rules...)
	}
	if len(rules) == 0 {
		t.Fatalf("%s has no rules", file)
	}
	return rules
}

func TestPromtool(t *testing.T) {
	for _, args := range [][]string{
		{"check", "rules", "--lint=all", "--lint-fatal", stack.ConfigFile(metricAlerts)},
		{"test", "rules", stack.ConfigFile("alerts_test.yml")},
	} {
		out, err := exec.CommandContext(t.Context(), stack.Program("promtool"), args...).CombinedOutput()
		if err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, out)
		}
	}
}

// Whoever is woken by an alert is told what it means and what to do.
func TestAlertsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(stack.Root(), "docs", "alerts.md"))
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for section := range strings.SplitSeq(string(doc), "\n### ") {
		name, text, _ := strings.Cut(section, "\n")
		sections[name] = text
	}
	alerts := map[string]bool{}
	for _, r := range append(rulesIn(t, metricAlerts), rulesIn(t, eventAlerts)...) {
		if r.Alert == "" {
			continue
		}
		if alerts[r.Alert] {
			t.Errorf("%s is there twice", r.Alert)
		}
		alerts[r.Alert] = true
		if severity := r.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s has the severity %q", r.Alert, severity)
		}
		for _, annotation := range []string{"summary", "description"} {
			if r.Annotations[annotation] == "" {
				t.Errorf("%s has no %s", r.Alert, annotation)
			}
		}
		if got, want := r.Annotations["runbook"], "docs/alerts.md#"+strings.ToLower(r.Alert); got != want {
			t.Errorf("%s has the runbook %q, not %q", r.Alert, got, want)
		}
		if len(strings.Fields(sections[r.Alert])) < 30 {
			t.Errorf("docs/alerts.md has next to nothing on %s", r.Alert)
		}
	}
	for name := range sections {
		if strings.HasPrefix(name, "MCP") && !alerts[name] {
			t.Errorf("docs/alerts.md has a section on %s, which is no alert", name)
		}
	}
}

// scenario is a case of alerts_test.yml.
type scenario struct {
	Name        string
	InputSeries []struct{ Series string } `yaml:"input_series"`
	Tests       []struct {
		Expr    string
		Samples []struct{ Labels string } `yaml:"exp_samples"`
	} `yaml:"promql_expr_test"`
}

// Each alert fires in a scenario; and in another, in which there is all that it looks
// at, it does not. No rule waits for what nobody emits.
func TestAlertsLookAtWhatThereIs(t *testing.T) {
	s := sharedStack(t)
	telemetryOf(t, "http/protobuf")
	fillTable(t, s.Env("http/protobuf"))
	loseTelemetry(t, s)
	makeUpSession(t, s.Env("http/protobuf"))

	var file struct{ Tests []scenario }
	readYAML(t, "alerts_test.yml", &file)
	members := map[string][]string{} // of an enum, by its label
	reg, err := telemetryRegistry()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range reg.Attributes {
		for _, m := range a.Members {
			members[escaped(a.Key)] = append(members[escaped(a.Key)], m.Value)
		}
	}
	var labels struct{ Data []string }
	getJSON(t, s.PrometheusURL+"/api/v1/labels", nil, &labels)

	uses := map[string][]string{} // metrics, by the recorded series that are made of them
	for _, r := range rulesIn(t, metricAlerts) {
		selectors := selectorsIn(t, s, r.Expr)
		var metrics []string
		for _, sel := range selectors {
			if made, recorded := uses[sel.Name]; recorded {
				metrics = append(metrics, made...)
			} else {
				metrics = append(metrics, sel.Name)
				eventually(t, func() error {
					series, err := s.PromQL(t.Context(), "count(last_over_time("+sel.Name+"[1h]))")
					if err == nil && len(series) == 0 {
						err = fmt.Errorf("%s%s waits for %s, which nobody emits", r.Alert, r.Record, sel.Name)
					}
					return err
				})
			}
			for _, m := range sel.Matchers {
				if !slices.Contains(labels.Data, m.Name) {
					t.Errorf("%s%s: no series has the label %s", r.Alert, r.Record, m.Name)
				}
				for value := range strings.SplitSeq(m.Value, "|") {
					if len(members[m.Name]) > 0 && value != "" && !slices.Contains(members[m.Name], value) {
						t.Errorf("%s%s: %s is never %s", r.Alert, r.Record, m.Name, value)
					}
				}
			}
		}
		if r.Record != "" {
			uses[r.Record] = metrics
			// Longer windows than there is data of are up to the scenarios.
			if !strings.Contains(r.Expr, ":5m]") {
				eventually(t, func() error {
					series, err := s.PromQL(t.Context(), "count("+r.Record+")")
					if err == nil && len(series) == 0 {
						err = fmt.Errorf("%s has recorded nothing", r.Record)
					}
					return err
				})
			}
			continue
		}
		if !fires(file.Tests, r.Alert) {
			t.Errorf("%s fires in no scenario", r.Alert)
		}
		if !silent(file.Tests, metrics) {
			t.Errorf("%s is silent in no scenario that has %q", r.Alert, metrics)
		}
	}
}

func fires(tests []scenario, alert string) bool {
	return slices.ContainsFunc(tests, func(s scenario) bool {
		for _, test := range s.Tests {
			for _, sample := range test.Samples {
				if strings.Contains(test.Expr, `ALERTS{alertstate="firing"}`) && strings.Contains(sample.Labels, `alertname="`+alert+`"`) {
					return true
				}
			}
		}
		return false
	})
}

func silent(tests []scenario, metrics []string) bool {
	return slices.ContainsFunc(tests, func(s scenario) bool {
		for _, test := range s.Tests {
			if test.Expr != "ALERTS" || len(test.Samples) > 0 {
				return false // a scenario in which something fires
			}
		}
		for _, metric := range metrics {
			if !slices.ContainsFunc(s.InputSeries, func(in struct{ Series string }) bool {
				return strings.HasPrefix(in.Series, metric+"{")
			}) {
				return false
			}
		}
		return len(s.Tests) > 0
	})
}

// selector is a metric that an expression selects, with conditions on its labels.
type selector struct {
	Name     string
	Matchers []struct{ Name, Type, Value string }
}

// selectorsIn has Prometheus take an expression apart.
func selectorsIn(t *testing.T, s *stack.Stack, expr string) []selector {
	t.Helper()
	var answer struct{ Data any }
	getJSON(t, s.PrometheusURL+"/api/v1/parse_query", url.Values{"query": {expr}}, &answer)
	var found []selector
	var walk func(any)
	walk = func(node any) {
		switch node := node.(type) {
		case []any:
			for _, child := range node {
				walk(child)
			}
		case map[string]any:
			if kind := node["type"]; kind == "vectorSelector" || kind == "matrixSelector" {
				raw, err := json.Marshal(node)
				var sel selector
				if err == nil {
					err = json.Unmarshal(raw, &sel)
				}
				if err != nil || sel.Name == "" {
					t.Fatalf("a selector without the name of a metric in %s: %v", expr, err)
				}
				sel.Matchers = slices.DeleteFunc(sel.Matchers, func(m struct{ Name, Type, Value string }) bool { return m.Name == "__name__" })
				found = append(found, sel)
			}
			for _, child := range node {
				walk(child)
			}
		}
	}
	walk(answer.Data)
	if len(found) == 0 {
		t.Fatalf("no selectors in %s", expr)
	}
	return found
}

func getJSON(t *testing.T, from string, query url.Values, into any) {
	t.Helper()
	if err := stack.GetJSON(t.Context(), from, query, into); err != nil {
		t.Fatal(err)
	}
}

// loseTelemetry makes telemetry get lost, of a program and of the collector: events
// for which nobody listens, and what each backend refuses for good.
func loseTelemetry(t *testing.T, s *stack.Stack) {
	t.Helper()
	nobody, err := stack.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	playGaps(t, "undelivered", append(s.Env("http/protobuf"),
		"OTEL_SERVICE_NAME=undelivered", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=http://"+nobody+"/v1/logs")...)

	const resource = `"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"museum"}}]}`
	long := strings.Repeat("x", 5<<20) // more than Jaeger takes
	now := time.Now().UnixNano()
	for path, body := range map[string]string{
		"/v1/logs": `{"resourceLogs":[{` + resource + `,"scopeLogs":[{"logRecords":[{"timeUnixNano":"1000000000",` +
			`"body":{"stringValue":"old"}}]}]}]}`,
		"/v1/metrics": `{"resourceMetrics":[{` + resource + `,"scopeMetrics":[{"metrics":[{"name":"old","gauge":{"dataPoints":[` +
			`{"timeUnixNano":"1000000000","asInt":"1"}]}}]}]}]}`,
		"/v1/traces": fmt.Sprintf(`{"resourceSpans":[{`+resource+`,"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c",`+
			`"spanId":"eee19b7ec3c1b174","name":"long","kind":1,"startTimeUnixNano":"%d","endTimeUnixNano":"%d",`+
			`"attributes":[{"key":"long","value":{"stringValue":%q}}]}]}]}]}`, now, now, long),
	} {
		res := post(t, s.OTLPHTTP+path, body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatalf("the collector does not take %s: %s", path, res.Status)
		}
	}
	// That server lived for a moment and exported its metrics once: the alert does not need a second sample.
	eventually(t, func() error {
		if state := alertState(t, s, "MCPEventsLost", "undelivered"); state != "firing" {
			return fmt.Errorf("MCPEventsLost is %s", state)
		}
		return nil
	})
}

// alertState asks Prometheus for the state of an alert: pending, firing or inactive.
func alertState(t *testing.T, s *stack.Stack, alert, job string) string {
	t.Helper()
	var answer struct {
		Data struct {
			Alerts []struct {
				Labels map[string]string
				State  string
			}
		}
	}
	getJSON(t, s.PrometheusURL+"/api/v1/alerts", nil, &answer)
	for _, a := range answer.Data.Alerts {
		if a.Labels["alertname"] == alert && a.Labels["job"] == job {
			return a.State
		}
	}
	return "inactive"
}

// Somebody guesses tokens of a real server, and somebody else knocks without any.
func TestAttackSetsOffAlerts(t *testing.T) {
	s := sharedStack(t)
	const job = "attacked/oauth-example"
	match, stop := serveExample(t, "oauth", oauthReady,
		append(s.Env("http/protobuf"), "OTEL_RESOURCE_ATTRIBUTES=service.namespace=attacked", "NO_COLOR=1")...)
	defer stop()
	become := func(alert string, states ...string) {
		t.Helper()
		eventually(t, func() error {
			if state := alertState(t, s, alert, job); !slices.Contains(states, state) {
				return fmt.Errorf("%s is %s", alert, state)
			}
			return nil
		})
	}
	// The example calls a hidden tool and takes over a session, each once. That these are seen says, too, that the
	// other alerts have been evaluated with all that the example has done so far.
	become("MCPHiddenTargetCalled", "firing")
	become("MCPSessionHijacking", "firing")
	for _, alert := range []string{"MCPAuthenticationFailures", "MCPChallengeStorm"} {
		if state := alertState(t, s, alert, job); state != "inactive" {
			t.Errorf("%s is %s before the attack", alert, state)
		}
	}

	const attempts = 60
	const search = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search_notes","arguments":{"word":"a"}}}`
	for range attempts {
		for _, token := range []string{"Bearer guessed", ""} {
			res := post(t, match[1], search, "Authorization", token)
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if res.StatusCode != http.StatusUnauthorized {
				t.Fatalf("an attack was answered with %s", res.Status)
			}
		}
	}
	become("MCPAuthenticationFailures", "firing")
	become("MCPChallengeStorm", "pending", "firing") // it takes two minutes
}

// What only events can tell: servers that are instrumented badly, and one whose tool
// turns on its users, set the alerts in Loki off. Healthy servers do not.
func TestEventsSetOffAlerts(t *testing.T) {
	s := sharedStack(t)
	telemetryOf(t, "http/protobuf")
	for _, mode := range []string{"edgeless", "lossy"} {
		playGaps(t, mode, append(s.Env("http/protobuf"), "OTEL_SERVICE_NAME="+mode)...)
	}

	want := map[string][]string{
		"MCPCoverageGap": {"edgeless", "lossy"}, "MCPRecordsMismatch": {"lossy"}, "MCPDefinitionChanged": {"edgeless", "lossy"},
	}
	var ruler struct {
		Data struct {
			Alerts []struct {
				Labels map[string]string
				State  string
			}
		}
	}
	for _, r := range rulesIn(t, eventAlerts) {
		eventually(t, func() error {
			samples, err := s.LogQLMetric(t.Context(), r.Expr)
			if err != nil {
				return err
			}
			for _, service := range append([]string{"edgeless", "lossy"}, servers...) {
				is := slices.ContainsFunc(samples, func(sample stack.Sample) bool { return sample.Labels["service_name"] == service })
				if is != slices.Contains(want[r.Alert], service) {
					return fmt.Errorf("%s of %s: %t", r.Alert, service, is)
				}
			}
			return nil
		})
		eventually(t, func() error {
			getJSON(t, s.LokiURL+"/prometheus/api/v1/alerts", nil, &ruler)
			for _, a := range ruler.Data.Alerts {
				if a.Labels["alertname"] == r.Alert && (a.State == "pending" || a.State == "firing") {
					return nil
				}
			}
			return fmt.Errorf("the ruler says nothing of %s: %v", r.Alert, ruler.Data.Alerts)
		})
	}
}

// gaps is the program in testdata, built.
var gaps = sync.OnceValues(func() (path string, err error) {
	path = filepath.Join(work, "gaps")
	build := exec.Command("go", "build", "-o", path,
		filepath.Join(stack.Root(), "e2e", "testdata", "gaps", "main.go"))
	build.Dir = filepath.Join(stack.Root(), "examples", "quickstart") // whose module has all that it imports
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build gaps: %w\n%s", err, out)
	}
	return path, nil
})

// playGaps uses that server over stdio as a client would, line by line, to its end.
func playGaps(t *testing.T, mode string, env ...string) {
	t.Helper()
	program, err := gaps()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, mode)
	cmd.Env = append(os.Environ(), env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	answers := json.NewDecoder(out)
	for id, method := range []string{
		`"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"e2e","version":"1"}}`,
		`"tools/list"`, `"tools/call","params":{"name":"trusted"}`, `"tools/list"`,
	} {
		if _, err := fmt.Fprintf(in, `{"jsonrpc":"2.0","id":%d,"method":%s}`+"\n", id+1, method); err != nil {
			t.Fatal(err)
		}
		for { // notifications come between answers
			var answer struct {
				ID    int
				Error any
			}
			if err := answers.Decode(&answer); err != nil || answer.Error != nil {
				t.Fatalf("%s: %v, %v\n%s", method, err, answer.Error, stderr.String())
			}
			if answer.ID == id+1 {
				break
			}
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
}
