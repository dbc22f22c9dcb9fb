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

func revised(id, rev string) *yolo.Model { return &yolo.Model{ID: id, Rev: rev} }

// borrow lends a model and returns the revision it got, held until done is called.
func borrow(t *testing.T, p *pool.Pool, m *yolo.Model) (rev string, cold bool, done func()) {
	t.Helper()
	l, cold, err := p.Acquire(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return l.Model().Rev, cold, l.Release
}

// crowd asks for a model again and again until stop is called, which reports how many
// requests waited for a load. None may fail.
func crowd(t *testing.T, p *pool.Pool, n int) (stop func() (cold int)) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var mu sync.Mutex
	cold := 0
	for range n {
		all.Go(func() {
			for ctx.Err() == nil {
				l, waited, err := p.Acquire(t.Context(), model("0"))
				if err != nil {
					t.Errorf("a request failed: %v", err)
					return
				}
				r, err := l.Reserve(t.Context(), 1, 1)
				if err == nil {
					err = l.Run(context.WithValue(t.Context(), job{}, job{30 * time.Millisecond, 1}), nil, func([]yolo.Tensor) error { return nil })
					r.Release()
				}
				l.Release()
				if err != nil {
					t.Errorf("a request failed: %v", err)
				}
				mu.Lock()
				if waited {
					cold++
				}
				mu.Unlock()
			}
		})
	}
	return func() int {
		cancel()
		all.Wait()
		return cold
	}
}

// A new revision is opened beside the old one where memory allows: nobody waits. Where
// it does not the old one goes first, and requests wait. A bad one changes nothing.
func TestReplaceUnderLoad(t *testing.T) {
	for name, tt := range map[string]struct {
		budget int64
		bad    bool
		waits  bool
	}{
		"beside the old one":               {budget: 1000},
		"after the old one":                {budget: 260, waits: true},
		"a bad one beside the old one":     {budget: 1000, bad: true},
		"a bad one, the old one went away": {budget: 260, bad: true, waits: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine(t, tt.budget)
				m.costs["0"] = cost(100, 10)
				m.revisions, m.bad = true, map[string]bool{"0@1": tt.bad}
				p := m.newPool(pool.Options{KeepAlive: -1, WorkingRoom: 10})
				defer closePool(t, p)
				_, _, done := borrow(t, p, model("0"))
				done()
				stop := crowd(t, p, 8)
				time.Sleep(100 * time.Millisecond)
				err := p.Replace(t.Context(), revised("0", "1"))
				if (err != nil) != tt.bad {
					t.Errorf("Replace: %v", err)
				}
				time.Sleep(3 * time.Second)
				want := "1"
				if tt.bad {
					want = ""
				}
				rev, cold, done := borrow(t, p, model("0"))
				if rev != want || cold {
					t.Errorf("got revision %q, cold %v; want %q", rev, cold, want)
				}
				done()
				if cold := stop(); (cold > 0) != tt.waits {
					t.Errorf("%d requests waited for a load", cold)
				}
				time.Sleep(time.Minute)
				if n := m.open(); n != 1 {
					t.Errorf("%d sessions open", n)
				}
			})
		})
	}
}

// Pin, keep-alive and counters are the model's, not the revision's.
func TestReplaceKeepsWhatIsKnownOfTheModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 1000)
		m.costs["0"], m.costs["1"] = cost(100, 10), cost(100, 10)
		var o pool.Options
		o.KeepAlive = 10 * time.Second
		told := hooks(t, &o)
		p := m.newPool(o)
		defer closePool(t, p)
		for _, id := range []string{"0", "1"} {
			for range 3 {
				_, _, done := borrow(t, p, model(id))
				done()
			}
		}
		if err := p.Pin(model("1")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		for _, id := range []string{"0", "1"} {
			if err := p.Replace(t.Context(), revised(id, "1")); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		for _, s := range p.Status() {
			if s.Model.Rev != "1" || s.Hits != 3 || s.Loads != 2 || s.Pinned != (s.Model.ID == "1") || s.State != yolo.Ready {
				t.Errorf("%+v", s)
			}
		}
		if n := len(p.Loaded()); n != 2 {
			t.Errorf("%d models loaded", n)
		}
		time.Sleep(4 * time.Second) // loading took 2 of the 10
		for _, s := range p.Status() {
			if (s.State == yolo.Ready) != s.Pinned {
				t.Errorf("%s is %v after the keep-alive", s.Model.ID, s.State)
			}
		}
		if told.states["0"] != yolo.Unloaded || told.states["1"] != yolo.Ready {
			t.Errorf("told %v", told.states)
		}
	})
}

func TestReplaceWhatIsNotInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 1000)
		m.costs["0"], m.costs["1"] = cost(100, 10), cost(100, 10)
		p := m.newPool(pool.Options{KeepAlive: 0})
		defer closePool(t, p)
		_, _, done := borrow(t, p, model("0")) // loaded, then closed
		done()
		time.Sleep(time.Second)
		for _, id := range []string{"0", "1"} { // 1 was never asked for
			if err := p.Replace(t.Context(), revised(id, "1")); err != nil {
				t.Fatal(err)
			}
			rev, cold, done := borrow(t, p, model(id)) // who asks for the old one gets the new
			if rev != "1" || !cold {
				t.Errorf("%s: revision %q, cold %v", id, rev, cold)
			}
			done()
		}
		if n := m.count("0") + m.count("1"); n != 3 {
			t.Errorf("%d loads, want 3", n)
		}
	})
}

// One that is larger than the budget is refused; the old one serves.
func TestReplaceByWhatNeverFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 300)
		m.costs["0"] = cost(100, 10)
		m.revised = map[string]pool.Cost{"0@1": cost(400, 10)}
		p := m.newPool(pool.Options{KeepAlive: -1})
		defer closePool(t, p)
		_, _, done := borrow(t, p, model("0"))
		done()
		if err := p.Replace(t.Context(), revised("0", "1")); err == nil || yolo.CodeOf(err) != yolo.TooBig {
			t.Errorf("Replace: %v", err)
		}
		rev, cold, done := borrow(t, p, model("0"))
		if rev != "" || cold {
			t.Errorf("revision %q, cold %v", rev, cold)
		}
		done()
	})
}

// A pinned model that is larger in its new revision must leave room for the others.
func TestReplaceOfAPinnedModelLeavesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 1000)
		m.costs["0"], m.costs["1"] = cost(100, 10), cost(500, 10)
		m.revised = map[string]pool.Cost{"0@1": cost(600, 10), "0@2": cost(300, 10)}
		var o pool.Options
		o.KeepAlive, o.Costs = -1, func() map[string]pool.Cost { return m.costs }
		p := m.newPool(o)
		defer closePool(t, p)
		_, _, done := borrow(t, p, model("0"))
		done()
		if err := p.Pin(model("0")); err != nil {
			t.Fatal(err)
		}
		if err := p.Replace(t.Context(), revised("0", "1")); yolo.CodeOf(err) != yolo.NoRoom {
			t.Errorf("Replace by one too large: %v", err)
		}
		if err := p.Replace(t.Context(), revised("0", "2")); err != nil {
			t.Errorf("Replace by one that fits: %v", err)
		}
		for _, want := range []string{"0", "1"} { // the largest other one can still be loaded
			rev, _, done := borrow(t, p, model(want))
			if want == "0" && rev != "2" {
				t.Errorf("revision %q", rev)
			}
			done()
		}
	})
}

// While it waits in line a change can be called off; two at once cannot be.
func TestReplaceIsCalledOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 1000)
		for _, id := range []string{"0", "1", "2"} {
			m.costs[id] = cost(100, 10)
		}
		p := m.newPool(pool.Options{KeepAlive: -1, MaxLoads: 1})
		defer closePool(t, p)
		_, _, done := borrow(t, p, model("0"))
		done()
		var loads sync.WaitGroup
		for _, id := range []string{"1", "2"} { // the line is full for two seconds
			loads.Go(func() {
				if err := p.Load(t.Context(), model(id)); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Replace(ctx, revised("0", "1")) }()
		synctest.Wait()
		if err := p.Replace(t.Context(), revised("0", "2")); err == nil || yolo.CodeOf(err) != yolo.Conflict {
			t.Errorf("a second one: %v", err)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Replace: %v", err)
		}
		loads.Wait()
		if rev, _, done := borrow(t, p, model("0")); rev != "" {
			t.Errorf("revision %q", rev)
		} else {
			done()
		}
		if m.count("0") != 1 {
			t.Errorf("%d loads", m.count("0"))
		}
	})
}

