// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file writes lines to files: rotation, the bound of the directory, and
// what happens when the disk or the directory fails.

package otlpfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"time"
)

// minFileCost is what a file counts for at least, so that the total bounds the
// number of files too.
const minFileCost = 64 << 10

// errClosed is returned for a line that comes after Shutdown.
var errClosed = errors.New("otlp_file: exporter is shut down")

var (
	// directories serializes the writers of this process: making room and using
	// it must be one step, or three signals would overrun the total together.
	directories sync.Mutex

	// sequence tells files apart that are begun within one tick of the clock.
	sequence atomic.Int64

	// ours matches the names that open makes, in the order signal, moment.
	// Nothing else in the directory is ever counted or removed.
	ours = regexp.MustCompile(`^(traces|metrics|logs)-(\d{8}T\d{6}\.\d{9}Z)-\d+-\d+\.jsonl$`)
)

// writer appends lines to the current file of one signal.
type writer struct {
	cfg    Config
	signal string

	// The rest is guarded by directories. file is nil until the first line, and
	// after anything went wrong with it.
	file   *os.File
	size   int64
	closed bool
}

// writeLine appends line, which ends in its only newline.
func (w *writer) writeLine(line []byte) error {
	directories.Lock()
	defer directories.Unlock()
	if w.closed {
		return errClosed
	}
	n := int64(len(line))
	var closing error // of the file before: worth an error, but not this line
	switch {
	case w.file == nil:
	case w.removed():
		_ = w.closeFile() // nothing in it can be kept
	case w.size+n > w.cfg.MaxSize:
		closing = w.closeFile()
	}
	if err := w.makeRoom(n); err != nil {
		return errors.Join(closing, err)
	}
	if w.file == nil {
		if err := w.open(); err != nil {
			return errors.Join(closing, err)
		}
	}
	if _, err := w.file.Write(line); err != nil {
		// A cut line is taken back. If even that fails, the file is given up, so
		// that no line ever follows half of one.
		if terr := w.file.Truncate(w.size); terr != nil {
			err = errors.Join(err, terr, w.closeFile())
		}
		return errors.Join(closing, err)
	}
	w.size += n
	return closing
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
	name := fmt.Sprintf("%s-%s-%d-%d.jsonl", w.signal,
		time.Now().UTC().Format("20060102T150405.000000000Z"), os.Getpid(), sequence.Add(1))
	// O_EXCL: a file or a link that somebody put there is never followed.
	// O_APPEND: after a line was taken back, the next one starts where it did.
	f, err := os.OpenFile(filepath.Join(w.cfg.Directory, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	w.file, w.size = f, 0
	return nil
}

// makeRoom removes the oldest files until n more bytes fit into the total.
func (w *writer) makeRoom(n int64) error {
	if n > w.cfg.MaxTotalSize {
		return fmt.Errorf("otlp_file: a line of %d bytes is larger than %s=%d", n, envMaxTotalSize, w.cfg.MaxTotalSize)
	}
	entries, err := os.ReadDir(w.cfg.Directory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // open makes it
	}
	if err != nil {
		return err
	}

	type file struct {
		name, moment string
		cost         int64
	}
	var files []file
	total := max(n, minFileCost) // the line may need a new file
	current := ""
	if w.file != nil {
		current = filepath.Base(w.file.Name())
		total = n
	}
	for _, e := range entries {
		m := ours.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue // removed meanwhile by another process, or not a file of ours
		}
		cost := max(info.Size(), minFileCost)
		total += cost
		if e.Name() != current {
			files = append(files, file{name: e.Name(), moment: m[2], cost: cost})
		}
	}
	for total > w.cfg.MaxTotalSize && len(files) > 0 {
		oldest := 0
		for i, f := range files {
			if f.moment < files[oldest].moment {
				oldest = i
			}
		}
		err := os.Remove(filepath.Join(w.cfg.Directory, files[oldest].name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // writing on would break the bound
		}
		total -= files[oldest].cost
		files = append(files[:oldest], files[oldest+1:]...)
	}
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

func (w *writer) shutdown() error {
	directories.Lock()
	defer directories.Unlock()
	w.closed = true
	return w.closeFile()
}
