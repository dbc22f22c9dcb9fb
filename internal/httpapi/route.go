package httpapi

import (
	"net/http"
	"net/url"
	"strings"

	"lazyolo/yolo"
)

// A route is one path.
type route struct {
	allow  string // its methods, as the Allow header lists them
	detect bool   // failures the old server knew answer 200
	own    bool   // not the old server's: no page of another origin may use it
	scope  yolo.Scope
	serve  func(http.ResponseWriter, *http.Request) error
}

// table lists every path but those of actions. It is a map, not a ServeMux, because the old paths have
// no wildcards and a ServeMux would redirect "//api/v2/models" and let HEAD use a
// GET, where FastAPI answers 404 and 405.
func (s *server) table() (map[string]route, error) {
	t := map[string]route{
		"/api/v1/health":        {allow: "GET", serve: s.health},
		"/api/v2/models":        {allow: "GET", scope: yolo.Read, serve: s.listModels},
		"/api/v2/cache/stats":   {allow: "GET", scope: yolo.Read, serve: s.cacheStats},
		"/api/v2/memory_status": {allow: "GET", scope: yolo.Read, serve: s.memoryStatus},
		"/api/v1/detect":        {allow: "POST", scope: yolo.Infer, detect: true, serve: s.detectV1},
		"/api/v2/detect":        {allow: "POST", scope: yolo.Infer, detect: true, serve: s.detectV2},
	}
	t["/api/v2/events"] = route{allow: "GET", own: true, scope: yolo.Read, serve: s.events}
	for path, serve := range docs() {
		t[path] = route{allow: "GET, HEAD", serve: serve}
	}
	pages, err := dashboard()
	if err != nil {
		return nil, err
	}
	for path, serve := range pages {
		t[path] = route{allow: "GET, HEAD", own: true, serve: serve}
	}
	return t, nil
}

// allows reports whether the route takes the method. Methods are case-sensitive.
func (t route) allows(method string) bool {
	for m := range strings.SplitSeq(t.allow, ", ") {
		if m == method {
			return true
		}
	}
	return false
}

// dispatch answers r through the table, as Starlette's router does.
func (s *server) dispatch(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	t, known := s.routes[path]
	slashed := false
	if !known {
		t, known = s.actionRoute(path)
	}
	if !known {
		path = strings.TrimRight(path, "/")
		_, slashed = s.routes[path]
	}
	if known && !t.own || slashed {
		if done := s.cors(w, r); done {
			return
		}
	}
	var err error
	switch {
	case slashed:
		to := url.URL{Path: path, RawQuery: r.URL.RawQuery}
		w.Header().Set("Location", to.String())
		w.WriteHeader(http.StatusTemporaryRedirect)
	case !known:
		err = detail(http.StatusNotFound, "Not Found")
	case !t.allows(r.Method):
		w.Header().Set("Allow", t.allow)
		err = detail(http.StatusMethodNotAllowed, "Method Not Allowed")
	default:
		err = t.serve(w, r)
	}
	if err != nil {
		s.fail(w, r, err, t.detect)
	}
}

// Scope is what a caller of r must be allowed to do; a path that is not there is
// open, and so is a preflight, which brings no key.
func (s *server) Scope(r *http.Request) yolo.Scope {
	t, known := s.routes[r.URL.Path]
	if !known {
		t, _ = s.actionRoute(r.URL.Path)
	}
	if !t.own && asksFirst(r) {
		return yolo.Open
	}
	return t.scope
}

// Route is the path of r with what varies in it named, "" for one that is not there:
// there are few of them, whatever clients ask for.
func (s *server) Route(r *http.Request) string {
	if _, known := s.routes[r.URL.Path]; known {
		if strings.HasPrefix(r.URL.Path, "/dashboard/") {
			return "/dashboard/{file}"
		}
		return r.URL.Path
	}
	if _, known := s.actionRoute(r.URL.Path); known {
		return modelsPath + "{model}" + r.URL.Path[strings.LastIndexByte(r.URL.Path, '/'):]
	}
	return ""
}
