package ort

/*
#include <stdlib.h>
#include "ort.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"lazyolo/yolo"
)

// maxRank bounds the dimensions of a tensor that lazyolo handles.
const maxRank = 8

// A Session is a model ready to run. Run may be called from several goroutines
// at once, which share its threads; Close must come after the last Run.
type Session struct {
	rt       *Runtime
	c        *C.OrtSession
	inputs   []yolo.TensorInfo
	outputs  []yolo.TensorInfo
	inNames  []*C.char
	outNames []*C.char
	close    func() error
}

// OpenMapped makes a session of a prepared model: an ORT-format file mapped
// into memory, whose bytes serve as the weights without a copy. A run takes so many
// threads, its caller among them; the others are the session's own and sleep between
// runs. The session takes the mapping over: unmap is called once, when the session is
// closed or could not be opened, and data must stay unchanged until then. Several
// sessions may use one mapping.
func (r *Runtime) OpenMapped(data []byte, threads int, unmap func() error) (*Session, error) {
	s, err := r.openMapped(data, threads)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open session: %w", err), unmap())
	}
	s.close = unmap
	return s, nil
}

func (r *Runtime) openMapped(data []byte, threads int) (*Session, error) {
	if len(data) == 0 {
		return nil, errors.New("empty model")
	}
	o := C.lz_session_options{mapped: 1, threads: C.int(threads)}
	var c *C.OrtSession
	if err := r.check(C.lz_open_bytes(&r.c, unsafe.Pointer(&data[0]), C.size_t(len(data)), &o, &c)); err != nil {
		return nil, err
	}
	return r.newSession(c)
}

// OpenPlain makes a session of the ONNX file at path as a program does that changes no
// option of ONNX Runtime but the threads: the graph is optimised now, the weights are
// copied onto the heap, and the session has an arena of its own. The server does not
// open models so; it is what its own way is compared with. It returns the file's
// metadata, too.
func (r *Runtime) OpenPlain(path string, threads int) (*Session, map[string]string, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	o := C.lz_session_options{plain: 1, threads: C.int(threads)}
	var c *C.OrtSession
	if err := r.check(C.lz_open_path(&r.c, name, &o, &c)); err != nil {
		return nil, nil, fmt.Errorf("open session: %w", err)
	}
	s, err := r.describeSession(c)
	if err != nil {
		return nil, nil, err
	}
	metadata, err := r.metadata(c)
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return s, metadata, nil
}

// Optimize loads the ONNX file at path with every graph optimisation, saves the
// result at out in ORT format, its weights aligned to cache lines, and returns the
// file's metadata. It needs several times the weights' size in memory: run it in a
// process of its own.
func (r *Runtime) Optimize(path, out string) (metadata map[string]string, err error) {
	if metadata, err = r.optimize(path, out); err != nil {
		return nil, err
	}
	return metadata, align(out)
}

func (r *Runtime) optimize(path, out string) (metadata map[string]string, err error) {
	in, to := C.CString(path), C.CString(out)
	defer C.free(unsafe.Pointer(in))
	defer C.free(unsafe.Pointer(to))
	// The options hold a C pointer only, so Go may pass them by address.
	o := C.lz_session_options{optimized_path: to}
	var c *C.OrtSession
	if err := r.check(C.lz_open_path(&r.c, in, &o, &c)); err != nil {
		return nil, err
	}
	metadata, err = r.metadata(c)
	C.lz_close(&r.c, c)
	C.lz_trim()
	return metadata, err
}

// newSession describes a session that uses the shared arena.
func (r *Runtime) newSession(c *C.OrtSession) (*Session, error) {
	var err error
	r.arena.Do(func() { err = r.check(C.lz_find_arena(&r.c, c)) })
	if err != nil {
		C.lz_close(&r.c, c)
		return nil, err
	}
	return r.describeSession(c)
}

func (r *Runtime) describeSession(c *C.OrtSession) (*Session, error) {
	s := &Session{rt: r, c: c, close: func() error { return nil }}
	var err error
	if s.inputs, s.inNames, err = r.describe(c, 0); err == nil {
		s.outputs, s.outNames, err = r.describe(c, 1)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// describe lists the inputs (output 0) or outputs (1) of a session; the C names
// are freed by Session.Close.
func (r *Runtime) describe(c *C.OrtSession, output C.int) ([]yolo.TensorInfo, []*C.char, error) {
	var n C.size_t
	if err := r.check(C.lz_count(&r.c, c, output, &n)); err != nil {
		return nil, nil, err
	}
	var infos []yolo.TensorInfo
	var names []*C.char
	for i := range n {
		var name *C.char
		var kind C.int
		var shape [maxRank]C.int64_t
		rank := C.size_t(maxRank)
		if err := r.check(C.lz_describe(&r.c, c, output, i, &name, &kind, &shape[0], &rank)); err != nil {
			return infos, names, err
		}
		info := yolo.TensorInfo{Name: C.GoString(name), DType: dtype(kind), Shape: make([]int64, rank)}
		for j := range info.Shape {
			info.Shape[j] = max(-1, int64(shape[j]))
		}
		infos, names = append(infos, info), append(names, name)
	}
	return infos, names, nil
}

func (r *Runtime) metadata(c *C.OrtSession) (map[string]string, error) {
	var m *C.OrtModelMetadata
	var keys **C.char
	var n C.int64_t
	if err := r.check(C.lz_metadata_keys(&r.c, c, &m, &keys, &n)); err != nil {
		return nil, err
	}
	defer C.lz_metadata_free(&r.c, m, keys, n)
	out := make(map[string]string, n)
	for _, k := range unsafe.Slice(keys, n) {
		var v *C.char
		if err := r.check(C.lz_metadata_value(&r.c, m, k, &v)); err != nil {
			return nil, err
		}
		out[C.GoString(k)] = C.GoString(v)
		C.lz_free_string(&r.c, v)
	}
	return out, nil
}

// dtype names an ONNXTensorElementDataType as the Open Inference Protocol does.
func dtype(kind C.int) yolo.DType {
	switch kind {
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
		return yolo.FP32
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
		return yolo.FP16
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
		return yolo.UINT8
	}
	return yolo.DType(fmt.Sprintf("ONNX_%d", int(kind)))
}

// Inputs describes the session's inputs; the caller must not change the slice.
func (s *Session) Inputs() []yolo.TensorInfo { return s.inputs }

// Outputs describes the session's outputs; the caller must not change the slice.
func (s *Session) Outputs() []yolo.TensorInfo { return s.outputs }

// Run runs the model once on in, one tensor per input in Inputs' order, hands
// the outputs to use and frees them when it returns: use must not keep them.
// FP16 tensors are converted, on the way in in place: the data of such an input is
// arbitrary afterwards. When ctx ends the run is
// ended too, at the next operator, and Run returns ctx's error.
func (s *Session) Run(ctx context.Context, in []yolo.Tensor, use func(out []yolo.Tensor) error) error {
	if len(in) != len(s.inputs) {
		return fmt.Errorf("run: got %d inputs, the model has %d", len(in), len(s.inputs))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var opts *C.OrtRunOptions
	if err := s.rt.check(C.lz_run_options(&s.rt.c, &opts)); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	// The options are freed only once nobody can terminate through them any more.
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = s.rt.check(C.lz_terminate(&s.rt.c, opts))
		close(ended)
	})
	defer func() {
		if !stop() {
			<-ended
		}
		C.lz_run_options_free(&s.rt.c, opts)
	}()
	values, err := s.run(opts, in)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("run: %w", err)
	}
	defer func() {
		for _, v := range values {
			C.lz_value_free(&s.rt.c, v)
		}
	}()
	out := make([]yolo.Tensor, len(values))
	for i, v := range values {
		if out[i], err = s.rt.tensor(v); err != nil {
			return fmt.Errorf("run: output %s: %w", s.outputs[i].Name, err)
		}
		out[i].Name = s.outputs[i].Name
	}
	return use(out)
}

func (s *Session) run(opts *C.OrtRunOptions, in []yolo.Tensor) ([]*C.OrtValue, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	tensors := make([]C.lz_tensor, len(in))
	for i, t := range in {
		if len(t.Data) == 0 || len(t.Shape) == 0 || len(t.Shape) > maxRank {
			return nil, fmt.Errorf("input %s: shape %v with %d values", s.inputs[i].Name, t.Shape, len(t.Data))
		}
		data, size, kind := unsafe.Pointer(&t.Data[0]), 4*len(t.Data), C.int(C.ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT)
		if s.inputs[i].DType == yolo.FP16 {
			half := unsafe.Slice((*uint16)(data), len(t.Data))
			for j, v := range t.Data {
				half[j] = yolo.FloatToHalf(v) // overwrites only what was read
			}
			size, kind = 2*len(half), C.ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16
		}
		pin.Pin(data)
		pin.Pin(&t.Shape[0])
		tensors[i] = C.lz_tensor{data: data, bytes: C.size_t(size), shape: (*C.int64_t)(&t.Shape[0]),
			rank: C.size_t(len(t.Shape)), _type: kind}
	}
	values := make([]*C.OrtValue, len(s.outputs))
	err := s.rt.check(C.lz_run(&s.rt.c, s.c, opts, &s.inNames[0], &tensors[0], C.size_t(len(tensors)),
		&s.outNames[0], C.size_t(len(values)), &values[0]))
	return values, err
}

// tensor views a float output in place; FP16 and bytes are copied into float32.
func (r *Runtime) tensor(v *C.OrtValue) (yolo.Tensor, error) {
	var c C.lz_tensor
	var dims [maxRank]C.int64_t
	if err := r.check(C.lz_value(&r.c, v, &c, &dims[0], maxRank)); err != nil {
		return yolo.Tensor{}, err
	}
	t := yolo.Tensor{Shape: make([]int64, c.rank)}
	n := int64(1)
	for i := range t.Shape {
		t.Shape[i] = int64(dims[i])
		n *= t.Shape[i]
	}
	switch c._type {
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
		t.Data = unsafe.Slice((*float32)(c.data), n)
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
		t.Data = make([]float32, n)
		for i, h := range unsafe.Slice((*uint16)(c.data), n) {
			t.Data[i] = yolo.HalfToFloat(h)
		}
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8: // class numbers
		t.Data = make([]float32, n)
		for i, b := range unsafe.Slice((*uint8)(c.data), n) {
			t.Data[i] = float32(b)
		}
	default:
		return t, yolo.Errorf(yolo.Unsupported, "element type %s is not served", dtype(c._type))
	}
	return t, nil
}

// Close frees the session and its mapping. What the C allocator keeps of it goes back
// with Runtime.Trim.
func (s *Session) Close() error {
	C.lz_close(&s.rt.c, s.c)
	for _, n := range append(s.inNames, s.outNames...) {
		C.lz_free_string(&s.rt.c, n)
	}
	return s.close()
}
