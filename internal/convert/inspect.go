package convert

import (
	"strings"

	"lazyolo/internal/onnx"
	"lazyolo/internal/torch"
	"lazyolo/yolo"
)

// A Report is what a checkpoint says of its model, and whether it can be
// converted. Where it cannot, what its head would have told is empty.
type Report struct {
	Part       string // where the model stood in the file: "ema" or "model"
	Class      string // of the model
	Version    string // of the software that wrote the file
	Task       yolo.Task
	Head       string // class of the last layer
	TwoHeaded  bool   // it has a one-to-one and a one-to-many branch
	Labels     yolo.Labels
	Keypoints  []int64 // their number and how many numbers each has
	ImageSize  int     // pixels of a side, as trained
	Stride     int
	Parameters int64
	Layers     []Layer
	Work       onnx.Work // of one picture of ImageSize
	Refused    error     // why Convert refuses it; nil when it does not
	Unknown    []string  // places and classes of the modules that are not known
}

// A Layer is one of the model's layers, with all inside it.
type Layer struct {
	From       []int64 // the layers it takes its inputs from; -1 is the one before it
	Class      string
	Parameters int64
}

// Inspect reads what there is to know of a checkpoint.
func Inspect(ck *torch.Checkpoint) *Report {
	root := ck.Model()
	r := &Report{Part: ck.Part(), Class: root.Class, Stride: modelStride(ck)}
	r.Version, _ = ck.Value("version").(string)
	r.ImageSize, _ = imageSize(ck, 0) // only an asked size can be wrong
	for m := range root.All() {
		r.Parameters += m.Elements()
	}
	if model := root.Child("model"); model != nil {
		for _, m := range model.Children() {
			r.Layers = append(r.Layers, layerOf(m))
		}
	}
	if n := len(r.Layers); n > 0 {
		m := root.Child("model").Children()[n-1]
		r.Head, r.TwoHeaded = m.Kind(), m.Child("cv2") != nil && m.Child("one2one_cv2") != nil
	}
	b, err := emit(ck, Options{ImageSize: r.ImageSize})
	if err != nil {
		r.Refused, r.Unknown = err, unknown(root)
		return r
	}
	r.Task, r.Keypoints, r.Labels = b.head.task, b.head.keypoint, labels(root, b.head.classes)
	side := int64(r.ImageSize)
	r.Work = b.graph.Work(map[string][]int64{"images": {1, b.channels, side, side}})
	return r
}

func layerOf(m *torch.Module) Layer {
	l := Layer{Class: m.Class}
	v, _ := m.Value("f")
	if list, ok := items(v); ok {
		for _, at := range list[:min(len(list), maxList)] {
			l.From = append(l.From, toInt(at))
		}
	} else {
		l.From = []int64{toInt(v)}
	}
	for c := range m.All() {
		l.Parameters += c.Elements()
	}
	return l
}

// unknown lists the modules whose classes are not known here, as far as that
// shows by the class alone; those inside one that is listed are left out.
func unknown(root *torch.Module) []string {
	var out []string
	var inside string
	for m := range root.All() {
		if inside != "" && strings.HasPrefix(m.Path, inside+".") || m == root || emitterOf(m) != nil || part(m) {
			continue
		}
		inside = m.Path
		out = append(out, m.Path+" "+m.Class)
		if len(out) == maxList {
			break
		}
	}
	return out
}

// part reports whether a module is only used as a part of known ones, or not at
// all at inference.
func part(m *torch.Module) bool {
	switch m.Kind() {
	case "ModuleList", "MultiheadAttention", "Softplus", "Embedding":
		return standard(m)
	case "DFL", "Proto26", "MLP", "MSDeformAttn", "DeformableTransformerDecoder", "DeformableTransformerDecoderLayer", "RealNVP":
		return ultralytics(m)
	}
	return false
}
