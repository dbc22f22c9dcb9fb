package detect

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"lazyolo/internal/imaging"
	"lazyolo/yolo"
)

// tensor makes an output of that shape.
func tensor(shape []int64, data ...float32) yolo.Tensor {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	if int64(len(data)) < n {
		data = append(data, make([]float32, n-int64(len(data)))...)
	}
	return yolo.Tensor{Shape: shape, Data: data}
}

// decode plans a model of that task whose file says metadata, and decodes out.
func decode(t *testing.T, task yolo.Task, metadata map[string]string, q query, out ...yolo.Tensor) (*yolo.Result, error) {
	t.Helper()
	infos := make([]yolo.TensorInfo, len(out))
	for i, o := range out {
		infos[i] = yolo.TensorInfo{DType: yolo.FP32, Shape: o.Shape}
	}
	in := []yolo.TensorInfo{{DType: yolo.FP32, Shape: []int64{1, 3, 32, 32}}}
	p, err := newPlan(&yolo.Model{ID: "m", Task: task, TaskName: string(task)}, in, infos, metadata)
	if err != nil {
		return nil, err
	}
	var r yolo.Result
	if err := p.head.decode(out, q, &r); err != nil {
		return nil, err
	}
	p.name(&r)
	return &r, nil
}

// half is a query for a picture twice as large as the input of 32x32, of which the
// upper and lower 8 rows are padding.
func half() query {
	q := ask()
	q.fit = imaging.Letterbox(64, 32, 32, 32)
	return q
}

var approx = cmpopts.EquateApprox(0, 1e-4)

func TestDetect(t *testing.T) {
	r, err := decode(t, yolo.Detect, map[string]string{"names": "{0: 'a', 1: 'b'}"}, half(), raw(2, box(10, 16, 8, 4, 0.75, 1), box(0, 0, 8, 8, 0.5, 0)))
	if err != nil {
		t.Fatal(err)
	}
	want := []yolo.Object{
		{Class: 1, Name: "b", Confidence: 0.75, Box: yolo.Box{X1: 12, Y1: 12, X2: 28, Y2: 20}},
		{Class: 0, Name: "a", Confidence: 0.5, Box: yolo.Box{X1: 0, Y1: 0, X2: 8, Y2: 0}}, // in the padding: clipped
	}
	if d := cmp.Diff(want, r.Objects); d != "" {
		t.Error(d)
	}
}

