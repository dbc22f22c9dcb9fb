package pool

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"lazyolo/internal/ledger"
	"lazyolo/yolo"
)

// helpRequestLocked makes room for the head of the working line; false: there
// can never be enough.
func (p *Pool) helpRequestLocked(r *request) bool {
	if r.entry.cooling || !r.aside && p.fullLocked() || p.loadFirstLocked(r) {
		return true
	}
	deficit := p.requestNeedLocked(r) - p.o.Ledger.Free() - p.comingLocked()
	if deficit <= 0 {
		return true
	}
	if p.reclaimLocked(deficit, r.entry, r) {
		return true
	}
	p.short = time.Now()
	// What others in work hold comes back by itself.
	return p.active > 0 || p.loading > 0 || p.ahead > 0
}

// helpLoadLocked makes room for the head of the load line; an error says why
// there can never be enough.
func (p *Pool) helpLoadLocked(e *entry) error {
	if e.replaces != nil {
		if err := p.helpSuccessorLocked(e); err != nil || e.replaces != nil {
			return err
		}
	}
	need := p.loadNeed(e)
	if whole := p.wholeNeed(e); p.fixedLocked(e)+whole > p.o.Ledger.Budget() {
		return p.tooBig(e, whole)
	}
	if deficit := need - p.o.Ledger.Free() - p.comingLocked() - p.drainingLocked(); deficit > 0 && !p.reclaimLocked(deficit, e, nil) {
		if e.only { // it is not worth taking a model in use away, nor holding up others
			return p.noRoom(e, need)
		}
		if deficit > p.endingLocked(e) && !p.drainBusyLocked(deficit, e) && p.stuckLocked() {
			return p.noRoom(e, need)
		}
		return nil
	}
	if !e.prepared {
		return nil
	}
	over := p.overcommitLocked(e)
	if over <= 0 || p.closingLocked() || p.guessCoolsLocked() {
		return nil
	}
	// Sessions must close until the largest run fits beside the rest.
	if !p.closeVictimsLocked(over, e) && !p.drainBusyLocked(over, e) && (p.stuckLocked() || p.o.NeverEvict) {
		return p.noRoom(e, over)
	}
	return nil
}

// endingLocked is what can be taken, without closing anything in use, once the runs
// under way have ended: a load that it suffices for waits for them.
func (p *Pool) endingLocked(except *entry) int64 {
	if p.active == 0 {
		return 0
	}
	n := p.runs.reserved + p.works.reserved
	for _, e := range p.entries {
		if e != except && e.session != nil && e.warm && !e.rigid && !e.pinned && (e.running > 0 || !e.coolable()) {
			n += e.cost.Mapped
		}
		if e.session != nil && !e.shuttable() {
			n += e.narrowed()
		}
	}
	return n
}

// wholeNeed is what e needs to be loaded and then to run.
func (p *Pool) wholeNeed(e *entry) int64 {
	need := p.loadNeed(e)
	if e.prepared {
		return max(need, e.cost.Mapped+e.cost.Private+e.cost.Run+p.o.WorkingRoom)
	}
	return need
}

// stuckLocked reports whether nothing is under way that will change what is free:
// no run or load that ends, and no victim that is only too young.
func (p *Pool) stuckLocked() bool {
	if p.active > 0 || p.loading > 0 || p.ahead > 0 || p.shrinking || p.comingLocked()+p.drainingLocked() > 0 {
		return false
	}
	if p.o.NeverEvict {
		return true
	}
	for _, e := range p.entries {
		if e.state == yolo.Ready && !e.pinned && (e.leases > 0 || time.Since(e.loadedAt) < p.o.MinResident) {
			return false
		}
	}
	return true
}

