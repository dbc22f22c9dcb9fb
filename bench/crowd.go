package main

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// clients is how many closed-loop clients a crowd has: each sends its next request
// when it has the answer to the last.
const clients = 8

// A crowd asks for several models, the first most: model i as often as 1/(i+1)
// (Zipf, exponent 1.0).
type crowd struct {
	asks []detection
	want [][]byte // the answers; nil: not compared
	seed uint64
}

// A served is what became of a crowd's requests.
type served struct {
	took    sample // answered requests, in seconds
	failed  int
	cut     int    // of them, ended by the end of the run
	differ  int    // answers that are not what was wanted
	why     string // one of the failures
	elapsed time.Duration
}

func (s *served) rate() float64 { return float64(len(s.took)) / s.elapsed.Seconds() }

// run has the crowd ask p for a time.
func (c *crowd) run(ctx context.Context, p *process, d time.Duration) (*served, error) {
	c.seed++
	all := &served{}
	var mu sync.Mutex
	var work sync.WaitGroup
	began := time.Now()
	for i := range uint64(clients) {
		work.Go(func() {
			rnd := rand.New(rand.NewPCG(c.seed, i))
			for time.Since(began) < d && ctx.Err() == nil {
				k := c.pick(rnd)
				took, answer, err := p.ask(ctx, c.asks[k])
				mu.Lock()
				switch {
				case err != nil:
					all.failed++
					if ctx.Err() != nil {
						all.cut++
					}
					all.why = err.Error()
				case c.want != nil && !bytes.Equal(answer, c.want[k]):
					all.differ++
				}
				if err == nil {
					all.took = append(all.took, took.Seconds())
				}
				mu.Unlock()
			}
		})
	}
	work.Wait()
	all.elapsed = time.Since(began)
	if all.failed > 0 {
		progress("%d requests failed, one of them: %s; see %s", all.failed, all.why, p.log)
	}
	return all, ctx.Err()
}

// pick draws a model.
func (c *crowd) pick(rnd *rand.Rand) int {
	sum := 0.0
	for i := range c.asks {
		sum += 1 / float64(i+1)
	}
	at := rnd.Float64() * sum
	for i := range c.asks {
		if at -= 1 / float64(i+1); at < 0 {
			return i
		}
	}
	return 0
}

// add joins two windows of one server.
func (s *served) add(o *served) {
	s.took = append(s.took, o.took...)
	s.failed += o.failed
	s.differ += o.differ
	s.elapsed += o.elapsed
}

// one is a crowd that asks for one model.
func one(d detection) *crowd { return &crowd{asks: []detection{d}} }
