package convert

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"lazyolo/internal/onnx"
	"lazyolo/internal/torch"
)

// A norm is a BatchNorm2d in its inference form: y = x*scale + shift.
type norm struct{ scale, shift []float64 }

// norm reads a BatchNorm2d over n channels. Its epsilon is the stored one: the
// families do not use torch's default.
func (b *builder) norm(m *torch.Module, n int64) *norm {
	if m.Kind() != "BatchNorm2d" || !standard(m) {
		b.refuse(m)
		return nil
	}
	mean, variance := b.vector(m, "running_mean", n), b.vector(m, "running_var", n)
	if mean == nil || variance == nil {
		b.fail(m, "it has no running mean and variance")
		return nil
	}
	gamma, beta := b.vector(m, "weight", n), b.vector(m, "bias", n)
	eps := b.floatAt(m, "eps", 1e-5)
	out := &norm{make([]float64, n), make([]float64, n)}
	for i := range out.scale {
		s := 1 / math.Sqrt(variance[i]+eps)
		if gamma != nil {
			s *= gamma[i]
		}
		out.scale[i], out.shift[i] = s, -mean[i]*s
		if beta != nil {
			out.shift[i] += beta[i]
		}
	}
	return out
}

// A term is one of the kernels that are added into one: a convolution of the
// same inputs and outputs, its kernel no larger and centred.
type term struct {
	weight *torch.Tensor
	scale  []float64 // per output channel; nil: 1
}

// A kernel is the weight and bias of a convolution with all folded into it that
// follows at inference.
type kernel struct {
	shape    []int64 // output channels, input channels per group, height, width
	terms    []term
	identity []float64 // per output channel, what passes the input through; nil: nothing
	bias     []float64 // nil: none
}

// kernel reads a Conv2d and the norm that follows it, if any.
func (b *builder) kernel(conv, bn *torch.Module) *kernel {
	w := b.tensor(conv, "weight", 4)
	if w == nil {
		return nil
	}
	k := &kernel{shape: w.Shape(), terms: []term{{weight: w}}, bias: b.vector(conv, "bias", w.Dim(0))}
	if bn == nil {
		return k
	}
	n := b.norm(bn, w.Dim(0))
	if n == nil {
		return nil
	}
	k.terms[0].scale = n.scale
	shift := n.shift
	for i, v := range k.bias {
		shift[i] += v * n.scale[i]
	}
	k.bias = shift
	return k
}

// plus adds a convolution of the same input to that of k. Both must see the same
// pixels: only the kernel's size and the padding that makes up for it may differ.
func (b *builder) plus(m, conv *torch.Module, k *kernel, otherConv *torch.Module, other *kernel) {
	if k == nil || other == nil {
		return
	}
	s, o := k.shape, other.shape
	same := s[0] == o[0] && s[1] == o[1] && otherConv.Kind() == "Conv2d" && b.positive(conv, "groups", 1) == b.positive(otherConv, "groups", 1)
	for _, name := range []string{"stride", "dilation"} {
		same = same && slices.Equal(b.pair(conv, name, 1, 1), b.pair(otherConv, name, 1, 1))
	}
	p, q := b.pair(conv, "padding", 0, 0), b.pair(otherConv, "padding", 0, 0)
	for i := range 2 {
		same = same && s[2+i]-o[2+i] == 2*(p[i]-q[i]) && o[2+i] <= s[2+i]
	}
	if !same {
		b.fail(m, "its convolutions, %s and %s, cannot be added into one", describeInts(s), describeInts(o))
		return
	}
	k.terms = append(k.terms, other.terms...)
	k.bias = sum(k.bias, other.bias)
}

// sum adds two vectors of which either may be nil.
func sum(x, y []float64) []float64 {
	if x == nil {
		return y
	}
	out := append([]float64(nil), x...)
	for i, v := range y {
		out[i] += v
	}
	return out
}

// row computes the weights of one output channel into row.
func (k *kernel) row(o int64, row []float64, terms []*torch.Values, buf []float32) error {
	clear(row)
	kh, kw := k.shape[2], k.shape[3]
	for i, t := range k.terms {
		h, w := t.weight.Dim(2), t.weight.Dim(3)
		n := t.weight.Dim(1) * h * w
		if err := terms[i].Read(buf[:n], o*n); err != nil {
			return err
		}
		scale := 1.0
		if t.scale != nil {
			scale = t.scale[o]
		}
		if h == kh && w == kw {
			for j, v := range buf[:n] {
				row[j] += float64(v) * scale
			}
			continue
		}
		top, left := (kh-h)/2, (kw-w)/2
		for j, v := range buf[:n] {
			c, y, x := int64(j)/(h*w), int64(j)/w%h, int64(j)%w
			row[(c*kh+top+y)*kw+left+x] += float64(v) * scale
		}
	}
	if k.identity != nil {
		row[(o%k.shape[1]*kh+kh/2)*kw+kw/2] += k.identity[o]
	}
	return nil
}