// tooBig is the error for a model that cannot fit even as the only one that is not
// pinned.
func (p *Pool) tooBig(e *entry, need int64) error {
	if pinned := p.fixedLocked(e) - p.o.Ledger.Fixed(); pinned > 0 && p.o.Ledger.Fixed()+need <= p.o.Ledger.Budget() {
		return &yolo.Error{Code: yolo.NoRoom, Model: e.model.ID, Retry: time.Second,
			Msg: fmt.Sprintf("needs %d MiB, which the budget cannot have free while %d MiB are pinned (%v); unpin models or raise MAX_MEMORY_MB",
				need>>20, pinned>>20, p.o.Ledger)}
	}
	msg := fmt.Sprintf("needs %d MiB to load and run, more than the budget can ever have free (%v); raise MAX_MEMORY_MB", need>>20, p.o.Ledger)
	if !e.prepared {
		msg = fmt.Sprintf("needs %d MiB to be prepared, more than the budget can ever have free (%v); prepare it ahead: lazyolo prepare %s",
			need>>20, p.o.Ledger, e.model.ID)
	}
	return &yolo.Error{Code: yolo.TooBig, Model: e.model.ID, Msg: msg}
}

// noRoom is the error for a model that would fit if others gave way.
func (p *Pool) noRoom(e *entry, need int64) error {
	return &yolo.Error{Code: yolo.NoRoom, Model: e.model.ID, Retry: time.Second,
		Msg: fmt.Sprintf("needs %d MiB more than is free, and the models in memory may not be closed (%v)", need>>20, p.o.Ledger)}
}

// comingLocked is what steps already taken will give back by themselves.
func (p *Pool) comingLocked() int64 {
	var n int64
	if p.shrinking {
		n += p.slackLocked()
	}
	for _, e := range p.entries {
		switch {
		case e.state == yolo.Draining && e.session == nil:
			n += e.gain()
		case e.cooling:
			n += e.cost.Mapped
		}
		if e.state == yolo.Ready && e.narrow.state == shutting {
			n += e.narrowed()
		}
	}
	return n
}

// drainingLocked is what draining models will give back once their leases end.
// A load may wait for it, a request may not: those leases may wait behind it.
func (p *Pool) drainingLocked() int64 {
	var n int64
	for _, e := range p.entries {
		if e.state == yolo.Draining && e.session != nil {
			n += e.gain()
		}
	}
	return n
}

func (p *Pool) closingLocked() bool {
	for _, e := range p.entries {
		if e.state == yolo.Draining {
			return true
		}
	}
	return false
}

// A choice is a set of steps that give memory back, cheapest first.
type choice struct {
	slack  int64    // of arena and buffers
	cool   []*entry // their pages; some may stand in narrow and shut too
	narrow []*entry // their second sessions
	shut   []*entry
	left   int64 // bytes still missing after all that
}

// slackLocked is what arena and buffers hold, no request uses and a shrink may give
// back.
func (p *Pool) slackLocked() int64 {
	return max(0, p.runs.slack()+p.works.slack()-p.residue)
}

// chooseLocked picks the steps that give back n bytes: what arena and buffers hold
// and no request uses, then the pages of models that are not running, then second
// sessions, then the models that are closable. It changes nothing.
//
// For a request, r, pages go before arena and buffers: it will use those itself, and
// taking them anew costs more than bringing pages back.
func (p *Pool) chooseLocked(n int64, except *entry, closable func(*entry) bool, r *request) choice {
	var slack int64
	if !p.shrinking {
		slack = p.slackLocked()
	}
	c := choice{left: n}
	if r == nil {
		c.slack = slack
		c.left -= slack
	}
	c.cool = p.victimsLocked(c.left, except, (*entry).coolable, func(e *entry) int64 { return e.cost.Mapped })
	for _, e := range c.cool {
		c.left -= e.cost.Mapped
	}
	if r != nil && c.left > 0 {
		own := min(p.besideLocked(r), p.runs.slack()) + min(r.work, p.works.slack())
		c.slack = max(0, slack-own)
		c.left -= c.slack
	}
	c.narrow = p.victimsLocked(c.left, nil, (*entry).shuttable, (*entry).narrowed)
	for _, e := range c.narrow {
		c.left -= e.narrowed()
	}
	gain := func(e *entry) int64 {
		n := e.gain()
		if slices.Contains(c.cool, e) {
			n -= e.cost.Mapped
		}
		if slices.Contains(c.narrow, e) {
			n -= e.narrowed()
		}
		return n
	}
	c.shut = p.victimsLocked(c.left, except, closable, gain)
	for _, e := range c.shut {
		c.left -= gain(e)
	}
	return c
}

