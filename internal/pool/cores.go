package pool

import (
	"context"
	"fmt"
	"slices"
	"time"

	"lazyolo/internal/ledger"
	"lazyolo/yolo"
)

// A turn is the right of one run to compute on so many cores. All turns together
// never have more than there are.
//
// A request that is alone runs wide, on Options.Threads cores, and has its answer
// soonest; a crowd runs narrow, one core each, and gets more answers a second. An open
// session runs on one number of threads; a model has one session for each number it
// was asked for, over the same mapped weights, as long as there is memory for both.
type turn struct {
	entry   *entry
	threads int           // it runs on; 0: it waits
	opens   bool          // the model must be opened for so many threads first ...
	shuts   int           // ... and shut for so many; 0: none, there is memory for both
	err     error         // the model cannot run
	granted chan struct{} // closed when it need not wait any more
}

// run runs e's model on cores that no other run has; took is the run alone.
func (p *Pool) run(ctx context.Context, e *entry, s Session, in []yolo.Tensor, use func([]yolo.Tensor) error) (took time.Duration, err error) {
	t, err := p.takeTurn(ctx, e)
	if err != nil {
		return 0, err
	}
	defer func() { p.endTurn(t) }()
	if t.opens {
		if err := p.openTurn(s, t); err != nil {
			return 0, fmt.Errorf("open %s for %d threads: %w", e.model.ID, t.threads, err)
		}
	}
	start := time.Now()
	err = s.Run(ctx, t.threads, in, func(out []yolo.Tensor) error {
		took = max(1, time.Since(start))
		p.endTurn(t) // what the outputs mean is the caller's own thread's work
		return use(out)
	})
	return took, err
}

// takeTurn waits in line for the cores of a run.
func (p *Pool) takeTurn(ctx context.Context, e *entry) (*turn, error) {
	t := &turn{entry: e}
	p.mu.Lock()
	p.turns = append(p.turns, t)
	p.grantTurnsLocked()
	if t.threads == 0 && t.err == nil {
		t.granted = make(chan struct{})
	}
	p.mu.Unlock()
	if t.granted == nil {
		return t, t.err
	}
	select {
	case <-t.granted:
		return t, t.err
	case <-ctx.Done():
	}
	p.mu.Lock()
	p.turns = slices.DeleteFunc(p.turns, func(o *turn) bool { return o == t })
	p.grantTurnsLocked() // those behind it may need less
	p.mu.Unlock()
	p.endTurn(t) // granted at the same moment
	return nil, ctx.Err()
}

// endTurn gives a turn's cores back; again it does nothing.
func (p *Pool) endTurn(t *turn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.threads == 0 {
		return
	}
	p.computing -= t.threads
	t.threads = 0
	p.grantTurnsLocked()
}

// grantTurnsLocked gives cores to the head of the line as long as there are some.
func (p *Pool) grantTurnsLocked() {
	for len(p.turns) > 0 {
		t := p.turns[0]
		if len(t.entry.widths) == 0 && !t.entry.opening {
			t.err = &yolo.Error{Code: yolo.Unavailable, Model: t.entry.model.ID, Msg: "the model is being loaded anew", Retry: time.Second}
		} else if t.threads = p.widthLocked(t); t.threads == 0 {
			return
		}
		p.computing += t.threads
		p.turns = p.turns[1:]
		if t.granted != nil {
			close(t.granted)
		}
	}
}

// widthLocked decides on how many threads t runs now; 0: it waits.
func (p *Pool) widthLocked(t *turn) int {
	e, free := t.entry, p.o.Cores-p.computing
	want := 1
	if !p.crowdedLocked() && free >= p.o.Threads {
		want = p.o.Threads
	}
	switch {
	case free < want:
		return 0
	case slices.Contains(e.widths, want):
		return want
	case e.opening: // for another run; meanwhile there is what is open
	case p.openableLocked(e):
		p.openLocked(t)
		return want
	case p.computing == 0 && p.o.Ledger.Free() >= e.peak()-e.cost.Private: // no run is on what is shut
		t.shuts = e.widths[0]
		p.openLocked(t)
		return want
	}
	for _, n := range e.widths {
		if n <= free {
			return n
		}
	}
	return 0
}

// crowdedLocked reports whether narrow runs would use the cores better than wide ones:
// pictures in work and in line would fill three in four of them.
func (p *Pool) crowdedLocked() bool { return p.crowdLocked(p.running + len(p.working)) }

// crowdLocked is crowdedLocked for n pictures.
func (p *Pool) crowdLocked(n int) bool {
	if p.o.MaxRuns > 0 {
		n = min(n, p.o.MaxRuns)
	}
	return 4*n >= 3*p.o.Cores
}

// Cores is how many cores the request should use now for its own work, beside the run:
// one in a crowd, whose others have work for the rest; else as many as a run that is
// alone.
func (v *Reservation) Cores() int {
	p := v.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.crowdedLocked() {
		return 1
	}
	return p.o.Threads
}

// loadWidthLocked is for how many threads a model is loaded: as it would run now.
func (p *Pool) loadWidthLocked() int {
	if p.crowdLocked(p.running + p.waiting) {
		return 1
	}
	return p.o.Threads
}

// pinnedCost is what a pinned model may come to take, open for all numbers of threads.
func (p *Pool) pinnedCost(c Cost) int64 {
	if p.o.Threads > 1 {
		return c.Mapped + 2*c.Private
	}
	return c.Mapped + c.Private
}

// openableLocked reports whether there is memory for one more session of e that
// nobody waits for.
func (p *Pool) openableLocked(e *entry) bool {
	if len(p.loads) > 0 || len(p.working) > 0 && !p.fullLocked() {
		return false
	}
	return p.o.Ledger.Free() >= e.peak() && p.overcommitLocked(e)+e.cost.Private <= 0
}

// peak is the most that a session takes while it is opened, beside the mapped pages.
func (e *entry) peak() int64 { return max(e.cost.Private, e.cost.LoadPeak) }

// openLocked charges the memory for the session that t opens.
func (p *Pool) openLocked(t *turn) {
	e := t.entry
	t.opens, e.opening = true, true
	if t.shuts > 0 {
		e.widths = nil
		p.o.Ledger.Charge(ledger.Private, -e.cost.Private)
	}
	p.o.Ledger.Charge(ledger.Loading, e.peak())
}

// openTurn opens t's model for its number of threads. A model that is left without any
// is closed.
func (p *Pool) openTurn(s Session, t *turn) (err error) {
	e := t.entry
	err = p.guard(e, func() error {
		if t.shuts > 0 {
			if err := s.Shut(t.shuts); err != nil {
				return err
			}
		}
		return s.Open(t.threads)
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	e.opening = false
	p.o.Ledger.Charge(ledger.Loading, -e.peak())
	if err == nil {
		e.widths = append(e.widths, t.threads)
		p.o.Ledger.Charge(ledger.Private, e.cost.Private)
	} else if len(e.widths) == 0 && e.state == yolo.Ready {
		p.drainLocked(e, "it could not be opened again")
	}
	p.grantTurnsLocked()
	p.scheduleLocked()
	return err
}
