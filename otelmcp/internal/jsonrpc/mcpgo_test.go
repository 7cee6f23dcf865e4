// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package jsonrpc

// That Parse and Head say of a message what mcp-go understands of it: the same
// messages go to a server, directly and on stdio, and to both.

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

func TestConstants(t *testing.T) {
	for got, want := range map[string]string{
		Version:             mcp.JSONRPC_VERSION,
		metaProtocolVersion: mcp.MetaKeyProtocolVersion,
		metaClientInfo:      mcp.MetaKeyClientInfo,
		methodInitialize:    string(mcp.MethodInitialize),
		methodToolsCall:     string(mcp.MethodToolsCall),
	} {
		if got != want {
			t.Errorf("%q is %q in mcp-go", got, want)
		}
	}
}

// corpus is what the tests here and the fuzz targets start from. No message
// stands on several lines, so that all of them pass on stdio.
func corpus() []string {
	const modern = `"_meta":{"` + mcp.MetaKeyProtocolVersion + `":"2026-07-28","` + mcp.MetaKeyClientCapabilities + `":{},"` +
		mcp.MetaKeyClientInfo + `":{"Name":"c","version":"1"}}`
	messages := []string{
		``, ` `, `{`, `}`, `x`, `nul`, `null`, `true`, `5`, `1e999`, `"a"`, `[]`, `[1`, `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, `{}`, `{} x`, "\xef\xbb\xbf{}",
		`{"jsonrpc":"2.0"}`, `{"jsonrpc":2,"id":1,"method":"ping"}`, `{"jsonrpc":null,"id":1,"method":"ping"}`, `{"jsonrpc":"1.0","id":1,"method":"ping"}`,
		`{"jsonrpc":"1.0","method":"ping"}`, `{"id":1,"method":"ping"}`, `{"jsonrpc":"2.0","jsonrpc":"1.0","id":1,"method":"ping"}`,
		`{"jsonrpc":"2.0","jsonrpc":null,"id":1,"method":"ping"}`, `{"JSONRPC":"2.0","ID":1,"METHOD":"ping"}`, `{"jſonrpc":"2.0","id":1,"method":"ping"}`,
		`{"\u006asonrpc":"2.0","i\u0064":1,"method":"\u0070ing"}`, "{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"method\":\"p\xfe\"}", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\tb\"}",

		`{"jsonrpc":"2.0","id":1}`, `{"jsonrpc":"2.0","id":1,"method":""}`, `{"jsonrpc":"2.0","id":1,"method":null}`, `{"jsonrpc":"2.0","id":1,"method":5}`,
		`{"jsonrpc":"2.0","id":1,"method":"ping","METHOD":5}`, `{"jsonrpc":"2.0","id":1,"METHOD":"nope","method":"ping"}`, `{"jsonrpc":"2.0","id":1,"method":"ping","method":null}`,
		`{"jsonrpc":"2.0","id":1,"method":"nope"}`, `{"jsonrpc":"2.0","id":1,"method":"ping","result":1}`, `{"jsonrpc":"2.0","id":1,"method":"ping","Result":null}`,

		`{"jsonrpc":"2.0","id":1,"result":{}}`, `{"jsonrpc":"2.0","id":1,"result":null}`, `{"jsonrpc":"2.0","id":1,"result":false}`, `{"jsonrpc":"2.0","id":1,"result":1,"result":null}`,
		`{"jsonrpc":"2.0","id":1,"result":null,"RESULT":1}`, `{"jsonrpc":"2.0","id":1,"result":{"a":[1e999]}}`, `{"jsonrpc":"2.0","id":1,"result":1e999,"result":1}`,
		`{"jsonrpc":"2.0","id":1,"result":"1e999"}`, `{"jsonrpc":"2.0","id":1,"result":1e-999}`, `{"jsonrpc":"2.0","id":1,"result":1` + strings.Repeat("0", 309) + `}`,
		`{"jsonrpc":"2.0","id":1,"result":1` + strings.Repeat("0", 308) + `}`, `{"jsonrpc":"2.0","id":1,"result":2` + strings.Repeat("0", 308) + `}`,
		`{"jsonrpc":"1.0","id":1,"result":{}}`, `{"jsonrpc":"2.0","result":{}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}`,
		`{"jsonrpc":"2.0","id":1,"error":1e999}`, `{"jsonrpc":"2.0","error":{"code":5}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":"5"},"result":{}}`,

		`{"jsonrpc":"2.0","method":"notifications/initialized"}`, `{"jsonrpc":"2.0","id":null,"method":"seen"}`, `{"jsonrpc":"2.0","method":"seen","params":null}`,
		`{"jsonrpc":"2.0","method":"seen","params":{}}`, `{"jsonrpc":"2.0","method":"seen","params":[]}`, `{"jsonrpc":"2.0","method":"seen","params":"a"}`, `{"jsonrpc":"2.0","method":"seen","params":5}`,
		`{"jsonrpc":"2.0","method":"seen","params":[],"params":{}}`, `{"jsonrpc":"2.0","method":"seen","params":{"x":1e999}}`, `{"jsonrpc":"2.0","method":"seen","params":{"x":"1e999"}}`,
		`{"jsonrpc":"2.0","method":"seen","PARAMS":{"requestId":1},"params":{"_meta":{"k":1}}}`, `{"jsonrpc":"2.0","method":"seen","params":{"requestId":"1","REQUESTID":2}}`,
		`{"jsonrpc":"2.0","method":"seen","params":{"requestId":1.0,"requestId":1.50}}`, `{"jsonrpc":"2.0","method":"seen","params":{"requestId":{"a":[]},"_META":{"k":2}}}`,
		`{"jsonrpc":"2.0","method":"seen","params":{"_meta":5,"requestId":null}}`, `{"jsonrpc":"2.0","method":"seen","method":"seen","id":1,"id":null}`,
		`{"jsonrpc":"2.0","method":5,"params":{}}`, `{"jsonrpc":"2.0","method":"ping"}`, `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"echo"}}`,

		`{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}`, `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"a":1}}}`, `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":1e999}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}`, `{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"NAME":"echo","arguments":{"name":"b"}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"echo","name":null,"_meta":{"a":1},"_META":{"b":2}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"},"params":{"arguments":{}}}`, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":5}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"deep":1e999}}}`, `{"jsonrpc":2,"id":1,"method":"tools/call","params":{"name":"echo"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nope"}}`, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo",` + modern + `}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + modern + `}}`, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"` + mcp.MetaKeyProtocolVersion + `":"2026-07-28"}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"` + mcp.MetaKeyProtocolVersion + `":"2999-01-01","` + mcp.MetaKeyClientCapabilities + `":{}}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"greet"}}`, `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a","URI":"file:///b"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"ProtocolVersion":"2025-11-25","clientInfo":{"Name":"c"},"clientInfo":{"VERSION":"1","version":"2"}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"","clientInfo":{}}}`, `{"jsonrpc":"2.0","id":1,"method":"initialize"}`,
	}
	for _, id := range []string{
		`0`, `-0`, `-1`, `1.0`, `1.5`, `1e3`, `1E-3`, `1e21`, `1e300`, `-1e300`, `1e-7`, `5e-324`, `1e999`, `9007199254740993`, `9223372036854775807`, `9223372036854775808`, `-9223372036854775808`,
		`0.1`, `100000000000000000000000`, `123456789.123456789`, `""`, `"1"`, `"a b"`, `"<&>"`, `"\u2028\u0000\ud800\ud83d\ude00"`, `"é"`, `"null"`, `true`, `false`, `[]`, `{}`, `[1,"a",null,1e3]`,
		`{"b":1,"a":{"c":"<"}}`, `{"a":1,"a":2,"A":3}`, `[1e999]`, `[[[[[[[]]]]]]]`, `1,"id":"a"`, `1,"ID":null`, `null,"Id":2`,
	} {
		messages = append(messages, `{"jsonrpc":"2.0","id":`+id+`,"method":"ping"}`, `{"jsonrpc":"2.0","id":`+id+`,"method":"nope"}`,
			`{"jsonrpc":"1.0","id":`+id+`,"method":"ping"}`, `{"jsonrpc":"2.0","id":`+id+`,"method":"tools/call","params":{"name":"echo"}}`, `{"jsonrpc":"2.0","id":`+id+`,"result":{}}`)
	}
	return messages
}

