package access

import (
	"net"
	"net/netip"
	"net/url"
	"strings"

	"lazyolo/yolo"
)

// forwarding are the headers by which proxies say that they passed a call on.
var forwarding = [...]string{
	"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
	"x-forwarded-port", "x-forwarded-prefix", "x-forwarded-scheme", "x-forwarded-server", "x-forwarded-ssl", "x-forwarded-by",
	"x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-access-token", "x-forwarded-client-cert",
	"x-forwarded-method", "x-forwarded-uri", "x-forwarded-path", "x-forwarded",
}

// local lets a call change something only if it comes from this machine, meant for
// it, and from no foreign web page: without keys nothing could say more. A proxy on
// this machine passes strangers on, so what was forwarded does not count.
func local(peer string, header func(string) []string) error {
	host := first(header, ":authority")
	switch {
	case !loopback(peer):
		return yolo.Errorf(yolo.Forbidden, "only callers on this machine may do this")
	case forwarded(header):
		return yolo.Errorf(yolo.Forbidden, "a forwarded call may not do this")
	case !localHost(host):
		return yolo.Errorf(yolo.Forbidden, "a call may do this only under a name of this machine (localhost, 127.0.0.1 or [::1])")
	case foreign(header, host):
		return yolo.Errorf(yolo.Forbidden, "a web page of another origin may not do this")
	}
	return nil
}

func first(header func(string) []string, name string) string {
	if v := header(name); len(v) > 0 {
		return v[0]
	}
	return ""
}

// loopback reports whether a peer's address is this machine's loopback.
func loopback(addr string) bool {
	p, err := netip.ParseAddrPort(addr)
	return err == nil && p.Addr().Unmap().IsLoopback()
}

// forwarded reports whether a proxy says that it passed the call on.
func forwarded(header func(string) []string) bool {
	for _, name := range forwarding {
		if len(header(name)) > 0 {
			return true
		}
	}
	return false
}

// localHost reports whether a host names this machine's loopback: a page whose
// name was made to lead here says another.
func localHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// foreign reports whether a web page of another origin sent the call. Browsers say
// so in Sec-Fetch-Site, older ones only in Origin; other programs say neither.
func foreign(header func(string) []string, host string) bool {
	if site := header("sec-fetch-site"); len(site) > 0 && site[0] != "" {
		return site[0] != "same-origin" && site[0] != "none"
	}
	origin := header("origin")
	if len(origin) == 0 || origin[0] == "" {
		return false
	}
	u, err := url.Parse(origin[0])
	return err != nil || u.Host != host
}
