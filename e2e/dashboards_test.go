// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

// The Grafana dashboards of examples/stack without Grafana, which cannot be had as a
// Go module: what they ask for is asked of the real Prometheus and the real Loki, and
// every panel has to show something. What panels about trouble show is real trouble.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/otelmcp/otelmcp-go/e2e/stack"
)

// dashboard is what Grafana reads of one, as far as it matters here.
type dashboard struct {
	UID, Title    string
	Tags          []string
	SchemaVersion int
	Links         []struct {
		Type string
		Tags []string
	}
	Templating struct{ List []variable }
	Panels     []panel
}

type variable struct {
	Name, Definition, AllValue string
	Datasource                 reference
}

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ H, W, X, Y int }
	Datasource               reference
	FieldConfig              struct {
		Defaults struct {
			Unit  string
			Links []panelLink
		}
		Overrides []struct {
			Matcher struct{ ID, Options string }
		}
	}
	Targets []target
}

type target struct {
	Expr, LegendFormat, QueryType string
	Instant, Exemplar             bool
	Datasource                    reference
}

type reference struct{ Type, UID string }

type panelLink struct{ Title, URL string }

// dashboards reads all of them, by uid.
func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	files, err := filepath.Glob(stack.ConfigFile("grafana/dashboards/*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal("no dashboards", err)
	}
	all := map[string]dashboard{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(raw, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if _, again := all[d.UID]; again {
			t.Errorf("%s: the uid %q is taken", file, d.UID)
		}
		all[d.UID] = d
	}
	return all
}

// dataSource is one that is provisioned.
type dataSource struct {
	UID, Type, URL string
	JSONData       struct {
		TimeInterval                string `yaml:"timeInterval"`
		ExemplarTraceIDDestinations []struct {
			Name          string
			DatasourceUID string `yaml:"datasourceUid"`
		} `yaml:"exemplarTraceIdDestinations"`
		DerivedFields []struct {
			MatcherType   string `yaml:"matcherType"`
			MatcherRegex  string `yaml:"matcherRegex"`
			URL           string
			DatasourceUID string `yaml:"datasourceUid"`
		} `yaml:"derivedFields"`
		TracesToLogsV2 struct {
			DatasourceUID string `yaml:"datasourceUid"`
			Query         string
		} `yaml:"tracesToLogsV2"`
	} `yaml:"jsonData"`
}

// dataSources reads those that are provisioned, by uid. A doubled dollar sign is one,
// as it is for Grafana.
func dataSources(t *testing.T) map[string]dataSource {
	t.Helper()
	var file struct{ Datasources []dataSource }
	readYAML(t, "grafana/provisioning/datasources/otelmcp.yaml", &file)
	all := map[string]dataSource{}
	for at := range file.Datasources {
		d := &file.Datasources[at]
		for k := range d.JSONData.DerivedFields {
			d.JSONData.DerivedFields[k].URL = strings.ReplaceAll(d.JSONData.DerivedFields[k].URL, "$$", "$")
		}
		d.JSONData.TracesToLogsV2.Query = strings.ReplaceAll(d.JSONData.TracesToLogsV2.Query, "$$", "$")
		all[d.UID] = *d
	}
	return all
}

func TestDashboardsAreWhole(t *testing.T) {
	all, sources := dashboards(t), dataSources(t)
	known := func(r reference) bool {
		s, ok := sources[r.UID]
		return ok && s.Type == r.Type
	}
	for _, d := range all {
		if d.Title == "" || d.SchemaVersion < 40 {
			t.Errorf("%s: title %q, schema %d", d.UID, d.Title, d.SchemaVersion)
		}
		for _, l := range d.Links {
			if l.Type != "dashboards" || !slices.ContainsFunc(l.Tags, func(tag string) bool {
				return 1 < len(slices.DeleteFunc(slices.Collect(maps.Values(all)), func(other dashboard) bool {
					return !slices.Contains(other.Tags, tag)
				}))
			}) {
				t.Errorf("%s: the link to %q leads nowhere else", d.UID, l.Tags)
			}
		}
		if len(d.Links) == 0 {
			t.Errorf("%s: no link to the other dashboards", d.UID)
		}
		for _, v := range d.Templating.List {
			if !known(v.Datasource) {
				t.Errorf("%s: variable %s: no data source %+v", d.UID, v.Name, v.Datasource)
			}
		}
		ids := map[int]string{}
		taken := map[[2]int]string{}
		for _, p := range d.Panels {
			name := d.UID + ", panel " + strconv.Quote(p.Title)
			if other, again := ids[p.ID]; again {
				t.Errorf("%s has the id of %q", name, other)
			}
			ids[p.ID] = p.Title
			for x := range p.GridPos.W {
				for y := range p.GridPos.H {
					at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
					if other, again := taken[at]; again || at[0] >= 24 {
						t.Fatalf("%s is over %q, or beyond the edge", name, other)
					}
					taken[at] = p.Title
				}
			}
			if p.Type == "row" {
				continue
			}
			if p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
				t.Errorf("%s lacks a description, a unit or a query", name)
			}
			if !known(p.Datasource) && p.Datasource.UID != "-- Mixed --" {
				t.Errorf("%s: no data source %+v", name, p.Datasource)
			}
			for _, q := range p.Targets {
				if !known(q.Datasource) {
					t.Errorf("%s: no data source %+v", name, q.Datasource)
				}
			}
			for _, l := range p.FieldConfig.Defaults.Links {
				if to, isDashboard := strings.CutPrefix(l.URL, "/d/"); isDashboard {
					to, _, _ = strings.Cut(to, "?")
					if _, ok := all[to]; !ok {
						t.Errorf("%s: the link %q leads to no dashboard: %s", name, l.Title, l.URL)
					}
				} else if q, err := explored(l.URL); err != nil || !known(q.Datasource) {
					t.Errorf("%s: the link %q leads nowhere: %s: %v", name, l.Title, l.URL, err)
				}
			}
		}
	}
	if len(all) != 3 {
		t.Errorf("%d dashboards", len(all))
	}
}

