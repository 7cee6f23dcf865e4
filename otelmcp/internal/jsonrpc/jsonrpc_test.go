// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package jsonrpc

// What Parse and Head read of single messages, as tables, and what they cost and
// bear. That it is what mcp-go reads is tested in mcpgo_test.go.

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for raw, want := range map[string]Envelope{
		// Kinds.
		``:                                      {NullAnswer: true},
		`{`:                                     {NullAnswer: true},
		`{} x`:                                  {NullAnswer: true},
		`5`:                                     {NullAnswer: true},
		`"a"`:                                   {NullAnswer: true},
		"\xef\xbb\xbf{}":                        {NullAnswer: true},
		`[]`:                                    {Kind: Batch, NullAnswer: true},
		` [{"jsonrpc":"2.0"}]`:                  {Kind: Batch, NullAnswer: true},
		`[1`:                                    {NullAnswer: true},
		`null`:                                  {Kind: Notification, EmptyResult: true, NullAnswer: true},
		`{}`:                                    {Kind: Notification, EmptyResult: true, NullAnswer: true},
		`{"id":1}`:                              {Kind: Response, ID: "1", Key: "n1", EmptyResult: true},
		`{"id":1,"method":""}`:                  {Kind: Response, ID: "1", Key: "n1", EmptyResult: true},
		`{"id":1,"error":{ }}`:                  {Kind: Response, ID: "1", Key: "n1", HasError: true, EmptyResult: true},
		`{"id":1,"error":[],"result":{}}`:       {Kind: Response, ID: "1", Key: "n1", HasResult: true, HasError: true, EmptyResult: true},
		`{"id":1,"error":""}`:                   {Kind: Response, ID: "1", Key: "n1", HasError: true},
		`{"id":1,"error":{},"result":""}`:       {Kind: Response, ID: "1", Key: "n1", HasResult: true, HasError: true},
		`{"id":1,"error":{},"error":{"a":1}}`:   {Kind: Response, ID: "1", Key: "n1", HasError: true},
		`{"id":null,"method":"a"}`:              {Kind: Notification, Method: "a", EmptyResult: true, NullAnswer: true},
		`{"jsonrpc":"2.0"}`:                     {Kind: Notification, Version: "2.0", EmptyResult: true, Silent: true},
		`{"jsonrpc":"2.0","method":"a"}`:        {Kind: Notification, Version: "2.0", Method: "a", EmptyResult: true, Silent: true},
		`{"jsonrpc":"1.0","method":"a"}`:        {Kind: Notification, Version: "1.0", Method: "a", EmptyResult: true, NullAnswer: true},
		` { "id" : 1 , "method" : "a" } `:       {Kind: Request, Method: "a", ID: "1", Key: "n1", EmptyResult: true},
		`{"ID":1,"JsonRPC":"2.0","Method":"a"}`: {Kind: Request, Version: "2.0", Method: "a", ID: "1", Key: "n1", EmptyResult: true},
		`{"jſonrpc":"2.0","\u006dethod":"a"}`:   {Kind: Notification, Version: "2.0", Method: "a", EmptyResult: true, Silent: true},

		// Results and errors.
		`{"jsonrpc":"2.0","id":1,"result":{ }}`:                         {Kind: Response, Version: "2.0", ID: "1", Key: "n1", HasResult: true, EmptyResult: true, Silent: true},
		`{"jsonrpc":"2.0","id":1,"result":[]}`:                          {Kind: Response, Version: "2.0", ID: "1", Key: "n1", HasResult: true, EmptyResult: true, Silent: true},
		`{"jsonrpc":"2.0","id":1,"result":0}`:                           {Kind: Response, Version: "2.0", ID: "1", Key: "n1", HasResult: true, Silent: true},
		`{"jsonrpc":"2.0","id":1,"result":null}`:                        {Kind: Response, Version: "2.0", ID: "1", Key: "n1", EmptyResult: true},
		`{"jsonrpc":"2.0","id":1,"result":1,"result":null}`:             {Kind: Response, Version: "2.0", ID: "1", Key: "n1", EmptyResult: true},
		`{"jsonrpc":"2.0","id":1,"method":"a","result":1}`:              {Kind: Request, Version: "2.0", Method: "a", ID: "1", Key: "n1", HasResult: true, Silent: true},
		`{"jsonrpc":"2.0","id":1,"error":{"code":-32601}}`:              {Kind: Response, Version: "2.0", ID: "1", Key: "n1", HasError: true, Code: -32601},
		`{"id":1,"error":{"data":{"code":1},"CODE":5}}`:                 {Kind: Response, ID: "1", Key: "n1", HasError: true, Code: 5},
		`{"id":1,"error":{"code":"5"}}`:                                 {Kind: Response, ID: "1", Key: "n1", HasError: true},
		`{"id":1,"error":{"code":5.0}}`:                                 {Kind: Response, ID: "1", Key: "n1", HasError: true},
		`{"id":1,"error":{"code":5e1}}`:                                 {Kind: Response, ID: "1", Key: "n1", HasError: true},
		`{"id":1,"error":{"code":99999999999999999999}}`:                {Kind: Response, ID: "1", Key: "n1", HasError: true},
		`{"id":1,"error":{"code":{}}}`:                                  {Kind: Response, ID: "1", Key: "n1", HasError: true},
		`{"id":1,"error":{"code":5,"code":null}}`:                       {Kind: Response, ID: "1", Key: "n1", HasError: true, Code: 5},
		`{"id":1,"error":{"code":5,"code":6}}`:                          {Kind: Response, ID: "1", Key: "n1", HasError: true, Code: 6},
		`{"id":1,"error":{"code":5},"error":"internal error"}`:          {Kind: Response, ID: "1", Key: "n1", HasError: true},
		`{"id":1,"error":{"code":5},"error":null}`:                      {Kind: Response, ID: "1", Key: "n1", EmptyResult: true},
		`{"error": "internal error","jsonrpc": "2.0", "id": null}`:      {Kind: Notification, Version: "2.0", HasError: true, Silent: true},
		`{"jsonrpc":"2.0","id":1,"result":{"deep":[{"number":1e999}]}}`: {Version: "2.0", ID: "1", HasResult: true, NullAnswer: true},

		// Ids.
		`{"id":"1","method":"a"}`:               {Kind: Request, Method: "a", ID: "1", Key: "s1", EmptyResult: true},
		`{"id":"","method":"a"}`:                {Kind: Request, Method: "a", Key: "s", EmptyResult: true},
		`{"id":"2.0","method":"a"}`:             {Kind: Request, Method: "a", ID: "2.0", Key: "s2.0", EmptyResult: true},
		`{"id":2.0,"method":"a"}`:               {Kind: Request, Method: "a", ID: "2", Key: "n2", EmptyResult: true},
		`{"id":1e3,"method":"a"}`:               {Kind: Request, Method: "a", ID: "1000", Key: "n1000", EmptyResult: true},
		`{"id":-0,"method":"a"}`:                {Kind: Request, Method: "a", ID: "0", Key: "n0", EmptyResult: true},
		`{"id":1.5,"method":"a"}`:               {Kind: Request, Method: "a", ID: "1.5", Key: "n1.5", EmptyResult: true},
		`{"id":1e300,"method":"a"}`:             {Kind: Request, Method: "a", ID: "1e+300", Key: "n1e+300", EmptyResult: true},
		`{"id":9007199254740993,"method":"a"}`:  {Kind: Request, Method: "a", ID: "9007199254740992", Key: "n9007199254740992", EmptyResult: true},
		`{"id":false,"method":"a"}`:             {Kind: Request, Method: "a", Key: "jfalse", EmptyResult: true},
		`{"id":{"b":1,"a":[ ]},"method":"a"}`:   {Kind: Request, Method: "a", Key: `j{"a":[],"b":1}`, EmptyResult: true},
		`{"id":"\ud800<","method":"a"}`:         {Kind: Request, Method: "a", ID: "\ufffd<", Key: "s\ufffd<", EmptyResult: true},
		"{\"id\":\"\xff\",\"method\":\"\xfe\"}": {Kind: Request, Method: "\ufffd", ID: "\ufffd", Key: "s\ufffd", EmptyResult: true},
		`{"id":1,"Id":"b","method":"a"}`:        {Kind: Request, Method: "a", ID: "b", Key: "sb", EmptyResult: true},
		`{"id":1,"id":null,"method":"a"}`:       {Kind: Notification, Method: "a", EmptyResult: true, NullAnswer: true},

		// What mcp-go cannot decode is read as far as it goes, the last member last.
		`{"jsonrpc":2,"id":7,"method":"tools/call","params":{"name":"n"}}`: {Method: "tools/call", ID: "7", Name: "n", NullAnswer: true},
		`{"jsonrpc":"2.0","id":7,"METHOD":"b","Method":{},"method":"a"}`:   {Version: "2.0", Method: "a", ID: "7", NullAnswer: true},
		`{"method":5,"method":"b","Method":"a"}`:                           {Method: "a", NullAnswer: true},
		`{"method":"a","Method":5}`:                                        {Method: "a", NullAnswer: true},
		`{"method":"a","id":1e999}`:                                        {Method: "a", NullAnswer: true},
		`{"method":"a","id":[1e999]}`:                                      {Method: "a", NullAnswer: true},
		`{"method":"a","method":null}`:                                     {Kind: Notification, Method: "a", EmptyResult: true, NullAnswer: true},

		// Params.
		`{"id":1,"method":"a","params":{"name":"n","uri":"u","Name":"m"}}`: {Kind: Request, Method: "a", ID: "1", Key: "n1", Name: "m", URI: "u", EmptyResult: true},
		`{"id":1,"method":"a","params":{"name":5,"uri":"u"}}`:              {Kind: Request, Method: "a", ID: "1", Key: "n1", URI: "u", EmptyResult: true},
		`{"id":1,"method":"a","params":{"uri":"u"},"params":{"name":"n"}}`: {Kind: Request, Method: "a", ID: "1", Key: "n1", Name: "n", URI: "u", EmptyResult: true},
		`{"id":1,"method":"a","params":[{"name":"n"}]}`:                    {Kind: Request, Method: "a", ID: "1", Key: "n1", EmptyResult: true},
		`{"id":1,"method":"a","params":"name"}`:                            {Kind: Request, Method: "a", ID: "1", Key: "n1", EmptyResult: true},
		`{"id":1,"method":"a","params":{"arguments":{"name":"n"}}}`:        {Kind: Request, Method: "a", ID: "1", Key: "n1", EmptyResult: true},
		`{"jsonrpc":"2.0","method":"a","params":[]}`:                       {Kind: Notification, Version: "2.0", Method: "a", EmptyResult: true, NullAnswer: true},
		`{"jsonrpc":"2.0","method":"a","params":[],"params":{}}`:           {Kind: Notification, Version: "2.0", Method: "a", EmptyResult: true, NullAnswer: true},
		`{"jsonrpc":"2.0","method":"a","params":{"x":1e999}}`:              {Kind: Notification, Version: "2.0", Method: "a", EmptyResult: true, NullAnswer: true},
		`{"jsonrpc":"2.0","method":"a","params":null}`:                     {Kind: Notification, Version: "2.0", Method: "a", EmptyResult: true, Silent: true},
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"7","REQUESTID":8}}`: {
			Kind: Notification, Version: "2.0", Method: "notifications/cancelled", Target: "7", TargetKey: "s7", EmptyResult: true, Silent: true,
		},
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7.0}}`: {
			Kind: Notification, Version: "2.0", Method: "notifications/cancelled", Target: "7", TargetKey: "n7", EmptyResult: true, Silent: true,
		},
		`{"id":1,"method":"a","params":{"_META":{"k":[1]}}}`:        {Kind: Request, Method: "a", ID: "1", Key: "n1", meta: []byte(`{"k":[1]}`), EmptyResult: true},
		`{"id":1,"method":"a","params":{"_meta":[]}}`:               {Kind: Request, Method: "a", ID: "1", Key: "n1", EmptyResult: true},
		`{"jsonrpc":"2.0","method":"a","params":{"_META":{"k":1}}}`: {Kind: Notification, Version: "2.0", Method: "a", EmptyResult: true, Silent: true},
		`{"id":1,"method":"initialize","params":{"protocolVersion":"v","clientInfo":{"name":"c","Version":"1"}}}`: {
			Kind: Request, Method: "initialize", ID: "1", Key: "n1", ProtocolVersion: "v", ClientName: "c", ClientVersion: "1", EmptyResult: true,
		},
		`{"id":1,"method":"initialize","params":{"protocolVersion":7,"clientInfo":"c","name":"n"}}`: {
			Kind: Request, Method: "initialize", ID: "1", Key: "n1", Name: "n", EmptyResult: true,
		},
		`{"id":1,"method":"a","params":{"protocolVersion":"v","clientInfo":{"name":"c"}}}`: {
			Kind: Request, Method: "a", ID: "1", Key: "n1", EmptyResult: true,
		},
		`{"id":1,"method":"a","params":{"_meta":{"` + metaProtocolVersion + `":"v","` + metaClientInfo + `":{"name":"c","version":"1"}}}}`: {
			Kind: Request, Method: "a", ID: "1", Key: "n1", ProtocolVersion: "v", ClientName: "c", ClientVersion: "1", EmptyResult: true,
			MetaVersion: "v", meta: []byte(`{"` + metaProtocolVersion + `":"v","` + metaClientInfo + `":{"name":"c","version":"1"}}`),
		},
		`{"id":1,"method":"initialize","params":{"protocolVersion":"p","_meta":{"` + metaProtocolVersion + `":"v","` + metaClientInfo + `":{"NAME":"b","Name":"c"}}}}`: {
			Kind: Request, Method: "initialize", ID: "1", Key: "n1", ProtocolVersion: "p", ClientName: "c", EmptyResult: true,
			MetaVersion: "v", meta: []byte(`{"` + metaProtocolVersion + `":"v","` + metaClientInfo + `":{"NAME":"b","Name":"c"}}`),
		},
	} {
		got := Parse([]byte(raw))
		got.Answers = "" // TestAnswers
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", raw, got, want)
		}
	}
}

