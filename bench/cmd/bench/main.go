// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Command bench is `make bench` without the contenders whose dependencies take minutes to build.
package main

import (
	"os"

	"github.com/otelmcp/otelmcp-go/bench"
)

func main() { os.Exit(bench.Main()) }
