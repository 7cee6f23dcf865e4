// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file holds the settings, where they come from and what is wrong with them.

package otlpfile

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
)

const (
	envDirectory    = "OTELMCP_FILE_DIRECTORY"
	envMaxSize      = "OTELMCP_FILE_MAX_SIZE"
	envMaxTotalSize = "OTELMCP_FILE_MAX_TOTAL_SIZE"

	defaultMaxSize      = 16 << 20
	defaultMaxTotalSize = 256 << 20

	// filesPerTotal is how often the size of one file must fit into the total:
	// the current files of three signals, and room for the next, so that
	// one process never has to remove a file that it is still writing.
	filesPerTotal = 4
)

// Config says where the files go and how much they may take. A zero value stands for
// the default.
type Config struct {
	// Directory is where the files go. It is made with mode 0700 if it is not there. A
	// relative path is taken from the working directory at the time that the exporter is
	// made. The default is otelmcp in the user's cache directory.
	Directory string
	// MaxSize is the size of one file in bytes: the line that would take it further
	// begins a new one. From 65,536 (64 KiB) to a quarter of the largest int64. The
	// default is 16,777,216 (16 MiB).
	MaxSize int64
	// MaxTotalSize is what the files of all signals and processes in Directory may take
	// together, in bytes: beyond it files are removed. At least four times MaxSize. The
	// default is 268,435,456 (256 MiB), or four times MaxSize if that is more.
	MaxTotalSize int64
}

// ConfigFromEnv returns the settings of the OTELMCP_FILE_* variables. Its error names
// the variable that is not a number; whether the numbers go together is seen when an
// exporter is made.
func ConfigFromEnv() (Config, error) {
	size, errSize := positive(envMaxSize)
	total, errTotal := positive(envMaxTotalSize)
	cfg := Config{Directory: os.Getenv(envDirectory), MaxSize: size, MaxTotalSize: total}
	return cfg, errors.Join(errSize, errTotal)
}

func positive(name string) (int64, error) {
	v := os.Getenv(name)
	if v == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n <= 0 || v[0] == '+' {
		return 0, fmt.Errorf("%s=%q: want a positive number of bytes, such as %d, and at most %d", name, v, defaultMaxSize, int64(math.MaxInt64))
	}
	return n, nil
}

// resolve fills the defaults in, and proves that the directory can be written
// to: a wrong setting is an error at the start, not a loss at the first export.
func (c Config) resolve() (Config, error) {
	if c.MaxSize == 0 {
		c.MaxSize = defaultMaxSize
	}
	if c.MaxSize < minFileCost || c.MaxSize > math.MaxInt64/filesPerTotal {
		return c, fmt.Errorf("otlp_file: %s=%d: want a number of bytes from %d to %d", envMaxSize, c.MaxSize, minFileCost, int64(math.MaxInt64/filesPerTotal))
	}
	if c.MaxTotalSize == 0 {
		c.MaxTotalSize = max(defaultMaxTotalSize, filesPerTotal*c.MaxSize)
	}
	if c.MaxTotalSize/filesPerTotal < c.MaxSize {
		return c, fmt.Errorf("otlp_file: %s=%d and %s=%d: want at least %d times the size of one file for all",
			envMaxSize, c.MaxSize, envMaxTotalSize, c.MaxTotalSize, filesPerTotal)
	}
	if c.Directory == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return c, fmt.Errorf("otlp_file: %s is not set, and there is no default: %w", envDirectory, err)
		}
		c.Directory = filepath.Join(cache, "otelmcp")
	}
	dir, err := filepath.Abs(c.Directory) // a later chdir must not move the files
	if err == nil {
		c.Directory = dir
		err = probe(dir)
	}
	if err != nil {
		return c, fmt.Errorf("otlp_file: %s=%q: want a directory that can be written to: %w", envDirectory, c.Directory, err)
	}
	return c, nil
}

func probe(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
