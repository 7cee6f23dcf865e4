// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package peer

// This file tests where a request is said to come from: what a client writes into headers to look like somebody
// else, what proxies really send, and that neither costs more than it should.

import (
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// proxies are the trusted ones in these tests. The third is an IPv4 range in IPv6 clothes.
var proxies = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("2001:db8:aa::/48"),
	netip.MustParsePrefix("::ffff:172.16.0.0/108"),
	netip.MustParsePrefix("fe80::/10"),
}

func request(remote string, lines ...string) *http.Request {
	req := &http.Request{RemoteAddr: remote, Header: http.Header{}}
	for _, line := range lines {
		req.Header.Add("X-Forwarded-For", line)
	}
	return req
}

// ap reads "1.2.3.4", "1.2.3.4:80", "::1", "[::1]:80" and "" for what is not known.
func ap(t *testing.T, s string) (ip netip.Addr, port uint16) {
	t.Helper()
	if s == "" {
		return ip, 0
	}
	if p, err := netip.ParseAddrPort(s); err == nil {
		return p.Addr(), p.Port()
	}
	ip, err := netip.ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return ip, 0
}

func TestResolve(t *testing.T) {
	const proxy = "10.0.0.1:4000"
	hop := func(n int) string { return strings.TrimSuffix(strings.Repeat("10.1.1.1, ", n), ", ") }
	for _, tc := range []struct {
		name, remote string
		lines        []string
		peer, client string // the client is the peer when it is ""
	}{
		// The peer.
		{name: "IPv4", remote: "192.0.2.1:80", peer: "192.0.2.1:80"},
		{name: "IPv6", remote: "[2001:db8::1]:80", peer: "[2001:db8::1]:80"},
		{name: "v4-mapped peer", remote: "[::ffff:192.0.2.1]:80", peer: "192.0.2.1:80"},
		{name: "peer with zone", remote: "[2001:db8::1%eth0]:80", peer: "[2001:db8::1]:80"},
		{name: "v4-mapped peer with zone", remote: "[::ffff:192.0.2.1%eth0]:80", peer: "192.0.2.1:80"},
		{name: "no remote address"},
		{name: "unix socket", remote: "@"},
		{name: "unix socket with header", remote: "@", lines: []string{"192.0.2.9"}},
		{name: "unix socket with a path", remote: "/run/x.sock"},
		{name: "host name", remote: "localhost:80"},
		{name: "port out of range", remote: "192.0.2.1:65536"},
		{name: "named port", remote: "192.0.2.1:http"},
		{name: "no port after the colon", remote: "192.0.2.1:"},
		{name: "IPv4 in brackets", remote: "[192.0.2.1]:80"},
		{name: "pipe", remote: "pipe"},

		// A peer that is not trusted says nothing that is believed.
		{name: "untrusted peer", remote: "192.0.2.1:80", lines: []string{"198.51.100.7"}, peer: "192.0.2.1:80"},
		{name: "untrusted peer names a proxy", remote: "192.0.2.1:80", lines: []string{"10.0.0.1"}, peer: "192.0.2.1:80"},
		{name: "untrusted private peer", remote: "192.168.0.1:80", lines: []string{"198.51.100.7"}, peer: "192.168.0.1:80"},
		{name: "just outside the range", remote: "11.0.0.0:80", lines: []string{"198.51.100.7"}, peer: "11.0.0.0:80"},
		{name: "loopback is not trusted by itself", remote: "127.0.0.1:80", lines: []string{"198.51.100.7"}, peer: "127.0.0.1:80"},

		// A trusted peer.
		{name: "no header", remote: proxy, peer: proxy},
		{name: "one client", remote: proxy, lines: []string{"198.51.100.7"}, peer: proxy, client: "198.51.100.7"},
		{name: "v4-mapped proxy", remote: "[::ffff:10.0.0.1]:4000", lines: []string{"198.51.100.7"}, peer: proxy, client: "198.51.100.7"},
		{name: "v4-mapped range", remote: "172.31.255.255:1", lines: []string{"198.51.100.7"}, peer: "172.31.255.255:1", client: "198.51.100.7"},
		{name: "outside the v4-mapped range", remote: "172.32.0.0:1", lines: []string{"198.51.100.7"}, peer: "172.32.0.0:1"},
		{name: "IPv6 proxy", remote: "[2001:db8:aa::1]:1", lines: []string{"2001:db8::5"}, peer: "[2001:db8:aa::1]:1", client: "2001:db8::5"},
		{name: "link-local proxy with zone", remote: "[fe80::1%eth0]:1", lines: []string{"198.51.100.7"}, peer: "[fe80::1]:1", client: "198.51.100.7"},
		{name: "chain of proxies", remote: proxy, lines: []string{"198.51.100.7, 10.0.0.3,10.0.0.2"}, peer: proxy, client: "198.51.100.7"},
		{name: "blanks and tabs", remote: proxy, lines: []string{" \t198.51.100.7 \t,\t10.0.0.2 "}, peer: proxy, client: "198.51.100.7"},
		{name: "all trusted", remote: proxy, lines: []string{"10.0.0.9, 10.0.0.3, 10.0.0.2"}, peer: proxy, client: "10.0.0.9"},

		// Spoofing.
		{name: "client prepends an address", remote: proxy, lines: []string{"203.0.113.1, 198.51.100.7"}, peer: proxy, client: "198.51.100.7"},
		{name: "client prepends a proxy", remote: proxy, lines: []string{"10.0.0.5, 198.51.100.7"}, peer: proxy, client: "198.51.100.7"},
		{name: "client prepends a private range", remote: proxy, lines: []string{"127.0.0.1, 192.168.1.1, 198.51.100.7, 10.0.0.2"}, peer: proxy, client: "198.51.100.7"},
		{name: "private range is not trusted by itself", remote: proxy, lines: []string{"203.0.113.1, 192.168.1.1"}, peer: proxy, client: "192.168.1.1"},
		{name: "client prepends a line", remote: proxy, lines: []string{"203.0.113.1", "198.51.100.7"}, peer: proxy, client: "198.51.100.7"},
		{name: "v4-mapped proxy is skipped", remote: proxy, lines: []string{"203.0.113.1, 198.51.100.7, ::ffff:10.0.0.2"}, peer: proxy, client: "198.51.100.7"},
		{name: "v4-mapped client", remote: proxy, lines: []string{"10.0.0.5, ::ffff:198.51.100.7"}, peer: proxy, client: "198.51.100.7"},
		{name: "zone does not hide a proxy", remote: proxy, lines: []string{"198.51.100.7, fe80::2%eth1"}, peer: proxy, client: "198.51.100.7"},
		{name: "client with zone", remote: proxy, lines: []string{"10.0.0.5, 2001:db8::5%25en0"}, peer: proxy, client: "2001:db8::5"},

		// Lines are one list.
		{name: "many lines", remote: proxy, lines: []string{"203.0.113.1, 198.51.100.7", "10.0.0.4", "10.0.0.3, 10.0.0.2"}, peer: proxy, client: "198.51.100.7"},
		{name: "all trusted over many lines", remote: proxy, lines: []string{"10.0.0.9", "10.0.0.3"}, peer: proxy, client: "10.0.0.9"},
		{name: "empty line", remote: proxy, lines: []string{"198.51.100.7", "", "10.0.0.2"}, peer: proxy, client: "10.0.0.2"},

		// What cannot be read ends the walk at the nearest good address.
		{name: "empty header", remote: proxy, lines: []string{""}, peer: proxy},
		{name: "blank header", remote: proxy, lines: []string{" \t"}, peer: proxy},
		{name: "only commas", remote: proxy, lines: []string{",,,"}, peer: proxy},
		{name: "trailing comma", remote: proxy, lines: []string{"198.51.100.7,"}, peer: proxy},
		{name: "leading comma", remote: proxy, lines: []string{",10.0.0.2"}, peer: proxy, client: "10.0.0.2"},
		{name: "empty element", remote: proxy, lines: []string{"198.51.100.7, , 10.0.0.2"}, peer: proxy, client: "10.0.0.2"},
		{name: "unknown", remote: proxy, lines: []string{"203.0.113.1, unknown, 10.0.0.2"}, peer: proxy, client: "10.0.0.2"},
		{name: "hidden", remote: proxy, lines: []string{"203.0.113.1, _hidden"}, peer: proxy},
		{name: "host name in the header", remote: proxy, lines: []string{"203.0.113.1, localhost"}, peer: proxy},
		{name: "quoted", remote: proxy, lines: []string{`203.0.113.1, "198.51.100.7"`}, peer: proxy},
		{name: "RFC 7239 syntax", remote: proxy, lines: []string{"203.0.113.1, for=198.51.100.7"}, peer: proxy},
		{name: "leading zero", remote: proxy, lines: []string{"203.0.113.1, 198.051.100.7"}, peer: proxy},
		{name: "short IPv4", remote: proxy, lines: []string{"203.0.113.1, 127.1"}, peer: proxy},
		{name: "number", remote: proxy, lines: []string{"203.0.113.1, 2130706433"}, peer: proxy},
		{name: "prefix", remote: proxy, lines: []string{"203.0.113.1, 198.51.100.0/24"}, peer: proxy},
		{name: "IPv4 with zone", remote: proxy, lines: []string{"203.0.113.1, 198.51.100.7%eth0"}, peer: proxy},
		{name: "empty zone", remote: proxy, lines: []string{"203.0.113.1, 2001:db8::5%"}, peer: proxy},
		{name: "no-break space", remote: proxy, lines: []string{"203.0.113.1,\u00a0198.51.100.7"}, peer: proxy},
		{name: "garbage left of the client", remote: proxy, lines: []string{"%%%, 198.51.100.7"}, peer: proxy, client: "198.51.100.7"},
		{name: "too long for an address", remote: proxy, lines: []string{"203.0.113.1, 2001:db8::5%" + strings.Repeat("z", maxElement)}, peer: proxy},

		// Ports and brackets.
		{name: "IPv4 with port", remote: proxy, lines: []string{"198.51.100.7:5000"}, peer: proxy, client: "198.51.100.7:5000"},
		{name: "IPv6 with port", remote: proxy, lines: []string{"[2001:db8::5]:5000"}, peer: proxy, client: "[2001:db8::5]:5000"},
		{name: "IPv6 in brackets", remote: proxy, lines: []string{"[2001:db8::5]"}, peer: proxy, client: "2001:db8::5"},
		{name: "v4-mapped in brackets", remote: proxy, lines: []string{"[::ffff:198.51.100.7]"}, peer: proxy, client: "198.51.100.7"},
		{name: "v4-mapped with port", remote: proxy, lines: []string{"[::ffff:198.51.100.7]:5000"}, peer: proxy, client: "198.51.100.7:5000"},
		{name: "zone and port", remote: proxy, lines: []string{"[2001:db8::5%en0]:5000"}, peer: proxy, client: "[2001:db8::5]:5000"},
		{name: "port of a proxy is not the client's", remote: proxy, lines: []string{"198.51.100.7, 10.0.0.2:5000"}, peer: proxy, client: "198.51.100.7"},
		{name: "all trusted with port", remote: proxy, lines: []string{"10.0.0.3:5000, 10.0.0.2:6000"}, peer: proxy, client: "10.0.0.3:5000"},
		{name: "stopped at one with port", remote: proxy, lines: []string{"unknown, 10.0.0.2:6000"}, peer: proxy, client: "10.0.0.2:6000"},
		{name: "IPv4 in brackets in the header", remote: proxy, lines: []string{"203.0.113.1, [198.51.100.7]"}, peer: proxy},
		{name: "IPv4 in brackets with port", remote: proxy, lines: []string{"203.0.113.1, [198.51.100.7]:80"}, peer: proxy},
		{name: "empty port", remote: proxy, lines: []string{"203.0.113.1, 198.51.100.7:"}, peer: proxy},
		{name: "large port", remote: proxy, lines: []string{"203.0.113.1, 198.51.100.7:65536"}, peer: proxy},
		{name: "signed port", remote: proxy, lines: []string{"203.0.113.1, 198.51.100.7:+80"}, peer: proxy},
		{name: "two ports", remote: proxy, lines: []string{"203.0.113.1, 198.51.100.7:80:80"}, peer: proxy},
		{name: "bracket left open", remote: proxy, lines: []string{"203.0.113.1, [2001:db8::5"}, peer: proxy},
		{name: "bracket never opened", remote: proxy, lines: []string{"203.0.113.1, 2001:db8::5]"}, peer: proxy},
		{name: "brackets twice", remote: proxy, lines: []string{"203.0.113.1, [[2001:db8::5]]"}, peer: proxy},
		{name: "empty brackets", remote: proxy, lines: []string{"203.0.113.1, []"}, peer: proxy},
		{name: "text after brackets", remote: proxy, lines: []string{"203.0.113.1, [2001:db8::5]x"}, peer: proxy},

		// The bound.
		{name: "the last element within the bound", remote: proxy, lines: []string{"198.51.100.7, " + hop(maxHops-1)}, peer: proxy, client: "198.51.100.7"},
		{name: "the first beyond it", remote: proxy, lines: []string{"198.51.100.7, " + hop(maxHops)}, peer: proxy, client: "10.1.1.1"},
		{name: "over many lines", remote: proxy, lines: []string{"198.51.100.7", hop(maxHops / 2), hop(maxHops / 2)}, peer: proxy, client: "10.1.1.1"},
		{name: "1 MB of proxies", remote: proxy, lines: []string{"198.51.100.7, " + hop(1<<20/10)}, peer: proxy, client: "10.1.1.1"},
		{name: "1 MB left of the client", remote: proxy, lines: []string{strings.Repeat("203.0.113.1,", 1<<20/12) + "198.51.100.7"}, peer: proxy, client: "198.51.100.7"},
		{name: "1 MB of commas", remote: proxy, lines: []string{strings.Repeat(",", 1<<20)}, peer: proxy},
		{name: "1 MB in one element", remote: proxy, lines: []string{strings.Repeat("1", 1<<20) + ", 10.0.0.2"}, peer: proxy, client: "10.0.0.2"},
		{name: "1 MB of blanks", remote: proxy, lines: []string{"203.0.113.1," + strings.Repeat(" ", 1<<20)}, peer: proxy},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var want Address
			want.Peer, want.PeerPort = ap(t, tc.peer)
			want.Client, want.ClientPort = want.Peer, want.PeerPort
			if tc.client != "" {
				want.Client, want.ClientPort = ap(t, tc.client)
			}
			req := request(tc.remote, tc.lines...)
			before := slices.Clone(req.Header["X-Forwarded-For"])
			if got := NewResolver(proxies).Resolve(req); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if !slices.Equal(before, req.Header["X-Forwarded-For"]) {
				t.Error("the header was changed")
			}

			// Who trusts nobody sees the peer, whatever the header says.
			want.Client, want.ClientPort = want.Peer, want.PeerPort
			if got := NewResolver(nil).Resolve(req); got != want {
				t.Errorf("none trusted: got %+v, want %+v", got, want)
			}
		})
	}
}

