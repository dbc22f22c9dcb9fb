package imaging

import "image"

// The colours of a JPEG with libjpeg-turbo's arithmetic: chroma planes are
// "fancy" upsampled with a triangle filter (jdsample.c) and converted with 16-bit
// fixed-point tables (jdcolor.c, build_ycc_rgb_table).

// A yccTable sums a pixel's three channels in one word: the fields of y, cb and
// cr are added, then red, green and blue are cut out and clamped. The fields are
// biased so that none goes below zero. Green keeps 16 bits of fraction, as
// libjpeg adds its two chroma terms before it rounds.
type yccTable struct {
	y, cb, cr [256]uint64
	clamp     [1024]uint8
}

const (
	redShift   = 0
	blueShift  = 10
	greenShift = 20 + 16
	channel    = 1<<10 - 1
	channelLow = 256 // what a clamp index of zero stands for, negated
)

var ycc = func() *yccTable {
	const half = 1 << 15
	fix := func(f float64) int { return int(f*65536 + 0.5) }
	t := new(yccTable)
	for i := range 256 {
		x := i - 128
		t.y[i] = uint64(i)<<redShift | uint64(i)<<blueShift | uint64(i)<<greenShift
		// Half of the bias in each of the two words, so that neither is negative.
		red := (fix(1.40200)*x+half)>>16 + channelLow
		blue := (fix(1.77200)*x+half)>>16 + channelLow
		greenCr := -fix(0.71414)*x + channelLow<<15
		greenCb := -fix(0.34414)*x + half + channelLow<<15
		t.cr[i] = uint64(red)<<redShift + uint64(greenCr)<<(greenShift-16)
		t.cb[i] = uint64(blue)<<blueShift + uint64(greenCb)<<(greenShift-16)
	}
	for i := range t.clamp {
		t.clamp[i] = uint8(min(max(i-channelLow, 0), 255))
	}
	return t
}()

// convert writes one row: len(luma) pixels of three bytes.
func (t *yccTable) convert(dst, luma, cb, cr []uint8) {
	cb, cr = cb[:len(luma)], cr[:len(luma)]
	for x, y := range luma {
		v := t.y[y] + t.cb[cb[x]] + t.cr[cr[x]]
		p := dst[3*x:][:3]
		p[0] = t.clamp[v>>redShift&channel]
		p[1] = t.clamp[v>>greenShift&channel]
		p[2] = t.clamp[v>>blueShift&channel]
	}
}

// fromYCC converts the planes of a decoded JPEG. Rows are independent, so they
// are split over up to GOMAXPROCS goroutines, which it waits for.
func fromYCC(s *image.YCbCr, c job) *Image {
	img := c.newImage(s.Rect.Dx(), s.Rect.Dy())
	u := newUpsampler(s)
	inBands(img.Height, bands(img.Width*img.Height, 0), func(from, to int) {
		cb, cr := make([]uint8, img.Width), make([]uint8, img.Width)
		sums := make([]uint16, u.width)
		for y := from; y < to; y++ {
			u.row(cb, s.Cb, y, sums)
			u.row(cr, s.Cr, y, sums)
			ycc.convert(img.row(y), s.Y[y*s.YStride:][:img.Width], cb, cr)
		}
	})
	return img
}

// An upsampler brings rows of a chroma plane to the size of the picture.
type upsampler struct {
	width, height int // of the plane, without the decoder's padding
	stride        int
	h, v          int  // subsampling factors
	fancy         bool // triangle filter, else repetition
}

func newUpsampler(s *image.YCbCr) upsampler {
	u := upsampler{h: 1, v: 1, stride: s.CStride}
	switch s.SubsampleRatio {
	case image.YCbCrSubsampleRatio422:
		u.h = 2
	case image.YCbCrSubsampleRatio420:
		u.h, u.v = 2, 2
	case image.YCbCrSubsampleRatio440:
		u.v = 2
	case image.YCbCrSubsampleRatio411:
		u.h = 4
	case image.YCbCrSubsampleRatio410:
		u.h, u.v = 4, 2
	}
	u.width = (s.Rect.Dx() + u.h - 1) / u.h
	u.height = (s.Rect.Dy() + u.v - 1) / u.v
	// jinit_upsampler: no filter for factors above 2, nor for very narrow planes.
	u.fancy = u.h == 1 || u.h == 2 && u.width > 2
	return u
}

// row writes row y of the picture. sums is scratch of u.width values.
func (u upsampler) row(dst, plane []uint8, y int, sums []uint16) {
	near := plane[y/u.v*u.stride:][:u.width]
	if !u.fancy {
		for x := range dst {
			dst[x] = near[x/u.h]
		}
		return
	}
	if u.v == 1 {
		if u.h == 1 {
			copy(dst, near)
		} else {
			fancyH2V1(dst, near)
		}
		return
	}
	far := plane[neighbour(y, u.height)*u.stride:][:u.width]
	if u.h == 1 {
		fancyH1V2(dst, near, far, uint32(1+y%2))
		return
	}
	sums = sums[:len(near)]
	for x, v := range near {
		sums[x] = uint16(v)*3 + uint16(far[x])
	}
	fancyH2V2(dst, sums)
}

// neighbour returns the second nearest of rows chroma rows to picture row y when
// each spans two: the one above for even y, below for odd; at the edges the
// nearest row once more.
func neighbour(y, rows int) int {
	return min(max(y/2+y%2*2-1, 0), rows-1)
}

// fancyH2V1 is h2v1_fancy_upsample: 3/4 of the nearer and 1/4 of the farther
// sample, halves rounded down and up in turn so that they do not drift. dst has
// two values for each of in, or one less.
func fancyH2V1(dst, in []uint8) {
	last := len(in) - 1
	dst[0] = in[0]
	if len(dst) > 2*last+1 {
		dst[2*last+1] = in[last]
	}
	for i, next := range in[1:] {
		a, b := uint32(in[i]), uint32(next)
		pair := dst[2*i+1:][:2]
		pair[0] = uint8((3*a + b + 2) >> 2)
		pair[1] = uint8((3*b + a + 1) >> 2)
	}
}

// fancyH1V2 is h1v2_fancy_upsample; bias is 1 for upper and 2 for lower rows.
func fancyH1V2(dst, near, far []uint8, bias uint32) {
	for x := range dst {
		dst[x] = uint8((3*uint32(near[x]) + uint32(far[x]) + bias) >> 2)
	}
}

// fancyH2V2 is the horizontal half of h2v2_fancy_upsample, from column sums of
// 3/4 and 1/4: together 9/16, 3/16, 3/16, 1/16. dst has two values for each of
// sums, or one less.
func fancyH2V2(dst []uint8, sums []uint16) {
	last := len(sums) - 1
	dst[0] = uint8((4*uint32(sums[0]) + 8) >> 4)
	if len(dst) > 2*last+1 {
		dst[2*last+1] = uint8((4*uint32(sums[last]) + 7) >> 4)
	}
	for i, next := range sums[1:] {
		a, b := uint32(sums[i]), uint32(next)
		pair := dst[2*i+1:][:2]
		pair[0] = uint8((3*a + b + 7) >> 4)
		pair[1] = uint8((3*b + a + 8) >> 4)
	}
}
