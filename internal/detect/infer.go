package detect

import (
	"context"
	"fmt"

	"lazyolo/yolo"
)

// Signature is what goes into m and what comes out. A model that was never prepared is
// loaded for it.
func (d *Detector) Signature(ctx context.Context, m *yolo.Model) (yolo.Signature, error) {
	if p, ok := d.known(m); ok {
		return p.signature, nil
	}
	if d.o.Known != nil {
		if s, ok := d.o.Known(m); ok {
			return s, nil
		}
	}
	lease, _, err := d.pool.Acquire(ctx, m)
	if err != nil {
		return yolo.Signature{}, err
	}
	defer lease.Release()
	p, err := d.plan(lease.Model(), lease)
	if err != nil {
		return yolo.Signature{}, err
	}
	return p.signature, nil
}

// Infer runs a model on tensors as they are and hands the outputs to use, which must not
// keep them. in is one tensor for each input, in their order; its data may be changed.
// The caller counts its memory. Errors carry codes: NotFound for an unknown model,
// Invalid for a tensor that does not fit its input.
func (d *Detector) Infer(ctx context.Context, model string, in []yolo.Tensor, use func(out []yolo.Tensor) error) (err error) {
	m, ok := d.models.Model(model)
	if !ok {
		return &yolo.Error{Code: yolo.NotFound, Msg: fmt.Sprintf("Model ID %s not found", model)}
	}
	watch := newWatch()
	call := d.counts.begin(m)
	defer func() { call.end(watch.took, err) }()
	lease, _, err := d.pool.Acquire(ctx, m)
	if err != nil {
		return err
	}
	defer lease.Release()
	watch.lap(&watch.took.Load)
	p, err := d.plan(lease.Model(), lease)
	if err != nil {
		return err
	}
	pixels, err := p.fits(in)
	if err != nil {
		return err
	}
	room, err := lease.Reserve(ctx, 0, pixels)
	if err != nil {
		return err
	}
	defer room.Release()
	watch.lap(&watch.took.Memory)
	err = lease.Run(ctx, in, func(out []yolo.Tensor) error {
		call.ran()
		return use(out)
	})
	watch.lap(&watch.took.Run)
	return err
}

// fits checks tensors against the inputs, and returns the pixels of all pictures in them.
func (p *plan) fits(in []yolo.Tensor) (pixels int64, err error) {
	inputs := p.signature.Inputs
	if len(in) != len(inputs) {
		return 0, yolo.Errorf(yolo.Invalid, "%d inputs were given, the model has %d", len(in), len(inputs))
	}
	t, want := in[0], inputs[0] // a plan is made for one picture input only
	if err := fitsShape(t.Shape, want); err != nil {
		return 0, err
	}
	n, c, h, w := t.Shape[0], t.Shape[1], t.Shape[2], t.Shape[3]
	const most = 1 << 32 // elements; more than any body holds
	if n > most/c || n*c > most/h || n*c*h > most/w || n*c*h*w != int64(len(t.Data)) {
		return 0, yolo.Errorf(yolo.Invalid, "input %s: %d values do not make a tensor of shape %v", want.Name, len(t.Data), t.Shape)
	}
	if c != 3 {
		return 0, yolo.Errorf(yolo.Invalid, "input %s: the shape is %v, a picture has 3 channels", want.Name, t.Shape)
	}
	stride := int64(p.input.stride)
	if p.input.width == 0 && p.input.fitting != cropped && (h%stride != 0 || w%stride != 0) {
		return 0, yolo.Errorf(yolo.Invalid, "input %s: the shape is %v, height and width must be multiples of %d", want.Name, t.Shape, stride)
	}
	return n * h * w, nil
}

// fitsShape checks a shape against what an input declares, where -1 is any number.
func fitsShape(shape []int64, want yolo.TensorInfo) error {
	ok := len(shape) == len(want.Shape)
	for i := 0; ok && i < len(shape); i++ {
		ok = shape[i] > 0 && (want.Shape[i] < 0 || shape[i] == want.Shape[i])
	}
	if !ok {
		return yolo.Errorf(yolo.Invalid, "input %s: the shape is %v, the model takes %v", want.Name, shape, want.Shape)
	}
	return nil
}
