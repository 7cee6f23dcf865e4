// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package hostile_test

// The messages of the attack. Each knows what its record must say.

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
)

// any value will do, where telemetry is free in what it says, or cannot know.
const anything = "*"

// message is a message of a client, with what its record must say as far as its
// maker knows; the answer says the rest.
type message struct {
	raw    string
	class  class
	nonce  string
	method string
	target string // the tool, the prompt or the resource
	id     string // as the record has it
	stage  string
	trace  string
	// handled says that a handler of the program's gets it.
	handled bool
	// held says that its handler waits until it is released.
	held  bool
	rawID string // its id in JSON's notation
	asks  string // how the request of the server's ends that its handler makes
	// silent says that there is no answer.
	silent bool
	// silenced says that a handler runs, and what it returns cannot be encoded.
	silenced bool
	// wild says that only a part of the message is looked at.
	wild bool
	// optional says that the message may have ended a request of the server's, and
	// then has no record of its own.
	optional bool
}

// class is a way for a message to go, and to go wrong.
type class int

const (
	call class = iota
	fails
	errs
	panics
	holds
	holdsAndFails
	promptHolds
	notifies
	asks
	unspeakable
	prompt
	promptErrs
	promptPanics
	read
	list
	ping
	modernCall
	modernPing
	unknownMethod
	unknownTool
	unknownPrompt
	unknownResource
	badParams
	oddMeta
	oddMethod
	wrongVersion
	unsupported
	noCapabilities
	turnedAway
	batch
	garbage
	empty
	told
	toldUnknown
	toldBadly
	canceled
	unwantedResult
	unwantedError
	chimera
	classes
)

var classNames = [classes]string{
	"call", "fails", "errs", "panics", "holds", "holdsAndFails", "promptHolds", "notifies", "asks", "unspeakable", "prompt", "promptErrs",
	"promptPanics", "read", "list", "ping", "modernCall", "modernPing", "unknownMethod", "unknownTool", "unknownPrompt", "unknownResource", "badParams",
	"oddMeta", "oddMethod", "wrongVersion", "unsupported", "noCapabilities", "turnedAway", "batch", "garbage", "empty", "told", "toldUnknown", "toldBadly",
	"canceled", "unwantedResult", "unwantedError", "chimera",
}

func (c class) String() string { return classNames[c] }

// maker makes the messages of one run.
type maker struct {
	*rand.Rand
	n int
	// ids are what requests are called; a few for all of them, or each its own.
	ids []id
	// padded gives each message a size that no other has.
	padded bool
	// traced says how often a message has a trace of its own.
	traced int // of 10
	// sizes says how often a message is as large as a limit, of 1000.
	sizes int
	// without are classes that are not made.
	without map[class]bool
}

// id is one in JSON's notation, and as a record has it.
type id struct{ raw, text string }

func newMaker(seed uint64) *maker {
	m := &maker{Rand: rand.New(rand.NewPCG(seed, 0x5eed)), without: map[class]bool{}}
	m.padded = m.IntN(4) > 0
	m.traced = m.IntN(11)
	if m.IntN(3) == 0 {
		m.sizes = 4
	}
	switch m.IntN(5) {
	case 0:
		m.ids = []id{{"1", "1"}}
	case 1:
		m.ids = []id{{"1", "1"}, {`"1"`, "1"}, {"1.0", "1"}, {"1e0", "1"}, {`"\u0031"`, "1"}}
	case 2:
		m.ids = oddIDs()
	case 3:
		for range 1 + m.IntN(5) {
			n := strconv.Itoa(m.IntN(8))
			m.ids = append(m.ids, id{n, n})
		}
	}
	return m
}

// oddIDs are ids of every type, and of the sizes where tables and records change
// their mind.
func oddIDs() (ids []id) {
	for _, raw := range []string{"0", "-1", "7", "9007199254740993", "1e300", "-1.5", "1e-7", "9223372036854775808"} {
		ids = append(ids, id{raw, anything})
	}
	for _, text := range []string{"", "a", " ", "stdio", "null", "-1", "héllo", "日本"} {
		ids = append(ids, id{must(json.Marshal(text)), text})
	}
	for _, raw := range []string{"{}", `{"a":1}`, "[]", "[1]", "true", "false", `"\ud800"`, `"a\nb"`, `"\u202e"`, `"x\u0000y"`} {
		ids = append(ids, id{raw, anything})
	}
	for _, n := range []int{63, 64, 65, 127, 128, 129, 1023, 1024, 1025} {
		text := strings.Repeat("i", n)
		shown := text
		if n > 128 {
			shown = anything
		}
		ids = append(ids, id{`"` + text + `"`, shown})
	}
	return ids
}

