// Package detect answers one request: it borrows the model, decodes the picture,
// fits it into the model's input, runs the model and turns its raw output into
// objects, masks, keypoints, rotated boxes or probabilities, exactly as
// Ultralytics' predictors do on the same weights (release 8.4.190).
package detect

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"lazyolo/internal/buffers"
	"lazyolo/internal/imaging"
	"lazyolo/internal/pool"
	"lazyolo/yolo"
)

// Options configures a Detector. Conf and IoU have no useful zero: 0 keeps
// every candidate and suppresses every overlap.
type Options struct {
	Conf, IoU float64        // thresholds in 0..1 when a request names none
	Pictures  *imaging.Codec // reads them; required
	Buffers   *buffers.Store // lends the network inputs; nil: they lie in Go's heap
	// Known tells a model's Signature without loading it, if it can; nil: it cannot.
	Known func(*yolo.Model) (yolo.Signature, bool)
}

// Models finds a model by its id or decimal index; *catalog.Catalog is one.
type Models interface {
	Model(id string) (*yolo.Model, bool)
}

// A Detector answers requests; its methods may be called concurrently.
type Detector struct {
	models Models
	pool   *pool.Pool
	o      Options
	limits atomic.Pointer[limits]
	plans  sync.Map // *plan by model id, of the revision seen last
	counts counts
}

// New makes a Detector over the models and the pool that loads them.
func New(models Models, p *pool.Pool, o Options) *Detector {
	d := &Detector{models: models, pool: p, o: o}
	d.Thresholds(o.Conf, o.IoU)
	return d
}

// limits are the thresholds of requests that name none.
type limits struct{ conf, iou float64 }

// Thresholds changes Options.Conf and Options.IoU for requests that come from now on.
func (d *Detector) Thresholds(conf, iou float64) { d.limits.Store(&limits{conf, iou}) }

// Detect answers for one picture, best first. Its errors carry codes: NotFound for
// an unknown model, Invalid for an option that is out of range or a picture that
// cannot be decoded, LoadFailed and Unsupported for a model that cannot serve.
func (d *Detector) Detect(ctx context.Context, r yolo.Request) (result *yolo.Result, err error) {
	q, err := d.query(r)
	if err != nil {
		return nil, err
	}
	m, ok := d.models.Model(r.Model)
	if !ok {
		return nil, &yolo.Error{Code: yolo.NotFound, Msg: fmt.Sprintf("Model ID %s not found", r.Model)}
	}
	size, err := d.o.Pictures.Measure(r.Image)
	if err != nil {
		return nil, err
	}
	// The model comes first: whoever waits for a load holds nothing but the
	// encoded picture.
	watch := newWatch()
	call := d.counts.begin(m)
	defer func() { call.end(watch.took, err) }()
	lease, p, cold, err := d.borrow(ctx, m, r)
	if err != nil && yolo.CodeOf(err) == yolo.NotFound { // its folder changed a moment ago
		if now, ok := d.models.Model(r.Model); ok && now != m {
			lease, p, cold, err = d.borrow(ctx, now, r)
		}
	}
	if err != nil {
		return nil, err
	}
	defer lease.Release()
	if r.KeepAlive != nil {
		lease.KeepAlive(*r.KeepAlive)
	}
	watch.lap(&watch.took.Load)
	at := p.input.place(size.Width, size.Height, r.ImgSz)
	pixels := int64(at.Width) * int64(at.Height)
	room, err := lease.Reserve(ctx, size.Bytes+3*4*pixels, pixels)
	if err != nil {
		return nil, err
	}
	defer room.Release()
	watch.lap(&watch.took.Memory)
	img, err := d.o.Pictures.Decode(r.Image, p.input.fitter(r.ImgSz))
	if err != nil {
		return nil, err
	}
	defer img.Free()
	w, h := img.Size()
	if w != size.Width || h != size.Height {
		return nil, yolo.Errorf(yolo.Invalid, "picture of %dx%d pixels says %dx%d in its header", w, h, size.Width, size.Height)
	}
	result = &yolo.Result{Model: lease.Model(), Width: w, Height: h, Cold: cold}
	q.fit = at.Fit
	data := buffers.Get[float32](d.o.Buffers, 3*at.Width*at.Height)
	defer buffers.Put(d.o.Buffers, data)
	at.fill(data, img, room.Cores())
	watch.lap(&watch.took.Decode)
	tensor := yolo.Tensor{Shape: []int64{1, 3, int64(at.Height), int64(at.Width)}, Data: data}
	err = lease.Run(ctx, []yolo.Tensor{tensor}, func(out []yolo.Tensor) error {
		call.ran()
		return p.head.decode(out, q, result)
	})
	if err != nil {
		return nil, err
	}
	p.name(result)
	watch.lap(&watch.took.Run)
	result.Took = watch.took
	return result, nil
}

