// Package oip is the Open Inference Protocol v2 (KServe, Triton): what its calls mean
// (Core), and their REST form (Door). Package grpcapi gives the same calls over gRPC.
//
// A model's inputs and outputs are its raw tensors. Beside them every model takes
// pictures: one input named image, datatype BYTES, holds encoded pictures, and the
// answer is what was found in them (see pictures.go).
package oip

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"lazyolo/internal/bodies"
	"lazyolo/yolo"
)

// A Detector runs models; *detect.Detector is one. Its errors carry codes.
type Detector interface {
	// Detect may keep r.Image only until it returns.
	Detect(ctx context.Context, r yolo.Request) (*yolo.Result, error)
	// Infer hands the outputs to use, which does not keep them. The data of in may be changed.
	Infer(ctx context.Context, model string, in []yolo.Tensor, use func(out []yolo.Tensor) error) error
	// Signature may load the model.
	Signature(ctx context.Context, m *yolo.Model) (yolo.Signature, error)
	// Counts is how often m was called since the start. It must not block.
	Counts(m *yolo.Model) yolo.Counts
}

// Models is the catalog. Its methods must not block.
type Models interface {
	// All returns every model, in ascending order of Index. The caller does not change it.
	All() []*yolo.Model
}

// Residents is what is in memory; *pool.Pool is one.
type Residents interface {
	// Load makes a model resident and waits until it is.
	Load(ctx context.Context, m *yolo.Model) error
	// Unload takes a model out of memory and waits until its memory is back.
	Unload(ctx context.Context, m *yolo.Model) error
	// Status tells of every model that was ever asked for. It must not block.
	Status() []yolo.Status
}

// Options configures NewCore. A field is required unless it says what zero means.
type Options struct {
	Version string        // of the server
	Ready   func() bool   // whether models can be run; asked at each health call
	Bodies  *bodies.Share // memory of the bodies of all requests
	// Answer writes what /api/v2/detect answers for a picture; masks is polygon, rle or none.
	Answer         func(r *yolo.Result, masks string) ([]byte, error)
	RequestTimeout time.Duration // from the end of the upload to the answer; 0: none
}

// A Core answers the protocol's calls, whichever way they came. Its methods may be
// called concurrently; their errors carry a yolo.Code.
type Core struct {
	detector  Detector
	models    Models
	residents Residents
	o         Options
}

// NewCore makes a Core. The error names the option that is missing.
func NewCore(d Detector, m Models, r Residents, o Options) (*Core, error) {
	for _, need := range []struct {
		ok   bool
		what string
	}{
		{d != nil, "a Detector"}, {m != nil, "Models"}, {r != nil, "Residents"},
		{o.Ready != nil, "Options.Ready"}, {o.Bodies != nil, "Options.Bodies"}, {o.Answer != nil, "Options.Answer"},
		{o.RequestTimeout >= 0, "an Options.RequestTimeout that is not negative"},
	} {
		if !need.ok {
			return nil, errors.New("oip: NewCore needs " + need.what)
		}
	}
	return &Core{detector: d, models: m, residents: r, o: o}, nil
}

// A ServerMetadata is what the server says of itself.
type ServerMetadata struct {
	Name       string   `json:"name"`
	Version    string   `json:"version"`
	Extensions []string `json:"extensions"`
}

// Server describes the server.
func (c *Core) Server() ServerMetadata {
	return ServerMetadata{"lazyolo", c.o.Version, []string{
		"binary_tensor_data", "model_configuration", "model_repository", "parameters", "statistics", "pictures",
	}}
}

// Ready reports whether models can be run.
func (c *Core) Ready() bool { return c.o.Ready() }

// Model finds a model by its folder's name. version is the one of labels.yaml, or empty.
func (c *Core) Model(name, version string) (*yolo.Model, error) {
	for _, m := range c.models.All() {
		switch {
		case m.ID != name:
		case version != "" && version != m.Version:
			return nil, yolo.Errorf(yolo.NotFound, "model %q has version %q, not %q", clip(name), m.Version, clip(version))
		default:
			return m, nil
		}
	}
	return nil, yolo.Errorf(yolo.NotFound, "no model is called %q: names are those of the folders, POST /v2/repository/index lists them", clip(name))
}

// ModelReady says why a model cannot be asked now; nil: it can. One that is not in
// memory is loaded on demand.
func (c *Core) ModelReady(name, version string) error {
	m, err := c.Model(name, version)
	if err != nil {
		return err
	}
	if s := c.status(m); s.State == yolo.Failed {
		return &yolo.Error{Code: yolo.LoadFailed, Model: m.ID, Msg: reasonOf(s), Err: s.Err}
	}
	return nil
}

// status is what is known of m's place in memory.
func (c *Core) status(m *yolo.Model) yolo.Status {
	for _, s := range c.residents.Status() {
		if s.Model.ID == m.ID {
			return s
		}
	}
	return yolo.Status{Model: m}
}

