package convert

import (
	"math"
	"strings"

	"lazyolo/internal/onnx"
	"lazyolo/internal/torch"
	"lazyolo/yolo"
)

// A decoder makes the output of a detection head: boxes and class scores for
// each pixel of each level, and for some tasks more.
type decoder struct {
	*builder
	m        *torch.Module
	levels   []string
	prefix   string // "one2one_" for the one-to-one branch, which needs no suppression
	endToEnd bool
	classes  int64
	centres  string // of the anchors, (1, 2, N)
	sizes    string // (1, 1, N)
}

// detect emits the heads that share the box branch: Detect and what derives from it.
func (b *builder) detect(m *torch.Module, x value) value {
	levels, ok := x.names()
	if !ok {
		b.fail(m, "its inputs are lists")
		return value{}
	}
	d := &decoder{builder: b, m: m, levels: levels, classes: b.positive(m, "nc", 80)}
	one, many := m.Child("one2one_cv2") != nil, m.Child("cv2") != nil
	if one && (b.options.OneToOne || !many) {
		d.endToEnd, d.prefix = true, "one2one_"
	}
	b.head = result{kind: m.Kind(), endToEnd: d.endToEnd, twoHeaded: one && many, classes: int(d.classes), strides: b.strides(m, len(levels))}
	d.centres, d.sizes = b.anchors(levels, b.head.strides)
	scores := b.sigmoid(d.branch("cv3", d.classes))
	distances := d.distances()
	boxes, extra := "", ""
	switch kind := m.Kind(); {
	case strings.HasPrefix(kind, "Segment"):
		b.head.task, extra = yolo.Segment, d.branch("cv4", b.positive(m, "nm", 32))
	case strings.HasPrefix(kind, "Pose"):
		b.head.task, extra = yolo.Pose, d.keypoints()
	case strings.HasPrefix(kind, "OBB"):
		b.head.task, extra = yolo.OBB, d.angle()
		boxes = d.rotated(distances, extra)
	default:
		b.head.task = yolo.Detect
	}
	if boxes == "" {
		boxes = d.boxes(distances)
	}
	d.output(boxes, scores, extra)
	if b.head.task == yolo.Segment {
		d.masks()
	}
	return value{}
}

// branch runs one list of the head's convolutions, a module per level, and joins
// what they give: (B, channels, N).
func (d *decoder) branch(name string, channels int64) string {
	return d.joined(name, d.levels, channels)
}

func (d *decoder) joined(name string, in []string, channels int64) string {
	var parts []string
	for i, c := range d.children(d.m, d.prefix+name, len(in)) {
		if n := d.wide(c); n != channels {
			d.fail(c, "it gives %d channels; its head needs %d", n, channels)
		}
		parts = append(parts, d.reshape(d.run(c, in[i]), 0, channels, -1))
	}
	return d.concat(2, parts...)
}

// distances are those of each box's left, top, right and bottom from its anchor:
// (B, 4, N). With reg_max above 1 each is the mean of a distribution.
func (d *decoder) distances() string {
	n := d.positive(d.m, "reg_max", 16)
	x := d.branch("cv2", 4*n)
	if n == 1 {
		return x
	}
	conv := d.child(d.child(d.m, "dfl"), "conv")
	w := d.tensor(conv, "weight", 4)
	if w == nil || w.Elements() != n {
		d.fail(conv, "its weight is not one number for each of %d bins", n)
		return x
	}
	bins := d.softmax(d.transpose(d.reshape(x, 0, 4, n, -1), 0, 1, 3, 2), -1)
	return d.reshape(d.matmul(bins, d.plain("bins", w, n, 1)), 0, 4, -1)
}

// boxes are corners in the one-to-one branch and centre and size in the other,
// in pixels of the input.
func (d *decoder) boxes(distances string) string {
	side := d.split(distances, 1, 2, 2)
	low, high := d.sub(d.centres, side[0]), d.add(d.centres, side[1])
	box := ""
	if d.endToEnd || d.boolAt(d.m, "xyxy", false) {
		box = d.concat(1, low, high)
	} else {
		box = d.concat(1, d.mul(d.add(low, high), d.float(0.5)), d.sub(high, low))
	}
	return d.mul(box, d.sizes)
}

// angle is in radians; newer heads give it as it is.
func (d *decoder) angle() string {
	if n := d.positive(d.m, "ne", 1); n != 1 {
		d.fail(d.m, "it gives %d angles", n)
	}
	x := d.branch("cv4", 1)
	if d.m.Kind() != "OBB" {
		return x
	}
	return d.mul(d.sub(d.sigmoid(x), d.float(0.25)), d.float(math.Pi))
}

// rotated are centre and size of boxes whose sides are measured along their angle.
func (d *decoder) rotated(distances, angle string) string {
	side := d.split(distances, 1, 2, 2)
	cos, sin := d.op("Cos", angle), d.op("Sin", angle)
	xy := d.split(d.mul(d.sub(side[1], side[0]), d.float(0.5)), 1, 1, 1)
	x := d.sub(d.mul(xy[0], cos), d.mul(xy[1], sin))
	y := d.add(d.mul(xy[0], sin), d.mul(xy[1], cos))
	return d.mul(d.concat(1, d.add(d.concat(1, x, y), d.centres), d.add(side[0], side[1])), d.sizes)
}

