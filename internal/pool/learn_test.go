package pool_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lazyolo/internal/pool"
	"lazyolo/yolo"
)

// A pool over one model whose runs take less than predicted.
func learning(t *testing.T) (*machine, *pool.Pool) {
	m := newMachine(t, 1000)
	m.costs["a"], m.takes = cost(100, 80), map[string]int64{"a": 32}
	return m, m.newPool(pool.Options{KeepAlive: -1, IdleAfter: time.Second, Idle: m.Shrink})
}

// reserved borrows the one model, with the memory for a run.
func reserved(t *testing.T, p *pool.Pool) (*pool.Lease, *pool.Reservation) {
	t.Helper()
	l, _, err := p.Acquire(t.Context(), model("a"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Reserve(t.Context(), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	return l, r
}

// ran is what the pool knows of the runs of the one model.
func ran(t *testing.T, p *pool.Pool) map[int64]int64 {
	t.Helper()
	all := p.Status()
	if len(all) != 1 {
		t.Fatalf("%d models", len(all))
	}
	return all[0].Ran
}

func TestARunTeachesWhatItTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := learning(t)
		if err := request(t.Context(), p, "a", 1, time.Second); err != nil {
			t.Fatal(err)
		}
		if got := ran(t, p)[1]; got != 32 {
			t.Errorf("learnt %d", got)
		}
		time.Sleep(2 * time.Second) // the arena is shrunk
		l, r := reserved(t, p)
		if got := m.ledger.Snapshot().Used["running"]; got != 34 {
			t.Errorf("%d are reserved for a run that takes 32", got)
		}
		r.Release()
		l.Release()
		closePool(t, p)
	})
}

func TestWhatTeachesNothing(t *testing.T) {
	for name, use := range map[string]func(t *testing.T, p *pool.Pool){
		"runs beside each other": func(t *testing.T, p *pool.Pool) {
			var all sync.WaitGroup
			for range 2 {
				all.Go(func() {
					if err := request(t.Context(), p, "a", 1, time.Second); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
		},
		"a run that fails": func(t *testing.T, p *pool.Pool) {
			l, r := reserved(t, p)
			defer l.Release()
			defer r.Release()
			failed := errors.New("failed")
			if err := l.Run(context.Background(), nil, func([]yolo.Tensor) error { return failed }); !errors.Is(err, failed) {
				t.Error(err)
			}
		},
		"no run": func(t *testing.T, p *pool.Pool) {
			l, r := reserved(t, p)
			defer l.Release()
			r.Release()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, p := learning(t)
				use(t, p)
				if got := ran(t, p); got != nil {
					t.Errorf("learnt %v", got)
				}
				closePool(t, p)
			})
		})
	}
}

// What is known from before is used, and stays known.
func TestWhatWasLearntBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := learning(t)
		c := m.costs["a"]
		c.Ran = map[int64]int64{4: 64}
		m.costs["a"] = c
		if err := request(t.Context(), p, "a", 1, time.Second); err != nil {
			t.Fatal(err)
		}
		if got := ran(t, p); got[1] != 32 || got[4] != 64 || len(c.Ran) != 1 {
			t.Errorf("known %v, handed out %v", got, c.Ran)
		}
		closePool(t, p)
	})
}