// borrow lends the head of m that the request asks for, in the revision that is in
// force. Which heads there are is known once m was loaded.
func (d *Detector) borrow(ctx context.Context, m *yolo.Model, r yolo.Request) (l *pool.Lease, p *plan, cold bool, err error) {
	if p, ok := d.known(m); ok {
		m = p.headFor(r)
	}
	for {
		waited := false
		if l, waited, err = d.acquire(ctx, m, r); err != nil {
			return nil, nil, false, err
		}
		cold = cold || waited
		m = l.Model()
		if p, err = d.plan(m, l); err != nil {
			l.Release()
			return nil, nil, false, err
		}
		if p.headFor(r) == m {
			return l, p, cold, nil
		}
		l.Release()
		m = p.headFor(r)
	}
}

// acquire borrows the model for a request, waiting as long as that allows.
func (d *Detector) acquire(ctx context.Context, m *yolo.Model, r yolo.Request) (*pool.Lease, bool, error) {
	wait := time.Duration(-1)
	if r.LoadWait != nil {
		wait = max(0, *r.LoadWait)
	}
	return d.pool.AcquireWithin(ctx, m, wait)
}

// A watch measures the parts of a request.
type watch struct {
	took yolo.Took
	last time.Time
}

func newWatch() *watch {
	now := time.Now()
	return &watch{took: yolo.Took{Began: now}, last: now}
}

// lap ends a part.
func (w *watch) lap(part *time.Duration) {
	now := time.Now()
	*part, w.last = now.Sub(w.last), now
}

// plan returns how m is fed and understood, made once per revision.
func (d *Detector) plan(m *yolo.Model, lease *pool.Lease) (*plan, error) {
	if p, ok := d.known(m); ok {
		return p, nil
	}
	p, err := newPlan(m, lease.Inputs(), lease.Outputs(), lease.Metadata())
	if err != nil {
		return nil, err
	}
	d.plans.Store(m.ID, p)
	return p, nil
}

// known is m's plan if it was made.
func (d *Detector) known(m *yolo.Model) (*plan, bool) {
	p, ok := d.plans.Load(m.ID)
	if !ok || p.(*plan).model != m {
		return nil, false
	}
	return p.(*plan), true
}

// maxImgSz bounds what one request can make a dynamic model take: a run needs
// memory in proportion to its square.
const maxImgSz = 2048

// query is what a request asks of the head, with the server's defaults, checked.
func (d *Detector) query(r yolo.Request) (query, error) {
	now := d.limits.Load()
	conf, iou := now.conf, now.iou
	if r.Conf != nil {
		conf = *r.Conf
	}
	if r.IoU != nil {
		iou = *r.IoU
	}
	for _, v := range []struct {
		name     string
		value    float64
		from, to float64
	}{
		{"conf", conf, 0, 1}, {"iou", iou, 0, 1},
		{"max_det", float64(r.MaxDet), 0, maxCandidates}, {"imgsz", float64(r.ImgSz), 0, maxImgSz},
	} {
		if !(v.value >= v.from && v.value <= v.to) { // NaN is neither
			return query{}, yolo.Errorf(yolo.Invalid, "%s must lie in %v..%v, got %v", v.name, v.from, v.to, v.value)
		}
	}
	q := query{conf: float32(conf), iou: iou, most: r.MaxDet, classes: r.Classes, agnostic: r.AgnosticNMS}
	if q.most == 0 {
		q.most = maxObjects
	}
	return q, nil
}
