package pool

import (
	"context"
	"log/slog"
	"runtime"
	"testing"

	"lazyolo/internal/ledger"
	"lazyolo/yolo"
)

// A turn may be granted, with a session to be opened, at the moment its request ends:
// whichever the request sees first, nothing is left behind.
func TestWhoLeavesOpensNothing(t *testing.T) {
	for range 64 { // which it sees is chance
		l := ledger.New(1000)
		p := &Pool{o: Options{Ledger: l, Log: slog.New(slog.DiscardHandler), Cores: 2, Threads: 2, MaxRuns: 2},
			entries: make(map[string]*entry), computing: 2, running: 2, closed: true}
		e := &entry{model: &yolo.Model{ID: "a"}, state: yolo.Ready, cost: Cost{Private: 10, LoadPeak: 20}}
		ctx, cancel := context.WithCancel(t.Context())
		p.mu.Lock()
		done := make(chan error)
		var got *turn
		go func() {
			var err error
			got, err = p.takeTurn(ctx, e)
			done <- err
		}()
		p.mu.Unlock()
		waitFor(p, func() bool { return len(p.turns) == 1 })
		p.mu.Lock()
		cancel()
		p.computing = 0
		p.grantTurnsLocked()
		p.mu.Unlock()
		if err := <-done; err == nil {
			if !got.opens || l.Snapshot().Used["loading"] != 20 {
				t.Errorf("it opens: %v; ledger %v", got.opens, l)
			}
			continue
		}
		if used := l.Snapshot().Used["loading"]; used != 0 || p.computing != 0 || e.narrow != (narrow{}) {
			t.Errorf("%d bytes of loads, %d cores, %+v", used, p.computing, e.narrow)
		}
	}
}

// waitFor waits until something holds under the pool's lock.
func waitFor(p *Pool, holds func() bool) {
	for {
		p.mu.Lock()
		ok := holds()
		p.mu.Unlock()
		if ok {
			return
		}
		runtime.Gosched()
	}
}
