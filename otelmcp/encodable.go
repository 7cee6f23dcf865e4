// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// Whether a result can be written at all. mcp-go logs that one cannot and writes
// nothing, so that on stdio nobody hears of it.

import (
	"encoding"
	"encoding/json"
	"math"
	"reflect"
	"strings"
)

// maxEncoded is how many values of a result are looked at, and maxNested how deep.
const (
	maxEncoded = 1 << 16
	maxNested  = 1 << 10
)

// unencodable reports whether encoding/json is sure to fail on v, as far as it was
// looked at. It calls no method of v: to encode it twice could make a difference.
func unencodable(v any) bool {
	left := maxEncoded
	return cannotEncode(reflect.ValueOf(v), &left, maxNested)
}

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

func cannotEncode(v reflect.Value, left *int, depth int) bool {
	*left--
	if !v.IsValid() || *left < 0 || depth == 0 { // what it holds further on is not known
		return false
	}
	t := v.Type()
	if p := reflect.PointerTo(t); p.Implements(jsonMarshaler) || p.Implements(textMarshaler) {
		return false // it has its own way
	}
	switch t.Kind() {
	case reflect.Func, reflect.Chan, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return true
	case reflect.Float32, reflect.Float64:
		return math.IsNaN(v.Float()) || math.IsInf(v.Float(), 0)
	case reflect.Pointer, reflect.Interface:
		return cannotEncode(v.Elem(), left, depth-1)
	case reflect.Map:
		for key, value := range v.Seq2() {
			if k := key.Kind(); (k < reflect.Int || k > reflect.Uintptr) && k != reflect.String && !key.Type().Implements(textMarshaler) ||
				cannotEncode(value, left, depth-1) {
				return true
			}
		}
	case reflect.Slice, reflect.Array:
		for n := range v.Len() {
			if *left < 0 || cannotEncode(v.Index(n), left, depth-1) {
				return *left >= 0
			}
		}
	case reflect.Struct:
		for n := range v.NumField() {
			f := t.Field(n)
			tag := f.Tag.Get("json")
			if f.IsExported() && !f.Anonymous && tag != "-" && !strings.Contains(tag, ",omit") && cannotEncode(v.Field(n), left, depth-1) {
				return true
			}
		}
	default:
	}
	return false
}