// understood is what a server's program is told of a message.
type understood struct {
	request      bool
	id           any
	method       mcp.MCPMethod
	message      any
	info         *server.RequestProtocolInfo
	notification *mcp.JSONRPCNotification
}

func newServer(saw func(understood)) *server.MCPServer {
	hooks := &server.Hooks{}
	hooks.AddBeforeAny(func(ctx context.Context, id any, method mcp.MCPMethod, message any) {
		saw(understood{request: true, id: id, method: method, message: message, info: server.RequestProtocolInfoFromContext(ctx)})
	})
	s := server.NewMCPServer("test", "1", server.WithHooks(hooks), server.WithToolCapabilities(true), server.WithPromptCapabilities(true), server.WithResourceCapabilities(true, true))
	s.AddTool(mcp.NewTool("echo"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText("done"), nil
	})
	s.AddPrompt(mcp.NewPrompt("greet"), func(context.Context, mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		return mcp.NewGetPromptResult("hello", nil), nil
	})
	s.AddNotificationHandler("seen", func(_ context.Context, n mcp.JSONRPCNotification) {
		saw(understood{notification: &n})
	})
	return s
}

// checkAnswer compares what e says of the answer to a message with the answer,
// which is empty if there was none.
func checkAnswer(t *testing.T, raw string, e Envelope, answer []byte) {
	t.Helper()
	if e.Silent != (len(answer) == 0) {
		t.Errorf("%s: Silent is %t, and the answer %q", raw, e.Silent, answer)
	}
	if len(answer) == 0 {
		return
	}
	parsed := Parse(answer)
	head, complete := Head(answer)
	if !complete || head.Key != parsed.Key || head.ID != parsed.ID || head.Code != parsed.Code || head.HasResult != parsed.HasResult || head.HasError != parsed.HasError {
		t.Errorf("%s: of %s Head says %+v, Parse %+v", raw, answer, head, parsed)
	}
	if e.NullAnswer != (head.Key == "") {
		t.Errorf("%s: NullAnswer is %t, and the answer %s", raw, e.NullAnswer, answer)
	}
	if !e.NullAnswer && (e.Key != head.Key || e.ID != head.ID) {
		t.Errorf("%s: the key is %q, that of the answer %q", raw, e.Key, head.Key)
	}
	var said struct {
		Error mcp.JSONRPCErrorDetails `json:"error"`
	}
	if json.Unmarshal(answer, &said) != nil || said.Error.Code != head.Code {
		t.Errorf("%s: Head says code %d of %s", raw, head.Code, answer)
	}
}