// explored is the query that a link to Explore runs.
func explored(to string) (target, error) {
	u, err := url.Parse(to)
	if err != nil {
		return target{}, err
	}
	var panes map[string]struct {
		Datasource string
		Queries    []target
	}
	if err := json.Unmarshal([]byte(u.Query().Get("panes")), &panes); err != nil {
		return target{}, err
	}
	for _, p := range panes {
		if u.Path == "/explore" && len(p.Queries) == 1 && p.Datasource == p.Queries[0].Datasource.UID {
			return p.Queries[0], nil
		}
	}
	return target{}, errors.New("not one query of one data source")
}

// TestDashboardsShow lets every panel show what it is for.
func TestDashboardsShow(t *testing.T) {
	// One of its own: others need not see this trouble, and what they do is not to be seen here.
	s, err := stack.Start(t.Context(), stack.Config{Dir: filepath.Join(work, "dashboards")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	begin := time.Now()
	all, sources := dashboards(t), dataSources(t)
	for name := range wants {
		uid, title, _ := strings.Cut(name, "/")
		if !slices.ContainsFunc(all[uid].Panels, func(p panel) bool { return p.Title == title && p.Type != "stat" }) {
			t.Errorf("there is no panel %q", name)
		}
	}
	makeTraffic(t, s)
	every, err := time.ParseDuration(sources["prometheus"].JSONData.TimeInterval)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		t.Run(d.UID, func(t *testing.T) {
			g := &grafana{Stack: s, uid: d.UID, begin: begin, every: every, values: map[string]string{}, all: map[string]string{}}
			for _, v := range d.Templating.List {
				eventually(t, func() error { return g.choose(t.Context(), v) })
			}
			waiting := slices.DeleteFunc(slices.Clone(d.Panels), func(p panel) bool { return p.Type == "row" })
			eventually(t, func() error {
				var errs []error
				waiting = slices.DeleteFunc(waiting, func(p panel) bool {
					err := g.show(t.Context(), p)
					errs = append(errs, err)
					return err == nil
				})
				return errors.Join(errs...)
			})
		})
	}
	t.Run("links", func(t *testing.T) { leads(t, s, sources) })
	t.Run("reconciliation", func(t *testing.T) { reconciles(t, s, all["mcp-telemetry-health"], begin, every) })
}

// wants says of panels what the traffic of makeTraffic has to make them show: values
// of a label, some or (with only) all of them.
var wants = map[string]struct {
	label  string
	only   bool
	values string
}{
	"mcp-overview/Messages by outcome": {"otelmcp_outcome", false, "" +
		"ok tool_error panic denied rejected input_required"},
	"mcp-overview/Errors by class":              {"error_type", false, "panic tool_error"},
	"mcp-overview/Calls by tool":                {"gen_ai_tool_name", false, "climate search_notes book_day _OTHER"},
	"mcp-overview/Messages by transport":        {"otelmcp_transport", true, "stdio streamable_http"},
	"mcp-overview/Requests by protocol version": {"mcp_protocol_version", false, "2025-11-25 2026-07-28"},
	"mcp-security/Refusals by reason": {"otelmcp_auth_reason", false, "" +
		"missing_credentials expired audience_mismatch insufficient_scope " +
		"revoked hidden session_principal_mismatch bad_signature"},
	"mcp-security/Who was refused":                        {"user_id", true, "alice bob"},
	"mcp-security/From where":                             {"client_address", true, "127.0.0.1"},
	"mcp-security/Hidden tools called":                    {"gen_ai_tool_name", true, "purge_all"},
	"mcp-security/Rejected messages by stage":             {"otelmcp_stage", true, "transport dispatch"},
	"mcp-security/Undeclared arguments":                   {"service_name", true, "weather-http"},
	"mcp-security/Whose session ids are odd":              {"otelmcp_session_integrity", false, "unknown principal_mismatch"},
	"mcp-security/What changed":                           {"otelmcp_definition_name", true, "trusted"},
	"mcp-security/What is not seen":                       {"service_name", true, "changing"},
	"mcp-telemetry-health/Refused by the instrumentation": {"otelmcp_refused_reason", true, "pending_table"},
	"mcp-telemetry-health/Failed exports":                 {"service_name", true, troubled},
	"mcp-telemetry-health/Dropped":                        {"service_name", true, troubled},
	"mcp-telemetry-health/Lost":                           {"exporter", false, "otlp_http/loki"},
}

// showsWanted compares what a panel shows with what it has to show.
func showsWanted(name string, shown []shownSeries) error {
	want, ok := wants[name]
	if !ok {
		return nil
	}
	values := map[string]bool{}
	for _, s := range shown {
		if s.most > 0 {
			values[s.labels[want.label]] = true
		}
	}
	all := strings.Fields(want.values)
	for _, v := range all {
		if !values[v] {
			return fmt.Errorf("no %s=%q, only %v", want.label, v, slices.Sorted(maps.Keys(values)))
		}
	}
	if want.only && len(values) != len(all) {
		return fmt.Errorf("%s is %v, instead of only %q", want.label, slices.Sorted(maps.Keys(values)), all)
	}
	return nil
}

// grafana asks for what Grafana would.
type grafana struct {
	*stack.Stack
	uid    string // of the dashboard
	begin  time.Time
	every  time.Duration     // how often metrics come, as the data source says
	values map[string]string // of the variables, all of them chosen one by one
	all    map[string]string // what the variables are with "All" chosen
}

var labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)

