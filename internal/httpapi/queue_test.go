package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lazyolo/yolo"
)

func TestLoadWait(t *testing.T) {
	var asked *time.Duration
	d := detectFunc(func(_ context.Context, r yolo.Request) (*yolo.Result, error) {
		asked = r.LoadWait
		return &yolo.Result{}, nil
	})
	addr := serve(t, handler(t, d, shapes(), options(io.Discard)))
	tests := []struct {
		header string // none: not sent
		want   time.Duration
		status int
	}{
		{"none", -1, 200}, {"0", 0, 200}, {"0s", 0, 200}, {"5s", 5 * time.Second, 200}, {"5", 5 * time.Second, 200},
		{"2.5", 2500 * time.Millisecond, 200}, {"250ms", 250 * time.Millisecond, 200}, {" 1m ", time.Minute, 200},
		{"", -1, 200}, {"-1", 0, 422}, {"soon", 0, 422}, {"1e400", 0, 422}, {"5 s", 0, 422}, {"99999999999", 0, 422},
	}
	for _, tt := range tests {
		t.Run(tt.header, func(t *testing.T) {
			head := "X-Load-Wait: " + tt.header + "\r\n"
			if tt.header == "none" {
				head = ""
			}
			asked = nil
			body := "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nx\r\n--B--"
			res, answer := exchange(t, addr, "POST", append(postHead("/api/v2/detect", len(body), head), body...))
			if res.StatusCode != tt.status {
				t.Fatalf("%d %s, want %d", res.StatusCode, answer, tt.status)
			}
			got := time.Duration(-1)
			if asked != nil {
				got = *asked
			}
			if tt.status == 200 && got != tt.want {
				t.Errorf("waits %v, want %v", got, tt.want)
			}
			if tt.status == 422 && !strings.Contains(string(answer), `"loc":["header","x-load-wait"]`) {
				t.Errorf("%s", answer)
			}
		})
	}
}

// TestTimingIsTold: over several pictures times add up, and one cold start is one.
func TestTimingIsTold(t *testing.T) {
	n := 0
	d := detectFunc(func(context.Context, yolo.Request) (*yolo.Result, error) {
		n++
		return &yolo.Result{Cold: n == 1, Took: yolo.Took{Load: 20 * time.Millisecond, Memory: time.Millisecond, Decode: 1500 * time.Microsecond, Run: 10 * time.Millisecond}}, nil
	})
	addr := serve(t, handler(t, d, shapes(), options(io.Discard)))
	part := "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nx\r\n"
	for _, tt := range []struct{ body, cold, timing string }{
		{part + part + "--B--", "true", `^body;dur=\d+\.\d\d, load;dur=40\.00, memory;dur=2\.00, decode;dur=3\.00, run;dur=20\.00, total;dur=\d+\.\d\d$`},
		{part + "--B--", "false", `^body;dur=\d+\.\d\d, load;dur=20\.00, memory;dur=1\.00, decode;dur=1\.50, run;dur=10\.00, total;dur=\d+\.\d\d$`},
	} {
		res, _ := exchange(t, addr, "POST", append(postHead("/api/v2/detect", len(tt.body), ""), tt.body...))
		if got := res.Header.Get("X-Model-Cold-Start"); got != tt.cold {
			t.Errorf("cold %q, want %q", got, tt.cold)
		}
		if got := res.Header.Get("Server-Timing"); !regexp.MustCompile(tt.timing).MatchString(got) {
			t.Errorf("%q does not match %q", got, tt.timing)
		}
	}
}

// TestBodiesShareMemory: what all bodies hold together is bounded. Who comes too
// late waits a moment with the socket unread, then is told to come again.
func TestBodiesShareMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(io.Discard)
		o.BodyShare = 1 << 20
		proceed := make(chan struct{})
		d := detectFunc(func(context.Context, yolo.Request) (*yolo.Result, error) {
			<-proceed
			return &yolo.Result{}, nil
		})
		dial := pipeServer(t, handler(t, d, shapes(), o))
		image := make([]byte, 400<<10)
		var all sync.WaitGroup
		codes := make([]int, 3)
		send := func(i int, wait time.Duration) {
			all.Go(func() {
				time.Sleep(wait)
				c := dial()
				go c.Write(post("/api/v2/detect", "a.jpg", image))
				start := time.Now()
				res, body := answer(t, c, "POST")
				codes[i] = res.StatusCode
				if res.StatusCode != 429 {
					return
				}
				if d := time.Since(start); d != time.Second || res.Header.Get("Retry-After") != "1" || !strings.Contains(string(body), "MAX_QUEUE_MB") {
					t.Errorf("%v, Retry-After %q, %s", d, res.Header.Get("Retry-After"), body)
				}
			})
		}
		send(0, 0)
		send(1, 0)
		send(2, time.Millisecond)
		time.Sleep(3 * time.Second)
		close(proceed)
		all.Wait()
		if fmt.Sprint(codes) != "[200 200 429]" {
			t.Errorf("%v", codes)
		}
		// Everything is back: a body as large as the share is read.
		c := dial()
		go c.Write(post("/api/v2/detect", "a.jpg", make([]byte, 1<<20-200)))
		if res, body := answer(t, c, "POST"); res.StatusCode != 200 {
			t.Errorf("%d %s", res.StatusCode, body)
		}
	})
}

// TestBodyWaits: memory that comes back in time serves who waits, in order.
func TestBodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(io.Discard)
		o.BodyShare = 1 << 20
		d := detectFunc(func(context.Context, yolo.Request) (*yolo.Result, error) {
			<-time.After(300 * time.Millisecond)
			return &yolo.Result{}, nil
		})
		dial := pipeServer(t, handler(t, d, shapes(), o))
		var all sync.WaitGroup
		start := time.Now()
		for range 6 {
			all.Go(func() {
				c := dial()
				go c.Write(post("/api/v2/detect", "a.jpg", make([]byte, 400<<10)))
				if res, body := answer(t, c, "POST"); res.StatusCode != 200 {
					t.Errorf("%d %s", res.StatusCode, body)
				}
			})
		}
		all.Wait()
		if d := time.Since(start); d != 900*time.Millisecond {
			t.Errorf("three times two took %v", d)
		}
	})
}

// TestBodyLargerThanTheShare names the setting that refuses it.
func TestBodyLargerThanTheShare(t *testing.T) {
	o := options(io.Discard)
	o.BodyShare = 1 << 20
	addr := serve(t, handler(t, found(), shapes(), o))
	chunked := "POST /api/v2/detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n" +
		fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", 1<<20+1, strings.Repeat("x", 1<<20+1))
	for name, raw := range map[string][]byte{"sized": post("/api/v2/detect", "a", make([]byte, 1<<20)), "chunked": []byte(chunked)} {
		res, body := exchange(t, addr, "POST", raw)
		if want := `{"error":"the request body is larger than 1 MB (MAX_QUEUE_MB)"}`; res.StatusCode != http.StatusRequestEntityTooLarge || string(body) != want {
			t.Errorf("%s: %d %s, want 413 %s", name, res.StatusCode, body, want)
		}
	}
}
