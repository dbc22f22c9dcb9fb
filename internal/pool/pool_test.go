package pool_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lazyolo/internal/pool"
	"lazyolo/yolo"
)

func model(id string) *yolo.Model { return &yolo.Model{ID: id} }

func closePool(t *testing.T, p *pool.Pool) {
	t.Helper()
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAHundredFirstRequestsMakeOneLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 0)
		p := m.newPool(pool.Options{KeepAlive: -1})
		start := time.Now()
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				l, cold, err := p.Acquire(t.Context(), model("a"))
				if err != nil || !cold {
					t.Errorf("cold %v, %v", cold, err)
					return
				}
				defer l.Release()
				if err := l.Run(t.Context(), nil, func([]yolo.Tensor) error { return nil }); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := m.count("a"); n != 1 {
			t.Errorf("%d loads", n)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("took %v, one load takes 1s", d)
		}
		if _, cold, err := p.Acquire(t.Context(), model("a")); cold || err != nil {
			t.Errorf("a loaded model: cold %v, %v", cold, err)
		} // its lease is held on purpose: Close must not wait for ever
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := p.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("close with a lease held: %v", err)
		}
	})
}

func TestModelsLoadBesideEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 0)
		p := m.newPool(pool.Options{KeepAlive: -1})
		start := time.Now()
		var all sync.WaitGroup
		for _, id := range []string{"a", "b"} {
			all.Go(func() {
				l, _, err := p.Acquire(t.Context(), model(id))
				if err != nil {
					t.Error(err)
					return
				}
				l.Release()
				l.Release() // idempotent
			})
		}
		all.Wait()
		if d := time.Since(start); d != time.Second {
			t.Errorf("took %v", d)
		}
		if n := len(p.Loaded()); n != 2 {
			t.Errorf("%d loaded", n)
		}
		closePool(t, p)
		if n := m.open(); n != 0 {
			t.Errorf("%d sessions left open", n)
		}
		if _, _, err := p.Acquire(t.Context(), model("a")); yolo.CodeOf(err) != yolo.Unavailable {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestACallerThatLeavesDoesNotEndTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 0)
		p := m.newPool(pool.Options{KeepAlive: -1})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, _, err := p.Acquire(ctx, model("a")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		l, _, err := p.Acquire(t.Context(), model("a"))
		if err != nil {
			t.Fatal(err)
		}
		l.Release()
		if n := m.count("a"); n != 1 {
			t.Errorf("%d loads", n)
		}
		closePool(t, p)
	})
}

func TestLoadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newMachine(t, 0).newPool(pool.Options{KeepAlive: -1, LoadTimeout: 300 * time.Millisecond})
		start := time.Now()
		if _, _, err := p.Acquire(t.Context(), model("a")); yolo.CodeOf(err) != yolo.Deadline || time.Since(start) != 300*time.Millisecond {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		closePool(t, p)
	})
}

func TestAFailedLoadBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := &yolo.Error{Code: yolo.LoadFailed, Msg: "bad luck"}
		m := newMachine(t, 0)
		m.fail = func(_ string, n int) error {
			if n <= 2 {
				return bad
			}
			return nil
		}
		p := m.newPool(pool.Options{KeepAlive: -1})
		acquire := func() error {
			l, _, err := p.Acquire(t.Context(), model("a"))
			if err == nil {
				l.Release()
			}
			return err
		}
		var known *yolo.Error
		if err := acquire(); !errors.As(err, &known) || known.Msg != bad.Msg || known.Retry != time.Second {
			t.Fatalf("got %v", err)
		}
		if err := acquire(); !errors.As(err, &known) || known.Retry != time.Second {
			t.Errorf("in backoff: got %#v", err)
		}
		if n := m.count("a"); n != 1 {
			t.Errorf("%d loads in backoff", n)
		}
		time.Sleep(time.Second)
		if err := acquire(); !errors.As(err, &known) || known.Retry != 2*time.Second {
			t.Errorf("second load: got %v", err)
		}
		time.Sleep(time.Second)
		if err := acquire(); err == nil || m.count("a") != 2 {
			t.Errorf("the second backoff is twice as long; got %v after %d loads", err, m.count("a"))
		}
		time.Sleep(time.Second)
		if err := acquire(); err != nil {
			t.Errorf("third load: %v", err)
		}
		closePool(t, p)
	})
}

func TestAPanickingLoadIsAFailedLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 0)
		m.fail = func(string, int) error { panic("no") }
		p := m.newPool(pool.Options{KeepAlive: -1})
		if _, _, err := p.Acquire(t.Context(), model("a")); err == nil {
			t.Error("no error")
		}
		closePool(t, p)
	})
}

func TestCloseEndsLoads(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine(t, 0)
			m.deaf = deaf
			p := m.newPool(pool.Options{KeepAlive: -1})
			failed := make(chan error)
			go func() {
				_, _, err := p.Acquire(t.Context(), model("a"))
				failed <- err
			}()
			synctest.Wait()
			closePool(t, p)
			if err := <-failed; err == nil {
				t.Error("a waiter got a model of a closed pool")
			}
			if n := m.open(); n != 0 {
				t.Errorf("%d sessions left open", n)
			}
		})
	}
}

func TestCloseWaitsForLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 0)
		p := m.newPool(pool.Options{KeepAlive: -1})
		l, _, err := p.Acquire(t.Context(), model("a"))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		time.AfterFunc(5*time.Second, l.Release)
		closePool(t, p)
		if d := time.Since(start); d != 5*time.Second || m.open() != 0 {
			t.Errorf("closed after %v with %d sessions open", d, m.open())
		}
	})
}

func TestUnpinOfAClosedPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, 0)
		p := m.newPool(pool.Options{}) // kept for no time once unused
		l, _, err := p.Acquire(t.Context(), model("a"))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Pin(model("a")); err != nil {
			t.Fatal(err)
		}
		l.Release()
		closePool(t, p)
		p.Unpin(model("a"))
		synctest.Wait()
		if n := m.open(); n != 0 {
			t.Errorf("%d sessions left open", n)
		}
	})
}

func TestIdleIsCalledOnceNothingIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var idle atomic.Int64
		p := newMachine(t, 0).newPool(pool.Options{KeepAlive: -1, IdleAfter: time.Second, Idle: func() { idle.Add(1) }})
		expect := func(when string, want int64) {
			t.Helper()
			synctest.Wait()
			if n := idle.Load(); n != want {
				t.Errorf("%s: %d calls, want %d", when, n, want)
			}
		}
		l, _, err := p.Acquire(t.Context(), model("a"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		expect("while a lease is held", 0)
		l.Release()
		time.Sleep(900 * time.Millisecond)
		if l, _, err = p.Acquire(t.Context(), model("a")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		expect("used again in time", 0)
		l.Release()
		time.Sleep(time.Hour)
		expect("after the last use", 1)
		closePool(t, p)
		expect("after close", 1)
	})
}
