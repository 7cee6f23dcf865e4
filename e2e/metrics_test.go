// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

// Every metric of the registry is in Prometheus as the registry declares it, with
// real traffic in it, over both protocols of OTLP; and it leads to traces.

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/otelmcp/otelmcp-go/e2e/stack"
	"github.com/otelmcp/otelmcp-go/internal/telemetrytest/registry"
)

// telemetryOf runs the examples against the shared stack, once for each protocol,
// and returns the service.namespace that tells what they sent from all else.
func telemetryOf(t *testing.T, protocol string) (namespace string) {
	t.Helper()
	namespace = "examples-" + strings.ReplaceAll(protocol, "/", "-")
	s := sharedStack(t)
	once, _ := played.LoadOrStore(protocol, new(sync.Once))
	once.(*sync.Once).Do(func() {
		env := append(s.Env(protocol), "OTEL_RESOURCE_ATTRIBUTES=service.namespace="+namespace)
		for _, name := range []string{"quickstart", "oauth", "agent"} {
			runExample(t, name, env...)
		}
	})
	return namespace
}

var played sync.Map

// telemetryRegistry is what the repository promises to emit.
var telemetryRegistry = sync.OnceValues(func() (*registry.Registry, error) {
	return registry.Load(os.DirFS(filepath.Join(stack.Root(), "semconv")))
})

func metricsOfRegistry(t *testing.T) []*registry.Metric {
	t.Helper()
	reg, err := telemetryRegistry()
	if err != nil {
		t.Fatal(err)
	}
	if len(reg.Metrics) == 0 {
		t.Fatal("the registry has no metrics")
	}
	return reg.Metrics
}

// escaped is a name of OpenTelemetry's as Prometheus and Loki have it.
func escaped(name string) string { return strings.ReplaceAll(name, ".", "_") }

// The units that Prometheus spells out. One in braces is an annotation, and is dropped.
var units = map[string]string{"s": "seconds", "By": "bytes"}

// family is the name of a metric in Prometheus, to which a histogram adds _bucket,
// _sum and _count.
func family(m *registry.Metric) string {
	name := escaped(m.Name)
	if unit := units[m.Unit]; unit != "" {
		name += "_" + unit
	}
	if m.Instrument == "counter" {
		name += "_total"
	}
	return name
}

func seriesNames(m *registry.Metric) []string {
	name := family(m)
	if m.Instrument == "histogram" {
		return []string{name + "_bucket", name + "_count", name + "_sum"}
	}
	return []string{name}
}

// fromResource are the labels that Prometheus has from the resource and the scope.
var fromResource = []string{
	"__name__", "job", "instance", "service_name", "service_version", "service_instance_id",
	"otel_scope_name", "otel_scope_version", "otel_scope_schema_url",
}

func TestMetricsInPrometheus(t *testing.T) {
	s := sharedStack(t)
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			namespace := telemetryOf(t, protocol)
			// By itself, since its thousand messages are no part of the examples' telemetry.
			flood := append(s.Env(protocol), "OTEL_RESOURCE_ATTRIBUTES=service.namespace="+namespace+"-flood")
			fillTable(t, flood)
			fillDirectory(t, flood)
			for _, m := range metricsOfRegistry(t) {
				t.Run(m.Name, func(t *testing.T) {
					for _, name := range seriesNames(m) {
						var series []stack.Sample
						eventually(t, func() (err error) {
							series, err = s.PromQL(t.Context(), fmt.Sprintf(
								`last_over_time(%s{job=~"%s(-flood)?/.+"}[1h])`, name, namespace))
							if err == nil && len(series) == 0 {
								err = fmt.Errorf("no %s", name)
							}
							return err
						})
						for _, one := range series {
							checkLabels(t, m, one.Labels)
						}
						if strings.HasSuffix(name, "_bucket") {
							checkBoundaries(t, m, series)
						}
					}
				})
			}
		})
	}
}

