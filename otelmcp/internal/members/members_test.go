// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package members

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

type words struct {
	Error string `json:"error"`
	More  string `json:"error_uri,omitempty"`
}

type mixed struct {
	Error   string    `json:"error"`
	Count   int64     `json:"count,omitempty"`
	At      time.Time `json:"at,omitzero"`
	List    []string  `json:"list"`
	Untaged string
}

// documents are those that read differently from what they look like, and those that
// look like others.
var documents = []string{
	``, ` `, `null`, ` null `, `nullx`, `nul`, `null null`, `5`, `-`, `5 `, `01`, `"a"`, `"a`, `true`, `truex`, `[]`, `[`, `[1,"a"]`, `{}`, `{} `, `{}x`, `{}{}`, `{"error":"x"}`,
	`{"error":"x"} trailing`, `{"error":"x"`, `{"error":"x",}`, `{,"error":"x"}`, `{"error" "x"}`, `{"error":}`, `{"error":"x"]`, `[{"error":"x"}]`, `]`, `}`, `:`, `,`,
	`{"ERROR":"x"}`, `{"\u0065rror":"x"}`, `{"error":"x","error":"y"}`, `{"error":"x","error":null}`, `{"error":"x","Error":5}`, `{"error":5,"error":"x"}`, `{"error":null}`,
	`{"error":"x","error_uri":5}`, `{"error":{"error":"x"}}`, `{"a":{"error":"x"}}`, `{"a":[{"error":"x"}]}`, `{"error":["x"]}`, `{"error":[]}`, `{"error":true}`, `{"error":tru}`,
	`{"count":1}`, `{"count":1.0}`, `{"count":1e3}`, `{"count":-0}`, `{"count":9223372036854775807}`, `{"count":9223372036854775808}`, `{"count":"1"}`, `{"count":01}`, `{"count":1.}`,
	`{"count":-}`, `{"count":1e}`, `{"count":1e+}`, `{"count":1E-2}`, `{"count":.5}`, `{"count":+1}`, `{"count":` + strings.Repeat("9", 500) + `}`, `{"a":` + strings.Repeat("9", 500) + `}`,
	`{"at":"2026-01-02T03:04:05Z"}`, `{"at":"yesterday"}`, `{"at":5}`, `{"at":null}`, `{"at":{}}`, `{"at":[]}`,
	`{"list":["a"]}`, `{"list":["a","b",null]}`, `{"list":[null]}`, `{"list":[]}`, `{"list":null}`, `{"list":"a"}`, `{"list":["a",5]}`, `{"list":[5,"a"]}`, `{"list":["a",["b"]]}`,
	`{"list":["a",{"b":["c",5]}]}`, `{"list":[["a"]]}`, `{"list":{"0":"a"}}`, `{"list":["a"],"list":[]}`, `{"list":["a"],"list":null}`, `{"list":["a",]}`, `{"list":["a" "b"]}`, `{"list":["a":"b"]}`, `{"list":[true,false]}`,
	`{"untaged":"x"}`, "{\"error\":\"a\x00\"}", "{\"error\":\"a\xff\"}", `{"error":"\q"}`, `{"error":"\u12"}`, `{"error":"\u12g4"}`, `{"error":"\ud800"}`, `{"error":"\ud83d\ude00"}`, "{\"err\xffor\":\"x\"}",
	`{"error":"\\\"\/\b\f\n\r\t"}`, "\xef\xbb\xbf{}", "\t\r\n{ \"error\" : \"x\" , \"count\" : 1 }\n", "\v{}", `{"":"x"}`, `{"erro\u0072":"x"}`, `{"error_uri":"a","error_uRI":"b"}`, "{\"\u017fomething\":1,\"li\u017ft\":[\"a\"]}",
	strings.Repeat("[", 10000) + strings.Repeat("]", 10000), strings.Repeat("[", 10001) + strings.Repeat("]", 10001),
	`{"a":` + strings.Repeat(`{"a":`, 9998) + `1` + strings.Repeat("}", 9999), `{"a":` + strings.Repeat(`{"a":`, 9999) + `[]` + strings.Repeat("}", 10000),
	`{"error":"` + strings.Repeat("x", maxText/2) + `"}`, `{"` + strings.Repeat("error", 300) + `":"x"}`, `{"` + strings.Repeat(`\u0065`, 1) + `rror":"x"}`,
}

