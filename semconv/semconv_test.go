// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package semconv_test

// OpenTelemetry's names, pinned against the last of its Go packages that has
// those for MCP. Where we differ on purpose, a test says so.

import (
	"slices"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	otel "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/semconv/v1.41.0/mcpconv"

	"github.com/otelmcp/otelmcp-go/semconv"
)

func TestKeysAgreeWithOTel(t *testing.T) {
	for _, p := range []struct{ ours, theirs attribute.Key }{
		{semconv.MCPMethodNameKey, otel.McpMethodNameKey},
		{semconv.MCPProtocolVersionKey, otel.McpProtocolVersionKey},
		{semconv.MCPResourceURIKey, otel.McpResourceURIKey},
		{semconv.MCPSessionIDKey, otel.McpSessionIDKey},
		{semconv.JSONRPCProtocolVersionKey, otel.JSONRPCProtocolVersionKey},
		{semconv.JSONRPCRequestIDKey, otel.JSONRPCRequestIDKey},
		// Renamed in later versions of core; the MCP conventions keep it.
		{semconv.RPCResponseStatusCodeKey, otel.RPCResponseStatusCodeKey},
		{semconv.GenAIOperationNameKey, otel.GenAIOperationNameKey},
		{semconv.GenAIPromptNameKey, otel.GenAIPromptNameKey},
		{semconv.GenAIToolNameKey, otel.GenAIToolNameKey},
		{semconv.GenAIToolCallArgumentsKey, otel.GenAIToolCallArgumentsKey},
		{semconv.GenAIToolCallResultKey, otel.GenAIToolCallResultKey},
		{semconv.NetworkTransportKey, otel.NetworkTransportKey},
		{semconv.NetworkProtocolNameKey, otel.NetworkProtocolNameKey},
		{semconv.NetworkProtocolVersionKey, otel.NetworkProtocolVersionKey},
		{semconv.NetworkPeerAddressKey, otel.NetworkPeerAddressKey},
		{semconv.NetworkPeerPortKey, otel.NetworkPeerPortKey},
		{semconv.ServerAddressKey, otel.ServerAddressKey},
		{semconv.ServerPortKey, otel.ServerPortKey},
		{semconv.ClientAddressKey, otel.ClientAddressKey},
		{semconv.ClientPortKey, otel.ClientPortKey},
		{semconv.UserIDKey, otel.UserIDKey},
		{semconv.UserHashKey, otel.UserHashKey},
		{semconv.UserRolesKey, otel.UserRolesKey},
		{semconv.UserAgentOriginalKey, otel.UserAgentOriginalKey},
		{semconv.HTTPRequestMethodKey, otel.HTTPRequestMethodKey},
		{semconv.HTTPResponseStatusCodeKey, otel.HTTPResponseStatusCodeKey},
		{semconv.URLPathKey, otel.URLPathKey},
		{semconv.ErrorTypeKey, otel.ErrorTypeKey},
	} {
		if p.ours != p.theirs {
			t.Errorf("key %s, OpenTelemetry's is %s", p.ours, p.theirs)
		}
	}
}

func TestValuesAgreeWithOTel(t *testing.T) {
	for _, p := range []struct {
		ours   string
		theirs attribute.KeyValue
	}{
		{semconv.GenAIOperationNameExecuteTool, otel.GenAIOperationNameExecuteTool},
		{semconv.NetworkTransportTCP, otel.NetworkTransportTCP},
		{semconv.NetworkTransportUDP, otel.NetworkTransportUDP},
		{semconv.NetworkTransportPipe, otel.NetworkTransportPipe},
		{semconv.NetworkTransportUnix, otel.NetworkTransportUnix},
		{semconv.NetworkTransportQUIC, otel.NetworkTransportQUIC},
		{semconv.HTTPRequestMethodPost, otel.HTTPRequestMethodPost},
		{semconv.HTTPRequestMethodOther, otel.HTTPRequestMethodOther},
		{semconv.ErrorTypeOther, otel.ErrorTypeOther},
	} {
		if got := p.theirs.Value.AsString(); p.ours != got {
			t.Errorf("%s: %s, OpenTelemetry's is %s", p.theirs.Key, p.ours, got)
		}
	}
}

