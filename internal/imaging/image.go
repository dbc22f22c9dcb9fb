// Package imaging turns encoded pictures into network inputs and back: bytes to
// RGB pixels ([Codec.Decode]), pixels to a letterboxed tensor ([Letterbox],
// [Fit.Fill]), boxes back to the picture ([Fit.Box]), and pixels to bytes
// ([Codec.Encode]).
//
// The results of a model depend on every rounding on the way in, so Decode gives
// what OpenCV 5's imdecode(IMREAD_COLOR) gives and Fill what cv2.resize and
// Ultralytics' LetterBox give: the same chroma upsampling, colour tables and
// fixed-point resize. Where they differ is said at the function concerned.
package imaging

import (
	"runtime"

	"lazyolo/internal/buffers"
)

// An Image is 8-bit RGB, interleaved, rows top-down without padding, as it is to
// be displayed: EXIF orientation is already applied. len(Pix) == 3*Width*Height.
type Image struct {
	Width, Height int // in pixels, both at least 1
	Pix           []byte

	fullW, fullH int             // of the picture as sent, when it was decoded at a fraction; else 0
	home         *buffers.Store  // where Free takes the pixels; nil: nowhere
	lost         runtime.Cleanup // takes them there when nobody does
}

// Size returns the size of the picture as it was sent, which is Width x Height
// except for one that a Codec decoded at a fraction.
func (m *Image) Size() (w, h int) {
	if m.fullW > 0 {
		return m.fullW, m.fullH
	}
	return m.Width, m.Height
}

// Free gives the pixels, which must not be used afterwards, back to the Codec's
// Buffers. A picture that is not freed gives them back when it is collected. Another
// Free does nothing.
func (m *Image) Free() {
	if home := m.home; home != nil {
		m.lost.Stop()
		m.home = nil
		buffers.Put(home, m.Pix)
		m.Pix = nil
	}
}

// row returns the 3*Width bytes of row y.
func (m *Image) row(y int) []byte {
	n := 3 * m.Width
	return m.Pix[y*n : (y+1)*n : (y+1)*n]
}
