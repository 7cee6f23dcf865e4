// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file compares docs/scrubbing.md with the table of prefixes.

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of prefixes into docs/scrubbing.md")

// documented is the table of prefixes as the page shows it.
func documented() string {
	var b strings.Builder
	b.WriteString("\n| issuer | begins with | n | alphabet | condition |\n|---|---|---|---|---|\n")
	row := func(issuer string, begins []string, n string, abc alphabet, conditions []string) {
		for i := range begins {
			begins[i] = "`" + begins[i] + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", issuer, strings.Join(begins, " "), n, alphabetNames[abc], strings.Join(conditions, ", "))
	}
	conditions := func(must uint8) (c []string) {
		for _, f := range []struct {
			flag uint8
			name string
		}{{bound, "alone"}, {mixed, "mixed"}, {opaque, "opaque"}, {unlikeHex, "not hex"}, {rest, "all that follows goes"}} {
			if must&f.flag != 0 {
				c = append(c, f.name)
			}
		}
		return c
	}
	for i := range kinds {
		k := &kinds[i]
		row(k.issuer, strings.Fields(k.begins), fmt.Sprint(k.min), k.abc, conditions(k.must))
	}
	for i := range odd {
		p := &odd[i]
		c := conditions(p.must)
		if p.left > 0 {
			c = append(c, fmt.Sprintf("at least %d letters and digits before it", p.left))
		}
		if p.most > 0 {
			c = append(c, fmt.Sprintf("at most %d", p.most))
		}
		if p.has != 0 {
			c = append(c, fmt.Sprintf("a `%c` among them", p.has))
		}
		row(p.issuer, []string{p.s}, fmt.Sprint(p.min), p.abc, c)
	}
	return b.String() + "\n"
}

func TestDocumented(t *testing.T) {
	const page, begin, end = "../../../docs/scrubbing.md", "-update -->\n", "<!-- end of prefixes -->"
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	i, j := strings.Index(text, begin)+len(begin), strings.Index(text, end)
	if i < len(begin) || j < i {
		t.Fatal("the page has no place for the table")
	}
	if *update {
		if err := os.WriteFile(page, []byte(text[:i]+documented()+text[j:]), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text[i:j] != documented() {
		t.Error("docs/scrubbing.md does not have the prefixes of the table; run go test ./otelmcp/internal/scrub -run TestDocumented -update")
	}
}

// What the page says of names, codes and what is not recognized is so.
func TestPageIsTrue(t *testing.T) {
	for _, in := range []string{
		"PASSWORD := x1", "'password' => 'x1'", "opts[password]=x1", `{\"password\":\"x1\"}`, `{"secrets":["x1"]}`, "redis-cli -a x1", "sshpass -p x1", "HEROKU_API_KEY=x1",
		"okta_token: x1", "code=SplxlOBeZQQYbYS6WxSbIA",
	} {
		if out := Text(in, plenty); !strings.Contains(out, Redacted) {
			t.Errorf("%q stays", in)
		}
	}
	for _, in := range []string{
		"the value is hunter2", "heroku 550e8400-e29b-41d4-a716-446655440000", `NetworkCredential("bob", "x")`, "code=-32601", "code=ECONNREFUSED", "sig=9",
		"oy2dgb333j35kjjybcf99yzxo7hjyloera4anxn4ivcvle", "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj", "arn:aws:s3:::my_bucket/*",
	} {
		if out := Text(in, plenty); out != in {
			t.Errorf("%q became %q", in, out)
		}
	}
}
