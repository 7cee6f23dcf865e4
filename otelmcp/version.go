// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// ScopeName is the instrumentation scope of everything that this package
// emits.
const ScopeName = "github.com/otelmcp/otelmcp-go/otelmcp"

// Version is the version of this module, and of the instrumentation scope.
func Version() string { return "0.1.0" }