// same fails the test where a Reader says anything else of raw than encoding/json.
func same(t *testing.T, raw []byte, piece int) {
	t.Helper()
	for _, failure := range []error{nil, iotest.ErrTimeout} {
		for _, extent := range []Extent{Whole, First} {
			var wantWords, gotWords words
			var wantMixed, gotMixed mixed
			decode := func(into any) error {
				if extent == First {
					end := io.Reader(bytes.NewReader(raw))
					if failure != nil {
						end = io.MultiReader(end, iotest.ErrReader(failure))
					}
					return json.NewDecoder(end).Decode(into)
				}
				if failure != nil {
					return failure // there is nothing to decode
				}
				return json.Unmarshal(raw, into)
			}
			wantErr := []error{decode(&wantWords), decode(&wantMixed)}
			r := NewReader(extent, &gotWords, &gotMixed)
			for rest := raw; len(rest) > 0; {
				n := min(piece, len(rest))
				if k, err := r.Write(rest[:n]); k != n || err != nil {
					t.Fatalf("wrote %d, %v", k, err)
				}
				rest = rest[n:]
			}
			err := r.End(failure)
			if extent == Whole && failure != nil {
				continue // and what it says is of no use
			}
			got := []error{errors.Join(err, r.Err(0)), errors.Join(err, r.Err(1))}
			for k := range got {
				if (got[k] == nil) != (wantErr[k] == nil) {
					t.Errorf("extent %v, failure %v, target %d: %v, want %v\n%.200q", extent, failure, k, got[k], wantErr[k], raw)
				}
			}
			if wantErr[0] == nil && gotWords != wantWords {
				t.Errorf("extent %v: %+v, want %+v\n%.200q", extent, gotWords, wantWords, raw)
			}
			wantMixed.List, gotMixed.List = wantMixed.List[:min(1, len(wantMixed.List))], gotMixed.List[:min(1, len(gotMixed.List))]
			if wantErr[1] == nil && !reflect.DeepEqual(gotMixed, wantMixed) {
				t.Errorf("extent %v: %+v, want %+v\n%.200q", extent, gotMixed, wantMixed, raw)
			}
		}
	}
}

func TestReader(t *testing.T) {
	for _, raw := range documents {
		for _, piece := range []int{1, 3, 1 << 20} {
			same(t, []byte(raw), piece)
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, raw := range documents {
		if len(raw) < 2000 {
			f.Add([]byte(raw), byte(1))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, piece byte) {
		if len(raw) > maxText/2 {
			t.Skip("longer than what is kept of a string")
		}
		same(t, raw, int(piece)+1)
	})
}

// zeros is an endless input of one byte.
type zeros byte

func (z zeros) Read(p []byte) (int, error) {
	for k := range p {
		p[k] = byte(z)
	}
	return len(p), nil
}

// Whatever comes, and however much: what decides is read, and memory is not.
func TestReaderIsBounded(t *testing.T) {
	const size = 16 << 20
	repeated := func(unit string) io.Reader {
		return io.LimitReader(&endless{unit: unit}, size/int64(len(unit))*int64(len(unit)))
	}
	for name, body := range map[string]io.Reader{
		"spaces":  io.LimitReader(zeros(' '), size),
		"text":    io.MultiReader(strings.NewReader(`"pad":"`), io.LimitReader(zeros('x'), size), strings.NewReader(`",`)),
		"kept":    io.MultiReader(strings.NewReader(`"error_uri":"`), io.LimitReader(zeros('x'), size), strings.NewReader(`",`)),
		"name":    io.MultiReader(strings.NewReader(`"`), io.LimitReader(zeros('x'), size), strings.NewReader(`":1,`)),
		"number":  io.MultiReader(strings.NewReader(`"pad":`), io.LimitReader(zeros('9'), size), strings.NewReader(`,`)),
		"list":    io.MultiReader(strings.NewReader(`"list":["a"`), repeated(`,"bcdefghijk"`), strings.NewReader(`],`)),
		"objects": io.MultiReader(strings.NewReader(`"pad":[{}`), repeated(`,{"error":["y",{}]}`), strings.NewReader(`],`)),
		"escapes": io.MultiReader(strings.NewReader(`"error":"`), repeated(`\u0041`), strings.NewReader(`",`)),
	} {
		t.Run(name, func(t *testing.T) {
			var w words
			var m mixed
			r := NewReader(Whole, &w, &m)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := io.CopyBuffer(struct{ io.Writer }{r}, struct{ io.Reader }{io.MultiReader(strings.NewReader(`{`), body, strings.NewReader(`"error":"no"}`))}, make([]byte, 32<<10))
			runtime.ReadMemStats(&after)
			if err != nil || r.End(nil) != nil || r.Err(0) != nil || w.Error != "no" {
				t.Errorf("%v, %v, %v: %.20q", err, r.End(nil), r.Err(0), w.Error)
			}
			if name == "list" && (r.Err(1) != nil || len(m.List) != 1 || m.List[0] != "a") {
				t.Errorf("%v: %.100q", r.Err(1), m.List)
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 12<<20 {
				t.Errorf("%d bytes were allocated", grown)
			}
		})
	}
}

// endless repeats unit.
type endless struct {
	unit string
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	for k := range p {
		p[k] = e.unit[e.at]
		e.at = (e.at + 1) % len(e.unit)
	}
	return len(p), nil
}

// However often a member is repeated, each time costs about what its value does.
func TestRepeatedMembersAreCheap(t *testing.T) {
	for name, unit := range map[string]string{
		"text": `"error":"a",`, "null": `"list":null,`, "number": `"count":1,`, "list": `"list":["a"],`, "time": `"at":"2026-01-02T03:04:05Z",`,
		"other": `"count":true,`, "none": `"errors":1,`,
	} {
		t.Run(name, func(t *testing.T) {
			const times = 1000
			raw := []byte(`{` + strings.Repeat(unit, times) + `"error":"no"}`)
			n := testing.AllocsPerRun(5, func() {
				var w words
				var m mixed
				_, _ = NewReader(Whole, &w, &m).Write(raw)
			}) / times
			if n > 4.5 {
				t.Errorf("each takes %.1f allocations", n)
			}
			t.Logf("%.1f", n)
		})
	}
}
