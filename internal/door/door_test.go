package door_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lazyolo/internal/door"
)

// serve has handle answer one request and returns the answer and the log.
func serve(t *testing.T, handle func(w *door.Recorder)) (answer *httptest.ResponseRecorder, log, id string) {
	t.Helper()
	var b bytes.Buffer
	answer = httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/path?key=secret", nil)
	door.Serve(answer, r, slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})), handle, func(w *door.Recorder, told string) {
		id = told
		http.Error(w, "internal", http.StatusInternalServerError)
	})
	return answer, b.String(), id
}

func TestServeLogs(t *testing.T) {
	answer, log, _ := serve(t, func(w *door.Recorder) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "short")
	})
	if answer.Body.String() != "short" || !strings.Contains(log, "method=POST path=/path status=418 bytes=5") || strings.Contains(log, "secret") {
		t.Errorf("%q, log %s", answer.Body, log)
	}
	if _, log, _ := serve(t, func(w *door.Recorder) { _, _ = io.WriteString(w, "ok") }); !strings.Contains(log, "status=200 bytes=2") {
		t.Errorf("log %s", log)
	}
}

func TestServeSurvivesPanics(t *testing.T) {
	answer, log, id := serve(t, func(*door.Recorder) { panic("a secret") })
	if answer.Code != http.StatusInternalServerError || strings.Contains(answer.Body.String(), "secret") {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	if id == "" || !strings.Contains(log, "id="+id) || !strings.Contains(log, `error="a secret"`) || !strings.Contains(log, "door_test.go") {
		t.Errorf("id %q, log %s", id, log)
	}
	for name, handle := range map[string]func(*door.Recorder){
		"an answer that has begun": func(w *door.Recorder) { _, _ = io.WriteString(w, "half of"); panic("late") },
		"net/http's own way":       func(*door.Recorder) { panic(http.ErrAbortHandler) },
	} {
		func() {
			defer func() {
				if v := recover(); v != http.ErrAbortHandler {
					t.Errorf("%s: %v", name, v)
				}
			}()
			serve(t, handle)
			t.Errorf("%s: the connection is not cut", name)
		}()
	}
}

func TestDrainIsBounded(t *testing.T) {
	for name, tt := range map[string]struct {
		length int64
		expect string
		want   int // bytes read
	}{
		"all of it":               {15, "", 15},
		"of unknown length":       {-1, "", 20},
		"longer than twice":       {21, "", 0},
		"waits to be asked for":   {15, "100-continue", 0},
		"exactly twice the limit": {20, "", 20},
	} {
		body := strings.NewReader(strings.Repeat("x", 100))
		if tt.length > 0 {
			body = strings.NewReader(strings.Repeat("x", int(tt.length)))
		}
		r := httptest.NewRequest("POST", "/", io.NopCloser(body))
		r.ContentLength = tt.length
		if tt.expect != "" {
			r.Header.Set("Expect", tt.expect)
		}
		before := body.Len()
		if door.Drain(r, 10); before-body.Len() != tt.want {
			t.Errorf("%s: %d bytes read, want %d", name, before-body.Len(), tt.want)
		}
	}
}

func TestIDsDiffer(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		id := door.NewID()
		if len(id) != 8 || seen[id] {
			t.Fatalf("%q, the %dth", id, len(seen))
		}
		seen[id] = true
	}
}
