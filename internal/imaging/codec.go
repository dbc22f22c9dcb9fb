package imaging

import (
	"errors"
	"fmt"
	"io"
	"runtime"

	"lazyolo/internal/buffers"
	"lazyolo/yolo"
)

// DefaultMaxPixels is the largest picture Decode takes when its Codec says nothing:
// 100 million pixels, 300 MB of RGB.
const DefaultMaxPixels = 100_000_000

// A Codec reads and writes pictures. Its fields are not changed once it is used;
// the zero Codec is ready, and its methods may be called concurrently.
type Codec struct {
	MaxPixels int64 // largest Width*Height that Decode accepts; zero or less: DefaultMaxPixels
	JPEG      JPEG  // the coder for JPEG; nil: Go's, several times slower
	// Fast lets Decode scale JPEGs down while it decodes them, where a network's
	// input is much smaller. Pixels then are means of the picture's instead of
	// samples, so results differ a little from those of the whole picture.
	Fast bool
	// Buffers lends the pixels; nil: they lie in Go's heap.
	Buffers *buffers.Store
}

// A JPEG is a coder for JPEG; *turbojpeg.Library is one. An error that is
// errors.ErrUnsupported says that it cannot do this one, and Go's coder does.
type JPEG interface {
	// Header returns the size in pixels as stored.
	Header(data []byte) (width, height int, err error)
	// Decode writes RGB pixels, interleaved and without padding, to dst. The size
	// is Header's, or that divided by 2, 4 or 8 and rounded up.
	Decode(dst, data []byte, width, height int) error
	// Encode writes such pixels to w with 4:2:0 chroma; quality is libjpeg's 1..100.
	Encode(w io.Writer, pix []byte, width, height, quality int) error
}

// newImage lends a picture with arbitrary contents; the caller has checked the size.
func (c *Codec) newImage(w, h int) *Image {
	m := &Image{Width: w, Height: h, Pix: buffers.Get[byte](c.Buffers, 3*w*h), home: c.Buffers}
	if m.home != nil { // a decoder that fails leaves the picture to the collector
		m.lost = runtime.AddCleanup(m, func(pix []byte) { buffers.Put(c.Buffers, pix) }, m.Pix)
	}
	return m
}

// A job is one Decode.
type job struct {
	*Codec
	fit      func(w, h int) Fit // what the picture is for; nil: anything
	measured *Measure           // not nil: only the size is wanted, see check
}

// Decode reads one JPEG, PNG, WebP, BMP, GIF (first frame) or TIFF picture,
// recognised by its first bytes, and gives the pixels cv2.imdecode(IMREAD_COLOR)
// gives, as RGB: orientation applied, alpha dropped rather than blended, grey and
// CMYK converted, 16 bits cut to 8. It keeps no reference to data. The caller may
// Free the picture.
//
// fit says how a picture of some size will lie in a network's input, if that is
// all the picture is for: then a Fast Codec may decode at a fraction of the size
// (see Image.Size), for Fit.Fill to finish. With nil pictures have their own size.
//
// Errors are *yolo.Error with a message that is safe to show and says what the
// decoder found: Invalid for anything that cannot be decoded, TooLarge when the header
// promises more than c.MaxPixels, which is decided before pixels are allocated.
func (c *Codec) Decode(data []byte, fit func(w, h int) Fit) (*Image, error) {
	return c.decode(data, job{Codec: c, fit: fit})
}

func (c *Codec) decode(data []byte, j job) (img *Image, err error) {
	defer func() {
		// The decoders below are fuzzed but not ours; a broken picture must cost
		// its sender an error, not everybody the process.
		if p := recover(); p != nil {
			img, err = nil, &yolo.Error{Code: yolo.Invalid, Msg: "cannot decode the picture", Err: fmt.Errorf("decoder panic: %v", p)}
		}
	}()
	if len(data) == 0 {
		return nil, yolo.Errorf(yolo.Invalid, "empty picture")
	}
	f, ok := sniff(data)
	if !ok {
		return nil, yolo.Errorf(yolo.Invalid, "%s, expected %s", foreign(data), readable)
	}
	img, orientation, err := f.decode(data, j)
	if errors.Is(err, errMeasured) {
		return nil, err
	}
	if err != nil {
		return nil, invalid(f.name, err)
	}
	return c.oriented(img, orientation), nil
}

// How files begin that are asked about in more than one place.
const (
	jpegMagic = "\xff\xd8\xff"
	pngMagic  = "\x89PNG\r\n\x1a\n"
	webpMagic = "RIFF????WEBP"
)

// A format is one kind of file: how it begins and who reads it.
type format struct {
	name   string
	magic  string // '?' matches any byte
	decode func(data []byte, c job) (*Image, orientation, error)
}

// sniff finds the format by the first bytes; file names and media types lie.
func sniff(data []byte) (format, bool) {
	for _, f := range []format{
		{"JPEG", jpegMagic, decodeJPEG},
		{"PNG", pngMagic, decodePNG},
		{"WebP", webpMagic, decodeWebP},
		{"BMP", "BM", decodeBMP},
		{"GIF", "GIF8?a", decodeGIF},
		{"TIFF", "II*\x00", decodeTIFF},
		{"TIFF", "MM\x00*", decodeTIFF},
	} {
		if matches(data, f.magic) {
			return f, true
		}
	}
	return format{}, false
}

// readable names the formats of sniff in messages.
const readable = "JPEG, PNG, WebP, BMP, GIF or TIFF"

// foreign says what data is that no format of sniff is, as far as it shows.
func foreign(data []byte) string {
	for _, f := range []struct{ name, magic string }{
		{"AVIF", "????ftypavi"}, // avif, and avis for sequences
		{"HEIC", "????ftyphe"},  // heic, heix, hevc, heim and more
		{"HEIF", "????ftypmif1"},
		{"JPEG XL", "\xff\x0a"},
		{"JPEG XL", "\x00\x00\x00\x0cJXL "},
		{"JPEG 2000", "\x00\x00\x00\x0cjP  "},
		{"JPEG 2000", "\xff\x4f\xff\x51"},
		{"BigTIFF", "II+\x00"},
		{"BigTIFF", "MM\x00+"},
		{"PDF", "%PDF-"},
	} {
		if matches(data, f.magic) {
			return f.name + " is not read"
		}
	}
	return "not a picture that can be read"
}

func matches(data []byte, magic string) bool {
	if len(data) < len(magic) {
		return false
	}
	for i := range len(magic) {
		if magic[i] != '?' && data[i] != magic[i] {
			return false
		}
	}
	return true
}

// check refuses sizes that cannot be served, before anything is allocated.
func (c *Codec) check(w, h int) error {
	limit := c.MaxPixels
	if limit <= 0 {
		limit = DefaultMaxPixels
	}
	if w <= 0 || h <= 0 {
		return yolo.Errorf(yolo.Invalid, "picture of %dx%d pixels", w, h)
	}
	// Division, because the product of two header fields may overflow.
	if int64(w) > limit/int64(h) {
		return yolo.Errorf(yolo.TooLarge, "picture of %dx%d pixels is over the limit of %d (MAX_PIXELS)", w, h, limit)
	}
	return nil
}

// invalid wraps a decoder's error, which is told: it speaks of the file's bytes
// only. One that is already a *yolo.Error stays.
func invalid(what string, err error) error {
	var e *yolo.Error
	if errors.As(err, &e) {
		return err
	}
	return &yolo.Error{Code: yolo.Invalid, Msg: fmt.Sprintf("cannot decode %s: %v", what, err)}
}
