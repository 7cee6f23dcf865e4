// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// What mcp-go keeps in unexported fields and has no getter for. Everything that
// reads one does so through this file, and TestPrivateFields fails when a version
// of mcp-go no longer has it.

import "reflect"

// private returns the field of the struct that of points to. It is not ok where
// there is no such field, or one of another type than T.
func private[T any](of any, field string) (v T, ok bool) {
	f := reflect.ValueOf(of).Elem().FieldByName(field)
	if !f.IsValid() || f.Type() != reflect.TypeFor[T]() {
		return v, false
	}
	return *(*T)(f.Addr().UnsafePointer()), true
}
