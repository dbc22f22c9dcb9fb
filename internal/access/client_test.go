package access

import (
	"net/netip"
	"strings"
	"testing"
)

func TestClient(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}
	for _, c := range []struct {
		name, peer string
		xff        []string
		want       string
	}{
		{"no proxy", "192.0.2.1:1", nil, "192.0.2.1"},
		{"a stranger's header", "192.0.2.1:1", []string{"198.51.100.1"}, "192.0.2.1"},
		{"a proxy's", "10.0.0.1:1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"what the client wrote stands left", "10.0.0.1:1", []string{"127.0.0.1, 198.51.100.1"}, "198.51.100.1"},
		{"two proxies", "10.0.0.1:1", []string{"203.0.113.9, 198.51.100.1, 10.9.9.9"}, "198.51.100.1"},
		{"two lines", "10.0.0.1:1", []string{"203.0.113.9", "198.51.100.1,10.9.9.9"}, "198.51.100.1"},
		{"only proxies", "10.0.0.1:1", []string{"10.2.2.2, 10.3.3.3"}, "10.2.2.2"},
		{"junk", "10.0.0.1:1", []string{"203.0.113.9, unknown"}, "10.0.0.1"},
		{"empty", "10.0.0.1:1", []string{""}, "10.0.0.1"},
		{"ports", "10.0.0.1:1", []string{"198.51.100.1:555"}, "198.51.100.1"},
		{"IPv6", "[2001:db8:1::1]:1", []string{"[2001:db8:2::1]:80"}, "2001:db8:2::1"},
		{"IPv6 without brackets", "10.0.0.1:1", []string{"2001:db8:2::1"}, "2001:db8:2::1"},
		{"mapped", "[::ffff:10.0.0.1]:1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"many hops", "10.0.0.1:1", []string{"198.51.100.1" + strings.Repeat(",10.0.0.2", 1000)}, "10.0.0.2"},
		{"no peer", "@", []string{"198.51.100.1"}, "invalid IP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := func(name string) []string {
				if name == "x-forwarded-for" {
					return c.xff
				}
				return nil
			}
			if got := client(c.peer, header, trusted).String(); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestTriesAreBounded(t *testing.T) {
	var tr tries
	now := netip.MustParseAddr("10.0.0.0")
	for range 3 * maxWrong {
		tr.note(tr.said.last, now)
		now = now.Next()
		if len(tr.by) > maxWrong {
			t.Fatal(len(tr.by))
		}
	}
	a, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::ffff:1")
	for range wrongBurst {
		tr.note(tr.said.last, a)
	}
	if wait, _ := tr.note(tr.said.last, b); wait == 0 {
		t.Error("a network of IPv6 has as many tries as it has addresses")
	}
}
