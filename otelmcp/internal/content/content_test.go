// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package content

// This file tests what becomes of content: its structure, what is redacted, what is cut, and the bounds.

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/scrub"
)

// plain turns a value back into what JSON would make of it.
func plain(v attribute.Value) any {
	switch v.Type() {
	case attribute.EMPTY:
		return nil
	case attribute.SLICE:
		out := []any{}
		for _, e := range v.AsSlice() {
			out = append(out, plain(e))
		}
		return out
	case attribute.MAP:
		out := map[string]any{}
		for _, kv := range v.AsMap() {
			if _, twice := out[string(kv.Key)]; twice {
				panic("key twice: " + kv.Key)
			}
			out[string(kv.Key)] = plain(kv.Value)
		}
		return out
	}
	return v.AsInterface()
}

// cost is what a value counts for in Total.
func cost(v attribute.Value) int {
	n := 0
	switch v.Type() {
	case attribute.EMPTY:
	case attribute.STRING:
		n = costString + len(v.AsString())
	case attribute.SLICE:
		n = costContainer
		for _, e := range v.AsSlice() {
			n += cost(e)
		}
	case attribute.MAP:
		n = costContainer
		for _, kv := range v.AsMap() {
			n += costKey + len(kv.Key) + cost(kv.Value)
		}
	default:
		n = costScalar
	}
	return n
}

