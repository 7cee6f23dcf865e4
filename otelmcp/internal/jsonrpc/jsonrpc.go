// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package jsonrpc reads from a raw JSON-RPC message what telemetry says of it,
// as mcp-go understands the message. mcp-go decodes with encoding/json, so
// member names match in any case, the last of two equal ones counts, and what is
// not UTF-8 is replaced.
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
	Malformed    Kind = iota // not JSON, or not what mcp-go can decode; of a beginning, not told yet
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
	// by; it tells the string 1 from the number 1, and is empty without an id
	// and of a malformed message, whose answer carries none.
	ID, Key             string
	HasResult, HasError bool // there, and not null
	EmptyResult         bool // result and error are each not there, null, {} or []
	Code                int  // error.code

	// Of params.
	Name, URI         string
	Target, TargetKey string // requestId, as ID and Key
	// MetaVersion is the protocol version that _meta names, and Capable says that it
	// tells what the client is capable of.
	MetaVersion string
	Capable     bool
	meta        []byte
	// What the client says of itself, in initialize or in _meta.
	ProtocolVersion           string
	ClientName, ClientVersion string

	// Answers is the key of the request that mcp-go's stdio server takes the
	// message for the answer to, if it waits for one: whatever else the message is.
	Answers string

	// NullAnswer messages are answered with a null id by mcp-go, and Silent ones
	// not at all, wherever the answer goes to the connection of the message.
	NullAnswer, Silent bool
}

// The members of _meta that say what the handshake used to say.
const (
	metaProtocolVersion = "io.modelcontextprotocol/protocolVersion"
	metaClientInfo      = "io.modelcontextprotocol/clientInfo"
	metaCapabilities    = "io.modelcontextprotocol/clientCapabilities"
)

// The methods whose params mcp-go reads in their own way.
const (
	methodInitialize = "initialize"
	methodToolsCall  = "tools/call"
)

// Parse reads a whole message. Of an object that is JSON but that mcp-go cannot
// decode it still fills what can be read.
func Parse(raw []byte) Envelope {
	// What passes here is well-formed and no deeper than encoding/json goes, so
	// that the scanner never fails on it.
	if !json.Valid(raw) {
		return Envelope{NullAnswer: true}
	}
	r := reader{scan: scan{b: raw}, whole: true}
	r.space()
	switch r.next() {
	case '{':
		r.object(r.member)
	case '[':
		return Envelope{Kind: Batch, NullAnswer: true}
	case 'n': // encoding/json takes null for an object without members
	default:
		return Envelope{NullAnswer: true}
	}
	r.finish(true)
	e := &r.e
	r.params.describe(e)
	if e.Kind != Malformed {
		e.Answers = r.answers()
	}
	switch e.Kind {
	case Malformed:
		e.NullAnswer = true
	case Notification:
		e.NullAnswer = e.Version != Version || r.params.unfit
		e.Silent = !e.NullAnswer
	default:
		e.Silent = e.Version == Version && e.HasResult
	}
	return *e
}

// ParseFirst is Parse of the first value in raw, for where mcp-go reads no further.
func ParseFirst(raw []byte) Envelope {
	s := scan{b: raw}
	s.space()
	if first := s.next(); first == '{' || first == '[' || first == '"' {
		if _, ok := s.value(); ok {
			return Parse(raw[:s.i])
		}
	}
	return Parse(raw)
}

// reader reads the members of a message.
type reader struct {
	scan
	e      Envelope
	params params
	whole  bool // so that params can be read
	hasID  bool
	idRaw  []byte
	// resulted says that there is a result, be it null.
	resulted bool
	// empty and emptyError say that the result and the error say nothing.
	empty, emptyError bool
	// told says that the error has told its code, or ended without one.
	told bool
	// undecodable says that mcp-go cannot decode a member that it looks at.
	undecodable bool
}

// member reads the member of the message with the given name, at its value.
func (r *reader) member(name []byte) bool {
	switch {
	case is(name, "jsonrpc"):
		return r.text(&r.e.Version)
	case is(name, "method"):
		return r.text(&r.e.Method)
	case is(name, "id"):
		return r.id()
	case is(name, "result"):
		return r.result()
	case is(name, "error"):
		return r.error()
	case r.whole && is(name, "params"):
		return r.readParams()
	}
	return r.skip()
}

// text reads a string that mcp-go decodes as one: null leaves what was there, and
// what is neither makes the message undecodable.
func (r *reader) text(into *string) bool {
	raw, ok := r.value()
	if !ok {
		return false
	}
	if !str(raw, into) && raw[0] != 'n' {
		r.undecodable = true
	}
	return true
}

