package detect

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"lazyolo/internal/imaging"
	"lazyolo/yolo"
)

// resized is a plane resized as torch does it: bilinear, pixels are areas.
func resized(plane [][]float64, h, w int) [][]float64 {
	at := func(i, n, size int) (int, int, float64) {
		v := max(0, (float64(i)+0.5)*float64(n)/float64(size)-0.5)
		return int(v), min(int(v)+1, n-1), v - float64(int(v))
	}
	out := make([][]float64, h)
	for y := range out {
		a, b, v := at(y, len(plane), h)
		for x := range w {
			l, r, u := at(x, len(plane[0]), w)
			out[y] = append(out[y], (1-v)*((1-u)*plane[a][l]+u*plane[a][r])+v*((1-u)*plane[b][l]+u*plane[b][r]))
		}
	}
	return out
}

// slowly is what scoresHead does, step by step: the class of each pixel.
func slowly(scores [][][]float64, fit imaging.Fit) [][]int {
	w := fit.Window()
	best := make([][]int, fit.SrcH)
	for y := range best {
		best[y] = make([]int, fit.SrcW)
	}
	var most [][]float64
	for c, plane := range scores {
		large := resized(plane, fit.Height, fit.Width)[w.Y : w.Y+w.H]
		for y := range large {
			large[y] = large[y][w.X : w.X+w.W]
		}
		final := resized(large, fit.SrcH, fit.SrcW)
		if c == 0 {
			most = final
		}
		for y := range final {
			for x, v := range final[y] {
				if v > most[y][x] {
					most[y][x], best[y][x] = v, c
				}
				if len(scores) == 1 && v > 0 {
					best[y][x] = 1
				}
			}
		}
	}
	return best
}

// TestScores compares the blends with the resizing step by step: pictures smaller and
// larger than the input, on their sides, of one row.
func TestScores(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, classes := range []int{1, 4} {
		for _, size := range [][2]int{{64, 32}, {20, 31}, {301, 177}, {1, 40}, {48, 48}} {
			fit := imaging.Letterbox(size[0], size[1], 48, 48)
			if classes == 1 {
				fit = imaging.LetterboxAuto(size[0], size[1], 48, 16)
			}
			h, w := fit.Height/8, fit.Width/8
			out := tensor([]int64{1, int64(classes), int64(h), int64(w)})
			scores := make([][][]float64, classes)
			for i := range out.Data {
				out.Data[i] = float32(random.NormFloat64())
				if i%w == 0 {
					scores[i/(w*h)] = append(scores[i/(w*h)], nil)
				}
				row := &scores[i/(w*h)][i/w%h]
				*row = append(*row, float64(out.Data[i]))
			}
			t.Run(fmt.Sprint(classes, size), func(t *testing.T) { checkScores(t, classes, fit, out, slowly(scores, fit)) })
		}
	}
}

func checkScores(t *testing.T, classes int, fit imaging.Fit, out yolo.Tensor, want [][]int) {
	m := &yolo.Model{ID: "m", Task: yolo.Semantic, TaskName: "semantic", WeightsRef: "best.pt"}
	names := map[string]string{"names": "{0: 'a', 1: 'b', 2: 'c', 3: 'd'}"}
	if classes == 1 {
		names["names"] = "{0: 'a'}"
	}
	in := []yolo.TensorInfo{{DType: yolo.FP32, Shape: []int64{-1, 3, -1, -1}}}
	p, err := newPlan(m, in, []yolo.TensorInfo{{DType: yolo.FP32, Shape: []int64{-1, int64(classes), -1, -1}}}, names)
	if err != nil {
		t.Fatal(err)
	}
	q := ask()
	q.fit = fit
	var r yolo.Result
	if err := p.head.decode([]yolo.Tensor{out}, q, &r); err != nil {
		t.Fatal(err)
	}
	got := make([]int, fit.SrcW*fit.SrcH) // class + 1
	total := 0.0
	for _, region := range r.Regions {
		total += region.Share
		at := 0
		for k, n := range region.Mask.Runs {
			for range n {
				if k%2 == 1 {
					if got[at] != 0 {
						t.Fatalf("pixel %d is in two regions", at)
					}
					got[at] = region.Class + 1
				}
				at++
			}
		}
		if at != len(got) {
			t.Fatalf("runs of %d pixels for %d", at, len(got))
		}
	}
	wrong, on := 0, 0
	for i, g := range got {
		w := want[i/fit.SrcW][i%fit.SrcW] + 1
		if classes == 1 {
			w--
		}
		if w > 0 {
			on++
		}
		if g != w {
			wrong++
		}
	}
	// Where two classes are equally good, rounding decides.
	if wrong > 1+len(got)/2000 {
		t.Errorf("%d pixels of %d are of another class", wrong, len(got))
	}
	if d := total - float64(on)/float64(len(got)); d > 0.01 || d < -0.01 {
		t.Errorf("shares add up to %v", total)
	}
	if err := p.head.decode([]yolo.Tensor{tensor([]int64{1, int64(classes), 5, 5})}, q, &r); yolo.CodeOf(err) != yolo.Unsupported {
		t.Errorf("scores of another size: %v", err)
	}
}
