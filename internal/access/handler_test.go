package access_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lazyolo/internal/access"
	"lazyolo/yolo"
)

// hello answers every request, and needs the scope that the path names.
func hello(t *testing.T, g *access.Guard) http.Handler {
	return g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }),
		func(r *http.Request) yolo.Scope {
			for s := yolo.Open; s <= yolo.Admin; s++ {
				if r.URL.Path == "/"+s.String() {
					return s
				}
			}
			t.Errorf("path %s", r.URL.Path)
			return yolo.Admin
		})
}

func TestHandlerAnswers(t *testing.T) {
	g := guard(t, access.Options{Keys: []string{text("i", "infer"), text("slow", "infer")}, Limits: access.Limits{Rate: 0.001}})
	h := hello(t, g)
	none := hello(t, guard(t, access.Options{}))
	for _, c := range []struct {
		name, path string
		h          http.Handler
		edit       func(http.Header)
		status     int
		header     string // that must be there
		text       string // of error or hint
	}{
		{"open", "/open", h, func(http.Header) {}, 200, "", ""},
		{"no key", "/infer", h, func(http.Header) {}, 401, "Www-Authenticate", "X-API-Key: KEY"},
		{"wrong key", "/infer", h, func(h http.Header) { h.Set("X-API-Key", "wrong") }, 401, "Www-Authenticate", "not known"},
		{"key", "/infer", h, func(h http.Header) { h.Set("X-API-Key", secret("i")) }, 200, "", ""},
		{"again", "/infer", h, func(h http.Header) { h.Set("X-API-Key", secret("i")) }, 429, "Retry-After", "calls a second"},
		{"scope", "/admin", h, func(h http.Header) { h.Set("Authorization", "Bearer "+secret("slow")) }, 403, "", "lacks the scope admin"},
		{"headers", "/open", h, func(h http.Header) {
			for i := range 101 {
				h.Add("X-Many", fmt.Sprint(i))
			}
		}, 431, "", "100 header lines"},
		{"admin without keys", "/admin", none, func(http.Header) {}, 403, "", "127.0.0.1"},
		{"infer without keys", "/infer", none, func(http.Header) {}, 200, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", c.path, nil)
			c.edit(r.Header)
			w := httptest.NewRecorder()
			c.h.ServeHTTP(w, r)
			if w.Code != c.status || c.header != "" && w.Header().Get(c.header) == "" {
				t.Fatalf("%d %v %s, want %d with %s", w.Code, w.Header(), w.Body, c.status, c.header)
			}
			if c.status == 200 {
				return
			}
			var body struct{ Error, Hint string }
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Error == "" || body.Hint == "" || !strings.Contains(body.Error+body.Hint, c.text) {
				t.Errorf("%v in %s, want %q", err, w.Body, c.text)
			}
			if strings.Contains(w.Body.String(), "wrong") || strings.Contains(w.Body.String(), secret("i")) {
				t.Errorf("the answer repeats the key: %s", w.Body)
			}
		})
	}
	r := httptest.NewRequest("GET", "/admin", nil)
	r.RemoteAddr, r.Host = "127.0.0.1:1", "localhost"
	w := httptest.NewRecorder()
	if none.ServeHTTP(w, r); w.Code != 200 {
		t.Errorf("local admin: %d %s", w.Code, w.Body)
	}
	r.Header.Set("X-Forwarded-Anything", "")
	w = httptest.NewRecorder()
	if none.ServeHTTP(w, r); w.Code != 403 {
		t.Errorf("any X-Forwarded header: %d %s", w.Code, w.Body)
	}
}

// TestRefusedBeforeTheBody: a refusal comes while the body is still on its way, and
// the connection of a large one ends.
func TestRefusedBeforeTheBody(t *testing.T) {
	s := httptest.NewServer(hello(t, guard(t, access.Options{Keys: []string{text("i", "infer")}, WriteTimeout: time.Minute})))
	defer s.Close()
	for _, length := range []string{"Content-Length: 10000000", "Transfer-Encoding: chunked"} {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "POST /infer HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", length)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode != 401 || !res.Close {
			t.Errorf("%s: %v %v", length, res, err)
		}
		c.Close()
	}
}

// TestSlowReader: who does not take his answer does not hold the handler, and one
// that sets the time itself keeps it.
func TestSlowReader(t *testing.T) {
	g := guard(t, access.Options{WriteTimeout: 50 * time.Millisecond})
	ended := make(chan error, 1)
	s := httptest.NewServer(g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/own" {
			if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(-time.Second)); err != nil {
				t.Error(err)
			}
		}
		for {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				ended <- err
				return
			}
		}
	}), func(*http.Request) yolo.Scope { return yolo.Open }))
	defer s.Close()
	for _, path := range []string{"/", "/own"} {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		select {
		case err := <-ended:
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: %v", path, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s: the handler still writes", path)
		}
	}
}

func TestConns(t *testing.T) {
	conns := access.NewConns(2)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	busy, free := make(chan struct{}), make(chan struct{})
	s := &http.Server{ConnState: conns.State, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			busy <- struct{}{}
			<-free
		}
	})}
	ended := make(chan error, 1)
	go func() {
		ended <- s.Serve(conns.Listener(l, []byte("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")))
	}()
	dial := func(path string) net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		fmt.Fprint(c, path)
		return c
	}
	wait := "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
	a := dial(wait)
	<-busy
	idle := dial("") // says nothing
	b := dial(wait)  // takes its place
	<-busy
	if _, err := idle.Read(make([]byte, 1)); err == nil {
		t.Error("the idle connection is still there")
	}
	c := dial(wait)
	if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != 503 {
		t.Errorf("a third at work: %v %v", res, err)
	}
	close(free)
	for _, c := range []net.Conn{a, b} {
		if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != 200 {
			t.Errorf("%v %v", res, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	<-ended
}

// pair writes a certificate for a serial number and its key.
func pair(t *testing.T, dir string, serial int64) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeKeys(t, cert, 0o600, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	writeKeys(t, key, 0o600, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
	return cert, key
}

func TestCertificate(t *testing.T) {
	dir := t.TempDir()
	cert, key := pair(t, dir, 1)
	synctest.Test(t, func(t *testing.T) {
		c, err := access.OpenCertificate(cert, key, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		go c.Watch(t.Context(), nil)
		serial := func() int64 {
			got, err := c.Config().GetCertificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			return got.Leaf.SerialNumber.Int64()
		}
		pass := func() {
			time.Sleep(3 * time.Second)
			synctest.Wait()
		}
		if c.Config().MinVersion != tls.VersionTLS12 || serial() != 1 {
			t.Errorf("serial %d", serial())
		}
		pair(t, dir, 22)
		pass()
		if serial() != 22 {
			t.Errorf("after a change: serial %d", serial())
		}
		writeKeys(t, cert, 0o600, "broken")
		pass()
		if serial() != 22 {
			t.Errorf("after a broken change: serial %d", serial())
		}
	})
	if _, err := access.OpenCertificate(cert, key, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a broken pair was opened")
	}
}
