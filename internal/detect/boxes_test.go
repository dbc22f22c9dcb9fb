package detect

import (
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"lazyolo/yolo"
)

// box builds a candidate from a centre and a size.
func box(cx, cy, w, h, conf float32, class int) candidate {
	return candidate{rect{cx - w/2, cy - h/2, cx + w/2, cy + h/2}, conf, class, 0}
}

// same compares candidates but for the rows they come from.
func same(want, got []candidate) string {
	got = slices.Clone(got)
	for i := range got {
		got[i].row = 0
	}
	return cmp.Diff(want, got, cmp.AllowUnexported(candidate{}), cmpopts.EquateEmpty())
}

// ask is a query with the defaults of the server.
func ask() query { return query{conf: 0.25, iou: 0.45, most: maxObjects} }

// read decodes one output of a detector whose file says it has own classes.
func read(t testing.TB, out yolo.Tensor, own int, q query) []candidate {
	t.Helper()
	table, err := layout{model: detector(2), classes: own}.read(out)
	if err != nil {
		t.Fatal(err)
	}
	return table.boxes(q)
}

// raw lays candidates out as a [4+classes][anchors] tensor, each anchor with one
// score in its class.
func raw(classes int, cs ...candidate) yolo.Tensor {
	n := len(cs)
	t := yolo.Tensor{Shape: []int64{1, int64(4 + classes), int64(n)}, Data: make([]float32, (4+classes)*n)}
	for i, c := range cs {
		t.Data[i] = (c.box[0] + c.box[2]) / 2
		t.Data[n+i] = (c.box[1] + c.box[3]) / 2
		t.Data[2*n+i] = c.box[2] - c.box[0]
		t.Data[3*n+i] = c.box[3] - c.box[1]
		t.Data[(4+c.class)*n+i] = c.conf
	}
	return t
}

func detector(classes int) *yolo.Model {
	m := &yolo.Model{ID: "m", Task: yolo.Detect, TaskName: "detection", Labels: yolo.Labels{}}
	for i := range classes {
		m.Labels[i] = string(rune('a' + i))
	}
	return m
}

