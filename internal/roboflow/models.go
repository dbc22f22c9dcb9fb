package roboflow

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"lazyolo/yolo"
)

// find returns the model that a model_id means: a folder's name, a model_name that
// no other model has, either with a version behind a slash, or a number.
func (d *Door) find(id string) (*yolo.Model, error) {
	if m, err := d.named(id); m != nil || err != nil {
		return m, err
	}
	if i := strings.LastIndexByte(id, '/'); i > 0 {
		m, err := d.named(id[:i])
		if err != nil {
			return nil, err
		}
		if m != nil {
			return m, ofVersion(m, id[i+1:])
		}
	}
	if n, err := strconv.Atoi(id); err == nil {
		for _, m := range d.models.All() {
			if m.Index == n {
				return m, nil
			}
		}
	}
	return nil, yolo.Errorf(yolo.NotFound, "there is no model %s: GET /model/registry lists what there is", id)
}

// named returns the model with this folder's name, or this model_name; nil: none.
func (d *Door) named(name string) (*yolo.Model, error) {
	var called []*yolo.Model
	for _, m := range d.models.All() {
		if m.ID == name {
			return m, nil
		}
		if m.Name == name {
			called = append(called, m)
		}
	}
	switch len(called) {
	case 0:
		return nil, nil
	case 1:
		return called[0], nil
	}
	return nil, yolo.Errorf(yolo.NotFound, "the model name %s is not unique: use a folder's name such as %s", name, called[0].ID)
}

// ofVersion checks a version that a caller names: the one in labels.yaml or, as
// versions of the dialect are whole numbers, the first number in it. A caller who
// means another version is not answered by this one.
func ofVersion(m *yolo.Model, version string) error {
	if version == m.Version || version == major(m) {
		return nil
	}
	return yolo.Errorf(yolo.NotFound, "model %s has version %s, not %s: ask for %s", m.ID, m.Version, version, spelled(m))
}

// major is the first number of a model's version, or "1" where there is none.
func major(m *yolo.Model) string {
	v := strings.TrimLeft(m.Version, "vV")
	if n := strings.IndexFunc(v, func(r rune) bool { return r < '0' || r > '9' }); n >= 0 {
		v = v[:n]
	}
	if v == "" {
		return "1"
	}
	return v
}

// spelled is how the dialect names a model: its folder and a whole number.
func spelled(m *yolo.Model) string { return m.ID + "/" + major(m) }

// registryAnswer is what GET /model/registry tells.
type registryAnswer struct {
	Models []registered `json:"models"`
	Total  int64        `json:"total_vram_bytes"`
}

// A registered is one name of a model. Of a model that is not in memory there is
// no vram_bytes, and of one whose labels.yaml does not say there is no size.
type registered struct {
	ID      string   `json:"model_id"`
	Task    string   `json:"task_type"`
	Batch   int      `json:"batch_size"`
	Height  int      `json:"input_height,omitempty"`
	Width   int      `json:"input_width,omitempty"`
	Bytes   int64    `json:"vram_bytes,omitempty"`
	Loaded  bool     `json:"loaded"`
	Aliases []string `json:"request_aliases"`
	Paths   []string `json:"request_paths"`
}

// registry answers GET /model/registry: every model, for every one can be asked,
// under its folder's name and as folder/version, because the client looks for the
// name that it was given.
func (d *Door) registry(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, d.registered(""))
}

// registered lists the models; also is one more name to list, if it is none yet.
func (d *Door) registered(also string) registryAnswer {
	held := make(map[string]int64)
	for _, s := range d.residents.Status() {
		if inMemory(s) {
			folder, _ := s.Model.Folder() // of either head
			held[folder] += s.Mapped + s.Private
		}
	}
	out := registryAnswer{Models: []registered{}}
	alsoOf := ""
	if m, err := d.find(also); also != "" && err == nil && also != m.ID && also != spelled(m) {
		alsoOf = m.ID
	}
	for _, m := range d.models.All() {
		t := taskOf(m)
		bytes, loaded := held[m.ID]
		row := registered{
			ID: m.ID, Task: t.name, Batch: 1, Height: m.InputSize, Width: m.InputSize, Bytes: bytes, Loaded: loaded,
			Aliases: []string{spelled(m)}, Paths: []string{},
		}
		if t.path != "" {
			row.Paths = append(row.Paths, t.path)
			if d.o.Legacy && !d.reserved[m.ID] {
				row.Paths = append(row.Paths, "/"+spelled(m))
			}
		}
		out.Total += bytes
		out.Models = append(out.Models, row)
		row.ID, row.Aliases = spelled(m), []string{m.ID}
		out.Models = append(out.Models, row)
		if m.ID == alsoOf {
			row.ID = also
			out.Models = append(out.Models, row)
		}
	}
	return out
}

func inMemory(s yolo.Status) bool { return s.State == yolo.Ready || s.State == yolo.Draining }

// modelAsked reads {"model_id": …} and finds the model.
func (d *Door) modelAsked(w http.ResponseWriter, r *http.Request) (id string, m *yolo.Model, err error) {
	held := d.o.Bodies.Claim()
	defer held.Release()
	body, err := d.readBody(w, r, held)
	if err != nil {
		return "", nil, err
	}
	object, err := parseObject(body)
	if err != nil {
		return "", nil, err
	}
	err = members(object, func(key string, value []byte) (err error) {
		if key == "model_id" {
			id, err = word(key, value)
		}
		return err
	})
	if err == nil && id == "" {
		err = wrong("model_id", "is missing")
	}
	if err != nil {
		return "", nil, err
	}
	m, err = d.find(id)
	return id, m, err
}

// add answers POST /model/add: it loads a model.
func (d *Door) add(w http.ResponseWriter, r *http.Request) error {
	id, m, err := d.modelAsked(w, r)
	if err != nil {
		return err
	}
	ctx, cancel := d.deadline(r.Context())
	defer cancel()
	if err := d.residents.Load(ctx, m); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, d.registered(id))
}

// remove answers POST /model/remove: it takes a model out of memory. It stays in
// the registry, for the next request loads it.
func (d *Door) remove(w http.ResponseWriter, r *http.Request) error {
	_, m, err := d.modelAsked(w, r)
	if err != nil {
		return err
	}
	ctx, cancel := d.deadline(r.Context())
	defer cancel()
	if err := d.unload(ctx, m); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, d.registered(""))
}

// unload takes every head of a model out of memory.
func (d *Door) unload(ctx context.Context, m *yolo.Model) error {
	if err := d.residents.Unload(ctx, m); err != nil || m.OtherHead == nil {
		return err
	}
	return d.residents.Unload(ctx, m.OtherHead)
}

// clear answers POST /model/clear: it takes every model out of memory that is not
// pinned.
func (d *Door) clear(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := d.deadline(r.Context())
	defer cancel()
	for _, s := range d.residents.Status() {
		if !inMemory(s) || s.Pinned {
			continue
		}
		if err := d.residents.Unload(ctx, s.Model); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, d.registered(""))
}