// A removed model lends no more, serves what it lent, and its memory comes back.
func TestRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 1000)
		m.costs["0"], m.costs["1"] = cost(100, 10), cost(100, 10)
		var o pool.Options
		o.KeepAlive = -1
		told := hooks(t, &o)
		p := m.newPool(o)
		defer closePool(t, p)
		_, _, held := borrow(t, p, model("0"))
		waiting := make(chan error, 1)
		go func() { // waits for its load
			l, _, err := p.Acquire(t.Context(), model("1"))
			if err == nil {
				l.Release()
			}
			waiting <- err
		}()
		synctest.Wait()
		p.Remove(model("0"))
		p.Remove(model("1"))
		for _, id := range []string{"0", "1"} {
			if _, _, err := p.Acquire(t.Context(), model(id)); err == nil || yolo.CodeOf(err) != yolo.NotFound {
				t.Errorf("%s after its removal: %v", id, err)
			}
			if told.states[id] != yolo.Unloaded {
				t.Errorf("%s: told %v", id, told.states[id])
			}
		}
		if err := <-waiting; err != nil {
			t.Errorf("who waited for a load: %v", err)
		}
		if m.open() == 0 {
			t.Error("closed while it is used")
		}
		held()
		time.Sleep(time.Second)
		if n := m.open(); n != 0 || len(p.Status()) != 0 {
			t.Errorf("%d sessions open; %v", n, p.Status())
		}
		back := model("0")
		back.Rev = "back"
		p.Admit(back)
		// Who had the removed one in hand all the time gets the one that came back.
		l, cold, err := p.Acquire(t.Context(), model("0"))
		if err != nil {
			t.Fatal(err)
		}
		if !cold || l.Model() != back {
			t.Errorf("cold %v, revision %q", cold, l.Model().Rev)
		}
		l.Release()
	})
}

// A preparation that nobody waits for closes what is not used, never what is.
func TestPrepareMakesRoom(t *testing.T) {
	for _, used := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine(t, 300)
			m.costs["0"], m.costs["1"] = cost(150, 10), cost(50, 10)
			m.rigid = true // cooling does not help
			m.childOf = map[string]int64{"1": 290}
			p := m.newPool(pool.Options{KeepAlive: -1})
			defer closePool(t, p)
			_, _, done := borrow(t, p, model("0"))
			if !used {
				done()
			}
			if ok, err := p.Ahead(t.Context(), model("1")); used && (ok || err != nil) {
				t.Errorf("Ahead: %v, %v", ok, err)
			}
			began := time.Now()
			err := p.Prepare(t.Context(), model("1"))
			if used {
				if err == nil || yolo.CodeOf(err) != yolo.NoRoom || time.Since(began) > time.Minute {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
				done()
				return
			}
			if err != nil || m.open() != 0 {
				t.Errorf("%v, %d sessions open", err, m.open())
			}
			if len(p.Status()) != 1 {
				t.Errorf("%v", p.Status())
			}
		})
	}
}

// Prepare ends with its context, in line and in work.
func TestPrepareIsCalledOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 300)
		m.costs["0"] = cost(50, 10)
		m.childOf = map[string]int64{"0": 100}
		p := m.newPool(pool.Options{KeepAlive: -1})
		defer closePool(t, p)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // it takes a second
		defer cancel()
		began := time.Now()
		if err := p.Prepare(ctx, model("0")); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			t.Errorf("Prepare: %v", err)
		}
		if took := time.Since(began); took != 300*time.Millisecond {
			t.Errorf("after %v", took)
		}
		if used := m.ledger.Snapshot().Used["preparing"]; used != 0 {
			t.Errorf("%d bytes are still charged", used)
		}
	})
}
