// Package yolo is the vocabulary of lazyolo: what a model is, what is asked of
// it and what it answers, and how an error is told to whoever asked. It does no
// I/O, starts no goroutine and imports nothing of ours, so every other package
// may import it.
//
// # Units and layouts
//
// Boxes are corners in pixels of the original picture, as it is displayed
// (EXIF orientation applied). Tensors are row-major; image inputs are NCHW, RGB,
// scaled to 0..1. Sizes in memory are bytes.
package yolo

import (
	"path"
	"slices"
	"strings"
	"time"
)

// A Task is what a model answers, under Ultralytics' name for it.
type Task string

// The tasks a labels.yaml may name. ParseTask also takes the old server's names.
const (
	Detect   Task = "detect"
	Segment  Task = "segment"
	Pose     Task = "pose"
	OBB      Task = "obb"
	Classify Task = "classify"
	Semantic Task = "semantic" // a class for every pixel
)

// ParseTask reads a task as labels.yaml or a model's metadata spells it: the old
// server's detection, segmentation and classification, or Ultralytics' names.
func ParseTask(s string) (Task, bool) {
	switch s {
	case "detection":
		return Detect, true
	case "segmentation":
		return Segment, true
	case "classification":
		return Classify, true
	}
	t := Task(s)
	return t, slices.Contains([]Task{Detect, Segment, Pose, OBB, Classify, Semantic}, t)
}

// A Model is one immutable revision of a catalog entry; a changed file is a new
// Model with a new Rev.
type Model struct {
	ID          string         // folder name: unique, stable; used in URLs, logs, metrics
	Index       int            // the old server's numeric model_id
	Name        string         // model_name of labels.yaml
	Family      string         // model_family of labels.yaml; informative
	Version     string         // version of labels.yaml
	Description string         // description of labels.yaml
	TaskName    string         // task as labels.yaml spells it: the old API repeats it
	Task        Task           // the same, understood; "": there is no labels.yaml, and the weights file says it, else it is detection
	Labels      Labels         // class names of labels.yaml; they win over the file's own
	InputSize   int            // square input in pixels from input_size; 0: not given
	Weights     string         // path of the weights, symlinks resolved
	WeightsRef  string         // model_path as labels.yaml gives it, for messages
	OneToOne    bool           // head: one2one of labels.yaml: of two heads, the one that needs no NMS
	OtherHead   *Model         // the same checkpoint with the other OneToOne, for requests with NMS; nil: not a checkpoint, or the other head itself
	KeepAlive   *time.Duration // keep_alive of labels.yaml; nil: the server's, negative: never closed for being unused
	Rev         string         // changes when labels.yaml or the weights change
	Bytes       int64          // size of Weights
}

// Folder is the name of m's folder, and head which head of it m is where that is not the
// one that labels.yaml takes: an OtherHead's ID is "FOLDER/HEAD".
func (m *Model) Folder() (folder, head string) {
	folder, head, _ = strings.Cut(m.ID, "/")
	return folder, head
}

// IsCheckpoint reports whether the weights are a PyTorch checkpoint (.pt), which is
// converted before it is prepared. The name in labels.yaml says so: what a link
// leads to may have any name.
func (m *Model) IsCheckpoint() bool { return strings.EqualFold(path.Ext(m.WeightsRef), ".pt") }

// Labels maps a class index to its name. Indexes need not be dense.
type Labels map[int]string

// A Box is an axis-aligned rectangle in pixels: X1 <= X2, Y1 <= Y2.
type Box struct{ X1, Y1, X2, Y2 float32 }

// A Request asks for one picture through one model. The zero value of every
// option means the server's default.
type Request struct {
	Model string // id or decimal index
	Image []byte // an encoded picture; the callee keeps no reference after it returns

	Conf        *float64 // confidence an object must exceed, 0..1; classification ignores it
	IoU         *float64 // overlap, 0..1, beyond which the weaker of two objects goes
	MaxDet      int      // objects kept at most, best first; 0: 300
	Classes     []int    // only objects of these classes; nil: all
	AgnosticNMS bool     // objects of different classes suppress each other too
	NMS         *bool    // of a checkpoint with two heads: the one whose objects are suppressed, or the one that needs none; nil: as labels.yaml says. Other models ignore it, as Ultralytics does
	ImgSz       int      // longer side of a dynamic input in pixels; 0: 640. A static model keeps its own

	KeepAlive *time.Duration // how long the model may then stay in memory unused, until its next use; nil: as the model or the server says
	LoadWait  *time.Duration // longest wait for the model to be loaded; 0: none, but it is loaded for the next; nil: the server's
}

// A Result is the answer to a Request, best object first. It belongs to whoever
// asked; name lists may be shared between results and must not be changed.
type Result struct {
	Model         *Model
	Width, Height int      // of the original picture
	Objects       []Object // of detect, segment, pose and obb
	Probs         []Prob   // of classify: the best five classes, best first
	Regions       []Region // of semantic: the classes that are there, by number

	Cold bool // the request waited for its model
	Took Took // where its time went
}

// Took is where a request's time went; the parts follow each other.
type Took struct {
	Began  time.Time     // when the first part did; zero: not known
	Load   time.Duration // waiting for the model
	Memory time.Duration // waiting for working memory
	Decode time.Duration // reading the picture and fitting it into the input
	Run    time.Duration // the model, and making objects of its output
}

// Add adds another request's times. Began stays.
func (t *Took) Add(o Took) {
	t.Load += o.Load
	t.Memory += o.Memory
	t.Decode += o.Decode
	t.Run += o.Run
}

// A DType is the element type of a tensor, named as the Open Inference Protocol does.
type DType string

// The element types lazyolo reads and writes itself.
const (
	FP32  DType = "FP32"
	FP16  DType = "FP16"
	UINT8 DType = "UINT8" // class numbers that come out
)

// A TensorInfo describes an input or output of a model. A dimension of -1 is dynamic.
type TensorInfo struct {
	Name  string  `json:"name"`
	DType DType   `json:"dtype"`
	Shape []int64 `json:"shape"`
}

// A Tensor is a dense float32 array; FP16 and UINT8 models are converted at the session's
// edge. Whoever made Data owns it.
type Tensor struct {
	Name  string
	Shape []int64
	Data  []float32
}
