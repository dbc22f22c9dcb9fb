package detect

import (
	"encoding/json"
	"math"
	"testing"

	"lazyolo/internal/imaging"
	"lazyolo/yolo"
)

// The limits of issue 5.
const (
	boxLimit   = 0.1   // pixels
	confLimit  = 0.002 //
	maskLimit  = 0.02  // 1 - IoU
	pointLimit = 0.5   // pixels
)

// compareRun compares an answer with the reference's predictions.
func compareRun(t *testing.T, task yolo.Task, raw json.RawMessage, got *yolo.Result, fit imaging.Fit, worst *deviation) {
	t.Helper()
	if task == yolo.Classify {
		compareProbs(t, raw, got.Probs, worst)
		return
	}
	var want []prediction
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	if len(got.Objects) != len(want) {
		t.Fatalf("got %d objects, want %d", len(got.Objects), len(want))
	}
	worst.objects += len(want)
	used := make([]bool, len(want))
	for i, o := range got.Objects {
		w := want[partner(o, want, used)]
		if o.Class != w.Cls {
			t.Errorf("object %d: class %d, want %d", i, o.Class, w.Cls)
		}
		if !see(&worst.conf, math.Abs(float64(o.Confidence)-w.Conf), confLimit) {
			t.Errorf("object %d: confidence %v, want %v", i, o.Confidence, w.Conf)
		}
		b := [4]float64{float64(o.Box.X1), float64(o.Box.Y1), float64(o.Box.X2), float64(o.Box.Y2)}
		if !see(&worst.box, farthestApart(b[:], w.XYXY[:]), boxLimit) {
			t.Errorf("object %d: box %v, want %v", i, b, w.XYXY)
		}
		switch task {
		case yolo.Segment:
			compareMask(t, i, o.Mask, w, worst)
		case yolo.Pose:
			comparePose(t, i, o.Keypoints, w, worst)
		case yolo.OBB:
			compareRotated(t, i, o.Rotated, w, worst)
		}
	}
}

// partner finds the prediction an object must equal: the first one left, or, where
// several have scores within 1e-5 of it, whose order is chance, the nearest box.
func partner(o yolo.Object, want []prediction, used []bool) int {
	first, best, least := -1, -1, math.Inf(1)
	for i, w := range want {
		if used[i] {
			continue
		}
		if first < 0 {
			first, best = i, i
		}
		if math.Abs(w.Conf-want[first].Conf) > 1e-5 {
			break
		}
		b := [4]float64{float64(o.Box.X1), float64(o.Box.Y1), float64(o.Box.X2), float64(o.Box.Y2)}
		d := farthestApart(b[:], w.XYXY[:])
		if w.Cls != o.Class {
			d += 1e6
		}
		if d < least {
			least, best = d, i
		}
	}
	used[best] = true
	return best
}

// farthestApart is the largest difference of two lists of numbers.
func farthestApart(a, b []float64) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	d := 0.0
	for i := range a {
		d = max(d, math.Abs(a[i]-b[i]))
	}
	return d
}

func compareMask(t *testing.T, i int, m *yolo.Mask, w prediction, worst *deviation) {
	t.Helper()
	if m == nil {
		t.Fatalf("object %d has no mask", i)
	}
	if w.MaskShape != [2]int{m.Height, m.Width} {
		t.Errorf("object %d: mask of %dx%d, want %v", i, m.Height, m.Width, w.MaskShape)
	}
	pix := unpack(m.Runs)
	area := 0
	for _, v := range pix {
		area += int(v)
	}
	if len(pix) != m.Width*m.Height {
		t.Errorf("object %d: runs of %d pixels, want %d", i, len(pix), m.Width*m.Height)
	}
	if w.MaskRLE == nil { // the reference counts pixels only
		if !see(&worst.mask, math.Abs(float64(area-w.MaskArea))/float64(max(area, w.MaskArea)), maskLimit) {
			t.Errorf("object %d: mask of %d pixels, want %d", i, area, w.MaskArea)
		}
		return
	}
	both, any := 0, 0
	for k, v := range unpack(w.MaskRLE) {
		both += int(v & pix[k])
		any += int(v | pix[k])
	}
	if !see(&worst.mask, 1-float64(both)/float64(any), maskLimit) {
		t.Errorf("object %d: mask IoU %v", i, float64(both)/float64(any))
	}
	if both != any {
		return // another mask has another outline
	}
	got := make([]float64, 0, 2*len(m.Polygon))
	for _, p := range m.Polygon {
		got = append(got, float64(p.X), float64(p.Y))
	}
	want := make([]float64, 0, 2*len(w.Polygon))
	for _, p := range w.Polygon {
		want = append(want, p[0], p[1])
	}
	// The reference has two decimals.
	if !see(&worst.polygon, farthestApart(got, want), 0.0051) {
		t.Errorf("object %d: polygon\n%v, want\n%v", i, got, want)
	}
}

// unpack turns run lengths into pixels.
func unpack(runs []int) []byte {
	var pix []byte
	for i, n := range runs {
		for range n {
			pix = append(pix, byte(i%2))
		}
	}
	return pix
}

func comparePose(t *testing.T, i int, points []yolo.Keypoint, w prediction, worst *deviation) {
	t.Helper()
	if len(points) != len(w.Keypoints) {
		t.Fatalf("object %d: %d keypoints, want %d", i, len(points), len(w.Keypoints))
	}
	for k, p := range points {
		want := w.Keypoints[k]
		if !see(&worst.point, farthestApart([]float64{float64(p.X), float64(p.Y)}, want[:2]), pointLimit) {
			t.Errorf("object %d: keypoint %d at %v, want %v", i, k, p.Point, want)
		}
		if len(want) == 3 && math.Abs(float64(p.Visible)-want[2]) > confLimit {
			t.Errorf("object %d: keypoint %d visible %v, want %v", i, k, p.Visible, want[2])
		}
	}
}

func compareRotated(t *testing.T, i int, r *yolo.Rotated, w prediction, worst *deviation) {
	t.Helper()
	if r == nil {
		t.Fatalf("object %d has no rotated box", i)
	}
	xywh := []float64{float64(r.X), float64(r.Y), float64(r.W), float64(r.H)}
	if !see(&worst.box, farthestApart(xywh, w.XYWHR[:4]), boxLimit) || math.Abs(float64(r.Angle)-w.XYWHR[4]) > 0.001 {
		t.Errorf("object %d: %v angle %v, want %v", i, xywh, r.Angle, w.XYWHR)
	}
	var corners []float64
	for _, p := range r.Corners {
		corners = append(corners, float64(p.X), float64(p.Y))
	}
	if !see(&worst.point, farthestApart(corners, w.Poly[:]), pointLimit) {
		t.Errorf("object %d: corners %v, want %v", i, corners, w.Poly)
	}
}

func compareProbs(t *testing.T, raw json.RawMessage, got []yolo.Prob, worst *deviation) {
	t.Helper()
	var want struct {
		Top5     []int
		Top5conf []float64
	}
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want.Top5) {
		t.Fatalf("got %d classes, want %d", len(got), len(want.Top5))
	}
	worst.objects += len(got)
	for i, p := range got {
		if p.Class != want.Top5[i] || !see(&worst.conf, math.Abs(float64(p.Confidence)-want.Top5conf[i]), confLimit) {
			t.Errorf("place %d: class %d %v, want %d %v", i, p.Class, p.Confidence, want.Top5[i], want.Top5conf[i])
		}
	}
}
