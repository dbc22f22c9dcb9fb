package httpapi

import (
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	"lazyolo/web"
)

// docsPolicy lets the documentation use this server and nothing else.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// docs returns the documentation's paths. /redoc shows the same page as /docs: a
// second viewer would add a megabyte to say the same.
func docs() map[string]func(http.ResponseWriter, *http.Request) error {
	page := ours("docs/index.html", "text/html; charset=utf-8")
	assets := "/docs/" + web.SwaggerUI + "/"
	return map[string]func(http.ResponseWriter, *http.Request) error{
		"/docs":                         page,
		"/redoc":                        page,
		"/docs/init.js":                 ours("docs/init.js", "text/javascript; charset=utf-8"),
		"/openapi.json":                 ours("docs/openapi.json", "application/json"),
		assets + "swagger-ui-bundle.js": vendored("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
		assets + "swagger-ui.css":       vendored("swagger-ui.css", "text/css; charset=utf-8"),
		assets + "LICENSE":              ours("docs/swagger-ui/LICENSE", "text/plain; charset=utf-8"),
		assets + "NOTICE":               ours("docs/swagger-ui/NOTICE", "text/plain; charset=utf-8"),
		assets + "LICENSE-components":   ours("docs/swagger-ui/swagger-ui-bundle.js.LICENSE.txt", "text/plain; charset=utf-8"),
	}
}

// ours serves a small file that changes with the program.
func ours(name, contentType string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		f, err := open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("Content-Security-Policy", docsPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache")
		http.ServeContent(w, r, "", time.Time{}, f)
		return nil
	}
}

// vendored serves a file of Swagger UI, kept gzipped; its URL has the version, so
// what was served once stays true.
func vendored(name, contentType string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		f, err := open("docs/swagger-ui/" + name + ".gz")
		if err != nil {
			return err
		}
		defer f.Close()
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		h.Add("Vary", "Accept-Encoding")
		if acceptsGzip(r.Header) {
			h.Set("Content-Encoding", "gzip")
			h.Set("ETag", `"`+web.SwaggerUI+`-gzip"`)
			http.ServeContent(w, r, "", time.Time{}, f)
			return nil
		}
		plain, err := gzip.NewReader(f)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if r.Method != http.MethodHead {
			io.Copy(w, plain) // #nosec G110 -- embedded files; it fails only if the client leaves
		}
		return nil
	}
}

// file is what an embedded file can do.
type file interface {
	fs.File
	io.Seeker
}

// open opens an embedded file. It is read where it lies, never copied whole.
func open(name string) (file, error) {
	f, err := web.Docs.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open embedded file: %w", err)
	}
	seekable, ok := f.(file)
	if !ok {
		return nil, fmt.Errorf("open embedded file: %s cannot be sought in", name)
	}
	return seekable, nil
}

// acceptsGzip reports whether the client takes gzip, by RFC 9110 section 12.5.3.
func acceptsGzip(h http.Header) bool {
	wildcard := false
	for part := range strings.SplitSeq(strings.Join(h.Values("Accept-Encoding"), ","), ",") {
		coding, params, _ := strings.Cut(part, ";")
		q := 1.0
		if name, value, ok := strings.Cut(params, "="); ok && strings.TrimSpace(name) == "q" {
			q, _ = strconv.ParseFloat(strings.TrimSpace(value), 64) // wrong: 0, not accepted
		}
		switch strings.ToLower(strings.TrimSpace(coding)) {
		case "gzip":
			return q > 0
		case "*":
			wildcard = q > 0
		}
	}
	return wildcard
}
