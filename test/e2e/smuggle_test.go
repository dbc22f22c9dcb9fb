package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// exchange sends raw bytes and reads until the server closes, or closes half a
// second after the last byte came.
func (s *server) exchange(t *testing.T, raw string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", strings.TrimPrefix(s.url, "http://"), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, raw); err != nil {
		t.Logf("write: %v", err) // it may have been refused already
	}
	if half, ok := c.(*net.TCPConn); ok {
		_ = half.CloseWrite() // the server reads to the end, then closes
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil && len(got) == 0 {
		t.Fatalf("no answer: %v", err)
	}
	return string(got)
}

// No request that two programs could cut differently lets a second one through:
// what is smuggled would be answered with 404 and its path in the log.
func TestSmuggledRequestsAreNotAnswered(t *testing.T) {
	t.Parallel()
	s := start(t, newHome(t))
	const hidden = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	head := func(lines ...string) string {
		return "POST /api/v2/detect HTTP/1.1\r\nHost: x\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
	}
	for _, c := range []struct {
		name, raw string
		status    int // of the only answer; 0: any refusal
	}{
		{"length and chunked", head(fmt.Sprintf("Content-Length: %d", 5+len(hidden)), "Transfer-Encoding: chunked") + "0\r\n\r\n" + hidden, 422},
		{"chunked and length", head("Transfer-Encoding: chunked", "Content-Length: 4") + "0\r\n\r\n" + hidden, 422},
		{"two lengths", head("Content-Length: 0", fmt.Sprintf("Content-Length: %d", len(hidden))) + hidden, 400},
		{"a list of lengths", head(fmt.Sprintf("Content-Length: 0, %d", len(hidden))) + hidden, 400},
		{"a signed length", head("Content-Length: +0") + hidden, 400},
		{"a hexadecimal length", head("Content-Length: 0x0") + hidden, 400},
		{"chunked twice", head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + "0\r\n\r\n" + hidden, 0},
		{"another coding", head("Transfer-Encoding: xchunked") + "0\r\n\r\n" + hidden, 0},
		{"chunked, identity", head("Transfer-Encoding: chunked, identity") + "0\r\n\r\n" + hidden, 0},
		{"blank before the colon", head("Transfer-Encoding : chunked", "Content-Length: 0") + hidden, 400},
		{"folded", head("Transfer-Encoding:\r\n chunked", "Content-Length: 4") + "0\r\n\r\n" + hidden, 0},
		{"a name with a blank", head("Content Length: 4") + hidden, 400},
		{"NUL in a value", head("X-A: a\x00b", "Content-Length: 4") + hidden, 400},
		{"CR alone in a value", head("X-A: a\rContent-Length: 4") + hidden, 400},
		{"no host", "POST /api/v2/detect HTTP/1.1\r\n\r\n" + hidden, 400},
		{"two hosts", head("Host: y") + hidden, 400},
		{"HTTP/1.0 chunked", "POST /api/v2/detect HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, 0},
		{"a huge chunk", head("Content-Type: multipart/form-data; boundary=B", "Transfer-Encoding: chunked") + "ffffffffffffffff\r\n\r\n" + hidden, 0},
		{"a negative chunk", head("Content-Type: multipart/form-data; boundary=B", "Transfer-Encoding: chunked") + "-1\r\n\r\n" + hidden, 0},
		{"LF alone after a chunk", head("Content-Type: multipart/form-data; boundary=B", "Transfer-Encoding: chunked") + "1\nZ\n0\n\n" + hidden, 0},
		{"an extension with LF", head("Content-Type: multipart/form-data; boundary=B", "Transfer-Encoding: chunked") + "1;x\n\r\nZ\r\n0\r\n\r\n" + hidden, 0},
		{"a long extension", head("Content-Type: multipart/form-data; boundary=B", "Transfer-Encoding: chunked") + "1;" + strings.Repeat("x", 100_000) + "\r\nZ\r\n0\r\n\r\n" + hidden, 0},
		{"an extension", head("Content-Type: multipart/form-data; boundary=B", "Transfer-Encoding: chunked") + "1;a=b\r\nZ\r\n0\r\n\r\n" + hidden, 0},
		{"a trailer", head("Transfer-Encoding: chunked", "Trailer: Content-Length") + "0\r\nContent-Length: 5\r\n\r\n" + hidden, 0},
		{"version 9", "GET / HTTP/9.9\r\nHost: x\r\n\r\n" + hidden, 505},
		{"no version", "GET /\r\n\r\n" + hidden, 400},
		{"TLS to a plain port", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n" + hidden, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := s.exchange(t, c.raw)
			if n := strings.Count(got, "HTTP/1.1 ") + strings.Count(got, "HTTP/1.0 "); n != 1 {
				t.Errorf("%d answers:\n%s", n, got)
			}
			res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(got)), nil)
			if err != nil {
				t.Fatalf("%v in %q", err, got)
			}
			if c.status != 0 && res.StatusCode != c.status || res.StatusCode < 400 {
				t.Errorf("%s, want %d", res.Status, c.status)
			}
		})
	}
	if s.log.count("/smuggled") > 0 {
		t.Errorf("a smuggled request was answered:\n%s", s.log.String())
	}
	ok := s.exchange(t, "GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n"+hidden)
	if strings.Count(ok, "HTTP/1.1 ") != 2 || s.log.count("/smuggled") == 0 {
		t.Errorf("two plain requests do not get two answers:\n%s", ok)
	}
}

// Who sends a header slowly, or too much of it, is cut off; others do not notice.
func TestSlowAndLargeHeaders(t *testing.T) {
	t.Parallel()
	s := start(t, newHome(t))
	c, err := net.DialTimeout("tcp", strings.TrimPrefix(s.url, "http://"), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began := time.Now()
	cut := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, c) // until the server closes
		close(cut)
	}()
	if _, err := io.WriteString(c, "GET /api/v1/health HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	drip := time.NewTicker(500 * time.Millisecond)
	defer drip.Stop()
	for open := true; open; {
		select {
		case <-cut:
			open = false
		case <-drip.C:
			_, _ = io.WriteString(c, "X-A: a\r\n") // fails once it is cut off
			if status, _, _ := s.do(t, "GET", "/api/v1/health"); status != 200 {
				t.Errorf("health: %d", status)
			}
		}
		if time.Since(began) > patience {
			t.Fatal("a slow header is waited for without end")
		}
	}
	for name, header := range map[string]string{
		"large":  "X-A: " + strings.Repeat("a", 100_000) + "\r\n",
		"many":   strings.Repeat("X-A: a\r\n", 200),
		"no end": "X-A: " + strings.Repeat("a", 1<<20),
	} {
		got := s.exchange(t, "GET /api/v1/health HTTP/1.1\r\nHost: x\r\n"+header+"\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 431 ") {
			t.Errorf("%s header: %.200s", name, got)
		}
	}
}
