// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

// The spans and events of the examples as Jaeger, Loki and the collector's events
// file have them: each span where it belongs, and each with its event.

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/otelmcp/otelmcp-go/e2e/stack"
	"github.com/otelmcp/otelmcp-go/internal/telemetrytest/registry"
)

// scope is the instrumentation's, which tells its spans from those of the examples.
const scope = "github.com/otelmcp/otelmcp-go/otelmcp"

// spansOf returns what Jaeger has of a run of the examples, by span id.
func spansOf(t *testing.T, namespace string) (map[string]*stack.Span, error) {
	t.Helper()
	all := map[string]*stack.Span{}
	for _, service := range append([]string{"agent"}, servers...) {
		spans, err := sharedStack(t).Spans(t.Context(), service)
		if err != nil {
			return nil, err
		}
		for k := range spans {
			if spans[k].Resource["service.namespace"] == namespace {
				all[spans[k].SpanID] = &spans[k]
			}
		}
	}
	return all, nil
}

// record is an event: its attributes and those of its resource,
// as Loki names them, with the trace_id and the span_id.
type record map[string]string

func (r record) key() string { return r["trace_id"] + "/" + r["span_id"] }

const operationEvent = "otelmcp.operation"

// inLoki returns the events of a run that Loki has, by a pattern for their names.
func inLoki(t *testing.T, namespace, events string) ([]record, error) {
	t.Helper()
	entries, err := sharedStack(t).LogQL(t.Context(),
		fmt.Sprintf(`{service_namespace=%q} | event_name=~%q`, namespace, events))
	records := make([]record, 0, len(entries))
	for _, e := range entries {
		records = append(records, e.Labels)
	}
	return records, err
}

// inFile returns those that the collector wrote to its file.
func inFile(t *testing.T, namespace, events string) ([]record, error) {
	t.Helper()
	wanted := regexp.MustCompile("^(?:" + events + ")$")
	f, err := os.Open(sharedStack(t).EventsFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	type attributes []struct {
		Key   string
		Value map[string]any // one of stringValue, intValue and the like
	}
	add := func(to record, attrs attributes) {
		for _, a := range attrs {
			for _, v := range a.Value {
				to[escaped(a.Key)] = fmt.Sprint(v)
			}
		}
	}
	var records []record
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var batch struct {
			ResourceLogs []struct {
				Resource  struct{ Attributes attributes }
				ScopeLogs []struct {
					LogRecords []struct {
						EventName, TraceID, SpanID string
						Attributes                 attributes
					}
				}
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &batch); err != nil {
			return nil, err // a line that is being written; it is whole the next time
		}
		for _, resource := range batch.ResourceLogs {
			for _, scope := range resource.ScopeLogs {
				for _, from := range scope.LogRecords {
					r := record{"trace_id": from.TraceID, "span_id": from.SpanID}
					add(r, resource.Resource.Attributes)
					add(r, from.Attributes)
					if wanted.MatchString(from.EventName) && r["service_namespace"] == namespace {
						records = append(records, r)
					}
				}
			}
		}
	}
	return records, lines.Err()
}

// Whoever has a span finds its event, and the other way round.
func TestSpansAndEventsAgree(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			namespace := telemetryOf(t, protocol)
			for place, read := range map[string]func(*testing.T, string, string) ([]record, error){"Loki": inLoki, "file": inFile} {
				t.Run(place, func(t *testing.T) {
					eventually(t, func() error {
						spans, err := spansOf(t, namespace)
						if err != nil {
							return err
						}
						records, err := read(t, namespace, operationEvent)
						if err != nil {
							return err
						}
						return errors.Join(agree(spans, records), complete(records))
					})
				})
			}
		})
	}
}

// agree compares the instrumentation's spans with the events.
func agree(spans map[string]*stack.Span, records []record) error {
	var errs []error
	events := map[string][]record{}
	for _, r := range records {
		if r["span_id"] != "" {
			events[r.key()] = append(events[r.key()], r)
		}
	}
	for _, span := range spans {
		if span.Tags["otel.scope.name"] != scope {
			continue
		}
		key := span.TraceID + "/" + span.SpanID
		own := events[key]
		delete(events, key)
		if len(own) != 1 {
			errs = append(errs, fmt.Errorf("%s of %s has %d events", span.Name, span.Service, len(own)))
			continue
		}
		for _, name := range []string{
			"mcp.method.name", "jsonrpc.request.id", "mcp.session.id", "otelmcp.role", "otelmcp.outcome", "otelmcp.stage", "error.type",
		} {
			if want, got := span.Tags[name], own[0][escaped(name)]; want == nil && got != "" || want != nil && fmt.Sprint(want) != got {
				errs = append(errs, fmt.Errorf("%s of %s: %s is %v on the span, %q on the event", span.Name, span.Service, name, want, got))
			}
		}
	}
	for _, left := range events {
		// An exchange without a message has no span of its own; its event may be within a span of the program's.
		for _, r := range left {
			span, known := spans[r["span_id"]]
			if r["mcp_method_name"] != "" || known && span.Tags["otel.scope.name"] == scope {
				errs = append(errs, fmt.Errorf("an event of %s leads to no span: %v", r["service_name"], r))
			}
		}
	}
	return errors.Join(errs...)
}

