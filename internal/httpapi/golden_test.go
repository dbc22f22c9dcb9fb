package httpapi_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lazyolo/internal/httpapi"
	"lazyolo/yolo"
)

// A piece of a recorded body: text, a repetition or bytes.
type piece []byte

func (p *piece) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*p = []byte(text)
		return nil
	}
	var o struct {
		Repeat, Base64 string
		Times          int
	}
	if err := json.Unmarshal(b, &o); err != nil {
		return err
	}
	if o.Base64 != "" {
		raw, err := base64.StdEncoding.DecodeString(o.Base64)
		*p = raw
		return err
	}
	*p = bytes.Repeat([]byte(o.Repeat), o.Times)
	return nil
}

// A golden is one exchange that was recorded.
type golden struct {
	Name    string
	Request struct {
		Method, Path string
		Headers      map[string]string
		Body         []piece           // fastapi.json
		Image        string            // original.json
		Fields       map[string]string // original.json
	}
	Response struct {
		Status  int
		Headers map[string]string
		JSON    any
		Text    string
	}
}

func goldens(t *testing.T, path string) []golden {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []golden
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// raw is the request as it was sent.
func (g *golden) raw() []byte {
	var body []byte
	for _, p := range g.Request.Body {
		body = append(body, p...)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: example.test\r\n", g.Request.Method, g.Request.Path)
	for k, v := range g.Request.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", k, v)
	}
	if len(body) > 0 || g.Request.Method == "POST" || g.Request.Method == "PUT" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

// deviate changes a recording where we differ on purpose; the package comment says why.
func (g *golden) deviate() {
	if to, err := url.Parse(g.Response.Headers["location"]); err == nil {
		to.Scheme, to.Host = "", ""
		g.Response.Headers["location"] = to.String()
	}
	known := strings.Contains(g.Request.Path, "/api/v") || strings.HasPrefix(g.Request.Path, "/docs") ||
		g.Request.Path == "/redoc" || g.Request.Path == "/openapi.json"
	if g.Response.Status == http.StatusNotFound || !known {
		for k := range g.Response.Headers {
			if k == "vary" || strings.HasPrefix(k, "access-control") {
				delete(g.Response.Headers, k)
			}
		}
	}
	switch g.Name {
	case "GET /":
		g.Response.Status, g.Response.JSON = http.StatusOK, nil
		g.Response.Headers["content-type"], g.Response.Headers["vary"] = "text/html; charset=utf-8", "Accept-Encoding"
	case "preflight of unknown":
		g.Response.Status = http.StatusNotFound
		g.Response.Headers["content-type"] = "application/json"
		g.Response.JSON, g.Response.Text = map[string]any{"detail": "Not Found"}, ""
	case "model_id as file", "model_id as file, no file":
		list := g.Response.JSON.(map[string]any)["detail"].([]any)
		last := list[len(list)-1].(map[string]any)
		last["input"] = map[string]any{"filename": "id.txt", "size": 1}
	case "model_id '0__1'":
		g.Response.Status = http.StatusUnprocessableEntity
		g.Response.JSON = map[string]any{"detail": []any{map[string]any{
			"type": "int_parsing", "loc": []any{"body", "model_id"}, "input": "0__1",
			"msg": "Input should be a valid integer, unable to parse string as an integer",
		}}}
	case "two files, last wins": // beside the last one's answer stands the list of all
		one := func(name string) any { return map[string]any{"filename": name, "predictions": []any{}} }
		g.Response.JSON.(map[string]any)["results"] = []any{one("a.jpg"), one("b.jpg")}
	case "raw jpeg body":
		g.Response.Status, g.Response.JSON = http.StatusOK, map[string]any{"predictions": []any{}}
		g.Response.Headers["x-file-size"] = "4"
	case "cors simple", "cors none", "cors null origin", "cors cookie", "GET /api/v1/health", "GET /api/v1/health?x=1",
		"GET /api/v1%2Fhealth", "GET /api/v1/he%61lth":
		g.Response.JSON = nil // the reference program answers nothing of interest there
	}
}

// TestFastAPI replays what FastAPI answered: testdata/fastapi.json.
func TestFastAPI(t *testing.T) {
	var size int
	detect := func(_ context.Context, r yolo.Request) (*yolo.Result, error) {
		size = len(r.Image)
		return &yolo.Result{}, nil
	}
	pictures := &album{}
	o := options(io.Discard)
	o.Annotate = pictures
	addr := serve(t, handler(t, detectFunc(detect), shapes(), o))
	for _, g := range goldens(t, "testdata/fastapi.json") {
		t.Run(g.Name, func(t *testing.T) {
			g.deviate()
			res, body := exchange(t, addr, g.Request.Method, g.raw())
			g.compare(t, res, body, false)
			answer, _ := g.Response.JSON.(map[string]any)
			if _, detected := answer["predictions"]; !detected {
				return
			}
			if want, _ := strconv.Atoi(g.Response.Headers["x-file-size"]); size != want {
				t.Errorf("detected in %d bytes, want %d", size, want)
			}
			client, err := url.PathUnescape(g.Response.Headers["x-file-name"])
			if err != nil {
				t.Fatal(err)
			}
			want := httpapi.SafeName(client, nil)
			if got := pictures.last().name; got != want && !strings.HasPrefix(want, "image-") {
				t.Errorf("saved as %q, want %q", got, want)
			}
		})
	}
}

// compare checks an answer against the recording; more allows further members.
func (g *golden) compare(t *testing.T, res *http.Response, body []byte, more bool) {
	t.Helper()
	if res.StatusCode != g.Response.Status {
		t.Fatalf("status %d, want %d; body %.300s", res.StatusCode, g.Response.Status, body)
	}
	for k, want := range g.Response.Headers {
		if strings.HasPrefix(k, "x-file") {
			continue
		}
		got := strings.Join(res.Header.Values(k), ", ")
		if k == "allow" { // Starlette keeps methods in a set
			a, b := strings.Split(got, ", "), strings.Split(want, ", ")
			slices.Sort(a)
			slices.Sort(b)
			got, want = fmt.Sprint(a), fmt.Sprint(b)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", k, got, want)
		}
	}
	for k := range res.Header {
		if _, ok := g.Response.Headers[strings.ToLower(k)]; !ok && strings.HasPrefix(k, "Access-Control") {
			t.Errorf("unexpected %s: %s", k, res.Header.Get(k))
		}
	}
	if g.Response.Text != "" && !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") && string(body) != g.Response.Text {
		t.Errorf("text %q, want %q", body, g.Response.Text)
	}
	if g.Response.JSON == nil {
		return
	}
	var got any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("decode %q: %v", body, err)
	}
	if !sameJSON(g.Response.JSON, got, more) {
		want, _ := json.Marshal(g.Response.JSON)
		t.Errorf("body\n%.600s\nwant\n%.600s", body, want)
	}
}

