package oip

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"lazyolo/yolo"
)

// The tensors of the picture way. What was found in all pictures of a request is in one
// row after the other; counts says how many rows each picture has.
//
//	boxes   FP32  [n,4]  x1, y1, x2, y2 in pixels; none for classify and semantic
//	scores  FP32  [n]    confidence; of semantic the share of the picture's pixels
//	classes INT64 [n]    class numbers
//	labels  BYTES [n]    class names
//	counts  INT64 [N]    rows of each picture
//	result  BYTES [N]    what /api/v2/detect answers for each picture: JSON with masks, keypoints and the like
var pictureOutputs = []yolo.TensorInfo{
	{Name: "boxes", DType: yolo.FP32}, {Name: "scores", DType: yolo.FP32}, {Name: "classes", DType: "INT64"},
	{Name: "labels", DType: bytesType}, {Name: "counts", DType: "INT64"}, {Name: "result", DType: bytesType},
}

// pictureInput is the name of the input that takes pictures.
const pictureInput = "image"

// maxPictures bounds those of one request.
const maxPictures = 32

// pictures answers a request that holds encoded pictures.
func (c *Core) pictures(ctx context.Context, m *yolo.Model, q *Request, to *Response) error {
	images, err := q.images()
	if err != nil {
		return err
	}
	request, masks, err := options(q.Parameters)
	if err != nil {
		return err
	}
	chosen, err := choose(q.Outputs, pictureOutputs)
	if err != nil {
		return yolo.Errorf(yolo.Invalid, "%s; for pictures there are boxes, scores, classes, labels, counts and result", Message(err))
	}
	var f found
	for i, image := range images {
		request.Model, request.Image = m.ID, image
		r, err := c.detector.Detect(ctx, request)
		if err != nil && len(images) > 1 {
			return ofPicture(err, i, len(images))
		}
		if err != nil {
			return err
		}
		answer, err := c.o.Answer(r, masks)
		if err != nil {
			return err
		}
		f.add(r, answer)
	}
	all := f.outputs()
	to.Outputs = make([]Output, len(chosen))
	for k, i := range chosen {
		to.Outputs[k] = all[i]
		to.Outputs[k].Name, to.Outputs[k].DataType = pictureOutputs[i].Name, string(pictureOutputs[i].DType)
	}
	return nil
}

// ofPicture says which of n pictures an error concerns.
func ofPicture(err error, i, n int) error {
	var e *yolo.Error
	if !errors.As(err, &e) || e.Code != yolo.Invalid && e.Code != yolo.TooLarge {
		return err
	}
	one := *e
	one.Msg = fmt.Sprintf("picture %d of %d: %s", i+1, n, e.Msg)
	return &one
}

// images are the pictures of a request.
func (q *Request) images() ([][]byte, error) {
	in := &q.Inputs[0]
	if len(q.Inputs) > 1 || in.Name != pictureInput {
		return nil, yolo.Errorf(yolo.Invalid, "input %q: of datatype BYTES there is one input, called %s", clip(in.Name), pictureInput)
	}
	n, _ := elements(in.Shape) // was checked
	if len(in.Shape) > 2 || len(in.Shape) == 2 && in.Shape[1] != 1 || n < 1 || n > maxPictures {
		return nil, yolo.Errorf(yolo.Invalid, "input image: the shape is %v, it must be [n] or [n,1], n from 1 to %d", in.Shape, maxPictures)
	}
	images := in.Texts
	if in.Raw != nil {
		var ok bool
		if images, ok = splitTexts(in.Raw, int(n)); !ok {
			return nil, yolo.Errorf(yolo.Invalid, "input image: %d bytes are not %d elements, each with its length in 4 bytes before it", len(in.Raw), n)
		}
	}
	if int64(len(images)) != n {
		return nil, yolo.Errorf(yolo.Invalid, "input image: %d elements were sent, the shape %v takes %d", len(images), in.Shape, n)
	}
	return images, nil
}

// splitTexts splits n elements of BYTES; false: it is not n.
func splitTexts(raw []byte, n int) ([][]byte, bool) {
	var out [][]byte
	for len(raw) >= 4 && len(out) < n {
		size := binary.LittleEndian.Uint32(raw)
		if raw = raw[4:]; uint64(size) > uint64(len(raw)) {
			return nil, false
		}
		out = append(out, raw[:size])
		raw = raw[size:]
	}
	return out, len(raw) == 0 && len(out) == n
}

