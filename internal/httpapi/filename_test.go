package httpapi_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"lazyolo/internal/httpapi"
)

// A deadlineRecorder is a ResponseRecorder on a connection with deadlines.
type deadlineRecorder struct{ *httptest.ResponseRecorder }

func (deadlineRecorder) SetReadDeadline(time.Time) error { return nil }

// record sends a detection through h without a network and returns the status.
func record(h http.Handler, contentType string, body []byte) int {
	r := httptest.NewRequest(http.MethodPost, "/api/v2/detect", bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	w := deadlineRecorder{httptest.NewRecorder()}
	h.ServeHTTP(w, r)
	return w.Code
}

func TestSafeName(t *testing.T) {
	png := []byte("\x89PNG\r\n\x1a\n")
	long := strings.Repeat("图", 100)
	tests := []struct {
		name, in, want string // want: a regular expression for the whole
	}{
		{"plain", "a.jpg", `a\.jpg`},
		{"other scripts", "图片 1.jpg", `图片 1\.jpg`},
		{"emoji", "😀.png", `😀\.png`},
		{"traversal", "../../etc/passwd", `passwd`},
		{"absolute", "/etc/passwd", `passwd`},
		{"windows", `C:\dir\a.jpg`, `a\.jpg`},
		{"mixed", `a/b\c/d.jpg`, `d\.jpg`},
		{"encoded is literal", "%2e%2e%2fa.jpg", `%2e%2e%2fa\.jpg`},
		{"hidden", ".bashrc", `bashrc`},
		{"dots and blanks", " . .. a.jpg \t", `a\.jpg`},
		{"nul", "a\x00.jpg", `a\.jpg`},
		{"newline", "a\r\nb.jpg", `ab\.jpg`},
		{"escape sequence", "\x1b[31ma.jpg", `\[31ma\.jpg`},
		{"right to left", "a\u202egpj.exe", `agpj\.exe`},
		{"not utf-8", "a\xff.jpg", `a\.jpg`},
		{"hidden dot behind a control", "\x01.a.jpg", `a\.jpg`},
		{"empty", "", `image-[0-9a-f]{8}\.png`},
		{"dot", ".", `image-[0-9a-f]{8}\.png`},
		{"two dots", "..", `image-[0-9a-f]{8}\.png`},
		{"folder", "a/", `image-[0-9a-f]{8}\.png`},
		{"controls", "\x01\x02", `image-[0-9a-f]{8}\.png`},
		{"long", long + ".jpeg", `图{65}\.jpeg`},
		{"long, no extension", long, `图{66}`},
		{"long extension", "a." + long, `a\.图{66}`},
		{"200 bytes", strings.Repeat("x", 196) + ".jpg", `x{196}\.jpg`},
		{"201 bytes", strings.Repeat("x", 197) + ".jpg", `x{196}\.jpg`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := httpapi.SafeName(tt.in, png)
			if !regexp.MustCompile(`^(?:` + tt.want + `)$`).MatchString(got) {
				t.Errorf("SafeName(%q) = %q, want %s", tt.in, got, tt.want)
			}
		})
	}
}

func TestMadeUpExtension(t *testing.T) {
	tests := []struct{ head, ext string }{
		{"\x89PNG\r\n\x1a\n", ".png"},
		{"\xff\xd8\xff\xe0", ".jpg"},
		{"BM......", ".bmp"},
		{"RIFF....WEBPVP8 ", ".webp"},
		{"", ".jpg"},
	}
	for _, tt := range tests {
		if got := filepath.Ext(httpapi.SafeName("", []byte(tt.head))); got != tt.ext {
			t.Errorf("for %q: %s, want %s", tt.head, got, tt.ext)
		}
	}
}

// FuzzFileName: whatever the client says, the name stays in its folder.
func FuzzFileName(f *testing.F) {
	for _, s := range []string{"", "a.jpg", "../a", `..\a`, ".\u202e.", "\x00", strings.Repeat("图", 100) + ".jpg", " .", "a\xff/..", ". ."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, client string) {
		got := httpapi.SafeName(client, nil)
		bad := strings.ContainsFunc(got, func(r rune) bool { return r == '/' || r == '\\' || unicode.IsControl(r) })
		if got == "" || bad || got[0] == '.' || got != filepath.Base(got) || !filepath.IsLocal(got) ||
			len(got) > httpapi.MaxName || !utf8.ValidString(got) {
			t.Errorf("SafeName(%q) = %q", client, got)
		}
	})
}
