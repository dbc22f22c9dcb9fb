package pool_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"lazyolo/internal/pool"
	"lazyolo/yolo"
)

// speculate loads a model ahead of its use; it must be possible.
func speculate(t *testing.T, p *pool.Pool, id string) {
	t.Helper()
	l, err := p.Speculate(t.Context(), model(id))
	if err != nil || l == nil {
		t.Fatalf("speculate %s: %v, %v", id, l, err)
	}
	l.Release()
}

func wantPreheated(t *testing.T, p *pool.Pool, loaded, used int64) {
	t.Helper()
	if l, u := p.Preheated(); l != loaded || u != used {
		t.Errorf("preheated %d, used %d; want %d and %d", l, u, loaded, used)
	}
}

func status(p *pool.Pool, id string) yolo.Status {
	for _, s := range p.Status() {
		if s.Model.ID == id {
			return s
		}
	}
	return yolo.Status{}
}

func TestSpeculationTakesOnlyFreeMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 300)
		m.costs["a"], m.costs["b"], m.costs["c"] = cost(100, 30), cost(100, 30), cost(100, 30)
		m.childOf = map[string]int64{"c": 20}
		p := m.newPool(pool.Options{KeepAlive: -1, WorkingRoom: 5})
		if err := request(t.Context(), p, "a", 5, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Speculate(t.Context(), model("c")); !errors.Is(err, pool.ErrNotPrepared) {
			t.Errorf("not prepared: %v", err)
		}
		if l, err := p.Speculate(t.Context(), model("a")); l != nil || err != nil {
			t.Errorf("in memory already: %v, %v", l, err)
		}
		speculate(t, p, "b") // 140 + 110 of 300: with 35 for its request it fits
		m.costs["d"] = cost(100, 30)
		if _, err := p.Speculate(t.Context(), model("d")); !errors.Is(err, pool.ErrFull) {
			t.Errorf("more than is free: %v", err)
		}
		if m.open() != 2 || !status(p, "b").Speculative {
			t.Errorf("%d open, b: %+v", m.open(), status(p, "b"))
		}
		wantPreheated(t, p, 1, 0)
		if err := request(t.Context(), p, "b", 5, 0); err != nil {
			t.Fatal(err)
		}
		if status(p, "b").Speculative || m.count("b") != 1 {
			t.Errorf("after its use: %+v", status(p, "b"))
		}
		wantPreheated(t, p, 1, 1)
		closePool(t, p)
	})
}

func TestSpeculativeModelsAreClosedFirst(t *testing.T) {
	for i := range 4 {
		never, mapped := i%2 == 1, []int64{2, 30}[i/2] // the larger ones are cooled first
		synctest.Test(t, func(t *testing.T) {
			m := newMachine(t, 190+mapped)
			for _, id := range []string{"old", "guess", "new"} {
				c := cost(mapped, 20)
				c.Private = 60
				m.costs[id] = c
			}
			p := m.newPool(pool.Options{KeepAlive: -1, WorkingRoom: 5, MinResident: 30 * time.Second, NeverEvict: never, Policy: pool.LRU})
			if err := request(t.Context(), p, "old", 5, 0); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			speculate(t, p, "guess")
			// The guess is younger than MinResident and than the other, and goes at once.
			start := time.Now()
			if err := request(t.Context(), p, "new", 5, 0); err != nil || time.Since(start) != m.load {
				t.Errorf("never evict %v: %v after %v", never, err, time.Since(start))
			}
			if s := status(p, "old").State; s != yolo.Ready {
				t.Errorf("the model that was used is %v", s)
			}
			if s := status(p, "guess").State; s != yolo.Unloaded {
				t.Errorf("the guess is %v", s)
			}
			wantPreheated(t, p, 1, 0)
			closePool(t, p)
		})
	}
}

func TestSpeculationWaitsForThoseWhoWaitForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 1000)
		p := m.newPool(pool.Options{KeepAlive: -1, MaxRuns: 1})
		m.costs["a"], m.costs["b"] = cost(50, 20), cost(50, 20)
		done := make(chan error)
		for range 2 {
			go func() { done <- request(t.Context(), p, "a", 5, time.Minute) }()
		}
		time.Sleep(m.load + time.Second) // one runs, one waits its turn
		if _, err := p.Speculate(t.Context(), model("b")); !errors.Is(err, pool.ErrBusy) {
			t.Errorf("while a request waits: %v", err)
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		speculate(t, p, "b")
		closePool(t, p)
	})
}

func TestRealDemandEndsASpeculativeLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 200)
		m.costs["guess"], m.costs["real"] = cost(100, 20), cost(100, 20)
		p := m.newPool(pool.Options{KeepAlive: -1, WorkingRoom: 5})
		done := make(chan error)
		go func() {
			_, err := p.Speculate(t.Context(), model("guess"))
			done <- err
		}()
		time.Sleep(m.load / 2)
		start := time.Now()
		if err := request(t.Context(), p, "real", 5, 0); err != nil || time.Since(start) != m.load {
			t.Errorf("%v after %v, one load takes %v", err, time.Since(start), m.load)
		}
		if err := <-done; !errors.Is(err, pool.ErrBusy) {
			t.Errorf("the speculative load: %v", err)
		}
		if s := status(p, "guess"); s.State != yolo.Unloaded || s.Err != nil {
			t.Errorf("the guess: %+v", s)
		}
		wantPreheated(t, p, 0, 0)
		closePool(t, p)
	})
}

