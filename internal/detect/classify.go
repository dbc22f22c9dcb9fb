package detect

import (
	"cmp"
	"slices"

	"lazyolo/yolo"
)

// topClasses is how many classes a classification answers with.
const topClasses = 5

// A classifyHead reads one probability per class; softmax is part of the export.
type classifyHead struct {
	model   *yolo.Model
	classes int // 0: not known
}

func newClassify(m *yolo.Model, f facts, shapes [][]int64) (head, error) {
	c := classifyHead{m, len(f.names)}
	if len(shapes) == 0 {
		return nil, unsupported(m, "it has no output")
	}
	return c, c.check(shapes[0])
}

func (c classifyHead) check(shape []int64) error {
	if len(shape) == 2 && shape[0] <= 1 && (shape[1] < 0 || c.classes == 0 && shape[1] > 0 || int(shape[1]) == c.classes) {
		return nil
	}
	if c.classes > 0 {
		return unsupported(c.model, "task %s of labels.yaml needs an output [1, %d] for the file's %d classes, the file has %v",
			c.model.TaskName, c.classes, c.classes, shape)
	}
	return unsupported(c.model, "task %s of labels.yaml needs an output [1, classes], the file has %v", c.model.TaskName, shape)
}

func (c classifyHead) decode(out []yolo.Tensor, _ query, r *yolo.Result) error {
	if err := c.check(out[0].Shape); err != nil {
		return err
	}
	probs := make([]yolo.Prob, len(out[0].Data))
	for i, p := range out[0].Data {
		probs[i] = yolo.Prob{Class: i, Confidence: p}
	}
	slices.SortStableFunc(probs, func(a, b yolo.Prob) int { return cmp.Compare(b.Confidence, a.Confidence) })
	r.Probs = slices.Clone(probs[:min(topClasses, len(probs))])
	return nil
}
