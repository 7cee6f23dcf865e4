// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package content

// Content as flat text, and the arguments that an operator named.

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/scrub"
)

func TestText(t *testing.T) {
	for _, c := range []struct {
		name string
		in   any
		want string
	}{
		{"string", "hi \"you\"", `hi "you"`},
		{"empty", "", ""},
		{"null", nil, "null"},
		{"bool", true, "true"},
		{"number", 3.5, "3.5"},
		{"integer", 10.0, "10"},
		{"large integer", json.Number("9007199254740993"), "9007199254740993"},
		{"object", decode(t, `{"b":[1,null,"x\"y"],"a":{"c":true}}`), `{"a":{"c":true},"b":[1,null,"x\"y"]}`},
		{"empty object", map[string]any{}, "{}"},
		{"scrubbed", decode(t, `{"password":"hunter2","msg":"token=hunter2"}`), `{"msg":"token=[REDACTED]","password":"[REDACTED]"}`},
		{"not UTF-8", "a\xffb\u202ec\x00", "a\uFFFDb\uFFFDc\uFFFD"},
		{"no JSON", make(chan int), "[no JSON: chan int]"},
	} {
		got, cut := Text(c.in, nil)
		if got != c.want || cut != 0 {
			t.Errorf("%s: %q, %d cut; want %q", c.name, got, cut, c.want)
		}
	}
}

// JSON stays JSON where something was left out.
func TestTextThatIsCut(t *testing.T) {
	var deep any = "bottom"
	for range 10_000 {
		deep = map[string]any{"d": []any{deep}}
	}
	wide := map[string]any{}
	for i := range 5000 {
		wide[fmt.Sprint("key", i)] = strings.Repeat("v", i%50)
	}
	for name, v := range map[string]any{
		"deep": deep, "wide": wide, "long": map[string]any{"a": strings.Repeat("long ", 1<<18)}, "list": slices.Repeat([]any{1.5}, 1<<18),
	} {
		text, cut := Text(v, nil)
		if len(text) > DefaultPerValue || cut == 0 || !json.Valid([]byte(text)) || !strings.Contains(text, moreKey) {
			t.Errorf("%s: %d bytes, %d cut: %s", name, len(text), cut, text[:min(len(text), 100)])
		}
	}
	// What is escaped takes twice as much, and the text is cut.
	text, cut := Text(map[string]any{"a": strings.Repeat(`"`, 4000)}, nil)
	if len(text) > DefaultPerValue || cut == 0 || !strings.HasSuffix(text, "B]") {
		t.Errorf("%d bytes, %d cut: …%s", len(text), cut, text[max(0, len(text)-30):])
	}
}

// told is what Members tells, by name.
func told(v map[string]any, names []string, ask func(k int, s string) string) (got map[string]string, cut int) {
	got = map[string]string{}
	cut = Members(v, names, ask, func(k int, text string) {
		if _, twice := got[names[k]]; twice {
			panic("told twice")
		}
		got[names[k]] = text
	})
	return got, cut
}

func TestMembers(t *testing.T) {
	args := decode(t, `{"path":"/a/b","n":10,"none":null,"filter":{"q":"x","secret":"hunter2"},"password":"hunter2","key":"api_key","value":"hunter2","code":"SplxlOBeZQQYbYS6WxSbIA9k2","argv":["--password","hunter2"],"off":false,"":"empty"}`).(map[string]any)
	got, cut := told(args, []string{"path", "absent", "n", "none", "filter", "password", "value", "code", "argv", "off", ""}, nil)
	want := map[string]string{
		"path": "/a/b", "n": "10", "none": "null", "filter": `{"q":"x","secret":"[REDACTED]"}`, "password": "[REDACTED]", "value": "[REDACTED]",
		"code": "[REDACTED]", "argv": `["--password","[REDACTED]"]`, "off": "false", "": "empty",
	}
	if !reflect.DeepEqual(got, want) || cut != 0 {
		t.Errorf("%d cut:\n got %v\nwant %v", cut, got, want)
	}
	for _, of := range []map[string]any{nil, {}, args} {
		if got, cut := told(of, nil, nil); len(got) != 0 || cut != 0 {
			t.Errorf("of no name: %v, %d cut", got, cut)
		}
	}
}

