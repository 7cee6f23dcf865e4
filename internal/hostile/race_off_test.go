// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package hostile_test

// raceEnabled says that a message costs ten times as much.
const raceEnabled = false
