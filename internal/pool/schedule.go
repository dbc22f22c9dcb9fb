package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"lazyolo/internal/ledger"
	"lazyolo/yolo"
)

// scheduleLocked is the one place where memory is given out. It is called after
// every event and never blocks. In order:
//
//  1. working memory to the head of its line, as long as it fits;
//  2. the head of the load line, when its memory and a slot are free;
//  3. for whichever head is held up: room is made, or it is told why there is none.
//
// Nobody overtakes a head. What a waiting load needs is kept from new reservations
// while others run. When none does, who asked first goes first: the load, if nothing
// but that memory is missing, or the reservation. Requests of models that are to be
// closed are always let through: the load waits for their leases.
func (p *Pool) scheduleLocked() {
	for p.passLocked() {
	}
	p.relieveLocked()
}

// passLocked is one pass of scheduleLocked; again: a load was refused, so what was
// kept for it is free.
func (p *Pool) passLocked() (again bool) {
	for len(p.working) > 0 && p.grantLocked(p.working[0]) {
		r := p.working[0]
		p.working = p.working[1:]
		p.waiting--
		r.done <- nil
	}
	for len(p.loads) > 0 && p.startLocked(p.loads[0]) {
		p.loads = p.loads[1:]
	}
	for len(p.working) > 0 && !p.helpRequestLocked(p.working[0]) {
		r := p.working[0]
		p.working = p.working[1:]
		p.waiting--
		err := p.tooLarge(r)
		p.decideRefuseLocked(r.entry, err, r.work+r.run)
		r.done <- err
	}
	for len(p.loads) > 0 && p.loading < p.o.MaxLoads {
		e := p.loads[0]
		err := p.helpLoadLocked(e)
		if err == nil {
			break
		}
		p.loads = p.loads[1:]
		p.failLocked(e, err)
		again = true
	}
	return again
}

// grantLocked gives r its memory if it is free.
func (p *Pool) grantLocked(r *request) bool {
	e := r.entry
	if e.cooling || !r.aside && p.fullLocked() {
		return false
	}
	if p.o.Ledger.Free()-p.keepForLoadLocked(r) < p.requestNeedLocked(r) {
		return false
	}
	run := p.besideLocked(r)
	if !e.warm {
		e.warm = true
		p.o.Ledger.Charge(ledger.Mapped, e.cost.Mapped)
	}
	e.running++
	p.active++
	if !r.aside {
		p.running++
		p.alone = nil
		if p.running == 1 && p.runs.held == 0 {
			p.alone = r
		}
	}
	r.run = run
	p.runs.reserve(r.run)
	p.works.reserve(r.work)
	p.countLocked()
	return true
}

// besideLocked is what r's run takes of the arena now. Runs beside each other leave
// gaps in it that none can use; how large these become is learnt.
func (p *Pool) besideLocked(r *request) int64 {
	if p.running == 0 || r.aside {
		return r.run
	}
	return r.run + int64(p.spread*float64(p.runs.reserved+r.run))
}

// maxSpread bounds what is learnt of gaps in the arena.
const maxSpread = 0.5

// countLocked enters what requests share into the ledger.
func (p *Pool) countLocked() {
	p.o.Ledger.Set(ledger.Running, p.runs.counted())
	p.o.Ledger.Set(ledger.Working, p.works.counted())
}

// keepForLoadLocked is what r must leave to the head of the load line.
func (p *Pool) keepForLoadLocked(r *request) int64 {
	if len(p.loads) == 0 || r.entry.state == yolo.Draining || p.active == 0 && !p.loadFirstLocked(r) {
		return 0
	}
	return p.loadNeed(p.loads[0])
}

// loadFirstLocked reports whether, nothing running, the head of the load line goes
// before r: it came first, and all it needs can be made free now.
func (p *Pool) loadFirstLocked(r *request) bool {
	if p.active > 0 || len(p.loads) == 0 || p.loading >= p.o.MaxLoads || r.entry.state == yolo.Draining {
		return false
	}
	e := p.loads[0]
	if len(e.waiters) == 0 || !e.waiters[0].since.Before(r.since) {
		return false
	}
	leaving := p.leavingLocked()
	deficit := p.loadNeed(e) - p.o.Ledger.Free() - p.comingLocked()
	for _, o := range leaving {
		deficit -= o.gain()
	}
	c := p.chooseLocked(deficit, e, p.closableLocked, nil)
	return c.left <= 0 && (!e.prepared || p.overcommitLocked(e, slices.Concat(leaving, c.shut)...) <= 0)
}

