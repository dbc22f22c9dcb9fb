package convert

import (
	"lazyolo/internal/onnx"
	"lazyolo/internal/torch"
)

// The modules of torch.nn.

// convolve emits a convolution with the hyperparameters of conv, a Conv2d, and
// the weights of k.
func (b *builder) convolve(conv *torch.Module, x string, k *kernel) string {
	if conv.Kind() != "Conv2d" || !standard(conv) {
		b.refuse(conv)
	}
	if v, ok := conv.Value("padding_mode"); ok && v != any("zeros") {
		b.fail(conv, "its padding mode is not zeros; %s", remedy)
	}
	if k == nil || b.err != nil {
		return x
	}
	dilation := b.pair(conv, "dilation", 1, 1)
	weight, bias := b.folded(conv, k)
	in := []string{x, weight}
	if bias != "" {
		in = append(in, bias)
	}
	return b.opWith("Conv", in,
		onnx.IntsAttribute("kernel_shape", k.shape[2:]...), onnx.IntsAttribute("strides", b.pair(conv, "stride", 1, 1)...),
		onnx.IntsAttribute("pads", b.pads(conv, k.shape[2:], dilation)...), onnx.IntsAttribute("dilations", dilation...),
		onnx.IntAttribute("group", b.positive(conv, "groups", 1)))
}

// pads are the pixels added at top, left, bottom and right.
func (b *builder) pads(conv *torch.Module, kernel, dilation []int64) []int64 {
	switch v, _ := conv.Value("padding"); v {
	case any("valid"):
		return []int64{0, 0, 0, 0}
	case any("same"): // the odd pixel goes to the end
		h, w := dilation[0]*(kernel[0]-1), dilation[1]*(kernel[1]-1)
		return []int64{h / 2, w / 2, h - h/2, w - w/2}
	}
	p := b.pair(conv, "padding", 0, 0)
	return []int64{p[0], p[1], p[0], p[1]}
}

func (b *builder) conv2d(m *torch.Module, x string) string {
	return b.convolve(m, x, b.kernel(m, nil))
}

func (b *builder) convTranspose2d(m *torch.Module, x string) string { return b.deconvolve(m, nil, x) }

// deconvolve emits a transposed convolution and the norm that follows it, if any.
func (b *builder) deconvolve(m, bn *torch.Module, x string) string {
	w := b.tensor(m, "weight", 4)
	if w == nil {
		return x
	}
	if v, ok := m.Value("padding_mode"); ok && v != any("zeros") {
		b.fail(m, "its padding mode is not zeros; %s", remedy)
	}
	groups := b.positive(m, "groups", 1)
	channels := w.Dim(1) * groups
	bias, scale := b.vector(m, "bias", channels), []float64(nil)
	if bn != nil {
		n := b.norm(bn, channels)
		if n == nil {
			return x
		}
		scale = n.scale
		for i, v := range bias {
			n.shift[i] += v * n.scale[i]
		}
		bias = n.shift
	}
	in := []string{x, b.deconvolution(w, groups, scale)}
	if bias != nil {
		in = append(in, b.floats(bias, channels))
	}
	p := b.pair(m, "padding", 0, 0)
	return b.opWith("ConvTranspose", in,
		onnx.IntsAttribute("kernel_shape", w.Dim(2), w.Dim(3)), onnx.IntsAttribute("strides", b.pair(m, "stride", 1, 1)...),
		onnx.IntsAttribute("pads", p[0], p[1], p[0], p[1]), onnx.IntsAttribute("dilations", b.pair(m, "dilation", 1, 1)...),
		onnx.IntsAttribute("output_padding", b.pair(m, "output_padding", 0, 0)...), onnx.IntAttribute("group", groups))
}

// deconvolution adds the weight of a transposed convolution, whose rows are
// input channels: the output channel changes within a row.
func (b *builder) deconvolution(w *torch.Tensor, groups int64, scale []float64) string {
	rows, area := w.Dim(0), w.Dim(2)*w.Dim(3)
	if scale == nil {
		return b.plain("weight", w, w.Shape()...)
	}
	if err := check(w); err != nil && b.err == nil {
		b.err = err
	}
	per := max(1, rows/groups)
	length := w.Dim(1) * area
	return b.weight("weight", w.Shape(), rows, length, func() (fill, error) {
		v, err := w.Values()
		if err != nil {
			return nil, err
		}
		buf := make([]float32, length)
		return func(i int64, row []float64) error {
			if err := v.Read(buf, i*length); err != nil {
				return err
			}
			first := min(i/per, groups-1) * w.Dim(1)
			for j, f := range buf {
				row[j] = float64(f) * scale[first+int64(j)/area]
			}
			return nil
		}, nil
	})
}

// batchNorm is a norm that follows no convolution.
func (b *builder) batchNorm(m *torch.Module, x string) string {
	c := m.Tensor("running_var")
	if c == nil || c.Rank() != 1 {
		b.fail(m, "it has no running variance")
		return x
	}
	n := b.norm(m, c.Dim(0))
	if n == nil {
		return x
	}
	return b.add(b.mul(x, b.floats(n.scale, 1, c.Dim(0), 1, 1)), b.floats(n.shift, 1, c.Dim(0), 1, 1))
}

// linear works on the last dimension, at any rank.
func (b *builder) linear(m *torch.Module, x string) string {
	w := b.tensor(m, "weight", 2)
	if w == nil {
		return x
	}
	flipped, err := w.Transpose()
	if err != nil {
		b.fail(m, "its weight: %v", err)
		return x
	}
	y := b.matmul(x, b.once(m, "weight", func() string { return b.plain("weight", flipped, flipped.Shape()...) }))
	if bias := b.vector(m, "bias", w.Dim(0)); bias != nil {
		y = b.add(y, b.floats(bias, w.Dim(0)))
	}
	return y
}

