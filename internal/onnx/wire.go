package onnx

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// Protobuf's wire types.
const (
	wireVarint = 0
	wire64     = 1
	wireBytes  = 2
	wire32     = 5
)

// A message writes its fields to an encoder.
type message interface{ fields(*encoder) }

// An encoder writes protobuf fields, or only counts their bytes: a message is
// preceded by its length, so each is gone through twice.
type encoder struct {
	w   io.Writer // nil: only count
	n   int64
	buf []byte
	err error
}

func sizeOf(m message) int64 {
	e := encoder{}
	m.fields(&e)
	return e.n
}

func (e *encoder) write(b []byte) {
	e.n += int64(len(b))
	if e.w != nil && e.err == nil {
		_, e.err = e.w.Write(b)
	}
}

func (e *encoder) uvarint(v uint64) {
	e.buf = binary.AppendUvarint(e.buf[:0], v)
	e.write(e.buf)
}

func (e *encoder) tag(field, wire int) { e.uvarint(uint64(field)<<3 | uint64(wire)) }

// int writes a number; zero is written too, as other writers of ONNX do.
func (e *encoder) int(field int, v int64) {
	e.tag(field, wireVarint)
	e.uvarint(uint64(v))
}

func (e *encoder) float(field int, v float32) {
	e.tag(field, wire32)
	e.buf = binary.LittleEndian.AppendUint32(e.buf[:0], math.Float32bits(v))
	e.write(e.buf)
}

func (e *encoder) text(field int, v string) {
	e.tag(field, wireBytes)
	e.uvarint(uint64(len(v)))
	e.n += int64(len(v))
	if e.w != nil && e.err == nil {
		_, e.err = io.WriteString(e.w, v)
	}
}

// optional writes a string unless it is empty.
func (e *encoder) optional(field int, v string) {
	if v != "" {
		e.text(field, v)
	}
}

func (e *encoder) message(field int, m message) {
	n := sizeOf(m)
	e.tag(field, wireBytes)
	e.uvarint(uint64(n))
	if e.w == nil {
		e.n += n
		return
	}
	m.fields(e)
}

// raw writes n bytes that produce writes.
func (e *encoder) raw(field int, n int64, produce func(io.Writer) error) {
	e.tag(field, wireBytes)
	e.uvarint(uint64(n))
	e.n += n
	if e.w == nil || e.err != nil {
		return
	}
	c := &counter{w: e.w}
	if e.err = produce(c); e.err == nil && c.n != n {
		e.err = fmt.Errorf("it has %d bytes instead of %d", c.n, n)
	}
}

// A counter counts what it passes on.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}