// source makes the rows of the folded weight when they are written.
func (k *kernel) source() (rows, length int64, open func() (fill, error)) {
	rows, length = k.shape[0], k.shape[1]*k.shape[2]*k.shape[3]
	return rows, length, func() (fill, error) {
		terms := make([]*torch.Values, len(k.terms))
		for i, t := range k.terms {
			var err error
			if terms[i], err = t.weight.Values(); err != nil {
				return nil, err
			}
		}
		buf := make([]float32, length)
		return func(o int64, row []float64) error { return k.row(o, row, terms, buf) }, nil
	}
}

// A fill computes one row of a weight.
type fill func(i int64, row []float64) error

// weight adds a weight that is computed row by row when it is written, and
// returns its name. With Options.Half it is stored as float16 and widened in the
// graph, where a runtime does it once.
func (b *builder) weight(kind string, dims []int64, rows, length int64, open func() (fill, error)) string {
	name := b.name(kind)
	half := b.options.Half
	t := onnx.Tensor{Name: name, Type: onnx.Float, Dims: dims}
	if half {
		t.Name, t.Type = name+"/half", onnx.Float16
	}
	t.Write = func(w io.Writer) error { return writeRows(w, rows, length, half, open) }
	if b.weights += t.Elements() * t.Type.Size(); b.weights > maxWeights && b.err == nil {
		b.err = fmt.Errorf("%s: the weights of the model take more than %d bytes", b.place, int64(maxWeights))
	}
	b.graph.Initializers = append(b.graph.Initializers, t)
	if !half {
		return name
	}
	return b.cast(t.Name, onnx.Float)
}

func writeRows(w io.Writer, rows, length int64, half bool, open func() (fill, error)) error {
	f, err := open()
	if err != nil {
		return err
	}
	row, raw := make([]float64, length), make([]byte, 0, 4*length)
	for i := range rows {
		if err := f(i, row); err != nil {
			return err
		}
		raw = raw[:0]
		for _, v := range row {
			if half {
				raw = binary.LittleEndian.AppendUint16(raw, floatToHalf(float32(v)))
			} else {
				raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(v)))
			}
		}
		if _, err := w.Write(raw); err != nil {
			return err
		}
	}
	return nil
}

// plain adds a tensor of the checkpoint as it is, under another shape of as many
// elements.
func (b *builder) plain(kind string, t *torch.Tensor, dims ...int64) string {
	if t == nil {
		return b.float(0) // failed already
	}
	if err := check(t); err != nil {
		if b.err == nil {
			b.err = fmt.Errorf("%s: %w", b.place, err)
		}
		return b.float(0)
	}
	rows, length := int64(1), t.Elements()
	if len(dims) > 1 {
		rows, length = dims[0], length/dims[0]
	}
	return b.weight(kind, dims, rows, length, func() (fill, error) {
		v, err := t.Values()
		if err != nil {
			return nil, err
		}
		buf := make([]float32, length)
		return func(i int64, row []float64) error {
			if err := v.Read(buf, i*length); err != nil {
				return err
			}
			for j, f := range buf {
				row[j] = float64(f)
			}
			return nil
		}, nil
	})
}

// check reads a tensor's bytes against the archive's checksum, so that damage is
// told before anything is written.
func check(t *torch.Tensor) error {
	_, err := t.Values()
	return err
}

// folded adds k's weight and returns its name and that of its bias, "" for none.
func (b *builder) folded(m *torch.Module, k *kernel) (weight, bias string) {
	if k == nil {
		return "", ""
	}
	for _, t := range k.terms {
		if err := check(t.weight); err != nil {
			b.fail(m, "its weight: %v", err)
		}
	}
	rows, length, open := k.source()
	weight = b.weight("weight", k.shape, rows, length, open)
	if k.bias != nil {
		bias = b.name("bias")
		b.hold(onnx.Tensor{Name: bias, Type: onnx.Float, Dims: []int64{int64(len(k.bias))}, Raw: rawFloats(k.bias)})
	}
	return weight, bias
}

// floatToHalf converts to IEEE 754 binary16, rounding to nearest even; what is
// too large becomes infinity.
func floatToHalf(f float32) uint16 {
	v := math.Float32bits(f)
	sign := uint16(v>>16) & 0x8000
	v &= 0x7fffffff
	switch {
	case v > 0x7f800000: // NaN
		return sign | 0x7e00
	case v >= 0x477ff000: // rounds to 65536 or more
		return sign | 0x7c00
	case v < 0x38800000: // below 2^-14: adding 0.5 rounds at the right bit
		return sign | uint16(math.Float32bits(math.Float32frombits(v)+0.5)-0x3f000000)
	}
	v += 0xfff + (v>>13)&1
	return sign | uint16((v-0x38000000)>>13)
}
