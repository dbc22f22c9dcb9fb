package convert

import (
	"fmt"

	"lazyolo/internal/onnx"
	"lazyolo/internal/torch"
	"lazyolo/yolo"
)

// classifierStride is how much coarser than the input the classifier of a semantic
// head sees the picture.
const classifierStride = 8

// semantic emits the head of semantic segmentation: the number of the best class of
// each pixel of the input, uint8 (B, height, width). With one class it is 1 where that
// is likelier than not. What serves training only is left out.
func (b *builder) semantic(m *torch.Module, x value) value {
	levels, ok := x.names()
	if !ok || len(levels) == 0 {
		b.fail(m, "its inputs are lists")
		return value{}
	}
	classes := b.positive(m, "nc", 80)
	classifier := b.child(m, "classifier")
	if n := b.wide(classifier); n != classes {
		b.fail(classifier, "it gives %d channels for %d classes", n, classes)
	}
	b.head = result{kind: m.Kind(), task: yolo.Semantic, classes: int(classes)}
	scores := b.run(classifier, levels[0])
	if b.options.Scores {
		h, w := b.side("height", classifierStride), b.side("width", classifierStride)
		b.head.outputs = []output{{value: scores, dims: []onnx.Dim{b.batch(), {Size: classes}, h, w}}}
		return value{}
	}
	y := b.resize(m, scores, "bilinear", false, classifierStride, classifierStride)
	if classes == 1 {
		y = b.op("Greater", b.op("Squeeze", y, b.ints(1)), b.float(0))
	} else {
		y = b.opWith("ArgMax", []string{y}, onnx.IntAttribute("axis", 1), onnx.IntAttribute("keepdims", 0))
	}
	dims := []onnx.Dim{b.batch(), b.side("height", 1), b.side("width", 1)}
	b.head.outputs = []output{{value: b.cast(y, onnx.Uint8), dims: dims, kind: onnx.Uint8}}
	return value{}
}

// side is a side of the input divided by a stride; a free one has a name.
func (b *builder) side(name string, stride int) onnx.Dim {
	if b.options.Dynamic {
		if stride > 1 {
			name = fmt.Sprintf("%s/%d", name, stride)
		}
		return onnx.Dim{Name: name}
	}
	return onnx.Dim{Size: int64(b.options.ImageSize / stride)}
}
