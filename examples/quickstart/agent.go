// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The client of the demo: it stands in for an agent that uses the weather
// server in three turns, over both transports and in both eras of the
// protocol. Each turn is one trace.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os/exec"
	"sync/atomic"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const agentService = "agent"

// agent holds what the turns share. Its traces go where the server's go, under
// a service name of its own.
type agent struct {
	tracer   trace.Tracer
	provider *sdktrace.TracerProvider
	delivery *delivery
	ledger   *ledger
	turns    []turnResult
}

// turnResult tells the user where to find a turn.
type turnResult struct {
	name    string
	traceID string
}

func newAgent(ctx context.Context) (*agent, error) {
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("the agent's span exporter: %w", err)
	}
	sent := &delivery{SpanExporter: exporter}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(sent),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", agentService))),
	)
	return &agent{
		tracer: provider.Tracer("quickstart/agent"), provider: provider, delivery: sent, ledger: &ledger{},
	}, nil
}

// shutdown sends off the spans that are left, and says if spans were lost.
func (a *agent) shutdown(ctx context.Context) error {
	err := a.provider.Shutdown(ctx)
	if lost := a.delivery.err.Load(); lost != nil {
		err = errors.Join(err, fmt.Errorf("telemetry was not delivered: %w", *lost))
	}
	return err
}

// delivery remembers why an export failed, which the SDK only logs.
type delivery struct {
	sdktrace.SpanExporter
	err atomic.Pointer[error]
}

// ExportSpans implements sdktrace.SpanExporter.
func (d *delivery) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := d.SpanExporter.ExportSpans(ctx, spans)
	if err != nil {
		d.err.Store(&err)
	}
	return err
}

// run takes the three turns one after the other. The servers are at url and
// behind the command that stdio makes.
func (a *agent) run(ctx context.Context, url string, stdio transport.CommandFunc) error {
	// A client that keeps a stream open, on which the server can send it
	// requests, speaks the older era of the protocol.
	listening := transport.WithContinuousListening() //nolint:staticcheck // deprecated with that era
	return errors.Join(
		a.turn(ctx, "plan a weekend", a.overHTTP(url), planWeekend),
		a.turn(ctx, "ask the model", a.overHTTP(url, listening), askModel),
		a.turn(ctx, "bad weather", a.overStdio(stdio), badWeather),
	)
}

// turn connects, lets do use the connection, and closes it again, all under
// one span.
func (a *agent) turn(
	ctx context.Context, name string, connect func() (transport.Interface, error),
	do func(context.Context, *client.Client) error,
) (err error) {
	ctx, span := a.tracer.Start(ctx, "agent turn: "+name)
	defer func() {
		if err != nil {
			err = fmt.Errorf("agent turn %q: %w", name, err)
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}()
	a.turns = append(a.turns, turnResult{name: name, traceID: span.SpanContext().TraceID().String()})

	conn, err := connect()
	if err != nil {
		return err
	}
	mcpClient := client.NewClient(conn, client.WithSamplingHandler(model{}))
	if err := mcpClient.Start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mcpClient.Close()) }()

	hello := mcp.InitializeRequest{}
	hello.Params.ClientInfo = mcp.Implementation{Name: "quickstart-agent", Version: "1.0.0"}
	if _, err := mcpClient.Initialize(ctx, hello); err != nil {
		return err
	}
	return do(ctx, mcpClient)
}

// overHTTP connects to a server by streamable HTTP.
func (a *agent) overHTTP(url string, opts ...transport.StreamableHTTPCOption) func() (transport.Interface, error) {
	return func() (transport.Interface, error) {
		// No idle connection outlives the turn.
		web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		conn, err := transport.NewStreamableHTTP(url, append(opts,
			transport.WithHTTPBasicClient(web),
			// What fails is an error of the call; the log has only what is
			// interrupted when the turn ends.
			transport.WithHTTPLogger(slog.New(slog.DiscardHandler)),
		)...)
		if err != nil {
			return nil, err
		}
		return tracedHTTP{StreamableHTTP: conn, agent: a}, nil
	}
}

