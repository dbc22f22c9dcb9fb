package imaging

/*
#cgo CFLAGS: -std=gnu11 -O3 -Wall
#include "resize.h"
*/
import "C"

import (
	"math"
	"slices"
	"sync"
	"unsafe"
)

// coefBits is OpenCV's INTER_RESIZE_COEF_BITS: weights are multiples of 1/2048.
const (
	coefBits = 11
	coefOne  = 1 << coefBits
)

// weights says, for each output position along one axis, which two source
// positions it mixes (at and at+1) and by how much (w, in 1/2048). Positions may
// lie one outside the source on either side; that is for the reader to handle.
type weights struct {
	src, dst int // what they were made for
	at       []int32
	w        [][2]uint16
}

// set computes positions and weights with OpenCV's float arithmetic.
func (t *weights) set(src, dst int) {
	t.src, t.dst = src, dst
	t.at = slices.Grow(t.at[:0], dst)[:dst]
	t.w = slices.Grow(t.w[:0], dst)[:dst]
	scale := 1 / (float64(dst) / float64(src)) // not src/dst: OpenCV inverts its inverse
	for i := range dst {
		// The conversion keeps compilers from fusing the product into the difference.
		f := float32(float64((float64(i)+0.5)*scale) - 0.5)
		at := float32(math.Floor(float64(f)))
		f -= at
		t.at[i] = int32(at)
		t.w[i] = [2]uint16{
			uint16(math.RoundToEven(float64((1 - f) * coefOne))),
			uint16(math.RoundToEven(float64(f * coefOne))),
		}
	}
}

// setColumns is set for the horizontal axis, where OpenCV gives the picture's edge
// its whole weight, and with positions as byte offsets. The outputs from edge on
// have no right neighbour.
func (t *weights) setColumns(src, dst int) (edge int) {
	t.set(src, dst)
	edge = dst
	for i, at := range t.at {
		if at < 0 {
			at, t.w[i] = 0, [2]uint16{coefOne, 0}
		}
		if int(at) >= src-1 {
			at, edge = int32(src-1), min(edge, i)
		}
		t.at[i] = 3 * at
	}
	return edge
}

// A resizer holds what the bands of one Fill share; it is read-only once set.
type resizer struct {
	fit  Fit
	img  *Image
	xs   weights // offsets in bytes
	ys   weights // offsets in rows, may lie one outside
	edge int     // see setColumns
}

// resizers lends them with the weights of an earlier Fill, which often was of the
// same size.
var resizers = sync.Pool{New: func() any { return new(resizer) }}

func (r *resizer) set(f Fit, img *Image) {
	r.fit, r.img = f, img
	if r.xs.src != img.Width || r.xs.dst != f.NewW {
		r.edge = r.xs.setColumns(img.Width, f.NewW)
	}
	if r.ys.src != img.Height || r.ys.dst != f.NewH {
		r.ys.set(img.Height, f.NewH)
	}
}

// A line is one source row resized horizontally: three planes of NewW values in
// 1/128, which is what OpenCV's vertical pass keeps of its 1/2048.
type line struct {
	y   int // the source row, -1: none yet
	pix []uint16
}

// lines lends the two rows a band works with; a server that idles gives them back.
var lines = sync.Pool{New: func() any { return new([2]line) }}

// band fills rows [from, to). Each source row is resized horizontally once and
// kept while the next output row still needs it.
func (r *resizer) band(dst []float32, from, to int) {
	two := lines.Get().(*[2]line)
	defer lines.Put(two)
	for i := range two {
		two[i].y = -1
		if n := 3 * r.fit.NewW; cap(two[i].pix) < n {
			two[i].pix = make([]uint16, n)
		} else {
			two[i].pix = two[i].pix[:n]
		}
	}
	for y := from; y < to; y++ {
		planes, inside := r.fit.rows(dst, y)
		if !inside {
			continue
		}
		k := y - r.fit.Top
		// Rows outside the picture repeat its edge, but keep their weights.
		y0 := max(int(r.ys.at[k]), 0)
		y1 := min(int(r.ys.at[k])+1, r.img.Height-1)
		if two[1].y == y0 {
			two[0], two[1] = two[1], two[0]
		}
		r.load(&two[0], min(y0, r.img.Height-1))
		r.load(&two[1], y1)
		down(planes, two[0].pix, two[1].pix, r.ys.w[k], r.fit)
	}
}

// load makes l the source row y.
func (r *resizer) load(l *line, y int) {
	if l.y == y {
		return
	}
	l.y = y
	src, n := r.img.row(y), r.fit.NewW
	// C checks nothing, and offsets grow: this looks at the last one that has a right
	// neighbour and at the last one.
	if edge := r.edge; edge > 0 {
		_ = src[r.xs.at[edge-1]+5]
	}
	_ = src[r.xs.at[n-1]+2]
	C.lz_across((*C.uint16_t)(&l.pix[:3*n][0]), (*C.uint8_t)(&src[0]), (*C.int32_t)(&r.xs.at[0]),
		(*[2]C.uint16_t)(unsafe.Pointer(&r.xs.w[:n][0])), C.int(r.edge), C.int(n))
}

// down writes one row of the input from two lines.
func down(planes [3][]float32, upper, lower []uint16, w [2]uint16, f Fit) {
	n, stride := f.NewW, f.Width*f.Height
	C.lz_down((*C.float)(&planes[0][:n][0]), C.int(stride), (*C.uint16_t)(&upper[:3*n][0]), (*C.uint16_t)(&lower[:3*n][0]),
		C.uint16_t(w[0]), C.uint16_t(w[1]), C.int(n))
}
