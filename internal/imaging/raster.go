package imaging

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"

	"golang.org/x/image/bmp"
)

// decodePNG reads with the standard library. OpenCV drops alpha and transparent
// colours (palette, grey and RGB alike) and cuts 16 bits to 8; so does toRGB.
func decodePNG(data []byte, c job) (*Image, orientation, error) {
	head, err := png.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, 0, err
	}
	if err := c.check(head.Width, head.Height); err != nil {
		return nil, 0, err
	}
	src, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, 0, err
	}
	img, err := toRGB(src, c)
	return img, pngOrientation(data), err
}

// pngOrientation looks for an eXIf chunk (PNG 3rd edition, 11.3.2.6).
func pngOrientation(data []byte) orientation {
	const signature, overhead = 8, 12 // a chunk is length, type, data, CRC
	for rest := data[signature:]; len(rest) >= overhead; {
		n := uint64(binary.BigEndian.Uint32(rest))
		if n+overhead > uint64(len(rest)) {
			return 1
		}
		if string(rest[4:8]) == "eXIf" {
			return tiffOrientation(rest[8 : 8+n])
		}
		rest = rest[overhead+n:]
	}
	return 1
}

func decodeBMP(data []byte, c job) (*Image, orientation, error) {
	head, err := bmp.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, 0, err
	}
	if err := c.check(head.Width, head.Height); err != nil {
		return nil, 0, err
	}
	src, err := bmp.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, 0, err
	}
	img, err := toRGB(src, c)
	return img, 1, err
}

// toRGB copies the colours a decoder stored, without alpha and without the
// premultiplication that image.Image.At would apply.
func toRGB(src image.Image, c job) (*Image, error) {
	b := src.Bounds()
	// Once more for the pixels themselves: they come from another read of the header.
	if err := c.check(b.Dx(), b.Dy()); err != nil {
		return nil, err
	}
	img := c.newImage(b.Dx(), b.Dy())
	switch s := src.(type) {
	case *image.Gray:
		copyGray(img, s.Pix, s.Stride, 1)
	case *image.Gray16:
		copyGray(img, s.Pix, s.Stride, 2)
	case *image.RGBA:
		copyRGB(img, s.Pix, s.Stride, 1)
	case *image.NRGBA:
		copyRGB(img, s.Pix, s.Stride, 1)
	case *image.RGBA64:
		copyRGB(img, s.Pix, s.Stride, 2)
	case *image.NRGBA64:
		copyRGB(img, s.Pix, s.Stride, 2)
	case *image.Paletted:
		return img, copyPaletted(img, s)
	default:
		return nil, fmt.Errorf("pixel type %T", src)
	}
	return img, nil
}

// copyGray copies samples of size bytes, of which the first is the highest.
func copyGray(img *Image, pix []byte, stride, size int) {
	for y := range img.Height {
		dst, src := img.row(y), pix[y*stride:]
		for x := range img.Width {
			v := src[x*size]
			dst[3*x], dst[3*x+1], dst[3*x+2] = v, v, v
		}
	}
}

// copyRGB copies the first three of four samples of size bytes.
func copyRGB(img *Image, pix []byte, stride, size int) {
	for y := range img.Height {
		dst, src := img.row(y), pix[y*stride:y*stride+4*size*img.Width]
		for i, j := 0, 0; i+3 <= len(dst); i, j = i+3, j+4*size {
			dst[i], dst[i+1], dst[i+2] = src[j], src[j+size], src[j+2*size]
		}
	}
}

func copyPaletted(img *Image, s *image.Paletted) error {
	var table [256][3]byte
	for i, c := range s.Palette {
		if i < len(table) {
			table[i] = opaque(c)
		}
	}
	for y := range img.Height {
		dst, src := img.row(y), s.Pix[y*s.Stride:]
		for x := range img.Width {
			p := int(src[x])
			if p >= len(s.Palette) {
				return errors.New("colour index outside the palette")
			}
			copy(dst[3*x:3*x+3], table[p][:])
		}
	}
	return nil
}

// opaque returns a palette colour as stored, its alpha ignored.
func opaque(c color.Color) [3]byte {
	if n, ok := c.(color.NRGBA); ok {
		return [3]byte{n.R, n.G, n.B}
	}
	r, g, b, _ := c.RGBA()
	return [3]byte{byte(r >> 8), byte(g >> 8), byte(b >> 8)}
}
