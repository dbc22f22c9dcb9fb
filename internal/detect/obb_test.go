package detect

import (
	"slices"
	"testing"

	"lazyolo/yolo"
)

// TestProbabilisticIoU: values of Ultralytics' batch_probiou.
func TestProbabilisticIoU(t *testing.T) {
	for _, tt := range []struct {
		a, b [5]float32
		want float64
	}{
		{[5]float32{10, 10, 8, 4, 0}, [5]float32{10, 10, 8, 4, 0}, 0.9995318},
		{[5]float32{10, 10, 8, 4, 0}, [5]float32{12, 11, 8, 4, 0.5}, 0.5782090},
		{[5]float32{10, 10, 8, 4, 0.3}, [5]float32{10, 10, 4, 8, 0.3}, 0.5527862},
		{[5]float32{100, 50, 40, 2, 0.7}, [5]float32{103, 52, 38, 3, 0.75}, 0.6060004},
		{[5]float32{100, 50, 40, 2, 0.7}, [5]float32{110, 50, 40, 2, -0.9}, 0.0420418},
		{[5]float32{10, 10, 8, 4, 0}, [5]float32{30, 10, 8, 4, 0}, 0.0000423},
		{[5]float32{7690, 20, 50, 30, 1.2}, [5]float32{7700, 25, 45, 33, 1.0}, 0.6500579},
		{[5]float32{5, 5, 1, 1, 0}, [5]float32{5.2, 5.1, 1.5, 0.8, 2.5}, 0.6450067},
	} {
		a := newGaussian(tt.a[0], tt.a[1], tt.a[2], tt.a[3], tt.a[4])
		b := newGaussian(tt.b[0], tt.b[1], tt.b[2], tt.b[3], tt.b[4])
		for _, d := range []float64{-2e-5, 2e-5} {
			for _, pair := range [][2]*gaussian{{&a, &b}, {&b, &a}} {
				if got := pair[0].overlaps(pair[1], tt.want+d, farthest(tt.want+d)); got != (d < 0) {
					t.Errorf("%v and %v overlap by more than %v: %v", tt.a, tt.b, tt.want+d, got)
				}
			}
		}
	}
}

// TestFastSuppression: what is suppressed still suppresses, so of a chain only the
// first stays; recorded from Ultralytics' non_max_suppression(rotated=True).
func TestFastSuppression(t *testing.T) {
	// Boxes of 8x4 in a row, 3 apart, and one under the first; classes by turns.
	out := func(classes ...int) yolo.Tensor {
		o := tensor([]int64{1, 7, 4})
		copy(o.Data, []float32{10, 13, 16, 10, 10, 10, 10, 10, 8, 8, 8, 8, 4, 4, 4, 4})
		for i, c := range classes {
			o.Data[(4+c)*4+i] = 0.9 - float32(i)/10
		}
		return o
	}
	tests := map[string]struct {
		out      yolo.Tensor
		iou      float64
		agnostic bool
		want     []float32
	}{
		"a chain":                      {out(0, 0, 0, 0), 0.45, false, []float32{0.9}},
		"a low threshold":              {out(0, 0, 0, 0), 0.3, false, []float32{0.9}},
		"a high threshold":             {out(0, 0, 0, 0), 0.6, false, []float32{0.9, 0.8, 0.7}},
		"another class in the middle":  {out(0, 1, 0, 0), 0.45, false, []float32{0.9, 0.8, 0.7}},
		"another class, but no matter": {out(0, 1, 0, 0), 0.45, true, []float32{0.9}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q := half()
			q.iou, q.agnostic = tt.iou, tt.agnostic
			r, err := decode(t, yolo.OBB, map[string]string{"names": "{0: 'a', 1: 'b'}"}, q, tt.out)
			if err != nil {
				t.Fatal(err)
			}
			var got []float32
			for _, o := range r.Objects {
				got = append(got, o.Confidence)
			}
			if !slices.EqualFunc(got, tt.want, func(a, b float32) bool { return a-b < 1e-6 && b-a < 1e-6 }) {
				t.Errorf("kept %v, want %v", got, tt.want)
			}
			q.most = 1
			if r, err = decode(t, yolo.OBB, map[string]string{"names": "{0: 'a', 1: 'b'}"}, q, tt.out); err != nil || len(r.Objects) != 1 {
				t.Errorf("asked for one: %v, %v", r, err)
			}
		})
	}
}
