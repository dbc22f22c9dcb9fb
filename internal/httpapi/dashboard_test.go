package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"lazyolo/internal/httpapi"
	"lazyolo/web"
	"lazyolo/yolo"
)

// dashboardFile reads an embedded file of the dashboard.
func dashboardFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := fs.ReadFile(web.Dashboard, "dashboard/"+name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// linked lists what the page loads: its links, and what modules import.
func linked(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, m := range regexp.MustCompile(`(?:src|href)="(dashboard/[^"]+)"`).FindAllSubmatch(dashboardFile(t, "index.html"), -1) {
		found = append(found, string(m[1]))
	}
	for i := 0; i < len(found); i++ {
		if path.Ext(found[i]) != ".js" || strings.Contains(found[i], "uplot") {
			continue
		}
		script := dashboardFile(t, strings.TrimPrefix(found[i], "dashboard/"))
		for _, m := range regexp.MustCompile(`from '\./(\w+\.js)'`).FindAllSubmatch(script, -1) {
			if name := "dashboard/" + string(m[1]); !slices.Contains(found, name) {
				found = append(found, name)
			}
		}
	}
	return found
}

// TestDashboard: the page and all it loads is on this server, small, and leads nowhere else.
func TestDashboard(t *testing.T) {
	addr := serve(t, handler(t, found(), shapes(), options(io.Discard)))
	res, page := get(t, addr, "GET", "/", "identity")
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/html; charset=utf-8" || !bytes.Equal(page, dashboardFile(t, "index.html")) {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	csp := res.Header.Get("Content-Security-Policy")
	if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "//") {
		t.Errorf("policy %q", csp)
	}
	if bytes.Contains(page, []byte("//")) {
		t.Error("the page names another host")
	}
	weight := 0
	names := append(linked(t), "")
	if len(names) < 15 {
		t.Errorf("only %d files: %v", len(names), names)
	}
	for _, name := range names {
		packedRes, packed := get(t, addr, "GET", "/"+name, "gzip")
		plainRes, plain := get(t, addr, "GET", "/"+name, "")
		z, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		unpacked, err := io.ReadAll(z)
		if err != nil || !bytes.Equal(unpacked, plain) || len(plain) == 0 {
			t.Errorf("%s: plain and gzipped differ (%v)", name, err)
		}
		if packedRes.Header.Get("Content-Encoding") != "gzip" || plainRes.Header.Get("Content-Encoding") != "" || packedRes.Header.Get("Vary") != "Accept-Encoding" ||
			packedRes.Header.Get("ETag") == plainRes.Header.Get("ETag") || packedRes.Header.Get("Cache-Control") != "no-cache" || packedRes.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: headers %v and %v", name, packedRes.Header, plainRes.Header)
		}
		if again, body := get(t, addr, "GET", "/"+name, "gzip\r\nIf-None-Match: "+packedRes.Header.Get("ETag")); again.StatusCode != http.StatusNotModified || len(body) > 0 {
			t.Errorf("%s: %d with %d bytes when nothing has changed", name, again.StatusCode, len(body))
		}
		if head, body := get(t, addr, "HEAD", "/"+name, ""); head.StatusCode != http.StatusOK || len(body) > 0 {
			t.Errorf("%s: HEAD answers %d with %d bytes", name, head.StatusCode, len(body))
		}
		weight += len(packed)
	}
	t.Logf("the page weighs %d bytes", weight)
	if weight > 200_000 {
		t.Errorf("the page weighs %d bytes", weight)
	}
	h := handler(t, found(), shapes(), options(io.Discard)).(httpapi.Door)
	for path, route := range map[string]string{"/": "/", "/dashboard/main.js": "/dashboard/{file}", "/dashboard/none.js": ""} {
		r := httptest.NewRequest("GET", path, nil)
		if got := h.Route(r); got != route || h.Scope(r) != yolo.Open {
			t.Errorf("%s: route %q, scope %v", path, got, h.Scope(r))
		}
	}
	for _, gone := range []string{"/dashboard", "/dashboard/", "/dashboard/index.html", "/dashboard/none.js", "/dashboard/uplot/VENDORED.md", "/index.html", "//"} {
		if res, body := get(t, addr, "GET", gone, ""); res.StatusCode != http.StatusNotFound || string(body) != `{"detail":"Not Found"}` {
			t.Errorf("%s: %d %s", gone, res.StatusCode, body)
		}
	}
}

// TestDashboardVendored: uPlot is what uplot/VENDORED.md says, and its licence is served.
func TestDashboardVendored(t *testing.T) {
	notes := string(dashboardFile(t, "uplot/VENDORED.md"))
	for _, name := range []string{"uPlot.iife.min.js", "uPlot.min.css"} {
		sum := sha256.Sum256(dashboardFile(t, "uplot/"+name))
		if want := "| `" + name + "` | `" + hex.EncodeToString(sum[:]) + "` |"; !strings.Contains(notes, want) {
			t.Errorf("VENDORED.md lacks %s", want)
		}
	}
	addr := serve(t, handler(t, found(), shapes(), options(io.Discard)))
	if res, body := get(t, addr, "GET", "/dashboard/uplot/LICENSE", ""); res.StatusCode != http.StatusOK || !bytes.Contains(body, []byte("MIT License")) {
		t.Errorf("licence: %d", res.StatusCode)
	}
}

// TestDashboardWords: both languages have the same texts, and every text that is used is there.
func TestDashboardWords(t *testing.T) {
	source := string(dashboardFile(t, "i18n.js"))
	_, rest, _ := strings.Cut(source, "const en = {")
	en, rest, _ := strings.Cut(rest, "\n};")
	_, rest, _ = strings.Cut(rest, "const zh = {")
	zh, _, _ := strings.Cut(rest, "\n};")
	texts := func(words string) map[string]string {
		all := make(map[string]string)
		for _, m := range regexp.MustCompile(`(?:^|[\s,])(?:'([\w.]+)'|(\w+)): '((?:[^'\\]|\\.)*)'`).FindAllStringSubmatch(words, -1) {
			all[m[1]+m[2]] = m[3]
		}
		return all
	}
	places := regexp.MustCompile(`\{\w+\}`)
	english, chinese := texts(en), texts(zh)
	if len(english) < 150 {
		t.Fatalf("only %d texts", len(english))
	}
	for name, text := range english {
		other, ok := chinese[name]
		if !ok {
			t.Errorf("%s is not in Chinese", name)
			continue
		}
		a, b := places.FindAllString(text, -1), places.FindAllString(other, -1)
		slices.Sort(a)
		slices.Sort(b)
		if !slices.Equal(a, b) {
			t.Errorf("%s has %v in English and %v in Chinese", name, a, b)
		}
	}
	for name := range chinese {
		if _, ok := english[name]; !ok {
			t.Errorf("%s is not in English", name)
		}
	}
	used := regexp.MustCompile(`\bt\('([\w.]+)'|data-t(?:-label|-placeholder)?="([\w.]+)"`)
	for _, name := range append(linked(t), "dashboard/index.html") {
		for _, m := range used.FindAllStringSubmatch(string(dashboardFile(t, strings.TrimPrefix(name, "dashboard/"))), -1) {
			if _, ok := english[m[1]+m[2]]; !ok {
				t.Errorf("%s uses %s, which is no text", name, m[1]+m[2])
			}
		}
	}
}
