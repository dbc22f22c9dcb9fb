package onnx

import "slices"

// A Work is what one run of a graph computes.
type Work struct {
	FLOPs   int64 // of convolutions and matrix products, two for each multiplication with its addition
	Unknown int   // nodes of these kinds whose sizes could not be worked out
}

// Work counts the arithmetic of one run for inputs of these shapes, by name.
// Element-wise operations are not counted, as usual for such figures.
func (g *Graph) Work(inputs map[string][]int64) Work {
	s := newShapes(g, inputs)
	var w Work
	for i := range g.Nodes {
		n := &g.Nodes[i]
		switch n.Op {
		case "Conv", "ConvTranspose", "MatMul", "Gemm":
		default:
			continue
		}
		f := s.flops(n)
		if f == 0 {
			w.Unknown++
		}
		w.FLOPs += f
	}
	return w
}

// flops of one node; 0 when its sizes are not known.
func (s *shapes) flops(n *Node) int64 {
	x, ok1 := s.in(n, 0)
	y, ok2 := s.in(n, 1)
	if !ok1 || !ok2 || len(x) == 0 || len(y) == 0 || len(n.Outputs) == 0 {
		return 0
	}
	out, ok := s.of[n.Outputs[0]]
	if !ok {
		return 0
	}
	switch n.Op {
	case "Conv": // each output sums over a kernel
		return 2 * product(slices.Concat(out, y[1:]))
	case "ConvTranspose": // each input goes to a kernel
		return 2 * product(slices.Concat(x, y[1:]))
	}
	return 2 * product(append(slices.Clone(out), x[len(x)-1]))
}

// Parameters returns the number of elements of the floating-point constants
// that are not mere scalars: the weights.
func (g *Graph) Parameters() int64 {
	n := int64(0)
	for i := range g.Initializers {
		t := &g.Initializers[i]
		if len(t.Dims) > 0 && t.Type != Int64 && t.Type != Int32 {
			n += t.Elements()
		}
	}
	return n
}
