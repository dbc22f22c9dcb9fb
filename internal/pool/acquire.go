package pool

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lazyolo/yolo"
)

// A waiter is a caller of Acquire who waits for a model.
type waiter struct {
	since  time.Time
	done   chan error // one answer, buffered
	lease  *Lease     // set before a nil answer
	absent bool       // nobody takes the answer: the model is loaded for who asks next
}

// Acquire lends a model, in the revision that is in force, loading it and making room if it must; it waits in line
// until the load ends, LoadTimeout passed or ctx ended. Meanwhile the caller
// should hold nothing but its encoded picture. The caller must Release the lease.
// cold reports whether this call had to wait for a load.
func (p *Pool) Acquire(ctx context.Context, m *yolo.Model) (l *Lease, cold bool, err error) {
	return p.AcquireWithin(ctx, m, -1)
}

// AcquireWithin is Acquire for a caller who waits no longer than wait for a load,
// if that is shorter than LoadTimeout; negative: as long as Acquire. With 0 a model
// that is not ready is refused at once, Unavailable, but loaded for who asks next.
func (p *Pool) AcquireWithin(ctx context.Context, m *yolo.Model, wait time.Duration) (l *Lease, cold bool, err error) {
	if l = p.lend(m); l != nil {
		return l, false, nil
	}
	e, cost, prepared, err := p.lockEntry(m)
	if err != nil {
		return nil, false, err
	}
	if p.closed {
		p.mu.Unlock()
		return nil, false, errClosed()
	}
	if e.state == yolo.Ready { // meanwhile
		l = p.lendLocked(e)
		p.mu.Unlock()
		return l, false, nil
	}
	if e.session == nil && e.state != yolo.Loading && e.state != yolo.Draining { // its cost is charged meanwhile
		e.learnt(cost, prepared)
	}
	var w *waiter
	if wait == 0 {
		err = p.joinAbsentLocked(e)
	} else {
		w, err = p.joinLocked(e)
	}
	if err == nil || wait == 0 {
		p.scheduleLocked()
	}
	timeout := p.o.LoadTimeout
	p.mu.Unlock()
	if err != nil {
		return nil, wait == 0, err
	}
	cause := errLoadTimeout
	if wait > 0 && (timeout <= 0 || wait < timeout) {
		timeout, cause = wait, errLoadWait
	}
	l, err = p.await(ctx, m.ID, e, w, timeout, cause)
	return l, true, err
}

// await waits for the answer to w, no longer than timeout, which has that cause; 0: as
// long as ctx.
func (p *Pool) await(ctx context.Context, id string, e *entry, w *waiter, timeout time.Duration, cause error) (*Lease, error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, cause)
		defer cancel()
	}
	select {
	case err := <-w.done:
		return w.lease, err
	case <-ctx.Done():
	}
	if p.leave(e, w) {
		// The answer came at the same moment: a lease goes back.
		if err := <-w.done; err == nil {
			w.lease.Release()
		}
	}
	switch context.Cause(ctx) {
	case errLoadTimeout:
		return nil, &yolo.Error{Code: yolo.Deadline, Model: id, Msg: "the model is still being loaded (LOAD_TIMEOUT)", Retry: time.Second}
	case errLoadWait:
		return nil, &yolo.Error{Code: yolo.Unavailable, Model: id, Msg: "the model is still being loaded, for longer than the caller waits", Retry: time.Second}
	}
	return nil, ctx.Err()
}

// joinAbsentLocked has a model loaded without waiting for it; its error tells the
// caller so, and when to ask again.
func (p *Pool) joinAbsentLocked(e *entry) error {
	if len(e.waiters) == 0 {
		w, err := p.joinLocked(e)
		if err != nil {
			return err
		}
		w.absent = true
	}
	retry := time.Second
	if e.prepared {
		retry = max(retry, p.expectLocked(e))
	}
	return &yolo.Error{Code: yolo.Unavailable, Model: e.model.ID, Msg: "the model is being loaded", Retry: retry}
}

// lend grants a lease of m if it is ready.
func (p *Pool) lend(m *yolo.Model) *Lease {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entries[m.ID]
	if p.closed || e == nil || e.state != yolo.Ready {
		return nil
	}
	return p.lendLocked(e)
}

// Why a wait for a load ended.
var (
	errLoadTimeout = errors.New("load timeout")
	errLoadWait    = errors.New("the caller waits no longer for a load")
)

// joinLocked lines a caller up for a model that is not ready.
func (p *Pool) joinLocked(e *entry) (*waiter, error) {
	if e.state == yolo.Failed {
		if wait := time.Until(e.retryAt); wait > 0 {
			return nil, withRetry(e.err, wait)
		}
		p.moveLocked(e, yolo.Unloaded, nil)
	}
	if p.o.MaxQueue > 0 && p.waiting >= p.o.MaxQueue {
		return nil, p.overloadedLocked(e)
	}
	p.refusing = p.refusing && p.waiting > p.o.MaxQueue/2
	p.yieldLocked(e)
	w := p.addWaiterLocked(e, false)
	if e.state == yolo.Unloaded {
		p.enqueueLocked(e)
	}
	return w, nil
}