// What was sent over each protocol was sent over that one: programs and the collector
// say so of all three signals.
func TestBothProtocols(t *testing.T) {
	s := sharedStack(t)
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			namespace := telemetryOf(t, protocol)
			short, _, _ := strings.Cut(protocol, "/")
			for _, expr := range []string{
				fmt.Sprintf(`otelcol_receiver_accepted_spans_total{transport=%q} > 0`, short),
				fmt.Sprintf(`otelcol_receiver_accepted_log_records_total{transport=%q} > 0`, short),
				fmt.Sprintf(`otelcol_receiver_accepted_metric_points_total{transport=%q} > 0`, short),
			} {
				eventually(t, func() error {
					series, err := s.PromQL(t.Context(), expr)
					if err == nil && len(series) == 0 {
						err = fmt.Errorf("no %s", expr)
					}
					return err
				})
			}
			for _, signal := range []string{"span", "log"} {
				want := "otlp_" + short + "_" + signal + "_exporter"
				eventually(t, func() error {
					series, err := s.PromQL(t.Context(), fmt.Sprintf(
						`last_over_time(otel_sdk_exporter_%s_exported_total{job=~"%s/.+"}[1h])`, signal, namespace))
					if err == nil && len(series) < len(servers) {
						err = fmt.Errorf("%d programs have exported a %s", len(series), signal)
					}
					for _, one := range series {
						if got := one.Labels["otel_component_type"]; got != want {
							err = fmt.Errorf("%s exports with %s", one.Labels["service_name"], got)
						}
					}
					return err
				})
			}
		})
	}
}

// checkLabels checks that a series has the attributes that the registry declares,
// all that are required, and none of the others.
func checkLabels(t *testing.T, m *registry.Metric, labels map[string]string) {
	t.Helper()
	allowed := slices.Clone(fromResource)
	if m.Instrument == "histogram" {
		allowed = append(allowed, "le")
	}
	for _, a := range m.Attributes {
		allowed = append(allowed, escaped(a.Key))
		if labels[escaped(a.Key)] == "" && a.Level == registry.Required {
			t.Errorf("%s lacks %s, which is required", labels["__name__"], a.Key)
		}
	}
	for label := range labels {
		if !slices.Contains(allowed, label) {
			t.Errorf("%s has the label %s, which the registry does not declare", labels["__name__"], label)
		}
	}
	for _, label := range []string{"job", "instance", "service_name"} {
		if labels[label] == "" {
			t.Errorf("%s does not say which program it is of: no %s", labels["__name__"], label)
		}
	}
}

// checkBoundaries checks that each series of a histogram has exactly the buckets
// that the registry says.
func checkBoundaries(t *testing.T, m *registry.Metric, buckets []stack.Sample) {
	t.Helper()
	want := []string{"+Inf"}
	for _, boundary := range m.Boundaries {
		want = append(want, strconv.FormatFloat(boundary, 'f', -1, 64)) // 1, where scraping makes it 1.0
	}
	slices.Sort(want)
	got := map[string][]string{}
	for _, bucket := range buckets {
		labels := maps.Clone(bucket.Labels)
		delete(labels, "le")
		key := fmt.Sprint(labels)
		got[key] = append(got[key], bucket.Labels["le"])
	}
	for labels, les := range got {
		slices.Sort(les)
		if !slices.Equal(les, want) {
			t.Errorf("%s has the buckets %q, not %q", labels, les, want)
		}
	}
}

