package pool

import (
	"time"

	"lazyolo/yolo"
)

// wakeLocked has the pool look after itself no later than in d. There is one
// timer for everything that happens by time: giving memory back when idle,
// keep-alives, victims that come of age.
func (p *Pool) wakeLocked(d time.Duration) {
	if p.closed {
		return
	}
	at := time.Now().Add(d)
	if p.timer != nil {
		if !at.Before(p.wakeAt) || !p.timer.Stop() {
			return // it rings early enough, or is ringing
		}
		p.work.Done()
	}
	p.wakeAt = at
	p.work.Add(1)
	p.timer = time.AfterFunc(d, p.tick)
}

func (p *Pool) stopTimerLocked() {
	if p.timer != nil && p.timer.Stop() {
		p.work.Done()
	}
	p.timer = nil
}

// tick is what the timer does.
func (p *Pool) tick() {
	defer p.work.Done()
	p.mu.Lock()
	p.timer = nil
	rest := p.restDueLocked()
	p.expireLocked()
	p.scheduleLocked()
	p.mu.Unlock()
	if !rest {
		return
	}
	p.o.Idle()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.observeLocked()
	p.coolIdleLocked()
	p.scheduleLocked()
}

// coolIdleLocked gives back the pages and second sessions of all models while nothing
// is used.
func (p *Pool) coolIdleLocked() {
	if p.leases > 0 || p.closed {
		return
	}
	for _, e := range p.entries {
		if e.state == yolo.Ready && e.coolable() {
			p.decideCoolIdleLocked(e)
			p.coolLocked(e)
		}
		if e.shuttable() {
			p.shutNarrowLocked(e)
		}
	}
}

// restDueLocked reports whether memory should be given back now, once per idle
// period; before its time it asks to be woken again.
func (p *Pool) restDueLocked() bool {
	if p.o.Idle == nil || p.rested || p.leases > 0 || p.closed {
		return false
	}
	if left := p.o.IdleAfter - time.Since(p.idleSince); left > 0 {
		p.wakeLocked(left)
		return false
	}
	p.rested = true
	return true
}

// keepLocked is how long e stays in memory unused: what the last request said, or
// its labels, or the pool's; negative: for ever.
func (p *Pool) keepLocked(e *entry) time.Duration {
	if e.pinned {
		return yolo.KeepAliveForever
	}
	return p.keepOfLocked(e)
}

// keepOfLocked is keepLocked as if e were not pinned.
func (p *Pool) keepOfLocked(e *entry) time.Duration {
	switch {
	case e.keep != nil:
		return *e.keep
	case e.model.KeepAlive != nil:
		return *e.model.KeepAlive
	}
	return p.o.KeepAlive
}

// expireLocked closes the models whose keep-alive is over.
func (p *Pool) expireLocked() {
	for _, e := range p.entries {
		keep := p.keepLocked(e)
		if e.state != yolo.Ready || keep < 0 || e.leases > 0 {
			continue
		}
		p.keepForLocked(e, keep-time.Since(e.lastUsed))
	}
}

// keepForLocked keeps e for another d; at 0 it closes, with no timer between.
func (p *Pool) keepForLocked(e *entry, d time.Duration) {
	switch {
	case p.closed: // Close takes the session
	case d > 0:
		p.wakeLocked(d)
	default:
		p.drainLocked(e, "keep-alive")
	}
}

// restLocked notes that nothing is used any more.
func (p *Pool) restLocked() {
	p.idleSince, p.rested = time.Now(), false
	if p.o.Idle != nil {
		p.wakeLocked(p.o.IdleAfter)
	}
}

// observeLocked compares the ledger with what the system says.
func (p *Pool) observeLocked() {
	p.observed = time.Now()
	p.runs.held, p.works.held = p.o.Memory.Held(), p.o.Memory.Buffers()
	if over := p.runs.held - p.runs.peak; over > 0 && p.runs.peak > 0 {
		p.spread = min(maxSpread, max(p.spread, float64(over)/float64(p.runs.peak)))
	}
	if p.runs.held <= p.runs.reserved { // what was held before is gone
		p.runs.peak = p.runs.reserved
	}
	p.countLocked()
	p.o.Ledger.Observe(p.o.Memory.Resident(), p.active == 0 && p.loading == 0)
}

// observeEvery bounds how often requests look at the system.
const observeEvery = 20 * time.Millisecond
