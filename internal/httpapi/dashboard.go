package httpapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"lazyolo/web"
)

// dashboardPolicy lets the dashboard use this server and nothing else; pictures
// that somebody drops on it are blobs of the page itself.
const dashboardPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; " +
	"media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// contentTypes are the kinds of files the dashboard is made of.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	"":      "text/plain; charset=utf-8", // a licence
}

// An asset is one file of the dashboard as it is sent.
type asset struct {
	plain, packed []byte // packed is gzipped
	tag           string // of what is in it
}

// dashboard returns the dashboard's paths: / is the page, /dashboard/ has its parts.
// Until one is asked for nothing is read or compressed; then all are, once, into
// some 70 kB that stay.
func dashboard() (map[string]func(http.ResponseWriter, *http.Request) error, error) {
	assets := sync.OnceValues(packAssets)
	paths := make(map[string]func(http.ResponseWriter, *http.Request) error)
	err := eachAsset(func(name, contentType string) error {
		at := "/" + name
		if name == "dashboard/index.html" {
			at = "/"
		}
		paths[at] = func(w http.ResponseWriter, r *http.Request) error {
			all, err := assets()
			if err != nil {
				return err
			}
			all[name].send(w, r, contentType)
			return nil
		}
		return nil
	})
	return paths, err
}

// eachAsset calls f for each file that is served.
func eachAsset(f func(name, contentType string) error) error {
	return fs.WalkDir(web.Dashboard, "dashboard", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("list embedded files: %w", err)
		}
		contentType, served := contentTypes[path.Ext(name)]
		if d.IsDir() || !served {
			return nil
		}
		return f(name, contentType)
	})
}

// packAssets compresses every file, with one compressor's memory.
func packAssets() (map[string]asset, error) {
	all := make(map[string]asset)
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	err = eachAsset(func(name, _ string) error {
		plain, err := web.Dashboard.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read embedded file: %w", err)
		}
		packed.Reset()
		z.Reset(&packed)
		if _, err := z.Write(plain); err != nil {
			return fmt.Errorf("compress %s: %w", name, err)
		}
		if err := z.Close(); err != nil {
			return fmt.Errorf("compress %s: %w", name, err)
		}
		sum := sha256.Sum256(plain)
		all[name] = asset{plain, bytes.Clone(packed.Bytes()), hex.EncodeToString(sum[:8])}
		return nil
	})
	return all, err
}

// send answers with the file, compressed where the client takes that. A browser asks
// each time whether it has changed: it does with the program.
func (a asset) send(w http.ResponseWriter, r *http.Request, contentType string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
	h.Set("Vary", "Accept-Encoding")
	if strings.HasPrefix(contentType, "text/html") {
		h.Set("Content-Security-Policy", dashboardPolicy)
		h.Set("Permissions-Policy", "camera=(self), microphone=(), geolocation=()")
		h.Set("Referrer-Policy", "no-referrer")
	}
	body, tag := a.plain, a.tag
	if acceptsGzip(r.Header) {
		h.Set("Content-Encoding", "gzip")
		body, tag = a.packed, a.tag+"-gzip"
	}
	h.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}