// reclaimLocked gives back at least n bytes. It takes no step at all, and returns
// false, when all there are do not suffice. except is the model the room is for, r the
// request; nil: a load.
func (p *Pool) reclaimLocked(n int64, except *entry, r *request) bool {
	if p.guessCoolsLocked() {
		return true // in a moment it may be closed, before others are
	}
	c := p.chooseLocked(n, except, p.closableLocked, r)
	if c.left > 0 {
		return false
	}
	p.takeLocked(c, except)
	return true
}

// relieveLocked gives back as much as it can of what is held beyond the budget: the
// budget was lowered, or memory is held that nobody accounts for.
func (p *Pool) relieveLocked() {
	over := -p.o.Ledger.Free() - p.comingLocked() - p.drainingLocked()
	if over > 0 && !p.closed {
		p.takeLocked(p.chooseLocked(over, nil, p.closableLocked, nil), nil)
	}
}

// takeLocked takes the steps of a choice. room is the model they are for; nil: none.
func (p *Pool) takeLocked(c choice, room *entry) {
	if c.slack > 0 {
		p.shrinkLocked()
	}
	spared := p.sparedLocked(room, slices.Concat(c.cool, c.shut))
	for _, e := range c.cool {
		if !slices.Contains(c.shut, e) {
			p.decideRoomLocked(yolo.Cooled, e, room, spared)
			p.coolLocked(e)
		}
	}
	for _, e := range c.narrow {
		if !slices.Contains(c.shut, e) {
			p.shutNarrowLocked(e)
		}
	}
	p.evictLocked(c.shut, room, spared)
}

// evictLocked closes models to make room for another.
func (p *Pool) evictLocked(shut []*entry, room *entry, spared []yolo.Candidate) {
	for _, e := range shut {
		e.total.evictions++
		p.decideRoomLocked(yolo.Closed, e, room, spared)
		p.retireLocked(e, "LRU")
	}
}

// closableLocked reports whether an idle session may be closed to make room.
func (p *Pool) closableLocked(e *entry) bool { return p.idleLocked(e) && p.ofAgeLocked(e) }

// idleLocked reports the same but for the age.
func (p *Pool) idleLocked(e *entry) bool {
	return e.state == yolo.Ready && !e.pinned && e.leases == 0 && !e.cooling && (e.speculative || !p.o.NeverEvict)
}

// busyLocked reports whether a model in use may be closed to make room, but for
// its age.
func (p *Pool) busyLocked(e *entry) bool {
	return e.state == yolo.Ready && !e.pinned && e.leases > 0 && (e.speculative || !p.o.NeverEvict)
}

// ofAgeLocked reports whether e was in memory for MinResident; if not, the pool
// looks again when it will be.
func (p *Pool) ofAgeLocked(e *entry) bool {
	if left := p.o.MinResident - time.Since(e.loadedAt); left > 0 && !e.speculative {
		p.wakeLocked(left)
		return false
	}
	return true
}

// closeVictimsLocked closes idle sessions whose private memory adds up to n.
func (p *Pool) closeVictimsLocked(n int64, except *entry) bool {
	shut := p.victimsLocked(n, except, p.closableLocked, func(e *entry) int64 { return e.cost.Private })
	p.evictLocked(shut, except, p.sparedLocked(except, shut))
	return len(shut) > 0
}

// drainBusyLocked takes a model in use out of service for a load that idle ones
// cannot make room for: it lends no more, so the load waits no longer than its
// leases last.
func (p *Pool) drainBusyLocked(n int64, except *entry) bool {
	busy := p.victimsLocked(n, except, func(e *entry) bool { return p.busyLocked(e) && p.ofAgeLocked(e) }, (*entry).gain)
	p.evictLocked(busy, except, p.sparedLocked(except, busy))
	return len(busy) > 0
}

