// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp_test

// The corpus of TestHTTPCorpus, a case each with what it leaves behind: outcome,
// stage, method, HTTP status, JSON-RPC code, and what else is worth saying.

import (
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
)

func one(s, want string) []step { return []step{{send: s, want: want}} }

var (
	callEcho = `{"name":"echo","arguments":{"text":"hi"}}`
	deep     = strings.Repeat("[", 20000) + strings.Repeat("]", 20000)
	large    = strings.Repeat("x", 3<<20)
)

var rawCorpus = []httpCase{
	// What is right.
	{name: "initialize", steps: one(rawPost(rpc("1", "initialize", initializeParams)), "ok handler initialize 200 -")},
	{name: "ping", open: true, steps: one(inSession(rpc("1", "ping", "{}")), "ok handler ping 200 -")},
	{name: "tools/call", open: true, steps: one(inSession(rpc("1", "tools/call", callEcho)), "ok handler tools/call 200 -")},
	{name: "tools/call in the newest version", steps: one(rawPost(modernRPC("1", "tools/call", callEcho), modernHeaders("tools/call", "echo")...), "ok handler tools/call 200 -")},
	{name: "discover", steps: one(rawPost(modernRPC("1", "server/discover", "{}"), modernHeaders("server/discover", "")...), "ok handler server/discover 200 -")},
	{name: "charset", open: true, steps: one(inSession(rpc("1", "ping", "{}"), "Content-Type: application/json; charset=utf-8"), "ok handler ping 200 -")},
	{name: "initialized", open: true, steps: one(inSession(`{"jsonrpc":"2.0","method":"notifications/initialized"}`), "ok dispatch notifications/initialized 202 -")},
	{name: "progress", open: true, steps: one(inSession(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":2}}`), "ok dispatch notifications/progress 202 -")},
	{name: "roots changed", open: true, steps: one(inSession(`{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`), "ok dispatch notifications/roots/list_changed 202 -")},
	{name: "cancelled, of nothing", open: true, steps: one(inSession(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":77}}`), "ok dispatch notifications/cancelled 202 -")},
	{name: "a notification that is none of the protocol's", open: true, steps: one(inSession(`{"jsonrpc":"2.0","method":"notifications/evil"}`), "ok dispatch notifications/evil 202 -")},
	{name: "a notification with a null id", open: true, steps: one(inSession(`{"jsonrpc":"2.0","id":null,"method":"notifications/initialized"}`), "ok dispatch notifications/initialized 202 -")},
	{name: "a modern notification", steps: one(rawPost(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"_meta":{"`+mcp.MetaKeyProtocolVersion+`":"2026-07-28"}}}`, modernHeaders("notifications/cancelled", "")...), "ok dispatch notifications/cancelled 202 -")},
	{name: "DELETE", open: true, steps: one(plain("DELETE", "/", "Mcp-Session-Id: {session}"), "ok transport - 200 -")},
	{name: "a GET stream", open: true, steps: []step{{send: plain("GET", "/", "Mcp-Session-Id: {session}"), until: "\r\n\r\n", want: "ok transport - 200 - disconnect"}}},
	{name: "a GET stream of its own", steps: []step{{send: plain("GET", "/"), until: "\r\n\r\n", want: "ok transport - 200 - disconnect"}}},
	{name: "HEAD", steps: one(plain("HEAD", "/"), "ok transport - 200 -")},
	{name: "preflight", serve: "cors", steps: one(plain("OPTIONS", "/", "Origin: https://app.example", "Access-Control-Request-Method: POST"), "ok transport - 204 -")},
	{name: "two at once on one connection", open: true, steps: one(
		strings.Replace(inSession(rpc("1", "ping", "{}")), "Connection: close\r\n", "", 1)+inSession(rpc("2", "tools/list", "{}")), "ok handler ping 200 -; ok handler tools/list 200 -")},
	{name: "chunked", open: true, steps: one("POST / HTTP/1.1\r\nHost: {host}\r\nMcp-Session-Id: {session}\r\nConnection: close\r\nContent-Type: application/json\r\n"+
		"Transfer-Encoding: chunked\r\n\r\n10\r\n{\"jsonrpc\":\"2.0\"\r\n18\r\n,\"id\":1,\"method\":\"ping\"}\r\n0\r\n\r\n", "ok handler ping 200 -")},
	{name: "chunks that lie", open: true, steps: one("POST / HTTP/1.1\r\nHost: {host}\r\nMcp-Session-Id: {session}\r\nConnection: close\r\nContent-Type: application/json\r\n"+
		"Transfer-Encoding: chunked\r\n\r\n10\r\n{\"jsonrpc\":\"2.0\"\r\n18\r\n,\"id\":1,\"method\":\"ping\"}  \r\n0\r\n\r\n", "rejected transport ping 400 -32700")},
	{name: "HTTP/1.0", open: true, steps: one(strings.Replace(inSession(rpc("1", "ping", "{}")), "HTTP/1.1", "HTTP/1.0", 1), "ok handler ping 200 -")},
	{name: "expect", open: true, steps: one(inSession(rpc("1", "ping", "{}"), "Expect: 100-continue"), "ok handler ping 200 -")},
	{name: "a large call", open: true, steps: one(inSession(rpc("1", "tools/call", `{"name":"echo","arguments":{"text":"`+large+`"}}`)), "ok handler tools/call 200 -")},
	{name: "no handshake", serve: "stateless", steps: one(rawPost(rpc("1", "tools/call", callEcho)), "ok handler tools/call 200 -")},

	// What fails in dispatch.
	{name: "a tool that fails", open: true, steps: one(inSession(rpc("1", "tools/call", `{"name":"fails"}`)), "tool_error handler tools/call 200 -")},
	{name: "a tool with an error", open: true, steps: one(inSession(rpc("1", "tools/call", `{"name":"errors"}`)), "error handler tools/call 200 -32603")},
	{name: "a tool that panics", open: true, steps: one(inSession(rpc("1", "tools/call", `{"name":"panics"}`)), "panic handler tools/call - -")},
	{name: "an unknown tool", open: true, steps: one(inSession(rpc("1", "tools/call", `{"name":"nope"}`)), "rejected dispatch tools/call 200 -32602")},
	{name: "a hidden tool", open: true, steps: one(inSession(rpc("1", "tools/call", `{"name":"hidden"}`)), "denied dispatch tools/call 200 -32602 hidden")},
	{name: "an unknown method", open: true, steps: one(inSession(rpc("41", "evil/method", "{}")), "rejected dispatch evil/method 200 -32601")},
	{name: "an unknown modern method", steps: one(rawPost(modernRPC("41", "evil/method", "{}"), modernHeaders("evil/method", "")...), "rejected dispatch evil/method 404 -32601")},
	{name: "a modern unknown tool", steps: one(rawPost(modernRPC("1", "tools/call", `{"name":"nope"}`), modernHeaders("tools/call", "nope")...), "rejected dispatch tools/call 400 -32602")},
	{name: "an unknown resource", open: true, steps: one(inSession(rpc("1", "resources/read", `{"uri":"note://none"}`)), "rejected dispatch resources/read 200 -32002")},
	{name: "bad params", open: true, steps: one(inSession(rpc("1", "tools/call", `[]`)), "rejected dispatch tools/call 200 -32600")},
	{name: "name of another type", open: true, steps: one(inSession(rpc("1", "tools/call", `{"name":5}`)), "rejected dispatch tools/call 200 -32600")},

	// What is not JSON-RPC.
	{name: "nothing", open: true, steps: one(inSession(""), "rejected transport - 400 -32700")},
	{name: "white space", open: true, steps: one(inSession(" \r\n\t "), "rejected transport - 400 -32700")},
	{name: "a word", open: true, steps: one(inSession("hello"), "rejected transport - 400 -32700")},
	{name: "half an object", open: true, steps: one(inSession(`{"jsonrpc":"2.0","id":1,"meth`), "rejected transport - 400 -32700")},
	{name: "two objects", open: true, steps: one(inSession(rpc("1", "ping", "{}")+rpc("2", "ping", "{}")), "rejected transport - 400 -32700")},
	{name: "trailing text", open: true, steps: one(inSession(rpc("1", "ping", "{}")+"x"), "rejected transport - 400 -32700")},
	{name: "null", open: true, steps: one(inSession("null"), "rejected transport - 200 -32600")},
	{name: "a number", open: true, steps: one(inSession("5"), "rejected transport - 400 -32700")},
	{name: "a string", open: true, steps: one(inSession(`"tools/call"`), "rejected transport - 400 -32700")},
	{name: "an empty object", open: true, steps: one(inSession("{}"), "rejected transport - 200 -32600")},
	{name: "an empty batch", open: true, steps: one(inSession("[]"), "rejected transport - 400 -32700")},
	{name: "a batch", open: true, steps: one(inSession("["+rpc("1", "ping", "{}")+","+rpc("2", "ping", "{}")+"]"), "rejected transport - 400 -32700")},
	{name: "a batch of garbage", open: true, steps: one(inSession("[1,2"), "rejected transport - 400 -32700")},
	{name: "deep nesting", open: true, steps: one(inSession(rpc("1", "ping", deep)), "rejected transport - 400 -32700")},
	{name: "bytes that are no UTF-8", open: true, steps: one(inSession("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\xfe\",\"params\":{}}"), "rejected dispatch �� 200 -32601")},
	{name: "binary", open: true, steps: one(inSession("\x00\x01\x02\xff"), "rejected transport - 400 -32700")},
	{name: "a byte order mark", open: true, steps: one(inSession("\ufeff"+rpc("1", "ping", "{}")), "rejected transport - 400 -32700")},
	{name: "UTF-16", open: true, steps: one(inSession("\xff\xfe{\x00}\x00"), "rejected transport - 400 -32700")},
	{name: "line ends in a method", open: true, steps: one(inSession(`{"jsonrpc":"2.0","id":1,"method":"ping\r\n[31mFAKE"}`), "rejected dispatch ping [31mFAKE 200 -32601")},
	{name: "line ends in a tool's name", open: true, steps: one(inSession(rpc("1", "tools/call", `{"name":"echo\r\nlevel=INFO msg=ok"}`)), "rejected dispatch tools/call 200 -32602")},
	{name: "a raw line end in a string", open: true, steps: one(inSession("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pi\nng\"}"), "rejected transport - 400 -32700")},
	{name: "duplicate keys", open: true, steps: one(inSession(`{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list","id":2}`), "ok handler tools/list 200 -")},
	{name: "keys in capitals", open: true, steps: one(inSession(`{"JSONRPC":"2.0","ID":1,"METHOD":"ping"}`), "ok handler ping 200 -")},
	{name: "another version", open: true, steps: one(inSession(`{"jsonrpc":"1.0","id":1,"method":"ping"}`), "rejected transport ping 200 -32600")},
	{name: "no version", open: true, steps: one(inSession(`{"id":1,"method":"ping"}`), "rejected transport ping 200 -32600")},
	{name: "a version that is a number", open: true, steps: one(inSession(`{"jsonrpc":2.0,"id":1,"method":"ping"}`), "rejected transport ping 200 -32700")},
	{name: "another version, of a notification", open: true, steps: one(inSession(`{"jsonrpc":"1.0","method":"notifications/initialized"}`), "rejected transport notifications/initialized 200 -32600")},
	{name: "a method that is a number", open: true, steps: one(inSession(`{"jsonrpc":"2.0","id":1,"method":7}`), "rejected transport - 400 -32700")},
	{name: "no method", open: true, steps: one(inSession(`{"jsonrpc":"2.0","id":1}`), "rejected transport - 202 -")},
	{name: "an empty method", open: true, steps: one(inSession(`{"jsonrpc":"2.0","id":1,"method":"","params":{}}`), "rejected transport - 202 -")},
	{name: "no id and no method", open: true, steps: one(inSession(`{"jsonrpc":"2.0"}`), "ok dispatch - 202 -")},
	{name: "an id that is an object", open: true, steps: one(inSession(`{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}`), "ok handler ping 200 -")},
	{name: "an id that is true", open: true, steps: one(inSession(`{"jsonrpc":"2.0","id":true,"method":"ping"}`), "ok handler ping 200 -")},
	{name: "an id that is a fraction", open: true, steps: one(inSession(`{"jsonrpc":"2.0","id":1.5,"method":"ping"}`), "ok handler ping 200 -")},
	{name: "an id that is huge", open: true, steps: one(inSession(`{"jsonrpc":"2.0","id":123456789012345678901234567890,"method":"ping"}`), "ok handler ping 200 -")},
	{name: "a notification with params that are a list", open: true, steps: one(inSession(`{"jsonrpc":"2.0","method":"notifications/initialized","params":[1]}`), "rejected transport notifications/initialized 200 -32700")},
	{name: "a request with a result", open: true, steps: one(inSession(`{"jsonrpc":"2.0","id":1,"method":"ping","result":{"a":1}}`), "rejected transport ping 202 -")},
	{name: "large garbage", open: true, steps: one(inSession(large), "rejected transport - 400 -32700")},
	{name: "a large message that is cut off", open: true, steps: one(inSession(`{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"`+large), "rejected transport tools/call 400 -32700")},

	// Responses.
	{name: "an answer that nobody asked for", open: true, steps: one(inSession(`{"jsonrpc":"2.0","id":1,"result":{"a":1}}`), "rejected transport - 400 -")},
	{name: "an error that nobody asked for", open: true, steps: one(inSession(`{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}`), "rejected transport - 400 -")},
	{name: "a pong that nobody asked for", open: true, steps: one(inSession(`{"jsonrpc":"2.0","id":1,"result":{}}`), "rejected transport - 202 -")},
	{name: "an answer without an answer", open: true, steps: one(inSession(`{"jsonrpc":"2.0","id":1,"result":null}`), "rejected transport - 202 -")},
	{name: "an error without an error", open: true, steps: one(inSession(`{"jsonrpc":"2.0","id":1,"error":{}}`), "rejected transport - 202 -")},
	{name: "an answer without a session", steps: one(rawPost(`{"jsonrpc":"2.0","id":1,"result":{"a":1}}`), "rejected transport - 400 -")},
	{name: "an answer in a forged session", steps: one(rawPost(`{"jsonrpc":"2.0","id":1,"result":{"a":1}}`, "Mcp-Session-Id: "+forged), "denied transport - 404 - unknown unknown_session")},
	{name: "an answer whose id is text", open: true, steps: one(inSession(`{"jsonrpc":"2.0","id":"x","result":{"a":1}}`), "rejected transport - 400 -")},
	{name: "a modern answer", steps: one(rawPost(`{"jsonrpc":"2.0","id":1,"result":{"a":1}}`, "Mcp-Protocol-Version: 2026-07-28"), "rejected transport - 400 -32600")},

	// HTTP.
	{name: "PUT", open: true, steps: one(strings.Replace(inSession(rpc("1", "ping", "{}")), "POST", "PUT", 1), "rejected transport - 404 -")},
	{name: "PATCH", steps: one(plain("PATCH", "/"), "rejected transport - 404 -")},
	{name: "OPTIONS", steps: one(plain("OPTIONS", "/"), "rejected transport - 404 -")},
	{name: "TRACE", steps: one(plain("TRACE", "/"), "rejected transport - 404 -")},
	{name: "a method of its own", steps: one(plain("EVIL", "/"), "rejected transport - 404 -")},
	{name: "no content type", open: true, steps: one(inSession(rpc("1", "ping", "{}"), "Content-Type:"), "rejected transport ping 400 -")},
	{name: "text", open: true, steps: one(inSession(rpc("1", "ping", "{}"), "Content-Type: text/plain"), "rejected transport ping 400 -")},
	{name: "a form", open: true, steps: one(inSession("a=b", "Content-Type: application/x-www-form-urlencoded"), "rejected transport - 400 -")},
	{name: "a content type that is none", open: true, steps: one(inSession(rpc("1", "ping", "{}"), "Content-Type: ;;;"), "rejected transport ping 400 -")},
	{name: "streaming is off", serve: "quiet", steps: one(plain("GET", "/"), "rejected transport - 405 -")},
	{name: "another path", serve: "mux", steps: one(rawPostTo("/other", rpc("1", "ping", "{}")), "rejected transport - 404 -")},
	{name: "a method that the mux has not", serve: "mux", steps: one(plain("GET", "/mcp"), "rejected transport - 405 -")},
	{name: "a handshake behind a mux", serve: "mux", steps: one(rawPostTo("/mcp", rpc("1", "initialize", initializeParams)), "ok handler initialize 200 -")},
	{name: "a path with line ends and a query", serve: "mux", steps: one(plain("GET", "/a%0d%0ab?token=secret"), "rejected transport - 404 -")},
	{name: "a modern GET", steps: one(plain("GET", "/", "Mcp-Protocol-Version: 2026-07-28"), "rejected transport - 405 -")},
	{name: "a modern DELETE", steps: one(plain("DELETE", "/", "Mcp-Protocol-Version: 2026-07-28"), "rejected transport - 405 -")},
	{name: "another host", steps: one(strings.Replace(rawPost(rpc("1", "initialize", initializeParams)), "{host}", "evil.example", 1), "denied transport - 403 - host_rejected")},
	{name: "another host for a stream", steps: one(strings.Replace(plain("GET", "/"), "{host}", "evil.example", 1), "denied transport - 403 - host_rejected")},
	{name: "no credentials", serve: "guarded", steps: one(rawPost(rpc("1", "tools/call", callEcho)), "denied transport - 401 - missing_credentials")},
	{name: "no credentials, and the connection stays", serve: "guarded", steps: one(strings.Replace(rawPost(rpc("1", "tools/call", callEcho)), "Connection: close\r\n", "", 1)+
		rawPost(rpc("2", "tools/list", "{}")), "denied transport - 401 - missing_credentials; denied transport tools/call 401 - missing_credentials")},
	{name: "wrong credentials for a stream", serve: "guarded", steps: one(plain("GET", "/", "Authorization: Bearer x"), "denied transport - 401 - invalid_credentials")},
	{name: "credentials", serve: "guarded", steps: one(rawPost(rpc("1", "initialize", initializeParams), "Authorization: Bearer sesame"), "ok handler initialize 200 -")},
	{name: "more than is read", serve: "small", steps: one(rawPost(rpc("1", "tools/call", `{"name":"`+strings.Repeat("x", 300)+`"}`)), "rejected transport - 400 -32700")},
	{name: "a handler that aborts", serve: "broken", steps: one(rawPost(rpc("1", "ping", "{}")), "panic transport - - -")},
	{name: "a handshake that the program refuses", serve: "picky", steps: one(rawPost(rpc("1", "initialize", `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"evil","version":"1"}}`)), "denied transport initialize 200 -32600 policy")},

	// Sessions.
	{name: "no session", steps: one(rawPost(rpc("1", "ping", "{}")), "rejected transport ping 404 -")},
	{name: "a session that is none", steps: one(rawPost(rpc("1", "ping", "{}"), "Mcp-Session-Id: abc"), "denied transport ping 404 - unknown unknown_session")},
	{name: "a forged session", steps: one(rawPost(rpc("1", "ping", "{}"), "Mcp-Session-Id: "+forged), "ok handler ping 200 - unknown")},
	{name: "a forged session, where sessions are checked", serve: "stateful", steps: one(rawPost(rpc("1", "ping", "{}"), "Mcp-Session-Id: "+forged), "denied transport ping 404 - unknown unknown_session")},
	{name: "a session after its end", open: true, steps: []step{
		{send: plain("DELETE", "/", "Mcp-Session-Id: {session}"), want: "ok transport - 200 -"},
		{send: inSession(rpc("1", "ping", "{}")), want: "ok handler ping 200 - ended"},
	}},
	{name: "a session after its end, where sessions are checked", serve: "stateful", open: true, steps: []step{
		{send: plain("DELETE", "/", "Mcp-Session-Id: {session}"), want: "ok transport - 200 -"},
		{send: inSession(rpc("1", "tools/call", callEcho)), want: "denied transport tools/call 404 - ended unknown_session"},
		{send: inSession(`{"jsonrpc":"2.0","method":"notifications/initialized"}`), want: "denied transport notifications/initialized 404 - ended unknown_session"},
	}},
	{name: "a session where there are none", serve: "stateless", steps: one(rawPost(rpc("1", "ping", "{}"), "Mcp-Session-Id: abc"), "ok handler ping 200 - unknown")},
	{name: "DELETE of a forged session", steps: one(plain("DELETE", "/", "Mcp-Session-Id: "+forged), "ok transport - 200 - unknown")},
	{name: "DELETE without a session", steps: one(plain("DELETE", "/"), "ok transport - 200 -")},
	{name: "a GET in a forged session", steps: []step{{send: plain("GET", "/", "Mcp-Session-Id: "+forged), until: "\r\n\r\n", want: "ok transport - 200 - unknown disconnect"}}},
	{name: "a session id with line ends", steps: one(rawPost(rpc("1", "ping", "{}"), "Mcp-Session-Id: a%0d%0ab \x1b[31m"), "")},
	{name: "another version in a session", open: true, steps: one(inSession(rpc("1", "ping", "{}"), "Mcp-Protocol-Version: 1999-01-01"), "rejected transport ping 400 -")},
	{name: "another version of a stream", steps: one(plain("GET", "/", "Mcp-Protocol-Version: 1999-01-01"), "rejected transport - 400 -")},

	// What the newest version rejects.
	{name: "a header that is missing", steps: one(rawPost(modernRPC("1", "tools/list", "{}")), "rejected transport tools/list 400 -32020")},
	{name: "a version in the header only", steps: one(rawPost(rpc("1", "tools/list", "{}"), "Mcp-Protocol-Version: 2026-07-28"), "rejected transport tools/list 400 -32602")},
	{name: "headers that do not match", steps: one(rawPost(modernRPC("1", "tools/list", "{}"), modernHeaders("tools/call", "echo")...), "rejected transport tools/list 400 -32020")},
	{name: "a name that does not match", steps: one(rawPost(modernRPC("1", "tools/call", callEcho), modernHeaders("tools/call", "hidden")...), "rejected transport tools/call 400 -32020")},
	{name: "versions that differ", steps: one(rawPost(strings.Replace(modernRPC("1", "tools/list", "{}"), "2026-07-28", "2026-12-31", 1), modernHeaders("tools/list", "")...), "rejected transport tools/list 400 -32020")},
	{name: "a version to come", steps: one(rawPost(strings.Replace(modernRPC("1", "tools/list", "{}"), "2026-07-28", "2099-01-01", 1), "Mcp-Protocol-Version: 2099-01-01", "Mcp-Method: tools/list"), "rejected transport tools/list 400 -32022")},
	{name: "a stream to resume", steps: one(rawPost(modernRPC("1", "tools/list", "{}"), append(modernHeaders("tools/list", ""), "Last-Event-ID: 1")...), "rejected transport tools/list 400 -32020")},
	{name: "no capabilities", steps: one(rawPost(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"`+mcp.MetaKeyProtocolVersion+`":"2026-07-28"}}}`, modernHeaders("tools/list", "")...), "rejected transport tools/list 400 -32602")},
	{name: "a handshake in the newest version", steps: one(rawPost(modernRPC("1", "initialize", "{}"), modernHeaders("initialize", "")...), "rejected dispatch initialize 404 -32601")},
	{name: "a modern ping", steps: one(rawPost(modernRPC("1", "ping", "{}"), modernHeaders("ping", "")...), "rejected dispatch ping 404 -32601")},

	// HTTP+SSE.
	{name: "SSE: a call", serve: "sse", open: true, answers: 1, steps: one(rawPostTo("/message?sessionId={session}", rpc("1", "tools/call", callEcho)), "ok handler tools/call 202 -")},
	{name: "SSE: a notification", serve: "sse", open: true, steps: one(rawPostTo("/message?sessionId={session}", `{"jsonrpc":"2.0","method":"notifications/initialized"}`), "ok dispatch notifications/initialized 202 -")},
	{name: "SSE: another version", serve: "sse", open: true, answers: 1, steps: one(rawPostTo("/message?sessionId={session}", `{"jsonrpc":"1.0","id":7,"method":"ping"}`), "rejected transport ping 202 -32600")},
	{name: "SSE: a batch", serve: "sse", open: true, answers: 1, steps: one(rawPostTo("/message?sessionId={session}", `[`+rpc("1", "ping", "{}")+`]`), "rejected transport - 202 -32700")},
	{name: "SSE: an unknown method", serve: "sse", open: true, answers: 1, steps: one(rawPostTo("/message?sessionId={session}", rpc("8", "evil", "{}")), "rejected dispatch evil 202 -32601")},
	{name: "SSE: a tool that panics", serve: "sse", open: true, answers: 1, steps: one(rawPostTo("/message?sessionId={session}", rpc("8", "tools/call", `{"name":"panics"}`)), "panic handler tools/call 202 -")},
	{name: "SSE: a hidden tool", serve: "sse", open: true, answers: 1, steps: one(rawPostTo("/message?sessionId={session}", rpc("8", "tools/call", `{"name":"hidden"}`)), "denied dispatch tools/call 202 -32602 hidden")},
	{name: "SSE: cancelled, of nothing", serve: "sse", open: true, steps: one(rawPostTo("/message?sessionId={session}", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`), "ok dispatch notifications/cancelled 202 -")},
	{name: "SSE: a handshake that the program refuses", serve: "picky sse", open: true, answers: 1, steps: one(rawPostTo("/message?sessionId={session}", rpc("1", "initialize", `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"evil","version":"1"}}`)), "denied transport initialize 202 -32600 policy")},
	{name: "SSE: an answer that nobody asked for", serve: "sse", open: true, steps: one(rawPostTo("/message?sessionId={session}", `{"jsonrpc":"2.0","id":1,"result":{"a":1}}`), "rejected transport - 202 -")},
	{name: "SSE: an error that nobody asked for", serve: "sse", open: true, answers: 1, steps: one(rawPostTo("/message?sessionId={session}", `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}`), "rejected dispatch - 202 -32601")},
	{name: "SSE: no JSON", serve: "sse", open: true, steps: one(rawPostTo("/message?sessionId={session}", `{`), "rejected transport - 400 -32700")},
	{name: "SSE: the same id twice", serve: "sse", open: true, answers: 2, steps: []step{
		{send: rawPostTo("/message?sessionId={session}", rpc("1", "ping", "{}")), want: "ok handler ping 202 -"},
		{send: rawPostTo("/message?sessionId={session}", rpc("1", "ping", "{}")), want: "ok handler ping 202 -"},
	}},
	{name: "SSE: no session", serve: "sse", steps: one(rawPostTo("/message", rpc("1", "ping", "{}")), "rejected transport - 400 -32602")},
	{name: "SSE: a session after its end", serve: "sse", ended: true, steps: one(rawPostTo("/message?sessionId={session}", rpc("1", "ping", "{}")), "denied transport - 400 -32602 ended unknown_session")},
	{name: "SSE: a forged session", serve: "sse", steps: one(rawPostTo("/message?sessionId="+forged, rpc("1", "ping", "{}")), "denied transport - 400 -32602 unknown unknown_session")},
	{name: "SSE: GET of the message endpoint", serve: "sse", steps: one(plain("GET", "/message"), "rejected transport - 400 -32600")},
	{name: "SSE: POST to the stream", serve: "sse", steps: one(rawPostTo("/sse", rpc("1", "ping", "{}")), "rejected transport - 405 -")},
	{name: "SSE: another path", serve: "sse", steps: one(plain("GET", "/nope"), "rejected transport - 404 -")},
	{name: "SSE: another host", serve: "sse", steps: one(strings.Replace(plain("GET", "/sse"), "{host}", "evil.example", 1), "denied transport - 403 - host_rejected")},
}