func must(b []byte, err error) string {
	if err != nil {
		panic(err)
	}
	return string(b)
}

// id chooses the id of a request.
func (m *maker) id() id {
	if len(m.ids) > 0 {
		return m.ids[m.IntN(len(m.ids))]
	}
	n := strconv.Itoa(1_000_000 + m.n)
	return id{n, n}
}

// traceOf is the trace of a message, of which a record tells which it was.
func traceOf(n int) string { return fmt.Sprintf("%032x", 0xabc0000+n) }

// message makes one of the class.
func (m *maker) message(c class) *message {
	m.n++
	n := m.n
	out := &message{class: c, nonce: "n" + strconv.Itoa(n), stage: anything}
	// A nonce that several share makes their calls look the same.
	it := m.id()
	out.id, out.rawID = it.text, it.raw
	meta := ""
	if m.IntN(10) < m.traced {
		out.trace = traceOf(n)
		meta = `"traceparent":"00-` + out.trace + `-b7ad6b7169203331-01"`
	}
	switch m.IntN(20) {
	case 0:
		meta = join(meta, `"progressToken":"`+secret+`"`)
	case 1:
		meta = join(meta, `"x":{"deep":[`+strings.Repeat("[", 20)+strings.Repeat("]", 20)+`]}`)
	}
	pad := ""
	if m.padded {
		pad = strings.Repeat("p", n%397)
	}
	if m.sizes > 0 && m.IntN(1000) < m.sizes {
		pad = strings.Repeat("p", m.limit())
	}
	request := func(method, params string) string {
		members := []string{`"jsonrpc":"2.0"`, `"id":` + it.raw, `"method":` + m.spell(method), `"params":{` + join(params, `"pad":"`+pad+`"`, metaOf(meta)) + `}`}
		if m.IntN(4) == 0 { // also with the id, or the method, last
			m.Shuffle(len(members), func(a, b int) { members[a], members[b] = members[b], members[a] })
		}
		return "{" + strings.Join(members, ",") + "}"
	}
	do := func(method, params string) {
		out.method = method
		out.raw = request(method, params)
	}
	tool := func(name, more string) {
		out.target, out.handled = name, true
		do("tools/call", join(`"name":"`+name+`","arguments":{`+join(`"nonce":"`+out.nonce+`","x":"`+secret+`"`, more)+`}`))
	}
	get := func(name string) {
		out.target, out.handled = name, true
		do("prompts/get", `"name":"`+name+`","arguments":{"nonce":"`+out.nonce+`"}`)
	}
	modern := func(version string) {
		meta = join(meta, `"`+mcp.MetaKeyProtocolVersion+`":"`+version+`"`, `"`+mcp.MetaKeyClientInfo+`":{"name":"tester","version":"1"}`)
	}
	capable := func() { meta = join(meta, `"`+mcp.MetaKeyClientCapabilities+`":{}`) }
	notification := func(method, params string) {
		out.method, out.id, out.silent = method, "", true
		out.raw = `{"jsonrpc":"2.0","method":"` + method + `","params":{` + join(params, `"pad":"`+pad+`"`, metaOf(meta)) + `}}`
	}
	switch c {
	case call:
		tool("echo", "")
	case fails:
		tool("fails", "")
	case errs:
		tool("errs", "")
	case panics:
		tool("panics", "")
	case holds:
		out.held = true
		tool("holds", "")
	case holdsAndFails:
		out.held = true
		tool("holds_and_fails", "")
	case promptHolds:
		out.held = true
		get("holds")
	case notifies:
		tool("notifies", `"n":`+strconv.Itoa(1+m.IntN(3)))
	case asks:
		what := []string{"sampling", "elicitation", "roots"}[m.IntN(3)]
		out.asks = []string{accepted, refused, givenUp}[m.IntN(3)]
		if what == "roots" && out.asks == givenUp {
			out.asks = accepted // nothing tells which call asks
		}
		tool("asks", `"what":"`+what+`","how":"`+out.asks+`"`)
	case unspeakable:
		out.silenced = true
		tool("unspeakable", "")
	case prompt:
		get("greets")
	case promptErrs:
		get("errs")
	case promptPanics:
		get("panics")
	case read:
		out.target = []string{"note://one", "page://" + strings.Repeat("u", m.around(16, 500)) + out.nonce}[m.IntN(2)]
		do("resources/read", `"uri":"`+out.target+`"`)
		if len(out.target) > 400 {
			out.target = anything
		}
	case list:
		do([]string{"tools/list", "prompts/list", "resources/list", "resources/templates/list"}[m.IntN(4)], "")
	case ping:
		do("ping", "")
	case modernCall:
		modern(mcp.ProtocolVersion20260728)
		capable()
		tool("echo", "")
	case modernPing: // that version has none
		modern(mcp.ProtocolVersion20260728)
		capable()
		do([]string{"ping", "initialize", "server/discover"}[m.IntN(3)], "")
	case unknownMethod:
		do([]string{"evil", "tools/evil", "tools/Call", " ", strings.Repeat("m", m.around(128, 1024))}[m.IntN(5)], "")
		if len(out.method) > 100 {
			out.method = anything
		}
	case unknownTool:
		name := "nope-" + out.nonce + strings.Repeat("t", m.around(0, 128))
		tool(name, "")
		out.handled = false
		if len(name) > 100 {
			out.target = anything
		}
	case unknownPrompt:
		get("nope-" + out.nonce)
		out.handled = false
	case unknownResource:
		out.target = "none://" + out.nonce
		do("resources/read", `"uri":"`+out.target+`"`)
	case badParams:
		out.target = anything
		if m.IntN(2) == 0 {
			do("tools/call", `"name":"echo","task":"`+out.nonce+`"`)
		} else {
			do("prompts/get", `"name":"greets","arguments":[1]`)
		}
	case oddMeta:
		out.target, out.trace, meta = anything, "", ""
		pad += `","_meta":` + []string{"5", "[]", `"x"`, "true", `{"io.modelcontextprotocol/protocolVersion":5}`, `{"traceparent":{}}`}[m.IntN(6)] + `,"q":"`
		do([]string{"initialize", "completion/complete", "resources/subscribe", "tools/call", "tools/list", "ping"}[m.IntN(6)], `"name":"echo","uri":"note://one"`)
	case oddMethod: // which mcp-go cannot decode
		out.id, out.method, out.target, out.trace = anything, anything, anything, anything
		out.raw = `{"jsonrpc":"2.0","id":` + it.raw + `,"method":` + []string{"5", "{}", `["tools/call"]`, "true"}[m.IntN(4)] + `,"params":{"pad":"` + pad + `"}}`
	case wrongVersion:
		out.method = "ping"
		out.raw = strings.Replace(request("ping", ""), `"jsonrpc":"2.0"`, `"jsonrpc":"`+[]string{"1.0", "2", "", "2.00"}[m.IntN(4)]+`"`, 1)
	case unsupported:
		modern([]string{"2999-01-01", "2999-12-31" + out.nonce, "zzz", "2026-07-29"}[m.IntN(4)])
		if m.IntN(2) == 0 {
			capable()
		}
		m.ordinary(do, out)
	case noCapabilities:
		modern(mcp.ProtocolVersion20260728)
		if m.IntN(3) == 0 {
			meta = join(meta, `"`+mcp.MetaKeyClientCapabilities+`":7`)
		}
		m.ordinary(do, out)
	case turnedAway:
		meta = join(meta, `"y":"`+refusal+`"`)
		m.ordinary(do, out)
	case batch:
		out.method, out.id, out.trace = "", "", ""
		out.raw = `[{"jsonrpc":"2.0","id":` + it.raw + `,"method":"tools/list","params":{"pad":"` + pad + `"}}]`
	case garbage:
		out.method, out.id, out.target, out.trace = anything, anything, anything, anything
		out.raw = []string{"garbage", `"`, "{", `{"jsonrpc":"2.0","id":`, "\xff\xfe", `{"jsonrpc":"2.0","id":1e999,"method":"ping"}`, "nul", "\x00"}[m.IntN(8)] + pad
	case empty:
		out.method, out.id, out.trace = anything, anything, anything
		out.raw = []string{"", " ", "\t", "\r"}[m.IntN(4)]
	case told:
		notification([]string{"notifications/initialized", "notifications/roots/list_changed", "notifications/progress"}[m.IntN(3)], "")
	case toldUnknown:
		notification([]string{"notifications/evil", "evil", "tools/call", "initialize"}[m.IntN(4)], `"name":"echo"`)
		out.target = anything
	case toldBadly: // whose params are no object
		notification("notifications/progress", "")
		out.silent, out.trace, out.id = false, "", anything
		out.raw = `{"jsonrpc":"2.0","method":"notifications/progress","params":["` + pad + `"]}`
	case canceled:
		other := m.id()
		if m.IntN(2) == 0 {
			other = id{raw: []string{`"nobody"`, "null", "{}", "-77", `"` + strings.Repeat("c", m.around(64, 128)) + `"`}[m.IntN(5)]}
		}
		notification("notifications/cancelled", `"requestId":`+other.raw+`,"reason":"`+secret+`"`)
	case unwantedResult:
		out.method, out.silent, out.trace = "", true, ""
		out.raw = `{"jsonrpc":"2.0","id":` + m.foreign(&out.id) + `,"result":` + []string{"{}", `{"x":"` + pad + `"}`, "[]", "0", `"` + secret + `"`}[m.IntN(5)] + `}`
	case unwantedError:
		out.method, out.trace = "", ""
		out.raw = `{"jsonrpc":"2.0","id":` + m.foreign(&out.id) + `,"error":{"code":` + []string{"-32000", "0", "-32603", "123456789", "1.5", `"x"`}[m.IntN(6)] +
			`,"message":"no ` + pad + `"}}`
	case chimera: // a request that has a result is not answered
		out.silent = true
		do("tools/call", `"name":"echo"`)
		out.target = "echo"
		out.raw = strings.Replace(out.raw, `"jsonrpc":"2.0"`, `"jsonrpc":"2.0","result":{}`, 1)
		// It might be the answer to a request of the server's, so it is not called so.
		out.raw = strings.Replace(out.raw, `"id":`+it.raw, `"id":`+m.foreign(&out.id), 1)
	}
	if m.IntN(30) == 0 && c != garbage && c != empty {
		out.raw = []string{" ", "\t", ""}[m.IntN(3)] + out.raw + []string{" ", "\r", " \r", ""}[m.IntN(4)]
	}
	if out.wild = len(out.raw) > 1<<20; out.wild {
		out.trace = anything
	}
	return out
}