// found is what was found in the pictures of a request, as outputs are.
type found struct {
	boxes, scores, classes, labels, counts, results []byte
	rows, pictures                                  int64
}

func (f *found) add(r *yolo.Result, answer []byte) {
	before := f.rows
	for i := range r.Objects {
		o := &r.Objects[i]
		for _, v := range [4]float32{o.Box.X1, o.Box.Y1, o.Box.X2, o.Box.Y2} {
			f.boxes = appendFloat(f.boxes, v)
		}
		f.row(o.Class, o.Name, o.Confidence)
	}
	for _, p := range r.Probs {
		f.row(p.Class, p.Name, p.Confidence)
	}
	for _, g := range r.Regions {
		f.row(g.Class, g.Name, float32(g.Share))
	}
	f.pictures++
	f.counts = binary.LittleEndian.AppendUint64(f.counts, uint64(f.rows-before))
	f.results = appendText(f.results, string(answer))
}

func (f *found) row(class int, name string, score float32) {
	f.rows++
	f.scores = appendFloat(f.scores, score)
	f.classes = binary.LittleEndian.AppendUint64(f.classes, uint64(class))
	f.labels = appendText(f.labels, name)
}

// outputs are those of pictureOutputs.
func (f *found) outputs() []Output {
	row, picture := []int64{f.rows}, []int64{f.pictures}
	return []Output{
		{Raw: f.boxes, Shape: []int64{int64(len(f.boxes) / 16), 4}}, {Raw: f.scores, Shape: row}, {Raw: f.classes, Shape: row},
		{Raw: f.labels, Shape: row}, {Raw: f.counts, Shape: picture}, {Raw: f.results, Shape: picture},
	}
}

func appendFloat(b []byte, v float32) []byte {
	return binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
}

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(s))), s...)
}

// options reads a detection's options from a request's parameters: the same as those of
// /api/v2/detect, under the same names.
func options(p map[string]any) (r yolo.Request, masks string, err error) {
	masks = "polygon"
	for name, v := range p {
		ok := true
		switch name {
		case "conf":
			r.Conf, ok = fraction(v)
		case "iou":
			r.IoU, ok = fraction(v)
		case "max_det":
			r.MaxDet, ok = whole(v)
		case "imgsz":
			r.ImgSz, ok = whole(v)
		case "classes":
			r.Classes, ok = numbers(v)
		case "agnostic_nms":
			r.AgnosticNMS, ok = v.(bool)
		case "nms":
			var b bool
			b, ok = v.(bool)
			r.NMS = &b
		case "masks":
			masks, ok = v.(string)
			ok = ok && (masks == "polygon" || masks == "rle" || masks == "none")
		case "keep_alive":
			var d time.Duration
			s, text := v.(string)
			d, ok = yolo.ParseKeepAlive(s)
			ok = ok && text
			r.KeepAlive = &d
		}
		if !ok {
			return r, masks, yolo.Errorf(yolo.Invalid, "parameter %s: it cannot be %v; %s", name, clipValue(v), accepted[name])
		}
	}
	return r, masks, nil
}

// accepted says what an option takes.
var accepted = map[string]string{
	"conf": "a number from 0 to 1", "iou": "a number from 0 to 1", "max_det": "a whole number from 1",
	"imgsz": "a whole number of pixels", "classes": "class numbers with commas between them, as a text",
	"agnostic_nms": "true or false", "nms": "true or false", "masks": "polygon, rle or none", "keep_alive": yolo.KeepAliveAccepts,
}

func clipValue(v any) any {
	if s, ok := v.(string); ok {
		return strconv.Quote(clip(s))
	}
	return v
}

func fraction(v any) (*float64, bool) {
	switch v := v.(type) {
	case float64:
		return &v, v >= 0 && v <= 1
	case int64:
		f := float64(v)
		return &f, v == 0 || v == 1
	}
	return nil, false
}

func whole(v any) (int, bool) {
	n, ok := v.(int64)
	return int(n), ok && n >= 1 && n <= math.MaxInt32
}

// numbers reads class numbers: one, or a text such as 0,2 or [0,2].
func numbers(v any) ([]int, bool) {
	if n, ok := v.(int64); ok {
		return []int{int(n)}, n >= 0 && n <= math.MaxInt32
	}
	s, ok := v.(string)
	if !ok || len(s) > 64<<10 {
		return nil, false
	}
	out := []int{}
	for part := range strings.SplitSeq(strings.Trim(s, "[] "), ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(part), 10, 31)
		if err != nil {
			return nil, false
		}
		out = append(out, int(n))
	}
	return out, true
}
