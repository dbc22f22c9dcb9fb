package httpapi

import (
	"context"
	"net/http"
	"strings"
	"time"

	"lazyolo/yolo"
)

// Residents changes which models are in memory; *pool.Pool is one. What the state
// of a model does not allow is refused with Conflict.
type Residents interface {
	// Load makes a model resident and waits until it is.
	Load(ctx context.Context, m *yolo.Model) error
	// Unload takes a model out of memory and waits until its memory is back.
	Unload(ctx context.Context, m *yolo.Model) error
	// Pin keeps a model in memory; NoRoom where others could not work then.
	Pin(m *yolo.Model) error
	// Unpin lets a model go again.
	Unpin(m *yolo.Model)
	// Plan says what an action would do, and changes nothing.
	Plan(m *yolo.Model, do yolo.Action) yolo.Plan
}

// modelsPath is what the paths of actions begin with.
const modelsPath = "/api/v2/models/"

// An action changes a model's place in memory.
type action func(ctx context.Context, m *yolo.Model) error

// actions are what may follow /api/v2/models/{id}/.
func (s *server) actions() map[yolo.Action]action {
	return map[yolo.Action]action{
		yolo.Load:   s.o.Residents.Load,
		yolo.Unload: s.unload,
		yolo.Pin:    s.pin,
		yolo.Unpin: func(_ context.Context, m *yolo.Model) error {
			s.o.Residents.Unpin(m)
			return nil
		},
	}
}

// actionRoute is the route of /api/v2/models/{id}/{action}. The id is a folder's
// name, or, where no folder has it, a number.
func (s *server) actionRoute(path string) (route, bool) {
	rest, ok := strings.CutPrefix(path, modelsPath)
	id, name, both := strings.Cut(rest, "/")
	do, known := s.doing[yolo.Action(name)]
	if !ok || !both || !known || id == "" {
		return route{}, false
	}
	return route{allow: "POST", own: true, scope: yolo.Admin, serve: func(w http.ResponseWriter, r *http.Request) error {
		return s.act(w, r, id, yolo.Action(name), do)
	}}, true
}

// act does an action and answers with the model's state afterwards.
func (s *server) act(w http.ResponseWriter, r *http.Request, id string, name yolo.Action, do action) error {
	a := &asker{form: &form{query: r.URL.Query()}}
	dry := a.yes("dry_run")
	if len(a.bad) > 0 {
		return &wireError{http.StatusUnprocessableEntity, detailBody{a.bad}, nil}
	}
	m := s.byPath(id)
	switch {
	case m == nil:
		return yolo.Errorf(yolo.NotFound, "no model has the folder or number %s", id)
	case dry:
		return writeJSON(w, http.StatusOK, newPlan(s.o.Residents.Plan(m, name)))
	}
	ctx, cancel := s.deadline(r.Context())
	defer cancel()
	if err := do(ctx, m); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, s.modelState(m))
}

// byPath finds a model by its folder's name or its number.
func (s *server) byPath(id string) *yolo.Model {
	for _, m := range s.models.All() {
		if m.ID == id {
			return m
		}
	}
	return s.model(id)
}

// unload takes every head of a model out of memory.
func (s *server) unload(ctx context.Context, m *yolo.Model) error {
	if err := s.o.Residents.Unload(ctx, m); err != nil || m.OtherHead == nil {
		return err
	}
	return s.o.Residents.Unload(ctx, m.OtherHead)
}

// pin loads a model and keeps it.
func (s *server) pin(ctx context.Context, m *yolo.Model) error {
	if err := s.o.Residents.Load(ctx, m); err != nil {
		return err
	}
	err := s.o.Residents.Pin(m)
	if err != nil && yolo.CodeOf(err) == yolo.NoRoom {
		return &yolo.Error{Code: yolo.Conflict, Model: m.ID, Msg: publicText(err), Err: err}
	}
	if err != nil {
		return err
	}
	return s.o.Residents.Load(ctx, m) // a short keep-alive may have been over before
}

// stateAnswer is a model after an action.
type stateAnswer struct {
	Index  int    `json:"model_id"`
	Folder string `json:"folder"`
	modelMemory
}

func (s *server) modelState(m *yolo.Model) stateAnswer {
	a := stateAnswer{m.Index, m.ID, newModelMemory(yolo.Status{Model: m})}
	for _, status := range s.o.Memory().Models {
		if status.Model.ID == m.ID {
			a.modelMemory = newModelMemory(status)
		}
	}
	return a
}

// planAnswer is what an action would do.
type planAnswer struct {
	Index    int             `json:"model_id"`
	Folder   string          `json:"folder"`
	DryRun   bool            `json:"dry_run"`
	State    string          `json:"state"`
	Fits     bool            `json:"fits"`
	Error    string          `json:"error,omitempty"` // why not
	Prepared bool            `json:"prepared"`
	Need     float64         `json:"need_mb"` // while it is loaded, or prepared
	Keep     *float64        `json:"keep_mb"` // afterwards; null: known once prepared
	Free     float64         `json:"free_mb"`
	Arena    float64         `json:"arena_mb"` // given back first
	Cool     []candidateInfo `json:"cool"`
	Close    []candidateInfo `json:"close"`
	Spared   []candidateInfo `json:"spared"`
	TimeMS   *float64        `json:"expected_ms"` // null: not known
}

func newPlan(p yolo.Plan) planAnswer {
	a := planAnswer{
		Index: p.Model.Index, Folder: p.Model.ID, DryRun: true, State: p.State.String(), Fits: p.Err == nil, Prepared: p.Prepared,
		Need: megabytes(p.Need), Free: megabytes(p.Free), Arena: megabytes(p.Arena),
		Cool: candidates(p.Cool), Close: candidates(p.Close), Spared: candidates(p.Spared),
	}
	if p.Err != nil {
		a.Error = publicText(p.Err)
	}
	if p.Keep > 0 {
		a.Keep = new(megabytes(p.Keep))
	}
	if p.Time > 0 {
		a.TimeMS = new(milliseconds(p.Time))
	}
	return a
}

// candidateInfo is a model as the eviction policy weighs it.
type candidateInfo struct {
	Index    int     `json:"model_id"`
	Folder   string  `json:"folder"`
	Value    float64 `json:"value"` // expected milliseconds of loading that each MB saves
	Idle     float64 `json:"idle_s"`
	Rate     float64 `json:"rate"`
	Bytes    float64 `json:"mb"`
	ReloadMS float64 `json:"reload_ms"`
	Why      string  `json:"why,omitempty"`
}

func newCandidate(c yolo.Candidate) candidateInfo {
	return candidateInfo{
		Index: c.Model.Index, Folder: c.Model.ID, Value: c.Value, Idle: c.Idle.Round(time.Millisecond).Seconds(), Rate: c.Rate,
		Bytes: megabytes(c.Bytes), ReloadMS: milliseconds(c.Reload), Why: c.Why,
	}
}

// candidates renders a list, an empty one as such.
func candidates(all []yolo.Candidate) []candidateInfo {
	out := make([]candidateInfo, 0, len(all))
	for _, c := range all {
		out = append(out, newCandidate(c))
	}
	return out
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
