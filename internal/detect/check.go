package detect

import (
	"fmt"

	"lazyolo/yolo"
)

// Check says why a file with these inputs, outputs and metadata cannot serve m; nil:
// it can, as far as the shapes tell before a run. Its error is Unsupported and Final,
// and the one that a request would get.
func Check(m *yolo.Model, inputs, outputs []yolo.TensorInfo, metadata map[string]string) error {
	_, err := newPlan(m, inputs, outputs, metadata)
	return err
}

// classes counts the classes of m: those the file names, else those labels.yaml
// names, if it leaves none out below the highest; byLabels says so. 0: not known.
func (f facts) classes(m *yolo.Model) (n int, byLabels bool) {
	if len(f.names) > 0 {
		return len(f.names), false
	}
	for class := range len(m.Labels) {
		if _, ok := m.Labels[class]; !ok {
			return 0, false
		}
	}
	return len(m.Labels), len(m.Labels) > 0
}

// declared is check for a shape as the file declares it, where it says more than one
// that a run gave: rows of a length that is known, without a known number or more of
// them than values, are objects, not channels.
func (l layout) declared(shape []int64) error {
	if _, err := l.check(shape); err != nil {
		return err
	}
	rows, values := shape[1], shape[2]
	if values > 0 && int(values) != 6+l.extra && (rows < 0 || l.classes == 0 && rows > values) {
		return l.mismatch(shape)
	}
	return nil
}

// wayOut ends the message about an output that does not fit.
func (l layout) wayOut(shape []int64) string {
	const manyAnchors = 1000 // more than the objects of an end-to-end head
	if len(shape) == 3 && l.extra == 0 && l.classes > 0 && int(shape[2]) == 5+l.classes && (!l.byLabels || shape[1] > manyAnchors) {
		return "; it looks like an export of the old yolov5 repository: export yolov5u with Ultralytics"
	}
	if l.classes > 0 && !l.byLabels {
		return ""
	}
	if len(shape) != 3 {
		return "; correct task"
	}
	a, b := int(shape[1]), int(shape[2])
	listed := b > 0 && (a < 0 || a > b) // a row for each object
	if listed && l.extra == 0 && l.classes > 3 && b == 4+l.classes {
		return "; correct task, or, if it is an RT-DETR, say so: model_family: RT-DETR"
	}
	s := "; correct task"
	switch like := l.lookalike(a, b, listed); like {
	case "", l.model.Task:
	default:
		s = fmt.Sprintf("; it looks like one of task %s: correct task", like)
	}
	if n := a - 4 - l.extra; l.byLabels && !listed && n > 0 {
		s += fmt.Sprintf(", or names: if task is right, there are %d classes", n)
	}
	return s
}

// lookalike guesses which task has an output [1, a, b]; "": no guess.
func (l layout) lookalike(a, b int, listed bool) yolo.Task {
	switch {
	case listed && b == 6, !listed && l.classes > 0 && a == 4+l.classes:
		return yolo.Detect
	case listed && b == 7, !listed && l.classes > 0 && a == 5+l.classes:
		return yolo.OBB
	}
	return ""
}

// noMasks refuses outputs with prototype masks.
func noMasks(m *yolo.Model, shapes [][]int64) error {
	for _, s := range shapes {
		if len(s) == 4 {
			return unsupported(m, "task: labels.yaml says %s, the file has an output %v as segmentation models do", m.TaskName, s)
		}
	}
	return nil
}

// noClassMap refuses, for a task of boxes, an output with a class for every pixel: it
// has whole numbers, or the sides of the input.
func noClassMap(m *yolo.Model, inputs, outputs []yolo.TensorInfo) error {
	if len(outputs) == 0 || len(outputs[0].Shape) != 3 {
		return nil
	}
	o := outputs[0]
	h, w, ok := sides(inputs)
	if o.DType == yolo.FP32 || o.DType == yolo.FP16 {
		if !ok || h < 0 || w < 0 || o.Shape[1] != h || o.Shape[2] != w {
			return nil
		}
	}
	return unsupported(m, "task: labels.yaml says %s, the file has an output %v with a class for every pixel of its input as semantic segmentation models do",
		m.TaskName, o.Shape)
}

// sides are the height and width of the one picture that goes in; -1: dynamic. Not
// ok: it is not one picture.
func sides(inputs []yolo.TensorInfo) (h, w int64, ok bool) {
	if len(inputs) != 1 || len(inputs[0].Shape) != 4 {
		return 0, 0, false
	}
	s := inputs[0].Shape
	return s[2], s[3], true
}
