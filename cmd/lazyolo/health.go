package main

import (
	"encoding/json"
	"net/http"
	"os"

	"lazyolo/internal/config"
	"lazyolo/internal/httpapi"
	"lazyolo/internal/telemetry"
	"lazyolo/yolo"
)

// operations is the door for who runs the server: whether it lives, whether it should
// be sent requests, and its metrics.
func (s *server) operations() door {
	paths := map[string]struct {
		scope yolo.Scope
		http.Handler
	}{
		"/livez":   {yolo.Open, http.HandlerFunc(live)},
		"/readyz":  {yolo.Open, http.HandlerFunc(s.readyz)},
		"/metrics": {yolo.Read, s.telemetry.Metrics()},
	}
	return door{
		name: "operations",
		owns: func(path string) bool { _, ok := paths[path]; return ok },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				w.Header().Set("Allow", "GET, HEAD")
				http.Error(w, "only GET and HEAD are served here", http.StatusMethodNotAllowed)
				return
			}
			w.Header().Set("Cache-Control", "no-store")
			paths[r.URL.Path].ServeHTTP(w, r)
		}),
		scope: func(r *http.Request) yolo.Scope { return paths[r.URL.Path].scope },
		route: func(r *http.Request) string { return r.URL.Path },
	}
}

// live answers /livez: that it does is the answer.
func live(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) }

// readyz answers /readyz.
func (s *server) readyz(w http.ResponseWriter, r *http.Request) {
	answer := struct {
		Ready   bool     `json:"ready"`
		Reasons []string `json:"reasons"` // why not
	}{Reasons: s.unready()}
	answer.Ready = len(answer.Reasons) == 0
	w.Header().Set("Content-Type", "application/json")
	if !answer.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		s.log.DebugContext(r.Context(), "answer /readyz", "err", err)
	}
}

// unready says why requests should be sent elsewhere; empty, not nil: they should not.
func (s *server) unready() []string {
	why := []string{}
	if s.stopping.Load() {
		why = append(why, "stopping: the server got a signal")
	}
	h := s.health()
	if h.Starting {
		why = append(why, "starting: the pinned and preloaded models are being loaded (READY_AFTER)")
	}
	if !h.InferenceOK {
		why = append(why, "no inference: ONNX Runtime is missing or cannot be used; lazyolo doctor tells more")
	}
	if !h.ModelPathAccess {
		why = append(why, "no models: MODELS_PATH cannot be read")
	}
	return why
}

func (s *server) health() httpapi.Health {
	return httpapi.Health{
		Starting:        s.c.ReadyAfter == config.ReadyPreload && !s.warmedUp.Load(),
		InferenceOK:     s.engine.Ready() == nil,
		Device:          "cpu",
		ModelPathAccess: readable(s.c.ModelsPath) || s.opened.isDemo,
		TmpWritable:     writable(os.TempDir()),
		OutputWritable:  !s.c.SaveAnnotated || writable(s.c.OutputPath), // not needed, it is no trouble
	}
}

// newTelemetry counts and traces what this server does.
func (s *server) newTelemetry() (*telemetry.Telemetry, error) {
	return telemetry.New(telemetry.Options{
		Log: s.log, Version: buildVersion, Model: s.models.Model, State: s.state, Getenv: os.Getenv,
	})
}

// state is what metrics ask for at each scrape.
func (s *server) state() telemetry.State {
	m := s.memory()
	st := telemetry.State{
		Ready: len(s.unready()) == 0, Budget: m.Limit, Free: m.Free, Resident: m.Used, Ledger: m.Ledger, Unexplained: m.Unexplained,
		WaitLoad: m.WaitLoad, WaitMemory: m.WaitMemory, Catalog: len(s.models.All()), Models: m.Models,
		Preheated: m.Preheated, PreheatUsed: m.PreheatUsed,
	}
	var err error
	if st.CacheBytes, st.CacheModels, err = s.engine.Cache().Size(); err != nil {
		s.log.Debug("measure the cache folder", "err", err)
	}
	return st
}