// keypoints are in pixels of the input, each with its visibility where the model
// has one: (B, points*numbers, N).
func (d *decoder) keypoints() string {
	shape := d.intsAt(d.m, "kpt_shape")
	if len(shape) != 2 || shape[0] < 1 || shape[0] > 1000 || shape[1] < 2 || shape[1] > 3 {
		d.fail(d.m, "its kpt_shape is %s", describeInts(shape))
		return d.centres
	}
	d.head.keypoint = shape
	all := shape[0] * shape[1]
	x := ""
	newer := d.m.Kind() == "Pose26"
	if newer {
		x = d.joined("cv4_kpts", d.features("cv4"), all)
	} else {
		x = d.branch("cv4", all)
	}
	parts := []string{d.reshape(x, 0, shape[0], shape[1], -1)}
	if shape[1] == 3 {
		parts = d.split(parts[0], 2, 2, 1)
	}
	centres, sizes := d.unsqueeze(d.centres, 1), d.unsqueeze(d.sizes, 1)
	if newer {
		parts[0] = d.mul(d.add(parts[0], centres), sizes)
	} else {
		parts[0] = d.mul(d.add(d.mul(parts[0], d.float(2)), d.sub(centres, d.float(0.5))), sizes)
	}
	if shape[1] == 3 {
		parts[1] = d.sigmoid(parts[1])
	}
	return d.reshape(d.concat(2, parts...), 0, all, -1)
}

// features runs a list of the head's modules, one per level.
func (d *decoder) features(name string) []string {
	var out []string
	for i, c := range d.children(d.m, d.prefix+name, len(d.levels)) {
		out = append(out, d.run(c, d.levels[i]))
	}
	return out
}

// masks adds the prototypes that mask coefficients are of.
func (d *decoder) masks() {
	proto := d.child(d.m, "proto")
	y := ""
	switch proto.Kind() {
	case "Proto26":
		y = d.proto26(proto, d.levels)
	default:
		y = d.run(proto, d.levels[0])
	}
	// Their number is the coefficients': a Conv gives it.
	n := d.wide(d.child(proto, "cv3"))
	if n != d.positive(d.m, "nm", 32) {
		d.fail(proto, "it gives %d prototypes for %d coefficients", n, d.positive(d.m, "nm", 32))
	}
	dims := []onnx.Dim{d.batch(), {Size: n}, {Name: "mask_height"}, {Name: "mask_width"}}
	if !d.options.Dynamic {
		side := int64(float64(d.options.ImageSize)/d.head.strides[0]) * 2
		dims[2], dims[3] = onnx.Dim{Size: side}, onnx.Dim{Size: side}
	}
	d.head.outputs = append(d.head.outputs, output{value: y, dims: dims})
}

// proto makes the prototypes out of the finest level.
func (b *builder) proto(m *torch.Module, x string) string {
	return b.through(m, "cv3", b.through(m, "cv2", b.through(m, "upsample", b.through(m, "cv1", x))))
}

// proto26 adds the coarser levels to the finest one first.
func (b *builder) proto26(m *torch.Module, levels []string) string {
	sum := levels[0]
	for i, c := range b.children(m, "feat_refine", len(levels)-1) {
		scale := float64(int64(2) << i)
		sum = b.add(sum, b.resize(m, b.run(c, levels[i+1]), "nearest", false, scale, scale))
	}
	return b.proto(m, b.through(m, "feat_fuse", sum))
}

// output adds the first output of the graph.
func (d *decoder) output(boxes, scores, extra string) {
	width := int64(0)
	switch d.head.task {
	case yolo.Segment:
		width = d.positive(d.m, "nm", 32)
	case yolo.Pose:
		if len(d.head.keypoint) == 2 {
			width = d.head.keypoint[0] * d.head.keypoint[1]
		}
	case yolo.OBB:
		width = 1
	}
	parts := []string{boxes, scores}
	if extra != "" {
		parts = append(parts, extra)
	}
	if d.endToEnd {
		d.best(boxes, scores, extra, width)
		return
	}
	anchors := onnx.Dim{Name: "anchors"}
	if !d.options.Dynamic {
		anchors = onnx.Dim{Size: d.pixels()}
	}
	d.head.outputs = append(d.head.outputs, output{value: d.concat(1, parts...), dims: []onnx.Dim{d.batch(), {Size: 4 + d.classes + width}, anchors}})
}

// pixels is the number of pixels of all levels at the fixed input size.
func (d *decoder) pixels() int64 {
	n := int64(0)
	for _, s := range d.head.strides {
		if s > 0 {
			side := int64(d.options.ImageSize) / int64(s)
			n += side * side
		}
	}
	return n
}

// batch is the first dimension of every input and output.
func (b *builder) batch() onnx.Dim {
	if b.options.Dynamic {
		return onnx.Dim{Name: "batch"}
	}
	return onnx.Dim{Size: 1}
}
