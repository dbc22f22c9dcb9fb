package httpapi

import (
	"io"
	"net/http"
	"slices"
	"strings"
)

// cors does what Starlette's CORSMiddleware(allow_origins=*, allow_credentials,
// allow_methods=*, allow_headers=*) does: it adds the headers of a simple answer,
// or answers a preflight and reports true. Origins that Options.Origin does not
// allow are treated as it treats those that are not in its list.
func (s *server) cors(w http.ResponseWriter, r *http.Request) (done bool) {
	h := w.Header()
	origin, has := single(r.Header, "Origin")
	method, _ := single(r.Header, "Access-Control-Request-Method")
	if asksFirst(r) {
		preflight(w, r, origin, method, s.allowed(origin))
		return true
	}
	h.Add("Vary", "Origin")
	if has && s.allowed(origin) {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	return false
}

// allowed reports whether pages of an origin may use the old paths.
func (s *server) allowed(origin string) bool { return s.o.Origin == nil || s.o.Origin(origin) }

// asksFirst reports whether r is a browser's question whether a request may be sent.
func asksFirst(r *http.Request) bool {
	_, has := single(r.Header, "Origin")
	_, asks := single(r.Header, "Access-Control-Request-Method")
	return has && asks && r.Method == http.MethodOptions
}

// preflight answers a browser's question whether a request may be sent. Any header
// may; a method must be one that Starlette knows.
func preflight(w http.ResponseWriter, r *http.Request, origin, method string, allowed bool) {
	methods := []string{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY"}
	h := w.Header()
	h.Set("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network")
	h.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
	h.Set("Access-Control-Max-Age", "600")
	h.Set("Access-Control-Allow-Credentials", "true")
	var refused []string
	if allowed {
		h.Set("Access-Control-Allow-Origin", origin)
	} else {
		refused = append(refused, "origin")
	}
	if headers, ok := single(r.Header, "Access-Control-Request-Headers"); ok {
		h.Set("Access-Control-Allow-Headers", headers)
	}
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
