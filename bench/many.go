package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"time"
)

// manyMB is the budget of the table many.
const manyMB = 1500

// manyTable measures hundreds of models that are all ready.
func manyTable(ctx context.Context, out *report, b *work) error {
	if !b.yolo {
		return nil // the head of the report says why
	}
	n := b.rounds.many
	if text := os.Getenv("BENCH_MODELS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 {
			return fmt.Errorf("BENCH_MODELS=%s is no number of models", text)
		}
	}
	f := &fleet{b, "many", "yolov8n.onnx", n, gainNano}
	if err := f.prepared(ctx); err != nil {
		return err
	}
	p, err := f.start(ctx, "MAX_MEMORY_MB="+strconv.Itoa(manyMB), "KEEP_ALIVE=-1")
	if err != nil {
		return err
	}
	m := &manyRun{}
	if err := p.stopAfter(m.measure(ctx, f, p)); err != nil {
		return err
	}
	m.print(out, f)
	return nil
}

// A manyRun is what is measured of it.
type manyRun struct {
	base, after float64 // RSS before the first model, and idle after all ran
	ready       int
	extra, hot  sample
}

func (m *manyRun) measure(ctx context.Context, f *fleet, p *process) error {
	then, err := p.memory()
	if err != nil {
		return err
	}
	m.base = then.rss
	asks := make([]detection, f.n)
	for i := range asks {
		if i%100 == 0 {
			progress("many models: %d of %d", i, f.n)
		}
		if asks[i], err = newDetection(f.b.picture, i); err != nil {
			return err
		}
		if _, err := p.mustDetect(ctx, asks[i]); err != nil {
			return err
		}
	}
	err = p.watch(ctx, f.b.rounds.settle, func(_, later memory) { m.after = later.rss })
	if err != nil {
		return err
	}
	state, err := p.budget(ctx)
	if err != nil {
		return err
	}
	m.ready = len(state.Loaded)
	rnd := rand.New(rand.NewPCG(1, 1))
	order := rnd.Perm(f.n)
	for _, i := range order[:min(f.b.rounds.asked, f.n)] {
		var times sample
		for range 1 + hotAfter {
			took, err := p.mustDetect(ctx, asks[i])
			if err != nil {
				return errors.Join(err, fmt.Errorf("model %d", i))
			}
			times = append(times, took.Seconds())
		}
		hot := times[1:].median()
		m.hot, m.extra = append(m.hot, hot), append(m.extra, times[0]-hot)
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func (m *manyRun) print(out *report, f *fleet) {
	title := fmt.Sprintf("%d different YOLOv8n, all ready", f.n)
	if f.n != full.many {
		title += fmt.Sprintf(" (asked for: %d)", full.many)
	}
	out.section(title, fmt.Sprintf(
		"MAX_MEMORY_MB=%d, KEEP_ALIVE=-1; each ran once, then %v idle. The base is the process before its first model, so ONNX Runtime itself counts. %d models at random are asked once more: over the median of the %d requests that follow; the files are in the page cache.",
		manyMB, f.b.rounds.settle, len(m.extra), hotAfter))
	each := figure{what: "RSS of each above the base", in: inMB, measured: sample{(m.after - m.base) / float64(f.n)}, most: 2 * mb}
	if f.n < full.many {
		each.what, each.most = each.what+" (not judged: so few are not pressed by the budget)", 0
	}
	out.table([]figure{
		{what: "models ready then", in: asCount, measured: sample{float64(m.ready)}, least: float64(f.n)},
		each,
		{what: "next request over hot, slowest", in: inMillis, measured: sample{slices.Max(m.extra)}, most: 0.025},
		{what: "next request over hot", in: inMillis, measured: m.extra, spread: true},
		{what: "hot", in: inMillis, measured: m.hot, spread: true},
		{what: "RSS before the first model", in: inMB, measured: sample{m.base}},
		{what: "RSS idle, after all ran", in: inMB, measured: sample{m.after}},
	})
}
