package detect

import (
	"slices"

	"lazyolo/yolo"
)

// A scoresHead reads the classes' scores that internal/convert makes of a semantic
// checkpoint: (1, classes, height, width) on a grid that is coarser than the input.
//
// Ultralytics resizes the scores of a checkpoint to the input, cuts the padding off,
// resizes the rest to the picture, bilinear both times, and takes the best class of each
// pixel there. So does this head, in one step: both are linear, and each pixel is a blend
// of at most three columns and rows of the grid.
type scoresHead semanticHead

func (s scoresHead) decode(out []yolo.Tensor, q query, r *yolo.Result) error {
	shape := out[0].Shape
	if len(shape) != 4 || shape[0] != 1 || shape[1] < 1 || shape[2] < 1 || shape[3] < 1 ||
		q.fit.Height%int(shape[2]) != 0 || q.fit.Width%int(shape[3]) != 0 {
		return unsupported(s.model, "its output is %v, expected the scores of classes for an input of %dx%d pixels", shape, q.fit.Width, q.fit.Height)
	}
	classes, h, w := int(shape[1]), int(shape[2]), int(shape[3])
	window := q.fit.Window()
	columns := blends(w, q.fit.Width, window.X, window.W, q.fit.SrcW)
	rows := blends(h, q.fit.Height, window.Y, window.H, q.fit.SrcH)
	found := regions{}
	row := make([]float32, w*classes) // of the grid, blended: the classes' scores of each column
	best := make([]int, q.fit.SrcW)
	for y, b := range rows {
		for c := range classes {
			plane := out[0].Data[c*h*w:]
			for x := range w {
				v := float32(0)
				for k, share := range b.share {
					if share != 0 {
						v += share * plane[(b.first+k)*w+x]
					}
				}
				row[x*classes+c] = v
			}
		}
		for x, b := range columns {
			best[x] = b.best(row, classes)
		}
		s.gather(found, best, y*q.fit.SrcW, q.classes)
	}
	r.Regions = found.list(yolo.Mask{
		Width: q.fit.SrcW, Height: q.fit.SrcH, Window: yolo.Window{W: q.fit.SrcW, H: q.fit.SrcH}, Nearest: true,
	}, q.fit.SrcW*q.fit.SrcH)
	return nil
}

// gather adds a row of best classes that begins at a pixel; only those of the list, if
// there is one.
func (s scoresHead) gather(found regions, best []int, at int, only []int) {
	for from := 0; from < len(best); {
		end := from + 1
		for end < len(best) && best[end] == best[from] {
			end++
		}
		if class, ok := semanticHead(s).class(float32(best[from])); ok && (only == nil || slices.Contains(only, class)) {
			g := found.of(class)
			g.add(at+from, at+end)
			g.pixels += end - from
		}
		from = end
	}
}

// A blend is how much a pixel takes of the columns, or rows, of the grid from first on.
type blend struct {
	first int
	share [3]float32
}

// best is the number of the class with the highest score, the first of equal ones; with
// one class 1 where its score is positive, else 0.
func (b blend) best(row []float32, classes int) int {
	var part [3][]float32
	for k := range part {
		part[k] = row[min(b.first+k, len(row)/classes-1)*classes:][:classes]
	}
	first, second, third := part[0], part[1], part[2]
	at, most := 0, float32(0)
	for c := range first {
		v := b.share[0]*first[c] + b.share[1]*second[c] + b.share[2]*third[c]
		if c == 0 || v > most {
			at, most = c, v
		}
	}
	if classes == 1 && most > 0 {
		return 1
	}
	return at
}

// blends says how the pixels of a picture's side come from a grid of n: that is resized
// to size, of which length pixels from start on are resized to the side.
func blends(n, size, start, length, side int) []blend {
	out := make([]blend, side)
	for i := range out {
		p, q, share := between(i, length, side)
		a0, a1, a := between(start+p, n, size)
		b0, b1, b := between(start+q, n, size)
		t := &out[i]
		t.first = a0
		t.share[0] += (1 - share) * (1 - a)
		t.share[a1-a0] += (1 - share) * a
		t.share[b0-a0] += share * (1 - b)
		t.share[b1-a0] += share * b
	}
	return out
}

// between says of which two of n pixels, and with how much of the second, pixel i is a
// blend when they are resized to size; pixels are areas (torch, align_corners=False).
func between(i, n, size int) (low, high int, share float32) {
	at := max(0, (float32(i)+0.5)*(float32(n)/float32(size))-0.5)
	low = min(int(at), n-1)
	return low, min(low+1, n-1), at - float32(low)
}
