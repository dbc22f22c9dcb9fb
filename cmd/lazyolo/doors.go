package main

import (
	"cmp"
	"net/http"

	"lazyolo/internal/annotate"
	"lazyolo/internal/bodies"
	"lazyolo/internal/httpapi"
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

// openDoors makes every door to the detector, behind the guard and telemetry.
func (s *server) openDoors() error {
	c := s.c
	o := httpapi.Options{
		Log: s.log, MaxBody: c.MaxBody, UploadTimeout: c.UploadTimeout, RequestTimeout: c.RequestTimeout,
		ModelVersion: c.ModelVersion, CacheDisabled: c.LRUCache != nil && !*c.LRUCache,
		MemoryCheckInterval: c.MemoryCheckInterval, Health: s.health, Memory: s.memory,
		Residents: s.pool, Events: s.events, Bodies: bodies.New(bodyShare(c, s.ledger.Budget())), Origin: allowedOrigin(c), Metrics: true,
	}
	o.Render = s.core.Painter.Render
	if c.SaveAnnotated {
		var err error
		s.annotate, err = annotate.New(annotate.Options{Dir: c.OutputPath, Painter: s.core.Painter, Log: s.log,
			MaxBytes: pictureShare(s.ledger.Budget())})
		if err != nil {
			return hinted{err, "set OUTPUT_IMG_BASE_PATH to a writable folder, or SAVE_ANNOTATED=off"}
		}
		o.Annotate = s.annotate
	}
	seen := watched{s.detector, s.telemetry.Watch(s.detector)}
	old, err := httpapi.New(seen, served{s.models, s.pool}, o)
	if err != nil {
		return err
	}
	rf, err := s.newRoboflow(seen, o.Bodies)
	if err != nil {
		return err
	}
	standard, err := s.standardDoors(seen, o.Bodies)
	if err != nil {
		return err
	}
	s.metrics = s.telemetry.Metrics()
	s.doors = doors{s.operations(), standard, rf, {Handler: old, name: "old", scope: old.Scope, route: old.Route}}
	s.http = s.newHTTP(s.doors, s.doors.scope, s.conns)
	s.http.Handler = s.telemetry.Handler(s.http.Handler, s.doors.route) // what the guard refuses counts too
	s.http.RegisterOnShutdown(s.events.Close)
	return nil
}
