package e2e

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pngHeader is the beginning of a PNG of this size: signature and header.
func pngHeader(width, height uint32) []byte {
	chunk := append([]byte("IHDR"), binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, width), height)...)
	chunk = append(chunk, 8, 2, 0, 0, 0)
	b := append([]byte("\x89PNG\r\n\x1a\n"), 0, 0, 0, 13)
	b = append(b, chunk...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(chunk))
}

// onePixel is a whole GIF of one white pixel.
var onePixel = []byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;")

// Whatever a client sends gets its answer, and the next client is served.
func TestBadInputIsAnsweredAndTheServerStaysUp(t *testing.T) {
	t.Parallel()
	needORT(t)
	s := start(t, newHome(t), "MAX_BODY_MB=1")
	good := smallPicture(t)
	decode := `{"error":"Failed to decode image"}`
	missing := `{"detail":[{"type":"missing","loc":["body","file"],"msg":"Field required","input":null}]}`
	for _, c := range []struct {
		name   string
		send   upload
		status int
		body   string // "": any
	}{
		{"not an image", picture("0", []byte("this is text")), 200, decode},
		{"truncated JPEG", picture("0", good[:len(good)/2]), 200, decode},
		{"header only", picture("0", good[:20]), 200, decode},
		{"empty file", picture("0", nil), 200, decode},
		{"one pixel", picture("0", onePixel), 200, `{"predictions":[]}`},
		{"30000 x 30000 PNG header", picture("0", pngHeader(30000, 30000)), 413, ""},
		{"4 billion x 4 billion PNG header", picture("0", pngHeader(1<<32-1, 1<<32-1)), 0, ""},
		{"0 x 0 PNG header", picture("0", pngHeader(0, 0)), 200, decode},
		{"no file", upload{fields: map[string]string{"model_id": "0"}}, 422, missing},
		{"empty form", upload{}, 0, ""},
		{"wrong field", upload{field: "image", filename: "a.jpg", image: good}, 422, missing},
		{"file as text", upload{fields: map[string]string{"file": "hello"}}, 422, ""},
		{"file name of 10,000 bytes", upload{field: "file", filename: strings.Repeat("n", 10_000) + ".jpg", image: good}, 400, ""},
		{"body over the limit", picture("0", make([]byte, 3<<19)), 413, ""},
		{"model_id a word", picture("abc", good), 422, ""},
		{"model_id negative", picture("-1", good), 200, `{"error":"Model ID -1 not found"}`},
		{"model_id unknown", picture("99", good), 200, `{"error":"Model ID 99 not found"}`},
		{"model_id of 30 digits", picture(strings.Repeat("9", 30), good), 200, `{"error":"Model ID ` + strings.Repeat("9", 30) + ` not found"}`},
		{"model_id of 10,000 digits", picture(strings.Repeat("9", 10_000), good), 422, ""},
		{"model_id a fraction", picture("0.5", good), 422, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := s.post(t, c.send)
			if c.status != 0 && a.status != c.status || a.status >= 500 || c.body != "" && a.body != c.body {
				t.Errorf("got %v, want %d %s", a, c.status, c.body)
			}
			s.serves(t, "0")
		})
	}
	for _, id := range []string{" 0", "00", "0.0", ""} {
		s.serves(t, id)
	}
	if s.log.count("panic") > 0 {
		t.Errorf("panicked:\n%s", s.log.String())
	}
}