// fillTable has a server refuse something: who sends cancellations of requests
// that never were soon fills the table in which they are remembered.
func fillTable(t *testing.T, env []string) {
	t.Helper()
	const enough = 1100 // the table has room for 1,024
	endpoint, stop := serveQuickstart(t, env...)
	defer stop()
	client := &rawClient{t: t, url: endpoint}
	client.open()
	for id := range enough {
		client.post(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}`, 1000+id))
	}
}

// makeUpSession sends a server a message of a session that never was.
func makeUpSession(t *testing.T, env []string) {
	t.Helper()
	endpoint, stop := serveQuickstart(t, env...)
	defer stop()
	res := post(t, endpoint, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, "Mcp-Session-Id", "made-up")
	_ = res.Body.Close()
	if res.StatusCode != http.StatusNotFound {
		t.Fatalf("a session that never was is answered with %d", res.StatusCode)
	}
}

// fillDirectory has a server write its spans to a directory that is full of files of
// others.
func fillDirectory(t *testing.T, env []string) {
	t.Helper()
	dir := t.TempDir()
	for i := range 4 {
		name := filepath.Join(dir, fmt.Sprintf("logs-20200101T000000.000000000Z-1-%d.jsonl", i))
		if err := os.WriteFile(name, []byte(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}`+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	endpoint, stop := serveQuickstart(t, slices.Concat(env, []string{
		"OTEL_TRACES_EXPORTER=otlp_file", "OTELMCP_FILE_DIRECTORY=" + dir, "OTELMCP_FILE_MAX_SIZE=65536", "OTELMCP_FILE_MAX_TOTAL_SIZE=262144",
	})...)
	defer stop()
	client := &rawClient{t: t, url: endpoint}
	client.open()
}

func serveQuickstart(t *testing.T, env ...string) (endpoint string, stop func()) {
	t.Helper()
	match, stop := serveExample(t, "quickstart", quickstartReady, append(env, "NO_COLOR=1")...)
	return match[1], stop
}

// post sends a message to an MCP server as clients do, with headers in addition,
// name and value in turn.
func post(t *testing.T, endpoint, message string, headers ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	for k := 0; k+1 < len(headers); k += 2 {
		req.Header.Set(headers[k], headers[k+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// Prometheus forgets the help text of what it gets over OTLP, and the type, unless
// it is told to keep that as a label. So these are looked at in a Prometheus of
// its own, which gets the metrics of the examples over OTLP and scrapes a server, too.
func TestMetricMetadata(t *testing.T) {
	s, err := stack.New(stack.Config{Dir: filepath.Join(work, "metadata")})
	if err != nil {
		t.Fatal(err)
	}
	scraped, err := stack.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(work, "metadata.yml")
	shipped, err := os.ReadFile(stack.ConfigFile("prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	shipped = regexp.MustCompile(`(?m)^rule_files:.*$`).ReplaceAll(shipped, []byte("scrape_configs:\n"+
		"  - {job_name: scraped, scrape_interval: 1s, static_configs: [{targets: ['"+scraped+"']}]}"))
	if err := os.WriteFile(config, shipped, 0o600); err != nil {
		t.Fatal(err)
	}
	prometheus := s.Prometheus
	prometheus.Args = append(prometheus.Args, "--config.file="+config, "--enable-feature=type-and-unit-labels")
	prometheus.Args = slices.DeleteFunc(prometheus.Args, func(arg string) bool {
		return arg == "--config.file="+stack.ConfigFile("prometheus.yml")
	})
	if err := prometheus.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := prometheus.Stop(); err != nil {
			t.Error(err)
		}
	})

	const metricsOnly = "OTEL_TRACES_EXPORTER=none"
	direct := []string{
		metricsOnly, "OTEL_LOGS_EXPORTER=none", "OTEL_METRIC_EXPORT_INTERVAL=1000",
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + s.PrometheusURL + "/api/v1/otlp", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
	}
	for _, name := range []string{"agent", "oauth"} {
		runExample(t, name, direct...)
	}
	fillTable(t, direct)
	fillDirectory(t, direct)
	types := map[string]string{"updowncounter": "gauge", "counter": "counter", "histogram": "histogram"}
	for _, m := range metricsOfRegistry(t) {
		eventually(t, func() error {
			name := seriesNames(m)[0]
			series, err := s.PromQL(t.Context(), "last_over_time("+name+"[1h])")
			if err == nil && len(series) == 0 {
				err = fmt.Errorf("no %s", name)
			}
			if err != nil {
				return err
			}
			for _, one := range series {
				if one.Labels["job"] == "scraped" {
					continue
				}
				if got, want := one.Labels["__type__"], types[m.Instrument]; got != want {
					return fmt.Errorf("%s is a %q, not a %q", name, got, want)
				}
				if got, want := one.Labels["__unit__"], units[m.Unit]; got != want {
					return fmt.Errorf("%s is in %q, not in %q", name, got, want)
				}
			}
			return nil
		})
	}

	host, port, err := net.SplitHostPort(scraped)
	if err != nil {
		t.Fatal(err)
	}
	_, stop := serveExample(t, "oauth", oauthReady, metricsOnly, "OTEL_LOGS_EXPORTER=none", "NO_COLOR=1",
		"OTEL_METRICS_EXPORTER=prometheus", "OTEL_EXPORTER_PROMETHEUS_HOST="+host, "OTEL_EXPORTER_PROMETHEUS_PORT="+port)
	defer stop()
	eventually(t, func() error {
		known, err := s.Metadata(t.Context())
		if err != nil {
			return err
		}
		for _, m := range metricsOfRegistry(t) {
			got, ok := known[family(m)]
			// The server refuses nothing, it writes no files, and its sessions do not end.
			if !ok && m.Name != "otelmcp.telemetry.refused" && m.Name != "otelmcp.exporter.file.removed" && !strings.HasSuffix(m.Name, ".session.duration") {
				return fmt.Errorf("%s is not there", family(m))
			}
			help := strings.Join(strings.Fields(m.Brief), " ")
			if ok && (got.Help != help || got.Type != types[m.Instrument]) {
				return fmt.Errorf("%s: %+v", family(m), got)
			}
		}
		return nil
	})
}

// Who sees a slow bucket gets from there to a trace, and to the span in it.
func TestExemplarsLeadToTraces(t *testing.T) {
	s := sharedStack(t)
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			namespace := telemetryOf(t, protocol)
			var exemplars []stack.Exemplar
			eventually(t, func() (err error) {
				exemplars, err = s.Exemplars(t.Context(),
					fmt.Sprintf(`mcp_server_operation_duration_seconds_bucket{job=~"%s/.+"}`, namespace))
				if err == nil && len(exemplars) == 0 {
					err = fmt.Errorf("no exemplars")
				}
				return err
			})
			services := map[string]bool{}
			for _, e := range exemplars {
				service := e.Metric["service_name"]
				services[service] = true
				eventually(t, func() error {
					spans, err := s.Trace(t.Context(), e.TraceID)
					if err != nil {
						return err
					}
					at := slices.IndexFunc(spans, func(span stack.Span) bool { return span.SpanID == e.SpanID })
					if at < 0 {
						return fmt.Errorf("no span among %d for the exemplar %+v", len(spans), e)
					}
					span := spans[at]
					if span.Service != service || span.Tags["mcp.method.name"] != e.Metric["mcp_method_name"] {
						return fmt.Errorf("the span %s of %s for the exemplar %+v", span.Name, span.Service, e)
					}
					// Both are measured, one after the other, on a machine that may be busy.
					if off := span.Duration.Seconds() - e.Value; off < -1 || off > 1 {
						return fmt.Errorf("a span of %v for the exemplar %+v", span.Duration, e)
					}
					return nil
				})
			}
			for _, service := range servers {
				if !services[service] {
					t.Errorf("no exemplars of %s", service)
				}
			}
		})
	}
}