// victimsLocked picks the eligible entries whose gains reach n, in the policy's
// order and none that the others make superfluous; all of them when they do not
// suffice.
func (p *Pool) victimsLocked(n int64, except *entry, eligible func(*entry) bool, gain func(*entry) int64) []*entry {
	if n <= 0 {
		return nil
	}
	var found []*entry
	for _, e := range p.entries {
		if e != except && eligible(e) {
			found = append(found, e)
		}
	}
	p.sortLocked(found, time.Now(), gain)
	sum := int64(0)
	for i, e := range found {
		if sum += gain(e); sum >= n {
			found = found[:i+1]
			break
		}
	}
	if sum < n {
		return found
	}
	return slices.DeleteFunc(found, func(e *entry) bool {
		if sum-gain(e) < n {
			return false
		}
		sum -= gain(e)
		return true
	})
}

// sortLocked puts victims in the policy's order, speculative ones first.
func (p *Pool) sortLocked(found []*entry, now time.Time, gain func(*entry) int64) {
	slices.SortFunc(found, func(a, b *entry) int {
		if a.speculative != b.speculative { // nobody asked for it yet: it goes first
			if a.speculative {
				return -1
			}
			return 1
		}
		if c := p.o.Policy(a.resident(now, gain(a)), b.resident(now, gain(b))); c != 0 {
			return c
		}
		return int(a.order - b.order)
	})
}

func (e *entry) resident(now time.Time, bytes int64) Resident {
	return Resident{Model: e.model, LastUsed: e.lastUsed, Interval: e.uses.Interval(now), Bytes: bytes, Cost: e.loadTook}
}

// shrinkLocked has arena and buffers give back what no request uses.
func (p *Pool) shrinkLocked() {
	p.shrinking, p.alone = true, nil
	p.work.Go(func() {
		p.o.Memory.Shrink()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.shrinking = false
		p.observeLocked()
		p.residue = p.runs.slack() + p.works.slack()
		p.scheduleLocked()
	})
}

// coolLocked gives back the pages of e's weights. Where they do not come back the
// model stays warm until it is closed.
func (p *Pool) coolLocked(e *entry) {
	e.cooling = true
	s := e.session
	p.work.Go(func() {
		err := s.Cool()
		p.mu.Lock()
		defer p.mu.Unlock()
		e.cooling = false
		if e.rigid = err != nil; e.rigid {
			p.o.Log.Debug("cannot give back a model's pages: it is closed instead", "model", e.model.ID, "err", err)
		} else {
			e.warm = false
			p.o.Ledger.Charge(ledger.Mapped, -e.cost.Mapped)
			p.o.Log.Debug("cooled", "model", e.model.ID, "bytes", e.cost.Mapped)
		}
		p.observeLocked()
		p.backLocked(e)
	})
}

// shutNarrowLocked closes e's second session.
func (p *Pool) shutNarrowLocked(e *entry) {
	e.narrow.state = shutting
	s := e.session
	p.work.Go(func() {
		err := s.Shut(1)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.o.Ledger.Charge(ledger.Private, -e.narrowed())
		e.narrow.state = shut
		if err != nil {
			p.o.Log.Error("close a second session", "model", e.model.ID, "err", err)
		}
		p.observeLocked()
		p.backLocked(e)
	})
}

// backLocked goes on after something of e was given back.
func (p *Pool) backLocked(e *entry) {
	if e.state == yolo.Draining && e.leases == 0 && !e.busy() {
		p.closeLocked(e)
	}
	p.scheduleLocked()
}

// moreRoomLocked doubles the memory for e's preparing process after it proved
// too little; false: that was not the reason, or there is no more.
func (p *Pool) moreRoomLocked(e *entry, had int64, err error) bool {
	if !errors.Is(err, ErrMemory) {
		return false
	}
	e.childRoom = min(2*had, p.o.Ledger.Budget()-p.o.Ledger.Fixed())
	if e.childRoom <= had {
		return false
	}
	p.o.Log.Info("preparing a model takes more memory than predicted: the next attempt gets more", "model", e.model.ID,
		"bytes", had, "next", e.childRoom, "waiting", len(e.waiters))
	return true
}
