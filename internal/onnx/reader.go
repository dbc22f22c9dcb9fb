package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// A reader goes through the fields of one message. Errors stick: after one, the
// message is at its end.
type reader struct {
	data  []byte
	depth int
	total *int // messages so far, over all of the file
	err   error

	field, wire int
	num         uint64 // of a varint or a fixed-size field
	bytes       []byte // of a length-delimited field
}

var errDamaged = errors.New("the file is no ONNX file or is damaged")

// next reads the next field, and reports whether there is one.
func (r *reader) next() bool {
	if r.err != nil || len(r.data) == 0 {
		return false
	}
	tag := r.uvarint()
	r.field, r.wire = int(tag>>3&math.MaxInt32), int(tag&7)
	switch r.wire {
	case wireVarint:
		r.num = r.uvarint()
	case wire64:
		if b := r.take(8); b != nil {
			r.num = binary.LittleEndian.Uint64(b)
		}
	case wire32:
		if b := r.take(4); b != nil {
			r.num = uint64(binary.LittleEndian.Uint32(b))
		}
	case wireBytes:
		r.bytes = r.take(r.uvarint())
	default: // groups are long gone
		r.err = errDamaged
	}
	if r.field == 0 {
		r.err = errDamaged
	}
	return r.err == nil
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.err = errDamaged
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *reader) take(n uint64) []byte {
	if r.err != nil || n > uint64(len(r.data)) {
		r.err = errDamaged
		return nil
	}
	b := r.data[:n:n]
	r.data = r.data[n:]
	return b
}

// is reports whether the current field has this wire type; a known field with
// another one is damage.
func (r *reader) is(wire int) bool {
	if r.wire != wire {
		r.err = errDamaged
	}
	return r.wire == wire
}

// int is the current field as a number.
func (r *reader) int() int64 {
	if !r.is(wireVarint) {
		return 0
	}
	return int64(r.num)
}

// text is the current field as a string.
func (r *reader) text() string {
	if !r.is(wireBytes) {
		return ""
	}
	return string(r.bytes)
}

// message reads the current field with parse.
func (r *reader) message(parse func(*reader)) {
	if !r.is(wireBytes) {
		return
	}
	*r.total++
	inner := &reader{data: r.bytes, depth: r.depth + 1, total: r.total}
	switch {
	case *r.total > maxMessages:
		r.err = fmt.Errorf("it has more than %d parts", maxMessages)
	case inner.depth > maxDepth:
		r.err = fmt.Errorf("its parts stand inside one another more than %d deep", maxDepth)
	default:
		parse(inner)
		r.err = inner.err
	}
}

// ints appends the current field, one number or many packed ones.
func (r *reader) ints(dst []int64, most int) []int64 {
	if r.wire == wireVarint {
		return r.bounded(append(dst, int64(r.num)), most)
	}
	if !r.is(wireBytes) {
		return dst
	}
	in := reader{data: r.bytes}
	for len(in.data) > 0 && in.err == nil && r.err == nil {
		dst = r.bounded(append(dst, int64(in.uvarint())), most)
	}
	r.err = errors.Join(r.err, in.err)
	return dst
}

func (r *reader) bounded(dst []int64, most int) []int64 {
	if len(dst) > most {
		r.err = fmt.Errorf("a list has more than %d entries", most)
	}
	return dst
}

// floats appends the current field, one number or many packed ones.
func (r *reader) floats(dst []float32) []float32 {
	if r.wire == wire32 {
		return append(dst, math.Float32frombits(uint32(r.num)))
	}
	if r.is(wireBytes) {
		for b := r.bytes; len(b) >= 4; b = b[4:] {
			dst = append(dst, math.Float32frombits(binary.LittleEndian.Uint32(b)))
		}
	}
	return dst
}
