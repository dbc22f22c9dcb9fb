package imaging

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"strings"
)

// decodeJPEG reads with the Codec's coder, or with Go's where there is none or it
// cannot. The scans are counted before either begins.
func decodeJPEG(data []byte, c job) (*Image, orientation, error) {
	seg := readSegments(data)
	if seg.frame {
		// Before anybody's decoder has made room for so much.
		if err := c.check(seg.width, seg.height); err != nil {
			return nil, 0, err
		}
	}
	if seg.scans > maxScans {
		return nil, 0, fmt.Errorf("%d scans", seg.scans)
	}
	if c.JPEG != nil {
		img, err := decodeByCoder(data, c, seg.turn)
		if !errors.Is(err, errors.ErrUnsupported) {
			return img, seg.turn, err
		}
	}
	img, err := decodeByGo(data, c, seg)
	return img, seg.turn, err
}

func decodeByCoder(data []byte, c job, turn orientation) (*Image, error) {
	w, h, err := c.JPEG.Header(data)
	if err != nil {
		return nil, err
	}
	if err := c.check(w, h); err != nil {
		return nil, err
	}
	f := c.fraction(w, h, turn)
	img := c.newImage((w+f-1)/f, (h+f-1)/f)
	if err := c.JPEG.Decode(img.Pix, data, img.Width, img.Height); err != nil {
		img.Free()
		return nil, err
	}
	if f > 1 {
		img.fullW, img.fullH = w, h
	}
	return img, nil
}

// A picture decoded at a fraction stays at least keep/2 times as large as its part
// of the input: near the input's own size little would be left for the resize to
// choose from, and results would move further.
const keep = 3

// fraction returns by what a picture of w x h pixels as stored may be divided: 1,
// 2, 4 or 8.
func (c job) fraction(w, h int, turn orientation) int {
	if !c.Fast || c.fit == nil {
		return 1
	}
	if turn.swaps() {
		w, h = h, w
	}
	fit := c.fit(w, h)
	if fit.NewW < 1 || fit.NewH < 1 || min(w, h) < 64 {
		return 1
	}
	f := 1
	for f < 8 && w >= f*keep*fit.NewW && h >= f*keep*fit.NewH {
		f *= 2
	}
	return f
}

// decodeByGo reads the planes with the standard library and does libjpeg-turbo's
// upsampling and colour conversion itself (fromYCC): image/jpeg would repeat
// chroma samples, which moves edges by tens of levels. What stays is image/jpeg's
// own inverse DCT: planes within one level of libjpeg's, pixels within three.
func decodeByGo(data []byte, c job, seg segments) (*Image, error) {
	head, err := jpeg.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if err := c.check(head.Width, head.Height); err != nil {
		return nil, err
	}
	r := io.Reader(bytes.NewReader(data))
	if head.ColorModel == color.CMYKModel && !seg.adobe {
		// Four components without a word from Adobe are CMYK to libjpeg, but an
		// error to image/jpeg: say the word.
		const start = "\xff\xd8" + "\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
		r = io.MultiReader(strings.NewReader(start), bytes.NewReader(data[2:]))
	}
	src, err := jpeg.Decode(r)
	if err != nil {
		return nil, err
	}
	switch s := src.(type) {
	case *image.YCbCr:
		return fromYCC(s, c), nil
	case *image.CMYK:
		return fromCMYK(s, c), nil
	}
	return toRGB(src, c) // grey, or RGB stored as such
}

// JPEG markers (ITU-T T.81, table B.1).
const (
	markerSOF0  = 0xc0 // the first of the frame headers
	markerSOF2  = 0xc2 // that of progressive pictures
	markerDHT   = 0xc4 // which lies among them, as do the next two
	markerJPG   = 0xc8
	markerDAC   = 0xcc
	markerSOF15 = 0xcf
	markerRST0  = 0xd0
	markerRST7  = 0xd7
	markerEOI   = 0xd9
	markerSOS   = 0xda
	markerAPP1  = 0xe1
	markerAPP14 = 0xee
)

// maxScans bounds the passes over the picture that a file may ask for. A scan can
// be a few bytes long and still cost as much as the picture has blocks, so without
// a bound a small file takes hours. Real progressive files have about ten.
const maxScans = 200

// segments is what the markers of a JPEG say beside its pixels.
type segments struct {
	turn  orientation
	adobe bool // there is a word from Adobe on how colours are stored
	scans int

	frame         bool // there is a frame header
	width, height int  // as the first one says, like what follows
	components    int  // colours, 0..255
	progressive   bool
}

// readSegments walks the markers. It is no judge of the file: it stops where it
// understands no more.
func readSegments(data []byte) segments {
	s := segments{turn: 1}
	for b := data[2:]; len(b) >= 4; {
		// Coded data and garbage lie between markers; 0xff 0x00 is coded data too.
		marker := b[1]
		if b[0] != 0xff || marker == 0xff || marker == 0 {
			next := bytes.IndexByte(b[1:], 0xff)
			if next < 0 {
				break
			}
			b = b[1+next:]
			continue
		}
		if marker >= markerRST0 && marker <= markerRST7 {
			b = b[2:]
			continue
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if marker == markerEOI || n < 2 || n+2 > len(b) {
			break
		}
		body := b[4 : n+2]
		exif, ok := bytes.CutPrefix(body, []byte("Exif\x00\x00"))
		switch {
		case isFrame(marker) && len(body) >= 6 && !s.frame:
			s.frame = true
			s.height, s.width = int(binary.BigEndian.Uint16(body[1:])), int(binary.BigEndian.Uint16(body[3:]))
			s.components, s.progressive = int(body[5]), marker == markerSOF2
		case marker == markerSOS:
			s.scans++
		case marker == markerAPP1 && ok && s.turn == 1:
			s.turn = tiffOrientation(exif)
		case marker == markerAPP14 && bytes.HasPrefix(body, []byte("Adobe")):
			s.adobe = true
		}
		b = b[n+2:]
	}
	return s
}

func isFrame(marker byte) bool {
	return marker >= markerSOF0 && marker <= markerSOF15 && marker != markerDHT && marker != markerJPG && marker != markerDAC
}

// fromCMYK converts as OpenCV does (icvCvt_CMYK2BGR): K - (255-X)*K/256 of the
// stored values, in which 255 is no ink. image/jpeg has turned those round.
func fromCMYK(s *image.CMYK, c job) *Image {
	img := c.newImage(s.Rect.Dx(), s.Rect.Dy())
	for y := range img.Height {
		dst, src := img.row(y), s.Pix[y*s.Stride:]
		for i, j := 0, 0; i+3 <= len(dst); i, j = i+3, j+4 {
			k := 255 - int(src[j+3])
			dst[i] = byte(k - int(src[j])*k>>8)
			dst[i+1] = byte(k - int(src[j+1])*k>>8)
			dst[i+2] = byte(k - int(src[j+2])*k>>8)
		}
	}
	return img
}
