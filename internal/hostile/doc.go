// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package hostile holds an attack on the books of otelmcp: generated peers that
// do everything that may confuse which record belongs to which message. The tests
// know of each message what must be recorded, because they made it; they look at
// the instrumentation from outside only.
package hostile
