package oip

import (
	"context"
	"encoding/binary"
	"math"
	"time"
	"unsafe"

	"lazyolo/internal/bodies"
	"lazyolo/yolo"
)

// A Request asks a model for an inference.
type Request struct {
	Model, Version string
	ID             string         // repeated in the answer
	Parameters     map[string]any // bool, int64, float64 or string
	Inputs         []Input
	Outputs        []RequestedOutput // empty: all
}

// An Input is one tensor. Its elements are in Raw, Floats or Texts.
type Input struct {
	Name       string
	DataType   string
	Shape      []int64
	Parameters map[string]any

	Raw    []byte    // as they lie in memory, little-endian; of BYTES each with a length of 4 bytes before
	Floats []float32 // of FP32 that came as numbers
	Texts  [][]byte  // of BYTES
}

// A RequestedOutput names an output.
type RequestedOutput struct {
	Name       string
	Parameters map[string]any
}

// A Response is the answer. The outputs' Raw may lie in the memory of the request.
type Response struct {
	Model, Version string
	ID             string
	Parameters     map[string]any
	Outputs        []Output
}

// An Output is one tensor of an answer.
type Output struct {
	Name     string
	DataType string
	Shape    []int64
	Raw      []byte // as Input.Raw
}

// Bounds of a request.
const (
	maxRank     = 8
	maxInputs   = 16
	maxOutputs  = 64
	maxElements = 1 << 32
)

// bytesType is the datatype of texts and pictures.
const bytesType = "BYTES"

