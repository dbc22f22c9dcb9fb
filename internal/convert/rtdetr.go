package convert

import (
	"math"

	"lazyolo/internal/onnx"
	"lazyolo/internal/torch"
	"lazyolo/yolo"
)

// A transformer makes the output of RT-DETR's decoder. Boxes are centre and
// size as fractions of the picture.
type transformer struct {
	*builder
	m       *torch.Module
	grids   []grid
	hidden  int64
	classes int64
	queries int64
	memory  string // all pixels of all levels, (B, N, hidden)
}

// rtdetr emits the decoder of RT-DETR.
func (b *builder) rtdetr(m *torch.Module, x value) value {
	levels, ok := x.names()
	if !ok {
		b.fail(m, "its inputs are lists")
		return value{}
	}
	t := &transformer{builder: b, m: m, hidden: b.positive(m, "hidden_dim", 256), classes: b.positive(m, "nc", 80), queries: b.positive(m, "num_queries", 300)}
	if b.boolAt(m, "learnt_init_query", false) {
		b.fail(m, "learnt queries are not supported; %s", remedy)
	}
	b.head = result{kind: m.Kind(), task: yolo.Detect, classes: int(t.classes)}
	t.project(levels)
	features, boxes := t.choose()
	boxes, scores := t.refine(features, boxes)
	t.output(boxes, scores)
	return value{}
}

// project brings the levels to one width and joins them.
func (t *transformer) project(levels []string) {
	var parts []string
	for i, c := range t.children(t.m, "input_proj", len(levels)) {
		list := c.Children()
		if len(list) != 2 {
			t.fail(c, "it is not a convolution and a norm")
			return
		}
		y := t.convolve(list[0], levels[i], t.kernel(list[0], list[1]))
		t.grids = append(t.grids, t.grid(levels[i]))
		parts = append(parts, t.transpose(t.reshape(y, 0, t.hidden, -1), 0, 2, 1))
	}
	t.memory = t.concat(1, parts...)
}

// anchors returns a box for each pixel as the logits of its fractions, (1, N, 4),
// and 1 for those away from the border and 0 for the others, (1, N, 1).
func (t *transformer) anchors() (logits, inside string) {
	var parts []string
	for i, g := range t.grids {
		fraction := func(at, size string) string {
			return t.unsqueeze(t.op("Div", t.add(at, t.float(0.5)), t.cast(size, onnx.Float)), 1)
		}
		side := t.op("Expand", t.floats([]float64{0.05 * float64(int64(1)<<i)}, 1, 1), t.concat(0, g.pixels, t.ints(2)))
		parts = append(parts, t.concat(1, fraction(g.x, g.width), fraction(g.y, g.height), side))
	}
	boxes := t.unsqueeze(t.concat(0, parts...), 0)
	valid := t.op("And", t.op("Greater", boxes, t.float(0.01)), t.op("Less", boxes, t.float(0.99)))
	inside = t.opWith("ReduceMin", []string{t.cast(valid, onnx.Float)}, onnx.IntsAttribute("axes", -1), onnx.IntAttribute("keepdims", 1))
	logits = t.op("Log", t.op("Div", boxes, t.sub(t.float(1), boxes)))
	return t.op("Where", t.op("Greater", inside, t.float(0)), logits, t.float(math.Inf(1))), inside
}

// choose takes the pixels with the best scores as queries: their features,
// (B, k, hidden), and first boxes, (B, k, 4).
func (t *transformer) choose() (features, boxes string) {
	logits, inside := t.anchors()
	list := t.children(t.m, "enc_output", 2)
	all := t.layerNorm(list[1], t.run(list[0], t.mul(inside, t.memory)))
	scores := t.opWith("ReduceMax", []string{t.through(t.m, "enc_score_head", all)}, onnx.IntsAttribute("axes", 2), onnx.IntAttribute("keepdims", 0))
	_, at := t.top(scores, t.op("Min", t.dims(scores, 1, 2), t.ints(t.queries)))
	features = t.gather(all, at, t.hidden)
	batch := t.concat(0, t.dims(t.memory, 0, 1), t.ints(1, 1))
	first := t.gather(t.op("Expand", logits, batch), at, 4)
	return features, t.sigmoid(t.add(t.mlp(t.child(t.m, "enc_bbox_head"), features), first))
}

// refine runs the decoder's layers, each of which moves the boxes, up to the one
// whose scores count.
func (t *transformer) refine(x, boxes string) (refined, scores string) {
	decoder := t.child(t.m, "decoder")
	layers := t.child(decoder, "layers").Children()
	last := t.int64At(decoder, "eval_idx", -1)
	if last < 0 {
		last += int64(len(layers))
	}
	if last < 0 || last >= int64(len(layers)) {
		t.fail(decoder, "it has %d layers and takes the scores of layer %d", len(layers), last)
		return x, x
	}
	moves := t.children(t.m, "dec_bbox_head", len(layers))
	position := t.child(t.m, "query_pos_head")
	for i, c := range layers[:last+1] {
		if c.Kind() != "DeformableTransformerDecoderLayer" || !ultralytics(c) {
			t.refuse(c)
		}
		x = t.decode(c, x, t.mlp(position, boxes), boxes)
		boxes = t.sigmoid(t.add(t.mlp(moves[i], x), t.logit(boxes)))
	}
	heads := t.children(t.m, "dec_score_head", len(layers))
	return boxes, t.sigmoid(t.run(heads[last], x))
}