// Middleware that puts a bare address in the place of RemoteAddr does not make the peer unknown.
func TestRemoteAddrWithoutPort(t *testing.T) {
	for remote, want := range map[string]string{"192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::1", "::ffff:192.0.2.1": "192.0.2.1"} {
		ip := netip.MustParseAddr(want)
		if got := NewResolver(nil).Resolve(request(remote)); got != (Address{Peer: ip, Client: ip}) {
			t.Errorf("%s: got %+v", remote, got)
		}
	}
}

// Only X-Forwarded-For is read. A proxy that manages it passes on the others as the client sent them.
func TestOtherHeaders(t *testing.T) {
	req := request("10.0.0.1:4000", "198.51.100.7")
	for _, name := range []string{"Forwarded", "X-Real-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "X-Client-Ip", "X-Forwarded", "Forwarded-For"} {
		req.Header.Set(name, "203.0.113.1")
	}
	req.Header.Set("Forwarded", "for=203.0.113.1;by=10.0.0.1")
	r := NewResolver(proxies)
	if got := r.Resolve(req).Client.String(); got != "198.51.100.7" {
		t.Errorf("got %s", got)
	}
	req.Header.Del("X-Forwarded-For")
	if got := r.Resolve(req); got.Client != got.Peer || got.ClientPort != 4000 {
		t.Errorf("without X-Forwarded-For: got %+v", got)
	}
	req.Header = nil
	if got := r.Resolve(req); got.Client != got.Peer {
		t.Errorf("without headers: got %+v", got)
	}
}

