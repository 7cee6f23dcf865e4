// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// A small registry that is right, and that each case below makes wrong.
const (
	upstreamManifest = `
schema_url: https://opentelemetry.io/schemas/1.41.0
stability: development
`
	upstreamYAML = `
file_format: definition/2
attributes:
  - key: mcp.method.name
    type:
      members:
        - {id: ping, value: ping, brief: Ping., stability: development}
    brief: The method.
    stability: development
  - key: user.id
    type: string
    brief: The user.
    examples: [me]
    stability: development
    annotations: {otelmcp: {cardinality: high, identifying: true}}
  - key: event.name
    type: string
    brief: The name.
    examples: [otelmcp.done]
    stability: development
attribute_groups:
  - id: common
    visibility: internal
    attributes:
      - ref: mcp.method.name
        requirement_level: required
spans:
  - type: mcp.server
    kind: server
    name: {note: The method.}
    brief: A request.
    stability: development
    attributes:
      - ref_group: common
      - ref: user.id
`
	modelManifest = `
schema_url: https://example.com/schemas/0.1.0
stability: development
description: Ours.
dependencies:
  - schema_url: https://opentelemetry.io/schemas/1.41.0
    registry_path: semconv/upstream
`
	modelYAML = `
file_format: definition/2
imports:
  spans: [mcp.*]
attributes:
  - key: otelmcp.stage
    type:
      members:
        - {id: early, value: early, brief: Early., stability: development}
        - {id: late, value: late, brief: Late., stability: development}
    brief: How far.
    stability: development
    annotations: {otelmcp: {closed: true}}
  - key: otelmcp.text
    type: template[string]
    brief: A text.
    examples: [a, b]
    stability: development
attribute_groups:
  - id: otelmcp.group
    visibility: internal
    attributes:
      - ref: otelmcp.stage
span_refinements:
  - id: otelmcp.mcp.server
    ref: mcp.server
    attributes:
      - ref_group: otelmcp.group
      - ref: user.id
        requirement_level: opt_in
metrics:
  - name: otelmcp.size
    instrument: histogram
    unit: By
    brief: A size.
    stability: development
    annotations: {code_generation: {metric_value_type: int}, otelmcp: {boundaries: [1, 2]}}
    attributes:
      - ref: mcp.method.name
  - name: otelmcp.count
    instrument: counter
    unit: "{item}"
    brief: A count.
    stability: development
    annotations: {code_generation: {metric_value_type: int}, otelmcp: {observable: true}}
events:
  - name: otelmcp.done
    brief: It is done.
    stability: development
    annotations: {otelmcp: {severities: [INFO]}}
    attributes:
      - ref: event.name
        requirement_level: required
      - ref_group: otelmcp.group
      - ref: otelmcp.stage
        requirement_level:
          conditionally_required: When it was late.
`
)

func small() fstest.MapFS {
	return fstest.MapFS{
		"upstream/manifest.yaml": {Data: []byte(upstreamManifest)},
		"upstream/u.yaml":        {Data: []byte(upstreamYAML)},
		"model/manifest.yaml":    {Data: []byte(modelManifest)},
		"model/m.yaml":           {Data: []byte(modelYAML)},
	}
}

func TestLoad(t *testing.T) {
	r, err := Load(small())
	if err != nil {
		t.Fatal(err)
	}
	if r.Version != "0.1.0" || r.SchemaURL != "https://example.com/schemas/0.1.0" || r.Description != "Ours." {
		t.Errorf("version %s, schema URL %s, description %q", r.Version, r.SchemaURL, r.Description)
	}
	if len(r.Attributes) != 5 || r.Attributes[0].Ours || !r.Attributes[3].Ours {
		t.Errorf("attributes %v", r.Attributes)
	}
	if a := r.Attributes[1]; !a.HighCardinality || !a.Identifying || a.Content {
		t.Errorf("annotations of %s: %+v", a.Key, a)
	}
	if a := r.Attributes[3]; a.Type != "string" || !a.Closed || len(a.Members) != 2 || a.Members[1].Value != "late" {
		t.Errorf("enum %s: %+v", a.Key, a)
	}
	if a := r.Attributes[4]; a.Type != "string" || !a.Template || !slices.Equal(a.Examples, []string{"a", "b"}) {
		t.Errorf("template %s: %+v", a.Key, a)
	}

	levels := func(refs []Ref) (out []string) {
		for _, ref := range refs {
			out = append(out, ref.Key+" "+ref.Level)
		}
		return out
	}
	// The refinement adds an attribute and changes the level of another.
	if got, want := levels(r.Spans[0].Attributes), []string{
		"mcp.method.name required", "user.id opt_in", "otelmcp.stage recommended",
	}; !slices.Equal(got, want) {
		t.Errorf("span has %q, want %q", got, want)
	}
	// An inline reference wins over a group, whatever their order.
	if got, want := levels(r.Events[0].Attributes), []string{
		"event.name required", "otelmcp.stage conditionally_required",
	}; !slices.Equal(got, want) {
		t.Errorf("event has %q, want %q", got, want)
	}
	if m := r.Metrics[0]; !slices.Equal(m.Boundaries, []float64{1, 2}) || m.ValueType != "int" || m.Unit != "By" || m.Observable {
		t.Errorf("metric %+v", m)
	}
	if m := r.Metrics[1]; !m.Observable {
		t.Errorf("metric %+v is not observable", m)
	}
}

