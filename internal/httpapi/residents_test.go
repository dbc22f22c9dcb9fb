package httpapi_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lazyolo/internal/httpapi"
	"lazyolo/yolo"
)

// residents is a Residents that remembers what was asked of it.
type residents struct {
	err  error // what every action but unpin comes to
	plan yolo.Plan

	mu   sync.Mutex
	done []string
}

func (r *residents) note(what string, m *yolo.Model) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = append(r.done, what+" "+m.ID)
	return r.err
}

func (r *residents) Load(_ context.Context, m *yolo.Model) error   { return r.note("load", m) }
func (r *residents) Unload(_ context.Context, m *yolo.Model) error { return r.note("unload", m) }
func (r *residents) Pin(m *yolo.Model) error                       { return r.note("pin", m) }
func (r *residents) Unpin(m *yolo.Model)                           { r.note("unpin", m) }
func (r *residents) Plan(m *yolo.Model, do yolo.Action) yolo.Plan {
	p := r.plan
	p.Model = m
	if do != yolo.Load {
		p.Err = yolo.Errorf(yolo.Conflict, "plan of %s", do)
	}
	return p
}

// call sends a request through the handler as if a peer on this machine had.
func call(h http.Handler, method, target string, edit func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr, r.Host = "127.0.0.1:4711", "127.0.0.1:8000"
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestActions(t *testing.T) {
	refused := &yolo.Error{Code: yolo.Conflict, Msg: "the model is pinned: unpin it first"}
	tests := []struct {
		name, method, target string
		err                  error
		status               int
		done                 []string
		body                 string // stands in the answer
	}{
		{"load by folder", "POST", "/api/v2/models/model_1/load", nil, 200, []string{"load model_1"}, `{"model_id":1,"folder":"model_1","state":"ready"`},
		{"load by number", "POST", "/api/v2/models/1/load", nil, 200, []string{"load model_1"}, `"state":"ready"`},
		{"unload", "POST", "/api/v2/models/2/unload", nil, 200, []string{"unload model_2"}, `{"model_id":2,"folder":"model_2","state":"unloaded"`},
		{"pin loads first", "POST", "/api/v2/models/0/pin", nil, 200, []string{"load model_0", "pin model_0", "load model_0"}, `"model_id":0`},
		{"unpin", "POST", "/api/v2/models/0/unpin", nil, 200, []string{"unpin model_0"}, `"model_id":0`},
		{"unknown model", "POST", "/api/v2/models/9/load", nil, 404, nil, `{"error":"no model has the folder or number 9"}`},
		{"unknown action", "POST", "/api/v2/models/1/drop", nil, 404, nil, `{"detail":"Not Found"}`},
		{"no model", "POST", "/api/v2/models//load", nil, 404, nil, `{"detail":"Not Found"}`},
		{"deeper", "POST", "/api/v2/models/1/load/x", nil, 404, nil, `{"detail":"Not Found"}`},
		{"wrong method", "GET", "/api/v2/models/1/load", nil, 405, nil, "Method Not Allowed"},
		{"preflight", "OPTIONS", "/api/v2/models/1/load", nil, 405, nil, "Method Not Allowed"},
		{"conflict", "POST", "/api/v2/models/1/unload", refused, 409, []string{"unload model_1"}, `{"error":"the model is pinned: unpin it first"}`},
		{"no room", "POST", "/api/v2/models/1/load", yolo.Errorf(yolo.NoRoom, "all pinned"), 503, []string{"load model_1"}, `"error":"all pinned"`},
		{"dry run", "POST", "/api/v2/models/1/load?dry_run=1", nil, 200, nil, `"dry_run":true`},
		{"dry run off", "POST", "/api/v2/models/1/load?dry_run=0", nil, 200, []string{"load model_1"}, `"state":"ready"`},
		{"dry run of what", "POST", "/api/v2/models/1/load?dry_run=perhaps", nil, 422, nil, "bool_parsing"},
		{"dry run of unload", "POST", "/api/v2/models/1/unload?dry_run=1", nil, 200, nil, `"error":"plan of unload"`},
		{"dry run of pin", "POST", "/api/v2/models/1/pin?dry_run=1", nil, 200, nil, `"error":"plan of pin"`},
		{"dry run of unpin", "POST", "/api/v2/models/1/unpin?dry_run=1", nil, 200, nil, `"error":"plan of unpin"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			did := &residents{err: tt.err}
			o := options(io.Discard)
			o.Residents = did
			o.Memory = func() httpapi.Memory {
				return httpapi.Memory{Models: []yolo.Status{{Model: shapes().models[1], State: yolo.Ready}}}
			}
			w := call(handler(t, found(), shapes(), o), tt.method, tt.target, func(r *http.Request) { r.Header.Set("Access-Control-Request-Method", "POST") })
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.body) {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, tt.status, tt.body)
			}
			if d := cmp.Diff(tt.done, did.done); d != "" {
				t.Error(d)
			}
			noCORS(t, w.Header())
		})
	}
}

func noCORS(t *testing.T, h http.Header) {
	t.Helper()
	for k := range h {
		if strings.HasPrefix(k, "Access-Control") {
			t.Errorf("%s: %s", k, h.Get(k))
		}
	}
}

// TestScope: what each path asks of its caller.
func TestScope(t *testing.T) {
	door, err := httpapi.New(found(), shapes(), options(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method, path string
		want         yolo.Scope
	}{
		{"GET", "/api/v1/health", yolo.Open},
		{"GET", "/docs", yolo.Open},
		{"GET", "/openapi.json", yolo.Open},
		{"GET", "/nothing", yolo.Open},
		{"GET", "/api/v2/models", yolo.Read},
		{"GET", "/api/v2/cache/stats", yolo.Read},
		{"GET", "/api/v2/memory_status", yolo.Read},
		{"GET", "/api/v2/events", yolo.Read},
		{"POST", "/api/v1/detect", yolo.Infer},
		{"POST", "/api/v2/detect", yolo.Infer},
		{"OPTIONS", "/api/v2/detect", yolo.Open}, // a preflight
		{"OPTIONS", "/api/v2/models/1/load", yolo.Admin},
		{"OPTIONS", "/api/v2/events", yolo.Read},
		{"POST", "/api/v2/models/1/load", yolo.Admin},
		{"POST", "/api/v2/models/9/unload", yolo.Admin},
		{"GET", "/api/v2/models/x/pin", yolo.Admin},
		{"POST", "/api/v2/models/x/unpin", yolo.Admin},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		r.Header.Set("Origin", "http://other.test")
		r.Header.Set("Access-Control-Request-Method", "POST")
		if got := door.Scope(r); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.method, c.path, got, c.want)
		}
	}
}

// TestOrigins: pages of other origins than allowed get no answer they could read.
func TestOrigins(t *testing.T) {
	o := options(io.Discard)
	o.Origin = func(origin string) bool { return origin == "https://ours.test" }
	h := handler(t, found(), shapes(), o)
	for _, c := range []struct {
		method, origin, allow string
		status                int
	}{
		{"GET", "https://ours.test", "https://ours.test", 200},
		{"GET", "https://other.test", "", 200},
		{"OPTIONS", "https://ours.test", "https://ours.test", 200},
		{"OPTIONS", "https://other.test", "", 400},
	} {
		w := call(h, c.method, "/api/v2/models", func(r *http.Request) {
			r.Header.Set("Origin", c.origin)
			if c.method == "OPTIONS" {
				r.Header.Set("Access-Control-Request-Method", "GET")
			}
		})
		if w.Code != c.status || w.Header().Get("Access-Control-Allow-Origin") != c.allow || !strings.Contains(w.Header().Get("Vary"), "Origin") {
			t.Errorf("%s from %s: %d %v %s", c.method, c.origin, w.Code, w.Header(), w.Body)
		}
	}
}

func TestDryRun(t *testing.T) {
	all := shapes().models
	full := yolo.Plan{
		State: yolo.Unloaded, Prepared: true, Need: 30 << 20, Keep: 20 << 20, Free: 10 << 20, Arena: 1 << 20,
		Cool:   []yolo.Candidate{{Model: all[0], Idle: 90 * time.Second, Rate: 0.5, Bytes: 8 << 20, Reload: 15 * time.Millisecond, Value: 0.25}},
		Close:  []yolo.Candidate{{Model: all[2], Why: "in use"}},
		Spared: []yolo.Candidate{}, Time: 12500 * time.Microsecond,
	}
	other := `"value":0,"idle_s":0,"rate":0,"mb":0,"reload_ms":0`
	tests := []struct {
		name string
		plan yolo.Plan
		want string
	}{
		{"full", full, `{"model_id":1,"folder":"model_1","dry_run":true,"state":"unloaded","fits":true,"prepared":true,"need_mb":30,"keep_mb":20,"free_mb":10,"arena_mb":1,` +
			`"cool":[{"model_id":0,"folder":"model_0","value":0.25,"idle_s":90,"rate":0.5,"mb":8,"reload_ms":15}],` +
			`"close":[{"model_id":2,"folder":"model_2",` + other + `,"why":"in use"}],"spared":[],"expected_ms":12.5}`},
		{"refused", yolo.Plan{State: yolo.Failed, Err: yolo.Errorf(yolo.TooBig, "too big")},
			`{"model_id":1,"folder":"model_1","dry_run":true,"state":"failed","fits":false,"error":"too big","prepared":false,"need_mb":0,"keep_mb":null,"free_mb":0,"arena_mb":0,"cool":[],"close":[],"spared":[],"expected_ms":null}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := options(io.Discard)
			o.Residents = &residents{plan: tt.plan}
			w := call(handler(t, found(), shapes(), o), "POST", "/api/v2/models/1/load?dry_run=1", nil)
			if w.Body.String() != tt.want {
				t.Errorf("got\n%s\nwant\n%s", w.Body, tt.want)
			}
		})
	}
}
