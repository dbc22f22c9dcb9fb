package detect

import (
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lazyolo/yolo"
)

// segmentation makes the outputs of a model with one class and two prototypes of
// 8x8 for an input of 32x32: the first is on in columns from on and off before,
// the second everywhere.
func segmentation(from int, boxes ...[]float32) []yolo.Tensor {
	rows := tensor([]int64{1, int64(len(boxes)), 8})
	for i, b := range boxes {
		copy(rows.Data[8*i:], b)
	}
	protos := tensor([]int64{1, 2, 8, 8})
	for i := range 64 {
		protos.Data[i], protos.Data[64+i] = -1, 1
		if i%8 >= from {
			protos.Data[i] = 1
		}
	}
	return []yolo.Tensor{rows, protos}
}

func TestSegment(t *testing.T) {
	metadata := map[string]string{"names": "{0: 'a'}", "end2end": "True"}
	out := segmentation(4,
		[]float32{8.5, 9.5, 20.5, 12, 0.9, 0, 1, 0},   // the left half of the box is off
		[]float32{2, 10, 10, 12, 0.8, 0, 1, 0},        // all of it: the object goes
		[]float32{2, 10, 10, 12, 0.7, 0, 0, 1},        // all of it is on
		[]float32{20, 10, 20, 12, 0.6, 0, 0, 1},       // no pixel in the box
		[]float32{-5, -5, 100, 1, 0.5, 0, 0, 1},       // it leaves the input
		[]float32{8.5, 9.5, 20.5, 12, 0.2, 0, 1, 0},   // not over the threshold
		[]float32{10, 10, 10.5, 10.5, 0.4, 0, 0, 0.1}, // one pixel
	)
	for name, out := range map[string][]yolo.Tensor{"in order": out, "the other way round": {out[1], out[0]}} {
		t.Run(name, func(t *testing.T) {
			r, err := decode(t, yolo.Segment, metadata, half(), out...)
			if err != nil {
				t.Fatal(err)
			}
			var conf []float32
			var masks [][]int
			for _, o := range r.Objects {
				conf = append(conf, o.Confidence)
				masks = append(masks, o.Mask.Runs)
			}
			if !slices.Equal(conf, []float32{0.9, 0.7, 0.5, 0.4}) {
				t.Fatalf("objects of confidence %v", conf)
			}
			// Between the prototype's columns 3 and 4 (pixels 14 and 18 of the
			// middle) the mask begins at pixel 16: rows 10 and 11, up to column 20.
			want := [][]int{
				{10*32 + 16, 5, 27, 5, 32*20 + 11},
				{10*32 + 2, 8, 24, 8, 32*20 + 22},
				{0, 32, 32 * 31},
				{10*32 + 10, 1, 32*21 + 21},
			}
			if d := cmp.Diff(want, masks); d != "" {
				t.Error(d)
			}
			m := r.Objects[0].Mask
			if m.Width != 32 || m.Height != 32 || m.Window != (yolo.Window{Y: 8, W: 32, H: 16}) {
				t.Errorf("grid %dx%d, window %v", m.Width, m.Height, m.Window)
			}
			polygon := []yolo.Point{{X: 32, Y: 4}, {X: 32, Y: 6}, {X: 40, Y: 6}, {X: 40, Y: 4}}
			if d := cmp.Diff(polygon, m.Polygon); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestMasksAreEnlargedBothWays: a prototype that begins in the middle, across.
func TestMasksAreEnlargedBothWays(t *testing.T) {
	out := segmentation(4)
	turned := tensor([]int64{1, 2, 8, 8})
	for i := range 64 {
		turned.Data[i] = out[1].Data[8*(i%8)+i/8]
	}
	b := newProtos(turned, half().fit).mask([]float32{1, 0}, rect{10, 3, 12, 29})
	want := append(make([]byte, 2*13), slices.Repeat([]byte{1}, 2*13)...) // rows 3 to 15, then 16 to 28
	if b.x != 10 || b.y != 3 || b.w != 2 || b.h != 26 || !slices.Equal(b.pix, want) {
		t.Errorf("at %d, %d %dx%d: %v", b.x, b.y, b.w, b.h, b.pix)
	}
}

// TestMixEverySize: weights count whether prototypes come in fours or not.
func TestMixEverySize(t *testing.T) {
	for n := 1; n <= 9; n++ {
		p := newProtos(tensor([]int64{1, int64(n), 1, 2}), half().fit)
		weights := make([]float32, n)
		want := float32(0)
		for k := range weights {
			p.data[2*k+1] = float32(k + 1)
			weights[k] = float32(10 + k)
			want += float32((k + 1) * (10 + k))
		}
		if p.mix(weights, 1, 0, 1, 1); p.mixed[0] != want {
			t.Errorf("%d prototypes: %v, want %v", n, p.mixed[0], want)
		}
	}
}

// TestMasksDoNotDisturbEachOther: what is reused between masks leaves no traces.
func TestMasksDoNotDisturbEachOther(t *testing.T) {
	out := segmentation(4)
	p := newProtos(out[1], half().fit)
	big, small := rect{0, 0, 32, 32}, rect{9, 9, 30, 20}
	alone := slices.Clone(newProtos(out[1], half().fit).mask([]float32{1, 0}, small).pix)
	p.mask([]float32{0, 1}, big)
	if got := p.mask([]float32{1, 0}, small); !slices.Equal(got.pix, alone) {
		t.Error("the second mask differs from the same alone")
	}
}

func BenchmarkSegment(b *testing.B) {
	p := newProtos(tensor([]int64{1, 32, 160, 160}), segmentFit())
	for i := range p.data { // a disc
		x, y := float64(i%160)-65, float64(i/160%160)-65
		p.data[i] = float32(38 - math.Hypot(x, y))
	}
	weights := make([]float32, 32)
	for i := range weights {
		weights[i] = float32(i%3) + 1
	}
	scale := segmentFit().Scale()
	for b.Loop() {
		p.mask(weights, rect{100, 100, 420, 420}).mask(segmentFit(), scale)
	}
}
