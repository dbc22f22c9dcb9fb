package convert

import (
	"math"

	"lazyolo/internal/onnx"
	"lazyolo/internal/torch"
)

// act applies the activation that m stores as its child. It is never inferred
// from m's class: the same class has had others.
func (b *builder) act(m *torch.Module, x string) string {
	c := m.Child("act")
	if c == nil {
		b.fail(m, "it stores no activation")
		return x
	}
	return b.activation(c, x)
}

// activation applies an activation module.
func (b *builder) activation(m *torch.Module, x string) string {
	if !standard(m) || m.Class != "torch.nn.modules.activation."+m.Kind() && m.Kind() != "Identity" {
		b.refuse(m)
		return x
	}
	in := []string{x}
	switch m.Kind() {
	case "Identity":
		return x
	case "SiLU":
		return b.mul(x, b.sigmoid(x))
	case "ReLU":
		return b.op("Relu", x)
	case "LeakyReLU":
		return b.opWith("LeakyRelu", in, onnx.FloatAttribute("alpha", float32(b.floatAt(m, "negative_slope", 0.01))))
	case "ReLU6", "Hardtanh":
		low, high := 0.0, 6.0
		if m.Kind() == "Hardtanh" {
			low, high = -1, 1
		}
		return b.op("Clip", x, b.float(b.floatAt(m, "min_val", low)), b.float(b.floatAt(m, "max_val", high)))
	case "Hardswish":
		return b.op("HardSwish", x)
	case "Hardsigmoid":
		return b.opWith("HardSigmoid", in, onnx.FloatAttribute("alpha", 1.0/6), onnx.FloatAttribute("beta", 0.5))
	case "Sigmoid":
		return b.sigmoid(x)
	case "Tanh":
		return b.op("Tanh", x)
	case "Mish":
		return b.mul(x, b.op("Tanh", b.op("Softplus", x)))
	case "ELU":
		return b.opWith("Elu", in, onnx.FloatAttribute("alpha", float32(b.floatAt(m, "alpha", 1))))
	case "GELU":
		return b.gelu(m, x)
	}
	b.refuse(m)
	return x
}

// gelu is x/2 * (1 + erf(x/sqrt(2))).
func (b *builder) gelu(m *torch.Module, x string) string {
	if v, ok := m.Value("approximate"); ok && v != any("none") {
		b.fail(m, "its approximation of GELU is not supported; %s", remedy)
	}
	e := b.op("Erf", b.op("Div", x, b.float(math.Sqrt2)))
	return b.mul(b.mul(x, b.add(e, b.float(1))), b.float(0.5))
}
