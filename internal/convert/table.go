package convert

import (
	"strings"

	"lazyolo/internal/torch"
)

// An emitter emits what a module computes.
type emitter func(*builder, *torch.Module, value) value

// one is an emitter of a module with one input and one output.
func one(f func(*builder, *torch.Module, string) string) emitter {
	return func(b *builder, m *torch.Module, x value) value {
		if x.list != nil {
			b.fail(m, "it gets %d inputs, not one", len(x.list))
			return value{}
		}
		return value{name: f(b, m, x.name)}
	}
}

// many is an emitter of a module with several inputs and one output.
func many(f func(*builder, *torch.Module, []string) string) emitter {
	return func(b *builder, m *torch.Module, x value) value {
		names, ok := x.names()
		if !ok {
			b.fail(m, "it gets lists as its inputs")
			return value{}
		}
		return value{name: f(b, m, names)}
	}
}

// names returns a value as the tensors it consists of.
func (v value) names() ([]string, bool) {
	if v.list == nil {
		return []string{v.name}, true
	}
	var names []string
	for _, x := range v.list {
		if x.list != nil {
			return nil, false
		}
		names = append(names, x.name)
	}
	return names, len(names) > 0
}

// standard and ultralytics tell whose class a module is: a last name is only
// looked up among the classes of its own library, whatever its package there.
func standard(m *torch.Module) bool    { return strings.HasPrefix(m.Class, "torch.nn.modules.") }
func ultralytics(m *torch.Module) bool { return strings.HasPrefix(m.Class, "ultralytics.") }

// emitterOf returns nil for classes that are not known.
func emitterOf(m *torch.Module) emitter {
	switch {
	case standard(m):
		return layer(m.Kind())
	case ultralytics(m):
		for _, table := range []func(string) emitter{convolution, block, attention, head} {
			if e := table(m.Kind()); e != nil {
				return e
			}
		}
	}
	return nil
}

func layer(kind string) emitter {
	switch kind {
	case "Conv2d":
		return one((*builder).conv2d)
	case "ConvTranspose2d":
		return one((*builder).convTranspose2d)
	case "BatchNorm2d":
		return one((*builder).batchNorm)
	case "Linear", "NonDynamicallyQuantizableLinear":
		return one((*builder).linear)
	case "LayerNorm":
		return one((*builder).layerNorm)
	case "MaxPool2d":
		return one((*builder).maxPool2d)
	case "AvgPool2d":
		return one((*builder).avgPool2d)
	case "AdaptiveAvgPool2d":
		return one((*builder).adaptiveAvgPool2d)
	case "ZeroPad2d":
		return one((*builder).zeroPad2d)
	case "Upsample":
		return one((*builder).upsample)
	case "Sequential":
		return one((*builder).sequential)
	case "Dropout", "Identity":
		return one((*builder).identity)
	case "SiLU", "ReLU", "LeakyReLU", "ReLU6", "Hardtanh", "Hardswish", "Hardsigmoid", "Sigmoid", "Tanh", "Mish", "ELU", "GELU":
		return one((*builder).activation)
	}
	return nil
}

func convolution(kind string) emitter {
	switch kind {
	case "Conv", "DWConv":
		return one((*builder).conv)
	case "Conv2":
		return one((*builder).conv2)
	case "RepConv":
		return one((*builder).repConv)
	case "RepVGGDW":
		return one((*builder).repVGGDW)
	case "ConvTranspose":
		return one((*builder).convTranspose)
	case "DWConvTranspose2d":
		return one((*builder).convTranspose2d)
	case "GhostConv":
		return one((*builder).ghostConv)
	case "LightConv":
		return one((*builder).lightConv)
	case "Focus":
		return one((*builder).focus)
	case "Concat":
		return many((*builder).concatLayer)
	case "Silence":
		return one((*builder).identity)
	}
	return nil
}

func block(kind string) emitter {
	switch kind {
	case "Bottleneck", "RepBottleneck":
		return one((*builder).bottleneck)
	case "GhostBottleneck":
		return one((*builder).ghostBottleneck)
	case "C2f", "C3k2", "C2fCIB", "C2fPSA":
		return one((*builder).c2f)
	case "C1":
		return one((*builder).c1)
	case "C2":
		return one((*builder).c2)
	case "C3", "C3k", "C3x", "RepCSP", "C3Ghost":
		return one((*builder).c3)
	case "RepC3":
		return one((*builder).repC3)
	case "SPP":
		return one((*builder).spp)
	case "SPPF":
		return one((*builder).sppf)
	case "SPPELAN":
		return one((*builder).sppElan)
	case "RepNCSPELAN4", "ELAN1":
		return one((*builder).elan)
	case "AConv":
		return one((*builder).aConv)
	case "ADown":
		return one((*builder).aDown)
	case "SCDown":
		return one((*builder).scDown)
	case "CIB":
		return one((*builder).cib)
	case "CBLinear":
		return (*builder).cbLinear
	case "CBFuse":
		return (*builder).cbFuse
	case "ResNetLayer":
		return one((*builder).resNetLayer)
	case "ResNetBlock":
		return one((*builder).resNetBlock)
	case "HGStem":
		return one((*builder).hgStem)
	case "HGBlock":
		return one((*builder).hgBlock)
	case "Proto":
		return one((*builder).proto)
	}
	return nil
}

func attention(kind string) emitter {
	switch kind {
	case "Attention":
		return one((*builder).attention)
	case "PSABlock":
		return one((*builder).psaBlock)
	case "PSA":
		return one((*builder).psa)
	case "C2PSA":
		return one((*builder).c2psa)
	case "AAttn":
		return one((*builder).areaAttention)
	case "ABlock":
		return one((*builder).aBlock)
	case "A2C2f":
		return one((*builder).a2c2f)
	case "AIFI":
		return one((*builder).aifi)
	}
	return nil
}

func head(kind string) emitter {
	switch kind {
	case "Detect", "v10Detect", "Segment", "Segment26", "Pose", "Pose26", "OBB", "OBB26":
		return (*builder).detect
	case "Classify":
		return (*builder).classify
	case "RTDETRDecoder":
		return (*builder).rtdetr
	case "SemanticSegment":
		return (*builder).semantic
	}
	return nil
}

// refuse fails for a module whose class is not known here.
func (b *builder) refuse(m *torch.Module) {
	b.fail(m, "lazyolo does not know this class, so what it computes is unknown; %s", remedy)
}

// remedy is the way out for models that cannot be converted.
const remedy = "export the model to ONNX with the software that trained it and use that file"

// layer runs a module on a value.
func (b *builder) layer(m *torch.Module, x value) value {
	if b.err != nil {
		return value{}
	}
	e := emitterOf(m)
	if e == nil {
		b.refuse(m)
		return value{}
	}
	outer := b.place
	b.place = m.Path
	defer func() { b.place = outer }()
	return e(b, m, x)
}

// run runs a module that has one input and one output.
func (b *builder) run(m *torch.Module, x string) string {
	y := b.layer(m, value{name: x})
	if y.list != nil {
		b.fail(m, "it gives %d outputs where one is expected", len(y.list))
		return x
	}
	return y.name
}

// through runs the submodule of that name.
func (b *builder) through(m *torch.Module, name, x string) string { return b.run(b.child(m, name), x) }
