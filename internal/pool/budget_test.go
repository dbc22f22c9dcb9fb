package pool_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lazyolo/internal/pool"
	"lazyolo/yolo"
)

// request does what one request does: lease, reservation, a run of d.
func request(ctx context.Context, p *pool.Pool, id string, work int64, d time.Duration) error {
	return requestOf(ctx, p, model(id), work, d)
}

// requestOf is request with the model's keep-alive as the request's.
func requestOf(ctx context.Context, p *pool.Pool, m *yolo.Model, work int64, d time.Duration) error {
	l, _, err := p.Acquire(ctx, &yolo.Model{ID: m.ID})
	if err != nil {
		return err
	}
	defer l.Release()
	if m.KeepAlive != nil {
		l.KeepAlive(*m.KeepAlive)
	}
	r, err := l.Reserve(ctx, work, 1)
	if err != nil {
		return err
	}
	defer r.Release()
	return l.Run(context.WithValue(ctx, job{}, job{d, work}), nil, func([]yolo.Tensor) error { return nil })
}

// cost is a model of mapped and run bytes with a private tenth.
func cost(mapped, run int64) pool.Cost {
	return pool.Cost{Mapped: mapped, Private: mapped / 10, LoadPeak: mapped / 5, Run: run, Pixels: 1}
}

func TestClosingMakesRoomWhenCoolingCannot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 200)
		for i := range 10 { // 10 private each: not all fit beside 100+50+5
			m.costs[fmt.Sprint(i)] = cost(100, 50)
		}
		p := m.newPool(pool.Options{KeepAlive: -1, WorkingRoom: 5})
		for range 2 {
			for i := range 10 {
				if err := request(t.Context(), p, fmt.Sprint(i), 5, time.Second); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := m.open(); n == 0 || n > 4 {
			t.Errorf("%d sessions open", n)
		}
		closePool(t, p)
	})
}

func TestNeverEvictRefusesWithTheArithmetic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 200<<20)
		m.costs["a"], m.costs["b"] = cost(20<<20, 50<<20), cost(20<<20, 50<<20)
		for _, id := range []string{"a", "b"} {
			c := m.costs[id]
			c.Private = 70 << 20
			m.costs[id] = c
		}
		p := m.newPool(pool.Options{KeepAlive: -1, NeverEvict: true})
		if err := request(t.Context(), p, "a", 0, time.Second); err != nil {
			t.Fatal(err)
		}
		err := request(t.Context(), p, "b", 0, time.Second)
		if err == nil || yolo.CodeOf(err) != yolo.NoRoom || m.count("a") != 1 {
			t.Errorf("got %v", err)
		}
		if err := request(t.Context(), p, "a", 0, time.Second); err != nil {
			t.Errorf("the one in memory must go on serving: %v", err)
		}
		closePool(t, p)
	})
}

func TestWhatCanNeverFitIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 200)
		m.costs["big"], m.costs["small"] = cost(200, 50), cost(50, 50)
		p := m.newPool(pool.Options{KeepAlive: -1})
		start := time.Now()
		if err := request(t.Context(), p, "big", 0, 0); yolo.CodeOf(err) != yolo.TooBig || time.Since(start) > 0 {
			t.Errorf("a model: %v after %v", err, time.Since(start))
		}
		if err := request(t.Context(), p, "small", 200, 0); yolo.CodeOf(err) != yolo.TooLarge {
			t.Errorf("a picture: %v", err)
		}
		if err := request(t.Context(), p, "small", 90, 0); err != nil {
			t.Errorf("a picture of half the budget: %v", err)
		}
		closePool(t, p)
	})
}

func TestPreparingGetsMoreRoomWhenItNeedsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 300)
		m.costs["a"], m.childOf = cost(50, 50), map[string]int64{"a": 120, "huge": 400}
		p := m.newPool(pool.Options{KeepAlive: -1})
		if err := request(t.Context(), p, "a", 0, 0); err != nil {
			t.Error(err)
		}
		if err := request(t.Context(), p, "huge", 0, 0); err == nil {
			t.Error("prepared beyond the budget")
		}
		closePool(t, p)
	})
}

func TestPinnedModelsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 380)
		for i := range 6 {
			m.costs[fmt.Sprint(i)] = cost(100, 50)
		}
		p := m.newPool(pool.Options{KeepAlive: time.Second, WorkingRoom: 5})
		if err := p.Pin(model("0")); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			for i := range 6 {
				if err := request(t.Context(), p, fmt.Sprint(i), 5, time.Second); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
			}
		}
		if n := m.count("0"); n != 1 {
			t.Errorf("the pinned model was loaded %d times", n)
		}
		for _, s := range p.Status() {
			if s.Model.ID == "0" && (!s.Warm || !s.Pinned) {
				t.Errorf("pinned: %+v", s)
			}
		}
		if err := p.Pin(model("1")); err != nil {
			t.Error(err)
		}
		if err := p.Pin(model("2")); yolo.CodeOf(err) != yolo.NoRoom {
			t.Errorf("pins that leave no room to work: %v", err)
		}
		closePool(t, p)
	})
}

// Pins leave room for another model to be loaded and run, also for one that was
// never asked for.
func TestPinsLeaveRoomForTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 400)
		all := []*yolo.Model{model("0"), model("1"), model("2"), model("large")}
		for _, y := range all {
			m.costs[y.ID] = cost(50, 20)
		}
		m.costs["large"] = cost(200, 50) // 270 with its run
		p := m.newPool(pool.Options{KeepAlive: -1, Costs: func() map[string]pool.Cost { return m.costs }})
		for i, want := range []yolo.Code{"", "", yolo.NoRoom} {
			id := fmt.Sprint(i)
			if plan := p.Plan(model(id), yolo.Pin); plan.Err == nil != (want == "") {
				t.Errorf("pin %s is planned: %v", id, plan.Err)
			}
			if err := p.Pin(model(id)); err != nil && yolo.CodeOf(err) != want || err == nil && want != "" {
				t.Errorf("pin %s: %v", id, err)
			}
		}
		for _, y := range all {
			if err := request(t.Context(), p, y.ID, 0, time.Second); err != nil {
				t.Error(err)
			}
		}
		closePool(t, p)
	})
}

func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 400)
		m.costs["a"], m.costs["b"] = cost(100, 50), cost(100, 50)
		p := m.newPool(pool.Options{KeepAlive: time.Minute})
		use := func(id string) {
			t.Helper()
			if err := request(t.Context(), p, id, 0, 0); err != nil {
				t.Fatal(err)
			}
		}
		use("a")
		time.Sleep(40 * time.Second)
		use("b")
		use("a")
		time.Sleep(59 * time.Second)
		if n := m.open(); n != 2 {
			t.Errorf("%d open before the keep-alives ended", n)
		}
		time.Sleep(3 * time.Second)
		if n := m.open(); n != 0 {
			t.Errorf("%d open after the keep-alives ended", n)
		}
		closePool(t, p)
	})
}

// A limit lowered while the server runs is kept as soon as what is in use allows.
func TestTheBudgetIsLowered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 700)
		for i := range 5 {
			m.costs[fmt.Sprint(i)] = cost(100, 20)
		}
		p := m.newPool(pool.Options{KeepAlive: -1, MinResident: 250 * time.Millisecond})
		for id := range m.costs {
			if err := request(t.Context(), p, id, 1, time.Second); err != nil {
				t.Fatal(err)
			}
		}
		lower := func(budget int64) {
			m.ledger.SetBudget(budget)
			p.BudgetChanged()
			synctest.Wait()
			m.mu.Lock()
			defer m.mu.Unlock()
			m.budget = budget
			m.checkLocked("lowered")
		}
		lower(300) // cooling suffices
		if n := m.open(); n != 5 {
			t.Errorf("%d sessions open", n)
		}
		lower(30) // some must close
		if n := m.open(); n == 0 || n > 3 {
			t.Errorf("%d sessions open", n)
		}
		if err := request(t.Context(), p, "0", 1, 0); err == nil {
			t.Error("served beyond the budget")
		}
		lower(400)
		for id := range m.costs {
			if err := request(t.Context(), p, id, 1, time.Second); err != nil {
				t.Error(err)
			}
		}
		closePool(t, p)
	})
}

