package detect

import (
	"math"

	"lazyolo/yolo"
)

// A rtdetrHead reads RT-DETR's output: centres and sides as shares of the
// picture, which was stretched to the input, and no NMS.
type rtdetrHead struct {
	model   *yolo.Model
	classes int // 0: not known
}

// isRTDETR decides whether a detection model is RT-DETR: its rows look like those
// of an end-to-end YOLO but mean something else.
func isRTDETR(m *yolo.Model, f facts, shapes [][]int64) bool {
	if f.rtdetr != unsaid {
		return f.rtdetr == yes
	}
	if saysRTDETR(m.Family) {
		return true
	}
	// Older exports have a score per class in each row, which no YOLO has.
	n := int64(len(f.names))
	return len(shapes) == 1 && len(shapes[0]) == 3 && n > 0 && n != 2 && shapes[0][2] == 4+n && shapes[0][1] != 4+n
}

func newRTDETR(m *yolo.Model, f facts, shapes [][]int64) (head, error) {
	n, _ := f.classes(m)
	t := rtdetrHead{m, n}
	if len(shapes) == 0 {
		return nil, unsupported(m, "it has no output")
	}
	return t, t.check(shapes[0])
}

// check accepts [1, queries, 6] (box, score, class) and, as releases before 8.4
// export it, [1, queries, 4+classes].
func (t rtdetrHead) check(shape []int64) error {
	if len(shape) == 3 && shape[0] <= 1 {
		n := int(shape[2])
		if n < 0 || n == 6 || n == 4+t.classes || t.classes == 0 && n > 4 {
			return nil
		}
	}
	return unsupported(t.model, "an RT-DETR has an output [1, queries, 6] or [1, queries, 4+classes], the file has %v", shape)
}

func (t rtdetrHead) decode(out []yolo.Tensor, q query, r *yolo.Result) error {
	if err := t.check(out[0].Shape); err != nil {
		return err
	}
	rows, step := int(out[0].Shape[1]), int(out[0].Shape[2])
	data := out[0].Data[:rows*step]
	var found []candidate
	if t.ranked(data, step) {
		found = table{data: data, rows: rows, finished: true}.over(q)
	} else {
		found = perClass(data, step, q)
	}
	r.Objects = make([]yolo.Object, len(found))
	w, h := float32(q.fit.SrcW), float32(q.fit.SrcH)
	for i, c := range found {
		halfW, halfH := c.box[2]/2, c.box[3]/2
		r.Objects[i] = yolo.Object{Class: c.class, Confidence: c.conf, Box: yolo.Box{
			X1: (c.box[0] - halfW) * w, Y1: (c.box[1] - halfH) * h,
			X2: (c.box[0] + halfW) * w, Y2: (c.box[1] + halfH) * h,
		}}
	}
	return nil
}

// ranked reports whether rows are box, score, class. With two classes both
// layouts have six values: a column of whole numbers is one of classes.
func (t rtdetrHead) ranked(data []float32, step int) bool {
	if step != 6 {
		return false
	}
	for i := 5; t.classes == 2 && i < len(data); i += 6 {
		if float64(data[i]) != math.Trunc(float64(data[i])) {
			return false
		}
	}
	return true
}

// perClass takes each query's best class where it scores over the threshold, best
// first.
func perClass(data []float32, step int, q query) []candidate {
	var found []candidate
	for i := 0; i+step <= len(data); i += step {
		c := candidate{box: rect(data[i : i+4]), conf: q.conf, class: -1, row: i / step}
		for class, s := range data[i+4 : i+step] {
			if s > c.conf {
				c.conf, c.class = s, class
			}
		}
		if q.wants(float32(c.class)) {
			found = append(found, c)
		}
	}
	found = sorted(found)
	return found[:min(len(found), q.most)]
}
