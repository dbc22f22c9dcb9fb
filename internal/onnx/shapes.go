package onnx

import (
	"encoding/binary"
	"math"
	"slices"
)

// shapes works out the sizes of a graph's values for one input size, as far as
// the operators of picture models need. What it does not know stays out.
type shapes struct {
	of        map[string][]int64 // shapes
	ints      map[string][]int64 // elements of small integer values
	constants map[string]*Tensor
	transfers map[string]func(*shapes, *Node)
}

// maxValues bounds the elements of the integer values that are followed.
const maxValues = 64

func newShapes(g *Graph, inputs map[string][]int64) *shapes {
	s := &shapes{of: make(map[string][]int64), ints: make(map[string][]int64), constants: make(map[string]*Tensor), transfers: transfers()}
	for _, v := range slices.Concat(g.Values, g.Outputs) {
		if shape, fixed := fixedShape(v); fixed {
			s.of[v.Name] = shape
		}
	}
	for i := range g.Initializers {
		s.constant(g.Initializers[i].Name, &g.Initializers[i])
	}
	for name, shape := range inputs {
		s.of[name] = shape
	}
	for i := range g.Nodes {
		if f := s.transfers[g.Nodes[i].Op]; f != nil && len(g.Nodes[i].Outputs) > 0 && len(g.Nodes[i].Inputs) > 0 {
			f(s, &g.Nodes[i])
		} else if a := g.Nodes[i].Attribute("value"); g.Nodes[i].Op == "Constant" && a != nil && a.Tensor != nil && len(g.Nodes[i].Outputs) > 0 {
			s.constant(g.Nodes[i].Outputs[0], a.Tensor)
		}
	}
	return s
}

func fixedShape(v Value) ([]int64, bool) {
	shape := make([]int64, len(v.Shape))
	for i, d := range v.Shape {
		if d.Name != "" || d.Size <= 0 {
			return nil, false
		}
		shape[i] = d.Size
	}
	return shape, v.Shape != nil
}

func (s *shapes) constant(name string, t *Tensor) {
	s.of[name], s.constants[name] = t.Dims, t
	if t.Type == Int64 && len(t.Raw)%8 == 0 && len(t.Raw) <= 8*maxValues {
		v := make([]int64, len(t.Raw)/8)
		for i := range v {
			v[i] = int64(binary.LittleEndian.Uint64(t.Raw[8*i:]))
		}
		s.ints[name] = v
	}
}

// in returns the shape of a node's i-th input.
func (s *shapes) in(n *Node, i int) ([]int64, bool) {
	if i >= len(n.Inputs) {
		return nil, false
	}
	shape, ok := s.of[n.Inputs[i]]
	return shape, ok
}

// values returns the elements of a node's i-th input, or its attribute of that
// name, where older operator sets have them.
func (s *shapes) values(n *Node, i int, attribute string) ([]int64, bool) {
	if i < len(n.Inputs) && n.Inputs[i] != "" {
		v, ok := s.ints[n.Inputs[i]]
		return v, ok
	}
	if a := n.Attribute(attribute); a != nil && a.Type == IsInts {
		return a.Ints, true
	}
	return nil, false
}

func (n *Node) intOr(name string, missing int64) int64 {
	if a := n.Attribute(name); a != nil && a.Type == IsInt {
		return a.Int
	}
	return missing
}

func (n *Node) intsOr(name string, missing, count int64) []int64 {
	if a := n.Attribute(name); a != nil && a.Type == IsInts && int64(len(a.Ints)) == count {
		return a.Ints
	}
	return slices.Repeat([]int64{missing}, int(count))
}

// set notes a shape, unless a size in it is impossible.
func (s *shapes) set(n *Node, shape []int64) {
	total := int64(1)
	for _, d := range shape {
		if d <= 0 || d > 1<<32 || total > 1<<40 {
			return
		}
		total *= d
	}
	s.of[n.Outputs[0]] = shape
}

// axis makes an axis count from the front; -1 when there is none such.
func axis(a int64, rank int) int {
	if a < 0 {
		a += int64(rank)
	}
	if a < 0 || a >= int64(rank) {
		return -1
	}
	return int(a)
}

// windowed is the shape after a convolution or pooling.
func windowed(s *shapes, n *Node) {
	x, ok := s.in(n, 0)
	if !ok || len(x) != 4 {
		return
	}
	kernel := n.intsOr("kernel_shape", 1, 2)
	out := []int64{x[0], x[1], 0, 0}
	if n.Op == "Conv" || n.Op == "ConvTranspose" {
		w, ok := s.in(n, 1)
		if !ok || len(w) != 4 {
			return
		}
		kernel, out[1] = w[2:], w[0]
		if n.Op == "ConvTranspose" {
			out[1] = w[1] * n.intOr("group", 1)
		}
	}
	stride, dilation, pads, extra := n.intsOr("strides", 1, 2), n.intsOr("dilations", 1, 2), n.intsOr("pads", 0, 4), n.intsOr("output_padding", 0, 2)
	for i := range 2 {
		if stride[i] < 1 || stride[i] > math.MaxInt32 {
			return
		}
		reach, padded := dilation[i]*(kernel[i]-1), x[2+i]+pads[i]+pads[2+i]
		switch {
		case n.Op == "ConvTranspose":
			out[2+i] = (x[2+i]-1)*stride[i] + reach + 1 + extra[i] - pads[i] - pads[2+i]
		case n.intOr("ceil_mode", 0) == 1:
			out[2+i] = (padded-reach-1+stride[i]-1)/stride[i] + 1
			if (out[2+i]-1)*stride[i] >= x[2+i]+pads[i] {
				out[2+i]-- // a window must start inside
			}
		default:
			out[2+i] = (padded-reach-1)/stride[i] + 1
		}
	}
	s.set(n, out)
}

// broadcast is the shape of two values combined element by element.
func broadcast(x, y []int64) ([]int64, bool) {
	if len(x) < len(y) {
		x, y = y, x
	}
	out := slices.Clone(x)
	for i := range y {
		at := len(x) - len(y) + i
		switch {
		case out[at] == 1:
			out[at] = y[i]
		case y[i] != 1 && y[i] != out[at]:
			return nil, false
		}
	}
	return out, true
}

// product is 0 when it is impossible or beyond 2^48.
func product(v []int64) int64 {
	const most = 1 << 48
	n := int64(1)
	for _, d := range v {
		if d <= 0 || d > most || n > most/d {
			return 0
		}
		n *= d
	}
	return n
}
