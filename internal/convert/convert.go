// Package convert turns the module tree of a checkpoint (internal/torch) into an
// ONNX graph (internal/onnx) that computes what the model computes.
//
// It was written from a table of facts about the classes of Ultralytics' models
// (names, shapes, order of operations) and from the outputs of such models, not
// from their source. A class is known by the last
// part of its name, because the packages have moved over the releases; whatever
// matters and can differ (activations, epsilons, padding, widths) is read from
// the checkpoint and never assumed. What is not known is refused: a wrong answer
// would be worse than none.
//
// # The graph
//
// Opset 17, IR version 8. Input images, float32, (batch, channels, height,
// width), RGB scaled to 0..1; outputs output0 and, for segmentation, output1, as
// Ultralytics' own export has them. Norms are folded into the convolutions
// before them, in float64. Anchors are computed from the shapes in the graph, so
// that one graph serves any size; with a fixed size a runtime computes them once.
//
// Weights are folded row by row when the model is written, so a conversion takes
// little more memory than the graph itself.
package convert

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"lazyolo/internal/onnx"
	"lazyolo/internal/torch"
)

// The limits on what is converted.
const (
	maxNodes   = 1 << 16 // of the graph; the largest models have 2,000
	maxLayers  = 1 << 12
	maxList    = 64 // entries of a list that is an attribute
	maxClasses = 1 << 16
	maxHeld    = 32 << 20 // bytes of biases and other constants, which are held until they are written
	maxWeights = 2 << 30  // bytes of all weights: what an ONNX file may have
	maxSize    = 8192     // pixels of a side
)

// Options says how a model is converted; the zero value is a fixed input size of
// the checkpoint's own, float32 and the one-to-many branch.
type Options struct {
	// OneToOne takes the branch that needs no suppression of families that have
	// two (YOLOv10, YOLO26). A checkpoint that has only that one is converted
	// with it in any case, and one without it by its only one.
	OneToOne bool
	// ImageSize is the side of the square input in pixels, rounded up to a
	// multiple of the model's stride; 0: what the model was trained with.
	ImageSize int
	// Dynamic leaves batch, height and width free; ImageSize then is only what
	// the metadata names.
	Dynamic bool
	// Half stores the weights as float16 and computes in float32: a file of half
	// the size and nearly the same results.
	Half bool
	// Scores leaves the output of semantic segmentation at the scores of the classes,
	// (batch, classes, height/8, width/8), instead of the class of each pixel that
	// Ultralytics exports: with a checkpoint it chooses the class last of all.
	Scores bool
}

// Convert makes the ONNX model of a checkpoint. The checkpoint must stay open
// until the model has been written.
func Convert(ck *torch.Checkpoint, o Options) (*onnx.Model, error) {
	b, err := emit(ck, o)
	if err != nil {
		return nil, fmt.Errorf("convert: %w", err)
	}
	return &onnx.Model{
		IRVersion: 8, Producer: "lazyolo", Imports: []onnx.OperatorSet{{Version: 17}},
		Graph: b.graph, Metadata: metadata(ck, b),
	}, nil
}

// emit makes the graph of a checkpoint.
func emit(ck *torch.Checkpoint, o Options) (*builder, error) {
	root := ck.Model()
	size, err := imageSize(ck, o.ImageSize)
	if err != nil {
		return nil, err
	}
	o.ImageSize = size
	b := newBuilder(o)
	if !ultralytics(root) {
		b.refuse(root)
	}
	b.layers(root)
	b.readChannels(root)
	if b.head.classes > maxClasses {
		b.fail(root, "it has %d classes, more than %d", b.head.classes, maxClasses)
	}
	if b.err == nil && len(b.head.outputs) == 0 {
		b.fail(root, "its last layer is not the head of a task that lazyolo serves (detect, segment, pose, obb, classify, semantic)")
	}
	if b.err != nil {
		return nil, b.err
	}
	b.finish()
	return b, nil
}

// layers runs the model's layers in their order. Each names the layers it takes
// its inputs from.
func (b *builder) layers(root *torch.Module) {
	list := b.child(root, "model").Children()
	if len(list) > maxLayers {
		b.fail(root, "it has %d layers, more than %d", len(list), maxLayers)
		return
	}
	x, done := value{name: "images"}, []value(nil)
	for i, m := range list {
		if len(b.head.outputs) > 0 {
			b.fail(m, "it follows the head")
		}
		in := b.inputs(m, x, done)
		if b.err != nil {
			return
		}
		if m.Name() != fmt.Sprint(i) {
			b.fail(m, "layer %d has another name", i)
		}
		x = b.layer(m, in)
		done = append(done, x)
	}
}