// complete checks that there is something of every server.
func complete(records []record) error {
	var errs []error
	for _, service := range servers {
		if !slices.ContainsFunc(records, func(r record) bool { return r["service_name"] == service }) {
			errs = append(errs, fmt.Errorf("no events of %s", service))
		}
	}
	return errors.Join(errs...)
}

// What is counted is recorded, to the last message.
func TestMessagesReconcile(t *testing.T) {
	s := sharedStack(t)
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			namespace := telemetryOf(t, protocol)
			const labels = "service_name, otelmcp_role, otelmcp_stage, otelmcp_outcome, otelmcp_transport"
			key := func(of map[string]string) string {
				var values []string
				for label := range strings.SplitSeq(labels, ", ") {
					values = append(values, of[label])
				}
				return strings.Join(values, " ")
			}
			eventually(t, func() error {
				counted, err := s.PromQL(t.Context(), fmt.Sprintf(
					`sum by (%s) (last_over_time({__name__=~"otelmcp_(server|client)_messages_total", job=~"%s/.+"}[1h]))`, labels, namespace))
				if err != nil {
					return err
				}
				records, err := inLoki(t, namespace, operationEvent)
				if err != nil {
					return err
				}
				recorded, want := map[string]int{}, map[string]int{}
				for _, r := range records {
					recorded[key(r)]++
				}
				for _, c := range counted {
					want[key(c.Labels)] = int(c.Value)
				}
				if !maps.Equal(recorded, want) || len(want) == 0 {
					return fmt.Errorf("events in Loki %v, counts in Prometheus %v", recorded, want)
				}
				return nil
			})
		})
	}
}

// Every event of every kind is both in Loki and in the collector's file.
func TestEventsInLokiAndInFile(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			namespace := telemetryOf(t, protocol)
			eventually(t, func() error {
				found := [2]map[string]int{{}, {}}
				for k, in := range []func(*testing.T, string, string) ([]record, error){inLoki, inFile} {
					records, err := in(t, namespace, `otelmcp\..+`)
					if err != nil {
						return err
					}
					for _, r := range records {
						found[k][r["event_name"]+" "+r["service_instance_id"]]++
					}
				}
				if !maps.Equal(found[0], found[1]) {
					return fmt.Errorf("in Loki %v, in the file %v", found[0], found[1])
				}
				kinds := map[string]bool{}
				for key := range found[0] {
					kinds[strings.Fields(key)[0]] = true
				}
				for _, kind := range []string{
					operationEvent, "otelmcp.session.start", "otelmcp.session.end", "otelmcp.auth.decision", "otelmcp.coverage",
				} {
					if !kinds[kind] {
						return fmt.Errorf("there is no %s", kind)
					}
				}
				return nil
			})
		})
	}
}

// Every server span hangs where it belongs, with the kind, the status and the
// attributes that it should have.
func TestServerSpansInJaeger(t *testing.T) {
	reg, err := telemetryRegistry()
	if err != nil {
		t.Fatal(err)
	}
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			namespace := telemetryOf(t, protocol)
			eventually(t, func() error {
				spans, err := spansOf(t, namespace)
				if err != nil {
					return err
				}
				errs := []error{expected(spans)}
				for _, span := range spans {
					if span.Tags["otel.scope.name"] != scope {
						continue
					}
					if err := errors.Join(parent(spans, span), status(span), asDeclared(reg, span)); err != nil {
						errs = append(errs, fmt.Errorf("%s of %s: %w", span.Name, span.Service, err))
					}
				}
				return errors.Join(errs...)
			})
		})
	}
}