func (b *builder) layerNorm(m *torch.Module, x string) string {
	if m.Kind() != "LayerNorm" || !standard(m) {
		b.refuse(m)
		return x
	}
	w := b.tensor(m, "weight", 1)
	if w == nil {
		return x
	}
	scale, shift := b.vector(m, "weight", w.Dim(0)), b.vector(m, "bias", w.Dim(0))
	in := []string{x, b.floats(scale, w.Dim(0))}
	if shift != nil {
		in = append(in, b.floats(shift, w.Dim(0)))
	}
	return b.opWith("LayerNormalization", in, onnx.IntAttribute("axis", -1), onnx.FloatAttribute("epsilon", float32(b.floatAt(m, "eps", 1e-5))))
}

// window returns the attributes that the two kinds of pooling share. A stride
// that is missing or None is the kernel's size.
func (b *builder) window(m *torch.Module) []onnx.Attribute {
	k := b.pair(m, "kernel_size", 1, 1)
	stride := k
	if v, _ := m.Value("stride"); v != nil {
		stride = b.pair(m, "stride", 1, 1)
	}
	p := b.pair(m, "padding", 0, 0)
	ceil := int64(0)
	if b.boolAt(m, "ceil_mode", false) {
		ceil = 1
	}
	return []onnx.Attribute{onnx.IntsAttribute("kernel_shape", k...), onnx.IntsAttribute("strides", stride...),
		onnx.IntsAttribute("pads", p[0], p[1], p[0], p[1]), onnx.IntAttribute("ceil_mode", ceil)}
}

func (b *builder) maxPool2d(m *torch.Module, x string) string {
	dilations := onnx.IntsAttribute("dilations", b.pair(m, "dilation", 1, 1)...)
	return b.opWith("MaxPool", []string{x}, append(b.window(m), dilations)...)
}

func (b *builder) avgPool2d(m *torch.Module, x string) string {
	if v, _ := m.Value("divisor_override"); v != nil {
		b.fail(m, "its own divisor is not supported; %s", remedy)
	}
	pads := int64(0)
	if b.boolAt(m, "count_include_pad", true) {
		pads = 1
	}
	return b.opWith("AveragePool", []string{x}, append(b.window(m), onnx.IntAttribute("count_include_pad", pads))...)
}

func (b *builder) adaptiveAvgPool2d(m *torch.Module, x string) string {
	if size := b.pair(m, "output_size", 0, 1); size[0] != 1 || size[1] != 1 {
		b.fail(m, "its output size is %s; only 1 is supported; %s", describeInts(size), remedy)
	}
	return b.op("GlobalAveragePool", x)
}

// zeroPad2d stores its padding as left, right, top, bottom.
func (b *builder) zeroPad2d(m *torch.Module, x string) string {
	p := b.intsAt(m, "padding")
	if len(p) != 4 {
		b.fail(m, "its padding is not four ints")
		return x
	}
	return b.pad(x, p[2], p[0], p[3], p[1])
}

// pad adds zeros around the picture; negative numbers crop it.
func (b *builder) pad(x string, top, left, bottom, right int64) string {
	return b.opWith("Pad", []string{x, b.ints(0, 0, top, left, 0, 0, bottom, right)}, onnx.TextAttribute("mode", "constant"))
}

func (b *builder) upsample(m *torch.Module, x string) string {
	if v, _ := m.Value("size"); v != nil {
		b.fail(m, "its fixed output size is not supported; %s", remedy)
	}
	v, _ := m.Value("scale_factor")
	list, ok := items(v)
	if !ok {
		list = []any{v, v}
	}
	if len(list) != 2 {
		b.fail(m, "its scale factor is not one or two numbers")
		return x
	}
	h, ok1 := number(list[0])
	w, ok2 := number(list[1])
	if !ok1 || !ok2 || h <= 0 || w <= 0 || h > most || w > most {
		b.fail(m, "its scale factor is not a positive number")
		return x
	}
	mode := "nearest"
	if v, ok := m.Value("mode"); ok {
		mode, _ = v.(string)
	}
	return b.resize(m, x, mode, b.boolAt(m, "align_corners", false), h, w)
}

// resize scales a picture.
func (b *builder) resize(m *torch.Module, x, mode string, corners bool, h, w float64) string {
	in := []string{x, "", b.floats([]float64{1, 1, h, w}, 4)}
	switch {
	case mode == "nearest":
		return b.opWith("Resize", in, nearest()...)
	case mode == "bilinear" && corners:
		return b.opWith("Resize", in, onnx.TextAttribute("mode", "linear"), onnx.TextAttribute("coordinate_transformation_mode", "align_corners"))
	case mode == "bilinear":
		return b.opWith("Resize", in, onnx.TextAttribute("mode", "linear"), onnx.TextAttribute("coordinate_transformation_mode", "half_pixel"))
	}
	b.fail(m, "its resize mode is not supported; %s", remedy)
	return x
}

// nearest are the attributes of Resize that do as torch's nearest does.
func nearest() []onnx.Attribute {
	return []onnx.Attribute{onnx.TextAttribute("mode", "nearest"), onnx.TextAttribute("coordinate_transformation_mode", "asymmetric"),
		onnx.TextAttribute("nearest_mode", "floor")}
}

func (b *builder) sequential(m *torch.Module, x string) string {
	for _, c := range m.Children() {
		x = b.run(c, x)
	}
	return x
}

func (b *builder) identity(_ *torch.Module, x string) string { return x }
