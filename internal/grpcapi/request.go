package grpcapi

import (
	"context"
	"encoding/binary"
	"io"
	"math"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"lazyolo/internal/bodies"
	"lazyolo/internal/oip"
	"lazyolo/internal/pb"
	"lazyolo/yolo"
)

// Numbers of fields.
const (
	modelInputs       = 5 // of a ModelInferRequest
	modelOutputs      = 6
	rawInputContents  = 7
	rawOutputContents = 6 // of a ModelInferResponse
	inputContents     = 5 // of an InferInputTensor
	fp32Contents      = 6 // of InferTensorContents
	bytesContents     = 8
)

// Bounds of a request. maxRest is that of all but the tensors' data: there each byte may
// become many.
const (
	maxInputs   = 16
	maxOutputs  = 64
	maxRest     = 256 << 10
	maxPictures = 32
)

// errMalformed is a message that is no ModelInferRequest.
var errMalformed = yolo.Errorf(yolo.Invalid, "the message is no ModelInferRequest")

// errTooMuch is a message that says too much about its tensors.
var errTooMuch = yolo.Errorf(yolo.Invalid, "the message has more than %d bytes beside the tensors' data", maxRest)

// inferRequest makes a request of the message and lets go of it. held has what was set aside
// for a usual message; afterwards it has what the result takes.
func (r *message) inferRequest(ctx context.Context, held *bodies.Claim) (*oip.Request, error) {
	size := int64(r.data.Len())
	defer func() {
		r.free()
		held.Pay(size)
	}()
	if err := held.Settle(ctx, size); err != nil {
		return nil, err
	}
	m := &parts{in: r.data.Reader(), held: held}
	defer m.in.Close()
	if err := m.read(ctx); err != nil {
		return nil, err
	}
	return m.request()
}

// parts is a ModelInferRequest taken apart: data beside the rest.
type parts struct {
	in     *mem.Reader
	held   *bodies.Claim
	rest   []byte     // the fields without the tensors' data
	inputs []contents // typed data of each input
	raw    [][]byte   // raw_input_contents
	pb     pb.ModelInferRequest
}

// contents is the typed data of an input.
type contents struct {
	there  bool
	other  bool // of a type that no model takes
	floats []float32
	texts  [][]byte
}

// read takes the message apart.
func (m *parts) read(ctx context.Context) error {
	outputs := 0
	for m.in.Remaining() > 0 {
		number, kind, n, err := m.field()
		if err != nil {
			return err
		}
		switch {
		case kind != protowire.BytesType: // no field of ours
			continue
		case number == rawInputContents:
			if len(m.raw) == maxInputs {
				return yolo.Errorf(yolo.Invalid, "raw_input_contents: there are more than %d", maxInputs)
			}
			b, err := m.big(ctx, n)
			if err != nil {
				return err
			}
			m.raw = append(m.raw, b)
		case number == modelInputs:
			if len(m.inputs) == maxInputs {
				return yolo.Errorf(yolo.Invalid, "inputs: there are more than %d", maxInputs)
			}
			if err := m.input(ctx, n); err != nil {
				return err
			}
		default:
			if number == modelOutputs {
				if outputs++; outputs > maxOutputs {
					return yolo.Errorf(yolo.Invalid, "outputs: there are more than %d", maxOutputs)
				}
			}
			b, err := m.small(n)
			if err != nil {
				return err
			}
			m.rest = protowire.AppendBytes(protowire.AppendTag(m.rest, number, kind), b)
		}
	}
	if err := proto.Unmarshal(m.rest, &m.pb); err != nil {
		return errMalformed
	}
	return nil
}

// field reads a field's tag and, of one with a length, that; others are stepped over.
func (m *parts) field() (number protowire.Number, kind protowire.Type, n int64, err error) {
	tag, err := binary.ReadUvarint(m.in)
	if err != nil || tag > math.MaxUint32 {
		return 0, 0, 0, errMalformed
	}
	number, kind = protowire.DecodeTag(tag)
	left := 0
	switch kind {
	case protowire.BytesType:
		size, err := binary.ReadUvarint(m.in)
		if err != nil || size > uint64(m.in.Remaining()) {
			return 0, 0, 0, errMalformed
		}
		return number, kind, int64(size), nil
	case protowire.VarintType:
		_, err = binary.ReadUvarint(m.in)
	case protowire.Fixed32Type:
		left = 4
	case protowire.Fixed64Type:
		left = 8
	default:
		err = errMalformed
	}
	if err != nil || left > m.in.Remaining() {
		return 0, 0, 0, errMalformed
	}
	_, err = m.in.Discard(left)
	return number, kind, 0, err
}

// big reads n bytes of a tensor's data.
func (m *parts) big(ctx context.Context, n int64) ([]byte, error) {
	b, err := m.held.Buffer(ctx, n)
	if err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(m.in, b[:n]); err != nil {
		return nil, errMalformed
	}
	return b[:n], nil
}