// Every method that OpenTelemetry or mcp-go knows stands on metrics as it is.
func TestMethodsAreComplete(t *testing.T) {
	theirs := []string{}
	for _, m := range []attribute.KeyValue{
		otel.McpMethodNameNotificationsCancelled, otel.McpMethodNameInitialize,
		otel.McpMethodNameNotificationsInitialized, otel.McpMethodNameNotificationsProgress, otel.McpMethodNamePing,
		otel.McpMethodNameResourcesList, otel.McpMethodNameResourcesTemplatesList, otel.McpMethodNameResourcesRead,
		otel.McpMethodNameNotificationsResourcesListChanged, otel.McpMethodNameResourcesSubscribe,
		otel.McpMethodNameResourcesUnsubscribe, otel.McpMethodNameNotificationsResourcesUpdated,
		otel.McpMethodNamePromptsList, otel.McpMethodNamePromptsGet,
		otel.McpMethodNameNotificationsPromptsListChanged, otel.McpMethodNameToolsList, otel.McpMethodNameToolsCall,
		otel.McpMethodNameNotificationsToolsListChanged, otel.McpMethodNameLoggingSetLevel,
		otel.McpMethodNameNotificationsMessage, otel.McpMethodNameSamplingCreateMessage,
		otel.McpMethodNameCompletionComplete, otel.McpMethodNameRootsList,
		otel.McpMethodNameNotificationsRootsListChanged, otel.McpMethodNameElicitationCreate,
	} {
		theirs = append(theirs, m.Value.AsString())
	}
	for _, m := range []mcp.MCPMethod{
		mcp.MethodInitialize, mcp.MethodPing, mcp.MethodResourcesList, mcp.MethodResourcesTemplatesList,
		mcp.MethodResourcesRead, mcp.MethodResourcesSubscribe, mcp.MethodResourcesUnsubscribe, mcp.MethodPromptsList,
		mcp.MethodPromptsGet, mcp.MethodToolsList, mcp.MethodToolsCall, mcp.MethodSetLogLevel,
		mcp.MethodElicitationCreate, mcp.MethodNotificationElicitationComplete, mcp.MethodListRoots,
		mcp.MethodTasksGet, mcp.MethodTasksList, mcp.MethodTasksResult, mcp.MethodTasksCancel,
		mcp.MethodNotificationInitialized, mcp.MethodNotificationCancelled, mcp.MethodNotificationProgress,
		mcp.MethodNotificationMessage, mcp.MethodNotificationResourcesListChanged,
		mcp.MethodNotificationResourceUpdated, mcp.MethodNotificationPromptsListChanged,
		mcp.MethodNotificationToolsListChanged, mcp.MethodNotificationRootsListChanged,
		mcp.MethodNotificationTasksStatus, mcp.MethodCompletionComplete, mcp.MethodServerDiscover,
		mcp.MethodSubscriptionsListen, mcp.MethodNotificationSubscriptionsAcknowledged,
		mcp.MethodSamplingCreateMessage,
	} {
		theirs = append(theirs, string(m))
	}
	ours := semconv.MCPMethodNames[:]
	for _, m := range theirs {
		if !slices.Contains(ours, m) {
			t.Errorf("method %s is missing", m)
		}
	}
	for _, m := range ours {
		if !slices.Contains(theirs, m) {
			t.Errorf("method %s is nobody's", m)
		}
	}
}

