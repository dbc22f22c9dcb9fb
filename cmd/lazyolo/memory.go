package main

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"lazyolo/internal/annotate"
	"lazyolo/internal/config"
	"lazyolo/internal/ledger"
	"lazyolo/internal/machine"
)

const mib = 1 << 20

// What the process takes without any model, measured with ONNX Runtime open and
// 64 requests behind it, and what one ordinary request takes beside the run.
const (
	baseMemory  = 72*mib + raceMemory
	goMemory    = 24 * mib // of it, Go's own
	workingRoom = 16 * mib
	// smallModel is what the smallest model of use takes.
	smallModel = 16 * mib
	// unknownMemory is the budget where neither a setting nor the system says one.
	unknownMemory = 4096 * mib
)

// budget is what the process and its children may take: MAX_MEMORY_MB, else
// 80 % of the lowest limit the system sets.
func budget(c *config.Config) int64 {
	if c.MaxMemory > 0 {
		return c.MaxMemory
	}
	if limit := machine.MemoryLimit().Bytes; limit > 0 {
		return limit / 10 * 8
	}
	return unknownMemory
}

// bodyShare is set aside for the bodies of all requests: MAX_QUEUE_MB, else a 32nd
// of the budget, within bounds.
func bodyShare(c *config.Config, budget int64) int64 {
	if c.MaxQueueBytes > 0 {
		return c.MaxQueueBytes
	}
	return min(max(8*mib, budget/32), 256*mib)
}

// newLedger opens the budget's books. A budget in which nothing could be served
// is refused.
func newLedger(c *config.Config) (*ledger.Ledger, error) {
	n := budget(c)
	bodies := bodyShare(c, n)
	if err := enough(n, bodies); err != nil {
		return nil, err
	}
	if c.SaveAnnotated {
		bodies += pictureShare(n)
	}
	l := ledger.New(n)
	l.Set(ledger.Base, baseMemory+margin(n))
	l.Set(ledger.Bodies, bodies)
	// Go's heap, where the bodies lie, must not grow into the models' share between
	// collections; pixels and tensors lie outside of it.
	debug.SetMemoryLimit(goMemory + bodies)
	return l, nil
}

// enough refuses a budget in which nothing could be served.
func enough(budget, bodies int64) error {
	least := baseMemory + bodies + workingRoom + smallModel
	if budget >= least {
		return nil
	}
	return &config.UsageError{Setting: "MAX_MEMORY_MB",
		Msg: fmt.Sprintf("a budget of %d MiB is too small: lazyolo itself needs %d, requests %d (MAX_QUEUE_MB), and a small model the rest of %d",
			budget/mib, baseMemory/mib, bodies/mib, least/mib),
		Hint: "raise MAX_MEMORY_MB or the memory limit"}
}

// room waits for the memory that drawing an annotated picture takes.
func (s *server) room(ctx context.Context, bytes int64) (release func(), err error) {
	r, err := s.pool.Reserve(ctx, bytes)
	if err != nil {
		return nil, err
	}
	return r.Release, nil
}

// pictureShare is set aside for annotated pictures that wait to be drawn.
func pictureShare(budget int64) int64 { return min(annotate.MaxBytes, budget/32) }

// margin is kept back for what no measurement foresees, such as the pages of the
// library that a first run touches: runs beside each other passed a budget of 400 MiB
// by 7 without it.
func margin(budget int64) int64 { return min(32*mib, budget/25) }

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
	if n := budget(s.now.Load()); n != s.ledger.Budget() {
		s.log.Info("the memory limit changed", "budget_mb", n/mib, "before_mb", s.ledger.Budget()/mib)
		s.ledger.SetBudget(n)
		s.ledger.Set(ledger.Base, baseMemory+margin(n))
		s.pool.BudgetChanged()
	}
}
