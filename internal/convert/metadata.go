package convert

import (
	"fmt"
	"strconv"

	"lazyolo/internal/onnx"
	"lazyolo/internal/torch"
	"lazyolo/yolo"
)

// metadata describes the model as Ultralytics' export does: the same keys, and
// values in Python's notation, so that whatever reads those reads these.
func metadata(ck *torch.Checkpoint, b *builder) []onnx.Property {
	root, h, o := ck.Model(), &b.head, b.options
	out := []onnx.Property{{Key: "description", Value: "converted by lazyolo from an Ultralytics checkpoint"}}
	add := func(key, value string) { out = append(out, onnx.Property{Key: key, Value: value}) }
	// What the checkpoint says of itself travels along, its license above all.
	for _, key := range []string{"date", "version", "license", "docs"} {
		if s, ok := ck.Value(key).(string); ok {
			add(key, s)
		}
	}
	add("stride", strconv.Itoa(modelStride(ck)))
	add("task", string(h.task))
	add("head", h.kind)
	add("batch", "1")
	add("imgsz", describeInts([]int64{int64(o.ImageSize), int64(o.ImageSize)}))
	add("names", names(root, h.classes))
	add("args", fmt.Sprintf("{'batch': 1, 'half': %s, 'dynamic': %s, 'nms': %s, 'opset': 17}", python(o.Half), python(o.Dynamic), nms(h)))
	add("channels", strconv.FormatInt(b.channels, 10))
	add("end2end", python(h.endToEnd))
	if h.twoHeaded {
		add("heads", "2") // ours
	}
	if h.keypoint != nil {
		add("kpt_shape", describeInts(h.keypoint))
		if v, ok := root.Value("kpt_names"); ok && v != nil {
			add("kpt_names", python(v))
		}
	}
	return out
}

// nms is how Ultralytics spells the choice of a branch.
func nms(h *result) string {
	if h.endToEnd {
		return "False"
	}
	return "None"
}

// names are the classes', as a dict from their numbers.
func names(root *torch.Module, classes int) string {
	labels := labels(root, classes)
	var b []byte
	for i := range classes {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(strconv.AppendInt(b, int64(i), 10), ": "...)
		b = append(b, quote(labels[i])...)
	}
	return "{" + string(b) + "}"
}

// labels reads the names of the classes, which older releases kept in a list.
// Classes without one get the name that Ultralytics gives them.
func labels(root *torch.Module, classes int) yolo.Labels {
	out := make(yolo.Labels, classes)
	for i := range classes {
		out[i] = "class" + strconv.Itoa(i)
	}
	note := func(class, name any) {
		n, ok1 := class.(int64)
		s, ok2 := name.(string)
		if ok1 && ok2 && n >= 0 && n < int64(classes) {
			out[int(n)] = s
		}
	}
	v, _ := root.Value("names")
	if d, ok := v.(*torch.Dict); ok {
		for i := range d.Len() {
			note(d.At(i))
		}
	}
	list, _ := items(v)
	for i, name := range list {
		note(int64(i), name)
	}
	return out
}
