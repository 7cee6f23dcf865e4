// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// What panics under the lock of a connection must not keep it: the next line would
// wait for ever.

import (
	"encoding/json"
	"testing"

	"github.com/mark3labs/mcp-go/server"

	"github.com/otelmcp/otelmcp-go/internal/telemetrytest"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
)

func TestStdioPanicUnderLock(t *testing.T) {
	capture := telemetrytest.New(t)
	srv := server.NewMCPServer("a", "1")
	i := Instrument(srv, WithTracerProvider(capture.TracerProvider()), WithMeterProvider(capture.MeterProvider()), WithLoggerProvider(capture.LoggerProvider()))
	session := server.NewInProcessSession(stdioKey, nil)
	request := []byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	for name, f := range map[string]func(l *lines){
		"handling": func(l *lines) { l.handling(srv.WithContext(l, session), 1.0, json.RawMessage(request)) },
		"adopt":    func(l *lines) { l.adopt(l) },
		"ended":    func(l *lines) { l.ended(&message{i: i, line: &line{}}) },
		"result":   func(l *lines) { l.result(&message{i: i, line: &line{}}, 1) },
		"read":     func(l *lines) { l.read(&rawLine{text: request, length: len(request), size: len(request)}) },
		"through":  func(l *lines) { l.due.Store(&line{}); l.through() },
		"decided":  func(l *lines) { l.decided(t.Context(), &operation.Decision{}) },
		"cancel":   func(l *lines) { l.cancelled("1") },
		"writing":  func(l *lines) { l.writing([]byte(`{"jsonrpc":"2.0","id":1,"result":{}}`), 1) },
		"wrote":    func(l *lines) { l.wrote(&sending{hold: true}, false) },
		"drain":    func(l *lines) { l.drain() },
	} {
		t.Run(name, func(t *testing.T) {
			l := &lines{Context: t.Context(), i: i, asked: newAskedTable()} // its tables are nil
			func() {
				defer func() { _ = recover() }()
				f(l)
			}()
			if !l.mu.TryLock() {
				t.Error("the connection is locked for good")
			}
		})
	}
}