// inputs are what layer m takes, whose f is -1 for the layer before it, the index
// of another one, or a list of these.
func (b *builder) inputs(m *torch.Module, before value, done []value) value {
	pick := func(at int64) value {
		if at == -1 {
			return before
		}
		if at < 0 {
			at += int64(len(done))
		}
		if at < 0 || at >= int64(len(done)) {
			b.fail(m, "it takes its input from layer %d", at)
			return value{}
		}
		return done[at]
	}
	v, _ := m.Value("f")
	switch v := v.(type) {
	case int64:
		return pick(v)
	case *torch.List, torch.Tuple:
		in := value{list: []value{}}
		for _, at := range b.intsAt(m, "f") {
			in.list = append(in.list, pick(at))
		}
		if len(in.list) == 0 {
			b.fail(m, "it takes no input")
		}
		return in
	}
	b.fail(m, "it does not say which layers it takes its input from")
	return value{}
}

// readChannels finds the channels of the input: what the model's description
// says, or its first convolution takes.
func (b *builder) readChannels(root *torch.Module) {
	v, _ := root.Value("yaml")
	n, _ := dictOf(v).Get("channels").(int64)
	if n == 0 {
		if w := rank4(root); w != nil {
			n = w.Dim(1)
		}
	}
	if n < 1 || n > 64 {
		b.fail(root, "the channels of its input cannot be told")
	}
	b.channels = n
}

// finish names the input and the outputs.
func (b *builder) finish() {
	side := onnx.Dim{Size: int64(b.options.ImageSize)}
	in := onnx.Value{Name: "images", Type: onnx.Float, Shape: []onnx.Dim{b.batch(), {Size: b.channels}, side, side}}
	if b.options.Dynamic {
		in.Shape[2], in.Shape[3] = onnx.Dim{Name: "height"}, onnx.Dim{Name: "width"}
	}
	b.graph.Inputs = []onnx.Value{in}
	b.place = ""
	for i, o := range b.head.outputs {
		name := fmt.Sprintf("output%d", i)
		b.graph.Nodes = append(b.graph.Nodes, onnx.Node{Name: name, Op: "Identity", Inputs: []string{o.value}, Outputs: []string{name}})
		b.graph.Outputs = append(b.graph.Outputs, onnx.Value{Name: name, Type: cmp.Or(o.kind, onnx.Float), Shape: o.dims})
	}
}

// imageSize is asked, or what the checkpoint was trained with, as a multiple of
// the model's stride.
func imageSize(ck *torch.Checkpoint, asked int) (int, error) {
	if asked < 0 || asked > maxSize {
		return 0, fmt.Errorf("an image size of %d pixels; 1 to %d are possible", asked, maxSize)
	}
	n := asked
	if n == 0 {
		n = trainedSize(ck)
	}
	stride := modelStride(ck)
	return (n + stride - 1) / stride * stride, nil
}

// trainedSize is the imgsz of the arguments that the model was trained with.
func trainedSize(ck *torch.Checkpoint) int {
	args, _ := ck.Model().Value("args")
	for _, v := range []any{ck.Value("train_args"), args} {
		size := dictOf(v).Get("imgsz")
		if list, ok := items(size); ok && len(list) > 0 {
			// Two numbers are height and width; the input is square.
			size = slices.MaxFunc(list, func(x, y any) int { return int(toInt(x) - toInt(y)) })
		}
		if n := toInt(size); n > 0 && n <= maxSize {
			return int(n)
		}
	}
	if ck.Model().Kind() == "ClassificationModel" {
		return 224
	}
	return 640
}

func toInt(v any) int64 {
	n, ok := v.(int64)
	if !ok || n < -most || n > most {
		return 0
	}
	return n
}

// modelStride is the largest stride of the model's levels.
func modelStride(ck *torch.Checkpoint) int {
	v, _ := ck.Model().Value("stride")
	t, ok := v.(*torch.Tensor)
	if !ok || t.Elements() == 0 || t.Elements() > 64 {
		return 32
	}
	f, err := t.Floats()
	if err != nil {
		return 32
	}
	s := slices.Max(f)
	if !(s >= 1 && s <= 4096) {
		return 32
	}
	return int(math.Ceil(float64(s)))
}

// dictOf returns v as a dict: one itself, or the attributes of a namespace.
func dictOf(v any) *torch.Dict {
	switch v := v.(type) {
	case *torch.Dict:
		return v
	case *torch.Object:
		d, _ := v.State.(*torch.Dict)
		return d
	}
	return nil
}
