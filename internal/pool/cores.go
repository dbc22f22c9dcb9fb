package pool

import (
	"context"
	"slices"
	"time"

	"lazyolo/internal/ledger"
	"lazyolo/yolo"
)

// A turn is the right of one run to compute on so many cores. All turns together
// never have more than there are.
//
// A request that is alone runs wide, on Options.Threads cores, and has its answer
// soonest; a crowd runs narrow, one core each, and gets more answers a second. A
// session's number of threads is fixed: a model is loaded for wide runs, and has a
// second, narrow session over the same mapped weights once it was wanted and memory for
// it was free. That one goes before any model does. Without it a crowd runs wide, one
// after the other.
type turn struct {
	entry   *entry
	threads int           // it runs on; 0: it waits, or has ended
	narrow  bool          // it runs on the second session
	opens   bool          // which it must open before
	granted chan struct{} // closed when it need not wait any more
}

// narrow is what the pool knows of a model's second session.
type narrow struct {
	state narrowState
	turns int       // that compute on it
	after time.Time // it is not opened before
}

type narrowState uint8

const (
	shut    narrowState = iota
	opening             // its memory is charged as loading
	open                // as private, which it stays until it is shut
	shutting
)

// narrowed is what its second session holds.
func (e *entry) narrowed() int64 {
	if e.narrow.state == open || e.narrow.state == shutting {
		return e.cost.Private
	}
	return 0
}

// shuttable reports whether its second session may be closed: nothing computes on it.
func (e *entry) shuttable() bool {
	return e.session != nil && e.narrow.state == open && e.narrow.turns == 0
}

// peak is the most that a session takes while it is opened, beside the mapped pages.
func (e *entry) peak() int64 { return max(e.cost.Private, e.cost.LoadPeak) }

// run runs e's model on cores that no other run has; took is the run alone.
func (p *Pool) run(ctx context.Context, e *entry, s Session, in []yolo.Tensor, use func([]yolo.Tensor) error) (took time.Duration, err error) {
	t, err := p.takeTurn(ctx, e)
	for err == nil && t.opens && !p.openNarrow(s, t) {
		t, err = p.takeTurn(ctx, e) // on the session there is
	}
	if err != nil {
		return 0, err
	}
	defer p.endTurn(t)
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
	if t.threads == 0 {
		t.granted = make(chan struct{})
	}
	p.mu.Unlock()
	if t.granted == nil {
		return t, nil
	}
	select {
	case <-t.granted:
		return t, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turns = slices.DeleteFunc(p.turns, func(o *turn) bool { return o == t })
	if t.opens { // granted at the same moment
		p.openedLocked(e, shut)
	}
	p.endTurnLocked(t)
	return nil, ctx.Err()
}

// endTurn gives a turn's cores back; again it does nothing.
func (p *Pool) endTurn(t *turn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endTurnLocked(t)
}

func (p *Pool) endTurnLocked(t *turn) {
	p.computing -= t.threads
	if t.threads > 0 && t.narrow {
		t.entry.narrow.turns--
	}
	t.threads = 0
	p.grantTurnsLocked()
}

// grantTurnsLocked gives cores to the head of the line as long as there are some. What
// the head waits for is the end of a turn.
func (p *Pool) grantTurnsLocked() {
	for len(p.turns) > 0 && p.grantTurnLocked(p.turns[0]) {
		t := p.turns[0]
		p.turns = p.turns[1:]
		p.computing += t.threads
		if t.narrow {
			t.entry.narrow.turns++
		}
		if t.granted != nil {
			close(t.granted)
		}
	}
}

// grantTurnLocked decides on how many threads t runs; false: on none yet.
func (p *Pool) grantTurnLocked(t *turn) bool {
	e, free := t.entry, p.o.Cores-p.computing
	switch {
	case free >= p.o.Threads && (p.o.Threads == 1 || !p.crowdedLocked()):
		t.threads = p.o.Threads
	case free < 1:
	case e.narrow.state == open:
		t.threads, t.narrow = 1, true
	case p.narrowRoomLocked(e):
		t.threads, t.narrow, t.opens = 1, true, true
		e.narrow.state = opening
		p.o.Ledger.Charge(ledger.Loading, e.peak())
	case free >= p.o.Threads:
		t.threads = p.o.Threads
	}
	return t.threads > 0
}

// crowdedLocked reports whether narrow runs would use the cores better than wide ones:
// the requests in work would fill three in four of them. Who waits for memory does not
// count: it cannot run beside them, and while some do, a run of one core may end with
// nobody on the others.
func (p *Pool) crowdedLocked() bool {
	return 4*p.running >= 3*p.o.Cores && time.Since(p.short) > shortFor
}

// shortFor is how long memory counts as short after a request had to wait for it.
const shortFor = time.Second

// narrowRoomLocked reports whether e's second session may be opened now. Where only
// pages of other models stand against it they are given back, and the next run finds
// room.
func (p *Pool) narrowRoomLocked(e *entry) bool {
	if e.state != yolo.Ready || e.narrow.state != shut || time.Now().Before(e.narrow.after) ||
		len(p.loads) > 0 || len(p.working) > 0 && !p.fullLocked() {
		return false
	}
	missing := e.peak() - p.o.Ledger.Free()
	if missing <= 0 {
		return true
	}
	missing -= p.comingLocked()
	c := choice{cool: p.victimsLocked(missing, e, (*entry).coolable, func(e *entry) int64 { return e.cost.Mapped })}
	for _, o := range c.cool {
		missing -= o.cost.Mapped
	}
	if missing <= 0 {
		p.takeLocked(c, e)
	}
	return false
}

// openNarrow opens t's second session; false: that failed, the turn has ended and it is
// not tried again at once.
func (p *Pool) openNarrow(s Session, t *turn) bool {
	e := t.entry
	err := p.guard(e, func() error { return s.Open(1) })
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.openedLocked(e, open)
		return true
	}
	p.o.Log.Warn("cannot open a second session: requests of a crowd run one after the other", "model", e.model.ID, "err", err)
	e.narrow.after = time.Now().Add(minBackoff)
	p.openedLocked(e, shut)
	p.endTurnLocked(t)
	return false
}

// openedLocked notes how the opening of e's second session ended.
func (p *Pool) openedLocked(e *entry, state narrowState) {
	e.narrow.state = state
	p.o.Ledger.Charge(ledger.Loading, -e.peak())
	p.o.Ledger.Charge(ledger.Private, e.narrowed())
	p.scheduleLocked()
}

// Cores is on how many cores the request should fit its picture into the input now: one
// in a crowd, whose others have work for the rest; else as many as a run that is alone.
func (v *Reservation) Cores() int {
	p := v.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.crowdedLocked() {
		return 1
	}
	return p.o.Threads
}
