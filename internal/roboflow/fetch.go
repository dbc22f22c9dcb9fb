package roboflow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"lazyolo/internal/bodies"
	"lazyolo/yolo"
)

// How a picture is fetched.
const (
	fetchTime = 10 * time.Second // for all of it, within the request's own time
	fetchMost = 8                // at once; more wait
)

// A fetcher fetches pictures from hosts that are listed, and from nowhere else:
//
//   - over http or https, on the scheme's own port unless the list names one, with
//     no user name in the URL;
//   - the name is looked up once, every address it has must be public, and the
//     connection goes to one of these: a name that leads elsewhere a moment later
//     changes nothing;
//   - redirects are not followed and no proxy is used;
//   - at most most bytes, within fetchTime.
//
// What the answer says of its type does not count: the picture is decoded or not.
type fetcher struct {
	allow map[string]bool // host, or host:port, in lower case
	most  int64
	slots chan struct{}

	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	dial   func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
}

// newFetcher makes a fetcher for these hosts.
func newFetcher(hosts []string, most int64) (*fetcher, error) {
	f := &fetcher{
		allow: make(map[string]bool, len(hosts)), most: most, slots: make(chan struct{}, fetchMost),
		lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
		dial: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", to.String())
		},
	}
	for _, h := range hosts {
		if h == "" || strings.ContainsAny(h, "/@*?# ") {
			return nil, fmt.Errorf("roboflow: Options.URLHosts has %q, which is no host", h)
		}
		f.allow[strings.ToLower(h)] = true
	}
	return f, nil
}

// fetch returns what is at a URL. Its errors never name more of it than the host:
// URLs of pictures often carry keys.
func (f *fetcher) fetch(ctx context.Context, raw string, held *bodies.Claim) ([]byte, error) {
	u, port, err := f.check(raw)
	if err != nil {
		return nil, err
	}
	host := strings.ToLower(u.Hostname())
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		return nil, f.failed(host, ctx.Err())
	}
	to, err := f.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	one := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return f.dial(ctx, netip.AddrPortFrom(to, port))
		},
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
		TLSHandshakeTimeout: fetchTime,
	}
	defer one.CloseIdleConnections()
	client := &http.Client{Transport: one, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, yolo.Errorf(yolo.Invalid, "is not a URL that can be fetched")
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, f.failed(host, err)
	}
	defer res.Body.Close()
	return f.read(ctx, host, res, held)
}

// read reads the answer's body.
func (f *fetcher) read(ctx context.Context, host string, res *http.Response, held *bodies.Claim) ([]byte, error) {
	switch {
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return nil, yolo.Errorf(yolo.Invalid, "%s redirects, which is not followed: send the URL it leads to", host)
	case res.StatusCode != http.StatusOK:
		return nil, yolo.Errorf(yolo.Invalid, "%s answers %d", host, res.StatusCode)
	case res.ContentLength > f.most:
		return nil, f.tooLarge(host)
	}
	b, err := held.ReadAll(ctx, io.LimitReader(res.Body, f.most+1), res.ContentLength, f.most)
	switch {
	case err != nil && isOurs(err):
		return nil, err
	case err != nil:
		return nil, f.failed(host, err)
	case int64(len(b)) > f.most:
		return nil, f.tooLarge(host)
	}
	return b, nil
}

func (f *fetcher) tooLarge(host string) error {
	return yolo.Errorf(yolo.TooLarge, "the picture at %s is larger than %d bytes (MAX_BODY_MB)", host, f.most)
}

// failed tells what went wrong, without the URL that net/http puts into errors.
func (f *fetcher) failed(host string, err error) error {
	var inner *url.Error
	if errors.As(err, &inner) {
		err = inner.Err
	}
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	msg := "the picture could not be fetched from " + host
	if errors.Is(err, context.DeadlineExceeded) {
		msg += fmt.Sprintf(" within %v", fetchTime)
	}
	return &yolo.Error{Code: yolo.Invalid, Msg: msg, Err: err}
}

// check refuses a URL that may not be fetched, before anything is asked of anyone.
func (f *fetcher) check(raw string) (u *url.URL, port uint16, err error) {
	if len(f.allow) == 0 {
		return nil, 0, yolo.Errorf(yolo.Invalid, "pictures are not fetched from URLs here: send base64 (ALLOW_URL_INPUT lists the hosts that may be asked)")
	}
	if len(raw) > 8<<10 {
		return nil, 0, yolo.Errorf(yolo.Invalid, "the URL is longer than 8 KiB")
	}
	u, err = url.Parse(raw)
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "":
		return nil, 0, yolo.Errorf(yolo.Invalid, "is not a URL that can be fetched")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, 0, yolo.Errorf(yolo.Invalid, "the URL must begin with http:// or https://")
	case u.User != nil:
		return nil, 0, yolo.Errorf(yolo.Invalid, "the URL must not have a user name in it")
	}
	host := strings.ToLower(u.Hostname())
	own := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	text := u.Port()
	if text == "" {
		text = own
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return nil, 0, yolo.Errorf(yolo.Invalid, "is not a URL that can be fetched")
	}
	if !f.allow[net.JoinHostPort(host, text)] && (!f.allow[host] || text != own) {
		return nil, 0, yolo.Errorf(yolo.Invalid, "pictures are not fetched from %s (ALLOW_URL_INPUT lists the hosts that may be asked)", u.Host)
	}
	u.Fragment = ""
	return u, uint16(n), nil
}

// resolve looks a host up, once, and returns the address to connect to.
func (f *fetcher) resolve(ctx context.Context, host string) (netip.Addr, error) {
	var all []netip.Addr
	if literal, err := netip.ParseAddr(host); err == nil {
		all = []netip.Addr{literal}
	} else if all, err = f.lookup(ctx, host); err != nil {
		return netip.Addr{}, f.failed(host, err)
	}
	if len(all) == 0 {
		return netip.Addr{}, f.failed(host, errors.New("no address"))
	}
	best := all[0].Unmap()
	for _, a := range all {
		a = a.Unmap()
		if !public(a) {
			return netip.Addr{}, yolo.Errorf(yolo.Invalid, "%s has an address that is not public, which is not asked", host)
		}
		if a.Is4() && !best.Is4() { // there is not always a way to the other kind
			best = a
		}
	}
	return best, nil
}

// public reports whether an address is one of the public internet's: not of this
// machine, a private or carrier's network, a cloud's metadata, or a way around.
func public(a netip.Addr) bool {
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.Zone() != "" {
		return false
	}
	for _, text := range special(a.Is4()) {
		if netip.MustParsePrefix(text).Contains(a) {
			return false
		}
	}
	return a.Is4() || netip.MustParsePrefix("2000::/3").Contains(a)
}

// special are ranges of addresses that belong to nobody's public host.
func special(v4 bool) []string {
	if v4 {
		return []string{
			"0.0.0.0/8", "100.64.0.0/10", "168.63.129.16/32", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
			"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		}
	}
	return []string{"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"}
}
