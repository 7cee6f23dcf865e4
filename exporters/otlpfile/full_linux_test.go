// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file fills a disk up in the middle of a line, by way of the limit that
// Linux sets for the size of a file.

package otlpfile

import (
	"os/signal"
	"syscall"
	"testing"
)

func TestADiskThatFillsUpWithinALine(t *testing.T) {
	w := newWriter(t, "logs", Config{Directory: t.TempDir()})
	if err := w.writeLine(line(100)); err != nil {
		t.Fatal(err)
	}

	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Skip(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 150, Max: before.Max}); err != nil {
		t.Skip(err)
	}
	full := w.writeLine(line(100)) // the first half of it is written
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}

	if full == nil {
		t.Error("half a line was written, and no error came back")
	}
	if err := w.writeLine(line(100)); err != nil {
		t.Error(err)
	}
	if n := len(readLines(t, w.cfg.Directory, "logs")); n != 2 {
		t.Errorf("%d lines", n)
	}
	if n := len(files(t, w.cfg.Directory, "logs")); n != 1 {
		t.Errorf("%d files: the half line was not taken back", n)
	}
}
