package roboflow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lazyolo/internal/bodies"
	"lazyolo/yolo"
)

// An internet is a resolver and a dialer that lead to one test server, and remember
// what they were asked.
type internet struct {
	names  map[string][]netip.Addr
	looked []string
	dialed []string
	server string // where every connection really goes; "": nowhere
}

func addrs(texts ...string) (all []netip.Addr) {
	for _, s := range texts {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

// reach makes a fetcher use it.
func (i *internet) reach(t *testing.T, most int64, hosts ...string) *fetcher {
	t.Helper()
	f, err := newFetcher(hosts, most)
	if err != nil {
		t.Fatal(err)
	}
	f.lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
		i.looked = append(i.looked, host)
		if all, ok := i.names[host]; ok {
			return all, nil
		}
		return nil, errors.New("no such host")
	}
	f.dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		i.dialed = append(i.dialed, to.String())
		if i.server == "" {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return new(net.Dialer).DialContext(ctx, "tcp", i.server)
	}
	return f
}

// serveHTTP starts a server and returns its address.
func serveHTTP(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

func TestFetchGoesToTheAddressThatWasLookedUp(t *testing.T) {
	var asked *http.Request
	in := &internet{names: map[string][]netip.Addr{"pictures.example": addrs("2606:4700::1", "93.184.215.14", "93.184.215.15")}}
	in.server = serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.Clone(context.Background())
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "picture")
	})
	f := in.reach(t, 100, "pictures.example", "other.example:8080")
	got, err := f.fetch(t.Context(), "http://Pictures.Example/a%20b.jpg?key=secret#part", bodies.New(0).Claim())
	if err != nil || string(got) != "picture" {
		t.Fatalf("%q, %v", got, err)
	}
	if asked.Host != "Pictures.Example" || asked.URL.String() != "/a%20b.jpg?key=secret" || asked.Header.Get("Authorization") != "" {
		t.Errorf("asked %s %v %v", asked.Host, asked.URL, asked.Header)
	}
	if fmt.Sprint(in.dialed) != "[93.184.215.14:80]" || len(in.looked) != 1 {
		t.Errorf("dialed %v, looked up %v", in.dialed, in.looked)
	}
}

// TestRebinding has a name that leads to a public address first and to this machine
// at every later look: the first is what is dialed, and there is no later look.
func TestRebinding(t *testing.T) {
	in := &internet{}
	in.server = serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "picture") })
	f := in.reach(t, 100, "rebind.example")
	looks := 0
	f.lookup = func(context.Context, string) ([]netip.Addr, error) {
		if looks++; looks == 1 {
			return addrs("93.184.215.14"), nil
		}
		return addrs("127.0.0.1"), nil
	}
	if got, err := f.fetch(t.Context(), "http://rebind.example/", bodies.New(0).Claim()); err != nil || string(got) != "picture" {
		t.Fatalf("%q, %v", got, err)
	}
	if looks != 1 || fmt.Sprint(in.dialed) != "[93.184.215.14:80]" {
		t.Errorf("%d looks, dialed %v", looks, in.dialed)
	}
	if _, err := f.fetch(t.Context(), "http://rebind.example/", bodies.New(0).Claim()); err == nil || len(in.dialed) != 1 {
		t.Errorf("the second look leads here: %v, dialed %v", err, in.dialed)
	}
}

// TestAddressesThatAreNotPublic are never dialed, even beside a public one.
func TestAddressesThatAreNotPublic(t *testing.T) {
	for _, bad := range []string{
		"127.0.0.1", "127.8.8.8", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1",
		"100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1",
		"64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::1", "3fff::1",
	} {
		in := &internet{names: map[string][]netip.Addr{"a.example": addrs(bad), "b.example": addrs("93.184.215.14", bad)}}
		f := in.reach(t, 100, "a.example", "b.example")
		for _, host := range []string{"a.example", "b.example"} {
			_, err := f.fetch(t.Context(), "http://"+host+"/", bodies.New(0).Claim())
			if err == nil || !strings.Contains(err.Error(), "not public") || len(in.dialed) > 0 {
				t.Errorf("%s at %s: %v, dialed %v", host, bad, err, in.dialed)
			}
			if strings.Contains(publicText(err), bad) {
				t.Errorf("%s is told: %v", bad, err)
			}
		}
	}
	for _, good := range []string{"93.184.215.14", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.32.0.1", "2606:4700::1", "::ffff:8.8.8.8"} {
		if !public(netip.MustParseAddr(good).Unmap()) {
			t.Errorf("%s is public", good)
		}
	}
}