func decode(t *testing.T, s string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

var roomy = limits{1000, 100000}

type point struct {
	X, Y     int
	Password string
	Tags     []string
}

type panics struct{}

func (panics) MarshalJSON() ([]byte, error) { panic("no") }

type fails struct{}

func (fails) MarshalJSON() ([]byte, error) { return nil, errors.New("secret reason") }

func TestValue(t *testing.T) {
	m := map[string]any{}
	for _, c := range []struct {
		name string
		in   any
		want any
	}{
		{"null", nil, nil},
		{"string", "hi", "hi"},
		{"bool", true, true},
		{"float", 1.5, 1.5},
		{"int", 3, int64(3)},
		{"number", json.Number("9007199254740993"), int64(9007199254740993)},
		{"fraction", json.Number("1.25"), 1.25},
		{"large number", json.Number("123456789012345678901234567890"), "123456789012345678901234567890"},
		{"not a number", json.Number("1\n2"), "1 2"},
		{"nan", math.NaN(), "NaN"},
		{"inf", math.Inf(-1), "-Inf"},
		{
			"structure", decode(t, `{"city":"Oslo","days":[1,2,{"a":null}],"e":{},"f":[]}`),
			map[string]any{"city": "Oslo", "days": []any{1.0, 2.0, map[string]any{"a": nil}}, "e": m, "f": []any{}},
		},
		{"scrubbed", decode(t, `{"url":"https://u:p@h/x?y=z","msg":"a\nb"}`), map[string]any{"url": "https://[REDACTED]@h/x?[REDACTED]", "msg": "a b"}},
		{
			"secret keys", decode(t, `{"Password":"x","api-key":["a"],"nested":{"accessToken":{"a":"b"},"cookie":5},"private_key":null,"max_tokens":5,"tokens":["t"],"token":false,"secret":""}`),
			map[string]any{
				"Password": "[REDACTED]", "api-key": "[REDACTED]", "nested": map[string]any{"accessToken": "[REDACTED]", "cookie": "[REDACTED]"},
				"private_key": nil, "max_tokens": 5.0, "tokens": "[REDACTED]", "token": false, "secret": "",
			},
		},
		{
			"named secrets", decode(t, `[{"name":"Authorization","value":"x"},{"key":"city","value":"Oslo"}]`),
			[]any{map[string]any{"name": "Authorization", "value": "[REDACTED]"}, map[string]any{"key": "city", "value": "Oslo"}},
		},
		{
			"names of secrets in any case", decode(t, `[{"Param":"password","VALUE":"x"},{"parameter":"password","value":"x"},{"property":"api_key","va-lue":"x"},{"option":"password","data":{"a":"b"}},{"setting":"token","content":"x"},{"setting":"city","value":"Oslo"}]`),
			[]any{
				map[string]any{"Param": "password", "VALUE": "[REDACTED]"},
				map[string]any{"parameter": "password", "value": "[REDACTED]"},
				map[string]any{"property": "api_key", "va-lue": "[REDACTED]"},
				map[string]any{"option": "password", "data": "[REDACTED]"},
				map[string]any{"setting": "token", "content": "[REDACTED]"},
				map[string]any{"setting": "city", "value": "Oslo"},
			},
		},
		{
			"codes", decode(t, `[{"code":"SplxlOBeZQQYbYS6WxSbIA9k2"},{"sig":"Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MA== x"},{"Code":"ECONNREFUSED","signature":"func(a int) error"},{"code":-32601}]`),
			[]any{map[string]any{"code": "[REDACTED]"}, map[string]any{"sig": "[REDACTED] x"}, map[string]any{"Code": "ECONNREFUSED", "signature": "func(a int) error"}, map[string]any{"code": -32601.0}},
		},
		{
			"arguments", decode(t, `[["curl","-u","bob:hunter2"],["/usr/bin/curl","-sSu","bob:hunter2","https://h/"],["curl","-ubob:hunter2"],["curl","--user=bob:hunter2"],["mysql","-u","root","-phunter2"],["docker","login","-u","bob","-p","hunter2"],["redis-cli","-a","hunter2"]]`),
			[]any{
				[]any{"curl", "-u", "[REDACTED]"},
				[]any{"/usr/bin/curl", "-sSu", "[REDACTED]", "https://h/"},
				[]any{"curl", "-u[REDACTED]"},
				[]any{"curl", "--user=[REDACTED]"},
				[]any{"mysql", "-u", "root", "-p[REDACTED]"},
				[]any{"docker", "login", "-u", "bob", "-p", "[REDACTED]"},
				[]any{"redis-cli", "-a", "[REDACTED]"},
			},
		},
		{
			"arguments that stay", decode(t, `[["curl","-u","bob","-v"],["docker","run","-u","1000:1000","-p","8080:80"],["mkdir","-p","a/b"],["curl","x","|","nc","-u","a:b"],["--password",true],["--password",null,"x"],["a","-b"]]`),
			[]any{
				[]any{"curl", "-u", "bob", "-v"},
				[]any{"docker", "run", "-u", "1000:1000", "-p", "8080:80"},
				[]any{"mkdir", "-p", "a/b"},
				[]any{"curl", "x", "|", "nc", "-u", "a:b"},
				[]any{"--password", true},
				[]any{"--password", nil, "x"},
				[]any{"a", "-b"},
			},
		},
		{"lists of secrets", decode(t, `[["--password",["hunter2"]],["x","--password",["hunter2"],"y"],["Cookie",{"a":"b"}]]`), []any{[]any{"--password", "[REDACTED]"}, []any{"x", "--password", "[REDACTED]", "y"}, []any{"Cookie", "[REDACTED]"}}},
		{"options", decode(t, `["--password","x","--user","bob","--token=y"]`), []any{"--password", "[REDACTED]", "--user", "bob", "--token=[REDACTED]"}},
		{"pair", decode(t, `["Cookie","x"]`), []any{"Cookie", "[REDACTED]"}},
		{"struct", point{1, 2, "x", []string{"a"}}, map[string]any{"X": int64(1), "Y": int64(2), "Password": "[REDACTED]", "Tags": []any{"a"}}},
		{"raw", json.RawMessage(`{"a":[1]}`), map[string]any{"a": []any{int64(1)}}},
		{"typed map", map[string]string{"token": "x", "a": "b"}, map[string]any{"token": "[REDACTED]", "a": "b"}},
		{"nested struct", map[string]any{"p": &point{X: 1}}, map[string]any{"p": map[string]any{"X": int64(1), "Y": int64(0), "Password": "", "Tags": nil}}},
		{"panicking", panics{}, "[no JSON: content.panics]"},
		{"failing", map[string]any{"a": fails{}}, map[string]any{"a": "[no JSON: content.fails]"}},
		{"bad raw", json.RawMessage(`{"a"`), "[no JSON: json.RawMessage]"},
		{"channel", make(chan int), "[no JSON: chan int]"},
		{"nan inside", []float64{math.NaN()}, "[no JSON: []float64]"},
		{"keys", map[string]any{"a\nb": 1.0, "a\tb": 2.0, "x\u202ey": 3.0, "…": 4.0}, map[string]any{"a b": 2.0, "a b#2": 1.0, "x\uFFFDy": 3.0, "…": 4.0}},
	} {
		got, cut := within(c.in, roomy, nil)
		if !reflect.DeepEqual(plain(got), c.want) || cut != 0 {
			t.Errorf("%s: cut %d\n got %#v\nwant %#v", c.name, cut, plain(got), c.want)
		}
	}
}

func TestCuts(t *testing.T) {
	long := strings.Repeat("x", 5000)
	v, cut := within(map[string]any{"a": long, "b": "short"}, roomy, nil)
	a := plain(v).(map[string]any)["a"].(string)
	if len(a) != 1000 || !strings.HasSuffix(a, fmt.Sprintf("…[+%dB]", cut)) || cut != 5000-1000+len("…[+4009B]") || plain(v).(map[string]any)["b"] != "short" {
		t.Errorf("%d %d %q", len(a), cut, a[980:])
	}
	if v, cut := Value(long, nil); len(v.AsString()) > DefaultPerValue || len(v.AsString()) < DefaultPerValue-1 || cut < 5000-DefaultPerValue {
		t.Errorf("%d %d", len(v.AsString()), cut)
	}

	list := make([]any, 1000)
	for i := range list {
		list[i] = "ab"
	}
	v, cut = within(list, roomy, nil)
	if s := v.AsSlice(); len(s) != MaxElements+1 || s[MaxElements].AsString() != "…[+872 more]" || cut != 872*4 {
		t.Errorf("%v %d", v, cut)
	}
	m := map[string]any{}
	for i := range 1000 {
		m[fmt.Sprintf("k%04d", i)] = "ab"
	}
	v, cut = within(m, roomy, nil)
	p := plain(v).(map[string]any)
	if len(p) != MaxElements+1 || p["…"] != "[+872 keys]" || p["k0127"] != "ab" || cut != 872*(4+5+costKey) {
		t.Errorf("%v %d", v, cut)
	}

	var deep any = "bottom"
	for range 100 {
		deep = []any{deep}
	}
	v, cut = within(deep, roomy, nil)
	depth := 0
	for v.Type() == attribute.SLICE {
		v = v.AsSlice()[0]
		depth++
	}
	if depth != MaxDepth || v.AsString() != "…[+1 more]" || cut == 0 {
		t.Errorf("%d %v %d", depth, v, cut)
	}
}

func TestDeterministic(t *testing.T) {
	m := map[string]any{}
	for i := range 3000 {
		m[fmt.Sprint("key\x00", i)] = map[string]any{"a": strings.Repeat("v", i), "b": []any{i, "x"}, fmt.Sprint("c", i): nil}
	}
	want, _ := within(m, limits{100, 5000}, nil)
	for range 20 {
		if got, _ := within(m, limits{100, 5000}, nil); got != want {
			t.Fatalf("%v\n%v", got, want)
		}
	}
}

// The operator's scrubber sees every string and every name, once, when it is scrubbed, and what it returns is
// scrubbed again.
func TestOperatorsScrubber(t *testing.T) {
	var seen []string
	ask := func(text string) string {
		seen = append(seen, text)
		if text == "nonsense" {
			return "a\n\xff password=x " + strings.Repeat("z", 1<<20)
		}
		return strings.ReplaceAll(text, "bob", "someone")
	}
	v, _ := within(decode(t, `{"a":"hi bob","b":["bob",{"bob":"x"}],"c":"nonsense","d":"token=y","nonsense":true,"password":"p","q":1}`), limits{50, 4000}, ask)
	p := plain(v).(map[string]any)
	if p["a"] != "hi someone" || !reflect.DeepEqual(p["b"], []any{"someone", map[string]any{"someone": "x"}}) || p["d"] != "token=[REDACTED]" {
		t.Errorf("%v", p)
	}
	if c := p["c"].(string); len(c) > 50 || !strings.HasPrefix(c, "a \uFFFD password=[REDACTED] zz") {
		t.Errorf("%q", c)
	}
	for name := range p {
		if len(name) > MaxKey || strings.Contains(name, "\n") || name == "nonsense" {
			t.Errorf("the name %q", name)
		}
	}
	want := []string{"a", "hi bob", "b", "bob", "bob", "x", "c", "nonsense", "d", "token=[REDACTED]", "nonsense", "password", "q"}
	if !reflect.DeepEqual(seen, want) {
		t.Errorf("%q", seen)
	}
	// What it sees is longer than what is kept, so that the cap does not cut what it looks for.
	secret := strings.Repeat("-", 45) + "bob's number 123456789"
	v, cut := within(secret, limits{50, 1000}, func(s string) string { return strings.ReplaceAll(s, "bob's number 123456789", "?") })
	if v.AsString() != strings.Repeat("-", 45)+"?" || cut != 0 {
		t.Errorf("%q %d", v.AsString(), cut)
	}
}

// Cycles that Go can make and JSON cannot say.
func TestCycles(t *testing.T) {
	m := map[string]any{"a": "b"}
	m["self"], m["twin"], m["list"] = m, m, []any{m, m, m}
	if v, cut := within(m, roomy, nil); cost(v) > roomy.total || cut == 0 {
		t.Errorf("%d %d", cost(v), cut)
	}
	type node struct{ Next *node }
	n := &node{}
	n.Next = n
	if v, _ := within(n, roomy, nil); v.AsString() != "[no JSON: *content.node]" {
		t.Errorf("%v", v)
	}
}

func TestBounds(t *testing.T) {
	wide := map[string]any{}
	for i := range 5000 {
		wide[fmt.Sprintf("%d%s", i, strings.Repeat("k", i%300))] = []any{i, "x", nil}
	}
	values := map[string]any{
		"array": make([]any, 1<<18), "map": wide, "string": strings.Repeat("password=x ", 1<<18), "maps": []any{wide, wide, wide},
		"strings": []any{strings.Repeat("\u202e", 1<<16), strings.Repeat("é", 1<<16)}, "number": json.Number(strings.Repeat("9", 1<<20)),
		"ints": make([]int, 1<<18), "empty": []any{[]any{}, map[string]any{}}, "keys": map[string]any{strings.Repeat("k", 1<<20): 1.0},
		"same keys": map[string]any{strings.Repeat("k", 200): 1.0, strings.Repeat("k", 200) + "\n": 2.0},
	}
	for name, v := range values {
		for _, total := range []int{1, 10, 25, 26, 60, 128, 1000, 16384} {
			for _, per := range []int{1, 100, 1 << 20} {
				start := time.Now()
				out, cut := within(v, limits{per, total}, nil)
				if d := time.Since(start); d > 5*time.Second {
					t.Errorf("%s: %v", name, d)
				}
				if cost(out) > total || name != "empty" && name != "same keys" && cut <= 0 {
					t.Errorf("%s %d/%d: %d bytes, %d cut: %v", name, per, total, cost(out), cut, out)
				}
			}
		}
	}
}

// What is redacted is short, so the bound on the output does not bound how much is scrubbed.
func TestScrubbedBytesAreBounded(t *testing.T) {
	const each = 8 << 10
	for name, unit := range map[string]string{"escapes": `\u0022password\u0022: \u0022val=`, "percent": "password%3A%27val=", "plain": "password=val,"} {
		var lists []any
		for range 10 {
			lists = append(lists, slices.Repeat([]any{unit + strings.Repeat("val=", each/4)}, 120))
		}
		scrubbed := 0
		v, cut := Value(lists, func(s string) string {
			scrubbed += len(s)
			return s
		})
		// The operator's scrubber sees a part of what is scrubbed.
		if most := readFactor*DefaultTotal + scrub.Slack + 2*each; scrubbed > most {
			t.Errorf("%s: %d bytes of strings were scrubbed, at most %d may be", name, scrubbed, most)
		}
		if all := 10 * 120 * each; cut < all-2*(readFactor*DefaultTotal+each) || cut > all*11/10 {
			t.Errorf("%s: %d of %d bytes are said to be cut", name, cut, all)
		}
		if s := v.String(); !strings.Contains(s, "more]") {
			t.Errorf("%s: no note in %s", name, s[:min(len(s), 300)])
		}
		if v, _ := Value(lists, nil); !strings.Contains(v.String(), "more]") {
			t.Errorf("%s: no note without an operator's scrubber", name)
		}
		names := map[string]any{}
		for i := range 128 {
			names[fmt.Sprint(i, unit, strings.Repeat("val=", each/4))] = i
		}
		if v, cut := Value(names, nil); !strings.Contains(v.String(), "keys]") || cut < 128*each/2 {
			t.Errorf("%s: names: %d cut", name, cut)
		}
	}
}

func FuzzValue(f *testing.F) {
	for _, s := range []string{
		`{"a":1}`, `[1,"x",null,true,{"password":"x"}]`, `"x"`, `{"a":{"b":{"c":["d"]}}}`, `[[[[[[[[[[[[[[[[[[[["x"]]]]]]]]]]]]]]]]]]]]`,
		`{"name":"token","value":"CANARYCANARY99"}`, `["--password","CANARYCANARY99"]`, `{"":"","\n":1,"\t":2," ":3}`, `"\ud800"`, `1e999`, `{"…":"…"}`,
	} {
		f.Add(s, uint16(100), uint16(1000), byte(0))
		f.Add("["+s+","+s+"]", uint16(20), uint16(40), byte(1))
	}
	f.Fuzz(func(t *testing.T, s string, per, total uint16, mode byte) {
		var v any
		d := json.NewDecoder(strings.NewReader(s))
		if mode&4 != 0 {
			d.UseNumber()
		}
		if d.Decode(&v) != nil {
			v = s
		}
		v = map[string]any{"x": v, "password": "CANARYCANARY99", s: []any{v, point{Password: "CANARYCANARY99"}, panics{}}}
		var cb func(string) string
		if mode&1 != 0 {
			cb = func(v string) string {
				if mode&2 != 0 && len(v)%3 == 0 {
					return ""
				}
				return v + "\n\xff" + v
			}
		}
		l := limits{int(per) + 1, int(total) + 1}
		out, cut := within(v, l, cb)
		if cost(out) > l.total || cut < 0 {
			t.Fatalf("%d bytes of %d, cut %d: %v", cost(out), l.total, cut, out)
		}
		text := out.String()
		if !utf8.ValidString(text) || strings.ContainsAny(text, "\n\x00\x1b\u202e") || strings.Contains(text, "CANARY") && !strings.Contains(s, "CANARY") {
			t.Fatalf("%q", text)
		}
		if again, _ := within(v, l, cb); again != out {
			t.Fatalf("not the same twice:\n%v\n%v", out, again)
		}
		var check func(v attribute.Value)
		check = func(v attribute.Value) {
			limit := l.perValue
			if v.Type() == attribute.STRING && len(v.AsString()) > max(limit, smallest) {
				t.Fatalf("%d bytes of %d: %q", len(v.AsString()), limit, v.AsString())
			}
			for _, e := range v.AsSlice() {
				check(e)
			}
			for _, kv := range v.AsMap() {
				check(kv.Value)
			}
		}
		check(out)
		plain(out)
	})
}

func BenchmarkValue(b *testing.B) {
	var v any
	_ = json.Unmarshal([]byte(`{"city":"Oslo","days":3,"units":"metric","options":{"verbose":true,"tags":["a","b"]}}`), &v)
	b.ReportAllocs()
	for b.Loop() {
		Value(v, nil)
	}
}
