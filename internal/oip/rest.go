package oip

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"lazyolo/internal/door"
	"lazyolo/yolo"
)

// RESTOptions configures NewDoor. A field is required unless it says what zero means.
type RESTOptions struct {
	Log           *slog.Logger
	MaxBody       int64         // bytes of one request body, compressed or not
	UploadTimeout time.Duration // for reading one request body
	// Guard says why a call may not change what is in memory; nil: every call may.
	Guard func(r *http.Request) error
}

// A Door answers the protocol over REST: every path from /v2 on. It is an http.Handler
// that may be used concurrently and starts no goroutine.
type Door struct {
	core *Core
	o    RESTOptions
}

// NewDoor makes a Door. The error names the option that is missing.
func NewDoor(c *Core, o RESTOptions) (*Door, error) {
	if c == nil || o.Log == nil || o.MaxBody <= 0 || o.UploadTimeout <= 0 {
		return nil, errors.New("oip: NewDoor needs a Core, a Log, a positive MaxBody and UploadTimeout")
	}
	return &Door{c, o}, nil
}

// Owns reports whether a path is one of the protocol's.
func (d *Door) Owns(path string) bool { return path == "/v2" || strings.HasPrefix(path, "/v2/") }

// Scope is what a caller of r must be allowed to do.
func (d *Door) Scope(r *http.Request) yolo.Scope {
	t, _ := d.find(r.URL.Path)
	return t.scope
}

// Route is the path of r with what varies in it named, "" for one that is not there:
// there are few of them, whatever clients ask for.
func (d *Door) Route(r *http.Request) string {
	if _, ok := d.find(r.URL.Path); !ok {
		return ""
	}
	parts := strings.Split(strings.TrimSuffix(r.URL.Path, "/"), "/")
	switch {
	case len(parts) > 5 && parts[2] == "repository":
		parts[4] = "{model}"
	case len(parts) > 3 && parts[2] == "models" && r.URL.Path != "/v2/models/stats":
		parts[3] = "{model}"
		if len(parts) > 5 && parts[4] == "versions" {
			parts = append(parts[:4], parts[6:]...)
		}
	}
	return strings.Join(parts, "/")
}

// A route is one call.
type route struct {
	method string
	scope  yolo.Scope
	serve  func(w http.ResponseWriter, r *http.Request) error
}

// find finds the route of a path; false: there is none. Models may be called anything,
// so the path is taken apart here.
func (d *Door) find(path string) (route, bool) {
	parts := strings.Split(strings.TrimSuffix(strings.TrimPrefix(path, "/v2"), "/"), "/")[1:]
	if path == "/v2" || path == "/v2/" {
		return route{"GET", yolo.Read, d.server}, true
	}
	switch {
	case len(parts) == 2 && parts[0] == "health" && parts[1] == "live":
		return route{"GET", yolo.Open, d.live}, true
	case len(parts) == 2 && parts[0] == "health" && parts[1] == "ready":
		return route{"GET", yolo.Open, d.ready}, true
	case len(parts) == 2 && parts[0] == "models" && parts[1] == "stats":
		return route{"GET", yolo.Read, d.statistics("", "")}, true
	case len(parts) == 2 && parts[0] == "repository" && parts[1] == "index":
		return route{"POST", yolo.Read, d.index}, true
	case len(parts) == 4 && parts[0] == "repository" && parts[1] == "models":
		return d.repository(parts[2], parts[3])
	case len(parts) >= 2 && parts[0] == "models" && parts[1] != "":
		return d.model(parts[1], parts[2:])
	}
	return route{}, false
}

// model finds what follows a model's name.
func (d *Door) model(name string, rest []string) (route, bool) {
	version := ""
	if len(rest) >= 2 && rest[0] == "versions" {
		version, rest = rest[1], rest[2:]
	}
	switch strings.Join(rest, "/") {
	case "":
		return route{"GET", yolo.Read, d.metadata(name, version)}, true
	case "ready":
		return route{"GET", yolo.Open, d.modelReady(name, version)}, true
	case "config":
		return route{"GET", yolo.Read, d.config(name, version)}, true
	case "stats":
		return route{"GET", yolo.Read, d.statistics(name, version)}, true
	case "infer":
		return route{"POST", yolo.Infer, func(w http.ResponseWriter, r *http.Request) error {
			return d.infer(w, r, name, version)
		}}, true
	}
	return route{}, false
}

// ServeHTTP answers one call, logs it, and survives a panic in it.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	door.Serve(w, r, d.o.Log, func(w *door.Recorder) {
		if err := d.dispatch(w, r); err != nil {
			d.fail(w, r, err)
		}
	}, func(w *door.Recorder, id string) {
		writeJSON(w, http.StatusInternalServerError, errorBody{"internal error", id})
	})
}

func (d *Door) dispatch(w http.ResponseWriter, r *http.Request) error {
	t, ok := d.find(r.URL.Path)
	switch {
	case !ok && strings.Contains(r.URL.Path, "sharedmemory"):
		return yolo.Errorf(yolo.NotFound, "shared memory is not served: send the data itself")
	case !ok:
		return yolo.Errorf(yolo.NotFound, "the protocol has no such path, or lazyolo does not serve it")
	case r.Method != t.method && (r.Method != http.MethodHead || t.method != http.MethodGet):
		w.Header().Set("Allow", t.method)
		return statusError{http.StatusMethodNotAllowed, "this path takes " + t.method}
	}
	return t.serve(w, r)
}