func TestPose(t *testing.T) {
	metadata := map[string]string{"names": "{0: 'a', 1: 'b'}", "kpt_shape": "[2, 3]", "kpt_names": "{0: ['x', 'y'], 1: ['nose', 'tail']}"}
	// One anchor: box, two classes, two keypoints; the second lies outside.
	one := []float32{10, 16, 8, 4, 0, 0.75, 8, 12, 0.5, 40, 4, 0.25}
	finished := []float32{6, 14, 14, 18, 0.75, 1, 8, 12, 0.5, 40, 4, 0.25, 6, 14, 14, 18, 0.125, 1}
	for name, out := range map[string]yolo.Tensor{
		"raw": tensor([]int64{1, 12, 1}, one...), "finished": tensor([]int64{1, 2, 12}, finished...),
	} {
		t.Run(name, func(t *testing.T) {
			r, err := decode(t, yolo.Pose, metadata, half(), out)
			if err != nil {
				t.Fatal(err)
			}
			want := []yolo.Object{{
				Class: 1, Name: "b", Confidence: 0.75, Box: yolo.Box{X1: 12, Y1: 12, X2: 28, Y2: 20},
				Keypoints:     []yolo.Keypoint{{Point: yolo.Point{X: 16, Y: 8}, Visible: 0.5}, {Point: yolo.Point{X: 64, Y: 0}, Visible: 0.25}},
				KeypointNames: []string{"nose", "tail"},
			}}
			if d := cmp.Diff(want, r.Objects); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestPoseWithoutVisibilityOrNames(t *testing.T) {
	r, err := decode(t, yolo.Pose, map[string]string{"names": "{0: 'a'}", "kpt_shape": "[2, 2]"}, half(),
		tensor([]int64{1, 9, 1}, 10, 16, 8, 4, 0.75, 8, 12, 9, 13))
	if err != nil {
		t.Fatal(err)
	}
	want := []yolo.Keypoint{{Point: yolo.Point{X: 16, Y: 8}, Visible: -1}, {Point: yolo.Point{X: 18, Y: 10}, Visible: -1}}
	if d := cmp.Diff(want, r.Objects[0].Keypoints); d != "" || r.Objects[0].KeypointNames != nil {
		t.Error(d, r.Objects[0].KeypointNames)
	}
}

// TestCOCOKeypoints: files older than kpt_names tell the names of COCO's persons
// by their number.
func TestCOCOKeypoints(t *testing.T) {
	for names, want := range map[string]string{"{0: 'person'}": "right_ankle", "{0: 'horse'}": ""} {
		out := tensor([]int64{1, 5 + 51, 1}, 10, 16, 8, 4, 0.75)
		r, err := decode(t, yolo.Pose, map[string]string{"names": names, "kpt_shape": "[17, 3]"}, half(), out)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if n := r.Objects[0].KeypointNames; len(n) == 17 {
			got = n[16]
		}
		if got != want {
			t.Errorf("%s: %q, want %q", names, got, want)
		}
	}
}

func TestOBB(t *testing.T) {
	metadata := map[string]string{"names": "{0: 'a', 1: 'b'}"}
	// A box of 8x4 turned by a right angle, near the edge of the picture.
	one := []float32{2, 16, 8, 4, 0, 0.75, math.Pi / 2}
	finished := []float32{2, 16, 8, 4, 0.75, 1, math.Pi / 2}
	for name, out := range map[string]yolo.Tensor{
		"raw": tensor([]int64{1, 7, 1}, one...), "finished": tensor([]int64{1, 1, 7}, finished...),
	} {
		t.Run(name, func(t *testing.T) {
			r, err := decode(t, yolo.OBB, metadata, half(), out)
			if err != nil {
				t.Fatal(err)
			}
			want := []yolo.Object{{
				Class: 1, Name: "b", Confidence: 0.75, Box: yolo.Box{X1: 0, Y1: 8, X2: 8, Y2: 24},
				Rotated: &yolo.Rotated{
					X: 4, Y: 16, W: 16, H: 8, Angle: math.Pi / 2,
					Corners: [4]yolo.Point{{X: 0, Y: 24}, {X: 8, Y: 24}, {X: 8, Y: 8}, {X: 0, Y: 8}},
				},
			}}
			if d := cmp.Diff(want, r.Objects, approx); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestRotatedBoxesAreNotClipped, unlike upright ones.
func TestRotatedBoxesAreNotClipped(t *testing.T) {
	r, err := decode(t, yolo.OBB, map[string]string{"names": "{0: 'a'}"}, half(), tensor([]int64{1, 6, 1}, 0, 8, 8, 4, 0.75, 0))
	if err != nil {
		t.Fatal(err)
	}
	if b := r.Objects[0].Box; b.X1 != -8 || b.Y1 != -4 {
		t.Errorf("box %v, want one that begins at -8, -4", b)
	}
}

func TestClassify(t *testing.T) {
	r, err := decode(t, yolo.Classify, map[string]string{"names": "{0: 'a', 1: 'b', 2: 'c', 3: 'd', 4: 'e', 5: 'f'}"}, ask(),
		tensor([]int64{1, 6}, 0.05, 0.3, 0.01, 0.3, 0.2, 0.14))
	if err != nil {
		t.Fatal(err)
	}
	// Of equal ones the first, however little it is, and no more than five.
	want := []yolo.Prob{{Class: 1, Name: "b", Confidence: 0.3}, {Class: 3, Name: "d", Confidence: 0.3}, {Class: 4, Name: "e", Confidence: 0.2}, {Class: 5, Name: "f", Confidence: 0.14}, {Class: 0, Name: "a", Confidence: 0.05}}
	if d := cmp.Diff(want, r.Probs); d != "" || len(r.Objects) != 0 {
		t.Error(d, r.Objects)
	}
	r, err = decode(t, yolo.Classify, nil, ask(), tensor([]int64{1, 2}, 0.25, 0.75))
	if err != nil || len(r.Probs) != 2 || r.Probs[0].Name != "1" {
		t.Errorf("two classes: %v, %v", r, err)
	}
}

func TestRTDETR(t *testing.T) {
	q := ask()
	q.fit = imaging.Stretch(200, 100, 32, 32)
	four := "{0: 'a', 1: 'b', 2: 'c', 3: 'd'}"
	two := "{0: 'a', 1: 'b'}"
	box := yolo.Box{X1: 80, Y1: 20, X2: 120, Y2: 80}
	best := yolo.Object{Class: 1, Name: "b", Confidence: 0.75, Box: box}
	second := yolo.Object{Class: 0, Name: "a", Confidence: 0.5, Box: yolo.Box{X1: -20, Y1: 0, X2: 20, Y2: 100}} // not clipped
	tests := map[string]struct {
		metadata map[string]string
		out      yolo.Tensor
	}{
		"box, score, class": {
			map[string]string{"names": four, "head": "RTDETRDecoder"},
			tensor([]int64{1, 3, 6}, 0.5, 0.5, 0.2, 0.6, 0.75, 1, 0, 0.5, 0.2, 1, 0.5, 0, 0.5, 0.5, 0.2, 0.6, 0.25, 1),
		},
		"a score per class, in any order": {
			map[string]string{"names": four},
			tensor([]int64{1, 2, 8}, 0, 0.5, 0.2, 1, 0.5, 0.1, 0.2, 0.5, 0.5, 0.5, 0.2, 0.6, 0.5, 0.75, 0, 0),
		},
		"two classes, box, score, class": {
			map[string]string{"names": two, "description": "Ultralytics RT-DETR-l model"},
			tensor([]int64{1, 2, 6}, 0.5, 0.5, 0.2, 0.6, 0.75, 1, 0, 0.5, 0.2, 1, 0.5, 0),
		},
		"two classes, a score each": {
			map[string]string{"names": two, "description": "Ultralytics rtdetr-l model"},
			tensor([]int64{1, 2, 6}, 0, 0.5, 0.2, 1, 0.5, 0.125, 0.5, 0.5, 0.2, 0.6, 0.5, 0.75),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := decode(t, yolo.Detect, tt.metadata, q, tt.out)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff([]yolo.Object{best, second}, r.Objects, approx); d != "" {
				t.Error(d)
			}
			narrow := q
			narrow.classes, narrow.most = []int{0, 1}, 1
			if r, err = decode(t, yolo.Detect, tt.metadata, narrow, tt.out); err != nil || len(r.Objects) != 1 || r.Objects[0].Class != 1 {
				t.Errorf("one of two classes: %v, %v", r, err)
			}
		})
	}
}

// TestSemantic: shares of the picture's pixels, of which those of the padding are
// none, and a mask for each class that is there.
func TestSemantic(t *testing.T) {
	out := tensor([]int64{1, 32, 32})
	for i := range out.Data {
		switch x, y := i%32, i/32; {
		case y < 8:
			out.Data[i] = 1 // padding
		case y < 16:
			out.Data[i] = 2
		case x < 8:
			out.Data[i] = ignored
		}
	}
	three := map[string]string{"names": "{0: 'a', 1: 'b', 2: 'c'}"}
	r, err := decode(t, yolo.Semantic, three, half(), out)
	if err != nil {
		t.Fatal(err)
	}
	mask := func(runs ...int) *yolo.Mask {
		return &yolo.Mask{Width: 32, Height: 32, Window: yolo.Window{Y: 8, W: 32, H: 16}, Runs: runs, Nearest: true}
	}
	off := []int{16*32 + 8}
	for range 15 {
		off = append(off, 24, 8)
	}
	want := []yolo.Region{
		{Class: 0, Name: "a", Share: 0.375, Mask: mask(append(off, 24, 0)...)},
		{Class: 2, Name: "c", Share: 0.5, Mask: mask(8*32, 8*32, 16*32)},
	}
	if d := cmp.Diff(want, r.Regions); d != "" {
		t.Error(d)
	}
	q := half()
	q.classes = []int{2, 1}
	if r, err = decode(t, yolo.Semantic, three, q, out); err != nil || len(r.Regions) != 1 || r.Regions[0].Class != 2 {
		t.Errorf("one class of two asked for: %v, %v", r, err)
	}
	if _, err = decode(t, yolo.Semantic, three, half(), tensor([]int64{1, 16, 16})); yolo.CodeOf(err) != yolo.Unsupported {
		t.Errorf("an output of another size: %v", err)
	}
}

// TestSemanticOfOneClass: it is the number 1, and 0 is the rest.
func TestSemanticOfOneClass(t *testing.T) {
	out := tensor([]int64{1, 32, 32})
	for i := range 12 * 32 {
		out.Data[i] = 1
	}
	r, err := decode(t, yolo.Semantic, map[string]string{"names": "{0: 'a'}"}, half(), out)
	if err != nil || len(r.Regions) != 1 || r.Regions[0].Class != 0 || r.Regions[0].Share != 0.25 {
		t.Errorf("got %v, %v", r, err)
	}
}
