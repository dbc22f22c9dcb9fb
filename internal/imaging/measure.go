package imaging

import (
	"errors"

	"lazyolo/yolo"
)

// A Measure is what decoding a picture takes.
type Measure struct {
	Width, Height int   // as displayed, in pixels
	Bytes         int64 // highest memory while decoding, the pixels included
}

// perPixelOther is the peak memory in bytes a pixel of what is no JPEG, measured:
// PNG and TIFF of 16 bits take the most.
const perPixelOther = 11

// perPixel is the peak memory in bytes a pixel of a JPEG's decoder, at most: the
// pixels, for Go's the planes too, and of a picture that comes in several passes
// its coefficients, of 2 bytes in libjpeg-turbo and 4 in Go.
func (s segments) perPixel(byCoder bool) int64 {
	n := int64(max(s.components, 1))
	switch {
	case byCoder && (s.progressive || s.scans > 1):
		return 3 + 2*n
	case byCoder:
		return 3
	case s.progressive:
		return 3 + n + 4*n
	}
	return 3 + n
}

// errMeasured ends a decode that was only to find the size.
var errMeasured = errors.New("measured")

// Measure reads a picture's header and says what Decode would take, without
// allocating pixels. Its errors are Decode's; a damaged picture whose header is
// sound is found out by Decode only.
func (c *Codec) Measure(data []byte) (Measure, error) {
	var m Measure
	_, err := c.decode(data, job{Codec: c, measured: &m})
	if !errors.Is(err, errMeasured) {
		if err == nil {
			err = yolo.Errorf(yolo.Invalid, "picture without a size")
		}
		return Measure{}, err
	}
	pixels := int64(m.Width) * int64(m.Height)
	var turn orientation
	switch {
	case matches(data, jpegMagic):
		seg := readSegments(data)
		turn, m.Bytes = seg.turn, seg.perPixel(c.coderReads(data))*pixels
	case matches(data, pngMagic):
		turn, m.Bytes = pngOrientation(data), perPixelOther*pixels
	case matches(data, webpMagic):
		turn, m.Bytes = webpOrientation(data), perPixelOther*pixels
	default: // 1 for what is no TIFF
		turn, m.Bytes = tiffOrientation(data), perPixelOther*pixels
	}
	if turn > 1 {
		m.Bytes += 3 * pixels // the turned copy
	}
	if turn.swaps() {
		m.Width, m.Height = m.Height, m.Width
	}
	return m, nil
}

// coderReads reports whether the Codec's JPEG coder is there and will decode this.
func (c *Codec) coderReads(data []byte) bool {
	if c.JPEG == nil {
		return false
	}
	_, _, err := c.JPEG.Header(data)
	return !errors.Is(err, errors.ErrUnsupported)
}

// check refuses a size that is over the limit, and ends a decode that is only to
// measure.
func (c job) check(w, h int) error {
	if err := c.Codec.check(w, h); err != nil || c.measured == nil {
		return err
	}
	c.measured.Width, c.measured.Height = w, h
	return errMeasured
}