// The buffers of messages are used again, so nothing may point into them.
func TestParseKeepsNothing(t *testing.T) {
	raw := `{"jsonrpc":"3.0","id":"i","method":"initialize","params":{"name":"n","uri":"u","requestId":"r","protocolVersion":"v",` +
		`"clientInfo":{"name":"c","version":"w"},"_meta":{"k":"m"}}}`
	buf := []byte(raw)
	got := Parse(buf)
	head, _ := Head(buf)
	clear(buf)
	if want := Parse([]byte(raw)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if want, _ := Head([]byte(raw)); !reflect.DeepEqual(head, want) {
		t.Errorf("got %+v\nwant %+v", head, want)
	}
}

func TestHead(t *testing.T) {
	long := strings.Repeat("x", 2000)
	for _, c := range []struct {
		raw      string
		want     Envelope
		complete bool
	}{
		{raw: ``},
		{raw: ` `},
		{raw: `x`},
		{raw: `nul`},
		{raw: `[{`, want: Envelope{Kind: Batch}},
		{raw: `{`},
		{raw: `{}`, want: Envelope{Kind: Notification, EmptyResult: true}, complete: true},
		{raw: `{"jsonrpc":"2.0","id":12`, want: Envelope{Version: "2.0"}},
		{raw: `{"jsonrpc":"2.0","id":12,`, want: Envelope{Version: "2.0", ID: "12", Key: "n12"}},
		{raw: `{"jsonrpc":"2.0","id":12,"params":{"a`, want: Envelope{Version: "2.0", ID: "12", Key: "n12"}},
		{raw: `{"jsonrpc":"2.0","id":12,"meth`, want: Envelope{Version: "2.0", ID: "12", Key: "n12"}},
		{raw: `{"jsonrpc":"2.0","id":12,"method":"to`, want: Envelope{Version: "2.0", ID: "12", Key: "n12"}},
		{raw: `{"jsonrpc":"2.0","id":12,"method":"to\"`, want: Envelope{Version: "2.0", ID: "12", Key: "n12"}},
		{raw: `{"jsonrpc":"2.0","id":12,"method":"to\""`, want: Envelope{Kind: Request, Version: "2.0", Method: `to"`, ID: "12", Key: "n12"}},
		{raw: `{"jsonrpc":"2.0","id":12,"result":`, want: Envelope{Version: "2.0", ID: "12", Key: "n12"}},
		{raw: `{"jsonrpc":"2.0","id":12,"result":n`, want: Envelope{Version: "2.0", ID: "12", Key: "n12"}},
		{raw: `{"jsonrpc":"2.0","id":12,"result":{"`, want: Envelope{Kind: Response, Version: "2.0", ID: "12", Key: "n12", HasResult: true}},
		{raw: `{"jsonrpc":"2.0","id":12,"result":{}}`, want: Envelope{Kind: Response, Version: "2.0", ID: "12", Key: "n12", HasResult: true, EmptyResult: true}, complete: true},
		{
			raw:  `{"jsonrpc":"2.0","id":12,"error":{"code":-32602,"message":"` + long,
			want: Envelope{Kind: Response, Version: "2.0", ID: "12", Key: "n12", HasError: true, Code: -32602},
		},
		{raw: `{"jsonrpc":"2.0","id":12,"error":{"code":-326`, want: Envelope{Version: "2.0", ID: "12", Key: "n12", HasError: true}},
		{raw: `{"jsonrpc":"2.0","id":12,"error":`, want: Envelope{Version: "2.0", ID: "12", Key: "n12"}},
		{raw: `{"jsonrpc":"2.0","id":12,"error":{"message":"`, want: Envelope{Version: "2.0", ID: "12", Key: "n12", HasError: true}},
		{raw: `{"jsonrpc":"2.0","id":12,"error":"x","data":`, want: Envelope{Kind: Response, Version: "2.0", ID: "12", Key: "n12", HasError: true}},
		{raw: `{"error":{"code":5},"id":"a","jsonrpc":"2.0"}` + " \n", want: Envelope{Kind: Response, Version: "2.0", ID: "a", Key: "sa", HasError: true, Code: 5}, complete: true},
		{raw: `{"method":"a","params":{"name":"` + long, want: Envelope{Kind: Notification, Method: "a"}},
		{raw: `{"method":"a","params":{"name":"n"},"jsonrpc":"2.0","ID":[1]}`, want: Envelope{Kind: Request, Version: "2.0", Method: "a", Key: "j[1]", EmptyResult: true}, complete: true},

		// What is not a message after all.
		{raw: `{"id":1,"method":5,"jsonrpc":"2.0"}`, want: Envelope{Version: "2.0", ID: "1"}, complete: true},
		{raw: `{"id":1,"method":"a"}}`, want: Envelope{Method: "a", ID: "1"}, complete: true},
		{raw: `{"id":1 "method":"a"}`, want: Envelope{ID: "1"}},
		{raw: `{"id":,"method":"a"}`},
		{raw: `{"id":1,"method":"a",}`, want: Envelope{Method: "a", ID: "1"}},
		{raw: `{"id":1,"method":"a` + "\n" + `"}`, want: Envelope{ID: "1"}, complete: true},
		{raw: `{id:1}`},
		{raw: `{"id":1]`, want: Envelope{ID: "1"}},
		{raw: `{"id":]`},
	} {
		got, complete := Head([]byte(c.raw))
		if !reflect.DeepEqual(got, c.want) || complete != c.complete {
			t.Errorf("%.200s:\n got %+v %t\nwant %+v %t", c.raw, got, complete, c.want, c.complete)
		}
	}
}

// ID takes what mcp-go hands to hooks, and what it decodes an answer's id to.
func TestID(t *testing.T) {
	for _, c := range []struct {
		id        any
		text, key string
	}{
		{nil, "", ""},
		{"a", "a", "sa"},
		{7.0, "7", "n7"},
		{7, "7", "n7"},
		{int64(7), "7", "n7"},
		{7.5, "7.5", "n7.5"},
		{true, "", "jtrue"},
		{map[string]any{"b": 1.0, "a": nil}, "", `j{"a":null,"b":1}`},
		{func() {}, "", ""},
	} {
		if text, key := ID(c.id); text != c.text || key != c.key {
			t.Errorf("%v: got %q %q, want %q %q", c.id, text, key, c.text, c.key)
		}
	}
}

// A client chooses what its messages look like. None may cost more than its size,
// and none may end the process.
func TestHostile(t *testing.T) {
	const n = 1 << 20
	for name, raw := range map[string]string{
		"open arrays":        `{"result":` + strings.Repeat(`[`, n),
		"open objects":       `{"params":` + strings.Repeat(`{"":`, n),
		"only open objects":  strings.Repeat(`{"":`, n),
		"closed arrays":      `{"id":` + strings.Repeat(`[`, n) + strings.Repeat(`]`, n) + `}`,
		"backslashes":        `{"method":"` + strings.Repeat(`\`, n) + `"`,
		"escaped quotes":     `{"method":"` + strings.Repeat(`\"`, n) + `"}`,
		"quotes":             `{` + strings.Repeat(`"`, n),
		"digits":             `{"id":` + strings.Repeat(`9`, n) + `}`,
		"digits after point": `{"id":0.` + strings.Repeat(`9`, n) + `,"method":"a"}`,
		"spaces":             `{"id":1` + strings.Repeat(` `, n) + `}`,
		"members":            `{` + strings.Repeat(`"id":1,`, n/8) + `"id":2}`,
		"ids":                `{` + strings.Repeat(`"id":{"a":[]},`, n/16) + `"id":2}`,
		"commas":             `{` + strings.Repeat(`,`, n) + `}`,
		"a name":             `{"` + strings.Repeat(`m`, n) + `":1}`,
		"long s":             `{"` + strings.Repeat("ſ", n/2) + `":1}`,
		"error members":      `{"error":{` + strings.Repeat(`"code":1,`, n/8) + `"code":2}}`,
	} {
		t.Run(name, func(t *testing.T) {
			e := Parse([]byte(raw))
			h, _ := Head([]byte(raw))
			if json.Valid([]byte(raw)) && (h.Kind != e.Kind || h.Key != e.Key) {
				t.Errorf("Parse says %d %.20q, Head %d %.20q", e.Kind, e.Key, h.Kind, h.Key)
			}
		})
	}
	for depth, want := range map[int]Kind{maxDepth - 1: Request, maxDepth: Malformed} { // the message is one level itself
		id := strings.Repeat(`[`, depth) + strings.Repeat(`]`, depth)
		raw := []byte(`{"id":` + id + `,"method":"a"}`)
		if e := Parse(raw); e.Kind != want {
			t.Errorf("%d levels are of kind %d, want %d", depth, e.Kind, want)
		}
	}
}

func TestHeadAllocations(t *testing.T) {
	for raw, want := range map[string]float64{
		`{"jsonrpc":"2.0","id":12345,"result":{"content":[{"type":"text","text":"` + strings.Repeat("x", 4096): 1,
		`{"jsonrpc":"2.0","id":"a long enough id","error":{"code":-32602,"message":"no"}}`:                     1,
		`{"jsonrpc":"2.0","id":1e2,"method":"tools/call","params":{"name":"` + strings.Repeat("x", 4096):       2,
		`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1e3}}`:                        1,
	} {
		b := []byte(raw)
		if got := testing.AllocsPerRun(100, func() { Head(b) }); got > want {
			t.Errorf("%.60s: %v allocations, want %v", raw, got, want)
		}
	}
}

// A message answers a request of the server's on stdio by its id and by having a
// result or an error, whatever else it has.
func TestAnswers(t *testing.T) {
	for raw, want := range map[string]string{
		`{"jsonrpc":"2.0","id":1,"result":{}}`:                   "n1",
		`{"jsonrpc":"2.0","id":"1","result":{}}`:                 "n1",
		`{"jsonrpc":"2.0","id":1,"result":null}`:                 "n1",
		`{"jsonrpc":"2.0","id":-7,"error":{"code":1}}`:           "n-7",
		`{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}`:   "n1",
		`{"jsonrpc":"2.0","id":1,"error":null}`:                  "",
		`{"jsonrpc":"2.0","id":1.0,"result":{}}`:                 "",
		`{"jsonrpc":"2.0","id":"+1","result":{}}`:                "",
		`{"jsonrpc":"2.0","id":"x","result":{}}`:                 "",
		`{"jsonrpc":"2.0","id":null,"result":{}}`:                "",
		`{"jsonrpc":"2.0","result":{}}`:                          "",
		`{"jsonrpc":"2.0","id":1,"method":"ping"}`:               "",
		`{"jsonrpc":"2.0","id":9223372036854775808,"result":{}}`: "",
	} {
		if got := Parse([]byte(raw)).Answers; got != want {
			t.Errorf("%s answers %q, want %q", raw, got, want)
		}
	}
}

// What stands behind the first value is not read where mcp-go does not read it.
func TestParseFirst(t *testing.T) {
	for raw, want := range map[string]Kind{
		`{"jsonrpc":"2.0","id":1,"method":"ping"} x`:  Request,
		` {"jsonrpc":"2.0","id":1,"method":"ping"}{}`: Request,
		`[1] x`:  Batch,
		`"a" x`:  Malformed,
		`{"a" x`: Malformed,
	} {
		if got := ParseFirst([]byte(raw)).Kind; got != want {
			t.Errorf("%s is %v, want %v", raw, got, want)
		}
	}
}

func TestIsRequest(t *testing.T) {
	for raw, want := range map[string]bool{
		`{"jsonrpc":"2.0","id":1,"method":"ping"}`:  true,
		`{"method":"a","params":{"id":1},"ID":"x"}`: true,
		`{"method":"a","params":{"id":1}}`:          false,
		`{"method":"a","id":null}`:                  false,
		`[1]`:                                       false,
		``:                                          false,
	} {
		if got := IsRequest([]byte(raw), true); got != want {
			t.Errorf("%s is a request: %v, want %v", raw, got, want)
		}
	}
	if !IsRequest([]byte(`{"method":"a","params":{"x":"`), false) {
		t.Error("what may be a request is none")
	}
}
