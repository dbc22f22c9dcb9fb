package main

import (
	"context"
	"errors"
	"fmt"
)

// residentTable measures whether loading others disturbs a model in use.
func residentTable(ctx context.Context, out *report, b *work) (err error) {
	if !b.yolo {
		return nil // the head of the report says why
	}
	f := &fleet{b, "n20", "yolov8n.onnx", 20, gainNano}
	if err := f.prepared(ctx); err != nil {
		return err
	}
	p, err := f.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	d, err := newDetection(b.picture, 0)
	if err != nil {
		return err
	}
	var loading, spinning, both sample
	var loads int
	const rounds = 3
	for i := range rounds {
		progress("resident model, round %d of %d", i+1, rounds)
		beside := &loader{}
		a, err := b.beside(ctx, p, d, func(ctx context.Context) error { return beside.run(ctx, p) })
		if err != nil {
			return err
		}
		s, err := b.besideSpin(ctx, p, d)
		if err != nil {
			return err
		}
		loads += beside.loads
		loading, spinning = append(loading, a.percentile(99)), append(spinning, s.percentile(99))
		both = append(both, loading[i]/spinning[i])
	}
	out.section("A resident model while others load", fmt.Sprintf(
		"p99 of %d requests, three times (%d in all), one after the other, while other models load and unload without pause (%d loads), over the same beside a process that spins.",
		b.rounds.steady, rounds*b.rounds.steady, loads))
	out.table([]figure{
		{what: "p99 beside the loader over p99 beside the spinner", in: asRatio, measured: sample{loading.median() / spinning.median()}, most: 1.15},
		{what: "of each round", in: asRatio, measured: both, spread: true},
		{what: "p99 beside the loader", in: inMillis, measured: loading, spread: true},
		{what: "p99 beside the spinner", in: inMillis, measured: spinning, spread: true},
	})
	return nil
}

// beside asks for the resident model while other runs.
func (b *work) beside(ctx context.Context, p *process, d detection, other func(context.Context) error) (sample, error) {
	inner, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- other(inner) }()
	var times sample
	var err error
	for i := range 5 + b.rounds.steady {
		took, e := p.mustDetect(ctx, d)
		if err = e; err != nil {
			break
		}
		if i >= 5 {
			times = append(times, took.Seconds())
		}
	}
	stop()
	return times, errors.Join(err, <-done)
}

func (b *work) besideSpin(ctx context.Context, p *process, d detection) (sample, error) {
	h, err := b.startChild(ctx, "spinner", "spin")
	if err != nil {
		return nil, err
	}
	defer h.stop()
	return b.beside(ctx, p, d, func(context.Context) error { return nil })
}

// A loader loads and unloads models 1 to 5 without pause.
type loader struct{ loads int }

func (l *loader) run(ctx context.Context, p *process) error {
	for ; ; l.loads++ {
		for _, action := range []string{"load", "unload"} {
			if err := p.do(ctx, 1+l.loads%cycleModels, action); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
		}
	}
}
