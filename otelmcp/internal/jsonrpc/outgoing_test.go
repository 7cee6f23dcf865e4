// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package jsonrpc

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestReadParams(t *testing.T) {
	p := ReadParams([]byte(`{"name":"n\u0041","uri":"u","arguments":{"a":1},"ref":{"type":"ref/prompt","name":"r","uri":"v"},` +
		`"requestState":"s","inputResponses":{"x":{}},"_meta":{"` + metaProtocolVersion + `":"2026-07-28"}}`))
	if p.Name != "nA" || p.URI != "u" || p.RefName != "r" || p.RefURI != "v" || p.State != "s" || string(p.Arguments) != `{"a":1}` ||
		string(p.Responses) != `{"x":{}}` || p.ProtocolVersion != "2026-07-28" {
		t.Errorf("read %+v", p)
	}
	for _, raw := range []string{``, `null`, `[]`, `7`, `"x"`, `{}`, `{"name":7,"uri":null,"_meta":[]}`} {
		if p := ReadParams([]byte(raw)); p.Name != "" || p.URI != "" || p.ProtocolVersion != "" {
			t.Errorf("%s: read %+v", raw, p)
		}
	}
}

func TestReadResult(t *testing.T) {
	r := ReadResult([]byte(`{"isError":true,"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"_meta":{"traceparent":"t"}}}},` +
		`"requestState":"s","protocolVersion":"v","serverInfo":{"name":"n","version":"1"},"tools":[{}],"prompts":[],"content":[1],"structuredContent":{}}`))
	if !r.IsError || !r.NeedsInput || r.State != "s" || r.ProtocolVersion != "v" || r.ServerName != "n" || r.ServerVersion != "1" ||
		string(r.Tools) != "[{}]" || string(r.Prompts) != "[]" || string(r.Content) != "[1]" || string(r.Structured) != "{}" {
		t.Errorf("read %+v", r)
	}
	want := []Input{{ID: "a", Method: "elicitation/create", Meta: map[string]any{"traceparent": "t"}}}
	if got := Inputs(r.Requests); !reflect.DeepEqual(got, want) {
		t.Errorf("asked for %+v, want %+v", got, want)
	}
	if r := ReadResult([]byte(`{"_meta":{"` + metaServerInfo + `":{"name":"m"}},"isError":false,"resultType":"complete"}`)); r.ServerName != "m" || r.IsError || r.NeedsInput {
		t.Errorf("read %+v", r)
	}
	for _, raw := range []string{``, `null`, `[]`, `7`, `{"inputRequests":[],"serverInfo":3,"_meta":"x"}`} {
		if r := ReadResult([]byte(raw)); r.IsError || r.NeedsInput || r.ServerName != "" || len(Inputs(r.Requests)) > 0 {
			t.Errorf("%s: read %+v", raw, r)
		}
	}
}

// FuzzWith puts fields into the _meta of any params: they are there, and all else
// is as it was.
func FuzzWith(f *testing.F) {
	for _, raw := range []string{
		``, `null`, `{}`, `{"a":1}`, `{"_meta":{}}`, `{"_meta":null,"a":"\u2028<"}`, `{"_meta":{"traceparent":"x","k":[1,{"b":2}]},"z":{"_meta":1}}`,
		` { "_meta" : { "tracestate" : 1 } , "a" : -1.5e3 } `, `{"_meta":7}`, `[]`, `"s"`, `{"é":1,"\u0061":2}`,
	} {
		f.Add([]byte(raw), "traceparent", "00-1-2-01")
	}
	f.Add([]byte(`{}`), "k\"\\<é\x00", "\xff&")
	f.Fuzz(func(t *testing.T, raw []byte, key, value string) {
		if len(raw) > 0 && !json.Valid(raw) {
			return // params that encoding/json made are valid
		}
		p := ReadParams(raw)
		out, ok := p.With(map[string]string{key: value}, []string{"tracestate"})
		var before, after map[string]any
		none := len(bytes.TrimSpace(raw)) == 0 || bytes.Equal(bytes.TrimSpace(raw), []byte("null"))
		object := json.Unmarshal(raw, &before) == nil && before != nil
		if !ok {
			if none || object && (before["_meta"] == nil || reflect.TypeOf(before["_meta"]) == reflect.TypeFor[map[string]any]()) {
				t.Fatalf("%q can have a _meta", raw)
			}
			return
		}
		if err := json.Unmarshal(out, &after); err != nil {
			t.Fatalf("%q is no JSON: %v", out, err)
		}
		meta, _ := after["_meta"].(map[string]any)
		clean := func(s string) string { // as encoding/json writes and reads it
			b, err := json.Marshal(s)
			if err != nil || json.Unmarshal(b, &s) != nil {
				t.Fatal(err)
			}
			return s
		}
		if strings.ContainsRune(clean(key), utf8.RuneError) {
			return // no propagator has such a name, and it is what any invalid one reads as
		}
		if meta[clean(key)] != clean(value) {
			t.Fatalf("%q has no %q", out, key)
		}
		old, _ := before["_meta"].(map[string]any)
		for k, v := range old {
			if k != clean(key) && k != "tracestate" && !reflect.DeepEqual(meta[k], v) {
				t.Fatalf("%q in _meta was %v and is %v", k, v, meta[k])
			}
		}
		delete(before, "_meta")
		delete(after, "_meta")
		if len(before) != len(after) {
			t.Fatalf("%q became %q", raw, out)
		}
		for k, v := range before {
			if !reflect.DeepEqual(after[k], v) {
				t.Fatalf("%q was %v and is %v", k, v, after[k])
			}
		}
	})
}
