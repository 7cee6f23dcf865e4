// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file tests how far the members of an object may be apart, as docs/scrubbing.md says.

import (
	"strings"
	"testing"
)

func TestMembersApart(t *testing.T) {
	members := func(n int) string { return strings.Repeat(`"a":1,`, n) }
	filler := func(n int) string { return `"a":"` + strings.Repeat("b", n) + `",` }
	for _, c := range []struct {
		what, in string
		redacted bool
	}{
		{"three between", `{"value":"` + pw + `",` + members(3) + `"name":"password"}`, true},
		{"four between", `{"value":"` + pw + `",` + members(4) + `"name":"password"}`, false},
		{"400 bytes between", `{"value":"` + pw + `",` + filler(400) + `"name":"password"}`, true},
		{"600 bytes between", `{"value":"` + pw + `",` + filler(600) + `"name":"password"}`, false},
		{"long value", `{"value":"` + strings.Repeat("x", 480) + pw + `","name":"password"}`, true},
		{"too long a value", `{"value":"` + strings.Repeat("x", 600) + pw + `","name":"password"}`, false},
		{"name first, many between", `{"name":"password",` + members(50) + `"value":"` + pw + `"}`, true},
		{"name first, 600 bytes between", `{"name":"password",` + filler(600) + `"value":"` + pw + `"}`, false},
		{"another object", `[{"name":"password"},{"value":"` + pw + `"}]`, false},
		{"an object between", `{"name":"password","a":{"b":[1]},"value":"` + pw + `"}`, true},
		// Values that end at the same place, and at another.
		{"values in a value", "val=val=data=" + pw + ", name=password", true},
		{"one value after another", "val=val=1, a=2, val=val=" + pw + " name=password", true},
		{"the name of the last only", "val=val=" + pw + " name=city, val=val=1 name=password", false},
	} {
		if out := Text(c.in, plenty); strings.Contains(out, pw) == c.redacted {
			t.Errorf("%s: %q became %q", c.what, c.in, out)
		}
	}
}
