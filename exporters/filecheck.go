// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file checks what a configuration file says, beyond what otelconf checks: numbers
// that the SDK takes and dies of, and exporters of which all but one would be left out.

package exporters

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"go.opentelemetry.io/contrib/otelconf"
)

// maxHistogramSize is the most buckets that an exponential histogram may have, for
// each set of attributes. The SDK's default is 160.
const maxHistogramSize = 1 << 14

// checkModel returns everything that is wrong with m, each with its place in the file.
func checkModel(m *otelconf.OpenTelemetryConfiguration) error {
	if m.FileFormat == "" {
		return errors.New(`file_format: want one, such as "1.0"; an empty file configures nothing`)
	}
	return errors.Join(checkValue("", reflect.ValueOf(m))...)
}

// checkValue checks v, which stands at path, and all that is in it.
func checkValue(path string, v reflect.Value) (errs []error) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			errs = checkValue(path, v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			errs = append(errs, checkValue(fmt.Sprintf("%s[%d]", path, i), v.Index(i))...)
		}
	case reflect.Struct:
		var set []string
		for f, value := range v.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if name == "" {
				continue
			}
			errs = append(errs, checkValue(strings.TrimPrefix(path+"."+name, "."), value)...)
			if !value.IsZero() {
				set = append(set, name)
			}
		}
		if isExporter(v.Type()) && len(set) > 1 {
			errs = append(errs, fmt.Errorf("%s: want one exporter, and there are %s: each needs a processor or reader of its own", path, strings.Join(set, " and ")))
		}
	case reflect.Int:
		from, to := numberRange(path)
		if n := v.Int(); n < from || n > to {
			errs = append(errs, fmt.Errorf("%s: %d: want a whole number from %d to %d", path, n, from, to))
		}
	}
	return errs
}

func isExporter(t reflect.Type) bool {
	switch t {
	case reflect.TypeFor[otelconf.SpanExporter](), reflect.TypeFor[otelconf.PushMetricExporter](), reflect.TypeFor[otelconf.LogRecordExporter]():
		return true
	}
	return false
}

// numberRange is what a field may be. What is too small for a field that is not
// named here is found by otelconf, or by the SDK.
func numberRange(path string) (from, to int64) {
	switch path[strings.LastIndexByte(path, '.')+1:] {
	case "max_queue_size", "max_export_batch_size":
		if strings.HasPrefix(path, "logger_provider.") {
			return 1, maxLogQueue
		}
		return 1, maxSpanQueue
	case "schedule_delay": // with 0 the SDK would never rest
		return 1, maxNumber
	case "max_size":
		return 0, maxHistogramSize
	}
	return -maxNumber, maxNumber
}