// leavingLocked lists the draining models whose requests have run: their last leases
// are about to come back.
func (p *Pool) leavingLocked() []*entry {
	var found []*entry
	for _, e := range p.entries {
		if e.state == yolo.Draining && e.session != nil && e.running == 0 &&
			!slices.ContainsFunc(p.working, func(r *request) bool { return r.entry == e }) {
			found = append(found, e)
		}
	}
	return found
}

// fullLocked reports whether as many models run as may at once.
func (p *Pool) fullLocked() bool { return p.o.MaxRuns > 0 && p.running >= p.o.MaxRuns }

// requestNeedLocked is what granting r would take more than now: arena and buffers
// may hold enough already.
func (p *Pool) requestNeedLocked(r *request) int64 {
	need := p.works.grow(r.work) + p.runs.grow(p.besideLocked(r))
	if !r.entry.warm {
		need += r.entry.cost.Mapped
	}
	return need
}

// tooLarge says why r can never have its memory.
func (p *Pool) tooLarge(r *request) error {
	return &yolo.Error{Code: yolo.TooLarge, Model: r.entry.model.ID,
		Msg: fmt.Sprintf("the picture needs %d MiB to decode and run, more than can be made free (%v); send a smaller one or raise MAX_MEMORY_MB", (r.work+r.run)>>20, p.o.Ledger)}
}

// loadNeed is what loading e takes while it lasts; preparing comes first where
// it is not done yet.
func (p *Pool) loadNeed(e *entry) int64 {
	if e.prepared {
		return e.cost.Mapped + e.peak()
	}
	return max(e.childRoom, p.o.Engine.PrepareCost(e.model))
}

// enqueueLocked lines a model up to be loaded.
func (p *Pool) enqueueLocked(e *entry) {
	p.o.Log.Info(fmt.Sprintf("Lazy loading model %d on first access", e.model.Index), "model", e.model.ID)
	p.moveLocked(e, yolo.Queued, nil)
	p.loads = append(p.loads, e)
}

// startLocked starts the head of the load line if its memory and a slot are free.
func (p *Pool) startLocked(e *entry) bool {
	if p.loading >= p.o.MaxLoads || p.o.Ledger.Free() < p.loadNeed(e) {
		return false
	}
	if e.prepared && p.overcommitLocked(e) > 0 {
		return false
	}
	p.loading++
	p.moveLocked(e, yolo.Loading, nil)
	if e.prepared {
		p.work.Go(p.loadLocked(p.ctx, e))
	} else {
		p.prepareLocked(e)
	}
	return true
}

// overcommitLocked is by how much all open sessions, with e's added, would leave
// too little for the largest run of any of them; 0 or less: it fits. without are
// sessions that count as closed.
func (p *Pool) overcommitLocked(e *entry, without ...*entry) int64 {
	n := p.o.Ledger.Fixed() + e.cost.Private
	largest := e.cost.Mapped + e.cost.Run
	for _, o := range p.entries {
		if o != e && (o.session != nil || o.state == yolo.Loading) && !slices.Contains(without, o) {
			n += o.cost.Private
			largest = max(largest, o.cost.Mapped+o.cost.Run)
		}
	}
	return n + largest + p.o.WorkingRoom - p.o.Ledger.Budget()
}

