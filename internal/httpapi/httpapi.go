// Package httpapi is the HTTP door of the old server: /api/v1 and /api/v2 as its
// FastAPI program answered them, with /docs, /redoc and /openapi.json. It knows
// detection, the catalog and the annotated pictures only by the small interfaces
// below, and it is the only place where the old wire names appear.
//
// What that program never had is added without changing what it had: options of a
// detection as form fields or in the query (conf, iou, max_det, classes,
// agnostic_nms, nms, imgsz, keep_alive, format, masks), model by name, and the answers of other
// tasks than detection. See /openapi.json.
//
// So are X-Load-Wait, X-Model-Cold-Start and Server-Timing on a detection, calls
// that change what is in memory (residents.go) and the stream of what happens
// there (events.go). What a caller needs for a request says Door.Scope; whether he
// has it is decided before the door.
//
// What FastAPI, Starlette, python-multipart and pydantic do with a request was
// recorded from them (testdata/fastapi.json) and is repeated here, save these:
//
//	what                                  they                         here
//	GET /                                 404                          the dashboard
//	Location of a 307                     absolute, from Host          path only: works behind TLS and any Host
//	CORS                                  on every path                on the old paths only: other doors share the listener
//	origins                               any                          any, or those that Options.Origin allows
//	model_id "0-7" or "0__1"              -7 and 1 (leading 0 eaten)   422 int_parsing, like "1-7" and "1__1"
//	model_id of over 4300 digits          422, type by its spelling    422 int_parsing_size
//	model_id sent as a file               422, "input" shows internals 422, "input" has filename and size
//	charset of a multipart                honoured                     UTF-8, else Latin-1
//	several parts named file              the last one's answer        the same, and "results": all of them
//	a body of type image/*                422, no file                 the picture; model_id is in the query
//	a picture that cannot be decoded      error                        the same, and X-Error-Reason
//	body over the limit                   no limit                     413
//	upload over its time                  no limit                     408
//	a handler that panics                 500 as text                  500 {"error", "id"}
package httpapi

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"lazyolo/internal/bodies"
	"lazyolo/yolo"
)

// A Detector looks for objects in one picture.
type Detector interface {
	// Detect may keep r.Image only until it returns. Its errors carry a
	// yolo.Code; one without counts as Internal.
	Detect(ctx context.Context, r yolo.Request) (*yolo.Result, error)
}

// Models is the catalog and what is in memory of it. Its methods must not block.
type Models interface {
	// All returns every model, in ascending order of Index. The caller does not change it.
	All() []*yolo.Model
	// Loaded returns the Index of every model in memory, in the order of loading.
	Loaded() []int
}

// An Annotator keeps annotated pictures.
type Annotator interface {
	// Save must not block. Name is a base name that is safe in any folder: not
	// empty, no separator, no control character, no leading dot, at most 200
	// bytes of UTF-8. The callee owns image from then on; it must not change r.
	Save(name string, image []byte, r *yolo.Result)
}

// Render writes the picture with r drawn onto it to w, encoded as name's ending
// asks. It must not keep or change picture or r.
type Render func(ctx context.Context, w io.Writer, name string, picture []byte, r *yolo.Result) error

// Health is what /api/v1/health reports.
type Health struct {
	Starting        bool       // models to be there from the start are still being loaded
	InferenceOK     bool       // detection can be served
	Device          string     // "cpu", "cuda:0", "mps"
	ModelPathAccess bool       // the models folder can be read
	TmpWritable     bool       // a temporary file can be written
	OutputWritable  bool       // an annotated picture can be written
	GPU             *GPUMemory // nil without a GPU
}

// GPUMemory is the memory of the GPU in use.
type GPUMemory struct {
	Allocated int64   // bytes this process takes
	FreeRatio float64 // free share of the whole, 0..1
}

// Memory is the state of the memory budget. Sizes are bytes.
type Memory struct {
	Used  int64 // resident, the process and its children
	Limit int64 // the budget; 0: none

	Ledger      map[string]int64 // what is charged to the budget, by kind; nil: not kept
	Unexplained int64            // resident beyond that, charged too
	Free        int64            // what is left of the budget
	WaitLoad    int              // requests that wait for a model
	WaitMemory  int              // requests that wait for working memory
	Models      []yolo.Status    // of the models that were ever asked for
	Preheated   int64            // models loaded ahead of their use
	PreheatUsed int64            // of those, used before they were closed
}

// Options configures New. A field is required unless it says what zero means.
type Options struct {
	Log           *slog.Logger
	MaxBody       int64         // bytes of one request body
	UploadTimeout time.Duration // for reading one request body
	Health        func() Health // asked at each /api/v1/health
	Memory        func() Memory // asked at each statistics request; must not block
	Residents     Residents     // loads and unloads models
	Events        *Events       // what /api/v2/events tells

	BodyShare           int64                    // bytes that all request bodies may hold together; 0: no bound
	Bodies              *bodies.Share            // what they hold together with those of other doors, instead of BodyShare; nil: of this door alone
	RequestTimeout      time.Duration            // from the end of the upload to the answer; 0: none
	ModelVersion        string                   // version in /api/v1/health; empty: shown as such
	CacheDisabled       bool                     // ENABLE_LRU_CACHE=false was set: /api/v2/cache/stats says so
	MemoryCheckInterval int                      // only shown, in /api/v2/cache/stats
	Metrics             bool                     // something beside this door answers /metrics; false: the dashboard does not ask
	Annotate            Annotator                // nil: no annotated pictures
	Render              Render                   // for answers that are pictures; nil: format=json only
	Origin              func(origin string) bool // whose web pages may use the old paths; nil: all
}

// A Door is the handler that New makes.
type Door interface {
	http.Handler
	// Scope is what a caller of r must be allowed to do; a path that is not there is open.
	Scope(r *http.Request) yolo.Scope
	// Route is r's path as metrics name it; "" for one that is not there.
	Route(r *http.Request) string
}

// server answers the old server's requests.
type server struct {
	detector Detector
	models   Models
	o        Options
	routes   map[string]route
	requests atomic.Int64 // detections asked for since the start
	bodies   *bodies.Share
	doing    map[yolo.Action]action
}

// New returns the handler of the whole old API; mounted at "/" it also gives
// every unknown path FastAPI's 404. Its routes match the path as it came, so it
// should not stand behind something that cleans paths. It may be used
// concurrently and starts no goroutine. The error names the option that is missing.
func New(d Detector, m Models, o Options) (Door, error) {
	for _, need := range []struct {
		ok   bool
		what string
	}{
		{d != nil, "a Detector"},
		{m != nil, "Models"},
		{o.Log != nil, "Options.Log"},
		{o.MaxBody > 0, "a positive Options.MaxBody"},
		{o.UploadTimeout > 0, "a positive Options.UploadTimeout"},
		{o.BodyShare >= 0, "an Options.BodyShare that is not negative"},
		{o.RequestTimeout >= 0, "an Options.RequestTimeout that is not negative"},
		{o.Health != nil, "Options.Health"},
		{o.Memory != nil, "Options.Memory"},
		{o.Residents != nil, "Options.Residents"},
		{o.Events != nil, "Options.Events"},
	} {
		if !need.ok {
			return nil, errors.New("httpapi: New needs " + need.what)
		}
	}
	s := &server{detector: d, models: m, o: o, bodies: cmp.Or(o.Bodies, bodies.New(o.BodyShare))}
	routes, err := s.table()
	if err != nil {
		return nil, err
	}
	s.routes, s.doing = routes, s.actions()
	return s, nil
}
