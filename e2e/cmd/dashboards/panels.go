// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// What Grafana's JSON model of a dashboard (the classic one, schemaVersion 42) needs
// for the few kinds of panels that there are, and how they are laid out. Everything
// that Grafana's schema requires is there, also where it would know what is meant.

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
)

// The uids of grafana/provisioning/datasources.
const (
	prometheus = "prometheus"
	loki       = "loki"
)

// object is JSON; its keys are written in order.
type object = map[string]any

type dashboard struct {
	uid, title, description string
	variables               []variable
	rows                    []row
}

// variable is a choice of label values that Prometheus knows.
type variable struct {
	name, label, selector, of string // the label named of, in the series of selector
	all                       string // the regular expression that All stands for
}

type row struct {
	title  string
	panels []panel
}

// panel is one of a kind that Grafana has: timeseries, stat, table or logs.
type panel struct {
	kind, title, description string
	unit                     string
	width                    int // of 24; 0 is the usual one of its kind
	queries                  []query
	steps                    []step   // thresholds; none is one color
	links                    []object // of a value to somewhere else
	stack                    bool
	none                     string            // what a stat says when there is nothing
	columns                  map[string]column // of a table, by their names; number is the one that has numbers
	sort                     string            // the name of the column that a table is sorted by, falling
}

// query is PromQL, or LogQL when logs is set.
type query struct {
	expr, legend string
	logs         bool
	exemplars    bool
	instant      bool
}

// step is where a color begins.
type step struct {
	from  float64
	color string
}

// column says what a column of a table is about.
type column struct {
	name, unit string
}

func (d dashboard) model() object {
	panels := []object{}
	id, y := 0, 0
	for _, r := range d.rows {
		id++
		panels = append(panels, object{
			"id": id, "type": "row", "title": r.title, "collapsed": false, "panels": []object{},
			"gridPos": object{"h": 1, "w": 24, "x": 0, "y": y},
		})
		y++
		x, high := 0, 0
		for k := range r.panels {
			p := &r.panels[k]
			w, h := p.size()
			if x+w > 24 {
				x, y, high = 0, y+high, 0
			}
			id++
			m := p.model()
			m["id"], m["gridPos"] = id, object{"h": h, "w": w, "x": x, "y": y}
			panels = append(panels, m)
			x, high = x+w, max(high, h)
		}
		y += high
	}
	variables := make([]object, 0, len(d.variables))
	for _, v := range d.variables {
		variables = append(variables, v.model())
	}
	return object{
		"uid": d.uid, "title": d.title, "description": d.description, "tags": []string{"mcp"},
		"schemaVersion": 42, "version": 1, "editable": true, "graphTooltip": 1, "timezone": "browser",
		"time": object{"from": "now-1h", "to": "now"}, "refresh": "10s",
		"links": []object{{
			"type": "dashboards", "tags": []string{"mcp"}, "title": "MCP", "asDropdown": false,
			"includeVars": true, "keepTime": true, "targetBlank": false, "icon": "", "tooltip": "",
		}},
		"templating":  object{"list": variables},
		"annotations": object{"list": []object{}},
		"panels":      panels,
	}
}

func (v variable) model() object {
	q := "label_values(" + v.selector + ", " + v.of + ")"
	return object{
		"type": "query", "name": v.name, "label": v.label, "datasource": source(prometheus),
		"definition": q, "query": object{"query": q, "refId": v.name, "qryType": 1},
		"refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": v.all,
		"current": object{"text": []string{"All"}, "value": []string{"$__all"}},
	}
}

func (p *panel) size() (w, h int) {
	w, h = p.width, 8
	switch p.kind {
	case "stat":
		w, h = max(w, 4), 4
	case "logs":
		w = max(w, 24)
	default:
		w = max(w, 8)
	}
	return w, h
}

func (p *panel) model() object {
	defaults := object{"unit": p.unit, "color": object{"mode": "palette-classic"}}
	if len(p.steps) > 0 {
		// The first color is what is fine.
		steps := []object{{"value": nil, "color": "green"}}
		for _, s := range p.steps {
			steps = append(steps, object{"value": s.from, "color": s.color})
		}
		defaults["thresholds"] = object{"mode": "absolute", "steps": steps}
		if p.kind != "timeseries" {
			defaults["color"] = object{"mode": "thresholds"}
		}
	}
	if p.unit == "short" && p.kind == "stat" {
		defaults["decimals"] = 0 // increase() extrapolates
	}
	if p.none != "" {
		defaults["noValue"] = p.none
	}
	if len(p.links) > 0 {
		defaults["links"] = p.links
	}
	m := object{
		"type": p.kind, "title": p.title, "description": p.description,
		"fieldConfig": object{"defaults": defaults, "overrides": p.overrides()},
		"options":     p.options(defaults),
	}
	targets := make([]object, 0, len(p.queries))
	sources := map[string]bool{}
	for k, q := range p.queries {
		t := q.model(p.kind)
		t["refId"] = string(rune('A' + k))
		targets = append(targets, t)
		sources[q.source()] = true
	}
	m["targets"] = targets
	m["datasource"] = source(p.queries[0].source())
	if len(sources) > 1 {
		m["datasource"] = object{"type": "datasource", "uid": "-- Mixed --"}
	}
	if t := p.transformed(); len(t) > 0 {
		m["transformations"] = t
	}
	return m
}

