package imaging

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/gif"
)

// decodeGIF reads the first frame. OpenCV paints it on a canvas of the file's
// background colour, which shows around the frame and through transparent pixels.
func decodeGIF(data []byte, c job) (*Image, orientation, error) {
	head, err := gif.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, 0, err
	}
	if err := c.check(head.Width, head.Height); err != nil {
		return nil, 0, err
	}
	src, err := gif.Decode(bytes.NewReader(data)) // stops after one frame
	if err != nil {
		return nil, 0, err
	}
	frame, ok := src.(*image.Paletted)
	if !ok {
		return nil, 0, fmt.Errorf("pixel type %T", src)
	}
	back := gifBackground(data)
	for i, colour := range frame.Palette {
		if _, _, _, a := colour.RGBA(); a == 0 {
			frame.Palette[i] = back
		}
	}
	img, err := toRGB(frame, c)
	at := frame.Rect
	if err != nil || at == image.Rect(0, 0, head.Width, head.Height) {
		return img, 1, err
	}
	canvas := c.newImage(head.Width, head.Height)
	for i := 0; i+3 <= len(canvas.Pix); i += 3 {
		canvas.Pix[i], canvas.Pix[i+1], canvas.Pix[i+2] = back.R, back.G, back.B
	}
	for y := range img.Height {
		copy(canvas.row(at.Min.Y + y)[3*at.Min.X:], img.row(y))
	}
	return canvas, 1, nil
}

// gifBackground is the background colour of the logical screen descriptor (GIF89a,
// section 18), black if there is no global palette. image/gif tells it only
// together with all frames, which may be far more than the limit allows.
func gifBackground(data []byte) color.RGBA {
	const flags, index, table = 10, 11, 13
	if data[flags]&0x80 == 0 || int(data[index]) >= 2<<(data[flags]&7) {
		return color.RGBA{A: 255}
	}
	c := data[table+3*int(data[index]):][:3]
	return color.RGBA{c[0], c[1], c[2], 255}
}
