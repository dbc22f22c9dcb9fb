package grpcapi

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"lazyolo/internal/bodies"
	"lazyolo/internal/oip"
	"lazyolo/internal/pb"
	"lazyolo/yolo"
)

// codec is protobuf, but that the tensors of an inference are copied once on their way
// in and not at all on their way out.
type codec struct{}

// Name implements encoding.CodecV2.
func (codec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	switch v := v.(type) {
	case *inferResponse:
		return v.marshal()
	case proto.Message:
		b, err := proto.Marshal(v)
		return mem.BufferSlice{mem.SliceBuffer(b)}, err
	}
	return nil, fmt.Errorf("marshal %T: not a message", v)
}

// Unmarshal implements encoding.CodecV2.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch v := v.(type) {
	case *message: // understood when there is memory for it
		data.Ref()
		v.data = data
		return nil
	case proto.Message:
		b := data.MaterializeToBuffer(mem.DefaultBufferPool())
		defer b.Free()
		return proto.Unmarshal(b.ReadOnlyData(), v)
	}
	return fmt.Errorf("unmarshal into %T: not a message", v)
}

// A message is one of our service's as it came. Whoever has it calls free.
type message struct{ data mem.BufferSlice }

func (m *message) free() {
	m.data.Free()
	m.data = nil
}

// into decodes a message that is small.
func (m *message) into(v proto.Message) error {
	defer m.free()
	if m.data.Len() > maxSmall {
		return yolo.Errorf(yolo.TooLarge, "a message of this call has at most %d bytes", maxSmall)
	}
	if err := proto.Unmarshal(m.data.Materialize(), v); err != nil {
		return &yolo.Error{Code: yolo.Invalid, Msg: "the message is not the one that the call takes", Err: err}
	}
	return nil
}

// An inferResponse is an answer whose tensors lie in the memory that held has. It is
// marshalled once.
type inferResponse struct {
	answer  *oip.Response
	held    *bodies.Claim
	sending bool               // grpc gives the memory back
	late    func() *time.Timer // begins to wait for the client to take it; nil: for ever
}

// small is what is copied rather than referred to, in bytes.
const small = 4 << 10

// marshal encodes the answer. held is released when all of it was written.
func (r *inferResponse) marshal() (mem.BufferSlice, error) {
	head := &pb.ModelInferResponse{
		ModelName: r.answer.Model, ModelVersion: r.answer.Version, Id: r.answer.ID, Parameters: wireParameters(r.answer.Parameters),
	}
	for _, o := range r.answer.Outputs {
		head.Outputs = append(head.Outputs, &pb.ModelInferResponse_InferOutputTensor{Name: o.Name, Datatype: o.DataType, Shape: o.Shape})
	}
	b, err := proto.Marshal(head)
	if err != nil {
		return nil, err
	}
	s := &sent{held: r.held}
	s.left.Store(1)
	var out mem.BufferSlice
	for _, o := range r.answer.Outputs {
		b = protowire.AppendVarint(protowire.AppendTag(b, rawOutputContents, protowire.BytesType), uint64(len(o.Raw)))
		if len(o.Raw) < small {
			b = append(b, o.Raw...)
			continue
		}
		s.left.Add(1)
		raw := o.Raw
		out = append(out, mem.SliceBuffer(b), mem.NewBuffer(&raw, s))
		b = nil
	}
	out = append(out, mem.SliceBuffer(b))
	// A connection that breaks leaves buffers behind that nobody frees.
	s.lost = runtime.AddCleanup(s, func(held *bodies.Claim) { held.Release() }, s.held)
	if len(out) > 1 && r.late != nil {
		s.late = r.late()
	}
	r.sending = true
	s.Put(nil)
	return out, nil
}

// sent counts the buffers of an answer that are not written yet. It implements
// mem.BufferPool, to hear of each.
type sent struct {
	left atomic.Int32
	held *bodies.Claim
	lost runtime.Cleanup
	late *time.Timer // nil: none
}

// Get implements mem.BufferPool; nobody calls it.
func (s *sent) Get(n int) *[]byte { return new(make([]byte, n)) }

// Put implements mem.BufferPool.
func (s *sent) Put(*[]byte) {
	if s.left.Add(-1) == 0 {
		s.lost.Stop()
		if s.late != nil {
			s.late.Stop()
		}
		s.held.Release()
	}
}
