// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package stack

// What the backends' query APIs answer, as far as users of dashboards see it.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// maxAnswer bounds what is read of one answer.
const maxAnswer = 64 << 20

// GetJSON asks an API for JSON, and reads it into answer. An error has the words of
// the API in it: a [*StatusError] if the status is not 200.
func GetJSON(ctx context.Context, u string, query url.Values, answer any) error {
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, http.NoBody)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return &StatusError{URL: u, Code: res.StatusCode, Body: string(bytes.TrimSpace(body))}
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("GET %s: %w", u, err)
	}
	return nil
}

// StatusError is an answer that is not 200.
type StatusError struct {
	URL  string
	Code int
	Body string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("GET %s: %d %s: %s", e.URL, e.Code, http.StatusText(e.Code), e.Body)
}

// Span is a span as Jaeger answers it.
type Span struct {
	TraceID, SpanID, Parent string // Parent is empty for a root
	Service, Name           string
	Start                   time.Time
	Duration                time.Duration
	Tags                    map[string]any // attributes; span.kind, otel.status_code and the like too
	Resource                map[string]any // attributes of the process, but for the service's name
	Links                   []SpanRef
}

// SpanRef names a span.
type SpanRef struct{ TraceID, SpanID string }

// Trace returns the spans of a trace; none if Jaeger does not have it.
func (s *Stack) Trace(ctx context.Context, id string) ([]Span, error) {
	spans, err := s.traces(ctx, "/api/traces/"+url.PathEscape(id), nil)
	var status *StatusError
	if errors.As(err, &status) && status.Code == http.StatusNotFound {
		return nil, nil
	}
	return spans, err
}

// Spans returns the spans of the newest traces that a service has a part in, 1,000
// traces at most.
func (s *Stack) Spans(ctx context.Context, service string) ([]Span, error) {
	return s.traces(ctx, "/api/traces", url.Values{"service": {service}, "limit": {"1000"}, "lookback": {"1h"}})
}

// tag is an attribute as Jaeger answers it.
type tag struct {
	Key   string
	Value any
}

func attributes(tags []tag) map[string]any {
	all := make(map[string]any, len(tags))
	for _, t := range tags {
		all[t.Key] = t.Value
	}
	return all
}

func (s *Stack) traces(ctx context.Context, path string, query url.Values) ([]Span, error) {
	var answer struct {
		Data []struct {
			Spans []struct {
				TraceID, SpanID, OperationName, ProcessID string
				StartTime, Duration                       int64 // microseconds
				References                                []struct{ RefType, TraceID, SpanID string }
				Tags                                      []tag
			}
			Processes map[string]struct {
				ServiceName string
				Tags        []tag
			}
		}
	}
	if err := GetJSON(ctx, s.JaegerURL+path, query, &answer); err != nil {
		return nil, err
	}
	var spans []Span
	for _, trace := range answer.Data {
		for k := range trace.Spans {
			from := &trace.Spans[k]
			span := Span{
				TraceID: from.TraceID, SpanID: from.SpanID, Name: from.OperationName,
				Service: trace.Processes[from.ProcessID].ServiceName,
				Start:   time.UnixMicro(from.StartTime), Duration: time.Duration(from.Duration) * time.Microsecond,
				Tags: attributes(from.Tags), Resource: attributes(trace.Processes[from.ProcessID].Tags),
			}
			for _, ref := range from.References {
				if ref.RefType == "CHILD_OF" && ref.TraceID == span.TraceID && span.Parent == "" {
					span.Parent = ref.SpanID
				} else {
					span.Links = append(span.Links, SpanRef{ref.TraceID, ref.SpanID})
				}
			}
			spans = append(spans, span)
		}
	}
	return spans, nil
}

// Sample is one series of a PromQL or LogQL metric query, with its newest value.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// vector is what both APIs answer to an instant query.
type vector struct {
	Data struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any // seconds, and the value as text
		}
	}
}