// raw opens a connection and sends the head of a detect request whose body has
// n bytes, and the first part of it.
func (s *server) raw(t *testing.T, contentType string, n int, first []byte) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	head := fmt.Sprintf("POST /api/v2/detect HTTP/1.1\r\nHost: test\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", contentType, n)
	if _, err := conn.Write(append([]byte(head), first...)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// receive reads the answer on a raw connection.
func receive(t *testing.T, conn net.Conn) answer {
	t.Helper()
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := readAnswer(r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// An upload that does not go on is ended after its time.
func TestSlowUploadIsEnded(t *testing.T) {
	t.Parallel()
	needORT(t)
	s := start(t, newHome(t), "UPLOAD_TIMEOUT=1s")
	contentType, body := picture("0", smallPicture(t)).encode()
	if a := receive(t, s.raw(t, contentType, len(body), body[:100])); a.status != http.StatusRequestTimeout {
		t.Errorf("got %v, want 408", a)
	}
	s.serves(t, "0")
}

// A client that hangs up in the middle of its upload disturbs nobody.
func TestClientThatHangsUpDisturbsNobody(t *testing.T) {
	t.Parallel()
	needORT(t)
	s := start(t, newHome(t))
	contentType, body := picture("0", smallPicture(t)).encode()
	for range 10 {
		s.raw(t, contentType, len(body), body[:len(body)/2]).Close()
	}
	s.serves(t, "0")
	if s.log.count("level=ERROR")+s.log.count("level=WARN") > 0 {
		t.Errorf("a client that leaves is no news:\n%s", s.log.String())
	}
}

// A body of unknown length is counted as it comes.
func TestChunkedBodyOverTheLimitIsRefused(t *testing.T) {
	t.Parallel()
	needORT(t)
	s := start(t, newHome(t), "MAX_BODY_MB=1")
	contentType, body := picture("0", make([]byte, 3<<19)).encode()
	r, err := http.NewRequest(http.MethodPost, s.url+"/api/v2/detect", struct{ *bytes.Reader }{bytes.NewReader(body)})
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	r.ContentLength = -1
	got, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	a, err := readAnswer(got)
	if err != nil {
		t.Fatal(err)
	}
	if a.status != http.StatusRequestEntityTooLarge || !strings.Contains(a.Error, "MAX_BODY_MB") {
		t.Errorf("got %v, want 413 that names MAX_BODY_MB", a)
	}
	s.serves(t, "0")
}

// The annotated picture appears under the client's file name, made safe: nothing
// is ever written outside the output folder.
func TestFileNamesNeverLeaveTheOutputFolder(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	outside := filepath.Dir(h.output)
	first := start(t, h)
	first.serves(t, "0")
	first.stop(t) // what the first use and the stop write is there then
	s := start(t, h)
	before := tree(t, outside, h.output)
	for sent, saved := range map[string]string{
		"plain.jpg":                          "plain.jpg",
		"../../up.jpg":                       "up.jpg",
		"/etc/absolute.jpg":                  "absolute.jpg",
		`..\..\windows.jpg`:                  "windows.jpg",
		"../":                                "",
		"..":                                 "",
		".hidden.jpg":                        "hidden.jpg",
		"a/../../b/deep.jpg":                 "deep.jpg",
		"图片 1.jpg":                           "图片 1.jpg",
		"no-extension":                       "no-extension",
		"unknown.xyz":                        "unknown.xyz",
		"upper.JPG":                          "upper.JPG",
		"out.png":                            "out.png",
		strings.Repeat("long", 200) + ".jpg": strings.Repeat("long", 49) + ".jpg",
	} {
		a := s.post(t, upload{field: "file", filename: sent, image: smallPicture(t)})
		if len(a.Predictions) == 0 {
			t.Errorf("%q: %v", sent, a)
		}
		if saved == "" {
			continue
		}
		waitFor(t, fmt.Sprintf("the annotated picture of %.50q; log:\n%s", sent, s.log.String()), func() bool {
			_, err := os.Stat(filepath.Join(h.output, saved))
			return err == nil
		})
	}
	s.stop(t)
	if after := tree(t, outside, h.output); after != before {
		t.Errorf("written outside the output folder:\n%s\nbefore:\n%s", after, before)
	}
}

// tree lists a folder's files, those in skip left out.
func tree(t *testing.T, dir, skip string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if path == skip {
			return filepath.SkipDir
		}
		fmt.Fprintln(&b, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// With SAVE_ANNOTATED=off nothing is written, and that is no ill health.
func TestAnnotatedPicturesCanBeOff(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	s := start(t, h, "SAVE_ANNOTATED=off")
	s.serves(t, "0")
	var health struct{ Status string }
	if s.get(t, "/api/v1/health", &health); health.Status != "ok" {
		t.Errorf("status %q, want ok", health.Status)
	}
	s.stop(t)
	if _, err := os.Stat(h.output); err == nil {
		t.Error("the output folder was made")
	}
}