// Ten thousand callers wait for a load and for memory, and all leave: nothing is left
// of them, and the next one is served.
func TestTenThousandCallersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 300)
		m.costs["a"], m.costs["b"] = cost(100, 60), cost(100, 60)
		p := m.newPool(pool.Options{KeepAlive: -1, MaxRuns: 1, IdleAfter: time.Second, Idle: m.Shrink})
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for i := range 10_000 {
			all.Go(func() {
				if err := request(ctx, p, []string{"a", "b"}[i%2], 100, time.Hour); err == nil && ctx.Err() == nil {
					t.Error("served in no time")
				}
			})
		}
		time.Sleep(10 * time.Second) // both are loaded, one runs, the others wait for memory
		cancel()
		if err := request(t.Context(), p, "b", 100, time.Second); err != nil {
			t.Error(err)
		}
		all.Wait()
		time.Sleep(2 * time.Second)
		if loads, working := p.Queue(); loads != 0 || working != 0 {
			t.Errorf("%d wait for a load, %d for memory", loads, working)
		}
		if used := m.ledger.Snapshot().Used; used["working"]+used["running"]+used["loading"]+used["mapped"] != 0 {
			t.Errorf("held: %v", used)
		}
		closePool(t, p)
	})
}

func TestUnloadWaitsForTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 400)
		m.slow = time.Second
		m.costs["a"] = cost(100, 50)
		p := m.newPool(pool.Options{KeepAlive: -1})
		if err := p.Load(t.Context(), model("a")); err != nil {
			t.Fatal(err)
		}
		l, _, err := p.Acquire(t.Context(), model("a"))
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(5*time.Second, l.Release)
		start := time.Now()
		if err := p.Unload(t.Context(), model("a")); err != nil || m.open() != 0 || time.Since(start) != 6*time.Second {
			t.Errorf("%v after %v, %d open", err, time.Since(start), m.open())
		}
		if err := p.Unload(t.Context(), model("a")); err != nil {
			t.Error(err)
		}
		closePool(t, p)
	})
}

// A cold model is served within the rest of the victims' residence, the longest
// request and its load, however hot the others are (llama-swap#612).
func TestHotModelsDoNotStarveAColdOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 260)
		m.costs["hot1"], m.costs["hot2"], m.costs["cold"] = cost(100, 20), cost(100, 20), cost(100, 20)
		for id, c := range m.costs { // privates so big that only two fit: closing is needed
			c.Private = 60
			m.costs[id] = c
		}
		m.load = 100 * time.Millisecond
		p := m.newPool(pool.Options{KeepAlive: -1, MinResident: 250 * time.Millisecond})
		ctx, cancel := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		longest := make([]time.Duration, 8) // request of each client
		for i := range longest {
			clients.Go(func() {
				for ctx.Err() == nil {
					asked := time.Now()
					err := request(ctx, p, []string{"hot1", "hot2"}[i%2], 1, 300*time.Millisecond)
					longest[i] = max(longest[i], time.Since(asked))
					if err != nil && ctx.Err() == nil {
						t.Error(err)
						return
					}
				}
			})
		}
		time.Sleep(5 * time.Second)
		start := time.Now()
		if err := request(ctx, p, "cold", 1, 0); err != nil {
			t.Error(err)
		}
		waited := time.Since(start)
		cancel()
		clients.Wait()
		// The memory lets one run at a time, so a request takes eight of them and more.
		if most := slices.Max(longest) + m.load + 100*time.Millisecond; waited > most {
			t.Errorf("the cold model waited %v, longer than %v", waited, most)
		}
		closePool(t, p)
	})
}

// A model is chosen to make room at the very moment at which its keep-alive ends, or
// just before or after, while it is slow to close (ollama#17408: both wait for ever).
func TestRoomIsNeededAsAKeepAliveEnds(t *testing.T) {
	for _, early := range []time.Duration{-time.Millisecond, 0, time.Millisecond} {
		for _, used := range []bool{false, true} {
			t.Run(fmt.Sprint(early, used), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := newMachine(t, 200)
					m.closing = 100 * time.Millisecond
					m.costs["a"], m.costs["b"] = cost(100, 20), cost(100, 20)
					for id, c := range m.costs {
						c.Private = 50 // two do not fit
						m.costs[id] = c
					}
					p := m.newPool(pool.Options{KeepAlive: time.Minute, WorkingRoom: 1})
					if err := request(t.Context(), p, "a", 1, time.Second); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Minute + early)
					var all sync.WaitGroup
					for _, id := range []string{"b", "a", "b", "a"} {
						if id == "a" && !used {
							continue
						}
						all.Go(func() {
							if err := request(t.Context(), p, id, 1, time.Second); err != nil {
								t.Error(err)
							}
						})
					}
					start := time.Now()
					all.Wait()
					if d := time.Since(start); d > 20*time.Second {
						t.Errorf("took %v", d)
					}
					closePool(t, p)
				})
			})
		}
	}
}

