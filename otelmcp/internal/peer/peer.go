// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package peer tells where an HTTP request comes from, without believing what
// anybody can write into a header.
package peer

import (
	"net/http"
	"net/netip"
	"strings"
)

// maxHops bounds how many elements of X-Forwarded-For are looked at.
const maxHops = 64

// Address is where a request comes from. Fields that are zero are not known.
type Address struct {
	Peer, Client         netip.Addr
	PeerPort, ClientPort uint16
}

// Resolver tells where requests come from. It is safe for concurrent use.
type Resolver struct{ trusted []netip.Prefix }

// NewResolver returns a Resolver that believes the peers in trusted. Prefixes
// that are not valid are left out.
func NewResolver(trusted []netip.Prefix) *Resolver {
	r := &Resolver{}
	for _, p := range trusted {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if p = p.Masked(); p.IsValid() {
			r.trusted = append(r.trusted, p)
		}
	}
	return r
}

// Resolve returns where req comes from. The client is the peer, unless the peer
// is trusted: then X-Forwarded-For is followed from the right, past trusted
// addresses, to the first that is not, or to the last that can be read. What
// stands to the left of that, the client may have written.
//
// The header Forwarded (RFC 7239) is not read: a proxy that manages one of the
// two passes on the other as the client sent it.
func (r *Resolver) Resolve(req *http.Request) Address {
	var a Address
	a.Peer, a.PeerPort, _ = parse(req.RemoteAddr)
	a.Client, a.ClientPort = a.Peer, a.PeerPort
	if !r.trusts(a.Peer) {
		return a
	}
	lines := req.Header["X-Forwarded-For"]
	for hops := 0; len(lines) > 0; {
		rest := lines[len(lines)-1]
		lines = lines[:len(lines)-1]
		for more := true; more; hops++ {
			if hops >= maxHops {
				return a
			}
			element := rest
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				element, rest = rest[comma+1:], rest[:comma]
			} else {
				more = false
			}
			ip, port, ok := parse(strings.Trim(element, " \t"))
			if !ok {
				return a
			}
			a.Client, a.ClientPort = ip, port
			if !r.trusts(ip) {
				return a
			}
		}
	}
	return a
}

func (r *Resolver) trusts(ip netip.Addr) bool {
	for _, p := range r.trusted {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// maxElement is longer than any address with its port.
const maxElement = 64

// parse reads an address, IPv6 possibly in brackets, and possibly a port. What
// cannot be read is all zero. An error of netip's costs an allocation, so the
// form of s says how to read it, and what is plainly no address, such as
// "unknown" or the "@" of a Unix socket, is not tried.
func parse(s string) (ip netip.Addr, port uint16, ok bool) {
	if s == "" || len(s) > maxElement || strings.IndexByte("0123456789abcdefABCDEF:[", s[0]) < 0 {
		return ip, 0, false
	}
	var err error
	bracket := s[0] == '['
	switch {
	case bracket && s[len(s)-1] == ']':
		// Only IPv6 stands in brackets; ParseAddrPort sees to it below.
		ip, err = netip.ParseAddr(s[1 : len(s)-1])
		ok = err == nil && ip.Is6()
	case bracket || strings.Count(s, ":") == 1:
		var p netip.AddrPort
		p, err = netip.ParseAddrPort(s)
		ip, port, ok = p.Addr(), p.Port(), err == nil
	default:
		ip, err = netip.ParseAddr(s)
		ok = err == nil
	}
	if !ok {
		return netip.Addr{}, 0, false
	}
	return ip.Unmap().WithZone(""), port, true
}