// choose runs the query of a variable, and chooses everything that it finds, one by
// one.
func (g *grafana) choose(ctx context.Context, v variable) error {
	m := labelValues.FindStringSubmatch(v.Definition)
	if m == nil {
		return fmt.Errorf("variable %s: cannot run %q", v.Name, v.Definition)
	}
	var answer struct{ Data []string }
	err := stack.GetJSON(ctx, g.PrometheusURL+"/api/v1/label/"+m[2]+"/values", url.Values{"match[]": {g.fill(m[1], nil)}}, &answer)
	if err != nil {
		return err
	}
	if len(answer.Data) < 2 {
		return fmt.Errorf("variable %s: %s has the values %q, nothing to choose from", v.Name, v.Definition, answer.Data)
	}
	for k, value := range answer.Data {
		answer.Data[k] = strings.ReplaceAll(regexp.QuoteMeta(value), `\`, `\\`)
	}
	pattern := "(" + strings.Join(answer.Data, "|") + ")"
	if ok, err := regexp.MatchString("^(?:"+v.AllValue+")$", ""); err == nil && ok {
		// Some of the series do not have the label at all, and are there when all is chosen.
		pattern = "(" + strings.Join(answer.Data, "|") + "|)"
	}
	g.values[v.Name], g.all[v.Name] = pattern, v.AllValue
	return nil
}

var (
	templates = regexp.MustCompile(`\$\{[^}]+\}|\$\w+`)
	leftOver  = regexp.MustCompile(`\$\{|\$[a-zA-Z_]`)
)

// fill replaces variables and templates; labels are those of the value that a link
// belongs to.
func (g *grafana) fill(expr string, labels map[string]string) string {
	builtin := map[string]string{
		"__range":         strconv.Itoa(int(time.Since(g.begin).Seconds())+60) + "s",
		"__rate_interval": strconv.Itoa(int(4*g.every.Seconds())) + "s",
		"__auto":          "10s",
		"__from":          strconv.FormatInt(g.begin.UnixMilli(), 10),
		"__to":            strconv.FormatInt(time.Now().UnixMilli(), 10),
	}
	return templates.ReplaceAllStringFunc(expr, func(template string) string {
		name := strings.Trim(template, "${}")
		name, _, _ = strings.Cut(name, ":")
		if value, ok := builtin[name]; ok {
			return value
		}
		if label, ok := strings.CutPrefix(name, "__field.labels."); ok && labels[label] != "" {
			return labels[label]
		}
		if value, ok := g.values[name]; ok {
			return value
		}
		return template
	})
}

// show runs what a panel asks for. Each of its queries has to answer with something,
// and the panel has to show more than zeros.
func (g *grafana) show(ctx context.Context, p panel) error {
	nonzero := false
	var first, shown []shownSeries
	for _, q := range p.Targets {
		expr := g.fill(q.Expr, nil)
		got, err := g.run(ctx, p, q)
		if err != nil {
			return fmt.Errorf("panel %q: %w\n%s", p.Title, err, expr)
		}
		if len(got) == 0 {
			return fmt.Errorf("panel %q is empty:\n%s", p.Title, expr)
		}
		if first == nil {
			first = got
		}
		shown = append(shown, got...)
		for _, one := range got {
			nonzero = nonzero || one.most > 0
			if err := legible(one.labels, q, p); err != nil {
				return fmt.Errorf("panel %q: %w\n%s", p.Title, err, expr)
			}
		}
		if q.Datasource.UID == "prometheus" {
			if err := g.selects(ctx, expr); err != nil {
				return fmt.Errorf("panel %q: %w\n%s", p.Title, err, expr)
			}
		}
		if q.Exemplar {
			found, err := g.Exemplars(ctx, expr)
			if err == nil && len(found) == 0 {
				err = errors.New("no exemplars")
			}
			if err != nil {
				return fmt.Errorf("panel %q: %w\n%s", p.Title, err, expr)
			}
		}
	}
	if !nonzero {
		return fmt.Errorf("panel %q shows nothing but zeros:\n%s", p.Title, p.Targets[0].Expr)
	}
	if err := showsWanted(g.uid+"/"+p.Title, shown); p.Type != "stat" && err != nil {
		return fmt.Errorf("panel %q: %w\n%s", p.Title, err, p.Targets[0].Expr)
	}
	for _, l := range p.FieldConfig.Defaults.Links {
		all := *g
		all.values = g.all
		if err := errors.Join(g.follow(ctx, l, first), all.follow(ctx, l, first)); err != nil {
			return fmt.Errorf("panel %q, link %q: %w", p.Title, l.Title, err)
		}
	}
	return nil
}

// follow runs the query of a link to Explore, for the values that a panel shows. One
// of them has to lead somewhere: a metric says _OTHER where an event has the word.
func (g *grafana) follow(ctx context.Context, l panelLink, values []shownSeries) error {
	if strings.HasPrefix(l.URL, "/d/") {
		return nil
	}
	var tried string
	for _, v := range values {
		q, err := explored(g.fill(l.URL, v.labels))
		if err != nil {
			return err
		}
		if tried = q.Expr; leftOver.MatchString(tried) {
			continue
		}
		entries, err := g.LogQL(ctx, tried)
		if err != nil {
			return err
		}
		if len(entries) > 0 {
			return nil
		}
	}
	return fmt.Errorf("finds nothing: %s", tried)
}

var legendLabel = regexp.MustCompile(`\{\{(\w+)\}\}`)

// legible says that the labels which a panel shows are there.
func legible(labels map[string]string, q target, p panel) error {
	for _, m := range legendLabel.FindAllStringSubmatch(q.LegendFormat, -1) {
		// Where a protocol version is not known, it is not.
		if _, ok := labels[m[1]]; !ok && m[1] != "mcp_protocol_version" && m[1] != "gen_ai_tool_name" {
			return fmt.Errorf("a series has no %s for its legend: %v", m[1], labels)
		}
	}
	if p.Type == "table" && len(p.Targets) == 1 {
		for _, o := range p.FieldConfig.Overrides {
			if _, ok := labels[o.Matcher.Options]; !ok && o.Matcher.ID == "byName" && q.Datasource.UID == "prometheus" {
				return fmt.Errorf("no column %q among %v", o.Matcher.Options, labels)
			}
		}
	}
	return nil
}

// shownSeries is one that a panel shows, with its largest value. A log record is one, too.
type shownSeries struct {
	labels map[string]string
	most   float64
}

func (g *grafana) run(ctx context.Context, p panel, q target) ([]shownSeries, error) {
	expr := g.fill(q.Expr, nil)
	if leftOver.MatchString(expr) {
		return nil, errors.New("a variable is not there")
	}
	logs := q.Datasource.UID == "loki"
	instant := q.Instant || q.QueryType == "instant"
	var found []shownSeries
	switch {
	case p.Type == "logs":
		entries, err := g.LogQL(ctx, expr)
		for _, e := range entries {
			if e.Line != "" {
				found = append(found, shownSeries{e.Labels, 1})
			}
		}
		return found, err
	case instant:
		ask := g.PromQL
		if logs {
			ask = g.LogQLMetric
		}
		samples, err := ask(ctx, expr)
		for _, s := range samples {
			if !math.IsNaN(s.Value) {
				found = append(found, shownSeries{s.Labels, s.Value})
			}
		}
		return found, err
	case logs:
		return ranged(ctx, g.LokiURL+"/loki/api/v1/query_range", expr, g.begin)
	default:
		return ranged(ctx, g.PrometheusURL+"/api/v1/query_range", expr, g.begin)
	}
}

// ranged evaluates an expression over the time of the test, as a graph does. What is
// not a number draws no line.
func ranged(ctx context.Context, api, expr string, begin time.Time) ([]shownSeries, error) {
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	err := stack.GetJSON(ctx, api, url.Values{
		"query": {expr}, "step": {"5"},
		"start": {strconv.FormatInt(begin.Unix(), 10)}, "end": {strconv.FormatInt(time.Now().Unix()+1, 10)},
	}, &answer)
	if err != nil {
		return nil, err
	}
	var found []shownSeries
	for _, r := range answer.Data.Result {
		most, drawn := 0.0, false
		for _, v := range r.Values {
			text, _ := v[1].(string)
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return nil, err
			}
			if !math.IsNaN(value) {
				most, drawn = max(most, value), true
			}
		}
		if drawn {
			found = append(found, shownSeries{r.Metric, most})
		}
	}
	return found, nil
}

// lossOfSome are the counters of which some only have to be there: not everything is
// lost in each of the ways in which it can be.
var lossOfSome = regexp.MustCompile(`otelcol_exporter_\w+_failed_`)

// selects says whether every selector in an expression selects something, also where
// the rest of it would hide that.
func (g *grafana) selects(ctx context.Context, expr string) error {
	var parsed struct{ Data any }
	if err := stack.GetJSON(ctx, g.PrometheusURL+"/api/v1/parse_query", url.Values{"query": {expr}}, &parsed); err != nil {
		return err
	}
	var selectors []string
	var walk func(any)
	walk = func(node any) {
		switch n := node.(type) {
		case []any:
			for _, child := range n {
				walk(child)
			}
		case map[string]any:
			if matchers, ok := n["matchers"].([]any); ok && (n["type"] == "vectorSelector" || n["type"] == "matrixSelector") {
				parts := make([]string, 0, len(matchers))
				for _, m := range matchers {
					m, _ := m.(map[string]any)
					parts = append(parts, fmt.Sprintf("%v%v%q", m["name"], m["type"], m["value"]))
				}
				selectors = append(selectors, "{"+strings.Join(parts, ",")+"}")
			}
			for _, child := range n {
				walk(child)
			}
		}
	}
	walk(parsed.Data)
	if len(selectors) == 0 {
		return errors.New("no selector")
	}
	for _, selector := range selectors {
		var found struct{ Data []any }
		if err := stack.GetJSON(ctx, g.PrometheusURL+"/api/v1/series", url.Values{"match[]": {selector}}, &found); err != nil {
			return err
		}
		if len(found.Data) == 0 && !lossOfSome.MatchString(selector) {
			return fmt.Errorf("%s selects nothing", selector)
		}
	}
	return nil
}

// leads follows what the data sources say: from a point of a metric and from an event
// to a trace, and from a trace to its events.
func leads(t *testing.T, s *stack.Stack, sources map[string]dataSource) {
	ctx := t.Context()
	has := func(trace string) error {
		spans, err := s.Trace(ctx, trace)
		if err == nil && len(spans) == 0 {
			err = errors.New("no span of it is in Jaeger")
		}
		return err
	}
	for _, d := range sources["prometheus"].JSONData.ExemplarTraceIDDestinations {
		if sources[d.DatasourceUID].Type != "jaeger" || d.Name != "trace_id" {
			t.Errorf("exemplars lead from %q to %q", d.Name, d.DatasourceUID)
		}
	}
	exemplars, err := s.Exemplars(ctx, `mcp_server_operation_duration_seconds_bucket{service_name="weather-http"}`)
	if err != nil || len(exemplars) == 0 {
		t.Fatal("no exemplars", err)
	}
	eventually(t, func() error { return has(exemplars[0].TraceID) })

	for _, f := range sources["loki"].JSONData.DerivedFields {
		if sources[f.DatasourceUID].Type != "jaeger" || f.MatcherType != "label" || f.URL != "${__value.raw}" {
			t.Errorf("events lead by %s %q to %q of %q", f.MatcherType, f.MatcherRegex, f.URL, f.DatasourceUID)
		}
		events, err := s.LogQL(ctx, `{service_name="weather-http"} | event_name="otelmcp.operation" | `+f.MatcherRegex+`!=""`)
		if err != nil || len(events) == 0 {
			t.Fatal("no event has a trace", err)
		}
		eventually(t, func() error { return has(events[0].Labels[f.MatcherRegex]) })
	}

	to := sources["jaeger"].JSONData.TracesToLogsV2
	if sources[to.DatasourceUID].Type != "loki" {
		t.Errorf("traces lead to %q", to.DatasourceUID)
	}
	query := strings.ReplaceAll(to.Query, "${__trace.traceId}", exemplars[0].TraceID)
	events, err := s.LogQL(ctx, query)
	if err != nil || len(events) == 0 {
		t.Fatalf("a trace leads to no event: %s: %v", query, err)
	}
	if len(sources["prometheus"].JSONData.ExemplarTraceIDDestinations) == 0 ||
		len(sources["loki"].JSONData.DerivedFields) == 0 {
		t.Error("nothing leads to traces")
	}
}

// reconciles checks what the panel about it promises: what was counted is found, to
// the last message, but where telemetry was lost; and there it shows.
func reconciles(t *testing.T, s *stack.Stack, d dashboard, begin time.Time, every time.Duration) {
	at := slices.IndexFunc(d.Panels, func(p panel) bool { return p.Title == "Counted and found" })
	if at < 0 || len(d.Panels[at].Targets) != 2 {
		t.Fatal("there is no such panel")
	}
	p := d.Panels[at]
	g := &grafana{Stack: s, begin: begin, every: every, values: map[string]string{"service": ".+"}}
	eventually(t, func() error {
		var sides [2]map[string]float64
		for k, q := range p.Targets {
			got, err := g.run(t.Context(), p, q)
			if err != nil {
				return err
			}
			sides[k] = map[string]float64{}
			for _, one := range got {
				sides[k][one.labels["service_name"]] = one.most
			}
		}
		const whole = "agent calendar travel weather weather-http weather-stdio oauth-example changing"
		for service := range strings.FieldsSeq(whole) {
			if sides[0][service] == 0 || sides[0][service] != sides[1][service] {
				return fmt.Errorf("%s: %v messages were counted, and %v found", service, sides[0][service], sides[1][service])
			}
		}
		if sides[0][troubled] <= sides[1][troubled] {
			return fmt.Errorf("%s lost events, but of %v messages %v were found", troubled, sides[0][troubled], sides[1][troubled])
		}
		return nil
	})
}

// troubled is the service whose telemetry gets lost.
const troubled = "troubled"

// makeTraffic has the examples, and some uninvited callers, make everything that the
// dashboards show. Servers and traffic go on until the end of the test, since some of
// it is about what is going on.
func makeTraffic(t *testing.T, s *stack.Stack) {
	env := s.Env("http/protobuf")
	runExample(t, "agent", env...)
	quickstart, _ := serveExample(t, "quickstart", quickstartReady, env...)
	oauth, _ := serveExample(t, "oauth", oauthReady, env...)
	weather, notes := &rawClient{t: t, url: quickstart[1]}, &rawClient{t: t, url: oauth[1]}

	weather.open()
	weather.call("convert", map[string]any{"celsius": 1, "fahrenheit": 2}) // one that is not declared
	weather.call("no_such_tool", nil)
	weather.post(`{"jsonrpc":"2.0","id":1,"method":`)              // no JSON
	weather.post(`{"jsonrpc":"2.0","id":2,"method":"no/such"}`)    // no method
	weather.post(`{"jsonrpc":"2.0","id":3,"method":"tools/call"}`) // no parameters
	// More cancellations of what is not there than there is room to remember.
	for k := range 1100 {
		weather.post(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}`, 1000+k))
	}
	forged := &rawClient{t: t, url: weather.url, session: "mcp-session-00000000-0000-4000-8000-000000000000"}
	forged.call("convert", map[string]any{"celsius": 1})
	notes.post(initializeRequest) // with no token
	notes.bearer = "made-up"
	notes.post(initializeRequest)

	playGaps(t, "changing", append(env, "OTEL_SERVICE_NAME=changing")...)

	trouble := makeTrouble(t, s)
	busy(t, func() {
		weather.call("climate", map[string]any{"city": "Oslo"}) // takes 0.3 seconds
		weather.call("forecast", map[string]any{"city": "Atlantis"})
	})
	busy(t, func() {
		var calls sync.WaitGroup
		for range 20 { // more at once than the queues hold
			calls.Go(func() { trouble.call("convert", map[string]any{"celsius": 1}) })
		}
		calls.Wait()
		time.Sleep(200 * time.Millisecond) // enough trouble for a machine that others use, too
	})
}

