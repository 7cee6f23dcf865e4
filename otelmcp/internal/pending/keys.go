// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package pending

// Keys of any size, in little room.

import (
	"encoding/binary"
	"hash/maphash"
)

// maxKey is how long a key may be and still be kept as it is, in bytes.
const maxKey = 64

// Digest is 128 bits that stand for text of any size. Nobody who does not know the
// seeds, which are this process's own, can make two texts that have the same.
type Digest [16]byte

var seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

// DigestOf returns the digest of b.
func DigestOf(b []byte) (d Digest) {
	for n, seed := range seeds {
		binary.LittleEndian.PutUint64(d[8*n:], maphash.Bytes(seed, b))
	}
	return d
}

// Key returns what key is kept as: itself, or a digest of it when it is long. Tables
// do that with their keys; who keeps a key elsewhere does it there. The key of a key
// is that key.
func Key(key string) string {
	if len(key) <= maxKey {
		return key
	}
	var d [1 + len(Digest{})]byte
	d[0] = 0xff // begins no text
	for n, seed := range seeds {
		binary.LittleEndian.PutUint64(d[1+8*n:], maphash.String(seed, key))
	}
	return string(d[:])
}
