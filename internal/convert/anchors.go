package convert

import (
	"math"
	"strings"

	"lazyolo/internal/onnx"
	"lazyolo/internal/torch"
)

// A grid is the pixels of one level, in rows, as the graph computes them from
// the level's shape. With a fixed input size all of it is constant, which a
// runtime works out once.
type grid struct {
	height, width string // without dimensions
	pixels        string // height*width, a vector of one
	x, y          string // of each pixel, float32 vectors
}

func (b *builder) grid(level string) grid {
	g := grid{height: b.dim(level, 2), width: b.dim(level, 3)}
	n := b.mul(g.height, g.width)
	g.pixels = b.unsqueeze(n, 0)
	all := b.op("Range", b.int(0), n, b.int(1))
	g.x = b.cast(b.op("Mod", all, g.width), onnx.Float)
	g.y = b.cast(b.op("Div", all, g.width), onnx.Float)
	return g
}

// anchors returns the centres of all levels' pixels, in pixels of their level,
// as (1, 2, N), and the size of those pixels as (1, 1, N).
func (b *builder) anchors(levels []string, strides []float64) (centres, sizes string) {
	var points, steps []string
	for i, level := range levels {
		g := b.grid(level)
		xy := b.concat(1, b.unsqueeze(g.x, 0, 1), b.unsqueeze(g.y, 0, 1))
		points = append(points, b.add(xy, b.float(0.5)))
		steps = append(steps, b.op("Expand", b.floats([]float64{strides[i]}, 1, 1, 1), b.concat(0, b.ints(1, 1), g.pixels)))
	}
	return b.concat(2, points...), b.concat(2, steps...)
}

// strides reads the pixels of the input that a pixel of each level stands for.
func (b *builder) strides(m *torch.Module, levels int) []float64 {
	v, _ := m.Value("stride")
	t, ok := v.(*torch.Tensor)
	if !ok || t.Elements() != int64(levels) {
		b.fail(m, "it stores no stride for each of its %d levels", levels)
		return make([]float64, levels)
	}
	s := b.read(m, "stride", t)
	for _, f := range s {
		if !(f >= 1 && f <= 4096) || f != math.Trunc(f) {
			b.fail(m, "its strides are %v; were they never computed?", s)
			return make([]float64, levels)
		}
	}
	return s
}

// rank4 returns the first four-dimensional parameter below m, or nil.
func rank4(m *torch.Module) *torch.Tensor {
	for c := range m.All() {
		if t := c.Tensor("weight"); t != nil && t.Rank() == 4 && strings.HasPrefix(c.Kind(), "Conv") {
			return t
		}
	}
	return nil
}
