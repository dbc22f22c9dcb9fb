package load_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lazyolo/internal/load"
)

// A server answers as the old one did and counts what it was asked.
type server struct {
	*httptest.Server
	mu     sync.Mutex
	models map[string]int
	names  map[string]int
	most   int // requests under way
	now    int
	answer func(n int, w http.ResponseWriter) // n counts from 1
	asked  int
	key    string
}

func newServer(t *testing.T, answer func(n int, w http.ResponseWriter)) *server {
	s := &server{models: make(map[string]int), names: make(map[string]int), answer: answer}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v2/detect", s.detect)
	mux.HandleFunc("GET /api/v2/cache/stats", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"current_memory_mb": 123.5}`)
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *server) detect(w http.ResponseWriter, r *http.Request) {
	_, header, err := r.FormFile("file")
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	s.mu.Lock()
	s.models[r.FormValue("model_id")]++
	s.names[header.Filename]++
	s.key = r.Header.Get("Authorization")
	s.asked++
	s.now++
	s.most = max(s.most, s.now)
	n := s.asked
	s.mu.Unlock()
	s.answer(n, w)
	s.mu.Lock()
	s.now--
	s.mu.Unlock()
}

func fine(_ int, w http.ResponseWriter) { fmt.Fprint(w, `{"predictions":[]}`) }

func options(s *server) load.Options {
	return load.Options{
		URL: s.URL, Models: []string{"0", "1", "2"}, Requests: 60, Clients: 4, Zipf: 1,
		Pictures: []load.Picture{{Name: "a.jpg", Data: []byte("A")}, {Name: "b.jpg", Data: []byte("B")}},
	}
}

func TestRun(t *testing.T) {
	second := make(chan struct{})
	s := newServer(t, func(n int, w http.ResponseWriter) {
		switch {
		case n == 1:
			<-second
		case n == 2:
			close(second)
		}
		switch {
		case n%10 == 0:
			http.Error(w, "busy", http.StatusServiceUnavailable)
		case n%15 == 1:
			fmt.Fprint(w, `{"error":"Inference failed"}`)
		default:
			fine(n, w)
		}
	})
	o := options(s)
	o.Key = "secret"
	told := 0
	var mu sync.Mutex
	o.Progress = func(done, failed int) {
		mu.Lock()
		defer mu.Unlock()
		told = max(told, done)
	}
	r, err := load.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Requests != 60 || r.Failed != 10 || r.Codes["503"] != 6 || r.Codes["error"] != 4 || r.Codes["200"] != 50 || told != 60 {
		t.Errorf("%d requests, %d failed, %v; %d told", r.Requests, r.Failed, r.Codes, told)
	}
	if r.Messages["503"] != "busy" || r.Messages["error"] != "Inference failed" || len(r.Messages) != 2 || r.GaveUp {
		t.Errorf("said %q, gave up: %v", r.Messages, r.GaveUp)
	}
	if rate := r.ErrorRate(); rate != 10./60 {
		t.Errorf("error rate %v", rate)
	}
	if s.most < 2 || s.most > 4 || s.key != "Bearer secret" {
		t.Errorf("%d requests at once, key %q", s.most, s.key)
	}
	if s.names["a.jpg"] != 30 || s.names["b.jpg"] != 30 {
		t.Errorf("pictures %v", s.names)
	}
	// 1, 1/2 and 1/3 of 60 are 33, 16 and 11.
	if m := s.models; m["0"] <= m["1"] || m["1"] <= m["2"] || m["2"] == 0 {
		t.Errorf("models %v", m)
	}
	if l := r.Latency; l == nil || !(0 < l.Min && l.Min <= l.P50 && l.P50 <= l.P75 && l.P75 <= l.P90 && l.P90 <= l.P95 && l.P95 <= l.P99 && l.P99 <= l.Max) {
		t.Errorf("latency %+v", r.Latency)
	}
	if len(r.Memory) == 0 || r.Peak != 123.5 {
		t.Errorf("memory %v", r.Memory)
	}
	var text, data bytes.Buffer
	if err := r.Text(&text); err != nil || !strings.Contains(text.String(), "10 failed (16.67 %)") || !strings.Contains(text.String(), "503: 6") || !strings.Contains(text.String(), "\n  503: busy\n") {
		t.Errorf("%v\n%s", err, text.String())
	}
	if err := json.NewEncoder(&data).Encode(r); err != nil || !strings.Contains(data.String(), `"failed":10`) {
		t.Errorf("%v %s", err, data.String())
	}
}

// A rate is kept however fast the server is, and its slowness counts as latency.
func TestRate(t *testing.T) {
	s := newServer(t, fine)
	o := options(s)
	o.Requests, o.Rate = 40, 200
	r, err := load.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Took < 0.19 || r.Requests != 40 {
		t.Errorf("%d requests in %v s", r.Requests, r.Took)
	}
	block := make(chan struct{})
	s.answer = func(n int, w http.ResponseWriter) {
		if n == 41 {
			<-block
		}
		fine(n, w)
	}
	time.AfterFunc(300*time.Millisecond, func() { close(block) })
	o.Clients, o.Requests = 1, 20
	if r, err = load.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if r.Latency.P50 < 0.2 {
		t.Errorf("p50 %v s behind an answer that took 0.3 s", r.Latency.P50)
	}
}

func TestRunEnds(t *testing.T) {
	s := newServer(t, fine)
	o := options(s)
	o.Requests, o.Duration = 0, 50*time.Millisecond
	if r, err := load.Run(t.Context(), o); err != nil || r.Requests == 0 || r.Took > 5 {
		t.Errorf("%+v %v", r, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	o.Duration = time.Hour
	o.Progress = func(int, int) { cancel() }
	if r, err := load.Run(ctx, o); err != nil || r.Took > 5 {
		t.Errorf("%+v %v", r, err)
	}
}

// A server that is not there, or too slow, makes failures, not an error.
func TestUnreachable(t *testing.T) {
	gone := newServer(t, fine)
	gone.Close()
	o := options(gone)
	o.Requests = 3
	r, err := load.Run(t.Context(), o)
	if err != nil || r.Codes["refused"] != 3 || r.Latency != nil || len(r.Memory) != 0 {
		t.Errorf("%+v %v", r, err)
	}
	block := make(chan struct{})
	slow := newServer(t, func(n int, w http.ResponseWriter) { <-block })
	defer close(block)
	o = options(slow)
	o.Requests, o.Timeout = 2, 50*time.Millisecond
	if r, err = load.Run(t.Context(), o); err != nil || r.Codes["timeout"] != 2 {
		t.Errorf("%+v %v", r, err)
	}
}

func TestWrongOptions(t *testing.T) {
	s := newServer(t, fine)
	for want, edit := range map[string]func(*load.Options){
		"url":      func(o *load.Options) { o.URL = "localhost:8000" },
		"models":   func(o *load.Options) { o.Models = nil },
		"pictures": func(o *load.Options) { o.Pictures = nil },
		"duration": func(o *load.Options) { o.Requests = 0 },
		"clients":  func(o *load.Options) { o.Clients = -1 },
		"rate":     func(o *load.Options) { o.Rate = -1 },
		"zipf":     func(o *load.Options) { o.Zipf = 11 },
	} {
		o := options(s)
		edit(&o)
		if _, err := load.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if s.asked != 0 {
		t.Errorf("%d requests were sent", s.asked)
	}
}

func TestReadPictures(t *testing.T) {
	dir := t.TempDir()
	for name, data := range map[string]string{"b.JPG": "B", "a.png": "A", "notes.txt": "no", "c.jpg.part": "no"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := load.ReadPictures([]string{dir, filepath.Join(dir, "notes.txt")})
	if err != nil || fmt.Sprint(got) != "[{a.png [65]} {b.JPG [66]} {notes.txt [110 111]}]" {
		t.Errorf("%v %v", got, err)
	}
	for want, paths := range map[string][]string{"no pictures named": nil, "no such file": {filepath.Join(dir, "x.jpg")}, "has no pictures": {t.TempDir()}} {
		if _, err := load.ReadPictures(paths); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", paths, err)
		}
	}
}

// Where nobody answers it is given up; who answers badly is asked to the end.
func TestGivesUp(t *testing.T) {
	s := newServer(t, func(_ int, w http.ResponseWriter) { http.Error(w, `{"detail":"no such model"}`, http.StatusNotFound) })
	o := options(s)
	r, err := load.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Requests != 60 || r.GaveUp || r.Messages["404"] != "no such model" {
		t.Errorf("%d requests, gave up: %v, said %q", r.Requests, r.GaveUp, r.Messages)
	}
	s.Close()
	o.Requests = 10_000
	if r, err = load.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if r.Requests < 20 || r.Requests > 40 || !r.GaveUp || !strings.Contains(r.Messages["refused"], "refused") {
		t.Errorf("%d requests, gave up: %v, said %q", r.Requests, r.GaveUp, r.Messages)
	}
}
