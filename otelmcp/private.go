// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// What mcp-go keeps in unexported fields and has no getter for. Whatever reads one reads
// it through this file. TestPrivateFields and TestServerFields fail when a version of
// mcp-go no longer has a field that is read.

import (
	"reflect"
	"unsafe"
)

// privateField is where a struct S itself keeps a value of type T. Where the field is
// gone, is of another type, or is in an embedded struct, its value is not known.
type privateField[S, T any] struct {
	offset uintptr
	known  bool
}

func privateFieldOf[S, T any](name string) privateField[S, T] {
	f, ok := reflect.TypeFor[S]().FieldByName(name)
	return privateField[S, T]{f.Offset, ok && len(f.Index) == 1 && f.Type == reflect.TypeFor[T]()}
}

// of returns the value that s has, and whether that is known. It takes no lock.
func (f privateField[S, T]) of(s *S) (v T, known bool) {
	if !f.known {
		return v, false
	}
	return *(*T)(unsafe.Add(unsafe.Pointer(s), f.offset)), true
}
