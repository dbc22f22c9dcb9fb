package pool

import (
	"context"
	"errors"
	"time"

	"lazyolo/yolo"
)

// Why Speculate did not load a model.
var (
	// ErrBusy: somebody waits or a load is under way; it is worth trying again.
	ErrBusy = errors.New("the pool is busy")
	// ErrFull: the memory is not free.
	ErrFull = errors.New("the memory is not free")
)

// preheat is what became of speculative loads.
type preheat struct {
	entry  *entry             // being loaded now; nil: none
	yield  context.CancelFunc // ends that load
	loaded int64
	used   int64
}

// Speculate loads a model that nobody waits for, if nobody waits for anything and
// the memory that it and one request for it take is free; it makes no room. Until
// its first use the model counts as speculative: it is closed before all others.
// Real demand ends the load.
//
// The lease is for a warming run: it does not count as a use, and its Reserve
// answers ErrBusy instead of waiting or making room. It is nil where there is
// nothing to do: the model is in memory or on its way, or would be closed at once.
// ErrNotPrepared says that Ahead must come first.
func (p *Pool) Speculate(ctx context.Context, m *yolo.Model) (*Lease, error) {
	e, cost, prepared, err := p.lockEntry(m)
	if err != nil {
		return nil, err
	}
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed()
	}
	switch {
	case e.state == yolo.Failed && time.Now().Before(e.retryAt):
		return nil, e.err
	case e.state != yolo.Unloaded && e.state != yolo.Failed, p.keepLocked(e) == 0:
		return nil, nil
	case !prepared:
		return nil, ErrNotPrepared
	case p.waiting > 0 || p.loading > 0 || len(p.loads) > 0:
		return nil, ErrBusy
	}
	e.learnt(cost, true)
	need := max(p.loadNeed(e), cost.Mapped+cost.Private+p.runs.grow(cost.Run)+p.works.grow(p.o.WorkingRoom))
	if p.o.Ledger.Free() < need || p.overcommitLocked(e) > 0 {
		return nil, ErrFull
	}
	p.speculateLocked(ctx, e)
	switch {
	case ctx.Err() != nil || p.closed:
		return nil, ctx.Err()
	case e.state == yolo.Failed:
		return nil, e.err
	case e.state == yolo.Unloaded:
		return nil, ErrBusy // others came first
	case e.state != yolo.Ready || !e.speculative:
		return nil, nil // it is asked for by now
	}
	p.leases++
	e.leases++
	return &Lease{pool: p, entry: e, session: e.session, gentle: true}, nil
}

// speculateLocked loads e, without the lock meanwhile.
func (p *Pool) speculateLocked(ctx context.Context, e *entry) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(p.ctx, cancel)
	defer stop()
	p.preheat.entry, p.preheat.yield = e, cancel
	p.work.Add(1) // Close waits for it
	defer p.work.Done()
	p.loading++
	p.moveLocked(e, yolo.Loading, nil)
	load := p.loadLocked(ctx, e)
	p.mu.Unlock()
	load()
	p.mu.Lock()
	p.preheat.entry, p.preheat.yield = nil, nil
}

// yieldLocked ends a speculative load that nobody waits for: there is real demand,
// for e or its memory.
func (p *Pool) yieldLocked(e *entry) {
	if o := p.preheat.entry; o != nil && o != e && len(o.waiters) == 0 {
		p.preheat.yield()
	}
}

// provenLocked notes the first use of a model loaded ahead of it.
func (p *Pool) provenLocked(e *entry) {
	if e.speculative {
		e.speculative = false
		p.preheat.used++
	}
}

// guessCoolsLocked reports whether a speculative model's pages are being given back:
// until that is done it cannot be closed.
func (p *Pool) guessCoolsLocked() bool {
	for _, e := range p.entries {
		if e.speculative && e.cooling && e.state == yolo.Ready && !e.pinned {
			return true
		}
	}
	return false
}

// Preheated returns how many speculative loads there were and how many of those
// models were used before they were closed.
func (p *Pool) Preheated() (loaded, used int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.preheat.loaded, p.preheat.used
}
