// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// What the weather server offers: tools that work, one that can fail, one that
// panics, one that is slow and one that asks the client's model, a prompt and
// a resource. Nothing here knows of telemetry.

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// Names that the agent uses too.
const (
	toolConvert   = "convert"
	toolForecast  = "forecast"
	toolRadar     = "radar"
	toolClimate   = "climate"
	toolSummarize = "summarize"
	promptPacking = "packing_list"
	stationsURI   = "weather://stations"
)

func addTools(srv *server.MCPServer) {
	city := mcp.WithString("city", mcp.Required(), mcp.Description("a city that has a weather station"))

	srv.AddTool(mcp.NewTool(toolConvert,
		mcp.WithDescription("converts a temperature from Celsius to Fahrenheit"),
		mcp.WithNumber("celsius", mcp.Required()),
	), convert)
	srv.AddTool(mcp.NewTool(toolForecast,
		mcp.WithDescription("forecasts the temperatures of the next days"), city,
		mcp.WithNumber("days", mcp.DefaultNumber(3), mcp.Min(1), mcp.Max(14)),
	), forecast)
	srv.AddTool(mcp.NewTool(toolClimate,
		mcp.WithDescription("averages a whole year, which takes a while"), city), climate)
	srv.AddTool(mcp.NewTool(toolSummarize,
		mcp.WithDescription("puts the forecast into words, with the client's model"), city), summarize)
	srv.AddTool(mcp.NewTool(toolRadar,
		mcp.WithDescription("shows the newest radar image; it has a bug"), city), radar)

	srv.AddPrompt(mcp.NewPrompt(promptPacking,
		mcp.WithPromptDescription("what to pack for a city"),
		mcp.WithArgument("city", mcp.RequiredArgument()),
	), packingList)
	srv.AddResource(mcp.NewResource(stationsURI, "stations", mcp.WithMIMEType("application/json")), readStations)
}

// stations maps a city to its latitude, from which all weather here is made.
var stations = map[string]float64{"Nairobi": -1.3, "Oslo": 59.9, "Paris": 48.9, "Tokyo": 35.7}

// temperature is a simple model of the climate: colder away from the equator,
// and with larger seasons.
func temperature(latitude float64, day int) float64 {
	season := math.Cos(2 * math.Pi * float64(day-200) / 365)
	return 28 - 0.35*math.Abs(latitude) + 0.22*latitude*season
}

func convert(_ context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	celsius, err := req.RequireFloat("celsius")
	if err != nil {
		return mcp.NewToolResultError(err.Error()), nil
	}
	return mcp.NewToolResultText(fmt.Sprintf("%.1f °F", celsius*9/5+32)), nil
}

// forecast fails for a city without a station, in the way that MCP wants it:
// with a result that the model can read (isError), not with a protocol error.
func forecast(_ context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	city := req.GetString("city", "")
	latitude, ok := stations[city]
	if !ok {
		return mcp.NewToolResultErrorf("no weather station in %q", city), nil
	}
	today := time.Now().YearDay()
	var text strings.Builder
	for day := range min(req.GetInt("days", 3), 14) {
		fmt.Fprintf(&text, "day %d: %.0f °C\n", day+1, temperature(latitude, today+day))
	}
	return mcp.NewToolResultText(text.String()), nil
}

// climate is slow: it waits for an archive, month by month.
func climate(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	latitude := stations[req.GetString("city", "")]
	var sum float64
	for month := range 12 {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(25 * time.Millisecond):
		}
		for day := range 30 {
			sum += temperature(latitude, month*30+day)
		}
	}
	return mcp.NewToolResultText(fmt.Sprintf("%.1f °C over the year", sum/360)), nil
}

// summarize asks the client's model. It is written once for both eras of the
// protocol: a client of 2026-07-28 gets the question as the answer of its call
// and calls again with what the model said; for an older client mcp-go sends
// it a sampling/createMessage in between.
func summarize(_ context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if answer := server.SamplingResponse(req.Params.InputResponses, "words"); answer != nil {
		return mcp.NewToolResultText(mcp.GetTextFromContent(answer.Content)), nil
	}
	question := fmt.Sprintf("How will the weather be in %s?", req.GetString("city", ""))
	return server.NewInputRequestBuilder("").Sample("words", mcp.CreateMessageParams{
		MaxTokens: 100,
		Messages:  []mcp.SamplingMessage{{Role: mcp.RoleUser, Content: mcp.NewTextContent(question)}},
	}).ToolResult(), nil
}

// radar has the bug of the example: it is off by one.
func radar(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	images := []string{"06:00", "12:00", "18:00"}
	newest := len(images)
	return mcp.NewToolResultText(images[newest]), nil
}

func packingList(_ context.Context, req mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
	text := "Write a packing list for a weekend in " + req.Params.Arguments["city"] + "."
	return mcp.NewGetPromptResult("packing list", []mcp.PromptMessage{
		mcp.NewPromptMessage(mcp.RoleUser, mcp.NewTextContent(text)),
	}), nil
}

func readStations(context.Context, mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
	body, err := json.Marshal(slices.Sorted(maps.Keys(stations)))
	if err != nil {
		return nil, err
	}
	return []mcp.ResourceContents{
		mcp.TextResourceContents{URI: stationsURI, MIMEType: "application/json", Text: string(body)},
	}, nil
}