// busy repeats what do does until the end of the test.
func busy(t *testing.T, do func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				do()
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
}

// makeTrouble runs a server that sends traces and events to a collector of its own,
// which goes away, and comes back without a Jaeger behind it and without much room.
// What both say of it goes to the Prometheus that the dashboards are shown.
func makeTrouble(t *testing.T, s *stack.Stack) *rawClient {
	t.Helper()
	own, err := stack.New(stack.Config{Dir: filepath.Join(work, "trouble")})
	if err != nil {
		t.Fatal(err)
	}
	collector := own.Collector // its Jaeger and its Loki are never started
	collector.Env = append(collector.Env, "PROMETHEUS_URL="+s.PrometheusURL, "LOKI_URL="+s.LokiURL)
	if err := collector.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { collector.Crash() }) // it would wait for its Jaeger
	ready, _ := serveExample(t, "quickstart", quickstartReady, append(s.Env("http/protobuf"),
		"OTEL_SERVICE_NAME="+troubled,
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="+own.OTLPHTTP+"/v1/traces",
		"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT="+own.OTLPHTTP+"/v1/logs",
		"OTEL_BSP_MAX_QUEUE_SIZE=4", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=2",
		"OTEL_BLRP_MAX_QUEUE_SIZE=4", "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE=2",
	)...)
	c := &rawClient{t: t, url: ready[1]}
	c.open()

	collector.Crash()
	for _, expr := range []string{
		`otel_sdk_exporter_span_exported_total{service_name="troubled",error_type!=""} > 0`,
		`otel_sdk_exporter_log_exported_total{service_name="troubled",error_type!=""} > 0`,
		`otel_sdk_processor_span_processed_total{service_name="troubled",error_type!=""} > 0`,
		`otel_sdk_processor_log_processed_total{service_name="troubled",error_type!=""} > 0`,
	} {
		eventually(t, func() error {
			var calls sync.WaitGroup
			for range 20 {
				calls.Go(func() { c.call("convert", map[string]any{"celsius": 1}) })
			}
			calls.Wait()
			got, err := s.PromQL(t.Context(), expr)
			if err == nil && len(got) == 0 {
				err = fmt.Errorf("not yet: %s", expr)
			}
			return err
		})
	}

	for _, queue := range []string{"otlp_grpc/jaeger", "otlp_http/loki"} {
		collector.Args = append(collector.Args, "--config=yaml:exporters::"+queue+"::sending_queue::queue_size: 2")
	}
	if err := collector.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	// An event that Loki does not take any more, so that the collector has to give it up.
	old := &rawClient{t: t, url: own.OTLPHTTP + "/v1/logs"}
	record := fmt.Sprintf(`{"timeUnixNano":"%d","body":{"stringValue":"late"}}`, time.Now().AddDate(0, -1, 0).UnixNano())
	old.post(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[` + record + `]}]}]}`)
	return c
}

const initializeRequest = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25",` +
	`"capabilities":{},"clientInfo":{"name":"e2e","version":"1"}}}`

