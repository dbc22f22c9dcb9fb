package pool_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lazyolo/internal/pool"
)

func TestCoolingComesBeforeClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 300)
		m.costs["a"], m.costs["b"], m.costs["c"] = cost(100, 50), cost(100, 50), cost(100, 50)
		p := m.newPool(pool.Options{KeepAlive: -1})
		for range 3 {
			for _, id := range []string{"a", "b", "c"} {
				if err := request(t.Context(), p, id, 5, time.Second); err != nil {
					t.Fatal(err)
				}
			}
		}
		for id := range m.costs {
			if n := m.count(id); n != 1 {
				t.Errorf("%s was loaded %d times: room was made by closing", id, n)
			}
		}
		closePool(t, p)
	})
}

// What the arena does not give back is not asked for again and again: the pages of
// another model make up for it.
func TestAnArenaThatKeepsARest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 300)
		m.residue = 5
		m.costs["a"], m.costs["b"] = cost(90, 10), cost(90, 10) // 99 each, and a rest of 5
		p := m.newPool(pool.Options{KeepAlive: -1, IdleAfter: time.Second})
		for _, work := range []int64{1, 96} {
			for _, id := range []string{"a", "b"} {
				if err := request(t.Context(), p, id, work, time.Second); err != nil {
					t.Fatal(err)
				}
			}
		}
		if m.count("a") != 1 || m.count("b") != 1 {
			t.Error("a model was closed")
		}
		closePool(t, p)
	})
}

// When nothing is used, all give their pages back, but pinned ones.
func TestIdleModelsAreCooled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 1000)
		m.costs["a"], m.costs["b"], m.costs["c"] = cost(100, 50), cost(100, 50), cost(100, 50)
		p := m.newPool(pool.Options{KeepAlive: -1, IdleAfter: 5 * time.Second, Idle: m.Shrink})
		if err := p.Pin(model("c")); err != nil {
			t.Fatal(err)
		}
		for id := range m.costs {
			if err := request(t.Context(), p, id, 5, time.Second); err != nil {
				t.Fatal(err)
			}
		}
		warm := func() (n int) {
			for _, s := range p.Status() {
				if s.Warm {
					n++
				}
			}
			return n
		}
		if n := warm(); n != 3 {
			t.Errorf("%d warm at once", n)
		}
		l, _, err := p.Acquire(t.Context(), model("a"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := warm(); n != 3 {
			t.Errorf("%d warm while one is in use", n)
		}
		l.Release()
		time.Sleep(6 * time.Second)
		if n := warm(); n != 1 || m.open() != 3 {
			t.Errorf("%d warm at rest, %d open", n, m.open())
		}
		if used := m.ledger.Snapshot().Used; used["mapped"] != 100 || used["working"]+used["running"] != 0 {
			t.Errorf("held at rest: %v", used)
		}
		closePool(t, p)
	})
}

// Where pages cannot be given back, closing takes the place of cooling.
func TestModelsThatCannotBeCooledAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 300)
		m.rigid = true
		m.costs["a"], m.costs["b"], m.costs["c"] = cost(100, 50), cost(100, 50), cost(100, 50)
		p := m.newPool(pool.Options{KeepAlive: -1, IdleAfter: time.Second, Idle: m.Shrink})
		for range 3 {
			for id := range m.costs {
				if err := request(t.Context(), p, id, 5, time.Second); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := m.open(); n > 2 {
			t.Errorf("%d sessions are open", n)
		}
		closePool(t, p)
	})
}

// Runs beside each other may take more of the arena than the sum of what each takes
// alone; once that was seen, more is reserved.
func TestGapsInTheArenaAreLearnt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 1000)
		m.gaps = 30
		m.costs["a"] = cost(100, 50)
		p := m.newPool(pool.Options{KeepAlive: -1, IdleAfter: 5 * time.Second, Idle: m.Shrink})
		reserved := func() int64 {
			var all sync.WaitGroup
			for range 2 {
				all.Go(func() {
					if err := request(t.Context(), p, "a", 1, time.Second); err != nil {
						t.Error(err)
					}
				})
			}
			time.Sleep(500 * time.Millisecond)
			defer all.Wait()
			return m.ledger.Snapshot().Used["running"]
		}
		if err := request(t.Context(), p, "a", 1, time.Second); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second) // the arena is empty
		if n := reserved(); n != 106 {
			t.Errorf("%d reserved for two runs", n)
		}
		time.Sleep(10 * time.Second)
		if n := reserved(); n < 128 || n > 135 {
			t.Errorf("%d reserved for two runs that take 130", n)
		}
		closePool(t, p)
	})
}
