package convert

import (
	"math"

	"lazyolo/internal/torch"
)

// heads reads how an attention divides its channels and checks it against the
// weights of qkv: per head two keys (or a query and a key) and a value.
func (b *builder) heads(m *torch.Module, n, key, value int64) bool {
	qkv := b.child(m, "qkv")
	if got := b.wide(qkv); got != n*(2*key+value) {
		b.fail(m, "%d heads of %d, %d and %d channels do not make the %d of its weights", n, key, key, value, got)
		return false
	}
	return true
}

// attention is self-attention over all pixels. Query, key and value lie in turn
// within each head, not over all channels.
func (b *builder) attention(m *torch.Module, x string) string {
	n, key, hd := b.positive(m, "num_heads", 1), b.positive(m, "key_dim", 1), b.positive(m, "head_dim", 1)
	if !b.heads(m, n, key, hd) {
		return x
	}
	shape := b.shapeOf(x)
	qkv := b.split(b.reshape(b.through(m, "qkv", x), 0, n, 2*key+hd, -1), 2, key, key, hd)
	q := b.mul(qkv[0], b.float(b.floatAt(m, "scale", 1/math.Sqrt(float64(key)))))
	weights := b.softmax(b.matmul(b.transpose(q, 0, 1, 3, 2), qkv[1]), -1)
	out := b.op("Reshape", b.matmul(qkv[2], b.transpose(weights, 0, 1, 3, 2)), shape)
	return b.through(m, "proj", b.add(out, b.through(m, "pe", b.op("Reshape", qkv[2], shape))))
}

func (b *builder) psaBlock(m *torch.Module, x string) string {
	add := b.boolAt(m, "add", true)
	for _, name := range []string{"attn", "ffn"} {
		y := b.through(m, name, x)
		if add {
			y = b.add(x, y)
		}
		x = y
	}
	return x
}

func (b *builder) psa(m *torch.Module, x string) string {
	y := b.halves(m, x)
	z := b.add(y[1], b.through(m, "attn", y[1]))
	z = b.add(z, b.through(m, "ffn", z))
	return b.through(m, "cv2", b.concat(1, y[0], z))
}

func (b *builder) c2psa(m *torch.Module, x string) string {
	y := b.halves(m, x)
	return b.through(m, "cv2", b.concat(1, y[0], b.through(m, "m", y[1])))
}

// areaAttention is self-attention within each of area strips of the picture,
// which the rows of pixels are cut into.
func (b *builder) areaAttention(m *torch.Module, x string) string {
	n, area := b.positive(m, "num_heads", 1), b.positive(m, "area", 1)
	hd := b.int64At(m, "head_dim", b.wide(b.child(m, "qkv"))/(3*n))
	if !b.heads(m, n, hd, hd) {
		return x
	}
	c := n * hd
	y := b.transpose(b.reshape(b.through(m, "qkv", x), 0, n, 3*hd, area, -1), 0, 3, 1, 2, 4)
	qkv := b.split(y, 3, hd, hd, hd) // each batch, area, head, channel, pixel
	q := b.mul(qkv[0], b.float(1/math.Sqrt(float64(hd))))
	weights := b.softmax(b.matmul(b.transpose(q, 0, 1, 2, 4, 3), qkv[1]), -1)
	shape := b.concat(0, b.ints(0, c), b.dims(x, 2, 4))
	picture := func(v string) string {
		return b.op("Reshape", b.reshape(b.transpose(v, 0, 2, 3, 1, 4), 0, c, -1), shape)
	}
	out := picture(b.matmul(qkv[2], b.transpose(weights, 0, 1, 2, 4, 3)))
	return b.through(m, "proj", b.add(out, b.through(m, "pe", picture(qkv[2]))))
}

func (b *builder) aBlock(m *torch.Module, x string) string {
	x = b.add(x, b.through(m, "attn", x))
	return b.add(x, b.through(m, "mlp", x))
}

// a2c2f adds its input only where it has learnt how much of the rest to add.
func (b *builder) a2c2f(m *torch.Module, x string) string {
	y := b.chain([]string{b.through(m, "cv1", x)}, b.child(m, "m").Children()...)
	z := b.through(m, "cv2", b.concat(1, y...))
	gamma := m.Tensor("gamma")
	if gamma == nil {
		return z
	}
	return b.add(x, b.mul(z, b.plain("gamma", gamma, 1, gamma.Elements(), 1, 1)))
}