// parent checks that a received message is under what its sender sent. All
// clients of the examples inject their context.
func parent(spans map[string]*stack.Span, span *stack.Span) error {
	if span.Tags["span.kind"] != "server" {
		return nil
	}
	above, ok := spans[span.Parent]
	switch {
	case !ok:
		return fmt.Errorf("the parent %q is not there", span.Parent)
	case above.TraceID != span.TraceID:
		return errors.New("the parent is in another trace")
	case span.Tags["jsonrpc.request.id"] == nil:
		return nil // a notification, which some programs send within a span that is for more than that
	case above.Tags["span.kind"] != "client" || above.Tags["mcp.method.name"] != span.Tags["mcp.method.name"]:
		return fmt.Errorf("the parent is %s of %s, %v", above.Name, above.Service, above.Tags["span.kind"])
	case above.Service == span.Service && span.Service != "oauth-example": // both of its sides are one program
		return errors.New("the parent is of the same program")
	}
	return nil
}

// status checks that exactly what failed looks so.
func status(span *stack.Span) error {
	outcome := span.Tags["otelmcp.outcome"]
	failed := slices.Contains([]any{"error", "tool_error", "timeout", "panic"}, outcome)
	// To refuse is no failure, to be refused is one.
	if span.Tags["otelmcp.role"] == "client" && (outcome == "denied" || outcome == "rejected") {
		failed = true
	}
	isError := span.Tags["otel.status_code"] == "ERROR"
	if isError != failed || (span.Tags["error.type"] != nil) != failed || (span.Tags["error"] != nil) != failed {
		return fmt.Errorf("outcome %v, status %v, error.type %v", outcome, span.Tags["otel.status_code"], span.Tags["error.type"])
	}
	return nil
}

// asDeclared checks the attributes against the registry.
func asDeclared(reg *registry.Registry, span *stack.Span) error {
	at := slices.IndexFunc(reg.Spans, func(s *registry.Span) bool { return s.Kind == span.Tags["span.kind"] })
	if at < 0 {
		return fmt.Errorf("no span of the kind %v is declared", span.Tags["span.kind"])
	}
	var errs []error
	for _, a := range reg.Spans[at].Attributes {
		if a.Level == registry.Required && span.Tags[a.Key] == nil {
			errs = append(errs, fmt.Errorf("%s is missing", a.Key))
		}
	}
	for _, key := range []string{"otelmcp.role", "otelmcp.transport", "otelmcp.stage", "otelmcp.outcome"} {
		if span.Tags[key] == nil {
			errs = append(errs, fmt.Errorf("%s is missing", key))
		}
	}
	if want := map[any]any{"stdio": "pipe", "streamable_http": "tcp"}[span.Tags["otelmcp.transport"]]; span.Tags["network.transport"] != want {
		errs = append(errs, fmt.Errorf("network.transport is %v", span.Tags["network.transport"]))
	}
	for key := range span.Tags {
		// Jaeger has fields of OTLP as tags.
		if key == "error" || key == "span.kind" || strings.HasPrefix(key, "otel.") {
			continue
		}
		if !slices.ContainsFunc(reg.Spans[at].Attributes, func(a registry.Ref) bool {
			return a.Key == key || a.Template && strings.HasPrefix(key, a.Key+".")
		}) {
			errs = append(errs, fmt.Errorf("%s is not declared", key))
		}
	}
	return errors.Join(errs...)
}

// expected checks that the spans are there that one would look for: the failures
// that the examples have on purpose, and the refusals.
func expected(spans map[string]*stack.Span) error {
	var errs []error
	for _, want := range []struct{ service, name, outcome, transport string }{
		{"weather-stdio", "tools/call radar", "panic", "stdio"},
		{"weather-stdio", "tools/call forecast", "tool_error", "stdio"},
		{"weather-http", "tools/call summarize", "input_required", "streamable_http"},
		{"weather-http", "tools/call forecast", "ok", "streamable_http"},
		{"calendar", "tools/call book_day", "tool_error", "stdio"},
		{"travel", "tools/call make_offer", "ok", "streamable_http"},
		{"weather", "tools/call forecast", "ok", "stdio"},
		{"oauth-example", "tools/call add_note", "ok", "streamable_http"},
		{"oauth-example", "tools/call search_notes", "denied", "streamable_http"},
	} {
		if !slices.ContainsFunc(slices.Collect(maps.Values(spans)), func(s *stack.Span) bool {
			return s.Service == want.service && s.Name == want.name && s.Tags["span.kind"] == "server" &&
				s.Tags["otelmcp.outcome"] == want.outcome && s.Tags["otelmcp.transport"] == want.transport
		}) {
			errs = append(errs, fmt.Errorf("no %s of %s that ended with %s", want.name, want.service, want.outcome))
		}
	}
	return errors.Join(errs...)
}