// rawClient posts to an HTTP server whatever it likes.
type rawClient struct {
	t               *testing.T
	url             string
	session, bearer string
}

// open begins a session, which goes on.
func (c *rawClient) open() {
	c.t.Helper()
	c.session = c.post(initializeRequest).Get("Mcp-Session-Id")
	if c.session == "" {
		c.t.Fatalf("no session at %s", c.url)
	}
	c.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
}

func (c *rawClient) call(tool string, arguments map[string]any) {
	body, err := json.Marshal(map[string]any{
		"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": map[string]any{"name": tool, "arguments": arguments},
	})
	if err != nil {
		panic(err) // it is made of text and numbers
	}
	c.post(string(body))
}

// post sends a body, and waits for all of the answer, whatever it is.
func (c *rawClient) post(body string) http.Header {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, c.url, strings.NewReader(body))
	if err != nil {
		panic(err) // the URL is one that a server said
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("User-Agent", "otelmcp-e2e")
	if c.session != "" {
		req.Header.Set("Mcp-Session-Id", c.session)
	}
	if c.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+c.bearer)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Errorf("POST %s: %v", c.url, err)
		return nil
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.Header
}

// TestComposeIsTheStack compares compose.yaml, which takes a container engine, with
// what runs without one: the same programs with the same flags and files.
func TestComposeIsTheStack(t *testing.T) {
	var file struct {
		Services map[string]struct {
			Image          string
			Command        []string
			Volumes, Ports []string
			Environment    map[string]string
			Healthcheck    struct{ Test []string }
		}
		Volumes map[string]any
	}
	readYAML(t, "compose.yaml", &file)
	native, err := stack.New(stack.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	// What is built natively; Grafana is not.
	backends := map[string]struct {
		*stack.Backend
		module string                      // whose version go.mod pins
		tag    func(version string) string // of the image
	}{
		"collector": {native.Collector, "go.opentelemetry.io/collector/service", func(v string) string { return v[1:] }},
		// Release 2.x of Jaeger is 1.(x+63) as a module: https://github.com/jaegertracing/jaeger/releases/tag/v2.13.0
		"jaeger": {native.Jaeger, "github.com/jaegertracing/jaeger", func(v string) string {
			var minor int
			_, _ = fmt.Sscanf(v, "v1.%d.0", &minor)
			return fmt.Sprintf("2.%d.0", minor-63)
		}},
		// Release 3.x of Prometheus is 0.3xx as a module.
		"prometheus": {native.Prometheus, "github.com/prometheus/prometheus", func(v string) string {
			var minor int
			_, _ = fmt.Sscanf(v, "v0.%d.0", &minor)
			return fmt.Sprintf("v%d.%d.0", minor/100, minor%100)
		}},
		"loki": {native.Loki, "github.com/grafana/loki/v3", func(v string) string { return v[1:] }},
	}
	configs := map[string]string{
		"collector": "collector.yaml", "jaeger": "jaeger.yaml", "prometheus": "prometheus.yml", "loki": "loki.yaml",
	}
	for name, service := range file.Services {
		image, tag, _ := strings.Cut(service.Image, ":")
		if !regexp.MustCompile(`^v?\d+\.\d+\.\d+$`).MatchString(tag) {
			t.Errorf("%s: the image %s is not pinned to a version (%s)", name, image, tag)
		}
		for _, p := range service.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: the port %s is open to others", name, p)
			}
		}
		if len(service.Healthcheck.Test) == 0 && name != "collector" {
			t.Errorf("%s: no healthcheck", name)
		}
		mounts := map[string]string{} // from paths in the container to where they come from
		for _, v := range service.Volumes {
			parts := strings.Split(v, ":")
			mounts[parts[1]] = parts[0]
			if !strings.HasPrefix(parts[0], ".") {
				if _, ok := file.Volumes[parts[0]]; !ok {
					t.Errorf("%s: no volume %s", name, parts[0])
				}
				continue
			}
			if _, err := os.Stat(stack.ConfigFile(parts[0])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if len(parts) != 3 || parts[2] != "ro" {
				t.Errorf("%s may write to %s", name, parts[0])
			}
		}
		here := func(inside string) string { // the file here that is inside there
			for at, from := range mounts {
				if rest, ok := strings.CutPrefix(inside, at); ok && (rest == "" || rest[0] == '/') {
					return filepath.Join(from, rest)
				}
			}
			return ""
		}
		b, ok := backends[name]
		if !ok {
			for key, value := range service.Environment {
				if _, err := os.Stat(stack.ConfigFile(here(value))); strings.HasPrefix(value, "/") && err != nil {
					t.Errorf("%s: %s: %v", name, key, err)
				}
			}
			if here("/etc/grafana/provisioning/datasources/otelmcp.yaml") == "" || here("/etc/grafana/dashboards") == "" {
				t.Errorf("%s does not have the dashboards: %v", name, mounts)
			}
			continue
		}
		if want := b.tag(pinned(t, name, b.module)); tag != want {
			t.Errorf("%s: the image is %s, and what is built here %s", name, tag, want)
		}
		// Both as sets of flags, with their values but where those are addresses and paths.
		got, want := flagsOf(service.Command), flagsOf(b.Args)
		if !maps.Equal(got, want) {
			t.Errorf("%s: the flags are %v, and here %v", name, got, want)
		}
		config := ""
		for _, arg := range service.Command {
			if flag, value, _ := strings.Cut(strings.TrimLeft(arg, "-"), "="); flag == "config" || flag == "config.file" {
				config = here(value)
			}
		}
		if filepath.Base(config) != configs[name] {
			t.Errorf("%s: its configuration is %q", name, config)
			continue
		}
		raw, err := os.ReadFile(stack.ConfigFile(config))
		if err != nil {
			t.Error(err)
		}
		for _, m := range regexp.MustCompile(`\$\{(?:env:)?(\w+)(:-)?([^}]*)\}`).FindAllStringSubmatch(string(raw), -1) {
			if !slices.ContainsFunc(b.Env, func(kv string) bool { return strings.HasPrefix(kv, m[1]+"=") }) {
				t.Errorf("%s: nothing here sets %s", config, m[1])
			}
			if m[2] == "" && service.Environment[m[1]] == "" {
				t.Errorf("%s: %s has no default, and compose.yaml does not set it", config, m[1])
			}
			host, port, isAddress := strings.Cut(strings.TrimPrefix(m[3], "http://"), ":")
			if other, ok := file.Services[host]; isAddress && host != "0.0.0.0" && !ok {
				t.Errorf("%s: %s is at %s, where compose.yaml has nothing", config, m[1], m[3])
			} else if ok && port != "4317" && !slices.Contains(other.Ports, "127.0.0.1:"+port+":"+port) {
				t.Errorf("%s: %s is at %s, and that service listens at %v", config, m[1], m[3], other.Ports)
			}
			if strings.HasPrefix(m[3], "/") && here(m[3]) == "" {
				t.Errorf("%s: %s is %s, which is on no volume", config, m[1], m[3])
			}
		}
	}
	for _, d := range dataSources(t) {
		u, err := url.Parse(d.URL)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(file.Services[u.Hostname()].Ports, "127.0.0.1:"+u.Port()+":"+u.Port()) {
			t.Errorf("the data source %s is at %s, where compose.yaml has nothing", d.UID, d.URL)
		}
	}
	if len(file.Services) != len(backends)+1 {
		t.Errorf("%d services", len(file.Services))
	}
}

// pinned is the version of a module that a backend is built of.
func pinned(t *testing.T, backend, module string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(stack.Root(), "e2e", "backends", backend, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)` + regexp.QuoteMeta(module) + ` (v\S+)`).FindStringSubmatch(string(raw))
	if m == nil {
		t.Fatalf("%s does not pin %s", backend, module)
	}
	return m[1]
}

// flagsOf are the flags of a command line, without the values that say where
// something is.
func flagsOf(args []string) map[string]string {
	flags := map[string]string{}
	for k, arg := range args {
		if !strings.HasPrefix(arg, "-") {
			continue
		}
		flag, value, has := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !has && k+1 < len(args) && !strings.HasPrefix(args[k+1], "-") {
			value = args[k+1]
		}
		if strings.ContainsAny(value, "/:") {
			value = ""
		}
		flags[flag] = value
	}
	return flags
}
