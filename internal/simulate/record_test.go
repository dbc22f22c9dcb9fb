package simulate_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lazyolo/internal/simulate"
	"lazyolo/yolo"
)

func record(t *testing.T, path string, limit int64, use func(r *simulate.Recorder)) *simulate.Recorder {
	t.Helper()
	r, err := simulate.NewRecorder(path, limit)
	if err != nil {
		t.Fatal(err)
	}
	use(r)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.Record(&yolo.Model{ID: "late"}, 1, 0) // does nothing
	return r
}

func TestRecorder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	a, b := &yolo.Model{ID: "a"}, &yolo.Model{ID: "b"}
	record(t, path, 1<<20, func(r *simulate.Recorder) {
		r.Record(a, 100, 10*time.Millisecond)
		r.Record(b, 200, 0)
		r.Record(a, 100, 10*time.Millisecond)
	})
	// A crash cut the last line short; the next run goes on behind what is whole.
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(whole, `{"t":12`...), 0o644); err != nil {
		t.Fatal(err)
	}
	record(t, path, 1<<20, func(r *simulate.Recorder) { r.Record(a, 150, 10*time.Millisecond) })
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	trace, err := simulate.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	if len(trace.Accesses) != 4 || len(trace.Models) != 2 || trace.Models[0] != (simulate.Model{ID: "a", Bytes: 150, LoadMS: 10}) {
		t.Errorf("%+v", trace)
	}
}

// TestRecorderIsBounded: the file stops growing, and what is in it is whole.
func TestRecorderIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	const limit = 5000
	var r *simulate.Recorder
	for range 2 {
		r = record(t, path, limit, func(r *simulate.Recorder) {
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					for range 200 {
						r.Record(&yolo.Model{ID: "m"}, 1, time.Second)
					}
				})
			}
			all.Wait()
		})
	}
	text, err := os.ReadFile(path)
	if err != nil || len(text) > limit || r.Dropped() == 0 {
		t.Fatalf("%d bytes, %d dropped, %v", len(text), r.Dropped(), err)
	}
	if _, err := simulate.Read(strings.NewReader(string(text))); err != nil {
		t.Error(err)
	}
}

func TestRecorderCannotOpen(t *testing.T) {
	if _, err := simulate.NewRecorder(t.TempDir(), 1); err == nil {
		t.Error("a folder was opened")
	}
}
