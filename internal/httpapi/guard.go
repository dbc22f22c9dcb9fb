package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// A refusal is why a call that changes something is not taken, and how it would be.
type refusal struct {
	Error string `json:"error"`
	Hint  string `json:"hint"`
}

// guard lets a call change something only if it comes from this machine, meant for
// it, and from no foreign web page: there is no key yet that could say more. A
// proxy on this machine passes strangers on, so what was forwarded does not count.
func (s *server) guard(r *http.Request) error {
	const hint = "call it on the machine itself, without a proxy, at http://127.0.0.1:PORT"
	text := ""
	switch {
	case !loopback(r.RemoteAddr):
		text = "only callers on this machine may change what is in memory"
	case forwarded(r.Header):
		text = "a forwarded call may not change what is in memory"
	case !localHost(r.Host):
		text = "a call may change what is in memory only under a name of this machine (localhost, 127.0.0.1 or [::1])"
	default:
		err := s.origins.Check(r)
		if err == nil {
			return nil
		}
		return &wireError{http.StatusForbidden, refusal{"a web page of another origin may not change what is in memory", hint}, err}
	}
	return &wireError{http.StatusForbidden, refusal{text, hint}, nil}
}

// loopback reports whether a peer's address is this machine's loopback.
func loopback(addr string) bool {
	p, err := netip.ParseAddrPort(addr)
	return err == nil && p.Addr().Unmap().IsLoopback()
}

// forwarded reports whether a proxy says that it passed the request on.
func forwarded(h http.Header) bool {
	for name := range h {
		if name == "Forwarded" || name == "X-Real-Ip" || strings.HasPrefix(name, "X-Forwarded-") {
			return true
		}
	}
	return false
}

// localHost reports whether a Host header names this machine's loopback: a page
// whose name was made to lead here says another.
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