// The operator's scrubber is told which of the names it is about, and what it says is scrubbed again.
func TestMembersAreAskedFor(t *testing.T) {
	var seen []string
	got, _ := told(map[string]any{"a": "bob", "b": map[string]any{"c": "bob"}, "token": "bob"}, []string{"a", "token", "b"}, func(k int, s string) string {
		seen = append(seen, fmt.Sprint(k, " ", s))
		return strings.ReplaceAll(s, "bob", "someone password=x")
	})
	want := map[string]string{"a": "someone password=[REDACTED]", "b": `{"c":"someone password=[REDACTED]"}`, "token": "[REDACTED]"}
	if !reflect.DeepEqual(got, want) || !slices.Equal(seen, []string{"0 bob", "2 c", "2 bob"}) {
		t.Errorf("%v, having seen %q", got, seen)
	}
}

func TestMembersAreBounded(t *testing.T) {
	args, names := map[string]any{}, []string{}
	for i := range 1000 {
		name := fmt.Sprintf("n%04d", i)
		names, args[name] = append(names, name), strings.Repeat("é", 1<<15)
	}
	got, cut := told(args, names, nil)
	total, noted := 0, 0
	for _, text := range got {
		total += len(text)
		if len(text) > DefaultPerValue || !strings.HasSuffix(text, "B]") {
			t.Errorf("%d bytes end in %q", len(text), text[max(0, len(text)-10):])
		}
		if len(text) < 20 {
			noted++
		}
	}
	if len(got) != MaxMembers || got["n0000"] == "" || got["n0063"] == "" || total-noted*20 > DefaultTotal || cut < 900*(1<<16) {
		t.Errorf("%d members of %d bytes, %d cut", len(got), total, cut)
	}
	// What is redacted is short; how much is scrubbed is bounded all the same.
	scrubbed := 0
	for _, name := range names {
		args[name] = strings.Repeat("password=val, ", 1<<10)
	}
	_, _ = told(args, names, func(_ int, s string) string { scrubbed += len(s); return s })
	if most := readFactor*DefaultTotal + 2*(scrub.Slack+DefaultPerValue+lead); scrubbed > most {
		t.Errorf("%d bytes were scrubbed, at most %d may be", scrubbed, most)
	}
}

func FuzzMembers(f *testing.F) {
	for _, s := range []string{
		`{"path":"x"}`, `{"path":{"a":[1,"x",null]},"value":"CANARY99","name":"password"}`, `{"path":"\ud800\u202e\u0000","value":[[[[[[[[[[[[[[[[[[[["x"]]]]]]]]]]]]]]]]]]]]}`,
		`{"path":"\"\"\"\"\"\"","value":"password=CANARY99"}`, `{"path":1e999,"value":-0}`, `{"path":"https://u:CANARY99@h/?q=CANARY99"}`,
	} {
		f.Add(s, "path", 1)
		f.Add(s, "value", 2000)
	}
	f.Fuzz(func(t *testing.T, s, name string, times int) {
		var args map[string]any
		if json.Unmarshal([]byte(s), &args) != nil {
			args = map[string]any{"path": s}
		}
		for k, v := range args {
			if text, ok := v.(string); ok {
				args[k] = strings.Repeat(text, min(max(times, 1), 2000))
			}
		}
		args["password"] = "SECRET99"
		names := []string{"path", "value", name, "password"}
		names = slices.Compact(slices.Sorted(slices.Values(names)))
		got, cut := told(args, names, nil)
		total := 0
		for n, text := range got {
			total += len(text)
			if _, present := args[n]; !present {
				t.Fatalf("%q is told and absent", n)
			}
			if !utf8.ValidString(text) || len(text) > DefaultPerValue || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }) {
				t.Fatalf("%q is %q", n, text)
			}
		}
		if got["password"] != scrub.Redacted || total > DefaultTotal+len(names)*32 || cut < 0 {
			t.Fatalf("%d bytes, %d cut: %v", total, cut, got)
		}
		for _, n := range names {
			if _, present := args[n]; present && got[n] == "" && args[n] != "" && !onlyInvisible(args[n]) {
				t.Fatalf("%q is present, and nothing is told of it: %v", n, args[n])
			}
		}
		if again, _ := told(args, names, nil); !reflect.DeepEqual(again, got) {
			t.Fatalf("not the same twice:\n%v\n%v", got, again)
		}
	})
}

// onlyInvisible reports whether nothing of a text is left when it is cleaned.
func onlyInvisible(v any) bool {
	s, ok := v.(string)
	return ok && scrub.Text(s, len(s)+1) == ""
}
