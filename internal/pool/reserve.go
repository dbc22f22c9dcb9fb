package pool

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"lazyolo/yolo"
)

// A request waits for working memory.
type request struct {
	entry  *entry
	lease  *Lease    // nil: nobody's
	since  time.Time // when its model was asked for
	work   int64     // pictures and tensors, in bytes
	run    int64     // arena, in bytes
	pixels int64     // of the run's input
	aside  bool      // it runs no model
	done   chan error
}

// A Reservation is working memory. Release must be called once.
type Reservation struct {
	pool *Pool
	of   *request
}

// Reserve gets the memory for one picture in one piece: work bytes for decoding
// and tensors, what a run over an input of the given pixels takes, and the model's
// mapped pages if they were given back. It waits in line behind other requests,
// never for a load. What can never fit is refused at once, TooLarge.
func (l *Lease) Reserve(ctx context.Context, work, pixels int64) (*Reservation, error) {
	r := &request{entry: l.entry, lease: l, since: l.since, work: work, pixels: pixels, done: make(chan error, 1)}
	return l.pool.reserve(ctx, r, l.gentle)
}

// Reserve gets memory for work that runs no model, such as drawing a picture. It
// waits in the same line, but does not count against MaxRuns.
func (p *Pool) Reserve(ctx context.Context, work int64) (*Reservation, error) {
	e := &entry{model: &yolo.Model{}, warm: true} // nobody's
	return p.reserve(ctx, &request{entry: e, since: time.Now(), work: work, aside: true, done: make(chan error, 1)}, false)
}

// reserve grants r when its turn has come; a gentle caller does not wait.
func (p *Pool) reserve(ctx context.Context, r *request, gentle bool) (*Reservation, error) {
	granted := &Reservation{p, r}
	if now, err := p.lineUp(r, gentle); now || err != nil {
		return granted, err
	}
	select {
	case err := <-r.done:
		return granted, err
	case <-ctx.Done():
	}
	p.mu.Lock()
	i := slices.Index(p.working, r)
	if i >= 0 {
		p.working = slices.Delete(p.working, i, i+1)
		p.waiting--
		p.scheduleLocked()
	}
	p.mu.Unlock()
	if i < 0 && <-r.done == nil { // granted at the same moment
		granted.Release()
	}
	return nil, ctx.Err()
}

// lineUp grants r at once if it can, and puts it in line if not.
func (p *Pool) lineUp(r *request, gentle bool) (granted bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !r.aside {
		r.run = r.entry.cost.runAt(r.pixels)
	}
	switch {
	case len(p.working) == 0 && p.grantLocked(r):
		return true, nil
	case gentle:
		return false, ErrBusy
	case p.o.MaxQueue > 0 && p.waiting >= p.o.MaxQueue:
		return false, p.overloadedLocked(r.entry)
	}
	p.refusing = p.refusing && p.waiting > p.o.MaxQueue/2
	p.yieldLocked(r.entry)
	// Who asked for its model first comes first: a wait for a load is not followed by
	// one behind all who came meanwhile.
	at, _ := slices.BinarySearchFunc(p.working, r, func(a, b *request) int {
		return cmp.Or(a.since.Compare(b.since), -1) // behind its equals
	})
	p.working = slices.Insert(p.working, at, r)
	p.waiting++
	p.scheduleLocked()
	return false, nil
}

// maxRan bounds the input sizes of a model whose runs are remembered.
const maxRan = 16

// learnLocked notes what r's run took, if that can be known: it found the arena empty,
// nothing ran beside it and nothing was taken away, so what is held now is its own.
func (p *Pool) learnLocked(r *request) {
	if p.alone != r {
		return
	}
	p.alone = nil
	e := r.entry
	took := p.o.Memory.Held()
	if took <= 0 || r.lease.ran.Load() == 0 || took == e.cost.Ran[r.pixels] || len(e.cost.Ran) >= maxRan && e.cost.Ran[r.pixels] == 0 {
		return
	}
	ran := maps.Clone(e.cost.Ran) // what was handed out is not changed
	if ran == nil {
		ran = make(map[int64]int64)
	}
	ran[r.pixels] = took
	e.cost.Ran = ran
}

// Release gives the working memory back.
func (v *Reservation) Release() {
	p, r := v.pool, v.of
	p.mu.Lock()
	defer p.mu.Unlock()
	r.entry.running--
	p.active--
	if !r.aside {
		p.running--
	}
	p.learnLocked(r)
	p.runs.release(r.run)
	p.works.release(r.work)
	p.residue = 0
	if time.Since(p.observed) > observeEvery {
		p.observeLocked()
	} else {
		p.countLocked()
	}
	p.scheduleLocked()
}