// addWaiterLocked has somebody wait for e; absent: for no answer.
func (p *Pool) addWaiterLocked(e *entry, absent bool) *waiter {
	w := &waiter{since: time.Now(), done: make(chan error, 1), absent: absent}
	e.waiters = append(e.waiters, w)
	p.waiting++
	return w
}

func errOverloaded() error {
	return &yolo.Error{Code: yolo.Overloaded, Msg: "too many requests wait (MAX_QUEUE)", Retry: time.Second}
}

// withRetry says in a failed load's error when it is worth asking again.
func withRetry(err error, wait time.Duration) error {
	var known *yolo.Error
	if !errors.As(err, &known) || known.Final || known.Code == yolo.TooBig || known.Code == yolo.Unsupported {
		return err
	}
	again := *known
	again.Retry = wait
	return &again
}

// leave takes a caller out of the line; it reports whether an answer was sent
// already. A model that nobody waits for any more is not loaded.
func (p *Pool) leave(e *entry, w *waiter) (answered bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(e.waiters, w)
	if i < 0 {
		return true
	}
	e.waiters = slices.Delete(e.waiters, i, i+1)
	p.waiting--
	if len(e.waiters) == 0 && e.state == yolo.Queued {
		p.loads = slices.DeleteFunc(p.loads, func(o *entry) bool { return o == e })
		p.moveLocked(e, yolo.Unloaded, nil)
		p.scheduleLocked()
	}
	return false
}

// A Lease is the right to run one model; there is no other way to reach a
// Session. Release is idempotent; a lease must not be used after it.
type Lease struct {
	pool    *Pool
	entry   *entry
	session Session
	since   time.Time    // when it was asked for
	gentle  bool         // it waits for no memory and makes no room
	ran     atomic.Int64 // nanoseconds of the last run that ended well
	once    sync.Once
}

// lendLocked grants a lease of a ready model.
func (p *Pool) lendLocked(e *entry) *Lease {
	now := time.Now()
	p.leases++
	e.leases++
	p.provenLocked(e)
	e.keep = nil
	e.used(now)
	if p.o.Used != nil {
		p.o.Used(e.model, e.cost.Mapped+e.cost.Private, e.loadTook)
	}
	return &Lease{pool: p, entry: e, session: e.session, since: now}
}

// Model returns the model that was lent; its revision may be another than the one asked for.
func (l *Lease) Model() *yolo.Model { return l.entry.model }

// Inputs describes the model's inputs.
func (l *Lease) Inputs() []yolo.TensorInfo { return l.session.Inputs() }

// Outputs describes the model's outputs.
func (l *Lease) Outputs() []yolo.TensorInfo { return l.session.Outputs() }

// Metadata is what the weights file says of itself, under Ultralytics' keys.
func (l *Lease) Metadata() map[string]string { return l.session.Metadata() }

// Run runs the model, once there are cores for it, and hands the outputs to use, which
// must not keep them. A reservation must be held.
func (l *Lease) Run(ctx context.Context, in []yolo.Tensor, use func(out []yolo.Tensor) error) error {
	took, err := l.pool.run(ctx, l.entry, l.session, in, use)
	if err == nil {
		l.ran.Store(int64(took))
	}
	return err
}

// KeepAlive sets how long the model may stay in memory unused, 0 or more, or
// negative for ever, instead of what the model or the pool says. It holds until
// the model's next use.
func (l *Lease) KeepAlive(d time.Duration) {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	l.entry.keep = &d
}

// KeepAtLeast is KeepAlive for a time that may be shorter than what holds anyway.
func (l *Lease) KeepAtLeast(d time.Duration) {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	if keep := l.pool.keepLocked(l.entry); keep >= 0 && keep < d {
		l.entry.keep = &d
	}
}

// Release gives the model back.
func (l *Lease) Release() { l.once.Do(l.release) }

func (l *Lease) release() {
	p, e := l.pool, l.entry
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leases--
	e.leases--
	if took := l.ran.Load(); took > 0 && !l.gentle {
		e.runTook = time.Duration(took)
	}
	if e.leases == 0 {
		p.unusedLocked(e)
	}
	switch {
	case p.leases > 0:
	case p.closed:
		close(p.drained)
	default:
		p.restLocked()
	}
}

// unusedLocked is called when nobody uses e any more: a draining model closes, a
// ready one starts its keep-alive.
func (p *Pool) unusedLocked(e *entry) {
	switch {
	case e.state == yolo.Draining && !e.busy():
		p.closeLocked(e)
	case e.state == yolo.Ready:
		e.lastUsed = time.Now()
		if keep := p.keepLocked(e); keep >= 0 {
			p.keepForLocked(e, keep)
		}
	}
}
