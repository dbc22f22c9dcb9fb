package imaging

import (
	"math"

	"lazyolo/yolo"
)

// A Fit says where one picture lies in one network input: the geometry of
// Ultralytics' LetterBox. It is a value; the zero Fit is of no use.
type Fit struct {
	Width, Height int // of the input, in pixels
	SrcW, SrcH    int // of the picture
	NewW, NewH    int // of the picture resized
	Left, Top     int // where the resized picture begins in the input
}

// Letterbox fits a picture into an input of fixed size: scaled up or down by one
// ratio, centred, the rest padding. All sizes are in pixels and at least 1. It
// equals ultralytics.data.augment.LetterBox(auto=False, scaleup=True, center=True).
func Letterbox(srcW, srcH, dstW, dstH int) Fit {
	newW, newH := fitted(srcW, srcH, dstW, dstH)
	return Fit{
		Width: dstW, Height: dstH,
		SrcW: srcW, SrcH: srcH,
		NewW: newW, NewH: newH,
		Left: before(dstW - newW), Top: before(dstH - newH),
	}
}

// LetterboxAuto fits a picture into the smallest rectangle whose sides are
// multiples of stride and whose longer side is size, rounded up to such a
// multiple as Ultralytics' check_imgsz does. It equals LetterBox(auto=True): the
// padding of a size x size input is reduced modulo stride.
func LetterboxAuto(srcW, srcH, size, stride int) Fit {
	size = (size + stride - 1) / stride * stride
	newW, newH := fitted(srcW, srcH, size, size)
	padW, padH := (size-newW)%stride, (size-newH)%stride
	return Fit{
		Width: newW + padW, Height: newH + padH,
		SrcW: srcW, SrcH: srcH,
		NewW: newW, NewH: newH,
		Left: before(padW), Top: before(padH),
	}
}

// fitted returns the size of the picture inside the input. Python's round, like
// RoundToEven, sends halves to the even neighbour; thin pictures keep one pixel.
func fitted(srcW, srcH, dstW, dstH int) (w, h int) {
	r := ratio(srcW, srcH, dstW, dstH)
	w = max(int(math.RoundToEven(float64(srcW)*r)), 1)
	h = max(int(math.RoundToEven(float64(srcH)*r)), 1)
	return w, h
}

func ratio(srcW, srcH, dstW, dstH int) float64 {
	return min(float64(dstH)/float64(srcH), float64(dstW)/float64(srcW))
}

// before is the share of pad pixels that goes to the left or the top: the 0.1
// makes an odd one go to the other side.
func before(pad int) int {
	return int(math.RoundToEven(float64(pad)/2 - 0.1))
}

// Box maps corners in input pixels to the original picture and clips them to it:
// ultralytics.utils.ops.scale_boxes of release 8.4, in float32 as torch computes
// it. That function derives gain and padding from the two sizes again, which for
// a LetterboxAuto input may differ by a pixel from what LetterBox did; so does Box.
func (f Fit) Box(x1, y1, x2, y2 float32) yolo.Box {
	newW, newH := fitted(f.SrcW, f.SrcH, f.Width, f.Height)
	x := axis{float32(before(f.Width - newW)), float32(float64(newW) / float64(f.SrcW)), float32(f.SrcW)}
	y := axis{float32(before(f.Height - newH)), float32(float64(newH) / float64(f.SrcH)), float32(f.SrcH)}
	return yolo.Box{X1: x.back(x1), Y1: y.back(y1), X2: x.back(x2), Y2: y.back(y2)}
}

// An axis maps one coordinate of an input back to the picture.
type axis struct{ pad, gain, limit float32 }

func (a axis) back(v float32) float32 {
	return min(max((v-a.pad)/a.gain, 0), a.limit)
}