// TestOriginal replays exchanges with the old server itself: testdata/original.json.
// The detector repeats the recorded objects, so what is tested is how they are told.
func TestOriginal(t *testing.T) {
	for _, g := range goldens(t, "testdata/original.json") {
		t.Run(g.Name, func(t *testing.T) {
			recorded, _ := g.Response.JSON.(map[string]any)
			detect := detectFunc(func(context.Context, yolo.Request) (*yolo.Result, error) {
				if recorded["error"] == "Failed to decode image" {
					return nil, yolo.Errorf(yolo.Invalid, "cannot decode the picture")
				}
				return &yolo.Result{Objects: objects(recorded["predictions"])}, nil
			})
			addr := serve(t, handler(t, detect, shapes(), options(io.Discard)))
			if g.Request.Method == "POST" {
				g.asForm()
			}
			if g.Name == "cache-stats" {
				recorded["request_count"] = 0
			}
			res, body := exchange(t, addr, g.Request.Method, g.raw())
			g.compare(t, res, body, true)
		})
	}
}

// asForm makes the body of a recording in original.json.
func (g *golden) asForm() {
	var b strings.Builder
	for k, v := range g.Request.Fields {
		fmt.Fprintf(&b, "--B\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", k, v)
	}
	if g.Request.Image != "" {
		fmt.Fprintf(&b, "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=%q\r\n\r\nJPEG\r\n", g.Request.Image)
	}
	b.WriteString("--B--\r\n")
	g.Request.Body = []piece{[]byte(b.String())}
	g.Request.Headers = map[string]string{"Content-Type": "multipart/form-data; boundary=B"}
}

// objects reads predictions back; a quarter of a pixel is put on each corner,
// which the answer must cut off again.
func objects(predictions any) []yolo.Object {
	list, _ := predictions.([]any)
	var out []yolo.Object
	for _, p := range list {
		m := p.(map[string]any)
		at := func(k string) float32 { return float32(m[k].(float64)) + 0.25 }
		out = append(out, yolo.Object{
			Class: int(m["class_id"].(float64)), Name: m["class_name"].(string),
			Confidence: float32(m["confidence"].(float64)),
			Box:        yolo.Box{X1: at("x1"), Y1: at("y1"), X2: at("x2"), Y2: at("y2")},
		})
	}
	return out
}
