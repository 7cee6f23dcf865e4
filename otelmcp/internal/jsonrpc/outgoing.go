// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package jsonrpc

// What a client sends and what it gets back: the params that it is about to
// send, where trace context is put into them, and the results that come back.
// Both were made or decoded by encoding/json and are well-formed.

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// Params are what outgoing params say. The slices are within them.
type Params struct {
	Name, URI string
	// Ref is what a completion is for: the name of a prompt or a URI.
	RefName, RefURI string
	// ProtocolVersion is the one in _meta.
	ProtocolVersion string
	Arguments       []byte
	// Responses are the answers to what the server asked for in the result
	// before, and State is what tells which result that was.
	Responses []byte
	State     string

	raw, meta []byte
	object    bool
}

// ReadParams reads raw, which may be empty or null.
func ReadParams(raw []byte) Params {
	p := Params{raw: raw}
	s := scan{b: raw}
	s.space()
	p.object = s.next() == '{'
	if !p.object {
		return p
	}
	s.object(func(name []byte) bool {
		v, ok := s.value()
		if !ok {
			return false
		}
		switch string(name) {
		case "name":
			str(v, &p.Name)
		case "uri":
			str(v, &p.URI)
		case "arguments":
			p.Arguments = v
		case "ref":
			p.RefName, p.RefURI = readRef(v)
		case "inputResponses":
			p.Responses = v
		case "requestState":
			str(v, &p.State)
		case "_meta":
			p.meta = v
			p.ProtocolVersion = memberText(v, metaProtocolVersion)
		}
		return true
	})
	return p
}

func readRef(raw []byte) (name, uri string) {
	Members(raw, func(member, v []byte) {
		switch string(member) {
		case "name":
			str(v, &name)
		case "uri":
			str(v, &uri)
		}
	})
	return name, uri
}

// Members calls f with each member of raw, if that is an object.
func Members(raw []byte, f func(name, value []byte)) {
	s := scan{b: raw}
	s.space()
	if s.next() != '{' {
		return
	}
	s.object(func(name []byte) bool {
		v, ok := s.value()
		if ok {
			f(name, v)
		}
		return ok
	})
}

func memberText(raw []byte, want string) (text string) {
	Members(raw, func(name, v []byte) {
		if string(name) == want {
			str(v, &text)
		}
	})
	return text
}

// With returns the params with the fields in _meta, where they take the place of
// those that have the same names or are in drop, whose names differ. Everything else stays as it is.
// Params that can have no _meta, or have one that is no object, stay as they are:
// ok is false.
func (p *Params) With(fields map[string]string, drop []string) (out []byte, ok bool) {
	none := len(p.raw) == 0 || bytes.Equal(bytes.TrimSpace(p.raw), []byte("null"))
	if len(fields) == 0 || !none && !p.object {
		return nil, false
	}
	old := bytes.TrimSpace(p.meta)
	if len(old) > 0 && old[0] != '{' && !bytes.Equal(old, []byte("null")) {
		return nil, false
	}
	out = make([]byte, 0, len(p.raw)+len(`{"_meta":{}}`)+128)
	out = append(out, `{"_meta":{`...)
	comma := func(open byte) {
		if out[len(out)-1] != open {
			out = append(out, ',')
		}
	}
	put := func(name string) {
		comma('{')
		out = appendText(out, name)
		out = append(out, ':')
		out = appendText(out, fields[name])
	}
	known := 0
	for _, name := range drop { // which nearly always are all that there can be
		if _, ok := fields[name]; ok {
			put(name)
			known++
		}
	}
	if known < len(fields) {
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if !slices.Contains(drop, name) {
				put(name)
			}
		}
	}
	Members(p.meta, func(name, v []byte) {
		if _, replaced := fields[string(name)]; replaced || slices.Contains(drop, string(name)) {
			return
		}
		comma('{')
		out = appendMember(out, name, v)
	})
	out = append(out, '}')
	Members(p.raw, func(name, v []byte) {
		if string(name) != "_meta" {
			out = append(out, ',')
			out = appendMember(out, name, v)
		}
	})
	return append(out, '}'), true
}

func appendMember(out, name, value []byte) []byte {
	out = appendText(out, name)
	out = append(out, ':')
	return append(out, value...)
}

func appendText[T string | []byte](out []byte, text T) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			b, err := json.Marshal(string(text))
			if err != nil { // a string always has a form
				b = []byte(`""`)
			}
			return append(out, b...)
		}
	}
	out = append(out, '"')
	out = append(out, text...)
	return append(out, '"')
}

// Result is what a result says.
type Result struct {
	IsError, NeedsInput bool
	// Requests are what a result that needs input asks for, and State is what
	// the answers to them will carry.
	Requests []byte
	State    string
	// Of the handshake.
	ProtocolVersion           string
	ServerName, ServerVersion string
	// Tools and Prompts are what was listed.
	Tools, Prompts []byte
	Content        []byte
	Structured     []byte
}

const metaServerInfo = "io.modelcontextprotocol/serverInfo"

// ReadResult reads raw.
func ReadResult(raw []byte) (r Result) {
	info := func(v []byte) {
		Members(v, func(name, v []byte) {
			switch string(name) {
			case "name":
				str(v, &r.ServerName)
			case "version":
				str(v, &r.ServerVersion)
			}
		})
	}
	Members(raw, func(name, v []byte) {
		switch string(name) {
		case "isError":
			r.IsError = v[0] == 't'
		case "resultType":
			var kind string
			r.NeedsInput = str(v, &kind) && kind == "input_required"
		case "inputRequests":
			r.Requests = v
		case "requestState":
			str(v, &r.State)
		case "protocolVersion":
			str(v, &r.ProtocolVersion)
		case "serverInfo":
			info(v)
		case "tools":
			r.Tools = v
		case "prompts":
			r.Prompts = v
		case "content":
			r.Content = v
		case "structuredContent":
			r.Structured = v
		case "_meta":
			Members(v, func(name, v []byte) {
				if string(name) == metaServerInfo {
					info(v)
				}
			})
		}
	})
	return r
}

// Input is something that a server asks for in a result, or the answer to it.
type Input struct {
	ID, Method string
	Meta       map[string]any
}

// Inputs reads the requests of a result, or the ids of the responses to them.
func Inputs(raw []byte) (all []Input) {
	Members(raw, func(id, v []byte) {
		in := Input{ID: string(id)}
		Members(v, func(name, v []byte) {
			switch string(name) {
			case "method":
				str(v, &in.Method)
			case "params":
				Members(v, func(name, v []byte) {
					if string(name) == "_meta" && len(v) > 0 && v[0] == '{' {
						_ = json.Unmarshal(v, &in.Meta)
					}
				})
			}
		})
		all = append(all, in)
	})
	return all
}
