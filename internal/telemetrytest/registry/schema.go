// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// The types below mirror the parts of Weaver's definition/2 format that our
// registry uses. A field that is not here is an error: a typo must not turn a
// required attribute into a recommended one.

type manifestFile struct {
	SchemaURL    string       `yaml:"schema_url"`
	Stability    string       `yaml:"stability"`
	Description  string       `yaml:"description"`
	Dependencies []dependency `yaml:"dependencies"`
}

type dependency struct {
	SchemaURL    string `yaml:"schema_url"`
	RegistryPath string `yaml:"registry_path"`
}

type definitionFile struct {
	FileFormat      string           `yaml:"file_format"`
	Imports         imports          `yaml:"imports"`
	Attributes      []attributeDef   `yaml:"attributes"`
	AttributeGroups []attributeGroup `yaml:"attribute_groups"`
	Spans           []spanDef        `yaml:"spans"`
	SpanRefinements []spanRefinement `yaml:"span_refinements"`
	Metrics         []metricDef      `yaml:"metrics"`
	Events          []eventDef       `yaml:"events"`
}

type imports struct {
	Spans   []string `yaml:"spans"`
	Metrics []string `yaml:"metrics"`
}

type attributeDef struct {
	Key         string        `yaml:"key"`
	Type        attributeType `yaml:"type"`
	Brief       string        `yaml:"brief"`
	Note        string        `yaml:"note"`
	Examples    yaml.Node     `yaml:"examples"`
	Stability   string        `yaml:"stability"`
	Annotations struct {
		OTelMCP struct {
			Cardinality  string `yaml:"cardinality"`
			Identifying  bool   `yaml:"identifying"`
			Content      bool   `yaml:"content"`
			Closed       bool   `yaml:"closed"`
			MetricValues string `yaml:"metric_values"`
		} `yaml:"otelmcp"`
	} `yaml:"annotations"`
}

// attributeType is a name, or a mapping that has members and nothing else.
type attributeType struct {
	name    string
	members []memberDef
}

type memberDef struct {
	ID        string `yaml:"id"`
	Value     string `yaml:"value"`
	Brief     string `yaml:"brief"`
	Stability string `yaml:"stability"`
}

func (t *attributeType) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		return n.Decode(&t.name)
	}
	var v struct {
		Members []memberDef `yaml:"members"`
	}
	// A custom unmarshaller leaves the decoder's strictness behind.
	if err := knownKeys(n, "members"); err != nil {
		return err
	}
	if err := n.Decode(&v); err != nil {
		return err
	}
	for _, m := range n.Content[1].Content {
		if err := knownKeys(m, "id", "value", "brief", "stability"); err != nil {
			return err
		}
	}
	t.members = v.Members
	return nil
}

type attributeGroup struct {
	ID         string         `yaml:"id"`
	Visibility string         `yaml:"visibility"`
	Attributes []attributeRef `yaml:"attributes"`
}

// attributeRef refers to an attribute or to a group, never to both.
type attributeRef struct {
	Ref              string           `yaml:"ref"`
	RefGroup         string           `yaml:"ref_group"`
	RequirementLevel requirementLevel `yaml:"requirement_level"`
}

// requirementLevel is a level, or a mapping of one level to its condition.
type requirementLevel struct {
	level     string
	condition string
}

func (r *requirementLevel) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		return n.Decode(&r.level)
	}
	if n.Kind != yaml.MappingNode || len(n.Content) != 2 {
		return fmt.Errorf("line %d: requirement_level: one level expected", n.Line)
	}
	return errors.Join(n.Content[0].Decode(&r.level), n.Content[1].Decode(&r.condition))
}

type spanDef struct {
	Type string `yaml:"type"`
	Kind string `yaml:"kind"`
	Name struct {
		Note string `yaml:"note"`
	} `yaml:"name"`
	Brief      string         `yaml:"brief"`
	Note       string         `yaml:"note"`
	Stability  string         `yaml:"stability"`
	Attributes []attributeRef `yaml:"attributes"`
}

type spanRefinement struct {
	ID         string         `yaml:"id"`
	Ref        string         `yaml:"ref"`
	Attributes []attributeRef `yaml:"attributes"`
}

type metricDef struct {
	Name        string         `yaml:"name"`
	Instrument  string         `yaml:"instrument"`
	Unit        string         `yaml:"unit"`
	Brief       string         `yaml:"brief"`
	Note        string         `yaml:"note"`
	Stability   string         `yaml:"stability"`
	Attributes  []attributeRef `yaml:"attributes"`
	Annotations struct {
		CodeGeneration struct {
			MetricValueType string `yaml:"metric_value_type"`
		} `yaml:"code_generation"`
		OTelMCP struct {
			Boundaries []float64 `yaml:"boundaries"`
			Observable bool      `yaml:"observable"`
		} `yaml:"otelmcp"`
	} `yaml:"annotations"`
}

type eventDef struct {
	Name        string         `yaml:"name"`
	Brief       string         `yaml:"brief"`
	Note        string         `yaml:"note"`
	Stability   string         `yaml:"stability"`
	Attributes  []attributeRef `yaml:"attributes"`
	Annotations struct {
		OTelMCP struct {
			Severities []string `yaml:"severities"`
		} `yaml:"otelmcp"`
	} `yaml:"annotations"`
}

func knownKeys(n *yaml.Node, keys ...string) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: a mapping expected", n.Line)
	}
	for i := 0; i < len(n.Content); i += 2 {
		if k := n.Content[i].Value; !slices.Contains(keys, k) {
			return fmt.Errorf("line %d: field %s not found", n.Content[i].Line, k)
		}
	}
	return nil
}
