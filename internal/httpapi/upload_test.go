package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lazyolo/yolo"
)

// A syncBuffer is a bytes.Buffer that a server may write to while a test reads.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// pipes is a net.Listener inside the program, so that a synctest bubble knows
// when its connections wait.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// pipeServer serves h to connections that dial makes.
func pipeServer(t *testing.T, h http.Handler) (dial func() net.Conn) {
	t.Helper()
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	s := &http.Server{Handler: h}
	stopped := make(chan error, 1)
	go func() { stopped <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-stopped; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return func() net.Conn {
		client, server := net.Pipe()
		l.conns <- server
		t.Cleanup(func() { client.Close() })
		return client
	}
}

func TestSlowUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(io.Discard)
		dial := pipeServer(t, handler(t, found(), shapes(), o))
		c := dial()
		start := time.Now()
		var trickle sync.WaitGroup
		defer trickle.Wait()
		trickle.Go(func() { // a byte every second, for longer than is allowed
			every := time.NewTicker(time.Second)
			defer every.Stop()
			_, err := c.Write(postHead("/api/v2/detect", 1000, ""))
			for err == nil {
				<-every.C
				_, err = c.Write([]byte("x"))
			}
		})
		res, body := answer(t, c, "POST")
		if took := time.Since(start); res.StatusCode != http.StatusRequestTimeout || took != o.UploadTimeout {
			t.Errorf("%d after %v, want 408 after %v", res.StatusCode, took, o.UploadTimeout)
		}
		if want := `{"error":"the upload took longer than 30s"}`; string(body) != want {
			t.Errorf("body %s, want %s", body, want)
		}
	})
}

// TestUploadTimeoutEnds: once the body is here, its deadline must not reach the
// detection or the next request of the connection.
func TestUploadTimeoutEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(io.Discard)
		slow := detectFunc(func(ctx context.Context, _ yolo.Request) (*yolo.Result, error) {
			select {
			case <-time.After(10 * o.UploadTimeout):
				return &yolo.Result{}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		c := pipeServer(t, handler(t, slow, shapes(), o))()
		for range 2 {
			if _, err := c.Write(post("/api/v2/detect", "a.jpg", []byte("x"))); err != nil {
				t.Fatal(err)
			}
			if res, body := answer(t, c, "POST"); res.StatusCode != http.StatusOK {
				t.Errorf("%d %s, want 200", res.StatusCode, body)
			}
		}
	})
}

func TestClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log syncBuffer
		slow := detectFunc(func(ctx context.Context, _ yolo.Request) (*yolo.Result, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		c := pipeServer(t, handler(t, slow, shapes(), options(&log)))()
		if _, err := c.Write(post("/api/v2/detect", "a.jpg", []byte("x"))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		c.Close()
		synctest.Wait()
		if !strings.Contains(log.String(), "status=499") {
			t.Errorf("the log lacks a 499:\n%s", &log)
		}
	})
}

func TestBodyLimit(t *testing.T) {
	const limit = 1 << 20
	o := options(io.Discard)
	o.MaxBody = limit
	pictures := &album{}
	o.Annotate = pictures
	addr := serve(t, handler(t, found(), shapes(), o))
	const frame = len("--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\n\r\n\r\n--B--\r\n")
	chunked := func(n int) []byte {
		req := post("/api/v2/detect", "a.jpg", make([]byte, n))
		head, body, _ := bytes.Cut(req, []byte("\r\n\r\n"))
		head = bytes.Replace(head, fmt.Appendf(nil, "Content-Length: %d", len(body)), []byte("Transfer-Encoding: chunked"), 1)
		return append(head, fmt.Sprintf("\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)...)
	}
	tests := []struct {
		name   string
		raw    []byte
		status int
	}{
		{"at the limit", post("/api/v2/detect", "a.jpg", make([]byte, limit-frame)), 200},
		{"over the limit", post("/api/v2/detect", "a.jpg", make([]byte, limit-frame+1)), 413},
		{"far over, refused unread", postHead("/api/v2/detect", 1<<40, ""), 413},
		{"chunked, at the limit", chunked(limit - frame), 200},
		{"chunked, over the limit", chunked(limit - frame + 1), 413},
		{"chunked, small", chunked(10), 200},
		{"broken chunks", []byte("POST /api/v2/detect HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, body := exchange(t, addr, "POST", tt.raw)
			if res.StatusCode != tt.status {
				t.Fatalf("status %d, want %d; body %s", res.StatusCode, tt.status, body)
			}
			want := `{"error":"the request body is larger than 1 MB (MAX_BODY_MB)"}`
			if tt.status == 413 && string(body) != want {
				t.Errorf("body %s, want %s", body, want)
			}
		})
	}
}

// TestTooLargeIsTold: a client that reads nothing before it has sent everything
// gets its answer too.
func TestTooLargeIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(io.Discard)
		o.MaxBody = 1 << 20
		c := pipeServer(t, handler(t, found(), shapes(), o))()
		if _, err := c.Write(post("/api/v2/detect", "a.jpg", make([]byte, 3<<19))); err != nil {
			t.Fatalf("send: %v", err)
		}
		if res, _ := answer(t, c, "POST"); res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("status %d, want 413", res.StatusCode)
		}
	})
}

// TestAnnotatedCopy: a small picture in a large body is copied, so that waiting
// to be written it does not keep the body.
func TestAnnotatedCopy(t *testing.T) {
	pictures := &album{}
	o := options(io.Discard)
	o.Annotate = pictures
	h := handler(t, found(), shapes(), o)
	addr := serve(t, h)
	ballast := "--B\r\nContent-Disposition: form-data; name=\"x\"; filename=\"y\"\r\n\r\n" + strings.Repeat("z", 1<<20) + "\r\n"
	body := ballast + "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"../a.jpg\"\r\n\r\nJPEG\r\n--B--"
	res, _ := exchange(t, addr, "POST", append(postHead("/api/v2/detect", len(body), ""), body...))
	got := pictures.last()
	if res.StatusCode != 200 || got.name != "a.jpg" || string(got.image) != "JPEG" || cap(got.image) > 64 {
		t.Errorf("%d, saved %q as %q with capacity %d", res.StatusCode, got.image, got.name, cap(got.image))
	}
}

func TestExpectContinue(t *testing.T) {
	o := options(io.Discard)
	o.MaxBody = 1 << 20
	addr := serve(t, handler(t, found(), shapes(), o))
	req := post("/api/v2/detect", "a.jpg", []byte("x"))
	_, body, _ := bytes.Cut(req, []byte("\r\n\r\n"))
	tests := []struct {
		name   string
		length int
		first  int // status line that comes before the body is sent
	}{
		{"welcome", len(body), 100},
		{"too large", 1<<20 + 1, 413},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.Write(postHead("/api/v2/detect", tt.length, "Expect: 100-continue\r\n"))
			r := bufio.NewReader(c)
			res, err := http.ReadResponse(r, nil)
			if err != nil || res.StatusCode != tt.first {
				t.Fatalf("first answer %v, %v; want %d", res, err, tt.first)
			}
			if tt.first != 100 {
				return
			}
			c.Write(body)
			if res, err = http.ReadResponse(r, nil); err != nil || res.StatusCode != 200 {
				t.Errorf("then %v, %v; want 200", res, err)
			}
		})
	}
}
