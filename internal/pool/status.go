package pool

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"lazyolo/internal/ledger"
	"lazyolo/yolo"
)

// Loaded lists the models in memory, in the order they were loaded.
func (p *Pool) Loaded() []*yolo.Model {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []*entry
	for _, e := range p.entries {
		if e.session != nil && !e.retired {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b *entry) int { return cmp.Compare(a.order, b.order) })
	out := make([]*yolo.Model, len(found))
	for i, e := range found {
		out[i] = e.model
	}
	return out
}

// Status tells what the pool knows of every model that was ever asked for.
func (p *Pool) Status() []yolo.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []yolo.Status
	for _, e := range p.entries {
		if e.retired || e.replaces != nil {
			continue // to those who ask it is one model
		}
		s := yolo.Status{
			Model: e.model, State: e.state, Warm: e.warm, Pinned: e.pinned, Speculative: e.speculative, Leases: e.leases, Waiting: len(e.waiters),
			Hits: e.hits, Loads: e.total.loads, Evictions: e.total.evictions, LastUsed: e.lastUsed, LoadTook: e.loadTook, RunTook: e.runTook, Ran: e.cost.Ran, Err: e.err,
		}
		if e.session != nil {
			s.Private = e.private()
			if e.warm {
				s.Mapped = e.cost.Mapped
			}
		}
		if keep := p.keepLocked(e); e.state == yolo.Ready && e.leases == 0 && keep >= 0 {
			s.Expires = e.lastUsed.Add(keep)
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b yolo.Status) int { return cmp.Compare(a.Model.Index, b.Model.Index) })
	return out
}

// Queue returns how many callers wait for a load and for working memory.
func (p *Pool) Queue() (loads, working int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting - len(p.working), len(p.working)
}

// Ahead prepares a model that nobody waits for, if nobody waits for anything and
// the memory for it is free; done is false when it is not. It makes no room. What can
// never be free is refused, TooBig or NoRoom.
func (p *Pool) Ahead(ctx context.Context, m *yolo.Model) (done bool, err error) {
	if _, ok := p.o.Engine.Cost(m); ok {
		return true, nil
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return false, errClosed()
	}
	room := p.o.Engine.PrepareCost(m)
	if p.fixedLocked(nil)+room > p.o.Ledger.Budget() {
		err := p.tooBig(&entry{model: m}, room)
		p.mu.Unlock()
		return true, err
	}
	if p.waiting > 0 || p.o.Ledger.Free() < room {
		p.mu.Unlock()
		return false, nil
	}
	p.o.Ledger.Charge(ledger.Preparing, room)
	p.ahead++
	p.mu.Unlock()
	err = p.o.Engine.Prepare(ctx, m, room, true)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ahead--
	p.o.Ledger.Charge(ledger.Preparing, -room)
	p.observeLocked()
	p.scheduleLocked()
	return true, err
}

// Limits are the options that may change while the pool works.
type Limits struct {
	MaxQueue               int
	LoadTimeout, KeepAlive time.Duration
}

// Limit changes these options; their meanings are those of Options.
func (p *Pool) Limit(l Limits) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.o.MaxQueue, p.o.LoadTimeout, p.o.KeepAlive = l.MaxQueue, l.LoadTimeout, l.KeepAlive
	p.expireLocked()
	p.scheduleLocked()
}

// BudgetChanged has the pool look at the ledger's budget again.
func (p *Pool) BudgetChanged() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgiveLocked()
	p.scheduleLocked()
}

// forgiveLocked lets models that did not fit be tried again at once.
func (p *Pool) forgiveLocked() {
	for _, e := range p.entries {
		if code := yolo.CodeOf(e.err); e.state == yolo.Failed && (code == yolo.TooBig || code == yolo.NoRoom) {
			e.retryAt = time.Time{}
		}
	}
}

