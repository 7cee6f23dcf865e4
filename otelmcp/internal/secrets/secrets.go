// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package secrets recognizes secrets that were seen before, without keeping them.
//
// A Set keeps keyed hashes of pieces of what it was given, and looks for a text's own
// pieces among them. The key is made at random in each process. Letters and digits
// count, in either case; what stands between them does not, so that a secret is found in
// a host name, and in a list of words that it was split into. A text is also looked at
// with its percent-encoding and its base64 undone.
package secrets

import (
	"encoding/base64"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
)

const (
	// piece is how many letters and digits are hashed together.
	piece = 12
	// stride is how far apart pieces of a secret begin: piece+stride-1 letters and digits
	// of a secret in a row are always found.
	stride = 4
	// shortest is how many letters and digits a secret has that is found within a text.
	// A shorter one is found only where it is the whole text.
	shortest = 6
	// maxEnd caps, in bytes, what is known of each end of a secret that is longer than
	// two of them, so that one secret takes a small part of a Set.
	maxEnd = 1 << 10
	// maxPieces caps what a Set keeps, in hashes of eight bytes. Of more, the oldest
	// secrets are forgotten.
	maxPieces = 8 << 10
)

var seed = maphash.MakeSeed()

// Set is a set of secrets. The zero value is empty. It is safe for concurrent use.
type Set struct {
	mu     sync.RWMutex
	known  []secret       // the oldest first
	pieces map[uint64]int // how many known secrets have that piece
	total  int            // of pieces
	// lengths is how many known secrets have one piece of that many letters and digits.
	lengths [piece + 1]int
}

// secret is what is known of one.
type secret struct {
	whole  uint64
	pieces []uint64
	length int // of the only piece, in letters and digits; 0 where there are more, or none
}

// Add makes text known. Text that is empty is none.
func (s *Set) Add(text string) {
	if text == "" {
		return
	}
	whole := maphash.String(seed, text)
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, known := range slices.Backward(s.known) {
		if known.whole == whole {
			s.known = append(append(s.known[:k], s.known[k+1:]...), known)
			return
		}
	}
	one := secret{whole: whole}
	if len(text) > 2*maxEnd {
		one.cut(letters(text[:maxEnd]))
		text = text[len(text)-maxEnd:]
	}
	one.cut(letters(text))
	one.pieces = append(one.pieces, whole)
	s.insert(one)
}

// cut adds the hashes of the pieces of what letters returned.
func (one *secret) cut(plain []byte) {
	switch {
	case len(plain) < shortest:
		return
	case len(plain) <= piece:
		one.length = len(plain)
		one.pieces = append(one.pieces, maphash.Bytes(seed, plain))
		return
	}
	last := len(plain) - piece
	for at := 0; at < last; at += stride {
		one.pieces = append(one.pieces, maphash.Bytes(seed, plain[at:at+piece]))
	}
	one.pieces = append(one.pieces, maphash.Bytes(seed, plain[last:]))
}

func (s *Set) insert(one secret) {
	if s.pieces == nil {
		s.pieces = map[uint64]int{}
	}
	for _, h := range one.pieces {
		s.pieces[h]++
	}
	s.lengths[one.length]++
	s.known = append(s.known, one)
	for s.total += len(one.pieces); s.total > maxPieces; {
		oldest := s.known[0]
		for _, h := range oldest.pieces {
			s.pieces[h]--
			if s.pieces[h] == 0 {
				delete(s.pieces, h)
			}
		}
		s.lengths[oldest.length]--
		s.total -= len(oldest.pieces)
		s.known[0] = secret{}
		s.known = s.known[1:]
	}
}

// In reports whether a known secret, or much of one, stands in text.
func (s *Set) In(text string) bool {
	if text == "" {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.known) == 0 {
		return false
	}
	if s.pieces[maphash.String(seed, text)] > 0 {
		return true
	}
	for range 3 {
		if s.found(letters(text)) || s.encoded(text) {
			return true
		}
		decoded := unescape(text)
		if decoded == text {
			return false
		}
		text = decoded
	}
	return false
}

// found reports whether a piece of a secret is in what letters returned.
func (s *Set) found(plain []byte) bool {
	for n := shortest; n <= piece; n++ {
		if n < piece && s.lengths[n] == 0 {
			continue
		}
		for at := 0; at+n <= len(plain); at++ {
			if s.pieces[maphash.Bytes(seed, plain[at:at+n])] > 0 {
				return true
			}
		}
	}
	return false
}

// encoded reports whether a piece of a secret is in a run of base64 in text.
func (s *Set) encoded(text string) bool {
	for _, run := range strings.FieldsFunc(text, func(c rune) bool { return sextet(c) == 0 }) {
		for from := 0; from < 4 && len(run)-from >= shortest; from++ {
			digits := run[from:]
			if len(digits)%4 == 1 {
				digits = digits[:len(digits)-1]
			}
			if raw, err := base64.RawStdEncoding.DecodeString(strings.Map(sextet, digits)); err == nil && s.found(letters(string(raw))) {
				return true
			}
		}
	}
	return false
}

// sextet reports whether c is a digit of base64, as c in the standard alphabet, or 0.
func sextet(c rune) rune {
	switch {
	case c >= 0x80:
		return 0
	case c == '-':
		return '+'
	case c == '_':
		return '/'
	case c == '+', c == '/', letter(byte(c&0x7f)) != 0:
		return c
	}
	return 0
}

// letters returns the letters and digits of text, in lower case, and what is not ASCII.
func letters(text string) []byte {
	plain := make([]byte, 0, len(text))
	for k := range len(text) {
		if c := letter(text[k]); c != 0 {
			plain = append(plain, c)
		} else if text[k] >= 0x80 {
			plain = append(plain, text[k])
		}
	}
	return plain
}

// letter is c in lower case, and 0 where c is no letter or digit of ASCII.
func letter(c byte) byte {
	switch {
	case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		return c
	case c >= 'A' && c <= 'Z':
		return c + 'a' - 'A'
	}
	return 0
}

// unescape undoes percent-encoding wherever there is some.
func unescape(text string) string {
	if !strings.Contains(text, "%") {
		return text
	}
	out := make([]byte, 0, len(text))
	for k := 0; k < len(text); k++ {
		if text[k] == '%' && k+2 < len(text) {
			high, low := nibble(text[k+1]), nibble(text[k+2])
			if high >= 0 && low >= 0 {
				out = append(out, byte(high<<4|low)) //nolint:gosec // Two nibbles are a byte.
				k += 2
				continue
			}
		}
		out = append(out, text[k])
	}
	return string(out)
}

func nibble(c byte) int { return strings.IndexByte("0123456789abcdef", letter(c)) }
