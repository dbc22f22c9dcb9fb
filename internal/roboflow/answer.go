package roboflow

import (
	"math"
	"strconv"
	"time"

	"lazyolo/yolo"
)

// An inference is the answer for one picture. What a task does not have is left
// out, as the dialect drops its None.
type inference struct {
	ID          string    `json:"inference_id"`
	Time        float64   `json:"time"` // seconds
	Image       imageSize `json:"image"`
	Predictions any       `json:"predictions"` // of []prediction or []class
	Top         *string   `json:"top,omitempty"`
	Confidence  *sure     `json:"confidence,omitempty"`
	// Visualization is a JPEG, as base64.
	Visualization []byte `json:"visualization,omitempty"`
}

type imageSize struct {
	Width  int `json:"width"`
	Height int `json:"height"`
}

// A prediction is one object: x and y are its centre.
type prediction struct {
	X           pixels     `json:"x"`
	Y           pixels     `json:"y"`
	Width       pixels     `json:"width"`
	Height      pixels     `json:"height"`
	Confidence  sure       `json:"confidence"`
	Class       string     `json:"class"`
	ClassID     int        `json:"class_id"`
	DetectionID string     `json:"detection_id"`
	MaskFormat  string     `json:"mask_format,omitempty"`
	Points      []point    `json:"points,omitzero"`
	RLE         *rle       `json:"rle,omitempty"`
	Keypoints   []keypoint `json:"keypoints,omitzero"`
}

type point struct {
	X pixels `json:"x"`
	Y pixels `json:"y"`
}

type keypoint struct {
	point
	Confidence sure   `json:"confidence"`
	ClassID    int    `json:"class_id"`
	Class      string `json:"class"`
}

// A class is one of a classifier's.
type class struct {
	Class      string `json:"class"`
	ClassID    int    `json:"class_id"`
	Confidence sure   `json:"confidence"`
}

// An rle is a mask as COCO's compressed run-length encoding: size is height and
// width of the picture.
type rle struct {
	Size   [2]int `json:"size"`
	Counts string `json:"counts"`
}

// pixels are a position or length, written with five decimals at most.
type pixels float64

// MarshalJSON implements json.Marshaler.
func (p pixels) MarshalJSON() ([]byte, error) { return finite(math.Round(float64(p)*1e5)/1e5, 64), nil }

// sure is a confidence, with the digits that the model gives.
type sure float32

// MarshalJSON implements json.Marshaler.
func (s sure) MarshalJSON() ([]byte, error) { return finite(float64(s), 32), nil }

// finite writes a number; one that JSON has not, a broken model's, is null.
func finite(v float64, bits int) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return []byte("null")
	}
	return strconv.AppendFloat(nil, v, 'f', -1, bits)
}

// newInference renders what was found in one picture.
func newInference(r *yolo.Result, a *ask, took time.Duration) *inference {
	out := &inference{ID: newUUID(), Time: took.Seconds(), Image: imageSize{r.Width, r.Height}}
	if r.Probs != nil {
		out.classify(r.Probs, a.conf)
		return out
	}
	all := make([]prediction, 0, len(r.Objects))
	for i := range r.Objects {
		all = append(all, newPrediction(r, &r.Objects[i], a))
	}
	out.Predictions = all
	return out
}

// classify renders a classification: the classes that are sure enough, best first.
func (v *inference) classify(probs []yolo.Prob, least *float64) {
	all := make([]class, 0, len(probs))
	for _, p := range probs {
		if least == nil || float64(p.Confidence) >= *least {
			all = append(all, class{p.Name, p.Class, sure(p.Confidence)})
		}
	}
	v.Predictions, v.Top, v.Confidence = all, new(string), new(sure)
	if len(all) > 0 {
		*v.Top, *v.Confidence = all[0].Class, all[0].Confidence
	}
}

func newPrediction(r *yolo.Result, o *yolo.Object, a *ask) prediction {
	x1, y1, x2, y2 := float64(o.Box.X1), float64(o.Box.Y1), float64(o.Box.X2), float64(o.Box.Y2)
	p := prediction{
		X: pixels((x1 + x2) / 2), Y: pixels((y1 + y2) / 2), Width: pixels(x2 - x1), Height: pixels(y2 - y1),
		Confidence: sure(o.Confidence), Class: o.Name, ClassID: o.Class, DetectionID: newUUID(),
	}
	if o.Mask != nil {
		p.MaskFormat = a.mask
		if a.mask == maskRLE {
			p.RLE = newRLE(o.Mask.Picture(r.Width, r.Height), r.Width, r.Height)
		} else {
			p.Points = make([]point, len(o.Mask.Polygon))
			for i, at := range o.Mask.Polygon {
				p.Points[i] = point{pixels(at.X), pixels(at.Y)}
			}
		}
	}
	if o.Keypoints != nil {
		p.Keypoints = keypointsOf(o, a.keypoint)
	}
	return p
}

// keypointsOf renders the keypoints that are at least so sure. One that the model
// says nothing of counts as seen.
func keypointsOf(o *yolo.Object, least float64) []keypoint {
	out := make([]keypoint, 0, len(o.Keypoints))
	for i, k := range o.Keypoints {
		seen := k.Visible
		if seen < 0 {
			seen = 1
		}
		if float64(seen) < least {
			continue
		}
		name := strconv.Itoa(i)
		if i < len(o.KeypointNames) {
			name = o.KeypointNames[i]
		}
		out = append(out, keypoint{point{pixels(k.X), pixels(k.Y)}, sure(seen), i, name})
	}
	return out
}

// newRLE encodes a bitmap that lies in a picture of w by h: lengths of runs down
// the columns, off and on in turn, as COCO writes them into text.
func newRLE(b yolo.Bitmap, w, h int) *rle { return &rle{[2]int{h, w}, runsText(b.Columns(w, h))} }

// runsText writes run lengths as COCO does: from the third on the difference to
// the one two before, in groups of five bits, low ones first, each a character from
// '0' on whose sixth bit says that more follow.
func runsText(runs []int) string {
	var out []byte
	for i, v := range runs {
		if i > 2 {
			v -= runs[i-2]
		}
		for more := true; more; {
			c := byte(v & 0x1f)
			v >>= 5
			more = v != 0
			if c&0x10 != 0 { // the sign, if it is the last
				more = v != -1
			}
			if more {
				c |= 0x20
			}
			out = append(out, c+'0')
		}
	}
	return string(out)
}