// servers are the services of the examples that are MCP servers.
var servers = []string{"weather-http", "weather-stdio", "oauth-example", "travel", "calendar", "weather"}

// So do the other histograms, but for those of sessions, which belong to no trace.
func TestEveryHistogramLeadsToTraces(t *testing.T) {
	s := sharedStack(t)
	namespace := telemetryOf(t, "http/protobuf")
	for _, metric := range []string{
		"mcp_client_operation_duration_seconds", "otelmcp_auth_duration_seconds",
		"otelmcp_server_request_size_bytes", "otelmcp_server_response_size_bytes",
	} {
		t.Run(metric, func(t *testing.T) {
			eventually(t, func() error {
				exemplars, err := s.Exemplars(t.Context(), fmt.Sprintf(`%s_bucket{job=~"%s/.+"}`, metric, namespace))
				if err != nil || len(exemplars) == 0 {
					return errors.Join(errors.New("no exemplars"), err)
				}
				for _, e := range exemplars {
					spans, err := s.Trace(t.Context(), e.TraceID)
					if err != nil {
						return err
					}
					if !slices.ContainsFunc(spans, func(span stack.Span) bool { return span.SpanID == e.SpanID }) {
						return fmt.Errorf("no span among %d for the exemplar %+v", len(spans), e)
					}
				}
				return nil
			})
		})
	}
}
