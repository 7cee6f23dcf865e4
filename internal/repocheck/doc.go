// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package repocheck holds the repository to its own rules. It has no code but tests: they ask the go
// command who imports whom, in every module, and compare that with the import directions of the project.
// `make imports` runs them alone.
package repocheck
