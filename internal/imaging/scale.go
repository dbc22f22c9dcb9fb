package imaging

import "lazyolo/yolo"

// A Scale maps coordinates of a Fit's input back to the original picture, in
// float32 as torch does. It is what Ultralytics' scale_boxes and scale_coords
// derive from the two sizes, see [Fit.Box].
type Scale struct{ x, y axis }

// Scale returns f's way back to the picture.
func (f Fit) Scale() Scale {
	newW, newH := fitted(f.SrcW, f.SrcH, f.Width, f.Height)
	return Scale{
		axis{float32(before(f.Width - newW)), float32(float64(newW) / float64(f.SrcW)), float32(f.SrcW)},
		axis{float32(before(f.Height - newH)), float32(float64(newH) / float64(f.SrcH)), float32(f.SrcH)},
	}
}

// Box maps corners and clips them to the picture: scale_boxes.
func (s Scale) Box(x1, y1, x2, y2 float32) yolo.Box {
	return yolo.Box{X1: s.x.back(x1), Y1: s.y.back(y1), X2: s.x.back(x2), Y2: s.y.back(y2)}
}

// Point maps a point and clips it to the picture: scale_coords.
func (s Scale) Point(x, y float32) yolo.Point {
	return yolo.Point{X: s.x.back(x), Y: s.y.back(y)}
}

// Centred maps a box given by centre and sides and clips nothing:
// scale_boxes(xywh=True).
func (s Scale) Centred(x, y, w, h float32) (cx, cy, sw, sh float32) {
	return (x - s.x.pad) / s.x.gain, (y - s.y.pad) / s.y.gain, w / s.x.gain, h / s.y.gain
}

// Window returns the part of the input that shows the picture, as Ultralytics'
// scale_masks cuts it out: half a pixel more or less than Fit says where the
// input is a LetterboxAuto.
func (f Fit) Window() yolo.Window {
	newW, newH := fitted(f.SrcW, f.SrcH, f.Width, f.Height)
	x, y := max(0, before(f.Width-newW)), max(0, before(f.Height-newH))
	return yolo.Window{X: x, Y: y, W: min(newW, f.Width-x), H: min(newH, f.Height-y)}
}
