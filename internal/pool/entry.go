package pool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lazyolo/internal/ledger"
	"lazyolo/yolo"
)

// An entry is what the pool knows of one model. The pool's mutex guards it.
type entry struct {
	model   *yolo.Model
	key     string // in Pool.entries: the model's id, if it is in force
	state   yolo.State
	session Session // not nil in Ready and Draining
	cost    Cost    // known when prepared
	order   int64   // of loading

	prepared bool
	narrow   narrow
	warm     bool // its mapped pages are charged
	cooling  bool // they are being given back
	rigid    bool // they cannot be
	pinned   bool
	keep     *time.Duration // the last request's keep-alive; nil: it named none

	speculative bool // loaded ahead of a use that has not come yet
	leases      int
	running     int       // reservations held: its pages are in use
	waiters     []*waiter // callers that wait for it to be ready

	failures  int       // in a row
	err       error     // the last failure
	retryAt   time.Time // no load before
	childRoom int64     // memory for its preparing process, once the prediction proved too small

	loadedAt time.Time
	lastUsed time.Time
	loadTook time.Duration
	runTook  time.Duration
	hits     int64
	uses     Uses
	total    struct{ loads, evictions int64 }
	gone     []chan struct{} // closed when it is out of memory

	// Of one model there may be more than one revision.
	next     *entry             // the revision that is to replace it, being loaded
	replaces *entry             // the one in force that it is to replace
	taking   bool               // it replaces that before it is loaded
	before   *revision          // what it replaced, until it was loaded once
	renewal  *revision          // what it becomes once it is closed
	retired  bool               // it is not in force any more, or never will be
	only     bool               // it is to be prepared only
	stop     context.CancelFunc // ends that
	settled  []chan struct{}    // closed when its load has ended
}

// learnt takes over a prediction; what runs took in this process is known better.
func (e *entry) learnt(cost Cost, prepared bool) {
	if e.cost.Ran != nil {
		cost.Ran = e.cost.Ran
	}
	e.cost, e.prepared = cost, prepared
}

// used counts one use of the model now.
func (e *entry) used(now time.Time) {
	e.uses.Add(now)
	e.lastUsed = now
	e.hits++
}

// gain is what closing the session gives back.
func (e *entry) gain() int64 {
	if e.warm {
		return e.private() + e.cost.Mapped
	}
	return e.private()
}

// private is what its sessions take beside the mapped pages.
func (e *entry) private() int64 { return e.cost.Private + e.narrowed() }

// busy reports whether something of it is being given back, after which it may close.
func (e *entry) busy() bool { return e.cooling || e.narrow.state == shutting }

// coolable reports whether its pages may be given back: nothing runs on them.
func (e *entry) coolable() bool {
	return e.session != nil && e.warm && !e.cooling && !e.rigid && e.running == 0 && !e.pinned
}

// lockEntry locks the pool and finds or makes the entry that m's id means, of whatever
// revision is in force, and what that costs. NotFound: the model was removed.
func (p *Pool) lockEntry(m *yolo.Model) (e *entry, cost Cost, prepared bool, err error) {
	for {
		cost, prepared = p.o.Engine.Cost(m) // may read a file: not under the lock
		p.mu.Lock()
		now, replaced := p.inForce[m.ID]
		switch e = p.entries[m.ID]; {
		case e == nil && replaced && now == nil:
			p.mu.Unlock()
			return nil, cost, false, errRemoved(m.ID)
		case e != nil:
			now = e.model
		case !replaced:
			now = m
		}
		if now.Rev == m.Rev {
			break
		}
		m = now
		p.mu.Unlock()
	}
	if e == nil {
		e = &entry{model: m, key: m.ID}
		p.entries[m.ID] = e
	}
	return e, cost, prepared, nil
}

// moveLocked changes an entry's state and tells the observer, if it is in force. One
// that is not is forgotten with its session.
func (p *Pool) moveLocked(e *entry, to yolo.State, err error) {
	from := e.state
	e.state = to
	if from == yolo.Loading {
		for _, c := range e.settled {
			close(c)
		}
		e.settled = nil
	}
	if e.retired && (to == yolo.Unloaded || to == yolo.Failed) {
		delete(p.entries, e.key)
	}
	p.reportLocked(e, from, err)
}

