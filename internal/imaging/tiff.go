package imaging

import (
	"bytes"
	"image"

	"golang.org/x/image/tiff"
)

// decodeTIFF reads the first picture of the file. OpenCV leaves it to libtiff's
// TIFFReadRGBA, so unlike elsewhere alpha that is stored apart is multiplied in,
// and 16-bit colours are rounded; 16-bit grey is cut.
func decodeTIFF(data []byte, c job) (*Image, orientation, error) {
	head, err := tiff.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, 0, err
	}
	if err := c.check(head.Width, head.Height); err != nil {
		return nil, 0, err
	}
	src, err := tiff.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, 0, err
	}
	if faxInverted(data) {
		invertFax(src)
	}
	turn := tiffOrientation(data)
	switch s := src.(type) {
	case *image.NRGBA:
		return fromTIFF(s.Rect, s.Pix, s.Stride, 1, true, c), turn, nil
	case *image.NRGBA64:
		return fromTIFF(s.Rect, s.Pix, s.Stride, 2, true, c), turn, nil
	case *image.RGBA64:
		return fromTIFF(s.Rect, s.Pix, s.Stride, 2, false, c), turn, nil
	}
	img, err := toRGB(src, c)
	return img, turn, err
}

// faxInverted reports whether x/image's decoder takes black for white in this file. A
// white run of CCITT's group 3 and 4 is zeros, whatever the photometric
// interpretation calls them; the decoder makes them ones unless it is WhiteIsZero.
func faxInverted(data []byte) bool {
	const (
		tagCompression, group3, group4 = 0x0103, 3, 4
		tagPhotometric, whiteIsZero    = 0x0106, 0
	)
	c := tiffNumber(data, tagCompression)
	return (c == group3 || c == group4) && tiffNumber(data, tagPhotometric) != whiteIsZero
}

// tiffNumber returns the value of a tag that has one whole number; 0 where it is
// missing.
func tiffNumber(data []byte, tag uint16) uint32 {
	e, order := tiffEntry(data, tag)
	if e == nil || order.Uint32(e[4:]) != 1 {
		return 0
	}
	switch order.Uint16(e[2:]) {
	case typeByte:
		return uint32(e[8])
	case typeShort:
		return uint32(order.Uint16(e[8:]))
	case typeLong:
		return order.Uint32(e[8:])
	}
	return 0
}

// invertFax exchanges zeros and ones of a picture of one bit.
func invertFax(src image.Image) {
	switch s := src.(type) {
	case *image.Gray:
		for i := range s.Pix {
			s.Pix[i] ^= 0xff
		}
	case *image.Paletted:
		if len(s.Palette) > 1 {
			s.Palette[0], s.Palette[1] = s.Palette[1], s.Palette[0]
		}
	}
}

// fromTIFF converts pixels of four samples of size bytes, high byte first, with
// libtiff's tables (tif_getimage.c, BuildMapBitdepth16To8 and BuildMapUaToAa).
func fromTIFF(r image.Rectangle, pix []byte, stride, size int, multiply bool, c job) *Image {
	img := c.newImage(r.Dx(), r.Dy())
	sample := func(p []byte) int {
		if size == 1 {
			return int(p[0])
		}
		return (int(p[0])<<8 + int(p[1]) + 128) / 257
	}
	for y := range img.Height {
		dst, src := img.row(y), pix[y*stride:]
		for x := range img.Width {
			p := src[4*size*x:][:4*size]
			alpha := 255
			if multiply {
				alpha = sample(p[3*size:])
			}
			for i := range 3 {
				dst[3*x+i] = byte((sample(p[i*size:])*alpha + 127) / 255)
			}
		}
	}
	return img
}
