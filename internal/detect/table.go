package detect

import (
	"fmt"
	"slices"

	"lazyolo/yolo"
)

// A layout is what a model's detection output must look like for its task: rows
// of a box, its classes' scores and the task's extra values.
type layout struct {
	model    *yolo.Model
	classes  int    // 0: not known, the output tells
	byLabels bool   // they are those of labels.yaml, the file names none
	extra    int    // mask coefficients, keypoint values, an angle
	finished answer // whether the export ends in NMS or an end-to-end head
}

// A table is a detection output that was understood. Finished is [1, rows,
// 6+extra]: box, confidence, class, extra values. The other is [1,
// 4+classes+extra, rows]: centre and sides, a score per class, extra values, a row
// per anchor, which needs NMS.
type table struct {
	data           []float32
	rows           int
	classes, extra int
	finished       bool
}

// layoutOf is the layout of m's rows with so many extra values.
func layoutOf(m *yolo.Model, f facts, extra int) layout {
	l := layout{model: m, extra: extra, finished: f.finished}
	l.classes, l.byLabels = f.classes(m)
	return l
}

// read understands an output.
func (l layout) read(t yolo.Tensor) (table, error) {
	if slices.ContainsFunc(t.Shape, func(d int64) bool { return d < 0 }) {
		return table{}, l.mismatch(t.Shape)
	}
	out, err := l.check(t.Shape)
	out.data = t.Data
	return out, err
}

// check tells the two kinds of output apart by the shape, in which -1 is a
// dimension not known yet, and refuses any other.
func (l layout) check(shape []int64) (table, error) {
	if len(shape) != 3 || shape[0] > 1 {
		return table{}, l.mismatch(shape)
	}
	a, b := int(shape[1]), int(shape[2])
	t := table{classes: l.classes, extra: l.extra, rows: a}
	if b == 6+l.extra && (l.finished != no || l.extra == 0) {
		t.finished = true
		return t, nil
	}
	if l.finished == yes {
		if b < 0 {
			t.finished = true
			return t, nil
		}
		return table{}, unsupported(l.model, "the file says that it ends in NMS or is end-to-end, its output of shape %v does not: expected [1, n, %d]", shape, 6+l.extra)
	}
	if t.classes == 0 && a > 0 {
		t.classes = a - 4 - l.extra
	}
	if a >= 0 && (t.classes < 1 || a != 4+t.classes+l.extra) {
		return table{}, l.mismatch(shape)
	}
	t.rows = b
	return t, nil
}

// mismatch says which output the task needs and which there is.
func (l layout) mismatch(shape []int64) error {
	raw := fmt.Sprintf("[1, %d+classes, anchors]", 4+l.extra)
	switch {
	case l.byLabels:
		raw = fmt.Sprintf("[1, %d, anchors] for the %d names there", 4+l.classes+l.extra, l.classes)
	case l.classes > 0:
		raw = fmt.Sprintf("[1, %d, anchors] for the file's %d classes", 4+l.classes+l.extra, l.classes)
	}
	return unsupported(l.model, "task %s of labels.yaml needs an output %s, or [1, n, %d], the file has %v%s",
		l.model.TaskName, raw, 6+l.extra, shape, l.wayOut(shape))
}

// box returns the four box values of a row as they stand.
func (t table) box(row int) rect {
	if t.finished {
		return rect(t.data[row*(6+t.extra):][:4])
	}
	return rect{t.data[row], t.data[t.rows+row], t.data[2*t.rows+row], t.data[3*t.rows+row]}
}

// value returns extra value k of a row.
func (t table) value(row, k int) float32 {
	if t.finished {
		return t.data[row*(6+t.extra)+6+k]
	}
	return t.data[(4+t.classes+k)*t.rows+row]
}