// reportLocked tells the observer which state an entry in force has now.
func (p *Pool) reportLocked(e *entry, from yolo.State, err error) {
	if p.o.Observe != nil && from != e.state && !e.retired && e.replaces == nil {
		p.o.Observe(yolo.Transition{Model: e.model, From: from, To: e.state, Used: p.o.Ledger.Used(), Err: err})
	}
}

// failLocked notes a failed load, answers those who waited and sets the time
// before which it is not tried again.
//
// A file that is wrong is looked at again after a second, which costs a stat; to
// the client it is no use to ask again. So is a missing library.
func (p *Pool) failLocked(e *entry, err error) {
	switch {
	case e.replaces != nil || e.only:
		p.dropLocked(e, err) // who asked for it tells
		return
	case e.before != nil:
		p.fallBackLocked(e, err)
		return
	}
	known := e.err != nil && e.err.Error() == err.Error()
	e.err = err
	e.failures++
	wait := min(maxBackoff, minBackoff<<min(e.failures-1, 10))
	if isFinal(err) || yolo.CodeOf(err) == yolo.Unavailable {
		wait = minBackoff
	}
	e.retryAt = time.Now().Add(wait)
	if !known {
		p.decideRefuseLocked(e, err, 0)
		p.o.Log.Error("cannot load model", "model", e.model.ID, "err", err)
	}
	p.answerLocked(e, withRetry(err, wait))
	p.moveLocked(e, yolo.Failed, err)
}

func isFinal(err error) bool {
	var known *yolo.Error
	return errors.As(err, &known) && known.Final
}

// A failed load is tried again after a second, then two, up to a minute.
const (
	minBackoff = time.Second
	maxBackoff = time.Minute
)

// answerLocked sends everybody who waits for e home with err, or with a lease
// when err is nil.
func (p *Pool) answerLocked(e *entry, err error) {
	for _, w := range e.waiters {
		p.waiting--
		if err == nil && !w.absent {
			w.lease = p.lendLocked(e)
			w.lease.since = w.since
		}
		w.done <- err
	}
	e.waiters = nil
}

// closeLocked closes an idle, draining entry's session outside the lock.
func (p *Pool) closeLocked(e *entry) {
	s, started := e.session, time.Now()
	e.session = nil
	p.work.Go(func() {
		err := s.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.o.Ledger.Charge(ledger.Private, -e.private())
		e.narrow = narrow{}
		if e.warm {
			e.warm = false
			p.o.Ledger.Charge(ledger.Mapped, -e.cost.Mapped)
		}
		p.observeLocked()
		if err != nil {
			p.o.Log.Error("close model", "model", e.model.ID, "err", err)
		}
		p.o.Log.Debug(fmt.Sprintf("Unloaded model %d", e.model.Index), "model", e.model.ID, "took", time.Since(started))
		p.moveLocked(e, yolo.Unloaded, nil)
		for _, c := range e.gone {
			close(c)
		}
		e.gone = nil
		switch {
		case p.closed:
			p.answerLocked(e, errClosed())
		case e.renewal != nil:
			p.renewLocked(e, *e.renewal)
			if len(e.waiters) > 0 {
				p.enqueueLocked(e)
			}
		case len(e.waiters) > 0:
			p.enqueueLocked(e)
		}
		p.scheduleLocked()
	})
}

// drainLocked takes a ready model out of service; its session is closed once the
// last lease is back. why stands in the log.
func (p *Pool) drainLocked(e *entry, why string) {
	p.decideCloseLocked(e, why)
	p.retireLocked(e, why)
}

// retireLocked is drainLocked for a decision that was told already.
func (p *Pool) retireLocked(e *entry, why string) {
	p.o.Log.Info(fmt.Sprintf("Unloaded model %d (%s)", e.model.Index, why), "model", e.model.ID,
		"idle", time.Since(e.lastUsed).Round(time.Millisecond), "bytes", e.gain())
	if e.next != nil {
		p.inheritLocked(e.next, e)
	}
	e.speculative, e.keep = false, nil
	p.moveLocked(e, yolo.Draining, nil)
	if e.next != nil {
		p.passOnLocked(e)
	}
	if e.leases == 0 && !e.busy() {
		p.closeLocked(e)
	}
}
