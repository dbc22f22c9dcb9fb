package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// A recorded exchange is a request and what the Python server answered.
type recorded struct {
	Name    string `json:"name"`
	Request struct {
		Method   string            `json:"method"`
		Path     string            `json:"path"`
		Headers  map[string]string `json:"headers"`
		Image    string            `json:"image"`
		Fields   map[string]string `json:"fields"`
		Field    string            `json:"file_field"`
		Filename string            `json:"filename"`
	} `json:"request"`
	Response struct {
		Status  int               `json:"status"`
		Headers map[string]string `json:"headers"`
		JSON    json.RawMessage   `json:"json"`
		Text    string            `json:"text"`
	} `json:"response"`
}

func recordings(t *testing.T, path string) []recorded {
	t.Helper()
	var all []recorded
	if err := json.Unmarshal(readFile(t, path), &all); err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatalf("%s holds no recording", path)
	}
	return all
}

// replay sends a recorded request again; images lie in a folder.
func (s *server) replay(t *testing.T, r recorded, images string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(r.Request.Method, s.url+r.Request.Path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Request.Method == http.MethodPost {
		u := upload{fields: r.Request.Fields, field: r.Request.Field, filename: r.Request.Filename}
		if r.Request.Image != "" {
			u.image = readFile(t, filepath.Join(images, r.Request.Image))
		}
		contentType, body := u.encode()
		req.Header.Set("Content-Type", contentType)
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	for k, v := range r.Request.Headers {
		req.Header.Set(k, v)
	}
	got, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return got, body
}

// compare checks status, headers and body of an answer against the recorded one.
func (r recorded) compare(t *testing.T, got *http.Response, body []byte) {
	t.Helper()
	want := r.Response
	if got.StatusCode != want.Status {
		t.Errorf("status %d, want %d: %s", got.StatusCode, want.Status, body)
	}
	for k, v := range want.Headers {
		if g := got.Header.Get(k); g != v {
			t.Errorf("header %s is %q, want %q", k, g, v)
		}
	}
	var g, w any
	switch {
	case want.JSON == nil && strings.HasPrefix(want.Headers["content-type"], "text/html"):
		return // the documentation is our own
	case want.JSON == nil:
		if string(body) != want.Text {
			t.Errorf("body %q, want %q", body, want.Text)
		}
		return
	}
	if err := json.Unmarshal(body, &g); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if err := json.Unmarshal(want.JSON, &w); err != nil {
		t.Fatal(err)
	}
	var found, expected struct{ Predictions []prediction }
	if err := json.Unmarshal(want.JSON, &expected); err == nil && expected.Predictions != nil {
		if err := json.Unmarshal(body, &found); err != nil || found.Predictions == nil {
			t.Fatalf("no predictions: %s", body)
		}
		same(t, found.Predictions, expected.Predictions, toleranceOf(r.Request.Image))
		return
	}
	if !within(g, w, r.Request.Path == "/api/v2/cache/stats") {
		t.Errorf("body %s, want at least %s", body, want.JSON)
	}
}

// toleranceOf goes by how a picture's format is decoded.
func toleranceOf(image string) tolerance {
	switch strings.ToLower(filepath.Ext(image)) {
	case ".jpg", ".jpeg", ".webp":
		return lossy
	}
	return lossless
}

// within reports whether an answer has everything that is wanted, member by
// member; more members are no harm to an old client. Of measured numbers only
// the kind is compared.
func within(got, want any, measured bool) bool {
	w, ok := want.(map[string]any)
	if !ok {
		if measured {
			return reflect.TypeOf(got) == reflect.TypeOf(want)
		}
		return reflect.DeepEqual(got, want)
	}
	g, ok := got.(map[string]any)
	for k, v := range w {
		member, there := g[k]
		ok = ok && there && within(member, v, measured)
	}
	return ok
}

// The old server's answers, recorded from it, come again: the models folder, the
// pictures and the requests are the same.
func TestReplayOfTheOldServer(t *testing.T) {
	t.Parallel()
	needORT(t)
	compat := needShared(t, "fixtures/compat")
	h := newHome(t)
	h.models = filepath.Join(compat, "models")
	s := start(t, h, "ENABLE_LRU_CACHE=true", "SAVE_ANNOTATED=off")
	for _, r := range recordings(t, filepath.Join(compat, "original.json")) {
		t.Run(r.Name, func(t *testing.T) {
			got, body := s.replay(t, r, filepath.Join(compat, "images"))
			r.compare(t, got, body)
		})
	}
}

// A Python server's answers for the demo model, over every format and mode of
// picture, recorded by testdata/record.py.
func TestReplayOfTheDemoModel(t *testing.T) {
	t.Parallel()
	needORT(t)
	s := start(t, newHome(t), "SAVE_ANNOTATED=off")
	for _, r := range recordings(t, "testdata/recorded.json") {
		t.Run(r.Name, func(t *testing.T) {
			got, body := s.replay(t, r, "testdata/pictures")
			r.compare(t, got, body)
		})
	}
}
