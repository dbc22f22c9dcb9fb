package main

import (
	"context"
	"errors"
	"fmt"
)

// hotAfter is how many requests follow a first one to tell what hot is.
const hotAfter = 5

// A serving is what is measured of processes that answer requests of two models,
// one after the other.
//
// The processor time of a request is told beside its wall time, because other work
// on the machine hardly changes it.
type serving struct {
	first, hot, extra [2]sample // of each model: its first request, the ones after, their difference
	busy              [2]sample // the difference in processor time
	rss, rssLater     sample    // after both were asked, and 5 s later
	anon, anonLater   sample    // the anonymous part
}

// measure is one life: start, model 0 cold and hot, model 1 cold and hot, rest.
// annotated is SAVE_ANNOTATED; peers never draw.
func (s *serving) measure(ctx context.Context, b *work, c contender, annotated string) error {
	p, err := b.start(ctx, c, b.models(pair, c.format), "SAVE_ANNOTATED="+annotated)
	if err != nil {
		return err
	}
	return p.stopAfter(s.ask(ctx, b, p))
}

func (s *serving) ask(ctx context.Context, b *work, p *process) error {
	for model := range 2 {
		d, err := newDetection(b.picture, model)
		if err != nil {
			return err
		}
		var wall, busy sample // of each request
		for range 1 + hotAfter {
			before, err := p.processorTime()
			if err != nil {
				return err
			}
			took, err := p.mustDetect(ctx, d)
			if err != nil {
				return err
			}
			after, err := p.processorTime()
			if err != nil {
				return err
			}
			wall, busy = append(wall, took.Seconds()), append(busy, (after-before).Seconds())
		}
		hot := wall[1:].median()
		s.first[model] = append(s.first[model], wall[0])
		s.hot[model] = append(s.hot[model], hot)
		s.extra[model] = append(s.extra[model], wall[0]-hot)
		s.busy[model] = append(s.busy[model], busy[0]-busy[1:].median())
	}
	return p.watch(ctx, b.rounds.settle, func(then, later memory) {
		s.rss, s.rssLater = append(s.rss, then.rss), append(s.rssLater, later.rss)
		s.anon, s.anonLater = append(s.anon, then.anon), append(s.anonLater, later.anon)
	})
}

// servingTables measures first requests and the memory they leave.
func servingTables(ctx context.Context, out *report, b *work) error {
	if !b.yolo {
		return nil // the head of the report says why
	}
	warm, drawing, dropped, peers := new(serving), new(serving), new(serving), make([]serving, len(b.peers))
	for i := range b.rounds.lives {
		progress("first requests and the memory after them, round %d of %d", i+1, b.rounds.lives)
		err := errors.Join(
			b.warmPrepared(),
			warm.measure(ctx, b, b.lazyolo, "off"),
			drawing.measure(ctx, b, b.lazyolo, "on"),
			b.dropPrepared(),
			dropped.measure(ctx, b, b.lazyolo, "off"))
		if err != nil {
			return err
		}
		for j, c := range b.peers {
			if i >= b.rounds.peers {
				break
			}
			if err := peers[j].measure(ctx, b, c, "off"); err != nil {
				return err
			}
		}
	}
	printServing(out, warm, drawing, dropped, peers)
	return nil
}

func printServing(out *report, warm, drawing, dropped *serving, peers []serving) {
	row := func(what string, in unit, most float64, then string, from *serving, pick func(*serving) sample) figure {
		f := figure{what: what, in: in, measured: pick(from), spread: true, most: most, original: then}
		for i := range peers {
			if from == warm {
				f.peers = append(f.peers, pick(&peers[i]))
			}
		}
		return f
	}
	first := func(model int) func(*serving) sample { return func(s *serving) sample { return s.first[model] } }
	hot := func(model int) func(*serving) sample { return func(s *serving) sample { return s.hot[model] } }
	busy := func(model int) func(*serving) sample { return func(s *serving) sample { return s.busy[model] } }
	extra := func(model int) func(*serving) sample { return func(s *serving) sample { return s.extra[model] } }

	out.section("First request of a prepared YOLOv8m", fmt.Sprintf(
		"A process each round; hot is the median of the %d requests that follow. Dropped: the prepared files were put out of the page cache before the process started (%s).",
		hotAfter, "posix_fadvise, DONTNEED"))
	out.table([]figure{
		row("fresh process (opens ONNX Runtime), over hot", inMillis, 0.080, "+3 s", warm, extra(0)),
		row("another model has run, over hot", inMillis, 0.080, "", warm, extra(1)),
		row("fresh process, over hot, processor time", inMillis, 0, "", warm, busy(0)),
		row("another model has run, over hot, processor time", inMillis, 0, "", warm, busy(1)),
		row("fresh process, whole", inMillis, 0, "2.5-4.5 s", warm, first(0)),
		row("another model has run, whole", inMillis, 0, "", warm, first(1)),
		row("hot", inMillis, 0, "481-710 ms", warm, hot(1)),
		row("dropped, fresh process, over hot", inMillis, 0, "", dropped, extra(0)),
		row("dropped, another model has run, over hot", inMillis, 0, "", dropped, extra(1)),
	})
	out.section("Memory after two YOLOv8m served requests",
		"Resident memory of the process and its children right after the last answer, and 5 s later; anonymous: without a file behind it.")
	out.table([]figure{
		row("right after", inMB, 350*mb, "1212 MB", warm, func(s *serving) sample { return s.rss }),
		row("right after, anonymous part", inMB, 0, "", warm, func(s *serving) sample { return s.anon }),
		row("5 s later", inMB, 260*mb, "1212 MB", warm, func(s *serving) sample { return s.rssLater }),
		row("5 s later, anonymous part", inMB, 40*mb, "841 MB", warm, func(s *serving) sample { return s.anonLater }),
		row("annotated pictures on: right after", inMB, 0, "", drawing, func(s *serving) sample { return s.rss }),
		row("annotated pictures on: 5 s later", inMB, 0, "", drawing, func(s *serving) sample { return s.rssLater }),
		row("annotated pictures on: 5 s later, anonymous part", inMB, 0, "", drawing, func(s *serving) sample { return s.anonLater }),
	})
}
