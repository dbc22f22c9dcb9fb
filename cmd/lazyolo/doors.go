package main

import (
	"cmp"
	"net/http"

	"lazyolo/yolo"
)

// A door answers the requests of one HTTP dialect.
type door struct {
	http.Handler
	name  string                           // as metrics call it
	owns  func(path string) bool           // whether a path is one of its own
	scope func(r *http.Request) yolo.Scope // what a caller must be allowed to do
	route func(r *http.Request) string     // which of its routes, "" for none, as metrics call it; nil: none is told
}

// doors share a listener: the first that owns a path answers. The last owns what is left.
type doors []door

func (ds doors) of(path string) door {
	for _, d := range ds[:len(ds)-1] {
		if d.owns(path) {
			return d
		}
	}
	return ds[len(ds)-1]
}

// ServeHTTP implements http.Handler.
func (ds doors) ServeHTTP(w http.ResponseWriter, r *http.Request) { ds.of(r.URL.Path).ServeHTTP(w, r) }

// scope is what the caller of r must be allowed to do.
func (ds doors) scope(r *http.Request) yolo.Scope { return ds.of(r.URL.Path).scope(r) }

// route is the door of r and which of its routes.
func (ds doors) route(r *http.Request) (name, route string) {
	d := ds.of(r.URL.Path)
	name = cmp.Or(d.name, "other")
	if d.route == nil {
		return name, ""
	}
	return name, d.route(r)
}