func TestNewResolver(t *testing.T) {
	given := []netip.Prefix{
		{},
		netip.PrefixFrom(netip.MustParseAddr("192.0.2.1"), 33),
		netip.PrefixFrom(netip.MustParseAddr("192.0.2.1"), -1),
		netip.PrefixFrom(netip.Addr{}, 8),
		netip.PrefixFrom(netip.MustParseAddr("::ffff:192.0.2.1"), 129),
		netip.MustParsePrefix("10.9.8.7/8"),
		netip.MustParsePrefix("::ffff:172.16.5.5/108"),
		netip.MustParsePrefix("2001:db8::1/32"),
		netip.PrefixFrom(netip.MustParseAddr("fe80::1%eth0"), 10),
	}
	want := []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("2001:db8::/32"),
		netip.MustParsePrefix("fe80::/10"),
	}
	before := slices.Clone(given)
	r := NewResolver(given)
	if !slices.Equal(r.trusted, want) {
		t.Errorf("got %v, want %v", r.trusted, want)
	}
	if !slices.Equal(given, before) {
		t.Error("the caller's slice was changed")
	}
	for i := range given {
		given[i] = netip.MustParsePrefix("192.0.2.0/24")
	}
	if !slices.Equal(r.trusted, want) {
		t.Error("the caller's slice is kept")
	}
	// Everything in IPv6 is not everything in IPv4.
	if got := NewResolver([]netip.Prefix{netip.MustParsePrefix("::/0")}).Resolve(request("192.0.2.1:1", "198.51.100.7")); got.Client != got.Peer {
		t.Errorf("::/0 trusts IPv4: got %+v", got)
	}
}