// Infer has a model run. The elements of q are arbitrary afterwards; memory that it
// takes beyond them, the answer's too, is charged to held.
func (c *Core) Infer(ctx context.Context, q *Request, held *bodies.Claim) (*Response, error) {
	m, err := c.Model(q.Model, q.Version)
	if err != nil {
		return nil, err
	}
	if err := q.check(); err != nil {
		return nil, err
	}
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	if us, ok := q.Parameters["timeout"].(int64); ok && us > 0 && us < math.MaxInt64/1000 {
		var ended context.CancelFunc
		ctx, ended = context.WithTimeout(ctx, time.Duration(us)*time.Microsecond)
		defer ended()
	}
	out := &Response{Model: m.ID, Version: m.Version, ID: q.ID, Parameters: echoed(q.Parameters)}
	if q.Inputs[0].DataType == bytesType {
		err = c.pictures(ctx, m, q, out)
	} else {
		err = c.tensors(ctx, m, q, held, out)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// echoed is what of a request's parameters stands in the answer: what does not tell how
// to answer.
func echoed(p map[string]any) map[string]any {
	var out map[string]any
	for k, v := range p {
		switch k {
		case "binary_data_output", "timeout", "priority", "sequence_id", "sequence_start", "sequence_end":
			continue
		}
		if out == nil {
			out = make(map[string]any)
		}
		out[k] = v
	}
	return out
}

// check refuses what no model of ours takes.
func (q *Request) check() error {
	if len(q.Inputs) == 0 {
		return yolo.Errorf(yolo.Invalid, "inputs: there are none")
	}
	for _, in := range q.Inputs {
		for p := range in.Parameters {
			if isSharedMemory(p) {
				return yolo.Errorf(yolo.Invalid, "input %q: shared memory (%s) is not served: send the data itself", clip(in.Name), p)
			}
		}
		if _, ok := sizes[in.DataType]; !ok && in.DataType != bytesType {
			return yolo.Errorf(yolo.Invalid, "input %q: there is no datatype %q", clip(in.Name), clip(in.DataType))
		}
		n, ok := elements(in.Shape)
		if !ok {
			in.Shape = in.Shape[:min(len(in.Shape), maxRank+1)] // enough to see what is wrong
			return yolo.Errorf(yolo.Invalid, "input %q: the shape %v is not 1 to %d whole numbers from 0 whose product is below 2^32", clip(in.Name), in.Shape, maxRank)
		}
		if in.Raw != nil && in.DataType != bytesType && int64(len(in.Raw)) != n*int64(sizes[in.DataType]) {
			return yolo.Errorf(yolo.Invalid, "input %q: %d bytes were sent, shape %v of %s takes %d",
				clip(in.Name), len(in.Raw), in.Shape, in.DataType, n*int64(sizes[in.DataType]))
		}
	}
	seen := make(map[string]bool)
	for _, o := range q.Outputs {
		if seen[o.Name] {
			return yolo.Errorf(yolo.Invalid, "output %q is asked for twice", clip(o.Name))
		}
		seen[o.Name] = true
		for p, v := range o.Parameters {
			if isSharedMemory(p) {
				return yolo.Errorf(yolo.Invalid, "output %q: shared memory (%s) is not served", clip(o.Name), p)
			}
			if p == "classification" && v != int64(0) {
				return yolo.Errorf(yolo.Invalid, "output %q: classification is not served: send a picture (input image, BYTES) for named classes", clip(o.Name))
			}
		}
	}
	return nil
}

func isSharedMemory(parameter string) bool {
	return parameter == "shared_memory_region" || parameter == "shared_memory_offset" || parameter == "shared_memory_byte_size"
}

// sizes are those of an element in bytes, by datatype.
var sizes = map[string]int{
	"BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8,
	"FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8,
}

// elements is how many a shape has; false: it is none that is served.
func elements(shape []int64) (n int64, ok bool) {
	if len(shape) == 0 || len(shape) > maxRank {
		return 0, false
	}
	n = 1
	for _, d := range shape {
		if d < 0 || d > maxElements || d > 0 && n > maxElements/d {
			return 0, false
		}
		n *= d
	}
	return n, true
}

// tensors has the model run on what was sent as it is.
func (c *Core) tensors(ctx context.Context, m *yolo.Model, q *Request, held *bodies.Claim, to *Response) error {
	s, err := c.detector.Signature(ctx, m)
	if err != nil {
		return err
	}
	in := make([]yolo.Tensor, len(s.Inputs))
	given := 0
	for i, want := range s.Inputs {
		k := inputCalled(q.Inputs, want.Name)
		if k < 0 {
			return yolo.Errorf(yolo.Invalid, "input %q is missing, the first input given is called %q", want.Name, clip(q.Inputs[0].Name))
		}
		given++
		if in[i], err = tensor(ctx, &q.Inputs[k], want, held); err != nil {
			return err
		}
	}
	if given != len(q.Inputs) {
		return yolo.Errorf(yolo.Invalid, "inputs: %d were given, the model has %d", len(q.Inputs), given)
	}
	chosen, err := choose(q.Outputs, s.Outputs)
	if err != nil {
		return err
	}
	return c.detector.Infer(ctx, m.ID, in, func(out []yolo.Tensor) error {
		if len(out) != len(s.Outputs) { // of another revision than was described
			return &yolo.Error{Code: yolo.Unavailable, Model: m.ID, Msg: "the model has just changed", Retry: time.Second}
		}
		to.Outputs = make([]Output, len(chosen))
		spare := q.Inputs[0].Raw // the model has read it
		for k, i := range chosen {
			o := &to.Outputs[k]
			*o = Output{Name: s.Outputs[i].Name, DataType: string(s.Outputs[i].DType), Shape: out[i].Shape}
			size := len(out[i].Data) * sizes[o.DataType]
			if len(spare) < size {
				if spare, err = held.Buffer(ctx, int64(size)); err != nil {
					return err
				}
				spare = spare[:size]
			}
			o.Raw, spare = spare[:size:size], spare[size:]
			if !write(o.Raw, out[i].Data, s.Outputs[i].DType) {
				return yolo.Errorf(yolo.Unsupported, "output %q: element type %s is not served", o.Name, o.DataType)
			}
		}
		return nil
	})
}

// inputCalled finds an input; -1: it is not there.
func inputCalled(in []Input, name string) int {
	for i := range in {
		if in[i].Name == name {
			return i
		}
	}
	return -1
}

// tensor is an input as the model takes it.
func tensor(ctx context.Context, in *Input, want yolo.TensorInfo, held *bodies.Claim) (yolo.Tensor, error) {
	t := yolo.Tensor{Name: want.Name, Shape: in.Shape}
	if in.DataType != string(want.DType) {
		return t, yolo.Errorf(yolo.Invalid, "input %q: the datatype is %s, the model takes %s", want.Name, in.DataType, want.DType)
	}
	n, _ := elements(in.Shape) // was checked
	switch {
	case in.Floats != nil:
		if t.Data = in.Floats; int64(len(t.Data)) != n {
			return t, yolo.Errorf(yolo.Invalid, "input %q: %d values were sent, the shape %v takes %d", want.Name, len(t.Data), in.Shape, n)
		}
		return t, nil
	case in.Raw == nil:
		return t, yolo.Errorf(yolo.Invalid, "input %q has no data", want.Name)
	case n == 0:
		return t, yolo.Errorf(yolo.Invalid, "input %q: the shape %v has no elements", want.Name, in.Shape)
	case want.DType == yolo.FP32 && uintptr(unsafe.Pointer(&in.Raw[0]))%4 == 0:
		t.Data = unsafe.Slice((*float32)(unsafe.Pointer(&in.Raw[0])), n)
		return t, nil
	}
	if err := held.Grow(ctx, 4*n); err != nil {
		return t, err
	}
	t.Data = make([]float32, n)
	for i := range t.Data {
		if want.DType == yolo.FP16 {
			t.Data[i] = yolo.HalfToFloat(binary.LittleEndian.Uint16(in.Raw[2*i:]))
		} else {
			t.Data[i] = math.Float32frombits(binary.LittleEndian.Uint32(in.Raw[4*i:]))
		}
	}
	return t, nil
}

// choose finds the outputs that are asked for among those there are.
func choose(asked []RequestedOutput, have []yolo.TensorInfo) ([]int, error) {
	var out []int
	for i := range have {
		if len(asked) == 0 {
			out = append(out, i)
		}
	}
next:
	for _, a := range asked {
		for i, h := range have {
			if h.Name == a.Name {
				out = append(out, i)
				continue next
			}
		}
		return nil, yolo.Errorf(yolo.Invalid, "there is no output %q", clip(a.Name))
	}
	return out, nil
}

// write puts values into dst as elements of their own type; false: it is not served.
func write(dst []byte, v []float32, as yolo.DType) bool {
	switch as {
	case yolo.FP32:
		if len(v) > 0 {
			copy(dst, unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), 4*len(v))) // all our platforms are little-endian
		}
	case yolo.FP16:
		for i, f := range v {
			binary.LittleEndian.PutUint16(dst[2*i:], yolo.FloatToHalf(f))
		}
	case yolo.UINT8:
		for i, f := range v {
			dst[i] = byte(f)
		}
	default:
		return false
	}
	return true
}
