// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package bench

// The server that every contender instruments.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// together is how many calls the tool "together" waits for before it answers any.
const together = 16

// buildServer makes the server with the options that a contender needs. It has as many tools as told, beside its
// own few.
func buildServer(tools int, opts ...server.ServerOption) *server.MCPServer {
	srv := server.NewMCPServer("bench", "1.0.0", opts...)
	srv.AddTool(mcp.NewTool("echo", mcp.WithString("text")), echo)
	srv.AddTool(mcp.NewTool("fails"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return nil, errors.New("it failed")
	})
	srv.AddTool(mcp.NewTool("refuses"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultError("it refused"), nil
	})
	srv.AddTool(mcp.NewTool("together"), waitForOthers())
	srv.AddTool(mcp.NewTool("works"), works)
	srv.AddTool(mcp.NewTool("streams"), streams)
	srv.AddTool(mcp.NewTool("usage"), usageTool)
	srv.AddTool(mcp.NewTool("watch-locks"), watchLocksTool)
	srv.AddTool(mcp.NewTool("locks"), locksTool)
	page := strings.Repeat("0123456789abcdef", 1<<20/16)
	srv.AddResource(mcp.NewResource("bench://page", "page"),
		func(context.Context, mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
			return []mcp.ResourceContents{mcp.TextResourceContents{URI: "bench://page", Text: page}}, nil
		})
	more := make([]server.ServerTool, tools)
	for k := range more {
		more[k] = server.ServerTool{
			Tool: mcp.NewToolWithRawSchema("tool-"+strconv.Itoa(k), "one of many",
				json.RawMessage(`{"type":"object","properties":{"text":{"type":"string"},"count":{"type":"integer"}}}`)),
			Handler: echo,
		}
	}
	if tools > 0 {
		srv.AddTools(more...)
	}
	return srv
}

func echo(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	return mcp.NewToolResultText(r.GetString("text", "")), nil
}

// works takes as long as one that asks a database, or another service.
func works(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	time.Sleep(5 * time.Millisecond)
	return mcp.NewToolResultText("done"), nil
}

// streams is answered with a stream of events.
func streams(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	err := server.ServerFromContext(ctx).SendNotificationToClient(ctx, "notifications/progress",
		map[string]any{"progressToken": 1, "progress": 1})
	return mcp.NewToolResultText("done"), err
}

// waitForOthers keeps a call until as many are there as are to be in flight together.
func waitForOthers() server.ToolHandlerFunc {
	var here sync.WaitGroup
	here.Add(together)
	return func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		here.Done()
		here.Wait()
		return mcp.NewToolResultText("all are here"), nil
	}
}

// usage is what a process has allocated since it began.
type usage struct{ Mallocs, Bytes uint64 }

func currentUsage() usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{m.Mallocs, m.TotalAlloc}
}

func usageTool(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	return jsonResult(currentUsage())
}

func watchLocksTool(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	runtime.SetMutexProfileFraction(1)
	return mcp.NewToolResultText("watching"), nil
}

func locksTool(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	waits, err := lockWaits()
	if err != nil {
		return nil, err
	}
	return jsonResult(waits)
}

func jsonResult(v any) (*mcp.CallToolResult, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return mcp.NewToolResultText(string(text)), nil
}

// lockWaits returns how many seconds locks were waited for, by the package that held them.
func lockWaits() (map[string]float64, error) {
	// The profiler counts cycles, and tells only in its text form how many make a second.
	var text bytes.Buffer
	if err := pprof.Lookup("mutex").WriteTo(&text, 1); err != nil {
		return nil, err
	}
	var perSecond float64
	if _, err := fmt.Sscanf(text.String(), "--- mutex:\ncycles/second=%f\n", &perSecond); err != nil {
		return nil, fmt.Errorf("mutex profile %.60q: %w", text.String(), err)
	}
	var records []runtime.BlockProfileRecord
	for n, ok := runtime.MutexProfile(nil); !ok; {
		records = make([]runtime.BlockProfileRecord, n+n/4+16)
		if n, ok = runtime.MutexProfile(records); ok {
			records = records[:n]
		}
	}
	waits := map[string]float64{}
	for k := range records {
		waits[owner(records[k].Stack())] += float64(records[k].Cycles) / perSecond
	}
	return waits, nil
}

// owner is the package of the function that released the lock: the first one that is not the lock's own.
func owner(stack []uintptr) string {
	frames := runtime.CallersFrames(stack)
	for {
		f, more := frames.Next()
		if p := packageOf(f.Function); p != "" && p != "runtime" && p != "sync" && p != "internal/sync" || !more {
			return p
		}
	}
}

// packageOf cuts what follows the path from the full name of a function.
func packageOf(function string) string {
	slash := strings.LastIndexByte(function, '/') + 1
	name, _, _ := strings.Cut(function[slash:], ".")
	return function[:slash] + name
}

// textOf returns the text of an answer to tools/call, which may be the last event of a stream.
func textOf(answer []byte) (string, error) {
	if at := bytes.LastIndex(answer, []byte("data: ")); at >= 0 && answer[0] != '{' {
		answer = answer[at+len("data: "):]
	}
	var a struct {
		Error  *struct{ Message string }
		Result struct{ Content []struct{ Text string } }
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return "", fmt.Errorf("answer %.200q: %w", answer, err)
	}
	if a.Error != nil || len(a.Result.Content) == 0 {
		return "", fmt.Errorf("answer without content: %.200q", answer)
	}
	return a.Result.Content[0].Text, nil
}
