package oip

import (
	"context"

	"lazyolo/internal/bodies"
	"lazyolo/yolo"
)

// A draft is a request whose data is still where it was sent: as JSON, or behind it.
type draft struct {
	Request
	json []byte
	data []span // of each input
}

// A span is where the data of an input is.
type span struct {
	from, to int   // in the JSON; to 0: not there
	binary   int64 // bytes behind the JSON; -1: none
}

// parse reads the JSON of an inference. The result refers to it.
func parse(body []byte) (*draft, error) {
	d := &draft{json: body}
	s := &scanner{b: body}
	err := s.object(func(key string) (err error) {
		switch key {
		case "id":
			if !s.null() {
				d.ID, err = s.text()
			}
		case "parameters":
			d.Parameters, err = s.parameters()
		case "inputs":
			d.Inputs, d.data = nil, nil // the last of two equal keys counts
			if !s.null() {
				err = s.array(func() error { return d.input(s) })
			}
		case "outputs":
			d.Outputs = nil
			if !s.null() {
				err = s.array(func() error { return d.output(s) })
			}
		default:
			err = s.skip()
		}
		return err
	})
	if err == nil {
		err = s.end()
	}
	return d, err
}

func (d *draft) input(s *scanner) error {
	if len(d.Inputs) == maxInputs {
		return s.wrong("there are more than %d inputs", maxInputs)
	}
	var in Input
	at := span{binary: -1}
	err := s.object(func(key string) (err error) {
		switch key {
		case "name":
			in.Name, err = s.text()
		case "datatype":
			in.DataType, err = s.text()
		case "shape":
			in.Shape, err = s.shape()
		case "parameters":
			in.Parameters, err = s.parameters()
		case "data":
			s.next()
			at.from = s.at
			err = s.skip()
			at.to = s.at
		default:
			err = s.skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	if v, ok := in.Parameters["binary_data_size"]; ok {
		n, ok := v.(int64)
		if !ok || n < 0 {
			return yolo.Errorf(yolo.Invalid, "input %q: binary_data_size is %v, it must be a whole number from 0", clip(in.Name), clipValue(v))
		}
		if at.to > 0 {
			return yolo.Errorf(yolo.Invalid, "input %q has both data and binary_data_size", clip(in.Name))
		}
		at.binary = n
	}
	d.Inputs, d.data = append(d.Inputs, in), append(d.data, at)
	return nil
}

func (s *scanner) shape() (shape []int64, err error) {
	return shape, s.array(func() error {
		if len(shape) == maxRank {
			return s.wrong("a shape has more than %d dimensions", maxRank)
		}
		n, err := s.int64()
		shape = append(shape, n)
		return err
	})
}

func (d *draft) output(s *scanner) error {
	if len(d.Outputs) == maxOutputs {
		return s.wrong("there are more than %d outputs", maxOutputs)
	}
	var o RequestedOutput
	err := s.object(func(key string) (err error) {
		switch key {
		case "name":
			o.Name, err = s.text()
		case "parameters":
			o.Parameters, err = s.parameters()
		default:
			err = s.skip()
		}
		return err
	})
	d.Outputs = append(d.Outputs, o)
	return err
}

// read makes elements of what stands in the JSON.
func (d *draft) read(ctx context.Context, held *bodies.Claim) error {
	for i := range d.Inputs {
		in, at := &d.Inputs[i], d.data[i]
		if at.to == 0 {
			continue
		}
		s := &scanner{b: d.json[:at.to], at: at.from}
		n, ok := elements(in.Shape)
		if !ok {
			continue // Request.check says so
		}
		var err error
		switch in.DataType {
		case bytesType:
			in.Texts, err = s.base64s(maxPictures)
		case "FP32":
			if n > int64(at.to-at.from) { // a value takes more than a byte
				return yolo.Errorf(yolo.Invalid, "input %q: data has fewer than the %d values that the shape takes", clip(in.Name), n)
			}
			if err := held.Grow(ctx, 4*n); err != nil {
				return err
			}
			in.Floats = make([]float32, n)
			err = s.floats(in.Floats)
		case "FP16", "BF16":
			return yolo.Errorf(yolo.Invalid, "input %q: %s has no form in JSON: send it as binary data", clip(in.Name), in.DataType)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
