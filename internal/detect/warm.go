package detect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lazyolo/internal/buffers"
	"lazyolo/internal/pool"
	"lazyolo/yolo"
)

// Warm loads a model and runs it once on nothing, so that its first request finds
// everything in memory.
func (d *Detector) Warm(ctx context.Context, id string) error {
	m, ok := d.models.Model(id)
	if !ok {
		return &yolo.Error{Code: yolo.NotFound, Msg: fmt.Sprintf("Model ID %s not found", id)}
	}
	lease, _, err := d.pool.Acquire(ctx, m)
	if err != nil {
		return err
	}
	defer lease.Release()
	return d.warm(ctx, lease)
}

// Preheat is Warm for a model that nobody asked for yet, into free memory only
// (see pool.Speculate, whose errors it returns). It stays unused at least keep.
func (d *Detector) Preheat(ctx context.Context, m *yolo.Model, keep time.Duration) error {
	lease, err := d.pool.Speculate(ctx, m)
	if err != nil || lease == nil {
		return err
	}
	defer lease.Release()
	lease.KeepAtLeast(keep)
	if err := d.warm(ctx, lease); !errors.Is(err, pool.ErrBusy) {
		return err
	}
	return nil // loaded it is
}

// warm runs a lent model once on nothing.
func (d *Detector) warm(ctx context.Context, lease *pool.Lease) error {
	p, err := d.plan(lease.Model(), lease)
	if err != nil {
		return err
	}
	at := p.input.place(640, 640, 0)
	pixels := at.Width * at.Height
	room, err := lease.Reserve(ctx, int64(3*4*pixels), int64(pixels))
	if err != nil {
		return err
	}
	defer room.Release()
	data := buffers.Get[float32](d.o.Buffers, 3*pixels)
	defer buffers.Put(d.o.Buffers, data)
	tensor := yolo.Tensor{Shape: []int64{1, 3, int64(at.Height), int64(at.Width)}, Data: data}
	return lease.Run(ctx, []yolo.Tensor{tensor}, func([]yolo.Tensor) error { return nil })
}
