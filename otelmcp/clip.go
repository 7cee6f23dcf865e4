// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

import "strings"

// clipped is the beginning of text, at most limit bytes of it, without the rest in memory.
func clipped(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.Clone(text[:limit])
}
