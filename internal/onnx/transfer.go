package onnx

import (
	"encoding/binary"
	"math"
	"slices"
)

// transfers tell, by operator, how the shapes of a node's outputs follow from
// its inputs.
func transfers() map[string]func(*shapes, *Node) {
	out := map[string]func(*shapes, *Node){
		"Conv": windowed, "ConvTranspose": windowed, "MaxPool": windowed, "AveragePool": windowed,
		"GlobalAveragePool": func(s *shapes, n *Node) {
			if x, ok := s.in(n, 0); ok && len(x) == 4 {
				s.set(n, []int64{x[0], x[1], 1, 1})
			}
		},
		"Concat": concat, "Split": split, "Reshape": reshape, "Transpose": transpose, "Flatten": flatten, "Unsqueeze": unsqueeze,
		"Squeeze": squeeze, "Resize": resize, "Pad": pad, "Slice": slice, "Gather": gather, "Shape": shape, "MatMul": matmul, "Gemm": gemm,
	}
	for _, op := range []string{"Identity", "Cast", "Sigmoid", "Relu", "LeakyRelu", "Clip", "Softmax", "HardSwish", "HardSigmoid", "Tanh", "Softplus", "Elu", "Erf",
		"Sin", "Cos", "Exp", "Log", "Sqrt", "Neg", "BatchNormalization", "LayerNormalization"} {
		out[op] = same
	}
	for _, op := range []string{"Add", "Sub", "Mul", "Div", "Mod", "Pow", "Min", "Max"} {
		out[op] = elementwise
	}
	return out
}

func same(s *shapes, n *Node) {
	if x, ok := s.in(n, 0); ok {
		s.set(n, x)
	}
	if v, ok := s.ints[n.Inputs[0]]; ok && (n.Op == "Identity" || n.Op == "Cast") {
		s.ints[n.Outputs[0]] = v
	}
}

func elementwise(s *shapes, n *Node) {
	x, ok1 := s.in(n, 0)
	y, ok2 := s.in(n, 1)
	if !ok1 || !ok2 || len(n.Inputs) != 2 {
		return
	}
	if out, ok := broadcast(x, y); ok {
		s.set(n, out)
	}
	a, ok1 := s.ints[n.Inputs[0]]
	b, ok2 := s.ints[n.Inputs[1]]
	if !ok1 || !ok2 || len(a) == 0 || len(b) == 0 || len(a) != len(b) && len(a) != 1 && len(b) != 1 {
		return
	}
	out := make([]int64, max(len(a), len(b)))
	for i := range out {
		p, q := a[i%len(a)], b[i%len(b)]
		switch {
		case n.Op == "Add":
			out[i] = p + q
		case n.Op == "Sub":
			out[i] = p - q
		case n.Op == "Mul":
			out[i] = p * q
		case n.Op == "Div" && q > 0 && p >= 0:
			out[i] = p / q
		default:
			return
		}
	}
	s.ints[n.Outputs[0]] = out
}

func concat(s *shapes, n *Node) {
	first, ok := s.in(n, 0)
	at := axis(n.intOr("axis", 0), len(first))
	if !ok || at < 0 {
		return
	}
	out, values, known := slices.Clone(first), []int64(nil), true
	out[at] = 0
	for i, name := range n.Inputs {
		x, ok := s.in(n, i)
		if !ok || len(x) != len(first) {
			return
		}
		out[at] += x[at]
		v, ok := s.ints[name]
		known = known && ok && len(values)+len(v) <= maxValues
		values = append(values, v...)
	}
	s.set(n, out)
	if known {
		s.ints[n.Outputs[0]] = values
	}
}

func split(s *shapes, n *Node) {
	x, ok := s.in(n, 0)
	at := axis(n.intOr("axis", 0), len(x))
	if !ok || at < 0 {
		return
	}
	sizes, ok := s.values(n, 1, "split")
	for i, name := range n.Outputs {
		out := slices.Clone(x)
		switch {
		case ok && i < len(sizes):
			out[at] = sizes[i]
		case !ok && len(n.Inputs) < 2 && x[at]%int64(len(n.Outputs)) == 0:
			out[at] = x[at] / int64(len(n.Outputs))
		default:
			return
		}
		s.set(&Node{Outputs: []string{name}}, out)
	}
}

func reshape(s *shapes, n *Node) {
	x, ok1 := s.in(n, 0)
	to, ok2 := s.values(n, 1, "shape")
	if !ok1 || !ok2 {
		return
	}
	out, free := slices.Clone(to), -1
	for i, d := range out {
		if d == 0 && i < len(x) {
			out[i] = x[i]
		}
		if d == -1 {
			out[i], free = 1, i
		}
	}
	if rest := product(out); free >= 0 && rest > 0 {
		out[free] = product(x) / rest
	}
	s.set(n, out)
}

func transpose(s *shapes, n *Node) {
	x, ok := s.in(n, 0)
	a := n.Attribute("perm")
	if !ok || a == nil || len(a.Ints) != len(x) {
		return
	}
	out := make([]int64, len(x))
	for i, p := range a.Ints {
		at := axis(p, len(x))
		if at < 0 {
			return
		}
		out[i] = x[at]
	}
	s.set(n, out)
}

func flatten(s *shapes, n *Node) {
	x, ok := s.in(n, 0)
	if at := n.intOr("axis", 1); ok && at >= 0 && at <= int64(len(x)) {
		s.set(n, []int64{product(x[:at]), product(x[at:])})
	}
}

