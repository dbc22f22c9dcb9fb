package convert

import "lazyolo/internal/onnx"

// maxDetections is the most rows that a one-to-one branch gives. The number that
// a checkpoint stores is that of the last validation; a prediction sets its own.
const maxDetections = 300

// best adds the output of a one-to-one branch: the best detections, as rows of
// corners, score, class and what the task adds, (B, k, 6+width). First the
// anchors with the best score of any class are taken, then the best scores of
// all their classes.
func (d *decoder) best(boxes, scores, extra string, width int64) {
	rows := func(x string) string { return d.transpose(x, 0, 2, 1) }
	boxes, scores = rows(boxes), rows(scores)
	k := d.op("Min", d.dims(scores, 1, 2), d.ints(maxDetections))
	top := d.opWith("ReduceMax", []string{scores}, onnx.IntsAttribute("axes", 2), onnx.IntAttribute("keepdims", 0))
	_, anchors := d.top(top, k)
	values, which := d.top(d.reshape(d.gather(scores, anchors, d.classes), 0, -1), k)
	class := d.cast(d.op("Mod", which, d.int(d.classes)), onnx.Float)
	at := d.opWith("GatherElements", []string{anchors, d.op("Div", which, d.int(d.classes))}, onnx.IntAttribute("axis", 1))
	parts := []string{d.gather(boxes, at, 4), d.unsqueeze(values, 2), d.unsqueeze(class, 2)}
	if extra != "" {
		parts = append(parts, d.gather(rows(extra), at, width))
	}
	n := onnx.Dim{Name: "detections"}
	if !d.options.Dynamic {
		n = onnx.Dim{Size: min(maxDetections, d.pixels())}
	}
	d.head.outputs = append(d.head.outputs, output{value: d.concat(2, parts...), dims: []onnx.Dim{d.batch(), n, {Size: 6 + width}}})
}

// top returns the k largest of (B, N), largest first, and where they were.
func (b *builder) top(x, k string) (values, at string) {
	y := b.ops("TopK", 2, []string{x, k}, onnx.IntAttribute("axis", 1), onnx.IntAttribute("largest", 1), onnx.IntAttribute("sorted", 1))
	return y[0], y[1]
}

// gather takes the rows at, (B, k), of x, (B, N, width).
func (b *builder) gather(x, at string, width int64) string {
	index := b.op("Expand", b.unsqueeze(at, 2), b.ints(1, 1, width))
	return b.opWith("GatherElements", []string{x, index}, onnx.IntAttribute("axis", 1))
}
