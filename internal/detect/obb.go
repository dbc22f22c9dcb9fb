package detect

import (
	"math"

	"lazyolo/internal/imaging"
	"lazyolo/yolo"
)

// An obbHead reads boxes that lie at an angle: centre, sides and, as the one extra
// value, radians.
type obbHead struct{ layout layout }

func newOBB(m *yolo.Model, f facts, shapes [][]int64) (head, error) {
	if err := noMasks(m, shapes); err != nil {
		return nil, err
	}
	o := obbHead{layoutOf(m, f, 1)}
	if len(shapes) == 0 {
		return nil, unsupported(m, "it has no output")
	}
	return o, o.layout.declared(shapes[0])
}

func (o obbHead) decode(out []yolo.Tensor, q query, r *yolo.Result) error {
	t, err := o.layout.read(out[0])
	if err != nil {
		return err
	}
	var found []candidate
	if t.finished {
		found = t.over(q)
	} else {
		found = t.suppressRotated(sorted(t.proposals(q)), q)
	}
	r.Objects = make([]yolo.Object, len(found))
	scale := q.fit.Scale()
	for i, c := range found {
		r.Objects[i] = c.rotated(t.value(c.row, 0), scale)
	}
	return nil
}

// rotated maps a candidate with centre, sides and angle to the picture. Neither
// the box nor what surrounds it is clipped, and the angle stays as the model
// gives it: that is how Ultralytics reports them.
func (c candidate) rotated(angle float32, s imaging.Scale) yolo.Object {
	x, y, w, h := s.Centred(c.box[0], c.box[1], c.box[2], c.box[3])
	rot := &yolo.Rotated{X: x, Y: y, W: w, H: h, Angle: angle, Corners: corners(x, y, w, h, angle)}
	p := rot.Corners
	return yolo.Object{
		Class: c.class, Confidence: c.conf, Rotated: rot,
		Box: yolo.Box{
			X1: min(p[0].X, p[1].X, p[2].X, p[3].X), Y1: min(p[0].Y, p[1].Y, p[2].Y, p[3].Y),
			X2: max(p[0].X, p[1].X, p[2].X, p[3].X), Y2: max(p[0].Y, p[1].Y, p[2].Y, p[3].Y),
		},
	}
}

// corners of a rotated box, from the one at +w/2, +h/2 of its own frame, in
// Ultralytics' order.
func corners(x, y, w, h, angle float32) [4]yolo.Point {
	sin, cos := sincos(angle)
	wx, wy := w/2*cos, w/2*sin
	hx, hy := -h/2*sin, h/2*cos
	return [4]yolo.Point{
		{X: x + wx + hx, Y: y + wy + hy},
		{X: x + wx - hx, Y: y + wy - hy},
		{X: x - wx - hx, Y: y - wy - hy},
		{X: x - wx + hx, Y: y - wy + hy},
	}
}

func sincos(angle float32) (sin, cos float32) {
	s, c := math.Sincos(float64(angle))
	return float32(s), float32(c)
}

// suppressRotated is Ultralytics' fast NMS: whoever overlaps any better candidate
// of its class by more than the request's iou goes, even if that one went itself.
func (t table) suppressRotated(found []candidate, q query) []candidate {
	shapes := make([]gaussian, len(found))
	for i, c := range found {
		d := q.offset(c.class)
		shapes[i] = newGaussian(c.box[0]+d, c.box[1]+d, c.box[2], c.box[3], t.value(c.row, 0))
	}
	far := farthest(q.iou)
	var kept []candidate
	for i, c := range found {
		overlaps := false
		for j := range i {
			if (q.agnostic || found[j].class == c.class) && shapes[j].overlaps(&shapes[i], q.iou, far) {
				overlaps = true
				break
			}
		}
		if overlaps {
			continue
		}
		kept = append(kept, c)
		if len(kept) == q.most {
			break
		}
	}
	return kept
}

// A gaussian stands for a rotated box: its centre and its covariance
// [[a, c], [c, b]], in float32 as torch computes them.
type gaussian struct{ x, y, a, b, c, det float32 }

func newGaussian(x, y, w, h, angle float32) gaussian {
	sin, cos := sincos(angle)
	cos2, sin2 := float32(cos*cos), float32(sin*sin)
	vw, vh := float32(w*w)/12, float32(h*h)/12 // variances of a uniform box
	g := gaussian{
		x: x, y: y,
		a: float32(vw*cos2) + float32(vh*sin2),
		b: float32(vw*sin2) + float32(vh*cos2),
		c: float32((vw-vh)*cos) * sin,
	}
	g.det = max(0, float32(g.a*g.b)-float32(g.c*g.c))
	return g
}

// tiny keeps divisions and logarithms finite: the eps of Ultralytics' probiou.
const tiny = 1e-7

// farthest is a Bhattacharyya distance beyond which no overlap exceeds iou, with a
// margin for rounding.
func farthest(iou float64) float32 {
	return float32(min(100, -math.Log(max(1e-45, 1-(1-iou)*(1-iou)))) + 1)
}

// overlaps reports whether the probabilistic IoU of two boxes, one minus the
// Hellinger distance of their gaussians, is more than iou. Far says from which
// distance on it need not be computed to the end.
func (g *gaussian) overlaps(o *gaussian, iou float64, far float32) bool {
	a, b, c := g.a+o.a, g.b+o.b, g.c+o.c
	dx, dy := g.x-o.x, g.y-o.y
	det := float32(a*b) - float32(c*c)
	t1 := (float32(a*float32(dy*dy)) + float32(b*float32(dx*dx))) / (det + tiny) * 0.25
	t2 := float32(float32(c*-dx)*dy) / (det + tiny) * 0.5
	if t1+t2 > far {
		return false
	}
	t3 := log32(det/(float32(4*sqrt32(float32(g.det*o.det)))+tiny)+tiny) * 0.5
	bd := min(max(t1+t2+t3, tiny), 100)
	hd := sqrt32(1 - float32(math.Exp(float64(-bd))) + tiny)
	return 1-hd > float32(iou)
}

func log32(v float32) float32  { return float32(math.Log(float64(v))) }
func sqrt32(v float32) float32 { return float32(math.Sqrt(float64(v))) }
