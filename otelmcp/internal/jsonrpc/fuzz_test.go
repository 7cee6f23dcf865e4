// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package jsonrpc

// Arbitrary bytes: Parse says what mcp-go's own structs and the answers of a
// server say, Head says the same, and of a beginning nothing that the end belies.

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// reference is what server.MCPServer.HandleMessage makes of raw, in its words.
func reference(raw []byte) (want Envelope) {
	var base struct {
		JSONRPC string        `json:"jsonrpc"`
		Method  mcp.MCPMethod `json:"method"`
		ID      any           `json:"id,omitempty"`
		Result  any           `json:"result,omitempty"`
	}
	if err := json.Unmarshal(raw, &base); err != nil {
		if first := bytes.TrimSpace(raw); json.Valid(raw) && first[0] == '[' {
			return Envelope{Kind: Batch, NullAnswer: true}
		}
		return Envelope{NullAnswer: true}
	}
	want = Envelope{Kind: Response, Version: base.JSONRPC, Method: string(base.Method), HasResult: base.Result != nil}
	right := base.JSONRPC == mcp.JSONRPC_VERSION
	switch {
	case base.ID == nil:
		want.Kind = Notification
		var notification mcp.JSONRPCNotification
		want.Silent = right && json.Unmarshal(raw, &notification) == nil
		want.NullAnswer = !want.Silent
		return want
	case base.Method != "":
		want.Kind = Request
	}
	want.Silent = right && base.Result != nil
	// What mcp-go writes into the answer, as who reads the answer reads it.
	answer, err := json.Marshal(mcp.NewRequestId(base.ID))
	var id any
	if err != nil || json.Unmarshal(answer, &id) != nil {
		panic("an id that came in does not go out")
	}
	want.ID, want.Key = ID(id)
	return want
}

func FuzzParse(f *testing.F) {
	for _, raw := range corpus() {
		f.Add([]byte(raw))
	}
	bare := server.NewMCPServer("test", "1") // it answers, and does nothing else
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, want := Parse(raw), reference(raw)
		checkAnswer(t, string(raw), e, answerOf(t, bare, string(raw)))
		got := Envelope{Kind: e.Kind, NullAnswer: e.NullAnswer, Silent: e.Silent, Key: e.Key}
		if e.Kind == Malformed || e.Kind == Batch { // the rest is more than mcp-go knows
			if got.Kind != want.Kind || !got.NullAnswer || got.Silent || got.Key != "" {
				t.Errorf("%q: got %+v, mcp-go %+v", raw, got, want)
			}
		} else {
			got.Version, got.Method, got.ID, got.HasResult = e.Version, e.Method, e.ID, e.HasResult
			if !equal(got, want) {
				t.Errorf("%q: got %+v, mcp-go %+v", raw, got, want)
			}
		}
		h, complete := Head(raw)
		if first := bytes.TrimLeft(raw, " \t\r\n"); !json.Valid(raw) || first[0] != '{' {
			return
		}
		if !complete {
			t.Errorf("%q is whole", raw)
		}
		if !equal(h, Envelope{
			Kind: e.Kind, Version: e.Version, Method: e.Method, ID: e.ID, Key: e.Key,
			HasResult: e.HasResult, HasError: e.HasError, EmptyResult: e.EmptyResult, Code: e.Code,
		}) {
			t.Errorf("%q: Head says %+v, Parse %+v", raw, h, e)
		}
	})
}

// equal compares what Head knows.
func equal(a, b Envelope) bool {
	return a.Kind == b.Kind && a.Version == b.Version && a.Method == b.Method && a.ID == b.ID && a.Key == b.Key && a.HasResult == b.HasResult &&
		a.HasError == b.HasError && a.EmptyResult == b.EmptyResult && a.Code == b.Code && a.NullAnswer == b.NullAnswer && a.Silent == b.Silent
}

func FuzzHead(f *testing.F) {
	for _, raw := range corpus() {
		for n := range 4 {
			f.Add([]byte(raw), n*len(raw)/4)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, n int) {
		if n < 0 || n > len(raw) {
			n = len(raw)
		}
		h, complete := Head(raw[:n:n])
		whole := Parse(raw)
		if whole.Kind == Malformed || repeats(raw) {
			return
		}
		said := func(ok bool, of, is any) {
			t.Helper()
			if !ok {
				t.Errorf("%q of %q: Head says %v, the whole %v", raw[:n], raw[n:], of, is)
			}
		}
		said(h.Version == "" || h.Version == whole.Version, h.Version, whole.Version)
		said(h.Method == "" || h.Method == whole.Method, h.Method, whole.Method)
		said(h.ID == "" || h.ID == whole.ID, h.ID, whole.ID)
		said(h.Key == "" || h.Key == whole.Key, h.Key, whole.Key)
		said(!h.HasResult || whole.HasResult, h.HasResult, whole.HasResult)
		said(!h.HasError || whole.HasError, h.HasError, whole.HasError)
		said(h.Code == 0 || h.Code == whole.Code, h.Code, whole.Code)
		said(!h.EmptyResult || whole.EmptyResult, h.EmptyResult, whole.EmptyResult)
		said(!complete || len(bytes.Trim(raw[n:], " \t\r\n")) == 0, complete, false)
		turns := !complete && whole.Kind == Request && (h.Kind == Notification || h.Kind == Response)
		said(h.Kind == whole.Kind || h.Kind == Malformed && !complete || turns, h.Kind, whole.Kind)
	})
}

// repeats reports whether an object has two members that are one to encoding/json,
// where Head looks at members.
func repeats(raw []byte) bool {
	var names [][]byte
	seen := func(name []byte) bool {
		again := slices.ContainsFunc(names, func(b []byte) bool { return bytes.EqualFold(b, name) })
		names = append(names, bytes.Clone(name))
		return again
	}
	s := scan{b: raw}
	twice := false
	s.object(func(name []byte) bool {
		twice = twice || seen(name)
		if !is(name, "error") || s.next() != '{' {
			return s.skip()
		}
		outer := names
		names = nil
		ok := s.object(func(name []byte) bool {
			twice = twice || seen(name)
			return s.skip()
		})
		names = outer
		return ok
	})
	return twice
}

// FuzzOutline says of a message's top level what Parse says of the whole, however
// it is cut into pieces.
func FuzzOutline(f *testing.F) {
	for _, raw := range corpus() {
		f.Add([]byte(raw), 1)
		f.Add([]byte(raw), len(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte, n int) {
		if n <= 0 {
			n = 1
		}
		var o Outline
		for piece := range slices.Chunk(raw, n) {
			o.Write(piece)
		}
		got, ok := o.Envelope()
		if !ok && len(raw) <= maxOutline || len(o.b) > maxOutline {
			t.Errorf("%q has an outline of %d bytes, %t", raw, len(o.b), ok)
		}
		whole := Parse(raw)
		if !ok || o.cut || whole.Kind == Malformed || whole.Kind == Batch {
			return
		}
		// What an id or a number is that is no string stands in a value, and so do codes.
		if bytes.ContainsAny(raw, "eE") || len(raw) > maxExact {
			return
		}
		got.Code = whole.Code
		if whole.Key != "" && whole.Key[0] == 'j' {
			got.ID, got.Key = whole.ID, whole.Key
		}
		if !equal(got, whole) || got.Answers != whole.Answers {
			t.Errorf("%q: the outline %q says %+v, Parse %+v", raw, o.b, got, whole)
		}
	})
}