// small reads n bytes of what may become many.
func (m *parts) small(n int64) ([]byte, error) {
	if n > maxRest-int64(len(m.rest)) {
		return nil, yolo.Errorf(yolo.Invalid, "the message has more than %d bytes beside the tensors' data", maxRest)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(m.in, b); err != nil {
		return nil, errMalformed
	}
	return b, nil
}

// input reads an InferInputTensor of n bytes: its contents, and the rest of it into rest.
func (m *parts) input(ctx context.Context, n int64) error {
	var rest []byte
	var c contents
	end := int64(m.in.Remaining()) - n
	for int64(m.in.Remaining()) > end {
		number, kind, size, err := m.field()
		if err != nil || int64(m.in.Remaining())-size < end {
			return errMalformed
		}
		switch {
		case number == inputContents && kind == protowire.BytesType:
			c.there = true
			b, err := m.big(ctx, size)
			if err != nil {
				return err
			}
			if err := c.read(ctx, b, m.held); err != nil {
				return err
			}
		case kind == protowire.BytesType:
			b, err := m.small(size)
			if err != nil {
				return err
			}
			if len(b) > maxRest-len(m.rest)-len(rest) {
				return errTooMuch
			}
			rest = protowire.AppendBytes(protowire.AppendTag(rest, number, kind), b)
		default:
			// Shapes are packed by every encoder of proto3: nothing else is a number here.
			return errMalformed
		}
	}
	m.inputs = append(m.inputs, c)
	if len(rest) > maxRest-len(m.rest) {
		return errTooMuch
	}
	m.rest = protowire.AppendBytes(protowire.AppendTag(m.rest, modelInputs, protowire.BytesType), rest)
	return nil
}

// read reads InferTensorContents.
func (c *contents) read(ctx context.Context, b []byte, held *bodies.Claim) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errMalformed
		}
		b = b[n:]
		size := protowire.ConsumeFieldValue(number, kind, b)
		if size < 0 {
			return errMalformed
		}
		value := b[:size]
		b = b[size:]
		switch {
		case number == fp32Contents && kind == protowire.BytesType:
			packed, _ := protowire.ConsumeBytes(value)
			if len(packed)%4 != 0 || c.floats != nil {
				return errMalformed
			}
			if err := held.Grow(ctx, int64(len(packed))); err != nil {
				return err
			}
			c.floats = make([]float32, len(packed)/4)
			for i := range c.floats {
				c.floats[i] = math.Float32frombits(binary.LittleEndian.Uint32(packed[4*i:]))
			}
		case number == bytesContents && kind == protowire.BytesType:
			text, _ := protowire.ConsumeBytes(value)
			if len(c.texts) == maxPictures {
				return yolo.Errorf(yolo.Invalid, "bytes_contents: there are more than %d", maxPictures)
			}
			c.texts = append(c.texts, text)
		default:
			c.other = true
		}
	}
	return nil
}

// request is the request that the message makes.
func (m *parts) request() (*oip.Request, error) {
	q := &oip.Request{
		Model: m.pb.ModelName, Version: m.pb.ModelVersion, ID: m.pb.Id, Parameters: parameters(m.pb.Parameters),
	}
	for _, o := range m.pb.Outputs {
		q.Outputs = append(q.Outputs, oip.RequestedOutput{Name: o.Name, Parameters: parameters(o.Parameters)})
	}
	if len(m.raw) > 0 && len(m.raw) != len(m.pb.Inputs) {
		return nil, yolo.Errorf(yolo.Invalid, "raw_input_contents: there are %d for %d inputs", len(m.raw), len(m.pb.Inputs))
	}
	for i, in := range m.pb.Inputs {
		c := m.inputs[i]
		one := oip.Input{Name: in.Name, DataType: in.Datatype, Shape: in.Shape, Parameters: parameters(in.Parameters), Floats: c.floats, Texts: c.texts}
		switch {
		case len(m.raw) > 0 && c.there:
			return nil, yolo.Errorf(yolo.Invalid, "input %d has both contents and raw_input_contents", i)
		case len(m.raw) > 0:
			if one.Raw = m.raw[i]; one.Raw == nil {
				one.Raw = []byte{}
			}
		case c.other && in.Datatype != "FP16" && in.Datatype != "BF16":
			return nil, yolo.Errorf(yolo.Invalid, "input %d: its contents are neither fp32_contents nor bytes_contents", i)
		case in.Datatype == "FP16" || in.Datatype == "BF16":
			return nil, yolo.Errorf(yolo.Invalid, "input %d: %s has no typed contents: send raw_input_contents", i, in.Datatype)
		case c.floats != nil && in.Datatype != "FP32", c.texts != nil && in.Datatype != "BYTES":
			return nil, yolo.Errorf(yolo.Invalid, "input %d: its contents are not of datatype %s", i, in.Datatype)
		}
		q.Inputs = append(q.Inputs, one)
	}
	return q, nil
}
