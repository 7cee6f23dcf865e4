// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// resolver builds a Registry and collects every mistake on the way, so that
// one run shows them all.
type resolver struct {
	reg        Registry
	attributes map[string]*Attribute
	groups     map[string]attributeGroup
	spans      map[string]*Span
	metrics    map[string]*Metric
	events     map[string]*Event
	refined    map[string]bool
	errs       []error
}

// source is one layer, read but not resolved.
type source struct {
	dir      string
	manifest manifestFile
	files    []definitionFile
}

func (r *resolver) errorf(format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf(format, args...))
}

func (r *resolver) finish() (*Registry, error) {
	if len(r.errs) > 0 {
		return nil, errors.Join(r.errs...)
	}
	return &r.reg, nil
}

func (r *resolver) read(fsys fs.FS, dir string) source {
	src := source{dir: dir}
	names, err := yamlFiles(fsys, dir)
	if err != nil {
		r.errorf("%w", err)
		return src
	}
	for _, name := range names {
		if path.Base(name) == "manifest.yaml" {
			r.decode(fsys, name, &src.manifest)
			continue
		}
		var f definitionFile
		if !r.decode(fsys, name, &f) {
			continue
		}
		if f.FileFormat != "definition/2" {
			r.errorf("%s: file_format %q, want definition/2", name, f.FileFormat)
		}
		src.files = append(src.files, f)
	}
	return src
}

func (r *resolver) decode(fsys fs.FS, name string, v any) bool {
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		r.errorf("%s: %w", name, err)
		return false
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(v); err != nil {
		r.errorf("%s: %w", name, err)
		return false
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		r.errorf("%s: more than one document", name)
		return false
	}
	return true
}

// schemaURL is Weaver's rule: http[s]://server[:port]/path/<version>.
var schemaURL = regexp.MustCompile(`^https?://[^/]+(?:/[^/]+)+/(\d+\.\d+\.\d+)$`)

func (r *resolver) manifest(upstream, model source) {
	for _, s := range []source{upstream, model} {
		if !schemaURL.MatchString(s.manifest.SchemaURL) {
			r.errorf("%s: schema_url %q is not http[s]://server/path/<version>", s.dir, s.manifest.SchemaURL)
		}
		r.stability(s.dir, s.manifest.Stability)
	}
	if !slices.ContainsFunc(model.manifest.Dependencies, func(d dependency) bool {
		return d.SchemaURL == upstream.manifest.SchemaURL && path.Base(d.RegistryPath) == upstreamDir
	}) {
		r.errorf("%s: does not depend on %s at %s", model.dir, upstream.manifest.SchemaURL, upstreamDir)
	}
	r.reg.SchemaURL = model.manifest.SchemaURL
	r.reg.Version = path.Base(model.manifest.SchemaURL)
	r.reg.Description = text(model.manifest.Description)
}

