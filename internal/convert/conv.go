package convert

import (
	"math"

	"lazyolo/internal/torch"
)

// Convolutions with what belongs to them.

// fold reads the convolution of a Conv-like module with its norm; fused
// checkpoints have none any more.
func (b *builder) fold(m *torch.Module) (conv *torch.Module, k *kernel) {
	conv = b.child(m, "conv")
	return conv, b.kernel(conv, m.Child("bn"))
}

func (b *builder) conv(m *torch.Module, x string) string {
	conv, k := b.fold(m)
	return b.act(m, b.convolve(conv, x, k))
}

// conv2 adds a 1x1 kernel, cv2, to the middle of its own before the norm; a
// fused one has done so.
func (b *builder) conv2(m *torch.Module, x string) string {
	conv, k := b.fold(m)
	if other := m.Child("cv2"); other != nil && k != nil {
		pointwise := b.kernel(other, nil)
		if pointwise != nil {
			pointwise.terms[0].scale = k.terms[0].scale
			if pointwise.bias != nil {
				b.fail(other, "it has a bias, which is not expected")
			}
		}
		b.plus(m, conv, k, other, pointwise)
	}
	return b.act(m, b.convolve(conv, x, k))
}

// repConv is the sum of a 3x3, a 1x1 and perhaps a plain norm of the same input.
func (b *builder) repConv(m *torch.Module, x string) string {
	first := m.Child("conv1")
	if first == nil { // fused
		conv := b.child(m, "conv")
		return b.act(m, b.convolve(conv, x, b.kernel(conv, nil)))
	}
	conv, k := b.fold(first)
	second, other := b.fold(b.child(m, "conv2"))
	b.plus(m, conv, k, second, other)
	b.linearInside(m, "conv1", "conv2")
	if bn := m.Child("bn"); bn != nil && k != nil {
		if n := b.norm(bn, k.shape[0]); n != nil {
			k.identity, k.bias = n.scale, sum(k.bias, n.shift)
		}
		if k.shape[2]%2 == 0 || k.shape[3]%2 == 0 || k.shape[0] != k.shape[1]*b.positive(conv, "groups", 1) {
			b.fail(m, "its kernel %s cannot take the input itself", describeInts(k.shape))
		}
	}
	return b.act(m, b.convolve(conv, x, k))
}

// repVGGDW is the sum of a 7x7 and a 3x3; when fused, a plain Conv2d.
func (b *builder) repVGGDW(m *torch.Module, x string) string {
	outer := b.child(m, "conv")
	if m.Child("conv1") == nil {
		if inner := outer.Child("conv"); inner != nil {
			outer = inner
		}
		return b.act(m, b.convolve(outer, x, b.kernel(outer, nil)))
	}
	conv, k := b.fold(outer)
	second, other := b.fold(b.child(m, "conv1"))
	b.plus(m, conv, k, second, other)
	b.linearInside(m, "conv", "conv1")
	return b.act(m, b.convolve(conv, x, k))
}

// linearInside refuses submodules that apply an activation before they are added.
func (b *builder) linearInside(m *torch.Module, names ...string) {
	for _, name := range names {
		if act := b.child(m, name).Child("act"); act != nil && act.Kind() != "Identity" {
			b.fail(act, "it stands where none is expected")
		}
	}
}

func (b *builder) convTranspose(m *torch.Module, x string) string {
	bn := m.Child("bn")
	if bn != nil && bn.Kind() == "Identity" {
		bn = nil
	}
	return b.act(m, b.deconvolve(b.child(m, "conv_transpose"), bn, x))
}

func (b *builder) ghostConv(m *torch.Module, x string) string {
	y := b.through(m, "cv1", x)
	return b.concat(1, y, b.through(m, "cv2", y))
}

func (b *builder) lightConv(m *torch.Module, x string) string {
	return b.through(m, "conv2", b.through(m, "conv1", x))
}

// focus puts the four pixels of each 2x2 square into channels: left column
// first.
func (b *builder) focus(m *torch.Module, x string) string {
	var parts []string
	for _, at := range [][2]int64{{0, 0}, {1, 0}, {0, 1}, {1, 1}} {
		parts = append(parts, b.op("Slice", x, b.ints(at[0], at[1]), b.ints(math.MaxInt64, math.MaxInt64), b.ints(2, 3), b.ints(2, 2)))
	}
	return b.through(m, "conv", b.concat(1, parts...))
}

func (b *builder) concatLayer(m *torch.Module, x []string) string {
	return b.concat(b.int64At(m, "d", 1), x...)
}