func (p *panel) options(defaults object) object {
	legend := object{
		"displayMode": "table", "placement": "bottom", "showLegend": true, "calcs": []string{"lastNotNull", "max"},
	}
	switch p.kind {
	case "timeseries":
		custom := object{"fillOpacity": 10, "showPoints": "auto", "spanNulls": false}
		if p.stack {
			custom["fillOpacity"], custom["stacking"] = 40, object{"mode": "normal"}
		}
		if len(p.steps) > 0 {
			custom["thresholdsStyle"] = object{"mode": "line"}
		}
		defaults["custom"] = custom
		return object{"legend": legend, "tooltip": object{"mode": "multi", "sort": "desc"}}
	case "stat":
		return object{
			"reduceOptions": object{"calcs": []string{"lastNotNull"}}, "colorMode": "value", "graphMode": "area",
			"justifyMode": "auto", "textMode": "auto", "orientation": "auto", "wideLayout": true,
			"showPercentChange": false, "percentChangeColorMode": "standard",
		}
	case "logs":
		return object{
			"showTime": true, "wrapLogMessage": true, "enableLogDetails": true, "sortOrder": "Descending",
			"showLabels": false, "showCommonLabels": false, "showLogContextToggle": false, "prettifyLogMessage": false,
			"dedupStrategy": "none",
		}
	default:
		return object{"showHeader": true, "frameIndex": 0, "sortBy": []object{{"displayName": p.sort, "desc": true}}}
	}
}

// overrides gives the columns of a table their names and units.
func (p *panel) overrides() []object {
	all := []object{}
	for from, c := range ordered(p.columns) {
		properties := []object{{"id": "displayName", "value": c.name}}
		if c.unit != "" {
			properties = append(properties, object{"id": "unit", "value": c.unit})
		}
		if c.unit == "short" || c.unit == "" && p.unit == "short" {
			properties = append(properties, object{"id": "decimals", "value": 0})
		}
		matcher := object{"id": "byName", "options": from}
		switch {
		case from == "number":
			matcher["id"] = "byType"
		case strings.HasPrefix(from, "/"):
			matcher["id"] = "byRegexp"
		}
		all = append(all, object{"matcher": matcher, "properties": properties})
	}
	return all
}

// transformed makes one table of what the queries of a table answer. The times are
// those of the queries; they say nothing, and keep apart what belongs together.
func (p *panel) transformed() []object {
	if p.kind != "table" {
		return nil
	}
	t := []object{{"id": "filterFieldsByName", "options": object{"exclude": object{"names": []string{"Time"}}}}}
	if len(p.queries) > 1 {
		t = append(t, object{"id": "merge", "options": object{}})
	}
	return t
}

func (q query) source() string {
	if q.logs {
		return loki
	}
	return prometheus
}

func (q query) model(kind string) object {
	t := object{"datasource": source(q.source()), "expr": q.expr, "editorMode": "code"}
	if q.legend != "" {
		t["legendFormat"] = q.legend
	}
	instant := q.instant || kind == "table"
	switch {
	case q.logs && instant:
		t["queryType"] = "instant"
	case q.logs:
		t["queryType"] = "range"
	default:
		t["instant"], t["range"] = instant, !instant
	}
	if !q.logs && kind == "table" {
		t["format"] = "table"
	}
	if q.exemplars {
		t["exemplar"] = true
	}
	return t
}

// source refers to a provisioned data source, whose uid is its type.
func source(uid string) object { return object{"type": uid, "uid": uid} }

var template = regexp.MustCompile(`\$\{[^}]*\}`)

// events links to what Loki has of the time that is looked at. The templates in
// expr, all in braces, are filled in when the link is followed, so they are what
// is not escaped.
func events(title, expr string) object {
	panes, err := json.Marshal(object{"a": object{
		"datasource": loki,
		"queries":    []object{{"refId": "A", "datasource": source(loki), "expr": expr}},
		"range":      object{"from": "${__from}", "to": "${__to}"},
	}})
	if err != nil {
		panic(err) // it is made of text
	}
	var escaped strings.Builder
	rest := 0
	for _, at := range template.FindAllIndex(panes, -1) {
		escaped.WriteString(url.QueryEscape(string(panes[rest:at[0]])))
		escaped.Write(panes[at[0]:at[1]])
		rest = at[1]
	}
	escaped.WriteString(url.QueryEscape(string(panes[rest:])))
	return object{"title": title, "targetBlank": true, "url": "/explore?schemaVersion=1&panes=" + escaped.String()}
}

// to links to another of the dashboards.
func to(d, title string) object {
	return object{"title": title, "url": "/d/" + d + "?${__url_time_range}&${service:queryparam}"}
}
