package access

import (
	"net/netip"
	"strings"
)

// maxHops is how many entries of X-Forwarded-For are looked at.
const maxHops = 32

// client is the address a call comes from: the peer's, or, where that is a trusted
// proxy, the right-most entry of X-Forwarded-For that is not one. What stands
// further left anybody may have written. The zero Addr is an unknown peer.
func client(peer string, header func(string) []string, trusted []netip.Prefix) netip.Addr {
	at := parseHop(peer)
	if !within(at, trusted) {
		return at
	}
	hops := 0
	lines := header("x-forwarded-for")
	for i := len(lines) - 1; i >= 0; i-- {
		for rest, more := lines[i], true; more; {
			var hop string
			if cut := strings.LastIndexByte(rest, ','); cut >= 0 {
				rest, hop = rest[:cut], rest[cut+1:]
			} else {
				hop, more = rest, false
			}
			next := parseHop(strings.TrimSpace(hop))
			if hops++; !next.IsValid() || hops > maxHops {
				return at // who wrote it is known, whom it meant is not
			}
			if at = next; !within(at, trusted) {
				return at
			}
		}
	}
	return at
}

// parseHop reads an address with or without a port; the zero Addr is none.
func parseHop(s string) netip.Addr {
	if p, err := netip.ParseAddrPort(s); err == nil {
		return p.Addr().Unmap().WithZone("")
	}
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

func within(a netip.Addr, nets []netip.Prefix) bool {
	for _, p := range nets {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