// prepareLocked runs e's preparing process, then lines e up again in front.
func (p *Pool) prepareLocked(e *entry) {
	room := p.loadNeed(e)
	p.o.Ledger.Charge(ledger.Preparing, room)
	ctx, stop := context.WithCancel(p.ctx)
	if e.only {
		e.stop = stop
	}
	p.work.Go(func() {
		defer stop()
		err := p.guard(e, func() error { return p.o.Engine.Prepare(ctx, e.model, room, e.only) })
		cost, prepared := p.o.Engine.Cost(e.model)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.loading--
		e.learnt(cost, prepared)
		p.o.Ledger.Charge(ledger.Preparing, -room)
		p.observeLocked()
		switch {
		case p.closed:
			p.answerLocked(e, errClosed())
			p.moveLocked(e, yolo.Unloaded, nil)
		case err != nil && !p.moreRoomLocked(e, room, err):
			p.failLocked(e, err)
		default:
			p.againLocked(e)
		}
		p.scheduleLocked()
	})
}

// againLocked puts e back to the front of the load line, for its next step.
func (p *Pool) againLocked(e *entry) {
	switch {
	case e.only && e.prepared:
		p.dropLocked(e, nil)
		return
	case e.replaces != nil && !e.prepared: // the old one serves meanwhile
		p.dropLocked(e, ErrNotPrepared)
		return
	}
	if len(e.waiters) == 0 {
		p.moveLocked(e, yolo.Unloaded, nil)
		return
	}
	p.moveLocked(e, yolo.Queued, nil)
	p.loads = slices.Insert(p.loads, 0, e)
}

// loadLocked charges the memory for e's session; the returned function, called
// without the lock, opens it. ctx may end before the pool does for a load that
// nobody waits for.
func (p *Pool) loadLocked(ctx context.Context, e *entry) func() {
	need := e.cost.Mapped + e.peak()
	p.o.Ledger.Charge(ledger.Loading, need)
	start := time.Now()
	return func() {
		var s Session
		err := p.guard(e, func() (err error) {
			s, err = p.o.Engine.Open(ctx, e.model, p.o.Threads)
			return err
		})
		if err == nil && p.ctx.Err() != nil {
			err = errors.Join(errClosed(), s.Close()) // loaded too late
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.loading--
		p.o.Ledger.Charge(ledger.Loading, -need)
		switch {
		case err != nil && p.closed:
			p.answerLocked(e, errClosed())
			p.moveLocked(e, yolo.Unloaded, nil)
		case errors.Is(err, ErrNotPrepared):
			e.prepared = false
			p.againLocked(e)
		case err != nil && ctx.Err() != nil:
			p.againLocked(e) // others came first
		case err != nil:
			p.failLocked(e, err)
		default:
			p.readyLocked(e, s, time.Since(start))
		}
		p.observeLocked()
		p.scheduleLocked()
	}
}

// readyLocked puts a loaded model into service.
func (p *Pool) readyLocked(e *entry, s Session, took time.Duration) {
	p.o.Log.Info(fmt.Sprintf("Initialized inference session for model ID %d", e.model.Index),
		"model", e.model.ID, "took", took.Round(100*time.Microsecond))
	if !e.retired {
		p.decideLoadedLocked(e, took)
	}
	p.order++
	e.session, e.order, e.loadTook, e.loadedAt, e.lastUsed = s, p.order, took, time.Now(), time.Now()
	e.before = nil
	e.failures, e.err, e.warm, e.rigid = 0, nil, true, false
	e.total.loads++
	if e.speculative = p.preheat.entry == e; e.speculative {
		p.preheat.loaded++
	}
	p.o.Ledger.Charge(ledger.Mapped, e.cost.Mapped)
	p.o.Ledger.Charge(ledger.Private, e.cost.Private)
	replaced := e.replaces != nil
	if replaced && !p.closed {
		p.succeedLocked(e)
		e.before = nil
	}
	p.moveLocked(e, yolo.Ready, nil)
	if p.closed { // Close is about to take the session
		p.answerLocked(e, errClosed())
		return
	}
	p.answerLocked(e, nil)
	switch {
	case e.retired: // removed meanwhile
		p.retireLocked(e, "removed")
	case replaced:
		p.expireLocked() // its keep-alive goes on
	case e.leases == 0:
		p.unusedLocked(e)
	}
	if p.leases == 0 {
		p.restLocked()
	}
}

// guard turns a panic of an engine into an error: the other models go on serving.
func (p *Pool) guard(e *entry, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("load %s: panic: %v", e.model.ID, r)
		}
	}()
	return f()
}
