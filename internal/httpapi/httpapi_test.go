package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"lazyolo/internal/httpapi"
	"lazyolo/yolo"
)

// detectFunc is a Detector that is a function.
type detectFunc func(context.Context, yolo.Request) (*yolo.Result, error)

func (f detectFunc) Detect(ctx context.Context, r yolo.Request) (*yolo.Result, error) {
	return f(ctx, r)
}

// found is a Detector that always answers the same.
func found(objects ...yolo.Object) detectFunc {
	return func(context.Context, yolo.Request) (*yolo.Result, error) {
		return &yolo.Result{Objects: objects}, nil
	}
}

// failing is a Detector that never succeeds.
func failing(err error) detectFunc {
	return func(context.Context, yolo.Request) (*yolo.Result, error) { return nil, err }
}

// catalog is a Models.
type catalog struct {
	models []*yolo.Model
	loaded []int
}

func (c *catalog) All() []*yolo.Model { return c.models }
func (c *catalog) Loaded() []int      { return c.loaded }

// shapes is the catalog of the recordings.
func shapes() *catalog {
	c := &catalog{loaded: []int{1, 2, 0}}
	for i := range 3 {
		c.models = append(c.models, &yolo.Model{
			ID: fmt.Sprintf("model_%d", i), Index: i, Name: fmt.Sprintf("shapes-%d", i),
			Version: fmt.Sprintf("1.%d.0", i), TaskName: "detection", Task: yolo.Detect,
			Description: "形状检测 shapes",
		})
	}
	return c
}

// A saved picture.
type saved struct {
	name  string
	image []byte
}

// album is an Annotator that remembers.
type album struct {
	mu       sync.Mutex
	pictures []saved
}

func (a *album) Save(name string, image []byte, _ *yolo.Result) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pictures = append(a.pictures, saved{name, image})
}

// last returns the picture saved last; it is the zero saved if there is none.
func (a *album) last() saved {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.pictures) == 0 {
		return saved{}
	}
	return a.pictures[len(a.pictures)-1]
}

// options are complete and log to log.
func options(log io.Writer) httpapi.Options {
	return httpapi.Options{
		Log:     slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		MaxBody: 16 << 20, UploadTimeout: 30 * time.Second,
		Health: func() httpapi.Health {
			return httpapi.Health{InferenceOK: true, Device: "cpu", ModelPathAccess: true, TmpWritable: true, OutputWritable: true}
		},
		Memory: func() httpapi.Memory {
			return httpapi.Memory{Used: 948002816, Limit: 4096 << 20}
		},
		Residents: new(residents), Events: httpapi.NewEvents(),
		MemoryCheckInterval: 10,
	}
}

func handler(t testing.TB, d httpapi.Detector, m httpapi.Models, o httpapi.Options) http.Handler {
	t.Helper()
	h, err := httpapi.New(d, m, o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// serve starts a server and returns its address.
func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// exchange sends raw bytes and reads one answer to a request with that method.
func exchange(t testing.TB, addr, method string, raw []byte) (*http.Response, []byte) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go c.Write(raw) // the answer may come before all is sent
	return answer(t, c, method)
}

// answer reads one answer to a request with that method.
func answer(t testing.TB, c net.Conn, method string) (*http.Response, []byte) {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, body
}

// post returns a detection with one file, as the bytes of an HTTP request.
func post(path, filename string, image []byte) []byte {
	body := fmt.Appendf(nil, "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=%q\r\n\r\n%s\r\n--B--\r\n", filename, image)
	return append(postHead(path, len(body), ""), body...)
}

// postHead is the head of such a request.
func postHead(path string, length int, extra string) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: example.test\r\nContent-Type: multipart/form-data; boundary=B\r\nContent-Length: %d\r\n%s\r\n", path, length, extra)
}

// sameJSON reports whether got holds all of want: with more, an object of got
// may have other members too.
func sameJSON(want, got any, more bool) bool {
	w, ok := want.(map[string]any)
	g, also := got.(map[string]any)
	if ok && also {
		for k, v := range w {
			if x, ok := g[k]; !ok || !sameJSON(v, x, more) {
				return false
			}
		}
		return more || len(w) == len(g)
	}
	wl, ok := want.([]any)
	gl, also := got.([]any)
	if ok && also && len(wl) == len(gl) {
		for i := range wl {
			if !sameJSON(wl[i], gl[i], more) {
				return false
			}
		}
		return true
	}
	a, _ := json.Marshal(want)
	b, _ := json.Marshal(got)
	return bytes.Equal(a, b)
}

func TestNewRefuses(t *testing.T) {
	good := options(io.Discard)
	tests := []struct {
		name string
		d    httpapi.Detector
		m    httpapi.Models
		edit func(*httpapi.Options)
		want string
	}{
		{"detector", nil, shapes(), func(*httpapi.Options) {}, "Detector"},
		{"models", found(), nil, func(*httpapi.Options) {}, "Models"},
		{"log", found(), shapes(), func(o *httpapi.Options) { o.Log = nil }, "Log"},
		{"body", found(), shapes(), func(o *httpapi.Options) { o.MaxBody = 0 }, "MaxBody"},
		{"upload", found(), shapes(), func(o *httpapi.Options) { o.UploadTimeout = 0 }, "UploadTimeout"},
		{"request", found(), shapes(), func(o *httpapi.Options) { o.RequestTimeout = -1 }, "RequestTimeout"},
		{"health", found(), shapes(), func(o *httpapi.Options) { o.Health = nil }, "Health"},
		{"memory", found(), shapes(), func(o *httpapi.Options) { o.Memory = nil }, "Memory"},
		{"residents", found(), shapes(), func(o *httpapi.Options) { o.Residents = nil }, "Residents"},
		{"events", found(), shapes(), func(o *httpapi.Options) { o.Events = nil }, "Events"},
		{"bodies", found(), shapes(), func(o *httpapi.Options) { o.BodyShare = -1 }, "BodyShare"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := good
			tt.edit(&o)
			if _, err := httpapi.New(tt.d, tt.m, o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one that names %s", err, tt.want)
			}
		})
	}
}
