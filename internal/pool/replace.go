package pool

import (
	"context"
	"fmt"
	"slices"

	"lazyolo/yolo"
)

// A revision is what an entry becomes.
type revision struct {
	model    *yolo.Model
	cost     Cost
	prepared bool
}

// Replace puts m, another revision of a model, in the place of the one there is, and
// returns once it is in force. Its pin, keep-alive and counters go over to it. Until
// then, and when m cannot be loaded, the old one serves; who asks for either gets what
// is in force.
//
// A model in memory is loaded in its new revision beside the old one, which then
// drains; where memory is too short for both without closing others, the old one
// drains first and requests wait in line. One that is not in memory is not loaded.
//
// m must be prepared: ErrNotPrepared. A pinned model must leave enough for the others in
// its new revision, too, as Pin says: NoRoom. ctx ends it before the load has begun, not
// afterwards. One change of a model is made at a time; another is refused, Conflict.
func (p *Pool) Replace(ctx context.Context, m *yolo.Model) error {
	for {
		cost, prepared := p.o.Engine.Cost(m)
		var all map[string]Cost
		if p.isPinned(m.ID) { // few are, and of thousands of models the costs are not asked in vain
			all = p.costs()
		}
		n, w, later, err := p.replace(revision{m, cost, prepared}, all)
		switch {
		case n != nil:
			return p.awaitSuccessor(ctx, n, w)
		case later == nil:
			return err
		}
		select {
		case <-later:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// replace makes the new revision's entry where it is to be loaded. later is closed when
// it is worth trying again; with neither it is in force, or refused. all is what is known
// of all models, for one that is pinned.
func (p *Pool) replace(to revision, all map[string]Cost) (n *entry, w *waiter, later chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entries[to.model.ID]
	switch {
	case p.closed:
		return nil, nil, nil, errClosed()
	case e != nil && e.state == yolo.Loading:
		later = make(chan struct{})
		e.settled = append(e.settled, later)
		return nil, nil, later, nil
	}
	if e != nil && e.pinned && to.prepared {
		if err := p.pinnableLocked(to.model, to.cost, all); err != nil {
			return nil, nil, nil, err
		}
	}
	switch {
	case e == nil:
	case e.state == yolo.Ready:
		n, w, err = p.successorLocked(e, to)
		return n, w, nil, err
	case e.state == yolo.Draining:
		e.renewal = &to
	case e.state == yolo.Queued: // nothing was taken for it yet
		e.model, e.cost, e.prepared, e.childRoom = to.model, to.cost, to.prepared, 0
	default:
		p.renewLocked(e, to)
	}
	p.inForce[to.model.ID] = to.model
	return nil, nil, nil, nil
}

func (p *Pool) isPinned(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entries[id]
	return e != nil && e.pinned
}

// renewLocked makes e, of which nothing is in memory, another revision.
func (p *Pool) renewLocked(e *entry, to revision) {
	p.moveLocked(e, yolo.Unloaded, nil)
	*e = entry{model: to.model, cost: to.cost, prepared: to.prepared, key: e.key,
		pinned: e.pinned, lastUsed: e.lastUsed, hits: e.hits, uses: e.uses, total: e.total, waiters: e.waiters}
}

// successorLocked lines up the next revision of a model in memory.
func (p *Pool) successorLocked(e *entry, to revision) (*entry, *waiter, error) {
	switch {
	case e.next != nil:
		return nil, nil, &yolo.Error{Code: yolo.Conflict, Model: e.model.ID, Msg: "another revision of the model is being loaded"}
	case !to.prepared:
		return nil, nil, ErrNotPrepared
	}
	n := &entry{model: to.model, cost: to.cost, prepared: true, replaces: e}
	e.next = n
	return n, p.lineUpLocked(n), nil
}

// lineUpLocked puts an entry that no request asks for into the load line. The waiter
// gets the answer.
func (p *Pool) lineUpLocked(n *entry) *waiter {
	p.keyLocked(n)
	w := p.addWaiterLocked(n, true)
	n.state = yolo.Queued
	p.yieldLocked(n)
	p.loads = append(p.loads, n)
	p.scheduleLocked()
	return w
}

// keyLocked keeps an entry under a name that no request can ask for.
func (p *Pool) keyLocked(e *entry) {
	if p.entries[e.key] == e {
		delete(p.entries, e.key)
	}
	p.keys++
	e.key = fmt.Sprintf("%s\x00%d", e.model.ID, p.keys)
	p.entries[e.key] = e
}

// awaitSuccessor waits until n is in force or is not to be.
func (p *Pool) awaitSuccessor(ctx context.Context, n *entry, w *waiter) error {
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
	}
	p.mu.Lock()
	if n.replaces != nil && n.state == yolo.Queued {
		p.dropLocked(n, ctx.Err())
		p.scheduleLocked()
	}
	p.mu.Unlock()
	return <-w.done // a load that has begun ends soon
}

// dropLocked gives up an entry that is not in force: the old one goes on serving.
func (p *Pool) dropLocked(n *entry, err error) {
	p.loads = slices.DeleteFunc(p.loads, func(o *entry) bool { return o == n })
	delete(p.entries, n.key)
	if n.replaces != nil {
		n.replaces.next = nil
	}
	p.answerLocked(n, err)
	p.moveLocked(n, yolo.Unloaded, nil)
	n.replaces, n.retired = nil, true
}

// helpSuccessorLocked makes room for the next revision of a model in memory without
// closing anything; where that does not suffice the old one goes first.
func (p *Pool) helpSuccessorLocked(n *entry) error {
	if whole := p.wholeNeed(n); p.fixedLocked(n)+whole > p.o.Ledger.Budget() {
		return p.tooBig(n, whole)
	}
	if p.overcommitLocked(n) <= 0 {
		deficit := p.loadNeed(n) - p.o.Ledger.Free() - p.comingLocked() - p.drainingLocked()
		if deficit <= 0 {
			return nil
		}
		if c := p.chooseLocked(deficit, n, func(*entry) bool { return false }, nil); c.left <= 0 {
			p.takeLocked(c, n)
			return nil
		}
	}
	p.succeedLocked(n)
	return nil
}

// succeedLocked puts n in force; what it replaces drains.
func (p *Pool) succeedLocked(n *entry) {
	n.taking = true
	p.drainLocked(n.replaces, "new revision")
}

// inheritLocked gives n what is known of the revision before it.
func (p *Pool) inheritLocked(n, e *entry) {
	n.pinned, n.keep, n.speculative = e.pinned, e.keep, e.speculative
	n.hits, n.uses, n.lastUsed = e.hits, e.uses, e.lastUsed
	n.total.loads, n.total.evictions = n.total.loads+e.total.loads, e.total.evictions
}

// passOnLocked is called when e, which has a successor, has left service. One that is
// not being loaded yet is what e becomes once it is closed; else it takes over now.
func (p *Pool) passOnLocked(e *entry) {
	n := e.next
	if n.state == yolo.Queued && !n.taking {
		p.dropLocked(n, nil)
		e.renewal = &revision{n.model, n.cost, n.prepared}
		p.inForce[n.model.ID] = n.model
		return
	}
	n.before = &revision{e.model, e.cost, true}
	e.next, n.replaces, e.pinned, e.retired = nil, nil, false, true
	p.keyLocked(e)
	delete(p.entries, n.key)
	n.key = n.model.ID
	p.entries[n.key] = n
	p.inForce[n.key] = n.model
	p.reportLocked(n, yolo.Draining, nil) // to those who watch, it is one model
}

// fallBackLocked lets the revision that served before serve again, because the new one
// cannot be loaded. Who waits is not told.
func (p *Pool) fallBackLocked(e *entry, err error) {
	b := e.before
	p.o.Log.Error("cannot load the new revision of a model: the old one serves again", "model", e.model.ID, "err", err)
	e.model, e.cost, e.prepared, e.before, e.childRoom = b.model, b.cost, b.prepared, nil, 0
	p.inForce[e.model.ID] = e.model
	waiters := e.waiters
	e.waiters = slices.DeleteFunc(slices.Clone(waiters), func(w *waiter) bool { return !w.absent })
	p.answerLocked(e, err)
	e.waiters = slices.DeleteFunc(waiters, func(w *waiter) bool { return w.absent })
	if e.pinned && len(e.waiters) == 0 { // it was in memory and is to stay there
		p.addWaiterLocked(e, true)
	}
	p.againLocked(e)
}

// Remove takes a model that is no longer served out of the pool: requests that use it,
// or wait while it is being loaded, are served, others are refused, NotFound, until
// Admit or Replace bring it back.
func (p *Pool) Remove(m *yolo.Model) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inForce[m.ID] = nil
	e := p.entries[m.ID]
	if e == nil {
		return
	}
	e.pinned = false
	if n := e.next; n != nil && n.state == yolo.Queued {
		p.dropLocked(n, errRemoved(m.ID))
	}
	if e.state == yolo.Ready {
		p.drainLocked(e, "removed")
	}
	if now := p.entries[m.ID]; now != e { // its successor was being loaded
		e, e.pinned = now, false
	}
	if e.state == yolo.Queued {
		p.loads = slices.DeleteFunc(p.loads, func(o *entry) bool { return o == e })
	}
	e.before, e.renewal = nil, nil
	p.keyLocked(e)
	if e.state != yolo.Loading { // those who wait for a load get it
		p.answerLocked(e, errRemoved(m.ID))
	}
	state := e.state
	if state == yolo.Queued || state == yolo.Failed {
		p.moveLocked(e, yolo.Unloaded, nil)
	}
	e.retired = true
	switch state {
	case yolo.Loading, yolo.Draining: // whatever follows, to those who watch it is gone
		if p.o.Observe != nil {
			p.o.Observe(yolo.Transition{Model: e.model, From: state, To: yolo.Unloaded, Used: p.o.Ledger.Used()})
		}
	default:
		delete(p.entries, e.key)
	}
	p.scheduleLocked()
}

// Admit takes a model that was removed back.
func (p *Pool) Admit(m *yolo.Model) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now, known := p.inForce[m.ID]; known && now == nil {
		p.inForce[m.ID] = m // whoever still has the old revision in hand gets this one
	}
}

func errRemoved(id string) error {
	return &yolo.Error{Code: yolo.NotFound, Msg: fmt.Sprintf("Model ID %s not found", id)}
}

// Prepare prepares a model that no request asks for, as Ahead does, but waits in the
// load line for its memory and makes room for it, by closing models that are not used.
// Where that does not suffice it is refused, NoRoom or TooBig. ctx ends it.
func (p *Pool) Prepare(ctx context.Context, m *yolo.Model) error {
	if _, ok := p.o.Engine.Cost(m); ok {
		return nil
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return errClosed()
	}
	n := &entry{model: m, only: true, retired: true}
	w := p.lineUpLocked(n)
	p.mu.Unlock()
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
	}
	p.mu.Lock()
	switch {
	case n.state == yolo.Queued:
		p.dropLocked(n, ctx.Err())
		p.scheduleLocked()
	case n.stop != nil:
		n.stop()
	}
	p.mu.Unlock()
	return <-w.done
}
