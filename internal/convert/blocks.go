package convert

import (
	"lazyolo/internal/onnx"
	"lazyolo/internal/torch"
)

// The blocks of the families' backbones and necks.

// residual adds x to y where m says so.
func (b *builder) residual(m *torch.Module, x, y string) string {
	if b.boolAt(m, "add", false) {
		return b.add(x, y)
	}
	return y
}

func (b *builder) bottleneck(m *torch.Module, x string) string {
	return b.residual(m, x, b.through(m, "cv2", b.through(m, "cv1", x)))
}

func (b *builder) ghostBottleneck(m *torch.Module, x string) string {
	return b.add(b.through(m, "conv", x), b.through(m, "shortcut", x))
}

// halves runs cv1 and cuts what it gives into two.
func (b *builder) halves(m *torch.Module, x string) []string {
	first := b.child(m, "cv1")
	n := b.wide(first)
	if n%2 != 0 {
		b.fail(first, "its %d channels cannot be halved", n)
	}
	return b.split(b.run(first, x), 1, n/2, n-n/2)
}

// chain runs modules one after the other and appends what each gives.
func (b *builder) chain(y []string, modules ...*torch.Module) []string {
	for _, c := range modules {
		y = append(y, b.run(c, y[len(y)-1]))
	}
	return y
}

func (b *builder) c2f(m *torch.Module, x string) string {
	y := b.chain(b.halves(m, x), b.child(m, "m").Children()...)
	return b.through(m, "cv2", b.concat(1, y...))
}

func (b *builder) c1(m *torch.Module, x string) string {
	y := b.through(m, "cv1", x)
	return b.add(b.through(m, "m", y), y)
}

func (b *builder) c2(m *torch.Module, x string) string {
	y := b.halves(m, x)
	return b.through(m, "cv2", b.concat(1, b.through(m, "m", y[0]), y[1]))
}

func (b *builder) c3(m *torch.Module, x string) string {
	y := b.through(m, "m", b.through(m, "cv1", x))
	return b.through(m, "cv3", b.concat(1, y, b.through(m, "cv2", x)))
}

func (b *builder) repC3(m *torch.Module, x string) string {
	y := b.through(m, "m", b.through(m, "cv1", x))
	return b.through(m, "cv3", b.add(y, b.through(m, "cv2", x)))
}

func (b *builder) spp(m *torch.Module, x string) string {
	y := []string{b.through(m, "cv1", x)}
	for _, pool := range b.child(m, "m").Children() {
		y = append(y, b.run(pool, y[0]))
	}
	return b.through(m, "cv2", b.concat(1, y...))
}

// sppf pools again and again; how often was fixed before it was stored.
func (b *builder) sppf(m *torch.Module, x string) string {
	n := b.positive(m, "n", 3)
	if n > 16 {
		b.fail(m, "it pools %d times", n)
		return x
	}
	y := []string{b.through(m, "cv1", x)}
	pool := b.child(m, "m")
	for range n {
		y = b.chain(y, pool)
	}
	return b.residual(m, x, b.through(m, "cv2", b.concat(1, y...)))
}

func (b *builder) sppElan(m *torch.Module, x string) string {
	y := b.chain([]string{x}, b.child(m, "cv1"), b.child(m, "cv2"), b.child(m, "cv3"), b.child(m, "cv4"))
	return b.through(m, "cv5", b.concat(1, y[1:]...))
}

func (b *builder) elan(m *torch.Module, x string) string {
	y := b.chain(b.halves(m, x), b.child(m, "cv2"), b.child(m, "cv3"))
	return b.through(m, "cv4", b.concat(1, y...))
}

// average is the 2x2 mean at every pixel.
func (b *builder) average(x string) string {
	return b.opWith("AveragePool", []string{x}, onnx.IntsAttribute("kernel_shape", 2, 2), onnx.IntsAttribute("strides", 1, 1),
		onnx.IntsAttribute("pads", 0, 0, 0, 0))
}

