// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package interop holds the tests of otelmcp beside software of others: servers
// of another SDK, a server that somebody else wrote, HTTP instrumentation on both
// sides, and a receiver of OTLP. It also compiles and runs the programs that the
// pages show. It is a module of its own so that nobody else carries their dependencies.
package interop
