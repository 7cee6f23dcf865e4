// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package jsonrpc

// Size is how many bytes of text e keeps. What several of its fields share counts
// for each of them.
func (e *Envelope) Size() int {
	size := len(e.meta) + len(e.MetaVersion)
	for _, text := range [...]string{
		e.Version, e.Method, e.ID, e.Key, e.Name, e.URI, e.Target, e.TargetKey,
		e.ProtocolVersion, e.ClientName, e.ClientVersion, e.Answers,
	} {
		size += len(text)
	}
	return size
}
