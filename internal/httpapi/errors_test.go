package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lazyolo/yolo"
)

// TestErrors is the error table of the old API: yolo.Code to status and body.
func TestErrors(t *testing.T) {
	secret := errors.New("secret cause")
	coded := func(c yolo.Code, retry time.Duration) error {
		return fmt.Errorf("outer: %w", &yolo.Error{Code: c, Model: "model_0", Msg: "told", Retry: retry, Err: secret})
	}
	tests := []struct {
		name   string
		err    error
		status int
		text   string // "error"; empty: do not look
		retry  string
		id     bool // has an id that is in the log too
		level  string
	}{
		{"invalid", coded(yolo.Invalid, 0), 200, "Failed to decode image", "", false, "DEBUG"},
		{"unsupported", coded(yolo.Unsupported, 0), 200, "told", "", false, "INFO"},
		{"not found", coded(yolo.NotFound, 0), 200, "Model ID 0 not found", "", false, "DEBUG"},
		{"internal", coded(yolo.Internal, 0), 200, "Inference failed", "", false, "ERROR"},
		{"no code", secret, 200, "Inference failed", "", false, "ERROR"},
		{"unknown code", coded("new", 0), 200, "Inference failed", "", false, "ERROR"},
		{"too large", coded(yolo.TooLarge, 0), 413, "told", "", false, "DEBUG"},
		{"overloaded", coded(yolo.Overloaded, 0), 429, "told", "1", false, "DEBUG"},
		{"overloaded, retry", coded(yolo.Overloaded, 2500*time.Millisecond), 429, "told", "3", false, "DEBUG"},
		{"conflict", coded(yolo.Conflict, 0), 409, "told", "", false, "INFO"},
		{"load failed", coded(yolo.LoadFailed, 0), 503, "told", "", true, "WARN"},
		{"load failed, retry", coded(yolo.LoadFailed, 4*time.Second), 503, "told", "4", true, "WARN"},
		{"unavailable", coded(yolo.Unavailable, 0), 503, "told", "", true, "WARN"},
		{"deadline", coded(yolo.Deadline, 0), 504, "told", "", true, "WARN"},
		{"context deadline", context.DeadlineExceeded, 504, "", "", true, "WARN"},
		{"canceled", context.Canceled, 499, "", "", false, "DEBUG"},
	}
	for _, path := range []string{"/api/v1/detect", "/api/v2/detect"} {
		for _, tt := range tests {
			t.Run(path+" "+tt.name, func(t *testing.T) {
				var log syncBuffer
				addr := serve(t, handler(t, failing(tt.err), shapes(), options(&log)))
				res, body := exchange(t, addr, "POST", post(path, "a.jpg", []byte("x")))
				var got map[string]string
				if err := json.Unmarshal(body, &got); err != nil {
					t.Fatalf("decode %q: %v", body, err)
				}
				if res.StatusCode != tt.status || res.Header.Get("Retry-After") != tt.retry {
					t.Errorf("status %d, Retry-After %q; want %d, %q", res.StatusCode, res.Header.Get("Retry-After"), tt.status, tt.retry)
				}
				if reason := res.Header.Get("X-Error-Reason"); (reason == "told") != (tt.name == "invalid") {
					t.Errorf("reason %q; a picture that cannot be decoded has one", reason)
				}
				if tt.text != "" && got["error"] != tt.text {
					t.Errorf("error %q, want %q", got["error"], tt.text)
				}
				if (got["id"] != "") != tt.id || tt.id && !strings.Contains(log.String(), "id="+got["id"]) {
					t.Errorf("id %q, want one: %v; log:\n%s", got["id"], tt.id, &log)
				}
				if bytes.Contains(body, []byte("secret")) {
					t.Errorf("the cause is told: %s", body)
				}
				if n := strings.Count(log.String(), "request failed"); n != 1 || !strings.Contains(log.String(), "level="+tt.level+" msg=\"request failed\"") {
					t.Errorf("logged %d times, want once at %s:\n%s", n, tt.level, &log)
				}
			})
		}
	}
}

// TestNotANumber: what JSON cannot hold is a failure, not half an answer.
func TestNotANumber(t *testing.T) {
	nan := yolo.Object{Confidence: float32(math.NaN())}
	addr := serve(t, handler(t, found(nan), shapes(), options(io.Discard)))
	res, body := exchange(t, addr, "POST", post("/api/v2/detect", "a.jpg", []byte("x")))
	if want := `{"error":"Inference failed"}`; res.StatusCode != 200 || string(body) != want {
		t.Errorf("%d %s, want 200 %s", res.StatusCode, body, want)
	}
}

func TestRequestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(io.Discard)
		o.RequestTimeout = 5 * time.Second
		slow := detectFunc(func(ctx context.Context, _ yolo.Request) (*yolo.Result, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		dial := pipeServer(t, handler(t, slow, shapes(), o))
		c := dial()
		start := time.Now()
		if _, err := c.Write(post("/api/v2/detect", "a.jpg", []byte("x"))); err != nil {
			t.Fatal(err)
		}
		res, _ := answer(t, c, "POST")
		if took := time.Since(start); res.StatusCode != http.StatusGatewayTimeout || took != o.RequestTimeout {
			t.Errorf("%d after %v, want 504 after %v", res.StatusCode, took, o.RequestTimeout)
		}
	})
}

func TestPanic(t *testing.T) {
	var log syncBuffer
	boom := detectFunc(func(context.Context, yolo.Request) (*yolo.Result, error) { panic("boom") })
	addr := serve(t, handler(t, boom, shapes(), options(&log)))
	res, body := exchange(t, addr, "POST", post("/api/v2/detect", "a.jpg", []byte("x")))
	var got map[string]string
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("decode %q: %v", body, err)
	}
	if res.StatusCode != 500 || got["error"] != "internal error" || got["id"] == "" {
		t.Errorf("%d %s, want 500 with an id", res.StatusCode, body)
	}
	for _, want := range []string{"boom", "id=" + got["id"], "errors_test.go"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, &log)
		}
	}
}
