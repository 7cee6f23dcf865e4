// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package registry reads the semantic convention registry of otelmcp: the YAML
// that the Go constants and the documentation are generated from and that the
// tests check telemetry against.
//
// It reads Weaver's definition/2 format, strictly and only as far as our
// registry uses it, and resolves it: groups are expanded, refinements applied.
package registry

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// The two layers, as folders beside each other below semconv.
const (
	upstreamDir = "upstream" // OpenTelemetry's, which we rely on
	modelDir    = "model"    // ours
)

// Registry is a resolved registry. Its slices are in the order of the files:
// OpenTelemetry's before ours.
type Registry struct {
	SchemaURL   string
	Version     string
	Description string
	Attributes  []*Attribute
	Spans       []*Span
	Metrics     []*Metric
	Events      []*Event
}

// Attribute is the definition of an attribute.
type Attribute struct {
	Key       string
	Type      string // as in the format; an enum is a "string"
	Template  bool   // Key is a prefix, what follows it is chosen at run time
	Members   []Member
	Closed    bool // no value but the members
	Brief     string
	Note      string
	Examples  []string // as they are written in YAML's flow style
	Stability string
	Ours      bool

	HighCardinality bool // never on a metric
	Identifying     bool // says who, or where from; never on a metric
	Content         bool // what a caller sent or got; never on a metric
	MembersOnMetric bool // on a metric, no value but the members
	NumbersOnMetric bool // on a metric, no value but the members and decimal numbers
}

// Member is a member of an enum.
type Member struct{ ID, Value, Brief string }

// The requirement levels.
const (
	Required              = "required"
	ConditionallyRequired = "conditionally_required"
	Recommended           = "recommended"
	OptIn                 = "opt_in"
)

// Ref is an attribute as a signal uses it.
type Ref struct {
	*Attribute
	Level     string
	Condition string
}

// Span is a type of span.
type Span struct {
	Type, Kind, NameNote, Brief, Note string
	Attributes                        []Ref
}

// Metric is an instrument.
type Metric struct {
	Name, Instrument, Unit, Brief, Note string
	ValueType                           string // "int" or "double"
	Boundaries                          []float64
	Observable                          bool // read when metrics are collected
	Ours                                bool
	Attributes                          []Ref
}

// Event is a log record that has an EventName.
type Event struct {
	Name, Brief, Note string
	Severities        []string
	Attributes        []Ref
}

// Find returns the semconv folder of the module that the working directory is
// in or below, or of one that encloses it. Tests and go generate run in the
// folder of their package, so this holds with -trimpath too.
func Find() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		semconv := filepath.Join(dir, "semconv")
		if _, err := os.Stat(filepath.Join(semconv, modelDir, "manifest.yaml")); err == nil {
			return semconv, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no semconv/%s/manifest.yaml at or above %s", modelDir, wd)
		}
	}
}

// Load reads the registry from fsys, the semconv folder.
func Load(fsys fs.FS) (*Registry, error) {
	r := &resolver{
		attributes: map[string]*Attribute{},
		groups:     map[string]attributeGroup{},
		spans:      map[string]*Span{},
		metrics:    map[string]*Metric{},
		events:     map[string]*Event{},
		refined:    map[string]bool{},
	}
	upstream := r.read(fsys, upstreamDir)
	model := r.read(fsys, modelDir)
	r.manifest(upstream, model)
	r.attributeDefs(upstream, false)
	r.attributeDefs(model, true)
	r.groupDefs(upstream)
	r.groupDefs(model)
	r.signals(upstream, false)
	r.signals(model, true)
	r.refinements(model)
	return r.finish()
}

func yamlFiles(fsys fs.FS, dir string) ([]string, error) {
	names, err := fs.Glob(fsys, path.Join(dir, "*.yaml"))
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("%s: no registry there", dir)
	}
	return names, err
}