// id reads the id. mcp-go decodes whatever it is.
func (r *reader) id() bool {
	raw, ok := r.value()
	if !ok {
		return false
	}
	r.e.ID, r.e.Key = identify(raw)
	r.idRaw = raw
	r.hasID = raw[0] != 'n'
	r.undecodable = r.undecodable || r.hasID && r.e.Key == ""
	return true
}

// result reads the result. mcp-go decodes all of it, whatever it is.
func (r *reader) result() bool {
	first := r.next()
	if first == 0 {
		return false
	}
	r.resulted = true
	r.e.HasResult = first != 'n' // one byte tells, should no more be at hand
	r.wide = false
	raw, ok := r.value()
	if !ok {
		return false
	}
	r.undecodable = r.undecodable || r.wide
	r.empty = empty(raw)
	return true
}

// empty reports whether mcp-go takes a value for one that says nothing.
func empty(raw []byte) bool {
	switch raw[0] {
	case 'n':
		return true
	case '{', '[':
		return len(bytes.TrimSpace(raw[1:len(raw)-1])) == 0
	}
	return false
}

// answers is Envelope.Answers. mcp-go takes the id for a whole number, plain or in a
// string.
func (r *reader) answers() string {
	if len(r.idRaw) == 0 || !r.resulted && !r.e.HasError {
		return ""
	}
	text := r.idRaw
	if text[0] == '"' {
		plain, ok := unquote(text)
		if !ok {
			return ""
		}
		text = plain
	}
	id, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || text[0] == '+' {
		return ""
	}
	_, key := numberID(float64(id))
	return key
}

// error reads the error, of which the code comes before what may be long.
func (r *reader) error() bool {
	first := r.next()
	if first == 0 {
		return false
	}
	r.e.HasError = first != 'n'
	r.e.Code, r.told = 0, false
	start, ok := r.i, false
	if first == '{' {
		ok = r.object(r.errorMember)
	} else {
		ok = r.skip()
	}
	r.emptyError = ok && empty(r.b[start:r.i])
	r.told = r.told || ok
	return ok
}

func (r *reader) errorMember(name []byte) bool {
	raw, ok := r.value()
	if ok && is(name, "code") && raw[0] != 'n' {
		code, err := strconv.Atoi(string(raw))
		if err != nil {
			code = 0
		}
		r.e.Code, r.told = code, true
	}
	return ok
}

// finish says what the message is; whole, that there is no more of it.
func (r *reader) finish(whole bool) {
	e := &r.e
	switch {
	case r.bad || r.undecodable:
		e.Key = ""
	case r.hasID && e.Method != "":
		e.Kind = Request
	case r.hasID && (whole || e.HasResult || r.told):
		e.Kind = Response
	case !r.hasID && (whole || e.Method != ""):
		e.Kind = Notification
	}
	e.EmptyResult = whole && e.Kind != Malformed && (r.emptyError || !e.HasError) && (r.empty || !e.HasResult)
}

// params is what is read of the params. Each member is read on its own: one of a
// wrong type does not lose the others. Of several params mcp-go reads one after
// the other into the same struct, and so do we.
type params struct {
	name, uri         string
	lastName          string // of the last params alone, as tools/call has it
	target, targetKey string
	protocolVersion   string
	info              clientInfo
	// The members called _meta. mcp-go takes any case in a request, and in a
	// notification exactly this name.
	meta, exactMeta []byte
	// unfit says that mcp-go does not take them for those of a notification.
	unfit bool
}

type clientInfo struct{ name, version string }

func (r *reader) readParams() bool {
	p := &r.params
	p.lastName = ""
	r.wide = false
	first := r.next()
	var ok bool
	if first == '{' {
		ok = r.object(func(name []byte) bool {
			raw, ok := r.value()
			if ok {
				p.member(name, raw)
			}
			return ok
		})
	} else {
		ok = r.skip()
	}
	p.unfit = p.unfit || r.wide || first != '{' && first != 'n'
	return ok
}

func (p *params) member(name, raw []byte) {
	switch {
	case is(name, "name"):
		str(raw, &p.name)
		str(raw, &p.lastName)
	case is(name, "uri"):
		str(raw, &p.uri)
	case is(name, "protocolVersion"):
		str(raw, &p.protocolVersion)
	case is(name, "clientInfo"):
		p.info.read(raw)
	case string(name) == "requestId": // mcp-go looks it up in a map
		p.target, p.targetKey = identify(raw)
	case is(name, "_meta"):
		p.meta = raw
		if string(name) == "_meta" {
			p.exactMeta = raw
		}
	}
}