// A client that holds a decoded picture while it waits for a model can deadlock a
// server; here the picture is decoded under the lease.
func TestManyLargePicturesDoNotDeadlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 300)
		m.costs["a"], m.costs["b"], m.costs["c"] = cost(60, 30), cost(60, 30), cost(60, 30)
		p := m.newPool(pool.Options{KeepAlive: -1})
		var all sync.WaitGroup
		for i := range 30 {
			all.Go(func() {
				if err := request(t.Context(), p, []string{"a", "b", "c"}[i%3], 160, time.Second); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		closePool(t, p)
	})
}

// Of those who wait for memory the one goes first who asked first for its model,
// also when its model had to be loaded meanwhile.
func TestWhoAskedFirstRunsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 10000)
		m.load = 10 * time.Second
		m.costs["hot"], m.costs["cold"] = cost(60, 30), cost(60, 30)
		p := m.newPool(pool.Options{KeepAlive: -1, MaxRuns: 1})
		if err := p.Load(t.Context(), model("hot")); err != nil {
			t.Fatal(err)
		}
		var order []string
		var all sync.WaitGroup
		ask := func(name, id string) {
			all.Go(func() {
				l, _, err := p.Acquire(t.Context(), model(id))
				if err != nil {
					t.Error(err)
					return
				}
				defer l.Release()
				r, err := l.Reserve(t.Context(), 1, 1)
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Release()
				order = append(order, name) // one at a time
				pass(8 * time.Second)
			})
			time.Sleep(time.Second)
		}
		ask("first", "hot")
		ask("second", "cold") // ready at 11 s, before the third has run
		ask("third", "hot")
		ask("fourth", "hot")
		all.Wait()
		if got := fmt.Sprint(order); got != "[first third second fourth]" {
			t.Error(got)
		}
		closePool(t, p)
	})
}

func TestRunsAreBoundedInNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 10000)
		m.costs["a"] = cost(60, 30)
		p := m.newPool(pool.Options{KeepAlive: -1, MaxRuns: 2})
		var all sync.WaitGroup
		start := time.Now()
		for range 6 {
			all.Go(func() {
				if err := request(t.Context(), p, "a", 1, time.Second); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if d := time.Since(start); d != m.load+3*time.Second {
			t.Errorf("six runs of a second, two at a time, took %v", d)
		}
		closePool(t, p)
	})
}

func TestTheQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 300)
		m.costs["a"] = cost(60, 30)
		p := m.newPool(pool.Options{KeepAlive: -1, MaxQueue: 5})
		var all sync.WaitGroup
		errs := make(chan error, 8)
		for range 8 {
			all.Go(func() { errs <- request(t.Context(), p, "a", 1, 0) })
		}
		all.Wait()
		close(errs)
		refused := 0
		for err := range errs {
			if err != nil {
				refused++
				if yolo.CodeOf(err) != yolo.Overloaded {
					t.Error(err)
				}
			}
		}
		if refused != 3 {
			t.Errorf("%d refused", refused)
		}
		closePool(t, p)
	})
}

// A request may take the pages of a model that is being closed: the leases that
// keep it open may wait behind that very request.
func TestARequestDoesNotWaitForLeasesBehindIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 300)
		m.costs["a"], m.costs["b"] = cost(100, 20), cost(100, 20)
		p := m.newPool(pool.Options{KeepAlive: -1})
		leases := make(map[string]*pool.Lease)
		for id := range m.costs {
			l, _, err := p.Acquire(t.Context(), model(id))
			if err != nil {
				t.Fatal(err)
			}
			leases[id] = l
		}
		var all sync.WaitGroup
		all.Go(func() {
			if err := p.Unload(t.Context(), model("b")); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait() // b is draining
		for _, r := range []struct {
			id   string
			work int64
		}{{"a", 130}, {"b", 1}} {
			all.Go(func() {
				l := leases[r.id]
				defer l.Release()
				room, err := l.Reserve(t.Context(), r.work, 1)
				if err != nil {
					t.Error(err)
					return
				}
				room.Release()
			})
			synctest.Wait()
		}
		all.Wait()
		closePool(t, p)
	})
}