// Load makes a model resident, as a request would, and waits until it is. Unlike
// a request it tries at once what failed a moment ago.
func (p *Pool) Load(ctx context.Context, m *yolo.Model) error {
	p.mu.Lock()
	if e := p.entries[m.ID]; e != nil {
		e.retryAt = time.Time{}
	}
	p.mu.Unlock()
	l, _, err := p.Acquire(ctx, m)
	if err == nil {
		l.Release()
	}
	return err
}

// Unload takes a model out of memory and waits until its memory is back; one
// that is not in memory is fine. Leases held end in their own time. One that is
// pinned or about to be loaded is refused, Conflict.
func (p *Pool) Unload(ctx context.Context, m *yolo.Model) error {
	p.mu.Lock()
	e := p.entries[m.ID]
	if err := e.unloadable(); e == nil || err != nil || e.session == nil && e.state != yolo.Draining {
		p.mu.Unlock()
		return err
	}
	gone := make(chan struct{})
	e.gone = append(e.gone, gone)
	if e.state == yolo.Ready {
		p.drainLocked(e, "asked")
	}
	p.mu.Unlock()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unloadable says why a model may not be unloaded now; nil: it may.
func (e *entry) unloadable() error {
	switch {
	case e == nil:
		return nil
	case e.pinned:
		return &yolo.Error{Code: yolo.Conflict, Model: e.model.ID, Msg: "the model is pinned: unpin it first"}
	case e.state == yolo.Queued, e.state == yolo.Loading:
		return &yolo.Error{Code: yolo.Conflict, Model: e.model.ID, Msg: "the model is being loaded, requests wait for it"}
	}
	return nil
}

// Pin keeps a model in memory once it is loaded: it is neither cooled nor closed.
// Pins that would leave too little for m's runs, or for another model to be loaded and
// run, are refused.
func (p *Pool) Pin(m *yolo.Model) error {
	all := p.costs()
	e, c, ok, err := p.lockEntry(m)
	if err != nil {
		return err
	}
	defer p.mu.Unlock()
	if e.pinned {
		return nil
	}
	if ok {
		if err := p.pinnableLocked(m, c, all); err != nil {
			return err
		}
		if e.session == nil && e.state != yolo.Loading && e.state != yolo.Draining { // its cost is charged meanwhile
			e.learnt(c, true)
		}
	}
	e.pinned = true
	return nil
}

// costs is what is known of all models.
func (p *Pool) costs() map[string]Cost {
	if p.o.Costs == nil {
		return nil
	}
	return p.o.Costs()
}

// pinnableLocked says why pinning m, of cost c, would leave too little for requests;
// nil: it would not. all is what is known of all models.
func (p *Pool) pinnableLocked(m *yolo.Model, c Cost, all map[string]Cost) error {
	work := c.Run + p.o.WorkingRoom
	for id, cost := range all {
		if e := p.entries[id]; id != m.ID && (e == nil || !e.pinned) {
			need := p.wholeNeed(&entry{cost: cost, prepared: true})
			work = max(work, need)
		}
	}
	room := p.o.Ledger.Budget() - p.fixedLocked(p.entries[m.ID]) - c.Mapped - c.Private - work
	if room >= 0 {
		return nil
	}
	return &yolo.Error{Code: yolo.NoRoom, Model: m.ID,
		Msg: fmt.Sprintf("pinning it would leave %d MiB too little for requests (%v)", -room>>20, p.o.Ledger)}
}

// Unpin lets a model be cooled and closed again.
func (p *Pool) Unpin(m *yolo.Model) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entries[m.ID]
	if e == nil || !e.pinned {
		return
	}
	e.pinned = false
	p.forgiveLocked()
	if e.state == yolo.Ready && e.leases == 0 {
		p.unusedLocked(e)
	}
	p.scheduleLocked()
}

// fixedLocked is what no step can give back: the process itself and pinned models
// other than e.
func (p *Pool) fixedLocked(except *entry) int64 {
	n := p.o.Ledger.Fixed()
	for _, e := range p.entries {
		if e.pinned && e != except && (except == nil || e != except.replaces) {
			n += e.cost.Mapped + e.cost.Private
		}
	}
	return n
}
