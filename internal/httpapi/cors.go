package httpapi

import (
	"io"
	"net/http"
	"slices"
	"strings"
)

// cors does what Starlette's CORSMiddleware(allow_origins=*, allow_credentials,
// allow_methods=*, allow_headers=*) does: it adds the headers of a simple answer,
// or answers a preflight and reports true.
func cors(w http.ResponseWriter, r *http.Request) (done bool) {
	h := w.Header()
	origin, has := single(r.Header, "Origin")
	method, asks := single(r.Header, "Access-Control-Request-Method")
	if has && asks && r.Method == http.MethodOptions {
		preflight(w, r, origin, method)
		return true
	}
	h.Add("Vary", "Origin")
	if has {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	return false
}

// preflight answers a browser's question whether a request may be sent. Any
// origin and header may; a method must be one that Starlette knows.
func preflight(w http.ResponseWriter, r *http.Request, origin, method string) {
	methods := []string{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY"}
	h := w.Header()
	h.Set("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network")
	h.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
	h.Set("Access-Control-Max-Age", "600")
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Allow-Origin", origin)
	if headers, ok := single(r.Header, "Access-Control-Request-Headers"); ok {
		h.Set("Access-Control-Allow-Headers", headers)
	}
	var refused []string
	if !slices.Contains(methods, method) {
		refused = append(refused, "method")
	}
	if _, ok := single(r.Header, "Access-Control-Request-Private-Network"); ok {
		refused = append(refused, "private-network")
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if len(refused) > 0 {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, "Disallowed CORS "+strings.Join(refused, ", "))
		return
	}
	io.WriteString(w, "OK")
}

// single returns the first value of a header and whether there is one: an empty
// value counts, as it does for Starlette.
func single(h http.Header, name string) (string, bool) {
	v := h.Values(name)
	if len(v) == 0 {
		return "", false
	}
	return v[0], true
}
