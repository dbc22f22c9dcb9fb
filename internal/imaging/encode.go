package imaging

import (
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"path/filepath"
	"strings"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
)

// jpegQuality is cv2.imwrite's default.
const jpegQuality = 95

// Encode writes img in the format that name's extension asks for, in any case:
// .png .bmp .gif .tif .tiff, and JPEG (quality 95) for everything else, .webp
// included, which we cannot write. name is not opened. Errors are w's.
func (c *Codec) Encode(w io.Writer, name string, img *Image) error {
	var err error
	switch strings.ToLower(filepath.Ext(name)) {
	case ".png":
		err = (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(w, img.rgba())
	case ".bmp":
		err = bmp.Encode(w, img.rgba())
	case ".gif":
		err = gif.Encode(w, img.rgba(), nil)
	case ".tif", ".tiff":
		err = tiff.Encode(w, img.rgba(), &tiff.Options{Compression: tiff.Deflate})
	default:
		err = c.encodeJPEG(w, img)
	}
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return nil
}

func (c *Codec) encodeJPEG(w io.Writer, img *Image) error {
	if c.JPEG != nil {
		err := c.JPEG.Encode(w, img.Pix, img.Width, img.Height, jpegQuality)
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return jpeg.Encode(w, img.rgba(), &jpeg.Options{Quality: jpegQuality})
}

// rgba returns a copy as the type that the encoders have fast paths for.
func (m *Image) rgba() *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, m.Width, m.Height))
	for i, j := 0, 0; i+3 <= len(m.Pix); i, j = i+3, j+4 {
		p := out.Pix[j : j+4 : j+4]
		p[0], p[1], p[2], p[3] = m.Pix[i], m.Pix[i+1], m.Pix[i+2], 255
	}
	return out
}