var (
	name        = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$`)
	stabilities = []string{"stable", "release_candidate", "beta", "alpha", "development"}
	scalars     = []string{"string", "int", "double", "boolean", "string[]", "int[]", "double[]", "boolean[]", "any"}
	kinds       = []string{"client", "server", "producer", "consumer", "internal"}
	severities  = []string{"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"}
)

func (r *resolver) stability(where, s string) {
	if !slices.Contains(stabilities, s) {
		r.errorf("%s: stability %q", where, s)
	}
}

// names checks what every definition has, and that a layer stays in its
// namespace: a new name under a namespace of OpenTelemetry's is one that
// OpenTelemetry may give another meaning tomorrow, and a name of ours in the
// upstream folder would pass for one of theirs.
func (r *resolver) names(what, id, brief, stability string, ours bool) {
	where := what + " " + id
	if !name.MatchString(id) {
		r.errorf("%s: not a dotted lower-case name", where)
	}
	switch prefixed := strings.HasPrefix(id, "otelmcp."); {
	case ours && !prefixed:
		r.errorf("%s: our names are under otelmcp. only", where)
	case !ours && prefixed:
		r.errorf("%s: not a name of OpenTelemetry's", where)
	}
	if text(brief) == "" {
		r.errorf("%s: no brief", where)
	}
	r.stability(where, stability)
}

func (r *resolver) attributeDefs(src source, ours bool) {
	for i := range src.files {
		f := &src.files[i]
		for j := range f.Attributes {
			d := &f.Attributes[j]
			r.names("attribute", d.Key, d.Brief, d.Stability, ours)
			if r.attributes[d.Key] != nil {
				r.errorf("attribute %s: defined twice", d.Key)
				continue
			}
			a := r.attribute(d, ours)
			r.attributes[d.Key] = a
			r.reg.Attributes = append(r.reg.Attributes, a)
		}
	}
}

func (r *resolver) attribute(d *attributeDef, ours bool) *Attribute {
	ann := d.Annotations.OTelMCP
	a := &Attribute{
		Key: d.Key, Type: d.Type.name, Brief: text(d.Brief), Note: text(d.Note), Stability: d.Stability, Ours: ours,
		HighCardinality: ann.Cardinality == "high",
		Identifying:     ann.Identifying,
		Content:         ann.Content,
		Closed:          ann.Closed,
		MembersOnMetric: ann.MetricValues == "members",
		NumbersOnMetric: ann.MetricValues == "members_or_numbers",
	}
	if ann.Cardinality != "" && !a.HighCardinality {
		r.errorf("attribute %s: cardinality %q", d.Key, ann.Cardinality)
	}
	if ann.MetricValues != "" && !a.MembersOnMetric && !a.NumbersOnMetric {
		r.errorf("attribute %s: metric_values %q", d.Key, ann.MetricValues)
	}
	if inner, ok := strings.CutPrefix(a.Type, "template["); ok {
		a.Template, a.Type = true, strings.TrimSuffix(inner, "]")
	}
	if len(d.Type.members) > 0 {
		a.Type = "string"
		r.members(a, d.Type.members)
	} else {
		if a.Closed || ann.MetricValues != "" {
			r.errorf("attribute %s: closed or metric_values without members", d.Key)
		}
		if d.Examples.IsZero() {
			r.errorf("attribute %s: no examples", d.Key)
		}
	}
	if !slices.Contains(scalars, a.Type) {
		r.errorf("attribute %s: type %q", d.Key, a.Type)
	}
	for _, e := range d.Examples.Content {
		a.Examples = append(a.Examples, flow(e))
	}
	return a
}

func (r *resolver) members(a *Attribute, defs []memberDef) {
	ids, values := map[string]bool{}, map[string]bool{}
	for _, m := range defs {
		where := fmt.Sprintf("attribute %s: member %s", a.Key, m.ID)
		if m.ID == "" || m.Value == "" || text(m.Brief) == "" {
			r.errorf("%s: needs id, value and brief", where)
		}
		if ids[m.ID] || values[m.Value] {
			r.errorf("%s: defined twice", where)
		}
		r.stability(where, m.Stability)
		ids[m.ID], values[m.Value] = true, true
		a.Members = append(a.Members, Member{ID: m.ID, Value: m.Value, Brief: text(m.Brief)})
	}
}

func (r *resolver) groupDefs(src source) {
	for i := range src.files {
		for _, g := range src.files[i].AttributeGroups {
			if _, ok := r.groups[g.ID]; ok || g.ID == "" {
				r.errorf("attribute group %q: defined twice or without an id", g.ID)
			}
			if g.Visibility != "internal" {
				r.errorf("attribute group %s: visibility %q, want internal", g.ID, g.Visibility)
			}
			r.groups[g.ID] = g
		}
	}
	// Also what no signal refers to must resolve.
	for i := range src.files {
		for _, g := range src.files[i].AttributeGroups {
			r.refs("attribute group "+g.ID, nil, g.Attributes)
		}
	}
}

func (r *resolver) signals(src source, ours bool) {
	for i := range src.files {
		f := &src.files[i]
		for _, d := range f.Spans {
			r.span(d, ours)
		}
		for j := range f.Metrics {
			r.metric(&f.Metrics[j], ours)
		}
		for _, d := range f.Events {
			r.event(d, ours)
		}
		for _, s := range f.Imports.Spans {
			if !matches(s, r.spans) {
				r.errorf("import of spans %s: nothing there", s)
			}
		}
		for _, m := range f.Imports.Metrics {
			if !matches(m, r.metrics) {
				r.errorf("import of metrics %s: nothing there", m)
			}
		}
	}
}

// matches tells whether a wildcard of an import finds anything.
func matches[T any](wildcard string, have map[string]T) bool {
	for id := range have {
		if ok, err := path.Match(wildcard, id); err == nil && ok {
			return true
		}
	}
	return false
}

func (r *resolver) span(d spanDef, ours bool) {
	r.names("span", d.Type, d.Brief, d.Stability, ours)
	if r.spans[d.Type] != nil {
		r.errorf("span %s: defined twice", d.Type)
		return
	}
	if !slices.Contains(kinds, d.Kind) {
		r.errorf("span %s: kind %q", d.Type, d.Kind)
	}
	if text(d.Name.Note) == "" {
		r.errorf("span %s: no note for its name", d.Type)
	}
	s := &Span{
		Type: d.Type, Kind: d.Kind, NameNote: text(d.Name.Note), Brief: text(d.Brief), Note: text(d.Note),
		Attributes: r.refs("span "+d.Type, nil, d.Attributes),
	}
	r.spans[d.Type] = s
	r.reg.Spans = append(r.reg.Spans, s)
}

func (r *resolver) refinements(src source) {
	for i := range src.files {
		for _, d := range src.files[i].SpanRefinements {
			where := "span refinement " + d.ID
			if !strings.HasPrefix(d.ID, "otelmcp.") {
				r.errorf("%s: our names are under otelmcp. only", where)
			}
			if r.refined[d.ID] {
				r.errorf("%s: defined twice", where)
			}
			r.refined[d.ID] = true
			s := r.spans[d.Ref]
			if s == nil {
				r.errorf("%s: no span %s", where, d.Ref)
				continue
			}
			s.Attributes = r.refs(where, s.Attributes, d.Attributes)
		}
	}
}

func (r *resolver) metric(d *metricDef, ours bool) {
	where := "metric " + d.Name
	r.names("metric", d.Name, d.Brief, d.Stability, ours)
	if r.metrics[d.Name] != nil {
		r.errorf("%s: defined twice", where)
		return
	}
	m := &Metric{
		Name: d.Name, Instrument: d.Instrument, Unit: d.Unit, Brief: text(d.Brief), Note: text(d.Note), Ours: ours,
		ValueType:  d.Annotations.CodeGeneration.MetricValueType,
		Boundaries: d.Annotations.OTelMCP.Boundaries,
		Observable: d.Annotations.OTelMCP.Observable,
		Attributes: r.refs(where, nil, d.Attributes),
	}
	if m.Unit == "" {
		r.errorf("%s: no unit", where)
	}
	switch m.Instrument {
	case "histogram":
		if len(m.Boundaries) == 0 {
			r.errorf("%s: a histogram needs boundaries", where)
		}
		if m.Observable {
			r.errorf("%s: a histogram cannot be observable", where)
		}
	case "counter", "updowncounter":
		if len(m.Boundaries) > 0 {
			r.errorf("%s: boundaries on a %s", where, m.Instrument)
		}
	default:
		r.errorf("%s: instrument %q", where, m.Instrument)
	}
	for i := 1; i < len(m.Boundaries); i++ {
		if m.Boundaries[i] <= m.Boundaries[i-1] {
			r.errorf("%s: boundaries do not ascend at %v", where, m.Boundaries[i])
		}
	}
	if m.ValueType != "int" && m.ValueType != "double" {
		r.errorf("%s: metric_value_type %q", where, m.ValueType)
	}
	for _, a := range m.Attributes {
		if a.HighCardinality || a.Identifying || a.Content {
			r.errorf("%s: attribute %s must not be on a metric", where, a.Key)
		}
	}
	r.metrics[d.Name] = m
	r.reg.Metrics = append(r.reg.Metrics, m)
}

func (r *resolver) event(d eventDef, ours bool) {
	where := "event " + d.Name
	r.names("event", d.Name, d.Brief, d.Stability, ours)
	if r.events[d.Name] != nil {
		r.errorf("%s: defined twice", where)
		return
	}
	e := &Event{
		Name: d.Name, Brief: text(d.Brief), Note: text(d.Note), Severities: d.Annotations.OTelMCP.Severities,
		Attributes: r.refs(where, nil, d.Attributes),
	}
	if len(e.Severities) == 0 {
		r.errorf("%s: no severities", where)
	}
	for _, s := range e.Severities {
		if !slices.Contains(severities, s) {
			r.errorf("%s: severity %q", where, s)
		}
	}
	if !slices.ContainsFunc(e.Attributes, func(a Ref) bool { return a.Key == "event.name" && a.Level == Required }) {
		r.errorf("%s: event.name is not required", where)
	}
	r.events[d.Name] = e
	r.reg.Events = append(r.reg.Events, e)
}

// refs resolves references into attributes. As in Weaver, an inline reference
// wins over one from a group, and that over what a refinement inherits; two
// groups must not bring the same attribute.
func (r *resolver) refs(where string, inherited []Ref, refs []attributeRef) []Ref {
	type origin int
	const (
		isInherited origin = iota
		fromGroup
		isInline
	)
	out := slices.Clone(inherited)
	at := map[string]int{}
	from := map[string]origin{}
	for i, a := range out {
		at[a.Key], from[a.Key] = i, isInherited
	}
	add := func(ref attributeRef, o origin) {
		a := r.attributes[ref.Ref]
		if a == nil {
			r.errorf("%s: no attribute %s", where, ref.Ref)
			return
		}
		resolved := Ref{Attribute: a, Level: ref.RequirementLevel.level, Condition: text(ref.RequirementLevel.condition)}
		switch resolved.Level {
		case "":
			resolved.Level = Recommended
		case Required, Recommended, OptIn:
		case ConditionallyRequired:
			if resolved.Condition == "" {
				r.errorf("%s: %s is conditionally required, on what condition?", where, a.Key)
			}
		default:
			r.errorf("%s: %s: requirement_level %q", where, a.Key, resolved.Level)
		}
		i, seen := at[a.Key]
		switch {
		case !seen:
			at[a.Key], from[a.Key] = len(out), o
			out = append(out, resolved)
		case o == from[a.Key]:
			r.errorf("%s: attribute %s comes twice", where, a.Key)
		case o > from[a.Key]:
			out[i], from[a.Key] = resolved, o
		}
	}
	for _, ref := range refs {
		switch {
		case ref.Ref != "" && ref.RefGroup == "":
			add(ref, isInline)
		case ref.RefGroup != "" && ref.Ref == "" && ref.RequirementLevel == (requirementLevel{}):
			g, ok := r.groups[ref.RefGroup]
			if !ok {
				r.errorf("%s: no attribute group %s", where, ref.RefGroup)
			}
			for _, inner := range g.Attributes {
				if inner.RefGroup != "" {
					r.errorf("attribute group %s: groups do not nest", g.ID)
					continue
				}
				add(inner, fromGroup)
			}
		default:
			r.errorf("%s: a reference needs either ref or ref_group, and a group no level", where)
		}
	}
	return out
}

// text makes one line of a folded scalar.
func text(s string) string { return strings.Join(strings.Fields(s), " ") }

// flow writes an example the way that a reader of the documentation expects.
func flow(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return n.Value
	}
	parts := make([]string, len(n.Content))
	for i, c := range n.Content {
		parts[i] = c.Value
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
