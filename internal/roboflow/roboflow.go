// Package roboflow is the HTTP door of the Roboflow Inference dialect:
// POST /infer/object_detection (instance_segmentation, keypoints_detection,
// classification), GET /model/registry, POST /model/add, /model/remove and
// /model/clear, and, when it is switched on, the older POST /{model}/{version}.
// It knows detection, the catalog and what is in memory only by the small
// interfaces below. Requests and answers are those of the public inference_sdk
// client; docs/en/roboflow.md has what is ignored and what differs.
//
// Boxes are told by their centre, in pixels of the original picture. Pictures lie
// in the request's body; a URL is fetched only from hosts that Options names
// (see fetch.go for what is refused even then).
package roboflow

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"lazyolo/internal/bodies"
	"lazyolo/internal/door"
	"lazyolo/yolo"
)

// A Detector looks for objects in one picture.
type Detector interface {
	// Detect may keep r.Image only until it returns. Its errors carry a
	// yolo.Code; one without counts as Internal.
	Detect(ctx context.Context, r yolo.Request) (*yolo.Result, error)
}

// Models is the catalog.
type Models interface {
	// All returns every model, in ascending order of Index. The caller does not
	// change it; it must not block.
	All() []*yolo.Model
}

// Residents is which models are in memory, and changes it; *pool.Pool is one.
type Residents interface {
	// Load makes a model resident and waits until it is.
	Load(ctx context.Context, m *yolo.Model) error
	// Unload takes a model out of memory and waits until its memory is back.
	Unload(ctx context.Context, m *yolo.Model) error
	// Status is of the models that were ever asked for. It must not block.
	Status() []yolo.Status
}

// Render writes the picture with r drawn onto it to w, encoded as name's ending
// asks. It must not keep or change picture or r.
type Render func(ctx context.Context, w io.Writer, name string, picture []byte, r *yolo.Result) error

// Options configures New. A field is required unless it says what zero means.
type Options struct {
	Log           *slog.Logger
	MaxBody       int64         // bytes of one request body, and of one fetched picture
	UploadTimeout time.Duration // for reading one request body
	Bodies        *bodies.Share // memory for the bodies of all requests, at every door, and for fetched pictures

	RequestTimeout time.Duration             // from the end of the upload to the answer; 0: none
	Render         Render                    // nil: pictures with predictions drawn on them are refused
	Guard          func(*http.Request) error // whether a call may change what is in memory; nil: any may
	Ready          func() bool               // whether requests should come here; nil: always
	Version        string                    // of the program, for GET /info; empty: told as such
	Legacy         bool                      // answer /{model}/{version} of known models
	Reserved       []string                  // first path segments that are never a model's, for Legacy; nil: none
	URLHosts       []string                  // hosts, perhaps with a port, that pictures may be fetched from; nil: none
}

// A Door is the handler of the dialect.
type Door struct {
	detector  Detector
	models    Models
	residents Residents
	o         Options
	id        string // of this run, for GET /info
	fetcher   *fetcher
	routes    map[string]route
	reserved  map[string]bool
}

// A route is one path.
type route struct {
	method string
	scope  yolo.Scope
	serve  func(http.ResponseWriter, *http.Request) error
}

// New returns the door. It may be used concurrently and starts no goroutine. The
// error names the option that is missing or wrong.
func New(d Detector, m Models, r Residents, o Options) (*Door, error) {
	for _, need := range []struct {
		ok   bool
		what string
	}{
		{d != nil, "a Detector"},
		{m != nil, "Models"},
		{r != nil, "Residents"},
		{o.Log != nil, "Options.Log"},
		{o.MaxBody > 0, "a positive Options.MaxBody"},
		{o.UploadTimeout > 0, "a positive Options.UploadTimeout"},
		{o.Bodies != nil, "Options.Bodies"},
		{o.RequestTimeout >= 0, "an Options.RequestTimeout that is not negative"},
	} {
		if !need.ok {
			return nil, errors.New("roboflow: New needs " + need.what)
		}
	}
	door := &Door{detector: d, models: m, residents: r, o: o, id: newUUID(), reserved: make(map[string]bool)}
	for _, name := range o.Reserved {
		door.reserved[name] = true
	}
	var err error
	if door.fetcher, err = newFetcher(o.URLHosts, o.MaxBody); err != nil {
		return nil, err
	}
	door.routes = map[string]route{
		"/model/registry": {http.MethodGet, yolo.Read, door.registry},
		"/model/add":      {http.MethodPost, yolo.Admin, door.add},
		"/model/remove":   {http.MethodPost, yolo.Admin, door.remove},
		"/model/clear":    {http.MethodPost, yolo.Admin, door.clear},
		"/info":           {http.MethodGet, yolo.Read, door.info},
		"/readiness":      {http.MethodGet, yolo.Open, door.readiness},
	}
	for _, t := range tasks() {
		if t.path != "" {
			door.routes[t.path] = route{http.MethodPost, yolo.Infer, door.infer}
		}
	}
	return door, nil
}

