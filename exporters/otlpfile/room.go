// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file keeps a directory within its bound: it removes files, counts the records
// in them, and says so. Nobody knows whether a file has been read.

package otlpfile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

const (
	// minFileCost is what a file counts for at least, so that the total bounds the
	// number of files too.
	minFileCost = 64 << 10

	// scope and removedMetric are in the registry, which this module does not import.
	scope         = "github.com/otelmcp/otelmcp-go/exporters/otlpfile"
	removedMetric = "otelmcp.exporter.file.removed"
	signalKey     = attribute.Key("otelmcp.exporter.signal")

	// moment is the time in the names of files.
	moment = "20060102T150405.000000000Z"

	// abandoned is how long after a file was claimed its remover must have died.
	abandoned = time.Minute

	// settled is for how long nothing must have been removed for that to be said to be
	// over.
	settled = 10 * time.Minute
)

// ours matches the names that open makes, and those of files that are being removed,
// in the order claim, signal. Nothing else in the directory is counted or removed.
var ours = regexp.MustCompile(`^(?:\.removed-(\d{8}T\d{6}\.\d{9}Z)-)?((traces|metrics|logs)-\d{8}T\d{6}\.\d{9}Z-\d+-\d+\.jsonl)$`)

// directories serializes the writers of this process: making room and using it must
// be one step, or three signals would overrun the total together.
var directories = struct {
	sync.Mutex
	byPath map[string]*directory
}{byPath: map[string]*directory{}}

// directory is what the writers of one directory share. directories guards it.
type directory struct {
	path    string
	writers map[*writer]bool

	files   int              // removed since it was said that files are
	records map[string]int64 // that were in them, by signal
	last    time.Time        // when the last one was removed
}

// joinDirectory gives w its directory.
func joinDirectory(w *writer) {
	d := directories.byPath[w.cfg.Directory]
	if d == nil {
		d = &directory{path: w.cfg.Directory, writers: map[*writer]bool{}, records: map[string]int64{}}
		directories.byPath[w.cfg.Directory] = d
	}
	d.writers[w] = true
	w.dir = d
}

// leave ends what joinDirectory began. It returns what is to be said.
func (d *directory) leave(w *writer) []error {
	delete(d.writers, w)
	if len(d.writers) > 0 {
		return nil
	}
	delete(directories.byPath, d.path)
	return d.over(w.cfg.MaxTotalSize, 0)
}

// over returns what is to be said if files were removed, but not for a time.
func (d *directory) over(total int64, enough time.Duration) []error {
	if d.files == 0 || time.Since(d.last) < enough {
		return nil
	}
	err := fmt.Errorf("otlp_file: to keep %s to %s=%d, %d files were removed, with %d spans, %d metric points and %d log records",
		d.path, envMaxTotalSize, total, d.files, d.records["traces"], d.records["metrics"], d.records["logs"])
	d.files = 0
	clear(d.records)
	return []error{err}
}

// entry is a file in the directory.
type entry struct {
	name   string // as it is
	plain  string // as it was before it was claimed
	signal string
	cost   int64

	live    bool // a writer of this process is writing it
	written time.Time
}

// before reports whether e is to go before f: first what this process is not writing,
// and of that what nobody has written to for longest. So another process, too, keeps
// the file that it is writing as long as there are others.
func (e entry) before(f entry) bool {
	if e.live != f.live {
		return f.live
	}
	return e.written.Before(f.written)
}

// makeRoom removes files until n more bytes of w fit into the total. It returns what
// is to be said.
func (d *directory) makeRoom(w *writer, n int64) (said []error, err error) {
	most := w.cfg.MaxTotalSize
	if n > most {
		return nil, fmt.Errorf("otlp_file: a line of %d bytes is larger than %s=%d", n, envMaxTotalSize, most)
	}
	said = d.over(most, settled)
	listed, err := os.ReadDir(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return said, nil // open makes it
	}
	if err != nil {
		return said, err
	}
	total := max(n, minFileCost) // the line may need a new file
	if w.file != nil {
		total = n
	}
	live := map[string]bool{}
	for x := range d.writers {
		if x.file != nil {
			live[filepath.Base(x.file.Name())] = true
		}
	}
	var files []entry
	for _, e := range listed {
		m := ours.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue // removed meanwhile by another process, or not a file of ours
		}
		if claimed, err := time.Parse(moment, m[1]); err == nil && time.Since(claimed) < abandoned {
			continue // being removed
		}
		cost := max(info.Size(), minFileCost)
		total += cost
		if w.file == nil || e.Name() != filepath.Base(w.file.Name()) {
			files = append(files, entry{
				name: e.Name(), plain: m[2], signal: m[3], cost: cost,
				live: live[e.Name()], written: info.ModTime(),
			})
		}
	}
	for total > most && len(files) > 0 {
		oldest := 0
		for i, f := range files {
			if f.before(files[oldest]) {
				oldest = i
			}
		}
		removed, err := d.remove(files[oldest])
		if err != nil {
			return said, err // writing on would break the bound
		}
		if removed && d.files == 0 {
			said = append(said, fmt.Errorf("otlp_file: %s is full (%s=%d): files are removed, whether or not anybody has read them", d.path, envMaxTotalSize, most))
		}
		if removed {
			d.files++
			d.last = time.Now()
		}
		total -= files[oldest].cost
		files = append(files[:oldest], files[oldest+1:]...)
	}
	return said, nil
}

// remove removes f and counts what was in it, unless another process did. The name
// goes first: its writer, who looks for it after each line, then writes what came too
// late to be counted to another file.
func (d *directory) remove(f entry) (removed bool, err error) {
	claim := filepath.Join(d.path, ".removed-"+time.Now().UTC().Format(moment)+"-"+f.plain)
	switch err := os.Rename(filepath.Join(d.path, f.name), claim); {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	}
	if n := recordsIn(claim, f.signal); n > 0 {
		d.records[f.signal] += n
		count(f.signal, n)
	}
	if err := os.Remove(claim); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, nil
}

// count adds to the metric, of whatever provider is the global one now.
func count(signal string, n int64) {
	c, err := otel.GetMeterProvider().Meter(scope).Int64Counter(removedMetric, metric.WithUnit("{record}"),
		metric.WithDescription("The number of records in files that otlp_file removed to make room."))
	if err != nil {
		otel.Handle(err)
		return
	}
	c.Add(context.Background(), n, metric.WithAttributes(signalKey.String(signal)))
}

// recordsIn returns how many spans, metric points or log records a file has. Half a
// line, which a crash left, has none.
func recordsIn(name, signal string) (n int64) {
	f, err := os.Open(name)
	if err != nil {
		return 0
	}
	defer f.Close()
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return n
		}
		n += recordsOf(line, signal)
	}
}

func recordsOf(line []byte, signal string) int64 {
	switch signal {
	case "traces":
		if data, err := new(ptrace.JSONUnmarshaler).UnmarshalTraces(line); err == nil {
			return int64(data.SpanCount())
		}
	case "metrics":
		if data, err := new(pmetric.JSONUnmarshaler).UnmarshalMetrics(line); err == nil {
			return int64(data.DataPointCount())
		}
	case "logs":
		if data, err := new(plog.JSONUnmarshaler).UnmarshalLogs(line); err == nil {
			return int64(data.LogRecordCount())
		}
	}
	return 0
}
