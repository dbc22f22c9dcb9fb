package pool_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lazyolo/internal/ledger"
	"lazyolo/internal/pool"
	"lazyolo/yolo"
)

// clients ask for model "a" n at a time, each the given number of times.
func clients(t *testing.T, p *pool.Pool, n, times int) {
	t.Helper()
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			for range times {
				if err := request(t.Context(), p, "a", 1, 10*time.Millisecond); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// widthsSince returns the runs since it was last asked, by threads.
func (m *machine) widthsSince() map[int]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.widths
	m.widths = make(map[int]int)
	return was
}

func privateOf(p *pool.Pool) int64 { return p.Status()[0].Private }

func TestALoneRequestRunsWideAndACrowdNarrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 1000)
		m.costs["a"] = cost(100, 20)
		p := m.newPool(pool.Options{KeepAlive: -1, Cores: 4, Threads: 4, MaxRuns: 4})
		defer closePool(t, p)
		clients(t, p, 1, 5)
		if w := m.widthsSince(); w[4] != 5 || privateOf(p) != 10 {
			t.Errorf("alone: runs by threads %v, %d bytes private", w, privateOf(p))
		}
		clients(t, p, 2, 5)
		if w := m.widthsSince(); w[4] != 10 {
			t.Errorf("two that four cores are too many for: runs by threads %v", w)
		}
		clients(t, p, 8, 5)
		if w := m.widthsSince(); w[1] < 35 || privateOf(p) != 20 {
			t.Errorf("a crowd: runs by threads %v, %d bytes private", w, privateOf(p))
		}
		clients(t, p, 1, 5)
		if w := m.widthsSince(); w[4] != 5 || m.count("a") != 1 {
			t.Errorf("alone again: runs by threads %v, %d loads", w, m.count("a"))
		}
	})
}

func TestACrowdThatWaitsForALoadRunsNarrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 1000)
		m.costs["a"] = cost(100, 20)
		p := m.newPool(pool.Options{KeepAlive: -1, Cores: 2, Threads: 2, MaxRuns: 2})
		defer closePool(t, p)
		clients(t, p, 6, 1)
		if private := privateOf(p); m.widthsSince()[1] < 5 || private > 20 {
			t.Errorf("%d bytes private", private)
		}
	})
}

func TestWithoutMemoryForBothOneSessionGivesWayToTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 100+20+2*20+2+5) // pages, the peak of a load, two runs with their pictures, and 5
		m.costs["a"] = cost(100, 20)
		p := m.newPool(pool.Options{KeepAlive: -1, Cores: 2, Threads: 2, MaxRuns: 2, WorkingRoom: 35})
		defer closePool(t, p)
		for range 3 {
			clients(t, p, 1, 5)
			if w := m.widthsSince(); w[2] != 5 || privateOf(p) != 10 {
				t.Errorf("alone: runs by threads %v, %d bytes private", w, privateOf(p))
			}
			clients(t, p, 8, 5)
			if w := m.widthsSince(); w[1] < 35 || privateOf(p) != 10 {
				t.Errorf("a crowd: runs by threads %v, %d bytes private", w, privateOf(p))
			}
		}
		if n := m.count("a"); n != 1 {
			t.Errorf("%d loads", n)
		}
	})
}

func TestAModelThatCannotBeOpenedAgainIsLoadedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 100+20+2*20+2+5)
		m.costs["a"] = cost(100, 20)
		broken := true
		m.failMore = func(string, int) error {
			if broken {
				return errors.New("no threads")
			}
			return nil
		}
		m.costs["a"] = cost(100, 20)
		p := m.newPool(pool.Options{KeepAlive: -1, Cores: 2, Threads: 2, MaxRuns: 2, WorkingRoom: 35})
		defer closePool(t, p)
		clients(t, p, 1, 1) // open for two threads
		var failed atomic.Int64
		var all sync.WaitGroup
		for range 4 { // the first of them wants one thread
			all.Go(func() {
				err := request(t.Context(), p, "a", 1, 10*time.Millisecond)
				if err == nil {
					return
				}
				if code := yolo.CodeOf(err); code != yolo.Unavailable && code != yolo.LoadFailed && code != yolo.Internal {
					t.Errorf("%s: %v", code, err)
				}
				failed.Add(1)
			})
		}
		all.Wait()
		if failed.Load() == 0 {
			t.Error("nothing failed")
		}
		broken = false
		clients(t, p, 3, 3)
		if n := m.count("a"); n != 2 {
			t.Errorf("%d loads", n)
		}
		if private := m.ledger.Snapshot().Used[ledger.Private.String()]; private != privateOf(p) {
			t.Errorf("%d bytes of sessions in the ledger, %d in the status", private, privateOf(p))
		}
	})
}

func TestWhoLeavesTheLineForCoresHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 10000)
		m.costs["a"] = cost(100, 20)
		p := m.newPool(pool.Options{KeepAlive: -1, Cores: 1, Threads: 1})
		defer closePool(t, p)
		clients(t, p, 1, 1)
		start := time.Now()
		var all sync.WaitGroup
		run := func(ctx context.Context, wait time.Duration, want error) {
			all.Go(func() {
				<-time.After(wait)
				if err := request(ctx, p, "a", 1, time.Second); !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
			})
		}
		short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		run(t.Context(), 0, nil)
		run(short, 100*time.Millisecond, context.DeadlineExceeded)
		run(t.Context(), 200*time.Millisecond, nil)
		all.Wait()
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("two runs of a second took %v", took)
		}
	})
}

func TestThreadsBoundAWideRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 10000)
		m.costs["a"] = cost(100, 20)
		p := m.newPool(pool.Options{KeepAlive: -1, Cores: 8, Threads: 2, MaxRuns: 8})
		defer closePool(t, p)
		clients(t, p, 4, 5)
		if w := m.widthsSince(); w[2] != 20 {
			t.Errorf("four clients of eight cores: runs by threads %v", w)
		}
	})
}

func TestOneAtATimeRunsWideWhateverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 10000)
		m.costs["a"] = cost(100, 20)
		p := m.newPool(pool.Options{KeepAlive: -1, Cores: 2, Threads: 2, MaxRuns: 1})
		defer closePool(t, p)
		clients(t, p, 8, 3)
		if w := m.widthsSince(); w[2] != 24 {
			t.Errorf("runs by threads %v", w)
		}
	})
}
