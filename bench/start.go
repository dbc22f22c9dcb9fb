package main

import (
	"context"
	"fmt"
)

// A started is what is measured of processes that start and then only wait.
type started struct {
	what          string
	set           string
	healthy       sample // from the start to the first healthy answer
	rss, rssLater sample // then, and 5 s later
}

// measure starts c once over s.set; with settled it also looks at the memory.
func (s *started) measure(ctx context.Context, b *work, c contender, settled bool) error {
	p, err := b.start(ctx, c, b.models(s.set, c.format))
	if err != nil {
		return err
	}
	s.healthy = append(s.healthy, p.healthy.Seconds())
	if settled {
		err = p.watch(ctx, b.rounds.settle, func(then, later memory) {
			s.rss, s.rssLater = append(s.rss, then.rss), append(s.rssLater, later.rss)
		})
	}
	return p.stopAfter(err)
}

// startTables measures the time from a process's start to its first healthy
// answer, and the memory it holds before any request.
func startTables(ctx context.Context, out *report, b *work) error {
	own := []*started{{what: "2 models", set: pair}, {what: "1,000 folders", set: thousand}}
	peers := make([][]*started, len(b.peers))
	for i := range peers {
		peers[i] = []*started{{set: pair}, {set: thousand}}
	}
	for i := range b.rounds.starts {
		progress("starts, round %d of %d", i+1, b.rounds.starts)
		for _, s := range own {
			if err := s.measure(ctx, b, b.lazyolo, i < b.rounds.lives); err != nil {
				return err
			}
		}
		for j, c := range b.peers {
			if i >= b.rounds.peers {
				break
			}
			if err := peers[j][0].measure(ctx, b, c, true); err != nil {
				return err
			}
			// Once is enough of 10 s, and 1,000 models loaded eagerly would not fit.
			if i == 0 && !c.eager {
				if err := peers[j][1].measure(ctx, b, c, true); err != nil {
					return err
				}
			}
		}
	}
	printStarts(out, own, peers)
	return nil
}

func printStarts(out *report, own []*started, peers [][]*started) {
	// row makes figure i of those that pick chooses.
	row := func(i int, name string, in unit, most float64, then string, pick func(*started) sample) figure {
		f := figure{what: own[i].what + name, in: in, measured: pick(own[i]), spread: true, most: most, original: then}
		for _, p := range peers {
			f.peers = append(f.peers, pick(p[i]))
		}
		return f
	}
	healthy := func(s *started) sample { return s.healthy }
	rss := func(s *started) sample { return s.rss }
	later := func(s *started) sample { return s.rssLater }

	out.section("Start", fmt.Sprintf("From the start of the process to `GET /api/v1/health` answering 200 with `inference_ok`, asked every %v; all models prepared.", askEvery))
	out.table([]figure{
		row(0, "", inSeconds, 0.1, "2.3-5.4 s", healthy),
		row(1, "", inSeconds, 0.5, "", healthy),
	})
	out.section("Memory before the first request", "Resident memory of the process and its children; each folder has 80 names of its own; all models prepared.")
	out.table([]figure{
		row(0, ", at the first healthy answer", inMB, 30*mb, "600-813 MB", rss),
		row(0, ", 5 s later", inMB, 30*mb, "600-813 MB", later),
		row(1, ", at the first healthy answer", inMB, 60*mb, "", rss),
		row(1, ", 5 s later", inMB, 60*mb, "", later),
	})
}