// reasonOf is why a model cannot be loaded, safe to show.
func reasonOf(s yolo.Status) string {
	var e *yolo.Error
	if errors.As(s.Err, &e) {
		return e.Msg
	}
	return "the last load failed"
}

// deadline limits a call to Options.RequestTimeout.
func (c *Core) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.o.RequestTimeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.o.RequestTimeout)
}

// A TensorMetadata describes an input or output. A dimension of -1 is any.
type TensorMetadata struct {
	Name     string  `json:"name"`
	DataType string  `json:"datatype"`
	Shape    []int64 `json:"shape"`
}

// A ModelMetadata describes a model.
type ModelMetadata struct {
	Name       string            `json:"name"`
	Versions   []string          `json:"versions,omitempty"`
	Platform   string            `json:"platform"`
	Inputs     []TensorMetadata  `json:"inputs"`
	Outputs    []TensorMetadata  `json:"outputs"`
	Properties map[string]string `json:"properties,omitempty"`
}

// platform is what runs the models, in Triton's word.
const platform = "onnxruntime_onnx"

// maxClasses bounds what names of classes take in an answer, in bytes.
const maxClasses = 64 << 10

// Metadata describes a model.
func (c *Core) Metadata(ctx context.Context, name, version string) (ModelMetadata, error) {
	m, s, err := c.signature(ctx, name, version)
	if err != nil {
		return ModelMetadata{}, err
	}
	out := ModelMetadata{
		Name: m.ID, Platform: platform, Inputs: tensorsOf(s.Inputs), Outputs: tensorsOf(s.Outputs),
		Properties: map[string]string{
			"task":            string(m.Task),
			"model_name":      m.Name,
			"picture_input":   "image BYTES [-1]: encoded pictures instead of tensors",
			"picture_outputs": "boxes FP32 [-1,4], scores FP32 [-1], classes INT64 [-1], labels BYTES [-1], counts INT64 [pictures], result BYTES [pictures]",
		},
	}
	if classes, err := json.Marshal(m.Labels); err == nil && len(classes) <= maxClasses {
		out.Properties["classes"] = string(classes)
	}
	if m.Version != "" {
		out.Versions = []string{m.Version}
	}
	return out, nil
}

func (c *Core) signature(ctx context.Context, name, version string) (*yolo.Model, yolo.Signature, error) {
	m, err := c.Model(name, version)
	if err != nil {
		return nil, yolo.Signature{}, err
	}
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	s, err := c.detector.Signature(ctx, m)
	return m, s, err
}

func tensorsOf(infos []yolo.TensorInfo) []TensorMetadata {
	out := make([]TensorMetadata, len(infos))
	for i, t := range infos {
		out[i] = TensorMetadata{t.Name, string(t.DType), t.Shape}
	}
	return out
}

// A ModelIndex is one model of the repository.
type ModelIndex struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	State   string `json:"state"`
	Reason  string `json:"reason"`
}

// Index lists the models and whether they are in memory; ready: only those that are.
func (c *Core) Index(ready bool) []ModelIndex {
	known := make(map[string]yolo.Status)
	for _, s := range c.residents.Status() {
		known[s.Model.ID] = s
	}
	out := []ModelIndex{}
	for _, m := range c.models.All() {
		i := ModelIndex{Name: m.ID, Version: m.Version}
		switch s := known[m.ID]; s.State {
		case yolo.Ready:
			i.State = "READY"
		case yolo.Queued:
			i.State, i.Reason = "LOADING", "waits for memory or its turn"
		case yolo.Loading:
			i.State = "LOADING"
		case yolo.Draining:
			i.State = "UNLOADING"
		case yolo.Failed:
			i.State, i.Reason = "UNAVAILABLE", reasonOf(s)
		default:
			i.State, i.Reason = "UNAVAILABLE", "not in memory: loaded on demand"
		}
		if i.State == "READY" || !ready {
			out = append(out, i)
		}
	}
	return out
}

// Load makes a model resident. parameters are those of the call: none that would change
// the model is served.
func (c *Core) Load(ctx context.Context, name string, parameters map[string]any) error {
	m, err := c.Model(name, "")
	if err != nil {
		return err
	}
	for p := range parameters {
		return yolo.Errorf(yolo.Unsupported, "parameter %q is not served: models come from the models folder as they are", clip(p))
	}
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	return c.residents.Load(ctx, m)
}

// Unload takes a model out of memory, with whichever of its heads are there.
func (c *Core) Unload(ctx context.Context, name string) error {
	m, err := c.Model(name, "")
	if err != nil {
		return err
	}
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	if err := c.residents.Unload(ctx, m); err != nil || m.OtherHead == nil {
		return err
	}
	return c.residents.Unload(ctx, m.OtherHead)
}

// clip shortens what a caller wrote, for a message.
func clip(s string) string {
	const most = 100
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "..."
	}
	return s
}

// rawJSON writes v; it cannot fail for the types it is used with.
func rawJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return json.RawMessage("null")
	}
	return b
}
