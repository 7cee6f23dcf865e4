// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package bench

// The messages that the workloads are made of.

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
)

const (
	legacy = "2025-11-25"
	modern = "2026-07-28"

	traceID     = "0af7651916cd43dd8448eb211c80319c"
	spanID      = "b7ad6b7169203331"
	traceparent = "00-" + traceID + "-" + spanID + "-01"
)

// request renders a request with a trace context in _meta, as an instrumented client sends it, and with what the
// protocol version wants there. params are the members of the params object, without braces.
func request(version string, id int, method, params string) json.RawMessage {
	meta := fmt.Sprintf(`"traceparent":%q`, traceparent)
	if version == modern {
		meta += fmt.Sprintf(`,%q:%q,%q:{"name":"bench","version":"1.0.0"},%q:{}`,
			mcp.MetaKeyProtocolVersion, modern, mcp.MetaKeyClientInfo, mcp.MetaKeyClientCapabilities)
	}
	if params != "" {
		params += ","
	}
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":%q,"params":{%s"_meta":{%s}}}`, id, method, params, meta)
}

// call renders a call of the tool with a text of that many bytes as its argument.
func call(version string, id int, tool string, size int) json.RawMessage {
	return request(version, id, "tools/call",
		fmt.Sprintf(`"name":%q,"arguments":{"text":%q}`, tool, strings.Repeat("x", size)))
}

var hello = json.RawMessage(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"` + legacy +
	`","capabilities":{},"clientInfo":{"name":"bench","version":"1.0.0"}}}`)

// malformed is a flood of what no server can answer well.
var malformed = []json.RawMessage{
	json.RawMessage(`{"jsonrpc":"2.0","id":1,"method":`),
	json.RawMessage(`{"jsonrpc":"1.0","id":1,"method":"tools/call","params":{"name":"echo"}}`),
	json.RawMessage(`{"jsonrpc":"2.0","id":1,"method":"no/such/method"}`),
	json.RawMessage(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"no-such-tool"}}`),
	json.RawMessage(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[1,2,3]}`),
	json.RawMessage(`[]`),
}
