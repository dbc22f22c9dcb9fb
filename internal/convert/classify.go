package convert

import (
	"lazyolo/internal/onnx"
	"lazyolo/internal/torch"
	"lazyolo/yolo"
)

// classify emits the head of a classifier: probabilities, (B, classes).
func (b *builder) classify(m *torch.Module, x value) value {
	in, ok := x.names()
	if !ok {
		b.fail(m, "its inputs are lists")
		return value{}
	}
	y := b.through(m, "conv", b.concat(1, in...))
	y = b.opWith("Flatten", []string{b.through(m, "pool", y)}, onnx.IntAttribute("axis", 1))
	linear := b.child(m, "linear")
	w := b.tensor(linear, "weight", 2)
	if w == nil {
		return value{}
	}
	in = []string{y, b.plain("weight", w, w.Shape()...)}
	if bias := b.vector(linear, "bias", w.Dim(0)); bias != nil {
		in = append(in, b.floats(bias, w.Dim(0)))
	}
	y = b.softmax(b.opWith("Gemm", in, onnx.IntAttribute("transB", 1)), 1)
	b.head = result{kind: m.Kind(), task: yolo.Classify, classes: int(w.Dim(0)),
		outputs: []output{{value: y, dims: []onnx.Dim{b.batch(), {Size: w.Dim(0)}}}}}
	return value{}
}