func unsqueeze(s *shapes, n *Node) {
	x, ok1 := s.in(n, 0)
	axes, ok2 := s.values(n, 1, "axes")
	if !ok1 || !ok2 || len(x)+len(axes) > maxRank {
		return
	}
	out := slices.Clone(x)
	for _, a := range slices.Sorted(slices.Values(axes)) {
		at := axis(a, len(x)+len(axes))
		if at < 0 || at > len(out) {
			return
		}
		out = slices.Insert(out, at, 1)
	}
	s.set(n, out)
	if v, ok := s.ints[n.Inputs[0]]; ok {
		s.ints[n.Outputs[0]] = v
	}
}

func squeeze(s *shapes, n *Node) {
	x, ok1 := s.in(n, 0)
	axes, ok2 := s.values(n, 1, "axes")
	if !ok1 || !ok2 {
		return
	}
	out := []int64{}
	for i, d := range x {
		if !slices.ContainsFunc(axes, func(a int64) bool { return axis(a, len(x)) == i }) {
			out = append(out, d)
		}
	}
	s.set(n, out)
	if v, ok := s.ints[n.Inputs[0]]; ok {
		s.ints[n.Outputs[0]] = v
	}
}

// resize takes its factors or its sizes from constants.
func resize(s *shapes, n *Node) {
	x, ok := s.in(n, 0)
	if !ok {
		return
	}
	if sizes, ok := s.values(n, 3, ""); ok && len(sizes) == len(x) {
		s.set(n, sizes)
		return
	}
	if len(n.Inputs) < 3 || s.constants[n.Inputs[2]] == nil {
		return
	}
	scales := s.constants[n.Inputs[2]].Raw
	if len(scales) != 4*len(x) {
		return
	}
	out := make([]int64, len(x))
	for i := range x {
		f := float64(math.Float32frombits(binary.LittleEndian.Uint32(scales[4*i:])))
		if !(f > 0 && f < 1<<16) {
			return
		}
		out[i] = int64(math.Floor(float64(x[i]) * f))
	}
	s.set(n, out)
}

func pad(s *shapes, n *Node) {
	x, ok1 := s.in(n, 0)
	pads, ok2 := s.values(n, 1, "pads")
	if !ok1 || !ok2 || len(pads) != 2*len(x) {
		return
	}
	out := slices.Clone(x)
	for i := range out {
		out[i] += pads[i] + pads[len(x)+i]
	}
	s.set(n, out)
}

// slice follows cuts by constants; of integer values too, since shapes are made so.
func slice(s *shapes, n *Node) {
	x, ok := s.in(n, 0)
	starts, ok1 := s.values(n, 1, "starts")
	ends, ok2 := s.values(n, 2, "ends")
	axes, ok3 := s.values(n, 3, "axes")
	steps, ok4 := s.values(n, 4, "steps")
	if !ok || !ok1 || !ok2 || !ok3 || len(starts) != len(axes) || len(ends) != len(axes) || ok4 && len(steps) != len(axes) {
		return
	}
	out := slices.Clone(x)
	values, known := s.ints[n.Inputs[0]]
	for i, a := range axes {
		at, step := axis(a, len(x)), int64(1)
		if ok4 {
			step = steps[i]
		}
		if at < 0 || step < 1 || step > math.MaxInt32 {
			return
		}
		from, to := clamp(starts[i], x[at]), clamp(ends[i], x[at])
		out[at] = max(0, (to-from+step-1)/step)
		if known = known && len(x) == 1 && step == 1 && from <= to && to <= int64(len(values)); known {
			values = values[from:to]
		}
	}
	s.set(n, out)
	if known {
		s.ints[n.Outputs[0]] = values
	}
}

// clamp makes an index count from the front, within n.
func clamp(i, n int64) int64 {
	if i < 0 {
		i += n
	}
	return min(max(i, 0), n)
}

// gather of one element of an integer value is how shapes are taken apart.
func gather(s *shapes, n *Node) {
	if len(n.Inputs) != 2 {
		return
	}
	values, ok1 := s.ints[n.Inputs[0]]
	which, ok2 := s.ints[n.Inputs[1]]
	index, ok3 := s.in(n, 1)
	if !ok1 || !ok2 || !ok3 || n.intOr("axis", 0) != 0 {
		return
	}
	var out []int64
	for _, i := range which {
		at := axis(i, len(values))
		if at < 0 {
			return
		}
		out = append(out, values[at])
	}
	s.of[n.Outputs[0]], s.ints[n.Outputs[0]] = index, out
}

func shape(s *shapes, n *Node) {
	x, ok := s.in(n, 0)
	if !ok {
		return
	}
	from, to := clamp(n.intOr("start", 0), int64(len(x))), clamp(n.intOr("end", int64(len(x))), int64(len(x)))
	if from > to {
		return
	}
	s.of[n.Outputs[0]], s.ints[n.Outputs[0]] = []int64{to - from}, x[from:to]
}

func matmul(s *shapes, n *Node) {
	x, ok1 := s.in(n, 0)
	y, ok2 := s.in(n, 1)
	if !ok1 || !ok2 || len(x) < 2 || len(y) < 2 {
		return
	}
	if out, ok := broadcast(x[:len(x)-2], y[:len(y)-2]); ok {
		s.set(n, append(out, x[len(x)-2], y[len(y)-1]))
	}
}

func gemm(s *shapes, n *Node) {
	x, ok1 := s.in(n, 0)
	w, ok2 := s.in(n, 1)
	if !ok1 || !ok2 || len(x) != 2 || len(w) != 2 || n.intOr("transA", 0) != 0 {
		return
	}
	if n.intOr("transB", 0) != 0 {
		s.set(n, []int64{x[0], w[0]})
		return
	}
	s.set(n, []int64{x[0], w[1]})
}
