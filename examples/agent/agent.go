// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// What the agent does: it plans a trip with two servers, asks its user when a
// server wants it to, and lives with a tool that fails. The plan is written
// down here; in a real agent a language model makes it.

import (
	"context"
	"errors"
	"fmt"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/mcp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

const turnName = "agent turn: plan a trip"

// agent is what a turn needs: its two servers, and somebody to talk to.
type agent struct {
	travelURL string
	calendar  func(context.Context, ...client.ClientOption) (*client.Client, error)
	say       func(format string, args ...any)
}

// turn is one trace, from its one root. It returns the id of the trace.
func (a agent) turn(ctx context.Context) (traceID string, err error) {
	ctx, span := otel.Tracer("agent-example").Start(ctx, turnName)
	defer func() {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}()
	return trace.SpanContextFromContext(ctx).TraceID().String(), a.planTrip(ctx)
}

func (a agent) planTrip(ctx context.Context) (err error) {
	// This one speaks the older era of the protocol: a session that begins with
	// initialize, in which the server can send requests of its own.
	legacy := client.WithLegacyProtocolOnly() //nolint:staticcheck // deprecated with that era
	calendar, err := a.calendar(ctx, legacy, client.WithElicitationHandler(user{a.say}))
	if err != nil {
		return fmt.Errorf("connecting to the calendar: %w", err)
	}
	defer func() {
		if closed := calendar.Close(); closed != nil {
			err = errors.Join(err, fmt.Errorf("the calendar: %w", closed))
		}
	}()

	// This one speaks the newest version: each request stands for itself.
	travel, err := connectHTTP(ctx, a.travelURL)
	if err != nil {
		return fmt.Errorf("connecting to the travel agency: %w", err)
	}
	defer func() { err = errors.Join(err, travel.Close()) }()
	progress := make(chan struct{}, 1)
	travel.OnNotification(func(n mcp.JSONRPCNotification) {
		if n.Method != string(mcp.MethodNotificationProgress) {
			return
		}
		a.say("travel    is busy: %v", n.Params.AdditionalFields["message"])
		select {
		case progress <- struct{}{}:
		default:
		}
	})

	offer, err := call(ctx, travel, toolOffer, map[string]any{"city": "Oslo"})
	if err != nil {
		return err
	}
	a.say("travel    offers: %s", offer)
	select {
	case <-progress:
	case <-ctx.Done():
		return fmt.Errorf("waiting for progress of %s: %w", toolOffer, ctx.Err())
	}

	// The first day is taken. The tool says so in its result, for the model to
	// read: the agent tries another day.
	_, err = call(ctx, calendar, toolBook, map[string]any{"day": "Saturday", "what": "Oslo"})
	if !errors.Is(err, errTool) {
		return errors.Join(errors.New("a tool that must fail did not"), err)
	}
	a.say("calendar  refuses: %v", err)

	booked, err := call(ctx, calendar, toolBook, map[string]any{"day": "Sunday", "what": "Oslo"})
	if err != nil {
		return err
	}
	a.say("calendar  says: %s", booked)
	return nil
}

// errTool is a failure that a tool reports in its result (isError).
var errTool = errors.New("tool failed")

// call calls a tool, and returns the text of its result. It asks for
// notifications of progress.
func call(ctx context.Context, c *client.Client, tool string, arguments map[string]any) (string, error) {
	req := mcp.CallToolRequest{}
	req.Params.Name = tool
	req.Params.Arguments = arguments
	req.Params.Meta = &mcp.Meta{ProgressToken: tool}
	result, err := c.CallTool(ctx, req)
	if err != nil {
		return "", fmt.Errorf("%s: %w", tool, err)
	}
	text := ""
	if len(result.Content) > 0 {
		text = mcp.GetTextFromContent(result.Content[0])
	}
	if result.IsError {
		return "", fmt.Errorf("%w: %s: %s", errTool, tool, text)
	}
	return text, nil
}

// user stands in for the person who uses the agent, and who agrees to all.
type user struct{ say func(string, ...any) }

// Elicit implements client.ElicitationHandler.
func (u user) Elicit(_ context.Context, req mcp.ElicitationRequest) (*mcp.ElicitationResult, error) {
	u.say("calendar  asks: %s  The user agrees.", req.Params.Message)
	return &mcp.ElicitationResult{ElicitationResponse: mcp.ElicitationResponse{
		Action: mcp.ElicitationResponseActionAccept, Content: map[string]any{"sure": true},
	}}, nil
}