func (b *builder) aConv(m *torch.Module, x string) string { return b.through(m, "cv1", b.average(x)) }

// aDown halves a picture in two ways, each with a part of the channels.
func (b *builder) aDown(m *torch.Module, x string) string {
	var sizes []int64
	for _, name := range []string{"cv1", "cv2"} {
		conv := b.child(b.child(m, name), "conv")
		if w := b.tensor(conv, "weight", 4); w != nil {
			sizes = append(sizes, w.Dim(1)*b.positive(conv, "groups", 1))
		}
	}
	if len(sizes) != 2 {
		return x
	}
	y := b.split(b.average(x), 1, sizes...)
	pooled := b.opWith("MaxPool", []string{y[1]}, onnx.IntsAttribute("kernel_shape", 3, 3), onnx.IntsAttribute("strides", 2, 2),
		onnx.IntsAttribute("pads", 1, 1, 1, 1))
	return b.concat(1, b.through(m, "cv1", y[0]), b.through(m, "cv2", pooled))
}

func (b *builder) scDown(m *torch.Module, x string) string {
	return b.through(m, "cv2", b.through(m, "cv1", x))
}

func (b *builder) cib(m *torch.Module, x string) string {
	return b.residual(m, x, b.through(m, "cv1", x))
}

// cbLinear gives the parts of a convolution as a list.
func (b *builder) cbLinear(m *torch.Module, x value) value {
	sizes := b.intsAt(m, "c2s")
	total := int64(0)
	for _, n := range sizes {
		total += n
	}
	conv := b.child(m, "conv")
	if x.list != nil || len(sizes) == 0 || total != width(conv) {
		b.fail(m, "its parts %s are not the channels of its convolution", describeInts(sizes))
		return value{}
	}
	y := b.run(conv, x.name)
	parts := []string{y}
	if len(sizes) > 1 {
		parts = b.split(y, 1, sizes...)
	}
	var out value
	for _, p := range parts {
		out.list = append(out.list, value{name: p})
	}
	return out
}

// cbFuse takes one part of each list but the last input, scales it to the last
// one's size and adds all.
func (b *builder) cbFuse(m *torch.Module, x value) value {
	which := b.intsAt(m, "idx")
	if len(x.list) < 2 || len(which) != len(x.list)-1 || x.list[len(x.list)-1].list != nil {
		b.fail(m, "it gets %d inputs for %d indices", len(x.list), len(which))
		return value{}
	}
	sum := x.list[len(x.list)-1].name
	size := b.dims(sum, 2, 4)
	for i, at := range which {
		parts := x.list[i].list
		if at < 0 || at >= int64(len(parts)) {
			b.fail(m, "input %d has no part %d", i, at)
			return value{}
		}
		part := parts[at].name
		target := b.concat(0, b.dims(part, 0, 2), size)
		sum = b.add(sum, b.opWith("Resize", []string{part, "", "", target}, nearest()...))
	}
	return value{name: sum}
}

func (b *builder) resNetLayer(m *torch.Module, x string) string { return b.through(m, "layer", x) }

func (b *builder) resNetBlock(m *torch.Module, x string) string {
	y := b.through(m, "cv3", b.through(m, "cv2", b.through(m, "cv1", x)))
	return b.op("Relu", b.add(y, b.through(m, "shortcut", x)))
}

// hgStem pads by one pixel at the right and bottom before its even kernels.
func (b *builder) hgStem(m *torch.Module, x string) string {
	x = b.pad(b.through(m, "stem1", x), 0, 0, 1, 1)
	y := b.through(m, "stem2b", b.pad(b.through(m, "stem2a", x), 0, 0, 1, 1))
	return b.through(m, "stem4", b.through(m, "stem3", b.concat(1, b.through(m, "pool", x), y)))
}

func (b *builder) hgBlock(m *torch.Module, x string) string {
	y := b.chain([]string{x}, b.child(m, "m").Children()...)
	return b.residual(m, x, b.through(m, "ec", b.through(m, "sc", b.concat(1, y...))))
}
