package main

import (
	"context"
	"time"

	"lazyolo/internal/annotate"
	"lazyolo/internal/config"
	"lazyolo/internal/core"
)

const mib = 1 << 20

// goMemory is Go's own share of what the process takes without any model.
const goMemory = 24 * mib

// bodyShare is set aside for the bodies of all requests: MAX_QUEUE_MB, else a 32nd
// of the budget, within bounds.
func bodyShare(c *config.Config, budget int64) int64 {
	if c.MaxQueueBytes > 0 {
		return c.MaxQueueBytes
	}
	return shareOf(budget)
}

// shareOf is the part of a budget for what was received and waits.
func shareOf(budget int64) int64 { return min(max(8*mib, budget/32), 256*mib) }

// pictureShare is set aside for annotated pictures that wait to be drawn.
func pictureShare(budget int64) int64 { return min(annotate.MaxBytes, budget/32) }

// limitEvery is how often the system's memory limit is read again.
const limitEvery = 10 * time.Second

// watchLimit follows a memory limit that is changed while the server runs.
func (s *server) watchLimit(ctx context.Context) {
	tick := time.NewTicker(limitEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.followLimit()
	}
}

// followLimit brings the budget in line with the setting and the system.
func (s *server) followLimit() {
	s.limiting.Lock()
	defer s.limiting.Unlock()
	if n := core.Budget(s.now.Load()); n != s.ledger.Budget() {
		s.log.Info("the memory limit changed", "budget_mb", n/mib, "before_mb", s.ledger.Budget()/mib)
		s.core.SetBudget(n)
	}
}
