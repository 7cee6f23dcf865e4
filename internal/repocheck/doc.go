// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package repocheck holds the repository to its own rules. It has no code but tests: that tables are listed with their
// bounds, that registered classes of error are set, that shipped queries name a side, and who imports whom, for which
// they ask the go command in every module. `make imports` runs them alone.
package repocheck