func (v *vector) samples() ([]Sample, error) {
	samples := make([]Sample, 0, len(v.Data.Result))
	for _, r := range v.Data.Result {
		text, _ := r.Value[1].(string)
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, err
		}
		samples = append(samples, Sample{r.Metric, value})
	}
	return samples, nil
}

// PromQL evaluates an expression now.
func (s *Stack) PromQL(ctx context.Context, expr string) ([]Sample, error) {
	var v vector
	if err := GetJSON(ctx, s.PrometheusURL+"/api/v1/query", url.Values{"query": {expr}}, &v); err != nil {
		return nil, err
	}
	return v.samples()
}

// Exemplar leads from a metric to a trace.
type Exemplar struct {
	Metric          map[string]string // labels of its series
	TraceID, SpanID string
	Value           float64
}

// Exemplars returns those of the series that a selector selects, of the last hour.
func (s *Stack) Exemplars(ctx context.Context, selector string) ([]Exemplar, error) {
	var answer struct {
		Data []struct {
			SeriesLabels map[string]string
			Exemplars    []struct {
				Labels map[string]string
				Value  string
			}
		}
	}
	now := time.Now()
	err := GetJSON(ctx, s.PrometheusURL+"/api/v1/query_exemplars", url.Values{
		"query": {selector}, "start": {unix(now.Add(-time.Hour))}, "end": {unix(now.Add(time.Minute))},
	}, &answer)
	if err != nil {
		return nil, err
	}
	var found []Exemplar
	for _, series := range answer.Data {
		for _, e := range series.Exemplars {
			value, err := strconv.ParseFloat(e.Value, 64)
			if err != nil {
				return nil, err
			}
			found = append(found, Exemplar{series.SeriesLabels, e.Labels["trace_id"], e.Labels["span_id"], value})
		}
	}
	return found, nil
}

// Metadata is what Prometheus knows of a metric.
type Metadata struct{ Type, Help, Unit string }

// Metadata returns it for every metric by its name.
func (s *Stack) Metadata(ctx context.Context) (map[string]Metadata, error) {
	var answer struct{ Data map[string][]Metadata }
	if err := GetJSON(ctx, s.PrometheusURL+"/api/v1/metadata", nil, &answer); err != nil {
		return nil, err
	}
	all := make(map[string]Metadata, len(answer.Data))
	for name, list := range answer.Data {
		if len(list) > 0 {
			all[name] = list[0]
		}
	}
	return all, nil
}

// Entry is a log record in Loki.
type Entry struct {
	Time   time.Time
	Line   string
	Labels map[string]string // attributes, of the resource too, with underscores for dots
}

// LogQL returns what a log query selects, the newest of the last hour, 5,000 at most.
func (s *Stack) LogQL(ctx context.Context, query string) ([]Entry, error) {
	var answer struct {
		Data struct {
			Result []struct {
				Stream map[string]string
				Values [][2]string
			}
		}
	}
	now := time.Now()
	err := GetJSON(ctx, s.LokiURL+"/loki/api/v1/query_range", url.Values{
		"query": {query}, "limit": {"5000"}, "start": {unix(now.Add(-time.Hour))}, "end": {unix(now.Add(time.Minute))},
	}, &answer)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for _, stream := range answer.Data.Result {
		for _, v := range stream.Values {
			ns, err := strconv.ParseInt(v[0], 10, 64)
			if err != nil {
				return nil, err
			}
			entries = append(entries, Entry{time.Unix(0, ns), v[1], stream.Stream})
		}
	}
	return entries, nil
}

// LogQLMetric evaluates a metric query of LogQL now.
func (s *Stack) LogQLMetric(ctx context.Context, query string) ([]Sample, error) {
	var v vector
	if err := GetJSON(ctx, s.LokiURL+"/loki/api/v1/query", url.Values{"query": {query}}, &v); err != nil {
		return nil, err
	}
	return v.samples()
}

// unix is a time in seconds, which Prometheus wants and Loki takes.
func unix(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }
