package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"lazyolo/internal/httpapi"
	"lazyolo/web"
)

// get fetches a path, with the Accept-Encoding given.
func get(t *testing.T, addr, method, path, encoding string) (*http.Response, []byte) {
	t.Helper()
	raw := method + " " + path + " HTTP/1.1\r\nHost: x\r\nAccept-Encoding: " + encoding + "\r\n\r\n"
	return exchange(t, addr, method, []byte(raw))
}

// TestDocsOffline follows every link of the page: each must be on this server.
func TestDocsOffline(t *testing.T) {
	addr := serve(t, handler(t, found(), shapes(), options(io.Discard)))
	for _, path := range []string{"/docs", "/redoc"} {
		res, page := get(t, addr, "GET", path, "gzip")
		if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
			t.Fatalf("%s: %d %s", path, res.StatusCode, res.Header)
		}
		csp := res.Header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "//") {
			t.Errorf("%s: policy %q", path, csp)
		}
		links := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllSubmatch(page, -1)
		if len(links) < 4 {
			t.Errorf("%s: only %d links", path, len(links))
		}
		for _, l := range links {
			link := string(l[1])
			if link == "data:," {
				continue
			}
			if strings.Contains(link, ":") || strings.HasPrefix(link, "/") {
				t.Errorf("%s: %q is not relative", path, link)
			}
			if res, body := get(t, addr, "GET", "/"+link, "gzip"); res.StatusCode != 200 || len(body) == 0 {
				t.Errorf("%s: %s answers %d with %d bytes", path, link, res.StatusCode, len(body))
			}
		}
		if bytes.Contains(page, []byte("//")) {
			t.Errorf("%s names another host:\n%s", path, page)
		}
	}
	if _, script := get(t, addr, "GET", "/docs/init.js", ""); bytes.Contains(script, []byte("http")) {
		t.Errorf("init.js names another host:\n%s", script)
	}
}

// TestVendored: what is served is what VENDORED.md says, gzipped or not.
func TestVendored(t *testing.T) {
	addr := serve(t, handler(t, found(), shapes(), options(io.Discard)))
	notes, err := fs.ReadFile(web.Docs, "docs/swagger-ui/VENDORED.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(notes), "| version | "+web.SwaggerUI+" |") {
		t.Errorf("VENDORED.md has another version than %s", web.SwaggerUI)
	}
	for _, name := range []string{"swagger-ui-bundle.js", "swagger-ui.css"} {
		path := "/docs/" + web.SwaggerUI + "/" + name
		res, packed := get(t, addr, "GET", path, "br, gzip;q=0.5")
		if res.Header.Get("Content-Encoding") != "gzip" || !strings.Contains(res.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: headers %v", name, res.Header)
		}
		z, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		unpacked, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		res, plain := get(t, addr, "GET", path, "identity")
		if res.Header.Get("Content-Encoding") != "" || !bytes.Equal(plain, unpacked) {
			t.Errorf("%s: plain and gzipped differ", name)
		}
		sum := sha256.Sum256(plain)
		if want := "| `" + name + "` | `" + hex.EncodeToString(sum[:]) + "` |"; !strings.Contains(string(notes), want) {
			t.Errorf("VENDORED.md lacks %s", want)
		}
		if res, body := get(t, addr, "HEAD", path, ""); res.StatusCode != 200 || len(body) > 0 {
			t.Errorf("%s: HEAD answers %d with %d bytes", name, res.StatusCode, len(body))
		}
	}
	for _, name := range []string{"LICENSE", "NOTICE", "LICENSE-components"} {
		if res, body := get(t, addr, "GET", "/docs/"+web.SwaggerUI+"/"+name, ""); res.StatusCode != 200 || len(body) == 0 {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
}

func TestNotModified(t *testing.T) {
	addr := serve(t, handler(t, found(), shapes(), options(io.Discard)))
	path := "/docs/" + web.SwaggerUI + "/swagger-ui.css"
	res, _ := get(t, addr, "GET", path, "gzip")
	res, body := get(t, addr, "GET", path, "gzip\r\nIf-None-Match: "+res.Header.Get("ETag"))
	if res.StatusCode != http.StatusNotModified || len(body) > 0 {
		t.Errorf("%d with %d bytes, want 304", res.StatusCode, len(body))
	}
}

func TestAcceptsGzip(t *testing.T) {
	tests := []struct {
		header string
		want   bool
	}{
		{"", false}, {"gzip", true}, {"GZIP", true}, {"br, gzip", true}, {"gzip;q=0", false}, {"gzip; q=0.1", true},
		{"*", true}, {"*;q=0", false}, {"*, gzip;q=0", false}, {"gzip;q=x", false}, {"identity", false}, {"xgzip", false},
	}
	for _, tt := range tests {
		if got := httpapi.AcceptsGzip(http.Header{"Accept-Encoding": {tt.header}}); got != tt.want {
			t.Errorf("AcceptsGzip(%q) = %v, want %v", tt.header, got, tt.want)
		}
	}
}

// TestOpenAPI: the document has every path of the API, with its methods, and
// every reference in it leads somewhere.
func TestOpenAPI(t *testing.T) {
	addr := serve(t, handler(t, found(), shapes(), options(io.Discard)))
	res, body := get(t, addr, "GET", "/openapi.json", "")
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]any
		Components map[string]map[string]any
	}
	if err := json.Unmarshal(body, &doc); err != nil || res.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("decode: %v; headers %v", err, res.Header)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") || len(doc.Paths) != 11 {
		t.Errorf("version %s, %d paths", doc.OpenAPI, len(doc.Paths))
	}
	for path, ops := range doc.Paths {
		res, _ := get(t, addr, "DELETE", path, "")
		for method := range ops {
			if res.Header.Get("Allow") != strings.ToUpper(method) {
				t.Errorf("%s: %s documented, %q allowed", path, method, res.Header.Get("Allow"))
			}
		}
	}
	for _, ref := range regexp.MustCompile(`"#/components/(\w+)/(\w+)"`).FindAllSubmatch(body, -1) {
		if doc.Components[string(ref[1])][string(ref[2])] == nil {
			t.Errorf("%s leads nowhere", ref[0])
		}
	}
}
