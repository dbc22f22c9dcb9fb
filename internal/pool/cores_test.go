package pool_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lazyolo/internal/pool"
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

// privateOf is what model "a" holds beside its pages.
func privateOf(p *pool.Pool) int64 {
	for _, s := range p.Status() {
		if s.Model.ID == "a" {
			return s.Private
		}
	}
	return 0
}

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

func TestWithoutMemoryForASecondSessionACrowdRunsWide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 100+10+2*20+2+9) // pages, a session, two runs with their pictures
		m.costs["a"] = pool.Cost{Mapped: 100, Private: 10, LoadPeak: 10, Run: 20, Pixels: 1}
		p := m.newPool(pool.Options{KeepAlive: -1, Cores: 2, Threads: 2, MaxRuns: 2})
		defer closePool(t, p)
		clients(t, p, 8, 5)
		if w := m.widthsSince(); w[2] != 40 || privateOf(p) != 10 {
			t.Errorf("runs by threads %v, %d bytes private", w, privateOf(p))
		}
	})
}

// The pages of an idle model go for the second session of one that a crowd asks for.
func TestPagesGiveWayToASecondSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 100+50+2*10+2*20+2+9)
		m.costs["a"] = pool.Cost{Mapped: 100, Private: 10, LoadPeak: 10, Run: 20, Pixels: 1}
		m.costs["b"] = pool.Cost{Mapped: 50, Private: 10, LoadPeak: 10, Run: 20, Pixels: 1}
		p := m.newPool(pool.Options{KeepAlive: -1, Cores: 2, Threads: 2, MaxRuns: 2})
		defer closePool(t, p)
		for _, id := range []string{"b", "a"} {
			if err := request(t.Context(), p, id, 1, time.Millisecond); err != nil {
				t.Fatal(err)
			}
		}
		clients(t, p, 8, 5)
		if w := m.widthsSince(); w[1] < 30 || privateOf(p) != 20 || m.open() != 2 {
			t.Errorf("runs by threads %v, %d bytes private, %d open", w, privateOf(p), m.open())
		}
	})
}

// A second session goes before a request is refused or a model closed.
func TestASecondSessionGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 50+60+60+2*20+2+3)
		m.costs["a"] = pool.Cost{Mapped: 50, Private: 60, LoadPeak: 60, Run: 20, Pixels: 1}
		p := m.newPool(pool.Options{KeepAlive: -1, Cores: 2, Threads: 2, MaxRuns: 2, NeverEvict: true})
		defer closePool(t, p)
		clients(t, p, 2, 3)
		if private := privateOf(p); private != 120 {
			t.Fatalf("%d bytes private: nothing is tested", private)
		}
		if err := request(t.Context(), p, "a", 80, time.Millisecond); err != nil {
			t.Error(err)
		}
		if private := privateOf(p); private != 60 {
			t.Errorf("%d bytes private", private)
		}
		if n := m.count("a"); n != 1 {
			t.Errorf("%d loads", n)
		}
	})
}

// Where memory allows one run at a time, that one has all cores.
func TestACrowdThatWaitsForMemoryRunsWide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 100+2*10+30+2)
		m.costs["a"] = pool.Cost{Mapped: 100, Private: 10, LoadPeak: 10, Run: 20, Pixels: 1}
		p := m.newPool(pool.Options{KeepAlive: -1, Cores: 2, Threads: 2, MaxRuns: 2})
		defer closePool(t, p)
		clients(t, p, 8, 5)
		if w := m.widthsSince(); w[2] != 40 {
			t.Errorf("runs by threads %v", w)
		}
	})
}

func TestAnIdleServerShutsSecondSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 1000)
		m.costs["a"] = cost(100, 20)
		p := m.newPool(pool.Options{KeepAlive: -1, Cores: 2, Threads: 2, MaxRuns: 2, Idle: m.Shrink, IdleAfter: time.Second})
		defer closePool(t, p)
		clients(t, p, 4, 3)
		before := privateOf(p)
		<-time.After(time.Minute)
		if after := privateOf(p); before != 20 || after != 10 {
			t.Errorf("%d bytes private, idle %d", before, after)
		}
	})
}

func TestASecondSessionThatCannotBeOpenedIsDoneWithout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 1000)
		m.load = 10 * time.Millisecond
		m.costs["a"] = cost(100, 20)
		tries := 0
		m.failMore = func(string, int) error { tries++; return errors.New("no threads") }
		p := m.newPool(pool.Options{KeepAlive: -1, Cores: 2, Threads: 2, MaxRuns: 2})
		defer closePool(t, p)
		clients(t, p, 4, 25) // of 10 ms each
		if w := m.widthsSince(); w[2] != 100 || tries < 1 || tries > 3 {
			t.Errorf("runs by threads %v, %d tries", w, tries)
		}
		if used := m.ledger.Snapshot().Used; used["loading"] != 0 || used["private"] != 10 {
			t.Errorf("ledger %v", used)
		}
	})
}

// A model that is closed while its second session is being shut waits for that.
func TestClosingWaitsForShutting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 1000)
		m.shuts = time.Second
		m.costs["a"] = cost(100, 20)
		p := m.newPool(pool.Options{KeepAlive: -1, Cores: 2, Threads: 2, MaxRuns: 2, Idle: func() {}, IdleAfter: time.Second})
		defer closePool(t, p)
		clients(t, p, 4, 3)
		<-time.After(1500 * time.Millisecond) // idle: it is being shut
		if err := p.Unload(t.Context(), model("a")); err != nil {
			t.Error(err)
		}
		if n := m.open(); n != 0 {
			t.Errorf("%d open", n)
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

func TestWidths(t *testing.T) {
	for _, tt := range []struct {
		what                    string
		cores, threads, maxRuns int
		clients, width          int
	}{
		{"THREADS bounds a wide run", 8, 2, 8, 4, 2},
		{"one at a time runs wide, whatever waits", 2, 2, 1, 8, 2},
		{"one core", 1, 1, 1, 4, 1},
		{"THREADS=1", 4, 1, 4, 1, 1},
	} {
		t.Run(tt.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine(t, 10000)
				m.costs["a"] = cost(100, 20)
				p := m.newPool(pool.Options{KeepAlive: -1, Cores: tt.cores, Threads: tt.threads, MaxRuns: tt.maxRuns})
				defer closePool(t, p)
				clients(t, p, tt.clients, 5)
				if w := m.widthsSince(); w[tt.width] != 5*tt.clients || privateOf(p) != 10 {
					t.Errorf("runs by threads %v, %d bytes private", w, privateOf(p))
				}
			})
		})
	}
}
