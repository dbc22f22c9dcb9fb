package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// A plan is one budget table's.
type plan struct {
	fleet *fleet
	what  string
	most  int     // MAX_MEMORY_MB
	least float64 // of the throughput without a budget, once prepared
	slow  float64 // of its p99, at most; 0: not asked
	empty bool    // begin with an empty cache
}

// budgetTables measures many models within a hard budget.
func budgetTables(ctx context.Context, out *report, b *work) error {
	if !b.yolo {
		return nil // the head of the report says why
	}
	for _, p := range []plan{
		{&fleet{b, "n20", "yolov8n.onnx", 20, gainNano}, "20 different YOLOv8n within 250 MB", 250, 0.90, 1.5, true},
		{&fleet{b, "m4", "yolov8m-a.onnx", 4, gainMedium}, "4 different YOLOv8m within 400 MB, prepared beforehand", 400, 0.85, 0, false},
	} {
		if err := p.table(ctx, out); err != nil {
			return fmt.Errorf("%s: %w", p.what, err)
		}
	}
	return nil
}

// A budgeted is what is measured of one budget.
type budgeted struct {
	prepared, free *served  // within the budget and without one, in turns
	filling        *served  // from the empty cache on; nil: not asked
	samples        *sampler // of all that ran within the budget
	peak           float64  // without
}

func (p *plan) table(ctx context.Context, out *report) error {
	progress("budget: %s", p.what)
	if err := p.fleet.prepared(ctx); err != nil {
		return err
	}
	c, err := p.answers(ctx)
	if err != nil {
		return err
	}
	r := &budgeted{prepared: new(served), free: new(served)}
	if p.empty {
		if err := p.fill(ctx, c, r); err != nil {
			return err
		}
		if err := p.fleet.b.prepare(ctx, p.fleet.dir(), p.fleet.env()...); err != nil { // those never asked for
			return err
		}
	}
	if err := p.windows(ctx, c, r); err != nil {
		return err
	}
	p.print(out, r)
	return nil
}

// answers asks an idle server without a budget for every model's answer, with a
// threshold that random weights pass.
func (p *plan) answers(ctx context.Context) (*crowd, error) {
	s, err := p.fleet.start(ctx)
	if err != nil {
		return nil, err
	}
	c, err := s.reference(ctx, p.fleet)
	return c, s.stopAfter(err)
}

func (s *process) reference(ctx context.Context, f *fleet) (*crowd, error) {
	c := &crowd{}
	for i := range f.n {
		d, answer, err := s.telling(ctx, f.b.picture, i)
		if err != nil {
			return nil, err
		}
		c.asks, c.want = append(c.asks, d), append(c.want, answer)
	}
	return c, nil
}

// fill is the run from the empty cache on.
func (p *plan) fill(ctx context.Context, c *crowd, r *budgeted) error {
	if err := os.RemoveAll(p.fleet.cache()); err != nil {
		return err
	}
	s, err := p.fleet.start(ctx, "MAX_MEMORY_MB="+strconv.Itoa(p.most))
	if err != nil {
		return err
	}
	progress("budget: %v from an empty cache", p.fleet.b.rounds.empty)
	r.samples = s.watchTree(ctx)
	r.filling, err = c.run(ctx, s, p.fleet.b.rounds.empty)
	r.samples.end()
	return s.stopAfter(err)
}

// windows has a server within the budget and one without take turns. Both are
// sampled, so that the sampling weighs on both.
func (p *plan) windows(ctx context.Context, c *crowd, r *budgeted) (err error) {
	var servers [2]*process
	for i, env := range []string{"MAX_MEMORY_MB=" + strconv.Itoa(p.most), "KEEP_ALIVE=10m"} {
		if servers[i], err = p.fleet.start(ctx, env); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, servers[i].stop()) }()
		if _, err := c.run(ctx, servers[i], time.Second); err != nil { // warm
			return err
		}
	}
	for i := range p.fleet.b.rounds.windows {
		progress("budget: within it and without, round %d of %d", i+1, p.fleet.b.rounds.windows)
		for k, to := range []*served{r.prepared, r.free} {
			watch := servers[k].watchTree(ctx)
			got, err := c.run(ctx, servers[k], p.window())
			watch.end()
			if err != nil {
				return err
			}
			to.add(got)
			if k == 0 {
				r.samples = watch.join(r.samples)
			} else {
				r.peak = max(r.peak, watch.highest)
			}
		}
	}
	return nil
}

// window is how long each server is asked in a round: together the 60 s, where
// these are not spent on the empty cache.
func (p *plan) window() time.Duration {
	if !p.empty {
		return p.fleet.b.rounds.empty / time.Duration(p.fleet.b.rounds.windows)
	}
	return p.fleet.b.rounds.window
}

func (p *plan) print(out *report, r *budgeted) {
	limit := float64(p.most) * mb
	failed, differ, answers := r.prepared.failed+r.free.failed, r.prepared.differ+r.free.differ, len(r.prepared.took)+len(r.free.took)
	if r.filling != nil {
		failed, differ, answers = failed+r.filling.failed, differ+r.filling.differ, answers+len(r.filling.took)
	}
	out.section(p.what, fmt.Sprintf(
		"MAX_MEMORY_MB=%d, 810x1080 JPEG, Zipf(1.0), %d closed-loop clients; the process tree's VmRSS every %v from outside (%d samples, longest gap %v); preparing children count from their exec on. Then, all prepared, in turns with a server without a budget, %d rounds of %v each. Answers are compared byte for byte with an idle server's without a budget.",
		p.most, clients, sampleEvery, r.samples.samples, r.samples.gap.Round(time.Millisecond), p.fleet.b.rounds.windows, p.window()))
	rows := []figure{
		{what: "highest sample", in: inMB, measured: sample{r.samples.highest}, most: limit},
		{what: "errors", in: asCount, measured: sample{float64(failed)}, none: true},
		{what: fmt.Sprintf("answers unlike the idle server's, of %d", answers), in: asCount, measured: sample{float64(differ)}, none: true},
		{what: "throughput over that without a budget", in: asRatio, measured: sample{r.prepared.rate() / r.free.rate()}, least: p.least},
		{what: "p99 over that without a budget", in: asRatio, measured: sample{r.prepared.took.percentile(99) / r.free.took.percentile(99)}, most: p.slow},
		{what: fmt.Sprintf("highest unexplained memory of %d looks", r.samples.said), in: inMB, measured: sample{r.samples.unexplained}, most: limit / 10},
	}
	if r.filling != nil {
		rows = append(rows,
			figure{what: fmt.Sprintf("throughput, the %v from the empty cache on", p.fleet.b.rounds.empty), in: perSecond, measured: sample{r.filling.rate()}},
			figure{what: "p99 of that", in: inMillis, measured: sample{r.filling.took.percentile(99)}})
	}
	rows = append(rows,
		figure{what: "throughput within the budget", in: perSecond, measured: sample{r.prepared.rate()}},
		figure{what: "throughput without", in: perSecond, measured: sample{r.free.rate()}},
		figure{what: "p50 / within", in: inMillis, measured: sample{r.prepared.took.median()}},
		figure{what: "p99 / within", in: inMillis, measured: sample{r.prepared.took.percentile(99)}},
		figure{what: "p99 / without", in: inMillis, measured: sample{r.free.took.percentile(99)}},
		figure{what: "highest sample without a budget", in: inMB, measured: sample{r.peak}})
	out.table(rows)
}
