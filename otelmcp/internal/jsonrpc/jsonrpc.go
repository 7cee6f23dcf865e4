// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package jsonrpc reads from a raw JSON-RPC message what telemetry says of it,
// as mcp-go understands the message. mcp-go decodes with encoding/json, so
// member names match in any case and the last of two equal ones counts.
package jsonrpc

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// Version is the only version of JSON-RPC that MCP speaks.
const Version = "2.0"

// Kind is what a message is.
type Kind uint8

// The kinds of messages.
const (
	Malformed    Kind = iota // not JSON, or not what mcp-go can decode
	Batch                    // an array; the protocol has no batches any more
	Request                  // has an id that is not null, and a method
	Notification             // has no id, or a null one
	Response                 // has an id that is not null, and no method
)

// Envelope is what a message says. Its text is as the peer sent it.
type Envelope struct {
	Kind    Kind
	Version string // the member jsonrpc
	Method  string
	// ID is the id when it is a string or a number. Key is what it is compared
	// by; it tells the string 1 from the number 1, and is empty without an id.
	ID, Key             string
	HasResult, HasError bool // there, and not null
	EmptyResult         bool // there is no error, and the result is null, {} or []
	Code                int  // error.code

	// Of params.
	Name, URI         string
	Target, TargetKey string // requestId, as ID and Key
	Meta              map[string]any
	// What the client says of itself, in initialize or in _meta.
	ProtocolVersion           string
	ClientName, ClientVersion string

	// NullAnswer messages are answered with a null id by mcp-go, and Silent ones
	// not at all, wherever the answer goes to the connection of the message.
	NullAnswer, Silent bool
}

// The members of _meta that say what the handshake used to say.
const (
	metaProtocolVersion = "io.modelcontextprotocol/protocolVersion"
	metaClientInfo      = "io.modelcontextprotocol/clientInfo"
)

// Parse reads a whole message.
func Parse(raw []byte) Envelope {
	e := Envelope{}
	var base struct {
		JSONRPC string          `json:"jsonrpc"`
		Method  string          `json:"method"`
		ID      any             `json:"id"`
		Result  json.RawMessage `json:"result"`
		Error   json.RawMessage `json:"error"`
		Params  json.RawMessage `json:"params"`
	}
	if err := json.Unmarshal(raw, &base); err != nil {
		if first := bytes.TrimLeft(raw, " \t\r\n"); len(first) > 0 && first[0] == '[' && json.Valid(raw) {
			e.Kind = Batch
		} else if lenient(raw, &e) {
			e.ID, e.Key = "", ""
		}
		e.NullAnswer = true
		return e
	}
	e.Version, e.Method = base.JSONRPC, base.Method
	e.ID, e.Key = ID(base.ID)
	e.HasResult, e.HasError = present(base.Result), present(base.Error)
	e.EmptyResult = !e.HasError && empty(base.Result)
	e.setError(base.Error)
	e.setParams(base.Params)
	switch {
	case base.ID == nil:
		e.Kind = Notification
		e.NullAnswer = base.JSONRPC != Version || !isObject(base.Params)
		e.Silent = !e.NullAnswer
	case base.Method != "":
		e.Kind = Request
		e.Silent = base.JSONRPC == Version && e.HasResult
	default:
		e.Kind = Response
		e.Silent = base.JSONRPC == Version && e.HasResult
	}
	return e
}

// lenient fills what can be read of an object of which mcp-go cannot decode
// every member.
func lenient(raw []byte, e *Envelope) bool {
	var all map[string]json.RawMessage
	if json.Unmarshal(raw, &all) != nil {
		return false
	}
	for name, value := range all {
		switch strings.ToLower(name) {
		case "method":
			_ = json.Unmarshal(value, &e.Method)
		case "jsonrpc":
			_ = json.Unmarshal(value, &e.Version)
		case "params":
			e.setParams(value)
		}
	}
	return true
}

func (e *Envelope) setError(raw json.RawMessage) {
	if len(raw) == 0 {
		return
	}
	var body struct {
		Code json.Number `json:"code"`
	}
	if json.Unmarshal(raw, &body) == nil {
		if code, err := strconv.Atoi(string(body.Code)); err == nil {
			e.Code = code
		}
	}
}

type clientInfo struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// setParams reads each member on its own: one of a wrong type does not lose the
// others.
func (e *Envelope) setParams(raw json.RawMessage) {
	if len(raw) == 0 || raw[0] != '{' {
		return
	}
	var p struct {
		Name            json.RawMessage `json:"name"`
		URI             json.RawMessage `json:"uri"`
		RequestID       json.RawMessage `json:"requestId"`
		Meta            json.RawMessage `json:"_meta"`
		ProtocolVersion json.RawMessage `json:"protocolVersion"`
		ClientInfo      json.RawMessage `json:"clientInfo"`
	}
	if json.Unmarshal(raw, &p) != nil {
		return
	}
	read(p.Name, &e.Name)
	read(p.URI, &e.URI)
	var target any
	read(p.RequestID, &target)
	e.Target, e.TargetKey = ID(target)
	read(p.Meta, &e.Meta)
	var info clientInfo
	read(p.ClientInfo, &info)
	read(p.ProtocolVersion, &e.ProtocolVersion)
	if v, ok := e.Meta[metaProtocolVersion].(string); ok {
		e.ProtocolVersion = v
	}
	if m, ok := e.Meta[metaClientInfo].(map[string]any); ok {
		info.Name, _ = m["name"].(string)
		info.Version, _ = m["version"].(string)
	}
	e.ClientName, e.ClientVersion = info.Name, info.Version
}

func read(raw json.RawMessage, into any) {
	if len(raw) > 0 {
		_ = json.Unmarshal(raw, into)
	}
}

// ID renders a decoded id as text, if it is a string or a number, and as a key.
// mcp-go reads a number as a float64 and writes it so.
func ID(v any) (text, key string) {
	switch v := v.(type) {
	case nil:
		return "", ""
	case string:
		return v, "s" + v
	case float64:
		text = number(v)
		return text, "n" + text
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "", ""
	}
	return "", "j" + string(b)
}

func number(v float64) string {
	if v == float64(int64(v)) {
		return strconv.FormatInt(int64(v), 10)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

func present(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

func empty(raw json.RawMessage) bool {
	if !present(raw) {
		return true
	}
	if raw[0] != '{' && raw[0] != '[' {
		return false
	}
	return len(bytes.TrimSpace(raw[1:len(raw)-1])) == 0
}

func isObject(raw json.RawMessage) bool { return !present(raw) || raw[0] == '{' }
