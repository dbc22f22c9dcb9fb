package onnx

import (
	"errors"
	"fmt"
	"math"
)

// maxAttribute bounds the entries of a list that is an attribute.
const maxAttribute = 1 << 20

// Decode reads an ONNX file. The tensors' elements stay in data, which must not
// change while the model is used. The model is as the file says: whether it
// makes sense is not checked.
func Decode(data []byte) (*Model, error) {
	m := &Model{}
	seen := false
	r := &reader{data: data, total: new(int)}
	for r.next() {
		switch r.field {
		case 1:
			m.IRVersion = r.int()
		case 2:
			m.Producer = r.text()
		case 3:
			m.ProducerVersion = r.text()
		case 7:
			seen = true
			r.message(m.Graph.parse)
		case 8:
			var s OperatorSet
			r.message(s.parse)
			m.Imports = append(m.Imports, s)
		case 14:
			var p Property
			r.message(p.parse)
			m.Metadata = append(m.Metadata, p)
		}
	}
	if r.err == nil && !seen {
		r.err = errDamaged
	}
	if r.err != nil {
		return nil, fmt.Errorf("read onnx: %w", r.err)
	}
	return m, nil
}

func (s *OperatorSet) parse(r *reader) {
	for r.next() {
		switch r.field {
		case 1:
			s.Domain = r.text()
		case 2:
			s.Version = r.int()
		}
	}
}

func (p *Property) parse(r *reader) {
	for r.next() {
		switch r.field {
		case 1:
			p.Key = r.text()
		case 2:
			p.Value = r.text()
		}
	}
}

func (g *Graph) parse(r *reader) {
	for r.next() {
		switch r.field {
		case 1:
			g.Nodes = append(g.Nodes, Node{})
			r.message(g.Nodes[len(g.Nodes)-1].parse)
		case 2:
			g.Name = r.text()
		case 5:
			g.Initializers = append(g.Initializers, Tensor{})
			r.message(g.Initializers[len(g.Initializers)-1].parse)
		case 11:
			g.Inputs = parseValue(r, g.Inputs)
		case 12:
			g.Outputs = parseValue(r, g.Outputs)
		case 13:
			g.Values = parseValue(r, g.Values)
		}
	}
}

func parseValue(r *reader, to []Value) []Value {
	to = append(to, Value{})
	r.message(to[len(to)-1].parse)
	return to
}

func (n *Node) parse(r *reader) {
	for r.next() {
		switch r.field {
		case 1:
			n.Inputs = texts(r, n.Inputs)
		case 2:
			n.Outputs = texts(r, n.Outputs)
		case 3:
			n.Name = r.text()
		case 4:
			n.Op = r.text()
		case 5:
			n.Attributes = append(n.Attributes, Attribute{})
			r.message(n.Attributes[len(n.Attributes)-1].parse)
		case 7:
			n.Domain = r.text()
		}
	}
}

// texts appends the current field; each counts as a message, since an empty one
// takes two bytes in the file and more in memory.
func texts(r *reader, to []string) []string {
	if *r.total++; *r.total > maxMessages {
		r.err = fmt.Errorf("it has more than %d parts", maxMessages)
		return to
	}
	return append(to, r.text())
}

func (a *Attribute) parse(r *reader) {
	for r.next() {
		switch r.field {
		case 1:
			a.Name = r.text()
		case 2:
			if r.is(wire32) {
				a.Float = math.Float32frombits(uint32(r.num))
			}
		case 3:
			a.Int = r.int()
		case 4:
			a.Text = r.text()
		case 5:
			a.Tensor = &Tensor{}
			r.message(a.Tensor.parse)
		case 6:
			a.Graph = &Graph{}
			r.message(a.Graph.parse)
		case 7:
			a.Floats = r.floats(a.Floats)
		case 8:
			a.Ints = r.ints(a.Ints, maxAttribute)
		case 9:
			a.Texts = texts(r, a.Texts)
		case 20:
			a.Type = AttributeType(r.int())
		}
	}
}

var errDims = errors.New("a tensor has an impossible shape")

func (t *Tensor) parse(r *reader) {
	for r.next() {
		switch r.field {
		case 1:
			t.Dims = r.ints(t.Dims, maxRank)
		case 2:
			t.Type = DataType(r.int())
		case 8:
			t.Name = r.text()
		case 9:
			if r.is(wireBytes) {
				t.Raw = r.bytes
			}
		case 14:
			t.External = r.int() == 1
		}
	}
	for _, d := range t.Dims {
		if d < 0 {
			r.err = errors.Join(r.err, errDims)
			return
		}
	}
}

func (v *Value) parse(r *reader) {
	for r.next() {
		switch r.field {
		case 1:
			v.Name = r.text()
		case 2:
			r.message(v.parseType)
		}
	}
}

func (v *Value) parseType(r *reader) {
	for r.next() {
		if r.field == 1 {
			r.message(v.parseTensor)
		}
	}
}

func (v *Value) parseTensor(r *reader) {
	for r.next() {
		switch r.field {
		case 1:
			v.Type = DataType(r.int())
		case 2:
			v.Shape = []Dim{}
			r.message(v.parseShape)
		}
	}
}

func (v *Value) parseShape(r *reader) {
	for r.next() {
		if r.field == 1 {
			v.Shape = append(v.Shape, Dim{})
			r.message(v.Shape[len(v.Shape)-1].parse)
		}
	}
}

func (d *Dim) parse(r *reader) {
	for r.next() {
		switch r.field {
		case 1:
			d.Size = r.int()
		case 2:
			d.Name = r.text()
		}
	}
}
