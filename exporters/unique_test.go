// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package exporters

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
)

// keptLogs keeps what it is given.
type keptLogs struct{ records []sdklog.Record }

func (k *keptLogs) Export(_ context.Context, r []sdklog.Record) error {
	for i := range r {
		k.records = append(k.records, r[i].Clone())
	}
	return nil
}
func (*keptLogs) Shutdown(context.Context) error   { return nil }
func (*keptLogs) ForceFlush(context.Context) error { return nil }

func said(r *sdklog.Record) (out []string) {
	r.WalkAttributes(func(kv attribute.KeyValue) bool {
		out = append(out, string(kv.Key)+"="+kv.Value.String())
		return true
	})
	slices.Sort(out)
	body := r.Body()
	return append(out, body.String())
}

// What goes out is what the SDK would make of it.
func TestUniqueIsTheSDKs(t *testing.T) {
	s := attribute.String
	nested := attribute.MapValue
	many := make([]attribute.KeyValue, 0, 120)
	for i := range 120 {
		many = append(many, attribute.Int(fmt.Sprint("k", i%50), i))
	}
	for name, c := range map[string]struct {
		attrs []attribute.KeyValue
		body  attribute.Value
	}{
		"none":      {},
		"unique":    {attrs: []attribute.KeyValue{s("a", "1"), s("b", "2")}, body: attribute.StringValue("body")},
		"twice":     {attrs: []attribute.KeyValue{s("a", "1"), s("b", "2"), s("a", "3")}},
		"thrice":    {attrs: []attribute.KeyValue{s("a", "1"), s("a", "2"), s("a", "3")}},
		"many":      {attrs: many},
		"no key":    {attrs: []attribute.KeyValue{s("", "1"), s("a", "2")}},
		"map":       {attrs: []attribute.KeyValue{{Key: "m", Value: nested(s("a", "1"), s("a", "2"), s("b", "3"))}}},
		"deep":      {attrs: []attribute.KeyValue{{Key: "m", Value: attribute.SliceValue(nested(s("a", "1"), s("a", "2")), nested())}}},
		"body":      {body: nested(s("a", "1"), s("a", "2"))},
		"body list": {body: attribute.SliceValue(attribute.IntValue(1), nested(s("a", "1"), s("a", "2")))},
	} {
		t.Run(name, func(t *testing.T) {
			emit := func(opts ...sdklog.LoggerProviderOption) []string {
				kept := &keptLogs{}
				p := sdklog.NewLoggerProvider(append(opts, sdklog.WithProcessor(sdklog.NewSimpleProcessor(kept)))...)
				var r log.Record
				r.SetBody(c.body)
				r.AddAttributes(c.attrs...)
				p.Logger("test").Emit(t.Context(), r)
				return said(&kept.records[0])
			}
			want := emit()
			got := emit(sdklog.WithAllowKeyDuplication(), sdklog.WithProcessor(unique{}))
			if !slices.Equal(got, want) {
				t.Errorf("got %v, the SDK has %v", got, want)
			}
		})
	}
}

// That there is a processor which only tidies up keeps nobody from being told that
// a record goes nowhere.
func TestUniqueWantsNothing(t *testing.T) {
	p := sdklog.NewLoggerProvider(sdklog.WithProcessor(unique{}))
	if p.Logger("test").Enabled(t.Context(), log.EnabledParameters{}) {
		t.Error("records that nobody keeps are wanted")
	}
}

// BenchmarkUnique is what an event with n attributes costs, as the SDK has it and
// as we have it.
func BenchmarkUnique(b *testing.B) {
	for _, n := range []int{5, 12, 22, 40} {
		attrs := make([]attribute.KeyValue, n)
		for i := range attrs {
			attrs[i] = attribute.String(fmt.Sprint("otelmcp.some.attribute.", i), "value")
		}
		for name, opts := range map[string][]sdklog.LoggerProviderOption{
			"sdk":    nil,
			"unique": {sdklog.WithAllowKeyDuplication(), sdklog.WithProcessor(unique{})},
		} {
			b.Run(fmt.Sprint(n, "/", name), func(b *testing.B) {
				l := sdklog.NewLoggerProvider(append(opts, sdklog.WithProcessor(sdklog.NewSimpleProcessor(discardLogs{})))...).Logger("bench")
				b.ReportAllocs()
				for b.Loop() {
					var r log.Record
					r.AddAttributes(attrs...)
					l.Emit(b.Context(), r)
				}
			})
		}
	}
}

type discardLogs struct{}

func (discardLogs) Export(context.Context, []sdklog.Record) error { return nil }
func (discardLogs) Shutdown(context.Context) error                { return nil }
func (discardLogs) ForceFlush(context.Context) error              { return nil }
