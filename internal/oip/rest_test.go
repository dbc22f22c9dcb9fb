package oip_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lazyolo/internal/bodies"
	"lazyolo/internal/oip"
	"lazyolo/yolo"
)

// An echo is one model that gives back the two numbers it is given.
type echo struct{}

var model = &yolo.Model{ID: "echo", Version: "1", Task: yolo.Detect}

func (echo) All() []*yolo.Model { return []*yolo.Model{model} }
func (echo) Signature(context.Context, *yolo.Model) (yolo.Signature, error) {
	t := []yolo.TensorInfo{{Name: "x", DType: yolo.FP32, Shape: []int64{2}}}
	return yolo.Signature{Inputs: t, Outputs: t}, nil
}
func (echo) Infer(_ context.Context, _ string, in []yolo.Tensor, use func([]yolo.Tensor) error) error {
	return use([]yolo.Tensor{{Shape: []int64{2}, Data: in[0].Data}})
}
func (echo) Detect(_ context.Context, r yolo.Request) (*yolo.Result, error) {
	return &yolo.Result{Objects: []yolo.Object{{Name: string(r.Image), Confidence: 0.1}}}, nil
}
func (echo) Counts(*yolo.Model) yolo.Counts            { return yolo.Counts{} }
func (echo) Load(context.Context, *yolo.Model) error   { return nil }
func (echo) Unload(context.Context, *yolo.Model) error { return nil }
func (echo) Status() []yolo.Status                     { return nil }
func answer(r *yolo.Result, _ string) ([]byte, error)  { return []byte(`{"n":1}`), nil }

