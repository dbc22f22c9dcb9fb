package imaging

import (
	"fmt"
	"math"
)

// A Crop says how a picture goes into a classifier's input: resized so that its
// shorter side fits, the middle cut out. It equals torchvision's
// Resize(size)+CenterCrop(size), or, for an input that is not square, a resize of
// each axis, on a PIL image; Ultralytics' classify_transforms is made of them.
type Crop struct {
	Width, Height int // of the input, in pixels
	SrcW, SrcH    int // of the picture
	NewW, NewH    int // of the picture resized
	Left, Top     int // where in the resized picture the input begins
}

// NewCrop fits a picture of srcW by srcH into an input; all at least 1.
func NewCrop(srcW, srcH, dstW, dstH int) Crop {
	c := Crop{Width: dstW, Height: dstH, SrcW: srcW, SrcH: srcH, NewW: dstW, NewH: dstH}
	if dstW != dstH {
		return c
	}
	if srcW <= srcH {
		c.NewH = int(float64(dstW*srcH) / float64(srcW))
	} else {
		c.NewW = int(float64(dstH*srcW) / float64(srcH))
	}
	c.Left, c.Top = half(c.NewW-dstW), half(c.NewH-dstH)
	return c
}

// half is Python's int(round(n / 2)).
func half(n int) int { return int(math.RoundToEven(float64(n) / 2)) }

// Fill writes the input for img into dst, laid out and shared between up to cores
// goroutines as [Fit.Fill] does. The resize equals Pillow's BILINEAR bit for bit: a
// triangle as wide as the reduction, in fixed point, rounded to 8 bits between its two
// passes. Only what the crop keeps is computed.
func (c Crop) Fill(dst []float32, img *Image, cores int) {
	if len(dst) != 3*c.Width*c.Height {
		panic(fmt.Sprintf("imaging: Fill into %d values, want %d", len(dst), 3*c.Width*c.Height))
	}
	if img.Width != c.SrcW || img.Height != c.SrcH {
		panic(fmt.Sprintf("imaging: Fill with a picture of %dx%d, want %dx%d", img.Width, img.Height, c.SrcW, c.SrcH))
	}
	xs := newTriangle(c.SrcW, c.NewW, c.Left, c.Width)
	ys := newTriangle(c.SrcH, c.NewH, c.Top, c.Height)
	from, to := ys.span()
	narrow := make([]byte, 3*c.Width*(to-from)) // the rows needed, resized horizontally
	inBands(to-from, bands((to-from)*c.SrcW, cores), func(a, b int) {
		for y := a; y < b; y++ {
			xs.row(narrow[3*c.Width*y:][:3*c.Width], img.row(from+y))
		}
	})
	inBands(c.Height, bands((to-from)*c.Width, cores), func(a, b int) {
		sum := make([]int32, 3*c.Width)
		for y := a; y < b; y++ {
			ys.column(sum, narrow, y, from)
			for i := range 3 {
				plane := dst[(i*c.Height+y)*c.Width:][:c.Width]
				for x := range plane {
					plane[x] = unit[clip(sum[3*x+i])]
				}
			}
		}
	})
}

// triangleBits is Pillow's PRECISION_BITS: weights are multiples of 2^-22.
const triangleBits = 32 - 8 - 2

// A triangle is the weights of one axis: output i is made of the sources from
// at[i] on, as many as w[i] has.
type triangle struct {
	at []int
	w  [][]int32
}

// newTriangle computes the weights of outputs [first, first+n) of a resize from
// src to dst positions, with Pillow's double arithmetic. Where nothing is to be
// resized each output is its source.
func newTriangle(src, dst, first, n int) triangle {
	t := triangle{make([]int, n), make([][]int32, n)}
	step := float64(src) / float64(dst)
	support := max(step, 1)
	for i := range n {
		if src == dst {
			t.at[i], t.w[i] = first+i, []int32{1 << triangleBits}
			continue
		}
		centre := (float64(first+i) + 0.5) * step
		from := max(int(centre-support+0.5), 0)
		to := min(int(centre+support+0.5), src)
		w := make([]float64, to-from)
		total := 0.0
		for j := range w {
			d := math.Abs((float64(from+j) - centre + 0.5) * (1 / support))
			w[j] = max(0, 1-d)
			total += w[j]
		}
		t.at[i], t.w[i] = from, make([]int32, len(w))
		for j := range w {
			t.w[i][j] = int32(0.5 + w[j]/total*(1<<triangleBits))
		}
	}
	return t
}

// span returns the sources [from, to) that any output needs.
func (t triangle) span() (from, to int) {
	last := len(t.at) - 1
	return t.at[0], t.at[last] + len(t.w[last])
}

// row resizes one RGB row.
func (t triangle) row(dst, src []byte) {
	for i, at := range t.at {
		r, g, b := int32(1<<(triangleBits-1)), int32(1<<(triangleBits-1)), int32(1<<(triangleBits-1))
		s := src[3*at:]
		for j, w := range t.w[i] {
			p := s[3*j : 3*j+3]
			r += int32(p[0]) * w
			g += int32(p[1]) * w
			b += int32(p[2]) * w
		}
		dst[3*i], dst[3*i+1], dst[3*i+2] = clip(r), clip(g), clip(b)
	}
}

// column makes sum the unscaled output row y of rows that begin with row first.
func (t triangle) column(sum []int32, rows []byte, y, first int) {
	for i := range sum {
		sum[i] = 1 << (triangleBits - 1)
	}
	n := len(sum)
	for j, w := range t.w[y] {
		row := rows[(t.at[y]-first+j)*n:][:n]
		for i, v := range row {
			sum[i] += int32(v) * w
		}
	}
}

// clip takes the weights' scale off a sum that was begun with one half.
func clip(v int32) uint8 { return uint8(min(max(v>>triangleBits, 0), 255)) }