// ordinary makes a request that would be answered, were it not for what else is
// wrong with it.
func (m *maker) ordinary(do func(method, params string), out *message) {
	switch m.IntN(5) {
	case 0:
		out.target = "echo"
		do("tools/call", `"name":"echo","arguments":{"nonce":"`+out.nonce+`"}`)
	case 1:
		out.target = "holds"
		do("tools/call", `"name":"holds","arguments":{"nonce":"`+out.nonce+`"}`)
	case 2:
		do("tools/list", "")
	case 3:
		out.target = "greets"
		do("prompts/get", `"name":"greets","arguments":{"nonce":"`+out.nonce+`"}`)
	case 4:
		do("ping", "")
	}
}

// foreign is the id of an answer to nothing: the server's own requests have small
// numbers.
func (m *maker) foreign(text *string) string {
	n := strconv.Itoa(5_000_000 + m.IntN(3))
	*text = n
	return n
}

// spell writes a method with or without escapes.
func (m *maker) spell(method string) string {
	if method != "" && m.IntN(20) == 0 {
		return fmt.Sprintf(`"\u%04x%s"`, method[0], method[1:])
	}
	return `"` + method + `"`
}

// around is a number about one of the limits.
func (m *maker) around(limits ...int) int {
	return max(0, limits[m.IntN(len(limits))]-2+m.IntN(5))
}

// limit is a size about one of the limits of messages.
func (m *maker) limit() int {
	switch m.IntN(12) {
	case 0:
		return 1<<20 - 400 + m.IntN(500)
	case 1:
		return 2 << 20
	}
	return m.around(1<<10, 4<<10, 16<<10, 64<<10)
}

func join(parts ...string) string {
	var kept []string
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, ",")
}

func metaOf(members string) string {
	if members == "" {
		return ""
	}
	return `"_meta":{` + members + `}`
}

// any makes a message of a class that is not left out.
func (m *maker) any() *message {
	for {
		c := class(m.IntN(int(classes)))
		if !m.without[c] && (*leftOut == "" || !slices.Contains(strings.Split(*leftOut, ","), c.String())) {
			return m.message(c)
		}
	}
}