func door(t testing.TB) *oip.Door {
	t.Helper()
	c, err := oip.NewCore(echo{}, echo{}, echo{}, oip.Options{Ready: func() bool { return false }, Bodies: bodies.New(0), Answer: answer})
	if err != nil {
		t.Fatal(err)
	}
	d, err := oip.NewDoor(c, oip.RESTOptions{Log: slog.New(slog.DiscardHandler), MaxBody: 4096, UploadTimeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func squeeze(b string, w io.WriteCloser, to *bytes.Buffer) string {
	_, _ = io.WriteString(w, b) // a bytes.Buffer never fails
	_ = w.Close()
	return to.String()
}

func gzipped(b string) string {
	var to bytes.Buffer
	return squeeze(b, gzip.NewWriter(&to), &to)
}

func deflated(b string) string {
	var to bytes.Buffer
	return squeeze(b, zlib.NewWriter(&to), &to)
}

const (
	inJSON  = `{"id":"7","inputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1,2.5]}]}`
	outJSON = `{"model_name":"echo","model_version":"1","id":"7","outputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1,2.5]}]}`
	numbers = "\x00\x00\x80\x3f\x00\x00\x20\x40"
)

// head is the JSON before so many bytes.
func head(size string) string {
	return `{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"parameters":{"binary_data_size":` + size + `}}]}`
}

func TestBodies(t *testing.T) {
	s := httptest.NewServer(door(t))
	defer s.Close()
	const length = "Inference-Header-Content-Length"
	out := `{"model_name":"echo","model_version":"1","outputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1,2.5]}]}`
	of := func(s string) string { return fmt.Sprint(len(s)) }
	for _, tt := range []struct {
		name    string
		body    string
		headers string // name value name value
		status  int
		says    string
	}{
		{"JSON", inJSON, "", 200, outJSON},
		{"gzip", gzipped(inJSON), "Content-Encoding gzip", 200, outJSON},
		{"deflate", deflated(inJSON), "Content-Encoding deflate", 200, outJSON},
		{"gzip that is none", inJSON, "Content-Encoding gzip", 400, "not of Content-Encoding"},
		{"another encoding", inJSON, "Content-Encoding br", 415, "br"},
		{"a bomb", gzipped(strings.Repeat(" ", 1<<20)), "Content-Encoding gzip", 413, "4096"},
		{"too large", strings.Repeat(" ", 5000), "", 413, "4096"},
		{"binary", head("8") + numbers, length + " " + of(head("8")), 200, out},
		{"binary, gzip", gzipped(head("8") + numbers), "Content-Encoding gzip " + length + " " + of(head("8")), 200, out},
		{"binary, its size left out", `{"inputs":[{"name":"x","datatype":"FP32","shape":[2]}]}` + numbers, length + " 55", 200, out},
		{"binary without the header", head("8") + numbers, "", 400, "follows"},
		{"its JSON alone", head("8"), "", 400, length},
		{"more bytes", head("8") + numbers + "x", length + " " + of(head("8")), 400, "9 bytes follow"},
		{"more bytes, gzip", gzipped(head("8") + numbers + "x"), "Content-Encoding gzip " + length + " " + of(head("8")), 400, "more bytes"},
		{"fewer bytes", head("8") + numbers[1:], length + " " + of(head("8")), 400, "7 bytes follow"},
		{"fewer bytes, gzip", gzipped(head("8") + numbers[1:]), "Content-Encoding gzip " + length + " " + of(head("8")), 400, "shorter"},
		{"a huge size", head("9223372036854775807"), length + " " + of(head("9223372036854775807")), 400, "come to 9223372036854775807"},
		{"a huge size, gzip", gzipped(head("9223372036854775807")), "Content-Encoding gzip " + length + " " + of(head("9223372036854775807")), 400, "shorter"},
		{"a size of words", head(`"8"`) + numbers, length + " " + of(head(`"8"`)), 400, "binary_data_size"},
		{"a header beyond the body", inJSON, length + " 4000", 400, length},
		{"a negative header", inJSON, length + " -1", 400, length},
		{"a header of words", inJSON, length + " many", 400, length},
		{"a raw request", numbers, length + " 0", 200, numbers},
		{"a raw picture", "jpeg", length + " 0 Content-Type image/jpeg", 200, "jpeg"},
		{"nothing", "", "", 400, "expected"},
	} {
		r, err := http.NewRequest("POST", s.URL+"/v2/models/echo/infer", strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		words := strings.Fields(tt.headers)
		for i := 0; i < len(words); i += 2 {
			r.Header.Set(words[i], words[i+1])
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != tt.status || !strings.Contains(string(b), tt.says) {
			t.Errorf("%s: %d %q %v", tt.name, resp.StatusCode, b, err)
		}
		if tt.status >= 400 && !strings.Contains(string(b), `{"error":"`) {
			t.Errorf("%s: %s", tt.name, b)
		}
	}
}

// An upload that does not come ends.
func TestSlowUploads(t *testing.T) {
	s := httptest.NewServer(door(t))
	defer s.Close()
	body, w := io.Pipe()
	defer w.Close()
	r, err := http.NewRequest("POST", s.URL+"/v2/models/echo/infer", body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 100
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestTimeout {
		t.Error(resp.Status)
	}
}

func TestPathsAndScopes(t *testing.T) {
	d := door(t)
	for _, tt := range []struct {
		method, path string
		status       int
		scope        yolo.Scope
	}{
		{"GET", "/v2", 200, yolo.Read}, {"GET", "/v2/", 200, yolo.Read}, {"GET", "/v2/health/live", 200, yolo.Open},
		{"GET", "/v2/health/ready", 503, yolo.Open}, {"HEAD", "/v2/health/live", 200, yolo.Open},
		{"GET", "/v2/models/echo", 200, yolo.Read}, {"GET", "/v2/models/echo/versions/1/ready", 200, yolo.Open},
		{"GET", "/v2/models/echo/versions/2/ready", 404, yolo.Open}, {"GET", "/v2/models/echo/infer", 405, yolo.Infer},
		{"POST", "/v2/models/echo", 405, yolo.Read}, {"GET", "/v2/models/echo/config", 200, yolo.Read}, {"GET", "/v2/models/stats", 200, yolo.Read},
		{"POST", "/v2/repository/models/echo/load", 200, yolo.Admin}, {"POST", "/v2/repository/models/echo/unload", 200, yolo.Admin},
		{"POST", "/v2/repository/models/echo/pin", 404, yolo.Open}, {"POST", "/v2/repository/index", 200, yolo.Read},
		{"GET", "/v2/systemsharedmemory/status", 404, yolo.Open}, {"GET", "/v2/models", 404, yolo.Open}, {"GET", "/v2/models//infer", 404, yolo.Open},
	} {
		r := httptest.NewRequest(tt.method, tt.path, nil)
		w := &deadliner{httptest.NewRecorder()}
		d.ServeHTTP(w, r)
		if w.Code != tt.status {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, w.Code, w.Body)
		}
		if got := d.Scope(r); got != tt.scope || !d.Owns(tt.path) {
			t.Errorf("%s: scope %v", tt.path, got)
		}
	}
	if d.Owns("/v2x") || d.Owns("/api/v2/detect") || d.Owns("/") {
		t.Error("it owns what is not its own")
	}
}

// A deadliner is a recorder whose connection has deadlines.
type deadliner struct{ *httptest.ResponseRecorder }

func (deadliner) SetReadDeadline(time.Time) error { return nil }

// FuzzInfer sends any body.
func FuzzInfer(f *testing.F) {
	f.Add([]byte(inJSON), "", "")
	f.Add([]byte(head("8")+numbers), fmt.Sprint(len(head("8"))), "")
	f.Add([]byte(gzipped(inJSON)), "", "gzip")
	f.Add([]byte("jpeg"), "0", "")
	d := door(f)
	f.Fuzz(func(t *testing.T, body []byte, length, encoding string) {
		r := httptest.NewRequest("POST", "/v2/models/echo/infer", bytes.NewReader(body))
		if length != "" {
			r.Header.Set("Inference-Header-Content-Length", length)
		}
		if encoding != "" {
			r.Header.Set("Content-Encoding", encoding)
		}
		w := &deadliner{httptest.NewRecorder()}
		d.ServeHTTP(w, r)
		if w.Code != 200 && (w.Code < 400 || w.Code >= 500) {
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
	})
}