// Every rule can fire.
func TestLoadRefuses(t *testing.T) {
	const m, u, mm, um = "model/m.yaml", "upstream/u.yaml", "model/manifest.yaml", "upstream/manifest.yaml"
	for _, tc := range []struct{ name, file, old, new, want string }{
		{"unknown field", m, "    unit: By", "    unit: By\n    unite: By", "field unite not found"},
		{"unknown section", m, "events:", "evens: []\nevents:", "field evens not found"},
		{"unknown field of a type", m, "      members:\n        - {id: early", "      extra: 1\n      members:\n        - {id: early", "field extra not found"},
		{"unknown field of a member", m, "value: early,", "valve: early,", "field valve not found"},
		{"unknown annotation of ours", m, "{closed: true}", "{close: true}", "field close not found"},
		{"unknown field of a manifest", mm, "description:", "desc:", "field desc not found"},
		{"type is no type", m, "type: template[string]", "type: [string]", "a mapping expected"},
		{"not YAML", m, "attributes:", "attributes: [", "model/m.yaml: yaml"},
		{"two documents", m, "\nevents:", "\n---\nevents:", "more than one document"},
		{"format", m, "definition/2", "definition/1", `file_format "definition/1"`},
		{"schema URL", mm, "https://example.com/schemas/0.1.0", "https://example.com/latest", "schema_url"},
		{"manifest stability", mm, "stability: development", "stability: shaky", `model: stability "shaky"`},
		{"no dependency", mm, "    registry_path: semconv/upstream", "    registry_path: elsewhere", "does not depend on"},
		{"stale dependency", um, "1.41.0", "1.42.0", "does not depend on"},

		{"our name elsewhere", m, "- key: otelmcp.text", "- key: mcp.text", "attribute mcp.text: our names are under otelmcp. only"},
		{"our metric elsewhere", m, "- name: otelmcp.count", "- name: gen_ai.count", "metric gen_ai.count: our names"},
		{"our event elsewhere", m, "- name: otelmcp.done", "- name: rpc.done", "event rpc.done: our names"},
		{"our refinement elsewhere", m, "- id: otelmcp.mcp.server", "- id: jsonrpc.server", "span refinement jsonrpc.server: our names"},
		{"our span", m, "span_refinements:", "spans:\n  - {type: otel.session, kind: server, name: {note: n}, brief: b, stability: development}\nspan_refinements:", "span otel.session: our names"},
		{"ours passed for theirs", u, "- key: user.id", "- key: otelmcp.user", "attribute otelmcp.user: not a name of OpenTelemetry's"},
		{"bad name", m, "- key: otelmcp.text", "- key: otelmcp.Text", "attribute otelmcp.Text: not a dotted lower-case name"},
		{"no brief", m, "    brief: A text.\n", "", "attribute otelmcp.text: no brief"},
		{"no stability", m, "    examples: [a, b]\n    stability: development\n", "    examples: [a, b]\n", `attribute otelmcp.text: stability ""`},

		{"attribute twice", m, "- key: otelmcp.text", "- key: otelmcp.stage", "attribute otelmcp.stage: defined twice"},
		{"group twice", m, "- id: otelmcp.group", "- id: common", `attribute group "common": defined twice`},
		{"metric twice", m, "- name: otelmcp.count", "- name: otelmcp.size", "metric otelmcp.size: defined twice"},
		{"event twice", m, "\nevents:", "\nevents:\n  - {name: otelmcp.done, brief: b, stability: development, annotations: {otelmcp: {severities: [INFO]}}, attributes: [{ref: event.name, requirement_level: required}]}", "event otelmcp.done: defined twice"},
		{"span twice", u, "\nspans:", "\nspans:\n  - {type: mcp.server, kind: server, name: {note: n}, brief: b, stability: development}", "span mcp.server: defined twice"},
		{"refinement twice", m, "span_refinements:", "span_refinements:\n  - {id: otelmcp.mcp.server, ref: mcp.server}", "span refinement otelmcp.mcp.server: defined twice"},
		{"member twice", m, "{id: late, value: late,", "{id: late, value: early,", "attribute otelmcp.stage: member late: defined twice"},
		{"member without a value", m, "value: early, ", "", "attribute otelmcp.stage: member early: needs id, value and brief"},
		{"member without a stability", m, "brief: Early., stability: development", "brief: Early.", "attribute otelmcp.stage: member early: stability"},

		{"attribute type", m, "template[string]", "template[text]", `attribute otelmcp.text: type "text"`},
		{"closed without members", u, "cardinality: high", "closed: true", "attribute user.id: closed or metric_values without members"},
		{"no examples", m, "    examples: [a, b]\n", "", "attribute otelmcp.text: no examples"},
		{"cardinality", u, "cardinality: high", "cardinality: huge", `attribute user.id: cardinality "huge"`},
		{"metric values", m, "closed: true", "metric_values: some", `attribute otelmcp.stage: metric_values "some"`},

		{"unresolved attribute", m, "      - ref: mcp.method.name", "      - ref: mcp.method", "metric otelmcp.size: no attribute mcp.method"},
		{"unresolved attribute of a group", u, "      - ref: mcp.method.name", "      - ref: mcp.method", "attribute group common: no attribute mcp.method"},
		{"unresolved group", u, "ref_group: common", "ref_group: rare", "span mcp.server: no attribute group rare"},
		{"unresolved span", m, "    ref: mcp.server", "    ref: mcp.peer", "span refinement otelmcp.mcp.server: no span mcp.peer"},
		{"unresolved import of spans", m, "spans: [mcp.*]", "spans: [rpc.*]", "import of spans rpc.*"},
		{"unresolved import of metrics", m, "  spans: [mcp.*]", "  metrics: [rpc.*]", "import of metrics rpc.*"},
		{"attribute of two groups", m, "      - ref_group: otelmcp.group\n      - ref: user.id", "      - ref_group: otelmcp.group\n      - ref_group: otelmcp.group\n      - ref: user.id", "attribute otelmcp.stage comes twice"},
		{"attribute twice in a signal", m, "      - ref: mcp.method.name", "      - ref: mcp.method.name\n      - ref: mcp.method.name", "metric otelmcp.size: attribute mcp.method.name comes twice"},
		{"nested groups", m, "      - ref: otelmcp.stage\nspan", "      - ref_group: common\nspan", "attribute group otelmcp.group: groups do not nest"},
		{"public group", m, "visibility: internal", "visibility: public", "attribute group otelmcp.group: visibility"},
		{"neither ref nor group", m, "      - ref: mcp.method.name", "      - requirement_level: required", "needs either ref or ref_group"},
		{"level of a group", m, "      - ref_group: otelmcp.group\n      - ref: user.id", "      - ref_group: otelmcp.group\n        requirement_level: required\n      - ref: user.id", "and a group no level"},
		{"level", m, "requirement_level: opt_in", "requirement_level: maybe", `user.id: requirement_level "maybe"`},
		{"two levels", m, "          conditionally_required: When it was late.", "          conditionally_required: When it was late.\n          recommended: Else.", "one level expected"},
		{"no condition", m, "conditionally_required: When it was late.", `conditionally_required: ""`, "on what condition?"},

		{"span kind", u, "kind: server", "kind: sever", `span mcp.server: kind "sever"`},
		{"span name", u, "{note: The method.}", `{note: ""}`, "span mcp.server: no note for its name"},
		{"no unit", m, "    unit: By\n", "", "metric otelmcp.size: no unit"},
		{"no instrument", m, "    instrument: histogram\n", "", `metric otelmcp.size: instrument ""`},
		{"no value type", m, "{metric_value_type: int}, otelmcp", "{}, otelmcp", `metric otelmcp.size: metric_value_type ""`},
		{"no boundaries", m, "{boundaries: [1, 2]}", "{}", "metric otelmcp.size: a histogram needs boundaries"},
		{"boundaries descend", m, "[1, 2]", "[2, 1]", "metric otelmcp.size: boundaries do not ascend at 1"},
		{"boundaries of a counter", m, "instrument: histogram", "instrument: counter", "metric otelmcp.size: boundaries on a counter"},
		{"histogram that is observed", m, "boundaries: [1, 2]", "boundaries: [1, 2], observable: true", "metric otelmcp.size: a histogram cannot be observable"},
		{"high cardinality on a metric", m, "      - ref: mcp.method.name", "      - ref: user.id", "metric otelmcp.size: attribute user.id must not be on a metric"},
		{"no severities", m, "{severities: [INFO]}", "{}", "event otelmcp.done: no severities"},
		{"severity", m, "[INFO]", "[NOTICE]", `event otelmcp.done: severity "NOTICE"`},
		{"event.name not required", m, "      - ref: event.name\n        requirement_level: required\n", "", "event otelmcp.done: event.name is not required"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fsys := small()
			before := string(fsys[tc.file].Data)
			if strings.Count(before, tc.old) == 0 {
				t.Fatalf("%q is not in %s", tc.old, tc.file)
			}
			fsys[tc.file].Data = []byte(strings.Replace(before, tc.old, tc.new, 1))
			_, err := Load(fsys)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
	t.Run("no registry", func(t *testing.T) {
		if _, err := Load(fstest.MapFS{}); err == nil {
			t.Error("no error")
		}
	})
}

func TestFind(t *testing.T) {
	dir, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(dir) != "semconv" {
		t.Errorf("found %s", dir)
	}
	if _, err := Load(os.DirFS(dir)); err != nil {
		t.Error(err)
	}
	t.Chdir(t.TempDir())
	if dir, err := Find(); err == nil {
		t.Errorf("found %s outside the module", dir)
	}
}