// overStdio starts a server as a child process and talks to its standard
// input and output.
func (a *agent) overStdio(command transport.CommandFunc) func() (transport.Interface, error) {
	return func() (transport.Interface, error) {
		conn := transport.NewStdioWithOptions("stdio-server", nil, nil, transport.WithCommandFunc(command))
		return tracedStdio{Stdio: conn, agent: a}, nil
	}
}

// childCommand makes the command that runs this very program as a stdio
// server, in the same environment.
func childCommand(self string, stderr io.Writer) transport.CommandFunc {
	return func(_ context.Context, subcommand string, _, _ []string) (*exec.Cmd, error) {
		// Not CommandContext: the child ends when its input does, and has
		// then sent off its telemetry.
		cmd := exec.Command(self, subcommand)
		cmd.Stderr = stderr
		return cmd, nil
	}
}

// planWeekend is a turn in which all goes well.
func planWeekend(ctx context.Context, c *client.Client) error {
	if _, err := c.ListTools(ctx, mcp.ListToolsRequest{}); err != nil {
		return err
	}
	read := mcp.ReadResourceRequest{}
	read.Params.URI = stationsURI
	if _, err := c.ReadResource(ctx, read); err != nil {
		return err
	}
	return errors.Join(
		call(ctx, c, toolForecast, map[string]any{"city": "Paris", "days": 2}),
		call(ctx, c, toolConvert, map[string]any{"celsius": 21}),
		call(ctx, c, toolSummarize, map[string]any{"city": "Paris"}),
		packingPrompt(ctx, c, "Paris"),
	)
}

// askModel is a turn in the older era of the protocol, in which the server
// sends the client a request of its own.
func askModel(ctx context.Context, c *client.Client) error {
	return errors.Join(
		call(ctx, c, toolSummarize, map[string]any{"city": "Tokyo"}),
		call(ctx, c, toolForecast, map[string]any{"city": "Tokyo"}),
	)
}

// badWeather is a turn in which tools are slow, fail and panic.
func badWeather(ctx context.Context, c *client.Client) error {
	return errors.Join(
		call(ctx, c, toolClimate, map[string]any{"city": "Oslo"}),
		wantFailure(call(ctx, c, toolForecast, map[string]any{"city": "Atlantis"})),
		wantFailure(call(ctx, c, toolRadar, map[string]any{"city": "Oslo"})),
	)
}

// call calls a tool, and returns its failure of whatever kind.
func call(ctx context.Context, c *client.Client, tool string, arguments map[string]any) error {
	req := mcp.CallToolRequest{}
	req.Params.Name = tool
	req.Params.Arguments = arguments
	result, err := c.CallTool(ctx, req)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %s: %w", errTool, tool, err)
	case result.IsError:
		return fmt.Errorf("%w: %s: %v", errTool, tool, result.Content)
	}
	return nil
}

var errTool = errors.New("tool failed")

// wantFailure turns the failure that a turn is about into success.
func wantFailure(err error) error {
	if err == nil {
		return errors.New("a tool that must fail did not")
	}
	if !errors.Is(err, errTool) || errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func packingPrompt(ctx context.Context, c *client.Client, city string) error {
	req := mcp.GetPromptRequest{}
	req.Params.Name = promptPacking
	req.Params.Arguments = map[string]string{"city": city}
	_, err := c.GetPrompt(ctx, req)
	return err
}

// model stands in for the language model of a real agent.
type model struct{}

func (model) CreateMessage(context.Context, mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
	return &mcp.CreateMessageResult{
		SamplingMessage: mcp.SamplingMessage{
			Role:    mcp.RoleAssistant,
			Content: mcp.NewTextContent("Mild, with a light breeze."),
		},
		Model:      "quickstart-model",
		StopReason: "endTurn",
	}, nil
}
