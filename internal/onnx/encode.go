package onnx

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
)

// Size returns the bytes that WriteTo will write.
func (m *Model) Size() int64 { return sizeOf(m) }

// WriteTo writes the model to w as an ONNX file.
func (m *Model) WriteTo(w io.Writer) (int64, error) {
	if n := m.Size(); n > math.MaxInt32 {
		return 0, fmt.Errorf("write onnx: the model takes %d bytes; an ONNX file may have 2 GiB", n)
	}
	out := bufio.NewWriterSize(w, 1<<16)
	c := &counter{w: out}
	e := &encoder{w: c}
	m.fields(e)
	if e.err == nil {
		e.err = out.Flush()
	}
	if e.err != nil {
		return c.n, fmt.Errorf("write onnx: %w", e.err)
	}
	return c.n, nil
}

func (m *Model) fields(e *encoder) {
	e.int(1, m.IRVersion)
	e.optional(2, m.Producer)
	e.optional(3, m.ProducerVersion)
	e.message(7, &m.Graph)
	for _, s := range m.Imports {
		e.message(8, s)
	}
	for _, p := range m.Metadata {
		e.message(14, p)
	}
}

func (s OperatorSet) fields(e *encoder) {
	e.optional(1, s.Domain)
	e.int(2, s.Version)
}

func (p Property) fields(e *encoder) {
	e.text(1, p.Key)
	e.text(2, p.Value)
}

func (g *Graph) fields(e *encoder) {
	for i := range g.Nodes {
		e.message(1, &g.Nodes[i])
	}
	e.text(2, g.Name)
	for i := range g.Initializers {
		e.message(5, &g.Initializers[i])
	}
	for i, values := range [][]Value{g.Inputs, g.Outputs, g.Values} {
		for j := range values {
			e.message(11+i, &values[j])
		}
	}
}

func (n *Node) fields(e *encoder) {
	for _, s := range n.Inputs {
		e.text(1, s)
	}
	for _, s := range n.Outputs {
		e.text(2, s)
	}
	e.optional(3, n.Name)
	e.text(4, n.Op)
	for i := range n.Attributes {
		e.message(5, &n.Attributes[i])
	}
	e.optional(7, n.Domain)
}

func (a *Attribute) fields(e *encoder) {
	e.text(1, a.Name)
	switch a.Type {
	case IsFloat:
		e.float(2, a.Float)
	case IsInt:
		e.int(3, a.Int)
	case IsText:
		e.text(4, a.Text)
	case IsTensor:
		e.message(5, a.Tensor)
	case IsGraph:
		e.message(6, a.Graph)
	case IsFloats:
		for _, v := range a.Floats {
			e.float(7, v)
		}
	case IsInts:
		for _, v := range a.Ints {
			e.int(8, v)
		}
	case IsTexts:
		for _, v := range a.Texts {
			e.text(9, v)
		}
	}
	e.int(20, int64(a.Type))
}

func (t *Tensor) fields(e *encoder) {
	for _, d := range t.Dims {
		e.int(1, d)
	}
	e.int(2, int64(t.Type))
	e.optional(8, t.Name)
	before := e.err
	produce := t.Write
	if t.Raw != nil || produce == nil {
		produce = func(w io.Writer) error {
			_, err := io.Copy(w, bytes.NewReader(t.Raw))
			return err
		}
	}
	e.raw(9, t.Elements()*t.Type.Size(), produce)
	if before == nil && e.err != nil {
		e.err = fmt.Errorf("tensor %s: %w", t.Name, e.err)
	}
}

func (v *Value) fields(e *encoder) {
	e.text(1, v.Name)
	e.message(2, typeOf{v})
}

// The types of a value are three messages inside one another.
type (
	typeOf   struct{ *Value }
	tensorOf struct{ *Value }
	shapeOf  struct{ *Value }
)

func (t typeOf) fields(e *encoder) { e.message(1, tensorOf(t)) }

func (t tensorOf) fields(e *encoder) {
	e.int(1, int64(t.Type))
	e.message(2, shapeOf(t))
}

func (s shapeOf) fields(e *encoder) {
	for _, d := range s.Shape {
		e.message(1, d)
	}
}

func (d Dim) fields(e *encoder) {
	if d.Name != "" {
		e.text(2, d.Name)
		return
	}
	e.int(1, d.Size)
}