func (c *clientInfo) read(raw []byte) {
	s := scan{b: raw}
	s.object(func(name []byte) bool {
		raw, ok := s.value()
		switch {
		case !ok:
		case is(name, "name"):
			str(raw, &c.name)
		case is(name, "version"):
			str(raw, &c.version)
		}
		return ok
	})
}

// describe fills e, whose kind and method are known by now.
func (p *params) describe(e *Envelope) {
	e.Name, e.URI = p.name, p.uri
	if e.Method == methodToolsCall {
		e.Name = p.lastName
	}
	e.Target, e.TargetKey = p.target, p.targetKey
	meta := p.meta
	if e.Kind == Notification {
		meta = p.exactMeta
	}
	speaks := false // for the client, as the handshake used to
	if len(meta) > 0 && meta[0] == '{' {
		e.meta = bytes.Clone(meta)
		Members(e.meta, func(name, v []byte) {
			switch string(name) {
			case metaProtocolVersion:
				e.MetaVersion, speaks = "", true
				str(v, &e.MetaVersion)
			case metaClientInfo:
				speaks = true
			case metaCapabilities:
				e.Capable = v[0] == '{'
			}
		})
	}
	if e.Method == methodInitialize { // mcp-go does not look there in any other
		e.ProtocolVersion = p.protocolVersion
		e.ClientName, e.ClientVersion = p.info.name, p.info.version
	}
	if !speaks {
		return
	}
	decoded := e.Meta()
	if e.ProtocolVersion == "" {
		e.ProtocolVersion, _ = decoded[metaProtocolVersion].(string)
	}
	if e.ClientName == "" && e.ClientVersion == "" {
		info, _ := decoded[metaClientInfo].(map[string]any)
		e.ClientName, e.ClientVersion = lookup(info, "name"), lookup(info, "version")
	}
}

// Meta decodes _meta. It is nil where there is none, or none that is an object.
func (e *Envelope) Meta() (meta map[string]any) {
	if len(e.meta) > 0 {
		_ = json.Unmarshal(e.meta, &meta) // a number that is out of range does not lose the rest
	}
	return meta
}

// KeepMeta leaves of _meta its strings, which may be trace context, and not more than
// limit bytes of them. 0 leaves nothing.
func (e *Envelope) KeepMeta(limit int) {
	if len(e.meta) <= limit {
		return
	}
	var kept []byte
	if limit > 0 {
		Members(e.meta, func(name, v []byte) {
			if v[0] != '"' || len(kept)+len(name)+len(v)+len(`{"":,}`) > limit {
				return
			}
			kept = append(kept, "{,"[min(len(kept), 1)])
			kept = appendMember(kept, name, v)
		})
	}
	if len(kept) > 0 {
		kept = append(kept, '}')
	}
	e.meta = kept
}

// MetaSize is how many bytes of _meta are kept.
func (e *Envelope) MetaSize() int { return len(e.meta) }

// lookup finds a string in what mcp-go encodes, and so sorts, and decodes again:
// of names that differ in case only, the greatest counts.
func lookup(m map[string]any, name string) (text string) {
	found := ""
	for k, v := range m {
		if s, ok := v.(string); ok && k >= found && strings.EqualFold(k, name) {
			found, text = k, s
		}
	}
	return text
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
		return numberID(v)
	case int64: // what mcp-go makes of a whole number when it decodes an answer
		return numberID(float64(v))
	case int:
		return numberID(float64(v))
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "", ""
	}
	return "", "j" + string(b)
}

// identify is ID of an id that is not decoded. The key is empty for null, and for
// what encoding/json cannot decode.
func identify(raw []byte) (text, key string) {
	switch raw[0] {
	case 'n':
		return "", ""
	case '"':
		b, ok := unquote(raw)
		if !ok {
			return "", ""
		}
		key = "s" + string(b)
		return key[1:], key
	case '{', '[', 't', 'f':
		var v any
		if json.Unmarshal(raw, &v) != nil {
			return "", ""
		}
		return ID(v)
	}
	v, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return "", ""
	}
	return numberID(v)
}

func numberID(v float64) (text, key string) {
	var buf [32]byte
	b := append(buf[:0], 'n')
	if v == float64(int64(v)) {
		b = strconv.AppendInt(b, int64(v), 10)
	} else {
		b = strconv.AppendFloat(b, v, 'g', -1, 64)
	}
	key = string(b)
	return key[1:], key
}