func TestDemandForAModelBeingLoadedAheadWaitsForThatLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 300)
		m.costs["a"], m.costs["b"] = cost(50, 20), cost(50, 20)
		p := m.newPool(pool.Options{KeepAlive: -1})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if l, err := p.Speculate(ctx, model("a")); l != nil || err != nil {
				t.Errorf("a lease for a warming run that is not needed any more: %v, %v", l, err)
			}
		}()
		time.Sleep(m.load / 2)
		other := make(chan error)
		go func() {
			time.Sleep(m.load / 4) // comes when somebody waits for a already
			other <- request(t.Context(), p, "b", 0, 0)
		}()
		start := time.Now()
		if err := request(t.Context(), p, "a", 0, 0); err != nil || time.Since(start) != m.load/2 || m.count("a") != 1 {
			t.Errorf("%v after %v and %d loads", err, time.Since(start), m.count("a"))
		}
		<-done
		cancel()
		if err := <-other; err != nil {
			t.Error(err)
		}
		wantPreheated(t, p, 1, 1)
		closePool(t, p)
	})
}

func TestAWarmingRunNeitherWaitsNorMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 200)
		m.costs["a"] = cost(100, 20)
		p := m.newPool(pool.Options{KeepAlive: time.Minute, WorkingRoom: 5})
		l, err := p.Speculate(t.Context(), model("a"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Reserve(t.Context(), 100, 1); !errors.Is(err, pool.ErrBusy) {
			t.Errorf("a reservation beyond what is free: %v", err)
		}
		room, err := l.Reserve(t.Context(), 5, 1)
		if err != nil {
			t.Fatal(err)
		}
		room.Release()
		l.KeepAlive(time.Hour) // until the end of its usual hour
		l.Release()
		if s := status(p, "a"); !s.Speculative || s.Hits != 0 {
			t.Errorf("a warming run counts as a use: %+v", s)
		}
		time.Sleep(59 * time.Minute)
		if m.open() != 1 {
			t.Error("closed before its time")
		}
		time.Sleep(2 * time.Minute)
		if m.open() != 0 {
			t.Error("not closed in its time")
		}
		closePool(t, p)
	})
}

func TestClosingEndsASpeculativeLoad(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine(t, 200)
			m.deaf = deaf
			p := m.newPool(pool.Options{KeepAlive: -1})
			done := make(chan *pool.Lease)
			go func() {
				l, _ := p.Speculate(t.Context(), model("a"))
				done <- l
			}()
			synctest.Wait()
			closePool(t, p)
			if l := <-done; l != nil || m.open() != 0 {
				t.Errorf("deaf %v: lease %v, %d sessions left open", deaf, l, m.open())
			}
		})
	}
}

func TestAModelThatIsClosedAtOnceIsNotLoadedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 200)
		p := m.newPool(pool.Options{})
		if l, err := p.Speculate(t.Context(), model("a")); l != nil || err != nil || m.count("a") != 0 {
			t.Errorf("%v, %v, %d loads", l, err, m.count("a"))
		}
		closePool(t, p)
	})
}

func TestKeepAliveOfModelAndRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 0)
		p := m.newPool(pool.Options{KeepAlive: time.Minute})
		after := func(d time.Duration, id string, open bool) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if got := status(p, id).State == yolo.Ready; got != open {
				t.Errorf("%s: open %v after %v", id, got, d)
			}
		}
		use := func(y *yolo.Model, keep *time.Duration) {
			t.Helper()
			l, _, err := p.Acquire(t.Context(), y)
			if err != nil {
				t.Fatal(err)
			}
			if keep != nil {
				l.KeepAlive(*keep)
			}
			l.Release()
		}
		own := model("own")
		own.KeepAlive = new(time.Hour)
		never := model("never")
		never.KeepAlive = new(yolo.KeepAliveForever)
		use(never, nil)
		use(own, nil)
		after(59*time.Minute, "own", true)
		after(2*time.Minute, "own", false)
		use(own, new(time.Second)) // the request's wins
		after(2*time.Second, "own", false)
		use(own, new(time.Second))
		use(own, nil) // holds until the next use
		after(59*time.Minute, "own", true)
		use(own, new(time.Duration(0)))
		after(0, "own", false)
		use(model("plain"), new(yolo.KeepAliveForever))
		after(24*time.Hour, "plain", true)
		if s := status(p, "plain"); !s.Expires.IsZero() {
			t.Errorf("expires %v", s.Expires)
		}
		use(model("plain"), nil)
		after(61*time.Second, "plain", false)
		after(0, "never", true)
		closePool(t, p)
	})
}