// decode is one layer: attention among the queries, then to the picture.
func (t *transformer) decode(m *torch.Module, x, position, boxes string) string {
	norm := func(name, a, b string) string { return t.layerNorm(t.child(m, name), t.add(a, b)) }
	query := t.add(x, position)
	x = norm("norm1", x, t.multihead(t.child(m, "self_attn"), query, query, x))
	x = norm("norm2", x, t.deformable(t.child(m, "cross_attn"), t.add(x, position), boxes))
	return norm("norm3", x, t.through(m, "linear2", t.act(m, t.through(m, "linear1", x))))
}

// logit is the inverse of the sigmoid, kept away from its poles.
func (t *transformer) logit(x string) string {
	x = t.op("Clip", x, t.float(0), t.float(1))
	eps := t.float(1e-5)
	return t.op("Log", t.op("Div", t.op("Max", x, eps), t.op("Max", t.sub(t.float(1), x), eps)))
}

// deformable lets each query look at a few points of each level around its box:
// bilinear samples, weighted.
func (t *transformer) deformable(m *torch.Module, query, boxes string) string {
	if m.Kind() != "MSDeformAttn" || !ultralytics(m) {
		t.refuse(m)
	}
	n, levels, points := t.positive(m, "n_heads", 8), int64(len(t.grids)), t.positive(m, "n_points", 4)
	if t.positive(m, "n_levels", 4) != levels || t.hidden%n != 0 || points > 64 || n > 1024 {
		t.fail(m, "its %d heads and %d points do not fit %d levels of %d channels", n, points, levels, t.hidden)
		return query
	}
	all, width := levels*points, t.hidden/n
	values := t.transpose(t.reshape(t.through(m, "value_proj", t.memory), 0, -1, n, width), 0, 2, 3, 1)
	offsets := t.reshape(t.through(m, "sampling_offsets", query), 0, -1, n, all, 2)
	weights := t.softmax(t.reshape(t.through(m, "attention_weights", query), 0, -1, n, all), -1)
	box := t.split(t.unsqueeze(boxes, 2, 3), 4, 2, 2)
	moved := t.mul(t.mul(t.mul(offsets, t.float(1/float64(points))), box[1]), t.float(0.5))
	places := t.sub(t.mul(t.add(box[0], moved), t.float(2)), t.float(1)) // -1 to 1, as GridSample wants
	places = t.transpose(places, 0, 2, 1, 3, 4)
	samples := t.sample(values, places, points, width)
	weights = t.transpose(weights, 0, 2, 1, 3)
	weights = t.op("Reshape", weights, t.concat(0, t.ints(-1, 1), t.dims(weights, 2, 4)))
	y := t.opWith("ReduceSum", []string{t.mul(samples, weights), t.ints(-1)}, onnx.IntAttribute("keepdims", 0))
	y = t.op("Reshape", y, t.concat(0, t.ints(-1, t.hidden), t.dims(y, 2, 3)))
	return t.through(m, "output_proj", t.transpose(y, 0, 2, 1))
}

// sample reads values, (B, heads, width, N), at places, (B, heads, queries,
// levels*points, 2): (B*heads, width, queries, levels*points).
func (t *transformer) sample(values, places string, points, width int64) string {
	var pixels []string
	sizes := make([]int64, len(t.grids))
	for i, g := range t.grids {
		pixels, sizes[i] = append(pixels, g.pixels), points
	}
	maps := t.ops("Split", len(t.grids), []string{values, t.concat(0, pixels...)}, onnx.IntAttribute("axis", 3))
	var parts []string
	for i, at := range t.split(places, 3, sizes...) {
		g := t.grids[i]
		picture := t.op("Reshape", maps[i], t.concat(0, t.ints(-1, width), t.unsqueeze(g.height, 0), t.unsqueeze(g.width, 0)))
		at = t.op("Reshape", at, t.concat(0, t.ints(-1), t.dims(at, 2, 5)))
		parts = append(parts, t.opWith("GridSample", []string{picture, at}, onnx.TextAttribute("mode", "bilinear"),
			onnx.TextAttribute("padding_mode", "zeros"), onnx.IntAttribute("align_corners", 0)))
	}
	return t.concat(3, parts...)
}

// output takes the best scores of all queries and classes: rows of box, score
// and class, (B, k, 6).
func (t *transformer) output(boxes, scores string) {
	flat := t.reshape(scores, 0, -1)
	values, at := t.top(flat, t.op("Min", t.dims(flat, 1, 2), t.ints(t.queries)))
	class := t.cast(t.op("Mod", at, t.int(t.classes)), onnx.Float)
	rows := t.gather(boxes, t.op("Div", at, t.int(t.classes)), 4)
	n := onnx.Dim{Name: "detections"} // as many as there are queries, or pixels when those are fewer
	t.head.outputs = append(t.head.outputs, output{value: t.concat(2, rows, t.unsqueeze(values, 2), t.unsqueeze(class, 2)), dims: []onnx.Dim{t.batch(), n, {Size: 6}}})
}
