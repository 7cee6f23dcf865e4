// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package faulty

// What was received, record by record, so that nothing is taken for another and
// what came twice is seen: out of OTLP requests, and out of the files of a
// collector. Only the few fields that tell records apart are read.

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math"
	"os"
)

// Record is a log record or a span.
type Record struct {
	Service string // service.name of its resource; of files only
	Trace   string // ID, in hexadecimal
	Name    string // of the event, or the span
	Times   int    // how often it was received
}

// Records are told apart by a span's ID, or by all that a log record says: its
// times are in nanoseconds.
type Records map[string]*Record

func (r Records) add(id string, record Record) {
	if r[id] == nil {
		r[id] = &record
	}
	r[id].Times++
}

// Of returns the records of one service.
func (r Records) Of(service string) Records {
	of := Records{}
	for id, record := range r {
		if record.Service == service {
			of[id] = record
		}
	}
	return of
}

// Traces returns the IDs of the traces that there is a record of.
func (r Records) Traces() map[string]bool {
	traces := map[string]bool{}
	for _, record := range r {
		traces[record.Trace] = true
	}
	return traces
}

// Repeated is how many records came more often than once.
func (r Records) Repeated() (n int) {
	for _, record := range r {
		if record.Times > 1 {
			n++
		}
	}
	return n
}

var errWire = errors.New("not protobuf")

// fields calls each for the fields of a message, with the content of those that
// have a length, and nil for the others.
func fields(message []byte, each func(number uint64, content []byte) error) error {
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		if n <= 0 {
			return errWire
		}
		message = message[n:]
		var content []byte
		size := 0
		switch tag & 7 {
		case 0:
			if _, size = binary.Uvarint(message); size <= 0 {
				return errWire
			}
		case 1:
			size = 8
		case 2:
			length, n := binary.Uvarint(message)
			if n <= 0 || length > math.MaxInt32 || int(length) > len(message)-n {
				return errWire
			}
			size = n + int(length)
			content = message[n:size]
		case 5:
			size = 4
		default:
			return errWire
		}
		if size > len(message) {
			return errWire
		}
		if err := each(tag>>3, content); err != nil {
			return err
		}
		message = message[size:]
	}
	return nil
}

// records calls each for the records of an export request.
func records(request []byte, signal string, each func(id string, r Record)) error {
	// Of LogRecord, and of Span.
	trace, name := uint64(9), uint64(12)
	if signal == "traces" {
		trace, name = 1, 5
	}
	record := func(message []byte) error {
		r, id := Record{}, string(message)
		err := fields(message, func(number uint64, content []byte) error {
			switch {
			case number == trace:
				r.Trace = hex.EncodeToString(content)
			case number == name:
				r.Name = string(content)
			case number == 2 && signal == "traces":
				id = string(content)
			}
			return nil
		})
		each(id, r)
		return err
	}
	in := func(wanted uint64, then func([]byte) error) func(uint64, []byte) error {
		return func(number uint64, content []byte) error {
			if number != wanted {
				return nil
			}
			return then(content)
		}
	}
	// Resource, scope, record: the numbers are the same for both signals.
	return fields(request, in(1, func(resource []byte) error {
		return fields(resource, in(2, func(scope []byte) error {
			return fields(scope, in(2, record))
		}))
	}))
}

// ReadFile returns the log records and spans in a file that a collector writes, one
// JSON document a line. A file that is not there has none, and what follows the
// last line's end is not read: it is being written.
func ReadFile(name string) (Records, error) {
	all := Records{}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewReaderSize(f, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err == nil {
			err = all.addJSON(line)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
}

func (r Records) addJSON(line []byte) error {
	type scope struct{ LogRecords, Spans []json.RawMessage }
	type resource struct {
		Resource struct {
			Attributes []struct {
				Key   string
				Value struct{ StringValue string }
			}
		}
		ScopeLogs, ScopeSpans []scope
	}
	var document struct{ ResourceLogs, ResourceSpans []resource }
	if err := json.Unmarshal(line, &document); err != nil {
		return err
	}
	for _, res := range append(document.ResourceLogs, document.ResourceSpans...) {
		service := ""
		for _, a := range res.Resource.Attributes {
			if a.Key == "service.name" {
				service = a.Value.StringValue
			}
		}
		for _, s := range append(res.ScopeLogs, res.ScopeSpans...) {
			for _, raw := range append(s.LogRecords, s.Spans...) {
				var fields struct{ TraceID, SpanID, Name, EventName string }
				if err := json.Unmarshal(raw, &fields); err != nil {
					return err
				}
				record, id := Record{Service: service, Trace: fields.TraceID, Name: fields.EventName}, string(raw)
				if fields.Name != "" { // a span
					record.Name, id = fields.Name, fields.SpanID
				}
				r.add(id, record)
			}
		}
	}
	return nil
}

func discard() *log.Logger { return log.New(io.Discard, "", 0) }
