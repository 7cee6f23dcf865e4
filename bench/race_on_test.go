// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

//go:build race

package bench

// raceEnabled tells tests that count allocations whether they can: the race detector allocates, too.
const raceEnabled = true
