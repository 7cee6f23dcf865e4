// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package hostile_test

// raceEnabled tells tests that count allocations that they can.
const raceEnabled = false
