package detect

import (
	"slices"

	"lazyolo/yolo"
)

// A semanticHead reads a class for every pixel of the input, as YOLO26's exports
// give it: the choice of the best one is part of them.
type semanticHead struct {
	model   *yolo.Model
	classes int // 0: not known
}

// ignored is the class of pixels that belong to none.
const ignored = 255

func newSemantic(m *yolo.Model, f facts, shapes [][]int64, inputs []yolo.TensorInfo) (head, error) {
	s := semanticHead{m, len(f.names)}
	if len(shapes) == 0 {
		return nil, unsupported(m, "it has no output")
	}
	if m.IsCheckpoint() && len(shapes[0]) == 4 {
		return scoresHead(s), nil
	}
	if err := s.check(shapes[0]); err != nil {
		return nil, err
	}
	if h, w, ok := sides(inputs); ok && (shapes[0][1] > 0 && shapes[0][1] != h || shapes[0][2] > 0 && shapes[0][2] != w) {
		return nil, unsupported(m, "task %s of labels.yaml needs an output [1, height, width] of class numbers, as large as its input %v, the file has %v",
			m.TaskName, inputs[0].Shape, shapes[0])
	}
	return s, noMasks(m, shapes)
}

func (s semanticHead) check(shape []int64) error {
	if len(shape) == 3 && shape[0] <= 1 {
		return nil
	}
	return unsupported(s.model, "task %s of labels.yaml needs an output [1, height, width] of class numbers, the file has %v", s.model.TaskName, shape)
}

func (s semanticHead) decode(out []yolo.Tensor, q query, r *yolo.Result) error {
	shape := out[0].Shape
	if err := s.check(shape); err != nil {
		return err
	}
	if int(shape[1]) != q.fit.Height || int(shape[2]) != q.fit.Width {
		return unsupported(s.model, "its output is %v for an input of %dx%d pixels, expected the same size", shape, q.fit.Width, q.fit.Height)
	}
	window := q.fit.Window()
	columns := copies(window.W, q.fit.SrcW)
	rows := copies(window.H, q.fit.SrcH)
	found := regions{}
	width := q.fit.Width
	for from := 0; from < len(out[0].Data); {
		v := out[0].Data[from]
		end := from + 1
		for end < len(out[0].Data) && out[0].Data[end] == v {
			end++
		}
		if class, ok := s.class(v); ok && (q.classes == nil || slices.Contains(q.classes, class)) {
			g := found.of(class)
			g.add(from, end)
			for i := from; i < end; i++ {
				x, y := i%width-window.X, i/width-window.Y
				if x >= 0 && x < window.W && y >= 0 && y < window.H {
					g.pixels += columns[x] * rows[y]
				}
			}
		}
		from = end
	}
	r.Regions = found.list(yolo.Mask{Width: width, Height: q.fit.Height, Window: window, Nearest: true}, q.fit.SrcW*q.fit.SrcH)
	return nil
}

// class reads a pixel. A model of one class has it as 1, and 0 is all the rest.
func (s semanticHead) class(v float32) (class int, ok bool) {
	class = int(v)
	if s.classes == 1 {
		return 0, class == 1
	}
	return class, class >= 0 && class != ignored && (s.classes == 0 || class < s.classes)
}

// regions are the classes while they are gathered, by number.
type regions map[int]*region

func (rs regions) of(class int) *region {
	g := rs[class]
	if g == nil {
		g = &region{}
		rs[class] = g
	}
	return g
}

// list ends the gathering, on grids like the given one, of a picture of so many pixels.
func (rs regions) list(grid yolo.Mask, pixels int) []yolo.Region {
	var out []yolo.Region
	for class, g := range rs {
		if g.pixels == 0 {
			continue // in the padding only
		}
		mask := grid
		g.add(mask.Width*mask.Height, mask.Width*mask.Height)
		mask.Runs = g.runs
		out = append(out, yolo.Region{Class: class, Share: float64(g.pixels) / float64(pixels), Mask: &mask})
	}
	slices.SortFunc(out, func(a, b yolo.Region) int { return a.Class - b.Class })
	return out
}

// A region is one class while it is gathered.
type region struct {
	runs   []int // see yolo.Mask
	end    int   // of the last of them
	pixels int   // of the picture
}

// add takes the pixels [from, to) of the grid.
func (g *region) add(from, to int) {
	g.runs = append(g.runs, from-g.end)
	if to > from {
		g.runs = append(g.runs, to-from)
	}
	g.end = to
}

// copies counts, for each of n positions, the outputs that take it when n are
// resized to outputs by the nearest: torch's interpolation of that mode.
func copies(n, outputs int) []int {
	count := make([]int, n)
	step := float32(n) / float32(outputs)
	for i := range outputs {
		count[min(int(float32(i)*step), n-1)]++
	}
	return count
}