func TestMetricsAgreeWithOTel(t *testing.T) {
	type theirs interface{ Name() string }
	for name, inst := range map[string]theirs{
		semconv.MCPClientOperationDurationName: mcpconv.ClientOperationDuration{},
		semconv.MCPServerOperationDurationName: mcpconv.ServerOperationDuration{},
		semconv.MCPClientSessionDurationName:   mcpconv.ClientSessionDuration{},
		semconv.MCPServerSessionDurationName:   mcpconv.ServerSessionDuration{},
	} {
		if got := inst.Name(); got != name {
			t.Errorf("metric %s, OpenTelemetry's is %s", name, got)
		}
	}

	// The unit and the description too. The boundaries are ours: theirs has none.
	ours, theirReader := sdkmetric.NewManualReader(), sdkmetric.NewManualReader()
	om := sdkmetric.NewMeterProvider(sdkmetric.WithReader(ours)).Meter("m")
	tm := sdkmetric.NewMeterProvider(sdkmetric.WithReader(theirReader)).Meter("m")
	record(t, om, semconv.NewMCPClientOperationDuration)
	record(t, om, semconv.NewMCPServerOperationDuration)
	record(t, om, semconv.NewMCPClientSessionDuration)
	record(t, om, semconv.NewMCPServerSessionDuration)
	record(t, tm, func(m metric.Meter) (metric.Float64Histogram, error) {
		i, err := mcpconv.NewClientOperationDuration(m)
		return i.Inst(), err
	})
	record(t, tm, func(m metric.Meter) (metric.Float64Histogram, error) {
		i, err := mcpconv.NewServerOperationDuration(m)
		return i.Inst(), err
	})
	record(t, tm, func(m metric.Meter) (metric.Float64Histogram, error) {
		i, err := mcpconv.NewClientSessionDuration(m)
		return i.Inst(), err
	})
	record(t, tm, func(m metric.Meter) (metric.Float64Histogram, error) {
		i, err := mcpconv.NewServerSessionDuration(m)
		return i.Inst(), err
	})
	o, th := collect(t, ours), collect(t, theirReader)
	if len(o) != 4 || len(th) != 4 {
		t.Fatalf("%d and %d metrics, want 4 each", len(o), len(th))
	}
	for i := range o {
		if o[i].Name != th[i].Name || o[i].Unit != th[i].Unit || o[i].Description != th[i].Description {
			t.Errorf("metric %s, %s, %q; OpenTelemetry's is %s, %s, %q",
				o[i].Name, o[i].Unit, o[i].Description, th[i].Name, th[i].Unit, th[i].Description)
		}
		bounds := o[i].Data.(metricdata.Histogram[float64]).DataPoints[0].Bounds
		want := []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300}
		if !slices.Equal(bounds, want) {
			t.Errorf("metric %s: boundaries %v, want %v", o[i].Name, bounds, want)
		}
	}
}

func record(t *testing.T, m metric.Meter, instrument func(metric.Meter) (metric.Float64Histogram, error)) {
	t.Helper()
	h, err := instrument(m)
	if err != nil {
		t.Fatal(err)
	}
	h.Record(t.Context(), 1)
}

func collect(t *testing.T, r *sdkmetric.ManualReader) []metricdata.Metrics {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := r.Collect(t.Context(), &rm); err != nil {
		t.Fatal(err)
	}
	return rm.ScopeMetrics[0].Metrics
}

// The constructors of our own instruments work, with any meter.
func TestOurInstruments(t *testing.T) {
	m := noop.NewMeterProvider().Meter("m")
	var errs []error
	add := func(_ any, err error) { errs = append(errs, err) }
	add(semconv.NewOTelMCPServerSessionsActive(m))
	add(semconv.NewOTelMCPServerOperationsActive(m))
	add(semconv.NewOTelMCPServerRequestSize(m))
	add(semconv.NewOTelMCPServerResponseSize(m))
	add(semconv.NewOTelMCPServerMessages(m))
	add(semconv.NewOTelMCPAuthDecisions(m))
	add(semconv.NewOTelMCPAuthDuration(m))
	add(semconv.NewOTelMCPTelemetryRefused(m))
	add(semconv.NewOTelMCPExporterFileRemoved(m))
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestVersion(t *testing.T) {
	if semconv.Version != "0.1.0" || !strings.HasSuffix(semconv.SchemaURL, "/"+semconv.Version) {
		t.Errorf("version %s, schema URL %s", semconv.Version, semconv.SchemaURL)
	}
}
