package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
)

// throughputTable measures eight clients over the best bare loop.
func throughputTable(ctx context.Context, out *report, b *work) (err error) {
	if why := b.needs(); why != "" {
		b.note("Table throughput is left out: %s.", why)
		return nil
	}
	var loops []*helper
	defer func() {
		for _, h := range loops {
			h.stop()
		}
	}()
	for _, threads := range []string{"1", "2"} {
		for _, n := range []string{"1", "2"} {
			h, err := b.startChild(ctx, "threads "+threads+", loops "+n, "bare", b.dir, threads, n)
			if err != nil {
				return err
			}
			loops = append(loops, h)
		}
	}
	d, err := newDetection(b.picture, 0)
	if err != nil {
		return err
	}
	rates, servers := make([]sample, 2), make([]*process, 2)
	for i, annotated := range []string{"off", "on"} {
		if servers[i], err = b.start(ctx, b.lazyolo, b.models(nano, "onnx"), "SAVE_ANNOTATED="+annotated); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, servers[i].stop()) }()
		if _, err := servers[i].mustDetect(ctx, d); err != nil {
			return err
		}
	}
	for round := range b.rounds.windows {
		progress("throughput, round %d of %d", round+1, b.rounds.windows)
		for _, h := range loops {
			if err := h.loop(b.rounds.window / 3); err != nil {
				return err
			}
		}
		for i, p := range servers {
			s, err := one(d).run(ctx, p, b.rounds.window)
			if err != nil || s.failed > 0 {
				return errors.Join(err, fmt.Errorf("%d requests failed: %s", s.failed, s.why))
			}
			rates[i] = append(rates[i], s.rate())
			if err := wait(ctx, 10*pause); err != nil { // pictures that wait to be drawn
				return err
			}
		}
	}
	printThroughput(out, rates, loops)
	return nil
}

func printThroughput(out *report, rates []sample, loops []*helper) {
	best := slices.MaxFunc(loops, func(a, b *helper) int { return int(math.Copysign(1, a.rate.median()-b.rate.median())) })
	out.section("Throughput", fmt.Sprintf(
		"YOLOv8n, 810x1080 JPEG, %d closed-loop clients, over the best bare loop (%s); each loop in a process of its own, in turns.", clients, best.name))
	rows := []figure{
		{what: "annotated pictures off", in: asRatio, measured: sample{rates[0].median() / best.rate.median()}, least: 0.90},
		{what: "annotated pictures on", in: asRatio, measured: sample{rates[1].median() / best.rate.median()}, least: 0.84},
		{what: "off", in: perSecond, measured: rates[0], spread: true},
		{what: "on", in: perSecond, measured: rates[1], spread: true},
	}
	for _, h := range loops {
		rows = append(rows, figure{what: "bare, " + h.name, in: perSecond, measured: h.rate, spread: true})
	}
	out.table(rows)
}

// originalTable measures lazyolo against the Python server, on .onnx.
func originalTable(ctx context.Context, out *report, b *work) error {
	i := slices.IndexFunc(b.peers, func(c contender) bool { return c.eager && c.format == "onnx" })
	if i < 0 {
		return nil // the head of the report says why
	}
	var rows, more []figure
	for _, m := range []struct{ set, name string }{{nano, "YOLOv8n"}, {pair, "YOLOv8m"}} {
		own, theirs, err := b.against(ctx, m.set, b.peers[i])
		if err != nil {
			return err
		}
		rows = append(rows,
			figure{what: m.name + ", p50, lazyolo over the Python server", in: asRatio, most: 1, measured: sample{own.times.median() / theirs.times.median()}},
			figure{what: m.name + ", throughput, lazyolo over the Python server", in: asRatio, least: 1, measured: sample{own.rate.median() / theirs.rate.median()}})
		for _, s := range []*contest{own, theirs} {
			more = append(more,
				figure{what: m.name + ", p50, " + s.what, in: inMillis, measured: s.times, spread: true},
				figure{what: m.name + ", throughput, " + s.what, in: perSecond, measured: s.rate, spread: true})
		}
	}
	out.section("Against the Python server, .onnx", fmt.Sprintf(
		"810x1080 JPEG, annotated pictures off, both servers loaded, in turns: bursts of requests, then %d clients.", clients))
	out.table(append(rows, more...))
	return nil
}

// A contest is what one of two servers reached.
type contest struct {
	turn
	rate sample
}

func (b *work) against(ctx context.Context, set string, peer contender) (own, theirs *contest, err error) {
	d, err := newDetection(b.picture, 0)
	if err != nil {
		return nil, nil, err
	}
	progress("against the Python server, set %s", set)
	both := []*contest{{turn: turn{what: "lazyolo"}}, {turn: turn{what: peer.name}}}
	servers := make([]*process, 2)
	for i, c := range []contender{b.lazyolo, peer} {
		if servers[i], err = b.start(ctx, c, b.models(set, c.format), "SAVE_ANNOTATED=off"); err != nil {
			return nil, nil, err
		}
		defer func() { err = errors.Join(err, servers[i].stop()) }()
		if both[i].do, err = request(servers[i], b.picture, 0, ""); err != nil {
			return nil, nil, err
		}
	}
	if err := inBursts(ctx, max(1, b.rounds.bursts/4), &both[0].turn, &both[1].turn); err != nil {
		return nil, nil, err
	}
	for range max(1, b.rounds.windows-1) {
		for i, p := range servers {
			s, err := one(d).run(ctx, p, b.rounds.window)
			if err != nil || s.failed > 0 {
				return nil, nil, errors.Join(err, fmt.Errorf("%d requests failed: %s", s.failed, s.why))
			}
			both[i].rate = append(both[i].rate, s.rate())
		}
	}
	return both[0], both[1], nil
}
