package imaging

import "image"

// The colours of a lossy WebP with libwebp's arithmetic. golang.org/x/image hands
// out the same planes as if they were a JPEG's; they are not: VP8 stores limited
// range, and libwebp interpolates chroma.

// fromVP8 converts 4:2:0 planes in limited range (BT.601, luma 16..235) as libwebp
// does, with its "fancy" upsampling (src/dsp/upsampling.c). It uses goroutines as
// fromYCC does.
func fromVP8(s *image.YCbCr, c job) *Image {
	img := c.newImage(s.Rect.Dx(), s.Rect.Dy())
	cw, ch := (img.Width+1)/2, (img.Height+1)/2
	inBands(img.Height, bands(img.Width*img.Height, 0), func(from, to int) {
		u, v := make([]uint8, img.Width), make([]uint8, img.Width)
		for y := from; y < to; y++ {
			near, far := y/2, neighbour(y, ch)
			fancyVP8(u, s.Cb[near*s.CStride:][:cw], s.Cb[far*s.CStride:][:cw])
			fancyVP8(v, s.Cr[near*s.CStride:][:cw], s.Cr[far*s.CStride:][:cw])
			convertVP8(img.row(y), s.Y[y*s.YStride:][:img.Width], u, v)
		}
	})
	return img
}

// fancyVP8 upsamples one chroma row: 9/16 of the nearest sample, 3/16 of its
// neighbours in the row and in the other row, 1/16 of the diagonal one, in
// libwebp's two roundings. dst has two values for each of near, or one less.
func fancyVP8(dst, near, far []uint8) {
	last := len(near) - 1
	edge := func(i int) uint8 { return uint8((3*uint32(near[i]) + uint32(far[i]) + 2) >> 2) }
	dst[0] = edge(0)
	if len(dst) > 2*last+1 {
		dst[2*last+1] = edge(last)
	}
	a, b := uint32(near[0]), uint32(far[0])
	far = far[1:][:last]
	for i, next := range near[1:] {
		c, d := uint32(next), uint32(far[i])
		sum := a + b + c + d + 8
		pair := dst[2*i+1:][:2]
		pair[0] = uint8(((sum+2*(b+c))>>3 + a) >> 1)
		pair[1] = uint8(((sum+2*(a+d))>>3 + c) >> 1)
		a, b = c, d
	}
}

// convertVP8 writes one row, len(luma) pixels of three bytes, with the constants
// of libwebp's src/dsp/yuv.h.
func convertVP8(dst, luma, us, vs []uint8) {
	us, vs = us[:len(luma)], vs[:len(luma)]
	for x, l := range luma {
		y, u, v := int32(l)*19077>>8, int32(us[x]), int32(vs[x])
		p := dst[3*x:][:3]
		p[0] = clipVP8(y + v*26149>>8 - 14234)
		p[1] = clipVP8(y - u*6419>>8 - v*13320>>8 + 8708)
		p[2] = clipVP8(y + u*33050>>8 - 17685)
	}
}

// clipVP8 drops the six bits of fraction and clamps to a byte.
func clipVP8(x int32) uint8 {
	return uint8(min(max(x>>6, 0), 255))
}
