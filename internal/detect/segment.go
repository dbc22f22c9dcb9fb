package detect

import (
	"lazyolo/internal/imaging"
	"lazyolo/yolo"
)

// A segmentHead reads upright boxes with coefficients, and the prototype masks
// that they mix.
type segmentHead struct {
	model  *yolo.Model
	layout layout // its extra values are known only once the prototypes' number is
}

func newSegment(m *yolo.Model, f facts, shapes [][]int64) (head, error) {
	s := segmentHead{m, layoutOf(m, f, 0)}
	rows, protos := s.find(shapes)
	if protos < 0 || rows < 0 {
		return nil, unsupported(m, "task: labels.yaml says %s, the file has outputs %v; a segmentation model has detections and prototype masks [1, n, height, width]", m.TaskName, shapes)
	}
	if n := shapes[protos][1]; n > 0 {
		s.layout.extra = int(n)
		if s.layout.byLabels {
			s.layout.classes, s.layout.byLabels = 0, false // the prototypes tell the task, and so the number of classes
		}
		return s, s.layout.declared(shapes[rows])
	}
	return s, nil
}

// find tells the two outputs apart by their rank; -1: there is none.
func (segmentHead) find(shapes [][]int64) (rows, protos int) {
	rows, protos = -1, -1
	for i, s := range shapes {
		switch {
		case len(s) == 3 && rows < 0:
			rows = i
		case len(s) == 4 && protos < 0:
			protos = i
		}
	}
	return rows, protos
}

func (s segmentHead) decode(out []yolo.Tensor, q query, r *yolo.Result) error {
	shapes := make([][]int64, len(out))
	for i, t := range out {
		shapes[i] = t.Shape
	}
	at, protos := s.find(shapes)
	if at < 0 || protos < 0 {
		return unsupported(s.model, "its outputs have shapes %v, expected detections and prototype masks", shapes)
	}
	l := s.layout
	l.extra = int(shapes[protos][1])
	t, err := l.read(out[at])
	if err != nil {
		return err
	}
	p := newProtos(out[protos], q.fit)
	scale := q.fit.Scale()
	weights := make([]float32, l.extra)
	for _, c := range t.boxes(q) {
		for k := range weights {
			weights[k] = t.value(c.row, k)
		}
		bits := p.mask(weights, c.box)
		if bits.empty() {
			continue // as Ultralytics drops them, after NMS has counted them
		}
		o := c.object(scale)
		o.Mask = bits.mask(q.fit, scale)
		r.Objects = append(r.Objects, o)
	}
	return nil
}

// mask describes the pixels for the answer.
func (b *bits) mask(fit imaging.Fit, s imaging.Scale) *yolo.Mask {
	m := &yolo.Mask{Width: fit.Width, Height: fit.Height, Window: fit.Window(), Runs: b.runs(fit.Width, fit.Height)}
	line := joined(b.contours())
	m.Polygon = make([]yolo.Point, len(line))
	for i, p := range line {
		m.Polygon[i] = s.Point(float32(p.x+b.x), float32(p.y+b.y))
	}
	return m
}
