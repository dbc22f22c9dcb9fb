package convert

import (
	"math"

	"lazyolo/internal/torch"
)

// multihead is torch's MultiheadAttention in its usual form: one weight for the
// three projections of (B, L, C) inputs, no extra keys.
func (b *builder) multihead(m *torch.Module, query, key, val string) string {
	for _, name := range []string{"bias_k", "bias_v"} {
		if v, _ := m.Value(name); v != nil || m.Tensor(name) != nil {
			b.fail(m, "its %s is not supported; %s", name, remedy)
		}
	}
	if m.Kind() != "MultiheadAttention" || !standard(m) {
		b.refuse(m)
	}
	w := b.tensor(m, "in_proj_weight", 2)
	n := b.positive(m, "num_heads", 1)
	if w == nil || b.boolAt(m, "add_zero_attn", false) || w.Dim(0) != 3*w.Dim(1) || w.Dim(1)%n != 0 {
		b.fail(m, "its projections are not of the usual form; %s", remedy)
		return query
	}
	c := w.Dim(1)
	bias := b.vector(m, "in_proj_bias", 3*c)
	project := func(x string, part int64) string {
		rows, err := w.Rows(part*c, c)
		if err == nil {
			rows, err = rows.Transpose()
		}
		if err != nil {
			b.fail(m, "its weight: %v", err)
			return x
		}
		y := b.matmul(x, b.plain("weight", rows, c, c))
		if bias != nil {
			y = b.add(y, b.floats(bias[part*c:(part+1)*c], c))
		}
		return b.transpose(b.reshape(y, 0, -1, n, c/n), 0, 2, 1, 3)
	}
	q := b.mul(project(query, 0), b.float(1/math.Sqrt(float64(c/n))))
	weights := b.softmax(b.matmul(q, b.transpose(project(key, 1), 0, 1, 3, 2)), -1)
	out := b.reshape(b.transpose(b.matmul(weights, project(val, 2)), 0, 2, 1, 3), 0, -1, c)
	return b.through(m, "out_proj", out)
}

// aifi is a transformer layer over the pixels of one level. Their places are
// told by sines and cosines of row and column.
func (b *builder) aifi(m *torch.Module, x string) string {
	if b.boolAt(m, "normalize_before", false) {
		b.fail(m, "norms before the attention are not supported; %s", remedy)
	}
	w := b.tensor(b.child(m, "fc2"), "weight", 2)
	if w == nil || w.Dim(0)%4 != 0 {
		b.fail(m, "its channels are not a multiple of four")
		return x
	}
	c := w.Dim(0)
	shape, g := b.shapeOf(x), b.grid(x)
	omega := make([]float64, c/4)
	for i := range omega {
		omega[i] = math.Pow(10000, -float64(i)/float64(len(omega)))
	}
	waves := func(at string) (sin, cos string) {
		phase := b.mul(b.unsqueeze(at, 1), b.floats(omega, 1, c/4))
		return b.op("Sin", phase), b.op("Cos", phase)
	}
	sinY, cosY := waves(g.y)
	sinX, cosX := waves(g.x)
	position := b.unsqueeze(b.concat(1, sinY, cosY, sinX, cosX), 0)
	rows := b.transpose(b.reshape(x, 0, c, -1), 0, 2, 1)
	query := b.add(rows, position)
	rows = b.layerNorm(b.child(m, "norm1"), b.add(rows, b.multihead(b.child(m, "ma"), query, query, rows)))
	y := b.through(m, "fc2", b.act(m, b.through(m, "fc1", rows)))
	rows = b.layerNorm(b.child(m, "norm2"), b.add(rows, y))
	return b.op("Reshape", b.transpose(rows, 0, 2, 1), shape)
}

// mlp is linear layers with an activation between them.
func (b *builder) mlp(m *torch.Module, x string) string {
	if m.Kind() != "MLP" || !ultralytics(m) {
		b.refuse(m)
	}
	if norm := m.Child("out_norm"); b.boolAt(m, "sigmoid", false) || b.boolAt(m, "residual", false) || norm != nil && norm.Kind() != "Identity" {
		b.fail(m, "its output is treated in a way that is not supported; %s", remedy)
	}
	layers := b.child(m, "layers").Children()
	for i, c := range layers {
		x = b.run(c, x)
		if i == len(layers)-1 {
			break
		}
		if act := m.Child("act"); act != nil {
			x = b.activation(act, x)
		} else if _, ok := m.Value("act"); ok {
			b.fail(m, "its activation is not a module")
		} else {
			x = b.op("Relu", x) // releases that stored none
		}
	}
	return x
}
