package pool_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lazyolo/internal/pool"
	"lazyolo/yolo"
)

// TestStorms runs random schedules whose events collide: a lost waiter is a
// deadlock of the bubble, a byte too many an error of the machine.
//
// POOL_STORMS sets how many; the default keeps the race detector's run short.
func TestStorms(t *testing.T) {
	storms := 300
	if n, err := strconv.Atoi(os.Getenv("POOL_STORMS")); err == nil {
		storms = n
	}
	for seed := range storms {
		synctest.Test(t, func(t *testing.T) { storm(t, uint64(seed)) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func storm(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	m := newMachine(t, 400+int64(r.IntN(600)))
	m.base, m.slow = 50, time.Duration(r.IntN(3))*10*time.Millisecond
	m.load = time.Duration(1+r.IntN(5)) * 10 * time.Millisecond
	m.childOf, m.takes = make(map[string]int64), make(map[string]int64)
	for i := range 5 + r.IntN(4) {
		id := fmt.Sprint(i)
		m.costs[id] = cost(20+int64(r.IntN(120)), 10+int64(r.IntN(80)))
		if r.IntN(2) == 0 {
			m.takes[id] = m.costs[id].Run/2 + r.Int64N(m.costs[id].Run/2)
		}
		if r.IntN(3) == 0 {
			m.childOf[id] = 50 + int64(r.IntN(150))
		}
	}
	m.revisions, m.revised, m.bad = true, make(map[string]pool.Cost), make(map[string]bool)
	for id := range len(m.costs) {
		for rev := range 3 {
			of := fmt.Sprintf("%d@%d", id, rev)
			m.revised[of] = cost(20+int64(r.IntN(150)), 10+int64(r.IntN(80)))
			m.bad[of] = r.IntN(6) == 0
		}
	}
	if r.IntN(2) == 0 {
		m.residue = int64(r.IntN(15))
	}
	unlucky := r.IntN(8)
	m.fail = func(id string, n int) error {
		if n%3 == 0 && id == fmt.Sprint(unlucky) {
			return errors.New("bad luck")
		}
		return nil
	}
	o := pool.Options{
		KeepAlive: []time.Duration{-1, 0, 50 * time.Millisecond, time.Second}[r.IntN(4)], MinResident: 20 * time.Millisecond,
		WorkingRoom: 10, MaxRuns: r.IntN(4), Policy: []pool.Policy{pool.LRU, pool.CostAware}[r.IntN(2)], NeverEvict: r.IntN(6) == 0,
	}
	if r.IntN(3) > 0 {
		o.Cores = 1 + r.IntN(4)
		o.Threads = 1 + r.IntN(o.Cores)
		unlucky := r.IntN(16)
		m.failMore = func(id string, _ int) error {
			if id == fmt.Sprint(unlucky) {
				return errors.New("bad luck")
			}
			return nil
		}
	}
	if r.IntN(2) == 0 {
		o.Idle, o.IdleAfter = m.Shrink, 30*time.Millisecond
	}
	told := hooks(t, &o)
	told.revisions = true
	p := m.newPool(o)
	var callers sync.WaitGroup
	for range 12 {
		seed := r.Uint64()
		callers.Go(func() { caller(t, p, m, rand.New(rand.NewPCG(seed, 2))) })
	}
	callers.Wait()
	time.Sleep(time.Minute) // what is under way ends
	used := m.ledger.Snapshot().Used
	for _, s := range p.Status() {
		used["private"] -= s.Private
		used["mapped"] -= s.Mapped
	}
	if used["loading"] != 0 || used["preparing"] != 0 || used["private"] != 0 || used["mapped"] != 0 {
		t.Errorf("nothing is under way; the ledger without what the status says: %v", used)
	}
	closePool(t, p)
	if n := m.open(); n != 0 {
		t.Errorf("%d sessions left open", n)
	}
	if told.made[yolo.Loaded] != told.transitions[yolo.Ready] || told.made[yolo.Closed] != told.transitions[yolo.Draining] {
		t.Errorf("decided %v, became %v", told.made, told.transitions)
	}
}

// caller makes a few requests of every kind.
func caller(t *testing.T, p *pool.Pool, m *machine, r *rand.Rand) {
	for range 8 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		if r.IntN(4) == 0 {
			ctx, cancel = context.WithTimeout(t.Context(), time.Duration(r.IntN(10))*10*time.Millisecond)
		}
		id := fmt.Sprint(min(r.IntN(8), r.IntN(8)) % len(m.costs))
		switch r.IntN(24) {
		case 0:
			if err := p.Pin(model(id)); err != nil && yolo.CodeOf(err) != yolo.NoRoom && yolo.CodeOf(err) != yolo.NotFound {
				t.Error(err)
			}
		case 1, 2:
			p.Unpin(model(id))
		case 4:
			if _, err := p.Ahead(ctx, model(id)); err != nil && !errors.Is(err, pool.ErrMemory) {
				allowed(t, err)
			}
		case 5:
			m.forget(id)
		case 8:
			_ = p.Plan(model(id), []yolo.Action{yolo.Load, yolo.Unload, yolo.Pin, yolo.Unpin}[r.IntN(4)])
			if l, _, err := p.AcquireWithin(ctx, model(id), 0); err == nil {
				l.Release()
			} else if yolo.CodeOf(err) != yolo.Unavailable && yolo.CodeOf(err) != yolo.NotFound {
				allowed(t, err)
			}
		case 9, 10:
			revise(ctx, t, p, id, fmt.Sprint(r.IntN(3)))
		case 11:
			p.Remove(model(id))
			time.Sleep(time.Duration(r.IntN(4)) * 10 * time.Millisecond)
			revise(ctx, t, p, id, "")
		case 12:
			if err := p.Prepare(ctx, model(id)); err != nil {
				allowed(t, err)
			}
		case 6, 7:
			guess(ctx, t, p, id, r.IntN(2) == 0)
		case 3:
			if err := p.Unload(ctx, model(id)); err != nil && ctx.Err() == nil && yolo.CodeOf(err) != yolo.Conflict {
				t.Error(err)
			}
		default:
			work := int64(1 + r.IntN(10))
			if r.IntN(10) == 0 {
				work = m.budget / 2
			}
			m := model(id)
			if d := []time.Duration{-1, 0, 30 * time.Millisecond}; r.IntN(4) == 0 {
				m.KeepAlive = &d[r.IntN(3)]
			}
			if err := requestOf(ctx, p, m, work, time.Duration(r.IntN(4))*10*time.Millisecond); err != nil {
				allowed(t, err)
			}
		}
		cancel()
		time.Sleep(time.Duration(r.IntN(4)) * 10 * time.Millisecond)
	}
}

// revise puts another revision of a model in force.
func revise(ctx context.Context, t *testing.T, p *pool.Pool, id, rev string) {
	err := p.Replace(ctx, &yolo.Model{ID: id, Rev: rev})
	if err != nil && yolo.CodeOf(err) != yolo.Conflict {
		allowed(t, err)
	}
}

// guess loads a model that nobody asked for, perhaps with a warming run.
func guess(ctx context.Context, t *testing.T, p *pool.Pool, id string, warm bool) {
	l, err := p.Speculate(ctx, model(id))
	if errors.Is(err, pool.ErrBusy) || errors.Is(err, pool.ErrFull) || errors.Is(err, pool.ErrNotPrepared) {
		return
	}
	if err != nil {
		allowed(t, err)
	}
	if l == nil {
		return
	}
	defer l.Release()
	if !warm {
		return
	}
	room, err := l.Reserve(ctx, 5, 1)
	if errors.Is(err, pool.ErrBusy) {
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	defer room.Release()
	if err := l.Run(context.WithValue(ctx, job{}, job{10 * time.Millisecond, 5}), nil, func([]yolo.Tensor) error { return nil }); err != nil {
		allowed(t, err)
	}
}

// allowed are the refusals that a storm provokes.
func allowed(t *testing.T, err error) {
	switch yolo.CodeOf(err) {
	case yolo.Deadline, yolo.Canceled, yolo.TooBig, yolo.NoRoom, yolo.TooLarge, yolo.NotFound:
	default:
		if err.Error() != "bad luck" && err.Error() != "bad revision" && !errors.Is(err, pool.ErrNotPrepared) && !errors.Is(err, pool.ErrMemory) {
			t.Error(err)
		}
	}
}