func TestDetections(t *testing.T) {
	a := box(50, 50, 40, 40, 0.9, 0)
	tests := map[string]struct {
		in   []candidate
		iou  float64
		want []candidate
	}{
		"nothing over the threshold": {[]candidate{box(50, 50, 40, 40, 0.25, 0)}, 0.45, []candidate{}},
		"best first": {
			[]candidate{box(10, 10, 4, 4, 0.3, 0), a, box(90, 90, 4, 4, 0.5, 1)}, 0.45,
			[]candidate{a, box(90, 90, 4, 4, 0.5, 1), box(10, 10, 4, 4, 0.3, 0)},
		},
		"an overlap of the same class goes": {[]candidate{box(52, 50, 40, 40, 0.8, 0), a}, 0.45, []candidate{a}},
		"an overlap of another class stays": {
			[]candidate{box(52, 50, 40, 40, 0.8, 1), a}, 0.45, []candidate{a, box(52, 50, 40, 40, 0.8, 1)},
		},
		// 40x40 boxes 20 apart share 20x40 = 800 of 2400: IoU 1/3.
		"an overlap below the threshold stays": {
			[]candidate{a, box(70, 50, 40, 40, 0.8, 0)}, 0.34, []candidate{a, box(70, 50, 40, 40, 0.8, 0)},
		},
		"an overlap above the threshold goes": {[]candidate{a, box(70, 50, 40, 40, 0.8, 0)}, 0.33, []candidate{a}},
		// 16x16 boxes 8 apart share 128 of 384; 0.5 needs 2/3 shift: exactly 1/2 at a 16x8 in a 16x16.
		"an overlap equal to the threshold stays": {
			[]candidate{box(8, 8, 16, 16, 0.9, 0), box(8, 4, 16, 8, 0.8, 0)}, 0.5,
			[]candidate{box(8, 8, 16, 16, 0.9, 0), box(8, 4, 16, 8, 0.8, 0)},
		},
		// b overlaps a and goes; c overlaps only b and stays.
		"what was suppressed suppresses nothing": {
			[]candidate{a, box(64, 50, 40, 40, 0.8, 0), box(82, 50, 40, 40, 0.7, 0)}, 0.3,
			[]candidate{a, box(82, 50, 40, 40, 0.7, 0)},
		},
		"of equal scores the first anchor wins": {
			[]candidate{box(50, 50, 40, 40, 0.9, 0), box(52, 50, 40, 40, 0.9, 0)}, 0.45, []candidate{box(50, 50, 40, 40, 0.9, 0)},
		},
		"every kept box suppresses": {
			[]candidate{a, box(150, 50, 40, 40, 0.8, 0), box(152, 50, 40, 40, 0.7, 0)}, 0.45,
			[]candidate{a, box(150, 50, 40, 40, 0.8, 0)},
		},
		"boxes apart in both directions do not overlap": {
			[]candidate{a, box(200, 200, 40, 40, 0.8, 0)}, 0.45, []candidate{a, box(200, 200, 40, 40, 0.8, 0)},
		},
		"high and wide boxes": {
			[]candidate{box(50, 20, 8, 30, 0.9, 0), box(20, 50, 30, 8, 0.8, 0)}, 0.45,
			[]candidate{box(50, 20, 8, 30, 0.9, 0), box(20, 50, 30, 8, 0.8, 0)},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q := ask()
			q.iou = tt.iou
			if d := same(tt.want, read(t, raw(2, tt.in...), 0, q)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestEachAnchorGivesItsBestClass(t *testing.T) {
	in := raw(3, box(50, 50, 10, 10, 0.6, 1))
	in.Data[4] = 0.6 // class 0, as good as class 1: the first wins
	in.Data[6] = 0.7 // class 2
	if d := same([]candidate{box(50, 50, 10, 10, 0.7, 2)}, read(t, in, 3, ask())); d != "" {
		t.Error(d)
	}
	in.Data[6] = 0
	if got := read(t, in, 3, ask()); len(got) != 1 || got[0].class != 0 {
		t.Errorf("got %v, want class 0", got)
	}
}

func TestObjectsAreBounded(t *testing.T) {
	var in []candidate
	for i := range 400 {
		in = append(in, box(float32(20*i), 10, 10, 10, 0.3+float32(i)/1000, 0))
	}
	got := read(t, raw(1, in...), 1, ask())
	if len(got) != maxObjects || got[0].box != in[399].box || got[299].box != in[100].box {
		t.Errorf("got %d objects, want the best %d", len(got), maxObjects)
	}
	q := ask()
	q.most = 7
	if got := read(t, raw(1, in...), 1, q); len(got) != 7 {
		t.Errorf("got %d objects, asked for 7", len(got))
	}
}

func TestFinishedRowsNeedNoSuppression(t *testing.T) {
	rows := []float32{
		1, 2, 3, 4, 0.9, 1,
		1, 2, 3, 4, 0.8, 1, // the same box: the export decided that both stay
		5, 6, 7, 8, 0.25, 0, // not over the threshold
		0, 0, 0, 0, 0, 0, // padding
	}
	out := yolo.Tensor{Shape: []int64{1, 4, 6}, Data: rows}
	want := []candidate{{rect{1, 2, 3, 4}, 0.9, 1, 0}, {rect{1, 2, 3, 4}, 0.8, 1, 0}}
	if d := same(want, read(t, out, 2, ask())); d != "" {
		t.Error(d)
	}
	q := ask()
	q.most = 1
	if got := read(t, out, 2, q); len(got) != 1 {
		t.Errorf("got %d objects, asked for one", len(got))
	}
}

func TestAThresholdOfZeroKeepsOnlyScores(t *testing.T) {
	q := ask()
	q.conf = 0
	in := raw(1, box(5, 5, 2, 2, 0.01, 0), box(50, 50, 2, 2, 0, 0))
	if got := read(t, in, 1, q); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

func TestNaNIsNoDetection(t *testing.T) {
	nan := float32(math.NaN())
	if got := read(t, raw(1, box(5, 5, 2, 2, nan, 0)), 1, ask()); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	rows := []float32{1, 2, 3, 4, nan, 0, 1, 2, 3, 4, 0.9, nan}
	if got := read(t, yolo.Tensor{Shape: []int64{1, 2, 6}, Data: rows}, 1, ask()); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestOnlyTheClassesAskedFor(t *testing.T) {
	q := ask()
	q.classes = []int{1, 7}
	both := []candidate{box(50, 50, 40, 40, 0.9, 0), box(90, 90, 4, 4, 0.5, 1)}
	if d := same(both[1:], read(t, raw(2, both...), 2, q)); d != "" {
		t.Error(d)
	}
	rows := []float32{1, 2, 3, 4, 0.9, 0, 1, 2, 3, 4, 0.8, 1}
	if got := read(t, yolo.Tensor{Shape: []int64{1, 2, 6}, Data: rows}, 2, q); len(got) != 1 || got[0].class != 1 {
		t.Errorf("got %v, want class 1", got)
	}
	q.classes = []int{}
	if got := read(t, raw(2, both...), 2, q); len(got) != 0 {
		t.Errorf("got %v for no class", got)
	}
}

func TestAgnosticSuppressionIgnoresClasses(t *testing.T) {
	q := ask()
	q.agnostic = true
	a, b := box(50, 50, 40, 40, 0.9, 0), box(52, 50, 40, 40, 0.8, 1)
	if d := same([]candidate{a}, read(t, raw(2, b, a), 2, q)); d != "" {
		t.Error(d)
	}
}

// TestManyAnchors: what lies beyond the first block of anchors counts too.
func TestManyAnchors(t *testing.T) {
	in := make([]candidate, 3*block+5)
	for i := range in {
		in[i] = box(float32(10*i), 10, 4, 4, 0.1, 0)
	}
	for _, i := range []int{block - 1, block, 3*block + 4} {
		in[i].conf = 0.5
	}
	got := read(t, raw(1, in...), 1, ask())
	if len(got) != 3 || got[0].row != block-1 || got[1].row != block || got[2].row != 3*block+4 {
		t.Errorf("got %v", got)
	}
}

func BenchmarkDetections(b *testing.B) {
	in := yolo.Tensor{Shape: []int64{1, 84, 8400}, Data: make([]float32, 84*8400)}
	for i := range 200 {
		in.Data[4*8400+40*i] = 0.5
	}
	for b.Loop() {
		read(b, in, 80, ask())
	}
}