// TestURLsThatAreRefused cost nobody a look-up.
func TestURLsThatAreRefused(t *testing.T) {
	in := &internet{names: map[string][]netip.Addr{}}
	f := in.reach(t, 100, "pictures.example", "other.example:8080", "127.0.0.1")
	for raw, want := range map[string]string{
		"http://elsewhere.example/":                             "not fetched from elsewhere.example",
		"http://pictures.example.evil.example/":                 "not fetched from",
		"http://sub.pictures.example/":                          "not fetched from",
		"http://pictures.example./":                             "not fetched from",
		"http://pictures.example:8080/":                         "not fetched from pictures.example:8080",
		"https://pictures.example:80/":                          "not fetched from",
		"http://other.example/":                                 "not fetched from",
		"http://other.example:8081/":                            "not fetched from",
		"http://elsewhere.example@pictures.example/":            "user name",
		"http://pictures.example@elsewhere.example/":            "user name",
		"ftp://pictures.example/":                               "must begin with http",
		"file:///etc/passwd":                                    "not a URL",
		"gopher://pictures.example/":                            "must begin with http",
		"pictures.example/a.jpg":                                "not a URL",
		"http:pictures.example":                                 "not a URL",
		"http://":                                               "not a URL",
		"http://[::1":                                           "not a URL",
		"http://pictures.example:0/":                            "not a URL",
		"http://pictures.example:99999/":                        "not a URL",
		"http://pictures.example/\x00":                          "not a URL",
		"http://pictures.example/" + strings.Repeat("a", 9<<10): "longer than 8 KiB",
		"http://127.0.0.1/":                                     "not public",
		"http://0x7f.1/":                                        "not fetched from",
		"http://2130706433/":                                    "not fetched from",
	} {
		_, err := f.fetch(t.Context(), raw, bodies.New(0).Claim())
		if err == nil || !strings.Contains(err.Error(), want) || yolo.CodeOf(err) != yolo.Invalid {
			t.Errorf("%.60q: %v, want %s", raw, err, want)
		}
	}
	if len(in.looked)+len(in.dialed) > 0 {
		t.Errorf("looked up %v, dialed %v", in.looked, in.dialed)
	}
	off, err := newFetcher(nil, 100)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := off.fetch(t.Context(), "http://pictures.example/", bodies.New(0).Claim()); err == nil || !strings.Contains(err.Error(), "ALLOW_URL_INPUT") {
		t.Errorf("switched off: %v", err)
	}
}

// TestAnswersThatAreRefused looks at what a host may answer with.
func TestAnswersThatAreRefused(t *testing.T) {
	large := bytes.Repeat([]byte("x"), 101)
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		code   yolo.Code
		want   string
	}{
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
		}, yolo.Invalid, "redirects"},
		"not found": {func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, yolo.Invalid, "answers 404"},
		"too large": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(large) }, yolo.TooLarge, "larger than 100 bytes"},
		"too large, no length": {func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = w.Write(large)
		}, yolo.TooLarge, "larger than 100 bytes"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "50")
			_, _ = io.WriteString(w, "x")
		}, yolo.Invalid, "could not be fetched"},
		"giant header": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }, yolo.Invalid, "could not be fetched"},
	} {
		in := &internet{names: map[string][]netip.Addr{"pictures.example": addrs("93.184.215.14")}, server: serveHTTP(t, tt.answer)}
		_, err := in.reach(t, 100, "pictures.example").fetch(t.Context(), "http://pictures.example/a?key=secret", bodies.New(0).Claim())
		if err == nil || yolo.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
		if len(in.dialed) != 1 {
			t.Errorf("%s: dialed %v", name, in.dialed)
		}
	}
}

// TestCertificatesAreChecked: a host that https leads to must be who it says.
func TestCertificatesAreChecked(t *testing.T) {
	asked := false
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	in := &internet{names: map[string][]netip.Addr{"pictures.example": addrs("93.184.215.14")}, server: s.Listener.Addr().String()}
	_, err := in.reach(t, 100, "pictures.example").fetch(t.Context(), "https://pictures.example/a", bodies.New(0).Claim())
	if err == nil || !strings.Contains(err.Error(), "certificate") || asked || fmt.Sprint(in.dialed) != "[93.184.215.14:443]" {
		t.Errorf("%v, asked %v, dialed %v", err, asked, in.dialed)
	}
}

// TestFetchEndsInTime gives up on a host that does not answer, and lets no more than
// a few wait for such.
func TestFetchEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := &internet{names: map[string][]netip.Addr{"slow.example": addrs("93.184.215.14")}}
		f := in.reach(t, 100, "slow.example")
		start := time.Now()
		_, err := f.fetch(t.Context(), "http://slow.example/?key=secret", bodies.New(0).Claim())
		if err == nil || !strings.Contains(err.Error(), "could not be fetched from slow.example within 10s") || strings.Contains(err.Error(), "secret") {
			t.Error(err)
		}
		if took := time.Since(start); took != fetchTime {
			t.Errorf("it took %v", took)
		}
		for range fetchMost {
			f.slots <- struct{}{}
		}
		if _, err := f.fetch(t.Context(), "http://slow.example/", bodies.New(0).Claim()); err == nil || len(in.dialed) != 1 {
			t.Errorf("%v, dialed %v", err, in.dialed)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := f.fetch(ctx, "http://slow.example/", bodies.New(0).Claim()); !errors.Is(err, context.Canceled) {
			t.Errorf("a client that left: %v", err)
		}
	})
}