// A statusError is a refusal with a status that no yolo.Code has.
type statusError struct {
	status int
	text   string
}

func (e statusError) Error() string { return e.text }

// statuses are those of yolo's codes.
var statuses = map[yolo.Code]int{
	yolo.Invalid: http.StatusBadRequest, yolo.Unsupported: http.StatusUnsupportedMediaType, yolo.NotFound: http.StatusNotFound,
	yolo.TooLarge: http.StatusRequestEntityTooLarge, yolo.Conflict: http.StatusConflict, yolo.Denied: http.StatusUnauthorized,
	yolo.Forbidden: http.StatusForbidden, yolo.Overloaded: http.StatusTooManyRequests, yolo.LoadFailed: http.StatusServiceUnavailable,
	yolo.Unavailable: http.StatusServiceUnavailable, yolo.NoRoom: http.StatusServiceUnavailable, yolo.TooBig: http.StatusServiceUnavailable,
	yolo.Deadline: http.StatusGatewayTimeout, yolo.Canceled: 499, yolo.Internal: http.StatusInternalServerError,
}

// errorBody is how the protocol tells an error. ID stands in the log too.
type errorBody struct {
	Error string `json:"error"`
	ID    string `json:"id,omitempty"`
}

// fail answers and logs err.
func (d *Door) fail(w *door.Recorder, r *http.Request, err error) {
	if w.Status != 0 { // an answer has begun: the client must see that it is cut
		panic(http.ErrAbortHandler)
	}
	var s statusError
	if errors.As(err, &s) {
		writeJSON(w, s.status, errorBody{Error: s.text})
		return
	}
	code, body, level := yolo.CodeOf(err), errorBody{Error: Message(err)}, slog.LevelDebug
	if HasID(code) {
		body.ID, level = door.NewID(), slog.LevelWarn
	}
	d.o.Log.LogAttrs(r.Context(), level, "request failed", slog.String("path", r.URL.Path), slog.Int("status", statuses[code]),
		slog.Any("error", err), slog.String("id", body.ID))
	var e *yolo.Error
	if errors.As(err, &e) && e.Retry > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((e.Retry+time.Second-1)/time.Second), 10))
	}
	writeJSON(w, statuses[code], body)
}

// writeJSON answers with v; a client that has left is not an error.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(rawJSON(v))
}

func (d *Door) server(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, d.core.Server())
	return nil
}

func (d *Door) live(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, map[string]bool{"live": true})
	return nil
}

func (d *Door) ready(w http.ResponseWriter, _ *http.Request) error {
	status, ok := http.StatusOK, d.core.Ready()
	if !ok {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, map[string]bool{"live": true, "ready": ok})
	return nil
}

func (d *Door) modelReady(name, version string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, _ *http.Request) error {
		if err := d.core.ModelReady(name, version); err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, struct {
			Name  string `json:"name"`
			Ready bool   `json:"ready"`
		}{name, true})
		return nil
	}
}

func (d *Door) metadata(name, version string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		m, err := d.core.Metadata(r.Context(), name, version)
		if err == nil {
			writeJSON(w, http.StatusOK, m)
		}
		return err
	}
}

func (d *Door) config(name, version string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		c, err := d.core.Config(r.Context(), name, version)
		if err == nil {
			writeJSON(w, http.StatusOK, c)
		}
		return err
	}
}

func (d *Door) statistics(name, version string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, _ *http.Request) error {
		all, err := d.core.Statistics(name, version)
		if err == nil {
			writeJSON(w, http.StatusOK, map[string]any{"model_stats": all})
		}
		return err
	}
}

// index lists the models. Its body may be missing.
func (d *Door) index(w http.ResponseWriter, r *http.Request) error {
	ready := false
	err := d.small(w, r, func(s *scanner) error {
		return s.object(func(key string) error {
			v, err := s.scalar()
			if key == "ready" && err == nil && v != nil {
				var ok bool
				if ready, ok = v.(bool); !ok {
					return s.wrong("ready must be true or false")
				}
			}
			return err
		})
	})
	if err == nil {
		writeJSON(w, http.StatusOK, d.core.Index(ready))
	}
	return err
}

// repository finds load and unload.
func (d *Door) repository(name, action string) (route, bool) {
	if action != "load" && action != "unload" {
		return route{}, false
	}
	return route{"POST", yolo.Admin, func(w http.ResponseWriter, r *http.Request) error {
		if d.o.Guard != nil {
			if err := d.o.Guard(r); err != nil {
				return err
			}
		}
		var parameters map[string]any
		err := d.small(w, r, func(s *scanner) error {
			return s.object(func(key string) (err error) {
				if key == "parameters" {
					parameters, err = s.parameters()
					return err
				}
				return s.skip()
			})
		})
		switch {
		case err != nil:
		case action == "load":
			err = d.core.Load(r.Context(), name, parameters)
		default:
			err = d.core.Unload(r.Context(), name)
		}
		if err == nil {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusOK)
		}
		return err
	}}, true
}