// answerOf returns what s answers to raw; nothing if it does not.
func answerOf(t *testing.T, s *server.MCPServer, raw string) []byte {
	t.Helper()
	a := s.HandleMessage(t.Context(), json.RawMessage(raw))
	if a == nil {
		return nil
	}
	answer, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestHandleMessage(t *testing.T) {
	var saw []understood
	s := newServer(func(u understood) { saw = append(saw, u) })
	for _, raw := range corpus() {
		saw = nil
		e := Parse([]byte(raw))
		checkAnswer(t, raw, e, answerOf(t, s, raw))
		if len(saw) > 1 {
			t.Fatalf("%s: the program is told %d times", raw, len(saw))
		}
		for _, u := range saw {
			checkUnderstood(t, raw, e, u)
		}
	}
}

// checkUnderstood compares e with what mcp-go told the program.
func checkUnderstood(t *testing.T, raw string, e Envelope, u understood) {
	t.Helper()
	var want Envelope
	var wantMeta map[string]any
	if n := u.notification; n != nil {
		want = Envelope{Kind: Notification, Method: n.Method}
		wantMeta = n.Params.Meta
		want.Target, want.TargetKey = ID(n.Params.AdditionalFields["requestId"])
	} else {
		want = Envelope{Kind: Request, Method: string(u.method)}
		wantMeta = metaOf(u.message)
		want.ID, want.Key = ID(u.id)
		if u.info != nil && u.info.Modern {
			want.ProtocolVersion = u.info.ProtocolVersion
			if u.info.ClientInfo != nil {
				want.ClientName, want.ClientVersion = u.info.ClientInfo.Name, u.info.ClientInfo.Version
			}
		}
		switch r := u.message.(type) {
		case *mcp.CallToolRequest:
			want.Name = r.Params.Name
		case *mcp.GetPromptRequest:
			want.Name = r.Params.Name
		case *mcp.ReadResourceRequest:
			want.URI = r.Params.URI
		case *mcp.InitializeRequest:
			want.ProtocolVersion, want.ClientName, want.ClientVersion = r.Params.ProtocolVersion, r.Params.ClientInfo.Name, r.Params.ClientInfo.Version
		}
	}
	got := Envelope{
		Kind: e.Kind, Method: e.Method, ID: e.ID, Key: e.Key, Name: e.Name, URI: e.URI, Target: e.Target, TargetKey: e.TargetKey,
		ProtocolVersion: e.ProtocolVersion, ClientName: e.ClientName, ClientVersion: e.ClientVersion,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n    got %+v\nmcp-go %+v", raw, got, want)
	}
	meta := e.Meta()
	if len(wantMeta)+len(meta) > 0 && !reflect.DeepEqual(meta, wantMeta) {
		t.Errorf("%s: _meta is %v, to mcp-go %v", raw, meta, wantMeta)
	}
	if version, _ := meta[metaProtocolVersion].(string); version != e.MetaVersion {
		t.Errorf("%s: MetaVersion is %q", raw, e.MetaVersion)
	}
	if _, capable := meta[metaCapabilities].(map[string]any); capable != e.Capable {
		t.Errorf("%s: Capable is %v", raw, e.Capable)
	}
}

// metaOf returns the _meta of a decoded request.
func metaOf(request any) map[string]any {
	var meta *mcp.Meta
	switch r := request.(type) {
	case *mcp.CallToolRequest:
		meta = r.Params.Meta
	default:
		b, err := json.Marshal(request)
		if err != nil {
			return nil
		}
		var back struct {
			Params struct {
				Meta map[string]any `json:"_meta"`
			} `json:"params"`
		}
		if json.Unmarshal(b, &back) != nil {
			return nil
		}
		return back.Params.Meta
	}
	if meta == nil {
		return nil
	}
	return meta.AdditionalFields
}

// TestStdio asks mcp-go's stdio server, which answers some messages itself. Each
// message has the server to itself: it answers out of order.
func TestStdio(t *testing.T) {
	s := newServer(func(understood) {})
	for _, raw := range corpus() {
		e := Parse([]byte(raw))
		checkAnswer(t, raw, e, overStdio(t, s, raw, !e.Silent))
	}
}

// overStdio returns the answer to raw, of which expected says whether to wait for
// it. What comes without being expected is returned all the same.
func overStdio(t *testing.T, s *server.MCPServer, raw string, expected bool) (answer []byte) {
	t.Helper()
	const last = `{"jsonrpc":"2.0","id":"the last","method":"ping"}`
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	stdio := server.NewStdioServer(s)
	stdio.SetErrorLogger(log.New(io.Discard, "", 0))
	ended := make(chan error, 1)
	go func() {
		ended <- stdio.Listen(t.Context(), inR, outW)
		_ = outW.Close()
	}()
	lines := make(chan []byte, 4)
	go func() {
		defer close(lines)
		for out := bufio.NewReader(outR); ; {
			line, err := out.ReadBytes('\n')
			if err != nil {
				return
			}
			lines <- line
		}
	}()
	if _, err := io.WriteString(inW, raw+"\n"+last+"\n"); err != nil {
		t.Fatal(err)
	}
	wait := 1
	if expected {
		wait = 2
	}
	timeout := time.After(10 * time.Second)
	for n := 0; ; n++ {
		if n == wait { // the server waits for what it still does
			if err := inW.Close(); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case line, ok := <-lines:
			switch {
			case !ok:
				if err := <-ended; err != nil {
					t.Errorf("%s: %v", raw, err)
				}
				return answer
			case strings.Contains(string(line), `"the last"`):
			case answer != nil:
				t.Errorf("%s: a second answer %s", raw, line)
			default:
				answer = line
			}
		case <-timeout:
			_ = inW.Close()
			t.Fatalf("%s: %d lines instead of %d", raw, n, wait)
		}
	}
}
