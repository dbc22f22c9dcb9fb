package detect

import (
	"bytes"
	"math"

	"lazyolo/internal/imaging"
	"lazyolo/yolo"
)

// protos are the prototype masks of one run, a stack of planes mostly a quarter of
// the input's size, and what decoding needs again for each object.
type protos struct {
	data          []float32
	number        int // planes
	width, height int // of a plane
	inW, inH      int // of the input
	stepX, stepY  float32

	mixed        []float32 // a part of a plane
	columns      []tap     // where the columns of a mask lie in mixed
	above, below wide      // two rows of mixed
	bits         bits
}

// A tap is a position between two neighbours: share of the second, the rest of the
// first.
type tap struct {
	first, second int32
	share         float32
}

// A wide is a row of mixed, enlarged to the columns of a mask.
type wide struct {
	y int // in mixed; -1: none
	v []float32
}

func newProtos(t yolo.Tensor, fit imaging.Fit) *protos {
	p := &protos{
		data: t.Data, number: int(t.Shape[1]), height: int(t.Shape[2]), width: int(t.Shape[3]),
		inW: fit.Width, inH: fit.Height,
	}
	p.stepX, p.stepY = float32(p.width)/float32(p.inW), float32(p.height)/float32(p.inH)
	return p
}

// bits are the pixels of a mask inside its box: a rectangle of the input at x, y,
// one byte a pixel.
type bits struct {
	x, y, w, h int
	pix        []byte
}

func (b *bits) empty() bool { return bytes.IndexByte(b.pix, 1) < 0 }

// mask mixes the prototypes, enlarges the mixture bilinearly to the input's size
// and cuts it at zero: Ultralytics' process_mask(upsample=True). Only what lies in
// the box is computed. The result is valid until the next call.
func (p *protos) mask(weights []float32, box rect) *bits {
	b := &p.bits
	b.x, b.w = inside(box[0], box[2], p.inW)
	b.y, b.h = inside(box[1], box[3], p.inH)
	if b.w == 0 || b.h == 0 {
		b.pix = b.pix[:0]
		return b
	}
	b.pix = grown(b.pix, b.w*b.h)
	x0, x1 := sample(b.x, p.stepX, p.width).first, sample(b.x+b.w-1, p.stepX, p.width).second
	y0, y1 := sample(b.y, p.stepY, p.height).first, sample(b.y+b.h-1, p.stepY, p.height).second
	w := int(x1 + 1 - x0)
	p.mix(weights, int(x0), int(y0), w, int(y1+1-y0))
	p.columns = grown(p.columns, b.w)
	for x := range p.columns {
		t := sample(b.x+x, p.stepX, p.width)
		p.columns[x] = tap{t.first - x0, t.second - x0, t.share}
	}
	p.above.y, p.below.y = -1, -1
	for y := range b.h {
		t := sample(b.y+y, p.stepY, p.height)
		first, second := int(t.first-y0), int(t.second-y0)
		if p.below.y == first {
			p.above, p.below = p.below, p.above
		}
		p.above.enlarge(first, p.mixed[first*w:][:w], p.columns)
		p.below.enlarge(second, p.mixed[second*w:][:w], p.columns)
		cut(b.pix[y*b.w:][:b.w], p.above.v, p.below.v, t.share)
	}
	return b
}

// enlarge makes r row y, given as line, at each column.
func (r *wide) enlarge(y int, line []float32, columns []tap) {
	if r.y == y {
		return
	}
	r.y, r.v = y, grown(r.v, len(columns))
	for x, t := range columns {
		r.v[x] = line[t.first]*(1-t.share) + line[t.second]*t.share
	}
}

// cut sets the pixels of row where the mix of two rows is over zero.
func cut(row []byte, a, b []float32, share float32) {
	a, b = a[:len(row)], b[:len(row)]
	for x := range row {
		row[x] = 0
		if a[x]*(1-share)+b[x]*share > 0 {
			row[x] = 1
		}
	}
}

// inside returns the whole pixels i with from <= i < to in [0, size).
func inside(from, to float32, size int) (first, n int) {
	a := min(max(math.Ceil(float64(from)), 0), float64(size)) // NaN stays NaN
	b := min(max(math.Ceil(float64(to)), 0), float64(size))
	if !(b > a) {
		return 0, 0
	}
	return int(a), int(b) - int(a)
}

// sample returns where position i lies in a source of that size, as torch's
// bilinear interpolation without aligned corners does; rounded once, for torch's
// arithmetic is fused.
func sample(i int, step float32, size int) tap {
	v := max(0, float32((float64(i)+0.5)*float64(step)-0.5))
	first := min(int32(v), int32(size-1))
	return tap{first, min(first+1, int32(size-1)), v - float32(first)}
}

// mix makes p.mixed the weighted sum of the planes in a rectangle.
func (p *protos) mix(weights []float32, x, y, w, h int) {
	p.mixed = grown(p.mixed, w*h)
	clear(p.mixed)
	plane := p.width * p.height
	for r := range h {
		sum := p.mixed[r*w:][:w]
		at := (y+r)*p.width + x
		k := 0
		for ; k+4 <= p.number; k += 4 { // four planes a pass: the sums are stored less often
			a, b := p.data[k*plane+at:][:len(sum)], p.data[(k+1)*plane+at:][:len(sum)]
			c, d := p.data[(k+2)*plane+at:][:len(sum)], p.data[(k+3)*plane+at:][:len(sum)]
			wa, wb, wc, wd := weights[k], weights[k+1], weights[k+2], weights[k+3]
			for i := range sum {
				sum[i] += a[i]*wa + b[i]*wb + c[i]*wc + d[i]*wd
			}
		}
		for ; k < p.number; k++ {
			a, wa := p.data[k*plane+at:][:len(sum)], weights[k]
			for i := range sum {
				sum[i] += a[i] * wa
			}
		}
	}
}

// grown returns s with n elements of arbitrary value.
func grown[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// runs encodes the mask on the whole input, see yolo.Mask.
func (b *bits) runs(width, height int) []int {
	out := []int{b.y*width + b.x} // off so far
	on := byte(0)
	add := func(value byte, n int) {
		if value != on {
			out, on = append(out, 0), value
		}
		out[len(out)-1] += n
	}
	for y := range b.h {
		row := b.pix[y*b.w:][:b.w]
		for len(row) > 0 {
			n := bytes.IndexByte(row, 1-row[0])
			if n < 0 {
				n = len(row)
			}
			add(row[0], n)
			row = row[n:]
		}
		rest := width - b.w // to where the next row of the box begins
		if y == b.h-1 {
			rest = width*height - (b.y+y)*width - b.x - b.w
		}
		if rest > 0 {
			add(0, rest)
		}
	}
	return out
}
