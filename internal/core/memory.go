package core

import (
	"context"
	"fmt"

	"lazyolo/internal/config"
	"lazyolo/internal/ledger"
	"lazyolo/internal/machine"
)

const mib = 1 << 20

// What the process takes without any model, measured with ONNX Runtime open and
// 64 requests behind it, and what one ordinary request takes beside the run.
const (
	baseMemory  = 64*mib + raceMemory
	workingRoom = 16 * mib
	// smallModel is what the smallest model of use takes.
	smallModel  = 16 * mib
	leastMemory = baseMemory + workingRoom + smallModel
	// unknownMemory is the budget where neither a setting nor the system says one.
	unknownMemory = 4096 * mib
)

// Budget is what the process and its children may take, in bytes: MAX_MEMORY_MB, else
// 80 % of the lowest limit the system sets.
func Budget(c *config.Config) int64 {
	if c.MaxMemory > 0 {
		return c.MaxMemory
	}
	if limit := machine.MemoryLimit().Bytes; limit > 0 {
		return limit / 10 * 8
	}
	return unknownMemory
}

// BudgetFor is a budget in which models may take so many bytes, beside a run, one
// request's pictures and what the caller takes itself.
func BudgetFor(models, run, aside int64) int64 {
	n := baseMemory + workingRoom + models + run + aside
	return n + margin(n)
}

// Enough refuses a budget in which nothing could be served, aside being taken of it by
// the caller.
func Enough(budget, aside int64) error {
	least := leastMemory + aside
	if budget >= least {
		return nil
	}
	return &config.UsageError{Setting: "MAX_MEMORY_MB",
		Msg: fmt.Sprintf("a budget of %d MiB is too small: lazyolo itself needs %d, requests %d (MAX_QUEUE_MB), and a small model the rest of %d",
			budget/mib, baseMemory/mib, aside/mib, least/mib),
		Hint: "raise MAX_MEMORY_MB or the memory limit"}
}

// Spare is what a caller may take itself of a budget in which a small model is served.
func Spare(budget int64) int64 { return max(0, budget-leastMemory) }

// SetBudget changes the budget while models are served; what is over it is given back.
func (s *Core) SetBudget(n int64) {
	s.Ledger.SetBudget(n)
	s.Ledger.Set(ledger.Base, baseMemory+margin(n))
	s.Pool.BudgetChanged()
}

// margin is kept back for what no measurement foresees, such as the pages of the
// library that a first run touches: runs beside each other passed a budget of 400 MiB
// by 7 without it.
func margin(budget int64) int64 { return min(32*mib, budget/25) }

// room waits for the memory that drawing an annotated picture takes.
func (s *Core) room(ctx context.Context, bytes int64) (release func(), err error) {
	r, err := s.Pool.Reserve(ctx, bytes)
	if err != nil {
		return nil, err
	}
	return r.Release, nil
}