func TestConcurrent(t *testing.T) {
	r := NewResolver(proxies)
	req := request("10.0.0.1:4000", "203.0.113.1, 198.51.100.7", "10.0.0.2")
	want := r.Resolve(req)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if got := r.Resolve(req); got != want {
					t.Errorf("got %+v, want %+v", got, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

var sink Address

// Without trusted proxies every request pays for what is done here, so it is nothing. With them a header of any
// length costs no more than its last elements.
func TestNoAllocations(t *testing.T) {
	long := strings.Repeat("203.0.113.1, ", 1<<20/13)
	for _, tc := range []struct {
		name    string
		trusted []netip.Prefix
		remote  string
		line    string
	}{
		{"IPv4", nil, "192.0.2.1:80", "203.0.113.1"},
		{"IPv6", nil, "[2001:db8::1]:80", "203.0.113.1"},
		{"v4-mapped", nil, "[::ffff:192.0.2.1]:80", "203.0.113.1"},
		{"zone", nil, "[fe80::1%eth0]:80", "203.0.113.1"},
		{"bare", nil, "192.0.2.1", "203.0.113.1"},
		{"none", nil, "", "203.0.113.1"},
		{"unix socket", nil, "@", "203.0.113.1"},
		{"1 MB, none trusted", nil, "10.0.0.1:4000", long},
		{"1 MB, untrusted peer", proxies, "192.0.2.1:80", long},
		{"1 MB, client", proxies, "10.0.0.1:4000", long + "198.51.100.7, 10.0.0.2, [2001:db8:aa::1]:80"},
		{"1 MB, hops", proxies, "10.0.0.1:4000", strings.Repeat("10.0.0.1, ", 1<<20/10) + "10.0.0.2"},
		{"1 MB, unknown", proxies, "10.0.0.1:4000", long + "unknown"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, req := NewResolver(tc.trusted), request(tc.remote, tc.line)
			if n := testing.AllocsPerRun(100, func() { sink = r.Resolve(req) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func BenchmarkResolve(b *testing.B) {
	for _, bc := range []struct {
		name    string
		trusted []netip.Prefix
		line    string
	}{
		{"none trusted", nil, "198.51.100.7"},
		{"one proxy", proxies, "198.51.100.7, 10.0.0.2"},
		{"1 MB of proxies", proxies, strings.Repeat("10.0.0.1, ", 1<<20/10) + "10.0.0.2"},
		{"1 MB in one element", proxies, strings.Repeat("1", 1<<20)},
		{"1 MB of blanks", proxies, "198.51.100.7," + strings.Repeat(" ", 1<<20)},
	} {
		b.Run(bc.name, func(b *testing.B) {
			r, req := NewResolver(bc.trusted), request("10.0.0.1:4000", bc.line)
			b.ReportAllocs()
			for b.Loop() {
				sink = r.Resolve(req)
			}
		})
	}
}

// trusts is what trusting proxies means, without a Resolver.
func trusts(ip netip.Addr) bool {
	as16 := netip.AddrFrom16(ip.As16())
	return ip.IsValid() && slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(ip) || p.Contains(as16) })
}

// written reports whether one of the elements of a list is ip with port, or without one when port is 0.
func written(lines []string, ip netip.Addr, port uint16) bool {
	for element := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		element = strings.Trim(element, " \t")
		texts := []string{element}
		if i := strings.LastIndexByte(element, ':'); i >= 0 {
			if n, err := strconv.ParseUint(element[i+1:], 10, 16); err == nil && n == uint64(port) {
				texts = append(texts, element[:i])
			}
		}
		for n, text := range texts {
			if n == 0 && port != 0 {
				continue
			}
			if in, ok := strings.CutPrefix(text, "["); ok {
				text = strings.TrimSuffix(in, "]")
			}
			text, _, _ = strings.Cut(text, "%")
			if got, err := netip.ParseAddr(text); err == nil && got.Unmap() == ip {
				return true
			}
		}
	}
	return false
}

func FuzzResolve(f *testing.F) {
	for _, remote := range []string{"10.0.0.1:4000", "[::ffff:172.16.0.1]:1", "[fe80::1%eth0]:1", "192.0.2.1:80", "10.0.0.1", "@", ""} {
		for _, line := range []string{
			"", ",", "198.51.100.7", "203.0.113.1, 198.51.100.7:80, 10.0.0.2", "[2001:db8::5%en0]:80,[fe80::1]", "unknown, ::ffff:10.0.0.2",
			"_hidden,[10.0.0.1]", "10.0.0.3:1,\t10.0.0.2 ,", "for=1.2.3.4;by=10.0.0.1", strings.Repeat("10.0.0.1,", maxHops+1) + "10.0.0.2",
		} {
			f.Add(remote, line, "10.0.0.2")
			f.Add(remote, "203.0.113.1", line)
		}
	}
	nobody, some := NewResolver(nil), NewResolver(proxies)
	f.Fuzz(func(t *testing.T, remote, first, second string) {
		lines := []string{first, second}
		req := request(remote, lines...)
		a := some.Resolve(req)
		for _, ip := range []netip.Addr{a.Peer, a.Client} {
			if ip.Is4In6() || ip.Zone() != "" {
				t.Fatalf("%+v is not in its plain form", a)
			}
		}

		peer := Address{Peer: a.Peer, PeerPort: a.PeerPort, Client: a.Peer, ClientPort: a.PeerPort}
		if got := nobody.Resolve(req); got != peer {
			t.Fatalf("none trusted: got %+v, want %+v", got, peer)
		}
		if !trusts(a.Peer) {
			if a != peer {
				t.Fatalf("untrusted peer: got %+v, want %+v", a, peer)
			}
			// A peer that cannot be read may cost an error of netip's, the header nothing.
			if n := testing.AllocsPerRun(10, func() { sink = some.Resolve(req) }); a.Peer.IsValid() && n != 0 {
				t.Fatalf("untrusted peer: %v allocations", n)
			}
		}
		if a != peer && !written(lines, a.Client, a.ClientPort) {
			t.Fatalf("%+v is neither the peer nor in %q", a, lines)
		}

		// What stands to the left of the client does not matter.
		if a.Client.IsValid() && !trusts(a.Client) {
			if got := some.Resolve(request(remote, "203.0.113.99", "203.0.113.98,"+first, second)); got != a {
				t.Fatalf("prepending made %+v of %+v", got, a)
			}
		}
		// What cannot be read on the right leaves the peer.
		if got := some.Resolve(request(remote, first, second, "unknown")); got != peer {
			t.Fatalf("unreadable: got %+v, want %+v", got, peer)
		}
	})
}
