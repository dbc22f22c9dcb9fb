package pool

import (
	"slices"
	"time"

	"lazyolo/yolo"
)

// Plan says what an action on m would do now, as far as can be foreseen, and does
// nothing: no state changes and no timer is set.
func (p *Pool) Plan(m *yolo.Model, do yolo.Action) yolo.Plan {
	cost, prepared := p.o.Engine.Cost(m)
	var all map[string]Cost
	if do == yolo.Pin {
		all = p.costs()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch do {
	case yolo.Unload, yolo.Unpin:
		return p.planLeaveLocked(m, do)
	case yolo.Pin:
		plan := p.planLoadLocked(m, cost, prepared)
		if plan.Err == nil && prepared {
			plan.Err = p.pinnableLocked(m, cost, all)
		}
		return plan
	}
	return p.planLoadLocked(m, cost, prepared)
}

// planLeaveLocked is Plan for Unload and Unpin: what may be closed is m itself.
func (p *Pool) planLeaveLocked(m *yolo.Model, do yolo.Action) yolo.Plan {
	plan := yolo.Plan{Model: m, Free: p.o.Ledger.Free()}
	e := p.entries[m.ID]
	if e == nil {
		return plan
	}
	plan.State, plan.Prepared = e.state, e.prepared
	closes := e.session != nil
	if do == yolo.Unload {
		plan.Err = e.unloadable()
	} else {
		keep := p.keepOfLocked(e)
		closes = closes && e.pinned && e.leases == 0 && keep >= 0 && time.Since(e.lastUsed) >= keep
	}
	if plan.Err == nil && closes {
		c := e.candidate(time.Now())
		if e.leases > 0 {
			c.Why = "in use"
		}
		plan.Close = []yolo.Candidate{c}
	}
	return plan
}

// planLoadLocked is Plan for Load.
func (p *Pool) planLoadLocked(m *yolo.Model, cost Cost, prepared bool) yolo.Plan {
	e := p.entries[m.ID]
	shadow := &entry{model: m, cost: cost, prepared: prepared}
	if e == nil {
		e = shadow
	}
	shadow.childRoom, shadow.loadTook = e.childRoom, e.loadTook
	plan := yolo.Plan{Model: m, State: e.state, Prepared: prepared || e.session != nil, Free: p.o.Ledger.Free()}
	if prepared {
		plan.Keep = cost.Mapped + cost.Private
	}
	switch {
	case p.closed:
		plan.Err = errClosed()
		return plan
	case e.state == yolo.Ready || e.state == yolo.Loading:
		return plan
	}
	plan.Need, plan.Time = p.loadNeed(shadow), p.expectLocked(shadow)
	if plan.Free >= plan.Need && (!prepared || p.overcommitLocked(shadow) <= 0) {
		plan.Spared = p.candidatesLocked(e, nil)
		return plan // it fits as it is
	}
	if whole := p.wholeNeed(shadow); p.fixedLocked(e)+whole > p.o.Ledger.Budget() {
		plan.Err = p.tooBig(shadow, whole)
		return plan
	}
	p.planRoomLocked(e, shadow, &plan)
	return plan
}

// planRoomLocked finds the steps that would make room for e, whose costs shadow
// has. Where idle models do not suffice, ones in use are drained, and where those
// do not, ones that are too young are waited for.
func (p *Pool) planRoomLocked(e, shadow *entry, plan *yolo.Plan) {
	now := time.Now()
	old := func(e *entry) bool { return e.speculative || now.Sub(e.loadedAt) >= p.o.MinResident }
	deficit := plan.Need - plan.Free - p.comingLocked() - p.drainingLocked()
	for _, closable := range []func(*entry) bool{
		func(e *entry) bool { return p.idleLocked(e) && old(e) },
		func(e *entry) bool { return (p.idleLocked(e) || p.busyLocked(e)) && old(e) },
		func(e *entry) bool { return p.idleLocked(e) || p.busyLocked(e) },
	} {
		c := choice{}
		if deficit > 0 {
			c = p.chooseLocked(deficit, e, closable, nil)
		}
		over, late := int64(0), []*entry(nil)
		if shadow.prepared {
			over, late = p.planSessionsLocked(shadow, e, &c, closable)
		}
		if c.left > 0 || over > 0 {
			continue
		}
		p.tellLocked(plan, c, late, now)
		plan.Spared = p.candidatesLocked(e, slices.Concat(c.cool, c.shut))
		return
	}
	plan.Err = p.noRoom(shadow, max(deficit, 0))
	plan.Spared = p.candidatesLocked(e, nil)
}

// planSessionsLocked adds to a choice the sessions that must close until the
// largest run fits beside the rest, and returns what is missing then. late are
// those that are cooled first: they are closed only once that is done, which is
// before the first closing ends.
func (p *Pool) planSessionsLocked(shadow, e *entry, c *choice, closable func(*entry) bool) (over int64, late []*entry) {
	pick := func(eligible func(*entry) bool) []*entry {
		return p.victimsLocked(over, e, func(v *entry) bool { return closable(v) && !slices.Contains(c.shut, v) && eligible(v) },
			func(e *entry) int64 { return e.cost.Private })
	}
	cooled := func(v *entry) bool { return slices.Contains(c.cool, v) }
	over = p.overcommitLocked(shadow, c.shut...)
	if len(c.shut) == 0 { // while nothing is closing yet
		c.shut = pick(func(v *entry) bool { return !cooled(v) })
		over = p.overcommitLocked(shadow, c.shut...)
	}
	for _, v := range pick(func(*entry) bool { return true }) {
		if cooled(v) {
			late = append(late, v)
		} else {
			c.shut = append(c.shut, v)
		}
	}
	return p.overcommitLocked(shadow, slices.Concat(c.shut, late)...), late
}

// tellLocked puts the steps of a choice into a plan.
func (p *Pool) tellLocked(plan *yolo.Plan, c choice, late []*entry, now time.Time) {
	plan.Arena = c.slack
	for _, e := range c.narrow {
		plan.Arena += e.narrowed()
	}
	for _, v := range c.cool {
		if !slices.Contains(c.shut, v) {
			told := v.candidate(now)
			told.Bytes = v.cost.Mapped
			plan.Cool = append(plan.Cool, told)
		}
	}
	for _, v := range slices.Concat(c.shut, late) {
		told := v.candidate(now)
		told.Why = p.keptLocked(v, now)
		if slices.Contains(late, v) {
			told.Bytes = v.cost.Private
		}
		plan.Close = append(plan.Close, told)
	}
}

// expectLocked is what loading e is expected to take: as its last load, else as
// the loads of others per byte; 0: not known.
func (p *Pool) expectLocked(e *entry) time.Duration {
	if e.loadTook > 0 || !e.prepared {
		return e.loadTook
	}
	var took time.Duration
	var bytes int64
	for _, o := range p.entries {
		if o.loadTook > 0 && o.cost.Mapped > 0 {
			took += o.loadTook
			bytes += o.cost.Mapped
		}
	}
	if bytes == 0 {
		return 0
	}
	return time.Duration(float64(took) * float64(e.cost.Mapped) / float64(bytes))
}