// Owns reports whether a path is this door's.
func (d *Door) Owns(path string) bool {
	if _, ok := d.routes[path]; ok || path == "/infer" || strings.HasPrefix(path, "/infer/") || strings.HasPrefix(path, "/model/") {
		return true
	}
	_, _, ok := d.legacyModel(path)
	return ok
}

// Scope is what a caller of r must be allowed to do; a path that is not there is open.
func (d *Door) Scope(r *http.Request) yolo.Scope {
	if t, ok := d.routes[r.URL.Path]; ok {
		return t.scope
	}
	if _, _, ok := d.legacyModel(r.URL.Path); ok {
		return yolo.Infer
	}
	return yolo.Open
}

// Route is r's path as metrics name it; "" for one that is not there.
func (d *Door) Route(r *http.Request) string {
	if _, ok := d.routes[r.URL.Path]; ok {
		return r.URL.Path
	}
	if _, _, ok := d.legacyModel(r.URL.Path); ok {
		return "/{model}/{version}"
	}
	return ""
}

// ServeHTTP implements http.Handler.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	door.Serve(w, r, d.o.Log, func(w *door.Recorder) {
		if err := d.dispatch(w, r); err != nil {
			d.fail(w, r, err)
		}
	}, func(w *door.Recorder, id string) {
		_ = writeJSON(w, http.StatusInternalServerError, errorBody{Message: "internal error", ID: id}) // two strings always encode
	})
}

func (d *Door) dispatch(w http.ResponseWriter, r *http.Request) error {
	t, known := d.routes[r.URL.Path]
	if !known {
		if m, version, ok := d.legacyModel(r.URL.Path); ok {
			return d.legacy(w, r, m, version)
		}
		return d.unknownPath(r.URL.Path)
	}
	if r.Method != t.method {
		return notAllowed(w, t.method)
	}
	if t.scope == yolo.Admin && d.o.Guard != nil {
		if err := d.o.Guard(r); err != nil {
			return err
		}
	}
	return t.serve(w, r)
}

// notAllowed says which method a path takes.
func notAllowed(w http.ResponseWriter, methods string) error {
	w.Header().Set("Allow", methods)
	return &statusError{http.StatusMethodNotAllowed, "this path takes " + methods}
}

// unknownPath names what there is instead.
func (d *Door) unknownPath(path string) error {
	if strings.HasPrefix(path, "/model/") {
		return &statusError{http.StatusNotFound, "there is no such path: use /model/registry, /model/add, /model/remove or /model/clear"}
	}
	return &statusError{http.StatusNotFound, "there is no such path: use /infer/object_detection, /infer/instance_segmentation, /infer/keypoints_detection or /infer/classification"}
}

// info answers GET /info.
func (d *Door) info(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, struct {
		Name    string `json:"name"`
		Version string `json:"version"`
		UUID    string `json:"uuid"`
	}{"lazyolo", d.o.Version, d.id})
}

// readiness answers GET /readiness.
func (d *Door) readiness(w http.ResponseWriter, _ *http.Request) error {
	status, word := http.StatusOK, "ready"
	if d.o.Ready != nil && !d.o.Ready() {
		status, word = http.StatusServiceUnavailable, "not ready"
	}
	return writeJSON(w, status, map[string]string{"status": word})
}

// deadline limits a request to Options.RequestTimeout.
func (d *Door) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if d.o.RequestTimeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d.o.RequestTimeout)
}
