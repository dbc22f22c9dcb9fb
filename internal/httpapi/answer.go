package httpapi

import (
	"math"
	"strconv"

	"lazyolo/yolo"
)

// A prediction is one object as the old server told it, and what other tasks than
// detection add, in the manner of Ultralytics' result JSON. A classifier's have no
// corners, a region of semantic segmentation no confidence either.
type prediction struct {
	ClassID    int      `json:"class_id"`
	ClassName  string   `json:"class_name"`
	Confidence *float64 `json:"confidence,omitempty"`
	*corners
	PixelRatio *number    `json:"pixel_ratio,omitempty"`
	Segments   *outline   `json:"segments,omitempty"`
	Mask       *rle       `json:"mask,omitempty"`
	Keypoints  *keypoints `json:"keypoints,omitempty"`
	OBB        *obb       `json:"obb,omitempty"`
}

// corners of the upright box, cut to whole pixels, never rounded.
type corners struct {
	X1 int `json:"x1"`
	Y1 int `json:"y1"`
	X2 int `json:"x2"`
	Y2 int `json:"y2"`
}

// An outline is a mask's polygon in pixels.
type outline struct {
	X numbers `json:"x"`
	Y numbers `json:"y"`
}

// An rle is a mask as COCO's uncompressed run-length encoding: size is height and
// width of the picture, counts are lengths of runs down the columns, off first.
type rle struct {
	Size   [2]int `json:"size"`
	Counts []int  `json:"counts"`
}

type keypoints struct {
	X       numbers  `json:"x"`
	Y       numbers  `json:"y"`
	Visible numbers  `json:"visible,omitempty"`
	Names   []string `json:"names,omitempty"`
}

// An obb is a rotated box: centre, sides and radians, and its corners.
type obb struct {
	XYWHR   numbers    `json:"xywhr"`
	Corners [4]numbers `json:"corners"`
}

// probs is a classification as Ultralytics' Probs tells it.
type probs struct {
	Top1     int     `json:"top1"`
	Top1Conf number  `json:"top1conf"`
	Top5     []int   `json:"top5"`
	Top5Conf numbers `json:"top5conf"`
}

// A number is written with five decimals at most, as Ultralytics rounds.
type number float64

// numbers are written likewise.
type numbers []float32

// MarshalJSON implements json.Marshaler.
func (n number) MarshalJSON() ([]byte, error) { return n.append(nil), nil }

func (n number) append(b []byte) []byte {
	v := float64(n)
	if math.IsNaN(v) || math.IsInf(v, 0) { // a broken model's; JSON has no such numbers
		return append(b, "null"...)
	}
	return strconv.AppendFloat(b, math.Round(v*1e5)/1e5, 'f', -1, 64)
}

// MarshalJSON implements json.Marshaler.
func (n numbers) MarshalJSON() ([]byte, error) {
	b := append(make([]byte, 0, 10*len(n)+2), '[')
	for i, v := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = number(v).append(b)
	}
	return append(b, ']'), nil
}

// Answer writes what a detection of one picture is answered with; masks is polygon, rle
// or none.
func Answer(r *yolo.Result, masks string) ([]byte, error) {
	return encode(answer{Predictions: predictions(r, masks), Probs: probsOf(r)})
}

// predictions renders what was found; masks says how masks are told.
func predictions(r *yolo.Result, masks string) []prediction {
	out := make([]prediction, 0, len(r.Objects)+len(r.Probs)+len(r.Regions))
	for i := range r.Objects {
		o := &r.Objects[i]
		p := prediction{
			ClassID: o.Class, ClassName: o.Name, Confidence: confidence(o.Confidence),
			corners:   &corners{int(o.Box.X1), int(o.Box.Y1), int(o.Box.X2), int(o.Box.Y2)},
			Keypoints: keypointsOf(o),
		}
		switch {
		case o.Mask == nil:
		case masks == "polygon":
			p.Segments = outlineOf(o.Mask.Polygon)
		case masks == "rle":
			p.Mask = rleOf(o.Mask.Picture(r.Width, r.Height), r.Width, r.Height)
		}
		if rot := o.Rotated; rot != nil {
			p.OBB = &obb{XYWHR: numbers{rot.X, rot.Y, rot.W, rot.H, rot.Angle}}
			for k, c := range rot.Corners {
				p.OBB.Corners[k] = numbers{c.X, c.Y}
			}
		}
		out = append(out, p)
	}
	for _, c := range r.Probs {
		out = append(out, prediction{ClassID: c.Class, ClassName: c.Name, Confidence: confidence(c.Confidence)})
	}
	for _, g := range r.Regions {
		p := prediction{ClassID: g.Class, ClassName: g.Name, PixelRatio: new(number(g.Share))}
		if masks == "rle" {
			p.Mask = rleOf(g.Mask.Picture(r.Width, r.Height), r.Width, r.Height)
		}
		out = append(out, p)
	}
	return out
}

// confidence is the old server's: all digits that the model gives.
func confidence(c float32) *float64 { return new(float64(c)) }

func outlineOf(line []yolo.Point) *outline {
	o := &outline{make(numbers, len(line)), make(numbers, len(line))}
	for i, p := range line {
		o.X[i], o.Y[i] = p.X, p.Y
	}
	return o
}

func keypointsOf(o *yolo.Object) *keypoints {
	if len(o.Keypoints) == 0 {
		return nil
	}
	k := &keypoints{Names: o.KeypointNames}
	for _, p := range o.Keypoints {
		k.X, k.Y = append(k.X, p.X), append(k.Y, p.Y)
		if p.Visible >= 0 {
			k.Visible = append(k.Visible, p.Visible)
		}
	}
	return k
}

// rleOf encodes a bitmap that lies in a picture of w by h.
func rleOf(b yolo.Bitmap, w, h int) *rle { return &rle{[2]int{h, w}, b.Columns(w, h)} }

// probsOf renders a classification; nil: it was none.
func probsOf(r *yolo.Result) *probs {
	if len(r.Probs) == 0 {
		return nil
	}
	p := &probs{Top1: r.Probs[0].Class, Top1Conf: number(r.Probs[0].Confidence)}
	for _, c := range r.Probs {
		p.Top5, p.Top5Conf = append(p.Top5, c.Class), append(p.Top5Conf, c.Confidence)
	}
	return p
}
