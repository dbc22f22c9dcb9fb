package detect

import (
	"lazyolo/internal/imaging"
	"lazyolo/yolo"
)

// A detectHead reads one output of upright boxes: YOLOv5u, v8, v9, v10, 11, 12, 26.
type detectHead struct{ layout layout }

func newDetect(m *yolo.Model, f facts, shapes [][]int64) (head, error) {
	if err := noMasks(m, shapes); err != nil {
		return nil, err
	}
	d := detectHead{layoutOf(m, f, 0)}
	if len(shapes) == 0 {
		return nil, unsupported(m, "it has no output")
	}
	return d, d.layout.declared(shapes[0])
}

func (d detectHead) decode(out []yolo.Tensor, q query, r *yolo.Result) error {
	t, err := d.layout.read(out[0])
	if err != nil {
		return err
	}
	found := t.boxes(q)
	r.Objects = make([]yolo.Object, len(found))
	scale := q.fit.Scale()
	for i, c := range found {
		r.Objects[i] = c.object(scale)
	}
	return nil
}

// object maps a candidate with corners to the picture.
func (c candidate) object(s imaging.Scale) yolo.Object {
	return yolo.Object{Class: c.class, Confidence: c.conf, Box: s.Box(c.box[0], c.box[1], c.box[2], c.box[3])}
}
