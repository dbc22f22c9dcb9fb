package detect

import (
	"cmp"
	"fmt"

	"lazyolo/internal/imaging"
	"lazyolo/yolo"
)

// dynamicSize is the longer side of a picture in a dynamic ONNX input: the
// default imgsz of Ultralytics' predictor, whatever the export was made with.
const dynamicSize = 640

// A fitting is how a picture is brought to the input's size.
type fitting int

const (
	letterboxed fitting = iota // proportions kept, the rest padded
	stretched                  // proportions given up: RT-DETR
	cropped                    // proportions kept, the middle cut out: classifiers
)

// An input says how pictures go into a model.
type input struct {
	size          int // longer side of a picture in a dynamic input, when the request names none; 0: dynamicSize
	width, height int // of a static input, in pixels; 0: dynamic
	stride        int // sides of a dynamic input are multiples of it
	fitting       fitting
}

// inputOf reads a model's input, and refuses what takes no pictures. stride and
// trained, the size it was trained with, are what the file says; 0: nothing.
func inputOf(m *yolo.Model, inputs []yolo.TensorInfo, stride, trained int, how fitting) (input, error) {
	if len(inputs) != 1 || len(inputs[0].Shape) != 4 {
		return input{}, unsupported(m, "not a YOLO model: it has %s, expected one picture [1,3,height,width]", describe("inputs", inputs))
	}
	s := inputs[0].Shape
	if s[0] > 1 || (s[1] != 3 && s[1] != -1) || inputs[0].DType != yolo.FP32 && inputs[0].DType != yolo.FP16 {
		return input{}, unsupported(m, "its input is %s, expected FP32 or FP16 [1,3,height,width]; export it with batch=1", describe("", inputs))
	}
	in := input{width: max(0, int(s[3])), height: max(0, int(s[2])), stride: 32, fitting: how}
	if m.IsCheckpoint() { // as Ultralytics predicts a .pt, unless labels.yaml says otherwise
		in.size = cmp.Or(m.InputSize, trained)
	}
	if stride > 0 && stride <= 1024 {
		in.stride = stride
	}
	if (in.width == 0) != (in.height == 0) {
		return input{}, unsupported(m, "its input is %s: height and width must be both static or both dynamic", describe("", inputs))
	}
	return in, nil
}

// A placement is the geometry of one picture in the input, and what fills it.
type placement struct {
	imaging.Fit // a classifier's knows only the sizes
	fill        func(dst []float32, img *imaging.Image, cores int)
}

// place fits a picture of w by h pixels into the input: a fixed size, or, where
// the input is dynamic, one of that longer side; 0: the model's own.
func (in input) place(w, h, size int) placement {
	width, height := in.width, in.height
	dynamic := width == 0
	if dynamic {
		if size == 0 {
			size = cmp.Or(in.size, dynamicSize)
		}
		width = (size + in.stride - 1) / in.stride * in.stride
		height = width
	}
	switch {
	case in.fitting == stretched:
		fit := imaging.Stretch(w, h, width, height)
		return placement{fit, fit.Fill}
	case in.fitting == cropped:
		crop := imaging.NewCrop(w, h, width, height)
		return placement{imaging.Fit{Width: width, Height: height, SrcW: w, SrcH: h}, crop.Fill}
	case dynamic:
		fit := imaging.LetterboxAuto(w, h, size, in.stride)
		return placement{fit, fit.Fill}
	}
	fit := imaging.Letterbox(w, h, width, height)
	return placement{fit, fit.Fill}
}

// fitter tells the decoder how a picture will lie in the input, so that it may
// decode at a fraction of the size; nil: only the whole picture will do.
func (in input) fitter(size int) func(w, h int) imaging.Fit {
	if in.fitting == cropped {
		return nil
	}
	return func(w, h int) imaging.Fit { return in.place(w, h, size).Fit }
}

// describe lists tensors for a message, such as "inputs x FP32 [1 10]".
func describe(what string, infos []yolo.TensorInfo) string {
	for i, t := range infos {
		if i > 0 {
			what += ","
		}
		what += fmt.Sprintf(" %s %s %v", t.Name, t.DType, t.Shape)
	}
	return what
}
