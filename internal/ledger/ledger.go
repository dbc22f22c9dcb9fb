// Package ledger is the memory budget: who holds how much of it, by kind. Memory
// is charged before it is taken and credited after it is back, so the sum never
// passes the budget; what the process was seen to hold beyond the sum is charged
// as unexplained.
//
// The ledger only counts. Who waits for memory, and what gives way, is decided by
// package pool.
package ledger

import (
	"fmt"
	"strings"
	"sync"
)

// A Kind is what memory is held for.
type Kind uint8

// The kinds, in the order they are shown.
const (
	Base      Kind = iota // the program itself: code, Go's own share, ONNX Runtime
	Mapped                // weights of warm models, at full size
	Private               // what sessions hold beside their weights
	Loading               // loads under way, at their peak
	Preparing             // preparing processes, at their peak
	Working               // pictures and tensors of requests in work
	Running               // ONNX Runtime's arena: runs under way, or what it still holds
	Bodies                // the share set aside for encoded bodies
	kinds
)

// String returns the kind's name in answers and logs.
func (k Kind) String() string {
	return [...]string{"base", "mapped", "private", "loading", "preparing", "working", "running", "bodies"}[k]
}

// A Ledger counts bytes against a budget. Its methods may be called concurrently.
type Ledger struct {
	mu          sync.Mutex
	budget      int64
	used        [kinds]int64
	unexplained int64
}

// New makes a ledger with a budget in bytes.
func New(budget int64) *Ledger { return &Ledger{budget: budget} }

// SetBudget changes the budget; what is held may exceed it until it is back.
func (l *Ledger) SetBudget(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.budget = n
}

// Budget returns the budget in bytes.
func (l *Ledger) Budget() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.budget
}

// Charge counts n more bytes of kind k whatever is free; a negative n credits.
func (l *Ledger) Charge(k Kind, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used[k] += n
}

// Set makes what is held of kind k n bytes.
func (l *Ledger) Set(k Kind, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used[k] = n
}

// Free returns what the budget has left; it is negative when more is held than
// a lowered budget allows.
func (l *Ledger) Free() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.budget - l.sumLocked()
}

// Used returns what is held in all.
func (l *Ledger) Used() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sumLocked()
}

// Fixed returns what no model can give back: the program, the share of the bodies
// and what is unexplained.
func (l *Ledger) Fixed() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used[Base] + l.used[Bodies] + l.unexplained
}

func (l *Ledger) sumLocked() int64 {
	n := l.unexplained
	for _, v := range l.used {
		n += v
	}
	return n
}

// Observe tells the ledger the resident memory that was measured. What exceeds
// the sum of all kinds counts as unexplained at once. It is believed to be gone
// at once only if the process was quiet, with nothing charged ahead of its use;
// else what is charged but not touched yet may hide it, and it fades slowly.
func (l *Ledger) Observe(resident int64, quiet bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	explained := l.sumLocked() - l.unexplained
	seen := max(0, resident-explained)
	if !quiet {
		seen = max(seen, l.unexplained-l.unexplained/16)
	}
	l.unexplained = seen
}

// A Snapshot is a ledger at one moment, in bytes.
type Snapshot struct {
	Budget      int64
	Used        map[string]int64 // by kind; every kind is there
	Unexplained int64
	Free        int64
}

// Snapshot copies the ledger.
func (l *Ledger) Snapshot() Snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Snapshot{Budget: l.budget, Used: make(map[string]int64, kinds), Unexplained: l.unexplained, Free: l.budget - l.sumLocked()}
	for k, v := range l.used {
		s.Used[Kind(k).String()] = v
	}
	return s
}

// String is the arithmetic in MiB, for errors that must say why nothing fits.
func (l *Ledger) String() string {
	s := l.Snapshot()
	var b strings.Builder
	fmt.Fprintf(&b, "budget %d MiB", s.Budget>>20)
	for k := range kinds {
		if n := s.Used[k.String()]; n > 0 {
			fmt.Fprintf(&b, ", %s %d", k, n>>20)
		}
	}
	if s.Unexplained > 0 {
		fmt.Fprintf(&b, ", unexplained %d", s.Unexplained>>20)
	}
	return b.String()
}
