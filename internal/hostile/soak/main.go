// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Command soak attacks the books for as long as it is given: the generated peers of
// the tests beside it first, and then every fuzz target of every module. It stops at
// the first failure, and at an interrupt.
//
//	soak [-messages n] [-time d] [-seed n] [-without classes] [-only text] module ...
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		fmt.Fprintln(os.Stderr, "soak:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	messages := flags.Int("messages", 1_000_000, "how many messages the peers send; 0 leaves them out")
	within := flags.Duration("time", 30*time.Minute, "how long to fuzz, all targets together; 0 leaves that out")
	seed := flags.Uint64("seed", 0, "where the peers begin; 0 is anywhere")
	without := flags.String("without", "", "classes of messages that the peers leave out, with commas")
	only := flags.String("only", "", "fuzz only targets whose name contains this")
	if err := flags.Parse(args); err != nil {
		return err
	}
	began := time.Now()
	if *messages > 0 {
		if err := attack(ctx, *messages, *seed, *without); err != nil {
			return err
		}
	}
	if *within > 0 {
		if err := fuzz(ctx, *within, *only, flags.Args()); err != nil {
			return err
		}
	}
	fmt.Printf("soak: PASS in %v\n", time.Since(began).Round(time.Second))
	return nil
}

// attack has the peers send so many messages, on stdio and over HTTP.
func attack(ctx context.Context, messages int, seed uint64, without string) error {
	began := time.Now()
	fmt.Printf("%d messages of hostile peers\n", messages)
	err := gotest(ctx, ".", os.Stdout, "-count=1", "-timeout=0", "-v", "-run=^(TestStdio|TestHTTP)$", "./internal/hostile",
		"-progress", "-messages="+strconv.Itoa(messages), "-seed="+strconv.FormatUint(seed, 10), "-without="+without)
	return verdict(ctx, "hostile peers", began, err)
}

// target is a fuzz target.
type target struct{ module, pkg, name string }

// fuzz divides the time among all targets.
func fuzz(ctx context.Context, within time.Duration, only string, modules []string) error {
	targets, err := list(ctx, modules)
	if err != nil {
		return err
	}
	var kept []target
	for _, t := range targets {
		if strings.Contains(t.name, only) {
			kept = append(kept, t)
		}
	}
	if len(kept) == 0 {
		return errors.New("no fuzz target was found")
	}
	each := max(within/time.Duration(len(kept)), time.Second)
	fmt.Printf("%d fuzz targets, %v each\n", len(kept), each.Round(time.Second))
	for n, t := range kept {
		began := time.Now()
		fmt.Printf("  %d of %d: %s %s\n", n+1, len(kept), t.pkg, t.name)
		err := gotest(ctx, t.module, os.Stdout, "-run=^$", "-fuzz=^"+t.name+"$", "-fuzztime="+each.String(), "-timeout=0", t.pkg)
		if err := verdict(ctx, t.name, began, err); err != nil {
			return err
		}
	}
	return nil
}

// list finds the fuzz targets of the modules, which are directories.
func list(ctx context.Context, modules []string) (found []target, err error) {
	for _, m := range modules {
		pkgs, err := packages(ctx, m)
		if err != nil {
			return nil, err
		}
		for _, pkg := range pkgs {
			var out strings.Builder
			if err := gotest(ctx, m, &out, "-list=^Fuzz", pkg); err != nil {
				return nil, fmt.Errorf("listing the targets of %s: %w\n%s", pkg, err, out.String())
			}
			for line := range strings.Lines(out.String()) {
				if name := strings.TrimSpace(line); strings.HasPrefix(name, "Fuzz") {
					found = append(found, target{m, pkg, name})
				}
			}
		}
	}
	return found, nil
}

// packages are those of a module that have a fuzz target in a test file, so that the
// tests of the others need not be built to be asked.
func packages(ctx context.Context, module string) (with []string, err error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-f",
		`{{$d := .Dir}}{{$p := .ImportPath}}{{range .TestGoFiles}}{{$p}} {{$d}}/{{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$p}} {{$d}}/{{.}}{{"\n"}}{{end}}`, "./...")
	cmd.Dir, cmd.Stderr = module, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list in %s: %w", module, err)
	}
	for line := range strings.Lines(string(out)) {
		pkg, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		if file == "" || len(with) > 0 && with[len(with)-1] == pkg {
			continue
		}
		text, err := os.ReadFile(filepath.Clean(file))
		if err != nil {
			return nil, err
		}
		if strings.Contains(string(text), "\nfunc Fuzz") {
			with = append(with, pkg)
		}
	}
	return with, nil
}

// gotest runs go test in a module. An interrupt ends it as the terminal's would.
func gotest(ctx context.Context, module string, out io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test"}, args...)...) //nolint:gosec // Names of our own packages and targets.
	cmd.Dir, cmd.Stdout, cmd.Stderr = module, out, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd.Run()
}

// verdict says in one line how a part went.
func verdict(ctx context.Context, part string, began time.Time, err error) error {
	took := time.Since(began).Round(time.Second)
	switch {
	case ctx.Err() != nil:
		fmt.Printf("%s: interrupted after %v\n", part, took)
		return ctx.Err()
	case err != nil:
		fmt.Printf("%s: FAIL after %v\n", part, took)
		return fmt.Errorf("%s: %w", part, err)
	}
	fmt.Printf("%s: PASS in %v\n", part, took)
	return nil
}
