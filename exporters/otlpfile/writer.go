// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file writes lines to files: rotation, and what happens when the disk or the
// directory fails.

package otlpfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
)

// errClosed is returned for a line that comes after Shutdown.
var errClosed = errors.New("otlp_file: exporter is shut down")

// sequence tells files apart that are begun within one tick of the clock.
var sequence atomic.Int64

// writer appends lines to the current file of one signal.
type writer struct {
	cfg    Config
	signal string

	// The rest is guarded by directories. dir is nil after Shutdown. file is nil until
	// the first line, and after anything went wrong with it.
	dir  *directory
	file *os.File
	size int64
}

// openWriter returns a writer. It must be shut down.
func openWriter(cfg Config, signal string) *writer {
	directories.Lock()
	defer directories.Unlock()
	w := &writer{cfg: cfg, signal: signal}
	joinDirectory(w)
	return w
}

// writeLine appends line, which ends in its only newline.
func (w *writer) writeLine(line []byte) error {
	said, err := w.write(line)
	tell(said)
	return err
}

// tell gives the program's error handler what is to be said. The caller holds no
// lock: the handler is the program's.
func tell(said []error) {
	for _, err := range said {
		otel.Handle(err)
	}
}

// write is writeLine, and returns what is to be said of the directory.
func (w *writer) write(line []byte) (said []error, err error) {
	directories.Lock()
	defer directories.Unlock()
	if w.dir == nil {
		return nil, errClosed
	}
	// Another process that makes room can remove the file while the line is written
	// to it. The line then goes to a new file. Twice in a row is a directory that
	// somebody clears all the time.
	for range 3 {
		more, err := w.append(line)
		said = append(said, more...)
		if err != nil || !w.removed() {
			return said, err
		}
	}
	return said, fmt.Errorf("otlp_file: files in %s are removed as soon as they are written", w.cfg.Directory)
}

// append appends line to the current file, or to a new one where that is full or gone.
func (w *writer) append(line []byte) (said []error, err error) {
	n := int64(len(line))
	var closing error // of the file before: worth an error, but not this line
	switch {
	case w.file == nil:
	case w.removed():
		_ = w.closeFile() // nothing in it can be kept
	case w.size+n > w.cfg.MaxSize:
		closing = w.closeFile()
	}
	said, err = w.dir.makeRoom(w, n)
	if err != nil {
		return said, errors.Join(closing, err)
	}
	if w.file == nil {
		if err := w.open(); err != nil {
			return said, errors.Join(closing, err)
		}
	}
	if _, err := w.file.Write(line); err != nil {
		// A cut line is taken back. If even that fails, the file is given up, so
		// that no line ever follows half of one.
		if terr := w.file.Truncate(w.size); terr != nil {
			err = errors.Join(err, terr, w.closeFile())
		}
		return said, errors.Join(closing, err)
	}
	w.size += n
	return said, closing
}

// removed reports whether the file is no longer where it was created. Writing
// to an unlinked file succeeds and keeps nothing.
func (w *writer) removed() bool {
	at, err := os.Lstat(w.file.Name())
	if err != nil {
		return true
	}
	open, err := w.file.Stat()
	return err != nil || !os.SameFile(at, open)
}

func (w *writer) open() error {
	if err := os.MkdirAll(w.cfg.Directory, 0o700); err != nil {
		return err
	}
	name := fmt.Sprintf("%s-%s-%d-%d.jsonl", w.signal, time.Now().UTC().Format(moment), os.Getpid(), sequence.Add(1))
	// O_EXCL: a file or a link that somebody put there is never followed.
	// O_APPEND: after a line was taken back, the next one starts where it did.
	f, err := os.OpenFile(filepath.Join(w.cfg.Directory, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	w.file, w.size = f, 0
	return nil
}

// closeFile makes the file durable and lets go of it, whatever goes wrong.
func (w *writer) closeFile() error {
	f := w.file
	w.file = nil
	if f == nil {
		return nil
	}
	return errors.Join(f.Sync(), f.Close())
}

func (w *writer) sync() error {
	directories.Lock()
	defer directories.Unlock()
	if w.file == nil {
		return nil
	}
	return w.file.Sync()
}

// shutdown closes the file. Further calls do nothing.
func (w *writer) shutdown() error {
	said, err := w.end()
	tell(said)
	return err
}

func (w *writer) end() (said []error, err error) {
	directories.Lock()
	defer directories.Unlock()
	if w.dir != nil {
		said = w.dir.leave(w)
		w.dir = nil
	}
	return said, w.closeFile()
}
