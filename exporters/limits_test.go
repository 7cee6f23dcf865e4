// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package exporters

// What the package keeps, with its bounds. A test in the root module's
// internal/repocheck holds the names against the source.

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// limits are what somebody else can fill.
var limits = []struct {
	names   string
	entries int
	bytes   uint64
	flood   func() (entries int, keep any)
}{
	{
		"exporters.diagnostics.seen", maxSeen, maxSeen * 2 * maxLine,
		func() (int, any) { // errors quote what a peer sent
			d := newDiagnostics(io.Discard)
			for k := range 2 * maxSeen {
				// Lines that differ in digits only are one.
				d.Handle(errors.New(strings.Repeat(string(rune('a'+k%26)), 1+k/26) + strings.Repeat("x", 300<<10)))
			}
			return len(d.seen), d
		},
	},
}

// others are containers that nobody else can fill, by the reason why.
var others = map[string]string{
	"What the program configures, of one size from then on.":                   `exporters.config.attributes exporters.setting.names exporters.settings`,
	"The writers of a directory that are open, and the three signals of each.": `otlpfile.directory.writers otlpfile.directory.records`,
	"The destinations that are configured, and the three signals of each.":     `exporters.deliveries.dests exporters.destination.failing`,
}

func TestLimits(t *testing.T) {
	if len(others) == 0 {
		t.Error("nothing is left out")
	}
	for _, l := range limits {
		t.Run(l.names, func(t *testing.T) {
			before := heap()
			entries, keep := l.flood()
			after := heap()
			if entries > l.entries {
				t.Errorf("it has %d entries, of at most %d", entries, l.entries)
			}
			if after > before+l.bytes+1<<20 {
				t.Errorf("the heap grew by %d KiB, and may by %d", (after-before)>>10, l.bytes>>10)
			}
			runtime.KeepAlive(keep)
		})
	}
}

// A line is bounded, whatever an error quotes, and ends in no half of a credential or
// of a character.
func TestLinesAreShort(t *testing.T) {
	for n := range 10 {
		var b strings.Builder
		d := newDiagnostics(&b)
		d.once(strings.Repeat("ü", maxLine/2-n) + " password=hunter2hunter2hunter2 " + strings.Repeat("y", 1<<20))
		if line := b.String(); len(line) > maxLine+32 || strings.Contains(line, "hunter") || strings.ToValidUTF8(line, "") != line {
			t.Fatalf("a line of %d bytes: …%q", len(line), line[len(line)-40:])
		}
	}
	var b strings.Builder
	d := newDiagnostics(&b)
	d.once(fmt.Sprintf("short %d", 1))
	if b.String() != "otelmcp: short 1\n" {
		t.Errorf("said %q", b.String())
	}
}
