package main

import (
	"context"
	"fmt"
	"math"
)

// cycleModels is how many models the cycles go over.
const cycleModels = 5

// cyclesTable loads, runs and unloads models over and over.
func cyclesTable(ctx context.Context, out *report, b *work) error {
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
	c := &cycles{}
	if err := p.stopAfter(c.measure(ctx, b, p)); err != nil {
		return err
	}
	drift, noise := c.slope()
	out.section("Load, run, unload", fmt.Sprintf(
		"%d cycles over %d YOLOv8n: one request, then POST /api/v2/models/ID/unload. Warm: after %d cycles of each and %v of rest. The slope is the least-squares line through the medians of ten parts (without the first), its noise two standard errors or, if that is more, 1 MB.",
		b.rounds.cycles, cycleModels, warmCycles, b.rounds.settle))
	out.table([]figure{
		{what: "RSS after a rest, over the warm start", in: inMB, measured: sample{c.end - c.start}, most: 15 * mb},
		{what: "slope over all cycles (its size), against noise", in: inMB, measured: sample{math.Abs(drift)}, most: max(noise, mb)},
		{what: "RSS, warm start", in: inMB, measured: sample{c.start}},
		{what: "RSS, after the cycles and a rest", in: inMB, measured: sample{c.end}},
		{what: "RSS right after each unload", in: inMB, measured: c.each, spread: true},
		{what: "request, load included", in: inMillis, measured: c.took, spread: true},
	})
	return nil
}

// warmCycles is how often each model goes through before the warm start.
const warmCycles = 4

type cycles struct {
	start, end float64
	each, took sample
}

func (c *cycles) measure(ctx context.Context, b *work, p *process) error {
	asks := make([]detection, cycleModels)
	for i := range asks {
		var err error
		if asks[i], err = newDetection(b.picture, i); err != nil {
			return err
		}
	}
	rest := func(to *float64) error {
		return p.watch(ctx, b.rounds.settle, func(_, later memory) { *to = later.rss })
	}
	for i := range b.rounds.cycles + warmCycles*cycleModels {
		if i == warmCycles*cycleModels {
			if err := rest(&c.start); err != nil {
				return err
			}
			c.each, c.took = nil, nil
		}
		if i%200 == 0 {
			progress("cycles: %d of %d", i, b.rounds.cycles)
		}
		took, err := p.mustDetect(ctx, asks[i%cycleModels])
		if err != nil {
			return err
		}
		if err := p.do(ctx, i%cycleModels, "unload"); err != nil {
			return err
		}
		m, err := p.memory()
		if err != nil {
			return err
		}
		c.each, c.took = append(c.each, m.rss), append(c.took, took.Seconds())
	}
	return rest(&c.end)
}

// slope is the drift over all cycles and what of it is noise.
func (c *cycles) slope() (drift, noise float64) {
	const parts = 10
	var y sample
	size := len(c.each) / parts
	for i := 1; i < parts; i++ {
		y = append(y, c.each[i*size:(i+1)*size].median())
	}
	n := float64(len(y))
	var mx, my, sxx, sxy, rss float64
	for i, v := range y {
		mx += float64(i) / n
		my += v / n
	}
	for i, v := range y {
		sxx += (float64(i) - mx) * (float64(i) - mx)
		sxy += (float64(i) - mx) * (v - my)
	}
	k := sxy / sxx
	for i, v := range y {
		d := v - my - k*(float64(i)-mx)
		rss += d * d
	}
	return k * parts, 2 * parts * math.Sqrt(rss/(n-2)/sxx)
}
